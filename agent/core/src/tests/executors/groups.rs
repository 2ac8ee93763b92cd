//! Task groups in executors: told in one, and ended together unless the executor was written for Mesos, which decides itself.

use proffer_model::ExecutorApi;

use super::*;

impl Scene {
    /// A group of `a` and `b`, each as `spec` makes it.
    fn launch_group(&mut self, spec: fn(&str) -> TaskSpec) {
        self.agent.receive(ToAgent::LaunchGroup {
            epoch: self.agent.identity.epoch,
            framework: framework(),
            payer: Some(payer()),
            tasks: ["a", "b"].map(|id| (Incarnation(1), spec(id))).to_vec(),
        });
        self.agent.persist();
    }

    /// An executor of Mesos's API that runs `t`, and a group of `a` and `b`.
    fn with_mesos_group() -> Self {
        let mut scene = Self::started_with(of_mesos("t")).runs();
        scene.launch_group(of_mesos);
        for id in ["a", "b"] {
            scene.say(word(id, 1, TaskState::Running));
        }
        scene.story();
        scene
    }
}

/// What is told when `a` of a group has failed.
const B_IS_KILLED_WITH_A: [&str; 4] = [
    "a failed none",
    "b killing group_ended",
    "> kill b 3s",
    "> ack a 2",
];

fn of_mesos(id: &str) -> TaskSpec {
    let executor = ExecutorSpec {
        api: ExecutorApi::MesosV1,
        ..executor("e")
    };
    TaskSpec {
        executor: Some(executor.into()),
        ..data(id)
    }
}

#[test]
fn a_group_for_an_executor_is_told_in_one_and_ends_together() {
    let mut scene = Scene::running();
    scene.launch_group(data);
    assert_eq!(scene.story().pop().unwrap(), "> launch a b");
    scene.say(word("a", 1, TaskState::Running));
    scene.say(word("b", 1, TaskState::Running));
    scene.story();
    scene.say(word("a", 2, TaskState::Failed));
    assert_eq!(scene.story(), B_IS_KILLED_WITH_A);
}

#[test]
fn what_an_executor_ends_by_itself_is_killed_with_its_group_and_when_its_time_is_over() {
    let mut scene = Scene::running();
    scene.launch_group(data);
    for id in ["a", "b"] {
        scene.say(word(id, 1, TaskState::Running));
    }
    scene.say(word("b", 2, TaskState::Killing));
    scene.story();
    scene.say(word("a", 2, TaskState::Failed));
    assert_eq!(scene.story(), B_IS_KILLED_WITH_A);
    let timed = TaskSpec {
        completion: Some(Duration::from_secs(10)),
        ..data("t")
    };
    let mut scene = Scene::started_with(timed).runs();
    scene.say(word("t", 2, TaskState::Killing));
    scene.agent.acknowledge("t", 1, 3);
    scene.story();
    scene.agent.pass(Duration::from_secs(11));
    assert_eq!(scene.story(), ["t killing deadline_passed", "> kill t 3s"]);
}

#[test]
fn an_executor_of_mesos_decides_itself_what_becomes_of_a_group() {
    for state in [TaskState::Failed, TaskState::Killed, TaskState::Lost] {
        let mut scene = Scene::with_mesos_group();
        scene.say(word("a", 2, state));
        let told = format!("a {state} none");
        assert_eq!(scene.story(), [&*told, "> ack a 2"]);
        // Nor does the next life of the agent end the others.
        scene.crash();
        scene.story();
        scene.subscribe(&[], &[task("t"), task("b")]);
        assert_eq!(scene.story(), ["> subscribed"]);
        assert_eq!(scene.last("b").state, TaskState::Running);
    }
}

#[test]
fn a_group_that_an_executor_of_mesos_was_not_told_of_falls_with_a_task_that_is_killed() {
    let mut scene = Scene::started_with(of_mesos("t"));
    scene.launch_group(of_mesos);
    scene.story();
    scene.agent.kill("a", 1, None);
    scene.agent.persist();
    assert_eq!(
        scene.story(),
        ["a killed kill_requested", "b killed group_ended"]
    );
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed", "> launch t"]);
    // So it is when it says that it was told of none of them, whichever is killed.
    for (killed, other) in [("a", "b"), ("b", "a")] {
        let mut scene = Scene::started_with(of_mesos("t")).runs();
        scene.launch_group(of_mesos);
        scene.leave();
        scene.agent.kill(killed, 1, None);
        scene.agent.persist();
        scene.story();
        scene.subscribe(&[], &[task("t")]);
        let ended = [
            "> subscribed".to_owned(),
            format!("{killed} killed kill_requested"),
            format!("{other} killed group_ended"),
        ];
        assert_eq!(scene.story(), ended);
    }
}

#[test]
fn with_an_executor_of_mesos_each_task_of_a_group_fails() {
    for is_told in [true, false] {
        let mut scene = match is_told {
            true => Scene::with_mesos_group(),
            false => Scene::started_with(of_mesos("t")),
        };
        if is_told {
            scene.leave();
        } else {
            scene.launch_group(of_mesos);
        }
        scene.agent.step(Event::ContainerExited {
            run: scene.run,
            ended: Exit::Signal(9).into(),
        });
        scene.agent.persist();
        for id in ["t", "a", "b"] {
            let last = scene.last(id);
            let how = (last.state, last.reason);
            assert_eq!(how, (TaskState::Failed, Reason::ExecutorEnded), "{id}");
        }
    }
}

#[test]
fn an_executor_of_mesos_is_ended_when_all_that_it_was_to_be_told_has_ended() {
    // It is not started when that is known before.
    let mut agent = Agent::registered();
    agent.launch(1, of_mesos("t"));
    agent.kill("t", 1, None);
    agent.persist();
    let mut scene = Scene {
        agent,
        run: RunId(0),
        sessions: 0,
    };
    let story = scene.story();
    assert!(!story.contains(&"start".to_owned()), "{story:?}");
    assert!(story.contains(&"ended".to_owned()), "{story:?}");
    assert!(scene.agent.core.used.is_empty());
    // While it is on its way it is waited for: it may be given another task.
    for is_reused in [false, true] {
        let mut scene = Scene::started_with(of_mesos("t"));
        scene.agent.kill("t", 1, None);
        if is_reused {
            scene.agent.launch(1, of_mesos("u"));
        }
        scene.agent.persist();
        scene.story();
        scene.subscribe(&[], &[]);
        let then = match is_reused {
            true => "> launch u",
            false => "> shutdown 5s",
        };
        assert_eq!(scene.story(), ["> subscribed", then]);
    }
    // One that has come is ended at once.
    let mut agent = Agent::registered();
    agent.launch(1, of_mesos("t"));
    let seq = agent.write(1).expect("the executor");
    agent.step(Event::Persisted(seq));
    let run = *agent.executors.keys().next().expect("the executor");
    let mut scene = Scene {
        agent,
        run,
        sessions: 0,
    };
    scene.agent.step(Event::ExecutorSubscribed {
        run,
        session: SessionId(1),
        subscription: Subscription::default(),
    });
    scene.agent.kill("t", 1, None);
    scene.agent.persist();
    let story = scene.story();
    assert_eq!(story.last().map(String::as_str), Some("> shutdown 5s"));
    // One that has had a task lives on without any.
    let mut scene = Scene::started_with(of_mesos("t")).runs();
    scene.say(word("t", 2, TaskState::Finished));
    scene.agent.launch(1, of_mesos("u"));
    scene.agent.kill("u", 1, None);
    scene.agent.persist();
    scene.leave();
    scene.story();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed"]);
    // So does one of the framework's own kind.
    let mut scene = Scene::started();
    scene.agent.kill("t", 1, None);
    scene.agent.persist();
    scene.story();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed"]);
}

#[test]
fn a_group_that_was_not_told_falls_together_also_when_a_crash_comes_between() {
    let mut scene = Scene::started_with(of_mesos("t")).runs();
    scene.leave();
    scene.launch_group(of_mesos);
    scene.agent.receive(ToAgent::Kill {
        epoch: scene.agent.identity.epoch,
        framework: framework(),
        task: TaskId::new("a").unwrap(),
        incarnation: Incarnation(1),
        grace: None,
        reason: Reason::KillRequested,
    });
    while scene.last("a").state != TaskState::Killed {
        scene.agent.write(1).expect("something is to be written");
    }
    assert_eq!(scene.last("b").state, TaskState::Starting);
    scene.crash_known(&["t"]);
    assert_eq!(scene.last("b").state, TaskState::Killed);
    assert_eq!(scene.last("b").reason, Reason::GroupEnded);
    scene.story();
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(scene.story(), ["> subscribed"]);
}

#[test]
fn what_an_executor_of_mesos_was_told_is_known_to_the_next_agent() {
    // All that it was started for has ended before or while the agent was away.
    for is_before in [true, false] {
        let mut scene = Scene::started_with(of_mesos("t"));
        if is_before {
            scene.agent.kill("t", 1, None);
        }
        scene.crash_known(&[]);
        if !is_before {
            scene.agent.kill("t", 1, None);
            assert_eq!(scene.last("t").message, "ended before it was started");
        }
        scene.story();
        scene.subscribe(&[], &[]);
        assert_eq!(scene.story(), ["> subscribed", "> shutdown 5s"]);
    }
    // One that was told lives on, whatever it has not named since.
    let mut scene = Scene::started_with(of_mesos("t")).runs();
    scene.say(word("t", 2, TaskState::Finished));
    scene.crash_known(&["t"]);
    scene.story();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed"]);
    // A group that it was told of is its own to end, one that it was not told of falls together.
    for (told, b_is) in [
        (&["t"][..], TaskState::Killed),
        (&["t", "a", "b"], TaskState::Starting),
    ] {
        let mut scene = Scene::started_with(of_mesos("t")).runs();
        scene.leave();
        scene.launch_group(of_mesos);
        scene.crash_known(told);
        scene.agent.kill("a", 1, None);
        assert_eq!(scene.last("b").state, b_is, "{told:?}");
    }
}

#[test]
fn that_an_executor_of_mesos_could_not_be_started_is_said_of_its_tasks() {
    for (spec, ids, why) in [
        (
            of_mesos as fn(&str) -> TaskSpec,
            &["t", "a", "b"][..],
            (Reason::FetchFailed, "Failed to launch container: no file"),
        ),
        (
            data,
            &["t"],
            (Reason::ExecutorEnded, "its executor is no more: no file"),
        ),
    ] {
        let mut scene = Scene::started_with_process(spec("t"), false);
        scene.launch_group(spec);
        scene.agent.step(Event::ContainerFailed {
            run: scene.run,
            reason: Reason::FetchFailed,
            message: "no file".to_owned(),
        });
        scene.agent.persist();
        for id in ids {
            let last = scene.last(id);
            assert_eq!(last.state, TaskState::Failed, "{id}");
            assert_eq!((last.reason, &*last.message), why, "{id}");
        }
        assert!(scene.agent.core.used.is_empty());
    }
}

#[test]
fn what_comes_for_an_executor_of_mesos_that_ends_is_dropped() {
    let mut scene = Scene::started_with(of_mesos("t"));
    scene.agent.kill("t", 1, None);
    scene.agent.persist();
    scene.subscribe(&[], &[]);
    scene.agent.launch(1, of_mesos("u"));
    scene.agent.persist();
    let last = scene.last("u");
    let how = (last.state, last.reason);
    assert_eq!(how, (TaskState::Dropped, Reason::ExecutorEnded));
}
