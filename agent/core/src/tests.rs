//! The core from outside: events in, effects out. `Agent` keeps every checkpoint as the shell would, so that a crash at
//! any point is one call.

mod checks;
mod executors;
mod gone;
mod groups;
mod recovery;
mod task_table;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proffer_model::link::{Payer, ToAgent, ToMaster};
use proffer_model::{
    AgentDescription, AgentId, Attributes, Check, CheckAnswer, CheckKind, CheckResult, ClusterId,
    Command, DemandId, Epoch, Exit, FrameworkId, Generation, Incarnation, Probe, Reason, Role,
    Status, TaskId, TaskSpec, TaskState, Time,
};

use crate::limits::RESEND_DELAY_MIN;
use crate::*;

pub(crate) fn status(number: u64) -> Status {
    Status {
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        agent: None,
        number,
        state: TaskState::Running,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 0,
        data: Vec::new(),
    }
}

fn payer() -> Payer {
    Payer {
        role: Role::new("eng/web").unwrap(),
        demand: Some(DemandId::new("web").unwrap()),
    }
}

fn framework() -> FrameworkId {
    FrameworkId::new("f").unwrap()
}

fn spec(id: &str) -> TaskSpec {
    TaskSpec {
        id: TaskId::new(id).unwrap(),
        name: id.to_owned(),
        resources: "cpus:1;mem:64".parse().unwrap(),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        checks: Vec::new(),
        kill_grace: Duration::from_secs(3),
        container: None,
        executor: None,
        volumes: Vec::new(),
        completion: None,
        fetch: Vec::new(),
        discovery: None,
    }
}

fn checked_spec(id: &str) -> TaskSpec {
    let check = Check {
        kind: CheckKind::Tcp { port: 80 },
        delay: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        grace: Duration::from_secs(20),
        failures_max: 3,
        is_observed: false,
    };
    TaskSpec {
        checks: vec![check],
        ..spec(id)
    }
}

fn settings() -> Settings {
    Settings {
        description: AgentDescription {
            host: "h".to_owned(),
            address: "h:1".to_owned(),
            resources: "cpus:4;mem:1024".parse().unwrap(),
            attributes: Attributes::default(),
            domain: None,
            version: String::new(),
        },
        seed: 42,
        garbage_delay: Duration::from_secs(3600),
        executor_wait: Duration::from_secs(60),
    }
}

/// A core with a disk that the test can look at, and a clock that the test moves.
struct Agent {
    core: Core,
    now: Time,
    /// Checkpoints that are not durable yet.
    writing: VecDeque<(Seq, Change)>,
    identity: Identity,
    runs: BTreeMap<RunId, RecoveredRun>,
    executors: BTreeMap<RunId, RecoveredExecutor>,
    timers: BTreeMap<TimerKey, Time>,
    /// All effects but checkpoints and timers, since the test last took them.
    done: Vec<Effect>,
    links: u64,
}

impl Agent {
    fn new() -> Self {
        let mut agent = Self {
            core: Core::new(settings()),
            now: Time {
                mono_ns: 0,
                wall_ms: 1_000_000,
            },
            writing: VecDeque::new(),
            identity: Identity::default(),
            runs: BTreeMap::new(),
            executors: BTreeMap::new(),
            timers: BTreeMap::new(),
            done: Vec::new(),
            links: 0,
        };
        agent.recover("boot-1");
        agent
    }

    fn registered() -> Self {
        let mut agent = Self::new();
        agent.connect(1);
        agent.take();
        agent
    }

    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.core.step(self.now, event, &mut effects);
        self.core.check_invariants().unwrap();
        for effect in effects {
            match effect {
                Effect::Persist { seq, change } => self.writing.push_back((seq, change)),
                Effect::SetTimer { key, at } => {
                    self.timers.insert(key, at);
                }
                Effect::CancelTimer(key) => {
                    self.timers.remove(&key);
                }
                Effect::RemoveRun(run) => {
                    self.runs.remove(&run);
                    self.executors.remove(&run);
                    self.done.push(effect);
                }
                other => self.done.push(other),
            }
        }
    }

    /// Makes `count` more checkpoints durable, without telling the core.
    fn write(&mut self, count: usize) -> Option<Seq> {
        let mut last = None;
        for _ in 0..count.min(self.writing.len()) {
            let (seq, change) = self.writing.pop_front().unwrap();
            last = Some(seq);
            match change {
                Change::Identity(identity) => self.identity = identity,
                Change::Run(made) => self.keep(made),
                Change::Group(runs) => runs.into_iter().for_each(|made| self.keep(made)),
                Change::Executor {
                    run,
                    framework,
                    spec,
                    payer,
                } => {
                    let kept = RecoveredExecutor {
                        run,
                        framework,
                        spec: (*spec).clone(),
                        payer,
                        end: None,
                        told: None,
                        found: Found::NeverStarted,
                    };
                    assert!(self.executors.insert(run, kept).is_none());
                }
                Change::Entry { run, entry } => match self.executors.get_mut(&run) {
                    Some(kept) => match entry {
                        Entry::Kill { grace, reason } => kept.end = Some((grace, reason)),
                        other => panic!("{other:?} of an executor"),
                    },
                    None => self.runs.get_mut(&run).unwrap().take(entry),
                },
            }
        }
        last
    }

    fn keep(&mut self, made: NewRun) {
        let kept = RecoveredRun::new(made);
        assert!(self.runs.insert(kept.run, kept).is_none());
    }

    fn persist(&mut self) {
        while let Some(seq) = self.write(usize::MAX) {
            self.step(Event::Persisted(seq));
        }
    }

    /// A crash: what was not durable is gone.
    fn recover(&mut self, boot: &str) {
        self.writing.clear();
        self.timers.clear();
        self.done.clear();
        self.core = Core::new(Settings {
            seed: 43 + self.links,
            ..settings()
        });
        let runs = self.runs.values().cloned().collect();
        let identity = self.identity.clone();
        self.step(Event::Recovered {
            identity,
            boot: boot.to_owned(),
            runs,
            executors: self.executors.values().cloned().collect(),
        });
        self.persist();
    }

    fn connect(&mut self, epoch: u64) {
        self.links += 1;
        self.step(Event::LinkOpened(LinkId(self.links)));
        self.receive(ToAgent::Welcome {
            agent: AgentId::new("a").unwrap(),
            cluster: ClusterId::new("c").unwrap(),
            epoch: Epoch(epoch),
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(1),
        });
        self.persist();
    }

    fn receive(&mut self, message: ToAgent) {
        let link = LinkId(self.links);
        self.step(Event::LinkMessage { link, message });
    }

    fn launch(&mut self, incarnation: u64, spec: TaskSpec) {
        self.receive(ToAgent::Launch {
            epoch: self.identity.epoch,
            framework: framework(),
            incarnation: Incarnation(incarnation),
            spec: Box::new(spec),
            payer: Some(payer()),
        });
    }

    fn kill(&mut self, task: &str, incarnation: u64, grace_s: Option<u64>) {
        self.receive(ToAgent::Kill {
            epoch: self.identity.epoch,
            framework: framework(),
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(incarnation),
            grace: grace_s.map(Duration::from_secs),
            reason: Reason::KillRequested,
        });
        self.persist();
    }

    fn acknowledge(&mut self, task: &str, incarnation: u64, number: u64) {
        self.receive(ToAgent::Acknowledge {
            epoch: self.identity.epoch,
            framework: framework(),
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(incarnation),
            number,
        });
        self.persist();
    }

    /// Launches and starts; answers its run.
    fn run(&mut self, incarnation: u64, spec: TaskSpec) -> RunId {
        self.launch(incarnation, spec);
        self.persist();
        let started = self.started();
        assert_eq!(started.len(), 1, "started {started:?}");
        self.step(Event::ContainerStarted {
            run: started[0],
            pid: 77,
        });
        self.persist();
        started[0]
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.done)
    }

    /// Fires all timers that are due after this much more time.
    fn pass(&mut self, wait: Duration) {
        let until = self.now.after(wait);
        while let Some((key, at)) = self
            .timers
            .iter()
            .filter(|(_, at)| at.mono_ns <= until.mono_ns)
            .min_by_key(|(_, at)| **at)
            .map(|(key, at)| (*key, *at))
        {
            self.timers.remove(&key);
            self.now = self.now.max(at);
            // The leader is heard from, so that time alone closes no link.
            let epoch = self.identity.epoch;
            self.receive(ToAgent::Heartbeat { epoch });
            self.step(Event::TimerFired(key));
            self.persist();
        }
        self.now = until;
    }

    /// The runs that were started, of what was done.
    fn started(&self) -> Vec<RunId> {
        let starts = self.done.iter().filter_map(|effect| match effect {
            Effect::StartContainer { run, .. } => Some(*run),
            _ => None,
        });
        starts.collect()
    }

    /// `number state reason` of the statuses that were sent, and the signals, of what was done since last asked.
    fn story(&mut self) -> Vec<String> {
        let done = self.take();
        let lines = done.iter().filter_map(|effect| match effect {
            Effect::Send {
                message: ToMaster::Updated { status, .. },
                ..
            } => {
                let health = status
                    .healthy
                    .map_or(String::new(), |h| format!(" healthy={h}"));
                Some(format!(
                    "{} {} {}{health}",
                    status.number, status.state, status.reason
                ))
            }
            Effect::SignalContainer { signal, .. } => Some(format!("signal {signal:?}")),
            Effect::StartContainer { .. } => Some("start".to_owned()),
            Effect::RunCheck { check, .. } => Some(format!("check {check}")),
            Effect::RemoveRun(_) => Some("remove".to_owned()),
            Effect::CloseLink(_) => Some("close".to_owned()),
            Effect::Record(Fact::Refused(problem)) => Some(problem.code.to_string()),
            Effect::Record(Fact::LaunchRepeated { .. }) => Some("repeated".to_owned()),
            Effect::Record(Fact::KillIgnored { .. }) => Some("kill ignored".to_owned()),
            _ => None,
        });
        lines.collect()
    }
}

#[test]
fn a_task_goes_from_launch_to_acknowledged_end_and_is_then_garbage() {
    let mut agent = Agent::registered();
    let run = agent.run(1, spec("t"));
    assert_eq!(
        agent.story(),
        ["1 starting none", "start", "2 running none"]
    );
    agent.step(Event::ContainerExited {
        run,
        ended: Exit::Code(3).into(),
    });
    agent.persist();
    assert_eq!(agent.story(), ["3 failed exited"]);
    agent.acknowledge("t", 1, 3);
    agent.pass(Duration::from_secs(3590));
    assert!(!agent.story().contains(&"remove".to_owned()));
    agent.pass(Duration::from_secs(20));
    assert_eq!(agent.story(), ["remove"]);
    agent.launch(1, spec("t"));
    assert_eq!(
        agent.story(),
        ["repeated"],
        "it is remembered when its directory is gone"
    );
}

#[test]
fn a_task_that_wants_too_much_memory_or_has_a_bad_image_fails_for_that_reason() {
    let ended = |exit, is_out_of_memory| Ended {
        exit,
        is_out_of_memory,
    };
    for (ended, story, message) in [
        (
            ended(Exit::Signal(9), true),
            "3 failed out_of_memory",
            "killed: used more than its 64 MB",
        ),
        (
            ended(Exit::Code(137), true),
            "3 failed out_of_memory",
            "exited with code 137 after one of its processes was killed: it used more than its 64 MB",
        ),
        (
            ended(Exit::Signal(9), false),
            "3 failed exited",
            "ended by signal 9",
        ),
        // It has done without what was killed.
        (
            ended(Exit::Code(0), true),
            "3 finished exited",
            "exited with code 0",
        ),
    ] {
        let mut agent = Agent::registered();
        let run = agent.run(1, spec("t"));
        agent.step(Event::ContainerExited { run, ended });
        agent.persist();
        assert_eq!(agent.story().last().map(String::as_str), Some(story));
        assert_eq!(agent.runs[&run].statuses.last().unwrap().message, message);
    }
    for (reason, story) in [
        (Reason::ImageFailed, "2 failed image_failed"),
        (Reason::LaunchFailed, "2 failed launch_failed"),
    ] {
        let mut agent = Agent::registered();
        agent.launch(1, spec("t"));
        agent.persist();
        let run = *agent.runs.keys().next().unwrap();
        agent.step(Event::ContainerFailed {
            run,
            reason,
            message: "because".to_owned(),
        });
        agent.persist();
        assert_eq!(agent.story().last().map(String::as_str), Some(story));
    }
}

#[test]
fn nothing_is_started_or_said_before_it_is_durable() {
    let mut agent = Agent::registered();
    agent.launch(1, spec("t"));
    let unwritten = agent.writing.back().unwrap().0;
    for effect in agent.take() {
        match effect {
            Effect::Send { after, .. } => assert_eq!(after, After::Seq(unwritten)),
            Effect::StartContainer { .. } => panic!("started before its checkpoint is durable"),
            _ => {}
        }
    }
    agent.persist();
    assert_eq!(agent.story(), ["start"]);
}

#[test]
fn a_repeated_or_older_launch_starts_nothing() {
    let mut agent = Agent::registered();
    agent.run(5, spec("t"));
    agent.story();
    agent.launch(5, spec("t"));
    agent.launch(4, spec("t"));
    agent.persist();
    assert_eq!(agent.story(), ["repeated", "repeated"]);
    agent.launch(6, spec("t"));
    agent.persist();
    assert_eq!(
        agent.story(),
        ["1 error launch_failed"],
        "the older one still runs"
    );
}

#[test]
fn a_launch_that_does_not_fit_is_an_error_that_is_kept() {
    let mut agent = Agent::registered();
    let big = TaskSpec {
        resources: "cpus:5".parse().unwrap(),
        ..spec("big")
    };
    agent.launch(1, big);
    agent.persist();
    assert_eq!(agent.story(), ["1 error launch_failed"]);
    agent.recover("boot-1");
    agent.connect(1);
    assert_eq!(
        agent.story(),
        ["1 error launch_failed"],
        "sent again by the next life"
    );
}

#[test]
fn a_kill_before_the_start_starts_nothing() {
    let mut agent = Agent::registered();
    agent.launch(1, spec("t"));
    agent.kill("t", 1, None);
    assert_eq!(
        agent.story(),
        ["1 starting none", "2 killed kill_requested"]
    );
}

#[test]
fn a_kill_while_starting_signals_once_it_has_started() {
    let mut agent = Agent::registered();
    agent.launch(1, spec("t"));
    agent.persist();
    let run = agent.started()[0];
    agent.kill("t", 1, None);
    assert_eq!(
        agent.story(),
        ["1 starting none", "start", "2 killing kill_requested"]
    );
    agent.step(Event::ContainerStarted { run, pid: 7 });
    assert_eq!(agent.story(), ["signal Terminate"]);
    agent.step(Event::ContainerExited {
        run,
        ended: Exit::Signal(15).into(),
    });
    assert_eq!(agent.story(), ["3 killed kill_requested"]);
}

#[test]
fn sigkill_follows_the_grace_and_is_repeated_until_it_is_gone() {
    let mut agent = Agent::registered();
    let run = agent.run(1, spec("t"));
    agent.acknowledge("t", 1, 2);
    agent.story();
    agent.kill("t", 1, None);
    assert_eq!(
        agent.story(),
        ["3 killing kill_requested", "signal Terminate"]
    );
    agent.acknowledge("t", 1, 3);
    agent.pass(Duration::from_millis(2_999));
    assert!(agent.story().is_empty());
    agent.pass(Duration::from_millis(1));
    assert_eq!(agent.story(), ["signal Kill"]);
    agent.pass(Duration::from_secs(10));
    assert_eq!(agent.story(), ["signal Kill"]);
    agent.step(Event::ContainerExited {
        run,
        ended: Exit::Signal(9).into(),
    });
    assert_eq!(agent.story(), ["4 killed kill_requested"]);
    agent.pass(Duration::from_secs(9));
    assert!(agent.story().is_empty());
}

#[test]
fn a_second_kill_can_only_shorten_the_grace() {
    let mut agent = Agent::registered();
    agent.run(1, spec("t"));
    agent.acknowledge("t", 1, 2);
    agent.kill("t", 1, Some(60));
    agent.acknowledge("t", 1, 3);
    agent.story();
    agent.kill("t", 1, Some(1));
    agent.kill("t", 1, Some(100));
    agent.pass(Duration::from_secs(1));
    assert_eq!(agent.story(), ["signal Kill"]);
}

#[test]
fn a_kill_of_what_is_not_known_changes_nothing() {
    let mut agent = Agent::registered();
    agent.run(5, spec("t"));
    agent.story();
    agent.kill("t", 4, None);
    agent.kill("t", 6, None);
    agent.kill("u", 5, None);
    assert_eq!(
        agent.story(),
        ["kill ignored", "kill ignored", "kill ignored"]
    );
}

#[test]
fn a_process_that_ends_before_it_was_seen_has_run() {
    for (exit, end) in [
        (Exit::Code(0), "3 finished exited"),
        (Exit::Code(1), "3 failed exited"),
        (Exit::Signal(9), "3 failed exited"),
    ] {
        let mut agent = Agent::registered();
        agent.launch(1, checked_spec("t"));
        agent.persist();
        let run = agent.started()[0];
        agent.story();
        let ended = exit.into();
        agent.step(Event::ContainerExited { run, ended });
        assert_eq!(agent.story(), ["2 running none", end]);
        let timers: Vec<_> = agent.timers.keys().copied().collect();
        let expected = [TimerKey::Heartbeat, TimerKey::Resend(run)];
        assert_eq!(timers, expected, "no check and no end is waited for");
    }
}

#[test]
fn statuses_are_sent_again_until_they_are_acknowledged() {
    let mut agent = Agent::registered();
    agent.run(1, spec("t"));
    agent.story();
    agent.pass(RESEND_DELAY_MIN * 2);
    assert_eq!(agent.story(), ["1 starting none", "2 running none"]);
    agent.acknowledge("t", 1, 1);
    agent.pass(RESEND_DELAY_MIN * 2);
    assert_eq!(agent.story(), ["2 running none"]);
    agent.acknowledge("t", 1, 2);
    agent.pass(Duration::from_secs(3600));
    assert!(agent.story().is_empty());
}

#[test]
fn an_older_term_and_another_cluster_are_not_obeyed() {
    let mut agent = Agent::registered();
    agent.connect(5);
    agent.run(1, spec("t"));
    agent.story();
    agent.connect(4);
    assert_eq!(
        agent.story(),
        ["close", "epoch.stale", "close"],
        "the old link, then the new"
    );
    agent.connect(5);
    agent.story();
    agent.receive(ToAgent::Kill {
        epoch: Epoch(4),
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        grace: None,
        reason: Reason::KillRequested,
    });
    assert_eq!(agent.story(), ["epoch.stale", "close"]);
    agent.links += 1;
    agent.step(Event::LinkOpened(LinkId(agent.links)));
    agent.story();
    agent.receive(ToAgent::Welcome {
        agent: AgentId::new("a").unwrap(),
        cluster: ClusterId::new("other").unwrap(),
        epoch: Epoch(9),
        generation: Generation(1),
        heartbeat_interval: Duration::from_secs(1),
    });
    assert_eq!(agent.story(), ["agent.cluster_changed", "close"]);
    assert_eq!(agent.runs.len(), 1, "its tasks run on");
}

#[test]
fn a_greater_term_is_durable_before_what_it_commands() {
    let mut agent = Agent::registered();
    agent.links += 1;
    agent.step(Event::LinkOpened(LinkId(agent.links)));
    agent.receive(ToAgent::Welcome {
        agent: AgentId::new("a").unwrap(),
        cluster: ClusterId::new("c").unwrap(),
        epoch: Epoch(9),
        generation: Generation(1),
        heartbeat_interval: Duration::from_secs(1),
    });
    agent.receive(ToAgent::Launch {
        epoch: Epoch(9),
        framework: framework(),
        incarnation: Incarnation(1),
        spec: Box::new(spec("t")),
        payer: None,
    });
    let (term, change) = &agent.writing[1];
    assert!(matches!(change, Change::Identity(_)));
    assert!(matches!(agent.writing[2].1, Change::Run { .. }));
    // What tells the master that no other is obeyed any more.
    let answer = agent.done.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Heartbeat,
            after,
            ..
        } => Some(*after),
        _ => None,
    });
    assert_eq!(answer, Some(After::Seq(*term)));
    // The link that was opened, then the term.
    agent.write(2);
    assert_eq!(agent.identity.epoch, Epoch(9));
    assert!(agent.started().is_empty());
}

#[test]
fn the_first_heartbeat_is_due_at_a_time_of_the_agents_own() {
    let agent = Agent::registered();
    let due = agent.timers[&TimerKey::Heartbeat];
    // Later ones come an interval of a second after it.
    assert!(due > agent.now && due < agent.now.after(Duration::from_secs(1)));
}

#[test]
fn a_silent_leader_is_left() {
    let mut agent = Agent::registered();
    agent.now = agent.now.after(Duration::from_secs(11));
    agent.step(Event::TimerFired(TimerKey::Heartbeat));
    assert_eq!(agent.story(), ["close"]);
}

#[test]
fn who_pays_is_told_to_the_next_leader_after_a_crash() {
    let mut agent = Agent::registered();
    agent.launch(1, spec("t"));
    agent.persist();
    agent.recover("boot");
    agent.links += 1;
    agent.step(Event::LinkOpened(LinkId(agent.links)));
    let hello = agent.done.iter().find_map(|effect| match effect {
        Effect::Send {
            message: ToMaster::Hello(hello),
            ..
        } => Some(hello),
        _ => None,
    });
    assert_eq!(hello.unwrap().tasks[0].payer, Some(payer()));
}
