//! Claims: what a framework wants and holds in one role; and their entries.

use std::cmp::Reverse;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proffer_model::{
    AgentDescription, DemandEntry, DemandId, FrameworkId, Key, Quantities, Role, Shape,
};

use super::amounts::{Amounts, Names};
use super::shape::Need;

/// The rank of an entry of a demand that is not in force yet.
pub(super) const COMING: u32 = u32::MAX;

/// What a framework wants and holds in a role. What every grant looks at stands first, together.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Claim {
    /// Its place in the tree.
    pub(super) node: u32,
    /// The place of its role.
    pub(super) role_node: u32,
    pub(super) is_active: bool,
    pub(super) is_changed: bool,
    /// Whether any of its entries wants something, also while it is closed.
    pub(super) wants: bool,
    /// While it is closed: how many do.
    pub(super) wanting: u32,
    /// The window of its framework.
    pub(super) window: u32,
    /// Of its entries, those that want something: that take whatever is free, and that have a shape.
    pub(super) open_any: Vec<u32>,
    pub(super) open_shaped: Vec<u32>,
    /// Greater priorities first, then in the framework's order.
    pub(super) entries: Vec<u32>,
    /// Where its turns in this run have got to.
    pub(super) turns: Turns,
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) by_id: BTreeMap<DemandId, u32>,
    /// Of a demand that takes the place of this one in pieces, what was put in, by priority and place.
    pub(super) coming: Vec<(Reverse<u32>, u32, u32)>,
    /// Agents where it was shut out.
    pub(super) shut_at: Vec<u32>,
    /// Agents of which it holds something, in no order.
    pub(super) held_at: Vec<u32>,
    /// What of its entries that are gone is where.
    pub(super) placed: BTreeMap<DemandId, BTreeMap<u32, Placed>>,
    /// While it is left out of what is served for guarantees: of which role's, and the names of which it wants something.
    pub(super) left_out: Option<(u32, u64)>,
}

/// Instances of an entry on an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) offered: u32,
    pub(super) launched: u32,
}

impl Placed {
    pub(super) fn sum(self) -> u32 {
        self.offered.saturating_add(self.launched)
    }
}

/// Changes what is on one agent; what it was and is.
pub(super) fn change_one(
    placed: &mut BTreeMap<u32, Placed>,
    agent: u32,
    change: impl Fn(Placed) -> Placed,
) -> (Placed, Placed) {
    let nothing = Placed::default();
    match placed.entry(agent) {
        Slot::Vacant(slot) => {
            let after = change(nothing);
            if after != nothing {
                slot.insert(after);
            }
            (nothing, after)
        }
        Slot::Occupied(mut slot) => {
            let before = *slot.get();
            let after = change(before);
            if after == nothing {
                slot.remove();
            } else {
                slot.insert(after);
            }
            (before, after)
        }
    }
}

/// Where a claim with shapes has got to in a run.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The place of the entry it is at among the open ones.
    pub(super) at: usize,
    /// The entry whose queue it is; none when it has to be gathered.
    pub(super) of: Option<u32>,
    /// How often agents had lost something from outside when it was gathered, and whether it was gathered once more for that.
    pub(super) gathered_at: u64,
    pub(super) is_again: bool,
    /// Agents that could take some of it, in the order in which they are asked.
    pub(super) queue: VecDeque<u32>,
    /// Whether this queue has given anything.
    pub(super) is_progress: bool,
    /// Whether it is noted among those that have begun.
    pub(super) is_begun: bool,
    /// Whether an entry was left for the pass for everybody, in which all of them begin anew.
    pub(super) is_passed_over: bool,
    /// The look for agents that the queue is to be made of, while it is not at its end.
    pub(super) look: Option<Box<Gathering>>,
}

/// A look for agents on which some of an entry would fit.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) entry: u32,
    /// The buckets of the index that are still to be looked through, the next one last; none: a list of agents is.
    pub(super) buckets: Option<Vec<usize>>,
    /// Quotas leave nothing but what is reserved: agents that have something special, which are looked at instead of all.
    pub(super) special: Option<Vec<u32>>,
    /// Where the look through this bucket begins, and how many were looked at in it, or in the list.
    pub(super) from: usize,
    pub(super) seen: usize,
    /// The index's when it began.
    pub(super) version: u64,
    pub(super) found: VecDeque<u32>,
    /// How many instances those could take, each by itself; counted of gangs, of others one for each.
    pub(super) room: u32,
    /// Of gangs with bounds: how many of those that were found are where agents have the same of something.
    pub(super) together: Vec<BTreeMap<Together, u32>>,
}

/// One kind of thing wanted. What every grant looks at stands first, together.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Entry {
    pub(super) claim: u32,
    /// Its place among the claim's entries, in their order; not dense while the demand is being replaced.
    pub(super) rank: u32,
    /// Wanted and not launched.
    pub(super) remaining: u32,
    /// On offer; may be more than remains, when the framework has lowered its demand.
    pub(super) offered: u32,
    /// Exclusions of another stamp have ended.
    pub(super) stamp: u32,
    pub(super) has_predicates: bool,
    pub(super) has_bounds: bool,
    /// Whether it is counted among what is needed: it has a shape and is open.
    pub(super) is_needed: bool,
    /// While its claim is closed: whether it is counted among those that want something.
    pub(super) is_wanting: bool,
    /// Of those that take whatever is free: an offer holds one of these. None: what is configured.
    pub(super) least: Option<Vec<Amounts>>,
    /// None: whatever is free.
    pub(super) need: Option<Need>,
    pub(super) demand: Arc<DemandEntry>,
    /// What of it is where: on offer, and launched.
    pub(super) placed: BTreeMap<u32, Placed>,
    /// How many are where agents have the same of something, for each bound of the entry.
    pub(super) together: Vec<BTreeMap<Together, u32>>,
    /// Since when it has wanted what nothing was there for.
    pub(super) waiting_since: Option<u64>,
    /// Where it stands among those that are due for an agent to be kept: by when, and by which share.
    pub(super) queued: Option<(u64, u64)>,
    /// How often no agent was found to be kept for it, one time after the other.
    pub(super) fruitless: u32,
    /// The agents that are kept for it: one, and of gangs as many as they need.
    pub(super) earmarks: Vec<u32>,
    /// Until when they are.
    pub(super) earmarked_until: u64,
    /// Of gangs: how many instances there was no room for when all agents were looked at last, less those that agents which have
    /// changed since have room for. Not known, or there may be room: nothing.
    pub(super) lacks: u32,
}

/// What agents have the same of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Together {
    Agent(u32),
    Text(String),
    Zone(String, String),
}

/// How many entries ask for something that others do not.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// Those that say themselves what an offer holds at least.
    pub(super) own_least: usize,
    pub(super) revocable: usize,
    pub(super) shared: usize,
    pub(super) gangs: usize,
}

impl Asking {
    pub(super) fn add(&mut self, entry: &Entry) {
        let [own_least, revocable, shared, gangs] = Self::of(entry);
        self.own_least += own_least;
        self.revocable += revocable;
        self.shared += shared;
        self.gangs += gangs;
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        let [own_least, revocable, shared, gangs] = Self::of(entry);
        self.own_least -= own_least;
        self.revocable -= revocable;
        self.shared -= shared;
        self.gangs -= gangs;
    }

    fn of(entry: &Entry) -> [usize; 4] {
        let (takes, is_gang) = (entry.demand.takes, entry.demand.gang > 1);
        [
            entry.least.is_some(),
            takes.revocable,
            takes.shared,
            is_gang,
        ]
        .map(usize::from)
    }
}

impl Entry {
    pub(super) fn new(claim: u32, demand: &DemandEntry, stamp: u32, names: &Names) -> Self {
        let mut entry = Self {
            claim,
            rank: 0,
            has_predicates: !demand.predicates.is_empty(),
            has_bounds: !demand.at_most.is_empty(),
            is_needed: false,
            is_wanting: false,
            demand: Arc::new(demand.clone()),
            need: None,
            least: None,
            remaining: demand.count,
            offered: 0,
            stamp,
            placed: BTreeMap::new(),
            together: vec![BTreeMap::new(); demand.at_most.len()],
            waiting_since: None,
            queued: None,
            fruitless: 0,
            earmarks: Vec::new(),
            earmarked_until: 0,
            lacks: 0,
        };
        entry.compile(names);
        entry
    }

    /// Says its shape in numbers; again, when there are new names.
    pub(super) fn compile(&mut self, names: &Names) {
        self.need = Need::new(&self.demand.shape, names);
        if let Shape::Any { least } = &self.demand.shape
            && !least.is_empty()
        {
            self.least = Some(
                least
                    .iter()
                    .filter_map(|least| known(least, names))
                    .collect(),
            );
        }
    }

    pub(super) fn wanted(&self) -> u32 {
        self.remaining.saturating_sub(self.offered)
    }

    pub(super) fn is_any(&self) -> bool {
        self.need.is_none()
    }

    /// The place of the first predicate that an agent fails, for the role of the entry's claim.
    pub(super) fn failed_predicate(&self, agent: &AgentDescription, role: &Role) -> Option<usize> {
        self.demand
            .predicates
            .iter()
            .position(|predicate| !predicate.accepts(agent, role))
    }

    /// How many more may be on an agent, and the place of the bound that says so.
    pub(super) fn allowance(&self, agent: u32, description: &AgentDescription) -> (u32, usize) {
        let mut allowed = (u32::MAX, 0);
        for (place, (bound, counts)) in self.demand.at_most.iter().zip(&self.together).enumerate() {
            for_each_key(&bound.per, agent, description, |key| {
                let there = counts.get(&key).copied().unwrap_or(0);
                let left = bound.count.saturating_sub(there);
                if left < allowed.0 {
                    allowed = (left, place);
                }
            });
        }
        allowed
    }

    /// Counts instances on an agent that is thought of, beside others that are: as many of so many as its bounds leave room for.
    pub(super) fn count_beside(
        &self,
        beside: &mut [BTreeMap<Together, u32>],
        agent: u32,
        description: &AgentDescription,
        most: u32,
    ) -> u32 {
        let bounds = self.demand.at_most.iter().zip(&self.together);
        let of = |counts: &BTreeMap<Together, u32>, key: &Together| {
            counts.get(key).copied().unwrap_or(0)
        };
        let mut room = most;
        for ((bound, there), beside) in bounds.zip(beside.iter()) {
            for_each_key(&bound.per, agent, description, |key| {
                let count = of(there, &key).saturating_add(of(beside, &key));
                room = room.min(bound.count.saturating_sub(count));
            });
        }
        if room > 0 {
            for (counts, bound) in beside.iter_mut().zip(&self.demand.at_most) {
                for_each_key(&bound.per, agent, description, |key| {
                    let count = counts.entry(key).or_default();
                    *count = count.saturating_add(room);
                });
            }
        }
        room
    }

    /// Counts more or fewer instances on an agent. Whether there is room on others by it that had the same of something.
    pub(super) fn count_together(
        &mut self,
        agent: u32,
        description: &AgentDescription,
        before: u32,
        after: u32,
    ) -> bool {
        let mut is_open = false;
        for (bound, counts) in self.demand.at_most.iter().zip(&mut self.together) {
            for_each_key(&bound.per, agent, description, |key| {
                let count = counts.entry(key.clone()).or_default();
                let was_full = *count >= bound.count;
                *count = count.saturating_add(after).saturating_sub(before);
                // A gang may need more room than one that was full leaves.
                let is_gang_less = self.demand.gang > 1 && after < before;
                let is_other = key != Together::Agent(agent);
                is_open |= (was_full || is_gang_less) && *count < bound.count && is_other;
                if *count == 0 {
                    counts.remove(&key);
                }
            });
        }
        is_open
    }
}

/// None: no agent has a scalar of one of the names.
fn known(least: &Quantities, names: &Names) -> Option<Amounts> {
    let mut amounts = Amounts::default();
    for (name, milli) in least.iter() {
        amounts.set(names.find(name)?, milli);
    }
    Some(amounts)
}

/// Each of what an agent has the same of as others: of an attribute with several values, all of them.
fn for_each_key(
    key: &Key,
    agent: u32,
    description: &AgentDescription,
    mut each: impl FnMut(Together),
) {
    let domain = description.domain.as_ref();
    let found = match key {
        Key::Agent => None,
        Key::Host => Some(Together::Text(description.host.clone())),
        Key::Zone => {
            domain.map(|domain| Together::Zone(domain.region.clone(), domain.zone.clone()))
        }
        Key::Region => domain.map(|domain| Together::Text(domain.region.clone())),
        Key::Attribute(name) => {
            let mut values = description.attributes.values(name);
            let first = values.next();
            for value in values {
                each(Together::Text(value.as_str().to_owned()));
            }
            first.map(|value| Together::Text(value.as_str().to_owned()))
        }
    };
    each(found.unwrap_or(Together::Agent(agent)));
}
