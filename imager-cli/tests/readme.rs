//! Every command of the README does what the README says.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use imager::Factory;
use schematics::Schematic;
use seed::Suite;
use store::Store;

const README: &str = include_str!("../../README.md");
const RECIPES: &str = include_str!("../../justfile");
const SCHEMATIC: &str = "customization:
    systemExtensions:
        officialExtensions: [siderolabs/qemu-guest-agent, siderolabs/iscsi-tools]
";

/// The commands of the README: what is indented, without what is output or comment.
fn commands() -> Vec<&'static str> {
    let indented = README.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = indented.map(|line| line.split('#').next().unwrap().trim_end());
    commands.filter(|line| !line.starts_with("IMAGER-BOOT-OK")).collect()
}

#[test]
fn the_two_commands_are_run_by_the_recipes() {
    let recipes = RECIPES.replace("$(dpkg --print-architecture)", "amd64").replace('"', "");
    let fixed =
        commands().into_iter().filter(|line| !line.starts_with("imager ") && !line.starts_with("curl "));
    for command in fixed {
        assert!(recipes.contains(&format!("    {command}")), "no recipe runs `{command}`");
    }
    assert!(commands().contains(&"ci/quickstart"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_command_works() {
    if ci::tool("qemu-system-x86_64").is_none() || ci::tool("curl").is_none() {
        return;
    }
    let seeded = tokio::task::spawn_blocking(|| ci::seeded(Suite::Trixie)).await.unwrap();
    let Some(ci::Seeded { dir: store, version }) = seeded else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes =
        factory_server::routes(Factory::open(Store::open(&store).unwrap()), factory_server::Site::default());
    tokio::spawn(factory_server::serve(
        listener,
        routes,
        factory_server::Settings::default(),
        std::future::pending(),
    ));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("schematic.yaml"), SCHEMATIC).unwrap();
    let id = Schematic::parse(SCHEMATIC.as_bytes()).unwrap().id().to_string();
    let fill = |command: &str| {
        let command = command.replace("127.0.0.1:8080", &address).replace("<schematic>", &id);
        command.replace("<version>", &version).replace("v13.1.0", &version)
    };
    let commands =
        commands().into_iter().filter(|line| line.starts_with("imager ") || line.starts_with("curl "));
    let commands: Vec<String> = commands.map(fill).collect();
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        // What is given is not for tests to change.
        if command.starts_with("imager seed") && std::env::var_os("IMAGER_TEST_STORE").is_some() {
            continue;
        }
        let (at, store) = (dir.path().to_owned(), store.clone());
        tokio::task::spawn_blocking(move || run(&command, &at, &store)).await.unwrap();
    }
}

/// Runs a command as a shell would, with `imager` and the store at hand.
fn run(command: &str, at: &Path, store: &Path) {
    println!("{command}");
    let programs = assert_cmd::cargo::cargo_bin("imager").parent().unwrap().to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let command_line = command.replace("curl ", "curl --fail --silent --show-error --noproxy '*' ");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &command_line]).current_dir(at).env("PATH", path).env("IMAGER_STORE", store);
    let output = shell.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{command}`: {said}");
    if command.contains("imager boot") {
        let line = String::from_utf8_lossy(&output.stdout);
        assert!(line.contains("IMAGER-BOOT-OK") && line.contains("qemu-guest-agent@"), "{line}");
    }
}
