//! What becomes of instances whose resources are wanted back.

use proffer_model::{TaskId, TaskState};

use super::world::{World, agent, patch};
use crate::app::{AppPatch, Fraction};
use crate::event::Event;
use crate::health::{CheckProtocol, HealthCheck};

/// An app of three with a health check, all on agent a.
fn three(patch: AppPatch) -> World {
    let mut world = World::new();
    world.create(patch).expect("created");
    world.settle();
    assert_eq!(world.running().len(), 3);
    world
}

fn checked() -> AppPatch {
    AppPatch {
        health_checks: Some(vec![HealthCheck::of(CheckProtocol::MesosHttp)]),
        ..patch("/web", 3)
    }
}

fn reclaim(world: &mut World, is_wanted: bool) {
    let tasks = on(world, "a");
    world.step(Event::Reclaimed { tasks, is_wanted });
    world.run_inbox();
}

fn on(world: &World, name: &str) -> Vec<TaskId> {
    let of = world
        .tasks
        .iter()
        .filter(|(_, live)| live.agent == agent(name));
    of.map(|(task, _)| task.clone()).collect()
}

fn drain(world: &mut World) {
    world.drained.insert(agent("a"));
    reclaim(world, true);
}

fn ready(world: &World) -> usize {
    let instances = world.instances();
    let ready = instances
        .iter()
        .filter(|of| of.is_healthy() && !of.is_condemned);
    ready.count()
}

#[test]
fn instances_are_replaced_before_they_end_and_never_fewer_are_ready() {
    let half = AppPatch {
        minimum_health: Some(Fraction(500_000)),
        ..checked()
    };
    for patch in [checked(), half] {
        let mut world = three(patch);
        drain(&mut world);
        assert_eq!((world.kills, on(&world, "b").len()), (0, 0));
        world.offer();
        let fresh = on(&world, "b");
        assert_eq!(
            fresh.len(),
            3,
            "all at once: the app may have twice as many"
        );
        for (done, task) in fresh.iter().enumerate() {
            world.set(task, TaskState::Running, None);
            world.run_inbox();
            assert_eq!(world.kills, done, "one that runs is not ready yet");
            world.set(task, TaskState::Running, Some(true));
            world.run_inbox();
            assert_eq!((world.kills, ready(&world)), (done + 1, 3));
        }
        world.settle();
        assert_eq!((on(&world, "a").len(), on(&world, "b").len()), (0, 3));
        assert!(world.app("/web").expect("there").deployment.is_none());
    }
}

#[test]
fn an_app_that_may_have_one_more_moves_one_by_one_and_one_that_may_not_has_a_gap() {
    for (minimum, least) in [(Fraction::ONE, 3), (Fraction(500_000), 2)] {
        let mut world = three(AppPatch {
            minimum_health: Some(minimum),
            maximum_over: Some(Fraction(0)),
            ..checked()
        });
        drain(&mut world);
        let mut most = 0;
        for _ in 0..100 {
            assert!(ready(&world) >= least, "{}", ready(&world));
            most = most.max(world.tasks.len());
            let starting = world
                .tasks
                .iter()
                .find(|(_, live)| live.state < TaskState::Running);
            match starting.map(|(task, _)| task.clone()) {
                Some(task) => world.set(&task, TaskState::Running, Some(true)),
                None if world.demand.is_empty() => break,
                None => world.offer(),
            }
            world.run_inbox();
        }
        assert_eq!((on(&world, "a").len(), on(&world, "b").len()), (0, 3));
        assert_eq!(most, if least == 3 { 4 } else { 3 });
    }
}

#[test]
fn what_is_not_wanted_back_any_more_stays() {
    let mut world = three(checked());
    drain(&mut world);
    reclaim(&mut world, false);
    world.drained.clear();
    world.settle();
    assert_eq!((world.kills, on(&world, "a").len()), (0, 3));
}

#[test]
fn what_is_wanted_back_is_known_again_and_forgotten_after_a_change_of_session() {
    let mut world = three(checked());
    drain(&mut world);
    world.offer();
    let fresh = on(&world, "b");
    // The drain goes on: the new session says so before it says that the agent has settled.
    world.reconnect();
    reclaim(&mut world, true);
    world.step(Event::AgentSettled(agent("a")));
    world.run_inbox();
    assert_eq!(world.kills, 0, "the fresh ones are not too many");
    world.settle();
    assert_eq!((on(&world, "a").len(), on(&world, "b")), (0, fresh));
    // It was ended while nobody was connected.
    let mut world = three(checked());
    drain(&mut world);
    world.reconnect();
    world.drained.clear();
    world.step(Event::AgentSettled(agent("a")));
    world.settle();
    assert_eq!((world.kills, on(&world, "a").len()), (0, 3));
    // The program restarts, and knows nothing until it is told.
    drain(&mut world);
    world.restart();
    reclaim(&mut world, true);
    world.settle();
    assert_eq!((on(&world, "a").len(), on(&world, "b").len()), (0, 3));
}
