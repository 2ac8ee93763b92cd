//! Patterns as they are written: regular expressions in RE2's language, compiled to what the model looks with.
//!
//! The reader is that of Rust's `regex`, whose language differs in a few things: what RE2 means by `\d`, `\w`, `\s` and `\b` is
//! ASCII, and what only the other knows is refused. What RE2 knows alone, `\Q…\E`, `\C`, octal numbers and a brace that
//! repeats nothing, is refused too. The texts of what is refused are RE2's.

use std::collections::BTreeMap;

use proffer_model::limits::PATTERN_LEN_MAX;
use proffer_model::{Pattern, PatternTable, Problem};
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::ast::{
    Assertion, AssertionKind, Ast, ClassAscii, ClassAsciiKind, ClassBracketed, ClassPerl,
    ClassPerlKind, ClassSet, ClassSetItem, Error, ErrorKind, Flag, Flags, FlagsItem, FlagsItemKind,
    Group, GroupKind, Span, parse,
};
use regex_syntax::hir::translate;

use crate::fields::{invalid, missing};
use crate::limits::{PATTERN_DEPTH_MAX, PATTERN_NFA_LEN_MAX, PATTERN_TABLE_LEN_MAX};

/// What is said of a pattern that takes too much.
const TOO_LARGE: &str = "pattern too large - compile failed";

/// Compiles a pattern; the error is what RE2 says.
pub fn compile_pattern(text: &str) -> Result<Pattern, String> {
    if text.len() > PATTERN_LEN_MAX {
        return Err(TOO_LARGE.to_owned());
    }
    let mut parser = parse::ParserBuilder::new();
    let parser = parser.nest_limit(PATTERN_DEPTH_MAX);
    let mut tree = parser
        .build()
        .parse(text)
        .map_err(|error| reason(&error, text))?;
    settle(&mut tree, text)?;
    let mut translator = translate::TranslatorBuilder::new().utf8(false).build();
    let meant = translator.translate(text, &tree).map_err(|error| {
        let given = part(text, error.span());
        format!("invalid character class range: {given}")
    })?;
    let nfa = thompson::Config::new()
        .utf8(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(PATTERN_NFA_LEN_MAX));
    let nfa = thompson::Compiler::new()
        .configure(nfa)
        .build_from_hir(&meant)
        .map_err(|_| TOO_LARGE)?;
    let dfa = dense::Config::new()
        .start_kind(StartKind::Anchored)
        // Of what is written first no less than of what comes behind it: the whole text is to match.
        .match_kind(MatchKind::All)
        .accelerate(false)
        .determinize_size_limit(Some(PATTERN_TABLE_LEN_MAX))
        .dfa_size_limit(Some(PATTERN_TABLE_LEN_MAX));
    let dfa = dense::Builder::new().configure(dfa).build_from_nfa(&nfa);
    let table = table(&dfa.map_err(|_| TOO_LARGE)?);
    Ok(Pattern::new(text, table.ok_or(TOO_LARGE)?))
}

/// A pattern from the wire, or from whoever writes one; the problem names the field `pattern`.
pub fn decode_pattern(text: &str) -> Result<Pattern, Problem> {
    if text.is_empty() {
        return Err(missing("pattern").hint("give a regular expression, such as rack-[0-9]+"));
    }
    compile_pattern(text).map_err(|why| {
        invalid("pattern", why).hint(
            "give a regular expression in RE2's language that the whole text matches, such as rack-[0-9]+, shorter or simpler \
             if it is too large",
        )
    })
}

/// The states that are reached, numbered in the order in which they are found.
fn table(dfa: &dense::DFA<Vec<u32>>) -> Option<PatternTable> {
    let input = Input::new("").anchored(Anchored::Yes);
    let start = dfa.start_state_forward(&input).ok()?;
    let mut classes = [0; 256];
    let mut samples = BTreeMap::new();
    for (byte, class) in (0..=u8::MAX).zip(&mut classes) {
        *class = dfa.byte_classes().get(byte);
        samples.entry(*class).or_insert(byte);
    }
    let mut table = PatternTable {
        classes,
        width: samples.len(),
        next: vec![PatternTable::DEAD; samples.len()],
        is_match: vec![false],
    };
    let mut found = vec![start];
    let mut numbers: BTreeMap<StateID, u16> = [(start, PatternTable::START)].into();
    while let Some(state) = found.get(table.is_match.len() - 1).copied() {
        let end = dfa.next_eoi_state(state);
        table.is_match.push(dfa.is_match_state(end));
        for byte in samples.values() {
            let next = dfa.next_state(state, *byte);
            let number = match dfa.is_dead_state(next) {
                true => PatternTable::DEAD,
                false => {
                    let fresh = u16::try_from(found.len() + 1).ok()?;
                    *numbers.entry(next).or_insert_with(|| {
                        found.push(next);
                        fresh
                    })
                }
            };
            table.next.push(number);
        }
    }
    Some(table)
}

/// Gives what is written RE2's meaning, or refuses what it does not know.
fn settle(tree: &mut Ast, text: &str) -> Result<(), String> {
    match tree {
        Ast::Flags(flags) => check_flags(&flags.flags, text),
        Ast::ClassPerl(class) => {
            *tree = Ast::class_bracketed(ClassBracketed {
                span: class.span,
                negated: false,
                kind: ClassSet::Item(ClassSetItem::Ascii(ascii(class))),
            });
            Ok(())
        }
        Ast::ClassBracketed(class) => match &mut class.kind {
            ClassSet::Item(item) => settle_item(item, text),
            ClassSet::BinaryOp(sets) => Err(unknown(text, &sets.span)),
        },
        Ast::Assertion(assertion) => match assertion.kind {
            AssertionKind::WordBoundary | AssertionKind::NotWordBoundary => {
                *tree = of_ascii(assertion);
                Ok(())
            }
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText => Ok(()),
            _ => Err(unknown(text, &assertion.span)),
        },
        Ast::Repetition(repetition) => settle(&mut repetition.ast, text),
        Ast::Group(group) => {
            if let GroupKind::NonCapturing(flags) = &group.kind {
                check_flags(flags, text)?;
            }
            settle(&mut group.ast, text)
        }
        Ast::Alternation(all) => all.asts.iter_mut().try_for_each(|one| settle(one, text)),
        Ast::Concat(all) => all.asts.iter_mut().try_for_each(|one| settle(one, text)),
        Ast::Empty(_) | Ast::Literal(_) | Ast::Dot(_) | Ast::ClassUnicode(_) => Ok(()),
    }
}

fn settle_item(item: &mut ClassSetItem, text: &str) -> Result<(), String> {
    match item {
        ClassSetItem::Perl(class) => {
            *item = ClassSetItem::Ascii(ascii(class));
            Ok(())
        }
        ClassSetItem::Union(all) => all
            .items
            .iter_mut()
            .try_for_each(|one| settle_item(one, text)),
        ClassSetItem::Bracketed(inner) => Err(unknown(text, &inner.span)),
        ClassSetItem::Empty(_)
        | ClassSetItem::Literal(_)
        | ClassSetItem::Range(_)
        | ClassSetItem::Ascii(_)
        | ClassSetItem::Unicode(_) => Ok(()),
    }
}

fn ascii(class: &ClassPerl) -> ClassAscii {
    ClassAscii {
        span: class.span,
        kind: match class.kind {
            ClassPerlKind::Digit => ClassAsciiKind::Digit,
            ClassPerlKind::Space => ClassAsciiKind::Space,
            ClassPerlKind::Word => ClassAsciiKind::Word,
        },
        negated: class.negated,
    }
}

/// `(?-u:\b)`.
fn of_ascii(assertion: &Assertion) -> Ast {
    let span = assertion.span;
    let kinds = [FlagsItemKind::Negation, FlagsItemKind::Flag(Flag::Unicode)];
    let items = kinds.map(|kind| FlagsItem { span, kind });
    let flags = Flags {
        span,
        items: items.into(),
    };
    Ast::group(Group {
        span,
        kind: GroupKind::NonCapturing(flags),
        ast: Box::new(Ast::assertion(assertion.clone())),
    })
}

fn check_flags(flags: &Flags, text: &str) -> Result<(), String> {
    let is_known = |item: &FlagsItem| match item.kind {
        FlagsItemKind::Negation => true,
        FlagsItemKind::Flag(flag) => matches!(
            flag,
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed
        ),
    };
    match flags.items.iter().all(is_known) {
        true => Ok(()),
        false => Err(format!(
            "invalid perl operator: (?{}",
            part(text, &flags.span)
        )),
    }
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
            (
                "[a-z&&[^b]]",
                "unexpected error: a-z&&[^b] is not supported",
            ),
            ("a{1000}{1000}", TOO_LARGE),
            ("[ab]*a[ab]{12}", TOO_LARGE),
            (&long, TOO_LARGE),
            (&deep, TOO_LARGE),
        ] {
            assert_eq!(compile_pattern(pattern).expect_err(pattern), why);
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
