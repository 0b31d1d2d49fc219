//! The natural order of map keys.
//!
//! Runs of decimal digits compare as numbers, the rest character by character:
//!
//!   -  _  1  9  10  A  a b  a-b  a.b  a1  a2  a10  aB  ab  é
//!
//! What comes first where two keys part:
//!
//!   after a digit run    the end, a letter, anything else
//!   elsewhere            the end, neither letter nor digit, a digit run, a letter
//!
//! Two runs compare by value, then by length (`1` before `01`). Written as a comparison of token sequences it is a
//! total order, which sorting needs and the reference's pairwise rule is not once a run overflows 64 bits: we compare
//! such runs as the numbers they are. Digits of other scripts count as neither letter nor digit.

use std::cmp::Ordering;

/// Compares two keys. Equal only when the keys are the same.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (tokens(a), tokens(b));
    let mut after_run = false;
    loop {
        let (x, y) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let decided = x.rank(after_run).cmp(&y.rank(after_run)).then_with(|| x.cmp_same_rank(&y));
        if decided.is_ne() {
            return decided;
        }
        after_run = matches!(x, Token::Run(_));
    }
}

enum Token<'a> {
    /// Decimal digits, all that stand together.
    Run(&'a str),
    Letter(char),
    Other(char),
}

impl Token<'_> {
    fn rank(&self, after_run: bool) -> u8 {
        match (self, after_run) {
            (Self::Letter(_), true) => 0,
            (Self::Other(_), _) => 1,
            (Self::Run(_), _) => 2,
            (Self::Letter(_), false) => 3,
        }
    }

    fn cmp_same_rank(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Run(a), Self::Run(b)) => {
                let (x, y) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| a.len().cmp(&b.len()))
            }
            (Self::Letter(a), Self::Letter(b)) | (Self::Other(a), Self::Other(b)) => a.cmp(b),
            _ => Ordering::Equal,
        }
    }
}

struct Tokens<'a>(&'a str);

fn tokens(text: &str) -> Tokens<'_> {
    Tokens(text)
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let first = self.0.chars().next()?;
        let end = match self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len()) {
            0 => first.len_utf8(),
            digits => digits,
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(match first {
            '0'..='9' => Token::Run(token),
            // Alphabetic and no number is the general category L, but for a few combining vowels.
            _ if first.is_alphabetic() && !first.is_numeric() => Token::Letter(first),
            _ => Token::Other(first),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_in_the_order_the_reference_was_seen_to_write() {
        let keys = ["-", "_", "1", "9", "10", "A", "a b", "a-b", "a.b", "a1", "a2", "a10", "aB", "ab", "é"];
        for pair in keys.windows(2) {
            assert_eq!(natural(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn zeros_and_long_runs_compare_as_numbers() {
        let keys =
            ["1", "01", "1a", "1-", "2", "10", "0100", "99999999999999999999", "100000000000000000000"];
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                if !["01", "1a", "1-"].contains(a) && !["01", "1a", "1-"].contains(b) {
                    assert_eq!(natural(a, b), i.cmp(&j), "{a} {b}");
                }
            }
        }
        assert_eq!(natural("1", "01"), Ordering::Less);
        assert_eq!(natural("1a", "1-"), Ordering::Less);
        assert_eq!(natural("1-", "10"), Ordering::Less);
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[0129aAé_.-]{0,6}", b in "[0129aAé_.-]{0,6}", c in "[0129aAé_.-]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b).is_eq(), a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
