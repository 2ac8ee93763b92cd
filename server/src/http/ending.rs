//! Ends streamed answers when shutdown begins: server-sent events simply end, gRPC streams end with `UNAVAILABLE`.
//!
//! A stream is only cut where it waits: what it has to say at that moment is still said. Other answers are finite and are
//! left to finish; the grace of [`crate::limits::SHUTDOWN_GRACE`] bounds them.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use proffer_model::{Problem, code};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::problem::is_grpc;

/// A streamed body that ends with the program.
struct Ending {
    inner: Body,
    is_grpc: bool,
    is_ended: bool,
    shutdown: CancellationToken,
    /// Made when the stream first waits: most gRPC answers never do.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// The same response, its body bound to `shutdown` if it is a stream.
pub(super) fn end_with(shutdown: &CancellationToken, response: Response) -> Response {
    let is_grpc = is_grpc(response.headers());
    let is_events = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    // What is whole already (a refusal, say) is no stream.
    if !(is_grpc || is_events) || response.body().is_end_stream() {
        return response;
    }
    let shutdown = shutdown.clone();
    response.map(|inner| {
        Body::new(Ending {
            inner,
            is_grpc,
            is_ended: false,
            shutdown,
            cancelled: None,
        })
    })
}

impl Ending {
    fn end(&mut self) -> Option<Frame<Bytes>> {
        self.is_ended = true;
        // Lets go of what feeds the stream.
        self.inner = Body::empty();
        if !self.is_grpc {
            return None;
        }
        let problem = Problem::new(code::PEER_UNREACHABLE, "the server is shutting down")
            .hint("connect again");
        let mut trailers = HeaderMap::new();
        // A status whose text fits no header is not sent; the client then sees the stream end without one.
        proffer_proto::status_of(problem)
            .add_header(&mut trailers)
            .ok()?;
        Some(Frame::trailers(trailers))
    }
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let this = &mut *self;
        let shutdown = &this.shutdown;
        let cancelled = this
            .cancelled
            .get_or_insert_with(|| Box::pin(shutdown.clone().cancelled_owned()));
        if cancelled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.end().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
