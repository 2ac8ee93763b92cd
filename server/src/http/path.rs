//! Paths as libprocess reads them, where Mesos's clients call: a `/` at the end does not count, and the first part, which
//! names a process there (`slave(1)`), may be percent-encoded.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;

/// The same request by the path that its handler has.
pub(super) fn normalize(request: &mut Request) {
    let uri = request.uri();
    let Cow::Owned(path) = normalized(uri.path()) else {
        return;
    };
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut parts = uri.clone().into_parts();
    // What is no path is left as it is: nothing is found there.
    parts.path_and_query = match PathAndQuery::try_from(path_and_query) {
        Ok(path_and_query) => Some(path_and_query),
        Err(_) => return,
    };
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn normalized(path: &str) -> Cow<'_, str> {
    let trimmed = path.trim_end_matches('/');
    let encoded = trimmed.get(1..).unwrap_or_default();
    let first = encoded.split('/').next().unwrap_or_default();
    // Of the names that there are, nothing else has to be encoded.
    if first.contains("%28") || first.contains("%29") {
        let decoded = first.replace("%28", "(").replace("%29", ")");
        return Cow::Owned(trimmed.replacen(first, &decoded, 1));
    }
    match trimmed.len() {
        0 => Cow::Borrowed(path),
        len if len == path.len() => Cow::Borrowed(path),
        _ => Cow::Owned(trimmed.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_at_the_end_and_an_encoded_process_are_as_without() {
        for (asked, found) in [
            ("/", "/"),
            ("//", "//"),
            ("/state", "/state"),
            ("/state/", "/state"),
            ("/master/frameworks//", "/master/frameworks"),
            ("/state/?a=b/", "/state?a=b/"),
            ("/slave%281%29/state/", "/slave(1)/state"),
            ("/slave%281%29", "/slave(1)"),
            ("/files/%281%29", "/files/%281%29"),
            ("/a%2Fb/", "/a%2Fb"),
        ] {
            let mut request = Request::new(axum::body::Body::empty());
            *request.uri_mut() = asked.parse().expect("a path");
            normalize(&mut request);
            assert_eq!(request.uri().to_string(), found, "{asked}");
        }
    }
}
