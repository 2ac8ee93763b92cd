//! What Mesos's calls come to in demand: one entry that takes whatever there is, none while a role is suppressed, and
//! predicates where a framework has constraints.
//!
//! An entry of a new id has no exclusions: reviving names a new one, and so clears the filters of the role.

use std::time::Duration;

use proffer_model::demand::Predicate;
use proffer_model::limits::LEAST_MAX;
use proffer_model::quantities::Quantities;
use proffer_model::{Demand, DemandId, Generation, Problem, Role};
use proffer_proto::mesos::Capabilities;
use proffer_proto::mesos::v1::offer_filters::MinAllocatableResources;
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
