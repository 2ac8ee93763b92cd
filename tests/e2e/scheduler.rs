//! A framework that speaks Mesos's v1 scheduler API by itself, byte by byte, so that no library stands between a test and what
//! is said. It acknowledges what is to be acknowledged, and remembers the offers that stand.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use proffer_proto::mesos::v1::scheduler::Event;
use serde_json::{Value, json};

use crate::harness::{Cluster, PATIENCE};

/// A framework that is subscribed. It is gone with its connection, after its failover timeout.
pub(crate) struct Scheduler {
    port: u16,
    token: String,
    stream_id: String,
    pub(crate) framework: String,
    events: Receiver<Value>,
    /// What came while something else was waited for.
    pub(crate) heard: Vec<Value>,
}

/// The head of an answer: its code, and its headers in lower case.
pub(crate) fn head(socket: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(socket.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.expect("a code"), head.to_lowercase())
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(key, value)| (key == name).then_some(value))
}

/// Sends a call to the master at this port.
pub(crate) fn post(port: u16, token: &str, headers: &str, body: &Value) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let body = body.to_string();
    let head = format!(
        "POST /api/v1/scheduler HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("sent");
    socket.write_all(body.as_bytes()).expect("sent");
    BufReader::new(socket)
}

impl Scheduler {
    /// Subscribes at the master of this place; `more` is of its FrameworkInfo.
    pub(crate) fn subscribe(cluster: &Cluster, place: u16, more: &Value) -> Self {
        Self::subscribe_in("application/json", cluster, place, more)
    }

    /// The same, with its events in this media type.
    pub(crate) fn subscribe_in(
        media: &'static str,
        cluster: &Cluster,
        place: u16,
        more: &Value,
    ) -> Self {
        let token = std::fs::read_to_string(cluster.path("token")).expect("a token");
        let token = token.trim().to_owned();
        let mut info = json!({"user": "root", "name": "raw", "failover_timeout": 600.0,
            "capabilities": [{"type": "RESERVATION_REFINEMENT"}, {"type": "PARTITION_AWARE"}, {"type": "MULTI_ROLE"}]});
        let all = info.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        let mut call = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}});
        if let Some(id) = more.get("id") {
            call["framework_id"] = id.clone();
        }
        let port = cluster.port(place);
        let mut socket = post(port, &token, &format!("Accept: {media}\r\n"), &call);
        let (code, head) = head(&mut socket);
        assert_eq!(code, 200, "{head}");
        let stream_id = header(&head, "mesos-stream-id").expect("an id").to_owned();
        // Events come when they come: the last of them is told by the end of the connection.
        socket.get_ref().set_read_timeout(None).expect("no timeout");
        let (say, events) = channel();
        thread::spawn(move || {
            while read(&mut socket, media).is_some_and(|event| say.send(event).is_ok()) {}
        });
        let mut scheduler = Self {
            port,
            token,
            stream_id,
            framework: String::new(),
            events,
            heard: Vec::new(),
        };
        let subscribed = scheduler.event("SUBSCRIBED", |_| true);
        let id = &subscribed["framework_id"]["value"];
        scheduler.framework = id.as_str().expect("an id").to_owned();
        scheduler
    }

    /// The first event of this kind of which this is so, also of those that came before.
    pub(crate) fn event(&mut self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let part = kind.to_lowercase();
        let found = |event: &Value| event["type"] == kind && is_it(&event[&part]);
        if let Some(at) = self.heard.iter().position(&found) {
            return self.heard.remove(at)[&part].take();
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            let mut event = event.unwrap_or_else(|_| panic!("no {kind} after {:#?}", self.heard));
            self.acknowledge(&event);
            if found(&event) {
                return event[&part].take();
            }
            self.heard.push(event);
        }
    }

    fn acknowledge(&self, event: &Value) {
        let status = &event["update"]["status"];
        if !status["uuid"].is_null() {
            let part = json!({"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]});
            self.call("ACKNOWLEDGE", &part);
        }
    }

    /// An offer that nothing else has been done with.
    pub(crate) fn offer(&mut self) -> Value {
        loop {
            let mut offers = self.event("OFFERS", |_| true)["offers"].take();
            let offers = offers.as_array_mut().expect("offers");
            let mut standing = offers.drain(..).filter(|offer| !self.is_rescinded(offer));
            if let Some(offer) = standing.next() {
                return offer;
            }
        }
    }

    fn is_rescinded(&self, offer: &Value) -> bool {
        let mut rescinds = self.heard.iter().filter(|event| event["type"] == "RESCIND");
        rescinds.any(|event| event["rescind"]["offer_id"] == offer["id"])
    }

    pub(crate) fn call(&self, kind: &str, part: &Value) {
        let call = json!({
            "type": kind,
            "framework_id": {"value": self.framework},
            kind.to_lowercase(): part,
        });
        let headers = format!(
            "Connection: close\r\nMesos-Stream-Id: {}\r\n",
            self.stream_id
        );
        let mut socket = post(self.port, &self.token, &headers, &call);
        let (code, head) = head(&mut socket);
        let mut body = String::new();
        socket.read_to_string(&mut body).expect("a body");
        assert_eq!(code, 202, "{kind}: {head}{body}");
    }

    /// Accepts an offer; what is left over comes again at once.
    pub(crate) fn accept(&self, offer: &Value, operations: &[Value]) {
        let part = json!({"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0.0}});
        self.call("ACCEPT", &part);
    }

    pub(crate) fn launch(&self, offer: &Value, task: &Value) {
        let mut task = task.clone();
        task["agent_id"] = offer["agent_id"].clone();
        self.accept(
            offer,
            &[json!({"type": "LAUNCH", "launch": {"task_infos": [task]}})],
        );
    }

    /// The status by which a task has come to this state, or another that is the end of it.
    pub(crate) fn status(&mut self, task: &str, state: &str) -> Value {
        let ends = [
            "FINISHED", "FAILED", "KILLED", "ERROR", "LOST", "DROPPED", "GONE",
        ];
        let is_it = |update: &Value| {
            let status = &update["status"];
            let said = status["state"].as_str().unwrap_or_default();
            status["task_id"]["value"] == task
                && (said == state || ends.iter().any(|end| said.ends_with(end)))
        };
        let status = self.event("UPDATE", is_it)["status"].take();
        assert_eq!(status["state"], state, "{status:#}");
        status
    }
}

/// The next event, each a record in a chunk of its own; none when the stream has ended.
fn read(socket: &mut BufReader<TcpStream>, media: &str) -> Option<Value> {
    let mut len = String::new();
    socket.read_line(&mut len).ok().filter(|read| *read > 0)?;
    let len = usize::from_str_radix(len.trim(), 16).expect("a length");
    let mut chunk = vec![0; len + 2];
    socket.read_exact(&mut chunk).ok()?;
    chunk.truncate(len);
    let end = chunk.iter().position(|byte| *byte == b'\n')?;
    let (len, record) = (&chunk[..end], &chunk[end + 1..]);
    let len = std::str::from_utf8(len).expect("a length");
    assert_eq!(len.parse(), Ok(record.len()), "one record a chunk");
    if media == "application/json" {
        return Some(serde_json::from_slice(record).expect("json"));
    }
    let event: Result<Event, String> = proffer_proto::mesos::read_protobuf(record);
    let event = event.expect("protobuf");
    let json = proffer_proto::mesos::write_json(&event);
    Some(serde_json::from_slice(&json).expect("json"))
}

pub(crate) fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

/// A task that runs a line.
pub(crate) fn task(id: &str, line: &str) -> Value {
    json!({
        "name": id,
        "task_id": {"value": id},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)],
        "command": {"value": line},
    })
}
