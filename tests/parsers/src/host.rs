//! What the agent hears of its own host and of the tasks on it: `/proc`, and the answers of checks.

use proffer_agent::limits::CHECK_LINE_CHARS_MAX;
use proffer_agent::parsers::{last_line, process_field, read_check_answer};
use proffer_model::CheckAnswer;

use crate::expect::text;

/// `/proc/<pid>/stat`: a program may name itself as it likes, and its fields are still found.
pub(crate) fn process_stat(data: &[u8]) {
    let Some(text) = text(data) else {
        return;
    };
    let fields: Vec<Option<&str>> = (0..60).map(|number| process_field(text, number)).collect();
    for field in fields.iter().flatten() {
        assert!(!field.is_empty() && !field.contains(char::is_whitespace));
    }
    assert_eq!(fields[..3], [None; 3], "these come before the name's end");
    let named = format!("7 ({text}) S 1 8 9 0");
    let read = [3, 4, 5, 6].map(|number| process_field(&named, number));
    assert_eq!(read, [Some("S"), Some("1"), Some("8"), Some("9")]);
}

/// What a task answers to a check over HTTP, and what a command says: whatever it is, the check passes or it does not.
pub(crate) fn check_answers(data: &[u8]) {
    match read_check_answer(data).expect("memory is read") {
        (Some(CheckAnswer::Http(code)), passes) => {
            assert_eq!(passes, (200..400).contains(&code), "{code}");
        }
        (answer, passes) => assert_eq!((answer, passes), (None, false)),
    }
    let line = last_line(data);
    assert!(line.chars().count() <= CHECK_LINE_CHARS_MAX);
    assert!(!line.contains(char::is_control), "{line:?}");
}
