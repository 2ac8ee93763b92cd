//! A demand that names much takes the place of the one before it in pieces, so that nobody else waits for it longer than for
//! one piece. It is judged whole before anything is changed, and answered when all of it is in force. Until then what it
//! does not name is taken away first, what it names again is replaced, and what is new is offered nothing.
//!
//! Of one role one at a time is put in. A later demand takes the place of an earlier one that has not had a turn, which then is
//! answered too, since more has been said; otherwise it waits for the earlier one's end, so that who says more again and
//! again is still offered something. With its session it ends.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::session::{Answer, Call};
use proffer_model::{
    AgentId, Demand, DemandEntry, DemandId, FrameworkId, Generation, Problem, Resources, Role,
};

use crate::answers::{Scope, outline};
use crate::core::Core;
use crate::demand::RoleDemand;
use crate::event::{SessionId, TimerKey};
use crate::limits::{DEMAND_ENTRIES_PER_STEP, DEMAND_STEP_INTERVAL};

/// Those that are under way, in turn, and what they have replaced.
#[derive(Debug)]
pub(crate) struct Replacements {
    under_way: VecDeque<Replacement>,
    /// Demands that are not in force any more: to forget ten thousand entries takes its time, too.
    gone: Vec<RoleDemand>,
    is_timer_set: bool,
    /// How much one step does at most, about: it ends behind what it has begun.
    pub(crate) entries_max: usize,
}

impl Default for Replacements {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            gone: Vec::new(),
            is_timer_set: false,
            entries_max: DEMAND_ENTRIES_PER_STEP,
        }
    }
}

#[derive(Debug)]
struct Replacement {
    session: SessionId,
    framework: FrameworkId,
    role: Role,
    request: u64,
    /// What is remembered of the call.
    kept: Option<Call>,
    fresh: RoleDemand,
    /// What was launched of entries since the call came, and before they were put in.
    launched: BTreeMap<DemandId, u32>,
    /// What was refused since then: entries that are put in later are not offered it either.
    refused: BTreeMap<DemandId, BTreeMap<AgentId, Refused>>,
    /// Whether it has had a turn.
    has_begun: bool,
    stage: Stage,
}

/// What was refused of an agent, and until when.
pub(crate) type Refused = (Resources, u64);

#[derive(Debug)]
enum Stage {
    /// Its entries are looked at; nothing is changed.
    Gather(std::vec::IntoIter<DemandEntry>),
    /// Entries that it does not name are taken away; those up to this one were looked at.
    Drop(Option<DemandId>),
    /// Its entries are put in, from this place on.
    Put(usize),
}

impl Replacements {
    /// The generation of the demand of a role that is under way.
    pub(crate) fn generation(&self, framework: &FrameworkId, role: &Role) -> Option<Generation> {
        let of_role = self.under_way.iter();
        let of_role = of_role.filter(|it| it.is_of(framework, role));
        of_role.map(|it| it.fresh.generation).max()
    }

    /// Whether a call of this request id is being done, and whether it is this one. With its session it ends, so that whoever
    /// resumes does it anew.
    pub(crate) fn recall(&self, session: SessionId, request: u64, call: &Call) -> Option<bool> {
        let mut under_way = self.under_way.iter();
        let known = under_way.find(|it| (it.session, it.request) == (session, request));
        let known = known.filter(|_| request > 0)?;
        Some(match call {
            Call::SetDemand(demand) => {
                (&known.role, known.fresh.generation) == (&demand.role, demand.generation)
            }
            _ => false,
        })
    }

    /// Whether each is of a session that is there and speaks for its framework, and they are told on.
    pub(crate) fn check(&self, session_of: impl Fn(&FrameworkId) -> Option<SessionId>) -> bool {
        let mut under_way = self.under_way.iter();
        let rests = self.under_way.is_empty() && self.gone.is_empty();
        (self.is_timer_set || rests)
            && under_way.all(|it| session_of(&it.framework) == Some(it.session))
    }

    /// So many instances of an entry were launched: of what is put in later, they are not wanted any more.
    pub(crate) fn count_launched(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        id: &DemandId,
        launched: u32,
    ) {
        let under_way = self.under_way.iter_mut();
        for it in under_way.filter(|it| launched > 0 && it.is_of(framework, role)) {
            let count = it.launched.entry(id.clone()).or_default();
            *count = count.saturating_add(launched);
        }
    }

    /// An agent was refused for an entry: for what is put in later, too.
    pub(crate) fn note_refused(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        id: &DemandId,
        agent: &AgentId,
        refused: &Refused,
    ) {
        let under_way = self.under_way.iter_mut();
        for it in under_way.filter(|it| it.is_of(framework, role)) {
            let agents = it.refused.entry(id.clone()).or_default();
            agents.insert(agent.clone(), refused.clone());
        }
    }

    /// Whether a demand of a role has had a turn.
    fn is_begun(&self, framework: &FrameworkId, role: &Role) -> bool {
        let mut under_way = self.under_way.iter();
        under_way.any(|it| it.is_of(framework, role) && it.has_begun)
    }

    /// Forgets so many entries of what is gone.
    fn forget(&mut self, budget: &mut usize) {
        while *budget > 0
            && let Some(last) = self.gone.last_mut()
        {
            *budget -= 1;
            if !last.forget_one() {
                self.gone.pop();
            }
        }
    }
}

impl Replacement {
    fn is_of(&self, framework: &FrameworkId, role: &Role) -> bool {
        self.framework == *framework && self.role == *role
    }
}

impl Core {
    /// Whether a demand is done in one step.
    pub(crate) fn is_short_demand(&self, framework: &FrameworkId, demand: &Demand) -> bool {
        let before = self.allocator.entries_len(framework, &demand.role);
        demand.named() + before <= self.replacements.entries_max
    }

    /// Begins to replace the demand of a role; the call is answered when that is done.
    pub(crate) fn replace_demand(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        request: u64,
        mut demand: Demand,
    ) {
        self.end_replacements(framework, &demand.role, |it| !it.has_begun);
        let entries = std::mem::take(&mut demand.entries).into_iter();
        self.replacements.under_way.push_back(Replacement {
            session,
            framework: framework.clone(),
            role: demand.role.clone(),
            request,
            fresh: RoleDemand::of(demand.generation),
            launched: BTreeMap::new(),
            refused: BTreeMap::new(),
            has_begun: false,
            stage: Stage::Gather(entries),
            kept: outline(&Call::SetDemand(demand)),
        });
        self.set_replacement_timer(self.turn.now.mono_ns);
    }

    /// A later demand, done in one step, says more than those that are under way.
    pub(crate) fn end_replacement(&mut self, framework: &FrameworkId, role: &Role) {
        self.end_replacements(framework, role, |_| true);
    }

    fn end_replacements(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        which: impl Fn(&Replacement) -> bool,
    ) {
        let under_way = std::mem::take(&mut self.replacements.under_way).into_iter();
        let (ended, others): (VecDeque<_>, _) =
            under_way.partition(|it| it.is_of(framework, role) && which(it));
        self.replacements.under_way = others;
        for ended in ended {
            self.replacements.gone.push(ended.fresh);
            self.set_replacement_timer(self.turn.now.mono_ns);
            let answer = Answer::Done;
            self.remember(
                framework,
                Scope::Session,
                ended.request,
                ended.kept,
                &answer,
            );
            self.send_answer(ended.session, ended.request, answer);
        }
    }

    /// A session is over: it wants nothing any more, and hears no answers.
    pub(crate) fn forget_replacements(&mut self, session: SessionId) {
        let under_way = std::mem::take(&mut self.replacements.under_way);
        let (ended, others) = under_way.into_iter().partition(|it| it.session == session);
        self.replacements.under_way = others;
        let ended: VecDeque<Replacement> = ended;
        for it in ended {
            if self.frameworks.contains_key(&it.framework) {
                self.allocator.set_demand(&it.framework, &it.role, &[]);
            }
            self.replacements.gone.push(it.fresh);
        }
    }

    fn set_replacement_timer(&mut self, at: u64) {
        if !std::mem::replace(&mut self.replacements.is_timer_set, true) {
            self.set_timer_at(TimerKey::Demands, at);
        }
    }

    /// The next pieces, each in its turn.
    pub(crate) fn continue_replacements(&mut self) {
        self.replacements.is_timer_set = false;
        let mut budget = self.replacements.entries_max;
        let share = budget.div_ceil(2);
        let mut left = share;
        self.replacements.forget(&mut left);
        budget -= share - left;
        let mut waiting = VecDeque::new();
        while budget > 0
            && let Some(mut next) = self.replacements.under_way.pop_front()
        {
            if !next.has_begun && self.replacements.is_begun(&next.framework, &next.role) {
                waiting.push_back(next);
                continue;
            }
            next.has_begun = true;
            match self.replace_piece(&mut next, &mut budget) {
                None => self.replacements.under_way.push_back(next),
                Some(result) => self.answer_replacement(next, result),
            }
        }
        self.replacements.under_way.append(&mut waiting);
        let rest = &self.replacements;
        if !(rest.under_way.is_empty() && rest.gone.is_empty()) {
            let next = self.turn.now.after(DEMAND_STEP_INTERVAL).mono_ns;
            self.set_replacement_timer(next);
        }
    }

    /// Does some of it; what came of it, when it is at its end.
    fn replace_piece(
        &mut self,
        it: &mut Replacement,
        budget: &mut usize,
    ) -> Option<Result<(), Problem>> {
        if let Stage::Gather(rest) = &mut it.stage {
            while *budget > 0 {
                *budget -= 1;
                match rest.next().map(|entry| it.fresh.push(entry)) {
                    Some(Ok(())) => {}
                    Some(Err(problem)) => return Some(Err(problem)),
                    None => {
                        self.allocator.begin_replacement(&it.framework, &it.role);
                        it.stage = Stage::Drop(None);
                        break;
                    }
                }
            }
        }
        if let Stage::Drop(reached) = &mut it.stage {
            let all = self
                .allocator
                .entries_after(&it.framework, &it.role, reached.as_ref());
            let ids: Vec<DemandId> = all.take(*budget).map(|(id, _)| id.clone()).collect();
            let is_all = ids.len() < *budget;
            *budget -= ids.len();
            for id in ids.iter().filter(|id| it.fresh.entry(id).is_none()) {
                self.allocator.drop_entry(&it.framework, &it.role, id);
            }
            match is_all {
                true => it.stage = Stage::Put(0),
                false => *reached = ids.last().cloned(),
            }
        }
        let is_all = self.put_piece(it, budget);
        self.allocator.end_piece(&it.framework, &it.role);
        is_all.then_some(Ok(()))
    }

    /// Puts some of it in; whether all of it is.
    fn put_piece(&mut self, it: &mut Replacement, budget: &mut usize) -> bool {
        let Stage::Put(place) = &mut it.stage else {
            return false;
        };
        while *budget > 0 {
            let Some(entry) = it.fresh.entries.get(*place) else {
                self.allocator.conclude_replacement(&it.framework, &it.role);
                return true;
            };
            let launched = it.launched.get(&entry.id).copied().unwrap_or(0);
            self.allocator
                .put_coming(&it.framework, &it.role, *place, entry, launched);
            self.exclude_as_asked(&it.framework, &it.role, entry);
            let refused = it.refused.remove(&entry.id).unwrap_or_default();
            *budget = budget.saturating_sub(1 + entry.excluded.len() + refused.len());
            for (agent, (what, until)) in refused {
                self.allocator
                    .exclude(&it.framework, &it.role, &entry.id, &agent, &what, until);
            }
            *place += 1;
        }
        false
    }

    fn answer_replacement(&mut self, it: Replacement, result: Result<(), Problem>) {
        let answer = match result {
            Ok(()) => {
                let gone = self.put_in_force(&it.framework, it.role, it.fresh);
                self.replacements.gone.extend(gone);
                Answer::Done
            }
            Err(problem) => {
                self.replacements.gone.push(it.fresh);
                Answer::Refused(problem.inside("set_demand"))
            }
        };
        self.remember(&it.framework, Scope::Session, it.request, it.kept, &answer);
        self.send_answer(it.session, it.request, answer);
    }
}
