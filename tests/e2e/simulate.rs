//! Emulated agents as an author of a framework uses them, and the benchmarks that are built on them.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{Cluster, eventually};

const AGENTS: usize = 50;
const TASKS: usize = 100;

/// What a verb says, as JSON; nothing while nobody answers.
fn ask(cluster: &Cluster, verb: &[&str]) -> Option<Vec<Value>> {
    let output = cluster.run(&[verb, &["-o", "json"]].concat());
    serde_json::from_slice::<Vec<Value>>(&output.stdout).ok()
}

/// The example framework, in the background; its output goes to `batch.log`.
fn start_batch(cluster: &Cluster, tasks: usize) -> Child {
    let example = std::path::Path::new(env!("CARGO_BIN_EXE_proffer"))
        .with_file_name("examples")
        .join("batch");
    let log = File::create(cluster.path("batch.log")).expect("a log");
    Command::new(example)
        .args([&cluster.address(0), &tasks.to_string(), "exit 7"])
        .env("PROFFER_TOKEN_FILE", cluster.path("token"))
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .stdin(Stdio::null())
        .spawn()
        .expect("the example is built")
}

/// The events that `simulate -o json` has written.
fn events(cluster: &Cluster) -> Vec<Value> {
    let log = cluster.log("simulation");
    let lines = log.lines().filter(|line| line.starts_with('{'));
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

fn connected(cluster: &Cluster) -> Option<Vec<Value>> {
    let mut agents = ask(cluster, &["agents"])?;
    agents.retain(|agent| agent["state"] == "connected");
    Some(agents)
}

#[test]
fn a_batch_runs_on_emulated_agents_and_loses_nothing_when_the_master_is_killed() {
    let mut cluster = Cluster::new();
    let link = cluster.address(1);
    // First the agents: whoever comes first waits.
    let simulate = [
        "simulate",
        "agents",
        "--master",
        &link,
        "--count",
        "50",
        "--seed",
        "7",
        "--resources",
        "cpus:1;mem:1024",
        "--attributes",
        "rack:a",
        "--attributes",
        "rack:b",
        "--region",
        "eu",
        "--zone",
        "a",
        "--zone",
        "b",
        "--task-duration",
        "8s-10s",
        "-o",
        "json",
    ];
    cluster.start("simulation", &simulate);
    cluster.start_master();
    let agents = eventually("all agents are connected", || {
        connected(&cluster).filter(|agents| agents.len() == AGENTS)
    });
    for agent in &agents {
        assert_eq!(agent["attributes"]["emulated"], "true", "{agent}");
        let version = agent["version"].as_str().expect("a version");
        assert!(version.ends_with("(emulated)"), "{agent}");
        let id = agent["id"].as_str().expect("an id");
        assert!(id.starts_with("emulated-7-"), "{agent}");
    }
    let in_rack = |rack: &str| {
        agents
            .iter()
            .filter(|agent| agent["attributes"]["rack"] == rack)
            .count()
    };
    assert_eq!((in_rack("a"), in_rack("b")), (25, 25));
    let in_zone = |zone: &str| {
        let stands = |agent: &&Value| agent["region"] == "eu" && agent["zone"] == zone;
        agents.iter().filter(stands).count()
    };
    assert_eq!((in_zone("a"), in_zone("b")), (25, 25));
    let table = cluster.run(&["agents"]);
    let shown = String::from_utf8_lossy(&table.stdout)
        .matches("emulated:true")
        .count();
    assert_eq!(shown, AGENTS);

    let mut batch = start_batch(&cluster, TASKS);
    eventually("every task is launched and has said so", || {
        let tasks = ask(&cluster, &["tasks", "--all"])?;
        let has_run = |task: &&Value| task["state"] == "running" || task["state"] == "finished";
        (tasks.iter().filter(has_run).count() == TASKS).then_some(())
    });
    cluster.kill("master");
    cluster.start_master();
    eventually("all agents are connected again", || {
        connected(&cluster).filter(|agents| agents.len() == AGENTS)
    });
    let status = eventually("the batch ends", || {
        batch.try_wait().expect("it can be waited for")
    });
    let said = cluster.log("batch");
    assert!(status.success(), "{said}");
    assert_eq!(said.matches(" finished ").count(), TASKS, "{said}");
    let mut names: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TASKS, "each task ends once: {said}");

    cluster.signal("simulation", Signal::SIGINT);
    assert!(cluster.wait("simulation").success());
    let events = events(&cluster);
    assert_eq!(events[0]["event"], "registered");
    assert_eq!(events[0]["agents"], AGENTS);
    assert_eq!(events[0]["agents_per_connection"], 1);
    let end = events.last().expect("an end");
    assert_eq!(
        (&end["event"], &end["emulated"]),
        (&"ended".into(), &true.into())
    );
    assert_eq!(end["tasks_started"], TASKS);
    assert_eq!(end["tasks_finished"], TASKS);
    assert!(end["welcomes"].as_u64() >= Some(2 * 50), "{end}");
}

#[test]
fn emulated_tasks_fail_as_often_as_was_asked_and_several_agents_share_a_connection() {
    let mut cluster = Cluster::new();
    let link = cluster.address(1);
    cluster.start_master();
    let simulate = [
        "simulate",
        "agents",
        "--master",
        &link,
        "--count",
        "10",
        "--task-duration",
        "100ms",
        "--failure-rate",
        "1",
        "--agents-per-connection",
        "4",
        "-o",
        "json",
    ];
    cluster.start("simulation", &simulate);
    let mut batch = start_batch(&cluster, 20);
    eventually("the batch ends", || {
        batch.try_wait().expect("it can be waited for")
    });
    let said = cluster.log("batch");
    assert_eq!(
        said.matches(" failed exited with code 1").count(),
        20,
        "{said}"
    );
    cluster.signal("simulation", Signal::SIGTERM);
    assert!(cluster.wait("simulation").success());
    let events = events(&cluster);
    assert_eq!(
        (
            &events[0]["connections"],
            &events[0]["agents_per_connection"]
        ),
        (&3.into(), &4.into())
    );
    assert_eq!(events.last().expect("an end")["tasks_failed"], 20);
}

#[test]
fn wrong_simulations_and_benchmarks_are_refused_with_the_flag_and_a_remedy() {
    let cluster = Cluster::new();
    let table: &[(&str, &[&str])] = &[
        ("--count", &["simulate", "agents", "--count", "0"]),
        ("--count", &["simulate", "agents", "--count", "100001"]),
        ("--resources", &["simulate", "agents", "--resources", ""]),
        (
            "--resources",
            &["simulate", "agents", "--resources", "cpus:-1"],
        ),
        (
            "--attributes",
            &["simulate", "agents", "--attributes", "emulated:false"],
        ),
        (
            "--attributes",
            &["simulate", "agents", "--attributes", "rack"],
        ),
        (
            "--failure-rate",
            &["simulate", "agents", "--failure-rate", "1.5"],
        ),
        (
            "--task-duration",
            &["simulate", "agents", "--task-duration", "5s-1s"],
        ),
        (
            "--agents-per-connection",
            &["simulate", "agents", "--agents-per-connection", "0"],
        ),
        ("--master", &["simulate", "agents", "--master", "nowhere"]),
        (
            "--master",
            &["simulate", "agents", "--master", "192.0.2.1:5060"],
        ),
        ("10000x1000", &["bench", "allocator", "10"]),
    ];
    for (field, arguments) in table {
        let output = cluster.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(
            said.contains("error: ") && said.contains(field),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("hint: "), "{arguments:?}: {said}");
    }
}

#[test]
fn a_benchmark_that_computes_ends_when_it_is_told_to() {
    let mut cluster = Cluster::new();
    cluster.start(
        "bench",
        &["bench", "allocator", "1000x100", "--rounds", "4000000000"],
    );
    eventually("it computes", || {
        cluster.log("bench").contains("debug build").then_some(())
    });
    cluster.signal("bench", Signal::SIGTERM);
    assert_eq!(cluster.wait("bench").code(), Some(130));
}

#[test]
fn benchmarks_give_figures_with_units_and_say_on_what_they_were_measured() {
    let cluster = Cluster::new();
    let table: &[(&str, bool, &[&str])] = &[
        (
            "allocator 20x4 --rounds 2",
            false,
            &["case", "agents", "cycle_p99_ms"],
        ),
        (
            "allocator --grid mesos 20x4 --rounds 2",
            false,
            &["case", "frameworks", "round_p50_ms"],
        ),
        (
            "register 5 3",
            true,
            &["agents_per_s", "duration_ms", "agents_per_connection"],
        ),
        (
            "launch 4 --tasks 60 --tasks-per-accept 7 --in-flight 20 --samples 5 --task-duration 10ms",
            true,
            &[
                "launches_per_s",
                "running_p99_ms",
                "accept_p99_ms",
                "master_us_per_launch",
            ],
        ),
        (
            "list 4 --tasks 60 --tasks-per-accept 7 --in-flight 20 --task-duration 10ms --standing 400 --rounds 1 --page-size 50",
            true,
            &[
                "launches_per_s",
                "listed_launches_per_s",
                "list_p50_ms",
                "listed_min",
                "quiet_list_p50_ms",
            ],
        ),
        (
            "mesos 4 --tasks 60 --tasks-per-accept 7 --in-flight 20 --samples 5 --task-duration 10ms --reoffers 5 --full-task-duration 100ms --reads 3",
            true,
            &[
                "media",
                "launches_per_s",
                "running_p99_ms",
                "read_running_p99_ms",
                "reoffer_p99_ms",
                "state_p99_ms",
                "state_bytes",
            ],
        ),
        (
            "memory 4 --tasks 8 --heartbeat-for 10ms",
            true,
            &["bytes_per_agent", "bytes_per_task", "registered"],
        ),
        (
            "reoffer 4 --samples 8 --task-duration 50ms-100ms",
            true,
            &["reoffer_p50_ms", "reoffer_p99_ms", "samples"],
        ),
    ];
    for (arguments, is_emulated, names) in table {
        let value = measured(&cluster, arguments, *is_emulated, names);
        if arguments.starts_with("memory ") {
            let row = &value["figures"][0];
            assert_eq!((&row["registered"], &row["tasks"]), (&4.into(), &8.into()));
            assert!(row["empty_bytes"].as_u64() > Some(100_000), "{value}");
        }
    }
}

/// What every row of a flood has.
const FLOOD: &[&str] = &[
    "call",
    "named",
    "calls_per_s",
    "answered_per_s",
    "refused_per_s",
    "statuses_per_s",
    "alone_p99_ms",
    "beside_p99_ms",
    "p99_ratio",
    "master_core_percent",
];

#[test]
fn benchmarks_of_sessions_give_figures_too() {
    let cluster = Cluster::new();
    for (arguments, names) in [
        (
            "frameworks 3 --listen-for 2s --sessions-per-connection 2",
            &[
                "frameworks",
                "subscribed_per_s",
                "master_us_per_framework",
                "bytes_per_framework",
                "sessions_ended",
                "silence_max_ms",
                "call_p99_ms",
            ][..],
        ),
        ("flood 200 --others 2 --measure-for 500ms", FLOOD),
        (
            "flood 20 --call reconcile --named 300 --others 2 --measure-for 500ms",
            FLOOD,
        ),
        (
            "flood 20 --call demand --named 300 --others 2 --measure-for 500ms",
            FLOOD,
        ),
        (
            "flood 20 --call list --named 300 --others 2 --measure-for 500ms",
            FLOOD,
        ),
    ] {
        let value = measured(&cluster, arguments, true, names);
        let row = &value["figures"][0];
        if arguments.starts_with("frameworks ") {
            assert_eq!(row["sessions_ended"], 0, "{value}");
            assert!(row["heartbeats"].as_u64() > Some(0), "{value}");
        } else {
            assert!(row["answered_per_s"].as_u64() > Some(0), "{value}");
            assert_eq!(row["refused_per_s"], 0, "{value}");
            let asks = row["call"] == "reconcile" || row["call"] == "list";
            let told = row["statuses_per_s"].as_u64();
            assert_eq!(told > Some(0), asks, "{value}");
        }
    }
}

#[test]
fn the_benchmark_of_a_failover_gives_figures_too() {
    let cluster = Cluster::new();
    let names = [
        "agents",
        "tasks",
        "session_timeout_ms",
        "subscribed_ms",
        "registered_ms",
        "offered_ms",
        "outage_ms",
    ];
    let value = measured(&cluster, "failover 3 --tasks-per-agent 2", true, &names);
    let row = &value["figures"][0];
    assert_eq!((&row["agents"], &row["tasks"]), (&3.into(), &6.into()));
    assert!(
        row["outage_ms"].as_f64() >= row["offered_ms"].as_f64(),
        "{value}"
    );
}

/// What a benchmark says as JSON, with these names in every row.
fn measured(cluster: &Cluster, arguments: &str, is_emulated: bool, names: &[&str]) -> Value {
    let line: Vec<&str> = arguments.split(' ').collect();
    let output = cluster.run(&[&["bench"], &line[..], &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    assert!(said.contains("debug build"), "{arguments:?}: {said}");
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["benchmark"], line[0]);
    assert_eq!(value["conditions"]["build_profile"], "debug");
    assert_eq!(value["conditions"]["emulated"], is_emulated);
    assert!(value["conditions"]["cores"].as_u64() > Some(0), "{value}");
    let figures = value["figures"].as_array().expect("figures");
    assert!(!figures.is_empty(), "{value}");
    for (row, name) in figures
        .iter()
        .flat_map(|row| names.iter().map(move |name| (row, name)))
    {
        assert!(
            row[name].is_number() || row[name].is_string(),
            "{name} in {row}"
        );
    }
    value
}
