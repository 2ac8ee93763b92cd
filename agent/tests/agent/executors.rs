//! Executors over their real socket. The executor's process only waits: the test speaks for it, with the token and the
//! socket that the process was given.

mod overrun;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proffer_model::executor::{ExecutorCall, ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::{
    Command, Epoch, ExecutorId, ExecutorSpec, Incarnation, Reason, Status, TaskId, TaskSpec,
    TaskState,
};
use proffer_proto::v1::executor_client::ExecutorClient;
use proffer_proto::{decode_executor_event, encode_executor_call, problem_of, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Streaming};

use crate::bench::{Bench, PATIENCE, framework, is_alive, lines, shell};

/// Says where it is, and waits.
const PROGRAM: &str =
    "env > env.new; mv env.new env; echo up; echo err >&2; while :; do sleep 1000 & wait; done";

fn executor(line: &str) -> Arc<ExecutorSpec> {
    Arc::new(ExecutorSpec {
        id: ExecutorId::new("e").unwrap(),
        resources: "cpus:0.5".parse().unwrap(),
        command: Command::Shell(line.to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_millis(200),
        api: proffer_model::ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    })
}

fn data(id: &str) -> TaskSpec {
    TaskSpec {
        command: Command::Data(b"bytes".to_vec()),
        executor: Some(executor(PROGRAM)),
        ..shell(id, "")
    }
}

fn word(task: &str, number: u64, state: TaskState) -> ExecutorStatus {
    ExecutorStatus {
        task: TaskId::new(task).unwrap(),
        incarnation: Incarnation(1),
        number,
        state,
        message: format!("word {number}"),
        healthy: None,
        exit: None,
        data: Vec::new(),
    }
}

/// The executor's end of a session.
struct Session {
    calls: mpsc::Sender<v1::ExecutorCall>,
    events: Streaming<v1::ExecutorEvent>,
}

impl Session {
    /// Tries again while the connection is let go: too many are open.
    async fn open(place: &Place, token: &str) -> Result<Self, tonic::Status> {
        let begun = Instant::now();
        loop {
            match Self::try_open(place, token).await {
                Err(status) if std::error::Error::source(&status).is_some() => {
                    assert!(begun.elapsed() < PATIENCE, "{status}");
                }
                opened => return opened,
            }
        }
    }

    async fn try_open(place: &Place, token: &str) -> Result<Self, tonic::Status> {
        let endpoint = Endpoint::try_from(format!("unix://{}", place.socket.display())).unwrap();
        Self::try_over(endpoint, token).await
    }

    async fn try_over(endpoint: Endpoint, token: &str) -> Result<Self, tonic::Status> {
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| tonic::Status::from_error(error.into()))?;
        let (calls, outgoing) = mpsc::channel(100);
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let mut client = ExecutorClient::new(channel).max_encoding_message_size(usize::MAX);
        let events = client.session(request).await?.into_inner();
        Ok(Self { calls, events })
    }

    async fn say(&self, call: ExecutorCall) {
        self.calls.send(encode_executor_call(&call)).await.unwrap();
    }

    /// The next that is no heartbeat; nothing at the end.
    async fn next(&mut self) -> Option<ExecutorEvent> {
        loop {
            let event = timeout(PATIENCE, self.events.message()).await.unwrap();
            match decode_executor_event(event.ok()??).unwrap() {
                ExecutorEvent::Heartbeat => {}
                event => return Some(event),
            }
        }
    }

    /// The code of the problem that it is closed with.
    async fn closed(&mut self) -> String {
        loop {
            match self.next().await {
                Some(ExecutorEvent::Closed(problem)) => {
                    assert!(self.next().await.is_none());
                    return problem.code.to_string();
                }
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        }
    }
}

/// Where the executor's process was put.
struct Place {
    socket: PathBuf,
    token: String,
    run: PathBuf,
    environment: BTreeMap<String, String>,
}

impl Place {
    async fn find(bench: &Bench) -> Self {
        let find = async {
            loop {
                let mut runs = bench.runs().into_iter();
                let found = runs.find(|run| run.join("sandbox/env").exists());
                if let Some(run) = found {
                    return run;
                }
                tokio::task::yield_now().await;
            }
        };
        let run = timeout(PATIENCE, find).await.unwrap();
        let text = std::fs::read_to_string(run.join("sandbox/env")).unwrap();
        let entries = text.lines().filter_map(|line| line.split_once('='));
        let entries = entries.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: BTreeMap<String, String> = entries.collect();
        Self {
            socket: environment.get("PROFFER_EXECUTOR_SOCKET").unwrap().into(),
            token: environment.get("PROFFER_EXECUTOR_TOKEN").unwrap().clone(),
            run,
            environment,
        }
    }

    async fn subscribe(&self, unacknowledged: Vec<ExecutorStatus>, tasks: &[&str]) -> Session {
        let mut session = Session::open(self, &self.token).await.unwrap();
        let tasks = tasks
            .iter()
            .map(|id| (TaskId::new(id).unwrap(), Incarnation(1)));
        let subscription = Subscription {
            unacknowledged,
            tasks: tasks.collect(),
        };
        session.say(ExecutorCall::Subscribe(subscription)).await;
        match session.next().await {
            Some(ExecutorEvent::Subscribed { .. }) => session,
            other => panic!("{other:?}"),
        }
    }

    fn pid(&self) -> String {
        let text = std::fs::read_to_string(self.run.join("pid")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("task "));
        line.unwrap().split(' ').next().unwrap().to_owned()
    }
}

async fn started() -> (Bench, Place) {
    let mut bench = Bench::started().await;
    bench.launch(1, data("t")).await;
    let place = Place::find(&bench).await;
    (bench, place)
}

/// The next status that is not STARTING.
async fn told(bench: &mut Bench) -> Status {
    loop {
        let status = bench.status().await;
        if status.state != TaskState::Starting {
            bench.acknowledge(&status).await;
            return status;
        }
    }
}

fn launched(event: Option<ExecutorEvent>) -> Vec<String> {
    match event {
        Some(ExecutorEvent::Launch(tasks)) => {
            tasks.iter().map(|(_, spec)| spec.id.to_string()).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn acknowledged(event: Option<ExecutorEvent>) -> u64 {
    match event {
        Some(ExecutorEvent::Acknowledged { number, .. }) => number,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_runs_a_task_from_launch_to_end() {
    let begun = Instant::now();
    let (mut bench, place) = started().await;
    let ids = [
        "PROFFER_FRAMEWORK_ID",
        "PROFFER_EXECUTOR_ID",
        "PROFFER_AGENT_ID",
    ];
    assert_eq!(ids.map(|name| &*place.environment[name]), ["f", "e", "a"]);
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.socket), 0o600);
    assert_eq!(mode(&place.run.join("token")), 0o600);
    let mut session = place.subscribe(Vec::new(), &[]).await;
    assert_eq!(launched(session.next().await), ["t"]);
    let started_in = begun.elapsed();
    let begun = Instant::now();
    session
        .say(ExecutorCall::Update(word("t", 1, TaskState::Running)))
        .await;
    assert_eq!(acknowledged(session.next().await), 1);
    let acknowledged_in = begun.elapsed();
    let status = told(&mut bench).await;
    println!(
        "executor started in {started_in:?}, status acknowledged in {acknowledged_in:?}, told in {:?}",
        begun.elapsed()
    );
    assert_eq!(
        (status.state, &*status.message),
        (TaskState::Running, "word 1")
    );
    // Its output is that of its executor.
    assert_eq!(lines(&place.run.join("stdout"), 1).await, ["up"]);
    // Messages go both ways.
    session.say(ExecutorCall::Message(vec![7; 64 * 1024])).await;
    let message = loop {
        if let ToMaster::Message { data, .. } = bench.link.as_mut().unwrap().receive().await {
            break data;
        }
    };
    assert_eq!(message.len(), 64 * 1024);
    bench
        .link
        .as_mut()
        .unwrap()
        .send(ToAgent::Message {
            epoch: Epoch(1),
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            data: vec![1, 2, 3],
        })
        .await;
    match session.next().await {
        Some(ExecutorEvent::Message(data)) => assert_eq!(data, [1, 2, 3]),
        other => panic!("{other:?}"),
    }
    // A kill is passed on, and what comes of it is what the executor says.
    bench.kill("t", 1, Duration::from_secs(9)).await;
    assert_eq!(told(&mut bench).await.state, TaskState::Killing);
    match session.next().await {
        Some(ExecutorEvent::Kill { grace, .. }) => assert!(grace > Some(Duration::from_secs(8))),
        other => panic!("{other:?}"),
    }
    session
        .say(ExecutorCall::Update(word("t", 2, TaskState::Killed)))
        .await;
    let status = told(&mut bench).await;
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Killed, Reason::KillRequested)
    );
    // It lives on, and is told to the next leader until it is shut down.
    bench.stop().await;
    bench.start().await;
    assert_eq!(bench.hello().executors.len(), 1);
    shutdown(&mut bench).await;
    ended(&mut bench).await;
    assert!(!is_alive(&place.pid()));
}

async fn shutdown(bench: &mut Bench) {
    bench
        .link
        .as_mut()
        .unwrap()
        .send(ToAgent::ShutdownExecutor {
            epoch: Epoch(1),
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            reason: Reason::KillRequested,
        })
        .await;
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
async fn an_executor_comes_back_to_the_next_agent_with_what_is_not_acknowledged() {
    let (mut bench, place) = started().await;
    let mut session = place.subscribe(Vec::new(), &[]).await;
    launched(session.next().await);
    bench.launch(1, data("u")).await;
    bench.launch(1, data("v")).await;
    assert_eq!(launched(session.next().await), ["u"]);
    assert_eq!(launched(session.next().await), ["v"]);
    for (number, task) in ["t", "u"].into_iter().enumerate() {
        session
            .say(ExecutorCall::Update(word(task, 1, TaskState::Running)))
            .await;
        assert_eq!(acknowledged(session.next().await), 1, "{number}");
    }
    bench.stop().await;
    assert!(session.next().await.is_none(), "its session broke");
    bench.start().await;
    // t has ended meanwhile, u is forgotten, v was never heard of.
    let ended = word("t", 2, TaskState::Finished);
    let mut session = place
        .subscribe(vec![word("t", 1, TaskState::Running), ended], &[])
        .await;
    let mut events = Vec::new();
    for _ in 0..3 {
        events.push(match session.next().await {
            Some(ExecutorEvent::Acknowledged { number, .. }) => format!("ack {number}"),
            other => launched(other).join(" "),
        });
    }
    assert_eq!(events, ["ack 1", "ack 2", "v"]);
    let mut last = BTreeMap::new();
    while last.len() < 2 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        if status.state.is_terminal() {
            last.insert(status.task.to_string(), status.state);
        }
    }
    assert_eq!(
        (last["t"], last["u"]),
        (TaskState::Finished, TaskState::Lost)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_executor_is_killed_its_last_words_count_and_its_other_tasks_fail() {
    let (mut bench, place) = started().await;
    let mut session = place.subscribe(Vec::new(), &[]).await;
    launched(session.next().await);
    bench.launch(1, data("u")).await;
    launched(session.next().await);
    session
        .say(ExecutorCall::Update(word("t", 1, TaskState::Finished)))
        .await;
    let killed = std::process::Command::new("kill")
        .args(["-9", &place.pid()])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(told(&mut bench).await.state, TaskState::Finished);
    drop(session);
    let status = told(&mut bench).await;
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Failed, Reason::ExecutorEnded)
    );
    assert!(status.message.contains("signal 9"), "{}", status.message);
    ended(&mut bench).await;
    assert!(!place.socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_never_subscribes_is_ended_with_its_tasks() {
    let mut bench = Bench::new().await;
    bench.executor_wait = Some(Duration::from_millis(50));
    bench.start().await;
    bench.launch(1, data("t")).await;
    let status = told(&mut bench).await;
    assert_eq!(
        (status.state, status.reason),
        (TaskState::Failed, Reason::ExecutorEnded)
    );
    ended(&mut bench).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_gets_a_session_and_what_is_wrong_is_said_by_its_code() {
    let (mut bench, place) = started().await;
    for token in ["", "wrong", &place.token[1..]] {
        let status = Session::open(&place, token).await.err().unwrap();
        assert_eq!(problem_of(&status).code, "auth.missing");
    }
    let update = |status| ExecutorCall::Update(status);
    // Before it has subscribed.
    let mut session = Session::open(&place, &place.token).await.unwrap();
    session.say(update(word("t", 1, TaskState::Running))).await;
    assert_eq!(session.closed().await, "session.order");
    let table = [
        (
            ExecutorCall::Subscribe(Subscription::default()),
            "session.order",
        ),
        (update(word("t", 0, TaskState::Running)), "field.invalid"),
        (update(word("t", 1, TaskState::Lost)), "field.invalid"),
        (update(word("t", 1, TaskState::Staging)), "field.invalid"),
        (
            update(word("stranger", 1, TaskState::Running)),
            "task.unknown",
        ),
        (
            ExecutorCall::Message(vec![0; 64 * 1024 + 1]),
            "field.too_long",
        ),
        (ExecutorCall::Message(vec![0; 10_000_000]), "field.too_long"),
    ];
    for (call, expected) in table {
        let mut session = place.subscribe(Vec::new(), &[]).await;
        session.say(call).await;
        assert_eq!(session.closed().await, expected);
    }
    let mut session = place.subscribe(Vec::new(), &[]).await;
    session
        .calls
        .send(v1::ExecutorCall { call: None })
        .await
        .unwrap();
    assert_eq!(session.closed().await, "field.missing");
    // Bytes that are no HTTP/2, and connections without end, hurt nobody.
    for _ in 0..20 {
        let stream = std::os::unix::net::UnixStream::connect(&place.socket).unwrap();
        let _ = std::io::Write::write_all(&mut &stream, &[0xff; 1000]);
    }
    // A second session ends the first.
    let mut first = place.subscribe(Vec::new(), &[]).await;
    let mut second = place.subscribe(Vec::new(), &[]).await;
    assert_eq!(first.closed().await, "session.fenced");
    assert_eq!(launched(second.next().await), ["t"]);
    second.say(update(word("t", 1, TaskState::Finished))).await;
    while told(&mut bench).await.state != TaskState::Finished {}
}

/// Says nothing when it is not run as root, as which alone it can be.
#[tokio::test(flavor = "multi_thread")]
async fn an_executor_of_another_user_reaches_its_socket_and_no_other_user_does() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut bench = Bench::new().await;
    bench.task_user = Some("nobody".to_owned());
    let permissions = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(bench.path(), permissions).unwrap();
    bench.start().await;
    bench.launch(1, data("t")).await;
    let place = Place::find(&bench).await;
    // Root can open it, and is refused all the same.
    let status = Session::open(&place, &place.token).await.err().unwrap();
    assert_eq!(problem_of(&status).code, "auth.denied");
    let reach = |user: &str| {
        let line = format!("test -w {}", place.socket.display());
        let status = std::process::Command::new("su")
            .args(["-s", "/bin/sh", user, "-c", &line])
            .status();
        status.unwrap().success()
    };
    assert!(reach("nobody") && !reach("daemon"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_group_is_all_there_or_not_at_all_and_ends_together() {
    let mut bench = Bench::started().await;
    let group = |tasks: Vec<TaskSpec>| ToAgent::LaunchGroup {
        epoch: Epoch(1),
        framework: framework(),
        payer: None,
        tasks: (1..).map(Incarnation).zip(tasks).collect(),
    };
    let tasks = vec![
        shell("a", "sleep 1000"),
        shell("b", "sleep 1000"),
        shell("c", "while ! [ -e go ]; do sleep 0.01; done; exit 3"),
    ];
    bench.link.as_mut().unwrap().send(group(tasks)).await;
    let mut running = 0;
    while running < 3 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        running += usize::from(status.state == TaskState::Running);
    }
    bench.stop().await;
    bench.start().await;
    let named = bench
        .hello()
        .tasks
        .iter()
        .map(|task| task.group.as_ref().unwrap().as_str());
    assert_eq!(named.collect::<Vec<_>>(), ["a"; 3]);
    for run in bench.runs() {
        std::fs::write(run.join("sandbox/go"), "").unwrap();
    }
    let mut last = BTreeMap::new();
    while last.len() < 3 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        if status.state.is_terminal() {
            last.insert(status.task.to_string(), (status.state, status.reason));
        }
    }
    let others = (TaskState::Killed, Reason::GroupEnded);
    assert_eq!((last["a"], last["b"]), (others, others));
    assert_eq!(last["c"], (TaskState::Failed, Reason::Exited));
}

/// What a crash can leave of a group on disk: every run under its other name, and `group` or not; then some renamed.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_was_being_written_is_all_there_or_not_at_all() {
    for (renamed, is_promised, there) in [(0, false, 0), (0, true, 3), (1, true, 3), (3, true, 3)] {
        let mut bench = Bench::started().await;
        let tasks = ["a", "b", "c"].map(|id| shell(id, "sleep 1000"));
        bench
            .link
            .as_mut()
            .unwrap()
            .send(ToAgent::LaunchGroup {
                epoch: Epoch(1),
                framework: framework(),
                payer: None,
                tasks: (1..).map(Incarnation).zip(tasks).collect(),
            })
            .await;
        let mut running = 0;
        while running < 3 {
            running += usize::from(bench.status().await.state == TaskState::Running);
        }
        bench.stop().await;
        let mut runs = bench.runs();
        runs.sort();
        let pids = runs
            .iter()
            .map(|run| std::fs::read_to_string(run.join("pid")).unwrap());
        let pids: Vec<String> = pids.collect();
        let numbers = runs.iter().map(|run| {
            let name = run.file_name().unwrap().to_str().unwrap();
            u64::from_str_radix(name, 16).unwrap()
        });
        let made = proffer_proto::checkpoint::v1::MadeGroup {
            runs: numbers.collect(),
        };
        for run in runs.iter().skip(renamed) {
            let mut fresh = run.clone().into_os_string();
            fresh.push(".new");
            std::fs::rename(run, fresh).unwrap();
        }
        if is_promised {
            let content = prost::Message::encode_to_vec(&made);
            std::fs::write(bench.path().join("work/group"), framed(&content)).unwrap();
        }
        bench.start().await;
        assert_eq!(bench.hello().tasks.len(), there, "{renamed} {is_promised}");
        assert!(!bench.path().join("work/group").exists());
        // Of those that are not there nobody knows; in truth none would have been started.
        let unknown = pids.iter().filter(|_| there == 0);
        for line in unknown.flat_map(|text| text.lines()) {
            let pid = line.split(' ').nth(1).unwrap();
            let killed = std::process::Command::new("kill")
                .args(["-9", pid])
                .status();
            assert!(killed.unwrap().success());
        }
        for task in ["a", "b", "c"] {
            bench
                .kill(
                    task,
                    u64::from(task.as_bytes()[0] - b'a') + 1,
                    Duration::ZERO,
                )
                .await;
        }
        let mut ended = 0;
        while ended < there {
            ended += usize::from(bench.status().await.state == TaskState::Killed);
        }
    }
}

/// A record of a checkpoint file.
fn framed(content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut crc = u32::MAX;
    for byte in len.iter().chain(content) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            crc ^= if is_odd { 0xedb8_8320 } else { 0 };
        }
    }
    [&len[..], &(!crc).to_le_bytes()[..], content].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_ended_when_it_has_run_as_long_as_it_may_also_by_the_next_agent() {
    let mut bench = Bench::started().await;
    let limited = TaskSpec {
        completion: Some(Duration::from_millis(300)),
        ..shell("t", "sleep 1000")
    };
    bench.launch(1, limited).await;
    bench.until(TaskState::Running).await;
    bench.stop().await;
    bench.start().await;
    let last = bench.until(TaskState::Killed).await.pop().unwrap();
    assert_eq!(last.reason, Reason::DeadlinePassed);
}

/// The status of this task with this state; all before it, of any task, are acknowledged.
async fn until(bench: &mut Bench, task: &str, state: TaskState) -> Status {
    loop {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        if status.task.as_str() == task && status.state == state {
            return status;
        }
    }
}

/// Asks the example executor something, and answers what it says; again when the question met a broken session.
async fn ask(bench: &mut Bench) -> String {
    loop {
        let question = ToAgent::Message {
            epoch: Epoch(1),
            framework: framework(),
            executor: ExecutorId::new("e").unwrap(),
            data: b"so far".to_vec(),
        };
        let link = bench.link.as_mut().unwrap();
        link.send(question).await;
        let answer = async {
            loop {
                if let ToMaster::Message { data, .. } = link.receive().await {
                    return String::from_utf8(data).unwrap();
                }
            }
        };
        if let Ok(answer) = timeout(Duration::from_secs(1), answer).await {
            return answer;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_executor_runs_tasks_through_restarts_of_its_agent_and_dies_with_them() {
    let programs = std::env::current_exe().unwrap();
    let programs = programs.ancestors().nth(2).unwrap();
    let program = programs.join("examples/executor");
    let spec = ExecutorSpec {
        command: Command::Exec(vec![program.to_str().unwrap().to_owned()]),
        ..(*executor("")).clone()
    };
    let spec = Arc::new(spec);
    let task = |id: &str, line: &str| TaskSpec {
        command: Command::Data(line.as_bytes().to_vec()),
        executor: Some(spec.clone()),
        ..shell(id, "")
    };
    let mut bench = Bench::started().await;
    bench
        .launch(1, task("t", "echo $$ > t.pid; exec sleep 1000"))
        .await;
    until(&mut bench, "t", TaskState::Running).await;
    bench.launch(2, task("short", "exit 3")).await;
    let status = until(&mut bench, "short", TaskState::Failed).await;
    assert_eq!(status.exit, Some(proffer_model::Exit::Code(3)));
    // What ends while there is no agent is told by the next one.
    bench
        .launch(3, task("waits", "while ! [ -e go ]; do sleep 0.01; done"))
        .await;
    until(&mut bench, "waits", TaskState::Running).await;
    let run = bench
        .runs()
        .into_iter()
        .find(|run| run.join("executor").exists())
        .unwrap();
    for restart in 0..2 {
        bench.stop().await;
        if restart == 0 {
            std::fs::write(run.join("sandbox/go"), "").unwrap();
        }
        bench.start().await;
        assert_eq!(bench.hello().executors.len(), 1);
        if restart == 0 {
            until(&mut bench, "waits", TaskState::Finished).await;
        }
        assert_eq!(ask(&mut bench).await, "so far: 3 tasks");
    }
    // A group stands or falls together there too, and a kill reaches it.
    let group = ["a", "b"].map(|id| task(id, "exec sleep 1000"));
    bench
        .link
        .as_mut()
        .unwrap()
        .send(ToAgent::LaunchGroup {
            epoch: Epoch(1),
            framework: framework(),
            payer: None,
            tasks: (11..).map(Incarnation).zip(group).collect(),
        })
        .await;
    let mut running = 0;
    while running < 2 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        running += usize::from(status.state == TaskState::Running);
    }
    bench.kill("a", 11, Duration::from_secs(5)).await;
    let mut killed = BTreeMap::new();
    while killed.len() < 2 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        if status.state == TaskState::Killed {
            killed.insert(status.task.to_string(), status.reason);
        }
    }
    assert_eq!(
        (killed["a"], killed["b"]),
        (Reason::KillRequested, Reason::GroupEnded)
    );
    // Its death is the death of what it runs, and of nothing else.
    let pid = lines(&run.join("sandbox/t.pid"), 1).await.remove(0);
    bench.launch(20, shell("other", "sleep 1000")).await;
    until(&mut bench, "other", TaskState::Running).await;
    let text = std::fs::read_to_string(run.join("pid")).unwrap();
    let executor = text
        .lines()
        .find_map(|line| line.strip_prefix("task "))
        .unwrap();
    let executor = executor.split(' ').next().unwrap();
    let status = std::process::Command::new("kill")
        .args(["-9", executor])
        .status();
    assert!(status.unwrap().success());
    let status = until(&mut bench, "t", TaskState::Failed).await;
    assert_eq!(status.reason, Reason::ExecutorEnded);
    ended(&mut bench).await;
    assert!(!is_alive(&pid), "its supervisor leaves nothing");
    bench.kill("other", 20, Duration::ZERO).await;
    until(&mut bench, "other", TaskState::Killed).await;
}
