//! Deployments, the launch queue, and what the server says of itself.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_model::{Problem, code};
use proffer_services_core::effect::ApiAnswer;
use proffer_services_core::event::ApiCall;
use proffer_services_core::id::{AppId, DeploymentId, format_wall};
use serde_json::{Value, json};

use super::apps::{deployed, unexpected};
use super::query::{OpenPath, Parameters};
use super::refusal::Refused;
use super::{Api, origin_of};
use crate::json::write::{Environment, app_json, deployment_json};

/// The version of Marathon whose formats are spoken; clients look at it.
const MARATHON_VERSION: &str = "1.11.0";

/// `GET /v2/deployments`.
pub(crate) async fn deployments(State(api): State<Api>) -> Response {
    let rows = api.view.apps();
    let under_way = rows.iter().filter_map(|row| {
        row.app
            .deployment
            .as_ref()
            .map(|deployment| deployment_json(&row.app.spec.id, deployment))
    });
    Json(Value::Array(under_way.collect())).into_response()
}

/// `DELETE /v2/deployments/{id}`.
pub(crate) async fn cancel(
    State(api): State<Api>,
    OpenPath(id): OpenPath,
    request: Request,
) -> Result<Response, Refused> {
    let (parameters, request) = Parameters::of(request).await?;
    let Some(deployment) = DeploymentId::parse(&id) else {
        let problem = Problem::new(
            code::DEPLOYMENT_UNKNOWN,
            "there is no deployment with this id",
        );
        return Err(problem
            .hint("GET /v2/deployments lists those under way")
            .into());
    };
    let call = ApiCall::CancelDeployment {
        deployment,
        leave: parameters.is("force", false)?,
    };
    match api.ask(origin_of(&request), call).await? {
        ApiAnswer::GivenUp => Ok(StatusCode::ACCEPTED.into_response()),
        answer => deployed(answer),
    }
}

/// `GET /v2/queue`.
pub(crate) async fn queue(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let ApiAnswer::Queue(items) = api.ask(origin_of(&request), ApiCall::ListQueue).await? else {
        return Err(unexpected());
    };
    let queue = items.iter().map(|item| {
        let seconds = item.delay.as_millis().div_ceil(1000);
        json!({
            "app": app_json(&item.app, &api.info.role, Environment::Shown),
            "count": item.count,
            "since": format_wall(item.since_wall_ms),
            "delay": {"timeLeftSeconds": u64::try_from(seconds).unwrap_or(u64::MAX), "overdue": item.delay.is_zero()},
            "processedOffersSummary": {
                "processedOffersCount": 0, "unusedOffersCount": 0,
                "rejectSummaryLastOffers": [], "rejectSummaryLaunchAttempt": [],
            },
        })
    });
    Ok(Json(json!({"queue": queue.collect::<Vec<_>>()})).into_response())
}

/// `DELETE /v2/queue/{app}/delay`.
pub(crate) async fn reset_delay(
    State(api): State<Api>,
    OpenPath(path): OpenPath,
    request: Request,
) -> Result<Response, Refused> {
    let Some(app) = path.strip_suffix("/delay") else {
        return Err(
            Problem::new(code::ROUTE_UNKNOWN, "there is nothing at this address")
                .hint("DELETE /v2/queue/<app>/delay lets launches wait no longer")
                .into(),
        );
    };
    api.ask(
        origin_of(&request),
        ApiCall::ResetDelay {
            app: AppId::new(app)?,
        },
    )
    .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `GET /v2/info`.
pub(crate) async fn info(State(api): State<Api>) -> Response {
    let info = &api.info;
    let (framework, _) = api.view.session();
    Json(json!({
        "name": "marathon",
        "version": MARATHON_VERSION,
        "buildref": concat!("proffer-", env!("CARGO_PKG_VERSION")),
        "elected": true,
        "leader": info.address,
        "frameworkId": framework.map(|id| id.to_string()),
        "marathon_config": {
            "master": info.masters,
            "framework_name": info.name,
            "mesos_role": info.role,
            "failover_timeout": info.failover_timeout_secs,
            "local_port_min": info.local_port_min,
            "local_port_max": info.local_port_max,
            "checkpoint": true,
            "ha": false,
            "features": [],
        },
        "zookeeper_config": {},
        "http_config": {"http_port": info.port, "https_port": 0},
    }))
    .into_response()
}

/// `GET /v2/leader`.
pub(crate) async fn leader(State(api): State<Api>) -> Response {
    Json(json!({"leader": api.info.address})).into_response()
}

/// `GET /ping`: as JSON for who asks for that, else as text.
pub(crate) async fn ping(request: Request) -> Response {
    let accept = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if accept.contains("application/json") {
        Json("pong").into_response()
    } else {
        "pong".into_response()
    }
}

/// `GET /health`: that the process answers, and how it stands with the master.
pub(crate) async fn health(State(api): State<Api>) -> Response {
    let (framework, is_connected) = api.view.session();
    Json(
        json!({"framework_id": framework.map(|id| id.to_string()), "session_active": is_connected}),
    )
    .into_response()
}
