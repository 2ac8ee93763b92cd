//! What Mesos's operators and their tools find on a master: pages, calls, and the stream of what changes.

use proffer_proto::mesos::read_protobuf;
use proffer_proto::mesos::v1::master::{Response, response};
use proffer_proto::v1;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::mesos_calls::agent_with_disk;
use super::peers::{self, Agent, Master, soon};
use super::stage::Stage;

/// An answer: its status, its head, its body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn send(master: &Master, head: &str, body: &[u8]) -> TcpStream {
    let socket = TcpStream::connect(master.listen()).await;
    let mut socket = socket.expect("connected");
    let (host, token) = (master.listen(), master.authorization());
    let len = body.len();
    let (first, rest) = head.split_once('\n').unwrap_or((head, ""));
    let mut headers = String::new();
    for line in rest.lines() {
        headers.push_str(line);
        headers.push_str("\r\n");
    }
    let head = format!(
        "{first} HTTP/1.1\r\nHost: {host}\r\n{token}Content-Length: {len}\r\n{headers}\r\n"
    );
    let request = [head.as_bytes(), body].concat();
    socket.write_all(&request).await.expect("sent");
    socket
}

async fn ask(master: &Master, head: &str, body: &[u8]) -> Answer {
    let head = match head.contains('\n') {
        true => format!("{head}\nConnection: close"),
        false => format!("{head}\nConnection: close\nContent-Type: application/json"),
    };
    let mut socket = send(master, &head, body).await;
    let mut all = Vec::new();
    soon("an answer", socket.read_to_end(&mut all))
        .await
        .expect("read");
    let end = all.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).expect("text");
    let status = head.split(' ').nth(1).expect("a status").parse();
    Answer {
        status: status.expect("a number"),
        body: all[end + 4..].to_vec(),
        head: head.to_ascii_lowercase(),
    }
}

async fn get(master: &Master, path: &str) -> Answer {
    ask(master, &format!("GET {path}"), b"").await
}

async fn call(master: &Master, call: Value) -> Answer {
    ask(master, "POST /api/v1", call.to_string().as_bytes()).await
}

/// A master with a framework whose task runs on an agent.
async fn running(master: &Master) -> peers::Cast {
    let mut cast = peers::launched(master, "task-1").await;
    let state = v1::TaskState::Running;
    cast.agent
        .report(&cast.framework_id, "task-1", cast.incarnation, state)
        .await;
    cast.framework.status().await;
    cast
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_has_what_tools_look_for() {
    let master = Master::start("memory").await;
    let cast = running(&master).await;
    for path in ["/state", "/master/state", "/state.json"] {
        let answer = get(&master, path).await;
        assert!(answer.head.contains("content-type: application/json"));
        let state = answer.json();
        assert_eq!(state["version"], "1.11.0");
        assert_eq!(state["activated_slaves"], json!(1.0));
        assert!(answer.text().contains(r#""activated_slaves":1.0"#));
        let pid = format!("master@{}", master.listen());
        assert_eq!(
            (&state["pid"], &state["leader"]),
            (&json!(pid), &json!(pid))
        );
        assert_eq!(state["leader_info"]["port"], master.listen().port());
        let slave = &state["slaves"][0];
        assert_eq!(slave["id"], cast.agent_id.as_str());
        assert_eq!(slave["pid"], "slave(1)@127.0.0.1:5051");
        assert_eq!(slave["hostname"], "host-1");
        assert_eq!(slave["used_resources"]["cpus"], 1.0);
        assert_eq!(slave["active"], true);
        let framework = &state["frameworks"][0];
        assert_eq!(framework["id"], cast.framework_id.as_str());
        assert_eq!(
            (&framework["name"], &framework["roles"]),
            (&json!("web"), &json!(["*"]))
        );
        let task = &framework["tasks"][0];
        assert_eq!(task["id"], "task-1");
        assert_eq!(task["slave_id"], cast.agent_id.as_str());
        assert_eq!(task["state"], "TASK_RUNNING");
        assert_eq!(task["resources"]["cpus"], 1.0);
        let status = &task["statuses"][0];
        assert_eq!(status["state"], "TASK_RUNNING");
        let address = &status["container_status"]["network_infos"][0]["ip_addresses"][0];
        assert_eq!(address["ip_address"], "127.0.0.1");
        assert!(
            !answer.text().contains("canary"),
            "environments are in no view"
        );
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_there_by_both_of_its_names() {
    let master = Master::start("memory").await;
    let cast = running(&master).await;
    for prefix in ["", "/master"] {
        let page = async |path: &str| get(&master, &format!("{prefix}{path}")).await.json();
        let summary = page("/state-summary").await;
        assert_eq!(summary["slaves"][0]["TASK_RUNNING"], 1);
        assert_eq!(
            summary["slaves"][0]["framework_ids"],
            json!([cast.framework_id])
        );
        assert_eq!(
            summary["frameworks"][0]["slave_ids"],
            json!([cast.agent_id])
        );
        let slaves = page("/slaves").await;
        assert_eq!(
            slaves["slaves"][0]["used_resources_full"][0]["name"],
            "cpus"
        );
        assert_eq!(page("/slaves?slave_id=other").await["slaves"], json!([]));
        let frameworks = page("/frameworks").await;
        assert_eq!(frameworks["frameworks"][0]["tasks"][0]["name"], "task-1");
        assert_eq!(
            page("/frameworks?framework_id=x").await["frameworks"],
            json!([])
        );
        let tasks = page("/tasks?limit=1&order=asc").await;
        assert_eq!(
            tasks["tasks"][0]["framework_id"],
            cast.framework_id.as_str()
        );
        for none in ["offset=1", "limit=0", "task_id=other", "framework_id=other"] {
            let tasks = page(&format!("/tasks?{none}")).await;
            assert_eq!(tasks["tasks"], json!([]), "{none}");
        }
        assert_eq!(page("/tasks/?limit=1").await, tasks, "a slash at the end");
        let roles = page("/roles").await;
        assert_eq!(roles["roles"][0]["name"], "*");
        assert_eq!(roles["roles"][0]["allocated"]["cpus"], 1.0);
        assert_eq!(roles["roles"][0]["frameworks"], json!([cast.framework_id]));
        assert_eq!(
            page("/flags").await["flags"]["agent_reregister_timeout"],
            "75secs"
        );
        assert_eq!(page("/maintenance/schedule").await, json!({}));
        let figures = page("/metrics/snapshot").await;
        for (name, value) in [
            ("master/elected", 1.0),
            ("master/slaves_active", 1.0),
            ("master/frameworks_active", 1.0),
            ("master/tasks_running", 1.0),
            ("master/tasks_lost", 0.0),
            ("master/cpus_used", 1.0),
            ("master/slave_registrations", 1.0),
            ("master/slave_reregistrations", 0.0),
            ("master/slave_removals", 0.0),
            ("master/slave_shutdowns_completed", 0.0),
        ] {
            assert_eq!(figures[name], json!(value), "{name}");
        }
        assert!(figures["system/load_1min"].is_number());
        assert_eq!(page("/version").await["version"], "1.11.0");
    }
    master.stop().await;
}

/// Mesos's command line asks for `order=asc&limit=-1`, of `/tasks`, and for `master/frameworks/`.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_tasks_are_cut_as_mesos_cuts_them() {
    let master = Master::start("memory").await;
    let mut cast = running(&master).await;
    cast.framework.demand_one_cpu("others").await;
    let offer = cast.framework.offer().await;
    let small = |number: usize| v1::TaskSpec {
        resources: Some(peers::cpus(5)),
        ..peers::task(&format!("other-{number:0>3}"))
    };
    let accept = v1::Accept {
        offer_ids: vec![offer.id.clone()],
        operations: (0..120)
            .map(|number| peers::launch(small(number)))
            .collect(),
    };
    let answer = cast
        .framework
        .answer(v1::session_call::Call::Accept(accept))
        .await;
    let v1::answered::Answer::Accepted(accepted) = answer else {
        panic!("{answer:?}")
    };
    let last = accepted.results.last().and_then(|last| last.result.clone());
    let Some(v1::operation_result::Result::Launched(last)) = last else {
        panic!("{last:?}")
    };
    let Some(v1::launch_result::Outcome::Incarnation(last)) = last.outcome else {
        panic!("{last:?}")
    };
    let ids = async |query: &str| {
        let page = get(&master, &format!("/tasks?{query}")).await.json();
        let rows = page["tasks"].as_array().expect("rows").clone();
        rows.iter()
            .map(|row| row["id"].to_string())
            .collect::<Vec<_>>()
    };
    let all = ids("order=asc&limit=-1").await;
    let launched = (0..120).map(|number| format!("\"other-{number:0>3}\""));
    let launched: Vec<String> = ["\"task-1\"".to_owned()]
        .into_iter()
        .chain(launched)
        .collect();
    assert_eq!(all, launched, "in the order of their launches");
    // Whatever is told of one later, it keeps its place.
    let running = v1::TaskState::Running;
    let id = cast.framework_id.clone();
    cast.agent.report(&id, "other-119", last, running).await;
    while cast.framework.status().await.1.task_id != "other-119" {}
    let reversed: Vec<_> = all.iter().rev().cloned().collect();
    for (query, expected) in [
        ("limit=-1", &reversed[..]),
        ("limit=-2&order=des", &reversed[..]),
        ("", &reversed[..100]),
        ("limit=x", &reversed[..100]),
        ("limit=4294967295", &reversed[..100]),
        ("limit=3&offset=120&order=asc", &all[120..]),
        ("limit=-1&offset=120&order=asc", &all[120..]),
        ("limit=3&offset=118&order=ASC", &reversed[118..]),
        ("offset=-1", &[]),
    ] {
        assert_eq!(ids(query).await, expected, "{query}");
    }
    master.stop().await;
}

/// libprocess does not tell the one from the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_slash_at_the_end_of_a_path_does_not_count() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    stage.elect(&masters, 0).await;
    let mut watch = masters[1].watch(masters[1].listen()).await;
    watch.until(Some(&masters[0]), false).await;
    for path in [
        "/state/",
        "/master/frameworks/",
        "/version/",
        "/flags//",
        "/health/",
    ] {
        assert_eq!(get(&masters[0], path).await.status, 200, "{path}");
    }
    let call = br#"{"type": "GET_HEALTH"}"#;
    for path in ["/api/v1/", "/master/api/v1/"] {
        let answer = ask(&masters[0], &format!("POST {path}"), call).await;
        assert_eq!(answer.status, 200, "{path}");
    }
    let subscribe = ask(&masters[0], "POST /api/v1/scheduler/", b"{}").await;
    let words = "Failed to validate scheduler::Call: Expecting 'type' to be present";
    assert_eq!((subscribe.status, subscribe.text()), (400, words));
    let elsewhere = get(&masters[1], "/master/state/").await;
    assert_eq!(elsewhere.status, 307);
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_by_any_method_and_are_scripts_for_whoever_asks_so() {
    let master = Master::start("memory").await;
    let answer = get(&master, "/tasks?jsonp=angular.callbacks._0").await;
    assert_eq!(answer.text(), r#"angular.callbacks._0({"tasks":[]});"#);
    assert!(answer.head.contains("content-type: text/javascript"));
    let evil = get(&master, "/tasks?jsonp=alert(1)//").await;
    assert_eq!(evil.status, 400);
    // Mesos looks at the method of a few.
    for path in [
        "/state",
        "/slaves",
        "/frameworks",
        "/roles",
        "/state-summary",
        "/health",
        "/metrics/snapshot",
        "/version",
        "/tasks/?task_id=t",
        "/master/health",
    ] {
        let post = ask(&master, &format!("POST {path}"), b"task_id=t").await;
        assert_eq!(post.status, 200, "{path}: {}", post.text());
    }
    assert_eq!(ask(&master, "POST /redirect", b"").await.status, 307);
    let post = ask(&master, "POST /flags", b"").await;
    assert_eq!(post.status, 405);
    assert_eq!(
        post.text(),
        "405 Method Not Allowed. Expecting one of { 'GET' }, but received 'POST'."
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_ask_are_answered_in_json_and_in_protobuf() {
    let master = Master::start("memory").await;
    let cast = running(&master).await;
    let health = call(&master, json!({"type": "GET_HEALTH"})).await;
    assert_eq!(
        health.text(),
        r#"{"type":"GET_HEALTH","get_health":{"healthy":true}}"#
    );
    let weights = call(&master, json!({"type": "GET_WEIGHTS"})).await;
    assert_eq!(weights.text(), r#"{"type":"GET_WEIGHTS"}"#);
    let executors = call(&master, json!({"type": "GET_EXECUTORS"})).await;
    let none = r#"{"type":"GET_EXECUTORS","get_executors":{"executors":[]}}"#;
    assert_eq!(executors.text(), none);
    let operations = call(&master, json!({"type": "GET_OPERATIONS"})).await;
    assert_eq!(
        operations.text(),
        r#"{"type":"GET_OPERATIONS","get_operations":{}}"#
    );
    for (kind, part) in [
        ("GET_FLAGS", "get_flags"),
        ("GET_VERSION", "get_version"),
        ("GET_LOGGING_LEVEL", "get_logging_level"),
        ("GET_ROLES", "get_roles"),
        ("GET_QUOTA", "get_quota"),
        ("GET_MASTER", "get_master"),
        ("GET_MAINTENANCE_STATUS", "get_maintenance_status"),
        ("GET_MAINTENANCE_SCHEDULE", "get_maintenance_schedule"),
    ] {
        let answer = call(&master, json!({"type": kind})).await.json();
        assert_eq!(answer["type"], kind);
        assert!(answer[part].is_object(), "{kind}: {answer}");
    }
    let metrics = call(&master, json!({"type": "GET_METRICS", "get_metrics": {}})).await;
    assert!(
        metrics
            .text()
            .contains(r#"{"name":"master/elected","value":1.0}"#)
    );
    let state = call(&master, json!({"type": "GET_STATE"})).await.json();
    let state = &state["get_state"];
    let task = &state["get_tasks"]["tasks"][0];
    assert_eq!(task["task_id"]["value"], "task-1");
    assert_eq!(task["statuses"][0]["state"], "TASK_RUNNING");
    let agent = &state["get_agents"]["agents"][0];
    assert_eq!(agent["agent_info"]["id"]["value"], cast.agent_id.as_str());
    assert_eq!(state["get_frameworks"]["frameworks"][0]["connected"], true);

    let body = br#"{"type":"GET_AGENTS"}"#;
    let head = "POST /master/api/v1/operator\nContent-Type: application/json\nAccept: application/x-protobuf";
    let answer = ask(&master, head, body).await;
    let answer: Response = read_protobuf(&answer.body).expect("a response");
    assert_eq!(answer.r#type(), response::Type::GetAgents);
    let agents = answer.get_agents.expect("agents").agents;
    assert_eq!(agents[0].agent_info.hostname, "host-1");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_calls_get_mesos_answers() {
    let master = Master::start("memory").await;
    for (body, status, text) in [
        (
            "{nope",
            400,
            "Failed to parse body into JSON: syntax error at line 1 near: nope",
        ),
        (
            "{}",
            400,
            "Failed to validate master::Call: Expecting 'type' to be present",
        ),
        (
            r#"{"type":"NO_SUCH"}"#,
            400,
            "Failed to validate master::Call: Expecting 'type' to be present",
        ),
        (
            r#"{"type":"UPDATE_QUOTA"}"#,
            400,
            "Failed to validate master::Call: Expecting 'update_quota' to be present",
        ),
        (
            r#"{"type":"TEARDOWN","teardown":{}}"#,
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: teardown.framework_id",
        ),
        (
            r#"{"type":"TEARDOWN","teardown":{"framework_id":{"value":"x"}}}"#,
            400,
            "No framework found with specified ID",
        ),
        (
            r#"{"type":"DRAIN_AGENT","drain_agent":{"agent_id":{"value":"x"}}}"#,
            400,
            "Unknown agent",
        ),
        (
            r#"{"type":"MARK_AGENT_GONE","mark_agent_gone":{"agent_id":{"value":"x"}}}"#,
            404,
            "Agent 'x' not found",
        ),
        (r#"{"type":"UNKNOWN"}"#, 501, ""),
    ] {
        let answer = ask(&master, "POST /api/v1", body.as_bytes()).await;
        assert_eq!((answer.status, answer.text()), (status, text), "{body}");
    }
    for (body, word) in [
        (
            r#"{"type":"START_MAINTENANCE","start_maintenance":{}}"#,
            "DRAIN_AGENT",
        ),
        (
            r#"{"type":"READ_FILE","read_file":{"path":"/x","offset":0}}"#,
            "proffer logs",
        ),
    ] {
        let answer = ask(&master, "POST /api/v1", body.as_bytes()).await;
        assert_eq!(answer.status, 501, "{body}");
        assert!(answer.text().contains(word), "{}", answer.text());
    }
    let get = get(&master, "/api/v1").await;
    assert_eq!(get.status, 405);
    let foreign = ask(&master, "POST /api/v1\nContent-Type: text/plain", b"{}").await;
    assert_eq!(foreign.status, 415);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_change_is_changed() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let amount = json!({"cpus": {"value": 1.5}});
    let config = json!({"role": "web", "guarantees": amount, "limits": amount});
    let asked = json!({"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [config]}});
    assert_eq!(call(&master, asked).await.status, 200);
    let weight = json!({"type": "UPDATE_WEIGHTS", "update_weights": {
        "weight_infos": [{"role": "web", "weight": 2.5}]
    }});
    assert_eq!(call(&master, weight).await.status, 200);
    let mut operator = master.operator().await;
    let roles = operator.list_roles(v1::ListRolesRequest::default()).await;
    let roles = roles.expect("roles").into_inner().roles;
    let web = roles
        .iter()
        .find(|role| role.role == "web")
        .expect("a role");
    assert_eq!(web.weight_milli, 2_500);
    let quota = web.quota.clone().expect("a quota");
    let guarantees = quota.guarantees.expect("guarantees").scalars;
    assert_eq!((&*guarantees[0].name, guarantees[0].milli), ("cpus", 1_500));
    let shown = call(&master, json!({"type": "GET_QUOTA"})).await.json();
    assert_eq!(shown["get_quota"]["status"]["configs"], json!([config]));
    let shown = call(&master, json!({"type": "GET_WEIGHTS"})).await.json();
    let weights = json!([{"weight": 2.5, "role": "web"}]);
    assert_eq!(shown["get_weights"]["weight_infos"], weights);
    assert_eq!(get(&master, "/weights").await.json(), weights);
    let too_much = json!({"type": "UPDATE_QUOTA", "update_quota": {
        "quota_configs": [{"role": "db", "guarantees": {"cpus": {"value": 1e6}}}]
    }});
    let refused = call(&master, too_much).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("use 'force' flag"),
        "{}",
        refused.text()
    );

    let reserved = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}, "role": "web",
        "reservation": {"principal": "local"}}]);
    let of_agent = json!({"agent_id": {"value": agent_id}, "resources": reserved});
    let asked = json!({"type": "RESERVE_RESOURCES", "reserve_resources": of_agent});
    let done = call(&master, asked).await;
    assert_eq!((done.status, done.text()), (202, ""));
    let slaves = get(&master, "/slaves").await.json();
    assert_eq!(
        slaves["slaves"][0]["reserved_resources"]["web"]["cpus"],
        1.0
    );
    let asked = json!({"type": "UNRESERVE_RESOURCES", "unreserve_resources": of_agent});
    assert_eq!(call(&master, asked.clone()).await.status, 202);
    assert_eq!(
        call(&master, asked).await.status,
        409,
        "it is not there any more"
    );

    let id = json!({"agent_id": {"value": agent_id}});
    let asked = json!({"type": "DEACTIVATE_AGENT", "deactivate_agent": id});
    assert_eq!(call(&master, asked).await.status, 200);
    let slaves = get(&master, "/slaves").await.json();
    assert_eq!(slaves["slaves"][0]["deactivated"], true);
    let asked = json!({"type": "DRAIN_AGENT", "drain_agent":
        {"agent_id": {"value": agent_id}, "max_grace_period": "10s"}});
    assert_eq!(call(&master, asked).await.status, 200);
    let agents = call(&master, json!({"type": "GET_AGENTS"})).await.json();
    let drain = &agents["get_agents"]["agents"][0]["drain_info"];
    assert_eq!(
        drain["config"]["max_grace_period"]["nanoseconds"],
        10_000_000_000_u64
    );
    let asked = json!({"type": "REACTIVATE_AGENT", "reactivate_agent": id});
    assert_eq!(call(&master, asked).await.status, 200);
    let slaves = get(&master, "/slaves").await.json();
    assert_eq!(slaves["slaves"][0]["active"], true);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_calls_are_taken_too() {
    let master = Master::start("memory").await;
    let cast = running(&master).await;
    let quota =
        br#"{"role":"web","guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}]}"#;
    assert_eq!(ask(&master, "POST /quota", quota).await.status, 200);
    let again = ask(&master, "POST /master/quota", quota).await;
    assert!(
        again.text().ends_with("which already has quota"),
        "{}",
        again.text()
    );
    assert_eq!(
        get(&master, "/quota").await.json()["infos"][0]["role"],
        "web"
    );
    assert_eq!(ask(&master, "DELETE /quota/web", b"").await.status, 200);
    assert_eq!(get(&master, "/quota").await.json(), json!({}));
    for path in ["/quota/ops/db", "/master/quota/ops%2Fdb"] {
        let nested =
            br#"{"role":"ops/db","limit":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}],
            "guarantee":[{"name":"cpus","type":"SCALAR","scalar":{"value":1}}],"force":true}"#;
        let set = ask(&master, "POST /quota", nested).await;
        assert_eq!(set.status, 200, "{}", set.text());
        let removed = ask(&master, &format!("DELETE {path}"), b"").await;
        assert_eq!(removed.status, 200, "{}", removed.text());
        assert_eq!(get(&master, "/quota").await.json(), json!({}), "{path}");
    }
    let weights = br#"[{"role":"web","weight":3.0}]"#;
    assert_eq!(ask(&master, "PUT /weights", weights).await.status, 200);
    assert_eq!(get(&master, "/weights").await.json()[0]["weight"], 3.0);
    let body = format!("frameworkId={}", cast.framework_id);
    let none = ask(&master, "POST /teardown", b"x=y").await;
    assert_eq!(none.status, 400);
    assert_eq!(
        ask(&master, "POST /teardown", body.as_bytes()).await.status,
        200
    );
    let state = get(&master, "/state").await.json();
    assert_eq!(state["frameworks"], json!([]));
    master.stop().await;
}

/// A stream of records, as it comes in chunks.
struct Records {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Records {
    async fn subscribe(master: &Master) -> Self {
        let head = "POST /api/v1\nContent-Type: application/json";
        let socket = send(master, head, br#"{"type":"SUBSCRIBE"}"#).await;
        let read = Vec::new();
        let mut records = Self { socket, read };
        let head = records.until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        assert!(!head.contains("mesos-stream-id"), "{head}");
        records
    }

    async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.read.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                let rest = self.read.split_off(at + end.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let mut bytes = [0; 4_096];
            let count = soon("more", self.socket.read(&mut bytes))
                .await
                .expect("open");
            assert!(count > 0, "it goes on");
            self.read.extend_from_slice(&bytes[..count]);
        }
    }

    /// The next record, which is a chunk of its own.
    async fn next(&mut self) -> Value {
        let len = self.until(b"\r\n").await;
        let len = std::str::from_utf8(&len).expect("text").trim();
        let len = usize::from_str_radix(len, 16).expect("a length");
        while self.read.len() < len + 2 {
            let mut bytes = [0; 4_096];
            let count = soon("more", self.socket.read(&mut bytes))
                .await
                .expect("open");
            self.read.extend_from_slice(&bytes[..count]);
        }
        let rest = self.read.split_off(len + 2);
        let chunk = std::mem::replace(&mut self.read, rest);
        let chunk = std::str::from_utf8(&chunk[..len]).expect("text");
        let (length, record) = chunk.split_once('\n').expect("a record");
        assert_eq!(length.parse::<usize>().expect("a length"), record.len());
        serde_json::from_str(record).expect("JSON")
    }

    /// The next records up to one of this kind.
    async fn up_to(&mut self, kind: &str) -> Vec<Value> {
        let all = async {
            let mut all = Vec::new();
            loop {
                all.push(self.next().await);
                if all.last().is_some_and(|last| last["type"] == kind) {
                    return all;
                }
            }
        };
        soon(kind, all).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_hear_what_changes() {
    let master = Master::start("memory").await;
    let mut records = Records::subscribe(&master).await;
    let first = records.next().await;
    assert_eq!(first["type"], "SUBSCRIBED");
    assert_eq!(first["subscribed"]["heartbeat_interval_seconds"], 15.0);
    let state = &first["subscribed"]["get_state"];
    assert_eq!(state["get_agents"]["agents"], json!([]));
    assert_eq!(records.next().await, json!({"type": "HEARTBEAT"}));

    let cast = running(&master).await;
    let heard = records.up_to("TASK_UPDATED").await;
    let of = |kind: &str| {
        let mut of_kind = heard.iter().filter(|record| record["type"] == kind);
        let first = of_kind
            .next()
            .unwrap_or_else(|| panic!("{kind} in {heard:?}"));
        assert!(of_kind.next().is_none(), "{kind} comes once: {heard:?}");
        first.clone()
    };
    let framework = of("FRAMEWORK_ADDED");
    let info = &framework["framework_added"]["framework"]["framework_info"];
    assert_eq!(info["id"]["value"], cast.framework_id.as_str());
    let agent = of("AGENT_ADDED");
    let info = &agent["agent_added"]["agent"]["agent_info"];
    assert_eq!(info["id"]["value"], cast.agent_id.as_str());
    let added = of("TASK_ADDED");
    let task = &added["task_added"]["task"];
    assert_eq!(
        (&task["task_id"]["value"], &task["state"]),
        (&json!("task-1"), &json!("TASK_STAGING"))
    );
    let updated = of("TASK_UPDATED");
    assert_eq!(updated["task_updated"]["state"], "TASK_RUNNING");
    assert_eq!(
        updated["task_updated"]["status"]["agent_id"]["value"],
        cast.agent_id.as_str()
    );

    let asked = json!({"type": "TEARDOWN", "teardown":
        {"framework_id": {"value": cast.framework_id}}});
    assert_eq!(call(&master, asked).await.status, 200);
    let heard = records.up_to("FRAMEWORK_REMOVED").await;
    let ended = &heard[heard.len() - 2]["task_updated"]["status"];
    assert_eq!(ended["state"], "TASK_KILLED", "{heard:?}");
    assert_eq!(ended["reason"], "REASON_FRAMEWORK_REMOVED");
    let removed = heard.last().expect("the last");
    let info = &removed["framework_removed"]["framework_info"];
    assert_eq!(info["id"]["value"], cast.framework_id.as_str());
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_calls_reserve_and_make_volumes_of_forms() {
    let master = Master::start("memory").await;
    let (_agent, agent_id) = agent_with_disk(&master).await;
    let disk = json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 8.0}, "role": "web",
        "reservation": {"principal": "local"}});
    let mut volume = disk.clone();
    volume["disk"] = json!({"persistence": {"id": "v", "principal": "local"},
        "volume": {"mode": "RW", "container_path": "data"}});
    let [disk, volume] = [disk, volume].map(|one| json!([one]).to_string());
    let head = |path: &str| format!("POST {path}\nContent-Type: application/x-www-form-urlencoded");
    for (path, name, resources, status) in [
        ("/reserve", "resources", &disk, 202),
        ("/master/create-volumes", "volumes", &volume, 202),
        ("/unreserve", "resources", &disk, 409),
        ("/destroy-volumes", "volumes", &volume, 202),
        ("/master/unreserve", "resources", &disk, 202),
        ("/unreserve", "resources", &disk, 409),
    ] {
        // As `curl -d` sends it, and as `curl --data-urlencode` does.
        let escaped = resources.replace('"', "%22").replace(' ', "+");
        let value = if path.starts_with("/master") {
            &escaped
        } else {
            resources
        };
        let body = format!("slaveId={agent_id}&{name}={value}");
        let answer = ask(&master, &head(path), body.as_bytes()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let refused = ask(&master, &head("/reserve"), b"slaveId=x").await;
    assert_eq!(
        (refused.status, refused.text()),
        (
            400,
            "Missing 'resources' query parameter in the request body"
        )
    );
    let refused = ask(&master, "GET /reserve", b"").await;
    assert_eq!(refused.status, 405);
    for path in ["/machine/down", "/master/machine/up"] {
        let refused = ask(&master, &format!("POST {path}"), b"[]").await;
        assert_eq!(refused.status, 501);
        assert!(refused.text().contains("DRAIN_AGENT"), "{}", refused.text());
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_stands_by_says_where_the_leader_is() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    let none = get(&masters[1], "/state").await;
    assert_eq!((none.status, none.text()), (503, "No leader elected"));
    stage.elect(&masters, 0).await;
    let mut watch = masters[1].watch(masters[1].listen()).await;
    watch.until(Some(&masters[0]), false).await;
    let leader = masters[0].listen();
    for (asked, path) in [
        ("GET /state", "/master/state"),
        ("GET /tasks?limit=1", "/master/tasks?limit=1"),
        ("GET /master/slaves", "/master/slaves"),
        ("POST /api/v1", "/master/api/v1"),
        ("POST /teardown", "/master/teardown"),
        ("POST /machine/down", "/master/machine/down"),
    ] {
        let answer = ask(&masters[1], asked, b"").await;
        assert_eq!(answer.status, 307, "{asked}");
        let location = format!("location: //{leader}{path}\r\n");
        assert!(
            format!("{}\r\n", answer.head).contains(&location),
            "{}",
            answer.head
        );
    }
    let figures = get(&masters[1], "/metrics/snapshot").await.json();
    assert_eq!(figures["master/elected"], 0.0);
    assert_eq!(
        get(&masters[1], "/flags").await.json(),
        json!({"flags": {}})
    );
    assert_eq!(get(&masters[0], "/state").await.status, 200);
    for master in masters {
        master.stop().await;
    }
}
