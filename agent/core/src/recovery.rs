//! Recovery: the checkpoints of an earlier life, compared with what is really there, become tasks again.
//!
//! There is no second state machine: each run takes the phase that its last status says, and what was found of it goes
//! through the same table as if it had just happened. What ended is checkpointed before the new boot id is, so a crash
//! in between finds the same again.

use std::sync::Arc;

use proffer_model::{Reason, TaskState, Time};

use crate::core::Core;
use crate::effect::{Change, Effect, Effects, Fact};
use crate::event::{Found, Identity, RecoveredRun, RunId};
use crate::task::{Kill, Task};
use crate::tasks::{Input, Phase};
use crate::updates::Updates;

impl Core {
    pub(crate) fn on_recovered(
        &mut self,
        now: Time,
        identity: Identity,
        boot: String,
        mut runs: Vec<RecoveredRun>,
        effects: &mut Effects,
    ) {
        let is_new_boot = !identity.boot.is_empty() && identity.boot != boot;
        let has_changed = identity.boot != boot;
        self.identity = Identity { boot, ..identity };
        // In the order in which they were launched, so that a recovery repeats itself exactly.
        runs.sort_by_key(|run| (run.incarnation, run.run));
        let (mut running, mut ended, mut started) = (0, 0, 0);
        for recovered in runs {
            let run = recovered.run;
            let found = recovered.found.clone();
            if !self.adopt(recovered) {
                continue;
            }
            let was_live = self
                .tasks
                .get(&run)
                .is_some_and(|task| task.phase != Phase::Ended);
            self.take_in(now, run, found, is_new_boot, effects);
            let Some(task) = self.tasks.get(&run) else {
                continue;
            };
            match task.phase {
                Phase::Running | Phase::Killing => running += 1,
                Phase::Starting | Phase::Recording => started += 1,
                Phase::Ended => ended += u64::from(was_live),
            }
            let ended_ms = task.updates.latest().wall_ms;
            let is_over = task.updates.is_settled() && task.pid.is_none();
            self.record_row(run, effects);
            if is_over {
                self.discard(now, run, ended_ms, effects);
            } else {
                self.await_acknowledgement(now, run, effects);
            }
        }
        if has_changed {
            self.persist(Change::Identity(self.identity.clone()), effects);
        }
        effects.push(Effect::Record(Fact::Recovered {
            running,
            ended,
            started,
        }));
    }

    /// Makes a task of what was checkpointed; answers false for a checkpoint without a status, which the shell refuses.
    fn adopt(&mut self, recovered: RecoveredRun) -> bool {
        let running_since_ms = recovered
            .statuses
            .iter()
            .find(|status| status.state == TaskState::Running)
            .map(|status| status.wall_ms);
        let Some(updates) = Updates::recovered(recovered.statuses, recovered.acknowledged) else {
            return false;
        };
        let phase = match updates.latest().state {
            TaskState::Staging | TaskState::Starting => Phase::Starting,
            TaskState::Running | TaskState::Unreachable => Phase::Running,
            TaskState::Killing => Phase::Killing,
            TaskState::Finished
            | TaskState::Failed
            | TaskState::Killed
            | TaskState::Error
            | TaskState::Dropped
            | TaskState::Lost => Phase::Ended,
        };
        // A task that said it was killing has been asked to end, whatever became of the wish.
        let unsaid =
            (phase == Phase::Killing).then_some((recovered.spec.kill_grace, Reason::KillRequested));
        let kill = recovered.kill.or(unsaid).map(|(grace, reason)| Kill {
            grace,
            reason,
            deadline: None,
        });
        let task = Task {
            framework: recovered.framework,
            incarnation: recovered.incarnation,
            spec: Arc::new(recovered.spec),
            payer: recovered.payer,
            phase,
            kill,
            updates,
            health: Default::default(),
            pid: None,
            running_since_ms,
            seq: self.seq,
        };
        self.insert_task(recovered.run, task);
        true
    }

    /// Puts what was found through the table.
    fn take_in(
        &mut self,
        now: Time,
        run: RunId,
        found: Found,
        is_new_boot: bool,
        effects: &mut Effects,
    ) {
        // The wish to end it may have been kept without the status that says so.
        let pending = self.tasks.get(&run).and_then(|task| {
            let kill = task.kill.as_ref()?;
            let is_unsaid = matches!(task.phase, Phase::Starting | Phase::Running);
            is_unsaid.then_some((kill.grace, kill.reason))
        });
        if let Some((grace, reason)) = pending {
            // Nothing was found yet, so whatever its phase, it must not be signalled here.
            self.set_phase(run, Phase::Starting);
            self.ask_kill(now, run, grace, reason, "", effects);
        }
        match found {
            Found::Exited(ended) => self.on_container_exited(now, run, ended, effects),
            _ if is_new_boot => self.apply(now, run, Input::HostRestarted, "", effects),
            Found::NeverStarted => self.apply(now, run, Input::NeverStarted, "", effects),
            Found::Running { pid } => self.on_container_started(now, run, pid, effects),
            Found::Failed { message } => {
                self.on_container_failed(now, run, Reason::LaunchFailed, &message, effects)
            }
            Found::SupervisorLost => self.on_supervisor_lost(now, run, effects),
        }
    }

    fn set_phase(&mut self, run: RunId, phase: Phase) {
        if let Some(task) = self.tasks.get_mut(&run) {
            task.phase = phase;
        }
    }
}
