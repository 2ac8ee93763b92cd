//! The benchmarks of Mesos that bring clusters of their own: many roles with quota, and frameworks of several kinds that
//! launch until they have what they came for.

use std::collections::HashMap;
use std::time::Instant;

use proffer_master_core::allocation::{GrantedOffer, Scope};
use proffer_model::{FrameworkId, Limits, Problem, Quantities, Quota, Resources, Role};

use super::super::figures::{Figure, Times};
use super::super::size::Size;
use super::super::world::World;
use super::row;

/// What agents of the benchmarks of quota have.
const AGENT: &str = "cpus:2;mem:2048;disk:2048";
/// Roles in steps: each has two agents and two frameworks.
const ROLES: [u32; 3] = [10, 100, 1_000];
const PER_ROLE: u32 = 2;
/// Roles with quota for half an agent, and for two agents.
const SMALL_AND_LARGE: [(u32, u32); 3] = [(25, 5), (250, 50), (2_500, 500)];
const SMALL: &str = "cpus:1;mem:1024;disk:1024";
const LARGE: &str = "cpus:4;mem:4096;disk:4096";
/// No more rounds than this: what is not launched by then never is.
const ROUNDS_MAX: u32 = 10_000;

type Row = Vec<(&'static str, Figure)>;

/// Every role has two agents and two frameworks, without quota or with one for just these agents (`NonQuotaVsQuota`).
pub(super) fn quota_or_none(say: &mut impl FnMut(Row)) -> Result<(), Problem> {
    for roles in ROLES {
        let size = Size {
            agents: roles * PER_ROLE,
            frameworks: roles * PER_ROLE,
        };
        for case in ["no_quota", "quota"] {
            let mut world = World::empty()?;
            for number in 0..roles {
                let role = Role::new(&format!("role{number}"))?;
                for instance in 0..PER_ROLE {
                    let name = format!("framework_{number}-{instance}");
                    world.add_framework_of_any(&name, &role)?;
                }
                if case == "quota" {
                    world
                        .allocator
                        .set_quota(&role, Some(&just(AGENT, u64::from(PER_ROLE))?));
                }
            }
            for number in 0..size.agents {
                world.add_agent_of(number, AGENT)?;
            }
            say(once(case, size, &mut world));
        }
    }
    Ok(())
}

/// Roles whose quota is half an agent, and roles whose quota is two (`LargeAndSmallQuota`).
pub(super) fn large_and_small_quota(say: &mut impl FnMut(Row)) -> Result<(), Problem> {
    for (small, large) in SMALL_AND_LARGE {
        let size = Size {
            agents: small / 5 + large * 5,
            frameworks: small + large,
        };
        let mut world = World::empty()?;
        for (kind, count, quota) in [("small", small, SMALL), ("large", large, LARGE)] {
            for number in 0..count {
                let role = Role::new(&format!("{kind}-{number}"))?;
                world.add_framework_of_any(&format!("framework-{kind}-{number}"), &role)?;
                world.allocator.set_quota(&role, Some(&just(quota, 1)?));
            }
        }
        for number in 0..size.agents {
            world.add_agent_of(number, AGENT)?;
        }
        say(once("large_and_small_quota", size, &mut world));
    }
    Ok(())
}

/// One cycle in which everything goes out.
fn once(case: &str, size: Size, world: &mut World) -> Row {
    let cycle = world.cycle(Scope::All);
    row(case, size, &Times::from_iter([cycle.run]))
}

/// So many times this, guaranteed, and no more.
fn just(text: &str, times: u64) -> Result<Quota, Problem> {
    let resources: Resources = text.parse()?;
    let mut limits = Limits::new();
    let mut guarantees = Quantities::new();
    for (name, milli) in resources.quantities().iter() {
        guarantees.set(name.clone(), milli * times);
        limits.set(name.clone(), milli * times);
    }
    Ok(Quota { guarantees, limits })
}

/// Frameworks of one kind.
struct Kind {
    name: &'static str,
    frameworks: u32,
    /// Whether each has a role of its own.
    own_roles: bool,
    tasks: u32,
    task: &'static str,
    tasks_per_offer: u32,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "marathon",
        frameworks: 4,
        own_roles: true,
        tasks: 4_000,
        task: "cpus:0.07;mem:400",
        tasks_per_offer: 100,
    },
    Kind {
        name: "jenkins",
        frameworks: 500,
        own_roles: false,
        tasks: 5,
        task: "cpus:0.1;mem:4000",
        tasks_per_offer: 1,
    },
    Kind {
        name: "spark",
        frameworks: 50,
        own_roles: true,
        tasks: 20,
        task: "cpus:1;mem:1000",
        tasks_per_offer: 5,
    },
];
const AGENTS_OF_KINDS: u32 = 80;
const AGENT_OF_KINDS: &str = "cpus:64;mem:488000";

/// What a framework has yet to launch, and how.
struct Backlog {
    left: u32,
    task: Resources,
    tasks_per_offer: u32,
}

/// Frameworks of several kinds launch until all have what they came for (`MultiFrameworkAllocations`), and want nothing more
/// then, while Mesos's go on being offered what they do not take; one of the times is that of a round.
pub(super) fn multi_framework() -> Result<Row, Problem> {
    let mut world = World::empty()?;
    let mut backlogs = HashMap::new();
    for kind in KINDS {
        for number in 0..kind.frameworks {
            let role = match kind.own_roles {
                true => Role::new(&format!("{}-{number}", kind.name))?,
                false => Role::new(kind.name)?,
            };
            let id = world.add_framework_of_any(&format!("{}-{number}", kind.name), &role)?;
            let backlog = Backlog {
                left: kind.tasks,
                task: kind.task.parse()?,
                tasks_per_offer: kind.tasks_per_offer,
            };
            backlogs.insert(id, backlog);
        }
    }
    for number in 0..AGENTS_OF_KINDS {
        world.add_agent_of(number, AGENT_OF_KINDS)?;
    }
    let mut times = Times::default();
    for _ in 0..ROUNDS_MAX {
        let begun = Instant::now();
        world.cycle(Scope::All);
        times.push(begun.elapsed());
        for offer in std::mem::take(&mut world.held) {
            launch(&mut world, &offer, &mut backlogs);
        }
        if backlogs.values().all(|backlog| backlog.left == 0) {
            break;
        }
    }
    let size = Size {
        agents: AGENTS_OF_KINDS,
        frameworks: KINDS.iter().map(|kind| kind.frameworks).sum(),
    };
    let left: u64 = backlogs
        .values()
        .map(|backlog| u64::from(backlog.left))
        .sum();
    let mut row = row("multi_framework", size, &times);
    row.push(("tasks_left", Figure::Count(left)));
    Ok(row)
}

/// Launches what the offer has room for, and gives the rest back.
fn launch(world: &mut World, offer: &GrantedOffer, backlogs: &mut HashMap<FrameworkId, Backlog>) {
    let mut rest = offer.resources.clone();
    if let Some(backlog) = backlogs.get_mut(&offer.framework) {
        let mut most = backlog.left.min(backlog.tasks_per_offer);
        while most > 0 && rest.contains(&backlog.task) {
            rest = rest.minus(&backlog.task);
            most -= 1;
            backlog.left -= 1;
        }
        if backlog.left == 0 {
            let (framework, role) = (&offer.framework, &offer.role);
            world.allocator.set_demand(framework, role, &[]);
        }
    }
    let rest = GrantedOffer {
        resources: rest,
        ..offer.clone()
    };
    world.give_back(&rest);
}
