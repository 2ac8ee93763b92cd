//! Kills right after a new leader has been found, while agents are still away: each that is answered is followed by the end of its
//! task, or by a status that says why there is none (S8).

use std::collections::BTreeMap;

use proffer_model::session::{Answer, Call};
use proffer_model::{Status, TaskId, TaskState};

use super::coverage::Seen;
use super::world::{Outcome, SECOND, World};

/// How long that may take: an agent is declared unreachable, or is back, told again, and gives the task its grace.
const LATE: u64 = 60 * SECOND;

#[derive(Default)]
pub(super) struct Kills {
    by_request: BTreeMap<u64, Asked>,
}

struct Asked {
    framework: usize,
    task: TaskId,
    answered_at: Option<u64>,
}

impl Kills {
    fn on_answered(&mut self, request: u64, answer: &Answer, now: u64) {
        match (self.by_request.get_mut(&request), answer) {
            (Some(asked), Answer::Done) => asked.answered_at = Some(now),
            (Some(_), _) => drop(self.by_request.remove(&request)),
            (None, _) => {}
        }
    }

    pub(super) fn is_asked(&self, task: &TaskId) -> bool {
        self.by_request.values().any(|asked| asked.task == *task)
    }

    /// A session begins that knows nothing of what the one before was answered.
    fn on_subscribed(&mut self, framework: usize) {
        let others = |asked: &Asked| asked.framework != framework;
        self.by_request.retain(|_, asked| others(asked));
    }

    /// The framework is told how the task stands.
    pub(super) fn on_status(&mut self, status: &Status) {
        let is_word = matches!(status.state, TaskState::Killing | TaskState::Unreachable);
        if is_word || status.state.is_terminal() {
            self.on_ended(&status.task);
        }
    }

    /// The task runs no more.
    pub(super) fn on_ended(&mut self, task: &TaskId) {
        self.by_request.retain(|_, asked| asked.task != *task);
    }

    /// S8: a Kill that was answered is not forgotten by the leader that has answered it.
    fn check(&self, framework: usize, now: u64) -> Outcome {
        let is_late = |at: u64| at + LATE < now;
        let mut asked = self.by_request.values();
        let late = asked
            .find(|asked| asked.framework == framework && asked.answered_at.is_some_and(is_late));
        match late {
            None => Ok(()),
            Some(Asked { task, .. }) => Err(format!(
                "{task} was to be killed, which was answered, and nothing is heard of it"
            )),
        }
    }
}

impl World {
    /// A framework has a session with this leader. With a new one it ends some of what runs, before agents can have come to
    /// that leader.
    pub(super) fn kill_early(&mut self, n: usize, connection: u64, is_new_term: bool) {
        self.checks.kills.on_subscribed(n);
        if !is_new_term || !self.frameworks[n].wants.kills_early() {
            return;
        }
        for task in self.frameworks[n].wants.running() {
            if self.random.one_in(2) {
                self.seen.count(Seen::KilledEarly);
                self.checks.on_kill_wanted(&task);
                let call = Call::Kill {
                    task: task.clone(),
                    grace: None,
                };
                let request = self.call(n, connection, call);
                let asked = Asked {
                    framework: n,
                    task,
                    answered_at: None,
                };
                self.checks.kills.by_request.insert(request, asked);
            }
        }
    }

    pub(super) fn kill_is_answered(&mut self, request: u64, answer: &Answer) {
        self.checks.kills.on_answered(request, answer, self.now);
    }

    /// The leader says that it is there.
    pub(super) fn check_kills(&self, n: usize) -> Outcome {
        match self.frameworks[n].leader.0 == self.ensemble.epoch {
            true => self.checks.kills.check(n, self.now),
            false => Ok(()),
        }
    }
}
