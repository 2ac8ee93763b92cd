//! Gives what is written RE2's meaning, or refuses what it does not know, and counts what it takes to find out which characters
//! are meant.

use regex_syntax::ast::{
    Assertion, AssertionKind, Ast, ClassAscii, ClassAsciiKind, ClassBracketed, ClassPerl,
    ClassPerlKind, ClassSet, ClassSetItem, ClassSetUnion, ClassUnicode, ClassUnicodeKind,
    ClassUnicodeOpKind, Flag, Flags, FlagsItem, FlagsItemKind, Group, GroupKind, HexLiteralKind,
    Literal, LiteralKind, Repetition, RepetitionKind, RepetitionRange, Span,
};
use regex_syntax::hir::{Class, HirKind, translate};

use super::cost::Cost;
use super::{PatternError, part, unknown};

/// Characters that there may be.
const CHARACTERS: usize = 0x11_0000;
/// Steps of each character whose other cases are looked for, and of a class that is looked up by its name.
const STEPS_OF_CHARACTER: usize = 1;
const STEPS_OF_NAME: usize = 1_000;

/// How often RE2 lets something repeat at most.
const REPETITIONS_MAX: u32 = 1_000;
/// What RE2 knows by name beside scripts.
const CATEGORIES: [&str; 36] = [
    "Any", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N",
    "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So",
    "Z", "Zl", "Zp", "Zs",
];

/// Settles a pattern that was read.
pub(super) fn settle(tree: &mut Ast, text: &str, cost: &mut Cost<'_>) -> Result<(), PatternError> {
    let mut settling = Settling {
        text,
        cost,
        folds: false,
    };
    settling.settle(tree)
}

/// On the way through a pattern, in the order in which it is written.
struct Settling<'a, 'b> {
    text: &'a str,
    cost: &'a mut Cost<'b>,
    /// From somewhere before here on the case may not matter.
    folds: bool,
}

impl Settling<'_, '_> {
    fn settle(&mut self, tree: &mut Ast) -> Result<(), PatternError> {
        match tree {
            Ast::Flags(flags) => self.check_flags(&flags.flags),
            Ast::ClassPerl(class) => {
                // Negated so and not within the list, whose other cases would be looked for: a million.
                *tree = Ast::class_bracketed(bracketed(class));
                Ok(())
            }
            Ast::ClassUnicode(class) => {
                let count = self.count_named(class)?;
                let positive = if class.is_negated() {
                    CHARACTERS - count
                } else {
                    count
                };
                self.fold(positive)
            }
            Ast::ClassBracketed(class) => match &mut class.kind {
                ClassSet::Item(item) => {
                    let count = self.settle_item(item)?;
                    self.fold(count)
                }
                ClassSet::BinaryOp(sets) => Err(self.unknown(&sets.span)),
            },
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::WordBoundary | AssertionKind::NotWordBoundary => {
                    *tree = of_ascii(assertion);
                    Ok(())
                }
                // Which RE2 takes as these characters.
                AssertionKind::WordBoundaryStartAngle => {
                    *tree = literal(assertion.span, '<');
                    Ok(())
                }
                AssertionKind::WordBoundaryEndAngle => {
                    *tree = literal(assertion.span, '>');
                    Ok(())
                }
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText => Ok(()),
                _ => Err(self.unknown(&assertion.span)),
            },
            Ast::Repetition(repetition) => {
                self.check_repetition(repetition)?;
                self.settle(&mut repetition.ast)
            }
            Ast::Group(group) => {
                self.check_group(group)?;
                self.settle(&mut group.ast)
            }
            Ast::Alternation(all) => all.asts.iter_mut().try_for_each(|one| self.settle(one)),
            Ast::Concat(all) => all.asts.iter_mut().try_for_each(|one| self.settle(one)),
            Ast::Literal(literal) => self.check_literal(literal),
            Ast::Empty(_) | Ast::Dot(_) => Ok(()),
        }
    }

    /// How many characters an item of a list is.
    fn settle_item(&mut self, item: &mut ClassSetItem) -> Result<usize, PatternError> {
        match item {
            ClassSetItem::Perl(class) => {
                let negated = class.negated;
                *item = match class.kind {
                    ClassPerlKind::Space if negated => {
                        ClassSetItem::Bracketed(Box::new(bracketed(class)))
                    }
                    _ => of_perl(class, negated),
                };
                Ok(if negated { CHARACTERS } else { 128 })
            }
            ClassSetItem::Ascii(class) => Ok(count_ascii(class)),
            ClassSetItem::Unicode(class) => {
                let count = self.count_named(class)?;
                let positive = if class.is_negated() {
                    CHARACTERS - count
                } else {
                    count
                };
                // By itself, and again with the rest of the list.
                self.fold(positive)?;
                Ok(count)
            }
            ClassSetItem::Union(all) => {
                let mut count = 0;
                for one in &mut all.items {
                    count += self.settle_item(one)?;
                }
                Ok(count.min(CHARACTERS))
            }
            ClassSetItem::Bracketed(inner) => Err(self.unknown(&inner.span)),
            ClassSetItem::Range(range) => {
                self.check_literal(&range.start)?;
                self.check_literal(&range.end)?;
                let [start, end] = [range.start.c, range.end.c].map(u32::from);
                Ok(usize::try_from(end.saturating_sub(start)).unwrap_or(CHARACTERS) + 1)
            }
            ClassSetItem::Empty(_) => Ok(0),
            ClassSetItem::Literal(literal) => self.check_literal(literal).map(|()| 1),
        }
    }

    /// How many characters are of a category or a script: RE2 knows no other properties. A script may be written otherwise than
    /// RE2 asks for (`greek`, `Grek`).
    fn count_named(&mut self, class: &ClassUnicode) -> Result<usize, PatternError> {
        self.cost.spend(STEPS_OF_NAME)?;
        let kind = match &class.kind {
            ClassUnicodeKind::Named(name) if !CATEGORIES.contains(&name.as_str()) => {
                ClassUnicodeKind::NamedValue {
                    op: ClassUnicodeOpKind::Equal,
                    name: "script".to_owned(),
                    value: name.clone(),
                }
            }
            // Of which RE2 leaves out the characters that there are not.
            ClassUnicodeKind::OneLetter('C') => return Err(self.wrong_range(&class.span)),
            known @ (ClassUnicodeKind::OneLetter(_) | ClassUnicodeKind::Named(_)) => known.clone(),
            ClassUnicodeKind::NamedValue { .. } => return Err(self.wrong_range(&class.span)),
        };
        let tree = Ast::class_unicode(ClassUnicode {
            kind,
            ..class.clone()
        });
        let mut translator = translate::TranslatorBuilder::new().utf8(false).build();
        let meant = translator.translate(self.text, &tree);
        let meant = meant.map_err(|_| self.wrong_range(&class.span))?;
        let HirKind::Class(Class::Unicode(class)) = meant.kind() else {
            // A single character.
            return Ok(1);
        };
        Ok(class.iter().map(|range| range.len()).sum())
    }

    fn wrong_range(&self, span: &Span) -> PatternError {
        let given = part(self.text, span);
        PatternError::Wrong(format!("invalid character class range: {given}"))
    }

    fn unknown(&self, span: &Span) -> PatternError {
        PatternError::Wrong(unknown(self.text, span))
    }

    /// RE2 knows `\x41` and `\x{41}`, and not `\u0041`.
    fn check_literal(&self, literal: &Literal) -> Result<(), PatternError> {
        match &literal.kind {
            LiteralKind::HexFixed(kind) | LiteralKind::HexBrace(kind)
                if *kind != HexLiteralKind::X =>
            {
                let given = part(self.text, &literal.span);
                let name = given.get(..2).unwrap_or_default();
                Err(PatternError::Wrong(format!(
                    "invalid escape sequence: {name}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// A name has letters, digits and `_` in RE2.
    fn check_group(&mut self, group: &Group) -> Result<(), PatternError> {
        match &group.kind {
            GroupKind::CaptureIndex(_) => Ok(()),
            GroupKind::NonCapturing(flags) => self.check_flags(flags),
            GroupKind::CaptureName { name, .. } => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.name.chars().all(is_part) {
                    return Ok(());
                }
                let start = group.span.start.offset;
                let given = self.text.get(start..=name.span.end.offset);
                let given = given.unwrap_or_default();
                Err(PatternError::Wrong(format!(
                    "invalid named capture group: {given}"
                )))
            }
        }
    }

    /// RE2 takes braces with white space, without a first number or with a `0` too many as the characters that they are.
    fn check_braces(&self, span: &Span) -> Result<(), PatternError> {
        let given = part(self.text, span);
        let is_other = |c: char| !(c.is_ascii_digit() || "{,}?*+".contains(c));
        let mut numbers = given.split(|c: char| !c.is_ascii_digit());
        let has_zero = numbers.any(|number| number.len() > 1 && number.starts_with('0'));
        match given.contains(is_other) || given.starts_with("{,") || has_zero {
            true => Err(self.unknown(span)),
            false => Ok(()),
        }
    }

    /// RE2 lets nothing repeat that repeats unless it is in a group, and nothing more often than a thousand times.
    fn check_repetition(&self, repetition: &Repetition) -> Result<(), PatternError> {
        let span = &repetition.op.span;
        self.check_braces(span)?;
        if let Ast::Repetition(inner) = &*repetition.ast {
            let given = part(self.text, &Span::new(inner.op.span.start, span.end));
            let why = format!("bad repetition operator: {given}");
            return Err(PatternError::Wrong(why));
        }
        let most = match &repetition.op.kind {
            RepetitionKind::Range(
                RepetitionRange::Exactly(most)
                | RepetitionRange::AtLeast(most)
                | RepetitionRange::Bounded(_, most),
            ) => *most,
            RepetitionKind::ZeroOrOne | RepetitionKind::ZeroOrMore | RepetitionKind::OneOrMore => 1,
        };
        match most > REPETITIONS_MAX {
            true => {
                let given = part(self.text, span);
                let why = format!("invalid repetition size: {given}");
                Err(PatternError::Wrong(why))
            }
            false => Ok(()),
        }
    }

    /// Counts what it takes to find the other cases of so many characters.
    fn fold(&mut self, characters: usize) -> Result<(), PatternError> {
        if self.folds {
            self.cost.spend(characters * STEPS_OF_CHARACTER)?;
        }
        Ok(())
    }

    fn check_flags(&mut self, flags: &Flags) -> Result<(), PatternError> {
        for item in &flags.items {
            match item.kind {
                FlagsItemKind::Negation
                | FlagsItemKind::Flag(
                    Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed,
                ) => {}
                FlagsItemKind::Flag(Flag::CaseInsensitive) => self.folds = true,
                FlagsItemKind::Flag(_) => {
                    let given = part(self.text, &flags.span);
                    let why = format!("invalid perl operator: (?{given}");
                    return Err(PatternError::Wrong(why));
                }
            }
        }
        Ok(())
    }
}

/// How many characters a class is, at most.
fn count_ascii(class: &ClassAscii) -> usize {
    match class.negated {
        true => CHARACTERS,
        false => 128,
    }
}

/// What a class is: a list of itself alone.
fn bracketed(class: &ClassPerl) -> ClassBracketed {
    ClassBracketed {
        span: class.span,
        negated: class.negated,
        kind: ClassSet::Item(of_perl(class, false)),
    }
}

/// The same of ASCII; what is negated is no space.
fn of_perl(class: &ClassPerl, negated: bool) -> ClassSetItem {
    let span = class.span;
    let kind = match class.kind {
        ClassPerlKind::Digit => ClassAsciiKind::Digit,
        ClassPerlKind::Word => ClassAsciiKind::Word,
        ClassPerlKind::Space => return spaces(span),
    };
    ClassSetItem::Ascii(ClassAscii {
        span,
        kind,
        negated,
    })
}

/// `\s`: `[[:space:]]` has a vertical tab besides.
fn spaces(span: Span) -> ClassSetItem {
    let items = ['\t', '\n', '\x0c', '\r', ' '].map(|c| {
        ClassSetItem::Literal(Literal {
            span,
            kind: LiteralKind::Verbatim,
            c,
        })
    });
    ClassSetItem::Union(ClassSetUnion {
        span,
        items: items.into(),
    })
}

fn literal(span: Span, c: char) -> Ast {
    Ast::literal(Literal {
        span,
        kind: LiteralKind::Superfluous,
        c,
    })
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
