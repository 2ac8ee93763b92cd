//! What speaks libprocess's messages, Mesos's v0 API: is told, and written to the log, that nothing here answers them.
//!
//! These clients read no answer, and repeat their first message for ever: whoever looks for the cause looks at the log.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use proffer_model::{Problem, code};
use proffer_server::http::{Ends, is_grpc, refuse};
use tokio::time::Instant;

use crate::limits::MESOS_LIBPROCESS_LOG_INTERVAL;

/// Where such clients and agents say their first message. It needs no token, as it is never heard.
pub(crate) const PATHS: [&str; 6] = [
    "/master/mesos.internal.AuthenticateMessage",
    "/master/mesos.internal.RegisterFrameworkMessage",
    "/master/mesos.internal.RegisterSlaveMessage",
    "/master/mesos.internal.ReregisterFrameworkMessage",
    "/master/mesos.internal.ReregisterSlaveMessage",
    "/master/mesos.scheduler.Call",
];

/// Messages that came, and when one was last written to the log.
#[derive(Debug, Default)]
struct Heard {
    count: u64,
    said: Option<Instant>,
}

impl Heard {
    /// How many came since the last line, if it is time for another.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_early = |said: Instant| now.duration_since(said) < MESOS_LIBPROCESS_LOG_INTERVAL;
        if self.said.is_some_and(is_early) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// The routes of such messages.
pub(super) fn router() -> Router {
    let mut router = Router::new();
    for path in PATHS {
        router = router.route(path, any(unheard));
    }
    router.with_state(Arc::<Mutex<Heard>>::default())
}

async fn unheard(State(heard): State<Arc<Mutex<Heard>>>, request: Request) -> Response {
    let path = request.uri().path();
    let due = heard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .due(Instant::now());
    if let Some(count) = due {
        let ends = request.extensions().get::<Ends>();
        let peer = ends.map(|ends| ends.peer.to_string()).unwrap_or_default();
        tracing::warn!(
            peer,
            path,
            count,
            "somebody speaks libprocess's messages (Mesos's v0 API), which nothing here answers: it needs Mesos's v1 HTTP \
             API (docs/coming-from-mesos.md)"
        );
    }
    let message =
        format!("{path} is a message of libprocess's (Mesos's v0 API), which nothing here answers");
    let problem = Problem::new(code::ROUTE_UNKNOWN, message)
        .hint("use Mesos's v1 HTTP API, /api/v1/scheduler: docs/coming-from-mesos.md");
    refuse(problem, is_grpc(request.headers()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_that_come_often_are_one_line_in_an_interval() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        assert_eq!(heard.due(start), Some(1));
        for _ in 0..3 {
            assert_eq!(heard.due(start + Duration::from_secs(1)), None);
        }
        let later = start + MESOS_LIBPROCESS_LOG_INTERVAL;
        assert_eq!(heard.due(later), Some(4));
    }
}
