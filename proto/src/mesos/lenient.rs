//! JSON as Mesos takes it, where that is more than the form that it writes: numbers and truth as text, one value for a list
//! of one, whole numbers with a fraction, a field twice, bytes with white space; and what it says of the rest.
//!
//! Slow, and only for what the other ways refuse.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::prelude::BASE64_STANDARD;
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Number, Value};

use super::syntax;
use crate::fields::clipped;

/// So many characters of a value are repeated.
const SHOWN_MAX: usize = 255;

/// Reads what Mesos's own encoders do not write: no padding, and bits that are left over.
const LOOSE: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// A message in the usual form, or why Mesos refuses it.
pub(super) fn settle(of: &MessageDescriptor, given: Value) -> Result<Value, String> {
    match given {
        Value::Object(fields) => settle_fields(of, fields).map(Value::Object),
        _ => Err("Expecting a JSON object".to_owned()),
    }
}

fn settle_fields(
    of: &MessageDescriptor,
    given: Map<String, Value>,
) -> Result<Map<String, Value>, String> {
    let mut settled = Map::new();
    for (name, value) in given {
        let Some(field) = of.get_field_by_name(&name) else {
            continue;
        };
        let value = if field.is_map() {
            settle_map(&field, value)?
        } else if field.is_list() {
            let mut items = Vec::new();
            settle_items(&field, value, &mut items)?;
            Some(Value::Array(items))
        } else {
            settle_one(&field, value)?
        };
        settled.extend(value.map(|value| (name, value)));
    }
    Ok(settled)
}

fn settle_map(field: &FieldDescriptor, given: Value) -> Result<Option<Value>, String> {
    let Value::Object(given) = given else {
        return settle_one(field, given);
    };
    let Kind::Message(entry) = field.kind() else {
        return Ok(None);
    };
    let mut settled = Map::new();
    for (name, value) in given {
        let value = settle_one(&entry.map_entry_value_field(), value)?;
        settled.extend(value.map(|value| (name, value)));
    }
    Ok(Some(Value::Object(settled)))
}

/// Lists in a list are as if they were not there.
fn settle_items(
    field: &FieldDescriptor,
    given: Value,
    settled: &mut Vec<Value>,
) -> Result<(), String> {
    match given {
        Value::Array(items) => {
            for item in items {
                settle_items(field, item, settled)?;
            }
        }
        one => settled.extend(settle_one(field, one)?),
    }
    Ok(())
}

/// None for what is as if it was not given.
fn settle_one(field: &FieldDescriptor, given: Value) -> Result<Option<Value>, String> {
    let unexpected = |what: &str| {
        Err(format!(
            "Not expecting a JSON {what} for field '{}'",
            field.name()
        ))
    };
    let kind = field.kind();
    match given {
        Value::Null => Ok(None),
        Value::Array(_) => unexpected("array"),
        Value::Object(fields) => match kind {
            Kind::Message(of) => settle_fields(&of, fields).map(|all| Some(Value::Object(all))),
            _ => unexpected("object"),
        },
        Value::Bool(_) if kind == Kind::Bool => Ok(Some(given)),
        Value::Bool(_) => unexpected("boolean"),
        Value::Number(number) => match settle_number(&kind, number) {
            None => unexpected("number"),
            number => Ok(number),
        },
        Value::String(text) => match kind {
            Kind::Message(_) => unexpected("string"),
            _ => settle_text(field, text),
        },
    }
}

/// None for a kind that no number is.
fn settle_number(kind: &Kind, given: Number) -> Option<Value> {
    match kind {
        Kind::Double | Kind::Float => Some(Value::Number(given)),
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Enum(_) | Kind::Message(_) => None,
        _ if given.is_f64() => {
            let whole = given.as_f64().map(f64::trunc).and_then(Number::from_f64);
            Some(Value::Number(whole.unwrap_or(given)))
        }
        _ => Some(Value::Number(given)),
    }
}

fn settle_text(field: &FieldDescriptor, text: String) -> Result<Option<Value>, String> {
    let kind = field.kind();
    let no = |what: &str, why: &str| {
        let (text, name) = (clipped(&text, SHOWN_MAX), field.name());
        format!("Failed to parse '{text}' as a JSON {what} for field '{name}': {why}")
    };
    let parsed = || match syntax::fault(text.as_bytes()) {
        Some(why) => Err(why),
        None => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    const OTHER: &str = "Unexpected JSON type parsed";
    match &kind {
        Kind::String => Ok(Some(Value::String(text))),
        Kind::Bytes => settle_bytes(field, &text).map(Some),
        Kind::Enum(of) if of.get_value_by_name(&text).is_some() => Ok(Some(Value::String(text))),
        Kind::Enum(_) if field.cardinality() == Cardinality::Required => {
            let text = clipped(&text, SHOWN_MAX);
            Err(format!("Failed to find enum for '{text}'"))
        }
        Kind::Enum(_) => Ok(None),
        Kind::Bool => match parsed().map_err(|why| no("boolean", &why))? {
            Value::Bool(value) => Ok(Some(Value::Bool(value))),
            _ => Err(no("boolean", OTHER)),
        },
        Kind::Double | Kind::Float if text.trim_start_matches('-') == "Infinity" => {
            Ok(Some(Value::String(text)))
        }
        _ => match parsed().map_err(|why| no("number", &why))? {
            Value::Number(number) => Ok(settle_number(&kind, number)),
            _ => Err(no("number", OTHER)),
        },
    }
}

fn settle_bytes(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let digits = text.chars().take_while(|digit| *digit != '=');
    let mut digits: String = digits
        .filter(|digit| !digit.is_ascii_whitespace())
        .collect();
    let is_digit = |digit: &char| digit.is_ascii_alphanumeric() || "+/".contains(*digit);
    if let Some(wrong) = digits.chars().find(|digit| !is_digit(digit)) {
        let name = field.name();
        return Err(format!(
            "Failed to base64 decode bytes field '{name}': Invalid character '{wrong}'"
        ));
    }
    if digits.len() % 4 == 1 {
        // Six bits are no byte.
        digits.pop();
    }
    let bytes = LOOSE.decode(digits).unwrap_or_default();
    Ok(Value::String(BASE64_STANDARD.encode(bytes)))
}
