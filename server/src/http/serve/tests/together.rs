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
