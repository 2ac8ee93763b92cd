//! A term, as everything that serves it sees it: whether it still holds, and when it is over.

use proffer_leader::Lease;
use proffer_model::{Problem, code};
use proffer_server::clock;
use tokio_util::sync::CancellationToken;

/// The time in which a term may act. Cheap to clone; all clones are of the same term.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    lease: Lease,
    over: CancellationToken,
}

impl Tenure {
    /// Of a term that leads while `lease` holds and until `over` is cancelled.
    pub(crate) fn new(lease: Lease, over: CancellationToken) -> Self {
        Self { lease, over }
    }

    /// Whether the term may act now. A process that stood still finds out here, before anybody could tell it.
    pub(crate) fn holds(&self) -> bool {
        self.lease.holds(clock::now())
    }

    /// Whether the term takes calls: it may act, and its core still runs.
    pub(crate) fn takes_calls(&self) -> bool {
        !self.over.is_cancelled() && self.holds()
    }

    /// Waits until the term is over or its lease is known to be lost.
    pub(crate) async fn over(&self) {
        tokio::select! {
            () = self.over.cancelled() => {}
            () = self.lease.lost() => {}
        }
    }

    /// Ends it: whoever serves it lets go of it.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// The lease that it stands on.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What ends it.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.over
    }

    /// One that nothing ends.
    #[cfg(test)]
    pub(crate) fn forever() -> Self {
        Self::new(Lease::forever(), CancellationToken::new())
    }
}

/// Why a term ends whose lease has run out.
pub(crate) fn lost() -> Problem {
    Problem::new(
        code::MASTER_NOT_LEADING,
        "the lease on leadership was not renewed in time",
    )
    .hint("see that the masters reach ZooKeeper, and that this one is not short of cpu")
}
