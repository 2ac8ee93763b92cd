//! How a problem becomes an answer: the one mapping to HTTP status codes, the JSON body, and for gRPC callers a status in
//! the headers (`proffer-proto` maps to gRPC codes).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use proffer_model::{Kind, Problem, code};
use serde::Serialize;

use crate::log::Untrusted;

/// The body of a refusal.
#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    hint: &'a str,
}

/// A problem as the error of a handler: `async fn app(...) -> Result<..., Refused>`, with `?` on `Problem`.
#[derive(Debug)]
pub struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        problem_response(self.0)
    }
}

/// The HTTP status of a class of failures.
pub fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to a REST caller: `{"code", "field", "message", "hint"}`, without what is empty.
pub fn problem_response(problem: Problem) -> Response {
    let body = Body {
        code: &problem.code,
        field: &problem.field,
        message: &problem.message,
        hint: &problem.hint,
    };
    // Four strings always have a JSON form.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = (status_of_problem(&problem), body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    match problem.kind {
        Kind::Unauthenticated => {
            // Some clients wait to be asked for a password.
            let asked = HeaderValue::from_static("Bearer, Basic realm=\"proffer\"");
            headers.insert(WWW_AUTHENTICATE, asked);
        }
        Kind::Unavailable | Kind::Exhausted => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::Forbidden | Kind::Internal => {}
    }
    response
}

/// Two codes have a status of their own within their class.
fn status_of_problem(problem: &Problem) -> StatusCode {
    if problem.is(code::ROUTE_METHOD) {
        StatusCode::METHOD_NOT_ALLOWED
    } else if problem.is(code::BODY_TOO_LARGE) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        status_of(problem.kind)
    }
}

/// Whether a request is a gRPC call, or a response the answer to one.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer in the caller's own form.
pub fn refuse(problem: Problem, is_grpc: bool) -> Response {
    if is_grpc {
        proffer_proto::status_of(problem).into_http()
    } else {
        problem_response(problem)
    }
}

/// What gRPC itself refuses, such as a message that is too large or a method that there is not, with a problem as everything
/// else that is refused. Its own status code stays.
pub fn with_problem(mut response: Response) -> Response {
    let refused = tonic::Status::from_header_map(response.headers());
    let refused = refused.filter(|it| it.code() != tonic::Code::Ok && it.details().is_empty());
    if let Some(status) = refused {
        let problem = proffer_proto::problem_of(&status);
        let told = proffer_proto::status_of(problem);
        let details = axum::body::Bytes::copy_from_slice(told.details());
        let status = tonic::Status::with_details(status.code(), told.message(), details);
        // A status whose text fits no header stays as it is.
        let mut headers = response.headers().clone();
        if status.add_header(&mut headers).is_ok() {
            *response.headers_mut() = headers;
        }
    }
    response
}

/// The fallback of every router.
pub async fn unknown_route(request: Request) -> Response {
    let path = Untrusted(request.uri().path());
    let problem = Problem::new(code::ROUTE_UNKNOWN, format!("there is nothing at {path}"));
    if !is_grpc(request.headers()) {
        return problem_response(
            problem.hint("check the path, and that this is the port of the role you mean"),
        );
    }
    let problem = problem.hint(
        "check that this is the port of the role you mean (5050 of a master), and that its version knows the service",
    );
    // gRPC has a code of its own for it, by which clients of a newer version know that this server is older.
    let status = proffer_proto::status_of(problem);
    let details = axum::body::Bytes::copy_from_slice(status.details());
    tonic::Status::with_details(tonic::Code::Unimplemented, status.message(), details).into_http()
}

/// The fallback of every route. Axum adds `Allow`.
pub async fn unknown_method(request: Request) -> Response {
    let method = Untrusted(request.method().as_str()).to_string();
    let path = Untrusted(request.uri().path());
    let problem = Problem::new(code::ROUTE_METHOD, format!("{path} does not take {method}")).hint(
        format!("the header {ALLOW} names the methods that it takes"),
    );
    refuse(problem, is_grpc(request.headers()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_keeps_its_parts_and_gets_the_status_of_its_class() {
        let problem = Problem::new(code::APP_INVALID, "the command is empty")
            .field("cmd")
            .hint("give one");
        let response = problem_response(problem);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .expect("short");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        assert_eq!(
            text,
            r#"{"code":"app.invalid","field":"cmd","message":"the command is empty","hint":"give one"}"#
        );
    }

    #[test]
    fn every_code_has_a_status() {
        for code in code::ALL {
            let response = problem_response(Problem::new(*code, "x"));
            let status = response.status();
            assert!(
                status.is_client_error() || status.is_server_error(),
                "{}",
                code.name
            );
            assert_eq!(
                status.is_server_error(),
                matches!(code.kind, Kind::Internal | Kind::Unavailable)
            );
            let asked = response.headers().get(WWW_AUTHENTICATE);
            assert_eq!(
                asked.map(HeaderValue::as_bytes),
                (status == 401).then_some(&b"Bearer, Basic realm=\"proffer\""[..]),
                "{}",
                code.name
            );
            assert_eq!(
                response.headers().contains_key(RETRY_AFTER),
                matches!(status.as_u16(), 429 | 503)
            );
        }
        assert_eq!(
            problem_response(Problem::new(code::ROUTE_METHOD, "x")).status(),
            405
        );
        assert_eq!(
            problem_response(Problem::new(code::BODY_TOO_LARGE, "x")).status(),
            413
        );
    }
}
