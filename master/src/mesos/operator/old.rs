//! The calls that are older than `/api/v1`, as far as tools still make them: `/teardown`, `/quota`, `/weights`.

use axum::body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_proto::mesos::read_json;
use proffer_proto::mesos::v1::WeightInfo;
use proffer_proto::mesos::v1::quota::QuotaRequest;
use proffer_server::auth::Action;
use proffer_server::limits::{MESOS_BODY_TIMEOUT, MESOS_LARGE_BODY_LEN};
use proffer_server::mesos_http::refusal;
use tokio::time::timeout;

use super::changes::{Change, Refusal, old_quota, remove_quota, teardown, weights};
use super::pages::{quota_page, weights_page};
use super::{Desk, caller};

/// Their paths, each also under `/master`.
pub(super) const PATHS: [&str; 4] = ["teardown", "quota", "quota/{role}", "weights"];

impl Desk {
    /// Answers one.
    pub(super) async fn old_call(&self, path: &'static str, request: Request) -> Response {
        let method = request.method().clone();
        let answered = match (path, method.as_str()) {
            ("teardown", "POST") => self.teardown(request).await,
            ("quota" | "weights", "GET") => self.show(path, request).await,
            ("quota", "POST") => self.set_quota(request).await,
            ("quota/{role}", "DELETE") => self.remove_quota(request).await,
            ("weights", "PUT") => self.set_weights(request).await,
            _ => Ok(not_allowed(path, &method)),
        };
        answered.unwrap_or_else(Refusal::into_response)
    }

    async fn show(&self, path: &str, request: Request) -> Result<Response, Refusal> {
        caller(&request, Action::Read)?;
        drop(request);
        let rows = self.roles().await?;
        let page = if path == "quota" {
            quota_page(&rows)
        } else {
            weights_page(&rows)
        };
        Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response())
    }

    async fn teardown(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let body = text(request).await?;
        let fields = body.split('&').filter_map(|field| field.split_once('='));
        let id = fields.into_iter().find(|(name, _)| *name == "frameworkId");
        let (_, id) = id.ok_or_else(|| {
            Refusal::bad("Missing 'frameworkId' query parameter in the request body")
        })?;
        Ok(self
            .make(&principal, teardown(id.trim())?)
            .await?
            .into_response())
    }

    async fn set_quota(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let body = text(request).await?;
        let asked: QuotaRequest = read_json(body.as_bytes()).map_err(|why| {
            Refusal::bad(format!(
                "Failed to parse set quota request JSON '{body}': {why}"
            ))
        })?;
        let change = old_quota(&asked)?;
        if self
            .roles()
            .await?
            .iter()
            .any(|row| row.quota.is_some() && row.role.as_str() == asked.role())
        {
            return Err(Refusal::bad(format!(
                "Failed to validate set quota request: Cannot set quota for role '{}' which already has quota",
                asked.role()
            )));
        }
        Ok(self.make(&principal, change).await?.into_response())
    }

    async fn remove_quota(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let role = request.uri().path().rsplit('/').next();
        let change = remove_quota(role.unwrap_or_default())?;
        drop(request);
        Ok(self.make(&principal, change).await?.into_response())
    }

    async fn set_weights(&self, request: Request) -> Result<Response, Refusal> {
        let principal = caller(&request, Action::Operate)?;
        let body = text(request).await?;
        let wrong = |why: String| {
            Refusal::bad(format!(
                "Failed to parse update weights request JSON '{body}': {why}"
            ))
        };
        let all: Vec<serde_json::Value> =
            serde_json::from_str(&body).map_err(|error| wrong(error.to_string()))?;
        let infos: Result<Vec<WeightInfo>, String> = all
            .iter()
            .map(|one| read_json(one.to_string().as_bytes()))
            .collect();
        let change: Change = weights(&infos.map_err(wrong)?)?;
        Ok(self.make(&principal, change).await?.into_response())
    }
}

/// A small body of text.
async fn text(request: Request) -> Result<String, Refusal> {
    let bytes = body::to_bytes(request.into_body(), MESOS_LARGE_BODY_LEN);
    let bytes = timeout(MESOS_BODY_TIMEOUT, bytes).await;
    let bytes = bytes.map_err(|_| Refusal {
        status: StatusCode::REQUEST_TIMEOUT,
        text: "The body did not arrive in time".to_owned(),
    })?;
    let bytes = bytes.map_err(|_| Refusal::bad("The body is too large, or broke off"))?;
    String::from_utf8(bytes.into()).map_err(|_| Refusal::bad("The body is no text"))
}

fn not_allowed(path: &str, method: &Method) -> Response {
    let allowed = match path {
        "teardown" => "POST",
        "quota" => "GET, POST",
        "weights" => "GET, PUT",
        _ => "DELETE",
    };
    let names = allowed.replace(", ", "', '");
    let text = format!(
        "405 Method Not Allowed. Expecting one of {{ '{names}' }}, but received '{method}'."
    );
    let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, &text);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}
