//! Pages and answers that are written once for all who ask for the same at about the same time.
//!
//! Whoever asks before one has been begun waits for it with the others. One that has been begun shows the cluster as it was
//! before they asked: that is good enough when it is large, was begun a moment ago, and nothing was changed since that
//! somebody was told is done. A small one is written anew, so that in a small cluster a page is never behind. Where the
//! next one is long in coming, the last one is given out for a while longer. Of each there is one at a time: the next is begun
//! when it is finished, so that one that takes long leaves a place for others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::FutureExt;
use futures::future::Shared as Awaited;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use super::changes::Refusal;
use crate::limits::{
    MESOS_SHARED_AGE_MAX, MESOS_SHARED_FOR, MESOS_SHARED_LEN, MESOS_SHARED_PATIENCE,
};

type Answer = Result<Bytes, Refusal>;
type Awaiting = Awaited<oneshot::Receiver<Answer>>;

/// What was written or is being written, by what it is.
#[derive(Debug)]
pub(super) struct Shared<K> {
    table: Arc<Mutex<Table<K>>>,
    /// How long the next one is waited for while there is one before it.
    patience: Duration,
}

#[derive(Debug)]
struct Table<K> {
    entries: BTreeMap<K, Entry>,
    /// Those that were finished when the next one was begun.
    before: BTreeMap<K, Entry>,
    /// How long each was when it was written last.
    lens: BTreeMap<K, usize>,
    last_id: u64,
}

/// One of what was asked for.
#[derive(Debug)]
struct Entry {
    id: u64,
    progress: Arc<Progress>,
    answer: Awaiting,
}

/// How far one is.
#[derive(Debug, Default)]
struct Progress {
    /// What it shows, since it was begun.
    moment: OnceLock<Moment>,
    is_finished: AtomicBool,
}

/// What there is for who asks.
struct Found {
    next: Next,
    /// What is finished, if the next one may be long in coming.
    before: Option<Awaiting>,
}

enum Next {
    /// Good enough, finished or not.
    Good(Awaiting),
    /// One is being written that is not; when it is finished, look again.
    After(Awaiting),
    /// Another one is to be begun.
    Begin,
}

/// When somebody asks, or which moment's cluster an answer shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the clock.
    pub(super) at: Instant,
    /// How many changes had been answered by then.
    pub(super) changes: u64,
}

/// To be told when it begins: before anything is looked up of what it shows.
#[derive(Debug)]
pub(super) struct Beginning(Arc<Progress>);

impl Beginning {
    /// It is now.
    pub(super) fn begin(self, now: Moment) {
        // There is one of these for each.
        let _ = self.0.moment.set(now);
    }
}

impl<K> Default for Shared<K> {
    fn default() -> Self {
        Self {
            table: Arc::new(Mutex::new(Table {
                entries: BTreeMap::new(),
                before: BTreeMap::new(),
                lens: BTreeMap::new(),
                last_id: 0,
            })),
            patience: MESOS_SHARED_PATIENCE,
        }
    }
}

impl<K: Ord + Copy + Send + 'static> Shared<K> {
    /// What is written already, or written now, and good enough for who asks; it goes on being written for others, though its
    /// first reader may hang up. None when it could not be written.
    pub(super) async fn get<W>(
        &self,
        key: K,
        asked: Moment,
        write: impl FnOnce(Beginning) -> W,
    ) -> Option<Answer>
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let before = lock(&self.table).find(&key, asked).before;
        let next = self.next(key, asked, write);
        let Some(before) = before else {
            return next.await;
        };
        match timeout(self.patience, next).await {
            Ok(answer) => answer,
            Err(_) => before.await.ok(),
        }
    }

    async fn next<W>(
        &self,
        key: K,
        asked: Moment,
        write: impl FnOnce(Beginning) -> W,
    ) -> Option<Answer>
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let mut write = Some(write);
        loop {
            match self.look(key, asked, &mut write) {
                Next::Good(answer) => return answer.await.ok(),
                Next::After(other) => drop(other.await),
                Next::Begin => return None,
            }
        }
    }

    /// What there is, or another one if it is to be begun.
    fn look<W>(
        &self,
        key: K,
        asked: Moment,
        write: &mut Option<impl FnOnce(Beginning) -> W>,
    ) -> Next
    where
        W: Future<Output = Answer> + Send + 'static,
    {
        let mut table = lock(&self.table);
        let next = table.find(&key, asked).next;
        let Some(write) = write.take_if(|_| matches!(next, Next::Begin)) else {
            return next;
        };
        let (done, answer) = oneshot::channel();
        let (progress, answer) = (Arc::<Progress>::default(), answer.shared());
        let id = table.enter(key, Arc::clone(&progress), answer.clone());
        let written = write(Beginning(Arc::clone(&progress)));
        let place = Place {
            table: Arc::clone(&self.table),
            key,
            id,
        };
        tokio::spawn(place.fill(written, progress, done));
        Next::Good(answer)
    }
}

/// The place of an answer in the table; given up in the end, whatever becomes of it.
struct Place<K: Ord + Copy> {
    table: Arc<Mutex<Table<K>>>,
    key: K,
    id: u64,
}

impl<K: Ord + Copy> Place<K> {
    async fn fill(
        self,
        written: impl Future<Output = Answer>,
        progress: Arc<Progress>,
        done: oneshot::Sender<Answer>,
    ) {
        let answer = written.await;
        let len = answer.as_ref().map_or(0, Bytes::len);
        lock(&self.table).lens.insert(self.key, len);
        // Though nobody may be there to see it.
        progress.is_finished.store(true, Ordering::Release);
        let until = progress
            .moment
            .get()
            .map(|moment| moment.at + MESOS_SHARED_AGE_MAX);
        match until.filter(|_| len >= MESOS_SHARED_LEN) {
            None => {
                drop(self);
                // Whoever asked may have hung up.
                let _ = done.send(answer);
            }
            Some(until) => {
                let _ = done.send(answer);
                sleep_until(until).await;
            }
        }
    }
}

impl<K: Ord + Copy> Drop for Place<K> {
    fn drop(&mut self) {
        lock(&self.table).forget(&self.key, self.id);
    }
}

impl<K: Ord + Copy> Table<K> {
    fn find(&self, key: &K, asked: Moment) -> Found {
        let len = self.lens.get(key).copied().unwrap_or_default();
        let (latest, before) = (self.entries.get(key), self.before.get(key));
        let is_good = |entry: &Entry, age: Duration| {
            let moment = entry.progress.moment.get();
            moment.is_some_and(|shown| is_good_enough(shown, len, asked, age))
        };
        let next = match latest {
            None => Next::Begin,
            Some(entry) if entry.is_finished() => match is_good(entry, MESOS_SHARED_FOR) {
                true => Next::Good(entry.answer.clone()),
                false => Next::Begin,
            },
            // One at a time is enough, though it takes long.
            Some(entry) => {
                let is_begun = entry.progress.moment.get().is_some();
                match !is_begun || is_good(entry, MESOS_SHARED_AGE_MAX) {
                    true => Next::Good(entry.answer.clone()),
                    false => Next::After(entry.answer.clone()),
                }
            }
        };
        let mut shown = [latest, before].into_iter().flatten();
        let shown = shown.find(|entry| entry.is_finished() && is_good(entry, MESOS_SHARED_AGE_MAX));
        Found {
            next,
            before: shown.map(|entry| entry.answer.clone()),
        }
    }

    fn enter(&mut self, key: K, progress: Arc<Progress>, answer: Awaiting) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let entry = Entry {
            id,
            progress,
            answer,
        };
        if let Some(finished) = self.entries.insert(key, entry) {
            self.before.insert(key, finished);
        }
        id
    }

    /// Nobody else gets it.
    fn forget(&mut self, key: &K, id: u64) {
        for table in [&mut self.entries, &mut self.before] {
            if table.get(key).is_some_and(|entry| entry.id == id) {
                table.remove(key);
            }
        }
    }
}

impl Entry {
    fn is_finished(&self) -> bool {
        // The latter, too, of one that was lost.
        self.progress.is_finished.load(Ordering::Acquire) || self.answer.peek().is_some()
    }
}

/// Whether what shows this moment, and is about so long, is good enough for who asks, if it may be so old.
fn is_good_enough(shown: &Moment, len: usize, asked: Moment, age: Duration) -> bool {
    len >= MESOS_SHARED_LEN
        && shown.changes >= asked.changes
        && asked.at.saturating_duration_since(shown.at) < age
}

fn lock<K>(table: &Mutex<Table<K>>) -> MutexGuard<'_, Table<K>> {
    // Nothing is changed half-way.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn what_is_shared_is_large_and_new_and_no_change_is_missing() {
        let at = Instant::now();
        let shown = Moment { at, changes: 3 };
        let large = MESOS_SHARED_LEN;
        let nearly = MESOS_SHARED_FOR - MS;
        let table = [
            (large, at, 3, true, "just begun"),
            (large, at + nearly, 3, true, "young"),
            (large, at + MESOS_SHARED_FOR, 3, false, "old"),
            (large, at, 4, false, "something was changed"),
            (large, at, 2, true, "it shows more than was asked for"),
            (large - 1, at, 3, false, "small"),
        ];
        for (len, at, changes, expected, why) in table {
            let asked = Moment { at, changes };
            let is_good = is_good_enough(&shown, len, asked, MESOS_SHARED_FOR);
            assert_eq!(is_good, expected, "{why}");
        }
    }

    /// What is written when it is let go: how many were before it, in so many bytes.
    struct Press {
        shared: Arc<Shared<u8>>,
        begins: Arc<Semaphore>,
        ends: Arc<Semaphore>,
        count: Arc<AtomicUsize>,
        len: usize,
        first: Instant,
    }

    impl Press {
        fn new(len: usize, patience: Duration) -> Self {
            let shared = Shared::default();
            Self {
                shared: Arc::new(Shared { patience, ..shared }),
                begins: Arc::new(Semaphore::new(0)),
                ends: Arc::new(Semaphore::new(0)),
                count: Arc::default(),
                len,
                // So late that nothing is forgotten by the clock of the test.
                first: Instant::now() + LONG,
            }
        }

        /// Somebody asks, so late and after so many changes; what comes is the number of the one that was written for it.
        fn ask(&self, later: Duration, changes: u64) -> tokio::task::JoinHandle<u8> {
            let at = self.first + later;
            let asked = Moment { at, changes };
            let shared = Arc::clone(&self.shared);
            let (begins, ends) = (Arc::clone(&self.begins), Arc::clone(&self.ends));
            let (count, len) = (Arc::clone(&self.count), self.len);
            tokio::spawn(async move {
                let write = |beginning: Beginning| async move {
                    begins.acquire().await.expect("open").forget();
                    beginning.begin(asked);
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    ends.acquire().await.expect("open").forget();
                    Ok(vec![u8::try_from(number).expect("few"); len].into())
                };
                let answer = shared.get(1, asked, write).await.expect("written");
                answer.expect("written")[0]
            })
        }

        async fn lets(&self, begins: usize, ends: usize) {
            self.begins.add_permits(begins);
            self.ends.add_permits(ends);
            settle().await;
        }
    }

    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn all(asked: Vec<tokio::task::JoinHandle<u8>>) -> Vec<u8> {
        let all = futures::future::join_all(asked).await;
        all.into_iter().map(|one| one.expect("answered")).collect()
    }

    #[tokio::test]
    async fn who_asks_before_it_is_begun_waits_for_the_same() {
        let press = Press::new(1, LONG);
        let early: Vec<_> = (0..20).map(|_| press.ask(Duration::ZERO, 0)).collect();
        settle().await;
        press.lets(1, 0).await;
        // It is small, so whoever asks from now on sees what is from now on; these share another one.
        let late: Vec<_> = (0..20).map(|_| press.ask(Duration::ZERO, 0)).collect();
        settle().await;
        press.lets(1, 2).await;
        assert_eq!(all(early).await, [0; 20]);
        assert_eq!(all(late).await, [1; 20]);
        press.lets(1, 1).await;
        assert_eq!(
            all(vec![press.ask(Duration::ZERO, 0)]).await,
            [2],
            "nothing small is kept"
        );
        assert!(lock(&press.shared.table).entries.is_empty());
    }

    #[tokio::test]
    async fn what_is_large_is_shared_for_a_moment_but_not_after_a_change() {
        let press = Press::new(MESOS_SHARED_LEN, LONG);
        press.lets(9, 9).await;
        let (at, nearly) = (Duration::ZERO, MESOS_SHARED_FOR - MS);
        assert_eq!(all(vec![press.ask(at, 0)]).await, [0]);
        let again = vec![press.ask(nearly, 0), press.ask(nearly, 0)];
        assert_eq!(all(again).await, [0, 0]);
        let changed = vec![press.ask(at, 1), press.ask(at, 1)];
        assert_eq!(all(changed).await, [1, 1]);
        assert_eq!(all(vec![press.ask(MESOS_SHARED_FOR, 1)]).await, [2]);
    }

    #[tokio::test]
    async fn the_last_one_is_given_out_while_the_next_is_long_in_coming_but_not_after_a_change() {
        let press = Press::new(MESOS_SHARED_LEN, Duration::ZERO);
        press.lets(2, 1).await;
        assert_eq!(all(vec![press.ask(Duration::ZERO, 0)]).await, [0]);
        for later in [MESOS_SHARED_FOR, MESOS_SHARED_AGE_MAX - MS] {
            assert_eq!(all(vec![press.ask(later, 0)]).await, [0], "{later:?}");
        }
        assert_eq!(press.count.load(Ordering::Relaxed), 2, "one at a time");
        let older = press.ask(MESOS_SHARED_AGE_MAX, 0);
        let changed = press.ask(MESOS_SHARED_FOR, 1);
        settle().await;
        assert!(!older.is_finished() && !changed.is_finished(), "they wait");
        press.lets(1, 2).await;
        assert_eq!(all(vec![older, changed]).await, [1, 2]);
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_any_more_is_finished_too() {
        let press = Press::new(MESOS_SHARED_LEN, Duration::ZERO);
        let gone = press.ask(Duration::ZERO, 0);
        press.lets(1, 0).await;
        gone.abort();
        press.lets(0, 1).await;
        press.lets(1, 0).await;
        assert_eq!(all(vec![press.ask(MESOS_SHARED_FOR, 0)]).await, [0]);
        settle().await;
        assert_eq!(press.count.load(Ordering::Relaxed), 2, "the next is begun");
    }

    #[tokio::test]
    async fn however_long_one_takes_the_next_is_begun_when_it_is_finished() {
        for len in [1, MESOS_SHARED_LEN] {
            let press = Press::new(len, Duration::ZERO);
            let first = press.ask(Duration::ZERO, 0);
            press.lets(5, 0).await;
            let late = [
                press.ask(MESOS_SHARED_AGE_MAX, 0),
                press.ask(MESOS_SHARED_AGE_MAX, 0),
            ];
            let changed = press.ask(MESOS_SHARED_AGE_MAX, 1);
            settle().await;
            assert_eq!(press.count.load(Ordering::Relaxed), 1, "one at a time");
            press.lets(0, 5).await;
            assert_eq!(all(vec![first]).await, [0]);
            assert!(all(late.into()).await.iter().all(|number| *number > 0));
            assert!(all(vec![changed]).await[0] > 0);
        }
    }

    #[tokio::test]
    async fn what_is_shared_no_more_is_not_kept() {
        let shared = Shared::<u8>::default();
        let large = |beginning: Beginning| async {
            let past = now().at.checked_sub(MESOS_SHARED_AGE_MAX);
            let at = past.expect("the machine has started before");
            beginning.begin(Moment { at, changes: 0 });
            Ok(vec![0; MESOS_SHARED_LEN].into())
        };
        shared
            .get(1, now(), large)
            .await
            .expect("written")
            .expect("written");
        while !lock(&shared.table).entries.is_empty() {
            settle().await;
        }
    }

    fn now() -> Moment {
        let (at, changes) = (Instant::now(), 0);
        Moment { at, changes }
    }

    #[tokio::test]
    async fn it_is_written_though_who_asked_first_hangs_up() {
        let press = Press::new(1, LONG);
        let first = press.ask(Duration::ZERO, 0);
        settle().await;
        let second = press.ask(Duration::ZERO, 0);
        settle().await;
        first.abort();
        press.lets(1, 1).await;
        assert_eq!(all(vec![second]).await, [0]);
    }

    #[tokio::test]
    async fn who_waits_for_what_cannot_be_written_hears_so() {
        let shared = Shared::<u8>::default();
        let refused = shared
            .get(1, now(), |_| async { Err(Refusal::bad("no")) })
            .await;
        assert_eq!(refused, Some(Err(Refusal::bad("no"))));
        let lost = shared
            .get(1, now(), |_| async { panic!("on purpose") })
            .await;
        assert_eq!(lost, None);
        let next = shared.get(1, now(), |_| async { Ok(Bytes::new()) }).await;
        assert_eq!(next, Some(Ok(Bytes::new())));
    }
}
