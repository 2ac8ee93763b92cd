//! Which required fields of a message are not there.

use prost_reflect::{Cardinality, DynamicMessage, ReflectMessage, Value};

/// So many are named; a body of eight megabytes can lack a million.
const NAMED_MAX: usize = 32;

/// Their paths, as Mesos's clients know them: `subscribe.framework_info.user`, `accept.operations[0].type`.
pub(super) fn missing(message: &DynamicMessage) -> Vec<String> {
    let mut found = Vec::new();
    look(message, "", &mut found);
    found
}

fn look(message: &DynamicMessage, path: &str, found: &mut Vec<String>) {
    if found.len() >= NAMED_MAX {
        return;
    }
    for field in message.descriptor().fields() {
        if field.cardinality() == Cardinality::Required && !message.has_field(&field) {
            found.push(format!("{path}{}", field.name()));
        }
    }
    for (field, value) in message.fields() {
        match value {
            Value::Message(inner) => look(inner, &format!("{path}{}.", field.name()), found),
            Value::List(list) => {
                for (index, item) in list.iter().enumerate() {
                    if let Value::Message(inner) = item {
                        look(inner, &format!("{path}{}[{index}].", field.name()), found);
                    }
                }
            }
            Value::Map(map) => {
                for inner in map.values() {
                    if let Value::Message(inner) = inner {
                        look(inner, &format!("{path}{}.", field.name()), found);
                    }
                }
            }
            _ => {}
        }
    }
}
