//! Registries that are busy, slow, broken or lying: the image comes whole, or nothing of it has a name.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use extent::Digest;
use remote::{Error, pull};
use support::{Fake, INDEX, Image, Seen, assert_clean, assert_untagged, broken, client, client_with};
use support::{bytes, status, store};

type Answer = Box<dyn Fn() -> Response + Send + Sync>;

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
async fn a_busy_registry_is_asked_again_when_it_wants() {
    let image = Image::new(1000, 1);
    let busy = |seen: &Seen| {
        let response =
            Response::builder().status(429).header("retry-after", "1").body(Body::from("slow down"));
        (seen.before == 0 && seen.method == "HEAD").then(|| response.unwrap())
    };
    let fake = Fake::start(busy).await;
    fake.put_image("v1", &image);
    let start = Instant::now();
    arrives(&fake, &image).await;
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());

    // It may not ask for more than we grant.
    let (_dir, there) = store();
    let hour = Fake::start(|seen: &Seen| {
        let response = Response::builder().status(503).header("retry-after", "3600").body(Body::empty());
        (seen.before == 0).then(|| response.unwrap())
    });
    let hour = hour.await;
    hour.put_image("v1", &image);
    let client = client_with(|options| options.longest_asked_wait = Duration::from_millis(100));
    pull(&there, &client, &hour.reference("v1"), None).await.unwrap();
}

#[tokio::test]
async fn every_status_is_judged_once_or_a_few_times() {
    for (code, tries) in
        [(429, 4), (500, 4), (502, 4), (503, 4), (400, 1), (403, 1), (404, 1), (418, 1), (501, 2)]
    {
        let text = "why\u{1b}[31m".to_owned() + &"x".repeat(100_000);
        let fake = Fake::start(move |_| Some(status(code, &text))).await;
        let error = refused(&fake).await;
        let shown = error.to_string();
        assert!(shown.contains(&fake.host) && shown.len() < 600 && !shown.contains('\u{1b}'), "{shown}");
        assert_eq!(fake.seen().len(), tries, "{code} {shown}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_who() {
    let (dir, there) = store();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let reference = format!("{}/a:v1", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let error = pull(&there, &client(), &reference, None).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { at, .. } if at.contains("/v2/a/manifests/v1")), "{error}");
    assert_untagged(&there, &dir);
}

/// Serves the layer in pieces that break off, from wherever it is asked for.
fn in_pieces(
    image: &Image,
    piece: usize,
    with_ranges: bool,
) -> impl Fn(&Seen) -> Option<Response> + Clone + use<> {
    let layer = image.blobs[2].clone();
    let name = image.layer().to_string();
    move |seen: &Seen| {
        if !seen.path.ends_with(&name) {
            return None;
        }
        let range = seen.range.as_deref().filter(|_| with_ranges);
        let from: usize = range.map_or(0, |r| r["bytes=".len()..].trim_end_matches('-').parse().unwrap());
        let to = (from + piece + if with_ranges { 0 } else { piece * seen.before }).min(layer.len());
        let body = layer[from..to].to_vec();
        let header = format!("bytes {from}-{}/{}", layer.len() - 1, layer.len());
        let (code, header) = if range.is_some() { (206, Some(header)) } else { (200, None) };
        Some(broken(code, header, layer.len() - from, body))
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_resumed() {
    let image = Image::new(9 << 20, 1);
    let fake = Fake::start(in_pieces(&image, 2 << 20, true)).await;
    fake.put_image("v1", &image);
    arrives(&fake, &image).await;
    let layer = image.layer().to_string();
    let ranges: Vec<_> =
        fake.seen().into_iter().filter(|s| s.path.ends_with(&layer)).map(|s| s.range).collect();
    // More often than a request is tried, for each time something had come.
    assert!(
        ranges.len() >= 5 && ranges[0].is_none() && ranges[1..].iter().all(Option::is_some),
        "{ranges:?}"
    );
}

#[tokio::test]
async fn a_blob_is_resumed_without_ranges() {
    let image = Image::new(3 << 20, 1);
    let fake = Fake::start(in_pieces(&image, 1 << 20, false)).await;
    fake.put_image("v1", &image);
    arrives(&fake, &image).await;
}

#[tokio::test]
async fn a_blob_that_never_gets_further_is_given_up() {
    let image = Image::new(3 << 20, 1);
    let fake = Fake::start(in_pieces(&image, 0, true)).await;
    fake.put_image("v1", &image);
    let error = refused(&fake).await;
    assert!(error.is_transient(), "{error}");
    assert_eq!(fake.count("GET", &image.layer().to_string()), 4);
}

#[tokio::test]
async fn ranges_that_lie_are_noticed() {
    let image = Image::new(3 << 20, 1);
    let layer = image.blobs[2].clone();
    let name = image.layer().to_string();
    let (other, whole) = (bytes(layer.len(), 77), layer.clone());
    let lying = move |seen: &Seen| {
        if !seen.path.ends_with(&name) {
            return None;
        }
        let len = layer.len();
        match &seen.range {
            // The right range of other bytes.
            Some(range) => {
                let from: usize = range["bytes=".len()..].trim_end_matches('-').parse().unwrap();
                let header = format!("bytes {from}-{}/{len}", len - 1);
                Some(broken(206, Some(header), len - from, other[from..].to_vec()))
            }
            None if seen.before == 0 => Some(broken(200, None, len, whole[..len / 2].to_vec())),
            None => None,
        }
    };
    let fake = Fake::start(lying).await;
    fake.put_image("v1", &image);
    arrives(&fake, &image).await;

    // Another range than the one that was asked for.
    let (name, whole) = (image.layer().to_string(), image.blobs[2].clone());
    let fake = Fake::start(move |seen: &Seen| {
        let half = broken(200, None, whole.len(), whole[..whole.len() / 2].to_vec());
        let wrong = || broken(206, Some("bytes 0-9/10".to_owned()), 10, vec![0; 10]);
        seen.path.ends_with(&name).then(|| if seen.range.is_some() { wrong() } else { half })
    });
    let fake = fake.await;
    fake.put_image("v1", &image);
    let error = refused(&fake).await;
    assert!(matches!(&error, Error::BadAnswer { wanted, .. } if wanted.contains("range")), "{error}");
}

#[tokio::test]
async fn what_has_another_digest_or_length_is_refused() {
    let image = Image::new(100_000, 1);
    let layer = image.blobs[2].clone();
    let flipped = |at: usize| {
        let mut bytes = layer.clone();
        bytes[at] ^= 1;
        bytes
    };
    let endless = || {
        let chunk = || Ok::<_, std::io::Error>(vec![0; 65536]);
        Response::new(Body::from_stream(futures::stream::repeat_with(chunk)))
    };
    let chunked = |bytes: Vec<u8>| {
        let once = futures::stream::iter([Ok::<_, std::io::Error>(bytes)]);
        Response::new(Body::from_stream(once))
    };
    let (first, short, long) = (flipped(0), layer[..99_999].to_vec(), [&layer[..], b"x"].concat());
    let (short_, long_) = (short.clone(), long.clone());
    let table: [(&str, Answer); 6] = [
        ("instead of", Box::new(move || Response::new(Body::from(first.clone())))),
        ("length that its descriptor says", Box::new(move || Response::new(Body::from(short.clone())))),
        ("length that its descriptor says", Box::new(move || Response::new(Body::from(long.clone())))),
        ("ended after 99999 bytes", Box::new(move || chunked(short_.clone()))),
        ("more than 100000 bytes", Box::new(move || chunked(long_.clone()))),
        ("more than 100000 bytes", Box::new(endless)),
    ];
    for (reason, answer) in table {
        let (name, answer) = (image.layer().to_string(), std::sync::Arc::new(answer));
        // No ranges: each answer is the same.
        let fake = Fake::start(move |seen: &Seen| seen.path.ends_with(&name).then(|| answer())).await;
        fake.put_image("v1", &image);
        let error = refused(&fake).await;
        assert!(error.to_string().contains(reason), "{error} instead of {reason}");
    }

    // Manifests: by digest, and by what the registry says of its tag.
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &image);
    fake.put(&format!("manifests/{}", image.digest()), INDEX, &image.manifests[0]);
    assert!(
        matches!(refused(&fake).await, Error::DigestMismatch { expected, .. } if expected == image.digest())
    );
}

#[tokio::test]
async fn a_slow_registry_is_not_waited_for() {
    let image = Image::new(100_000, 1);
    let drip = || {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::io::Error>(vec![b' ']), ()))
        });
        Response::builder().header("content-length", 100_000).body(Body::from_stream(drops)).unwrap()
    };
    for slow in [image.layer(), Digest::of(&image.manifests[1]), image.digest()] {
        let name = slow.to_string();
        let fake =
            Fake::start(move |seen: &Seen| (seen.method == "GET" && seen.path.ends_with(&name)).then(drip));
        let fake = fake.await;
        fake.put_image("v1", &image);
        let (dir, there) = store();
        let client = client_with(|options| {
            (options.stall, options.tries) = (Duration::from_millis(300), 2);
        });
        let start = Instant::now();
        let error = pull(&there, &client, &fake.reference("v1"), None).await.unwrap_err();
        assert!(matches!(error, Error::Stalled { .. }), "{error}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_untagged(&there, &dir);
    }
    // Takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let reference = format!("{}/a:v1", silent.local_addr().unwrap()).parse().unwrap();
    let client = client_with(|options| (options.stall, options.tries) = (Duration::from_millis(200), 2));
    let (_dir, there) = store();
    assert!(matches!(pull(&there, &client, &reference, None).await, Err(Error::Stalled { .. })));
}

#[tokio::test]
async fn two_pulls_fetch_a_blob_once() {
    let image = Image::new(2 << 20, 1);
    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &image);
    let ((dir, there), client, reference) = (store(), client(), fake.reference("v1"));
    let pulls = (0..4).map(|_| pull(&there, &client, &reference, None));
    futures::future::try_join_all(pulls).await.unwrap();
    image.assert_in(&there, "v1");
    assert_clean(&there, &dir);
    for blob in &image.blobs {
        assert_eq!(fake.count("GET", &Digest::of(blob).to_string()), 1);
    }
}

#[tokio::test]
async fn a_pull_that_is_dropped_leaves_nothing_half() {
    let image = Image::new(4 << 20, 1);
    let (name, half) = (image.layer().to_string(), image.blobs[2][..2 << 20].to_vec());
    let hanging = Fake::start(move |seen: &Seen| {
        use futures::StreamExt as _;
        let part = futures::stream::iter([Ok::<_, std::io::Error>(half.clone())]);
        let body = Body::from_stream(part.chain(futures::stream::pending()));
        seen.path.ends_with(&name).then(|| Response::new(body))
    });
    let hanging = hanging.await;
    hanging.put_image("v1", &image);
    let (dir, there) = store();
    let client = client_with(|options| options.stall = Duration::from_mins(1));
    let reference = hanging.reference("v1");
    let broken_off =
        tokio::time::timeout(Duration::from_millis(500), pull(&there, &client, &reference, None));
    assert!(broken_off.await.is_err());
    // The disk's thread hears of it a moment later.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_untagged(&there, &dir);

    let fake = Fake::well_behaved().await;
    fake.put_image("v1", &image);
    pull(&there, &client, &fake.reference("v1"), None).await.unwrap();
    image.assert_in(&there, "v1");
}
