//! `proffer dev`: the first five minutes of every user.

use std::collections::BTreeSet;
use std::fs;

use nix::sys::signal::Signal;

use super::roles::hello;
use crate::harness::{Cluster, eventually, http};

/// Writes an app file and starts dev with it.
fn start_dev(cluster: &mut Cluster, name: &str, more: &[&str]) {
    let file = cluster.path("app.json");
    fs::write(&file, hello("/hello", 3, cluster.port(50)).to_string()).expect("the app file");
    let (file, base) = (file.display().to_string(), cluster.port(0).to_string());
    let data = cluster.path("data").display().to_string();
    let fixed = ["dev", &file, "--port-base", &base, "--data-dir", &data];
    cluster.start(name, &[&fixed[..], more].concat());
}

/// The tasks that a port answers from, once there are so many.
fn await_answers(port: u16, count: usize) -> BTreeSet<String> {
    eventually(
        &format!("port {port} answers from {count} instances"),
        || {
            let answers = (0..count * 3)
                .filter_map(|_| http(port, "GET", "/", &[], ""))
                .filter(|a| a.status == 200);
            let seen: BTreeSet<String> = answers.map(|answer| answer.body).collect();
            (seen.len() == count).then_some(seen)
        },
    )
}

#[test]
fn dev_serves_an_app_replaces_what_dies_and_leaves_nothing() {
    let mut cluster = Cluster::new();
    start_dev(&mut cluster, "dev", &[]);
    let port = cluster.port(50);
    await_answers(port, 3);
    eventually("the address is printed", || {
        cluster
            .log("dev")
            .contains(&format!("http://127.0.0.1:{port}"))
            .then_some(())
    });

    let (_, pids) = cluster.task_pids().pop_first().expect("a task");
    for pid in &pids {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL).expect("it runs");
    }
    eventually("three others run", || {
        let now = cluster.task_pids();
        (now.len() == 3 && now.values().all(|of| of.is_disjoint(&pids))).then_some(())
    });
    await_answers(port, 3);

    cluster.signal("dev", Signal::SIGINT);
    let status = cluster.wait("dev");
    assert!(status.success() || status.code() == Some(130), "{status}");
    assert!(cluster.task_pids().is_empty(), "tasks are left");
    assert!(http(port, "GET", "/", &[], "").is_none(), "HAProxy is left");
}

#[test]
fn dev_adopts_what_it_left_when_it_was_killed() {
    let mut cluster = Cluster::new();
    start_dev(&mut cluster, "dev", &[]);
    let port = cluster.port(50);
    let before = await_answers(port, 3);
    let pids = cluster.task_pids();
    cluster.kill("dev");
    assert_eq!(
        http(port, "GET", "/", &[], "").map(|answer| answer.status),
        Some(200)
    );

    start_dev(&mut cluster, "again", &[]);
    eventually("it is ready again", || {
        cluster
            .log("again")
            .contains(&format!("http://127.0.0.1:{port}"))
            .then_some(())
    });
    assert_eq!(await_answers(port, 3), before);
    assert_eq!(cluster.task_pids(), pids);
    cluster.signal("again", Signal::SIGTERM);
    cluster.wait("again");
    assert!(cluster.task_pids().is_empty(), "tasks are left");
}

#[test]
fn dev_without_haproxy_prints_addresses_that_answer() {
    let mut cluster = Cluster::new();
    start_dev(&mut cluster, "dev", &["--no-haproxy"]);
    let answered = eventually("a printed address answers", || {
        let log = cluster.log("dev");
        let ports: BTreeSet<u16> = log
            .split("127.0.0.1:")
            .skip(1)
            .filter_map(|rest| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .filter(|port| *port >= cluster.port(100) || *port < cluster.port(0))
            .collect();
        let good = ports
            .iter()
            .filter_map(|port| http(*port, "GET", "/", &[], ""))
            .filter(|a| a.status == 200)
            .count();
        (good == 3).then_some(good)
    });
    assert_eq!(answered, 3);
    cluster.signal("dev", Signal::SIGINT);
    cluster.wait("dev");
}

#[test]
fn a_second_dev_on_the_same_ports_or_data_says_what_to_do() {
    let mut cluster = Cluster::new();
    start_dev(&mut cluster, "dev", &[]);
    await_answers(cluster.port(50), 3);
    let (base, data) = (
        cluster.port(0).to_string(),
        cluster.path("data").display().to_string(),
    );
    let other = cluster.path("other").display().to_string();

    let output = cluster.run(&["dev", "--port-base", &base, "--data-dir", &other]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("port.taken") && text.contains("--port-base"),
        "{text}"
    );

    let output = cluster.run(&["dev", "--port-base", "45000", "--data-dir", &data]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success()
            && text.contains("directory.locked")
            && text.contains("--data-dir"),
        "{text}"
    );
    await_answers(cluster.port(50), 3);
    cluster.signal("dev", Signal::SIGINT);
    cluster.wait("dev");
}
