//! Tables that pass from one compressed block to a later one.
//!
//! Source: RFC 8878, §3.1.1.3.

use super::reader::Reader;

/// Which tables the blocks so far have defined: a later block may use them again.
///
/// A frame that defines all it uses can follow any other blocks.
#[derive(Default)]
pub(super) struct Tables {
    huffman: bool,
    sequences: bool,
}

/// What is wrong with a block.
pub(super) enum Fault {
    /// Its sections do not fit it.
    Malformed,
    /// It uses tables that no block before it defines.
    Undefined,
}

impl Tables {
    /// Takes note of what a compressed block uses and defines.
    ///
    /// Source: RFC 8878, §3.1.1.3.1.1 (literals section header), §3.1.1.3.2.1 (sequences section header).
    pub(super) fn follow(&mut self, body: &[u8]) -> Result<(), Fault> {
        let malformed = |_| Fault::Malformed;
        let mut reader = Reader::new(body);
        let first = *body.first().ok_or(Fault::Malformed)?;
        let (kind, format) = (first & 3, first >> 2 & 3);
        if kind < 2 {
            let (header_len, shift) = match format {
                1 => (2, 4),
                3 => (3, 4),
                _ => (1, 3),
            };
            let len = reader.number(header_len).map_err(malformed)? >> shift;
            reader.take(if kind == 0 { len } else { 1 }).map_err(malformed)?;
        } else {
            let (header_len, bits) = match format {
                3 => (5, 18),
                2 => (4, 14),
                _ => (3, 10),
            };
            let sizes = reader.number(header_len).map_err(malformed)? >> 4;
            reader.take(sizes >> bits).map_err(malformed)?;
            if kind == 3 && !self.huffman {
                return Err(Fault::Undefined);
            }
            self.huffman = true;
        }
        match reader.number(1).map_err(malformed)? {
            0 => return if reader.rest().is_empty() { Ok(()) } else { Err(Fault::Malformed) },
            count if count < 128 => {}
            255 => drop(reader.take(2).map_err(malformed)?),
            _ => drop(reader.take(1).map_err(malformed)?),
        }
        let modes = reader.number(1).map_err(malformed)?;
        if modes & 3 != 0 {
            return Err(Fault::Malformed);
        }
        let repeats = [6, 4, 2].iter().any(|shift| modes >> shift & 3 == 3);
        if repeats && !self.sequences {
            return Err(Fault::Undefined);
        }
        self.sequences = true;
        Ok(())
    }
}
