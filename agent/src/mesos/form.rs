//! In which form a page is answered: as JSON, or as a script that calls a function with it, for whoever asks so.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use proffer_server::mesos_http::bad_request;
use serde_json::Value;

/// What a page is asked with.
pub(super) type Asked = Query<BTreeMap<String, String>>;

/// A page, as it is asked for.
pub(super) fn in_form(page: &Value, Query(asked): &Asked) -> Response {
    let Some(function) = asked.get("jsonp") else {
        return (
            [(header::CONTENT_TYPE, "application/json")],
            page.to_string(),
        )
            .into_response();
    };
    // Nothing but a name, so that nobody can have a script of their own sent from here.
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_$.[]".contains(c);
    if function.is_empty() || !function.chars().all(is_part) {
        return bad_request("'jsonp' is not the name of a function");
    }
    let script = format!("{function}({page});");
    ([(header::CONTENT_TYPE, "text/javascript")], script).into_response()
}
