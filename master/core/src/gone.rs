//! Agents that are no more: an operator says that one is gone, or it has been unreachable for so long that it is forgotten.
//!
//! Gone is for good: durable first, then its tasks have ended, what was reserved and made there is no more, and its id is
//! refused when it comes after all. Two weeks later, or when too many others are gone, the id is forgotten too. The subtle
//! thing: tasks that are not acknowledged to their end stay in the table without their agent.

use std::ops::Bound;

use proffer_model::link::ToAgent;
use proffer_model::registry::{AgentEntry, Operation as Change};
use proffer_model::{AgentId, AgentState, Problem, Reason, TaskState, code};

use crate::core::Core;
use crate::effect::{After, Effect, Fact, OfferEnd};
use crate::event::TimerKey;
use crate::executors::ExecutorKey;
use crate::limits::{
    AGENTS_FORGOTTEN_AFTER, AGENTS_FORGOTTEN_INTERVAL, AGENTS_FORGOTTEN_PER_STEP,
    AGENTS_LOOKED_AT_PER_STEP, FORGET_STEP_INTERVAL,
};
use crate::task_table::TaskKey;
use crate::tasks::Say;

impl Core {
    /// An operator says that an agent will not come back. Done already when it was said before.
    pub(crate) fn mark_gone(&mut self, agent: &AgentId) -> Result<(), Problem> {
        if self.registry.gone.contains_key(agent) {
            return Ok(());
        }
        self.check_store_keeps_up()?;
        self.agent_entry(agent)?;
        self.lose_for_good(agent);
        Ok(())
    }

    /// Durable first; then every framework hears of its tasks there, and the agent that it is to end.
    pub(crate) fn lose_for_good(&mut self, agent: &AgentId) {
        self.end_offers_of_agent(agent, OfferEnd::Rescinded);
        self.keep_volume_number(agent);
        let seq = self.persist(Change::MarkGone {
            agent: agent.clone(),
            since_wall_ms: self.turn.now.wall_ms,
        });
        let after = self.turn.after(seq);
        self.drop_drain(agent);
        let reported = self.end_tasks_of_gone(agent, after);
        self.end_executors_of_gone(agent, after);
        let link = self.agents.by_id.get(agent).and_then(|known| known.link);
        if let Some(link) = link {
            self.turn.push(Effect::SendLink {
                link,
                message: ToAgent::Refused(gone(agent)),
                after,
            });
            self.agents.links.remove(&link);
            if let Some(known) = self.agents.by_id.get_mut(agent) {
                known.link = None;
            }
            self.end_link(link);
        }
        self.remove_agent(agent, after);
        self.turn.record(Fact::AgentGone {
            agent: agent.clone(),
            tasks: reported,
        });
    }

    /// Should the agent be here again, no volume there has a number that one had before: later terms begin with greater ones
    /// by themselves.
    fn keep_volume_number(&mut self, agent: &AgentId) {
        let last = self.registry.agents.get(agent);
        let last = last.map_or(0, |entry| entry.volumes.last);
        self.agents.volumes_after = self.agents.volumes_after.max(last);
    }

    /// Takes an agent out of every table but that of tasks.
    fn remove_agent(&mut self, agent: &AgentId, after: After) {
        self.await_no_more(agent);
        let removed = self.agents.remove(agent);
        self.agents.unheard.remove(agent);
        // A gang may have waited for it, and whoever waits until all agents are back has nothing to wait for here.
        if removed.is_some_and(|known| known.is_recovered && !known.is_settled) {
            self.triggers.agent_is_back(agent);
            self.tell_settled(agent, after);
        }
        self.allocator.remove_agent(agent);
        self.triggers.changed();
    }

    /// Answers how many have ended by it.
    fn end_tasks_of_gone(&mut self, agent: &AgentId, after: After) -> u64 {
        let known = self.agents.by_id.get(agent);
        let tasks = known.into_iter().flat_map(|known| known.tasks.iter());
        let tasks: Vec<TaskKey> = tasks.cloned().collect();
        let mut reported = 0;
        for key in tasks {
            if self.tasks.get(&key).is_some_and(|task| !task.is_end_told()) {
                let say = Say {
                    state: TaskState::Lost,
                    reason: Reason::AgentGone,
                    message: "an operator has said that its agent is gone".to_owned(),
                };
                self.report(&key, say, after);
                reported += 1;
            }
        }
        reported
    }

    fn end_executors_of_gone(&mut self, agent: &AgentId, after: After) {
        let known = self.agents.by_id.get(agent);
        let executors = known.into_iter().flat_map(|known| known.executors.keys());
        let executors: Vec<ExecutorKey> = executors.cloned().collect();
        for key in executors {
            let message = "its agent is gone".to_owned();
            self.executor_ended(agent, &key, message, after);
        }
    }

    /// Why an agent with this id must not register.
    pub(crate) fn judge_gone(&self, agent: &AgentId) -> Result<(), Problem> {
        match self.registry.gone.contains_key(agent) {
            true => Err(gone(agent)),
            false => Ok(()),
        }
    }

    /// Forgets agents that are gone for long, and those that are unreachable for long and have nothing of anybody's: no
    /// task that is known, no reservation, no volume, and nothing that an operator has decided. What ran on one that was
    /// unreachable already when this term began is not known, and keeps it from nothing, as in Mesos. Where they are many, the
    /// next step goes on.
    pub(crate) fn on_forget(&mut self) {
        let long = u64::try_from(AGENTS_FORGOTTEN_AFTER.as_millis()).unwrap_or(u64::MAX);
        let before = self.turn.now.wall_ms.checked_sub(long);
        let is_more = before.is_some_and(|before| {
            let is_more = self.forget_gone(before);
            is_more || self.forget_unreachable(before)
        });
        match is_more {
            true => {
                let at = self.turn.now.after(FORGET_STEP_INTERVAL).mono_ns;
                self.set_timer_at(TimerKey::Forget, at);
            }
            false => self.set_forget_timer(),
        }
    }

    /// Whether there may be others.
    fn forget_gone(&mut self, before: u64) -> bool {
        let gone = self.registry.gone.iter();
        let gone = gone.filter(|(_, since)| **since < before);
        let gone = gone.take(AGENTS_FORGOTTEN_PER_STEP);
        let gone: Vec<AgentId> = gone.map(|(id, _)| id.clone()).collect();
        let is_more = gone.len() == AGENTS_FORGOTTEN_PER_STEP;
        for agent in gone {
            self.persist(Change::ForgetAgent {
                agent: agent.clone(),
            });
            self.turn.record(Fact::GoneForgotten { agent });
        }
        is_more
    }

    /// Whether others are still to be looked at.
    fn forget_unreachable(&mut self, before: u64) -> bool {
        let from = match self.agents.looked_to_forget.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let agents = self.registry.agents.range((from, Bound::Unbounded));
        let (mut found, mut last) = (Vec::new(), None);
        for (looked, (id, entry)) in (1..).zip(agents) {
            if self.is_forgotten(id, entry, before) {
                found.push(id.clone());
            }
            if looked == AGENTS_LOOKED_AT_PER_STEP || found.len() == AGENTS_FORGOTTEN_PER_STEP {
                last = Some(id.clone());
                break;
            }
        }
        for agent in found {
            self.keep_volume_number(&agent);
            self.persist(Change::ForgetAgent {
                agent: agent.clone(),
            });
            let after = self.turn.after_everything();
            self.remove_agent(&agent, after);
            self.turn.record(Fact::AgentForgotten { agent });
        }
        self.agents.looked_to_forget = last;
        self.agents.looked_to_forget.is_some()
    }

    fn is_forgotten(&self, id: &AgentId, entry: &AgentEntry, before: u64) -> bool {
        let since = entry.unreachable_since_wall_ms;
        let is_long = since.is_some_and(|since| since < before);
        if !is_long || !entry.made.is_empty() || entry.is_deactivated || entry.drain.is_some() {
            return false;
        }
        self.agents.by_id.get(id).is_some_and(|known| {
            known.state == AgentState::Unreachable
                && known.tasks.is_empty()
                && known.executors.is_empty()
        })
    }

    pub(crate) fn set_forget_timer(&mut self) {
        let at = self.turn.now.after(AGENTS_FORGOTTEN_INTERVAL).mono_ns;
        self.set_timer_at(TimerKey::Forget, at);
    }
}

/// What an agent is told that is gone; for whoever reads its log.
fn gone(agent: &AgentId) -> Problem {
    let message = format!("an operator has said that agent {agent} is gone: its tasks are over");
    let hint = "to let this host join again, as another agent: stop the agent, remove its work directory, start it";
    Problem::new(code::AGENT_GONE, message).hint(hint)
}
