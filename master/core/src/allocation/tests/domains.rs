//! Regions and zones: what asks for them, and what is spread over them.

use std::collections::BTreeMap;

use proffer_model::{AgentDescription, AtMost, DemandEntry, Key, Predicate};

use super::world::*;
use crate::allocation::{GrantedOffer, Obstacle};

const TOTAL: &str = "cpus:4;mem:4096";

/// Two agents in each zone; the zones `a` of both regions are two. The last one does not say where it stands.
const AGENTS: [(&str, &str); 7] = [
    ("A1", "eu/a"),
    ("A2", "eu/a"),
    ("A3", "eu/b"),
    ("A4", "eu/b"),
    ("A5", "us/a"),
    ("A6", "us/a"),
    ("A7", ""),
];

fn world() -> World {
    let mut world = World::new(1);
    for (id, place) in AGENTS {
        world.agent_at(id, place, TOTAL);
    }
    world
}

fn place_of(agent: &str) -> &'static str {
    let found = AGENTS.iter().find(|(id, _)| *id == agent);
    found.expect("one of them").1
}

/// How many instances were granted, by where their agents stand.
fn by_place(offers: &[GrantedOffer]) -> BTreeMap<&'static str, u32> {
    let mut counts = BTreeMap::new();
    for ((_, agent), count) in fits(offers) {
        *counts.entry(place_of(&agent)).or_default() += count;
    }
    counts
}

fn wants(count: u32, predicates: &[Predicate], spread: Option<(Key, u32)>) -> DemandEntry {
    let mut wanted = shaped("web", count, "cpus:1;mem:64");
    wanted.predicates = predicates.to_vec();
    let bounds = spread.into_iter();
    wanted.at_most = bounds.map(|(per, count)| AtMost { count, per }).collect();
    wanted
}

fn region(name: &str) -> Predicate {
    Predicate::Region(name.to_owned())
}

fn zone(name: &str) -> Predicate {
    Predicate::Zone(name.to_owned())
}

#[test]
fn predicates_choose_regions_and_zones() {
    let not = |inner| Predicate::Not(Box::new(inner));
    let table: [(&[Predicate], &[&str]); 6] = [
        (&[region("eu")], &["eu/a", "eu/b"]),
        (&[zone("a")], &["eu/a", "us/a"]),
        (&[region("eu"), zone("a")], &["eu/a"]),
        (&[not(region("eu"))], &["", "us/a"]),
        (&[not(zone("a"))], &["", "eu/b"]),
        (&[region("a")], &[]),
    ];
    for (predicates, places) in table {
        let mut world = world();
        world.demand("f", "r", &[wants(100, predicates, None)]);
        let found = by_place(&world.changed());
        let found: Vec<&str> = found.keys().copied().collect();
        assert_eq!(found, places, "{predicates:?}");
    }
}

/// How many are on the agents of each place.
type Agents = &'static [(&'static str, u32)];

#[test]
fn what_is_spread_over_zones_and_regions_has_so_many_in_each() {
    // Who does not say where it stands, stands alone.
    let table: [(Key, u32, Agents); 4] = [
        (
            Key::Zone,
            1,
            &[("", 1), ("eu/a", 1), ("eu/b", 1), ("us/a", 1)],
        ),
        (
            Key::Zone,
            3,
            &[("", 3), ("eu/a", 3), ("eu/b", 3), ("us/a", 3)],
        ),
        (Key::Region, 1, &[("", 1), ("eu", 1), ("us", 1)]),
        (Key::Region, 3, &[("", 3), ("eu", 3), ("us", 3)]),
    ];
    for (key, count, expected) in table {
        let mut world = world();
        world.demand("f", "r", &[wants(100, &[], Some((key.clone(), count)))]);
        let mut found = BTreeMap::new();
        for (place, count) in by_place(&world.changed()) {
            let place = match key {
                Key::Region => place.split('/').next().expect("one at least"),
                _ => place,
            };
            *found.entry(place).or_default() += count;
        }
        let found: Vec<(&str, u32)> = found.into_iter().collect();
        assert_eq!(found, expected, "{count} in each {key:?}");
        let why = world
            .allocator
            .explain(&framework("f"), &role("r"), &entry("web"));
        let why = why.expect("it is there").agents;
        assert_eq!(why.get(&Obstacle::AtMost(0)), Some(&7), "{key:?}: {why:?}");
    }
}

/// `A1` says that it stands elsewhere.
fn moves(world: &mut World, place: &str) {
    let description = AgentDescription {
        domain: domain(place),
        ..described("A1", "")
    };
    let (id, total) = (agent("A1"), r(TOTAL));
    world.allocator.set_agent(&id, &description, &total);
}

#[test]
fn a_zone_that_is_told_later_counts_from_then() {
    let mut world = World::new(1);
    world.agent_at("A1", "", TOTAL);
    world.agent_at("A2", "eu/b", TOTAL);
    let wanted = wants(2, &[region("eu")], Some((Key::Zone, 1)));
    world.demand("f", "r", &[wanted]);
    assert_eq!(fits(&world.changed()).len(), 1);
    // In the zone that has one: it is what is wanted, and there is no room.
    moves(&mut world, "eu/b");
    assert!(world.changed().is_empty());
    moves(&mut world, "eu/c");
    assert_eq!(
        fits(&world.changed()),
        BTreeMap::from([(("web".to_owned(), "A1".to_owned()), 1)])
    );
}

/// Agents with attributes.
fn world_of(agents: &[(&str, &str)]) -> World {
    let mut world = World::new(3);
    for (id, attributes) in agents {
        let (description, total) = (described(id, attributes), r(TOTAL));
        world.allocator.add_agent(&agent(id), &description, &total);
    }
    world
}

fn attribute(name: &str, value: &str) -> Predicate {
    let name = proffer_model::ResourceName::new(name).expect(name);
    Predicate::Attribute(
        name,
        proffer_model::AttributeValue::new(value).expect(value),
    )
}

#[test]
fn an_attribute_with_several_values_has_each_of_them() {
    let agents = [
        ("A1", "rack:a;rack:b"),
        ("A2", "rack:b"),
        ("A3", "rack:c"),
        ("A4", ""),
    ];
    let not = |predicate| Predicate::Not(Box::new(predicate));
    let has = Predicate::Has(proffer_model::ResourceName::new("rack").expect("a name"));
    for (predicate, passed) in [
        (attribute("rack", "a"), vec!["A1"]),
        (attribute("rack", "b"), vec!["A1", "A2"]),
        (not(attribute("rack", "a")), vec!["A2", "A3", "A4"]),
        (has, vec!["A1", "A2", "A3"]),
        (attribute("rack", "z"), vec![]),
    ] {
        let mut world = world_of(&agents);
        world.demand("f", "r", &[wants(9, &[predicate], Some((Key::Agent, 1)))]);
        let offers = world.changed();
        let mut on: Vec<&str> = offers.iter().map(|offer| offer.agent.as_str()).collect();
        on.sort_unstable();
        assert_eq!(on, passed);
    }
}

#[test]
fn an_agent_in_two_racks_counts_for_both() {
    let rack = Key::Attribute(proffer_model::ResourceName::new("rack").expect("a name"));
    for gang in [0, 2] {
        let mut world = world_of(&[("A1", "rack:a;rack:b"), ("A2", "rack:b"), ("A3", "rack:c")]);
        let mut wanted = wants(3, &[], Some((rack.clone(), 1)));
        wanted.gang = gang;
        let one_of = |agents: &mut World| {
            agents.demand("f", "r", std::slice::from_ref(&wanted));
            let offers = agents.changed();
            let mut on: Vec<String> = offers.iter().map(|o| o.agent.to_string()).collect();
            on.sort_unstable();
            on
        };
        let on = one_of(&mut world);
        assert!(on == ["A1", "A3"] || on == ["A2", "A3"], "{on:?}");
        // Said anew, it is counted anew.
        assert_eq!(one_of(&mut world), Vec::<String>::new());
        let (id, path, web) = (framework("f"), role("r"), entry("web"));
        for of in &on {
            world.release("f", "r", of, "cpus:1;mem:64");
            let at = agent(of);
            world.allocator.count_down(&id, &path, &web, &at, 0, 1);
        }
        assert_eq!(world.changed().len(), 2);
    }
}

#[test]
fn what_is_in_a_zone_moves_with_its_agent_and_goes_with_it() {
    let bounded = DemandEntry {
        at_most: vec![AtMost {
            per: Key::Zone,
            count: 1,
        }],
        ..shaped("web", 4, "cpus:1;mem:64")
    };
    let mut world = World::new(1);
    let all = "cpus:1;mem:1024";
    world.agent_at("A", "eu/a", all);
    world.demand("f", "r", &[bounded]);
    assert_eq!(lines(&world.changed()), ["f r A cpus:1;mem:64"]);
    world.agent_at("B", "eu/a", all);
    assert_eq!(world.changed().len(), 0);
    let description = AgentDescription {
        domain: domain("us/a"),
        ..described("A", "")
    };
    world
        .allocator
        .set_agent(&agent("A"), &description, &r(all));
    assert_eq!(lines(&world.changed()), ["f r B cpus:1;mem:64"]);
    for id in ["C", "D"] {
        world.agent_at(id, "us/a", all);
    }
    assert_eq!(world.changed().len(), 0);
    world.allocator.remove_agent(&agent("A"));
    assert_eq!(world.changed().len(), 1);
}
