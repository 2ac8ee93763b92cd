//! The files of sandboxes, as Mesos's tools read them: `/files/browse`, `/files/read`, `/files/download`, LIST_FILES, READ_FILE.
//!
//! A path is that of a sandbox, as `/state` says it, or the virtual one of an executor's latest, or of what is beneath. What a task has printed is shown in its sandbox, where
//! Mesos has it, unless the task has made a file of that name. No link is followed, and nothing but files and directories is read:
//! whatever is there its task has made.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use axum::http::StatusCode;
use nix::unistd::{Gid, Group, Uid, User};
use proffer_proto::mesos::v1::{FileInfo, TimeInfo};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, statat};
use rustix::io::Errno;

use super::virtual_paths;
use crate::limits::{FILES_LISTED_MAX, FILES_READ_LEN_MAX};
use crate::supervisor::protocol::{SANDBOX, STDERR, STDOUT};
use crate::view::View;

/// The sandboxes of an agent.
#[derive(Debug)]
pub(super) struct Files {
    runs_dir: PathBuf,
    view: View,
}

/// Why something is not read, with the status that Mesos gives such an answer.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why: why.into(),
        }
    }

    fn missing() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            why: "There is no such file or directory".to_owned(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        // What goes through links, or leaves, is not there.
        match Errno::from_io_error(&error) {
            Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Self::missing(),
            // Nothing can have such a name.
            Some(Errno::INVAL | Errno::NAMETOOLONG) => Self::missing(),
            // A socket, or what nothing serves.
            Some(Errno::NXIO) => Self::bad("It is not a file"),
            _ => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                why: error.to_string(),
            },
        }
    }
}

/// Something in a sandbox.
struct Place {
    run_dir: PathBuf,
    /// Beneath the sandbox; empty is the sandbox itself.
    inner: PathBuf,
}

impl Place {
    fn of(runs_dir: &Path, path: &str) -> Result<Self, Fault> {
        let rest = Path::new(path).strip_prefix(runs_dir);
        let rest = rest.map_err(|_| Fault::missing())?;
        let mut parts = Vec::new();
        for part in rest.components() {
            match part {
                Component::Normal(part) => parts.push(part),
                _ => return Err(Fault::missing()),
            }
        }
        match parts.as_slice() {
            [run, sandbox, inner @ ..] if is_run(run) && *sandbox == SANDBOX => Ok(Self {
                run_dir: runs_dir.join(run),
                inner: inner.iter().collect(),
            }),
            _ => Err(Fault::missing()),
        }
    }

    fn open(&self) -> io::Result<File> {
        match self.open_own() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => match self.output() {
                Some(name) => open_beneath(&self.run_dir, Path::new(name)),
                None => Err(error),
            },
            opened => opened,
        }
    }

    fn open_own(&self) -> io::Result<File> {
        open_beneath(&self.run_dir, &Path::new(SANDBOX).join(&self.inner))
    }

    /// What the task prints, if that is meant.
    fn output(&self) -> Option<&'static str> {
        let outputs = [STDOUT, STDERR];
        outputs
            .into_iter()
            .find(|name| self.inner == Path::new(name))
    }
}

/// Sixteen hexadecimal digits.
fn is_run(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.len() == 16 && name.iter().all(u8::is_ascii_hexdigit)
}

/// Through no link; what is no file keeps nobody waiting.
fn open_beneath(dir: &Path, path: &Path) -> io::Result<File> {
    let dir = File::open(dir)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(&dir, path, flags, Mode::empty(), resolve);
    Ok(File::from(opened.map_err(io::Error::from)?))
}

impl Files {
    /// Of the runs beneath this directory, of which the view says whose they are.
    pub(super) fn new(runs_dir: PathBuf, view: View) -> Self {
        Self { runs_dir, view }
    }

    /// Which path is which, virtual ones and those that are as they are.
    pub(super) fn paths(&self) -> BTreeMap<String, String> {
        let rows = self.view.tasks();
        let latest = virtual_paths::latest(&rows);
        let shown = |run| virtual_paths::sandbox(&self.runs_dir, run);
        let latest = latest.into_iter().map(|(path, run)| (path, shown(run)));
        let all = rows.iter().map(|row| shown(row.output));
        all.map(|path| (path.clone(), path)).chain(latest).collect()
    }

    fn place(&self, path: &str) -> Result<Place, Fault> {
        let Some((above, beneath)) = virtual_paths::parts(path) else {
            return Place::of(&self.runs_dir, path);
        };
        let latest = virtual_paths::latest(&self.view.tasks());
        let run = latest.get(above).ok_or_else(Fault::missing)?;
        let sandbox = virtual_paths::sandbox(&self.runs_dir, *run);
        Place::of(&self.runs_dir, &format!("{sandbox}{beneath}"))
    }

    /// What is in a directory, in the order of names; of more than so many the first that the system names.
    pub(super) fn list(&self, path: &str) -> Result<Vec<FileInfo>, Fault> {
        let place = self.place(path)?;
        let dir = place.open()?;
        if !dir.metadata()?.is_dir() {
            return Err(Fault::bad(format!("{path} is not a directory")));
        }
        let above = path.trim_end_matches('/');
        let handle = OwnedFd::from(dir);
        let (mut found, mut names) = (Vec::new(), Names::default());
        for entry in rustix::fs::Dir::read_from(&handle).map_err(io::Error::from)? {
            let name = entry.map_err(io::Error::from)?.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if found.len() >= FILES_LISTED_MAX {
                break;
            }
            // One that is gone meanwhile is not there.
            if let Ok(stat) = statat(&handle, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                let path = format!("{above}/{}", name.to_string_lossy());
                found.push(Stat::of(&stat).info(path, &mut names));
            }
        }
        if place.inner.as_os_str().is_empty() {
            for name in [STDOUT, STDERR] {
                let path = format!("{above}/{name}");
                let output = open_beneath(&place.run_dir, Path::new(name));
                let metadata = output.and_then(|file| file.metadata());
                if let Ok(metadata) = metadata
                    && found.iter().all(|other| other.path != path)
                {
                    found.push(Stat::from(&metadata).info(path, &mut names));
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// How many bytes a file has, and those from `offset` on, as many as are given at once.
    pub(super) fn read(
        &self,
        path: &str,
        offset: u64,
        len: Option<u64>,
    ) -> Result<(u64, Vec<u8>), Fault> {
        let (file, size) = self.open(path)?;
        let left = size.saturating_sub(offset);
        let len = len.unwrap_or(left).min(left).min(FILES_READ_LEN_MAX);
        let mut data = vec![0; usize::try_from(len).unwrap_or_default()];
        let mut filled = 0;
        // It may have become shorter meanwhile.
        while let Some(rest) = data.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            match file.read_at(rest, at) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        data.truncate(filled);
        Ok((size, data))
    }

    /// A file, and how many bytes it has.
    pub(super) fn open(&self, path: &str) -> Result<(File, u64), Fault> {
        let file = self.place(path)?.open()?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Fault::bad(format!("{path} is not a file")));
        }
        Ok((file, metadata.len()))
    }
}

/// Of users and groups, for one listing: each is looked up once, however many files are theirs.
#[derive(Default)]
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

/// A name that is known, or what is found; a number that has none is its own.
fn name(
    known: &mut BTreeMap<u32, String>,
    id: u32,
    find: impl FnOnce() -> Option<String>,
) -> String {
    let known = known.entry(id);
    known
        .or_insert_with(|| find().unwrap_or_else(|| id.to_string()))
        .clone()
}

/// What is shown of a file.
struct Stat {
    links: Option<i32>,
    size: u64,
    modified: (i64, i64),
    mode: u32,
    owner: (u32, u32),
}

impl From<&Metadata> for Stat {
    fn from(metadata: &Metadata) -> Self {
        Self {
            links: i32::try_from(metadata.nlink()).ok(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
        }
    }
}

impl Stat {
    fn of(stat: &rustix::fs::Stat) -> Self {
        Self {
            links: i32::try_from(stat.st_nlink).ok(),
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (
                stat.st_mtime,
                i64::try_from(stat.st_mtime_nsec).unwrap_or_default(),
            ),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
        }
    }

    fn info(&self, path: String, names: &mut Names) -> FileInfo {
        let (seconds, nanoseconds) = self.modified;
        let (uid, gid) = self.owner;
        FileInfo {
            path,
            nlink: self.links,
            size: Some(self.size),
            mtime: Some(TimeInfo {
                nanoseconds: seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(nanoseconds),
            }),
            mode: Some(self.mode),
            uid: Some(name(&mut names.users, uid, || {
                let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
                user.map(|user| user.name)
            })),
            gid: Some(name(&mut names.groups, gid, || {
                let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
                group.map(|group| group.name)
            })),
        }
    }
}

/// Permissions as `ls -l` writes them.
pub(super) fn mode_text(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o120_000 => 'l',
        0o060_000 => 'b',
        0o020_000 => 'c',
        0o010_000 => 'p',
        0o140_000 => 's',
        _ => '-',
    };
    let bit = |bit: u32, letter: char| if mode & bit == 0 { '-' } else { letter };
    let mut text = String::from(kind);
    for shift in [6, 3, 0] {
        text.extend([
            bit(4 << shift, 'r'),
            bit(2 << shift, 'w'),
            bit(1 << shift, 'x'),
        ]);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    const RUN: &str = "00000000000000aa";

    #[test]
    fn a_sandbox_is_listed_and_read_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let runs = dir.path().join("runs");
        let sandbox = runs.join(RUN).join(SANDBOX);
        fs::create_dir_all(sandbox.join("d")).expect("made");
        fs::write(sandbox.join("d/f"), "0123456789").expect("written");
        fs::write(runs.join(RUN).join(STDOUT), "printed").expect("written");
        fs::write(runs.join(RUN).join("token"), "secret").expect("written");
        symlink("/etc/passwd", sandbox.join("l")).expect("linked");
        symlink("d", sandbox.join("m")).expect("linked");
        let files = Files::new(runs, View::default());
        let at = |path: &str| sandbox.join(path).to_str().expect("text").to_owned();
        let names = |path: &str| -> Vec<String> {
            let all = files.list(path).expect("listed");
            all.into_iter().map(|info| info.path).collect()
        };
        let root = at("").trim_end_matches('/').to_owned();
        assert_eq!(names(&root), [at("d"), at("l"), at("m"), at("stdout")]);
        assert_eq!(names(&at("d/")), [at("d/f")]);
        let read = |path: &str, offset, len| files.read(&at(path), offset, len).expect("read");
        assert_eq!(read("d/f", 2, Some(3)), (10, b"234".to_vec()));
        assert_eq!(read("d/f", 8, None), (10, b"89".to_vec()));
        assert_eq!(read("d/f", 99, None), (10, Vec::new()));
        assert_eq!(read("stdout", 0, None), (7, b"printed".to_vec()));
        for path in [
            at("l"),
            at("m/f"),
            at("../token"),
            at("../stdout"),
            at("no"),
            at("stderr"),
            "/etc/passwd".to_owned(),
            root.replace(RUN, ".."),
            root.replace(RUN, "x"),
            root.replace("/sandbox", ""),
            at(&"n".repeat(300)),
            at("d\0"),
            String::new(),
        ] {
            let refused = files.read(&path, 0, None).expect_err(&path);
            assert_eq!(refused.status, StatusCode::NOT_FOUND, "{path}");
        }
        let socket = UnixListener::bind(sandbox.join("d/s")).expect("a socket");
        for path in ["d", "d/s"] {
            let refused = files.read(&at(path), 0, None).expect_err(path);
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}");
            assert!(refused.why.contains("is not a file"), "{}", refused.why);
        }
        drop(socket);
        // The task's own comes first.
        fs::write(sandbox.join(STDOUT), "own").expect("written");
        assert_eq!(read("stdout", 0, None), (3, b"own".to_vec()));
        assert_eq!(names(&root).len(), 4);
    }

    #[test]
    fn a_name_is_looked_up_once_for_all_files_of_a_listing() {
        let mut known = BTreeMap::new();
        let mut looked = 0;
        for _ in 0..3 {
            for (id, says) in [(1, "one"), (2, "2")] {
                let found = name(&mut known, id, || {
                    looked += 1;
                    (id == 1).then(|| "one".to_owned())
                });
                assert_eq!(found, says);
            }
        }
        assert_eq!(looked, 2);
    }

    #[test]
    fn permissions_are_written_as_ls_does() {
        for (mode, text) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_000, "p---------"),
        ] {
            assert_eq!(mode_text(mode), text);
        }
    }
}
