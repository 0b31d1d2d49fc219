//! `extensions.yaml`: the layers of an image, for the system that boots it.

use std::fmt::Write as _;

use crate::Manifest;

/// The file of the layer that [`crate::modules_dep`] makes. It is the last one.
pub const MODULES_IMAGE: &str = "modules.dep.sqsh";

/// A layer as the booted system is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// The file of its squashfs, beside `extensions.yaml`.
    pub image: &'a str,
    /// What it says of itself.
    pub manifest: &'a Manifest,
}

/// The file of the squashfs of the extension at `index` of the request.
pub fn image(index: usize) -> String {
    format!("{index}.sqsh")
}

/// The order of `count` extensions as layers: by index as text, `0 1 10 11 2`, as the reference has it. Later
/// layers lie over earlier ones, so it is part of what an image means.
pub fn layer_order(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(usize::to_string);
    order
}

/// The text of `extensions.yaml` for `layers`, the lowest first.
///
/// One key to a line in a fixed order, every text double-quoted: readers without a YAML parser find it too, and
/// nothing that a manifest says ends a line or a quote.
pub fn layers_yaml(layers: &[Layer<'_>]) -> String {
    if layers.is_empty() {
        return "layers: []\n".to_owned();
    }
    let mut yaml = "layers:\n".to_owned();
    for Layer { image, manifest } in layers {
        let Manifest { name, version, author, description, compatibility, extra_info } = manifest;
        let range = compatibility.to_string();
        let lines = [
            ("    - image: ", Some(*image)),
            ("      metadata:", None),
            ("        name: ", Some(name)),
            ("        version: ", Some(version)),
            ("        author: ", Some(author)),
            ("        description: ", Some(description)),
            ("        compatibility:", None),
            ("            talos:", None),
            ("                version: ", Some(&range)),
        ];
        let extra_info = Some(("        extraInfo: ", Some(extra_info.as_str())));
        for (key, text) in lines.into_iter().chain(extra_info.filter(|(_, text)| *text != Some(""))) {
            yaml.push_str(key);
            if let Some(text) = text {
                write!(yaml, "{}", Quoted(text)).expect("memory takes any write");
            }
            yaml.push('\n');
        }
    }
    yaml
}

/// A YAML double-quoted scalar on one line.
struct Quoted<'a>(&'a str);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\t' => f.write_str("\\t")?,
                '\r' => f.write_str("\\r")?,
                // What YAML does not count as printable, or takes for the end of a line.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => write!(f, "\\x{:02x}", u32::from(c))?,
                '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                    write!(f, "\\u{:04x}", u32::from(c))?;
                }
                _ => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    /// What a reader makes of it.
    #[derive(Debug, Deserialize, PartialEq)]
    struct Listed {
        layers: Vec<ListedLayer>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct ListedLayer {
        image: String,
        metadata: ListedMetadata,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct ListedMetadata {
        name: String,
        version: String,
        author: String,
        description: String,
        compatibility: BTreeMap<String, BTreeMap<String, String>>,
        #[serde(default)]
        extra_info: String,
    }

    fn manifest() -> Manifest {
        Manifest {
            name: "gvisor".into(),
            version: "20240910".into(),
            author: "Sidero Labs".into(),
            description: "[core] A \"sandbox\".\n".into(),
            compatibility: ">= v1.5.0".parse().unwrap(),
            extra_info: String::new(),
        }
    }

    #[test]
    fn layers_are_listed_in_order_with_all_that_their_manifests_say() {
        let schematic = Manifest { extra_info: "customization: {}\n".into(), ..manifest() };
        let layers = [
            Layer { image: &image(0), manifest: &manifest() },
            Layer { image: MODULES_IMAGE, manifest: &schematic },
        ];
        assert_eq!(
            layers_yaml(&layers),
            r#"layers:
    - image: "0.sqsh"
      metadata:
        name: "gvisor"
        version: "20240910"
        author: "Sidero Labs"
        description: "[core] A \"sandbox\".\n"
        compatibility:
            talos:
                version: ">= v1.5.0"
    - image: "modules.dep.sqsh"
      metadata:
        name: "gvisor"
        version: "20240910"
        author: "Sidero Labs"
        description: "[core] A \"sandbox\".\n"
        compatibility:
            talos:
                version: ">= v1.5.0"
        extraInfo: "customization: {}\n"
"#
        );
        let none: Listed = serde_saphyr::from_str(&layers_yaml(&[])).unwrap();
        assert_eq!(none, Listed { layers: vec![] });
    }

    #[test]
    fn twelve_extensions_are_in_the_order_of_the_reference() {
        assert_eq!(layer_order(12), [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(layer_order(3), [0, 1, 2]);
        assert!(layer_order(0).is_empty());
    }

    proptest! {
        #[test]
        fn no_manifest_breaks_the_list(texts in prop::collection::vec(any::<String>(), 4), extra in "(?s).{0,40}") {
            let hostile = Manifest {
                name: texts[0].clone(),
                version: texts[1].clone(),
                author: texts[2].clone(),
                description: format!("{}\u{85}\u{2028}\u{0}\r\n    - image: \"evil.sqsh\"", texts[3]),
                compatibility: "1.x".parse().unwrap(),
                extra_info: extra,
            };
            let layers = [Layer { image: "0.sqsh", manifest: &hostile }, Layer { image: "1.sqsh", manifest: &manifest() }];
            let yaml = layers_yaml(&layers);
            // Without a YAML parser: one image to a layer.
            prop_assert_eq!(yaml.lines().filter(|line| line.starts_with("    - image: ")).count(), 2);
            let listed: Listed = serde_saphyr::from_str(&yaml).unwrap();
            prop_assert_eq!(listed.layers.len(), 2);
            let found = &listed.layers[0].metadata;
            prop_assert_eq!(&found.name, &hostile.name);
            prop_assert_eq!(&found.version, &hostile.version);
            prop_assert_eq!(&found.author, &hostile.author);
            prop_assert_eq!(&found.description, &hostile.description);
            prop_assert_eq!(&found.extra_info, &hostile.extra_info);
            prop_assert_eq!(&found.compatibility["talos"]["version"], "1.x");
        }
    }
}
