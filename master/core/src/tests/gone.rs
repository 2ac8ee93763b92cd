//! Agents that an operator has marked gone: what is durable before what, what frameworks and agents hear, and that drains,
//! marks and reactivations in any order are done or refused and never stuck.

use std::time::Duration;

use proffer_model::link::{Hello, ToAgent};
use proffer_model::session::{Call, Event as Told};
use proffer_model::{AgentId, Epoch, FrameworkId, Incarnation, Problem, Reason, TaskState, code};

use super::world::{World, describe, r, reported, spec, status, task_id};
use crate::effect::{After, Fact};
use crate::event::{Event, LinkId, OperatorCall, SessionId, TimerKey};

/// An agent with a task that runs and one that has ended and is not acknowledged, and a framework.
struct Stage {
    world: World,
    link: LinkId,
    agent: AgentId,
    session: SessionId,
    framework: FrameworkId,
    running: Incarnation,
}

fn stage() -> Stage {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:4000;disk:100");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let running = world.run(session, spec("one", "cpus:1;mem:100"));
    let now = status("one", running, 1, TaskState::Running);
    world.updates(link, &framework, now);
    let over = world.run(session, spec("two", "cpus:1;mem:100"));
    world.acknowledge_all(session);
    let now = status("two", over, 1, TaskState::Finished);
    world.updates(link, &framework, now);
    world.drain(session);
    world.orders(link);
    Stage {
        world,
        link,
        agent,
        session,
        framework,
        running,
    }
}

impl Stage {
    fn ask(&mut self, call: fn(AgentId) -> OperatorCall) -> Result<(), Problem> {
        let reply = self.world.operator(call(self.agent.clone()));
        reply.map(drop)
    }

    fn is_gone(&self) -> bool {
        let registry = self.world.core.registry();
        let is_there = registry.agents.contains_key(&self.agent);
        assert_ne!(is_there, registry.gone.contains_key(&self.agent));
        !is_there
    }
}

fn gone(agent: AgentId) -> OperatorCall {
    OperatorCall::MarkAgentGone { agent }
}

fn drain(agent: AgentId) -> OperatorCall {
    let (deadline, marks_gone) = (None, false);
    OperatorCall::DrainAgent {
        agent,
        deadline,
        marks_gone,
    }
}

fn drain_away(agent: AgentId) -> OperatorCall {
    let (deadline, marks_gone) = (Some(Duration::from_secs(60)), true);
    OperatorCall::DrainAgent {
        agent,
        deadline,
        marks_gone,
    }
}

fn deactivate(agent: AgentId) -> OperatorCall {
    OperatorCall::DeactivateAgent { agent }
}

fn reactivate(agent: AgentId) -> OperatorCall {
    OperatorCall::ReactivateAgent { agent }
}

#[test]
fn a_gone_agent_is_durable_before_anybody_hears_and_its_id_is_refused_for_ever() {
    let mut stage = stage();
    stage.ask(gone).expect("gone");
    assert!(stage.is_gone());
    let told = stage.world.told.iter();
    let lost = told.filter(|(_, told, _)| matches!(told, Told::Updated(_)));
    let lost: Vec<_> = lost.map(|(_, _, after)| *after).collect();
    assert!(lost.iter().all(|after| *after > After::Nothing), "{lost:?}");
    let ended = ("one".to_owned(), TaskState::Lost, Reason::AgentGone, 0);
    assert_eq!(
        stage.world.statuses(stage.session),
        [ended],
        "and not the other"
    );
    let orders = stage.world.ordered.iter();
    let orders: Vec<_> = orders.filter(|(to, ..)| *to == stage.link).collect();
    let [(_, ToAgent::Refused(problem), after)] = orders.as_slice() else {
        panic!("{orders:?}")
    };
    assert!(problem.is(code::AGENT_GONE) && problem.hint.contains("work directory"));
    assert!(*after > After::Nothing && stage.world.closed_links.contains(&stage.link));
    assert!(
        stage
            .world
            .facts
            .iter()
            .any(|fact| { matches!(fact, Fact::AgentGone { tasks: 1, .. }) })
    );
    let tasks = vec![task_id("one")];
    stage.world.drain(stage.session);
    stage.world.call(stage.session, Call::Reconcile { tasks });
    let again = ("one".to_owned(), TaskState::Lost, Reason::AgentGone, 0);
    assert_eq!(stage.world.statuses(stage.session), [again]);
    // What it says after all changes nothing, and it may not come back, in this term or the next.
    let late = status("one", stage.running, 2, TaskState::Finished);
    stage.world.updates(stage.link, &stage.framework, late);
    stage.world.acknowledge_all(stage.session);
    let task = reported(
        &stage.framework,
        spec("one", "cpus:1"),
        stage.running,
        2,
        TaskState::Running,
    );
    let back = stage
        .world
        .returns(&stage.agent, "a", "cpus:4", vec![task.clone()]);
    assert!(stage.world.refused(back).is(code::AGENT_GONE));
    // A master of an earlier term has nothing to say of it.
    let later = Hello {
        agent: Some(stage.agent.clone()),
        cluster: None,
        epoch: Epoch(9),
        description: describe("a", "cpus:4"),
        tasks: Vec::new(),
        executors: Vec::new(),
        number: 0,
    };
    let link = stage.world.hello(later);
    assert!(stage.world.refused(link).is(code::EPOCH_STALE));
    let mut next = World::term(2, stage.world.core.registry().clone());
    let back = next.returns(&stage.agent, "a", "cpus:4", vec![task]);
    assert!(next.refused(back).is(code::AGENT_GONE));
    // Its host joins as another agent, and the task's id is free.
    let link = stage.world.agent("a", "cpus:4;mem:4000");
    assert_ne!(stage.world.welcomed(link), stage.agent);
    stage
        .world
        .run(stage.session, spec("one", "cpus:1;mem:100"));
}

#[test]
fn offers_reservations_and_executors_of_a_gone_agent_are_no_more() {
    let mut stage = stage();
    let agent = stage.agent.clone();
    let reserved = r("disk(eng):50");
    let operation = proffer_model::operation::Operation::Reserve(reserved);
    let reserve = OperatorCall::Operate { agent, operation };
    stage.world.operator(reserve).expect("reserved");
    stage
        .world
        .demand(stage.session, vec![super::world::want("w", 1, "", 0)]);
    stage.world.pass_ms(20);
    let offers = stage.world.offers(stage.session).len();
    assert!(offers > 0);
    stage.ask(gone).expect("gone");
    assert_eq!(stage.world.rescinded(stage.session).len(), offers);
    stage.world.pass_s(60);
    let registry = stage.world.core.registry();
    assert!(registry.agents.is_empty() && registry.gone.len() == 1);
    let agent = stage.agent.clone();
    let operation = proffer_model::operation::Operation::Unreserve(r("disk(eng):50"));
    let unreserve = OperatorCall::Operate { agent, operation };
    let problem = stage.world.operator(unreserve).expect_err("unknown");
    assert!(problem.is(code::AGENT_UNKNOWN), "{problem}");
}

#[test]
fn unreachable_agents_and_those_not_back_yet_are_marked_too_and_unknown_ones_refused() {
    let mut away = stage();
    away.world.lose(away.link);
    away.world.pass_s(100);
    away.world.drain(away.session);
    away.ask(gone).expect("gone");
    let ended = ("one".to_owned(), TaskState::Lost, Reason::AgentGone, 0);
    assert!(away.world.statuses(away.session).contains(&ended));
    away.ask(gone).expect("done already");
    // In a new term nobody waits for it any more, and frameworks hear that they know all of it.
    let stage = stage();
    let mut world = World::term(2, stage.world.core.registry().clone());
    let session = world.resubscribe(&stage.framework);
    world.pass_ms(50);
    world.drain(session);
    world.operator(gone(stage.agent.clone())).expect("gone");
    let told = world.drain(session);
    assert!(
        told.contains(&Told::AgentSettled(stage.agent.clone())),
        "{told:?}"
    );
    let tasks = vec![task_id("one")];
    world.call(session, Call::Reconcile { tasks });
    let lost = world.statuses(session);
    assert!(
        lost.iter().any(|(_, state, ..)| *state == TaskState::Lost),
        "{lost:?}"
    );
    let stranger: AgentId = "x".parse().expect("an id");
    let problem = world.operator(gone(stranger)).expect_err("unknown");
    assert!(problem.is(code::AGENT_UNKNOWN) && !problem.hint.is_empty());
}

#[test]
fn a_drain_that_marks_gone_does_so_when_nothing_is_left() {
    let mut stage = stage();
    stage.ask(drain_away).expect("drained");
    stage.world.acknowledge_all(stage.session);
    assert!(!stage.is_gone(), "one runs");
    // The next leader goes on with it.
    let mut world = World::term(2, stage.world.core.registry().clone());
    let session = world.resubscribe(&stage.framework);
    let spec = spec("one", "cpus:1;mem:100");
    let task = reported(&stage.framework, spec, stage.running, 1, TaskState::Running);
    let link = world.returns(&stage.agent, "a", "cpus:4;mem:4000;disk:100", vec![task]);
    let ended = status("one", stage.running, 2, TaskState::Finished);
    world.updates(link, &stage.framework, ended);
    world.acknowledge_all(session);
    assert!(world.core.registry().gone.contains_key(&stage.agent));
    assert!(world.refused(link).is(code::AGENT_GONE));
}

/// A leader of a store of before: the agent was drained then, and had been taken back since, with what runs there.
fn restored() -> (World, SessionId, Stage) {
    let mut before = stage();
    before.ask(drain).expect("drained");
    let mut registry = before.world.core.registry().clone();
    if let Some(entry) = registry.agents.get_mut(&before.agent)
        && let Some(drain) = &mut entry.drain
    {
        drain.is_drained = true;
    }
    let mut world = World::term(2_000, registry);
    let session = world.resubscribe(&before.framework);
    (world, session, before)
}

/// The agent is back with the task, which runs.
fn comes_back(world: &mut World, before: &Stage) -> LinkId {
    let (spec, running) = (spec("one", "cpus:1;mem:100"), before.running);
    let task = reported(&before.framework, spec, running, 1, TaskState::Running);
    world.returns(&before.agent, "a", "cpus:4;mem:4000;disk:100", vec![task])
}

#[test]
fn a_drained_agent_on_which_something_runs_after_all_is_emptied_before_it_is_gone() {
    let (mut world, session, before) = restored();
    let drain = drain_away(before.agent.clone());
    let problem = world.operator(drain.clone()).expect_err("not back yet");
    assert!(problem.is(code::AGENT_AWAY) && !problem.hint.is_empty());
    let link = comes_back(&mut world, &before);
    world.operator(drain).expect("drained again");
    assert!(world.core.registry().agents.contains_key(&before.agent));
    let statuses = world.statuses(session);
    assert!(statuses.iter().all(|(_, state, ..)| !state.is_terminal()));
    let ended = status("one", before.running, 2, TaskState::Finished);
    world.updates(link, &before.framework, ended);
    world.acknowledge_all(session);
    assert!(world.core.registry().gone.contains_key(&before.agent));
}

#[test]
fn a_drained_agent_on_which_something_runs_after_all_is_drained_again() {
    let (mut world, session, before) = restored();
    let is_drained = |world: &World| {
        let drain = world.core.registry().agents[&before.agent].drain;
        drain.expect("a drain").is_drained
    };
    let drain = drain(before.agent.clone());
    world.operator(drain.clone()).expect("as it is");
    assert!(is_drained(&world), "nobody knows of anything there");
    let link = comes_back(&mut world, &before);
    world.drain(session);
    world.operator(drain).expect("drained again");
    assert!(!is_drained(&world), "a task runs");
    let told = world.drain(session);
    let is_wanted = |told: &Told| matches!(told, Told::Reclaim { tasks, .. } if tasks.len() == 1);
    assert!(told.iter().any(is_wanted), "{told:?}");
    let ended = status("one", before.running, 2, TaskState::Finished);
    world.updates(link, &before.framework, ended);
    world.acknowledge_all(session);
    assert!(is_drained(&world));
}

#[test]
fn drained_marked_and_reactivated_in_any_order_an_agent_is_never_stuck() {
    let calls = [gone, drain, drain_away, deactivate, reactivate];
    let count = calls.len().pow(4);
    for number in 0..count {
        let mut stage = stage();
        let mut rest = number;
        for _ in 0..4 {
            let was_gone = stage.is_gone();
            let call = calls[rest % calls.len()];
            rest /= calls.len();
            match stage.ask(call) {
                Ok(()) => {}
                Err(problem) => {
                    assert!(was_gone && problem.is(code::AGENT_UNKNOWN), "{problem}");
                }
            }
            assert!(!was_gone || stage.is_gone(), "what is gone is gone");
        }
        let is_there = !stage.is_gone();
        if is_there {
            // Whatever was asked: when it is empty it is drained, gone or of use, and can be taken back.
            let ended = status("one", stage.running, 2, TaskState::Finished);
            stage.world.updates(stage.link, &stage.framework, ended);
        }
        stage.world.acknowledge_all(stage.session);
        stage.world.pass_s(120);
        if !stage.is_gone() {
            stage.ask(reactivate).expect("reactivated");
            let entry = &stage.world.core.registry().agents[&stage.agent];
            assert!(!entry.is_deactivated && entry.drain.is_none());
            stage.world.run(stage.session, spec("three", "cpus:4"));
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// So much later, the timer comes that forgets.
fn later(world: &mut World, duration: Duration) {
    world.now = world.now.after(duration);
    world.step(Event::TimerFired(TimerKey::Forget));
}

#[test]
fn what_is_gone_or_unreachable_for_two_weeks_is_forgotten_unless_somebody_has_something_there() {
    let mut stage = stage();
    let link = stage.world.agent("b", "cpus:4;disk:100");
    let kept = stage.world.welcomed(link);
    let operation = proffer_model::operation::Operation::Reserve(r("disk(eng):50"));
    let agent = kept.clone();
    let reserve = OperatorCall::Operate { agent, operation };
    stage.world.operator(reserve).expect("reserved");
    let other = stage.world.agent("c", "cpus:4");
    let plain = stage.world.welcomed(other);
    stage.ask(gone).expect("gone");
    stage.world.acknowledge_all(stage.session);
    let mut world = World::term(2, stage.world.core.registry().clone());
    world.pass_s(2_000);
    assert_eq!(
        world.core.registry().agents.len(),
        2,
        "unreachable, and known"
    );
    later(&mut world, 13 * DAY);
    assert!(world.core.registry().gone.contains_key(&stage.agent));
    later(&mut world, DAY);
    let registry = world.core.registry();
    assert!(registry.gone.is_empty() && !registry.agents.contains_key(&plain));
    assert!(
        registry.agents.contains_key(&kept),
        "its reservation is kept"
    );
    // It may come back with its id.
    let back = world.returns(&plain, "c", "cpus:4", Vec::new());
    assert_eq!(world.welcomed(back), plain);
}

#[test]
fn after_a_restore_an_agent_of_later_comes_back_with_its_tasks() {
    let before = stage();
    let registry = before.world.core.registry().clone();
    let mut later = before;
    let link = later.world.agent("late", "cpus:8;mem:8000");
    let late = later.world.welcomed(link);
    let incarnation = later.world.run(later.session, spec("new", "cpus:6"));
    // The store of before, with a term that is greater than any that was.
    let mut world = World::term(2_000, registry);
    let session = world.resubscribe(&later.framework);
    let task = reported(
        &later.framework,
        spec("new", "cpus:6"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&late, "late", "cpus:8;mem:8000", vec![task]);
    assert_eq!(world.welcomed(link), late, "by its id");
    assert_eq!(world.kills(link), [], "and its task runs on");
    assert_eq!(world.used(&late), r("cpus:6"));
    let statuses = world.statuses(session);
    assert!(statuses.iter().all(|(_, state, ..)| !state.is_terminal()));
    // A framework that was made since is not known: what it runs is ended.
    let stranger: FrameworkId = "later-f".parse().expect("an id");
    let task = reported(
        &stranger,
        spec("x", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let other = later.world.agent("other", "cpus:1");
    let other = later.world.welcomed(other);
    let link = world.returns(&other, "other", "cpus:1", vec![task]);
    let ended = [("x".to_owned(), Reason::FrameworkRemoved)];
    assert_eq!(world.kills(link), ended);
}
