//! Checks of tasks of Mesos's frameworks: what they are answered is told, and is not the task's health.

use proffer_proto::v1;
use serde_json::json;
use v1::to_agent::Message;

use super::mesos::{Stream, task};
use super::peers::{self, Agent, Master};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_of_a_task_is_answered_comes_with_its_updates() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let mut stream = Stream::subscribe(&master, json!({})).await;
    let offer = stream.offer().await;
    let mut checked = task("t", &offer, 1.0);
    checked["check"] = json!({
        "type": "HTTP",
        "http": {"port": 8080, "path": "/ready"},
        "interval_seconds": 2,
    });
    stream.launch(&master, &offer, &[checked]).await;
    let Message::Launch(launch) = agent.next().await else {
        panic!("a launch")
    };
    let checks = launch.spec.expect("a spec").checks;
    assert!(checks[0].observed, "{checks:?}");
    assert_eq!((checks[0].interval_ms, checks.len()), (2_000, 1));
    let answer = |code: u32| v1::CheckResult {
        check: 0,
        answer: Some(v1::check_result::Answer::HttpCode(code)),
        observed: v1::Probe::Http.into(),
    };
    let answered = v1::Reason::CheckAnswered;
    let table = [
        (v1::Reason::Unspecified, None, json!(null)),
        (answered, Some(503), json!({"status_code": 503})),
        (answered, Some(200), json!({"status_code": 200})),
    ];
    for ((reason, code, http), number) in table.into_iter().zip(1..) {
        let status = v1::Status {
            number,
            reason: reason.into(),
            checks: code.map(answer).into_iter().collect(),
            ..peers::status("t", launch.incarnation, v1::TaskState::Running)
        };
        agent.report_numbered(&stream.framework, status).await;
        let told = stream.status().await;
        assert_eq!(told["state"], "TASK_RUNNING", "{told}");
        assert_eq!(told["check_status"]["http"], http, "{told}");
        assert!(told.get("healthy").is_none(), "{told}");
        if code.is_some() {
            assert_eq!(told["check_status"]["type"], "HTTP");
            assert_eq!(told["reason"], "REASON_TASK_CHECK_STATUS_UPDATED");
        }
        let part = json!({
            "agent_id": told["agent_id"],
            "task_id": told["task_id"],
            "uuid": told["uuid"],
        });
        stream.accepted(&master, "ACKNOWLEDGE", part).await;
    }
    master.stop().await;
}
