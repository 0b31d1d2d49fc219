//! Mirrors are asked first, and believed no more than the registry.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use cosign::{Policy, SigningKey};
use extent::Digest;
use remote::{Client, Credentials, Described, Error, Reference, pull, push};
use support::{
    Fake, INDEX, Image, MANIFEST, NAME, Program, Seen, assert_untagged, broken, client_with, put_signature,
    status, store,
};

/// A client that knows these mirrors.
fn mirrored(mirrors: &[String]) -> Client {
    client_with(|options| {
        for mirror in mirrors {
            options.mirrors = options.mirrors.clone().with(mirror.parse().unwrap()).unwrap();
        }
    })
}

#[tokio::test]
async fn an_image_comes_from_the_first_that_has_it() {
    let Some((mirror, registry)) = Program::start().zip(Program::start()) else { return };
    let broken = Fake::start(|_| Some(status(503, "later"))).await;
    let ((_a, here), client) = (store(), client_with(|_| ()));
    let (both, registry_only) = (Image::new(200_000, 1), Image::new(200_000, 9));
    let prefixed: Reference = format!("{}/proxy/{NAME}:v1", mirror.host).parse().unwrap();
    for (image, to) in [(&both, prefixed), (&registry_only, registry.reference("v2"))] {
        let image = Described::in_store(&here, &image.put(&here)).await.unwrap();
        push(&here, &client, &to, &image).await.unwrap();
    }

    let mirrors = [
        format!("{}={}/x", registry.host, broken.host),
        format!("{}=http://{}/proxy", registry.host, mirror.host),
    ];
    let client = mirrored(&mirrors);
    let (_b, there) = store();
    // The registry itself does not have it.
    pull(&there, &client, &registry.reference("v1"), None).await.unwrap();
    both.assert_in(&there, "v1");
    assert!(broken.count("HEAD", &format!("/v2/x/{NAME}/manifests/v1")) > 0);
    // The mirror does not have it.
    pull(&there, &client, &registry.reference("v2"), None).await.unwrap();
    registry_only.assert_in(&there, "v2");
    // Nobody has it, and all are named.
    let error = pull(&there, &client, &registry.reference("v3"), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    for place in
        [format!("{}/v2/x/", broken.host), format!("{}/v2/proxy/", mirror.host), registry.host.clone()]
    {
        assert!(error.to_string().contains(&place), "{error}");
    }
    // The registry is gone as well.
    let (host, reference) = (registry.host.clone(), registry.reference("v2"));
    drop(registry);
    let (dir, empty) = store();
    let error = pull(&empty, &client, &reference, None).await.unwrap_err();
    assert!(matches!(&error, Error::Everywhere { tried } if tried.len() == 3), "{error:?}");
    assert!(error.to_string().contains(&host) && error.to_string().contains(&broken.host), "{error}");
    assert_untagged(&empty, &dir);
    // What the mirror has is there all the same; by `*` too.
    let reference: Reference = format!("{host}/{NAME}:v1").parse().unwrap();
    pull(&empty, &mirrored(&[format!("*={}/proxy", mirror.host)]), &reference, None).await.unwrap();
    both.assert_in(&empty, "v1");
}

#[tokio::test]
async fn a_blob_that_breaks_off_at_a_mirror_goes_on_elsewhere() {
    let image = Image::new(3_000_000, 1);
    let (layer, bytes) = (image.layer(), image.blobs[2].clone());
    let breaks = move |seen: &Seen| {
        let range = seen.range.is_none();
        (seen.path.ends_with(&layer.to_string()) && seen.method == "GET").then(|| {
            if range {
                broken(200, None, bytes.len(), bytes[..2_000_000].to_vec())
            } else {
                status(503, "later")
            }
        })
    };
    let (mirror, registry) = (Fake::start(breaks).await, Fake::well_behaved().await);
    mirror.put_image("v1", &image);
    registry.put_image("v1", &image);
    let (_dir, there) = store();
    let client = mirrored(&[format!("{}={}", registry.host, mirror.host)]);
    pull(&there, &client, &registry.reference("v1"), None).await.unwrap();
    image.assert_in(&there, "v1");
    let asked: Vec<_> = registry.seen().into_iter().filter(|seen| seen.path.contains("/blobs/")).collect();
    assert_eq!(asked.len(), 1, "the rest of one blob: {asked:?}");
    let range = asked[0].range.as_deref().unwrap();
    assert!(range.starts_with("bytes=") && range != "bytes=0-", "{range}");
}

#[tokio::test]
async fn a_mirror_that_lies_is_found_out() {
    let (image, other) = (Image::new(10_000, 1), Image::new(10_000, 5));
    let (mirror, registry) = (Fake::well_behaved().await, Fake::well_behaved().await);
    registry.put_image("v1", &image);
    mirror.put_image("v1", &image);
    mirror.put(&format!("blobs/{}", image.layer()), "application/octet-stream", &other.blobs[2]);
    let client = mirrored(&[format!("{}={}", registry.host, mirror.host)]);
    let (dir, there) = store();
    let error = pull(&there, &client, &registry.reference("v1"), None).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert_untagged(&there, &dir);

    // Another image under the same tag: what is signed is the image, wherever it comes from.
    let key = SigningKey::generate().unwrap();
    let policy = Policy::Key(key.public_key());
    let mirror = Fake::well_behaved().await;
    mirror.put_image("v1", &other);
    let (_kept, signed) = store();
    let signature = image.sign(&key);
    let (tag, _) = put_signature(&signed, &image.digest(), &signature);
    registry.put_manifest(Some(&tag), MANIFEST, &signature.manifest);
    registry.put_blob(&signature.config);
    registry.put_blob(&signature.payload);
    let client = mirrored(&[format!("{}={}", registry.host, mirror.host)]);
    let error = pull(&there, &client, &registry.reference("v1"), Some(&policy)).await.unwrap_err();
    assert!(matches!(error, Error::Unverified { .. }), "{error}");
    assert_untagged(&there, &dir);
    // The right image of the mirror with the signature of the registry.
    mirror.put_manifest(Some("v1"), INDEX, &image.index);
    pull(&there, &client, &registry.reference("v1"), Some(&policy)).await.unwrap();
    image.assert_in(&there, "v1");
    assert_eq!(
        there.resolve_tag(NAME, "v1").unwrap().unwrap().digest().to_string(),
        Digest::of(&image.index).to_string()
    );
}

#[tokio::test]
async fn each_has_a_login_of_its_own_and_a_refusal_is_no_absence() {
    let wants = |seen: &Seen| {
        (seen.authorization.as_deref() != Some("Basic bWlycm9yOnBhc3N3b3Jk")).then(|| {
            let refusal = axum::response::Response::builder().status(401);
            refusal.header("www-authenticate", "Basic realm=\"m\"").body(axum::body::Body::empty()).unwrap()
        })
    };
    let (mirror, registry) = (Fake::start(wants).await, Fake::well_behaved().await);
    let image = Image::new(10_000, 1);
    mirror.put_image("v1", &image);
    registry.put_image("v1", &image);
    let text = format!("{}={}", registry.host, mirror.host);
    let (_dir, there) = store();
    let error = pull(&there, &mirrored(std::slice::from_ref(&text)), &registry.reference("v1"), None)
        .await
        .unwrap_err();
    assert!(matches!(&error, Error::Denied { at, .. } if at.contains(&mirror.host)), "{error}");
    assert!(registry.seen().is_empty());

    let client = client_with(|options| {
        options.mirrors = options.mirrors.clone().with(text.parse().unwrap()).unwrap();
        options.credentials =
            Credentials::none().with_login(&mirror.host.parse().unwrap(), "mirror", "password");
    });
    pull(&there, &client, &registry.reference("v1"), None).await.unwrap();
    image.assert_in(&there, "v1");
    assert!(registry.seen().is_empty());
}
