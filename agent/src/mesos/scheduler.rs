//! `/api/v1/scheduler` on an agent: a framework that was given an agent's address is told where the master is.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use proffer_server::mesos_http::refusal;

use crate::view::View;

/// Where the scheduler's API is served, on a master.
const PATHS: [&str; 4] = [
    "/api/v1/scheduler",
    "/api/v1/scheduler/{*rest}",
    "/slave(1)/api/v1/scheduler",
    "/slave(1)/api/v1/scheduler/{*rest}",
];

pub(super) fn router(view: View) -> Router {
    let mut router = Router::new();
    for path in PATHS {
        router = router.route(path, any(elsewhere));
    }
    router.with_state(view)
}

async fn elsewhere(State(view): State<View>) -> Response {
    refusal(StatusCode::NOT_FOUND, &told(view.master().as_deref()))
}

/// In plain text, as the clients of this API show nothing else.
fn told(master: Option<&str>) -> String {
    let place = match master {
        Some(address) => format!(
            "the master that leads is on {}, at the port of its 'listen' (5050 unless it says otherwise)",
            super::pages::host_of(address)
        ),
        None => "this agent is linked to no master at the moment".to_owned(),
    };
    format!("This is an agent; the scheduler API is the master's: {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_master_is_named_by_its_host_as_agents_know_another_port_of_it() {
        for (master, says) in [
            (Some("one.example:5052"), "is on one.example, at the port"),
            (Some("[::1]:5052"), "is on [::1], at the port"),
            (None, "linked to no master"),
        ] {
            let text = told(master);
            assert!(text.contains(says), "{text}");
        }
    }
}
