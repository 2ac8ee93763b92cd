//! What is written is read back as the same, whatever its size; what is damaged in any way is not read.

use std::time::Duration;

use proffer_model::registry::Operation;
use proffer_model::{AgentDescription, Epoch, FrameworkDescription, Weight};

use super::*;
use crate::store::StoreUrl;
use crate::store::file::FileStore;
use crate::store::log::Log;
use crate::store::restore::{Restored, restore};

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("it is good")
}

/// Agents with reservations and volumes, a framework with state, one that is over, quotas and weights.
fn registry(keys: usize, len: usize) -> Registry {
    let description = AgentDescription {
        host: "h".into(),
        address: "h:1".into(),
        resources: parsed("cpus:4;disk:100"),
        attributes: proffer_model::Attributes::default(),
        domain: None,
        version: "0".into(),
    };
    let of_framework = FrameworkDescription {
        name: "web".into(),
        roles: vec![parsed("eng")],
        failover_timeout: Duration::from_secs(60),
        mesos: None,
    };
    let mut quota = proffer_model::Quota::default();
    quota.limits.set(parsed("cpus"), 2_000);
    let mut operations = Vec::new();
    for agent in ["a1", "a2", "a3"] {
        operations.push(Operation::AdmitAgent {
            agent: parsed(agent),
            description: description.clone().into(),
            volumes_after: 0,
        });
    }
    for framework in ["f1", "f2"] {
        operations.push(Operation::AdmitFramework {
            framework: parsed(framework),
            principal: parsed("local"),
            description: of_framework.clone(),
            is_away: framework == "f2",
        });
    }
    for key in 0..keys {
        operations.push(Operation::PutState {
            framework: parsed("f1"),
            key: parsed(&format!("k{key}")),
            value: vec![7; len].into(),
        });
    }
    operations.extend([
        Operation::MarkUnreachable {
            agent: parsed("a2"),
            since_wall_ms: 9,
            frameworks: Some(1),
        },
        Operation::ConvertAgent {
            agent: parsed("a1"),
            from: parsed("disk:10"),
            to: parsed("disk(eng)[v]:10"),
        },
        Operation::CompleteFramework {
            framework: parsed("f2"),
        },
        Operation::SetQuota {
            role: parsed("eng"),
            quota,
        },
        Operation::SetWeight {
            role: parsed("eng"),
            weight: Weight(2_500),
        },
    ]);
    let mut registry = Registry::default();
    operations.iter().for_each(|it| registry.apply(it));
    registry
}

fn written(registry: &Registry) -> Vec<u8> {
    let head = BackupHead {
        cluster: parsed("c"),
        epoch: Epoch(7),
        position: 42,
        made_wall_ms: 1_000_000,
        version: "0.1.0".into(),
        counts: BackupCounts::of(registry),
    };
    let mut bytes = Vec::new();
    let mut told = Vec::new();
    write(&head, registry, &mut bytes, |_, records| told.push(records)).expect("written");
    assert_eq!(told.last(), Some(&head.counts.total()));
    bytes
}

#[test]
fn what_is_written_is_read_back_as_the_same_in_pieces_of_bounded_size() {
    for (keys, len) in [(0, 0), (3, 10), (40, 60_000), (3, 256 * 1024)] {
        let registry = registry(keys, len);
        let bytes = written(&registry);
        let backup = read(bytes.as_slice()).expect("a backup");
        assert_eq!(backup.registry, registry, "{keys} keys of {len} bytes");
        assert_eq!((backup.head.epoch, backup.head.position), (Epoch(7), 42));
        assert_eq!(usize::try_from(backup.bytes), Ok(bytes.len()));
        let pieces = bytes.len() / BACKUP_PIECE_LEN;
        let longest = 2 * BACKUP_PIECE_LEN + 1_000;
        let mut source = Source::new(bytes.as_slice());
        source.read_line().expect("a line");
        let mut count = 0;
        while let Ok((_, content)) = source.read_part() {
            assert!(content.len() < longest, "{}", content.len());
            count += 1;
        }
        assert!(
            count >= pieces + 2,
            "{count} parts in {} bytes",
            bytes.len()
        );
    }
}

#[test]
fn no_cut_and_no_flip_is_taken_for_a_backup() {
    let whole = written(&registry(2, 5));
    for cut in 0..whole.len() {
        let problem = read(&whole[..cut]).expect_err("it is cut short");
        assert!(problem.is(code::BACKUP_DAMAGED), "cut at {cut}: {problem}");
        assert!(!problem.hint.is_empty());
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            let problem = read(flipped.as_slice()).expect_err("it is flipped");
            let is_said = problem.is(code::BACKUP_DAMAGED) || problem.is(code::BACKUP_NEWER);
            assert!(is_said, "bit {bit} of byte {at}: {problem}");
        }
    }
    let longer = [whole.as_slice(), b"x"].concat();
    let problem = read(longer.as_slice()).expect_err("it is longer");
    assert!(problem.message.contains("behind its end"), "{problem}");
}

#[test]
fn a_newer_format_another_file_and_less_than_promised_are_said() {
    let whole = written(&registry(2, 5));
    let newer = [b"PROFFER BACKUP 2\n".as_slice(), &whole[17..]].concat();
    let problem = read(newer.as_slice()).expect_err("newer");
    assert!(problem.is(code::BACKUP_NEWER), "{problem}");
    for other in ["", "\n", "{}", "PROFFER BACKUP x\n", "PROFFER"] {
        let problem = read(other.as_bytes()).expect_err("another file");
        assert!(
            problem.message.contains("no backup"),
            "{other:?}: {problem}"
        );
    }
    let mut registry = registry(2, 5);
    let head = BackupHead {
        cluster: parsed("c"),
        epoch: Epoch(1),
        position: 1,
        made_wall_ms: 1,
        version: String::new(),
        counts: BackupCounts::of(&registry),
    };
    registry.weights.clear();
    let mut bytes = Vec::new();
    write(&head, &registry, &mut bytes, |_, _| {}).expect("written");
    let problem = read(bytes.as_slice()).expect_err("a weight is missing");
    assert!(problem.message.contains("as much"), "{problem}");
}

/// What a file store says once a term has begun on it.
fn begun(directory: &std::path::Path) -> Result<Log, Problem> {
    let store = FileStore::open(directory)?;
    Ok(Log::begin_term(Box::new(store))?)
}

#[tokio::test]
async fn a_restored_store_has_the_same_and_gives_no_number_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    let url = StoreUrl::File(path.clone());
    let registry = registry(3, 10);
    let backup = read(written(&registry).as_slice()).expect("a backup");
    let now_ms = backup.head.made_wall_ms + 5_000;
    let restored = Restored::of(&backup, now_ms, None).expect("it goes");
    restore(&url, restored.clone()).await.expect("restored");
    let log = begun(&path).expect("a term");
    assert_eq!(log.cluster().as_str(), "c");
    assert_eq!(log.epoch(), Epoch(7 + 1_000 + 5 + 1));
    assert_eq!(log.last(), 43);
    let framework = &log.registry().frameworks[&parsed("f1")];
    let before = &registry.frameworks[&parsed("f1")];
    assert_eq!(framework.state, before.state);
    assert!(framework.revision > before.revision + 1_000_000);
    let agent = &log.registry().agents[&parsed("a1")];
    assert!(agent.volumes.last > 1_000_000);
    assert_eq!(agent.frameworks, u64::MAX, "who was launched there since");
    assert_eq!(
        agent.volumes.numbers,
        registry.agents[&parsed("a1")].volumes.numbers
    );
    assert_eq!(log.registry().quotas, registry.quotas);
    assert_eq!(log.registry().completed, registry.completed);
    drop(log);
    let problem = restore(&url, restored).await.expect_err("it is not empty");
    assert!(problem.is(code::STORE_NOT_EMPTY), "{problem}");
    begun(&path).expect("nothing was changed");
    let far = Restored::of(&backup, now_ms, Some(Epoch(90_000))).expect("it goes");
    assert_eq!(far.epoch, Epoch(90_000));
    let problem = Restored::of(&backup, now_ms, Some(Epoch(u64::MAX))).expect_err("too far");
    assert!(problem.is(code::FIELD_INVALID), "{problem}");
}

#[tokio::test]
async fn no_master_leads_on_half_a_restore_and_another_restore_finishes_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let backup = read(written(&registry(3, 10)).as_slice()).expect("a backup");
    let restored = Restored::of(&backup, 0, None).expect("it goes");
    let url = StoreUrl::File(path.to_owned());
    // As a restore leaves it that is killed before its last step, and before any of the others.
    restore(&url, restored.clone()).await.expect("restored");
    let frame = |text: &[u8]| crate::store::frame::encode(text);
    std::fs::write(path.join("restoring"), frame(b"x")).expect("a mark");
    for missing in [
        "restoring",
        "cluster",
        "epoch",
        "snapshot/00000000000000000042",
    ] {
        if missing != "restoring" {
            std::fs::remove_file(path.join(missing)).expect("removed");
        }
        let problem = begun(path).err().expect("it is not finished");
        assert!(problem.message.contains("not finished"), "{problem}");
    }
    restore(&url, restored.clone())
        .await
        .expect("it is finished");
    begun(path).expect("a term");
    // What a master has written is never taken for what a restore has left.
    std::fs::write(path.join("restoring"), frame(b"x")).expect("a mark");
    let problem = restore(&url, restored.clone()).await.expect_err("a log");
    assert!(problem.is(code::STORE_NOT_EMPTY), "{problem}");
    let other = tempfile::tempdir().expect("a directory");
    std::fs::write(other.path().join("notes"), "x").expect("a file");
    let url = StoreUrl::File(other.path().to_owned());
    let problem = restore(&url, restored.clone())
        .await
        .expect_err("a foreign file");
    assert!(problem.message.contains("notes"), "{problem}");
    let problem = restore(&StoreUrl::Memory, restored)
        .await
        .expect_err("memory");
    assert!(problem.is(code::CONFIG_INVALID), "{problem}");
}
