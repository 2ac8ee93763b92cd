//! The allocator alone: full cycles with everything free, what a single event costs, and a storm of revivals.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use proffer_master_core::allocation::Scope;
use proffer_master_core::limits::ALLOCATION_STEPS_MAX;
use proffer_model::{AtMost, DemandEntry, FrameworkId, Key, Problem, Resources, Role};

use super::figures::{Figure, Figures, Times, ms};
use super::grid;
use super::size::Size;
use super::world::{Cycle, Setting, Special, Want, World};
use crate::exit::Outcome;
use crate::limits::{BENCH_EVENTS, BENCH_REVIVE_INTERVAL};
use crate::output::{OutputArgs, Progress};

/// What frameworks want that want something of a shape: four fit an agent.
const SHAPE: &str = "cpus:4;mem:16384";
/// How often a cycle is measured in steps.
const STEPPED_ROUNDS_MAX: u32 = 3;
/// On how many agents something is free when frameworks revive.
const REVIVALS: [(&str, usize); 2] = [("revive", 0), ("revive_10", 10)];
/// What comes back one by one.
const EVENTS: [Event; 5] = [
    Event::of("event"),
    Event {
        times_wanted: 2,
        ..Event::of("event_wanted")
    },
    Event {
        has_ports: true,
        ..Event::of("ports_event")
    },
    Event {
        is_bound: true,
        times_wanted: 2,
        ..Event::of("bound_event")
    },
    Event {
        has_gang: true,
        ..Event::of("gang_event")
    },
];
/// Instances of a gang.
const GANG: u32 = 1_000;
/// What takes most of an agent, so that nothing of [`SHAPE`] fits beside it.
const MOST_OF_AN_AGENT: &str = "cpus:14;mem:60000";

/// `proffer bench allocator`.
#[derive(Debug, clap::Args)]
pub(crate) struct AllocatorArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents and frameworks, as in 10000x1000 [default: 10000x1000 20000x2000 50000x1000; with --grid mesos
    /// every pair of its].
    #[arg(value_name = "AGENTSxFRAMEWORKS")]
    sizes: Vec<Size>,
    /// How often each cycle is measured.
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: u32,
    /// The grid of another program's own benchmarks instead: mesos.
    #[arg(long, value_enum, value_name = "GRID")]
    grid: Option<Grid>,
}

/// Everything is on offer, and one offer after the other comes back.
#[derive(Clone, Copy, Debug)]
struct Event {
    case: &'static str,
    /// How many times as much is wanted as there is: where it is twice, everybody waits.
    times_wanted: u32,
    /// A task with a port is launched or ends on the agent just before.
    has_ports: bool,
    /// Each framework may have one on each agent at the most.
    is_bound: bool,
    /// Somebody waits for a gang of the same.
    has_gang: bool,
}

impl Event {
    const fn of(case: &'static str) -> Self {
        Self {
            case,
            times_wanted: 1,
            has_ports: false,
            is_bound: false,
            has_gang: false,
        }
    }
}

/// Whose benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grid {
    Mesos,
}

/// Measures.
pub(super) fn run(args: &AllocatorArgs, progress: &mut Progress) -> Outcome<Figures> {
    let rounds = args.rounds.max(1);
    if args.grid.is_some() {
        return Ok(grid::run(&args.sizes, rounds, progress)?);
    }
    let usual = [(10_000, 1_000), (20_000, 2_000), (50_000, 1_000)];
    let usual = usual.map(|(agents, frameworks)| Size { agents, frameworks });
    let sizes = match args.sizes.as_slice() {
        [] => &usual,
        given => given,
    };
    let mut figures = Figures::default();
    for size in sizes.iter().copied() {
        for (case, want) in [
            ("full_any", Want::Any),
            ("full_shaped", Want::Shaped(SHAPE)),
        ] {
            progress.update(&format!("{case} {size}"));
            let mut world = World::new(setting(size, want))?;
            figures.push_and_say(full(case, size, &mut world, rounds), progress);
        }
        for of in EVENTS {
            progress.update(&format!("{} {size}", of.case));
            figures.push_and_say(event(of, size)?, progress);
        }
        for (case, free) in REVIVALS {
            progress.update(&format!("{case} {size}"));
            figures.push_and_say(revive(case, size, free)?, progress);
        }
        progress.update(&format!("gang {size}"));
        figures.push_and_say(gang(size, rounds)?, progress);
        progress.update(&format!("new_roles {size}"));
        figures.push_and_say(new_roles(size)?, progress);
    }
    Ok(figures)
}

/// Roles in a tree, quota for one top role in ten, twenty exclusions of each framework.
fn setting(size: Size, want: Want) -> Setting {
    Setting {
        size,
        want,
        frameworks_per_role: 2,
        quota_every: 10,
        exclusions: 20,
        special: Special::Nothing,
    }
}

/// One row; all cases have the same names, so that they make one table.
struct Row<'a> {
    case: &'a str,
    size: Size,
    times: Times,
    offers: u64,
    say: Duration,
    steps: Steps,
    core_share_milli: u64,
}

/// The longest of some steps, and what the dearest took of the processor: on a machine that does other things too, the
/// longest is mostly one in which the processor was taken away.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    longest: Duration,
    dearest: Duration,
}

impl Steps {
    fn add(&mut self, cycle: &Cycle) {
        self.longest = self.longest.max(cycle.longest);
        self.dearest = self.dearest.max(cycle.dearest);
    }
}

impl Row<'_> {
    fn figures(self) -> Vec<(&'static str, Figure)> {
        let samples = u64::try_from(self.times.len()).unwrap_or(u64::MAX);
        vec![
            ("case", Figure::Text(self.case.to_owned())),
            ("agents", Figure::Count(u64::from(self.size.agents))),
            ("frameworks", Figure::Count(u64::from(self.size.frameworks))),
            ("samples", Figure::Count(samples)),
            ("offers", Figure::Count(self.offers)),
            ("cycle_p50_ms", ms(self.times.at(500))),
            ("cycle_p99_ms", ms(self.times.at(990))),
            ("cycle_max_ms", ms(self.times.at(1_000))),
            ("step_max_ms", ms(self.steps.longest)),
            ("step_cpu_max_ms", ms(self.steps.dearest)),
            ("offers_in_full_ms", ms(self.say)),
            ("core_share_percent", Figure::Milli(self.core_share_milli)),
        ]
    }
}

/// Everything is free and everything is allocated.
fn full(case: &str, size: Size, world: &mut World, rounds: u32) -> Vec<(&'static str, Figure)> {
    let mut times = Times::default();
    let (mut offers, mut say) = (0, Duration::ZERO);
    for _ in 0..rounds {
        let cycle = world.cycle(Scope::All);
        times.push(cycle.run);
        offers = cycle.offers;
        say = cycle.say;
        world.give_all_back();
    }
    // As a master does it: in steps, so that what comes meanwhile need not wait. The first time is not measured: its first
    // step forgets what a whole cycle has granted, which no master does.
    world.cycle_in_steps(Scope::All, ALLOCATION_STEPS_MAX);
    let mut steps = Steps::default();
    for _ in 0..rounds.min(STEPPED_ROUNDS_MAX) {
        world.give_all_back();
        steps.add(&world.cycle_in_steps(Scope::All, ALLOCATION_STEPS_MAX));
    }
    Row {
        case,
        size,
        times,
        offers,
        say,
        steps,
        core_share_milli: 0,
    }
    .figures()
}

/// A world in which everything is on offer.
fn on_offer(of: Event, size: Size) -> Result<World, Problem> {
    let mut world = World::new(setting(size, Want::Shaped(SHAPE)))?;
    for (framework, role) in &world.claims {
        let mut entries = world.entries(setting(size, Want::Shaped(SHAPE)))?;
        for entry in &mut entries {
            entry.count = entry.count.saturating_mul(of.times_wanted);
            let per = Key::Agent;
            entry
                .at_most
                .extend(of.is_bound.then_some(AtMost { per, count: 1 }));
        }
        world.allocator.set_demand(framework, role, &entries);
    }
    world.cycle_in_steps(Scope::All, ALLOCATION_STEPS_MAX);
    if of.has_gang {
        let entry = DemandEntry {
            gang: GANG,
            ..DemandEntry::new(world.entry.clone(), GANG, SHAPE.parse()?)
        };
        let (framework, role) = (FrameworkId::new("gang")?, Role::new("gang")?);
        world.allocator.set_framework_active(&framework, true);
        world.allocator.set_demand(&framework, &role, &[entry]);
        world.cycle_in_steps(Scope::Changed, ALLOCATION_STEPS_MAX);
    }
    Ok(world)
}

/// Everything is on offer; one offer after the other comes back, and is allocated again. With ports, what the agent has is said
/// anew before, with the same scalars and one port fewer.
fn event(of: Event, size: Size) -> Result<Vec<(&'static str, Figure)>, Problem> {
    let mut world = on_offer(of, size)?;
    let described: BTreeMap<_, _> = world.agents.iter().cloned().collect();
    let mut times = Times::default();
    let (mut offers, mut steps) = (0, Steps::default());
    for number in 0..BENCH_EVENTS {
        if world.held.is_empty() {
            break;
        }
        let place = (number * 7_919) % world.held.len();
        let offer = world.held.swap_remove(place);
        let port = 31_000 + number % 1_000;
        let held: Resources = format!("ports:[{port}-{port}]").parse()?;
        let description = described.get(&offer.agent).filter(|_| of.has_ports);
        let told = description.map(|agent| (agent, agent.resources.minus(&held)));
        let begun = Instant::now();
        if let Some((description, total)) = &told {
            world.allocator.set_agent(&offer.agent, description, total);
        }
        world.give_back(&offer);
        let told = begun.elapsed();
        let cycle = world.cycle(Scope::Changed);
        times.push(told + cycle.run);
        steps.add(&cycle);
        offers += cycle.offers;
    }
    let row = Row {
        case: of.case,
        size,
        times,
        offers,
        say: Duration::ZERO,
        steps,
        core_share_milli: 0,
    };
    Ok(row.figures())
}

/// Every framework excludes a few agents and revives, once in five seconds, in a cluster where something fits on a few agents
/// at the most: it is offered to each that revives, and declined.
fn revive(case: &str, size: Size, free: usize) -> Result<Vec<(&'static str, Figure)>, Problem> {
    let mut world = World::new(Setting {
        exclusions: 0,
        ..setting(size, Want::Shaped(SHAPE))
    })?;
    occupy(&mut world, free)?;
    // Everybody has declined what is free.
    for place in 0..world.claims.len() {
        world.exclude_first(place, free);
    }
    world.cycle_in_steps(Scope::Changed, ALLOCATION_STEPS_MAX);
    let mut times = Times::default();
    let (mut offers, mut steps) = (0, Steps::default());
    for place in 0..world.claims.len() {
        let Some((framework, role)) = world.claims.get(place).cloned() else {
            continue;
        };
        world.exclude_some(place, 20);
        let begun = Instant::now();
        world.allocator.clear_exclusions(&framework, &role);
        let cleared = begun.elapsed();
        let cycle = world.cycle(Scope::Changed);
        let begun = Instant::now();
        world.decline_all();
        world.cycle(Scope::Changed);
        times.push(cleared + cycle.run + cycle.say + begun.elapsed());
        steps.add(&cycle);
        offers += cycle.offers;
    }
    let interval_us = BENCH_REVIVE_INTERVAL.as_micros().max(1);
    let percent_milli = times.sum().as_micros() * 100_000 / interval_us;
    let row = Row {
        case,
        size,
        times,
        offers,
        say: Duration::ZERO,
        steps,
        core_share_milli: u64::try_from(percent_milli).unwrap_or(u64::MAX),
    };
    Ok(row.figures())
}

/// A gang that takes most of each of a thousand agents, or of all, where everything is free: granted in one step.
fn gang(size: Size, rounds: u32) -> Result<Vec<(&'static str, Figure)>, Problem> {
    let mut world = World::empty()?;
    for number in 0..size.agents {
        world.add_agent(number)?;
    }
    let role = Role::new("gang")?;
    let framework = FrameworkId::new("gang")?;
    world.allocator.set_framework_active(&framework, true);
    let count = size.agents.min(GANG);
    let entry = DemandEntry {
        gang: count,
        ..DemandEntry::new(world.entry.clone(), count, MOST_OF_AN_AGENT.parse()?)
    };
    let entries = [entry];
    let mut times = Times::default();
    let (mut offers, mut say) = (0, Duration::ZERO);
    let mut steps = Steps::default();
    for _ in 0..=rounds {
        world.allocator.set_demand(&framework, &role, &entries);
        let cycle = world.cycle_in_steps(Scope::Changed, ALLOCATION_STEPS_MAX);
        times.push(cycle.run);
        (offers, say) = (cycle.offers, cycle.say);
        steps.add(&cycle);
        world.allocator.set_demand(&framework, &role, &[]);
        world.give_all_back();
        world.cycle_in_steps(Scope::Changed, ALLOCATION_STEPS_MAX);
    }
    let row = Row {
        case: "gang",
        size: Size {
            frameworks: 1,
            ..size
        },
        times,
        offers,
        say,
        steps,
        core_share_milli: 0,
    };
    Ok(row.figures())
}

/// Ten times as many roles at the top as there are frameworks come one after the other, each with a framework of its own,
/// while nothing is free for them.
fn new_roles(size: Size) -> Result<Vec<(&'static str, Figure)>, Problem> {
    let setting = Setting {
        exclusions: 0,
        ..setting(size, Want::Shaped(SHAPE))
    };
    let mut world = World::new(setting)?;
    occupy(&mut world, 0)?;
    world.cycle_in_steps(Scope::All, ALLOCATION_STEPS_MAX);
    let entries = world.entries(setting)?;
    let mut times = Times::default();
    let mut steps = Steps::default();
    for number in 0..size.frameworks.saturating_mul(10) {
        // In no order, as teams are named.
        let role = Role::new(&format!("new-{:07}", u64::from(number) * 7_919 % 9_999_991))?;
        let framework = FrameworkId::new(&format!("new-{number}"))?;
        let begun = Instant::now();
        world.allocator.set_framework_active(&framework, true);
        world.allocator.set_demand(&framework, &role, &entries);
        let set = begun.elapsed();
        let cycle = world.cycle(Scope::Changed);
        times.push(set + cycle.run);
        steps.add(&cycle);
    }
    let row = Row {
        case: "new_roles",
        size: Size {
            frameworks: size.frameworks.saturating_mul(11),
            ..size
        },
        times,
        offers: 0,
        say: Duration::ZERO,
        steps,
        core_share_milli: 0,
    };
    Ok(row.figures())
}

/// Someone holds most of every agent but a few.
fn occupy(world: &mut World, free: usize) -> Result<(), Problem> {
    let most = MOST_OF_AN_AGENT.parse()?;
    for (number, (agent, _)) in world.agents.iter().enumerate().skip(free) {
        if let Some((framework, role)) = world.claims.get(number % world.claims.len().max(1)) {
            world.allocator.allocate(framework, role, agent, &most);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proffer_master_core::limits::{AGENTS_MAX, FRAMEWORKS_MAX};

    use crate::limits::{BENCH_AGENTS_MAX, BENCH_FRAMEWORKS_MAX};

    #[test]
    fn a_size_is_at_most_what_a_master_takes() {
        let most = [BENCH_AGENTS_MAX, BENCH_FRAMEWORKS_MAX].map(|most| most as usize);
        assert_eq!(most, [AGENTS_MAX, FRAMEWORKS_MAX]);
    }
}
