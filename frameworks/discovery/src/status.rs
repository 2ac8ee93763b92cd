//! What the sidecar tells about itself: `/v1/status`, `/health`, and the configuration in force.
//!
//! Text of apps' owners appears only as JSON strings, escaped and cut where it was read.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use proffer_model::{Principal, Problem};
use proffer_server::auth::{Action, Object, authorize};
use proffer_server::http::Refused;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::apply::Applier;
use crate::core::View;
use crate::feed::Feed;
use crate::model::{LeftOut, Service};

/// What the handlers read.
#[derive(Clone, Debug)]
pub struct Page {
    /// The core's last view.
    pub view: watch::Receiver<Arc<View>>,
    /// Where HAProxy's files are.
    pub applier: Arc<Applier>,
    /// Where the apps come from.
    pub feed: Arc<Feed>,
}

/// The sidecar's own routes.
pub fn router(page: Page) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/v1/status", get(status))
        .route("/_haproxy_getconfig", get(configuration))
        .with_state(page)
}

async fn health(State(page): State<Page>) -> Json<Value> {
    let is_settled = page.view.borrow().is_settled;
    Json(json!({ "status": "ok", "is_settled": is_settled }))
}

async fn status(
    State(page): State<Page>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Value>, Refused> {
    authorize(&principal, Action::Read, Object::Cluster)?;
    let view = Arc::clone(&page.view.borrow());
    Ok(Json(describe(&view, &page)))
}

async fn configuration(
    State(page): State<Page>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Refused> {
    authorize(&principal, Action::Read, Object::Cluster)?;
    let text = page.applier.haproxy.written();
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

fn describe(view: &View, page: &Page) -> Value {
    let (applier, url) = (&page.applier, page.feed.url());
    let is_listening = page.feed.is_listening();
    let applied = view.applied.map(|(how, digest, at)| {
        json!({
            "how": format!("{how:?}").to_lowercase(),
            "digest": digest.to_string(),
            "at_ms": at.wall_ms,
        })
    });
    json!({
        "is_settled": view.is_settled,
        "applied": applied,
        "apply_problem": view.apply_problem.as_ref().map(ProblemView::from),
        "haproxy": { "pid": view.pid, "config_file": applier.haproxy.config_file },
        "source": {
            "url": url,
            "is_listening": is_listening,
            "fetched_at_ms": view.fetched_at.map(|at| at.wall_ms),
            "problem": view.source_problem.as_ref().map(ProblemView::from),
        },
        "services": view.services.iter().map(|s| describe_service(s, applier)).collect::<Vec<_>>(),
        "left_out_count": view.left_out_count,
        "left_out": view.left_out.iter().map(describe_left_out).collect::<Vec<_>>(),
    })
}

fn describe_service(service: &Service, applier: &Applier) -> Value {
    let servers: Vec<Value> = service
        .servers
        .iter()
        .map(
            |server| json!({ "name": server.name, "address": server.address, "port": server.port }),
        )
        .collect();
    json!({
        "app": service.app,
        "name": service.name,
        "address": applier.settings.bind,
        "port": service.port,
        "mode": service.mode,
        "vhosts": service.vhosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "servers": servers,
    })
}

fn describe_left_out(left_out: &LeftOut) -> Value {
    json!({
        "app": left_out.app,
        "what": format!("{:?}", left_out.what).to_lowercase(),
        "problem": ProblemView::from(&left_out.problem),
    })
}

#[derive(Serialize)]
struct ProblemView<'a> {
    code: &'a str,
    field: &'a str,
    message: &'a str,
    hint: &'a str,
}

impl<'a> From<&'a Problem> for ProblemView<'a> {
    fn from(problem: &'a Problem) -> Self {
        Self {
            code: &problem.code,
            field: &problem.field,
            message: &problem.message,
            hint: &problem.hint,
        }
    }
}
