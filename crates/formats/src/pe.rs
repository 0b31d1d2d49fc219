//! PE images: sections appended to an EFI stub, which makes it a unified kernel image.
//!
//! Writes PE32+ with the headers rebuilt and the stub's own sections in front. Does not sign, compute the
//! checksum, keep the DOS program or COFF symbols (Debian 12's stub has some; firmware loads none), or
//! read PE32.
//!
//!   0     0x40    0x80    0x84   0x98       0x188        SizeOfHeaders
//!   │ DOS │ zeros │ PE\0\0 │ COFF │ optional │ sections … │ data of the sections, in header order
//!                                  240 B      40 B each     each padded to FileAlignment
//!
//! Source: Microsoft PE format, revision 11; the systemd UKI specification (UAPI.5) for what is appended.

use std::ops::Range;

use extent::ExtentMap;

mod headers;

use headers::{Headers, align, put_u16, put_u32};

/// The length of the DOS header.
const DOS_LEN: usize = 0x40;
/// Where the signature is in what we write.
const SIGNATURE_OFFSET: usize = 0x80;
/// The length of the COFF header.
const COFF_LEN: usize = 20;
/// The length of the optional header of PE32+ with all sixteen data directories.
const OPTIONAL_LEN: usize = 240;
/// Where the section headers begin in what we write.
const SECTIONS_OFFSET: usize = SIGNATURE_OFFSET + 4 + COFF_LEN + OPTIONAL_LEN;
/// The length of a section header.
const SECTION_LEN: usize = 40;
/// The longest name of a section; a longer one would need a string table.
const NAME_LEN_MAX: usize = 8;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA`.
const INITIALIZED_DATA: u32 = 0x0000_0040;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`: what is appended is data that is read.
const APPENDED: u32 = 0x4000_0000 | INITIALIZED_DATA;

/// A section to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name, at most eight bytes. A name may be there already: profiles repeat `.cmdline`.
    pub name: String,
    /// Its content. `VirtualSize` is its exact length.
    pub content: ExtentMap,
}

/// A section of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SectionHeader {
    /// Its name, up to the first NUL.
    pub name: String,
    /// Where it is in memory, relative to the image.
    pub virtual_address: u32,
    /// Its length in memory: without the padding of the file.
    pub virtual_size: u32,
    /// What it is: `IMAGE_SCN_…`.
    pub characteristics: u32,
    /// Its content in the file: `virtual_size` bytes, or as many as the file has of them.
    pub data: Range<u64>,
}

/// Why bytes are no stub or image, or a section does not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The image ends within one of its parts.
    #[error("the image has {len} bytes and ends within its {part}")]
    Truncated {
        /// What is cut off.
        part: &'static str,
        /// The length of the image.
        len: usize,
    },
    /// A magic number is another.
    #[error("the image has no {expected}")]
    Magic {
        /// What should be there.
        expected: &'static str,
    },
    /// The image is PE32, for 32-bit firmware.
    #[error("the image is PE32; only PE32+, for 64-bit firmware, is supported")]
    Pe32,
    /// The optional header has another length than that of PE32+ with sixteen data directories.
    #[error("the optional header has {len} bytes instead of {OPTIONAL_LEN}")]
    OptionalHeader {
        /// Its length.
        len: u16,
    },
    /// An alignment is no power of two, or the two do not go together.
    #[error("the image aligns files to `{file:#x}` and memory to `{memory:#x}`")]
    Alignment {
        /// `FileAlignment`.
        file: u32,
        /// `SectionAlignment`.
        memory: u32,
    },
    /// The stub has no sections.
    #[error("the stub has no sections")]
    NoSections,
    /// A stub carries something that would point to the wrong place, or no longer hold, when rebuilt.
    #[error("the stub has {what}, which would not survive appending")]
    Unsupported {
        /// What it has.
        what: &'static str,
    },
    /// A section of the image does not lie where its neighbours and the file let it.
    #[error("section `{name}` of the image {reason}")]
    Layout {
        /// The section.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A name is empty, longer than eight bytes, or has a NUL.
    #[error("`{name}` cannot name a section: one to {NAME_LEN_MAX} bytes without NUL")]
    Name {
        /// The name.
        name: String,
    },
    /// There are more sections than the headers can list before the first begins.
    #[error("{count} sections need {len} bytes of headers; there is room for {max}")]
    TooManySections {
        /// How many sections there would be.
        count: usize,
        /// The length of the headers.
        len: u64,
        /// The room for them.
        max: u64,
    },
    /// A section ends beyond what 32 bits address.
    #[error("section `{name}` of {len} bytes ends beyond 4 GiB")]
    TooLarge {
        /// The section.
        name: String,
        /// Its length.
        len: u64,
    },
}

/// Appends `sections` to `stub`.
///
/// Addresses follow the stub's last section, each aligned; file offsets are given anew to all, back to
/// back. The linker version and the checksum become 0, symbols are left out, `timestamp` is the time of
/// linking.
///
/// # Errors
/// All of [`Error`].
pub fn append_sections(stub: &[u8], sections: &[Section], timestamp: u32) -> Result<ExtentMap, Error> {
    let headers = Headers::parse(stub)?;
    headers.check_stub()?;
    let file_alignment = u64::from(headers.file_alignment);
    let memory_alignment = u64::from(headers.section_alignment);

    let count = headers.sections.len() + sections.len();
    // The reference forgets the four bytes of the signature here. With the alignments that PE allows the
    // sum is never short of them, and it is checked.
    let headers_len = (SIGNATURE_OFFSET + COFF_LEN + OPTIONAL_LEN + SECTION_LEN * count) as u64;
    let headers_len = align(headers_len, file_alignment);
    let needed = (SECTIONS_OFFSET + SECTION_LEN * count) as u64;
    let first_address = headers.sections.iter().map(|s| u64::from(s.virtual_address)).min();
    // Firmware puts the headers into memory in front of the first section.
    let max = first_address.unwrap_or(0).min(headers_len);
    let count_u16 = u16::try_from(count).ok().filter(|_| needed <= max);
    let count_u16 = count_u16.ok_or(Error::TooManySections { count, len: needed, max })?;

    let mut table = Vec::with_capacity(SECTION_LEN * count);
    let mut data = ExtentMap::new();
    let mut sums = Sums { code: 0, initialized: 0 };
    let mut end = 0;
    for (section, raw_header) in headers.sections.iter().zip(&headers.raw_sections) {
        let offset = file_offset(headers_len, &data, &section.name, section.raw.len() as u64)?;
        let mut header = *raw_header;
        put_u32(&mut header, 20, offset);
        table.extend_from_slice(&header);
        sums.add(section.characteristics, section.raw.len() as u64);
        data.push_inline(section.raw.to_vec());
        end = u64::from(section.virtual_address) + u64::from(section.virtual_size);
    }
    for Section { name, content } in sections {
        let too_large = || Error::TooLarge { name: name.clone(), len: content.len() };
        if name.is_empty() || name.len() > NAME_LEN_MAX || name.contains('\0') {
            return Err(Error::Name { name: name.clone() });
        }
        let size = u32::try_from(content.len()).map_err(|_| too_large())?;
        let raw_size = align(size.into(), file_alignment);
        let address = align(end, memory_alignment);
        end = address + u64::from(size);
        let mut header = [0; SECTION_LEN];
        header[..name.len()].copy_from_slice(name.as_bytes());
        put_u32(&mut header, 8, size);
        put_u32(&mut header, 12, u32::try_from(address).map_err(|_| too_large())?);
        put_u32(&mut header, 16, u32::try_from(raw_size).map_err(|_| too_large())?);
        put_u32(&mut header, 20, file_offset(headers_len, &data, name, raw_size)?);
        put_u32(&mut header, 36, APPENDED);
        table.extend_from_slice(&header);
        sums.add(APPENDED, raw_size);
        data.append(content.clone());
        data.align_to(file_alignment);
    }
    let image_len = headers.image_len(end).ok_or_else(|| {
        let stub = headers.sections.last().map(|s| (s.name.clone(), s.virtual_size.into()));
        let last = sections.last().map(|s| (s.name.clone(), s.content.len())).or(stub);
        let (name, len) = last.unwrap_or_default();
        Error::TooLarge { name, len }
    })?;

    let mut out = vec![0; SECTIONS_OFFSET];
    out[..DOS_LEN].copy_from_slice(headers.dos);
    put_u32(&mut out, 0x3c, u32::try_from(SIGNATURE_OFFSET).expect("0x80"));
    out[SIGNATURE_OFFSET..][..4].copy_from_slice(b"PE\0\0");
    let coff = &mut out[SIGNATURE_OFFSET + 4..][..COFF_LEN];
    coff.copy_from_slice(headers.coff);
    put_u16(coff, 2, count_u16);
    put_u32(coff, 4, timestamp);
    coff[8..16].fill(0); // symbols
    let optional = &mut out[SIGNATURE_OFFSET + 4 + COFF_LEN..];
    optional.copy_from_slice(headers.optional);
    optional[2..4].fill(0); // linker version
    // The sums are below the length of the file, which `file_offset` has kept below 4 GiB.
    put_u32(optional, 4, u32::try_from(sums.code).expect("below the length of the file"));
    put_u32(optional, 8, u32::try_from(sums.initialized).expect("below the length of the file"));
    put_u32(optional, 56, image_len);
    put_u32(optional, 60, u32::try_from(headers_len).expect("65535 headers are 2.6 MB"));
    put_u32(optional, 64, 0); // checksum
    out.extend_from_slice(&table);
    let mut image = ExtentMap::inline(out);
    image.zero_to(headers_len);
    image.append(data);
    Ok(image)
}

/// The sections of `image`, in header order.
///
/// # Errors
/// `Truncated`, `Magic`, `Pe32`, `OptionalHeader`.
pub fn sections(image: &[u8]) -> Result<Vec<SectionHeader>, Error> {
    let headers = Headers::parse(image)?;
    let of = |section: headers::Parsed<'_>| SectionHeader {
        data: section.data_range(),
        name: section.name,
        virtual_address: section.virtual_address,
        virtual_size: section.virtual_size,
        characteristics: section.characteristics,
    };
    Ok(headers.sections.into_iter().map(of).collect())
}

/// The sums of the raw sizes that the optional header states.
struct Sums {
    code: u64,
    initialized: u64,
}

impl Sums {
    fn add(&mut self, characteristics: u32, raw_size: u64) {
        match characteristics & INITIALIZED_DATA {
            0 => self.code += raw_size,
            _ => self.initialized += raw_size,
        }
    }
}

/// Where the next section begins in the file, if it ends below 4 GiB.
fn file_offset(headers_len: u64, data: &ExtentMap, name: &str, raw_size: u64) -> Result<u32, Error> {
    let offset = headers_len + data.len();
    match u32::try_from(offset + raw_size) {
        Ok(_) => Ok(u32::try_from(offset).expect("no more than its end")),
        Err(_) => Err(Error::TooLarge { name: name.to_owned(), len: raw_size }),
    }
}

#[cfg(test)]
mod tests;
