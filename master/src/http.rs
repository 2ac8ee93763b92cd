//! What a browser, a load balancer or Prometheus gets from the API port: a page that says where things are, how the master
//! stands, and its metrics. Everything else that is not gRPC is answered by a problem.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use proffer_model::{Leader, Problem};
use proffer_server::metrics::Metrics;
use serde_json::{Value, json};

use crate::standing::{Reign, Standing, Status};

/// `/health` and `/metrics`, which every master answers itself.
pub(crate) fn router(standing: Arc<Standing>, metrics: &Metrics) -> Router {
    let health = move || {
        let page = health(&standing.now(), standing.me()).to_string();
        async move { ([(header::CONTENT_TYPE, "application/json")], page).into_response() }
    };
    Router::new()
        .route("/health", any(health))
        .merge(metrics.router())
}

/// A page of text.
pub(crate) fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// `/`, of the leader.
pub(crate) fn home(reign: &Reign, me: &Leader) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "Proffer master {}, leading cluster {} in term {}.\n\n\
         gRPC       {}   proffer.v1: Scheduler, FrameworkState, Operator, Leadership; health and reflection\n\
         agents     {}   proffer.v1: AgentLink, Leadership\n\
         health     /health\n\
         metrics    /metrics\n\n\
         See the cluster with: proffer agents, proffer frameworks, proffer tasks",
        me.version, reign.cluster, reign.epoch, me.address, me.cluster_address,
    );
    text
}

fn health(status: &Status, me: &Leader) -> Value {
    let reign = status.reign.as_ref();
    let troubles = [&status.election_trouble, &status.term_trouble];
    let troubles: Vec<Value> = troubles.into_iter().flatten().map(trouble).collect();
    json!({
        "id": me.id,
        "version": me.version,
        "leading": reign.is_some(),
        "cluster_id": reign.map(|reign| reign.cluster.as_str()),
        "epoch": reign.map(|reign| reign.epoch.0),
        "leader": status.leader.as_ref().map(leader),
        "troubles": troubles,
    })
}

fn leader(leader: &Leader) -> Value {
    json!({
        "id": leader.id,
        "address": leader.address,
        "cluster_address": leader.cluster_address,
        "version": leader.version,
    })
}

fn trouble(problem: &Problem) -> Value {
    json!({
        "code": problem.code.as_ref(),
        "message": problem.message,
        "hint": problem.hint,
    })
}
