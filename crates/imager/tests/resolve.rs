//! Requests against a store of made source images.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use imager::{Arch, Asset, Error, ErrorClass, Resolved, Version, plan};
use schematics::Schematic;
use support::{Made, made, noise};

const FILES: [(&str, &[u8]); 2] =
    [("amd64/vmlinuz", b"the kernel"), ("amd64/initramfs.xz", b"the initramfs")];

async fn resolve(made: &Made, yaml: &str, version: &str, path: &str) -> Result<Resolved, Error> {
    let schematic = Schematic::parse(yaml.as_bytes()).unwrap();
    let version: Version = version.parse().unwrap();
    let asset: Asset = path.parse().unwrap();
    made.factory.resolve(&schematic, &version, &asset).await
}

async fn bytes(made: &Made, yaml: &str, version: &str, path: &str) -> Vec<u8> {
    let resolved = resolve(made, yaml, version, path).await.unwrap();
    let artifact = plan(&resolved).unwrap();
    assert_eq!(artifact.name, path);
    let mut bytes = Vec::new();
    made.store.write_to(&artifact.extents, &mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn the_kernel_is_the_images_kernel_and_the_same_for_all_schematics() {
    let made = made();
    made.imager("v13.1.0", &FILES);
    assert_eq!(bytes(&made, "{}", "v13.1.0", "kernel-amd64").await, b"the kernel");
    let plain = resolve(&made, "{}", "13.1.0", "kernel-amd64").await.unwrap();
    let custom =
        "customization: {extraKernelArgs: [a], systemExtensions: {officialExtensions: [siderolabs/x]}}";
    let custom = resolve(&made, custom, "13.1.0", "kernel-amd64").await.unwrap();
    assert_eq!(plain.lock, custom.lock);
    assert_eq!(plain.lock.digest(), custom.lock.digest());
}

#[tokio::test]
async fn a_version_that_can_have_no_tag_is_not_there() {
    let made = made();
    made.imager("v13.1.0", &FILES);
    let error = resolve(&made, "{}", "v13.1.0+x", "kernel-amd64").await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NotFound, "{error}");
}

#[tokio::test]
async fn the_command_line_is_text_without_an_end_of_line() {
    let made = made();
    made.imager("v13.1.0", &FILES);
    let yaml = "customization: {extraKernelArgs: [console=ttyS0, imager.test=poweroff]}";
    let line = bytes(&made, yaml, "v13.1.0", "cmdline-metal-amd64").await;
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "talos.platform=metal console=ttyS0 slab_nomerge pti=on consoleblank=0 printk.devkmsg=on selinux=1 \
         module.sig_enforce=1 proc_mem.force_override=never imager.test=poweroff"
    );
}

#[tokio::test]
async fn versions_are_listed_as_the_reference_does() {
    let made = made();
    for version in [
        "v1.1.0",
        "v1.2.0",
        "v1.10.2",
        "v1.9.5",
        "v1.10.0-beta.0",
        "v1.11.0-alpha.1",
        "v1.11.0-alpha.0-12-gabcdef",
        "latest",
    ] {
        made.imager(version, &FILES);
    }
    let versions = made.factory.versions().await.unwrap();
    let texts: Vec<String> = versions.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["v1.2.0", "v1.9.5", "v1.10.2", "v1.11.0-alpha.1"]);
}

#[tokio::test]
async fn a_version_that_is_not_there_is_answered_with_the_nearest() {
    let made = made();
    made.imager("v12.11.0", &FILES);
    made.imager("v13.1.0", &FILES);
    for (version, expected) in [
        ("v13.9.0", "version 13.9.0 is not available, the nearest are `v13.1.0`, `v12.11.0`"),
        ("v7.0.0", "version 7.0.0 is not available, the nearest are `v12.11.0`, `v13.1.0`"),
    ] {
        let error = resolve(&made, "{}", version, "kernel-amd64").await.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!((error.class(), error.exit_code()), (ErrorClass::NotFound, 2));
        assert!(made.factory.extensions(&version.parse().unwrap()).await.is_err());
    }
}

#[tokio::test]
async fn an_extension_that_is_not_there_is_answered_with_the_nearest() {
    let made = made();
    made.imager("v13.1.0", &FILES);
    let image = made.manifest(Arch::Amd64, &[]);
    made.catalogue("v13.1.0", &[("qemu-guest-agent", image), ("iscsi-tools", image)]);
    let yaml = "customization: {systemExtensions: {officialExtensions: [siderolabs/qemu-agent]}}";
    let error = resolve(&made, yaml, "13.1.0", "initramfs-amd64.xz").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "official extension \"siderolabs/qemu-agent\" is not available for Debian version v13.1.0, did you mean \
         `siderolabs/qemu-guest-agent`?"
    );
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::BadRequest, 2));
    let offers = made.factory.extensions(&"v13.1.0".parse().unwrap()).await.unwrap();
    assert_eq!(offers[0].name, "siderolabs/qemu-guest-agent");
    assert_eq!(offers[0].reference, "ghcr.io/siderolabs/qemu-guest-agent:1.0");
    assert_eq!((&*offers[1].author, &*offers[1].description), ("Nobody", "About iscsi-tools"));
}

#[tokio::test]
async fn a_blob_that_was_taken_away_is_derived_again_and_a_source_that_was_is_named() {
    let made = made();
    let image = made.imager("v13.1.0", &FILES);
    let first = resolve(&made, "{}", "13.1.0", "kernel-amd64").await.unwrap();
    let kernel = first.lock.boot_files.as_ref().unwrap().kernel.digest;
    std::fs::remove_file(made.blob_path(&kernel)).unwrap();
    assert_eq!(bytes(&made, "{}", "13.1.0", "kernel-amd64").await, b"the kernel");

    std::fs::remove_file(made.blob_path(&kernel)).unwrap();
    std::fs::remove_file(made.blob_path(&image.digest)).unwrap();
    let error = resolve(&made, "{}", "13.1.0", "kernel-amd64").await.unwrap_err();
    assert!(error.to_string().contains(&image.digest.hex()), "{error}");
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::Unavailable, 5));
}

#[tokio::test]
async fn source_images_that_are_not_as_they_should_be_are_named() {
    let made = made();
    made.imager("v13.1.0", &FILES[..1]);
    let error = resolve(&made, "{}", "13.1.0", "kernel-amd64").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "image `siderolabs/imager:v13.1.0` has no file `usr/install/amd64/initramfs.xz`"
    );
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::Internal, 5));

    // An image of the other architecture alone is as good as none.
    let error = resolve(&made, "{}", "13.1.0", "kernel-arm64").await.unwrap_err();
    assert_eq!(error.to_string(), "image `siderolabs/imager:v13.1.0` is not there for `arm64`");
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::BadRequest, 3));

    let index = made.index(&[(Arch::Arm64, made.manifest(Arch::Arm64, &[]))]);
    made.tag("siderolabs/imager", "v13.2.0", &index);
    let error = resolve(&made, "{}", "13.2.0", "kernel-arm64").await.unwrap_err();
    assert_eq!(error.to_string(), "image `siderolabs/imager:v13.2.0` is not there for `amd64`");

    let garbage = made.store.put_bytes(b"{}").unwrap();
    made.tag("siderolabs/imager", "v13.3.0", &garbage);
    let error = resolve(&made, "{}", "13.3.0", "kernel-amd64").await.unwrap_err();
    assert_eq!(error.to_string(), "the manifest of image `siderolabs/imager:v13.3.0` is damaged");
}

#[tokio::test]
async fn a_flipped_bit_in_a_source_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let made = made();
    let kernel = noise("kernel", 10_000);
    let image = made.imager("v13.1.0", &[("amd64/vmlinuz", &kernel), ("amd64/initramfs.xz", b"x")]);
    let manifest: serde_json::Value =
        serde_json::from_slice(&made.store.bytes(&image.digest, 1 << 20).unwrap()).unwrap();
    let layer: extent::Digest = manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap();
    let path = made.blob_path(&layer);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = resolve(&made, "{}", "13.1.0", "kernel-amd64").await.unwrap_err();
    let mut chain = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        chain.extend([": ", &error.to_string()]);
        source = error.source();
    }
    assert!(chain.contains(&layer.hex()) && chain.contains("corrupt"), "{chain}");
    assert_eq!((error.class(), error.exit_code()), (ErrorClass::Internal, 6));
}

#[tokio::test]
async fn schematics_are_kept_by_their_ids_and_other_blobs_are_none() {
    let made = made();
    let schematic = Schematic::parse(b"customization: {extraKernelArgs: [a]}").unwrap();
    let id = made.factory.put_schematic(&schematic).await.unwrap();
    assert_eq!(id, schematic.id());
    assert_eq!(made.factory.schematic(id).await.unwrap(), Some(schematic));
    for other in [&b"customization: {extraKernelArgs: [b]} # not canonical"[..], &noise("x", 3 << 20)] {
        let blob = made.store.put_bytes(other).unwrap();
        assert_eq!(made.factory.schematic(blob.digest.into()).await.unwrap(), None);
    }
    assert_eq!(made.factory.schematic(Schematic::default().id()).await.unwrap(), None);
}
