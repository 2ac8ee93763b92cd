//! Apps with images, checks by commands, and how ends that have to do with either are told.

use std::time::Duration;

use proffer_model::{CheckKind, Command, Reason, TaskState};

use super::world::{World, app, patch};
use crate::app::{AppPatch, AppSpec};
use crate::container::{AppContainer, Engine};
use crate::effect::ApiAnswer;
use crate::event::ApiCall;
use crate::health::{CheckPort, CheckProtocol, HealthCheck};

fn image(path: &str) -> Option<Option<AppContainer>> {
    Some(Some(
        AppContainer::new(Engine::Mesos, path).expect("a path"),
    ))
}

fn arguments(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_runs_follows_from_command_arguments_and_image() {
    let line = || Some(Command::Shell("run".into()));
    let exec = |texts: &[&str]| Some(Command::Exec(arguments(texts)));
    let web = || image("/srv/web.tar");
    // What the app runs before, what is changed, and what it runs then.
    for (before, command, container, expected) in [
        (None, None, web(), Ok(Command::Image(vec![]))),
        (
            None,
            exec(&["-v"]),
            web(),
            Ok(Command::Image(arguments(&["-v"]))),
        ),
        (None, exec(&[]), web(), Ok(Command::Image(vec![]))),
        (None, line(), web(), Ok(Command::Shell("run".into()))),
        (
            None,
            exec(&["a"]),
            None,
            Ok(Command::Exec(arguments(&["a"]))),
        ),
        (None, None, Some(None), Err("cmd")),
        (
            Some((line(), None)),
            None,
            web(),
            Ok(Command::Shell("run".into())),
        ),
        (
            Some((exec(&["a"]), None)),
            None,
            web(),
            Ok(Command::Image(arguments(&["a"]))),
        ),
        (
            Some((line(), web())),
            exec(&[]),
            None,
            Ok(Command::Image(vec![])),
        ),
        (
            Some((exec(&["a"]), web())),
            None,
            Some(None),
            Ok(Command::Exec(arguments(&["a"]))),
        ),
        (Some((None, web())), None, Some(None), Err("cmd")),
        (
            Some((None, web())),
            line(),
            Some(None),
            Ok(Command::Shell("run".into())),
        ),
    ] {
        let of = |command, container| AppPatch {
            command,
            container,
            ..AppPatch::default()
        };
        let case = format!("{before:?} {command:?} {container:?}");
        let base: Option<AppSpec> = before.map(|(command, container)| {
            of(command, container)
                .onto(app("/web"), None)
                .expect("good")
        });
        match (
            of(command, container).onto(app("/web"), base.as_ref()),
            expected,
        ) {
            (Ok(spec), Ok(command)) => assert_eq!(spec.command, command, "{case}"),
            (Err(problems), Err(field)) => assert_eq!(problems[0].field, field, "{case}"),
            (result, _) => panic!("{case}: {result:?}"),
        }
    }
}

#[test]
fn a_task_gets_its_image_and_another_image_replaces_it() {
    let mut world = World::new();
    let web = AppPatch {
        command: None,
        container: image("file:///srv/web.tar"),
        ..patch("/web", 1)
    };
    world.create(web).expect("created");
    world.settle();
    let first = world.running().remove(0);
    let spec = world.tasks[&first].spec.clone();
    assert_eq!(spec.command, Command::Image(vec![]));
    let of_task = spec.container.expect("a container").image;
    assert_eq!(of_task.as_str(), "/srv/web.tar");
    assert_eq!(
        spec.environment["MARATHON_APP_DOCKER_IMAGE"].expose(),
        "file:///srv/web.tar"
    );
    for (container, is_replaced) in [
        (
            AppContainer::new(Engine::Docker, "file:///srv/web.tar"),
            false,
        ),
        (AppContainer::new(Engine::Docker, "/srv/web-2.tar"), true),
    ] {
        let before = world.running();
        let change = AppPatch {
            container: Some(Some(container.expect("a path"))),
            ..AppPatch::default()
        };
        world.change("/web", change, false).expect("changed");
        world.settle();
        assert_eq!(world.running() != before, is_replaced);
    }
}

#[test]
fn a_check_by_a_command_needs_no_port() {
    let check = HealthCheck {
        command: "test -f up".into(),
        port: CheckPort::Index(7),
        failures_max: 0,
        ..HealthCheck::of(CheckProtocol::Command)
    };
    check.validate(0).expect("good");
    let made = check.on(&[]).expect("made");
    let shell = "test -f up".to_owned();
    assert_eq!(made.kind, CheckKind::Command { shell });
    assert_eq!(
        (made.delay, made.failures_max),
        (Duration::from_secs(15), 1)
    );
}

#[test]
fn ends_for_want_of_memory_or_an_image_are_told_in_words() {
    for (reason, says) in [
        (
            Reason::OutOfMemory,
            "killed: out of memory, it holds 64 MiB (failed (out_of_memory))",
        ),
        (
            Reason::ImageFailed,
            "its image cannot be used: failed (image_failed)",
        ),
    ] {
        let mut world = World::new();
        let web = AppPatch {
            mem_milli: Some(64_000),
            ..patch("/web", 1)
        };
        world.create(web).expect("created");
        world.settle();
        let task = world.running().remove(0);
        world.end_with(&task, TaskState::Failed, reason);
        world.run_inbox();
        let failure = world.app("/web").and_then(|app| app.last_failure);
        assert_eq!(failure.expect("noted").message, says);
        let why = explained(&mut world);
        assert_eq!(why[0].0, "backoff");
        assert!(why[0].1.ends_with(says), "{why:?}");
        // While the next one is on its way, it is not forgotten how the last one ended.
        world.wait(Duration::from_secs(2));
        world.run_inbox();
        let why = explained(&mut world);
        assert_eq!(why[0].0, "failure");
        assert!(why[0].1.ends_with(says), "{why:?}");
        world.settle();
        assert_eq!(world.running().len(), 1);
        assert_eq!(explained(&mut world), [], "nothing is missing any more");
    }
}

fn explained(world: &mut World) -> Vec<(&'static str, String)> {
    match world.api(ApiCall::ExplainApp { app: app("/web") }) {
        Ok(ApiAnswer::Explained(why)) => {
            let reasons = why.reasons.into_iter();
            reasons
                .map(|obstacle| (obstacle.reason, obstacle.message))
                .collect()
        }
        other => panic!("{other:?}"),
    }
}
