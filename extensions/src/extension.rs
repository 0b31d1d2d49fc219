//! Extension images.

use extent::{Blobs, Kind, Node, Tree, TreePath, read_all};

use crate::manifest::MANIFEST_LEN_MAX;
use crate::{Error, Manifest};

/// The manifest in an image.
const MANIFEST: &str = "manifest.yaml";
/// The directory of an image that becomes the layer.
const ROOTFS: &str = "rootfs";

/// An extension: what it says of itself, and what it adds to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it adds, below its own root.
    pub rootfs: Tree,
}

impl Extension {
    /// The extension in `image`, the tree of an image.
    ///
    /// The image must have the file `manifest.yaml` and the directory `rootfs` and nothing else. Only the manifest is
    /// read.
    ///
    /// # Errors
    /// `Missing`, `Unexpected`, `Content`, and those of [`Manifest::parse`].
    pub fn from_image(image: &Tree, blobs: &dyn Blobs) -> Result<Self, Error> {
        for (path, _) in image.children(&TreePath::root()) {
            if !matches!(path.as_str(), MANIFEST | ROOTFS) {
                return Err(Error::Unexpected { name: path.as_str().to_owned() });
            }
        }
        let manifest = image.content(MANIFEST).ok_or(Error::Missing { name: MANIFEST, kind: "file" })?;
        if manifest.len() > MANIFEST_LEN_MAX {
            return Err(Error::ManifestTooLong { len: manifest.len(), max: MANIFEST_LEN_MAX });
        }
        let manifest = read_all(manifest, blobs, MANIFEST_LEN_MAX)
            .map_err(|source| Error::Content { path: MANIFEST.to_owned(), source })?;
        let manifest = Manifest::parse(&manifest)?;
        Ok(Self { manifest, rootfs: below(image, ROOTFS)? })
    }
}

/// What lies below the directory `name`, as a tree of its own.
fn below(image: &Tree, name: &'static str) -> Result<Tree, Error> {
    let root = TreePath::parse(name)?;
    if !matches!(image.get(&root), Some(Node { kind: Kind::Directory, .. })) {
        return Err(Error::Missing { name, kind: "directory" });
    }
    let rest = |path: &TreePath| TreePath::parse(path.as_str().strip_prefix(name).unwrap_or_default());
    let mut tree = Tree::new();
    for (path, node) in image.iter().filter(|(path, _)| path.is_within(&root)) {
        let mut node = node.clone();
        if let Kind::HardLink(target) = &node.kind {
            // The manifest comes before `rootfs`, so a file with names in both is held by the manifest.
            let held = target.is_within(&root);
            node.kind = match image.get(target).map(|file| &file.kind) {
                Some(Kind::File(content)) if !held => Kind::File(content.clone()),
                _ => Kind::HardLink(rest(target)?),
            };
        }
        tree.insert(rest(path)?, node)?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bytes::Bytes;
    use extent::{Digest, ExtentMap};

    use super::*;

    const MANIFEST_YAML: &[u8] = b"version: v1alpha1\nmetadata: {name: x, version: '1'}\n";

    fn image() -> Tree {
        let mut tree = Tree::new();
        tree.file("manifest.yaml", MANIFEST_YAML.to_vec(), 0o644).unwrap();
        tree.file("rootfs/usr/local/bin/tool", vec![1], 0o755).unwrap();
        tree.directory("rootfs", 0o711).unwrap();
        let link = Node::new(Kind::HardLink(TreePath::parse("rootfs/usr/local/bin/tool").unwrap()), 0o755);
        tree.insert(TreePath::parse("rootfs/usr/local/bin/alias").unwrap(), link).unwrap();
        tree
    }

    fn from(image: &Tree) -> Result<Extension, Error> {
        Extension::from_image(image, &HashMap::<Digest, Bytes>::new())
    }

    #[test]
    fn an_image_is_a_manifest_and_a_root() {
        let extension = from(&image()).unwrap();
        assert_eq!((extension.manifest.name.as_str(), extension.manifest.version.as_str()), ("x", "1"));
        let paths: Vec<_> = extension.rootfs.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["", "usr", "usr/local", "usr/local/bin", "usr/local/bin/alias", "usr/local/bin/tool"]
        );
        assert_eq!(extension.rootfs.get(&TreePath::root()).unwrap().mode, 0o711);
        let alias = extension.rootfs.get(&TreePath::parse("usr/local/bin/alias").unwrap()).unwrap();
        assert_eq!(alias.kind, Kind::HardLink(TreePath::parse("usr/local/bin/tool").unwrap()));
    }

    #[test]
    fn a_file_that_is_the_manifest_too_is_copied() {
        let mut image = image();
        let link = Node::new(Kind::HardLink(TreePath::parse("manifest.yaml").unwrap()), 0o644);
        image.insert(TreePath::parse("rootfs/about").unwrap(), link).unwrap();
        let extension = from(&image).unwrap();
        assert_eq!(extension.rootfs.content("about"), Some(&ExtentMap::inline(MANIFEST_YAML)));
        assert!(matches!(
            extension.rootfs.get(&TreePath::parse("about").unwrap()).unwrap().kind,
            Kind::File(_)
        ));
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let with = |change: &dyn Fn(&mut Tree)| {
            let mut tree = image();
            change(&mut tree);
            from(&tree).unwrap_err()
        };
        let path = |text| TreePath::parse(text).unwrap();
        let error = with(&|tree| drop(tree.remove(&path("manifest.yaml"))));
        assert!(matches!(error, Error::Missing { name: "manifest.yaml", .. }));
        let error = with(&|tree| tree.directory("manifest.yaml", 0o755).unwrap());
        assert!(matches!(error, Error::Missing { name: "manifest.yaml", .. }));
        let error = with(&|tree| drop(tree.remove(&path("rootfs"))));
        assert!(matches!(error, Error::Missing { name: "rootfs", .. }));
        let error = with(&|tree| tree.symlink("rootfs", "/").unwrap());
        assert!(matches!(error, Error::Missing { name: "rootfs", .. }));
        let error = with(&|tree| tree.file("etc/passwd", vec![], 0o644).unwrap());
        assert!(matches!(error, Error::Unexpected { name } if name == "etc"));
        let long = ExtentMap::zeros(1 << 40);
        let error = with(&|tree| tree.file("manifest.yaml", long.clone(), 0o644).unwrap());
        assert!(matches!(error, Error::ManifestTooLong { len: 0x100_0000_0000, .. }));
        let elsewhere = ExtentMap::blob(Digest::of(b"gone"), 0, 10);
        let error = with(&|tree| tree.file("manifest.yaml", elsewhere.clone(), 0o644).unwrap());
        assert!(matches!(error, Error::Content { .. }));
    }
}
