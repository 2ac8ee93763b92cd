//! Files of our own, which a crash may have torn and anybody with the disk may have written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proffer_agent::parsers::{
    read_only_record, read_output, read_pid, read_records, write_pid, write_record,
};
use proffer_agent::supervisor::protocol::{self, Launch, Said};
use proffer_master::backup::{self, Backup};
use proffer_master::parsers::{join_backup, read_frame, write_backup, write_frame};
use proffer_master::store::file::FileStore;
use proffer_master::store::{Store, log::Log};
use proffer_model::Problem;
use proffer_model::registry::Registry;
use proffer_proto::{BackupCounts, BackupHead, decode_backup_piece};

use crate::expect::{accepted, refused, text};
use crate::input::Input;
use crate::wire::bytes_of;

/// A file of the file store, or a node of the log in ZooKeeper.
pub(crate) fn store_frame(data: &[u8]) {
    match read_frame(data) {
        Ok(payload) => assert_eq!(write_frame(&payload), data, "there is one way to write it"),
        Err(what) => assert!(matches!(what, "incomplete" | "newer" | "damaged")),
    }
    let whole = write_frame(data);
    assert_eq!(read_frame(&whole).as_deref(), Ok(data));
    let cut = data.first().map_or(0, |byte| usize::from(*byte)) % whole.len();
    assert_eq!(read_frame(&whole[..cut]), Err("incomplete"));
    let mut flipped = whole;
    flipped[cut] ^= 1 << (data.len() % 8);
    assert!(matches!(read_frame(&flipped), Err("damaged" | "newer")));
}

/// A directory of the file store with anything in it: it is opened or refused, and what a term writes into it is there for
/// the next one.
pub(crate) fn store_directory(data: &[u8]) {
    let directory = scratch();
    let mut input = Input::new(data);
    for inner in ["log", "snapshot"] {
        fs::create_dir(directory.path().join(inner)).expect("a directory");
    }
    for _ in 0..input.below(8) {
        let numbers = [0, 1, 2, 3, u64::MAX - 1, u64::MAX];
        let number = input.choice(&numbers);
        let name = match input.below(8) {
            0 => "cluster".to_owned(),
            1 => "epoch".to_owned(),
            2 => format!("snapshot/{number:020}"),
            3 => format!("snapshot/{number:020}.{}", input.below(3)),
            4 => format!(
                "log/{}",
                input.choice(&["torn", "x", "1", "00000000000000000001x"])
            ),
            _ => format!("log/{number:020}"),
        };
        let payload = match input.below(6) {
            0 => input.number().to_string().into_bytes(),
            1 => format!("{} {}", input.below(3), input.below(9)).into_bytes(),
            2 => proffer_proto::encode_batch(proffer_model::Epoch(input.number()), &[]),
            3 => u64::MAX.to_string().into_bytes(),
            _ => input.some(16).to_vec(),
        };
        let mut bytes = write_frame(&payload);
        if input.is_one_in(8) {
            bytes.truncate(input.below(bytes.len()));
        }
        fs::write(directory.path().join(name), bytes).expect("a file");
    }
    let begin = || {
        let store = FileStore::open(directory.path())?;
        Log::begin_term(Box::new(store))
    };
    match begin() {
        Err(error) => refused(&Problem::from(error)),
        Ok(log) => {
            let (epoch, registry) = (log.epoch(), log.registry().clone());
            drop(log);
            match begin() {
                Ok(next) => {
                    assert!(next.epoch() > epoch && *next.registry() == registry);
                }
                // There is no epoch after the last.
                Err(error) => refused(&Problem::from(error)),
            }
        }
    }
    let _ = FileStore::open(directory.path()).map(|mut store| store.read());
}

/// A backup: bytes as they are, or parts with right checksums of messages that the input builds.
pub(crate) fn backup_file(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else {
        return;
    };
    if *how == 0 {
        if let Some(backup) = accepted(backup::read(rest)) {
            same_backup(&backup);
        }
        return;
    }
    let half = rest.len().div_ceil(2);
    let (first, second) = rest.split_at(half);
    let pieces = [first, second].map(|data| bytes_of(".proffer.store.v1.Snapshot", data));
    let mut parts = vec![(b'H', bytes_of(".proffer.store.v1.BackupHead", first))];
    parts.extend(pieces.iter().map(|piece| (b'P', piece.clone())));
    if how % 8 == 7 {
        parts.push((*how, Vec::new()));
    }
    let bytes = join_backup(&parts).expect("small");
    accepted(backup::read(bytes.as_slice()));
    // The head seldom says how many there are; one that does.
    let mut registry = Registry::default();
    for piece in &pieces {
        if accepted(decode_backup_piece(piece, &mut registry)).is_none() {
            return;
        }
    }
    let counts = BackupCounts::of(&registry);
    let head = BackupHead {
        cluster: "c".parse().expect("an id"),
        epoch: proffer_model::Epoch(1),
        position: 1,
        made_wall_ms: 1,
        version: "1".to_owned(),
        counts,
    };
    let (sha256, bytes) = ([0; 32], 0);
    same_backup(&Backup {
        head,
        registry,
        sha256,
        bytes,
    });
}

/// What is written is read back as the same, and neither a flip nor a cut is overlooked.
fn same_backup(backup: &Backup) {
    let mut bytes = write_backup(backup).expect("small");
    let again = backup::read(bytes.as_slice()).expect("a backup");
    assert!(
        (&again.head, &again.registry) == (&backup.head, &backup.registry),
        "{backup:?}\nbecomes\n{again:?}"
    );
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 4;
    refused(&backup::read(bytes.as_slice()).expect_err("it is flipped"));
    bytes.truncate(at);
    refused(&backup::read(bytes.as_slice()).expect_err("it is cut short"));
}

/// Records of checkpoint files.
pub(crate) fn checkpoint_frame(data: &[u8]) {
    if let Ok((contents, len)) = read_records(data) {
        let written: Vec<u8> = contents
            .iter()
            .flat_map(|content| write_record(content))
            .collect();
        assert_eq!(written, data[..len], "what was read is what is there");
    }
    if let Some(content) = read_only_record(data) {
        assert_eq!(write_record(content), data);
    }
    if data.is_empty() {
        return;
    }
    let half = data.len() / 2;
    let file = [write_record(data), write_record(&data[half..])].concat();
    assert_eq!(
        read_records(&file).map(|(contents, _)| contents.len()),
        Ok(2)
    );
    // Content may hold what looks like a record: then the end is not known to be torn, and nothing is cut off.
    let torn = &file[..file.len() - 1];
    match read_records(torn) {
        Ok((contents, _)) => assert_eq!(contents, [data]),
        Err(offset) => assert_eq!(offset, write_record(data).len()),
    }
}

/// What agent and supervisor say to one another, in files and on the socket.
pub(crate) fn supervisor_protocol(data: &[u8]) {
    if let Some(launch) = Launch::decode(data) {
        let written = launch.encode().expect("it came without zero bytes");
        assert_eq!(Launch::decode(&written), Some(launch));
    }
    let Some(text) = text(data) else { return };
    for line in text.lines() {
        if let Some(said) = Said::parse(line) {
            let written = said.line();
            assert_eq!(written.matches('\n').count(), 1, "{line:?}");
            assert_eq!(Said::parse(written.trim_end_matches('\n')), Some(said));
        }
        if let Some(signal) = protocol::parse_kill(line) {
            let written = protocol::kill_line(signal);
            assert_eq!(protocol::parse_kill(written.trim_end()), Some(signal));
        }
    }
    for name in ["task", "supervisor"] {
        if let Some((pid, start)) = read_pid(text, name) {
            assert_eq!(
                read_pid(&write_pid(name, pid, start), name),
                Some((pid, start))
            );
        }
    }
}

/// The last lines of a task's output, which may be anything, in one file or two.
pub(crate) fn output_tail(data: &[u8]) {
    let mut input = Input::new(data);
    let (lines, has_older) = (input.below(6), input.below(2) == 1);
    let older = if has_older { input.some(400) } else { &[] };
    let newest = input.rest();
    let directory = scratch();
    if has_older {
        fs::write(directory.path().join("stdout.1"), older).expect("a file");
    }
    fs::write(directory.path().join("stdout"), newest).expect("a file");
    let read = |lines| {
        read_output(directory.path(), lines)
            .expect("it can be read")
            .concat()
    };
    let all = [older, newest].concat();
    assert_eq!(read(None), all);
    let mut begins: Vec<usize> = std::iter::once(0)
        .chain(
            all.iter()
                .enumerate()
                .filter(|(_, b)| **b == b'\n')
                .map(|(at, _)| at + 1),
        )
        .filter(|begin| *begin < all.len())
        .collect();
    begins.reverse();
    let begin = match lines {
        0 => all.len(),
        lines => begins.get(lines - 1).copied().unwrap_or(0),
    };
    let lines = u32::try_from(lines).expect("few");
    assert_eq!(read(Some(lines)), all[begin..], "{lines} lines of {all:?}");
}

/// A directory in memory where there is one, else on the disk.
pub(crate) fn scratch() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    match tempfile::tempdir_in(shared) {
        Ok(directory) => directory,
        Err(_) => tempfile::tempdir().expect("a directory"),
    }
}

/// Every file beneath a directory, links not followed, by its path from there.
pub(crate) fn files_beneath(root: &Path) -> BTreeMap<PathBuf, fs::Metadata> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                open.push(path.clone());
            }
            let inner = path.strip_prefix(root).expect("beneath it").to_owned();
            found.insert(inner, metadata);
        }
    }
    found
}
