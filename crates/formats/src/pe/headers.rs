//! The headers of a PE32+ image, as far as appending looks at them.

use std::ops::Range;

use super::{COFF_LEN, DOS_LEN, Error, NAME_LEN_MAX, OPTIONAL_LEN, SECTION_LEN};

/// The headers of an image.
pub(super) struct Headers<'a> {
    /// The length of the image.
    len: usize,
    pub dos: &'a [u8],
    pub coff: &'a [u8],
    pub optional: &'a [u8],
    pub file_alignment: u32,
    pub section_alignment: u32,
    image_base: u64,
    pub sections: Vec<Parsed<'a>>,
    pub raw_sections: Vec<[u8; SECTION_LEN]>,
}

/// One section header, and its data as the file has it.
pub(super) struct Parsed<'a> {
    pub name: String,
    pub virtual_address: u32,
    pub virtual_size: u32,
    pub characteristics: u32,
    pub raw: &'a [u8],
    raw_offset: u32,
}

impl Parsed<'_> {
    pub fn data_range(&self) -> Range<u64> {
        let start = u64::from(self.raw_offset);
        start..start + u64::from(self.virtual_size).min(self.raw.len() as u64)
    }
}

impl<'a> Headers<'a> {
    pub fn parse(image: &'a [u8]) -> Result<Self, Error> {
        let truncated = |part| Error::Truncated { part, len: image.len() };
        let dos = image.get(..DOS_LEN).ok_or(truncated("DOS header"))?;
        if !dos.starts_with(b"MZ") {
            return Err(Error::Magic { expected: "DOS header" });
        }
        let start = usize::try_from(u32_at(dos, 0x3c)).unwrap_or(usize::MAX);
        let after = image.get(start..).ok_or(truncated("signature"))?;
        let (signature, after) = after.split_at_checked(4).ok_or(truncated("signature"))?;
        if signature != b"PE\0\0" {
            return Err(Error::Magic { expected: "PE signature" });
        }
        let (coff, after) = after.split_at_checked(COFF_LEN).ok_or(truncated("COFF header"))?;
        match after.get(..2).ok_or(truncated("optional header"))? {
            [0x0b, 0x02] => {}
            [0x0b, 0x01] => return Err(Error::Pe32),
            _ => return Err(Error::Magic { expected: "PE32+ optional header" }),
        }
        let optional_len = u16_at(coff, 16);
        if usize::from(optional_len) != OPTIONAL_LEN {
            return Err(Error::OptionalHeader { len: optional_len });
        }
        let (optional, after) = after.split_at_checked(OPTIONAL_LEN).ok_or(truncated("optional header"))?;
        let (section_alignment, file_alignment) = (u32_at(optional, 32), u32_at(optional, 36));
        let count = usize::from(u16_at(coff, 2));
        let table = after.get(..count * SECTION_LEN).ok_or(truncated("section headers"))?;
        let (table, _) = table.as_chunks::<SECTION_LEN>();
        let sections = table.iter().map(|header| section(image, header)).collect::<Result<_, _>>()?;
        Ok(Self {
            len: image.len(),
            dos,
            coff,
            optional,
            file_alignment,
            section_alignment,
            image_base: u64_at(optional, 24),
            sections,
            raw_sections: table.to_vec(),
        })
    }

    /// Whether sections can be appended: nothing points into the file, and what follows the last section in
    /// memory is free.
    pub fn check_stub(&self) -> Result<(), Error> {
        let (file, memory) = (self.file_alignment, self.section_alignment);
        // PE asks for 512 bytes to 64 KiB in a file; images of EDK II have 32.
        if !file.is_power_of_two() || file > 0x1_0000 || !memory.is_power_of_two() || memory < file {
            return Err(Error::Alignment { file, memory });
        }
        let last = self.sections.last().ok_or(Error::NoSections)?;
        // Data directory 4, the certificate table.
        if u64_at(self.optional, 112 + 4 * 8) != 0 {
            return Err(Error::Unsupported { what: "a signature" });
        }
        let end = |s: &Parsed<'_>| u64::from(s.virtual_address) + u64::from(s.virtual_size);
        let free = align(end(last), self.section_alignment.into());
        let mut raw_len = 0;
        for section in &self.sections {
            raw_len += section.raw.len();
            // A name behind a slash is in the string table, which goes with the symbols.
            if section.name.starts_with('/') {
                return Err(Error::Unsupported { what: "a section name longer than eight bytes" });
            }
            let wrong = |reason| Err(Error::Layout { name: section.name.clone(), reason });
            if end(section) > free {
                return wrong("lies behind the last one in memory");
            }
            if !(section.raw.len() as u64).is_multiple_of(self.file_alignment.into()) {
                return wrong("is not padded to the alignment of the file");
            }
            // Else a small stub could claim the same bytes many times over.
            if raw_len > self.len {
                return wrong("overlaps another in the file");
            }
        }
        Ok(())
    }

    /// `SizeOfImage` when the last section ends at `end`.
    pub fn image_len(&self, end: u64) -> Option<u32> {
        let alignment = u64::from(self.section_alignment);
        let end = end.checked_add(self.image_base)?.checked_next_multiple_of(alignment)?;
        u32::try_from(end - self.image_base).ok()
    }
}

fn section<'a>(image: &'a [u8], header: &[u8; SECTION_LEN]) -> Result<Parsed<'a>, Error> {
    let name: Vec<u8> = header[..NAME_LEN_MAX].iter().copied().take_while(|&byte| byte != 0).collect();
    let (raw_len, raw_offset) = (u32_at(header, 16), u32_at(header, 20));
    let range = usize::try_from(raw_offset).ok().zip(usize::try_from(raw_len).ok());
    let raw = match range {
        Some((_, 0)) => Some(&[][..]),
        Some((start, len)) => image.get(start..).and_then(|rest| rest.get(..len)),
        None => None,
    };
    Ok(Parsed {
        name: String::from_utf8_lossy(&name).into_owned(),
        virtual_address: u32_at(header, 12),
        virtual_size: u32_at(header, 8),
        characteristics: u32_at(header, 36),
        raw: raw.ok_or(Error::Truncated { part: "sections", len: image.len() })?,
        // Without data the offset means nothing, and may lie anywhere.
        raw_offset: if raw_len == 0 { 0 } else { raw_offset },
    })
}

/// `value` raised to a multiple of `alignment`; both come from fields of 32 bits.
pub(super) fn align(value: u64, alignment: u64) -> u64 {
    value.next_multiple_of(alignment)
}

pub(super) fn put_u16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..][..2].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..][..4].copy_from_slice(&value.to_le_bytes());
}

fn array<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    bytes[offset..][..N].try_into().expect("a slice of N bytes is an array of N")
}

fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(array(bytes, offset))
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array(bytes, offset))
}

fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array(bytes, offset))
}
