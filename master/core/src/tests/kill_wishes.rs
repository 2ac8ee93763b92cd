//! Kills in a new term, before the agents are back that may run what is to be killed.

use std::time::Duration;

use proffer_model::link::{AgentTask, ToAgent};
use proffer_model::session::{Answer, Call, Event as Told};
use proffer_model::{AgentId, Epoch, FrameworkId, Incarnation, Reason, TaskState, code};

use super::world::{World, reported, spec, status, task_id};
use crate::event::{Event, LinkId, SessionId};
use crate::limits::{KILLS_KEPT_MAX, KILLS_KEPT_RETRY};

const GRACE: Duration = Duration::from_secs(7);

/// The second term of a master with two agents, `a` and `b`, that are awaited; task `t` ran on `a`.
struct Stage {
    world: World,
    agents: [AgentId; 2],
    session: SessionId,
    framework: FrameworkId,
    ran: Incarnation,
}

fn kill(task: &str) -> Call {
    Call::Kill {
        task: task_id(task),
        grace: Some(GRACE),
    }
}

fn stage() -> Stage {
    let mut world = World::new();
    let a = world.agent("a", "cpus:4");
    let a = world.welcomed(a);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let ran = world.run(session, spec("t", "cpus:1"));
    let b = world.agent("b", "cpus:4");
    let agents = [a, world.welcomed(b)];
    let mut world = World::term(2, world.written);
    let session = world.resubscribe(&framework);
    world.drain(session);
    Stage {
        world,
        agents,
        session,
        framework,
        ran,
    }
}

impl Stage {
    /// What is told in the step of the call, besides its answer.
    fn kills(&mut self, task: &str) -> Vec<TaskState> {
        let request = self.world.fresh();
        let told = self.world.numbered(self.session, request, kill(task));
        let is_done =
            |told: &Told| matches!(told, Told::Answered { answer, .. } if *answer == Answer::Done);
        assert!(told.iter().any(is_done), "{told:?}");
        states(told)
    }

    fn runs(&self, task: &str, incarnation: Incarnation) -> AgentTask {
        let spec = spec(task, "cpus:1");
        reported(&self.framework, spec, incarnation, 1, TaskState::Running)
    }

    fn returns(&mut self, agent: usize, tasks: Vec<AgentTask>) -> LinkId {
        let (host, agent) = (["a", "b"][agent], self.agents[agent].clone());
        self.world.returns(&agent, host, "cpus:4", tasks)
    }

    /// What the framework has been told of tasks since it was asked last, and is told in the next moments.
    fn told(&mut self) -> Vec<TaskState> {
        self.world.pass_ms(50);
        states(self.world.drain(self.session))
    }
}

fn states(told: Vec<Told>) -> Vec<TaskState> {
    let told = told.into_iter();
    told.filter_map(|told| match told {
        Told::Updated(status) => Some(status.state),
        _ => None,
    })
    .collect()
}

fn killed() -> Vec<(String, Reason)> {
    vec![("t".to_owned(), Reason::KillRequested)]
}

#[test]
fn what_an_agent_brings_back_is_killed_though_it_was_not_known_yet() {
    for is_script in [false, true] {
        let mut stage = stage();
        match is_script {
            true => {
                let framework = stage.framework.clone();
                let answer = stage.world.unary(&framework, 7, kill("t"));
                assert_eq!(answer, Ok(Vec::new()));
            }
            false => assert_eq!(stage.kills("t"), []),
        }
        let other = stage.returns(1, Vec::new());
        assert_eq!(stage.told(), [], "another agent may run it");
        let link = stage.returns(0, vec![stage.runs("t", stage.ran)]);
        let orders = stage.world.orders(link).into_iter();
        let graces = orders.filter_map(|order| match order {
            ToAgent::Kill {
                incarnation, grace, ..
            } => Some((incarnation, grace)),
            _ => None,
        });
        assert_eq!(graces.collect::<Vec<_>>(), [(stage.ran, Some(GRACE))]);
        // As any other, it is repeated until the agent has heard it.
        stage.world.lose(link);
        let link = stage.returns(0, vec![stage.runs("t", stage.ran)]);
        assert_eq!(stage.world.kills(link), killed());
        let framework = stage.framework.clone();
        let ended = status("t", stage.ran, 2, TaskState::Killed);
        stage.world.updates(link, &framework, ended);
        assert_eq!(stage.told(), [TaskState::Killed]);
        assert_eq!(stage.world.kills(other), []);
    }
}

#[test]
fn what_no_agent_brings_back_is_told_when_none_is_awaited() {
    let mut stage = stage();
    assert_eq!(stage.kills("gone"), []);
    let framework = stage.framework.clone();
    let script = stage.world.unary(&framework, 7, kill("script"));
    assert_eq!(script, Ok(Vec::new()));
    stage.returns(0, vec![stage.runs("t", stage.ran)]);
    assert_eq!(stage.told(), []);
    stage.returns(1, Vec::new());
    assert_eq!(
        stage.told(),
        [TaskState::Lost],
        "and not what a script asked"
    );
    assert_eq!(stage.told(), []);
    // From here on it is said at once, and nothing is kept.
    assert_eq!(stage.kills("gone"), [TaskState::Lost]);
    let later = Incarnation::of(Epoch(1), 9);
    let link = stage.returns(1, vec![stage.runs("gone", later)]);
    assert_eq!(stage.world.kills(link), []);
}

#[test]
fn what_an_unreachable_agent_may_run_is_told_so() {
    let mut stage = stage();
    assert_eq!(stage.kills("t"), []);
    let link = stage.returns(1, Vec::new());
    stage.world.pass_s(100);
    assert_eq!(stage.told(), [TaskState::Unreachable]);
    assert_eq!(stage.world.kills(link), []);
}

#[test]
fn what_is_launched_meanwhile_under_the_same_id_is_not_meant() {
    let mut stage = stage();
    let new = stage.returns(1, Vec::new());
    assert_eq!(stage.kills("t"), []);
    stage.world.pass_s(60);
    let launched = stage.world.run(stage.session, spec("t", "cpus:1"));
    stage.world.drain(stage.session);
    // The older one is ended, the new one is not, and nothing is said to be lost.
    let old = stage.returns(0, vec![stage.runs("t", stage.ran)]);
    assert_eq!(stage.world.kills(old), killed());
    assert_eq!(stage.told(), []);
    stage.world.lose(new);
    let new = stage.returns(1, vec![stage.runs("t", launched)]);
    assert_eq!(stage.world.kills(new), []);
}

#[test]
fn an_older_launch_is_ended_though_a_newer_one_has_come_and_gone() {
    let mut stage = stage();
    let new = stage.returns(1, Vec::new());
    assert_eq!(stage.kills("t"), []);
    stage.world.pass_s(60);
    let launched = stage.world.run(stage.session, spec("t", "cpus:1"));
    let framework = stage.framework.clone();
    let ended = status("t", launched, 1, TaskState::Finished);
    stage.world.updates(new, &framework, ended);
    stage.world.acknowledge_all(stage.session);
    stage.world.drain(stage.session);
    let old = stage.returns(0, vec![stage.runs("t", stage.ran)]);
    assert_eq!(stage.world.kills(old), killed());
}

#[test]
fn of_two_launches_of_earlier_terms_both_are_ended() {
    let mut stage = stage();
    let newer = Incarnation(stage.ran.0 + 1);
    let older = stage.returns(0, vec![stage.runs("t", stage.ran)]);
    assert_eq!(stage.kills("t"), []);
    assert_eq!(stage.world.kills(older), killed());
    let newer = stage.returns(1, vec![stage.runs("t", newer)]);
    assert_eq!(stage.world.kills(newer), killed());
}

/// Agent `a` comes back with an older launch that has ended, or is ended, before agent `b` does with a later one that runs.
fn check_that_the_later_one_is_ended(state: TaskState, is_killed_first: bool) {
    let mut stage = stage();
    let framework = stage.framework.clone();
    if is_killed_first {
        assert_eq!(stage.kills("t"), []);
    }
    let older = AgentTask {
        acknowledged: 0,
        ..reported(&framework, spec("t", "cpus:1"), stage.ran, 1, state)
    };
    let link = stage.returns(0, vec![older]);
    stage
        .world
        .updates(link, &framework, status("t", stage.ran, 1, state));
    if !is_killed_first {
        stage.kills("t");
    }
    if !state.is_terminal() {
        assert_eq!(stage.world.kills(link), killed());
        let ended = status("t", stage.ran, 2, TaskState::Killed);
        stage.world.updates(link, &framework, ended);
    }
    stage.world.acknowledge_all(stage.session);
    stage.told();
    let newer = Incarnation(stage.ran.0 + 1);
    let link = stage.returns(1, vec![stage.runs("t", newer)]);
    assert_eq!(
        stage.world.kills(link),
        killed(),
        "{state} {is_killed_first}"
    );
    stage
        .world
        .updates(link, &framework, status("t", newer, 2, TaskState::Killed));
    assert_eq!(stage.told(), [TaskState::Killed], "and not that it is lost");
}

#[test]
fn a_later_launch_is_ended_though_an_older_one_was_brought_back_before_it() {
    for state in [TaskState::Finished, TaskState::Running] {
        for is_killed_first in [true, false] {
            check_that_the_later_one_is_ended(state, is_killed_first);
        }
    }
}

#[test]
fn who_has_no_session_then_is_told_in_the_next_one_and_who_is_over_wishes_nothing() {
    let mut stage = stage();
    assert_eq!(stage.kills("gone"), []);
    let session = stage.session;
    stage.world.step(Event::SessionClosed { session });
    stage.returns(0, Vec::new());
    stage.returns(1, Vec::new());
    stage.world.pass_ms(50);
    stage.session = stage.world.resubscribe(&stage.framework);
    assert_eq!(stage.told(), [TaskState::Lost]);
    let mut stage = self::stage();
    assert_eq!(stage.kills("t"), []);
    stage.world.call(stage.session, Call::Teardown);
    stage.returns(1, Vec::new());
    let link = stage.returns(0, vec![stage.runs("t", stage.ran)]);
    let removed = vec![("t".to_owned(), Reason::FrameworkRemoved)];
    assert_eq!(stage.world.kills(link), removed);
}

#[test]
fn wishes_are_bounded_told_in_pieces_and_what_is_refused_may_be_tried_again() {
    let mut stage = stage();
    let framework = stage.framework.clone();
    for number in 0..KILLS_KEPT_MAX {
        let key = (framework.clone(), task_id(&format!("x{number}")));
        let kept = stage.world.core.keep_kill(&key, None, true);
        assert_eq!(kept, Ok(()));
    }
    for _ in 0..2 {
        let told = stage.world.numbered(stage.session, 900, kill("t"));
        let [Told::Answered { answer, .. }] = told.as_slice() else {
            panic!("{told:?}")
        };
        let Answer::Refused(problem) = answer else {
            panic!("{answer:?}")
        };
        assert!(problem.is(code::SESSION_RATE_LIMITED), "{problem}");
        assert_eq!(problem.retry_after, Some(KILLS_KEPT_RETRY));
    }
    let refused = stage.world.unary(&framework, 7, kill("t"));
    assert!(refused.expect_err("refused").is(code::SESSION_RATE_LIMITED));
    assert_eq!(stage.kills("x1"), [], "it is kept already");
    stage.returns(0, vec![stage.runs("t", stage.ran)]);
    stage.world.drain(stage.session);
    stage.returns(1, Vec::new());
    let first = states(stage.world.drain(stage.session)).len();
    assert!(first < KILLS_KEPT_MAX / 10, "{first}");
    stage.world.pass_s(2);
    let rest = states(stage.world.drain(stage.session)).len();
    assert_eq!(first + rest, KILLS_KEPT_MAX);
    let told = stage.world.numbered(stage.session, 900, kill("t"));
    assert_eq!(states(told), [], "it lives, and is killed");
}
