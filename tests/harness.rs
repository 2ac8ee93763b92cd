//! A cluster of real processes on loopback for one test: own directory, own ports, own token; everything that it started is
//! gone when it is dropped. Waits for conditions, never for time.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Time for anything that should take a second or two, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The programs of one test.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    /// First of a block of 200 ports: 0 master API, 1 cluster, 2 services, 3 discovery, 4… further masters, 10… agents,
    /// 20… ZooKeeper, 50… services' ports, 100… host ports.
    base: u16,
    /// How many masters there are to be found.
    masters: u16,
    processes: BTreeMap<String, Child>,
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("proffer-test-")
            .tempdir()
            .expect("a temporary directory");
        Self {
            dir,
            base: free_block(),
            masters: 1,
            processes: BTreeMap::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The port at this place in the block.
    pub(crate) fn port(&self, place: u16) -> u16 {
        self.base + place
    }

    pub(crate) fn address(&self, place: u16) -> String {
        format!("127.0.0.1:{}", self.port(place))
    }

    /// A cluster of several masters, of which [`Self::start_master_of`] starts each.
    pub(crate) fn with_masters(masters: u16) -> Self {
        let mut cluster = Self::new();
        cluster.masters = masters;
        cluster
    }

    /// Where a master's API is, and one further its cluster listener.
    pub(crate) fn master_place(&self, number: u16) -> u16 {
        if number == 0 { 0 } else { 2 + number * 2 }
    }

    /// The addresses of all masters as a list: of their APIs (0), or for agents (1).
    pub(crate) fn masters(&self, side: u16) -> String {
        let place = |number| self.address(self.master_place(number) + side);
        let all: Vec<String> = (0..self.masters).map(place).collect();
        all.join(",")
    }

    /// The program with this cluster's token and addresses in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proffer"));
        command
            .args(arguments)
            .env("PROFFER_TOKEN_FILE", self.path("token"))
            .env("PROFFER_MASTER", self.masters(0))
            .env("PROFFER_SERVICES", format!("http://{}", self.address(2)))
            .env("XDG_STATE_HOME", self.path("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> std::process::Output {
        self.command(arguments).output().expect("the program runs")
    }

    /// Starts a role or `dev` in the background; its output goes to `<name>.log`.
    pub(crate) fn start(&mut self, name: &str, arguments: &[&str]) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .expect("a log");
        let child = self
            .command(arguments)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        assert!(
            self.processes.insert(name.to_owned(), child).is_none(),
            "{name} runs already"
        );
    }

    pub(crate) fn start_master(&mut self) {
        let (listen, cluster) = (self.address(0), self.address(1));
        let store = format!("file:{}", self.path("store").display());
        let fast = ["--suspect-after", "1500ms", "--unreachable-after", "2s"];
        let fixed = [
            "master",
            "--listen",
            &listen,
            "--cluster-listen",
            &cluster,
            "--store",
            &store,
        ];
        self.start("master", &[&fixed[..], &fast[..]].concat());
    }

    /// Starts one of several masters, as `master-<number>`.
    pub(crate) fn start_master_of(&mut self, number: u16, store: &str) {
        let place = self.master_place(number);
        let (listen, cluster) = (self.address(place), self.address(place + 1));
        let fixed = [
            "master",
            "--listen",
            &listen,
            "--cluster-listen",
            &cluster,
            "--store",
            store,
        ];
        let fast = ["--suspect-after", "1500ms", "--unreachable-after", "20s"];
        let name = format!("master-{number}");
        self.start(&name, &[&fixed[..], &fast[..]].concat());
    }

    /// Starts an agent; it reaches the master's cluster port at `master`.
    pub(crate) fn start_agent(&mut self, name: &str, number: u16, master: &str) {
        let listen = self.address(10 + number);
        let first = self.port(100 + number * 20);
        let resources = format!("cpus:4;mem:4096;ports:[{first}-{}]", first + 19);
        let attributes = format!("rack:{name}");
        let work_dir = self.path(name).display().to_string();
        self.start(
            name,
            &[
                "agent",
                "--master",
                master,
                "--listen",
                &listen,
                "--resources",
                &resources,
                "--attributes",
                &attributes,
                "--work-dir",
                &work_dir,
            ],
        );
    }

    pub(crate) fn start_services(&mut self) {
        let (master, listen) = (self.masters(0), self.address(2));
        let work_dir = self.path("services").display().to_string();
        self.start(
            "services",
            &[
                "services",
                "--master",
                &master,
                "--listen",
                &listen,
                "--work-dir",
                &work_dir,
            ],
        );
    }

    pub(crate) fn start_discovery(&mut self) {
        let (services, listen) = (format!("http://{}", self.address(2)), self.address(3));
        let work_dir = self.path("discovery").display().to_string();
        let fixed = [
            "discovery",
            "--services",
            &services,
            "--listen",
            &listen,
            "--work-dir",
            &work_dir,
        ];
        self.start("discovery", &[&fixed[..], &["--run-haproxy"]].concat());
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self, name: &str) {
        let mut child = self.processes.remove(name).expect("it was started");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    /// Sends a signal to what was started under that name.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let id = i32::try_from(self.processes[name].id()).expect("a pid");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// The process that was started under that name.
    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.processes[name].id()
    }

    /// Waits for what was started under that name to end by itself.
    pub(crate) fn wait(&mut self, name: &str) -> std::process::ExitStatus {
        let mut child = self.processes.remove(name).expect("it was started");
        eventually(&format!("{name} ends"), || {
            child.try_wait().expect("it can be waited for")
        })
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    fn token(&self) -> String {
        fs::read_to_string(self.path("token"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// A call of the services' REST API with the token.
    pub(crate) fn rest(&self, method: &str, path: &str, body: &str) -> Option<Answer> {
        let authorization = format!("authorization: Bearer {}", self.token());
        http(
            self.port(2),
            method,
            path,
            &[&authorization, "content-type: application/json"],
            body,
        )
    }

    /// Waits until the services answer, then deploys.
    pub(crate) fn deploy(&self, app: &Value) {
        let answer = eventually("the app is taken", || {
            self.rest("POST", "/v2/apps", &app.to_string())
                .filter(|answer| answer.status != 503)
        });
        assert_eq!(answer.status, 201, "{}", answer.body);
    }

    /// The app's tasks that run and are healthy, by id.
    pub(crate) fn healthy(&self, app: &str) -> BTreeSet<String> {
        let Some(answer) = self.rest("GET", &format!("/v2/apps{app}/tasks"), "") else {
            return BTreeSet::new();
        };
        if answer.status != 200 {
            return BTreeSet::new();
        }
        let tasks = answer.json()["tasks"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let is_healthy = |task: &Value| {
            let results = task["healthCheckResults"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            task["state"] == "TASK_RUNNING" && results.iter().any(|result| result["alive"] == true)
        };
        tasks
            .iter()
            .filter(|task| is_healthy(task))
            .filter_map(|task| Some(task["id"].as_str()?.to_owned()))
            .collect()
    }

    /// Waits until exactly so many are healthy and the app has no other task.
    pub(crate) fn await_healthy(&self, app: &str, count: usize) -> BTreeSet<String> {
        eventually(&format!("{app} has {count} healthy instances"), || {
            let answer = self
                .rest("GET", &format!("/v2/apps{app}/tasks"), "")
                .filter(|a| a.status == 200)?;
            let all = answer.json()["tasks"].as_array().map_or(0, Vec::len);
            Some(self.healthy(app)).filter(|healthy| healthy.len() == count && all == count)
        })
    }

    /// The processes of this cluster's tasks, by task id.
    pub(crate) fn task_pids(&self) -> BTreeMap<String, BTreeSet<i32>> {
        let mut pids: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for (pid, environment) in processes(self.dir.path()) {
            if let Some(task) = environment
                .split('\0')
                .find_map(|entry| entry.strip_prefix("PROFFER_TASK_ID="))
            {
                pids.entry(task.to_owned()).or_default().insert(pid);
            }
        }
        pids
    }

    /// Waits until the service port has answered from exactly these tasks, and from no other in the last round.
    pub(crate) fn await_routed(&self, port: u16, tasks: &BTreeSet<String>) {
        eventually(&format!("port {port} routes to {tasks:?}"), || {
            let mut seen = BTreeSet::new();
            for _ in 0..tasks.len() * 3 {
                let answer =
                    http(port, "GET", "/", &[], "").filter(|answer| answer.status == 200)?;
                seen.insert(
                    tasks
                        .iter()
                        .find(|task| answer.body.contains(task.as_str()))?
                        .clone(),
                );
            }
            (seen == *tasks).then_some(())
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.processes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for entry in fs::read_dir(self.dir.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                if entry
                    .path()
                    .extension()
                    .is_some_and(|ending| ending == "log")
                {
                    let log = fs::read_to_string(entry.path()).unwrap_or_default();
                    let tail: Vec<&str> = log.lines().rev().take(40).collect();
                    let tail: Vec<&str> = tail.into_iter().rev().collect();
                    eprintln!("--- {}\n{}", entry.path().display(), tail.join("\n"));
                }
            }
        }
        // Supervisors, tasks and HAProxy outlive what started them: that is the product. Here they end.
        for (pid, _) in processes(self.dir.path()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let entries = fs::read_dir(self.dir.path()).into_iter().flatten();
        for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
            remove_cgroups(&entry.path());
        }
    }
}

/// Removes the control groups of the agent with this work directory, which was killed and so has left them.
fn remove_cgroups(work_dir: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(metadata) = fs::metadata(work_dir) else {
        return;
    };
    let name = format!("proffer/{:x}-{:x}", metadata.dev(), metadata.ino());
    let inner = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths.filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let mut hierarchies = inner(Path::new("/sys/fs/cgroup"));
    hierarchies.push(PathBuf::from("/sys/fs/cgroup"));
    let begun = Instant::now();
    for dir in hierarchies.iter().map(|hierarchy| hierarchy.join(&name)) {
        // What was killed is in them until it has ended.
        while dir.exists() && begun.elapsed() < PATIENCE {
            for group in inner(&dir) {
                let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
                for pid in text.lines().flat_map(str::parse) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                let _ = fs::remove_dir(&group);
            }
            let _ = fs::remove_dir(&dir);
        }
    }
}

/// The processes whose command line or environment names that directory, and their environments.
fn processes(dir: &Path) -> Vec<(i32, String)> {
    let dir = dir.to_str().expect("a temporary path is text");
    let own = i32::try_from(std::process::id()).expect("a pid");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let read = |file: &str| {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (line, environment) = (read("cmdline"), read("environ"));
        if pid != own && (line.contains(dir) || environment.contains(dir)) {
            found.push((pid, environment));
        }
    }
    found
}

/// Asks again and again until there is an answer; fails when patience ends.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// One HTTP/1.1 request on a connection of its own; None when nobody answers.
pub(crate) fn http(
    port: u16,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Option<Answer> {
    let has_host = headers
        .iter()
        .any(|header| header.to_ascii_lowercase().starts_with("host:"));
    let host = if has_host {
        String::new()
    } else {
        format!("host: 127.0.0.1:{port}\r\n")
    };
    let lines: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {length}\r\n{lines}\r\n{body}"
    );
    let bytes = raw(port, request.as_bytes())?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

/// Sends bytes and reads until the other side closes or says nothing for a while.
pub(crate) fn raw(port: u16, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .ok()?;
    stream.write_all(bytes).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count) = stream.read(&mut part) {
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&part[..count]);
    }
    Some(answer)
}

/// The first port of a block of 200 that this test has to itself. Below the kernel's ephemeral ports.
pub(crate) fn free_block() -> u16 {
    const BLOCKS: u32 = 60;
    let start = std::process::id() % BLOCKS;
    for step in 0..BLOCKS {
        let block = u16::try_from((start + step * 7) % BLOCKS).expect("small");
        let base = 20_000 + block * 200;
        // Held for as long as the test lives: the lock is the bound last port of the block.
        let Ok(lock) = TcpListener::bind(("127.0.0.1", base + 199)) else {
            continue;
        };
        if (0..20).all(|port| TcpListener::bind(("127.0.0.1", base + port)).is_ok()) {
            std::mem::drop(std::thread::spawn(move || {
                let _held = lock;
                loop {
                    std::thread::park();
                }
            }));
            return base;
        }
    }
    panic!("no free block of ports");
}
