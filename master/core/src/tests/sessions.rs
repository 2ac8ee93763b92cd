//! Several sessions of one framework: who is active, who waits, what each is told, and where it goes on.

use std::time::Duration;

use proffer_model::link::{AgentTask, ToAgent};
use proffer_model::session::{Answer, Call, Event as Told, Resume};
use proffer_model::{
    Epoch, FrameworkDescription, FrameworkId, Incarnation, Problem, Reason, TaskState, code,
};

use super::world::{World, describe_framework, reported, spec, status};
use crate::event::{Event, LinkId, SessionId, StateCall};
use crate::limits::{HEARTBEAT_PARTS, SNAPSHOT_TASKS_PER_STEP, STANDBYS_MAX};

fn subscribe(framework: &FrameworkId) -> Call {
    Call::Subscribe {
        framework: Some(framework.clone()),
        description: describe_framework(),
        stand_by: false,
        resume: None,
        create: false,
    }
}

fn standing_by(framework: &FrameworkId) -> Call {
    match subscribe(framework) {
        Call::Subscribe {
            framework,
            description,
            resume,
            create,
            ..
        } => Call::Subscribe {
            framework,
            description,
            stand_by: true,
            resume,
            create,
        },
        other => other,
    }
}

fn resuming(framework: &FrameworkId, epoch: u64, sequence: u64) -> Call {
    Call::Subscribe {
        framework: Some(framework.clone()),
        description: describe_framework(),
        stand_by: false,
        resume: Some(Resume {
            epoch: Epoch(epoch),
            sequence,
        }),
        create: false,
    }
}

fn creating(id: &str, stand_by: bool) -> Call {
    Call::Subscribe {
        framework: Some(FrameworkId::new(id).expect(id)),
        description: describe_framework(),
        stand_by,
        resume: None,
        create: true,
    }
}

/// What a session was told since the last drain, in short.
fn heard(world: &mut World, session: SessionId) -> Vec<String> {
    let told = world.drain(session).into_iter();
    told.map(|told| match told {
        Told::Subscribed { is_resumed, .. } if is_resumed => "resumed".to_owned(),
        Told::Subscribed { .. } => "subscribed".to_owned(),
        Told::StandingBy { .. } => "standing by".to_owned(),
        Told::SnapshotEnded => "snapshot ended".to_owned(),
        Told::Answered { answer, .. } => match answer {
            Answer::Refused(problem) => format!("refused {}", problem.code),
            _ => "answered".to_owned(),
        },
        Told::Updated(of) => format!("{} {} {}", of.task, of.state, of.number),
        Told::AgentSettled(_) => "settled".to_owned(),
        Told::Closed(problem) => format!("closed {}", problem.code),
        Told::Heartbeat => "heartbeat".to_owned(),
        other => format!("{other:?}"),
    })
    .collect()
}

#[test]
fn a_session_that_stands_by_takes_the_place_of_the_active_one_when_that_ends() {
    let mut world = World::new();
    let first = world.framework();
    let (framework, old) = world.subscribed(first);
    let [second, third] = [0; 2].map(|_| world.opens("p", standing_by(&framework)));
    assert_eq!(heard(&mut world, second), ["standing by"]);
    world.drain(third);
    world.drain(first);
    world.pass_s(1);
    for session in [first, second, third] {
        assert_eq!(heard(&mut world, session), ["heartbeat"]);
    }
    world.step(Event::SessionClosed { session: first });
    let generation = world.subscribed(second).1;
    assert!(generation > old, "each activation has its own");
    let told = heard(&mut world, second);
    assert_eq!(told, ["subscribed", "answered", "snapshot ended"]);
    assert!(heard(&mut world, third).is_empty(), "it waits on");
    let list = || StateCall::List {
        prefix: String::new(),
    };
    let fenced = world.state(&framework, old, list()).expect_err("fenced");
    assert!(fenced.is(code::SESSION_FENCED));
    world
        .state(&framework, generation, list())
        .expect("the active one's");
    world.pass_s(200);
    assert!(
        world.written.frameworks.contains_key(&framework),
        "the failover timeout does not run while one is active"
    );
}

#[test]
fn one_that_does_not_stand_by_takes_over_and_the_others_wait_on() {
    let mut world = World::new();
    let first = world.framework();
    let (framework, _) = world.subscribed(first);
    let waiting = world.opens("p", standing_by(&framework));
    world.drain(waiting);
    let second = world.opens("p", subscribe(&framework));
    assert!(world.closed(first).is(code::SESSION_FENCED));
    world.step(Event::SessionClosed { session: first });
    assert!(heard(&mut world, waiting).is_empty());
    world.step(Event::SessionClosed { session: second });
    assert_eq!(
        heard(&mut world, waiting),
        ["subscribed", "answered", "snapshot ended"]
    );
    // Where nobody is active, there is nothing to wait for.
    world.step(Event::SessionClosed { session: waiting });
    let late = world.opens("p", standing_by(&framework));
    world.subscribed(late);
}

#[test]
fn what_a_session_that_stands_by_calls_is_refused() {
    let mut world = World::new();
    let first = world.framework();
    let (framework, _) = world.subscribed(first);
    let waiting = world.opens("p", standing_by(&framework));
    world.drain(waiting);
    for call in [
        Call::Reconcile { tasks: Vec::new() },
        Call::Teardown,
        subscribe(&framework),
    ] {
        let told = world.numbered(waiting, 5, call);
        let [Told::Answered { request: 5, answer }] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(matches!(answer, Answer::Refused(problem) if problem.is(code::SESSION_ORDER)));
    }
    assert!(
        world
            .numbered(waiting, 0, Call::Acknowledge { sequence: 1 })
            .is_empty()
    );
    world.step(Event::CallMalformed {
        session: waiting,
        request: 6,
        problem: Problem::new(code::FIELD_MISSING, "x"),
    });
    assert_eq!(heard(&mut world, waiting), ["refused field.missing"]);
    let nameless = Call::Subscribe {
        framework: None,
        description: describe_framework(),
        stand_by: true,
        resume: None,
        create: false,
    };
    let nobody = world.opens("p", nameless);
    assert!(world.closed(nobody).is(code::FIELD_MISSING));
    let foreign = world.opens("q", standing_by(&framework));
    assert!(world.closed(foreign).is(code::FRAMEWORK_FOREIGN));
    for _ in 1..STANDBYS_MAX {
        world.opens("p", standing_by(&framework));
    }
    let crowd = world.opens("p", standing_by(&framework));
    assert!(world.closed(crowd).is(code::OVERLOADED));
}

#[test]
fn who_subscribes_in_a_tight_loop_is_told_when_to_try_again_and_others_are_not_held_up() {
    let mut world = World::new();
    let first = world.framework();
    let (framework, _) = world.subscribed(first);
    let mut last = first;
    let refused = loop {
        let next = world.opens("p", subscribe(&framework));
        let told = world.drain(next);
        match told.last() {
            Some(Told::Closed(problem)) => break problem.clone(),
            _ => last = next,
        }
        assert!(next.0 < 10_000, "never");
    };
    assert!(refused.is(code::SESSION_RATE_LIMITED), "{refused}");
    let wait = refused.retry_after.expect("a time");
    assert!(wait <= std::time::Duration::from_secs(1), "{wait:?}");
    // The one that is active is left alone, and another framework begins as always.
    world.pass_s(0);
    assert!(
        !world
            .drain(last)
            .iter()
            .any(|it| matches!(it, Told::Closed(_)))
    );
    let other = world.framework();
    world.subscribed(other);
    world.pass(wait);
    let again = world.opens("p", subscribe(&framework));
    world.subscribed(again);
    assert!(world.closed(last).is(code::SESSION_FENCED));
}

#[test]
fn who_stands_by_hears_that_the_framework_is_over() {
    let mut world = World::new();
    let first = world.framework();
    let (framework, _) = world.subscribed(first);
    let waiting = world.opens("p", standing_by(&framework));
    let left = world.opens("p", standing_by(&framework));
    world.step(Event::SessionClosed { session: left });
    world.call(first, Call::Teardown);
    assert!(world.closed(waiting).is(code::FRAMEWORK_COMPLETED));
    assert!(!world.closed_sessions.contains(&left));
}

#[test]
fn a_framework_that_chooses_its_id_is_one_however_often_it_is_started() {
    let mut world = World::new();
    let [first, second] = [0; 2].map(|_| world.opens("p", creating("my-batch", true)));
    let (framework, _) = world.subscribed(first);
    assert_eq!(framework.as_str(), "my-batch");
    assert_eq!(heard(&mut world, second), ["standing by"]);
    // The answer was lost, perhaps with the leader.
    let mut world = World::term(2, world.written);
    let again = world.opens("p", creating("my-batch", false));
    assert_eq!(world.subscribed(again).0, framework);
    assert_eq!(world.written.frameworks.len(), 1);
    let foreign = world.opens("q", creating("my-batch", false));
    assert!(world.closed(foreign).is(code::FRAMEWORK_FOREIGN));
    world.call(again, Call::Teardown);
    let spent = world.opens("p", creating("my-batch", false));
    assert!(world.closed(spent).is(code::FRAMEWORK_COMPLETED));
    for like_the_masters in ["c-f1-7", "other-cluster-f12-3", "x-f1-1"] {
        let refused = world.opens("p", creating(like_the_masters, false));
        let problem = world.closed(refused);
        assert!(problem.is(code::ID_INVALID), "{like_the_masters}");
        assert_eq!(problem.field, "subscribe.framework_id");
    }
    let nameless = Call::Subscribe {
        framework: None,
        description: describe_framework(),
        stand_by: false,
        resume: None,
        create: true,
    };
    let nameless = world.opens("p", nameless);
    assert!(world.closed(nameless).is(code::FIELD_MISSING));
}

/// A framework with a task each of these names, which its agent has said to run.
struct Cast {
    world: World,
    link: LinkId,
    session: SessionId,
    framework: FrameworkId,
    incarnations: Vec<Incarnation>,
}

fn cast(tasks: &[&str]) -> Cast {
    let mut world = World::new();
    let link = world.agent("a", "cpus:40");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnations = tasks
        .iter()
        .map(|task| world.run(session, spec(task, "cpus:1")))
        .collect();
    world.drain(session);
    Cast {
        world,
        link,
        session,
        framework,
        incarnations,
    }
}

impl Cast {
    /// Its agent says of the task with this index.
    fn says(&mut self, task: usize, name: &str, number: u64, state: TaskState) {
        let status = status(name, self.incarnations[task], number, state);
        self.world.updates(self.link, &self.framework, status);
    }

    fn breaks(&mut self) {
        let session = self.session;
        self.world.step(Event::SessionClosed { session });
    }

    fn resumes(&mut self, sequence: u64) -> Vec<String> {
        self.session = self
            .world
            .opens("p", resuming(&self.framework, 1, sequence));
        heard(&mut self.world, self.session)
    }
}

#[test]
fn a_session_goes_on_where_the_one_before_was_acknowledged() {
    let mut cast = cast(&["b", "a"]);
    cast.says(0, "b", 1, TaskState::Starting);
    cast.says(1, "a", 1, TaskState::Starting);
    let kept = cast.world.sequence(cast.session);
    cast.says(0, "b", 2, TaskState::Running);
    cast.says(1, "a", 2, TaskState::Running);
    cast.world.orders(cast.link);
    cast.breaks();
    cast.says(1, "a", 3, TaskState::Killing);
    cast.says(0, "b", 3, TaskState::Finished);
    let last = cast.world.sequence(cast.session);
    let told = cast.resumes(kept);
    assert_eq!(
        told,
        [
            "resumed",
            "answered",
            "b running 2",
            "a running 2",
            "a killing 3",
            "b finished 3"
        ],
        "in the order in which they came, whichever task they are of"
    );
    assert_eq!(
        cast.world.acknowledged(cast.link),
        [("a".to_owned(), 1), ("b".to_owned(), 1)],
        "to resume is to acknowledge"
    );
    assert!(
        cast.world.sequence(cast.session) > last + 5,
        "sequences go on"
    );
    // Told again and not acknowledged, it is told once more.
    cast.breaks();
    assert_eq!(cast.resumes(kept).len(), 6);
    cast.world.acknowledge_all(cast.session);
    let acknowledged = cast.world.acknowledged(cast.link);
    assert_eq!(acknowledged, [("a".to_owned(), 3), ("b".to_owned(), 3)]);
    cast.breaks();
    let sequence = cast.world.sequence(cast.session);
    assert_eq!(cast.resumes(sequence), ["resumed", "answered"]);
}

#[test]
fn an_acknowledgement_means_the_same_in_a_later_session() {
    let mut cast = cast(&["t"]);
    cast.says(0, "t", 1, TaskState::Running);
    let first = cast.world.sequence(cast.session);
    cast.breaks();
    cast.says(0, "t", 2, TaskState::Finished);
    let told = cast.resumes(first - 1);
    assert_eq!(told.last().map(String::as_str), Some("t finished 2"));
    cast.world.orders(cast.link);
    // What was said in the session before is told again under a greater number, so this is not for it.
    cast.world.acknowledge(cast.session, first);
    assert!(cast.world.acknowledged(cast.link).is_empty());
    let second = cast.world.sequence(cast.session);
    cast.world.acknowledge(cast.session, second - 1);
    assert_eq!(cast.world.acknowledged(cast.link), [("t".to_owned(), 1)]);
    cast.world.acknowledge(cast.session, u64::MAX);
    assert_eq!(cast.world.acknowledged(cast.link), [("t".to_owned(), 2)]);
}

#[test]
fn what_cannot_be_resumed_is_told_as_a_snapshot() {
    let snapshot = ["subscribed", "answered", "t running 1", "snapshot ended"];
    let told = |epoch, of: fn(u64) -> u64| {
        let mut cast = cast(&["t"]);
        cast.says(0, "t", 1, TaskState::Running);
        let sequence = of(cast.world.sequence(cast.session));
        cast.breaks();
        let call = resuming(&cast.framework, epoch, sequence);
        let session = cast.world.opens("p", call);
        heard(&mut cast.world, session)
    };
    assert_eq!(told(1, |last| last - 1)[0], "resumed");
    assert_eq!(told(2, |last| last - 1), snapshot, "another term");
    assert_eq!(told(0, |last| last - 1), snapshot, "an earlier term");
    assert_eq!(told(1, |last| last + 1), snapshot, "never told");
    assert_eq!(told(1, |_| u64::MAX), snapshot, "never told");
    assert_eq!(told(1, |_| 0), snapshot, "before the last snapshot ended");
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut world = World::term(2, world.written);
    let session = world.opens("p", resuming(&framework, 2, 0));
    let told = heard(&mut world, session);
    assert_eq!(told, ["subscribed", "answered", "snapshot ended"]);
}

#[test]
fn a_snapshot_tells_every_task_once() {
    let mut cast = cast(&["done", "kept", "open"]);
    for (i, task) in ["done", "kept", "open"].into_iter().enumerate() {
        cast.says(i, task, 1, TaskState::Running);
    }
    cast.world.acknowledge_all(cast.session);
    cast.says(0, "done", 2, TaskState::Failed);
    cast.says(2, "open", 2, TaskState::Killing);
    cast.breaks();
    cast.session = cast.world.resubscribe(&cast.framework);
    let reasons = cast.world.statuses(cast.session);
    let told = |task: &str, state, reason, number| (task.to_owned(), state, reason, number);
    assert_eq!(
        reasons,
        [
            told("done", TaskState::Failed, Reason::None, 2),
            told("kept", TaskState::Running, Reason::Reconciled, 0),
            told("open", TaskState::Killing, Reason::None, 2),
        ]
    );
}

/// Tasks as an agent reports them, of which it has more to say.
fn many(framework: &FrameworkId, count: u32) -> Vec<AgentTask> {
    let task = |i: u32| {
        let incarnation = Incarnation::of(Epoch(1), i + 1);
        let spec = spec(&format!("t{i:06}"), "cpus:0.001");
        reported(framework, spec, incarnation, 1, TaskState::Running)
    };
    (0..count).map(task).collect()
}

#[test]
fn a_long_snapshot_is_told_in_pieces_and_what_happens_meanwhile_is_told_in_order() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let piece = u32::try_from(SNAPSHOT_TASKS_PER_STEP).expect("small");
    let tasks = many(&framework, 2 * piece + 10);
    let agent = "c-a0-1".parse().expect("an id");
    let link = world.returns(&agent, "a", "cpus:40", tasks);
    world.step(Event::SessionClosed { session });
    let session = world.resubscribe(&framework);
    let mut told = heard(&mut world, session);
    assert_eq!(told.len(), 2 + SNAPSHOT_TASKS_PER_STEP);
    // One that was told, one that was not yet, and one that nobody has heard of.
    for (task, number) in [(0, 2), (2 * piece + 1, 2), (2 * piece + 1, 3)] {
        let incarnation = Incarnation::of(Epoch(1), task + 1);
        let status = status(
            &format!("t{task:06}"),
            incarnation,
            number,
            TaskState::Running,
        );
        world.updates(link, &framework, status);
    }
    assert_eq!(heard(&mut world, session), ["t000000 running 2"]);
    // Another session that comes in between begins anew.
    let session = world.opens("p", resuming(&framework, 1, u64::from(piece)));
    told = heard(&mut world, session);
    assert_eq!(told[0], "subscribed");
    world.pass_ms(100);
    told.extend(heard(&mut world, session));
    let late = format!("t{:06} running", 2 * piece + 1);
    let late: Vec<_> = told.iter().filter(|told| told.starts_with(&late)).collect();
    assert!(late[0].ends_with('2') && late[1].ends_with('3'), "{late:?}");
    assert_eq!(late.len(), 2);
    assert_eq!(told.last().map(String::as_str), Some("snapshot ended"));
    assert_eq!(told.len(), 3 + 2 * SNAPSHOT_TASKS_PER_STEP + 10 + 1);
}

#[test]
fn a_task_whose_agent_has_more_to_say_is_in_the_snapshot_without_being_ahead_of_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let mut world = World::term(2, world.written);
    let mut task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        2,
        TaskState::Running,
    );
    task.acknowledged = 0;
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    let session = world.resubscribe(&framework);
    assert_eq!(
        heard(&mut world, session),
        [
            "subscribed",
            "answered",
            "t staging 0",
            "settled",
            "snapshot ended"
        ]
    );
    for (number, state) in [(1, TaskState::Starting), (2, TaskState::Running)] {
        world.updates(link, &framework, status("t", incarnation, number, state));
    }
    assert_eq!(heard(&mut world, session), ["t starting 1", "t running 2"]);
}

#[test]
fn of_the_masters_own_statuses_only_the_newest_waits_for_a_session_and_none_is_kept_for_another() {
    let mut cast = cast(&["t"]);
    cast.says(0, "t", 1, TaskState::Running);
    cast.world.acknowledge_all(cast.session);
    let agent = cast.world.welcomed(cast.link);
    cast.world.lose(cast.link);
    cast.world.pass_s(80);
    assert_eq!(
        heard(&mut cast.world, cast.session)
            .last()
            .map(String::as_str),
        Some("heartbeat"),
    );
    // It was told that the task is unreachable, and has not said that it kept that.
    let told = cast.world.sequence(cast.session);
    cast.breaks();
    let back = |cast: &mut Cast| {
        let (task, incarnation) = (spec("t", "cpus:1"), cast.incarnations[0]);
        let task = reported(&cast.framework, task, incarnation, 1, TaskState::Running);
        let link = cast.world.returns(&agent, "a", "cpus:40", vec![task]);
        cast.link = link;
    };
    // The agent comes back, is lost again, and comes back.
    back(&mut cast);
    cast.world.lose(cast.link);
    cast.world.pass_s(15);
    back(&mut cast);
    let told = cast.resumes(told);
    assert_eq!(told, ["resumed", "answered", "t running 0"]);
}

#[test]
fn a_framework_that_is_completed_may_not_come_back_as_long_as_it_is_remembered() {
    let mut world = World::new();
    let most = proffer_model::registry::COMPLETED_FRAMEWORKS_MAX;
    let mut registry = world.written.clone();
    for i in 0..=most {
        let framework = FrameworkId::new(&format!("f{i}")).expect("an id");
        registry.apply(&proffer_model::registry::Operation::CompleteFramework { framework });
    }
    world = World::term(2, registry);
    for (id, is_remembered) in [(0, false), (1, true), (most, true)] {
        let session = world.opens("p", creating(&format!("f{id}"), false));
        assert_eq!(world.closed_sessions.contains(&session), is_remembered);
    }
}

#[test]
fn the_failover_timeout_is_the_last_one_that_was_said_and_outlives_the_master() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let shorter = FrameworkDescription {
        failover_timeout: std::time::Duration::from_secs(10),
        ..describe_framework()
    };
    let session = world.subscribe_as("p", Some(framework.clone()), shorter);
    world.step(Event::SessionClosed { session });
    world.pass_s(9);
    assert!(world.written.frameworks.contains_key(&framework));
    let mut next = World::term(2, world.written.clone());
    next.pass_s(9);
    assert!(
        next.written.frameworks.contains_key(&framework),
        "anew in each term"
    );
    next.pass_s(2);
    assert!(next.written.completed.contains_key(&framework));
    world.pass_s(2);
    assert!(world.written.completed.contains_key(&framework));
}

#[test]
fn every_session_hears_of_the_master_once_in_an_interval_and_no_step_tells_all() {
    let mut world = World::new();
    let sessions: Vec<SessionId> = (0..30).map(|_| world.framework()).collect();
    for session in &sessions {
        world.drain(*session);
    }
    let pause = world.core.config.heartbeat_interval / HEARTBEAT_PARTS;
    let (mut beats, mut most) = (vec![0; sessions.len()], 0);
    for _ in 0..HEARTBEAT_PARTS {
        world.pass(pause);
        let mut told = 0;
        for (session, beats) in sessions.iter().zip(&mut beats) {
            let heard = heard(&mut world, *session);
            *beats += heard.iter().filter(|heard| *heard == "heartbeat").count();
            told += usize::from(!heard.is_empty());
        }
        most = most.max(told);
    }
    assert_eq!(beats, vec![1; sessions.len()]);
    assert!(most < sessions.len() / 2, "{most} at once");
}

#[test]
fn agents_say_that_they_are_there_half_as_often_where_they_may_be_silent_for_long() {
    for (suspect_after_s, links_at_once) in [(5, 1), (4, 2)] {
        let mut world = World::new();
        world.core.config.suspect_after = Duration::from_secs(suspect_after_s);
        let links: Vec<LinkId> = (0..20)
            .map(|i| world.agent(&format!("h{i}"), "cpus:1;mem:64"))
            .collect();
        let interval = world.core.config.heartbeat_interval;
        let told = world
            .ordered
            .iter()
            .find_map(|(_, message, _)| match message {
                ToAgent::Welcome {
                    heartbeat_interval, ..
                } => Some(*heartbeat_interval),
                _ => None,
            });
        assert_eq!(told, Some(interval * 2 / links_at_once));
        world.ordered.clear();
        for _ in 0..2 * HEARTBEAT_PARTS {
            world.pass(interval / HEARTBEAT_PARTS);
        }
        for link in links {
            let beats = world.ordered.iter().filter(|(to, message, _)| {
                *to == link && matches!(message, ToAgent::Heartbeat { .. })
            });
            assert_eq!(beats.count(), links_at_once as usize);
        }
    }
}
