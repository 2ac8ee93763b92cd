//! Mesos's messages on the wire.

use super::v1::quota::QuotaConfig;
use super::v1::scheduler::{Call, Event, call, event};
use super::v1::{FrameworkId, TaskId, TaskStatus};
use super::{read_json, read_protobuf, write_json};
use prost::Message;

fn refused(text: &str) -> String {
    read_json::<Call>(text.as_bytes()).expect_err(text)
}

#[test]
fn what_is_written_is_what_mesos_writes() {
    let id = FrameworkId {
        value: "é\u{1f600}\"-0000".into(),
    };
    let subscribed = event::Subscribed {
        framework_id: id,
        heartbeat_interval_seconds: Some(15.0),
        master_info: None,
    };
    let event = Event {
        r#type: Some(event::Type::Subscribed.into()),
        subscribed: Some(subscribed),
        ..Event::default()
    };
    let text = String::from_utf8(write_json(&event)).expect("text");
    let expected = concat!(
        r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"\u00e9\ud83d\ude00\"-0000"},"#,
        r#""heartbeat_interval_seconds":15.0}}"#
    );
    assert_eq!(text, expected);
    assert_eq!(read_json::<Event>(text.as_bytes()).expect("reads"), event);
    let heartbeat = Event {
        r#type: Some(event::Type::Heartbeat.into()),
        ..Event::default()
    };
    assert_eq!(write_json(&heartbeat), br#"{"type":"HEARTBEAT"}"#);
}

#[test]
fn bytes_are_base64_and_integers_are_numbers() {
    let status = TaskStatus {
        task_id: TaskId { value: "t".into() },
        state: 1,
        uuid: Some(vec![0xda, 0xcb, 0x1c]),
        timestamp: Some(1e9),
        ..TaskStatus::default()
    };
    let text = String::from_utf8(write_json(&status)).expect("text");
    assert_eq!(
        text,
        r#"{"task_id":{"value":"t"},"state":"TASK_RUNNING","timestamp":1000000000.0,"uuid":"2ssc"}"#
    );
}

#[test]
fn fields_come_in_the_order_of_their_declaration() {
    let text = concat!(
        r#"{"task_id":{"value":"t"},"state":"TASK_FAILED","message":"m","source":"SOURCE_AGENT","#,
        r#""reason":"REASON_EXECUTOR_TERMINATED","data":"AA==","agent_id":{"value":"a"},"executor_id":{"value":"e"},"#,
        r#""timestamp":1.0,"uuid":"AA==","healthy":true,"labels":{"labels":[{"key":"k"},{"key":"l"}]},"#,
        r#""container_status":{"container_id":{"value":"c"},"network_infos":[{"ip_addresses":"#,
        r#"[{"protocol":"IPv4","ip_address":"::1"},{"ip_address":"::2"}],"name":"n"}]},"unreachable_time":{"nanoseconds":1}}"#
    );
    let status = read_json::<TaskStatus>(text.as_bytes()).expect("reads");
    let written = String::from_utf8(write_json(&status)).expect("text");
    assert_eq!(written, text);
}

#[test]
fn what_is_unknown_is_ignored() {
    let call = read_json::<Call>(br#"{"type":"NOSUCH","more":[{}],"accept":null}"#).expect("reads");
    assert_eq!(call, Call::default());
}

#[test]
fn refusals_have_mesos_texts() {
    let text = r#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"name":"a"}}}"#;
    assert_eq!(
        refused(text),
        "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info.user"
    );
    let text = r#"{"accept":{"operations":[{"launch":{"task_infos":[{"name":"t"}]}}]}}"#;
    assert_eq!(
        refused(text),
        "Failed to convert JSON into Call protobuf: Missing required fields: \
         accept.operations[0].launch.task_infos[0].task_id, accept.operations[0].launch.task_infos[0].agent_id"
    );
    assert_eq!(
        refused("{nope"),
        "Failed to parse body into JSON: syntax error at line 1 near: nope"
    );
    assert_eq!(
        refused("{} {}"),
        "Failed to parse body into JSON: Parsed JSON included non-whitespace trailing characters:  {}"
    );
    for (body, text) in [
        ("[]", "Expecting a JSON object"),
        (
            r#"{"type":{}}"#,
            "Not expecting a JSON object for field 'type'",
        ),
        (
            r#"{"framework_id":5}"#,
            "Not expecting a JSON number for field 'framework_id'",
        ),
        (
            r#"{"kill":"t"}"#,
            "Not expecting a JSON string for field 'kill'",
        ),
        (
            r#"{"framework_id":{"value":["f"]}}"#,
            "Not expecting a JSON array for field 'value'",
        ),
        (
            r#"{"framework_id":{"value":true}}"#,
            "Not expecting a JSON boolean for field 'value'",
        ),
        (
            r#"{"acknowledge":{"uuid":"%"}}"#,
            "Failed to base64 decode bytes field 'uuid': Invalid character '%'",
        ),
        (
            r#"{"decline":{"filters":{"refuse_seconds":"soon"}}}"#,
            "Failed to parse 'soon' as a JSON number for field 'refuse_seconds': \
             syntax error at line 1 near: soon",
        ),
        (
            r#"{"subscribe":{"framework_info":{"checkpoint":"1"}}}"#,
            "Failed to parse '1' as a JSON boolean for field 'checkpoint': Unexpected JSON type parsed",
        ),
        (
            r#"{"accept":{"operations":[{"launch":{"task_infos":[{"resources":[{"name":"n","type":"X"}]}]}}]}}"#,
            "Failed to find enum for 'X'",
        ),
    ] {
        let text = format!("Failed to convert JSON into Call protobuf: {text}");
        assert_eq!(refused(body), text, "{body}");
    }
    let deep = "[".repeat(10_000);
    assert!(refused(&format!(r#"{{"x":{deep}"#)).starts_with("Failed to parse body"));
}

#[test]
fn what_mesos_takes_in_another_form_is_taken() {
    let read = |text: &str| read_json::<Call>(text.as_bytes()).expect(text);
    let grace = |number: &str| {
        let text = r#"{"kill":{"task_id":{"value":"t"},"kill_policy":{"grace_period":{"nanoseconds":N}}}}"#;
        let kill = read(&text.replace('N', number)).kill.expect("a kill");
        let policy = kill.kill_policy.expect("a policy");
        policy.grace_period.expect("a period").nanoseconds
    };
    for (number, nanoseconds) in [
        ("5000000000.0", 5_000_000_000),
        ("5e9", 5_000_000_000),
        ("1.9", 1),
        ("-1.9", -1),
        (r#""7""#, 7),
        (r#""7.5""#, 7),
    ] {
        assert_eq!(grace(number), nanoseconds, "{number}");
    }
    let filters = |seconds: &str| {
        let call = read(&format!(
            r#"{{"decline":{{"offer_ids":{{"value":"o"}},"filters":{{"refuse_seconds":{seconds}}}}}}}"#
        ));
        let decline = call.decline.expect("a decline");
        assert_eq!(decline.offer_ids[0].value, "o", "one is a list of one");
        decline.filters.expect("filters").refuse_seconds
    };
    assert_eq!(filters("\"0.5\""), Some(0.5));
    assert_eq!(filters("\"Infinity\""), Some(f64::INFINITY));
    assert_eq!(filters("null"), None);
    let data = |text: &str| {
        let text = format!(
            r#"{{"message":{{"agent_id":{{"value":"a"}},"executor_id":{{"value":"e"}},"data":"{text}"}}}}"#
        );
        read(&text).message.expect("a message").data
    };
    for text in ["aGVsbG8=", "aGVsbG8", "aGVs bG8=\\n", "aGVsbG9="] {
        assert_eq!(data(text), b"hello", "{text}");
    }
    let twice = read(r#"{"type":"REVIVE","type":"TEARDOWN","more":{"type":"KILL"}}"#);
    assert_eq!(twice.r#type(), call::Type::Teardown);
}

#[test]
fn protobuf_bodies_need_their_required_fields_too() {
    let kill = call::Kill {
        task_id: TaskId { value: "t".into() },
        ..call::Kill::default()
    };
    let call = Call {
        r#type: Some(call::Type::Kill.into()),
        kill: Some(kill),
        ..Call::default()
    };
    let body = call.encode_to_vec();
    assert_eq!(read_protobuf::<Call>(&body).expect("reads"), call);
    // A KILL with an empty message in the place of the task's id.
    let empty = [0x08, 0x06, 0x32, 0x02, 0x0a, 0x00];
    for bad in [&body[..body.len() - 1], &empty, b"\xff"] {
        assert_eq!(
            read_protobuf::<Call>(bad).expect_err("refused"),
            "Failed to parse body into Call protobuf"
        );
    }
}

#[test]
fn an_amount_of_nothing_is_said() {
    let config = r#"{"role":"r","limits":{"cpus":{"value":0.0},"mem":{"value":2.5}}}"#;
    let read = read_json::<QuotaConfig>(config.as_bytes()).expect("reads");
    let again = read_protobuf::<QuotaConfig>(&read.encode_to_vec()).expect("reads");
    assert_eq!(again, read);
    let text = String::from_utf8(write_json(&again)).expect("text");
    assert!(text.contains(r#""cpus":{"value":0.0}"#), "{text}");
    assert!(text.contains(r#""mem":{"value":2.5}"#), "{text}");
}

/// Whatever way is taken, the same comes of it.
#[test]
fn the_straight_ways_and_the_slow_one_read_and_write_the_same() {
    let table = [
        r#"{"type":"HEARTBEAT"}"#,
        r#"{"type":"UPDATE","update":{"status":{"task_id":{"value":"a \"b\" é\u0001"},"state":"TASK_RUNNING","source":"SOURCE_EXECUTOR",
        "agent_id":{"value":"s"},"timestamp":1.7e9,"uuid":"2sqcQqZtS4q7kzFe/eNxhw==","healthy":false,"labels":{"labels":[{"key":"k"},
        {"key":"l","value":""}]},"container_status":{"network_infos":[{"ip_addresses":[{"protocol":"IPv4","ip_address":"127.0.0.1"}]},{}],
        "executor_pid":7,"container_id":{"value":"c","parent":{"value":"p"}}}}}}"#,
        r#"{"type":"OFFERS","offers":{"offers":[{"id":{"value":"o"},"framework_id":{"value":"f"},"agent_id":{"value":"s"},"hostname":"h",
        "url":{"scheme":"http","address":{"hostname":"h","ip":"127.0.0.1","port":5051},"path":"/slave(1)"},
        "resources":[{"name":"ports","type":"RANGES","ranges":{"range":[{"begin":31000,"end":18446744073709551615},{"begin":1,"end":2}]}},
        {"name":"cpus","type":"SCALAR","scalar":{"value":0.1},"role":"*","reservations":[{"type":"DYNAMIC","role":"r"}]}],
        "attributes":[],"executor_ids":[{"value":"e"}]}]}}"#,
        r#"{"type":"FAILURE","failure":{"agentId":{"value":"s"},"status":-1}}"#,
        r#"{"type":"MESSAGE","message":{"agent_id":{"value":"s"},"executor_id":{"value":"e"},"data":""}}"#,
        r#"{"more":[{"a":[null]}],"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"f"},"heartbeat_interval_seconds":15,
        "master_info":{"id":"m","ip":16777343,"port":5050,"capabilities":[{"type":"AGENT_UPDATE"},{}]}}}"#,
    ];
    for text in table {
        let usual = super::json::read_usual::<Event>(text.as_bytes());
        let any = super::json::read_any::<Event>(text.as_bytes()).expect(text);
        assert!(
            usual.is_some() || text.contains("-1"),
            "the straight way does not lead through {text}"
        );
        assert_eq!(read_json::<Event>(text.as_bytes()).as_ref(), Ok(&any));
        assert!(usual.is_none_or(|usual| usual == any), "{text}");
        let (written, slowly) = (write_json(&any), super::json::write_any(&any));
        // Only the straight way knows the order of declaration.
        let value = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).expect("json");
        assert_eq!(value(&written), value(&slowly));
        let body = any.encode_to_vec();
        assert_eq!(read_protobuf::<Event>(&body).as_ref(), Ok(&any));
    }
}

#[test]
fn what_is_not_usual_is_read_the_slow_way() {
    let table = [
        r#"{"type":null}"#,
        r#"{"type":"HEARTBEAT","type":"ERROR"}"#,
        r#"{"type":"NOSUCH"}"#,
        r#"{"type":8}"#,
        r#"{"failure":{"status":"12"}}"#,
        r#"{"failure":{"status":1.0}}"#,
        r#"{"message":{"agent_id":{"value":"s"},"executor_id":{"value":"e"},"data":"_-8"}}"#,
        r#"{"subscribed":{"framework_id":{"value":"f"},"heartbeat_interval_seconds":"NaN"}}"#,
    ];
    for text in table {
        let usual = super::json::read_usual::<Event>(text.as_bytes());
        assert_eq!(usual, None, "{text}");
        read_json::<Event>(text.as_bytes()).expect(text);
    }
    for text in [
        r#"{"update":{}}"#,
        r#"{"update":[]}"#,
        r#"{"offers":{"offers":{}}}"#,
        "[]",
        "{} x",
    ] {
        let usual = super::json::read_usual::<Event>(text.as_bytes());
        assert_eq!(usual, None, "{text}");
        read_json::<Event>(text.as_bytes()).expect_err(text);
    }
}

#[test]
fn an_attribute_comes_as_often_as_it_has_values() {
    let attributes = "rack:b;net:2;rack:a;ports:[1-5]"
        .parse()
        .expect("attributes");
    let all = super::encode_attributes(&attributes);
    let said: Vec<String> = all
        .iter()
        .map(|one| {
            let text = one.text.as_ref().map(|text| text.value.clone());
            let scalar = one.scalar.as_ref().map(|scalar| scalar.value.to_string());
            let value = text.or(scalar).unwrap_or_else(|| "ranges".to_owned());
            format!("{}={value}", one.name)
        })
        .collect();
    assert_eq!(said, ["net=2", "ports=ranges", "rack=a", "rack=b"]);
}
