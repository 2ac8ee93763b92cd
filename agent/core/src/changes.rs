//! What changes of a task while it runs: its labels and its grace, by its framework; and how long it may run.
//!
//! The time that it may run is counted from its first RUNNING, on the clock that no one can set and that goes on while the
//! host sleeps. It is kept with the status, so an agent that restarts goes on counting. Where it was not kept, the wall
//! clock is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::time::format_duration;
use proffer_model::{FrameworkId, Incarnation, Reason, TaskId, Time};

use crate::core::Core;
use crate::effect::{Change, Effect, Effects, Entry};
use crate::event::{RunId, TimerKey};
use crate::tasks::Phase;

/// A change as the leader sends it.
#[derive(Debug)]
pub(crate) struct ChangeOrder {
    pub(crate) framework: FrameworkId,
    pub(crate) task: TaskId,
    pub(crate) incarnation: Incarnation,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) grace: Option<Duration>,
}

impl Core {
    /// Changes a task that lives; what is absent, or so already, stays.
    pub(crate) fn on_update_task(&mut self, order: ChangeOrder, effects: &mut Effects) {
        let run = self.run_of(&order.framework, &order.task, order.incarnation);
        let live = run.and_then(|run| {
            let task = self.tasks.get_mut(&run)?;
            (task.phase != Phase::Ended).then_some((run, task))
        });
        let Some((run, task)) = live else {
            self.ignore(&order.framework, order.task.as_str(), effects);
            return;
        };
        let labels = order.labels.filter(|it| *it != task.spec.labels);
        let grace = order.grace.filter(|it| *it != task.spec.kill_grace);
        if labels.is_none() && grace.is_none() {
            return;
        }
        let spec = std::sync::Arc::make_mut(&mut task.spec);
        if let Some(labels) = &labels {
            spec.labels.clone_from(labels);
        }
        spec.kill_grace = grace.unwrap_or(spec.kill_grace);
        let entry = Entry::Changed { labels, grace };
        self.persist(Change::Entry { run, entry }, effects);
    }

    /// Sets the timer for the end of the time that a running task may run.
    pub(crate) fn await_completion(&self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        if let Some(may_run) = task.spec.completion {
            let has_run = task.running_since.map_or(Duration::ZERO, |it| ran(it, now));
            effects.push(Effect::SetTimer {
                key: TimerKey::Completion(run),
                at: now.after(may_run.saturating_sub(has_run)),
            });
        }
    }

    /// A task has run as long as it may.
    pub(crate) fn on_completion_due(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        if task.may_be_due()
            && let Some(may_run) = task.spec.completion
        {
            let message = format!("it ran as long as it may: {}", format_duration(may_run));
            let (grace, reason) = (task.spec.kill_grace, Reason::DeadlinePassed);
            self.ask_kill(now, run, grace, reason, &message, effects);
        }
    }
}

/// How long ago something was, that may have been in an earlier life of the agent, but in this one of the host.
pub(crate) fn ran(since: Time, now: Time) -> Duration {
    match since.mono_ns {
        0 => Duration::from_millis(now.wall_ms.saturating_sub(since.wall_ms)),
        _ => now.since(since),
    }
}
