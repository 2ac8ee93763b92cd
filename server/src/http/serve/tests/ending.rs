//! How serving ends.

use super::*;

#[tokio::test]
async fn both_protocols_share_the_port_and_streams_end_when_shutdown_begins() {
    // With a grace this long, the test passes only if streams are ended and not waited for.
    let limits = Limits {
        shutdown_grace: 2 * PATIENCE,
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let mut client = server.grpc().await;
    let mut logs = client
        .logs(with_token(LogsRequest::default()))
        .await
        .expect("served")
        .into_inner();
    logs.message().await.expect("a chunk").expect("a chunk");

    let mut events = TcpStream::connect(server.addr).await.expect("connected");
    let request = format!(
        "GET /events HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        bearer()
    );
    events.write_all(request.as_bytes()).await.expect("sent");
    read_until(&mut events, "data: a").await;

    let mut slow = TcpStream::connect(server.addr).await.expect("connected");
    slow.write_all(request.replace("/events", "/slow").as_bytes())
        .await
        .expect("sent");
    read_until(&mut slow, "first").await;

    server.shutdown.cancel();
    let status = timeout(PATIENCE, logs.message())
        .await
        .expect("in time")
        .expect_err("it ends");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(
        proffer_proto::problem_of(&status).is(code::PEER_UNREACHABLE),
        "{status:?}"
    );
    let rest = read_to_end(&mut events).await;
    assert!(
        rest.ends_with("0\r\n\r\n"),
        "the stream ends as it should: {rest:?}"
    );
    let rest = read_to_end(&mut slow).await;
    assert!(
        rest.contains("second"),
        "what is in flight is finished: {rest:?}"
    );
    let addr = server.addr;
    server.end().await;
    TcpStream::connect(addr)
        .await
        .expect_err("the port is free");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_grace_is_over() {
    let limits = Limits {
        shutdown_grace: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Running::with(limits, Guard::new(token(), false)).await;
    let mut stuck = TcpStream::connect(server.addr).await.expect("connected");
    let request = format!("GET /stuck HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer());
    stuck.write_all(request.as_bytes()).await.expect("sent");
    // Idle and half-open ones do not hold it up either.
    let _silent = TcpStream::connect(server.addr).await.expect("connected");
    let answer = server.call("GET /who", "", "").await;
    assert!(answer.ends_with("local"));
    server.end().await;
    assert_eq!(read_to_end(&mut stuck).await, "");
}
