//! Images leave a store as a layout, a directory or one file, and come into another: signed as they should be, or not at all.

#![allow(clippy::unwrap_used, reason = "what is not a test is called by tests alone")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cosign::{Policy, SigningKey};
use extent::Digest;
use oci_spec::image::MediaType;
use remote::{Described, Error, Layout, Pull, Push, Signatures, archive, pull};
use store::Store;
use support::{
    Image, NAME, Program, assert_clean, assert_untagged, client, put_referrer, put_signature, store,
};

/// A store with an image under `v1`, signed by `key` in the shapes that are wanted.
fn signed(key: &SigningKey, shapes: [bool; 2]) -> (tempfile::TempDir, Store, Image) {
    let (dir, here) = store();
    let image = Image::new(200_000, 7);
    let descriptor = image.put(&here);
    here.tag(NAME, "v1", &descriptor).unwrap();
    if shapes[0] {
        let (tag, descriptor) = put_signature(&here, &image.digest(), &image.sign(key));
        here.tag(NAME, &tag, &descriptor).unwrap();
    }
    if shapes[1] {
        let (tag, descriptor) = put_referrer(&here, &image.digest(), &image.refer(key));
        here.tag(NAME, &tag, &descriptor).unwrap();
    }
    (dir, here, image)
}

/// The image and its signatures, as one file in `dir`.
async fn file(store: &Store, dir: &Path) -> PathBuf {
    let tagged = store.resolve_tag(NAME, "v1").unwrap().unwrap();
    let image = Described::in_store(store, &tagged).await.unwrap();
    let signatures = Signatures::in_store(store, NAME, &image.digest(), None).await.unwrap();
    let named = |(tag, image): (String, Described)| (format!("{NAME}:{tag}"), image);
    let mut images: BTreeMap<_, _> = signatures.tagged(&image.digest()).into_iter().map(named).collect();
    images.insert(format!("{NAME}:v1"), image);
    let path = dir.join("mirror.tar");
    store.write_file(&archive(&images).unwrap(), &path, &|_| ()).unwrap();
    path
}

/// Loads `v1` from the layout at `path` into a new store.
async fn load(path: &Path, policy: Option<&Policy>) -> Result<(tempfile::TempDir, Store), Error> {
    let (dir, there) = store();
    let loaded = async {
        let layout = Layout::open(path)?;
        let mut pull = Pull::from_layout(&there, &layout, NAME, "v1").with_signatures();
        if let Some(policy) = policy {
            pull = pull.verified_by(policy);
        }
        pull.run().await
    };
    match loaded.await {
        Ok(_) => Ok((dir, there)),
        Err(error) => {
            assert_untagged(&there, &dir);
            Err(error)
        }
    }
}

#[tokio::test]
async fn an_image_travels_with_its_signatures_as_a_file_and_as_a_directory() {
    let key = SigningKey::generate().unwrap();
    let policy = Policy::Key(key.public_key());
    for shapes in [[true, false], [false, true], [true, true]] {
        let (dir, here, image) = signed(&key, shapes);
        let file = file(&here, dir.path()).await;
        // A directory that images are pulled into is a store, and so a layout.
        let other = tempfile::tempdir().unwrap();
        let directory = Store::open(other.path().join("mirror")).unwrap();
        Pull::from_store(&directory, &here, NAME, "v1").verified_by(&policy).run().await.unwrap();
        for path in [file, other.path().join("mirror")] {
            let (loaded, there) = load(&path, Some(&policy)).await.unwrap();
            image.assert_in(&there, "v1");
            assert_eq!(there.tags(NAME).unwrap(), here.tags(NAME).unwrap());
            assert_clean(&there, &loaded);
            // Where nobody judges them they come along for who does.
            let (_dir, unjudged) = load(&path, None).await.unwrap();
            assert_eq!(unjudged.tags(NAME).unwrap(), here.tags(NAME).unwrap());
        }
    }
}

#[tokio::test]
async fn the_same_images_make_the_same_archive() {
    let key = SigningKey::generate().unwrap();
    let (dir, here, _) = signed(&key, [true, true]);
    let first = std::fs::read(file(&here, dir.path()).await).unwrap();
    let (_loaded, there) = load(&dir.path().join("mirror.tar"), None).await.unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let second = std::fs::read(file(&there, elsewhere.path()).await).unwrap();
    assert!(first == second);
}

#[tokio::test]
async fn what_is_not_signed_as_it_should_be_is_not_loaded() {
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let policy = Policy::Key(other.public_key());
    for shapes in [[false, false], [true, false], [false, true], [true, true]] {
        let (dir, here, _) = signed(&key, shapes);
        let path = file(&here, dir.path()).await;
        let error = load(&path, Some(&policy)).await.unwrap_err();
        let Error::Unverified { refusals, .. } = &error else { panic!("{error}") };
        let count = usize::from(shapes[0]) + usize::from(shapes[1]);
        assert_eq!(refusals.len(), count, "{error}");
        assert!(refusals.iter().all(|one| matches!(one, Error::Signature { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_flipped_bit_of_any_part_is_found() {
    let key = SigningKey::generate().unwrap();
    let policy = Policy::Key(key.public_key());
    let (dir, here, image) = signed(&key, [true, false]);
    let path = file(&here, dir.path()).await;
    let whole = std::fs::read(&path).unwrap();
    for part in image.parts() {
        let at = whole.windows(part.len()).position(|window| window == part.as_slice()).unwrap();
        let mut flipped = whole.clone();
        flipped[at + part.len() / 2] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        let error = load(&path, Some(&policy)).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
}

/// An entry of a tar archive, its header and its content padded.
fn entry(name: &str, kind: u8, len: u64, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{len:011o}").as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = kind;
    if kind == b'1' || kind == b'2' {
        header[157..168].copy_from_slice(b"/etc/passwd");
    }
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

#[tokio::test]
async fn hostile_archives_are_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hostile.tar");
    let version = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    let file = |name: &str, content: &[u8]| entry(name, b'0', content.len() as u64, content);
    let good = [file("oci-layout", version), file("index.json", index)].concat();
    std::fs::write(&path, &good).unwrap();
    assert_eq!(Layout::open(&path).unwrap().images().count(), 0);

    let named = |name: &str, digests: [char; 2]| {
        let manifests = digests.map(|digit| {
            let digest = digit.to_string().repeat(64);
            serde_json::json!({"mediaType": support::INDEX, "digest": format!("sha256:{digest}"), "size": 1,
                "annotations": {"org.opencontainers.image.ref.name": name}})
        });
        serde_json::json!({"schemaVersion": 2, "manifests": manifests}).to_string().into_bytes()
    };
    let long = vec![b' '; 17 << 20];
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("oci-layout", Vec::new()),
        ("index.json", file("oci-layout", version)),
        (
            "1.0.0",
            [file("oci-layout", br#"{"imageLayoutVersion":"2.0.0"}"#), file("index.json", index)].concat(),
        ),
        ("malformed", [file("oci-layout", b"{"), file("index.json", index)].concat()),
        ("malformed", [file("oci-layout", version), file("index.json", b"[]")].concat()),
        (
            "one image",
            [file("oci-layout", version), file("index.json", &named("a/b:c", ['a', 'b']))].concat(),
        ),
        ("more than 16777216", [file("oci-layout", version), file("index.json", &long)].concat()),
        ("blobs/../../x", [good.clone(), file("blobs/../../x", b"x")].concat()),
        ("/etc/x", [good.clone(), file("/etc/x", b"x")].concat()),
        ("files and directories", [good.clone(), entry("blobs/sha256/x", b'2', 0, b"")].concat()),
        ("/etc/passwd", [good.clone(), entry("blobs/sha256/x", b'1', 0, b"")].concat()),
        ("files and directories", [good.clone(), entry("blobs/pipe", b'6', 0, b"")].concat()),
        // A terabyte is announced.
        ("ends within", [good.clone(), entry("blobs/sha256/x", b'0', 0o77_777_777_777, b"x")].concat()),
        ("twice", [good.clone(), file("index.json", index)].concat()),
        ("no tar header", [good.clone(), vec![7; 1024]].concat()),
        ("no tar header", vec![0x1f; 4096]),
    ];
    for (reason, bytes) in table {
        std::fs::write(&path, &bytes).unwrap();
        let error = Layout::open(&path).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {source}").contains(reason), "{error}: {source}, not {reason}");
    }
}

#[tokio::test]
async fn a_name_that_is_none_names_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let entry = |name: &str| {
        serde_json::json!({"mediaType": support::INDEX, "digest": Digest::of(b"x").to_string(), "size": 1,
            "annotations": {"org.opencontainers.image.ref.name": name}})
    };
    let names = ["a/b:v1", "v1", "../b:v1", "A/b:v1", "a/b:-x", "a//b:v1", "a/b:", ":v1"].map(entry);
    let index = serde_json::json!({"schemaVersion": 2, "manifests": names});
    std::fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
    let layout = Layout::open(dir.path()).unwrap();
    assert_eq!(layout.images().collect::<Vec<_>>(), [("a/b", "v1")]);
    let error = load(dir.path(), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn links_and_pipes_in_a_directory_are_not_followed() {
    let key = SigningKey::generate().unwrap();
    let (_dir, here, image) = signed(&key, [true, false]);
    let other = tempfile::tempdir().unwrap();
    let mirror = other.path().join("mirror");
    let directory = Store::open(&mirror).unwrap();
    Pull::from_store(&directory, &here, NAME, "v1").run().await.unwrap();
    let blob = mirror.join("blobs/sha256").join(image.layer().hex());
    let aside = other.path().join("aside");
    std::fs::rename(&blob, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &blob).unwrap();
    let error = load(&mirror, None).await.unwrap_err();
    assert!(matches!(error, Error::BadLayout { .. }), "{error}");
    std::fs::remove_file(&blob).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&blob).status().unwrap().success());
    let error = load(&mirror, None).await.unwrap_err();
    assert!(matches!(error, Error::BadLayout { .. }), "{error}");
    // A blob that is longer than its manifest says is not read at all.
    std::fs::remove_file(&blob).unwrap();
    std::fs::write(&blob, vec![0; 10 << 20]).unwrap();
    let error = load(&mirror, None).await.unwrap_err();
    assert!(error.to_string().contains("the length that its descriptor says"), "{error}");
    std::fs::remove_file(&blob).unwrap();
    std::fs::rename(&aside, &blob).unwrap();
    load(&mirror, None).await.unwrap();
}

#[tokio::test]
async fn an_image_that_nobody_has_as_a_file_is_pushed_with_signatures_before_its_tag() {
    let Some(program) = Program::start() else { return };
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let (_dir, here, image) = signed(&key, [false, false]);
    let tagged = here.resolve_tag(NAME, "v1").unwrap().unwrap();
    let described = Described::in_store(&here, &tagged).await.unwrap();
    let reference = program.reference("v9");
    for key in [&other, &key] {
        let signatures = Signatures::by(key, "r.example/a", &MediaType::ImageIndex, &image.index);
        let client = client();
        let push = || Push::new(&here, &client, &reference, &described).signed(image.digest(), &signatures);
        let first = push().run().await.unwrap();
        assert_eq!(first.digest, image.digest());
        assert_eq!(push().run().await.unwrap().sent_len, 0, "what is there is not sent");
        let (_there, there) = store();
        let policy = Policy::Key(key.public_key());
        pull(&there, &client, &reference, Some(&policy)).await.unwrap();
        image.assert_in(&there, "v9");
    }
    // The list of bundles has grown and has not been replaced; the tag of the old shape has one owner.
    let (_there, there) = store();
    let policy = Policy::Key(other.public_key());
    pull(&there, &client(), &reference, Some(&policy)).await.unwrap();
    assert_eq!(there.tags(NAME).unwrap(), [cosign::referrers_tag(&image.digest()), "v9".to_owned()]);
}

/// A good archive with a few bytes changed, and perhaps cut off: whatever comes of it, nothing unsigned has a name.
#[test]
fn no_change_of_an_archive_brings_anything_unsigned_in() {
    let key = SigningKey::generate().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (dir, here, image) = signed(&key, [true, true]);
    let path = runtime.block_on(file(&here, dir.path()));
    let whole = std::fs::read(&path).unwrap();
    let policy = Policy::Key(key.public_key());
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    });
    // Headers and documents are where it decides; most bytes are layers.
    let interesting: Vec<usize> =
        (0..whole.len()).filter(|at| whole[at - at % 512..][..9] != [0; 9]).collect();
    let change = (0..interesting.len(), proptest::num::u8::ANY);
    let changes = (proptest::collection::vec(change, 1..4), 0..=4 * whole.len());
    let run = |(changes, len): (Vec<(usize, u8)>, usize)| {
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            bytes[interesting[at]] = byte;
        }
        bytes.truncate(len);
        std::fs::write(&path, bytes).unwrap();
        if let Ok((_dir, there)) = runtime.block_on(load(&path, Some(&policy))) {
            image.assert_in(&there, "v1");
        }
        Ok(())
    };
    runner.run(&changes, run).unwrap();
}
