//! Extensions that are nobody's image: the factory adds them itself.

use extent::{Digest, ExtentMap, Kind, Node, Tree, TreePath};

use crate::{Extension, Manifest};

/// Where the machine configuration is in its extension.
const CONFIG: &str = "usr/local/etc/talos/config.yaml";
/// The label of the machine configuration: state of the system, which nothing but the system reads.
const CONFIG_LABEL: &[u8] = b"system_u:object_r:system_state_t:s0";

/// The extension that tells a machine which schematic it was made from, for `canonical`, the canonical YAML.
///
/// `author` is the factory and its address, `Image Factory (https://…)`, which machines take apart. Where
/// `with_yaml` is set the whole schematic is in the manifest, as machines from Talos 1.7.0 on read it.
///
/// It is always the last of the extensions.
pub fn schematic(canonical: &str, author: &str, with_yaml: bool) -> Extension {
    let id = Digest::of(canonical.as_bytes()).hex();
    let file = (format!("usr/local/share/schematic/{id}"), Node::new(Kind::File(ExtentMap::new()), 0o644));
    let manifest = Manifest {
        name: "schematic".to_owned(),
        version: id,
        author: author.to_owned(),
        description: "Virtual extension which specifies the schematic of the image built with schematic."
            .to_owned(),
        compatibility: any_version(),
        extra_info: if with_yaml { canonical.to_owned() } else { String::new() },
    };
    Extension { manifest, rootfs: tree(file) }
}

/// The extension that carries the machine configuration `config`.
pub fn embedded_config(config: &[u8]) -> Extension {
    let mut node = Node::new(Kind::File(ExtentMap::inline(config.to_vec())), 0o400);
    node.xattrs.insert("security.selinux".to_owned(), CONFIG_LABEL.to_vec());
    let manifest = Manifest {
        name: "embedded-config".to_owned(),
        version: Digest::of(config).hex(),
        author: "Imager".to_owned(),
        description: "Virtual extension which embeds the machine configuration.".to_owned(),
        compatibility: any_version(),
        extra_info: String::new(),
    };
    Extension { manifest, rootfs: tree((CONFIG.to_owned(), node)) }
}

fn any_version() -> crate::Range {
    ">= 1.0.0".parse().expect("a range")
}

/// The tree of one file in directories of mode 0755.
fn tree((path, node): (String, Node)) -> Tree {
    let mut tree = Tree::new();
    let path = TreePath::parse(&path).expect("plain names");
    tree.insert(path, node).expect("an empty tree takes any path");
    tree
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Paths;

    #[test]
    fn the_schematic_is_named_by_its_id() {
        let id = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        let extension = schematic("customization: {}\n", "Image Factory (https://f.example/)", true);
        assert_eq!(extension.manifest.version, id, "the id of the empty schematic, known to all");
        assert_eq!(extension.manifest.extra_info, "customization: {}\n");
        let file = extension.rootfs.content(&format!("usr/local/share/schematic/{id}")).unwrap();
        assert!(file.is_empty());
        assert_eq!(extension.rootfs.len(), 6, "the root, four directories and the file");
        assert_eq!(schematic("customization: {}\n", "x", false).manifest.extra_info, "");
        assert!(extension.manifest.check(&"13.1.0".parse().unwrap()).is_ok());
    }

    #[test]
    fn the_configuration_is_for_the_system_alone() {
        let extension = embedded_config(b"version: v1alpha1\n");
        assert_eq!(extension.manifest.version, Digest::of(b"version: v1alpha1\n").hex());
        let layer = extension.split(&Paths::merged_usr()).unwrap().layer;
        let node = layer.get(&TreePath::parse(CONFIG).unwrap()).unwrap();
        assert_eq!(node.mode, 0o400);
        assert_eq!(node.xattrs["security.selinux"], b"system_u:object_r:system_state_t:s0");
        assert_eq!(layer.get(&TreePath::parse("usr/local/etc/talos").unwrap()).unwrap().mode, 0o755);
    }
}
