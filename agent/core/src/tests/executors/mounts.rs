//! Volumes of tasks in executors that were written for Mesos: there before the task is told, gone when it has ended.

use proffer_model::{ExecutorApi, VolumeMount};

use super::*;

/// With the volume `v` at `data`.
fn with_volume(id: &str) -> TaskSpec {
    let executor = ExecutorSpec {
        api: ExecutorApi::MesosV1,
        ..executor("e")
    };
    let mut spec = TaskSpec {
        executor: Some(executor.into()),
        ..data(id)
    };
    spec.volumes.push(VolumeMount {
        volume: "v".parse().unwrap(),
        path: "data".to_owned(),
        is_read_only: false,
    });
    spec
}

impl Scene {
    fn mounted(&mut self, task: &str, failure: Option<&str>) {
        let mut runs = self.agent.runs.values();
        let run = runs.find(|run| run.spec.id.as_str() == task).unwrap().run;
        let failure = failure.map(str::to_owned);
        self.agent.step(Event::VolumesMounted { run, failure });
        self.agent.persist();
    }
}

#[test]
fn a_task_is_told_when_its_volumes_are_there_and_they_go_when_it_ends() {
    let mut scene = Scene::started_with(with_volume("t"));
    scene.story();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed", "mount t"]);
    // Neither another session nor another task asks again.
    scene.leave();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed"]);
    scene.mounted("t", None);
    assert_eq!(scene.story(), ["> launch t"]);
    scene.say(word("t", 1, TaskState::Running));
    scene.story();
    scene.say(word("t", 2, TaskState::Finished));
    let story = scene.story();
    assert!(story.contains(&"unmount t data".to_owned()), "{story:?}");
    // The executor lives on.
    assert!(!story.contains(&"> shutdown 5s".to_owned()), "{story:?}");
}

#[test]
fn a_task_without_its_volumes_fails_and_is_not_told() {
    let mut scene = Scene::started_with(with_volume("t"));
    scene.subscribe(&[], &[]);
    scene.story();
    scene.mounted("t", Some("no"));
    assert_eq!(
        scene.story(),
        ["t failed volume_failed", "unmount t data", "> shutdown 5s"]
    );
    // One that is killed meanwhile has ended, whatever is heard then.
    let mut scene = Scene::started_with(with_volume("t"));
    scene.subscribe(&[], &[]);
    scene.agent.kill("t", 1, None);
    scene.story();
    scene.mounted("t", None);
    assert_eq!(scene.story(), [""; 0]);
}

#[test]
fn a_group_is_told_when_all_of_it_has_its_volumes() {
    let mut scene = Scene::started_with(with_volume("t"));
    scene.subscribe(&[], &[]);
    scene.mounted("t", None);
    scene.agent.receive(ToAgent::LaunchGroup {
        epoch: scene.agent.identity.epoch,
        framework: framework(),
        payer: Some(payer()),
        tasks: ["a", "b"]
            .map(|id| (Incarnation(1), with_volume(id)))
            .to_vec(),
    });
    scene.agent.persist();
    scene.story();
    scene.mounted("b", None);
    assert_eq!(scene.story(), [""; 0]);
    scene.mounted("a", None);
    assert_eq!(scene.story(), ["> launch a b"]);
    // What another one still has there stays.
    for id in ["a", "b", "t"] {
        scene.say(word(id, 1, TaskState::Running));
    }
    for (id, is_last) in [("a", false), ("b", false), ("t", true)] {
        scene.story();
        scene.say(word(id, 2, TaskState::Finished));
        let story = scene.story();
        let is_taken = story.iter().any(|line| line.starts_with("unmount"));
        assert_eq!(is_taken, is_last, "{id} {story:?}");
    }
}

#[test]
fn the_next_agent_asks_for_volumes_again_and_takes_away_what_has_ended() {
    let mut scene = Scene::started_with(with_volume("t"));
    scene.subscribe(&[], &[]);
    scene.crash_known(&[]);
    scene.story();
    scene.subscribe(&[], &[]);
    assert_eq!(scene.story(), ["> subscribed", "mount t"]);
    scene.mounted("t", None);
    scene.say(word("t", 1, TaskState::Running));
    scene.crash_known(&["t"]);
    scene.story();
    // It has them.
    scene.subscribe(&[], &[task("t")]);
    assert_eq!(scene.story(), ["> subscribed"]);
    scene.say(word("t", 2, TaskState::Finished));
    scene.crash_known(&["t"]);
    let story = scene.story();
    assert!(story.contains(&"unmount t data".to_owned()), "{story:?}");
}
