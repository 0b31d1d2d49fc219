//! Names of schematics.

use std::fmt;
use std::str::FromStr;

use extent::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a schematic: the SHA-256 of its canonical YAML, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchematicId(Digest);

impl SchematicId {
    /// The digest the id is; the store keeps the canonical YAML as its blob.
    pub const fn digest(self) -> Digest {
        self.0
    }
}

impl From<Digest> for SchematicId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl From<SchematicId> for Digest {
    fn from(id: SchematicId) -> Self {
        id.0
    }
}

impl FromStr for SchematicId {
    type Err = extent::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Digest::from_hex(text).map(Self)
    }
}

impl fmt::Display for SchematicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for SchematicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schematic:{self}")
    }
}

impl Serialize for SchematicId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SchematicId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_nothing_else_is_one() {
        let id = SchematicId::from(Digest::of(b"customization: {}\n"));
        let text = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<SchematicId>(&format!("\"{text}\"")).unwrap(), id);
        for other in ["", "376567", &text.to_uppercase(), &format!("sha256:{text}"), &format!("{text}0")] {
            assert!(other.parse::<SchematicId>().is_err(), "{other}");
        }
    }
}
