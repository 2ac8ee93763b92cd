//! The accept loop and the connections: what they may cost, and how they end.
//!
//! Nothing that a peer sends can end the loop. A connection is closed when it is silent for too long or others need its place,
//! when its head is too slow or too large, when it does not answer pings, and at the end of shutdown's grace.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use futures::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use proffer_model::{Problem, code};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::problem::{is_grpc, refuse, unknown_method, unknown_route, with_problem};
use super::silence::{Call, Place, Silence};
use super::socket::Socket;
use super::{ending, intake, path};
use crate::auth::Guard;
use crate::limits;

/// Bytes by which HTTP/2 and HTTP/1.1 are told apart: the length of HTTP/2's preface.
const PREFACE_LEN: usize = 24;

/// What one listener allows; the defaults are those of an API listener, from [`crate::limits`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Streams at once on one HTTP/2 connection; more wait at the client.
    pub streams_max: u32,
    /// Connections at once; for a further one another that is silent ends, or it is closed when it is accepted.
    pub connections_max: usize,
    /// Of those, the silent ones by which nobody has called who may; of more, one of the peer that has the most ends. With
    /// more of them open, silent or not, none of the others ends for a further one.
    pub strangers_max: usize,
    /// How long a connection is silent before it ends for others.
    pub gives_way_after: Duration,
    /// How long an answer waits to be taken by somebody who has not called as one who may; then the connection ends.
    pub unread_max: Duration,
    /// For the first request of a connection (of HTTP/2, for its first bytes), for a request's head, and for the wait between
    /// two requests of one connection; none: as long as they take.
    pub header_timeout: Option<Duration>,
    /// Paths are read as libprocess reads them.
    pub normalizes_paths: bool,
    /// Bytes of a body that is not gRPC.
    pub body_len_max: usize,
    /// For a body that is not gRPC and sends nothing.
    pub body_idle_timeout: Duration,
    /// For requests in flight when shutdown begins.
    pub shutdown_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: limits::STREAMS_MAX,
            connections_max: limits::CONNECTIONS_MAX,
            strangers_max: limits::CONNECTIONS_MAX,
            gives_way_after: limits::GIVES_WAY_AFTER,
            unread_max: limits::UNREAD_MAX,
            header_timeout: Some(limits::HEADER_TIMEOUT),
            normalizes_paths: false,
            body_len_max: limits::BODY_LEN_MAX,
            body_idle_timeout: limits::BODY_IDLE_TIMEOUT,
            shutdown_grace: limits::SHUTDOWN_GRACE,
        }
    }
}

impl Limits {
    /// Those of a listener that serves Mesos's APIs too: its clients send large calls, and keep a connection for the next one,
    /// or for the first, however long that takes to come.
    pub fn mesos() -> Self {
        Self {
            body_len_max: limits::MESOS_BODY_LEN_MAX,
            strangers_max: limits::STRANGERS_MAX,
            header_timeout: None,
            normalizes_paths: true,
            ..Self::default()
        }
    }

    /// Those of a cluster listener, where one connection may carry many agents.
    pub fn cluster() -> Self {
        Self {
            streams_max: limits::CLUSTER_STREAMS_MAX,
            ..Self::default()
        }
    }
}

/// The two ends of a request's connection; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Ours.
    pub local: SocketAddr,
    /// The caller's; also there as axum's `ConnectInfo`.
    pub peer: SocketAddr,
}

/// [`serve_with`] the limits of an API listener.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    guard: Guard,
    shutdown: CancellationToken,
) {
    serve_with(listener, router, guard, Limits::default(), shutdown).await;
}

/// Serves `router` behind `guard` until `shutdown`, then lets requests in flight finish for `shutdown_grace`. gRPC services
/// come in as `tonic::service::Routes::into_axum_router()`, merged. The router's own fallbacks are replaced: what is not a
/// route is answered by a problem.
pub async fn serve_with(
    listener: TcpListener,
    router: Router,
    guard: Guard,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let router = router
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_method);
    let server = Arc::new(Server {
        router,
        guard,
        limits,
        builder: builder(limits),
        silence: Silence::new(limits.strangers_max, limits.gives_way_after),
        shutdown,
    });
    let mut connections = JoinSet::new();
    let mut refusals = Refusals::default();
    // Often enough that nobody has much longer than that.
    let mut look = interval((limits.unread_max / 12).max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            () = server.shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            now = look.tick() => server.silence.end_unread(now, limits.unread_max),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < limits.connections_max => {
                    connections.spawn(Server::connection(&server, stream, peer));
                }
                Ok((stream, peer)) if server.silence.give_way(Some(peer.ip())) => {
                    refusals.note("too many are open: one that was silent is closed");
                    connections.spawn(Server::connection(&server, stream, peer));
                }
                Ok(_) => refusals.note("connection refused: too many are open"),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors or memory: it does not pass by trying again at once.
                    server.silence.give_way(None);
                    refusals.note(&format!("connections cannot be accepted: {error}"));
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn builder(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits::HEADER_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits::HEADER_LEN_MAX).unwrap_or(u32::MAX))
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .keep_alive_interval(limits::H2_PING_INTERVAL)
        .keep_alive_timeout(limits::H2_PING_TIMEOUT);
    builder
}

/// Whether an error of accepting is about the connection that was to be accepted, which is gone.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Says that connections were refused, at most once in an interval.
#[derive(Default)]
struct Refusals {
    count: u64,
    said: Option<Instant>,
}

impl Refusals {
    fn note(&mut self, why: &str) {
        self.count += 1;
        if self
            .said
            .is_none_or(|said| said.elapsed() >= limits::REFUSAL_LOG_INTERVAL)
        {
            tracing::warn!(why, count = self.count, "refusing connections");
            self.count = 0;
            self.said = Some(Instant::now());
        }
    }
}

/// What all connections of a listener share.
struct Server {
    router: Router,
    guard: Guard,
    limits: Limits,
    builder: auto::Builder<TokioExecutor>,
    silence: Arc<Silence>,
    shutdown: CancellationToken,
}

impl Server {
    /// A connection is known before it is served: it may have to give way at once.
    fn connection(
        server: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + use<> {
        let place = server.silence.connection(peer.ip());
        Arc::clone(server).serve(stream, peer, place)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Place) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let ends = Ends { local, peer };
        let socket = Socket::new(stream);
        let heard = socket.heard();
        let request_count = Arc::new(AtomicUsize::new(0));
        let service = service_fn(|request: Request<Incoming>| {
            request_count.fetch_add(1, Ordering::Relaxed);
            let (server, call) = (Arc::clone(&self), place.call());
            let request = request.map(Body::new);
            async move { Ok::<_, Infallible>(server.answer(request, ends, call).await) }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(socket), service));
        let mut gives_way = pin!(place.gives_way());
        let first_timeout = self.limits.header_timeout;
        let mut first_check = pin!(sleep(first_timeout.unwrap_or_default()));
        let mut is_checked = first_timeout.is_none();
        let mut grace_end = None;
        loop {
            tokio::select! {
                // What has come in is read before it is called silence.
                biased;
                result = poll_fn(|context| {
                    heard.turns.fetch_add(1, Ordering::Relaxed);
                    connection.as_mut().poll(context)
                }) => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, %error, "connection ended");
                    }
                    return;
                }
                // Until it knows the protocol, hyper waits for ever; afterwards it has timeouts of its own.
                () = first_check.as_mut(), if !is_checked => {
                    is_checked = true;
                    let is_silent = heard.len.load(Ordering::Relaxed) < PREFACE_LEN
                        || heard.is_http1.load(Ordering::Relaxed);
                    if is_silent && request_count.load(Ordering::Relaxed) == 0 {
                        return;
                    }
                }
                () = gives_way.as_mut() => return,
                () = self.shutdown.cancelled(), if grace_end.is_none() => {
                    grace_end = Some(Instant::now() + self.limits.shutdown_grace);
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(grace_end.unwrap_or_else(Instant::now)), if grace_end.is_some() => return,
            }
        }
    }

    async fn answer(&self, mut request: Request, ends: Ends, call: Call) -> Response {
        if self.limits.normalizes_paths {
            path::normalize(&mut request);
        }
        let is_grpc = is_grpc(request.headers());
        request.extensions_mut().insert(ends);
        request.extensions_mut().insert(ConnectInfo(ends.peer));
        let (len_max, idle) = (self.limits.body_len_max, self.limits.body_idle_timeout);
        let admitted = self
            .guard
            .admit(request, ends)
            .map(|request| self.recognize(request, &call))
            .map(|request| match is_grpc {
                true => request,
                false => intake::bound(request, len_max, idle),
            });
        let response = match admitted {
            Ok(request) => {
                let response = self.route(request, is_grpc).await;
                ending::end_with(&self.shutdown, response)
            }
            Err(problem) => {
                tracing::debug!(peer = %ends.peer, code = %problem.code, why = %problem.message, "request refused");
                refuse(problem, is_grpc)
            }
        };
        call.answer(response)
    }

    /// Somebody has called by this connection who may, or what serves the call finds that out.
    fn recognize(&self, mut request: Request, call: &Call) -> Request {
        let connection = call.connection();
        match self.guard.knows(&request) {
            true => connection.recognize(),
            false => {
                let connection = Arc::clone(connection);
                request.extensions_mut().insert(connection);
            }
        }
        request
    }

    /// A handler that panics costs its own request, not the connection that others share.
    async fn route(&self, request: Request, is_grpc: bool) -> Response {
        let routed = AssertUnwindSafe(self.router.clone().oneshot(request));
        match routed.catch_unwind().await {
            Ok(Ok(response)) if is_grpc => with_problem(response),
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => {
                tracing::error!("a request's handler has panicked");
                let problem =
                    Problem::new(code::INTERNAL, "the request met a defect of this program");
                let hint = "see the program's log at this time, and report it";
                refuse(problem.hint(hint), is_grpc)
            }
        }
    }
}

#[cfg(test)]
mod tests;
