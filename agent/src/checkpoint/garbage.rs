//! Removes the directories of runs that are no more, on a thread of its own: a task may have left millions of files, or
//! some that cannot be removed, and no checkpoint waits for that.
//!
//! The writer has renamed them before, so that none is half a run to the next life. What cannot be removed is reported
//! once and tried again whenever there is more to remove.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::STALE;
use super::read::is_left_over;
use crate::removal::remove_all;

/// The thread's end for its user. The thread ends when this is dropped.
#[derive(Debug)]
pub(super) struct Garbage(SyncSender<()>);

impl Garbage {
    /// Starts the thread; it begins with what an earlier life has left.
    pub(super) fn start(runs_dir: PathBuf) -> io::Result<Self> {
        // One wake-up is enough for all that is there.
        let (wake, woken) = sync_channel(1);
        std::thread::Builder::new()
            .name("garbage".to_owned())
            .spawn(move || remove_stale(&runs_dir, &woken))?;
        Ok(Self(wake))
    }

    /// There is more to remove.
    pub(super) fn wake(&self) {
        // When it is full, the thread looks again anyway.
        let _ = self.0.try_send(());
    }
}

fn remove_stale(runs_dir: &Path, woken: &Receiver<()>) {
    let mut reported = BTreeSet::new();
    loop {
        for path in stale(runs_dir) {
            if let Err(error) = remove(&path)
                && reported.insert(path.clone())
            {
                tracing::warn!(path = %path.display(), %error, "what a task has left cannot be removed");
            }
        }
        if woken.recv().is_err() {
            return;
        }
    }
}

fn stale(runs_dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(runs_dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| is_left_over(path, STALE)).collect()
}

/// Removes a directory and all beneath it, also directories that their owner has closed to itself.
fn remove(path: &Path) -> io::Result<()> {
    match remove_all(path) {
        // Not as root, who needs no permission, and whom a link in the right moment would lead astray.
        Err(error)
            if error.kind() == io::ErrorKind::PermissionDenied
                && !nix::unistd::Uid::effective().is_root() =>
        {
            open_directories(path);
            remove_all(path)
        }
        result => result,
    }
}

fn open_directories(path: &Path) {
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        // Should it fail, so does removing, and that is reported.
        let _ = fs::set_permissions(&directory, Permissions::from_mode(0o700));
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        directories.extend(entries.filter(is_directory).map(|entry| entry.path()));
    }
}
