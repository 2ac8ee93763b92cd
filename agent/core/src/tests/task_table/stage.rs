//! A task that has come to a phase, with a process of its own or in an executor.

use std::collections::BTreeSet;

use proffer_model::executor::{ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::{ExecutorApi, ExecutorId, ExecutorSpec};

use super::kinds;
use crate::tasks::Phase;
use crate::tests::*;

/// Where a task comes from: of an agent's own, then those of an executor.
pub(super) const FROM: [(&str, Option<Phase>); 13] = [
    ("re", Some(Phase::Recording)),
    ("st", Some(Phase::Starting)),
    ("ru", Some(Phase::Running)),
    // Told to end before its process runs, and after.
    ("km", Some(Phase::Killing)),
    ("ki", Some(Phase::Killing)),
    ("en", Some(Phase::Ended)),
    // All that was said of its end is acknowledged.
    ("go", None),
    // Its executor has not subscribed, and has.
    ("xre", Some(Phase::Recording)),
    ("xw", Some(Phase::Starting)),
    ("xst", Some(Phase::Starting)),
    ("xru", Some(Phase::Running)),
    ("xki", Some(Phase::Killing)),
    ("xen", Some(Phase::Ended)),
];

const SESSION: SessionId = SessionId(1);

pub(super) struct Stage {
    pub(super) agent: Agent,
    /// The task's.
    pub(super) run: RunId,
    /// The start of its executor, or one that never was.
    pub(super) executor: RunId,
    /// The session that its executor would have next.
    pub(super) session: SessionId,
    /// Whether it is in an executor.
    pub(super) has_executor: bool,
    /// What has happened.
    pub(super) met: BTreeSet<&'static str>,
}

fn executor() -> ExecutorSpec {
    ExecutorSpec {
        id: ExecutorId::new("e").unwrap(),
        resources: "cpus:0.5".parse().unwrap(),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    }
}

/// What is launched: checked, and to be done within a minute.
pub(super) fn launched(has_executor: bool) -> TaskSpec {
    match has_executor {
        true => TaskSpec {
            command: Command::Data(vec![1]),
            executor: Some(executor().into()),
            completion: Some(Duration::from_secs(60)),
            ..spec("t")
        },
        false => TaskSpec {
            completion: Some(Duration::from_secs(60)),
            ..checked_spec("t")
        },
    }
}

pub(super) fn word(number: u64, state: TaskState) -> ExecutorStatus {
    ExecutorStatus {
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(5),
        number,
        state,
        message: String::new(),
        healthy: None,
        exit: None,
        data: Vec::new(),
    }
}

/// A task that has come there.
pub(super) fn stage(from: &str) -> Stage {
    let has_executor = from.starts_with('x');
    let mut agent = Agent::registered();
    agent.launch(5, launched(has_executor));
    let started = agent.core.executors.keys().next().copied();
    let mut stage = Stage {
        run: *agent.core.tasks.keys().next().unwrap(),
        executor: started.unwrap_or(RunId(9)),
        session: SESSION,
        agent,
        has_executor,
        met: BTreeSet::new(),
    };
    if !from.ends_with("re") {
        stage.agent.persist();
    }
    match from {
        "ru" | "ki" | "en" | "go" => stage.starts(),
        "xst" | "xru" | "xki" | "xen" => {
            stage.starts();
            stage.subscribes(Vec::new());
        }
        "xw" => stage.starts(),
        _ => {}
    }
    if ["xru", "xki", "xen"].contains(&from) {
        stage.executor_says(word(1, TaskState::Running));
    }
    match from {
        "km" | "ki" | "xki" => stage.agent.kill("t", 5, None),
        "en" | "go" => stage.exits(Exit::Code(0)),
        "xen" => stage.executor_says(word(2, TaskState::Finished)),
        _ => {}
    }
    if from == "go" {
        stage.agent.acknowledge("t", 5, 3);
    }
    if !from.ends_with("re") {
        stage.agent.persist();
    }
    stage.agent.take();
    stage.met.clear();
    stage
}

impl Stage {
    /// It happens; what is written is durable at once, but for what was not before.
    pub(super) fn happens(&mut self, event: Event) {
        self.met.extend(kinds::of(&event));
        self.agent.step(event);
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.agent.core.tasks.get(&self.run).map(|task| task.phase)
    }

    /// The run whose process it is in.
    pub(super) fn process(&self) -> RunId {
        if self.has_executor {
            self.executor
        } else {
            self.run
        }
    }

    pub(super) fn starts(&mut self) {
        let run = self.process();
        self.happens(Event::ContainerStarted { run, pid: 7 });
    }

    pub(super) fn exits(&mut self, exit: Exit) {
        let run = self.process();
        let ended = exit.into();
        self.happens(Event::ContainerExited { run, ended });
    }

    pub(super) fn subscribes(&mut self, tasks: Vec<(TaskId, Incarnation)>) {
        let session = self.session;
        self.session = SessionId(session.0 + 1);
        self.happens(Event::ExecutorSubscribed {
            run: self.executor,
            session,
            subscription: Subscription {
                unacknowledged: Vec::new(),
                tasks,
            },
        });
    }

    pub(super) fn executor_says(&mut self, status: ExecutorStatus) {
        self.happens(Event::ExecutorSaid {
            run: self.executor,
            session: SESSION,
            status,
        });
    }

    /// The agent begins anew and finds this of what it runs.
    pub(super) fn recovers(&mut self, found: &Found, boot: &str) {
        for run in self.agent.runs.values_mut() {
            run.found = found.clone();
        }
        for executor in self.agent.executors.values_mut() {
            executor.found = found.clone();
        }
        let runs = self.agent.runs.values().cloned().collect();
        self.met.extend(kinds::of(&Event::Recovered {
            identity: Identity::default(),
            boot: String::new(),
            runs,
            executors: Vec::new(),
        }));
        self.agent.recover(boot);
        let kept: Vec<Effect> = self.agent.take();
        self.agent.connect(1);
        self.agent.done.extend(kept);
    }

    /// What came of it. Behind where the task stands: `u`, the master is told something of it; `S`, its process is started;
    /// `T` and `K`, it is signalled SIGTERM and SIGKILL; `x`, its executor is told to end it; `l`, to launch it; `e`, that
    /// its word is kept; `d`, its directory will be removed; `c`, a check is made; `L`, the master is left.
    pub(super) fn outcome(&self) -> String {
        let task = self.agent.core.tasks.get(&self.run);
        let stands = task.map_or("--", |task| {
            kinds::stands(task.phase, task.updates.latest().state)
        });
        let marks: BTreeSet<char> = self
            .agent
            .done
            .iter()
            .filter_map(|it| self.mark(it))
            .collect();
        match marks.is_empty() {
            true => stands.to_owned(),
            false => format!("{stands}/{}", marks.into_iter().collect::<String>()),
        }
    }

    fn mark(&self, effect: &Effect) -> Option<char> {
        Some(match effect {
            Effect::Send {
                message: ToMaster::Updated { .. },
                ..
            } => 'u',
            Effect::StartContainer { .. } | Effect::StartExecutor { .. } => 'S',
            Effect::SignalContainer { signal, .. } => match signal {
                Signal::Terminate => 'T',
                Signal::Kill => 'K',
            },
            Effect::SendExecutor { event, .. } => match event {
                ExecutorEvent::Kill { .. } => 'x',
                ExecutorEvent::Launch(_) => 'l',
                ExecutorEvent::Acknowledged { .. } => 'e',
                _ => return None,
            },
            Effect::RemoveRun(run) if *run == self.run => 'd',
            Effect::RunCheck { .. } => 'c',
            Effect::CloseLink(_) => 'L',
            _ => return None,
        })
    }
}
