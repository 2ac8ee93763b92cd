//! Backups: all that is durable is in one file, and a new store that is made of it has the same ids, state, quotas,
//! reservations and volumes; what runs goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::roles::hello;
use crate::harness::{Cluster, eventually};
use crate::zookeeper::Ensemble;

/// What a verb says, as JSON, when it succeeds.
fn ask(cluster: &Cluster, arguments: &[&str]) -> Option<Value> {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .ok()
        .filter(|_| output.status.success())
}

/// The same; it must succeed.
fn tell(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// That a verb fails with this exit code and problem code; gives what it says.
fn refused(output: &Output, exit: i32, code: &str) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.starts_with(&format!("error: {code}: ")), "{said}");
    said
}

fn start_agent(cluster: &mut Cluster, name: &str, number: u16) {
    let (master, listen) = (cluster.masters(1), cluster.address(10 + number));
    let first = cluster.port(100 + number * 20);
    let resources = format!("cpus:4;mem:4096;disk:1000;ports:[{first}-{}]", first + 19);
    let work_dir = cluster.path(name).display().to_string();
    let fixed = ["agent", "--master", &master, "--listen", &listen];
    let own = ["--resources", &resources, "--work-dir", &work_dir];
    cluster.start(name, &[&fixed[..], &own[..]].concat());
}

/// The ids of connected agents, when there are so many.
fn connected(cluster: &Cluster, count: usize) -> BTreeSet<String> {
    eventually("the agents are connected", || {
        let agents = ask(cluster, &["agents", "--state", "connected"])?;
        let ids = agents.as_array()?.iter();
        let ids: BTreeSet<String> = ids
            .filter_map(|agent| Some(agent["id"].as_str()?.to_owned()))
            .collect();
        (ids.len() == count).then_some(ids)
    })
}

/// The framework of the services, when it has a session.
fn services(cluster: &Cluster) -> String {
    eventually("services are there", || {
        let frameworks = ask(cluster, &["frameworks", "--connected", "true"])?;
        Some(frameworks.get(0)?["id"].as_str()?.to_owned())
    })
}

/// What operators have decided, as it is shown.
fn decided(cluster: &Cluster, agent: &str) -> BTreeMap<&'static str, Value> {
    let agent = tell(cluster, &["agent", "show", agent]);
    let role = tell(cluster, &["role", "show", "db"]);
    BTreeMap::from([
        ("special", agent["special"].clone()),
        ("quota", role["quota"].clone()),
        ("weight", role["weight"].clone()),
        ("reserved", role["reserved"].clone()),
    ])
}

/// One app on one agent, and a quota, a weight, a reservation and a volume.
fn furnish(cluster: &mut Cluster) -> (String, BTreeSet<String>) {
    start_agent(cluster, "agent-a", 0);
    cluster.start_services();
    let agent = connected(cluster, 1).first().expect("one").clone();
    tell(cluster, &["quota", "set", "db", "--limit", "cpus:3"]);
    tell(cluster, &["weight", "set", "db", "2.5"]);
    tell(cluster, &["reserve", &agent, "disk:100", "--role", "db"]);
    let create = [
        "volume", "create", &agent, "--role", "db", "--id", "notes", "--size", "64",
    ];
    tell(cluster, &create);
    cluster.deploy(&hello("/web", 2, cluster.port(50)));
    (agent, cluster.await_healthy("/web", 2))
}

#[test]
fn a_cluster_is_restored_into_a_new_zookeeper_and_no_task_notices() {
    let mut cluster = Cluster::with_masters(2);
    let ensemble = Ensemble::start(3);
    let old = ensemble.url("proffer:a-secret@", "/old");
    for number in 0..2 {
        cluster.start_master_of(number, &old);
    }
    let (agent, tasks) = furnish(&mut cluster);
    let (before, framework) = (decided(&cluster, &agent), services(&cluster));
    let file = cluster.path("cluster.backup").display().to_string();
    let made = tell(&cluster, &["backup", &file]);
    assert_eq!((&made["agents"], &made["quotas"]), (&json!(1), &json!(1)));
    assert!(made["state_keys"].as_u64() > Some(0), "{made}");

    // What comes after the backup is not in it: an agent, and a quota.
    start_agent(&mut cluster, "agent-b", 1);
    let agents = connected(&cluster, 2);
    tell(&cluster, &["quota", "set", "late", "--limit", "cpus:1"]);
    let pids = cluster.task_pids();
    for number in 0..2 {
        cluster.kill(&format!("master-{number}"));
    }

    let new = ensemble.url("proffer:a-secret@", "/new");
    // Masters that stand there already wait, or are the first; here they come when it is done.
    let restored = tell(&cluster, &["restore", &file, "--store", &new]);
    assert_eq!(restored["sha256"], made["sha256"]);
    let again = cluster.run(&["restore", &file, "--store", &new]);
    refused(&again, 5, "store.not_empty");
    let used = cluster.run(&["restore", &file, "--store", &old]);
    refused(&used, 5, "store.not_empty");
    for number in 0..2 {
        cluster.start_master_of(number, &new);
    }
    assert_eq!(connected(&cluster, 2), agents, "both agents, by their ids");
    assert_eq!(services(&cluster), framework);
    assert_eq!(cluster.await_healthy("/web", 2), tasks);
    assert_eq!(cluster.task_pids(), pids, "no task was started or ended");
    assert_eq!(decided(&cluster, &agent), before);
    let late = tell(&cluster, &["roles"]).to_string();
    assert!(!late.contains("\"late\""), "{late}");
    let master = tell(&cluster, &["masters"]);
    let masters = master.as_array().expect("masters");
    let leader = masters.iter().find(|it| it["state"] == "leading");
    let leader = leader.expect("one leads");
    assert_eq!(leader["cluster_id"], made["cluster_id"]);
    assert!(leader["epoch"].as_u64() >= restored["next_epoch"].as_u64());

    // And it is a cluster like any other.
    let scaled = cluster.run(&["app", "scale", "web", "3"]);
    assert!(scaled.status.success(), "{scaled:?}");
    assert!(cluster.await_healthy("/web", 3).is_superset(&tasks));
}

fn start_master(cluster: &mut Cluster, store: &str) {
    let (listen, links) = (cluster.address(0), cluster.address(1));
    let fixed = ["master", "--listen", &listen, "--cluster-listen", &links];
    let own = ["--store", store, "--suspect-after", "1500ms"];
    cluster.start("master", &[&fixed[..], &own[..]].concat());
}

#[test]
fn a_backup_is_written_whole_or_not_and_restored_from_a_pipe_into_a_directory() {
    let mut cluster = Cluster::new();
    let store = |cluster: &Cluster, name: &str| format!("file:{}", cluster.path(name).display());
    let old = store(&cluster, "store");
    start_master(&mut cluster, &old);
    let (agent, tasks) = furnish(&mut cluster);
    let (before, framework) = (decided(&cluster, &agent), services(&cluster));
    let file = cluster.path("a.backup");
    let name = file.display().to_string();
    let made = tell(&cluster, &["backup", &name]);
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "its owner's alone");
    refused(&cluster.run(&["backup", &name]), 5, "file.exists");
    tell(&cluster, &["backup", &name, "--force"]);
    let nowhere = cluster.path("none").join("a.backup").display().to_string();
    refused(&cluster.run(&["backup", &nowhere]), 1, "file.failed");
    let left = fs::read_dir(cluster.path("a.backup").parent().expect("a folder"));
    let left = left.expect("names").flatten();
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with(".a.backup"));
    assert_eq!(left.count(), 0, "nothing else is left");
    let piped = cluster.run(&["backup", "-"]);
    assert!(piped.status.success() && piped.stdout.starts_with(b"PROFFER BACKUP 1\n"));
    let shown = tell(&cluster, &["restore", &name, "--dry-run"]);
    assert_eq!(shown["cluster_id"], made["cluster_id"]);
    let text = cluster.run(&["restore", &name, "--dry-run"]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("1 agent, 1 framework, "), "{text}");

    let pids = cluster.task_pids();
    let running = cluster.run(&["restore", &name, "--store", &old]);
    refused(&running, 5, "store.not_empty");
    cluster.kill("master");
    let new = store(&cluster, "new");
    let mut restoring = cluster
        .command(&["restore", "-", "--store", &new])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = restoring.stdin.take().expect("a pipe");
    stdin.write_all(&piped.stdout).expect("taken");
    drop(stdin);
    let restored = restoring.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&restored.stdout).into_owned();
    assert!(
        restored.status.success() && text.contains("the next term is"),
        "{text}"
    );
    start_master(&mut cluster, &new);
    assert_eq!(connected(&cluster, 1), BTreeSet::from([agent.clone()]));
    assert_eq!(services(&cluster), framework);
    assert_eq!(cluster.await_healthy("/web", 2), tasks);
    assert_eq!(cluster.task_pids(), pids, "no task was started or ended");
    assert_eq!(decided(&cluster, &agent), before);
}

#[test]
fn what_is_no_backup_or_not_as_it_was_written_changes_nothing() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let file = cluster.path("a.backup");
    let name = file.display().to_string();
    eventually("the master leads", || ask(&cluster, &["backup", &name]));
    let whole = fs::read(&file).expect("a backup");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let newer = [b"PROFFER BACKUP 9\n".as_slice(), &whole[17..]].concat();
    let bad: [(&[u8], &str, &str); 5] = [
        (&whole[..whole.len() - 1], "backup.damaged", "cut short"),
        (&flipped, "backup.damaged", "checksum"),
        (&newer, "backup.newer", "format 9"),
        (b"{\"apps\": []}\n", "backup.damaged", "no backup"),
        (b"", "backup.damaged", "no backup"),
    ];
    let store = cluster.path("new");
    let url = format!("file:{}", store.display());
    for (bytes, code, word) in bad {
        fs::write(&file, bytes).expect("a file");
        for extra in [&["--dry-run"][..], &["--store", &url]] {
            let output = cluster.run(&[&["restore", &name][..], extra].concat());
            let said = refused(&output, 2, code);
            assert!(said.contains(word) && said.contains("\nhint: "), "{said}");
        }
        assert!(!store.exists(), "{code}: nothing is written");
    }
    let none = cluster.path("none").display().to_string();
    refused(
        &cluster.run(&["restore", &none, "--dry-run"]),
        1,
        "file.failed",
    );
    fs::write(&file, &whole).expect("a file");
    let usage = cluster.run(&["restore", &name]);
    assert_eq!(usage.status.code(), Some(2), "a store must be named");
    let memory = cluster.run(&["restore", &name, "--store", "memory"]);
    refused(&memory, 2, "config.invalid");
    let far = ["restore", &name, "--store", "zk://10.1.2.3:2181/p"];
    refused(&cluster.run(&far), 2, "config.invalid");
}
