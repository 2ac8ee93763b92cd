//! Who looks at agents of which something comes back: nobody in vain, and whoever might have it.

use proffer_model::{AtMost, DemandEntry, Key};

use super::world::*;
use crate::allocation::{Obstacle, Scope};

const LATER: u64 = 1_000_000_000_000;

fn exclude(world: &mut World, id: &str, of: &str, from: &str, refused: &str) {
    let (id, of, from) = (framework(id), entry(of), agent(from));
    world
        .allocator
        .exclude(&id, &role("a"), &of, &from, &r(refused), LATER);
}

#[test]
fn who_refused_an_agent_looks_again_when_a_volume_is_made_there_that_all_may_have() {
    let mut world = World::new(1);
    world.agent("A", "cpus:2;mem:1024;disk(a):20");
    let (f1, a, of) = (framework("f1"), role("a"), agent("A"));
    world.allocator.allocate(&f1, &a, &of, &r("disk(a):20"));
    world.demand("f2", "a", &[shaped("web", 1, "cpus:1;mem:64")]);
    exclude(&mut world, "f2", "web", "A", "cpus:2;mem:1024");
    assert_eq!(world.changed().len(), 0);
    let (from, to) = (r("disk(a):20"), r("disk(a)[v]<SHARED>:20"));
    world.allocator.convert(&f1, &a, &of, &from, &to);
    assert_eq!(world.changed().len(), 1);
}

#[test]
fn who_begins_to_want_while_agents_are_looked_at_is_first_when_its_share_is_the_least() {
    let mut world = World::new(1);
    world.agent("A", "cpus:10;mem:1000");
    let (f1, a, of) = (framework("f1"), role("a"), agent("A"));
    world.allocator.allocate(&f1, &a, &of, &r("cpus:9;mem:900"));
    let busy = framework("busy");
    world
        .allocator
        .allocate(&busy, &a, &of, &r("cpus:1;mem:64"));
    world.demand("f1", "a", &[shaped("web", 1, "cpus:1;mem:64")]);
    world.changed();
    world.release("busy", "a", "A", "cpus:1;mem:64");
    assert!(!world.allocator.run(world.now, Scope::Changed, 1).is_done);
    world.demand("f2", "a", &[shaped("web", 1, "cpus:1;mem:64")]);
    assert_eq!(lines(&world.changed()), ["f2 a A cpus:1;mem:64"]);
}

#[test]
fn a_gang_that_was_tried_in_vain_has_waited_all_the_time() {
    let gang = DemandEntry {
        gang: 4,
        at_most: vec![AtMost {
            per: Key::Zone,
            count: 2,
        }],
        ..shaped("gang", 4, "cpus:1;mem:64")
    };
    let mut world = World::new(1);
    for id in ["A", "B"] {
        world.agent_at(id, "eu/a", "cpus:2;mem:1024");
    }
    world.demand("f", "a", &[gang]);
    world.changed();
    let since = |world: &World| {
        let found = world
            .allocator
            .find_entry(&framework("f"), &role("a"), &entry("gang"));
        world
            .allocator
            .entry(found.expect("it is there"))
            .waiting_since
    };
    let before = since(&world);
    assert!(before.is_some());
    world.pass(5);
    world.agent_at("C", "eu/a", "cpus:2;mem:1024");
    assert_eq!(world.changed().len(), 0);
    assert_eq!(since(&world), before);
}

#[test]
fn what_an_operator_reserves_for_others_ends_no_exclusion_of_a_shape() {
    let mut world = World::new(1);
    world.agent("A", "cpus:4");
    world.agent("B", "cpus:2");
    world.demand("f", "r", &[shaped("web", 4, "cpus:1")]);
    let offers = world.changed();
    for offer in &offers {
        let (of, path, on) = (framework("f"), role("r"), &offer.agent);
        world.allocator.release(&of, &path, on, &offer.resources);
        for fit in &offer.fits {
            let (id, count) = (&fit.demand, fit.count);
            world.allocator.count_down(&of, &path, id, on, 0, count);
            let until = world.now.mono_ns + 1_000_000_000_000;
            world
                .allocator
                .exclude(&of, &path, id, on, &offer.resources, until);
        }
    }
    assert!(world.all().is_empty());
    let reserve = |world: &mut World, from: &str, to: &str| {
        world
            .allocator
            .convert_free(&agent("A"), &r(from), &r(to))
            .expect("reserved");
    };
    reserve(&mut world, "cpus:1", "cpus(db):1");
    assert!(
        world.changed().is_empty(),
        "there is less for it than before"
    );
    assert!(world.all().is_empty());
    let why = world
        .allocator
        .explain(&framework("f"), &role("r"), &entry("web"));
    assert_eq!(
        why.expect("it wants something").agents,
        [(Obstacle::Excluded, 2)].into()
    );
    // What is reserved for its own role is something that it has not refused.
    reserve(&mut world, "cpus:1", "cpus(r):1");
    assert_eq!(world.changed().len(), 1);
}
