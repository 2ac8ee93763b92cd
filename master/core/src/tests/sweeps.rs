//! Allocations that take several steps, what happens meanwhile, and what tasks that were found running mean for demand.

use std::time::Duration;

use proffer_model::link::Payer;
use proffer_model::session::Call;
use proffer_model::{AtMost, Key, TaskState};

use super::world::{World, r, reported, spec, status, want};

#[test]
fn what_changes_during_a_sweep_is_offered_after_it_and_not_only_by_the_next() {
    let mut world = World::new();
    let mut links = Vec::new();
    for i in 0..30 {
        links.push(world.agent(&format!("h{i}"), "cpus:1"));
    }
    let holder = world.framework();
    let (framework, _) = world.subscribed(holder);
    let incarnation = world.run(holder, spec("t", "cpus:1"));
    let of_task = world.core.tasks.of(&framework).next().expect("one").1;
    let agent = of_task.agent().clone();
    let link = world.core.agents.by_id[&agent].link.expect("a link");
    world.pass_s(10);
    world.drain(holder);
    // Everything is refused for long, so that a sweep has much to look at and nothing to give.
    let others: Vec<_> = (0..4).map(|_| world.framework()).collect();
    for other in &others {
        world.demand(*other, vec![want("w", 30, "cpus:1", 0)]);
        world.pass_ms(20);
        let offers = world.offers(*other);
        let offers = offers.into_iter().map(|offer| offer.id).collect();
        let exclude_for = Duration::from_secs(3_600);
        world.call(
            *other,
            Call::Decline {
                offers,
                exclude_for,
            },
        );
        world.drain(*other);
    }
    world.core.triggers.steps_max = 2;
    world.core.triggers.sweep();
    // The first steps of the sweep are done at once, the others when the timer comes, which it does not before time passes.
    let ended = status("t", incarnation, 1, TaskState::Finished);
    world.updates(link, &framework, ended);
    world.demand(holder, vec![want("small", 1, "cpus:0.5", 0)]);
    let late = world.agent("late", "cpus:1");
    world.pass_ms(200);
    let offered: usize = others.iter().map(|other| world.offers(*other).len()).sum();
    assert!(offered >= 1, "what was freed, or has come, was offered");
    assert_eq!(world.offers(holder).len(), 1);
    let late = world.welcomed(late);
    for id in [&agent, &late] {
        assert_ne!(
            world.core.free(id),
            r("cpus:1"),
            "{id} is on offer, or a part"
        );
    }
}

#[test]
fn adopted_tasks_count_for_bounds_on_how_many_may_be_together() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let payer = Payer {
        role: "*".parse().expect("a role"),
        demand: Some("web".parse().expect("an id")),
    };
    let [a, b] = ["c-a0-1", "c-a0-2"].map(|id| id.parse().expect("an id"));
    let mut task = reported(
        &framework,
        spec("t1", "cpus:1"),
        proffer_model::Incarnation(7),
        1,
        TaskState::Running,
    );
    task.payer = Some(payer);
    world.returns(&a, "a", "cpus:4", vec![task]);
    world.returns(&b, "b", "cpus:4", Vec::new());
    world.pass_ms(20);
    let mut entry = want("web", 4, "cpus:1", 0);
    entry.at_most = vec![AtMost {
        count: 1,
        per: Key::Agent,
    }];
    world.demand(session, vec![entry]);
    world.pass_ms(20);
    let offers = world.offers(session);
    let hosts: Vec<&str> = offers.iter().map(|offer| offer.host.as_str()).collect();
    assert_eq!(hosts, ["b"], "there is one on a already");
    assert_eq!(offers[0].fits[0].count, 1);
    let why = world.explain(&framework);
    let bound = (
        "at_most".to_owned(),
        "2 agents have 1 of it there already".to_owned(),
    );
    assert!(why.contains(&bound), "{why:?}");
}

#[test]
fn an_agent_that_loses_a_reservation_under_a_task_is_not_overcommitted() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let agent = "c-a0-1".parse().expect("an id");
    let task = |id: &str, needs: &str| {
        let incarnation = proffer_model::Incarnation(7);
        reported(
            &framework,
            spec(id, needs),
            incarnation,
            1,
            TaskState::Running,
        )
    };
    for (now, left) in [
        ("cpus:2;cpus(eng):2;mem:8", "cpus:2;mem:8"),
        ("cpus:4;mem:8", "cpus:2;mem:8"),
        ("cpus:1;mem:8", "mem:8"),
        ("cpus:1;cpus(ops):3;mem:8", "cpus(ops):2;mem:8"),
        (
            "cpus(ops):3;cpus{REV}:2;mem:8",
            "cpus(ops):1;cpus{REV}:2;mem:8",
        ),
        ("mem:8", "mem:8"),
        ("cpus:1;cpus(eng):2;mem:8", "cpus:1;mem:8"),
    ] {
        world.returns(&agent, "a", now, vec![task("t", "cpus(eng):2")]);
        let rested = world.core.agents.by_id[&agent].rested();
        assert_eq!(rested, r(left), "of {now}");
    }
    world.drain(session);
}

#[test]
fn changes_are_served_at_once_until_much_was_done_and_then_together() {
    let mut world = World::new();
    let session = world.framework();
    world.demand(session, vec![want("w", 200, "cpus:1", 0)]);
    world.pass_s(1);
    let mut served = Vec::new();
    for i in 0..200 {
        world.agent(&format!("h{i}"), "cpus:1");
        served.push(world.offers(session).len());
    }
    let at_once = served.iter().zip(1..).take_while(|(of, all)| *of == all);
    let at_once = at_once.count();
    assert!((20..100).contains(&at_once), "{served:?}");
    assert_eq!(served.last(), Some(&at_once), "the others wait");
    world.pass_ms(10);
    assert_eq!(world.offers(session).len(), 200);
}
