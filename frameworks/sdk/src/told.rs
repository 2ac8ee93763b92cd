//! What the author was told of each task, so that nobody sees a task go backwards. Pure.
//!
//! After a reconnect or a change of leader statuses come again. One with a smaller number than was told, or of an earlier
//! incarnation, or of an earlier state, is left out; the last one may come twice, for its author may not have kept it. The
//! subtle thing: a task that comes back to life after its end was told may really run, so it is ended, not only hushed up.

use std::collections::{BTreeMap, VecDeque};

use proffer_model::{Incarnation, Status, TaskId, TaskState};

use crate::limits::{ENDED_TASKS_REMEMBERED_MAX, TASKS_REMEMBERED_MAX};

/// What a status is to the author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// It is told.
    News,
    /// It is older than what was told, and left out.
    Stale,
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

/// The newest that was told, by task.
#[derive(Debug, Default)]
pub(crate) struct Told {
    tasks: BTreeMap<TaskId, Latest>,
    /// Tasks whose end was told, the oldest first.
    ended: VecDeque<(TaskId, Incarnation)>,
}

impl Told {
    /// Decides about a status and remembers it when it is told.
    pub(crate) fn weigh(&mut self, status: &Status) -> Worth {
        let latest = self.tasks.get(&status.task).copied();
        if status.incarnation == Incarnation::default() {
            return self.weigh_unknown(status, latest);
        }
        let worth = latest.map_or(Worth::News, |latest| latest.weigh(status));
        if worth == Worth::News {
            self.remember(status, latest);
        }
        worth
    }

    /// An answer about a task that the master does not know: not a state of an incarnation, so it stands in no order.
    fn weigh_unknown(&mut self, status: &Status, latest: Option<Latest>) -> Worth {
        if !status.state.is_terminal() && latest.is_some_and(|l| l.state.is_terminal()) {
            return Worth::Stale;
        }
        if status.state.is_terminal() {
            self.tasks.remove(&status.task);
        }
        Worth::News
    }

    fn remember(&mut self, status: &Status, latest: Option<Latest>) {
        if latest.is_none() && self.tasks.len() >= TASKS_REMEMBERED_MAX {
            return;
        }
        let same = latest.filter(|latest| latest.incarnation == status.incarnation);
        let was_ended = same.is_some_and(|latest| latest.state.is_terminal());
        let newest = Latest {
            incarnation: status.incarnation,
            number: same.map_or(0, |latest| latest.number).max(status.number),
            state: status.state,
        };
        self.tasks.insert(status.task.clone(), newest);
        if newest.state.is_terminal() && !was_ended {
            self.ended
                .push_back((status.task.clone(), status.incarnation));
        }
        if self.ended.len() > ENDED_TASKS_REMEMBERED_MAX
            && let Some((task, incarnation)) = self.ended.pop_front()
        {
            let is_it =
                |latest: &Latest| latest.incarnation == incarnation && latest.state.is_terminal();
            if self.tasks.get(&task).is_some_and(is_it) {
                self.tasks.remove(&task);
            }
        }
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
mod tests {
    use proffer_model::Reason;
    use proptest::prelude::*;

    use super::*;

    const ALL: [TaskState; 8] = [
        TaskState::Staging,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Unreachable,
        TaskState::Failed,
        TaskState::Killed,
        TaskState::Lost,
    ];

    fn status(task: usize, incarnation: u64, number: u64, state: TaskState) -> Status {
        Status {
            task: TaskId::new(&format!("t{task}")).unwrap(),
            incarnation: Incarnation(incarnation),
            agent: None,
            number,
            state,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: 0,
            data: Vec::new(),
        }
    }

    fn check(statuses: &[(u64, u64, TaskState, Worth)]) {
        let mut told = Told::default();
        for (i, (incarnation, number, state, worth)) in statuses.iter().enumerate() {
            let status = status(0, *incarnation, *number, *state);
            assert_eq!(
                told.weigh(&status),
                *worth,
                "{i}: {status:?} of {statuses:?}"
            );
        }
    }

    #[test]
    fn what_comes_again_is_not_told_unless_it_is_the_newest() {
        use TaskState::{Failed, Killing, Lost, Running, Starting, Unreachable};
        use Worth::{News, Revenant, Stale};
        check(&[
            (1, 1, Starting, News),
            (1, 2, Running, News),
            (1, 1, Starting, Stale),
            (1, 2, Running, News),
        ]);
        check(&[
            (1, 5, Running, News),
            (1, 0, Unreachable, News),
            (1, 4, Running, Stale),
            (1, 5, Running, News),
        ]);
        check(&[
            (1, 5, Running, News),
            (1, 0, Running, News),
            (1, 0, Starting, Stale),
            (1, 6, Killing, News),
        ]);
        check(&[
            (1, 0, Running, News),
            (1, 1, Starting, Stale),
            (1, 2, Running, News),
        ]);
        check(&[
            (1, 3, Failed, News),
            (1, 2, Running, Stale),
            (1, 3, Failed, News),
            (1, 0, Running, Revenant),
        ]);
        check(&[
            (1, 2, Running, News),
            (1, 0, Lost, News),
            (1, 3, Running, Revenant),
            (2, 1, Running, News),
        ]);
        check(&[
            (2, 1, Starting, News),
            (1, 9, Running, Stale),
            (1, 9, Failed, Stale),
        ]);
        check(&[
            (1, 3, Failed, News),
            (0, 0, Unreachable, Stale),
            (0, 0, Lost, News),
        ]);
        check(&[(0, 0, Lost, News), (1, 1, Starting, News)]);
        check(&[
            (1, 2, Running, News),
            (0, 0, Lost, News),
            (1, 0, Running, News),
        ]);
    }

    #[test]
    fn ended_tasks_are_forgotten_after_many_others() {
        let mut told = Told::default();
        for i in 0..=ENDED_TASKS_REMEMBERED_MAX {
            assert_eq!(told.weigh(&status(i, 1, 1, TaskState::Failed)), Worth::News);
            assert_eq!(told.weigh(&status(i, 1, 1, TaskState::Failed)), Worth::News);
        }
        assert_eq!(told.tasks.len(), ENDED_TASKS_REMEMBERED_MAX);
        assert_eq!(told.ended.len(), ENDED_TASKS_REMEMBERED_MAX);
        assert_eq!(
            told.weigh(&status(1, 1, 0, TaskState::Running)),
            Worth::Revenant
        );
        assert_eq!(
            told.weigh(&status(0, 1, 0, TaskState::Running)),
            Worth::News
        );
    }

    proptest! {
        #[test]
        fn nobody_sees_a_task_go_backwards(
            statuses in prop::collection::vec((1u64..3, 0u64..6, 0usize..ALL.len()), 1..60)
        ) {
            let mut told = Told::default();
            let mut seen: Option<Status> = None;
            for (incarnation, number, state) in statuses {
                let status = status(0, incarnation, number, ALL[state]);
                if told.weigh(&status) != Worth::News {
                    continue;
                }
                if let Some(last) = seen.filter(|last| last.incarnation >= status.incarnation) {
                    prop_assert_eq!(last.incarnation, status.incarnation);
                    let may = last.state == TaskState::Unreachable || status.state >= last.state
                        || (last.state.is_terminal() && status.state.is_terminal());
                    prop_assert!(may, "{last:?} then {status:?}");
                }
                seen = Some(status);
            }
        }
    }
}
