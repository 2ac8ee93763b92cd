//! The agent's files: `lock`, `agent` (who it is) and `runs/<16 hex>/{task,statuses}` beneath the work directory; of an
//! executor `executor` instead of `task`.
//!
//! The runs of a group are made whole under other names first; then `group` names them, which is the moment from which all
//! of them are there: whatever ends the agent, the next one goes on giving them their names.
//!
//! `agent` and `task` are replaced or made whole, with write, fsync, rename, fsync of the directory. `statuses` is
//! appended to, and when it has grown replaced by what still counts of it. A run directory appears by a rename, so that it always has both files. What a crash has torn at the end
//! of `statuses` was never promised to anyone and is cut off; any other damage is an error that names the file. A run that
//! is no more is renamed at once and removed in time.

pub(crate) mod frame;
mod garbage;
mod read;
mod statuses;
mod write;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use proffer_agent_core::RunId;
use proffer_model::{Problem, code};

pub(crate) use write::{Write, Writer};

const LOCK: &str = "lock";
const AGENT: &str = "agent";
const RUNS: &str = "runs";
const TASK: &str = "task";
const EXECUTOR: &str = "executor";
const GROUP: &str = "group";
const STATUSES: &str = "statuses";
/// Appended to the name of a run directory or file that is being made.
const FRESH: &str = ".new";
/// Appended to the name of a run directory that is being removed.
const STALE: &str = ".gone";

/// The work directory, locked against other agents as long as this lives.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    _lock: File,
}

impl Checkpoints {
    /// Makes the directory if it is not there, and locks it. Errors: `file.failed`, `directory.locked`.
    pub(crate) fn open(dir: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| {
            let message = format!("{} cannot be used: {error}", dir.display());
            Problem::new(code::FILE_FAILED, message)
                .field("work_dir")
                .hint("check its owner and permissions, or choose another with --work-dir")
        };
        // Others may pass through, so that tasks of other users reach their sandboxes; they can list nothing.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o711);
        builder.create(dir.join(RUNS)).map_err(failed)?;
        open_to_pass(&dir.join(RUNS)).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        let lock = open_private(
            &dir.join(LOCK),
            File::options().create(true).truncate(false),
        );
        let lock = lock.map_err(failed)?;
        if lock.try_lock().is_err() {
            let message = format!("another agent uses {}", dir.display());
            return Err(Problem::new(code::DIRECTORY_LOCKED, message)
                .field("work_dir")
                .hint("stop it, or choose another directory with --work-dir"));
        }
        Ok(Self { dir, _lock: lock })
    }

    /// The directory of all runs, absolute.
    pub(crate) fn runs_dir(&self) -> PathBuf {
        self.dir.join(RUNS)
    }

    /// The directory of a run, absolute.
    pub(crate) fn run_dir(&self, run: RunId) -> PathBuf {
        self.dir.join(RUNS).join(run.to_string())
    }
}

/// Lets others pass through a directory of ours, whatever this process's umask says.
fn open_to_pass(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711))
}

fn open_private(path: &Path, options: &mut fs::OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.write(true).mode(0o600).open(path)
}
