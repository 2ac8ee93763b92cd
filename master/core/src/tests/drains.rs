//! Draining and what is wanted back: who is told what and when, what is killed when, and what outlives a leader.

use std::time::Duration;

use proffer_model::session::{Call, Event as Told};
use proffer_model::{AgentId, FrameworkId, Incarnation, Reason, TaskState};

use super::world::{World, describe_framework, reported, spec, status, want};
use crate::effect::Fact;
use crate::event::{LinkId, OperatorCall, SessionId};

/// Tasks, reason and milliseconds left.
type Wanted = (Vec<String>, Reason, Option<u128>);

/// An agent with two tasks that run, and another without.
struct Stage {
    world: World,
    link: LinkId,
    agent: AgentId,
    session: SessionId,
    framework: FrameworkId,
    tasks: Vec<(&'static str, Incarnation)>,
}

fn stage() -> Stage {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:4000");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut tasks = Vec::new();
    for id in ["one", "two"] {
        let incarnation = world.run(session, spec(id, "cpus:1;mem:100"));
        let running = status(id, incarnation, 1, TaskState::Running);
        world.updates(link, &framework, running);
        tasks.push((id, incarnation));
    }
    world.acknowledge_all(session);
    world.drain(session);
    world.orders(link);
    Stage {
        world,
        link,
        agent,
        session,
        framework,
        tasks,
    }
}

impl Stage {
    fn drain_in(&mut self, deadline: Option<Duration>) {
        let agent = self.agent.clone();
        let marks_gone = false;
        let call = OperatorCall::DrainAgent {
            agent,
            deadline,
            marks_gone,
        };
        self.world.operator(call).expect("draining");
    }

    /// What was said of tasks that are wanted back since the last time.
    fn wanted(&mut self) -> Vec<Wanted> {
        let told = self.world.drain(self.session).into_iter();
        told.filter_map(|event| match event {
            Told::Reclaim {
                tasks,
                reason,
                deadline,
            } => {
                let tasks = tasks.iter().map(ToString::to_string).collect();
                Some((tasks, reason, deadline.map(|left| left.as_millis())))
            }
            _ => None,
        })
        .collect()
    }

    fn is_drained(&self) -> bool {
        let entry = &self.world.core.registry().agents[&self.agent];
        entry.drain.is_some_and(|drain| drain.is_drained)
    }

    /// A task ends, and that is acknowledged.
    fn ends(&mut self, index: usize) {
        let (id, incarnation) = self.tasks[index];
        let ended = status(id, incarnation, 2, TaskState::Finished);
        self.world.updates(self.link, &self.framework, ended);
        self.world.acknowledge_all(self.session);
    }

    /// A new leader; the framework is back, and the agent too with its tasks.
    fn fail_over(self, epoch: u64, waits_s: u64) -> Self {
        let mut world = World::term(epoch, self.world.core.registry().clone());
        world.pass_s(waits_s);
        let session = world.resubscribe(&self.framework);
        let tasks = self.tasks.iter();
        let tasks = tasks.map(|(id, incarnation)| {
            let spec = spec(id, "cpus:1;mem:100");
            reported(&self.framework, spec, *incarnation, 1, TaskState::Running)
        });
        let link = world.returns(&self.agent, "a", "cpus:4;mem:4000", tasks.collect());
        Self {
            world,
            link,
            session,
            ..self
        }
    }
}

fn both() -> Vec<String> {
    vec!["one".to_owned(), "two".to_owned()]
}

const DRAINED: Reason = Reason::AgentDrained;

#[test]
fn a_framework_is_told_what_is_wanted_back_and_only_the_deadline_kills() {
    let mut stage = stage();
    stage.drain_in(Some(Duration::from_secs(60)));
    assert_eq!(stage.wanted(), [(both(), DRAINED, Some(60_000))]);
    stage.world.pass_s(59);
    assert_eq!(stage.world.kills(stage.link), []);
    stage.ends(0);
    stage.world.pass_s(1);
    let killed = [("two".to_owned(), DRAINED)];
    assert_eq!(stage.world.kills(stage.link), killed, "with its own grace");
    assert!(!stage.is_drained(), "not while it runs");
    stage.ends(1);
    assert!(stage.is_drained());
    assert!(
        stage
            .world
            .facts
            .iter()
            .any(|fact| matches!(fact, Fact::AgentDrained { .. }))
    );
    stage.world.pass_s(600);
    assert_eq!(stage.world.kills(stage.link), []);
}

#[test]
fn without_a_deadline_nothing_is_killed_and_the_last_end_drains() {
    let mut stage = stage();
    stage.drain_in(None);
    assert_eq!(stage.wanted(), [(both(), DRAINED, None)]);
    stage.drain_in(None);
    assert_eq!(stage.wanted(), [], "nothing new");
    stage.world.pass_s(100_000);
    assert_eq!(stage.world.kills(stage.link), []);
    stage.ends(0);
    let (id, incarnation) = stage.tasks[1];
    let ended = status(id, incarnation, 2, TaskState::Finished);
    stage.world.updates(stage.link, &stage.framework, ended);
    assert!(
        !stage.is_drained(),
        "only the agent can say again how that ended"
    );
    stage.world.acknowledge_all(stage.session);
    assert!(stage.is_drained());
}

#[test]
fn an_agent_without_tasks_is_drained_at_once_and_stays_so() {
    let mut stage = stage();
    stage.ends(0);
    stage.ends(1);
    stage.drain_in(Some(Duration::from_secs(60)));
    assert!(stage.is_drained());
    stage.world.drain(stage.session);
    stage.tasks.clear();
    let mut stage = stage.fail_over(2, 0);
    assert!(stage.is_drained());
    stage
        .world
        .demand(stage.session, vec![want("w", 1, "cpus:1", 0)]);
    stage.world.pass_s(20);
    assert_eq!(stage.world.offers(stage.session), []);
    let agent = stage.agent.clone();
    let call = OperatorCall::ReactivateAgent { agent };
    stage.world.operator(call).expect("done");
    stage.world.pass_s(1);
    assert_eq!(stage.world.offers(stage.session).len(), 1);
}

#[test]
fn a_drain_that_is_ended_takes_back_what_it_wanted() {
    let mut stage = stage();
    stage.drain_in(Some(Duration::from_secs(60)));
    stage.drain_in(Some(Duration::from_secs(90)));
    let told = [
        (both(), DRAINED, Some(60_000)),
        (both(), DRAINED, Some(90_000)),
    ];
    assert_eq!(stage.wanted(), told, "the last one counts");
    let agent = stage.agent.clone();
    let call = OperatorCall::ReactivateAgent { agent };
    stage.world.operator(call).expect("done");
    assert_eq!(stage.wanted(), [(both(), Reason::None, None)]);
    stage.world.pass_s(600);
    assert_eq!(stage.world.kills(stage.link), []);
    assert!(!stage.is_drained());
}

#[test]
fn who_comes_back_is_told_again_with_what_is_left() {
    let mut stage = stage();
    stage.drain_in(Some(Duration::from_secs(60)));
    stage.wanted();
    stage.world.pass_s(20);
    stage.session = stage.world.resubscribe(&stage.framework);
    assert_eq!(stage.wanted(), [(both(), DRAINED, Some(40_000))]);
    // The agent restarts: nobody is told twice, and it stays as it is.
    let tasks = stage.tasks.iter();
    let tasks = tasks.map(|(id, incarnation)| {
        let spec = spec(id, "cpus:1;mem:100");
        reported(&stage.framework, spec, *incarnation, 1, TaskState::Running)
    });
    let tasks = tasks.collect();
    stage.link = stage
        .world
        .returns(&stage.agent, "a", "cpus:4;mem:4000", tasks);
    assert_eq!(stage.wanted(), []);
    stage.world.pass_s(40);
    let killed = stage.world.kills(stage.link);
    assert_eq!(killed, both().map_with(DRAINED));
}

#[test]
fn the_next_leader_goes_on_with_what_was_left_and_never_kills_earlier() {
    let mut stage = stage();
    stage.drain_in(Some(Duration::from_secs(600)));
    stage.world.pass_s(305);
    // Thirty seconds without anybody do not count; what is left was written down every thirty.
    let mut stage = stage.fail_over(2, 7);
    let wanted = stage.wanted();
    let [(tasks, DRAINED, Some(left))] = wanted.as_slice() else {
        panic!("{wanted:?}");
    };
    assert_eq!(*tasks, both());
    assert_eq!(
        *left,
        (300 - 7) * 1_000,
        "of 295 s, at most one interval more"
    );
    stage.world.pass_ms(292_900);
    assert_eq!(stage.world.kills(stage.link), []);
    stage.world.pass_ms(200);
    let killed = stage.world.kills(stage.link);
    assert_eq!(killed, both().map_with(DRAINED));
    // Whoever leads after the deadline kills what comes back.
    let mut stage = stage.fail_over(3, 1);
    stage.world.pass_s(1);
    let killed = stage.world.kills(stage.link);
    assert_eq!(killed, both().map_with(DRAINED));
}

#[test]
fn a_kill_of_the_deadline_is_repeated_to_an_agent_that_was_away() {
    let mut stage = stage();
    stage.drain_in(Some(Duration::from_secs(60)));
    stage.world.lose(stage.link);
    stage.world.pass_s(70);
    assert_eq!(stage.world.kills(stage.link), []);
    let tasks = stage.tasks.iter();
    let tasks = tasks.map(|(id, incarnation)| {
        let spec = spec(id, "cpus:1;mem:100");
        reported(&stage.framework, spec, *incarnation, 1, TaskState::Running)
    });
    let tasks = tasks.collect();
    let link = stage
        .world
        .returns(&stage.agent, "a", "cpus:4;mem:4000", tasks);
    assert_eq!(stage.world.kills(link), both().map_with(DRAINED));
}

#[test]
fn tasks_of_a_framework_that_is_over_are_awaited_and_told_to_nobody() {
    let mut stage = stage();
    stage.drain_in(None);
    stage.wanted();
    let (session, call) = (stage.session, Call::Teardown);
    stage.world.call(session, call);
    assert!(!stage.is_drained(), "they are being killed");
    let other = stage.world.subscribe_as("p", None, describe_framework());
    stage.session = other;
    assert_eq!(stage.wanted(), []);
    for (id, incarnation) in stage.tasks.clone() {
        let ended = status(id, incarnation, 2, TaskState::Killed);
        stage.world.updates(stage.link, &stage.framework, ended);
    }
    assert!(stage.is_drained());
}

trait MapWith {
    fn map_with(self, reason: Reason) -> Vec<(String, Reason)>;
}

impl MapWith for Vec<String> {
    fn map_with(self, reason: Reason) -> Vec<(String, Reason)> {
        self.into_iter().map(|task| (task, reason)).collect()
    }
}
