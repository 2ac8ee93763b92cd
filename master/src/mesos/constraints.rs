//! Offer constraints, which say on which agents a framework is offered something: predicates of its demand. Pure.
//!
//! They mean what they mean in Mesos: whatever says something of an attribute's text is met by an attribute that is a number
//! or ranges, since Mesos leaves those to the framework; what is said of a role that is not the framework's is checked, and
//! holds for nothing. An attribute with several values is each of them, where Mesos looks at the first.

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_model::demand::{Predicate, Subject};
use proffer_model::id::ResourceName;
use proffer_model::limits::{ENTRIES_MAX, PATTERNS_MAX, ROLES_MAX};
use proffer_model::{AttributeValue, Pattern, Role};
use proffer_proto::Patterns;
use proffer_proto::mesos::NUMBER_OR_RANGES;
use proffer_proto::mesos::v1::scheduler::attribute_constraint::selector::{
    PseudoattributeType, Selector,
};
use proffer_proto::mesos::v1::scheduler::{
    AttributeConstraint, OfferConstraints, attribute_constraint::predicate::Predicate as Test,
    offer_constraints::RoleConstraints,
};
use prost::Message;

use super::registry::SaidConstraints;
use crate::limits::MESOS_CONSTRAINTS_LEN_MAX;

/// What every text matches.
const ANY: &str = "(?s).*";

/// On which agents a framework wants to be offered something, judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    pub(super) said: Arc<SaidConstraints>,
    /// By role, of all roles that are named.
    pub(super) predicates: BTreeMap<Role, Predicate>,
}

impl Limits {
    /// Takes as long as the patterns in them; the error is Mesos's text.
    pub(super) fn of(given: &OfferConstraints) -> Result<Self, String> {
        let predicates =
            constraints(given).map_err(|why| format!("Offer constraints are not valid: {why}"))?;
        let said = Arc::new(SaidConstraints::new(given));
        Ok(Self { said, predicates })
    }
}

fn constraints(given: &OfferConstraints) -> Result<BTreeMap<Role, Predicate>, String> {
    let len = given.encoded_len();
    if len > MESOS_CONSTRAINTS_LEN_MAX {
        return Err(format!(
            "they have {len} bytes, more than {MESOS_CONSTRAINTS_LEN_MAX}"
        ));
    }
    let count = given.role_constraints.len();
    if count > ROLES_MAX {
        return Err(format!("they name {count} roles, more than {ROLES_MAX}"));
    }
    let mut patterns = Given::default();
    let mut all = BTreeMap::new();
    for (name, of_role) in &given.role_constraints {
        let predicate = of_one(name, of_role, &mut patterns)?;
        // What is no role is nobody's.
        if let Ok(role) = Role::new(name) {
            all.insert(role, predicate);
        }
    }
    Ok(all)
}

/// Of groups any, of a group's constraints all.
fn of_one(role: &str, given: &RoleConstraints, patterns: &mut Given) -> Result<Predicate, String> {
    let counts = given.groups.iter();
    let counts = counts.map(|group| 1 + group.attribute_constraints.len());
    let count: usize = counts.sum();
    if count > ENTRIES_MAX {
        return Err(format!(
            "a role has {count} groups and constraints, more than {ENTRIES_MAX}"
        ));
    }
    if given.groups.is_empty() {
        return Err(format!(
            "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {role}"
        ));
    }
    let mut any = Vec::new();
    for group in &given.groups {
        if group.attribute_constraints.is_empty() {
            // Without a space, as Mesos says it.
            return Err(format!(
                "'OfferConstraints::RoleConstraints::groups' for role {role}contains an empty RoleConstraints::Group"
            ));
        }
        let all = group.attribute_constraints.iter();
        let all = all.map(|one| constraint(one, patterns));
        let all = all.collect::<Result<_, _>>().map_err(|why: String| {
            format!("A role {role} has an invalid 'AttributeConstraint': {why}")
        })?;
        any.push(Predicate::All(all));
    }
    Ok(Predicate::AnyOf(any))
}

fn constraint(given: &AttributeConstraint, patterns: &mut Given) -> Result<Predicate, String> {
    let selected = selected(given.selector.selector.as_ref())?;
    let test = given.predicate.predicate.as_ref();
    let Some(test) = test else {
        return Err("Unknown predicate type".to_owned());
    };
    let (predicate, is_of_text) = match test {
        Test::Exists(_) => (exists(selected.as_ref(), patterns)?, false),
        Test::NotExists(_) => (not(exists(selected.as_ref(), patterns)?), false),
        Test::TextEquals(test) => (equals(selected.as_ref(), &test.value), true),
        Test::TextNotEquals(test) => (not(equals(selected.as_ref(), &test.value)), true),
        Test::TextMatches(test) => {
            let pattern = patterns.given(&test.regex)?;
            (matches(selected.as_ref(), pattern), true)
        }
        Test::TextNotMatches(test) => {
            let pattern = patterns.given(&test.regex)?;
            (not(matches(selected.as_ref(), pattern)), true)
        }
    };
    match selected {
        Some(attribute @ Subject::Attribute(_)) if is_of_text => {
            let other = Predicate::Matches(attribute, patterns.own(NUMBER_OR_RANGES)?);
            Ok(Predicate::AnyOf(vec![predicate, other]))
        }
        _ => Ok(predicate),
    }
}

/// What a constraint is about; none: what no agent can have.
fn selected(given: Option<&Selector>) -> Result<Option<Subject>, String> {
    match given {
        Some(Selector::AttributeName(name)) => {
            Ok(ResourceName::new(name).ok().map(Subject::Attribute))
        }
        Some(Selector::PseudoattributeType(number)) => {
            match PseudoattributeType::try_from(*number) {
                Ok(PseudoattributeType::Hostname) => Ok(Some(Subject::Host)),
                Ok(PseudoattributeType::Region) => Ok(Some(Subject::Region)),
                Ok(PseudoattributeType::Zone) => Ok(Some(Subject::Zone)),
                Ok(PseudoattributeType::Unknown) | Err(_) => {
                    Err("Unknown pseudoattribute type".to_owned())
                }
            }
        }
        None => Err("Exactly one of 'AttributeConstraint::Selector::name' or \
             'AttributeConstraint::Selector::pseudoattribute_type' must be set"
            .to_owned()),
    }
}

fn not(predicate: Predicate) -> Predicate {
    Predicate::Not(Box::new(predicate))
}

fn none() -> Predicate {
    Predicate::AnyOf(Vec::new())
}

fn exists(selected: Option<&Subject>, patterns: &mut Given) -> Result<Predicate, String> {
    Ok(match selected {
        None => none(),
        Some(Subject::Attribute(name)) => Predicate::Has(name.clone()),
        Some(Subject::Host) => Predicate::All(Vec::new()),
        Some(domain @ (Subject::Region | Subject::Zone)) => {
            Predicate::Matches(domain.clone(), patterns.own(ANY)?)
        }
    })
}

fn equals(selected: Option<&Subject>, value: &str) -> Predicate {
    match selected {
        None => none(),
        Some(Subject::Attribute(name)) => match AttributeValue::new(value) {
            Ok(known) if known.as_str() == value => Predicate::Attribute(name.clone(), known),
            _ => none(),
        },
        Some(Subject::Host) => Predicate::Host(value.to_owned()),
        Some(Subject::Region) => Predicate::Region(value.to_owned()),
        Some(Subject::Zone) => Predicate::Zone(value.to_owned()),
    }
}

fn matches(selected: Option<&Subject>, pattern: Pattern) -> Predicate {
    match selected {
        None => none(),
        Some(subject) => Predicate::Matches(subject.clone(), pattern),
    }
}

/// The patterns of one call.
#[derive(Default)]
struct Given {
    /// The framework's.
    given: Patterns,
    /// Of what is said without one.
    own: Patterns,
}

impl Given {
    /// One of the framework's; the error is Mesos's text.
    fn given(&mut self, text: &str) -> Result<Pattern, String> {
        if self.given.count() >= PATTERNS_MAX && !self.given.has(text) {
            return Err(format!(
                "there are more than {PATTERNS_MAX} different regular expressions"
            ));
        }
        compile(&mut self.given, text)
    }

    fn own(&mut self, text: &str) -> Result<Pattern, String> {
        compile(&mut self.own, text)
    }
}

fn compile(patterns: &mut Patterns, text: &str) -> Result<Pattern, String> {
    let compiled = patterns.compile(text);
    compiled.map_err(|why| format!("Failed to construct regex from pattern '{text}': {why}"))
}

#[cfg(test)]
mod tests {
    use proffer_model::{AgentDescription, FaultDomain, Resources};
    use proffer_proto::mesos::read_json;
    use serde_json::{Value, json};

    use super::*;

    fn agent(attributes: &str, domain: Option<(&str, &str)>) -> AgentDescription {
        AgentDescription {
            host: "node-7.example.com".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            resources: Resources::new(),
            attributes: attributes.parse().expect("attributes"),
            domain: domain.map(|(region, zone)| FaultDomain::new(region, zone).expect("both")),
            version: String::new(),
        }
    }

    fn compiled(groups: &Value) -> Result<Predicate, String> {
        let given = json!({"role_constraints": {"*": {"groups": groups}}}).to_string();
        let given: OfferConstraints = read_json(given.as_bytes()).expect("reads");
        let mut all = constraints(&given)?;
        Ok(all
            .remove(&Role::new("*").expect("a role"))
            .expect("of the role"))
    }

    fn one(selector: Value, predicate: Value) -> Value {
        json!([{"attribute_constraints": [{"selector": selector, "predicate": predicate}]}])
    }

    #[test]
    fn a_constraint_means_what_it_means_in_mesos() {
        let plain = agent("rack:r-1;size:12;ports:[1-5]", None);
        let placed = agent("rack:r-2", Some(("eu-1", "b")));
        let attribute = |name: &str| json!({"attribute_name": name});
        let of = |kind: &str| json!({"pseudoattribute_type": kind});
        let equals = |value: &str| json!({"text_equals": {"value": value}});
        let differs = |value: &str| json!({"text_not_equals": {"value": value}});
        let matches = |regex: &str| json!({"text_matches": {"regex": regex}});
        let other = |regex: &str| json!({"text_not_matches": {"regex": regex}});
        let (exists, absent) = (json!({"exists": {}}), json!({"not_exists": {}}));
        for (selector, predicate, of_plain, of_placed) in [
            (attribute("rack"), matches("r-[12]"), true, true),
            (attribute("rack"), matches("r-1|x"), true, false),
            (attribute("rack"), matches("-1"), false, false),
            (attribute("rack"), other("r-1"), false, true),
            // Who does not have it does not match it.
            (attribute("shelf"), matches(".*"), false, false),
            (attribute("shelf"), other(".*"), true, true),
            (attribute("no name!"), matches(".*"), false, false),
            (attribute("no name!"), other(".*"), true, true),
            (attribute("no name!"), absent.clone(), true, true),
            // What is no text passes whatever is said of text.
            (attribute("size"), matches("x"), true, false),
            (attribute("size"), other("12"), true, true),
            (attribute("size"), equals("13"), true, false),
            (attribute("size"), differs("12"), true, true),
            (attribute("ports"), equals("x"), true, false),
            (attribute("rack"), equals("r-1"), true, false),
            (attribute("rack"), equals(" r-1"), false, false),
            (attribute("rack"), differs("r-1"), false, true),
            (attribute("rack"), absent.clone(), false, false),
            (of("HOSTNAME"), matches("node-[0-9]+\\..*"), true, true),
            (of("HOSTNAME"), other("node-7.*"), false, false),
            (of("HOSTNAME"), exists.clone(), true, true),
            (of("REGION"), exists.clone(), false, true),
            (of("ZONE"), exists, false, true),
            (of("REGION"), absent.clone(), true, false),
            (of("ZONE"), absent, true, false),
            (of("REGION"), matches("eu-.*"), false, true),
            (of("ZONE"), other("[ab]"), true, false),
        ] {
            let groups = one(selector, predicate);
            let predicate = compiled(&groups).expect("compiles");
            let role = Role::new("*").expect("a role");
            let is = [&plain, &placed].map(|agent| predicate.accepts(agent, &role));
            assert_eq!(is, [of_plain, of_placed], "{groups}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused_in_mesos_words() {
        let rack = json!({"attribute_name": "rack"});
        let matches = |regex: &str| json!({"text_matches": {"regex": regex}});
        let of_role = |why: &str| format!("A role * has an invalid 'AttributeConstraint': {why}");
        for (groups, why) in [
            (json!([]), "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role *".to_owned()),
            (json!([{}]), "'OfferConstraints::RoleConstraints::groups' for role *contains an empty RoleConstraints::Group".to_owned()),
            (one(rack.clone(), json!({})), of_role("Unknown predicate type")),
            (one(json!({}), matches("a")), of_role("Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set")),
            (one(json!({"pseudoattribute_type": "UNKNOWN"}), matches("a")), of_role("Unknown pseudoattribute type")),
            (one(rack.clone(), matches("a(b")), of_role("Failed to construct regex from pattern 'a(b': missing ): a(b")),
            (one(rack, matches("(a{99}){99}")), of_role("Failed to construct regex from pattern '(a{99}){99}': pattern too large - compile failed")),
        ] {
            assert_eq!(compiled(&groups), Err(why));
        }
    }

    #[test]
    fn there_is_a_limit_of_different_patterns_and_none_of_the_same() {
        let many =
            |count: usize, is_same: bool| {
                let all = (0..count).map(|n| {
                let regex = if is_same { "a".to_owned() } else { format!("a{n}") };
                let selector = json!({"attribute_name": "rack"});
                json!({"selector": selector, "predicate": {"text_not_matches": {"regex": regex}}})
            });
                compiled(&json!([{"attribute_constraints": all.collect::<Vec<_>>()}]))
            };
        many(PATTERNS_MAX, false).expect("so many");
        many(ENTRIES_MAX - 1, true).expect("the same");
        let why = many(PATTERNS_MAX + 1, false).expect_err("too many");
        let text = "there are more than 100 different regular expressions";
        assert!(why.ends_with(text), "{why}");
        let all = (0..4).map(|n| {
            let regex = format!("(?i)[\\x00-\\x{{10FFFF}}]{n}");
            let selector = json!({"pseudoattribute_type": "HOSTNAME"});
            json!({"selector": selector, "predicate": {"text_matches": {"regex": regex}}})
        });
        let why = compiled(&json!([{"attribute_constraints": all.collect::<Vec<_>>()}]));
        let why = why.expect_err("together");
        assert!(why.contains("}]3': with this the patterns have"), "{why}");
    }
}
