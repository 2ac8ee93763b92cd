//! How many offers a framework has out: halved by what it lets expire, widened by answers, and a bound only while others wait.
//! And what becomes of what is freed on an agent of which an offer is out.

use std::time::Duration;

use proffer_model::session::{Call, Operation};
use proffer_model::{DemandEntry, OfferId, Quota, Shape, TaskState};

use super::world::{World, describe_framework, principal, r, spec, status, want};
use crate::allocation::Scope;
use crate::effect::After;
use crate::event::{OperatorCall, SessionId};
use crate::limits::{OFFER_WINDOW_MAX, OFFER_WINDOW_MIN};

fn any(count: u32) -> DemandEntry {
    DemandEntry {
        shape: Shape::Any { least: Vec::new() },
        ..want("any", count, "", 0)
    }
}

fn out(world: &World, session: SessionId) -> usize {
    let (framework, _) = world.subscribed(session);
    world.core.frameworks[&framework].offers.len()
}

fn window(world: &World, session: SessionId) -> u32 {
    let (framework, _) = world.subscribed(session);
    world.core.frameworks[&framework].window.most
}

fn standing(world: &World, session: SessionId) -> Vec<OfferId> {
    let (framework, _) = world.subscribed(session);
    let offers = &world.core.frameworks[&framework].offers;
    offers.iter().cloned().collect()
}

fn decline(world: &mut World, session: SessionId, offers: Vec<OfferId>) {
    let exclude_for = Duration::from_secs(600);
    world.call(
        session,
        Call::Decline {
            offers,
            exclude_for,
        },
    );
}

/// Forty agents, a framework that answers nothing and wants everything.
fn slow() -> (World, SessionId) {
    let mut world = World::new();
    for i in 0..40 {
        world.agent(&format!("h{i}"), "cpus:1");
    }
    let slow = world.framework();
    world.demand(slow, vec![any(1_000)]);
    world.pass_ms(20);
    assert_eq!(out(&world, slow), 40);
    (world, slow)
}

#[test]
fn a_framework_that_lets_offers_expire_keeps_ever_less_from_others() {
    let (mut world, slow) = slow();
    let other = world.framework();
    world.demand(other, vec![any(1_000)]);
    world.pass_ms(20);
    assert_eq!(out(&world, other), 0, "it came too late");
    let mut held = Vec::new();
    for _ in 0..6 {
        for _ in 0..31 {
            world.pass_s(1);
            // It looks at each and gives it back, for the time being.
            let offers = standing(&world, other);
            let exclude_for = Duration::from_secs(1);
            let decline = Call::Decline {
                offers,
                exclude_for,
            };
            world.call(other, decline);
        }
        held.push(out(&world, slow));
    }
    assert_eq!(held, [20, 10, 5, 2, 1, 1], "of 40 agents");
    assert_eq!(window(&world, slow), OFFER_WINDOW_MIN);
    assert_eq!(window(&world, other), OFFER_WINDOW_MAX);
}

#[test]
fn a_window_binds_only_while_others_wait() {
    let (mut world, slow) = slow();
    for _ in 0..10 {
        world.pass_s(31);
    }
    assert_eq!(window(&world, slow), OFFER_WINDOW_MIN);
    assert_eq!(out(&world, slow), 40, "nobody else wants anything");
    let other = world.framework();
    world.demand(other, vec![want("w", 3, "cpus:1", 0)]);
    for _ in 0..310 {
        if out(&world, other) == 0 {
            world.pass_ms(100);
        }
    }
    assert_eq!(out(&world, other), 3, "as much as it wants");
    world.pass_ms(100);
    assert_eq!(out(&world, slow), 37, "the rest, which nobody waits for");
    // It wants what is nowhere, and so waits for ever.
    let (framework, _) = world.subscribed(slow);
    world.demand(other, vec![want("huge", 1, "cpus:9", 0)]);
    world.pass_s(40);
    assert_eq!(out(&world, slow), 1);
    let why = world.explain(&framework);
    let why: Vec<_> = why
        .iter()
        .filter(|(reason, _)| reason == "window")
        .collect();
    assert_eq!(why.len(), 1);
    assert_eq!(
        why[0].1,
        "39 agents fit, but wait until the framework answers what it has (offers out: 1, at most while others wait: 1)"
    );
    world.demand(other, Vec::new());
    world.pass_ms(20);
    assert_eq!(out(&world, slow), 40, "nobody waits any more");
}

#[test]
fn answers_widen_the_window_again_and_a_new_session_begins_with_all_of_it() {
    let (mut world, slow) = slow();
    let other = world.framework();
    world.demand(other, vec![want("huge", 1, "cpus:9", 0)]);
    for _ in 0..6 {
        world.pass_s(31);
    }
    assert_eq!(out(&world, slow), 1);
    let mut held = Vec::new();
    for i in 0..4 {
        let offers = standing(&world, slow);
        if i == 0 {
            let launch = vec![spec("t", "cpus:1")];
            world.accept(slow, &[&offers[0]], launch).expect("judged");
        } else {
            decline(&mut world, slow, offers);
        }
        world.pass_ms(20);
        held.push(out(&world, slow));
    }
    assert_eq!(held, [2, 4, 8, 16]);
    let (framework, _) = world.subscribed(slow);
    let slow = world.resubscribe(&framework);
    assert_eq!(window(&world, slow), OFFER_WINDOW_MAX);
    world.demand(slow, vec![any(1_000)]);
    world.pass_ms(20);
    assert_eq!(out(&world, slow), 39);
}

#[test]
fn what_is_rescinded_says_nothing_about_a_framework() {
    let (mut world, slow) = slow();
    let role = "eng".parse().expect("a role");
    let quota = Quota {
        guarantees: r("cpus:20").quantities(),
        ..Quota::default()
    };
    world
        .operator(OperatorCall::SetQuota {
            role,
            quota,
            is_forced: false,
        })
        .expect("a quota");
    assert_eq!(world.rescinded(slow).len(), 20);
    assert_eq!(window(&world, slow), OFFER_WINDOW_MAX);
}

#[test]
fn a_gang_is_granted_whole_whatever_the_window() {
    let (mut world, slow) = slow();
    let other = world.framework();
    world.demand(other, vec![want("huge", 1, "cpus:9", 0)]);
    for _ in 0..6 {
        world.pass_s(31);
    }
    let mut gang = want("gang", 5, "cpus:1", 0);
    gang.gang = 5;
    world.demand(slow, vec![gang]);
    world.pass_s(31);
    assert_eq!(window(&world, slow), OFFER_WINDOW_MIN);
    let gangs = world.core.offers.standing.values();
    let gangs = gangs.filter(|offer| offer.fits[0].demand.as_str() == "gang");
    assert_eq!(gangs.count(), 5);
}

#[test]
fn what_is_freed_comes_as_another_offer_and_both_are_accepted_with_a_task_larger_than_each() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:8");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:2;mem:4"));
    world.drain(session);
    world.demand(session, vec![any(9)]);
    world.pass_ms(20);
    let first = world.offers(session);
    assert_eq!(first[0].resources, r("cpus:2;mem:4"));
    let ended = status("t", incarnation, 1, TaskState::Finished);
    world.updates(link, &framework, ended);
    world.pass_ms(20);
    let both = world.offers(session);
    assert_eq!(both.len(), 2, "the first is as it was");
    assert!(world.rescinded(session).is_empty());
    assert_eq!(both[1].resources, r("cpus:2;mem:4"));
    assert_eq!(both[1].agent, both[0].agent);
    let offers = [&both[0].id, &both[1].id];
    let results = world
        .accept(session, &offers, vec![spec("large", "cpus:3;mem:7")])
        .expect("judged");
    assert!(results[0].outcome.is_ok(), "{results:?}");
    world.pass_ms(20);
    assert_eq!(world.offers(session)[2].resources, r("cpus:1;mem:1"));
}

#[test]
fn shapes_are_not_held_up_by_offers_that_are_too_small() {
    let mut world = World::new();
    world.core.triggers.at_once_max = 0;
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnations = ["t1", "t2", "t3"].map(|id| world.run(session, spec(id, "cpus:1")));
    world.drain(session);
    // One cpu is free: enough for one of the small, and nothing of it is held for the large.
    let (small, large) = (want("small", 3, "cpus:1", 0), want("large", 1, "cpus:2", 0));
    world.demand(session, vec![large, small]);
    world.pass_ms(20);
    let sizes = |world: &World| -> Vec<(String, u32)> {
        let offers = world.offers(session);
        let fits = offers.iter().flat_map(|offer| &offer.fits);
        fits.map(|fit| (fit.demand.to_string(), fit.count))
            .collect()
    };
    assert_eq!(sizes(&world), [("small".to_owned(), 1)]);
    let first = world.offers(session)[0].id.clone();
    for (id, incarnation) in ["t1", "t2", "t3"].iter().zip(incarnations) {
        let ended = status(id, incarnation, 1, TaskState::Finished);
        world.updates(link, &framework, ended);
    }
    world.pass_ms(20);
    let sizes = sizes(&world);
    assert_eq!(sizes[0], ("small".to_owned(), 1), "as it was");
    let count = |id: &str| -> u32 {
        let of = sizes.iter().filter(|(demand, _)| demand == id);
        of.map(|(_, count)| count).sum()
    };
    assert_eq!(
        (count("large"), count("small")),
        (1, 2),
        "three cpus more: {sizes:?}"
    );
    let offers = world.offers(session);
    let all: Vec<&OfferId> = offers.iter().map(|offer| &offer.id).collect();
    assert!(all.contains(&&first));
    let launches = [("l", "cpus:2"), ("s1", "cpus:1"), ("s2", "cpus:1")];
    let launches = launches.map(|(id, needs)| spec(id, needs));
    let results = world.accept(session, &all, launches.to_vec());
    let results = results.expect("judged");
    assert!(results.iter().all(|result| result.outcome.is_ok()));
}

#[test]
fn a_grant_of_which_no_offer_can_be_made_is_held_by_nobody() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    world.demand(session, vec![want("w", 2, "cpus:1", 0)]);
    world.pass_ms(20);
    let offers = standing(&world, session);
    let core = &mut world.core;
    for id in offers {
        core.remove_offer(&id);
    }
    let run = core.allocator.run(world.now, Scope::All, 1_000);
    let grants = run.grants.iter();
    let grants: Vec<_> = grants
        .filter_map(|grant| core.allocator.offer_of(grant))
        .collect();
    assert_eq!(grants.len(), 1);
    let known = core.agents.by_id.remove(&agent).expect("known");
    core.make_offers(grants);
    core.agents.by_id.insert(agent.clone(), known);
    core.check_invariants().expect("nothing is held");
    assert_eq!(core.allocator.free(&agent), r("cpus:4"));
    world.pass_s(6);
    assert_eq!(out(&world, session), 1, "and it is offered again");
}

#[test]
fn an_offer_of_what_was_only_just_reserved_leaves_when_that_is_durable() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let description = proffer_model::FrameworkDescription {
        roles: vec!["eng".parse().expect("a role")],
        ..describe_framework()
    };
    let session = world.subscribe_as("p", None, description);
    world.demand_in(session, "eng", vec![any(9)]);
    world.pass_ms(20);
    world.drain(session);
    let reservation = proffer_model::resource_kind::Reservation {
        role: "eng".parse().expect("a role"),
        principal: Some(principal("p")),
        labels: Default::default(),
    };
    let reserved = r("cpus:2")
        .push_reservation(&reservation)
        .expect("reserved");
    world.is_writing = false;
    world
        .operator(OperatorCall::Operate {
            agent,
            operation: Operation::Reserve(reserved),
        })
        .expect("reserved");
    world.pass_ms(20);
    let offered = world.told.iter().find_map(|(_, told, after)| match told {
        proffer_model::session::Event::Offered(_) => Some(*after),
        _ => None,
    });
    assert!(matches!(offered, Some(After::Seq(_))), "{offered:?}");
    world.write();
    world.drain(session);
    world.pass_s(31);
    let offered = world.told.iter().find_map(|(_, told, after)| match told {
        proffer_model::session::Event::Offered(_) => Some(*after),
        _ => None,
    });
    assert_eq!(offered, Some(After::Nothing), "it is durable now");
}

#[test]
fn fifty_frameworks_that_never_answer_leave_the_others_theirs() {
    let mut world = World::new();
    for i in 0..60 {
        world.agent(&format!("h{i}"), "cpus:1");
    }
    let silent: Vec<SessionId> = (0..50).map(|_| world.framework()).collect();
    for session in &silent {
        world.demand(*session, vec![any(1_000)]);
    }
    let others: Vec<SessionId> = (0..5).map(|_| world.framework()).collect();
    for session in &others {
        world.demand(*session, vec![want("w", 1_000, "cpus:1", 0)]);
    }
    let held: usize = silent.iter().map(|session| out(&world, *session)).sum();
    assert_eq!(held, 60, "they came first");
    // Each lets what it has expire.
    world.pass_s(62);
    let mut got = vec![0; others.len()];
    for _ in 0..30 {
        world.pass_s(1);
        for (session, got) in others.iter().zip(&mut got) {
            let offers = standing(&world, *session);
            *got += offers.len();
            let exclude_for = Duration::from_secs(1);
            let decline = Call::Decline {
                offers,
                exclude_for,
            };
            world.call(*session, decline);
        }
        for session in &silent {
            assert!(out(&world, *session) <= 1, "one at most while others wait");
        }
    }
    assert!(got.iter().all(|got| *got >= 15), "in 30 seconds: {got:?}");
}
