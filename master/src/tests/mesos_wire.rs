//! Mesos's v1 scheduler API to the byte, and what its less travelled calls come to: in JSON and in protobuf.

use proffer_proto::mesos::v1::scheduler::{Call, Event};
use proffer_proto::mesos::{read_json, write_json};
use proffer_proto::v1;
use proffer_server::mesos_http::Media;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use v1::to_agent::Message;
use v1::to_master;

use super::mesos::{Answer, PATH, ask, header, send, task};
use super::peers::{Agent, Master, hello, soon};

const BOTH: [Media; 2] = [Media::Json, Media::Protobuf];

/// A framework that speaks one of them.
struct Wire {
    media: Media,
    socket: BufReader<TcpStream>,
    head: String,
    framework: String,
}

fn encoded(media: Media, call: &Value) -> Vec<u8> {
    let text = call.to_string();
    match media {
        Media::Json => text.into_bytes(),
        Media::Protobuf => read_json::<Call>(text.as_bytes())
            .expect("a call")
            .encode_to_vec(),
    }
}

fn typed(media: Media) -> String {
    let name = media.name();
    format!("Content-Type: {name}\r\nAccept: {name}\r\n")
}

fn subscribe(subscribe: &Value) -> Value {
    let mut subscribe = subscribe.clone();
    let info = &mut subscribe["framework_info"];
    info["user"] = json!("");
    info["name"] = json!("wire");
    info["failover_timeout"] = json!(100.0);
    json!({"type": "SUBSCRIBE", "subscribe": subscribe})
}

impl Wire {
    /// Subscribes a framework, and reads SUBSCRIBED and the first HEARTBEAT.
    async fn open(master: &Master, media: Media, given: Value) -> Self {
        let body = encoded(media, &subscribe(&given));
        let request = format!("POST {PATH}");
        let (socket, code, head) = send(master, &request, &typed(media), &body).await;
        assert_eq!(code, 200, "{head}");
        let mut wire = Self {
            media,
            socket,
            head,
            framework: String::new(),
        };
        let subscribed = wire.next().await;
        let id = &subscribed["subscribed"]["framework_id"]["value"];
        id.as_str().expect("an id").clone_into(&mut wire.framework);
        assert_eq!(wire.next().await, json!({"type": "HEARTBEAT"}));
        wire
    }

    /// The bytes of the next chunk, with its length before and its end behind it.
    async fn chunk(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = soon("a chunk", self.socket.read_until(b'\n', &mut bytes)).await;
        assert!(read.expect("read") > 0, "the stream broke off");
        let len = std::str::from_utf8(&bytes).expect("text").trim();
        let len = usize::from_str_radix(len, 16).expect("a length");
        let mut rest = vec![0; len + 2];
        self.socket.read_exact(&mut rest).await.expect("a chunk");
        bytes.extend_from_slice(&rest);
        bytes
    }

    async fn next(&mut self) -> Value {
        let chunk = self.chunk().await;
        let mut lines = chunk.splitn(3, |byte| *byte == b'\n');
        let len = lines.nth(1).expect("a length");
        let len: usize = std::str::from_utf8(len)
            .expect("text")
            .parse()
            .expect("a number");
        let record = lines.next().and_then(|rest| rest.get(..len));
        let record = record.expect("a record");
        match self.media {
            Media::Json => serde_json::from_slice(record).expect("json"),
            Media::Protobuf => {
                let event = Event::decode(record).expect("an event");
                serde_json::from_slice(&write_json(&event)).expect("json")
            }
        }
    }

    /// The next of this kind, whatever comes before it.
    async fn skip_to(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event[kind.to_lowercase()].clone();
            }
        }
    }

    async fn offer(&mut self) -> Value {
        self.skip_to("OFFERS").await["offers"][0].clone()
    }

    fn headers(&self) -> String {
        let id = header(&self.head, "mesos-stream-id").expect("an id");
        format!("{}Mesos-Stream-Id: {id}\r\n", typed(self.media))
    }

    async fn asked(&self, master: &Master, kind: &str, part: Value) -> Answer {
        let call = json!({
            "type": kind,
            "framework_id": {"value": self.framework},
            kind.to_lowercase(): part,
        });
        let body = encoded(self.media, &call);
        ask(master, &format!("POST {PATH}"), &self.headers(), &body).await
    }

    async fn call(&self, master: &Master, kind: &str, part: Value) {
        let answer = self.asked(master, kind, part).await;
        assert_eq!((answer.code, &*answer.body), (202, ""), "{kind}");
    }

    async fn accept(&self, master: &Master, offer: &Value, operation: Value) {
        let accept = json!({
            "offer_ids": [offer["id"]],
            "operations": [operation],
            "filters": {"refuse_seconds": 0.0},
        });
        self.call(master, "ACCEPT", accept).await;
    }

    /// How an operation ended, and what is offered then; in any order.
    async fn operated_and_offered(&mut self) -> (Value, Value) {
        let (mut status, mut offer) = (Value::Null, Value::Null);
        while status.is_null() || offer.is_null() {
            let event = self.next().await;
            if event["type"] == "OFFERS" {
                offer = event["offers"]["offers"][0].clone();
            } else if event["type"] == "UPDATE_OPERATION_STATUS" {
                status = event["update_operation_status"]["status"].clone();
            }
        }
        (status, offer)
    }

    /// How an operation with an id ended.
    async fn operated(&mut self, id: &str) -> Value {
        let status = self.skip_to("UPDATE_OPERATION_STATUS").await["status"].clone();
        assert_eq!(status["operation_id"]["value"], id, "{status}");
        status
    }
}

/// Registers an agent by a name, with so many cpus and a disk.
async fn agent(master: &Master, host: &str, cpus_milli: u64, rack: &str) -> (Agent, String) {
    let mut agent = Agent::connect(master).await;
    let mut said = hello("", vec![]);
    let description = said.description.as_mut().expect("a description");
    host.clone_into(&mut description.host);
    description.attributes = vec![v1::Attribute {
        name: "rack".to_owned(),
        value: rack.to_owned(),
    }];
    let scalar = |name: &str, milli: u64| v1::Scalar {
        name: name.to_owned(),
        milli,
    };
    let resources = description.resources.as_mut().expect("resources");
    resources.scalars = vec![scalar("cpus", cpus_milli), scalar("disk", 1_000_000)];
    agent.say(to_master::Message::Hello(said)).await;
    let Message::Welcome(welcome) = agent.next().await else {
        panic!("a welcome")
    };
    let answer = to_master::Message::Heartbeat(v1::LinkHeartbeat {});
    agent.say(answer).await;
    (agent, welcome.agent_id)
}

/// The names of the headers of an answer, in order of the alphabet.
fn names(head: &str) -> Vec<&str> {
    let lines = head.lines().skip(1);
    let names = lines.filter_map(|line| Some(line.split_once(": ")?.0));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_mesos_headers_and_no_others() {
    let master = Master::start("memory").await;
    for media in BOTH {
        let wire = Wire::open(&master, media, json!({"framework_info": {}})).await;
        let all = [
            "content-type",
            "date",
            "mesos-stream-id",
            "transfer-encoding",
        ];
        assert_eq!(names(&wire.head), all);
        assert!(
            wire.head.starts_with("HTTP/1.1 200 OK\r\n"),
            "{}",
            wire.head
        );
        assert_eq!(header(&wire.head, "content-type"), Some(media.name()));
        let id = header(&wire.head, "mesos-stream-id").expect("an id");
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");

        let request = format!("POST {PATH}");
        let of = |kind: &str| {
            let id = json!({"value": wire.framework});
            encoded(media, &json!({"type": kind, "framework_id": id}))
        };
        let (_, code, head) = send(&master, &request, &wire.headers(), &of("REVIVE")).await;
        assert_eq!((code, names(&head)), (202, vec!["content-length", "date"]));
        assert!(head.starts_with("HTTP/1.1 202 Accepted\r\n"), "{head}");
        assert_eq!(header(&head, "content-length"), Some("0"));
        // Its client need not say what it takes: the answer says nothing.
        let said_nothing = wire.headers().replace("Accept: ", "X-Accept: ");
        let (_, code, _) = send(&master, &request, &said_nothing, &of("REVIVE")).await;
        assert_eq!(code, 202);

        let (_, code, head) = send(&master, &request, &wire.headers(), &of("KILL")).await;
        let all = vec!["content-length", "content-type", "date"];
        assert_eq!((code, names(&head)), (400, all.clone()));
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        let text = header(&head, "content-type");
        assert_eq!(text, Some("text/plain; charset=utf-8"));
        let put = format!("PUT {PATH}");
        let (_, code, head) = send(&master, &put, &wire.headers(), &of("KILL")).await;
        assert_eq!(code, 405);
        assert_eq!(
            names(&head),
            ["allow", "content-length", "content-type", "date"]
        );
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_a_chunk_to_the_byte() {
    let master = Master::start("memory").await;
    for (media, beat) in [
        (Media::Json, &b"17\r\n20\n{\"type\":\"HEARTBEAT\"}\r\n"[..]),
        (Media::Protobuf, &b"4\r\n2\n\x08\x08\r\n"[..]),
    ] {
        let body = encoded(media, &subscribe(&json!({"framework_info": {}})));
        let request = format!("POST {PATH}");
        let (socket, _, head) = send(&master, &request, &typed(media), &body).await;
        let mut wire = Wire {
            media,
            socket,
            head,
            framework: String::new(),
        };
        let subscribed = wire.chunk().await;
        if media == Media::Json {
            let text = String::from_utf8(subscribed).expect("text");
            let begin = r#"{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":""#;
            let record = text.splitn(3, '\n').nth(2).expect("a record");
            assert!(record.starts_with(begin), "{record}");
            let rest = r#"},"heartbeat_interval_seconds":15.0,"master_info":{"id":""#;
            assert!(record.contains(rest), "{record}");
            let rest =
                r#""version":"1.11.0","address":{"hostname":"127.0.0.1","ip":"127.0.0.1","port":"#;
            assert!(record.contains(rest), "{record}");
            assert!(record.contains(r#""ip":16777343,"#), "{record}");
            let end = "\"capabilities\":[{\"type\":\"AGENT_UPDATE\"},{\"type\":\"AGENT_DRAINING\"},{\"type\":\"QUOTA_V2\"}]}}}\r\n";
            assert!(record.ends_with(end), "{record}");
        }
        assert_eq!(wire.chunk().await, beat);
    }
    // What cannot be is told in the same form, and is the end of the stream.
    let body = subscribe(&json!({"framework_info": {"role": "a b"}})).to_string();
    let request = format!("POST {PATH}");
    let answer = ask(&master, &request, &typed(Media::Json), body.as_bytes()).await;
    let error = "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it contains backspace or whitespace";
    let error = format!(r#"{{"type":"ERROR","error":{{"message":"{error}"}}}}"#);
    let record = format!("{}\n{error}", error.len());
    let body = format!("{:X}\r\n{record}\r\n0\r\n\r\n", record.len());
    assert_eq!((answer.code, answer.body), (200, body));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_are_asked_about_stand_as_their_agents_do() {
    let master = Master::start("memory").await;
    let (_agent, agent_id) = agent(&master, "host-1", 4_000, "a").await;
    for media in BOTH {
        let mut wire = Wire::open(&master, media, json!({"framework_info": {}})).await;
        let operation = |id: &str, agent: Option<&str>| {
            let mut asked = json!({"operation_id": {"value": id}});
            if let Some(agent) = agent {
                asked["agent_id"] = json!({"value": agent});
            }
            asked
        };
        let asked = [("a", None), ("b", Some("nosuch")), ("c", Some(&*agent_id))];
        let all: Vec<Value> = asked
            .iter()
            .map(|(id, agent)| operation(id, *agent))
            .collect();
        let part = json!({"operations": all});
        wire.call(&master, "RECONCILE_OPERATIONS", part).await;
        let texts = [
            "Reconciliation: Operation is unknown and no 'agent_id' was provided",
            "Reconciliation: Both operation and agent are unknown",
            "Reconciliation: Operation is unknown",
        ];
        for ((id, agent), text) in asked.into_iter().zip(texts) {
            let mut told = operation(id, agent);
            told["state"] = json!("OPERATION_UNKNOWN");
            told["message"] = json!(text);
            assert_eq!(wire.operated(id).await, told);
        }
        // All that it knows of: none.
        wire.call(&master, "RECONCILE_OPERATIONS", json!({})).await;

        let uuid = "AAAAAAAAAAAAAAAAAAAAAA==";
        let acknowledge = |agent: Value, uuid: &str| {
            let mut part = json!({"uuid": uuid, "operation_id": {"value": "o"}});
            if !agent.is_null() {
                part["agent_id"] = agent;
            }
            part
        };
        let named = json!({"value": agent_id});
        let kind = "ACKNOWLEDGE_OPERATION_STATUS";
        wire.call(&master, kind, acknowledge(named.clone(), uuid))
            .await;
        for (part, text) in [
            (acknowledge(named.clone(), "AAAA"), "Not a valid UUID"),
            (
                acknowledge(Value::Null, uuid),
                "Expecting 'agent_id' to be present",
            ),
        ] {
            let answer = wire.asked(&master, kind, part).await;
            let text = format!("Failed to validate scheduler::Call: {text}");
            assert_eq!((answer.code, answer.body), (400, text));
        }
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framework_lets_its_volumes_grow_and_shrink() {
    let master = Master::start("memory").await;
    for media in BOTH {
        let (agent, _) = agent(&master, "host-1", 4_000, "a").await;
        let capabilities = json!([{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}]);
        let info = json!({"roles": ["eng"], "capabilities": capabilities});
        let mut wire = Wire::open(&master, media, json!({"framework_info": info})).await;
        let disk = |mb: f64| {
            json!({
                "name": "disk", "type": "SCALAR", "scalar": {"value": mb},
                "reservations": [{"type": "DYNAMIC", "role": "eng"}],
            })
        };
        let volume = |mb: f64| {
            let mut volume = disk(mb);
            volume["disk"] = json!({
                "persistence": {"id": "v"},
                "volume": {"mode": "RW", "container_path": "data"},
            });
            volume
        };
        let amount = |mb: f64| json!({"value": mb});
        let subtract = |mb: f64| json!({"volume": volume(80.0), "subtract": amount(mb)});
        let grow = json!({"volume": volume(40.0), "addition": disk(40.0)});
        let reserve = json!({"resources": [disk(100.0)]});
        let mut offer = wire.offer().await;
        for (kind, part, state, size) in [
            ("RESERVE", reserve, "OPERATION_FINISHED", None),
            (
                "CREATE",
                json!({"volumes": [volume(40.0)]}),
                "OPERATION_FINISHED",
                Some(40.0),
            ),
            (
                "GROW_VOLUME",
                grow.clone(),
                "OPERATION_FINISHED",
                Some(80.0),
            ),
            // That much is not left beside it.
            ("GROW_VOLUME", grow, "OPERATION_ERROR", Some(80.0)),
            (
                "SHRINK_VOLUME",
                subtract(500.0),
                "OPERATION_ERROR",
                Some(80.0),
            ),
            (
                "SHRINK_VOLUME",
                subtract(60.0),
                "OPERATION_FINISHED",
                Some(20.0),
            ),
        ] {
            let (id, name) = (json!({"value": kind}), kind.to_lowercase());
            let operation = json!({"type": kind, "id": id, name: part});
            wire.accept(&master, &offer, operation).await;
            let status;
            (status, offer) = wire.operated_and_offered().await;
            assert_eq!(status["state"], state, "{status}");
            let resources = offer["resources"].as_array().expect("resources");
            let made = resources
                .iter()
                .find(|one| one["disk"]["persistence"]["id"] == "v");
            let is = made.map(|volume| volume["scalar"]["value"].as_f64());
            assert_eq!(is.flatten(), size, "{offer}");
        }
        wire.call(&master, "TEARDOWN", json!({})).await;
        drop(agent);
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_framework_says_of_its_offers_when_it_subscribes_is_heard() {
    let group = |constraints: Value| json!({"attribute_constraints": constraints});
    let hostname = json!({"pseudoattribute_type": "HOSTNAME"});
    let equals = |selector: Value, value: &str| json!({"selector": selector, "predicate": {"text_equals": {"value": value}}});
    let of_role = |groups: Value| json!({"role_constraints": {"*": {"groups": groups}}});
    let rack = json!({"attribute_name": "rack"});
    let no_rack = json!({"selector": {"attribute_name": "shelf"}, "predicate": {"not_exists": {}}});
    let quantities = json!({"quantities": {"cpus": {"value": 8.0}}});
    let least = json!({"min_allocatable_resources": {"quantities": [quantities]}});
    let by_host = of_role(json!([group(json!([equals(hostname, "large")]))]));
    let by_rack = of_role(json!([group(json!([equals(rack.clone(), "b"), no_rack]))]));
    let in_bc = json!({"selector": rack, "predicate": {"text_matches": {"regex": "[bc]|d.*"}}});
    let by_pattern = of_role(json!([group(json!([in_bc]))]));
    for given in [
        json!({"framework_info": {}, "offer_constraints": by_host}),
        json!({"framework_info": {}, "offer_constraints": by_rack}),
        json!({"framework_info": {}, "offer_constraints": by_pattern}),
        json!({"framework_info": {"offer_filters": {"*": least}}}),
    ] {
        for media in BOTH {
            let master = Master::start("memory").await;
            let (_small, small) = agent(&master, "small", 4_000, "a").await;
            let (_large, large) = agent(&master, "large", 16_000, "b").await;
            let mut wire = Wire::open(&master, media, given.clone()).await;
            let offers = wire.skip_to("OFFERS").await;
            let all = offers["offers"].as_array().expect("offers");
            let of: Vec<&Value> = all.iter().map(|it| &it["agent_id"]["value"]).collect();
            assert_eq!(of, [large.as_str()], "{given}");
            // Whoever says nothing of it is offered the other.
            let any = json!({"framework_info": {}});
            let offer = Wire::open(&master, media, any).await.offer().await;
            assert_eq!(offer["agent_id"]["value"], small.as_str());
            master.stop().await;
        }
    }
    let master = Master::start("memory").await;
    let matches = json!([{"selector": {"attribute_name": "rack"}, "predicate": {"text_matches": {"regex": "a["}}}]);
    for (constraints, text) in [
        (
            of_role(json!([group(matches)])),
            "Offer constraints are not valid: A role * has an invalid 'AttributeConstraint': Failed to construct regex from pattern 'a[': missing ]: [",
        ),
        (
            of_role(json!([])),
            "Offer constraints are not valid: 'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role *",
        ),
    ] {
        let given = json!({"framework_info": {}, "offer_constraints": constraints});
        let body = encoded(Media::Json, &subscribe(&given));
        let answer = ask(&master, &format!("POST {PATH}"), &typed(Media::Json), &body).await;
        assert_eq!(answer.code, 200);
        let error = format!(r#"{{"type":"ERROR","error":{{"message":"{text}"}}}}"#);
        assert!(answer.body.contains(&error), "{}", answer.body);
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_task_is_being_killed_is_told_to_who_knows_the_state() {
    let master = Master::start("memory").await;
    for media in BOTH {
        for knows in [true, false] {
            let (mut agent, _) = agent(&master, "host-1", 4_000, "a").await;
            let capabilities = match knows {
                true => json!([{"type": "TASK_KILLING_STATE"}]),
                false => json!([]),
            };
            let info = json!({"framework_info": {"capabilities": capabilities}});
            let mut wire = Wire::open(&master, media, info).await;
            let offer = wire.offer().await;
            let launch = json!({"task_infos": [task("t", &offer, 1.0)]});
            let operation = json!({"type": "LAUNCH", "launch": launch});
            wire.accept(&master, &offer, operation).await;
            let Message::Launch(launch) = agent.next().await else {
                panic!("a launch")
            };
            let kill = json!({"task_id": {"value": "t"}, "agent_id": offer["agent_id"]});
            wire.call(&master, "KILL", kill).await;
            while !matches!(agent.next().await, Message::Kill(_)) {}
            let states = [
                v1::TaskState::Running,
                v1::TaskState::Killing,
                v1::TaskState::Killed,
            ];
            for (number, state) in (1..).zip(states) {
                let killed = state == v1::TaskState::Killed;
                let exit = killed.then_some(v1::status::Exit::ExitSignal(9));
                let status = v1::Status {
                    number,
                    reason: v1::Reason::KillRequested.into(),
                    exit,
                    ..super::peers::status("t", launch.incarnation, state)
                };
                agent.report_numbered(&wire.framework, status).await;
            }
            let told: &[&str] = match knows {
                true => &["TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"],
                false => &["TASK_RUNNING", "TASK_KILLED"],
            };
            for state in told {
                let status = wire.skip_to("UPDATE").await["status"].clone();
                assert_eq!(status["state"], *state, "{status}");
                if *state == "TASK_KILLED" {
                    let text = "Command terminated with signal Killed";
                    assert_eq!(status["message"], text, "{status}");
                }
                let part = json!({
                    "agent_id": status["agent_id"],
                    "task_id": status["task_id"],
                    "uuid": status["uuid"],
                });
                wire.call(&master, "ACKNOWLEDGE", part).await;
            }
            wire.call(&master, "TEARDOWN", json!({})).await;
        }
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_may_come_one_behind_the_other_on_one_connection() {
    let master = Master::start("memory").await;
    for media in BOTH {
        let wire = Wire::open(&master, media, json!({"framework_info": {}})).await;
        let one = |kind: &str| {
            let id = json!({"value": wire.framework});
            let body = encoded(media, &json!({"type": kind, "framework_id": id}));
            let head = format!(
                "POST {PATH} HTTP/1.1\r\nHost: {}\r\n{}{}Content-Length: {}\r\n\r\n",
                master.listen(),
                master.authorization(),
                wire.headers(),
                body.len()
            );
            [head.into_bytes(), body].concat()
        };
        let mut socket = TcpStream::connect(master.listen())
            .await
            .expect("connected");
        let all = [one("SUPPRESS"), one("KILL"), one("REVIVE")].concat();
        socket.write_all(&all).await.expect("sent");
        let mut socket = BufReader::new(socket);
        for wanted in ["202 Accepted", "400 Bad Request", "202 Accepted"] {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let read = soon("a head", socket.read_line(&mut head)).await;
                assert!(read.expect("read") > 0, "{head}");
            }
            assert!(
                head.starts_with(&format!("HTTP/1.1 {wanted}\r\n")),
                "{head}"
            );
            let len = header(&head, "content-length").expect("a length");
            let mut body = vec![0; len.parse().expect("a number")];
            soon("a body", socket.read_exact(&mut body))
                .await
                .expect("read");
        }
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_where_the_leader_is_hears_it_without_a_scheme_and_of_no_longer_path() {
    let master = Master::start("memory").await;
    for path in ["/redirect", "/master/redirect"] {
        let answer = ask(&master, &format!("GET {path}"), "", b"").await;
        assert_eq!((answer.code, &*answer.body), (307, ""), "{path}");
        let place = format!("//{}", master.listen());
        assert_eq!(header(&answer.head, "location"), Some(&*place));
        for longer in ["/x", "/x/"] {
            let answer = ask(&master, &format!("GET {path}{longer}"), "", b"").await;
            assert_eq!(answer.code, 404, "{path}{longer}");
        }
    }
    let answer = ask(&master, "GET /logging/toggle", "", b"").await;
    assert_eq!((answer.code, &*answer.body), (200, "0\n"));
    let text = header(&answer.head, "content-type");
    assert_eq!(text, Some("text/plain; charset=utf-8"));
    let (_agent, _) = agent(&master, "host-1", 4_000, "a").await;
    let slaves = ask(&master, "GET /slaves", "", b"").await;
    let slaves: Value = serde_json::from_str(&slaves.body).expect("json");
    assert_eq!(slaves["slaves"][0]["version"], "1.11.0");
    assert_eq!(slaves["slaves"][0]["proffer_version"], "0");
    master.stop().await;
}

/// libmesos opens two connections at once, and is silent on the one for calls until there is something to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_calls_stays_however_long_it_is_silent() {
    let master = Master::start("memory").await;
    let connect = async |address| TcpStream::connect(address).await.expect("connected");
    let mut calls = connect(master.listen()).await;
    let stream = Wire::open(&master, Media::Json, json!({})).await;
    // As long as one of its other listeners keeps such a connection.
    let mut other = connect(master.cluster_listen()).await;
    let mut nothing = Vec::new();
    let ended = soon("an end", other.read_to_end(&mut nothing)).await;
    assert_eq!(ended.expect("read"), 0);
    let call = json!({"type": "SUPPRESS", "framework_id": {"value": stream.framework}});
    let body = call.to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: {}\r\n{}{}Content-Length: {}\r\n\r\n{body}",
        master.listen(),
        master.authorization(),
        stream.headers(),
        body.len()
    );
    for _ in 0..2 {
        calls.write_all(request.as_bytes()).await.expect("sent");
        let mut head = String::new();
        let mut lines = BufReader::new(&mut calls);
        while !head.ends_with("\r\n\r\n") {
            let read = soon("a head", lines.read_line(&mut head)).await;
            assert!(read.expect("read") > 0, "it was closed: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 202 "), "{head}");
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_called_by_its_own_name_and_by_those_that_masters_share() {
    let options = crate::Options {
        listen: Some(super::peers::ANY),
        store: Some("memory".parse().expect("a store")),
        advertise: Some("m1.example:5050".to_owned()),
        host_names: Some(vec!["Leader.mesos".to_owned(), "192.0.2.9".to_owned()]),
        ..crate::Options::default()
    };
    let master = Master::start_with(options).await.expect("a master");
    for (host, code) in [
        ("m1.example:5050", 200),
        ("leader.mesos:5050", 200),
        ("192.0.2.9:5050", 200),
        ("m2.example:5050", 403),
    ] {
        let mut socket = TcpStream::connect(master.listen())
            .await
            .expect("connected");
        let request = format!(
            "GET /state HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}\r\n",
            master.authorization()
        );
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        let read = soon("an answer", socket.read_to_string(&mut answer)).await;
        read.expect("read");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {code} ")),
            "{host}: {answer}"
        );
    }
    master.stop().await;
}
