//! A small HTTP/1.1 client for the roles' own APIs: bearer token, timeouts, bounded answers, streams.
//!
//! Never sends anything beyond loopback in plain text unless told to: the token would be there for all to read. Follows no
//! redirects. What the server refuses is not an error here: the caller gets status and body.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http_body_util::{BodyDataStream, BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proffer_model::{Problem, code};
use tokio::time::{Sleep, sleep, timeout};

use crate::auth::LocalToken;
use crate::limits;
use crate::listen::is_loopback;
use crate::log::Untrusted;

/// A client that keeps its connections; clones share them.
#[derive(Clone)]
pub struct HttpClient {
    client: Client<HttpConnector, Full<Bytes>>,
    authorization: Option<HeaderValue>,
    insecure_allow_plaintext: bool,
    request_timeout: Duration,
    stream_idle_timeout: Duration,
    answer_len_max: usize,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpClient")
    }
}

/// A whole answer, of whatever status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new()
    }
}

impl HttpClient {
    /// A client without a token, for loopback addresses, with the limits of [`crate::limits`].
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(limits::CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::CLIENT_IDLE_TIMEOUT)
            .pool_max_idle_per_host(limits::CLIENT_IDLE_MAX)
            .build(connector);
        Self {
            client,
            authorization: None,
            insecure_allow_plaintext: false,
            request_timeout: limits::REQUEST_TIMEOUT,
            stream_idle_timeout: limits::STREAM_IDLE_TIMEOUT,
            answer_len_max: limits::ANSWER_LEN_MAX,
        }
    }

    /// The same, with this token in every call.
    #[must_use]
    pub fn token(mut self, token: &LocalToken) -> Self {
        // 64 hexadecimal digits are always a header's value.
        let value = HeaderValue::from_str(&format!("Bearer {}", token.secret().expose())).ok();
        self.authorization = value.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self
    }

    /// The same, also for hosts beyond loopback.
    #[must_use]
    pub fn insecure_allow_plaintext(mut self, is_allowed: bool) -> Self {
        self.insecure_allow_plaintext = is_allowed;
        self
    }

    /// The same, with another time for a whole answer, or for the head of a streamed one.
    #[must_use]
    pub fn request_timeout(mut self, wait: Duration) -> Self {
        self.request_timeout = wait;
        self
    }

    /// The same, with another time for which a stream may be silent.
    #[must_use]
    pub fn stream_idle_timeout(mut self, wait: Duration) -> Self {
        self.stream_idle_timeout = wait;
        self
    }

    /// The same, with another size of answers.
    #[must_use]
    pub fn answer_len_max(mut self, len: usize) -> Self {
        self.answer_len_max = len;
        self
    }

    /// GETs an answer. Errors: as [`Self::request`].
    pub async fn get(&self, url: &str) -> Result<Answer, Problem> {
        self.request(Method::GET, url, None).await
    }

    /// Sends a request, with a JSON body if any. Errors: `config.invalid` for a URL that is none or may not be called,
    /// `peer.unreachable`, `body.too_large`.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        json: Option<Bytes>,
    ) -> Result<Answer, Problem> {
        let uri = self.check(url)?;
        let request = self.build(method, &uri, None, json)?;
        let whole = async {
            let response = self.send(request, &uri).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, self.answer_len_max)
                .collect()
                .await
                .map_err(|error| {
                    if error.is::<LengthLimitError>() {
                        Problem::new(
                            code::BODY_TOO_LARGE,
                            format!("the answer has more than {} bytes", self.answer_len_max),
                        )
                    } else {
                        unreachable(&uri, &format!("the answer broke off: {error}"))
                    }
                })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        let answered = timeout(self.request_timeout, whole).await;
        answered.unwrap_or_else(|_| Err(unreachable(&uri, "it did not answer in time")))
    }

    /// GETs a stream, such as `text/event-stream`; feed its pieces to [`crate::sse::Parser`]. Any other status than 200 is
    /// an error: the problem that the server told, or `peer.unreachable`.
    pub async fn stream(&self, url: &str, accept: &str) -> Result<ByteStream, Problem> {
        let uri = self.check(url)?;
        let request = self.build(Method::GET, &uri, Some(accept), None)?;
        let sent = timeout(self.request_timeout, self.send(request, &uri)).await;
        let response =
            sent.unwrap_or_else(|_| Err(unreachable(&uri, "it did not answer in time")))?;
        let status = response.status();
        if status != StatusCode::OK {
            let body = Limited::new(response.into_body(), limits::BODY_LEN_MAX).collect();
            let body = timeout(self.request_timeout, body).await;
            let body = body
                .ok()
                .and_then(Result::ok)
                .map(http_body_util::Collected::to_bytes);
            let told = body.and_then(|body| problem_of(&body));
            return Err(told.unwrap_or_else(|| unreachable(&uri, &format!("it answered {status}"))));
        }
        Ok(ByteStream {
            pieces: BodyDataStream::new(response.into_body()),
            idle: Box::pin(sleep(self.stream_idle_timeout)),
            idle_timeout: self.stream_idle_timeout,
            uri,
            is_ended: false,
        })
    }

    fn check(&self, url: &str) -> Result<Uri, Problem> {
        let wrong = |message: String, hint: &str| {
            Problem::new(code::CONFIG_INVALID, message)
                .field("url")
                .hint(hint)
        };
        let shown = Untrusted(url);
        let uri: Uri = url.parse().map_err(|_| {
            wrong(
                format!("{shown} is not a URL"),
                "write http://HOST:PORT/PATH",
            )
        })?;
        let host = match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) => host,
            _ => {
                return Err(wrong(
                    format!("{shown} is not an http URL"),
                    "write http://HOST:PORT/PATH",
                ));
            }
        };
        if !self.insecure_allow_plaintext && !is_local(host) {
            return Err(wrong(
                format!("{shown} is not on this host, and the connection would not be encrypted"),
                "use a loopback address, or set insecure_allow_plaintext = true on a network you trust",
            ));
        }
        Ok(uri)
    }

    fn build(
        &self,
        method: Method,
        uri: &Uri,
        accept: Option<&str>,
        json: Option<Bytes>,
    ) -> Result<Request<Full<Bytes>>, Problem> {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, accept.unwrap_or("application/json"));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request
            .body(Full::new(json.unwrap_or_default()))
            .map_err(|error| {
                Problem::new(
                    code::INTERNAL,
                    format!("the request cannot be made: {error}"),
                )
            })
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        uri: &Uri,
    ) -> Result<axum::http::Response<Incoming>, Problem> {
        self.client.request(request).await.map_err(|error| {
            let why = if error.is_connect() {
                "nothing answers there"
            } else {
                "the connection broke"
            };
            unreachable(uri, &format!("{why}: {}", chain(&error)))
        })
    }
}

/// The problem in a refusal's body, as [`crate::http::problem_response`] writes it; `None` if it is something else.
pub fn problem_of(body: &[u8]) -> Option<Problem> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = |key: &str| {
        value
            .get(key)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    let name = text("code");
    let known = code::ALL.iter().find(|code| code.name == name);
    if name.is_empty() {
        return None;
    }
    let mut problem = Problem::new(*known.unwrap_or(&code::INTERNAL), text("message"))
        .field(text("field"))
        .hint(text("hint"));
    if known.is_none() {
        problem.code = name.to_owned().into();
    }
    Some(problem)
}

fn is_local(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(is_loopback)
}

fn unreachable(uri: &Uri, why: &str) -> Problem {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    Problem::new(code::PEER_UNREACHABLE, format!("{authority}: {why}"))
        .hint("check that the program runs and that this is its address")
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The body of a streamed answer. After an error or its end it yields nothing more.
pub struct ByteStream {
    pieces: BodyDataStream<Incoming>,
    idle: Pin<Box<Sleep>>,
    idle_timeout: Duration,
    uri: Uri,
    is_ended: bool,
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByteStream")
    }
}

impl Stream for ByteStream {
    type Item = Result<Bytes, Problem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        let item = match self.pieces.poll_next_unpin(cx) {
            Poll::Ready(None) => None,
            Poll::Ready(Some(Ok(piece))) => {
                let deadline = tokio::time::Instant::now() + self.idle_timeout;
                self.idle.as_mut().reset(deadline);
                return Poll::Ready(Some(Ok(piece)));
            }
            Poll::Ready(Some(Err(error))) => Some(Err(unreachable(
                &self.uri,
                &format!("the stream broke: {error}"),
            ))),
            Poll::Pending => {
                if self.idle.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Some(Err(unreachable(
                    &self.uri,
                    "the stream has been silent for too long",
                )))
            }
        };
        self.is_ended = true;
        Poll::Ready(item)
    }
}

#[cfg(test)]
mod tests;
