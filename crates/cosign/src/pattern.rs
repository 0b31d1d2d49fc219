//! What an identity or an issuer has to be: one text, or whatever a regular expression finds.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// The longest regular expression that is taken. Those in use have under 200 bytes.
pub const MAX_EXPRESSION_LEN: usize = 1024;

/// What a compiled expression may take: repetitions multiply.
const MAX_COMPILED_LEN: usize = 1 << 20;

/// What a text has to be.
///
/// Regular expressions are those of Go's `regexp.MatchString`, which cosign and the reference use: found anywhere in
/// the text unless `^` and `$` say otherwise, in time linear to it. Letters are ASCII in `\w`, `\b` and `(?i)`; so a
/// look-alike from another alphabet is no letter, and Go's `\pL` is an error. Other than in Go, `&&`, `--` and `~~`
/// between brackets are operations on sets; `\Q…\E` and a `{` or `[` that means itself are errors.
#[derive(Clone)]
pub struct Pattern(Kind);

#[derive(Clone)]
enum Kind {
    Exact(String),
    Expression(Regex),
}

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It would fit everything.
    #[error("the pattern is empty")]
    Empty,
    /// Longer than [`MAX_EXPRESSION_LEN`].
    #[error("the regular expression has {len} bytes, more than {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// [`MAX_EXPRESSION_LEN`].
        max: usize,
    },
    /// Not a regular expression, or one that is too large when its repetitions are written out.
    #[error("`{expression}` is not a regular expression")]
    Expression {
        /// The text.
        expression: String,
        /// Where and how.
        #[source]
        source: regex::Error,
    },
}

impl Pattern {
    /// `text` and nothing else.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self(Kind::Exact(text.to_owned())))
    }

    /// What `expression` finds something in.
    pub fn expression(expression: &str) -> Result<Self, PatternError> {
        if expression.is_empty() {
            return Err(PatternError::Empty);
        }
        let (len, max) = (expression.len(), MAX_EXPRESSION_LEN);
        if len > max {
            return Err(PatternError::TooLong { len, max });
        }
        let regex = RegexBuilder::new(expression).unicode(false).size_limit(MAX_COMPILED_LEN).build();
        let failed = |source| PatternError::Expression { expression: expression.to_owned(), source };
        Ok(Self(Kind::Expression(regex.map_err(failed)?)))
    }

    /// The expression if there is one, else the exact text: the reference's order. Empty is as good as absent, and
    /// without either there is no pattern.
    pub fn preferring(expression: &str, exact: &str) -> Result<Self, PatternError> {
        if expression.is_empty() { Self::exact(exact) } else { Self::expression(expression) }
    }

    /// Whether `text` is what it has to be.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(exact) => exact == text,
            Kind::Expression(regex) => regex.is_match(text.as_bytes()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(exact) => f.write_str(exact),
            Kind::Expression(regex) => write!(f, "/{regex}/"),
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_found_anywhere_unless_it_is_anchored() {
        let reference = r"(@siderolabs\.com$|^releasemgr-svc@talos-production\.iam\.gserviceaccount\.com$)";
        for (expression, text, matches) in [
            (reference, "someone@siderolabs.com", true),
            (reference, "releasemgr-svc@talos-production.iam.gserviceaccount.com", true),
            (reference, "a-releasemgr-svc@talos-production.iam.gserviceaccount.com", false),
            (reference, "someone@siderolabs.com.example", false),
            (reference, "someone@siderolabs.com\n", false),
            (reference, "someone@siderolabsXcom", false),
            ("b", "abc", true),
            ("^b", "a\nb", false),
            (r"^\w+$", "имя", false),
            ("(?i)^kelvin$", "\u{212a}elvin", false),
            ("^é+$", "é", true),
        ] {
            assert_eq!(
                Pattern::expression(expression).unwrap().matches(text),
                matches,
                "{expression} {text:?}"
            );
        }
    }

    #[test]
    fn a_text_is_itself_alone() {
        let pattern = Pattern::exact("https://a.example").unwrap();
        assert!(pattern.matches("https://a.example"));
        assert!(!pattern.matches("https://axexample") && !pattern.matches("https://a.example/"));
    }

    #[test]
    fn an_expression_goes_before_a_text() {
        let pattern = Pattern::preferring("^a", "b").unwrap();
        assert!(pattern.matches("ab") && !pattern.matches("b"));
        assert!(Pattern::preferring("", "b").unwrap().matches("b"));
        assert!(matches!(Pattern::preferring("", ""), Err(PatternError::Empty)));
    }

    #[test]
    fn what_is_no_pattern_says_so() {
        assert!(matches!(Pattern::exact(""), Err(PatternError::Empty)));
        assert!(matches!(Pattern::expression(""), Err(PatternError::Empty)));
        let long = "a".repeat(MAX_EXPRESSION_LEN + 1);
        assert!(matches!(Pattern::expression(&long), Err(PatternError::TooLong { len: 1025, .. })));
        for expression in ["(", "[a", r"\pL", r"\Qa\E", "(?=a)", r"(a)\1", "((a{1000}){1000}){1000}"] {
            let error = Pattern::expression(expression).unwrap_err();
            assert!(matches!(error, PatternError::Expression { .. }), "{expression}");
        }
    }
}
