//! Kills of tasks of executors of Mesos's API: told once for each wish, and with a grace only where somebody gave one.

use super::*;

fn of_mesos() -> TaskSpec {
    let executor = ExecutorSpec {
        api: proffer_model::ExecutorApi::MesosV1,
        ..executor("e")
    };
    TaskSpec {
        executor: Some(executor.into()),
        ..data("t")
    }
}

fn kills(scene: &mut Scene) -> Vec<String> {
    let story = scene.story().into_iter();
    story
        .filter(|line| line.starts_with("> kill") || line.starts_with("> shutdown"))
        .collect()
}

#[test]
fn an_executor_of_mesos_is_told_of_a_kill_once_and_again_when_it_comes_back() {
    let mut scene = Scene::started_with(of_mesos()).runs();
    scene.agent.kill("t", 1, None);
    assert_eq!(kills(&mut scene), ["> kill t"]);
    scene.say(word("t", 2, TaskState::Killing));
    scene.agent.pass(Duration::from_secs(100));
    assert!(kills(&mut scene).is_empty());
    // Its framework calls again: the last word counts.
    scene.agent.kill("t", 1, Some(60));
    assert_eq!(kills(&mut scene), ["> kill t 60s"]);
    scene.agent.kill("t", 1, Some(0));
    assert_eq!(kills(&mut scene), ["> kill t 0s"]);
    // The same once more is told once more, and nothing is written.
    let epoch = scene.agent.identity.epoch;
    scene.agent.receive(ToAgent::Kill {
        epoch,
        framework: framework(),
        task: TaskId::new("t").unwrap(),
        incarnation: Incarnation(1),
        grace: Some(Duration::ZERO),
        reason: Reason::KillRequested,
    });
    assert!(scene.agent.writing.is_empty());
    assert_eq!(kills(&mut scene), ["> kill t 0s"]);
    scene.agent.pass(Duration::from_secs(100));
    assert!(kills(&mut scene).is_empty());
    scene.leave();
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(kills(&mut scene), ["> kill t 0s"]);
    scene.crash();
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(kills(&mut scene), ["> kill t 0s"]);
    scene.say(word("t", 3, TaskState::Killed));
    assert_eq!(scene.last("t").state, TaskState::Killed);
}

#[test]
fn an_executor_of_mesos_that_does_not_end_what_a_drain_ends_is_ended_itself() {
    let mut scene = Scene::started_with(of_mesos()).runs();
    scene.agent.launch(
        1,
        TaskSpec {
            id: TaskId::new("u").unwrap(),
            ..of_mesos()
        },
    );
    scene.agent.persist();
    scene.agent.kill("u", 1, None);
    scene.story();
    let drain = |scene: &mut Scene, id: &str| {
        scene.agent.receive(ToAgent::Kill {
            epoch: scene.agent.identity.epoch,
            framework: framework(),
            task: TaskId::new(id).unwrap(),
            incarnation: Incarnation(1),
            grace: Some(Duration::from_secs(2)),
            reason: Reason::AgentDrained,
        });
        scene.agent.persist();
    };
    drain(&mut scene, "t");
    scene.agent.pass(Duration::from_secs(10));
    // The other one may take its time.
    assert_eq!(kills(&mut scene), ["> kill t 2s"]);
    drain(&mut scene, "u");
    assert_eq!(kills(&mut scene), ["> kill u 2s"]);
    // Who asks again and again does not put it off.
    scene.agent.kill("u", 1, Some(60));
    assert_eq!(kills(&mut scene), ["> kill u 60s"]);
    scene.agent.pass(Duration::from_secs(3));
    assert_eq!(kills(&mut scene), ["> shutdown 5s"]);
    scene.agent.pass(Duration::from_secs(6));
    assert!(scene.story().contains(&"signal Kill".to_owned()));
}
