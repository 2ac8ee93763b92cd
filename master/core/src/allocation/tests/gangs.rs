//! Gangs that have waited: agents are kept for all of one, and for one at a time.

use proffer_model::{AtMost, DemandEntry, Key};

use super::world::*;
use crate::allocation::Scope;

/// So many agents with four cpus, all of which tasks of one cpu hold, whose framework wants more of them.
fn full_of_slivers(agents: u32) -> World {
    let mut world = World::new(1);
    for i in 0..agents {
        world.agent(&format!("A{i}"), "cpus:4");
    }
    world.demand("small", "a", &[shaped("s", 1_000, "cpus:1")]);
    let offers = world.changed();
    assert_eq!(fits(&offers).values().sum::<u32>(), 4 * agents);
    world
}

fn gang(count: u32) -> DemandEntry {
    DemandEntry {
        gang: count,
        ..shaped("g", count, "cpus:4")
    }
}

/// One task ends on each agent, one after the other; who was granted something meanwhile, and how often.
fn one_ends_on_each(world: &mut World, agents: u32) -> Vec<(String, usize)> {
    let mut granted = std::collections::BTreeMap::new();
    for i in 0..agents {
        let on = format!("A{i}");
        world.release("small", "a", &on, "cpus:1");
        let (id, of) = (framework("small"), entry("s"));
        let on = agent(&on);
        world.allocator.count_down(&id, &role("a"), &of, &on, 1, 0);
        for offer in world.changed() {
            *granted.entry(offer.framework.to_string()).or_default() += 1;
        }
    }
    granted.into_iter().collect()
}

#[test]
fn a_gang_that_has_waited_keeps_as_many_agents_as_it_needs() {
    let mut world = full_of_slivers(4);
    world.demand("f", "b", &[gang(2)]);
    world.changed();
    world.pass(30);
    world.changed();
    // Two of the four are kept: what ends on the others goes on to the small ones.
    for _ in 0..3 {
        assert_eq!(one_ends_on_each(&mut world, 4), [("small".to_owned(), 2)]);
    }
    let granted = one_ends_on_each(&mut world, 4);
    assert!(granted.contains(&("f".to_owned(), 2)), "{granted:?}");
}

#[test]
fn agents_are_kept_for_one_gang_at_a_time() {
    let mut world = full_of_slivers(6);
    for id in ["f", "g"] {
        world.demand(id, "b", &[gang(3)]);
    }
    world.changed();
    world.pass(30);
    world.changed();
    // Half of the agents are left to others, and when the first gang has what it wants, the other one waits for the next.
    for served in ["f", "g"] {
        for _ in 0..3 {
            assert_eq!(one_ends_on_each(&mut world, 6), [("small".to_owned(), 3)]);
        }
        let granted = one_ends_on_each(&mut world, 6);
        let expected = [(served.to_owned(), 3), ("small".to_owned(), 3)];
        assert_eq!(granted, expected);
        // Its tasks make room for small ones as they end.
        world.demand(served, "b", &[]);
        for i in 0..6 {
            let (of, on) = (framework(served), agent(&format!("A{i}")));
            world.allocator.release(&of, &role("b"), &on, &r("cpus:4"));
            if !world.allocator.free(&on).is_empty() {
                let (small, four) = (framework("small"), r("cpus:4"));
                world.allocator.allocate(&small, &role("a"), &on, &four);
            }
        }
        world.changed();
        world.pass(30);
        world.changed();
    }
}

#[test]
fn a_gang_for_which_there_are_not_enough_agents_keeps_none() {
    let mut world = full_of_slivers(4);
    world.demand("f", "b", &[gang(5)]);
    world.changed();
    for _ in 0..4 {
        world.pass(30);
        world.changed();
        assert_eq!(one_ends_on_each(&mut world, 4), [("small".to_owned(), 4)]);
    }
    // A single one beside it is served.
    world.demand("single", "b", &[shaped("l", 1, "cpus:4")]);
    world.changed();
    world.pass(31);
    world.changed();
    let served = (0..4).flat_map(|_| one_ends_on_each(&mut world, 4));
    let served: Vec<_> = served.filter(|(id, _)| id != "small").collect();
    assert_eq!(served, [("single".to_owned(), 1)]);
}

#[test]
fn what_was_kept_for_a_gang_is_free_when_it_is_wanted_no_more() {
    for change in 0..3 {
        let mut world = full_of_slivers(4);
        world.demand("f", "b", &[gang(2)]);
        world.changed();
        world.pass(30);
        world.changed();
        assert_eq!(one_ends_on_each(&mut world, 4), [("small".to_owned(), 2)]);
        match change {
            0 => world.demand("f", "b", &[]),
            1 => world.demand("f", "b", &[shaped("g", 2, "cpus:4")]),
            _ => world.allocator.remove_framework(&framework("f")),
        }
        // What had added up goes too.
        assert_eq!(world.changed().len(), 2, "{change}");
        assert_eq!(one_ends_on_each(&mut world, 4), [("small".to_owned(), 4)]);
    }
}

#[test]
fn a_gang_with_bounds_keeps_agents_that_serve_beside_each_other() {
    let mut world = World::new(1);
    for (id, zone) in [
        ("A0", "eu/a"),
        ("A1", "eu/a"),
        ("A2", "eu/b"),
        ("A3", "eu/b"),
    ] {
        world.agent_at(id, zone, "cpus:4");
    }
    world.demand("small", "a", &[shaped("s", 1_000, "cpus:1")]);
    world.changed();
    // Those of one zone lack less than those of the other.
    world.demand("small", "a", &[]);
    for id in ["A0", "A1"] {
        world.release("small", "a", id, "cpus:1");
    }
    let per_zone = AtMost {
        per: Key::Zone,
        count: 1,
    };
    let spread = DemandEntry {
        at_most: vec![per_zone],
        ..gang(2)
    };
    world.demand("f", "b", &[spread]);
    world.changed();
    world.pass(30);
    world.changed();
    world.demand("small", "a", &[shaped("s", 1_000, "cpus:1")]);
    world.changed();
    let mut granted = Vec::new();
    for _ in 0..5 {
        granted.extend(one_ends_on_each(&mut world, 4));
    }
    assert!(granted.contains(&("f".to_owned(), 2)), "{granted:?}");
}

#[test]
fn what_is_kept_for_a_gang_is_open_to_a_guarantee() {
    let mut world = full_of_slivers(4);
    world.quota("z", "cpus:2", "");
    world.demand("f", "b", &[gang(2)]);
    world.changed();
    world.pass(30);
    world.changed();
    world.demand("small", "a", &[]);
    for i in 0..4 {
        world.release("small", "a", &format!("A{i}"), "cpus:1");
        world.changed();
    }
    // What it is owed goes to it though all but two of them are kept, and no more of those.
    world.demand("owed", "z", &[shaped("web", 4, "cpus:1")]);
    assert_eq!(totals(&world.changed())["owed"].1, "cpus:4");
    world.demand("owed", "z", &[shaped("web", 8, "cpus:1")]);
    assert_eq!(world.changed().len(), 0);
}

#[test]
fn an_agent_that_goes_between_two_steps_is_replaced_by_another() {
    for steps in 0..12 {
        for gone in ["A1", "A2", "A3"] {
            let mut world = World::new(steps);
            for id in ["A1", "A2", "A3"] {
                world.agent(id, "cpus:1");
            }
            let two = DemandEntry {
                gang: 2,
                ..shaped("g", 2, "cpus:1")
            };
            world.demand("f", "a", &[two]);
            let mut granted = 0;
            for _ in 0..steps {
                let run = world.allocator.run(world.now, Scope::Changed, 1);
                granted += run.grants.len();
            }
            world.allocator.set_agent_active(&agent(gone), false);
            granted += world.changed().len();
            assert_eq!(granted, 2, "{gone} after {steps} steps");
        }
    }
}
