//! Apps from image archives, from the command line to the container: served, scaled, checked, logged, killed, and told of when
//! they want too much memory or have no image that can be read. They need root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, http};
use crate::images::{Layer, Tar, busybox, docker_save};

/// Says its arguments and serves what is in the image.
const SERVE: &str =
    r#"echo "serving as $(id -u) with $0"; exec /bin/busybox httpd -f -p $PORT0 -h /srv/www"#;

/// Writes the image of a web server, of which the host has nothing.
fn write_image(file: &Path) {
    let mut image = busybox();
    let mut tar = Tar::new();
    tar.dir("srv/www", 0o755);
    tar.file("srv/www/health", 0o644, b"ok\n");
    tar.file("srv/www/index.html", 0o644, b"from the image\n");
    tar.file("only-in-the-image", 0o644, b"");
    image.layers.push(Layer::gzip(tar.finish()));
    image.config = json!({
        "Entrypoint": ["/bin/sh", "-c", SERVE],
        "Cmd": ["the image's own words"],
        "Env": ["PATH=/bin"],
    });
    fs::write(file, docker_save(&[image])).expect("a place for the image");
}

fn started() -> Cluster {
    let mut cluster = Cluster::new();
    write_image(&cluster.path("web.tar"));
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.start_discovery();
    // Until services have found the master they take nothing.
    eventually("services are ready", || {
        let answer = cluster.rest("GET", "/v2/queue", "")?;
        (answer.status == 200).then_some(())
    });
    cluster
}

fn run(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An app in the image; `more` is what else it says.
fn app(cluster: &Cluster, id: &str, more: &Value) -> Value {
    let image = cluster.path("web.tar").display().to_string();
    let mut app = json!({
        "id": id,
        "container": {"type": "DOCKER", "docker": {"image": image, "network": "HOST"}},
        "cpus": 0.1,
        "mem": 32,
        "instances": 1,
        "portDefinitions": [],
    });
    if let (Some(app), Some(more)) = (app.as_object_mut(), more.as_object()) {
        app.extend(more.clone());
    }
    app
}

/// The first processes of all containers that there were, as the host numbers them.
fn first_processes(cluster: &Cluster) -> BTreeSet<i32> {
    let runs = fs::read_dir(cluster.path("agent/runs")).expect("an agent");
    let pid_in = |run: fs::DirEntry| {
        let text = fs::read_to_string(run.path().join("pid")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("task "))?;
        line.split(' ').next()?.parse().ok()
    };
    runs.flatten().filter_map(pid_in).collect()
}

fn is_alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// Those that run.
fn running(cluster: &Cluster) -> BTreeSet<i32> {
    let all = first_processes(cluster).into_iter();
    all.filter(|pid| is_alive(*pid)).collect()
}

/// Removes apps and waits until nothing of their containers runs.
fn remove(cluster: &Cluster, apps: &[&str]) {
    for app in apps {
        run(cluster, &["app", "rm", app]);
    }
    eventually("all containers have ended", || {
        let left = first_processes(cluster).into_iter().any(is_alive);
        (!left).then_some(())
    });
}

#[test]
fn an_image_is_run_served_scaled_logged_and_replaced() {
    let cluster = started();
    let port = cluster.port(50);
    // As it was typed: a path from here.
    let words = "run web --image web.tar --check-http /health --mem 32 --port";
    let port_text = port.to_string();
    let words = words
        .split(' ')
        .chain([port_text.as_str(), "--", "some words"]);
    let table = run(&cluster, &words.collect::<Vec<_>>());
    assert!(
        table.contains("/web") && table.contains("settled"),
        "{table}"
    );
    let shown = run(&cluster, &["app", "show", "web"]);
    let image = format!("image      {}", cluster.path("web.tar").display());
    assert!(shown.contains(&image), "{shown}");
    assert!(shown.contains("arguments  some words"), "{shown}");
    let logs = run(&cluster, &["logs", "web"]);
    assert!(logs.contains("serving as 0 with some words"), "{logs}");
    eventually("it is routed", || {
        let answer = http(port, "GET", "/index.html", &[], "")?;
        answer.body.contains("from the image").then_some(())
    });

    run(&cluster, &["app", "scale", "web", "2"]);
    let two = cluster.await_healthy("/web", 2);
    let victim = first_processes(&cluster);
    let victim = victim.first().expect("a container");
    kill(Pid::from_raw(*victim), Signal::SIGKILL).expect("it runs");
    let after = eventually("the killed one is replaced", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 2 && healthy != two).then_some(healthy)
    });
    assert_eq!(after.intersection(&two).count(), 1);

    // Another image, or the same under another name, is another configuration.
    fs::copy(cluster.path("web.tar"), cluster.path("again.tar")).expect("a copy");
    let image = cluster.path("again.tar").display().to_string();
    let change = json!({"container": {"type": "MESOS", "docker": {"image": image}}});
    let answer = cluster.rest("PUT", "/v2/apps/web", &change.to_string());
    assert_eq!(answer.expect("services answer").status, 200);
    eventually("both are replaced", || {
        let healthy = cluster.healthy("/web");
        (healthy.len() == 2 && healthy.is_disjoint(&after)).then_some(())
    });
    remove(&cluster, &["web"]);
}

#[test]
fn containers_outlive_kill_9_of_their_agent_and_leave_nothing_when_they_end() {
    let mut cluster = started();
    cluster.deploy(&app(
        &cluster,
        "/web",
        &json!({"cmd": "exec sleep 1000", "instances": 2}),
    ));
    let before = eventually("both run", || {
        Some(running(&cluster)).filter(|pids| pids.len() == 2)
    });
    cluster.kill("agent");
    let master = cluster.address(1);
    cluster.start_agent("agent", 0, &master);
    let agent = cluster.port(10);
    eventually("the agent has found them", || {
        let answer = http(agent, "GET", "/health", &[], "")?;
        (answer.json()["tasks"] == 2).then_some(())
    });
    assert_eq!(running(&cluster), before);
    remove(&cluster, &["web"]);
    eventually("nothing is left of their roots", || {
        let runs = fs::read_dir(cluster.path("agent/runs")).ok()?.flatten();
        let parts = runs.flat_map(|run| ["upper", "work", "box"].map(|part| run.path().join(part)));
        (!parts.into_iter().any(|part| part.exists())).then_some(())
    });
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc is mounted");
    assert!(
        !mounts.contains(&cluster.path("agent").display().to_string()),
        "{mounts}"
    );
}

#[test]
fn a_command_checks_a_container_from_within() {
    let cluster = started();
    let check = |line: &str| {
        json!({
            "healthChecks": [{
                "protocol": "COMMAND", "command": {"value": line}, "delaySeconds": 0,
                "gracePeriodSeconds": 300, "intervalSeconds": 1, "timeoutSeconds": 20,
            }],
            "cmd": "sleep 1000",
        })
    };
    // The container's files and processes, and its own environment.
    let good = "test -f /only-in-the-image && test \"$(cat /proc/1/comm)\" = sleep -o \
                \"$(cat /proc/1/comm)\" = sh && test -n \"$MESOS_TASK_ID\"";
    cluster.deploy(&app(&cluster, "/good", &check(good)));
    cluster.await_healthy("/good", 1);
    let bad = format!("test -e {}", cluster.path("web.tar").display());
    cluster.deploy(&app(&cluster, "/bad", &check(&bad)));
    eventually(
        "the other runs, and its check does not see the host",
        || {
            let why = run(&cluster, &["why", "bad"]);
            why.contains("the health checks have not passed")
                .then_some(())
        },
    );
    remove(&cluster, &["good", "bad"]);
}

#[test]
fn why_an_image_does_not_run_is_said_in_words() {
    let cluster = started();
    let hungry = json!({"cmd": "exec dd if=/dev/zero of=/dev/null bs=200M count=1"});
    cluster.deploy(&app(&cluster, "/hungry", &hungry));
    let whole = fs::read(cluster.path("web.tar")).expect("the image");
    fs::write(cluster.path("torn.tar"), &whole[..whole.len() / 2]).expect("half of it");
    let torn =
        json!({"container": {"docker": {"image": cluster.path("torn.tar").display().to_string()}}});
    cluster.deploy(&app(&cluster, "/torn", &torn));
    for (app, says) in [
        ("hungry", "killed: out of memory, it holds 32 MiB"),
        ("torn", "its image cannot be used: "),
    ] {
        eventually(&format!("{app} says {says}"), || {
            let texts = [
                run(&cluster, &["why", app]),
                run(&cluster, &["app", "show", app]),
            ];
            texts.iter().all(|text| text.contains(says)).then_some(())
        });
    }
    remove(&cluster, &["hungry", "torn"]);

    let refused = cluster.run(&["run", "web", "--image", "nginx:1.27"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("registries are not supported yet"), "{said}");
}
