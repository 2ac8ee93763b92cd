//! What Mesos's calls come to in demand: one entry that takes whatever there is, none while a role is suppressed, and
//! predicates where a framework has constraints.
//!
//! An entry of a new id has no exclusions: reviving names a new one, and so clears the filters of the role.

use std::time::Duration;

use proffer_model::demand::Predicate;
use proffer_model::id::ResourceName;
use proffer_model::limits::{ENTRIES_MAX, LEAST_MAX};
use proffer_model::quantities::Quantities;
use proffer_model::{AttributeValue, Demand, DemandId, Generation, Problem, Role};
use proffer_proto::mesos::Capabilities;
use proffer_proto::mesos::v1::offer_filters::MinAllocatableResources;
use proffer_proto::mesos::v1::scheduler::attribute_constraint::selector::{
    PseudoattributeType, Selector,
};
use proffer_proto::mesos::v1::scheduler::{
    AttributeConstraint, attribute_constraint::predicate::Predicate as Test,
    offer_constraints::RoleConstraints,
};
use proffer_proto::mesos::v1::{Filters, Resource, value};
use proffer_proto::mesos::{decode_resources, entry_of_any, least_of};

/// How long refused resources are not offered again; the core never takes less than a second.
pub(super) fn refused_for(filters: Option<&Filters>) -> Duration {
    proffer_proto::mesos::refused_for(filters.map(Filters::refuse_seconds))
}

/// What a framework wants in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wish {
    /// Nothing for now.
    pub(super) is_suppressed: bool,
    /// Where.
    pub(super) constraints: Vec<Predicate>,
    /// An offer holds at least one of these.
    pub(super) least: Vec<Quantities>,
    /// Grows when filters are cleared.
    pub(super) revived: u64,
}

impl Wish {
    /// As demand.
    pub(super) fn demand(
        &self,
        role: &Role,
        generation: Generation,
        capabilities: Capabilities,
    ) -> Result<Demand, Problem> {
        let mut entries = Vec::new();
        if !self.is_suppressed {
            let id = DemandId::new(&format!("any-{}", self.revived))?;
            entries.push(entry_of_any(
                id,
                capabilities,
                &self.constraints,
                &self.least,
            )?);
        }
        Ok(Demand {
            role: role.clone(),
            generation,
            entries,
        })
    }
}

/// The least that an offer holds, as a framework says it.
pub(super) fn least(given: Option<&MinAllocatableResources>) -> Result<Vec<Quantities>, String> {
    let Some(given) = given else {
        return Ok(Vec::new());
    };
    if given.quantities.len() > LEAST_MAX {
        let count = given.quantities.len();
        return Err(format!(
            "'min_allocatable_resources' has {count} sets, more than {LEAST_MAX}"
        ));
    }
    let nobody = proffer_model::Principal::new("nobody").map_err(|problem| problem.message)?;
    let mut all = Vec::new();
    for set in &given.quantities {
        let amounts = set.quantities.iter().map(|entry| Resource {
            name: entry.key().to_owned(),
            r#type: value::Type::Scalar.into(),
            scalar: Some(entry.value.unwrap_or_default()),
            ..Resource::default()
        });
        let amounts: Vec<Resource> = amounts.collect();
        all.push(decode_resources(&amounts, &nobody)?.quantities());
    }
    Ok(least_of(all))
}

/// Offer constraints of one role: of groups any, of a group's constraints all.
pub(super) fn constraints(given: Option<&RoleConstraints>) -> Result<Vec<Predicate>, String> {
    let Some(given) = given else {
        return Ok(Vec::new());
    };
    let counts = given.groups.iter();
    let counts = counts.map(|group| 1 + group.attribute_constraints.len());
    let count: usize = counts.sum();
    if count > ENTRIES_MAX {
        return Err(format!(
            "a role has {count} groups and constraints, more than {ENTRIES_MAX}"
        ));
    }
    let mut any = Vec::new();
    for group in &given.groups {
        let all = group.attribute_constraints.iter().map(constraint);
        any.push(Predicate::All(all.collect::<Result<_, _>>()?));
    }
    match any.is_empty() {
        true => Err("a role must have at least one group".to_owned()),
        false => Ok(vec![Predicate::AnyOf(any)]),
    }
}

fn constraint(given: &AttributeConstraint) -> Result<Predicate, String> {
    let selector = given.selector.selector.as_ref();
    let selector = selector.ok_or("Exactly one of 'AttributeConstraint::Selector' must be set")?;
    let test = given.predicate.predicate.as_ref();
    let test = test.ok_or("Unknown predicate type")?;
    let is = |value: &str| equals(selector, value);
    match test {
        Test::Exists(_) => exists(selector),
        Test::NotExists(_) => Ok(not(exists(selector)?)),
        Test::TextEquals(test) => is(&test.value),
        Test::TextNotEquals(test) => Ok(not(is(&test.value)?)),
        Test::TextMatches(_) | Test::TextNotMatches(_) => {
            Err("regular expressions are not supported".to_owned())
        }
    }
}

fn not(predicate: Predicate) -> Predicate {
    Predicate::Not(Box::new(predicate))
}

fn equals(selector: &Selector, value: &str) -> Result<Predicate, String> {
    // What no agent can have, none has.
    let none = || Ok(Predicate::AnyOf(Vec::new()));
    match selector {
        Selector::AttributeName(name) => {
            match (ResourceName::new(name), AttributeValue::new(value)) {
                (Ok(name), Ok(value)) => Ok(Predicate::Attribute(name, value)),
                _ => none(),
            }
        }
        Selector::PseudoattributeType(number) => match PseudoattributeType::try_from(*number) {
            Ok(PseudoattributeType::Hostname) => Ok(Predicate::Host(value.to_owned())),
            Ok(PseudoattributeType::Region) => Ok(Predicate::Region(value.to_owned())),
            Ok(PseudoattributeType::Zone) => Ok(Predicate::Zone(value.to_owned())),
            Ok(PseudoattributeType::Unknown) | Err(_) => Err("Unknown pseudoattribute".to_owned()),
        },
    }
}

fn exists(selector: &Selector) -> Result<Predicate, String> {
    match selector {
        Selector::AttributeName(name) => match ResourceName::new(name) {
            Ok(name) => Ok(Predicate::Has(name)),
            Err(_) => Ok(Predicate::AnyOf(Vec::new())),
        },
        Selector::PseudoattributeType(number) => match PseudoattributeType::try_from(*number) {
            Ok(PseudoattributeType::Hostname) => Ok(Predicate::All(Vec::new())),
            _ => Err(
                "Whether a region or a zone exists is not supported in offer constraints"
                    .to_owned(),
            ),
        },
    }
}
