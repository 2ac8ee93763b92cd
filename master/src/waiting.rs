//! Bytes of calls that wait for the core, of one peer and of all. Their number is bounded elsewhere; a call may have
//! megabytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proffer_model::{Problem, code};

use crate::limits::{
    CALL_LIGHT_LEN, CALLS_BYTES_RETRY_AFTER, SESSION_CALLS_BYTES_MAX, SESSIONS_CALLS_BYTES_MAX,
};

/// How many bytes wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    own: Arc<AtomicUsize>,
    all: Arc<AtomicUsize>,
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
    /// Another peer, with the same sum of all.
    pub(crate) fn of_another(&self) -> Self {
        Self {
            own: Arc::default(),
            all: Arc::clone(&self.all),
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
        if !is_alone && own.saturating_add(bytes) > SESSION_CALLS_BYTES_MAX {
            return Err(full("of this framework", SESSION_CALLS_BYTES_MAX));
        }
        if all.saturating_add(bytes) > SESSIONS_CALLS_BYTES_MAX {
            return Err(full("of all frameworks", SESSIONS_CALLS_BYTES_MAX));
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

fn full(whose: &str, most: usize) -> Problem {
    let message = format!("the calls {whose} that wait have {most} bytes; there is no more room");
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
