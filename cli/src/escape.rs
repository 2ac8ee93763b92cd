//! Makes text that others wrote safe to show: a task's name or message must not be able to steer the terminal.
//!
//! Decides only what is shown instead of what. JSON output does not come through here: JSON escapes control characters
//! by itself.

/// Whether a terminal could act on it, or a reader be misled by it: control characters, and those that reverse the
/// direction of text or are invisible.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// One line: what is unsafe is left out, line ends and tabs become spaces.
pub(crate) fn line(text: &str) -> String {
    text.chars()
        .map(|c| if matches!(c, '\n' | '\t') { ' ' } else { c })
        .filter(|c| !is_unsafe(*c))
        .collect()
}

/// The bytes of a log as a terminal may see them, across chunks that may end inside a character.
#[derive(Default)]
pub(crate) struct TerminalFilter {
    /// The beginning of a character whose end has not come; at most 3 bytes.
    rest: Vec<u8>,
}

impl TerminalFilter {
    /// Line ends and tabs stay, everything else that is unsafe is left out, bytes that are not UTF-8 become U+FFFD.
    pub(crate) fn filter(&mut self, chunk: &[u8]) -> String {
        let mut bytes = std::mem::take(&mut self.rest);
        bytes.extend_from_slice(chunk);
        let mut text = String::with_capacity(bytes.len());
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(part) = chunks.next() {
            text.extend(
                part.valid()
                    .chars()
                    .filter(|c| matches!(c, '\n' | '\t') || !is_unsafe(*c)),
            );
            let invalid = part.invalid();
            let is_last = chunks.peek().is_none();
            if is_last && is_begun_character(invalid) {
                self.rest = invalid.to_vec();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        text
    }
}

/// Whether more bytes could make a character of these.
fn is_begun_character(bytes: &[u8]) -> bool {
    matches!(std::str::from_utf8(bytes), Err(error) if error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_steer_the_terminal() {
        for (text, shown) in [
            ("web", "web"),
            ("a\u{1b}[31mred", "a[31mred"),
            ("two\nlines\tand\r", "two lines and"),
            ("\u{9b}2Jx\u{7}", "2Jx"),
            ("abc\u{202e}fdp", "abcfdp"),
            ("größe 日本", "größe 日本"),
        ] {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn a_character_cut_by_the_end_of_a_chunk_is_kept() {
        let mut filter = TerminalFilter::default();
        let bytes = "ä\n\u{1b}[2Jö日".as_bytes();
        let shown: String = bytes.iter().map(|byte| filter.filter(&[*byte])).collect();
        assert_eq!(shown, "ä\n[2Jö日");
        assert_eq!(filter.filter(&[b'x', 0xff, b'y']), "x\u{fffd}y");
    }
}
