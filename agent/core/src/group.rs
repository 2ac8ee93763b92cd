//! Task groups: they stand or fall together, as in Mesos's default executor. When one task ends other than FINISHED, the
//! others are killed. An executor of Mesos's API decides for itself what becomes of a group that it was told of, as in Mesos;
//! one that it was not told of falls together here, too, when one of its tasks is killed.

use std::time::Duration;

use proffer_model::{ExecutorApi, Reason, TaskState, Time};

use crate::core::Core;
use crate::effect::Effects;
use crate::event::RunId;
use crate::executor::ExecutorPhase;
use crate::task::Task;
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
                && self.is_group_ended_here(it)
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

    /// Whether the agent ends a task because another one of its group has ended.
    fn is_group_ended_here(&self, task: &Task) -> bool {
        let executor = task.spec.executor.as_ref();
        if executor.is_none_or(|executor| executor.api != ExecutorApi::MesosV1) {
            return true;
        }
        // With an executor that is no more its tasks end one by one.
        let executor = task.executor.and_then(|run| self.executors.get(&run));
        let is_over = executor.is_none_or(|executor| executor.phase == ExecutorPhase::Ended);
        !task.word.is_sent && !is_over
    }
}
