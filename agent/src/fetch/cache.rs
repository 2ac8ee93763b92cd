//! What was downloaded and is kept for others of the same user. Files without names, open as long as they are kept: what is let
//! go is gone when the last who reads it is, and nothing outlives the agent. Who asks while it is on its way waits for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::limits::FETCH_CACHE_ENTRIES_MAX;

/// What tells it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// For whom; absent: there is but one.
    pub(super) user: Option<u32>,
    pub(super) uri: String,
    /// What it must be: another digest is another file.
    pub(super) sha256: Option<String>,
}

/// Something that was downloaded.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) file: File,
    pub(super) len: u64,
}

#[derive(Debug)]
pub(super) struct Cache {
    entries: Mutex<Entries>,
    len_max: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: BTreeMap<Key, Entry>,
    /// Grows with each use.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    cell: Arc<OnceCell<Arc<Cached>>>,
    last_use: u64,
}

impl Entry {
    /// Bytes of what is there; nothing while it is on its way.
    fn len(&self) -> Option<u64> {
        self.cell.get().map(|cached| cached.len)
    }
}

impl Cache {
    /// Of so many bytes at most.
    pub(super) fn new(len_max: u64) -> Self {
        Self {
            entries: Mutex::default(),
            len_max,
        }
    }

    /// What there is, or what `download` brings; of several who ask at once one downloads.
    pub(super) async fn get<E, D: Future<Output = Result<Cached, E>>>(
        &self,
        key: &Key,
        download: impl FnOnce() -> D,
    ) -> Result<Arc<Cached>, E> {
        let cell = self.lock().cell(key);
        let result = cell.get_or_try_init(|| async { download().await.map(Arc::new) });
        let result = result.await.cloned();
        self.lock().settle(key, &cell, self.len_max);
        result
    }

    /// It is not what it should be.
    pub(super) fn forget(&self, key: &Key) {
        self.lock().by_key.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn cell(&mut self, key: &Key) -> Arc<OnceCell<Arc<Cached>>> {
        self.uses += 1;
        let entry = self.by_key.entry(key.clone()).or_insert_with(|| Entry {
            cell: Arc::default(),
            last_use: 0,
        });
        entry.last_use = self.uses;
        entry.cell.clone()
    }

    /// Lets go of what could not be had, and of what was not used for longest until the rest is small enough.
    fn settle(&mut self, key: &Key, cell: &Arc<OnceCell<Arc<Cached>>>, len_max: u64) {
        let is_mine = |entry: &Entry| Arc::ptr_eq(&entry.cell, cell);
        // Who else waits for it tries by itself, and settles in turn.
        if !cell.initialized() && self.by_key.get(key).is_some_and(is_mine) {
            self.by_key.remove(key);
        }
        loop {
            let there = self.by_key.iter().filter_map(|(key, entry)| {
                let len = entry.len()?;
                Some((key, entry.last_use, len))
            });
            let (mut count, mut sum, mut oldest): (usize, u64, Option<(&Key, u64)>) = (0, 0, None);
            for (key, last_use, len) in there {
                count += 1;
                sum = sum.saturating_add(len);
                if oldest.is_none_or(|(_, known)| last_use < known) {
                    oldest = Some((key, last_use));
                }
            }
            let is_too_much = sum > len_max || count > FETCH_CACHE_ENTRIES_MAX;
            match oldest.filter(|_| is_too_much).map(|(key, _)| key.clone()) {
                Some(key) => self.by_key.remove(&key),
                None => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn key(uri: &str) -> Key {
        Key {
            user: None,
            uri: uri.to_owned(),
            sha256: None,
        }
    }

    /// Gets something of this length, and counts how often it is downloaded.
    async fn get(cache: &Cache, uri: &str, len: u64, count: &AtomicUsize) -> Result<u64, ()> {
        let download = || async {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            let file = tempfile::tempfile().map_err(|_| ())?;
            if len == 0 {
                Err(())
            } else {
                Ok(Cached { file, len })
            }
        };
        let cached = cache.get(&key(uri), download).await?;
        Ok(cached.len)
    }

    #[tokio::test]
    async fn what_many_ask_for_at_once_is_downloaded_once() {
        let (cache, count) = (Cache::new(10), AtomicUsize::new(0));
        let all = (0..20).map(|_| get(&cache, "a", 3, &count));
        let all = futures::future::join_all(all).await;
        assert_eq!(all, vec![Ok(3); 20]);
        assert_eq!(count.load(Ordering::Relaxed), 1);
        cache.forget(&key("a"));
        assert_eq!(get(&cache, "a", 3, &count).await, Ok(3));
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_was_not_used_for_longest_goes_first_and_what_is_too_large_at_once() {
        let (cache, count) = (Cache::new(10), AtomicUsize::new(0));
        let get = async |uri, len| {
            let before = count.load(Ordering::Relaxed);
            assert_eq!(get(&cache, uri, len, &count).await, Ok(len));
            count.load(Ordering::Relaxed) > before
        };
        assert!(get("a", 4).await && get("b", 4).await);
        assert!(!get("a", 4).await);
        assert!(get("c", 4).await, "b goes");
        assert!(!get("a", 4).await && get("b", 4).await);
        assert!(get("large", 11).await && get("large", 11).await);
    }

    #[tokio::test]
    async fn what_failed_is_tried_again() {
        let (cache, count) = (Cache::new(10), AtomicUsize::new(0));
        assert_eq!(get(&cache, "a", 0, &count).await, Err(()));
        assert!(cache.lock().by_key.is_empty());
        assert_eq!(get(&cache, "a", 1, &count).await, Ok(1));
    }
}
