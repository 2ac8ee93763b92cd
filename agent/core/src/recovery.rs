//! Recovery: the checkpoints of an earlier life, compared with what is really there, become tasks and executors again.
//!
//! There is no second state machine: each run takes the phase that its last status says, and what was found of it goes
//! through the same table as if it had just happened. What ended is checkpointed before the new boot id is, so a crash
//! in between finds the same again. Of the tasks of an executor nothing is found: the executor says what they are when it
//! subscribes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_model::{Incarnation, Reason, TaskId, TaskState, Time};

use crate::core::Core;
use crate::effect::{Change, Effect, Effects, Fact};
use crate::event::{Found, Identity, RecoveredExecutor, RecoveredRun, RunId};
use crate::executor::{Executor, ExecutorPhase};
use crate::task::{Kill, Mounting, Task, Word};
use crate::tasks::{Input, Phase};
use crate::updates::Updates;

/// What was read.
type Recovered = (Vec<RecoveredRun>, Vec<RecoveredExecutor>);

impl Core {
    pub(crate) fn on_recovered(
        &mut self,
        now: Time,
        identity: Identity,
        boot: String,
        (mut runs, mut executors): Recovered,
        effects: &mut Effects,
    ) {
        let is_new_boot = !identity.boot.is_empty() && identity.boot != boot;
        let has_changed = identity.boot != boot;
        self.identity = Identity { boot, ..identity };
        // In the order in which they were launched, so that a recovery repeats itself exactly.
        runs.sort_by_key(|run| (run.incarnation, run.run));
        // Of several starts of one executor, the one that lives or is still to be comes last, and is the one that counts.
        executors.sort_by_key(|executor| (rank(&executor.found), executor.run));
        let mut found_executors = Vec::with_capacity(executors.len());
        // Their tasks ended with them, and not with the host.
        let mut exited = BTreeSet::new();
        let mut told = BTreeMap::new();
        for recovered in executors {
            if let Found::Exited(_) = recovered.found {
                exited.insert(recovered.run);
            }
            found_executors.push((recovered.run, recovered.found.clone()));
            told.extend(recovered.told.clone().map(|told| (recovered.run, told)));
            self.adopt_executor(recovered);
        }
        let mut found = Vec::with_capacity(runs.len());
        for recovered in runs {
            let (run, was_found) = (recovered.run, recovered.found.clone());
            if self.adopt(recovered) {
                let is_live = |task: &Task| task.phase != Phase::Ended;
                let was_live = self.tasks.get(&run).is_some_and(is_live);
                found.push((run, was_found, was_live));
            }
        }
        self.mark_untold(&told);
        // Groups are ended when it is known of each task what it is.
        self.is_group_ending = true;
        for (run, was_found, _) in &found {
            let executor = self.tasks.get(run).and_then(|task| task.executor);
            let is_over = executor.is_some_and(|executor| exited.contains(&executor));
            let is_lost = is_new_boot && !is_over;
            self.take_in(now, *run, was_found.clone(), is_lost, effects);
        }
        for (run, was_found) in found_executors {
            self.take_in_executor(now, run, was_found, is_new_boot, effects);
        }
        self.is_group_ending = false;
        self.settle_recovered(now, &found, effects);
        if has_changed {
            self.persist(Change::Identity(self.identity.clone()), effects);
        }
    }

    /// What an executor was not told, where that is known, is as in the life before: it ends at once when it is killed, and a group
    /// of it falls together.
    fn mark_untold(&mut self, told: &BTreeMap<RunId, BTreeSet<(TaskId, Incarnation)>>) {
        for task in self.tasks.values_mut() {
            if let Some(told) = task.executor.and_then(|executor| told.get(&executor)) {
                task.word.is_sent = told.contains(&(task.spec.id.clone(), task.incarnation));
            }
        }
    }

    /// Says what has become of all, and goes on with it.
    fn settle_recovered(
        &mut self,
        now: Time,
        found: &[(RunId, Found, bool)],
        effects: &mut Effects,
    ) {
        let (mut running, mut ended, mut started) = (0, 0, 0);
        for (run, _, was_live) in found {
            // One that ended in the last moment of the life before may have left its group behind.
            self.end_group(now, *run, effects);
            let Some(task) = self.tasks.get(run) else {
                continue;
            };
            match task.phase {
                Phase::Running | Phase::Killing => running += 1,
                Phase::Starting | Phase::Recording => started += 1,
                Phase::Ended => ended += u64::from(*was_live),
            }
            if task.phase == Phase::Ended {
                // It may have ended in the last moment of the life before.
                self.unmount_volumes(*run, effects);
            }
        }
        for (run, _, _) in found {
            let Some(task) = self.tasks.get(run) else {
                continue;
            };
            let ended_ms = task.updates.latest().wall_ms;
            let is_over = task.updates.is_settled() && task.pid.is_none();
            self.record_row(*run, effects);
            if is_over {
                self.discard(now, *run, ended_ms, effects);
            } else {
                self.await_acknowledgement(now, *run, effects);
            }
        }
        effects.push(Effect::Record(Fact::Recovered {
            running,
            ended,
            started,
        }));
    }

    /// Makes a task of what was checkpointed; answers false for a checkpoint without a status, which the shell refuses.
    fn adopt(&mut self, recovered: RecoveredRun) -> bool {
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
        // A task that said it was killing has been asked to end, whatever became of the wish; or its executor ends it by itself.
        let unsaid =
            (phase == Phase::Killing).then_some((recovered.spec.kill_grace, Reason::KillRequested));
        let is_asked = recovered.kill.is_some() || recovered.executor.is_none();
        let kill = recovered.kill.or(unsaid).map(|(grace, reason)| Kill {
            grace,
            reason,
            deadline: None,
            // It is not kept; of one that is the task's own, nobody needs to know.
            is_given: grace != recovered.spec.kill_grace,
            is_asked,
        });
        let word = Word {
            taken: recovered.said,
            healthy: updates.latest().healthy,
            waiting: None,
            // It may have been, and the executor will say.
            is_sent: true,
            data: Vec::new(),
        };
        let task = Task {
            framework: recovered.framework,
            incarnation: recovered.incarnation,
            spec: Arc::new(self.with_shared_executor(recovered.executor, recovered.spec)),
            payer: recovered.payer,
            phase,
            kill,
            updates,
            health: Default::default(),
            pid: None,
            running_since: recovered.running_since,
            group: recovered.group,
            executor: recovered.executor,
            word,
            mounting: Mounting::default(),
            seq: self.seq,
        };
        self.insert_task(recovered.run, task);
        true
    }

    fn adopt_executor(&mut self, recovered: RecoveredExecutor) {
        let executor = Executor {
            framework: recovered.framework,
            spec: Arc::new(recovered.spec),
            payer: recovered.payer,
            phase: ExecutorPhase::Starting,
            session: None,
            tasks: Default::default(),
            pid: None,
            was_told: match &recovered.told {
                Some(told) => !told.is_empty(),
                None => recovered.found != Found::NeverStarted,
            },
            end: recovered.end.map(|(grace, reason)| Kill {
                grace,
                reason,
                deadline: None,
                is_given: false,
                is_asked: true,
            }),
            seq: self.seq,
        };
        self.insert_executor(recovered.run, executor);
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
        let executor = self.tasks.get(&run).and_then(|task| task.executor);
        if let Some(executor) = executor {
            self.take_in_of_executor(now, run, executor, is_new_boot, effects);
            return;
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

    /// A task of an executor: what it is, the executor will say.
    fn take_in_of_executor(
        &mut self,
        now: Time,
        run: RunId,
        executor: RunId,
        is_new_boot: bool,
        effects: &mut Effects,
    ) {
        if is_new_boot {
            self.apply(now, run, Input::HostRestarted, "", effects);
        } else if !self.executors.contains_key(&executor) {
            self.end_with_executor(now, run, None, "its directory is gone", effects);
        } else if self.tasks.get(&run).is_some_and(Task::may_be_due) {
            self.await_completion(now, run, effects);
        }
    }

    fn take_in_executor(
        &mut self,
        now: Time,
        run: RunId,
        found: Found,
        is_new_boot: bool,
        effects: &mut Effects,
    ) {
        let has_work = self.has_work(run);
        match found {
            Found::Exited(ended) => self.on_container_exited(now, run, ended, effects),
            _ if is_new_boot => self.executor_over(now, run, "its host was restarted", effects),
            Found::Running { pid } => {
                effects.extend(self.executors.get(&run).map(|it| Effect::AwaitExecutor {
                    run,
                    framework: it.framework.clone(),
                    spec: it.spec.clone(),
                }));
                self.resume_executor(now, run, pid, effects);
            }
            // A crash left it without its first task, or all have ended meanwhile.
            Found::NeverStarted if !has_work => {
                self.executor_over(now, run, "it was not started", effects);
            }
            Found::NeverStarted => self.start_executor(now, run, effects),
            Found::Failed { message } => {
                self.on_container_failed(now, run, Reason::LaunchFailed, &message, effects);
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

fn rank(found: &Found) -> u8 {
    match found {
        Found::Running { .. } => 2,
        Found::NeverStarted => 1,
        Found::Failed { .. } | Found::Exited(_) | Found::SupervisorLost => 0,
    }
}
