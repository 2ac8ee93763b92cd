//! Reading the checkpoints of an earlier life. A torn end is cut off here, since the next append would make it damage.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use proffer_agent_core::{Entry, Found, Identity, NewRun, RecoveredExecutor, RecoveredRun, RunId};
use proffer_model::{ExecutorApi, Problem, code};
use proffer_proto::checkpoint::v1;
use proffer_proto::{decode_agent_identity, decode_executor_run, decode_run};
use prost::Message as _;

use super::frame;
use super::statuses::Statuses;
use super::{AGENT, Checkpoints, EXECUTOR, FRESH, GROUP, RUNS, STALE, STATUSES, TASK};
use crate::mesos::told_of;

impl Checkpoints {
    /// Who the agent was; the default before its first start. Errors: `file.failed`, `agent.checkpoint_damaged`.
    pub(crate) fn read_identity(&self) -> Result<Identity, Problem> {
        let path = self.dir.join(AGENT);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Identity::default());
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let content = frame::decode_one(&bytes).ok_or_else(|| damaged(&path, "is not whole"))?;
        let message = v1::AgentIdentity::decode(content)
            .map_err(|error| damaged(&path, &error.to_string()))?;
        let identity = decode_agent_identity(message)
            .map_err(|problem| damaged(&path, &problem.to_string()))?;
        Ok(Identity {
            agent: identity.agent,
            cluster: identity.cluster,
            epoch: identity.epoch,
            boot: identity.boot_id,
            links: identity.links,
        })
    }

    /// All runs and executors, as if none had ever been started: what is really there is for the containerizer to find out.
    /// What a crash has left half made is removed, and a group that was promised is completed. Errors: `file.failed`,
    /// `agent.checkpoint_damaged`.
    pub(crate) fn read_runs(&self) -> Result<(Vec<RecoveredRun>, Vec<RecoveredExecutor>), Problem> {
        self.complete_group()?;
        let runs_dir = self.dir.join(RUNS);
        let entries = fs::read_dir(&runs_dir).map_err(|error| unreadable(&runs_dir, &error))?;
        let (mut runs, mut executors) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&runs_dir, &error))?.path();
            if is_left_over(&path, FRESH) {
                fs::remove_dir_all(&path).map_err(|error| unreadable(&path, &error))?;
            } else if is_left_over(&path, STALE) {
                // Removed by the thread that removes such.
            } else if let Some(run) = path.file_name().and_then(parse_run) {
                if path.join(EXECUTOR).is_file() {
                    executors.push(read_executor(run, &path)?);
                } else {
                    runs.push(read_run(run, &path)?);
                }
            } else {
                tracing::warn!(path = %path.display(), "a file that is not the agent's is among its runs");
            }
        }
        Ok((runs, executors))
    }

    /// Goes on where an earlier life was giving the runs of a group their names.
    fn complete_group(&self) -> Result<(), Problem> {
        let path = self.dir.join(GROUP);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&path, &error)),
        };
        let content = frame::decode_one(&bytes).ok_or_else(|| damaged(&path, "is not whole"))?;
        let group =
            v1::MadeGroup::decode(content).map_err(|error| damaged(&path, &error.to_string()))?;
        let runs: Vec<RunId> = group.runs.into_iter().map(RunId).collect();
        self.name_group(&runs)
            .map_err(|error| unreadable(&path, &error))
    }
}

/// Whether this is what is left of a run, marked by this suffix.
pub(super) fn is_left_over(path: &Path, suffix: &str) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let stem = name.strip_suffix(suffix);
    stem.is_some_and(|stem| parse_run(OsStr::new(stem)).is_some())
}

/// Reads the name of a run directory: 16 hexadecimal digits.
fn parse_run(name: &OsStr) -> Option<RunId> {
    let run = RunId(u64::from_str_radix(name.to_str()?, 16).ok()?);
    (OsStr::new(&run.to_string()) == name).then_some(run)
}

fn read_run(run: RunId, dir: &Path) -> Result<RecoveredRun, Problem> {
    let path = dir.join(TASK);
    let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let content = frame::decode_one(&bytes).ok_or_else(|| damaged(&path, "is not whole"))?;
    let message = v1::Run::decode(content).map_err(|error| damaged(&path, &error.to_string()))?;
    let kept = decode_run(message).map_err(|problem| damaged(&path, &problem.to_string()))?;
    let path = dir.join(STATUSES);
    let mut entries = Statuses::recover(&path)?.into_entries();
    let Some(Entry::Made { status, .. }) = entries.next() else {
        return Err(damaged(&path, "holds no status"));
    };
    let mut recovered = RecoveredRun::new(NewRun {
        run,
        framework: kept.framework,
        incarnation: kept.incarnation,
        spec: Arc::new(kept.spec),
        payer: kept.payer,
        group: kept.group,
        executor: kept.executor.map(RunId),
        status,
    });
    entries.for_each(|entry| recovered.take(entry));
    Ok(recovered)
}

fn read_executor(run: RunId, dir: &Path) -> Result<RecoveredExecutor, Problem> {
    let path = dir.join(EXECUTOR);
    let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let content = frame::decode_one(&bytes).ok_or_else(|| damaged(&path, "is not whole"))?;
    let message =
        v1::ExecutorRun::decode(content).map_err(|error| damaged(&path, &error.to_string()))?;
    let kept =
        decode_executor_run(message).map_err(|problem| damaged(&path, &problem.to_string()))?;
    let end = Statuses::recover(&dir.join(STATUSES))?.kill;
    let told = match kept.spec.api {
        ExecutorApi::Proffer => None,
        ExecutorApi::MesosV1 => Some(told_of(dir).map_err(|error| unreadable(dir, &error))?),
    };
    Ok(RecoveredExecutor {
        run,
        framework: kept.framework,
        spec: kept.spec,
        payer: kept.payer,
        end,
        told,
        found: Found::NeverStarted,
    })
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(code::FILE_FAILED, format!("{}: {error}", path.display()))
        .field("work_dir")
        .hint("check its owner and permissions")
}

pub(super) fn damaged(path: &Path, what: &str) -> Problem {
    let message = format!("{} {what}", path.display());
    Problem::new(code::AGENT_CHECKPOINT_DAMAGED, message).field("work_dir").hint(
        "restore the file, or move its directory away: the tasks in it are then reported as lost, and are yours to end",
    )
}
