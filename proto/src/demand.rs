//! Demand: what a framework wants, with predicates of bounded depth.
//!
//! A shape that wants nothing is refused: it would fit everywhere without end. No shape at all is `Shape::Any`.

use std::collections::BTreeMap;

use proffer_model::limits::{
    AT_MOST_MAX, DEMAND_COUNT_MAX, DEMAND_ENTRIES_MAX, DURATION_MAX, ENTRIES_MAX,
    ITEMS_PER_CALL_MAX, LEAST_MAX, PATTERNS_MAX, PREDICATE_DEPTH_MAX, RANGES_MAX,
    RESOURCE_NAMES_MAX,
};
use proffer_model::{
    AtMost, Demand, DemandEntry, Exclusion, Generation, Key, Predicate, Problem, Quantities,
    ResourceName, Shape, Subject, Takes,
};

use crate::fields::{
    check_count, check_distinct, decode_duration, decode_host, decode_id, decode_list,
    encode_duration, invalid, missing, required,
};
use crate::pattern::Patterns;
use crate::resources::{
    decode_attribute, decode_quantities, decode_resources, encode_attribute, encode_quantities,
    encode_resources,
};
use crate::v1;
use crate::v1::at_most::Of;
use crate::v1::matches;
use crate::v1::predicate::Test;

/// A demand for the wire.
pub fn encode_demand(demand: &Demand) -> v1::SetDemand {
    v1::SetDemand {
        role: demand.role.to_string(),
        generation: demand.generation.0,
        entries: demand.entries.iter().map(encode_entry).collect(),
    }
}

/// A demand from the wire.
pub fn decode_demand(demand: v1::SetDemand) -> Result<Demand, Problem> {
    check_patterns(&demand)?;
    let mut patterns = Patterns::default();
    let decode = |entry| decode_entry(entry, &mut patterns);
    let entries = decode_list(demand.entries, "entries", DEMAND_ENTRIES_MAX, decode)?;
    check_distinct(entries.iter().map(|entry| &entry.id), |i| {
        format!("entries[{i}].id")
    })?;
    Ok(Demand {
        role: decode_id(&demand.role, "role")?,
        generation: Generation(demand.generation),
        entries,
    })
}

/// How many patterns there are is looked at before the first is compiled, which takes time.
fn check_patterns(demand: &v1::SetDemand) -> Result<(), Problem> {
    let mut left = PATTERNS_MAX;
    for (i, entry) in demand.entries.iter().enumerate() {
        if !entry.predicates.iter().all(|one| has_room(one, &mut left)) {
            let message = format!("with these the demand has more than {PATTERNS_MAX} patterns");
            return Err(invalid("predicates", message)
                .within(format!("entries[{i}]"))
                .hint("write several as one, with |"));
        }
    }
    Ok(())
}

/// Whether there are patterns in a call, which take a while to be compiled.
pub fn has_patterns(call: &v1::SessionCall) -> bool {
    let Some(v1::session_call::Call::SetDemand(demand)) = &call.call else {
        return false;
    };
    let mut predicates = demand.entries.iter().flat_map(|entry| &entry.predicates);
    predicates.any(|predicate| !has_room(predicate, &mut 0))
}

/// Takes the patterns of a predicate off that which may be. Nested as prost reads it, 100 deep at most.
fn has_room(predicate: &v1::Predicate, left: &mut usize) -> bool {
    match &predicate.test {
        Some(Test::Matches(_)) => match left.checked_sub(1) {
            Some(fewer) => {
                *left = fewer;
                true
            }
            None => false,
        },
        Some(Test::All(list) | Test::AnyOf(list)) => {
            list.predicates.iter().all(|one| has_room(one, left))
        }
        Some(Test::Not(inner)) => has_room(inner, left),
        _ => true,
    }
}

/// A predicate for the wire.
pub fn encode_predicate(predicate: &Predicate) -> v1::Predicate {
    let list = |predicates: &[Predicate]| v1::PredicateList {
        predicates: predicates.iter().map(encode_predicate).collect(),
    };
    let test = match predicate {
        Predicate::All(all) => Test::All(list(all)),
        Predicate::AnyOf(any) => Test::AnyOf(list(any)),
        Predicate::Not(inner) => Test::Not(Box::new(encode_predicate(inner))),
        Predicate::Attribute(name, value) => Test::Attribute(encode_attribute(name, value)),
        Predicate::Host(host) => Test::Host(host.clone()),
        Predicate::Has(name) => Test::Has(name.to_string()),
        Predicate::Resource(name) => Test::Resource(name.to_string()),
        Predicate::Region(name) => Test::Region(name.clone()),
        Predicate::Zone(name) => Test::Zone(name.clone()),
        Predicate::Reserved(name) => {
            Test::Reserved(name.as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Predicate::Matches(subject, pattern) => Test::Matches(v1::Matches {
            pattern: pattern.as_str().to_owned(),
            of: Some(encode_subject(subject)),
        }),
    };
    v1::Predicate { test: Some(test) }
}

/// A predicate from the wire, nested at most `PREDICATE_DEPTH_MAX` deep.
pub fn decode_predicate(predicate: v1::Predicate) -> Result<Predicate, Problem> {
    decode_nested(predicate, PREDICATE_DEPTH_MAX, &mut Patterns::default())
}

fn decode_nested(
    predicate: v1::Predicate,
    depth_left: usize,
    patterns: &mut Patterns,
) -> Result<Predicate, Problem> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        let message = format!("predicates are nested deeper than {PREDICATE_DEPTH_MAX}");
        return Err(invalid("", message).hint("flatten the tree: all and any_of take lists"));
    };
    let mut list = |list: v1::PredicateList, field: &str| {
        decode_list(list.predicates, "predicates", ENTRIES_MAX, |inner| {
            decode_nested(inner, depth_left, patterns)
        })
        .map_err(|problem| problem.within(field))
    };
    Ok(match required(predicate.test, "test")? {
        Test::All(all) => Predicate::All(list(all, "all")?),
        Test::AnyOf(any) => Predicate::AnyOf(list(any, "any_of")?),
        Test::Not(inner) => {
            let inner = decode_nested(*inner, depth_left, patterns);
            Predicate::Not(Box::new(inner.map_err(|problem| problem.within("not"))?))
        }
        Test::Attribute(attribute) => {
            let (name, value) =
                decode_attribute(attribute).map_err(|problem| problem.within("attribute"))?;
            Predicate::Attribute(name, value)
        }
        Test::Host(host) => Predicate::Host(decode_host(host, "host")?),
        Test::Has(name) => Predicate::Has(decode_id(&name, "has")?),
        Test::Resource(name) => Predicate::Resource(decode_id(&name, "resource")?),
        Test::Region(name) => Predicate::Region(decode_host(name, "region")?),
        Test::Zone(name) => Predicate::Zone(decode_host(name, "zone")?),
        Test::Reserved(name) if name.is_empty() => Predicate::Reserved(None),
        Test::Reserved(name) => Predicate::Reserved(Some(decode_id(&name, "reserved")?)),
        Test::Matches(test) => {
            decode_matches(test, patterns).map_err(|problem| problem.within("matches"))?
        }
    })
}

fn encode_subject(subject: &Subject) -> matches::Of {
    match subject {
        Subject::Attribute(name) => matches::Of::Attribute(name.to_string()),
        Subject::Host => matches::Of::Host(v1::Each {}),
        Subject::Region => matches::Of::Region(v1::Each {}),
        Subject::Zone => matches::Of::Zone(v1::Each {}),
    }
}

fn decode_matches(test: v1::Matches, patterns: &mut Patterns) -> Result<Predicate, Problem> {
    let subject = match required(test.of, "of")? {
        matches::Of::Attribute(name) => Subject::Attribute(decode_id(&name, "attribute")?),
        matches::Of::Host(v1::Each {}) => Subject::Host,
        matches::Of::Region(v1::Each {}) => Subject::Region,
        matches::Of::Zone(v1::Each {}) => Subject::Zone,
    };
    Ok(Predicate::Matches(subject, patterns.decode(&test.pattern)?))
}

fn encode_entry(entry: &DemandEntry) -> v1::DemandEntry {
    v1::DemandEntry {
        id: entry.id.to_string(),
        shape: encode_shape(&entry.shape),
        count: entry.count,
        predicates: entry.predicates.iter().map(encode_predicate).collect(),
        excluded: entry.excluded.iter().map(encode_exclusion).collect(),
        at_most: entry.at_most.iter().map(encode_at_most).collect(),
        gang: entry.gang,
        priority: entry.priority,
        takes: (entry.takes != Takes::default()).then(|| encode_takes(entry.takes)),
    }
}

fn decode_entry(entry: v1::DemandEntry, patterns: &mut Patterns) -> Result<DemandEntry, Problem> {
    if !(1..=DEMAND_COUNT_MAX).contains(&entry.count) {
        let message = format!("{} is not from 1 to {DEMAND_COUNT_MAX}", entry.count);
        return Err(invalid("count", message)
            .hint("leave an entry out of the demand when nothing of it is wanted"));
    }
    if entry.gang > entry.count {
        let message = format!(
            "{} at once are more than the {} wanted",
            entry.gang, entry.count
        );
        return Err(invalid("gang", message).hint("give at most count"));
    }
    Ok(DemandEntry {
        id: decode_id(&entry.id, "id")?,
        shape: decode_shape(entry.shape).map_err(|problem| problem.within("shape"))?,
        count: entry.count,
        predicates: decode_list(entry.predicates, "predicates", ENTRIES_MAX, |predicate| {
            decode_nested(predicate, PREDICATE_DEPTH_MAX, patterns)
        })?,
        at_most: decode_list(entry.at_most, "at_most", AT_MOST_MAX, decode_at_most)?,
        gang: entry.gang,
        priority: entry.priority,
        takes: entry.takes.map(decode_takes).unwrap_or_default(),
        excluded: decode_list(
            entry.excluded,
            "excluded",
            ITEMS_PER_CALL_MAX,
            decode_exclusion,
        )?,
    })
}

fn encode_at_most(at_most: &AtMost) -> v1::AtMost {
    let of = match &at_most.per {
        Key::Agent => Of::Agent(v1::Each {}),
        Key::Host => Of::Host(v1::Each {}),
        Key::Zone => Of::Zone(v1::Each {}),
        Key::Region => Of::Region(v1::Each {}),
        Key::Attribute(name) => Of::Attribute(name.to_string()),
    };
    v1::AtMost {
        count: at_most.count,
        of: Some(of),
    }
}

fn decode_at_most(at_most: v1::AtMost) -> Result<AtMost, Problem> {
    if at_most.count == 0 {
        return Err(missing("count").hint("give how many may be together, at least 1"));
    }
    let per = match required(at_most.of, "of")? {
        Of::Agent(v1::Each {}) => Key::Agent,
        Of::Host(v1::Each {}) => Key::Host,
        Of::Zone(v1::Each {}) => Key::Zone,
        Of::Region(v1::Each {}) => Key::Region,
        Of::Attribute(name) => Key::Attribute(decode_id(&name, "attribute")?),
    };
    Ok(AtMost {
        count: at_most.count,
        per,
    })
}

fn encode_takes(takes: Takes) -> v1::Takes {
    v1::Takes {
        revocable: Some(takes.revocable),
        shared: Some(takes.shared),
        refined: Some(takes.refined),
    }
}

fn decode_takes(takes: v1::Takes) -> Takes {
    let default = Takes::default();
    Takes {
        revocable: takes.revocable.unwrap_or(default.revocable),
        shared: takes.shared.unwrap_or(default.shared),
        refined: takes.refined.unwrap_or(default.refined),
    }
}

fn encode_shape(shape: &Shape) -> Option<v1::Shape> {
    match shape {
        Shape::Any { least } if least.is_empty() => None,
        Shape::Any { least } => Some(v1::Shape {
            least: least.iter().map(encode_quantities).collect(),
            ..v1::Shape::default()
        }),
        Shape::Of { resources, counts } => Some(v1::Shape {
            resources: Some(encode_resources(resources)),
            counts: counts
                .iter()
                .map(|(name, count)| (name.to_string(), *count))
                .collect(),
            least: Vec::new(),
        }),
    }
}

fn decode_shape(shape: Option<v1::Shape>) -> Result<Shape, Problem> {
    let Some(shape) = shape else {
        return Ok(Shape::Any { least: Vec::new() });
    };
    let resources = decode_resources(shape.resources.unwrap_or_default())
        .map_err(|problem| problem.within("resources"))?;
    let counts = decode_counts(shape.counts)?;
    if !shape.least.is_empty() {
        if !resources.is_empty() || !counts.is_empty() {
            return Err(
                invalid("least", "it is given beside what one instance needs")
                    .hint("give least alone: it is of offers of whatever is free"),
            );
        }
        let least = decode_list(shape.least, "least", LEAST_MAX, decode_least)?;
        return Ok(Shape::Any { least });
    }
    if resources.is_empty() && counts.is_empty() {
        return Err(missing("resources").hint("say what one instance needs, or leave shape out"));
    }
    Ok(Shape::Of { resources, counts })
}

fn decode_least(least: v1::Quantities) -> Result<Quantities, Problem> {
    match decode_quantities(least)? {
        least if least.is_empty() => {
            Err(missing("scalars").hint("say how much an offer has at least"))
        }
        least => Ok(least),
    }
}

fn decode_counts(counts: BTreeMap<String, u64>) -> Result<BTreeMap<ResourceName, u64>, Problem> {
    check_count(counts.len(), "counts", RESOURCE_NAMES_MAX)?;
    let most = u64::try_from(RANGES_MAX).unwrap_or(u64::MAX);
    let decode = |(name, count): (String, u64)| {
        let name: ResourceName = decode_id(&name, "counts")?;
        if !(1..=most).contains(&count) {
            let message = format!("{count} is not from 1 to {most}");
            return Err(invalid(name.as_str(), message)
                .within("counts")
                .hint("say how many numbers one instance needs, or leave the name out"));
        }
        Ok((name, count))
    };
    counts.into_iter().map(decode).collect()
}

fn encode_exclusion(exclusion: &Exclusion) -> v1::Exclusion {
    v1::Exclusion {
        agent_id: exclusion.agent.to_string(),
        lasts_ms: encode_duration(exclusion.lasts),
    }
}

fn decode_exclusion(exclusion: v1::Exclusion) -> Result<Exclusion, Problem> {
    Ok(Exclusion {
        agent: decode_id(&exclusion.agent_id, "agent_id")?,
        lasts: decode_duration(exclusion.lasts_ms, "lasts_ms", DURATION_MAX)?,
    })
}
