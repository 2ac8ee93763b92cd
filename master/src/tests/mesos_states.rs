//! That pages of Mesos's tools say the same of the same: those which count tasks, of which others show the states.

use proffer_proto::v1;
use serde_json::{Value, json};

use super::mesos::{JSON, Stream, ask};
use super::peers::{self, Agent, Master};
use super::stage::Stage;

async fn page(master: &Master, path: &str) -> Value {
    let answer = ask(master, &format!("GET {path}"), "", b"").await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

/// That the one task, which is over, is counted as this and as nothing else.
async fn counted(master: &Master, state: &str, summed: &str) {
    let shown = page(master, "/state").await;
    let task = &shown["frameworks"][0]["completed_tasks"][0];
    assert_eq!(task["state"], state);
    let figures = page(master, "/metrics/snapshot").await;
    let tasks = figures.as_object().expect("figures").iter();
    let tasks = tasks.filter(|(name, count)| name.starts_with("master/tasks_") && **count != 0.0);
    let tasks: Vec<_> = tasks.map(|(name, count)| (name.clone(), count)).collect();
    let name = state.to_ascii_lowercase().replacen("task_", "tasks_", 1);
    assert_eq!(tasks, [(format!("master/{name}"), &json!(1.0))]);
    let summary = page(master, "/state-summary").await;
    let tasks = summary["frameworks"][0].as_object().expect("a framework");
    let tasks = tasks.iter();
    let tasks = tasks.filter(|(name, count)| name.starts_with("TASK_") && **count != 0);
    let tasks: Vec<_> = tasks.map(|(name, _)| name.as_str()).collect();
    assert_eq!(tasks, [summed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_an_agent_that_was_marked_gone_is_counted_as_it_is_shown() {
    let master = Master::start("memory").await;
    let mut cast = peers::launched(&master, "task-1").await;
    let running = v1::TaskState::Running;
    cast.agent
        .report(&cast.framework_id, "task-1", cast.incarnation, running)
        .await;
    cast.framework.status().await;
    let call = json!({
        "type": "MARK_AGENT_GONE",
        "mark_agent_gone": {"agent_id": {"value": cast.agent_id}},
    });
    let answer = ask(&master, "POST /api/v1", JSON, call.to_string().as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    counted(&master, "TASK_GONE_BY_OPERATOR", "TASK_LOST").await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ran_longer_than_it_may_is_counted_as_it_is_shown() {
    let master = Master::start("memory").await;
    let mut cast = peers::launched(&master, "task-1").await;
    let killed = v1::Status {
        reason: v1::Reason::DeadlinePassed.into(),
        ..peers::status("task-1", cast.incarnation, v1::TaskState::Killed)
    };
    let framework = cast.framework_id.clone();
    cast.agent.report_numbered(&framework, killed).await;
    cast.framework.status().await;
    counted(&master, "TASK_FAILED", "TASK_FAILED").await;
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_runs_when_its_framework_ends_is_shown_killed() {
    let master = Master::start("memory").await;
    let mut cast = peers::launched(&master, "task-1").await;
    let running = v1::TaskState::Running;
    cast.agent
        .report(&cast.framework_id, "task-1", cast.incarnation, running)
        .await;
    cast.framework.status().await;
    let form = format!("frameworkId={}", cast.framework_id);
    let answer = ask(&master, "POST /teardown", "", form.as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);

    let path = format!("/tasks?framework_id={}", cast.framework_id);
    let tasks = page(&master, &path).await["tasks"].clone();
    let state = page(&master, "/state").await;
    assert_eq!(state["frameworks"], json!([]));
    let over = &state["completed_frameworks"][0];
    assert_eq!(
        (&over["tasks"], &over["unreachable_tasks"]),
        (&json!([]), &json!([]))
    );
    for tasks in [&tasks, &over["completed_tasks"]] {
        assert_eq!(tasks.as_array().map(Vec::len), Some(1), "{tasks}");
        assert_eq!(tasks[0]["id"], "task-1");
        assert_eq!(tasks[0]["state"], "TASK_KILLED");
    }
    let call = json!({"type": "GET_TASKS"}).to_string();
    let told = ask(&master, "POST /api/v1", JSON, call.as_bytes()).await;
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    let ended = &told["get_tasks"]["completed_tasks"];
    let status = &ended[0]["statuses"][0];
    assert_eq!(ended[0]["state"], "TASK_KILLED", "{told}");
    assert_eq!(status["reason"], "REASON_FRAMEWORK_REMOVED");
    assert_eq!(status["source"], "SOURCE_MASTER");

    let mut operator = master.operator().await;
    let listed = operator.list_tasks(v1::ListTasksRequest::default()).await;
    let listed = listed.expect("tasks").into_inner().tasks;
    let [task] = listed.as_slice() else {
        panic!("{listed:?}")
    };
    let status = task.status.as_ref().expect("a status");
    assert_eq!(status.state(), v1::TaskState::Killed);
    assert_eq!(status.reason(), v1::Reason::FrameworkRemoved);
    // What becomes of it is nobody's, and changes nothing.
    let finished = v1::TaskState::Finished;
    cast.agent
        .report(&cast.framework_id, "task-1", cast.incarnation, finished)
        .await;
    let is_taken = |message| matches!(message, v1::to_agent::Message::Acknowledge(_));
    while !is_taken(cast.agent.next().await) {}
    let shown = page(&master, &path).await["tasks"].clone();
    assert_eq!(shown[0]["state"], "TASK_KILLED");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_of_an_earlier_term_is_recovered_until_it_subscribes() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    stage.elect(&masters, 0).await;
    let first = Stream::subscribe(&masters[0], json!({"failover_timeout": 100.0})).await;
    let again = json!({"id": {"value": first.framework}, "failover_timeout": 100.0});
    let shown = async |master: &Master| {
        let state = page(master, "/state").await["frameworks"][0]["recovered"].clone();
        let summary = page(master, "/state-summary").await["frameworks"][0]["recovered"].clone();
        let call = json!({"type": "GET_FRAMEWORKS"}).to_string();
        let told = ask(master, "POST /api/v1", JSON, call.as_bytes()).await;
        let told: Value = serde_json::from_str(&told.body).expect("JSON");
        let told = told["get_frameworks"]["frameworks"][0]["recovered"].clone();
        assert!(
            state == summary && state == told,
            "{state} {summary} {told}"
        );
        state
    };
    assert_eq!(shown(&masters[0]).await, false);
    stage.elect(&masters, 1).await;
    assert_eq!(shown(&masters[1]).await, true);
    let second = Stream::subscribe(&masters[1], again).await;
    assert_eq!(shown(&masters[1]).await, false);
    drop(second);
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_counted_when_they_register_come_back_and_are_removed() {
    let master = Master::start("memory").await;
    let mut first = Agent::connect(&master).await;
    let id = first.hello("", vec![]).await.agent_id;
    let counted = async |expected: [f64; 4]| {
        let names = ["registrations", "reregistrations", "removals"];
        let names = names.map(|name| format!("master/slave_{name}"));
        let unhealthy = "master/slave_unreachable_completed".to_owned();
        let is_so = async {
            loop {
                let figures = page(&master, "/metrics/snapshot").await;
                let of = |name: &String| figures[name].as_f64().expect(name);
                let all = names.iter().chain([&unhealthy]).map(of);
                if all.collect::<Vec<_>>() == expected {
                    return;
                }
            }
        };
        peers::soon(&format!("{expected:?}"), is_so).await;
    };
    counted([1.0, 0.0, 0.0, 0.0]).await;
    let mut second = Agent::connect(&master).await;
    second.hello(&id, vec![]).await;
    counted([1.0, 1.0, 0.0, 0.0]).await;
    let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": id}}});
    let answer = ask(&master, "POST /api/v1", JSON, call.to_string().as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    counted([1.0, 1.0, 1.0, 0.0]).await;
    let metrics = master.get("/metrics").await;
    assert!(metrics.contains("master_registrations_total{how=\"again\"} 1\n"));
    assert!(metrics.contains("master_agent_losses_total{how=\"gone\"} 1\n"));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_agents_that_are_awaited_the_one_that_is_asked_for_is_shown() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    stage.elect(&masters, 0).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut agent = Agent::connect(&masters[0]).await;
        ids.push(agent.hello("", vec![]).await.agent_id);
    }
    stage.elect(&masters, 1).await;
    let shown = async |query: &str| {
        let slaves = page(&masters[1], &format!("/slaves{query}")).await;
        let awaited = slaves["recovered_slaves"]
            .as_array()
            .expect("agents")
            .iter();
        awaited.map(|agent| agent["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown("").await.len(), 2);
    assert_eq!(
        shown(&format!("?slave_id={}", ids[1])).await,
        [json!(ids[1])]
    );
    assert_eq!(shown("?slave_id=other").await, [Value::Null; 0]);
    for master in masters {
        master.stop().await;
    }
}
