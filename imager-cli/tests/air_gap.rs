//! The page about air gaps, as it is read: what needs a network where there is one, the rest where there is none.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod remote_support;
mod sign;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::imager;
use cosign::SigningKey;
use extent::Digest;
use remote_support::Program;
use seed::Suite;
use store::Store;

const PAGE: &str = include_str!("../../docs/air-gap.md");
const SCHEMATIC: &str = "customization:
  systemExtensions:
    officialExtensions: [siderolabs/iscsi-tools]
";

/// A command that must fail: a shell forgives what stands behind `!`.
const NOT: &str = "not() { if \"$@\"; then echo \"succeeded: $*\" >&2; return 1; fi; }";

/// A factory outside; killed when it goes out of scope.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The commands of one half of the page.
fn commands(heading: &str) -> Vec<&'static str> {
    let half = PAGE.split("\n## ").find(|half| half.starts_with(heading)).unwrap();
    half.lines().filter_map(|line| line.strip_prefix("    ")).collect()
}

/// Where the programs of the workspace are.
fn programs() -> PathBuf {
    let dir = assert_cmd::cargo::cargo_bin("imager").parent().unwrap().to_owned();
    let server = dir.join("factory-server");
    assert!(server.is_file(), "`cargo build -p factory-server` makes `{}`", server.display());
    dir
}

/// Starts the server on the store in `store`; gives its address.
fn serve(store: &Path) -> (Server, String) {
    let mut command = Command::new(programs().join("factory-server"));
    command.env_remove("RUST_LOG").env("IMAGER_STORE", store).args(["--listen", "127.0.0.1:0"]);
    let mut server = Server(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("http://").unwrap().to_owned();
    (server, address)
}

/// Runs `script` in `dir`, in a network of its own if `apart`.
fn shell(dir: &Path, script: &str, apart: bool) -> Output {
    let mut command = if apart {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let mut command = Command::new("unshare");
        // Who is nobody's root becomes one's own.
        command.args(if is_root { &["-n"][..] } else { &["-rn"] }).arg("bash");
        command
    } else {
        Command::new("bash")
    };
    let path = format!("{}:{}:/usr/sbin:/sbin", programs().display(), std::env::var("PATH").unwrap());
    let store = dir.join(if apart { "inside" } else { "outside" });
    command.current_dir(dir).env("PATH", path).env("IMAGER_STORE", store).env("HOME", dir);
    command.env("DOCKER_CONFIG", dir).env("NO_PROXY", "*").env_remove("RUST_LOG");
    command.args(["-euo", "pipefail", "-c", script]).output().unwrap()
}

fn ok(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    out.into_owned()
}

fn imager_ok(store: &Path, dir: &Path, args: &[&str]) {
    let output = imager(store).env("DOCKER_CONFIG", dir).current_dir(dir).args(args).output().unwrap();
    ok(&output);
}

#[test]
fn a_factory_without_a_network_makes_the_same_images_and_is_verified() {
    for tool in ["unshare", "ip", "curl", "skopeo", "crane", "cosign"] {
        if ci::tool(tool).is_none() {
            return;
        }
    }
    let Some(registry) = Program::start() else { return };
    let Some(ci::Seeded { dir: seeded, version }) = ci::seeded(Suite::Trixie) else { return };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("schematic.yaml"), SCHEMATIC).unwrap();
    let id = schematics::Schematic::parse(SCHEMATIC.as_bytes()).unwrap().id().to_string();

    // Somebody publishes source images, signed, and serves them.
    let published = format!("{}/", dir.join("published").display());
    imager_ok(&seeded, dir, &["mirror", "--version", &version, "--unsigned", "--to", &published]);
    let key = SigningKey::generate().unwrap();
    fs::write(dir.join("cosign.pub"), key.public_key_pem()).unwrap();
    fs::write(dir.join("key.pem"), key.to_pem().as_bytes()).unwrap();
    fs::write(dir.join("other.pub"), SigningKey::generate().unwrap().public_key_pem()).unwrap();
    sign::everything(&Store::open(&published).unwrap(), &key, &version);
    let (_server, address) = serve(Path::new(&published));
    let fill = |line: &str| {
        let line = line.replace("ghcr.io", &address).replace("registry.example", &registry.host);
        let line = line.replace("<schematic>", &id).replace("v13.1.0", &version);
        line.replace("curl ", "curl --fail --silent --show-error ")
    };

    let outside: Vec<String> = commands("Where there is a network").into_iter().map(fill).collect();
    assert_eq!(outside.len(), 3, "{outside:?}");
    ok(&shell(dir, &outside.join("\n"), false));
    assert!(dir.join("copied/index.json").is_file());

    // The control: what is reached from here is not reached from there, by any address.
    let reach = format!("curl --fail --silent --max-time 5 http://{address}/healthz");
    ok(&shell(dir, &reach, false));
    let reach = format!("{NOT}; ip link set lo up; not {reach}; test -z \"$(ip route)\"; ip -o link");
    assert_eq!(ok(&shell(dir, &reach, true)).lines().count(), 1, "the loopback only");

    let inside = commands("Where there is none");
    let (push, inside): (Vec<&str>, _) = inside.into_iter().partition(|line| line.starts_with("imager push"));
    let inside: Vec<String> = inside.into_iter().map(fill).collect();
    assert!(inside.len() > 8 && push.len() == 1, "{inside:?}");
    let script = [
        NOT,
        "ip link set lo up; trap 'kill $(jobs -p)' EXIT",
        "not imager store load mirror.tar --key other.pub; test -z \"$(imager versions)\"",
        &inside.join("\n"),
        // Another key is not believed.
        &format!("not {}", inside.last().unwrap().replace("factory.pub", "cosign.pub")),
    ];
    let said = ok(&shell(dir, &script.join("\n"), true));
    assert!(said.contains("siderolabs/iscsi-tools") && said.contains(&id), "{said}");

    // The same bytes as the seeded factory's.
    let built = dir.join("built.raw.zst");
    let args = ["build", "metal-amd64.raw.zst", "--version", &version, "--schematic", "schematic.yaml", "-o"];
    imager_ok(Path::new(&published), dir, &[&args[..], &[built.to_str().unwrap()]].concat());
    let digest = |path: &Path| Digest::of(&fs::read(path).unwrap());
    assert_eq!(digest(&dir.join("metal-amd64.raw.zst")), digest(&built));
    assert!(fs::metadata(dir.join("installer.tar")).unwrap().len() > 10 << 20);

    // And one installer for a registry.
    ok(&shell(dir, &fill(push[0]).replace("imager push", "imager --store inside push"), false));
}
