//! The example frameworks, run as their authors would.

use std::process::Command;

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
