//! iPXE scripts.

use crate::common::field;
use crate::{registered, server};

#[tokio::test]
async fn scripts_are_the_references() {
    let (_made, server) = server().await;
    let id = registered(&server, "customization: {extraKernelArgs: [nolapic]}").await;
    let fixed = "init_on_alloc=1 slab_nomerge pti=on consoleblank=0 nvme_core.io_timeout=4294967295 printk.devkmsg=on";
    let table = [
        (
            "1.5.0",
            "metal-amd64",
            "amd64",
            format!(
                "talos.platform=metal console=ttyS0 console=tty0 {fixed} ima_template=ima-ng ima_appraise=fix ima_hash=sha512 nolapic"
            ),
        ),
        (
            "v1.11.0",
            "metal-amd64",
            "amd64",
            format!("talos.platform=metal console=tty0 {fixed} selinux=1 nolapic"),
        ),
        (
            "v1.11.0",
            "metal-x86_64",
            "amd64",
            format!("talos.platform=metal console=tty0 {fixed} selinux=1 nolapic"),
        ),
        (
            "v1.11.0",
            "equinixMetal-amd64",
            "amd64",
            format!("talos.platform=equinixMetal console=ttyS1,115200n8 {fixed} selinux=1 nolapic"),
        ),
        (
            "v1.11.0",
            "metal-arm64",
            "arm64",
            format!("talos.platform=metal console=ttyAMA0 console=tty0 {fixed} selinux=1 nolapic"),
        ),
    ];
    for (version, path, arch, command_line) in table {
        let response = server.get(&format!("/pxe/{id}/{version}/{path}")).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(field(&response, "content-type"), "text/plain; charset=utf-8");
        let image = format!("/image/{id}/v{}", version.trim_start_matches('v'));
        let base = format!("https://pxe.factory.example{image}");
        let text = response.text().await.unwrap();
        assert_eq!(
            text,
            format!(
                "#!ipxe\n\nimgfree\nkernel {base}/kernel-{arch} {command_line}\ninitrd {base}/initramfs-{arch}.xz\nboot\n"
            )
        );
        // What the script names is there.
        for asset in [format!("kernel-{arch}"), format!("initramfs-{arch}.xz")] {
            let response = server.head(&format!("{image}/{asset}")).send().await.unwrap();
            assert_eq!(response.status(), 200, "{asset}");
        }
    }
}

#[tokio::test]
async fn a_script_for_secure_boot_boots_the_signed_image() {
    let (_made, server) = server().await;
    let id = registered(&server, "{}").await;
    let response = server.get(&format!("/pxe/{id}/v1.11.0/metal-amd64-secureboot")).send().await.unwrap();
    let text = response.text().await.unwrap();
    let base = format!("https://pxe.factory.example/image/{id}/v1.11.0");
    assert!(
        text.starts_with(&format!("#!ipxe\n\nimgfree\nkernel {base}/metal-amd64-secureboot-uki.efi ")),
        "{text}"
    );
    assert!(
        text.contains(" lockdown=confidentiality") && text.ends_with("\nboot\n") && !text.contains("initrd"),
        "{text}"
    );
}

#[tokio::test]
async fn what_would_be_a_command_is_refused() {
    let (_made, server) = server().await;
    for schematic in [
        r#"customization: {extraKernelArgs: ["a ${net0/mac}"]}"#,
        r#"customization: {extraKernelArgs: ["a || shell"]}"#,
        r##"customization: {extraKernelArgs: ["#a"]}"##,
    ] {
        let id = registered(&server, schematic).await;
        let response = server.get(&format!("/pxe/{id}/v1.11.0/metal-amd64")).send().await.unwrap();
        assert_eq!(response.status(), 400, "{schematic}");
    }
    // A line feed parts words of a command line, as the kernel sees it: it makes no line of the script.
    let id = registered(&server, r#"customization: {extraKernelArgs: ["a\nshell"]}"#).await;
    let response = server.get(&format!("/pxe/{id}/v1.11.0/metal-amd64")).send().await.unwrap();
    let text = response.text().await.unwrap();
    assert!(text.lines().count() == 6 && text.contains(" a shell\ninitrd "), "{text}");
}
