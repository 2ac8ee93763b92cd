//! What an event costs, in steps and not in time: not more with more agents.

use proffer_model::{AgentDescription, AtMost, DemandEntry, Key, Predicate};

use super::world::*;
use crate::allocation::Scope;
use crate::allocation::limits::GRANT_STEPS;

/// The steps of the last run.
fn steps(world: &mut World) -> u32 {
    world.changed();
    world.last.steps
}

fn each(sizes: [u32; 2], cost: impl Fn(u32) -> Vec<u32>) {
    let [few, many] = sizes.map(cost);
    assert_eq!(few, many, "with {} agents and with {}", sizes[0], sizes[1]);
}

/// Agents that all frameworks have refused.
fn refused(agents: u32, frameworks: u32) -> World {
    refused_of(agents, frameworks, "cpus:2;mem:1024")
}

/// The same, of agents that have this.
fn refused_of(agents: u32, frameworks: u32, all: &str) -> World {
    let mut world = World::new(1);
    for i in 0..frameworks {
        world.framework(&format!("f{i}"), "r");
    }
    for i in 0..agents {
        world.agent(&format!("A{i}"), all);
    }
    loop {
        let offers = world.changed();
        if offers.is_empty() {
            return world;
        }
        for offer in offers {
            let (framework, agent) = (offer.framework.to_string(), offer.agent.to_string());
            world.decline(&framework, "r", &agent, all, Some(10_000));
        }
    }
}

#[test]
fn what_becomes_free_is_looked_at_alone() {
    each([20, 400], |agents| {
        let mut world = refused(agents, 5);
        world.agent("new", "cpus:2;mem:1024");
        let first = steps(&mut world);
        world.release("f0", "r", "new", "cpus:2;mem:1024");
        vec![first, steps(&mut world)]
    });
}

/// The shapes of frameworks that are all in one role, and wait because nothing is free.
fn waiting(frameworks: u32, entries: &[DemandEntry]) -> World {
    let mut world = World::new(1);
    world.framework("busy", "r");
    for i in 0..3 {
        world.agent(&format!("A{i}"), "cpus:2;mem:1024");
    }
    world.changed();
    for i in 0..frameworks {
        world.demand(&format!("f{i}"), "r", entries);
    }
    world.changed();
    world
}

#[test]
fn what_comes_back_is_not_looked_at_by_all_that_wait() {
    each([20, 400], |frameworks| {
        let large = shaped("large", 5, "cpus:2;mem:64");
        let mut world = waiting(frameworks, &[shaped("web", 5, "cpus:1;mem:64"), large]);
        world.demand("busy", "r", &[]);
        let mut costs = Vec::new();
        // Too little for all; enough for one; the rest of it is too little again.
        for (free, granted) in [("cpus:0.5;mem:100", 0), ("cpus:0.7;mem:100", 1)] {
            world.release("busy", "r", "A1", free);
            assert_eq!(world.changed().len(), granted, "{free}");
            costs.push(world.last.steps);
        }
        costs
    });
}

#[test]
fn what_goes_to_a_guarantee_is_looked_at_once_by_each_that_waits() {
    let cost = |frameworks: u32| {
        let mut world = waiting(frameworks, &[shaped("web", 5, "cpus:1;mem:64")]);
        world.demand("busy", "r", &[]);
        world.quota("guarded", "cpus:2;mem:128", "");
        world.demand("first", "guarded", &[shaped("web", 5, "cpus:1;mem:64")]);
        world.changed();
        // The second goes to it too, though all others have less.
        for agent in ["A1", "A2"] {
            world.release("busy", "r", agent, "cpus:1;mem:64");
            let granted = format!("first guarded {agent} cpus:1;mem:64");
            assert_eq!(lines(&world.changed()), [granted]);
        }
        world.last.steps
    };
    // It is held back from each of them, and when the guarantee is met they do not look at everything once more.
    let [few, many] = [20, 400].map(cost);
    assert!(many - few <= 2 * 380, "{few} {many}");
}

#[test]
fn what_was_held_back_for_a_guarantee_is_granted_when_that_is_met() {
    for gang in [1, 2] {
        let mut world = waiting(20, &[]);
        world.demand("busy", "r", &[]);
        world.quota("guarded", "cpus:2;mem:64", "");
        world.demand(
            "f0",
            "r",
            &[DemandEntry {
                gang,
                ..shaped("web", gang, "cpus:1;mem:32")
            }],
        );
        world.changed();
        for agent in ["A1", "A2"] {
            world.release("busy", "r", agent, "cpus:1;mem:32");
            assert_eq!(world.changed().len(), 0, "{gang}");
        }
        // The guarantee is met elsewhere, and what is free was not touched.
        world.agent("B", "cpus:2;mem:64");
        world.demand("first", "guarded", &[shaped("web", 2, "cpus:1;mem:32")]);
        let granted = lines(&world.changed());
        assert!(
            granted.iter().any(|line| line.starts_with("f0 ")),
            "{granted:?}"
        );
        assert!(
            granted.iter().any(|line| line.starts_with("first ")),
            "{granted:?}"
        );
    }
}

#[test]
fn an_agent_that_comes_back_is_not_looked_at_by_those_that_have_refused_it() {
    let nowhere = DemandEntry {
        predicates: vec![Predicate::Host("nowhere".to_owned())],
        ..shaped("nowhere", 5, "cpus:1;mem:64")
    };
    let (web, other) = (
        shaped("web", 5, "cpus:2;mem:64"),
        shaped("other", 5, "cpus:2;mem:32"),
    );
    for entries in [
        vec![web.clone()],
        vec![nowhere, web.clone()],
        vec![web, other],
    ] {
        each([20, 400], |frameworks| {
            let mut world = waiting(frameworks, &entries);
            for i in 0..frameworks {
                for entry in &entries {
                    exclude(&mut world, &format!("f{i}"), entry, "A1");
                }
            }
            world.demand("busy", "r", &[]);
            world.release("busy", "r", "A1", "cpus:2;mem:1024");
            assert_eq!(world.changed().len(), 0);
            let costs = (0..2).map(|_| {
                world.allocator.touch_agent(0);
                world.allocator.touch_agent(1);
                steps(&mut world)
            });
            let costs = costs.collect();
            // Whoever revives is offered it.
            let (reviving, of) = (framework("f7"), role("r"));
            world.allocator.clear_exclusions(&reviving, &of);
            assert_eq!(world.changed()[0].framework, reviving);
            costs
        });
    }
}

#[test]
fn what_little_somebody_once_refused_brings_nobody_back_who_refused_more() {
    each([20, 400], |frameworks| {
        let mut world = holding(1, "cpus:8;mem:1024");
        let refuse = |world: &mut World, id: &str, what: &str, seconds: u64| {
            world.framework(id, "r");
            let until = world.now.mono_ns + seconds * 1_000_000_000;
            let (id, of, what) = (framework(id), agent("A"), r(what));
            world
                .allocator
                .exclude(&id, &role("r"), &entry("any"), &of, &what, until);
        };
        for i in 0..frameworks {
            refuse(&mut world, &format!("f{i}"), "cpus:8;mem:1024", 1_000_000);
        }
        // One is over, one has said so long ago, and one says so still, and that it wants no more either.
        refuse(&mut world, "over", "cpus:1;mem:8", 1_000_000);
        world.allocator.remove_framework(&framework("over"));
        refuse(&mut world, "f3", "cpus:1;mem:16", 1);
        refuse(&mut world, "f5", "cpus:1;mem:32", 2_000_000);
        world.changed();
        world.pass(10);
        world.changed();
        let mut costs = Vec::new();
        for _ in 0..3 {
            world.release("busy", "r", "A", "cpus:2;mem:100");
            assert_eq!(world.changed().len(), 0);
            costs.push(world.last.steps);
        }
        // Who refused less than there is now is offered it.
        refuse(&mut world, "new", "cpus:6;mem:300", 1_000_000);
        world.changed();
        world.release("busy", "r", "A", "cpus:1;mem:100");
        assert_eq!(world.changed()[0].framework, framework("new"));
        costs
    });
}

#[test]
fn a_decline_looks_at_no_agent_but_its_own() {
    each([20, 400], |agents| {
        let mut world = refused(agents, 1);
        world.agent("new", "cpus:2;mem:1024");
        assert_eq!(world.changed().len(), 1);
        world.decline("f0", "r", "new", "cpus:2;mem:1024", Some(10_000));
        vec![steps(&mut world)]
    });
    // With a bound that the offer stood in the way of, another agent is offered when it comes back.
    let mut world = World::new(1);
    for id in ["A1", "A2"] {
        world.agent_at(id, "eu/a", "cpus:2;mem:1024");
    }
    let per_zone = DemandEntry {
        at_most: vec![AtMost {
            per: Key::Zone,
            count: 1,
        }],
        ..any()
    };
    world.demand("f", "r", &[per_zone]);
    let offers = world.changed();
    assert_eq!(offers.len(), 1);
    let of = offers[0].agent.to_string();
    world.decline("f", "r", &of, "cpus:2;mem:1024", Some(10_000));
    assert_eq!(world.changed().len(), 1);
}

/// As a framework does that declines all that there is of an agent.
fn exclude(world: &mut World, id: &str, of: &DemandEntry, from: &str) {
    let (until, all) = (world.now.mono_ns + 1_000_000_000_000, r("cpus:2;mem:1024"));
    let (id, from) = (framework(id), agent(from));
    world
        .allocator
        .exclude(&id, &role("r"), &of.id, &from, &all, until);
}

#[test]
fn demand_looks_at_as_many_agents_as_it_wants() {
    each([20, 400], |agents| {
        let mut world = refused(agents, 3);
        world.demand("g", "s", &[shaped("web", 3, "cpus:1;mem:64")]);
        vec![steps(&mut world)]
    });
}

/// Frameworks of one role that hold something on B, and nothing of A, where one that wants nothing more holds all.
fn holding(frameworks: u32, all: &str) -> World {
    let mut world = World::new(1);
    world.framework("busy", "r");
    world.agent("A", all);
    assert_eq!(world.changed().len(), 1);
    world.demand("busy", "r", &[]);
    world.agent("B", &format!("cpus:{frameworks}"));
    for i in 0..frameworks {
        let (of, small) = (framework(&format!("f{i}")), r("cpus:1"));
        world
            .allocator
            .allocate(&of, &role("r"), &agent("B"), &small);
    }
    world.changed();
    world
}

fn set_total(world: &mut World, of: &str, total: &str) {
    world
        .allocator
        .set_agent(&agent(of), &described(of, ""), &r(total));
}

#[test]
fn ports_that_are_held_and_come_back_are_looked_at_by_nobody_who_has_refused_the_agent() {
    each([20, 400], |frameworks| {
        let mut world = holding(frameworks, "cpus:2;mem:1024;ports:[1-9]");
        for i in 0..frameworks {
            let id = format!("f{i}");
            world.framework(&id, "r");
            let until = world.now.mono_ns + 1_000_000_000_000;
            let (id, any, all) = (framework(&id), entry("any"), "cpus:2;mem:1024;ports:[1-9]");
            world
                .allocator
                .exclude(&id, &role("r"), &any, &agent("A"), &r(all), until);
        }
        world.changed();
        world.release("busy", "r", "A", "cpus:2;mem:1024;ports:[1-9]");
        assert_eq!(world.changed().len(), 0);
        let mut costs = Vec::new();
        // A task with a port begins, another one, and the first ends.
        for ports in ["[2-9]", "[3-9]", "[1-1,3-9]"] {
            set_total(&mut world, "A", &format!("cpus:2;mem:1024;ports:{ports}"));
            costs.push(steps(&mut world));
        }
        // What nobody has refused is offered.
        set_total(&mut world, "A", "cpus:2;mem:1024;ports:[1-10]");
        assert_eq!(world.changed().len(), 1);
        costs
    });
}

#[test]
fn what_leaves_the_total_as_it_is_has_no_shares_counted_anew() {
    each([20, 400], |frameworks| {
        let all = "cpus:2;mem:1024;disk:50;ports:[1-9]";
        let mut world = holding(frameworks, all);
        world.release("busy", "r", "A", all);
        world.changed();
        set_total(&mut world, "A", "cpus:2;mem:1024;disk:50;ports:[2-9]");
        let mut costs = vec![steps(&mut world)];
        for (from, to) in [
            ("cpus:1;disk:50", "cpus(x):1;disk(x):50"),
            ("disk(x):20", "disk(x)[v]:20"),
            ("disk(x)[v]:20", "disk(x):20"),
        ] {
            let converted = world.allocator.convert_free(&agent("A"), &r(from), &r(to));
            converted.expect("it is free");
            costs.push(steps(&mut world));
        }
        let before = world.allocator.tree.is_stale();
        set_total(&mut world, "A", "cpus:2;mem:1024;disk:40;ports:[2-9]");
        assert!(!before && world.allocator.tree.is_stale(), "that is less");
        costs
    });
}

#[test]
fn what_an_agent_says_of_itself_is_nothing_to_those_who_have_nothing_there() {
    let bounded = DemandEntry {
        at_most: vec![AtMost {
            per: Key::Zone,
            count: 1,
        }],
        ..shaped("web", 3, "cpus:1;mem:64")
    };
    each([20, 400], |frameworks| {
        let all = "cpus:2;mem:1024";
        let mut world = holding(1, all);
        for i in 0..frameworks {
            let id = format!("g{i}");
            world.demand(&id, "r", std::slice::from_ref(&bounded));
        }
        world.changed();
        let description = AgentDescription {
            domain: domain("eu/b"),
            ..described("A", "")
        };
        let of = agent("A");
        world.allocator.set_agent(&of, &description, &r(all));
        vec![steps(&mut world)]
    });
}

#[test]
fn revival_costs_nothing_when_nothing_is_free() {
    each([20, 400], |agents| {
        let mut world = World::new(1);
        world.framework("busy", "r");
        for i in 0..agents {
            world.agent(&format!("A{i}"), "cpus:2;mem:1024");
        }
        world.changed();
        world.framework("idle", "r");
        let first = steps(&mut world);
        world
            .allocator
            .clear_exclusions(&framework("idle"), &role("r"));
        vec![first, steps(&mut world)]
    });
}

#[test]
fn to_look_through_the_index_is_cut_into_steps() {
    let gang = |count| DemandEntry {
        gang: count,
        ..shaped("gang", count, "cpus:1;mem:64")
    };
    let nowhere = DemandEntry {
        predicates: vec![Predicate::Host("nowhere".to_owned())],
        ..shaped("nowhere", 1, "cpus:1;mem:64")
    };
    // The first two fit nowhere; of the last, as much as is wanted is granted at once.
    for (entry, granted, steps_max) in [
        (gang(900), 0, 50),
        (nowhere, 0, 50),
        (gang(40), 40, 90 + 40 * GRANT_STEPS),
    ] {
        let mut world = refused(400, 2);
        world.demand("g", "s", &[entry]);
        let (mut calls, mut count) = (0, 0);
        loop {
            let run = world.allocator.run(world.now, Scope::Changed, 50);
            assert!(run.steps <= steps_max + 2, "{} steps", run.steps);
            count += run.grants.len();
            calls += 1;
            if run.is_done {
                break;
            }
        }
        assert_eq!(count, granted);
        assert!(granted > 0 || calls >= 400 / 50, "{calls} calls");
    }
}

#[test]
fn a_sweep_over_many_agents_has_the_order_counted_and_goes_on_where_it_was() {
    let mut world = World::new(1);
    for i in 0..2_000 {
        world.agent(&format!("A{i}"), "cpus:2;mem:1024");
    }
    world.framework("taker", "r");
    let mut offers = Vec::new();
    loop {
        let run = world.allocator.run(world.now, Scope::All, 50);
        let most = 50 + GRANT_STEPS + 2;
        assert!(run.steps <= most, "{} steps", run.steps);
        let granted = run.grants.iter();
        offers.extend(granted.filter_map(|grant| world.allocator.offer_of(grant)));
        if run.is_done {
            break;
        }
    }
    assert_eq!(offers.len(), 2_000);
    for offer in &offers {
        let agent = offer.agent.to_string();
        world.release("taker", "r", &agent, "cpus:2;mem:1024");
    }
    assert_eq!(world.all().len(), 2_000, "what had changed is looked at");
    assert_eq!(steps(&mut world), 0, "and is not looked at once more");
}

#[test]
fn what_nobody_may_have_more_of_costs_nothing_however_many_there_are() {
    // A sliver by itself; beside what somebody takes, a shared volume, which is none of what an offer holds at least by
    // itself; what is kept for a role without frameworks; and what is revocable while nobody takes that.
    let whole = "cpus:2;mem:1024";
    for (rest, released, granted) in [
        ("gpus:0.001", "gpus:0.001", 0),
        ("disk(r)[v]<SHARED>:64", whole, 1),
        ("cpus(x):2;mem(x):1024", whole, 1),
        ("cpus{REV}:2;mem{REV}:1024", whole, 1),
    ] {
        each([20, 400], |frameworks| {
            let mut world = World::new(1);
            world.framework("busy", "r");
            world.agent("A", &format!("{whole};{rest}"));
            world.changed();
            for i in 0..frameworks {
                world.framework(&format!("f{i}"), "r");
            }
            world.changed();
            world.release("busy", "r", "A", released);
            assert_eq!(world.changed().len(), granted, "{rest}");
            vec![world.last.steps]
        });
    }
}

#[test]
fn what_is_reserved_for_a_role_whose_guarantee_is_met_waits_for_its_turn() {
    each([20, 400], |frameworks| {
        let mut world = World::new(1);
        world.quota("met", "cpus:2;mem:1024", "");
        world.quota("unmet", "cpus:100;mem:1024", "");
        world.framework("busy", "met");
        world.framework("owed", "unmet");
        let all = "cpus(met):2;mem(met):1024";
        for i in 0..3 {
            world.agent(&format!("A{i}"), all);
        }
        assert_eq!(world.changed().len(), 3);
        for i in 0..frameworks {
            world.framework(&format!("f{i}"), "met");
        }
        world.changed();
        for i in 0..3 {
            world.release("busy", "met", &format!("A{i}"), all);
        }
        assert_eq!(world.changed().len(), 3);
        vec![world.last.steps]
    });
}

#[test]
fn what_was_left_out_of_a_run_comes_back_in_steps() {
    let mut world = World::new(1);
    for i in 0..3_000 {
        world.demand(&format!("f{i}"), "r", &[shaped("web", 1, "cpus:8;mem:64")]);
    }
    world.agent("A", "cpus:2;mem:1024");
    let mut calls = 0;
    loop {
        let run = world.allocator.run(world.now, Scope::Changed, 50);
        assert!(run.steps <= 50 + 2, "{} steps", run.steps);
        calls += 1;
        if run.is_done {
            break;
        }
    }
    assert!(calls >= 2 * 3_000 / 50, "{calls} calls");
    // All take part again.
    world.agent("B", "cpus:8;mem:64");
    assert_eq!(world.changed().len(), 1);
    world.agent("C", "cpus:8;mem:64");
    assert_eq!(world.changed().len(), 1);
}

#[test]
fn a_role_at_its_limit_costs_nothing() {
    each([20, 400], |agents| {
        let mut world = refused(agents, 2);
        world.quota("q", "", "cpus:0;mem:0");
        world.changed();
        world.framework("g", "q");
        vec![steps(&mut world)]
    });
}

#[test]
fn a_role_at_its_limit_looks_at_agents_alone_where_something_is_for_it() {
    for (reserved, granted) in [("cpus(x):1;mem(x):64", 0), ("cpus(q):1;mem(q):64", 1)] {
        each([20, 400], |agents| {
            let mut world = refused(agents, 1);
            world.agent("S", reserved);
            world.quota("q", "", "cpus:0;mem:0");
            world.changed();
            world.demand("g", "q", &[shaped("web", 3, "cpus:1;mem:64")]);
            assert_eq!(world.changed().len(), granted, "{reserved}");
            vec![world.last.steps]
        });
    }
}

#[test]
fn what_is_at_its_limit_does_not_look_at_disks_that_are_counted_too() {
    each([20, 400], |agents| {
        let mut world = refused_of(agents, 1, "cpus:2;mem:1024;disk@PATH:/ssd:10");
        world.agent("S", "cpus(x):1;mem(x):64");
        world.agent("T", "cpus:1;mem:64;disk(q)@PATH:/ssd:10");
        world.changed();
        world.decline("f0", "r", "T", "cpus:1;mem:64", Some(10_000));
        world.quota("q", "", "cpus:0;mem:0");
        world.changed();
        for i in 0..5 {
            world.framework(&format!("g{i}"), "q");
        }
        vec![steps(&mut world)]
    });
}

#[test]
fn shares_of_ten_thousand_frameworks_are_counted_in_steps() {
    let mut world = World::new(1);
    world.agent("large", "cpus:20000;mem:2000000");
    let frameworks: Vec<String> = (0..10_000).map(|i| format!("f{i}")).collect();
    for (place, id) in frameworks.iter().enumerate() {
        let path = format!("r{}", place % 3_000);
        world.framework(id, &path);
        let (id, path) = (framework(id), role(&path));
        let (of, held) = (agent("large"), r("cpus:1;mem:64"));
        world.allocator.allocate(&id, &path, &of, &held);
    }
    world.allocator.release(
        &framework("f2999"),
        &role("r2999"),
        &agent("large"),
        &r("cpus:1;mem:64"),
    );
    for more in 0..3 {
        // The total changes, and all shares with it.
        world.agent(&format!("A{more}"), "cpus:2;mem:1024");
        let (mut calls, mut grants) = (0, Vec::new());
        loop {
            let run = world.allocator.run(world.now, Scope::Changed, 500);
            let most = 500 + GRANT_STEPS + 2;
            assert!(run.steps <= most, "{} steps", run.steps);
            calls += 1;
            grants.extend(
                run.grants
                    .iter()
                    .filter_map(|grant| world.allocator.offer_of(grant)),
            );
            if run.is_done {
                break;
            }
        }
        world.allocator.check().expect("sums are right");
        assert!(calls > 10, "{calls} calls");
        let to: Vec<String> = grants
            .iter()
            .map(|grant| grant.framework.to_string())
            .collect();
        assert_eq!(to.contains(&"f2999".to_owned()), more == 0, "{to:?}");
    }
}

#[test]
fn to_choose_an_agent_that_is_kept_is_cut_into_steps() {
    let mut world = World::new(1);
    for i in 0..900 {
        world.agent(&format!("A{i:03}"), "cpus:4;mem:1024");
        let (of, held) = (agent(&format!("A{i:03}")), r("cpus:2;mem:1024"));
        let held = if i == 700 { r("cpus:1;mem:1024") } else { held };
        world
            .allocator
            .allocate(&framework("busy"), &role("r"), &of, &held);
    }
    world.demand("g", "s", &[shaped("large", 2, "cpus:4;mem:64")]);
    world.changed();
    world.pass(31);
    let mut calls = 0;
    loop {
        let run = world.allocator.run(world.now, Scope::Changed, 50);
        assert!(run.steps <= 52, "{} steps", run.steps);
        assert!(run.grants.is_empty());
        calls += 1;
        // What was chosen already is gone before the look is at its end.
        if calls == 65 {
            world.allocator.remove_agent(&agent("A700"));
        }
        world.allocator.check().expect("sums are right");
        if run.is_done {
            break;
        }
    }
    // Half of each run goes into it.
    assert!(calls >= 2 * 2 * 899 / 26, "{calls} calls");
    // Of the others the first was chosen: what is free there is for nobody else.
    world.framework("any", "r");
    let offers = world.changed();
    assert_eq!(offers.len(), 898);
    assert!(offers.iter().all(|offer| offer.agent != agent("A000")));
}

/// The steps of the runs of so much time, each made when it is due, and how many there were.
fn steps_in(world: &mut World, seconds: u64) -> (u32, u32) {
    let end = world.now.mono_ns + seconds * 1_000_000_000;
    let (mut steps, mut runs) = (0, 0);
    while let Some(next) = world.last.look_again_at.filter(|next| *next < end) {
        world.now.mono_ns = world.now.mono_ns.max(next);
        world.changed();
        steps += world.last.steps;
        runs += 1;
        assert!(runs < 10_000, "it is looked all the time");
    }
    world.now.mono_ns = end;
    (steps, runs)
}

#[test]
fn looks_for_agents_to_keep_leave_time_for_others_and_become_fewer() {
    let mut world = World::new(1);
    for i in 0..900 {
        world.agent(&format!("A{i:03}"), "cpus:4;mem:1024");
    }
    // Larger than any agent is not looked for; with a host that is not there it is.
    let larger = |i| shaped(&format!("large-{i}"), 1, "cpus:8;mem:64");
    let nowhere = |i| DemandEntry {
        predicates: vec![Predicate::Host("nowhere".to_owned())],
        ..shaped(&format!("nowhere-{i}"), 1, "cpus:1;mem:64")
    };
    world.demand("g", "s", &(0..100).map(larger).collect::<Vec<_>>());
    world.changed();
    world.pass(31);
    world.changed();
    assert!(world.last.steps < 1_000, "{} steps", world.last.steps);
    world.demand("g", "s", &(0..200).map(nowhere).collect::<Vec<_>>());
    world.changed();
    world.pass(31);
    // Whoever comes meanwhile is not behind them.
    world.demand("h", "s", &[shaped("small", 1, "cpus:1;mem:64")]);
    let run = world.allocator.run(world.now, Scope::Changed, 200);
    assert_eq!(run.grants.len(), 1);
    world.changed();
    // A look at all agents, which is 1,800 steps, has its time, 9 ms, before the next one begins.
    let (steps, runs) = steps_in(&mut world, 1);
    assert!((100..=120).contains(&runs), "{runs} runs");
    assert!((180_000..220_000).contains(&steps), "{steps} steps");
    world.changed();
    let looks = |(steps, _): (u32, u32)| steps / 1_800;
    let minutes: Vec<u32> = (0..8).map(|_| looks(steps_in(&mut world, 60))).collect();
    // Each waits a minute after the first look, two after the next, and so on.
    assert!(minutes.iter().sum::<u32>() < 5 * 200, "{minutes:?}");
    assert!(world.allocator.waiting_len() <= 201);
}
