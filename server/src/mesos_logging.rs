//! `/logging/toggle`, as Mesos's tools ask it of masters and agents: how much is logged beyond what is always.
//!
//! That is nothing, and is set when a program is started: who asks is told so, and who wants more is told where it is set.

use std::collections::BTreeMap;

use axum::extract::Query;
use axum::http::{StatusCode, Uri};
use axum::response::Response;

use crate::mesos_http::refusal;

/// Where it is asked.
pub const PATH: &str = "/logging/toggle";

/// Answers it.
pub async fn toggle(uri: Uri) -> Response {
    let asked = Query::<BTreeMap<String, String>>::try_from_uri(&uri);
    let asked = asked.map(|asked| asked.0).unwrap_or_default();
    let (status, text) = match (asked.get("level"), asked.get("duration")) {
        (None, None) => (StatusCode::OK, "0\n".to_owned()),
        (Some(_), None) => bad("Expecting 'duration=value' in query"),
        (None, Some(_)) => bad("Expecting 'level=value' in query"),
        (Some(level), Some(_)) => match level.parse::<i64>() {
            Err(_) => bad("Failed to convert 'level' to number"),
            Ok(..0) => bad(&format!("Invalid level '{level}'")),
            // As it is.
            Ok(0) => (StatusCode::OK, String::new()),
            Ok(_) => (
                StatusCode::NOT_IMPLEMENTED,
                "The level of the log is set by 'log_level' when a program is started\n".to_owned(),
            ),
        },
    };
    refusal(status, &text)
}

fn bad(text: &str) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{text}.\n"))
}

#[cfg(test)]
mod tests {
    use axum::body;

    use super::*;

    #[tokio::test]
    async fn the_level_is_told_and_not_changed() {
        for (query, status, text) in [
            ("", 200, "0\n"),
            ("?x=1", 200, "0\n"),
            ("?level=1", 400, "Expecting 'duration=value' in query.\n"),
            (
                "?duration=1secs",
                400,
                "Expecting 'level=value' in query.\n",
            ),
            (
                "?level=x&duration=1secs",
                400,
                "Failed to convert 'level' to number.\n",
            ),
            ("?level=-1&duration=1secs", 400, "Invalid level '-1'.\n"),
            ("?level=0&duration=1secs", 200, ""),
            (
                "?level=1&duration=1secs",
                501,
                "The level of the log is set by 'log_level' when a program is started\n",
            ),
        ] {
            let uri = format!("{PATH}{query}").parse().expect("a place");
            let answer = toggle(uri).await;
            assert_eq!(answer.status().as_u16(), status, "{query}");
            let body = body::to_bytes(answer.into_body(), 1_000).await;
            assert_eq!(body.expect("short"), text, "{query}");
        }
    }
}
