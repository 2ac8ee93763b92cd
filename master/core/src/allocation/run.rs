//! A run: what is looked at, in which order, and where to go on when the steps are used up.
//!
//! Two passes over the agents, as in Mesos: first for guarantees that are not met, then for everybody, each in an order of
//! its own. An agent goes to the claims that take whatever is free, the first in order first; between two agents, claims
//! with shapes that are before the next one take their turns, and after the last agent the others do.

use proffer_model::{AgentId, Fit, Time};

use super::Allocator;
use super::agents::Cursor;
use super::amounts::Amounts;
use super::bundle::Bundle;
use super::limits::{FEW_CLAIMS_MAX, GRANT_STEPS, GROWTH_STEPS, SETTLED_PER_STEP};
use super::serving::Serving;
use super::sweep::{List, Sweep};
use super::tree::{NONE, Order};
use super::types::{Grant, GrantedOffer, Run, Scope};

/// What is to be done, and what of it is done.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) agents: Source,
    /// When only agents with something special are still to come: those, and how many of them are done.
    special: Option<(Vec<u32>, usize)>,
    /// None: all claims that take whatever is free. Otherwise these, by number.
    pub(super) few: Option<Vec<u32>>,
    /// Which of the listed agents, when they have changed, may serve claims with shapes. None: all that are looked at.
    pub(super) serving: Option<Serving>,
    pub(super) pass: Pass,
    stage: Stage,
    /// Claims to which guarantees have come to owe something are let in.
    is_let_in: bool,
    /// In the pass for everybody, what guarantees need leaves too little for any shape that is wanted.
    pub(super) is_held_back: bool,
    /// Claims with shapes that have begun to take turns.
    pub(super) begun: Vec<u32>,
    /// Every claim with shapes looks at every agent; otherwise the few do, and the others at the agents of the list.
    pub(super) is_all: bool,
    /// The kind of scope that it is a part of.
    asked: Option<Asked>,
}

/// The kinds of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Changed,
    Agents,
    All,
}

/// Which agents are looked at.
#[derive(Debug)]
pub(super) enum Source {
    /// These.
    List(List),
    /// All, block by block.
    Sweep(Sweep),
    /// All that have something free, through the index.
    Index(Cursor),
}

/// For whom all is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// For guarantees that are not met.
    Guaranteed,
    /// For everybody.
    Everybody,
}

/// Where a pass has got to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// One agent after the other is looked at.
    Agents,
    /// The agents are done: claims with shapes take the turns that are left.
    Shapes,
    /// What the pass has left out comes back.
    Back,
}

impl Pass {
    /// The order of claims that take whatever is free.
    fn of_any(self) -> Order {
        match self {
            Self::Guaranteed => Order::Guaranteed,
            Self::Everybody => Order::Any,
        }
    }

    /// The order of claims with shapes.
    pub(super) fn of_shaped(self) -> Order {
        match self {
            Self::Guaranteed => Order::GuaranteedShaped,
            Self::Everybody => Order::Shaped,
        }
    }
}

/// What was granted, in full.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) claim: u32,
    pub(super) agent: u32,
    pub(super) bundle: Bundle,
    pub(super) is_any: bool,
    pub(super) fit: (u32, u32),
    pub(super) more_fits: Vec<(u32, u32)>,
    /// Grants that come after it may become one with it.
    is_open: bool,
    /// An open one of the other kind, to the same claim of the same agent, that was granted before.
    before: u32,
}

impl Work {
    fn new(agents: Source, is_all: bool) -> Self {
        Self {
            agents,
            special: None,
            few: None,
            serving: None,
            pass: Pass::Guaranteed,
            stage: Stage::Agents,
            is_let_in: false,
            is_held_back: false,
            begun: Vec::new(),
            is_all,
            asked: None,
        }
    }
}

impl Granted {
    pub(super) fn new(
        claim: u32,
        agent: u32,
        bundle: Bundle,
        is_any: bool,
        fit: (u32, u32),
    ) -> Self {
        Self {
            claim,
            agent,
            bundle,
            is_any,
            fit,
            more_fits: Vec::new(),
            is_open: false,
            before: NONE,
        }
    }
}

impl Allocator {
    /// Grants what can be granted, of what the scope says, in at most about `steps_max` steps: looks at a claim on an agent.
    pub fn run(&mut self, now: Time, scope: Scope<'_>, steps_max: u32) -> Run {
        self.now = now.mono_ns;
        self.granted.clear();
        self.steps = 0;
        let is_done = self.settle(steps_max) && {
            self.settle_windows();
            let is_in_time = self.end_due_exclusions(steps_max) & self.make_due_earmarks(steps_max);
            let before = self.steps;
            let is_done = self.work_off(scope, steps_max);
            let worked = self.steps - before;
            self.steps_in_order = self.steps_in_order.saturating_add(worked);
            is_done && is_in_time
        };
        let next = self.next_end().into_iter().chain(self.next_earmark());
        Run {
            grants: self.grants(),
            is_done,
            look_again_at: next.min(),
            steps: self.steps,
        }
    }

    /// Work that is not done look by look.
    pub(super) fn count_steps(&mut self, steps: usize) {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.steps = self.steps.saturating_add(steps);
    }

    /// Counts the shares of all anew when the total has changed; false: not of all yet, and nobody knows who is first. Half of
    /// a run goes into it at most, and not more than into what is done in that order: totals that change all the time would
    /// stop it all.
    fn settle(&mut self, steps_max: u32) -> bool {
        let is_due =
            self.work.is_none() || self.steps_in_order >= self.tree.len() / SETTLED_PER_STEP;
        if !(self.tree.is_settling() || is_due && self.tree.is_stale()) {
            return true;
        }
        let most = (steps_max / 2).max(1).saturating_mul(SETTLED_PER_STEP);
        self.steps = self.tree.settle(most).div_ceil(SETTLED_PER_STEP);
        self.steps_in_order = 0;
        !self.tree.is_settling()
    }

    fn grants(&self) -> Vec<Grant> {
        let all = (0..).zip(&self.granted);
        all.map(|(index, granted)| Grant {
            claim: granted.claim,
            agent: granted.agent,
            index,
        })
        .collect()
    }

    /// Whether all is done.
    fn work_off(&mut self, scope: Scope<'_>, steps_max: u32) -> bool {
        // What was begun for another scope is done first, and is not what was asked for now.
        let asked = match scope {
            Scope::Changed => Asked::Changed,
            Scope::Agents(_) => Asked::Agents,
            Scope::All => Asked::All,
        };
        let mut is_begun = self
            .work
            .as_ref()
            .is_some_and(|work| work.asked == Some(asked));
        loop {
            if self.work.is_none() {
                self.work = self.next_work(scope, is_begun);
                is_begun = true;
                self.number += 1;
                if let Some(work) = &mut self.work {
                    work.asked = Some(asked);
                    self.begin_to_let_in();
                }
            }
            let Some(mut work) = self.work.take() else {
                return true;
            };
            let is_done = self.go_on(&mut work, steps_max);
            self.serves_guarantees = false;
            self.note_held_back(&work);
            if !is_done {
                self.work = Some(work);
                return false;
            }
        }
    }

    /// The work that a scope asks for, one piece after the other.
    fn next_work(&mut self, scope: Scope<'_>, is_begun: bool) -> Option<Work> {
        match scope {
            Scope::Changed => self.changed_work(),
            Scope::Agents(_) | Scope::All if is_begun => None,
            Scope::Agents(ids) => {
                let agents = ids
                    .iter()
                    .filter_map(|id: &AgentId| self.agents.find(id))
                    .collect();
                Some(self.work_on(agents))
            }
            Scope::All => {
                self.forget_changes();
                let source = if Sweep::is_worth_it(&self.agents) {
                    Source::Sweep(Sweep::new(&self.agents))
                } else {
                    Source::List(List::new(self.agents.index.list()))
                };
                Some(Work::new(source, true))
            }
        }
    }

    fn work_on(&mut self, agents: Vec<u32>) -> Work {
        let serving = self.serving(&agents);
        Work {
            serving,
            ..Work::new(Source::List(List::new(agents)), false)
        }
    }

    /// Goes on to put what is listed in an order drawn by lot; false: the steps are used up before.
    fn put_in_order(&mut self, work: &mut Work, steps_max: u32) -> bool {
        if let Source::List(list) = &mut work.agents {
            while !list.is_drawn() {
                if self.steps >= steps_max {
                    return false;
                }
                self.steps = self.steps.saturating_add(1);
                list.draw(&mut self.random);
            }
        }
        true
    }

    /// Changed agents with every claim first, then changed claims with every agent.
    fn changed_work(&mut self) -> Option<Work> {
        let mut agents = self.agents.take_changed();
        if agents.is_empty() && self.is_more_free && self.is_held_back_no_more() {
            self.is_more_free = false;
            self.touch_held_back();
            agents = self.agents.take_changed();
        }
        if !agents.is_empty() {
            return Some(self.work_on(agents));
        }
        let mut claims = std::mem::take(&mut self.changed_claims);
        claims.retain(|claim| match self.claims.get_mut(*claim as usize) {
            Some(Some(found)) => {
                found.is_changed = false;
                !(found.open_any.is_empty() && found.open_shaped.is_empty())
            }
            _ => false,
        });
        if claims.is_empty() || (self.agents.index.len() == 0 && !self.is_shape_open(&claims)) {
            return None;
        }
        let is_few = claims.len() <= FEW_CLAIMS_MAX;
        let with_slivers = claims.iter().any(|claim| self.takes_slivers(*claim));
        let source = Source::Index(Cursor::new(with_slivers));
        Some(Work {
            few: is_few.then_some(claims),
            ..Work::new(source, !is_few)
        })
    }

    /// Those with shapes begin to wait, even when nothing is free.
    fn is_shape_open(&self, claims: &[u32]) -> bool {
        claims
            .iter()
            .any(|claim| !self.claim(*claim).open_shaped.is_empty())
    }

    fn forget_changes(&mut self) {
        for claim in std::mem::take(&mut self.changed_claims) {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.is_changed = false;
            }
        }
        // Also of those that nothing can be offered of now: they must be noticed when that has changed.
        self.agents.forget_changed();
    }

    /// Whether a claim with shapes looks at every agent in this piece of work.
    pub(super) fn looks_everywhere(&self, work: &Work, claim: u32) -> bool {
        work.is_all || work.few.as_ref().is_some_and(|few| few.contains(&claim))
    }

    /// Whether an entry of a claim takes less than the smallest class of the index tells of.
    fn takes_slivers(&self, claim: u32) -> bool {
        let mut open = self.claim(claim).open_any.iter();
        open.any(|entry| {
            let least = self.entry(*entry).least.as_ref().unwrap_or(&self.least);
            let is_more = |least: &Amounts| least.get(0) >= 10 || least.get(1) >= 32_000;
            least.is_empty() || !least.iter().all(is_more)
        })
    }

    /// Goes on with a piece of work; whether it is done.
    fn go_on(&mut self, work: &mut Work, steps_max: u32) -> bool {
        work.is_let_in = work.is_let_in || self.let_owed_in(steps_max);
        if !work.is_let_in {
            return false;
        }
        self.look_what_is_owed(work);
        loop {
            self.serves_guarantees = work.pass == Pass::Guaranteed;
            let is_done = match work.stage {
                Stage::Agents => self.look_at_all(work, steps_max),
                Stage::Shapes => self.take_turns(work, steps_max),
                Stage::Back => self.end_pass(work, steps_max),
            };
            if !is_done {
                return false;
            }
            work.stage = match (work.stage, work.pass) {
                (Stage::Agents, _) => Stage::Shapes,
                (Stage::Shapes, _) => Stage::Back,
                (Stage::Back, Pass::Everybody) => return true,
                (Stage::Back, Pass::Guaranteed) => {
                    self.begin_last_pass(work);
                    Stage::Agents
                }
            };
        }
    }

    /// Claims with shapes take turns until none of them has any; false: the steps are used up before.
    fn take_turns(&mut self, work: &mut Work, steps_max: u32) -> bool {
        while self.next_shaped(work).is_some() {
            if self.steps >= steps_max || !self.turn(work, steps_max) {
                return false;
            }
        }
        true
    }

    /// What a pass has left out comes back; false: the steps are used up before.
    fn end_pass(&mut self, work: &mut Work, steps_max: u32) -> bool {
        match work.pass {
            Pass::Guaranteed => self.unpark_all(steps_max) && self.take_in_again(steps_max),
            Pass::Everybody => {
                self.end_turns(work, steps_max)
                    && self.unpark_all(steps_max)
                    && self.come_back(steps_max)
            }
        }
    }

    /// Goes on to offer agents to claims that take whatever is free; whether it is done.
    fn look_at_all(&mut self, work: &mut Work, steps_max: u32) -> bool {
        let order = work.pass.of_any();
        if !self.put_in_order(work, steps_max) {
            return false;
        }
        loop {
            if self.steps >= steps_max {
                return false;
            }
            let next = self.next_any(work, order);
            if next.is_some_and(|next| self.is_shaped_next(work, next)) {
                if !self.turn(work, steps_max) {
                    return false;
                }
                continue;
            }
            if next.is_none() && !self.may_come_back(work) {
                return true;
            }
            let Some(agent) = self.next_agent(work) else {
                return true;
            };
            self.visit(work, agent, next, order);
        }
    }

    /// Whether a claim that is left out for now may take part at one of the agents that are still to come.
    fn may_come_back(&mut self, work: &mut Work) -> bool {
        if !self.parked.is_empty() {
            return true;
        }
        if self.parked_in_run.is_empty() || self.agents.special().next().is_none() {
            return false;
        }
        if work.special.is_none() && matches!(work.agents, Source::Index(_)) {
            let special: Vec<u32> = self.agents.special().collect();
            work.special = Some((special, 0));
        }
        true
    }

    /// Guarantees have got what there is for them: now for everybody.
    fn begin_last_pass(&mut self, work: &mut Work) {
        work.pass = Pass::Everybody;
        work.special = None;
        self.look_whether_it_serves(work, None);
        match &mut work.agents {
            Source::List(list) => list.begin_again(),
            Source::Sweep(sweep) => sweep.begin_again(&self.agents),
            Source::Index(cursor) => {
                let with_slivers = cursor.has_slivers();
                *cursor = Cursor::new(with_slivers);
            }
        }
    }

    fn next_agent(&mut self, work: &mut Work) -> Option<u32> {
        if let Some((agents, done)) = &mut work.special {
            *done += 1;
            return agents.get(*done - 1).copied();
        }
        match &mut work.agents {
            Source::List(list) => list.next(&self.agents),
            Source::Sweep(sweep) => {
                let (agent, drawn) = sweep.next(&self.agents, &mut self.random);
                self.steps = self.steps.saturating_add(drawn);
                agent
            }
            Source::Index(cursor) => self.agents.next_free(cursor, &mut self.random),
        }
    }

    /// The claim that is next to take whatever is free.
    pub(super) fn next_any(&self, work: &Work, order: Order) -> Option<u32> {
        let Some(few) = &work.few else {
            return self.tree.first(order);
        };
        self.first_of(few, order)
    }

    /// The first in order of a few claims.
    pub(super) fn first_of(&self, few: &[u32], order: Order) -> Option<u32> {
        let taking_part = few.iter().copied().filter(|claim| {
            let found = self.claims.get(*claim as usize).and_then(Option::as_ref);
            found.is_some_and(|found| self.tree.is_in(found.node, order))
        });
        taking_part.min_by(|one, other| {
            self.tree
                .compare(self.claim(*one).node, self.claim(*other).node)
        })
    }

    /// Whether a claim with shapes is before the next one that takes whatever is free.
    fn is_shaped_next(&self, work: &Work, next: u32) -> bool {
        let Some(shaped) = self.next_shaped(work) else {
            return false;
        };
        let (shaped, next) = (self.claim(shaped).node, self.claim(next).node);
        self.tree.compare(shaped, next).is_lt()
    }

    /// What is free beyond what guarantees still need; none: no guarantee needs anything.
    pub(super) fn surplus(&self) -> Option<Amounts> {
        Some(self.available.minus(self.tree.required()?))
    }

    /// Claims with shapes for which nothing was left take part again; false: the steps are used up before.
    fn come_back(&mut self, steps_max: u32) -> bool {
        while let Some(claim) = self.exhausted.pop() {
            if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
                found.turns = Default::default();
                let (node, shaped) = (found.node, !found.open_shaped.is_empty());
                let [any, _] = self.tree.takes_part(node);
                self.tree.set_takes_part(node, any, shaped);
            }
            self.steps = self.steps.saturating_add(1);
            if self.steps >= steps_max && !self.exhausted.is_empty() {
                return false;
            }
        }
        true
    }

    /// Claims that take whatever is free and were left out take part again; false: the steps are used up before.
    fn unpark_all(&mut self, steps_max: u32) -> bool {
        let mut back = std::mem::take(&mut self.parked_in_run);
        self.parked.take_without(&Default::default(), &mut back);
        self.parked_in_run = back;
        while let Some(claim) = self.parked_in_run.pop() {
            self.unpark(claim);
            self.steps = self.steps.saturating_add(1);
            if self.steps >= steps_max && !self.parked_in_run.is_empty() {
                return false;
            }
        }
        true
    }

    /// A claim that was left out takes part again, when it wants something.
    pub(super) fn unpark(&mut self, claim: u32) {
        self.parked.unset(claim);
        if let Some(Some(found)) = self.claims.get(claim as usize) {
            let [_, shaped] = self.tree.takes_part(found.node);
            self.tree
                .set_takes_part(found.node, !found.open_any.is_empty(), shaped);
        }
    }

    /// A grant in full. Only for grants of the last run.
    pub fn offer_of(&self, grant: &Grant) -> Option<GrantedOffer> {
        let granted = self.granted.get(grant.index as usize)?;
        let claim = self.claims.get(granted.claim as usize)?.as_ref()?;
        let known = self.agents.try_get(granted.agent)?.known.as_ref()?;
        let fits = std::iter::once(&granted.fit).chain(&granted.more_fits);
        let fits = fits.filter_map(|(entry, count)| {
            let entry = self.entries.get(*entry as usize)?.as_ref()?;
            Some(Fit {
                demand: entry.demand.id.clone(),
                count: *count,
            })
        });
        Some(GrantedOffer {
            framework: claim.framework.clone(),
            role: claim.role.clone(),
            agent: known.id.clone(),
            resources: granted.bundle.resources(&self.names),
            fits: fits.collect(),
            is_any: granted.is_any,
        })
    }

    /// Notes a grant; one to the same claim of the same agent in the same run becomes larger. Whether it is for an entry
    /// that it was not for before, or for more instances.
    pub(super) fn note(&mut self, mut granted: Granted, merge: Merge) -> bool {
        let (claim, agent) = (granted.claim, granted.agent);
        if merge != Merge::Never
            && let Some(noted) = self.agents.get_mut(agent).holdings.noted(claim)
        {
            // What was noted in a run before stands for nothing, and is known by that.
            let mut index = *noted;
            while let Some(before) = self.granted.get_mut(index as usize)
                && (before.claim, before.agent, before.is_open) == (claim, agent, true)
            {
                if before.is_any == granted.is_any {
                    self.steps = self.steps.saturating_add(GROWTH_STEPS);
                    before.bundle.add(&granted.bundle);
                    return before.add_fit(granted.fit);
                }
                granted.before = index;
                index = before.before;
            }
            if merge == Merge::Often {
                granted.is_open = true;
                *noted = u32::try_from(self.granted.len()).unwrap_or(NONE);
            }
        }
        self.count_offer(claim);
        self.steps = self.steps.saturating_add(GRANT_STEPS);
        self.granted.push(granted);
        true
    }
}

/// Whether a grant may become one with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// It stands by itself.
    Never,
    /// With one before it; none comes after it.
    Last,
    /// With others before and after it.
    Often,
}

impl Granted {
    /// An offer to an entry of any shape counts once, however often it grew.
    fn add_fit(&mut self, fit: (u32, u32)) -> bool {
        let mut fits = std::iter::once(&mut self.fit).chain(&mut self.more_fits);
        match fits.find(|(entry, _)| *entry == fit.0) {
            Some(known) if !self.is_any => known.1 = known.1.saturating_add(fit.1),
            Some(_) => return false,
            None => self.more_fits.push(fit),
        }
        true
    }
}
