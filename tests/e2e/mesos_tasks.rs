//! What frameworks that were written for Mesos ask of a task, from the call to what its process finds: a master, an agent and
//! a framework that speaks for itself.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE, eventually, http};

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

/// A server of one file, `GET /tool`, and of one that never ends, `GET /stuck`. Answers its port.
fn serve(tool: &'static str) -> (u16, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (say, begun) = channel();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let say = say.clone();
            thread::spawn(move || answer(socket, tool, &say));
        }
    });
    (port, begun)
}

fn answer(mut socket: TcpStream, tool: &str, begun: &Sender<()>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|len| len > 0) {
        head.push(byte[0]);
    }
    let is_stuck = head.starts_with(b"GET /stuck");
    let len = if is_stuck { 1_000 } else { tool.len() };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{tool}");
    // Whoever asked may be gone.
    let _ = socket.write_all(head.as_bytes());
    if is_stuck {
        let _ = begun.send(());
        let _ = socket.read(&mut byte);
    }
}

/// The processes that a process has started and that have not ended.
fn children(pid: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let of = |path: std::path::PathBuf| {
        std::fs::read_to_string(path.join("children")).unwrap_or_default()
    };
    let all: Vec<String> = tasks.flatten().map(|entry| of(entry.path())).collect();
    all.join(" ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn command_line(pid: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

#[test]
fn uris_are_fetched_and_a_program_is_called_as_its_first_argument_says() {
    let cluster = with_one_agent(&["--insecure-fetch-local"]);
    let (port, _) = serve("#!/bin/sh\necho \"$0 $1\" > said\n");
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let mut fetching = task(
        "fetches",
        "./bin/tool one && test \"$(cat said)\" = './bin/tool one'",
    );
    fetching["command"]["uris"] = json!([{
        "value": format!("http://127.0.0.1:{port}/tool"), "executable": true, "output_file": "bin/tool", "cache": true,
    }]);
    let offer = scheduler.offer();
    scheduler.launch(&offer, &fetching);
    scheduler.status("fetches", "TASK_FINISHED");
    // `sh` is called `ash`, and says so.
    let mut named = task("named", "");
    named["command"] =
        json!({"shell": false, "value": "/bin/sh", "arguments": ["ash", "-c", "test $0 = ash"]});
    let offer = scheduler.offer();
    scheduler.launch(&offer, &named);
    scheduler.status("named", "TASK_FINISHED");
    let mut missing = task("misses", "true");
    missing["command"]["uris"] = json!([{"value": "http://127.0.0.1:1/a?secret"}]);
    let offer = scheduler.offer();
    scheduler.launch(&offer, &missing);
    let failed = scheduler.status("misses", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LAUNCH_FAILED");
    let message = failed["message"].as_str().expect("a message");
    assert!(
        message.contains("http://127.0.0.1:1/a") && !message.contains("secret"),
        "{message}"
    );
}

#[test]
fn a_dev_fetches_from_its_own_host_where_that_is_let() {
    let mut cluster = Cluster::new();
    let (base, data) = (cluster.port(0).to_string(), cluster.path("data"));
    let data = data.display().to_string();
    let fixed = ["dev", "--port-base", &base, "--data-dir", &data];
    let own = ["--no-haproxy", "--insecure-fetch-local"];
    cluster.start("dev", &[&fixed[..], &own[..]].concat());
    eventually("the guidance is printed", || {
        cluster
            .log("dev")
            .contains("nothing runs yet")
            .then_some(())
    });
    let (port, _) = serve("from the framework");
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let mut fetching = task("fetches", "test \"$(cat tool)\" = 'from the framework'");
    fetching["command"]["uris"] = json!([{"value": format!("http://127.0.0.1:{port}/tool")}]);
    let offer = scheduler.offer();
    scheduler.launch(&offer, &fetching);
    scheduler.status("fetches", "TASK_FINISHED");
}

#[test]
fn an_agent_that_is_killed_while_it_fetches_leaves_no_child_and_the_next_one_fetches_anew() {
    let mut cluster = with_one_agent(&["--insecure-fetch-local"]);
    let (port, begun) = serve("x");
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let mut stuck = task("stuck", "true");
    stuck["command"]["uris"] = json!([{"value": format!("http://127.0.0.1:{port}/stuck")}]);
    let offer = scheduler.offer();
    scheduler.launch(&offer, &stuck);
    begun.recv_timeout(PATIENCE).expect("it is asked for");
    let all = children(cluster.pid("agent"));
    let mut fetchers = all.iter().filter(|pid| command_line(pid).contains("fetch"));
    let child = fetchers.next().expect("a child").clone();
    cluster.kill("agent");
    eventually("the child has ended", || {
        (!command_line(&child).contains("fetch")).then_some(())
    });
    start_agent(&mut cluster, &["--insecure-fetch-local"]);
    begun.recv_timeout(PATIENCE).expect("it is asked for again");
    let of_task = json!({"task_id": {"value": "stuck"}});
    scheduler.call("KILL", &of_task);
    scheduler.status("stuck", "TASK_KILLED");
    eventually("nothing is on its way", || {
        let all = children(cluster.pid("agent"));
        (!all.iter().any(|pid| command_line(pid).contains("fetch"))).then_some(())
    });
}

/// A part of a name as mesos-dns makes it.
fn label(text: &str) -> String {
    let text = text.to_lowercase().replace(['.', '_'], "-");
    let text: String = text
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    text.trim_matches('-').chars().take(63).collect()
}

/// The names that mesos-dns makes of the tasks in `/state`, as its documents say, but for those with a hash in them.
fn names_of(state: &Value) -> BTreeSet<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut names = BTreeSet::new();
    let agents: BTreeSet<String> = list(&state["slaves"])
        .iter()
        .map(|agent| text(&agent["id"]))
        .collect();
    for framework in list(&state["frameworks"]) {
        let of = text(&framework["name"]);
        let of: Vec<String> = of.split('.').map(label).collect();
        let of = of.join(".");
        let running = |task: &Value| {
            task["state"] == "TASK_RUNNING" && agents.contains(&text(&task["slave_id"]))
        };
        for task in list(&framework["tasks"])
            .iter()
            .filter(|task| running(task))
        {
            let discovery = &task["discovery"];
            let name = match text(&discovery["name"]) {
                name if name.is_empty() => label(&text(&task["name"])),
                name => label(&name),
            };
            for status in list(&task["statuses"])
                .iter()
                .filter(|status| status["state"] == "TASK_RUNNING")
            {
                for network in list(&status["container_status"]["network_infos"]) {
                    for address in list(&network["ip_addresses"]) {
                        names.insert(format!(
                            "{name}.{of}.mesos A {}",
                            text(&address["ip_address"])
                        ));
                    }
                }
            }
            for port in list(&discovery["ports"]["ports"]) {
                let (number, protocol) = (&port["number"], text(&port["protocol"]));
                names.insert(format!("_{name}._{protocol}.{of}.mesos SRV {number}"));
                if !text(&port["name"]).is_empty() {
                    let of_port = label(&text(&port["name"]));
                    names.insert(format!(
                        "_{of_port}._{name}._{protocol}.{of}.mesos SRV {number}"
                    ));
                }
            }
        }
    }
    names
}

#[test]
fn what_is_said_for_discovery_is_shown_and_makes_the_names_that_mesos_dns_makes() {
    let cluster = with_one_agent(&[]);
    let info = json!({"roles": ["eng"], "name": "marathon.prod"});
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &info);
    let discovery = json!({
        "visibility": "EXTERNAL", "name": "Big_Web", "environment": "prod", "version": "1",
        "ports": {"ports": [
            {"number": 8080, "name": "http", "protocol": "tcp", "labels": {"labels": [{"key": "path", "value": "/"}]}},
            {"number": 53, "protocol": "udp", "visibility": "FRAMEWORK"},
        ]},
        "labels": {"labels": [{"key": "team", "value": "a"}]},
    });
    let mut found = task("found", "sleep 1000");
    found["discovery"] = discovery.clone();
    let offer = scheduler.offer();
    scheduler.launch(&offer, &found);
    scheduler.status("found", "TASK_RUNNING");
    let offer = scheduler.offer();
    scheduler.launch(&offer, &task("plain.one", "sleep 1000"));
    scheduler.status("plain.one", "TASK_RUNNING");
    let names = [
        "_big-web._tcp.marathon.prod.mesos SRV 8080",
        "_big-web._udp.marathon.prod.mesos SRV 53",
        "_http._big-web._tcp.marathon.prod.mesos SRV 8080",
        "big-web.marathon.prod.mesos A 127.0.0.1",
        "plain-one.marathon.prod.mesos A 127.0.0.1",
    ];
    let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
    let state = eventually("both tasks are shown", || {
        let state = page(&cluster, "/master/state")?;
        (names_of(&state).len() >= names.len()).then_some(state)
    });
    assert_eq!(names_of(&state), names);
    let of = |page: &Value, key: &str| {
        let tasks = page[key].as_array().expect("tasks").clone();
        let mut tasks = tasks.into_iter();
        tasks.find(|task| task["id"] == "found").expect("the task")["discovery"].take()
    };
    assert_eq!(of(&state["frameworks"][0], "tasks"), discovery);
    let tasks = page(&cluster, "/tasks").expect("a page");
    assert_eq!(of(&tasks, "tasks"), discovery);
    for key in ["leader", "hostname"] {
        assert!(state[key].is_string(), "{key}");
    }
    for (of, keys) in [
        ("slaves", ["id", "pid", "hostname"]),
        ("frameworks", ["name", "webui_url", "hostname"]),
    ] {
        for key in keys {
            assert!(state[of][0][key].is_string(), "{of}: {key}");
        }
    }
}

#[test]
fn a_lost_agent_is_a_failure_to_who_speaks_for_itself() {
    let mut cluster = with_one_agent(&[]);
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &json!({"roles": ["eng"]}));
    let offer = scheduler.offer();
    scheduler.launch(&offer, &task("t", "sleep 1000"));
    scheduler.status("t", "TASK_RUNNING");
    cluster.kill("agent");
    let failure = scheduler.event("FAILURE", |_| true);
    assert_eq!(failure, json!({"agent_id": offer["agent_id"]}));
    let status = scheduler.status("t", "TASK_UNREACHABLE");
    assert_eq!(status["reason"], "REASON_AGENT_REMOVED", "{status}");
    start_agent(&mut cluster, &[]);
    scheduler.status("t", "TASK_RUNNING");
}

#[test]
fn a_task_of_a_custom_executor_is_staging_until_that_says_something_of_it() {
    let cluster = with_one_agent(&[]);
    let info = json!({"roles": ["eng"], "failover_timeout": 600.0});
    let mut scheduler = Scheduler::subscribe(&cluster, 0, &info);
    let offer = scheduler.offer();
    let mut own = task("t", "");
    own.as_object_mut().expect("a task").remove("command");
    own["executor"] = json!({
        "type": "CUSTOM", "executor_id": {"value": "e"}, "command": {"value": "sleep 1000"},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)],
    });
    scheduler.launch(&offer, &own);
    eventually("its agent has taken the task", || {
        let agents = cluster.path("agent").join("runs");
        let runs = std::fs::read_dir(agents).ok()?.flatten();
        runs.map(|run| run.path().join("sandbox"))
            .find(|sandbox| sandbox.is_dir())
    });
    let told = |page: Option<Value>, key: &str| {
        let page = page.expect("a page");
        let task = &page[key][0];
        assert_eq!(task["state"], task["statuses"][0]["state"], "{task}");
        task["state"].as_str().map(str::to_owned)
    };
    let staging = Some("TASK_STAGING".to_owned());
    let answered = |scheduler: &mut Scheduler| {
        let asked = json!({"tasks": [{"task_id": {"value": "t"}}]});
        scheduler.call("RECONCILE", &asked);
        let is_of_task = |update: &Value| update["status"]["task_id"]["value"] == "t";
        let status = scheduler.event("UPDATE", is_of_task)["status"].take();
        assert_eq!(status["state"], "TASK_STAGING", "{status}");
        assert_eq!(status["reason"], "REASON_RECONCILIATION", "{status}");
        assert_eq!(told(page(&cluster, "/tasks"), "tasks"), staging);
    };
    answered(&mut scheduler);
    // Who comes again and has not launched it knows no more.
    let again =
        json!({"id": {"value": scheduler.framework}, "roles": ["eng"], "failover_timeout": 600.0});
    answered(&mut Scheduler::subscribe(&cluster, 0, &again));
}

/// Ends each task at once, with what it carries as the status's data; of the task `over` with more.
const ECHO: &str = r#"
import base64, http.client, json, os, uuid

ids = {"framework_id": {"value": os.environ["MESOS_FRAMEWORK_ID"]}, "executor_id": {"value": os.environ["MESOS_EXECUTOR_ID"]}}
token = os.environ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"]
head = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer " + token}

def post(kind, **part):
    connection = http.client.HTTPConnection(os.environ["MESOS_AGENT_ENDPOINT"])
    connection.request("POST", "/api/v1/executor", json.dumps({"type": kind, **ids, **part}), head)
    return connection.getresponse()

events = post("SUBSCRIBE", subscribe={})
while line := events.readline():
    event = json.loads(events.read(int(line)))
    if event["type"] == "LAUNCH":
        task = event["launch"]["task"]
        data = base64.b64decode(task["data"]) + b"x" * (100_000 if task["name"] == "over" else 0)
        status = {"task_id": task["task_id"], "state": "TASK_FINISHED", "source": "SOURCE_EXECUTOR",
                  "uuid": base64.b64encode(uuid.uuid4().bytes).decode(), "data": base64.b64encode(data).decode()}
        answer = post("UPDATE", update={"status": status})
        with open(task["name"], "w") as file:
            file.write(f"{answer.status} {answer.read().decode()}")
"#;

/// What an ended task held is offered by itself, and is too little for another with its executor.
fn large_offer(scheduler: &mut Scheduler) -> Value {
    loop {
        let offer = scheduler.offer();
        let mut resources = offer["resources"].as_array().expect("resources").iter();
        let is_enough =
            |it: &Value| it["name"] == "cpus" && it["scalar"]["value"].as_f64() > Some(1.0);
        if resources.any(is_enough) {
            return offer;
        }
    }
}

#[test]
fn a_mebibyte_reaches_a_custom_executor_and_comes_back_and_an_end_with_more_is_a_failure() {
    let cluster = with_one_agent(&[]);
    let script = cluster.path("echo.py");
    std::fs::write(&script, ECHO).expect("a file");
    let carrying = |name: &str, len: usize| {
        let mut own = task(name, "");
        own.as_object_mut().expect("a task").remove("command");
        own["executor"] = json!({
            "type": "CUSTOM", "executor_id": {"value": "e"},
            "command": {"value": format!("exec python3 {}", script.display())},
            "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)],
        });
        // As many bytes in base64: three are four characters.
        own["data"] = json!("YWJj".repeat(len / 3));
        own
    };
    let mebibyte = 1024 * 1024 + 2;
    for media in ["application/json", "application/x-protobuf"] {
        let info = json!({"roles": ["eng"], "failover_timeout": 0.0});
        let mut scheduler = Scheduler::subscribe_in(media, &cluster, 0, &info);
        let offer = large_offer(&mut scheduler);
        let task = carrying("echo", mebibyte);
        scheduler.launch(&offer, &task);
        let status = scheduler.status("echo", "TASK_FINISHED");
        assert!(
            status["data"] == task["data"],
            "{media}: it is not the same"
        );

        let offer = large_offer(&mut scheduler);
        scheduler.launch(&offer, &carrying("over", mebibyte));
        let status = scheduler.status("over", "TASK_FAILED");
        assert_eq!(status["reason"], "REASON_CONTAINER_LIMITATION", "{status}");
        assert_eq!(status["source"], "SOURCE_AGENT", "{status}");
        let message = status["message"].as_str().expect("a message");
        assert!(message.contains("finished with 1148"), "{message}");
        assert!(message.contains("1114112 are the limit"), "{message}");
        assert!(status["data"].is_null(), "it is lost");

        let offer = large_offer(&mut scheduler);
        scheduler.launch(&offer, &carrying("huge", 4 * mebibyte));
        let status = scheduler.status("huge", "TASK_ERROR");
        let message = status["message"].as_str().expect("a message");
        assert!(message.contains("the limit is 4194304"), "{message}");
    }
}
