//! The server over real sockets. Here: a router with something of everything, and a caller that speaks in bytes.

mod access;
mod ending;
mod limits;
mod silence;
mod together;

use std::pin::Pin;

use axum::Extension;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use futures::{Stream, StreamExt, stream};
use http::header::CONTENT_TYPE;
use proffer_model::{Principal, Secret};
use proffer_proto::v1::tasks_client::TasksClient;
use proffer_proto::v1::tasks_server::{Tasks, TasksServer};
use proffer_proto::v1::{LogsChunk, LogsRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::auth::LocalToken;
use crate::http::{Connection, Json, Refused};

/// Far longer than anything here takes; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than the kernel takes of an answer that nobody reads.
const LARGE_LEN: usize = 32 * 1024 * 1024;

fn token() -> LocalToken {
    LocalToken::new(Secret::new("5a".repeat(32)))
}

fn bearer() -> String {
    format!("Authorization: Bearer {}\r\n", token().secret().expose())
}

struct Running {
    addr: SocketAddr,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn with(limits: Limits, guard: Guard) -> Self {
        let listener =
            crate::listen::bind("127.0.0.1:0".parse().unwrap(), "listen").expect("bound");
        let addr = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let router = router().layer(Extension(shutdown.clone()));
        let served = tokio::spawn(serve_with(
            listener,
            router,
            guard,
            limits,
            shutdown.clone(),
        ));
        Self {
            addr,
            shutdown,
            served,
        }
    }

    async fn new() -> Self {
        Self::with(Limits::default(), Guard::new(token(), false)).await
    }

    /// Sends bytes and reads until the server closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("connected");
        // The server may close while we still send.
        let _ = stream.write_all(bytes).await;
        read_to_end(&mut stream).await
    }

    /// A request with the token, and what else is given.
    async fn call(&self, line: &str, headers: &str, body: &str) -> String {
        let addr = self.addr;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n{}{headers}\r\n",
            bearer()
        );
        self.raw(format!("{head}{body}").as_bytes()).await
    }

    async fn grpc(&self) -> TasksClient<tonic::transport::Channel> {
        TasksClient::connect(format!("http://{}", self.addr))
            .await
            .expect("connected")
    }

    async fn end(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.served)
            .await
            .expect("it ends")
            .expect("without a panic");
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut bytes))
        .await
        .expect("the server closes");
    // A reset, since the server closed with bytes unread, is a close too.
    let _ = read;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn read_until(stream: &mut TcpStream, what: &str) -> String {
    let mut text = String::new();
    while !text.contains(what) {
        let mut bytes = [0; 1_024];
        let len = timeout(PATIENCE, stream.read(&mut bytes))
            .await
            .expect("in time")
            .expect("read");
        assert!(len > 0, "closed before {what:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..len]));
    }
    text
}

fn router() -> Router {
    let grpc = tonic::service::Routes::new(TasksServer::new(FakeTasks)).into_axum_router();
    Router::new()
        .route(
            "/who",
            get(async |Extension(who): Extension<Principal>| who.to_string()),
        )
        .route("/metrics", get(async || "metrics"))
        .route("/recognize", get(recognize))
        .route("/large", get(async || vec![b'x'; LARGE_LEN]))
        .route(
            "/ends",
            get(async |Extension(ends): Extension<Ends>| ends.peer.to_string()),
        )
        .route(
            "/sum",
            post(async |Json(numbers): Json<Vec<u32>>| numbers.iter().sum::<u32>().to_string()),
        )
        .route(
            "/refuse",
            get(async || Refused(Problem::new(code::APP_UNKNOWN, "no such app"))),
        )
        .route("/panic", get(panics))
        .route("/events", get(events))
        .route("/slow", get(slow))
        .route(
            "/stuck",
            get(async || std::future::pending::<String>().await),
        )
        .merge(grpc)
}

async fn recognize(Extension(connection): Extension<Arc<Connection>>) -> &'static str {
    connection.recognize();
    "recognized"
}

async fn panics() -> String {
    panic!("as the test wants it")
}

/// One event, then silence.
async fn events() -> Response {
    let body = stream::iter([Ok::<_, Infallible>("data: a\n\n")]).chain(stream::pending());
    (
        [(CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(body),
    )
        .into_response()
}

/// The first half at once, the second when the shutdown has begun.
async fn slow(Extension(shutdown): Extension<CancellationToken>) -> Response {
    let second = async move {
        shutdown.cancelled().await;
        Ok::<_, Infallible>("second\n")
    };
    Body::from_stream(stream::iter([Ok("first\n")]).chain(stream::once(second))).into_response()
}

struct FakeTasks;

#[tonic::async_trait]
impl Tasks for FakeTasks {
    type LogsStream = Pin<Box<dyn Stream<Item = Result<LogsChunk, tonic::Status>> + Send>>;

    async fn logs(
        &self,
        request: tonic::Request<LogsRequest>,
    ) -> Result<tonic::Response<Self::LogsStream>, tonic::Status> {
        assert!(
            request.extensions().get::<Principal>().is_some(),
            "the principal reaches gRPC services"
        );
        let chunks = stream::iter([Ok(LogsChunk::default())]).chain(stream::pending());
        Ok(tonic::Response::new(Box::pin(chunks)))
    }
}

fn with_token(message: LogsRequest) -> tonic::Request<LogsRequest> {
    let mut request = tonic::Request::new(message);
    let value = format!("Bearer {}", token().secret().expose());
    request
        .metadata_mut()
        .insert("authorization", value.parse().expect("a value"));
    request
}
