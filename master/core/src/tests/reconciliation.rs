//! Questions how tasks stand: short ones at once, long ones in pieces, each in its turn, none with an older state after a
//! newer one; and what calls that name much are worth.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::link::AgentTask;
use proffer_model::session::{Answer, Call, Event as Told};
use proffer_model::{
    Demand, Epoch, Exclusion, FrameworkId, Generation, Incarnation, OfferId, Problem, Role, TaskId,
    TaskState, code,
};

use super::world::{World, principal, reported, spec, status, task_id, want};
use crate::effect::Reply;
use crate::event::{Event, LinkId, RequestId, SessionId, TimerKey};
use crate::limits::{
    RECONCILE_AT_ONCE_MAX, RECONCILE_NAMED_MAX, RECONCILE_NAMED_TOTAL_MAX, SNAPSHOT_TASKS_PER_STEP,
};

const MANY: u32 = 2_500;

fn name(number: u32) -> String {
    format!("t{number:06}")
}

fn named(numbers: std::ops::Range<u32>) -> Vec<TaskId> {
    numbers.map(|number| task_id(&name(number))).collect()
}

fn incarnation(number: u32) -> Incarnation {
    Incarnation::of(Epoch(1), number + 1)
}

struct Many {
    world: World,
    link: LinkId,
    session: SessionId,
    framework: FrameworkId,
}

/// A framework with this many tasks that run, all acknowledged.
fn many(count: u32) -> Many {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let task = |number| -> AgentTask {
        let spec = spec(&name(number), "cpus:0.001");
        reported(&framework, spec, incarnation(number), 1, TaskState::Running)
    };
    let tasks = (0..count).map(task).collect();
    let agent = "c-a0-1".parse().expect("an id");
    let link = world.returns(&agent, "a", "cpus:40", tasks);
    world.drain(session);
    Many {
        world,
        link,
        session,
        framework,
    }
}

fn call(world: &mut World, session: SessionId, request: u64, call: Call) {
    let principal = principal("p");
    world.step(Event::CallReceived {
        session,
        principal,
        request,
        call,
    });
}

fn ask(world: &mut World, session: SessionId, request: u64, tasks: Vec<TaskId>) {
    call(world, session, request, Call::Reconcile { tasks });
}

/// The statuses that a session was told since the last drain, and which requests were answered.
fn heard(world: &mut World, session: SessionId) -> (Vec<(String, TaskState)>, Vec<u64>) {
    let (mut statuses, mut answered) = (Vec::new(), Vec::new());
    for told in world.drain(session) {
        match told {
            Told::Updated(of) => statuses.push((of.task.to_string(), of.state)),
            Told::Answered { request, answer } => {
                assert_eq!(answer, Answer::Done);
                answered.push(request);
            }
            _ => {}
        }
    }
    (statuses, answered)
}

/// The next step of what is told in pieces.
fn pass_a_piece(world: &mut World) {
    let at = world.timers[&TimerKey::Telling];
    let wait = at.saturating_sub(world.now.mono_ns);
    assert!(wait <= 10_000_000, "{wait} ns");
    world.pass(Duration::from_nanos(wait));
}

#[test]
fn a_long_question_is_told_in_pieces_and_answered_at_its_end() {
    for asked in [named(0..MANY), Vec::new()] {
        let Many {
            mut world, session, ..
        } = many(MANY);
        ask(&mut world, session, 7, asked);
        assert_eq!(heard(&mut world, session), (vec![], vec![]));
        let (mut all, mut pieces) = (Vec::new(), 0);
        let answered = loop {
            pass_a_piece(&mut world);
            let (statuses, answered) = heard(&mut world, session);
            assert!(statuses.len() <= SNAPSHOT_TASKS_PER_STEP);
            all.extend(statuses);
            pieces += 1;
            if !answered.is_empty() {
                break answered;
            }
        };
        assert_eq!((answered, pieces), (vec![7], 3));
        let expected = (0..MANY).map(|number| (name(number), TaskState::Running));
        assert!(all.into_iter().eq(expected), "each once, in order");
    }
}

#[test]
fn short_questions_are_answered_at_once_until_a_steps_worth_is() {
    let Many {
        mut world, session, ..
    } = many(0);
    let other = world.framework();
    world.drain(other);
    let short = u32::try_from(RECONCILE_AT_ONCE_MAX).expect("small");
    let times = u64::try_from(SNAPSHOT_TASKS_PER_STEP / RECONCILE_AT_ONCE_MAX).expect("small");
    for request in 1..=times {
        ask(&mut world, session, request, named(0..short));
        assert_eq!(heard(&mut world, session).1, [request]);
    }
    for (session, request) in [(session, 98), (other, 99)] {
        ask(&mut world, session, request, named(0..1));
        assert!(heard(&mut world, session).1.is_empty());
    }
    pass_a_piece(&mut world);
    assert_eq!(heard(&mut world, session).1, [98]);
    assert_eq!(heard(&mut world, other).1, [99]);
}

#[test]
fn each_asker_has_its_turn() {
    let Many {
        mut world, session, ..
    } = many(0);
    let other = world.framework();
    world.drain(other);
    ask(&mut world, session, 1, named(0..10_000));
    ask(&mut world, session, 2, named(0..1));
    ask(&mut world, other, 3, named(0..200));
    pass_a_piece(&mut world);
    assert_eq!(heard(&mut world, other).1, [3]);
    let (statuses, answered) = heard(&mut world, session);
    assert!(!statuses.is_empty() && answered.is_empty());
    world.pass_s(1);
    assert_eq!(heard(&mut world, session).1, [1, 2], "its own in order");
}

#[test]
fn what_happens_meanwhile_is_not_followed_by_what_was_before() {
    let Many {
        mut world,
        link,
        session,
        framework,
    } = many(MANY);
    ask(&mut world, session, 7, Vec::new());
    let mut told: BTreeMap<String, Vec<TaskState>> = BTreeMap::new();
    let mut is_answered = false;
    let mut at = 0;
    while !is_answered {
        for number in [at, MANY - 1 - at] {
            let finished = status(&name(number), incarnation(number), 2, TaskState::Finished);
            world.updates(link, &framework, finished);
        }
        at += 1;
        pass_a_piece(&mut world);
        let (statuses, answered) = heard(&mut world, session);
        for (task, state) in statuses {
            told.entry(task).or_default().push(state);
        }
        is_answered = !answered.is_empty();
    }
    assert_eq!(told.len(), usize::try_from(MANY).expect("small"));
    for (task, states) in told {
        assert!(states.is_sorted(), "{task}: {states:?}");
    }
}

#[test]
fn questions_wait_for_the_end_of_a_snapshot() {
    let Many {
        mut world,
        link,
        session,
        framework,
    } = many(MANY);
    let last = MANY - 1;
    world.step(Event::SessionClosed { session });
    // It waits in the task's queue.
    let killing = status(&name(last), incarnation(last), 2, TaskState::Killing);
    world.updates(link, &framework, killing);
    let finished = status(&name(last), incarnation(last), 3, TaskState::Finished);
    world.updates(link, &framework, finished);
    let session = world.resubscribe(&framework);
    ask(&mut world, session, 7, named(last..MANY));
    world.pass_s(1);
    let (statuses, answered) = heard(&mut world, session);
    let of_last: Vec<_> = statuses
        .iter()
        .filter(|(of, _)| *of == name(last))
        .collect();
    let states: Vec<TaskState> = of_last.into_iter().map(|(_, state)| *state).collect();
    let finished = TaskState::Finished;
    assert_eq!(states, [TaskState::Killing, finished, finished]);
    assert_eq!(answered.last(), Some(&7));
}

#[test]
fn nobody_is_told_when_the_session_is_over() {
    let Many {
        mut world,
        session,
        framework,
        ..
    } = many(MANY);
    ask(&mut world, session, 7, Vec::new());
    world.step(Event::SessionClosed { session });
    let next = world.resubscribe(&framework);
    world.pass_s(1);
    let (statuses, answered) = heard(&mut world, next);
    assert_eq!(statuses.len(), usize::try_from(MANY).expect("small"));
    assert!(!answered.contains(&7), "{answered:?}");
}

#[test]
fn scripts_are_answered_with_all_of_it_or_told_why_not() {
    let Many {
        mut world,
        framework,
        ..
    } = many(MANY);
    let asks = |world: &mut World, tasks: Vec<TaskId>| {
        let request = RequestId(world.fresh());
        let (principal, framework) = (principal("p"), framework.clone());
        world.step(Event::FrameworkCalled {
            request,
            principal,
            framework,
            number: 0,
            call: Call::Reconcile { tasks },
        });
        request
    };
    let request = asks(&mut world, named(0..MANY));
    assert!(!world.replies.contains_key(&request));
    world.pass_s(1);
    match &world.replies[&request].0 {
        Ok(Reply::Called(statuses)) => assert_eq!(statuses.len(), named(0..MANY).len()),
        other => panic!("{other:?}"),
    }
    let request = asks(&mut world, Vec::new());
    world.unary(&framework, 1, Call::Teardown).expect("done");
    world.pass_s(1);
    let refused = world.replies[&request].0.clone().expect_err("over");
    assert!(refused.is(code::FRAMEWORK_COMPLETED));
}

fn refusal(world: &mut World, session: SessionId, called: Call) -> Option<Problem> {
    let request = world.fresh();
    world.drain(session);
    call(world, session, request, called);
    world.pass_s(0);
    world
        .drain(session)
        .into_iter()
        .find_map(|told| match told {
            Told::Answered {
                request: to,
                answer: Answer::Refused(problem),
            } if to == request => Some(problem),
            _ => None,
        })
}

#[test]
fn what_a_call_names_counts_against_the_rate_of_operations() {
    let demand = |generation: u64, entries: u32, excluded: u32| {
        let mut entries: Vec<_> = (0..entries)
            .map(|n| want(&name(n), 1, "cpus:1", 0))
            .collect();
        for number in 0..excluded {
            entries[0].excluded.push(Exclusion {
                agent: name(number).parse().expect("an id"),
                lasts: Duration::from_secs(1),
            });
        }
        let role: Role = "*".parse().expect("a role");
        let generation = Generation(generation);
        Call::SetDemand(Demand {
            role,
            generation,
            entries,
        })
    };
    let offers = |count: u32| -> Vec<OfferId> {
        let ids = (0..count).map(|number| name(number).parse().expect("an id"));
        ids.collect()
    };
    let reconcile = |tasks: u32| Call::Reconcile {
        tasks: named(0..tasks),
    };
    let decline = |count| Call::Decline {
        offers: offers(count),
        exclude_for: Duration::ZERO,
    };
    let accept = |count| Call::Accept {
        offers: offers(count),
        operations: Vec::new(),
    };
    // What takes all of it, and what is not let through then, though it is a single one.
    for (all, one) in [
        (reconcile(50), reconcile(1)),
        (decline(50), decline(1)),
        (accept(50), accept(1)),
        (demand(100_000, 50, 0), demand(100_001, 1, 0)),
        (demand(100_000, 20, 30), demand(100_001, 1, 0)),
        (Call::Reconcile { tasks: Vec::new() }, decline(1)),
    ] {
        let Many {
            mut world, session, ..
        } = many(50);
        world.core.config.operations_per_second = 50;
        let what = format!("{all:?}");
        let before = refusal(&mut world, session, all);
        assert!(
            before.is_none_or(|problem| !problem.is(code::SESSION_RATE_LIMITED)),
            "{what}"
        );
        let problem = refusal(&mut world, session, one.clone()).expect("limited");
        assert!(problem.is(code::SESSION_RATE_LIMITED), "{what}: {problem}");
        assert_eq!(problem.retry_after, Some(Duration::from_millis(20)));
        world.pass_ms(20);
        let after = refusal(&mut world, session, one);
        assert!(
            after.is_none_or(|problem| !problem.is(code::SESSION_RATE_LIMITED)),
            "{what}"
        );
    }
}

#[test]
fn a_call_that_is_worth_more_than_a_second_is_done_and_waited_for_and_all_tasks_are_never_worth_more()
 {
    let Many {
        mut world, session, ..
    } = many(100);
    world.core.config.operations_per_second = 10;
    let ask = |tasks: Vec<TaskId>| Call::Reconcile { tasks };
    assert_eq!(refusal(&mut world, session, ask(named(0..100))), None);
    let limited = refusal(&mut world, session, ask(named(0..1))).expect("limited");
    assert_eq!(limited.retry_after, Some(Duration::from_millis(9_100)));
    world.pass_s(20);
    assert_eq!(refusal(&mut world, session, ask(Vec::new())), None);
    let limited = refusal(&mut world, session, ask(named(0..1))).expect("limited");
    assert_eq!(limited.retry_after, Some(Duration::from_millis(100)));
}

#[test]
fn questions_that_wait_are_bounded() {
    let Many {
        mut world, session, ..
    } = many(0);
    world.core.config.operations_per_second = u64::MAX;
    let all = RECONCILE_NAMED_MAX / 10_000;
    for request in (1..).take(all) {
        ask(&mut world, session, request, named(0..10_000));
    }
    let called = Call::Reconcile { tasks: named(0..1) };
    let problem = refusal(&mut world, session, called.clone()).expect("full");
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
    world.facts.clear();
    world.pass(problem.retry_after.expect("a time"));
    assert_eq!(refusal(&mut world, session, called), None);
}

#[test]
fn who_asks_for_little_is_answered_however_much_others_ask_for_and_they_are_told_when_to_try_again()
{
    let mut world = World::new();
    world.core.config.operations_per_second = u64::MAX;
    let (large, calls) = (named(0..10_000), RECONCILE_NAMED_MAX / 10_000);
    for _ in 0..RECONCILE_NAMED_TOTAL_MAX / RECONCILE_NAMED_MAX {
        let session = world.framework();
        for request in (1..).take(calls) {
            ask(&mut world, session, request, large.clone());
        }
    }
    let session = world.framework();
    world.facts.clear();
    let few = named(0..u32::try_from(RECONCILE_AT_ONCE_MAX).expect("small"));
    assert_eq!(
        refusal(&mut world, session, Call::Reconcile { tasks: few }),
        None
    );
    let more = Call::Reconcile { tasks: large };
    let problem = refusal(&mut world, session, more.clone()).expect("full");
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
    world.facts.clear();
    world.pass(problem.retry_after.expect("a time"));
    assert_eq!(
        refusal(&mut world, session, more),
        None,
        "there is room then"
    );
}

#[test]
fn a_task_whose_end_is_acknowledged_before_its_turn_is_not_told_to_be_lost() {
    let Many {
        mut world,
        link,
        session,
        framework,
    } = many(MANY);
    let last = MANY - 1;
    let mut asked = named(0..MANY);
    asked.push(task_id("nobody's"));
    ask(&mut world, session, 7, asked);
    let ended = status(&name(last), incarnation(last), 2, TaskState::Finished);
    world.updates(link, &framework, ended);
    assert_eq!(
        heard(&mut world, session),
        (vec![(name(last), TaskState::Finished)], vec![])
    );
    world.acknowledge_all(session);
    assert_eq!(world.core.tasks.count_of(&framework), 2_499);
    // Who asks afterwards, while the first waits, hears what is known then.
    ask(&mut world, session, 9, named(last..MANY));
    let (mut all, mut answered) = (Vec::new(), Vec::new());
    while answered.len() < 2 {
        pass_a_piece(&mut world);
        let piece = heard(&mut world, session);
        all.extend(piece.0);
        answered.extend(piece.1);
    }
    let lost: Vec<_> = all.iter().filter(|of| of.1 == TaskState::Lost).collect();
    let (nobodys, later) = ("nobody's".to_owned(), name(last));
    assert_eq!(
        lost,
        [&(nobodys, TaskState::Lost), &(later, TaskState::Lost)]
    );
    assert_eq!((all.len(), answered), (2_501, vec![7, 9]));
    // Who asks afterwards hears what is known then.
    ask(&mut world, session, 8, named(last..MANY));
    let lost = vec![(name(last), TaskState::Lost)];
    assert_eq!(heard(&mut world, session), (lost, vec![8]));
}
