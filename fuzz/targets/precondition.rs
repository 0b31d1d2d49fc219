//! Precondition fields: none holds for a representation that it does not name.
#![no_main]
use axum::http::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use factory_server::precondition::{ETag, Outcome, evaluate, range_applies};
use libfuzzer_sys::fuzz_target;

const NAME: &str = "0a";
const QUOTED: &[u8] = b"\"0a\"";

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let etag = ETag::of(NAME);
    let named = value.as_bytes().windows(QUOTED.len()).any(|window| window == QUOTED);
    let any = value.as_bytes().trim_ascii() == b"*";
    let of = |name| HeaderMap::from_iter([(name, value.clone())]);
    if evaluate(&of(IF_NONE_MATCH), &etag) == Outcome::NotModified {
        assert!(named || any);
    }
    if evaluate(&of(IF_MATCH), &etag) == Outcome::Proceed {
        assert!(named || any);
        // Strong comparison asks for more than weak comparison.
        assert_eq!(evaluate(&of(IF_NONE_MATCH), &etag), Outcome::NotModified);
    }
    assert_eq!(range_applies(&of(IF_RANGE), &etag), value.as_bytes().trim_ascii() == QUOTED);
});
