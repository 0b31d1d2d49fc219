//! What reads foreign text, for the fuzzers and nobody else.

use std::time::{Instant, UNIX_EPOCH};

use extent::Digest;

use crate::auth::{TokenAnswer, challenge};
use crate::{Mirror, Mirrors, Proxies, Reference};

/// Gives `text` to the parser that `which` chooses.
pub fn parse(which: u8, text: &[u8]) {
    let lossy = String::from_utf8_lossy(text);
    match which % 7 {
        0 => {
            if let Ok(reference) = lossy.parse::<Reference>() {
                let again: Reference = reference.to_string().parse().expect("what is shown is a reference");
                assert_eq!(again.to_string(), reference.to_string());
            }
        }
        1 => {
            challenge(lossy.lines());
        }
        2 => drop(crate::image::parse(Digest::of(text), text, None)),
        3 => {
            let answer = serde_json::from_slice::<TokenAnswer>(text).ok();
            if let Some((header, _)) = answer.and_then(|answer| answer.header(Instant::now())) {
                assert!(header.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
            }
        }
        4 => {
            crate::retry::retry_after(&lossy, UNIX_EPOCH);
        }
        5 => drop(crate::Credentials::parse(text)),
        _ => {
            if let Ok(mirror) = lossy.parse::<Mirror>() {
                assert_eq!(mirror.to_string().parse::<Mirror>().expect("what is shown is a mirror"), mirror);
                let _ = Mirrors::none().with(mirror);
            }
            let value =
                |name: &str| lossy.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            if let Ok(proxies) = Proxies::from_variables(|name| value(name).map(str::to_owned)) {
                let _ = proxies.find(&"https://registry.example:5000/v2/".parse().expect("an address"));
            }
        }
    }
}
