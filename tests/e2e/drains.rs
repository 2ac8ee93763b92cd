//! Agents are emptied: services move what runs there without ever having fewer instances ready, over losses of the master
//! too, and only a deadline kills.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::roles::hello;
use crate::harness::{Cluster, eventually};

/// Two agents, and services.
fn started() -> Cluster {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("one", 0, &master);
    cluster.start_agent("two", 1, &master);
    cluster.start_services();
    cluster
}

fn ask(cluster: &Cluster, arguments: &[&str]) -> Option<Value> {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).ok()
}

/// Where the app's tasks are: on which agents, one for each that has not ended.
fn places(cluster: &Cluster, app: &str) -> Option<Vec<String>> {
    let tasks = ask(cluster, &["tasks", "--app", app])?;
    let tasks = tasks.as_array()?.iter();
    tasks
        .map(|task| Some(task["agent_id"].as_str()?.to_owned()))
        .collect()
}

/// The agent that has most of the app's instances, and how many.
fn fullest(cluster: &Cluster, app: &str) -> (String, usize) {
    let places = places(cluster, app).expect("tasks");
    let count = |agent: &String| places.iter().filter(|place| *place == agent).count();
    let agents: BTreeSet<String> = places.iter().cloned().collect();
    let fullest = agents.into_iter().max_by_key(count).expect("an agent");
    let most = count(&fullest);
    (fullest, most)
}

#[test]
fn services_move_what_runs_on_a_drained_agent_and_never_fewer_are_ready() {
    let mut cluster = started();
    let port = cluster.port(50);
    let mut app = hello("/web", 3, port);
    // An update may have a gap; this is none.
    app["upgradeStrategy"] = json!({ "minimumHealthCapacity": 0.0, "maximumOverCapacity": 0.5 });
    cluster.deploy(&app);
    cluster.await_healthy("/web", 3);
    let (agent, there) = fullest(&cluster, "web");
    let waiting = cluster
        .command(&["agent", "drain", &agent, "--wait", "-o", "json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut looks, begun) = (0, Instant::now());
    let mut waiting = Some(waiting);
    while let Some(mut child) = waiting.take() {
        let ready = cluster.healthy("/web");
        assert!(ready.len() >= 3, "{ready:?} after {looks} looks");
        looks += 1;
        assert!(begun.elapsed() < Duration::from_secs(90), "it never ends");
        if child.try_wait().expect("it can be waited for").is_none() {
            waiting = Some(child);
            continue;
        }
        let output = child.wait_with_output().expect("its output");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("nothing is ever killed"), "{said}");
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(shown["drain"]["drained"], true, "{shown}");
    }
    assert!(there > 0 && looks > 3, "{there} moved, {looks} looks");
    cluster.await_healthy("/web", 3);
    assert!(!places(&cluster, "web").expect("tasks").contains(&agent));

    // It stays drained, whoever restarts.
    let name = match cluster.log("one").contains(&agent) {
        true => "one",
        false => "two",
    };
    cluster.kill(name);
    cluster.kill("master");
    cluster.start_master();
    let master = cluster.address(1);
    cluster.start_agent(name, if name == "one" { 0 } else { 1 }, &master);
    eventually("the agent is back", || {
        let shown = ask(&cluster, &["agent", "show", &agent])?;
        assert_eq!(shown["drain"]["drained"], true, "{shown}");
        (shown["state"] == "connected").then_some(())
    });
    // Of these there is room for one on each.
    let big = json!({ "id": "/big", "cmd": "exec sleep 1000", "cpus": 3, "mem": 32, "instances": 2, "portDefinitions": [] });
    cluster.deploy(&big);
    let first = eventually("one of them runs", || {
        Some(places(&cluster, "big")?).filter(|places| !places.is_empty())
    });
    assert!(!first.contains(&agent), "{first:?}");
    let back = ask(&cluster, &["agent", "reactivate", &agent]).expect("an agent");
    assert_eq!(back["drain"], Value::Null, "{back}");
    eventually("the other one runs where it can be again", || {
        Some(places(&cluster, "big")?).filter(|places| places.contains(&agent))
    });
}

#[test]
fn a_deadline_kills_what_is_left_also_after_the_master_was_lost() {
    let mut cluster = started();
    // Nowhere but on the agent that is drained is room: on each for two.
    let app = json!({ "id": "/web", "cmd": "exec sleep 1000", "cpus": 2, "mem": 32, "instances": 4, "portDefinitions": [] });
    cluster.deploy(&app);
    eventually("all four run", || {
        (places(&cluster, "web")?.len() == 4).then_some(())
    });
    let (agent, there) = fullest(&cluster, "web");
    assert_eq!(there, 2);
    let refused = cluster.run(&["agent", "drain", &agent, "--wait", "--timeout", "1s"]);
    assert_eq!(refused.status.code(), Some(6), "there is no deadline");
    let drained = ask(&cluster, &["agent", "drain", &agent, "--deadline", "4s"]);
    assert_eq!(drained.expect("an agent")["drain"]["deadline_ms"], 4_000);
    cluster.kill("master");
    cluster.start_master();
    eventually("what was left is killed", || {
        let shown = ask(&cluster, &["agent", "show", &agent])?;
        (shown["drain"]["drained"] == true).then_some(())
    });
    let all = ask(&cluster, &["tasks", "--all", "--app", "web"]).expect("tasks");
    let all = all.as_array().expect("a list").iter();
    let killed = all.filter(|task| task["agent_id"] == agent.as_str());
    let reasons: Vec<&str> = killed.filter_map(|task| task["reason"].as_str()).collect();
    assert_eq!(reasons, ["agent_drained", "agent_drained"]);
}
