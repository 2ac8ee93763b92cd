//! Connections to an agent by which nothing is said for long.

use std::net::SocketAddr;

use proffer_model::Secret;
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::http::serve;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, PATIENCE};

/// Waits as long as a listener that is not for Mesos's clients keeps a silent connection.
async fn as_long_as_others_wait() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let listener = proffer_server::listen::bind(any, "listen").unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(LocalToken::new(Secret::new("5a".repeat(32))), false);
    let ended = CancellationToken::new();
    let _ended = ended.clone().drop_guard();
    tokio::spawn(serve(listener, axum::Router::new(), guard, ended));
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let read = timeout(PATIENCE, silent.read_to_end(&mut nothing)).await;
    assert_eq!(read.unwrap().unwrap(), 0);
}

/// libmesos's executors open two connections at once, and are silent on the one for calls until there is something to say.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_for_calls_stays_however_long_it_is_silent() {
    let bench = Bench::started().await;
    let mut calls = TcpStream::connect(bench.listen()).await.unwrap();
    as_long_as_others_wait().await;
    let heartbeat =
        r#"{"type": "HEARTBEAT", "framework_id": {"value": ""}, "executor_id": {"value": ""}}"#;
    let request = format!(
        "POST /slave(1)/api/v1/executor/ HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{heartbeat}",
        bench.listen(),
        heartbeat.len()
    );
    for _ in 0..2 {
        calls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let read = timeout(PATIENCE, calls.read_buf(&mut answer)).await;
            assert!(read.unwrap().unwrap() > 0, "it was closed");
        }
        assert!(answer.starts_with(b"HTTP/1.1 202 "));
    }
}
