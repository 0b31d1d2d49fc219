//! Quirks: what changed between the versions of a distribution, as named questions.
//!
//! A catalogue, long and flat on purpose: a rule about versions that is anywhere else is a bug. Only the
//! three numbers of a version count; a pre-release behaves like its release.
//!
//! Source: `pkg/machinery/imager/quirks` of Talos, as facts.

use crate::Version;

/// The answers for one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quirks {
    release: (u64, u64, u64),
}

/// Bytes in a mebibyte.
const MIB: u64 = 1 << 20;

impl Quirks {
    /// The quirks of a Talos version.
    pub const fn of(version: &Version) -> Self {
        Self { release: version.release() }
    }

    /// The quirks of the newest version there can be: for distributions that have no past.
    pub const fn newest() -> Self {
        Self { release: (u64::MAX, u64::MAX, u64::MAX) }
    }

    fn since(self, minor: u64, patch: u64) -> bool {
        self.release >= (1, minor, patch)
    }

    /// Whether the GRUB menu has an entry that resets the machine.
    pub fn has_grub_reset_entry(self) -> bool {
        self.since(4, 0)
    }

    /// Whether unified kernel images, and with them secure boot, can be made.
    pub fn has_uki(self) -> bool {
        self.since(5, 0)
    }

    /// Whether META values in the kernel command line may be gzipped.
    pub fn reads_gzipped_meta(self) -> bool {
        self.since(6, 3)
    }

    /// Whether its command-line client can be downloaded.
    pub fn has_talosctl(self) -> bool {
        self.since(11, 0)
    }

    /// Whether overlays exist.
    pub fn has_overlays(self) -> bool {
        self.since(7, 0)
    }

    /// Whether the manifest of the schematic extension carries the schematic itself.
    pub fn has_schematic_extra_info(self) -> bool {
        self.since(7, 0)
    }

    /// Whether extensions are compressed with zstd, not xz.
    pub fn reads_zstd(self) -> bool {
        self.since(8, 0)
    }

    /// Whether an ISO stops when a system is installed already.
    pub fn has_halt_if_installed(self) -> bool {
        self.since(8, 0)
    }

    /// Whether ISOs have a volume label.
    pub fn has_iso_label(self) -> bool {
        self.since(8, 0)
    }

    /// Whether disk images have the partitions STATE and EPHEMERAL; later systems make them themselves.
    pub fn has_data_partitions(self) -> bool {
        !self.since(8, 0)
    }

    /// Whether bare metal has a serial console by default on amd64.
    pub fn metal_has_serial_console(self) -> bool {
        !self.since(8, 0)
    }

    /// Whether the kernel is told to use SELinux.
    pub fn has_selinux(self) -> bool {
        self.since(10, 0)
    }

    /// Whether the installer is made from a base of its own (`installer-base`) and holds a UKI.
    pub fn has_unified_installer(self) -> bool {
        self.since(10, 0)
    }

    /// Whether a UKI has profiles.
    pub fn has_uki_profiles(self) -> bool {
        self.since(10, 0)
    }

    /// Whether machines with UEFI boot with systemd-boot.
    pub fn boots_uefi_with_sd_boot(self) -> bool {
        self.since(10, 0)
    }

    /// Whether firmware and kernel modules are in `/usr/lib`, not in `/lib`.
    pub fn is_merged_usr(self) -> bool {
        self.since(10, 0)
    }

    /// Whether the kernel gets arguments for the integrity measurement architecture.
    pub fn has_ima(self) -> bool {
        !self.since(11, 0)
    }

    /// Room for two generations of boot files, in bytes.
    pub fn boot_len(self) -> u64 {
        if self.since(11, 0) { 2000 * MIB } else { 1000 * MIB }
    }

    /// Whether a machine configuration can be embedded.
    pub fn has_embedded_config(self) -> bool {
        self.since(12, 0)
    }

    /// Whether only signed modules load.
    pub fn enforces_module_signatures(self) -> bool {
        self.since(12, 0)
    }

    /// Whether the boot loader of an ISO can be chosen.
    pub fn has_iso_bootloader(self) -> bool {
        self.since(12, 0)
    }

    /// Whether `/proc/<pid>/mem` never overrides page protection.
    pub fn protects_proc_mem(self) -> bool {
        self.since(13, 0)
    }

    /// Whether the kernel is told to clear memory on allocation (its configuration says so later).
    pub fn has_init_on_alloc(self) -> bool {
        !self.since(14, 0)
    }

    /// Whether the longest NVMe timeout is for AWS alone, not for every platform.
    pub fn limits_nvme_timeout_to_aws(self) -> bool {
        self.since(14, 0)
    }

    /// Whether secure boot locks the kernel down by the command line.
    pub fn has_lockdown_arg(self) -> bool {
        !self.since(14, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_changes_its_answer_at_its_version() {
        type Question = fn(Quirks) -> bool;
        let table: &[(Question, &str, &str, bool)] = &[
            (Quirks::has_grub_reset_entry, "1.3.9", "1.4.0", true),
            (Quirks::has_uki, "1.4.9", "1.5.0", true),
            (Quirks::reads_gzipped_meta, "1.6.2", "1.6.3", true),
            (Quirks::has_overlays, "1.6.9", "1.7.0", true),
            (Quirks::has_talosctl, "1.10.9", "1.11.0", true),
            (Quirks::has_schematic_extra_info, "1.6.9", "1.7.0", true),
            (Quirks::reads_zstd, "1.7.9", "1.8.0", true),
            (Quirks::has_halt_if_installed, "1.7.9", "1.8.0", true),
            (Quirks::has_iso_label, "1.7.9", "1.8.0", true),
            (Quirks::has_data_partitions, "1.7.9", "1.8.0", false),
            (Quirks::metal_has_serial_console, "1.7.9", "1.8.0", false),
            (Quirks::has_selinux, "1.9.9", "1.10.0", true),
            (Quirks::has_unified_installer, "1.9.9", "1.10.0", true),
            (Quirks::has_uki_profiles, "1.9.9", "1.10.0", true),
            (Quirks::boots_uefi_with_sd_boot, "1.9.9", "1.10.0", true),
            (Quirks::is_merged_usr, "1.9.9", "1.10.0", true),
            (Quirks::has_ima, "1.10.99", "1.11.0", false),
            (Quirks::has_embedded_config, "1.11.9", "1.12.0", true),
            (Quirks::enforces_module_signatures, "1.11.9", "1.12.0", true),
            (Quirks::has_iso_bootloader, "1.11.9", "1.12.0", true),
            (Quirks::protects_proc_mem, "1.12.9", "1.13.0", true),
            (Quirks::has_init_on_alloc, "1.13.9", "1.14.0", false),
            (Quirks::limits_nvme_timeout_to_aws, "1.13.9", "1.14.0", true),
            (Quirks::has_lockdown_arg, "1.13.9", "1.14.0", false),
        ];
        for (index, (question, before, at, newest)) in table.iter().enumerate() {
            let of = |text: &str| Quirks::of(&text.parse().unwrap());
            assert_eq!(question(of(at)), *newest, "row {index} at {at}");
            assert_eq!(question(of(before)), !newest, "row {index} before {at}");
            assert_eq!(question(of(&format!("v{at}-alpha.1"))), *newest, "row {index}: a pre-release counts");
            assert_eq!(question(Quirks::newest()), *newest, "row {index}: newest");
        }
    }

    #[test]
    fn boot_files_grow_at_1_11() {
        let of = |text: &str| Quirks::of(&text.parse().unwrap());
        assert_eq!(of("1.10.9").boot_len(), 1000 << 20);
        assert_eq!(of("1.11.0").boot_len(), 2000 << 20);
    }
}
