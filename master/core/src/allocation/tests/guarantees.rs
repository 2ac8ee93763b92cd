//! Guarantees for claims with shapes: served first, as far as they go, and what that costs those who wait.

use proffer_model::{DemandEntry, Predicate};

use super::world::*;
use crate::allocation::Scope;

const SEEDS: u64 = 60;

/// A role that is guaranteed this, whose framework wants that, beside one whose framework wants eight of one cpu; the
/// guaranteed role comes last in the order of paths.
fn beside_others(seed: u64, guaranteed: &str, wanted: DemandEntry) -> World {
    let mut world = World::new(seed);
    world.quota("z", guaranteed, "");
    world.demand("owed", "z", &[wanted]);
    world.demand("other", "a", &[shaped("web", 8, "cpus:1")]);
    world
}

#[test]
fn a_guarantee_whose_shape_fits_on_one_agent_alone_has_that_agent_first() {
    for seed in 0..SEEDS {
        let mut world = beside_others(seed, "cpus:4", shaped("large", 1, "cpus:4"));
        for (id, cpus) in [("A1", 2), ("A2", 4), ("A3", 2)] {
            world.agent(id, &format!("cpus:{cpus}"));
        }
        let offers = world.changed();
        assert_eq!(fits(&offers)[&("large".to_owned(), "A2".to_owned())], 1);
        assert_eq!(totals(&offers)["other"].1, "cpus:4");
    }
}

#[test]
fn a_gang_that_is_guaranteed_has_its_agents_first() {
    for seed in 0..SEEDS {
        let gang = DemandEntry {
            gang: 2,
            ..shaped("gang", 2, "cpus:3")
        };
        let mut world = beside_others(seed, "cpus:6", gang);
        for (id, cpus) in [("A1", 4), ("A2", 4), ("A3", 2)] {
            world.agent(id, &format!("cpus:{cpus}"));
        }
        let offers = world.changed();
        assert_eq!(totals(&offers)["owed"], (2, "cpus:6".to_owned()));
        assert_eq!(totals(&offers)["other"].1, "cpus:4");
    }
}

#[test]
fn a_guarantee_is_served_first_as_far_as_it_goes() {
    for (guaranteed, expected) in [
        ("cpus:2", ["cpus:2", "cpus:6"]),
        ("cpus:3.5", ["cpus:4", "cpus:4"]),
    ] {
        let mut world = beside_others(1, guaranteed, shaped("web", 8, "cpus:1"));
        world.agent("A1", "cpus:8");
        // The other one has the smaller share as soon as the guarantee is met.
        let totals = totals(&world.changed());
        assert_eq!([&*totals["owed"].1, &*totals["other"].1], expected);
    }
}

#[test]
fn what_no_guarantee_speaks_of_is_shared_as_ever() {
    let mut world = beside_others(1, "cpus:4", shaped("cache", 1, "mem:64"));
    world.demand("other", "a", &[shaped("cache", 1, "mem:64")]);
    world.agent("A1", "cpus:4;mem:128");
    assert_eq!(world.changed().len(), 2);
    world.demand("owed", "z", &[shaped("cache", 2, "mem:64")]);
    world.demand("other", "a", &[shaped("cache", 2, "mem:64")]);
    world.demand("third", "b", &[shaped("cache", 1, "mem:64")]);
    world.agent("A2", "cpus:4;mem:64");
    assert_eq!(lines(&world.changed()), ["third b A2 mem:64"]);
}

#[test]
fn who_is_owed_something_comes_first_in_the_explanation_too() {
    let mut world = beside_others(1, "gpus:1", shaped("etl", 9, "cpus:1"));
    world.agent("A1", "cpus:1");
    let (of, on) = (framework("owed"), agent("A1"));
    world.allocator.allocate(&of, &role("z"), &on, &r("cpus:1"));
    world.changed();
    let before = |world: &World, of: &str, path: &str, id: &str| {
        let why = world
            .allocator
            .explain(&framework(of), &role(path), &entry(id));
        why.expect("it is there").claims_before
    };
    // Nobody wants a gpu, so shares decide.
    assert_eq!(before(&world, "owed", "z", "etl"), 1);
    assert_eq!(before(&world, "other", "a", "web"), 0);
    let train = shaped("train", 1, "gpus:1");
    world.demand("owed", "z", &[shaped("etl", 9, "cpus:1"), train.clone()]);
    world.changed();
    assert_eq!(before(&world, "other", "a", "web"), 1);
    // Whoever has less is before it, but for what it is owed.
    let of_owed = |world: &World| ["train", "etl"].map(|id| before(world, "owed", "z", id));
    assert_eq!(of_owed(&world), [0, 1]);
    world.demand("third", "b", &[shaped("web", 1, "cpus:1")]);
    assert_eq!(of_owed(&world), [0, 2]);
    assert_eq!(before(&world, "third", "b", "web"), 2);
    // Of those that are owed something, shares decide.
    world.demand("fourth", "z", &[train]);
    assert_eq!(of_owed(&world), [1, 3]);
    assert_eq!(before(&world, "fourth", "z", "train"), 0);
}

#[test]
fn to_count_who_comes_first_is_cut_by_what_it_looks_at() {
    let counted = |last: &str| {
        let mut world = beside_others(1, "gpus:1", shaped("unused", 0, "cpus:1"));
        world.agent("A1", "cpus:0.5");
        let etl = |i| shaped(&format!("etl-{i}"), 1, "cpus:1");
        let mut wanted: Vec<_> = (0..40).map(etl).collect();
        wanted.push(shaped("train", 1, last));
        for i in 0..10 {
            world.demand(&format!("f{i}"), "z", &wanted);
        }
        world.changed();
        world.agent("A2", "cpus:0.5");
        world.changed();
        let (of, path) = (framework("other"), role("a"));
        let piece = |from, most| world.allocator.claims_before(&of, &path, from, most);
        let whole = piece(0, u32::MAX);
        let (mut next, mut found, mut pieces) = (Some(0), 0, 0);
        while let Some(from) = next {
            let part = piece(from, 15);
            assert!(part.steps < 15 + 12, "{part:?}");
            (next, found, pieces) = (part.next, found + part.before.others, pieces + 1);
        }
        assert_eq!(found, whole.before.others);
        (whole.steps, pieces, found)
    };
    // One step for each of twelve claims, and for each four entries of the ten.
    assert_eq!(counted("gpus:1"), (12 + 10 * 10, 5, 10));
    // What has nothing to do with what is lacking is known to be so.
    let (steps, _, found) = counted("cpus:1");
    assert_eq!((steps, found), (12, 0));
}

#[test]
fn of_a_role_that_is_owed_something_every_entry_has_its_turn() {
    let mut world = beside_others(1, "cpus:2", shaped("unused", 0, "cpus:1"));
    let nowhere = DemandEntry {
        predicates: vec![Predicate::Host("nowhere".to_owned())],
        ..shaped("nowhere", 5, "cpus:1")
    };
    let entries = [
        nowhere,
        shaped("cache", 1, "mem:64"),
        shaped("web", 2, "cpus:1"),
    ];
    world.demand("owed", "z", &entries);
    world.agent("A1", "cpus:2;mem:64");
    assert_eq!(totals(&world.changed())["owed"].1, "cpus:2;mem:64");
}

#[test]
fn thousands_who_wait_beside_a_guarantee_are_not_looked_at_one_by_one() {
    let cost = |frameworks: u32| {
        let mut world = World::new(1);
        world.quota("z", "cpus:8", "");
        world.agent("A1", "cpus:8");
        world.demand("owed", "z", &[shaped("large", 2, "cpus:4")]);
        for i in 0..frameworks {
            world.demand(&format!("f{i}"), "a", &[shaped("web", 5, "cpus:1")]);
        }
        assert_eq!(totals(&world.changed())["owed"].1, "cpus:8");
        let mut costs = Vec::new();
        // Too little for what is owed, and held back for it; then enough.
        for (freed, granted) in [("cpus:2", 0), ("cpus:1.5", 0), ("cpus:0.5", 1)] {
            world.release("owed", "z", "A1", freed);
            world.allocator.count_down(
                &framework("owed"),
                &role("z"),
                &entry("large"),
                &agent("A1"),
                0,
                1,
            );
            assert_eq!(world.changed().len(), granted, "{freed}");
            costs.push(world.last.steps);
        }
        // When nothing is guaranteed any more, they are served.
        world.allocator.set_quota(&role("z"), None);
        world.agent("A2", "cpus:20");
        assert!(fits(&world.changed()).contains_key(&("web".to_owned(), "A2".to_owned())));
        costs
    };
    assert_eq!(cost(20), cost(400));
}

#[test]
fn a_guarantee_is_not_kept_on_agents_that_nothing_is_offered_of() {
    let mut world = World::new(1);
    world.quota("q", "cpus:4", "");
    world.demand("owed", "q", &[]);
    for id in ["A1", "A2"] {
        world.agent(id, "cpus:4");
    }
    world.allocator.set_agent_active(&agent("A2"), false);
    world.framework("f", "n");
    assert_eq!(world.changed().len(), 0, "A1 is all that there is for q");
    world.allocator.set_agent_active(&agent("A2"), true);
    // One of the two is enough for what is guaranteed.
    assert_eq!(totals(&world.changed())["f"].1, "cpus:4");
    world.demand("owed", "q", &[shaped("web", 1, "cpus:4")]);
    assert_eq!(totals(&world.changed())["owed"].1, "cpus:4");
}

#[test]
fn of_a_gang_that_is_guaranteed_in_part_the_rest_comes_too() {
    for seed in 0..SEEDS {
        let many = DemandEntry {
            gang: 2,
            ..shaped("gang", 6, "cpus:1")
        };
        let mut world = beside_others(seed, "cpus:2", many);
        world.demand("other", "a", &[]);
        for i in 0..4 {
            world.agent(&format!("A{i}"), "cpus:2");
        }
        assert_eq!(totals(&world.changed())["owed"].1, "cpus:6");
    }
}

#[test]
fn who_holds_less_of_what_it_is_guaranteed_is_looked_at_again() {
    let mut world = World::new(1);
    world.quota("r", "cpus:4", "");
    world.quota("q", "cpus:1", "");
    world.agent("A1", "cpus:2");
    world.agent("A2", "cpus:3");
    let (of, on) = (framework("f"), agent("A2"));
    world.allocator.allocate(&of, &role("r"), &on, &r("cpus:3"));
    world.demand("f", "r", &[shaped("large", 1, "cpus:2")]);
    // One more is owed to it, and as much to the other role.
    assert_eq!(world.changed().len(), 0);
    world.release("f", "r", "A2", "cpus:1");
    assert_eq!(lines(&world.changed()), ["f r A1 cpus:2"]);
}

#[test]
fn an_entry_that_brings_a_guarantee_no_nearer_waits_for_its_turn_among_others() {
    for entries in [1, 20] {
        for (guaranteed, total, expected) in [
            ("gpus:8", "cpus:10;gpus:2", "cpus:2;gpus:2"),
            ("gpus:2", "cpus:10;gpus:2", "cpus:2;gpus:2"),
            ("gpus:8", "cpus:10", "cpus:2"),
        ] {
            let etl = |i| shaped(&format!("etl-{i}"), 500, "cpus:1");
            let mut wanted: Vec<_> = (0..entries).map(etl).collect();
            wanted.insert(wanted.len().div_ceil(2), shaped("train", 8, "gpus:1"));
            let mut world = beside_others(1, guaranteed, shaped("unused", 0, "cpus:1"));
            world.demand("owed", "z", &wanted);
            world.agent("A1", total);
            // All cpus that the other one wants are for it, and the rest is not lost.
            let totals = totals(&world.changed());
            let found = [&*totals["owed"].1, &*totals["other"].1];
            assert_eq!(found, [expected, "cpus:8"], "{entries} of {total}");
        }
    }
}

#[test]
fn who_wants_nothing_that_is_owed_costs_nothing_until_it_does() {
    let cost = |frameworks: u32| {
        let mut world = World::new(1);
        world.quota("z", "cpus:4;gpus:1", "");
        world.agent("A1", "cpus:6");
        world.demand("busy", "z", &[shaped("web", 6, "cpus:1")]);
        assert_eq!(totals(&world.changed())["busy"].1, "cpus:6");
        world.demand("busy", "z", &[]);
        for i in 0..frameworks {
            world.demand(&format!("f{i}"), "z", &[shaped("web", 5, "cpus:1")]);
        }
        world.changed();
        let end = |world: &mut World| {
            world.release("busy", "z", "A1", "cpus:1");
            let offers = world.changed();
            assert_eq!(offers.len(), 1);
            offers[0].role.to_string()
        };
        let mut costs = Vec::new();
        for _ in 0..2 {
            assert_eq!(end(&mut world), "z");
            costs.push(world.last.steps);
        }
        // Others are before them, until less is held than is guaranteed of that too.
        world.weight("a", 1_000_000);
        let entries = [shaped("web", 5, "cpus:1"), shaped("train", 5, "gpus:1")];
        world.demand("poor", "a", &entries);
        world.changed();
        let served: Vec<String> = (0..3).map(|_| end(&mut world)).collect();
        assert_eq!(served, ["a", "a", "z"]);
        // So is what somebody wants from now on, and what is guaranteed from now on.
        world.demand("f7", "z", &entries);
        world.agent("A2", "gpus:1");
        assert_eq!(lines(&world.changed()), ["f7 z A2 gpus:1"]);
        world.quota("z", "cpus:5;gpus:1", "");
        world.agent("A3", "cpus:1");
        assert_eq!(world.changed()[0].role, role("z"));
        costs
    };
    assert_eq!(cost(20), cost(400));
}

#[test]
fn many_guarantees_that_cannot_be_met_cost_nothing_for_each_task_that_ends() {
    let cost = |above: &str, roles: u32| {
        let mut world = World::new(1);
        let ends_in = format!("{above}z");
        world.agent("A1", "cpus:6");
        world.demand("busy", &ends_in, &[shaped("web", 6, "cpus:1")]);
        assert_eq!(totals(&world.changed())["busy"].1, "cpus:6");
        world.demand("busy", &ends_in, &[]);
        for i in 0..roles {
            // There are no gpus at all.
            world.quota(&format!("{above}r{i}"), "gpus:1", "");
            let wanted = [shaped("web", 5, "cpus:1")];
            world.demand(&format!("f{i}"), &format!("{above}r{i}"), &wanted);
        }
        world.changed();
        let mut costs = Vec::new();
        for _ in 0..4 {
            world.release("busy", &ends_in, "A1", "cpus:1");
            assert_eq!(world.changed().len(), 1);
            costs.push(world.last.steps);
        }
        // Who wants what is owed to it, and is owed it again, is served before all others.
        let wanted = [shaped("web", 5, "cpus:1"), shaped("train", 1, "gpus:1")];
        world.demand("f7", &format!("{above}r7"), &wanted);
        world.demand("other", "a", &[shaped("train", 9, "gpus:1")]);
        world.weight("a", 1_000_000);
        world.agent("A2", "gpus:1");
        let served = format!("f7 {above}r7 A2 gpus:1");
        assert_eq!(lines(&world.changed()), [served]);
        costs
    };
    // Beneath a role to which nothing is guaranteed, what others beneath it hold changes nothing either.
    for above in ["", "eng/"] {
        assert_eq!(cost(above, 20), cost(above, 400), "{above}");
    }
}

#[test]
fn tasks_that_end_all_the_time_keep_nobody_from_being_looked_at() {
    let mut world = World::new(1);
    world.agent("A1", "cpus:6;mem:600");
    world.demand("busy", "eng/z", &[shaped("web", 6, "cpus:1;mem:100")]);
    assert_eq!(totals(&world.changed())["busy"].1, "cpus:6;mem:600");
    world.demand("busy", "eng/z", &[]);
    world.quota("eng", "mem:1000", "");
    for i in 0..400 {
        world.quota(&format!("eng/r{i}"), "gpus:1", "");
        let wanted = [shaped("web", 5, "cpus:1")];
        world.demand(&format!("f{i}"), &format!("eng/r{i}"), &wanted);
    }
    world.changed();
    // Each end changes what is owed to all beneath `eng`, which are more than a run looks at.
    let mut granted = 0;
    for _ in 0..40 {
        world.release("busy", "eng/z", "A1", "cpus:0.1;mem:10");
        let run = world.allocator.run(world.now, Scope::Changed, 20);
        world.allocator.check().expect("sums are right");
        granted += run.grants.len();
    }
    assert!(granted > 0);
}

#[test]
fn what_is_granted_lets_nobody_in_and_nobody_is_looked_at_for_it() {
    let mut world = World::new(1);
    world.agent("A1", "cpus:6");
    world.demand("busy", "eng/z", &[shaped("web", 6, "cpus:1")]);
    assert_eq!(totals(&world.changed())["busy"].1, "cpus:6");
    world.demand("busy", "eng/z", &[]);
    world.quota("eng", "mem:1000", "");
    for i in 0..4 {
        world.quota(&format!("eng/r{i}"), "gpus:1", "");
        let wanted = [shaped("web", 5, "cpus:2")];
        world.demand(&format!("f{i}"), &format!("eng/r{i}"), &wanted);
    }
    world.changed();
    world.release("busy", "eng/z", "A1", "cpus:1");
    assert!(world.changed().is_empty(), "they are left out by now");
    world.demand("late", "eng/y", &[shaped("web", 6, "cpus:1;mem:100")]);
    world.agent("B1", "cpus:1;mem:100");
    assert_eq!(world.changed()[0].framework, framework("late"));
    let changed = |world: &mut World| world.allocator.tree.take_changed_needs();
    assert!(changed(&mut world).is_empty());
    world.release("late", "eng/y", "B1", "cpus:1;mem:100");
    assert_eq!(changed(&mut world).len(), 1, "more is owed to eng");
}

#[test]
fn of_what_is_guaranteed_above_a_role_it_is_let_in_when_that_is_lacking() {
    let mut world = World::new(1);
    // All roles beneath are guaranteed gpus of their own, which there are none of, and cpus together.
    world.quota("eng", "cpus:4;gpus:8", "");
    for i in 0..4 {
        world.quota(&format!("eng/{i}"), "gpus:1", "");
    }
    world.agent("A1", "cpus:6");
    world.demand("busy", "eng/0", &[shaped("web", 6, "cpus:1")]);
    assert_eq!(totals(&world.changed())["busy"].1, "cpus:6");
    world.demand("busy", "eng/0", &[]);
    world.demand("late", "eng/3", &[shaped("web", 6, "cpus:1")]);
    world.demand("other", "a", &[shaped("web", 6, "cpus:1")]);
    world.weight("a", 1_000_000);
    world.changed();
    let end = |world: &mut World| {
        world.release("busy", "eng/0", "A1", "cpus:1");
        world.changed()[0].framework.to_string()
    };
    let served: Vec<String> = (0..4).map(|_| end(&mut world)).collect();
    assert_eq!(served, ["other", "other", "late", "late"]);
}

#[test]
fn who_waits_for_something_else_that_is_owed_costs_nothing_either() {
    let cost = |frameworks: u32| {
        let mut world = World::new(1);
        world.quota("z", "gpus:8", "");
        world.agent("A1", "cpus:6;gpus:2");
        let busy = [shaped("web", 6, "cpus:1"), shaped("learn", 2, "gpus:1")];
        world.demand("busy", "z", &busy);
        assert_eq!(totals(&world.changed())["busy"].1, "cpus:6;gpus:2");
        world.demand("busy", "z", &[]);
        let entries = [shaped("train", 5, "gpus:1"), shaped("etl", 5, "cpus:1")];
        for i in 0..frameworks {
            world.demand(&format!("f{i}"), "z", &entries);
        }
        world.changed();
        let mut costs = Vec::new();
        for (freed, granted) in [
            ("cpus:1", 1),
            ("cpus:0.5", 0),
            ("cpus:0.5", 1),
            ("gpus:1", 1),
            ("cpus:2;gpus:1", 3),
        ] {
            world.release("busy", "z", "A1", freed);
            let offers = world.changed();
            assert_eq!(fits(&offers).values().sum::<u32>(), granted, "{freed}");
            costs.push(world.last.steps);
        }
        costs
    };
    assert_eq!(cost(20), cost(400));
}
