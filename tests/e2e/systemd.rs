//! What systemd is given and told: units that it accepts without a word, and roles that tell it the truth.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::roles::hello;
use crate::harness::{Cluster, PATIENCE, eventually, http};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/systemd")
}

/// The units, with the program that was built in the place of the one that is installed.
fn units() -> Vec<(String, String)> {
    let mut units: Vec<(String, String)> = fs::read_dir(folder())
        .expect("units")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "service"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy();
            let text = fs::read_to_string(&path).expect("text");
            let text = text.replace("/usr/bin/proffer", env!("CARGO_BIN_EXE_proffer"));
            (name.into_owned(), text)
        })
        .collect();
    units.sort();
    assert_eq!(units.len(), 5, "four roles and the token");
    units
}

fn analyze(arguments: &[&str], dir: &Path, names: &[&str]) -> (ExitStatus, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(names.iter().map(|name| dir.join(name)))
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output()
        .expect("systemd-analyze is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status, String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn systemd_accepts_every_unit_without_a_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let units = units();
    for (name, text) in &units {
        fs::write(dir.path().join(name), text).expect("written");
    }
    let names: Vec<&str> = units.iter().map(|(name, _)| name.as_str()).collect();
    let verify = ["verify", "--man=no"];
    let (status, said) = analyze(&verify, dir.path(), &names);
    assert!(status.success() && said.is_empty(), "{said}");
    // It would have said something.
    let agent = dir.path().join("proffer-agent.service");
    let text = fs::read_to_string(&agent).expect("text");
    fs::write(&agent, text.replace("KillMode=process", "KillMood=process")).expect("written");
    let (_, said) = analyze(&verify, dir.path(), &["proffer-agent.service"]);
    assert!(said.contains("KillMood"), "{said}");
}

#[test]
fn roles_without_root_are_exposed_to_little() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in units() {
        fs::write(dir.path().join(&name), text).expect("written");
        // Tenths of systemd's points: 0 for a perfect sandbox, 100 for none. The agent starts what others bring.
        let limit = match name.as_str() {
            "proffer-master.service" | "proffer-services.service" => "15",
            "proffer-discovery.service" => "20",
            _ => continue,
        };
        let threshold = format!("--threshold={limit}");
        let (status, said) = analyze(
            &["security", "--offline=yes", &threshold],
            dir.path(),
            &[&name],
        );
        assert!(status.success(), "{name}: {said}");
        let (status, _) = analyze(
            &["security", "--offline=yes", "--threshold=1"],
            dir.path(),
            &[&name],
        );
        assert!(!status.success(), "{name}: the threshold holds nothing");
    }
}

#[test]
fn what_the_operators_page_says_of_units_is_in_them() {
    let page = fs::read_to_string(folder().join("../../docs/operate.md")).expect("the page");
    let text: String = units().into_iter().map(|(_, text)| text).collect();
    let is_setting = |quoted: &&str| {
        let key = quoted.split('=').next().unwrap_or_default();
        quoted.contains('=')
            && key.starts_with(|c: char| c.is_ascii_uppercase())
            && key.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let settings: Vec<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(is_setting)
        .collect();
    assert!(settings.len() > 5, "{settings:?}");
    for setting in settings {
        let is_there = text.lines().any(|line| match setting.strip_suffix('=') {
            Some(_) => line.starts_with(setting),
            None => line == setting,
        });
        assert!(is_there, "docs/operate.md: {setting} is in no unit");
    }
    for role in ["master", "agent", "services", "discovery"] {
        assert!(page.contains(&format!("proffer-{role}")), "{role}");
    }
}

/// A role that was started as systemd starts it.
struct Told {
    child: Child,
    heard: Receiver<String>,
}

impl Told {
    fn start(cluster: &Cluster, name: &str, arguments: &[&str]) -> Self {
        let path = cluster.path(&format!("{name}.notify"));
        let socket = UnixDatagram::bind(&path).expect("bound");
        let (told, heard) = channel();
        // Read at once, as systemd does: few messages fit into a socket.
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if told.send(text).is_err() {
                    break;
                }
            }
        });
        let log = fs::File::create(cluster.path(&format!("{name}.log"))).expect("a log");
        let child = cluster
            .command(arguments)
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        Self { child, heard }
    }

    fn hear(&self) -> String {
        self.heard
            .recv_timeout(PATIENCE)
            .expect("it says something")
    }

    /// Waits until it says this, after whatever else.
    fn hear_of(&self, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let heard = self.hear();
            if heard.contains(what) {
                return heard;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not say {what}");
        }
    }

    fn end(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        kill(pid, Signal::SIGTERM).expect("it runs");
        self.hear_of("STOPPING=1");
        let status = eventually("it ends", || self.child.try_wait().expect("a child"));
        assert!(status.success(), "{status}");
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes whose command line or environment names the directory, and their environments.
fn processes(dir: &Path) -> Vec<(i32, String)> {
    let dir = dir.to_str().expect("text");
    let read =
        |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let of = |file: &str| read(Path::new("/proc").join(pid.to_string()).join(file));
        let (line, environment) = (of("cmdline"), of("environ"));
        (line.contains(dir) || environment.contains(dir)).then_some((pid, environment))
    })
    .collect()
}

fn arguments(cluster: &Cluster, role: &str) -> Vec<String> {
    let [api, links, services, discovery, agent] = [0, 1, 2, 3, 10].map(|n| cluster.address(n));
    let store = format!("file:{}", cluster.path("store").display());
    let work_dir = cluster.path(role).display().to_string();
    let first = cluster.port(100);
    let resources = format!("cpus:4;mem:4096;ports:[{first}-{}]", first + 19);
    let source = format!("http://{services}");
    let words: Vec<&str> = match role {
        "master" => vec![
            "--listen",
            &api,
            "--cluster-listen",
            &links,
            "--store",
            &store,
        ],
        "agent" => vec![
            "--master",
            &links,
            "--listen",
            &agent,
            "--resources",
            &resources,
            "--work-dir",
            &work_dir,
        ],
        "services" => vec![
            "--master",
            &api,
            "--listen",
            &services,
            "--work-dir",
            &work_dir,
        ],
        _ => vec![
            "--services",
            &source,
            "--listen",
            &discovery,
            "--work-dir",
            &work_dir,
            "--run-haproxy",
        ],
    };
    let words = words.into_iter().map(str::to_owned);
    std::iter::once(role.to_owned()).chain(words).collect()
}

#[test]
fn roles_are_ready_when_they_serve_and_say_when_they_stop() {
    let cluster = Cluster::new();
    let mut roles = Vec::new();
    for (role, place, status) in [
        ("master", 0, "leads"),
        ("agent", 10, "registered as"),
        ("services", 2, "connected as"),
        ("discovery", 3, "routes 0 services"),
    ] {
        let words = arguments(&cluster, role);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let told = Told::start(&cluster, role, &words);
        let first = told.hear();
        assert!(first.starts_with("READY=1\nSTATUS="), "{role}: {first}");
        // At this very moment, not soon after.
        let answer = http(cluster.port(place), "GET", "/metrics", &[], "");
        assert_eq!(answer.map(|answer| answer.status), Some(200), "{role}");
        if !first.contains(status) {
            told.hear_of(status);
        }
        told.hear_of("WATCHDOG=1");
        roles.push((role, told));
    }

    cluster.deploy(&hello("/web", 1, cluster.port(50)));
    let tasks = cluster.await_healthy("/web", 1);
    cluster.await_routed(cluster.port(50), &tasks);
    // What they start is not the service manager's: tasks, supervisors, HAProxy.
    let own: Vec<i32> = roles
        .iter()
        .map(|(_, told)| i32::try_from(told.child.id()).expect("a pid"))
        .collect();
    let others = processes(&cluster.path(""));
    let others: Vec<_> = others
        .iter()
        .filter(|(pid, _)| !own.contains(pid))
        .collect();
    assert!(others.len() >= 4, "a task, its supervisor, HAProxy's two");
    for (pid, environment) in others {
        for variable in ["NOTIFY_SOCKET=", "WATCHDOG_USEC="] {
            assert!(!environment.contains(variable), "{pid} has {variable}");
        }
    }
    for (_, told) in roles.into_iter().rev() {
        told.end();
    }
}

#[test]
fn a_role_that_cannot_serve_is_never_ready() {
    let cluster = Cluster::new();
    for (role, place) in [
        ("master", 0),
        ("agent", 10),
        ("services", 2),
        ("discovery", 3),
    ] {
        let _taken = std::net::TcpListener::bind(cluster.address(place)).expect("free");
        let words = arguments(&cluster, role);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut told = Told::start(&cluster, role, &words);
        let status = eventually("it ends", || told.child.try_wait().expect("a child"));
        assert!(!status.success(), "{role}");
        let heard = told.heard.recv_timeout(Duration::from_millis(300));
        assert!(heard.is_err(), "{role}: {heard:?}");
    }
}
