//! What is in a store.

use std::fs;

use extent::Digest;

use crate::{Error, Store};

impl Store {
    /// The digests of all blobs, sorted. What came or went meanwhile may be among them or not; files whose names are no
    /// digests are none of ours.
    pub fn digests(&self) -> Result<Vec<Digest>, Error> {
        let failed = Error::io("listing the blobs");
        let mut digests = Vec::new();
        for entry in fs::read_dir(self.dir().join("blobs/sha256")).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            digests.extend(name.to_str().and_then(|name| Digest::from_hex(name).ok()));
        }
        digests.sort_unstable();
        Ok(digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blob_is_listed_once_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut put: Vec<Digest> =
            ["a", "b", "a"].iter().map(|text| store.put_bytes(text.as_bytes()).unwrap().digest).collect();
        put.sort_unstable();
        put.dedup();
        fs::write(dir.path().join("blobs/sha256/README"), "").unwrap();
        assert_eq!(store.digests().unwrap(), put);
    }
}
