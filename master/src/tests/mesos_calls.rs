//! Calls and events of Mesos's v1 scheduler API that need an agent to answer: operations, groups, executors, drains, and a
//! whole life in protobuf.

use proffer_proto::v1;
use serde_json::{Value, json};
use v1::to_agent::Message;
use v1::to_master;

use super::mesos::{JSON, PATH, Stream, ask, header, info, post, send, task};
use super::peers::{Agent, Master, hello, soon};
use crate::config::Options;

/// An agent with four cpus and a disk.
pub(super) async fn agent_with_disk(master: &Master) -> (Agent, String) {
    agent_with(master, "disk").await
}

/// An agent with four cpus and a thousand of something.
async fn agent_with(master: &Master, name: &str) -> (Agent, String) {
    let mut agent = Agent::connect(master).await;
    let mut said = hello("", vec![]);
    let description = said.description.as_mut().expect("a description");
    let resources = description.resources.as_mut().expect("resources");
    resources.scalars.push(v1::Scalar {
        name: name.to_owned(),
        milli: 1_000_000,
    });
    agent.say(to_master::Message::Hello(said)).await;
    let Message::Welcome(welcome) = agent.next().await else {
        panic!("a welcome")
    };
    let answer = to_master::Message::Heartbeat(v1::LinkHeartbeat {});
    agent.say(answer).await;
    (agent, welcome.agent_id)
}

/// The agent is sent the task `t`, and says that it is in this state.
async fn launched(agent: &mut Agent, framework: &str, state: v1::TaskState) -> v1::TaskSpec {
    let Message::Launch(launch) = agent.next().await else {
        panic!("a launch")
    };
    agent
        .report(framework, "t", launch.incarnation, state)
        .await;
    launch.spec.expect("a spec")
}

async fn accept(stream: &Stream, master: &Master, offer: &Value, operations: Value) {
    let accept = json!({
        "offer_ids": [offer["id"]],
        "operations": operations,
        "filters": {"refuse_seconds": 0},
    });
    stream.accepted(master, "ACCEPT", accept).await;
}

/// Does an operation; its state, and the next offer.
async fn operate(
    stream: &mut Stream,
    master: &Master,
    offer: &Value,
    kind: &str,
    field: &str,
    resources: &Value,
) -> (String, Value) {
    let name = kind.to_lowercase();
    let operation =
        json!([{"type": kind, "id": {"value": name}, name.clone(): {field: resources}}]);
    accept(stream, master, offer, operation).await;
    let mut state = String::new();
    let mut next = Value::Null;
    while state.is_empty() || next.is_null() {
        let event = stream.next().await.expect("an event");
        match event["type"].as_str() {
            Some("UPDATE_OPERATION_STATUS") => {
                let status = &event["update_operation_status"]["status"];
                assert_eq!(status["operation_id"]["value"], name.as_str(), "{event}");
                let is_done = status["state"] == "OPERATION_FINISHED";
                assert_eq!(is_done, status.get("agent_id").is_some(), "{event}");
                if is_done && matches!(kind, "RESERVE" | "CREATE") {
                    assert_eq!(status["converted_resources"], *resources, "{event}");
                }
                status["state"]
                    .as_str()
                    .expect("text")
                    .clone_into(&mut state);
            }
            Some("OFFERS") => next = event["offers"]["offers"][0].clone(),
            Some("HEARTBEAT" | "RESCIND") => {}
            _ => panic!("{event}"),
        }
    }
    (state, next)
}

/// What of a name is reserved, or a volume, in an offer.
fn reserved(offer: &Value) -> Vec<&Value> {
    let all = offer["resources"].as_array().expect("resources");
    let is_reserved = |one: &&Value| one.get("reservations").is_some();
    all.iter().filter(is_reserved).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reservations_and_volumes_are_made_and_undone_and_each_is_told() {
    let master = Master::start("memory").await;
    let _agent = agent_with_disk(&master).await;
    let capabilities = json!([{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]);
    let more = json!({"roles": ["eng"], "capabilities": capabilities});
    let mut stream = Stream::subscribe(&master, more).await;
    let offer = stream.offer().await;
    let disk = json!([{
        "name": "disk", "type": "SCALAR", "scalar": {"value": 100.0},
        "reservations": [{"type": "DYNAMIC", "role": "eng"}],
    }]);
    let done = "OPERATION_FINISHED".to_owned();
    let (state, offer) = operate(&mut stream, &master, &offer, "RESERVE", "resources", &disk).await;
    assert_eq!(state, done);
    let held = reserved(&offer);
    assert_eq!(held.len(), 1, "{offer}");
    assert_eq!(held[0]["scalar"]["value"], 100.0);
    assert_eq!(held[0]["reservations"][0]["role"], "eng");

    let mut volume = disk.clone();
    volume[0]["disk"] = json!({
        "persistence": {"id": "v"},
        "volume": {"mode": "RW", "container_path": "data"},
    });
    let (state, offer) = operate(&mut stream, &master, &offer, "CREATE", "volumes", &volume).await;
    assert_eq!(state, done);
    assert_eq!(reserved(&offer)[0]["disk"]["persistence"]["id"], "v");
    // What a volume is made of cannot be given back.
    let (state, offer) = operate(
        &mut stream,
        &master,
        &offer,
        "UNRESERVE",
        "resources",
        &disk,
    )
    .await;
    assert_eq!(state, "OPERATION_ERROR");
    let (state, offer) = operate(&mut stream, &master, &offer, "DESTROY", "volumes", &volume).await;
    assert_eq!(state, done);
    assert!(reserved(&offer)[0].get("disk").is_none(), "{offer}");
    let (state, offer) = operate(
        &mut stream,
        &master,
        &offer,
        "UNRESERVE",
        "resources",
        &disk,
    )
    .await;
    assert_eq!(state, done);
    assert_eq!(reserved(&offer), Vec::<&Value>::new());
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_launched_whole_and_killed_with_the_grace_that_is_asked_for() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let group = json!([{
        "type": "LAUNCH_GROUP",
        "launch_group": {
            "executor": {"type": "DEFAULT", "executor_id": {"value": "pod"}},
            "task_group": {"tasks": [task("a", &offer, 1.0), task("b", &offer, 1.0)]},
        },
    }]);
    accept(&stream, &master, &offer, group).await;
    let Message::LaunchGroup(launch) = agent.next().await else {
        panic!("a group")
    };
    let mut incarnations = Vec::new();
    for grouped in &launch.tasks {
        let spec = grouped.spec.as_ref().expect("a spec");
        assert_eq!(spec.environment["MESOS_EXECUTOR_ID"], "pod");
        assert_eq!(spec.environment["MESOS_TASK_ID"], spec.id);
        assert_eq!(spec.environment["MESOS_ALLOCATION_ROLE"], "*");
        incarnations.push((spec.id.clone(), grouped.incarnation));
    }
    let framework = stream.framework.clone();
    for (task, incarnation) in &incarnations {
        let state = v1::TaskState::Running;
        agent.report(&framework, task, *incarnation, state).await;
        let status = stream.skip_to("UPDATE").await["status"].clone();
        assert_eq!(status["task_id"]["value"], task.as_str());
        let address = &status["container_status"]["network_infos"][0]["ip_addresses"][0];
        assert_eq!(address["ip_address"], "127.0.0.1", "{status}");
        assert_eq!(status["executor_id"]["value"], "pod", "{status}");
    }
    // To who comes later it is the same.
    let again = json!({"id": {"value": framework}, "failover_timeout": 100.0});
    let mut stream = Stream::subscribe(&master, again).await;
    for _ in &incarnations {
        let status = stream.skip_to("UPDATE").await["status"].clone();
        assert_eq!(status["executor_id"]["value"], "pod", "{status}");
    }
    let call = json!({"type": "GET_TASKS"}).to_string();
    let told = ask(&master, "POST /api/v1", JSON, call.as_bytes()).await;
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    for number in 0..incarnations.len() {
        let task = &told["get_tasks"]["tasks"][number];
        assert_eq!(task["executor_id"]["value"], "pod", "{told}");
        let status = &task["statuses"][0];
        assert_eq!(status["executor_id"]["value"], "pod", "{told}");
    }
    let kill = json!({
        "task_id": {"value": "a"},
        "kill_policy": {"grace_period": {"nanoseconds": 2_500_000_000_u64}},
    });
    stream.accepted(&master, "KILL", kill).await;
    let killed = loop {
        if let Message::Kill(kill) = agent.next().await {
            break kill;
        }
    };
    assert_eq!(
        (killed.task_id.as_str(), killed.grace_ms),
        ("a", Some(2_500))
    );
    stream
        .accepted(&master, "REQUEST", json!({"requests": []}))
        .await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_are_sent_messages_and_ended() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let mut task = task("t", &offer, 1.0);
    let fields = task.as_object_mut().expect("an object");
    fields.remove("command");
    let executor = json!({"executor_id": {"value": "e"}, "command": {"value": "./run"}});
    fields.insert("executor".to_owned(), executor);
    stream.launch(&master, &offer, &[task]).await;
    let spec = launched(&mut agent, &stream.framework, v1::TaskState::Running).await;
    let executor = spec.executor.expect("an executor");
    // Its agent says it: who launches in another role has the same executor.
    assert!(!executor.environment.contains_key("MESOS_ALLOCATION_ROLE"));
    let status = stream.status().await;
    assert_eq!(status["executor_id"]["value"], "e", "{status}");
    // Its agent alone knows its container, and has not said it here.
    assert!(
        status["container_status"].get("container_id").is_none(),
        "{status}"
    );
    let place = json!({"agent_id": {"value": agent_id}, "executor_id": {"value": "e"}});
    let mut message = place.clone();
    message["data"] = json!("aGVsbG8=");
    stream.accepted(&master, "MESSAGE", message).await;
    let sent = loop {
        if let Message::ExecutorMessage(sent) = agent.next().await {
            break sent;
        }
    };
    assert_eq!(sent.data, b"hello");
    stream.accepted(&master, "SHUTDOWN", place).await;
    let ended = loop {
        if let Message::ShutdownExecutor(ended) = agent.next().await {
            break ended;
        }
    };
    assert_eq!(ended.executor_id, "e");
    let said = v1::AgentMessage {
        framework_id: stream.framework.clone(),
        executor_id: "e".to_owned(),
        data: b"bye".to_vec(),
    };
    agent.say(to_master::Message::ExecutorMessage(said)).await;
    let heard = stream.skip_to("MESSAGE").await;
    assert_eq!(heard["data"], "Ynll");
    let changed = v1::ExecutorChanged {
        framework_id: stream.framework.clone(),
        executor_id: "e".to_owned(),
        ended: true,
        message: "it was told to end".to_owned(),
    };
    agent.say(to_master::Message::Executor(changed)).await;
    let failure = stream.skip_to("FAILURE").await;
    assert_eq!(failure["executor_id"]["value"], "e", "{failure}");
    assert!(failure.get("status").is_some(), "{failure}");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_asks_for_what_runs_there_and_a_lost_link_takes_offers_back() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let tasks = json!([{"type": "LAUNCH", "launch": {"task_infos": [task("t", &offer, 1.0)]}}]);
    accept(&stream, &master, &offer, tasks).await;
    launched(&mut agent, &stream.framework, v1::TaskState::Running).await;
    stream.skip_to("UPDATE").await;
    let drain = json!({"type": "DRAIN_AGENT", "drain_agent": {
        "agent_id": {"value": agent_id},
        "max_grace_period": "3600s",
    }});
    let answer = ask(&master, "POST /api/v1", JSON, drain.to_string().as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let asked = stream.skip_to("INVERSE_OFFERS").await["inverse_offers"][0].clone();
    assert_eq!(asked["agent_id"]["value"], agent_id.as_str(), "{asked}");
    let start = asked["unavailability"]["start"]["nanoseconds"].as_u64();
    assert!(start.expect("a time") > 0);
    for kind in ["ACCEPT_INVERSE_OFFERS", "DECLINE_INVERSE_OFFERS"] {
        let part = json!({"inverse_offer_ids": [asked["id"]]});
        stream.accepted(&master, kind, part).await;
    }

    let mut other = Agent::connect(&master).await;
    let other_id = other.hello("", vec![]).await.agent_id;
    let offer = loop {
        let offers = stream.skip_to("OFFERS").await;
        if offers["offers"][0]["agent_id"]["value"] == other_id.as_str() {
            break offers["offers"][0].clone();
        }
    };
    drop(other);
    let rescinded = stream.skip_to("RESCIND").await;
    assert_eq!(rescinded["offer_id"], offer["id"]);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_its_agent_does_not_know_is_gone() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;
    let capabilities = json!([{"type": "PARTITION_AWARE"}]);
    let mut stream = Stream::subscribe(&master, json!({"capabilities": capabilities})).await;
    let mut asked = json!({"tasks": []});
    for (task, agent) in [("gone", agent_id.as_str()), ("unknown", "nosuch")] {
        let task = json!({"task_id": {"value": task}, "agent_id": {"value": agent}});
        asked["tasks"].as_array_mut().expect("an array").push(task);
    }
    let answers = [
        (
            "gone",
            "TASK_GONE",
            "Reconciliation: Task is unknown to the agent",
            json!({"value": agent_id}),
        ),
        (
            "unknown",
            "TASK_UNKNOWN",
            "Reconciliation: Task is unknown",
            json!({"value": "nosuch"}),
        ),
    ];
    stream.accepted(&master, "RECONCILE", asked.clone()).await;
    // Who kills one is told the same of it.
    for is_killed in [false, true] {
        for (at, (task, state, text, agent)) in answers.iter().enumerate() {
            if is_killed {
                stream
                    .accepted(&master, "KILL", asked["tasks"][at].clone())
                    .await;
            }
            let status = stream.skip_to("UPDATE").await["status"].clone();
            assert_eq!(status["task_id"]["value"], *task, "{status}");
            assert_eq!(status["state"], *state);
            assert_eq!(status["message"], *text);
            assert_eq!(status["agent_id"], *agent);
            assert!(status.get("uuid").is_none(), "{status}");
        }
    }
    master.stop().await;
}

/// Of three agents one is unreachable and one marked gone when the next term begins, to which the third is new.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_knows_stands_as_its_agent_does_also_after_a_failover() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().display());
    let started = async || {
        let options = Options {
            listen: "127.0.0.1:0".parse().ok(),
            store: Some(store.parse().expect("a store")),
            suspect_after: "2s".parse().ok(),
            unreachable_after: "3s".parse().ok(),
            ..Options::default()
        };
        Master::start_with(options).await.expect("a master")
    };
    let said = |id: Value| {
        let capabilities = json!([{"type": "PARTITION_AWARE"}]);
        let mut said = json!({"capabilities": capabilities, "failover_timeout": 100.0});
        if id.is_string() {
            said["id"] = json!({"value": id});
        }
        said
    };
    let master = started().await;
    let mut stream = Stream::subscribe(&master, said(Value::Null)).await;
    let framework = stream.framework.clone();
    let (link, away) = agent_with_disk(&master).await;
    drop(link);
    stream.skip_to("FAILURE").await;
    let (_link, gone) = agent_with_disk(&master).await;
    let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": gone}}});
    let body = call.to_string();
    let answer = ask(&master, "POST /api/v1", JSON, body.as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    master.stop().await;

    let master = started().await;
    let (_link, there) = agent_with_disk(&master).await;
    let mut stream = Stream::subscribe(&master, said(json!(framework))).await;
    let told = [
        (&*away, "TASK_UNREACHABLE", "Task is unreachable"),
        (&*gone, "TASK_GONE_BY_OPERATOR", "Task is gone"),
        (&*there, "TASK_GONE", "Task is unknown to the agent"),
        ("nosuch", "TASK_UNKNOWN", "Task is unknown"),
    ];
    let asked = |agent: &str| json!({"task_id": {"value": "t"}, "agent_id": {"value": agent}});
    for (agent, state, text) in told {
        for kind in ["RECONCILE", "KILL"] {
            let part = match kind {
                "KILL" => asked(agent),
                _ => json!({"tasks": [asked(agent)]}),
            };
            stream.accepted(&master, kind, part).await;
            let status = stream.skip_to("UPDATE").await["status"].clone();
            assert_eq!(status["state"], state, "{kind} {status}");
            assert_eq!(status["message"], format!("Reconciliation: {text}"));
            assert_eq!(status["agent_id"]["value"], agent);
            let since = status.get("unreachable_time").is_some();
            assert_eq!(since, state == "TASK_UNREACHABLE", "{status}");
        }
    }
    let operation = json!({"operation_id": {"value": "o"}, "agent_id": {"value": gone}});
    let part = json!({"operations": [operation]});
    stream.accepted(&master, "RECONCILE_OPERATIONS", part).await;
    let told = stream.skip_to("UPDATE_OPERATION_STATUS").await;
    assert_eq!(told["status"]["state"], "OPERATION_GONE_BY_OPERATOR");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_used_too_much_memory_is_said_to_have_had_so_much() {
    let master = Master::start("memory").await;
    let (mut agent, agent_id) = agent_with(&master, "mem").await;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let scalar = |name: &str, value: f64| json!({"name": name, "type": "SCALAR", "scalar": {"value": value}});
    let task = json!({
        "name": "t", "task_id": {"value": "t"}, "agent_id": {"value": agent_id},
        "resources": [scalar("cpus", 0.5), scalar("mem", 64.0)],
        "command": {"value": "true"},
    });
    stream.launch(&master, &offer, &[task]).await;
    let launch = loop {
        if let Message::Launch(launch) = agent.next().await {
            break launch;
        }
    };
    let framework_id = &launch.framework_id;
    let status = v1::Status {
        reason: v1::Reason::OutOfMemory.into(),
        ..super::peers::status("t", launch.incarnation, v1::TaskState::Failed)
    };
    agent.report_numbered(framework_id, status).await;
    let status = stream.skip_to("UPDATE").await["status"].clone();
    assert_eq!(status["reason"], "REASON_CONTAINER_LIMITATION_MEMORY");
    let limit = &status["limitation"]["resources"];
    assert_eq!(limit.as_array().map(Vec::len), Some(1), "{status}");
    let of = (&limit[0]["name"], &limit[0]["scalar"]["value"]);
    assert_eq!(of, (&json!("mem"), &json!(64.0)));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_protobuf() {
    use proffer_proto::mesos::v1::scheduler::{Call, Event, call, event};
    use proffer_proto::mesos::v1::{self as mesos, FrameworkInfo, offer};
    use prost::Message as _;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt};

    const MEDIA: &str = "application/x-protobuf";
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let headers = format!("Content-Type: {MEDIA}\r\nAccept: {MEDIA}\r\n");
    let request = format!("POST {PATH}");
    let of = |kind: call::Type| Call {
        r#type: Some(kind.into()),
        ..Call::default()
    };
    let subscribe = Call {
        subscribe: Some(call::Subscribe {
            framework_info: FrameworkInfo {
                name: "f".to_owned(),
                failover_timeout: Some(100.0),
                ..FrameworkInfo::default()
            },
            ..call::Subscribe::default()
        }),
        ..of(call::Type::Subscribe)
    };
    let body = subscribe.encode_to_vec();
    let (mut socket, code, head) = send(&master, &request, &headers, &body).await;
    assert_eq!(code, 200, "{head}");
    let stream_id = header(&head, "mesos-stream-id").expect("an id").to_owned();
    let mut next = async || {
        loop {
            // The length of the chunk, that of the record, the record, the end of the chunk.
            let mut line = String::new();
            for _ in 0..2 {
                line.clear();
                let read = soon("a length", socket.read_line(&mut line)).await;
                read.expect("read");
            }
            let mut record = vec![0; line.trim().parse().expect("a length")];
            let read = soon("a record", socket.read_exact(&mut record)).await;
            read.expect("read");
            let read = soon("an end", socket.read_line(&mut line)).await;
            read.expect("read");
            let event = Event::decode(record.as_slice()).expect("an event");
            if event.r#type() != event::Type::Heartbeat {
                return event;
            }
        }
    };
    let subscribed = next().await.subscribed.expect("subscribed");
    let framework = subscribed.framework_id.clone();
    let headers = format!("{headers}Mesos-Stream-Id: {stream_id}\r\n");
    let call = async |call: Call| {
        let call = Call {
            framework_id: Some(framework.clone()),
            ..call
        };
        let answer = ask(&master, &request, &headers, &call.encode_to_vec()).await;
        assert_eq!(answer.code, 202, "{}", answer.body);
    };
    let offered = next().await.offers.expect("offers").offers[0].clone();
    let mut cpus = offered.resources[0].clone();
    cpus.scalar = Some(mesos::value::Scalar { value: 1.0 });
    let launch = offer::operation::Launch {
        task_infos: vec![mesos::TaskInfo {
            name: "t".to_owned(),
            task_id: mesos::TaskId {
                value: "t".to_owned(),
            },
            agent_id: offered.agent_id.clone(),
            resources: vec![cpus],
            command: Some(mesos::CommandInfo {
                value: Some("true".to_owned()),
                ..mesos::CommandInfo::default()
            }),
            ..mesos::TaskInfo::default()
        }],
    };
    call(Call {
        accept: Some(call::Accept {
            offer_ids: vec![offered.id],
            operations: vec![offer::Operation {
                r#type: Some(offer::operation::Type::Launch.into()),
                launch: Some(launch),
                ..offer::Operation::default()
            }],
            filters: Some(mesos::Filters {
                refuse_seconds: Some(3_600.0),
            }),
        }),
        ..of(call::Type::Accept)
    })
    .await;
    launched(&mut agent, &framework.value, v1::TaskState::Finished).await;
    let status = loop {
        if let Some(update) = next().await.update {
            break update.status;
        }
    };
    assert_eq!(status.state(), mesos::TaskState::TaskFinished);
    call(Call {
        acknowledge: Some(call::Acknowledge {
            agent_id: status.agent_id.clone().expect("an agent"),
            task_id: status.task_id.clone(),
            uuid: status.uuid().to_vec(),
        }),
        ..of(call::Type::Acknowledge)
    })
    .await;
    let acknowledged = loop {
        if let Message::Acknowledge(acknowledged) = agent.next().await {
            break acknowledged;
        }
    };
    assert_eq!(acknowledged.number, 1);
    call(of(call::Type::Teardown)).await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_does_not_serve_mesos_has_none_of_its_paths() {
    let master = Master::without_mesos().await;
    for path in ["/state", "/api/v1", "/redirect"] {
        let answer = ask(&master, &format!("GET {path}"), "", b"").await;
        assert_eq!(answer.code, 404, "{path}: {}", answer.body);
    }
    assert_eq!(post(&master, JSON, "{}").await.code, 404);
    assert!(master.get("/health").await.contains("\"leading\":true"));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_of_a_framework_says_which_part_of_it_is_wrong() {
    let master = Master::start("memory").await;
    let more = json!({"roles": ["a"], "capabilities": [{"type": "MULTI_ROLE"}]});
    let stream = Stream::subscribe(&master, more.clone()).await;
    let mut info = info(&more);
    info["id"] = json!({"value": stream.framework});
    for (field, value, more, text) in [
        (
            "user",
            json!("other"),
            json!({}),
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is unsupported; attempted to update from \
             '' to 'other'",
        ),
        (
            "checkpoint",
            json!(true),
            json!({}),
            "FrameworkInfo update is not valid: Updating 'FrameworkInfo.checkpoint' is unsupported; attempted to update from \
             'false' to 'true'",
        ),
        (
            "principal",
            json!("other"),
            json!({}),
            "FrameworkInfo update is not valid: Changing framework's principal is not allowed.",
        ),
        (
            "roles",
            json!(["a", "a"]),
            json!({}),
            "Supplied FrameworkInfo is not valid: 'FrameworkInfo.roles' contains duplicate items: { a }",
        ),
        (
            "name",
            json!("again"),
            json!({"suppressed_roles": ["d"]}),
            "'UpdateFramework' call is not valid: Suppressed roles { d } are not contained in the set of roles",
        ),
    ] {
        let mut update = more;
        update["framework_info"] = info.clone();
        update["framework_info"][field] = value;
        let answer = stream.call(&master, "UPDATE_FRAMEWORK", update).await;
        assert_eq!((answer.code, answer.body.as_str()), (400, text), "{field}");
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_may_change_often_and_be_without_a_role() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let more = json!({"roles": [], "capabilities": [{"type": "MULTI_ROLE"}]});
    let mut stream = Stream::subscribe(&master, more.clone()).await;
    let mut info = info(&more);
    info["id"] = json!({"value": stream.framework});
    for round in 0..60 {
        info["name"] = json!(format!("f-{round}"));
        let update = json!({"framework_info": info});
        let answer = stream.call(&master, "UPDATE_FRAMEWORK", update).await;
        assert_eq!(answer.code, 200, "{round}: {}", answer.body);
    }
    for roles in [json!(["a"]), json!([])] {
        info["roles"] = roles.clone();
        let update = json!({"framework_info": info});
        let answer = stream.call(&master, "UPDATE_FRAMEWORK", update).await;
        assert_eq!(answer.code, 200, "{}", answer.body);
        if roles == json!(["a"]) {
            let offer = stream.offer().await;
            assert_eq!(offer["allocation_info"], json!({"role": "a"}));
        } else {
            stream.skip_to("RESCIND").await;
        }
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_subscribes_again_keeps_its_user_and_must_keep_its_principal() {
    let master = Master::start("memory").await;
    let mut of = info(&json!({"user": "nobody", "principal": "web"}));
    let begin = |info: &Value| json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
    let mut stream = Stream::open(&master, &begin(&of)).await;
    let id = stream.skip_to("SUBSCRIBED").await["framework_id"].clone();
    of["id"] = id.clone();
    of["user"] = json!("other");
    of["checkpoint"] = json!(true);
    let again = |info: &Value| {
        let mut body = begin(info);
        body["framework_id"] = id.clone();
        body
    };
    let mut stream = Stream::open(&master, &again(&of)).await;
    stream.skip_to("SUBSCRIBED").await;
    let answer = ask(&master, "GET /frameworks", "", b"").await;
    let page: Value = serde_json::from_str(&answer.body).expect("json");
    let shown = &page["frameworks"][0];
    assert_eq!(
        (&shown["user"], &shown["checkpoint"]),
        (&json!("nobody"), &json!(false))
    );
    of["principal"] = json!("db");
    let mut refused = Stream::open(&master, &again(&of)).await;
    let error = refused.skip_to("ERROR").await;
    let text = "Changing framework's principal is not allowed.";
    assert_eq!(error["message"], text);
    master.stop().await;
}
