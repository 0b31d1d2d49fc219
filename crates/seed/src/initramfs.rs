//! The initramfs: what the kernel starts, and the base inside it.
//!
//! One zstd frame around one complete cpio archive: the kernel's decoder refuses an archive that is split over
//! frames. The base's squashfs is compressed already; what the frame shrinks is the rest.
//!
//! ```text
//! init                stage 1, a script for busybox
//! layers.awk          reads extensions.yaml
//! bin/busybox         static
//! modules/            what has to be loaded before the root is there, decompressed, and their `order`
//! dev proc sys root
//! rootfs.sqsh         the base
//! ```
//!
//! Source: imager specification, §4.8; Linux `init/initramfs.c`, `lib/decompress_unzstd.c`.

use std::io::{self, Read, Write};

use extent::{Blobs, ExtentMap, Tree, TreeError, read_all};

use crate::modules::{EARLY, Modules, module_name};
use crate::progress::Step;
use crate::scratch::{Scratch, reader};
use crate::{EPOCH, Error};

/// Stage 1.
const INIT: &str =
    concat!("#!/bin/busybox sh\n", include_str!("init/consoles.sh"), include_str!("init/init.sh"));
/// Stage 2.
pub(crate) const BOOT: &str =
    concat!("#!/bin/sh\n", include_str!("init/consoles.sh"), include_str!("init/boot.sh"));
/// The reader of `extensions.yaml`.
const LAYERS: &str = include_str!("init/layers.awk");

/// What decides the boot, beside the packages.
pub(crate) const SCRIPTS: [&str; 3] = [INIT, BOOT, LAYERS];

/// Effort of the frame. Nearly all of it is squashfs, which no effort shrinks; the kernel decodes any window up
/// to 128 MiB, and this level's has 2 MiB.
const LEVEL: i32 = 6;
/// The kernel's largest modules have 10 MB.
const MODULE_LEN_MAX: u64 = 64 << 20;
/// The longest initramfs: the seed's have a tenth of it.
const LEN_MAX: u64 = 2 << 30;

/// The initramfs around `rootfs`, compressed, in `scratch`.
///
/// # Errors
/// `FileMissing`, `Io`.
pub(crate) fn initramfs(
    kernel: &str,
    modules: &Modules,
    busybox: &ExtentMap,
    rootfs: ExtentMap,
    scratch: &Scratch,
    step: &Step<'_>,
) -> Result<ExtentMap, Error> {
    let mut early = Vec::new();
    for (path, content) in modules.load_order(kernel, &EARLY)? {
        let module = decompressed(&path, content, scratch).map_err(Error::io("read module", &path))?;
        early.push((format!("{}.ko", module_name(&path)), module));
    }
    let tree = tree(early, busybox, rootfs).expect("these paths are valid and apart");
    let archive = formats::cpio::archive(&tree, EPOCH).expect("no entry is beyond what cpio carries");

    let failed = || Error::io("write", "initramfs");
    let mut encoder =
        zstd::Encoder::new(scratch.begin(LEN_MAX).map_err(failed())?, LEVEL).map_err(failed())?;
    encoder.include_checksum(true).map_err(failed())?;
    let mut archive = reader(&archive, scratch);
    let mut buf = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let n = archive.read(&mut buf).map_err(failed())?;
        if n == 0 {
            break;
        }
        encoder.write_all(&buf[..n]).map_err(failed())?;
        done += n as u64;
        step.at(done);
    }
    Ok(scratch.finish(encoder.finish().map_err(failed())?))
}

fn tree(early: Vec<(String, Vec<u8>)>, busybox: &ExtentMap, rootfs: ExtentMap) -> Result<Tree, TreeError> {
    let mut tree = Tree::new();
    tree.file("init", INIT.as_bytes().to_vec(), 0o755)?;
    tree.file("layers.awk", LAYERS.as_bytes().to_vec(), 0o644)?;
    tree.file("bin/busybox", busybox.clone(), 0o755)?;
    let mut order = String::new();
    for (name, module) in early {
        order.push_str(&name);
        order.push('\n');
        tree.file(&format!("modules/{name}"), module, 0o644)?;
    }
    tree.file("modules/order", order.into_bytes(), 0o644)?;
    for dir in ["dev", "proc", "sys", "root"] {
        tree.directory(dir, 0o755)?;
    }
    tree.file("rootfs.sqsh", rootfs, 0o644)?;
    Ok(tree)
}

/// The module itself: busybox' insmod hands the kernel what the file has, and not every kernel decompresses.
/// The signature is inside and stays.
fn decompressed(path: &str, content: &ExtentMap, blobs: &dyn Blobs) -> io::Result<Vec<u8>> {
    let bytes = read_all(content, blobs, MODULE_LEN_MAX)?;
    let mut module = Vec::new();
    match path.rsplit('.').next() {
        Some("xz") => liblzma::read::XzDecoder::new(&*bytes).take(MODULE_LEN_MAX).read_to_end(&mut module)?,
        Some("zst") => zstd::Decoder::new(&*bytes)?.take(MODULE_LEN_MAX).read_to_end(&mut module)?,
        Some("gz") => flate2::read::GzDecoder::new(&*bytes).take(MODULE_LEN_MAX).read_to_end(&mut module)?,
        _ => return Ok(bytes),
    };
    Ok(module)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// What busybox, run with `arguments`, makes of `input`: its output, its errors, whether it succeeded.
    fn busybox(arguments: &[&str], input: &str) -> Option<(String, String, bool)> {
        let mut child = Command::new(ci::tool("busybox")?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may have said no before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Some((text(output.stdout), text(output.stderr), output.status.success()))
    }

    #[test]
    fn busybox_parses_both_scripts() {
        for script in [INIT, BOOT] {
            let Some((_, said, parses)) = busybox(&["sh", "-n"], script) else { return };
            assert!(parses, "{said}");
        }
        let Some((_, _, parses)) = busybox(&["sh", "-n"], "if true; then\n") else { return };
        assert!(!parses);
    }

    fn layers(yaml: &str) -> Option<Result<Vec<String>, String>> {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("layers.awk");
        std::fs::write(&script, LAYERS).unwrap();
        let (output, said, succeeds) = busybox(&["awk", "-f", script.to_str().unwrap()], yaml)?;
        Some(if succeeds { Ok(output.lines().map(str::to_owned).collect()) } else { Err(said) })
    }

    #[test]
    fn layers_are_read_whatever_their_texts_contain() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("layers: []\n", &[]),
            ("layers:\n", &[]),
            ("layers: [ ] # none\n", &[]),
            (
                "---\nlayers:\n- image: 0.sqsh\n  metadata:\n    name: a\n    version: 1.0\n",
                &["0.sqsh a 1.0"],
            ),
            (
                "# a comment\nother: {layers: x}\nlayers:\n    # one\n    - image: modules.dep.sqsh\n      metadata:\n        name: modules.dep\n\
                 \x20       version: 6.12.117+deb13-amd64\n        author: Talos\nlast:\n    - image: z\n",
                &["modules.dep.sqsh modules.dep 6.12.117+deb13-amd64"],
            ),
            // Keys in any order, two layers, versions of something else.
            (
                "layers:\n  - metadata:\n      compatibility:\n        talos:\n          version: '>= 1.0.0'\n      version: v1\n\
                 \x20     name: x\n    image: 0.sqsh\n  - metadata:\n      name: y\n    image: 1.sqsh\n",
                &["0.sqsh x v1", "1.sqsh y -"],
            ),
            // Quoted in both ways, with escapes and comments; a quoted text that spans lines and looks like keys.
            (
                "layers:\n  - \"image\": '0.sqsh' # c\n    metadata:\n      name: \"a\\\"b\\u0063\\t\" \n      version: 'it''s: 1' # x\n\
                 \x20     description: \"one\n        image: evil.sqsh\n\n        name: evil\\\"\n        end\"\n  - image: \"1.sqsh\"\n",
                &["0.sqsh a_bc_ it_s:_1", "1.sqsh - -"],
            ),
            // Block scalars that contain a whole list of layers.
            (
                "layers:\n    - image: 0.sqsh\n      metadata:\n        name: s\n        extraInfo: |-\n            layers:\n\n                - image: evil.sqsh\n\
                 \x20               metadata:\n                    name: evil\n        version: 2\n    - image: 1.sqsh\n      metadata:\n\
                 \x20       description: >\n          - image: evil\n        name: t\n",
                &["0.sqsh s 2", "1.sqsh t -"],
            ),
            // A plain text that goes on in the next line.
            (
                "layers:\n- image: 0.sqsh\n  metadata:\n    description: some\n      long text\n      - image\n    name: p\n    version: a b/c\n",
                &["0.sqsh p a_b_c"],
            ),
            ("layers:\r\n- image: 0.sqsh\r\n  metadata:\r\n    name: w\r\n", &["0.sqsh w -"]),
        ];
        for (yaml, expected) in cases {
            let Some(found) = layers(yaml) else { return };
            assert_eq!(
                found.as_deref(),
                Ok(&expected.iter().map(|&s| s.to_owned()).collect::<Vec<_>>()[..]),
                "{yaml}"
            );
        }
    }

    #[test]
    fn a_list_that_is_not_understood_loses_no_layer_in_silence() {
        for yaml in [
            "layers: [{image: 0.sqsh}]\n",
            "layers:\n- {image: 0.sqsh}\n",
            "layers:\n- image: 0.sqsh\n  metadata: {name: a}\n",
            "layers:\n- metadata:\n    name: a\n",
            "layers:\n- image: ../../dev/sda\n",
            "layers:\n- image: a/b.sqsh\n",
            "layers:\n- image: .\n",
            "layers:\n- image: |\n    0.sqsh\n",
            "layers:\n- image: \"0.sqsh\n",
            "layers:\n- - image: 0.sqsh\n",
            "layers:\n- 0.sqsh\n",
        ] {
            let Some(found) = layers(yaml) else { return };
            assert!(found.is_err(), "{yaml}: {found:?}");
        }
    }
}
