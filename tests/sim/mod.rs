//! The cores of three masters, several agents and frameworks, and an operator, in one thread from a seed. Network, ensemble,
//! disks, processes and clocks are simulated; faults are drawn from the seed; the checkers look on at each step.
//!
//! docs/simulation.md says how to read and replay a failing seed.

mod agent;
mod breakage;
mod changes;
mod checks;
mod coverage;
mod ensemble;
mod executor;
mod faults;
mod framework;
mod keeping;
mod kills;
mod leaving;
mod master;
mod network;
mod operator;
mod presence;
mod process;
mod random;
mod standby;
mod state;
mod story;
mod tenant;
mod term;
mod wants;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use breakage::Breakage;
use coverage::{Coverage, FLOORS};
use faults::Faults;
use story::Story;
use world::World;

/// Seeds of one run of the tests. Each is eight simulated minutes of faults, then quiet.
const SEEDS: u64 = 200;
/// Threads that run seeds; each seed is one thread's.
const THREADS: usize = 2;
/// Tests that they are spread over.
const PARTS: u64 = 4;

/// How a seed went.
struct Run {
    seen: Coverage,
    simulated_ns: u64,
    steps: u64,
    digest: u64,
    text: String,
    failure: Option<String>,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, faults: Faults, story: Story) -> Run {
    // To stop at a step makes sense of one seed alone.
    let last_step = number("PROFFER_SIM_SEED").and(number("PROFFER_SIM_STEP"));
    let last_step = last_step.unwrap_or(u64::MAX);
    let mut world = World::new(seed, faults, story);
    // A panic is a broken promise too (S14).
    let ended = catch_unwind(AssertUnwindSafe(|| world.run(last_step)));
    let failure = ended.unwrap_or_else(|_| Err("a core panics".into())).err();
    let text = match &failure {
        Some(why) => format!(
            "{}\n{}\n{}: {why}",
            world.story.text(),
            world.describe(),
            world.step
        ),
        None => world.story.text(),
    };
    Run {
        seen: world.seen,
        simulated_ns: world.now,
        steps: world.step,
        digest: world.story.digest(),
        text,
        failure,
    }
}

/// Runs a seed again with its story, which is not told the first time because that takes longer than all else.
fn explain(seed: u64, faults: Faults) -> String {
    let told = run(seed, faults, Story::told(false));
    let hint = "replay: PROFFER_SIM_SEED, and PROFFER_SIM_STEP to stop at a step";
    format!("seed {seed}, {:?}\n{}\n{hint}", faults, told.text)
}

/// Runs seeds in two threads, each seed in one of them, and tells the story of the first that fails.
fn run_seeds(first: u64, seeds: u64) -> Coverage {
    let next = AtomicU64::new(first);
    let all = Mutex::new((Coverage::default(), 0, 0, Vec::new()));
    let begun = Instant::now();
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let ran = run(seed, Faults::drawn(seed), Story::silent());
            let mut all = all.lock().expect("no thread has panicked");
            all.0.add(&ran.seen);
            all.1 += ran.simulated_ns;
            all.2 += ran.steps;
            if let Some(failure) = ran.failure {
                all.3.push((seed, failure));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    let (seen, simulated_ns, steps, mut failures) =
        all.into_inner().expect("no thread has panicked");
    let took = begun.elapsed();
    let simulated = std::time::Duration::from_nanos(simulated_ns);
    println!(
        "{seeds} seeds, {steps} steps, {} simulated s in {} s: {} to one",
        simulated.as_secs(),
        took.as_secs(),
        simulated.as_millis() / took.as_millis().max(1)
    );
    println!("{}", seen.text());
    failures.sort();
    if let Some((seed, _)) = failures.first() {
        for (seed, failure) in failures.iter().take(10) {
            println!("seed {seed}: {failure}");
        }
        panic!("{}", explain(*seed, Faults::drawn(*seed)));
    }
    seen
}

/// One part of the seeds, so that none takes long where much else runs; what is chosen instead is the first part's.
fn part(nth: u64) {
    let chosen = [number("PROFFER_SIM_SEED"), number("PROFFER_SIM_SEEDS")];
    match (nth, chosen) {
        (0, [Some(seed), _]) => {
            let told = run(seed, Faults::drawn(seed), Story::told(true));
            println!("{}\n{}", told.text, told.seen.text());
            assert!(told.failure.is_none(), "seed {seed}: {:?}", told.failure);
        }
        (0, [None, Some(seeds)]) => {
            run_seeds(number("PROFFER_SIM_FIRST").unwrap_or(0), seeds);
        }
        (_, [None, None]) => {
            let seeds = SEEDS / PARTS;
            check_floors(&run_seeds(nth * seeds, seeds));
        }
        _ => {}
    }
}

/// A fault that is never exercised proves nothing. A part has to have a quarter of its share.
fn check_floors(seen: &Coverage) {
    for (what, floor) in FLOORS {
        let (count, floor) = (seen.of(what), floor.div_ceil(4 * PARTS));
        assert!(
            count >= floor,
            "{what:?}: {count}; at least {floor} are wanted"
        );
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    part(0);
}

#[test]
fn every_seed_of_the_second_part_keeps_every_promise() {
    part(1);
}

#[test]
fn every_seed_of_the_third_part_keeps_every_promise() {
    part(2);
}

#[test]
fn every_seed_of_the_last_part_keeps_every_promise() {
    part(3);
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [3, 77] {
        let story = |_| run(seed, Faults::drawn(seed), Story::told(false)).digest;
        let [first, second] = [0, 1].map(story);
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Breaks a rule on purpose and expects the checkers to notice: they are worth what they catch.
#[test]
fn broken_rules_are_caught() {
    let begun = Instant::now();
    let mut missed = Vec::new();
    for (breakage, seeds) in Breakage::ALL {
        let mut caught = (0..seeds).map(|seed| {
            let faults = breakage.provoked(Faults::drawn(seed));
            (seed, run(seed, faults, Story::silent()).failure)
        });
        let caught = caught.find(|(_, failure)| failure.is_some());
        match caught {
            Some((seed, why)) => {
                println!("{breakage:?}: seed {seed}: {}", why.unwrap_or_default());
                // It is the breakage that was noticed, not the faults that provoke it.
                let faults = Faults {
                    breakage: None,
                    ..breakage.provoked(Faults::drawn(seed))
                };
                let whole = run(seed, faults, Story::silent()).failure;
                assert!(
                    whole.is_none(),
                    "{breakage:?}: seed {seed} without it: {whole:?}"
                );
            }
            None => missed.push((breakage, seeds)),
        }
    }
    assert!(
        missed.is_empty(),
        "not noticed within so many seeds: {missed:?}"
    );
    println!("{} s", begun.elapsed().as_secs());
}
