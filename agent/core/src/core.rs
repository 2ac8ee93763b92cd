//! The agent's state and its one function. Each event goes to the part that decides about it; what all parts need
//! (checkpointing, reporting a status, carrying out a step of the table) is here.
//!
//! Everything waits for its own checkpoint and checkpoints are in order, so nothing is done or said that an agent which
//! restarts would not know of.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use proffer_model::{
    AgentDescription, ExecutorId, Exit, FrameworkId, Incarnation, Reason, Resources, Status,
    TaskId, TaskState, Time,
};

use crate::changes::ran;
use crate::effect::{After, Change, Effect, Effects, Entry, Fact, Signal, TaskRow};
use crate::event::{Ended, Event, Identity, RunId, Seq, TimerKey};
use crate::executor::Executor;
use crate::garbage::Garbage;
use crate::limits::STATUS_MESSAGE_LEN_MAX;
use crate::link::Link;
use crate::loads::Loads;
use crate::task::Task;
use crate::tasks::{Input, Phase, Step, step};

/// What is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the agent says of itself.
    pub description: AgentDescription,
    /// Where names of runs and jitter come from; another one in each life.
    pub seed: u64,
    /// How long the directory of an ended and acknowledged task is kept.
    pub garbage_delay: Duration,
    /// How long an executor may be without a session; then it is told to end.
    pub executor_wait: Duration,
}

/// The agent's state.
#[derive(Debug)]
pub struct Core {
    pub(crate) settings: Settings,
    pub(crate) identity: Identity,
    pub(crate) link: Option<Link>,
    pub(crate) tasks: BTreeMap<RunId, Task>,
    /// Runs by task and incarnation.
    pub(crate) index: BTreeMap<(FrameworkId, TaskId), BTreeMap<Incarnation, RunId>>,
    pub(crate) executors: BTreeMap<RunId, Executor>,
    /// The starts of executors that have not ended.
    pub(crate) live_executors: BTreeMap<(FrameworkId, ExecutorId), RunId>,
    /// While a group is being ended.
    pub(crate) is_group_ending: bool,
    /// A master has said that an operator has marked it gone.
    pub(crate) is_gone: bool,
    /// Held by tasks and executors that have not ended.
    pub(crate) used: Resources,
    /// Bytes of memory that are theirs.
    pub(crate) loads: Loads,
    /// Runs whose checkpoint is being written, in order.
    pub(crate) recording: VecDeque<(Seq, RunId)>,
    /// Settled runs, the first to be removed first.
    pub(crate) garbage: VecDeque<Garbage>,
    /// The newest launch of tasks that are no more.
    pub(crate) remembered: BTreeMap<(FrameworkId, TaskId), Incarnation>,
    pub(crate) remembered_order: VecDeque<(FrameworkId, TaskId)>,
    /// The last checkpoint.
    pub(crate) seq: Seq,
    /// How many names of runs have been drawn.
    pub(crate) drawn: u64,
}

impl Core {
    /// An agent that knows nothing yet; the first event must be `Recovered`.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            identity: Identity::default(),
            link: None,
            tasks: BTreeMap::new(),
            index: BTreeMap::new(),
            executors: BTreeMap::new(),
            live_executors: BTreeMap::new(),
            is_group_ending: false,
            is_gone: false,
            used: Resources::new(),
            loads: Loads::default(),
            recording: VecDeque::new(),
            garbage: VecDeque::new(),
            remembered: BTreeMap::new(),
            remembered_order: VecDeque::new(),
            seq: Seq(0),
            drawn: 0,
        }
    }

    /// Takes in one event; what is to be done is appended to `effects`.
    pub fn step(&mut self, now: Time, event: Event, effects: &mut Effects) {
        match event {
            Event::Recovered {
                identity,
                boot,
                runs,
                executors,
            } => self.on_recovered(now, identity, boot, (runs, executors), effects),
            Event::LinkOpened(link) => self.on_link_opened(now, link, effects),
            Event::LinkMessage { link, message } => {
                self.on_link_message(now, link, message, effects)
            }
            Event::LinkClosed(link) => self.on_link_closed(link, effects),
            Event::Persisted(seq) => self.on_persisted(now, seq, effects),
            Event::ContainerStarted { run, pid } => {
                self.on_container_started(now, run, pid, effects)
            }
            Event::ContainerFailed {
                run,
                reason,
                message,
            } => self.on_container_failed(now, run, reason, &message, effects),
            Event::ContainerExited { run, ended } => {
                self.on_container_exited(now, run, ended, effects)
            }
            Event::SupervisorLost { run } => self.on_supervisor_lost(now, run, effects),
            Event::CheckFinished {
                run,
                check,
                failure,
                answer,
            } => {
                let result = (failure.as_deref(), answer);
                self.on_check_finished(now, run, check, result, effects);
            }
            Event::ExecutorSubscribed {
                run,
                session,
                subscription,
            } => self.on_executor_subscribed(now, run, session, subscription, effects),
            Event::ExecutorSaid {
                run,
                session,
                status,
            } => self.on_executor_said(now, run, session, status, effects),
            Event::ExecutorMessage { run, session, data } => {
                self.on_executor_message(run, session, data, effects);
            }
            Event::ExecutorUntold { session, event } => {
                self.on_executor_untold(session, &event, effects);
            }
            Event::VolumesMounted { run, failure } => {
                self.on_volumes_mounted(now, run, failure.as_deref(), effects);
            }
            Event::ExecutorLeft { run, session } => {
                self.on_executor_left(now, run, session, effects);
            }
            Event::TimerFired(key) => self.on_timer(now, key, effects),
        }
    }

    fn on_timer(&mut self, now: Time, key: TimerKey, effects: &mut Effects) {
        match key {
            TimerKey::Heartbeat => self.on_heartbeat_due(now, effects),
            TimerKey::Resend(run) => self.on_resend_due(now, run, effects),
            TimerKey::Grace(run) => self.on_grace_over(now, run, effects),
            TimerKey::Check(run, index) => self.on_check_due(now, run, index, effects),
            TimerKey::Completion(run) => self.on_completion_due(now, run, effects),
            TimerKey::Executor(run) => self.on_executor_timer(now, run, effects),
            TimerKey::Garbage => self.collect(now, effects),
        }
    }

    fn on_persisted(&mut self, now: Time, seq: Seq, effects: &mut Effects) {
        let mut executors = BTreeSet::new();
        while let Some((needed, run)) = self.recording.front().copied()
            && needed <= seq
        {
            self.recording.pop_front();
            if self.executors.contains_key(&run) {
                self.start_executor(now, run, effects);
            }
            let task = self.tasks.get(&run);
            executors.extend(task.and_then(|task| task.executor));
            self.apply(now, run, Input::Recorded, "", effects);
        }
        for run in executors {
            self.deliver(run, effects);
        }
    }

    pub(crate) fn on_container_started(
        &mut self,
        now: Time,
        run: RunId,
        pid: u32,
        effects: &mut Effects,
    ) {
        if let Some(task) = self.tasks.get_mut(&run) {
            task.pid = Some(pid);
            self.apply(now, run, Input::Started, "", effects);
        }
        self.on_executor_started(now, run, pid, effects);
    }

    pub(crate) fn on_container_failed(
        &mut self,
        now: Time,
        run: RunId,
        reason: Reason,
        message: &str,
        effects: &mut Effects,
    ) {
        self.container_gone(run);
        self.fail_launches(now, run, reason, message, effects);
        self.on_executor_gone(now, run, message, effects);
        let word = Word {
            reason: matches!(
                reason,
                Reason::ImageFailed | Reason::VolumeFailed | Reason::FetchFailed
            )
            .then_some(reason),
            message,
            exit: None,
        };
        self.apply_word(now, run, Input::StartFailed, word, effects);
        self.discard_if_over(now, run, effects);
    }

    pub(crate) fn on_container_exited(
        &mut self,
        now: Time,
        run: RunId,
        ended: Ended,
        effects: &mut Effects,
    ) {
        self.container_gone(run);
        let (input, mut message) = match ended.exit {
            Exit::Code(0) => (Input::Finished, "exited with code 0".to_owned()),
            Exit::Code(code) => (Input::Failed, format!("exited with code {code}")),
            Exit::Signal(signal) => (Input::Failed, format!("ended by signal {signal}")),
        };
        // One that has finished has done without what was killed.
        let is_out_of_memory = ended.is_out_of_memory && input == Input::Failed;
        if is_out_of_memory {
            message = self.explain_memory(run, ended.exit);
        }
        self.on_executor_gone(now, run, &message, effects);
        let word = Word {
            reason: is_out_of_memory.then_some(Reason::OutOfMemory),
            message: &message,
            exit: Some(ended.exit),
        };
        self.apply_word(now, run, input, word, effects);
        self.discard_if_over(now, run, effects);
    }

    pub(crate) fn on_supervisor_lost(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        self.container_gone(run);
        self.on_executor_gone(now, run, "its supervisor ended", effects);
        self.apply(now, run, Input::SupervisorLost, "", effects);
        self.discard_if_over(now, run, effects);
    }

    /// That it used too much memory, for people.
    fn explain_memory(&self, run: RunId, exit: Exit) -> String {
        let task = self.tasks.get(&run);
        let held = task.map_or(0, |task| task.spec.resources.scalar("mem"));
        let held = match held % 1_000 {
            0 => format!("{} MB", held / 1_000),
            rest => format!("{}.{rest:03} MB", held / 1_000),
        };
        match exit {
            Exit::Code(code) => {
                format!(
                    "exited with code {code} after one of its processes was killed: it used more than its {held}"
                )
            }
            Exit::Signal(_) => format!("killed: used more than its {held}"),
        }
    }

    fn container_gone(&mut self, run: RunId) {
        if let Some(task) = self.tasks.get_mut(&run) {
            task.pid = None;
        }
    }

    /// A run that was settled while a container was still there is over when that is gone.
    fn discard_if_over(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        if let Some(task) = self.tasks.get(&run)
            && task.updates.is_settled()
        {
            let ended_ms = task.updates.latest().wall_ms;
            self.discard(now, run, ended_ms, effects);
        }
    }

    pub(crate) fn apply(
        &mut self,
        now: Time,
        run: RunId,
        input: Input,
        message: &str,
        effects: &mut Effects,
    ) {
        let word = Word {
            reason: None,
            message,
            exit: None,
        };
        self.apply_word(now, run, input, word, effects);
    }

    /// Looks the step up and carries it out. Kills have more to carry and are done in `kill.rs`.
    fn apply_word(
        &mut self,
        now: Time,
        run: RunId,
        input: Input,
        word: Word<'_>,
        effects: &mut Effects,
    ) {
        let Word { message, exit, .. } = word;
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        match step(task.phase, input) {
            Step::Ignore | Step::Mark | Step::Stop | Step::Hasten => {}
            Step::Start => {
                task.phase = Phase::Starting;
                // Its executor is told when it is there.
                if task.executor.is_none() {
                    let spec = task.spec.clone();
                    effects.push(Effect::StartContainer { run, spec });
                }
            }
            Step::Run => {
                self.say_running(now, run, effects);
                self.begin_checks(now, run, Duration::ZERO, effects);
                self.await_completion(now, run, effects);
            }
            Step::Resume => {
                let ago = task.running_since.map_or(Duration::ZERO, |it| ran(it, now));
                self.begin_checks(now, run, ago, effects);
                self.await_completion(now, run, effects);
            }
            Step::StopNow => self.stop(now, run, effects),
            Step::Destroy => self.destroy(now, run, effects),
            // Its end comes now, to a task that runs.
            Step::RunThenFinish | Step::RunThenFail => {
                self.say_running(now, run, effects);
                self.apply_word(now, run, input, word, effects);
            }
            Step::Finish => {
                let (state, reason) = (TaskState::Finished, Reason::Exited);
                self.end(now, run, state, reason, message, exit, effects);
            }
            Step::Fail => {
                let state = TaskState::Failed;
                let reason = word.reason.unwrap_or(Reason::Exited);
                self.end(now, run, state, reason, message, exit, effects);
            }
            Step::Killed => {
                let wish = task.kill.as_ref().map(|kill| kill.reason);
                let (state, reason) = (TaskState::Killed, wish.unwrap_or(Reason::KillRequested));
                self.end(now, run, state, reason, message, exit, effects);
            }
            Step::FailLaunch => {
                let state = TaskState::Failed;
                let reason = word.reason.unwrap_or(Reason::LaunchFailed);
                self.end(now, run, state, reason, message, exit, effects);
            }
            Step::LoseSupervisor => {
                let (state, reason) = (TaskState::Lost, Reason::SupervisorLost);
                let message = "its supervisor ended without leaving word, so it was ended too";
                self.end(now, run, state, reason, message, exit, effects);
            }
            Step::LoseHost => {
                let (state, reason) = (TaskState::Lost, Reason::HostRestarted);
                let message = "its host was restarted";
                self.end(now, run, state, reason, message, exit, effects);
            }
        }
    }

    fn say_running(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        if let Some(task) = self.tasks.get_mut(&run) {
            task.phase = Phase::Running;
            task.running_since = Some(now);
        }
        let (state, reason) = (TaskState::Running, Reason::None);
        self.report(now, run, state, reason, "", None, effects);
    }

    /// SIGKILL, and again until it is gone.
    fn destroy(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        effects.push(Effect::SignalContainer {
            run,
            signal: Signal::Kill,
            after: After::Nothing,
        });
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: now.after(crate::limits::KILL_RETRY_INTERVAL),
        });
    }

    /// Says that a run is no more and frees what it held.
    #[expect(
        clippy::too_many_arguments,
        reason = "a status has these parts, and naming them in a struct would only repeat Status"
    )]
    pub(crate) fn end(
        &mut self,
        now: Time,
        run: RunId,
        state: TaskState,
        reason: Reason,
        message: &str,
        exit: Option<Exit>,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        task.phase = Phase::Ended;
        let held: Arc<_> = task.spec.clone();
        self.used.subtract(&held.resources);
        task.word.waiting = None;
        effects.push(Effect::CancelTimer(TimerKey::Grace(run)));
        effects.push(Effect::CancelTimer(TimerKey::Completion(run)));
        self.report(now, run, state, reason, message, exit, effects);
        self.end_checks(run, effects);
        self.unmount_volumes(run, effects);
        self.end_group(now, run, effects);
    }

    /// Makes the next status of a run: kept, then sent, then sent again until it is acknowledged.
    #[expect(
        clippy::too_many_arguments,
        reason = "a status has these parts, and naming them in a struct would only repeat Status"
    )]
    pub(crate) fn report(
        &mut self,
        now: Time,
        run: RunId,
        state: TaskState,
        reason: Reason,
        message: &str,
        exit: Option<Exit>,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let data = std::mem::take(&mut task.word.data);
        let latest = task.updates.latest();
        let (healthy, checks) = match (task.executor, state) {
            (Some(_), _) => (task.word.healthy, Vec::new()),
            (None, TaskState::Running) => (task.health.verdict(), task.health.results()),
            (None, _) if task.phase == Phase::Running => (latest.healthy, task.health.results()),
            // Whatever its checks still say is not about it.
            (None, _) => (latest.healthy, latest.checks.clone()),
        };
        let status = Status {
            task: task.spec.id.clone(),
            incarnation: task.incarnation,
            agent: self.identity.agent.clone(),
            number: latest.number + 1,
            state,
            reason,
            message: cut(message),
            exit,
            healthy,
            checks,
            wall_ms: now.wall_ms,
            data,
        };
        let entry = Entry::Made {
            status: status.clone(),
            said: task.word.taken,
            boot_ns: now.mono_ns,
        };
        let seq = self.persist(Change::Entry { run, entry }, effects);
        if let Some(task) = self.tasks.get_mut(&run) {
            task.seq = seq;
            task.updates.push(status.clone());
        }
        self.count_said(run);
        self.send_status(run, status, effects);
        self.await_acknowledgement(now, run, effects);
        self.record_row(run, effects);
    }

    pub(crate) fn persist(&mut self, change: Change, effects: &mut Effects) -> Seq {
        self.seq = Seq(self.seq.0 + 1);
        effects.push(Effect::Persist {
            seq: self.seq,
            change,
        });
        self.seq
    }

    pub(crate) fn record_row(&self, run: RunId, effects: &mut Effects) {
        if let Some(task) = self.tasks.get(&run) {
            effects.push(Effect::Record(Fact::Task(TaskRow {
                run,
                output: task.executor.unwrap_or(run),
                framework: task.framework.clone(),
                incarnation: task.incarnation,
                status: task.updates.latest().clone(),
                pid: task.pid,
                spec: task.spec.clone(),
            })));
        }
    }

    pub(crate) fn run_of(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        incarnation: Incarnation,
    ) -> Option<RunId> {
        let runs = self.index.get(&(framework.clone(), task.clone()))?;
        runs.get(&incarnation).copied()
    }
}

/// What is known of something that happened to a run.
#[derive(Clone, Copy)]
struct Word<'a> {
    /// Why, if it is nothing ordinary.
    reason: Option<Reason>,
    /// For people.
    message: &'a str,
    exit: Option<Exit>,
}

/// Cuts a message to its limit, at a character.
fn cut(message: &str) -> String {
    let mut end = message.len().min(STATUS_MESSAGE_LEN_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.get(..end).unwrap_or_default().to_owned()
}
