//! Where `dev` keeps everything: marked as ours, so that `--fresh` can never remove what is not, and locked, so that two
//! never share it.
//!
//! The lock is the kernel's and goes with the process, however that ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use proffer_model::{Problem, code};

/// Says that the directory is ours.
const MARKER: &str = "PROFFER-DEV";
/// Held while a `dev` uses the directory; holds its process id, for people.
const LOCK: &str = "lock";

/// A directory of ours that nobody else uses while this value lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes or takes the directory. Errors: `config.invalid` when it holds something that is not ours,
    /// `directory.locked`, `file.failed`.
    pub(crate) fn open(path: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| failed(path, "used", &error);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        // Absolute, since HAProxy and the tasks have working directories of their own.
        let path = path.canonicalize().map_err(failed)?;
        let is_ours = fs::exists(path.join(MARKER)).map_err(failed)?;
        if !is_ours && fs::read_dir(&path).map_err(failed)?.next().is_some() {
            let message = format!(
                "{} is not empty and not a data directory of `proffer dev`",
                path.display()
            );
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("data_dir")
                .hint("choose another with --data-dir"));
        }
        fs::write(
            path.join(MARKER),
            "The state of `proffer dev`. --fresh removes it.\n",
        )
        .map_err(failed)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// A place in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes everything in it. Only once nothing that lives there runs any more.
    pub(crate) fn clear(&self) -> Result<(), Problem> {
        let failed = |error: io::Error| failed(&self.path, "cleared", &error);
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() == MARKER || entry.file_name() == LOCK {
                continue;
            }
            if entry.file_type().map_err(failed)?.is_dir() {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            } else {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// `$XDG_STATE_HOME/proffer/dev`, or that in `~/.local/state`.
pub(crate) fn default_path() -> Result<PathBuf, Problem> {
    let variable = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("proffer/dev"))
        .ok_or_else(|| {
            Problem::new(
                code::CONFIG_INVALID,
                "neither XDG_STATE_HOME nor HOME names a directory",
            )
            .field("data_dir")
            .hint("name one with --data-dir")
        })
}

fn lock(path: &Path) -> Result<File, Problem> {
    let failed = |error: io::Error| failed(path, "locked", &error);
    let options = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK));
    let mut file = options.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message.
            let _ = file.take(20).read_to_string(&mut holder);
            let message = format!(
                "another `proffer dev` uses {} (process {})",
                path.display(),
                holder.trim()
            );
            return Err(Problem::new(code::DIRECTORY_LOCKED, message)
                .field("data_dir")
                .hint("stop it, or start a second one beside it with --data-dir and --port-base"));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}

fn failed(path: &Path, what: &str, error: &io::Error) -> Problem {
    Problem::new(
        code::FILE_FAILED,
        format!("{} cannot be {what}: {error}", path.display()),
    )
    .field("data_dir")
    .hint("check its owner and permissions, or choose another with --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_uses_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/dev");
        let first = DataDir::open(&path).unwrap();
        let problem = DataDir::open(&path).unwrap_err();
        assert!(problem.is(code::DIRECTORY_LOCKED), "{problem}");
        assert!(
            problem.message.contains(&std::process::id().to_string()),
            "{problem}"
        );
        assert!(problem.hint.contains("--data-dir"));
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn what_is_not_ours_is_never_cleared() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "years").unwrap();
        let problem = DataDir::open(dir.path()).unwrap_err();
        assert!(problem.is(code::CONFIG_INVALID), "{problem}");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing was put there"
        );
    }

    #[test]
    fn clearing_leaves_marker_and_lock() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        fs::create_dir_all(data.join("master/log")).unwrap();
        fs::write(data.join("log"), "x").unwrap();
        data.clear().unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [MARKER, LOCK]);
        assert!(
            DataDir::open(dir.path())
                .unwrap_err()
                .is(code::DIRECTORY_LOCKED),
            "still held"
        );
    }
}
