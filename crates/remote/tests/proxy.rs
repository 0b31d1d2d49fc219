//! Through a proxy, or past it.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;
#[path = "support/tls.rs"]
mod tls;

use std::process::Command;
use std::time::{Duration, Instant};

use remote::{Error, PlainHttp, Proxies, Reference, pull};
use support::proxy::{Manners, Proxy};
use support::{Fake, Image, assert_untagged, client_with, store};
use tls::terminate;

/// Names the registry and the proxy to the same test in a process of its own.
const HOSTS: &str = "REMOTE_TEST_PROXY";
/// `us:er` and `pass` in base64.
const LOGIN: &str = "Basic dXM6ZXI6cGFzcw==";

fn all(proxy: &str) -> Proxies {
    let proxy = format!("http://us%3Aer:pass@{proxy}");
    Proxies::from_variables(|name| (name == "ALL_PROXY").then(|| proxy.clone())).unwrap()
}

async fn pulled(proxies: Proxies, reference: &str) -> Result<(), Error> {
    let ((dir, there), reference) = (store(), reference.parse::<Reference>().unwrap());
    let client = client_with(|options| {
        options.plain_http = PlainHttp::Always;
        options.proxies = proxies;
    });
    let pulled = pull(&there, &client, &reference, None).await;
    match &pulled {
        Ok(_) => Image::new(300_000, 1).assert_in(&there, "v1"),
        Err(_) => assert_untagged(&there, &dir),
    }
    pulled.map(drop)
}

async fn registry() -> Fake {
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &Image::new(300_000, 1));
    fake
}

/// Nobody has this name: who is not asked through the proxy is not found.
const FAR: &str = "registry.invalid:5000/siderolabs/installer:v1";

#[tokio::test]
async fn plain_requests_are_forwarded_with_a_login_for_the_proxy_alone() {
    let fake = registry().await;
    let proxy = Proxy::start(&fake.host, Manners::Wants(LOGIN)).await;
    pulled(all(&proxy.host), FAR).await.unwrap();
    let heads = proxy.heads();
    assert_eq!(heads.len(), fake.seen().len());
    for head in heads {
        assert!(
            head.starts_with("GET http://registry.invalid:5000/v2/") || head.starts_with("HEAD http://"),
            "{head}"
        );
        assert!(head.to_ascii_lowercase().contains("host: registry.invalid:5000\r\n"), "{head}");
    }
    assert!(fake.seen().iter().all(|seen| seen.proxy_authorization.is_none()));
}

#[tokio::test]
async fn this_machine_and_exceptions_are_asked_without_the_proxy() {
    let fake = registry().await;
    let proxy = Proxy::start(&fake.host, Manners::Passes).await;
    let here = format!("{}/siderolabs/installer:v1", fake.host);
    pulled(all(&proxy.host), &here).await.unwrap();
    assert!(proxy.heads().is_empty());
    assert!(fake.seen().iter().all(|seen| seen.proxy_authorization.is_none()));

    let variables = |name: &str| match name {
        "HTTP_PROXY" => Some(proxy.host.clone()),
        "NO_PROXY" => Some("invalid".to_owned()),
        _ => None,
    };
    let error = pulled(Proxies::from_variables(variables).unwrap(), FAR).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(proxy.heads().is_empty());
}

#[tokio::test]
async fn a_proxy_that_wants_another_login_is_named_and_asked_once() {
    let fake = registry().await;
    for manners in [Manners::Wants("Basic x"), Manners::Answers(407)] {
        let proxy = Proxy::start(&fake.host, manners).await;
        for scheme in ["http", "https"] {
            let before = proxy.heads().len();
            let ((_dir, there), proxies) = (store(), all(&proxy.host));
            let client = client_with(|options| {
                options.plain_http = if scheme == "http" { PlainHttp::Always } else { PlainHttp::Never };
                options.proxies = proxies;
            });
            let error = pull(&there, &client, &FAR.parse().unwrap(), None).await.unwrap_err();
            let Error::ProxyLogin { proxy: named, .. } = &error else { panic!("{scheme}: {error:?}") };
            assert_eq!(*named, proxy.host);
            assert_eq!(proxy.heads().len() - before, 1, "{scheme}");
            assert!(!format!("{error} {error:?}").contains("pass"), "{error:?}");
        }
    }
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn a_broken_proxy_is_tried_as_a_broken_registry_is() {
    let fake = registry().await;
    for (manners, scheme) in [
        (Manners::Answers(502), PlainHttp::Never),
        (Manners::Answers(502), PlainHttp::Always),
        (Manners::HangsUp, PlainHttp::Never),
        (Manners::HangsUp, PlainHttp::Always),
        (Manners::Babbles, PlainHttp::Never),
        (Manners::Hangs, PlainHttp::Never),
    ] {
        let proxy = Proxy::start(&fake.host, manners).await;
        let ((dir, there), proxies) = (store(), all(&proxy.host));
        let client = client_with(|options| {
            options.plain_http = scheme;
            options.proxies = proxies;
            options.stall = Duration::from_millis(200);
        });
        let start = Instant::now();
        let error = pull(&there, &client, &FAR.parse().unwrap(), None).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(proxy.heads().len(), 4, "{error:?}");
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_untagged(&there, &dir);
    }
    // One that is not there.
    let error = pulled(all("127.0.0.1:1"), FAR).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn over_tls_the_proxy_makes_a_tunnel_and_the_registry_sees_no_login() {
    if let Ok(hosts) = std::env::var(HOSTS) {
        // The process of its own, to which the certificate's issuer is an authority.
        let (registry, proxy) = hosts.split_once(' ').unwrap();
        let (_dir, there) = store();
        let client = client_with(|options| {
            options.plain_http = PlainHttp::Never;
            options.proxies = all(proxy);
        });
        let reference: Reference = format!("{registry}/siderolabs/installer:v1").parse().unwrap();
        pull(&there, &client, &reference, None).await.unwrap();
        return Image::new(300_000, 1).assert_in(&there, "v1");
    }
    let fake = registry().await;
    let (host, pem) = terminate(fake.host.clone(), "registry.invalid").await;
    let port = host.rsplit_once(':').unwrap().1;
    let proxy = Proxy::start(&format!("127.0.0.1:{port}"), Manners::Wants(LOGIN)).await;
    let dir = tempfile::tempdir().unwrap();
    let authorities = dir.path().join("authorities.pem");
    std::fs::write(&authorities, pem).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("over_tls").env("SSL_CERT_FILE", &authorities).env_remove("SSL_CERT_DIR");
    command.env(HOSTS, format!("{host} {}", proxy.host));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let heads = proxy.heads();
    assert!(!heads.is_empty() && !fake.seen().is_empty());
    for head in heads {
        assert!(head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")), "{head}");
        assert!(!head.contains("siderolabs"), "the proxy hears no paths");
    }
    assert!(fake.seen().iter().all(|seen| seen.proxy_authorization.is_none()));
}
