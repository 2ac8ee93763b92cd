//! Requests that are sent without waiting for the answer to each.

use super::*;

/// How many answers come to these requests, sent in one, before the server closes.
async fn answers(server: &Running, requests: &[String]) -> usize {
    let heard = server.raw(requests.concat().as_bytes()).await;
    heard.matches("HTTP/1.1 ").count()
}

fn request(line: &str, headers: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

#[tokio::test]
async fn all_are_answered_whatever_is_refused_before_its_body_is_read() {
    let server = Running::with(Limits::mesos(), Guard::new(token(), false)).await;
    let chunked = |line, token: &str| {
        let headers = format!("{token}Transfer-Encoding: chunked\r\n");
        request(line, &headers, "2\r\n[]\r\n0\r\n\r\n")
    };
    let metrics = request("GET /metrics", "", "");
    let last = request("GET /metrics", "Connection: close\r\n", "");
    for first in [
        chunked("POST /sum", "Authorization: Bearer no\r\n"),
        chunked("POST /nowhere", &bearer()),
        chunked("POST /refuse", &bearer()),
        chunked("POST /sum", &bearer()),
        request("GET /who", &bearer(), ""),
        request("GET /large", "", ""),
    ] {
        let all = [first.clone(), metrics.clone(), last.clone()];
        assert_eq!(answers(&server, &all).await, 3, "{first}");
    }
    let mut many = vec![metrics; 100];
    many.push(last);
    assert_eq!(answers(&server, &many).await, 101);
    server.end().await;
}

#[tokio::test]
async fn an_answer_waits_for_no_request_that_is_slow_or_comes_in_part() {
    let server = Running::with(Limits::mesos(), Guard::new(token(), false)).await;
    let first = request("GET /metrics", "", "");
    for next in [
        request("GET /stuck", &bearer(), ""),
        "GET /metr".to_owned(),
        request("POST /sum", "Content-Length: 10\r\n", "[1"),
    ] {
        let mut stream = TcpStream::connect(server.addr).await.expect("connected");
        let both = [first.clone(), next.clone()].concat();
        stream.write_all(both.as_bytes()).await.expect("sent");
        let mut heard = vec![0; 1024];
        let len = timeout(PATIENCE, stream.read(&mut heard)).await;
        let len = len.expect("it does not wait").expect("reads");
        let heard = String::from_utf8_lossy(heard.get(..len).unwrap_or_default());
        assert!(heard.contains("HTTP/1.1 200"), "{next}: {heard}");
    }
    server.end().await;
}
