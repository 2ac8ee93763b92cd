//! The example frameworks, run as their authors would.

use std::process::{Command, Stdio};

use crate::harness::{Cluster, eventually};

#[test]
fn the_batch_example_runs_its_tasks_to_the_end_on_every_agent() {
    let mut cluster = Cluster::new();
    let (api, link) = (cluster.address(0), cluster.address(1));
    cluster.start_master();
    cluster.start_agent("one", 0, &link);
    cluster.start_agent("two", 1, &link);
    eventually("both agents are connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.matches("\"connected\"").count() == 2).then_some(())
    });
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_proffer"))
        .with_file_name("examples")
        .join("batch");
    let line = "echo \"$PROFFER_TASK_ID\" >> \"$OUT\"";
    let out = cluster.path("out");
    let output = Command::new(example)
        .args([
            &api,
            "50",
            &line.replace("$OUT", &out.display().to_string()),
        ])
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .output()
        .expect("the example is built");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(said.matches(" finished ").count(), 50, "{said}");
    let mut ran: Vec<String> = std::fs::read_to_string(&out)
        .expect("tasks wrote")
        .lines()
        .map(str::to_owned)
        .collect();
    ran.sort();
    ran.dedup();
    assert_eq!(ran.len(), 50, "each task ran once");
    let frameworks = cluster.run(&["frameworks", "-o", "json"]);
    assert!(
        !String::from_utf8_lossy(&frameworks.stdout).contains("\"batch\""),
        "it is torn down"
    );
}

#[test]
fn a_batch_in_executors_survives_kills_of_its_agents_and_of_the_master_and_runs_each_task_once() {
    let examples = std::path::Path::new(env!("CARGO_BIN_EXE_proffer")).with_file_name("examples");
    assert_batch_survives(Cluster::new(), &examples.join("executor"));
}

#[test]
fn a_batch_in_executors_in_python_survives_just_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let root = root.expect("cli has a parent");
    let cluster = Cluster::new();
    let program = cluster.path("executor");
    let line = format!(
        "#!/bin/sh\nexec {} {}\n",
        root.join("target/python/bin/python").display(),
        root.join("frameworks/examples/executor.py").display()
    );
    std::fs::write(&program, line).expect("a file");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("a program");
    assert_batch_survives(cluster, &program);
}

fn assert_batch_survives(mut cluster: Cluster, executor: &std::path::Path) {
    let (api, link) = (cluster.address(0), cluster.address(1));
    let agents = ["one", "two"];
    cluster.start_master();
    for (number, agent) in (0..).zip(agents) {
        cluster.start_agent(agent, number, &link);
    }
    let examples = std::path::Path::new(env!("CARGO_BIN_EXE_proffer")).with_file_name("examples");
    let (out, gate) = (cluster.path("out"), cluster.path("gate"));
    let line = format!(
        "echo \"$PROFFER_TASK_ID\" >> {}; while ! [ -e {} ]; do sleep 0.1; done",
        out.display(),
        gate.display()
    );
    let batch = Command::new(examples.join("batch"))
        .args([&api, "50", &line])
        .arg(executor)
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example is built");
    let ran = || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        let mut ran: Vec<String> = text.lines().map(str::to_owned).collect();
        ran.sort();
        ran
    };
    eventually("all tasks run", || (ran().len() == 50).then_some(()));
    for (number, agent) in (0..).zip(agents) {
        cluster.kill(agent);
        cluster.start_agent(agent, number, &link);
    }
    cluster.kill("master");
    cluster.start_master();
    eventually("both agents are connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.matches("\"connected\"").count() == 2).then_some(())
    });
    std::fs::write(&gate, "").expect("a file");
    let output = batch.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{why}");
    assert_eq!(said.matches(" finished ").count(), 50, "{said}");
    let (mut once, all) = (ran(), ran());
    once.dedup();
    assert_eq!((once.len(), all.len()), (50, 50), "each task ran once");
}

#[test]
fn a_batch_that_is_ended_for_good_says_why() {
    let mut cluster = Cluster::new();
    let api = cluster.address(0);
    cluster.start_master();
    let examples = std::path::Path::new(env!("CARGO_BIN_EXE_proffer")).with_file_name("examples");
    // There is no agent: it waits for ever.
    let batch = Command::new(examples.join("batch"))
        .args([&api, "1", "true"])
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example is built");
    let framework = eventually("it has subscribed", || {
        let output = cluster.run(&["frameworks", "-o", "json"]);
        let frameworks: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let frameworks = frameworks.as_array()?;
        let own = frameworks.iter().find(|it| it["name"] == "batch")?;
        Some(own["id"].as_str()?.to_owned())
    });
    let over = cluster.run(&["framework", "teardown", &framework]);
    assert!(over.status.success());
    let output = batch.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("framework.completed"), "{said}");
}
