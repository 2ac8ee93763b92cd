//! Pages of Mesos's tools that are large: they are shared, and yet show what whoever asks was told.

use proffer_proto::v1;
use serde_json::{Value, json};
use v1::to_agent::Message;
use v1::to_master;

use super::mesos::{Answer, JSON, Stream, ask, header};
use super::peers::{Agent, Master, hello};
use crate::limits::{MESOS_PIECE_LEN, MESOS_SHARED_LEN};

/// One of two agents of which every page is long enough to be shared, and goes in pieces.
async fn wordy(master: &Master) -> (Agent, String) {
    let mut agent = Agent::connect(master).await;
    let mut said = hello("", vec![]);
    let description = said.description.as_mut().expect("a description");
    let attribute = |number: usize| v1::Attribute {
        name: format!("a{number:0>99}"),
        value: "v".repeat(100),
    };
    description.attributes = (0..1_000).map(attribute).collect();
    agent.say(to_master::Message::Hello(said)).await;
    let Message::Welcome(welcome) = agent.next().await else {
        panic!("a welcome")
    };
    let answer = to_master::Message::Heartbeat(v1::LinkHeartbeat {});
    agent.say(answer).await;
    (agent, welcome.agent_id)
}

async fn large(master: &Master, path: &str) -> Value {
    let answer = ask(master, &format!("GET {path}"), "", b"").await;
    let is_large = answer.body.len() > MESOS_SHARED_LEN.max(MESOS_PIECE_LEN);
    assert!(is_large, "{path} has {} bytes", answer.body.len());
    json_of(&answer)
}

fn json_of(answer: &Answer) -> Value {
    assert_eq!(answer.code, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("JSON")
}

async fn operate(master: &Master, call: Value) -> Answer {
    ask(master, "POST /api/v1", JSON, call.to_string().as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_has_changed_is_on_the_next_page() {
    let master = Master::start("memory").await;
    let (_other, (_agent, id)) = (wordy(&master).await, wordy(&master).await);
    let agents = json!({"type": "GET_AGENTS"});
    for kind in ["DEACTIVATE_AGENT", "REACTIVATE_AGENT"].repeat(5) {
        let part = kind.to_ascii_lowercase();
        let call = json!({"type": kind, part: {"agent_id": {"value": id}}});
        let answer = operate(&master, call).await;
        assert_eq!(answer.code, 200, "{}", answer.body);
        let is_deactivated = kind == "DEACTIVATE_AGENT";
        for path in ["/state", "/slaves", "/state-summary"] {
            let page = large(&master, path).await;
            let agents = page["slaves"].as_array().expect("agents");
            let agent = agents.iter().find(|agent| agent["id"] == id.as_str());
            let agent = agent.expect("the agent");
            assert_eq!(agent["deactivated"], is_deactivated, "{path}");
        }
        let told = json_of(&operate(&master, agents.clone()).await);
        let agents = told["get_agents"]["agents"].as_array().expect("agents");
        let of = |agent: &&Value| agent["agent_info"]["id"]["value"] == id.as_str();
        let agent = agents.iter().find(of).expect("the agent");
        assert_eq!(agent["deactivated"], is_deactivated);
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_that_was_told_so_is_on_the_next_page_and_off_it_again() {
    let master = Master::start("memory").await;
    let _agents = (wordy(&master).await, wordy(&master).await);
    for _ in 0..5 {
        let shown = large(&master, "/state").await;
        assert_eq!(shown["frameworks"], json!([]));
        let mut stream = Stream::subscribe(&master, json!({})).await;
        let shown = large(&master, "/state").await;
        assert_eq!(shown["frameworks"][0]["id"], stream.framework);
        stream.accepted(&master, "TEARDOWN", json!({})).await;
        while stream.next().await.is_some() {}
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_page_is_a_script_for_whoever_asks_so() {
    let master = Master::start("memory").await;
    let _agents = (wordy(&master).await, wordy(&master).await);
    let page = ask(&master, "GET /slaves", "", b"").await;
    let script = ask(&master, "GET /slaves?jsonp=f", "", b"").await;
    assert!(script.body.len() > MESOS_PIECE_LEN);
    assert_eq!(script.body, format!("f({});", page.body));
    let len = header(&script.head, "content-length").expect("a length");
    assert_eq!(len.parse(), Ok(script.body.len()));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_has_no_script_of_here() {
    let master = Master::start("memory").await;
    for (path, headers, code) in [
        ("/state?jsonp=f", "Sec-Fetch-Site: cross-site\r\n", 403),
        ("/state", "Sec-Fetch-Site: same-site\r\n", 403),
        ("/state?jsonp=f", "Referer: http://evil.example/\r\n", 403),
        (
            "/state?jsonp=f",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\n",
            200,
        ),
        (
            "/state",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
            200,
        ),
    ] {
        let answer = ask(&master, &format!("GET {path}"), headers, b"").await;
        assert_eq!(answer.code, code, "{path} {headers}: {}", answer.body);
    }
    master.stop().await;
}
