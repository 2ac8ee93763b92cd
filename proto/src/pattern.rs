//! Patterns as they are written: regular expressions in RE2's language, compiled to what the model looks with.
//!
//! The reader is that of Rust's `regex`, whose language differs in a few things: `settle` gives what is written RE2's meaning, or
//! refuses what only the other knows. What RE2 knows alone, `\Q…\E`, `\C`, `\pC`, `\p{^…}`, octal numbers and a brace that
//! repeats nothing, is refused too. The texts of what is refused are RE2's.

use std::collections::BTreeMap;
use std::fmt;

use proffer_model::limits::PATTERN_LEN_MAX;
use proffer_model::{Pattern, Problem};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_syntax::ast::{Ast, Error, ErrorKind, Span, parse};
use regex_syntax::hir::translate;

use crate::fields::{invalid, missing};
use crate::limits::{
    PATTERN_DEPTH_MAX, PATTERN_NFA_LEN_MAX, PATTERNS_STEPS_MAX, PATTERNS_TABLES_LEN_MAX,
};

mod cost;
mod determinize;
mod settle;

use cost::{Budget, Cost, TooMuch};

/// What is said of a pattern that takes too much.
const TOO_LARGE: &str = "pattern too large - compile failed";
/// Steps that a byte of a pattern takes to be read, and one of what it is compiled to before its states are told apart.
const STEPS_OF_BYTE: usize = 25;
const STEPS_OF_NFA_BYTE: usize = 3;

/// Why a text became no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// It is none, or is too large, as RE2 says it.
    Wrong(String),
    /// It may be one, and those before it have left too little.
    Beyond,
}

impl From<TooMuch> for PatternError {
    fn from(too_much: TooMuch) -> Self {
        match too_much {
            TooMuch::ForOne => Self::Wrong(TOO_LARGE.to_owned()),
            TooMuch::ForAll => Self::Beyond,
        }
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(why) => f.write_str(why),
            Self::Beyond => write!(
                f,
                "with this the patterns have more than {PATTERNS_TABLES_LEN_MAX} bytes in memory together, or take more than \
                 {PATTERNS_STEPS_MAX} steps to compile"
            ),
        }
    }
}

/// The patterns of one call or demand: each is compiled once, and all together have a limit, however few they are.
#[derive(Debug, Default)]
pub struct Patterns {
    known: BTreeMap<String, Pattern>,
    budget: Budget,
}

impl Patterns {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Whether this is one of them.
    pub fn has(&self, text: &str) -> bool {
        self.known.contains_key(text)
    }

    /// Compiles one, if that was not done yet.
    pub fn compile(&mut self, text: &str) -> Result<Pattern, PatternError> {
        if let Some(known) = self.known.get(text) {
            return Ok(known.clone());
        }
        let pattern = compile(text, &mut self.budget)?;
        self.known.insert(text.to_owned(), pattern.clone());
        Ok(pattern)
    }

    /// One from the wire; the problem names the field `pattern`.
    pub(crate) fn decode(&mut self, text: &str) -> Result<Pattern, Problem> {
        if text.is_empty() {
            return Err(missing("pattern").hint("give a regular expression, such as rack-[0-9]+"));
        }
        self.compile(text).map_err(|error| {
            let hint = match error {
                PatternError::Wrong(_) => {
                    "give a regular expression in RE2's language that the whole text matches, such as rack-[0-9]+, shorter or \
                     simpler if it is too large"
                }
                PatternError::Beyond => "give fewer patterns, or shorter and simpler ones",
            };
            invalid("pattern", error.to_string()).hint(hint)
        })
    }
}

/// A pattern alone; the error is what RE2 says.
pub fn compile_pattern(text: &str) -> Result<Pattern, String> {
    let compiled = Patterns::default().compile(text);
    compiled.map_err(|error| error.to_string())
}

/// A pattern alone, from the wire or from whoever writes one; the problem names the field `pattern`.
pub fn decode_pattern(text: &str) -> Result<Pattern, Problem> {
    Patterns::default().decode(text)
}

fn compile(text: &str, budget: &mut Budget) -> Result<Pattern, PatternError> {
    if text.len() > PATTERN_LEN_MAX {
        return Err(TooMuch::ForOne.into());
    }
    let mut cost = Cost::new(budget);
    cost.spend(text.len() * STEPS_OF_BYTE)?;
    let tree = read(text, &mut cost)?;
    let mut translator = translate::TranslatorBuilder::new().utf8(false).build();
    let meant = translator.translate(text, &tree).map_err(|error| {
        let given = part(text, error.span());
        PatternError::Wrong(format!("invalid character class range: {given}"))
    })?;
    let nfa = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(PATTERN_NFA_LEN_MAX));
    let nfa = thompson::Compiler::new()
        .configure(nfa)
        .build_from_hir(&meant)
        .map_err(|_| TooMuch::ForOne)?;
    cost.spend(nfa.memory_usage() * STEPS_OF_NFA_BYTE)?;
    let table = determinize::determinize(&nfa, &mut cost)?;
    Ok(Pattern::new(text, table))
}

/// What is written, with RE2's meaning.
fn read(text: &str, cost: &mut Cost<'_>) -> Result<Ast, PatternError> {
    let mut parser = parse::ParserBuilder::new();
    let parser = parser.nest_limit(PATTERN_DEPTH_MAX);
    let parsed = parser.build().parse(text);
    let mut tree = parsed.map_err(|error| PatternError::Wrong(reason(&error, text)))?;
    settle::settle(&mut tree, text, cost)?;
    Ok(tree)
}

/// Why a text is no pattern, in RE2's words.
fn reason(error: &Error, text: &str) -> String {
    use ErrorKind as Kind;
    let given = part(text, error.span());
    let rest = text.get(error.span().start.offset..).unwrap_or_default();
    match error.kind() {
        Kind::ClassUnclosed => format!("missing ]: {rest}"),
        Kind::GroupUnclosed => format!("missing ): {text}"),
        Kind::GroupUnopened => format!("unexpected ): {text}"),
        Kind::ClassRangeInvalid
        | Kind::ClassRangeLiteral
        | Kind::ClassEscapeInvalid
        | Kind::UnicodeClassInvalid => format!("invalid character class range: {given}"),
        Kind::EscapeUnexpectedEof => r"trailing \".to_owned(),
        Kind::EscapeUnrecognized
        | Kind::EscapeHexEmpty
        | Kind::EscapeHexInvalid
        | Kind::EscapeHexInvalidDigit
        | Kind::UnsupportedBackreference => format!("invalid escape sequence: {given}"),
        Kind::RepetitionMissing => {
            let operator: String = rest.chars().take(1).collect();
            format!("no argument for repetition operator: {operator}")
        }
        Kind::RepetitionCountInvalid
        | Kind::RepetitionCountDecimalEmpty
        | Kind::RepetitionCountUnclosed
        | Kind::DecimalEmpty
        | Kind::DecimalInvalid => format!("invalid repetition size: {rest}"),
        Kind::GroupNameDuplicate { .. }
        | Kind::GroupNameEmpty
        | Kind::GroupNameInvalid
        | Kind::GroupNameUnexpectedEof => format!("invalid named capture group: {rest}"),
        Kind::UnsupportedLookAround
        | Kind::FlagDanglingNegation
        | Kind::FlagDuplicate { .. }
        | Kind::FlagRepeatedNegation { .. }
        | Kind::FlagUnexpectedEof
        | Kind::FlagUnrecognized => format!("invalid perl operator: {given}"),
        Kind::NestLimitExceeded(_) | Kind::CaptureLimitExceeded => TOO_LARGE.to_owned(),
        _ => unknown(text, error.span()),
    }
}

fn unknown(text: &str, span: &Span) -> String {
    format!("unexpected error: {} is not supported", part(text, span))
}

fn part<'a>(text: &'a str, span: &Span) -> &'a str {
    text.get(span.start.offset..span.end.offset)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proffer_model::limits::PATTERNS_MAX;

    use super::*;

    #[test]
    fn a_pattern_means_what_re2_means_by_it() {
        for (pattern, texts, others) in [
            (
                "rack-[0-9]+",
                &["rack-1", "rack-17"][..],
                &["rack-", "rack-1b", "a rack-1"][..],
            ),
            ("a|ab", &["a", "ab"], &["b", "abb", ""]),
            ("(a|b)?", &["", "a", "b"], &["ab"]),
            ("^host-1$", &["host-1"], &["host-10"]),
            ("a*^b", &["b"], &["ab"]),
            (
                ".*\\.example\\.(com|org)",
                &["a.example.com", "ä.example.org"],
                &["a.example.net", "aexample.com"],
            ),
            (".{3}", &["abc", "äöü", "日本語"], &["ab", "abcd"]),
            ("(?i)Straße", &["straße", "STRAßE"], &["strasse"]),
            ("\\d+", &["12"], &["١٢"]),
            ("[\\d_]+", &["1_2"], &["١"]),
            ("\\w+", &["a_1"], &["ä"]),
            ("\\W", &["ä", "-"], &["a"]),
            ("[^\\W-]", &["a"], &["-", "ä"]),
            ("a\\b.*", &["a", "a-b", "aä"], &["ab"]),
            ("\\Aa\\B.*\\z", &["ab"], &["a-b", "aä"]),
            ("\\p{Greek}+", &["αβγ"], &["abc"]),
            ("[[:alpha:]]{2,3}", &["ab", "abc"], &["a", "a1", "abcd"]),
            ("(?P<n>x)y(?:z)", &["xyz"], &["xy"]),
            ("(?U)a+(?s).", &["aab"], &["a"]),
            ("[a&b.]\\.\\-\\x41\\x{E4}", &["&.-Aä"], &["c.-Aä"]),
            ("", &[""], &["a"]),
            ("\\s+", &[" \t\n\x0c\r"], &["\x0b", "\u{a0}", "a"]),
            ("\\S", &["\x0b", "a", "\u{a0}"], &[" ", "\r"]),
            ("[\\s-]+", &["- -"], &["\x0b", "a"]),
            ("[\\S\\r]", &["\x0b", "\r"], &["\n", " "]),
            ("(?i)[^\\S ]", &["\n"], &["\x0b", " ", "s"]),
            ("[[:space:]]", &["\x0b"], &["a"]),
            ("a{0,2}b{10}?", &["abbbbbbbbbb"], &["aaabbbbbbbbbb"]),
            ("(?i)\\W+", &["-ä"], &["s", "K", "a"]),
            ("(?i)[\\D]", &["s", "-"], &["1"]),
            ("(?i)[^\\W_]+", &["aS1"], &["-", "_"]),
            ("(?i)[[:^alpha:]]", &["1"], &["s", "K"]),
            ("(?i)\\pL[\\x00-\\x{7F}]", &["äS"], &["1S", "sä"]),
            ("\\<a\\>", &["<a>"], &["a"]),
            ("(?:a*)*(?:b{2}){3}", &["abbbbbb"], &["abbbb"]),
            ("(?m)a$(?s:.)^b", &["a\nb"], &["a b", "ab"]),
            ("(?m)^a$", &["a"], &["a\n"]),
            (".*\\bb\\B.", &["a bc", "bc"], &["abc", "b."]),
            ("(?:^|-)a(?:$|b)", &["a", "-ab"], &["-a-", "xa"]),
            ("a{0}|b{1000}", &["", &"b".repeat(1_000)], &["a", "b"]),
            ("\\P{Lu}\\p{Nd}\\p{Any}", &["a1-"], &["A1-", "aa-"]),
        ] {
            let compiled = compile_pattern(pattern).expect(pattern);
            for text in texts {
                assert!(compiled.matches(text), "{pattern} {text}");
            }
            for text in others {
                assert!(!compiled.matches(text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_in_the_words_of_re2() {
        let long = "a".repeat(PATTERN_LEN_MAX + 1);
        let deep = "(".repeat(400) + &")".repeat(400);
        for (pattern, why) in [
            ("a[b", "missing ]: [b"),
            ("a(b", "missing ): a(b"),
            ("a)b", "unexpected ): a)b"),
            ("*a", "no argument for repetition operator: *"),
            ("[z-a]", "invalid character class range: z-a"),
            ("\\p{None}", "invalid character class range: \\p{None}"),
            ("\\y", "invalid escape sequence: \\y"),
            ("(a)\\1", "invalid escape sequence: \\1"),
            ("a\\", "trailing \\"),
            ("(?=a)", "invalid perl operator: (?="),
            ("(?x)a", "invalid perl operator: (?x"),
            ("(?u:a)", "invalid perl operator: (?u"),
            ("a{2,1}", "invalid repetition size: {2,1}"),
            ("[0-9]{1, 3}", "unexpected error: {1, 3} is not supported"),
            ("a{ 2 }", "unexpected error: { 2 } is not supported"),
            ("a{2}\\.b{02}", "unexpected error: {02} is not supported"),
            ("a{1,02}?", "unexpected error: {1,02}? is not supported"),
            ("\\pC", "invalid character class range: \\pC"),
            ("[\\P{C}]", "invalid character class range: \\P{C}"),
            ("(?P<a.b>x)", "invalid named capture group: (?P<a.b>"),
            (
                "[a-z&&[^b]]",
                "unexpected error: a-z&&[^b] is not supported",
            ),
            ("\\u0041", "invalid escape sequence: \\u"),
            ("[a\\U00000041]", "invalid escape sequence: \\U"),
            ("[!-\\u{41}]", "invalid escape sequence: \\u"),
            (
                "\\p{Alphabetic}",
                "invalid character class range: \\p{Alphabetic}",
            ),
            (
                "[\\p{sc=Greek}]",
                "invalid character class range: \\p{sc=Greek}",
            ),
            ("a**", "bad repetition operator: **"),
            ("a+?*", "bad repetition operator: +?*"),
            ("x{2}{3}", "bad repetition operator: {2}{3}"),
            ("a{1001}", "invalid repetition size: {1001}"),
            ("(a{1000}){1000}", TOO_LARGE),
            ("[ab]*a[ab]{13}", TOO_LARGE),
            (&long, TOO_LARGE),
            (&deep, TOO_LARGE),
        ] {
            assert_eq!(compile_pattern(pattern).expect_err(pattern), why);
        }
    }

    #[test]
    fn what_takes_long_to_be_compiled_is_too_large_however_small_its_table_would_be() {
        let folded = |class: &str, count: usize| format!("(?i)(?:{}){{0}}", class.repeat(count));
        for pattern in [
            // The other cases of a million characters, again and again.
            folded("[\\x00-\\x{10FFFF}]", 40),
            folded("[\\W-]", 40),
            folded("\\p{Any}", 40),
            folded("[\\pL]", 40),
            // Many places at a time, and many of them.
            "(?:\\b|a).?".repeat(90),
            "\\w?".repeat(200) + &"[a-z].?".repeat(28),
        ] {
            let why = compile_pattern(&pattern).map(drop);
            assert_eq!(why, Err(TOO_LARGE.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn patterns_of_one_call_share_a_limit_of_bytes_and_one_of_steps() {
        for (part, fewest) in [
            // Large tables, and long ways to small ones.
            (".*a.{6}", 15),
            ("(?i)[\\x00-\\x{10FFFF}]", 3),
        ] {
            let mut patterns = Patterns::default();
            let more = |n: usize| format!("{part}{n:03}");
            let beyond = (0..PATTERNS_MAX).find(|n| {
                let compiled = patterns.compile(&more(*n));
                assert_ne!(
                    compiled,
                    Err(PatternError::Wrong(TOO_LARGE.to_owned())),
                    "{part}"
                );
                compiled.is_err()
            });
            let beyond = beyond.expect("not so many");
            assert!(beyond >= fewest, "{part}: {beyond}");
            assert_eq!(patterns.count(), beyond);
            let problem = patterns
                .decode(&more(beyond))
                .expect_err("it is beyond yet");
            assert_eq!(problem.field, "pattern");
            assert!(problem.message.contains("1048576 bytes"), "{problem}");
            // What is compiled already takes nothing more.
            patterns.compile(&more(0)).expect("it is one of them");
            assert!(patterns.has(&more(0)) && !patterns.has(&more(beyond)));
        }
        let mut patterns = Patterns::default();
        for n in 0..PATTERNS_MAX {
            let written = format!("(web|db)-{n}[0-9]{{1,3}}\\.(eu|us)\\.example\\.com");
            patterns
                .compile(&written)
                .expect("what is written of hosts");
        }
    }

    #[test]
    fn what_is_written_of_hosts_is_below_the_limit() {
        let hosts = (0..30).map(|n| format!("host-{n}\\.eu\\.example\\.com"));
        let hosts: Vec<String> = hosts.collect();
        for pattern in [
            hosts.join("|").as_str(),
            "10\\.0\\.(1[0-9]{2}|2[0-4][0-9]|25[0-5])\\.[0-9]{1,3}",
            "(?i)(web|db|cache)-[a-z]+[0-9]{2,4}(\\.(eu|us)-(east|west)-[1-3])?\\.example\\.(com|org|net)",
            ".*-(a|b|c).*-(d|e).*",
            "[^.]*\\..{1,20}",
            ".*a.{6}",
        ] {
            compile_pattern(pattern).expect(pattern);
        }
    }
}
