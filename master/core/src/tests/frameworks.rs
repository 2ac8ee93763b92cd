//! Subscribing, taking over, going away, coming back, ending.

use proffer_model::session::{Answer, Call, Event as Told};
use proffer_model::{FrameworkId, Reason, TaskState, code};

use super::world::{World, describe_framework, principal, reported, spec, status, want};
use crate::effect::{After, Fact};
use crate::event::{Event, SessionId, StateCall};

#[test]
fn a_new_framework_is_durable_before_it_is_told() {
    let mut world = World::new();
    world.is_writing = false;
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    assert!(world.written.frameworks.contains_key(&framework));
    assert!(matches!(
        &world.told[0],
        (_, Told::Subscribed { .. }, After::Seq(_))
    ));
    assert!(
        world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::FrameworkSubscribed { is_new: true, .. }))
    );
}

#[test]
fn the_first_call_is_subscribe_and_only_the_first() {
    let mut world = World::new();
    let session = SessionId(900);
    let call = Call::Reconcile { tasks: Vec::new() };
    let answer = world.call(session, call.clone());
    assert!(matches!(answer, Answer::Refused(problem) if problem.is(code::SESSION_ORDER)));
    assert!(world.closed(session).is(code::SESSION_ORDER));
    // What was on its way is ignored, even a proper call.
    let late = Call::Subscribe {
        framework: None,
        description: describe_framework(),
        stand_by: false,
        resume: None,
        create: false,
    };
    let principal = principal("p");
    world.step(Event::CallReceived {
        session,
        principal,
        request: 5,
        call: late.clone(),
    });
    assert!(world.core.registry().frameworks.is_empty());
    let session = world.framework();
    assert!(
        matches!(world.call(session, late), Answer::Refused(problem) if problem.is(code::SESSION_ORDER))
    );
    assert_eq!(
        world.call(session, call),
        Answer::Done,
        "the session goes on"
    );
}

#[test]
fn a_malformed_call_is_answered_and_a_malformed_first_one_ends_the_session() {
    let mut world = World::new();
    let problem = proffer_model::Problem::new(code::FIELD_MISSING, "x");
    let malformed = |session| Event::CallMalformed {
        session,
        request: 77,
        problem: problem.clone(),
    };
    let session = world.framework();
    world.drain(session);
    world.step(malformed(session));
    assert_eq!(
        world.drain(session),
        [Told::Answered {
            request: 77,
            answer: Answer::Refused(problem.clone())
        }]
    );
    world.step(malformed(SessionId(900)));
    assert!(world.closed(SessionId(900)).is(code::FIELD_MISSING));
}

#[test]
fn ids_that_are_not_the_callers_are_refused() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let gone = world.framework();
    let (completed, _) = world.subscribed(gone);
    assert_eq!(world.call(gone, Call::Teardown), Answer::Done);
    let unknown = FrameworkId::new("nobody").expect("an id");
    for (name, id, problem) in [
        ("q", &framework, code::FRAMEWORK_FOREIGN),
        ("p", &completed, code::FRAMEWORK_COMPLETED),
        ("p", &unknown, code::FRAMEWORK_UNKNOWN),
    ] {
        let session = world.subscribe_as(name, Some(id.clone()), describe_framework());
        assert!(world.closed(session).is(problem), "{}", problem.name);
    }
    assert!(
        !world.closed_sessions.contains(&session),
        "the owner's session stands"
    );
    let none = proffer_model::FrameworkDescription {
        roles: Vec::new(),
        ..describe_framework()
    };
    let session = world.subscribe_as("p", None, none);
    assert!(world.closed(session).is(code::FIELD_MISSING));
}

#[test]
fn a_second_session_takes_over_with_offers_rescinded_and_statuses_repeated() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let first = world.framework();
    let (framework, old) = world.subscribed(first);
    let incarnation = world.run(first, spec("t", "cpus:1"));
    world.updates(
        link,
        &framework,
        status("t", incarnation, 1, TaskState::Running),
    );
    world.demand(first, vec![want("more", 1, "cpus:1", 0)]);
    world.pass_ms(20);
    assert_eq!(world.core.offers.standing.len(), 1);
    let second = world.resubscribe(&framework);
    assert!(world.closed(first).is(code::SESSION_FENCED));
    assert!(world.core.offers.standing.is_empty());
    let (same, new) = world.subscribed(second);
    assert_eq!(same, framework);
    assert!(new > old);
    let running = ("t".to_owned(), TaskState::Running, Reason::None, 1);
    assert_eq!(world.statuses(second), [running]);
    world.orders(link);
    world.acknowledge_all(second);
    assert_eq!(world.acknowledged(link), [("t".to_owned(), 1)]);
    // The old connection's end changes nothing.
    world.step(Event::SessionClosed { session: first });
    assert_eq!(
        world.call(second, Call::Reconcile { tasks: Vec::new() }),
        Answer::Done
    );
}

#[test]
fn generations_grow_across_terms() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, first) = world.subscribed(session);
    for _ in 0..5 {
        world.resubscribe(&framework);
    }
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    assert!(world.subscribed(session).1 > first);
}

#[test]
fn a_changed_description_is_durable_and_an_unchanged_one_is_not_written() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    world.is_writing = false;
    let again = world.resubscribe(&framework);
    assert!(
        world
            .told
            .iter()
            .filter(|(to, ..)| *to == again)
            .all(|(_, _, after)| *after == After::Nothing)
    );
    let mut description = describe_framework();
    description.name = "renamed".to_owned();
    world.subscribe_as("p", Some(framework.clone()), description);
    assert_eq!(
        world.written.frameworks[&framework].description.name,
        "renamed"
    );
}

#[test]
fn a_framework_without_a_session_is_completed_after_its_failover_timeout() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    world.run(session, spec("t", "cpus:1"));
    world.step(Event::SessionClosed { session });
    world.pass_s(99);
    let again = world.resubscribe(&framework);
    world.pass_s(50);
    assert!(
        world.written.frameworks.contains_key(&framework),
        "it came back in time"
    );
    world.step(Event::SessionClosed { session: again });
    world.orders(link);
    world.pass_s(99);
    assert!(world.kills(link).is_empty());
    world.pass_s(2);
    assert!(world.written.completed.contains_key(&framework));
    assert_eq!(
        world.kills(link),
        [("t".to_owned(), Reason::FrameworkRemoved)]
    );
}

#[test]
fn a_framework_of_mesos_that_is_not_waited_for_has_time_to_find_a_new_leader() {
    let mut world = World::new();
    let description = proffer_model::FrameworkDescription {
        failover_timeout: std::time::Duration::ZERO,
        mesos: Some(Vec::new().into()),
        ..describe_framework()
    };
    let subscribe = Call::Subscribe {
        framework: None,
        description,
        stand_by: false,
        resume: None,
        create: false,
    };
    let session = world.opens("p", subscribe);
    let (framework, _) = world.subscribed(session);
    let mut next = World::term(2, world.written.clone());
    next.pass_s(59);
    assert!(next.written.frameworks.contains_key(&framework));
    next.pass_s(2);
    assert!(next.written.completed.contains_key(&framework));
    world.step(Event::SessionClosed { session });
    world.pass_s(1);
    assert!(world.written.completed.contains_key(&framework));
}

#[test]
fn what_a_torn_down_framework_held_is_free_when_it_is_really_gone() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:3"));
    world.is_writing = false;
    world.orders(link);
    assert_eq!(world.call(session, Call::Teardown), Answer::Done);
    assert!(world.closed(session).is(code::FRAMEWORK_COMPLETED));
    let kill = world
        .ordered
        .iter()
        .find(|(to, ..)| *to == link)
        .expect("a kill");
    assert!(matches!(kill.2, After::Seq(_)), "durable first: {kill:?}");
    world.is_writing = true;
    world.write();
    let other = world.framework();
    world.demand(other, vec![want("w", 2, "cpus:2", 0)]);
    world.pass_ms(20);
    assert!(
        world.offers(other).is_empty(),
        "3 of 4 cpus are in use still"
    );
    world.updates(
        link,
        &framework,
        status("t", incarnation, 2, TaskState::Killed),
    );
    world.pass_ms(20);
    assert_eq!(world.offers(other).len(), 1);
    assert_eq!(
        world.acknowledged(link),
        [("t".to_owned(), 2)],
        "nobody else will"
    );
}

#[test]
fn tasks_of_frameworks_that_are_over_are_killed_when_reported() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let agent = world.welcomed(link);
    world.lose(link);
    world.call(session, Call::Teardown);
    let tasks = vec![reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    )];
    let link = world.returns(&agent, "a", "cpus:4", tasks);
    assert_eq!(
        world.kills(link),
        [("t".to_owned(), Reason::FrameworkRemoved)]
    );
}

#[test]
fn a_framework_of_the_log_that_never_comes_back_is_completed() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut world = World::term(2, world.written);
    world.pass_s(99);
    assert!(world.written.frameworks.contains_key(&framework));
    world.pass_s(2);
    assert!(world.written.completed.contains_key(&framework));
}

#[test]
fn nobody_acts_on_a_frameworks_end_before_that_is_durable() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, generation) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.is_writing = false;
    world.call(session, Call::Teardown);
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    let kill = world.ordered.iter().find(|(to, message, _)| {
        *to == link && matches!(message, proffer_model::link::ToAgent::Kill { .. })
    });
    assert!(matches!(kill, Some((_, _, After::Seq(_)))), "{kill:?}");
    let late = world.resubscribe(&framework);
    let refused: Vec<_> = world.told.iter().filter(|(to, ..)| *to == late).collect();
    assert!(
        refused
            .iter()
            .all(|(_, _, after)| matches!(after, After::Seq(_))),
        "{refused:?}"
    );
    let call = StateCall::List {
        prefix: String::new(),
    };
    assert!(world.state(&framework, generation, call).is_err());
    let reply = world.replies.values().next_back();
    assert!(matches!(reply, Some((_, After::Seq(_)))), "{reply:?}");
}

/// An agent forgets for good what is acknowledged: were the framework not over after all, nobody would tell it that end.
#[test]
fn no_agent_forgets_a_status_because_its_framework_is_over_before_that_is_durable() {
    let mut world = World::new();
    let (link, other) = (world.agent("a", "cpus:4"), world.agent("b", "cpus:4"));
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.is_writing = false;
    world.call(session, Call::Teardown);
    let mut ended = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        0,
        TaskState::Finished,
    );
    ended.status.number = 2;
    let link = world.returns(&agent, "a", "cpus:4", vec![ended]);
    let late = status("u", incarnation, 2, TaskState::Finished);
    world.updates(other, &framework, late);
    for to in [link, other] {
        let mut ordered = world.ordered.iter();
        let acknowledged = ordered.find(|(link, message, _)| {
            *link == to && matches!(message, proffer_model::link::ToAgent::Acknowledge { .. })
        });
        let waits = matches!(acknowledged, Some((_, _, After::Seq(_))));
        assert!(waits, "{to:?}: {acknowledged:?}");
    }
}

#[test]
fn what_runs_when_its_framework_is_over_is_shown_killed_before_the_framework_is_gone() {
    let mut world = World::new();
    let (link, lost) = (
        world.agent("a", "cpus:4"),
        world.agent("b", "cpus:1;mem:64"),
    );
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let says = |world: &mut World, link, id: &str, incarnation, state| {
        world.updates(link, &framework, status(id, incarnation, 1, state));
    };
    let away = world.run(session, spec("away", "cpus:1;mem:64"));
    world.run(session, spec("on-its-way", "cpus:1"));
    let runs = world.run(session, spec("runs", "cpus:1"));
    let ended = world.run(session, spec("ended", "cpus:1"));
    let ending = world.run(session, spec("ending", "cpus:1"));
    says(&mut world, link, "runs", runs, TaskState::Running);
    says(&mut world, link, "ended", ended, TaskState::Finished);
    says(&mut world, lost, "away", away, TaskState::Running);
    // The agent has more to say of it, and its framework was told only the first.
    world.step(Event::LinkMessage {
        link,
        message: proffer_model::link::ToMaster::Updated {
            framework: framework.clone(),
            status: status("ending", ending, 1, TaskState::Running),
            latest: TaskState::Failed,
        },
    });
    world.lose(lost);
    world.pass_s(200);
    let is_unreachable = |fact: &Fact| {
        matches!(fact, Fact::Task(row) if row.task.as_str() == "away"
            && row.told.state == TaskState::Unreachable)
    };
    assert!(world.facts.iter().any(is_unreachable), "{:?}", world.facts);
    world.facts.clear();
    world.is_writing = false;
    world.call(session, Call::Teardown);
    let shown = world.facts.iter().filter_map(|fact| match fact {
        Fact::Task(row) => {
            let told = &row.told;
            assert_eq!(told.number, 0, "in the master's own name");
            Some(format!("{} {}: {}", row.task, told.state, told.reason))
        }
        Fact::FrameworkGone { .. } => Some("gone".to_owned()),
        _ => None,
    });
    let expected = [
        "away killed: framework_removed",
        "ending failed: none",
        "on-its-way killed: framework_removed",
        "runs killed: framework_removed",
        "gone",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}
