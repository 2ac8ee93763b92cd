//! Labels: lists of keys and values, which may repeat; here the last of a key counts.

use std::collections::BTreeMap;

use super::v1::{Label, Labels};

pub(super) fn labels_map(labels: &Labels) -> BTreeMap<String, String> {
    let one = |label: &Label| (label.key.clone(), label.value.clone().unwrap_or_default());
    labels.labels.iter().map(one).collect()
}

/// None when there are none.
pub fn labels_of(labels: &BTreeMap<String, String>) -> Option<Labels> {
    let one = |(key, value): (&String, &String)| Label {
        key: key.clone(),
        value: Some(value.clone()),
    };
    let all: Vec<Label> = labels.iter().map(one).collect();
    (!all.is_empty()).then_some(Labels { labels: all })
}
