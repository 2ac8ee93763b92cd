//! The layer before every router: finds out who calls, or refuses.
//!
//! What passes carries a [`Principal`] in its extensions. `/metrics`, `/health` and who leads need no token, since what reads
//! them (Prometheus, load balancers, Mesos's clients before anything else) has none, but their Host and Origin are checked like everyone's.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
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

/// The user of `Authorization: Basic`, in the extensions of a request that came with the token as its password: the name that
/// a client of Mesos's knows itself by. It says nothing about what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidName(pub String);

/// What is needed to decide who calls.
#[derive(Clone, Debug)]
pub struct Guard {
    token: LocalToken,
    insecure_allow_unauthenticated: bool,
    names: Vec<String>,
    /// Addresses whose handlers find out themselves who calls.
    own: Vec<&'static str>,
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
            own: Vec::new(),
        }
    }

    /// The same, letting everyone in at these paths, as [`ANONYMOUS`]: what serves them finds out itself who calls. Host
    /// and Origin are checked there too, unless the request names no host, as libprocess's messages.
    #[must_use]
    pub fn leave_to_handlers(mut self, paths: impl IntoIterator<Item = &'static str>) -> Self {
        self.own.extend(paths);
        self
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
        let is_own = self.own.contains(&parts.uri.path());
        if !(is_own && origin::names_no_host(&parts)) {
            origin::check(&parts, ends.local.ip(), &self.names)?;
        }
        let name = self.identify(&parts, ends.peer)?;
        if let Some((said, _)) = basic(&parts).filter(|(said, _)| name == LOCAL && !said.is_empty())
        {
            parts.extensions.insert(SaidName(said));
        }
        parts.extensions.insert(Principal::new(name)?);
        Ok(Request::from_parts(parts, body))
    }

    /// Whether an admitted request comes from who may make any: what needs no token may have come from anyone.
    pub(crate) fn knows(&self, request: &Request) -> bool {
        let (extensions, is_open) = (request.extensions(), self.insecure_allow_unauthenticated);
        let has_token = extensions
            .get::<Principal>()
            .is_some_and(|principal| principal.as_str() == LOCAL);
        let is_near = extensions
            .get::<Ends>()
            .is_some_and(|ends| is_loopback(ends.peer.ip()));
        has_token || is_open && is_near
    }

    fn identify(&self, parts: &Parts, peer: SocketAddr) -> Result<&'static str, Problem> {
        if self.own.contains(&parts.uri.path()) {
            return Ok(ANONYMOUS);
        }
        let offered = bearer(&parts.headers);
        if offered.is_some_and(|offered| self.token.matches(offered)) {
            return Ok(LOCAL);
        }
        let needs_none = self.insecure_allow_unauthenticated && is_loopback(peer.ip());
        // A wrong token is told at once, even where none is needed: whoever sends one means it.
        if offered.is_some() {
            let mut problem = missing("the token is not this server's");
            if needs_none || is_open(parts) {
                problem
                    .hint
                    .push_str("; or send none, since none is needed here");
            }
            return Err(problem);
        }
        // Mesos's clients have no other way; Marathon's tools send passwords of their own, which are as good as none.
        let password = basic(parts).map(|(_, password)| password);
        if password.as_deref().is_some_and(|it| self.token.matches(it)) {
            return Ok(LOCAL);
        }
        if needs_none || is_open(parts) {
            return Ok(ANONYMOUS);
        }
        Err(missing(match password {
            Some(_) => "the password is not this server's token",
            None => "the call has no token",
        }))
    }
}

/// What Prometheus, load balancers and Mesos's clients ask for without a token.
const OPEN: [&str; 8] = [
    "/metrics",
    "/health",
    "/master/health",
    "/slave(1)/health",
    "/version",
    "/master/version",
    "/redirect",
    "/master/redirect",
];

/// Whether an address needs no token.
fn is_open(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD) && OPEN.contains(&parts.uri.path())
}

/// The user and the password of `Authorization: Basic …`.
fn basic(parts: &Parts) -> Option<(String, String)> {
    let header = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, coded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(decode_base64(coded.trim())?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u16, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits = (bits << 6) | u16::try_from(digit).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            let [_, low] = (bits >> count).to_be_bytes();
            bytes.push(low);
            bits &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

/// The token of `Authorization: Bearer TOKEN`. Other schemes (Marathon's tools send `Basic`) count as none.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn missing(message: &str) -> Problem {
    Problem::new(code::AUTH_MISSING, message).hint(
        "send Authorization: Bearer TOKEN, with the content of ~/.local/state/proffer/token (root: /var/lib/proffer/token), or send it as the password of any user (Basic)",
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
    fn the_token_may_be_the_password_of_somebody() {
        let guard = Guard::new(LocalToken::new(Secret::new("aa".repeat(32))), false);
        let header = |name: &str, password: &str| {
            let table = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            let text = format!("{name}:{password}");
            let mut coded = String::new();
            for three in text.as_bytes().chunks(3) {
                let bits = three.iter().chain([0, 0].iter()).take(3);
                let bits = bits.fold(0_usize, |bits, byte| (bits << 8) | usize::from(*byte));
                for at in 0..=three.len() {
                    coded.push(char::from(table[(bits >> (18 - 6 * at)) & 63]));
                }
                coded.extend(std::iter::repeat_n('=', 3 - three.len()));
            }
            format!("Basic {coded}")
        };
        for (name, password, admitted) in [
            ("mesos", "aa".repeat(32), true),
            ("a", "aa".repeat(32), true),
            ("ab", "aa".repeat(32), true),
            ("mesos", "ab".repeat(32), false),
            ("mesos", String::new(), false),
        ] {
            let request = Request::post("/api/v1/scheduler")
                .header(HOST, "192.0.2.7")
                .header(AUTHORIZATION, header(name, &password))
                .body(Body::empty());
            let ends = Ends {
                local: "192.0.2.7:5050".parse().expect("an address"),
                peer: "198.51.100.1:1".parse().expect("an address"),
            };
            let verdict = guard.admit(request.expect("a request"), ends);
            assert_eq!(verdict.is_ok(), admitted, "{name}:{password}");
            if let Err(problem) = &verdict {
                assert_eq!(problem.message, "the password is not this server's token");
                assert!(problem.hint.contains("(Basic)"), "{problem}");
            }
            let said = verdict.ok();
            let said = said.and_then(|request| request.extensions().get::<SaidName>().cloned());
            assert_eq!(said.map(|said| said.0), admitted.then(|| name.to_owned()));
        }
    }

    #[test]
    fn paths_whose_handlers_find_out_who_calls_are_open_to_all_and_no_others() {
        let token = LocalToken::new(Secret::new("5a".repeat(32)));
        let guard = Guard::new(token, false).leave_to_handlers(["/api/v1/executor"]);
        for (path, admitted) in [
            ("/api/v1/executor", true),
            ("/api/v1/executor/", false),
            ("/api/v1", false),
        ] {
            let verdict = verdict(&guard, Method::POST, path, "198.51.100.1:1");
            assert_eq!(verdict.is_ok(), admitted, "{path}");
        }
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
            (false, Method::GET, "/version", "198.51.100.1:1", true),
            (
                false,
                Method::GET,
                "/slave(1)/health",
                "198.51.100.1:1",
                true,
            ),
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
                Err(problem) => {
                    assert!(!admitted && problem.is(code::AUTH_MISSING), "{case}");
                    assert_eq!(problem.message, "the call has no token", "{case}");
                }
            }
        }
    }

    #[test]
    fn who_sends_a_wrong_token_where_none_is_needed_is_told_so() {
        for (insecure, peer, path, needs_none) in [
            (true, "127.0.0.1:1", "/state", true),
            (true, "198.51.100.1:1", "/state", false),
            (false, "127.0.0.1:1", "/state", false),
            (false, "198.51.100.1:1", "/health", true),
        ] {
            let guard = Guard::new(LocalToken::new(Secret::new("5a".repeat(32))), insecure);
            let request = Request::get(path)
                .header(HOST, "192.0.2.7")
                .header(AUTHORIZATION, "Bearer x")
                .body(Body::empty());
            let ends = Ends {
                local: "192.0.2.7:5050".parse().expect("an address"),
                peer: peer.parse().expect("an address"),
            };
            let verdict = guard.admit(request.expect("a request"), ends);
            let problem = verdict.expect_err("a wrong token");
            assert_eq!(problem.message, "the token is not this server's");
            let says = problem.hint.contains("or send none");
            assert_eq!(says, needs_none, "{insecure} {peer} {path}: {problem}");
        }
    }
}
