//! The agents: what each has, what of it is free, who holds the rest; and an index of those that have something free.

use std::collections::BTreeSet;
use std::hash::{BuildHasherDefault, DefaultHasher};

use proffer_model::{AgentDescription, AgentId, Role};

use super::amounts::{Amounts, CPUS, MEM};
use super::bits::Bits;
use super::bundle::{Bundle, Sums};
use super::exclusions::Exclusions;
use super::holdings::Holdings;
use super::random::Random;
use super::tree::NONE;

/// What is looked at seldom.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) id: AgentId,
    pub(super) description: AgentDescription,
    pub(super) total: Bundle,
    /// Its scalars of every kind.
    pub(super) all: Amounts,
    pub(super) reserved: Vec<(Role, Amounts)>,
}

/// An agent, in four lines of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Agent {
    pub(super) free: Bundle,
    /// The scalars of what is free beside the ordinary ones; none: none.
    pub(super) extra_sums: Option<Box<Sums>>,
    pub(super) holdings: Holdings,
    pub(super) exclusions: Option<Box<Exclusions>>,
    /// A bit, of 64, for each claim that may have refused it or be shut out of it: most have nothing to do with it.
    concerned: u64,
    /// Claims that nothing can be offered here as long as no more is free and nothing of theirs changes.
    pub(super) shut: Bits,
    /// None: the slot is vacant.
    pub(super) known: Option<Box<Known>>,
    /// The round in which it was last noted as changed.
    changed_in: u64,
    /// The entry that it is kept for.
    pub(super) earmark: u32,
    pub(super) is_active: bool,
    /// Everybody may have all of the extra.
    pub(super) is_common: bool,
    /// Some of the extra is not counted by quotas: what is reserved, or revocable.
    pub(super) is_special: bool,
    /// More is held than there is: what comes back is free only when all of it is there.
    pub(super) is_overheld: bool,
    /// The piece of work in which shared volumes of it were offered last.
    pub(super) shared_offered_in: u64,
}

impl Agent {
    fn vacant() -> Self {
        Self {
            free: Bundle::default(),
            extra_sums: None,
            holdings: Holdings::default(),
            exclusions: None,
            concerned: 0,
            shut: Bits::default(),
            known: None,
            changed_in: 0,
            earmark: NONE,
            is_active: false,
            is_common: true,
            is_special: false,
            is_overheld: false,
            shared_offered_in: 0,
        }
    }

    /// Whether anything can be offered of it.
    pub(super) fn is_offerable(&self) -> bool {
        self.is_active && self.known.is_some() && !self.free.is_empty()
    }

    /// Whether a claim may have refused it or be shut out of it.
    pub(super) fn concerns(&self, claim: u32) -> bool {
        self.concerned & (1 << (claim & 63)) != 0
    }

    pub(super) fn note_concerned(&mut self, claim: u32) {
        self.concerned |= 1 << (claim & 63);
    }

    /// What is free of it for anybody, as quotas count it: nothing while nothing is offered of it.
    pub(super) fn available(&self) -> Amounts {
        match &self.extra_sums {
            _ if !self.is_active => Amounts::default(),
            Some(sums) => self.free.plain.plus(&sums.charged),
            None => self.free.plain.clone(),
        }
    }

    /// The scalars of all that is free.
    pub(super) fn free_all(&self) -> Amounts {
        match &self.extra_sums {
            Some(sums) => self.free.plain.plus(&sums.all),
            None => self.free.plain.clone(),
        }
    }
}

/// Agents are found by their ids a few times for each offer, among tens of thousands.
#[allow(
    clippy::disallowed_types,
    reason = "it is never gone through, and the hash is the same in every process"
)]
type Numbers = std::collections::HashMap<AgentId, u32, BuildHasherDefault<DefaultHasher>>;

/// The agents, by number.
#[derive(Debug, Default)]
pub(super) struct Agents {
    list: Vec<Agent>,
    vacant: Vec<u32>,
    numbers: Numbers,
    /// Those that have something free that quotas do not count.
    special: BTreeSet<u32>,
    /// Those that have changed in this round, each once. They lie anywhere in memory, so that to visit all of them only to
    /// forget that they have changed would take milliseconds: a new round begins instead.
    changed: Vec<u32>,
    changes_forgotten: u64,
    pub(super) index: FreeIndex,
}

impl Agents {
    pub(super) fn find(&self, id: &AgentId) -> Option<u32> {
        self.numbers.get(id).copied()
    }

    pub(super) fn get(&self, agent: u32) -> &Agent {
        &self.list[agent as usize]
    }

    pub(super) fn get_mut(&mut self, agent: u32) -> &mut Agent {
        &mut self.list[agent as usize]
    }

    /// Reads a little of agents that are looked at soon. They lie anywhere in memory, and the processor fetches them side by
    /// side; met one by one, each is waited for.
    pub(super) fn expect<'a>(&self, agents: impl Iterator<Item = &'a u32>) {
        let mut sum = 0u64;
        for agent in agents.filter_map(|agent| self.try_get(*agent)) {
            let holder = agent.holdings.iter().next().map(|holding| holding.claim);
            let is_any = agent.exclusions.is_some() | agent.extra_sums.is_some();
            sum = sum
                .wrapping_add(agent.free.plain.get(CPUS))
                .wrapping_add(u64::from(holder.unwrap_or(agent.earmark)))
                .wrapping_add(agent.concerned)
                .wrapping_add(u64::from(is_any | agent.is_active | agent.shut.is_empty()));
        }
        std::hint::black_box(sum);
    }

    pub(super) fn try_get(&self, agent: u32) -> Option<&Agent> {
        self.list.get(agent as usize)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Agent, &Known)> {
        let all = (0..).zip(&self.list);
        all.filter_map(|(number, agent)| Some((number, agent, agent.known.as_deref()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Makes room for an agent of which nothing is said yet.
    pub(super) fn insert(&mut self, known: Known) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.list.push(Agent::vacant());
            u32::try_from(self.list.len() - 1).unwrap_or(NONE)
        });
        self.numbers.insert(known.id.clone(), number);
        let agent = self.get_mut(number);
        *agent = Agent::vacant();
        agent.known = Some(Box::new(known));
        agent.is_active = true;
        number
    }

    pub(super) fn remove(&mut self, agent: u32) {
        self.index.remove(agent);
        if self.is_changed(agent) {
            self.changed.retain(|changed| *changed != agent);
        }
        self.special.remove(&agent);
        if let Some(known) = self.get_mut(agent).known.take() {
            self.numbers.remove(&known.id);
        }
        *self.get_mut(agent) = Agent::vacant();
        self.vacant.push(agent);
    }

    /// Notes that an agent has changed.
    pub(super) fn note_changed(&mut self, agent: u32) {
        let round = self.round();
        let found = self.get_mut(agent);
        if std::mem::replace(&mut found.changed_in, round) != round {
            self.changed.push(agent);
        }
    }

    fn is_changed(&self, agent: u32) -> bool {
        self.get(agent).changed_in == self.round()
    }

    fn round(&self) -> u64 {
        self.changes_forgotten + 1
    }

    /// Those that have changed, which are forgotten by it.
    pub(super) fn take_changed(&mut self) -> Vec<u32> {
        self.changes_forgotten += 1;
        std::mem::take(&mut self.changed)
    }

    /// Puts an agent where it belongs in the index after what is free, or whether it is active, has changed.
    pub(super) fn reindex(&mut self, agent: u32) {
        self.index.place(&self.list, agent);
        let found = self.get(agent);
        if found.is_special && found.is_offerable() {
            self.special.insert(agent);
        } else if !self.special.is_empty() {
            self.special.remove(&agent);
        }
    }

    /// How many numbers there are, vacant ones too.
    pub(super) fn slots(&self) -> usize {
        self.list.len()
    }

    pub(super) fn special(&self) -> impl Iterator<Item = u32> {
        self.special.iter().copied()
    }

    /// Forgets which have changed.
    pub(super) fn forget_changed(&mut self) {
        self.changes_forgotten += 1;
        self.changed.clear();
    }

    /// The next agent of the index that a cursor comes to, in a random order among those with about as much free.
    pub(super) fn next_free(&mut self, cursor: &mut Cursor, random: &mut Random) -> Option<u32> {
        self.index.next(cursor, random)
    }

    pub(super) fn bucket(&self, bucket: usize) -> &[u32] {
        self.index
            .buckets
            .get(bucket)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

const CLASSES: usize = 16;

/// Agents with something free, by how much of cpus and of memory: classes of powers of two.
#[derive(Debug, Default)]
pub(super) struct FreeIndex {
    /// How often an agent was put in or taken out.
    pub(super) version: u64,
    buckets: Vec<Vec<u32>>,
    /// Where each agent is: its bucket, and its place there.
    slots: Vec<(u32, u32)>,
    len: usize,
}

/// Where a look at all agents with something free has got to: those with the most come first.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    bucket: usize,
    /// Places before this one are still to come; none: all of the bucket.
    before: Option<usize>,
    last: usize,
}

impl Cursor {
    pub(super) fn has_slivers(&self) -> bool {
        self.last == 0
    }

    /// All; without slivers, those that have 0.01 cpus or 32 MB free.
    pub(super) fn new(with_slivers: bool) -> Self {
        Self {
            bucket: CLASSES * CLASSES,
            before: Some(0),
            last: usize::from(!with_slivers),
        }
    }
}

fn bits(milli: u64) -> usize {
    (u64::BITS - milli.leading_zeros()) as usize
}

/// The class of an amount of cpus: 0 below 0.01, then by powers of two.
fn class_of_cpus(milli: u64) -> usize {
    if milli < 10 {
        0
    } else {
        bits(milli).saturating_sub(3).clamp(1, CLASSES - 1)
    }
}

/// The class of an amount of memory: 0 below 32 MB, then by powers of two.
fn class_of_mem(milli: u64) -> usize {
    if milli < 32_000 {
        0
    } else {
        bits(milli).saturating_sub(14).clamp(1, CLASSES - 1)
    }
}

/// The buckets in which agents with at least so much of both may be, those with the most first.
pub(super) fn buckets_with(least: &Amounts) -> impl DoubleEndedIterator<Item = usize> + use<> {
    let (cpus, mem) = (class_of_cpus(least.get(CPUS)), class_of_mem(least.get(MEM)));
    let pairs = (cpus..CLASSES).rev();
    pairs.flat_map(move |c| (mem..CLASSES).rev().map(move |m| c * CLASSES + m))
}

impl FreeIndex {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All of it; for when that are few.
    pub(super) fn list(&self) -> Vec<u32> {
        self.buckets.concat()
    }

    /// Whether an agent is in it.
    pub(super) fn has(&self, agent: u32) -> bool {
        let slot = self.slots.get(agent as usize);
        slot.is_some_and(|(bucket, _)| *bucket != NONE)
    }

    fn place(&mut self, agents: &[Agent], agent: u32) {
        let Some(found) = agents.get(agent as usize) else {
            return;
        };
        let bucket = if found.is_offerable() {
            let all = found.free_all();
            let class = class_of_cpus(all.get(CPUS)) * CLASSES + class_of_mem(all.get(MEM));
            u32::try_from(class).unwrap_or(NONE)
        } else {
            NONE
        };
        if self.slots.len() <= agent as usize {
            self.slots.resize(agents.len(), (NONE, 0));
        }
        if self.slots[agent as usize].0 == bucket {
            return;
        }
        self.version += 1;
        self.remove(agent);
        if bucket == NONE {
            return;
        }
        if self.buckets.is_empty() {
            self.buckets.resize_with(CLASSES * CLASSES, Vec::new);
        }
        let list = &mut self.buckets[bucket as usize];
        self.slots[agent as usize] = (bucket, u32::try_from(list.len()).unwrap_or(NONE));
        list.push(agent);
        self.len += 1;
    }

    fn remove(&mut self, agent: u32) {
        let Some(slot) = self.slots.get_mut(agent as usize) else {
            return;
        };
        let (bucket, place) = std::mem::replace(slot, (NONE, 0));
        let Some(list) = self.buckets.get_mut(bucket as usize) else {
            return;
        };
        list.swap_remove(place as usize);
        self.len -= 1;
        if let Some(moved) = list.get(place as usize) {
            self.slots[*moved as usize].1 = place;
        }
    }

    /// Goes down through each bucket, so that what is taken out of it or put into it meanwhile moves nothing that is still
    /// to come.
    fn next(&mut self, cursor: &mut Cursor, random: &mut Random) -> Option<u32> {
        loop {
            let len = self.buckets.get(cursor.bucket).map_or(0, Vec::len);
            let before = cursor.before.map_or(len, |before| before.min(len));
            if before > 0 {
                let list = &mut self.buckets[cursor.bucket];
                let (chosen, last) = (random.below(before), before - 1);
                list.swap(chosen, last);
                for place in [chosen, last] {
                    self.slots[list[place] as usize].1 = u32::try_from(place).unwrap_or(NONE);
                }
                cursor.before = Some(last);
                return list.get(last).copied();
            }
            if cursor.bucket <= cursor.last {
                return None;
            }
            cursor.bucket -= 1;
            cursor.before = None;
        }
    }
}
