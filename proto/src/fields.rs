//! The checks that every decoder is made of: presence, length, ids, durations, ports, lists with their place in the path.
//!
//! A problem names the field relative to the message at hand; whoever decodes the outer message puts its own name before
//! it with [`Problem::within`]. In proto3 an empty text and an absent one are the same, so an empty id is a missing one.
//! Texts of a problem never quote a value of an environment: it may be secret.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use proffer_model::limits::TEXT_LEN_MAX;
use proffer_model::time::format_duration;
use proffer_model::{Problem, code};

/// A field that must be given is not.
pub(crate) fn missing(field: impl Into<String>) -> Problem {
    Problem::new(code::FIELD_MISSING, "the field is missing")
        .field(field)
        .hint("give it a value")
}

/// A field has a value that it may not have.
pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem::new(code::FIELD_INVALID, message).field(field)
}

/// A field has more than its limit; `what` names the unit.
fn too_long(field: &str, len: usize, max: usize, what: &str) -> Problem {
    Problem::new(
        code::FIELD_TOO_LONG,
        format!("{len} {what} are given; the limit is {max}"),
    )
    .field(field)
    .hint("give less, or split it")
}

/// The value, or that it is missing.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T, Problem> {
    value.ok_or_else(|| missing(field))
}

/// An enum value that this version does not know, or that is not specified.
pub(crate) fn unknown_value(field: &str, number: i32) -> Problem {
    match number {
        0 => missing(field),
        _ => invalid(field, format!("{number} is not a value that is known here"))
            .hint("use a value of the published .proto file of this version"),
    }
}

/// An id that must be given.
pub(crate) fn decode_id<I: FromStr<Err = Problem>>(text: &str, field: &str) -> Result<I, Problem> {
    if text.is_empty() {
        return Err(missing(field));
    }
    text.parse()
        .map_err(|problem: Problem| problem.within(field))
}

/// An id that may be empty.
pub(crate) fn decode_optional_id<I: FromStr<Err = Problem>>(
    text: &str,
    field: &str,
) -> Result<Option<I>, Problem> {
    match text {
        "" => Ok(None),
        _ => decode_id(text, field).map(Some),
    }
}

/// A list of ids, none given twice.
pub(crate) fn decode_ids<I: FromStr<Err = Problem> + Ord + Clone + Display>(
    items: Vec<String>,
    field: &str,
    max: usize,
) -> Result<Vec<I>, Problem> {
    let ids = decode_list(items, field, max, |text| decode_id::<I>(&text, ""))?;
    check_distinct(&ids, |i| format!("{field}[{i}]"))?;
    Ok(ids)
}

/// Refuses the second of two equal ids, at the path that `path` gives for its index.
pub(crate) fn check_distinct<'a, I: Ord + Display + 'a>(
    ids: impl IntoIterator<Item = &'a I>,
    path: impl Fn(usize) -> String,
) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    for (i, id) in ids.into_iter().enumerate() {
        if !seen.insert(id) {
            return Err(
                invalid(path(i), format!("{id} is given twice")).hint("give each of them once")
            );
        }
    }
    Ok(())
}

/// Text that is shown, kept or compared; may be empty.
pub(crate) fn decode_text(text: String, field: &str) -> Result<String, Problem> {
    match text.len() {
        len if len > TEXT_LEN_MAX => Err(too_long(field, len, TEXT_LEN_MAX, "bytes")),
        _ => Ok(text),
    }
}

/// Text that is handed to the operating system, which ends it at a NUL.
pub(crate) fn decode_system_text(text: String, field: &str) -> Result<String, Problem> {
    let text = decode_text(text, field)?;
    if text.contains('\0') {
        return Err(invalid(field, "the text contains a NUL byte").hint("leave the NUL byte out"));
    }
    Ok(text)
}

/// A host name or address: not empty, no white space or control character.
pub(crate) fn decode_host(text: String, field: &str) -> Result<String, Problem> {
    if text.is_empty() {
        return Err(missing(field));
    }
    let text = decode_text(text, field)?;
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let message = format!("{text:?} contains white space or a control character");
        return Err(invalid(field, message).hint("leave them out"));
    }
    Ok(text)
}

/// A port number.
pub(crate) fn decode_port_number(number: u32, field: &str) -> Result<u16, Problem> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => {
            Err(invalid(field, format!("{number} is not a port"))
                .hint("give a number from 1 to 65535"))
        }
    }
}

/// A duration of at most `max`.
pub(crate) fn decode_duration(ms: u64, field: &str, max: Duration) -> Result<Duration, Problem> {
    match Duration::from_millis(ms) {
        duration if duration <= max => Ok(duration),
        duration => {
            let (given, max) = (format_duration(duration), format_duration(max));
            let message = format!("{given} is longer than {max}");
            Err(invalid(field, message).hint(format!("give at most {max}")))
        }
    }
}

/// Milliseconds; rounded up, so that what is not zero does not become zero.
pub(crate) fn encode_duration(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A list of at most `max` items; a problem of an item is within `field[index]`.
pub(crate) fn decode_list<T, U>(
    items: Vec<T>,
    field: &str,
    max: usize,
    mut decode: impl FnMut(T) -> Result<U, Problem>,
) -> Result<Vec<U>, Problem> {
    check_count(items.len(), field, max)?;
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            decode(item).map_err(|problem| problem.within(format_args!("{field}[{i}]")))
        })
        .collect()
}

/// Refuses a list or map that is too long.
pub(crate) fn check_count(count: usize, field: &str, max: usize) -> Result<(), Problem> {
    match count > max {
        true => Err(too_long(field, count, max, "items")),
        false => Ok(()),
    }
}

/// The text, cut to at most `max` bytes: for texts that we make ourselves, so that a long one never breaks a stream.
pub(crate) fn clipped(text: &str, max: usize) -> String {
    text.get(..text.floor_char_boundary(max))
        .unwrap_or_default()
        .to_owned()
}
