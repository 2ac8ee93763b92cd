//! What one step has decided so far: effects in order, one batch of durable changes, and whose rows are to be shown anew.
//!
//! The subtle thing: a batch gets its number when its first operation is added, so that what depends on it can name it
//! before the step is over.

use std::collections::BTreeSet;

use proffer_model::registry::Operation;
use proffer_model::{AgentId, FrameworkId, Time};

use crate::effect::{After, Effect, Effects, Fact};
use crate::event::Seq;

#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) now: Time,
    effects: Effects,
    batch: Vec<Operation>,
    /// The last batch that was given out.
    written: Seq,
    durable: Seq,
    touched: Touched,
}

/// Whose rows have changed in this step.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    pub(crate) agents: BTreeSet<AgentId>,
    pub(crate) frameworks: BTreeSet<FrameworkId>,
}

impl Turn {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(crate) fn record(&mut self, fact: Fact) {
        self.effects.push(Effect::Record(fact));
    }

    /// Adds to this step's batch.
    pub(crate) fn persist(&mut self, operation: Operation) -> Seq {
        self.batch.push(operation);
        self.newest()
    }

    /// The batch that everything decided so far is in.
    pub(crate) fn newest(&self) -> Seq {
        if self.batch.is_empty() {
            self.written
        } else {
            Seq(self.written.0 + 1)
        }
    }

    /// What waits for this batch waits for nothing once it is durable.
    pub(crate) fn after(&self, seq: Seq) -> After {
        if self.is_durable(seq) {
            After::Nothing
        } else {
            After::Seq(seq)
        }
    }

    /// For what may leave only when all that is decided so far is durable.
    pub(crate) fn after_everything(&self) -> After {
        self.after(self.newest())
    }

    pub(crate) fn is_durable(&self, seq: Seq) -> bool {
        seq <= self.durable
    }

    /// How many batches are not durable yet.
    pub(crate) fn pending(&self) -> u64 {
        self.newest().0.saturating_sub(self.durable.0)
    }

    /// A number that was never given out counts as the last one that was.
    pub(crate) fn on_persisted(&mut self, seq: Seq) {
        self.durable = self.durable.max(seq.min(self.written));
    }

    pub(crate) fn touch_agent(&mut self, agent: &AgentId) {
        if !self.touched.agents.contains(agent) {
            self.touched.agents.insert(agent.clone());
        }
    }

    pub(crate) fn is_agent_touched(&self, agent: &AgentId) -> bool {
        self.touched.agents.contains(agent)
    }

    pub(crate) fn touch_framework(&mut self, framework: &FrameworkId) {
        if !self.touched.frameworks.contains(framework) {
            self.touched.frameworks.insert(framework.clone());
        }
    }

    pub(crate) fn take_touched(&mut self) -> Touched {
        std::mem::take(&mut self.touched)
    }

    /// Ends the step: the batch first, so that the store works while the rest is sent.
    pub(crate) fn finish(&mut self, effects: &mut Effects) {
        if !self.batch.is_empty() {
            self.written = self.newest();
            effects.push(Effect::Persist {
                seq: self.written,
                operations: std::mem::take(&mut self.batch),
            });
        }
        effects.append(&mut self.effects);
    }
}
