//! `/v2/tasks`: the instances of all apps, as tasks.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use proffer_model::{Problem, TaskState, code};
use proffer_services_core::event::InstanceSet;
use proffer_services_core::id::InstanceId;
use serde_json::json;

use super::apps::{body_of, kill};
use super::query::Parameters;
use super::refusal::Refused;
use super::{Api, origin_of};
use crate::json::body::parse_body;
use crate::json::write::task_json;

/// `GET /v2/tasks?status=running&status=staging`.
pub(crate) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let (parameters, _) = Parameters::of(request).await?;
    let wanted: Vec<&str> = parameters
        .all("status")
        .chain(parameters.all("status[]"))
        .collect();
    let is_wanted = |state: TaskState| {
        wanted.is_empty()
            || wanted.iter().any(|word| match *word {
                "running" => state == TaskState::Running,
                "staging" => matches!(state, TaskState::Staging | TaskState::Starting),
                _ => false,
            })
    };
    let mut tasks = Vec::new();
    for row in api.view.apps() {
        let shown = row
            .instances
            .iter()
            .filter(|instance| is_wanted(instance.shown()));
        tasks.extend(shown.map(|instance| task_json(instance, Some(&row.app), &api.info.role)));
    }
    Ok(Json(json!({"tasks": tasks})).into_response())
}

/// `POST /v2/tasks/delete` with `{"ids": […]}`.
pub(crate) async fn delete_many(
    State(api): State<Api>,
    request: Request,
) -> Result<Response, Refused> {
    let (parameters, request) = Parameters::of(request).await?;
    let origin = origin_of(&request);
    let body = parse_body(&body_of(request).await?)?;
    let wrong = |field: &str, message: String| {
        Problem::new(code::FIELD_INVALID, message)
            .field(field)
            .hint("send {\"ids\":[\"…\"]} with ids of tasks")
    };
    let ids = body
        .get("ids")
        .and_then(|ids| ids.as_array())
        .ok_or_else(|| wrong("ids", "there is no list of ids".into()))?;
    let mut instances = Vec::with_capacity(ids.len());
    for (i, id) in ids.iter().enumerate() {
        let id = id.as_str().and_then(InstanceId::of_name);
        instances.push(
            id.ok_or_else(|| wrong(&format!("ids[{i}]"), "this is not the id of a task".into()))?,
        );
    }
    let answer = kill(
        &api,
        InstanceSet::Named {
            app: None,
            ids: instances,
        },
        &parameters,
        origin,
    )
    .await?;
    api.killed(answer, |tasks| json!({"tasks": tasks}))
}
