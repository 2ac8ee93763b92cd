//! What is kept of a Mesos executor in its run directory: lines that are appended, and written anew when there are many.
//!
//! They need not be synced: they are for the next agent on a host that runs on. When the host ends, so does the executor.
//! The last line may be torn; it was then never acted on.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use proffer_model::{Incarnation, TaskId};

use super::translator::{Record, Translator, Uuid};
use crate::limits::MESOS_LEDGER_LEN_MAX;

/// The file, in the run directory; only the agent's user can read it.
const LEDGER: &str = "mesos";

/// The file.
#[derive(Debug)]
pub(crate) struct Ledger {
    path: PathBuf,
    /// Open to be appended to; nothing while its end may be torn: then it is written anew.
    file: Option<File>,
    len: u64,
    len_max: u64,
}

impl Ledger {
    /// Opens it, and gives what is in it to the translator.
    pub(crate) fn open(dir: &Path, translator: &mut Translator) -> io::Result<Self> {
        let path = dir.join(LEDGER);
        for record in &read(&path)? {
            translator.replay(record);
        }
        // Nothing is written yet: an executor may come back while the disk is full.
        Ok(Self {
            path,
            file: None,
            len: 0,
            len_max: MESOS_LEDGER_LEN_MAX,
        })
    }

    /// Keeps this; `all` has it already. When it fails, nothing of it counts.
    pub(crate) fn append(&mut self, records: &[Record], all: &Translator) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        // Put back only when all of it is written: what follows a torn line would be lost with it.
        let Some(mut file) = self.file.take().filter(|_| self.len <= self.len_max) else {
            return self.write_anew(all);
        };
        let lines: String = records.iter().map(render).collect();
        file.write_all(lines.as_bytes())?;
        self.len += u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.file = Some(file);
        Ok(())
    }

    fn write_anew(&mut self, all: &Translator) -> io::Result<()> {
        let file = write(&self.path, &all.records())?;
        self.len = file.metadata()?.len();
        // What is live may be that much; then twice.
        self.len_max = MESOS_LEDGER_LEN_MAX.max(self.len.saturating_mul(2));
        self.file = Some(file);
        Ok(())
    }
}

/// The launches that an executor was told of, or was to be: they are kept before they leave. Of one that has ended and is not
/// said again it may be silent, but of a file that was ever written it names one.
pub(crate) fn told_of(dir: &Path) -> io::Result<BTreeSet<(TaskId, Incarnation)>> {
    let launches = read(&dir.join(LEDGER))?.into_iter();
    let launches = launches.filter_map(|record| match record {
        Record::Launched { task, incarnation } => Some((task, incarnation)),
        Record::Said { .. } => None,
    });
    Ok(launches.collect())
}

/// What was kept, without a torn end.
fn read(path: &Path) -> io::Result<Vec<Record>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    // It may be torn within a character.
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.split_inclusive('\n').filter_map(parse).collect())
}

/// By a rename, so that the next agent finds all of it or what was there before.
fn write(path: &Path, records: &[Record]) -> io::Result<File> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    // What an earlier agent has left half written is not appended to.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.create(true).append(true).mode(0o600).open(&fresh)?;
    let lines: String = records.iter().map(render).collect();
    file.write_all(lines.as_bytes())?;
    fs::rename(&fresh, path)?;
    Ok(file)
}

/// A line.
fn render(record: &Record) -> String {
    match record {
        Record::Launched { task, incarnation } => format!("launched {incarnation} {task}\n"),
        Record::Said {
            task,
            incarnation,
            number,
            uuid,
            is_end,
        } => {
            let word = if *is_end { "ended" } else { "said" };
            let uuid = u128::from_be_bytes(*uuid);
            format!("{word} {incarnation} {number} {uuid:032x} {task}\n")
        }
    }
}

/// A whole line; nothing of one that is not.
fn parse(line: &str) -> Option<Record> {
    let (word, rest) = line.strip_suffix('\n')?.split_once(' ')?;
    let (incarnation, rest) = rest.split_once(' ')?;
    let incarnation = Incarnation(incarnation.parse().ok()?);
    if word == "launched" {
        let task = TaskId::new(rest).ok()?;
        return Some(Record::Launched { task, incarnation });
    }
    let (number, rest) = rest.split_once(' ')?;
    let (uuid, task) = rest.split_once(' ')?;
    let uuid: Uuid = u128::from_str_radix(uuid, 16).ok()?.to_be_bytes();
    Some(Record::Said {
        task: TaskId::new(task).ok()?,
        incarnation,
        number: number.parse().ok()?,
        uuid,
        is_end: word == "ended",
    })
}

/// What is kept of these lines; for `parsers.rs`.
pub(crate) fn kept_of(text: &str) -> String {
    let mut translator = Translator::default();
    for record in text.split_inclusive('\n').filter_map(parse) {
        translator.replay(&record);
    }
    translator.records().iter().map(render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(task: &str, number: u64, is_end: bool) -> Record {
        Record::Said {
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(7),
            number,
            uuid: [u8::try_from(number).unwrap(); 16],
            is_end,
        }
    }

    fn launched(task: &str) -> Record {
        Record::Launched {
            task: TaskId::new(task).unwrap(),
            incarnation: Incarnation(7),
        }
    }

    #[test]
    fn every_line_is_read_as_it_was_written() {
        for record in [launched("a.b"), said("web.1", 3, false), said("x", 1, true)] {
            assert_eq!(parse(&render(&record)), Some(record));
        }
        for torn in ["launched 7 web", "said 7", "said 7 1 zz x\n", "\n", ""] {
            assert_eq!(parse(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn the_next_agent_finds_what_was_kept_and_a_torn_end_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        assert!(told_of(dir.path()).unwrap().is_empty());
        let mut translator = Translator::default();
        let mut ledger = Ledger::open(dir.path(), &mut translator).unwrap();
        let records = [launched("a"), said("a", 1, false), launched("b")];
        for record in &records {
            translator.replay(record);
            let record = std::slice::from_ref(record);
            ledger.append(record, &translator).unwrap();
        }
        let mut file = ledger.file.take().unwrap();
        file.write_all(b"said 7 2 0").unwrap();
        // Within a character.
        file.write_all(&[0xc3]).unwrap();
        let mut next = Translator::default();
        Ledger::open(dir.path(), &mut next).unwrap();
        assert_eq!(next.records(), records);
        let names: Vec<String> = told_of(dir.path())
            .unwrap()
            .into_iter()
            .map(|(task, launch)| format!("{task}-{launch}"))
            .collect();
        assert_eq!(names, ["a-7", "b-7"]);
        let mut last = Translator::default();
        let mut ledger = Ledger::open(dir.path(), &mut last).unwrap();
        assert_eq!(last.records(), records);
        // What is written after a torn end is not lost with it, and a long one is written anew.
        ledger.append(&records[..1], &last).unwrap();
        assert_eq!(last.records(), records);
        ledger.len_max = 10;
        last.replay(&said("a", 2, true));
        ledger.append(&[said("a", 2, true)], &last).unwrap();
        let mut again = Translator::default();
        Ledger::open(dir.path(), &mut again).unwrap();
        assert_eq!(again.records().len(), 4);
    }

    #[test]
    fn what_cannot_be_kept_is_kept_later_and_hides_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut translator = Translator::default();
        let mut ledger = Ledger::open(dir.path(), &mut translator).unwrap();
        // A directory is there that no file can replace, as when the disk is full.
        let path = dir.path().join(LEDGER);
        std::fs::create_dir_all(path.join("in the way")).unwrap();
        translator.replay(&launched("a"));
        ledger.append(&[launched("a")], &translator).unwrap_err();
        std::fs::remove_dir_all(&path).unwrap();
        translator.replay(&launched("b"));
        ledger.append(&[launched("b")], &translator).unwrap();
        let mut next = Translator::default();
        Ledger::open(dir.path(), &mut next).unwrap();
        assert_eq!(next.records(), [launched("a"), launched("b")]);
    }
}
