//! Demand: what a framework wants, the one mechanism where Mesos has filters, suppress, revive and requests.
//!
//! A demand replaces the whole list for its role. No entries: nothing is offered. Offers name the entries they fit; an
//! accept counts them down; a decline excludes the agent for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::agent::AgentDescription;
use crate::attribute::AttributeValue;
use crate::epoch::Generation;
use crate::id::{AgentId, DemandId, ResourceName, Role};
use crate::pattern::Pattern;
use crate::quantities::Quantities;
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

impl Demand {
    /// How much it names: its entries, and the agents that they exclude.
    pub fn named(&self) -> usize {
        let excluded = self.entries.iter().map(|entry| entry.excluded.len());
        excluded.sum::<usize>() + self.entries.len()
    }
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
    /// How many may be together; each must hold.
    pub at_most: Vec<AtMost>,
    /// So many are offered at once or none; 0 and 1: each for itself.
    pub gang: u32,
    /// Greater ones are served first among the framework's entries; equal ones in their order.
    pub priority: u32,
    /// What they take besides ordinary resources.
    pub takes: Takes,
    /// Agents that are not wanted for a while.
    pub excluded: Vec<Exclusion>,
}

/// At most so many of an entry where the agents have the same of something: one an agent, two a zone. Counted are the
/// framework's live tasks that were launched for an entry of this id, and what is on offer for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtMost {
    /// So many.
    pub count: u32,
    /// On agents that agree in this. Agents that have it not count each for itself.
    pub per: Key,
}

/// Something that agents may have the same of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The agent itself.
    Agent,
    /// The host's name.
    Host,
    /// The zone, within its region.
    Zone,
    /// The region.
    Region,
    /// An attribute of this name: agents have the same when they have one value of it in common.
    Attribute(ResourceName),
}

/// What an entry takes besides ordinary resources. In Mesos these are capabilities of the framework.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// Revocable resources, which may be taken back any time.
    pub revocable: bool,
    /// Shared volumes.
    pub shared: bool,
    /// Reservations of more than one level.
    pub refined: bool,
}

impl Default for Takes {
    fn default() -> Self {
        Self {
            revocable: false,
            shared: true,
            refined: true,
        }
    }
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
            at_most: Vec::new(),
            gang: 0,
            priority: 0,
            takes: Takes::default(),
            excluded: Vec::new(),
        }
    }
}

/// What one instance needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Whatever is free on an agent: Mesos's behaviour. The entry's count is of offers.
    Any {
        /// An offer holds at least one of these; none given: what the master is configured with.
        least: Vec<Quantities>,
    },
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
    /// The agent has this attribute with this value, beside others perhaps.
    Attribute(ResourceName, AttributeValue),
    /// The agent has this host name.
    Host(String),
    /// The agent has an attribute of this name, whatever its value.
    Has(ResourceName),
    /// The agent has some of this resource in its total, free or not: `gpus`, to keep others off such agents.
    Resource(ResourceName),
    /// The agent is in this region.
    Region(String),
    /// The agent is in this zone of its region.
    Zone(String),
    /// Something of the agent is reserved for the entry's role or one above it, free or not: of this resource, or of any.
    Reserved(Option<ResourceName>),
    /// What the agent has of this matches the pattern as a whole.
    Matches(Subject, Pattern),
}

/// What an agent has that a pattern may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The values of an attribute, of which one must match; an agent without it does not match.
    Attribute(ResourceName),
    /// The host's name.
    Host,
    /// The region; an agent without one does not match.
    Region,
    /// The zone; an agent without one does not match.
    Zone,
}

impl Subject {
    /// Whether an agent has of it what matches.
    fn matches(&self, agent: &AgentDescription, pattern: &Pattern) -> bool {
        let domain = agent.domain.as_ref();
        match self {
            Self::Attribute(name) => {
                let mut values = agent.attributes.values(name);
                values.any(|value| pattern.matches(value.as_str()))
            }
            Self::Host => pattern.matches(&agent.host),
            Self::Region => domain.is_some_and(|domain| pattern.matches(&domain.region)),
            Self::Zone => domain.is_some_and(|domain| pattern.matches(&domain.zone)),
        }
    }
}

impl Predicate {
    /// Whether an agent passes, for demand in a role. Its resources are those that it has now, with what is reserved there.
    pub fn accepts(&self, agent: &AgentDescription, role: &Role) -> bool {
        let domain = agent.domain.as_ref();
        match self {
            Self::All(all) => all.iter().all(|inner| inner.accepts(agent, role)),
            Self::AnyOf(any) => any.iter().any(|inner| inner.accepts(agent, role)),
            Self::Not(inner) => !inner.accepts(agent, role),
            Self::Attribute(name, value) => agent.attributes.has(name, value),
            Self::Host(name) => *name == agent.host,
            Self::Has(name) => agent.attributes.values(name).next().is_some(),
            Self::Resource(name) => agent.resources.has(name),
            Self::Region(name) => domain.is_some_and(|domain| *name == domain.region),
            Self::Zone(name) => domain.is_some_and(|domain| *name == domain.zone),
            Self::Reserved(name) => agent.resources.special().any(|(kind, _)| {
                !kind.is_unreserved()
                    && kind.is_allocatable_to(role)
                    && name.as_ref().is_none_or(|name| *name == kind.name)
            }),
            Self::Matches(subject, pattern) => subject.matches(agent, pattern),
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
