//! Which keys a type takes, asked of the type itself: a deserializer that only listens to the question "which fields?".
//!
//! A derived `Deserialize` names its fields in its first call. A type that asks for a map (`flatten`, `HashMap`) names
//! none; then nothing is known, and its keys are left to the type.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

/// The names of the fields of `T`, aliases included; `None` if `T` is not a plain struct.
pub(super) fn keys_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    let mut keys = None;
    // It always ends in the error below; what was heard until then is the answer.
    let _ = T::deserialize(Listener { keys: &mut keys });
    keys
}

struct Listener<'a> {
    keys: &'a mut Option<&'static [&'static str]>,
}

/// Said to every question, so that nothing is ever deserialized.
#[derive(Debug)]
struct OnlyListening;

impl fmt::Display for OnlyListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("only listening")
    }
}

impl std::error::Error for OnlyListening {}

impl de::Error for OnlyListening {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Listener<'_> {
    type Error = OnlyListening;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, OnlyListening> {
        Err(OnlyListening)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, OnlyListening> {
        *self.keys = Some(fields);
        Err(OnlyListening)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
