//! Just enough ASN.1 DER to write what no crate here writes.

/// A value of `tag`.
pub fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len.try_into().unwrap()),
        0x80..0x100 => out.extend([0x81, len.try_into().unwrap()]),
        _ => {
            out.push(0x82);
            out.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, &parts.concat())
}

pub fn set(parts: &[&[u8]]) -> Vec<u8> {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    value(0x31, &parts.concat())
}

pub fn integer(byte: u8) -> Vec<u8> {
    value(0x02, &[byte])
}

pub fn octets(content: &[u8]) -> Vec<u8> {
    value(0x04, content)
}

pub fn oid(arcs: &[u64]) -> Vec<u8> {
    let mut content = vec![u8::try_from(arcs[0] * 40 + arcs[1]).unwrap()];
    for arc in &arcs[2..] {
        let mut groups = vec![u8::try_from(arc & 0x7f).unwrap()];
        let mut rest = arc >> 7;
        while rest > 0 {
            groups.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    value(0x06, &content)
}

/// The values that `bytes` are, one after the other, each with its tag and length.
pub fn values(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let len = header(bytes) + content(bytes).len();
        found.push(&bytes[..len]);
        bytes = &bytes[len..];
    }
    found
}

/// The content of the first value in `bytes`.
pub fn content(bytes: &[u8]) -> &[u8] {
    let start = header(bytes);
    let len = match usize::from(bytes[1]) {
        short @ 0..0x80 => short,
        long => bytes[2..2 + (long & 0x7f)].iter().fold(0, |len, byte| len << 8 | usize::from(*byte)),
    };
    &bytes[start..start + len]
}

fn header(bytes: &[u8]) -> usize {
    if bytes[1] < 0x80 { 2 } else { 2 + usize::from(bytes[1] & 0x7f) }
}
