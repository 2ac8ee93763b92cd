//! What every store must do, held over each of them: memory, files, ZooKeeper.

use std::cell::Cell;
use std::time::Instant;

use proffer_leader::{Session, ZooKeeperUrl};
use proffer_master::limits::ENTRY_LEN_MAX;
use proffer_master::store::file::FileStore;
use proffer_master::store::memory::{Disk, MemoryStore};
use proffer_master::store::zookeeper::ZooKeeperStore;
use proffer_master::store::{Contents, Snapshot, Store, StoreError};
use proffer_model::Epoch;

use super::referee::SESSION;
use crate::zookeeper::Ensemble;

/// Opens the same store again.
type Open<'a> = &'a mut dyn FnMut() -> Box<dyn Store>;

/// What is said, and the test of it.
type Sentence = (&'static str, fn(Open<'_>));

/// What must hold of every store.
const SENTENCES: [Sentence; 7] = [
    (
        "a new store is empty and keeps its cluster",
        new_store_is_empty,
    ),
    (
        "every raise of the epoch is greater and survives",
        epochs_grow,
    ),
    ("an entry is created once", an_entry_is_created_once),
    (
        "what was appended is read after reopening",
        appended_is_read,
    ),
    (
        "a snapshot cuts the log and is replaced by the next",
        snapshots_cut,
    ),
    (
        "two thousand entries with a cut each five hundred are read again",
        many_entries,
    ),
    ("a large snapshot is read as it was written", large_snapshot),
];

/// What must hold of stores that several may have open, though only one should.
const SHARED: [Sentence; 1] = [(
    "a deposed leader can neither raise nor append",
    a_deposed_leader_is_refused,
)];

#[test]
fn memory_keeps_every_sentence() {
    for (name, sentence) in SENTENCES.iter().chain(&SHARED) {
        println!("memory: {name}");
        let disk = Disk::default();
        sentence(&mut || Box::new(MemoryStore::open(&disk).expect("memory")));
    }
}

#[test]
fn files_keep_every_sentence() {
    for (name, sentence) in SENTENCES {
        println!("files: {name}");
        let directory = tempfile::tempdir().expect("a directory");
        sentence(&mut || Box::new(FileStore::open(directory.path()).expect("files")));
    }
}

#[test]
fn zookeeper_keeps_every_sentence() {
    let zookeeper = Ensemble::start(1);
    let count = Cell::new(0);
    for (name, sentence) in SENTENCES.iter().chain(&SHARED) {
        let begun = Instant::now();
        count.set(count.get() + 1);
        let url = zookeeper.url("u:p@", &format!("/conformance/{}", count.get()));
        sentence(&mut || Box::new(open(&url)));
        println!("ZooKeeper: {name}, {:?}", begun.elapsed());
    }
}

/// A session of its own.
pub(super) fn session(url: &str) -> Session {
    let url: ZooKeeperUrl = url.parse().expect(url);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(Session::open(&url, SESSION))
        .expect("a session")
}

/// The store there, in a session of its own.
pub(super) fn open(url: &str) -> ZooKeeperStore {
    try_open(url).expect("ZooKeeper")
}

pub(super) fn try_open(url: &str) -> Result<ZooKeeperStore, StoreError> {
    ZooKeeperStore::open(session(url), &url.parse().expect(url))
}

pub(super) fn numbers(contents: &Contents) -> Vec<u64> {
    contents.entries.iter().map(|entry| entry.number).collect()
}

/// Entries `1..=last`, each saying its number.
pub(super) fn fill(store: &mut dyn Store, last: u64) {
    for number in 1..=last {
        store
            .append(number, number.to_string().as_bytes())
            .expect("append");
    }
}

fn is_deposed<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Deposed { .. }))
}

fn new_store_is_empty(open: Open<'_>) {
    let mut store = open();
    assert_eq!(store.last_entry().expect("last"), 0);
    assert_eq!(store.read().expect("read"), Contents::default());
    let cluster = store.cluster().clone();
    drop(store);
    assert_eq!(open().cluster(), &cluster);
}

fn epochs_grow(open: Open<'_>) {
    for expected in [1, 3, 5] {
        let mut store = open();
        assert_eq!(store.raise_epoch().expect("raise"), Epoch(expected));
        assert_eq!(store.raise_epoch().expect("raise"), Epoch(expected + 1));
    }
}

fn an_entry_is_created_once(open: Open<'_>) {
    let mut store = open();
    store.append(1, b"first").expect("append");
    assert!(is_deposed(&store.append(1, b"second")));
    // Not even with the same words: whoever says them may be another.
    assert!(is_deposed(&store.append(1, b"first")));
    let read = store.read().expect("read");
    assert_eq!(read.entries[0].bytes, b"first");
}

fn appended_is_read(open: Open<'_>) {
    let mut store = open();
    fill(&mut *store, 3);
    drop(store);
    let mut store = open();
    assert_eq!(store.last_entry().expect("last"), 3);
    let read = store.read().expect("read");
    assert_eq!(numbers(&read), [1, 2, 3]);
    assert_eq!(read.entries[2].bytes, b"3");
    store.append(4, b"").expect("an empty entry is one too");
    store
        .append(5, &vec![5; ENTRY_LEN_MAX])
        .expect("and the largest");
    let read = store.read().expect("read");
    assert_eq!(numbers(&read), [1, 2, 3, 4, 5]);
    assert_eq!(read.entries[4].bytes.len(), ENTRY_LEN_MAX);
}

fn snapshots_cut(open: Open<'_>) {
    let mut store = open();
    fill(&mut *store, 5);
    // Three chunks, the last of them short.
    let state = vec![7; 2 * ENTRY_LEN_MAX + 1];
    store.write_snapshot(3, &state).expect("snapshot");
    drop(store);
    let mut store = open();
    let read = store.read().expect("read");
    assert_eq!(read.snapshot, Some(Snapshot { upto: 3, state }));
    assert_eq!(numbers(&read), [4, 5]);
    store
        .write_snapshot(5, b"")
        .expect("an empty one is one too");
    drop(store);
    let mut store = open();
    let (upto, state) = (5, Vec::new());
    let read = store.read().expect("read");
    assert_eq!(read.snapshot, Some(Snapshot { upto, state }));
    assert!(numbers(&read).is_empty());
    assert_eq!(store.last_entry().expect("last"), 5);
    assert!(is_deposed(&store.append(5, b"")), "it was cut, not undone");
    store.append(6, b"6").expect("append");
}

fn many_entries(open: Open<'_>) {
    let mut store = open();
    for number in 1..=2_000_u64 {
        store.append(number, &number.to_le_bytes()).expect("append");
        if number % 500 == 0 && number < 2_000 {
            store
                .write_snapshot(number, &number.to_le_bytes())
                .expect("snapshot");
        }
    }
    drop(store);
    let read = open().read().expect("read");
    assert_eq!(read.snapshot.as_ref().expect("snapshot").upto, 1_500);
    let expected: Vec<u64> = (1_501..=2_000).collect();
    assert_eq!(numbers(&read), expected);
    let is_as_written =
        |entry: &proffer_master::store::Entry| entry.bytes == entry.number.to_le_bytes();
    assert!(read.entries.iter().all(is_as_written));
}

fn large_snapshot(open: Open<'_>) {
    let mut store = open();
    store.append(1, b"1").expect("append");
    let state: Vec<u8> = (0..20 * ENTRY_LEN_MAX)
        .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[2])
        .collect();
    store.write_snapshot(1, &state).expect("snapshot");
    let read = store.read().expect("read");
    assert!(
        read.snapshot == Some(Snapshot { upto: 1, state }),
        "it differs"
    );
}

fn a_deposed_leader_is_refused(open: Open<'_>) {
    let mut old = open();
    old.raise_epoch().expect("raise");
    old.append(1, b"old").expect("append");
    let mut new = open();
    assert_eq!(new.cluster(), old.cluster());
    new.raise_epoch().expect("raise");
    new.append(2, b"new").expect("append");
    assert!(is_deposed(&old.append(2, b"old")));
    assert!(is_deposed(&old.raise_epoch()));
    let read = new.read().expect("read");
    assert_eq!(numbers(&read), [1, 2]);
    assert_eq!(read.entries[1].bytes, b"new");
}
