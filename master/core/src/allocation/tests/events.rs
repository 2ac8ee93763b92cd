//! What an event costs those who wait, in steps: bounds, gangs, and guarantees of one name while another is free. Not more with
//! more agents.

use proffer_model::{AtMost, DemandEntry, Key};

use super::world::*;

fn each(sizes: [u32; 2], cost: impl Fn(u32) -> Vec<u32>) {
    let [few, many] = sizes.map(cost);
    assert_eq!(few, many, "with {} agents and with {}", sizes[0], sizes[1]);
}

/// A task of an entry ends, and another one is offered; what that took.
fn end(world: &mut World, id: &str, of: &str, on: &str, what: &str) -> u32 {
    world.release(id, "r", on, what);
    let (id, of, on) = (framework(id), entry(of), agent(on));
    world.allocator.unplace(&id, &role("r"), &of, &on, 1);
    world.changed();
    world.last.steps
}

#[test]
fn the_end_of_a_task_of_an_entry_with_bounds_is_looked_at_where_it_was() {
    each([20, 400], |agents| {
        let daemon = DemandEntry {
            at_most: vec![AtMost {
                per: Key::Agent,
                count: 1,
            }],
            ..shaped("daemon", 1_000, "cpus:1")
        };
        let mut world = World::new(1);
        for i in 0..agents {
            world.agent(&format!("A{i}"), "cpus:2;mem:64");
        }
        world.demand("f", "r", &[daemon]);
        for offer in world.changed() {
            let (of, on) = (framework("f"), &offer.agent);
            let count = offer.fits[0].count;
            world
                .allocator
                .count_down(&of, &role("r"), &entry("daemon"), on, count, 0);
        }
        world.changed();
        let costs = (0..3).map(|i| {
            let on = format!("A{i}");
            let steps = end(&mut world, "f", "daemon", &on, "cpus:1");
            let placed = world
                .allocator
                .offered(&framework("f"), &role("r"), &entry("daemon"));
            assert_eq!(
                placed,
                Some(i + 1),
                "it is offered where there is room again"
            );
            steps
        });
        costs.collect()
    });
}

#[test]
fn a_zone_that_has_room_again_is_found_wherever_that_is() {
    let mut world = World::new(1);
    for (id, zone) in [("A1", "eu/a"), ("A2", "eu/a"), ("A3", "eu/b")] {
        world.agent_at(id, zone, "cpus:1");
    }
    let per_zone = DemandEntry {
        at_most: vec![AtMost {
            per: Key::Zone,
            count: 1,
        }],
        ..shaped("web", 10, "cpus:1")
    };
    world.demand("f", "r", &[per_zone]);
    let offers = world.changed();
    assert_eq!(offers.len(), 2);
    for offer in &offers {
        let (of, on) = (framework("f"), &offer.agent);
        world
            .allocator
            .count_down(&of, &role("r"), &entry("web"), on, 1, 0);
    }
    let on = offers.iter().map(|offer| offer.agent.to_string());
    let of_zone = on.clone().find(|on| on != "A3").unwrap();
    // What the task held goes to another framework; there is room in its zone all the same.
    let (of, one) = (framework("g"), r("cpus:1"));
    world.release("f", "r", &of_zone, "cpus:1");
    world
        .allocator
        .allocate(&of, &role("r"), &agent(&of_zone), &one);
    let web = entry("web");
    world
        .allocator
        .unplace(&framework("f"), &role("r"), &web, &agent(&of_zone), 1);
    let other = if of_zone == "A1" { "A2" } else { "A1" };
    assert_eq!(lines(&world.changed()), [format!("f r {other} cpus:1")]);
}

/// So many agents of which somebody holds all.
fn busy(agents: u32, all: &str) -> World {
    let mut world = World::new(1);
    for i in 0..agents {
        let id = format!("A{i}");
        world.agent(&id, all);
        world
            .allocator
            .allocate(&framework("busy"), &role("r"), &agent(&id), &r(all));
    }
    world.changed();
    world
}

#[test]
fn a_gang_that_waits_looks_again_when_there_may_be_enough() {
    each([20, 400], |agents| {
        let mut world = busy(agents, "cpus:2");
        let gang = DemandEntry {
            gang: 6,
            ..shaped("gang", 6, "cpus:2")
        };
        world.demand("f", "r", &[gang]);
        world.changed();
        let mut costs = Vec::new();
        for i in 0..5 {
            world.release("busy", "r", &format!("A{i}"), "cpus:2");
            assert_eq!(world.changed().len(), 0);
            costs.push(world.last.steps);
        }
        world.release("busy", "r", "A5", "cpus:2");
        assert_eq!(world.changed().len(), 6);
        costs
    });
}

#[test]
fn a_gang_that_waits_finds_what_came_and_went_and_came_again() {
    let mut world = busy(9, "cpus:2");
    let gang = DemandEntry {
        gang: 3,
        ..shaped("gang", 3, "cpus:2")
    };
    world.demand("f", "r", &[gang]);
    world.changed();
    let (of, two) = (framework("busy"), r("cpus:2"));
    for turn in 0..4 {
        for id in ["A0", "A1"] {
            world.release("busy", "r", id, "cpus:2");
            assert_eq!(world.changed().len(), 0, "{turn}");
        }
        for id in ["A0", "A1"] {
            world.allocator.allocate(&of, &role("r"), &agent(id), &two);
            assert_eq!(world.changed().len(), 0, "{turn}");
        }
    }
    // Less is wanted: a gang of two is enough then.
    world.release("busy", "r", "A0", "cpus:2");
    world.release("busy", "r", "A4", "cpus:2");
    assert_eq!(world.changed().len(), 0);
    let fewer = DemandEntry {
        gang: 3,
        ..shaped("gang", 2, "cpus:2")
    };
    world.demand("f", "r", &[fewer]);
    assert_eq!(world.changed().len(), 2);
}

#[test]
fn where_one_name_is_held_back_what_ends_is_not_looked_for_everywhere() {
    each([20, 400], |agents| {
        let mut world = World::new(1);
        world.quota("z", "cpus:4000", "");
        for i in 0..agents {
            let id = format!("A{i}");
            world.agent(&id, "cpus:4;mem:1000");
            world.allocator.allocate(
                &framework("busy"),
                &role("r"),
                &agent(&id),
                &r("cpus:3;mem:990"),
            );
        }
        world.framework("any", "r");
        world.changed();
        let mut costs = Vec::new();
        for i in 0..4 {
            world.release("busy", "r", &format!("A{i}"), "cpus:1;mem:8");
            assert_eq!(world.changed().len(), 0);
            costs.push(world.last.steps);
        }
        // When the guarantee is gone, all of it is there.
        world.allocator.set_quota(&role("z"), None);
        assert_eq!(u32::try_from(world.changed().len()), Ok(agents));
        costs
    });
}

#[test]
fn who_comes_later_is_offered_a_shared_volume_too() {
    let mut world = World::new(1);
    world.quota("r/a", "", "cpus:1");
    world.framework("a", "r/a");
    world.agent("A", "cpus:2;disk(r)[v]<SHARED>:64");
    let granted = world.changed();
    assert_eq!(lines(&granted), ["a r/a A cpus:1;disk(r)[v]<SHARED>:64"]);
    world.framework("b", "r/b");
    let granted = world.changed();
    assert_eq!(lines(&granted), ["b r/b A cpus:1;disk(r)[v]<SHARED>:64"]);
}
