//! What stays of `proffer.v1`: names, numbers and types, as they have been given out. Every other test makes both sides from
//! the same files, and would not see a number change.
//!
//! `v1.txt` lists them. What is added must be added there too, which `PROFFER_BLESS=1` does; what is gone from the files, or
//! is another there, breaks whoever uses it, and is not blessed.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use crate::DESCRIPTORS;

const PACKAGE: &str = "proffer.v1";
const LISTED: &str = include_str!("v1.txt");

/// All that has a name or a number in the package, one line each.
fn lines_of(files: &FileDescriptorSet) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for file in files.file.iter().filter(|file| file.package() == PACKAGE) {
        for message in &file.message_type {
            add_message(&mut lines, "", message);
        }
        for of in &file.enum_type {
            add_enum(&mut lines, "", of);
        }
        for service in &file.service {
            add_service(&mut lines, service);
        }
    }
    lines
}

fn add_message(lines: &mut BTreeSet<String>, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}{}", message.name());
    lines.insert(format!("{name}: message"));
    for field in &message.field {
        let (of, number) = (type_of(field), field.number());
        lines.insert(format!("{name}.{} = {number}: {of}", field.name()));
    }
    for range in &message.reserved_range {
        // Its end is the first that is free again.
        for number in range.start()..range.end() {
            lines.insert(format!("{name} reserves {number}"));
        }
    }
    let inner = format!("{name}.");
    for message in &message.nested_type {
        add_message(lines, &inner, message);
    }
    for of in &message.enum_type {
        add_enum(lines, &inner, of);
    }
}

fn add_enum(lines: &mut BTreeSet<String>, outer: &str, of: &EnumDescriptorProto) {
    let name = format!("{outer}{}", of.name());
    lines.insert(format!("{name}: enum"));
    for value in &of.value {
        lines.insert(format!("{name}.{} = {}", value.name(), value.number()));
    }
    for range in &of.reserved_range {
        for number in range.start()..=range.end() {
            lines.insert(format!("{name} reserves {number}"));
        }
    }
}

fn add_service(lines: &mut BTreeSet<String>, service: &ServiceDescriptorProto) {
    for call in &service.method {
        let side = |is_stream: bool, name: &str| match is_stream {
            true => format!("stream of {}", short(name)),
            false => short(name).to_owned(),
        };
        lines.insert(format!(
            "{}.{}: {} -> {}",
            service.name(),
            call.name(),
            side(call.client_streaming(), call.input_type()),
            side(call.server_streaming(), call.output_type())
        ));
    }
}

/// What of the field can be seen on the wire and in programs: type, how many, and whether it is told from its default.
fn type_of(field: &FieldDescriptorProto) -> String {
    let of = match field.r#type() {
        Type::Message | Type::Enum => short(field.type_name()).to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    };
    match (field.label(), field.proto3_optional(), field.oneof_index) {
        (Label::Repeated, ..) => format!("repeated {of}"),
        (_, true, _) => format!("optional {of}"),
        (_, false, Some(_)) => format!("oneof {of}"),
        (_, false, None) => of,
    }
}

fn short(name: &str) -> &str {
    let name = name.trim_start_matches('.');
    let own = name.strip_prefix(PACKAGE);
    own.and_then(|rest| rest.strip_prefix('.')).unwrap_or(name)
}

/// What was listed and is no more, and what is new.
fn changes(files: &FileDescriptorSet) -> (Vec<String>, Vec<String>) {
    let listed: BTreeSet<String> = LISTED.lines().map(str::to_owned).collect();
    let now = lines_of(files);
    let without = |these: &BTreeSet<String>, others| these.difference(others).cloned().collect();
    (without(&listed, &now), without(&now, &listed))
}

fn files() -> FileDescriptorSet {
    FileDescriptorSet::decode(DESCRIPTORS).expect("our own descriptors")
}

#[test]
fn nothing_of_the_public_api_is_removed_renumbered_or_retyped() {
    let files = files();
    let (gone, added) = changes(&files);
    assert!(
        gone.is_empty(),
        "these stay as they are for as long as there is {PACKAGE}:\n  {}\nand these are new:\n  {}",
        gone.join("\n  "),
        added.join("\n  ")
    );
    if std::env::var_os("PROFFER_BLESS").is_some() {
        let lines: Vec<String> = lines_of(&files).into_iter().collect();
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/v1.txt");
        fs::write(list, lines.join("\n") + "\n").expect("the list is written");
        return;
    }
    assert!(
        added.is_empty(),
        "these are new, and stay once they are given out:\n  {}\nto add them to the list:\n  \
         PROFFER_BLESS=1 cargo nextest run -p proffer-proto -E 'test(nothing_of_the_public_api)'",
        added.join("\n  ")
    );
}

#[test]
fn every_change_of_the_public_api_is_noticed() {
    type Change = fn(&mut DescriptorProto);
    let table: [(Change, bool, bool); 7] = [
        (|message| message.field[0].number = Some(500), true, true),
        (|message| message.field[0].set_type(Type::Bytes), true, true),
        (
            |message| message.field[0].set_label(Label::Repeated),
            true,
            true,
        ),
        (
            |message| message.field[0].name = Some("other".to_owned()),
            true,
            true,
        ),
        (|message| drop(message.field.remove(0)), true, false),
        (
            |message| message.name = Some("Other".to_owned()),
            true,
            true,
        ),
        (
            |message| {
                let mut field = message.field[0].clone();
                (field.name, field.number) = (Some("new".to_owned()), Some(500));
                message.field.push(field);
            },
            false,
            true,
        ),
    ];
    assert_eq!(changes(&files()), (vec![], vec![]));
    for (place, (change, is_gone, is_added)) in table.into_iter().enumerate() {
        let mut files = files();
        let messages = files
            .file
            .iter_mut()
            .flat_map(|file| &mut file.message_type);
        let mut named = messages.filter(|message| message.name() == "Status");
        change(named.next().expect("a message of the package"));
        let (gone, added) = changes(&files);
        assert_eq!(
            (!gone.is_empty(), !added.is_empty()),
            (is_gone, is_added),
            "{place}: {gone:?} {added:?}"
        );
    }
    let mut files = files();
    let mut enums = files.file.iter_mut().flat_map(|file| &mut file.enum_type);
    let states = enums.find(|of| of.name() == "TaskState");
    states.expect("the states").value[1].number = Some(500);
    assert_eq!(changes(&files).0.len(), 1);
}
