//! The machines that images boot on: QEMU's command lines and what they need of this one.
//!
//! Source: QEMU 10.0 invocation; every flag was tried against images of both architectures. KVM is not tried on its
//! own: `/dev/kvm` may open, and answer, on machines where a guest then hangs.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::ValueEnum;
use imager::Arch;

use crate::exit::{Exit, Tag as _, refuse_hint};

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// Translation in software: works everywhere.
    Tcg,
    /// The kernel's virtual machines, for guests of this machine's architecture.
    Kvm,
}

/// What the machine starts from.
pub enum Start<'a> {
    /// The firmware finds a boot loader on the disk.
    Disk {
        /// The raw image; never written to.
        path: &'a Path,
        /// 512 or 4096.
        sector_size: u32,
    },
    /// No firmware: the kernel is put in memory.
    Kernel {
        /// The kernel.
        kernel: &'a Path,
        /// The initramfs.
        initrd: Option<&'a Path>,
        /// The kernel command line.
        append: &'a str,
    },
}

/// What differs between the architectures.
struct Platform {
    qemu: &'static str,
    qemu_package: &'static str,
    machine: &'static str,
    /// The CPU under TCG.
    cpu: &'static str,
    code: &'static str,
    vars: &'static str,
    firmware_package: &'static str,
}

const AMD64: Platform = Platform {
    qemu: "qemu-system-x86_64",
    qemu_package: "qemu-system-x86",
    machine: "q35,smm=off",
    cpu: "max",
    code: "/usr/share/OVMF/OVMF_CODE_4M.fd",
    vars: "/usr/share/OVMF/OVMF_VARS_4M.fd",
    firmware_package: "ovmf",
};

const ARM64: Platform = Platform {
    qemu: "qemu-system-aarch64",
    qemu_package: "qemu-system-arm",
    machine: "virt",
    // Not `max`: its pointer authentication makes TCG several times slower.
    cpu: "cortex-a57",
    code: "/usr/share/AAVMF/AAVMF_CODE.fd",
    vars: "/usr/share/AAVMF/AAVMF_VARS.fd",
    firmware_package: "qemu-efi-aarch64",
};

/// The architecture that `name` speaks of, as asset names do (`metal-arm64.raw`).
pub fn arch_of(name: &str) -> Option<Arch> {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.find_map(|word| if word == "aarch64" { Some(Arch::Arm64) } else { word.parse().ok() })
}

/// The kernel's argument for the console that is shown.
pub const fn console_of(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "console=ttyS0",
        Arch::Arm64 => "console=ttyAMA0",
    }
}

const fn platform_of(arch: Arch) -> &'static Platform {
    match arch {
        Arch::Amd64 => &AMD64,
        Arch::Arm64 => &ARM64,
    }
}

/// QEMU, ready to be started: serial console on its standard output, no monitor, no network, no screen.
///
/// Firmware variables are copied to `scratch`, so that no run sees what another has stored.
pub fn command(
    arch: Arch,
    accel: Accel,
    memory_mib: u32,
    start: &Start<'_>,
    scratch: &Path,
) -> anyhow::Result<Command> {
    let platform = platform_of(arch);
    let Some(qemu) = find(platform.qemu) else {
        return missing(platform.qemu, platform.qemu_package);
    };
    let mut command = if let Some(setpriv) = find("setpriv") {
        // Killed with this process, even if that dies by SIGKILL.
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
        command
    } else {
        Command::new(qemu)
    };
    command.args(["-machine", platform.machine, "-m", &memory_mib.to_string()]);
    match accel {
        // One processor: Linux patches its code behind breakpoints, and now and then another translated processor
        // runs into one that is gone already (`int3` oops, QEMU 7.2).
        Accel::Tcg => command.args(["-accel", "tcg", "-smp", "1", "-cpu", platform.cpu]),
        Accel::Kvm => command.args(["-accel", "kvm", "-smp", "2", "-cpu", "host"]),
    };
    command.args(["-nodefaults", "-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    match start {
        Start::Disk { path, sector_size } => {
            let vars = scratch.join("vars.fd");
            if !Path::new(platform.code).is_file() || !Path::new(platform.vars).is_file() {
                return missing(platform.code, platform.firmware_package);
            }
            fs::copy(platform.vars, &vars)
                .with_context(|| format!("copying `{}`", platform.vars))
                .exit(Exit::Io)?;
            let code = Path::new(platform.code);
            command.arg("-drive").arg(drive("if=pflash,unit=0,format=raw,readonly=on", code));
            command.arg("-drive").arg(drive("if=pflash,unit=1,format=raw", &vars));
            command.arg("-drive").arg(drive("if=none,id=disk,format=raw,snapshot=on", path));
            command.arg("-device").arg(format!(
                "virtio-blk-pci,drive=disk,bootindex=0,logical_block_size={sector_size},physical_block_size={}",
                (*sector_size).max(4096)
            ));
        }
        Start::Kernel { kernel, initrd, append } => {
            command.arg("-kernel").arg(kernel).args(["-append", append]);
            if let Some(initrd) = initrd {
                command.arg("-initrd").arg(initrd);
            }
        }
    }
    Ok(command)
}

/// The value of `-drive` for a file. A comma in a path is doubled, else it would begin another option.
fn drive(options: &str, path: &Path) -> OsString {
    let mut value = OsString::from(options);
    value.push(",file=");
    match path.to_str() {
        Some(text) => value.push(text.replace(',', ",,")),
        None => value.push(path),
    }
    value
}

/// The program `name` on the search path.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}

fn missing<T>(what: &str, package: &str) -> anyhow::Result<T> {
    refuse_hint(
        Exit::Environment,
        format!("`{what}` is missing"),
        format!("install the Debian package `{package}`: apt-get install {package}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architecture_is_read_from_a_name() {
        let table = [
            ("metal-amd64.raw.zst", Some(Arch::Amd64)),
            ("metal-arm64.raw", Some(Arch::Arm64)),
            ("disk.x86_64.raw", Some(Arch::Amd64)),
            ("talos-aarch64.img", Some(Arch::Arm64)),
            ("METAL-ARM64.RAW", Some(Arch::Arm64)),
            ("disk.raw", None),
            ("charm64.raw", None),
        ];
        for (name, expected) in table {
            assert_eq!(arch_of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_comma_in_a_path_begins_no_option() {
        assert_eq!(drive("if=none", Path::new("/a,snapshot=off")), "if=none,file=/a,,snapshot=off");
    }
}
