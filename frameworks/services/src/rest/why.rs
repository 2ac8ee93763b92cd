//! `GET /v1/why/<app>`: what is missing of an app and why, in words, and which agents lack what.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use proffer_services_core::effect::ApiAnswer;
use proffer_services_core::event::ApiCall;
use proffer_services_core::id::AppId;
use serde_json::{Value, json};

use super::apps::unexpected;
use super::query::OpenPath;
use super::refusal::Refused;
use super::{Api, origin_of};
use crate::json::write::object;

/// Explains. What the master says is added when it can be had.
pub(crate) async fn why(
    State(api): State<Api>,
    OpenPath(path): OpenPath,
    request: Request,
) -> Result<Response, Refused> {
    let call = ApiCall::ExplainApp {
        app: AppId::new(&path)?,
    };
    let ApiAnswer::Explained(explanation) = api.ask(origin_of(&request), call).await? else {
        return Err(unexpected());
    };
    let reasons: Vec<Value> = explanation
        .reasons
        .iter()
        .map(|obstacle| json!({"reason": obstacle.reason, "message": obstacle.message, "instances": obstacle.instances}))
        .collect();
    let mut body = object(json!({
        "app": explanation.app.as_str(),
        "wanted": explanation.wanted,
        "running": explanation.running,
        "healthy": explanation.healthy,
        "reasons": reasons,
        "agents": [],
    }));
    if let Some(demand) = &explanation.demand {
        body.insert("demand_id".into(), json!(demand.as_str()));
    }
    let (framework, is_connected) = api.view.session();
    if let (Some(framework), true, Some(demand)) = (framework, is_connected, explanation.demand) {
        match (api.explain)(framework, demand).await {
            Ok(obstacles) => {
                let agents = obstacles.iter().map(|told| {
                    json!({"reason": told.reason, "message": told.message, "agents": told.agents})
                });
                body.insert("agents".into(), Value::Array(agents.collect()));
            }
            Err(problem) => {
                body.insert("agents_unknown".into(), json!(problem.message));
            }
        }
    }
    Ok(Json(Value::Object(body)).into_response())
}
