//! A small reverse proxy: what a master that stands by cannot answer, it asks the leader, if it is a read.
//!
//! One hop only: what was passed on carries a header and is not passed on again, so two masters that each take the other
//! for the leader cannot play ball with a request. The caller's token travels along, and therefore only where a token
//! may travel. Bodies are streamed, never collected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};
use axum::response::Response;
use http_body_util::Limited;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proffer_model::{Leader, Problem, code};
use proffer_proto::LEADER_HEADER;
use proffer_server::http::{is_grpc, refuse};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::inbox::overloaded;
use crate::limits::{
    PASSED_ON_BODY_LEN_MAX, PASSED_ON_CONNECT_TIMEOUT, PASSED_ON_IDLE_TIMEOUT, PASSED_ON_MAX,
    PASSED_ON_PING_INTERVAL, PASSED_ON_PING_TIMEOUT, PASSED_ON_TIMEOUT,
};
use crate::standing::{Side, Standing, Status};

/// The header of what was passed on: the id of the master that did.
pub(crate) const PASSED_ON_HEADER: &str = "proffer-passed-on";

/// Headers that are about one connection, or about the host that was asked.
const NOT_PASSED_ON: [HeaderName; 9] = [
    header::CONNECTION,
    header::HOST,
    header::ORIGIN,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Passes requests of the API listener on to the leader's.
#[derive(Clone, Debug)]
pub(crate) struct Passer {
    standing: Arc<Standing>,
    http1: Client<HttpConnector, Body>,
    http2: Client<HttpConnector, Body>,
    places: Arc<Semaphore>,
    insecure_allow_plaintext: bool,
}

impl Passer {
    /// To whoever leads; beyond loopback only if plaintext is allowed.
    pub(crate) fn new(standing: Arc<Standing>, insecure_allow_plaintext: bool) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PASSED_ON_CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            // Less than a listener keeps a connection that asks nothing.
            .pool_idle_timeout(proffer_server::limits::CLIENT_IDLE_TIMEOUT)
            .pool_max_idle_per_host(proffer_server::limits::CLIENT_IDLE_MAX)
            .http2_keep_alive_interval(PASSED_ON_PING_INTERVAL)
            .http2_keep_alive_timeout(PASSED_ON_PING_TIMEOUT);
        let http1 = builder.build(connector.clone());
        let http2 = builder.http2_only(true).build(connector);
        Self {
            standing,
            http1,
            http2,
            places: Arc::new(Semaphore::new(PASSED_ON_MAX)),
            insecure_allow_plaintext,
        }
    }

    /// The leader's answer, or a refusal that names the leader.
    pub(crate) async fn pass_on(&self, request: Request) -> Response {
        let is_grpc = is_grpc(request.headers());
        match self.ask_leader(request, is_grpc).await {
            Ok(response) => response,
            Err(problem) => refuse_by(&self.standing, Side::Api, problem, is_grpc),
        }
    }

    async fn ask_leader(&self, request: Request, is_grpc: bool) -> Result<Response, Problem> {
        let leader = self.next_hop(&request)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| overloaded("too many reads are passed on to the leader"))?;
        let request = rewrite(request, &leader, &self.standing.me().id, is_grpc)?;
        let client = if is_grpc { &self.http2 } else { &self.http1 };
        let unanswered = |why: &dyn std::fmt::Display| {
            let message = format!(
                "this master stands by, and the leader at {} did not answer: {why}",
                leader.address
            );
            Problem::new(code::MASTER_NOT_LEADING, message).hint("try again in a moment")
        };
        let answered = timeout(PASSED_ON_TIMEOUT, client.request(request));
        let response = tokio::select! {
            answered = answered => answered.map_err(|_| unanswered(&"it took too long"))?,
            () = self.is_no_leader(&leader) => return Err(unanswered(&"it leads no more")),
        };
        let response = response.map_err(|error| unanswered(&innermost(&error)))?;
        let (mut head, body) = response.into_parts();
        remove_own(&mut head.headers);
        // What the connection to the caller speaks is for its server to say.
        head.version = Version::default();
        let idle = Box::pin(sleep(PASSED_ON_IDLE_TIMEOUT));
        let body = Body::new(Passed {
            inner: body,
            idle,
            _place: place,
        });
        Ok(Response::from_parts(head, body))
    }

    /// Waits until this master does not lead any more: one that has stopped need not be waited for.
    async fn is_no_leader(&self, leader: &Leader) {
        let is_other =
            |status: &Status| status.leader.as_ref().is_none_or(|now| now.id != leader.id);
        // It fails only without a sender, which the standing is.
        let _ = self.standing.watch().wait_for(is_other).await;
    }

    /// Whom to ask, if anybody may be asked.
    fn next_hop(&self, request: &Request) -> Result<Leader, Problem> {
        let not_leading = || self.standing.not_leading(Side::Api);
        let leader = self.standing.now().leader.ok_or_else(not_leading)?;
        let is_me = leader.id == self.standing.me().id;
        if is_me || request.headers().contains_key(PASSED_ON_HEADER) {
            return Err(not_leading());
        }
        if !self.insecure_allow_plaintext && !is_on_this_host(&leader.address) {
            let message = format!(
                "this master stands by, and passes nothing on to {}, where the token would travel unencrypted",
                leader.address
            );
            return Err(Problem::new(code::MASTER_NOT_LEADING, message).hint("call the leader"));
        }
        Ok(leader)
    }
}

/// A refusal that says where the leader is, as far as this master knows.
pub(crate) fn refuse_by(
    standing: &Standing,
    side: Side,
    problem: Problem,
    is_grpc: bool,
) -> Response {
    let mut response = refuse(problem, is_grpc);
    let leader = standing.now().leader;
    let address = leader.and_then(|leader| HeaderValue::from_str(side.address(&leader)).ok());
    if let Some(address) = address {
        response.headers_mut().insert(LEADER_HEADER, address);
    }
    response
}

/// The same request, for the leader.
fn rewrite(request: Request, leader: &Leader, me: &str, is_grpc: bool) -> Result<Request, Problem> {
    let unmade = |error: &dyn std::fmt::Display| {
        let message = format!("the leader's address cannot be called: {error}");
        Problem::new(code::MASTER_NOT_LEADING, message)
    };
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = format!("http://{}{path}", leader.address)
        .parse::<Uri>()
        .map_err(|error| unmade(&error))?;
    head.extensions.clear();
    remove_own(&mut head.headers);
    let me = HeaderValue::from_str(me).map_err(|error| unmade(&error))?;
    head.headers.insert(PASSED_ON_HEADER, me);
    head.version = Version::HTTP_11;
    if is_grpc {
        head.version = Version::HTTP_2;
        // Without it no trailers come, and they are the status.
        let trailers = HeaderValue::from_static("trailers");
        head.headers.insert(header::TE, trailers);
    }
    let body = Body::new(Limited::new(body, PASSED_ON_BODY_LEN_MAX));
    Ok(Request::from_parts(head, body))
}

fn remove_own(headers: &mut HeaderMap) {
    for name in NOT_PASSED_ON {
        headers.remove(name);
    }
}

/// Whether what is sent there stays on this host.
fn is_on_this_host(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |ip: std::net::IpAddr| ip.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(is_loopback)
}

/// What happened, without the layers that only say that something did.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The leader's body on its way; breaks off when the leader is silent for too long.
struct Passed {
    inner: Incoming,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Passed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            let deadline = Instant::now() + PASSED_ON_IDLE_TIMEOUT;
            self.idle.as_mut().reset(deadline);
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        if self.idle.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let silent = Problem::new(code::PEER_UNREACHABLE, "the leader is silent");
        Poll::Ready(Some(Err(axum::Error::new(silent))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::tests::master;

    #[test]
    fn what_is_passed_on_keeps_the_token_and_loses_what_was_for_this_host() {
        let request = Request::builder()
            .uri("http://standby:5050/tasks?of=web")
            .header(header::HOST, "standby:5050")
            .header(header::ORIGIN, "http://standby:5050")
            .header(header::CONNECTION, "close")
            .header(header::AUTHORIZATION, "Bearer t")
            .body(Body::empty())
            .expect("a request");
        let passed = rewrite(request, &master("leader"), "me", false).expect("rewritten");
        assert_eq!(passed.uri(), "http://leader:5050/tasks?of=web");
        let mut names: Vec<&str> = passed.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["authorization", PASSED_ON_HEADER]);
    }

    #[test]
    fn only_loopback_is_on_this_host() {
        for (address, is_here) in [
            ("127.0.0.1:5050", true),
            ("[::1]:5050", true),
            ("localhost:1", true),
            ("192.0.2.1:5050", false),
            ("127.0.0.1.example:1", false),
            ("master.example:5050", false),
        ] {
            assert_eq!(is_on_this_host(address), is_here, "{address}");
        }
    }
}
