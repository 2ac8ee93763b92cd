//! A session with ZooKeeper: what can be asked of it, and what it answers.
//!
//! A session is one life: it is never resumed as another, and what was asked of one that is over is never asked of the
//! next. Everything that the client does stays on a thread of its own (`client`), where it can be ended at any moment;
//! this is the other end of it, for async callers and for those that block.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use proffer_model::{Problem, code};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::client;
use crate::limits::{CALLS_MAX, CLOSE_TIMEOUT};
use crate::url::ZooKeeperUrl;

/// A session. Cheap to clone; all clones are the same session, and it is closed when none is left.
#[derive(Clone, Debug)]
pub struct Session {
    calls: mpsc::Sender<Request>,
    ends: Ends,
}

/// What both ends of a session know of its life.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    /// Why it ends; said to calls that still wait then.
    pub(crate) why: Arc<OnceLock<Problem>>,
    /// Why it is over; none while it lives.
    pub(crate) over: watch::Sender<Option<Problem>>,
    /// Asks for its end.
    pub(crate) stop: CancellationToken,
    /// ZooKeeper says that something under a listed path has changed. A hint: it may be late, or never come.
    pub(crate) hint: Arc<Notify>,
}

/// A call on its way to the client.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) operation: Operation,
    pub(crate) reply: oneshot::Sender<Result<Answer, SessionError>>,
}

/// What can be asked.
#[derive(Debug)]
pub(crate) enum Operation {
    Create {
        path: String,
        bytes: Vec<u8>,
        access: Access,
        lifetime: Lifetime,
    },
    Write {
        path: String,
        bytes: Vec<u8>,
        version: Option<i32>,
    },
    Delete {
        paths: Vec<String>,
    },
    Read {
        paths: Vec<String>,
    },
    List {
        path: String,
    },
}

/// What is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Created(String),
    Written(i32),
    Deleted,
    Nodes(Vec<Option<Node>>),
    Names(Option<Vec<String>>),
}

/// Who may do what with a new node, if the session has credentials; everybody everything, if it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only its creator, everything.
    Creator,
    /// Its creator everything, everybody else may read.
    Readable,
}

/// How long a new node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    Lasting,
    /// As long as its session; its name gets a number that grows.
    SessionNumbered,
}

/// A node as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// What it says.
    pub bytes: Vec<u8>,
    /// How often it has been written.
    pub version: i32,
    /// The transaction that created it; grows with each node of the ensemble, and is never given twice.
    pub created: i64,
    /// Whether it goes with the session that created it.
    pub is_of_session: bool,
}

/// Why a call was not answered as hoped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There is such a node already.
    #[error("{path} exists already")]
    Exists {
        /// Which.
        path: String,
    },
    /// There is no such node.
    #[error("{path} does not exist")]
    Missing {
        /// Which.
        path: String,
    },
    /// The node has another version by now.
    #[error("{path} was written by another")]
    Changed {
        /// Which.
        path: String,
    },
    /// Others own the node.
    #[error("ZooKeeper denies access to {path}")]
    Denied {
        /// Which.
        path: String,
    },
    /// ZooKeeper refuses for another reason.
    #[error("ZooKeeper refuses {path}: {why}")]
    Refused {
        /// Which node was meant.
        path: String,
        /// What it said.
        why: String,
    },
    /// The connection was lost: it was done, or was not. The session goes on; read back in it.
    #[error("the connection to ZooKeeper was lost before the answer came")]
    Unknown,
    /// The session is over. What was asked was done, or was not.
    #[error("the session with ZooKeeper is over: {}", .0.message)]
    Over(Box<Problem>),
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        let message = error.to_string();
        match error {
            SessionError::Over(problem) => *problem,
            SessionError::Denied { .. } => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("give the user and the password that created it, in zk://user:password@…"),
            _ => Self::new(code::STORE_FAILED, message)
                .field("store")
                .hint("see what ZooKeeper's own log says"),
        }
    }
}

impl Session {
    /// Opens a session of this length with one of the servers.
    ///
    /// Answers when it is open and its credentials are given, or says why no server can be used.
    pub async fn open(url: &ZooKeeperUrl, timeout: Duration) -> Result<Self, Problem> {
        let (calls, requests) = mpsc::channel(CALLS_MAX);
        let (opened, answer) = oneshot::channel();
        let ends = Ends {
            why: Arc::default(),
            over: watch::Sender::new(None),
            stop: CancellationToken::new(),
            hint: Arc::new(Notify::new()),
        };
        // Ends the thread when this future is dropped before its end.
        let guard = ends.stop.clone().drop_guard();
        let (url, theirs) = (url.clone(), ends.clone());
        thread::Builder::new()
            .name("zookeeper".into())
            .spawn(move || client::run(&url, timeout, requests, &theirs, opened))
            .map_err(|error| {
                Problem::new(code::INTERNAL, format!("cannot start a thread: {error}"))
            })?;
        match answer.await {
            Ok(answer) => answer?,
            Err(_) => return Err(ends.problem()),
        }
        guard.disarm();
        Ok(Self { calls, ends })
    }

    /// Creates a node; answers its path, which is longer than asked when it is numbered.
    pub fn create(
        &self,
        path: impl Into<String>,
        bytes: Vec<u8>,
        access: Access,
        lifetime: Lifetime,
    ) -> Call<String> {
        let path = path.into();
        let operation = Operation::Create {
            path,
            bytes,
            access,
            lifetime,
        };
        self.call(operation, |answer| match answer {
            Answer::Created(path) => Some(path),
            _ => None,
        })
    }

    /// Writes a node, if it has this version, or whatever it has; answers the new version.
    pub fn write(
        &self,
        path: impl Into<String>,
        bytes: Vec<u8>,
        version: Option<i32>,
    ) -> Call<i32> {
        let path = path.into();
        let operation = Operation::Write {
            path,
            bytes,
            version,
        };
        self.call(operation, |answer| match answer {
            Answer::Written(version) => Some(version),
            _ => None,
        })
    }

    /// Deletes nodes; those that are not there are no error.
    pub fn delete(&self, paths: Vec<String>) -> Call<()> {
        self.call(Operation::Delete { paths }, |answer| match answer {
            Answer::Deleted => Some(()),
            _ => None,
        })
    }

    /// Reads nodes, in the order of their paths; `None` for those that are not there. What is read may be old, but not
    /// older than the last write of this session.
    pub fn read(&self, paths: Vec<String>) -> Call<Vec<Option<Node>>> {
        self.call(Operation::Read { paths }, |answer| match answer {
            Answer::Nodes(nodes) => Some(nodes),
            _ => None,
        })
    }

    /// The names of the nodes right under this one, in no order; `None` when it is not there. See [`Self::read`].
    pub fn list(&self, path: impl Into<String>) -> Call<Option<Vec<String>>> {
        let path = path.into();
        self.call(Operation::List { path }, |answer| match answer {
            Answer::Names(names) => Some(names),
            _ => None,
        })
    }

    /// Ends the session, so that all that lives with it goes at once, and waits until that is said to ZooKeeper, or
    /// cannot be. Clones end too.
    pub async fn close(&self) {
        self.ends.stop.cancel();
        let mut over = self.ends.over.subscribe();
        let _ = tokio::time::timeout(2 * CLOSE_TIMEOUT, over.wait_for(Option::is_some)).await;
    }

    /// Waits until ZooKeeper hints at a change under a listed path; it may never do so.
    pub(crate) async fn hinted(&self) {
        self.ends.hint.notified().await;
    }

    /// Why the session is over; `None` while it lives.
    pub fn over(&self) -> Option<Problem> {
        self.ends.over.borrow().clone()
    }

    fn call<T>(&self, operation: Operation, take: fn(Answer) -> Option<T>) -> Call<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.calls.try_send(Request { operation, reply });
        let is_refused = matches!(sent, Err(mpsc::error::TrySendError::Full(_)));
        Call {
            answer,
            take,
            is_refused,
            ends: self.ends.clone(),
        }
    }
}

impl Ends {
    /// Why the session is over, or that nobody knows why.
    fn problem(&self) -> Problem {
        let over = self.over.borrow().clone();
        over.or_else(|| self.why.get().cloned())
            .unwrap_or_else(closed)
    }
}

/// Why a session is over that nobody wants any more.
pub(crate) fn closed() -> Problem {
    let message = "the session with ZooKeeper was closed";
    Problem::new(code::STORE_FAILED, message)
        .field("store")
        .hint(
            "leadership, if it was won in this session, is over; the master stands anew by itself",
        )
}

/// A call that was made, and whose answer is on its way; it is carried out even if nobody waits for it.
#[derive(Debug)]
#[must_use = "the answer says whether it was done"]
pub struct Call<T> {
    answer: oneshot::Receiver<Result<Answer, SessionError>>,
    take: fn(Answer) -> Option<T>,
    is_refused: bool,
    ends: Ends,
}

impl<T> Call<T> {
    /// Waits for the answer.
    pub async fn answer(mut self) -> Result<T, SessionError> {
        let answer = (&mut self.answer).await;
        self.finish(answer)
    }

    /// Waits for the answer, with the whole thread. Not for async code.
    pub fn wait(mut self) -> Result<T, SessionError> {
        let (_, empty) = oneshot::channel();
        let answer = std::mem::replace(&mut self.answer, empty).blocking_recv();
        self.finish(answer)
    }

    fn finish(
        self,
        answer: Result<Result<Answer, SessionError>, oneshot::error::RecvError>,
    ) -> Result<T, SessionError> {
        match answer {
            Ok(answer) => (self.take)(answer?).ok_or(SessionError::Unknown),
            Err(_) if self.is_refused => Err(SessionError::Refused {
                path: "the call".into(),
                why: "too many calls wait already".into(),
            }),
            Err(_) => Err(SessionError::Over(self.ends.problem().into())),
        }
    }
}
