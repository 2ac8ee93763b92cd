//! What a framework keeps of what it is told, and where it goes on: it acknowledges at once or late, all up to something or
//! status by status, and about half of its later sessions resume there. What had no answer is then called again.

use proffer_model::session::{Call, Resume};
use proffer_model::{Epoch, TaskId};

use super::coverage::Seen;
use super::framework::FrameworkInput;
use super::network::Parcel;
use super::process::Who;
use super::world::{Input, MS, World};

#[derive(Default)]
pub(super) struct Kept {
    /// The last event that it has kept, and in which term.
    last: Option<Resume>,
    /// The session in which something is to be acknowledged soon.
    acknowledges_in: Option<u64>,
    /// Statuses that are acknowledged one by one, with their events.
    one_by_one: Vec<(u64, TaskId)>,
}

/// A call that has no answer yet, and the tasks that it launches.
pub(super) struct Unanswered {
    pub(super) call: Call,
    pub(super) tasks: Vec<TaskId>,
}

impl Kept {
    /// The number of the last event.
    pub(super) fn sequence(&self) -> u64 {
        self.last.map_or(0, |last| last.sequence)
    }

    /// It does not know any more what it was told.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A session begins: what waits to be acknowledged is told in it again.
    pub(super) fn on_subscribed(&mut self) {
        self.one_by_one.clear();
    }

    /// It begins a new life with what it has kept.
    pub(super) fn on_death(&mut self) {
        (self.acknowledges_in, self.one_by_one) = (None, Vec::new());
    }

    /// The oldest status of some task.
    fn take_one(&mut self, index: usize) -> Option<u64> {
        let (_, task) = self.one_by_one.get(index)?;
        let oldest = self.one_by_one.iter().position(|(_, of)| of == task)?;
        Some(self.one_by_one.remove(oldest).0)
    }
}

impl World {
    /// Where the next session of a framework goes on: after what it has kept last, or a little before that.
    pub(super) fn draw_resume(&mut self, n: usize) -> Option<Resume> {
        let (resumes, before) = (self.random.one_in(2), self.random.below(4));
        let last = self.frameworks[n].kept.last.filter(|_| resumes)?;
        Some(Resume {
            sequence: last.sequence.saturating_sub(before),
            ..last
        })
    }

    /// A session is resumed: what had no answer is called again under its number, and is done once.
    pub(super) fn goes_on(&mut self, n: usize, connection: u64) {
        self.seen.count(Seen::Resumed);
        let asked = self.frameworks[n].asked.iter();
        let again: Vec<(u64, Call)> = asked
            .map(|(request, unanswered)| (*request, unanswered.call.clone()))
            .collect();
        for (request, call) in again {
            self.seen.count(Seen::CalledAgain);
            self.checks.on_called_again(request);
            let parcel = Parcel::Call { request, call };
            self.send(Who::Framework(n), connection, parcel);
        }
    }

    /// An event is kept; the task is that of a status.
    pub(super) fn keep(&mut self, n: usize, connection: u64, sequence: u64, task: Option<TaskId>) {
        let wait = self.random.below(self.faults.acknowledge_ms_max * MS);
        let it = &mut self.frameworks[n];
        it.kept.last = Some(Resume {
            epoch: Epoch(it.leader.0),
            sequence,
        });
        if it.wants.is_vandal() {
            return;
        }
        if it.wants.keeps_one_by_one() {
            it.kept.one_by_one.extend(task.map(|task| (sequence, task)));
        }
        if wait == 0 {
            self.acknowledge(n, connection);
        } else {
            self.acknowledge_later(n, connection, wait);
        }
    }

    fn acknowledge_later(&mut self, n: usize, connection: u64, wait: u64) {
        let session = &mut self.frameworks[n].kept.acknowledges_in;
        if session.replace(connection) != Some(connection) {
            let due = FrameworkInput::AcknowledgementDue { connection };
            self.input_after(wait, Who::Framework(n), Input::Framework(due));
        }
    }

    pub(super) fn acknowledgement_due(&mut self, n: usize, connection: u64) {
        self.frameworks[n]
            .kept
            .acknowledges_in
            .take_if(|session| *session == connection);
        if self.frameworks[n].connection() == Some(connection) {
            self.acknowledge(n, connection);
        }
    }

    /// All at once; or status by status, of each task in their order, and some later.
    fn acknowledge(&mut self, n: usize, connection: u64) {
        if !self.frameworks[n].wants.keeps_one_by_one() {
            let sequence = self.frameworks[n].kept.sequence();
            self.call(n, connection, Call::Acknowledge { sequence });
            return;
        }
        loop {
            let index = self.random.index(self.frameworks[n].kept.one_by_one.len());
            let Some(sequence) = self.frameworks[n].kept.take_one(index) else {
                return;
            };
            self.seen.count(Seen::AcknowledgedOne);
            self.call(n, connection, Call::AcknowledgeOne { sequence });
            if self.random.one_in(4) {
                return self.acknowledge_later(n, connection, 20 * MS);
            }
        }
    }
}
