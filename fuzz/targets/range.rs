//! Range fields: ranges lie within the representation, do not overlap and are no more work than the whole.
#![no_main]
use extent::ExtentMap;
use factory_server::range::{Selection, multipart, select};
use libfuzzer_sys::fuzz_target;

const LEN: u64 = 1000;

fuzz_target!(|field: &str| {
    match select(field, LEN) {
        Selection::One(range) => assert!(range.start < range.end && range.end <= LEN),
        Selection::Many(ranges) => {
            assert!(ranges.iter().all(|range| range.start < range.end && range.end <= LEN));
            assert!(ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= LEN);
            multipart(&ExtentMap::zeros(LEN), &ranges, "text/plain", "boundary");
        }
        _ => {}
    }
});
