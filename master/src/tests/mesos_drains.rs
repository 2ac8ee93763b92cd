//! What Mesos's tools are told of an agent that is drained.

use serde_json::{Value, json};

use super::mesos::{JSON, ask};
use super::peers::{self, Master};

async fn operate(master: &Master, call: &Value) -> Value {
    let answer = ask(master, "POST /api/v1", JSON, call.to_string().as_bytes()).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_shown_as_it_was_asked_for() {
    for (asked, shown) in [
        (json!({}), json!({"mark_gone": false})),
        (
            json!({"max_grace_period": {"seconds": 3_600}, "mark_gone": true}),
            json!({"max_grace_period": {"nanoseconds": 3_600_000_000_000_u64}, "mark_gone": true}),
        ),
    ] {
        let master = Master::start("memory").await;
        // With a task that stays, so that it is not over at once.
        let cast = peers::launched(&master, "task-1").await;
        let mut drain = asked;
        drain["agent_id"] = json!({"value": cast.agent_id});
        operate(
            &master,
            &json!({"type": "DRAIN_AGENT", "drain_agent": drain}),
        )
        .await;
        let expected = json!({"state": "DRAINING", "config": shown});
        let agents = operate(&master, &json!({"type": "GET_AGENTS"})).await;
        let agent = &agents["get_agents"]["agents"][0];
        assert_eq!(agent["drain_info"], expected);
        for path in ["/slaves", "/state"] {
            let page = ask(&master, &format!("GET {path}"), "", b"").await;
            let page: Value = serde_json::from_str(&page.body).expect("JSON");
            assert_eq!(page["slaves"][0]["drain_info"], expected, "{path}");
        }
        master.stop().await;
    }
}
