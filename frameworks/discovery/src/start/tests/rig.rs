//! What the tests of the sidecar play: services, instances, and a sidecar with a directory of its own.

use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::super::*;
use crate::config::Options;

pub(super) const WAIT: Duration = Duration::from_secs(60);

/// Services: an app list that the test sets, and an event for each change.
#[derive(Clone)]
pub(super) struct Services {
    pub(super) apps: Arc<Mutex<String>>,
    pub(super) changed: broadcast::Sender<()>,
    pub(super) url: String,
}

impl Services {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let services = Self {
            apps: Arc::new(Mutex::new(String::new())),
            changed: broadcast::channel(100).0,
            url,
        };
        let router = Router::new()
            .route(
                "/v2/apps",
                get(|State(s): State<Services>| async move {
                    format!("{{\"apps\":[{}]}}", s.apps.lock().expect("lock"))
                }),
            )
            .route(
                "/v2/events",
                get(|State(s): State<Services>| async move {
                    let changed = s.changed.subscribe();
                    Sse::new(futures::stream::unfold(changed, |mut changed| async move {
                        changed.recv().await.ok()?;
                        Some((
                            Ok::<_, std::convert::Infallible>(Event::default().data("{}")),
                            changed,
                        ))
                    }))
                }),
            )
            .with_state(services.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        services
    }

    pub(super) fn set(&self, apps: &[String]) {
        *self.apps.lock().expect("lock") = apps.join(",");
        let _ = self.changed.send(());
    }
}

/// A small web server that answers with its port; the task ends it.
pub(super) async fn instance() -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("bound").port();
    let handle = tokio::spawn(async move {
        let router = Router::new().fallback(move || async move { port.to_string() });
        let _ = axum::serve(listener, router).await;
    });
    (port, handle)
}

/// A port that is free now: HAProxy cannot be asked for port 0.
pub(super) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .await
        .expect("port")
        .local_addr()
        .expect("bound")
        .port()
}

pub(super) fn app(id: &str, port: u16, instances: &[u16]) -> String {
    let task = |p: &u16| {
        format!(
            r#"{{"id":"t{p}","host":"127.0.0.1","ports":[{p}],"state":"TASK_RUNNING","healthCheckResults":[{{"alive":true}}]}}"#
        )
    };
    let tasks: Vec<String> = instances.iter().map(task).collect();
    format!(
        r#"{{"id":"{id}","portDefinitions":[{{"port":{port}}}],"healthChecks":[{{"protocol":"HTTP","path":"/"}}],"tasks":[{}]}}"#,
        tasks.join(",")
    )
}

/// A sidecar with its own work directory. HAProxy is stopped when the test ends.
pub(super) struct Sidecar {
    pub(super) folder: Arc<Folder>,
    pub(super) running: Running,
    shutdown: CancellationToken,
    token: String,
}

/// Ends the HAProxy that works here, however the test ends.
pub(super) struct Folder(pub(super) tempfile::TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        let pid_file = self.0.path().join("work/haproxy.pid");
        if let Some(pid) = std::fs::read_to_string(pid_file)
            .ok()
            .and_then(|t| t.trim().parse().ok())
        {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGTERM,
            );
        }
    }
}

pub(super) fn options(folder: &Path, services: &str) -> Options {
    Options {
        services: Some(vec![services.to_owned()]),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        work_dir: Some(folder.join("work")),
        run_haproxy: Some(true),
        token_file: Some(folder.join("token")),
        ..Options::default()
    }
}

impl Sidecar {
    pub(super) async fn start(services: &Services) -> Self {
        Self::start_with(services, |_| {}).await
    }

    pub(super) async fn start_with(services: &Services, edit: impl FnOnce(&mut Options)) -> Self {
        let folder = Arc::new(Folder(tempfile::tempdir().expect("folder")));
        Self::start_in(folder, services, edit).await
    }

    pub(super) async fn start_in(
        folder: Arc<Folder>,
        services: &Services,
        edit: impl FnOnce(&mut Options),
    ) -> Self {
        let mut options = options(folder.0.path(), &services.url);
        edit(&mut options);
        let config = Config::from_options(options).expect("options");
        let shutdown = CancellationToken::new();
        let running = start(config, shutdown.clone()).await.expect("started");
        let token = std::fs::read_to_string(folder.0.path().join("token")).expect("token");
        Self {
            folder,
            running,
            shutdown,
            token: token.trim().to_owned(),
        }
    }

    /// Waits until the view is as wanted.
    pub(super) async fn until(&self, what: &str, is_so: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.running.view();
        let found = timeout(WAIT, view.wait_for(|view| is_so(view))).await;
        match found {
            Ok(view) => Arc::clone(&view.expect("the sidecar runs")),
            Err(_) => panic!("{what}: {:#?}", self.running.view().borrow()),
        }
    }

    pub(super) async fn until_served(&self, servers: usize) -> Arc<View> {
        let count = |view: &View| view.services.iter().map(|s| s.servers.len()).sum::<usize>();
        self.until("served", |view| view.is_settled && count(view) == servers)
            .await
    }

    pub(super) async fn stop(self) -> Arc<Folder> {
        self.shutdown.cancel();
        timeout(WAIT, self.running.join()).await.expect("it ends");
        self.folder
    }

    pub(super) async fn get(&self, path: &str, token: bool) -> (u16, String) {
        let authorization = if token {
            format!("Authorization: Bearer {}\r\n", self.token)
        } else {
            String::new()
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{authorization}\r\n",
            self.running.address
        );
        let text = exchange(self.running.address, &request)
            .await
            .expect("an answer");
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        (status, text)
    }
}

pub(super) async fn exchange(address: SocketAddr, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// One request on a connection of its own; the body of a 200.
pub(super) async fn ask(port: u16) -> Result<String, String> {
    let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let answer = timeout(WAIT, exchange(address, request))
        .await
        .map_err(|e| e.to_string())?;
    let answer = answer.map_err(|error| error.to_string())?;
    if !answer.starts_with("HTTP/1.1 200") {
        return Err(answer.lines().next().unwrap_or("nothing").to_owned());
    }
    Ok(answer.rsplit("\r\n").next().unwrap_or_default().to_owned())
}
