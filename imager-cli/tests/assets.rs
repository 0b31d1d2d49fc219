//! Every asset of every extension of a real version, looked into.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use extent::{ExtentMap, read_all};
use formats::{cpio, pe};
use imager::{Artifact, AssetKind, Factory, Resolved, Version, plan};
use schematics::Schematic;
use seed::Suite;
use store::Store;

/// A factory over real source images, and their version. None, said aloud, where the machine cannot seed.
async fn seeded() -> Option<(Factory, Version)> {
    let seeded = tokio::task::spawn_blocking(|| ci::seeded(Suite::Trixie)).await.unwrap()?;
    Some((Factory::open(Store::open(seeded.dir).unwrap()), seeded.version.parse().unwrap()))
}

/// Every extension of the version, modules among them, and microcode where there is such a thing.
async fn everything(factory: &Factory, version: &Version, arch: &str) -> Schematic {
    let offers = factory.extensions(version).await.unwrap();
    let names = offers.into_iter().map(|offer| offer.name);
    let names: Vec<String> = names.filter(|name| arch == "amd64" || !name.ends_with("-ucode")).collect();
    let yaml = format!("customization: {{systemExtensions: {{officialExtensions: [{}]}}}}", names.join(", "));
    Schematic::parse(yaml.as_bytes()).unwrap()
}

async fn resolve(factory: &Factory, schematic: &Schematic, version: &Version, path: &str) -> Resolved {
    let resolved = factory.resolve(schematic, version, &path.parse().unwrap()).await;
    resolved.unwrap_or_else(|error| panic!("{path} of {version}: {error}"))
}

fn bytes(factory: &Factory, map: &ExtentMap) -> Vec<u8> {
    read_all(map, factory.store(), 1 << 30).unwrap()
}

#[tokio::test]
async fn every_asset_is_what_its_kind_promises() {
    let Some((factory, version)) = seeded().await else { return };
    for arch in ["amd64", "arm64"] {
        for schematic in [Schematic::default(), everything(&factory, &version, arch).await] {
            for path in [
                format!("kernel-{arch}"),
                format!("initramfs-{arch}.xz"),
                format!("cmdline-metal-{arch}"),
                format!("metal-{arch}-uki.efi"),
                format!("metal-{arch}.raw"),
                format!("metal-{arch}.raw.zst"),
            ] {
                let resolved = resolve(&factory, &schematic, &version, &path).await;
                check(&factory, &resolved, &plan(&resolved).unwrap());
            }
        }
    }
}

fn check(factory: &Factory, resolved: &Resolved, artifact: &Artifact) {
    let lock = &resolved.lock;
    let name = format!("{} of {}", lock.asset, lock.version);
    match lock.asset.kind() {
        AssetKind::Uki => {
            let image = bytes(factory, &artifact.extents);
            let sections = pe::sections(&image).unwrap();
            let names: Vec<&str> = sections.iter().map(|section| section.name.as_str()).collect();
            let ours = [".osrel", ".cmdline", ".uname", ".linux", ".initrd", ".profile"];
            assert!(names.ends_with(&ours), "{name}: {names:?}");
            let uname = sections.iter().find(|section| section.name == ".uname").unwrap();
            let range = usize::try_from(uname.data.start).unwrap()..usize::try_from(uname.data.end).unwrap();
            let release = String::from_utf8_lossy(&image[range]);
            assert!(release.ends_with(lock.asset.arch().name()), "{name}: {release}");
        }
        AssetKind::Initramfs => {
            let image = bytes(factory, &artifact.extents);
            let microcode = lock.extensions.iter().any(|e| e.intel_ucode.is_some() || e.amd_ucode.is_some());
            assert_eq!(image.starts_with(b"070701"), microcode, "{name}");
            if microcode {
                let first = cpio::entries(&image).next().unwrap().unwrap();
                assert_eq!(first.name, b"kernel", "{name}");
            }
            let modules = lock.extensions.iter().any(|extension| extension.has_modules);
            assert_eq!(lock.modules.is_some(), modules, "{name}");
        }
        _ => assert!(!artifact.extents.is_empty(), "{name}"),
    }
}

#[tokio::test]
async fn the_index_of_modules_knows_those_of_base_and_extension() {
    let Some((factory, version)) = seeded().await else { return };
    let Some(unsquashfs) = ci::tool("unsquashfs") else { return };
    for arch in ["amd64", "arm64"] {
        let path = format!("initramfs-{arch}.xz");
        let schematic = everything(&factory, &version, arch).await;
        let modules = resolve(&factory, &schematic, &version, &path).await.lock.modules.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("modules.sqsh");
        let layer = ExtentMap::blob(modules.layer.digest, 0, modules.layer.len);
        factory.store().write_file(&layer, &image, &|_| {}).unwrap();
        let release = &modules.manifest.version;
        let index = format!("usr/lib/modules/{release}/modules.dep");
        let output = Command::new(&unsquashfs).arg("-cat").arg(&image).arg(index).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("/drbd.ko") && text.contains("/overlay.ko"), "{path}: {release}");
    }
}
