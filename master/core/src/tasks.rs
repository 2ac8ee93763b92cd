//! Tasks: where each stands, which of its statuses its framework has not acknowledged yet, and when it lets go of what it
//! holds.
//!
//! Statuses reach the framework in the order in which the agent made them, each at least once. The agent keeps a status
//! until it is acknowledged, so whatever is not taken here for lack of room comes again; until it has come, later ones of
//! the task are not taken either. Resources are free as soon as the *latest* state is terminal, the task's id only when
//! the terminal status is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::ToAgent;
use proffer_model::{
    AgentId, AgentState, FrameworkId, Incarnation, Problem, Reason, Status, TaskState, session,
};

use crate::amounts::scalars_of;
use crate::core::Core;
use crate::effect::{After, Fact};
use crate::event::SessionId;
use crate::limits::{
    STATUS_DATA_LIGHT_LEN, UNACKNOWLEDGED_DATA_MAX, UNACKNOWLEDGED_DATA_TOTAL_MAX,
    UNACKNOWLEDGED_MAX,
};
use crate::task_table::{KillWish, Task, TaskKey};

impl Core {
    /// An agent reported a status, perhaps again.
    pub(crate) fn on_task_updated(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        mut status: Status,
        latest: TaskState,
    ) {
        status.agent = Some(agent.clone());
        status.task = key.1.clone();
        let is_ours =
            |task: &&Task| task.agent() == agent && task.incarnation == status.incarnation;
        let Some(task) = self.tasks.get(key).filter(is_ours) else {
            self.on_stray_updated(agent, key, &status, latest);
            return;
        };
        // The same text, kept once.
        status.task = task.row().task.clone();
        let is_over = task.told().number == 0 && task.told().state.is_terminal();
        let is_known = status.number <= task.acknowledged || status.number == 0;
        let must_wait = task
            .skipped()
            .is_some_and(|skipped| status.number > skipped);
        let is_queued = status.number <= task.received;
        if latest.is_terminal() || status.state.is_terminal() {
            self.release(
                key,
                if latest.is_terminal() {
                    latest
                } else {
                    status.state
                },
            );
            // One that was given up and came back is held as nobody's.
            self.release_stray(agent, key, status.incarnation);
        }
        if is_known || is_over {
            let (of, number) = (status.incarnation, status.number);
            self.acknowledge_to_agent(agent, key, of, number, After::Nothing);
        } else if !is_queued && !must_wait {
            self.take_status(key, status);
        }
    }

    /// Adds a task to the table and charges its framework.
    pub(crate) fn hold_task(&mut self, key: &TaskKey, task: Task) {
        let (agent, is_live) = (task.agent().clone(), !task.latest.is_terminal());
        if let Some(known) = self.agents.by_id.get_mut(&agent) {
            known.tasks.insert(key.clone());
            if is_live {
                known.use_more(task.resources());
                known.live_tasks += 1;
            }
        }
        if is_live && let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.live_tasks += 1;
        }
        let has_numbers = !task.resources().is_scalars();
        self.tasks.insert(key, task);
        self.charge(key);
        self.sync_task(key);
        if is_live && has_numbers {
            self.sync_agent(&agent);
        }
        self.turn.touch_agent(&agent);
        self.touch_task(key);
    }

    /// Takes a task out of the table, with all that is queued for it.
    pub(crate) fn forget_task(&mut self, key: &TaskKey) -> Option<Task> {
        let task = self.take_task(key)?;
        if !task.latest.is_terminal() {
            self.give_up_used(task.agent(), task.resources());
        }
        Some(task)
    }

    /// The same; what it holds stays used on its agent.
    pub(crate) fn take_task(&mut self, key: &TaskKey) -> Option<Task> {
        self.set_charged(key, false);
        self.set_held(key, false);
        self.forget_wanted(key);
        let mut task = self.tasks.remove(key)?;
        self.count_data(&key.0, 0, task.queued_data());
        if let Some(row) = task.untouch() {
            // Whatever it came to is shown, though it is no more.
            self.turn.record(Fact::Task(row));
        }
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.unacknowledged = framework.unacknowledged.saturating_sub(task.queue().len());
            framework.live_tasks -= u64::from(!task.latest.is_terminal());
        }
        if let Some(agent) = self.agents.by_id.get_mut(task.agent()) {
            agent.tasks.remove(key);
            agent.live_tasks -= u64::from(!task.latest.is_terminal());
        }
        self.turn.touch_agent(task.agent());
        self.turn.touch_framework(&key.0);
        Some(task)
    }

    /// A task has come to its end: what it holds is free, ports after a rest.
    pub(crate) fn release(&mut self, key: &TaskKey, latest: TaskState) {
        let Some(task) = self
            .tasks
            .get_mut(key)
            .filter(|task| !task.latest.is_terminal())
        else {
            return;
        };
        task.latest = latest;
        let (agent, held) = (task.agent().clone(), Arc::clone(task.resources()));
        if let Some(framework) = self.frameworks.get_mut(&key.0) {
            framework.live_tasks -= 1;
        }
        if let Some(known) = self.agents.by_id.get_mut(&agent) {
            known.live_tasks -= 1;
        }
        self.charge(key);
        self.sync_task(key);
        self.forget_wanted(key);
        if !held.is_scalars() {
            self.rest_ports(&agent, &held);
        }
        self.give_up_used(&agent, &held);
        self.touch_task(key);
    }

    /// Takes over what a status says, if it does not lead backwards.
    pub(crate) fn observe(&mut self, key: &TaskKey, status: Status) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let old = task.told().state;
        if old.is_terminal() || (status.state < old && old != TaskState::Unreachable) {
            return;
        }
        let state = status.state;
        task.set_status(status);
        self.charge(key);
        if state.is_terminal() {
            self.release(key, state);
        }
        self.touch_task(key);
    }

    /// Puts a status into the task's queue and sends it, if there is a session.
    pub(crate) fn queue_status(&mut self, key: &TaskKey, status: Status, after: After) {
        let Some(framework) = self.frameworks.get(&key.0) else {
            return;
        };
        if framework.session.is_some() && self.is_unacknowledged_full(&key.0) {
            self.overload(&key.0);
        }
        let (Some(framework), Some(task)) =
            (self.frameworks.get_mut(&key.0), self.tasks.get_mut(key))
        else {
            return;
        };
        let (session, incarnation) = (framework.session, task.incarnation);
        let is_own = status.number == 0;
        if session.is_none() {
            // Of the master's own only the newest matters then: flapping agents must not fill memory.
            if is_own
                && framework.telling.is_replaceable(&key.1)
                && let Some(last) = task.last_queued()
            {
                *last = status;
                return;
            }
            framework.telling.note_untold(&key.1, incarnation, is_own);
        }
        task.enqueue(status.clone());
        framework.unacknowledged += 1;
        let came = status.data.len();
        let mut told_later = |session: SessionId| {
            let open = self.sessions.open.get_mut(&session);
            open.is_some_and(|open| {
                open.telling.will_tell(&key.1) || open.telling.is_told_behind(&key.1, incarnation)
            })
        };
        if let Some(session) = session
            && !told_later(session)
        {
            self.send_status(session, &key.1, incarnation, status, after);
        }
        self.count_data(&key.0, came, 0);
    }

    /// Bytes of what executors said came into a framework's queues, and went.
    pub(crate) fn count_data(&mut self, framework: &FrameworkId, came: usize, went: usize) {
        self.unacknowledged_data = (self.unacknowledged_data + came).saturating_sub(went);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.unacknowledged_data = (known.unacknowledged_data + came).saturating_sub(went);
        }
    }

    /// Whether there is no room for what an executor said along with a status. One alone always has room.
    fn is_data_full(&self, framework: &FrameworkId, len: usize) -> bool {
        let known = self.frameworks.get(framework);
        let own = known.map_or(0, |known| known.unacknowledged_data);
        len > STATUS_DATA_LIGHT_LEN
            && own > 0
            && (own + len > UNACKNOWLEDGED_DATA_MAX
                || self.unacknowledged_data + len > UNACKNOWLEDGED_DATA_TOTAL_MAX)
    }

    /// Says in the master's own name how a task stands, once it has come to that.
    pub(crate) fn report(&mut self, key: &TaskKey, say: Say, after: After) {
        if say.state.is_terminal()
            && let Some(task) = self.tasks.get_mut(key)
        {
            // Its agent has nothing to add.
            task.announced = task.received;
        }
        let Some(task) = self.tasks.get(key) else {
            return;
        };
        let status = self.own_status(task, say);
        self.observe(key, status.clone());
        self.queue_status(key, status, after);
    }

    /// The framework has kept this many of its queue's oldest; the agent is told once, up to the greatest.
    pub(crate) fn on_kept(&mut self, key: &TaskKey, incarnation: Incarnation, count: usize) {
        let (Some(task), Some(framework)) =
            (self.tasks.get_mut(key), self.frameworks.get_mut(&key.0))
        else {
            return;
        };
        if task.incarnation != incarnation {
            return;
        }
        let kept = task.dequeue(count);
        framework.unacknowledged = framework.unacknowledged.saturating_sub(kept.len());
        let session = framework.session;
        let went = kept.iter().map(|status| status.data.len()).sum();
        let number = kept.iter().map(|status| status.number).max().unwrap_or(0);
        task.acknowledged = task.acknowledged.max(number);
        let agent = task.agent().clone();
        self.count_data(&key.0, 0, went);
        if number > 0 {
            self.acknowledge_to_agent(&agent, key, incarnation, number, After::Nothing);
        }
        if !kept.iter().any(|status| status.state.is_terminal()) {
            return;
        }
        if let Some(session) = session {
            self.reconciliations.note_ended(session, &key.1);
        }
        if let Some(task) = self.forget_task(key)
            && task.queue().len() > 0
        {
            self.forget_outstanding(key, incarnation);
        }
    }

    /// The framework asks for a task's end.
    pub(crate) fn on_kill(
        &mut self,
        key: &TaskKey,
        grace: Option<Duration>,
    ) -> Result<(), Problem> {
        if !self.kill(key, grace) {
            let is_told_later = self.say_of_unknown(&key.0).is_none();
            self.keep_kill(key, grace, is_told_later)?;
            self.say_how_it_stands(key);
        }
        Ok(())
    }

    /// Answers a Kill of what is not live.
    pub(crate) fn say_how_it_stands(&mut self, key: &TaskKey) {
        let unknown = self.say_of_unknown(&key.0);
        self.answer_status(key, unknown.as_ref());
    }

    /// Asks for a task's end; whether there is a live one.
    pub(crate) fn kill(&mut self, key: &TaskKey, grace: Option<Duration>) -> bool {
        match self.tasks.get_mut(key) {
            Some(task) if !task.latest.is_terminal() => {
                let reason = Reason::KillRequested;
                task.set_kill(KillWish { grace, reason });
                self.repeat_kill(key, After::Nothing);
                self.keep_kill_of_others(key, grace);
                true
            }
            _ => false,
        }
    }

    /// Sends the kill that was asked for, if one was.
    pub(crate) fn repeat_kill(&mut self, key: &TaskKey, after: After) {
        let Some(task) = self.tasks.get(key) else {
            return;
        };
        if let Some(KillWish { grace, reason }) = task.kill() {
            let (agent, incarnation) = (task.agent().clone(), task.incarnation);
            self.kill_at(&agent, key, incarnation, grace, reason, after);
        }
    }

    /// Tells an agent to end a launch.
    pub(crate) fn kill_at(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        incarnation: Incarnation,
        grace: Option<Duration>,
        reason: Reason,
        after: After,
    ) {
        let message = ToAgent::Kill {
            epoch: self.epoch,
            framework: key.0.clone(),
            task: key.1.clone(),
            incarnation,
            grace,
            reason,
        };
        self.send_agent(agent, message, after);
    }

    /// Tells an agent up to which number its statuses are kept.
    pub(crate) fn acknowledge_to_agent(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        incarnation: Incarnation,
        number: u64,
        after: After,
    ) {
        let message = ToAgent::Acknowledge {
            epoch: self.epoch,
            framework: key.0.clone(),
            task: key.1.clone(),
            incarnation,
            number,
        };
        self.send_agent(agent, message, after);
    }

    /// Counts a task among what its framework uses, or not any more: a terminal or unreachable task is not counted.
    fn charge(&mut self, key: &TaskKey) {
        let holds =
            |task: &Task| !task.latest.is_terminal() && task.told().state != TaskState::Unreachable;
        let is_charged = self.tasks.get(key).is_some_and(holds);
        self.set_charged(key, is_charged);
    }

    fn set_charged(&mut self, key: &TaskKey, is_charged: bool) {
        let (Some(task), Some(framework)) =
            (self.tasks.get_mut(key), self.frameworks.get_mut(&key.0))
        else {
            return;
        };
        if task.is_charged == is_charged {
            return;
        }
        task.is_charged = is_charged;
        let used = framework.used.entry(task.role().clone()).or_default();
        let amount = scalars_of(task.resources());
        if is_charged {
            used.add(&amount);
        } else {
            used.subtract(&amount);
        }
        self.turn.touch_framework(&key.0);
    }

    pub(crate) fn touch_task(&mut self, key: &TaskKey) {
        self.tasks.touch(key);
        self.turn.touch_framework(&key.0);
    }

    /// Whether there is no room for more statuses that a framework has not acknowledged. Those that it has and that are not
    /// forgotten yet count only where there are as many again.
    fn is_unacknowledged_full(&self, framework: &FrameworkId) -> bool {
        let kept = self.acknowledgements.kept(framework);
        self.frameworks.get(framework).is_none_or(|known| {
            let unacknowledged = known
                .unacknowledged
                .saturating_sub(kept.min(UNACKNOWLEDGED_MAX));
            unacknowledged >= UNACKNOWLEDGED_MAX
        })
    }

    /// Takes a new status of the agent's, unless there is no room: then it comes again.
    fn take_status(&mut self, key: &TaskKey, status: Status) {
        if self.is_unacknowledged_full(&key.0) {
            self.overload(&key.0);
        }
        let is_full =
            self.is_unacknowledged_full(&key.0) || self.is_data_full(&key.0, status.data.len());
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        if is_full
            || task
                .skipped()
                .is_some_and(|skipped| status.number > skipped)
        {
            task.set_skipped(task.skipped().or(Some(status.number)));
            return;
        }
        task.set_skipped(None);
        task.is_delivered = true;
        let was_awaited = task.is_awaited();
        task.received = status.number;
        if was_awaited {
            // What is known is ahead of what was told; from here on it is what was told.
            task.set_status(status.clone());
            self.charge(key);
            self.touch_task(key);
        } else {
            self.observe(key, status.clone());
        }
        self.queue_status(key, status, After::Nothing);
    }

    /// What is said of a framework's tasks that are not in the table: nothing while an agent that may run one has not come back
    /// yet in this term; an unreachable one may run it still. An agent of which nobody has heard since before the framework was
    /// there runs none.
    pub(crate) fn say_of_unknown(&self, framework: &FrameworkId) -> Option<Say> {
        let entry = self.registry.frameworks.get(framework);
        let number = entry.map_or(0, |entry| entry.number);
        if !self.agents.awaited.is_empty() && number <= self.agents.awaited_frameworks {
            return None;
        }
        Some(if self.agents.unheard.may_run(number) {
            reconciled(TaskState::Unreachable, "an unreachable agent may run it")
        } else {
            reconciled(TaskState::Lost, "no agent knows this task")
        })
    }

    /// An answer to a question: not queued, for it can be asked again. None of a task whose agent has more to say, which is
    /// the answer then, unless the agent is unreachable; nor of one that may be known yet.
    pub(crate) fn status_of(&self, key: &TaskKey, unknown: Option<&Say>) -> Option<Status> {
        let Some(task) = self.tasks.get(key) else {
            return unknown.map(|say| self.unknown_status(key, say));
        };
        let is_left_to_agent = task.is_awaited() && !self.is_agent_unreachable(task);
        (!is_left_to_agent).then(|| self.known_status(task))
    }

    /// How a task stands that waits for no acknowledgement. Of one whose agent has more to say only that it is there: what
    /// is known is ahead of what will be told.
    pub(crate) fn known_status(&self, task: &Task) -> Status {
        if !task.is_awaited() {
            let mut say = reconciled(task.told().state, task.told().message());
            if task.told().reason == Reason::AgentGone {
                // What it means that it is lost.
                say.reason = Reason::AgentGone;
            }
            let exit = task.told().exit;
            return Status {
                exit,
                ..self.own_status(task, say)
            };
        }
        let say = if self.is_agent_unreachable(task) {
            reconciled(TaskState::Unreachable, "its agent is unreachable")
        } else {
            reconciled(TaskState::Staging, "its agent will say how it stands")
        };
        self.own_status(task, say)
    }

    fn is_agent_unreachable(&self, task: &Task) -> bool {
        let agent = self.agents.by_id.get(task.agent());
        agent.is_some_and(|agent| agent.state == AgentState::Unreachable)
    }

    fn unknown_status(&self, key: &TaskKey, say: &Say) -> Status {
        Status {
            task: key.1.clone(),
            incarnation: Incarnation(0),
            agent: None,
            number: 0,
            state: say.state,
            reason: say.reason,
            message: say.message.clone(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: self.turn.now.wall_ms,
            data: Vec::new(),
        }
    }

    /// The answer to a Kill of what is not live.
    pub(crate) fn how_it_stands(&self, key: &TaskKey) -> Option<Status> {
        self.status_of(key, self.say_of_unknown(&key.0).as_ref())
    }

    fn answer_status(&mut self, key: &TaskKey, unknown: Option<&Say>) {
        let Some(session) = self.frameworks.get(&key.0).and_then(|known| known.session) else {
            return;
        };
        // What is queued for it is older, and on its way.
        let open = self.sessions.open.get(&session);
        let is_on_its_way = open.is_some_and(|open| open.telling.tells_queue(&key.1));
        if is_on_its_way && self.tasks.get(key).is_some() {
            return;
        }
        if let Some(status) = self.status_of(key, unknown) {
            let after = self.turn.after_everything();
            self.send_session(session, session::Event::Updated(status), after);
        }
    }

    /// A status in the master's own name.
    pub(crate) fn own_status(&self, task: &Task, say: Say) -> Status {
        Status {
            task: task.row().task.clone(),
            incarnation: task.incarnation,
            agent: Some(task.agent().clone()),
            number: 0,
            state: say.state,
            reason: say.reason,
            message: say.message,
            exit: None,
            healthy: task.told().healthy,
            checks: task.told().checks().to_vec(),
            wall_ms: self.turn.now.wall_ms,
            data: Vec::new(),
        }
    }
}

/// What the master says of a task in its own name.
#[derive(Clone, Debug)]
pub(crate) struct Say {
    pub(crate) state: TaskState,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// The answer to a question.
fn reconciled(state: TaskState, message: &str) -> Say {
    Say {
        state,
        reason: Reason::Reconciled,
        message: message.to_owned(),
    }
}
