//! What the author's side and the session's side both know: the fates of tasks, and what is kept of what was told.
//!
//! Launches are entered when they are called and again when they are answered, on the side where that happens; statuses are
//! weighed when the author takes them, so that a task is free only after its end was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use proffer_model::session::{Answer, Call, Event, Operation};
use proffer_model::{Problem, TaskId, TaskSpec, code};
use tokio::sync::{Notify, watch};

use crate::events::Received;
use crate::fate::{Fates, Worth};
use crate::kept::Kept;

/// Shared by everything of one framework.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Mutex<Entries>,
    /// Up to where all is kept.
    acknowledged: watch::Sender<u64>,
    /// There is something that the session is to do by itself.
    wake: Notify,
}

#[derive(Debug)]
struct Entries {
    fates: Fates,
    kept: Kept,
    /// Tasks whose end was told and is not known to be kept, by the author's sequence.
    unkept: BTreeMap<u64, TaskId>,
    wishes: Wishes,
}

/// What the session is to do by itself.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Ends these: they are there again after their end was told.
    pub(crate) kills: Vec<TaskId>,
    /// Asks soon about tasks whose fate is open: now there may be an answer.
    pub(crate) is_to_ask: bool,
}

impl Ledger {
    /// Before the first session. `has_history`: another run of the program may have launched tasks.
    pub(crate) fn new(has_history: bool) -> Self {
        let entries = Entries {
            fates: Fates::new(has_history),
            kept: Kept::default(),
            unkept: BTreeMap::new(),
            wishes: Wishes::default(),
        };
        Self {
            entries: Mutex::new(entries),
            acknowledged: watch::Sender::new(0),
            wake: Notify::new(),
        }
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        // A panic of another thread leaves no half of anything behind that would matter more than going on.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The author takes an event; whether they are to be told it, or what stands in its place then.
    pub(crate) fn takes(&self, received: &mut Received) -> bool {
        let mut entries = self.entries();
        let worth = entries.weigh(received);
        let is_told = matches!(worth, Worth::News | Worth::Again);
        if is_told {
            entries.kept.takes(received.sequence);
            match &received.event {
                Event::Subscribed { .. } => entries.kept.begins_session(),
                Event::Updated(_) => entries.kept.tells(),
                Event::Offered(_)
                | Event::Rescinded(_)
                | Event::AgentSettled(_)
                | Event::SnapshotEnded
                | Event::Message { .. }
                | Event::ExecutorEnded { .. }
                | Event::Reclaim { .. }
                | Event::StandingBy { .. }
                | Event::Answered { .. }
                | Event::Heartbeat
                | Event::Closed(_) => {}
            }
        }
        let acknowledged = match worth {
            Worth::News | Worth::Again => None,
            Worth::Stale | Worth::Revenant => entries.kept.leaves_out(received.sequence),
        };
        let is_wanted = entries.wishes.is_to_ask || !entries.wishes.kills.is_empty();
        drop(entries);
        if let Some(sequence) = acknowledged {
            self.set_acknowledged(sequence);
        }
        if is_wanted {
            self.wake.notify_one();
        }
        is_told
    }

    /// Says up to where all is kept, now and whenever that changes.
    pub(crate) fn acknowledged(&self) -> watch::Receiver<u64> {
        self.acknowledged.subscribe()
    }

    /// The author has kept everything up to this.
    pub(crate) fn acknowledge(&self, sequence: u64) {
        let mut entries = self.entries();
        let sequence = entries.kept.acknowledges(sequence);
        let unkept = entries.unkept.split_off(&sequence.saturating_add(1));
        for task in std::mem::replace(&mut entries.unkept, unkept).into_values() {
            entries.fates.end_was_kept(&task);
        }
        drop(entries);
        self.set_acknowledged(sequence);
    }

    fn set_acknowledged(&self, sequence: u64) {
        self.acknowledged.send_if_modified(|last| {
            let is_later = sequence > *last;
            *last = sequence.max(*last);
            is_later
        });
    }

    /// Those of these that may be launched now; the session asks about the others.
    pub(crate) fn settle(&self, tasks: impl IntoIterator<Item = TaskId>) -> BTreeSet<TaskId> {
        let mut entries = self.entries();
        let free = entries.fates.settle(tasks);
        entries.wishes.is_to_ask |= entries.fates.has_open();
        drop(entries);
        self.wake.notify_one();
        free
    }

    /// A call is about to be made. Refused when it would launch a task that may run already; then it launches none.
    pub(crate) fn calling(&self, call: &Call) -> Result<(), Problem> {
        let Call::Accept { operations, .. } = call else {
            return Ok(());
        };
        let mut entries = self.entries();
        let fates = &mut entries.fates;
        let mut begun: Vec<&TaskId> = Vec::new();
        for task in tasks_of(operations) {
            if !fates.launching(task) {
                begun.iter().for_each(|task| fates.refused(task));
                return Err(taken(task));
            }
            begun.push(task);
        }
        Ok(())
    }

    /// These are about to be launched, each for itself; which of them may.
    pub(crate) fn launching(&self, tasks: &[TaskSpec]) -> Vec<bool> {
        let fates = &mut self.entries().fates;
        let launching = tasks.iter().map(|spec| fates.launching(&spec.id));
        launching.collect()
    }

    /// A call was answered, or not made at all.
    pub(crate) fn answered(&self, call: &Call, answer: &Result<Answer, Problem>) {
        let Call::Accept { operations, .. } = call else {
            return;
        };
        let fates = &mut self.entries().fates;
        if let Ok(Answer::Accepted(results)) = answer {
            for launch in results.iter().flat_map(|result| result.launches()) {
                if let Ok(incarnation) = launch.outcome {
                    fates.launched(&launch.task, incarnation);
                }
            }
        }
        tasks_of(operations).for_each(|task| fates.refused(task));
    }

    /// A session begins: of this framework, at this master, now.
    pub(crate) fn session_begun(&self, is_resumed: bool) {
        let mut entries = self.entries();
        entries.fates.session_begun(is_resumed);
        if !is_resumed {
            // Another program may have launched them anew; what is there is told in the snapshot, and weighed again.
            entries.wishes.kills.clear();
        }
        let is_wanted = !entries.wishes.kills.is_empty();
        drop(entries);
        if is_wanted {
            self.wake.notify_one();
        }
    }

    /// A session has ended before these calls were answered.
    pub(crate) fn session_ended<'a>(&self, unanswered: impl Iterator<Item = &'a Call>) {
        let accepts = unanswered.filter_map(|call| match call {
            Call::Accept { operations, .. } => Some(operations),
            _ => None,
        });
        let launches = accepts.flat_map(|operations| tasks_of(operations));
        let mut entries = self.entries();
        entries.fates.session_ended(launches);
        // What is to be killed still is, if the next session resumes this one: its status may be acknowledged, and not told again.
        entries.wishes.is_to_ask = false;
    }

    /// Waits until the session is to do something by itself.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes what the session is to do by itself.
    pub(crate) fn take_wishes(&self) -> Wishes {
        std::mem::take(&mut self.entries().wishes)
    }

    /// Whether the fate of any task is open.
    pub(crate) fn has_open(&self) -> bool {
        self.entries().fates.has_open()
    }

    /// How many tasks are not settled because an agent that may run them cannot be reached.
    pub(crate) fn unreachable(&self) -> usize {
        self.entries().fates.unreachable()
    }

    /// Tasks to ask the master about.
    pub(crate) fn unheard(&self) -> Vec<TaskId> {
        self.entries().fates.unheard()
    }
}

impl Entries {
    /// What an event is to the author.
    fn weigh(&mut self, Received { sequence, event }: &mut Received) -> Worth {
        if let Event::Subscribed { is_resumed, .. } = &*event {
            self.fates.session_taken();
            for task in std::mem::take(&mut self.unkept).into_values() {
                self.fates.end_was_not_kept(task);
            }
            // Unless it is resumed, there is a snapshot first.
            self.wishes.is_to_ask |= *is_resumed && self.fates.has_open();
        }
        // What these did not tell is asked for.
        if matches!(&*event, Event::AgentSettled(_) | Event::SnapshotEnded) {
            self.wishes.is_to_ask |= self.fates.has_open();
        }
        let Event::Updated(status) = event else {
            return Worth::News;
        };
        let had_open = self.fates.has_open();
        let worth = self.fates.weigh(status);
        if worth == Worth::Again
            && let Some(end) = self.fates.end_of(&status.task)
        {
            status.clone_from(end);
        }
        let is_told = matches!(worth, Worth::News | Worth::Again);
        if is_told && status.state.is_terminal() {
            self.unkept.insert(*sequence, status.task.clone());
        }
        if !is_told {
            tracing::debug!(task_id = %status.task, state = %status.state, ?worth, "left out a status");
        }
        if worth == Worth::Revenant {
            tracing::warn!(task_id = %status.task, "a task whose end was told is there again and is ended");
            self.wishes.kills.push(status.task.clone());
        }
        self.wishes.is_to_ask |= !had_open && self.fates.has_open();
        worth
    }
}

fn tasks_of(operations: &[Operation]) -> impl Iterator<Item = &TaskId> {
    let specs = operations.iter().flat_map(Operation::tasks);
    specs.map(|spec| &spec.id)
}

/// Why a task is not launched.
pub(crate) fn taken(task: &TaskId) -> Problem {
    let message = format!(
        "a launch of task {task} may run: its end has not been told, or it is being settled"
    );
    Problem::new(code::TASK_DUPLICATE, message)
        .field("id")
        .hint("wait for its status; after a change of leader it comes when the agents are back")
}

#[cfg(test)]
mod tests {
    use proffer_model::TaskState;

    use super::*;
    use crate::tests::{status, task};

    #[test]
    fn what_is_there_after_its_end_is_ended_in_a_session_that_resumes_and_in_no_other() {
        for is_resumed in [true, false] {
            let ledger = Ledger::new(false);
            ledger.session_begun(false);
            for (sequence, number, state) in [
                (1, 1, TaskState::Running),
                (2, 2, TaskState::Failed),
                (3, 3, TaskState::Running),
            ] {
                let event = status("a", number, state);
                let is_told = ledger.takes(&mut Received { sequence, event });
                assert_eq!(is_told, sequence < 3);
            }
            ledger.session_ended(std::iter::empty());
            ledger.session_begun(is_resumed);
            let kills = ledger.take_wishes().kills;
            let expected = if is_resumed { vec![task("a")] } else { vec![] };
            assert_eq!(kills, expected);
        }
    }
}
