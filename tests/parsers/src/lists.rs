//! What clients hand back to go on where they were: tokens of pages, positions of watches. They are the master's own texts,
//! and come back as anything.

use proffer_master::parsers::{read_page_token, read_position};

use crate::expect::{accepted, text};
use crate::input::Input;

/// A token of a page holds the ids of one row.
pub(crate) fn page_tokens(data: &[u8]) {
    let Some(text) = text(data) else { return };
    for count in 1..=3 {
        let Some(ids) = accepted(read_page_token(text, count)) else {
            continue;
        };
        assert!(ids.is_empty() == text.is_empty() && [0, count].contains(&ids.len()));
        assert_eq!(ids.join("/"), text, "as it was given");
    }
}

/// A position is of a term; in that term the watch goes on.
pub(crate) fn watch_positions(data: &[u8]) {
    let mut input = Input::new(data);
    let epoch = u64::from(input.byte());
    let Some(text) = text(input.rest()) else {
        return;
    };
    let Some(Some(number)) = accepted(read_position(text, epoch)) else {
        return;
    };
    let written = format!("{epoch}-{number}");
    let again = read_position(&written, epoch);
    assert_eq!(again, Ok(Some(number)), "{text:?} is {written}");
    let of_another = read_position(&written, epoch + 1);
    assert_eq!(of_another, Ok(None), "{written} is of one term");
}
