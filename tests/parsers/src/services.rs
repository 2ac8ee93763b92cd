//! Apps as Marathon's clients send them, and as the services keep them.

use proffer_model::{Problem, StateKey};
use proffer_services::parsers::{
    read_app, read_body, read_record, read_selector, write_app, write_record,
};
use proffer_services_core::id::{AppId, DeploymentId, InstanceId};
use serde_json::Value;

use crate::expect::{accepted, refused, same_when_printed_as, text};
use crate::input::Input;

/// A definition, or changes to one: what is accepted is written so that it is read the same.
pub(crate) fn app_json(data: &[u8]) {
    let Some(value) = accepted(read_body(data)) else {
        return;
    };
    let Some(patch) = first(read_app(&value)) else {
        return;
    };
    let id = patch
        .id
        .clone()
        .unwrap_or_else(|| AppId::new("/a").expect("an id"));
    let Some(spec) = first(patch.clone().onto(id.clone(), None)) else {
        return;
    };
    let written = Value::Object(write_app(&spec));
    let again = read_app(&written).and_then(|patch| patch.onto(id.clone(), None));
    assert_eq!(again.as_ref(), Ok(&spec), "{written}");
    // Changes that say what is there already change nothing.
    let same = patch.onto(id, Some(&spec));
    assert_eq!(same.as_ref(), Ok(&spec), "{written}");
}

/// The value, or refusals that each say what is wrong, at least one.
fn first<T>(result: Result<T, Vec<Problem>>) -> Option<T> {
    if let Err(problems) = &result {
        assert!(!problems.is_empty());
        problems.iter().for_each(refused);
    }
    result.ok()
}

/// Apps and instances as they are kept.
pub(crate) fn kept_records(data: &[u8]) {
    let mut input = Input::new(data);
    let keys = [
        "app/a",
        "instance/0123456789abcdef0123456789abcdef",
        "x/y",
        "app",
        "app/",
    ];
    let key = input.choice(&keys);
    let Ok(key) = StateKey::new(key) else { return };
    let Some(record) = accepted(read_record(&key, input.rest())) else {
        return;
    };
    let (key, value) = write_record(record.clone()).expect("it was read");
    let value = value.expect("it is there");
    assert_eq!(read_record(&key, &value), Ok(record));
}

/// Ids of apps, instances and deployments.
pub(crate) fn app_ids(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(id) = accepted(AppId::new(text)) {
        assert_eq!(AppId::new(id.as_str()).as_ref(), Ok(&id), "{text:?}");
        assert!(id.as_str().starts_with('/') && !id.flat().contains('/'));
        let instance = InstanceId(7);
        assert_eq!(InstanceId::of_name(&instance.full(&id)), Some(instance));
        let task = accepted(instance.task(&id));
        assert!(task.is_some(), "{id} has no room for its tasks");
    }
    same_when_printed_as(text, InstanceId::parse);
    same_when_printed_as(text, DeploymentId::parse);
    if let Some(instance) = InstanceId::of_name(text) {
        assert_eq!(InstanceId::parse(&instance.to_string()), Some(instance));
    }
}

/// Selectors of labels, of queries of apps and tasks.
pub(crate) fn label_selectors(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(terms) = accepted(read_selector(text)) else {
        return;
    };
    assert!(terms <= text.len());
    // Two selectors that are joined have the terms of both.
    let joined = accepted(read_selector(&format!("{text},a in (b,c)")));
    let ends_open = text.trim().is_empty() || text.trim().ends_with(',');
    assert!(
        ends_open || joined == Some(terms + 1),
        "{text:?} has {terms} terms, with one more {joined:?}"
    );
}
