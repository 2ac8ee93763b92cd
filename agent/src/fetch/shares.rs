//! How much of what is fetched at once is one user's: less than all, so that the many things of some tasks do not keep those of
//! others waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::FETCHES_OF_USER_MAX;

/// Users who fetch something at this moment.
#[derive(Debug, Default)]
pub(super) struct Shares {
    by_user: Mutex<BTreeMap<Option<u32>, Weak<Semaphore>>>,
}

impl Shares {
    /// Waits for a place among those of this user.
    pub(super) async fn take(&self, user: Option<u32>) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.of(user).acquire_owned().await.ok()
    }

    fn of(&self, user: Option<u32>) -> Arc<Semaphore> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = by_user.get(&user).and_then(Weak::upgrade) {
            return share;
        }
        by_user.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(FETCHES_OF_USER_MAX));
        by_user.insert(user, Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_user_who_fetches_much_leaves_room_for_others_and_waits_for_his_own() {
        let shares = Shares::default();
        let mut held = Vec::new();
        for _ in 0..FETCHES_OF_USER_MAX {
            held.push(shares.take(Some(1)).now_or_never().expect("room"));
        }
        assert!(shares.take(Some(1)).now_or_never().is_none());
        assert!(shares.take(Some(2)).now_or_never().is_some());
        held.pop();
        assert!(shares.take(Some(1)).now_or_never().is_some());
        held.clear();
        assert!(shares.take(None).now_or_never().is_some());
        let known = shares.by_user.lock().expect("a lock").len();
        assert_eq!(known, 1, "who fetches nothing any more is forgotten");
    }
}
