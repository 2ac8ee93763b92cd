//! Places on the file system that tasks can write to, or could: no link is followed there, and no path leads out.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};
use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, StatVfsMountFlags, StatxAttributes, StatxFlags, mkdirat,
    openat2, readlinkat, statvfs, statx, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::files::DATA;

/// Makes a link to a volume at a path in a task's sandbox; directories above it are this user's. That it is there already
/// is as good; that anything else is there is an error.
pub(crate) fn link(
    sandbox: &Path,
    path: &str,
    source: &Path,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
    let above = make_beneath(sandbox, above, owner)?;
    match symlinkat(source, &above, name) {
        Err(Errno::EXIST) => match readlinkat(&above, name, Vec::new()) {
            Ok(there) if there.as_bytes() == source.as_os_str().as_encoded_bytes() => Ok(()),
            Ok(_) | Err(_) => Err(io::Error::other("something else is there")),
        },
        made => Ok(made?),
    }
}

/// Removes the link at a path in a sandbox, if it leads to one of these; what else is there, or nothing, is left.
pub(crate) fn unlink(sandbox: &Path, path: &str, sources: &[PathBuf]) -> io::Result<()> {
    let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let sandbox = match File::open(sandbox) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let above = match openat2(&sandbox, above, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        above => above?,
    };
    let Ok(there) = readlinkat(&above, name, Vec::new()) else {
        return Ok(());
    };
    let is_there = |source: &PathBuf| there.as_bytes() == source.as_os_str().as_encoded_bytes();
    if sources.iter().any(is_there) {
        unlinkat(&above, name, AtFlags::empty())?;
    }
    Ok(())
}

/// Makes a directory, and those above it, beneath another. Links on the way are an error.
pub(crate) fn make_beneath(
    root: &Path,
    path: &str,
    owner: Option<(u32, u32)>,
) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let mut dir = OwnedFd::from(File::open(root)?);
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        let is_new = match mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => false,
            made => {
                made?;
                true
            }
        };
        let inner = openat2(&dir, part, flags, Mode::empty(), resolve);
        dir = inner.map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => io::Error::other(format!("{part} is not a directory")),
            error => error.into(),
        })?;
        if is_new && let Some((uid, gid)) = owner {
            nix::unistd::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    Ok(dir)
}

/// Gives a directory to a user; what is in it stays whose it was.
pub(super) fn own(dir: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let dir = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir)?;
    let metadata = dir.metadata()?;
    if (metadata.uid(), metadata.gid()) != (uid, gid) {
        nix::unistd::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(())
}

/// Of a directory that only the agent can replace.
pub(super) fn set_mode(dir: &Path, mode: u32) -> io::Result<()> {
    let metadata = fs::symlink_metadata(dir)?;
    if !metadata.is_dir() {
        return Err(io::Error::other(format!(
            "{} is not a directory",
            dir.display()
        )));
    }
    if metadata.mode() & 0o7777 != mode {
        fs::set_permissions(dir, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes the directories of a volume on a PATH disk.
pub(super) fn make_directories(root: &str, name: &str) -> io::Result<()> {
    let dir = Path::new(root).join(name);
    DirBuilder::new().mode(0o700).create(&dir)?;
    DirBuilder::new().mode(0o700).create(dir.join(DATA))
}

/// Whether something is mounted there: what is written where the disk is lacking would be lost to the volume. The error is
/// for people.
pub(super) fn check_mount(root: &str) -> Result<(), String> {
    let found = statx(
        rustix::fs::CWD,
        root,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::empty(),
    );
    let found = found.map_err(|error| format!("{root}: {error}"))?;
    match found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        true => Ok(()),
        false => Err(format!("nothing is mounted at {root}")),
    }
}

/// Whether programs of a file system cannot change who runs them, for one that containers write to.
pub(super) fn check_nosuid(root: &str) -> io::Result<()> {
    match statvfs(root)?.f_flag.contains(StatVfsMountFlags::NOSUID) {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{root} is not mounted with nosuid, and a container may be root"
        ))),
    }
}
