//! Draining: an agent is to be empty. Nothing is offered of it, what runs there is wanted back (`reclaim.rs`), and when
//! nothing is left it is drained, which is durable: such an agent may be switched off, and stays drained when it returns.
//!
//! The deadline outlives the leader: what is left of it is written down now and then, and the next leader goes on with that.
//! So time without a leader does not count, and a deadline comes late rather than early: by the time without a leader and at
//! most one interval.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::registry::Operation as Change;
use proffer_model::{AgentId, AgentState, Drain, Problem, Reason, code};

use crate::core::Core;
use crate::effect::{After, Fact};
use crate::event::TimerKey;
use crate::limits::{DRAIN_KEEP_INTERVAL_MAX, DRAIN_KEEP_INTERVAL_MIN};
use crate::reclaim::Wanted;
use crate::task_table::TaskKey;

/// Agents that are being drained.
#[derive(Debug, Default)]
pub(crate) struct Drains {
    under_way: BTreeMap<AgentId, UnderWay>,
    timer_at: Option<u64>,
}

/// Until when, by the monotonic clock. Absent: without a deadline.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    until: Option<u64>,
    /// When what is left is written down again.
    keep_at: u64,
}

impl Core {
    /// Goes on with the drains of the log.
    pub(crate) fn begin_drains(&mut self) {
        let agents = self.registry.agents.iter();
        let drains: Vec<(AgentId, Drain)> = agents
            .filter_map(|(id, entry)| Some((id.clone(), entry.drain?)))
            .filter(|(_, drain)| !drain.is_drained)
            .collect();
        for (agent, drain) in drains {
            self.begin_drain(agent, &drain);
        }
        self.set_drain_timer();
    }

    /// Empties an agent; one that is being emptied gets another deadline. One that is drained is left as it is, unless
    /// something runs there after all.
    pub(crate) fn drain(
        &mut self,
        agent: &AgentId,
        deadline: Option<Duration>,
        marks_gone: bool,
    ) -> Result<(), Problem> {
        if marks_gone && self.registry.gone.contains_key(agent) {
            return Ok(());
        }
        self.check_store_keeps_up()?;
        let before = self.agent_entry(agent)?.drain;
        let is_drained = before.is_some_and(|drain| drain.is_drained);
        let is_used = is_drained && self.is_used(agent);
        if is_drained && marks_gone {
            self.check_is_heard(agent)?;
        }
        if is_drained && marks_gone && !is_used {
            self.lose_for_good(agent);
            return Ok(());
        }
        let is_the_same = before.is_some_and(|drain| {
            let has_none = drain.deadline.is_none() && deadline.is_none();
            let is_under_way = !is_drained && has_none && drain.marks_gone == marks_gone;
            (is_drained && !is_used) || is_under_way
        });
        if is_the_same {
            return Ok(());
        }
        let drain = Drain {
            since_wall_ms: self.turn.now.wall_ms,
            deadline,
            left: deadline,
            is_drained: false,
            marks_gone,
        };
        self.keep_drain(agent, drain);
        self.begin_drain(agent.clone(), &drain);
        self.set_drain_timer();
        self.on_availability(agent);
        let after = self.turn.after_everything();
        self.reclaim_drained(agent, after);
        Ok(())
    }

    /// An agent that is gone is not drained any more.
    pub(crate) fn drop_drain(&mut self, agent: &AgentId) {
        self.drains.under_way.remove(agent);
    }

    /// An agent is not to be empty any more.
    pub(crate) fn end_drain(&mut self, agent: &AgentId) {
        if self.drains.under_way.remove(agent).is_some() {
            let after = self.turn.after_everything();
            let tasks = self.tasks_on(agent);
            self.end_reclaim(&tasks, Reason::AgentDrained, after);
        }
    }

    /// Wants back what runs on an agent that is being drained; frameworks that were told so before are not told again.
    pub(crate) fn reclaim_drained(&mut self, agent: &AgentId, after: After) {
        if let Some(drain) = self.drains.under_way.get(agent) {
            let wanted = Wanted {
                reason: Reason::AgentDrained,
                until: drain.until,
            };
            let tasks = self.tasks_on(agent);
            self.reclaim(&tasks, wanted, after);
        }
    }

    /// When what is left on an agent is killed, by the wall clock.
    pub(crate) fn drain_ends_wall_ms(&self, agent: &AgentId) -> Option<u64> {
        let until = self.drains.under_way.get(agent)?.until?;
        let left = Duration::from_nanos(until.saturating_sub(self.turn.now.mono_ns));
        Some(self.turn.now.after(left).wall_ms)
    }

    /// Those of the agents touched in this step that are empty now are drained.
    pub(crate) fn mark_drained(&mut self) {
        if self.drains.under_way.is_empty() {
            return;
        }
        let agents = self.drains.under_way.keys();
        let touched = agents.filter(|id| self.turn.is_agent_touched(id));
        let touched: Vec<AgentId> = touched.cloned().collect();
        for agent in &touched {
            self.end_idle_executors(agent);
        }
        let empty: Vec<AgentId> = touched.into_iter().filter(|id| self.is_empty(id)).collect();
        for agent in empty {
            self.drains.under_way.remove(&agent);
            let entry = self.registry.agents.get(&agent);
            if let Some(drain) = entry.and_then(|entry| entry.drain) {
                let drain = Drain {
                    is_drained: true,
                    ..drain
                };
                self.keep_drain(&agent, drain);
                let drained = agent.clone();
                self.turn.record(Fact::AgentDrained { agent: drained });
                if drain.marks_gone {
                    self.lose_for_good(&agent);
                }
            }
        }
    }

    /// Writes down what is left of the deadlines.
    pub(crate) fn on_drain_timer(&mut self) {
        self.drains.timer_at = None;
        let now = self.turn.now.mono_ns;
        let due = self.drains.under_way.iter();
        let due = due.filter(|(_, drain)| drain.keep_at <= now);
        let due: Vec<(AgentId, Option<u64>)> = due
            .map(|(agent, drain)| (agent.clone(), drain.until))
            .collect();
        for (agent, until) in due {
            let entry = self.registry.agents.get(&agent);
            let (Some(drain), Some(until)) = (entry.and_then(|entry| entry.drain), until) else {
                continue;
            };
            // As it is written down: in whole milliseconds, and not less than it is.
            let left = Duration::from_millis(until.saturating_sub(now).div_ceil(1_000_000));
            let drain = Drain {
                left: Some(left),
                ..drain
            };
            self.keep_drain(&agent, drain);
            let keep_at = self.keep_drain_at(&drain);
            if let Some(drain) = self.drains.under_way.get_mut(&agent) {
                drain.keep_at = keep_at;
            }
        }
        self.set_drain_timer();
    }

    fn begin_drain(&mut self, agent: AgentId, drain: &Drain) {
        let until = drain.left.map(|left| self.turn.now.after(left).mono_ns);
        let keep_at = self.keep_drain_at(drain);
        let drain = UnderWay { until, keep_at };
        self.drains.under_way.insert(agent, drain);
    }

    /// When what is left is written down next: the sooner, the shorter the deadline is; never again when nothing is left.
    fn keep_drain_at(&self, drain: &Drain) -> u64 {
        match (drain.deadline, drain.left) {
            (Some(deadline), Some(left)) if !left.is_zero() => {
                let interval =
                    (deadline / 20).clamp(DRAIN_KEEP_INTERVAL_MIN, DRAIN_KEEP_INTERVAL_MAX);
                self.turn.now.after(interval.min(left)).mono_ns
            }
            _ => u64::MAX,
        }
    }

    fn keep_drain(&mut self, agent: &AgentId, drain: Drain) {
        let agent = agent.clone();
        self.persist(Change::DrainAgent { agent, drain });
    }

    /// Whether it has said what it runs, and nothing of it is left: no task that is not acknowledged to its end either, for
    /// only the agent can say again how that ended.
    fn is_empty(&self, agent: &AgentId) -> bool {
        let known = self.agents.by_id.get(agent);
        known.is_some_and(|known| {
            known.is_settled
                && known.tasks.is_empty()
                && known.strays.is_empty()
                && known.executors.is_empty()
                && known.stray_executors.is_empty()
        })
    }

    /// Whether something is known to be on it. On one that is drained it is after a restore of what was before.
    fn is_used(&self, agent: &AgentId) -> bool {
        let known = self.agents.by_id.get(agent);
        known.is_some_and(|known| {
            !known.tasks.is_empty()
                || !known.strays.is_empty()
                || !known.executors.is_empty()
                || !known.stray_executors.is_empty()
        })
    }

    /// Of an agent that may come back any moment it is not known what runs there.
    fn check_is_heard(&self, agent: &AgentId) -> Result<(), Problem> {
        let known = self.agents.by_id.get(agent);
        if known.is_none_or(|known| known.is_settled || known.state != AgentState::Recovering) {
            return Ok(());
        }
        let message = format!("agent {agent} has not come back since the leader changed");
        let hint = "wait until it is connected or unreachable, or mark it gone whatever runs there";
        Err(Problem::new(code::AGENT_AWAY, message)
            .field("agent_id")
            .hint(hint))
    }

    fn tasks_on(&self, agent: &AgentId) -> Vec<TaskKey> {
        let known = self.agents.by_id.get(agent);
        known.map_or_else(Vec::new, |known| known.tasks.iter().cloned().collect())
    }

    fn set_drain_timer(&mut self) {
        let drains = self.drains.under_way.values();
        let next = drains.map(|drain| drain.keep_at).min();
        if let Some(at) = next
            && at != u64::MAX
            && self.drains.timer_at.is_none_or(|set| at < set)
        {
            self.drains.timer_at = Some(at);
            self.set_timer_at(TimerKey::Drain, at);
        }
    }
}
