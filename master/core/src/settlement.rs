//! Settlement: an agent has registered and said all that it runs; what it says and what the master knows are made one.
//!
//! Nothing that runs is ended here, except what is nobody's: tasks of frameworks that are over, and older launches of a
//! task that was launched anew. What the master launched and the agent never got is reported, so that it may be launched
//! again.
//!
//! The agent sends again what is not acknowledged. Where that says something new, it is left to say it; only where it does
//! not does the master say in its own name that a task is back.

use std::collections::BTreeSet;

use proffer_model::link::{AgentTask, Payer};
use proffer_model::{AgentId, AgentState, Incarnation, Reason, Resources, Status, TaskState};

use crate::core::Core;
use crate::effect::After;
use crate::endings::framework_over;
use crate::task_table::TaskKey;
use crate::tasks::Say;

/// What a reported task is to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reported {
    /// It is in the table.
    Known,
    /// It is not, and belongs there.
    New,
    /// It is in the table, on another agent that is not there: it is here now.
    Moved,
    /// An older launch of it is in the table.
    Newer,
    /// Nobody wants it: it is ended for this reason.
    Unwanted(Reason),
    /// It is in the table on another agent that is there. It is counted, and left alone.
    Copy,
}

impl Core {
    /// Makes the agent's list and the table one.
    pub(crate) fn settle(
        &mut self,
        agent: &AgentId,
        mut reported: Vec<AgentTask>,
        was_unreachable: bool,
        after: After,
    ) {
        if let Some(known) = self.agents.by_id.get_mut(agent) {
            known.strays.clear();
        }
        reported.sort_by_key(|task| task.incarnation);
        let mut seen = BTreeSet::new();
        for mut task in reported {
            let key = (task.framework.clone(), task.spec.id.clone());
            task.status.agent = Some(agent.clone());
            task.status.incarnation = task.incarnation;
            match self.judge_reported(agent, &key, &task) {
                Reported::Known => self.refresh(&key, task, was_unreachable, after),
                Reported::New => self.adopt(agent, &key, &task, was_unreachable, after),
                Reported::Moved => {
                    let wish = self.kill_wish_of(&key);
                    self.forget_task(&key);
                    self.forget_outstanding(&key, task.incarnation);
                    self.adopt(agent, &key, &task, true, after);
                    self.carry_kill(&key, wish, after);
                }
                Reported::Newer => {
                    let wish = self.kill_wish_of(&key);
                    let older = std::slice::from_ref(&key);
                    self.disown(older, Reason::KillRequested, After::Nothing);
                    self.adopt(agent, &key, &task, was_unreachable, after);
                    self.carry_kill(&key, wish, after);
                }
                Reported::Unwanted(reason) => {
                    // Why nobody wants it may not be durable yet.
                    let after = after.max(self.turn.after_everything());
                    let held = task.spec.resources;
                    self.stray(agent, &key, &task.status, held, Some(reason), after);
                    continue;
                }
                Reported::Copy => {
                    self.stray(agent, &key, &task.status, task.spec.resources, None, after);
                    continue;
                }
            }
            seen.insert(key);
        }
        self.report_missing(agent, &seen, after);
    }

    /// Makes tasks of the table nobody's: they are ended, and counted until they are gone. What is used does not change by it.
    pub(crate) fn disown(&mut self, keys: &[TaskKey], reason: Reason, after: After) {
        let mut agents = BTreeSet::new();
        for key in keys {
            let Some(task) = self.take_task(key) else {
                continue;
            };
            if !task.latest.is_terminal() {
                let held = Resources::clone(task.resources());
                let agent = task.agent();
                let status = task.row().status();
                self.stray(agent, key, &status, held, Some(reason), after);
                agents.insert(agent.clone());
            }
            if reason == Reason::FrameworkRemoved {
                self.record_end(task);
            }
        }
        for agent in &agents {
            self.sync_agent(agent);
        }
    }

    /// A status of something that is not in the table.
    pub(crate) fn on_stray_updated(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        status: &Status,
        latest: TaskState,
    ) {
        let stray = (key.0.clone(), key.1.clone(), status.incarnation);
        let known = self.agents.by_id.get(agent);
        let is_stray = known.is_some_and(|known| known.strays.contains_key(&stray));
        if latest.is_terminal() {
            self.release_stray(agent, key, status.incarnation);
        }
        // A terminal one that is unknown was acknowledged before, and the acknowledgement was lost; or its framework is over,
        // which may not be durable yet.
        if is_stray || latest.is_terminal() {
            let after = self.turn.after_everything();
            self.acknowledge_to_agent(agent, key, status.incarnation, status.number, after);
        }
    }

    /// What was nobody's has come to its end: what it held is free. Nothing happens if there is no such stray.
    pub(crate) fn release_stray(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        incarnation: Incarnation,
    ) {
        let stray = (key.0.clone(), key.1.clone(), incarnation);
        let known = self.agents.by_id.get_mut(agent);
        if let Some(held) = known.and_then(|known| known.strays.remove(&stray)) {
            self.rest_ports(agent, &held);
            self.give_up_used(agent, &held);
            self.sync_agent(agent);
        }
    }

    fn judge_reported(&self, agent: &AgentId, key: &TaskKey, task: &AgentTask) -> Reported {
        if !self.registry.frameworks.contains_key(&key.0) {
            return Reported::Unwanted(Reason::FrameworkRemoved);
        }
        let Some(known) = self.tasks.get(key) else {
            return Reported::New;
        };
        let is_there = |agent: &AgentId| {
            let agent = self.agents.by_id.get(agent);
            agent.is_some_and(|agent| agent.state == AgentState::Connected)
        };
        let is_revenant = known.latest.is_terminal() && !task.status.state.is_terminal();
        if known.incarnation > task.incarnation {
            Reported::Unwanted(Reason::KillRequested)
        } else if known.incarnation < task.incarnation {
            Reported::Newer
        } else if is_revenant {
            // It was reported as ended, and that is final.
            Reported::Unwanted(Reason::KillRequested)
        } else if known.agent() == agent {
            Reported::Known
        } else if is_there(known.agent()) {
            Reported::Copy
        } else {
            Reported::Moved
        }
    }

    /// A task that both know.
    fn refresh(&mut self, key: &TaskKey, reported: AgentTask, was_unreachable: bool, after: After) {
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        task.set_skipped(None);
        task.is_delivered = true;
        task.announce(reported.status.number);
        let was_unreachable = was_unreachable || task.told().state == TaskState::Unreachable;
        let is_told = reported.status.number <= task.received;
        let state = reported.status.state;
        if is_told {
            self.observe(key, reported.status);
        }
        if state.is_terminal() {
            self.release(key, state);
            return;
        }
        if was_unreachable && is_told {
            self.report(key, returned(state), after);
        }
        self.repeat_kill(key, after);
        self.repeat_update(key, after);
    }

    /// A task that only the agent knows, of a framework that exists.
    fn adopt(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        reported: &AgentTask,
        was_unreachable: bool,
        after: After,
    ) {
        let Some(entry) = self.registry.frameworks.get(&key.0) else {
            return;
        };
        let first = entry.description.roles.first();
        let unknown = first.cloned().map(|role| Payer { role, demand: None });
        let Some(mut payer) = reported.payer.clone().or(unknown) else {
            return;
        };
        // A group counts as its first task.
        if reported.group.as_ref().is_some_and(|first| *first != key.1) {
            payer.demand = None;
        }
        let mut status = reported.status.clone();
        status.task = key.1.clone();
        let (state, is_told) = (status.state, status.number <= reported.acknowledged);
        let group = reported.group.as_ref();
        let mut task = self
            .tasks
            .make(key, &reported.spec, payer, agent.clone(), group, status);
        task.is_delivered = true;
        task.resume(reported.acknowledged);
        task.announce(reported.status.number);
        self.hold_task(key, task);
        if was_unreachable && is_told && !state.is_terminal() {
            self.report(key, returned(state), after);
        }
        self.fulfil_kill(key, after);
    }

    /// What the master launched there over an older link, and the agent does not have.
    fn report_missing(&mut self, agent: &AgentId, seen: &BTreeSet<TaskKey>, after: After) {
        let Some(known) = self.agents.by_id.get(agent) else {
            return;
        };
        let missing: Vec<TaskKey> = known.tasks.difference(seen).cloned().collect();
        for key in missing {
            let Some(task) = self
                .tasks
                .get(&key)
                .filter(|task| !task.latest.is_terminal())
            else {
                continue;
            };
            let say = if !self.registry.frameworks.contains_key(&key.0) {
                // It was judged to be nobody's, before that piece of its framework's end has come.
                framework_over()
            } else if task.is_delivered {
                Say {
                    state: TaskState::Lost,
                    reason: Reason::None,
                    message: "its agent no longer knows it".to_owned(),
                }
            } else {
                Say {
                    state: TaskState::Dropped,
                    reason: Reason::NeverDelivered,
                    message: "its agent never got it".to_owned(),
                }
            };
            self.report(&key, say, after);
        }
    }

    /// Counts what is nobody's and has it ended, if there is a reason to; what has ended is acknowledged, so that the agent
    /// can forget it.
    fn stray(
        &mut self,
        agent: &AgentId,
        key: &TaskKey,
        status: &Status,
        held: Resources,
        end: Option<Reason>,
        after: After,
    ) {
        let incarnation: Incarnation = status.incarnation;
        if status.state.is_terminal() {
            self.acknowledge_to_agent(agent, key, incarnation, status.number, after);
            return;
        }
        if let Some(known) = self.agents.by_id.get_mut(agent) {
            let stray = (key.0.clone(), key.1.clone(), incarnation);
            if known.strays.insert(stray, held).is_some() {
                self.recount_used(agent);
            }
        }
        if let Some(reason) = end {
            self.kill_at(agent, key, incarnation, None, reason, after);
        }
    }
}

fn returned(state: TaskState) -> Say {
    Say {
        state,
        reason: Reason::AgentReturned,
        message: "its agent is back".to_owned(),
    }
}
