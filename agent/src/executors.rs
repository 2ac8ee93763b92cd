//! The service that executors of frameworks talk to: one socket for each, in its run directory. Those of Mesos's API talk
//! to `mesos.rs`.
//!
//! The socket belongs to the user that the executor runs as, with mode 0600; who connects is asked of the kernel besides,
//! and every session shows the token that only its executor was given. So neither other users nor other tasks of the same
//! user get in. What is said is decoded here; all decisions are the core's.

mod session;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use nix::unistd::{Gid, Uid};
use proffer_agent_core::RunId;
use proffer_model::token::{TOKEN_LEN, format_token};
use proffer_model::{AgentId, ExecutorApi, ExecutorSpec, FrameworkId, Role};
use proffer_proto::v1::executor_server::ExecutorServer;
use proffer_server::auth::LocalToken;
use proffer_server::http::with_problem;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::inbox::Inbox;
use crate::limits::{
    ATTACH_INTERVAL, EXECUTOR_CALL_LEN_MAX, EXECUTOR_CONNECTIONS_MAX, EXECUTOR_HEADERS_LEN_MAX,
    EXECUTOR_STREAMS_MAX,
};
use crate::mesos::Mesos;
use crate::supervisor::protocol;
use session::Sessions;

pub(crate) use session::Subscriber;

/// The socket, in the run directory.
const SOCKET: &str = "agent.sock";
/// The token, in the run directory; only the agent's user can read it.
const TOKEN: &str = "token";
/// Bytes of a socket's path that the kernel takes.
const SOCKET_PATH_LEN_MAX: usize = 107;

/// All executors' sockets.
#[derive(Clone, Debug)]
pub(crate) struct Executors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runs_dir: PathBuf,
    inbox: Inbox,
    /// Where those of Mesos's API call; nothing when the agent has no such endpoint.
    mesos: Option<Mesos>,
    listening: Mutex<BTreeMap<RunId, CancellationToken>>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl Executors {
    /// None yet; `ended` ends all.
    pub(crate) fn new(
        runs_dir: PathBuf,
        mesos: Option<Mesos>,
        (inbox, ended): (Inbox, CancellationToken),
    ) -> Self {
        let shared = Shared {
            runs_dir,
            inbox,
            mesos,
            listening: Mutex::new(BTreeMap::new()),
            tasks: TaskTracker::new(),
            ended,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What an executor finds its agent by, in its environment. Holds its token. The error is for people.
    pub(crate) fn environment(
        &self,
        dir: &Path,
        (framework, spec): (&FrameworkId, &ExecutorSpec),
        (agent, role): (Option<&AgentId>, Option<&Role>),
    ) -> Result<Vec<(String, String)>, String> {
        let token = Self::token(dir).map_err(|error| format!("its token: {error}"))?;
        let token = token.secret().expose();
        let own = [
            ("PROFFER_FRAMEWORK_ID", framework.to_string()),
            ("PROFFER_EXECUTOR_ID", spec.id.to_string()),
            (
                "PROFFER_AGENT_ID",
                agent.map(ToString::to_string).unwrap_or_default(),
            ),
        ];
        let mut environment: Vec<(String, String)> =
            own.map(|(name, value)| (name.to_owned(), value)).into();
        match spec.api {
            ExecutorApi::Proffer => {
                let socket = dir.join(SOCKET).display().to_string();
                environment.push(("PROFFER_EXECUTOR_SOCKET".to_owned(), socket));
                environment.push(("PROFFER_EXECUTOR_TOKEN".to_owned(), token.to_owned()));
            }
            ExecutorApi::MesosV1 => {
                let sandbox = dir.join(protocol::SANDBOX).display().to_string();
                let mesos = self.mesos()?;
                let secrets = (&*sandbox, token);
                environment.extend(mesos.environment((framework, spec), (agent, role), secrets));
            }
        }
        Ok(environment)
    }

    fn mesos(&self) -> Result<&Mesos, String> {
        let mesos = self.shared.mesos.as_ref();
        mesos.ok_or_else(|| "it speaks Mesos's API, and this agent's mesos_api is off".to_owned())
    }

    /// The token of an executor, made when there is none yet.
    pub(crate) fn token(dir: &Path) -> io::Result<LocalToken> {
        let path = dir.join(TOKEN);
        match fs::File::open(&path) {
            Ok(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                let token = proffer_model::token::parse_token(&text);
                return token.map(LocalToken::new).map_err(io::Error::other);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut bytes = [0; TOKEN_LEN];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let token = format_token(bytes);
        let fresh = dir.join(format!("{TOKEN}.new"));
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        writeln!(file, "{}", token.expose())?;
        fs::rename(&fresh, &path)?;
        Ok(LocalToken::new(token))
    }

    /// Listens for an executor whose sandbox is made. The error is for people.
    pub(crate) fn listen(
        &self,
        run: RunId,
        framework: &FrameworkId,
        spec: &Arc<ExecutorSpec>,
    ) -> Result<(), String> {
        match spec.api {
            ExecutorApi::Proffer => self.listen_on_socket(run),
            ExecutorApi::MesosV1 => {
                let opened = self.mesos()?.open(run, framework, spec);
                opened.map_err(|error| format!("what is kept of it: {error}"))
            }
        }
    }

    fn listen_on_socket(&self, run: RunId) -> Result<(), String> {
        let dir = self.shared.runs_dir.join(run.to_string());
        let socket = dir.join(SOCKET);
        let len = socket.as_os_str().len();
        if len > SOCKET_PATH_LEN_MAX {
            return Err(format!(
                "the path of its socket has {len} bytes, and {SOCKET_PATH_LEN_MAX} are the limit: \
                 the agent needs a shorter work_dir"
            ));
        }
        let failed = |error: io::Error| format!("its socket: {error}");
        let token = Self::token(&dir).map_err(|error| format!("its token: {error}"))?;
        // The sandbox is of the user that it runs as.
        let sandbox = fs::metadata(dir.join(protocol::SANDBOX));
        let owner = sandbox.map_err(|error| format!("its sandbox: {error}"))?;
        let listener = bind(&socket, owner.uid(), owner.gid()).map_err(failed)?;
        let door = Door {
            run,
            uid: owner.uid(),
            token,
            shared: self.shared.clone(),
            ended: self.shared.ended.child_token(),
        };
        let listening = &self.shared.listening;
        let mut listening = listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = listening.insert(run, door.ended.clone()) {
            old.cancel();
        }
        self.shared.tasks.spawn(serve(listener, door));
        Ok(())
    }

    /// Listens for it no more, and ends its sessions.
    pub(crate) fn leave(&self, run: RunId) {
        if let Some(mesos) = &self.shared.mesos {
            mesos.leave(run);
        }
        let listening = &self.shared.listening;
        let mut listening = listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = listening.remove(&run) {
            ended.cancel();
        }
        // With its directory it goes anyway.
        let _ = fs::remove_file(self.shared.runs_dir.join(run.to_string()).join(SOCKET));
    }

    /// Waits until all has ended, after `ended`.
    pub(crate) async fn join(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        if let Some(mesos) = &self.shared.mesos {
            mesos.join().await;
        }
    }
}

fn bind(socket: &Path, uid: u32, gid: u32) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
    if uid != Uid::effective().as_raw() {
        nix::unistd::chown(socket, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(listener)
}

/// Whom one socket is for.
#[derive(Debug)]
pub(crate) struct Door {
    run: RunId,
    uid: u32,
    token: LocalToken,
    shared: Arc<Shared>,
    ended: CancellationToken,
}

/// Takes connections until it is ended; they end with it.
async fn serve(listener: UnixListener, door: Door) {
    let door = Arc::new(door);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = door.ended.cancelled() => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < EXECUTOR_CONNECTIONS_MAX => {
                    connections.spawn(converse(stream, door.clone()));
                }
                Ok(_) => tracing::debug!(run = %door.run, "an executor has too many connections"),
                Err(error) => {
                    // Out of files or memory: it does not pass by trying again at once.
                    tracing::warn!(run = %door.run, %error, "an executor's connection cannot be taken");
                    sleep(ATTACH_INTERVAL).await;
                }
            },
        }
    }
}

async fn converse(stream: UnixStream, door: Arc<Door>) {
    let peer = stream.peer_cred().map(|peer| peer.uid()).ok();
    let service = ExecutorServer::new(Sessions::new(door, peer))
        .max_decoding_message_size(EXECUTOR_CALL_LEN_MAX);
    let router = Routes::new(service).into_axum_router();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let answer: Result<_, Infallible> = tower::ServiceExt::oneshot(router, request).await;
            answer.map(with_problem)
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(EXECUTOR_STREAMS_MAX)
        .max_header_list_size(EXECUTOR_HEADERS_LEN_MAX);
    let served = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an executor's connection ended");
    }
}
