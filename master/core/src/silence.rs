//! Silence: when an agent is suspect, and when its tasks are reported unreachable.
//!
//! Suspicion is cheap and only stops offers. Declaring an agent unreachable makes frameworks start replacements, so it is
//! durable, slow, rate limited, and held back while so many agents are silent together that the network, or this master,
//! is the likelier cause.

use std::collections::VecDeque;
use std::ops::Bound;
use std::time::Duration;

use proffer_model::registry::Operation;
use proffer_model::{AgentId, AgentState, Reason, TaskState, Time};

use crate::agents::Agent;
use crate::core::Core;
use crate::effect::{Fact, OfferEnd};
use crate::event::TimerKey;
use crate::limits::{AGENTS_DECLARED_PER_STEP, AGENTS_LOOKED_AT_PER_STEP};
use crate::task_table::TaskKey;
use crate::tasks::Say;

/// What has been declared lately, since when nothing is, and how far the look at all agents has got.
#[derive(Debug)]
pub(crate) struct Silence {
    held_since: Option<Time>,
    declared: VecDeque<Time>,
    /// The last one that was looked at; none: no look is under way.
    looked_to: Option<AgentId>,
    /// Those that it has found silent.
    silent: Vec<AgentId>,
    /// Those that are to be declared unreachable, the first one first.
    due: VecDeque<AgentId>,
    /// When the next look begins.
    next_at: u64,
    /// How many agents one step looks at.
    pub(crate) looks_max: usize,
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            held_since: None,
            declared: VecDeque::new(),
            looked_to: None,
            silent: Vec::new(),
            due: VecDeque::new(),
            next_at: 0,
            looks_max: AGENTS_LOOKED_AT_PER_STEP,
        }
    }
}

impl Core {
    /// Looks at every agent's silence; where they are many, and where many are to be declared unreachable, in several steps.
    pub(crate) fn on_silence(&mut self) {
        let now = self.turn.now;
        if self.silence.due.is_empty() {
            if self.silence.looked_to.is_none() {
                self.silence.next_at = now.after(self.config.heartbeat_interval).mono_ns;
                self.count_awaited();
                self.note_absences();
            }
            if self.look_for_silence() {
                self.set_timer_at(TimerKey::Silence, now.mono_ns);
                return;
            }
            self.find_due();
        }
        self.declare_due();
        let next = match self.silence.due.is_empty() {
            true => self.silence.next_at,
            false => now.mono_ns,
        };
        self.set_timer_at(TimerKey::Silence, next);
    }

    /// Those that have been silent for too long are due, unless so many are that none is: the longest silent first; of equals,
    /// by id.
    fn find_due(&mut self) {
        let found = std::mem::take(&mut self.silence.silent).into_iter();
        let still =
            found.filter_map(|id| Some((self.silence_of(self.agents.by_id.get(&id)?)?, id)));
        let mut silent: Vec<(Duration, AgentId)> = still.collect();
        if self.is_loss_held(silent.len()) {
            return;
        }
        silent.retain(|(silence, _)| *silence >= self.config.unreachable_after);
        silent.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        self.silence.due = silent.into_iter().map(|(_, id)| id).collect();
    }

    /// Declares some of those that are due unreachable, as far as the rate limit leaves room.
    fn declare_due(&mut self) {
        for _ in 0..AGENTS_DECLARED_PER_STEP {
            let Some(agent) = self.silence.due.pop_front() else {
                return;
            };
            let known = self.agents.by_id.get(&agent);
            let silence = known.and_then(|known| self.silence_of(known));
            if silence.is_none_or(|silence| silence < self.config.unreachable_after) {
                // It was heard meanwhile.
                continue;
            }
            if !self.may_declare() {
                self.silence.due.clear();
                return;
            }
            self.silence.declared.push_back(self.turn.now);
            self.declare_unreachable(&agent);
        }
    }

    /// Goes on to look for agents that are silent, which are suspect from then on; whether others are still to be looked at.
    fn look_for_silence(&mut self) -> bool {
        let from = match self.silence.looked_to.take() {
            Some(last) => Bound::Excluded(last),
            None => Bound::Unbounded,
        };
        let agents = self.agents.by_id.range((from, Bound::Unbounded));
        let (mut quiet, mut last) = (Vec::new(), None);
        for (looked, (id, agent)) in (1..).zip(agents) {
            if self.silence_of(agent).is_some() {
                if agent.state == AgentState::Connected {
                    quiet.push(id.clone());
                }
                self.silence.silent.push(id.clone());
            }
            if looked == self.silence.looks_max {
                last = Some(id.clone());
                break;
            }
        }
        for agent in &quiet {
            self.suspect(agent);
        }
        self.silence.looked_to = last;
        self.silence.looked_to.is_some()
    }

    /// For how long nothing has been heard of an agent that is silent; none: it is not, or is unreachable already.
    fn silence_of(&self, agent: &Agent) -> Option<Duration> {
        let silence = self.turn.now.since(agent.heard_at);
        let is_silent =
            agent.state != AgentState::Unreachable && silence >= self.config.suspect_after;
        is_silent.then_some(silence)
    }

    /// An agent is silent or has no link: nothing is offered from it until it is heard again.
    pub(crate) fn suspect(&mut self, agent: &AgentId) {
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        if known.state != AgentState::Connected {
            return;
        }
        known.state = AgentState::Suspect;
        self.end_offers_of_agent(agent, OfferEnd::Rescinded);
        self.sync_agent(agent);
        self.turn.touch_agent(agent);
        let agent = agent.clone();
        self.turn.record(Fact::AgentSuspected { agent });
    }

    /// Whether so many are silent together that none is declared unreachable.
    fn is_loss_held(&mut self, silent: usize) -> bool {
        let now = self.turn.now;
        let (silent, agents) = (to_u64(silent), self.agents.capacity.reachable());
        let allowed = self
            .config
            .loss_min
            .max(percent_of(agents, self.config.loss_percent));
        if silent <= allowed {
            self.silence.held_since = None;
            return false;
        }
        if self.silence.held_since.is_none() {
            self.turn.record(Fact::LossHeld { silent, agents });
        }
        let since = *self.silence.held_since.get_or_insert(now);
        now.since(since) < self.config.loss_hold
    }

    /// Whether the rate limit leaves room for one more.
    fn may_declare(&mut self) -> bool {
        let (now, window) = (self.turn.now, self.config.removal_window);
        let declared = &mut self.silence.declared;
        while declared.front().is_some_and(|at| now.since(*at) >= window) {
            declared.pop_front();
        }
        let declared = to_u64(declared.len());
        let agents = self.agents.capacity.reachable() + declared;
        declared < percent_of(agents, self.config.removal_percent).max(1)
    }

    /// Durable first; then every framework hears of its tasks there.
    fn declare_unreachable(&mut self, agent: &AgentId) {
        self.agents
            .change(agent, |known| known.state = AgentState::Unreachable);
        let Some(known) = self.agents.by_id.get_mut(agent) else {
            return;
        };
        // Who has not said in this term what it runs was launched nothing on in it.
        let frameworks = (!known.is_settled).then(|| {
            let entry = self.registry.agents.get(agent);
            let before = entry.map_or(0, |entry| entry.frameworks);
            before.max(self.agents.frameworks_before)
        });
        if let Some(frameworks) = frameworks {
            self.agents.unheard.insert(agent, frameworks);
        }
        let (link, since_wall_ms) = (known.link.take(), known.heard_at.wall_ms);
        let tasks: Vec<TaskKey> = known.tasks.iter().cloned().collect();
        if let Some(link) = link {
            self.agents.links.remove(&link);
            self.close_link(link);
        }
        let seq = self.persist(Operation::MarkUnreachable {
            agent: agent.clone(),
            since_wall_ms,
            frameworks,
        });
        let after = self.turn.after(seq);
        let mut reported = 0;
        // One whose end is known but was not told is unreachable to its framework: the agent may never tell it.
        for key in tasks {
            if self.tasks.get(&key).is_some_and(|task| !task.is_end_told()) {
                let say = Say {
                    state: TaskState::Unreachable,
                    reason: Reason::AgentUnreachable,
                    message: "its agent is unreachable; it may still run".to_owned(),
                };
                self.report(&key, say, after);
                reported += 1;
            }
        }
        self.await_no_more(agent);
        self.sync_tasks_of(agent);
        self.sync_agent(agent);
        self.turn.touch_agent(agent);
        let agent = agent.clone();
        self.turn.record(Fact::AgentUnreachable {
            agent,
            tasks: reported,
        });
    }
}

fn percent_of(whole: u64, percent: u64) -> u64 {
    whole.saturating_mul(percent) / 100
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
