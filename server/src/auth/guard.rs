//! The layer before every router: finds out who calls, or refuses.
//!
//! What passes carries a [`Principal`] in its extensions. `/metrics` and `/health` need no token, since what reads them
//! (Prometheus, load balancers) has none, but their Host and Origin are checked like everyone's.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::Method;
use axum::http::request::Parts;
use http::header::AUTHORIZATION;
use proffer_model::{Principal, Problem, code};

use super::origin;
use super::token::LocalToken;
use crate::http::Ends;
use crate::listen::is_loopback;

/// Who has the local token.
pub const LOCAL: &str = "local";
/// Who has none, where that is allowed.
pub const ANONYMOUS: &str = "anonymous";

/// What is needed to decide who calls.
#[derive(Clone, Debug)]
pub struct Guard {
    token: LocalToken,
    insecure_allow_unauthenticated: bool,
    names: Vec<String>,
}

impl Guard {
    /// Lets in who has `token`, and says at WARN if others are let in too: with `insecure_allow_unauthenticated` callers
    /// from loopback addresses need none.
    pub fn new(token: LocalToken, insecure_allow_unauthenticated: bool) -> Self {
        if insecure_allow_unauthenticated {
            tracing::warn!(
                "insecure_allow_unauthenticated is set: every program on this host may call without a token"
            );
        }
        Self {
            token,
            insecure_allow_unauthenticated,
            names: Vec::new(),
        }
    }

    /// The same, answering to these host names too, besides loopback names and the address it listens on.
    #[must_use]
    pub fn names(mut self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.names.extend(
            names
                .into_iter()
                .map(|name| name.as_ref().to_ascii_lowercase()),
        );
        self
    }

    /// The request with its principal, or why it is refused: `auth.foreign_origin`, `auth.missing`.
    pub(crate) fn admit(&self, request: Request, ends: Ends) -> Result<Request, Problem> {
        let (mut parts, body) = request.into_parts();
        origin::check(&parts, ends.local.ip(), &self.names)?;
        let name = self.identify(&parts, ends.peer)?;
        parts.extensions.insert(Principal::new(name)?);
        Ok(Request::from_parts(parts, body))
    }

    fn identify(&self, parts: &Parts, peer: SocketAddr) -> Result<&'static str, Problem> {
        let offered = bearer(parts);
        if offered.is_some_and(|offered| self.token.matches(offered)) {
            return Ok(LOCAL);
        }
        // A wrong token is told at once, even where none is needed: whoever sends one means it.
        if offered.is_some() {
            return Err(missing("the token is not this server's"));
        }
        if self.insecure_allow_unauthenticated && is_loopback(peer.ip()) || is_open(parts) {
            return Ok(ANONYMOUS);
        }
        Err(missing("the call has no token"))
    }
}

/// Whether an address needs no token.
fn is_open(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
        && matches!(parts.uri.path(), "/metrics" | "/health")
}

/// The token of `Authorization: Bearer TOKEN`. Other schemes (Marathon's tools send `Basic`) count as none.
fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn missing(message: &str) -> Problem {
    Problem::new(code::AUTH_MISSING, message).hint(
        "send Authorization: Bearer TOKEN, with the content of ~/.local/state/proffer/token (root: /var/lib/proffer/token)",
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::header::HOST;
    use proffer_model::Secret;

    use super::*;

    fn verdict(guard: &Guard, method: Method, path: &str, peer: &str) -> Result<Request, Problem> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "192.0.2.7");
        let request = request.body(Body::empty()).expect("a request");
        let ends = Ends {
            local: "192.0.2.7:5050".parse().expect("an address"),
            peer: peer.parse().expect("an address"),
        };
        guard.admit(request, ends)
    }

    #[test]
    fn no_token_is_needed_on_loopback_where_allowed_and_for_metrics_and_health() {
        let table = [
            // insecure, method, path, peer, admitted
            (true, Method::POST, "/v2/apps", "127.0.0.1:1", true),
            (true, Method::POST, "/v2/apps", "[::1]:1", true),
            (true, Method::POST, "/v2/apps", "[::ffff:127.0.0.1]:1", true),
            (true, Method::POST, "/v2/apps", "192.0.2.7:1", false),
            (true, Method::POST, "/v2/apps", "198.51.100.1:1", false),
            (false, Method::POST, "/v2/apps", "127.0.0.1:1", false),
            (false, Method::GET, "/metrics", "198.51.100.1:1", true),
            (false, Method::HEAD, "/health", "198.51.100.1:1", true),
            (false, Method::POST, "/metrics", "127.0.0.1:1", false),
            (false, Method::GET, "/metrics/", "127.0.0.1:1", false),
            (
                false,
                Method::GET,
                "/health/../v2/apps",
                "127.0.0.1:1",
                false,
            ),
        ];
        for (insecure, method, path, peer, admitted) in table {
            let guard = Guard::new(LocalToken::new(Secret::new("5a".repeat(32))), insecure);
            let case = format!("{insecure} {method} {path} {peer}");
            match verdict(&guard, method, path, peer) {
                Ok(request) => {
                    assert!(admitted, "{case}");
                    let principal = request
                        .extensions()
                        .get::<Principal>()
                        .expect("a principal");
                    assert_eq!(principal.as_str(), ANONYMOUS, "{case}");
                }
                Err(problem) => assert!(
                    !admitted && problem.is(code::AUTH_MISSING),
                    "{case}: {problem}"
                ),
            }
        }
    }
}
