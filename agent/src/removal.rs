//! Removes directories that tasks have filled, whatever is in them: in little memory, with few descriptors and without
//! recursion, because a task can nest directories deeper than any stack, and without following a link.
//!
//! A directory in a directory that has content itself is first moved up, beside the one that it was in. So nothing is ever
//! deeper than two, and every directory is moved at most once.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

/// Removes a directory and all in it; that it is not there is as good. Not for directories that others still fill.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match open(rustix::fs::CWD, path) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => fs::remove_file(path),
        opened => {
            empty(&opened?)?;
            fs::remove_dir(path)
        }
    }
}

/// Removes all that is in a directory, which stays.
pub(crate) fn remove_contents(path: &Path) -> io::Result<()> {
    empty(&open(rustix::fs::CWD, path)?)
}

fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut moved = 0;
    loop {
        let directories = remove_files(top)?;
        if directories.is_empty() {
            return Ok(());
        }
        for name in directories {
            remove_directory(top, &name, &mut moved)?;
        }
    }
}

type Name = std::ffi::CString;

/// Removes all but directories that are not empty, whose names it answers.
fn remove_files(dir: &OwnedFd) -> io::Result<Vec<Name>> {
    let mut directories = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if !is_dots(&name) && !remove_entry(dir, &name)? {
            directories.push(name);
        }
    }
    Ok(directories)
}

/// Removes a directory in `top`; what has content in it is in `top` afterwards.
fn remove_directory(top: &OwnedFd, name: &Name, moved: &mut u64) -> io::Result<()> {
    let dir = open(top, name)?;
    for inner in remove_files(&dir)? {
        loop {
            *moved += 1;
            let beside = format!("removed-{moved}");
            match renameat(&dir, &inner, top, &beside) {
                // The task has used this name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                result => break result?,
            }
        }
    }
    Ok(unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Answers whether it is gone: not if it is a directory with content.
fn remove_entry(dir: &OwnedFd, name: &Name) -> io::Result<bool> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(true),
        Err(Errno::ISDIR) => {}
        // What POSIX says instead, and some file systems.
        Err(Errno::PERM) if open(dir, name).is_ok() => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn is_dots(name: &Name) -> bool {
    matches!(name.as_bytes(), b"." | b"..")
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Directories in one another, a file in each.
    fn nest(path: &Path, depth: usize) {
        fs::create_dir(path).unwrap();
        let mut dir = open(rustix::fs::CWD, path).unwrap();
        for _ in 0..depth {
            rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let file: File = openat(&dir, "f", flags, Mode::RWXU).unwrap().into();
            drop(file);
            dir = open(&dir, "d").unwrap();
        }
    }

    #[test]
    fn what_is_nested_deeper_than_any_stack_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep");
        nest(&path, 1_000);
        // Deeper than this one, and fewer than a test should have to wait for.
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        let removed = path.clone();
        let thread = small.spawn(move || remove_all(&removed)).unwrap();
        thread.join().unwrap().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        remove_all(&path).unwrap();
    }

    #[test]
    fn names_links_and_breadth_of_a_task_are_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let (path, outside) = (dir.path().join("t"), dir.path().join("outside"));
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        for name in ["removed-1/a/b", "removed-2", "x/y/removed-1", "x/y/z/z"] {
            fs::create_dir_all(path.join(name)).unwrap();
        }
        fs::write(path.join("removed-3"), "").unwrap();
        for number in 0..300 {
            fs::create_dir_all(path.join(format!("many/{number}/{number}"))).unwrap();
        }
        for link in ["l", "x/l", "x/y/removed-1/l"] {
            std::os::unix::fs::symlink(&outside, path.join(link)).unwrap();
        }
        remove_all(&path).unwrap();
        assert!(!path.exists() && outside.join("kept").exists());
        // In the place of the directory itself.
        std::os::unix::fs::symlink(&outside, &path).unwrap();
        remove_all(&path).unwrap();
        assert!(!path.is_symlink() && outside.join("kept").exists());
    }
}
