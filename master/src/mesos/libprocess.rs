//! What speaks libprocess's messages, Mesos's v0 API: is told, and written to the log, that nothing here answers them.
//!
//! These clients read no answer, and repeat their first message for ever: whoever looks for the cause looks at the log.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use proffer_model::{Problem, code};
use proffer_server::http::{Ends, is_grpc, refuse};
use proffer_server::log::Untrusted;
use tokio::time::Instant;

use crate::limits::{MESOS_LIBPROCESS_LOG_INTERVAL, MESOS_LIBPROCESS_NAMED_MAX};

/// Where such clients and agents say their first message. It needs no token, as it is never heard.
pub(crate) const PATHS: [&str; 6] = [
    "/master/mesos.internal.AuthenticateMessage",
    "/master/mesos.internal.RegisterFrameworkMessage",
    "/master/mesos.internal.RegisterSlaveMessage",
    "/master/mesos.internal.ReregisterFrameworkMessage",
    "/master/mesos.internal.ReregisterSlaveMessage",
    "/master/mesos.scheduler.Call",
];

/// The header in which a message says who sends it.
const FROM: &str = "libprocess-from";

/// Messages that came since one was last written to the log, and when that was.
#[derive(Debug, Default)]
struct Heard {
    count: u64,
    from: BTreeSet<String>,
    said: Option<Instant>,
}

impl Heard {
    /// How many came since the last line and from whom, if it is time for another.
    fn due(&mut self, now: Instant, from: String) -> Option<(u64, Vec<String>)> {
        self.count += 1;
        if self.from.len() < MESOS_LIBPROCESS_NAMED_MAX {
            self.from.insert(from);
        }
        let is_early = |said: Instant| now.duration_since(said) < MESOS_LIBPROCESS_LOG_INTERVAL;
        if self.said.is_some_and(is_early) {
            return None;
        }
        self.said = Some(now);
        let from = std::mem::take(&mut self.from).into_iter().collect();
        Some((std::mem::take(&mut self.count), from))
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
        .due(Instant::now(), sender(&request));
    if let Some((count, from)) = due {
        tracing::warn!(
            from = from.join(", "),
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

/// Who sends a message: what it says, or its address.
fn sender(request: &Request) -> String {
    let said = request.headers().get(FROM);
    let said = said.and_then(|said| said.to_str().ok());
    let ends = request.extensions().get::<Ends>();
    match (said, ends) {
        (Some(said), _) => Untrusted(said).to_string(),
        (None, Some(ends)) => ends.peer.ip().to_string(),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn messages_that_come_often_are_one_line_in_an_interval() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let one = || "a".to_owned();
        assert_eq!(heard.due(start, one()), Some((1, vec![one()])));
        for number in 0..20 {
            let now = start + Duration::from_secs(1);
            assert_eq!(heard.due(now, format!("b{}", number % 10)), None);
        }
        let later = start + MESOS_LIBPROCESS_LOG_INTERVAL;
        let (count, from) = heard.due(later, one()).expect("it is time");
        assert_eq!((count, from.len()), (21, MESOS_LIBPROCESS_NAMED_MAX));
        assert_eq!(from[..2], ["b0", "b1"]);
    }
}
