//! Work that is never in the way of launches: a runtime of its own, whose threads have a lower priority than all others.
//!
//! While the processors are idle it goes on as fast as anything; when they are not, the core's thread and the connections
//! come first, and what is done here takes what they leave.

use std::sync::Arc;

use proffer_model::{Problem, code};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::limits::{
    BACKGROUND_NICENESS, MESOS_PAGES_AT_ONCE_MAX, PAGES_AT_ONCE_MAX, PATTERNS_AT_ONCE_MAX,
};

/// A handle; the threads end with the last of these.
#[derive(Clone, Debug)]
pub(crate) struct Background(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    runtime: Option<Runtime>,
    /// Of one call at a time the patterns are compiled.
    compiling: Arc<Semaphore>,
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

    /// The same with what compiles the patterns of a call, in its turn. It is done to the end, though the caller may hang up.
    pub(crate) async fn compile<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.0.compiling).acquire_owned().await;
        let compiled = self.run(move || {
            let _turn = turn;
            work()
        });
        let lost = || Problem::new(code::INTERNAL, "the patterns of the call were not compiled");
        compiled.await.ok_or_else(lost)
    }

    /// Waits for a moment that nothing else needs.
    pub(crate) async fn turn(&self) {
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
    use super::*;

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
