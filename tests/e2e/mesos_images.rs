//! Tasks of Mesos's API that name an image, from the call to what runs in their containers. They need root.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually};
use crate::images::{busybox, docker_save};

use super::scheduler::{Scheduler, task};

/// A cluster of one agent that has the archive of `busybox:test`.
fn with_archives() -> Cluster {
    let mut cluster = Cluster::new();
    let archives = cluster.path("archives");
    fs::create_dir(&archives).expect("a directory");
    let mut image = busybox();
    image.config = json!({"Env": ["PATH=/bin", "OF=image"], "Entrypoint": ["/bin/echo", "says"], "Cmd": ["nothing"]});
    fs::write(archives.join("busybox:test.tar"), docker_save(&[image])).expect("an archive");
    cluster.start_master();
    let (master, listen) = (cluster.address(1), cluster.address(10));
    let work_dir = cluster.path("agent").display().to_string();
    let archives = archives.display().to_string();
    cluster.start(
        "agent",
        &[
            "agent",
            "--master",
            &master,
            "--listen",
            &listen,
            "--work-dir",
            &work_dir,
            "--resources",
            "cpus:4;mem:4096;disk:1000",
            "--image-archives",
            &archives,
        ],
    );
    eventually("the agent is connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("\"connected\"").then_some(())
    });
    cluster
}

/// With memory for a container.
fn in_image(id: &str, command: &Value, container: &Value) -> Value {
    let mut task = task(id, "");
    task["command"] = command.clone();
    task["container"] = container.clone();
    task
}

fn mesos(name: &str) -> Value {
    json!({"type": "MESOS", "mesos": {"image": {"type": "DOCKER", "docker": {"name": name}}}})
}

fn docker(name: &str) -> Value {
    json!({"type": "DOCKER", "docker": {"image": name, "network": "HOST", "force_pull_image": true}})
}

#[test]
fn a_task_in_an_image_finds_what_it_finds_on_an_agent_of_mesos() {
    let cluster = with_archives();
    let file = cluster.path("fetched");
    fs::write(&file, "text\n").expect("a file");
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let uris = json!([{"value": file.display().to_string()}]);
    let line = "pwd; echo $MESOS_SANDBOX $OF $GIVEN; cat fetched /mnt/mesos/sandbox/fetched; test -e /bin/busybox && ! test -e /usr; \
        touch up; while ! test -e down; do sleep 0.1; done";
    let variables = json!({"variables": [{"name": "GIVEN", "value": "here"}]});
    let shell = json!({"value": line, "uris": uris, "environment": variables});
    let mut checked = in_image("shell", &shell, &mesos("busybox:test"));
    checked["health_check"] = json!({"type": "COMMAND", "interval_seconds": 0.1, "delay_seconds": 0,
        "command": {"value": "test -e $MESOS_SANDBOX/up && touch $MESOS_SANDBOX/down"}});
    let offer = scheduler.offer();
    scheduler.launch(&offer, &checked);
    scheduler.status("shell", "TASK_FINISHED");
    let said = cluster.run(&["logs", "shell"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let place = "/mnt/mesos/sandbox";
    assert!(
        said.contains(&format!("{place}\n{place} image here\ntext\ntext\n")),
        "{said}"
    );

    // What runs without a line for the shell is the image's, by the rules of each containerizer.
    let arguments = json!({"shell": false, "arguments": ["a", "b"]});
    let program = json!({"shell": false, "value": "/bin/echo", "arguments": ["echo", "alone"]});
    for (id, command, container, expected) in [
        (
            "own",
            json!({"shell": false}),
            mesos("busybox:test"),
            "says nothing\n",
        ),
        (
            "arguments",
            arguments.clone(),
            mesos("busybox:test"),
            "says a b\n",
        ),
        ("program", program.clone(), mesos("busybox:test"), "alone\n"),
        ("docker", arguments, docker("busybox:test"), "says a b\n"),
        (
            "entered",
            program,
            docker("busybox:test"),
            "says /bin/echo echo alone\n",
        ),
    ] {
        let offer = scheduler.offer();
        scheduler.launch(&offer, &in_image(id, &command, &container));
        scheduler.status(id, "TASK_FINISHED");
        let said = cluster.run(&["logs", id]);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.contains(expected), "{id}: {said}");
    }
}

#[test]
fn a_task_in_a_group_runs_in_its_image_and_one_is_killed_with_its_grace() {
    let cluster = with_archives();
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let offer = scheduler.offer();
    let line = json!({"value": "trap 'exit 7' TERM; test $OF = image && touch up; while :; do sleep 0.1; done"});
    let mut first = in_image("first", &line, &mesos("busybox:test"));
    first["kill_policy"] = json!({"grace_period": {"nanoseconds": 30_000_000_000_u64}});
    first["agent_id"] = offer["agent_id"].clone();
    let mut second = in_image(
        "second",
        &json!({"value": "sleep 1000"}),
        &json!({"type": "MESOS"}),
    );
    second["agent_id"] = offer["agent_id"].clone();
    let executor = json!({"type": "DEFAULT", "executor_id": {"value": "g"}, "framework_id": {"value": scheduler.framework},
        "resources": [super::scheduler::scalar("cpus", 0.1), super::scheduler::scalar("mem", 32.0)]});
    scheduler.accept(
        &offer,
        &[json!({"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": {"tasks": [first, second]}}})],
    );
    scheduler.status("first", "TASK_RUNNING");
    scheduler.status("second", "TASK_RUNNING");
    scheduler.call("KILL", &json!({"task_id": {"value": "first"}}));
    scheduler.status("first", "TASK_KILLED");
    scheduler.status("second", "TASK_KILLED");
}

#[test]
fn an_image_that_is_not_there_fails_its_task_with_mesos_reason_and_what_to_do() {
    let cluster = with_archives();
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let offer = scheduler.offer();
    scheduler.launch(
        &offer,
        &in_image("none", &json!({"value": "true"}), &mesos("no/such:1")),
    );
    let status = scheduler.status("none", "TASK_FAILED");
    assert_eq!(status["reason"], "REASON_CONTAINER_LAUNCH_FAILED");
    let message = status["message"].as_str().expect("a message");
    let dir = cluster.path("archives").display().to_string();
    let says = format!("image no/such:1: there is no no/such:1.tar in {dir}");
    assert!(message.contains(&says), "{message}");

    // What can never be is refused before anything is launched.
    let offer = scheduler.offer();
    let mut bridged = docker("busybox:test");
    bridged["docker"]["network"] = json!("BRIDGE");
    scheduler.launch(
        &offer,
        &in_image("bridged", &json!({"value": "true"}), &bridged),
    );
    let status = scheduler.status("bridged", "TASK_ERROR");
    let message = status["message"].as_str().expect("a message");
    assert!(
        message.contains("'ContainerInfo.docker.network BRIDGE' is not supported"),
        "{message}"
    );
}
