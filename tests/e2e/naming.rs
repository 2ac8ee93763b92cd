//! What people name on the command line, and what is said when it is not there: tasks with short ids, of several frameworks, of
//! before a change of leader, of an agent that is gone; filters that nothing passes.

use std::process::Output;

use serde_json::{Value, json};

use super::scheduler::{Scheduler, task};
use crate::harness::{Cluster, eventually};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// That a verb fails with this exit code and says all of these.
fn assert_fails(cluster: &Cluster, arguments: &[&str], exit: i32, words: &[&str]) {
    let output = cluster.run(arguments);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
    for words in words {
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// What a verb prints; it must succeed.
fn printed(cluster: &Cluster, arguments: &[&str]) -> String {
    let output: Output = cluster.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// The id of the only agent when it is connected.
fn agent(cluster: &Cluster) -> String {
    eventually("the agent is connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let agents: Value = serde_json::from_slice(&output.stdout).ok()?;
        let is_there = agents[0]["state"] == "connected";
        Some(agents[0]["id"].as_str()?.to_owned()).filter(|_| is_there)
    })
}

/// A framework that has launched these on an offer of its own, and wants no more.
fn launched(cluster: &Cluster, name: &str, tasks: &[(&str, &str, &str)]) -> Scheduler {
    let info = json!({ "name": name, "roles": ["*"] });
    let mut scheduler = Scheduler::subscribe(cluster, 0, &info);
    let offer = scheduler.offer();
    let infos = tasks.iter().map(|(id, line, _)| {
        let mut info = task(id, line);
        info["agent_id"] = offer["agent_id"].clone();
        info
    });
    let infos: Vec<Value> = infos.collect();
    let launch = json!({ "type": "LAUNCH", "launch": { "task_infos": infos } });
    scheduler.call("SUPPRESS", &json!({}));
    scheduler.accept(&offer, &[launch]);
    for (id, _, state) in tasks {
        scheduler.status(id, state);
    }
    scheduler
}

/// One agent, no services, and two frameworks with a task of one id.
fn with_twins() -> (Cluster, [Scheduler; 2]) {
    let mut cluster = Cluster::new();
    let link = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("one", 0, &link);
    agent(&cluster);
    let first = [
        ("u-1", "exec sleep 1000", "TASK_RUNNING"),
        ("long-1", "echo of w5; exec sleep 1000", "TASK_RUNNING"),
        ("done-1", "echo kept", "TASK_FINISHED"),
    ];
    let second = [("long-1", "echo of w6; exec sleep 1000", "TASK_RUNNING")];
    let frameworks = [
        launched(&cluster, "w5", &first),
        launched(&cluster, "w6", &second),
    ];
    (cluster, frameworks)
}

#[test]
fn a_task_is_found_by_its_id_and_of_several_frameworks_none_is_chosen() {
    let (mut cluster, [first, _second]) = with_twins();
    assert!(printed(&cluster, &["why", "u-1"]).starts_with("task u-1: running for "));
    for verb in [&["why"][..], &["logs"], &["task", "kill"]] {
        let words = ["2 frameworks have a task long-1: ", "--framework"];
        assert_fails(&cluster, &[verb, &["long-1"]].concat(), 4, &words);
    }
    let why = printed(&cluster, &["why", "long-1", "--framework", "w5"]);
    assert!(why.contains(&first.framework), "{why}");
    let logs = printed(&cluster, &["logs", "long-1", "--framework", "w6"]);
    assert_eq!(logs, "of w6\n");
    let of_ended = printed(&cluster, &["why", "done-1", "--framework", "w5"]);
    let advice = format!("`proffer logs done-1 --framework {}`", first.framework);
    assert!(of_ended.contains(&advice), "{of_ended}");
    for framework in ["typo", "a typo"] {
        let words = format!("framework.unknown: framework: there is no framework {framework}");
        for verb in [&["why"][..], &["logs"], &["task", "kill"]] {
            let asked = [verb, &["long-1", "--framework", framework]].concat();
            assert_fails(&cluster, &asked, 4, &[&words]);
        }
    }

    // Nobody can be asked about apps.
    let words = "no framework or task is called nosuch; apps could not be asked: the services at ";
    assert_fails(&cluster, &["why", "nosuch"], 3, &[words]);
    // A framework may be called so, and neither an app nor a task.
    let words = "there is no app, framework or task my fx";
    assert_fails(&cluster, &["why", "my fx"], 4, &[words]);
    let words = "the master knows no task or app my fx";
    assert_fails(&cluster, &["logs", "my fx"], 4, &[words]);
    for (list, words) in [
        (
            &["frameworks", "--name", "nosuch"][..],
            "no framework matches",
        ),
        (
            &["frameworks", "--connected", "false"],
            "no framework matches",
        ),
        (&["agents", "--host", "nosuch"], "no agent matches"),
        (&["tasks", "--state", "failed"], "no task matches"),
        (&["offers", "--role", "eng"], "no offer matches"),
        (&["executors", "--framework", "w5"], "no executor matches"),
        (&["tasks", "--framework", "typo"], "no task matches"),
        // No id can be so.
        (&["tasks", "--framework", "a typo"], "no task matches"),
        (&["offers", "--framework", "a typo"], "no offer matches"),
        (
            &["executors", "--framework", "a typo"],
            "no executor matches",
        ),
    ] {
        let output = cluster.run(list);
        let said = text(&output.stderr);
        assert!(said.starts_with(words), "{list:?}: {said}");
    }

    // What had ended is told where it is asked for, and what ends is told as it ends.
    cluster.start("watch", &["tasks", "--watch"]);
    cluster.start("watch-all", &["tasks", "--watch", "--all"]);
    for watch in ["watch", "watch-all"] {
        eventually("what runs is told", || {
            let told = cluster.log(watch).matches(": running").count();
            (told >= 3).then_some(())
        });
    }
    printed(&cluster, &["task", "kill", "u-1", "--grace", "1s"]);
    for (watch, is_told) in [("watch", false), ("watch-all", true)] {
        let log = eventually("its end is told", || {
            let log = cluster.log(watch);
            log.contains("u-1 on 127.0.0.1: killed").then_some(log)
        });
        assert_eq!(log.contains("done-1"), is_told, "{log}");
        cluster.kill(watch);
    }
}

#[test]
fn logs_are_there_after_a_change_of_leader_and_of_an_agent_that_is_gone_it_is_said() {
    let (mut cluster, frameworks) = with_twins();
    cluster.kill("master");
    cluster.start_master();
    let agent = agent(&cluster);
    let words = ["the master knows no task or app done-1", "--agent AGENT"];
    assert_fails(&cluster, &["logs", "done-1"], 4, &words);
    let at_agent = |task| ["logs", task, "--agent", "127.0.0.1"];
    assert_eq!(printed(&cluster, &at_agent("done-1")), "kept\n");
    let of_framework = ["--framework", &frameworks[0].framework];
    let asked = [&at_agent("long-1")[..], &of_framework].concat();
    assert_eq!(printed(&cluster, &asked), "of w5\n");
    assert_fails(&cluster, &at_agent("long-1"), 4, &["2 frameworks"]);
    assert_fails(&cluster, &at_agent("nosuch"), 4, &["has no task nosuch"]);
    let asked = [&at_agent("long-1")[..], &["--framework", "typo"]].concat();
    let words = "has no task long-1, and there is no framework typo";
    assert_fails(&cluster, &asked, 4, &[words]);

    printed(&cluster, &["agent", "gone", &agent, "--yes"]);
    let why = eventually("the task is lost", || {
        let output = cluster.run(&["why", "long-1", "--framework", "w5"]);
        let why = text(&output.stdout);
        why.contains("task long-1: lost for ").then_some(why)
    });
    let words = format!(" on agent {agent}, which the master knows no more\n");
    assert!(
        why.contains(&words) && !why.contains("proffer logs"),
        "{why}"
    );
    let asked = ["logs", "long-1", "--framework", "w5"];
    assert_fails(&cluster, &asked, 5, &["error: agent.gone: ", &agent]);
}
