//! Who this framework is: its id in a file of the work directory, so that a restart goes on as the same framework.
//!
//! The directory is locked while the program runs: two of them would take the framework from one another.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use proffer_model::{FrameworkId, Problem, code};

use crate::limits::FRAMEWORK_ID_FILE_LEN_MAX;

/// The work directory, locked.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    directory: PathBuf,
    _lock: File,
}

impl Identity {
    /// Makes the directory if needed and locks it. Errors: `directory.locked`, `file.failed`.
    pub(crate) fn open(directory: &Path) -> Result<Self, Problem> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| failed("made", directory, &error))?;
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|error| failed("opened", &lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!(
                    "{} is in use by another services process",
                    directory.display()
                );
                return Err(Problem::new(code::DIRECTORY_LOCKED, message)
                    .field("work_dir")
                    .hint("stop that process, or give another --work-dir"));
            }
            Err(TryLockError::Error(error)) => return Err(failed("locked", &lock_path, &error)),
        }
        Ok(Self {
            path: directory.join("framework-id"),
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// The id that was kept, if any.
    pub(crate) fn load(&self) -> Result<Option<FrameworkId>, Problem> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &self.path, &error)),
        };
        let mut text = String::new();
        file.take(FRAMEWORK_ID_FILE_LEN_MAX)
            .read_to_string(&mut text)
            .map_err(|error| failed("read", &self.path, &error))?;
        FrameworkId::new(text.trim()).map(Some).map_err(|problem| {
            let message = format!("{} does not hold a framework's id: {}", self.path.display(), problem.message);
            Problem::new(code::FILE_FAILED, message)
                .field("work_dir")
                .hint("restore the file; without it this program is a new framework and does not know its apps")
        })
    }

    /// Keeps the id: whole or not at all.
    pub(crate) fn keep(&self, id: &FrameworkId) -> Result<(), Problem> {
        if self.load()?.as_ref() == Some(id) {
            return Ok(());
        }
        let new = self.directory.join("framework-id.new");
        let write = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&new)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| failed("written", &self.path, &error))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        code::FILE_FAILED,
        format!("{} cannot be {what}: {error}", path.display()),
    )
    .field("work_dir")
    .hint("give a directory that this user may write, with --work-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_kept_and_the_directory_is_one_programs() {
        let directory = tempfile::tempdir().expect("temporary");
        let path = directory.path().join("services");
        let identity = Identity::open(&path).expect("opened");
        assert_eq!(identity.load().expect("read"), None);
        let problem = Identity::open(&path).expect_err("locked");
        assert!(problem.is(code::DIRECTORY_LOCKED));
        let id = FrameworkId::new("f-1").expect("good");
        identity.keep(&id).expect("kept");
        identity.keep(&id).expect("kept already");
        drop(identity);
        let again = Identity::open(&path).expect("free again");
        assert_eq!(again.load().expect("read"), Some(id));
        fs::write(path.join("framework-id"), "a/b").expect("damaged");
        assert!(again.load().expect_err("no id").is(code::FILE_FAILED));
    }
}
