//! The META partition and its form in the kernel command line.
//!
//! ```text
//! 0        256 KiB      512 KiB                     1023 KiB   1 MiB
//! │ block  │ same block │ zero …                    │ zero     │
//! ```
//!
//! A block, big-endian:
//!
//! ```text
//! 0      4                                  -36        -4
//! │magic │ tag len value … tag 0 │ zero …   │ SHA-256  │ magic │
//! ```
//!
//! Source: `internal/pkg/meta` of Talos and go-adv, as facts.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use extent::{Digest, ExtentMap};
use flate2::{Compression, GzBuilder};

use crate::Error;
use crate::profile::MetaContent;

/// The length of the partition in bytes.
pub const PARTITION_LEN: u64 = 1 << 20;
/// Both copies of the values have this length.
const BLOCK_LEN: usize = 256 << 10;
const MAGIC_START: u32 = 0x5a4b_3c2d;
const MAGIC_END: u32 = 0xa5b4_c3d2;
/// Where the digest is: it covers the whole block, with zeros in its own place.
const DIGEST_OFFSET: usize = BLOCK_LEN - 36;
/// What the values may use: eight bytes and the value each, and twenty for the rest.
const VALUES_LEN_MAX: usize = DIGEST_OFFSET - 4;
const VALUES_OVERHEAD: usize = 20;

/// Above this length the environment is gzipped, where the system can read that.
const GZIP_ABOVE: usize = 256;

/// The partition that holds `contents`; all zero without any. Of a tag that comes twice, the last value counts.
///
/// # Errors
/// `MetaTooLarge` when the values do not fit a block.
pub fn partition(contents: &[MetaContent]) -> Result<ExtentMap, Error> {
    if contents.is_empty() {
        return Ok(ExtentMap::zeros(PARTITION_LEN));
    }
    let block = bytes::Bytes::from(block(contents)?);
    // Between the values and the digest there is nothing: a quarter of a megabyte that nobody must carry.
    let used = DIGEST_OFFSET - block[..DIGEST_OFFSET].iter().rev().take_while(|byte| **byte == 0).count();
    let mut map = ExtentMap::new();
    for _ in 0..2 {
        map.push_inline(block.slice(..used));
        map.push_zeros((DIGEST_OFFSET - used) as u64);
        map.push_inline(block.slice(DIGEST_OFFSET..));
    }
    map.zero_to(PARTITION_LEN);
    Ok(map)
}

fn block(contents: &[MetaContent]) -> Result<Vec<u8>, Error> {
    let values: BTreeMap<u8, &str> = contents.iter().map(|c| (c.key, c.value.as_str())).collect();
    let used: usize = values.values().map(|value| value.len() + 8).sum::<usize>() + VALUES_OVERHEAD;
    if used > VALUES_LEN_MAX {
        return Err(Error::MetaTooLarge { len: used, max: VALUES_LEN_MAX });
    }
    let mut block = Vec::with_capacity(BLOCK_LEN);
    block.extend(MAGIC_START.to_be_bytes());
    for (tag, value) in values {
        let len = u32::try_from(value.len()).expect("a value is shorter than its block");
        block.extend(u32::from(tag).to_be_bytes());
        block.extend(len.to_be_bytes());
        block.extend(value.as_bytes());
    }
    block.resize(BLOCK_LEN - 4, 0);
    block.extend(MAGIC_END.to_be_bytes());
    let digest = Digest::of(&block);
    block[DIGEST_OFFSET..DIGEST_OFFSET + 32].copy_from_slice(digest.as_bytes());
    Ok(block)
}

/// The values as `INSTALLER_META_BASE64` has them: `0x<tag>=<value>` joined by `;`, gzipped when that is
/// allowed and they are long, in base 64.
pub fn environment(contents: &[MetaContent], may_gzip: bool) -> String {
    let joined: Vec<String> = contents.iter().map(|c| format!("0x{:x}={}", c.key, c.value)).collect();
    let mut bytes = joined.join(";").into_bytes();
    if may_gzip && bytes.len() > GZIP_ABOVE {
        bytes = gzipped(&bytes);
    }
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// One gzip member without a time; the operating system is "unknown", as Go's writer says.
fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes every byte")
}

#[cfg(test)]
mod tests {
    use super::*;
    use extent::read_all;
    use std::collections::HashMap;
    use std::io::Read;

    fn content(key: u8, value: &str) -> MetaContent {
        MetaContent { key, value: value.to_owned() }
    }

    fn digest(bytes: &[u8]) -> String {
        Digest::of(bytes).hex()
    }

    #[test]
    fn a_partition_has_the_digests_of_the_reference() {
        let map = partition(&[content(0x11, "dual-boot")]).unwrap();
        let bytes = read_all(&map, &HashMap::new(), u64::MAX).unwrap();
        assert_eq!(
            hex::encode(&bytes[DIGEST_OFFSET..DIGEST_OFFSET + 32]),
            "6d0596ed48c85c53cc78720a976e9a7b4bcd961008c286c98c08b1d37df47c89"
        );
        assert_eq!(
            digest(&bytes[..BLOCK_LEN]),
            "9761900f1f390c4917ec5f8791dbea374952982c2ad69863535a5cf91309f396"
        );
        assert_eq!(digest(&bytes), "06e3d2ed4b42cb23159b6dd3a8ef54020b78207138a62f366fdb1465ab138438");
    }

    #[test]
    fn an_empty_block_has_the_digest_of_the_reference_and_an_empty_partition_is_zero() {
        let block = block(&[]).unwrap();
        assert_eq!(
            hex::encode(&block[DIGEST_OFFSET..DIGEST_OFFSET + 32]),
            "e7a327df2cfb2c3010ac1a387e9573d46ea52cac7f25db80ad8fbb41aceabf70"
        );
        assert_eq!(partition(&[]).unwrap(), ExtentMap::zeros(PARTITION_LEN));
    }

    #[test]
    fn tags_are_in_order_and_the_last_value_counts() {
        let one = block(&[content(12, "b"), content(10, "x"), content(10, "a")]).unwrap();
        let other = block(&[content(10, "a"), content(12, "b")]).unwrap();
        assert_eq!(one, other);
        assert_eq!(&one[4..22], b"\0\0\0\x0a\0\0\0\x01a\0\0\0\x0c\0\0\0\x01b");
    }

    #[test]
    fn the_largest_value_fits_and_one_byte_more_does_not() {
        let max = VALUES_LEN_MAX - VALUES_OVERHEAD - 8;
        assert!(block(&[content(10, &"a".repeat(max))]).is_ok());
        assert!(matches!(
            block(&[content(10, &"a".repeat(max + 1))]),
            Err(Error::MetaTooLarge { max: 262_104, .. })
        ));
    }

    #[test]
    fn only_a_long_environment_is_gzipped() {
        assert_eq!(environment(&[content(10, "foo")], true), "MHhhPWZvbw==");
        assert_eq!(environment(&[content(10, "foo"), content(0xb, "1")], true), "MHhhPWZvbzsweGI9MQ==");
        let long = content(10, &"x".repeat(300));
        let plain = environment(std::slice::from_ref(&long), false);
        assert_eq!(plain.len(), 408);
        let packed = environment(&[long], true);
        assert!(packed.len() < 80, "{packed}");
        let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("0xa={}", "x".repeat(300)));
    }
}
