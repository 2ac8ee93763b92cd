//! What an event costs, counted and not timed: not more with more tasks of an agent, and with more agents no more in one step.

use proffer_model::link::{Hello, ToMaster};
use proffer_model::registry::{Operation as Change, Registry};
use proffer_model::session::Call;
use proffer_model::{AgentId, AgentState, Epoch, Incarnation, TaskState};

use super::world::{World, describe, r, reported, spec, status};
use crate::agents::Agent;
use crate::event::{Event, TimerKey};
use crate::limits::{
    AGENTS_DECLARED_PER_STEP, AGENTS_FORGOTTEN_INTERVAL, AGENTS_FORGOTTEN_PER_STEP,
    AGENTS_RESTED_PER_STEP, FORGET_STEP_INTERVAL,
};

#[test]
fn what_is_used_is_not_counted_anew_when_tasks_with_ports_end() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:30;ports:[1-30]");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let launched = (1..=20).map(|n| {
        let id = format!("t{n}");
        let task = spec(&id, &format!("cpus:1;ports:[{n}-{n}]"));
        (id, world.run(session, task))
    });
    let launched: Vec<(String, Incarnation)> = launched.collect();
    let before = world.core.agents.recounted;
    let (some, others) = launched.split_at(5);
    for (id, incarnation) in some {
        let ended = status(id, *incarnation, 1, TaskState::Finished);
        world.updates(link, &framework, ended);
    }
    assert_eq!(world.used(&agent), r("cpus:15;ports:[6-20]"));
    // What its framework leaves is nobody's, and held until it has ended.
    world.call(session, Call::Teardown);
    assert_eq!(world.used(&agent), r("cpus:15;ports:[6-20]"));
    for (id, incarnation) in others {
        let ended = status(id, *incarnation, 1, TaskState::Killed);
        world.updates(link, &framework, ended);
    }
    assert_eq!(world.used(&agent), r(""));
    assert_eq!(world.core.agents.recounted, before);
}

#[test]
fn what_tasks_that_overlap_hold_is_counted_anew_when_one_of_them_ends() {
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let link = world.agent("a", "cpus:9;ports:[1-9]");
    let agent = world.welcomed(link);
    let tasks = ["[1-2]", "[2-3]", "[7-7]"];
    let tasks = (1..).zip(tasks).map(|(number, ports)| {
        let task = spec(&format!("t{number}"), &format!("cpus:1;ports:{ports}"));
        reported(&framework, task, Incarnation(number), 1, TaskState::Running)
    });
    let link = world.returns(&agent, "a", "cpus:9;ports:[1-9]", tasks.collect());
    let mut before = world.core.agents.recounted;
    for (number, left, recounted) in [
        (1, "cpus:2;ports:[2-3,7-7]", 2),
        (2, "cpus:1;ports:[7-7]", 0),
        (3, "", 0),
    ] {
        let ended = status(
            &format!("t{number}"),
            Incarnation(number),
            2,
            TaskState::Finished,
        );
        world.updates(link, &framework, ended);
        assert_eq!(world.used(&agent), r(left));
        let after = world.core.agents.recounted;
        assert_eq!(after - before, recounted, "t{number}");
        before = after;
    }
}

#[test]
fn ports_of_many_agents_that_have_rested_come_back_some_in_each_step() {
    const AGENTS: usize = AGENTS_RESTED_PER_STEP + 20;
    let mut world = World::new();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut links = Vec::new();
    for number in 1.. {
        if links.len() == AGENTS {
            break;
        }
        let (id, incarnation) = (format!("t{number}"), Incarnation(number));
        let task = spec(&id, "cpus:1;ports:[1-2]");
        let task = reported(&framework, task, incarnation, 1, TaskState::Running);
        let link = world.hello(Hello {
            agent: None,
            cluster: None,
            epoch: Epoch(0),
            description: describe(&format!("a{number}"), "cpus:1;ports:[1-2]"),
            tasks: vec![task],
            executors: Vec::new(),
            number: 0,
        });
        links.push((link, id, incarnation));
    }
    for (link, id, incarnation) in links {
        let ended = status(&id, incarnation, 2, TaskState::Finished);
        world.updates(link, &framework, ended);
    }
    assert_eq!(world.core.agents.resting.len(), AGENTS);
    world.now = world.now.after(2 * world.core.config.port_rest);
    for left in [AGENTS - AGENTS_RESTED_PER_STEP, 0] {
        world.step(Event::TimerFired(TimerKey::PortRest));
        assert_eq!(world.core.agents.resting.len(), left);
        let timer = world.timers.get(&TimerKey::PortRest);
        let is_due = timer.is_some_and(|at| *at <= world.now.mono_ns);
        assert!(is_due || left == 0, "it goes on at once");
    }
}

#[test]
fn agents_are_looked_at_for_silence_some_in_each_step() {
    let mut world = World::new();
    for number in 0..5 {
        world.agent(&format!("a{number}"), "cpus:1");
    }
    world.core.silence.looks_max = 2;
    let interval = world.core.config.heartbeat_interval;
    world.now = world.now.after(2 * world.core.config.suspect_after);
    let begun = world.now;
    for (suspect, next) in [(2, 0), (4, 0), (5, 1)] {
        world.step(Event::TimerFired(TimerKey::Silence));
        let agents = world.core.agents.by_id.values();
        let is_suspect = |agent: &&Agent| agent.state == AgentState::Suspect;
        assert_eq!(agents.filter(is_suspect).count(), suspect);
        let next = begun.after(next * interval).mono_ns;
        assert_eq!(world.timers[&TimerKey::Silence], next);
    }
}

#[test]
fn agents_are_declared_unreachable_some_in_each_step() {
    const SILENT: usize = AGENTS_DECLARED_PER_STEP + 2;
    let mut world = World::new();
    world.core.config.loss_percent = 100;
    world.core.config.removal_percent = 100;
    let links: Vec<_> = (0..SILENT)
        .map(|number| world.agent(&format!("a{number}"), "cpus:1"))
        .collect();
    world.now = world.now.after(world.core.config.unreachable_after);
    let interval = world.core.config.heartbeat_interval;
    let begun = world.now;
    for (unreachable, next) in [(AGENTS_DECLARED_PER_STEP, 0), (SILENT - 1, 1)] {
        world.step(Event::TimerFired(TimerKey::Silence));
        let agents = world.core.agents.by_id.values();
        let is_lost = |agent: &&Agent| agent.state == AgentState::Unreachable;
        assert_eq!(agents.filter(is_lost).count(), unreachable);
        let next = begun.after(next * interval).mono_ns;
        assert_eq!(world.timers[&TimerKey::Silence], next);
        // One that is heard meanwhile is not.
        let message = ToMaster::Heartbeat;
        let last = links.last().copied().expect("there are some");
        world.step(Event::LinkMessage {
            link: last,
            message,
        });
    }
}

#[test]
fn agents_are_forgotten_some_in_each_step() {
    let mut registry = Registry::default();
    for number in 0..AGENTS_FORGOTTEN_PER_STEP + 10 {
        let agent: AgentId = format!("a{number}").parse().expect("an id");
        registry.apply(&Change::AdmitAgent {
            agent: agent.clone(),
            description: describe("a", "cpus:1").into(),
            volumes_after: 0,
        });
        registry.apply(&Change::MarkUnreachable {
            agent,
            since_wall_ms: 1,
            frameworks: None,
        });
    }
    let mut world = World::term(1, registry);
    world.step(Event::TimerFired(TimerKey::Forget));
    assert_eq!(world.core.registry().agents.len(), 10);
    world.pass(FORGET_STEP_INTERVAL);
    assert_eq!(world.core.registry().agents.len(), 0);
    let next = world.now.after(AGENTS_FORGOTTEN_INTERVAL).mono_ns;
    assert_eq!(world.timers[&TimerKey::Forget], next);
}
