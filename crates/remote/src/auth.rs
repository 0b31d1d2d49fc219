//! What a registry wants to see before it answers: `Basic` logins, and `Bearer` tokens that somebody else gives.
//!
//! ```text
//! GET /v2/…            ──▶ 401, WWW-Authenticate: Bearer realm="https://auth…",service="…"
//! GET realm?service=…&scope=repository:<name>:pull   (with the login)   ──▶ {"token":"…"}
//! GET /v2/…            with Authorization: Bearer …
//! ```
//!
//! The scope is always ours and never the one that the registry names, so that no answer can ask for more than the
//! request needs.
//!
//! Source: distribution, token authentication specification; RFC 9110, §11.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;

/// The longest answer with a token. Tokens of large registries have 4 KiB.
pub(crate) const MAX_TOKEN_ANSWER_LEN: u64 = 256 << 10;
/// How long a token is good where nothing is said, from the specification.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(1);
/// No token is kept longer: a registry that says "forever" has no way to take it back.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// A token is dropped so much before it expires, for the time that a request takes.
const SLACK: Duration = Duration::from_secs(10);

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// The login itself.
    Basic,
    /// A token from `realm`.
    Bearer { realm: String, service: Option<String> },
}

/// Values of `Authorization` by origin and scope.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<(String, String), Token>>);

struct Token {
    header: String,
    expires: Instant,
}

#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn get(&self, origin: &str, scope: &str, now: Instant) -> Option<String> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|_, token| token.expires > now);
        tokens.get(&(origin.to_owned(), scope.to_owned())).map(|token| token.header.clone())
    }

    pub(crate) fn put(&self, origin: &str, scope: &str, header: String, expires: Instant) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert((origin.to_owned(), scope.to_owned()), Token { header, expires });
    }
}

impl TokenAnswer {
    /// The value of `Authorization`, and when it is to be forgotten.
    pub(crate) fn header(self, now: Instant) -> Option<(String, Instant)> {
        let token = self.token.filter(|t| !t.is_empty()).or(self.access_token)?;
        if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let lifetime = self.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs).min(MAX_LIFETIME);
        Some((format!("Bearer {token}"), now + lifetime.saturating_sub(SLACK)))
    }
}

/// The first challenge in the values of `WWW-Authenticate` that can be met; a token is better than a login.
pub(crate) fn challenge<'a>(values: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let all: Vec<Challenge> = values.flat_map(challenges).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(all.first()).cloned()
}

/// `Scheme key=value, key="value", Scheme …`
fn challenges(value: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, HashMap<String, String>)> = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        let Some(after) = after.trim_start().strip_prefix('=') else {
            found.push((word.to_ascii_lowercase(), HashMap::new()));
            rest = after;
            continue;
        };
        let Some((value, after)) = parameter(after.trim_start()) else { break };
        if let Some((_, parameters)) = found.last_mut() {
            parameters.entry(word.to_ascii_lowercase()).or_insert(value);
        }
        rest = after;
    }
    let challenge = |(scheme, mut parameters): (String, HashMap<String, String>)| match scheme.as_str() {
        "basic" => Some(Challenge::Basic),
        "bearer" => {
            let realm = parameters.remove("realm")?;
            Some(Challenge::Bearer { realm, service: parameters.remove("service") })
        }
        _ => None,
    };
    found.into_iter().filter_map(challenge).collect()
}

/// A token or a quoted string, and what follows.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[i + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let table: [(&[&str], Option<Challenge>); 11] = [
            (&["Basic realm=\"x\""], Some(Challenge::Basic)),
            (&["basic"], Some(Challenge::Basic)),
            (
                &["Bearer realm=\"https://a/token\",service=\"s\",scope=\"repository:x:pull,push\""],
                Some(bearer("https://a/token", Some("s"))),
            ),
            (&["bearer realm=https://a/token, service=s"], Some(bearer("https://a/token", Some("s")))),
            (&["Basic realm=\"x\", Bearer realm=\"r\""], Some(bearer("r", None))),
            (&["Negotiate", "Bearer realm = \"a\\\"b\""], Some(bearer("a\"b", None))),
            (&["Bearer service=\"s\""], None),
            (&["Bearer realm=\"open"], None),
            (&["Bearer realm=\"a\\"], None),
            (&["", "=", ",,,", "\"", "a=b"], None),
            (&[], None),
        ];
        for (values, expected) in table {
            assert_eq!(challenge(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn tokens_are_forgotten_before_they_expire() {
        let now = Instant::now();
        let answer = |text: &str| serde_json::from_str::<TokenAnswer>(text).unwrap().header(now);
        let (header, expires) = answer(r#"{"token":"abc","expires_in":300}"#).unwrap();
        assert_eq!((header.as_str(), expires - now), ("Bearer abc", Duration::from_secs(290)));
        assert_eq!(answer(r#"{"access_token":"abc"}"#).unwrap().1 - now, Duration::from_secs(50));
        assert_eq!(
            answer(r#"{"token":"a","expires_in":18446744073709551615}"#).unwrap().1 - now,
            Duration::from_secs(3590)
        );
        for hostile in [r#"{"token":""}"#, "{}", r#"{"token":"a\r\nX: y"}"#, r#"{"token":"é"}"#] {
            assert!(answer(hostile).is_none(), "{hostile}");
        }

        let tokens = Tokens::default();
        tokens.put("o", "pull", header, expires);
        assert!(tokens.get("o", "pull", now).is_some());
        assert!(tokens.get("o", "push", now).is_none() && tokens.get("p", "pull", now).is_none());
        assert!(tokens.get("o", "pull", now + Duration::from_secs(290)).is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[Bb=\",\\\\ a-zé]{0,60}") {
            let _ = challenges(&text);
        }
    }
}
