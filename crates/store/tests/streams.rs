//! Streams: what a client gets is what the map says, whatever happens to the store meanwhile.

// Clippy knows test functions, but not that all of this file is one.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use extent::{Digest, ExtentMap, read_all};
use futures::StreamExt;
use proptest::prelude::*;
use store::{Chunks, Error, Part, Store};

const LENS: [usize; 3] = [1, 70_000, 900_000];

fn content(i: usize) -> Vec<u8> {
    (0..LENS[i]).map(|n| u8::try_from((n * (i + 1) + n / 1000) % 251).unwrap()).collect()
}

fn new_store() -> (tempfile::TempDir, Store, Vec<Digest>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let digests = (0..LENS.len()).map(|i| store.put_bytes(&content(i)).unwrap().digest).collect();
    (dir, store, digests)
}

/// One store for all cases of a property.
fn shared() -> &'static (tempfile::TempDir, Store, Vec<Digest>) {
    static SHARED: OnceLock<(tempfile::TempDir, Store, Vec<Digest>)> = OnceLock::new();
    SHARED.get_or_init(new_store)
}

fn blob_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

async fn collect(mut chunks: Chunks) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        assert!(!chunk.is_empty() && chunk.len() <= 256 << 10);
        bytes.extend(chunk);
    }
    assert!(chunks.next().await.is_none(), "an ended stream stays ended");
    Ok(bytes)
}

/// What a client gets from a server that sends files: the bytes, and how many of them the kernel sent.
async fn collect_parts(mut chunks: Chunks) -> io::Result<(Vec<u8>, usize)> {
    let (socket, mut client) = UnixStream::pair()?;
    // It takes what it has room for.
    socket.set_nonblocking(true)?;
    let (mut bytes, mut sent) = (Vec::new(), 0);
    while let Some(part) = poll_fn(|context| chunks.poll_part(context)).await {
        let mut part = match part? {
            Part::Bytes(chunk) => {
                bytes.extend(chunk);
                continue;
            }
            Part::File(part) => part,
        };
        while part.len() > 0 {
            if !part.is_ready() {
                part = part.made_ready()?;
            }
            let start = bytes.len();
            bytes.resize(start + part.send(&socket)?, 0);
            client.read_exact(&mut bytes[start..])?;
            sent += bytes.len() - start;
        }
    }
    Ok((bytes, sent))
}

prop_compose! {
    fn any_map()(pieces in prop::collection::vec((0..5u8, 0..600_000u64, 0..900_000u64), 0..12)) -> ExtentMap {
        let digests = &shared().2;
        let mut map = ExtentMap::new();
        for (kind, len, offset) in pieces {
            match kind {
                0 => map.push_zeros(len),
                1 => map.push_inline(vec![u8::try_from(offset % 251).unwrap(); usize::try_from(len).unwrap()]),
                // As compressed frames have them: short headers between ranges of blobs.
                2 => for i in 0..len % 20 {
                    map.push_inline(vec![1; 3]);
                    map.append(ExtentMap::blob(digests[2], i * 1000, 1 + offset % 40_000));
                    map.push_zeros(offset % 7);
                }
                _ => {
                    let i = usize::try_from(offset % 3).unwrap();
                    let start = offset.min(LENS[i] as u64);
                    map.append(ExtentMap::blob(digests[i], start, len.min(LENS[i] as u64 - start)));
                }
            }
        }
        map
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slices_equal_the_whole(map in any_map(), cuts in prop::collection::vec(0..4_000_000u64, 0..4)) {
        let (dir, store, _) = shared();
        let whole = read_all(&map, store, u64::MAX).unwrap();
        let runtime = runtime();
        let stream = |map| runtime.block_on(async { collect(store.stream(map).await.unwrap()).await.unwrap() });
        prop_assert!(stream(map.clone()) == whole);
        let sent = runtime.block_on(async { collect_parts(store.stream(map.clone()).await.unwrap()).await });
        prop_assert!(sent.unwrap().0 == whole);

        let mut cuts: Vec<u64> = cuts.into_iter().map(|cut| cut.min(map.len())).collect();
        cuts.extend([0, map.len()]);
        cuts.sort_unstable();
        let parts: Vec<u8> = cuts.windows(2).flat_map(|cut| stream(map.slice(cut[0]..cut[1]))).collect();
        prop_assert!(parts == whole);

        let mut written = Vec::new();
        store.write_to(&map, &mut written).unwrap();
        prop_assert!(written == whole);
        let path = dir.path().with_extension("raw");
        store.write_file(&map, &path, &|_| ()).unwrap();
        prop_assert!(fs::read(&path).unwrap() == whole);
        fs::remove_file(&path).unwrap();
    }
}

/// All of blob 2 several times, with what is between blobs.
fn long_map(digests: &[Digest]) -> ExtentMap {
    let mut map = ExtentMap::new();
    for _ in 0..4 {
        map.push_inline(&b"head"[..]);
        map.append(ExtentMap::blob(digests[2], 0, LENS[2] as u64));
        map.push_zeros(100_000);
        map.append(ExtentMap::blob(digests[1], 10, 60_000));
    }
    map
}

#[tokio::test]
async fn a_blob_removed_while_it_is_streamed_is_read_to_its_end() {
    let (dir, store, digests) = new_store();
    let map = long_map(&digests);
    let whole = read_all(&map, &store, u64::MAX).unwrap();
    let mut chunks = store.stream(map.clone()).await.unwrap();
    let first = chunks.next().await.unwrap().unwrap();
    for digest in &digests {
        fs::remove_file(blob_path(dir.path(), digest)).unwrap();
    }
    let rest = collect(chunks).await.unwrap();
    assert!([&first[..], &rest].concat() == whole);
    assert!(matches!(store.stream(map).await, Err(Error::NotFound { .. })), "a new stream needs the name");
}

#[tokio::test]
async fn a_part_of_a_file_that_was_removed_is_sent_and_one_that_was_changed_is_not() {
    let (dir, store, digests) = new_store();
    // A verdict is kept of what was not changed just now.
    let settled = || tokio::time::sleep(std::time::Duration::from_millis(200));
    settled().await;
    let map = ExtentMap::blob(digests[2], 0, 900_000);
    let whole = read_all(&map, &store, u64::MAX).unwrap();
    let next = async |chunks: &mut Chunks| match poll_fn(|context| chunks.poll_part(context)).await {
        Some(Ok(Part::File(part))) => part,
        other => panic!("{other:?}"),
    };
    let mut chunks = store.stream(map.clone()).await.unwrap();
    let mut part = next(&mut chunks).await;
    assert!(part.is_ready());
    // Another name is another state of the file, and no other bytes.
    fs::hard_link(blob_path(dir.path(), &digests[2]), dir.path().join("link")).unwrap();
    assert!(!part.is_ready());
    let mut part = part.made_ready().unwrap();
    assert!(part.is_ready() && !chunks.has_failed());
    settled().await;
    assert!(collect_parts(store.stream(map.clone()).await.unwrap()).await.unwrap() == (whole, 900_000));

    let path = blob_path(dir.path(), &digests[2]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 2], 800_000).unwrap();
    assert!(!part.is_ready() && !part.is_unchanged());
    assert!(matches!(part.made_ready(), Err(Error::Corrupt { digest }) if digest == digests[2]));
    assert!(chunks.has_failed());

    let mut chunks = store.stream(ExtentMap::blob(digests[1], 0, 70_000)).await.unwrap();
    let mut part = next(&mut chunks).await;
    assert!(part.is_ready());
    let path = blob_path(dir.path(), &digests[1]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let (socket, _client) = UnixStream::pair().unwrap();
    assert!(part.send(&socket).is_err(), "nothing is left to be sent");
    assert!(chunks.has_failed());
}

#[tokio::test]
async fn no_more_of_a_part_is_sent_than_is_ready() {
    let (_dir, store, digests) = new_store();
    // A verdict is kept of what was not changed just now.
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let mut chunks = store.stream(ExtentMap::blob(digests[2], 0, 900_000)).await.unwrap();
    let Some(Ok(Part::File(part))) = poll_fn(|context| chunks.poll_part(context)).await else {
        panic!("no part of a file");
    };
    let (socket, mut client) = UnixStream::pair().unwrap();
    let mut part = part.made_ready().unwrap();
    let mut sent = 0;
    let mut taken = vec![0; 1 << 20];
    // A client that takes a little at a time: what was asked for first ends in the middle of what goes out.
    while sent < 256 << 10 {
        let count = part.send(&socket).unwrap();
        sent += count;
        assert!(sent <= 256 << 10, "{sent} bytes");
        client.read_exact(&mut taken[..count]).unwrap();
    }
    assert_eq!(part.len(), 900_000 - (256 << 10));
}

#[tokio::test]
async fn no_changed_byte_is_given_out() {
    let (dir, store, digests) = new_store();
    let map = long_map(&digests);
    let whole = read_all(&map, &store, u64::MAX).unwrap();
    let mut chunks = store.stream(map.clone()).await.unwrap();
    let mut seen = chunks.next().await.unwrap().unwrap().to_vec();
    let path = blob_path(dir.path(), &digests[2]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&path).unwrap().write_all_at(&[0xff; 2], 800_000).unwrap();
    let error = loop {
        match chunks.next().await.expect("the stream does not end as if it were whole") {
            Ok(chunk) => seen.extend(chunk),
            Err(error) => break error,
        }
    };
    assert!(whole.starts_with(&seen));
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    assert!(matches!(inner, Some(Error::Corrupt { digest }) if *digest == digests[2]), "{error:?}");
    assert!(chunks.next().await.is_none());
    assert!(matches!(store.stream(map).await, Err(Error::Corrupt { .. })), "and the next does not begin");
}

#[tokio::test]
async fn every_error_comes_before_the_first_byte() {
    let (dir, store, digests) = new_store();
    let mut map = ExtentMap::zeros(1 << 30);
    map.append(ExtentMap::blob(digests[1], 0, 70_001));
    let error = store.stream(map).await.unwrap_err();
    assert!(matches!(error, Error::OutOfRange { len: 70_000, end: 70_001, .. }));
    let wrapped = ExtentMap::blob(digests[1], u64::MAX - 5, 10);
    assert!(matches!(store.stream(wrapped).await, Err(Error::OutOfRange { .. })));

    let mut map = ExtentMap::zeros(1 << 30);
    map.append(ExtentMap::blob(digests[1], 0, 10));
    fs::remove_file(blob_path(dir.path(), &digests[1])).unwrap();
    fs::write(blob_path(dir.path(), &digests[1]), "cut short").unwrap();
    let error = store.stream(map).await.unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { digest } if digest == digests[1]),
        "a short blob is corrupt, the map is right"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_streams_share_files_and_may_be_dropped() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (_dir, store, digests) = new_store();
    let map = long_map(&digests);
    let before = descriptors();
    let mut streams = Vec::new();
    for i in 0..3000u64 {
        // Not from the same offset: each reads ahead on its own.
        streams.push(store.stream(map.slice(i * 100..map.len())).await.unwrap());
    }
    // Other tests run in this process at the same time.
    assert!(descriptors() < before + 200, "{} descriptors, {before} before", descriptors());
    for chunks in streams.iter_mut().step_by(7) {
        chunks.next().await.unwrap().unwrap();
    }
    drop(streams);
    let whole = read_all(&map, &store, u64::MAX).unwrap();
    assert!(collect(store.stream(map).await.unwrap()).await.unwrap() == whole);
}

#[tokio::test]
async fn zeros_and_long_inline_bytes_are_not_copied() {
    let (_dir, store, _) = new_store();
    let inline = bytes::Bytes::from(vec![9; 300_000]);
    let mut map = ExtentMap::zeros(600_000);
    map.push_inline(inline.clone());
    let mut chunks = store.stream(map).await.unwrap();
    let (mut zeros, mut inlines) = (Vec::new(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        if chunk[0] == 0 { zeros.push(chunk) } else { inlines.push(chunk) }
    }
    assert!(zeros.len() > 2 && zeros.iter().all(|chunk| chunk.as_ptr() == zeros[0].as_ptr()));
    let within = inline.as_ptr_range();
    assert!(!inlines.is_empty() && inlines.iter().all(|chunk| within.contains(&chunk.as_ptr())));
}
