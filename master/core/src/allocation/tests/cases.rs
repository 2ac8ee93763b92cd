//! Cases that say what is granted: Mesos's behaviour where it has one, and what goes beyond it.

use std::time::Duration;

use proffer_model::{AtMost, DemandEntry, Key, Predicate, ResourceName, Role, Weight};

use super::world::*;
use crate::allocation::{Obstacle, Options, Placement, Scope, Sorter};

const SEEDS: u64 = 60;

#[test]
fn unreserved_resources_go_to_the_smallest_share() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.agent("A1", "cpus:2;mem:1024");
        world.framework("f1", "role1");
        assert_eq!(lines(&world.changed()), ["f1 role1 A1 cpus:2;mem:1024"]);
        world.framework("f2", "role2");
        world.agent("A2", "cpus:1;mem:512");
        assert_eq!(lines(&world.changed()), ["f2 role2 A2 cpus:1;mem:512"]);
        world.agent("A3", "cpus:3;mem:2048");
        assert_eq!(lines(&world.changed()), ["f2 role2 A3 cpus:3;mem:2048"]);
        world.framework("f3", "role1");
        world.agent("A4", "cpus:4;mem:4096");
        assert_eq!(lines(&world.changed()), ["f3 role1 A4 cpus:4;mem:4096"]);
        world.framework("f4", "role1");
        world.agent("A5", "cpus:1;mem:512");
        assert_eq!(lines(&world.changed()), ["f2 role2 A5 cpus:1;mem:512"]);
    }
}

#[test]
fn a_refused_agent_is_offered_again_when_the_exclusion_ends() {
    let mut world = World::new(1);
    world.framework("f", "r");
    world.agent("A1", "cpus:1;mem:512");
    assert_eq!(lines(&world.changed()), ["f r A1 cpus:1;mem:512"]);
    world.decline("f", "r", "A1", "cpus:1;mem:512", Some(2));
    world.pass(1);
    assert!(world.all().is_empty());
    assert_eq!(world.last.look_again_at, Some(2_000_000_000));
    world.pass(1);
    assert_eq!(lines(&world.changed()), ["f r A1 cpus:1;mem:512"]);
}

#[test]
fn an_exclusion_is_outgrown_and_not_outshrunk() {
    let mut world = World::new(1);
    world.framework("f", "r");
    world.agent("A1", "cpus:2;mem:1024");
    world.changed();
    world.decline("f", "r", "A1", "cpus:2;mem:1024", Some(100));
    assert!(world.all().is_empty());
    world
        .allocator
        .set_agent(&agent("A1"), &described("A1", ""), &r("cpus:1;mem:512"));
    assert!(world.changed().is_empty());
    world
        .allocator
        .set_agent(&agent("A1"), &described("A1", ""), &r("cpus:4;mem:2048"));
    assert_eq!(lines(&world.changed()), ["f r A1 cpus:4;mem:2048"]);
}

#[test]
fn exclusions_end_by_revival_and_by_other_attributes() {
    let mut world = World::new(1);
    world.framework("f", "r");
    world.agent("A1", "cpus:2;mem:1024");
    for end in 0..3 {
        assert_eq!(world.changed().len(), 1, "{end}");
        world.decline("f", "r", "A1", "cpus:2;mem:1024", Some(1_000));
        assert!(world.changed().is_empty());
        match end {
            0 => world
                .allocator
                .clear_exclusions(&framework("f"), &role("r")),
            1 => world.allocator.set_agent(
                &agent("A1"),
                &described("A1", "rack:b"),
                &r("cpus:2;mem:1024"),
            ),
            _ => {
                world.allocator.set_framework_active(&framework("f"), false);
                assert!(world.all().is_empty());
                world.allocator.set_framework_active(&framework("f"), true);
            }
        }
    }
    assert_eq!(world.changed().len(), 1);
}

#[test]
fn a_guarantee_is_laid_away_when_its_role_declines() {
    let mut world = World::new(1);
    world.framework("f1", "q");
    world.quota("q", "cpus:2;mem:1024", "cpus:2;mem:1024");
    world.framework("f2", "n");
    world.agent("A1", "cpus:1;mem:512");
    assert_eq!(lines(&world.changed()), ["f1 q A1 cpus:1;mem:512"]);
    world.agent("A2", "cpus:1;mem:512");
    assert_eq!(lines(&world.changed()), ["f1 q A2 cpus:1;mem:512"]);
    world.decline("f1", "q", "A2", "cpus:1;mem:512", Some(2));
    world.pass(1);
    assert!(world.all().is_empty());
    world.pass(1);
    assert_eq!(lines(&world.all()), ["f1 q A2 cpus:1;mem:512"]);
}

#[test]
fn a_quota_chops_an_agent() {
    let mut world = World::new(1);
    world.framework("f1", "q");
    world.quota("q", "cpus:0.5;mem:200", "cpus:0.5;mem:200");
    world.agent("A1", "cpus:1;mem:512");
    assert_eq!(lines(&world.changed()), ["f1 q A1 cpus:0.5;mem:200"]);
    world.framework("f2", "n");
    assert_eq!(lines(&world.changed()), ["f2 n A1 cpus:0.5;mem:312"]);
}

#[test]
fn a_guarantee_is_held_when_nobody_is_there_for_it() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.quota("q", "cpus:2;mem:1024", "cpus:2;mem:1024");
        world.framework("f", "n");
        world.agent("A1", "cpus:2;mem:1024");
        assert!(world.changed().is_empty());
        world.agent("A2", "cpus:2;mem:1024");
        let offers = world.changed();
        assert_eq!(offers.len(), 1);
        assert_eq!(offers[0].resources, r("cpus:2;mem:1024"));
        // What was held back is given when the guarantee is withdrawn.
        world.allocator.set_quota(&role("q"), None);
        assert_eq!(world.changed().len(), 1);
    }
}

#[test]
fn a_guarantee_comes_first_and_the_rest_is_shared() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for i in 0..6 {
            world.agent(&format!("N0{i}"), "cpus:2;mem:4096");
        }
        world.quota("r", "cpus:4;mem:8192", "cpus:8;mem:16384");
        world.framework("f1", "r");
        world.framework("f2", "s");
        let totals = totals(&world.all());
        for framework in ["f1", "f2"] {
            assert_eq!(
                totals[framework],
                (3, "cpus:6;mem:12288".to_owned()),
                "{seed}"
            );
        }
    }
}

#[test]
fn reservations_go_to_their_role_and_lower_what_is_held_back() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.quota("r", "cpus:4;mem:4000", "");
        world.agent("A1", "cpus(r):3;mem(r):3000;cpus:2;mem:2000");
        world.agent("A2", "cpus:2;mem:2000");
        world.framework("f2", "s");
        let offers = world.all();
        assert_eq!(
            totals(&offers)["f2"],
            (2, "cpus:3;mem:3000".to_owned()),
            "{seed}: {:?}",
            lines(&offers)
        );
    }
}

#[test]
fn reservations_count_for_shares_when_they_are_held() {
    let mut world = World::new(7);
    world.framework("f1", "role1");
    world.agent("A1", "cpus:1;mem:512;cpus(role1):100;mem(role1):1024");
    let first = world.changed();
    assert_eq!(
        (first.len(), first[0].resources.scalar("cpus")),
        (1, 101_000)
    );
    world.framework("f2", "role2");
    world.agent("A2", "cpus:2;mem:512");
    assert_eq!(lines(&world.changed()), ["f2 role2 A2 cpus:2;mem:512"]);
    world.framework("f3", "role1");
    world.agent("A4", "cpus(role1):2;mem(role1):1024");
    let last = world.changed();
    assert_eq!((last.len(), last[0].framework.as_str()), (1, "f3"));
}

#[test]
fn reservations_are_offered_though_a_limit_is_reached() {
    let mut world = World::new(1);
    world.framework("f", "a");
    world.quota("a", "", "cpus:0;mem:0");
    world.agent("A1", "cpus:4;mem:4096");
    world.agent("A2", "cpus(a):1;mem(a):512;cpus:2;mem:512");
    let offers = world.changed();
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].resources, r("cpus(a):1;mem(a):512"));
}

#[test]
fn limits_hold_for_disks_that_a_shape_names() {
    let disks = |count, milli: u32| shaped("s", count, &format!("disk@PATH:/ssd:{milli}"));
    let mut world = World::new(1);
    world.quota("a", "", "disk:250");
    for i in 0..3 {
        world.agent(&format!("A{i}"), "cpus:1;disk:20;disk@PATH:/ssd:200");
    }
    world.demand("f", "a", &[disks(3, 200)]);
    assert_eq!(fits(&world.changed()).values().sum::<u32>(), 1);
    let (of, path) = (framework("f"), role("a"));
    let why = world.allocator.explain(&of, &path, &entry("s")).unwrap();
    let limit = Obstacle::Limit(role("a"), ResourceName::new("disk").unwrap());
    assert_eq!(why.agents.get(&limit), Some(&2), "{:?}", why.agents);
    // What is left of the limit is enough for a smaller one; of a gang, for none.
    let gang = DemandEntry {
        gang: 2,
        ..disks(2, 30)
    };
    world.demand("g", "a", &[gang]);
    assert!(world.changed().is_empty());
    world.demand("g", "a", &[disks(2, 30)]);
    assert_eq!(fits(&world.changed()).values().sum::<u32>(), 1);
    assert_eq!(world.allocator.consumed(&role("a")), quantities("disk:230"));
    // Nor is an agent kept for what a limit leaves no room for.
    world.pass(31);
    assert!(world.changed().is_empty());
    world.framework("h", "b");
    assert_eq!(world.changed().len(), 3);
}

#[test]
fn weights_divide() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for i in 0..6 {
            world.agent(&format!("N0{i}"), "cpus:2;mem:1024");
        }
        for (place, path) in [(1, "role1"), (2, "role2"), (3, "role3")] {
            world.weight(path, place * 1_000);
            world.framework(&format!("f{place}"), path);
        }
        let totals = totals(&world.all());
        let counts: Vec<usize> = totals.values().map(|(count, _)| *count).collect();
        assert_eq!(counts, [1, 2, 3], "{seed}");
    }
}

#[test]
fn a_role_shares_with_those_beneath_it() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for i in 0..12 {
            world.agent(&format!("N{i}"), "cpus:4;mem:8192");
        }
        world.framework("f0", "a");
        world.framework("f1", "a/x");
        world.framework("f2", "b");
        let totals = totals(&world.all());
        let counts: Vec<usize> = totals.values().map(|(count, _)| *count).collect();
        assert_eq!(counts, [3, 3, 6], "{seed}");
    }
}

#[test]
fn limits_hold_for_all_that_is_beneath() {
    let mut world = World::new(3);
    world.quota("a", "", "cpus:5");
    world.framework("f1", "a/x");
    world.framework("f2", "a/y");
    world.framework("f3", "a");
    for i in 0..4 {
        world.agent(&format!("A{i}"), "cpus:2;mem:1024");
    }
    let sum: u64 = world
        .changed()
        .iter()
        .map(|offer| offer.resources.scalar("cpus"))
        .sum();
    assert_eq!(sum, 5_000);
    // What comes back is offered again at once, though it was a limit that stood in the way.
    let free = |world: &World| {
        (0..4)
            .map(|i| {
                world
                    .allocator
                    .free(&agent(&format!("A{i}")))
                    .scalar("cpus")
            })
            .sum::<u64>()
    };
    assert_eq!(free(&world), 3_000);
    world.quota("a", "", "cpus:6");
    let sum: u64 = world
        .changed()
        .iter()
        .map(|offer| offer.resources.scalar("cpus"))
        .sum();
    assert_eq!(sum, 1_000);
}

#[test]
fn what_a_limit_leaves_is_kept_for_guarantees_beneath_it_from_the_role_itself_too() {
    let mut world = World::new(3);
    world.quota("eng", "cpus:4", "cpus:10");
    world.quota("eng/web", "cpus:4", "");
    world.agent("A", "cpus:40;mem:100");
    world.demand("f", "eng", &[shaped("t", 20, "cpus:1")]);
    assert_eq!(lines(&world.changed()), ["f eng A cpus:6"]);
    let why = |world: &World, of: &str, path: &str| {
        let explained = world
            .allocator
            .explain(&framework(of), &role(path), &entry("t"));
        explained.expect("it is there").agents
    };
    let kept = Obstacle::LimitKept(role("eng"), "cpus".parse().unwrap());
    assert_eq!(why(&world, "f", "eng"), [(kept, 1)].into());
    world.demand("w", "eng/web", &[shaped("t", 20, "cpus:1")]);
    assert_eq!(lines(&world.changed()), ["w eng/web A cpus:4"]);
    let reached = Obstacle::Limit(role("eng"), "cpus".parse().unwrap());
    assert_eq!(why(&world, "w", "eng/web"), [(reached, 1)].into());
}

#[test]
fn whoever_takes_whatever_there_is_is_no_gang() {
    let mut world = World::new(3);
    world.agent("A", "cpus:4;mem:100");
    let mut any = any();
    (any.count, any.gang) = (5, 1);
    world.demand("f", "r", std::slice::from_ref(&any));
    let why = world
        .allocator
        .explain(&framework("f"), &role("r"), &any.id);
    let agents = why.expect("it is there").agents;
    assert_eq!(agents, [(Obstacle::Turn, 1)].into());
}

#[test]
fn what_a_limited_role_gives_back_lets_it_take_elsewhere() {
    let mut world = World::new(3);
    world.quota("a", "", "cpus:2;mem:1024");
    world.framework("f", "a");
    world.agent("A1", "cpus:2;mem:1024");
    assert_eq!(world.changed().len(), 1);
    world.agent("A2", "cpus:2;mem:1024");
    assert!(world.changed().is_empty());
    world.decline("f", "a", "A1", "cpus:2;mem:1024", Some(60));
    assert_eq!(lines(&world.changed()), ["f a A2 cpus:2;mem:1024"]);
}

fn sorted(sorter: &Sorter) -> Vec<String> {
    sorter.order().iter().map(Role::to_string).collect()
}

#[test]
fn a_subtree_competes_as_one() {
    let mut sorter = Sorter::new();
    sorter.set_total(&quantities("cpus:100;mem:100"));
    let amount = |cpus: &str| quantities(&format!("cpus:{cpus};mem:{cpus}"));
    for client in ["a", "b/c", "b/d"] {
        sorter.add(&role(client));
    }
    assert_eq!(sorted(&sorter), ["a", "b/c", "b/d"]);
    sorter.allocate(&role("a"), &amount("6"));
    assert_eq!(sorted(&sorter), ["b/c", "b/d", "a"]);
    sorter.allocate(&role("b/c"), &amount("4"));
    sorter.allocate(&role("b/d"), &amount("3"));
    assert_eq!(sorted(&sorter), ["a", "b/d", "b/c"]);
    sorter.allocate(&role("a"), &amount("2"));
    sorter.add(&role("b/e/f"));
    assert_eq!(sorted(&sorter), ["b/e/f", "b/d", "b/c", "a"]);
    sorter.allocate(&role("b/e/f"), &amount("3.5"));
    assert_eq!(sorted(&sorter), ["a", "b/d", "b/e/f", "b/c"]);
    sorter.remove(&role("b/e/f"));
    assert_eq!(sorted(&sorter), ["b/d", "b/c", "a"]);
    sorter.release(&role("b/c"), &amount("3"));
    assert_eq!(sorted(&sorter), ["b/c", "b/d", "a"]);
}

#[test]
fn a_weight_is_of_the_subtree_and_not_of_the_role_in_it() {
    let mut sorter = Sorter::new();
    sorter.set_total(&quantities("cpus:100;mem:100"));
    let add = |sorter: &mut Sorter, client: &str, cpus: u32| {
        sorter.add(&role(client));
        sorter.allocate(
            &role(client),
            &quantities(&format!("cpus:{cpus};mem:{cpus}")),
        );
    };
    add(&mut sorter, "a", 10);
    add(&mut sorter, "b", 6);
    assert_eq!(sorted(&sorter), ["b", "a"]);
    add(&mut sorter, "a/c", 5);
    assert_eq!(sorted(&sorter), ["b", "a/c", "a"]);
    sorter.remove(&role("a"));
    assert_eq!(sorted(&sorter), ["a/c", "b"]);
    add(&mut sorter, "a", 10);
    assert_eq!(sorted(&sorter), ["b", "a/c", "a"]);
    for (path, weight, expected) in [
        ("a/c", 200, ["b", "a", "a/c"]),
        ("a", 3_000, ["a", "a/c", "b"]),
        ("a/c", 1_000, ["a/c", "a", "b"]),
    ] {
        sorter.set_weight(&role(path), Weight(weight));
        assert_eq!(sorted(&sorter), expected, "{path} {weight}");
    }
}

#[test]
fn instances_of_a_shape_spread_or_fill() {
    for (placement, most) in [(Placement::Spread, 1), (Placement::BinPack, 4)] {
        let mut world = World::with(Options {
            placement,
            ..Options::default()
        });
        for i in 0..4 {
            world.agent(&format!("A{i}"), "cpus:4;mem:4096");
        }
        world.demand("f", "r", &[shaped("web", 4, "cpus:1;mem:128")]);
        let fits = fits(&world.changed());
        assert_eq!(fits.values().sum::<u32>(), 4, "{placement:?}");
        assert_eq!(fits.values().max(), Some(&most), "{placement:?}");
    }
}

#[test]
fn shapes_take_what_they_want_and_the_rest_goes_on() {
    let mut world = World::new(1);
    world.demand("f1", "a", &[shaped("web", 3, "cpus:1;mem:128")]);
    world.agent("A1", "cpus:4;mem:4096;ports:[1-9]");
    world.framework("f2", "b");
    let offers = world.changed();
    assert_eq!(
        lines(&offers),
        [
            "f1 a A1 cpus:3;mem:384",
            "f2 b A1 cpus:1;mem:3712;ports:[1-9]"
        ]
    );
    // A launch counts down for good, what comes back is wanted again.
    let (f1, a, web, a1) = (framework("f1"), role("a"), entry("web"), agent("A1"));
    world.release("f1", "a", "A1", "cpus:1;mem:128");
    world.allocator.count_down(&f1, &a, &web, &a1, 2, 1);
    assert_eq!(lines(&world.changed()), ["f1 a A1 cpus:1;mem:128"]);
    world.allocator.count_down(&f1, &a, &web, &a1, 1, 0);
    world.release("f1", "a", "A1", "cpus:3;mem:384");
    assert_eq!(lines(&world.changed()), ["f2 b A1 cpus:3;mem:384"]);
}

#[test]
fn predicates_bounds_and_gangs_hold() {
    let mut world = World::new(1);
    let rack = |rack: &str| {
        Predicate::Attribute(
            ResourceName::new("rack").unwrap(),
            proffer_model::AttributeValue::new(rack).unwrap(),
        )
    };
    for (id, attributes) in [
        ("A1", "rack:a"),
        ("A2", "rack:a"),
        ("A3", "rack:b"),
        ("A4", "rack:c"),
    ] {
        world.allocator.add_agent(
            &agent(id),
            &described(id, attributes),
            &r("cpus:4;mem:4096"),
        );
    }
    let mut web = shaped("web", 10, "cpus:1;mem:128");
    web.predicates = vec![Predicate::Not(Box::new(rack("c")))];
    web.at_most = vec![AtMost {
        count: 2,
        per: Key::Attribute(ResourceName::new("rack").unwrap()),
    }];
    world.demand("f", "r", &[web.clone()]);
    let of = |fits: &std::collections::BTreeMap<(String, String), u32>, agents: &[&str]| {
        agents
            .iter()
            .filter_map(|agent| fits.get(&("web".to_owned(), (*agent).to_owned())))
            .sum::<u32>()
    };
    let found = fits(&world.changed());
    assert_eq!(
        (
            of(&found, &["A1", "A2"]),
            of(&found, &["A3"]),
            of(&found, &["A4"])
        ),
        (2, 2, 0)
    );
    let why = world
        .allocator
        .explain(&framework("f"), &role("r"), &entry("web"))
        .unwrap();
    assert_eq!(why.agents.get(&Obstacle::AtMost(0)), Some(&3));
    assert_eq!(why.agents.get(&Obstacle::Predicate(0)), Some(&1));
    // Six of a gang fit on what is left, seven do not: then none of them is granted.
    let mut gang = shaped("gang", 7, "cpus:2;mem:128");
    gang.gang = 7;
    world.demand("g", "s", &[gang.clone()]);
    assert!(world.changed().is_empty());
    gang.gang = 6;
    world.demand("g", "s", &[gang]);
    assert_eq!(fits(&world.changed()).values().sum::<u32>(), 6);
}

#[test]
fn an_entry_that_has_waited_keeps_an_agent() {
    let mut world = World::new(1);
    world.agent("A1", "cpus:4;mem:4096");
    world.demand("small", "a", &[shaped("s", 1_000, "cpus:1;mem:64")]);
    assert_eq!(fits(&world.changed()).values().sum::<u32>(), 4);
    world.demand("large", "b", &[shaped("l", 1, "cpus:4;mem:64")]);
    assert!(world.changed().is_empty());
    let due = world.last.look_again_at.expect("an earmark is due");
    assert_eq!(u128::from(due), Duration::from_secs(30).as_nanos());
    world.pass(30);
    assert!(world.changed().is_empty());
    for ended in 1..=4 {
        world.release("small", "a", "A1", "cpus:1;mem:64");
        world.allocator.count_down(
            &framework("small"),
            &role("a"),
            &entry("s"),
            &agent("A1"),
            1,
            0,
        );
        let offers = world.changed();
        assert_eq!(
            offers.len(),
            usize::from(ended == 4),
            "after {ended}: {:?}",
            lines(&offers)
        );
        if let Some(offer) = offers.first() {
            assert_eq!(offer.framework.as_str(), "large");
        }
    }
}

#[test]
fn an_earmark_that_is_lost_is_replaced_at_once() {
    type Loss = fn(&mut World);
    let losses: [(&str, Loss); 5] = [
        ("removed", |world| {
            world.allocator.remove_agent(&agent("A1"))
        }),
        ("inactive", |world| {
            world.allocator.set_agent_active(&agent("A1"), false);
        }),
        ("moved", |world| set_agent(world, "", "cpus:4;mem:4096")),
        ("smaller", |world| {
            set_agent(world, "rack:p", "cpus:3;mem:4096")
        }),
        ("over", |world| {
            // It is kept for so long, and when the entry has waited anew another time.
            world.pass(300);
            world.changed();
            world.pass(30);
        }),
    ];
    for (loss, lose) in losses {
        let mut world = World::new(1);
        for id in ["A1", "A2"] {
            let description = described(id, "rack:p");
            let all = r("cpus:4;mem:4096");
            world.allocator.add_agent(&agent(id), &description, &all);
        }
        world.demand("small", "a", &[shaped("s", 1_000, "cpus:1;mem:64")]);
        assert_eq!(fits(&world.changed()).values().sum::<u32>(), 8);
        let mut large = shaped("l", 1, "cpus:4;mem:64");
        let rack = ResourceName::new("rack").unwrap();
        large.predicates = vec![Predicate::Has(rack)];
        world.demand("large", "b", &[large]);
        world.changed();
        world.pass(30);
        world.changed();
        lose(&mut world);
        world.changed();
        let kept = if loss == "over" { "A1" } else { "A2" };
        for id in ["A1", "A2"].into_iter().filter(|id| *id != kept) {
            world.release("small", "a", id, "cpus:1;mem:64");
        }
        world.changed();
        world.release("small", "a", kept, "cpus:1;mem:64");
        assert_eq!(lines(&world.changed()), [""; 0], "{loss}");
    }
}

fn set_agent(world: &mut World, attributes: &str, total: &str) {
    let description = described("A1", attributes);
    let allocator = &mut world.allocator;
    allocator.set_agent(&agent("A1"), &description, &r(total));
}

#[test]
fn shapes_use_reservations_first_and_count_numbers() {
    let mut world = World::new(1);
    world.agent("A1", "cpus(a):1;mem(a):100;cpus:4;mem:4096;ports:[1-9]");
    let mut web = shaped("web", 2, "cpus:1;mem:128");
    let proffer_model::Shape::Of { counts, .. } = &mut web.shape else {
        panic!()
    };
    counts.insert(ResourceName::new("ports").unwrap(), 2);
    world.demand("f", "a/b", &[web]);
    let offers = world.changed();
    assert_eq!(offers.len(), 1);
    assert_eq!(
        offers[0].resources,
        r("cpus(a):1;mem(a):100;cpus:1;mem:156;ports:[1-4]")
    );
    assert_eq!(
        world.allocator.free(&agent("A1")),
        r("cpus:3;mem:3940;ports:[5-9]")
    );
}

#[test]
fn operations_change_what_is_held_and_what_is_free() {
    let mut world = World::new(1);
    world.framework("f", "a");
    world.agent("A1", "cpus:2;mem:1024");
    world.changed();
    let (f, a, a1) = (framework("f"), role("a"), agent("A1"));
    world
        .allocator
        .convert(&f, &a, &a1, &r("cpus:1"), &r("cpus(a):1"));
    world.allocator.check().unwrap();
    world.release("f", "a", "A1", "cpus(a):1;cpus:1;mem:1024");
    assert_eq!(world.allocator.free(&a1), r("cpus(a):1;cpus:1;mem:1024"));
    let missing = world
        .allocator
        .convert_free(&a1, &r("cpus:2"), &r("cpus(b):2"));
    assert_eq!(missing, Err(r("cpus:1")));
    world
        .allocator
        .convert_free(&a1, &r("cpus:1"), &r("cpus(b):1"))
        .unwrap();
    world.allocator.check().unwrap();
    assert_eq!(world.allocator.free(&a1), r("cpus(a):1;cpus(b):1;mem:1024"));
    let rows = world.allocator.role_rows();
    assert_eq!(
        rows.iter()
            .map(|row| (row.role.as_str(), row.reserved.clone()))
            .collect::<Vec<_>>(),
        [("a", quantities("cpus:1")), ("b", quantities("cpus:1")),]
    );
}

#[test]
fn agents_sliced_runs_give_the_same_as_whole_ones() {
    let build = || {
        let mut world = World::new(5);
        for i in 0..40 {
            world.agent(&format!("A{i}"), "cpus:4;mem:4096");
        }
        for i in 0..7 {
            world.framework(&format!("f{i}"), &format!("r{}", i % 3));
        }
        world
    };
    let mut whole = build();
    let expected = lines(&whole.run(Scope::All));
    let mut sliced = build();
    let mut found = Vec::new();
    loop {
        let run = sliced.allocator.run(sliced.now, Scope::All, 7);
        found.extend(
            run.grants
                .iter()
                .map(|grant| sliced.allocator.offer_of(grant).unwrap()),
        );
        if run.is_done {
            break;
        }
    }
    assert_eq!(lines(&found), expected);
}
