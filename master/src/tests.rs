//! The whole master over real sockets: a framework, an agent and an operator, each through gRPC as anyone would.

mod leadership;
mod mesos;
mod mesos_bodies;
mod mesos_calls;
mod mesos_checks;
mod mesos_constraints;
mod mesos_drains;
mod mesos_operators;
mod mesos_pages;
mod mesos_states;
mod mesos_wire;
mod operators;
mod peers;
mod sessions;
mod stage;
mod too_long;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use proffer_model::{AgentState, TaskState, code};
use proffer_proto::{problem_of, v1};
use v1::session_call::Call;
use v1::session_event::Event;
use v1::to_agent::Message;

use peers::{Agent, Framework, Master};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_all_the_way_and_back() {
    let master = Master::start("memory").await;
    let mut cast = peers::launched(&master, "task-1").await;
    let (framework_id, incarnation) = (cast.framework_id.clone(), cast.incarnation);
    assert_eq!(cast.offer.agent_id, cast.agent_id);
    assert_eq!(cast.offer.host, "host-1");
    assert_eq!(
        (
            cast.offer.fits[0].demand_id.as_str(),
            cast.offer.fits[0].count
        ),
        ("web", 1)
    );
    let Message::Launch(launch) = cast.agent.next().await else {
        panic!("a launch")
    };
    assert_eq!(
        (launch.framework_id, launch.incarnation),
        (framework_id.clone(), incarnation)
    );
    assert_eq!(
        launch.spec.expect("a spec").environment["PASSWORD"],
        "canary"
    );

    cast.agent
        .report(&framework_id, "task-1", incarnation, v1::TaskState::Running)
        .await;
    let (sequence, status) = cast.framework.status().await;
    assert_eq!(
        (status.task_id.as_str(), status.state()),
        ("task-1", v1::TaskState::Running)
    );
    cast.framework
        .call(Call::Acknowledge(v1::Acknowledge {
            sequence,
            one: false,
        }))
        .await;
    let Message::Acknowledge(acknowledged) = cast.agent.next().await else {
        panic!("an acknowledgement")
    };
    assert_eq!(
        (acknowledged.task_id.as_str(), acknowledged.number),
        ("task-1", 1)
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_and_metrics_see_what_runs_and_no_secret() {
    let master = Master::start("memory").await;
    let mut cast = peers::launched(&master, "task-1").await;
    cast.agent
        .report(
            &cast.framework_id,
            "task-1",
            cast.incarnation,
            v1::TaskState::Running,
        )
        .await;
    cast.framework.status().await;

    let mut operator = master.operator().await;
    let tasks = operator
        .list_tasks(v1::ListTasksRequest::default())
        .await
        .expect("tasks")
        .into_inner();
    let [task] = tasks.tasks.as_slice() else {
        panic!("one task: {tasks:?}")
    };
    assert_eq!((task.id.as_str(), task.host.as_str()), ("task-1", "host-1"));
    assert_eq!(task.agent_address, "127.0.0.1:5051");
    assert!(
        !format!("{tasks:?}").contains("canary"),
        "environments are in no view"
    );
    let other = v1::ListTasksRequest {
        framework_id: "other".into(),
        ..v1::ListTasksRequest::default()
    };
    assert_eq!(
        operator
            .list_tasks(other)
            .await
            .expect("tasks")
            .get_ref()
            .tasks,
        []
    );
    let agents = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect("agents")
        .into_inner();
    assert_eq!(
        (agents.agents[0].state(), agents.agents[0].tasks),
        (v1::AgentState::Connected, 1)
    );
    let frameworks = operator
        .list_frameworks(v1::ListFrameworksRequest::default())
        .await
        .expect("frameworks");
    assert!(frameworks.get_ref().frameworks[0].connected);

    let page = master.get("/metrics").await;
    for line in [
        format!("master_agents{{state=\"{}\"}} 1", AgentState::Connected),
        format!("master_tasks{{state=\"{}\"}} 1", TaskState::Running),
        "master_frameworks{state=\"connected\"} 1".into(),
        "master_launches_total 1".into(),
        "master_epoch 1".into(),
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_cluster_framework_and_what_agents_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().join("store").display());
    let master = Master::start(&store).await;
    let before = peers::launched(&master, "task-1").await;
    master.stop().await;

    let master = Master::start(&store).await;
    let mut framework = Framework::connect(&master).await;
    let after = framework.subscribe(&before.framework_id).await;
    assert_eq!(after.framework_id, before.framework_id);
    let mut agent = Agent::connect(&master).await;
    let running = peers::running(
        &after.framework_id,
        "task-1",
        &before.agent_id,
        before.incarnation,
    );
    let welcome = agent.hello(&before.agent_id, vec![running]).await;
    assert_eq!(
        (welcome.agent_id, welcome.cluster_id),
        (before.agent_id.clone(), after.cluster_id)
    );
    assert_eq!(agent.epoch, 2);
    let is_settled = |event: &Event| matches!(event, Event::AgentSettled(settled) if settled.agent_id == before.agent_id);
    framework.wait_for(is_settled).await;
    let tasks = master
        .operator()
        .await
        .list_tasks(v1::ListTasksRequest::default())
        .await
        .expect("tasks");
    let status = tasks.get_ref().tasks[0].status.as_ref().expect("a status");
    assert_eq!(status.incarnation, before.incarnation);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frameworks_state_outlives_the_master_and_keeps_its_versions() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().join("store").display());
    let master = Master::start(&store).await;
    let (_open, before) = Framework::connect(&master).await.subscribed("").await;
    let mut state = master.state().await;
    let put = v1::PutStateRequest {
        framework_id: before.framework_id.clone(),
        generation: before.generation,
        key: "apps/web".into(),
        value: "v1".into(),
        expected_version: Some(0),
    };
    assert_eq!(
        state
            .put(put.clone())
            .await
            .expect("put")
            .into_inner()
            .version,
        1
    );
    let problem = problem_of(&state.put(put).await.expect_err("there is one already"));
    assert!(problem.is(code::STATE_VERSION), "{problem}");
    master.stop().await;

    let master = Master::start(&store).await;
    let (_open, after) = Framework::connect(&master)
        .await
        .subscribed(&before.framework_id)
        .await;
    let mut state = master.state().await;
    let (framework_id, generation) = (after.framework_id, after.generation);
    let list = v1::ListStateRequest {
        framework_id: framework_id.clone(),
        generation,
        prefix: "apps/".into(),
        after: None,
    };
    let page = v1::ListStateRequest {
        after: Some(String::new()),
        ..list.clone()
    };
    let page = state.list(page).await.expect("a page").into_inner();
    let entries = state.list(list).await.expect("list").into_inner().entries;
    assert_eq!((&page.entries, page.has_more), (&entries, false));
    let [entry] = entries.as_slice() else {
        panic!("one entry: {entries:?}")
    };
    assert_eq!(
        (entry.key.as_str(), &entry.value[..], entry.version),
        ("apps/web", &b"v1"[..], 1)
    );
    let delete = v1::DeleteStateRequest {
        framework_id: framework_id.clone(),
        generation,
        key: "apps/web".into(),
        expected_version: Some(1),
    };
    state.delete(delete).await.expect("deleted");
    let get = v1::GetStateRequest {
        framework_id,
        generation,
        key: "apps/web".into(),
    };
    let problem = problem_of(&state.get(get).await.expect_err("gone"));
    assert!(problem.is(code::STATE_KEY_UNKNOWN), "{problem}");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_read_is_answered_and_the_session_goes_on() {
    let master = Master::start("memory").await;
    let mut framework = Framework::connect(&master).await;
    framework.subscribe("").await;
    let bad = v1::Accept {
        offer_ids: vec!["o".into()],
        operations: vec![peers::launch(v1::TaskSpec {
            id: "../etc".into(),
            ..peers::task("x")
        })],
    };
    let problem = framework.refused(Call::Accept(bad)).await;
    assert_eq!(
        problem.field, "accept.operations[0].launch.id",
        "{problem:?}"
    );
    let missing = v1::SetDemand::default();
    assert!(
        !framework
            .refused(Call::SetDemand(missing))
            .await
            .hint
            .is_empty()
    );
    framework.demand_one_cpu("web").await;
    // Metrics are counted by the view; who has asked it has waited for it.
    let frameworks = v1::ListFrameworksRequest::default();
    let frameworks = master.operator().await.list_frameworks(frameworks).await;
    assert_eq!(
        frameworks.expect("frameworks").get_ref().frameworks[0].demand,
        1
    );
    let page = master.get("/metrics").await;
    assert!(
        page.contains("master_calls_refused_total{code=\"id.invalid\"} 1"),
        "{page}"
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_refused_with_a_problem() {
    let master = Master::start("memory").await;
    let mut operator =
        v1::operator_client::OperatorClient::new(master.channel(master.listen()).await);
    let status = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    let problem = problem_of(&status);
    assert!(
        problem.is(code::AUTH_MISSING) && !problem.hint.is_empty(),
        "{problem}"
    );
    let mut link =
        v1::agent_link_client::AgentLinkClient::new(master.channel(master.cluster_listen()).await);
    let status = link.link(tokio_stream::empty()).await.expect_err("refused");
    assert!(problem_of(&status).is(code::AUTH_MISSING));
    let mut operator = master.operator().await;
    let asked = v1::ExplainDemandRequest::default();
    let problem = problem_of(&operator.explain_demand(asked).await.expect_err("no id"));
    assert_eq!(
        (problem.code.as_ref(), problem.field.as_str()),
        ("field.missing", "framework_id")
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_does_not_begin_with_hello_is_told_why() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent
        .say(v1::to_master::Message::Heartbeat(v1::LinkHeartbeat {}))
        .await;
    let problem = problem_of(&agent.end().await);
    assert_eq!(
        (problem.code.as_ref(), problem.field.as_str()),
        ("field.missing", "hello")
    );
    let mut agent = Agent::connect(&master).await;
    let ranges = (0..5_000_u64).map(|n| v1::Range {
        begin: n * 3,
        end: n * 3,
    });
    let mut hello = peers::hello("", vec![]);
    for number in 0..10 {
        let (name, ranges) = (format!("r{number}"), ranges.clone().collect());
        let resources = hello
            .description
            .as_mut()
            .and_then(|description| description.resources.as_mut());
        resources
            .expect("resources")
            .ranges
            .push(v1::Ranges { name, ranges });
    }
    agent.say(v1::to_master::Message::Hello(hello)).await;
    let problem = problem_of(&agent.end().await);
    assert_eq!(
        (problem.code.as_ref(), problem.field.as_str()),
        ("field.too_long", "hello.description")
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_placed_is_explained() {
    let master = Master::start("memory").await;
    let mut framework = Framework::connect(&master).await;
    let framework_id = framework.subscribe("").await.framework_id;
    Agent::connect(&master).await.hello("", vec![]).await;
    framework.demand("web", 5_000).await;
    let asked = v1::ExplainDemandRequest {
        framework_id,
        ..v1::ExplainDemandRequest::default()
    };
    let explained = master
        .operator()
        .await
        .explain_demand(asked)
        .await
        .expect("explained");
    let [entry] = explained.get_ref().entries.as_slice() else {
        panic!("one entry: {explained:?}")
    };
    assert_eq!((entry.demand_id.as_str(), entry.wanted), ("web", 1));
    assert_eq!(
        entry
            .obstacles
            .iter()
            .map(|obstacle| obstacle.agents)
            .sum::<u32>(),
        1
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_tools_find_health_and_reflection() {
    let master = Master::start("memory").await;
    let mut health = master.health().await;
    for service in [
        "",
        "proffer.v1.Scheduler",
        "proffer.v1.FrameworkState",
        "proffer.v1.Operator",
    ] {
        let asked = tonic_health::pb::HealthCheckRequest {
            service: service.into(),
        };
        let answer = health.check(asked).await.expect(service);
        assert_eq!(
            answer.get_ref().status(),
            tonic_health::ServingStatus::Serving.into(),
            "{service}"
        );
    }
    let names = master.reflected().await;
    for name in [
        "proffer.v1.Scheduler",
        "proffer.v1.Operator",
        "grpc.health.v1.Health",
    ] {
        assert!(
            names.iter().any(|n| n == name),
            "{name} is not in {names:?}"
        );
    }
    master.stop().await;
}

/// Sends bytes and reads until the other side closes.
fn throw(address: SocketAddr, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).expect("connect");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    // The other side may close while we are still writing.
    let _ = socket.write_all(bytes);
    let _ = socket.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_either_port_harms_nobody() {
    let master = Master::start("memory").await;
    let addresses = [master.listen(), master.cluster_listen()];
    let preface =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff".as_slice();
    let garbage: [&'static [u8]; 5] = [
        b"",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello, or nearly so",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n",
        preface,
    ];
    let thrown = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            for address in addresses {
                for bytes in garbage {
                    scope.spawn(move || throw(address, bytes));
                }
            }
        });
    });
    thrown.await.expect("thrown");
    Agent::connect(&master).await.hello("", vec![]).await;
    let agents = master
        .operator()
        .await
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect("agents");
    assert_eq!(agents.get_ref().agents.len(), 1);
    assert!(master.get("/health").await.contains("\"leading\":true"));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_or_directory_is_a_typed_error_and_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().join("store").display());
    let master = Master::start(&store).await;
    let problem = Master::try_start(&store, master.listen())
        .await
        .expect_err("the port");
    assert!(problem.is(code::PORT_TAKEN), "{problem}");
    let problem = Master::try_start(&store, peers::ANY)
        .await
        .expect_err("the directory");
    assert!(problem.is(code::DIRECTORY_LOCKED), "{problem}");
    master.stop().await;
    let master = Master::start(&store).await;
    let health = master.get("/health").await;
    assert!(
        health.contains("\"epoch\":2"),
        "neither of them began a term: {health}"
    );
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_deposed_ends_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("file:{}", directory.path().display());
    let master = Master::start(&store).await;
    std::fs::write(directory.path().join("log/00000000000000000002"), b"")
        .expect("another's entry");
    let mut framework = Framework::connect(&master).await;
    framework.call(peers::subscribe("")).await;
    let problem = master.ended().await.expect_err("deposed");
    assert!(problem.is(code::STORE_DEPOSED), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_set_quota_and_drain_agents_and_refusals_name_the_field() {
    let master = Master::start("memory").await;
    let mut agent = peers::Agent::connect(&master).await;
    let agent_id = agent.hello("", Vec::new()).await.agent_id;
    let mut operator = master.operator().await;
    let cpus = |milli| v1::Quantities {
        scalars: vec![v1::Scalar {
            name: "cpus".into(),
            milli,
        }],
    };
    let quota = |guaranteed, limit| v1::SetQuotaRequest {
        role: "eng".into(),
        quota: Some(v1::Quota {
            guarantees: Some(cpus(guaranteed)),
            limits: Some(cpus(limit)),
        }),
        force: false,
    };
    let bad = operator.set_quota(quota(2_000, 1_000)).await;
    let problem = problem_of(&bad.expect_err("it contradicts itself"));
    assert!(problem.is(code::QUOTA_INVALID), "{problem}");
    assert_eq!(problem.field, "quota.limits.cpus");
    operator.set_quota(quota(0, 1_000)).await.expect("a quota");
    let weight = v1::SetWeightRequest {
        role: "eng".into(),
        weight_milli: 0,
    };
    let problem = problem_of(&operator.set_weight(weight).await.expect_err("nothing"));
    assert_eq!(problem.field, "weight_milli");
    let roles = operator.list_roles(v1::ListRolesRequest::default()).await;
    let roles = roles.expect("roles").into_inner().roles;
    let eng = roles.iter().find(|role| role.role == "eng");
    let limits = eng.and_then(|role| role.quota.as_ref()?.limits.clone());
    assert_eq!(limits, Some(cpus(1_000)));

    let drain = v1::DrainAgentRequest {
        agent_id,
        deadline_ms: Some(60_000),
        mark_gone: false,
    };
    operator.drain_agent(drain).await.expect("marked");
    let agents = operator.list_agents(v1::ListAgentsRequest::default()).await;
    let agents = agents.expect("agents").into_inner().agents;
    let deadline = agents[0].drain.as_ref().and_then(|drain| drain.deadline_ms);
    assert_eq!(deadline, Some(60_000));
    let reserve = v1::ReserveRequest {
        agent_id: "nobody".into(),
        resources: agents[0].total.clone(),
    };
    let problem = problem_of(&operator.reserve(reserve).await.expect_err("unknown"));
    assert!(problem.is(code::AGENT_UNKNOWN), "{problem}");
    master.stop().await;
}
