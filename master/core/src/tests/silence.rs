//! Suspicion, unreachability, and what holds it back.

use proffer_model::session::Call;
use proffer_model::{AgentId, Reason, TaskState};

use super::world::{World, reported, spec, status, want};
use crate::effect::{After, Fact};
use crate::event::LinkId;

fn declared(world: &World) -> usize {
    let facts = world.facts.iter();
    facts
        .filter(|fact| matches!(fact, Fact::AgentUnreachable { .. }))
        .count()
}

fn agents(world: &mut World, count: usize) -> Vec<LinkId> {
    (0..count)
        .map(|i| world.agent(&format!("h{i:03}"), "cpus:1"))
        .collect()
}

#[test]
fn a_silent_agent_is_suspect_and_its_offers_are_rescinded_until_it_is_heard() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.pass_ms(20);
    let offer = world.offers(session)[0].id.clone();
    world.beating.remove(&link);
    world.pass_s(4);
    assert!(world.rescinded(session).is_empty());
    world.pass_ms(1_500);
    assert_eq!(world.rescinded(session), [offer]);
    world.drain(session);
    world.pass_s(20);
    assert!(world.offers(session).is_empty());
    world.beating.insert(link);
    world.pass_s(1);
    assert_eq!(world.offers(session).len(), 1);
    world.drain(session);
    world.lose(link);
    assert_eq!(
        world.rescinded(session).len(),
        1,
        "without a link it is suspect at once"
    );
}

#[test]
fn an_unreachable_agents_tasks_are_reported_when_that_is_durable_and_again_when_it_is_back() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.updates(
        link,
        &framework,
        status("t", incarnation, 1, TaskState::Running),
    );
    world.acknowledge_all(session);
    world.drain(session);
    world.beating.remove(&link);
    world.pass_s(74);
    assert!(world.statuses(session).is_empty());
    world.is_writing = false;
    world.pass_s(2);
    let unreachable = (
        "t".to_owned(),
        TaskState::Unreachable,
        Reason::AgentUnreachable,
        0,
    );
    assert_eq!(world.statuses(session), [unreachable]);
    let told = world
        .told
        .iter()
        .find(|(_, told, _)| matches!(told, proffer_model::session::Event::Updated(_)));
    assert!(matches!(told, Some((_, _, After::Seq(_)))));
    assert!(
        world.written.agents[&agent]
            .unreachable_since_wall_ms
            .is_some()
    );
    assert!(world.closed_links.contains(&link));
    world.is_writing = true;
    world.write();
    world.acknowledge_all(session);
    world.drain(session);
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    world.returns(&agent, "a", "cpus:4", vec![task]);
    let back = ("t".to_owned(), TaskState::Running, Reason::AgentReturned, 0);
    assert_eq!(world.statuses(session), [back]);
    assert!(
        world.written.agents[&agent]
            .unreachable_since_wall_ms
            .is_none()
    );
}

#[test]
fn what_became_unreachable_in_an_earlier_term_is_reported_when_it_is_back() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.lose(link);
    world.pass_s(80);
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    world.returns(&agent, "a", "cpus:4", vec![task]);
    let back = ("t".to_owned(), TaskState::Running, Reason::AgentReturned, 0);
    assert_eq!(world.statuses(session), [back]);
}

#[test]
fn what_a_returning_agent_says_itself_is_not_said_for_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let says = |world: &mut World, link, number, state| {
        world.updates(link, &framework, status("t", incarnation, number, state));
    };
    says(&mut world, link, 1, TaskState::Starting);
    world.lose(link);
    world.pass_s(80);
    let ask = Call::Reconcile { tasks: Vec::new() };
    let mut task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        3,
        TaskState::Running,
    );
    task.acknowledged = 0;
    world.drain(session);
    let link = world.returns(&agent, "a", "cpus:4", vec![task.clone()]);
    assert!(
        world.statuses(session).is_empty(),
        "2 and 3 are on their way"
    );
    for (number, state) in [
        (1, TaskState::Starting),
        (2, TaskState::Running),
        (3, TaskState::Running),
    ] {
        says(&mut world, link, number, state);
    }
    let numbers = |world: &World| -> Vec<u64> {
        let statuses = world.statuses(session).into_iter();
        statuses.map(|(_, _, _, number)| number).collect()
    };
    assert_eq!(numbers(&world), [2, 3], "1 was told before");

    // The same in a new term, which does not know what was told.
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    world.call(session, ask);
    assert!(
        world.statuses(session).is_empty(),
        "all three are on their way"
    );
    for number in 1..=3 {
        world.updates(
            link,
            &framework,
            status("t", incarnation, number, TaskState::Running),
        );
    }
    let numbers: Vec<u64> = world
        .statuses(session)
        .into_iter()
        .map(|(_, _, _, n)| n)
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn agents_of_the_log_have_their_silence_counted_from_the_begin_of_the_term() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent: AgentId = world.welcomed(link);
    let mut world = World::term(2, world.written);
    world.pass_s(74);
    assert_eq!(declared(&world), 0);
    world.pass_s(2);
    assert!(
        world.written.agents[&agent]
            .unreachable_since_wall_ms
            .is_some()
    );
}

#[test]
fn at_most_a_tenth_is_declared_in_ten_minutes() {
    for (count, silent, at_first) in [(2, 2, 1), (20, 3, 2), (100, 5, 5)] {
        let mut world = World::new();
        let links = agents(&mut world, count);
        for link in links.iter().take(silent) {
            world.beating.remove(link);
        }
        world.pass_s(90);
        assert_eq!(declared(&world), at_first, "of {silent} of {count}");
        world.pass_s(600);
        assert!(
            declared(&world) > at_first || at_first == silent,
            "later the next"
        );
    }
}

#[test]
fn when_many_fall_silent_together_none_is_declared_until_some_are_back_or_time_has_passed() {
    for (count, silent) in [(10, 4), (100, 6)] {
        let mut world = World::new();
        let links = agents(&mut world, count);
        for link in links.iter().take(silent) {
            world.beating.remove(link);
        }
        world.pass_s(500);
        assert_eq!(declared(&world), 0, "{silent} of {count}");
        let held = world
            .facts
            .iter()
            .filter(|fact| matches!(fact, Fact::LossHeld { .. }));
        assert_eq!(held.count(), 1, "said once");
        world.pass_s(110);
        assert!(declared(&world) > 0, "ten minutes are enough");

        let mut world = World::new();
        let links = agents(&mut world, count);
        for link in links.iter().take(silent) {
            world.beating.remove(link);
        }
        world.pass_s(100);
        world.beating.insert(links[0]);
        world.pass_s(3);
        assert!(
            declared(&world) > 0,
            "one is back, the others are few enough"
        );
    }
}

#[test]
fn a_task_whose_end_its_agent_has_not_told_is_unreachable_with_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.lose(link);
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    let mut task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        2,
        TaskState::Finished,
    );
    task.acknowledged = 0;
    let link = world.returns(&agent, "a", "cpus:4", vec![task.clone()]);
    world.lose(link);
    world.drain(session);
    world.pass_s(80);
    let unreachable = |reason| ("t".to_owned(), TaskState::Unreachable, reason, 0);
    assert_eq!(
        world.statuses(session),
        [unreachable(Reason::AgentUnreachable)]
    );
    world.acknowledge_all(session);
    world.drain(session);
    world.call(session, Call::Reconcile { tasks: Vec::new() });
    assert_eq!(world.statuses(session), [unreachable(Reason::Reconciled)]);
    world.drain(session);
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    for (number, state) in [(1, TaskState::Running), (2, TaskState::Finished)] {
        world.updates(link, &framework, status("t", incarnation, number, state));
    }
    let told: Vec<_> = world.statuses(session).into_iter().map(|s| s.1).collect();
    assert_eq!(told, [TaskState::Running, TaskState::Finished]);
    world.acknowledge_all(session);
    assert_eq!(world.acknowledged(link), [("t".to_owned(), 2)]);
}

#[test]
fn what_an_agent_has_said_that_it_will_say_is_not_answered_before() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.lose(link);
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    let mut task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        2,
        TaskState::Running,
    );
    task.acknowledged = 0;
    // The framework may have been told of the second in an earlier term; the first comes again, twice cut short.
    for _ in 0..2 {
        let link = world.returns(&agent, "a", "cpus:4", vec![task.clone()]);
        world.updates(
            link,
            &framework,
            status("t", incarnation, 1, TaskState::Starting),
        );
        world.drain(session);
        world.call(session, Call::Reconcile { tasks: Vec::new() });
        assert_eq!(world.statuses(session), []);
        world.lose(link);
    }
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    world.updates(
        link,
        &framework,
        status("t", incarnation, 2, TaskState::Running),
    );
    world.drain(session);
    world.call(session, Call::Reconcile { tasks: Vec::new() });
    let running = ("t".to_owned(), TaskState::Running, Reason::Reconciled, 0);
    assert_eq!(world.statuses(session), [running]);
}

#[test]
fn a_task_that_is_free_but_whose_end_was_not_told_is_unreachable_with_its_agent() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.drain(session);
    let message = proffer_model::link::ToMaster::Updated {
        framework,
        status: status("t", incarnation, 1, TaskState::Running),
        latest: TaskState::Finished,
    };
    world.step(crate::event::Event::LinkMessage { link, message });
    world.lose(link);
    world.pass_s(80);
    let states: Vec<_> = world.statuses(session).into_iter().map(|s| s.1).collect();
    assert_eq!(states, [TaskState::Running, TaskState::Unreachable]);
}
