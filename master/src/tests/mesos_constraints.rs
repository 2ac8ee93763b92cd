//! Offer constraints of Mesos's frameworks: on which agents they are offered something, and where that is shown.

use serde_json::{Value, json};

use super::mesos::{Answer, JSON, Stream, ask, info};
use super::peers::{Agent, Master, hello};
use proffer_proto::v1::{to_agent::Message, to_master};

/// An agent of this host, in a region or not.
async fn agent(master: &Master, host: &str, is_placed: bool) -> Agent {
    let mut agent = Agent::connect(master).await;
    let mut said = hello("", vec![]);
    let description = said.description.as_mut().expect("a description");
    host.clone_into(&mut description.host);
    if !is_placed {
        description.domain = None;
    }
    agent.say(to_master::Message::Hello(said)).await;
    let Message::Welcome(_) = agent.next().await else {
        panic!("a welcome")
    };
    let answer = to_master::Message::Heartbeat(Default::default());
    agent.say(answer).await;
    agent
}

fn of_role(role: &str, selector: &Value, predicate: &Value) -> Value {
    let one = json!({"selector": selector, "predicate": predicate});
    json!({"role_constraints": {role: {"groups": [{"attribute_constraints": [one]}]}}})
}

fn host_matches(regex: &str) -> Value {
    let selector = json!({"pseudoattribute_type": "HOSTNAME"});
    let predicate = json!({"text_matches": {"regex": regex}});
    of_role("*", &selector, &predicate)
}

async fn constrained(master: &Master, constraints: &Value) -> Stream {
    let part = json!({"framework_info": info(&json!({})), "offer_constraints": constraints});
    let body = json!({"type": "SUBSCRIBE", "subscribe": part});
    let mut stream = Stream::open(master, &body).await;
    let subscribed = stream.skip_to("SUBSCRIBED").await;
    let id = &subscribed["framework_id"]["value"];
    stream.framework = id.as_str().expect("an id").to_owned();
    stream
}

/// As every place shows them, which is the same.
async fn shown(master: &Master) -> Value {
    let page = async |path: &str| {
        let answer = ask(master, &format!("GET {path}"), "", b"").await;
        let page: Value = serde_json::from_str(&answer.body).expect("JSON");
        page["frameworks"][0]["offer_constraints"].clone()
    };
    let call = json!({"type": "GET_FRAMEWORKS"}).to_string();
    let told = ask(master, "POST /api/v1", JSON, call.as_bytes()).await;
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    let told = told["get_frameworks"]["frameworks"][0]["offer_constraints"].clone();
    assert_eq!(page("/state").await, told);
    assert_eq!(page("/frameworks").await, told);
    told
}

async fn update(master: &Master, stream: &Stream, constraints: &Value) -> Answer {
    let mut said = info(&json!({}));
    said["id"] = json!({"value": stream.framework});
    let part = json!({"framework_info": said, "offer_constraints": constraints});
    stream.call(master, "UPDATE_FRAMEWORK", part).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_is_offered_agents_whose_host_matches_and_hears_what_is_no_pattern() {
    let master = Master::start("memory").await;
    let _web = agent(&master, "web-1.example.com", true).await;
    let _data = agent(&master, "data-1.example.com", true).await;
    let first = host_matches(r"web-[0-9]+\..*");
    let mut stream = constrained(&master, &first).await;
    let offer = stream.skip_to("OFFERS").await["offers"].clone();
    assert_eq!(offer[0]["hostname"], "web-1.example.com");
    assert_eq!(offer.as_array().map(Vec::len), Some(1));
    assert_eq!(shown(&master).await, first);
    // It stays as it was when what it changes to is refused.
    let answer = update(&master, &stream, &host_matches("web-(")).await;
    let text = "'UpdateFramework' call is not valid: Offer constraints are not valid: A role * has an invalid \
                'AttributeConstraint': Failed to construct regex from pattern 'web-(': missing ): web-(";
    assert_eq!((answer.code, answer.body.as_str()), (400, text));
    assert_eq!(shown(&master).await, first);
    let second = host_matches("(?i)DATA-.*");
    let answer = update(&master, &stream, &second).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    let offer = stream.skip_to("OFFERS").await["offers"][0].clone();
    assert_eq!(offer["hostname"], "data-1.example.com");
    assert_eq!(shown(&master).await, second);
    let answer = update(&master, &stream, &json!({})).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert_eq!(shown(&master).await, json!({}));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_a_region_is_there_is_asked_and_other_roles_are_not_the_frameworks() {
    let master = Master::start("memory").await;
    let _placed = agent(&master, "placed", true).await;
    let _nowhere = agent(&master, "nowhere", false).await;
    let region = json!({"pseudoattribute_type": "REGION"});
    for (predicate, host) in [("exists", "placed"), ("not_exists", "nowhere")] {
        let constraints = of_role("*", &region, &json!({predicate: {}}));
        let mut stream = constrained(&master, &constraints).await;
        let offers = stream.skip_to("OFFERS").await["offers"].clone();
        assert_eq!(offers[0]["hostname"], host);
        assert_eq!(offers.as_array().map(Vec::len), Some(1), "{offers}");
        stream.accepted(&master, "TEARDOWN", json!({})).await;
    }
    let foreign = of_role("ads", &region, &json!({"text_equals": {"value": "none"}}));
    let mut stream = constrained(&master, &foreign).await;
    stream.skip_to("OFFERS").await;
    assert_eq!(shown(&master).await, foreign);
    master.stop().await;
}
