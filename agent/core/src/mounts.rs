//! Volumes of tasks that an executor of Mesos's API runs: they are put into its sandbox before it is told of the task, and taken
//! out of it when the task has ended.
//!
//! The shell does both in the order in which they are asked for, and as often as it is asked. So the next agent, which cannot know
//! how far the one before came, asks again. What another task of the executor still has at a place stays there.

use proffer_model::{Reason, TaskState, Time, VolumeMount};

use crate::core::Core;
use crate::effect::{Effect, Effects};
use crate::event::RunId;
use crate::executor::ExecutorPhase;
use crate::task::{Mounting, Task};
use crate::tasks::Phase;

impl Core {
    /// Whether all that is to be told together has its volumes; asks for those that were not asked for.
    pub(crate) fn has_volumes(&mut self, runs: &[RunId], effects: &mut Effects) -> bool {
        let mut has_all = true;
        for run in runs {
            let Some(task) = self.tasks.get_mut(run) else {
                continue;
            };
            let of = task.executor.and_then(|executor| {
                let of = self.executors.get(&executor)?;
                Some((executor, of.spec.clone()))
            });
            if task.spec.volumes.is_empty() || task.mounting == Mounting::Done {
                continue;
            }
            has_all = false;
            if let (Some((executor, of)), Mounting::Unasked) = (of, task.mounting) {
                task.mounting = Mounting::Asked;
                effects.push(Effect::MountVolumes {
                    run: *run,
                    executor,
                    of,
                    spec: task.spec.clone(),
                });
            }
        }
        has_all
    }

    /// The volumes of a task are in its executor's sandbox, or why not.
    pub(crate) fn on_volumes_mounted(
        &mut self,
        now: Time,
        run: RunId,
        failure: Option<&str>,
        effects: &mut Effects,
    ) {
        let asked = self.tasks.get_mut(&run);
        let Some(task) = asked.filter(|task| task.mounting == Mounting::Asked) else {
            return;
        };
        task.mounting = Mounting::Done;
        let is_starting = task.phase == Phase::Starting;
        let Some(executor) = task.executor.filter(|_| is_starting) else {
            return;
        };
        match failure {
            None => self.deliver(executor, effects),
            Some(message) => {
                let (state, reason) = (TaskState::Failed, Reason::VolumeFailed);
                self.end(now, run, state, reason, message, None, effects);
                self.end_untold(now, executor, effects);
            }
        }
    }

    /// Takes the volumes of a task that has ended out of its executor's sandbox, if that lives.
    pub(crate) fn unmount_volumes(&self, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        let Some(executor) = task.executor.filter(|_| !task.spec.volumes.is_empty()) else {
            return;
        };
        let of = self.executors.get(&executor);
        let Some(of) = of.filter(|it| it.phase != ExecutorPhase::Ended) else {
            return;
        };
        let live = of.tasks.iter().filter_map(|other| self.tasks.get(other));
        let live: Vec<&Task> = live.filter(|other| other.phase != Phase::Ended).collect();
        let is_free = |mount: &&VolumeMount| {
            let mut others = live.iter().flat_map(|other| &other.spec.volumes);
            !others.any(|other| other.path == mount.path && other.volume == mount.volume)
        };
        let volumes: Vec<_> = task.spec.volumes.iter().filter(is_free).cloned().collect();
        if !volumes.is_empty() {
            effects.push(Effect::UnmountVolumes {
                executor,
                of: of.spec.clone(),
                spec: task.spec.clone(),
                volumes,
            });
        }
    }
}
