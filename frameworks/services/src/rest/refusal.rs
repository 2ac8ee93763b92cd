//! Refusals in Marathon's form, `{"message", "details": [{"path", "errors"}]}`, with our `code`, `field` and `hint` beside it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_model::{Kind, Problem, code};
use proffer_server::http::problem_response;
use proffer_services_core::effect::Refusal;
use serde_json::{Value, json};

use crate::json::write::object;

/// A refusal as the error of a handler.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Refusal);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem.into())
    }
}

impl From<Vec<Problem>> for Refused {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Refusal {
            problems,
            deployments,
        } = self.0;
        let Some(first) = problems.first().cloned() else {
            return problem_response(Problem::new(code::INTERNAL, "a refusal without a reason"));
        };
        let mut body = object(
            json!({"message": first.message, "code": first.code, "field": first.field, "hint": first.hint}),
        );
        if first.kind == Kind::Invalid {
            body.insert("details".into(), details(&problems));
        }
        if !deployments.is_empty() {
            let ids: Vec<Value> = deployments
                .iter()
                .map(|id| json!({"id": id.to_string()}))
                .collect();
            body.insert("deployments".into(), Value::Array(ids));
        }
        // The status and the headers that go with it are the same for all roles; what is wrong with a well-formed body is
        // 422 in Marathon.
        let mut response = problem_response(first.clone());
        if response.status() == StatusCode::BAD_REQUEST && !first.is(code::BODY_MALFORMED) {
            *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        }
        *response.body_mut() = Value::Object(body).to_string().into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        response
    }
}

fn details(problems: &[Problem]) -> Value {
    let detail = |problem: &Problem| json!({"path": path_of(&problem.field), "errors": [problem.message], "hint": problem.hint});
    Value::Array(problems.iter().map(detail).collect())
}

/// `portDefinitions[0].name` as Marathon writes it: `/portDefinitions(0)/name`.
fn path_of(field: &str) -> String {
    let mut path = String::from("/");
    for c in field.chars() {
        path.push(match c {
            '.' => '/',
            '[' => '(',
            ']' => ')',
            other => other,
        });
    }
    path
}
