//! Unified kernel images: kernel, initramfs and command line in one file that firmware starts.
//!
//! ```text
//! │ stub │ .osrel │ .cmdline │ .uname │ .linux │ .initrd │ .profile │ .profile │ .cmdline │
//!                                                         ID=main     ID=reset… and its command line
//! ```
//!
//! Not signed here. The reference also has `.splash`, a bitmap of its own logo: ours has none.
//!
//! Source: UAPI.5, unified kernel image; `pkg/imager/uki` of Talos, as facts.

use extent::ExtentMap;
use formats::pe;

use super::EPOCH;
use crate::profile::OutputKind;
use crate::{Error, Quirks};

/// What goes into an image.
pub(super) struct Uki<'a> {
    pub stub: &'a [u8],
    pub os_release: String,
    pub command_line: String,
    /// The release of the kernel, if it says one.
    pub release: Option<&'a str>,
    pub kernel: ExtentMap,
    pub initramfs: ExtentMap,
    /// The ways to boot, the main one first; empty where images have no profiles.
    pub profiles: &'a [BootProfile],
}

/// A way to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BootProfile {
    /// With the command line itself.
    Main,
    /// With something more.
    Other { id: &'static str, title: &'static str, args: &'static str },
}

/// Takes the whole system back to where it was before it was installed.
const RESET: BootProfile =
    BootProfile::Other { id: "reset", title: "Reset system disk", args: "talos.experimental.wipe=system" };

/// Takes the data of an installed system away and leaves the system.
const RESET_MAINTENANCE: BootProfile = BootProfile::Other {
    id: "reset-maintenance",
    title: "Reset to maintenance mode",
    args: "talos.experimental.wipe=system:EPHEMERAL,STATE",
};

/// The profiles of a UKI that is part of `kind`.
pub(super) fn profiles(kind: OutputKind, quirks: Quirks) -> &'static [BootProfile] {
    match kind {
        _ if !quirks.has_uki_profiles() => &[],
        OutputKind::Iso => &[BootProfile::Main, RESET],
        OutputKind::Image | OutputKind::Installer => &[BootProfile::Main, RESET_MAINTENANCE],
        _ => &[BootProfile::Main],
    }
}

/// The image.
pub(super) fn uki(uki: Uki<'_>) -> Result<ExtentMap, Error> {
    let mut sections = Vec::new();
    let mut section = |name: &str, content: ExtentMap| {
        sections.push(pe::Section { name: name.to_owned(), content });
    };
    let text = |text: String| ExtentMap::inline(text.into_bytes());
    section(".osrel", text(uki.os_release));
    section(".cmdline", text(uki.command_line.clone()));
    if let Some(release) = uki.release {
        section(".uname", text(release.to_owned()));
    }
    section(".linux", uki.kernel);
    section(".initrd", uki.initramfs);
    for profile in uki.profiles {
        match profile {
            BootProfile::Main => section(".profile", text("ID=main".to_owned())),
            BootProfile::Other { id, title, args } => {
                section(".profile", text(format!("ID={id}\nTITLE={title}")));
                section(".cmdline", text(format!("{} {args}", uki.command_line)));
            }
        }
    }
    Ok(pe::append_sections(uki.stub, &sections, EPOCH)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use extent::read_all;
    use std::collections::HashMap;

    /// A real stub, of this machine's systemd-boot-efi.
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

    fn stub() -> Option<Vec<u8>> {
        ci::file(STUB, "systemd-boot-efi").map(|path| std::fs::read(path).unwrap())
    }

    fn image(stub: &[u8], release: Option<&str>, profiles: &[BootProfile]) -> Vec<u8> {
        let text = |text: &str| ExtentMap::inline(text.as_bytes().to_vec());
        let uki = Uki {
            stub,
            os_release: "ID=x\n".to_owned(),
            command_line: "a b=c".to_owned(),
            release,
            kernel: text("kernel"),
            initramfs: text("initramfs"),
            profiles,
        };
        read_all(&super::uki(uki).unwrap(), &HashMap::new(), u64::MAX).unwrap()
    }

    fn appended(image: &[u8], stub: &[u8]) -> Vec<(String, String)> {
        let before = pe::sections(stub).unwrap().len();
        pe::sections(image).unwrap()[before..]
            .iter()
            .map(|section| {
                let range =
                    usize::try_from(section.data.start).unwrap()..usize::try_from(section.data.end).unwrap();
                (section.name.clone(), String::from_utf8(image[range].to_vec()).unwrap())
            })
            .collect()
    }

    #[test]
    fn sections_are_those_of_the_reference_in_its_order() {
        let Some(stub) = stub() else { return };
        let newest = Quirks::newest();
        let sections = |kind, quirks| {
            let image = image(&stub, Some("6.1.0"), profiles(kind, quirks));
            let sections = appended(&image, &stub);
            sections.into_iter().map(|(name, content)| format!("{name} {content}")).collect::<Vec<_>>()
        };
        let common =
            [".osrel ID=x\n", ".cmdline a b=c", ".uname 6.1.0", ".linux kernel", ".initrd initramfs"];
        let old = Quirks::of(&"1.9.9".parse().unwrap());
        assert_eq!(sections(OutputKind::Image, old), common);
        let uki = sections(OutputKind::Uki, newest);
        assert_eq!(uki[..5], common);
        assert_eq!(uki[5..], [".profile ID=main"]);
        let disk = sections(OutputKind::Image, newest);
        assert_eq!(
            disk[5..],
            [
                ".profile ID=main",
                ".profile ID=reset-maintenance\nTITLE=Reset to maintenance mode",
                ".cmdline a b=c talos.experimental.wipe=system:EPHEMERAL,STATE",
            ]
        );
        let iso = sections(OutputKind::Iso, newest);
        assert_eq!(iso[6], ".profile ID=reset\nTITLE=Reset system disk");
    }

    #[test]
    fn a_kernel_without_a_release_has_no_uname() {
        let Some(stub) = stub() else { return };
        let image = image(&stub, None, &[]);
        assert!(appended(&image, &stub).iter().all(|(name, _)| name != ".uname"));
    }

    #[test]
    fn objdump_reads_the_image() {
        let (Some(stub), Some(objdump)) = (stub(), ci::tool("objdump")) else { return };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("uki.efi");
        std::fs::write(&path, image(&stub, Some("6.1.0"), profiles(OutputKind::Image, Quirks::newest())))
            .unwrap();
        let output = std::process::Command::new(objdump).arg("-h").arg(&path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for name in [".sbat", ".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".profile"] {
            assert!(text.contains(&format!(" {name} ")), "{text}");
        }
    }
}
