//! What is known of each task: what the author was told of it, and whether it may be launched. Pure.
//!
//! After a reconnect or a change of leader statuses come again. One with a smaller number than was told, or of an earlier
//! launch, or of an earlier state, is left out; the last one may come twice, for its author may not have kept it. A task that
//! comes back to life after its end was told may really run, so it is ended, not only hushed up.
//!
//! The subtle thing: a task whose launch had no answer when its session ended may run, now or later. Its fate is open, and it
//! is not launched again, until a master of a later session has said what became of it; a master does so only when no agent
//! is left that may still come and say that it runs it. Where another run of the program may have launched the task, an end that
//! is told meanwhile does not decide it either: an agent tells the end of an earlier launch again when it has not heard that it
//! was kept. When the master has answered, that end is told once more, and the task may be launched. The author takes events later than they come: one of the session that
//! has ended says nothing of a launch which that session did not answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::{Incarnation, Status, TaskId, TaskState};

use crate::limits::{ENDED_TASKS_REMEMBERED_MAX, TASKS_REMEMBERED_MAX};

/// What a status is to the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is told.
    News,
    /// It is older than what was told, and left out.
    Stale,
    /// No later launch is known either: the end that was told before, and decided nothing, is told again in its place.
    Again,
    /// Its task was told to have ended, and that is final: it is left out and the task is ended.
    Revenant,
}

/// The newest that was told of a task.
#[derive(Clone, Copy, Debug)]
struct Latest {
    incarnation: Incarnation,
    /// The greatest number; the master's own statuses have none.
    number: u64,
    state: TaskState,
}

/// Whether a task may be launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It may: nothing that was launched under its id runs, as far as is known.
    Free,
    /// It is in a call that has no answer yet.
    Flying {
        /// Of the launch before.
        before: Incarnation,
    },
    /// It was launched, or told to be there, in this session or one that it resumed.
    Live,
    /// It may run or not.
    Open {
        /// What is said of this launch or earlier ones does not decide it.
        before: Incarnation,
        /// What was said in this session or earlier ones does not decide it.
        since: u64,
        /// The session in which the master has shown that it knows the task, and so will say what becomes of it unasked.
        heard: u64,
        /// The author was told that an agent which cannot be reached may run it.
        is_unreachable: bool,
    },
}

/// One task.
#[derive(Clone, Copy, Debug)]
struct Fate {
    latest: Option<Latest>,
    standing: Standing,
    /// The session in which that was learned.
    of: u64,
}

/// All tasks that the program has heard of.
#[derive(Debug)]
pub(crate) struct Fates {
    /// Whether another run of the program may have launched tasks.
    has_history: bool,
    tasks: BTreeMap<TaskId, Fate>,
    /// Those of them whose fate is open.
    open: BTreeSet<TaskId>,
    /// Ends that were told of tasks whose fate is open, and did not decide it; until they are kept when they are told again.
    told: BTreeMap<TaskId, Status>,
    /// Tasks whose end was told, the oldest first.
    ended: VecDeque<(TaskId, Incarnation)>,
    /// Sessions that have begun.
    begun: u64,
    /// Sessions that have ended.
    over: u64,
    /// Sessions whose beginning the author has taken: what they take is of the last of these.
    taken: u64,
    /// The last session that did not go on where the one before it was.
    fresh: u64,
    /// After this many sessions another program may have been active as this framework, and launched what had ended.
    overtaken: u64,
}

impl Fates {
    /// Before the first session.
    pub(crate) fn new(has_history: bool) -> Self {
        Self {
            has_history,
            tasks: BTreeMap::new(),
            open: BTreeSet::new(),
            told: BTreeMap::new(),
            ended: VecDeque::new(),
            begun: 0,
            over: 0,
            taken: 0,
            fresh: 0,
            overtaken: 0,
        }
    }

    /// A task is about to be launched, if nothing that was launched under its id may still run; whether that is so. What is
    /// said of earlier launches is no news from now on.
    pub(crate) fn launching(&mut self, task: &TaskId) -> bool {
        let known = self.tasks.get(task).copied();
        if known.is_some_and(|fate| fate.standing != Standing::Free) {
            return false;
        }
        self.told.remove(task);
        let latest = known.and_then(|fate| fate.latest);
        let before = latest.map_or(Incarnation::default(), |latest| latest.incarnation);
        let fate = Fate {
            latest,
            standing: Standing::Flying { before },
            of: known.map_or(0, |fate| fate.of),
        };
        self.tasks.insert(task.clone(), fate);
        true
    }

    /// The master took the launch; called before any status that follows the answer is weighed.
    pub(crate) fn launched(&mut self, task: &TaskId, incarnation: Incarnation) {
        let is_remembered = self.tasks.len() <= TASKS_REMEMBERED_MAX;
        let of = self.begun;
        let Some(fate) = self.tasks.get_mut(task).filter(|fate| fate.is_flying()) else {
            return;
        };
        if !is_remembered {
            self.tasks.remove(task);
            return;
        }
        fate.latest = Some(Latest {
            incarnation,
            number: 0,
            state: TaskState::Staging,
        });
        (fate.standing, fate.of) = (Standing::Live, of);
    }

    /// The master did not take the launch, or was never asked to.
    pub(crate) fn refused(&mut self, task: &TaskId) {
        let Some(fate) = self.tasks.get_mut(task).filter(|fate| fate.is_flying()) else {
            return;
        };
        fate.standing = Standing::Free;
        if fate.latest.is_none() {
            self.tasks.remove(task);
        }
    }

    /// A session begins. Unless it tells all that happened meanwhile, nothing is certain any more of what has not ended, nor,
    /// where there may be other runs of the program, of what has.
    pub(crate) fn session_begun(&mut self, is_resumed: bool) {
        let before = self.begun;
        self.begun = before.saturating_add(1);
        if is_resumed {
            return;
        }
        self.fresh = self.begun;
        if self.has_history {
            self.overtaken = before;
        }
        for (task, fate) in &mut self.tasks {
            match &mut fate.standing {
                Standing::Live => {
                    fate.standing = open(Incarnation::default(), self.over);
                    self.open.insert(task.clone());
                }
                // What the last session said and the author has yet to take decides nothing any more.
                Standing::Open { since, .. } => *since = self.over,
                Standing::Free | Standing::Flying { .. } => {}
            }
        }
    }

    /// A session has ended. These were in calls that have no answer: they may have been launched, or not.
    pub(crate) fn session_ended<'a>(&mut self, unanswered: impl Iterator<Item = &'a TaskId>) {
        self.over = self.begun;
        for task in unanswered {
            if let Some(fate) = self.tasks.get_mut(task)
                && let Standing::Flying { before } = fate.standing
            {
                fate.standing = open(before, self.over);
                self.open.insert(task.clone());
            }
        }
    }

    /// The author takes the beginning of a session.
    pub(crate) fn session_taken(&mut self) {
        self.taken = self.taken.saturating_add(1);
    }

    /// The end of a task was told, and its author has not kept it: what they know is that it ran.
    pub(crate) fn end_was_not_kept(&mut self, task: TaskId) {
        let fate = self.tasks.get(&task).copied();
        if let Some(fate) = fate.filter(|fate| fate.standing == Standing::Free) {
            self.doubt(task, fate.latest);
        }
    }

    /// The end of a task was told, and its author has kept it.
    pub(crate) fn end_was_kept(&mut self, task: &TaskId) {
        let fate = self.tasks.get(task);
        if fate.is_none_or(|fate| fate.standing == Standing::Free) {
            self.told.remove(task);
        }
    }

    /// The end that is told again of a task.
    pub(crate) fn end_of(&self, task: &TaskId) -> Option<&Status> {
        self.told.get(task)
    }

    /// Those of these that may be launched now. The fate of the others is open, unless they are known to be there.
    pub(crate) fn settle(&mut self, tasks: impl IntoIterator<Item = TaskId>) -> BTreeSet<TaskId> {
        let mut free = BTreeSet::new();
        for task in tasks {
            match self.tasks.get(&task).copied() {
                Some(fate) if fate.standing != Standing::Free => {}
                Some(fate) if fate.of > self.overtaken => drop(free.insert(task)),
                None if !self.has_history => drop(free.insert(task)),
                known => self.doubt(task, known.and_then(|fate| fate.latest)),
            }
        }
        free
    }

    /// Whether the fate of any is open.
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Of how many the author was told that an agent which cannot be reached may run them.
    pub(crate) fn unreachable(&self) -> usize {
        let is_it = |task: &&TaskId| match self.tasks.get(*task).map(|fate| fate.standing) {
            Some(Standing::Open { is_unreachable, .. }) => is_unreachable,
            _ => false,
        };
        self.open.iter().filter(is_it).count()
    }

    /// Those whose fate is open and which the master will not speak of unasked.
    pub(crate) fn unheard(&self) -> Vec<TaskId> {
        let is_unheard = |task: &&TaskId| match self.tasks.get(*task).map(|fate| fate.standing) {
            Some(Standing::Open { heard, .. }) => heard != self.begun,
            _ => false,
        };
        self.open.iter().filter(is_unheard).cloned().collect()
    }

    /// Decides about a status that the author takes, and remembers it when it is told.
    pub(crate) fn weigh(&mut self, status: &Status) -> Worth {
        let known = self.tasks.get(&status.task).copied();
        if known.is_some_and(|fate| fate.is_flying()) {
            // Of an earlier launch, or the late answer to a question.
            return Worth::Stale;
        }
        match status.incarnation == Incarnation::default() {
            true => self.weigh_unknown(status, known),
            false => self.weigh_known(status, known),
        }
    }

    /// What an agent or the master says of a launch.
    fn weigh_known(&mut self, status: &Status, known: Option<Fate>) -> Worth {
        let latest = known.and_then(|fate| fate.latest);
        let standing = known.map(|fate| fate.standing);
        let mut is_late = false;
        if let Some(Standing::Open {
            before,
            since,
            is_unreachable,
            ..
        }) = standing
        {
            if status.incarnation <= before {
                return Worth::Stale;
            }
            is_late = self.taken <= since;
            // One that has ended, perhaps an earlier launch, the master forgets when that is acknowledged: it is asked about.
            let is_end = status.state.is_terminal();
            if let Some(fate) = self.tasks.get_mut(&status.task) {
                fate.standing = Standing::Open {
                    before,
                    since,
                    heard: if is_end { 0 } else { self.taken },
                    is_unreachable,
                };
            }
        }
        let worth = latest.map_or(Worth::News, |latest| latest.weigh(status));
        if worth != Worth::News {
            return worth;
        }
        let same = latest.filter(|latest| latest.incarnation == status.incarnation);
        let newest = Latest {
            incarnation: status.incarnation,
            number: same.map_or(0, |latest| latest.number).max(status.number),
            state: status.state,
        };
        self.told.remove(&status.task);
        let standing = match (status.state.is_terminal(), standing) {
            (
                true,
                Some(Standing::Open {
                    before,
                    since,
                    is_unreachable,
                    ..
                }),
            ) if self.has_history => {
                self.told.insert(status.task.clone(), status.clone());
                Standing::Open {
                    before,
                    since,
                    // It is asked about.
                    heard: 0,
                    is_unreachable,
                }
            }
            (true, _) => Standing::Free,
            // It was there then; whether it still is, is not known.
            (false, Some(open)) if is_late => open,
            (false, Some(Standing::Free) | None) if self.taken < self.fresh => {
                open(Incarnation::default(), self.over)
            }
            (false, _) => Standing::Live,
        };
        self.remember(&status.task, newest, standing);
        worth
    }

    /// An answer about a task that the master does not know: not a state of a launch, so it stands in no order.
    fn weigh_unknown(&mut self, status: &Status, known: Option<Fate>) -> Worth {
        let latest = known.and_then(|fate| fate.latest);
        let is_ended = latest.is_some_and(|latest| latest.state.is_terminal());
        match known.map(|fate| fate.standing) {
            // It was asked before the launch.
            Some(Standing::Live | Standing::Flying { .. }) => Worth::Stale,
            Some(Standing::Open { since, .. }) if self.taken <= since => Worth::Stale,
            _ if status.state.is_terminal() => {
                let lost = Latest {
                    incarnation: Incarnation::default(),
                    number: 0,
                    state: status.state,
                };
                let newest = latest.filter(|_| is_ended).unwrap_or(lost);
                self.remember(&status.task, newest, Standing::Free);
                match self.told.contains_key(&status.task) {
                    true => Worth::Again,
                    false => Worth::News,
                }
            }
            Some(Standing::Free) if is_ended => Worth::Stale,
            Some(Standing::Free) | None => {
                self.doubt(status.task.clone(), latest);
                self.is_told_unreachable(&status.task)
            }
            // Its end was told; what is not known is whether another launch came after it.
            Some(Standing::Open { .. }) if self.told.contains_key(&status.task) => Worth::Stale,
            Some(Standing::Open { .. }) => self.is_told_unreachable(&status.task),
        }
    }

    fn is_told_unreachable(&mut self, task: &TaskId) -> Worth {
        match self.tasks.get_mut(task).map(|fate| &mut fate.standing) {
            Some(Standing::Open { is_unreachable, .. }) if !*is_unreachable => {
                *is_unreachable = true;
                Worth::News
            }
            _ => Worth::Stale,
        }
    }

    /// The fate of a task is open: it may have been launched by another run of the program.
    fn doubt(&mut self, task: TaskId, latest: Option<Latest>) {
        let standing = open(Incarnation::default(), self.over);
        let fate = Fate {
            latest,
            standing,
            of: self.taken,
        };
        self.open.insert(task.clone());
        self.tasks.insert(task, fate);
    }

    fn remember(&mut self, task: &TaskId, newest: Latest, standing: Standing) {
        let known = self.tasks.get(task).copied();
        if known.is_none() && self.tasks.len() >= TASKS_REMEMBERED_MAX {
            return;
        }
        let was_ended = known.and_then(|fate| fate.latest).is_some_and(|latest| {
            latest.incarnation == newest.incarnation && latest.state.is_terminal()
        });
        match standing {
            Standing::Open { .. } => drop(self.open.insert(task.clone())),
            Standing::Free | Standing::Flying { .. } | Standing::Live => {
                self.open.remove(task);
            }
        }
        let fate = Fate {
            latest: Some(newest),
            standing,
            of: self.taken,
        };
        self.tasks.insert(task.clone(), fate);
        if newest.state.is_terminal() && !was_ended {
            self.ended.push_back((task.clone(), newest.incarnation));
        }
        if self.ended.len() > ENDED_TASKS_REMEMBERED_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets the task that ended first, unless it is about to be launched again.
    fn forget_oldest(&mut self) {
        let Some((task, incarnation)) = self.ended.pop_front() else {
            return;
        };
        let is_it = |fate: &&Fate| {
            let latest = fate.latest.filter(|latest| latest.state.is_terminal());
            latest.is_some_and(|latest| latest.incarnation == incarnation)
        };
        match self
            .tasks
            .get(&task)
            .filter(is_it)
            .map(|fate| fate.standing)
        {
            Some(Standing::Free) => drop(self.tasks.remove(&task)),
            Some(_) => self.ended.push_back((task, incarnation)),
            None => {}
        }
    }
}

fn open(before: Incarnation, since: u64) -> Standing {
    Standing::Open {
        before,
        since,
        heard: 0,
        is_unreachable: false,
    }
}

impl Fate {
    fn is_flying(&self) -> bool {
        matches!(self.standing, Standing::Flying { .. })
    }
}

impl Latest {
    fn weigh(&self, status: &Status) -> Worth {
        if status.incarnation != self.incarnation {
            return match status.incarnation > self.incarnation {
                true => Worth::News,
                false => Worth::Stale,
            };
        }
        let is_older = status.number > 0 && status.number < self.number;
        if self.state.is_terminal() {
            return match (is_older, status.state.is_terminal()) {
                (true, _) => Worth::Stale,
                (false, true) => Worth::News,
                (false, false) => Worth::Revenant,
            };
        }
        // Out of unreachable every way is open.
        let is_backwards = status.state < self.state && self.state != TaskState::Unreachable;
        match is_older || is_backwards {
            true => Worth::Stale,
            false => Worth::News,
        }
    }
}

#[cfg(test)]
mod tests;
