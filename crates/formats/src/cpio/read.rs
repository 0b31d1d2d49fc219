//! Reading archives: from memory with [`entries`], from a stream with [`Reader`].

use std::io::{self, BufRead, Read};
use std::ops::Range;

use super::{ALIGNMENT, Error, HEADER_LEN, PATH_LEN_MAX, TRAILER};

/// One entry of an archive in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<'a> {
    /// Its name as written, without the NUL.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u32,
    /// Kind and permission bits, as in `stat`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names the inode says it has.
    pub nlink: u32,
    /// When it was last changed, in seconds since 1970.
    pub mtime: u32,
    /// Device numbers of a device: major, minor.
    pub rdev: (u32, u32),
    /// Where the header begins.
    pub offset: u64,
    /// Where its data is: the bytes of a file, the target of a symbolic link.
    pub data: Range<u64>,
}

/// The entries of the archives in `bytes`, which may be several with zeros between them. Ends after the
/// last, or with the first error.
///
/// # Errors
/// `Magic`, `Misaligned`, `Field`, `Truncated`.
pub fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Error>> {
    let mut entries = Entries { bytes, offset: 0, within: false, failed: false };
    std::iter::from_fn(move || {
        let next = entries.next();
        entries.failed = next.is_err();
        next.transpose()
    })
}

struct Entries<'a> {
    bytes: &'a [u8],
    offset: u64,
    /// Whether an archive has begun and not ended.
    within: bool,
    failed: bool,
}

impl<'a> Entries<'a> {
    fn next(&mut self) -> Result<Option<Entry<'a>>, Error> {
        if self.failed {
            return Ok(None);
        }
        loop {
            if !self.within {
                let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                let rest = self.bytes.get(start..).unwrap_or_default();
                let Some(zeros) = rest.iter().position(|&byte| byte != 0) else { return Ok(None) };
                self.offset += zeros as u64;
                if !self.offset.is_multiple_of(ALIGNMENT) {
                    return Err(Error::Misaligned { offset: self.offset });
                }
                self.within = true;
            }
            let offset = self.offset;
            let header: &[u8; 110] = self
                .part(offset..offset + HEADER_LEN)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(Error::Truncated { offset })?;
            let header = Header::parse(header, offset)?;
            // 32-bit lengths behind an offset in memory: no sum comes near `u64::MAX`.
            let name_start = offset + HEADER_LEN;
            let name_end = name_start + u64::from(header.name_len);
            let data_start = name_end.next_multiple_of(ALIGNMENT);
            let data = data_start..data_start + u64::from(header.size);
            let name = self.part(name_start..name_end).ok_or(Error::Truncated { offset })?;
            let name = without_nul(name, offset)?;
            self.part(data.clone()).ok_or(Error::Truncated { offset })?;
            self.offset = data.end.next_multiple_of(ALIGNMENT);
            if name == TRAILER.as_bytes() {
                self.within = false;
                continue;
            }
            let Header { ino, mode, uid, gid, nlink, mtime, rdev, .. } = header;
            return Ok(Some(Entry { name, ino, mode, uid, gid, nlink, mtime, rdev, offset, data }));
        }
    }

    fn part(&self, range: Range<u64>) -> Option<&'a [u8]> {
        self.bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    }
}

/// The entries of the archives at the front of a stream, with bounded memory.
///
/// Stops before the first byte behind an archive that is neither zero nor the beginning of another, since an
/// initramfs may go on with a compressed member there.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// How far the stream is read.
    offset: u64,
    /// Where the data of the current entry ends, without padding.
    data_end: u64,
    within: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads `inner`, which is at the beginning of an archive.
    pub const fn new(inner: R) -> Self {
        Self { inner, offset: 0, data_end: 0, within: false }
    }

    /// Goes to the next entry and gives its name and the length of its data, which [`Read`] then reads.
    ///
    /// # Errors
    /// `Magic`, `Misaligned`, `Field`, `Truncated`, and `Read` with what the stream says.
    pub fn next_entry(&mut self) -> Result<Option<(Vec<u8>, u64)>, Error> {
        loop {
            // Behind the last archive the stream may be further on already, by zeros.
            self.skip_to(self.data_end.next_multiple_of(ALIGNMENT).max(self.offset))?;
            if !self.within && !self.begins()? {
                return Ok(None);
            }
            let offset = self.offset;
            let mut header = [0; 110];
            self.fill(&mut header, offset)?;
            let header = Header::parse(&header, offset)?;
            let mut name = vec![0; usize::try_from(header.name_len).unwrap_or(usize::MAX)];
            self.fill(&mut name, offset)?;
            let name = without_nul(&name, offset)?.to_vec();
            self.skip_to(self.offset.next_multiple_of(ALIGNMENT))?;
            self.data_end = self.offset + u64::from(header.size);
            self.within = name != TRAILER.as_bytes();
            if self.within {
                return Ok(Some((name, header.size.into())));
            }
        }
    }

    /// The stream, behind the last archive once [`Self::next_entry`] has given none.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Passes over zeros and says whether an archive begins behind them.
    fn begins(&mut self) -> Result<bool, Error> {
        loop {
            let buffer = self.inner.fill_buf()?;
            let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
            let next = buffer.get(zeros).copied();
            let at_end = buffer.is_empty();
            self.inner.consume(zeros);
            self.offset += zeros as u64;
            match next {
                Some(b'0') if !self.offset.is_multiple_of(ALIGNMENT) => {
                    return Err(Error::Misaligned { offset: self.offset });
                }
                Some(byte) => return Ok(byte == b'0'),
                None if at_end => return Ok(false),
                None => {}
            }
        }
    }

    fn fill(&mut self, buf: &mut [u8], entry: u64) -> Result<(), Error> {
        self.inner.read_exact(buf).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Truncated { offset: entry },
            _ => Error::Read(error),
        })?;
        self.offset += buf.len() as u64;
        Ok(())
    }

    fn skip_to(&mut self, offset: u64) -> Result<(), Error> {
        let skipped = io::copy(&mut self.inner.by_ref().take(offset - self.offset), &mut io::sink())?;
        self.offset += skipped;
        if self.offset < offset {
            return Err(Error::Truncated { offset: self.offset });
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Reader<R> {
    /// Reads the data of the current entry, to its end.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.data_end.saturating_sub(self.offset);
        let read = self.inner.by_ref().take(rest).read(buf)?;
        if read == 0 && rest > 0 && !buf.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        Ok(read)
    }
}

/// The fields of a header that anyone looks at.
struct Header {
    ino: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    mtime: u32,
    size: u32,
    rdev: (u32, u32),
    name_len: u32,
}

impl Header {
    fn parse(bytes: &[u8; 110], offset: u64) -> Result<Self, Error> {
        // `070702` is newc with a checksum of the data, which the kernel checks and we do not.
        if !bytes.starts_with(b"070701") && !bytes.starts_with(b"070702") {
            return Err(Error::Magic { offset });
        }
        let field = |index: usize, field: &'static str| {
            let digits = &bytes[6 + 8 * index..][..8];
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits));
            digits
                .and_then(Result::ok)
                .and_then(|digits| u32::from_str_radix(digits, 16).ok())
                .ok_or(Error::Field { offset, field })
        };
        let name_len = field(11, "length of the name")?;
        if !usize::try_from(name_len).is_ok_and(|len| (1..=PATH_LEN_MAX).contains(&len)) {
            return Err(Error::Field { offset, field: "length of the name" });
        }
        Ok(Self {
            ino: field(0, "inode number")?,
            mode: field(1, "mode")?,
            uid: field(2, "owner")?,
            gid: field(3, "group")?,
            nlink: field(4, "link count")?,
            mtime: field(5, "modification time")?,
            size: field(6, "length of the data")?,
            rdev: (field(9, "device number")?, field(10, "device number")?),
            name_len,
        })
    }
}

fn without_nul(name: &[u8], offset: u64) -> Result<&[u8], Error> {
    name.strip_suffix(&[0]).ok_or(Error::Field { offset, field: "name" })
}
