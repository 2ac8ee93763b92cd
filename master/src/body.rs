//! Bodies of answers whose bytes are counted for as long as they wait for whoever asked (`waiting.rs`).
//!
//! The subtle thing: a connection takes a piece of a body as soon as its peer's window has room for one byte of it, and keeps
//! the rest of that piece. So a long answer is handed on in short pieces; what is not handed on yet is what waits.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::limits::REPLY_PIECE_LEN;
use crate::waiting::Load;

/// An answer in pieces; counted until it is dropped, which is when the last piece has been handed on.
struct Counted {
    inner: Body,
    /// Of what the inner body has given.
    rest: Bytes,
    _load: Load,
}

/// The same response, whose bytes count until its body is handed on, if they count.
pub(crate) async fn count(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Load>() {
        None => response,
        Some(load) => response.map(|inner| {
            Body::new(Counted {
                inner,
                rest: Bytes::new(),
                _load: load,
            })
        }),
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
        }
        let len = REPLY_PIECE_LEN.min(self.rest.len());
        let piece = self.rest.split_to(len);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.is_empty() {
            true => self.inner.size_hint(),
            false => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::waiting::Replies;

    #[tokio::test]
    async fn an_answer_counts_until_its_last_piece_is_handed_on() {
        let replies = Replies::default();
        let framework = "f".parse().expect("an id");
        let whole = vec![7; 2 * REPLY_PIECE_LEN + 1];
        let load = replies.take(&framework, whole.len()).expect("room");
        let mut response = Response::new(Body::from(whole.clone()));
        response.extensions_mut().insert(load.expect("it counts"));
        let mut body = count(response).await.into_body();
        let mut came = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.expect("whole").into_data().expect("data");
            assert!(piece.len() <= REPLY_PIECE_LEN);
            came.extend_from_slice(&piece);
            assert_eq!(replies.bytes(), whole.len());
        }
        assert_eq!(came, whole);
        drop(body);
        assert_eq!(replies.bytes(), 0);
    }

    #[tokio::test]
    async fn what_does_not_count_is_handed_on_as_it_is() {
        let whole = vec![7; 2 * REPLY_PIECE_LEN];
        let mut body = count(Response::new(Body::from(whole.clone())))
            .await
            .into_body();
        let piece = body.frame().await.expect("a frame").expect("whole");
        assert_eq!(piece.into_data().expect("data"), whole);
    }
}
