//! Places for frameworks: who is refused, and who makes room.

use std::time::Duration;

use proffer_model::session::Call;
use proffer_model::{FrameworkDescription, FrameworkId, StateKey, TaskState, code};

use super::world::{World, describe_framework, spec, status, want};
use crate::event::{Event, SessionId, StateCall};
use crate::limits::FRAMEWORK_MAKES_ROOM_AFTER;

/// One that is kept for a week.
fn lasting() -> FrameworkDescription {
    FrameworkDescription {
        failover_timeout: Duration::from_secs(7 * 24 * 3600),
        ..describe_framework()
    }
}

/// A program subscribes that has no id.
fn starts(world: &mut World, principal: &str) -> SessionId {
    world.subscribe_as(principal, None, lasting())
}

/// It comes back.
fn returns(world: &mut World, framework: &FrameworkId) -> SessionId {
    world.subscribe_as("p", Some(framework.clone()), lasting())
}

/// It ends; answers which framework it was.
fn ends(world: &mut World, session: SessionId) -> FrameworkId {
    let (framework, _) = world.subscribed(session);
    world.step(Event::SessionClosed { session });
    framework
}

fn is_taken(world: &World, session: SessionId) -> bool {
    !world.closed_sessions.contains(&session)
}

fn is_over(world: &World, framework: &FrameworkId) -> bool {
    world.written.completed.contains_key(framework)
}

#[test]
fn a_program_that_forgets_its_id_takes_no_more_than_the_share_of_its_principal() {
    let mut world = World::new();
    world.core.places.share = 3;
    let mut left = Vec::new();
    for _ in 0..3 {
        let session = starts(&mut world, "p");
        left.push(ends(&mut world, session));
        world.pass_s(1);
    }
    let refused = starts(&mut world, "p");
    let problem = world.closed(refused);
    assert!(problem.is(code::OVERLOADED), "{problem:?}");
    assert!(problem.hint.contains("an id of its own"), "{problem:?}");
    let other = starts(&mut world, "q");
    assert!(is_taken(&world, other), "there is room for others");
    // Whoever has an id is not new.
    let back = returns(&mut world, &left[2]);
    assert!(is_taken(&world, back));
    ends(&mut world, back);
    // The first has been away for long enough, and nobody else.
    world.pass(FRAMEWORK_MAKES_ROOM_AFTER - Duration::from_secs(3));
    let taken = starts(&mut world, "p");
    assert!(is_taken(&world, taken));
    assert!(is_over(&world, &left[0]));
    let refused = starts(&mut world, "p");
    assert!(!is_taken(&world, refused));
    world.pass_s(100);
    let taken = starts(&mut world, "p");
    assert!(is_taken(&world, taken));
    assert!(is_over(&world, &left[1]) && !is_over(&world, &left[2]));
}

#[test]
fn where_all_places_are_taken_whoever_has_the_most_makes_room() {
    let mut world = World::new();
    (world.core.places.most, world.core.places.share) = (3, 2);
    let mut left = Vec::new();
    for principal in ["q", "p", "p"] {
        let session = starts(&mut world, principal);
        left.push(ends(&mut world, session));
    }
    let early = starts(&mut world, "r");
    assert!(world.closed(early).is(code::OVERLOADED));
    world.pass_s(100);
    let taken = starts(&mut world, "r");
    assert!(is_taken(&world, taken));
    let over: Vec<bool> = left.iter().map(|id| is_over(&world, id)).collect();
    assert_eq!(over, [false, true, false]);
}

#[test]
fn who_has_something_to_come_back_to_makes_no_room() {
    for has in ["a session", "state", "a task", "a chosen id", "nothing"] {
        let mut world = World::new();
        world.core.places.share = 1;
        let link = world.agent("a", "cpus:4");
        let session = match has {
            "a chosen id" => world.opens(
                "p",
                Call::Subscribe {
                    framework: Some(FrameworkId::new("mine").expect("an id")),
                    description: lasting(),
                    stand_by: false,
                    resume: None,
                    create: true,
                },
            ),
            _ => starts(&mut world, "p"),
        };
        let (framework, generation) = world.subscribed(session);
        if has == "state" {
            let put = StateCall::Put {
                key: StateKey::new("k").expect("a key"),
                value: vec![1],
                expected: None,
            };
            world.state(&framework, generation, put).expect("written");
        }
        let mut incarnation = None;
        if has == "a task" {
            world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
            incarnation = Some(world.run(session, spec("t", "cpus:1")));
        }
        if has != "a session" {
            world.step(Event::SessionClosed { session });
        }
        world.pass_s(1_000);
        let next = starts(&mut world, "p");
        assert_eq!(is_taken(&world, next), has == "nothing", "{has}");
        assert_eq!(is_over(&world, &framework), has == "nothing", "{has}");
        let Some(incarnation) = incarnation else {
            continue;
        };
        // Its end waits to be acknowledged: it has that to come back to.
        let finished = status("t", incarnation, 3, TaskState::Finished);
        world.updates(link, &framework, finished);
        world.pass_s(1_000);
        let next = starts(&mut world, "p");
        assert!(!is_taken(&world, next), "its end is not acknowledged");
        let session = returns(&mut world, &framework);
        world.acknowledge_all(session);
        world.step(Event::SessionClosed { session });
        world.pass_s(1_000);
        let next = starts(&mut world, "p");
        assert!(is_taken(&world, next), "it has nothing any more");
    }
}

#[test]
fn nobody_makes_room_while_an_agent_may_run_something_of_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = starts(&mut world, "p");
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.run(session, spec("t", "cpus:1"));
    let mut next = World::term(2, world.written.clone());
    next.core.places.share = 1;
    next.pass_s(500);
    let refused = starts(&mut next, "p");
    assert!(next.closed(refused).is(code::OVERLOADED));
    // It comes back, and runs nothing.
    next.returns(&agent, "a", "cpus:4", Vec::new());
    next.pass_s(500);
    let taken = starts(&mut next, "p");
    assert!(is_taken(&next, taken));
}
