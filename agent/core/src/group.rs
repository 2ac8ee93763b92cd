//! Task groups: they stand or fall together, as in Mesos's default executor. When one task ends other than FINISHED, the
//! others are killed.

use std::time::Duration;

use proffer_model::{Reason, TaskState, Time};

use crate::core::Core;
use crate::effect::Effects;
use crate::event::RunId;
use crate::tasks::Phase;

impl Core {
    /// Ends what is left of a task's group, if the task has ended so that it may not go on.
    pub(crate) fn end_group(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        // Each that is ended here ends its group too, which is this one.
        if self.is_group_ending {
            return;
        }
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        let latest = task.updates.latest();
        let state = latest.state;
        if task.group.is_none() || !state.is_terminal() || state == TaskState::Finished {
            return;
        }
        let others = self.tasks.iter().filter(|(other, it)| {
            **other != run
                && it.phase != Phase::Ended
                && it.is_unasked()
                && it.framework == task.framework
                && it.group == task.group
        });
        let others: Vec<(RunId, Duration)> = others
            .map(|(other, it)| (*other, it.spec.kill_grace))
            .collect();
        let message = format!("task {} of its group is {state}", latest.task);
        self.is_group_ending = true;
        for (other, grace) in others {
            let reason = Reason::GroupEnded;
            self.ask_kill(now, other, grace, reason, &message, effects);
        }
        self.is_group_ending = false;
    }
}
