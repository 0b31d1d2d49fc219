//! Manifests that move, are too long, lie or name what is no name.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use axum::body::Body;
use axum::response::Response;
use extent::Digest;
use remote::{Error, pull};
use support::{Fake, INDEX, Image, MANIFEST, Seen, assert_clean, assert_untagged, client, status, store};

/// Pulls from `fake`, which fails; nothing has a name then. Gives the error.
async fn refused(fake: &Fake) -> Error {
    let (dir, there) = store();
    let error = pull(&there, &client(), &fake.reference("v1"), None).await.unwrap_err();
    assert_untagged(&there, &dir);
    error
}

/// Pulls `image` from `fake`, which succeeds.
async fn arrives(fake: &Fake, image: &Image) {
    let (dir, there) = store();
    pull(&there, &client(), &fake.reference("v1"), None).await.unwrap();
    image.assert_in(&there, "v1");
    assert_clean(&there, &dir);
}

#[tokio::test]
async fn a_tag_that_moves_mixes_no_images() {
    let (before, after) = (Image::new(1000, 1), Image::new(1000, 50));
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &before);
    fake.put_image("moved", &after);
    // From the first GET on the tag names the other image.
    let (host, index) = (fake.host.clone(), after.index.clone());
    let moving = Fake::start(move |seen: &Seen| {
        let of_tag = seen.method == "GET" && seen.path.ends_with("manifests/v1");
        of_tag.then(|| {
            Response::builder().header("content-type", INDEX).body(Body::from(index.clone())).unwrap()
        })
    });
    let moving = moving.await;
    assert_ne!(host, moving.host);
    moving.put_image("v1", &before);
    moving.put_image("other", &after);
    moving.put("manifests/v1", INDEX, &before.index);
    arrives(&moving, &before).await;
    assert_eq!(moving.count("GET", "manifests/v1"), 0, "the tag is looked at once");

    // Without a digest in the answer to HEAD the bytes decide, and everything after is by their digest.
    let index = after.index.clone();
    let mute = Fake::start(move |seen: &Seen| {
        let of_tag = seen.path.ends_with("manifests/v1");
        of_tag.then(|| match seen.method.as_str() {
            "HEAD" => status(200, ""),
            _ => Response::new(Body::from(index.clone())),
        })
    });
    let mute = mute.await;
    mute.put_image("v1", &before);
    mute.put_image("other", &after);
    arrives(&mute, &after).await;
}

#[tokio::test]
async fn a_manifest_beyond_four_mib_is_not_read() {
    let image = Image::new(1000, 1);
    let long = [&image.index[..], &vec![b' '; 4 << 20]].concat();
    for with_length in [true, false] {
        let long = long.clone();
        let fake = Fake::start(move |seen: &Seen| {
            let halves =
                long.chunks(1 << 20).map(|c| Ok::<_, std::io::Error>(c.to_vec())).collect::<Vec<_>>();
            let body = if with_length {
                Body::from(long.clone())
            } else {
                Body::from_stream(futures::stream::iter(halves))
            };
            (seen.method == "GET").then(|| Response::new(body))
        });
        let fake = fake.await;
        fake.put_image("v1", &image);
        assert!(matches!(refused(&fake).await, Error::TooLong { max: 4_194_304, .. }));
    }
}

#[tokio::test]
async fn indexes_that_loop_or_name_what_is_no_name_are_refused() {
    let child =
        |digest: &str, len: usize| format!(r#"{{"mediaType":"{INDEX}","digest":"{digest}","size":{len}}}"#);
    let index = |child: String| format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#).into_bytes();
    // A loop can only be a lie: no bytes have their own digest in them.
    let claimed = Digest::of(b"loop");
    let inner = index(child(&claimed.to_string(), 200));
    let fake = Fake::well_behaved().await;
    fake.put_manifest(Some("v1"), INDEX, &inner);
    fake.put(&format!("manifests/{claimed}"), INDEX, &inner);
    assert!(matches!(refused(&fake).await, Error::DigestMismatch { expected, .. } if expected == claimed));

    for hostile in ["sha256:../../etc/passwd", "sha256:", "sha512:ab", "../v1", ""] {
        let fake = Fake::well_behaved().await;
        fake.put_manifest(Some("v1"), INDEX, &index(child(hostile, 1)));
        let error = refused(&fake).await;
        assert!(matches!(error, Error::Malformed { .. } | Error::BadManifest { .. }), "{hostile}: {error}");
    }
    // Layers elsewhere are not asked for elsewhere.
    let foreign = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"x/y","digest":"{0}","size":1,
        "urls":["http://127.0.0.1:1/x"]}},"layers":[]}}"#,
        Digest::of(b"x")
    );
    let fake = Fake::well_behaved().await;
    fake.put_manifest(Some("v1"), MANIFEST, foreign.as_bytes());
    assert!(matches!(refused(&fake).await, Error::NotFound { at } if at.contains(&fake.host)));
}
