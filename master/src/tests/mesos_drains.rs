//! What Mesos's tools are told of an agent that is drained.

use serde_json::{Value, json};

use super::mesos::{JSON, ask};
use super::peers::{self, Agent, Master};

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
        let id = json!({"agent_id": {"value": cast.agent_id}});
        let call = json!({"type": "REACTIVATE_AGENT", "reactivate_agent": id}).to_string();
        let still = ask(&master, "POST /api/v1", JSON, call.as_bytes()).await;
        let text = "Agent is still in the DRAINING state";
        assert_eq!((still.code, still.body.as_str()), (400, text));
        master.stop().await;
    }
}

/// What Mesos says to calls about an agent that is not there or not so.
#[tokio::test(flavor = "multi_thread")]
async fn calls_about_an_agent_are_refused_in_mesos_words() {
    let master = Master::start("memory").await;
    let mut agent = Agent::connect(&master).await;
    let id = agent.hello("", vec![]).await.agent_id;
    let (unknown, active) = ("Unknown agent", "Agent is not deactivated");
    for (kind, agent, code, text) in [
        ("DRAIN_AGENT", "x", 400, unknown),
        ("DEACTIVATE_AGENT", "a/b", 400, unknown),
        ("REACTIVATE_AGENT", "x", 400, active),
        ("REACTIVATE_AGENT", &id, 400, active),
        ("MARK_AGENT_GONE", "x", 404, "Agent 'x' not found"),
        ("MARK_AGENT_GONE", "a/b", 404, "Agent 'a/b' not found"),
        ("DEACTIVATE_AGENT", &id, 200, ""),
        ("REACTIVATE_AGENT", &id, 200, ""),
        // Nothing runs there: it is drained at once.
        ("DRAIN_AGENT", &id, 200, ""),
        ("REACTIVATE_AGENT", &id, 200, ""),
        ("REACTIVATE_AGENT", &id, 400, active),
    ] {
        let part = kind.to_ascii_lowercase();
        let call = json!({"type": kind, part: {"agent_id": {"value": agent}}}).to_string();
        let answer = ask(&master, "POST /api/v1", JSON, call.as_bytes()).await;
        let told = (answer.code, answer.body.as_str());
        assert_eq!(told, (code, text), "{kind} {agent}");
    }
    let quota = json!({"role": "web", "guarantee":
        [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}], "force": true});
    let call = json!({"type": "SET_QUOTA", "set_quota": {"quota_request": quota}});
    operate(&master, &call).await;
    let again = ask(&master, "POST /api/v1", JSON, call.to_string().as_bytes()).await;
    let text = "Failed to validate set quota request: Cannot set quota for role 'web' which already has quota";
    assert_eq!((again.code, again.body.as_str()), (400, text));
    let none = |role: &str| {
        let text = format!(
            "Failed to remove quota for path '/master/quota/{role}': Role '{role}' has no quota set"
        );
        (400, text)
    };
    for (path, told) in [
        ("/quota/nosuch", none("nosuch")),
        ("/master/quota/a/b", none("a/b")),
        ("/quota/web", (200, String::new())),
        ("/quota/web", none("web")),
    ] {
        let answer = ask(&master, &format!("DELETE {path}"), JSON, b"").await;
        assert_eq!((answer.code, answer.body), told, "{path}");
    }
    master.stop().await;
}
