//! Writing checkpoints, on a thread of its own, in order and many together; says up to which they are durable.
//!
//! Each step can be repeated: a step that failed (a full disk) is tried again for ever, and nothing that depends on it
//! happens meanwhile, because the core waits for `Persisted`. Only what a task can bring about is not waited for: a run
//! that cannot be removed, or whose files are gone.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proffer_agent_core::{Change, Entry, Identity, NewRun, RunId, Seq};
use proffer_model::checkpoint::{AgentIdentity, ExecutorRun, Run, StatusEntry};
use proffer_model::link::Payer;
use proffer_model::{ExecutorSpec, FrameworkId, Problem, code};
use proffer_proto::checkpoint::v1::MadeGroup;
use proffer_proto::{encode_agent_identity, encode_executor_run, encode_run, encode_status_entry};
use prost::Message as _;
use tokio::sync::{mpsc, watch};

use super::garbage::Garbage;
use super::{
    AGENT, Checkpoints, EXECUTOR, FRESH, GROUP, RUNS, STALE, STATUSES, TASK, frame, open_private,
    open_to_pass, statuses,
};
use crate::limits::{STATUSES_GROWTH_MAX, WRITE_BATCH_MAX, WRITE_RETRY_INTERVAL, WRITES_MAX};

/// What is to be written.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are changes; a box for each would cost more than the few others"
)]
pub(crate) enum Write {
    /// A checkpoint.
    Change(Seq, Change),
    /// A run's directory goes.
    Remove(RunId),
}

/// The thread's two ends: what it is to write, and what is durable.
#[derive(Debug)]
pub(crate) struct Writer {
    /// What is to be written, in order. The thread ends when this is dropped and all is written.
    pub(crate) writes: mpsc::Sender<Write>,
    /// Every checkpoint up to this is durable.
    pub(crate) durable: watch::Receiver<Seq>,
}

impl Writer {
    /// Starts the thread. It holds the work directory's lock until it ends.
    pub(crate) fn start(checkpoints: Checkpoints) -> Result<Self, Problem> {
        let (writes, queue) = mpsc::channel(WRITES_MAX);
        let (report, durable) = watch::channel(Seq(0));
        let failed = |error: io::Error| {
            Problem::new(code::INTERNAL, format!("cannot start a thread: {error}"))
        };
        let garbage = Garbage::start(checkpoints.runs_dir()).map_err(failed)?;
        std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || {
                write_all(&checkpoints, &garbage, queue, &report);
                // In this order: when `durable` ends, the work directory is free.
                drop(checkpoints);
                drop(report);
            })
            .map_err(failed)?;
        Ok(Self { writes, durable })
    }
}

fn write_all(
    checkpoints: &Checkpoints,
    garbage: &Garbage,
    mut queue: mpsc::Receiver<Write>,
    report: &watch::Sender<Seq>,
) {
    let mut batch = Vec::new();
    let mut files = Files::new();
    while queue.blocking_recv_many(&mut batch, WRITE_BATCH_MAX) > 0 {
        let last = batch.iter().rev().find_map(|write| match write {
            Write::Change(seq, _) => Some(*seq),
            Write::Remove(_) => None,
        });
        for step in plan(batch.drain(..)) {
            while let Err(error) = checkpoints.carry_out(&step, garbage, &mut files) {
                if queue.is_closed() {
                    // The agent is ending: what is not durable has promised nothing.
                    tracing::error!(%error, "a checkpoint was not written");
                    return;
                }
                tracing::error!(%error, "a checkpoint cannot be written, and is tried again");
                // May end early, which is only an earlier attempt.
                std::thread::park_timeout(WRITE_RETRY_INTERVAL);
            }
        }
        if let Some(seq) = last {
            report.send_replace(seq);
        }
    }
}

/// One thing to do on disk.
#[derive(Debug)]
enum Step {
    Identity(Identity),
    Make(Box<NewRun>, Vec<Entry>),
    MakeGroup(Vec<NewRun>),
    MakeExecutor(NewExecutor),
    Append(RunId, Vec<Entry>),
    Sync,
    Remove(RunId),
}

/// The files of statuses that were written anew in this life.
pub(super) type Files = BTreeMap<RunId, Rewritten>;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rewritten {
    /// Bytes that it had then, or when that failed.
    len: u64,
    /// A crash might bring the old file back: nothing is appended before it cannot.
    is_unsynced: bool,
}

#[derive(Debug)]
struct NewExecutor {
    run: RunId,
    framework: FrameworkId,
    spec: Arc<ExecutorSpec>,
    payer: Option<Payer>,
}

/// Puts a batch's entries of one run together, so that they share a record and a sync. Nothing moves across a change of
/// identity: a term is durable before what is done under it.
fn plan(batch: impl Iterator<Item = Write>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut places: BTreeMap<RunId, usize> = BTreeMap::new();
    let mut is_unsynced = false;
    for write in batch {
        match write {
            Write::Change(_, Change::Identity(identity)) => {
                steps.extend(std::mem::take(&mut is_unsynced).then_some(Step::Sync));
                steps.push(Step::Identity(identity));
                places.clear();
            }
            Write::Change(_, Change::Run(made)) => {
                places.insert(made.run, steps.len());
                is_unsynced = true;
                steps.push(Step::Make(Box::new(made), Vec::new()));
            }
            // Synced by itself; what follows it is appended.
            Write::Change(_, Change::Group(runs)) => steps.push(Step::MakeGroup(runs)),
            Write::Change(
                _,
                Change::Executor {
                    run,
                    framework,
                    spec,
                    payer,
                },
            ) => {
                is_unsynced = true;
                steps.push(Step::MakeExecutor(NewExecutor {
                    run,
                    framework,
                    spec,
                    payer,
                }));
            }
            Write::Change(_, Change::Entry { run, entry }) => {
                let place = *places.entry(run).or_insert(steps.len());
                match steps.get_mut(place) {
                    Some(Step::Make(_, entries) | Step::Append(_, entries)) => entries.push(entry),
                    _ => steps.push(Step::Append(run, vec![entry])),
                }
            }
            Write::Remove(run) => {
                places.remove(&run);
                steps.push(Step::Remove(run));
            }
        }
    }
    steps.extend(is_unsynced.then_some(Step::Sync));
    steps
}

impl Checkpoints {
    fn carry_out(&self, step: &Step, garbage: &Garbage, files: &mut Files) -> io::Result<()> {
        match step {
            Step::Identity(identity) => self.write_identity(identity),
            Step::Make(made, entries) => self.make_run(made, entries),
            Step::MakeGroup(runs) => self.make_group(runs),
            Step::MakeExecutor(made) => self.make_executor(made),
            Step::Append(run, entries) => self.append(*run, entries, files),
            Step::Sync => sync_dir(&self.dir.join(RUNS)),
            Step::Remove(run) => {
                files.remove(run);
                self.remove_run(*run);
                garbage.wake();
                Ok(())
            }
        }
    }

    fn write_identity(&self, identity: &Identity) -> io::Result<()> {
        let content = encode_agent_identity(&AgentIdentity {
            agent: identity.agent.clone(),
            cluster: identity.cluster.clone(),
            epoch: identity.epoch,
            boot_id: identity.boot.clone(),
            links: identity.links,
        });
        let fresh = self.dir.join(format!("{AGENT}{FRESH}"));
        write_file(&fresh, &frame::encode(&content.encode_to_vec()))?;
        fs::rename(&fresh, self.dir.join(AGENT))?;
        sync_dir(&self.dir)
    }

    /// Makes a run directory; [`Step::Sync`] makes its name durable.
    pub(super) fn make_run(&self, made: &NewRun, entries: &[Entry]) -> io::Result<()> {
        let dir = self.run_dir(made.run);
        if fs::exists(&dir)? {
            // An earlier attempt got so far.
            return Ok(());
        }
        fs::rename(self.prepare_run(made, entries)?, &dir)
    }

    /// Makes the run directories of a group: all are there, or none is. Each is durable under its other name before the
    /// file that names them is, and that one before they get their names.
    fn make_group(&self, runs: &[NewRun]) -> io::Result<()> {
        let runs_dir = self.dir.join(RUNS);
        if !fs::exists(self.dir.join(GROUP))? {
            for made in runs {
                if !fs::exists(self.run_dir(made.run))? {
                    self.prepare_run(made, &[])?;
                }
            }
            sync_dir(&runs_dir)?;
            let group = MadeGroup {
                runs: runs.iter().map(|made| made.run.0).collect(),
            };
            let fresh = self.dir.join(format!("{GROUP}{FRESH}"));
            write_file(&fresh, &frame::encode(&group.encode_to_vec()))?;
            fs::rename(&fresh, self.dir.join(GROUP))?;
            sync_dir(&self.dir)?;
        }
        let runs: Vec<RunId> = runs.iter().map(|made| made.run).collect();
        self.name_group(&runs)
    }

    /// Gives the runs of a group their names; an earlier attempt may have got anywhere.
    pub(super) fn name_group(&self, runs: &[RunId]) -> io::Result<()> {
        let runs_dir = self.dir.join(RUNS);
        for run in runs {
            match fs::rename(self.fresh_dir(*run), self.run_dir(*run)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_dir(&runs_dir)?;
        match fs::remove_file(self.dir.join(GROUP)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Else a crash might bring it back when another group's has been written.
        sync_dir(&self.dir)
    }

    /// Makes all of a run directory but its name.
    fn prepare_run(&self, made: &NewRun, entries: &[Entry]) -> io::Result<PathBuf> {
        let content = encode_run(&Run {
            framework: made.framework.clone(),
            incarnation: made.incarnation,
            spec: (*made.spec).clone(),
            payer: made.payer.clone(),
            group: made.group.clone(),
            executor: made.executor.map(|run| run.0),
        });
        let first = Entry::Made {
            status: made.status.clone(),
            said: 0,
            boot_ns: 0,
        };
        let record = encode_entries(std::iter::once(&first).chain(entries));
        self.prepare_dir(made.run, (TASK, &content.encode_to_vec()), &record)
    }

    fn make_executor(&self, made: &NewExecutor) -> io::Result<()> {
        let dir = self.run_dir(made.run);
        if fs::exists(&dir)? {
            return Ok(());
        }
        let content = encode_executor_run(&ExecutorRun {
            framework: made.framework.clone(),
            spec: (*made.spec).clone(),
            payer: made.payer.clone(),
        });
        let fresh = self.prepare_dir(made.run, (EXECUTOR, &content.encode_to_vec()), &[])?;
        fs::rename(fresh, &dir)
    }

    fn prepare_dir(
        &self,
        run: RunId,
        (name, content): (&str, &[u8]),
        record: &[u8],
    ) -> io::Result<PathBuf> {
        let fresh = self.fresh_dir(run);
        if fs::exists(&fresh)? {
            fs::remove_dir_all(&fresh)?;
        }
        DirBuilder::new().mode(0o700).create(&fresh)?;
        open_to_pass(&fresh)?;
        write_file(&fresh.join(name), &frame::encode(content))?;
        write_file(&fresh.join(STATUSES), record)?;
        sync_dir(&fresh)?;
        Ok(fresh)
    }

    fn fresh_dir(&self, run: RunId) -> PathBuf {
        self.dir.join(RUNS).join(format!("{run}{FRESH}"))
    }

    /// A run whose files are gone has no next life, so it is not written on.
    pub(super) fn append(
        &self,
        run: RunId,
        entries: &[Entry],
        files: &mut Files,
    ) -> io::Result<()> {
        let path = self.run_dir(run).join(STATUSES);
        match self
            .shorten(run, &path, files)
            .and_then(|()| append(&path, entries))
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), "a checkpoint is gone: to the next agent its task is lost");
                Ok(())
            }
            result => result,
        }
    }

    /// Leaves out of a file that has grown what counts no more. Before anything is appended, so that each attempt appends
    /// once; when it fails the file is as before, and it is tried again when that has grown further.
    fn shorten(&self, run: RunId, path: &Path, files: &mut Files) -> io::Result<()> {
        let len = fs::metadata(path)?.len();
        let before = files.get(&run).copied().unwrap_or_default();
        if len.saturating_sub(before.len) > STATUSES_GROWTH_MAX {
            let after = match statuses::write_anew(path) {
                Ok(len) => Rewritten {
                    len,
                    is_unsynced: true,
                },
                Err(problem) => {
                    tracing::warn!(%problem, "statuses that are acknowledged are not left out");
                    Rewritten { len, ..before }
                }
            };
            files.insert(run, after);
        }
        if let Some(file) = files.get_mut(&run).filter(|file| file.is_unsynced) {
            sync_dir(&self.run_dir(run))?;
            file.is_unsynced = false;
        }
        Ok(())
    }

    /// Takes its name from the run; what is in it goes in time. When that fails, the next life finds it and tries again.
    fn remove_run(&self, run: RunId) {
        let dir = self.run_dir(run);
        let stale = self.dir.join(RUNS).join(format!("{run}{STALE}"));
        match fs::rename(&dir, &stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %dir.display(), %error, "a run cannot be removed");
            }
            _ => {}
        }
    }
}

/// Appends one record; after a failure the file is as before.
fn append(path: &Path, entries: &[Entry]) -> io::Result<()> {
    let mut file = File::options().append(true).open(path)?;
    let len = file.metadata()?.len();
    let record = encode_entries(entries.iter());
    let written = file.write_all(&record).and_then(|()| file.sync_all());
    if written.is_err() {
        file.set_len(len)?;
    }
    written
}

pub(super) fn encode_entries<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u8> {
    let mut content = Vec::new();
    for entry in entries {
        let entry = match entry {
            Entry::Made {
                status,
                said,
                boot_ns,
            } => StatusEntry::Made {
                status: status.clone(),
                said: *said,
                boot_ns: *boot_ns,
            },
            Entry::Acknowledged(number) => StatusEntry::Acknowledged(*number),
            Entry::Kill { grace, reason } => StatusEntry::Kill {
                grace: *grace,
                reason: *reason,
            },
            Entry::Changed { labels, grace } => StatusEntry::Changed {
                labels: labels.clone(),
                grace: *grace,
            },
        };
        content.extend(encode_status_entry(&entry).encode_length_delimited_to_vec());
    }
    frame::encode(&content)
}

pub(super) fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = open_private(path, File::options().create(true).truncate(true))?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
