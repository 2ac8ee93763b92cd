//! What a framework was told and has not acknowledged, to be told again to a session that resumes: in its order, in pieces.
//!
//! What comes anew while it is told, or after a session that was cut short in it, is told after it, so that each status comes
//! after those that were before it.

use std::collections::{BTreeMap, VecDeque};

use crate::core::Core;
use crate::event::SessionId;
use crate::telling::Launch;

/// What is to be told before anything else.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// What was told, by its old sequence; what an earlier session was not told of its own tail stands behind it.
    parts: VecDeque<BTreeMap<u64, Launch>>,
    /// What has come since.
    added: VecDeque<Launch>,
}

impl Tail {
    /// What was told last comes before what is left.
    pub(crate) fn put_first(&mut self, told: BTreeMap<u64, Launch>) {
        if !told.is_empty() {
            self.parts.push_front(told);
        }
    }

    /// Something new comes after all that is left.
    pub(crate) fn put_last(&mut self, launch: Launch) {
        self.added.push_back(launch);
    }

    /// Takes what is told next.
    pub(crate) fn next(&mut self) -> Option<Launch> {
        while let Some(part) = self.parts.front_mut() {
            match part.pop_first() {
                Some((_, launch)) => return Some(launch),
                None => self.parts.pop_front(),
            };
        }
        self.added.pop_front()
    }

    /// Whether nothing is left.
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.parts.iter().all(BTreeMap::is_empty)
    }

    /// A launch's queue begins anew.
    pub(crate) fn forget(&mut self, launch: &Launch) {
        for part in &mut self.parts {
            part.retain(|_, other| other != launch);
        }
        self.added.retain(|other| other != launch);
    }

    /// All that is left.
    pub(crate) fn launches(&self) -> impl Iterator<Item = &Launch> {
        let parts = self.parts.iter().flat_map(BTreeMap::values);
        parts.chain(&self.added)
    }
}

impl Core {
    /// Tells some of the tail of a session that goes on, each status under a new number. Answers whether nothing is left of it.
    /// It waits for whatever is being written, for it may rest on that.
    pub(crate) fn tell_tail_piece(&mut self, session: SessionId, budget: &mut usize) -> bool {
        let Some(open) = self.sessions.open.get_mut(&session) else {
            return true;
        };
        let (framework, number) = (open.framework.clone(), open.telling.tails);
        let after = self.turn.after_everything();
        while *budget > 0 {
            let open = self.sessions.open.get_mut(&session);
            let next = open.and_then(|open| open.telling.next_in_tail());
            let Some((task, incarnation)) = next else {
                break;
            };
            *budget -= 1;
            let key = (framework.clone(), task);
            let known = self.tasks.get_mut(&key);
            let known = known.filter(|known| known.incarnation == incarnation);
            let status = known.and_then(|known| known.next_in_tail(number)).cloned();
            if let Some(status) = status {
                self.send_status(session, &key.1, incarnation, status, after);
            }
        }
        let Some(open) = self.sessions.open.get_mut(&session) else {
            return true;
        };
        if open
            .telling
            .tail
            .as_ref()
            .is_some_and(|tail| !tail.is_empty())
        {
            return false;
        }
        open.telling.tail = None;
        self.conclude_telling(session, &framework);
        true
    }
}
