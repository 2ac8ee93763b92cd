//! Doors to what this crate parses and keeps to itself, for the fuzz targets in `tests/fuzz` alone.

use std::io;
use std::path::Path;

use bytes::Bytes;
use proffer_model::CheckAnswer;

use crate::checkpoint::frame::{self, Records};
use crate::logs;
use crate::mesos;
use crate::probe;
use crate::procfs::{self, ProcessId};
use crate::supervisor::protocol;

pub use crate::fetch::parsers::{follow_redirect, place_fetched, read_uri};
pub use crate::image::parsers::{
    ArchivedImage, decompressed_len, find_image, image_path, load_image, resolve_user, unpack_layer,
};

/// The contents of a checkpoint file and the bytes that they take; else where it is damaged.
pub fn read_records(bytes: &[u8]) -> Result<(Vec<&[u8]>, usize), usize> {
    match frame::decode(bytes) {
        Records::Good { contents, len } => Ok((contents, len)),
        Records::Damaged { offset } => Err(offset),
    }
}

/// One record of a checkpoint file.
pub fn write_record(content: &[u8]) -> Vec<u8> {
    frame::encode(content)
}

/// The content of a checkpoint file that is one record.
pub fn read_only_record(bytes: &[u8]) -> Option<&[u8]> {
    frame::decode_one(bytes)
}

/// The process of this name in the file `pid` of a run: its id and when it began.
pub fn read_pid(text: &str, name: &str) -> Option<(u32, u64)> {
    protocol::parse_pid(text, name).map(|process| (process.pid, process.start))
}

/// A line of the file `pid` of a run.
pub fn write_pid(name: &str, pid: u32, start: u64) -> String {
    protocol::pid_line(name, ProcessId { pid, start })
}

/// A field of `/proc/<pid>/stat`, numbered as in proc(5).
pub fn process_field(stat: &str, number: usize) -> Option<&str> {
    procfs::field(stat, number)
}

/// What a check over HTTP makes of an answer, and whether it passes.
pub fn read_check_answer(bytes: &[u8]) -> io::Result<(Option<CheckAnswer>, bool)> {
    probe::answer_of(bytes)
}

/// What is kept, written anew, of the lines of a Mesos executor's ledger.
pub fn rewrite_ledger(text: &str) -> String {
    mesos::kept_of(text)
}

/// What is shown of the output of a check by command.
pub fn last_line(output: &[u8]) -> String {
    probe::last_line(output)
}

/// What there is of the output `stdout` of a run, or its last lines.
pub fn read_output(run_dir: &Path, lines: Option<u32>) -> io::Result<Vec<Bytes>> {
    logs::read_output(run_dir, lines)
}
