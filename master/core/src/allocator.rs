//! The allocator: who is offered what. A pure function of what is free and what is wanted; it knows no sessions, timers or
//! ids of offers, so that a better one can take its place.
//!
//! Claims take turns, the smallest dominant share first, and each turn gives resources of one agent. An entry that wants
//! `r` more while `e` agents could take some gets at most ⌈r/e⌉ on one agent, the emptiest first, so that instances
//! spread. Only pairs in which the agent or the claim has changed since the last time are looked at.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::{AgentDescription, AgentId, Fit, FrameworkId, Resources, Role, Shape, Time};

use crate::amounts::{dominant_share, fit, scalars_of, take};
use crate::demand::WantedEntry;

/// An agent that something may be offered of.
#[derive(Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) id: &'a AgentId,
    pub(crate) description: &'a AgentDescription,
    /// What may be offered.
    pub(crate) free: Resources,
    /// What no task holds: exclusions end when it grows.
    pub(crate) unused: Resources,
    pub(crate) is_changed: bool,
}

/// What a framework wants in one role.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) framework: &'a FrameworkId,
    pub(crate) role: &'a Role,
    pub(crate) entries: Vec<&'a WantedEntry>,
    /// Held and offered already; scalars.
    pub(crate) held: Resources,
    /// Offers it was made in this term.
    pub(crate) granted: u64,
    pub(crate) is_changed: bool,
}

/// All that an allocation looks at.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) now: Time,
    /// What shares are parts of; scalars.
    pub(crate) pool: Resources,
    /// What each role holds, offers included; scalars.
    pub(crate) held_by_role: BTreeMap<&'a Role, Resources>,
    pub(crate) candidates: Vec<Candidate<'a>>,
    pub(crate) claims: Vec<Claim<'a>>,
}

/// Resources of one agent for one entry of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) framework: FrameworkId,
    pub(crate) role: Role,
    pub(crate) agent: AgentId,
    pub(crate) resources: Resources,
    pub(crate) fit: Fit,
    /// Everything that is free, and not a shape.
    pub(crate) is_any: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) grants: Vec<Grant>,
    /// When an exclusion that stood in the way ends, by the monotonic clock.
    pub(crate) look_again_at: Option<u64>,
}

/// Decides who is offered what.
pub(crate) fn allocate(input: Input<'_>) -> Plan {
    let claims: Vec<Turns<'_>> = input.claims.into_iter().map(Turns::new).collect();
    let mut round = Round {
        now: input.now,
        pool: input.pool,
        held_by_role: input.held_by_role,
        candidates: input.candidates,
        grants: BTreeMap::new(),
        look_again_at: None,
    };
    let order = (0..claims.len())
        .zip(&claims)
        .map(|(i, turns)| round.rank(i, turns));
    let mut queue: BTreeSet<Rank> = order.collect();
    let mut claims = claims;
    while let Some(rank) = queue.pop_first() {
        let Some(turns) = claims.get_mut(rank.claim) else {
            continue;
        };
        // Another claim of the role may have taken since this one was ranked; shares only grow here.
        let current = round.rank(rank.claim, turns);
        if current > rank {
            queue.insert(current);
        } else if round.take_turn(rank.claim, turns) {
            queue.insert(round.rank(rank.claim, turns));
        }
    }
    Plan {
        grants: round.grants.into_values().collect(),
        look_again_at: round.look_again_at,
    }
}

/// A claim and where it has got to.
struct Turns<'a> {
    claim: Claim<'a>,
    entry: usize,
    /// Wanted of the present entry, once it has been looked at.
    present: Option<Present>,
}

/// The entry that a claim is at.
struct Present {
    wanted: u32,
    /// The agents that could take some, in the order in which they are asked.
    eligible: VecDeque<usize>,
    /// Whether this pass over them has given anything.
    is_progress: bool,
}

/// Who is first. Shares are in billionths.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    role_share: u64,
    share: u64,
    granted: u64,
    claim: usize,
}

/// An allocation under way.
struct Round<'a> {
    now: Time,
    pool: Resources,
    held_by_role: BTreeMap<&'a Role, Resources>,
    candidates: Vec<Candidate<'a>>,
    /// By claim, agent and entry: what is given twice to the same is one grant.
    grants: BTreeMap<(usize, usize, usize), Grant>,
    look_again_at: Option<u64>,
}

impl<'a> Turns<'a> {
    fn new(claim: Claim<'a>) -> Self {
        Self {
            claim,
            entry: 0,
            present: None,
        }
    }
}

impl<'a> Round<'a> {
    fn rank(&self, claim: usize, turns: &Turns<'_>) -> Rank {
        let of_role = self.held_by_role.get(turns.claim.role);
        Rank {
            role_share: of_role.map_or(0, |held| dominant_share(held, &self.pool)),
            share: dominant_share(&turns.claim.held, &self.pool),
            granted: turns.claim.granted,
            claim,
        }
    }

    /// Gives a claim resources of one agent; false when there is nothing for it any more.
    fn take_turn(&mut self, claim: usize, turns: &mut Turns<'a>) -> bool {
        while let Some(entry) = turns.claim.entries.get(turns.entry).copied() {
            let present = turns.present.get_or_insert_with(|| Present {
                wanted: entry.wanted(),
                eligible: self.eligible(entry, turns.claim.is_changed),
                is_progress: false,
            });
            while present.wanted > 0
                && let Some(index) = present.eligible.pop_front()
            {
                let others = u32::try_from(present.eligible.len()).unwrap_or(u32::MAX);
                let fair = present.wanted.div_ceil(others.saturating_add(1));
                let Some(given) = self.give(claim, turns.entry, entry, index, fair, &turns.claim)
                else {
                    continue;
                };
                present.wanted = present.wanted.saturating_sub(given.1);
                present.is_progress = true;
                turns.claim.held.add(&given.0);
                turns.claim.granted += 1;
                return true;
            }
            if present.wanted > 0 && std::mem::take(&mut present.is_progress) {
                present.eligible = self.eligible(entry, turns.claim.is_changed);
            } else {
                turns.present = None;
                turns.entry += 1;
            }
        }
        false
    }

    /// The agents that an entry could get something of, the emptiest first.
    fn eligible(&mut self, entry: &WantedEntry, is_claim_changed: bool) -> VecDeque<usize> {
        if entry.wanted() == 0 {
            return VecDeque::new();
        }
        let mut found = Vec::new();
        let mut look_again_at = self.look_again_at;
        for (index, candidate) in self.candidates.iter().enumerate() {
            if !(is_claim_changed || candidate.is_changed)
                || !accepts(entry, candidate.description)
                || fit(&entry.entry.shape, &candidate.free, 1) == 0
            {
                continue;
            }
            match entry.excluded.get(candidate.id) {
                Some(excluded) if excluded.holds(self.now, &candidate.unused) => {
                    let until = excluded.until;
                    look_again_at = Some(look_again_at.map_or(until, |at| at.min(until)));
                }
                _ => {
                    let taken = candidate.description.resources.minus(&candidate.free);
                    let load = dominant_share(&taken, &candidate.description.resources);
                    found.push((load, index));
                }
            }
        }
        self.look_again_at = look_again_at;
        found.sort_unstable();
        found.into_iter().map(|(_, index)| index).collect()
    }

    /// Gives at most `fair` of an entry on an agent. Answers what it took of scalars, and how many that are.
    fn give(
        &mut self,
        claim: usize,
        entry_index: usize,
        entry: &WantedEntry,
        index: usize,
        fair: u32,
        of: &Claim<'a>,
    ) -> Option<(Resources, u32)> {
        let candidate = self.candidates.get_mut(index)?;
        let count = fit(&entry.entry.shape, &candidate.free, fair);
        if count == 0 {
            return None;
        }
        let resources = take(&entry.entry.shape, &candidate.free, count);
        candidate.free.subtract(&resources);
        let scalars = scalars_of(&resources);
        self.held_by_role.entry(of.role).or_default().add(&scalars);
        let grant = self
            .grants
            .entry((claim, index, entry_index))
            .or_insert_with(|| Grant {
                framework: of.framework.clone(),
                role: of.role.clone(),
                agent: candidate.id.clone(),
                resources: Resources::new(),
                fit: Fit {
                    demand: entry.entry.id.clone(),
                    count: 0,
                },
                is_any: matches!(entry.entry.shape, Shape::Any { .. }),
            });
        grant.resources.add(&resources);
        grant.fit.count = grant.fit.count.saturating_add(count);
        Some((scalars, count))
    }
}

/// Whether an agent passes all of an entry's predicates.
pub(crate) fn accepts(entry: &WantedEntry, agent: &AgentDescription) -> bool {
    let mut predicates = entry.entry.predicates.iter();
    predicates.all(|predicate| predicate.accepts(agent))
}
