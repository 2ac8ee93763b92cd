//! Texts, numbers and truths that are taken as they stand: a number is no text and a text is no number, in every language.
//!
//! What the languages do by themselves differs: YAML would take `8080` for a text where one is asked for, and the services,
//! which are sent what was written, would refuse it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A text.
pub(super) struct Text;
/// A whole number.
pub(super) struct Whole;
/// Any number that JSON can hold: `nan` and `inf` would be lost on the way.
pub(super) struct Amount;
/// True or false.
pub(super) struct Truth;
/// Anything.
pub(super) type Anything = serde::de::IgnoredAny;

/// Has a type read by a visitor that is given whatever is there.
macro_rules! read_by {
    ($visitor:ident, $type:ident, $expecting:literal, { $($body:tt)+ }) => {
        struct $visitor;

        impl Visitor<'_> for $visitor {
            type Value = $type;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }

            $($body)+
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

read_by!(TextVisitor, Text, "a string", {
    fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
        Ok(Text)
    }
});

read_by!(WholeVisitor, Whole, "a whole number", {
    fn visit_i64<E: Error>(self, _: i64) -> Result<Whole, E> {
        Ok(Whole)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Whole, E> {
        Ok(Whole)
    }
});

read_by!(AmountVisitor, Amount, "a number", {
    fn visit_i64<E: Error>(self, _: i64) -> Result<Amount, E> {
        Ok(Amount)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Amount, E> {
        Ok(Amount)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
        if number.is_finite() {
            return Ok(Amount);
        }
        Err(E::invalid_value(Unexpected::Float(number), &self))
    }
});

read_by!(TruthVisitor, Truth, "true or false", {
    fn visit_bool<E: Error>(self, _: bool) -> Result<Truth, E> {
        Ok(Truth)
    }
});
