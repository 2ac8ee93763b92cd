//! Executors that were written for Mesos, on the agent's own port. The test speaks HTTP for them, byte by byte, with the
//! token that their process was given; where the process itself must speak, it is curl.

mod infos;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::{
    Command, Epoch, ExecutorApi, ExecutorId, ExecutorSpec, Incarnation, Reason, Status, TaskSpec,
    TaskState,
};
use proffer_proto::mesos::v1::executor::{Call, Event, call as calls, event};
use proffer_proto::mesos::{read_json, v1, write_json};
use prost::Message as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, framework, shell};

/// Says where it is, and waits.
const PROGRAM: &str = "env > env.new; mv env.new env; while :; do sleep 1000 & wait; done";

fn executor_info() -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: "e".into() },
        name: Some("the executor".into()),
        data: Some(b"its data".to_vec()),
        ..v1::ExecutorInfo::default()
    }
}

fn executor(line: &str) -> Arc<ExecutorSpec> {
    let framework = v1::FrameworkInfo {
        name: "the framework".into(),
        user: "root".into(),
        ..v1::FrameworkInfo::default()
    };
    let told = event::Subscribed {
        executor_info: executor_info(),
        framework_info: framework,
        ..event::Subscribed::default()
    };
    Arc::new(ExecutorSpec {
        id: ExecutorId::new("e").unwrap(),
        resources: "cpus:0.5".parse().unwrap(),
        command: Command::Shell(line.to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_millis(200),
        api: ExecutorApi::MesosV1,
        info: told.encode_to_vec(),
        info_compared: None,
        fetch: Vec::new(),
    })
}

fn info(id: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: format!("name of {id}"),
        task_id: v1::TaskId { value: id.into() },
        executor: Some(Box::new(executor_info())),
        data: Some(vec![0xff, 0]),
        ..v1::TaskInfo::default()
    }
}

fn task_of(id: &str, line: &str) -> TaskSpec {
    TaskSpec {
        command: Command::Data(info(id).encode_to_vec()),
        executor: Some(executor(line)),
        ..shell(id, "")
    }
}

fn status(task: &str, uuid: u8, state: v1::TaskState) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: v1::TaskId { value: task.into() },
        state: state.into(),
        source: Some(v1::task_status::Source::Executor.into()),
        message: Some(format!("word {uuid}")),
        uuid: Some(vec![uuid; 16]),
        ..v1::TaskStatus::default()
    }
}

/// A call of the executor; `kind` and what goes with it are to be set.
fn call(kind: calls::Type) -> Call {
    Call {
        executor_id: v1::ExecutorId { value: "e".into() },
        framework_id: v1::FrameworkId { value: "f".into() },
        r#type: Some(kind.into()),
        ..Call::default()
    }
}

fn update(status: v1::TaskStatus) -> Call {
    Call {
        update: Some(calls::Update { status }),
        ..call(calls::Type::Update)
    }
}

fn subscribe(tasks: &[&str], updates: &[v1::TaskStatus]) -> Call {
    let updates = updates.iter().map(|status| calls::Update {
        status: status.clone(),
    });
    Call {
        subscribe: Some(calls::Subscribe {
            unacknowledged_tasks: tasks.iter().map(|id| info(id)).collect(),
            unacknowledged_updates: updates.collect(),
        }),
        ..call(calls::Type::Subscribe)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Media {
    Json,
    Protobuf,
}

/// Where the executor's process was put, and how it speaks.
struct Place {
    listen: SocketAddr,
    media: Media,
    run: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Place {
    async fn find(bench: &Bench, media: Media) -> Self {
        let find = async {
            loop {
                let mut runs = bench.runs().into_iter();
                if let Some(run) = runs.find(|run| run.join("sandbox/env").exists()) {
                    return run;
                }
                tokio::task::yield_now().await;
            }
        };
        let run = timeout(PATIENCE, find).await.unwrap();
        let text = std::fs::read_to_string(run.join("sandbox/env")).unwrap();
        let entries = text.lines().filter_map(|line| line.split_once('='));
        let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            listen: bench.listen(),
            media,
            run,
            environment: entries.collect(),
        }
    }

    fn token(&self) -> String {
        let token = &self.environment["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"];
        format!("authorization: Bearer {token}")
    }

    /// Connects as soon as somebody listens.
    async fn connect(&self) -> TcpStream {
        let connect = async {
            loop {
                match TcpStream::connect(self.listen).await {
                    Ok(stream) => return stream,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused),
                }
            }
        };
        timeout(PATIENCE, connect).await.unwrap()
    }

    /// Sends a request and reads the head of its answer.
    async fn request(&self, head: &[&str], body: &[u8]) -> (u16, String, BufReader<TcpStream>) {
        let mut stream = self.connect().await;
        let mut request = head[0].to_owned();
        for line in &head[1..] {
            request += &format!("\r\n{line}");
        }
        request += &format!(
            "\r\nhost: {}\r\ncontent-length: {}\r\n\r\n",
            self.listen,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") {
            let read = timeout(PATIENCE, reader.read_line(&mut text)).await;
            assert!(read.unwrap().unwrap() > 0, "{text}");
        }
        let code = text.split(' ').nth(1).unwrap().parse().unwrap();
        (code, text.to_lowercase(), reader)
    }

    async fn post(&self, call: &Call) -> (u16, String, BufReader<TcpStream>) {
        let token = self.token();
        let (name, body) = match self.media {
            Media::Json => ("application/json", write_json(call)),
            Media::Protobuf => ("application/x-protobuf", call.encode_to_vec()),
        };
        let (given, wanted) = (format!("content-type: {name}"), format!("accept: {name}"));
        let head = ["POST /api/v1/executor HTTP/1.1", &token, &given, &wanted];
        self.request(&head, &body).await
    }

    async fn say(&self, call: Call) {
        let (code, head, mut reader) = self.post(&call).await;
        let text = rest(&head, &mut reader).await;
        assert_eq!((code, &*text), (202, ""), "{call:?}");
        assert!(head.contains("content-length: 0\r\n"), "{head}");
    }

    async fn begin(&self, call: &Call) -> Stream {
        let (code, head, reader) = self.post(call).await;
        assert_eq!(code, 200, "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        assert!(!head.contains("mesos-stream-id"), "{head}");
        let media = self.media;
        let mut stream = Stream { media, reader };
        let subscribed = stream.next().await.unwrap().subscribed.unwrap();
        assert_eq!(subscribed.executor_info.executor_id.value, "e");
        stream
    }
}

/// What is left of an answer with a length.
async fn rest(head: &str, reader: &mut BufReader<TcpStream>) -> String {
    let len = head.split("content-length: ").nth(1).unwrap();
    let len = len.split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; len];
    reader.read_exact(&mut body).await.unwrap();
    String::from_utf8(body).unwrap()
}

/// An answer without end: one chunk is one record.
struct Stream {
    media: Media,
    reader: BufReader<TcpStream>,
}

impl Stream {
    /// The next that is no heartbeat; nothing at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let chunk = timeout(PATIENCE, self.chunk()).await.unwrap()?;
            let at = chunk.iter().position(|byte| *byte == b'\n').unwrap();
            let (len, body) = (&chunk[..at], &chunk[at + 1..]);
            assert_eq!(std::str::from_utf8(len).unwrap(), body.len().to_string());
            let event: Event = match self.media {
                Media::Json => read_json(body).unwrap(),
                Media::Protobuf => Event::decode(body).unwrap(),
            };
            if event.r#type() != event::Type::Heartbeat {
                return Some(event);
            }
        }
    }

    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.ok()?;
        let len = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; len + 2];
        self.reader.read_exact(&mut chunk).await.ok()?;
        chunk.truncate(len);
        Some(chunk).filter(|chunk| !chunk.is_empty())
    }

    async fn launched(&mut self) -> v1::TaskInfo {
        self.next().await.unwrap().launch.unwrap().task
    }

    /// Task and uuid.
    async fn acknowledged(&mut self) -> (String, u8) {
        let event = self.next().await.unwrap();
        let acknowledged = event.acknowledged.clone();
        let acknowledged = acknowledged.unwrap_or_else(|| panic!("{event:?}"));
        (acknowledged.task_id.value, acknowledged.uuid[0])
    }
}

async fn started(media: Media) -> (Bench, Place) {
    let mut bench = Bench::started().await;
    bench.keep_listen();
    bench.launch(1, task_of("t", PROGRAM)).await;
    let place = Place::find(&bench, media).await;
    (bench, place)
}

/// The next status that is not STARTING.
async fn told(bench: &mut Bench) -> Status {
    loop {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        if status.state != TaskState::Starting {
            return status;
        }
    }
}

/// How a task ended.
async fn until(bench: &mut Bench, task: &str) -> Status {
    loop {
        let status = told(bench).await;
        if status.task.as_str() == task && status.state.is_terminal() {
            return status;
        }
    }
}

async fn order(bench: &mut Bench, order: ToAgent) {
    bench.link.as_mut().unwrap().send(order).await;
}

/// The number of the statuses that the test's master has, and what each is.
fn named(status: &Status) -> (TaskState, v1::TaskStatus) {
    let said = v1::TaskStatus::decode(&*status.data).unwrap();
    (status.state, said)
}

async fn runs_a_task(media: Media) {
    let (mut bench, place) = started(media).await;
    let sandbox = place.run.join("sandbox").display().to_string();
    let endpoint = bench.listen().to_string();
    let pid = format!("slave(1)@{endpoint}");
    let token = place.environment["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"].clone();
    // Whatever Mesos's agents give; but the role, which is the task's.
    let expected = [
        ("LIBPROCESS_PORT", "0"),
        ("MESOS_SLAVE_PID", &*pid),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", &*token),
        ("MESOS_FRAMEWORK_ID", "f"),
        ("MESOS_EXECUTOR_ID", "e"),
        ("MESOS_SLAVE_ID", "a"),
        ("MESOS_AGENT_ENDPOINT", &*endpoint),
        ("MESOS_DIRECTORY", &*sandbox),
        ("MESOS_SANDBOX", &*sandbox),
        ("MESOS_CHECKPOINT", "1"),
        ("MESOS_RECOVERY_TIMEOUT", "15mins"),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "200ms"),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0"),
    ];
    let is_mesos = |name: &str| name.starts_with("MESOS_") || name.starts_with("LIBPROCESS_");
    let given = place.environment.iter();
    let given: BTreeMap<&str, &str> = given
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| is_mesos(name))
        .collect();
    assert_eq!(given, BTreeMap::from(expected));
    let (code, _, reader) = place.post(&subscribe(&[], &[])).await;
    assert_eq!(code, 200);
    let mut stream = Stream { media, reader };
    let subscribed = stream.next().await.unwrap().subscribed.unwrap();
    let executor = subscribed.executor_info;
    assert_eq!(executor.name.as_deref(), Some("the executor"));
    assert_eq!(executor.data.as_deref(), Some(&b"its data"[..]));
    assert_eq!(executor.framework_id.unwrap().value, "f");
    let framework = subscribed.framework_info;
    assert_eq!(framework.id.unwrap().value, "f");
    assert_eq!(
        (&*framework.name, &*framework.user),
        ("the framework", "root")
    );
    let agent = subscribed.agent_info;
    assert_eq!(
        (&*agent.hostname, agent.id.unwrap().value),
        ("127.0.0.1", "a".into())
    );
    let offered = agent.resources.iter().map(|it| &*it.name);
    assert_eq!(offered.collect::<Vec<_>>(), ["cpus", "mem", "disk"]);
    assert_eq!(agent.port, Some(bench.listen().port().into()));
    assert_eq!(stream.launched().await, info("t"));

    let running = status("t", 1, v1::TaskState::TaskRunning);
    place.say(update(running.clone())).await;
    assert_eq!(stream.acknowledged().await, ("t".into(), 1));
    let (state, mut said) = named(&told(&mut bench).await);
    // Its agent adds where it is.
    let executor = said.executor_id.take().map(|id| id.value);
    assert_eq!(executor.as_deref(), Some("e"));
    let container = said.container_status.take().and_then(|it| it.container_id);
    assert_eq!(container, subscribed.container_id);
    assert_eq!((state, said), (TaskState::Running, running));
    place.say(call(calls::Type::Heartbeat)).await;
    let message = Call {
        message: Some(calls::Message {
            data: vec![7; 1000],
        }),
        ..call(calls::Type::Message)
    };
    place.say(message).await;
    let message = loop {
        if let ToMaster::Message { data, .. } = bench.link.as_mut().unwrap().receive().await {
            break data;
        }
    };
    assert_eq!(message, [7; 1000]);
    let message = ToAgent::Message {
        epoch: Epoch(1),
        framework: crate::bench::framework(),
        executor: ExecutorId::new("e").unwrap(),
        data: vec![1, 2, 3],
    };
    order(&mut bench, message).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.message.unwrap().data, [1, 2, 3]);
    bench.kill("t", 1, Duration::from_secs(9)).await;
    assert_eq!(told(&mut bench).await.state, TaskState::Killing);
    let kill = stream.next().await.unwrap().kill.unwrap();
    let grace = kill.kill_policy.unwrap().grace_period.unwrap().nanoseconds;
    assert!(grace > 8_000_000_000 && kill.task_id.value == "t");
    place
        .say(update(status("t", 2, v1::TaskState::TaskKilled)))
        .await;
    assert_eq!(stream.acknowledged().await, ("t".into(), 2));
    let last = told(&mut bench).await;
    assert_eq!(
        (last.state, last.reason),
        (TaskState::Killed, Reason::KillRequested)
    );
    shut_down(&mut bench).await;
    let event = stream.next().await.unwrap();
    assert_eq!(event.r#type(), event::Type::Shutdown);
    ended(&mut bench).await;
    assert!(stream.next().await.is_none());
}

async fn shut_down(bench: &mut Bench) {
    let shutdown = ToAgent::ShutdownExecutor {
        epoch: Epoch(1),
        framework: framework(),
        executor: ExecutorId::new("e").unwrap(),
        reason: Reason::KillRequested,
    };
    order(bench, shutdown).await;
}

async fn ended(bench: &mut Bench) {
    loop {
        let said = bench.link.as_mut().unwrap().receive().await;
        if matches!(said, ToMaster::ExecutorChanged { is_ended: true, .. }) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesos_executor_runs_a_task_from_launch_to_end_in_json() {
    runs_a_task(Media::Json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesos_executor_runs_a_task_from_launch_to_end_in_protobuf() {
    runs_a_task(Media::Protobuf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesos_executor_comes_back_to_the_next_agent_and_no_status_counts_twice() {
    let (mut bench, place) = started(Media::Json).await;
    let place = Arc::new(place);
    let mut stream = place.begin(&subscribe(&[], &[])).await;
    stream.launched().await;
    for (number, task) in [(2, "u"), (3, "v")] {
        bench.launch(number, task_of(task, PROGRAM)).await;
        assert_eq!(stream.launched().await.task_id.value, task);
    }
    for (uuid, task) in [(1, "t"), (2, "u")] {
        let running = status(task, uuid, v1::TaskState::TaskRunning);
        place.say(update(running)).await;
        assert_eq!(stream.acknowledged().await, (task.into(), uuid));
    }
    let mut states = Vec::new();
    for _ in 0..2 {
        states.push(told(&mut bench).await.state);
    }
    assert_eq!(states, [TaskState::Running; 2]);
    bench.stop().await;
    assert!(stream.next().await.is_none(), "its stream ended");
    // However early it calls, the agent knows it; before it has subscribed again it may not speak.
    let early = place.clone();
    let mut message = call(calls::Type::Message);
    message.message = Some(calls::Message::default());
    let early = tokio::spawn(async move { early.post(&message).await });
    bench.start().await;
    let (code, head, mut reader) = early.await.unwrap();
    let text = rest(&head, &mut reader).await;
    assert_eq!((code, &*text), (403, "Executor is not subscribed"));
    // As Mesos's executors do: t's acknowledgement it has not got, and t has ended meanwhile; u, of which one was
    // acknowledged, runs on and is not named; v it was never told of, as far as it says.
    let again = [
        status("t", 1, v1::TaskState::TaskRunning),
        status("t", 3, v1::TaskState::TaskFinished),
    ];
    let mut stream = place.begin(&subscribe(&["t"], &again)).await;
    let mut heard = Vec::new();
    for _ in 0..2 {
        heard.push(stream.acknowledged().await.1);
    }
    assert_eq!(heard, [1, 3]);
    assert_eq!(stream.launched().await.task_id.value, "v");
    // What the first agent had not heard to be acknowledged is said again, but nothing is a new status.
    let last = until(&mut bench, "t").await;
    let (state, said) = named(&last);
    assert_eq!((state, said.uuid.unwrap()[0]), (TaskState::Finished, 3));
    let container = said.container_status.unwrap().container_id;
    let own = (said.executor_id.unwrap().value, container.is_some());
    assert_eq!(own, ("e".into(), true), "as if it came as an UPDATE");
    assert_eq!(last.number, 3, "STARTING, RUNNING, FINISHED: none twice");
    // u is still known by its id.
    place
        .say(update(status("u", 4, v1::TaskState::TaskFailed)))
        .await;
    assert_eq!(stream.acknowledged().await, ("u".into(), 4));
    assert_eq!(until(&mut bench, "u").await.state, TaskState::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reaches_a_mesos_executor_whole_and_another_stream_ends_the_first() {
    let (mut bench, place) = started(Media::Protobuf).await;
    let mut first = place.begin(&subscribe(&[], &[])).await;
    first.launched().await;
    let group = ToAgent::LaunchGroup {
        epoch: Epoch(1),
        framework: framework(),
        payer: None,
        tasks: (11..)
            .map(Incarnation)
            .zip(["a", "b"].map(|id| task_of(id, PROGRAM)))
            .collect(),
    };
    order(&mut bench, group).await;
    let group = first.next().await.unwrap().launch_group.unwrap();
    assert_eq!(group.task_group.tasks, [info("a"), info("b")]);
    let mut second = place.begin(&subscribe(&["t", "a", "b"], &[])).await;
    assert!(first.next().await.is_none(), "it ends without a word");
    for (uuid, task) in [(1, "a"), (2, "b")] {
        let running = status(task, uuid, v1::TaskState::TaskRunning);
        place.say(update(running)).await;
        assert_eq!(second.acknowledged().await, (task.into(), uuid));
    }
    place
        .say(update(status("a", 3, v1::TaskState::TaskFailed)))
        .await;
    // What becomes of the others is the executor's to say: it is told to end none.
    assert_eq!(second.acknowledged().await, ("a".into(), 3));
    // What it says of a task that it was never given is acknowledged, so that it forgets it.
    let strange = status("stranger", 9, v1::TaskState::TaskRunning);
    place.say(update(strange)).await;
    assert_eq!(second.acknowledged().await, ("stranger".into(), 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_in_and_what_is_wrong_is_said_in_mesos_words() {
    let (_bench, place) = started(Media::Json).await;
    let post = "POST /api/v1/executor HTTP/1.1";
    let json = "content-type: application/json";
    let token = place.token();
    let wrong = format!("authorization: Bearer {}", "5a".repeat(32));
    let hello = |framework: &str, executor: &str, kind: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"executor_id\":{{\"value\":\"{executor}\"}},\
             \"framework_id\":{{\"value\":\"{framework}\"}},\"subscribe\":{{}}}}"
        )
    };
    let good = hello("f", "e", "SUBSCRIBE");
    let message = r#"{"type":"MESSAGE","executor_id":{"value":"e"},"framework_id":{"value":"f"},"message":{"data":""}}"#.to_owned();
    let none = "The call has no token, and no process of this executor makes it";
    let table: Vec<(Vec<&str>, String, u16, &str)> = vec![
        (vec![post, json], good.clone(), 401, none),
        (
            vec![post, json, &wrong],
            good.clone(),
            401,
            "The token is not this executor's",
        ),
        (
            vec![post, json, "authorization: Basic YTpi"],
            good.clone(),
            401,
            "The token is not this executor's",
        ),
        (
            vec![post, json, &token],
            hello("x", "e", "SUBSCRIBE"),
            400,
            "Framework cannot be found",
        ),
        (
            vec![post, json, &token],
            hello("f", "x", "SUBSCRIBE"),
            400,
            "Executor cannot be found",
        ),
        // Whatever it takes: the answer would say nothing.
        (
            vec![post, json, &token, "accept: text/html"],
            message,
            403,
            "Executor is not subscribed",
        ),
        (vec![post, json], hello("-", "-", "HEARTBEAT"), 202, ""),
        (
            vec![post, json, &token],
            hello("f", "e", "UPDATE"),
            400,
            "Failed to validate Executor::Call: Expecting 'update' to be present",
        ),
        (
            vec![post, json, &token],
            "{nope".into(),
            400,
            "Failed to parse body into JSON: syntax error at line 1 near: nope",
        ),
        (
            vec![post, json, &token],
            "{}".into(),
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: executor_id, framework_id",
        ),
        (
            vec![post, &token],
            good.clone(),
            400,
            "Expecting 'Content-Type' to be present",
        ),
        (
            vec![post, &token, "content-type: text/plain"],
            good.clone(),
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (
            vec![post, &token, json, "accept: text/html"],
            good.clone(),
            406,
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
        ),
        (
            vec!["GET /api/v1/executor HTTP/1.1", &token],
            String::new(),
            405,
            "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
        ),
        (
            vec!["POST /slave(1)/api/v1/executor HTTP/1.1", json, &token],
            "{nope".into(),
            400,
            "Failed to parse body into JSON: syntax error at line 1 near: nope",
        ),
    ];
    for (head, body, code, expected) in table {
        let (got, answer, mut reader) = place.request(&head, body.as_bytes()).await;
        let text = rest(&answer, &mut reader).await;
        assert_eq!((got, &*text), (code, expected), "{head:?} {body}");
    }
    // The token opens nothing else.
    let head = ["GET /metrics/x HTTP/1.1", &token];
    let (code, _, _) = place.request(&head, b"").await;
    assert_eq!(code, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesos_executor_without_a_token_is_known_by_its_process() {
    let mut bench = Bench::started().await;
    bench.keep_listen();
    let body = String::from_utf8(write_json(&subscribe(&[], &[]))).unwrap();
    let line = format!(
        "unset MESOS_EXECUTOR_AUTHENTICATION_TOKEN; curl -sS -N -H 'Content-Type: application/json' \
         -d '{body}' http://$MESOS_AGENT_ENDPOINT/api/v1/executor > events 2>&1; sleep 1000"
    );
    bench.launch(1, task_of("t", &line)).await;
    let heard = async {
        loop {
            let files = bench
                .runs()
                .into_iter()
                .map(|run| run.join("sandbox/events"));
            let texts = files.filter_map(|file| std::fs::read_to_string(file).ok());
            let texts: String = texts.collect();
            if texts.contains("{\"type\":\"LAUNCH\"") {
                return texts;
            }
            assert!(!texts.contains("no process of this executor"), "{texts}");
            tokio::task::yield_now().await;
        }
    };
    let text = timeout(PATIENCE, heard).await.unwrap();
    assert!(text.contains("{\"type\":\"SUBSCRIBED\""), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_mesos_api_is_off_runs_no_mesos_executor_and_says_so() {
    let mut bench = Bench::new().await;
    bench.mesos_api = Some(false);
    bench.start().await;
    bench.launch(1, task_of("t", PROGRAM)).await;
    let last = bench.end().await;
    assert_eq!(last.state, TaskState::Failed);
    assert!(
        last.message.contains("mesos_api is off"),
        "{}",
        last.message
    );
    let place = Place {
        listen: bench.listen(),
        media: Media::Json,
        run: PathBuf::new(),
        environment: BTreeMap::new(),
    };
    let (code, _, _) = place
        .request(&["POST /api/v1/executor HTTP/1.1"], b"")
        .await;
    assert_eq!(code, 401);
}

/// An executor on a library that was written for Mesos, which knows no token; `tests/run` prepares the library.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_on_pymesos_runs_tasks_through_a_restart_of_its_agent() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.parent().unwrap().display().to_string();
    let python = format!("{root}/target/mesos/bin/python");
    assert!(
        std::path::Path::new(&python).exists(),
        "prepare it with tests/run"
    );
    let line = format!(
        "PYTHONPATH={root}/target/mesos/sources exec {python} {root}/tests/mesos/pymesos_executor.py"
    );
    let task = |id: &str, seconds: &str| TaskSpec {
        command: Command::Data(
            v1::TaskInfo {
                data: Some(seconds.into()),
                ..info(id)
            }
            .encode_to_vec(),
        ),
        ..task_of(id, &line)
    };
    let mut bench = Bench::started().await;
    bench.keep_listen();
    bench.launch(1, task("long", "1000")).await;
    let (state, said) = named(&told(&mut bench).await);
    assert_eq!(
        (state, said.data.as_deref()),
        (TaskState::Running, Some(&b"some data"[..]))
    );
    assert_eq!(said.executor_id.map(|id| id.value).as_deref(), Some("e"));
    let container = said.container_status.and_then(|it| it.container_id);
    let container = container.expect("its executor's").value;
    assert!(
        bench.runs().iter().any(|run| run.ends_with(&container)),
        "{container}"
    );
    bench.launch(2, task("short", "0.01")).await;
    assert_eq!(until(&mut bench, "short").await.state, TaskState::Finished);
    bench.stop().await;
    bench.start().await;
    // Until it has subscribed again, what it is asked is gone.
    let answer = async {
        loop {
            let message = ToAgent::Message {
                epoch: Epoch(1),
                framework: framework(),
                executor: ExecutorId::new("e").unwrap(),
                data: b"echo".to_vec(),
            };
            order(&mut bench, message).await;
            let link = bench.link.as_mut().unwrap();
            let said = timeout(Duration::from_secs(1), link.receive()).await;
            if let Ok(ToMaster::Message { data, .. }) = said {
                return data;
            }
        }
    };
    let answer = timeout(PATIENCE, answer).await.unwrap();
    assert_eq!(answer, b"echo");
    bench.kill("long", 1, Duration::from_secs(9)).await;
    assert_eq!(until(&mut bench, "long").await.state, TaskState::Killed);
    shut_down(&mut bench).await;
    ended(&mut bench).await;
}
