//! The records of volumes: written whole, with fsync and rename, and read at start. Damage is an error that names the file:
//! with less than all records a volume might be made anew, and its files would seem lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use proffer_model::kept_volume::KeptVolume;
use proffer_model::link::AgentVolume;
use proffer_model::{Problem, code};
use proffer_proto::checkpoint::v1;
use proffer_proto::{
    decode_kept_volume, decode_volume_list, encode_kept_volume, encode_volume_list,
};
use prost::Message;

use super::place::set_mode;
use crate::checkpoint::frame;
use crate::removal::remove_all;

/// In the directory of a volume: its files.
pub(super) const DATA: &str = "data";
/// In the directory of a volume: its record.
const RECORD: &str = "volume";
/// Beside them: what the master named last.
const LIST: &str = "list";
/// Appended to the name of what is being made.
const FRESH: &str = ".new";

/// What the master named, if it ever did, and what there is.
pub(super) type Content = (Option<BTreeSet<AgentVolume>>, BTreeMap<String, KeptVolume>);

/// Reads all, and removes what was being made. Makes the directory if it is not there.
pub(super) fn read(dir: &Path) -> Result<Content, Problem> {
    let failed = |error: io::Error| unusable(dir, &error);
    match DirBuilder::new().mode(0o711).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => set_mode(dir, 0o711).map_err(failed)?,
    }
    let mut kept = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| *name != LIST) else {
            continue;
        };
        if name.ends_with(FRESH) {
            remove_all(&entry.path()).map_err(failed)?;
        } else if is_name(name) {
            let path = entry.path().join(RECORD);
            // Without a record it was being removed.
            if let Some(message) = read_message::<v1::Volume>(&path)? {
                let record = decode_kept_volume(message);
                let record = record.map_err(|problem| damaged(&path, &problem.to_string()))?;
                kept.insert(name.to_owned(), record);
            } else {
                remove_all(&entry.path()).map_err(failed)?;
            }
        }
    }
    let path = dir.join(LIST);
    let list = read_message::<v1::VolumeList>(&path)?.map(decode_volume_list);
    let list = list.transpose();
    let list = list.map_err(|problem| damaged(&path, &problem.to_string()))?;
    Ok((list.map(|list| list.into_iter().collect()), kept))
}

/// Writes what the master named.
pub(super) fn write_list(dir: &Path, volumes: &[AgentVolume]) -> io::Result<()> {
    let content = encode_volume_list(volumes).encode_to_vec();
    replace(dir, LIST, &content)
}

/// Makes the directory of a volume, with its record and a place for files.
pub(super) fn make_record(dir: &Path, name: &str, record: &KeptVolume) -> io::Result<()> {
    let fresh = dir.join(format!("{name}{FRESH}"));
    DirBuilder::new().mode(0o700).create(&fresh)?;
    DirBuilder::new().mode(0o700).create(fresh.join(DATA))?;
    write_record(&fresh, record)?;
    fs::rename(&fresh, dir.join(name))?;
    sync(dir)
}

/// Replaces the record in the directory of a volume.
pub(super) fn write_record(dir: &Path, record: &KeptVolume) -> io::Result<()> {
    replace(dir, RECORD, &encode_kept_volume(record).encode_to_vec())
}

/// Removes the directory of a volume, whose files are gone. The record goes first: what is left is no volume to anybody.
pub(super) fn remove_record(dir: &Path, name: &str) -> io::Result<()> {
    let of_volume = dir.join(name);
    match fs::remove_file(of_volume.join(RECORD)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    remove_all(&of_volume)
}

/// A name for a directory that nobody has had.
pub(super) fn fresh_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}

/// The work directory cannot be used for volumes.
pub(super) fn unusable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(code::FILE_FAILED, format!("{}: {error}", path.display()))
        .field("work_dir")
        .hint("check its owner and permissions")
}

fn is_name(name: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.len() == 16 && name.bytes().all(is_digit)
}

fn replace(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let fresh = dir.join(format!("{name}{FRESH}"));
    let mut options = File::options();
    let mut file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(&frame::encode(content))?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(name))?;
    sync(dir)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Nothing if there is no such file.
fn read_message<M: Message + Default>(path: &Path) -> Result<Option<M>, Problem> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| unusable(path, &error))?,
    };
    let content = frame::decode_one(&bytes).ok_or_else(|| damaged(path, "is not whole"))?;
    let message = M::decode(content).map_err(|error| damaged(path, &error.to_string()))?;
    Ok(Some(message))
}

fn damaged(path: &Path, what: &str) -> Problem {
    let message = format!("{} {what}", path.display());
    Problem::new(code::AGENT_CHECKPOINT_DAMAGED, message)
        .field("work_dir")
        .hint(
            "restore the file, or move its directory away: the volume is then made anew, and empty",
        )
}
