//! What becomes of instances: statuses of tasks and answers to launches.
//!
//! Statuses arrive at least once and in any order; the greater state wins, a terminal one is final, and the only way back is
//! out of unreachable. An update is acknowledged after what it changed is kept.

use std::sync::Arc;

use proffer_model::session::{Answer, Call, OperationResult};
use proffer_model::{Exit, Incarnation, Kind, Problem, Reason, Status, TaskState, Time, code};

use crate::amount::format_parts;
use crate::app::Failure;
use crate::core::{Core, Key, Pending};
use crate::effect::{Effect, Fact, Notice};
use crate::event::CallId;
use crate::id::InstanceId;
use crate::instance::{Instance, Phase};

impl Core {
    pub(crate) fn on_updated(&mut self, now: Time, sequence: u64, status: Status) {
        match (
            self.tasks.get(&status.task).copied(),
            Phase::of(status.state),
        ) {
            (Some(id), Some(phase)) => self.on_progress(now, id, phase, &status),
            (Some(id), None) => self.on_end(now, id, &status),
            (None, Some(_)) => {
                self.out
                    .push(Effect::Record(Fact::UnknownTaskKilled(status.task.clone())));
                self.send(
                    Call::Kill {
                        task: status.task,
                        grace: None,
                    },
                    Pending::Other,
                );
            }
            (None, None) => {}
        }
        if self.session.is_some() {
            self.out.push(Effect::Call {
                id: None,
                call: Call::Acknowledge { sequence },
            });
        }
    }

    /// A task is alive, or its agent is unreachable.
    fn on_progress(&mut self, now: Time, id: InstanceId, phase: Phase, status: &Status) {
        let Some(instance) = self.instances.get_mut(&id) else {
            return;
        };
        let Some(entry) = self.apps.get_mut(&instance.app) else {
            return;
        };
        let was_given_up = Self::is_given_up(now, &entry.app, instance);
        let before = instance.clone();
        let instance = Arc::make_mut(instance);
        instance.memory.is_confirmed = true;
        let is_return = before.phase == Phase::Unreachable && phase != Phase::Unreachable;
        // After a restart the phase that was kept may be behind or ahead of the truth.
        let is_news = is_return || phase > before.phase || !before.memory.is_confirmed;
        if is_news && phase != before.phase {
            instance.phase = phase;
            instance.memory.has_returned |= is_return && was_given_up;
            if phase == Phase::Unreachable || is_return {
                instance.memory.since = now;
            }
            if phase <= Phase::Running {
                entry.backoff.on_progress(now);
            }
        }
        if phase == Phase::Running && instance.started_wall_ms.is_none() {
            instance.started_wall_ms = Some(status.wall_ms);
            self.to_keep.insert(Key::Instance(id));
        }
        if status.number == 0 || status.number >= instance.memory.status_number {
            instance.memory.status_number = instance.memory.status_number.max(status.number);
            if let Some(healthy) = status.healthy
                && instance.healthy != Some(healthy)
            {
                instance.healthy = Some(healthy);
                instance.health_wall_ms = Some(status.wall_ms);
            }
        }
        let seen = |instance: &Instance| {
            let memory = instance.memory;
            (
                instance.phase,
                instance.healthy,
                memory.is_confirmed,
                instance.started_wall_ms,
            )
        };
        // Repeated statuses are common after reconciliations; planning a large app for each would be dear.
        if seen(&before) != seen(instance) {
            self.to_show.insert(Key::Instance(id));
            self.touch_for_status(now, &before.app);
            self.publish_progress(&before, id, status);
        }
    }

    fn publish_progress(&mut self, before: &Instance, id: InstanceId, status: &Status) {
        let Some(instance) = self.instances.get(&id).cloned() else {
            return;
        };
        if instance.shown() != before.shown() {
            let state = instance.shown();
            let message = status.message.clone();
            self.out.push(Effect::Publish(Notice::TaskUpdated {
                instance: instance.clone(),
                state,
                message,
            }));
        }
        if let Some(is_healthy) = instance.healthy
            && before.healthy != instance.healthy
        {
            self.out.push(Effect::Publish(Notice::HealthChanged {
                instance,
                is_healthy,
            }));
        }
    }

    /// A task has ended, or nobody knows it.
    fn on_end(&mut self, now: Time, id: InstanceId, status: &Status) {
        let is_unknown = status.incarnation == Incarnation::default();
        if is_unknown && self.launches_under_way().contains(&id) {
            // The question overtook the launch.
            return;
        }
        let Some(instance) = self.instances.get(&id).cloned() else {
            return;
        };
        let was_never_launched = is_unknown && instance.phase == Phase::Launching;
        let message = describe_end(status, self.memory_of(&instance));
        if !instance.is_condemned && !was_never_launched && is_fault_of_app(status) {
            self.on_bad_end(now, &instance, status.state, &message, status.wall_ms);
        }
        if !was_never_launched {
            let state = status.state;
            self.out.push(Effect::Publish(Notice::TaskUpdated {
                instance,
                state,
                message,
            }));
        }
        self.forget(now, id);
    }

    /// The memory that an instance holds, in thousandths of MiB, if its app still knows.
    fn memory_of(&self, instance: &Instance) -> Option<u64> {
        let app = &self.apps.get(&instance.app)?.app;
        if instance.config == app.last_config {
            return Some(app.spec.mem_milli);
        }
        let previous = app.deployment.as_ref()?.previous.as_ref()?;
        (instance.config == previous.last_config).then_some(previous.spec.mem_milli)
    }

    /// An instance ended in a way that makes launches wait.
    fn on_bad_end(
        &mut self,
        now: Time,
        instance: &Arc<Instance>,
        state: TaskState,
        message: &str,
        wall_ms: u64,
    ) {
        let Some(entry) = self.apps.get_mut(&instance.app) else {
            return;
        };
        if instance.config == entry.app.last_config {
            let policy = entry.app.spec.backoff;
            entry.backoff.on_bad_end(now, &policy);
        }
        Arc::make_mut(&mut entry.app).last_failure = Some(Failure {
            task: instance.task.to_string(),
            host: instance.host.clone(),
            agent: instance.agent.to_string(),
            state,
            message: message.to_owned(),
            version: instance.version,
            wall_ms,
        });
        self.to_show.insert(Key::App(instance.app.clone()));
        let fact = Fact::InstanceFailed {
            instance: instance.clone(),
            message: message.to_owned(),
        };
        self.out.push(Effect::Record(fact));
    }

    pub(crate) fn on_answered(&mut self, now: Time, call: CallId, answer: Answer) {
        let Some(about) = self.pending.remove(&call) else {
            return;
        };
        match (about, answer) {
            (Pending::Launch(_), Answer::Accepted(results)) => {
                for result in results.iter().flat_map(OperationResult::launches) {
                    let Some(id) = self.tasks.get(&result.task).copied() else {
                        continue;
                    };
                    match &result.outcome {
                        Ok(_) => self.on_launched(id),
                        Err(problem) => self.on_launch_refused(now, id, problem),
                    }
                }
            }
            (Pending::Launch(ids), Answer::Refused(problem)) => {
                if problem.kind == Kind::Unavailable
                    || problem.kind == Kind::Exhausted
                    || problem.is(code::EPOCH_STALE)
                {
                    // Nobody can say whether it was done; the master will.
                    let tasks = self.askable(|instance| ids.contains(&instance.id));
                    self.ask_about(tasks);
                } else {
                    for id in ids {
                        self.on_launch_refused(now, id, &problem);
                    }
                }
            }
            (Pending::Demand, Answer::Refused(problem)) => {
                self.out.push(Effect::Record(Fact::CallRefused(problem)));
            }
            (Pending::Other, Answer::Refused(problem)) if !problem.is(code::TASK_UNKNOWN) => {
                self.out.push(Effect::Record(Fact::CallRefused(problem)));
            }
            (
                Pending::Launch(_) | Pending::Demand | Pending::Other,
                Answer::Done | Answer::Accepted(_) | Answer::Refused(_),
            ) => {}
        }
    }

    fn on_launched(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            Arc::make_mut(instance).memory.is_confirmed = true;
            self.touched.insert(instance.app.clone());
        }
    }

    /// The master did not take a launch: its resources are still free, so the instance never was.
    fn on_launch_refused(&mut self, now: Time, id: InstanceId, problem: &Problem) {
        let Some(instance) = self.instances.get(&id).cloned() else {
            return;
        };
        let app = instance.app.clone();
        let is_race = problem.is(code::OFFER_GONE);
        if !is_race && !instance.is_condemned {
            let message = format!("the launch was refused: {problem}");
            self.on_bad_end(now, &instance, TaskState::Error, &message, now.wall_ms);
        }
        self.out.push(Effect::Record(Fact::LaunchRefused {
            app,
            problem: problem.clone(),
        }));
        self.forget(now, id);
    }
}

/// Whether an end says something about the app, so that launches wait. Ends that somebody asked for, and those of an agent
/// or a launch that never arrived, do not.
fn is_fault_of_app(status: &Status) -> bool {
    match status.reason {
        Reason::CheckFailed
        | Reason::OutOfMemory
        | Reason::ImageFailed
        | Reason::DeadlinePassed
        | Reason::ExecutorEnded
        | Reason::GroupEnded
        | Reason::VolumeFailed
        | Reason::TooLong
        | Reason::FetchFailed => true,
        Reason::None
        | Reason::Exited
        | Reason::LaunchFailed
        | Reason::HealthChanged
        | Reason::CheckAnswered => status.state != TaskState::Killed,
        Reason::KillRequested
        | Reason::FrameworkRemoved
        | Reason::AgentUnreachable
        | Reason::AgentReturned
        | Reason::NeverDelivered
        | Reason::SupervisorLost
        | Reason::HostRestarted
        | Reason::AgentDrained
        | Reason::AgentGone
        | Reason::Reconciled => matches!(
            status.state,
            TaskState::Failed | TaskState::Finished | TaskState::Error
        ),
    }
}

/// How a task ended, in words; `mem_milli` is what it held.
fn describe_end(status: &Status, mem_milli: Option<u64>) -> String {
    let said = if status.message.is_empty() {
        describe_exit(status)
    } else {
        status.message.clone()
    };
    match status.reason {
        Reason::OutOfMemory => {
            let held = mem_milli.map_or_else(String::new, |milli| {
                format!(", it holds {} MiB", format_parts(milli, 3))
            });
            format!("killed: out of memory{held} ({said})")
        }
        Reason::ImageFailed => format!("its image cannot be used: {said}"),
        Reason::None
        | Reason::Exited
        | Reason::LaunchFailed
        | Reason::CheckFailed
        | Reason::KillRequested
        | Reason::FrameworkRemoved
        | Reason::AgentUnreachable
        | Reason::AgentReturned
        | Reason::NeverDelivered
        | Reason::SupervisorLost
        | Reason::HostRestarted
        | Reason::Reconciled
        | Reason::DeadlinePassed
        | Reason::AgentDrained
        | Reason::ExecutorEnded
        | Reason::GroupEnded
        | Reason::VolumeFailed
        | Reason::FetchFailed
        | Reason::AgentGone
        | Reason::HealthChanged
        | Reason::TooLong
        | Reason::CheckAnswered => said,
    }
}

fn describe_exit(status: &Status) -> String {
    match status.exit {
        Some(Exit::Code(number)) => format!("exited with code {number}"),
        Some(Exit::Signal(number)) => format!("ended by signal {number}"),
        None => format!("{} ({})", status.state, status.reason),
    }
}
