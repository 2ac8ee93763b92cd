//! Volumes of tasks that executors run: put into the sandboxes of those and taken out again, for each executor in the order in
//! which it was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, MutexGuard, PoisonError};

use proffer_agent_core::{Event, RunId};
use proffer_model::{ExecutorSpec, TaskSpec, VolumeMount};

use super::{Processes, Shared, mount};

/// What is to be done in the sandbox of an executor.
#[derive(Clone, Debug)]
pub(crate) struct Placing {
    /// The executor.
    pub(crate) of: Arc<ExecutorSpec>,
    /// The task.
    pub(crate) spec: Arc<TaskSpec>,
    /// What of it.
    pub(crate) what: Place,
}

/// What is to be done with a task's volumes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// All are to be there; it is said of this run how that went.
    Mount(RunId),
    /// These are not to be there any more.
    Unmount(Vec<VolumeMount>),
}

/// What waits for each executor; what is being done is still at its front.
pub(super) type Queues = BTreeMap<RunId, VecDeque<Placing>>;

impl Processes {
    /// Does it after what was asked for before; no more waits than there are tasks.
    pub(crate) fn place(&self, executor: RunId, placing: Placing) {
        let mut queues = self.shared.placings();
        let queue = queues.entry(executor).or_default();
        queue.push_back(placing);
        if queue.len() == 1 {
            let shared = self.shared.clone();
            self.spawn(async move { shared.place_all(executor).await });
        }
    }
}

impl Shared {
    async fn place_all(self: Arc<Self>, executor: RunId) {
        loop {
            let front = self
                .placings()
                .get(&executor)
                .and_then(|queue| queue.front().cloned());
            let Some(placing) = front else { return };
            self.place(executor, placing).await;
            let mut queues = self.placings();
            if let Some(queue) = queues.get_mut(&executor) {
                queue.pop_front();
                if queue.is_empty() {
                    queues.remove(&executor);
                }
            }
        }
    }

    async fn place(&self, executor: RunId, placing: Placing) {
        let (programs, volumes) = (self.programs.clone(), self.volumes.clone());
        let dir = self.run_dir(executor);
        let Placing { of, spec, what } = placing;
        let run = match what {
            Place::Mount(run) => Some(run),
            Place::Unmount(_) => None,
        };
        let work = move || match what {
            Place::Mount(_) => programs.mount_for(&dir, &of, &spec, &volumes),
            Place::Unmount(mounts) => mount::unmount(&dir, &of, (&spec, &mounts), &volumes),
        };
        let placed = tokio::task::spawn_blocking(work).await;
        let failure = placed.unwrap_or_else(|error| Err(error.to_string())).err();
        match (run, failure) {
            (Some(run), failure) => self.tell(Event::VolumesMounted { run, failure }).await,
            (None, Some(why)) => {
                tracing::warn!(%executor, why, "a volume cannot be taken out of a sandbox");
            }
            (None, None) => {}
        }
    }

    fn placings(&self) -> MutexGuard<'_, Queues> {
        self.placings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
