//! Groups of tasks with a real master, real agents and real processes: all of a group starts or nothing of it, and it ends
//! together, whatever is killed meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proffer_sdk::model::{
    Command, DemandEntry, DemandId, LaunchResult, Offer, Operation, Problem, Reason, Role, Secret,
    Status, TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::session::Event;
use proffer_sdk::{ConnectOptions, Events, Framework, Handle};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::harness::{Cluster, PATIENCE, eventually};

const NEEDS: &str = "cpus:0.1;mem:32";
const LASTS: &str = "exec sleep 1000";

fn shell(id: &str, line: &str) -> TaskSpec {
    let command = Command::Shell(line.to_owned());
    let resources = NEEDS.parse().expect("resources");
    TaskSpec::new(TaskId::new(id).expect("an id"), command, resources)
}

/// A framework in the test itself.
struct Author {
    runtime: Runtime,
    handle: Handle,
    events: Events,
    offers: Vec<Offer>,
    /// The newest of each task.
    told: BTreeMap<String, Status>,
}

impl Author {
    fn connect(cluster: &Cluster) -> Self {
        let role = Role::new("*").expect("a role");
        let mut options = ConnectOptions::new([cluster.masters(0)], "groups", [role]);
        let token = fs::read_to_string(cluster.path("token")).expect("a token");
        options.token = Some(Secret::new(token.trim()));
        let runtime = Runtime::new().expect("a runtime");
        let (handle, events) = {
            let _entered = runtime.enter();
            Framework::connect(options).expect("good options")
        };
        Self {
            runtime,
            handle,
            events,
            offers: Vec::new(),
            told: BTreeMap::new(),
        }
    }

    /// Hears what is said until this is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        while !is_so(self) {
            let hearing = async { timeout(PATIENCE, self.events.next()).await };
            let heard = self.runtime.block_on(hearing);
            let heard = heard.unwrap_or_else(|_| panic!("{what}: not after {:?}", self.told));
            let received = heard.expect("it goes on");
            match received.event {
                Event::Offered(offers) => self.offers.extend(offers),
                Event::Subscribed { .. } => self.offers.clear(),
                Event::Updated(status) => {
                    self.told.insert(status.task.to_string(), status);
                }
                _ => {}
            }
            self.handle.acknowledge(received.sequence);
        }
    }

    fn want(&self, count: u32) {
        let shape = "cpus:0.3;mem:96".parse().expect("resources");
        let entry = DemandEntry::new(DemandId::new("group").expect("an id"), count, shape);
        let entries = Vec::from_iter((count > 0).then_some(entry));
        let demanding = self
            .handle
            .set_demand(Role::new("*").expect("a role"), entries);
        self.runtime.block_on(demanding).expect("taken");
    }

    /// Launches them as a group in the next offer.
    fn launch(&mut self, tasks: Vec<TaskSpec>) -> Vec<LaunchResult> {
        self.until("subscribed", |author| author.handle.session().is_some());
        self.want(1);
        self.until("an offer", |author| !author.offers.is_empty());
        let offer = self.offers.remove(0).id;
        let group = vec![Operation::LaunchGroup(tasks)];
        let accepting = self.handle.accept(vec![offer], group);
        let results = self.runtime.block_on(accepting).expect("answered");
        self.want(0);
        results
            .iter()
            .flat_map(|result| result.launches().to_vec())
            .collect()
    }

    /// Launches them, and waits until all of them run.
    fn start(&mut self, tasks: Vec<TaskSpec>) {
        let ids: Vec<String> = tasks.iter().map(|task| task.id.to_string()).collect();
        for result in self.launch(tasks) {
            result.outcome.expect("launched");
        }
        self.until("all run", |author| {
            ids.iter()
                .all(|id| author.state(id) == Some(TaskState::Running))
        });
    }

    fn state(&self, id: &str) -> Option<TaskState> {
        self.told.get(id).map(|status| status.state)
    }

    /// How each of these has ended.
    fn ends<const N: usize>(&mut self, ids: [&str; N]) -> [(TaskState, Reason); N] {
        self.until("all have ended", |author| {
            let mut states = ids.iter().map(|id| author.state(id));
            states.all(|state| state.is_some_and(TaskState::is_terminal))
        });
        ids.map(|id| (self.told[id].state, self.told[id].reason))
    }
}

fn started(agents: &[&str]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let link = cluster.masters(1);
    for (number, agent) in (0..).zip(agents) {
        cluster.start_agent(agent, number, &link);
    }
    await_agents(&cluster, agents.len());
    cluster
}

fn await_agents(cluster: &Cluster, count: usize) {
    eventually("the agents are connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.matches("\"connected\"").count() == count).then_some(())
    });
}

fn await_no_process(cluster: &Cluster) {
    eventually("no process is left", || {
        cluster.task_pids().is_empty().then_some(())
    });
}

fn code_of(result: &LaunchResult) -> Option<String> {
    let problem: &Problem = result.outcome.as_ref().err()?;
    Some(problem.code.to_string())
}

const GROUP_ENDED: (TaskState, Reason) = (TaskState::Killed, Reason::GroupEnded);

#[test]
fn a_group_starts_whole_or_not_at_all() {
    let cluster = started(&["one"]);
    let mut author = Author::connect(&cluster);
    let ran = cluster.path("ran");
    let line = format!("echo $PROFFER_TASK_ID >> {}; {LASTS}", ran.display());
    // One that the offer has no room for: the master takes none.
    let mut large = shell("large", &line);
    large.resources = "cpus:100;mem:32".parse().expect("resources");
    let results = author.launch(vec![shell("small", &line), large]);
    assert_eq!(
        code_of(&results[0]),
        Some(code::TASK_GROUP_REFUSED.name.to_owned())
    );
    assert!(code_of(&results[1]).is_some_and(|it| it.as_str() != code::TASK_GROUP_REFUSED.name));
    // One that cannot be started on the agent: none runs on.
    let mut stranger = shell("stranger", &line);
    stranger.user = Some("no-such-user-here".to_owned());
    let results = author.launch(vec![shell("a", &line), stranger, shell("b", &line)]);
    assert!(
        results.iter().all(|result| result.outcome.is_ok()),
        "{results:?}"
    );
    for (state, reason) in author.ends(["a", "stranger", "b"]) {
        assert_ne!(state, TaskState::Finished, "{reason:?}");
    }
    await_no_process(&cluster);
    assert!(!author.told.contains_key("small") && !author.told.contains_key("large"));
    let ran = fs::read_to_string(ran).unwrap_or_default();
    assert!(!ran.contains("small") && !ran.contains("large"), "{ran}");
}

#[test]
fn a_group_ends_together_when_one_is_killed_or_fails_and_not_when_it_finishes() {
    let cluster = started(&["one"]);
    let mut author = Author::connect(&cluster);
    author.start(vec![shell("a", LASTS), shell("b", LASTS)]);
    let killing = author.handle.kill(TaskId::new("a").expect("an id"), None);
    author.runtime.block_on(killing).expect("done");
    let killed = (TaskState::Killed, Reason::KillRequested);
    assert_eq!(author.ends(["a", "b"]), [killed, GROUP_ENDED]);
    author.start(vec![shell("c", LASTS), shell("d", LASTS)]);
    for pid in &cluster.task_pids()["c"] {
        // A shell and what it runs: the one ends with the other.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    let [c, d] = author.ends(["c", "d"]);
    assert_eq!((c.0, d), (TaskState::Failed, GROUP_ENDED));
    // The first finishes while the others run, and they finish too.
    let gate = cluster.path("gate");
    let waits = format!("while ! [ -e {} ]; do sleep 0.05; done", gate.display());
    let tasks = vec![shell("e", "true"), shell("f", &waits), shell("g", &waits)];
    for result in author.launch(tasks) {
        result.outcome.expect("launched");
    }
    author.until("one has finished, and the others run", |author| {
        let states = ["e", "f", "g"].map(|id| author.state(id));
        let [e, rest @ ..] = states;
        e == Some(TaskState::Finished) && rest == [Some(TaskState::Running); 2]
    });
    fs::write(gate, "").expect("a file");
    for (state, _) in author.ends(["e", "f", "g"]) {
        assert_eq!(state, TaskState::Finished);
    }
    await_no_process(&cluster);
}

#[test]
fn a_group_outlives_kills_of_agent_and_master_and_ends_together_when_one_ended_meanwhile() {
    let mut cluster = started(&["one"]);
    let mut author = Author::connect(&cluster);
    let ids = ["a", "b", "c"];
    author.start(ids.map(|id| shell(id, LASTS)).to_vec());
    let before = cluster.task_pids();
    assert_eq!(
        before.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        BTreeSet::from(ids)
    );
    cluster.kill("one");
    cluster.kill("master");
    cluster.start_master();
    let link = cluster.masters(1);
    cluster.start_agent("one", 0, &link);
    await_agents(&cluster, 1);
    assert_eq!(
        cluster.task_pids(),
        before,
        "the same processes, and no other"
    );
    // It is one group still: what happens while no agent looks is seen by the next.
    cluster.kill("one");
    for pid in &before["b"] {
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    eventually("its process has gone", || {
        (!cluster.task_pids().contains_key("b")).then_some(())
    });
    let others: BTreeSet<String> = cluster.task_pids().into_keys().collect();
    assert_eq!(
        others,
        BTreeSet::from(["a", "c"].map(str::to_owned)),
        "nobody ends them yet"
    );
    cluster.start_agent("one", 0, &link);
    let [a, b, c] = author.ends(ids);
    assert_eq!((a, c), (GROUP_ENDED, GROUP_ENDED));
    assert_eq!(b.0, TaskState::Failed);
    await_no_process(&cluster);
}
