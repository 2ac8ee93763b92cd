//! Work that is never in the way of launches: a runtime of its own, whose threads have a lower priority than all others.
//!
//! While the processors are idle it goes on as fast as anything; when they are not, the core's thread and the connections
//! come first, and what is done here takes what they leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use proffer_model::{Principal, Problem, code};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::limits::{
    BACKGROUND_NICENESS, MESOS_PAGES_AT_ONCE_MAX, PAGES_AT_ONCE_MAX, PATTERNS_AT_ONCE_MAX,
    SENT_AT_ONCE_MAX, SENT_INTERVAL,
};

/// A handle; the threads end with the last of these.
#[derive(Clone, Debug)]
pub(crate) struct Background(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    runtime: Option<Runtime>,
    /// Of one call at a time the patterns are compiled.
    compiling: Arc<Semaphore>,
    /// And one call of each principal waits for that, before its others do.
    turns: Mutex<BTreeMap<Principal, Weak<Semaphore>>>,
    sent: Mutex<Sent>,
}

#[derive(Debug, Default)]
struct Sent {
    since: Option<Instant>,
    /// Bytes, at once or not.
    len: usize,
}

impl Sent {
    /// Whether so many more may be sent at once.
    fn takes(&mut self, now: Instant, len: usize) -> bool {
        let is_over = |since| now.saturating_duration_since(since) >= SENT_INTERVAL;
        if self.since.is_none_or(is_over) {
            (self.since, self.len) = (Some(now), 0);
        }
        self.len = self.len.saturating_add(len);
        self.len <= SENT_AT_ONCE_MAX
    }
}

impl Background {
    /// Starts its threads: one for short turns, and others, as they are needed, for what takes longer.
    pub(crate) fn start() -> Result<Self, Problem> {
        let lower = || {
            if let Err(error) = rustix::process::nice(BACKGROUND_NICENESS) {
                tracing::warn!(%error, "a thread in the background has the priority of all others");
            }
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(
                MESOS_PAGES_AT_ONCE_MAX + PAGES_AT_ONCE_MAX + PATTERNS_AT_ONCE_MAX,
            )
            .thread_name("background")
            .on_thread_start(lower)
            .build();
        let cannot = |error| {
            let message = format!("cannot start threads in the background: {error}");
            Problem::new(code::INTERNAL, message)
        };
        let runtime = runtime.map_err(cannot)?;
        Ok(Self(Arc::new(Threads {
            runtime: Some(runtime),
            compiling: Arc::new(Semaphore::new(PATTERNS_AT_ONCE_MAX)),
            turns: Mutex::default(),
            sent: Mutex::default(),
        })))
    }

    /// Does something that takes a while. None when it has panicked, or the term is over.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let runtime = self.0.runtime.as_ref()?;
        runtime.spawn_blocking(work).await.ok()
    }

    /// The same with what compiles the patterns of a principal's call, in its turn: however many calls one makes, each of the
    /// others waits for one of them at the most. It is done to the end, though the caller may hang up.
    pub(crate) async fn compile<T: Send + 'static>(
        &self,
        principal: &Principal,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let own = self.own_turns(principal).acquire_owned().await;
        let turn = Arc::clone(&self.0.compiling).acquire_owned().await;
        let compiled = self.run(move || {
            let _turns = (own, turn);
            work()
        });
        let lost = || Problem::new(code::INTERNAL, "the patterns of the call were not compiled");
        compiled.await.ok_or_else(lost)
    }

    fn own_turns(&self, principal: &Principal) -> Arc<Semaphore> {
        // Nothing is changed half-way.
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = turns.get(principal).and_then(Weak::upgrade) {
            return own;
        }
        turns.retain(|_, others| others.strong_count() > 0);
        let own = Arc::new(Semaphore::new(1));
        turns.insert(principal.clone(), Arc::downgrade(&own));
        own
    }

    /// Waits, before so many bytes are sent, for a moment that nothing else needs; not while little is sent.
    pub(crate) async fn turn_to_send(&self, len: usize) {
        let takes = {
            // Nothing is changed half-way.
            let mut sent = self.0.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.takes(Instant::now(), len)
        };
        if !takes {
            self.turn().await;
        }
    }

    async fn turn(&self) {
        if let Some(runtime) = &self.0.runtime {
            // At the end of the term it is cancelled, and nobody need wait.
            let _ = runtime.spawn(async {}).await;
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures::poll;

    use super::*;

    #[test]
    fn little_is_sent_at_once_and_much_waits() {
        let (mut sent, now) = (Sent::default(), Instant::now());
        assert!(sent.takes(now, SENT_AT_ONCE_MAX));
        assert!(!sent.takes(now, 1));
        let later = now + SENT_INTERVAL;
        assert!(sent.takes(later, SENT_AT_ONCE_MAX - 1));
        assert!(sent.takes(later, 1));
        assert!(!sent.takes(later, 1));
    }

    #[tokio::test]
    async fn who_makes_many_calls_with_patterns_does_not_come_before_others() {
        let background = Background::start().expect("threads");
        let [many, other]: [Principal; 2] = ["many", "other"].map(|it| it.parse().expect("a name"));
        let (go_on, waits) = mpsc::channel::<()>();
        let (done, order) = mpsc::channel();
        let tell = |what: &'static str| {
            let done = done.clone();
            move || done.send(what).expect("heard")
        };
        let mut first = std::pin::pin!(background.compile(&many, move || waits.recv()));
        let mut second = std::pin::pin!(background.compile(&many, tell("many")));
        let mut another = std::pin::pin!(background.compile(&other, tell("other")));
        assert!(poll!(&mut first).is_pending());
        assert!(poll!(&mut second).is_pending());
        assert!(poll!(&mut another).is_pending());
        go_on.send(()).expect("it waits");
        let (first, second, another) = tokio::join!(first, second, another);
        assert!(first.is_ok() && second.is_ok() && another.is_ok());
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["other", "many"]);
        let left = background.own_turns(&many);
        assert_eq!(Arc::strong_count(&left), 1);
    }

    #[tokio::test]
    async fn what_is_done_in_the_background_has_a_lower_priority_than_who_waits_for_it() {
        let niceness = || rustix::process::getpriority_process(None).expect("a priority");
        let background = Background::start().expect("threads");
        let own = niceness();
        let lower = background.run(niceness).await.expect("done");
        assert_eq!(lower, (own + BACKGROUND_NICENESS).min(19));
        background.turn().await;
        assert_eq!(niceness(), own, "no other thread has changed");
        assert_eq!(background.run(|| panic!("on purpose")).await, None::<()>);
    }
}
