//! Checks of tasks: a TCP connection, an HTTP GET whose answer is 200 to 399, or a command that ends with 0. Redirects are
//! not followed, and no token is sent. A task is looked for on loopback first, then at the address of its host.

mod command;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{HOST, USER_AGENT};
use hyper_util::rt::TokioIo;
use proffer_agent_core::{Event, RunId};
use proffer_model::{CheckAnswer, CheckKind};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox::Inbox;
use crate::limits::PROBES_MAX;

pub(crate) use command::{Commands, last_line};

/// A check that did not pass.
#[derive(Debug)]
struct Failed {
    /// For people.
    why: String,
    /// What the task answered, if it did.
    answer: Option<CheckAnswer>,
}

/// Makes checks.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    hosts: Arc<[String]>,
    commands: Arc<Commands>,
    permits: Arc<Semaphore>,
    inbox: Inbox,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Prober {
    /// For tasks on this host, which others know as `host`.
    pub(crate) fn new(
        host: &str,
        commands: Commands,
        inbox: Inbox,
        ended: CancellationToken,
    ) -> Self {
        let mut hosts = vec!["127.0.0.1".to_owned(), "::1".to_owned()];
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
        Self {
            hosts: hosts.into(),
            commands: Arc::new(commands),
            permits: Arc::new(Semaphore::new(PROBES_MAX)),
            inbox,
            tasks: TaskTracker::new(),
            ended,
        }
    }

    /// Makes a check; its result comes as an event.
    pub(crate) fn probe(&self, run: RunId, check: usize, kind: CheckKind, limit: Duration) {
        let prober = self.clone();
        let ended = self.ended.clone();
        let work = async move {
            // The semaphore is never closed.
            let _permit = prober.permits.acquire().await;
            let result = timeout(limit, prober.find_out(run, &kind)).await;
            let (failure, answer) = match result {
                Ok(Ok(answer)) => (None, Some(answer)),
                Ok(Err(failed)) => (Some(failed.why), failed.answer),
                Err(_) => {
                    let why = format!("no answer within {} ms", limit.as_millis());
                    (Some(why), None)
                }
            };
            prober
                .inbox
                .send(Event::CheckFinished {
                    run,
                    check,
                    failure,
                    answer,
                })
                .await;
        };
        self.tasks.spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = work => {}
            }
        });
    }

    async fn find_out(&self, run: RunId, kind: &CheckKind) -> Result<CheckAnswer, Failed> {
        match kind {
            CheckKind::Tcp { port } => match connect(&self.hosts, *port).await {
                Ok(_) => Ok(CheckAnswer::Tcp(true)),
                Err(error) => Err(Failed {
                    why: error.to_string(),
                    answer: Some(CheckAnswer::Tcp(false)),
                }),
            },
            CheckKind::Http { port, path } => {
                let stream = connect(&self.hosts, *port).await;
                get(stream.map_err(unanswered)?, *port, path).await
            }
            CheckKind::Command { shell } => self.commands.probe(run, shell).await,
        }
    }

    /// Waits until all checks have ended, after `ended`.
    pub(crate) async fn join(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Connects to the first address that takes it; the error is that of the first.
async fn connect(hosts: &[String], port: u16) -> io::Result<TcpStream> {
    let mut first = None;
    for host in hosts {
        match TcpStream::connect((host.as_str(), port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    port: u16,
    path: &str,
) -> Result<CheckAnswer, Failed> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(unanswered)?;
    let request = Request::get(path)
        .header(HOST, format!("127.0.0.1:{port}"))
        .header(
            USER_AGENT,
            concat!("proffer-agent/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(unanswered)?;
    let mut answer = pin!(sender.send_request(request));
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // The connection may end with the answer; without one, waiting for it is an error.
        _ = connection => answer.await,
    };
    let answer = answer.map_err(unanswered)?;
    let status = answer.status();
    let answer = CheckAnswer::Http(status.as_u16());
    if status.is_success() || status.is_redirection() {
        return Ok(answer);
    }
    Err(Failed {
        why: format!("answered {}", status.as_u16()),
        answer: Some(answer),
    })
}

/// What a check over HTTP makes of these bytes, and whether it passes: for `parsers.rs`.
pub(crate) fn answer_of(bytes: &[u8]) -> io::Result<(Option<CheckAnswer>, bool)> {
    /// The call, which nobody reads.
    const CALL_LEN_MAX: usize = 1_024;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(bytes.len().max(CALL_LEN_MAX));
        far.write_all(bytes).await?;
        far.shutdown().await?;
        Ok(match get(near, 80, "/").await {
            Ok(answer) => (Some(answer), true),
            Err(failed) => (failed.answer, false),
        })
    })
}

fn unanswered(error: impl std::fmt::Display) -> Failed {
    Failed {
        why: error.to_string(),
        answer: None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with these bytes; answers the port.
    async fn serve(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let count = stream.read(&mut request).await.unwrap();
            assert!(request[..count].starts_with(b"GET /up?a=1 HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        port
    }

    fn prober() -> (Prober, tokio::sync::mpsc::Receiver<crate::inbox::Input>) {
        let (inbox, events) = crate::inbox::inbox();
        let commands = Commands::new("/nowhere".into(), "/nowhere".as_ref());
        let prober = Prober::new("127.0.0.1", commands, inbox, CancellationToken::new());
        (prober, events)
    }

    async fn http(port: u16) -> Result<CheckAnswer, Failed> {
        let kind = CheckKind::Http {
            port,
            path: "/up?a=1".to_owned(),
        };
        prober().0.find_out(RunId(1), &kind).await
    }

    #[tokio::test]
    async fn answers_from_200_to_399_are_healthy() {
        for (answer, is_healthy) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n", false),
            ("garbage\r\n\r\n", false),
            ("", false),
        ] {
            let result = http(serve(answer).await).await;
            assert_eq!(result.is_ok(), is_healthy, "{answer:?}: {result:?}");
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_said_to_refuse_and_an_open_one_is_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (prober, _events) = prober();
        let tcp = CheckKind::Tcp { port };
        prober.find_out(RunId(1), &tcp).await.unwrap();
        drop(listener);
        let failed = prober.find_out(RunId(1), &tcp).await.unwrap_err();
        assert!(failed.why.contains("refused"), "{failed:?}");
        assert_eq!(failed.answer, Some(CheckAnswer::Tcp(false)));
    }

    #[tokio::test]
    async fn a_body_is_not_waited_for_and_headers_without_end_fail_the_check() {
        let huge = "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\nx";
        http(serve(huge).await).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endless = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
            while stream.write_all(&[b'a'; 4096]).await.is_ok() {}
        };
        let (result, ()) = tokio::join!(http(port), endless);
        result.unwrap_err();
    }

    #[tokio::test]
    async fn programs_that_hang_do_not_hold_up_the_checks_of_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hanging = CheckKind::Http {
            port: listener.local_addr().unwrap().port(),
            path: "/".to_owned(),
        };
        let (prober, mut events) = prober();
        for run in 0..100 {
            prober.probe(RunId(run), 0, hanging.clone(), Duration::from_secs(1000));
        }
        let tcp = CheckKind::Tcp {
            port: listener.local_addr().unwrap().port(),
        };
        prober.probe(RunId(100), 0, tcp, Duration::from_secs(1000));
        match timeout(Duration::from_secs(60), events.recv())
            .await
            .unwrap()
        {
            Some(crate::inbox::Input::Event(event)) => {
                let is_last = matches!(
                    *event,
                    Event::CheckFinished {
                        run: RunId(100),
                        failure: None,
                        answer: Some(CheckAnswer::Tcp(true)),
                        ..
                    }
                );
                assert!(is_last, "{event:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_check_whose_answer_does_not_come_or_drips_in_fails_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for byte in b"HTTP/1.1 200 OK\r\n".iter().chain([b'a'].iter().cycle()) {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let (prober, mut events) = prober();
        let kind = CheckKind::Http {
            port,
            path: "/".to_owned(),
        };
        prober.probe(RunId(1), 0, kind, Duration::from_millis(20));
        match events.recv().await {
            Some(crate::inbox::Input::Event(event)) => {
                let failure = Some("no answer within 20 ms".to_owned());
                assert_eq!(
                    *event,
                    Event::CheckFinished {
                        run: RunId(1),
                        check: 0,
                        failure,
                        answer: None,
                    }
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
