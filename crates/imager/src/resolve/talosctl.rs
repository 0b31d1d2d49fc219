//! The command-line clients of a version, one for each system that people administer machines from.
//!
//! Source: `siderolabs/talosctl-all`, the image as published: `talosctl-<os>-<arch>[.exe]` in its root.

use std::collections::BTreeMap;

use extent::ExtentMap;
use store::Store;

use super::image::Image;
use crate::Error;

/// The clients by file name.
pub(super) fn talosctl(store: &Store, image: &Image) -> Result<BTreeMap<String, ExtentMap>, Error> {
    let mut clients = BTreeMap::new();
    let tree = image.tree(store)?;
    for (path, _) in tree.iter() {
        let name = path.to_string();
        if is_client(&name)
            && let Some(content) = tree.content(&name)
        {
            clients.insert(name, content.clone());
        }
    }
    Ok(clients)
}

/// Whether `name` is `talosctl-<os>-<arch>[.exe]`: of letters, digits and underscores, so that it can stand in an address.
fn is_client(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("talosctl-") else { return false };
    let rest = rest.strip_suffix(".exe").unwrap_or(rest);
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    rest.split_once('-').is_some_and(|(os, arch)| is_word(os) && is_word(arch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_from_other_files_by_their_names() {
        for name in ["talosctl-linux-amd64", "talosctl-windows-amd64.exe", "talosctl-freebsd-armv7"] {
            assert!(is_client(name), "{name}");
        }
        for name in ["talosctl", "talosctl-linux", "talosctl-a-b-c", "talosctl-a-b/c", "talosctl--amd64", "x"]
        {
            assert!(!is_client(name), "{name}");
        }
    }
}
