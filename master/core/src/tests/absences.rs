//! Frameworks that have had no session for a while, and the next leader.

use proffer_model::FrameworkId;

use super::world::{World, want};
use crate::event::{Event, SessionId};

/// A cluster of one agent, with a framework that stays, and one whose session has ended.
fn left() -> (World, FrameworkId, FrameworkId) {
    let mut world = World::new();
    world.agent("a", "cpus:4");
    let sessions: [SessionId; 2] = [world.framework(), world.framework()];
    let [stays, leaves] = sessions.map(|session| world.subscribed(session).0);
    let session = sessions[1];
    world.step(Event::SessionClosed { session });
    (world, stays, leaves)
}

/// The next term, in which the agent and the framework that stays are back: how many offers are out at once.
fn offers_at_once(epoch: u64, before: &World, stays: &FrameworkId) -> (World, usize) {
    let agent = before.written.agents.keys().next().cloned();
    let agent = agent.expect("an agent");
    let mut world = World::term(epoch, before.written.clone());
    let session = world.resubscribe(stays);
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.returns(&agent, "a", "cpus:4", Vec::new());
    world.pass_ms(20);
    let offers = world.offers(session).len();
    (world, offers)
}

#[test]
fn a_new_term_does_not_wait_for_who_has_been_away_for_a_minute() {
    let (mut world, stays, leaves) = left();
    world.pass_s(50);
    assert!(!world.written.frameworks[&leaves].is_away);
    assert_eq!(
        offers_at_once(2, &world, &stays).1,
        0,
        "it may be about to come"
    );
    world.pass_s(12);
    assert!(world.written.frameworks[&leaves].is_away);
    assert!(!world.written.frameworks[&stays].is_away);
    let changes = world.changes.len();
    world.pass_s(30);
    assert_eq!(world.changes.len(), changes, "written once");

    let (mut next, offers) = offers_at_once(2, &world, &stays);
    assert_eq!(offers, 1);
    next.pass_s(80);
    assert_eq!(
        next.written.frameworks[&leaves],
        world.written.frameworks[&leaves]
    );

    // It comes back, and is awaited by the term after that.
    let session = next.resubscribe(&leaves);
    assert_eq!(next.subscribed(session).0, leaves);
    assert!(!next.written.frameworks[&leaves].is_away);
    assert_eq!(offers_at_once(3, &next, &stays).1, 0);
}

#[test]
fn who_does_not_come_back_in_a_new_term_is_not_awaited_by_the_one_after_it() {
    let (world, stays, leaves) = left();
    let (mut next, offers) = offers_at_once(2, &world, &stays);
    assert_eq!(offers, 0);
    next.pass_s(62);
    assert!(next.written.frameworks[&leaves].is_away);
    assert_eq!(offers_at_once(3, &next, &stays).1, 1);
}

#[test]
fn a_short_absence_is_not_written_down_though_there_are_many() {
    let (mut world, _, leaves) = left();
    let changes = world.changes.len();
    for _ in 0..10 {
        let session = world.resubscribe(&leaves);
        world.pass_s(40);
        world.step(Event::SessionClosed { session });
        world.pass_s(40);
    }
    assert_eq!(world.changes.len(), changes);
}
