//! What operators decide: quotas, weights, reservations, volumes, agents taken out of use. By the verbs, on a real cluster,
//! and all of it again after `kill -9` of the master.

use serde_json::{Value, json};

use crate::harness::{Cluster, eventually, http};
use crate::zookeeper::Ensemble;

/// What a verb says, as JSON; it must succeed.
fn tell(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The same of a verb that may not be answered yet.
fn ask(cluster: &Cluster, arguments: &[&str]) -> Option<Value> {
    let output = cluster.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).ok()
}

/// That a verb is refused with this exit code and problem code, and with a hint; gives what it says.
fn refused(cluster: &Cluster, arguments: &[&str], exit: i32, code: &str) -> String {
    let output = cluster.run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {said}");
    let begin = format!("error: {code}: ");
    assert!(said.starts_with(&begin), "{arguments:?}: {said}");
    assert!(said.contains("\nhint: "), "{arguments:?}: {said}");
    said
}

/// Services of a role, with their API at this place.
fn start_services(cluster: &mut Cluster, name: &str, role: &str, place: u16) {
    let (master, listen) = (cluster.masters(0), cluster.address(place));
    let work_dir = cluster.path(name).display().to_string();
    let fixed = [
        "services",
        "--master",
        &master,
        "--listen",
        &listen,
        "--work-dir",
        &work_dir,
    ];
    cluster.start(name, &[&fixed[..], &["--role", role]].concat());
}

/// An agent with disk.
fn start_agent(cluster: &mut Cluster, name: &str, number: u16, resources: &str) {
    let (master, listen) = (cluster.address(1), cluster.address(10 + number));
    let work_dir = cluster.path(name).display().to_string();
    let fixed = ["agent", "--master", &master, "--listen", &listen];
    let own = ["--resources", resources, "--work-dir", &work_dir];
    cluster.start(name, &[&fixed[..], &own[..]].concat());
}

/// The ids of the agents when so many are connected.
fn connected(cluster: &Cluster, count: usize) -> Vec<String> {
    eventually("the agents are connected", || {
        let agents = ask(cluster, &["agents"])?;
        let agents = agents.as_array()?.clone();
        let connected = agents.iter().filter(|agent| agent["state"] == "connected");
        let ids: Vec<String> = connected
            .filter_map(|agent| Some(agent["id"].as_str()?.to_owned()))
            .collect();
        (ids.len() == count).then_some(ids)
    })
}

fn app(id: &str, instances: u32) -> Value {
    json!({ "id": id, "cmd": "exec sleep 1000", "cpus": 1, "mem": 32, "instances": instances, "portDefinitions": [] })
}

/// The app's tasks that run.
fn running(cluster: &Cluster, app: &str) -> Option<Vec<Value>> {
    let mut tasks = ask(cluster, &["tasks", "--app", app])?.as_array()?.clone();
    tasks.retain(|task| task["state"] == "running");
    Some(tasks)
}

/// Waits until exactly so many of the app run, and the rest waits for this reason; gives what `why` says.
fn held_at(cluster: &Cluster, app: &str, count: usize, reason: &str) -> Value {
    eventually(
        &format!("{count} of {app} run, the rest waits for {reason}"),
        || {
            let why = ask(cluster, &["why", app])?;
            let agents = why["demand"][0]["agents"].as_array()?.clone();
            let is_said = agents.iter().any(|obstacle| obstacle["reason"] == reason);
            (is_said && running(cluster, app)?.len() == count).then_some(why)
        },
    )
}

fn all_run(cluster: &Cluster, app: &str, count: usize) {
    eventually(&format!("all {count} of {app} run"), || {
        (running(cluster, app)?.len() == count).then_some(())
    });
}

fn restart_master(cluster: &mut Cluster, agents: usize) {
    cluster.kill("master");
    cluster.start_master();
    connected(cluster, agents);
}

#[test]
fn quotas_limit_and_hold_back_and_why_says_so_also_after_a_kill_of_the_master() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, "one", 0, "cpus:4;mem:4096");
    start_agent(&mut cluster, "two", 1, "cpus:4;mem:4096");
    start_services(&mut cluster, "services", "eng/web", 2);
    connected(&cluster, 2);
    let set = tell(
        &cluster,
        &["quota", "set", "eng", "--limit", "cpus:2,gpus:0"],
    );
    assert_eq!(set[0]["quota"]["limit"], json!({ "cpus": 2, "gpus": 0 }));
    cluster.deploy(&app("/web", 4));

    // The limit of the role above holds, and both ways of asking say so.
    let why = held_at(&cluster, "web", 2, "limit_cpus");
    assert_eq!(why["demand"][0]["quota_headroom"]["cpus"], 0, "{why}");
    assert_eq!(why["demand"][0]["wanted"], 2, "{why}");
    let text = cluster.run(&["why", "web"]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("at its limit of cpus"), "{text}");
    assert!(
        text.contains("the quota leaves role eng/web no more than cpus:0"),
        "{text}"
    );
    let of_framework = tell(&cluster, &["why", "services"]);
    assert_eq!(
        of_framework["demand"][0]["role"], "eng/web",
        "{of_framework}"
    );
    let task = running(&cluster, "web").expect("tasks")[0]["id"].clone();
    let of_task = tell(&cluster, &["why", task.as_str().expect("an id")]);
    assert_eq!(of_task["state"], "running", "{of_task}");

    let role = tell(&cluster, &["role", "show", "eng"]);
    assert_eq!(role["consumed"]["cpus"], 2, "{role}");
    assert_eq!(role["share_percent"], 25, "{role}");
    let tree = cluster.run(&["roles"]).stdout;
    let tree = String::from_utf8_lossy(&tree).into_owned();
    assert!(tree.contains("\n  eng/web "), "{tree}");

    // What cannot be, or holds already, is refused; the latter can be forced, and ends nothing.
    let said = refused(
        &cluster,
        &["quota", "set", "eng", "--limit", "cpus:1"],
        5,
        "quota.exceeded",
    );
    assert!(said.contains("quota.limits.cpus"), "{said}");
    let more = ["quota", "set", "a", "--guarantee", "cpus:100"];
    refused(&cluster, &more, 5, "quota.exceeded");
    let against = [
        "quota",
        "set",
        "a",
        "--guarantee",
        "cpus:2",
        "--limit",
        "cpus:1",
    ];
    refused(&cluster, &against, 2, "quota.invalid");
    tell(
        &cluster,
        &["quota", "set", "eng", "--limit", "cpus:1", "--force"],
    );

    // A side that is not named stays, and one that is can be taken away.
    let set = tell(&cluster, &["quota", "set", "eng", "--guarantee", "cpus:1"]);
    assert_eq!(set[0]["quota"]["limit"], json!({ "cpus": 1 }));
    assert_eq!(set[0]["quota"]["guarantee"], json!({ "cpus": 1 }));
    let set = tell(&cluster, &["quota", "set", "eng", "--guarantee", "none"]);
    assert_eq!(set[0]["quota"]["limit"], json!({ "cpus": 1 }));
    assert_eq!(set[0]["quota"]["guarantee"], json!({}));

    let before = tell(&cluster, &["quota", "show", "eng/web"]);
    restart_master(&mut cluster, 2);
    let after = tell(&cluster, &["quota", "show", "eng/web"]);
    assert_eq!(after[0]["quota"], before[0]["quota"]);
    assert_eq!(after[0]["role"], "eng");
    held_at(&cluster, "web", 2, "limit_cpus");
    tell(&cluster, &["quota", "rm", "eng"]);
    tell(&cluster, &["quota", "rm", "eng"]);
    all_run(&cluster, "web", 4);

    // Nobody is in the role, and what it is guaranteed is there for it.
    tell(
        &cluster,
        &["quota", "set", "absent", "--guarantee", "cpus:3"],
    );
    let scaled = cluster.run(&["app", "scale", "web", "8", "--no-wait"]);
    assert!(scaled.status.success());
    held_at(&cluster, "web", 5, "held_back_cpus");
    restart_master(&mut cluster, 2);
    held_at(&cluster, "web", 5, "held_back_cpus");
    tell(&cluster, &["quota", "rm", "absent"]);
    all_run(&cluster, "web", 8);
    refused(&cluster, &["role", "show", "absent"], 4, "role.unknown");
    refused(&cluster, &["why", "nothing-of-this-name"], 4, "app.unknown");
}

#[test]
fn weights_order_who_comes_first_also_after_a_kill_of_the_master() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, "one", 0, "cpus:4;mem:4096");
    start_services(&mut cluster, "services", "a", 2);
    start_services(&mut cluster, "others", "b", 4);
    connected(&cluster, 1);
    let others = format!("http://{}", cluster.address(4));
    cluster.deploy(&app("/first", 2));
    eventually("the other services take an app", || {
        let own = ["--services", &others, "--no-wait"];
        let run = [
            "run",
            "second",
            "--cpus",
            "1",
            "--mem",
            "32",
            "--instances",
            "2",
        ];
        let command = ["--", "exec sleep 1000"];
        let output = cluster.run(&[&run[..], &own[..], &command[..]].concat());
        output.status.success().then_some(())
    });
    all_run(&cluster, "first", 2);
    all_run(&cluster, "second", 2);
    let scaled = cluster.run(&["app", "scale", "first", "4", "--no-wait"]);
    assert!(scaled.status.success());
    let scale = ["app", "scale", "second", "4", "--no-wait"];
    let scaled = cluster.run(&[&scale[..], &["--services", &others]].concat());
    assert!(scaled.status.success());

    let before = |app: &str, services: &[&str]| {
        let why = ask(&cluster, &[&["why", app], services].concat())?;
        why["demand"][0]["claims_before"].as_u64()
    };
    let order = |first: u64, second: u64| {
        eventually(&format!("{first} and {second} others come first"), || {
            let of_first = before("first", &[])?;
            let of_second = before("second", &["--services", &others])?;
            ((of_first, of_second) == (first, second)).then_some(())
        });
    };
    let set = tell(&cluster, &["weight", "set", "a", "2.5"]);
    assert_eq!(set[0]["weight"], 2.5);
    order(0, 1);
    tell(&cluster, &["weight", "rm", "a"]);
    tell(&cluster, &["weight", "set", "b", "4"]);
    order(1, 0);
    // Two frameworks have this name.
    refused(&cluster, &["why", "services"], 4, "framework.unknown");
    refused(&cluster, &["weight", "set", "b", "0"], 2, "field.invalid");

    cluster.kill("master");
    cluster.start_master();
    connected(&cluster, 1);
    let roles = tell(&cluster, &["roles"]);
    let weights: Vec<(&Value, &Value)> = roles
        .as_array()
        .expect("a list")
        .iter()
        .map(|role| (&role["role"], &role["weight"]))
        .collect();
    assert!(weights.contains(&(&json!("a"), &json!(1))), "{roles}");
    assert!(weights.contains(&(&json!("b"), &json!(4))), "{roles}");
    let before = |app: &str, services: &[&str]| {
        let why = ask(&cluster, &[&["why", app], services].concat())?;
        why["demand"][0]["claims_before"].as_u64()
    };
    eventually("the order is the same", || {
        let others = before("second", &["--services", &others])?;
        ((before("first", &[])?, others) == (1, 0)).then_some(())
    });
}

/// With a volume `data` of 100 MiB, and 400 MiB of disk beside it, which is so again in the end.
fn volumes_are_resized(cluster: &Cluster, agent: &str) {
    let resize = |verb: &'static str, id: &'static str, by: &'static str| {
        ["volume", verb, agent, "--id", id, "--by", by]
    };
    let size = |shown: &Value, id: &str| {
        let mut items = shown["special"].as_array().expect("a list").iter();
        let item = items.find(|item| item["volume_id"] == id);
        let item = item.expect("the volume");
        (item["disk_mib"].clone(), item["shared"] == true)
    };
    let shown = tell(cluster, &resize("grow", "data", "50.5"));
    assert_eq!(size(&shown, "data"), (json!(150.5), false));
    let shown = tell(cluster, &resize("shrink", "data", "50.5"));
    assert_eq!(size(&shown, "data"), (json!(100), false));
    let create = [
        "--role", "eng", "--id", "common", "--size", "10", "--shared",
    ];
    let create = [&["volume", "create", agent], &create[..]].concat();
    let shown = tell(cluster, &create);
    assert_eq!(size(&shown, "common"), (json!(10), true));
    for (arguments, exit, code) in [
        (resize("grow", "data", "400"), 5, "resources.not_free"),
        (resize("shrink", "data", "100"), 2, "volume.invalid"),
        (resize("grow", "data", "0"), 2, "field.missing"),
        (resize("grow", "common", "1"), 2, "volume.invalid"),
        (resize("shrink", "none", "1"), 4, "volume.unknown"),
    ] {
        refused(cluster, &arguments, exit, code);
    }
    tell(cluster, &["volume", "rm", agent, "--id", "common"]);
}

#[test]
fn reservations_and_volumes_are_made_refused_kept_and_taken_away() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    let resources = "cpus:4;mem:4096;disk:1000;cpus(fixed):1";
    start_agent(&mut cluster, "one", 0, resources);
    start_agent(&mut cluster, "two", 1, resources);
    let agents = connected(&cluster, 2);
    let agent = agents[0].as_str();
    // Both are on this host.
    refused(
        &cluster,
        &["agent", "show", "127.0.0.1"],
        4,
        "agent.unknown",
    );
    refused(&cluster, &["agent", "show", "nowhere"], 4, "agent.unknown");

    let reserve = |role: &str, resources: &str| {
        let own = ["--role", role, "--label", "why=test"];
        tell(
            &cluster,
            &[&["reserve", agent, resources], &own[..]].concat(),
        )
    };
    reserve("eng", "cpus:2;mem:512;disk:500");
    let shown = reserve("eng/web", "cpus(eng):1");
    let item = |shown: &Value, name: &str, role: &str| {
        let all = shown["special"].as_array().expect("a list").iter();
        let mut all = all.filter(|item| item["name"] == name && item["role"] == role);
        all.next().cloned().unwrap_or_default()
    };
    assert_eq!(item(&shown, "cpus", "eng")["cpus"], 1, "{shown}");
    let web = item(&shown, "cpus", "eng/web");
    assert_eq!(web["reservations"][1]["labels"]["why"], "test", "{shown}");
    assert!(web["reservations"][1]["principal"].is_string(), "{shown}");
    assert_eq!(shown["total"]["cpus"], 5, "{shown}");
    let table: &[(&[&str], i32, &str)] = &[
        (
            &["reserve", agent, "cpus:9", "--role", "eng"],
            5,
            "resources.not_free",
        ),
        (
            &["reserve", agent, "cpus:1", "--role", "*"],
            2,
            "reservation.invalid",
        ),
        (
            &["reserve", agent, "cpus(eng):1", "--role", "ops"],
            2,
            "reservation.invalid",
        ),
        (&["reserve", agent, "", "--role", "eng"], 2, "field.missing"),
        (
            &["unreserve", agent, "cpus:2", "--role", "eng"],
            5,
            "resources.not_free",
        ),
        (
            &["unreserve", agent, "cpus:1", "--role", "none"],
            5,
            "resources.not_free",
        ),
        // By the agent's configuration.
        (
            &["unreserve", agent, "cpus:1", "--role", "fixed"],
            2,
            "reservation.invalid",
        ),
    ];
    for (arguments, exit, code) in table {
        refused(&cluster, arguments, *exit, code);
    }

    let create = |role: &'static str, size: &'static str| {
        let own = ["--role", role, "--id", "data", "--size", size];
        [&["volume", "create", agent], &own[..]].concat()
    };
    refused(&cluster, &create("ops", "100"), 5, "resources.not_free");
    refused(&cluster, &create("eng", "600"), 5, "resources.not_free");
    let shown = tell(&cluster, &create("eng", "100"));
    let items = shown["special"].as_array().expect("a list").clone();
    let is_volume = |item: &&Value| item["volume_id"] == "data";
    let volume = items.iter().find(is_volume).expect("the volume");
    assert_eq!(
        (&volume["disk_mib"], &volume["role"]),
        (&json!(100), &json!("eng"))
    );
    refused(&cluster, &create("eng", "50"), 5, "volume.exists");
    volumes_are_resized(&cluster, agent);
    let all_disk = ["unreserve", agent, "disk:500", "--role", "eng"];
    refused(&cluster, &all_disk, 5, "resources.not_free");
    let roles = tell(&cluster, &["role", "show", "eng"]);
    assert_eq!(
        roles["reserved"],
        json!({ "cpus": 2, "disk_mib": 500, "mem_mib": 512 })
    );

    let before = tell(&cluster, &["agent", "show", agent])["special"].clone();
    restart_master(&mut cluster, 2);
    let after = tell(&cluster, &["agent", "show", agent])["special"].clone();
    assert_eq!(after, before);

    let other = tell(&cluster, &["agent", "show", &agents[1]])["special"].clone();
    let remove = ["volume", "rm", agent, "--id", "data"];
    tell(&cluster, &remove);
    refused(&cluster, &remove, 4, "volume.unknown");
    tell(
        &cluster,
        &["unreserve", agent, "cpus:1", "--role", "eng/web"],
    );
    let rest = "cpus:2;mem:512;disk:500";
    let shown = tell(&cluster, &["unreserve", agent, rest, "--role", "eng"]);
    // All that is left is what the agent's configuration reserves, as on the other.
    assert_eq!(shown["special"], other, "{shown}");
}

#[test]
fn what_tasks_hold_is_neither_reserved_nor_unreserved() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, "one", 0, "cpus:4;mem:4096");
    start_services(&mut cluster, "services", "eng", 2);
    let agents = connected(&cluster, 1);
    let agent = agents[0].as_str();
    tell(
        &cluster,
        &["reserve", "127.0.0.1", "cpus:3;mem:64", "--role", "eng"],
    );
    cluster.deploy(&app("/web", 2));
    all_run(&cluster, "web", 2);
    // Of what is reserved for their role, while there is some.
    let shown = tell(&cluster, &["agent", "show", agent]);
    assert_eq!(shown["used"]["cpus"], 2, "{shown}");
    assert_eq!(shown["special"][0]["used_cpus"], 2, "{shown}");
    // Two cpus are held, so three that are reserved cannot all be free.
    let unreserve = ["unreserve", agent, "cpus:3", "--role", "eng"];
    let said = refused(&cluster, &unreserve, 5, "resources.not_free");
    assert!(said.contains("cpus"), "{said}");
    let reserve = ["reserve", agent, "cpus:2", "--role", "ops"];
    refused(&cluster, &reserve, 5, "resources.not_free");
    assert_eq!(running(&cluster, "web").expect("tasks").len(), 2);
    // Whatever is done with an agent, it is answered as it is shown.
    for verb in ["deactivate", "drain", "reactivate"] {
        let after = tell(&cluster, &["agent", verb, agent]);
        let reserved = &after["special"][0]["reservations"];
        assert_eq!(reserved, &shown["special"][0]["reservations"], "{after}");
        assert_eq!(reserved[0]["role"], "eng", "{after}");
    }
}

#[test]
fn agents_are_taken_out_of_use_and_back_also_after_a_kill_of_the_master() {
    let mut cluster = Cluster::new();
    cluster.start_master();
    start_agent(&mut cluster, "one", 0, "cpus:8;mem:4096");
    start_agent(&mut cluster, "two", 1, "cpus:8;mem:4096");
    start_services(&mut cluster, "services", "eng", 2);
    let agents = connected(&cluster, 2);
    cluster.deploy(&app("/web", 4));
    all_run(&cluster, "web", 4);
    let on = |cluster: &Cluster, agent: &str| {
        let tasks = running(cluster, "web").expect("tasks");
        let there = tasks.iter().filter(|task| task["agent_id"] == agent);
        there.count()
    };
    let (there, elsewhere) = (on(&cluster, &agents[0]), on(&cluster, &agents[1]));
    assert!(there > 0, "instances spread: {there} and {elsewhere}");

    let note = cluster.run(&["agent", "deactivate", &agents[1]]);
    let said = String::from_utf8_lossy(&note.stderr).into_owned();
    assert!(
        note.status.success() && said.contains("nothing ends them"),
        "{said}"
    );
    // There is nowhere to go, so all stay where they are.
    let drained = tell(
        &cluster,
        &["agent", "drain", &agents[0], "--deadline", "2h"],
    );
    assert_eq!(drained["drain"]["deadline_ms"], 7_200_000, "{drained}");
    assert_eq!(drained["drain"]["drained"], false, "{drained}");
    let table = cluster.run(&["agents"]).stdout;
    let table = String::from_utf8_lossy(&table).into_owned();
    assert!(
        table.contains("connected, draining (1") && table.contains("m left)"),
        "{table}"
    );

    let scaled = cluster.run(&["app", "scale", "web", "6", "--no-wait"]);
    assert!(scaled.status.success());
    held_at(&cluster, "web", 4, "agent_state");
    assert_eq!(
        (on(&cluster, &agents[0]), on(&cluster, &agents[1])),
        (there, elsewhere)
    );
    restart_master(&mut cluster, 2);
    let why = held_at(&cluster, "web", 4, "agent_state");
    let obstacles = why["demand"][0]["agents"]
        .as_array()
        .expect("a list")
        .iter();
    let messages: Vec<&str> = obstacles
        .filter_map(|obstacle| obstacle["message"].as_str())
        .collect();
    assert_eq!(messages, ["1 agent is deactivated", "1 agent is drained"]);
    let shown = tell(&cluster, &["agent", "show", &agents[0]]);
    assert_eq!(shown["drain"]["deadline_ms"], 7_200_000, "{shown}");
    assert_eq!(shown["drain"]["drained"], false, "{shown}");
    let ends = |shown: &Value| shown["drain"]["ends_wall_ms"].as_u64().expect("a time");
    assert!(ends(&shown) >= ends(&drained), "{shown}: never earlier");
    assert_eq!(shown["deactivated"], false, "{shown}");

    let back = tell(&cluster, &["agent", "reactivate", &agents[1]]);
    assert_eq!(back["deactivated"], false, "{back}");
    eventually("all have moved, and the agent is drained", || {
        let is_there = on(&cluster, &agents[0]) == 0 && on(&cluster, &agents[1]) == 6;
        let shown = ask(&cluster, &["agent", "show", &agents[0]])?;
        (is_there && shown["drain"]["drained"] == true).then_some(())
    });
    let back = tell(&cluster, &["agent", "reactivate", &agents[0]]);
    assert_eq!(back["drain"], Value::Null, "{back}");
    // Done already is done.
    tell(&cluster, &["agent", "reactivate", &agents[0]]);
    let scaled = cluster.run(&["app", "scale", "web", "8", "--no-wait"]);
    assert!(scaled.status.success());
    all_run(&cluster, "web", 8);
    refused(&cluster, &["agent", "drain", "nowhere"], 4, "agent.unknown");
}

#[test]
fn changes_go_to_the_leader_whichever_master_is_named_and_outlive_it() {
    let ensemble = Ensemble::start(1);
    let store = ensemble.url("", "/proffer");
    let mut cluster = Cluster::with_masters(2);
    (0..2).for_each(|number| cluster.start_master_of(number, &store));
    let place = |number| cluster.master_place(number);
    let places = [place(0), place(1)];
    let leads = |cluster: &Cluster, number: u16| {
        let port = cluster.port(cluster.master_place(number));
        let health = http(port, "GET", "/health", &[], "");
        health.is_some_and(|answer| answer.json()["leading"] == true)
    };
    let leader = eventually("a master leads", || (0..2).find(|n| leads(&cluster, *n)));
    let other = 1 - leader;
    let standby = cluster.address(places[usize::from(other)]);
    let by_standby = ["weight", "set", "eng", "2", "--master", &standby];
    let set = tell(&cluster, &by_standby);
    assert_eq!(set[0]["weight"], 2, "{set}");
    let quota = tell(&cluster, &["quota", "set", "eng", "--limit", "cpus:1"]);
    assert_eq!(quota[0]["quota"]["limit"]["cpus"], 1, "{quota}");

    // While nobody leads a change waits for who leads next.
    cluster.kill(&format!("master-{leader}"));
    let set = tell(
        &cluster,
        &["weight", "set", "eng/web", "3", "--master", &standby],
    );
    assert_eq!(set[0]["weight"], 3, "{set}");
    let role = tell(&cluster, &["role", "show", "eng"]);
    assert_eq!(role["weight"], 2, "{role}");
    assert_eq!(role["quota"]["limit"]["cpus"], 1, "{role}");
}
