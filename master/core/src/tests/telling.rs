//! What was told and is not acknowledged, and what is: much of either in pieces, between which others are served, in its order.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::link::{AgentTask, ToMaster};
use proffer_model::session::{Answer, Call, Event as Told, Operation, Resume};
use proffer_model::{Epoch, FrameworkId, Incarnation, OfferId, Status, TaskState, code};

use super::world::{World, describe_framework, principal, reported, spec, status, task_id, want};
use crate::effect::Fact;
use crate::event::{Event, LinkId, SessionId, TimerKey};
use crate::limits::{
    CALLS_HELD_MAX, ENDED_TASK_STEPS, ENDED_TASKS_AT_ONCE_MAX, SNAPSHOT_TASKS_PER_STEP,
};

/// Two pieces and some more.
const MANY: usize = 2 * SNAPSHOT_TASKS_PER_STEP + 10;

struct Stage {
    world: World,
    link: LinkId,
    session: SessionId,
    framework: FrameworkId,
    /// Of the last event before any status.
    kept: u64,
}

fn name(task: usize) -> String {
    format!("t{task:06}")
}

fn incarnation(task: usize) -> Incarnation {
    Incarnation::of(Epoch(1), u32::try_from(task).expect("small") + 1)
}

fn says(task: usize, number: u64, state: TaskState) -> Status {
    status(&name(task), incarnation(task), number, state)
}

/// A framework with many tasks, of each of which it has been told a second status.
fn stage(state: TaskState) -> Stage {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let task = |task| -> AgentTask {
        let spec = spec(&name(task), "cpus:0.001");
        reported(&framework, spec, incarnation(task), 1, TaskState::Running)
    };
    let tasks = (0..MANY).map(task).collect();
    let agent = "c-a0-1".parse().expect("an id");
    let link = world.returns(&agent, "a", "cpus:40", tasks);
    let mut stage = Stage {
        kept: world.sequence(session),
        world,
        link,
        session,
        framework,
    };
    let all = (0..MANY).map(|task| says(task, 2, state)).collect();
    stage.updates(all);
    assert_eq!(stage.statuses().len(), MANY);
    stage
}

impl Stage {
    fn updates(&mut self, statuses: Vec<Status>) {
        let update = |status: Status| Event::LinkMessage {
            link: self.link,
            message: ToMaster::Updated {
                framework: self.framework.clone(),
                latest: status.state,
                status,
            },
        };
        let events = statuses.into_iter().map(update).collect();
        self.world.step_together(events);
    }

    fn calls(&mut self, request: u64, call: Call) {
        let (session, principal) = (self.session, principal("p"));
        self.world.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
    }

    fn breaks(&mut self) {
        let session = self.session;
        self.world.step(Event::SessionClosed { session });
    }

    fn resumes(&mut self, sequence: u64) {
        let call = Call::Subscribe {
            framework: Some(self.framework.clone()),
            description: describe_framework(),
            stand_by: false,
            resume: Some(Resume {
                epoch: Epoch(1),
                sequence,
            }),
            create: false,
        };
        self.session = self.world.opens("p", call);
    }

    /// Of which tasks which statuses were told since the last time.
    fn statuses(&mut self) -> Vec<(String, u64)> {
        let told = self.world.drain(self.session).into_iter();
        told.filter_map(|told| match told {
            Told::Updated(status) => Some((status.task.to_string(), status.number)),
            _ => None,
        })
        .collect()
    }

    /// The next step of what goes on in pieces, if anything does.
    fn passes_a_piece(&mut self) -> bool {
        let Some(at) = self.world.timers.get(&TimerKey::Telling).copied() else {
            return false;
        };
        let wait = at.saturating_sub(self.world.now.mono_ns);
        assert!(wait <= 10_000_000, "{wait} ns");
        self.world.pass(Duration::from_nanos(wait));
        true
    }

    /// All pieces that are left, none longer than a step may be.
    fn passes_all(&mut self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        while self.passes_a_piece() {
            let piece = self.statuses();
            assert!(piece.len() <= SNAPSHOT_TASKS_PER_STEP, "{}", piece.len());
            all.extend(piece);
        }
        all
    }

    fn tasks(&self) -> usize {
        self.world.core.tasks.count_of(&self.framework)
    }

    /// An offer of the agent.
    fn offer(&mut self) -> OfferId {
        let session = self.session;
        self.world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
        self.world.pass_ms(20);
        self.world.offers(session).remove(0).id
    }

    /// Which requests were answered, and how, since the last time.
    fn answers(&mut self) -> Vec<(u64, Answer)> {
        let told = self.world.drain(self.session).into_iter();
        told.filter_map(|told| match told {
            Told::Answered { request, answer } => Some((request, answer)),
            _ => None,
        })
        .collect()
    }
}

fn in_order(tasks: std::ops::Range<usize>, number: u64) -> Vec<(String, u64)> {
    tasks.map(|task| (name(task), number)).collect()
}

#[test]
fn who_has_not_read_much_of_a_snapshot_is_told_the_rest_slowly_and_all_of_it() {
    let mut stage = stage(TaskState::Running);
    stage.world.core.sessions.unread_max.0 = 500;
    for reads in [true, false] {
        stage.world.drain(stage.session);
        stage.session = stage.world.resubscribe(&stage.framework);
        let mut pieces = vec![stage.statuses().len()];
        while stage.world.core.sessions.open[&stage.session]
            .telling
            .is_catching_up()
        {
            if reads {
                stage.world.acknowledge_all(stage.session);
            }
            assert!(stage.passes_a_piece());
            pieces.push(stage.statuses().len());
        }
        assert!(pieces.iter().sum::<usize>() >= MANY, "{pieces:?}");
        let slow = pieces.iter().filter(|piece| **piece == 100).count();
        let expected = match reads {
            true => 0,
            false => (MANY - SNAPSHOT_TASKS_PER_STEP) / 100,
        };
        assert_eq!(slow, expected, "{pieces:?}");
    }
}

#[test]
fn a_long_tail_is_told_in_pieces_in_its_order_and_what_comes_meanwhile_after_it() {
    let mut stage = stage(TaskState::Running);
    stage.breaks();
    stage.resumes(stage.kept);
    let mut told = stage.statuses();
    assert_eq!(told.len(), SNAPSHOT_TASKS_PER_STEP, "a piece of it");
    // Of one that was told and of one that was not yet.
    let news = [0, MANY - 1].map(|task| says(task, 3, TaskState::Running));
    stage.updates(news.into());
    let tasks = vec![task_id(&name(MANY - 1))];
    stage.calls(900, Call::Reconcile { tasks });
    assert_eq!(stage.world.drain(stage.session), [], "they wait");
    told.extend(stage.passes_all());
    let mut expected = in_order(0..MANY, 2);
    expected.extend([(name(0), 3), (name(MANY - 1), 3)]);
    // The answer to the question.
    expected.push((name(MANY - 1), 0));
    assert_eq!(told, expected);
    stage.world.acknowledge_all(stage.session);
    stage.passes_all();
    // The agent is told up to which number, in any case up to the last.
    let acknowledged = stage.world.acknowledged(stage.link).into_iter();
    let acknowledged: BTreeMap<String, u64> = acknowledged.collect();
    assert_eq!(acknowledged.len(), MANY);
    assert_eq!((acknowledged[&name(0)], acknowledged[&name(1)]), (3, 2));
}

#[test]
fn a_tail_that_is_cut_short_goes_on_in_the_next_session() {
    let mut stage = stage(TaskState::Running);
    stage.breaks();
    stage.resumes(stage.kept);
    assert_eq!(stage.statuses().len(), SNAPSHOT_TASKS_PER_STEP);
    // The first ten are kept.
    let last = stage.world.sequence(stage.session);
    let kept = last - u64::try_from(SNAPSHOT_TASKS_PER_STEP).expect("small") + 10;
    stage.breaks();
    let news = [5, 500, MANY - 1].map(|task| says(task, 3, TaskState::Running));
    stage.updates(news.into());
    stage.resumes(kept);
    let mut told = stage.statuses();
    assert_eq!(told.len(), SNAPSHOT_TASKS_PER_STEP);
    told.extend(stage.passes_all());
    let mut expected = in_order(10..MANY, 2);
    expected.extend([5, 500, MANY - 1].map(|task| (name(task), 3)));
    assert_eq!(told, expected);
}

#[test]
fn what_is_kept_of_much_is_forgotten_in_pieces() {
    let mut stage = stage(TaskState::Finished);
    stage.world.acknowledge_all(stage.session);
    let mut left = vec![stage.tasks()];
    while stage.passes_a_piece() {
        left.push(stage.tasks());
    }
    assert_eq!(left.first(), Some(&MANY), "nothing in the step of the call");
    assert_eq!(left.last(), Some(&0));
    let steps = left.windows(2).map(|pair| pair[0] - pair[1]);
    assert!(steps.clone().all(|step| step <= SNAPSHOT_TASKS_PER_STEP));
    assert_eq!(stage.world.acknowledged(stage.link).len(), MANY);
    assert_eq!(stage.statuses(), []);
    stage.breaks();
    stage.resumes(stage.kept);
    assert_eq!(stage.statuses(), [], "all of it is kept");
}

#[test]
fn few_are_forgotten_at_once_and_as_many_calls_as_come_are_no_longer_step() {
    let mut stage = stage(TaskState::Finished);
    let each = 400;
    let mut left = Vec::new();
    for call in 1..=4 {
        let sequence = stage.kept + call * each;
        stage.world.acknowledge(stage.session, sequence);
        left.push(MANY - stage.tasks());
    }
    assert_eq!(left, [400, 800, 800, 800], "within one step");
    stage.passes_all();
    assert_eq!(MANY - stage.tasks(), 1_600);
}

#[test]
fn whoever_subscribes_anew_is_not_told_what_was_acknowledged_before() {
    for resumes in [true, false] {
        let mut stage = stage(TaskState::Finished);
        stage.world.acknowledge_all(stage.session);
        assert_eq!(stage.tasks(), MANY);
        stage.breaks();
        match resumes {
            true => stage.resumes(stage.kept),
            false => stage.session = stage.world.resubscribe(&stage.framework),
        }
        assert_eq!(stage.statuses(), []);
        assert_eq!(stage.passes_all(), []);
        assert_eq!(stage.tasks(), 0);
    }
}

#[test]
fn a_launch_under_an_id_whose_end_is_acknowledged_waits_until_that_is_forgotten_and_calls_after_it()
{
    let mut stage = stage(TaskState::Finished);
    let offer = stage.offer();
    stage.world.drain(stage.session);
    stage.world.orders(stage.link);
    stage.world.acknowledge_all(stage.session);
    // What asks for no id goes on.
    let none = Call::Decline {
        offers: vec![OfferId::new("none").expect("an id")],
        exclude_for: Duration::from_secs(1),
    };
    stage.calls(899, none);
    assert_eq!(stage.answers(), [(899, Answer::Done)]);
    let last = name(MANY - 1);
    let launch = Operation::launch(spec(&last, "cpus:1"));
    let accept = Call::Accept {
        offers: vec![offer],
        operations: vec![launch],
    };
    stage.calls(900, accept);
    let kill = Call::Kill {
        task: task_id(&last),
        grace: None,
    };
    stage.calls(901, kill.clone());
    assert_eq!(stage.answers(), [], "both wait");
    for request in 0..CALLS_HELD_MAX as u64 {
        stage.calls(1_000 + request, kill.clone());
    }
    let refused = stage.answers();
    assert_eq!(refused.len(), 2, "so many may wait");
    for (_, answer) in refused {
        let Answer::Refused(problem) = answer else {
            panic!("{answer:?}")
        };
        assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
        assert!(problem.retry_after.is_some());
    }
    let mut answers = Vec::new();
    while stage.passes_a_piece() {
        answers.extend(stage.answers());
    }
    let Some((900, Answer::Accepted(results))) = answers.first() else {
        panic!("{answers:?}")
    };
    let launched = results.iter().flat_map(|result| result.launches());
    assert!(launched.into_iter().all(|launch| launch.outcome.is_ok()));
    let rest: Vec<u64> = answers[1..].iter().map(|(request, _)| *request).collect();
    let held = 901..902;
    let held = held.chain(1_000..1_000 + CALLS_HELD_MAX as u64 - 2);
    assert!(rest.into_iter().eq(held), "in their order");
    let kills = stage.world.kills(stage.link);
    assert!(kills.iter().all(|(task, _)| *task == last) && !kills.is_empty());
    assert_eq!(stage.tasks(), 1);
}

#[test]
fn what_is_above_the_rate_is_not_looked_at_before_it_is_refused() {
    let mut stage = stage(TaskState::Finished);
    let offer = stage.offer();
    stage.world.drain(stage.session);
    stage.world.acknowledge_all(stage.session);
    stage.world.core.config.operations_per_second = 1;
    let none = Call::Decline {
        offers: vec![OfferId::new("none").expect("an id")],
        exclude_for: Duration::from_secs(1),
    };
    stage.calls(900, none);
    assert_eq!(stage.answers(), [(900, Answer::Done)]);
    let launch = Operation::launch(spec(&name(MANY - 1), "cpus:1"));
    let accept = Call::Accept {
        offers: vec![offer],
        operations: vec![launch],
    };
    stage.calls(901, accept);
    let answers = stage.answers();
    let [(901, Answer::Refused(problem))] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
}

/// What of a framework's end a fact shows.
fn end_shown(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Task(row) if row.told.state.is_terminal() => Some(format!(
            "{} {}: {}",
            row.task, row.told.state, row.told.reason
        )),
        Fact::FrameworkGone { .. } => Some("gone".to_owned()),
        _ => None,
    }
}

/// A framework with many tasks is torn down, and its agent registers anew meanwhile or not.
fn check_an_ending(registers_anew: bool) {
    let mut stage = stage(TaskState::Running);
    let other = stage.world.framework();
    stage.world.orders(stage.link);
    stage.calls(900, Call::Teardown);
    assert!(
        stage
            .world
            .closed(stage.session)
            .is(code::FRAMEWORK_COMPLETED)
    );
    let mut kills = stage.world.kills(stage.link).len();
    assert_eq!(kills, ENDED_TASKS_AT_ONCE_MAX);
    let again = Some(stage.framework.clone());
    let again = stage.world.subscribe_as("p", again, describe_framework());
    assert!(stage.world.closed(again).is(code::FRAMEWORK_COMPLETED));
    if registers_anew {
        let running = (0..MANY).map(|task| {
            let spec = spec(&name(task), "cpus:0.001");
            reported(
                &stage.framework,
                spec,
                incarnation(task),
                2,
                TaskState::Running,
            )
        });
        let (running, agent) = (running.collect(), "c-a0-1".parse().expect("an id"));
        stage.world.lose(stage.link);
        stage.link = stage.world.returns(&agent, "a", "cpus:40", running);
        kills = stage.world.kills(stage.link).len();
        assert_eq!(kills, MANY);
    }
    let mut pieces = 0;
    while stage.passes_a_piece() {
        pieces += 1;
        let piece = stage.world.kills(stage.link).len();
        assert!(
            piece <= SNAPSHOT_TASKS_PER_STEP / ENDED_TASK_STEPS,
            "{piece}"
        );
        kills += piece;
    }
    assert_eq!((kills, stage.tasks()), (MANY, 0), "each once");
    assert!(pieces > 2, "{pieces}");
    let mut shown: Vec<_> = stage.world.facts.iter().filter_map(end_shown).collect();
    assert_eq!(shown.pop().as_deref(), Some("gone"));
    shown.sort();
    let killed = (0..MANY).map(|task| format!("{} killed: framework_removed", name(task)));
    assert_eq!(shown, killed.collect::<Vec<_>>(), "each once");
    // What runs yet is not offered.
    stage.world.demand(other, vec![want("w", 1, "cpus:39", 0)]);
    stage.world.pass_s(1);
    assert!(stage.world.offers(other).is_empty());
    let ended = (0..MANY).map(|task| says(task, 3, TaskState::Killed));
    stage.updates(ended.collect());
    stage.world.pass_s(1);
    assert_eq!(stage.world.offers(other).len(), 1);
}

#[test]
fn the_many_tasks_of_a_framework_that_is_over_are_killed_in_pieces_and_counted_until_they_are_gone()
{
    for registers_anew in [false, true] {
        check_an_ending(registers_anew);
    }
}
