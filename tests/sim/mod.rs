//! The cores of a master and several agents, with a framework, in one thread from a seed. Network, store, disks, processes
//! and clocks are simulated; faults are drawn from the seed; the checkers look on after each step.
//!
//! A failing seed prints its log, one line per event. `PROFFER_SIM_SEED=n` runs that seed alone, with its log;
//! `PROFFER_SIM_SEEDS=n` runs so many.

mod agent;
mod checks;
mod framework;
mod master;
mod world;

use world::{Faults, World};

/// Seeds of one run of the tests. Each is ten simulated minutes of faults, then quiet.
const SEEDS: u64 = 60;

fn run(seed: u64, faults: Faults) -> Result<World, String> {
    let mut world = World::new(seed, faults);
    match world.run() {
        Ok(()) => Ok(world),
        Err(violation) => Err(format!(
            "seed {seed}: {violation}\n{}\nreplay: PROFFER_SIM_SEED={seed}",
            world.tail()
        )),
    }
}

#[test]
fn every_seed_keeps_every_promise() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let only = number("PROFFER_SIM_SEED");
    let seeds = number("PROFFER_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds = only.map_or(0..seeds, |seed| seed..seed + 1);
    let mut seen = [0_u64; 7];
    for seed in seeds {
        let world = run(seed, Faults::drawn(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        if only.is_some() {
            println!("{}", world.tail());
        }
        for (sum, count) in seen.iter_mut().zip(world.coverage()) {
            *sum += count;
        }
    }
    println!("{seen:?}");
    // A fault that is never exercised proves nothing.
    let floors = [
        ("master crashes", 150),
        ("agent crashes", 150),
        ("links cut", 150),
        ("sessions cut", 150),
        ("tasks ended", 5_000),
        ("unreachable", 1_000),
        ("memories lost", 100),
    ];
    for ((name, floor), count) in floors.iter().zip(seen) {
        assert!(
            only.is_some() || count >= *floor,
            "{name}: {count}; at least {floor} are wanted"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [3, 77] {
        let story = |_| {
            run(seed, Faults::drawn(seed))
                .unwrap_or_else(|failure| panic!("{failure}"))
                .digest()
        };
        let [first, second] = [0, 1].map(story);
        assert_eq!(first, second, "seed {seed}");
    }
}

/// Breaks a rule on purpose and expects the checkers to notice: they are worth what they catch.
#[test]
fn broken_rules_are_caught() {
    for breakage in world::Breakage::ALL {
        let caught = (0..40).any(|seed| run(seed, Faults::drawn(seed).with(breakage)).is_err());
        assert!(caught, "{breakage:?} was not noticed in 40 seeds");
    }
}
