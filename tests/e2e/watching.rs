//! What operators see of a cluster by the verbs: lists that the master filters, and what is followed through a change of leader;
//! and what they end in their frameworks' place.

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};

/// What a verb says, as JSON; it must succeed.
fn tell(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn count(cluster: &Cluster, arguments: &[&str]) -> usize {
    tell(cluster, arguments).as_array().expect("a list").len()
}

/// What the watch has said so far, an object a line.
fn watched(cluster: &Cluster) -> Vec<Value> {
    let log = cluster.log("watch");
    let lines = log.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Waits until the watch has said this.
fn await_change(cluster: &Cluster, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(&format!("the watch says {what}"), || {
        watched(cluster).into_iter().find(&is_it)
    })
}

#[test]
fn lists_are_filtered_watches_outlive_the_leader_and_operators_end_what_must_end() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let link = cluster.masters(1);
    cluster.start_agent("one", 0, &link);
    cluster.start_services();
    let app = json!({ "id": "/web", "cmd": "exec sleep 1000", "cpus": 0.1, "mem": 32, "instances": 1,
        "labels": { "tier": "front" }, "portDefinitions": [], "backoffSeconds": 0 });
    cluster.deploy(&app);
    let first = eventually("the app runs", || {
        let tasks = tell(&cluster, &["tasks", "--app", "web", "--state", "running"]);
        Some(tasks[0]["id"].as_str()?.to_owned())
    });

    // What passes, and what does not.
    for (filters, expected) in [
        (&["--framework", "services"][..], 1),
        (&["--framework", "other"], 0),
        (&["--agent", "127.0.0.1"], 1),
        (&["--label", "tier=front"], 1),
        (&["--label", "tier=back"], 0),
        (&["--role", "*"], 1),
        (&["--role", "eng"], 0),
        (&["--state", "failed"], 0),
    ] {
        let listed = count(&cluster, &[&["tasks"], filters].concat());
        assert_eq!(listed, expected, "{filters:?}");
    }
    assert_eq!(count(&cluster, &["agents", "--state", "connected"]), 1);
    assert_eq!(count(&cluster, &["agents", "--state", "unreachable"]), 0);
    assert_eq!(count(&cluster, &["frameworks", "--connected", "false"]), 0);
    assert_eq!(count(&cluster, &["executors"]), 0);
    tell(&cluster, &["offers", "--framework", "services"]);
    let wrong = cluster.run(&["tasks", "--state", "runing"]);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("states are staging"), "{said}");

    // Followed while it is killed by an operator, and while the master is killed.
    cluster.start("watch", &["tasks", "--watch", "-o", "json"]);
    await_change(&cluster, "that all was told", |it| {
        it["change"] == "up_to_date"
    });
    assert_eq!(watched(&cluster)[0]["change"], "begins");
    let killed = tell(&cluster, &["task", "kill", &first, "--grace", "1s"]);
    assert_eq!(killed["id"], first.as_str());
    await_change(&cluster, "the end", |it| {
        it["id"] == first.as_str() && it["state"] == "killed"
    });
    let second = await_change(&cluster, "another instance", |it| {
        it["state"] == "running" && it["id"] != first.as_str()
    });
    let again = cluster.run(&["task", "kill", &first]);
    assert!(!again.status.success(), "it has ended");
    cluster.kill("master");
    cluster.start_master();
    let anew = await_change(&cluster, "that it begins anew", |it| {
        it["why"]["code"].is_string()
    });
    assert_eq!(anew["why"]["code"], "watch.expired");
    let id = second["id"].as_str().expect("an id");
    cluster.kill("watch");

    // A framework that is ended is told too, and with it its tasks end.
    eventually("the instance is back", || {
        let tasks = tell(&cluster, &["tasks", "--state", "running"]);
        (tasks[0]["id"] == id).then_some(())
    });
    cluster.start("framework", &["frameworks", "--watch", "-o", "json"]);
    eventually("the services are told", || {
        cluster
            .log("framework")
            .contains("up_to_date")
            .then_some(())
    });
    let over = tell(&cluster, &["framework", "teardown", "services"]);
    assert_eq!(over["name"], "services");
    eventually("that they are over is told", || {
        cluster
            .log("framework")
            .contains("framework_gone")
            .then_some(())
    });
    eventually("its task is ended", || {
        cluster.task_pids().is_empty().then_some(())
    });
    cluster.kill("framework");
    let unknown = cluster.run(&["framework", "teardown", "services"]);
    assert_eq!(unknown.status.code(), Some(4));
}
