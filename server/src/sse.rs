//! Reads server-sent events, byte by byte if need be, as the HTML standard defines them.
//!
//! Never holds more than one event and one line of [`EVENT_LEN_MAX`] bytes; a stream that sends larger ones is an error,
//! and the parser takes nothing more. Bytes that are not UTF-8 become U+FFFD.

use proffer_model::{Problem, code};

use crate::limits::EVENT_LEN_MAX;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` when the stream gives none.
    pub name: String,
    /// Its lines, joined by newlines; never empty.
    pub data: String,
    /// The last id of the stream up to this event; empty before the first.
    pub id: String,
}

/// The state between two pieces of a stream.
#[derive(Debug, Default)]
pub struct Parser {
    /// The line that has not ended.
    line: Vec<u8>,
    /// A carriage return ended the last line: a newline that follows belongs to it.
    after_carriage_return: bool,
    /// The first line is behind: a byte order mark means nothing any more.
    is_begun: bool,
    name: String,
    data: String,
    last_id: String,
    is_broken: bool,
}

impl Parser {
    /// Before the first byte.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece, of any length, and answers with the events that it completes. After an error
    /// (`field.too_long`) every call answers with it.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, Problem> {
        let mut events = Vec::new();
        for byte in piece {
            if self.is_broken {
                return Err(too_long());
            }
            events.extend(self.take(*byte));
        }
        if self.is_broken {
            Err(too_long())
        } else {
            Ok(events)
        }
    }

    fn take(&mut self, byte: u8) -> Option<Event> {
        let follows_carriage_return =
            std::mem::replace(&mut self.after_carriage_return, byte == b'\r');
        match byte {
            b'\n' if follows_carriage_return => None,
            b'\n' | b'\r' => self.end_line(),
            _ => {
                self.line.push(byte);
                self.is_broken = self.line.len() > EVENT_LEN_MAX;
                None
            }
        }
    }

    fn end_line(&mut self) -> Option<Event> {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let line = if self.is_begun {
            &line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(&line)
        };
        self.is_begun = true;
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.is_broken = self.data.len() + value.len() >= EVENT_LEN_MAX;
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            // Comments (an empty field), `retry` (the caller has a rule of its own) and unknown fields.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        // The newline after the last line. Without any line there is no event.
        data.pop()?;
        let name = if name.is_empty() {
            "message".to_owned()
        } else {
            name
        };
        Some(Event {
            name,
            data,
            id: self.last_id.clone(),
        })
    }
}

fn too_long() -> Problem {
    Problem::new(
        code::FIELD_TOO_LONG,
        format!("an event of the stream is longer than {EVENT_LEN_MAX} bytes"),
    )
    .hint("connect again; if it happens again, the server sends what this version cannot take")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str, id: &str) -> Event {
        Event {
            name: name.to_owned(),
            data: data.to_owned(),
            id: id.to_owned(),
        }
    }

    fn whole(text: &[u8]) -> Vec<Event> {
        Parser::new().push(text).expect("short")
    }

    #[test]
    fn streams_are_read_as_the_standard_says() {
        let table: &[(&str, Vec<Event>)] = &[
            ("data: a\n\n", vec![event("message", "a", "")]),
            ("data:a\r\n\r\n", vec![event("message", "a", "")]),
            ("data: a\r\r", vec![event("message", "a", "")]),
            (
                "data: a\r\ndata: b\r\n\r\n",
                vec![event("message", "a\nb", "")],
            ),
            (
                "data:  a\ndata\ndata:b\n\n",
                vec![event("message", " a\n\nb", "")],
            ),
            (
                "event: add\ndata: x\n\ndata: y\n\n",
                vec![event("add", "x", ""), event("message", "y", "")],
            ),
            (
                "id: 7\ndata: x\n\ndata: y\n\n",
                vec![event("message", "x", "7"), event("message", "y", "7")],
            ),
            (
                "id: 7\ndata: x\n\nid\ndata: y\n\n",
                vec![event("message", "x", "7"), event("message", "y", "")],
            ),
            ("id: a\0b\ndata: x\n\n", vec![event("message", "x", "")]),
            (": comment\n\n:\nretry: 10\nother: x\n\n", vec![]),
            (
                "event: lost\n\ndata: x\n\n",
                vec![event("message", "x", "")],
            ),
            ("data\n\n", vec![event("message", "", "")]),
            ("data: never ended\n", vec![]),
            ("\u{feff}data: bom\n\n", vec![event("message", "bom", "")]),
            ("data: ä🦀\n\n", vec![event("message", "ä🦀", "")]),
        ];
        for (text, expected) in table {
            assert_eq!(&whole(text.as_bytes()), expected, "{text:?}");
        }
        assert_eq!(
            whole(b"data: \xff\n\n"),
            vec![event("message", "\u{fffd}", "")]
        );
    }

    #[test]
    fn endless_lines_and_events_are_refused_and_stay_refused() {
        for piece in [
            vec![b'x'; 70_000],
            [b"data: ".to_vec(), vec![b'x'; 60_000], b"\n".to_vec()].concat(),
        ] {
            let mut parser = Parser::new();
            let problem = (0..100)
                .find_map(|_| parser.push(&piece).err())
                .expect("a limit");
            assert!(problem.is(code::FIELD_TOO_LONG));
            parser.push(b"data: a\n\n").expect_err("still refused");
            assert!(
                parser.line.len() <= EVENT_LEN_MAX + 1
                    && parser.data.len() <= EVENT_LEN_MAX + 60_001
            );
        }
    }

    proptest! {
        #[test]
        fn where_the_stream_is_cut_makes_no_difference(
            lines in prop::collection::vec("(data|event|id|:|x)?(: ?)?[a-zä🦀\u{feff}]{0,4}(\r|\n|\r\n)", 0..12),
        ) {
            let text = lines.concat().into_bytes();
            let expected = whole(&text);
            for cut in 0..=text.len() {
                let mut parser = Parser::new();
                let mut events = parser.push(&text[..cut]).expect("short");
                events.extend(parser.push(&text[cut..]).expect("short"));
                prop_assert_eq!(&events, &expected);
            }
            let mut parser = Parser::new();
            let single: Vec<Event> =
                text.iter().flat_map(|byte| parser.push(&[*byte]).expect("short")).collect();
            prop_assert_eq!(single, expected);
        }

        #[test]
        fn no_bytes_crash_it(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Parser::new().push(&bytes);
        }
    }
}
