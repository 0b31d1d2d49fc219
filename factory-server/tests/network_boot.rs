//! Machines that boot over the network: iPXE runs the script and fetches kernel and initramfs; UEFI firmware fetches the
//! unified kernel image itself. The system inside says that it is up.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use factory_server::Site;
use imager::Factory;
use seed::Suite;
use store::Store;
use tokio::net::TcpListener;

/// Emulated, and the firmware takes its time with a hundred megabytes: a quiet machine needs 40 s.
const TIMEOUT: Duration = Duration::from_mins(10);
const SCHEMATIC: &str = "customization:
    extraKernelArgs: [console=ttyS0, imager.test=poweroff]
    systemExtensions:
        officialExtensions: [siderolabs/iscsi-tools]
";

/// A machine; killed when the test is over.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The addresses below which machines and the test reach a server over the store. QEMU's user network has the host's
/// loopback at 10.0.2.2.
async fn serve(store: &Path) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let inside = format!("http://10.0.2.2:{port}");
    let routes = factory_server::routes(Factory::open(Store::open(store).unwrap()), Site::at(&inside));
    tokio::spawn(factory_server::serve(
        listener,
        routes,
        factory_server::Settings::default(),
        std::future::pending(),
    ));
    (inside, format!("http://127.0.0.1:{port}"))
}

/// The schematic's id at the server.
async fn register(outside: &str) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let taken = client.post(format!("{outside}/schematics")).body(SCHEMATIC).send().await.unwrap();
    taken.json::<serde_json::Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Starts a machine with `flags`; gives what its serial line says, up to `line`.
async fn boot(qemu: &Path, flags: &[&str], line: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let machine = Command::new(qemu)
        .args(["-machine", "q35,smm=off", "-cpu", "max", "-accel", "tcg", "-smp", "1", "-m", "2048"])
        .args(["-nographic", "-no-reboot", "-monitor", "none", "-device", "virtio-net-pci,netdev=net"])
        .args(["-device", "virtio-rng-pci", "-serial"])
        .arg(format!("file:{}", log.display()))
        .args(flags)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut machine = Machine(machine);
    let begun = Instant::now();
    loop {
        let ended = machine.0.try_wait().unwrap().is_some();
        let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
        if said.contains(line) || ended || begun.elapsed() > TIMEOUT {
            return said;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn seeded() -> Option<ci::Seeded> {
    tokio::task::spawn_blocking(|| ci::seeded(Suite::Trixie)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ipxe_boots_from_a_script() {
    let Some(qemu) = ci::tool("qemu-system-x86_64") else { return };
    let Some(ci::Seeded { dir, version }) = seeded().await else { return };
    let (inside, outside) = serve(&dir).await;
    let id = register(&outside).await;
    let line = format!("IMAGER-BOOT-OK schematic={id} version={version} arch=amd64 extensions=iscsi-tools@");
    let net = format!("user,id=net,bootfile={inside}/pxe/{id}/{version}/metal-amd64");
    let said = boot(&qemu, &["-boot", "n", "-netdev", &net], &line).await;
    assert!(said.contains(&line), "no `{line}` in\n{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn firmware_boots_a_unified_kernel_image_over_http() {
    let code = "/usr/share/OVMF/OVMF_CODE_4M.fd";
    let (Some(qemu), Some(_)) = (ci::tool("qemu-system-x86_64"), ci::file(code, "ovmf")) else { return };
    let Some(variables) = ci::tool("virt-fw-vars") else { return };
    let Some(ci::Seeded { dir, version }) = seeded().await else { return };
    let (inside, outside) = serve(&dir).await;
    let id = register(&outside).await;

    let scratch = tempfile::tempdir().unwrap();
    let vars = scratch.path().join("vars.fd");
    let mut set = Command::new(variables);
    set.args(["--input", "/usr/share/OVMF/OVMF_VARS_4M.fd", "--output"]).arg(&vars);
    set.args(["--set-boot-uri", &format!("{inside}/image/{id}/{version}/metal-amd64-uki.efi")]);
    assert!(set.output().unwrap().status.success());
    let code = format!("if=pflash,format=raw,readonly=on,file={code}");
    let vars = format!("if=pflash,format=raw,file={}", vars.display());
    let line = format!("IMAGER-BOOT-OK schematic={id} version={version} arch=amd64 extensions=iscsi-tools@");
    let flags = ["-drive", &code, "-drive", &vars, "-netdev", "user,id=net"];
    let said = boot(&qemu, &flags, &line).await;
    assert!(said.contains(&line), "no `{line}` in\n{said}");
}
