//! Bodies that Mesos's clients send and nobody can read: the same answer whatever way they come.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::mesos::{JSON, ask};
use super::peers::{Master, soon};

/// The answer to a request whose body is these pieces.
async fn sent(master: &Master, path: &str, headers: &str, pieces: Vec<Vec<u8>>) -> String {
    let socket = TcpStream::connect(master.listen()).await;
    let (mut reads, mut writes) = socket.expect("connected").into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\n{}Connection: close\r\nContent-Type: application/json\r\n{headers}\r\n\r\n",
        master.listen(),
        master.authorization()
    );
    writes.write_all(head.as_bytes()).await.expect("sent");
    for piece in pieces {
        // As many clients do it, which read no answer before.
        let written = soon("a piece", writes.write_all(&piece)).await;
        written.expect("taken to its end");
    }
    let mut answer = String::new();
    let read = soon("an answer", reads.read_to_string(&mut answer)).await;
    read.expect("read");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_in_one_form() {
    let master = Master::start("memory").await;
    let megabyte = vec![b' '; 1024 * 1024];
    let chunk = [b"100000\r\n", megabyte.as_slice(), b"\r\n"].concat();
    let mut chunks = vec![chunk; 8];
    chunks.push(b"1\r\n \r\n0\r\n\r\n".to_vec());
    let chunked = "Transfer-Encoding: chunked";
    for path in ["/api/v1/scheduler", "/api/v1"] {
        for (headers, pieces) in [
            (
                "Content-Length: 8388609\r\nExpect: 100-continue",
                Vec::new(),
            ),
            ("Content-Length: 10485760", vec![megabyte.clone(); 10]),
            (chunked, chunks.clone()),
        ] {
            let answer = sent(&master, path, headers, pieces).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
            assert!(answer.contains("text/plain"), "{path}: {answer}");
            let text = "\r\n\r\nthe body is larger than 8388608 bytes";
            assert!(answer.ends_with(text), "{path}: {answer}");
        }
    }
    let form = vec![b'a'; 64 * 1024 + 1];
    let answer = sent(&master, "/teardown", "Content-Length: 65537", vec![form]).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let text = "\r\n\r\nthe body is larger than 65536 bytes";
    assert!(answer.ends_with(text), "{answer}");
    master.stop().await;
}

/// The answer to a body of which so much comes at once, and then a byte at this pace, in a chunk each.
async fn trickled(master: &Master, path: &str, first: usize, pace: Duration) -> String {
    let socket = TcpStream::connect(master.listen()).await;
    let (mut reads, mut writes) = socket.expect("connected").into_split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\n{}{JSON}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        master.listen(),
        master.authorization()
    );
    let writing = tokio::spawn(async move {
        let begun = format!("{head}{first:x}\r\n{}\r\n", " ".repeat(first));
        writes.write_all(begun.as_bytes()).await.expect("sent");
        let mut beat = interval(pace);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if writes.write_all(b"1\r\n \r\n").await.is_err() {
                break;
            }
        }
    });
    let mut answer = Vec::new();
    // What is written on after the answer may break the connection off, behind the answer.
    let _ = soon("an answer", reads.read_to_end(&mut answer)).await;
    writing.abort();
    String::from_utf8(answer).expect("text")
}

/// The answer to a message of libprocess's, which comes without a token.
async fn messaged(master: &Master, path: &str, host: &str) -> String {
    let mut socket = TcpStream::connect(master.listen())
        .await
        .expect("connected");
    // As libprocess's MessageEncoder writes one (3rdparty/libprocess/src/encoder.hpp), but for the connection; Host is empty in
    // older versions.
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: libprocess/scheduler-1@127.0.0.1:1\r\n\
         Libprocess-From: scheduler-1@127.0.0.1:1\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    let read = soon("an answer", socket.read_to_string(&mut answer)).await;
    read.expect("read");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn what_speaks_libprocess_is_told_which_api_there_is() {
    let master = Master::start("memory").await;
    for name in ["internal.RegisterFrameworkMessage", "scheduler.Call"] {
        let path = format!("/master/mesos.{name}");
        for host in [&*master.listen().to_string(), ""] {
            let answer = messaged(&master, &path, host).await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
            assert!(answer.contains(&format!("{path} is a message")), "{answer}");
            assert!(answer.contains("docs/coming-from-mesos.md"), "{answer}");
        }
    }
    for (host, status) in [("localhost", "401"), ("", "403")] {
        let other = messaged(&master, "/master/mesos.internal.Nothing", host).await;
        assert!(other.starts_with(&format!("HTTP/1.1 {status} ")), "{other}");
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_that_comes_byte_by_byte_is_refused() {
    let master = Master::start("memory").await;
    let pace = Duration::from_millis(20);
    for path in ["/api/v1/scheduler", "/api/v1"] {
        let answer = trickled(&master, path, 64 * 1024 + 1, pace).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{path}: {answer}");
        let text = "\r\n\r\nThe body arrives at less than 65536 bytes a second";
        assert!(answer.contains(text), "{path}: {answer}");
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_no_calls() {
    let master = Master::start("memory").await;
    let whole = br#"20
{"type":"HEARTBEAT"}"#;
    let torn = br#"200
{"type":"HEARTBEAT"}"#;
    for path in ["/api/v1/scheduler", "/api/v1"] {
        let request = format!("POST {path}");
        for body in [whole.as_slice(), torn] {
            let records = "Content-Type: application/recordio\r\n";
            let answer = ask(&master, &request, records, body).await;
            let text = "Expecting 'Content-Type' of application/json or application/x-protobuf";
            assert_eq!((answer.code, answer.body.as_str()), (415, text), "{path}");
            let answer = ask(&master, &request, JSON, body).await;
            assert_eq!(answer.code, 400, "{path}");
            let text = "Failed to parse body into JSON: ";
            assert!(answer.body.starts_with(text), "{path}: {}", answer.body);
        }
    }
    master.stop().await;
}

/// The most memory that this process has had so far, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.and_then(|text| text.trim().strip_suffix(" kB"));
    most.and_then(|text| text.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn many_large_bodies_at_once_take_a_bounded_amount_of_memory() {
    const BODIES: usize = 20;
    const LEN: usize = 512 * 1024;
    let master = Arc::new(Master::start("memory").await);
    // Three bytes become an operation of two hundred; ten, with what makes the body unusual, a tree of nine hundred.
    let usual = format!("[{}{{}}]", "{},".repeat(LEN / 3));
    let unusual = format!(
        r#"[{}{{}}],"filters":null"#,
        r#"{"type":1},"#.repeat(LEN / 11)
    );
    let before = most_memory();
    for operations in [usual, unusual] {
        let body = format!(r#"{{"accept":{{"operations":{operations}}}}}"#);
        let body = Arc::new(body.into_bytes());
        let mut asked = JoinSet::new();
        for _ in 0..BODIES {
            let (master, body) = (Arc::clone(&master), Arc::clone(&body));
            asked.spawn(async move { ask(&master, "POST /api/v1/scheduler", JSON, &body).await });
        }
        while let Some(answer) = asked.join_next().await {
            let answer = answer.expect("no panic");
            let text = "Failed to validate scheduler::Call: Expecting 'type' to be present";
            assert_eq!((answer.code, answer.body.as_str()), (400, text));
        }
    }
    let grown = most_memory() - before;
    assert!(grown < 300 * 1024 * 1024, "grown by {grown} bytes");
    let master = Arc::into_inner(master).expect("nobody asks any more");
    master.stop().await;
}
