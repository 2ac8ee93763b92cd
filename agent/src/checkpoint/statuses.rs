//! The file `statuses` of a run: read record by record, and of it only what counts is kept: what is not acknowledged, and
//! of the rest what the next life must know. It is written anew with that when it has grown.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proffer_agent_core::Entry;
use proffer_model::checkpoint::StatusEntry;
use proffer_model::{Problem, Reason, Status, TaskState};
use proffer_proto::checkpoint::v1;
use proffer_proto::decode_status_entry;
use prost::Message as _;

use super::frame::{End, Reader};
use super::read::{damaged, unreadable};
use super::write::{encode_entries, write_file};
use super::{FRESH, STATUSES};

/// What counts of a file.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    made: Vec<Made>,
    acknowledged: Option<u64>,
    /// The latest wish to end it: grace and reason.
    pub(super) kill: Option<(Duration, Reason)>,
    labels: Option<BTreeMap<String, String>>,
    grace: Option<Duration>,
}

#[derive(Debug)]
struct Made {
    status: Status,
    said: u64,
    boot_ns: u64,
}

impl Statuses {
    /// Reads what an earlier life has left, and removes a file that it did not finish. Errors: `file.failed`,
    /// `agent.checkpoint_damaged`.
    pub(super) fn recover(path: &Path) -> Result<Self, Problem> {
        match fs::remove_file(fresh_of(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unreadable(path, &error)),
            _ => Self::read(path),
        }
    }

    fn read(path: &Path) -> Result<Self, Problem> {
        let failed = |error: io::Error| unreadable(path, &error);
        let mut records = Reader::open(path).map_err(failed)?;
        let mut statuses = Self::default();
        while let Some(content) = records.next().map_err(failed)? {
            statuses.take_record(path, &content)?;
        }
        match records.end().map_err(failed)? {
            End::Torn { rest: 0, .. } => {}
            End::Torn { len, rest } => {
                tracing::info!(path = %path.display(), bytes = rest, "a torn end is cut off");
                cut(path, len).map_err(failed)?;
            }
            End::Damaged { offset } => {
                return Err(damaged(path, &format!("is damaged at byte {offset}")));
            }
        }
        Ok(statuses)
    }

    fn take_record(&mut self, path: &Path, mut content: &[u8]) -> Result<(), Problem> {
        while !content.is_empty() {
            let message = v1::StatusEntry::decode_length_delimited(&mut content)
                .map_err(|error| damaged(path, &error.to_string()))?;
            let entry = decode_status_entry(message)
                .map_err(|problem| damaged(path, &problem.to_string()))?;
            self.take(entry);
        }
        Ok(())
    }

    fn take(&mut self, entry: StatusEntry) {
        match entry {
            StatusEntry::Made {
                status,
                said,
                boot_ns,
            } => self.made.push(Made {
                status,
                said,
                boot_ns,
            }),
            StatusEntry::Acknowledged(number) => {
                self.acknowledged = Some(number);
                self.leave_out(number);
            }
            StatusEntry::Kill { grace, reason } => self.kill = Some((grace, reason)),
            StatusEntry::Changed { labels, grace } => {
                self.labels = labels.or(self.labels.take());
                self.grace = grace.or(self.grace);
            }
        }
    }

    /// Of what is acknowledged there stay, without their data: the first and the last status, the one that says since when
    /// it runs, and the one with the greatest number of an executor's.
    fn leave_out(&mut self, acknowledged: u64) {
        let last = self.made.len().saturating_sub(1);
        let mut later = self.made.iter().skip(1);
        let running = later.position(|made| made.status.state == TaskState::Running);
        let said = self.made.iter().enumerate();
        let said = said.max_by_key(|(_, made)| made.said);
        let said = said.map(|(place, _)| place);
        let mut place = 0;
        self.made.retain_mut(|made| {
            let is_acknowledged = made.status.number <= acknowledged;
            if is_acknowledged {
                made.status.data = Vec::new();
            }
            let is_needed = place == 0
                || place == last
                || running.is_some_and(|running| place == running + 1)
                || said == Some(place);
            place += 1;
            is_needed || !is_acknowledged
        });
    }

    /// What stands for all of the file, the first status first.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        let made = self.made.into_iter().map(|made| Entry::Made {
            status: made.status,
            said: made.said,
            boot_ns: made.boot_ns,
        });
        let (labels, grace) = (self.labels, self.grace);
        let is_changed = labels.is_some() || grace.is_some();
        made.chain(self.acknowledged.map(Entry::Acknowledged))
            .chain(
                self.kill
                    .map(|(grace, reason)| Entry::Kill { grace, reason }),
            )
            .chain(is_changed.then_some(Entry::Changed { labels, grace }))
    }
}

/// Replaces the file by one with what counts of it; answers how long that is. The caller makes its name durable. Errors: as
/// of reading; then the file is as before.
pub(super) fn write_anew(path: &Path) -> Result<u64, Problem> {
    let fresh = fresh_of(path);
    let written = write_fresh(path, &fresh).and_then(|len| {
        fs::rename(&fresh, path).map_err(|error| unreadable(path, &error))?;
        Ok(len)
    });
    if written.is_err() {
        // Should it stay, the next attempt writes over it.
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write_fresh(path: &Path, fresh: &Path) -> Result<u64, Problem> {
    let entries = Statuses::read(path)?.into_entries();
    // A record for each: together they might be longer than one may be.
    let bytes: Vec<u8> = entries
        .flat_map(|entry| encode_entries(std::iter::once(&entry)))
        .collect();
    write_file(fresh, &bytes).map_err(|error| unreadable(fresh, &error))?;
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

fn fresh_of(path: &Path) -> PathBuf {
    path.with_file_name(format!("{STATUSES}{FRESH}"))
}

fn cut(path: &Path, len: u64) -> io::Result<()> {
    let file = File::options().write(true).open(path)?;
    file.set_len(len)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
