//! What is said of why an agent is not offered.

use proffer_model::{DemandEntry, Shape};

use super::world::*;
use crate::allocation::{Lacking, Obstacle};

fn why(world: &World, id: &str, path: &str, of: &str) -> Vec<Obstacle> {
    let found = world
        .allocator
        .explain(&framework(id), &role(path), &entry(of));
    found
        .expect("it wants something")
        .agents
        .into_keys()
        .collect()
}

#[test]
fn what_others_have_reserved_or_an_entry_does_not_take_is_not_said_to_come() {
    let total = [
        ("cpus(db):8;mem(db):800", Obstacle::ReservedForOthers),
        ("cpus{REV}:8;mem{REV}:800", Obstacle::NotTaken),
        ("cpus(db):8;cpus{REV}:8", Obstacle::NotTaken),
        ("cpus:0.001;cpus(db):8", Obstacle::ReservedForOthers),
        ("cpus:0.001", Obstacle::BelowLeast),
    ];
    for (total, obstacle) in total {
        let mut world = World::new(1);
        world.agent("A", total);
        world.framework("f", "*");
        assert!(world.all().is_empty(), "{total}");
        assert_eq!(why(&world, "f", "*", "any"), [obstacle], "{total}");
    }
    let mut world = World::new(1);
    world.agent("A", "cpus{REV}:8;cpus(db):8");
    let mut takes_revocable = any();
    takes_revocable.takes.revocable = true;
    takes_revocable.shape = Shape::Any {
        least: vec![quantities("cpus:9")],
    };
    world.demand("f", "*", &[takes_revocable]);
    assert!(world.all().is_empty());
    assert_eq!(
        why(&world, "f", "*", "any"),
        [Obstacle::ReservedForOthers],
        "with what it takes it has too little"
    );
}

#[test]
fn what_was_refused_of_what_a_limit_leaves_is_excluded() {
    let mut world = World::new(1);
    world.quota("r", "", "cpus:2");
    world.agent("A", "cpus:4;mem:100");
    world.framework("f", "r");
    assert_eq!(lines(&world.changed()), ["f r A cpus:2;mem:100"]);
    world.decline("f", "r", "A", "cpus:2;mem:100", Some(3_600));
    assert!(world.all().is_empty());
    assert_eq!(why(&world, "f", "r", "any"), [Obstacle::Excluded]);
    // The same with what a guarantee of others leaves.
    let mut world = World::new(1);
    world.quota("g", "cpus:1", "");
    world.agent("A", "cpus:4;mem:100");
    world.framework("f", "r");
    assert_eq!(lines(&world.changed()), ["f r A cpus:3;mem:100"]);
    world.decline("f", "r", "A", "cpus:3;mem:100", Some(3_600));
    assert!(world.all().is_empty());
    assert_eq!(why(&world, "f", "r", "any"), [Obstacle::Excluded]);
}

#[test]
fn a_limit_is_in_the_way_where_a_guarantee_is_too() {
    let mut world = World::new(1);
    world.quota("r", "", "cpus:2");
    world.quota("g", "mem:90", "");
    world.agent("A", "cpus:4;mem:100");
    let mut picky = any();
    picky.shape = Shape::Any {
        least: vec![quantities("cpus:3"), quantities("mem:50")],
    };
    world.demand("f", "r", &[picky]);
    assert!(world.all().is_empty());
    let of_cpus = Obstacle::Limit(role("r"), "cpus".parse().unwrap());
    assert_eq!(why(&world, "f", "r", "any"), [of_cpus]);
}

#[test]
fn what_an_agent_does_not_have_at_all_is_named() {
    let total = "cpus:4;mem:100;ports:[5-9];zones:{b};cpus{REV}:2;cpus(db):2";
    for (needs, lacking) in [
        ("cpu:1", "cpu"),
        ("cpus:0.1;cpu:0.1", "cpu"),
        ("gpus:1", "gpus"),
        ("cpus:1;ports:[1-1]", "ports"),
        ("ports:[1-1]", "ports"),
        ("zones:{a}", "zones"),
        ("cpus:1;racks:{a}", "racks"),
        ("mem{REV}:1", "mem{REV}"),
        ("cpus{REV}:9", "cpus{REV}"),
        ("mem:10;cpus(db):1", "cpus(db)"),
    ] {
        assert_eq!(too_small(total, "*", shaped("e", 1, needs)), lacking);
    }
}

#[test]
fn what_is_reserved_for_a_role_is_not_what_its_entry_lacks() {
    let total = "cpus:2;cpus(eng):4;mem:100;ports:[1-9]";
    for (needs, lacking) in [
        ("cpus:4;racks:{a}", "racks"),
        ("cpus:6;ids:[1-2]", "ids"),
        ("cpus:7;racks:{a}", "cpus"),
        ("cpus:3;cpus(eng):4", "cpus"),
        ("cpus:2;cpus(eng):5", "cpus(eng)"),
        ("cpus:3;cpus(eng):3;mem(eng):1", "mem(eng)"),
    ] {
        assert_eq!(too_small(total, "eng", shaped("e", 1, needs)), lacking);
    }
    let mut counted = shaped("e", 1, "cpus:4");
    if let Shape::Of { counts, .. } = &mut counted.shape {
        let wanted = [("ids", 1), ("ports", 9), ("zones", 1)];
        counts.extend(wanted.map(|(name, count)| (name.parse().unwrap(), count)));
    }
    assert_eq!(too_small(total, "eng", counted), "ids");
    let mut counted = shaped("e", 1, "cpus:4");
    if let Shape::Of { counts, .. } = &mut counted.shape {
        let wanted = [("ports", 9), ("zones", 1)];
        counts.extend(wanted.map(|(name, count)| (name.parse().unwrap(), count)));
    }
    assert_eq!(too_small(total, "eng", counted), "zones");
}

/// What an agent that has all of this is too small in for an entry.
fn too_small(total: &str, path: &str, entry: DemandEntry) -> String {
    let mut world = World::new(1);
    world.agent("A", total);
    world.demand("f", path, &[entry]);
    assert!(world.all().is_empty());
    let found = why(&world, "f", path, "e");
    match &*found {
        [Obstacle::TooSmall(Lacking::Amount(kind))] => kind.to_string(),
        [Obstacle::TooSmall(Lacking::Count(name))] => name.to_string(),
        _ => panic!("{found:?}"),
    }
}
