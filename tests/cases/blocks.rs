//! Finds the blocks of cases in markdown: fences whose first word is `case`, named by the bold line or heading above.

use std::fs;
use std::path::Path;

/// What a block drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// The tree that ranks roles and frameworks.
    Sorter,
    /// The whole allocator.
    Allocator,
}

/// What a block is played on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plays {
    /// The allocator, and the plain model of Mesos's.
    Both,
    /// The allocator alone: Mesos does something else.
    Ours,
    /// The model alone, for this reason: it is what Mesos does, and we differ on purpose.
    Theirs(String),
}

/// One block of steps.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) file: String,
    /// Of the case that it belongs to.
    pub(super) name: String,
    pub(super) level: Level,
    pub(super) plays: Plays,
    /// The lines inside with their numbers in the file, from 1; blanks and comments are left out.
    pub(super) lines: Vec<(usize, String)>,
}

/// A fault of the notation, where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
        }
    }
}

/// Every `.md` file of a folder and of the folders in it, in order.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
        paths.push(entry.path());
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(read_folder(&path)?);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let text = fs::read_to_string(&path);
            let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
    }
    Ok(files)
}

/// The blocks of one file, or where it is not understood.
pub(super) fn find(file: &str, text: &str) -> Result<Vec<Block>, Fault> {
    let mut blocks = Vec::new();
    let mut name = String::new();
    // The marks that close the fence that is open, and its block when it holds a case.
    let mut open: Option<(usize, String, Option<Block>)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some((_, marks, block)) = &mut open {
            if line.starts_with(marks.as_str()) && line.trim_start_matches(['`', '~']).is_empty() {
                blocks.extend(block.take());
                open = None;
            } else if let Some(block) = block {
                let step = without_comment(line);
                if !step.is_empty() {
                    block.lines.push((number, step.to_owned()));
                }
            }
        } else if line.starts_with("```") || line.starts_with("~~~") {
            let info = line.trim_start_matches(['`', '~']);
            let marks = line.get(..line.len() - info.len()).unwrap_or_default();
            let block = head(file, &name, info).map_err(|why| Fault::new(number, why))?;
            open = Some((number, marks.to_owned(), block));
        } else if line.starts_with('#') || line.starts_with("**") {
            name = line.trim_matches(['#', '*', ' ']).replace("**", "");
        }
    }
    match open {
        Some((number, _, Some(_))) => Err(Fault::new(number, "the block is not closed")),
        _ => Ok(blocks),
    }
}

/// The block that a fence's first line opens; none when it holds something else than a case.
fn head(file: &str, name: &str, info: &str) -> Result<Option<Block>, String> {
    let info = info.trim();
    let (first, rest) = info.split_once(char::is_whitespace).unwrap_or((info, ""));
    if first != "case" {
        return Ok(None);
    }
    let rest = rest.trim();
    let (level, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let level = match level {
        "sorter" => Level::Sorter,
        "alloc" | "allocator" => Level::Allocator,
        _ => {
            return Err(format!(
                "a case is of `sorter` or of `alloc`, not of {level:?}"
            ));
        }
    };
    let (word, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let reason = reason.trim();
    let plays = match word.trim_end_matches(':') {
        "" => Plays::Both,
        "ours" if reason.is_empty() => Plays::Ours,
        "differs" if reason.is_empty() => return Err("`differs` has no reason".to_owned()),
        "differs" => Plays::Theirs(reason.to_owned()),
        _ => return Err(format!("{rest:?} is not understood after the kind of case")),
    };
    Ok(Some(Block {
        file: file.to_owned(),
        name: name.to_owned(),
        level,
        plays,
        lines: Vec::new(),
    }))
}

/// A comment begins with `#`, `//`, a bracket or a dash, at the beginning or after a space: no step has these there.
fn without_comment(line: &str) -> &str {
    let starts = |at: &usize| {
        let before = line.get(..*at).unwrap_or_default();
        before.is_empty() || before.ends_with(char::is_whitespace)
    };
    let marks = line.match_indices(['#', '(', '\u{2013}', '\u{2014}']);
    let marks = marks.chain(line.match_indices("//")).map(|(at, _)| at);
    let begins = marks.filter(starts).min();
    let step = line.get(..begins.unwrap_or(line.len()));
    step.unwrap_or_default().trim()
}
