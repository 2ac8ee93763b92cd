//! A body to JSON: one value, not nested too deeply, no name twice in one object.
//!
//! A name that is given twice is refused and not decided by who comes last: two readers of one text must not see two apps.

use std::collections::BTreeSet;

use proffer_model::{Problem, code};
use proffer_server::log::Untrusted;
use serde_json::Value;

use crate::limits::JSON_DEPTH_MAX;

/// Reads a body.
pub(crate) fn parse_body(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |message: String| {
        Problem::new(code::BODY_MALFORMED, message)
            .hint("send one JSON object, as in {\"id\":\"/web\",\"cmd\":\"./run\"}")
    };
    if depth_of(body) > JSON_DEPTH_MAX {
        return Err(malformed(format!(
            "the JSON is nested deeper than {JSON_DEPTH_MAX}"
        )));
    }
    let value = serde_json::from_slice(body)
        .map_err(|error| malformed(format!("Invalid JSON: {error}")))?;
    match first_repeated(body) {
        Some(name) => {
            let message = format!(
                "the name '{}' is given twice in one object",
                Untrusted(&name)
            );
            Err(Problem::new(code::BODY_MALFORMED, message)
                .field(Untrusted(&name).to_string())
                .hint("give each name once"))
        }
        None => Ok(value),
    }
}

/// How deep brackets are nested outside of strings.
fn depth_of(body: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    for token in Tokens::of(body) {
        match token {
            Token::Opened => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::Closed => depth = depth.saturating_sub(1),
            Token::Name(_) => {}
        }
    }
    deepest
}

/// The first name that is twice in one object of a text that is JSON.
fn first_repeated(body: &[u8]) -> Option<String> {
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    for token in Tokens::of(body) {
        match token {
            Token::Opened => open.push(BTreeSet::new()),
            Token::Closed => {
                open.pop();
            }
            Token::Name(quoted) => {
                // Names are compared as they are read: an escaped letter is that letter.
                let name: String = serde_json::from_slice(quoted).ok()?;
                if open
                    .last_mut()
                    .is_some_and(|names| !names.insert(name.clone()))
                {
                    return Some(name);
                }
            }
        }
    }
    None
}

/// What matters of a text in JSON.
enum Token<'a> {
    /// A bracket or brace.
    Opened,
    /// Its end.
    Closed,
    /// A name with its quotes.
    Name(&'a [u8]),
}

/// The tokens of a text; of one that is not JSON, anything.
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Takes the string that begins here, with its quotes.
    fn take_string(&mut self) -> &'a [u8] {
        let mut is_escaped = false;
        let inner = self.rest.iter().skip(1);
        let end = inner.enumerate().find_map(|(at, byte)| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end.then_some(at + 2)
        });
        let (string, rest) = self
            .rest
            .split_at_checked(end.unwrap_or(self.rest.len()))
            .unwrap_or((self.rest, &[]));
        self.rest = rest;
        string
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let (byte, rest) = self.rest.split_first()?;
            match byte {
                b'"' => {
                    let string = self.take_string();
                    if self.rest.trim_ascii_start().first() == Some(&b':') {
                        return Some(Token::Name(string));
                    }
                    continue;
                }
                b'[' | b'{' => {
                    self.rest = rest;
                    return Some(Token::Opened);
                }
                b']' | b'}' => {
                    self.rest = rest;
                    return Some(Token::Closed);
                }
                _ => self.rest = rest,
            }
        }
    }
}
