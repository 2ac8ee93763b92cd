//! A task may say as much as it likes: what is acknowledged of it takes room neither on disk nor in the next life.

use std::sync::Arc;

use proffer_agent_core::{NewRun, RecoveredRun, RunId};
use proffer_model::{Command, Incarnation, TaskSpec, code};

use super::*;
use crate::checkpoint::Checkpoints;
use crate::checkpoint::write::Files;
use crate::limits::STATUSES_GROWTH_MAX;

const RUN: RunId = RunId(7);

fn status(number: u64, state: TaskState, data_len: usize) -> Status {
    Status {
        task: "t".parse().unwrap(),
        incarnation: Incarnation(1),
        agent: None,
        number,
        state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        data: vec![1; data_len],
        wall_ms: number,
    }
}

fn running(number: u64, data_len: usize) -> Entry {
    Entry::Made {
        status: status(number, TaskState::Running, data_len),
        said: number,
        boot_ns: number * 10,
    }
}

fn made() -> NewRun {
    NewRun {
        run: RUN,
        framework: "f".parse().unwrap(),
        incarnation: Incarnation(1),
        spec: Arc::new(TaskSpec {
            id: "t".parse().unwrap(),
            name: String::new(),
            command: Command::Shell("true".to_owned()),
            environment: BTreeMap::new(),
            user: None,
            resources: "cpus:1".parse().unwrap(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
            checks: Vec::new(),
            kill_grace: Duration::from_secs(3),
            container: None,
            executor: None,
            volumes: Vec::new(),
            completion: None,
            fetch: Vec::new(),
            discovery: None,
        }),
        payer: None,
        group: None,
        executor: None,
        status: status(1, TaskState::Staging, 0),
    }
}

/// A run on disk, and what the next life would know of it if nothing were ever left out.
struct Disk {
    checkpoints: Checkpoints,
    files: Files,
    all: RecoveredRun,
    _dir: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(dir.path()).unwrap();
        checkpoints.make_run(&made(), &[]).unwrap();
        Self {
            checkpoints,
            files: Files::new(),
            all: RecoveredRun::new(made()),
            _dir: dir,
        }
    }

    fn path(&self) -> PathBuf {
        self.checkpoints.run_dir(RUN).join(STATUSES)
    }

    fn len(&self) -> u64 {
        fs::metadata(self.path()).unwrap().len()
    }

    fn append(&mut self, entry: Entry) {
        let entries = [entry.clone()];
        let files = &mut self.files;
        self.checkpoints.append(RUN, &entries, files).unwrap();
        self.all.take(entry);
    }

    /// Reads it as the next life does: all that counts is there, and no data that is acknowledged.
    fn recover(&self) -> RecoveredRun {
        let found = self.checkpoints.read_runs().unwrap().0.remove(0);
        let (all, number) = (&self.all, self.all.acknowledged);
        let waiting = |run: &RecoveredRun| -> Vec<Status> {
            let statuses = run.statuses.iter().cloned();
            statuses.filter(|it| it.number > number).collect()
        };
        assert_eq!(waiting(&found), waiting(all));
        let last = |run: &RecoveredRun| {
            let last = run.statuses.last().unwrap();
            (last.number, last.state, last.wall_ms)
        };
        assert_eq!(last(&found), last(all));
        let others = found.statuses.iter().filter(|it| it.number <= number);
        assert!(others.map(|it| it.data.len()).sum::<usize>() == 0);
        assert!(found.statuses.len() - waiting(&found).len() <= 4);
        let statuses = all.statuses.clone();
        let rest = RecoveredRun {
            statuses,
            ..found.clone()
        };
        assert_eq!(&rest, all, "numbers, wishes and changes");
        found
    }
}

#[test]
fn what_is_acknowledged_of_large_statuses_leaves_the_file_and_all_that_counts_is_recovered() {
    const DATA_LEN: usize = 1024 * 1024;
    let mut disk = Disk::new();
    disk.append(Entry::Kill {
        grace: Duration::from_secs(9),
        reason: Reason::KillRequested,
    });
    disk.append(Entry::Changed {
        labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        grace: None,
    });
    disk.append(Entry::Changed {
        labels: None,
        grace: Some(Duration::from_secs(5)),
    });
    let (mut before, mut shortened) = (0, 0);
    for number in 2..=24 {
        disk.append(running(number, DATA_LEN));
        shortened += u32::from(disk.len() < before);
        before = disk.len();
        assert!(
            before < STATUSES_GROWTH_MAX + 6 * DATA_LEN as u64,
            "{before} bytes"
        );
        if number > 3 {
            disk.append(Entry::Acknowledged(number - 2));
            shortened += u32::from(disk.len() < before);
            before = disk.len();
        }
    }
    assert_eq!(shortened, 1, "not at each status");
    let waiting = |run: &RecoveredRun| run.statuses.iter().filter(|it| it.number > 22).count();
    assert_eq!(waiting(&disk.recover()), 2);
    disk.append(Entry::Acknowledged(24));
    disk.recover();
    write_anew(&disk.path()).unwrap();
    assert!(disk.len() < 1024, "{} bytes", disk.len());
    let found = disk.recover();
    assert_eq!(found.running_since.map(|it| it.mono_ns), Some(20));
    // What comes then is appended to it.
    disk.append(running(25, 10));
    disk.append(Entry::Acknowledged(25));
    disk.recover();
}

#[test]
fn a_file_that_is_not_replaced_is_as_before_and_what_a_crash_has_left_of_another_goes() {
    let mut disk = Disk::new();
    for number in 2..=9 {
        disk.append(running(number, 100));
    }
    disk.append(Entry::Acknowledged(8));
    let (path, old) = (disk.path(), fs::read(disk.path()).unwrap());
    let fresh = fresh_of(&path);
    // The agent is killed before the rename.
    write_fresh(&path, &fresh).unwrap();
    assert_eq!(fs::read(&path).unwrap(), old);
    disk.recover();
    assert!(!fresh.exists());
    assert_eq!(fs::read(&path).unwrap(), old);
    // It cannot be written.
    fs::create_dir(&fresh).unwrap();
    write_anew(&path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), old);
    fs::remove_dir(&fresh).unwrap();
    // An earlier attempt was torn, and was longer.
    fs::write(&fresh, vec![9; 100_000]).unwrap();
    let len = write_anew(&path).unwrap();
    assert_eq!(len, disk.len());
    assert!(len < old.len() as u64);
    disk.recover();
}

#[test]
fn a_torn_end_is_cut_off_and_other_damage_is_told() {
    let mut disk = Disk::new();
    for number in 2..=5 {
        disk.append(running(number, 100));
    }
    let (path, whole) = (disk.path(), fs::read(disk.path()).unwrap());
    for torn in [1, 8, 60] {
        let record = encode_entries(std::iter::once(&running(6, 100)));
        fs::write(&path, [&whole[..], &record[..torn]].concat()).unwrap();
        disk.recover();
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    let mut bytes = whole;
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let problem = disk.checkpoints.read_runs().unwrap_err();
    assert!(problem.is(code::AGENT_CHECKPOINT_DAMAGED));
}
