//! Demand, offers, accepting, declining, who is offered what, and why not.

use std::time::Duration;

use proffer_model::session::{Answer, Call, Event as Told, Operation, OperationResult};
use proffer_model::{
    Demand, DemandEntry, Exclusion, Generation, OfferId, Predicate, Shape, TaskState, code,
};

use super::asking::everything;
use super::world::{World, r, spec, status, want};
use crate::effect::{Fact, OfferEnd, Reply};
use crate::event::SessionId;
use crate::limits::{DECLINED_AT_ONCE_MAX, OFFERS_PER_EVENT_MAX};

fn any(count: u32) -> DemandEntry {
    DemandEntry {
        shape: Shape::Any { least: Vec::new() },
        ..want("any", count, "", 0)
    }
}

#[test]
fn without_demand_nothing_is_offered_and_with_it_exactly_what_is_wanted() {
    let mut world = World::new();
    world.agent("a", "cpus:4;mem:100;ports:[7-9,1-2]");
    let session = world.framework();
    world.pass_s(20);
    assert!(world.offers(session).is_empty());
    world.demand(session, vec![want("w", 1, "cpus:1;mem:10", 2)]);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 1, "at once, in the same step");
    assert_eq!(
        offers[0].resources,
        r("cpus:1;mem:10;ports:[1-2]"),
        "the lowest numbers"
    );
    assert_eq!(offers[0].fits[0].count, 1);
    assert_eq!(offers[0].expires_after, Duration::from_secs(5));
    world.drain(session);
    world.pass_s(4);
    assert!(
        world.offers(session).is_empty(),
        "what is on offer is not wanted any more"
    );
}

#[test]
fn instances_spread_over_agents() {
    let mut world = World::new();
    for host in ["a", "b", "c"] {
        world.agent(host, "cpus:9");
    }
    let session = world.framework();
    world.demand(session, vec![want("w", 5, "cpus:1", 0)]);
    let mut counts: Vec<u32> = world
        .offers(session)
        .iter()
        .map(|offer| offer.fits[0].count)
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2, 2]);
}

#[test]
fn what_does_not_fit_evenly_is_still_offered() {
    let mut world = World::new();
    world.agent("a", "cpus:8");
    world.agent("b", "cpus:2");
    let session = world.framework();
    world.demand(session, vec![want("w", 10, "cpus:1", 0)]);
    let offers = world.offers(session);
    let sum: u32 = offers.iter().map(|offer| offer.fits[0].count).sum();
    assert_eq!(
        (offers.len(), sum),
        (2, 10),
        "one offer an agent, all of it"
    );
}

#[test]
fn any_is_everything_free_on_an_agent_for_longer() {
    let mut world = World::new();
    world.agent("a", "cpus:4;ports:[1-9]");
    world.agent("b", "ports:[1-9]");
    let session = world.framework();
    world.demand(session, vec![any(5)]);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 1, "ports alone are no offer");
    assert_eq!(offers[0].resources, r("cpus:4;ports:[1-9]"));
    assert_eq!(offers[0].expires_after, Duration::from_secs(30));
}

#[test]
fn frameworks_share_alike() {
    let mut world = World::new();
    for i in 0..6 {
        world.agent(&format!("h{i}"), "cpus:1");
    }
    let sessions: Vec<_> = (0..3).map(|_| world.framework()).collect();
    let link = world.agent("late", "mem:1");
    for session in &sessions {
        world.demand(*session, vec![want("w", 6, "cpus:1", 0)]);
    }
    // The first took all; what it lets expire is shared.
    world.pass_s(6);
    let offered = |world: &World, session| -> usize {
        let standing = world.core.offers.standing.values();
        let (framework, _) = world.subscribed(session);
        standing
            .filter(|offer| offer.framework == framework)
            .count()
    };
    let counts: Vec<usize> = sessions
        .iter()
        .map(|session| offered(&world, *session))
        .collect();
    assert_eq!(counts, [2, 2, 2], "{link:?}");
}

#[test]
fn an_accept_launches_counts_demand_down_and_gives_the_rest_back() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    world.demand(session, vec![want("w", 3, "cpus:1", 0)]);
    let offer = world.offers(session)[0].clone();
    assert_eq!(offer.fits[0].count, 3);
    world.drain(session);
    world.orders(link);
    let launches = vec![
        spec("t1", "cpus:1"),
        spec("t2", "cpus:2.5"),
        spec("t1", "cpus:1"),
        spec("t3", "cpus:1"),
    ];
    let results = world
        .accept(session, &[&offer.id], launches)
        .expect("judged");
    let codes: Vec<String> = results
        .iter()
        .map(|result| match &result.outcome {
            Ok(_) => String::new(),
            Err(problem) => format!("{} {}", problem.code, problem.field),
        })
        .collect();
    assert_eq!(
        codes,
        [
            "",
            "task.resources_not_offered accept.operations[1].launch.resources.cpus",
            "task.duplicate accept.operations[2].launch.id",
            ""
        ]
    );
    assert_eq!(world.orders(link).len(), 2, "two were sent to the agent");
    world.pass_ms(20);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 1, "one is wanted still, one is left");
    assert_eq!(offers[0].fits[0].count, 1);
    assert_eq!(offers[0].resources, r("cpus:1"));
}

#[test]
fn an_accept_with_a_bad_offer_is_refused_and_its_good_offers_go_back() {
    let mut world = World::new();
    world.core.triggers.at_once_max = 0;
    world.agent("a", "cpus:1");
    world.agent("b", "cpus:1");
    let session = world.framework();
    world.demand(session, vec![want("w", 2, "cpus:1", 0)]);
    let thief = world.framework();
    let offers = world.offers(session);
    let (one, two) = (&offers[0].id, &offers[1].id);
    for (by, named, problem, field) in [
        (thief, vec![one], code::OFFER_GONE, "accept.offer_ids[0]"),
        (session, vec![], code::FIELD_MISSING, "accept.offer_ids"),
        (
            session,
            vec![one, two],
            code::OFFER_MIXED,
            "accept.offer_ids[1]",
        ),
    ] {
        assert_eq!(
            world.core.offers.standing.len(),
            2,
            "nothing has happened yet"
        );
        let refused = world
            .accept(by, &named, vec![spec("t", "cpus:1")])
            .expect_err(field);
        assert!(refused.is(problem), "{refused}");
        assert_eq!(refused.field, field);
    }
    let unknown = OfferId::new("nothing").expect("an id");
    world.drain(session);
    world.pass_ms(20);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 2, "they were offered anew");
    let (one, two) = (&offers[0].id, &offers[1].id);
    let refused = world
        .accept(session, &[one, one], Vec::new())
        .expect_err("twice");
    assert!(refused.is(code::FIELD_INVALID));
    let refused = world
        .accept(session, &[two, &unknown], Vec::new())
        .expect_err("gone");
    assert!(refused.is(code::OFFER_GONE));
    assert!(
        !world.core.offers.standing.contains_key(two),
        "the good one went back"
    );
}

#[test]
fn a_foreign_offer_cannot_be_declined() {
    let mut world = World::new();
    world.agent("a", "cpus:1");
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    let offer = world.offers(session)[0].id.clone();
    let thief = world.framework();
    let call = Call::Decline {
        offers: vec![offer.clone()],
        exclude_for: Duration::from_secs(9),
    };
    assert_eq!(world.call(thief, call), Answer::Done);
    assert!(world.core.offers.standing.contains_key(&offer));
}

#[test]
fn a_declined_agent_is_not_offered_before_its_time_or_before_it_has_more() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let decline = |world: &mut World| {
        world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
        world.pass_ms(20);
        let offers = world
            .offers(session)
            .into_iter()
            .map(|offer| offer.id)
            .collect();
        world.drain(session);
        world.call(
            session,
            Call::Decline {
                offers,
                exclude_for: Duration::from_secs(8),
            },
        );
    };
    decline(&mut world);
    world.pass_ms(7_900);
    assert!(world.offers(session).is_empty());
    assert_eq!(world.explain(&framework)[0].0, "excluded");
    // A new demand that asks for the same changes nothing.
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.pass_ms(50);
    assert!(world.offers(session).is_empty());
    world.pass_ms(100);
    assert_eq!(world.offers(session).len(), 1, "its time has passed");
    decline(&mut world);
    world.pass_ms(500);
    assert!(world.offers(session).is_empty());
    world.updates(
        link,
        &framework,
        status("t", incarnation, 1, TaskState::Finished),
    );
    world.pass_ms(20);
    assert_eq!(world.offers(session).len(), 1, "it has more");
}

#[test]
fn always_refused_launches_and_declines_of_no_time_do_not_spin() {
    let mut world = World::new();
    world.agent("a", "cpus:1");
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    for i in 0..2 {
        let offer = world.offers(session)[0].id.clone();
        world.drain(session);
        if i == 0 {
            world
                .accept(session, &[&offer], vec![spec("t", "cpus:2")])
                .expect("judged");
        } else {
            let exclude_for = Duration::ZERO;
            world.call(
                session,
                Call::Decline {
                    offers: vec![offer],
                    exclude_for,
                },
            );
        }
        world.pass_ms(900);
        assert!(world.offers(session).is_empty());
        world.pass_ms(200);
    }
}

#[test]
fn leases_run_out() {
    let mut world = World::new();
    world.agent("a", "cpus:1");
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    let offer = world.offers(session)[0].id.clone();
    world.pass_s(6);
    assert_eq!(world.rescinded(session), std::slice::from_ref(&offer));
    assert!(
        world
            .accept(session, &[&offer], Vec::new())
            .expect_err("gone")
            .is(code::OFFER_GONE)
    );
    let expired = |fact: &Fact| {
        matches!(
            fact,
            Fact::OffersEnded {
                how: OfferEnd::Expired,
                ..
            }
        )
    };
    assert!(world.facts.iter().any(expired));
}

#[test]
fn demand_must_grow_in_generation_and_name_a_role_and_ids_once() {
    let mut world = World::new();
    let session = world.framework();
    let demand = |role: &str, generation, entries| {
        let role = role.parse().expect("a role");
        Call::SetDemand(Demand {
            role,
            generation: Generation(generation),
            entries,
        })
    };
    let twice = vec![want("w", 1, "cpus:1", 0), want("w", 1, "cpus:1", 0)];
    assert_eq!(
        world.call(session, demand("*", 5, Vec::new())),
        Answer::Done
    );
    for (call, problem, field) in [
        (
            demand("*", 5, Vec::new()),
            code::GENERATION_STALE,
            "set_demand.generation",
        ),
        (
            demand("eng", 6, Vec::new()),
            code::FIELD_INVALID,
            "set_demand.role",
        ),
        (
            demand("*", 6, twice),
            code::FIELD_INVALID,
            "set_demand.entries[1].id",
        ),
    ] {
        let Answer::Refused(refused) = world.call(session, call) else {
            panic!("{field}");
        };
        assert!(refused.is(problem));
        assert_eq!(refused.field, field);
    }
}

#[test]
fn predicates_and_exclusions_are_heeded_and_everything_is_explained() {
    let mut world = World::new();
    for (host, resources) in [
        ("a", "cpus:4"),
        ("b", "cpus:1"),
        ("c", "cpus:1"),
        ("d", "cpus:9"),
        ("e", "cpus:9"),
    ] {
        world.agent(host, resources);
    }
    let gone = world.agent("f", "cpus:9");
    world.lose(gone);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut entry = want("w", 9, "cpus:2", 0);
    let on_d = Predicate::Host("d".to_owned());
    entry.predicates = vec![Predicate::Not(Box::new(on_d))];
    let excluded = world.core.agents.by_id.keys().nth(4).expect("e").clone();
    entry.excluded = vec![Exclusion {
        agent: excluded,
        lasts: Duration::from_secs(60),
    }];
    world.demand(session, vec![entry]);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 1);
    assert_eq!((offers[0].host.as_str(), offers[0].fits[0].count), ("a", 2));
    let why = world.explain(&framework);
    let why: Vec<(&str, &str)> = why.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        why,
        [
            ("too_small_cpus", "2 agents have less than 2 cpus in all"),
            ("agent_state", "1 agent is suspect"),
            (
                "excluded",
                "1 agent is excluded by the framework for a while"
            ),
            ("offered", "1 agent has what is needed in offers that stand"),
            ("predicate", "1 agent is host d"),
        ]
    );
}

#[test]
fn of_several_predicates_the_one_that_fails_is_named() {
    let mut world = World::new();
    for host in ["a", "b", "c"] {
        world.agent(host, "cpus:4");
    }
    world.agent("g", "cpus:4;gpus:1");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut entry = want("w", 9, "cpus:2", 0);
    let on_a = Predicate::Host("a".to_owned());
    let gpus = "gpus".parse().expect("a name");
    entry.predicates = vec![
        Predicate::Not(Box::new(on_a)),
        Predicate::Resource(gpus),
        Predicate::Region("eu".to_owned()),
    ];
    world.demand(session, vec![entry]);
    world.pass_ms(20);
    let Ok(Reply::Explained { entries, .. }) = world.why(&framework, everything()) else {
        panic!("explained");
    };
    let found = entries[0].obstacles.iter().map(|of| {
        let failed = of.predicate.expect("a predicate");
        (&*of.reason, &*of.message, failed.place, failed.test)
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            ("predicate", "2 agents have no resource gpus", 1, "resource"),
            ("predicate", "1 agent is host a", 0, "not"),
            ("predicate", "1 agent is not in region eu", 2, "region"),
        ]
    );
}

#[test]
fn an_agent_that_shrinks_keeps_its_tasks_and_offers_less() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:3"));
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.pass_ms(20);
    world.drain(session);
    let task = super::world::reported(
        &framework,
        spec("t", "cpus:3"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&agent, "a", "cpus:2", vec![task]);
    world.pass_ms(20);
    assert_eq!(world.rescinded(session).len(), 1);
    assert!(world.offers(session).is_empty());
    assert!(world.kills(link).is_empty());
}

#[test]
fn many_offers_come_in_several_events() {
    let mut world = World::new();
    world.core.triggers.steps_max = u32::MAX;
    for i in 0..=OFFERS_PER_EVENT_MAX {
        world.agent(&format!("h{i}"), "cpus:1");
    }
    let session = world.framework();
    world.demand(session, vec![want("w", 1_000, "cpus:1", 0)]);
    world.pass_ms(20);
    assert_eq!(world.offers(session).len(), OFFERS_PER_EVENT_MAX + 1);
    let events = world.drain(session);
    let events = events
        .iter()
        .filter(|told| matches!(told, Told::Offered(_)));
    assert_eq!(events.count(), 2);
}

#[test]
fn a_group_is_launched_as_a_whole_or_not_at_all() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    world.demand(session, vec![want("w", 4, "cpus:1", 0)]);
    let offer = world.offers(session)[0].clone();
    world.orders(link);
    let group = |ids: &[(&str, &str)]| {
        let specs = ids.iter().map(|(id, needs)| spec(id, needs));
        Operation::LaunchGroup(specs.collect())
    };
    let operations = vec![
        group(&[("a1", "cpus:1"), ("a2", "cpus:4")]),
        group(&[("b1", "cpus:1"), ("b2", "cpus:1")]),
        group(&[("c1", "cpus:1"), ("b1", "cpus:1")]),
    ];
    let results = world
        .operate(session, &[&offer.id], operations)
        .expect("judged");
    let told: Vec<String> = results
        .iter()
        .flat_map(OperationResult::launches)
        .map(|result| match &result.outcome {
            Ok(_) => format!("{} launched", result.task),
            Err(problem) => format!("{} {} {}", result.task, problem.code, problem.field),
        })
        .collect();
    assert_eq!(
        told,
        [
            "a1 task.group_refused accept.operations[0].launch_group.tasks[0]",
            "a2 task.resources_not_offered accept.operations[0].launch_group.tasks[1].resources.cpus",
            "b1 launched",
            "b2 launched",
            "c1 task.group_refused accept.operations[2].launch_group.tasks[0]",
            "b1 task.duplicate accept.operations[2].launch_group.tasks[1].id",
        ]
    );
    assert_eq!(world.orders(link).len(), 1, "it was sent in one message");
}

/// A framework has so many offers, each of another agent.
fn with_offers(many: usize) -> (World, SessionId, Vec<OfferId>) {
    let mut world = World::new();
    for host in 0..many {
        world.agent(&format!("h{host:03}"), "cpus:1");
    }
    let session = world.framework();
    let count = u32::try_from(many).expect("small");
    world.demand(session, vec![want("w", count, "cpus:1", 0)]);
    world.pass_ms(500);
    let offers: Vec<OfferId> = world.offers(session).into_iter().map(|it| it.id).collect();
    assert_eq!(offers.len(), many);
    world.drain(session);
    (world, session, offers)
}

#[test]
fn a_demand_that_is_set_behind_two_long_declines_is_excluded_from_nothing_by_them() {
    let many = 3 * DECLINED_AT_ONCE_MAX;
    let (mut world, session, offers) = with_offers(many);
    for (request, offers) in offers.chunks(many / 2).enumerate() {
        let decline = Call::Decline {
            offers: offers.to_vec(),
            exclude_for: Duration::from_secs(3_600),
        };
        let request = 900 + u64::try_from(request).expect("small");
        world.numbered(session, request, decline);
    }
    let wanted = Call::SetDemand(Demand {
        role: "*".parse().expect("a role"),
        generation: Generation(1_000_000),
        entries: vec![want(
            "w",
            u32::try_from(many).expect("small"),
            "cpus:0.75",
            0,
        )],
    });
    assert_eq!(world.numbered(session, 902, wanted), [], "it waits");
    world.pass_ms(1_000);
    assert_eq!(
        world.offers(session).len(),
        many,
        "each agent is offered to what is wanted now"
    );
}

#[test]
fn many_offers_are_declined_in_pieces_and_what_is_said_of_them_after_that_waits() {
    let many = 2 * DECLINED_AT_ONCE_MAX + 50;
    let (mut world, session, offers) = with_offers(many);
    let accepted = vec![offers[many - 1].clone()];
    let exclude_for = Duration::from_secs(5);
    let decline = Call::Decline {
        offers,
        exclude_for,
    };
    assert_eq!(world.call(session, decline), Answer::Done);
    let accept = Call::Accept {
        offers: accepted,
        operations: Vec::new(),
    };
    assert_eq!(world.numbered(session, 900, accept), [], "it waits");
    let mut left = world.core.offers.standing.len();
    assert_eq!(left, many);
    for _ in 0..20 {
        world.pass_ms(5);
        let now = world.core.offers.standing.len();
        assert!(left - now <= DECLINED_AT_ONCE_MAX, "{left} {now}");
        left = now;
    }
    assert_eq!(left, 0);
    let told = world.drain(session);
    let refused = told.iter().find_map(|told| match told {
        Told::Answered {
            request: 900,
            answer: Answer::Refused(problem),
        } => Some(problem),
        _ => None,
    });
    assert!(refused.expect("an answer").is(code::OFFER_GONE), "{told:?}");
    world.pass_ms(3_000);
    assert!(
        world.offers(session).is_empty(),
        "their agents are excluded"
    );
    world.pass_ms(3_000);
    assert_eq!(world.offers(session).len(), many);
}
