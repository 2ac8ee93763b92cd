//! Reads one output of a run: the older file, then the newer one, then what is written after, across rotation.
//!
//! Files are opened beneath the run directory's handle without following links: a task could have put one there.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::limits::LOGS_CHUNK_LEN;

/// A place in the output.
#[derive(Debug)]
pub(super) struct Tail {
    dir: OwnedFd,
    name: &'static str,
    /// The file that is read, and the newer one that follows it if that is known already.
    current: Option<File>,
    newer: Option<File>,
}

impl Tail {
    /// At the beginning of what there is, or so many lines before its end.
    pub(super) fn open(dir: &Path, name: &'static str, lines: Option<u32>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = openat(CWD, dir, flags, Mode::empty())?;
        let (older, newest) = open_both(&dir, name)?;
        let mut tail = match older {
            Some(older) => Self {
                dir,
                name,
                current: Some(older),
                newer: newest,
            },
            None => Self {
                dir,
                name,
                current: newest,
                newer: None,
            },
        };
        if let Some(lines) = lines {
            tail.seek_lines(lines)?;
        }
        Ok(tail)
    }

    /// The next piece; nothing when there is no more for now.
    pub(super) fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(current) = &mut self.current {
                let mut chunk = vec![0; LOGS_CHUNK_LEN];
                let count = current.read(&mut chunk)?;
                if count > 0 {
                    chunk.truncate(count);
                    return Ok(Some(chunk.into()));
                }
            }
            // Whole only if it had been put aside already when its end was read.
            if let Some(newer) = self.newer.take() {
                self.current = Some(newer);
                continue;
            }
            self.newer = self.find_newer()?;
            match (&self.current, &self.newer) {
                (_, None) => return Ok(None),
                (None, Some(_)) => self.current = self.newer.take(),
                (Some(_), Some(_)) => {}
            }
        }
    }

    /// The file that follows the one that is read: the older of the two if that is not it, else the newest if not.
    fn find_newer(&self) -> io::Result<Option<File>> {
        let (older, newest) = open_both(&self.dir, self.name)?;
        let Some(current) = &self.current else {
            return Ok(older.or(newest));
        };
        let Some(newest) = other_than(current, newest)? else {
            return Ok(None);
        };
        let missed = other_than(current, older)?;
        Ok(missed.or(Some(newest)))
    }

    /// Goes so many lines before the end. A last line without an end counts as one.
    fn seek_lines(&mut self, lines: u32) -> io::Result<()> {
        let mut left = u64::from(lines);
        let mut is_end = true;
        if let Some(newer) = &mut self.newer {
            if let Some(offset) = find_lines(newer, &mut left, &mut is_end)? {
                newer.seek(SeekFrom::Start(offset))?;
                self.current = self.newer.take();
                return Ok(());
            }
            newer.rewind()?;
        }
        if let Some(current) = &mut self.current {
            let offset = find_lines(current, &mut left, &mut is_end)?.unwrap_or(0);
            current.seek(SeekFrom::Start(offset))?;
        }
        Ok(())
    }
}

/// Where the last `left` lines of a file begin; nothing, and `left` less, when it has fewer. `is_end` says that nothing
/// of the output follows the place that is looked at.
fn find_lines(file: &mut File, left: &mut u64, is_end: &mut bool) -> io::Result<Option<u64>> {
    let mut end = file.seek(SeekFrom::End(0))?;
    if *left == 0 {
        return Ok(Some(end));
    }
    let mut chunk = vec![0; LOGS_CHUNK_LEN];
    while end > 0 {
        let len = usize::try_from(end)
            .unwrap_or(usize::MAX)
            .min(LOGS_CHUNK_LEN);
        let begin = end - u64::try_from(len).unwrap_or(end);
        file.seek(SeekFrom::Start(begin))?;
        let bytes = chunk.get_mut(..len).unwrap_or_default();
        file.read_exact(bytes)?;
        let places = (begin..end).rev();
        for (place, byte) in places.zip(bytes.iter().rev()) {
            // The end of the last line begins no further one.
            if *byte == b'\n' && !std::mem::take(is_end) {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(place + 1));
                }
            }
            *is_end = false;
        }
        end = begin;
    }
    Ok(None)
}

/// The older file and the newest one, as they are at one moment.
fn open_both(dir: &OwnedFd, name: &str) -> io::Result<(Option<File>, Option<File>)> {
    loop {
        let older = open_file(dir, &format!("{name}.1"))?;
        let newest = open_file(dir, name)?;
        let older_now = open_file(dir, &format!("{name}.1"))?;
        let is_still = match (&older, &older_now) {
            (Some(older), Some(now)) => is_same(older, now)?,
            (None, None) => true,
            _ => false,
        };
        if is_still {
            return Ok((older, newest));
        }
    }
}

fn open_file(dir: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(dir, name, flags, Mode::empty(), resolve) {
        Ok(file) => {
            let file = File::from(file);
            // A pipe or a device in its place would block or worse.
            Ok(file.metadata()?.is_file().then_some(file))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn other_than(current: &File, file: Option<File>) -> io::Result<Option<File>> {
    match file {
        Some(file) if !is_same(current, &file)? => Ok(Some(file)),
        _ => Ok(None),
    }
}

fn is_same(a: &File, b: &File) -> io::Result<bool> {
    let (a, b) = (a.metadata()?, b.metadata()?);
    Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(tail: &mut Tail) -> String {
        let mut text = Vec::new();
        while let Some(chunk) = tail.next_chunk().unwrap() {
            text.extend(chunk);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_last_lines_are_found_across_both_files() {
        let dir = tempfile::tempdir().unwrap();
        for (older, newest) in [
            (None, "1\n2\n3\n4\n"),
            (Some("1\n2\n"), "3\n4\n"),
            (Some("1\n2\n3"), "\n4\n"),
            (Some("1\n2\n3\n4\n"), ""),
            (Some("1\n"), "2\n3\n4"),
        ] {
            let _ = fs::remove_file(dir.path().join("stdout.1"));
            if let Some(older) = older {
                fs::write(dir.path().join("stdout.1"), older).unwrap();
            }
            fs::write(dir.path().join("stdout"), newest).unwrap();
            let all = format!("{}{newest}", older.unwrap_or_default());
            for lines in 0..6 {
                let mut tail = Tail::open(dir.path(), "stdout", Some(lines)).unwrap();
                let count = all.lines().count();
                let skip = count.saturating_sub(usize::try_from(lines).unwrap());
                let expected: Vec<&str> = all.lines().skip(skip).collect();
                let text = read(&mut tail);
                assert_eq!(
                    text.lines().collect::<Vec<_>>(),
                    expected,
                    "{lines} of {all:?}"
                );
            }
            assert_eq!(
                read(&mut Tail::open(dir.path(), "stdout", None).unwrap()),
                all
            );
        }
    }

    #[test]
    fn reading_goes_on_as_files_grow_appear_and_are_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (newest, older) = (dir.path().join("stdout"), dir.path().join("stdout.1"));
        let mut tail = Tail::open(dir.path(), "stdout", None).unwrap();
        assert_eq!(read(&mut tail), "");
        fs::write(&newest, "a").unwrap();
        assert_eq!(read(&mut tail), "a");
        fs::write(&newest, "ab").unwrap();
        fs::rename(&newest, &older).unwrap();
        fs::write(&newest, "c").unwrap();
        assert_eq!(read(&mut tail), "bc");
        assert_eq!(read(&mut tail), "");
        // Twice between two reads: one file would have been passed over.
        fs::rename(&newest, &older).unwrap();
        fs::write(&newest, "d").unwrap();
        fs::rename(&newest, &older).unwrap();
        fs::write(&newest, "e").unwrap();
        assert_eq!(read(&mut tail), "de");
    }

    #[test]
    fn nothing_is_lost_when_a_file_is_put_aside_between_its_end_and_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let (newest, older) = (dir.path().join("stdout"), dir.path().join("stdout.1"));
        fs::write(&newest, "a").unwrap();
        let mut tail = Tail::open(dir.path(), "stdout", None).unwrap();
        assert_eq!(read(&mut tail), "a");
        // As if its end had just been read.
        let found = |tail: &mut Tail| tail.find_newer().unwrap();
        fs::write(&newest, "ab").unwrap();
        fs::rename(&newest, &older).unwrap();
        fs::write(&newest, "c").unwrap();
        tail.newer = found(&mut tail);
        tail.current
            .as_mut()
            .unwrap()
            .seek(SeekFrom::Start(1))
            .unwrap();
        assert_eq!(read(&mut tail), "bc");
    }

    #[test]
    fn links_and_pipes_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("stdout")).unwrap();
        Tail::open(dir.path(), "stdout", None).unwrap_err();
        nix::unistd::mkfifo(&dir.path().join("stderr"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(
            read(&mut Tail::open(dir.path(), "stderr", None).unwrap()),
            ""
        );
    }
}
