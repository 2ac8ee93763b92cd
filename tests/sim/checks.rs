//! The promises, checked as they are kept or broken. They know only what can be seen from outside the cores; the numbers
//! are the promises' (docs/simulation.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::session::Answer;
use proffer_model::{
    AgentId, ExecutorId, FrameworkId, Incarnation, Offer, OfferId, OperationResult, Reason,
    Resources, Status, TaskId, TaskState,
};

use super::changes::Changes;
use super::ensemble::Entry;
use super::kills::Kills;
use super::presence::Completions;
use super::world::{Outcome, SECOND};

/// How long after an agent was last heard an offer of it may be made: suspicion, the look at silence, and a little.
const OFFER_SILENCE_MAX: u64 = 7 * SECOND;
/// How late an agent may kill what it was told to: it may be down for a minute, and is told again when it is back.
const KILL_LATE_MAX: u64 = 120 * SECOND;

/// One key of a framework's state, as its framework has written and read it.
#[derive(Default)]
struct State {
    asked: BTreeSet<Vec<u8>>,
    /// The versions that were seen.
    values: BTreeMap<u64, Vec<u8>>,
    /// The version that was written on each.
    after: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(super) struct Checks {
    terms: BTreeMap<u64, usize>,
    hosts: BTreeMap<AgentId, usize>,
    owners: BTreeMap<FrameworkId, String>,
    started: BTreeSet<TaskId>,
    /// Started and not ended.
    alive: BTreeSet<TaskId>,
    /// They went with their hosts.
    gone: BTreeSet<TaskId>,
    to_kill: BTreeSet<TaskId>,
    /// Executors that frameworks have told to end, by their hosts.
    executors_to_end: BTreeSet<(usize, ExecutorId)>,
    /// The tasks of each group, by each of them.
    groups: BTreeMap<TaskId, Arc<[TaskId]>>,
    /// From when to when tasks of a host may be killed because it is drained.
    drains: BTreeMap<usize, Vec<(u64, u64)>>,
    /// Messages that have come, by whom they came to.
    messages: BTreeSet<(&'static str, Vec<u8>)>,
    /// The newest status of each task, as its framework knows it.
    seen: BTreeMap<TaskId, Status>,
    /// The term in which the end of each was told.
    ended_in: BTreeMap<TaskId, u64>,
    /// Tasks that are launched again after that.
    again: BTreeSet<TaskId>,
    /// What agents said, by launch and number.
    told: BTreeMap<(TaskId, Incarnation), BTreeMap<u64, Status>>,
    /// What masters said in their own name, by launch.
    told_by_master: BTreeMap<(TaskId, Incarnation), Vec<Status>>,
    /// What must be durable when a request is granted.
    promised: BTreeMap<u64, String>,
    fenced: BTreeSet<u64>,
    /// Agents that an operator has asked to be gone: at once, or else when they are empty.
    gone_asked: BTreeMap<AgentId, bool>,
    gone_promised: BTreeMap<u64, AgentId>,
    gone_agents: BTreeSet<AgentId>,
    /// The agent that each host is now, and the agents on which tasks were started.
    residents: BTreeMap<usize, AgentId>,
    places: BTreeMap<TaskId, AgentId>,
    /// Tasks that their frameworks do not remember.
    unremembered: BTreeSet<TaskId>,
    /// What is known of each framework's state.
    states: BTreeMap<usize, State>,
    overtaken_writes: BTreeSet<u64>,
    accepting: BTreeMap<u64, Vec<OfferId>>,
    /// Offers and the calls that have taken them.
    accepted: BTreeMap<OfferId, u64>,
    /// Calls that were made again in a session that goes on.
    called_again: BTreeSet<u64>,
    pub(super) completions: Completions,
    pub(super) changes: Changes,
    pub(super) kills: Kills,
    /// What launches were answered.
    answers: BTreeMap<u64, Answer>,
}

impl Checks {
    /// S1: a term has one master.
    pub(super) fn on_term(&mut self, epoch: u64, master: usize) -> Outcome {
        match self.terms.insert(epoch, master) {
            None => Ok(()),
            Some(other) => Err(format!(
                "term {epoch} is master {other}'s and master {master}'s"
            )),
        }
    }

    /// S1: who leads no more promises nothing.
    pub(super) fn on_promise(&self, epoch: u64, newest: u64) -> Outcome {
        match epoch == newest {
            true => Ok(()),
            false => Err(format!(
                "a master of term {epoch} promises something in term {newest}"
            )),
        }
    }

    /// S6: the log is written by one term after the other.
    pub(super) fn on_entry(&self, entry: &Entry, last: Option<&Entry>) -> Outcome {
        let before = last.map_or(0, |last| last.epoch);
        let is_good = match entry.operations.is_empty() {
            true => entry.epoch > before,
            false => entry.epoch == before,
        };
        match is_good {
            true => Ok(()),
            false => Err(format!(
                "an entry of term {} comes after one of term {before}",
                entry.epoch
            )),
        }
    }

    /// S6: when this request is granted, that is durable.
    pub(super) fn on_asked(&mut self, request: u64, operation: String) {
        self.promised.insert(request, operation);
    }

    pub(super) fn on_reply(&mut self, request: u64, durable: &BTreeSet<String>) -> Outcome {
        if self.overtaken_writes.contains(&request) {
            return Err(format!("write {request} of an overtaken session is done"));
        }
        if let Some(agent) = self.gone_promised.remove(&request)
            && !self.gone_agents.contains(&agent)
        {
            return Err(format!(
                "agent {agent} is said to be gone, and that is not durable"
            ));
        }
        match self.promised.remove(&request) {
            Some(operation) if !durable.contains(&operation) => Err(format!(
                "request {request} is granted, and not durable: {operation}"
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn on_state_write(&mut self, framework: usize, value: &[u8]) {
        let state = self.states.entry(framework).or_default();
        state.asked.insert(value.to_vec());
    }

    /// The newest version that its framework knows of.
    pub(super) fn state_version(&self, framework: usize) -> u64 {
        let versions = self.states.get(&framework).map(|state| state.values.keys());
        versions
            .and_then(|mut keys| keys.next_back().copied())
            .unwrap_or(0)
    }

    pub(super) fn on_overtaken_write(&mut self, request: u64) {
        self.overtaken_writes.insert(request);
    }

    /// S6: of two writes on one version one is done, and what is written is newer.
    pub(super) fn on_state_written(
        &mut self,
        framework: usize,
        expected: u64,
        version: u64,
        value: &[u8],
    ) -> Outcome {
        let state = self.states.entry(framework).or_default();
        let other = state.after.insert(expected, version);
        if version <= expected || other.is_some_and(|other| other != version) {
            return Err(format!(
                "state of framework {framework}: {version} and {other:?} were written on {expected}"
            ));
        }
        self.on_state_seen(framework, version, value)
    }

    /// S6: what is read is no older than what was written or read before it was asked.
    pub(super) fn on_state_read(
        &mut self,
        framework: usize,
        at_least: u64,
        version: u64,
        value: &[u8],
    ) -> Outcome {
        match version >= at_least {
            true => self.on_state_seen(framework, version, value),
            false => Err(format!(
                "state of framework {framework}: version {version} is read after {at_least}"
            )),
        }
    }

    fn on_state_seen(&mut self, framework: usize, version: u64, value: &[u8]) -> Outcome {
        let state = self.states.entry(framework).or_default();
        let before = state.values.insert(version, value.to_vec());
        let is_same = before.is_none_or(|before| before == value);
        match is_same && state.asked.contains(value) {
            true => Ok(()),
            false => Err(format!(
                "state of framework {framework}: version {version} is {value:?}, which it was not"
            )),
        }
    }

    pub(super) fn on_accept(&mut self, request: u64, offers: &[OfferId]) {
        self.accepting.insert(request, offers.to_vec());
    }

    /// A call of a session that another has overtaken.
    pub(super) fn on_fenced(&mut self, request: u64) {
        if !self.called_again.contains(&request) {
            self.fenced.insert(request);
        }
    }

    /// What an overtaken session has called, and had no answer, is called in the session that goes on for it.
    pub(super) fn on_called_again(&mut self, request: u64) {
        self.called_again.insert(request);
        self.fenced.remove(&request);
    }

    /// S2: an offer is accepted once. S13: who is fenced is not obeyed.
    pub(super) fn on_answer(&mut self, request: u64, answer: &Answer) -> Outcome {
        if self.fenced.contains(&request) {
            return Err(format!(
                "call {request} of a fenced session is answered {answer:?}"
            ));
        }
        self.completions.on_answer(request, answer)?;
        let offers = self.accepting.remove(&request).unwrap_or_default();
        let Answer::Accepted(results) = answer else {
            return Ok(());
        };
        self.answers.insert(request, answer.clone());
        let mut launches = results.iter().flat_map(OperationResult::launches);
        if launches.any(|launch| launch.outcome.is_ok()) {
            for offer in offers {
                let other = self.accepted.insert(offer.clone(), request);
                if other.is_some_and(|other| other != request) {
                    return Err(format!("offer {offer} is accepted twice"));
                }
            }
        }
        Ok(())
    }

    /// S5: a launch that is called again in a session that goes on is answered as it was.
    pub(super) fn on_answered_again(&self, request: u64, answer: &Answer) -> Outcome {
        match self.answers.get(&request) {
            Some(before) if before != answer => Err(format!(
                "call {request} is answered {answer:?}, and was {before:?}"
            )),
            _ => Ok(()),
        }
    }

    /// An operator asks that an agent be gone: at once, or else when nothing is left on it.
    pub(super) fn on_gone_asked(&mut self, agent: &AgentId, at_once: Option<u64>) {
        *self.gone_asked.entry(agent.clone()).or_default() |= at_once.is_some();
        if let Some(request) = at_once {
            self.gone_promised.insert(request, agent.clone());
        }
    }

    /// S8: an agent is marked gone if that was asked, and with tasks on it only if it was to be at once.
    pub(super) fn on_marked_gone(&mut self, agent: &AgentId) -> Outcome {
        self.gone_agents.insert(agent.clone());
        match self.gone_asked.get(agent) {
            None => Err(format!("nobody has asked that agent {agent} be gone")),
            Some(true) => Ok(()),
            Some(false) => match self.alive.iter().find(|task| self.is_on(task, agent)) {
                None => Ok(()),
                Some(task) => Err(format!(
                    "agent {agent} is marked gone, and {task} runs there"
                )),
            },
        }
    }

    fn is_on(&self, task: &TaskId, agent: &AgentId) -> bool {
        self.places.get(task) == Some(agent)
    }

    pub(super) fn gone(&self) -> &BTreeSet<AgentId> {
        &self.gone_agents
    }

    /// It was started on an agent that is gone.
    fn is_on_gone(&self, task: &TaskId) -> bool {
        let place = self.places.get(task);
        place.is_some_and(|agent| self.gone_agents.contains(agent))
    }

    /// A host begins as another agent: what was asked for the one before does not count.
    pub(super) fn on_host_joins_anew(&mut self, host: usize, now: u64) {
        self.executors_to_end.retain(|(of, _)| *of != host);
        let drains = self.drains.get_mut(&host);
        for (_, until) in drains.into_iter().flatten() {
            *until = (*until).min(now);
        }
    }

    /// A framework does not remember these any more, and asks nobody about them.
    pub(super) fn on_framework_forgets(&mut self, tasks: Vec<TaskId>) {
        self.unremembered.extend(tasks);
    }

    /// S2: nothing is offered of an agent that is not there.
    pub(super) fn on_offer(&self, offer: &Offer, heard: Option<u64>, now: u64) -> Outcome {
        if self.gone_agents.contains(&offer.agent) {
            return Err(format!("agent {} is offered, and is gone", offer.agent));
        }
        match heard {
            Some(at) if at + OFFER_SILENCE_MAX >= now => Ok(()),
            _ => Err(format!(
                "agent {} is offered, and was last heard at {heard:?}",
                offer.agent
            )),
        }
    }

    /// An agent's id is one host's, and no one's when it is gone.
    pub(super) fn on_welcome(&mut self, agent: &AgentId, host: usize) -> Outcome {
        if self.gone_agents.contains(agent) {
            return Err(format!("agent {agent} is welcomed, and is gone"));
        }
        self.residents.insert(host, agent.clone());
        match self.hosts.insert(agent.clone(), host) {
            Some(other) if other != host => {
                Err(format!("agent {agent} is host {other}'s and host {host}'s"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn host_of(&self, agent: &AgentId) -> Option<usize> {
        self.hosts.get(agent).copied()
    }

    /// Those that are not gone.
    pub(super) fn agents(&self) -> Vec<AgentId> {
        let agents = self.hosts.keys();
        let agents = agents.filter(|agent| !self.gone_agents.contains(*agent));
        agents.cloned().collect()
    }

    /// S13: a framework is its owner's.
    pub(super) fn is_allowed(&mut self, principal: &str, framework: &FrameworkId) -> Outcome {
        let owner = self
            .owners
            .entry(framework.clone())
            .or_insert_with(|| principal.to_owned());
        match owner == principal {
            true => Ok(()),
            false => Err(format!(
                "{principal} has taken {owner}'s framework {framework}"
            )),
        }
    }

    /// S16: nothing is queued without bound.
    pub(super) fn on_lane(&self, len: usize, len_max: usize) -> Outcome {
        match len <= len_max {
            true => Ok(()),
            false => Err(format!("{len} messages wait for one peer")),
        }
    }

    /// S1: an agent records no launch of a term before the one that it has obeyed.
    pub(super) fn on_recorded(
        &self,
        host: usize,
        task: &TaskId,
        epoch: u64,
        obeyed: u64,
    ) -> Outcome {
        match epoch >= obeyed {
            true => Ok(()),
            false => Err(format!(
                "agent {host} has obeyed term {obeyed} and records {task} of term {epoch}"
            )),
        }
    }

    /// S5: an agent forgets a status when its framework has kept it, or knows its end, or is over.
    pub(super) fn on_forgotten(&self, launch: Option<&(TaskId, u64)>, number: u64) -> Outcome {
        let Some((task, incarnation)) = launch else {
            return Ok(());
        };
        let key = (task.clone(), Incarnation(*incarnation));
        let kept = self.told.get(&key).and_then(|told| told.keys().next_back());
        let is_over = self
            .seen
            .get(task)
            .is_some_and(|status| status.state.is_terminal());
        let is_over = is_over || self.completions.is_task_of_over(task);
        match is_over || kept.is_some_and(|kept| *kept >= number) {
            true => Ok(()),
            false => Err(format!(
                "{task} #{number} is forgotten by its agent, and {kept:?} was kept"
            )),
        }
    }

    /// A framework launches a task: of one that it has launched before, it was told that it was never started.
    pub(super) fn on_launch_asked(&mut self, task: &TaskId) {
        if self.seen.contains_key(task) {
            self.again.insert(task.clone());
        }
    }

    /// S3: a task is started at most once. S2: an agent never runs more than it has.
    pub(super) fn on_started(
        &mut self,
        task: &TaskId,
        incarnation: Incarnation,
        host: usize,
        cpus: u64,
        live: &[Resources],
    ) -> Outcome {
        if !self.started.insert(task.clone()) {
            return Err(format!("{task} is started twice"));
        }
        self.alive.insert(task.clone());
        let place = self.residents.get(&host);
        self.places
            .extend(place.map(|agent| (task.clone(), agent.clone())));
        let mut used = Resources::new();
        let mut ports = 0;
        for resources in live {
            ports += resources.range_set("ports").count();
            used.add(resources);
        }
        if used.scalar("cpus") > 1_000 * cpus || used.range_set("ports").count() != ports {
            return Err(format!("agent {host} runs more than it has: {used}"));
        }
        if let Some(status) = self
            .seen
            .get(task)
            .filter(|status| status.state.is_terminal())
        {
            let is_newer = status.incarnation < incarnation && self.again.contains(task);
            // What was on its way when the agent was marked gone may start before it hears of that.
            if !is_newer && !self.is_on_gone(task) {
                return Err(format!(
                    "{task} is started after it was reported {}",
                    status.state
                ));
            }
        }
        Ok(())
    }

    /// S8: what a framework gives up, for its agent has settled and its master does not know it, does not run.
    pub(super) fn on_given_up(&self, task: &TaskId) -> Outcome {
        match self.alive.contains(task) {
            true => Err(format!(
                "{task} runs, its agent is said to have settled, and nobody knows of it"
            )),
            false => Ok(()),
        }
    }

    /// A task has ended, finished or otherwise.
    pub(super) fn on_ended(&mut self, task: &TaskId, is_finished: bool) {
        self.alive.remove(task);
        self.kills.on_ended(task);
        if !is_finished {
            self.group_ends(task);
        }
    }

    pub(super) fn on_gone(&mut self, task: &TaskId) {
        self.alive.remove(task);
        self.kills.on_ended(task);
        self.gone.insert(task.clone());
        self.group_ends(task);
    }

    /// The framework wants this task to end.
    pub(super) fn on_kill_wanted(&mut self, task: &TaskId) {
        self.to_kill.insert(task.clone());
        self.group_ends(task);
    }

    /// A task of a group ends other than finished: the others are to end.
    fn group_ends(&mut self, task: &TaskId) {
        if let Some(group) = self.groups.get(task) {
            self.to_kill.extend(group.iter().cloned());
        }
    }

    /// The framework wants this executor to end, with all that it runs.
    pub(super) fn on_executor_end_wanted(&mut self, agent: &AgentId, executor: &ExecutorId) {
        if let Some(host) = self.host_of(agent) {
            self.executors_to_end.insert((host, executor.clone()));
        }
    }

    pub(super) fn is_executor_to_end(&self, host: usize, executor: &ExecutorId) -> bool {
        self.executors_to_end.contains(&(host, executor.clone()))
    }

    /// A framework launches these, all or none.
    pub(super) fn on_group_asked(&mut self, tasks: &[TaskId]) {
        let group: Arc<[TaskId]> = tasks.into();
        let members = tasks.iter().map(|task| (task.clone(), Arc::clone(&group)));
        self.groups.extend(members);
    }

    /// S9: what belongs together is recorded together.
    pub(super) fn on_group_recorded(&self, tasks: &[&TaskId]) -> Outcome {
        let group = tasks.first().and_then(|task| self.groups.get(*task));
        match group.is_none_or(|group| group.iter().eq(tasks.iter().copied())) {
            true => Ok(()),
            false => Err(format!(
                "of the group {group:?} only {tasks:?} are recorded"
            )),
        }
    }

    /// S9: an executor is told to launch a group as a whole.
    pub(super) fn on_group_at_executor(&self, tasks: &[&TaskId]) -> Result<bool, String> {
        let groups = tasks.iter().filter_map(|task| self.groups.get(*task));
        let mut has_group = false;
        for group in groups {
            has_group = true;
            if let Some(other) = group.iter().find(|other| !tasks.contains(other)) {
                return Err(format!(
                    "an executor is to launch {tasks:?}, without {other} of their group"
                ));
            }
        }
        Ok(has_group)
    }

    /// S9: of a group in which one was started, none is reported as never started.
    fn check_group(&self, task: &TaskId, state: TaskState) -> Outcome {
        let group = self
            .groups
            .get(task)
            .filter(|_| matches!(state, TaskState::Dropped | TaskState::Error));
        let mut others = group.into_iter().flat_map(|group| group.iter());
        match others.find(|other| self.started.contains(*other)) {
            None => Ok(()),
            Some(other) => Err(format!(
                "{task} is reported {state}, and {other} of its group was started"
            )),
        }
    }

    /// S11: a drain kills what is left at its deadline, and nothing before.
    pub(super) fn on_drain_asked(&mut self, agent: &AgentId, now: u64, deadline: u64) {
        if let Some(host) = self.host_of(agent) {
            // A clock may be fast.
            let from = now + deadline - deadline / 50;
            self.drains.entry(host).or_default().push((from, u64::MAX));
        }
    }

    /// Nothing more is killed, but what an agent has been told to before and is late with.
    pub(super) fn on_drain_over(&mut self, agent: &AgentId, now: u64) {
        let host = self.host_of(agent);
        let drains = host.and_then(|host| self.drains.get_mut(&host));
        for (from, until) in drains.into_iter().flatten() {
            // Of one that was not due yet nothing is to come.
            let late = if *from > now {
                now
            } else {
                now + KILL_LATE_MAX
            };
            *until = (*until).min(late);
        }
    }

    /// A message comes at most once.
    pub(super) fn on_message(&mut self, to: &'static str, data: &[u8]) -> Outcome {
        match self.messages.insert((to, data.to_vec())) {
            true => Ok(()),
            false => Err(format!("a message comes to {to} twice: {data:?}")),
        }
    }

    /// S7, S8: nothing ends a task that its framework wants to run.
    pub(super) fn on_signalled(&self, task: &TaskId, host: usize, now: u64) -> Outcome {
        let drains = self.drains.get(&host);
        let mut drains = drains.into_iter().flatten();
        let is_due = drains.any(|(from, until)| (*from..*until).contains(&now));
        let is_asked = self.to_kill.contains(task) || self.completions.is_task_of_over(task);
        match is_due || is_asked || self.is_on_gone(task) {
            true => Ok(()),
            false => Err(format!("{task} is told to end, and its framework wants it")),
        }
    }

    /// S4, S5: states never move backwards, but out of unreachable; a terminal state is final; none is left out. What was
    /// told already may be told again, word for word: answers whether the status was new, in a term.
    pub(super) fn on_status(&mut self, status: &Status, epoch: u64) -> Result<bool, String> {
        let task = &status.task;
        let before = self.seen.get(task).cloned();
        let is_of_unknown = status.incarnation == Incarnation(0);
        // A snapshot names every task, also one whose agent has more to say; it stands no worse for that.
        let is_named = status.number == 0
            && status.state == TaskState::Staging
            && status.reason == Reason::Reconciled;
        if !self.is_next(status)? || (is_named && before.is_some()) {
            return Ok(false);
        }
        if let Some(before) = &before {
            if status.incarnation < before.incarnation && !is_of_unknown {
                return Ok(false);
            }
            let is_same = status.incarnation == before.incarnation || is_of_unknown;
            let is_repeated = is_same && before.state.is_terminal() && before.state == status.state;
            if is_repeated && !self.again.contains(task) {
                return Ok(false);
            }
            // A later leader, whose agent had yet to say the end again, does not know that it was told.
            let is_untold = self.ended_in.get(task).is_some_and(|of| *of < epoch);
            if is_same && is_untold && status.state == TaskState::Unreachable {
                return Ok(false);
            }
            let is_back = status.state < before.state && before.state != TaskState::Unreachable;
            let is_changed_end = before.state.is_terminal() && status.state != before.state;
            if is_same
                && (is_back || is_changed_end)
                && !(is_of_unknown && self.again.contains(task))
            {
                return Err(format!(
                    "{task} goes from {} to {}",
                    before.state, status.state
                ));
            }
        }
        self.check_truth(status, before.as_ref())?;
        if !is_of_unknown || status.state.is_terminal() {
            self.seen.insert(task.clone(), status.clone());
            if status.state.is_terminal() {
                self.ended_in.insert(task.clone(), epoch);
            } else {
                self.ended_in.remove(task);
            }
            self.again.remove(task);
        }
        Ok(true)
    }

    /// What a master says in its own name is told again too until it is acknowledged.
    fn is_new_of_master(&mut self, status: &Status) -> bool {
        if status.reason == Reason::Reconciled {
            return true;
        }
        let launch = (status.task.clone(), status.incarnation);
        let told = self.told_by_master.entry(launch).or_default();
        let is_new = !told.contains(status);
        told.extend(is_new.then(|| status.clone()));
        is_new
    }

    /// Whether it is the next of what its agent says, rather than a repetition.
    fn is_next(&mut self, status: &Status) -> Result<bool, String> {
        if status.number == 0 {
            return Ok(self.is_new_of_master(status));
        }
        let (task, number) = (&status.task, status.number);
        let told = self
            .told
            .entry((task.clone(), status.incarnation))
            .or_default();
        if let Some(before) = told.get(&number) {
            return match before == status {
                true => Ok(false),
                false => Err(format!("{task} #{number} was {before:?} and is {status:?}")),
            };
        }
        let last = told.keys().next_back().copied().unwrap_or(0);
        if number != last + 1 {
            return Err(format!("{task} #{number} comes after #{last}"));
        }
        told.insert(number, status.clone());
        Ok(true)
    }

    /// S3, S8: what ran is not reported as never started, nor as lost while its host has it.
    fn check_truth(&self, status: &Status, before: Option<&Status>) -> Outcome {
        let (task, state) = (&status.task, status.state);
        self.check_group(task, state)?;
        let is_started = self.started.contains(task);
        if matches!(state, TaskState::Running | TaskState::Finished) && !is_started {
            return Err(format!("{task} is reported {state} and was never started"));
        }
        let is_over = before.is_some_and(|before| before.state.is_terminal());
        if status.reason == Reason::AgentGone {
            let agent = status.agent.as_ref();
            let is_gone = agent.is_some_and(|agent| self.gone_agents.contains(agent));
            if state != TaskState::Lost || !is_gone {
                return Err(format!(
                    "{task} is reported {state} of {agent:?}, as if that were gone"
                ));
            }
        }
        let has_host = !self.gone.contains(task) && !self.is_on_gone(task);
        let is_kept = is_started && has_host && !is_over;
        if matches!(state, TaskState::Lost | TaskState::Dropped) && is_kept {
            return Err(format!(
                "{task} is reported {state}, and it, or its end, is on its host"
            ));
        }
        Ok(())
    }

    /// S2: a role holds no more than its limit. Looked at while no agent was given up, whose tasks do not count.
    pub(super) fn on_running(&self, letter: char, cpus_max: u64) -> Outcome {
        let running = self
            .alive
            .iter()
            .filter(|task| task.as_str().starts_with(letter))
            .count();
        match u64::try_from(running).expect("small") <= cpus_max {
            true => Ok(()),
            false => Err(format!(
                "{running} tasks of a role run that may hold {cpus_max} processors"
            )),
        }
    }

    /// S5, S8: everything that ran was reported to its end. Of an agent that is gone nobody can tell who does not ask.
    pub(super) fn at_end(&self) -> Outcome {
        let is_open = |task: &&TaskId| {
            if self.unremembered.contains(*task) && self.is_on_gone(task) {
                return false;
            }
            // Nobody is there to be told.
            if self.completions.is_task_of_over(task) {
                return false;
            }
            let status = self.seen.get(*task);
            !status.is_some_and(|status| status.state.is_terminal())
        };
        let mut alive = self.alive.iter();
        if let Some(task) = alive.find(|task| self.completions.is_task_of_over(task)) {
            return Err(format!("{task} runs, and its framework is over"));
        }
        match self.started.iter().find(is_open) {
            Some(task) => Err(format!("{task} ran and its end was never reported")),
            None => Ok(()),
        }
    }
}
