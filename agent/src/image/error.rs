//! Why an image cannot be had: what is wrong with its archive, with this host's store, or with the user it names.
//!
//! The texts are for people. Names from inside an archive are escaped and cut short; contents are never shown.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Characters of a foreign name that are shown.
const SHOWN_LEN_MAX: usize = 200;

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    /// The file, or what is in it: for whoever named it.
    #[error("{path}: {fault}")]
    Archive {
        /// The file as it was named, escaped.
        path: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// It is named, and no archives are kept.
    #[error(
        "image {name}: this agent keeps no archives of images: give the path of one, or set image_archives of the agent to \
         the directory that has {file}"
    )]
    NoArchives {
        /// As the task names it.
        name: String,
        /// What its archive would be called.
        file: String,
    },
    /// It is named, and its archive is not among those that are kept.
    #[error(
        "image {name}: there is no {file} in {dir}, where this agent has its archives of images: put it there, as \
         `docker save -o {dir}/{file} {name}` writes it"
    )]
    NoArchive {
        /// As the task names it.
        name: String,
        /// What its archive is called.
        file: String,
        /// Where it would be.
        dir: String,
    },
    /// This host's store of images: for whoever runs the agent.
    #[error("the images in {path} cannot be used: {source}")]
    Store {
        /// The store, or the part of it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// What an image is to run as is not in it.
    #[error("user `{user}` of the image: {fault}")]
    User {
        /// As the image or the task names it, escaped.
        user: String,
        /// What is wrong with it.
        fault: UserFault,
    },
}

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The system does not give it.
    #[error("the image cannot be read: {0}")]
    Unreadable(io::Error),
    /// A directory, a device, …
    #[error("this is not a file")]
    NotAFile,
    /// Its name is a link to elsewhere.
    #[error("a link leads out of the directory of archives")]
    LeadsOut,
    /// It is others' own.
    #[error("user {0} may not read this image")]
    NotPermitted(u32),
    /// It ends too early.
    #[error("the image archive is truncated")]
    Truncated,
    /// It has other content.
    #[error("this is not an image archive (docker save, OCI layout): {0}")]
    NotAnImage(String),
    /// It has an image for other hosts.
    #[error("the image is made for {image}, and this host is {host}")]
    WrongPlatform {
        /// What it is for; several are separated by commas.
        image: String,
        /// What this host is.
        host: String,
    },
    /// Which one is not known.
    #[error("the archive holds {0} images for this host; save one alone")]
    SeveralImages(usize),
    /// What it names is not in it.
    #[error("{what} `{name}` is not in the archive")]
    Missing {
        /// A part of an image.
        what: &'static str,
        /// Its name, escaped.
        name: String,
    },
    /// Its content is not what it says.
    #[error("{what} has another digest than the image says (`{expected}`): the archive is damaged")]
    WrongDigest {
        /// A part of an image.
        what: String,
        /// What it should be.
        expected: String,
    },
    /// A limit is reached.
    #[error("{what}; the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit and its unit.
        limit: String,
    },
    /// A layer's content cannot be read.
    #[error("layer {layer}: {why}")]
    Layer {
        /// Its place, from 1, at the bottom.
        layer: usize,
        /// What is wrong.
        why: String,
    },
    /// A layer has something that is refused.
    #[error("layer {layer}: entry `{entry}` {why}")]
    Entry {
        /// The layer's place, from 1, at the bottom.
        layer: usize,
        /// Its name, escaped.
        entry: String,
        /// What is wrong with it, as the end of a sentence.
        why: &'static str,
    },
}

/// What is wrong with a user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UserFault {
    /// No such name.
    #[error("no user of this name is in its /etc/passwd")]
    NoUser,
    /// No such group.
    #[error("no group of this name is in its /etc/group")]
    NoGroup,
    /// Neither names nor numbers.
    #[error("this is not a user, or user:group")]
    Malformed,
    /// A file in the image cannot be used.
    #[error("{file} of the image cannot be used: {why}")]
    File {
        /// The file, in the image.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

/// Why an image is not loaded, before it is said of which file.
#[derive(Debug)]
pub(super) enum LoadError {
    /// The archive's fault.
    Fault(Fault),
    /// The store's.
    Store(io::Error),
}

impl LoadError {
    /// Says of which file.
    pub(super) fn of(self, archive: &Path, store: &Path) -> ImageError {
        match self {
            Self::Fault(fault) => ImageError::Archive {
                path: shown(archive.as_os_str().as_bytes()),
                fault,
            },
            Self::Store(source) => ImageError::Store {
                path: store.display().to_string(),
                source,
            },
        }
    }
}

impl From<Fault> for LoadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A name from elsewhere, for people: escaped, and cut when it is long.
pub(super) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let escaped = text.chars().flat_map(|c| {
        let is_bad = c.is_control() || c == '\\';
        let escaped = is_bad.then(|| c.escape_default());
        let plain = (!is_bad).then_some(c);
        plain.into_iter().chain(escaped.into_iter().flatten())
    });
    let mut shown: String = escaped.take(SHOWN_LEN_MAX).collect();
    if shown.chars().count() == SHOWN_LEN_MAX {
        shown.push('…');
    }
    shown
}
