//! What frameworks that were written for Mesos ask of a task, from the call to what its process finds: a master, an agent and
//! a framework that speaks for itself.

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, http};

use super::scheduler::{Scheduler, scalar, task};

/// Starts the cluster's one agent, with `more` options.
fn start_agent(cluster: &mut Cluster, more: &[&str]) {
    let (master, listen) = (cluster.address(1), cluster.address(10));
    let work_dir = cluster.path("agent").display().to_string();
    let first = cluster.port(100);
    let resources = format!("cpus:4;mem:4096;disk:1000;ports:[{first}-{}]", first + 19);
    let fixed = ["agent", "--master", &master, "--listen", &listen];
    let own = ["--resources", &resources, "--work-dir", &work_dir];
    cluster.start("agent", &[&fixed[..], &own[..], more].concat());
}

fn with_one_agent(more: &[&str]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, more);
    is_connected(&cluster);
    cluster
}

fn is_connected(cluster: &Cluster) {
    eventually("the agent is connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("\"connected\"").then_some(())
    });
}

fn page(cluster: &Cluster, path: &str) -> Option<Value> {
    let token = std::fs::read_to_string(cluster.path("token")).expect("a token");
    let header = format!("authorization: Bearer {}", token.trim());
    let answer = http(cluster.port(0), "GET", path, &[&header], "")?;
    (answer.status == 200).then(|| answer.json())
}

/// The resource that is a volume, as it is offered.
fn volume_of(offer: &Value) -> Option<Value> {
    let mut resources = offer["resources"].as_array().expect("resources").iter();
    let is_it = |resource: &&Value| !resource["disk"]["persistence"].is_null();
    resources.find(is_it).cloned()
}

/// The next offer that has the volume, or has not.
fn offer_with(scheduler: &mut Scheduler, has: bool) -> Value {
    loop {
        let offer = scheduler.offer();
        if volume_of(&offer).is_some() == has {
            return offer;
        }
        let part = json!({"offer_ids": [offer["id"]], "filters": {"refuse_seconds": 1.0}});
        scheduler.call("DECLINE", &part);
    }
}

fn reserved_disk() -> Value {
    let mut disk = scalar("disk", 64.0);
    disk["reservations"] = json!([{"type": "DYNAMIC", "role": "eng", "principal": "local"}]);
    disk
}

#[test]
fn a_volume_is_offered_with_its_path_and_mounted_by_who_launches_with_what_is_offered() {
    let mut cluster = with_one_agent(&[]);
    let info = json!({"roles": ["eng"]});
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &info);
    let (disk, mut volume) = (reserved_disk(), reserved_disk());
    volume["disk"] = json!({"persistence": {"id": "notes", "principal": "local"},
        "volume": {"container_path": "kept/here", "mode": "RW"}});
    let offer = scheduler.offer();
    scheduler.accept(
        &offer,
        &[
            json!({"type": "RESERVE", "reserve": {"resources": [disk]}}),
            json!({"type": "CREATE", "create": {"volumes": [volume]}}),
        ],
    );
    let run = |scheduler: &mut Scheduler, id: &str, line: &str| {
        let offer = offer_with(scheduler, true);
        let offered = volume_of(&offer).expect("a volume");
        let at = json!({"container_path": "kept/here", "mode": "RW"});
        assert_eq!(offered["disk"]["volume"], at, "{offered}");
        let mut task = task(id, line);
        let resources = task["resources"].as_array_mut().expect("resources");
        resources.push(offered);
        scheduler.launch(&offer, &task);
        scheduler.status(id, "TASK_FINISHED");
    };
    run(&mut scheduler, "writes", "echo one > kept/here/file");
    run(&mut scheduler, "reads", "test $(cat kept/here/file) = one");
    // A task may have it elsewhere, and changes nothing by it.
    let offer = offer_with(&mut scheduler, true);
    let mut elsewhere = volume_of(&offer).expect("a volume");
    elsewhere["disk"]["volume"]["container_path"] = json!("there");
    let mut other = task("elsewhere", "test $(cat there/file) = one");
    let resources = other["resources"].as_array_mut().expect("resources");
    resources.push(elsewhere);
    scheduler.launch(&offer, &other);
    scheduler.status("elsewhere", "TASK_FINISHED");
    run(&mut scheduler, "again", "test $(cat kept/here/file) = one");

    // It is as durable as the volume.
    cluster.kill("master");
    cluster.start_master();
    let page = eventually("the agent is back", || {
        let page = page(&cluster, "/master/slaves")?;
        (page["slaves"][0]["active"] == true).then_some(page)
    });
    let volumes = &page["slaves"][0]["reserved_resources_full"]["eng"];
    assert_eq!(
        volumes[0]["disk"]["volume"]["container_path"], "kept/here",
        "{volumes}"
    );
    let info = json!({"roles": ["eng"], "id": {"value": scheduler.framework}});
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &info);
    run(&mut scheduler, "after", "test $(cat kept/here/file) = one");
}
