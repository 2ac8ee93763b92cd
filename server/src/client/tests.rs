//! The client against real servers: ours, and sockets that misbehave.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body as ResponseBody;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use proffer_model::Secret;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::auth::Guard;
use crate::http::{Body, serve};
use crate::sse;

/// Far longer than anything here takes; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn token() -> LocalToken {
    LocalToken::new(Secret::new("5a".repeat(32)))
}

fn client() -> HttpClient {
    HttpClient::new().token(&token())
}

/// A server for as long as the token is kept.
async fn server() -> (String, tokio_util::sync::DropGuard) {
    let listener = crate::listen::bind("127.0.0.1:0".parse().unwrap(), "listen").expect("bound");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let shutdown = CancellationToken::new();
    let router = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |Body(bytes): Body| bytes))
        .route(
            "/stuck",
            get(async || std::future::pending::<String>().await),
        )
        .route("/events", get(events));
    tokio::spawn(serve(
        listener,
        router,
        Guard::new(token(), false),
        shutdown.clone(),
    ));
    (url, shutdown.drop_guard())
}

/// Two events in three pieces, then silence.
async fn events() -> Response {
    let pieces = ["event: add\nda", "ta: 1\n\ndata: 2\n", "\n"].map(Ok::<_, Infallible>);
    let body = ResponseBody::from_stream(stream::iter(pieces).chain(stream::pending()));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

#[tokio::test]
async fn answers_come_with_status_and_body_whatever_they_are() {
    let (url, _server) = server().await;
    let answer = client()
        .get(&format!("{url}/hello"))
        .await
        .expect("an answer");
    assert_eq!(
        (answer.status, answer.body.as_ref()),
        (StatusCode::OK, b"hello".as_ref())
    );
    let body = Bytes::from_static(b"{\"id\": \"/web\"}");
    let answer = client()
        .request(Method::POST, &format!("{url}/echo"), Some(body.clone()))
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.body), (StatusCode::OK, body));
    let answer = HttpClient::new()
        .get(&format!("{url}/hello"))
        .await
        .expect("an answer");
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let problem = problem_of(&answer.body).expect("a problem");
    assert!(problem.is(code::AUTH_MISSING) && !problem.hint.is_empty());
}

#[tokio::test]
async fn events_are_streamed_and_silence_is_an_error() {
    let (url, _server) = server().await;
    let url = format!("{url}/events");
    let patient = client().stream_idle_timeout(Duration::from_secs(60));
    let mut stream = patient
        .stream(&url, "text/event-stream")
        .await
        .expect("a stream");
    let (mut parser, mut events) = (sse::Parser::new(), Vec::new());
    while events.len() < 2 {
        let piece = timeout(PATIENCE, stream.next()).await.expect("in time");
        let piece = piece.expect("not ended").expect("a piece");
        events.extend(parser.push(&piece).expect("short"));
    }
    assert_eq!(
        (events[0].name.as_str(), events[0].data.as_str()),
        ("add", "1")
    );
    assert_eq!(
        (events[1].name.as_str(), events[1].data.as_str()),
        ("message", "2")
    );

    let hasty = client().stream_idle_timeout(Duration::from_millis(100));
    let silent = hasty
        .stream(&url, "text/event-stream")
        .await
        .expect("a stream");
    let items: Vec<_> = timeout(PATIENCE, silent.collect())
        .await
        .expect("it gives up");
    let problem = items
        .last()
        .expect("some")
        .as_ref()
        .expect_err("it was silent");
    assert!(
        problem.is(code::PEER_UNREACHABLE) && problem.message.contains("silent"),
        "{problem}"
    );

    let problem = HttpClient::new()
        .stream(&url, "text/event-stream")
        .await
        .expect_err("no token");
    assert!(
        problem.is(code::AUTH_MISSING),
        "what the server told: {problem}"
    );
}

#[tokio::test]
async fn what_does_not_answer_as_it_should_is_a_problem() {
    let (url, _server) = server().await;
    let hasty = client().request_timeout(Duration::from_millis(100));
    let problem = hasty
        .get(&format!("{url}/stuck"))
        .await
        .expect_err("no answer");
    assert!(
        problem.is(code::PEER_UNREACHABLE) && problem.message.contains("in time"),
        "{problem}"
    );
    let problem = client()
        .answer_len_max(3)
        .get(&format!("{url}/hello"))
        .await
        .expect_err("too large");
    assert!(problem.is(code::BODY_TOO_LARGE), "{problem}");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let addr = listener.local_addr().expect("bound");
    let garbage = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        stream
            .write_all(b"\x00\xffgarbage\r\n\r\n")
            .await
            .expect("sent");
    };
    let url = format!("http://{addr}/");
    let client = client();
    let (answer, ()) = tokio::join!(client.get(&url), garbage);
    assert!(answer.expect_err("garbage").is(code::PEER_UNREACHABLE));
    drop(listener);
    let problem = client.get(&url).await.expect_err("nothing listens");
    assert!(
        problem.is(code::PEER_UNREACHABLE) && problem.message.contains(&addr.to_string()),
        "{problem}"
    );
    assert!(!problem.to_string().contains(token().secret().expose()));
}

#[tokio::test]
async fn nothing_is_sent_beyond_this_host_unless_it_is_allowed() {
    for url in [
        "http://192.0.2.1:5050/",
        "http://master.example/",
        "http://localhost.example/",
        "https://localhost/",
        "ftp://localhost/",
        "localhost:5050",
        "/v2/apps",
        "",
        "http://[::1/",
    ] {
        let problem = client().get(url).await.expect_err(url);
        assert!(problem.is(code::CONFIG_INVALID), "{url}: {problem}");
    }
    for url in [
        "http://localhost:1/",
        "http://127.3.2.1:1/",
        "http://[::1]:1/",
    ] {
        client().check(url).expect(url);
    }
    client()
        .insecure_allow_plaintext(true)
        .check("http://192.0.2.1:5050/")
        .expect("allowed");
}
