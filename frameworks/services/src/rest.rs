//! The REST API: Marathon's `/v2`, and `/v1/why`. Reads come from the view, changes go to the core and are answered when they
//! are durable.
//!
//! Ids of apps hold slashes, so what is asked of an app is decided from the end of the path.

mod apps;
mod events;
mod info;
mod query;
mod refusal;
mod tasks;
#[cfg(test)]
mod tests;
mod why;

pub(crate) use apps::count_terms;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use futures::future::BoxFuture;
use proffer_model::{DemandId, FrameworkId, Principal, Problem, code};
use proffer_server::auth::{Action, Object, authorize};
use proffer_server::http::Ends;
use proffer_services_core::effect::{ApiAnswer, Refusal};
use proffer_services_core::event::{ApiCall, Origin};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::refusal::Refused;
use crate::driver::ApiRequest;
use crate::limits::REQUEST_TIMEOUT;
use crate::master::AgentObstacle;
use crate::stream::EventStream;
use crate::view::View;

/// Asks the master why no agent fits.
pub(crate) type Explain = Arc<
    dyn Fn(FrameworkId, DemandId) -> BoxFuture<'static, Result<Vec<AgentObstacle>, Problem>>
        + Send
        + Sync,
>;

/// What handlers need.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) requests: mpsc::Sender<ApiRequest>,
    pub(crate) view: Arc<View>,
    pub(crate) stream: EventStream,
    pub(crate) explain: Explain,
    pub(crate) info: Arc<Info>,
    pub(crate) shutdown: CancellationToken,
}

/// What `/v2/info` says of the set-up.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// `host:port` where this API is reached.
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) masters: String,
    pub(crate) local_port_min: u16,
    pub(crate) local_port_max: u16,
    pub(crate) failover_timeout_secs: u64,
}

/// Everything below one router; `/metrics` is added by the caller.
pub(crate) fn router(api: Api) -> Router {
    let whole = [
        ("/v2/apps", get(apps::list).post(apps::create)),
        ("/v2/tasks", get(tasks::list)),
        ("/v2/tasks/delete", post(tasks::delete_many)),
        ("/v2/deployments", get(info::deployments)),
        ("/v2/deployments/{id}", delete(info::cancel)),
        ("/v2/queue", get(info::queue)),
        ("/v2/info", get(info::info)),
        ("/v2/leader", get(info::leader)),
        ("/v2/events", get(events::follow)),
        ("/ping", get(info::ping)),
    ];
    let mut guarded = Router::new()
        .route("/v2/apps/{*path}", any(apps::below))
        .route("/v2/queue/{*path}", delete(info::reset_delay))
        .route("/v1/why/{*path}", get(why::why));
    // Clients add a slash to the end as they please.
    for (path, handlers) in whole {
        guarded = guarded
            .route(path, handlers.clone())
            .route(&format!("{path}/"), handlers);
    }
    let guarded = guarded
        .route_layer(middleware::from_fn_with_state(api.clone(), may_read_tables))
        .route_layer(middleware::from_fn(may))
        .layer(middleware::from_fn_with_state(api.clone(), add_headers));
    Router::new()
        .merge(guarded)
        .route("/health", get(info::health))
        .with_state(api)
}

/// Asks the one table of permissions.
async fn may(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let object = path
        .strip_prefix("/v2/apps")
        .filter(|rest| rest.len() > 1)
        .map_or(Object::Cluster, Object::App);
    let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
    let action = if is_read {
        Action::Read
    } else {
        Action::ChangeApp
    };
    let allowed = match request.extensions().get::<Principal>() {
        Some(principal) => authorize(principal, action, object),
        None => Err(Problem::new(code::AUTH_MISSING, "the caller is not known")),
    };
    match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => Refused::from(problem).into_response(),
    }
}

/// Lets nobody read tables that have not been filled: an empty list of apps would be believed, and their routes removed.
async fn may_read_tables(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_of_tables = ["/v2/apps", "/v2/tasks", "/v2/deployments"]
        .iter()
        .any(|head| path.starts_with(head));
    if is_of_tables && !api.view.is_loaded() {
        let problem = Problem::new(
            code::PEER_UNREACHABLE,
            "the apps have not been read from the master yet",
        )
        .hint("try again in a moment; check that the master runs");
        return Refused::from(problem).into_response();
    }
    next.run(request).await
}

/// What Marathon says with every answer.
async fn add_headers(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    );
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Ok(leader) = HeaderValue::from_str(&format!("http://{}", api.info.address)) {
        headers.insert(HeaderName::from_static("x-marathon-leader"), leader);
    }
    response
}

impl Api {
    /// Asks the core, and waits until its answer is durable.
    pub(crate) async fn ask(&self, origin: Origin, call: ApiCall) -> Result<ApiAnswer, Refused> {
        let (reply, answer) = oneshot::channel();
        let request = ApiRequest {
            origin,
            call,
            reply,
        };
        if let Err(error) = self.requests.try_send(request) {
            let problem = match error {
                mpsc::error::TrySendError::Full(_) => {
                    Problem::new(code::OVERLOADED, "too many requests wait for their answers")
                        .hint("try again in a moment")
                }
                mpsc::error::TrySendError::Closed(_) => stopping(),
            };
            return Err(problem.into());
        }
        match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer.map_err(|refusal: Refusal| Refused(refusal)),
            Ok(Err(_)) => Err(stopping().into()),
            Err(_) => Err(Problem::new(
                code::PEER_UNREACHABLE,
                "the master did not confirm the change in time",
            )
            .hint("it may still take effect; look at the app before trying again")
            .into()),
        }
    }
}

fn stopping() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "services is stopping")
        .hint("try again when it has started again")
}

/// Who asks what, for the event stream.
fn origin_of(request: &Request) -> Origin {
    let client = request
        .extensions()
        .get::<Ends>()
        .map(|ends| ends.peer.ip().to_string())
        .unwrap_or_default();
    Origin {
        client,
        uri: request.uri().path().to_owned(),
    }
}
