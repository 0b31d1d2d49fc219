//! Extended headers: what PAX and GNU tar say of an entry beyond the 512 bytes of its header.
//!
//! Source: IEEE Std 1003.1-2017, `pax`, "pax Extended Header"; star(5), `SCHILY.xattr`; libarchive,
//! `archive_write_set_format_pax.c`, `LIBARCHIVE.xattr`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::read::NODE_LEN;
use super::{Error, XATTR_PREFIX};

/// What precedes the name of an extended attribute as libarchive writes it, its value in base64.
const LIBARCHIVE_PREFIX: &str = "LIBARCHIVE.xattr.";
/// libarchive writes no padding; others do.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What PAX and GNU headers say of the next entry, over what its own header says.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub path: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub sparse: bool,
}

impl Extension {
    /// Takes over the records of a PAX header.
    pub fn records(&mut self, mut data: &[u8], offset: u64) -> Result<(), Error> {
        let wrong = || Error::Pax { offset };
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or_else(wrong)?;
            data = rest;
            let number =
                || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong);
            let text = || Some(value.to_vec()).filter(|text| !text.is_empty());
            match key {
                "path" => self.path = text(),
                "linkpath" => self.target = text(),
                "size" => self.size = Some(number()?),
                "uid" => self.uid = Some(number()?),
                "gid" => self.gid = Some(number()?),
                _ if key.starts_with("GNU.sparse.") => self.sparse = true,
                _ => {
                    if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                        self.xattrs.insert(name.to_owned(), value.to_vec());
                    } else if let Some(name) = key.strip_prefix(LIBARCHIVE_PREFIX) {
                        let name = unescaped(name).ok_or_else(wrong)?;
                        let value = BASE64.decode(value).map_err(|_| wrong())?;
                        // bsdtar writes both forms; the other has the bytes as they are.
                        self.xattrs.entry(name).or_insert(value);
                    }
                }
            }
        }
        Ok(())
    }

    /// How much of it is kept.
    pub fn text_len(&self) -> u64 {
        let texts = self.path.iter().chain(&self.target).map(Vec::len);
        let xattrs = self.xattrs.iter().map(|(name, value)| name.len() + value.len());
        texts.chain(xattrs).sum::<usize>() as u64 + NODE_LEN
    }
}

/// The first record of a PAX header, `<length> <key>=<value>\n`, and what follows it.
fn record(data: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = data.iter().take(20).position(|&byte| byte == b' ')?;
    let len: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
    let (record, rest) = data.split_at_checked(len)?;
    let body = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    Some((std::str::from_utf8(&body[..equals]).ok()?, &body[equals + 1..], rest))
}

/// A name in which libarchive has written bytes as `%XX`.
fn unescaped(name: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.extend(hex::decode(digits).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A GNU long name ends with a NUL.
pub(super) fn long(mut name: Vec<u8>) -> Vec<u8> {
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    name
}
