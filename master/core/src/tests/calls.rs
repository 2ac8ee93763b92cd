//! Calls: repeated, too many, without a session, and wrong in every way.

use std::time::Duration;

use proffer_model::link::ToAgent;
use proffer_model::session::{Answer, Call, Event as Told, Operation, Resume};
use proffer_model::{
    Demand, Epoch, FrameworkId, Generation, OfferId, Problem, TaskId, TaskState, code,
};

use super::world::{World, describe_framework, principal, reported, spec, status, task_id, want};
use crate::effect::Fact;
use crate::event::{Event, LinkId, RequestId, SessionId};
use crate::limits::ANSWERS_MAX;

fn world() -> (World, LinkId, SessionId, FrameworkId) {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    (world, link, session, framework)
}

fn answer(told: &[Told]) -> Answer {
    let answers = told.iter().filter_map(|told| match told {
        Told::Answered { answer, .. } => Some(answer.clone()),
        _ => None,
    });
    let answers: Vec<Answer> = answers.collect();
    let [answer] = answers.as_slice() else {
        panic!("one answer: {told:?}")
    };
    answer.clone()
}

fn refusal(told: &[Told]) -> Problem {
    match answer(told) {
        Answer::Refused(problem) => problem,
        other => panic!("{other:?}"),
    }
}

fn kill(task: &str) -> Call {
    Call::Kill {
        task: task_id(task),
        grace: None,
    }
}

/// A call that does nothing and is remembered.
fn decline(offer: &str) -> Call {
    Call::Decline {
        offers: vec![OfferId::new(offer).expect(offer)],
        exclude_for: Duration::from_secs(1),
    }
}

fn resumed(world: &mut World, framework: &FrameworkId, sequence: u64, epoch: u64) -> SessionId {
    world.opens(
        "p",
        Call::Subscribe {
            framework: Some(framework.clone()),
            description: describe_framework(),
            stand_by: false,
            resume: Some(Resume {
                epoch: Epoch(epoch),
                sequence,
            }),
            create: false,
        },
    )
}

fn accept(world: &mut World, session: SessionId, task: &str) -> Call {
    world.drain(session);
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.pass_ms(20);
    let offer = world.offers(session)[0].id.clone();
    Call::Accept {
        offers: vec![offer],
        operations: vec![Operation::launch(spec(task, "cpus:1"))],
    }
}

#[test]
fn an_accept_that_is_repeated_is_answered_the_same_and_done_once_also_after_the_session_broke() {
    let (mut world, link, session, framework) = world();
    let call = accept(&mut world, session, "t");
    let first = answer(&world.numbered(session, 900, call.clone()));
    assert!(matches!(first, Answer::Accepted(_)));
    assert_eq!(answer(&world.numbered(session, 900, call.clone())), first);
    let sequence = world.sequence(session);
    world.step(Event::SessionClosed { session });
    let session = resumed(&mut world, &framework, sequence, 1);
    assert_eq!(answer(&world.numbered(session, 900, call.clone())), first);
    let launches = world.orders(link).into_iter();
    let launches = launches.filter(|order| matches!(order, ToAgent::Launch { .. }));
    assert_eq!(launches.count(), 1);
    // A session that does not resume has request ids of its own.
    world.step(Event::SessionClosed { session });
    let session = world.resubscribe(&framework);
    let told = world.numbered(session, 900, call.clone());
    assert!(refusal(&told).is(code::OFFER_GONE), "and not done again");
    // Nor does another term know of them.
    let mut world = World::term(2, world.written);
    let session = resumed(&mut world, &framework, sequence, 1);
    let told = world.numbered(session, 900, call);
    assert!(refusal(&told).is(code::OFFER_GONE));
}

#[test]
fn what_is_resumed_goes_on_with_its_request_ids_even_where_there_is_a_snapshot() {
    let (mut world, _, session, framework) = world();
    let call = accept(&mut world, session, "t");
    let first = answer(&world.numbered(session, 900, call.clone()));
    world.step(Event::SessionClosed { session });
    let session = resumed(&mut world, &framework, u64::MAX, 1);
    assert_eq!(answer(&world.numbered(session, 900, call)), first);
}

#[test]
fn answers_to_another_program_that_was_active_in_between_are_not_for_who_resumes() {
    let (mut world, _, session, framework) = world();
    let call = accept(&mut world, session, "t");
    let first = answer(&world.numbered(session, 900, call.clone()));
    let sequence = world.sequence(session);
    // It resumes twice without a new acknowledgement, as when nothing new is told: it is the same one.
    world.step(Event::SessionClosed { session });
    let again = resumed(&mut world, &framework, sequence, 1);
    world.numbered(again, 901, decline("u"));
    world.step(Event::SessionClosed { session: again });
    let third = resumed(&mut world, &framework, sequence, 1);
    assert_eq!(answer(&world.numbered(third, 900, call)), first);
    let told = world.numbered(third, 901, decline("another"));
    assert!(refusal(&told).is(code::FIELD_INVALID), "{told:?}");
    // Another program, with request ids of its own, takes over and ends.
    let other = world.resubscribe(&framework);
    world.numbered(other, 902, decline("v"));
    world.numbered(other, 903, decline("v"));
    let of_other = world.sequence(other);
    world.step(Event::SessionClosed { session: other });
    let back = resumed(&mut world, &framework, sequence, 1);
    let told = world.numbered(back, 902, decline("w"));
    assert_eq!(answer(&told), Answer::Done, "902 is its own");
    world.step(Event::SessionClosed { session: back });
    // And the other one after it, whose answers are not known any more.
    let other = resumed(&mut world, &framework, of_other, 1);
    let told = world.numbered(other, 902, decline("x"));
    assert_eq!(answer(&told), Answer::Done);
    world.step(Event::SessionClosed { session: other });
    let other = resumed(&mut world, &framework, of_other, 1);
    let told = world.numbered(other, 902, decline("y"));
    assert!(refusal(&told).is(code::FIELD_INVALID), "{told:?}");
}

#[test]
fn a_request_id_is_of_one_call_for_ten_minutes() {
    let (mut world, _, session, _) = world();
    assert_eq!(
        answer(&world.numbered(session, 900, decline("a"))),
        Answer::Done
    );
    let told = world.numbered(session, 900, decline("a"));
    assert_eq!(told.len(), 1, "{told:?}");
    let problem = refusal(&world.numbered(session, 900, decline("b")));
    assert!(problem.is(code::FIELD_INVALID));
    assert_eq!(problem.field, "request_id");
    // None is remembered of 0, and reading is done anew.
    for call in [
        decline("a"),
        decline("b"),
        Call::Reconcile { tasks: Vec::new() },
    ] {
        assert_eq!(answer(&world.numbered(session, 0, call)), Answer::Done);
    }
    for _ in 0..2 {
        let tasks = vec![task_id("a")];
        let told = world.numbered(session, 901, Call::Reconcile { tasks });
        assert_eq!(told.len(), 2, "{told:?}");
    }
    world.pass_s(601);
    assert_eq!(
        answer(&world.numbered(session, 900, decline("b"))),
        Answer::Done
    );
}

/// How a task is said to stand in what was told, and whether the call was answered.
fn killed(told: &[Told]) -> (Vec<TaskState>, bool) {
    let states = told.iter().filter_map(|told| match told {
        Told::Updated(status) => Some(status.state),
        _ => None,
    });
    let is_done =
        |told: &Told| matches!(told, Told::Answered { answer, .. } if *answer == Answer::Done);
    (states.collect(), told.iter().any(is_done))
}

#[test]
fn a_kill_that_finds_nothing_says_how_the_task_stands_however_often_it_is_repeated() {
    let (mut world, link, session, framework) = world();
    for _ in 0..2 {
        let unknown = world.unary(&framework, 7, kill("u")).expect("answered");
        let states: Vec<_> = unknown.iter().map(|status| status.state).collect();
        assert_eq!(states, [TaskState::Lost]);
    }
    let sequence = world.sequence(session);
    for _ in 0..2 {
        let told = world.numbered(session, 900, kill("u"));
        assert_eq!(killed(&told), (vec![TaskState::Lost], true));
    }
    world.step(Event::SessionClosed { session });
    let session = resumed(&mut world, &framework, sequence, 1);
    let told = world.numbered(session, 900, kill("u"));
    assert_eq!(killed(&told), (vec![TaskState::Lost], true));
    // One that has ended, and is not acknowledged.
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let ended = status("t", incarnation, 1, TaskState::Finished);
    world.updates(link, &framework, ended);
    for _ in 0..2 {
        let told = world.numbered(session, 901, kill("t"));
        assert_eq!(killed(&told), (vec![TaskState::Finished], true));
    }
    // One that lives is killed once.
    world.acknowledge_all(session);
    world.run(session, spec("t", "cpus:1"));
    world.orders(link);
    for _ in 0..2 {
        let told = world.numbered(session, 902, kill("t"));
        assert_eq!(killed(&told), (vec![], true));
    }
    assert_eq!(world.kills(link).len(), 1);
}

#[test]
fn a_kill_that_found_nothing_kills_nothing_that_is_launched_later() {
    let (mut world, link, session, framework) = world();
    world.numbered(session, 900, kill("t"));
    world.unary(&framework, 7, kill("t")).expect("answered");
    world.run(session, spec("t", "cpus:1"));
    world.orders(link);
    let told = world.numbered(session, 900, kill("t"));
    assert_eq!(answer(&told), Answer::Done);
    let unary = world.unary(&framework, 7, kill("t")).expect("answered");
    assert_eq!(unary.len(), 1);
    assert_eq!(world.kills(link).len(), 0);
}

#[test]
fn a_refusal_for_now_may_be_tried_again_and_a_lasting_one_is_remembered() {
    let (mut world, _, session, _) = world();
    let demand = |generation| {
        Call::SetDemand(Demand {
            role: "*".parse().expect("a role"),
            generation: Generation(generation),
            entries: Vec::new(),
        })
    };
    assert_eq!(
        answer(&world.numbered(session, 900, demand(5))),
        Answer::Done
    );
    assert_eq!(
        answer(&world.numbered(session, 900, demand(5))),
        Answer::Done
    );
    let stale = refusal(&world.numbered(session, 901, demand(5)));
    assert!(stale.is(code::GENERATION_STALE));
    assert_eq!(refusal(&world.numbered(session, 901, demand(5))), stale);
    let limited = flood(&mut world, session);
    assert!(limited.is(code::SESSION_RATE_LIMITED));
    let call = demand(6);
    let told = world.numbered(session, 902, call.clone());
    assert!(refusal(&told).is(code::SESSION_RATE_LIMITED));
    world.pass(limited.retry_after.expect("a time"));
    assert_eq!(answer(&world.numbered(session, 902, call)), Answer::Done);
}

/// Calls until it is refused.
fn flood(world: &mut World, session: SessionId) -> Problem {
    for _ in 0..=world.core.config.calls_per_second {
        let told = world.numbered(session, 0, kill("x"));
        if let Answer::Refused(problem) = answer(&told) {
            return problem;
        }
        // Nobody counts what is only told.
        world.facts.clear();
    }
    panic!("it was never refused");
}

#[test]
fn calls_above_the_rate_are_refused_with_a_time_and_others_are_not() {
    let (mut world, _, session, framework) = world();
    world.core.config.calls_per_second = 50;
    let other = world.framework();
    let generation = world.subscribed(session).1;
    let problem = flood(&mut world, session);
    assert_eq!(problem.retry_after, Some(Duration::from_millis(20)));
    let told = world.numbered(other, 0, Call::Reconcile { tasks: Vec::new() });
    assert_eq!(answer(&told), Answer::Done);
    // What is called without a session counts, and what is asked of the state.
    let refused = world.unary(&framework, 0, kill("t")).expect_err("limited");
    assert!(refused.is(code::SESSION_RATE_LIMITED));
    let call = crate::event::StateCall::List {
        prefix: String::new(),
    };
    let refused = world
        .state(&framework, generation, call)
        .expect_err("limited");
    assert!(refused.is(code::SESSION_RATE_LIMITED));
    // Acknowledgements only make room.
    world.acknowledge_all(session);
    world.pass_s(1);
    assert!(world.unary(&framework, 0, kill("t")).is_ok());
}

#[test]
fn operations_have_a_rate_of_their_own_and_the_offers_of_what_is_refused_stand() {
    let (mut world, _, session, _) = world();
    world.core.config.operations_per_second = 1;
    // The demand before it takes what there is.
    let call = accept(&mut world, session, "a");
    let told = world.numbered(session, 900, call.clone());
    let problem = refusal(&told);
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
    world.pass(problem.retry_after.expect("a time"));
    let told = world.numbered(session, 900, call);
    assert!(matches!(answer(&told), Answer::Accepted(_)), "{told:?}");
}

#[test]
fn what_is_remembered_is_bounded() {
    let (mut world, _, session, framework) = world();
    let calls = u64::try_from(ANSWERS_MAX).expect("small") + 10;
    for request in 1..=calls {
        world.numbered(session, 10_000 + request, decline(&format!("t{request}")));
        world.pass_ms(1);
    }
    assert_eq!(world.core.answer_results, ANSWERS_MAX);
    let told = world.numbered(session, 10_001, decline("another"));
    assert_eq!(answer(&told), Answer::Done, "the oldest is forgotten");
    let told = world.numbered(session, 10_000 + calls, decline("another"));
    assert!(refusal(&told).is(code::FIELD_INVALID));
    world.unary(&framework, 5, kill("t")).expect("done");
    world.call(session, Call::Teardown);
    assert_eq!(world.core.answer_results, 0);
}

#[test]
fn scripts_kill_and_reconcile_without_disturbing_the_session() {
    let (mut world, link, session, framework) = world();
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.updates(
        link,
        &framework,
        status("t", incarnation, 1, TaskState::Running),
    );
    world.drain(session);
    world.orders(link);
    assert_eq!(world.unary(&framework, 7, kill("t")), Ok(Vec::new()));
    assert_eq!(world.kills(link).len(), 1);
    assert_eq!(world.unary(&framework, 7, kill("t")), Ok(Vec::new()));
    assert!(world.kills(link).is_empty(), "done once");
    let mistaken = world.unary(&framework, 7, kill("u")).expect_err("another");
    assert_eq!(mistaken.field, "call.request_id");
    let unknown = world.unary(&framework, 8, kill("u")).expect("answered");
    assert_eq!(unknown[0].state, TaskState::Lost);
    let all = world.unary(&framework, 0, Call::Reconcile { tasks: Vec::new() });
    let all = all.expect("answered");
    assert_eq!((all.len(), all[0].state), (1, TaskState::Running));
    let tasks = vec![task_id("t"), task_id("u")];
    let both = world.unary(&framework, 0, Call::Reconcile { tasks });
    assert_eq!(both.expect("answered").len(), 2);
    assert!(world.drain(session).is_empty(), "the session heard nothing");
    assert_eq!(
        world.call(session, Call::Reconcile { tasks: Vec::new() }),
        Answer::Done
    );
}

#[test]
fn a_teardown_without_a_session_ends_all_sessions() {
    let (mut world, link, session, framework) = world();
    world.run(session, spec("t", "cpus:1"));
    assert_eq!(world.unary(&framework, 7, Call::Teardown), Ok(Vec::new()));
    assert!(world.closed(session).is(code::FRAMEWORK_COMPLETED));
    assert_eq!(world.kills(link).len(), 1);
    let again = world
        .unary(&framework, 7, Call::Teardown)
        .expect_err("over");
    assert!(again.is(code::FRAMEWORK_COMPLETED));
}

#[test]
fn what_only_a_session_may_call_and_what_others_call_is_refused() {
    let (mut world, _, session, framework) = world();
    world.drain(session);
    let subscribe = Call::Subscribe {
        framework: None,
        description: describe_framework(),
        stand_by: false,
        resume: None,
        create: false,
    };
    let demand = Call::SetDemand(Demand {
        role: "*".parse().expect("a role"),
        generation: Generation(1),
        entries: Vec::new(),
    });
    let accept = Call::Accept {
        offers: Vec::new(),
        operations: Vec::new(),
    };
    let decline = Call::Decline {
        offers: Vec::new(),
        exclude_for: Duration::ZERO,
    };
    for (call, field) in [
        (subscribe, "call.subscribe"),
        (demand, "call.set_demand"),
        (accept, "call.accept"),
        (decline, "call.decline"),
        (Call::Acknowledge { sequence: 9 }, "call.acknowledge"),
    ] {
        let problem = world.unary(&framework, 0, call).expect_err(field);
        assert!(problem.is(code::SESSION_ORDER), "{problem}");
        assert_eq!(problem.field, field);
    }
    let nobody = FrameworkId::new("nobody").expect("an id");
    let unknown = world
        .unary(&nobody, 0, Call::Teardown)
        .expect_err("unknown");
    assert!(unknown.is(code::FRAMEWORK_UNKNOWN));
    let request = RequestId(77_777);
    world.step(Event::FrameworkCalled {
        request,
        principal: principal("q"),
        framework,
        number: 0,
        call: Call::Teardown,
    });
    assert!(
        matches!(&world.replies[&request].0, Err(problem) if problem.is(code::FRAMEWORK_FOREIGN))
    );
    assert!(world.drain(session).is_empty());
    assert_eq!(world.written.completed.len(), 0);
}

fn update(task: &str, label: Option<&str>, grace_s: Option<u64>) -> Call {
    Call::UpdateTask {
        task: task_id(task),
        labels: label.map(|value| [("a".to_owned(), value.to_owned())].into()),
        grace: grace_s.map(Duration::from_secs),
    }
}

#[test]
fn a_task_that_runs_is_changed_with_its_agent_and_where_it_is_shown() {
    let (mut world, link, session, framework) = world();
    let agent = world.welcomed(link);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.orders(link);
    world.facts.clear();
    assert_eq!(
        world.call(session, update("t", Some("b"), None)),
        Answer::Done
    );
    let shown = world.facts.iter().rev().find_map(|fact| match fact {
        Fact::Task(row) => Some(row.outline.labels.clone()),
        _ => None,
    });
    assert_eq!(shown, Some([("a".to_owned(), "b".to_owned())].into()));
    assert_eq!(
        world.unary(&framework, 0, update("t", None, Some(9))),
        Ok(vec![])
    );
    let updates = |orders: Vec<ToAgent>| -> Vec<_> {
        let orders = orders.into_iter();
        orders
            .filter_map(|order| match order {
                ToAgent::UpdateTask {
                    incarnation,
                    labels,
                    grace,
                    ..
                } => Some((incarnation, labels.map(|of| of.len()), grace)),
                _ => None,
            })
            .collect()
    };
    let nine = Some(Duration::from_secs(9));
    assert_eq!(
        updates(world.orders(link)),
        [(incarnation, Some(1), None), (incarnation, Some(1), nine)]
    );
    // The agent may not have got it: it is said again, and shown meanwhile.
    world.lose(link);
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    assert_eq!(updates(world.orders(link)), [(incarnation, Some(1), nine)]);
    let key = (framework, task_id("t"));
    assert_eq!(
        world
            .core
            .tasks
            .get(&key)
            .expect("it")
            .row()
            .outline
            .labels
            .len(),
        1
    );
}

#[test]
fn what_is_not_there_has_ended_or_is_out_of_reach_is_not_changed() {
    let (mut world, link, session, framework) = world();
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let refused = |world: &mut World, call: Call| match world.call(session, call) {
        Answer::Refused(problem) => (problem.code.to_string(), problem.field),
        other => panic!("{other:?}"),
    };
    let of = |code: proffer_model::problem::Code, field: &str| {
        (code.name.to_owned(), format!("update_task.{field}"))
    };
    assert_eq!(
        refused(&mut world, update("x", Some("b"), None)),
        of(code::TASK_UNKNOWN, "task_id")
    );
    assert_eq!(
        refused(&mut world, update("t", None, None)),
        of(code::FIELD_MISSING, "labels")
    );
    world.lose(link);
    assert_eq!(
        refused(&mut world, update("t", Some("b"), None)),
        of(code::AGENT_AWAY, "task_id")
    );
    let agent = world.core.agents.by_id.keys().next().expect("one").clone();
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        0,
        TaskState::Running,
    );
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    world.updates(
        link,
        &framework,
        status("t", incarnation, 1, TaskState::Failed),
    );
    assert_eq!(
        refused(&mut world, update("t", Some("b"), None)),
        of(code::TASK_ENDED, "task_id")
    );
}

#[test]
fn every_call_about_what_is_anothers_or_nobodys_changes_nothing() {
    let (mut world, link, owner, _) = world();
    let incarnation = world.run(owner, spec("t", "cpus:1"));
    world.demand(owner, vec![want("w", 1, "cpus:1", 0)]);
    world.pass_ms(20);
    let offer = world.offers(owner)[0].id.clone();
    let other = world.framework();
    world.drain(owner);
    world.orders(link);
    let offers = |id: &OfferId| vec![id.clone()];
    let nothing = OfferId::new("00000000000000000000000000000000").expect("an id");
    let launch = || vec![Operation::launch(spec("t", "cpus:1"))];
    let tasks: Vec<TaskId> = vec![task_id("t"), task_id("t"), task_id("none")];
    for (call, code) in [
        (kill("t"), None),
        (Call::Reconcile { tasks }, None),
        (update("t", Some("x"), None), Some(code::TASK_UNKNOWN)),
        (
            Call::Decline {
                offers: offers(&offer),
                exclude_for: Duration::MAX,
            },
            None,
        ),
        (
            Call::Accept {
                offers: offers(&offer),
                operations: launch(),
            },
            Some(code::OFFER_GONE),
        ),
        (
            Call::Accept {
                offers: offers(&nothing),
                operations: launch(),
            },
            Some(code::OFFER_GONE),
        ),
    ] {
        match (world.call(other, call.clone()), code) {
            (Answer::Done, None) => {}
            (Answer::Refused(problem), Some(code)) => assert!(problem.is(code), "{problem}"),
            other => panic!("{call:?}: {other:?}"),
        }
    }
    world.acknowledge(other, u64::MAX);
    assert!(world.orders(link).is_empty(), "no agent heard of it");
    assert!(world.drain(owner).is_empty(), "nor did the owner");
    // A status of a task that never was is nobody's, and the agent may forget it when it is the end.
    let never = FrameworkId::new("never").expect("an id");
    for state in TaskState::ALL {
        world.updates(link, &never, status("ghost", incarnation, 1, state));
    }
    assert!(world.drain(owner).is_empty(), "nobody is told");
    let acknowledged = world.acknowledged(link);
    assert_eq!(
        acknowledged.len(),
        6,
        "what has ended may be forgotten: {acknowledged:?}"
    );
}
