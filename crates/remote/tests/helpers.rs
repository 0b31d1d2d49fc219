//! Credential helpers: programs on `PATH` that hold logins, and programs that should not be there.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use remote::{Client, Credentials, Error, Login, pull};
use support::{Fake, Image, NAME, Seen, assert_untagged, client_with, status, store};

/// `user:password` in base64.
const BASIC: &str = "Basic dXNlcjpwYXNzd29yZA==";
/// Where the helpers are, for a test in a process of its own, whose `PATH` has them.
const DIR: &str = "REMOTE_TEST_HELPERS";

/// What helpers do once they were asked to `get`.
const HELPERS: &[(&str, &str)] = &[
    (
        "good",
        r#"read -r server || :; echo "$server" >> "$REMOTE_TEST_HELPERS/asked"; echo '{"ServerURL":"x","Username":"user","Secret":"password"}'"#,
    ),
    ("deaf", r#"exec <&-; echo '{"Username":"user","Secret":"password"}'"#),
    ("token", r#"echo '{"Username":"<token>","Secret":"refresh/me+"}'"#),
    ("none", "echo 'credentials not found in native keychain'; exit 1"),
    ("empty", r#"echo '{"Username":"","Secret":""}'"#),
    ("fails", "echo 'hunter2 is locked'; echo hunter2 >&2; exit 1"),
    ("hangs", "sleep 60"),
    ("floods", "while :; do echo hunter2hunter2hunter2hunter2hunter2hunter2; done"),
    ("dies", "kill -9 $$"),
    ("silent", ":"),
    ("babbles", r#"echo '{"Username":"user","Password":"hunter2"}'"#),
];

/// The directory of the helpers, if they are on `PATH`; else runs the test `name` where they are.
fn helpers(name: &str) -> Option<PathBuf> {
    if let Some(dir) = std::env::var_os(DIR) {
        return Some(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, script) in HELPERS {
        let path = dir.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\n[ \"$*\" = get ] || exit 9\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::write(dir.path().join("docker-credential-unrunnable"), "").unwrap();
    let inherited = std::env::var_os("PATH").unwrap();
    let paths = [dir.path().to_owned()].into_iter().chain(std::env::split_paths(&inherited));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact"]).env("PATH", std::env::join_paths(paths).unwrap()).env(DIR, dir.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    None
}

fn configured(dir: &Path, text: &str) -> Client {
    let config = dir.join("config.json");
    std::fs::write(&config, text).unwrap();
    client_with(|options| {
        options.credentials = Credentials::from_docker_file(&config).unwrap();
        options.helper = Duration::from_secs(2);
    })
}

fn challenge(value: &str) -> Response {
    Response::builder().status(401).header("www-authenticate", value).body(Body::empty()).unwrap()
}

/// A registry that wants our user.
async fn registry() -> Fake {
    let wants = |seen: &Seen| {
        (seen.authorization.as_deref() != Some(BASIC)).then(|| challenge("Basic realm=\"registry\""))
    };
    let registry = Fake::start(wants).await;
    registry.put_image("v1", &Image::new(1000, 1));
    registry
}

#[tokio::test]
async fn a_helper_is_asked_once_and_only_when_somebody_wants_a_login() {
    let Some(helpers) = helpers("a_helper_is_asked_once_and_only_when_somebody_wants_a_login") else {
        return;
    };
    let asked = || std::fs::read_to_string(helpers.join("asked")).unwrap_or_default();
    let (dir, there) = store();
    let open = Fake::well_behaved().await;
    open.put_image("v1", &Image::new(1000, 1));
    let client = configured(dir.path(), r#"{"credsStore":"good"}"#);
    pull(&there, &client, &open.reference("v1"), None).await.unwrap();
    assert_eq!(asked(), "");

    let registry = registry().await;
    let (_other, there) = store();
    pull(&there, &client, &registry.reference("v1"), None).await.unwrap();
    Image::new(1000, 1).assert_in(&there, "v1");
    assert_eq!(asked(), format!("{}\n", registry.host));

    let helper = format!(r#"{{"credHelpers":{{"{}":"deaf"}},"credsStore":"fails"}}"#, registry.host);
    let (_other, there) = store();
    pull(&there, &configured(dir.path(), &helper), &registry.reference("v1"), None).await.unwrap();
}

#[tokio::test]
async fn a_helper_that_misbehaves_is_named_without_what_it_says() {
    let Some(_) = helpers("a_helper_that_misbehaves_is_named_without_what_it_says") else { return };
    let registry = registry().await;
    let (dir, there) = store();
    for (name, problem) in [
        ("fails", "fails"),
        ("hangs", "does not answer in time"),
        ("floods", "more than 64 KiB"),
        ("dies", "fails"),
        ("silent", "no JSON"),
        ("babbles", "no JSON"),
        ("missing", "not in `PATH`"),
        ("unrunnable", "cannot be run"),
        ("../docker-credential-good", "has a name"),
        ("/bin/sh", "has a name"),
        ("good;x", "has a name"),
    ] {
        let client = configured(dir.path(), &format!(r#"{{"credsStore":"{name}"}}"#));
        let start = Instant::now();
        let error = pull(&there, &client, &registry.reference("v1"), None).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(
            matches!(error, Error::CredentialHelper { .. }) && shown.contains(problem),
            "{name}: {shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(start.elapsed() < Duration::from_secs(8), "{name}");
    }
    assert!(registry.seen().iter().all(|seen| seen.authorization.is_none()));
    assert_untagged(&there, &dir);
    for name in ["none", "empty"] {
        let client = configured(dir.path(), &format!(r#"{{"credsStore":"{name}"}}"#));
        let error = pull(&there, &client, &registry.reference("v1"), None).await.unwrap_err();
        assert!(matches!(&error, Error::Denied { login: Login::Helper(of), .. } if of == name), "{error}");
    }
}

/// A registry and the realm whose tokens it takes.
async fn with_realm(realm: Fake) -> (Fake, Fake) {
    let address = format!("Bearer realm=\"http://{}/token\",service=\"s\"", realm.host);
    let registry = Fake::start(move |seen: &Seen| {
        (seen.authorization.as_deref() != Some("Bearer secret")).then(|| challenge(&address))
    });
    let registry = registry.await;
    registry.put_image("v1", &Image::new(1000, 1));
    (realm, registry)
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_stays_with_its_realm() {
    let Some(_) = helpers("an_identity_token_is_exchanged_and_stays_with_its_realm") else { return };
    let exchange = |seen: &Seen| {
        let good = seen.method == "POST" && seen.query.is_empty() && seen.authorization.is_none();
        Some(if good {
            status(200, r#"{"access_token":"secret","expires_in":300}"#)
        } else {
            status(400, "no")
        })
    };
    let (realm, registry) = with_realm(Fake::start(exchange).await).await;
    let (dir, there) = store();
    for config in [
        r#"{"credsStore":"token"}"#.to_owned(),
        format!(r#"{{"auths":{{"{}":{{"identitytoken":"refresh/me+"}}}}}}"#, registry.host),
    ] {
        pull(&there, &configured(dir.path(), &config), &registry.reference("v1"), None).await.unwrap();
    }
    let body = &realm.seen()[0].body;
    let scope = format!("scope=repository%3A{}%3Apull", NAME.replace('/', "%2F"));
    for field in
        ["service=s", &scope, "grant_type=refresh_token", "refresh_token=refresh%2Fme%2B", "client_id="]
    {
        assert!(body.split('&').any(|part| part.starts_with(field)), "{field} in {body}");
    }

    // A realm that sends it on to somebody else.
    let thief = Fake::start(exchange).await;
    let to = format!("http://{}/token", thief.host);
    let sends = move |_: &Seen| {
        Some(Response::builder().status(307).header("location", &to).body(Body::empty()).unwrap())
    };
    let (_realm, registry) = with_realm(Fake::start(sends).await).await;
    let client = configured(dir.path(), r#"{"credsStore":"token"}"#);
    let error = pull(&there, &client, &registry.reference("v1"), None).await.unwrap_err();
    assert!(matches!(error, Error::BadRedirect { .. }), "{error}");
    assert!(thief.seen().is_empty());
    // A registry that wants a login has no use for it.
    let plain = self::registry().await;
    let error = pull(&there, &client, &plain.reference("v1"), None).await.unwrap_err();
    assert!(matches!(error, Error::Denied { login: Login::Token, .. }), "{error}");
    assert!(!format!("{error:?}").contains("refresh"));
}

#[tokio::test]
async fn a_registry_token_is_shown_to_the_registry_as_it_is() {
    let (realm, registry) = with_realm(Fake::well_behaved().await).await;
    let (dir, there) = store();
    let config = format!(r#"{{"auths":{{"{}/siderolabs":{{"registrytoken":"secret"}}}}}}"#, registry.host);
    pull(&there, &configured(dir.path(), &config), &registry.reference("v1"), None).await.unwrap();
    assert!(realm.seen().is_empty());
}
