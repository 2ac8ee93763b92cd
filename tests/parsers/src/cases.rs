//! The language of the cases, which lie in files that anybody may name.

// The cases are a part of the tests, and these are their parsers.
macro_rules! of_the_cases {
    ($($path:literal $name:ident),+) => {$(
        #[path = $path]
        #[allow(dead_code, reason = "the tests use the rest")]
        mod $name;
    )+};
}
of_the_cases! {
    "../../cases/amounts.rs" amounts,
    "../../cases/blocks.rs" blocks,
    "../../cases/compile.rs" compile,
    "../../cases/expect.rs" expect,
    "../../cases/steps.rs" steps
}

use amounts::{parse_milli, show_milli};
use blocks::{Block, Fault, Level, Plays};

use crate::expect::text;

/// A file of cases: each fault names its line and says what is wrong. The same lines as one block are read too.
pub(crate) fn case_language(data: &[u8]) {
    let Some(text) = text(data) else {
        return;
    };
    let last = text.lines().count();
    match blocks::find("some.md", text) {
        Ok(found) => found.iter().for_each(|block| steps_of(block, last)),
        Err(fault) => is_of_line(&fault, last),
    }
    let lines = (1..).zip(text.lines().map(str::to_owned));
    steps_of(
        &Block {
            file: "some.md".into(),
            name: "some".into(),
            level: Level::Allocator,
            plays: Plays::Both,
            lines: lines.collect(),
        },
        last,
    );
    if let Some(milli) = parse_milli(text) {
        assert_eq!(parse_milli(&show_milli(milli)), Some(milli), "{text:?}");
    }
}

fn steps_of(block: &Block, last: usize) {
    match steps::parse(block) {
        Ok(steps) => {
            let is_within = |line: usize| (1..=last).contains(&line);
            assert!(steps.iter().all(|(line, _)| is_within(*line)));
        }
        Err(fault) => is_of_line(&fault, last),
    }
}

fn is_of_line(fault: &Fault, last: usize) {
    assert!((1..=last).contains(&fault.line), "{fault:?} of {last}");
    assert!(!fault.message.is_empty(), "{fault:?}");
}
