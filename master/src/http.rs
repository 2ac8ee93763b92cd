//! What a browser, a load balancer or Prometheus gets from the API port: a page that says where things are, whether the
//! master leads, and its metrics. Everything else that is not gRPC is answered by a problem.

use std::fmt::Write;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use proffer_model::{ClusterId, Epoch};
use proffer_server::metrics::Metrics;

/// What the pages tell.
#[derive(Clone, Debug)]
pub(crate) struct Pages {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// The term.
    pub(crate) epoch: Epoch,
    /// The API's address, as others reach it.
    pub(crate) advertise: String,
    /// The cluster listener's.
    pub(crate) cluster_listen: SocketAddr,
}

/// `/`, `/health` and `/metrics`.
pub(crate) fn router(pages: &Pages, metrics: &Metrics) -> Router {
    let (home, health) = (home(pages), health(pages));
    Router::new()
        .route("/", get(move || async move { ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], home) }))
        .route("/health", get(move || async move { answer_json(health) }))
        .merge(metrics.router())
}

fn answer_json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn home(pages: &Pages) -> String {
    let mut text = String::new();
    let version = env!("CARGO_PKG_VERSION");
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "Proffer master {version}, leading cluster {} in term {}.\n\n\
         gRPC       {}   proffer.v1: Scheduler, FrameworkState, Operator; health and reflection\n\
         agents     {}   proffer.v1: AgentLink\n\
         health     /health\n\
         metrics    /metrics\n\n\
         See the cluster with: proffer agents, proffer frameworks, proffer tasks",
        pages.cluster, pages.epoch, pages.advertise, pages.cluster_listen,
    );
    text
}

fn health(pages: &Pages) -> String {
    serde_json::json!({
        "leading": true,
        "cluster_id": pages.cluster.as_str(),
        "epoch": pages.epoch.0,
        "version": env!("CARGO_PKG_VERSION"),
    })
    .to_string()
}
