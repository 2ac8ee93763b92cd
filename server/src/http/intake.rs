//! Bodies on their way in: at most so many bytes, never silent for long, and JSON that is read into types with the path
//! of what is wrong.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{self, Bytes};
use axum::extract::{FromRequest, Request};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::EXPECT;
use proffer_model::{Problem, code};
use serde::de::DeserializeOwned;
use tokio::time::{Sleep, sleep};

use super::problem::{Refused, is_grpc};
use crate::limits::{BODY_DISCARD_TIMEOUT, BODY_DISCARDED_MAX};

/// A body that fails with a problem when it passes a limit.
struct Bounded {
    inner: body::Body,
    left_len: usize,
    limit_len: usize,
    idle_timeout: Duration,
    /// It is larger. The rest is read and thrown away, as many bytes as these until then: who writes all of it before reading
    /// would not see why it is refused.
    discarded: Option<(usize, Pin<Box<Sleep>>)>,
    /// Runs while it waits: most bodies are there at once.
    idle: Option<Pin<Box<Sleep>>>,
}

/// The same request, its body bound to at most `limit_len` bytes and pauses of at most `idle_timeout`. One that says itself that
/// it is larger fails (`body.too_large`), in the words of whoever reads it, like one that turns out to be: after its end, or
/// after [`BODY_DISCARDED_MAX`] more bytes or [`BODY_DISCARD_TIMEOUT`]; at once if its sender waits for a word to send it.
pub(super) fn bound(request: Request, limit_len: usize, idle_timeout: Duration) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_larger = |len: u64| usize::try_from(len).map_or(true, |len| len > limit_len);
    let is_too_large = is_larger(request.body().size_hint().lower());
    let is_awaited = request.headers().contains_key(EXPECT);
    let most = match is_awaited {
        true => 0,
        false => BODY_DISCARDED_MAX,
    };
    request.map(|inner| {
        body::Body::new(Bounded {
            inner,
            left_len: limit_len,
            limit_len,
            idle_timeout,
            discarded: is_too_large.then(|| discard(most)),
            idle: None,
        })
    })
}

fn discard(most: usize) -> (usize, Pin<Box<Sleep>>) {
    (most, Box::pin(sleep(BODY_DISCARD_TIMEOUT)))
}

fn too_large(limit_len: usize) -> Problem {
    Problem::new(
        code::BODY_TOO_LARGE,
        format!("the body is larger than {limit_len} bytes"),
    )
    .hint("send less in one request")
}

fn broken(why: &str) -> Problem {
    Problem::new(code::BODY_MALFORMED, why).hint("send the whole body without pauses")
}

impl Bounded {
    /// Throws away what comes of a body that is too large; ready when enough was done of that.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((left, until)) = &mut self.discarded else {
            return Poll::Ready(());
        };
        while *left > 0 && until.as_mut().poll(cx).is_pending() {
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
                return Poll::Pending;
            };
            let len = match frame {
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return Poll::Ready(()),
            };
            *left = left.saturating_sub(len.max(1));
        }
        Poll::Ready(())
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Problem;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Problem>>> {
        if self.discarded.is_some() {
            return self
                .discard(cx)
                .map(|()| Some(Err(too_large(self.limit_len))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let idle_timeout = self.idle_timeout;
            let idle = self
                .idle
                .get_or_insert_with(|| Box::pin(sleep(idle_timeout)));
            if idle.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            return Poll::Ready(Some(Err(broken("the body did not arrive in time"))));
        };
        self.idle = None;
        Poll::Ready(match frame {
            None => None,
            Some(Err(_)) => Some(Err(broken("the body broke off"))),
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                match self.left_len.checked_sub(len) {
                    Some(left) => {
                        self.left_len = left;
                        Some(Ok(frame))
                    }
                    None => {
                        self.discarded = Some(discard(BODY_DISCARDED_MAX));
                        return self.poll_frame(cx);
                    }
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Extracts a whole body; a refusal is a problem. (Axum's own `Bytes` answers in plain text.)
#[derive(Clone, Debug, Default)]
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refused;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refused> {
        // The bodies of gRPC calls are not bound, and are nothing for a REST handler.
        if is_grpc(request.headers()) {
            let problem = Problem::new(code::ROUTE_METHOD, "this address takes no gRPC call");
            return Err(Refused(problem.hint("send JSON")));
        }
        // The limit is that of `bound`, which every other body of `serve` went through.
        body::to_bytes(request.into_body(), usize::MAX)
            .await
            .map(Self)
            .map_err(|error| {
                let problem = carried(&error).cloned();
                Refused(problem.unwrap_or_else(|| broken("the body broke off")))
            })
    }
}

/// The problem within an error that went through the layers of axum.
fn carried(error: &axum::Error) -> Option<&Problem> {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(problem) = error.downcast_ref() {
            return Some(problem);
        }
        cause = error.source();
    }
    None
}

/// Extracts a JSON body; a refusal is a problem with the path of the field at fault. The content type is not asked for:
/// Marathon's users send none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let Body(bytes) = Body::from_request(request, state).await?;
        Ok(Self(decode_json(&bytes)?))
    }
}

/// Reads JSON. Errors: `body.malformed` with line and column; `field.unknown`, `field.missing`, `field.invalid` with the
/// path of the field.
pub fn decode_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        explain(if path == "." { "" } else { &path }, error.inner())
    })?;
    json.end().map_err(|error| explain("", &error))?;
    Ok(value)
}

fn explain(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    if !error.is_data() {
        return Problem::new(
            code::BODY_MALFORMED,
            format!("the body is not JSON: {text}"),
        );
    }
    // The place is that of the path; a line means little in a body that a program wrote.
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    let code = if message.starts_with("unknown field") {
        code::FIELD_UNKNOWN
    } else if message.starts_with("missing field") {
        code::FIELD_MISSING
    } else {
        code::FIELD_INVALID
    };
    Problem::new(code, message).field(path)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct App {
        #[expect(dead_code, reason = "only its type matters")]
        cpus: u32,
        #[expect(dead_code, reason = "only its type matters")]
        ports: Option<Vec<u16>>,
    }

    #[test]
    fn what_is_wrong_with_json_is_told_by_path() {
        let table = [
            ("", code::BODY_MALFORMED, ""),
            ("{", code::BODY_MALFORMED, ""),
            ("{\"cpus\": 1} x", code::BODY_MALFORMED, ""),
            ("{\"cpus\": -1}", code::FIELD_INVALID, "cpus"),
            (
                "{\"cpus\": 1, \"ports\": [1, 70000]}",
                code::FIELD_INVALID,
                "ports[1]",
            ),
            ("{\"cpus\": 1, \"mem\": 1}", code::FIELD_UNKNOWN, "mem"),
            ("{}", code::FIELD_MISSING, ""),
            ("[]", code::FIELD_INVALID, ""),
            ("\u{feff}{}", code::BODY_MALFORMED, ""),
        ];
        for (text, code, field) in table {
            let problem = decode_json::<App>(text.as_bytes()).expect_err(text);
            assert_eq!(
                (problem.code.as_ref(), problem.field.as_str()),
                (code.name, field),
                "{text}: {problem}"
            );
        }
        decode_json::<App>(b"{\"cpus\": 1}\n").expect("good");
        let deep = "[".repeat(100_000);
        decode_json::<serde_json::Value>(deep.as_bytes()).expect_err("nesting is limited");
    }
}
