//! Every parser in every test run: its corpus, and some thousand mutations of it from one seed.
//!
//! `PROFFER_FUZZ_SECONDS` is for a longer look without a fuzzer: so long for each target, from a seed of its own
//! (`PROFFER_FUZZ_SEED`).

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expected by failing"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proffer_parsers::TARGETS;
use proffer_parsers::mutate::{Random, mutate};

const SEED: u64 = 20_261_121;
/// Mutations of one target, at most.
const MUTATIONS: usize = 3_000;
/// How long the mutations of one target may go on: those that write files make fewer, not a longer test.
const TIME_MAX: Duration = Duration::from_millis(700);
/// How long one input may take, on a machine that does other things too.
const INPUT_TIME_MAX: Duration = Duration::from_secs(10);

fn corpus_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

/// The inputs of a target by the names of their files, in order.
fn corpus_of(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = corpus_dir().join(target);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("an input"))
        })
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

fn run(target: fn(&[u8]), name: &str, input: &[u8]) {
    let begun = Instant::now();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        println!("{name} fails for {:?}", input.escape_ascii().to_string());
        resume_unwind(panic);
    }
    let took = begun.elapsed();
    assert!(
        took < INPUT_TIME_MAX,
        "{name} takes {took:?}: {:?}",
        input.escape_ascii().to_string()
    );
}

fn check(name: &str) {
    let target = TARGETS
        .iter()
        .find(|(other, _)| *other == name)
        .expect("a target")
        .1;
    let corpus = corpus_of(name);
    for (file, input) in &corpus {
        run(target, &format!("corpus/{name}/{file}"), input);
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let given = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let mut random = Random::new(given("PROFFER_FUZZ_SEED").unwrap_or(SEED));
    let (count_max, time_max) = match given("PROFFER_FUZZ_SECONDS") {
        Some(seconds) => (usize::MAX, Duration::from_secs(seconds)),
        None => (MUTATIONS, TIME_MAX),
    };
    let begun = Instant::now();
    for number in 0..count_max {
        if begun.elapsed() > time_max {
            break;
        }
        let input = mutate(&inputs, &mut random);
        run(target, &format!("mutation {number} of {name}"), &input);
    }
}

macro_rules! everyday {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })+

        #[test]
        fn every_target_is_run_and_has_a_corpus() {
            let run: BTreeSet<&str> = BTreeSet::from([$(stringify!($name)),+]);
            let all: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(run, all);
            let folders = fs::read_dir(corpus_dir()).expect("the corpora");
            let folders: BTreeSet<String> = folders
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            assert_eq!(folders, all.iter().map(ToString::to_string).collect());
        }
    };
}

everyday! {
    resources_text resources_json attributes ids amounts durations tokens urls patterns
    session_call session_event to_master to_agent checkpoint_identity checkpoint_run
    checkpoint_statuses checkpoint_executor checkpoint_volume checkpoint_volumes
    executor_call executor_event store_batch store_snapshot operator_requests problems
    store_frame store_directory backup_file checkpoint_frame supervisor_protocol output_tail
    image_archive image_layer image_store image_paths image_users decompression
    fetch_archive fetch_uri
    http_intake json_intake event_stream ballots
    app_json kept_records app_ids label_selectors
    app_feed labels proxy_names proxy_answers proxy_template
    config_files
    app_files terminal spans rates bench_sizes
    mesos_scheduler mesos_executor mesos_master mesos_ledger
    page_tokens watch_positions
    case_language
    process_stat check_answers
}
