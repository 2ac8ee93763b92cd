//! The machine against a master that the test plays: what it says first, what becomes of tasks, what it repeats.

use futures::{FutureExt as _, StreamExt as _};
use proffer_model::link::{Hello, ToAgent, ToMaster};
use proffer_model::{
    ClusterId, Command, Epoch, FrameworkId, Generation, Incarnation, Reason, TaskId, TaskState,
};
use proffer_proto::{decode_to_master, v1};
use prost::Message as _;

use super::*;
use crate::emulate::Fates;

const EPOCH: Epoch = Epoch(3);

struct Stage {
    machine: Machine,
    shared: Arc<Shared>,
    queue: Outgoing,
    link: LinkId,
    now: Time,
}

impl Stage {
    fn new(fates: Fates) -> Self {
        let shared = Arc::new(Shared::for_tests(fates));
        let now = Time {
            mono_ns: 1_000_000_000,
            wall_ms: 1_000,
        };
        let description = AgentDescription {
            host: "emulated-1-1".to_owned(),
            address: "process-1.emulated.invalid:1".to_owned(),
            resources: "cpus:4;mem:100".parse().unwrap(),
            attributes: "emulated:true".parse().unwrap(),
            domain: None,
            version: "0 (emulated)".to_owned(),
        };
        let agent = AgentId::new("emulated-1-1").unwrap();
        let mut machine = Machine::new(now, Arc::clone(&shared), agent, description);
        let queue = Outgoing::default();
        let link = machine.open(now, queue.clone());
        Self {
            machine,
            shared,
            queue,
            link,
            now,
        }
    }

    /// Everything that it has said since.
    fn said(&mut self) -> Vec<ToMaster> {
        let mut said = Vec::new();
        while let Some(Some(bytes)) = self.queue.next().now_or_never() {
            said.push(decode_to_master(v1::ToMaster::decode(bytes).unwrap()).unwrap());
        }
        said
    }

    fn hello(&mut self) -> Hello {
        match self.said().as_slice() {
            [ToMaster::Hello(hello)] => hello.clone(),
            other => panic!("not a hello: {other:?}"),
        }
    }

    /// The states of tasks that it has said since.
    fn states(&mut self) -> Vec<TaskState> {
        let said = self.said().into_iter();
        said.filter_map(|message| match message {
            ToMaster::Updated { status, .. } => Some(status.state),
            ToMaster::Hello(_)
            | ToMaster::Heartbeat
            | ToMaster::ExecutorChanged { .. }
            | ToMaster::Message { .. } => None,
        })
        .collect()
    }

    fn hear(&mut self, message: ToAgent) {
        let link = self.link;
        let event = Event::LinkMessage { link, message };
        self.machine.step(self.now, event);
    }

    fn welcome(&mut self) {
        self.hear(ToAgent::Welcome {
            agent: AgentId::new("emulated-1-1").unwrap(),
            cluster: ClusterId::new("c").unwrap(),
            epoch: EPOCH,
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(1),
        });
    }

    fn launch(&mut self, task: &str) {
        let resources = "cpus:1;mem:10".parse().unwrap();
        let command = Command::Shell("exit 7".to_owned());
        let message = v1_launch(
            task,
            TaskSpec::new(TaskId::new(task).unwrap(), command, resources),
        );
        self.hear(message);
    }

    fn acknowledge(&mut self, task: &str, number: u64) {
        self.hear(ToAgent::Acknowledge {
            epoch: EPOCH,
            framework: framework(),
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(1),
            number,
        });
    }

    fn later(&mut self, wait: Duration) {
        self.now = self.now.after(wait);
        self.machine.pass(self.now);
    }
}

fn framework() -> FrameworkId {
    FrameworkId::new("f").unwrap()
}

/// A launch as it comes over the wire, so that what the wire adds is as usual.
fn v1_launch(_task: &str, spec: TaskSpec) -> ToAgent {
    let message = v1::LaunchTask {
        framework_id: framework().to_string(),
        incarnation: 1,
        spec: Some(proffer_proto::encode_task_spec(&spec)),
        ..v1::LaunchTask::default()
    };
    let message = v1::ToAgent {
        epoch: EPOCH.0,
        message: Some(v1::to_agent::Message::Launch(message)),
    };
    proffer_proto::decode_to_agent(message).unwrap()
}

fn for_two_seconds(rate: &str) -> Fates {
    Fates {
        seed: 1,
        duration: Some("2s".parse().unwrap()),
        failure_rate: rate.parse().unwrap(),
    }
}

#[test]
fn a_task_starts_runs_and_finishes_when_its_time_is_over() {
    let mut stage = Stage::new(for_two_seconds("0"));
    let hello = stage.hello();
    assert_eq!(hello.agent.unwrap().as_str(), "emulated-1-1");
    assert!(hello.tasks.is_empty() && hello.cluster.is_none());
    stage.welcome();
    assert!(stage.machine.is_registered());
    stage.launch("t");
    assert_eq!(stage.states(), [TaskState::Starting, TaskState::Running]);
    stage.later(Duration::from_millis(1_999));
    assert_eq!(stage.states(), []);
    stage.later(Duration::from_millis(1));
    assert_eq!(stage.states(), [TaskState::Finished]);
    let counts = stage.shared.counts.read(1);
    assert_eq!((counts.tasks_started, counts.tasks_finished), (1, 1));
    stage.acknowledge("t", 3);
    let (link, queue) = (stage.link, Outgoing::default());
    stage.machine.close(stage.now, link);
    stage.queue = queue.clone();
    stage.link = stage.machine.open(stage.now, queue);
    assert!(stage.hello().tasks.is_empty(), "it is forgotten");
    assert!(stage.machine.fates.is_empty() && stage.machine.ends.is_empty());
}

#[test]
fn a_group_starts_whole_and_a_task_with_an_executor_fails_and_says_why() {
    let mut stage = Stage::new(for_two_seconds("0"));
    stage.hello();
    stage.welcome();
    let spec = |id: &str, command| {
        let resources = "cpus:1;mem:10".parse().unwrap();
        TaskSpec::new(TaskId::new(id).unwrap(), command, resources)
    };
    let shell = || Command::Shell("serve".to_owned());
    stage.hear(ToAgent::LaunchGroup {
        epoch: EPOCH,
        framework: framework(),
        payer: None,
        tasks: vec![
            (Incarnation(1), spec("one", shell())),
            (Incarnation(2), spec("two", shell())),
        ],
    });
    let counts = stage.shared.counts.read(1);
    assert_eq!(counts.tasks_started, 2);
    stage.later(Duration::from_secs(2));
    let finished = stage.states().into_iter();
    let finished = finished.filter(|state| *state == TaskState::Finished);
    assert_eq!(finished.count(), 2);
    let executor = proffer_model::ExecutorSpec {
        id: "e".parse().unwrap(),
        resources: "cpus:0.1;mem:10".parse().unwrap(),
        command: shell(),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(1),
        api: Default::default(),
        info: Default::default(),
        info_compared: None,
        fetch: Vec::new(),
    };
    let task = TaskSpec {
        executor: Some(Arc::new(executor)),
        ..spec("three", Command::Data(Vec::new()))
    };
    stage.hear(v1_launch("three", task));
    let said = stage.said().into_iter();
    let ended: Vec<_> = said
        .filter_map(|message| match message {
            ToMaster::Updated { status, .. } if status.state.is_terminal() => Some(status),
            _ => None,
        })
        .collect();
    let [status] = ended.as_slice() else {
        panic!("{ended:?}")
    };
    assert_eq!(status.state, TaskState::Failed);
    let why = "emulated agents run no executors";
    assert!(status.message.contains(why), "{}", status.message);
}

#[test]
fn a_task_whose_fate_it_is_fails_with_an_exit_code() {
    let mut stage = Stage::new(for_two_seconds("1"));
    stage.welcome();
    stage.launch("t");
    stage.later(Duration::from_secs(2));
    assert_eq!(stage.states().last(), Some(&TaskState::Failed));
    assert_eq!(stage.shared.counts.read(1).tasks_failed, 1);
}

#[test]
fn a_task_without_a_duration_runs_until_it_is_killed() {
    let mut stage = Stage::new(Fates::default());
    stage.welcome();
    stage.launch("t");
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.states(), [TaskState::Starting, TaskState::Running]);
    stage.hear(ToAgent::Kill {
        epoch: EPOCH,
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        grace: None,
        reason: Reason::KillRequested,
    });
    assert_eq!(stage.states(), [TaskState::Killing, TaskState::Killed]);
    assert_eq!(stage.shared.counts.read(1).tasks_killed, 1);
    stage.later(Duration::from_secs(60));
    assert_eq!(stage.shared.counts.read(1).tasks_killed, 1, "once");
}

#[test]
fn after_a_link_is_lost_it_says_what_runs_and_repeats_what_was_not_acknowledged() {
    let mut stage = Stage::new(for_two_seconds("0"));
    stage.welcome();
    stage.launch("runs");
    stage.acknowledge("runs", 2);
    stage.said();
    stage.machine.close(stage.now, stage.link);
    assert_eq!(*stage.shared.registered.borrow(), 0);
    stage.later(Duration::from_secs(2));
    let queue = Outgoing::default();
    stage.queue = queue.clone();
    stage.link = stage.machine.open(stage.now, queue);
    let hello = stage.hello();
    assert_eq!(hello.epoch, EPOCH);
    let [task] = hello.tasks.as_slice() else {
        panic!("{hello:?}");
    };
    assert_eq!(
        (task.status.state, task.acknowledged),
        (TaskState::Finished, 2)
    );
    stage.welcome();
    assert_eq!(stage.states(), [TaskState::Finished]);
    stage.later(Duration::from_secs(5));
    stage.hear(ToAgent::Heartbeat { epoch: EPOCH });
    stage.later(Duration::from_secs(8));
    assert_eq!(
        stage.states(),
        [TaskState::Finished],
        "until it is acknowledged"
    );
}

#[test]
fn a_master_that_is_silent_is_left_and_one_of_an_earlier_term_is_not_obeyed() {
    let mut stage = Stage::new(Fates::default());
    stage.welcome();
    for _ in 0..9 {
        stage.later(Duration::from_secs(1));
    }
    assert!(stage.machine.is_linked());
    assert!(stage.said().len() >= 9, "heartbeats");
    stage.later(Duration::from_secs(2));
    assert!(!stage.machine.is_linked() && !stage.machine.is_registered());
    let queue = Outgoing::default();
    stage.queue = queue.clone();
    stage.link = stage.machine.open(stage.now, queue);
    stage.hear(ToAgent::Heartbeat { epoch: Epoch(2) });
    assert!(!stage.machine.is_linked());
    assert!(stage.shared.trouble().is_some());
}
