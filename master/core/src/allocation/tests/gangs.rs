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

/// A gang of so many, one in each zone.
fn one_in_each_zone(count: u32) -> DemandEntry {
    let per_zone = AtMost {
        per: Key::Zone,
        count: 1,
    };
    DemandEntry {
        at_most: vec![per_zone],
        ..gang(count)
    }
}

#[test]
fn a_gang_with_bounds_keeps_agents_that_serve_beside_each_other() {
    // So many agents in each zone: those that lack least may all be in one of them.
    for agents in [&[2, 2][..], &[20, 10, 10]] {
        let mut world = World::new(1);
        let zones = (0..).zip(agents);
        let zones = zones.flat_map(|(zone, agents)| (0..*agents).map(move |_| zone));
        let zones: Vec<u32> = zones.collect();
        for (i, zone) in zones.iter().enumerate() {
            world.agent_at(&format!("A{i}"), &format!("eu/{zone}"), "cpus:4");
        }
        world.demand("small", "a", &[shaped("s", 1_000, "cpus:1")]);
        world.changed();
        // Those of one zone lack less than those of the others.
        world.demand("small", "a", &[]);
        for i in 0..agents[0] {
            world.release("small", "a", &format!("A{i}"), "cpus:1");
        }
        let count = u32::try_from(agents.len()).unwrap();
        world.demand("f", "b", &[one_in_each_zone(count)]);
        world.changed();
        world.pass(30);
        world.changed();
        world.demand("small", "a", &[shaped("s", 1_000, "cpus:1")]);
        world.changed();
        let mut granted = Vec::new();
        for _ in 0..5 {
            let all = u32::try_from(zones.len()).unwrap();
            granted.extend(one_ends_on_each(&mut world, all));
        }
        let expected = ("f".to_owned(), agents.len());
        assert!(granted.contains(&expected), "{granted:?}");
    }
}

/// Runs of so many steps until all is done: the steps of each.
fn steps_of_runs(world: &mut World, steps_max: u32) -> Vec<u32> {
    let mut steps = Vec::new();
    loop {
        let run = world.allocator.run(world.now, Scope::Changed, steps_max);
        world.allocator.check().expect("sums are right");
        assert!(run.grants.is_empty());
        steps.push(run.steps);
        if run.is_done {
            return steps;
        }
    }
}

#[test]
fn to_choose_the_agents_of_a_gang_is_cut_into_steps() {
    let kept_in = |world: &World| {
        let kept = world.allocator.agents.iter();
        kept.filter(|(_, agent, _)| agent.earmark != u32::MAX)
            .count()
    };
    // The one fits on too few, since there are four zones only; of the other each agent takes one.
    for (entry, kept) in [(one_in_each_zone(5), 0), (gang(100), 100)] {
        let mut world = World::new(1);
        for i in 0..400 {
            let id = format!("A{i}");
            world.agent_at(&id, &format!("eu/{}", i % 4), "cpus:4");
            let (busy, of) = (framework("busy"), agent(&id));
            world
                .allocator
                .allocate(&busy, &role("r"), &of, &r("cpus:2"));
        }
        let count = if kept > 0 { 100 } else { 400 };
        world.demand("f", "b", &[entry]);
        world.changed();
        world.pass(31);
        let steps = steps_of_runs(&mut world, 50);
        assert_eq!(kept_in(&world), kept);
        // All are looked at, then those that lack least are, beside each other; what is chosen is kept in one go.
        assert!(steps.iter().sum::<u32>() >= 2 * 400 + 2 * count);
        let most = 52 + u32::try_from(kept).unwrap();
        assert!(steps.iter().all(|steps| *steps <= most), "{steps:?}");
        if kept > 0 {
            // One is lost, and all that are left are looked at; then all of them were kept in vain.
            world.allocator.set_agent_active(&agent("A0"), false);
            world.changed();
            assert!(world.last.steps >= 2 * 400 + 99);
            assert_eq!(kept_in(&world), kept);
            world.pass(300);
            world.changed();
            assert!(world.last.steps >= 100, "{}", world.last.steps);
            assert_eq!(kept_in(&world), 0);
        }
    }
}

#[test]
fn an_agent_that_goes_while_a_gang_is_chosen_is_replaced_by_another() {
    for gone in 0..40 {
        let mut world = World::new(1);
        for i in 0..12 {
            world.agent(&format!("A{i}"), "cpus:4");
            let (busy, of) = (framework("busy"), agent(&format!("A{i}")));
            world
                .allocator
                .allocate(&busy, &role("r"), &of, &r("cpus:2"));
        }
        world.demand("f", "b", &[gang(5)]);
        world.changed();
        world.pass(31);
        for _ in 0..gone {
            world.allocator.run(world.now, Scope::Changed, 1);
        }
        // Another one has its number then, on which no instance fits.
        world.allocator.remove_agent(&agent("A2"));
        world.agent("B", "cpus:3");
        world.changed();
        let kept = world.allocator.agents.iter();
        let kept = kept.filter(|(_, agent, _)| agent.earmark != u32::MAX);
        let kept: Vec<_> = kept.map(|(.., known)| known.id.clone()).collect();
        assert_eq!(kept.len(), 5, "after {gone} steps: {kept:?}");
        assert!(!kept.contains(&agent("B")), "after {gone} steps: {kept:?}");
    }
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
