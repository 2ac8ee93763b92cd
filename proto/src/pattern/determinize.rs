//! From what a pattern may be in at a time to a table of which each entry is one of these: the subset construction. Each step is
//! counted, so that what it costs is bounded whatever is written.
//!
//! A state is where in the pattern a text may be by now. Assertions are kept among those places until the next byte, or the
//! end, says whether they hold.

use std::collections::HashMap;

use proffer_model::PatternTable;
use regex_automata::nfa::thompson::{NFA, State, Transition};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

use super::cost::{Cost, TooMuch};

/// Steps of looking up where one byte leads to, besides one for each place, and of what was not found yet.
const STEPS_OF_BYTE: usize = 4;
const STEPS_OF_FRESH: usize = 60;

/// What stands beside a place between two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Beside {
    /// Nothing: the text begins or ends.
    Nothing,
    Newline,
    Word,
    Other,
}

impl Beside {
    const ALL: [Self; 4] = [Self::Nothing, Self::Newline, Self::Word, Self::Other];

    fn of(byte: u8) -> Self {
        match byte {
            b'\n' => Self::Newline,
            b'_' => Self::Word,
            byte if byte.is_ascii_alphanumeric() => Self::Word,
            _ => Self::Other,
        }
    }
}

/// Places of a text in the pattern, sorted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Places {
    ids: Vec<StateID>,
    /// What stands before them, if there are assertions among them.
    behind: Option<Beside>,
}

/// The table of a pattern that was compiled so far.
pub(super) fn determinize(nfa: &NFA, cost: &mut Cost<'_>) -> Result<PatternTable, TooMuch> {
    let (classes, samples) = classes_of(nfa);
    let mut table = PatternTable {
        classes,
        width: samples.len(),
        next: vec![PatternTable::DEAD; samples.len()],
        is_match: vec![false],
    };
    let mut walk = Walk {
        nfa,
        seen: vec![0; nfa.states().len()],
        round: 0,
        cost,
    };
    let start = walk.places(vec![nfa.start_anchored()], Beside::Nothing)?;
    let mut found = vec![start.clone()];
    let mut numbers = HashMap::from([(start, PatternTable::START)]);
    while let Some(places) = found.get(table.is_match.len() - 1).cloned() {
        let before = walk.before(&places)?;
        let before = |beside: Beside| before.get(beside as usize).unwrap_or(&places.ids);
        let is_match = |id: &StateID| matches!(nfa.state(*id), State::Match { .. });
        table
            .is_match
            .push(before(Beside::Nothing).iter().any(is_match));
        for byte in &samples {
            let beside = Beside::of(*byte);
            let next = walk.after(before(beside), *byte)?;
            let next = walk.places(next, beside)?;
            let number = match next.ids.is_empty() {
                true => PatternTable::DEAD,
                false => match numbers.get(&next) {
                    Some(number) => *number,
                    None => {
                        walk.cost.spend(STEPS_OF_FRESH)?;
                        let fresh = u16::try_from(found.len() + 1).map_err(|_| TooMuch::ForOne)?;
                        found.push(next.clone());
                        numbers.insert(next, fresh);
                        fresh
                    }
                },
            };
            table.next.push(number);
        }
        walk.cost.has_room(table.len_bytes())?;
    }
    walk.cost.keep(table.len_bytes())?;
    Ok(table)
}

/// Of each byte its class, and of each class one byte.
fn classes_of(nfa: &NFA) -> ([u8; 256], Vec<u8>) {
    let mut classes = [0; 256];
    let mut samples = Vec::new();
    for (byte, class) in (0..=u8::MAX).zip(&mut classes) {
        *class = nfa.byte_classes().get(byte);
        // They are numbered in the order of their first bytes.
        if usize::from(*class) == samples.len() {
            samples.push(byte);
        }
    }
    (classes, samples)
}

/// Goes through a pattern, and counts each step.
struct Walk<'a, 'b> {
    nfa: &'a NFA,
    /// In which round each place was seen last.
    seen: Vec<u32>,
    round: u32,
    cost: &'a mut Cost<'b>,
}

impl Walk<'_, '_> {
    /// All places that are reached from these without a byte.
    fn places(&mut self, from: Vec<StateID>, behind: Beside) -> Result<Places, TooMuch> {
        let ids = self.reached(from, None)?;
        let looks = |id: &StateID| matches!(self.nfa.state(*id), State::Look { .. });
        let behind = ids.iter().any(looks).then_some(behind);
        Ok(Places { ids, behind })
    }

    /// The same before each of what may come next, which decides assertions; nothing if there are none.
    fn before(&mut self, places: &Places) -> Result<Vec<Vec<StateID>>, TooMuch> {
        let Some(behind) = places.behind else {
            return Ok(Vec::new());
        };
        let each = Beside::ALL.into_iter();
        each.map(|ahead| self.reached(places.ids.clone(), Some((behind, ahead))))
            .collect()
    }

    fn reached(
        &mut self,
        mut from: Vec<StateID>,
        sides: Option<(Beside, Beside)>,
    ) -> Result<Vec<StateID>, TooMuch> {
        let mut ids = Vec::new();
        self.round = self.round.checked_add(1).ok_or(TooMuch::ForOne)?;
        while let Some(id) = from.pop() {
            self.cost.spend(1)?;
            let seen = self.seen.get_mut(id.as_usize());
            if seen.is_none_or(|seen| std::mem::replace(seen, self.round) == self.round) {
                continue;
            }
            match self.nfa.state(id) {
                State::Look { look, next } => match sides {
                    None => ids.push(id),
                    Some((behind, ahead)) if holds(*look, behind, ahead) => from.push(*next),
                    Some(_) => {}
                },
                State::Union { alternates } => from.extend(alternates.iter()),
                State::BinaryUnion { alt1, alt2 } => from.extend([alt1, alt2]),
                State::Capture { next, .. } => from.push(*next),
                State::ByteRange { .. }
                | State::Sparse(_)
                | State::Dense(_)
                | State::Match { .. } => ids.push(id),
                State::Fail => {}
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Where a byte leads to.
    fn after(&mut self, places: &[StateID], byte: u8) -> Result<Vec<StateID>, TooMuch> {
        self.cost.spend(STEPS_OF_BYTE + places.len())?;
        let next = places.iter().filter_map(|id| match self.nfa.state(*id) {
            State::ByteRange { trans } => trans.matches_byte(byte).then_some(trans.next),
            State::Sparse(all) => one_of(&all.transitions, byte),
            State::Dense(all) => all.matches_byte(byte),
            _ => None,
        });
        Ok(next.collect())
    }
}

/// They are sorted.
fn one_of(all: &[Transition], byte: u8) -> Option<StateID> {
    let place = all.partition_point(|one| one.end < byte);
    let found = all.get(place).filter(|one| one.matches_byte(byte));
    found.map(|one| one.next)
}

/// Whether an assertion holds between these. There are no others than those that `settle` lets through.
fn holds(look: Look, behind: Beside, ahead: Beside) -> bool {
    let begins = behind == Beside::Nothing;
    let ends = ahead == Beside::Nothing;
    let is_boundary = (behind == Beside::Word) != (ahead == Beside::Word);
    match look {
        Look::Start => begins,
        Look::End => ends,
        Look::StartLF => begins || behind == Beside::Newline,
        Look::EndLF => ends || ahead == Beside::Newline,
        Look::WordAscii => is_boundary,
        Look::WordAsciiNegate => !is_boundary,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::dfa::{Automaton, StartKind, dense};
    use regex_automata::{Anchored, Input};

    use crate::compile_pattern;

    const PARTS: [&str; 16] = [
        "a", "ab", "[ab]", "[^a]", ".", "(?s:.)", "\\w", "\\W", "^", "$", "(?m:^)", "(?m:$)",
        "\\b", "\\B", "(?i:B)", "(a|-b)",
    ];
    const OPERATORS: [&str; 4] = ["", "*", "?", "{2}"];

    /// All texts of so many characters at most.
    fn texts(len_max: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut first = 0;
        for _ in 0..len_max {
            let last = all.len();
            for i in first..last {
                for c in ['a', 'b', '-', '\n'] {
                    all.push(format!("{}{c}", all[i]));
                }
            }
            first = last;
        }
        all
    }

    /// What another compiler, and another search, make of it.
    fn other(pattern: &str) -> dense::DFA<Vec<u32>> {
        let ours = format!("\\A(?:{pattern})\\z");
        let ours = ours.replace("\\b", "(?-u:\\b)");
        let ours = ours.replace("\\B", "(?-u:\\B)");
        let anchored = dense::Config::new().start_kind(StartKind::Anchored);
        let mut builder = dense::Builder::new();
        let syntax = regex_automata::util::syntax::Config::new().utf8(false);
        let builder = builder.configure(anchored).syntax(syntax);
        builder.build(&ours).expect(pattern)
    }

    fn check(pattern: &str, texts: &[String]) {
        let (table, other) = (compile_pattern(pattern).expect(pattern), other(pattern));
        for text in texts {
            let input = Input::new(text).anchored(Anchored::Yes);
            let found = other.try_search_fwd(&input).expect("no quit");
            assert_eq!(
                table.matches(text),
                found.is_some(),
                "{pattern} of {text:?}"
            );
        }
    }

    #[test]
    fn a_pattern_matches_what_another_matcher_says_that_it_matches() {
        let texts = texts(4);
        let parts = PARTS.iter().flat_map(|part| {
            let each = OPERATORS.iter();
            each.map(move |operator| format!("(?:{part}){operator}"))
        });
        let parts: Vec<String> = parts.collect();
        for (i, first) in parts.iter().enumerate() {
            check(first, &texts);
            for second in parts.iter().skip(i % 32).step_by(32) {
                check(&format!("{first}{second}"), &texts);
                check(&format!("(?:{second}|{first})*a?"), &texts);
            }
        }
    }
}
