//! What a public failure looks like: a stable code to branch on, the field it is about, a sentence to act on and a hint.
//!
//! The codes are the closed list in [`crate::code`]; each has a section in `docs/errors.md`. How a problem becomes a gRPC
//! status or an HTTP answer is decided by its [`Kind`], in one function each (`proffer-proto`, `proffer-server`).

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::limits::PROBLEM_TEXT_LEN_MAX;

/// Stands for what is left out.
const ELLIPSIS: &str = "…";

/// The class of a failure: who has to do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The input is wrong in itself (HTTP 400 or 422, gRPC `INVALID_ARGUMENT`).
    Invalid,
    /// The thing named does not exist (404, `NOT_FOUND`).
    NotFound,
    /// The input is right, but not in this state; a version or an owner differs (409, `FAILED_PRECONDITION`).
    Conflict,
    /// Who calls is not known (401, `UNAUTHENTICATED`).
    Unauthenticated,
    /// Who calls is known and may not (403, `PERMISSION_DENIED`).
    Forbidden,
    /// A limit is reached; try later or ask for less (429, `RESOURCE_EXHAUSTED`).
    Exhausted,
    /// Not now: no leader, starting, overloaded (503, `UNAVAILABLE`).
    Unavailable,
    /// Our fault (500, `INTERNAL`).
    Internal,
}

/// A code of the closed list, with its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable name, `noun.noun.what`, such as `task.resources.negative`.
    pub name: &'static str,
    /// Its class.
    pub kind: Kind,
    /// What to do about it, in general.
    pub remedy: &'static str,
}

/// A public failure. Its `Debug` is its `Display`, since that is what a `main` prints that returns it.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable code; one of [`crate::code::ALL`] unless a newer peer sent it.
    pub code: Cow<'static, str>,
    /// Its class.
    pub kind: Kind,
    /// The path of the field at fault (`tasks[2].resources.cpus`), empty when the failure is not about a field. A resource
    /// is called by its name, and what a map holds by its key (`environment.HOME`).
    pub field: String,
    /// What is wrong: one sentence, lower-case, no full stop.
    pub message: String,
    /// What to do about it: one sentence. Empty only of problems of other programs.
    pub hint: String,
    /// When to try again, at the earliest; absent: it is not a matter of time.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem with this code and message, no field, and the code's own remedy as the hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code: Cow::Borrowed(code.name),
            kind: code.kind,
            field: String::new(),
            message: bounded(message.into()),
            hint: code.remedy.to_owned(),
            retry_after: None,
        }
    }

    /// The same, about this field.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = bounded(field.into());
        self
    }

    /// The same, with this advice instead of the code's own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = bounded(hint.into());
        self
    }

    /// The same, to be tried again after this time.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The same, with `outer` before the field: how a decoder of a part becomes one of the whole.
    #[must_use]
    pub fn within(self, outer: impl fmt::Display) -> Self {
        let field = if self.field.is_empty() {
            outer.to_string()
        } else if self.field.starts_with('[') {
            format!("{outer}{}", self.field)
        } else {
            format!("{outer}.{}", self.field)
        };
        self.field(field)
    }

    /// The same with `outer` before the field, if it is about one.
    #[must_use]
    pub fn inside(self, outer: impl fmt::Display) -> Self {
        match self.field.is_empty() {
            true => self,
            false => self.within(outer),
        }
    }

    /// Whether this is the problem with that code.
    pub fn is(&self, code: Code) -> bool {
        self.code == code.name
    }
}

impl fmt::Display for Problem {
    /// `code: field: message (hint)`, without what is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, " ({})", self.hint)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)?;
        match self.retry_after {
            Some(after) => write!(f, ", again after {after:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// A text of a problem that somebody can read: of one that repeats a long input, the beginning and the end.
fn bounded(text: String) -> String {
    if text.len() <= PROBLEM_TEXT_LEN_MAX {
        return text;
    }
    let half = PROBLEM_TEXT_LEN_MAX / 2 - ELLIPSIS.len();
    let begin = text.get(..text.floor_char_boundary(half));
    let end = text.get(text.ceil_char_boundary(text.len() - half)..);
    [begin.unwrap_or_default(), ELLIPSIS, end.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code;

    #[test]
    fn a_long_input_is_not_repeated_in_full() {
        let long = "ä".repeat(PROBLEM_TEXT_LEN_MAX);
        let problem = Problem::new(code::ID_INVALID, format!("{long:?} is no id"))
            .field(&*long)
            .hint(&*long)
            .within(&long);
        assert!(problem.message.starts_with("\"ää") && problem.message.ends_with("ä\" is no id"));
        assert!(problem.message.contains("ä…ä"), "{}", problem.message);
        for text in [&problem.field, &problem.message, &problem.hint] {
            let len = text.len();
            assert!(
                (PROBLEM_TEXT_LEN_MAX - 16..=PROBLEM_TEXT_LEN_MAX).contains(&len),
                "{len}"
            );
        }
    }

    #[test]
    fn a_main_that_returns_it_prints_a_sentence() {
        let problem = Problem::new(code::OFFER_GONE, "it has expired").field("offer_ids[0]");
        let text = "offer.gone: offer_ids[0]: it has expired (wait for another offer)";
        assert_eq!(format!("{problem:?}"), text);
        let later = problem.retry_after(Duration::from_secs(1));
        assert_eq!(format!("{later:?}"), format!("{text}, again after 1s"));
    }

    #[test]
    fn within_builds_the_path_of_the_field() {
        let of_no_field = Problem::new(code::OVERLOADED, "a queue is full");
        assert_eq!(of_no_field.inside("kill").field, "");
        let inner = Problem::new(code::RESOURCES_INVALID, "negative").field("cpus");
        let outer = inner.within("resources").inside("tasks[2]");
        assert_eq!(outer.field, "tasks[2].resources.cpus");
        assert_eq!(
            outer.to_string(),
            "resources.invalid: tasks[2].resources.cpus: negative (write an amount as cpus:2, numbers as \
             ports:[31000-31010], a set as zones:{a,b})"
        );
    }
}
