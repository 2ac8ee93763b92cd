//! Agents that an operator marks gone, on a real cluster: their tasks are over and replaced, they end what they run, and their
//! hosts join again as other agents.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use super::roles::hello;
use crate::harness::{Cluster, eventually};

fn ask(cluster: &Cluster, arguments: &[&str]) -> Option<Value> {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout)
        .ok()
        .filter(|_| output.status.success())
}

/// The ids of all agents and whether each is connected.
fn agents(cluster: &Cluster) -> Option<Vec<(String, bool)>> {
    let agents = ask(cluster, &["agents"])?;
    let agents = agents.as_array()?.iter();
    let agents = agents.filter_map(|agent| {
        let id = agent["id"].as_str()?.to_owned();
        Some((id, agent["state"] == "connected"))
    });
    Some(agents.collect())
}

/// The ids of the agents when so many are connected and no others are there.
fn connected(cluster: &Cluster, count: usize) -> BTreeSet<String> {
    eventually(&format!("{count} agents are connected"), || {
        let agents = agents(cluster)?;
        let is_so = agents.len() == count && agents.iter().all(|(_, connected)| *connected);
        is_so.then(|| agents.into_iter().map(|(id, _)| id).collect())
    })
}

#[test]
fn an_agent_that_is_marked_gone_ends_what_it_runs_and_its_host_joins_as_another() {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("first", 0, &master);
    cluster.start_services();
    let first = connected(&cluster, 1).first().expect("one").clone();
    cluster.deploy(&hello("/web", 2, cluster.port(50)));
    let old = cluster.await_healthy("/web", 2);
    cluster.start_agent("second", 1, &master);
    connected(&cluster, 2);

    // Nobody is asked where there is no terminal.
    let unasked = cluster.run(&["agent", "gone", &first]);
    assert_eq!(unasked.status.code(), Some(2), "{unasked:?}");
    let stranger = cluster.run(&["agent", "gone", "nobody-1", "--yes"]);
    assert_eq!(stranger.status.code(), Some(4), "{stranger:?}");
    let told = ask(&cluster, &["agent", "gone", &first, "--yes"]).expect("gone");
    assert_eq!(told["gone"], Value::Bool(true), "{told}");
    let new = eventually("both instances are replaced", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 2 && healthy.is_disjoint(&old)).then_some(healthy)
    });
    let only = connected(&cluster, 1);
    assert!(!only.contains(&first), "{only:?}");
    eventually("the agent has ended what it ran", || {
        let running: BTreeSet<String> = cluster.task_pids().into_keys().collect();
        (running == new).then_some(())
    });
    let log = eventually("the agent says why", || {
        Some(cluster.log("first")).filter(|log| log.contains("marked gone"))
    });
    assert!(
        log.contains("ERROR") && log.contains("work directory"),
        "{log}"
    );

    // Neither another leader nor another start lets it back; with an empty directory it is another agent.
    cluster.kill("master");
    cluster.start_master();
    cluster.kill("first");
    let before = cluster.log("first").len();
    cluster.start_agent("first", 0, &master);
    eventually("it is refused again", || {
        let log = cluster.log("first");
        let since = log.get(before..)?;
        since.contains("marked gone").then_some(())
    });
    assert_eq!(connected(&cluster, 1), only);
    cluster.kill("first");
    fs::remove_dir_all(cluster.path("first")).expect("removed");
    cluster.start_agent("first", 0, &master);
    assert!(!connected(&cluster, 2).contains(&first));
    assert_eq!(cluster.await_healthy("/web", 2), new);

    // One that cannot hear of it, and one that is to be empty first.
    cluster.kill("second");
    let second = only.first().expect("one").clone();
    let gone = cluster.run(&["agent", "gone", &second, "--yes"]);
    assert!(gone.status.success(), "{gone:?}");
    let rest = connected(&cluster, 1);
    let moved = eventually("its instances are elsewhere", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 2 && healthy.is_disjoint(&new)).then_some(healthy)
    });
    cluster.start_agent("third", 2, &master);
    connected(&cluster, 2);
    let last = rest.first().expect("one");
    let drained = cluster.run(&["agent", "drain", last, "--mark-gone", "--wait"]);
    assert!(drained.status.success(), "{drained:?}");
    assert!(!connected(&cluster, 1).contains(last));
    assert!(cluster.await_healthy("/web", 2).is_disjoint(&moved));
}
