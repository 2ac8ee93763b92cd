//! Three masters on a ZooKeeper of three servers: whoever dies, stands still or is cut off, one master leads soon after, agents
//! and frameworks come back by themselves, and no task notices.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::roles::hello;
use crate::harness::{Cluster, eventually, http};
use crate::zookeeper::Ensemble;

/// Of the masters' sessions, as they have it unless told otherwise.
const SESSION_TIMEOUT: Duration = Duration::from_secs(4);
const MASTERS: u16 = 3;

/// A cluster of three masters, two agents and services with one app of four instances.
struct Stage {
    cluster: Cluster,
    ensemble: Ensemble,
    tasks: BTreeSet<String>,
    pids: BTreeMap<String, BTreeSet<i32>>,
}

impl Stage {
    fn set() -> Self {
        let mut cluster = Cluster::with_masters(MASTERS);
        let ensemble = Ensemble::start(3);
        for number in 0..MASTERS {
            cluster.start_master_of(number, &store_of(&ensemble));
        }
        let masters = cluster.masters(1);
        cluster.start_agent("agent-a", 0, &masters);
        // The other one finds the masters where they stand for election.
        cluster.start_agent("agent-b", 1, &ensemble.url("", "/proffer"));
        cluster.start_services();
        cluster.deploy(&hello("/web", 4, cluster.port(50)));
        let tasks = cluster.await_healthy("/web", 4);
        let pids = cluster.task_pids();
        assert_eq!(pids.keys().cloned().collect::<BTreeSet<_>>(), tasks);
        Self {
            cluster,
            ensemble,
            tasks,
            pids,
        }
    }

    /// What a master says of itself; nothing when it does not answer.
    fn health(&self, master: u16) -> Option<Value> {
        let port = self.cluster.port(self.cluster.master_place(master));
        let answer = http(port, "GET", "/health", &[], "")?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The master that leads in a term after this one, and its term.
    fn leader_after(&self, epoch: u64, except: Option<u16>) -> (u16, u64) {
        eventually(&format!("a master leads after term {epoch}"), || {
            let others = (0..MASTERS).filter(|master| Some(*master) != except);
            others
                .filter_map(|master| Some((master, leading_epoch(&self.health(master)?)?)))
                .find(|(_, found)| *found > epoch)
        })
    }

    /// Everything is as it was before, and can be changed: one instance more, and away again.
    fn assert_untouched(&mut self, what: &str) {
        assert_eq!(
            self.cluster.await_healthy("/web", 4),
            self.tasks,
            "after {what}"
        );
        assert_eq!(self.cluster.task_pids(), self.pids, "after {what}");
        self.await_connected(what);
    }

    fn await_connected(&self, what: &str) {
        eventually(
            &format!("agents and services are back after {what}"),
            || {
                let count = |verb: &str| {
                    let output = self.cluster.run(&[verb, "-o", "json"]);
                    let text = String::from_utf8_lossy(&output.stdout).into_owned();
                    let list: Value = serde_json::from_str(&text).ok()?;
                    let is_there = |row: &&Value| {
                        row["state"] == "connected" || row["connected"] == Value::Bool(true)
                    };
                    Some(list.as_array()?.iter().filter(is_there).count())
                };
                (count("agents")? == 2 && count("frameworks")? == 1).then_some(())
            },
        );
    }

    /// The app can be scaled through whoever leads now.
    fn scale(&mut self, instances: usize) -> BTreeSet<String> {
        let body = format!(r#"{{"instances": {instances}}}"#);
        eventually("services take changes", || {
            let answer = self.cluster.rest("PUT", "/v2/apps/web", &body)?;
            (answer.status == 200).then_some(())
        });
        self.cluster.await_healthy("/web", instances)
    }
}

fn leading_epoch(health: &Value) -> Option<u64> {
    (health["leading"] == true).then(|| health["epoch"].as_u64())?
}

/// What masters are told; agents and frameworks need no password.
fn store_of(ensemble: &Ensemble) -> String {
    ensemble.url("proffer:a-secret@", "/proffer")
}

fn name(master: u16) -> String {
    format!("master-{master}")
}

#[test]
fn twenty_leading_masters_are_killed_and_no_task_notices() {
    let mut stage = Stage::set();
    let (mut leader, mut epoch) = stage.leader_after(0, None);
    let mut outages = Vec::new();
    for round in 1..=20 {
        stage.cluster.kill(&name(leader));
        let killed = Instant::now();
        let (next, term) = stage.leader_after(epoch, Some(leader));
        outages.push(killed.elapsed());
        let store = store_of(&stage.ensemble);
        stage.cluster.start_master_of(leader, &store);
        (leader, epoch) = (next, term);
        stage.assert_untouched(&format!("kill {round}"));
    }
    outages.sort();
    let (median, worst) = (outages[10], outages[19]);
    println!("20 kills: a master leads again after {median:?} (median), {worst:?} (worst)");
    // The promise is the session timeout and 2 s; the rest is patience with a busy machine.
    assert!(
        median < SESSION_TIMEOUT + Duration::from_secs(4),
        "{outages:?}"
    );
    let grown = stage.scale(5);
    assert!(grown.is_superset(&stage.tasks));
}

#[test]
fn the_leading_server_of_zookeeper_is_killed_and_no_task_notices() {
    let mut stage = Stage::set();
    for round in 1..=3 {
        let server = eventually("ZooKeeper has a leader", || stage.ensemble.leader());
        stage.ensemble.kill(server);
        eventually("ZooKeeper has another leader", || {
            stage.ensemble.leader().filter(|next| *next != server)
        });
        stage.leader_after(0, None);
        stage.ensemble.launch(server);
        stage.assert_untouched(&format!("ZooKeeper's leader {round}"));
    }
    stage.scale(5);
}

#[test]
fn without_a_quorum_nobody_leads_for_a_minute_and_then_all_goes_on() {
    let mut stage = Stage::set();
    let (_, epoch) = stage.leader_after(0, None);
    stage.ensemble.kill(0);
    stage.ensemble.kill(1);
    eventually("no master leads", || {
        let leads = |master| leading_epoch(&stage.health(master)?);
        (0..MASTERS).all(|m| leads(m).is_none()).then_some(())
    });
    let begun = Instant::now();
    let without = Duration::from_secs(60);
    while begun.elapsed() < without {
        assert_eq!(stage.cluster.task_pids(), stage.pids, "tasks run on");
        let output = stage.cluster.run(&["agents"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "nobody leads");
        assert!(
            said.contains("no leader") || said.contains("lead"),
            "{said}"
        );
        for master in 0..MASTERS {
            assert_eq!(stage.health(master).and_then(|h| leading_epoch(&h)), None);
        }
        std::thread::park_timeout(Duration::from_secs(2));
    }
    stage.ensemble.launch(0);
    stage.ensemble.launch(1);
    stage.leader_after(epoch, None);
    stage.assert_untouched("a minute without a quorum");
    let grown = stage.scale(5);
    assert!(grown.is_superset(&stage.tasks));
}

#[test]
fn a_leading_master_that_stood_still_does_nothing_when_it_wakes() {
    let mut stage = Stage::set();
    let (leader, epoch) = stage.leader_after(0, None);
    stage.cluster.signal(&name(leader), Signal::SIGSTOP);
    let frozen = Instant::now();
    let (_, next) = stage.leader_after(epoch, Some(leader));
    // Under the new leader something changes that the old one does not know of.
    stage.scale(2);
    let few = stage.cluster.task_pids();
    while frozen.elapsed() < Duration::from_secs(20) {
        std::thread::park_timeout(Duration::from_millis(200));
    }
    stage.cluster.signal(&name(leader), Signal::SIGCONT);
    eventually("the woken master stands by", || {
        let health = stage.health(leader)?;
        (health["leading"] == false).then_some(())
    });
    let now: Vec<_> = (0..MASTERS)
        .filter_map(|m| leading_epoch(&stage.health(m)?))
        .collect();
    assert_eq!(now, [next], "one master leads, in the same term as before");
    assert_eq!(stage.cluster.task_pids(), few, "it has done nothing");
    let grown = stage.scale(4);
    assert!(grown.is_superset(&few.keys().cloned().collect()));
}
