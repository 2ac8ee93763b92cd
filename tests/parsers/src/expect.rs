//! What is expected of every parser: refusals that say what is wrong, and values that survive being written.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use proffer_model::{Problem, code};

/// Bytes of a problem in all. Whatever the input, what is said about it is for a person.
const PROBLEM_LEN_MAX: usize = 8 * 1024;

/// A refusal has a code of the closed list and a message, and is not longer than somebody reads.
pub(crate) fn refused(problem: &Problem) {
    assert!(
        code::ALL.iter().any(|code| problem.is(*code)),
        "{problem:?} has a code that is not in the list"
    );
    assert!(
        !problem.message.is_empty(),
        "{problem:?} does not say what is wrong"
    );
    let len = problem.field.len() + problem.message.len() + problem.hint.len();
    assert!(
        len <= PROBLEM_LEN_MAX,
        "a problem of {len} bytes: {problem:.300}"
    );
}

/// The value, or a refusal as it must be.
pub(crate) fn accepted<T>(result: Result<T, Problem>) -> Option<T> {
    result.inspect_err(refused).ok()
}

/// Read, written and read again is the same value; what is written is written the same again.
pub(crate) fn same_when_printed<T>(text: &str) -> Option<T>
where
    T: FromStr<Err = Problem> + Display + PartialEq + Debug,
{
    let value: T = accepted(text.parse())?;
    let printed = value.to_string();
    let again: T = printed
        .parse()
        .unwrap_or_else(|problem| panic!("{text:?} is written {printed:?}: {problem}"));
    assert_eq!(again, value, "{text:?} is written {printed:?}");
    assert_eq!(again.to_string(), printed, "of {text:?}");
    Some(value)
}

/// The bytes as text, if they are; a parser of text is never given anything else.
pub(crate) fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// The same for what has one way to be written, but for the case of letters.
pub(crate) fn same_when_printed_as<T: Display>(text: &str, parse: impl Fn(&str) -> Option<T>) {
    if let Some(value) = parse(text) {
        let printed = value.to_string();
        assert!(
            printed.eq_ignore_ascii_case(text),
            "{text:?} is read as {printed}"
        );
    }
}
