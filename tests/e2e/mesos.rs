//! Frameworks on libraries that were written for Apache Mesos, unmodified, in the environment that `tests/run` prepares under
//! `target/mesos`: they subscribe, launch, hear, kill, reconcile, and go on under the next leader.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Cluster, eventually, http};
use crate::zookeeper::Ensemble;

/// Some of them see an event when the next has come, which may be a heartbeat.
const PATIENCE: Duration = Duration::from_secs(90);
const MASTERS: u16 = 3;

/// A framework that runs, and what it says.
struct Client {
    child: Child,
    words: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

fn root() -> PathBuf {
    let cli = Path::new(env!("CARGO_MANIFEST_DIR"));
    cli.parent().expect("cli has a parent").to_path_buf()
}

impl Client {
    fn start(cluster: &Cluster, script: &str, arguments: &[&str]) -> Self {
        let place = root().join("target/mesos");
        let python = place.join("bin/python");
        assert!(python.exists(), "prepare it with tests/run");
        let log = std::fs::File::create(cluster.path(&format!("{script}.log")));
        let mut child = std::process::Command::new(python)
            .arg(root().join("tests/mesos").join(script))
            .args(arguments)
            .env("PYTHONPATH", place.join("sources"))
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (say, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    return;
                }
            }
        });
        let words = child.stdin.take().expect("piped");
        Self {
            child,
            words,
            lines,
            heard: Vec::new(),
        }
    }

    fn say(&mut self, word: &str) {
        writeln!(self.words, "{word}").expect("it listens");
    }

    /// Waits for a line that begins so; the rest of it.
    fn hears(&mut self, beginning: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {beginning:?} after {:?}", self.heard));
            self.heard.push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Its two tasks have run, and one has ended.
    fn launches(&mut self) -> String {
        let framework = self.hears("registered ");
        let mut awaited = vec![
            "short TASK_RUNNING",
            "short TASK_FINISHED",
            "long TASK_RUNNING",
        ];
        while !awaited.is_empty() {
            let update = self.hears("update ");
            awaited.retain(|awaited| !update.starts_with(awaited));
        }
        framework
    }

    fn reconciles(&mut self) {
        self.say("reconcile");
        let mut awaited = vec![
            "long TASK_RUNNING REASON_RECONCILIATION",
            "nosuch TASK_LOST REASON_RECONCILIATION",
        ];
        while !awaited.is_empty() {
            let update = self.hears("update ");
            awaited.retain(|awaited| *awaited != update);
        }
    }

    fn kills(&mut self) {
        self.say("kill");
        while !self.hears("update ").starts_with("long TASK_KILLED") {}
    }

    fn stops(mut self, cluster: &Cluster) {
        self.say("stop");
        self.hears("stopped");
        assert!(self.child.wait().expect("it ends").success());
        eventually("the framework is over", || {
            let output = cluster.run(&["frameworks", "-o", "json"]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (text.trim() == "[]").then_some(())
        });
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token(cluster: &Cluster) -> String {
    let token = std::fs::read_to_string(cluster.path("token")).expect("a token");
    token.trim().to_owned()
}

fn with_one_agent() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let link = cluster.masters(1);
    cluster.start_agent("agent", 0, &link);
    has_an_agent(&cluster);
    cluster
}

/// An agent as an operator would have it, by which no task is root: what libraries say of users must not keep tasks from it.
fn start_agent_that_is_not_root(cluster: &mut Cluster) {
    let link = cluster.masters(1);
    if !nix::unistd::Uid::effective().is_root() {
        return cluster.start_agent("agent", 0, &link);
    }
    // Its directories are where nobody can reach them.
    let open = Permissions::from_mode(0o711);
    std::fs::set_permissions(cluster.path(""), open).expect("its own directory");
    let (listen, work_dir) = (cluster.address(10), cluster.path("agent"));
    let work_dir = work_dir.display().to_string();
    let arguments = [
        ["agent", "--master", &link, "--listen", &listen],
        [
            "--resources",
            "cpus:4;mem:4096",
            "--work-dir",
            &work_dir,
            "--task-user=nobody",
        ],
    ];
    cluster.start("agent", &arguments.concat());
}

fn has_an_agent(cluster: &Cluster) {
    eventually("the agent is there", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        String::from_utf8_lossy(&output.stdout)
            .contains("connected")
            .then_some(())
    });
}

fn lives_by_address(script: &str, arguments: &[&str]) {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent_that_is_not_root(&mut cluster);
    has_an_agent(&cluster);
    let token = token(&cluster);
    let mut address = cluster.address(0);
    if !arguments.is_empty() {
        address = format!("http://{address}");
    }
    let arguments = [arguments, &[&address, &token]].concat();
    let mut client = Client::start(&cluster, script, &arguments);
    client.launches();
    client.reconciles();
    client.kills();
    client.stops(&cluster);
}

#[test]
fn a_framework_on_pymesos_lives() {
    lives_by_address("pymesos_framework.py", &[]);
}

#[test]
fn a_framework_on_mesoshttp_lives() {
    lives_by_address("mesoshttp_framework.py", &["mesoshttp"]);
}

#[test]
fn a_framework_on_avmesos_lives() {
    lives_by_address("mesoshttp_framework.py", &["avmesos"]);
}

#[test]
fn an_executor_on_pymesos_runs_the_tasks_of_a_framework_on_pymesos() {
    let cluster = with_one_agent();
    let (address, token) = (cluster.address(0), token(&cluster));
    let (place, scripts) = (root().join("target/mesos"), root().join("tests/mesos"));
    let python = place.join("bin/python").display().to_string();
    let executor = scripts.join("pymesos_executor.py").display().to_string();
    let path = place.join("sources").display().to_string();
    let command = format!("exec {python} {executor}");
    let arguments = [&*address, &token, &command, &path];
    let mut client = Client::start(&cluster, "pymesos_with_executor.py", &arguments);
    client.hears("registered ");
    // `some data`, in base64.
    let mut awaited = vec![
        "short TASK_RUNNING c29tZSBkYXRh",
        "short TASK_FINISHED c29tZSBkYXRh",
        "long TASK_RUNNING c29tZSBkYXRh",
    ];
    while !awaited.is_empty() {
        let update = client.hears("update ");
        // Until its executor says something of it, nothing is said.
        assert!(!update.contains("TASK_STARTING"), "{update}");
        awaited.retain(|awaited| *awaited != update);
    }
    client.say("message");
    // `echo`.
    assert_eq!(client.hears("message "), "e ZWNobw==");
    client.kills();
    client.stops(&cluster);
}

#[test]
fn an_operator_on_pymesos_reads_of_an_agent_what_runs_there_and_prints() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let (link, agent) = (cluster.masters(1), cluster.address(10));
    let work_dir = cluster.path("agent").display().to_string();
    cluster.start(
        "agent",
        &[
            "agent",
            "--master",
            &link,
            "--listen",
            &agent,
            "--resources",
            "cpus:4;mem:4096",
            "--work-dir",
            &work_dir,
            "--insecure-allow-unauthenticated",
        ],
    );
    has_an_agent(&cluster);
    let (address, token) = (cluster.address(0), token(&cluster));
    let mut framework = Client::start(&cluster, "pymesos_framework.py", &[&address, &token]);
    framework.launches();
    let mut operator = Client::start(&cluster, "pymesos_agent.py", &[&agent]);
    assert_eq!(operator.hears("container "), "long True");
    assert_eq!(operator.hears("running "), "1.0 1.0");
    assert_eq!(operator.hears("files "), "stderr stdout");
    assert_eq!(operator.hears("read "), "6 llo");
    assert_eq!(operator.hears("version "), "1.11.0");
    framework.kills();
    framework.stops(&cluster);
}

/// Three masters on a ZooKeeper, where Mesos's clients look for them.
struct Stage {
    cluster: Cluster,
    /// Ends with the stage.
    ensemble: Ensemble,
}

impl Stage {
    fn set() -> Self {
        let mut cluster = Cluster::with_masters(MASTERS);
        let ensemble = Ensemble::start(1);
        let masters = cluster.masters(1);
        cluster.start_agent("agent", 0, &masters);
        let mut stage = Self { cluster, ensemble };
        for number in 0..MASTERS {
            stage.start_master(number);
        }
        stage.leader();
        has_an_agent(&stage.cluster);
        stage
    }

    fn start_master(&mut self, number: u16) {
        let store = self.ensemble.url("proffer:a-secret@", "/mesos");
        let (listen, place) = (self.address(number), self.cluster.master_place(number));
        let link = self.cluster.address(place + 1);
        let arguments = [
            "master",
            "--listen",
            &listen,
            "--cluster-listen",
            &link,
            "--store",
            &store,
            // A client that is sent to another address leaves its password behind.
            "--insecure-allow-unauthenticated",
        ];
        self.cluster.start(&format!("master-{number}"), &arguments);
    }

    fn address(&self, number: u16) -> String {
        self.cluster.address(self.cluster.master_place(number))
    }

    fn leader(&self) -> u16 {
        eventually("a master leads", || {
            (0..MASTERS).find(|number| {
                let port = self.cluster.port(self.cluster.master_place(*number));
                let answer = http(port, "GET", "/health", &[], "");
                answer.is_some_and(|answer| answer.json()["leading"] == true)
            })
        })
    }

    fn survives(self, script: &str, library: &[&str], again: &str) {
        let zookeeper = self.ensemble.url("", "/mesos");
        self.goes_on(script, &[library, &[&zookeeper, ""]].concat(), again, false);
    }

    /// The leader is killed, and started again or not.
    fn goes_on(mut self, script: &str, arguments: &[&str], again: &str, is_back: bool) {
        let mut client = Client::start(&self.cluster, script, arguments);
        let framework = client.launches();
        let leader = self.leader();
        self.cluster.kill(&format!("master-{leader}"));
        if is_back {
            self.start_master(leader);
        }
        assert_eq!(client.hears(again), framework, "it is the same framework");
        client.reconciles();
        client.kills();
        client.stops(&self.cluster);
    }
}

/// Each of its calls may go to the standby too, and is led on.
#[test]
fn frameworks_and_operators_that_ask_a_standby_are_led_to_the_leader() {
    let stage = Stage::set();
    let leader = stage.leader();
    let standby = (leader + 1) % MASTERS;
    let place = stage.cluster.master_place(standby);
    let address = stage.cluster.address(place);
    eventually("the standby knows who leads", || {
        let answer = http(stage.cluster.port(place), "GET", "/redirect", &[], "")?;
        (answer.status == 307).then_some(())
    });
    let mut operator = Client::start(&stage.cluster, "pymesos_operator.py", &[&address]);
    operator.hears("subscribed 1");
    let url = format!("http://{address}");
    for (script, arguments) in [
        ("pymesos_framework.py", vec![&*address, ""]),
        ("mesoshttp_framework.py", vec!["mesoshttp", &url, ""]),
        ("mesoshttp_framework.py", vec!["avmesos", &url, ""]),
    ] {
        let mut client = Client::start(&stage.cluster, script, &arguments);
        client.launches();
        client.reconciles();
        client.kills();
        client.stops(&stage.cluster);
    }
    operator.say("quota");
    operator.hears("quota web 1.5");
    operator.say("stop");
    operator.hears("stopped");
}

#[test]
fn a_framework_on_pymesos_finds_the_next_leader() {
    Stage::set().survives("pymesos_framework.py", &[], "reregistered ");
}

#[test]
fn a_framework_on_mesoshttp_finds_the_next_leader() {
    Stage::set().survives("mesoshttp_framework.py", &["mesoshttp"], "registered ");
}

#[test]
fn a_framework_on_avmesos_finds_the_next_leader() {
    Stage::set().survives("mesoshttp_framework.py", &["avmesos"], "registered ");
}

/// It knows the address of one master alone, and waits for that.
#[test]
fn a_framework_on_pymesos_that_knows_one_address_goes_on_when_that_answers_again() {
    let stage = Stage::set();
    let address = stage.address(stage.leader());
    let arguments = [&*address, ""];
    stage.goes_on("pymesos_framework.py", &arguments, "reregistered ", true);
}

fn survives_by_addresses(library: &str) {
    let stage = Stage::set();
    let addresses = (0..MASTERS).map(|number| format!("http://{}", stage.address(number)));
    let addresses = addresses.collect::<Vec<_>>().join(",");
    let arguments = [library, &addresses, ""];
    stage.goes_on("mesoshttp_framework.py", &arguments, "registered ", false);
}

#[test]
fn a_framework_on_mesoshttp_that_knows_all_addresses_finds_the_next_leader() {
    survives_by_addresses("mesoshttp");
}

#[test]
fn a_framework_on_avmesos_that_knows_all_addresses_finds_the_next_leader() {
    survives_by_addresses("avmesos");
}

#[test]
fn an_operator_on_pymesos_hears_what_changes_and_sets_a_quota() {
    let stage = Stage::set();
    let place = stage.cluster.master_place(stage.leader());
    let address = stage.cluster.address(place);
    let mut operator = Client::start(&stage.cluster, "pymesos_operator.py", &[&address]);
    operator.hears("subscribed 1");
    let mut framework = Client::start(&stage.cluster, "pymesos_framework.py", &[&address, ""]);
    framework.launches();
    operator.hears("framework-added on pymesos");
    operator.hears("task-added long TASK_STAGING");
    operator.hears("task-updated short TASK_FINISHED");
    operator.say("look");
    operator.hears("task long TASK_RUNNING");
    operator.hears("looked 1.11.0 True");
    operator.say("quota");
    operator.hears("quota web 1.5");
    let roles = stage.cluster.run(&["roles", "-o", "json"]);
    let roles = String::from_utf8_lossy(&roles.stdout).into_owned();
    let roles: serde_json::Value = serde_json::from_str(&roles).expect("JSON");
    let mut all = roles.as_array().expect("roles").iter();
    let web = all.find(|role| role["role"] == "web").expect("the role");
    assert!(web["quota"].to_string().contains("1.5"), "{web}");
    framework.kills();
    framework.stops(&stage.cluster);
    operator.hears("framework-removed on pymesos");
    operator.say("stop");
    operator.hears("stopped");
}
