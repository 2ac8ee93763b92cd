//! How Mesos's v1 APIs look on HTTP: media types, bodies on their way in, records on their way out, refusals in Mesos's
//! words.
//!
//! The master's and the agent's endpoints share it. A call is read whole, within a limit and a time; what is refused is
//! refused in plain text, as Mesos does, since its clients show nothing else. A stream is HTTP chunks of one record each.

#![allow(
    clippy::result_large_err,
    reason = "a refusal is the answer itself, made once for its request"
)]

use std::time::Duration;

use axum::body::{self, Body, Bytes};
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use proffer_proto::mesos::{Readable, read_json, read_protobuf, write_json};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::limits::{
    BODY_DISCARD_TIMEOUT, MESOS_DECODED_MAX, MESOS_LARGE_BODY_LEN, MESOS_LARGE_BODY_RETRY_AFTER,
};

mod arrival;

use arrival::{Pace, collect};
pub use arrival::{Unread, read_small};

/// The header that names a framework's stream.
pub const STREAM_ID: &str = "Mesos-Stream-Id";

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `application/x-protobuf`.
    Protobuf,
}

impl Media {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// A message in it.
    pub fn write<M: Readable>(self, message: &M) -> Vec<u8> {
        match self {
            Self::Json => write_json(message),
            Self::Protobuf => message.encode_to_vec(),
        }
    }

    /// A message in it, as one record of a stream.
    pub fn record<M: Readable>(self, message: &M) -> Bytes {
        let body = self.write(message);
        let mut record = format!("{}\n", body.len()).into_bytes();
        record.extend_from_slice(&body);
        record.into()
    }

    /// An answer of one message.
    pub fn answer<M: Readable>(self, message: &M) -> Response {
        let named = [(header::CONTENT_TYPE, self.name())];
        (named, self.write(message)).into_response()
    }

    /// An answer of many records, one after the other, each a chunk.
    pub fn stream(self, records: impl Stream<Item = Bytes> + Send + 'static) -> Response {
        let records = records.map(Ok::<_, std::convert::Infallible>);
        let named = [(header::CONTENT_TYPE, self.name())];
        (named, Body::from_stream(records)).into_response()
    }
}

/// A call that was read.
#[derive(Debug)]
pub struct Called<M> {
    /// The call.
    pub call: M,
    /// What its caller wants the answer to be written in; none when it takes nothing that there is.
    pub wanted: Option<Media>,
    /// The request's head.
    pub head: Parts,
}

/// What an answer is written in, for who wants one; 406 for who takes nothing that there is.
pub fn acceptable(wanted: Option<Media>) -> Result<Media, Response> {
    let text = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
    wanted.ok_or_else(|| refusal(StatusCode::NOT_ACCEPTABLE, text))
}

/// Reads a call, or answers why not in Mesos's words. What its answer may be written in is looked at by who answers: Mesos
/// asks for it where an answer says something, and when the call is a good one.
pub async fn read<M: Readable>(request: Request) -> Result<Called<M>, Response> {
    if request.method() != Method::POST {
        return Err(method_not_allowed(request.method()));
    }
    let (head, body) = request.into_parts();
    let Some(given) = head.headers.get(header::CONTENT_TYPE) else {
        return Err(bad_request("Expecting 'Content-Type' to be present"));
    };
    let Some(given) = media_of(given) else {
        let text = "Expecting 'Content-Type' of application/json or application/x-protobuf";
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    };
    let call = take(body, given, Pace::CALLS).await?;
    let wanted = wanted(&head.headers);
    Ok(Called { call, wanted, head })
}

/// What a content type says; parameters do not matter.
fn media_of(value: &HeaderValue) -> Option<Media> {
    let text = value.to_str().ok()?;
    let name = text.split(';').next().unwrap_or_default().trim();
    [Media::Json, Media::Protobuf]
        .into_iter()
        .find(|media| name.eq_ignore_ascii_case(media.name()))
}

/// What the caller accepts; JSON when it says nothing, or both.
fn wanted(headers: &HeaderMap) -> Option<Media> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Some(Media::Json);
    }
    let texts: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    let ranges = texts.iter().flat_map(|text| text.split(','));
    let ranges: Vec<(&str, bool)> = ranges.map(read_range).collect();
    let allows = |media: &Media| allows(&ranges, *media);
    [Media::Json, Media::Protobuf].into_iter().find(allows)
}

/// The name of a media range, and whether it is one that the caller wants.
fn read_range(range: &str) -> (&str, bool) {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    let is_wanted = weight.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
    (name, is_wanted)
}

/// The range that names a media type most exactly decides.
fn allows(ranges: &[(&str, bool)], media: Media) -> bool {
    let names = [media.name(), "application/*", "*/*"];
    let found = names.iter().find_map(|name| {
        let mut ranges = ranges.iter();
        ranges.find(|(range, _)| range.eq_ignore_ascii_case(name))
    });
    found.is_some_and(|(_, is_wanted)| *is_wanted)
}

/// Large bodies that are decoded at this moment: what a body of `[{},{},…]` becomes is many times as long.
static DECODED: Semaphore = Semaphore::const_new(MESOS_DECODED_MAX);

async fn take<M: Readable>(body: Body, media: Media, pace: Pace) -> Result<M, Response> {
    let arrived = collect(body, pace).await;
    match arrived.map_err(unread)? {
        (bytes, None) => decode(&bytes, media),
        (bytes, place) => {
            let turn = DECODED.acquire().await;
            // Long enough to be felt by others. Its place is kept to the end of the work, though its caller may hang up before.
            let decoded = tokio::task::spawn_blocking(move || {
                let _places = (place, turn);
                decode(&bytes, media)
            });
            let decoded = decoded.await;
            decoded.unwrap_or_else(|_| Err(bad_request("The body cannot be decoded")))
        }
    }
}

/// The answer to a body that was not read.
fn unread((status, text): Unread) -> Response {
    match status {
        StatusCode::SERVICE_UNAVAILABLE => unavailable(&text, MESOS_LARGE_BODY_RETRY_AFTER),
        status => refusal(status, &text),
    }
}

fn decode<M: Readable>(bytes: &[u8], media: Media) -> Result<M, Response> {
    let read = match media {
        Media::Json => read_json(bytes),
        Media::Protobuf => read_protobuf(bytes),
    };
    read.map_err(|text| bad_request(&text))
}

/// An answer in plain text.
pub fn refusal(status: StatusCode, text: &str) -> Response {
    let named = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, named, text.to_owned()).into_response()
}

/// 503 with a text, and after which time to try again.
pub fn unavailable(text: &str, after: Duration) -> Response {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, text);
    let after = HeaderValue::from(after.as_secs());
    response.headers_mut().insert(header::RETRY_AFTER, after);
    response
}

/// 400 with a text.
pub fn bad_request(text: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, text)
}

/// What anything but POST is answered.
pub fn method_not_allowed(method: &Method) -> Response {
    let text =
        format!("405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{method}'.");
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &text);
    let allowed = HeaderValue::from_static("POST");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// The 202 that says nothing.
pub fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Drops the body that nobody wants to read, so that the connection can go on: of one that goes on for longer than
/// [`BODY_DISCARD_TIMEOUT`] the rest is not awaited.
pub async fn discard(request: Request) {
    discard_within(request, BODY_DISCARD_TIMEOUT).await;
}

async fn discard_within(request: Request, most: Duration) {
    let all = body::to_bytes(request.into_body(), MESOS_LARGE_BODY_LEN);
    let _ = timeout(most, all).await;
}

#[cfg(test)]
mod tests {
    use proffer_proto::mesos::v1::scheduler::{Call, Event, event};

    use super::*;

    async fn answered(request: Request) -> (u16, String) {
        let response = match read::<Call>(request).await {
            Ok(called) => match acceptable(called.wanted) {
                Ok(media) => media.name().into_response(),
                Err(response) => response,
            },
            Err(response) => response,
        };
        let status = response.status().as_u16();
        let body = body::to_bytes(response.into_body(), 10_000).await;
        let text = String::from_utf8(body.expect("short").to_vec()).expect("text");
        (status, text)
    }

    fn post(headers: &[(&str, &str)], body: &'static [u8]) -> Request {
        let mut request = Request::post("/api/v1/scheduler");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::from(body)).expect("a request")
    }

    const NOT_ACCEPTABLE: &str =
        "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";

    const JSON: (&str, &str) = ("Content-Type", "application/json");

    #[tokio::test]
    async fn a_body_that_nobody_wants_is_not_awaited_to_its_end() {
        let bytes = Ok::<_, std::io::Error>(Bytes::from_static(b"typed"));
        let typed = futures::stream::iter([bytes]).chain(futures::stream::pending());
        let request = Request::new(Body::from_stream(typed));
        discard_within(request, Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn the_media_type_of_an_answer_is_what_the_caller_accepts() {
        let table = [
            (None, 200, "application/json"),
            (Some("application/json"), 200, "application/json"),
            (
                Some("application/x-protobuf"),
                200,
                "application/x-protobuf",
            ),
            (Some("application/x-protobuf, */*"), 200, "application/json"),
            (Some("*/*;q=0.1"), 200, "application/json"),
            (
                Some("application/json;q=0, */*"),
                200,
                "application/x-protobuf",
            ),
            (Some("text/plain"), 406, NOT_ACCEPTABLE),
            (Some("*/*;q=0"), 406, NOT_ACCEPTABLE),
            (Some("application/json; q=none"), 406, NOT_ACCEPTABLE),
            (Some(""), 406, NOT_ACCEPTABLE),
        ];
        for (accept, status, text) in table {
            let headers: Vec<_> = [Some(JSON), accept.map(|accept| ("Accept", accept))]
                .into_iter()
                .flatten()
                .collect();
            let got = answered(post(&headers, br#"{"type":"REVIVE"}"#)).await;
            assert_eq!(got, (status, text.to_owned()), "{accept:?}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_in_mesos_words() {
        type Case = (
            &'static [(&'static str, &'static str)],
            &'static [u8],
            u16,
            &'static str,
        );
        let table: [Case; 5] = [
            (&[], b"{}", 400, "Expecting 'Content-Type' to be present"),
            (
                &[("Content-Type", "text/plain")],
                b"{}",
                415,
                "Expecting 'Content-Type' of application/json or application/x-protobuf",
            ),
            (
                &[JSON],
                b"{nope",
                400,
                "Failed to parse body into JSON: syntax error at line 1 near: nope",
            ),
            (
                &[("Content-Type", "application/x-protobuf")],
                b"\xff",
                400,
                "Failed to parse body into Call protobuf",
            ),
            (
                &[JSON],
                br#"{"acknowledge":{"uuid":"%%"}}"#,
                400,
                "Failed to convert JSON into Call protobuf",
            ),
        ];
        for (headers, body, status, text) in table {
            let (got, said) = answered(post(headers, body)).await;
            assert_eq!(got, status, "{said}");
            assert!(said.starts_with(text), "{said}");
        }
        let get = Request::get("/api/v1/scheduler").body(Body::empty());
        let text = "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.";
        assert_eq!(
            answered(get.expect("a request")).await,
            (405, text.to_owned())
        );
    }

    #[tokio::test]
    async fn a_body_that_comes_byte_by_byte_is_not_waited_for() {
        let bytes = futures::stream::repeat(Bytes::from_static(b" "));
        let slow = bytes.then(|byte| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok::<_, std::convert::Infallible>(byte)
        });
        let within = Duration::from_secs(1);
        let pace = Pace {
            within,
            ..Pace::CALLS
        };
        let taken = take::<Call>(Body::from_stream(slow), Media::Json, pace).await;
        let refused = taken.expect_err("it never ends");
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn large_bodies_are_read_too() {
        let mut body = br#"{"type":"REVIVE","more":""#.to_vec();
        body.resize(MESOS_LARGE_BODY_LEN * 2, b'x');
        body.extend_from_slice(br#""}"#);
        let request = post(&[JSON], body.leak());
        assert_eq!(answered(request).await.0, 200);
    }

    #[tokio::test]
    async fn what_a_caller_has_left_behind_keeps_its_place_until_it_is_decoded() {
        let mut body = br#"{"more":["#.to_vec();
        body.extend_from_slice(&b"{},".repeat(2 * 1024 * 1024));
        body.extend_from_slice(b"{}]}");
        let within = Duration::from_secs(30);
        let mut taken = Box::pin(take::<Call>(Body::from(body), Media::Json, Pace::CALLS));
        while DECODED.available_permits() == MESOS_DECODED_MAX {
            let waited = tokio::time::timeout(Duration::from_millis(1), &mut taken);
            waited.await.expect_err("it takes longer to decode");
        }
        drop(taken);
        assert!(DECODED.available_permits() < MESOS_DECODED_MAX);
        let is_done = async {
            while DECODED.available_permits() < MESOS_DECODED_MAX {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(within, is_done).await;
        waited.expect("its place is given back");
    }

    #[test]
    fn who_is_to_come_again_hears_when() {
        let full = (StatusCode::SERVICE_UNAVAILABLE, "full".to_owned());
        let head = |unread_as| {
            unread(unread_as)
                .headers()
                .get(header::RETRY_AFTER)
                .cloned()
        };
        assert_eq!(head(full), Some(HeaderValue::from_static("5")));
        let late = (StatusCode::REQUEST_TIMEOUT, "late".to_owned());
        assert_eq!(head(late), None);
    }

    #[test]
    fn a_record_is_its_length_and_one_line() {
        let event = Event {
            r#type: Some(event::Type::Heartbeat.into()),
            ..Event::default()
        };
        assert_eq!(
            &Media::Json.record(&event)[..],
            b"20\n{\"type\":\"HEARTBEAT\"}"
        );
        assert_eq!(&Media::Protobuf.record(&event)[..], b"2\n\x08\x08");
    }
}
