//! The Python SDK and its example, in the environment that `tests/run` prepares under `target/python`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;

use crate::harness::{Cluster, eventually, http};
use crate::zookeeper::Ensemble;

/// Lines of the example that an author would have to write: neither blank, nor comment, nor its head.
const EXAMPLE_LINES_MAX: usize = 59;
/// One agent of the harness runs so many of the example's tasks at a time.
const TASKS_PER_AGENT: usize = 40;
/// What the example runs more than its agents can at a time, so that some always wait for an offer.
const TASKS_TOO_MANY: usize = 20;

fn root() -> PathBuf {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("cli has a parent").to_path_buf()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Python with the package in it, which must be the one that stands here.
fn python() -> PathBuf {
    const REMEDY: &str = "prepare it with tests/run";
    let python = root().join("target/python/bin/python");
    let output = Command::new(&python)
        .args(["-c", "import proffer; print(proffer.__path__[0])"])
        .current_dir(root().join("target"))
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; {REMEDY}", python.display()));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}; {REMEDY}");
    let installed = String::from_utf8(output.stdout).expect("a path is text");
    let source = root().join("frameworks/python/proffer");
    for entry in fs::read_dir(&source).expect("the package is there") {
        let name = entry.expect("it can be read").file_name();
        if Path::new(&name).extension().is_some_and(|end| end == "py") {
            let copy = Path::new(installed.trim()).join(&name);
            let is_same = text(&copy) == text(&source.join(&name));
            assert!(
                is_same,
                "{} is not what is installed; {REMEDY}",
                copy.display()
            );
        }
    }
    python
}

/// The example in a cluster: each task writes its id into a file and then waits until the gate is open.
struct Batch {
    cluster: Cluster,
    example: Child,
    /// Where the example looks for masters.
    masters: String,
    tasks: usize,
    /// Tasks end when this lock is released.
    gate: Option<File>,
    /// Every tenth task waits for this one too, so that the example cannot end before it is killed.
    last_gate: Option<File>,
}

impl Batch {
    fn start(agents: &[&str]) -> Self {
        let mut cluster = Cluster::new();
        cluster.start_master();
        let masters = cluster.masters(0);
        Self::start_in(cluster, masters, agents)
    }

    fn start_in(mut cluster: Cluster, masters: String, agents: &[&str]) -> Self {
        let link = cluster.masters(1);
        for (number, agent) in (0..).zip(agents) {
            cluster.start_agent(agent, number, &link);
        }
        let tasks = agents.len() * TASKS_PER_AGENT + TASKS_TOO_MANY;
        let gates = ["gate", "last-gate"].map(|name| {
            let gate = File::create(cluster.path(name)).expect("a file");
            gate.lock().expect("a lock");
            Some(gate)
        });
        let [gate, last_gate] = gates;
        let example = run_example(&cluster, &masters, tasks);
        Self {
            cluster,
            example,
            masters,
            tasks,
            gate,
            last_gate,
        }
    }

    /// The tasks that have run, in the order of their starts.
    fn ran(&self) -> Vec<String> {
        let text = fs::read_to_string(self.cluster.path("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn await_ran(&self, count: usize) {
        eventually(&format!("{count} tasks have started"), || {
            (self.ran().len() >= count).then_some(())
        });
    }

    /// The number of the master that leads.
    fn leader(&self) -> u16 {
        eventually("a master leads", || {
            (0..3).find(|number| {
                let port = self.cluster.port(self.cluster.master_place(*number));
                let health = http(port, "GET", "/health", &[], "");
                health
                    .is_some_and(|answer| answer.status == 200 && answer.json()["leading"] == true)
            })
        })
    }

    fn kill_example(&mut self) {
        self.example.kill().expect("it runs");
        self.example.wait().expect("it ends");
        self.example = run_example(&self.cluster, &self.masters, self.tasks);
    }

    fn kill_master(&mut self) {
        self.cluster.kill("master");
        self.cluster.start_master();
    }

    /// All tasks may end: the example ends by itself, each task has run once, nothing is left.
    fn assert_each_ran_once(&mut self) {
        let tasks = self.tasks;
        self.gate = None;
        self.last_gate = None;
        let status = eventually("the example ends", || {
            self.example.try_wait().expect("it can be waited for")
        });
        let said = text(&self.cluster.path("batch.log"));
        assert!(status.success(), "{said}");
        assert!(
            said.contains(&format!("{tasks} of {tasks} tasks finished")),
            "{said}"
        );
        let ran = self.ran();
        let distinct: BTreeSet<&String> = ran.iter().collect();
        assert_eq!(distinct.len(), tasks, "{ran:?}\n{said}");
        assert_eq!(ran.len(), tasks, "one ran twice: {ran:?}\n{said}");
        assert!(!self.cluster.path("id").exists(), "its id is spent");
        eventually("no task and no framework is left", || {
            let masters = self.cluster.masters(0);
            let frameworks = masters.split(',').find_map(|master| {
                let arguments = ["frameworks", "-o", "json", "--master", master];
                let output = self.cluster.run(&arguments);
                output.status.success().then_some(output.stdout)
            })?;
            let is_known = String::from_utf8_lossy(&frameworks).contains("\"batch\"");
            (!is_known && self.cluster.task_pids().is_empty()).then_some(())
        });
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let _ = self.example.kill();
        let _ = self.example.wait();
    }
}

fn run_example(cluster: &Cluster, masters: &str, tasks: usize) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(cluster.path("batch.log"))
        .expect("a log");
    let line = "echo $PROFFER_TASK_ID >> DIR/out; flock --shared DIR/gate true; \
        case $PROFFER_TASK_ID in *9) flock --shared DIR/last-gate true; esac";
    let line = line.replace("DIR", &cluster.path("").display().to_string());
    Command::new(python())
        .arg(root().join("frameworks/examples/batch.py"))
        .args(["--master", masters, "--command", &line])
        .args(["--tasks", &tasks.to_string(), "--id-file"])
        .arg(cluster.path("id"))
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("Python starts")
}

#[test]
fn the_python_example_runs_its_tasks_to_the_end() {
    let mut batch = Batch::start(&["one"]);
    batch.assert_each_ran_once();
    let said = text(&batch.cluster.path("batch.log"));
    assert_eq!(
        said.matches(" finished exited").count(),
        batch.tasks,
        "{said}"
    );
}

#[test]
fn the_python_example_survives_kills_of_the_master_and_starts_no_task_twice() {
    let mut batch = Batch::start(&["one"]);
    // While launches are under way, while all that fit run, while they end and others start.
    batch.await_ran(3);
    batch.kill_master();
    batch.await_ran(TASKS_PER_AGENT);
    batch.kill_master();
    batch.gate = None;
    batch.await_ran(TASKS_PER_AGENT + 5);
    batch.kill_master();
    batch.assert_each_ran_once();
}

#[test]
fn the_python_example_survives_kills_of_leading_masters_and_starts_no_task_twice() {
    let ensemble = Ensemble::start(3);
    let store = ensemble.url("", "/proffer");
    let cluster = three_masters(&store);
    let masters = cluster.masters(0);
    let mut batch = Batch::start_in(cluster, masters, &["one"]);
    let kill_leader = |batch: &mut Batch| {
        let leader = batch.leader();
        batch.cluster.kill(&format!("master-{leader}"));
        batch.cluster.start_master_of(leader, &store);
    };
    batch.await_ran(3);
    kill_leader(&mut batch);
    batch.await_ran(TASKS_PER_AGENT);
    kill_leader(&mut batch);
    batch.gate = None;
    batch.await_ran(TASKS_PER_AGENT + 5);
    kill_leader(&mut batch);
    batch.assert_each_ran_once();
}

#[test]
fn the_python_example_finds_leaders_in_zookeeper_also_when_one_stands_still() {
    let ensemble = Ensemble::start(1);
    let store = ensemble.url("", "/proffer");
    let cluster = three_masters(&store);
    let mut batch = Batch::start_in(cluster, store.clone(), &["one"]);
    batch.await_ran(3);
    let first = batch.leader();
    batch.cluster.kill(&format!("master-{first}"));
    batch.cluster.start_master_of(first, &store);
    batch.await_ran(TASKS_PER_AGENT);
    let second = batch.leader();
    let second = format!("master-{second}");
    batch.cluster.signal(&second, Signal::SIGSTOP);
    batch.gate = None;
    batch.await_ran(TASKS_PER_AGENT + 5);
    batch.cluster.signal(&second, Signal::SIGCONT);
    batch.kill_example();
    batch.assert_each_ran_once();
}

fn three_masters(store: &str) -> Cluster {
    let mut cluster = Cluster::with_masters(3);
    (0..3).for_each(|number| cluster.start_master_of(number, store));
    cluster
}

#[test]
fn the_python_example_goes_on_where_it_was_killed_and_starts_no_task_twice() {
    let mut batch = Batch::start(&["one"]);
    batch.await_ran(3);
    batch.kill_example();
    batch.await_ran(TASKS_PER_AGENT);
    batch.kill_example();
    batch.gate = None;
    batch.await_ran(TASKS_PER_AGENT + 5);
    batch.kill_example();
    batch.kill_master();
    batch.assert_each_ran_once();
}

#[test]
fn what_runs_on_an_agent_that_is_late_after_a_failover_is_not_started_elsewhere() {
    let mut batch = Batch::start(&["one", "two"]);
    batch.await_ran(2 * TASKS_PER_AGENT);
    batch.cluster.signal("one", Signal::SIGSTOP);
    batch.kill_master();
    // What the other one runs ends and makes room, also for what the late one runs.
    batch.gate = None;
    batch.await_ran(batch.tasks);
    batch.kill_example();
    eventually("the example goes on", || {
        let frameworks = batch.cluster.run(&["frameworks", "-o", "json"]);
        String::from_utf8_lossy(&frameworks.stdout)
            .contains("\"connected\": true")
            .then_some(())
    });
    batch.cluster.signal("one", Signal::SIGCONT);
    batch.assert_each_ran_once();
}

#[test]
fn a_command_that_always_fails_is_given_up_and_said() {
    let mut cluster = Cluster::new();
    let (api, link) = (cluster.address(0), cluster.address(1));
    cluster.start_master();
    cluster.start_agent("one", 0, &link);
    let output = Command::new(python())
        .arg(root().join("frameworks/examples/batch.py"))
        .args(["--master", &api, "--tasks", "2", "--command", "exit 3"])
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches(" failed exited").count(), 6, "{said}");
    assert!(said.contains("0 of 2 tasks finished"), "{said}");
}

#[test]
fn the_python_example_is_short() {
    let source = text(&root().join("frameworks/examples/batch.py"));
    let (_, code) = source
        .strip_prefix("\"\"\"")
        .and_then(|rest| rest.split_once("\"\"\""))
        .expect("it begins with what it is for");
    let is_own = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let count = code.lines().filter(is_own).count();
    assert!(count <= EXAMPLE_LINES_MAX, "{count} lines of its own");
}

#[test]
fn the_python_units_pass() {
    let output = Command::new(python())
        .args(["-m", "unittest", "discover", "--start-directory"])
        .arg(root().join("frameworks/python/tests"))
        .current_dir(root().join("target"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("Ran ") && !said.contains("Ran 0 tests"),
        "{said}"
    );
}

/// What mypy says of this, run with these arguments.
fn check_types(arguments: &[&std::ffi::OsStr]) {
    let output = Command::new(python())
        .args(["-m", "mypy", "--cache-dir"])
        .arg(root().join("target/python/types"))
        .arg("--config-file")
        .arg(root().join("frameworks/python/pyproject.toml"))
        .args(arguments)
        .current_dir(root().join("frameworks/examples"))
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("no issues found"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_types_of_the_python_sdk_are_as_it_says_and_fit_its_examples() {
    check_types(&["-p".as_ref(), "proffer".as_ref()]);
    let examples = std::fs::read_dir(root().join("frameworks/examples")).expect("examples");
    let names = examples.map(|entry| entry.expect("an entry").file_name());
    let names: Vec<_> = names
        .filter(|name| name.to_string_lossy().ends_with(".py"))
        .collect();
    assert!(!names.is_empty());
    let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
    check_types(&names);
}
