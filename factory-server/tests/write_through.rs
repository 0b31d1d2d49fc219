//! Installer images that are asked for go to another registry as well, and nobody waits for it.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod remote_support;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Server, field};
use cosign::SigningKey;
use factory_server::{External, Metrics, Settings, Site};
use remote_support::Program;
use serde_json::Value;
use support::{Made, SCHEMATIC, VERSION, complete};

/// A server that writes through to `registry`, with a key whose public half lies in `key.pub`.
struct Factory {
    made: Made,
    server: Server,
    metrics: Metrics,
    /// `installer/<schematic>`.
    name: String,
}

impl Factory {
    async fn writing_to(registry: &str) -> Self {
        let made = complete();
        let key = SigningKey::generate().unwrap();
        std::fs::write(made.dir.path().join("key.pub"), key.public_key_pem()).unwrap();
        let mut site = Site::default();
        site.signer = Some(Arc::new(key));
        site.external = Some(Arc::new(External::new(registry, "fleet", "", false).unwrap()));
        let metrics = site.metrics.clone();
        let server = Server::at(made.factory.clone(), site).await;
        let taken: Value = server.post(SCHEMATIC).await.json().await.unwrap();
        let name = format!("installer/{}", taken["id"].as_str().unwrap());
        Self { made, server, metrics, name }
    }

    /// The digest that the server says the tag has, and how long it took to say so.
    async fn ask(&self, tag: &str) -> (String, Duration) {
        let begun = Instant::now();
        let response = self.server.get(&format!("/v2/{}/manifests/{tag}", self.name)).send().await.unwrap();
        assert_eq!(response.status(), 200, "never redirected");
        (field(&response, "docker-content-digest"), begun.elapsed())
    }

    /// How many pushes ended so.
    async fn count(&self, outcome: &str) -> u32 {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/metrics", listener.local_addr().unwrap());
        let routes = self.metrics.routes();
        let serving = tokio::spawn(factory_server::serve(
            listener,
            routes,
            Settings::default(),
            std::future::pending(),
        ));
        let text = self.server.client.get(&url).send().await.unwrap().text().await.unwrap();
        serving.abort();
        let series = format!("factory_pushes_total{{outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// Waits until so many pushes are done and have failed.
    async fn counted(&self, done: u32, failed: u32) {
        let mut counts = (0, 0);
        for _ in 0..1200 {
            counts = (self.count("done").await, self.count("failed").await);
            if counts == (done, failed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installer_that_is_asked_for_is_pushed_once_and_signed() {
    let (Some(registry), Some(cosign)) = (Program::start(), ci::tool("cosign")) else { return };
    let factory = Factory::writing_to(&registry.host).await;
    let all = (0..8).map(|_| factory.ask(VERSION));
    let digests: Vec<String> = futures::future::join_all(all).await.into_iter().map(|one| one.0).collect();
    factory.ask("latest").await;
    factory.counted(1, 0).await;
    let url = format!("http://{}/v2/fleet/{}/manifests/{VERSION}", registry.host, factory.name);
    let accept = "application/vnd.oci.image.index.v1+json";
    let there = factory.server.client.get(url).header("accept", accept).send().await.unwrap();
    assert_eq!(there.status(), 200);
    assert!(digests.iter().all(|digest| *digest == field(&there, "docker-content-digest")), "{digests:?}");
    for shape in ["--new-bundle-format=true", "--new-bundle-format=false"] {
        let mut command = Command::new(&cosign);
        command
            .current_dir(factory.made.dir.path())
            .env("HOME", factory.made.dir.path())
            .env("NO_PROXY", "*");
        command.args([
            "verify",
            "--insecure-ignore-tlog",
            "--allow-http-registry",
            shape,
            "--key",
            "key.pub",
        ]);
        command.arg(format!("{}/fleet/{}:{VERSION}", registry.host, factory.name));
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{shape}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // What is there is not pushed again.
    factory.ask(VERSION).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    factory.counted(1, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_delays_nobody_and_is_tried_again() {
    // A port that nobody listens on any more.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let factory = Factory::writing_to(&gone).await;
    factory.ask(VERSION).await;
    let (_, took) = factory.ask(VERSION).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    factory.counted(0, 1).await;
    factory.ask(VERSION).await;
    factory.counted(0, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_64_installers_wait_for_a_slow_registry() {
    // It takes connections, and says nothing for longer than this test takes.
    let slow = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let factory = Factory::writing_to(&slow.local_addr().unwrap().to_string()).await;
    let mut names = Vec::new();
    for n in 0..66 {
        let schematic = format!("customization: {{extraKernelArgs: [n={n}]}}");
        let taken: Value = factory.server.post(schematic).await.json().await.unwrap();
        names.push(format!("installer/{}", taken["id"].as_str().unwrap()));
    }
    let ask = async |n: usize| {
        let path = format!("/v2/{}/manifests/{VERSION}", names[n]);
        assert_eq!(factory.server.get(&path).send().await.unwrap().status(), 200);
    };
    for n in 0..64 {
        ask(n).await;
    }
    assert_eq!(factory.count("deferred").await, 0);
    for n in [64, 65, 65] {
        ask(n).await;
    }
    assert_eq!(factory.count("deferred").await, 3, "each is tried when it is asked for");
    ask(0).await;
    assert_eq!(factory.count("deferred").await, 3, "who waits already needs no place");
    // It is away: who gives up leaves a place.
    drop(slow);
    for _ in 0..1200 {
        if factory.count("failed").await > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ask(65).await;
    assert_eq!(factory.count("deferred").await, 3);
}

#[test]
fn what_is_no_registry_is_said_at_the_start() {
    for registry in ["", "a b", "registry", "r.example/Upper"] {
        let error = External::new(registry, "fleet", "", false).unwrap_err();
        assert!(error.to_string().contains("not a reference"), "{registry}: {error}");
    }
}
