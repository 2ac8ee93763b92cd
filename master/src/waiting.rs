//! Bytes of calls that wait for the core, of one peer and of all, and of answers that wait for who asked, of one framework and
//! of all. Their number is bounded elsewhere; each may have megabytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use proffer_model::{FrameworkId, Problem, code};

use crate::limits::{
    CALL_LIGHT_LEN, CALLS_BYTES_RETRY_AFTER, FRAMEWORK_REPLIES_BYTES_MAX, REPLIES_BYTES_MAX,
    SESSION_CALLS_BYTES_MAX, SESSIONS_CALLS_BYTES_MAX,
};

/// How many bytes may wait, and of what.
#[derive(Debug)]
struct Most {
    what: &'static str,
    own: usize,
    all: usize,
}

static CALLS: Most = Most {
    what: "calls",
    own: SESSION_CALLS_BYTES_MAX,
    all: SESSIONS_CALLS_BYTES_MAX,
};

static REPLIES: Most = Most {
    what: "answers",
    own: FRAMEWORK_REPLIES_BYTES_MAX,
    all: REPLIES_BYTES_MAX,
};

/// How many bytes wait.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
    most: &'static Most,
}

/// Of calls.
impl Default for Waiting {
    fn default() -> Self {
        Self::of(&CALLS)
    }
}

/// Bytes of answers that are on their way to who asked.
#[derive(Clone, Debug)]
pub(crate) struct Replies {
    all: Waiting,
    /// Those of which some are on their way.
    by_framework: Arc<Mutex<BTreeMap<FrameworkId, Waiting>>>,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            all: Waiting::of(&REPLIES),
            by_framework: Arc::default(),
        }
    }
}

impl Replies {
    /// Counts an answer of so many bytes, if there is room; a light one is always sent, and not counted.
    pub(crate) fn take(
        &self,
        framework: &FrameworkId,
        bytes: usize,
    ) -> Result<Option<Load>, Problem> {
        if bytes <= CALL_LIGHT_LEN {
            return Ok(None);
        }
        let by_framework = self.by_framework.lock();
        let mut by_framework = by_framework.unwrap_or_else(PoisonError::into_inner);
        by_framework.retain(|_, waiting| waiting.own.load(Ordering::Relaxed) > 0);
        let waiting = by_framework.entry(framework.clone());
        waiting.or_insert_with(|| self.all.of_another()).take(bytes)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.all.all.load(Ordering::Relaxed)
    }
}

/// The bytes of one call, counted for as long as this or a copy of it is there.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    _counted: Arc<Counted>,
}

#[derive(Debug)]
struct Counted {
    bytes: usize,
    waiting: Waiting,
}

impl Waiting {
    fn of(most: &'static Most) -> Self {
        Self {
            own: Arc::default(),
            all: Arc::default(),
            most,
        }
    }

    /// Another peer, with the same sum of all.
    pub(crate) fn of_another(&self) -> Self {
        Self {
            own: Arc::default(),
            all: Arc::clone(&self.all),
            most: self.most,
        }
    }

    /// Counts a call of so many bytes, if there is room; a light one is always taken, and not counted.
    pub(crate) fn take(&self, bytes: usize) -> Result<Option<Load>, Problem> {
        if bytes <= CALL_LIGHT_LEN {
            return Ok(None);
        }
        let own = self.own.fetch_add(bytes, Ordering::Relaxed);
        let all = self.all.fetch_add(bytes, Ordering::Relaxed);
        // Counted as soon as it is made, and so no more when it is dropped here.
        let load = Load {
            _counted: Arc::new(Counted {
                bytes,
                waiting: self.clone(),
            }),
        };
        let is_alone = own == 0;
        let Most {
            what,
            own: own_max,
            all: all_max,
        } = self.most;
        if !is_alone && own.saturating_add(bytes) > *own_max {
            return Err(full(what, "of this framework", *own_max));
        }
        if all.saturating_add(bytes) > *all_max {
            return Err(full(what, "of all frameworks", *all_max));
        }
        Ok(Some(load))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.waiting.own.fetch_sub(self.bytes, Ordering::Relaxed);
        self.waiting.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn full(what: &str, whose: &str, most: usize) -> Problem {
    let message = format!("the {what} {whose} that wait have {most} bytes; there is no more room");
    let hint =
        "nothing of it was done; try again after the time that is given, and ask for less at once";
    Problem::new(code::SESSION_RATE_LIMITED, message)
        .hint(hint)
        .retry_after(CALLS_BYTES_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: usize = 1024 * 1024;

    #[test]
    fn calls_of_a_peer_are_taken_up_to_their_bytes_and_again_when_some_are_done() {
        let waiting = Waiting::default();
        let load = |mebibytes| waiting.take(mebibytes * MEBIBYTE);
        let mut loads: Vec<_> = (0..16).map(|_| load(8).expect("room")).collect();
        let problem = load(1).expect_err("no room");
        assert!(problem.is(code::SESSION_RATE_LIMITED) && !problem.hint.is_empty());
        assert_eq!(problem.retry_after, Some(CALLS_BYTES_RETRY_AFTER));
        let light = waiting.take(CALL_LIGHT_LEN).expect("always");
        assert!(light.is_none());
        loads.pop();
        loads.push(load(8).expect("what was refused takes no room"));
        load(1).expect_err("no room");
        let copy = loads.last().cloned();
        drop(loads);
        assert_eq!(waiting.own.load(Ordering::Relaxed), 8 * MEBIBYTE);
        drop(copy);
        assert_eq!(waiting.own.load(Ordering::Relaxed), 0);
        load(1_000).expect("one alone has room");
    }

    #[test]
    fn answers_of_a_framework_are_sent_up_to_their_bytes_whatever_others_do_not_read() {
        let replies = Replies::default();
        let [first, second] = ["a", "b"].map(|id| id.parse().expect("an id"));
        let take = |framework| replies.take(framework, 4 * MEBIBYTE);
        let mut loads: Vec<_> = (0..8).map(|_| take(&first).expect("room")).collect();
        let problem = take(&first).expect_err("no room");
        assert!(problem.is(code::SESSION_RATE_LIMITED) && problem.message.contains("answers"));
        take(&second).expect("others have theirs");
        loads.pop();
        loads.push(take(&first).expect("room again"));
        drop(loads);
        assert_eq!(replies.bytes(), 0);
        take(&second).expect("room");
        let known = replies.by_framework.lock().expect("a map").len();
        assert_eq!(known, 1, "who has nothing on its way is forgotten");
    }

    #[test]
    fn calls_of_all_peers_are_taken_up_to_their_bytes() {
        let first = Waiting::default();
        let mut loads = Vec::new();
        for _ in 0..8 {
            let peer = first.of_another();
            loads.push(peer.take(128 * MEBIBYTE).expect("room"));
        }
        first.take(MEBIBYTE).expect_err("no room for anybody");
        loads.pop();
        first.take(MEBIBYTE).expect("room again");
    }
}
