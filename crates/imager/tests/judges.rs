//! The tools that judge: what they read in our files is what was put in.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use formats::pe;
use support::{SCHEMATIC, VERSION, complete};

/// What `command` says, fed with `input`; it must succeed.
fn output(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A tool that has read enough closes the pipe.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().map(str::to_owned).collect()
}

/// Where `part` is in `bytes`.
fn find(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).position(|window| window == part).unwrap()
}

#[tokio::test]
async fn cpio_and_zstd_read_every_member_of_an_initramfs() {
    let (Some(cpio), Some(zstd)) = (ci::tool("cpio"), ci::tool("zstd")) else { return };
    let made = complete();
    let bytes = std::fs::read(made.file(SCHEMATIC, "initramfs-amd64.xz").await).unwrap();
    let list = |archive: &[u8]| lines(&output(Command::new(&cpio).args(["-it", "--quiet"]), archive));
    assert_eq!(
        list(&bytes),
        [
            "kernel",
            "kernel/x86",
            "kernel/x86/microcode",
            "kernel/x86/microcode/AuthenticAMD.bin",
            "kernel/x86/microcode/GenuineIntel.bin",
        ]
    );
    let base = find(&bytes, &support::noise("initramfs", 64)) + 100_001;
    let firmware = base.next_multiple_of(4);
    let layers = find(&bytes, b"0.sqsh\0") - 110;
    // The last member may be padded behind its frame.
    let frame = &bytes[firmware..layers];
    let end = frame.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let unpacked = output(Command::new(&zstd).arg("-dc"), &frame[..end]);
    assert_eq!(
        list(&unpacked),
        ["usr", "usr/lib", "usr/lib/firmware", "usr/lib/firmware/vendor", "usr/lib/firmware/vendor/chip.bin"]
    );
    assert_eq!(list(&bytes[layers..]), ["0.sqsh", "1.sqsh", "2.sqsh", "3.sqsh", "4.sqsh", "extensions.yaml"]);
}

#[tokio::test]
async fn unsquashfs_reads_the_layers_that_are_made_while_planning() {
    let (Some(cpio), Some(unsquashfs)) = (ci::tool("cpio"), ci::tool("unsquashfs")) else { return };
    let made = complete();
    let bytes = std::fs::read(made.file(SCHEMATIC, "initramfs-amd64.xz").await).unwrap();
    let dir = made.dir.path().join("layers");
    std::fs::create_dir(&dir).unwrap();
    let layers = &bytes[find(&bytes, b"0.sqsh\0") - 110..];
    output(Command::new(cpio).args(["-i", "--quiet"]).current_dir(&dir), layers);
    let list = |name: &str| lines(&output(Command::new(&unsquashfs).arg("-lln").arg(dir.join(name)), b""));
    let config = list("3.sqsh");
    assert!(
        config
            .iter()
            .any(|line| line.starts_with("-r-------- 0/0")
                && line.ends_with("usr/local/etc/talos/config.yaml")),
        "{config:#?}"
    );
    let id = schematics::Schematic::parse(SCHEMATIC.as_bytes()).unwrap().id();
    let schematic = list("4.sqsh");
    assert!(
        schematic.iter().any(|line| line.ends_with(&format!("usr/local/share/schematic/{id}"))),
        "{schematic:#?}"
    );
    assert!(
        schematic.iter().all(|line| !line.contains("20") || line.contains("2019-06-01")),
        "{schematic:#?}"
    );
    let yaml = std::fs::read_to_string(dir.join("extensions.yaml")).unwrap();
    assert!(yaml.contains(&format!("version: \"{id}\"")), "{yaml}");
}

#[tokio::test]
async fn a_compressed_disk_is_the_disk() {
    let (Some(zstd), Some(sgdisk)) = (ci::tool("zstd"), ci::tool("sgdisk")) else { return };
    let made = complete();
    // The one whose kernel is spliced in, compressed.
    let raw = made.file(SCHEMATIC, "metal-arm64.raw").await;
    let packed = made.file(SCHEMATIC, "metal-arm64.raw.zst").await;
    let unpacked = made.dir.path().join("unpacked");
    output(Command::new(&zstd).args(["-dfq", "--sparse"]).arg(&packed).arg("-o").arg(&unpacked), b"");
    output(Command::new("cmp").arg(&raw).arg(&unpacked), b"");
    let verdict = lines(&output(Command::new(&sgdisk).arg("-v").arg(&raw), b"")).join("\n");
    assert!(verdict.contains("No problems found"), "{verdict}");
}

/// The sections of the UKI on `disk`, as mtools finds it.
fn sections(mtype: &Path, disk: &Path) -> Vec<(String, Vec<u8>)> {
    let name = format!("::/EFI/Linux/Debian-{VERSION}.efi");
    let uki = output(Command::new(mtype).arg("-i").arg(format!("{}@@1M", disk.display())).arg(name), b"");
    let sections = pe::sections(&uki).unwrap().into_iter().map(|section| {
        let range = usize::try_from(section.data.start).unwrap()..usize::try_from(section.data.end).unwrap();
        (section.name, uki[range].to_vec())
    });
    sections.collect()
}

#[tokio::test]
async fn mtools_takes_the_uki_from_the_disk() {
    let Some(mtype) = ci::tool("mtype") else { return };
    let made = complete();
    let sections = sections(&mtype, &made.file(SCHEMATIC, "metal-amd64.raw").await);
    let content = |name: &str| &sections.iter().find(|(found, _)| found == name).unwrap().1;
    let (_, cmdline) =
        made.plan(&SCHEMATIC.replace("meta:", "bootloader: sd-boot, meta:"), "cmdline-metal-amd64").await;
    let extent::Source::Inline(cmdline) = &cmdline.extents.extents()[0].source else { panic!("ours") };
    // META is on the disk, so the command line does not carry it.
    let cmdline = String::from_utf8_lossy(cmdline);
    let cmdline = cmdline.replace(" talos.environment=INSTALLER_META_BASE64=MHhhPWZvbw==", "");
    assert_eq!(String::from_utf8_lossy(content(".cmdline")), cmdline);
    assert_eq!(content(".linux"), &support::noise("kernel", 300_001));
    let initramfs = std::fs::read(made.file(SCHEMATIC, "initramfs-amd64.xz").await).unwrap();
    assert_eq!(content(".initrd"), &initramfs);
}
