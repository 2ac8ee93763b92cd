//! A volume by the verbs, and a framework whose tasks keep their files on it: over the ends of tasks, agent and master, and
//! not beyond the end of the volume.

use std::process::Command;

use crate::harness::{Cluster, eventually};

fn start_agent(cluster: &mut Cluster) {
    let (master, listen) = (cluster.address(1), cluster.address(10));
    let work_dir = cluster.path("agent").display().to_string();
    let fixed = ["agent", "--master", &master, "--listen", &listen];
    let own = [
        "--resources",
        "cpus:4;mem:4096;disk:1000",
        "--work-dir",
        &work_dir,
    ];
    cluster.start("agent", &[&fixed[..], &own[..]].concat());
}

/// The only agent, once it is connected.
fn agent(cluster: &Cluster) -> String {
    eventually("the agent is connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let agents: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let agent = agents
            .get(0)
            .filter(|agent| agent["state"] == "connected")?;
        Some(agent["id"].as_str()?.to_owned())
    })
}

fn tell(cluster: &Cluster, arguments: &[&str]) {
    let output = cluster.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
}

/// Runs a line with the volume in `data`, by the example framework.
fn keep(cluster: &Cluster, line: &str) {
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_proffer"))
        .with_file_name("examples")
        .join("keeper");
    let output = Command::new(example)
        .args([&cluster.address(0), "eng", "notes", line])
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .output()
        .expect("the example is built");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" finished "), "{line}: {said}");
}

#[test]
fn a_volume_keeps_its_files_until_it_is_destroyed() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster);
    let id = agent(&cluster);
    let create = [
        "volume", "create", &id, "--role", "eng", "--id", "notes", "--size", "64",
    ];
    tell(&cluster, &["reserve", &id, "disk:100", "--role", "eng"]);
    tell(&cluster, &create);
    keep(
        &cluster,
        "test -z \"$(ls -A data)\" && echo one > data/file",
    );
    keep(&cluster, "test \"$(cat data/file)\" = one");
    cluster.kill("agent");
    cluster.kill("master");
    cluster.start_master();
    start_agent(&mut cluster);
    agent(&cluster);
    keep(&cluster, "test \"$(cat data/file)\" = one");

    tell(&cluster, &["volume", "rm", &id, "--id", "notes"]);
    tell(&cluster, &create);
    keep(&cluster, "test -z \"$(ls -A data)\"");
}
