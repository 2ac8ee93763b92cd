//! Resources that may be taken back: an agent's configuration says how much, a framework that takes them is offered them and
//! runs on them, one that does not is not; and less of them is offered when the agent says so.

use serde_json::{Value, json};

use crate::e2e::scheduler::{Scheduler, task};
use crate::harness::{Cluster, eventually};

fn start_agent(cluster: &mut Cluster, resources: &str) {
    let (master, listen) = (cluster.address(1), cluster.address(10));
    let work_dir = cluster.path("agent").display().to_string();
    let fixed = ["agent", "--master", &master, "--listen", &listen];
    let own = ["--resources", resources, "--work-dir", &work_dir];
    cluster.start("agent", &[&fixed[..], &own[..]].concat());
}

/// How many processors an offer has: of the ordinary ones, and of those that may be taken back.
fn cpus(offer: &Value) -> (f64, f64) {
    let all = offer["resources"].as_array().expect("resources");
    let of = |is_revocable: bool| {
        let mut all = all.iter().filter(|resource| resource["name"] == "cpus");
        let found = all.find(|resource| resource.get("revocable").is_some() == is_revocable);
        found.map_or(0.0, |found| {
            found["scalar"]["value"].as_f64().expect("a number")
        })
    };
    (of(false), of(true))
}

#[test]
fn what_may_be_taken_back_is_offered_to_those_that_take_it() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, "cpus:2;mem:1024;cpus{REV}:4");
    eventually("the agent is connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("\"connected\"").then_some(())
    });
    let mut careful = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["*"]}));
    assert_eq!(cpus(&careful.offer()), (2.0, 0.0));

    let takes = json!({"roles": ["*"], "capabilities": [{"type": "MULTI_ROLE"}, {"type": "REVOCABLE_RESOURCES"}]});
    let mut bold = Scheduler::subscribe(&cluster, 0, &takes);
    let offer = bold.offer();
    assert_eq!(cpus(&offer), (0.0, 4.0), "the other has what is ordinary");
    let mut task = task("batch", "exec sleep 1000");
    let one = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}, "revocable": {}});
    task["resources"] = json!([one]);
    bold.launch(&offer, &task);
    bold.status("batch", "TASK_RUNNING");
    let rest = bold.offer();
    assert_eq!(cpus(&rest), (0.0, 3.0));

    // The estimate has changed.
    cluster.kill("agent");
    start_agent(&mut cluster, "cpus:2;mem:1024;cpus{REV}:2");
    bold.event("RESCIND", |rescind| rescind["offer_id"] == rest["id"]);
    assert_eq!(cpus(&bold.offer()).1, 1.0, "one of the two is in use");
}
