//! The small web server that the binary itself contains, so that a first app needs no download.
//!
//! Every answer names the instance, so that one sees requests being spread. SIGTERM makes it finish the requests that it
//! has and close; it never ends in the middle of one unless that takes longer than [`HELLO_DRAIN_TIMEOUT`].

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::routing::get;
use proffer_model::{Problem, code};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exit::Outcome;
use crate::limits::HELLO_DRAIN_TIMEOUT;
use crate::output;

/// `proffer hello`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HelloArgs {
    /// The port to listen on; 0 takes any that is free.
    #[arg(long)]
    port: u16,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
}

/// Serves until `shutdown`.
pub(crate) async fn run(args: HelloArgs, shutdown: CancellationToken) -> Outcome {
    let address = SocketAddr::new(args.host, args.port);
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::AddrInUse => code::PORT_TAKEN,
            _ => code::CONFIG_INVALID,
        };
        Problem::new(code, format!("{address} cannot be listened on: {error}"))
            .field("port")
            .hint("choose another with --port, or 0 for any that is free")
    })?;
    let address = listener.local_addr().unwrap_or(address);
    let greeting = greeting(instance_id().as_deref(), address);
    output::print(&format!("listening on http://{address}/\n"))?;
    let closing = shutdown.clone();
    let server = axum::serve(listener, router(greeting))
        .with_graceful_shutdown(async move { closing.cancelled().await });
    tokio::select! {
        result = server => result.map_err(|error| {
            Problem::new(code::INTERNAL, format!("the web server ended: {error}")).into()
        }),
        () = drained_too_long(shutdown) => Ok(()),
    }
}

fn router(greeting: String) -> Router {
    Router::new()
        .route("/health", get(|| async { "ok\n" }))
        .fallback(get(move || async move { greeting }))
}

/// The task's own id, as the agent gives it.
fn instance_id() -> Option<String> {
    ["PROFFER_TASK_ID", "MESOS_TASK_ID"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|id| !id.is_empty()))
}

fn greeting(instance: Option<&str>, address: SocketAddr) -> String {
    match instance {
        Some(id) => format!("hello from {id} at {address}\n"),
        None => format!("hello from {address}\n"),
    }
}

async fn drained_too_long(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    tokio::time::sleep(HELLO_DRAIN_TIMEOUT).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn answer(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn answers_name_the_instance_and_health_is_200() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = greeting(Some("web.1"), address);
        let server = tokio::spawn(async move { axum::serve(listener, router(text)).await });
        for path in ["/", "/any/other"] {
            let answer = answer(address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(
                answer.ends_with(&format!("hello from web.1 at {address}\n")),
                "{answer}"
            );
        }
        assert!(answer(address, "/health").await.starts_with("HTTP/1.1 200"));
        server.abort();
    }

    #[tokio::test]
    async fn a_taken_port_is_a_typed_error() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let args = HelloArgs {
            port: address.port(),
            host: address.ip(),
        };
        let failure = run(args, CancellationToken::new()).await.unwrap_err();
        let crate::exit::Failure::Problem(problem) = failure else {
            panic!("{failure:?}")
        };
        assert!(problem.is(code::PORT_TAKEN), "{problem}");
        assert_eq!(problem.field, "port");
    }
}
