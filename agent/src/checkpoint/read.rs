//! Reading the checkpoints of an earlier life. A torn end is cut off here, since the next append would make it damage.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use proffer_agent_core::{Found, Identity, RecoveredRun, RunId};
use proffer_model::checkpoint::StatusEntry;
use proffer_model::{Problem, code};
use proffer_proto::checkpoint::v1;
use proffer_proto::{decode_agent_identity, decode_run, decode_status_entry};
use prost::Message as _;

use super::frame::{self, Records};
use super::{AGENT, Checkpoints, FRESH, RUNS, STALE, STATUSES, TASK};

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
        })
    }

    /// All runs, as if none had ever been started: what is really there is for the containerizer to find out. What a
    /// crash has left half made is removed. Errors: `file.failed`, `agent.checkpoint_damaged`.
    pub(crate) fn read_runs(&self) -> Result<Vec<RecoveredRun>, Problem> {
        let runs_dir = self.dir.join(RUNS);
        let entries = fs::read_dir(&runs_dir).map_err(|error| unreadable(&runs_dir, &error))?;
        let mut runs = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unreadable(&runs_dir, &error))?.path();
            if is_left_over(&path, FRESH) {
                fs::remove_dir_all(&path).map_err(|error| unreadable(&path, &error))?;
            } else if is_left_over(&path, STALE) {
                // Removed by the thread that removes such.
            } else if let Some(run) = path.file_name().and_then(parse_run) {
                runs.push(read_run(run, &path)?);
            } else {
                tracing::warn!(path = %path.display(), "a file that is not the agent's is among its runs");
            }
        }
        Ok(runs)
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
    let mut recovered = RecoveredRun {
        run,
        framework: kept.framework,
        incarnation: kept.incarnation,
        spec: kept.spec,
        payer: kept.payer,
        statuses: Vec::new(),
        acknowledged: 0,
        kill: None,
        found: Found::NeverStarted,
    };
    let path = dir.join(STATUSES);
    for entry in read_entries(&path)? {
        match entry {
            StatusEntry::Made(status) => recovered.statuses.push(status),
            StatusEntry::Acknowledged(number) => recovered.acknowledged = number,
            StatusEntry::Kill { grace, reason } => recovered.kill = Some((grace, reason)),
        }
    }
    if recovered.statuses.is_empty() {
        return Err(damaged(&path, "holds no status"));
    }
    Ok(recovered)
}

fn read_entries(path: &PathBuf) -> Result<Vec<StatusEntry>, Problem> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, &error))?;
    let (contents, len) = match frame::decode(&bytes) {
        Records::Good { contents, len } => (contents, len),
        Records::Damaged { offset } => {
            return Err(damaged(path, &format!("is damaged at byte {offset}")));
        }
    };
    if len < bytes.len() {
        tracing::info!(path = %path.display(), bytes = bytes.len() - len, "a torn end is cut off");
        cut(path, len).map_err(|error| unreadable(path, &error))?;
    }
    let mut entries = Vec::new();
    for mut content in contents {
        while !content.is_empty() {
            let message = v1::StatusEntry::decode_length_delimited(&mut content)
                .map_err(|error| damaged(path, &error.to_string()))?;
            let entry = decode_status_entry(message)
                .map_err(|problem| damaged(path, &problem.to_string()))?;
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn cut(path: &Path, len: usize) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(u64::try_from(len).unwrap_or(u64::MAX))?;
    file.sync_all()
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(code::FILE_FAILED, format!("{}: {error}", path.display()))
        .field("work_dir")
        .hint("check its owner and permissions")
}

fn damaged(path: &Path, what: &str) -> Problem {
    let message = format!("{} {what}", path.display());
    Problem::new(code::AGENT_CHECKPOINT_DAMAGED, message).field("work_dir").hint(
        "restore the file, or move its directory away: the tasks in it are then reported as lost, and are yours to end",
    )
}
