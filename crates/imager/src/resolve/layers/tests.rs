use std::io::Write as _;

use extent::{Node, TreePath};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::Arch;

const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tree = Tree::new();
    for (path, content) in files {
        tree.file(path, content.as_bytes().to_vec(), 0o644).unwrap();
    }
    let map = tar::archive(&tree, 0).unwrap();
    extent::read_all(&map, &std::collections::HashMap::new(), 1 << 20).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// The image of `layers`, the lowest first, each with its media type.
fn image(store: &Store, layers: &[(&str, &[u8])]) -> Result<Image, Error> {
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let stored = store.put_bytes(bytes).unwrap();
        serde_json::json!({"mediaType": media_type, "digest": stored.digest, "size": stored.len})
    };
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config = descriptor("application/vnd.oci.image.config.v1+json", config);
    let layers: Vec<_> = layers.iter().map(|(media_type, bytes)| descriptor(media_type, bytes)).collect();
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let digest = store.put_bytes(manifest.as_bytes()).unwrap().digest;
    Image::open(store, "x", digest, Arch::Amd64)
}

fn tree(store: &Store, layers: &[(&str, &[u8])]) -> Result<Tree, Error> {
    image(store, layers)?.tree(store)
}

fn text(store: &Store, tree: &Tree, path: &str) -> Option<String> {
    let bytes = extent::read_all(tree.content(path)?, store, 100).unwrap();
    Some(String::from_utf8(bytes).unwrap())
}

#[test]
fn layers_of_every_type_lie_one_over_the_other() {
    let (_dir, store) = store();
    let lower = archive(&[("a/b/c", "1"), ("a/d", "1"), ("e", "1"), ("f/g", "1")]);
    let middle = archive(&[("a/b/.wh.c", ""), ("e", "2"), ("f/.wh..wh..opq", "")]);
    let upper = archive(&[("h", "3")]);
    for name in [OCI, DOCKER] {
        let mark = if name == OCI { '+' } else { '.' };
        let (gzip_type, zstd_type) = (format!("{name}{mark}gzip"), format!("{name}{mark}zstd"));
        let (middle, upper) = (gzip(&middle), zstd_of(&upper));
        let layers: [(&str, &[u8]); 3] = [(name, &lower), (&gzip_type, &middle), (&zstd_type, &upper)];
        let tree = tree(&store, &layers).unwrap();
        for (path, content) in [
            ("a/b/c", None),
            ("a/d", Some("1")),
            ("e", Some("2")),
            ("f/g", None),
            ("h", Some("3")),
            ("x", None),
        ] {
            assert_eq!(text(&store, &tree, path).as_deref(), content, "{path}");
        }
    }
}

#[test]
fn layers_of_other_types_are_refused_by_name() {
    let (_dir, store) = store();
    let archive = archive(&[("a", "1")]);
    for name in [
        "application/vnd.oci.image.layer.v1.tar+xz",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "text/plain",
    ] {
        let error = tree(&store, &[(name, &archive)]).unwrap_err();
        assert!(matches!(&error, Error::LayerMediaType { media_type, .. } if media_type == name), "{error}");
    }
}

#[test]
fn what_is_not_packed_as_it_says_is_damaged() {
    let (_dir, store) = store();
    let plain = archive(&[("a", "1")]);
    let (gzipped, zstd) = (gzip(&plain), zstd_of(&plain));
    let (gzip_type, zstd_type) = (format!("{OCI}+gzip"), format!("{OCI}+zstd"));
    let mut flipped = gzipped.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    for (media_type, bytes) in [
        (&gzip_type, &plain),
        (&gzip_type, &zstd),
        (&gzip_type, &flipped),
        (&gzip_type, &gzipped[..gzipped.len() - 9].to_vec()),
        (&zstd_type, &plain),
        (&zstd_type, &gzipped),
        (&zstd_type, &zstd[..zstd.len() - 1].to_vec()),
    ] {
        let error = tree(&store, &[(media_type, bytes)]).unwrap_err();
        assert!(matches!(error, Error::LayerPacking { .. }), "{error:?}");
    }
    let error = tree(&store, &[(OCI, &gzipped)]).unwrap_err();
    assert!(matches!(error, Error::Layer { .. }), "{error:?}");
}

#[test]
fn bombs_are_refused_before_they_fill_the_disk() {
    let (dir, store) = store();
    let zeros = vec![0; 8 << 20];
    let mut encoder = GzEncoder::new(vec![], Compression::best());
    for _ in 0..10 {
        encoder.write_all(&zeros).unwrap();
    }
    let gzipped = encoder.finish().unwrap();
    let mut encoder = zstd::Encoder::new(vec![], 3).unwrap();
    for _ in 0..20 {
        encoder.write_all(&zeros).unwrap();
    }
    let zstd = encoder.finish().unwrap();
    assert!(zstd.len() < 100 << 10);
    for (packing, bytes) in [("gzip", &gzipped), ("zstd", &zstd)] {
        let error = tree(&store, &[(&format!("{OCI}+{packing}"), bytes)]).unwrap_err();
        assert!(matches!(error, Error::LayerTooLarge { max: RATIO_FREE_LEN, .. }), "{packing}: {error:?}");
    }
    // Nothing of them stays.
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);

    // A frame that wants a window of 256 MiB of memory: magic, descriptor, window of 2^28, a raw block, the last, empty.
    let greedy = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 18 << 3, 0x01, 0x00, 0x00];
    let error = tree(&store, &[(&format!("{OCI}+zstd"), &greedy)]).unwrap_err();
    assert!(matches!(error, Error::LayerPacking { .. }), "{error:?}");
    let modest = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 0x01, 0x00, 0x00];
    assert!(tree(&store, &[(&format!("{OCI}+zstd"), &modest)]).unwrap().is_empty());
}

#[test]
fn layers_are_counted_and_their_errors_name_the_image() {
    let (_dir, store) = store();
    let layer = archive(&[("a", "1")]);
    assert!(tree(&store, &vec![(OCI, &*layer); 512]).is_ok());
    let error = tree(&store, &vec![(OCI, &*layer); 513]).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { max: 512, .. }));
    let upper = archive(&[("d/.wh...", "")]);
    let error = tree(&store, &[(OCI, &layer), (OCI, &upper)]).unwrap_err();
    assert!(matches!(error, Error::Layers { .. }), "{error:?}");

    let mut one = Tree::new();
    one.insert(TreePath::parse("a").unwrap(), Node::new(extent::Kind::Fifo, 0o600)).unwrap();
    let image = image(&store, &[]).unwrap();
    for path in ["a", "b"] {
        assert!(matches!(image.file(&one, path), Err(Error::MissingFile { .. })), "{path}");
    }
}
