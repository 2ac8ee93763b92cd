//! Cases of how offers come about, in a language of their own, from `tests/cases` and from the folder that
//! `PROFFER_CASES` names; README.md there describes the language.
//!
//! A block is played under many seeds on the allocator, and on a plain model of Mesos's: both must say what the case says.

mod amounts;
mod blocks;
mod compile;
mod expect;
mod model;
mod play;
mod portion;
mod random;
mod ranking;
mod real;
mod sorter;
mod steps;
#[cfg(test)]
mod tests;

use std::env;
use std::path::{Path, PathBuf};

use blocks::{Block, Fault, Level, Plays};
use model::Model;
use real::Real;

/// Each block is played so often, each time with other orders of agents.
const SEEDS: u64 = 60;

/// What a block is played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    Allocator,
    Model,
}

#[test]
fn allocator_cases() {
    let mut folders = vec![allocator_folder()];
    folders.extend(env::var_os("PROFFER_CASES").map(given_folder));
    let (mut blocks, mut failures) = (0, Vec::new());
    for folder in folders {
        let files = blocks::read_folder(&folder);
        let files = files.unwrap_or_else(|error| panic!("the folder of cases is read: {error}"));
        let (played, failed) = play_files(&files, On::Allocator);
        assert!(
            played > 0 || !failed.is_empty(),
            "there are no cases in {}",
            folder.display()
        );
        blocks += played;
        failures.extend(failed);
    }
    println!("{blocks} blocks, {} failures", failures.len());
    assert!(
        failures.is_empty(),
        "{} of {blocks} blocks fail\n{}",
        failures.len(),
        failures.join("\n")
    );
}

/// The folder that is meant: the test runs in a folder of its own, so that a relative path is mostly one from the root of the
/// workspace, where the command was typed.
fn given_folder(given: impl AsRef<Path>) -> PathBuf {
    let given = given.as_ref();
    let from_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(given);
    match !given.is_dir() && from_root.is_dir() {
        true => from_root,
        false => given.to_owned(),
    }
}

/// Where the cases of the repository are.
fn allocator_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cases")
}

/// Plays every block of these files that is to be played; how many, and a report of each that fails.
fn play_files(files: &[(String, String)], on: On) -> (usize, Vec<String>) {
    let mut count = 0;
    let mut failures = Vec::new();
    for (file, text) in files {
        let found = match blocks::find(file, text) {
            Ok(found) => found,
            Err(Fault { line, message }) => {
                failures.push(format!("  {file}:{line}: {message}"));
                continue;
            }
        };
        for block in found {
            match play_block(&block, on) {
                Ok(is_played) => count += usize::from(is_played),
                Err(report) => {
                    count += 1;
                    failures.push(report);
                }
            }
        }
    }
    (count, failures)
}

/// Whether the block is played at all, or what is to be said of its failure.
fn play_block(block: &Block, on: On) -> Result<bool, String> {
    let report = |Fault { line, message }: Fault, seed: Option<u64>| {
        let Block { file, name, .. } = block;
        let seed = seed
            .map(|seed| format!(" (seed {seed})"))
            .unwrap_or_default();
        format!("  {file}:{line}: [{name}]{seed} {message}")
    };
    let is_played = match block.plays {
        Plays::Both => true,
        Plays::Ours => on == On::Allocator,
        Plays::Theirs(_) => on == On::Model,
    };
    if block.level == Level::Sorter {
        let steps = sorter::parse(block).map_err(|fault| report(fault, None))?;
        if is_played {
            sorter::play(&steps, on).map_err(|fault| report(fault, None))?;
        }
        return Ok(is_played);
    }
    let (setting, steps) = play::read(block).map_err(|fault| report(fault, None))?;
    if !is_played {
        return Ok(false);
    }
    for seed in 0..SEEDS {
        let played = match on {
            On::Allocator => play::play(&steps, &mut Real::new(&setting, seed)),
            On::Model => {
                let choose = Box::new(choices(seed));
                play::play(&steps, &mut Model::new(setting.clone(), choose))
            }
        };
        played.map_err(|fault| report(fault, Some(seed)))?;
    }
    Ok(true)
}

/// Numbers below what is asked for, from a seed (splitmix64).
fn choices(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = u64::try_from(below).unwrap_or(1).max(1);
        usize::try_from((z ^ (z >> 31)) % below).unwrap_or(0)
    }
}
