//! Straight ways between Mesos's JSON and the bytes of a message, field by field, without a tree in between.
//!
//! They know what is usual. Whatever else comes (maps, `null`, numbers as text, a field twice, anything wrong) they leave to
//! the slow way, which knows all of it and has the texts of what is wrong: [`super::json`].

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BufMut};
use prost::encoding::{WireType, decode_varint, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::to_writer;

use super::json::write_text;
use super::plan::{FieldPlan, Kind, MessagePlan, Plan};

/// Writes the bytes of a message as JSON, its fields in the order of their declaration; none for what is not usual.
pub(super) fn write(
    plan: &Plan,
    of: &MessagePlan,
    mut bytes: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    out.push(b'{');
    let mut last = None;
    if of.is_in_order {
        while !bytes.is_empty() {
            let (field, wire_type) = next_field(of, &mut bytes)?;
            write_field(
                plan,
                field,
                (wire_type, &mut bytes),
                last.replace(field),
                out,
            )?;
        }
    } else {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let (field, wire_type) = next_field(of, &mut bytes)?;
            fields.push((field, wire_type, bytes));
            skip(wire_type, &mut bytes)?;
        }
        fields.sort_by_key(|(field, _, _)| field.rank);
        for (field, wire_type, mut value) in fields {
            write_field(
                plan,
                field,
                (wire_type, &mut value),
                last.replace(field),
                out,
            )?;
        }
    }
    if last.is_some_and(|last: &FieldPlan| last.is_list) {
        out.push(b']');
    }
    out.push(b'}');
    Some(())
}

/// Writes a value of a field behind one of `last`.
fn write_field(
    plan: &Plan,
    field: &FieldPlan,
    (wire_type, value): (WireType, &mut &[u8]),
    last: Option<&FieldPlan>,
    out: &mut Vec<u8>,
) -> Option<()> {
    let list = last.filter(|last| last.is_list).map(|last| last.number);
    if list.is_some() && list != Some(field.number) {
        out.push(b']');
    }
    if last.is_some() {
        out.push(b',');
    }
    if list != Some(field.number) {
        out.extend_from_slice(&field.key);
        if field.is_list {
            out.push(b'[');
        }
    }
    write_value(plan, field.kind, wire_type, value, out)
}

fn skip(wire_type: WireType, bytes: &mut &[u8]) -> Option<()> {
    match wire_type {
        WireType::Varint => drop(decode_varint(bytes).ok()?),
        WireType::SixtyFourBit => drop(bytes.try_get_u64().ok()?),
        WireType::ThirtyTwoBit => drop(bytes.try_get_u32().ok()?),
        WireType::LengthDelimited => drop(delimited(bytes)?),
        WireType::StartGroup | WireType::EndGroup => return None,
    }
    Some(())
}

fn next_field<'p>(of: &'p MessagePlan, bytes: &mut &[u8]) -> Option<(&'p FieldPlan, WireType)> {
    let key = decode_varint(bytes).ok()?;
    let wire_type = WireType::try_from(key & 7).ok()?;
    Some((of.numbered(key >> 3)?, wire_type))
}

fn write_value(
    plan: &Plan,
    kind: Kind,
    wire_type: WireType,
    bytes: &mut &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    match (kind, wire_type) {
        (Kind::Double, WireType::SixtyFourBit) => {
            let value = bytes.try_get_f64_le().ok()?;
            value.is_finite().then_some(())?;
            to_writer(out, &value).ok()
        }
        (Kind::Int32 | Kind::Int64, WireType::Varint) => {
            to_writer(out, &decode_varint(bytes).ok()?.cast_signed()).ok()
        }
        (Kind::Uint32 | Kind::Uint64, WireType::Varint) => {
            to_writer(out, &decode_varint(bytes).ok()?).ok()
        }
        (Kind::Bool, WireType::Varint) => to_writer(out, &(decode_varint(bytes).ok()? != 0)).ok(),
        (Kind::Enum(of), WireType::Varint) => {
            let number = i32::try_from(decode_varint(bytes).ok()?.cast_signed()).ok()?;
            write_text(out, plan.value_name(of, number)?);
            Some(())
        }
        (Kind::Text, WireType::LengthDelimited) => {
            write_text(out, std::str::from_utf8(delimited(bytes)?).ok()?);
            Some(())
        }
        (Kind::Bytes, WireType::LengthDelimited) => {
            let text = BASE64_STANDARD.encode(delimited(bytes)?);
            write_text(out, &text);
            Some(())
        }
        (Kind::Message(of), WireType::LengthDelimited) => {
            write(plan, plan.message(of)?, delimited(bytes)?, out)
        }
        _ => None,
    }
}

fn delimited<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (these, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(these)
}

/// Whether a message has all that it must have, and so have those in it, each for itself: one that comes in two halves, as nobody
/// writes it, has not.
pub(super) fn is_whole(plan: &Plan, of: &MessagePlan, mut bytes: &[u8]) -> bool {
    let mut seen = 0;
    while !bytes.is_empty() {
        let Some((key, inner)) = next_value(&mut bytes) else {
            return false;
        };
        let Some(field) = of.numbered(key) else {
            continue;
        };
        seen |= field.bit;
        let of = field.inner.and_then(|of| plan.message(of));
        if let (Some(of), Some(inner)) = (of, inner)
            && !is_whole(plan, of, inner)
        {
            return false;
        }
    }
    seen & of.required == of.required
}

/// Takes the next value off: the number of its field and, where it has a length, its bytes. None of what is no message.
pub(super) fn next_value<'b>(bytes: &mut &'b [u8]) -> Option<(u64, Option<&'b [u8]>)> {
    let key = decode_varint(bytes).ok()?;
    let wire_type = WireType::try_from(key & 7).ok()?;
    if wire_type == WireType::LengthDelimited {
        return Some((key >> 3, Some(delimited(bytes)?)));
    }
    skip(wire_type, bytes)?;
    Some((key >> 3, None))
}

/// Reads a message of JSON into bytes; any error means only that it is not usual.
pub(super) struct MessageSeed<'a> {
    pub(super) plan: &'a Plan,
    pub(super) of: &'a MessagePlan,
    pub(super) out: &'a mut Vec<u8>,
}

fn unusual<E: Error>() -> E {
    E::custom("unusual")
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0;
        while let Some(field) = map.next_key_seed(NameSeed(self.of))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & field.bit != 0 {
                return Err(unusual());
            }
            seen |= field.bit;
            map.next_value_seed(ValueSeed {
                plan: self.plan,
                field,
                out: self.out,
                is_item: false,
            })?;
        }
        match seen & self.of.required == self.of.required {
            true => Ok(()),
            false => Err(unusual()),
        }
    }
}

struct NameSeed<'a>(&'a MessagePlan);

impl<'de, 'a> DeserializeSeed<'de> for NameSeed<'a> {
    type Value = Option<&'a FieldPlan>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for NameSeed<'a> {
    type Value = Option<&'a FieldPlan>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.named(name))
    }
}

/// The value of a field, or one of its values.
struct ValueSeed<'a> {
    plan: &'a Plan,
    field: &'a FieldPlan,
    out: &'a mut Vec<u8>,
    is_item: bool,
}

impl ValueSeed<'_> {
    fn key(&mut self, wire_type: WireType) {
        // A type of the wire is a number below 8.
        encode_varint((self.field.number << 3) | wire_type as u64, self.out);
    }

    fn varint<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.key(WireType::Varint);
        encode_varint(value, self.out);
        Ok(())
    }

    fn double<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.key(WireType::SixtyFourBit);
        self.out.put_f64_le(value);
        Ok(())
    }

    fn delimited<E: Error>(mut self, value: &[u8]) -> Result<(), E> {
        self.key(WireType::LengthDelimited);
        encode_varint(u64::try_from(value.len()).map_err(|_| unusual())?, self.out);
        self.out.extend_from_slice(value);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what is usual")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.single() {
            Some(Kind::Bool) => self.varint(value.into()),
            _ => Err(unusual()),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let is_in = match self.single() {
            // Whole numbers of more than 32 bits may not be doubles.
            Some(Kind::Double) => {
                let value = u32::try_from(value).map_err(|_| unusual())?;
                return self.double(value.into());
            }
            Some(Kind::Int32) => i32::try_from(value).is_ok(),
            Some(Kind::Int64) => i64::try_from(value).is_ok(),
            Some(Kind::Uint32) => u32::try_from(value).is_ok(),
            Some(Kind::Uint64) => true,
            _ => false,
        };
        match is_in {
            true => self.varint(value),
            false => Err(unusual()),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.single() {
            Some(Kind::Double) => self.double(value),
            _ => Err(unusual()),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        match self.single() {
            Some(Kind::Text) => self.delimited(value.as_bytes()),
            Some(Kind::Bytes) => {
                let bytes = BASE64_STANDARD.decode(value).map_err(|_| unusual())?;
                self.delimited(&bytes)
            }
            Some(Kind::Enum(of)) => {
                let number = self.plan.value_number(of, value).ok_or_else(unusual)?;
                self.varint(i64::from(number).cast_unsigned())
            }
            _ => Err(unusual()),
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let Some(Kind::Message(of)) = self.single() else {
            return Err(unusual());
        };
        let of = self.plan.message(of).ok_or_else(unusual)?;
        self.key(WireType::LengthDelimited);
        let begin = self.out.len();
        let inner = MessageSeed {
            plan: self.plan,
            of,
            out: &mut *self.out,
        };
        inner.visit_map(map)?;
        put_length_before(self.out, begin).ok_or_else(unusual)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if !self.field.is_list || self.is_item {
            return Err(unusual());
        }
        loop {
            let item = ValueSeed {
                plan: self.plan,
                field: self.field,
                out: &mut *self.out,
                is_item: true,
            };
            if items.next_element_seed(item)?.is_none() {
                return Ok(());
            }
        }
    }
}

impl ValueSeed<'_> {
    /// What this value is, when it is one.
    fn single(&self) -> Option<Kind> {
        (self.field.is_list == self.is_item).then_some(self.field.kind)
    }
}

/// Puts the length of what was written from here on before it.
fn put_length_before(out: &mut Vec<u8>, begin: usize) -> Option<()> {
    let end = out.len();
    encode_varint(u64::try_from(end - begin).ok()?, out);
    let written = out.len() - end;
    out.get_mut(begin..)?.rotate_right(written);
    Some(())
}
