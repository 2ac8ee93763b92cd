//! What only files can suffer, and how stores are named. What every store must do is held in `tests/faults`, over each.

use std::fs;
use std::path::Path;

use super::file::FileStore;
use super::memory::{Disk, MemoryStore};
use super::*;

fn numbers(contents: &Contents) -> Vec<u64> {
    contents.entries.iter().map(|entry| entry.number).collect()
}

/// Entries `1..=last`, each saying its number.
fn fill(store: &mut dyn Store, last: u64) {
    for number in 1..=last {
        store
            .append(number, number.to_string().as_bytes())
            .expect("append");
    }
}

#[test]
fn two_stores_are_two_clusters() {
    let one = MemoryStore::open(&Disk::default()).expect("one");
    let other = MemoryStore::open(&Disk::default()).expect("other");
    assert_ne!(one.cluster(), other.cluster());
}

fn entry(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("log/{number:020}"))
}

#[test]
fn numbers_up_to_the_last_there_is_are_looked_at() {
    for (upto, numbers, missing) in [
        (0, &[] as &[u64], None),
        (0, &[1, 2, 3], None),
        (5, &[6, 8], Some(7)),
        (5, &[8], Some(6)),
        (u64::MAX - 1, &[u64::MAX], None),
        (0, &[u64::MAX], Some(1)),
    ] {
        assert_eq!(first_missing(upto, numbers), missing, "{upto}, {numbers:?}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    drop(FileStore::open(directory.path()).expect("open"));
    let last = directory.path().join(format!("snapshot/{:020}", u64::MAX));
    fs::write(last, frame::encode(b"0 0")).expect("a snapshot up to the last number");
    let mut store = FileStore::open(directory.path()).expect("open");
    assert!(store.read().expect("read").entries.is_empty());
}

#[test]
fn a_directory_is_for_one_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = FileStore::open(directory.path()).expect("first");
    let problem = Problem::from(FileStore::open(directory.path()).expect_err("second"));
    assert!(problem.is(code::DIRECTORY_LOCKED), "{problem}");
    drop(first);
    FileStore::open(directory.path()).expect("after the first");
}

#[test]
fn a_last_entry_cut_at_any_byte_is_set_aside_and_the_rest_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::open(directory.path()).expect("open");
    fill(&mut store, 3);
    drop(store);
    let path = entry(directory.path(), 3);
    let whole = fs::read(&path).expect("the entry");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("cut");
        let mut store = FileStore::open(directory.path()).expect("open");
        assert_eq!(
            numbers(&store.read().expect("read")),
            [1, 2],
            "cut at {length}"
        );
        assert_eq!(store.last_entry().expect("last"), 2);
        store.append(3, b"3").expect("append");
        assert_eq!(numbers(&store.read().expect("read")), [1, 2, 3]);
    }
}

#[test]
fn a_flipped_bit_in_any_byte_of_the_last_entry_is_refused_by_name() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(&mut FileStore::open(directory.path()).expect("open"), 3);
    let path = entry(directory.path(), 3);
    let whole = fs::read(&path).expect("the entry");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&path, &flipped).expect("flip");
        let mut store = FileStore::open(directory.path()).expect("open");
        let problem = Problem::from(store.read().expect_err("damaged"));
        assert!(problem.is(code::STORE_FAILED), "{problem}");
        assert!(
            problem.message.contains(path.to_str().expect("utf-8")),
            "{problem}"
        );
    }
}

#[test]
fn damage_before_the_tail_is_refused_by_name() {
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [(&str, Damage); 3] = [
        ("cut", |path| fs::write(path, b"PROFFER")),
        ("removed", |path| fs::remove_file(path)),
        ("garbage", |path| fs::write(path, b"\0\0\0\0")),
    ];
    for (name, damage) in damages {
        let directory = tempfile::tempdir().expect("a directory");
        fill(&mut FileStore::open(directory.path()).expect("open"), 3);
        let path = entry(directory.path(), 2);
        damage(&path).expect(name);
        let error = FileStore::open(directory.path())
            .expect("open")
            .read()
            .expect_err(name);
        assert!(
            error.to_string().contains(path.to_str().expect("utf-8")),
            "{name}: {error}"
        );
    }
}

#[test]
fn a_damaged_snapshot_epoch_or_cluster_is_refused_by_name() {
    let files = [
        "cluster",
        "epoch",
        "snapshot/00000000000000000002",
        "snapshot/00000000000000000002.0",
    ];
    for name in files {
        let directory = tempfile::tempdir().expect("a directory");
        let mut store = FileStore::open(directory.path()).expect("open");
        store.raise_epoch().expect("raise");
        fill(&mut store, 2);
        store.write_snapshot(2, b"state").expect("snapshot");
        drop(store);
        fs::write(directory.path().join(name), b"PROFFER\x01").expect("damage");
        let read = FileStore::open(directory.path()).and_then(|mut store| store.read());
        let error = read.expect_err(name).to_string();
        assert!(error.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_lost_cluster_file_does_not_make_a_new_cluster() {
    let directory = tempfile::tempdir().expect("a directory");
    FileStore::open(directory.path())
        .expect("open")
        .raise_epoch()
        .expect("raise");
    fs::remove_file(directory.path().join("cluster")).expect("remove");
    let error = FileStore::open(directory.path())
        .expect_err("lost")
        .to_string();
    assert!(error.contains("cluster"), "{error}");
}

#[test]
fn a_later_format_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(&mut FileStore::open(directory.path()).expect("open"), 1);
    let path = entry(directory.path(), 1);
    let mut bytes = fs::read(&path).expect("the entry");
    bytes[7] = 2;
    fs::write(&path, bytes).expect("write");
    let error = FileStore::open(directory.path())
        .expect("open")
        .read()
        .expect_err("newer");
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    assert!(Problem::from(error).hint.contains("version"));
}

#[test]
fn what_a_crash_leaves_half_written_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::open(directory.path()).expect("open");
    fill(&mut store, 2);
    drop(store);
    let left_overs = [
        ("log/temporary", "half"),
        ("snapshot/temporary", "half"),
        (
            "snapshot/00000000000000000002.0",
            "a chunk of a snapshot that never counted",
        ),
    ];
    for (name, text) in left_overs {
        fs::write(directory.path().join(name), text).expect("write");
    }
    let mut store = FileStore::open(directory.path()).expect("open");
    let read = store.read().expect("read");
    assert_eq!(read.snapshot, None);
    assert_eq!(numbers(&read), [1, 2]);
    for (name, _) in left_overs {
        assert!(
            !directory.path().join(name).try_exists().expect("look"),
            "{name}"
        );
    }
}

#[test]
fn a_crash_between_snapshot_and_cut_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::open(directory.path()).expect("open");
    fill(&mut store, 3);
    let path = entry(directory.path(), 1);
    let first = fs::read(&path).expect("the entry");
    store.write_snapshot(2, b"state").expect("snapshot");
    drop(store);
    fs::write(&path, first).expect("as if it had not been cut");
    let mut store = FileStore::open(directory.path()).expect("open");
    assert_eq!(numbers(&store.read().expect("read")), [3]);
}

#[test]
fn a_place_that_is_no_directory_is_a_problem_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    fs::write(&path, b"").expect("write");
    let problem = Problem::from(FileStore::open(&path).expect_err("a file"));
    assert!(problem.is(code::STORE_FAILED), "{problem}");
    assert_eq!(problem.field, "store");
    assert!(problem.hint.contains("directory"), "{problem}");
}

#[test]
fn a_write_that_the_system_refuses_is_an_error_and_leaves_no_part() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut store = FileStore::open(directory.path()).expect("open");
    fill(&mut store, 1);
    // Whatever is in the way has the same effect as a full disk: the file beside its place cannot be written.
    fs::create_dir(directory.path().join("log/temporary")).expect("in the way");
    let problem = Problem::from(store.append(2, b"2").expect_err("refused"));
    assert!(
        problem.is(code::STORE_FAILED) && !problem.hint.is_empty(),
        "{problem}"
    );
    fs::remove_dir(directory.path().join("log/temporary")).expect("out of the way");
    assert_eq!(numbers(&store.read().expect("read")), [1]);
    store.append(2, b"2").expect("append");
}

#[test]
fn stores_are_named_in_three_ways() {
    assert_eq!("memory".parse(), Ok(StoreUrl::Memory));
    assert_eq!("file:/a/b".parse(), Ok(StoreUrl::File("/a/b".into())));
    assert_eq!(
        "file:a:b".parse::<StoreUrl>().expect("a colon").to_string(),
        "file:a:b"
    );
    let ensemble: StoreUrl = "zk://u:secret@h,i:2182/p".parse().expect("an ensemble");
    assert_eq!(ensemble.to_string(), "zk://u:[redacted]@h:2181,i:2182/p");
    for (bad, hint) in [
        ("", "file:DIR"),
        ("file", "file:DIR"),
        ("file:", "file:DIR"),
        ("memory:", "file:DIR"),
        ("/var/lib", "file:DIR"),
        ("zk:", "zk://zk1:2181"),
        ("zk://127.0.0.1:2181", "zk://zk1:2181"),
    ] {
        let problem = bad.parse::<StoreUrl>().expect_err(bad);
        assert!(problem.is(code::CONFIG_INVALID), "{problem}");
        assert_eq!(problem.field, "store");
        assert!(problem.hint.contains(hint), "{problem}");
    }
}

#[test]
fn a_store_in_zookeeper_is_opened_by_the_elected_only() {
    let url: StoreUrl = "zk://h/p".parse().expect("an address");
    let problem = Problem::from(url.open().err().expect("refused"));
    assert!(problem.message.contains("elected"), "{problem}");
}
