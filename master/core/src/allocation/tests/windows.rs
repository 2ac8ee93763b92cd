//! Windows by themselves, and exclusions that have ended in their thousands.

use std::time::Duration;

use super::world::*;
use crate::allocation::{Options, Scope};

/// So many agents of one cpu each, and frameworks that want everything.
fn crowd(agents: usize, frameworks: &[&str]) -> World {
    let mut world = World::new(7);
    for i in 0..agents {
        world.agent(&format!("A{i}"), "cpus:1;mem:64");
    }
    for id in frameworks {
        world.allocator.set_window(&framework(id), Some(4));
        world.framework(id, "r");
    }
    world
}

fn out(world: &World, id: &str) -> u32 {
    world.allocator.offers_out(&framework(id))
}

#[test]
fn windows_bound_those_that_compete_and_nobody_alone() {
    let mut world = crowd(20, &["a"]);
    assert_eq!(world.changed().len(), 20, "it is alone");
    let mut world = crowd(20, &["a", "b"]);
    assert_eq!(world.changed().len(), 8);
    assert_eq!([out(&world, "a"), out(&world, "b")], [4, 4]);
    // One of them leaves: the other may have everything.
    world.allocator.set_framework_active(&framework("b"), false);
    assert_eq!(world.changed().len(), 12);
    assert_eq!(out(&world, "a"), 16);
    // And back: nothing is taken from anybody, and nothing is given.
    world.allocator.set_framework_active(&framework("b"), true);
    assert!(world.changed().is_empty());
    for _ in 0..12 {
        world.allocator.end_offer(&framework("a"));
    }
    assert_eq!(out(&world, "a"), 4);
    world.allocator.set_window(&framework("b"), None);
    world.allocator.check().expect("all sums");
}

#[test]
fn a_window_is_of_a_framework_in_all_its_roles() {
    let mut world = crowd(20, &["a", "b"]);
    world.framework("a", "s");
    world.framework("a", "t");
    assert_eq!(world.changed().len(), 8);
    assert_eq!(out(&world, "a"), 4);
    world.allocator.remove_framework(&framework("a"));
    assert_eq!(world.changed().len(), 16, "b alone has all that is left");
    world.allocator.check().expect("all sums");
}

#[test]
fn who_gets_what_it_wants_opens_the_way_for_others_in_the_same_run() {
    let mut world = crowd(20, &["a"]);
    world.demand("b", "r", &[shaped("t", 5, "cpus:1;mem:64")]);
    assert_eq!(world.changed().len(), 20);
    assert_eq!([out(&world, "a"), out(&world, "b")], [15, 5]);
}

#[test]
fn while_it_is_closed_a_demand_of_many_entries_is_counted_once() {
    let mut world = crowd(20, &["b"]);
    world.allocator.set_window(&framework("a"), Some(4));
    let ids: Vec<String> = (0..100).map(|i| format!("t{i:03}")).collect();
    let entries: Vec<_> = ids
        .iter()
        .map(|id| shaped(id, 1, "cpus:1;mem:64"))
        .collect();
    world.demand("a", "r", &entries);
    let grants = world.changed();
    let granted: Vec<_> = grants
        .iter()
        .filter(|it| it.framework == framework("a"))
        .collect();
    assert_eq!(granted.len(), 4, "it is closed now");
    world.allocator.check().expect("all sums");
    let before = world.allocator.recounted;
    for grant in granted {
        for fit in &grant.fits {
            let (framework, role, agent) = (&grant.framework, &grant.role, &grant.agent);
            let allocator = &mut world.allocator;
            allocator.count_down(framework, role, &fit.demand, agent, 0, fit.count);
            allocator.check().expect("whether it wants something");
        }
    }
    assert_eq!(world.allocator.recounted, before);
    world.allocator.end_offer(&framework("a"));
    world.changed();
    world.allocator.check().expect("open again");
}

#[test]
fn exclusions_that_have_ended_are_swept_and_those_that_stand_stay() {
    let mut world = World::with(Options {
        earmark_after: Duration::from_secs(100_000),
        ..Options::default()
    });
    world.agent("A", "cpus:1;mem:64");
    world.agent("B", "cpus:1;mem:64");
    world.demand("f", "r", &[shaped("t", 1, "cpus:1;mem:64")]);
    world.demand("g", "r", &[shaped("t", 1, "cpus:1;mem:64")]);
    let nothing = r("");
    let second = 1_000_000_000;
    // Ten thousand that end at once, as by demand that is set anew again and again; g's two are among them.
    let exclude = |world: &mut World, id: &str, of: &str, until: u64| {
        let (id, of) = (framework(id), agent(of));
        let allocator = &mut world.allocator;
        allocator.exclude(&id, &role("r"), &entry("t"), &of, &nothing, until * second);
    };
    exclude(&mut world, "g", "A", 50);
    exclude(&mut world, "g", "B", 60);
    for i in 0..10_000 {
        exclude(&mut world, "f", "A", 100 + i);
        world
            .allocator
            .clear_exclusions(&framework("f"), &role("r"));
    }
    exclude(&mut world, "f", "A", 30);
    exclude(&mut world, "f", "B", 40);
    assert!(
        world.allocator.ends.len() < 4_000,
        "{}",
        world.allocator.ends.len()
    );
    // The last is when somebody would have waited long, of whom nobody waits any more.
    for (at, next, granted) in [
        (0, Some(30), 0),
        (30, Some(40), 1),
        (40, Some(50), 0),
        (60, Some(100_000), 1),
    ] {
        world.now.mono_ns = at * second;
        let run = world.allocator.run(world.now, Scope::Changed, u32::MAX);
        assert_eq!(run.grants.len(), granted, "at {at}");
        assert_eq!(run.look_again_at.map(|ns| ns / second), next, "after {at}");
    }
}
