//! Values of overlay options: what YAML can say without tags of its own.
//!
//! Two values are equal exactly when their canonical YAML is; that is why a float which prints like an integer is one.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::text::Text;
pub use crate::timestamp::Timestamp;

/// Arbitrary YAML below `overlay.options`, anchors and merge keys expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A single value.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Value>),
    /// A mapping; its keys are single values of any type.
    Mapping(BTreeMap<Scalar, Value>),
}

/// A single value.
///
/// Ordered as keys are in canonical YAML: numbers (`false` is 0, `true` is 1, before the equal number), null, text in
/// natural order, timestamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(Integer),
    /// Any other number.
    Float(Float),
    /// A point in time.
    Timestamp(Timestamp),
    /// A string.
    Text(Text),
}

/// A whole number between `i64::MIN` and `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Integer(i128);

/// A number that is not printed as an [`Integer`].
#[derive(Clone, Copy, Debug)]
pub struct Float(f64);

impl Integer {
    /// The number.
    pub const fn get(self) -> i128 {
        self.0
    }
}

impl From<i64> for Integer {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<u64> for Integer {
    fn from(number: u64) -> Self {
        Self(number.into())
    }
}

impl Float {
    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// Of the not-a-numbers there is one, as in YAML; `-0` is not `0`.
impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || self.0.is_nan() && other.0.is_nan()
    }
}

impl Eq for Float {}

impl From<f64> for Scalar {
    /// A whole number below a million is an integer: that is how it is printed, and how it is read again.
    fn from(number: f64) -> Self {
        let whole =
            number.fract() == 0.0 && number.abs() < 1e6 && !(number == 0.0 && number.is_sign_negative());
        if whole {
            #[allow(clippy::cast_possible_truncation)] // whole and below a million
            return Self::Integer(Integer::from(number as i64));
        }
        Self::Float(Float(if number.is_nan() { f64::NAN } else { number }))
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Scalar {
    fn from(number: i64) -> Self {
        Self::Integer(number.into())
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<Text> for Scalar {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Scalar>> From<T> for Value {
    fn from(scalar: T) -> Self {
        Self::Scalar(scalar.into())
    }
}

impl Scalar {
    /// What decides between numbers: the value, then the kind, then (in one kind) the exact value.
    #[allow(clippy::cast_precision_loss)] // the reference compares as 64-bit floats first
    fn number(&self) -> Option<(f64, u8, i128)> {
        match self {
            Self::Bool(value) => Some((f64::from(u8::from(*value)), 0, 0)),
            Self::Integer(Integer(value)) => {
                Some((*value as f64, if i64::try_from(*value).is_ok() { 1 } else { 2 }, *value))
            }
            Self::Float(Float(value)) => Some((*value + 0.0, 3, i128::from(value.is_sign_positive()))),
            Self::Null | Self::Timestamp(_) | Self::Text(_) => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) => 0,
            Self::Null => 1,
            Self::Text(_) => 2,
            Self::Timestamp(_) => 3,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2));
        }
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_all_kinds_are_ordered_as_the_reference_orders_them() {
        let stamp = Timestamp::parse("2001-01-01").unwrap();
        let keys = [
            Scalar::Integer(Integer::from(-1_i64)),
            Scalar::Bool(false),
            Scalar::Integer(Integer::from(0_i64)),
            Scalar::from(-0.0),
            Scalar::from(0.5),
            Scalar::Bool(true),
            Scalar::Integer(Integer::from(1_i64)),
            Scalar::Integer(Integer::from(u64::MAX - 1)),
            Scalar::Integer(Integer::from(u64::MAX)),
            Scalar::from(f64::INFINITY),
            Scalar::from(f64::NAN),
            Scalar::Null,
            Scalar::from(Text::from("a2")),
            Scalar::from(Text::from("a10")),
            Scalar::Timestamp(stamp),
        ];
        for (i, a) in keys.iter().enumerate() {
            for (j, b) in keys.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} {b:?}");
                assert_eq!(a == b, i == j);
            }
        }
    }

    #[test]
    fn a_float_that_prints_like_an_integer_is_one() {
        assert_eq!(Scalar::from(1.0), Scalar::Integer(Integer::from(1_i64)));
        assert!(matches!(Scalar::from(1e6), Scalar::Float(_)));
        assert!(matches!(Scalar::from(-0.0), Scalar::Float(_)));
    }
}
