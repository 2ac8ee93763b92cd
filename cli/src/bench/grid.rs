//! The grids of Mesos's own allocator benchmarks, so that figures stand beside figures: the same numbers of agents and
//! frameworks, the same steps. Where Mesos repeats a step once for each framework, this does it a fixed number of times
//! and gives the time of one.

mod whole;

use std::time::{Duration, Instant};

use proffer_master_core::allocation::Scope;
use proffer_model::Problem;

use super::figures::{Figure, Figures, Times, ms};
use super::size::Size;
use super::world::{Setting, Special, Want, World};
use crate::output::Progress;

/// Numbers of agents.
const AGENTS: [u32; 6] = [1_000, 5_000, 10_000, 20_000, 30_000, 50_000];
/// Numbers of frameworks.
const FRAMEWORKS: [u32; 8] = [1, 50, 100, 200, 500, 1_000, 3_000, 6_000];
/// Frameworks are suppressed in so many steps.
const SUPPRESS_STEPS: usize = 5;
/// What agents have of which everything is declined.
const DECLINED: [(&str, Special); 5] = [
    ("decline", Special::Nothing),
    ("volumes", Special::Volumes { own: 4, shared: 0 }),
    ("shared_volumes", Special::Volumes { own: 0, shared: 4 }),
    ("mixed_volumes", Special::Volumes { own: 2, shared: 2 }),
    ("labels", Special::Labels(4)),
];
/// So many roles reserve on one agent.
const RESERVING_ROLES: [u32; 3] = [50, 100, 200];

/// Measures every case for each size.
pub(super) fn run(
    sizes: &[Size],
    rounds: u32,
    progress: &mut Progress,
) -> Result<Figures, Problem> {
    let all = AGENTS.into_iter().flat_map(|agents| {
        let pairs = FRAMEWORKS.into_iter();
        pairs.map(move |frameworks| Size { agents, frameworks })
    });
    let sizes: Vec<Size> = match sizes {
        [] => all.collect(),
        given => given.to_vec(),
    };
    let mut figures = Figures::default();
    for size in sizes {
        progress.update(&format!("grid {size}"));
        let mut say = |row| figures.push_and_say(row, progress);
        for (case, times) in add_and_update(size)? {
            say(row(case, size, &times));
        }
        say(row("backlog", size, &backlog(size)?));
        for (case, special) in DECLINED {
            say(row(case, size, &decline(size, special, rounds)?));
        }
        say(row("suppress", size, &suppress(size, SUPPRESS_STEPS)?));
        say(row("suppress_99_percent", size, &suppress(size, 1)?));
        say(row("metrics", size, &metrics(size, rounds)?));
    }
    for roles in RESERVING_ROLES {
        let size = Size {
            agents: 1,
            frameworks: roles,
        };
        progress.update(&format!("update_allocation {size}"));
        let row = row("update_allocation", size, &update_allocation(size)?);
        figures.push_and_say(row, progress);
    }
    progress.update("many roles");
    whole::quota_or_none(&mut |row| figures.push_and_say(row, progress))?;
    whole::large_and_small_quota(&mut |row| figures.push_and_say(row, progress))?;
    progress.update("frameworks of several kinds");
    figures.push_and_say(whole::multi_framework()?, progress);
    Ok(figures)
}

/// One role for all frameworks, each of which takes whatever there is.
fn setting(size: Size) -> Setting {
    Setting {
        size,
        want: Want::Any,
        frameworks_per_role: size.frameworks,
        quota_every: 0,
        exclusions: 0,
        special: Special::Nothing,
    }
}

fn row(case: &str, size: Size, times: &Times) -> Vec<(&'static str, Figure)> {
    vec![
        ("case", Figure::Text(case.to_owned())),
        ("agents", Figure::Count(u64::from(size.agents))),
        ("frameworks", Figure::Count(u64::from(size.frameworks))),
        (
            "samples",
            Figure::Count(u64::try_from(times.len()).unwrap_or(u64::MAX)),
        ),
        ("round_p50_ms", ms(times.at(500))),
        ("round_max_ms", ms(times.at(1_000))),
        ("total_ms", ms(times.sum())),
    ]
}

/// Agents come one after the other and are allocated; then each says that it has changed.
fn add_and_update(size: Size) -> Result<[(&'static str, Times); 2], Problem> {
    let mut world = World::empty()?;
    world.add_frameworks(setting(size))?;
    let begun = Instant::now();
    for number in 0..size.agents {
        world.add_agent(number)?;
    }
    let added = begun.elapsed() + world.cycle(Scope::Changed).run;
    let begun = Instant::now();
    for (agent, description) in &world.agents {
        let more = description.resources.plus(&"gpus:1".parse()?);
        world.allocator.set_agent(agent, description, &more);
    }
    let updated = begun.elapsed() + world.cycle(Scope::Changed).run;
    let of = |time| Times::from_iter([time]);
    Ok([("add_agents", of(added)), ("update_agents", of(updated))])
}

/// Agents come one after the other, and each is allocated before the next one comes: nothing is done together.
fn backlog(size: Size) -> Result<Times, Problem> {
    let mut world = World::empty()?;
    world.add_frameworks(setting(size))?;
    let mut times = Times::default();
    for number in 0..size.agents {
        let begun = Instant::now();
        world.add_agent(number)?;
        let added = begun.elapsed();
        times.push(added + world.cycle(Scope::Changed).run);
    }
    Ok(times)
}

/// All that is to be said of the roles, when all is on offer.
fn metrics(size: Size, rounds: u32) -> Result<Times, Problem> {
    let mut world = World::new(Setting {
        frameworks_per_role: 2,
        ..setting(size)
    })?;
    world.cycle(Scope::All);
    let rows = || {
        let begun = Instant::now();
        let all = world.allocator.role_rows_after(None);
        std::hint::black_box(all.collect::<Vec<_>>());
        begun.elapsed()
    };
    Ok((0..rounds).map(|_| rows()).collect())
}

/// As many roles as frameworks hold a part of one agent; one after the other reserves it for itself, in four kinds.
fn update_allocation(size: Size) -> Result<Times, Problem> {
    const PART: [(&str, u32); 4] = [("cpus", 1), ("mem", 64), ("disk", 64), ("gpus", 1)];
    let mut world = World::empty()?;
    world.add_frameworks(Setting {
        frameworks_per_role: 1,
        ..setting(size)
    })?;
    world.add_agent(0)?;
    let text = |times: u32, role: &str| {
        let part = |(name, amount): &(&str, u32)| format!("{name}{role}:{}", amount * times);
        PART.iter().map(part).collect::<Vec<_>>().join(";")
    };
    let Some((agent, description)) = world.agents.first() else {
        return Ok(Times::default());
    };
    let total = text(size.frameworks, "").parse()?;
    world.allocator.set_agent(agent, description, &total);
    let from = text(1, "").parse()?;
    for (framework, role) in &world.claims {
        world.allocator.allocate(framework, role, agent, &from);
    }
    let mut times = Times::default();
    for (framework, role) in &world.claims {
        let to = text(1, &format!("({role})")).parse()?;
        let begun = Instant::now();
        let allocator = &mut world.allocator;
        allocator.convert(framework, role, agent, &from, &to);
        times.push(begun.elapsed());
    }
    Ok(times)
}

/// All is on offer, all is declined for ever, and again.
fn decline(size: Size, special: Special, rounds: u32) -> Result<Times, Problem> {
    let mut world = World::new(Setting {
        special,
        ..setting(size)
    })?;
    let mut times = Times::default();
    // With few frameworks everybody has declined everything soon, and then there is nothing more to measure.
    let most = size.frameworks.saturating_mul(2).min(rounds);
    for _ in 0..most {
        let cycle = world.cycle(Scope::All);
        times.push(cycle.run);
        for offer in std::mem::take(&mut world.held) {
            world.decline(&offer);
        }
    }
    Ok(times)
}

/// A part of the frameworks wants nothing any more, all is given back, and again until nobody is left. With one step all
/// but one in a hundred want nothing from the beginning.
fn suppress(size: Size, steps: usize) -> Result<Times, Problem> {
    let mut world = World::new(setting(size))?;
    let mut times = Times::default();
    let count = world.claims.len();
    let part = match steps {
        1 => count - count.div_ceil(100),
        _ => count.div_ceil(steps),
    };
    for step in 0..steps {
        let claims = world.claims.iter().skip(step * part).take(part);
        let mut suppressed = Duration::ZERO;
        for (framework, role) in claims {
            let begun = Instant::now();
            world.allocator.set_demand(framework, role, &[]);
            suppressed += begun.elapsed();
        }
        let cycle = world.cycle(Scope::All);
        times.push(suppressed + cycle.run);
        world.give_all_back();
    }
    Ok(times)
}
