//! What has happened to emulated agents and their tasks, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use proffer_model::Exit;

/// What has happened so far. Tasks that run are those that were started and have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Agents that are registered now.
    pub registered: u32,
    /// How often an agent was welcomed.
    pub welcomes: u64,
    /// How often a link ended, or came to nothing.
    pub links_ended: u64,
    /// Tasks that were started.
    pub tasks_started: u64,
    /// Tasks that ended well.
    pub tasks_finished: u64,
    /// Tasks that failed.
    pub tasks_failed: u64,
    /// Tasks that were killed.
    pub tasks_killed: u64,
    /// Tasks whose end was acknowledged, and that are forgotten.
    pub tasks_forgotten: u64,
    /// Statuses that were sent again.
    pub statuses_resent: u64,
}

impl Counts {
    /// Tasks that run now.
    pub fn tasks_running(&self) -> u64 {
        let ended = self.tasks_finished + self.tasks_failed + self.tasks_killed;
        self.tasks_started.saturating_sub(ended)
    }
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    welcomes: AtomicU64,
    links_ended: AtomicU64,
    started: AtomicU64,
    finished: AtomicU64,
    failed: AtomicU64,
    killed: AtomicU64,
    forgotten: AtomicU64,
    resent: AtomicU64,
}

impl Counters {
    pub(super) fn welcomed(&self) {
        self.welcomes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn unlinked(&self) {
        self.links_ended.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self, exit: Exit) {
        let counter = match exit {
            Exit::Code(0) => &self.finished,
            Exit::Code(_) => &self.failed,
            Exit::Signal(_) => &self.killed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forgotten(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn resent(&self, count: u64) {
        self.resent.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn read(&self, registered: u32) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Ends before starts, so that never more have ended than have started.
        let (finished, failed, killed) =
            (read(&self.finished), read(&self.failed), read(&self.killed));
        Counts {
            registered,
            welcomes: read(&self.welcomes),
            links_ended: read(&self.links_ended),
            tasks_started: read(&self.started),
            tasks_finished: finished,
            tasks_failed: failed,
            tasks_killed: killed,
            tasks_forgotten: read(&self.forgotten),
            statuses_resent: read(&self.resent),
        }
    }
}
