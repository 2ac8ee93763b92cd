//! Messages made of the fuzzer's choices by the `.proto` files themselves: each field missing, zero, plausible, huge, given
//! twice or unknown. Bytes alone hardly ever get past the first length.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::input::Input;

/// Nesting of messages; deeper ones are left out.
const DEPTH_MAX: usize = 24;
/// Bytes of a message that is repeated thousands of times.
const CROWD_ITEM_LEN_MAX: usize = 48;
/// A number of a field that no message has.
const UNKNOWN: u32 = 15_999;

const TEXTS: [&str; 32] = [
    "a",
    "f1",
    "t1",
    "t2",
    "o1",
    "web.1",
    "cpus",
    "mem",
    "disk",
    "ports",
    "gpus",
    "eng",
    "eng/web",
    "*",
    "h:80",
    "host",
    "127.0.0.1",
    "[::1]:80",
    "/mnt/a",
    "k/1",
    "rack",
    "{}",
    "..",
    "eng/..",
    "-x",
    "a\0b",
    "a b",
    "A=B",
    "\u{202e}",
    "%2e",
    "/",
    "true",
];

const NUMBERS: [u64; 20] = [
    0,
    1,
    2,
    3,
    8,
    80,
    500,
    1_000,
    65_535,
    65_536,
    1_000_000,
    1_000_001,
    1_000_000_000_000,
    1_000_000_000_001,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// All messages by their full name, such as `.proffer.v1.SessionCall`.
static MESSAGES: LazyLock<BTreeMap<String, DescriptorProto>> = LazyLock::new(|| {
    let mut all = BTreeMap::new();
    for bytes in [
        proffer_proto::DESCRIPTORS,
        proffer_proto::mesos::DESCRIPTORS,
    ] {
        let set = FileDescriptorSet::decode(bytes).expect("our own descriptors");
        for file in set.file {
            let package = format!(".{}", file.package());
            add(&mut all, &package, file.message_type);
        }
    }
    all
});

fn add(all: &mut BTreeMap<String, DescriptorProto>, outer: &str, messages: Vec<DescriptorProto>) {
    for message in messages {
        let name = format!("{outer}.{}", message.name());
        add(all, &name, message.nested_type.clone());
        all.insert(name, message);
    }
}

fn descriptor(name: &str) -> &'static DescriptorProto {
    MESSAGES
        .get(name)
        .unwrap_or_else(|| panic!("there is no message {name}"))
}

/// The bytes of a message of this name.
pub(crate) fn build(name: &str, input: &mut Input<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    build_into(&mut out, descriptor(name), input, 0);
    out
}

fn build_into(
    out: &mut Vec<u8>,
    message: &'static DescriptorProto,
    input: &mut Input<'_>,
    depth: usize,
) {
    // Of what can only be one, mostly one.
    let chosen: Vec<usize> = message
        .oneof_decl
        .iter()
        .enumerate()
        .map(|(index, _)| {
            let members = message
                .field
                .iter()
                .filter(|field| member_of(field) == Some(index));
            input.below(members.count().max(1))
        })
        .collect();
    let mut seen = vec![0usize; chosen.len()];
    for field in &message.field {
        if let Some(of) = member_of(field) {
            let at = seen[of];
            seen[of] += 1;
            let is_alone = field.proto3_optional();
            if !is_alone && at != chosen[of] && !input.is_one_in(64) {
                continue;
            }
        }
        for _ in 0..count(field, input) {
            put(out, field, input, depth);
        }
    }
    if input.is_one_in(32) {
        key(out, UNKNOWN, 2);
        let bytes = input.some(8);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn member_of(field: &FieldDescriptorProto) -> Option<usize> {
    let index = field.oneof_index?;
    usize::try_from(index).ok()
}

/// How often a field is given.
fn count(field: &FieldDescriptorProto, input: &mut Input<'_>) -> usize {
    let is_missing = input.is_empty() || input.below(6) == 5;
    match field.label() {
        _ if is_missing => 0,
        Label::Repeated => input.below(4),
        _ if input.is_one_in(64) => 2,
        _ => 1,
    }
}

fn put(out: &mut Vec<u8>, field: &FieldDescriptorProto, input: &mut Input<'_>, depth: usize) {
    let number = u32::try_from(field.number()).unwrap_or(UNKNOWN);
    if input.is_one_in(128) {
        // Of another type than it has.
        key(out, number, 0);
        varint(out, input.number());
        return;
    }
    match field.r#type() {
        Type::Message => {
            if depth == DEPTH_MAX {
                return;
            }
            let mut inner = Vec::new();
            build_into(&mut inner, descriptor(field.type_name()), input, depth + 1);
            put_bytes(out, field, number, &inner, input);
        }
        Type::String => {
            let text = text(input);
            put_bytes(out, field, number, &text, input);
        }
        Type::Bytes => {
            let bytes = input.some(24);
            put_bytes(out, field, number, bytes, input);
        }
        Type::Enum => {
            key(out, number, 0);
            varint(
                out,
                [0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 999, u64::MAX][input.below(12)],
            );
        }
        Type::Double | Type::Fixed64 | Type::Sfixed64 => {
            key(out, number, 1);
            out.extend_from_slice(&input.number().to_le_bytes());
        }
        Type::Float | Type::Fixed32 | Type::Sfixed32 => {
            key(out, number, 5);
            out.extend_from_slice(&input.number().to_le_bytes()[..4]);
        }
        _ => {
            key(out, number, 0);
            let any = input.is_one_in(8);
            varint(
                out,
                if any {
                    input.number()
                } else {
                    input.choice(&NUMBERS)
                },
            );
        }
    }
}

fn put_bytes(
    out: &mut Vec<u8>,
    field: &FieldDescriptorProto,
    number: u32,
    bytes: &[u8],
    input: &mut Input<'_>,
) {
    let is_crowd = field.label() == Label::Repeated
        && bytes.len() <= CROWD_ITEM_LEN_MAX
        && out.len() < 4_096
        && input.is_one_in(250);
    let times = if is_crowd {
        input.choice(&[17, 101, 1_001, 10_001])
    } else {
        1
    };
    for _ in 0..times {
        key(out, number, 2);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn text(input: &mut Input<'_>) -> Vec<u8> {
    match input.below(16) {
        0 => Vec::new(),
        1 => input.some(12).to_vec(),
        2 => String::from_utf8_lossy(input.some(12))
            .into_owned()
            .into_bytes(),
        3 => {
            let len = input.choice(&[199, 200, 201, 255, 256, 4_095, 4_096, 65_536, 65_537]);
            vec![input.choice(b"a/.%"); len]
        }
        _ => input.choice(&TEXTS).as_bytes().to_vec(),
    }
}

fn key(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    varint(out, u64::from(number) << 3 | wire_type);
}

fn varint(out: &mut Vec<u8>, number: u64) {
    prost::encoding::encode_varint(number, out);
}

/// Whether a path such as `accept.operations[3].launch.task_id` names a field of this message, or what a map holds.
pub(crate) fn has_field(message: &str, path: &str) -> bool {
    let mut at = Some(descriptor(message));
    for part in path.split('.') {
        let name = part.split('[').next().unwrap_or_default();
        // Behind a map or a value that has a form of its own.
        let Some(message) = at else { return true };
        // What is wrong with a resource is told by its name, which may be that of a field too.
        if matches!(
            message.name(),
            "Resources" | "SpecialResource" | "Quantities" | "Attribute"
        ) {
            return true;
        }
        let Some(field) = message.field.iter().find(|field| field.name() == name) else {
            // None of several that there must be one of: then their name together is told.
            return message.oneof_decl.iter().any(|one| one.name() == name);
        };
        at = match field.r#type() {
            Type::Message => {
                let inner = descriptor(field.type_name());
                let is_map = inner.options.as_ref().is_some_and(|all| all.map_entry());
                (!is_map).then_some(inner)
            }
            _ => None,
        };
    }
    true
}
