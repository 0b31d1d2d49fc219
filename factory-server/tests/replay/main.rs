//! What the reference's own integration tests assert, over real HTTP. What differs on purpose stands in
//! `docs/deviations.md`.
//!
//! The store holds small images made here, of versions of Talos; real ones are downloaded and booted by the tests of
//! `imager`.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod cors;
mod downloads;
mod frontend;
mod meta;
mod openapi;
mod pxe;
mod schematics;
#[path = "../../../crates/imager/tests/support/mod.rs"]
mod support;
mod talosctl;

use common::Server;
use factory_server::Site;
use imager::Arch;
use support::{Made, made, noise, stub, tree};

/// Talos as far as a factory can see it: one version of each generation.
const VERSIONS: [&str; 5] = ["v1.5.0", "v1.7.0", "v1.10.2", "v1.11.0", "v1.12.0"];
/// The id of the empty schematic.
const EMPTY: &str = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";

/// A server over a store with [`VERSIONS`], with a broken one.
async fn server() -> (Made, Server) {
    let made = made();
    for version in VERSIONS {
        let stubs = Arch::ALL.map(stub);
        let mut files: Vec<(String, Vec<u8>)> = Vec::new();
        for (arch, stub) in Arch::ALL.into_iter().zip(stubs) {
            for (name, content) in [
                ("vmlinuz", noise(&format!("kernel {version} {arch}"), 50_000)),
                ("initramfs.xz", noise(&format!("initramfs {version} {arch}"), 70_001)),
                ("systemd-stub.efi", stub),
                ("systemd-boot.efi", noise("systemd-boot", 10_000)),
            ] {
                files.push((format!("{arch}/{name}"), content));
            }
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (&**path, &**content)).collect();
        made.imager(version, &files);
        let extensions: Vec<_> = ["amd-ucode", "gvisor", "gasket-driver"]
            .into_iter()
            .map(|name| {
                let layer =
                    support::extension(name, ">= 1.0.0", &[(&format!("usr/local/share/{name}"), b"it")]);
                (
                    name,
                    made.index(
                        &Arch::ALL.map(|arch| (arch, made.manifest(arch, std::slice::from_ref(&layer)))),
                    ),
                )
            })
            .collect();
        made.catalogue(version, &extensions);
        let digest = extent::Digest::of(b"overlay");
        let overlays = format!(
            "overlays:\n- name: rpi_generic\n  image: ghcr.io/siderolabs/sbc-raspberrypi:v0.1.0\n  digest: {digest}\n\
             - name: rock64\n  image: ghcr.io/siderolabs/sbc-rockchip:v0.1.0\n  digest: {digest}\n"
        );
        let catalogue = made.manifest(Arch::Amd64, &[tree(&[("overlays.yaml", overlays.as_bytes())])]);
        made.tag("siderolabs/overlays", version, &catalogue);
    }
    for version in ["v1.11.0", "v1.12.0"] {
        let clients: &[(&str, &[u8])] = &[
            ("talosctl-linux-amd64", b"for linux"),
            ("talosctl-darwin-arm64", b"for darwin"),
            ("talosctl-windows-amd64.exe", b"for windows"),
        ];
        let image = made.manifest(Arch::Amd64, &[tree(clients)]);
        made.tag("siderolabs/talosctl-all", version, &image);
    }
    let mut site = Site::at("https://factory.example/");
    "https://pxe.factory.example".clone_into(&mut site.external_pxe_url);
    site.broken_versions = vec!["v1.10.2".parse().unwrap()];
    site.signing_cert = Some("-----BEGIN CERTIFICATE-----\n".into());
    let server = Server::at(made.factory.clone(), site).await;
    (made, server)
}

/// The id of `schematic`, which the server has then.
async fn registered(server: &Server, schematic: &'static str) -> String {
    let taken: serde_json::Value = server.post(schematic).await.json().await.unwrap();
    taken["id"].as_str().unwrap().to_owned()
}
