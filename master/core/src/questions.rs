//! Questions of operators that look at much: why demand is not met, and how the roles stand. They are answered in pieces, one
//! a step, so that nobody else waits for them longer than for one piece; and in pages, so that no answer takes for ever. Roles
//! come first, which is soon done, and then who has asked first. What an answer says of one agent, or one role, is so in one moment; the whole may be of several.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use proffer_model::{AgentId, AgentState, DemandId, FrameworkId, Problem, Resources, Role, code};

use crate::agents::Agent;
use crate::allocation::{Before, Inquiry, Look, Obstacle, RoleRow};
use crate::amounts::lacking;
use crate::core::Core;
use crate::effect::{After, Effect, Reply};
use crate::event::{DemandPart, RequestId, TimerKey};
use crate::frameworks::Framework;
use crate::limits::{
    EXPLAINED_ENTRIES_MAX, EXPLAINED_LOOKS_MAX, QUESTION_AGENT_STEPS, QUESTION_OFFERED_STEPS,
    QUESTION_STEP_INTERVAL, QUESTION_STEPS_MAX, QUESTION_TIMEOUT, QUESTIONS_MAX,
    ROLE_ROWS_FRAMEWORKS_MAX, ROLE_ROWS_MAX,
};

/// The questions that are under way.
#[derive(Debug)]
pub(crate) struct Questions {
    open: VecDeque<Open>,
    /// How much one step takes at most, about: it ends behind what it has begun.
    pub(crate) steps_max: u32,
    /// What the last piece took.
    pub(crate) worked: u32,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            open: VecDeque::new(),
            steps_max: QUESTION_STEPS_MAX,
            worked: 0,
        }
    }
}

#[derive(Debug)]
struct Open {
    request: RequestId,
    question: Question,
    until_ns: u64,
}

#[derive(Debug)]
enum Question {
    Demand(Box<Demand>),
    Roles(Roles),
}

/// How the roles stand, as far as that has been found out.
#[derive(Debug)]
struct Roles {
    after: Option<Role>,
    len: usize,
    rows: Vec<RoleRow>,
    frameworks: usize,
}

/// Why demand is not met, as far as that has been found out.
#[derive(Debug)]
pub(crate) struct Demand {
    pub(crate) framework: FrameworkId,
    part: DemandPart,
    pub(crate) asked: Vec<Asked>,
    next: Option<(Role, DemandId)>,
    /// How many claims come before the framework's, by role.
    pub(crate) before: BTreeMap<Role, Before>,
    /// Agents that nothing is offered of, by how they stand.
    pub(crate) inactive: BTreeMap<&'static str, u32>,
    stage: Stage,
}

/// An entry that is asked about.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) inquiry: Inquiry,
    /// Agents that have what it needs in offers that stand.
    pub(crate) in_offers: u32,
}

/// What is found out, one after the other.
#[derive(Debug)]
enum Stage {
    /// Which entries are asked about.
    Gather,
    /// Who comes first: in which of their roles that is counted, and where among the claims.
    Order(usize, usize),
    /// What each agent fails by.
    Look(Option<AgentId>),
}

/// What a step may still do.
struct Budget {
    spent: u32,
    most: u32,
}

impl Budget {
    fn spend(&mut self, steps: u32) {
        self.spent = self.spent.saturating_add(steps);
    }

    fn left(&self) -> u32 {
        self.most.saturating_sub(self.spent)
    }

    fn is_spent(&self) -> bool {
        self.left() == 0
    }
}

impl Core {
    pub(crate) fn on_roles_requested(
        &mut self,
        request: RequestId,
        after: Option<Role>,
        len: usize,
    ) {
        let roles = Roles {
            after,
            len: len.clamp(1, ROLE_ROWS_MAX),
            rows: Vec::new(),
            frameworks: 0,
        };
        self.ask(request, Question::Roles(roles));
    }

    pub(crate) fn on_explain_requested(
        &mut self,
        request: RequestId,
        framework: FrameworkId,
        mut part: DemandPart,
    ) {
        let agents = self.agents.by_id.len().max(1);
        let most = EXPLAINED_ENTRIES_MAX.min(EXPLAINED_LOOKS_MAX / agents);
        part.len = part.len.min(most).max(1);
        let demand = Demand {
            framework,
            part,
            asked: Vec::new(),
            next: None,
            before: BTreeMap::new(),
            inactive: BTreeMap::new(),
            stage: Stage::Gather,
        };
        self.ask(request, Question::Demand(Box::new(demand)));
    }

    /// Has its turn in the next step.
    fn ask(&mut self, request: RequestId, question: Question) {
        if self.questions.open.len() >= QUESTIONS_MAX {
            let message = format!("{QUESTIONS_MAX} questions are being answered already");
            let problem = Problem::new(code::OVERLOADED, message).hint("try again in a moment");
            self.reply(request, Err(problem), After::Nothing);
            return;
        }
        if self.questions.open.is_empty() {
            let now = self.turn.now.mono_ns;
            self.set_timer_at(TimerKey::Questions, now);
        }
        let open = &mut self.questions.open;
        let place = match &question {
            Question::Roles(_) => {
                open.partition_point(|it| matches!(it.question, Question::Roles(_)))
            }
            Question::Demand(_) => open.len(),
        };
        let until_ns = self.turn.now.after(QUESTION_TIMEOUT).mono_ns;
        let opened = Open {
            request,
            question,
            until_ns,
        };
        open.insert(place, opened);
    }

    /// The next pieces of the questions that are under way.
    pub(crate) fn continue_questions(&mut self) {
        let mut budget = Budget {
            spent: 0,
            most: self.questions.steps_max,
        };
        while !budget.is_spent()
            && let Some(mut open) = self.questions.open.pop_front()
        {
            if open.until_ns <= self.turn.now.mono_ns {
                let message = "the question takes too long";
                let problem = Problem::new(code::OVERLOADED, message).hint("ask for less at once");
                self.reply(open.request, Err(problem), After::Nothing);
                budget.spend(1);
                continue;
            }
            let is_done = match &mut open.question {
                Question::Roles(roles) => self.find_out_roles(roles, &mut budget),
                Question::Demand(demand) => self.find_out_demand(demand, &mut budget),
            };
            // Whatever it is, it is something.
            budget.spend(1);
            match is_done {
                true => self.answer_question(open.request, open.question),
                false => self.questions.open.push_front(open),
            }
        }
        self.questions.worked = budget.spent;
        if !self.questions.open.is_empty() {
            let next = self.turn.now.after(QUESTION_STEP_INTERVAL).mono_ns;
            self.set_timer_at(TimerKey::Questions, next);
        }
    }

    fn answer_question(&mut self, request: RequestId, question: Question) {
        match question {
            Question::Roles(roles) => {
                // What is shown is durable.
                let after = self.turn.after_everything();
                let (rows, next) = (roles.rows, roles.after);
                self.reply(request, Ok(Reply::Roles { rows, next }), after);
            }
            Question::Demand(mut demand) => {
                let next = demand.next.take();
                let entries = self.explanations(*demand);
                let reply = entries.map(|entries| Reply::Explained { entries, next });
                self.reply(request, reply, After::Nothing);
            }
        }
    }

    fn reply(&mut self, request: RequestId, reply: Result<Reply, Problem>, after: After) {
        self.turn.push(Effect::Reply {
            request,
            reply,
            after,
        });
    }

    /// Whether the page is full, or nothing is left. Then `after` says where the next page begins.
    fn find_out_roles(&self, roles: &mut Roles, budget: &mut Budget) -> bool {
        let mut rows = self.allocator.role_rows_after(roles.after.as_ref());
        while roles.rows.len() < roles.len && roles.frameworks < ROLE_ROWS_FRAMEWORKS_MAX {
            let Some((mut row, steps)) = rows.next() else {
                roles.after = None;
                return true;
            };
            // The allocator is told less while agents are awaited.
            row.quota = self.registry.quotas.get(&row.role).cloned();
            roles.frameworks += row.frameworks.len();
            roles.rows.push(row);
            budget.spend(steps);
            if budget.is_spent() {
                break;
            }
        }
        roles.after = roles.rows.last().map(|row| row.role.clone());
        roles.rows.len() >= roles.len || roles.frameworks >= ROLE_ROWS_FRAMEWORKS_MAX
    }

    /// Whether all is found out.
    fn find_out_demand(&self, demand: &mut Demand, budget: &mut Budget) -> bool {
        let Some(known) = self.frameworks.get(&demand.framework) else {
            return true;
        };
        if let Stage::Gather = demand.stage {
            if !self.gather(known, demand, budget) {
                return false;
            }
            let roles = demand.asked.iter().map(|asked| asked.inquiry.role.clone());
            demand.before = roles.map(|role| (role, Before::default())).collect();
            demand.stage = Stage::Order(0, 0);
        }
        while let Stage::Order(place, from) = demand.stage {
            if budget.is_spent() {
                return false;
            }
            demand.stage = self.find_out_order(demand, place, from, budget);
        }
        demand.asked.is_empty() || (!budget.is_spent() && self.look_at_agents(demand, budget))
    }

    /// Finds the entries of the page; whether all are found.
    fn gather(&self, known: &Framework, demand: &mut Demand, budget: &mut Budget) -> bool {
        let (part, framework) = (&mut demand.part, &demand.framework);
        let after = part.after.clone();
        let first = after.as_ref().map(|(role, _)| role);
        let roles = known.demands.keys();
        let roles = roles.filter(|role| part.role.as_ref().is_none_or(|only| only == *role));
        for role in roles.filter(|role| first.is_none_or(|first| first <= *role)) {
            let after = after.as_ref().filter(|(of, _)| of == role);
            let after = after.map(|(_, id)| id);
            for (id, wanted) in self.entries_of(framework, role, after, &part.demands) {
                budget.spend(1);
                if wanted > 0 {
                    if demand.asked.len() == part.len {
                        let last = demand.asked.last().map(|asked| &asked.inquiry);
                        demand.next = last.map(|last| (last.role.clone(), last.demand.clone()));
                        return true;
                    }
                    demand.asked.push(Asked {
                        inquiry: Inquiry::new(role.clone(), id.clone()),
                        in_offers: 0,
                    });
                }
                if budget.is_spent() {
                    part.after = Some((role.clone(), id.clone()));
                    return false;
                }
            }
        }
        true
    }

    /// The entries of a role that are asked about, with how many of each are wanted.
    fn entries_of<'a>(
        &'a self,
        framework: &'a FrameworkId,
        role: &'a Role,
        after: Option<&DemandId>,
        named: &'a BTreeSet<DemandId>,
    ) -> Box<dyn Iterator<Item = (&'a DemandId, u32)> + 'a> {
        if named.is_empty() {
            return Box::new(self.allocator.entries_after(framework, role, after));
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let named = named.range::<DemandId, _>((from, Bound::Unbounded));
        Box::new(named.map(move |id| {
            let wanted = self.allocator.wanted(framework, role, id);
            (id, wanted.unwrap_or(0))
        }))
    }

    /// Counts some of those that come before the framework in one of its roles; what is to be found out next.
    fn find_out_order(
        &self,
        demand: &mut Demand,
        place: usize,
        from: usize,
        budget: &mut Budget,
    ) -> Stage {
        let framework = &demand.framework;
        let Some((role, count)) = demand.before.iter_mut().nth(place) else {
            return Stage::Look(None);
        };
        let (left, allocator) = (budget.left(), &self.allocator);
        let counted = allocator.claims_before(framework, role, from, left);
        count.add(counted.before);
        budget.spend(counted.steps);
        match counted.next {
            Some(next) => Stage::Order(place, next),
            None => Stage::Order(place + 1, 0),
        }
    }

    /// Looks at agents for all entries that are asked about; whether at all of them.
    fn look_at_agents(&self, demand: &mut Demand, budget: &mut Budget) -> bool {
        let Stage::Look(reached) = &mut demand.stage else {
            return false;
        };
        let entries = demand.asked.iter();
        let entries = entries.map(|asked| (&asked.inquiry.role, &asked.inquiry.demand));
        let look = self.allocator.look_for_entries(&demand.framework, entries);
        budget.spend(u32::try_from(demand.asked.len()).unwrap_or(u32::MAX));
        let from = reached.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        for (id, agent) in self
            .agents
            .by_id
            .range::<AgentId, _>((from, Bound::Unbounded))
        {
            budget.spend(QUESTION_AGENT_STEPS);
            match self.why_inactive(id, agent) {
                Some(state) => *demand.inactive.entry(state).or_default() += 1,
                None => self.look_at_agent((id, agent), &look, &mut demand.asked, budget),
            }
            if budget.is_spent() {
                *reached = Some(id.clone());
                return false;
            }
        }
        true
    }

    fn look_at_agent(
        &self,
        (id, agent): (&AgentId, &Agent),
        look: &Look<'_>,
        asked: &mut [Asked],
        budget: &mut Budget,
    ) {
        let Some(number) = look.find(id) else {
            return;
        };
        let mut rested = None;
        for (place, asked) in asked.iter_mut().enumerate() {
            let (obstacle, steps) = look.at(number, place, &mut asked.inquiry);
            budget.spend(steps);
            let is_in_offers = match obstacle {
                Some(Obstacle::NotFree(_) | Obstacle::NothingFree) => {
                    Self::is_in_offers(agent, look, place, &mut rested, budget)
                }
                _ => false,
            };
            match obstacle {
                Some(_) if is_in_offers => asked.in_offers = asked.in_offers.saturating_add(1),
                Some(obstacle) => asked.inquiry.count(obstacle),
                None => {}
            }
        }
    }

    /// Whether an agent would have what an entry needs, if it were not in offers.
    fn is_in_offers(
        agent: &Agent,
        look: &Look<'_>,
        place: usize,
        rested: &mut Option<Resources>,
        budget: &mut Budget,
    ) -> bool {
        if agent.offers.is_empty() {
            return false;
        }
        budget.spend(1);
        let rested = rested.get_or_insert_with(|| {
            budget.spend(QUESTION_OFFERED_STEPS);
            agent.rested()
        });
        let shape = look.shape(place);
        shape.is_some_and(|shape| lacking(shape, rested).is_none())
    }

    /// How an agent stands that nothing is offered of.
    fn why_inactive(&self, id: &AgentId, agent: &Agent) -> Option<&'static str> {
        let entry = self.registry.agents.get(id);
        match agent.state {
            AgentState::Recovering => Some("recovering"),
            AgentState::Suspect => Some("suspect"),
            AgentState::Unreachable => Some("unreachable"),
            AgentState::Connected => match entry {
                Some(entry) if entry.drain.is_some() => Some("drained"),
                Some(entry) if entry.is_deactivated => Some("deactivated"),
                _ if !self.turn.is_durable(agent.admitted_in) => Some("new"),
                _ => None,
            },
        }
    }
}
