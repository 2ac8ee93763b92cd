//! What a refusal must be: a code of the list, words, a remedy, and the path of a field of the very message that was sent: the
//! one that was broken.

use std::borrow::Cow;

use proffer_model::code;
use proffer_model::problem::Code;
use proffer_proto::v1;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

/// Bytes of a refusal in all; it has to fit into headers.
const REFUSAL_LEN_MAX: usize = 8 * 1024;

/// Refusals that are about no field.
const OF_NO_FIELD: [Code; 3] = [
    code::OVERLOADED,
    code::SESSION_RATE_LIMITED,
    code::BODY_MALFORMED,
];

/// What is wrong with a refusal as such.
pub(super) fn fault(problem: &v1::Problem, sent: &DynamicMessage) -> Option<String> {
    let len = problem.field.len() + problem.message.len() + problem.hint.len();
    let is_of_no_field = OF_NO_FIELD.iter().any(|code| code.name == problem.code);
    if !code::ALL.iter().any(|code| code.name == problem.code) {
        return Some("its code is not in the list".to_owned());
    }
    if problem.code == code::INTERNAL.name || problem.kind() == v1::ProblemKind::Internal {
        return Some("it is a defect".to_owned());
    }
    if problem.message.is_empty() || problem.hint.is_empty() {
        return Some("it has no message or no hint".to_owned());
    }
    if len > REFUSAL_LEN_MAX {
        return Some(format!("it has {len} bytes"));
    }
    match problem.field.as_str() {
        "" if is_of_no_field => None,
        "" => Some("it names no field".to_owned()),
        field => resolve(&sent.descriptor(), Some(sent), field).err(),
    }
}

/// Whether a path is that of a field of the message, of what a map holds, or of a resource by its name.
fn resolve(
    of: &MessageDescriptor,
    message: Option<&DynamicMessage>,
    path: &str,
) -> Result<(), String> {
    if is_amounts(of) && message.is_some_and(|message| names(message).iter().any(|it| it == path)) {
        return Ok(());
    }
    let (part, rest) = path.split_once('.').unwrap_or((path, ""));
    let (name, index) = match part.split_once('[') {
        None => (part, None),
        Some((name, index)) => {
            let index = index.strip_suffix(']').and_then(|it| it.parse().ok());
            (
                name,
                Some(index.ok_or_else(|| format!("{part} has no index"))?),
            )
        }
    };
    if rest.is_empty() && of.oneofs().any(|one| one.name() == name) {
        return Ok(());
    }
    let field = of.get_field_by_name(name);
    let field = field.ok_or_else(|| format!("{} has no field {name}", of.name()))?;
    if field.is_map() {
        return Ok(());
    }
    let inner = item(message, &field, index)?;
    match field.kind() {
        _ if rest.is_empty() => Ok(()),
        Kind::Message(of) => resolve(&of, inner, rest),
        _ => Err(format!("{name} holds no {rest}")),
    }
}

/// The message that a field holds; of a list, the one at this place.
fn item<'a>(
    message: Option<&'a DynamicMessage>,
    field: &FieldDescriptor,
    index: Option<usize>,
) -> Result<Option<&'a DynamicMessage>, String> {
    let value = message.and_then(|message| match message.get_field(field) {
        Cow::Borrowed(value) => Some(value),
        // What is not there.
        Cow::Owned(_) => None,
    });
    let list = value.and_then(Value::as_list);
    let item = match (field.is_list(), index) {
        (false, Some(_)) => return Err(format!("{} is no list", field.name())),
        (true, None) => None,
        (true, Some(index)) => {
            // Of what is missing behind the last one, too.
            let len = list.map_or(0, <[_]>::len);
            if index > len {
                return Err(format!("{} has {len}, and not {index}", field.name()));
            }
            list.and_then(|list| list.get(index))
        }
        (false, None) => value,
    };
    Ok(item.and_then(Value::as_message))
}

fn is_amounts(of: &MessageDescriptor) -> bool {
    matches!(of.name(), "Resources" | "Quantities")
}

/// The names of resources in a message of amounts.
fn names(message: &DynamicMessage) -> Vec<String> {
    let lists = message.fields().filter_map(|(_, value)| value.as_list());
    let items = lists.flatten().filter_map(|item| item.as_message());
    let name = |item: &DynamicMessage| {
        let name = item.get_field_by_name("name")?;
        name.as_str().map(str::to_owned)
    };
    items.filter_map(name).collect()
}

/// Whether a refusal that names this field may be about what is wrong at that place: one is within the other. What resources
/// are called is not looked into, and one of several fields stands for all of them.
pub(super) fn is_about(of: &MessageDescriptor, field: &str, place: &str) -> bool {
    let (field, place) = (canonical(of, field), canonical(of, place));
    let mut both = field.iter().zip(&place);
    both.all(|((field, at), (place, of))| {
        field == place && (at.is_none() || of.is_none() || at == of)
    })
}

/// A part of a path, and its place in a list.
type Part = (String, Option<String>);

fn canonical(of: &MessageDescriptor, path: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut of = Some(of.clone());
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, index) = match part.split_once('[') {
            None => (part, None),
            Some((name, index)) => (name, Some(index.to_owned())),
        };
        let Some(message) = of.take() else {
            parts.push((name.to_owned(), index));
            continue;
        };
        if is_amounts(&message) {
            return parts;
        }
        let field = message.get_field_by_name(name);
        let one_of = field.as_ref().and_then(FieldDescriptor::containing_oneof);
        let one_of = one_of.filter(|one| !one.is_synthetic());
        let name = one_of.map_or_else(|| name.to_owned(), |one| one.name().to_owned());
        parts.push((name, index));
        of = field.and_then(|field| match field.kind() {
            Kind::Message(inner) if !field.is_map() => Some(inner),
            _ => None,
        });
    }
    parts
}
