//! Master, agent, services and discovery as processes of their own: tasks outlive every one of them.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Cluster, eventually, http};
use crate::proxy::Proxy;

/// The small web server of the binary, healthy soon.
pub(crate) fn hello(id: &str, instances: u32, port: u16) -> serde_json::Value {
    json!({
        "id": id,
        "cmd": "exec proffer hello --port $PORT0",
        "cpus": 0.1,
        "mem": 32,
        "instances": instances,
        "backoffSeconds": 1,
        "portDefinitions": [{"port": port, "name": "http"}],
        "healthChecks": [{
            "protocol": "HTTP", "path": "/health", "portIndex": 0,
            "gracePeriodSeconds": 10, "intervalSeconds": 1, "timeoutSeconds": 5, "maxConsecutiveFailures": 3
        }],
        "unreachableStrategy": {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
    })
}

fn started() -> Cluster {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.start_discovery();
    cluster
}

#[test]
fn every_role_can_be_killed_and_no_instance_notices() {
    let mut cluster = started();
    let port = cluster.port(50);
    cluster.deploy(&hello("/web", 2, port));
    let tasks = cluster.await_healthy("/web", 2);
    cluster.await_routed(port, &tasks);
    let pids = cluster.task_pids();
    assert_eq!(pids.keys().cloned().collect::<BTreeSet<_>>(), tasks);

    for role in ["discovery", "services", "master", "agent"] {
        cluster.kill(role);
        assert_eq!(
            http(port, "GET", "/", &[], "").map(|answer| answer.status),
            Some(200),
            "without {role}"
        );
        match role {
            "discovery" => cluster.start_discovery(),
            "services" => cluster.start_services(),
            "master" => cluster.start_master(),
            _ => {
                let master = cluster.address(1);
                cluster.start_agent("agent", 0, &master);
            }
        }
        assert_eq!(cluster.await_healthy("/web", 2), tasks, "after {role}");
        assert_eq!(cluster.task_pids(), pids, "after {role}");
    }

    // Until services have found the master again they say so with 503: try again.
    let answer = eventually("services take changes", || {
        let answer = cluster.rest("PUT", "/v2/apps/web", r#"{"instances": 3}"#)?;
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(answer.status, 200, "{}", answer.body);
    let grown = cluster.await_healthy("/web", 3);
    assert!(grown.is_superset(&tasks));
    cluster.await_routed(port, &grown);
    let after = cluster.task_pids();
    assert!(
        pids.iter()
            .all(|(task, before)| after.get(task) == Some(before))
    );
}

#[test]
fn all_roles_killed_at_once_come_back_to_the_same_instances() {
    let mut cluster = started();
    let port = cluster.port(50);
    cluster.deploy(&hello("/web", 2, port));
    let tasks = cluster.await_healthy("/web", 2);
    let pids = cluster.task_pids();
    for role in ["discovery", "services", "master", "agent"] {
        cluster.kill(role);
    }
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.start_discovery();
    assert_eq!(cluster.await_healthy("/web", 2), tasks);
    cluster.await_routed(port, &tasks);
    assert_eq!(cluster.task_pids(), pids);
}

#[test]
fn instances_of_a_lost_agent_are_replaced_and_there_are_as_many_as_asked_when_it_returns() {
    let mut cluster = Cluster::new();
    let proxy = Proxy::start(cluster.port(1));
    let (direct, through) = (cluster.address(1), proxy.address());
    cluster.start_master();
    cluster.start_agent("steady", 0, &direct);
    cluster.start_agent("cut", 1, &through);
    cluster.start_services();
    eventually("both agents are connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.matches("\"connected\"").count() == 2).then_some(())
    });
    let port = cluster.port(50);
    cluster.deploy(&hello("/web", 4, port));
    let tasks = cluster.await_healthy("/web", 4);
    let on_cut = |cluster: &Cluster| {
        let answer = cluster
            .rest("GET", "/v2/apps/web/tasks", "")
            .expect("services answer")
            .json();
        let all = answer["tasks"].as_array().expect("tasks").clone();
        let first = u64::from(cluster.port(120));
        all.iter()
            .filter(|task| task["ports"][0].as_u64().is_some_and(|port| port >= first))
            .count()
    };
    assert!(on_cut(&cluster) > 0, "instances spread over agents");

    proxy.cut();
    let moved = eventually("all instances are on the other agent", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 4 && healthy.difference(&tasks).count() > 0 && on_cut(&cluster) == 0)
            .then_some(healthy)
    });
    assert!(
        cluster.task_pids().len() > 4,
        "the cut agent's instances run on"
    );

    proxy.heal();
    eventually("exactly four instances run", || {
        (cluster.task_pids().len() == 4).then_some(())
    });
    assert_eq!(cluster.await_healthy("/web", 4).len(), moved.len());
}

#[test]
fn a_killed_instance_is_replaced_and_routed() {
    let cluster = started();
    let port = cluster.port(50);
    cluster.deploy(&hello("/web", 2, port));
    let tasks = cluster.await_healthy("/web", 2);
    cluster.await_routed(port, &tasks);
    let (victim, pids) = cluster.task_pids().pop_first().expect("a task");
    for pid in pids {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("it runs");
    }
    let after = eventually("a replacement is healthy", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 2 && !healthy.contains(&victim)).then_some(healthy)
    });
    cluster.await_routed(port, &after);
}
