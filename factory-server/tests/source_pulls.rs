//! Many clients, slow sources: who waits for whom.

// The functions that tests share are test code too.
#![allow(clippy::unwrap_used)]

mod common;
mod pulling;
#[path = "../../crates/remote/tests/support/mod.rs"]
mod registries;
#[path = "../../crates/imager/tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cosign::SigningKey;
use imager::FurtherCatalogue;
use pulling::{CORE, Counted, Pulling, core, extensions, image, origin, register};
use support::{SCHEMATIC, VERSION, complete};

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_pull_each_blob_once() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let counted = Counted::over(&made, &key).await;
    let pulling = Arc::new(Pulling::from(core(origin(&counted.host, "", Some(&key)))).await);
    let id = register(&pulling, SCHEMATIC).await;
    let path = format!("/image/{id}/{VERSION}/initramfs-amd64.xz.lock.json");
    let requests = (0..100).map(|_| {
        let (pulling, path) = (Arc::clone(&pulling), path.clone());
        tokio::spawn(async move { pulling.bytes(&path).await })
    });
    let locks: Vec<Vec<u8>> =
        futures::future::join_all(requests).await.into_iter().map(Result::unwrap).collect();
    assert!(locks.iter().all(|lock| *lock == locks[0]));
    let mut seen = counted.seen.lock().unwrap().clone();
    let heads: Vec<_> = seen.extract_if(.., |request| request.starts_with("HEAD ")).collect();
    assert_eq!(heads.len(), 2, "one for each tag: {heads:?}");
    let all = seen.len();
    seen.sort();
    // What is signed is read once to be judged and once more to be kept.
    seen.dedup_by(|a, b| a == b && counted.payloads.iter().any(|digest| a.ends_with(digest)));
    assert_eq!(all - seen.len(), 5, "two images by tag, three by digest");
    seen.dedup();
    assert_eq!(all - seen.len(), 5, "everything else was asked for once");
    assert!(seen.iter().filter(|request| request.contains("/blobs/")).count() > 15, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_when_who_wanted_it_has_left() {
    let (made, key) = (complete(), SigningKey::generate().unwrap());
    let counted = Counted::slow(&made, &key, Duration::from_millis(100)).await;
    let pulling = Pulling::from(core(origin(&counted.host, "", Some(&key)))).await;
    pulling.server.post("{}").await;
    let request = tokio::spawn(pulling.server.get(&image("kernel-amd64")).send());
    while counted.seen.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    assert_eq!(pulling.store.resolve_tag(CORE[0], VERSION).unwrap(), None);
    for _ in 0..400 {
        if pulling.store.resolve_tag(CORE[0], VERSION).unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it does not come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_catalogue_holds_up_nobody_who_does_not_want_it() {
    let (made, slow_made, key) = (complete(), complete(), SigningKey::generate().unwrap());
    let counted = Counted::over(&made, &key).await;
    let slow = Counted::slow(&slow_made, &key, Duration::from_secs(20)).await;
    let mut sources = core(origin(&counted.host, "", Some(&key)));
    sources.catalogues.push(FurtherCatalogue {
        name: "slow".to_owned(),
        origin: origin(&slow.host, "", Some(&key)),
        extensions: Some("siderolabs/extensions".to_owned()),
        overlays: None,
    });
    let pulling = Arc::new(Pulling::from(sources).await);
    pulling.server.post("{}").await;
    let begun = Instant::now();
    // More than it pulls at once, and more than there are processors.
    let lists: Vec<_> = (0..20)
        .map(|minor| {
            let (pulling, path) =
                (Arc::clone(&pulling), extensions().replace(VERSION, &format!("v13.{minor}.0")));
            tokio::spawn(async move { pulling.server.get(&path).send().await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    pulling.bytes(&image("kernel-amd64")).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    for list in lists {
        list.abort();
    }
}
