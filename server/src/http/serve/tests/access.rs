//! Who is let in, and how refusals look to REST and gRPC callers.

use super::*;

/// A GET as someone else would send it.
fn get_line(path: &str, host: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_token_decides_who_calls() {
    let wrong = "00".repeat(32);
    let right = token().secret().expose().to_owned();
    // Header; who or the code without and with insecure_allow_unauthenticated.
    let table = [
        (String::new(), "auth.missing", "anonymous"),
        (
            format!("Authorization: Basic {right}\r\n"),
            "auth.missing",
            "anonymous",
        ),
        (
            format!("Authorization: {right}\r\n"),
            "auth.missing",
            "anonymous",
        ),
        (
            "Authorization: Bearer \u{e9}\r\n".to_owned(),
            "auth.missing",
            "anonymous",
        ),
        (
            format!("Authorization: Bearer {wrong}\r\n"),
            "auth.missing",
            "auth.missing",
        ),
        (
            format!("Authorization: Bearer {right}0\r\n"),
            "auth.missing",
            "auth.missing",
        ),
        (
            format!("Authorization: Bearer {right}\r\n"),
            "local",
            "local",
        ),
        (
            format!("authorization: bearer {right}\r\n"),
            "local",
            "local",
        ),
    ];
    for insecure in [false, true] {
        let server = Running::with(Limits::default(), Guard::new(token(), insecure)).await;
        for (header, strict, open) in &table {
            let expected = if insecure { open } else { strict };
            let answer = server
                .raw(get_line("/who", "localhost", header).as_bytes())
                .await;
            let status = if *expected == "auth.missing" {
                401
            } else {
                200
            };
            let case = format!("{insecure} {header}: {answer}");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case}");
            assert!(answer.contains(expected), "{case}");
            assert!(!answer.contains(&right), "the token is never shown: {case}");
        }
        server.end().await;
    }
}

#[tokio::test]
async fn metrics_need_no_token_but_a_host_of_this_server() {
    let server = Running::new().await;
    for (host, status) in [("localhost", 200), ("evil.example", 403)] {
        let answer = server.raw(get_line("/metrics", host, "").as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{host}: {answer}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused_even_with_the_token() {
    let guard = Guard::new(token(), true).names(["Master.Example"]);
    let server = Running::with(Limits::default(), guard).await;
    let table = [
        ("Host: localhost\r\n", "200"),
        ("Host: master.example:5050\r\n", "200"),
        ("Host: localhost\r\nOrigin: http://localhost\r\n", "200"),
        ("Host: evil.example\r\n", "403"),
        ("", "403"),
        ("Host: localhost\r\nHost: localhost\r\n", "403"),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", "403"),
        ("Host: localhost\r\nOrigin: null\r\n", "403"),
        (
            "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example\r\n",
            "403",
        ),
    ];
    for (headers, status) in table {
        for bearer in [bearer(), String::new()] {
            let request =
                format!("GET /who HTTP/1.1\r\n{headers}Connection: close\r\n{bearer}\r\n");
            let answer = server.raw(request.as_bytes()).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{headers}: {answer}"
            );
            assert_eq!(
                answer.contains("auth.foreign_origin"),
                status == "403",
                "{headers}: {answer}"
            );
        }
    }
    server.end().await;
}

#[tokio::test]
async fn every_refusal_of_a_route_is_a_problem() {
    let server = Running::new().await;
    let table = [
        ("GET /nowhere", "404", "route.unknown"),
        ("GET /%0a%1b[31m", "404", "route.unknown"),
        ("POST /who", "405", "route.method"),
        ("BREW /who", "405", "route.method"),
        ("GET /refuse", "404", "app.unknown"),
        ("GET /panic", "500", "server.internal"),
    ];
    for (line, status, code) in table {
        let answer = server.call(line, "", "").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(
            answer.contains(&format!("{{\"code\":\"{code}\"")),
            "{line}: {answer}"
        );
        assert_eq!(
            answer.to_lowercase().contains("\r\nallow: get"),
            status == "405",
            "{line}: {answer}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn grpc_callers_get_their_refusals_as_statuses_with_the_problem() {
    let server = Running::new().await;
    let mut client = server.grpc().await;
    let status = client
        .logs(LogsRequest::default())
        .await
        .expect_err("no token");
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    let problem = proffer_proto::problem_of(&status);
    assert!(
        problem.is(code::AUTH_MISSING) && !problem.hint.is_empty(),
        "{problem}"
    );

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", server.addr));
    let endpoint = endpoint.expect("a URL");
    let foreign = endpoint
        .clone()
        .origin("http://evil.example".parse().unwrap());
    let mut client = TasksClient::new(foreign.connect().await.expect("connected"));
    let status = client
        .logs(with_token(LogsRequest::default()))
        .await
        .expect_err("foreign authority");
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    assert!(
        proffer_proto::problem_of(&status).is(code::AUTH_FOREIGN_ORIGIN),
        "{status:?}"
    );

    let mut unserved = proffer_proto::v1::operator_client::OperatorClient::new(
        endpoint.connect().await.expect("connected"),
    );
    let mut request = tonic::Request::new(proffer_proto::v1::ListAgentsRequest::default());
    *request.metadata_mut() = with_token(LogsRequest::default()).metadata().clone();
    let status = unserved
        .list_agents(request)
        .await
        .expect_err("not served here");
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    assert!(
        proffer_proto::problem_of(&status).is(code::ROUTE_UNKNOWN),
        "{status:?}"
    );
    server.end().await;
}
