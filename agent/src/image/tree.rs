//! Writing beneath a directory handle that nothing leaves, whatever the names say.
//!
//! The directory that a name is in is opened with `openat2`, beneath the handle and through no link at all; the name
//! itself is one component, made with calls that follow no link and overwrite nothing. So it does not matter in which
//! order directories, links and files come, nor how often.

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use crate::limits::{IMAGE_PATH_DEPTH_MAX, IMAGE_PATH_LEN_MAX};

const NAME_LEN_MAX: usize = 255;
/// What overlayfs understands as "nothing of the layers below".
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);
const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Why something was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TreeFault {
    /// The image's fault: the end of a sentence that begins with the entry's name.
    Refused(&'static str),
    /// What the system said.
    System(Errno),
}

/// Owner, permissions and time of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The twelve bits of chmod(2).
    pub(crate) mode: u32,
    /// Seconds since 1970.
    pub(crate) modified: i64,
}

/// A path beneath the root: its components, none of which is special. Empty is the root itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(Vec<Vec<u8>>);

/// A directory to write beneath.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    /// Whose directories are that nothing else is said of.
    owner: (u32, u32),
    /// The directory that the last name was in: the next one is mostly in it too.
    last: Option<(Vec<Vec<u8>>, OwnedFd)>,
    made: u64,
}

impl Name {
    /// Reads a path of an archive; absolute means from the image's root.
    pub(crate) fn parse(path: &[u8]) -> Result<Self, TreeFault> {
        use TreeFault::Refused;
        if path.len() > IMAGE_PATH_LEN_MAX {
            return Err(Refused("has a path that is too long"));
        }
        if path.contains(&0) {
            return Err(Refused("has a zero byte in its path"));
        }
        let parts = path.split(|byte| *byte == b'/');
        let parts = parts.filter(|part| !part.is_empty() && *part != b".");
        let parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
        if parts.iter().any(|part| part == b"..") {
            return Err(Refused("leaves the image"));
        }
        if parts.iter().any(|part| part.len() > NAME_LEN_MAX) {
            return Err(Refused("has a name that is too long"));
        }
        if parts.len() > IMAGE_PATH_DEPTH_MAX {
            return Err(Refused("goes through too many directories"));
        }
        Ok(Self(parts))
    }

    /// Its components.
    pub(crate) fn parts(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// The directory's components and the name in it; none for the root.
    pub(crate) fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        let (name, parent) = self.0.split_last()?;
        Some((parent, name))
    }
}

impl Tree {
    /// Of root's.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self::owned_by(root, (0, 0))
    }

    /// Of a user's and a group's.
    pub(crate) fn owned_by(root: OwnedFd, owner: (u32, u32)) -> Self {
        Self {
            root,
            owner,
            last: None,
            made: 0,
        }
    }

    /// How many files, directories and links were made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    /// A directory: one that is there stays, with what is in it.
    pub(crate) fn make_dir(&mut self, name: &Name) -> Result<OwnedFd, TreeFault> {
        let Some((parent, last)) = name.split() else {
            return open_dir(self.root.as_fd(), b".");
        };
        let parent = self.parent(parent)?;
        let (dir, is_new) = ensure_dir(parent.as_fd(), last, self.owner)?;
        self.count(is_new);
        Ok(dir)
    }

    /// A new, empty file in place of what is there.
    pub(crate) fn make_file(&mut self, name: &Name) -> Result<File, TreeFault> {
        let (parent, last) = self.place(name)?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NOCTTY;
        let file = rustix::fs::openat(parent.as_fd(), last, flags, Mode::RUSR | Mode::WUSR)?;
        self.count(true);
        Ok(File::from(file))
    }

    /// A symbolic link in place of what is there. Where it leads is for the container to find out, in its own root.
    pub(crate) fn make_symlink(
        &mut self,
        name: &Name,
        target: &[u8],
        attributes: Attributes,
    ) -> Result<(), TreeFault> {
        if target.is_empty() || target.contains(&0) || target.len() > IMAGE_PATH_LEN_MAX {
            return Err(TreeFault::Refused("has a target that no link can have"));
        }
        let (parent, last) = self.place(name)?;
        let (uid, gid) = owner(attributes);
        rustix::fs::symlinkat(target, parent.as_fd(), last)?;
        rustix::fs::chownat(parent.as_fd(), last, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        let times = times(attributes.modified);
        rustix::fs::utimensat(parent.as_fd(), last, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        self.count(true);
        Ok(())
    }

    /// Another name, in place of what is there, for a file or symbolic link of the same layer.
    pub(crate) fn make_hard_link(&mut self, name: &Name, target: &Name) -> Result<(), TreeFault> {
        const NOT_THERE: TreeFault =
            TreeFault::Refused("is a hard link to what is not a file of this layer");
        if name == target {
            return Err(TreeFault::Refused("is a hard link to itself"));
        }
        let (target_parent, target_last) = target.split().ok_or(NOT_THERE)?;
        let target_dir = open_beneath(self.root.as_fd(), target_parent).map_err(|_| NOT_THERE)?;
        match kind(target_dir.as_fd(), target_last)? {
            Some(FileType::RegularFile | FileType::Symlink) => {}
            _ => return Err(NOT_THERE),
        }
        let (parent, last) = self.place(name)?;
        rustix::fs::linkat(
            target_dir.as_fd(),
            target_last,
            parent.as_fd(),
            last,
            AtFlags::empty(),
        )?;
        self.count(true);
        Ok(())
    }

    /// Whether there is a file of this name, through no link.
    pub(crate) fn is_file(&self, name: &Name) -> bool {
        let Some((parent, last)) = name.split() else {
            return false;
        };
        let dir = open_beneath(self.root.as_fd(), parent);
        dir.is_ok_and(|dir| matches!(kind(dir.as_fd(), last), Ok(Some(FileType::RegularFile))))
    }

    /// Hides what the layers below have under this name, but not what this layer has.
    pub(crate) fn make_whiteout(&mut self, parent: &Name, name: &[u8]) -> Result<(), TreeFault> {
        let dir = self.parent(parent.parts())?;
        let made = rustix::fs::mknodat(
            dir.as_fd(),
            name,
            FileType::CharacterDevice,
            Mode::empty(),
            Dev::MIN,
        );
        match made {
            Err(Errno::EXIST) => {
                if kind(dir.as_fd(), name)? == Some(FileType::Directory) {
                    set_opaque(open_dir(dir.as_fd(), name)?.as_fd())?;
                }
                return Ok(());
            }
            result => result?,
        }
        self.count(true);
        Ok(())
    }

    /// Hides all that the layers below have in this directory.
    pub(crate) fn make_opaque(&mut self, name: &Name) -> Result<(), TreeFault> {
        if name.parts().is_empty() {
            return Err(TreeFault::Refused("hides all layers below its own"));
        }
        set_opaque(self.make_dir(name)?.as_fd())
    }

    /// Sets the time of a directory, if it is still one, after all else is made.
    pub(crate) fn touch_dir(&self, name: &Name, modified: i64) -> Result<(), TreeFault> {
        match open_beneath(self.root.as_fd(), name.parts()) {
            Ok(dir) => {
                let dir = open_dir(dir.as_fd(), b".")?;
                Ok(rustix::fs::futimens(dir, &times(modified))?)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn count(&mut self, is_new: bool) {
        self.made = self.made.saturating_add(u64::from(is_new));
    }

    /// Where something can be made: its directory, and its name there, which nothing has any more.
    fn place<'n>(&mut self, name: &'n Name) -> Result<(OwnedFd, &'n [u8]), TreeFault> {
        let (parent, last) = name
            .split()
            .ok_or(TreeFault::Refused("is not a directory"))?;
        let parent = self.parent(parent)?;
        if self.clear(parent.as_fd(), last)? == Some(FileType::Directory) {
            self.last = None;
        }
        Ok((parent, last))
    }

    /// Takes away what has this name: a file, a link, an empty directory.
    fn clear(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileType>, TreeFault> {
        let found = kind(parent, name)?;
        let flags = match found {
            None => return Ok(None),
            Some(FileType::Directory) => AtFlags::REMOVEDIR,
            Some(_) => AtFlags::empty(),
        };
        match rustix::fs::unlinkat(parent, name, flags) {
            Err(Errno::NOTEMPTY) => Err(TreeFault::Refused("takes the place of a directory")),
            result => Ok(result.map(|()| found)?),
        }
    }

    /// The directory with this path; what is missing of it is made, with the usual owner and permissions.
    fn parent(&mut self, parts: &[Vec<u8>]) -> Result<OwnedFd, TreeFault> {
        if let Some((last, dir)) = &self.last
            && last == parts
        {
            return Ok(rustix::io::fcntl_dupfd_cloexec(dir, 0)?);
        }
        let dir = match open_beneath(self.root.as_fd(), parts) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_parents(parts)?,
            Err(errno) => return Err(errno.into()),
        };
        let kept = rustix::io::fcntl_dupfd_cloexec(&dir, 0)?;
        self.last = Some((parts.to_vec(), kept));
        Ok(dir)
    }

    fn make_parents(&mut self, parts: &[Vec<u8>]) -> Result<OwnedFd, TreeFault> {
        let mut dir = open_dir(self.root.as_fd(), b".")?;
        for part in parts {
            match kind(dir.as_fd(), part)? {
                // A whiteout, in the place of which a directory comes.
                None | Some(FileType::Directory | FileType::CharacterDevice) => {}
                Some(_) => {
                    return Err(TreeFault::Refused("goes through what is not a directory"));
                }
            }
            let (next, is_new) = ensure_dir(dir.as_fd(), part, self.owner)?;
            self.count(is_new);
            dir = next;
        }
        Ok(dir)
    }
}

/// Gives an open file or directory its attributes but the time, which later writes would change.
pub(crate) fn set_owner(file: BorrowedFd<'_>, attributes: Attributes) -> Result<(), TreeFault> {
    let (uid, gid) = owner(attributes);
    rustix::fs::fchown(file, uid, gid)?;
    // After the owner, whose change takes bits away.
    Ok(rustix::fs::fchmod(
        file,
        Mode::from_bits_truncate(attributes.mode),
    )?)
}

/// Gives an open file its time.
pub(crate) fn set_time(file: BorrowedFd<'_>, modified: i64) -> Result<(), TreeFault> {
    Ok(rustix::fs::futimens(file, &times(modified))?)
}

/// Gives an open file or directory an extended attribute; a file system without any goes without.
pub(crate) fn set_attribute(
    file: BorrowedFd<'_>,
    name: &[u8],
    value: &[u8],
) -> Result<(), TreeFault> {
    match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::TOOBIG | Errno::RANGE | Errno::INVAL) => {
            Err(TreeFault::Refused("has an attribute that no file can have"))
        }
        result => Ok(result?),
    }
}

fn owner(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    let (uid, gid) = (attributes.uid, attributes.gid);
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

fn times(modified: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: modified,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// What is there under this name, itself and not what it leads to.
fn kind(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileType>, TreeFault> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The directory of this name. In place of a whiteout it hides what is below, and it takes the place of anything else.
fn ensure_dir(
    parent: BorrowedFd<'_>,
    name: &[u8],
    (uid, gid): (u32, u32),
) -> Result<(OwnedFd, bool), TreeFault> {
    let found = kind(parent, name)?;
    if found == Some(FileType::Directory) {
        return Ok((open_dir(parent, name)?, false));
    }
    if found.is_some() {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    }
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    let dir = open_dir(parent, name)?;
    let usual = Attributes {
        uid,
        gid,
        mode: 0o755,
        modified: 0,
    };
    set_owner(dir.as_fd(), usual)?;
    if found == Some(FileType::CharacterDevice) {
        set_opaque(dir.as_fd())?;
    }
    Ok((dir, true))
}

fn open_dir(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, TreeFault> {
    Ok(rustix::fs::openat2(
        parent,
        name,
        OPEN_DIR,
        Mode::empty(),
        BENEATH,
    )?)
}

/// Opens an existing directory, through directories only.
fn open_beneath(root: BorrowedFd<'_>, parts: &[Vec<u8>]) -> Result<OwnedFd, Errno> {
    let path = match parts {
        [] => b".".to_vec(),
        parts => parts.join(&b'/'),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), BENEATH)
}

fn set_opaque(dir: BorrowedFd<'_>) -> Result<(), TreeFault> {
    Ok(rustix::fs::fsetxattr(
        dir,
        OPAQUE,
        b"y",
        XattrFlags::empty(),
    )?)
}

impl From<Errno> for TreeFault {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}
