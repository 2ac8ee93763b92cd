//! What a framework was told in this term and has not acknowledged, and how a session that comes later goes on with it.
//!
//! The sequence of a framework's events goes on over all its sessions of a term. So an acknowledgement means the same in
//! whichever session it comes, and a session that names the last sequence it has kept is told only what came after it.
//! Everyone else is told a snapshot: what waits to be acknowledged, and of every other task how it stands.
//!
//! The subtle thing: statuses are told in the order of their task's queue. While a snapshot goes on, a new status of a task
//! that it has not come to yet waits in that queue; while a tail does, behind it.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::session::{Event, Resume};
use proffer_model::{AgentId, Epoch, FrameworkId, Incarnation, Status, TaskId};

use crate::acknowledgements::Kept;
use crate::core::Core;
use crate::effect::After;
use crate::event::{SessionId, TimerKey};
use crate::limits::{
    SNAPSHOT_STEP_INTERVAL, SNAPSHOT_TASKS_PER_STEP, SNAPSHOT_TASKS_UNREAD_PER_STEP,
    SNAPSHOT_UNREAD_MAX,
};
use crate::tail::Tail;
use crate::task_table::TaskKey;

/// A status that was told, or is to be told: the oldest of this launch's queue that is not told before it.
pub(crate) type Launch = (TaskId, Incarnation);

/// How much of a snapshot or a tail is told before it is known to be read.
#[derive(Debug)]
pub(crate) struct UnreadMax(pub(crate) u64);

impl Default for UnreadMax {
    fn default() -> Self {
        Self(SNAPSHOT_UNREAD_MAX)
    }
}

/// Stands with the session while there is one, with its framework else.
#[derive(Debug, Default)]
pub(crate) struct Telling {
    /// Of the last event.
    pub(crate) sequence: u64,
    /// Everything up to this is kept.
    pub(crate) acknowledged: u64,
    /// By sequence: the launches whose oldest queued status an event was, or will be. Per task in the order of its queue.
    pub(crate) outstanding: BTreeMap<u64, Launch>,
    /// From this sequence on it can be resumed: all tasks had been told by then, and every status since is outstanding
    /// unless it was acknowledged.
    whole_from: Option<u64>,
    /// A snapshot goes on: all tasks up to this one are told.
    snapshot: Option<Option<TaskId>>,
    /// What is to be told again before anything else; without a session, to the next one.
    pub(crate) tail: Option<Tail>,
    /// How many tails were begun.
    pub(crate) tails: u64,
    /// The sequence at which the last snapshot or tail began.
    caught_up_from: u64,
    /// Tasks whose newest status is the master's own and came while there was no session: a newer one takes its place.
    replaceable: BTreeSet<TaskId>,
}

impl Telling {
    /// Whether what this asks for can be told.
    pub(crate) fn can_resume(&self, resume: Option<Resume>, epoch: Epoch) -> Option<u64> {
        let resume = resume.filter(|resume| resume.epoch == epoch)?;
        let is_known = |from: u64| (from..=self.sequence).contains(&resume.sequence);
        self.whole_from
            .is_some_and(is_known)
            .then_some(resume.sequence)
    }

    /// Whether it can be resumed at some sequence.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole_from.is_some()
    }

    /// The session has ended. A snapshot that was cut short has to begin anew, a tail goes on.
    pub(crate) fn pause(mut self) -> Self {
        if self.snapshot.take().is_some() {
            self.give_up();
        }
        self
    }

    /// Something that was told is not kept any more: whoever comes next needs a snapshot.
    pub(crate) fn give_up(&mut self) {
        self.whole_from = None;
        self.tail = None;
        self.outstanding.clear();
        self.replaceable.clear();
    }

    /// Whether a session is being told how things stand: a snapshot or a tail goes on.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.snapshot.is_some() || self.tail.is_some()
    }

    /// How much it was told since the snapshot or tail that goes on began, and may not have read: it has not said so.
    fn unread(&self) -> u64 {
        let read = self.acknowledged.max(self.caught_up_from);
        self.sequence.saturating_sub(read)
    }

    /// Whether a snapshot or a tail will tell all that is queued for the task, if it has not yet.
    pub(crate) fn tells_queue(&self, task: &TaskId) -> bool {
        self.tail.is_some() || self.will_tell(task)
    }

    /// Whether a snapshot will tell the task, which therefore is not told yet.
    pub(crate) fn will_tell(&self, task: &TaskId) -> bool {
        let reached = self.snapshot.as_ref();
        reached.is_some_and(|reached| reached.as_ref().is_none_or(|reached| task > reached))
    }

    /// A status was put into a task's queue while there is no session.
    pub(crate) fn note_untold(&mut self, task: &TaskId, incarnation: Incarnation, is_own: bool) {
        if is_own {
            self.replaceable.insert(task.clone());
        } else {
            self.replaceable.remove(task);
        }
        let launch = (task.clone(), incarnation);
        if let Some(tail) = &mut self.tail {
            tail.put_last(launch);
        } else if self.whole_from.is_some() {
            self.sequence += 1;
            self.outstanding.insert(self.sequence, launch);
        }
    }

    /// A status was put into a task's queue; whether it is told behind the tail that goes on.
    pub(crate) fn is_told_behind(&mut self, task: &TaskId, incarnation: Incarnation) -> bool {
        let Some(tail) = &mut self.tail else {
            return false;
        };
        self.replaceable.remove(task);
        tail.put_last((task.clone(), incarnation));
        true
    }

    /// Whether the newest status in a task's queue may be replaced by another of the master's own.
    pub(crate) fn is_replaceable(&self, task: &TaskId) -> bool {
        self.replaceable.contains(task)
    }

    /// What was told of a launch is not awaited any more.
    pub(crate) fn forget(&mut self, launch: &Launch) {
        self.replaceable.remove(&launch.0);
        self.outstanding.retain(|_, other| other != launch);
        if let Some(tail) = &mut self.tail {
            tail.forget(launch);
        }
    }

    /// Everything up to a sequence is kept: what that was. No more than so many are looked at by themselves.
    pub(crate) fn keep(&mut self, sequence: u64, most: usize) -> Kept {
        self.acknowledged = self.acknowledged.max(sequence.min(self.sequence));
        let mut kept = Kept::default();
        while let Some(oldest) = self.outstanding.first_entry()
            && *oldest.key() <= sequence
        {
            if kept.first.len() == most {
                let after = self.outstanding.split_off(&sequence.saturating_add(1));
                kept.rest = std::mem::replace(&mut self.outstanding, after);
                break;
            }
            kept.first.push_back(oldest.remove());
        }
        kept
    }

    /// Takes what the tail tells next: after it no status that comes without a session takes its place.
    pub(crate) fn next_in_tail(&mut self) -> Option<Launch> {
        let next = self.tail.as_mut()?.next()?;
        self.replaceable.remove(&next.0);
        Some(next)
    }

    /// What was told and is not acknowledged is told again, before what is left of an earlier tail.
    fn begin_tail(&mut self) {
        let told = std::mem::take(&mut self.outstanding);
        self.tail.get_or_insert_default().put_first(told);
        self.tails += 1;
    }
}

impl Core {
    /// Sends the status that is next in its task's queue, and remembers that its acknowledgement is for that.
    pub(crate) fn send_status(
        &mut self,
        session: SessionId,
        task: &TaskId,
        incarnation: Incarnation,
        status: Status,
        after: After,
    ) {
        self.send_session(session, Event::Updated(status), after);
        if let Some(open) = self.sessions.open.get_mut(&session) {
            let launch = (task.clone(), incarnation);
            open.telling
                .outstanding
                .insert(open.telling.sequence, launch);
        }
    }

    /// What was sent of a launch is not awaited any more: its queue begins anew.
    pub(crate) fn forget_outstanding(&mut self, key: &TaskKey, incarnation: Incarnation) {
        let launch = (key.1.clone(), incarnation);
        self.acknowledgements.forget(&key.0, &launch);
        if let Some(telling) = self.telling_mut(&key.0) {
            telling.forget(&launch);
        }
    }

    /// Wherever it stands.
    pub(crate) fn telling_mut(&mut self, framework: &FrameworkId) -> Option<&mut Telling> {
        let known = self.frameworks.get_mut(framework)?;
        match known.session {
            Some(session) => {
                let open = self.sessions.open.get_mut(&session)?;
                Some(&mut open.telling)
            }
            None => Some(&mut known.telling),
        }
    }

    /// Begins to tell again, in its order and under new numbers, what was told after this sequence and is not acknowledged.
    pub(crate) fn begin_tail(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        sequence: u64,
    ) {
        self.on_acknowledge(session, framework, sequence);
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.telling.begin_tail();
        }
        self.begin_pieces(session);
    }

    /// Begins to tell how all tasks stand.
    pub(crate) fn begin_snapshot(&mut self, session: SessionId) {
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.telling.give_up();
            open.telling.snapshot = Some(None);
        }
        self.begin_pieces(session);
    }

    /// What is left of a snapshot or a tail after the first piece follows by a timer.
    fn begin_pieces(&mut self, session: SessionId) {
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.telling.caught_up_from = open.telling.sequence;
        }
        let mut budget = SNAPSHOT_TASKS_PER_STEP;
        if !self.tell_piece(session, &mut budget) {
            self.sessions.snapshots.push_back(session);
            self.tell_on_later();
        }
    }

    /// The next pieces of the acknowledgements, of the snapshots and tails, of the answers that go on, and of frameworks that are
    /// over: a share of each that there is.
    pub(crate) fn tell_on(&mut self) {
        self.sessions.tells_on = false;
        self.sessions.told_on_at = Some(self.turn.now);
        let kinds = self.kinds_told_on();
        let most = SNAPSHOT_TASKS_PER_STEP / kinds.max(1);
        self.continue_acknowledgements(most);
        self.continue_snapshots(most);
        self.continue_reconciliations(most);
        self.continue_kill_wishes(most);
        self.continue_endings(most);
        if self.kinds_told_on() > 0 {
            self.tell_on_later();
        }
    }

    fn kinds_told_on(&self) -> usize {
        usize::from(!self.acknowledgements.is_empty())
            + usize::from(!self.sessions.snapshots.is_empty())
            + usize::from(!self.reconciliations.is_empty())
            + usize::from(self.kill_wishes.are_told())
            + usize::from(!self.endings.is_empty())
    }

    /// However much is begun, the next pieces are told when the last ones were told long enough ago.
    pub(crate) fn tell_on_later(&mut self) {
        if std::mem::replace(&mut self.sessions.tells_on, true) {
            return;
        }
        let last = self.sessions.told_on_at;
        let next = last.map_or(0, |last| last.after(SNAPSHOT_STEP_INTERVAL).mono_ns);
        let next = next.max(self.turn.now.mono_ns);
        self.set_timer_at(TimerKey::Telling, next);
    }

    /// The next pieces of the snapshots and tails that go on, each in its turn.
    fn continue_snapshots(&mut self, mut budget: usize) {
        // Those in a row that have to wait for something else.
        let mut idle = 0;
        let mut unread = Vec::new();
        while budget > 0
            && idle < self.sessions.snapshots.len()
            && let Some(session) = self.sessions.snapshots.pop_front()
        {
            let is_unread = self.is_much_unread(session);
            let most = match is_unread {
                true => budget.min(SNAPSHOT_TASKS_UNREAD_PER_STEP),
                false => budget,
            };
            let mut left = most;
            let is_over = self.tell_piece(session, &mut left);
            budget -= most - left;
            match is_over {
                true => {}
                false if is_unread => unread.push(session),
                false => {
                    self.sessions.snapshots.push_back(session);
                    idle = if left < most { 0 } else { idle + 1 };
                }
            }
        }
        self.sessions.snapshots.extend(unread);
    }

    /// Whether a session was told so much of a snapshot or a tail that it may not have read that it is told more only slowly: it
    /// may be slower than what is told, and may say what it has read only at the end. Mesos's are read by us.
    fn is_much_unread(&self, session: SessionId) -> bool {
        let Some(open) = self.sessions.open.get(&session) else {
            return false;
        };
        let entry = self.registry.frameworks.get(&open.framework);
        let is_mesos = entry.is_some_and(|entry| entry.description.mesos.is_some());
        !is_mesos && open.telling.unread() >= self.sessions.unread_max.0
    }

    /// Tells some of a snapshot or a tail. Answers whether nothing is left of it. It waits until what its framework has kept is
    /// forgotten, which would else be told again.
    fn tell_piece(&mut self, session: SessionId, budget: &mut usize) -> bool {
        let Some(open) = self.sessions.open.get(&session) else {
            return true;
        };
        if self.acknowledgements.is_behind(&open.framework) {
            return false;
        }
        match open.telling.tail {
            Some(_) => self.tell_tail_piece(session, budget),
            None => self.tell_snapshot_piece(session, budget),
        }
    }

    /// Tells some tasks of a snapshot. Answers whether nothing is left of it.
    fn tell_snapshot_piece(&mut self, session: SessionId, budget: &mut usize) -> bool {
        let Some(open) = self.sessions.open.get(&session) else {
            return true;
        };
        let Some(reached) = open.telling.snapshot.clone() else {
            return true;
        };
        let framework = open.framework.clone();
        let tasks: Vec<TaskId> = self
            .tasks
            .after(&framework, reached.as_ref())
            .take(*budget + 1)
            .cloned()
            .collect();
        let has_more = tasks.len() > *budget;
        let after = self.turn.after_everything();
        for task in tasks.into_iter().take(*budget) {
            *budget -= 1;
            self.tell_task(session, &framework, &task, after);
            if let Some(open) = self.sessions.open.get_mut(&session) {
                open.telling.snapshot = Some(Some(task));
            }
        }
        if has_more {
            return false;
        }
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.telling.snapshot = None;
        }
        self.conclude_telling(session, &framework);
        self.send_session(session, Event::SnapshotEnded, after);
        if let Some(open) = self.sessions.open.get_mut(&session) {
            open.telling.whole_from = Some(open.telling.sequence);
        }
        true
    }

    /// An agent has settled. Who is being told a snapshot or a tail hears it at its end, after the agent's tasks.
    pub(crate) fn tell_settled(&mut self, agent: &AgentId, after: After) {
        let sessions = self.sessions.open.iter();
        let sessions = sessions.filter(|(_, open)| !open.telling.is_catching_up());
        let sessions: Vec<_> = sessions.map(|(session, _)| *session).collect();
        for session in sessions {
            self.send_session(session, Event::AgentSettled(agent.clone()), after);
        }
    }

    /// What waits to be acknowledged of a task; when nothing does, how it stands.
    fn tell_task(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        task: &TaskId,
        after: After,
    ) {
        let key = (framework.clone(), task.clone());
        let Some(known) = self.tasks.get(&key) else {
            return;
        };
        if known.queue().len() == 0 {
            let status = self.known_status(known);
            self.send_session(session, Event::Updated(status), after);
            return;
        }
        let queue: Vec<Status> = known.queue().cloned().collect();
        for status in queue {
            self.send_status(session, task, status.incarnation, status, after);
        }
    }

    /// Tells what comes after the statuses, whether they were a tail or a snapshot.
    pub(crate) fn conclude_telling(&mut self, session: SessionId, framework: &FrameworkId) {
        self.repeat_reclaims(session, framework);
        self.repeat_settled(session);
        self.tell_kills_later(framework);
    }

    /// Tells a session that came late which agents have settled in this term.
    fn repeat_settled(&mut self, session: SessionId) {
        let after = self.turn.after_everything();
        let agents = self.agents.by_id.iter();
        let settled: Vec<_> = agents
            .filter(|(_, agent)| agent.is_recovered && agent.is_settled)
            .map(|(id, _)| id.clone())
            .collect();
        for agent in settled {
            self.send_session(session, Event::AgentSettled(agent), after);
        }
    }
}
