//! What becomes of a file in a sandbox, in the child: a copy, or what is in it if it is an archive. Which kind of archive it is
//! its name says, as for Mesos; how it is compressed its first bytes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::unistd::{Gid, Uid};
use sha2::{Digest as _, Sha256};

use super::Failure;
use super::archive::{self, Room};
use super::child::Place;
use crate::image::stream::CHUNK_LEN;
use crate::image::tree::{Attributes, Name, Tree, set_owner};

/// What a name says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing: it is a file.
    Plain,
    Tar,
    Zip,
    /// One file, compressed by gzip.
    Gzip,
}

const TARS: [&str; 9] = [
    ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst",
];
/// What cannot be unpacked, so that nobody waits for what is in it.
const UNKNOWN: [&str; 5] = [".7z", ".rar", ".bz2", ".xz", ".zst"];

/// What the name says; an error when nobody here can unpack it.
pub(super) fn form_of(name: &str) -> Result<Form, String> {
    let name = name.to_ascii_lowercase();
    let is = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if is(&TARS) {
        return Ok(Form::Tar);
    }
    if is(&[".zip"]) {
        return Ok(Form::Zip);
    }
    if is(&[".gz"]) {
        return Ok(Form::Gzip);
    }
    match UNKNOWN.iter().find(|ending| name.ends_with(*ending)) {
        Some(ending) => Err(format!(
            "{ending} files cannot be unpacked here; those of tar (with gzip, bzip2, xz or zstd), zip and gzip can"
        )),
        None => Ok(Form::Plain),
    }
}

/// Puts the file into the sandbox; how many bytes it has.
pub(super) fn run(job: &Place, mut data: File, dir: OwnedFd) -> Result<u64, Failure> {
    let len = data.metadata().map_err(Failure::io)?.len();
    if let Some(wanted) = &job.sha256 {
        check(&mut data, wanted)?;
    }
    let owner = (Uid::effective().as_raw(), Gid::effective().as_raw());
    let mut tree = Tree::owned_by(dir, owner);
    fill(job, data, &mut tree, &mut Room::of(len), owner)?;
    Ok(len)
}

/// The same beneath a tree, of a file that is the right one.
pub(super) fn fill(
    job: &Place,
    mut data: File,
    tree: &mut Tree,
    room: &mut Room,
    owner: (u32, u32),
) -> Result<(), Failure> {
    let form = match job.is_extracted {
        true => form_of(&job.name).map_err(|why| Failure::of(&why))?,
        false => Form::Plain,
    };
    let placed = match form {
        Form::Plain => copy(job, &mut data, tree, owner),
        Form::Tar => archive::tar(data, tree, room, owner),
        Form::Zip => archive::zip(data, tree, room, owner),
        Form::Gzip => archive::gzip(data, &job.name, tree, room, owner),
    };
    placed.map_err(|why| Failure::of(&why))
}

fn check(data: &mut File, wanted: &str) -> Result<(), Failure> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_LEN];
    loop {
        let len = match data.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::io(error)),
        };
        hash.update(chunk.get(..len).unwrap_or_default());
    }
    data.rewind().map_err(Failure::io)?;
    let found: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == wanted {
        return Ok(());
    }
    Err(Failure::of(&format!("its SHA-256 is {found}")))
}

fn copy(
    job: &Place,
    data: &mut File,
    tree: &mut Tree,
    (uid, gid): (u32, u32),
) -> Result<(), String> {
    let name = Name::parse(job.name.as_bytes()).map_err(|fault| archive::words(&fault))?;
    let mut file = tree
        .make_file(&name)
        .map_err(|fault| archive::words(&fault))?;
    io::copy(data, &mut file).map_err(|error| error.to_string())?;
    let attributes = Attributes {
        uid,
        gid,
        mode: if job.is_executable { 0o755 } else { 0o644 },
        modified: now(),
    };
    set_owner(file.as_fd(), attributes).map_err(|fault| archive::words(&fault))
}

/// Seconds since 1970.
pub(super) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0))
}
