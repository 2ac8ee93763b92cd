//! Patterns that a text matches as a whole: regular expressions, compiled where they are read to a table of states, so that a
//! look at an agent takes one step for each byte of what it has, and nothing is remembered between looks.

use std::fmt;
use std::sync::Arc;

/// A regular expression that was compiled. Two of the same text are the same; a copy is the same table.
#[derive(Clone)]
pub struct Pattern(Arc<Compiled>);

struct Compiled {
    text: String,
    table: PatternTable,
}

/// What a pattern was compiled to. The first state is that from which nothing matches any more, the second that in which
/// every text begins.
#[derive(Clone, Debug)]
pub struct PatternTable {
    /// Of each byte its class: bytes of one class are never told apart.
    pub classes: [u8; 256],
    /// How many classes there are.
    pub width: usize,
    /// For each state, one behind the other, and each class: which state comes next.
    pub next: Vec<u16>,
    /// Whether a text that ends in this state matches.
    pub is_match: Vec<bool>,
}

impl PatternTable {
    /// From this state nothing matches any more.
    pub const DEAD: u16 = 0;
    /// In this state every text begins.
    pub const START: u16 = 1;

    /// The bytes that it has in memory.
    pub fn len_bytes(&self) -> usize {
        size_of_val(&self.classes)
            + size_of_val(self.next.as_slice())
            + size_of_val(self.is_match.as_slice())
    }
}

impl Pattern {
    /// Wraps what a text was compiled to.
    pub fn new(text: &str, table: PatternTable) -> Self {
        Self(Arc::new(Compiled {
            text: text.to_owned(),
            table,
        }))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the whole of a text matches.
    pub fn matches(&self, text: &str) -> bool {
        let table = &self.0.table;
        let mut state = PatternTable::START;
        for byte in text.bytes() {
            let class = table.classes.get(usize::from(byte)).copied();
            let place = usize::from(state) * table.width + usize::from(class.unwrap_or(0));
            state = table.next.get(place).copied().unwrap_or_default();
            if state == PatternTable::DEAD {
                return false;
            }
        }
        let is_match = table.is_match.get(usize::from(state));
        is_match.copied().unwrap_or_default()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.0.text).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a+`.
    fn pattern() -> Pattern {
        let mut classes = [0; 256];
        classes[usize::from(b'a')] = 1;
        let table = PatternTable {
            classes,
            width: 2,
            next: vec![0, 0, 0, 2, 0, 2],
            is_match: vec![false, false, true],
        };
        Pattern::new("a+", table)
    }

    #[test]
    fn the_whole_of_a_text_matches_or_nothing() {
        for (text, is) in [
            ("", false),
            ("a", true),
            ("aaa", true),
            ("ab", false),
            ("ba", false),
            ("ä", false),
        ] {
            assert_eq!(pattern().matches(text), is, "{text:?}");
        }
        assert_eq!(format!("{:?}", pattern()), r#"Pattern("a+")"#);
    }
}
