//! Run directories of tasks that have ended and are wholly acknowledged: kept for a while so that their logs can be
//! read, then removed. It decides when; the shell removes them after all checkpoints that came before.

use proffer_model::Time;

use crate::core::Core;
use crate::effect::{Effect, Effects, Fact};
use crate::event::{RunId, TimerKey};
use crate::executor::{Executor, ExecutorPhase};
use crate::limits::GARBAGE_RUNS_MAX;

/// A run that is no task any more.
#[derive(Clone, Debug)]
pub(crate) struct Garbage {
    pub(crate) run: RunId,
    pub(crate) remove_at: Time,
}

impl Core {
    /// A settled task becomes garbage, to be removed after the configured delay less `age`.
    pub(crate) fn discard(&mut self, now: Time, run: RunId, ended_ms: u64, effects: &mut Effects) {
        let Some(task) = self.tasks.remove(&run) else {
            return;
        };
        self.loads.task_went(&task.spec);
        self.loads.said = self.loads.said.saturating_sub(task.updates.counted);
        let key = (task.framework.clone(), task.spec.id.clone());
        if let Some(runs) = self.index.get_mut(&key) {
            runs.remove(&task.incarnation);
            if runs.is_empty() {
                self.index.remove(&key);
            }
        }
        self.remember(key.0, key.1, task.incarnation);
        effects.push(Effect::CancelTimer(TimerKey::Resend(run)));
        effects.push(Effect::CancelTimer(TimerKey::Grace(run)));
        self.keep_for_a_while(now, run, ended_ms, effects);
        if let Some(of) = task.executor {
            if let Some(executor) = self.executors.get_mut(&of) {
                executor.tasks.remove(&run);
            }
            self.discard_executor(now, of, effects);
        }
    }

    /// An executor that is no more becomes garbage when its last task has: that one's output is there.
    pub(crate) fn discard_executor(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let is_over = |it: &Executor| it.phase == ExecutorPhase::Ended && it.tasks.is_empty();
        if self.executors.get(&run).is_some_and(is_over) {
            self.executors.remove(&run);
            self.keep_for_a_while(now, run, now.wall_ms, effects);
        }
    }

    fn keep_for_a_while(&mut self, now: Time, run: RunId, ended_ms: u64, effects: &mut Effects) {
        let age_ms = now.wall_ms.saturating_sub(ended_ms);
        let left = self
            .settings
            .garbage_delay
            .saturating_sub(std::time::Duration::from_millis(age_ms));
        let garbage = Garbage {
            run,
            remove_at: now.after(left),
        };
        let place = self
            .garbage
            .partition_point(|other| other.remove_at.mono_ns <= garbage.remove_at.mono_ns);
        self.garbage.insert(place, garbage);
        self.collect(now, effects);
    }

    /// Removes what has been kept long enough, and the oldest of what is too many.
    pub(crate) fn collect(&mut self, now: Time, effects: &mut Effects) {
        while let Some(oldest) = self.garbage.front() {
            let is_due = oldest.remove_at.mono_ns <= now.mono_ns;
            if !is_due && self.garbage.len() <= GARBAGE_RUNS_MAX {
                effects.push(Effect::SetTimer {
                    key: TimerKey::Garbage,
                    at: oldest.remove_at,
                });
                return;
            }
            effects.push(Effect::RemoveRun(oldest.run));
            effects.push(Effect::Record(Fact::RunRemoved(oldest.run)));
            self.garbage.pop_front();
        }
    }
}
