//! The thread on which the ZooKeeper client lives, and the rules that make it safe to use.
//!
//! The client cannot be trusted bare. It takes replies in the order in which they come, without looking whose they are,
//! and bytes of a lost connection can be taken for the next one's; it forgets credentials and watches with each
//! connection; it reconnects without a pause; it becomes another session without a word; it can hang. Hence:
//!
//! - One client is one session, on a runtime and a thread of its own. Whatever is wrong, the runtime is dropped.
//! - Calls are made one after the other. An answer counts only if no connection was made while it was waited for.
//! - After each connection, before anything else: credentials, then questions that have answers by chance. Should
//!   answers and questions be out of step, they do not match.
//! - While there is no connection, something is asked all the time; when that is lost, the thread, and with it the
//!   client, stands still for a moment. So a server that hangs up again and again is not stormed.
//! - No answer within the session's timeout, or any sign of another session, is the end.
//!
//! What the client logs is dropped: everyday troubles are errors to it, and some lines hold what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use proffer_model::{Problem, code};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use zookeeper_async::{Acl, CreateMode, Permission, WatchedEvent, ZkError, ZkState, ZooKeeper};

use crate::knock;
use crate::limits::{
    CALL_PARALLEL_MAX, CHECK_BITS, CLOSE_TIMEOUT, LOSS_FORGET, LOSS_PAUSE, RECONNECT_WAIT,
};
use crate::session::{
    Access, Answer, Ends, Lifetime, Node, Operation, Request, SessionError, closed,
};
use crate::url::ZooKeeperUrl;

/// Whether the session was opened.
type Opened = oneshot::Sender<Result<(), Problem>>;

/// Lives one session, from the first connection to its end.
pub(crate) fn run(
    url: &ZooKeeperUrl,
    session: Duration,
    requests: mpsc::Receiver<Request>,
    ends: &Ends,
    opened: Opened,
) {
    let quiet = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let _quiet = tracing::dispatcher::set_default(&quiet);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let problem = match runtime {
        Ok(runtime) => {
            let problem = runtime.block_on(live(url, session, requests, ends, opened));
            runtime.shutdown_background();
            problem
        }
        Err(error) => Problem::new(code::INTERNAL, format!("cannot start a runtime: {error}")),
    };
    ends.over.send_replace(Some(problem));
}

async fn live(
    url: &ZooKeeperUrl,
    session: Duration,
    mut requests: mpsc::Receiver<Request>,
    ends: &Ends,
    opened: Opened,
) -> Problem {
    let connected = tokio::select! {
        connected = Client::connect(url, session, ends) => connected,
        () = ends.stop.cancelled() => return closed(),
    };
    let mut client = match connected {
        Ok(client) => client,
        Err(problem) => {
            let _ = opened.send(Err(problem.clone()));
            return problem;
        }
    };
    let zookeeper = Arc::clone(&client.zookeeper);
    let problem = tokio::select! {
        problem = client.serve(&mut requests, opened) => problem,
        () = ends.stop.cancelled() => closed(),
    };
    // Calls that wait are let go now, and ask why.
    let _ = ends.why.set(problem.clone());
    drop(requests);
    // What lives with the session would otherwise stay until its timeout.
    let _ = timeout(CLOSE_TIMEOUT, zookeeper.close()).await;
    problem
}

/// What the client's listener tells about its connection.
#[derive(Debug, Default)]
struct Link {
    /// How many connections there were or are being made.
    generation: AtomicU64,
    /// The session is over, as the client says.
    is_over: AtomicBool,
    changed: Notify,
}

impl Link {
    fn on_state(&self, state: ZkState) {
        match state {
            ZkState::Connected => return,
            ZkState::Connecting => {
                self.generation.fetch_add(1, Ordering::SeqCst);
            }
            // Whatever else it is, it is no session that can be written to. One that has expired is told as a state
            // that is no longer used otherwise.
            _ => self.is_over.store(true, Ordering::SeqCst),
        }
        self.changed.notify_one();
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

struct Client {
    zookeeper: Arc<ZooKeeper>,
    link: Arc<Link>,
    session: Duration,
    /// `user:password`.
    credentials: Option<Vec<u8>>,
    /// The connection that has passed its check.
    checked: Option<u64>,
    lost_at: Option<Instant>,
    /// Why nothing more is asked.
    over: Option<Problem>,
}

impl Client {
    async fn connect(url: &ZooKeeperUrl, session: Duration, ends: &Ends) -> Result<Self, Problem> {
        let servers = knock::serving(url, session).await?;
        let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        let hint = Arc::clone(&ends.hint);
        let watcher = move |_: WatchedEvent| hint.notify_one();
        let servers = servers.join(",");
        let connecting =
            ZooKeeper::connect_with_retry_time(&servers, session, watcher, RECONNECT_WAIT);
        let zookeeper = match timeout(session, connecting).await {
            Ok(Ok(zookeeper)) => zookeeper,
            Ok(Err(error)) => return Err(broken(&error.to_string())),
            Err(_) => return Err(silent(session)),
        };
        let link = Arc::new(Link::default());
        // Nothing was awaited since the client was made, so it has told nothing yet that would now be missed.
        let listening = Arc::clone(&link);
        zookeeper.add_listener(move |state| listening.on_state(state));
        let credentials = url.credentials().map(|credentials| {
            let password = credentials.password.expose();
            format!("{}:{password}", credentials.user).into_bytes()
        });
        Ok(Self {
            zookeeper: Arc::new(zookeeper),
            link,
            session,
            credentials,
            checked: None,
            lost_at: None,
            over: None,
        })
    }

    /// Serves calls until there are no callers any more, or the session is over.
    async fn serve(&mut self, requests: &mut mpsc::Receiver<Request>, opened: Opened) -> Problem {
        let link = Arc::clone(&self.link);
        let first = self.ready(Instant::now() + self.session).await;
        let _ = opened.send(first.map(|_| ()));
        while self.over.is_none() {
            tokio::select! {
                biased;
                () = link.changed.notified() => {
                    // Not to be idle while the client reconnects; what comes of it shows with the next call.
                    let _ = self.ready(Instant::now() + self.session).await;
                }
                request = requests.recv() => match request {
                    Some(Request { operation, reply }) => {
                        let _ = reply.send(self.perform(&operation).await);
                    }
                    None => break,
                },
            }
        }
        self.over.take().unwrap_or_else(closed)
    }

    async fn perform(&mut self, operation: &Operation) -> Result<Answer, SessionError> {
        let deadline = Instant::now() + self.session;
        loop {
            let ready = self.ready(deadline).await;
            let generation = ready.map_err(|problem| SessionError::Over(problem.into()))?;
            let asking = execute(&self.zookeeper, self.credentials.is_some(), operation);
            let answered = timeout_at(deadline, asking).await;
            let is_same = self.link.generation() == generation;
            match answered {
                Err(_) => return Err(self.end(silent(self.session)).into()),
                Ok(_) if self.link.is_over() => return Err(self.end(expired()).into()),
                Ok(Ok(answer)) if is_same => return Ok(answer),
                Ok(Err(Failure::Answered(error))) if is_same => return Err(error),
                Ok(Err(Failure::Over(problem))) if is_same => return Err(self.end(problem).into()),
                Ok(_) => {
                    self.pause_after_loss();
                    if !operation.is_repeatable() {
                        return Err(SessionError::Unknown);
                    }
                }
            }
        }
    }

    /// Waits for a connection that has passed its check; answers its generation.
    async fn ready(&mut self, deadline: Instant) -> Result<u64, Problem> {
        loop {
            let generation = self.link.generation();
            if let Some(problem) = &self.over {
                return Err(problem.clone());
            }
            if self.link.is_over() {
                return Err(self.end(expired()));
            }
            if self.checked == Some(generation) {
                return Ok(generation);
            }
            let checking = check(&self.zookeeper, self.credentials.as_deref());
            let checked = timeout_at(deadline, checking).await;
            let is_same = self.link.generation() == generation;
            match checked {
                Err(_) => return Err(self.end(silent(self.session))),
                Ok(Ok(())) if is_same => self.checked = Some(generation),
                Ok(Err(Failure::Over(problem))) if is_same => return Err(self.end(problem)),
                Ok(_) => self.pause_after_loss(),
            }
        }
    }

    /// Holds the thread, and with it the client, which would connect again thousands of times a second; but not when
    /// this is the first loss for a while.
    fn pause_after_loss(&mut self) {
        let now = Instant::now();
        let is_first = self.lost_at.is_none_or(|lost| now - lost > LOSS_FORGET);
        self.lost_at = Some(now);
        if !is_first {
            thread::park_timeout(LOSS_PAUSE);
        }
    }

    fn end(&mut self, problem: Problem) -> Problem {
        self.over.get_or_insert(problem).clone()
    }
}

impl Operation {
    /// Whether doing it twice does no more than doing it once, whatever happens in between.
    fn is_repeatable(&self) -> bool {
        match self {
            Self::Read { .. } | Self::List { .. } | Self::Delete { .. } => true,
            Self::Create { .. } | Self::Write { .. } => false,
        }
    }
}

impl From<Problem> for SessionError {
    fn from(problem: Problem) -> Self {
        Self::Over(problem.into())
    }
}

fn silent(session: Duration) -> Problem {
    let message = format!("ZooKeeper did not answer within {} ms", session.as_millis());
    Problem::new(code::PEER_UNREACHABLE, message)
        .field("store")
        .hint("see that ZooKeeper runs and has a quorum")
}

fn expired() -> Problem {
    Problem::new(
        code::PEER_UNREACHABLE,
        "the session with ZooKeeper has expired",
    )
    .field("store")
    .hint("see whether this host or ZooKeeper stood still, or the network between them failed")
}

fn broken(why: &str) -> Problem {
    let message = format!("ZooKeeper's answers make no sense: {why}");
    Problem::new(code::STORE_FAILED, message).field("store")
}

/// Why there is no answer.
enum Failure {
    /// The connection was lost, so it may have been done.
    Lost,
    /// ZooKeeper has answered that it was not done.
    Answered(SessionError),
    /// The session cannot go on.
    Over(Problem),
}

/// Sorts an error of the client's.
fn sort(error: ZkError, path: &str) -> Failure {
    let path = path.to_owned();
    Failure::Answered(match error {
        ZkError::NodeExists => SessionError::Exists { path },
        ZkError::NoNode => SessionError::Missing { path },
        ZkError::BadVersion => SessionError::Changed { path },
        ZkError::NoAuth => SessionError::Denied { path },
        ZkError::ConnectionLoss | ZkError::OperationTimeout => return Failure::Lost,
        ZkError::SessionExpired | ZkError::SessionMoved => return Failure::Over(expired()),
        ZkError::MarshallingError | ZkError::DataInconsistency => {
            return Failure::Over(broken(&error.to_string()));
        }
        ZkError::AuthFailed => {
            let problem = Problem::new(code::STORE_FAILED, "ZooKeeper refuses the credentials");
            return Failure::Over(
                problem
                    .field("store")
                    .hint("correct them in zk://user:password@…"),
            );
        }
        _ => SessionError::Refused {
            path,
            why: format!("{error:?}"),
        },
    })
}

/// Gives the credentials, then asks for what does and what does not exist, in an order of chance, all at once. Answers
/// to anything else do not come in that order.
async fn check(zookeeper: &Arc<ZooKeeper>, credentials: Option<&[u8]>) -> Result<(), Failure> {
    if let Some(credentials) = credentials {
        let added = zookeeper.add_auth("digest", credentials.to_vec()).await;
        added.map_err(|error| sort(error, "/"))?;
    }
    let chance = getrandom::u64().unwrap_or_default();
    let is_there = |bit: u32| (chance >> bit) & 1 == 1;
    let mut questions = JoinSet::new();
    for bit in 0..CHECK_BITS {
        let (zookeeper, is_there) = (Arc::clone(zookeeper), is_there(bit));
        let path = if is_there {
            "/".to_owned()
        } else {
            format!("/no-such-node-{chance:016x}")
        };
        questions.spawn(async move { (is_there, zookeeper.exists(&path, false).await) });
    }
    while let Some(answered) = questions.join_next().await {
        match answered {
            Ok((is_there, Ok(stat))) if stat.is_some() == is_there => {}
            Ok((_, Err(ZkError::ConnectionLoss))) | Err(_) => return Err(Failure::Lost),
            Ok(_) => return Err(Failure::Over(broken("they are out of step with the calls"))),
        }
    }
    Ok(())
}

/// Makes one call.
async fn execute(
    zookeeper: &Arc<ZooKeeper>,
    is_known: bool,
    operation: &Operation,
) -> Result<Answer, Failure> {
    match operation {
        Operation::Create {
            path,
            bytes,
            access,
            lifetime,
        } => {
            let mode = match lifetime {
                Lifetime::Lasting => CreateMode::Persistent,
                Lifetime::SessionNumbered => CreateMode::EphemeralSequential,
            };
            let created = zookeeper
                .create(path, bytes.clone(), acl(*access, is_known), mode)
                .await
                .map_err(|error| sort(error, path))?;
            // A reply that is not to this call would not know the path.
            match created.starts_with(path.as_str()) {
                true => Ok(Answer::Created(created)),
                false => Err(Failure::Over(broken("a reply names another node"))),
            }
        }
        Operation::Write {
            path,
            bytes,
            version,
        } => {
            let written = zookeeper.set_data(path, bytes.clone(), *version).await;
            let stat = written.map_err(|error| sort(error, path))?;
            Ok(Answer::Written(stat.version))
        }
        Operation::List { path } => match zookeeper.get_children(path, true).await {
            Ok(names) => Ok(Answer::Names(Some(names))),
            Err(ZkError::NoNode) => Ok(Answer::Names(None)),
            Err(error) => Err(sort(error, path)),
        },
        Operation::Read { paths } => {
            let read = each(paths, |path| read(Arc::clone(zookeeper), path)).await;
            Ok(Answer::Nodes(read?))
        }
        Operation::Delete { paths } => {
            each(paths, |path| delete(Arc::clone(zookeeper), path)).await?;
            Ok(Answer::Deleted)
        }
    }
}

async fn read(zookeeper: Arc<ZooKeeper>, path: String) -> Result<Option<Node>, Failure> {
    match zookeeper.get_data(&path, false).await {
        Ok((bytes, stat)) => Ok(Some(Node {
            bytes,
            version: stat.version,
            created: stat.czxid,
            is_of_session: stat.is_ephemeral(),
        })),
        Err(ZkError::NoNode) => Ok(None),
        Err(error) => Err(sort(error, &path)),
    }
}

async fn delete(zookeeper: Arc<ZooKeeper>, path: String) -> Result<(), Failure> {
    match zookeeper.delete(&path, None).await {
        Ok(()) | Err(ZkError::NoNode) => Ok(()),
        Err(error) => Err(sort(error, &path)),
    }
}

/// Does the same with each path, several at once; answers in the paths' order, or the first failure.
async fn each<T, F>(paths: &[String], ask: impl Fn(String) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut answers = Vec::with_capacity(paths.len());
    for part in paths.chunks(CALL_PARALLEL_MAX) {
        let mut asked = JoinSet::new();
        for (index, path) in part.iter().enumerate() {
            let answer = ask(path.clone());
            asked.spawn(async move { (index, answer.await) });
        }
        let mut answered = Vec::with_capacity(part.len());
        while let Some(joined) = asked.join_next().await {
            let (index, answer) = joined.map_err(|_| Failure::Lost)?;
            answered.push((index, answer?));
        }
        answered.sort_unstable_by_key(|(index, _)| *index);
        answers.extend(answered.into_iter().map(|(_, answer)| answer));
    }
    Ok(answers)
}

/// Who may do what with a new node.
fn acl(access: Access, is_known: bool) -> Vec<Acl> {
    if !is_known {
        return Acl::open_unsafe().clone();
    }
    let mut acl = Acl::creator_all().clone();
    if access == Access::Readable {
        acl.push(Acl::new(Permission::READ, "world", "anyone"));
    }
    acl
}
