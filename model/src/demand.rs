//! Demand: what a framework wants, the one mechanism where Mesos has filters, suppress, revive and requests.
//!
//! A demand replaces the whole list for its role. No entries: nothing is offered. Offers name the entries they fit; an
//! accept counts them down; a decline excludes the agent for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::attribute::{AttributeValue, Attributes};
use crate::epoch::Generation;
use crate::id::{AgentId, DemandId, ResourceName, Role};
use crate::resources::Resources;

/// All that a framework wants in one role. A demand with a smaller or equal generation than the last is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The role that pays.
    pub role: Role,
    /// Grows with each demand of the session's framework for this role.
    pub generation: Generation,
    /// The entries, in the framework's order of importance.
    pub entries: Vec<DemandEntry>,
}

/// One kind of thing wanted, so many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandEntry {
    /// Its name, unique in the demand.
    pub id: DemandId,
    /// What one of them needs.
    pub shape: Shape,
    /// How many are wanted.
    pub count: u32,
    /// Where they may go; an agent must satisfy all.
    pub predicates: Vec<Predicate>,
    /// Agents that are not wanted for a while.
    pub excluded: Vec<Exclusion>,
}

impl DemandEntry {
    /// So many times these resources, on any agent.
    pub fn new(id: DemandId, count: u32, resources: Resources) -> Self {
        let shape = Shape::Of {
            resources,
            counts: BTreeMap::new(),
        };
        Self {
            id,
            shape,
            count,
            predicates: Vec::new(),
            excluded: Vec::new(),
        }
    }
}

/// What one instance needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Whatever is free on an agent: Mesos's behaviour.
    Any,
    /// These resources, and so many numbers out of range resources (`ports`: 2), whichever they are.
    Of {
        /// Scalars, and numbers that must be exactly these.
        resources: Resources,
        /// How many further numbers of each range resource, any of them.
        counts: BTreeMap<ResourceName, u64>,
    },
}

/// A test that an agent passes or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Predicate {
    /// All of these.
    All(Vec<Predicate>),
    /// At least one of these.
    AnyOf(Vec<Predicate>),
    /// Not this.
    Not(Box<Predicate>),
    /// The agent has this attribute with this value.
    Attribute(ResourceName, AttributeValue),
    /// The agent has this host name.
    Host(String),
}

impl Predicate {
    /// Whether an agent with this host name and these attributes passes.
    pub fn accepts(&self, host: &str, attributes: &Attributes) -> bool {
        match self {
            Self::All(all) => all.iter().all(|p| p.accepts(host, attributes)),
            Self::AnyOf(any) => any.iter().any(|p| p.accepts(host, attributes)),
            Self::Not(inner) => !inner.accepts(host, attributes),
            Self::Attribute(name, value) => attributes.get(name) == Some(value),
            Self::Host(name) => name == host,
        }
    }
}

/// An agent that an entry does not want, until the time has passed or the agent's free resources grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The agent.
    pub agent: AgentId,
    /// For how long from now; durable deadlines are durations.
    pub lasts: Duration,
}
