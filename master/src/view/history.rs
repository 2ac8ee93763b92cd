//! What has changed, in order: the keys of rows, not the rows, so that it holds nothing alive and costs little.
//!
//! Whoever follows reads how a row is now, not how it was: of several changes in short succession they may see the last
//! alone.

use std::collections::VecDeque;

use proffer_model::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};

use crate::limits::CHANGES_REMEMBERED_MAX;

/// A row that has changed, or is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// An agent's.
    Agent(AgentId),
    /// A framework's.
    Framework(FrameworkId),
    /// A task's.
    Task(FrameworkId, TaskId),
    /// An offer's.
    Offer(OfferId),
    /// An executor's.
    Executor(AgentId, FrameworkId, ExecutorId),
}

/// The last changes of a term, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Changed>,
    last: u64,
}

impl History {
    /// One more.
    pub(crate) fn push(&mut self, changed: Changed) {
        if self.changes.len() == CHANGES_REMEMBERED_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(changed);
        self.last += 1;
    }

    /// The number of the last change.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Up to so many changes after the one of this number; none when some of them are forgotten, or when there is no such
    /// number.
    pub(crate) fn after(&self, number: u64, count: usize) -> Option<Vec<Changed>> {
        let missing = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let first = self.changes.len().checked_sub(missing)?;
        Some(self.changes.range(first..).take(count).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: usize) -> Changed {
        Changed::Offer(format!("o{number}").parse().expect("id"))
    }

    #[test]
    fn changes_are_remembered_up_to_the_limit_and_numbered_for_ever() {
        let mut history = History::default();
        assert_eq!(history.after(0, 10), Some(Vec::new()));
        assert_eq!(history.after(1, 10), None, "there is none yet");
        for number in 1..=CHANGES_REMEMBERED_MAX {
            history.push(change(number));
        }
        assert_eq!(history.after(0, 2), Some(vec![change(1), change(2)]));
        history.push(change(0));
        assert_eq!(history.after(0, 2), None, "the first is forgotten");
        assert_eq!(history.after(1, 1), Some(vec![change(2)]));
        let last = history.last();
        assert_eq!(history.after(last - 1, 9), Some(vec![change(0)]));
        assert_eq!(history.after(last, 9), Some(Vec::new()));
        assert_eq!(history.after(last + 1, 9), None);
    }
}
