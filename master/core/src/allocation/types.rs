//! What goes into the allocator and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use proffer_model::{
    AgentId, Fit, FrameworkId, Problem, Quantities, Quota, ResourceKind, ResourceName, Resources,
    Role, Weight, code,
};

/// How the allocator is to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides the order of agents: the same seed and the same calls give the same grants.
    pub seed: u64,
    /// An offer to an entry of any shape that does not say otherwise holds at least one of these. None: anything.
    pub least: Vec<Quantities>,
    /// Scalars that do not count for shares.
    pub share_excluded: BTreeSet<ResourceName>,
    /// Which agents a shape is placed on first.
    pub placement: Placement,
    /// An entry with a shape that has waited so long keeps one agent, on which it will fit, from others.
    pub earmark_after: Duration,
}

impl Default for Options {
    /// At least 0.01 cpus or 32 MB of memory, as in Mesos; spread; earmarks after 30 s.
    fn default() -> Self {
        let least = [("cpus", 10), ("mem", 32_000)];
        let least = least.iter().filter_map(|(name, milli)| {
            let name = ResourceName::new(name).ok()?;
            Some(Quantities::from_iter([(name, *milli)]))
        });
        Self {
            seed: 0,
            least: least.collect(),
            share_excluded: BTreeSet::new(),
            placement: Placement::Spread,
            earmark_after: Duration::from_secs(30),
        }
    }
}

/// Which agents a shape is placed on first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The emptiest.
    Spread,
    /// The fullest on which it fits.
    BinPack,
}

impl FromStr for Placement {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "spread" => Ok(Self::Spread),
            "bin-pack" => Ok(Self::BinPack),
            _ => {
                let message = format!("{text:?} is not a placement");
                Err(Problem::new(code::FIELD_INVALID, message).hint("write spread or bin-pack"))
            }
        }
    }
}

/// What a run looks at.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// What has changed since it was last looked at: changed agents with every claim, changed claims with every agent.
    Changed,
    /// These agents with every claim.
    Agents(&'a [AgentId]),
    /// Everything.
    All,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What was granted, in order.
    pub grants: Vec<Grant>,
    /// False: the steps were used up; call again with the same scope, and it goes on where it stopped.
    pub is_done: bool,
    /// When to run again though nothing changes: an exclusion ends, or an earmark is due. By the monotonic clock.
    pub look_again_at: Option<u64>,
    /// Looks at a claim on an agent, and the like: what the run cost. A grant counts as several.
    pub steps: u32,
}

/// Resources of one agent for one framework in one role. Small; [`super::Allocator::offer_of`] says it in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub(super) claim: u32,
    pub(super) agent: u32,
    /// Where its amounts and fits stand in the run's lists.
    pub(super) index: u32,
}

/// A grant in the words of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantedOffer {
    /// To whom.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// Of which agent.
    pub agent: AgentId,
    /// What.
    pub resources: Resources,
    /// For which entries, and how many of each.
    pub fits: Vec<Fit>,
    /// For an entry of any shape: everything there is, and not so many of a shape.
    pub is_any: bool,
}

/// What is to be said of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRow {
    /// Which.
    pub role: Role,
    /// Its dominant share before its weight, in billionths.
    pub share_billionths: u64,
    /// Its weight.
    pub weight: Weight,
    /// Its quota, when it has one.
    pub quota: Option<Quota>,
    /// Held by its frameworks and those beneath it, offers included, of every kind.
    pub held: Quantities,
    /// Guaranteed to it.
    pub guaranteed: Quantities,
    /// What counts against its quota: all reservations, and what is held unreserved and not revocable.
    pub consumed: Quantities,
    /// Reserved for it and those beneath it, held or not.
    pub reserved: Quantities,
    /// Frameworks with demand or something held in the role itself.
    pub frameworks: Vec<FrameworkId>,
}

/// What an agent has too little of for one instance of a shape.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// Of this, as the shape names it; or the role may not have it.
    Amount(ResourceKind),
    /// Of the numbers that the shape counts, beside those that it names.
    Count(ResourceName),
    /// It would be enough with what is reserved for other roles.
    Unreserved(ResourceName),
    /// It would be enough with what no shape is given without naming it, such as what is revocable, and with reservations that
    /// the entry does not take.
    Taken(ResourceName),
}

/// Why an agent is not offered to an entry: the first thing that it fails by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// Nothing is offered of the agent: it is suspect, drained or deactivated.
    AgentInactive,
    /// This predicate of the entry does not hold: its place in the list.
    Predicate(usize),
    /// Even when it was empty, it would have too little of this, or nothing that the role may have.
    TooSmall(Lacking),
    /// The entry has refused the agent for now.
    Excluded,
    /// So many are there already where the agent is: the place of the bound in the entry's list.
    AtMost(usize),
    /// Too little of this is free.
    NotFree(Lacking),
    /// Nothing is free.
    NothingFree,
    /// What is free is less than the least that is offered.
    BelowLeast,
    /// Too little is free that is not reserved for other roles.
    ReservedForOthers,
    /// Too little is free beside what the entry does not take: what is revocable or shared, and reservations of several levels.
    NotTaken,
    /// Kept for an entry that has waited long.
    Earmarked,
    /// Held back for a guarantee to others, in this.
    HeldBack(ResourceName),
    /// The role, or one above it, is at its limit in this.
    Limit(Role, ResourceName),
    /// What the limit of the role leaves of this is kept for guarantees of others beneath it.
    LimitKept(Role, ResourceName),
    /// It would fit, but so many offers of the framework's are out that it waits until one ends: others wait too.
    Window,
    /// Some of a gang would fit, but as many as are wanted at once do not fit on all agents together.
    Gang {
        /// How many they have room for.
        room: u32,
        /// How many are wanted at once.
        gang: u32,
    },
    /// Nothing of the agent's own: others are before it in the order, or it is about to be offered.
    Turn,
}

/// Why an entry is not offered anything, and where its claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Wanted and neither launched nor on offer.
    pub wanted: u32,
    /// On offer.
    pub offered: u32,
    /// How many agents fail by what first.
    pub agents: BTreeMap<Obstacle, u32>,
    /// The framework's dominant share, in billionths.
    pub share_billionths: u64,
    /// How many claims that want something are before it in the order: of an entry that needs something of what its role lacks
    /// of its guarantee, those of which that is true too; of any other, all of those, and whoever has the smaller share.
    pub claims_before: u32,
    /// What the quotas above it leave, of the names they bound.
    pub headroom: Quantities,
    /// Bounded names: absent from `headroom` means nothing is left of them.
    pub bounded: Vec<ResourceName>,
}
