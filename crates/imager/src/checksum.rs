//! Checksums of assets: computed once, remembered by what was described.

use std::fmt;
use std::io::{self, Write};

use extent::{Digest, ExtentMap};
use sha2::{Digest as _, Sha256, Sha512};
use store::Store;

use crate::Error;

/// A checksum that the usual tools check (`sha256sum -c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Checksum {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// A hash that bytes are written to.
struct Hashing<H>(H);

/// Changes when the record of a checksum does.
const REVISION: u32 = 1;

impl Checksum {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// The name, which is also the ending of the file that holds it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits it has.
    pub const fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// The hexadecimal checksum of the bytes that `map` describes. Reads all of them, the first time.
    pub(crate) fn of(self, map: &ExtentMap, store: &Store) -> Result<String, Error> {
        let id = Digest::from_hex(&map.id().hex()).expect("an identity has as many digits as a digest");
        store.derive(self.name(), REVISION, &[id], || match self {
            Self::Sha256 => hashed(Sha256::new(), map, store),
            Self::Sha512 => hashed(Sha512::new(), map, store),
        })
    }
}

fn hashed<H: sha2::Digest>(hash: H, map: &ExtentMap, store: &Store) -> Result<String, Error> {
    let mut hashing = Hashing(hash);
    store.write_to(map, &mut hashing)?;
    Ok(hex::encode(hashing.0.finalize()))
}

impl<H: sha2::Digest> Write for Hashing<H> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_bytes_however_they_are_described() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let blob = store.put_bytes(b"xxabcxx").unwrap();
        let mut map = ExtentMap::inline(&b"a"[..]);
        map.append(ExtentMap::blob(blob.digest, 3, 2));
        let bytes = ExtentMap::inline(&b"abc"[..]);
        assert_ne!(map.id(), bytes.id());
        // The examples of FIPS 180-4.
        for (checksum, begins) in
            [(Checksum::Sha256, "ba7816bf8f01cfea"), (Checksum::Sha512, "ddaf35a193617aba")]
        {
            let ours = checksum.of(&map, &store).unwrap();
            assert!(ours.starts_with(begins), "{ours}");
            assert_eq!(ours.len(), checksum.hex_len());
            assert_eq!(checksum.of(&bytes, &store).unwrap(), ours);
            assert_eq!(checksum.of(&map, &store).unwrap(), ours, "remembered");
        }
    }
}
