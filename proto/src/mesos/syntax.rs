//! What is wrong with text that is no JSON, as Mesos's parser says it: where it stops, and the rest of that line.
//!
//! Only for texts of refusals: it accepts what that parser accepts, and makes nothing of it.

/// So many characters of the text are repeated.
const SHOWN_MAX: usize = 1_024;
/// How deep lists and objects may be in one another.
const DEPTH_MAX: usize = 200;

/// What Mesos says of a text that is no JSON.
pub(super) fn fault(text: &[u8]) -> Option<String> {
    let mut reader = Reader {
        text,
        at: 0,
        read: 0,
    };
    match reader.values() {
        Ok(()) => reader.trailing(),
        Err(Stop::Here) => Some(format!(
            "syntax error at line {} near: {}",
            reader.line(),
            reader.rest_of_line()
        )),
        Err(Stop::TooLarge) => Some("Value out of range".to_owned()),
    }
}

/// Why nothing more is read.
enum Stop {
    /// What comes is no JSON.
    Here,
    /// A number that is larger than numbers are.
    TooLarge,
}

type Step<T = ()> = Result<T, Stop>;

struct Reader<'a> {
    text: &'a [u8],
    /// What is read next.
    at: usize,
    /// How far it was looked at.
    read: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied()?;
        self.at += 1;
        self.read = self.read.max(self.at);
        Some(byte)
    }

    /// The next, if it is as it should be. What is not stays to be read.
    fn take(&mut self, is_good: impl FnOnce(u8) -> bool) -> Option<u8> {
        let before = self.at;
        let byte = self.next();
        let taken = byte.filter(|byte| is_good(*byte));
        if taken.is_none() {
            self.at = before;
        }
        taken
    }

    fn skip_space(&mut self) {
        while self.take(|byte| b" \t\r\n".contains(&byte)).is_some() {}
    }

    fn has(&mut self, wanted: u8) -> bool {
        self.skip_space();
        self.take(|byte| byte == wanted).is_some()
    }

    fn needs(&mut self, wanted: u8) -> Step {
        match self.has(wanted) {
            true => Ok(()),
            false => Err(Stop::Here),
        }
    }

    /// One value, with those that are in it.
    fn values(&mut self) -> Step {
        // The ends of the lists and objects that are open.
        let mut open: Vec<u8> = Vec::new();
        loop {
            let mut is_begun = self.begin(&mut open)?;
            while !is_begun {
                // A value is over, and with it perhaps what it is in.
                let Some(end) = open.last().copied() else {
                    return Ok(());
                };
                is_begun = self.has(b',');
                if is_begun {
                    self.key(end)?;
                } else {
                    self.needs(end)?;
                    open.pop();
                }
            }
        }
    }

    /// The beginning of a value; whether there is one in it to be read next, or it is over.
    fn begin(&mut self, open: &mut Vec<u8>) -> Step<bool> {
        self.skip_space();
        let before = self.at;
        let end = match self.next() {
            Some(b'n') => return self.word(b"ull"),
            Some(b'f') => return self.word(b"alse"),
            Some(b't') => return self.word(b"rue"),
            Some(b'"') => return self.string().map(|()| false),
            Some(b'[') => b']',
            Some(b'{') => b'}',
            first => {
                self.at = before;
                let is_number = first.is_some_and(|byte| byte == b'-' || byte.is_ascii_digit());
                return match is_number {
                    true => self.number(),
                    false => Err(Stop::Here),
                };
            }
        };
        if open.len() >= DEPTH_MAX {
            return Err(Stop::Here);
        }
        if self.has(end) {
            return Ok(false);
        }
        open.push(end);
        self.key(end).map(|()| true)
    }

    /// The name before a value of an object.
    fn key(&mut self, end: u8) -> Step {
        if end == b'}' {
            self.needs(b'"')?;
            self.string()?;
            self.needs(b':')?;
        }
        Ok(())
    }

    fn word(&mut self, rest: &[u8]) -> Step<bool> {
        for wanted in rest {
            let taken = self.take(|byte| byte == *wanted);
            taken.ok_or(Stop::Here)?;
        }
        Ok(false)
    }

    fn number(&mut self) -> Step<bool> {
        let before = self.at;
        while self
            .take(|byte| byte.is_ascii_digit() || b"+-eE.".contains(&byte))
            .is_some()
        {}
        let number = self.text.get(before..self.at).unwrap_or_default();
        let number = std::str::from_utf8(number).ok();
        let number: Option<f64> = number.and_then(|text| text.parse().ok());
        match number {
            Some(number) if number.is_finite() => Ok(false),
            Some(_) => Err(Stop::TooLarge),
            None => Err(Stop::Here),
        }
    }

    /// The rest of a string.
    fn string(&mut self) -> Step {
        loop {
            match self.take(|byte| byte >= b' ').ok_or(Stop::Here)? {
                b'"' => return Ok(()),
                b'\\' => self.escaped()?,
                _ => {}
            }
        }
    }

    fn escaped(&mut self) -> Step {
        match self.next() {
            Some(b'u') => {}
            Some(byte) if b"\"\\/bfnrt".contains(&byte) => return Ok(()),
            _ => return Err(Stop::Here),
        }
        match self.four_digits()? {
            0xdc00..=0xdfff => Err(Stop::Here),
            0xd800..=0xdbff => {
                self.take(|byte| byte == b'\\').ok_or(Stop::Here)?;
                self.take(|byte| byte == b'u').ok_or(Stop::Here)?;
                match self.four_digits()? {
                    0xdc00..=0xdfff => Ok(()),
                    _ => Err(Stop::Here),
                }
            }
            _ => Ok(()),
        }
    }

    fn four_digits(&mut self) -> Step<u32> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.take(|byte| byte.is_ascii_hexdigit());
            let digit = digit.and_then(|digit| char::from(digit).to_digit(16));
            number = number * 16 + digit.ok_or(Stop::Here)?;
        }
        Ok(number)
    }

    /// Lines are counted from 1, by what was looked at before the last byte of it.
    fn line(&self) -> usize {
        let looked_at = self.text.get(..self.read.saturating_sub(1));
        let ends = looked_at.unwrap_or_default().iter();
        1 + ends.filter(|byte| **byte == b'\n').count()
    }

    fn rest_of_line(&self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let rest = rest.split(|byte| *byte == b'\n').next();
        let rest = rest
            .unwrap_or_default()
            .iter()
            .filter(|byte| **byte >= b' ');
        shown(&rest.copied().collect::<Vec<_>>())
    }

    /// What comes after the value, and is not white.
    fn trailing(&self) -> Option<String> {
        let rest = self.text.get(self.read..).unwrap_or_default();
        let is_white = |byte: &u8| b" \t\r\n".contains(byte);
        let last = rest.iter().rposition(|byte| !is_white(byte))?;
        let rest = shown(rest.get(..=last)?);
        Some(format!(
            "Parsed JSON included non-whitespace trailing characters: {rest}"
        ))
    }
}

fn shown(text: &[u8]) -> String {
    let text = text.get(..SHOWN_MAX).unwrap_or(text);
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_mesos_stops_is_where_it_is_said_to_stop() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let (good, too_deep) = (deep(200), deep(201));
        let rest = format!("1{}", "]".repeat(201));
        let near = |line: usize, rest: &str| format!("syntax error at line {line} near: {rest}");
        let behind =
            |rest: &str| format!("Parsed JSON included non-whitespace trailing characters: {rest}");
        for (text, wanted) in [
            ("", Some(near(1, ""))),
            (" \n ", Some(near(2, ""))),
            ("{nope", Some(near(1, "nope"))),
            ("nope", Some(near(1, "ope"))),
            ("hello", Some(near(1, "hello"))),
            (r#"{"type":"SUBSCR"#, Some(near(1, ""))),
            (r#"{"type":TEARDOWN}"#, Some(near(1, "TEARDOWN}"))),
            ("{\"a\": 1,\n \"b\" 2}\n", Some(near(2, "2}"))),
            ("{\"a\":\n\n}", Some(near(3, "}"))),
            ("{'a': 1}", Some(near(1, "'a': 1}"))),
            (r#"{"a":1,}"#, Some(near(1, "}"))),
            ("[1,]", Some(near(1, "]"))),
            ("[1 2]", Some(near(1, "2]"))),
            (r#"{"a":True}"#, Some(near(1, "True}"))),
            (r#"{"a":1e}"#, Some(near(1, "}"))),
            (r#"["\x"]"#, Some(near(1, r#""]"#))),
            (r#"["\u12g"]"#, Some(near(1, r#"g"]"#))),
            (r#"["\udc00"]"#, Some(near(1, r#""]"#))),
            (r#"["\ud800x"]"#, Some(near(1, r#"x"]"#))),
            ("[\"a\tb\"]", Some(near(1, "b\"]"))),
            (r#"[1e999]"#, Some("Value out of range".to_owned())),
            ("{} {}\n", Some(behind(" {}"))),
            ("{}", None),
            (
                " {\"a\": [1.5, -2e3, true, false, null, \"\\ud83d\\ude00\"]} \n",
                None,
            ),
            (&good, None),
            (&too_deep, Some(near(1, &rest))),
        ] {
            assert_eq!(fault(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn a_refusal_repeats_only_so_much_of_a_text() {
        let long = "x".repeat(5_000);
        assert!(fault(long.as_bytes()).is_some_and(|text| text.len() < 1_100));
        let said = fault(format!("{{}}{long}").as_bytes());
        assert!(said.is_some_and(|text| text.len() < 1_100));
        assert_eq!(
            fault(b"[\xff").as_deref(),
            Some("syntax error at line 1 near: \u{fffd}")
        );
    }
}
