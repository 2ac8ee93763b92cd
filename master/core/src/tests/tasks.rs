//! Statuses: order, acknowledgement, what is freed when, and what is answered to questions.

use proffer_model::link::{AgentTask, Payer, ToMaster};
use proffer_model::session::{Answer, Call};
use proffer_model::{FrameworkId, Incarnation, Reason, TaskState, code};

use super::world::{World, r, reported, spec, status, task_id, want};
use crate::event::{Event, LinkId, SessionId};
use crate::limits::{UNACKNOWLEDGED_DATA_MAX, UNACKNOWLEDGED_MAX};

struct Running {
    world: World,
    link: LinkId,
    session: SessionId,
    framework: FrameworkId,
    incarnation: Incarnation,
}

/// One agent, one framework, one task launched.
fn launched() -> Running {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;ports:[1-3]");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1;ports:[1-2]"));
    world.drain(session);
    world.orders(link);
    Running {
        world,
        link,
        session,
        framework,
        incarnation,
    }
}

impl Running {
    fn says(&mut self, number: u64, state: TaskState) {
        let status = status("t", self.incarnation, number, state);
        self.world.updates(self.link, &self.framework, status);
    }

    fn heard(&mut self) -> Vec<(TaskState, u64)> {
        let heard = self.world.statuses(self.session);
        self.world.drain(self.session);
        heard
            .into_iter()
            .map(|(_, state, _, number)| (state, number))
            .collect()
    }
}

#[test]
fn statuses_reach_the_framework_once_a_session_and_are_acknowledged_together() {
    let mut run = launched();
    run.says(1, TaskState::Starting);
    run.says(2, TaskState::Running);
    run.says(1, TaskState::Starting);
    run.says(2, TaskState::Running);
    assert_eq!(
        run.heard(),
        [(TaskState::Starting, 1), (TaskState::Running, 2)]
    );
    assert!(
        run.world.acknowledged(run.link).is_empty(),
        "not before the framework has"
    );
    run.world.acknowledge_all(run.session);
    assert_eq!(run.world.acknowledged(run.link), [("t".to_owned(), 2)]);
    run.says(2, TaskState::Running);
    assert!(run.heard().is_empty());
    assert_eq!(
        run.world.acknowledged(run.link),
        [("t".to_owned(), 2)],
        "it was lost; again"
    );
}

#[test]
fn one_status_is_acknowledged_whatever_came_before_it() {
    let mut run = launched();
    run.says(1, TaskState::Starting);
    let starting = run.world.sequence(run.session);
    run.says(2, TaskState::Running);
    let running = run.world.sequence(run.session);
    for sequence in [u64::MAX, 0, starting] {
        run.world.acknowledge_one(run.session, sequence);
    }
    assert_eq!(run.world.acknowledged(run.link), [("t".to_owned(), 1)]);
    run.world.acknowledge_one(run.session, starting);
    assert!(
        run.world.acknowledged(run.link).is_empty(),
        "it was already"
    );
    run.world.acknowledge_one(run.session, running);
    assert_eq!(run.world.acknowledged(run.link), [("t".to_owned(), 2)]);
}

#[test]
fn resources_are_free_with_the_latest_state_and_the_id_with_the_last_acknowledgement() {
    let mut run = launched();
    let message = ToMaster::Updated {
        framework: run.framework.clone(),
        status: status("t", run.incarnation, 1, TaskState::Running),
        latest: TaskState::Finished,
    };
    run.world.step(Event::LinkMessage {
        link: run.link,
        message,
    });
    run.world
        .demand(run.session, vec![want("w", 1, "cpus:4", 0)]);
    run.world.pass_ms(20);
    let offer = run.world.offers(run.session)[0].clone();
    let again = |run: &mut Running, offer| {
        let results = run
            .world
            .accept(run.session, &[offer], vec![spec("t", "cpus:1")]);
        results.expect("judged")[0].outcome.clone()
    };
    let problem = again(&mut run, &offer.id).expect_err("not acknowledged");
    assert!(problem.is(code::TASK_DUPLICATE));
    assert_eq!(problem.field, "accept.operations[0].launch.id");
    run.says(2, TaskState::Finished);
    run.world.acknowledge_all(run.session);
    run.world.drain(run.session);
    run.world.pass_s(2);
    let offer = run.world.offers(run.session)[0].clone();
    let newer = again(&mut run, &offer.id).expect("free again");
    assert!(newer > run.incarnation);
    // The old launch's statuses are nobody's now; the agent is told to forget them.
    run.world.orders(run.link);
    run.says(2, TaskState::Finished);
    assert_eq!(run.world.acknowledged(run.link), [("t".to_owned(), 2)]);
}

#[test]
fn what_has_ended_stays_ended() {
    let mut run = launched();
    run.says(1, TaskState::Running);
    run.says(2, TaskState::Failed);
    run.says(3, TaskState::Running);
    let key = (run.framework.clone(), task_id("t"));
    let state = |run: &Running| run.world.core.tasks.get(&key).map(|task| task.told().state);
    assert_eq!(state(&run), Some(TaskState::Failed));
    let mut run = launched();
    run.says(1, TaskState::Killing);
    run.says(2, TaskState::Running);
    assert_eq!(state(&run), Some(TaskState::Killing), "and never goes back");
}

#[test]
fn freed_ports_rest_before_they_are_offered() {
    let mut run = launched();
    run.says(1, TaskState::Finished);
    run.world
        .demand(run.session, vec![want("w", 1, "cpus:1", 2)]);
    run.world.pass_s(59);
    assert!(run.world.offers(run.session).is_empty());
    let why = run.world.explain(&run.framework);
    assert_eq!(
        why,
        [(
            "insufficient_ports".to_owned(),
            "1 agent has fewer than 2 ports free".to_owned()
        )]
    );
    run.world.pass_s(2);
    let offer = run.world.offers(run.session)[0].clone();
    assert_eq!(offer.resources.range_set("ports").to_string(), "[1-2]");
}

#[test]
fn statuses_made_without_a_session_wait_for_the_next_one() {
    let mut run = launched();
    run.says(1, TaskState::Running);
    run.world.step(Event::SessionClosed {
        session: run.session,
    });
    run.says(2, TaskState::Finished);
    run.session = run.world.resubscribe(&run.framework);
    assert_eq!(
        run.heard(),
        [(TaskState::Running, 1), (TaskState::Finished, 2)]
    );
}

#[test]
fn a_framework_that_does_not_acknowledge_is_closed_and_hears_everything_later_in_order() {
    let mut run = launched();
    let most = u64::try_from(UNACKNOWLEDGED_MAX).expect("fits");
    // A task cannot really have so many; what counts is that nothing is lost and nothing is out of order.
    let mut effects = crate::effect::Effects::new();
    for number in 1..=most {
        let status = status("t", run.incarnation, number, TaskState::Running);
        let message = ToMaster::Updated {
            framework: run.framework.clone(),
            status,
            latest: TaskState::Running,
        };
        let event = Event::LinkMessage {
            link: run.link,
            message,
        };
        effects.clear();
        run.world.core.step(run.world.now, event, &mut effects);
    }
    let event = Event::LinkMessage {
        link: run.link,
        message: ToMaster::Updated {
            framework: run.framework.clone(),
            status: status("t", run.incarnation, most + 1, TaskState::Finished),
            latest: TaskState::Finished,
        },
    };
    effects.clear();
    run.world.core.step(run.world.now, event, &mut effects);
    let closed = effects.iter().any(|effect| {
        matches!(effect, crate::effect::Effect::SendSession { event: proffer_model::session::Event::Closed(problem), .. }
            if problem.is(code::SESSION_OVERLOADED))
    });
    assert!(closed);
    run.world.step(Event::SessionClosed {
        session: run.session,
    });
    run.session = run.world.resubscribe(&run.framework);
    assert_eq!(run.heard(), [(TaskState::Staging, 0)], "it is there");
    run.says(most + 1, TaskState::Finished);
    assert!(run.heard().is_empty(), "the oldest goes first");
    run.says(1, TaskState::Running);
    run.says(most + 1, TaskState::Finished);
    assert_eq!(
        run.heard(),
        [(TaskState::Running, 1), (TaskState::Finished, most + 1)]
    );
}

#[test]
fn what_executors_said_along_is_left_with_agents_beyond_a_bound_and_no_session_ends() {
    let mut run = launched();
    let len = 1024 * 1024;
    let says = |run: &mut Running, number, len| {
        let status = proffer_model::Status {
            data: vec![1; len],
            ..status("t", run.incarnation, number, TaskState::Running)
        };
        run.world.updates(run.link, &run.framework, status);
    };
    let most = u64::try_from(UNACKNOWLEDGED_DATA_MAX / len).expect("fits");
    for number in 1..=most {
        says(&mut run, number, len);
    }
    assert_eq!(u64::try_from(run.heard().len()), Ok(most));
    says(&mut run, most + 1, len);
    says(&mut run, most + 2, 10);
    assert!(run.heard().is_empty(), "what comes after it waits for it");
    assert_eq!(run.world.core.unacknowledged_data, UNACKNOWLEDGED_DATA_MAX);
    run.world.acknowledge_all(run.session);
    assert_eq!(run.world.core.unacknowledged_data, 0);
    says(&mut run, most + 1, len);
    says(&mut run, most + 2, 10);
    let running = TaskState::Running;
    assert_eq!(run.heard(), [(running, most + 1), (running, most + 2)]);
    // All of it is given up with its task.
    let session = run.session;
    run.world.step(Event::SessionClosed { session });
    let status = status("t", run.incarnation, most + 3, TaskState::Finished);
    run.world.updates(run.link, &run.framework, status);
    run.session = run.world.resubscribe(&run.framework);
    assert_eq!(run.heard().len(), 3);
    run.world.acknowledge_all(run.session);
    assert_eq!(run.world.core.unacknowledged_data, 0);
}

#[test]
fn a_kill_goes_to_the_agent_and_one_of_no_task_is_answered_with_a_status() {
    let mut run = launched();
    let kill = |task: &str| Call::Kill {
        task: task_id(task),
        grace: None,
    };
    assert_eq!(run.world.call(run.session, kill("t")), Answer::Done);
    assert_eq!(
        run.world.kills(run.link),
        [("t".to_owned(), Reason::KillRequested)]
    );
    run.world.drain(run.session);
    assert_eq!(run.world.call(run.session, kill("nothing")), Answer::Done);
    let lost = ("nothing".to_owned(), TaskState::Lost, Reason::Reconciled, 0);
    assert_eq!(run.world.statuses(run.session), [lost]);
}

#[test]
fn questions_are_answered_with_what_is_known() {
    let mut run = launched();
    run.says(1, TaskState::Running);
    run.heard();
    let ask = |run: &mut Running, tasks: &[&str]| {
        let tasks = tasks.iter().map(|id| task_id(id)).collect();
        run.world.call(run.session, Call::Reconcile { tasks });
        run.heard()
    };
    assert_eq!(ask(&mut run, &[]), [(TaskState::Running, 0)]);
    assert_eq!(
        ask(&mut run, &["t", "x"]),
        [(TaskState::Running, 0), (TaskState::Lost, 0)]
    );
    let agent = run
        .world
        .core
        .agents
        .by_id
        .keys()
        .next()
        .expect("one")
        .clone();
    let mut world = World::term(2, run.world.written.clone());
    let session = world.resubscribe(&run.framework);
    let mut run = Running {
        world,
        session,
        ..run
    };
    run.heard();
    assert!(
        ask(&mut run, &["t"]).is_empty(),
        "its agent may come back yet"
    );
    run.world.pass_s(80);
    assert_eq!(
        ask(&mut run, &["t"]),
        [(TaskState::Unreachable, 0)],
        "it may run there"
    );
    let task = reported(
        &run.framework,
        spec("t", "cpus:1"),
        run.incarnation,
        1,
        TaskState::Running,
    );
    run.world.returns(&agent, "a", "cpus:4", vec![task]);
    run.heard();
    assert_eq!(
        ask(&mut run, &["t", "x"]),
        [(TaskState::Running, 0), (TaskState::Lost, 0)]
    );
}

#[test]
fn a_reported_task_is_charged_to_who_pays_for_it() {
    let mut world = World::new();
    let session = world.framework();
    let framework = world.core.frameworks.keys().next().expect("one").clone();
    let [known, unknown] = ["eng/web", "*"].map(|role| role.parse().expect("a role"));
    let launched = |name: &str, payer| AgentTask {
        payer,
        ..reported(
            &framework,
            spec(name, "cpus:1"),
            Incarnation(7),
            1,
            TaskState::Running,
        )
    };
    let payer = Payer {
        role: known,
        demand: Some("web".parse().expect("an id")),
    };
    let tasks = vec![launched("t1", Some(payer.clone())), launched("t2", None)];
    let agent = "c-a0-1".parse().expect("an id");
    world.returns(&agent, "a", "cpus:4", tasks);
    let used = &world.core.frameworks[&framework].used;
    assert_eq!(used[&payer.role], r("cpus:1"));
    assert_eq!(used[&unknown], r("cpus:1"), "its first role pays");
    world.drain(session);
}
