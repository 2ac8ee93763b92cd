//! What has changed, in order: the keys of rows, not the rows, so that it holds nothing alive and costs little.
//!
//! Whoever follows reads how a row is now, not how it was: of several changes in short succession they may see the last
//! alone.

use std::collections::VecDeque;
use std::sync::Arc;

use proffer_model::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId};

use crate::limits::CHANGES_REMEMBERED_MAX;

/// Changes that a copy shares or not, together. Larger makes copies cheaper and the next change after one dearer.
const CHUNK_LEN: usize = 256;

/// A row that has changed, or is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    /// An agent's.
    Agent(AgentId),
    /// A framework's, or it is over.
    Framework(FrameworkId),
    /// A task's.
    Task(FrameworkId, TaskId),
    /// A task is not remembered any more, or of another agent now: it was of this one.
    TaskLeft(FrameworkId, TaskId, AgentId),
    /// An offer's.
    Offer(OfferId),
    /// An offer stands no longer; whose it was, and of which agent.
    OfferGone(OfferId, FrameworkId, AgentId),
    /// An executor's, or it is no more.
    Executor(AgentId, FrameworkId, ExecutorId),
}

/// The last changes of a term, numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// All full but the last, so that copies share them.
    chunks: VecDeque<Arc<Vec<Changed>>>,
    len: usize,
    last: u64,
}

/// A copy of them.
#[derive(Debug)]
pub(crate) struct Changes {
    chunks: Vec<Arc<Vec<Changed>>>,
    len: usize,
    last: u64,
}

impl History {
    /// One more.
    pub(crate) fn push(&mut self, changed: Changed) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_LEN => Arc::make_mut(chunk).push(changed),
            _ => self.chunks.push_back(Arc::new(vec![changed])),
        }
        self.last += 1;
        self.len += 1;
        if self.len >= CHANGES_REMEMBERED_MAX + CHUNK_LEN {
            self.chunks.pop_front();
            self.len -= CHUNK_LEN;
        }
    }

    /// The number of the last change.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// A copy, which costs next to nothing.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            chunks: self.chunks.iter().cloned().collect(),
            len: self.len,
            last: self.last,
        }
    }
}

impl Changes {
    /// The changes after the one of this number; none when some of them are forgotten, or when there is no such number.
    pub(crate) fn after(&self, number: u64) -> Option<impl Iterator<Item = &Changed>> {
        let missing = usize::try_from(self.last.checked_sub(number)?).ok()?;
        let first = self.len.checked_sub(missing)?;
        let chunks = self.chunks.get(first / CHUNK_LEN..).unwrap_or_default();
        let changes = chunks.iter().flat_map(|chunk| chunk.iter());
        Some(changes.skip(first % CHUNK_LEN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: usize) -> Changed {
        Changed::Offer(format!("o{number}").parse().expect("id"))
    }

    fn after(history: &History, number: usize, count: usize) -> Option<Vec<Changed>> {
        let changes = history.changes();
        let number = u64::try_from(number).expect("small");
        let after = changes.after(number)?;
        Some(after.take(count).cloned().collect())
    }

    #[test]
    fn changes_are_remembered_up_to_the_limit_and_numbered_for_ever() {
        let mut history = History::default();
        assert_eq!(after(&history, 0, 10), Some(Vec::new()));
        assert_eq!(after(&history, 1, 10), None, "there is none yet");
        for number in 1..=CHANGES_REMEMBERED_MAX {
            history.push(change(number));
        }
        assert_eq!(after(&history, 0, 2), Some(vec![change(1), change(2)]));
        let all = CHANGES_REMEMBERED_MAX + 2 * CHUNK_LEN;
        for number in CHANGES_REMEMBERED_MAX + 1..=all {
            history.push(change(number));
        }
        let oldest = all - CHANGES_REMEMBERED_MAX;
        assert_eq!(after(&history, 0, 2), None, "the first is forgotten");
        assert_eq!(after(&history, oldest, 1), Some(vec![change(oldest + 1)]));
        assert!(history.len < CHANGES_REMEMBERED_MAX + CHUNK_LEN);
        assert_eq!(after(&history, all - 1, 9), Some(vec![change(all)]));
        assert_eq!(after(&history, all, 9), Some(Vec::new()));
        assert_eq!(after(&history, all + 1, 9), None);
        let huge = usize::try_from(u64::MAX).expect("64 bits");
        assert_eq!(after(&history, huge, 9), None);
    }

    #[test]
    fn a_copy_stays_as_it_was() {
        let mut history = History::default();
        let copies = (1..=2 * CHUNK_LEN + 1).map(|number| {
            history.push(change(number));
            history.changes()
        });
        for (before, copy) in copies.collect::<Vec<_>>().iter().enumerate() {
            let changes = copy.after(0).map(Iterator::count);
            assert_eq!(changes, Some(before + 1));
        }
    }
}
