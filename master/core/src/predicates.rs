//! What a predicate of a demand asks of agents, in words: for those that fail it. Whoever has several predicates hears which
//! of them it was.

use proffer_model::{Pattern, Predicate, Role, Subject};

use crate::limits::{PATTERN_SHOWN_MAX, PREDICATE_WORDS_MAX};

/// Its test, as `proffer.v1` calls it.
pub(crate) fn test_of(predicate: &Predicate) -> &'static str {
    match predicate {
        Predicate::All(_) => "all",
        Predicate::AnyOf(_) => "any_of",
        Predicate::Not(_) => "not",
        Predicate::Attribute(..) => "attribute",
        Predicate::Host(_) => "host",
        Predicate::Has(_) => "has",
        Predicate::Resource(_) => "resource",
        Predicate::Region(_) => "region",
        Predicate::Zone(_) => "zone",
        Predicate::Reserved(_) => "reserved",
        Predicate::Matches(..) => "matches",
    }
}

/// The rest of a sentence that begins with how many agents fail it.
pub(crate) fn failed(predicate: &Predicate, role: &Role) -> String {
    match predicate {
        Predicate::Attribute(name, value) => format!("do not have {name}:{}", value.as_str()),
        Predicate::Has(name) => format!("have no attribute {name}"),
        Predicate::Resource(name) => format!("have no resource {name}"),
        Predicate::Reserved(None) => format!("have nothing reserved for role {role}"),
        Predicate::Reserved(Some(name)) => format!("have no {name} reserved for role {role}"),
        Predicate::Host(_) | Predicate::Region(_) | Predicate::Zone(_) => {
            format!("are not {}", described(predicate, role))
        }
        Predicate::Matches(subject, pattern) => {
            format!("have no {}", matching(subject, pattern))
        }
        Predicate::Not(inner) => match &**inner {
            Predicate::Attribute(name, value) => format!("have {name}:{}", value.as_str()),
            Predicate::Has(name) => format!("have an attribute {name}"),
            Predicate::Resource(name) => format!("have resource {name}"),
            Predicate::Reserved(None) => format!("have something reserved for role {role}"),
            Predicate::Reserved(Some(name)) => format!("have {name} reserved for role {role}"),
            Predicate::Matches(subject, pattern) => {
                format!("have a {}", matching(subject, pattern))
            }
            inner => format!("are {}", described(inner, role)),
        },
        Predicate::AnyOf(any) if any.is_empty() => "do not suit, as none would".to_owned(),
        Predicate::All(_) | Predicate::AnyOf(_) => {
            format!("are not {}", described(predicate, role))
        }
    }
}

/// What an agent is that passes it. Of long ones the beginning.
fn described(predicate: &Predicate, role: &Role) -> String {
    let mut left = PREDICATE_WORDS_MAX;
    let mut words = String::new();
    describe(predicate, role, (&mut left, &mut words));
    words
}

fn describe(predicate: &Predicate, role: &Role, (left, words): (&mut usize, &mut String)) {
    let Some(fewer) = left.checked_sub(1) else {
        words.push('…');
        return;
    };
    *left = fewer;
    match predicate {
        Predicate::All(all) => describe_list(all, role, ("anything", " and "), (left, words)),
        Predicate::AnyOf(any) => {
            describe_list(any, role, ("nothing there is", " or "), (left, words))
        }
        Predicate::Not(inner) => {
            words.push_str("not ");
            describe(inner, role, (left, words));
        }
        Predicate::Attribute(name, value) => {
            words.push_str(&format!("with {name}:{}", value.as_str()));
        }
        Predicate::Host(host) => words.push_str(&format!("host {host}")),
        Predicate::Has(name) => words.push_str(&format!("with an attribute {name}")),
        Predicate::Resource(name) => words.push_str(&format!("with resource {name}")),
        Predicate::Region(region) => words.push_str(&format!("in region {region}")),
        Predicate::Zone(zone) => words.push_str(&format!("in zone {zone}")),
        Predicate::Reserved(name) => {
            let what = name.as_ref().map_or("something", |name| name.as_str());
            words.push_str(&format!("with {what} reserved for role {role}"));
        }
        Predicate::Matches(subject, pattern) => {
            words.push_str(&format!("with a {}", matching(subject, pattern)));
        }
    }
}

fn matching(subject: &Subject, pattern: &Pattern) -> String {
    let of = match subject {
        Subject::Attribute(name) => name.as_str(),
        Subject::Host => "host",
        Subject::Region => "region",
        Subject::Zone => "zone",
    };
    let mut text: String = pattern.as_str().chars().take(PATTERN_SHOWN_MAX).collect();
    if text.len() < pattern.as_str().len() {
        text.push('…');
    }
    format!("{of} that matches {text}")
}

fn describe_list(
    list: &[Predicate],
    role: &Role,
    (none, between): (&str, &str),
    (left, words): (&mut usize, &mut String),
) {
    let [first, rest @ ..] = list else {
        words.push_str(none);
        return;
    };
    if rest.is_empty() {
        return describe(first, role, (left, words));
    }
    words.push('(');
    describe(first, role, (left, words));
    for inner in rest {
        words.push_str(between);
        let is_told = *left > 0;
        describe(inner, role, (left, words));
        if !is_told {
            break;
        }
    }
    words.push(')');
}

#[cfg(test)]
mod tests {
    use proffer_model::{AttributeValue, PatternTable};

    use super::*;

    fn region(name: &str) -> Predicate {
        Predicate::Region(name.to_owned())
    }

    fn role() -> Role {
        "eng".parse().expect("a role")
    }

    fn ssd() -> Predicate {
        let value = AttributeValue::new("yes").expect("a value");
        Predicate::Attribute("ssd".parse().expect("a name"), value)
    }

    fn host() -> Predicate {
        Predicate::Host("h1".to_owned())
    }

    fn zone() -> Predicate {
        Predicate::Zone("b".to_owned())
    }

    fn matching(text: &str) -> Predicate {
        let table = PatternTable {
            classes: [0; 256],
            width: 1,
            next: vec![PatternTable::DEAD, PatternTable::START],
            is_match: vec![false, true],
        };
        let rack = Subject::Attribute("rack".parse().expect("a name"));
        Predicate::Matches(rack, Pattern::new(text, table))
    }

    fn not(inner: Predicate) -> Predicate {
        Predicate::Not(Box::new(inner))
    }

    #[test]
    fn each_test_is_named() {
        let role = role();
        let gpus = || "gpus".parse().expect("a name");
        for (predicate, test, words) in [
            (ssd(), "attribute", "do not have ssd:yes"),
            (host(), "host", "are not host h1"),
            (Predicate::Has(gpus()), "has", "have no attribute gpus"),
            (
                Predicate::Resource(gpus()),
                "resource",
                "have no resource gpus",
            ),
            (region("eu"), "region", "are not in region eu"),
            (zone(), "zone", "are not in zone b"),
            (not(ssd()), "not", "have ssd:yes"),
            (not(host()), "not", "are host h1"),
            (
                not(Predicate::Resource(gpus())),
                "not",
                "have resource gpus",
            ),
            (
                Predicate::Reserved(None),
                "reserved",
                "have nothing reserved for role eng",
            ),
            (
                Predicate::Reserved(Some(gpus())),
                "reserved",
                "have no gpus reserved for role eng",
            ),
            (
                not(Predicate::Reserved(None)),
                "not",
                "have something reserved for role eng",
            ),
            (matching("r.*"), "matches", "have no rack that matches r.*"),
            (not(matching("r.*")), "not", "have a rack that matches r.*"),
        ] {
            assert_eq!(
                (test_of(&predicate), &*failed(&predicate, &role)),
                (test, words)
            );
        }
    }

    #[test]
    fn several_tests_in_one_are_named_together() {
        let role = role();
        for (predicate, test, words) in [
            (
                Predicate::All(vec![Predicate::Reserved(None), not(zone())]),
                "all",
                "are not (with something reserved for role eng and not in zone b)",
            ),
            (
                Predicate::All(vec![region("eu"), not(zone())]),
                "all",
                "are not (in region eu and not in zone b)",
            ),
            (
                Predicate::AnyOf(vec![region("eu"), ssd()]),
                "any_of",
                "are not (in region eu or with ssd:yes)",
            ),
            (not(Predicate::AnyOf(vec![host()])), "not", "are host h1"),
            (
                Predicate::AnyOf(vec![matching("r.*"), zone()]),
                "any_of",
                "are not (with a rack that matches r.* or in zone b)",
            ),
            (
                Predicate::AnyOf(Vec::new()),
                "any_of",
                "do not suit, as none would",
            ),
        ] {
            assert_eq!(
                (test_of(&predicate), &*failed(&predicate, &role)),
                (test, words)
            );
        }
    }

    #[test]
    fn long_ones_are_told_in_part() {
        let words = failed(&matching(&"ä".repeat(PATTERN_SHOWN_MAX + 1)), &role());
        assert_eq!(words.matches('ä').count(), PATTERN_SHOWN_MAX);
        assert!(words.ends_with("ä…"), "{words}");
        let many = (0..1_000).map(|i| region(&format!("r{i}"))).collect();
        let words = failed(&Predicate::AnyOf(many), &role());
        assert!(words.starts_with("are not (in region r0 or in region r1"));
        assert!(words.ends_with(" or …)"), "{words}");
        assert_eq!(words.matches("region").count(), PREDICATE_WORDS_MAX - 1);
    }
}
