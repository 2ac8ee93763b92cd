//! An app is replaced by another version of itself while HAProxy routes to it: within the limits of its upgradeStrategy at
//! every moment that is looked at, and without a request that is not answered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::roles::hello;
use crate::harness::{Cluster, eventually, http};

const INSTANCES: usize = 4;

/// What must hold at every moment of a replacement.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    healthy_min: usize,
    present_max: usize,
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

/// The app; versions differ in their environment.
fn app(port: u16, version: &str, strategy: (f64, f64)) -> Value {
    let mut app = hello("/web", u32::try_from(INSTANCES).expect("small"), port);
    app["env"] = json!({ "RELEASE": version });
    app["upgradeStrategy"] = json!({
        "minimumHealthCapacity": strategy.0,
        "maximumOverCapacity": strategy.1,
    });
    // So that a version which never becomes healthy is waited for, and not killed for it.
    app["healthChecks"][0]["gracePeriodSeconds"] = json!(300);
    app
}

/// Asks through HAProxy without a pause, until it is told to end.
struct Traffic {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<Vec<String>>,
}

impl Traffic {
    fn start(port: u16) -> Self {
        let (is_over, answered) = (Arc::default(), Arc::default());
        let (until, count): (Arc<AtomicBool>, Arc<AtomicUsize>) =
            (Arc::clone(&is_over), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !until.load(Ordering::Relaxed) {
                match http(port, "GET", "/", &[], "") {
                    Some(answer) if answer.status == 200 => {
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    other => failures.push(format!("{other:?}")),
                }
            }
            failures
        });
        Self {
            is_over,
            answered,
            thread,
        }
    }

    /// Waits until so many more requests are answered.
    fn wait(&self, more: usize) {
        let until = self.answered.load(Ordering::Relaxed) + more;
        eventually(&format!("{more} more answers"), || {
            (self.answered.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// Ends, and fails if any request was not answered.
    fn finish(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let failures = self.thread.join().expect("the thread ends");
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(
            failures.is_empty(),
            "{} of {} requests failed, the first: {}",
            failures.len(),
            failures.len() + answered,
            failures[0]
        );
        assert!(answered > 0, "nobody asked");
    }
}

/// The app's tasks by what the services say, checked against the bounds: all, and those that are healthy.
fn look(cluster: &Cluster, bounds: Bounds) -> (BTreeSet<String>, BTreeSet<String>) {
    let answer = cluster
        .rest("GET", "/v2/apps/web/tasks", "")
        .expect("services answer");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let body = answer.json();
    let tasks = body["tasks"].as_array().expect("tasks");
    let id = |task: &Value| task["id"].as_str().expect("an id").to_owned();
    let is_healthy = |task: &&Value| {
        task["state"] == "TASK_RUNNING" && task["healthCheckResults"][0]["alive"] == true
    };
    let all: BTreeSet<String> = tasks.iter().map(id).collect();
    let healthy: BTreeSet<String> = tasks.iter().filter(is_healthy).map(id).collect();
    assert!(all.len() <= bounds.present_max, "{bounds:?}: {body}");
    assert!(healthy.len() >= bounds.healthy_min, "{bounds:?}: {body}");
    let processes = cluster.task_pids();
    assert!(
        processes.len() <= bounds.present_max,
        "{bounds:?}: {processes:?}"
    );
    (all, healthy)
}

fn change(cluster: &Cluster, app: &Value, force: bool) -> u16 {
    let path = format!("/v2/apps/web?force={force}");
    let answer = cluster.rest("PUT", &path, &app.to_string());
    answer.expect("services answer").status
}

fn is_deploying(cluster: &Cluster) -> bool {
    let answer = cluster.rest("GET", "/v2/deployments", "");
    answer.is_some_and(|answer| answer.json() != json!([]))
}

/// Looks until the deployment has ended and none of the tasks before it is left.
fn await_replaced(cluster: &Cluster, bounds: Bounds, before: &BTreeSet<String>) {
    eventually("all instances are replaced", || {
        let (all, healthy) = look(cluster, bounds);
        let is_done = all.len() == INSTANCES && healthy == all && all.is_disjoint(before);
        (is_done && !is_deploying(cluster)).then_some(())
    });
}

fn run(cluster: &Cluster, arguments: &[&str]) -> String {
    let output = cluster.run(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn replaced_within(strategy: (f64, f64), bounds: Bounds) {
    let cluster = started();
    let port = cluster.port(50);
    cluster.deploy(&app(port, "1", strategy));
    let before = cluster.await_healthy("/web", INSTANCES);
    cluster.await_routed(port, &before);
    let traffic = Traffic::start(port);
    traffic.wait(10);
    assert_eq!(change(&cluster, &app(port, "2", strategy), false), 200);
    await_replaced(&cluster, bounds, &before);
    traffic.wait(10);
    traffic.finish();
    let (all, _) = look(&cluster, bounds);
    cluster.await_routed(port, &all);
}

#[test]
fn with_all_healthy_and_a_quarter_more_one_comes_before_one_goes() {
    let bounds = Bounds {
        healthy_min: 4,
        present_max: 5,
    };
    replaced_within((1.0, 0.25), bounds);
}

#[test]
fn with_half_healthy_and_none_more_two_go_before_two_come() {
    let bounds = Bounds {
        healthy_min: 2,
        present_max: 4,
    };
    replaced_within((0.5, 0.0), bounds);
}

#[test]
fn a_broken_version_stays_within_the_strategy_says_why_and_gives_way_to_a_forced_one() {
    let strategy = (1.0, 0.25);
    let bounds = Bounds {
        healthy_min: 4,
        present_max: 5,
    };
    let cluster = started();
    let port = cluster.port(50);
    cluster.deploy(&app(port, "1", strategy));
    let before = cluster.await_healthy("/web", INSTANCES);
    cluster.await_routed(port, &before);
    let traffic = Traffic::start(port);

    // Runs, and never answers.
    let mut silent = app(port, "2", strategy);
    silent["cmd"] = json!("exec sleep 1000");
    assert_eq!(change(&cluster, &silent, false), 200);
    let told = eventually("the silent one is told of", || {
        look(&cluster, bounds);
        let why = run(&cluster, &["why", "web"]);
        why.contains("- 1 instance: running, and the health checks have not passed")
            .then_some(why)
    });
    assert!(
        told.contains("/web: 4 wanted, 5 running, 4 healthy"),
        "{told}"
    );
    assert!(
        told.contains("within the limits of upgradeStrategy"),
        "{told}"
    );
    let shown = run(&cluster, &["app", "show", "web"]);
    assert!(shown.contains("state      deploying"), "{shown}");
    assert!(shown.contains("4 of 4 ready"), "{shown}");
    for _ in 0..5 {
        traffic.wait(20);
        let (all, healthy) = look(&cluster, bounds);
        assert_eq!((all.len(), &healthy), (5, &before), "nobody goes for it");
    }

    // Ends at once; one that is not forced is refused.
    let mut failing = app(port, "3", strategy);
    failing["cmd"] = json!("echo no; exit 3");
    assert_eq!(change(&cluster, &failing, false), 409);
    assert_eq!(change(&cluster, &failing, true), 200);
    eventually("the failing one is told of", || {
        let (_, healthy) = look(&cluster, bounds);
        assert_eq!(healthy, before, "nobody goes for it");
        let shown = run(&cluster, &["app", "show", "web"]);
        let why = run(&cluster, &["why", "web"]);
        [shown, why]
            .iter()
            .all(|text| text.contains("exited with code 3"))
            .then_some(())
    });

    assert_eq!(change(&cluster, &app(port, "4", strategy), true), 200);
    await_replaced(&cluster, bounds, &before);
    traffic.wait(10);
    traffic.finish();
    let shown = run(&cluster, &["app", "show", "web"]);
    assert!(shown.contains("state      settled"), "{shown}");
}
