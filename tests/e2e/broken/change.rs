//! Everything that can be wrong with one field of a message, by its descriptor: missing, empty, unknown, huge, of somebody else,
//! given twice, too often.

use prost_reflect::{DynamicMessage, MapKey, ReflectMessage as _, Value};

/// Longer than any text may be.
const LONG: usize = 70_000;
/// Longer than any bytes may be that are told apart from a whole message.
const LONG_BYTES: usize = 1_500_000;
/// More than any list of texts may hold.
const MANY: usize = 10_001;
/// More than nearly any other list or map may.
const SOME: usize = 1_001;

/// A message in which one thing is wrong.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    /// The path of the field.
    pub(super) place: String,
    pub(super) how: &'static str,
    pub(super) message: DynamicMessage,
}

/// Everything that can be wrong with this message.
pub(super) fn changes(good: &DynamicMessage) -> Vec<Broken> {
    let mut all = Vec::new();
    for (field, value) in good.fields() {
        let name = field.name().to_owned();
        let mut add = |place: String, how, value: Option<Value>| {
            let mut message = good.clone();
            match value {
                Some(value) => message.set_field(&field, value),
                None => message.clear_field(&field),
            }
            all.push(Broken {
                place,
                how,
                message,
            });
        };
        add(name.clone(), "missing", None);
        for (inner, how, value) in of_value(value) {
            add(format!("{name}{inner}"), how, Some(value));
        }
    }
    all
}

/// The path within a value, what is wrong with it, and the value with that.
type Change = (String, &'static str, Value);

fn of_value(value: &Value) -> Vec<Change> {
    match value {
        Value::List(items) => of_list(items),
        Value::Map(entries) => {
            let mut all = Vec::new();
            for (key, value) in entries {
                let of = format!(".{}", key.as_str().expect("keys are texts"));
                for (inner, how, value) in of_single(value) {
                    let mut entries = entries.clone();
                    entries.insert(key.clone(), value);
                    all.push((format!("{of}{inner}"), how, Value::Map(entries)));
                }
                for (how, other) in [("no key", String::new()), ("huge key", "x".repeat(LONG))] {
                    let mut entries = entries.clone();
                    entries.insert(MapKey::String(other), value.clone());
                    all.push((String::new(), how, Value::Map(entries)));
                }
            }
            let many = (0..SOME).map(|n| MapKey::String(format!("k{n}")));
            let value = entries.values().next().expect("a good map has an entry");
            let many = many.map(|key| (key, value.clone())).collect();
            all.push((String::new(), "too many", Value::Map(many)));
            all
        }
        value => of_single(value),
    }
}

fn of_list(items: &[Value]) -> Vec<Change> {
    let mut all = Vec::new();
    for (index, item) in items.iter().enumerate() {
        for (inner, how, item) in of_single(item) {
            let mut items = items.to_vec();
            items[index] = item;
            all.push((format!("[{index}]{inner}"), how, Value::List(items)));
        }
    }
    let first = items.first().expect("a good list has an item");
    let twice = items.iter().chain([first]).cloned();
    let twice = Value::List(twice.collect());
    all.push((format!("[{}]", items.len()), "given twice", twice));
    let count = match first {
        Value::Message(_) => SOME,
        _ => MANY,
    };
    let many = Value::List(vec![first.clone(); count]);
    all.push((String::new(), "too many", many));
    all
}

fn of_single(value: &Value) -> Vec<Change> {
    let here = |how, value| (String::new(), how, value);
    let text = |how, text: &str| here(how, Value::String(text.to_owned()));
    match value {
        Value::String(_) => vec![
            text("empty", ""),
            text("huge", &"x".repeat(LONG)),
            text("of somebody else", "nobody"),
            text("a path", "../etc"),
            text("white", "a \n b"),
            text("with a NUL", "a\0b"),
        ],
        Value::Bytes(_) => vec![
            here("empty", Value::Bytes(Default::default())),
            here("huge", Value::Bytes(vec![0; LONG_BYTES].into())),
        ],
        Value::Bool(is) => vec![here("the other way", Value::Bool(!is))],
        Value::U32(_) => [("zero", 0), ("one", 1), ("huge", u32::MAX)]
            .map(|(how, number)| here(how, Value::U32(number)))
            .to_vec(),
        Value::U64(_) => [("zero", 0), ("one", 1), ("huge", u64::MAX)]
            .map(|(how, number)| here(how, Value::U64(number)))
            .to_vec(),
        Value::I32(_) => [("huge", i32::MAX), ("negative", i32::MIN)]
            .map(|(how, number)| here(how, Value::I32(number)))
            .to_vec(),
        Value::EnumNumber(_) => [("zero", 0), ("unknown", 999), ("negative", -1)]
            .map(|(how, number)| here(how, Value::EnumNumber(number)))
            .to_vec(),
        Value::Message(message) => {
            let empty = DynamicMessage::new(message.descriptor());
            let inner = changes(message).into_iter().map(|broken| {
                let place = format!(".{}", broken.place);
                (place, broken.how, Value::Message(broken.message))
            });
            let mut all = vec![here("empty", Value::Message(empty))];
            all.extend(inner);
            all
        }
        other => panic!("no message has {other:?}"),
    }
}
