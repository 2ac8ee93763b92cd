//! Mesos's v1 scheduler API over real sockets, as its clients see it.

use std::time::Duration;

use proffer_proto::v1;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use v1::to_agent::Message;

use super::peers::{Agent, Master, soon};
use super::stage::Stage;

pub(super) const PATH: &str = "/api/v1/scheduler";
pub(super) const JSON: &str = "Content-Type: application/json\r\n";

/// A subscription's connection.
pub(super) struct Stream {
    socket: BufReader<TcpStream>,
    id: String,
    pub(super) framework: String,
}

/// An answer: its code, its head, its body.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// Sends a request; the head of the answer.
pub(super) async fn send(
    master: &Master,
    request: &str,
    headers: &str,
    body: &[u8],
) -> (BufReader<TcpStream>, u16, String) {
    let mut socket = TcpStream::connect(master.listen())
        .await
        .expect("connected");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {}\r\n{}{headers}Content-Length: {}\r\n\r\n",
        master.listen(),
        master.authorization(),
        body.len()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    socket.write_all(body).await.expect("sent");
    let mut socket = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = soon("a head", socket.read_line(&mut head)).await;
        assert!(read.expect("read") > 0, "{head}");
    }
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let code = code.expect("a code");
    (socket, code, head)
}

pub(super) async fn ask(master: &Master, request: &str, headers: &str, body: &[u8]) -> Answer {
    let headers = format!("Connection: close\r\n{headers}");
    let (mut socket, code, head) = send(master, request, &headers, body).await;
    let mut body = String::new();
    let read = soon("a body", socket.read_to_string(&mut body)).await;
    read.expect("read");
    Answer { code, head, body }
}

pub(super) async fn post(master: &Master, headers: &str, body: &str) -> Answer {
    let request = format!("POST {PATH}");
    ask(master, &request, headers, body.as_bytes()).await
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

pub(super) fn info(more: &Value) -> Value {
    let mut info = json!({"user": "", "name": "test", "failover_timeout": 100.0});
    let all = info.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    info
}

impl Stream {
    /// Opens a stream; what it says first is not read.
    pub(super) async fn open(master: &Master, body: &Value) -> Self {
        let request = format!("POST {PATH}");
        let text = body.to_string();
        let (socket, code, head) = send(master, &request, JSON, text.as_bytes()).await;
        assert_eq!(code, 200, "{head}");
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        Self {
            socket,
            id: header(&head, "mesos-stream-id").expect("an id").to_owned(),
            framework: String::new(),
        }
    }

    /// Subscribes a framework.
    pub(super) async fn subscribe(master: &Master, more: Value) -> Self {
        let info = info(&more);
        let mut body = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if let Some(id) = more.get("id") {
            body["framework_id"] = id.clone();
        }
        let mut stream = Self::open(master, &body).await;
        let subscribed = stream.next().await.expect("an event");
        assert_eq!(subscribed["type"], "SUBSCRIBED", "{subscribed}");
        let id = &subscribed["subscribed"]["framework_id"]["value"];
        stream.framework = id.as_str().expect("an id").to_owned();
        assert_eq!(stream.next().await, Some(json!({"type": "HEARTBEAT"})));
        stream
    }

    /// The next event; none at the end. Each is one record, in a chunk of its own.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let mut len = String::new();
        let read = soon("a chunk", self.socket.read_line(&mut len)).await;
        assert!(read.expect("read") > 0, "the stream broke off");
        let len = usize::from_str_radix(len.trim(), 16).expect("a length");
        let mut chunk = vec![0; len + 2];
        self.socket.read_exact(&mut chunk).await.expect("a chunk");
        chunk.truncate(len);
        if chunk.is_empty() {
            return None;
        }
        let text = String::from_utf8(chunk).expect("text");
        let (len, record) = text.split_once('\n').expect("a record");
        assert_eq!(len.parse(), Ok(record.len()), "one record a chunk");
        Some(serde_json::from_str(record).expect("json"))
    }

    async fn expect(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("an event");
            if event["type"] == kind {
                return event[kind.to_lowercase()].clone();
            }
            assert_eq!(event["type"], "HEARTBEAT", "{event}");
        }
    }

    /// The next of this kind, whatever comes before it.
    pub(super) async fn skip_to(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.expect("an event");
            if event["type"] == kind {
                return event[kind.to_lowercase()].clone();
            }
        }
    }

    pub(super) async fn offer(&mut self) -> Value {
        self.expect("OFFERS").await["offers"][0].clone()
    }

    pub(super) async fn status(&mut self) -> Value {
        self.expect("UPDATE").await["status"].clone()
    }

    pub(super) async fn call(&self, master: &Master, kind: &str, part: Value) -> Answer {
        let body = json!({
            "type": kind,
            "framework_id": {"value": self.framework},
            kind.to_lowercase(): part,
        });
        let headers = format!("{JSON}Mesos-Stream-Id: {}\r\n", self.id);
        post(master, &headers, &body.to_string()).await
    }

    pub(super) async fn accepted(&self, master: &Master, kind: &str, part: Value) {
        let answer = self.call(master, kind, part).await;
        assert_eq!((answer.code, answer.body.as_str()), (202, ""), "{kind}");
        assert_eq!(header(&answer.head, "content-length"), Some("0"));
    }

    pub(super) async fn launch(&self, master: &Master, offer: &Value, tasks: &[Value]) {
        let accept = json!({
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": {"task_infos": tasks}}],
            "filters": {"refuse_seconds": 3600},
        });
        self.accepted(master, "ACCEPT", accept).await;
    }
}

pub(super) fn task(id: &str, offer: &Value, cpus: f64) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "agent_id": offer["agent_id"],
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}}],
        "command": {"value": "sleep 1000"},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_of_mesos_launches_a_task_and_hears_of_it_until_it_acknowledges() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    assert_eq!(offer["agent_id"]["value"], agent_id.as_str());
    assert_eq!(offer["hostname"], "host-1");
    assert_eq!(offer["url"]["path"], "/slave(1)");
    let cpus = json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 4.0}, "role": "*"}]);
    assert_eq!(offer["resources"], cpus);
    assert!(offer.get("allocation_info").is_none());
    let domain = json!({"fault_domain": {"region": {"name": "eu-1"}, "zone": {"name": "b"}}});
    assert_eq!(offer["domain"], domain);
    stream
        .launch(&master, &offer, &[task("t", &offer, 1.0)])
        .await;
    let Message::Launch(launch) = agent.next().await else {
        panic!("a launch")
    };
    let framework = launch.framework_id.clone();
    assert_eq!(framework, stream.framework);
    let state = v1::TaskState::Running;
    agent
        .report(&framework, "t", launch.incarnation, state)
        .await;
    let status = stream.status().await;
    assert_eq!(status["state"], "TASK_RUNNING");
    assert_eq!(status["source"], "SOURCE_EXECUTOR");
    let uuid = status["uuid"].clone();

    // Who comes with its id takes over, and is told again what was not acknowledged.
    let id = json!({"id": {"value": stream.framework}});
    let mut next = Stream::subscribe(&master, id).await;
    let error = stream.expect("ERROR").await;
    assert_eq!(error["message"], "Framework failed over");
    assert_eq!(stream.next().await, None);
    let again = next.status().await;
    assert_eq!((&again["uuid"], &again["state"]), (&uuid, &status["state"]));
    stream.framework.clone_from(&next.framework);
    let old = stream.call(&master, "REVIVE", json!({})).await;
    assert_eq!(old.code, 400);
    assert!(old.body.starts_with("The stream ID '"), "{}", old.body);

    let part = json!({"agent_id": status["agent_id"], "task_id": {"value": "t"}, "uuid": uuid});
    next.accepted(&master, "ACKNOWLEDGE", part).await;
    let acknowledged = loop {
        if let Message::Acknowledge(acknowledged) = agent.next().await {
            break acknowledged;
        }
    };
    assert_eq!(
        (acknowledged.task_id.as_str(), acknowledged.number),
        ("t", 1)
    );

    let asked = json!({"tasks": [{"task_id": {"value": "t"}}, {"task_id": {"value": "no"}}]});
    next.accepted(&master, "RECONCILE", asked).await;
    for (task, state, message) in [
        ("t", "TASK_RUNNING", "Reconciliation: Latest task state"),
        ("no", "TASK_LOST", "Reconciliation: Task is unknown"),
    ] {
        let status = loop {
            let event = next.next().await.expect("an event");
            if event["type"] == "UPDATE" {
                break event["update"]["status"].clone();
            }
        };
        assert_eq!(status["task_id"]["value"], task, "{status}");
        assert_eq!(
            (&status["state"], &status["message"]),
            (&json!(state), &json!(message))
        );
        assert_eq!(status["reason"], "REASON_RECONCILIATION");
        assert_eq!(status["source"], "SOURCE_MASTER");
        assert!(status.get("uuid").is_none(), "{status}");
    }
    next.accepted(&master, "TEARDOWN", json!({})).await;
    while let Some(event) = next.next().await {
        assert_ne!(event["type"], "ERROR");
    }
    let gone = next.call(&master, "REVIVE", json!({})).await;
    assert_eq!(
        (gone.code, gone.body.as_str()),
        (400, "Framework cannot be found")
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_done_though_the_stream_ends_at_once() {
    let master = Master::start("memory").await;
    for _ in 0..20 {
        let stream = Stream::subscribe(&master, json!({"failover_timeout": 600.0})).await;
        stream.accepted(&master, "TEARDOWN", json!({})).await;
    }
    let is_over = async {
        loop {
            let all = v1::ListFrameworksRequest::default();
            let all = master.operator().await.list_frameworks(all).await;
            if all.expect("frameworks").get_ref().frameworks.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), is_over).await;
    waited.expect("none of the frameworks is left");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_tasks_come_as_updates() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let mut nothing = task("nothing", &offer, 1.0);
    nothing["resources"] = json!([]);
    let mut neither = task("neither", &offer, 1.0);
    neither
        .as_object_mut()
        .expect("an object")
        .remove("command");
    let mut elsewhere = task("elsewhere", &offer, 1.0);
    elsewhere["agent_id"] = json!({"value": "other"});
    let tasks = [
        task("a/b", &offer, 1.0),
        nothing,
        neither,
        elsewhere,
        task("good", &offer, 1.0),
        task("good", &offer, 1.0),
        task("much", &offer, 999.0),
    ];
    stream.launch(&master, &offer, &tasks).await;
    let refused = [
        ("a/b", "'a/b' contains invalid characters"),
        ("nothing", "Task uses no resources"),
        (
            "neither",
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
        ),
        ("elsewhere", "Task uses invalid agent other while agent"),
        ("good", "Task has duplicate ID: good"),
        (
            "much",
            "Total resources cpus(allocated: *):999 required by task and its executor is more than available cpus(allocated: *):4",
        ),
    ];
    for (task, message) in refused {
        let status = stream.status().await;
        assert_eq!(status["task_id"]["value"], task, "{status}");
        assert_eq!(status["state"], "TASK_ERROR");
        assert_eq!(status["reason"], "REASON_TASK_INVALID");
        assert_eq!(status["source"], "SOURCE_MASTER");
        let said = status["message"].as_str().expect("a message");
        assert!(said.starts_with(message), "{said}");
    }
    let Message::Launch(launch) = agent.next().await else {
        panic!("a launch")
    };
    assert_eq!(launch.spec.expect("a spec").id, "good");
    let nosuch = json!({"id": {"value": "nosuch"}});
    stream
        .launch(&master, &nosuch, &[task("late", &offer, 1.0)])
        .await;
    let status = loop {
        let event = stream.next().await.expect("an event");
        if event["type"] == "UPDATE" {
            break event["update"]["status"].clone();
        }
    };
    assert_eq!(
        (&status["state"], &status["reason"]),
        (&json!("TASK_LOST"), &json!("REASON_INVALID_OFFERS"))
    );
    let text = "Task launched with invalid offers: Offer nosuch is no longer valid";
    assert_eq!(status["message"], text);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_subscriptions_are_told_so_in_a_stream() {
    let master = Master::start("memory").await;
    let gone = Stream::subscribe(&master, json!({})).await;
    gone.accepted(&master, "TEARDOWN", json!({})).await;
    let multi = json!([{"type": "MULTI_ROLE"}]);
    let many: Vec<String> = (0..101).map(|number| format!("r{number}")).collect();
    let table = [
        (
            json!({"role": "a b"}),
            "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it contains backspace or whitespace",
        ),
        (
            json!({"roles": ["a"]}),
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        (
            json!({"role": "a", "capabilities": multi}),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
        (
            json!({"id": {"value": gone.framework}}),
            "Framework has been removed",
        ),
        (
            json!({"roles": many, "capabilities": multi}),
            "'FrameworkInfo.roles' has 101 roles, more than 100",
        ),
    ];
    for (more, message) in table {
        let mut body = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info(&more)}});
        body["framework_id"] = more["id"].clone();
        let mut stream = Stream::open(&master, &body).await;
        let error = json!({"type": "ERROR", "error": {"message": message}});
        assert_eq!(stream.next().await, Some(error));
        assert_eq!(stream.next().await, None);
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_id_is_none() {
    let master = Master::start("memory").await;
    let empty = json!({"id": {"value": ""}});
    let first = Stream::subscribe(&master, empty.clone()).await;
    let body = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info(&empty)}});
    let mut second = Stream::open(&master, &body).await;
    let second = second.expect("SUBSCRIBED").await["framework_id"]["value"].clone();
    assert!(!first.framework.is_empty() && second != "" && second != first.framework.as_str());
    let health = ask(&master, "GET /master/health", "", b"").await;
    assert_eq!((health.code, health.body.as_str()), (200, ""));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_told_though_the_framework_changes_meanwhile() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    for round in 0..5 {
        let offer = stream.skip_to("OFFERS").await["offers"][0].clone();
        let name = format!("much-{round}");
        let launch = json!({"task_infos": [task(&name, &offer, 999.0)]});
        let accept = json!({
            "offer_ids": [offer["id"]],
            "operations": [{"type": "LAUNCH", "launch": launch}],
            "filters": {"refuse_seconds": 0},
        });
        let update = json!({"framework_info": info_of(&stream, &json!({"name": name}))});
        let (answer, ()) = tokio::join!(
            stream.call(&master, "UPDATE_FRAMEWORK", update),
            stream.accepted(&master, "ACCEPT", accept),
        );
        assert_eq!(answer.code, 200, "{}", answer.body);
        let status = stream.skip_to("UPDATE").await["status"].clone();
        assert_eq!(status["task_id"]["value"], name.as_str(), "{status}");
        let update = json!({"framework_info": info_of(&stream, &json!({"name": "again"}))});
        let answer = stream.call(&master, "UPDATE_FRAMEWORK", update).await;
        assert_eq!(answer.code, 200, "{}", answer.body);
    }
    master.stop().await;
}

/// What a framework says of itself later, with its id.
fn info_of(stream: &Stream, more: &Value) -> Value {
    let mut all = info(more);
    all["id"] = json!({"value": stream.framework});
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn with_several_roles_each_is_named_and_can_be_suppressed() {
    let master = Master::start("memory").await;
    let capabilities = json!([{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]);
    let more = json!({"roles": ["a", "b"], "capabilities": capabilities});
    let body = json!({
        "type": "SUBSCRIBE",
        "subscribe": {"framework_info": info(&more), "suppressed_roles": ["a", "b"]},
    });
    let mut stream = Stream::open(&master, &body).await;
    let subscribed = stream.expect("SUBSCRIBED").await;
    let id = subscribed["framework_id"]["value"].as_str();
    stream.framework = id.expect("an id").to_owned();
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    stream
        .accepted(&master, "REVIVE", json!({"roles": ["nosuch"]}))
        .await;
    stream
        .accepted(&master, "REVIVE", json!({"roles": ["b"]}))
        .await;
    let offer = stream.offer().await;
    assert_eq!(offer["allocation_info"], json!({"role": "b"}));
    let cpus = json!([{
        "name": "cpus", "type": "SCALAR", "scalar": {"value": 4.0}, "allocation_info": {"role": "b"},
    }]);
    assert_eq!(offer["resources"], cpus);
    stream.accepted(&master, "SUPPRESS", json!({})).await;
    let decline =
        json!({"offer_ids": [offer["id"], {"value": "no"}], "filters": {"refuse_seconds": 0.0}});
    stream.accepted(&master, "DECLINE", decline).await;
    let mut info = info(&more);
    info["id"] = json!({"value": stream.framework});
    info["roles"] = json!(["c"]);
    let answer = stream
        .call(&master, "UPDATE_FRAMEWORK", json!({"framework_info": info}))
        .await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let offer = stream.offer().await;
    assert_eq!(offer["allocation_info"], json!({"role": "c"}));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_none_are_refused_in_mesos_words() {
    let master = Master::start("memory").await;
    let stream = Stream::subscribe(&master, json!({})).await;
    let id = &stream.framework;
    let of = |rest: &str| format!(r#"{{"framework_id":{{"value":"{id}"}},{rest}}}"#);
    let with_id = format!("{JSON}Mesos-Stream-Id: bad\r\n");
    let uuid = r#""type":"ACKNOWLEDGE","acknowledge":{"agent_id":{"value":"a"},"task_id":{"value":"t"},"uuid":"AA=="}"#;
    let subscribe = r#"{"type":"SUBSCRIBE","framework_id":{"value":"a"},"subscribe":{"framework_info":{"user":"","name":""}}}"#;
    let long = "A".repeat(90_000);
    let long = format!(
        r#""type":"MESSAGE","message":{{"agent_id":{{"value":"a"}},"executor_id":{{"value":"e"}},"data":"{long}"}}"#
    );
    let deep = format!(r#"{{"more":{}}}"#, "[".repeat(10_000));
    let invalid = |text: &str| format!("Failed to validate scheduler::Call: {text}");
    let table: Vec<(&str, String, u16, String)> = vec![
        (
            "",
            "{}".into(),
            400,
            "Expecting 'Content-Type' to be present".into(),
        ),
        (
            "Content-Type: text/plain\r\n",
            "{}".into(),
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf".into(),
        ),
        (
            JSON,
            "{nope".into(),
            400,
            "Failed to parse body into JSON: syntax error at line 1 near: nope".into(),
        ),
        (JSON, deep, 400, "Failed to parse body into JSON: ".into()),
        (
            JSON,
            r#"{"type":"SUBSCR"#.into(),
            400,
            "Failed to parse body into JSON: ".into(),
        ),
        (
            JSON,
            of(r#""decline":{"filters":{"refuse_seconds":1e999}}"#),
            400,
            "Failed to parse body into JSON: Value out of range".into(),
        ),
        (
            JSON,
            "{}".into(),
            400,
            invalid("Expecting 'type' to be present"),
        ),
        (
            JSON,
            r#"{"type":"NOSUCH"}"#.into(),
            400,
            invalid("Expecting 'type' to be present"),
        ),
        (
            JSON,
            r#"{"type":"KILL"}"#.into(),
            400,
            invalid("Expecting 'framework_id' to be present"),
        ),
        (
            JSON,
            of(r#""type":"ACCEPT""#),
            400,
            invalid("Expecting 'accept' to be present"),
        ),
        (JSON, of(uuid), 400, invalid("Not a valid UUID")),
        (
            JSON,
            of(&long),
            400,
            invalid("'message.data' is longer than 64 KiB"),
        ),
        (
            JSON,
            of(r#""acknowledge":{"uuid":"%%%"}"#),
            400,
            "Failed to convert JSON into Call protobuf".into(),
        ),
        (
            JSON,
            subscribe.into(),
            400,
            invalid("'framework_id' differs from 'subscribe.framework_info.id'"),
        ),
        (
            &with_id,
            r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"","name":""}}}"#.into(),
            400,
            "Subscribe calls should not include the 'Mesos-Stream-Id' header".into(),
        ),
        (
            JSON,
            of(r#""type":"REVIVE""#),
            400,
            "All non-subscribe calls should include the 'Mesos-Stream-Id' header".into(),
        ),
        (
            &with_id,
            of(r#""type":"REVIVE""#),
            400,
            format!(
                "The stream ID 'bad' included in this request didn't match the stream ID currently associated with framework ID {id}"
            ),
        ),
        (
            JSON,
            r#"{"type":"REVIVE","framework_id":{"value":"no"}}"#.into(),
            400,
            "Framework cannot be found".into(),
        ),
    ];
    for (headers, body, code, text) in table {
        let answer = post(&master, headers, &body).await;
        assert_eq!(answer.code, code, "{body}: {}", answer.body);
        assert!(answer.body.starts_with(&text), "{body}: {}", answer.body);
        assert_eq!(
            header(&answer.head, "content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
    let get = ask(&master, &format!("GET {PATH}"), "", b"").await;
    assert_eq!((get.code, header(&get.head, "allow")), (405, Some("POST")));
    // Only where the answer has a body, and after all that is wrong with the call.
    let html = format!("{JSON}Accept: text/html\r\n");
    let good = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"","name":""}}}"#;
    let none = r#"{"type":"SUBSCRIBE"}"#;
    let operations = of(r#""type":"RECONCILE_OPERATIONS","reconcile_operations":{}"#);
    let missing = of(r#""type":"RECONCILE_OPERATIONS""#);
    let revive = of(r#""type":"REVIVE""#);
    let not_acceptable =
        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
    let unnamed = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
    for (body, code, text) in [
        (good, 406, not_acceptable.to_owned()),
        (none, 400, invalid("Expecting 'subscribe' to be present")),
        (&operations, 406, not_acceptable.to_owned()),
        (
            &missing,
            400,
            invalid("Expecting 'reconcile_operations' to be present"),
        ),
        (&revive, 400, unnamed.to_owned()),
    ] {
        let answer = post(&master, &html, body).await;
        assert_eq!((answer.code, answer.body), (code, text), "{body}");
    }
    let large = vec![b' '; 10 * 1024 * 1024];
    let request = format!("POST /master{PATH}");
    let mut socket = TcpStream::connect(master.listen())
        .await
        .expect("connected");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {}\r\n{}{JSON}Content-Length: {}\r\n\r\n",
        master.listen(),
        master.authorization(),
        large.len()
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    soon("a whole body", socket.write_all(&large))
        .await
        .expect("sent");
    let mut answer = [0; 12];
    soon("an answer", socket.read_exact(&mut answer))
        .await
        .expect("read");
    assert_eq!(&answer, b"HTTP/1.1 413");
    let framework = stream.framework.clone();
    drop(stream);
    let body = format!(r#"{{"type":"REVIVE","framework_id":{{"value":"{framework}"}}}}"#);
    let gone = async {
        while post(&master, JSON, &body).await.code != 403 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("that it is disconnected", gone).await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_by_says_where_the_leader_is() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    let subscribe = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info(&json!({}))}});
    let answer = post(&masters[1], JSON, &subscribe.to_string()).await;
    assert_eq!(
        (answer.code, answer.body.as_str()),
        (503, "No leader elected")
    );
    stage.elect(&masters, 0).await;
    let place = format!("//{}/master/api/v1/scheduler", masters[0].listen());
    for path in [PATH, "/master/api/v1/scheduler"] {
        let answer = ask(&masters[1], &format!("POST {path}"), JSON, b"{}").await;
        assert_eq!(
            (answer.code, header(&answer.head, "location")),
            (307, Some(place.as_str()))
        );
        assert_eq!(header(&answer.head, "content-length"), Some("0"));
    }
    let place = format!("//{}", masters[0].listen());
    for master in &masters {
        let answer = ask(master, "GET /redirect", "", b"").await;
        assert_eq!(
            (answer.code, header(&answer.head, "location")),
            (307, Some(place.as_str()))
        );
        let version = ask(master, "GET /version", "", b"").await;
        let version: Value = serde_json::from_str(&version.body).expect("json");
        assert_eq!(version["version"], "1.11.0");
    }

    // It comes back to the next leader with its id, though it asked not to be waited for.
    let first = Stream::subscribe(&masters[0], json!({"failover_timeout": 0.0})).await;
    let id = json!({"id": {"value": first.framework}, "failover_timeout": 0.0});
    stage.elect(&masters, 1).await;
    let revive = json!({"type": "REVIVE", "framework_id": {"value": first.framework}});
    let early = post(&masters[1], JSON, &revive.to_string()).await;
    let text = "Framework is not subscribed";
    assert_eq!((early.code, early.body.as_str()), (403, text));
    let second = Stream::subscribe(&masters[1], id).await;
    assert_eq!(first.framework, second.framework);
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_is_spoken_too() {
    use proffer_proto::mesos::v1::FrameworkInfo;
    use proffer_proto::mesos::v1::scheduler::{Call, Event, call, event};
    use prost::Message as _;
    let master = Master::start("memory").await;
    let subscribe = call::Subscribe {
        framework_info: FrameworkInfo {
            name: "f".to_owned(),
            ..FrameworkInfo::default()
        },
        ..call::Subscribe::default()
    };
    let call = Call {
        r#type: Some(call::Type::Subscribe.into()),
        subscribe: Some(subscribe),
        ..Call::default()
    };
    let media = "application/x-protobuf";
    let headers = format!("Content-Type: {media}\r\nAccept: {media}\r\n");
    let request = format!("POST {PATH}");
    let (mut socket, code, head) = send(&master, &request, &headers, &call.encode_to_vec()).await;
    assert_eq!((code, header(&head, "content-type")), (200, Some(media)));
    let mut line = String::new();
    for _ in 0..2 {
        line.clear();
        soon("a length", socket.read_line(&mut line))
            .await
            .expect("read");
    }
    let mut record = vec![0; line.trim().parse().expect("a length")];
    soon("a record", socket.read_exact(&mut record))
        .await
        .expect("read");
    let event = Event::decode(record.as_slice()).expect("an event");
    assert_eq!(event.r#type(), event::Type::Subscribed);
    master.stop().await;
}
