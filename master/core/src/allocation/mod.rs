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
//! - declined: `release`, then `count_down` with nothing launched, then [`Allocator::exclude`] of each of its fits.
//! - rescinded or expired: `release`, then `count_down` with nothing launched.
//! - a task of it ends: `release` of what the task held.

mod types;

use proffer_model::{
    AgentDescription, AgentId, DemandEntry, DemandId, FrameworkId, Quantities, Quota, ResourceName,
    Resources, Role, Time, Weight,
};
use std::collections::BTreeSet;

pub use types::{
    Explanation, Grant, GrantedOffer, Obstacle, Options, Placement, RoleRow, Run, Scope, Sorter,
};

/// Decides who is offered what.
#[derive(Debug)]
pub struct Allocator {
    options: Options,
}

impl Allocator {
    /// Nothing is there and nothing is wanted.
    pub fn new(options: Options) -> Self {
        Self { options }
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
        let _ = (agent, description, total);
    }

    /// What an agent has or says of itself has changed. Changed attributes, host or domain end its exclusions.
    pub fn set_agent(
        &mut self,
        agent: &AgentId,
        description: &AgentDescription,
        total: &Resources,
    ) {
        let _ = (agent, description, total);
    }

    /// Whether anything may be offered of an agent: not while it is suspect, drained or deactivated.
    pub fn set_agent_active(&mut self, agent: &AgentId, is_active: bool) {
        let _ = (agent, is_active);
    }

    /// An agent is gone, with all that is held and excluded there. What its offers had counted comes back by `count_down`.
    pub fn remove_agent(&mut self, agent: &AgentId) {
        let _ = agent;
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
        let _ = (framework, role, agent, resources);
    }

    /// A framework holds this no more. Excludes nothing and counts nothing.
    pub fn release(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        agent: &AgentId,
        resources: &Resources,
    ) {
        let _ = (framework, role, agent, resources);
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
        let _ = (framework, role, agent, from, to);
    }

    /// Something that is free has become something else by an operator's operation; the agent's total changes alike.
    /// What of it is not free is the error, and then nothing has changed.
    pub fn convert_free(
        &mut self,
        agent: &AgentId,
        from: &Resources,
        to: &Resources,
    ) -> Result<(), Resources> {
        let _ = (agent, from, to);
        Ok(())
    }

    // ---- frameworks and what they want

    /// Whether anything may be offered to a framework: not while it has no session. One that is not known yet is active
    /// once it has demand. Becoming inactive ends all its exclusions.
    pub fn set_framework_active(&mut self, framework: &FrameworkId, is_active: bool) {
        let _ = (framework, is_active);
    }

    /// A framework is gone, with its demand, its exclusions and all that it holds.
    pub fn remove_framework(&mut self, framework: &FrameworkId) {
        let _ = framework;
    }

    /// Replaces what a framework wants in a role; nothing: nothing is offered. Exclusions of an entry are kept when the new
    /// one of its id asks for the same; what is on offer of it still counts. The `excluded` of entries are not read: pass
    /// them to [`Allocator::exclude`].
    pub fn set_demand(&mut self, framework: &FrameworkId, role: &Role, entries: &[DemandEntry]) {
        let _ = (framework, role, entries);
    }

    /// An entry does not want an agent until then, by the monotonic clock. An entry of any shape is not offered what
    /// `refused` contains. One with a shape is not offered anything there until more is free than `refused` and than is
    /// free now; `refused` is then best what no task holds. Call it after the release of what was refused.
    pub fn exclude(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        agent: &AgentId,
        refused: &Resources,
        until_mono_ns: u64,
    ) {
        let _ = (framework, role, entry, agent, refused, until_mono_ns);
    }

    /// Ends all exclusions of a framework in a role.
    pub fn clear_exclusions(&mut self, framework: &FrameworkId, role: &Role) {
        let _ = (framework, role);
    }

    /// What became of what an offer's fit held: so many were launched, so many are wanted again. For an entry of any shape
    /// an offer counts as one.
    pub fn count_down(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
        launched: u32,
        returned: u32,
    ) {
        let _ = (framework, role, entry, launched, returned);
    }

    // ---- what operators decide

    /// The weight of a role's share against its siblings.
    pub fn set_weight(&mut self, role: &Role, weight: Weight) {
        let _ = (role, weight);
    }

    /// What a role with all beneath it is guaranteed and may hold at most; none: neither.
    pub fn set_quota(&mut self, role: &Role, quota: Option<&Quota>) {
        let _ = (role, quota);
    }

    /// Scalars that do not count for shares.
    pub fn set_share_excluded(&mut self, names: &BTreeSet<ResourceName>) {
        self.options.share_excluded.clone_from(names);
    }

    // ---- work

    /// Grants what can be granted, of what the scope says, in at most about `steps_max` steps (looks at a claim on an agent).
    pub fn run(&mut self, now: Time, scope: Scope<'_>, steps_max: u32) -> Run {
        let _ = (now, scope, steps_max);
        Run::default()
    }

    /// A grant in full. Only for grants of the last `run`.
    pub fn offer_of(&self, grant: &Grant) -> Option<GrantedOffer> {
        let _ = grant;
        None
    }

    // ---- reads

    /// Every role that has a weight, a quota, a reservation, a framework, or one beneath it that has; by path.
    pub fn role_rows(&self) -> Vec<RoleRow> {
        Vec::new()
    }

    /// What of an agent nobody holds.
    pub fn free(&self, agent: &AgentId) -> Resources {
        let _ = agent;
        Resources::new()
    }

    /// What a framework holds in a role, offers included.
    pub fn held(&self, framework: &FrameworkId, role: &Role) -> Quantities {
        let _ = (framework, role);
        Quantities::new()
    }

    /// Why an entry is not offered anything: how many agents fail by what first. Looks at every agent.
    pub fn explain(
        &self,
        framework: &FrameworkId,
        role: &Role,
        entry: &DemandId,
    ) -> Option<Explanation> {
        let _ = (framework, role, entry);
        None
    }

    /// Counts everything from scratch and compares it with the running sums. The error says what differs.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
