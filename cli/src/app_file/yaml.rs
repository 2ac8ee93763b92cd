//! App files in YAML 1.2: one app, a list or `apps` in each document.
//!
//! YAML reads a text without quotes as a number or as yes and no where it looks like one; here a field gets what it asks for
//! or is refused, never something that was turned into it. Names given twice are refused, and so is what aliases make too large.

use proffer_model::{Problem, code};
use serde_json::Value;
use serde_saphyr::{
    DefaultMessageFormatter, Error, MessageFormatter, Options, UserMessageFormatter,
    with_deserializer_from_str_with_options,
};

use super::schema::{App, AppList};
use super::{LANGUAGE_HINT, Shape, check, schema_problem, shape_of};
use crate::limits::{APPS_PER_APPLY_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX};

/// Reads a file; the documents that say something.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Value>, Problem> {
    let text = text.trim_start_matches('\u{feff}');
    let documents = documents_of(text);
    if documents.len() > APPS_PER_APPLY_MAX {
        let count = documents.len();
        let message = format!("{name} has {count} documents; the limit is {APPS_PER_APPLY_MAX}");
        return Err(Problem::new(code::FIELD_TOO_LONG, message));
    }
    let documents = documents.into_iter();
    documents.map(|document| document.parse(name)).collect()
}

/// One document of a file.
struct Document<'a> {
    text: &'a str,
    /// Lines of the file before it.
    lines_before: usize,
}

impl Document<'_> {
    fn parse(&self, name: &str) -> Result<Value, Problem> {
        let read: Result<Value, Error> = serde_saphyr::from_str_with_options(self.text, options());
        let value = read.map_err(|error| {
            let place = self.line_of(&error);
            let place = place.map(|line| format!(":{line}")).unwrap_or_default();
            let message = format!("{name}{place}: {}", describe(&error));
            Problem::new(code::BODY_MALFORMED, message).hint(LANGUAGE_HINT)
        })?;
        let mut wrong = None;
        let checked = with_deserializer_from_str_with_options(self.text, options(), |input| {
            let checked = match shape_of(&value) {
                Shape::Single => check::<_, App>(input),
                Shape::Array => check::<_, Vec<App>>(input),
                Shape::Named => check::<_, AppList>(input),
            };
            wrong = checked.err();
            Ok(())
        });
        // Once something is wrong the rest of the document is not read, which is an error of its own.
        if let Some((path, error)) = wrong {
            let error = error.without_snippet();
            let message = DefaultMessageFormatter.format_message(error);
            return Err(schema_problem(name, self.line_of(error), &path, &message));
        }
        checked
            .map_err(|error| schema_problem(name, self.line_of(&error), "", &describe(&error)))?;
        Ok(value)
    }

    fn line_of(&self, error: &Error) -> Option<usize> {
        let line = usize::try_from(error.location()?.line()).ok()?;
        (line > 0).then_some(self.lines_before + line)
    }
}

/// What is wrong, in one line.
fn describe(error: &Error) -> String {
    let message = UserMessageFormatter.format_message(error.without_snippet());
    // Of whichever limit: its name says nothing to who wrote the file.
    if message.starts_with("YAML document too large") {
        return "this is nested too deeply, too large, or made too large by aliases".to_owned();
    }
    message.replace('\n', " ")
}

fn options() -> Options {
    let budget = serde_saphyr::budget! {
        max_depth: YAML_DEPTH_MAX,
        max_nodes: YAML_NODES_MAX,
        max_documents: 1,
    };
    let mut options = serde_saphyr::options! {
        budget: budget,
        strict_booleans: true,
        reject_unsupported_tags: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = YAML_NODES_MAX;
    options
}

/// The documents that are not empty. A line that begins with `---` begins one, wherever it stands: YAML allows no text to go
/// on there. Each is read by itself, so that lines and paths are its own.
fn documents_of(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut begin, mut lines_before) = (0, 0);
    let (mut at, mut line) = (0, 0);
    let mut keep = |begin: usize, end: usize, lines_before: usize| {
        let text = text.get(begin..end).unwrap_or_default();
        if text.lines().any(says_something) {
            documents.push(Document { text, lines_before });
        }
    };
    for whole in text.split_inclusive('\n') {
        let is_begin = whole
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if is_begin && at > begin {
            keep(begin, at, lines_before);
            (begin, lines_before) = (at, line);
        }
        at += whole.len();
        line += 1;
    }
    keep(begin, at, lines_before);
    documents
}

/// Whether a line is neither blank, nor a comment, nor a mark or directive between documents.
fn says_something(line: &str) -> bool {
    let line = line.trim_end();
    let rest = line.strip_prefix("---").unwrap_or(line).trim_start();
    !(rest.is_empty() || rest.starts_with('#') || line.starts_with('%') || line == "...")
}
