//! Executors that were written for Mesos: the v1 executor API on the agent's own port.
//!
//! A translator, and no more: what is said here becomes the sessions, calls and events of every executor, and all
//! decisions are the core's. Start reading at `translator.rs`, which is pure; `door.rs` keeps what it must remember,
//! `http.rs` is the endpoint, `stream.rs` one subscription.

mod door;
mod environment;
mod figures;
mod file_pages;
mod files;
mod form;
mod http;
mod ledger;
mod pages;
mod peer;
mod scheduler;
mod stream;
mod translator;
mod virtual_paths;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use proffer_agent_core::RunId;
use proffer_model::{AgentDescription, AgentId, ExecutorId, ExecutorSpec, FrameworkId, Role};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbox::Inbox;
use door::Door;

pub(crate) use environment::{complete, is_of_mesos};
pub(crate) use http::PATHS;
pub(crate) use ledger::{kept_of, told_of};
pub(crate) use pages::Pages;

/// The endpoint, and all executors that may call it.
#[derive(Clone, Debug)]
pub(crate) struct Mesos {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runs_dir: PathBuf,
    inbox: Inbox,
    description: AgentDescription,
    /// Where executors reach the endpoint.
    endpoint: SocketAddr,
    /// Whether callers on this host need no token.
    is_open: bool,
    doors: Mutex<BTreeMap<Key, Arc<Door>>>,
    tasks: TaskTracker,
    ended: CancellationToken,
}

/// Whose executor, and which.
type Key = (FrameworkId, ExecutorId);

impl Mesos {
    /// For an agent that listens there; no executor may call yet. `ended` ends all.
    pub(crate) fn new(
        runs_dir: PathBuf,
        (listen, is_open): (SocketAddr, bool),
        description: AgentDescription,
        (inbox, ended): (Inbox, CancellationToken),
    ) -> Self {
        let shared = Shared {
            runs_dir,
            inbox,
            description,
            endpoint: environment::endpoint(listen),
            is_open,
            doors: Mutex::new(BTreeMap::new()),
            tasks: TaskTracker::new(),
            ended,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The endpoint's addresses.
    pub(crate) fn router(&self) -> Router {
        http::router(self.clone())
    }

    /// What an executor is given in its environment.
    pub(crate) fn environment(
        &self,
        executor: (&FrameworkId, &ExecutorSpec),
        place: (Option<&AgentId>, Option<&Role>),
        secrets: (&str, &str),
    ) -> Vec<(String, String)> {
        environment::of_executor(self.shared.endpoint, executor, place, secrets)
    }

    /// Lets an executor call, with its token.
    pub(crate) fn open(
        &self,
        run: RunId,
        framework: &FrameworkId,
        spec: &Arc<ExecutorSpec>,
    ) -> io::Result<()> {
        let dir = self.shared.runs_dir.join(run.to_string());
        let ended = self.shared.ended.child_token();
        let door = Door::open(run, dir, (framework.clone(), spec.clone()), ended)?;
        let key = (framework.clone(), spec.id.clone());
        if let Some(old) = self.doors().insert(key, Arc::new(door)) {
            old.ended.cancel();
        }
        Ok(())
    }

    /// Lets it call no more, and ends its stream.
    pub(crate) fn leave(&self, run: RunId) {
        self.doors().retain(|_, door| {
            if door.run == run {
                door.ended.cancel();
            }
            door.run != run
        });
    }

    /// Waits until all has ended, after `ended`.
    pub(crate) async fn join(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The executor of a call, or Mesos's word for its absence.
    fn find(&self, framework: &str, executor: &str) -> Result<Arc<Door>, &'static str> {
        let doors = self.doors();
        let mut of_framework = doors
            .iter()
            .filter(|((owner, _), _)| owner.as_str() == framework)
            .peekable();
        if of_framework.peek().is_none() {
            return Err("Framework cannot be found");
        }
        let found = of_framework.find(|((_, id), _)| id.as_str() == executor);
        let (_, door) = found.ok_or("Executor cannot be found")?;
        Ok(door.clone())
    }

    fn doors(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Door>>> {
        let doors = &self.shared.doors;
        doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
