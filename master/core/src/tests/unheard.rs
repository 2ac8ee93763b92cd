//! What frameworks hear of tasks that nobody knows, while agents are away that may run them.

use proffer_model::registry::Registry;
use proffer_model::session::Call;
use proffer_model::{FrameworkId, TaskState};

use super::world::{World, spec, task_id};
use crate::event::SessionId;

/// What a framework hears of a task that nobody knows.
fn asked(world: &mut World, session: SessionId) -> Vec<TaskState> {
    world.drain(session);
    let tasks = vec![task_id("nobody-knows")];
    world.call(session, Call::Reconcile { tasks });
    let statuses = world.statuses(session).into_iter();
    statuses.map(|(_, state, ..)| state).collect()
}

/// Two agents and a framework that was there with them, in the log.
fn before() -> (World, FrameworkId, [proffer_model::AgentId; 2]) {
    let mut world = World::new();
    let agents = ["a", "b"].map(|host| {
        let link = world.agent(host, "cpus:4");
        world.welcomed(link)
    });
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    world.run(session, spec("t", "cpus:1"));
    (world, framework, agents)
}

const LOST: [TaskState; 1] = [TaskState::Lost];
const UNREACHABLE: [TaskState; 1] = [TaskState::Unreachable];

#[test]
fn who_is_new_in_a_term_hears_at_once_that_what_nobody_knows_is_lost() {
    let (world, old, [a, b]) = before();
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&old);
    let fresh = world.framework();
    let (fresh_id, _) = world.subscribed(fresh);
    // Whoever was there before waits until all are back; nobody has launched anything for a framework that was not there.
    assert_eq!(asked(&mut world, session), []);
    assert_eq!(asked(&mut world, fresh), LOST);
    world.drain(fresh);
    let task = task_id("nobody-knows");
    world.call(fresh, Call::Kill { task, grace: None });
    assert_eq!(world.statuses(fresh).len(), 1);
    world.returns(&a, "a", "cpus:4", Vec::new());
    assert_eq!(asked(&mut world, session), []);
    world.drain(fresh);
    world.pass_s(100);
    assert_eq!(asked(&mut world, session), UNREACHABLE);
    let told = world.statuses(fresh);
    assert_eq!(told, [], "it was told of the Kill before");
    assert_eq!(asked(&mut world, fresh), LOST);
    let later = world.framework();
    assert_eq!(asked(&mut world, later), LOST);

    // The same in the terms that follow, and with the snapshots that they begin with.
    for epoch in 3..5 {
        world = World::term(epoch, world.written.clone());
        world.returns(&a, "a", "cpus:4", Vec::new());
        let session = world.resubscribe(&old);
        assert_eq!(asked(&mut world, session), UNREACHABLE);
        let session = world.resubscribe(&fresh_id);
        assert_eq!(asked(&mut world, session), LOST);
        world.pass_s(100);
    }
    let session = world.resubscribe(&old);
    world.returns(&b, "b", "cpus:4", Vec::new());
    assert_eq!(asked(&mut world, session), LOST);
    assert_eq!(world.written.agents[&b].unreachable_since_wall_ms, None);
}

#[test]
fn who_was_there_when_an_agent_was_lost_may_have_tasks_there() {
    let (mut world, old, [a, b]) = before();
    world.pass_s(1);
    let links: Vec<_> = world.beating.iter().copied().collect();
    world.lose(links[1]);
    let between = world.framework();
    let (between, _) = world.subscribed(between);
    world.pass_s(80);
    assert!(world.written.agents[&b].unreachable_since_wall_ms.is_some());
    let after = world.framework();
    let (after, _) = world.subscribed(after);
    let mut world = World::term(2, world.written);
    world.returns(&a, "a", "cpus:4", Vec::new());
    for (framework, expected) in [(old, UNREACHABLE), (between, UNREACHABLE), (after, LOST)] {
        let session = world.resubscribe(&framework);
        assert_eq!(asked(&mut world, session), expected);
    }
}

#[test]
fn of_what_older_versions_wrote_all_that_were_there_may_have_tasks_there() {
    let (world, old, [a, b]) = before();
    let mut registry: Registry = world.written;
    registry.framework_count = 0;
    if let Some(entry) = registry.frameworks.get_mut(&old) {
        entry.number = 0;
    }
    if let Some(entry) = registry.agents.get_mut(&b) {
        entry.unreachable_since_wall_ms = Some(1);
    }
    let mut world = World::term(2, registry);
    world.returns(&a, "a", "cpus:4", Vec::new());
    let session = world.resubscribe(&old);
    assert_eq!(asked(&mut world, session), UNREACHABLE);
    let fresh = world.framework();
    assert_eq!(asked(&mut world, fresh), LOST);
}

#[test]
fn after_a_restore_anybody_may_have_tasks_on_an_agent_until_it_is_back() {
    let (world, _, [a, b]) = before();
    let mut registry = world.written;
    for entry in registry.agents.values_mut() {
        entry.frameworks = u64::MAX;
    }
    let mut world = World::term(2_000, registry);
    let session = world.framework();
    let (fresh, _) = world.subscribed(session);
    assert_eq!(asked(&mut world, session), []);
    world.returns(&a, "a", "cpus:4", Vec::new());
    world.pass_s(100);
    assert_eq!(asked(&mut world, session), UNREACHABLE);
    let entries = &world.written.agents;
    assert_eq!(
        (entries[&a].frameworks, entries[&b].frameworks),
        (0, u64::MAX)
    );
    let mut world = World::term(2_001, world.written);
    let session = world.resubscribe(&fresh);
    world.returns(&a, "a", "cpus:4", Vec::new());
    assert_eq!(asked(&mut world, session), UNREACHABLE);
    world.returns(&b, "b", "cpus:4", Vec::new());
    assert_eq!(asked(&mut world, session), LOST);
}
