//! One listener through all terms: its connections stay, and what answers their requests is switched between the term
//! and the standby.
//!
//! Each request looks anew, so a term whose lease has run out gets none, even if nobody has noticed yet.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use tower::ServiceExt;

use crate::tenure::Tenure;

/// What answers the requests of one listener.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    term: Arc<ArcSwapOption<Term>>,
    standby: Router,
}

#[derive(Debug)]
struct Term {
    tenure: Tenure,
    router: Router,
}

impl Switch {
    /// Stands by.
    pub(crate) fn new(standby: Router) -> Self {
        let term = Arc::default();
        Self { term, standby }
    }

    /// From now on a term answers, as long as it takes calls.
    pub(crate) fn lead(&self, tenure: Tenure, router: Router) {
        self.term.store(Some(Arc::new(Term { tenure, router })));
    }

    /// Lets go of the term.
    pub(crate) fn stand_by(&self) {
        self.term.store(None);
    }

    /// A router that takes what nothing more special takes.
    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/", any(answer))
            .route("/{*path}", any(answer))
            .with_state(self.clone())
    }

    fn current(&self) -> Router {
        let term = self.term.load();
        match term.as_ref().filter(|term| term.tenure.takes_calls()) {
            Some(term) => term.router.clone(),
            None => self.standby.clone(),
        }
    }
}

async fn answer(State(switch): State<Switch>, request: Request) -> Response {
    match switch.current().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::routing::get;
    use proffer_leader::Lease;
    use proffer_server::clock;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn says(text: &'static str) -> Router {
        Router::new().fallback(get(move || async move { text }))
    }

    async fn answered(switch: &Switch, path: &str) -> String {
        let request = Request::builder().uri(path);
        let request = request.body(Body::empty()).expect("a request");
        let response = switch.router().oneshot(request).await.expect("an answer");
        let body = axum::body::to_bytes(response.into_body(), 100).await;
        String::from_utf8(body.expect("short").to_vec()).expect("text")
    }

    #[tokio::test]
    async fn every_request_finds_who_answers_now() {
        let switch = Switch::new(says("standby"));
        for path in ["/", "/a", "/a/b/", "//"] {
            assert_eq!(answered(&switch, path).await, "standby", "{path}");
        }
        switch.lead(Tenure::forever(), says("term"));
        for path in ["/", "/a", "/a/b/", "//"] {
            assert_eq!(answered(&switch, path).await, "term", "{path}");
        }
        switch.stand_by();
        assert_eq!(answered(&switch, "/").await, "standby");
    }

    #[tokio::test]
    async fn a_term_that_is_over_or_whose_lease_has_run_out_gets_no_request() {
        let over = CancellationToken::new();
        let now = clock::now();
        let lease = Lease::until(now.after(Duration::from_secs(1_000)));
        let switch = Switch::new(says("standby"));
        switch.lead(Tenure::new(lease.clone(), over.clone()), says("term"));
        assert_eq!(answered(&switch, "/").await, "term");
        over.cancel();
        assert_eq!(answered(&switch, "/").await, "standby");
        switch.lead(
            Tenure::new(Lease::until(now), CancellationToken::new()),
            says("term"),
        );
        assert_eq!(answered(&switch, "/").await, "standby");
        switch.lead(
            Tenure::new(lease.clone(), CancellationToken::new()),
            says("term"),
        );
        assert_eq!(answered(&switch, "/").await, "term");
        lease.lose();
        assert_eq!(answered(&switch, "/").await, "standby");
    }
}
