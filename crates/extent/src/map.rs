//! Maps of extents: the one description that every format takes and returns.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Digest, MapId};

/// A byte string of known length, described by where its bytes are.
///
/// Kept in one canonical form: no extent is empty, neighbours that can be one are one. Lengths and offsets
/// are bytes. A clone shares the extents until one of the two is changed: a thousand clients of one image hold one map.
///
///   0            len₀          len₀+len₁                 len()
///   │ extent 0   │ extent 1    │ extent 2 …              │
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExtentMap {
    extents: Arc<Vec<Extent>>,
    /// `ends[i]` is the offset after `extents[i]`.
    ends: Arc<Vec<u64>>,
}

/// `len` bytes, never 0, taken from `source`.
#[derive(Clone, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub len: u64,
    /// Where the bytes are.
    pub source: Source,
}

/// Where bytes are.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// Ours: headers, tables, directories.
    Inline(Bytes),
    /// Theirs: a range of an immutable blob.
    Blob {
        /// The blob.
        digest: Digest,
        /// Where in the blob the range begins.
        offset: u64,
    },
    /// Nothing.
    Zero,
}

/// Inline neighbours are joined while the result stays below this, so that a map built of many small pushes
/// stays short and a large inline part is not copied again and again.
const INLINE_JOIN_MAX: usize = 64 << 10;

/// How much is hashed at once: what keeps every lane of BLAKE3 busy.
const HASHED_LEN: usize = 16 << 10;

impl ExtentMap {
    /// The empty byte string.
    pub fn new() -> Self {
        Self::default()
    }

    /// The byte string `bytes` itself.
    pub fn inline(bytes: impl Into<Bytes>) -> Self {
        let mut map = Self::new();
        map.push_inline(bytes);
        map
    }

    /// `len` bytes of the blob `digest`, from `offset` on.
    pub fn blob(digest: Digest, offset: u64, len: u64) -> Self {
        let mut map = Self::new();
        map.push(Extent { len, source: Source::Blob { digest, offset } });
        map
    }

    /// `len` zero bytes.
    pub fn zeros(len: u64) -> Self {
        let mut map = Self::new();
        map.push_zeros(len);
        map
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether the byte string is empty.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The extents, in order.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// The extents, in order, each with the offset where it begins.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Extent)> {
        self.extents.iter().zip(self.ends.iter()).map(|(extent, end)| (end - extent.len, extent))
    }

    /// Adds `extent` at the end and merges it with its neighbour where both are one run. An empty extent
    /// leaves no trace; an inline extent of zeros is still inline.
    ///
    /// # Panics
    /// When an inline source is not `len` bytes long, or the map's length would exceed `u64`.
    pub fn push(&mut self, extent: Extent) {
        if let Source::Inline(bytes) = &extent.source {
            assert_eq!(bytes.len() as u64, extent.len, "an inline extent is as long as its bytes");
        }
        if extent.len == 0 {
            return;
        }
        let end = self.len().checked_add(extent.len).expect("a map is shorter than 16 EiB");
        let (extents, ends) = (Arc::make_mut(&mut self.extents), Arc::make_mut(&mut self.ends));
        if let Some(last) = extents.last_mut()
            && last.absorb(&extent)
        {
            *ends.last_mut().expect("ends has one entry for each extent") = end;
            return;
        }
        extents.push(extent);
        ends.push(end);
    }

    /// Adds `bytes` at the end.
    pub fn push_inline(&mut self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        self.push(Extent { len: bytes.len() as u64, source: Source::Inline(bytes) });
    }

    /// Adds `len` zero bytes at the end.
    pub fn push_zeros(&mut self, len: u64) {
        self.push(Extent { len, source: Source::Zero });
    }

    /// Adds all of `other` at the end.
    pub fn append(&mut self, other: Self) {
        for extent in Arc::unwrap_or_clone(other.extents) {
            self.push(extent);
        }
    }

    /// Pads with zeros up to `offset`.
    ///
    /// # Panics
    /// When the map is longer than `offset` already: a planner has miscounted.
    pub fn zero_to(&mut self, offset: u64) {
        let len = self.len();
        assert!(len <= offset, "padding to {offset} would go back from {len}");
        self.push_zeros(offset - len);
    }

    /// Pads with zeros to a multiple of `alignment`.
    pub fn align_to(&mut self, alignment: u64) {
        self.zero_to(self.len().next_multiple_of(alignment));
    }

    /// The part of the byte string in `range`, clipped to its end. Costs a search and the extents in range.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Self {
        let end = range.end.min(self.len());
        let mut slice = Self::new();
        if range.start >= end {
            return slice;
        }
        let first = self.ends.partition_point(|&e| e <= range.start);
        for (extent, &extent_end) in self.extents[first..].iter().zip(&self.ends[first..]) {
            let extent_start = extent_end - extent.len;
            if extent_start >= end {
                break;
            }
            let from = range.start.max(extent_start) - extent_start;
            let to = end.min(extent_end) - extent_start;
            slice.push(extent.part(from..to));
        }
        slice
    }

    /// The identity of this description: equal for equal descriptions, on any machine.
    ///
    /// BLAKE3, because every plan is named, and with SHA-256 that took a fifth of what a new image costs: a disk has
    /// 300 KB of tables. Nobody else computes this name, so it need not be what registries use.
    pub fn id(&self) -> MapId {
        let mut hash = blake3::Hasher::new();
        // Hashed in long pieces, which takes a fraction of the time of many short ones.
        let mut piece = Vec::with_capacity(2 * HASHED_LEN);
        piece.extend_from_slice(b"extent map 2\n");
        for extent in self.extents.iter() {
            piece.extend_from_slice(&extent.len.to_le_bytes());
            match &extent.source {
                Source::Inline(bytes) => {
                    piece.push(0);
                    if bytes.len() < HASHED_LEN {
                        piece.extend_from_slice(bytes);
                    } else {
                        hash.update(&piece).update(bytes);
                        piece.clear();
                    }
                }
                Source::Blob { digest, offset } => {
                    piece.push(1);
                    piece.extend_from_slice(digest.as_bytes());
                    piece.extend_from_slice(&offset.to_le_bytes());
                }
                Source::Zero => piece.push(2),
            }
            if piece.len() >= HASHED_LEN {
                hash.update(&piece);
                piece.clear();
            }
        }
        hash.update(&piece);
        MapId::from_bytes(hash.finalize().into())
    }

    /// The blobs that the description names, each once, in order of first use.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut seen = std::collections::HashSet::new();
        let named = self.extents.iter().filter_map(|extent| match &extent.source {
            Source::Blob { digest, .. } => Some(*digest),
            _ => None,
        });
        named.filter(|digest| seen.insert(*digest)).collect()
    }
}

impl Extent {
    /// The part of the extent in `range`.
    ///
    /// # Panics
    /// When `range` does not lie inside it.
    #[must_use]
    pub fn part(&self, range: Range<u64>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "a part lies inside its extent");
        let source = match &self.source {
            Source::Inline(bytes) => {
                let start = usize::try_from(range.start).expect("an inline extent is in memory");
                let end = usize::try_from(range.end).expect("an inline extent is in memory");
                Source::Inline(bytes.slice(start..end))
            }
            Source::Blob { digest, offset } => Source::Blob { digest: *digest, offset: offset + range.start },
            Source::Zero => Source::Zero,
        };
        Self { len: range.end - range.start, source }
    }

    /// Grows by `next` if the two are one run; says whether it did.
    fn absorb(&mut self, next: &Self) -> bool {
        match (&mut self.source, &next.source) {
            (Source::Zero, Source::Zero) => {}
            (Source::Blob { digest, offset }, Source::Blob { digest: d, offset: o })
                if digest == d && *offset + self.len == *o => {}
            (Source::Inline(a), Source::Inline(b)) if a.len() + b.len() <= INLINE_JOIN_MAX => {
                let mut joined = Vec::with_capacity(a.len() + b.len());
                joined.extend_from_slice(a);
                joined.extend_from_slice(b);
                *a = joined.into();
            }
            _ => return false,
        }
        self.len += next.len;
        true
    }
}

impl From<Vec<u8>> for ExtentMap {
    fn from(bytes: Vec<u8>) -> Self {
        Self::inline(bytes)
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Inline(_) => write!(f, "{} inline", self.len),
            Source::Blob { digest, offset } => write!(f, "{} of {digest} at {offset}", self.len),
            Source::Zero => write!(f, "{} zero", self.len),
        }
    }
}

impl fmt::Debug for ExtentMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.extents.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::read_all;

    fn blobs() -> HashMap<Digest, Bytes> {
        (0..3u8)
            .map(|i| {
                let b = Bytes::from(vec![i + 1; 500]);
                (Digest::of(&b), b)
            })
            .collect()
    }

    prop_compose! {
        fn any_map()(pieces in prop::collection::vec((0..3u8, 0..100u64, 0..400u64), 0..20)) -> ExtentMap {
            let digests: Vec<_> = { let mut d: Vec<_> = blobs().into_keys().collect(); d.sort(); d };
            let mut map = ExtentMap::new();
            for (kind, len, offset) in pieces {
                match kind {
                    0 => map.push_zeros(len),
                    1 => map.push_inline(vec![u8::try_from(offset % 251).expect("below 251"); usize::try_from(len).expect("small")]),
                    _ => map.append(ExtentMap::blob(digests[usize::try_from(offset % 3).expect("small")], offset, len)),
                }
            }
            map
        }
    }

    proptest! {
        #[test]
        fn concatenated_slices_equal_the_whole(map in any_map(), cuts in prop::collection::vec(0..2000u64, 0..6)) {
            let mut cuts: Vec<u64> = cuts.into_iter().map(|c| c.min(map.len())).collect();
            cuts.extend([0, map.len()]);
            cuts.sort_unstable();
            let whole = read_all(&map, &blobs(), u64::MAX).unwrap();
            let mut joined = Vec::new();
            for pair in cuts.windows(2) {
                joined.extend(read_all(&map.slice(pair[0]..pair[1]), &blobs(), u64::MAX).unwrap());
            }
            prop_assert_eq!(joined, whole);
        }

        #[test]
        fn slice_of_slices_equals_slice(map in any_map(), a in 0..2000u64, b in 0..2000u64, c in 0..500u64, d in 0..500u64) {
            let outer = map.slice(a.min(b)..a.max(b));
            let (c, d) = (c.min(d), c.max(d));
            let start = (a.min(b) + c).min(map.len());
            let end = (a.min(b) + d).min(a.max(b));
            let inner = read_all(&outer.slice(c..d), &blobs(), u64::MAX).unwrap();
            let direct = read_all(&map.slice(start..end.max(start)), &blobs(), u64::MAX).unwrap();
            prop_assert_eq!(inner, direct);
        }

        #[test]
        fn length_equals_bytes_read(map in any_map()) {
            prop_assert_eq!(read_all(&map, &blobs(), u64::MAX).unwrap().len() as u64, map.len());
        }

        #[test]
        fn the_same_pushes_give_the_same_id(map in any_map()) {
            let mut again = ExtentMap::new();
            for extent in map.extents() {
                again.push(extent.clone());
            }
            prop_assert_eq!(again.id(), map.id());
            prop_assert_eq!(again, map);
        }
    }

    #[test]
    fn neighbours_that_are_one_run_merge() {
        let digest = Digest::of(b"x");
        let mut map = ExtentMap::blob(digest, 0, 10);
        map.append(ExtentMap::blob(digest, 10, 5));
        map.push_zeros(1);
        map.push_zeros(2);
        map.push_inline(&b"a"[..]);
        map.push_inline(&b"b"[..]);
        assert_eq!(map.extents().len(), 3);
        assert_eq!(map.len(), 20);
    }

    #[test]
    #[should_panic(expected = "would go back")]
    fn padding_never_goes_back() {
        ExtentMap::zeros(2).zero_to(1);
    }
}
