//! Who sees the login: the registry and its realm, and nobody else.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use axum::body::Body;
use axum::response::Response;
use cosign::{Policy, SigningKey};
use remote::{Credentials, Described, Error, Login, PlainHttp, Registry, pull, push};
use support::{
    Fake, INDEX, Image, MANIFEST, NAME, Seen, assert_untagged, client, client_with, put_referrer, status,
    store,
};

/// `user:password` in base64.
const BASIC: &str = "Basic dXNlcjpwYXNzd29yZA==";

fn login(host: &str) -> impl FnOnce(&mut remote::Options) + use<> {
    let registry: Registry = host.parse().unwrap();
    move |options| options.credentials = Credentials::none().with_login(&registry, "user", "password")
}

fn challenge(value: &str) -> Response {
    Response::builder().status(401).header("www-authenticate", value).body(Body::empty()).unwrap()
}

fn redirect(to: &str) -> Response {
    Response::builder().status(307).header("location", to).body(Body::empty()).unwrap()
}

/// A realm that gives `token` to our user, and a registry that wants it.
async fn with_tokens() -> (Fake, Fake) {
    let realm = Fake::start(|seen: &Seen| {
        Some(match seen.authorization.as_deref() {
            Some(BASIC) => status(200, r#"{"token":"secret","expires_in":300}"#),
            _ => status(401, "who are you?"),
        })
    })
    .await;
    let address = format!(
        "Bearer realm=\"http://{}/token\",service=\"a service\",scope=\"repository:all:*\"",
        realm.host
    );
    let registry = Fake::start(move |seen: &Seen| {
        (seen.authorization.as_deref() != Some("Bearer secret")).then(|| challenge(&address))
    });
    (realm, registry.await)
}

#[tokio::test]
async fn a_token_is_fetched_once_with_our_scope() {
    let (realm, registry) = with_tokens().await;
    let image = Image::new(1000, 1);
    registry.put_image("v1", &image);
    let ((_dir, there), client) = (store(), client_with(login(&registry.host)));
    pull(&there, &client, &registry.reference("v1"), None).await.unwrap();
    image.assert_in(&there, "v1");
    let asked = realm.seen();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(
        asked[0].query,
        format!("service=a+service&scope=repository%3A{}%3Apull", NAME.replace('/', "%2F"))
    );
    assert!(registry.seen().iter().all(|seen| seen.authorization.as_deref() != Some(BASIC)));

    // Pushing is another scope.
    let tagged = there.resolve_tag(NAME, "v1").unwrap().unwrap();
    let image = Described::in_store(&there, &tagged).await.unwrap();
    let _ = push(&there, &client, &registry.reference("v2"), &image).await;
    assert!(realm.seen()[1].query.ends_with("%3Apull%2Cpush"));
}

#[tokio::test]
async fn a_refusal_says_who_we_are() {
    let (_realm, registry) = with_tokens().await;
    registry.put_image("v1", &Image::new(1000, 1));
    let (dir, there) = store();
    let error = pull(&there, &client(), &registry.reference("v1"), None).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { login: Login::Anonymous, status: 401, .. }), "{error}");

    let host: Registry = registry.host.parse().unwrap();
    let wrong = client_with(|o| o.credentials = Credentials::none().with_login(&host, "user", "hunter2"));
    let error = pull(&there, &wrong, &registry.reference("v1"), None).await.unwrap_err();
    assert!(matches!(&error, Error::Denied { login: Login::User(user), .. } if user == "user"), "{error}");
    assert!(!format!("{error:?} {error} {wrong:?}").contains("hunter2"));

    let config = dir.path().join("config.json");
    std::fs::write(&config, r#"{"credsStore":"desktop"}"#).unwrap();
    let helped = client_with(|o| o.credentials = Credentials::from_docker_file(&config).unwrap());
    let error = pull(&there, &helped, &registry.reference("v1"), None).await.unwrap_err();
    assert!(error.to_string().contains("`docker-credential-desktop`"), "{error}");
    assert_untagged(&there, &dir);
}

#[tokio::test]
async fn a_login_is_shown_when_it_is_asked_for() {
    let wants = |seen: &Seen| {
        (seen.authorization.as_deref() != Some(BASIC)).then(|| challenge("Basic realm=\"registry\""))
    };
    let registry = Fake::start(wants).await;
    registry.put_image("v1", &Image::new(1000, 1));
    let (_dir, there) = store();
    pull(&there, &client_with(login(&registry.host)), &registry.reference("v1"), None).await.unwrap();
    assert_eq!(registry.seen().iter().filter(|seen| seen.authorization.is_none()).count(), 1);
}

#[tokio::test]
async fn a_redirect_to_a_blob_host_takes_no_login_along() {
    // The blob host asks for it, too.
    for asks in [false, true] {
        let image = Image::new(1000, 1);
        // A realm of its own, which would get our login.
        let thief = Fake::start(|_| Some(status(200, r#"{"token":"x"}"#))).await;
        let realm = format!("Bearer realm=\"http://{}/token\"", thief.host);
        let blobs = Fake::start(move |_| asks.then(|| challenge(&realm))).await;
        blobs.put_image("v1", &image);
        let to = blobs.host.clone();
        let registry = Fake::start(move |seen: &Seen| {
            if seen.authorization.as_deref() != Some(BASIC) {
                return Some(challenge("Basic realm=\"registry\""));
            }
            let to = format!("http://{to}{}?signature=secret", seen.path);
            seen.path.contains("/blobs/").then(|| redirect(&to))
        });
        let registry = registry.await;
        registry.put_image("v1", &image);
        let (dir, there) = store();
        let pulled = pull(&there, &client_with(login(&registry.host)), &registry.reference("v1"), None).await;
        assert!(!blobs.seen().is_empty() && thief.seen().is_empty(), "{:?}", thief.seen());
        assert!(blobs.seen().iter().all(|seen| seen.authorization.is_none()), "{:?}", blobs.seen());
        if asks {
            let error = pulled.unwrap_err();
            assert!(
                matches!(error, Error::Denied { .. }) && !error.to_string().contains("secret"),
                "{error}"
            );
            assert_untagged(&there, &dir);
        } else {
            image.assert_in(&there, "v1");
        }
    }
}

#[tokio::test]
async fn redirects_go_five_times_and_to_registries() {
    let (dir, there) = store();
    for (to, reason) in [
        ("/v2/again", "at most 5"),
        ("file:///etc/passwd", "http or https"),
        ("gopher://127.0.0.1/x", "http or https"),
        ("http://user:password@127.0.0.1:1/x", "without a login"),
        ("http://[", "an address"),
    ] {
        let fake = Fake::start(move |_| Some(redirect(to))).await;
        let error = pull(&there, &client(), &fake.reference("v1"), None).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{to}: {error}");
        assert_eq!(fake.seen().len(), if to == "/v2/again" { 6 } else { 1 });
    }
    let nowhere = Fake::start(|_| Some(status(302, ""))).await;
    let error = pull(&there, &client(), &nowhere.reference("v1"), None).await.unwrap_err();
    assert!(matches!(error, Error::BadAnswer { .. }), "{error}");
    assert_untagged(&there, &dir);
}

#[tokio::test]
async fn tokens_that_are_none_and_realms_that_are_elsewhere_are_refused() {
    for answer in ["", "{}", r#"{"token":"a\r\nb"}"#, "[", &"x".repeat(300 << 10)] {
        let answer = answer.to_owned();
        let realm = Fake::start(move |_| Some(status(200, &answer))).await;
        let address = format!("Bearer realm=\"http://{}/token\"", realm.host);
        let registry = Fake::start(move |_| Some(challenge(&address))).await;
        let (_dir, there) = store();
        let error = pull(&there, &client(), &registry.reference("v1"), None).await.unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. } | Error::TooLong { .. }), "{error}");
    }
    for realm in ["file:///etc/passwd", "http://user@127.0.0.1:1/", "http://"] {
        let address = format!("Bearer realm=\"{realm}\"");
        let registry = Fake::start(move |_| Some(challenge(&address))).await;
        let (_dir, there) = store();
        let error = pull(&there, &client(), &registry.reference("v1"), None).await.unwrap_err();
        assert!(matches!(error, Error::BadRedirect { .. }), "{realm} {error}");
    }
}

#[tokio::test]
async fn plain_http_is_spoken_on_loopback_alone_unless_wanted() {
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &Image::new(1000, 1));
    let (_dir, there) = store();
    let never = client_with(|options| options.plain_http = PlainHttp::Never);
    let error = pull(&there, &never, &fake.reference("v1"), None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. } | Error::NoAuthorities), "{error}");
    assert!(fake.seen().is_empty());
}

#[tokio::test]
async fn an_image_is_not_looked_at_before_its_signature_is_believed() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let policy = Policy::Key(key.public_key());
    let image = Image::new(1000, 1);
    let registry = Fake::well_behaved().await;
    registry.put_image("v1", &image);
    let ((dir, there), client) = (store(), client());
    let reference = registry.reference("v1");
    let untouched = |registry: &Fake| {
        let names = image.parts().map(|part| extent::Digest::of(part).to_string());
        names
            .map(|name| {
                registry.count("GET", &format!("manifests/{name}"))
                    + registry.count("GET", &format!("blobs/{name}"))
            })
            .sum::<usize>()
            == 0
    };
    assert!(matches!(pull(&there, &client, &reference, Some(&policy)).await, Err(Error::Unverified { .. })));
    assert!(untouched(&registry));

    // The registry's own list of referrers: one by another key, and then ours as well.
    let list = |referrers: &[cosign::Referrer]| {
        for referrer in referrers {
            registry.put_manifest(None, MANIFEST, &referrer.manifest);
            registry.put_blob(&referrer.config);
            registry.put_blob(&referrer.bundle);
        }
        registry.put(&format!("referrers/{}", image.digest()), INDEX, &cosign::referrers_index(referrers));
    };
    list(&[image.refer(&other)]);
    let error = pull(&there, &client, &reference, Some(&policy)).await.unwrap_err();
    assert!(error.to_string().contains("not by the key"), "{error}");
    assert!(untouched(&registry));
    assert_untagged(&there, &dir);

    list(&[image.refer(&other), image.refer(&key)]);
    pull(&there, &client, &reference, Some(&policy)).await.unwrap();
    image.assert_in(&there, "v1");
    // Only what is believed is kept.
    let (_b, elsewhere) = store();
    let (tag, expected) = put_referrer(&elsewhere, &image.digest(), &image.refer(&key));
    let kept = there.resolve_tag(NAME, &tag).unwrap().unwrap();
    let parse = |store: &store::Store, descriptor: &oci_spec::image::Descriptor| {
        let digest = descriptor.digest().to_string().parse().unwrap();
        serde_json::from_slice::<serde_json::Value>(&store.bytes(&digest, 10_000).unwrap()).unwrap()
    };
    assert_eq!(parse(&there, &kept), parse(&elsewhere, &expected));

    // A registry that fails is no forger: the error says so.
    let failing = Fake::start(|seen: &Seen| (seen.method == "GET").then(|| status(503, "later"))).await;
    failing.put_image("v1", &image);
    let (_c, there) = store();
    let error = pull(&there, &client, &failing.reference("v1"), Some(&policy)).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 503, .. }), "{error}");
}
