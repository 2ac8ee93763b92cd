//! `GET /v2/events`: follows the event stream, with a filter by type.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use proffer_model::{Problem, code};
use proffer_server::clock;
use proffer_server::http::Ends;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::query::Parameters;
use super::refusal::Refused;
use crate::json::write::object;
use crate::limits::{EVENT_HEARTBEAT, FOLLOWERS_MAX};
use crate::stream::{Sent, frame};

/// One follower.
struct Follower {
    events: Receiver<Sent>,
    kinds: Vec<String>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

/// Begins to follow; the first event says so.
pub(crate) async fn follow(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let (parameters, request) = Parameters::of(request).await?;
    let Ok(place) = api.stream.followers.clone().try_acquire_owned() else {
        return Err(Problem::new(
            code::OVERLOADED,
            format!("{FOLLOWERS_MAX} clients follow already"),
        )
        .hint("try again when one has left")
        .into());
    };
    let follower = Follower {
        events: api.stream.follow(),
        kinds: parameters.all("event_type").map(str::to_owned).collect(),
        shutdown: api.shutdown.clone(),
        _place: place,
    };
    let address = request
        .extensions()
        .get::<Ends>()
        .map(|ends| ends.peer.to_string());
    let attached = frame(
        clock::now().wall_ms,
        "event_stream_attached",
        object(json!({"remoteAddress": address})),
    );
    let first = if follower.wants(&attached) {
        attached.frame
    } else {
        Bytes::from_static(
            b"
",
        )
    };
    let rest = stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|frame| (frame, follower))
    });
    let all = futures::StreamExt::chain(stream::iter([first]), rest);
    let body = Body::from_stream(futures::StreamExt::map(
        all,
        Ok::<_, std::convert::Infallible>,
    ));
    Ok(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response())
}

impl Follower {
    fn wants(&self, sent: &Sent) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == sent.kind)
    }

    /// The next frame or sign of life; none when the follower fell too far behind or the server stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let told = tokio::select! {
                () = self.shutdown.cancelled() => return None,
                told = tokio::time::timeout(EVENT_HEARTBEAT, self.events.recv()) => told,
            };
            match told {
                Err(_) => return Some(Bytes::from_static(b"\r\n")),
                Ok(Ok(sent)) if self.wants(&sent) => return Some(sent.frame),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return None,
            }
        }
    }
}
