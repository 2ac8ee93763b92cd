//! The allocator: who is offered what of which agent. Pure: the same calls give the same grants; no clock, no randomness.
//!
//! Start at `problem.rs`, which states what is solved. This file is all that others see of it.
//!
//! A caller tells what is there (agents), what is held (offers and tasks alike), what is wanted (demand) and what operators
//! have decided (weights, quota), each as it changes, and calls [`Allocator::run`]. A grant is held from the moment that
//! `run` returns it: it ends with [`Allocator::release`], of all of it or of parts, whatever became of the offer.
//!
//! The life of a grant, as the caller sees it:
//! - accepted: [`Allocator::convert`] for each operation that changed what is held; [`Allocator::release`] of what no task
//!   took; [`Allocator::count_down`] of each of its fits, with what was launched and what was not.
//! - however it ends: [`Allocator::end_offer`], once for each grant.
//! - declined: `release`, then `count_down` with nothing launched, then [`Allocator::exclude`] of each of its fits.
//! - rescinded or expired: `release`, then `count_down` with nothing launched.
//! - a task of it ends: `release` of what the task held, and [`Allocator::unplace`] of the entry that it was launched for.
//! - a task is found running that was launched for an entry: [`Allocator::allocate`] and [`Allocator::place`].

#![allow(
    clippy::indexing_slicing,
    reason = "numbers of agents, claims, entries and nodes are given by the tables that they are used with"
)]

mod agents;
mod amounts;
mod bits;
mod bundle;
mod claims;
mod demand;
mod double;
mod earmarks;
mod exclusions;
mod explain;
mod extra;
mod held;
mod held_back;
mod holdings;
mod limits;
mod owed;
mod part;
mod problem;
mod quota;
mod random;
mod reads;
mod replacement;
mod run;
mod serving;
mod shape;
mod siblings;
mod sorter;
mod sweep;
#[cfg(test)]
mod tests;
mod tournament;
mod tree;
mod turns;
mod types;
mod visit;
mod windows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{
    AgentDescription, AgentId, FrameworkId, Quota, ResourceName, Resources, Role, Weight,
};

use agents::{Agents, Known};
use amounts::{Amounts, Names};
use bits::Bits;
use bundle::Bundle;
use claims::{Asking, Claim, Entry};
use earmarks::Choosing;
use exclusions::Ends;
use extra::Extra;
use held_back::HeldBack;
use owed::LeftOut;
use random::Random;
use run::{Granted, Work};
use serving::Needs;
use tree::Tree;
use windows::Windows;

pub use explain::{Before, Inquiry, Look, StoppingLimit};
pub use sorter::Sorter;
pub use types::{
    Explanation, Grant, GrantedOffer, Lacking, Obstacle, Options, Placement, RoleRow, Run, Scope,
};

/// Decides who is offered what.
#[derive(Debug)]
pub struct Allocator {
    options: Options,
    least: Vec<Amounts>,
    names: Names,
    /// How many names there were when what is said in numbers was last said.
    names_known: usize,
    agents: Agents,
    /// What the agent that was told of last has besides ordinary scalars: the next one has mostly the same.
    usual_extra: Extra,
    claims: Vec<Option<Claim>>,
    claims_vacant: Vec<u32>,
    entries: Vec<Option<Entry>>,
    entries_vacant: Vec<u32>,
    asking: Asking,
    /// Entries with bounds.
    bounded: BTreeSet<u32>,
    /// Stamps are never used twice, so that an exclusion of an entry that is gone is not one of its successor.
    stamp: u32,
    frameworks: BTreeMap<FrameworkId, Framework>,
    windows: Windows,
    tree: Tree,
    ends: Ends,
    random: Random,
    /// Free, unreserved and not revocable, of all active agents together.
    available: Amounts,
    changed_claims: Vec<u32>,
    /// Something was not granted, in the work that is being done, because it is held back for guarantees.
    is_held_back: bool,
    held_back: HeldBack,
    /// More has become free since that was last looked at.
    is_more_free: bool,
    /// Claims that take whatever is free and want something.
    live: Bits,
    /// Claims with shapes that want something.
    live_shaped: Bits,
    needs: Needs,
    /// Of those that take whatever is free, the ones that are left out for now because they were shut out of an agent.
    parked: Bits,
    /// … because there is nothing for them in this run.
    parked_in_run: Vec<u32>,
    /// Claims with shapes for which nothing is left in this run.
    exhausted: Vec<u32>,
    /// … of which something was passed over in the pass for guarantees, because those owe nothing of it.
    passed_over: Vec<u32>,
    /// … that want nothing that is owed, also between runs.
    left_out: LeftOut,
    /// Entries that wait for an earmark, by when it is due, and the share that one instance is.
    waiting: BTreeSet<(u64, Reverse<u64>, u32)>,
    earmarked: usize,
    /// The gang that agents are kept for.
    earmarked_gang: Option<u32>,
    choosing: Option<Choosing>,
    /// The most of each name that an agent has had.
    largest: Amounts,
    /// When all looks for agents to keep that there were have had their time.
    chosen_until: u64,
    work: Option<Work>,
    /// Lists of claims that a visit uses.
    tried: Vec<u32>,
    served: Vec<u32>,
    granted: Vec<Granted>,
    now: u64,
    steps: u32,
    /// How often agents have lost something otherwise than by a grant.
    losses: u64,
    /// Of the piece of work that is being done.
    number: u64,
    /// Guarantees that are not met are being served.
    serves_guarantees: bool,
    /// Steps that were done in the order that the shares of all had when they were last counted.
    steps_in_order: u32,
    /// Entries of closed claims that were looked at to count those that want something.
    #[cfg(test)]
    recounted: usize,
}

/// A framework, in all its roles.
#[derive(Debug)]
struct Framework {
    is_active: bool,
    claims: BTreeMap<Role, u32>,
    /// How many of its offers may be out.
    window: u32,
}

impl Allocator {
    /// Nothing is there and nothing is wanted.
    pub fn new(options: Options) -> Self {
        let mut names = Names::new();
        let least = options
            .least
            .iter()
            .map(|least| names.amounts_of(least))
            .collect();
        let mut tree = Tree::new();
        tree.set_excluded(
            options
                .share_excluded
                .iter()
                .map(|name| names.number(name))
                .collect(),
        );
        Self {
            random: Random::new(options.seed),
            least,
            names_known: names.len(),
            names,
            options,
            agents: Agents::default(),
            usual_extra: Extra::default(),
            claims: Vec::new(),
            claims_vacant: Vec::new(),
            entries: Vec::new(),
            entries_vacant: Vec::new(),
            asking: Asking::default(),
            bounded: BTreeSet::new(),
            stamp: 0,
            frameworks: BTreeMap::new(),
            windows: Windows::default(),
            tree,
            ends: Ends::default(),
            available: Amounts::default(),
            changed_claims: Vec::new(),
            is_held_back: false,
            held_back: HeldBack::default(),
            is_more_free: false,
            live: Bits::default(),
            live_shaped: Bits::default(),
            needs: Needs::default(),
            parked: Bits::default(),
            parked_in_run: Vec::new(),
            exhausted: Vec::new(),
            passed_over: Vec::new(),
            left_out: LeftOut::default(),
            waiting: BTreeSet::new(),
            earmarked: 0,
            earmarked_gang: None,
            choosing: None,
            largest: Amounts::default(),
            chosen_until: 0,
            work: None,
            tried: Vec::new(),
            served: Vec::new(),
            granted: Vec::new(),
            now: 0,
            steps: 0,
            losses: 0,
            number: 0,
            serves_guarantees: false,
            steps_in_order: 0,
            #[cfg(test)]
            recounted: 0,
        }
    }

    // ---- agents

    /// An agent is there. `total` is what it has, with the reservations and volumes made since it said what it has. It is
    /// active. One that is known is set, as [`Allocator::set_agent`] does.
    pub fn add_agent(
        &mut self,
        agent: &AgentId,
        description: &AgentDescription,
        total: &Resources,
    ) {
        if self.agents.find(agent).is_some() {
            self.set_agent(agent, description, total);
            return;
        }
        let known = Known {
            id: agent.clone(),
            description: description.clone(),
            total: Bundle::default(),
            all: Amounts::default(),
            reserved: Vec::new(),
        };
        let number = self.agents.insert(known);
        let bundle = Bundle::new(total, &mut self.names);
        self.on_new_names();
        self.set_total(number, bundle, total);
        self.on_more_free(number);
    }

    /// What an agent has or says of itself has changed. Changed attributes, host or domain end its exclusions. Where it says the
    /// same, whoever is shut out of it stays so until more is free than it refused.
    pub fn set_agent(
        &mut self,
        agent: &AgentId,
        description: &AgentDescription,
        total: &Resources,
    ) {
        let Some(number) = self.agents.find(agent) else {
            return;
        };
        let found = self.agents.get_mut(number);
        let Some(known) = found.known.as_mut() else {
            return;
        };
        if known.description != *description {
            let before = std::mem::replace(&mut known.description, description.clone());
            let is_other = before.attributes != description.attributes
                || before.host != description.host
                || before.domain != description.domain;
            // Predicates may say something else of it now.
            found.shut.clear();
            if is_other {
                found.exclusions = None;
                self.move_placed(number, &before);
            }
        }
        let bundle = Bundle::new(total, &mut self.names);
        self.on_new_names();
        self.set_total(number, bundle, total);
        self.look_whether_it_is_kept(number);
        self.on_more_free(number);
    }

    /// Whether anything may be offered of an agent: not while it is suspect, drained or deactivated. What is free there meanwhile
    /// is kept for no guarantee.
    pub fn set_agent_active(&mut self, agent: &AgentId, is_active: bool) {
        let Some(number) = self.agents.find(agent) else {
            return;
        };
        let found = self.agents.get_mut(number);
        let before = found.available();
        found.is_active = is_active;
        self.losses += u64::from(!is_active);
        let after = found.available();
        self.available.add(&after);
        self.available.subtract(&before);
        self.is_more_free |= is_active;
        self.agents.reindex(number);
        self.look_whether_it_is_kept(number);
        self.touch_agent(number);
    }

    /// An agent is gone, with all that is held and excluded there. What its offers had counted comes back by `count_down`
    /// all the same.
    pub fn remove_agent(&mut self, agent: &AgentId) {
        let Some(number) = self.agents.find(agent) else {
            return;
        };
        for holding in self.agents.get(number).holdings.clone().iter() {
            self.unhold(holding.claim, number, &holding.bundle);
            self.refresh(holding.claim);
            self.on_less_held(self.claim(holding.claim).role_node);
        }
        self.losses += 1;
        self.end_earmark(number);
        self.think_anew_without(number);
        self.forget_placed(number);
        self.set_total(number, Bundle::default(), &Resources::new());
        self.agents.remove(number);
    }

    // ---- what is held

    /// A framework holds this already: it was found running. Counts as one allocation.
    pub fn allocate(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) {
        let Some(number) = self.agents.find(agent) else {
            return;
        };
        let bundle = Bundle::new(resources, &mut self.names);
        self.on_new_names();
        self.losses += 1;
        let claim = self.claim_of(framework, role);
        self.hold(claim, number, bundle, true);
        self.refresh(claim);
        // What a guarantee needs may have become less by it.
        self.is_more_free = true;
    }

    /// A framework holds this no more. Excludes nothing and counts nothing.
    pub fn release(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) {
        let (Some(number), Some(claim)) =
            (self.agents.find(agent), self.find_claim(framework, role))
        else {
            return;
        };
        let held = self.agents.get(number).holdings.of(claim);
        let expected = held.map(|held| held.extra.clone()).unwrap_or_default();
        let bundle = Bundle::like(resources, &self.names, &expected);
        self.unhold(claim, number, &bundle);
        self.refresh(claim);
        self.on_less_held(self.claim(claim).role_node);
        self.on_more_free(number);
    }

    /// What a framework holds has become something else by an operation; the agent's total changes alike.
    pub fn convert(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) {
        let (Some(number), Some(claim)) =
            (self.agents.find(agent), self.find_claim(framework, role))
        else {
            return;
        };
        let (from, to) = (
            Bundle::new(from, &mut self.names),
            Bundle::new(to, &mut self.names),
        );
        self.on_new_names();
        self.unhold(claim, number, &from);
        self.convert_total(number, &from, &to);
        self.hold(claim, number, to, false);
        self.recount_free(number);
        self.refresh(claim);
        self.on_less_held(self.claim(claim).role_node);
        // A shared volume is free also while it is held.
        self.on_more_free(number);
    }

    /// Something that is free has become something else by an operator's operation; the agent's total changes alike.
    /// What of it is not free is the error, and then nothing has changed.
    pub fn convert_free(
        &mut self,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) -> Result<(), Resources> {
        let Some(number) = self.agents.find(agent) else {
            return Err(from.clone());
        };
        let missing = from.minus(&self.agents.get(number).free.resources(&self.names));
        if !missing.is_empty() {
            return Err(missing);
        }
        let (from, to) = (
            Bundle::new(from, &mut self.names),
            Bundle::new(to, &mut self.names),
        );
        self.on_new_names();
        self.convert_total(number, &from, &to);
        self.on_more_free(number);
        Ok(())
    }

    fn convert_total(&mut self, agent: u32, from: &Bundle, to: &Bundle) {
        let Some(known) = &self.agents.get(agent).known else {
            return;
        };
        let mut total = known.total.clone();
        total.subtract(from);
        total.add(to);
        let resources = total.resources(&self.names);
        self.set_total(agent, total, &resources);
    }

    // ---- what operators decide

    /// The weight of a role's share against its siblings.
    pub fn set_weight(&mut self, role: &Role, weight: Weight) {
        self.tree.set_weight(role, weight);
    }

    /// What a role with all beneath it is guaranteed and may hold at most; none: neither.
    pub fn set_quota(&mut self, role: &Role, quota: Option<&Quota>) {
        self.set_quotas(std::iter::once((role, quota)));
    }

    /// The same of several: what they mean together is found out once.
    pub fn set_quotas<'a>(
        &mut self,
        quotas: impl IntoIterator<Item = (&'a Role, Option<&'a Quota>)>,
    ) {
        let mut nodes = Vec::new();
        for (role, quota) in quotas {
            let amounts = quota.map(|quota| {
                (
                    self.names.amounts_of(&quota.guarantees),
                    self.names.bounds_of(&quota.limits),
                )
            });
            let amounts = amounts.unwrap_or_default();
            nodes.push(self.tree.set_quota(role, quota, amounts));
        }
        self.on_new_names();
        self.let_all_in();
        self.tree.reguard();
        nodes.into_iter().for_each(|node| self.tree.prune(node));
        self.touch_everything();
    }

    /// Scalars that do not count for shares.
    pub fn set_share_excluded(&mut self, names: &BTreeSet<ResourceName>) {
        self.options.share_excluded.clone_from(names);
        let numbers = names.iter().map(|name| self.names.number(name)).collect();
        self.tree.set_excluded(numbers);
        self.on_new_names();
    }

    // ---- what has changed

    fn touch_agent(&mut self, agent: u32) {
        if self.agents.get(agent).is_offerable() {
            self.agents.note_changed(agent);
        }
    }

    fn touch_claim(&mut self, claim: u32) {
        if let Some(Some(found)) = self.claims.get_mut(claim as usize)
            && !std::mem::replace(&mut found.is_changed, true)
        {
            self.changed_claims.push(claim);
        }
    }

    fn touch_everything(&mut self) {
        for claim in self.tree.claims_beneath(0) {
            self.touch_claim(claim);
        }
    }

    /// Puts a claim whose sums have changed in order.
    fn refresh(&mut self, claim: u32) {
        self.tree.refresh(self.claim(claim).node);
    }

    fn claim(&self, claim: u32) -> &Claim {
        match &self.claims[claim as usize] {
            Some(claim) => claim,
            None => unreachable!("numbers of claims are given by their table"),
        }
    }

    fn find_claim(&self, framework: &FrameworkId, role: &Role) -> Option<u32> {
        self.frameworks.get(framework)?.claims.get(role).copied()
    }
}
