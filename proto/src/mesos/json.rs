//! Mesos's JSON: names as in the `.proto` files, enums by name, 64-bit integers as numbers, bytes in base64, floating
//! point numbers with a fraction, nothing that is not set, in the order of declaration, on one line.
//!
//! What is written is ASCII, since there are clients that count characters where the length of a record counts bytes.

use std::io;

use prost::{Message, Name};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde::Serializer;
use serde::de::DeserializeSeed;
use serde_json::ser::Formatter;

use super::{PLAN, descriptor_of, lenient, required, room, syntax, wire};
use crate::limits::MESOS_SETTLED_LEN_MAX;

const READ: DeserializeOptions = DeserializeOptions::new().deny_unknown_fields(false);
const WRITE: SerializeOptions = SerializeOptions::new()
    .use_proto_field_name(true)
    .stringify_64_bit_integers(false);

/// Reads a JSON body; unknown fields and unknown values of enums are ignored. The errors are Mesos's texts.
pub fn read_json<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    if let Some(why) = room::too_many_values(body) {
        return Err(unconverted::<M>(&why));
    }
    match read_usual(body) {
        Some(message) => Ok(message),
        None => read_any(body),
    }
}

/// What Mesos says of JSON that is no such message.
fn unconverted<M: Name>(why: &str) -> String {
    format!("Failed to convert JSON into {} protobuf: {why}", M::NAME)
}

/// By the straight way, as far as it leads.
pub(super) fn read_usual<M: Message + Name + Default>(body: &[u8]) -> Option<M> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut text = serde_json::Deserializer::from_slice(body);
    let seed = wire::MessageSeed {
        plan: &PLAN,
        of: PLAN.find(&M::full_name())?,
        out: &mut bytes,
    };
    seed.deserialize(&mut text).ok()?;
    text.end().ok()?;
    M::decode(bytes.as_slice()).ok()
}

/// Whatever it is, and what is wrong with it.
pub(super) fn read_any<M: Message + Name + Default>(body: &[u8]) -> Result<M, String> {
    let wrong = unconverted::<M>;
    let descriptor = descriptor_of::<M>().ok_or_else(|| wrong("there is no such message"))?;
    let mut text = serde_json::Deserializer::from_slice(body);
    let read = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut text, &READ);
    let read = read.and_then(|message| text.end().map(|()| message));
    let message = match read {
        Ok(message) if required::missing(&message).is_empty() => message,
        first => match syntax::fault(body) {
            Some(why) => return Err(format!("Failed to parse body into JSON: {why}")),
            None if body.len() > MESOS_SETTLED_LEN_MAX => {
                first.map_err(|error| wrong(&error.to_string()))?
            }
            None => settled(descriptor, body).map_err(|why| wrong(&why))?,
        },
    };
    let missing = required::missing(&message);
    if !missing.is_empty() {
        let all = missing.join(", ");
        return Err(wrong(&format!("Missing required fields: {all}")));
    }
    message
        .transcode_to()
        .map_err(|error| wrong(&error.to_string()))
}

/// A body that is JSON, though not in the form that Mesos writes.
fn settled(of: MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, String> {
    let tree = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let tree = lenient::settle(&of, tree)?;
    DynamicMessage::deserialize_with_options(of, tree, &READ).map_err(|error| error.to_string())
}

/// Writes a message.
pub fn write_json<M: Message + Name>(message: &M) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let mut out = Vec::with_capacity(bytes.len() * 3);
    let of = PLAN.find(&M::full_name());
    match of.and_then(|of| wire::write(&PLAN, of, &bytes, &mut out)) {
        Some(()) => out,
        None => write_any(message),
    }
}

/// Whatever it is.
pub(super) fn write_any<M: Message + Name>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    let Some(descriptor) = descriptor_of::<M>() else {
        return out;
    };
    let mut dynamic = DynamicMessage::new(descriptor);
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Ascii);
    // Neither can fail: it is the same message, and memory takes all.
    let _ = dynamic
        .transcode_from(message)
        .map(|()| dynamic.serialize_with_options(&mut writer, &WRITE));
    out
}

/// Writes text.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let mut writer = serde_json::Serializer::with_formatter(out, Ascii);
    // Memory takes all, and text has always a JSON form.
    let _ = writer.serialize_str(text);
}

/// Compact, with everything beyond ASCII escaped.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c: char| !c.is_ascii()) {
            let (plain, foreign) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = foreign.chars();
            if let Some(first) = chars.next() {
                for unit in first.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
