//! Zeros: which blocks of a file hold nothing else.

use std::ops::Range;

use extent::{ExtentMap, Source};

/// The blocks of `map` that its description says are zeros, as ranges of block numbers in ascending order. The
/// last block counts even if it is short. Costs the number of extents, not of bytes.
pub(super) fn zero_blocks(map: &ExtentMap, block_len: u64) -> impl Iterator<Item = Range<u64>> {
    let len = map.len();
    map.iter().filter(|(_, extent)| matches!(extent.source, Source::Zero)).filter_map(
        move |(offset, extent)| {
            let end = offset + extent.len;
            let first = offset.div_ceil(block_len);
            let last = if end == len { end.div_ceil(block_len) } else { end / block_len };
            (first < last).then_some(first..last)
        },
    )
}

/// Whether all of `bytes` are 0.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Sixteen at a time is what the compiler turns into vector code; nearly all blocks end the loop at once.
    let (chunks, rest) = bytes.as_chunks::<16>();
    chunks.iter().all(|chunk| u128::from_ne_bytes(*chunk) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeros_are_known_from_the_map() {
        let mut map = ExtentMap::inline(vec![1; 10]);
        map.push_zeros(90);
        map.push_inline(vec![1; 10]);
        map.push_zeros(75);
        for (block_len, expected) in
            [(16, vec![1..6, 7..12]), (50, vec![1..2, 3..4]), (100, vec![]), (1, vec![10..100, 110..185])]
        {
            assert_eq!(zero_blocks(&map, block_len).collect::<Vec<_>>(), expected, "{block_len}");
        }
        assert_eq!(zero_blocks(&ExtentMap::zeros(u64::MAX), 4096).next(), Some(0..1 << 52));
        assert_eq!(zero_blocks(&ExtentMap::new(), 4096).count(), 0);
    }

    #[test]
    fn one_byte_anywhere_is_not_zero() {
        assert!(is_zero(&[]));
        for len in [1, 15, 16, 17, 100] {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
