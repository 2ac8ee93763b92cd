//! What must happen to apps, one story a test.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{Problem, Reason, Resources, Secret, TaskState, code};

use super::world::{World, app, patch, unknown};
use crate::app::{AppPatch, Fraction, Unreachable};
use crate::effect::{ApiAnswer, Notice};
use crate::event::{ApiCall, Event, InstanceSet};
use crate::health::{CheckProtocol, HealthCheck};
use crate::id::InstanceId;
use crate::instance::Phase;
use crate::port::PortDefinition;

fn started(id: &str, instances: u32) -> World {
    let mut world = World::new();
    world.create(patch(id, instances)).expect("created");
    world.settle();
    assert_eq!(world.running().len(), usize::try_from(instances).unwrap());
    world
}

fn succeeded(world: &World) -> usize {
    world
        .notices
        .iter()
        .filter(|notice| matches!(notice, Notice::DeploymentSucceeded { .. }))
        .count()
}

#[test]
fn a_new_app_starts_and_its_deployment_succeeds() {
    let world = started("/a/web", 3);
    let web = world.app("/a/web").expect("there");
    assert!(web.deployment.is_none());
    assert_eq!(web.spec.ports[0].number, 10000);
    assert_eq!(succeeded(&world), 1);
    assert!(world.acknowledged > 0);
    assert!(world.demand.is_empty());
}

#[test]
fn what_is_reserved_for_the_role_is_used_and_used_first() {
    let mut world = World::new();
    world.offered = "cpus(eng,ops):0.15;cpus:1;cpus{REV}:9;mem(eng,ops):128;mem:100000;\
                     disk(eng,ops)[v]:9;ports:[80-80,31000-31000];ports(eng):[31001-31001]";
    world.create(patch("/web", 2)).expect("created");
    world.offer();
    let specs = world.tasks.values().map(|live| &live.spec.resources);
    let all = specs.fold(Resources::new(), |all, one| all.plus(one));
    let expected =
        "cpus(eng,ops):0.15;cpus:0.05;mem(eng,ops):128;mem:128;ports:[80-80,31000-31000]";
    assert_eq!(all, expected.parse().expect("good"), "{all}");
    world.settle();
    assert_eq!(world.running().len(), 2);
    let mut short = World::new();
    short.offered = "cpus(eng,ops):0.05;cpus:0.04;mem:1000;ports:[80-80]";
    short.create(patch("/web", 1)).expect("created");
    short.offer();
    assert!(short.tasks.is_empty(), "a part is not enough");
}

#[test]
fn a_task_gets_marathons_variables_and_its_own_win() {
    let mut world = World::new();
    let env = BTreeMap::from([
        ("PORT0".to_owned(), Secret::new("mine")),
        ("X".to_owned(), Secret::new("y")),
    ]);
    let labels = BTreeMap::from([
        ("haproxy.group-a".to_owned(), "g".to_owned()),
        ("long".to_owned(), "x".repeat(512)),
    ]);
    let ports = vec![
        PortDefinition {
            name: "http".into(),
            ..PortDefinition::default_one()
        },
        PortDefinition {
            name: String::new(),
            ..PortDefinition::default_one()
        },
    ];
    let patch = AppPatch {
        env: Some(env),
        labels: Some(labels),
        ports: Some(ports),
        ..patch("/a/web", 1)
    };
    world.create(patch).expect("created");
    world.settle();
    let live = world.tasks.values().next().expect("one");
    let get = |name: &str| {
        live.spec
            .environment
            .get(name)
            .map(|value| value.expose().to_owned())
    };
    for (name, value) in [
        ("MARATHON_APP_ID", "/a/web"),
        ("MARATHON_APP_VERSION", "2023-11-14T22:13:20.000Z"),
        ("MARATHON_APP_RESOURCE_CPUS", "0.1"),
        ("MARATHON_APP_RESOURCE_MEM", "128.0"),
        ("MARATHON_APP_LABELS", "HAPROXY_GROUP_A"),
        ("MARATHON_APP_LABEL_HAPROXY_GROUP_A", "g"),
        ("MESOS_TASK_ID", live.spec.id.as_str()),
        ("HOST", "host-a"),
        ("PORT", "80"),
        ("PORT0", "mine"),
        ("PORT1", "81"),
        ("PORT_10001", "81"),
        ("PORT_HTTP", "80"),
        ("PORTS", "80,81"),
        ("X", "y"),
    ] {
        assert_eq!(get(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(get("MARATHON_APP_LABEL_LONG"), None);
    assert_eq!(live.spec.name, "web.a");
    assert_eq!(
        live.spec.resources.to_string(),
        "cpus:0.1;mem:128;ports:[80-81]"
    );
}

#[test]
fn required_ports_are_exact_on_the_host() {
    let mut world = World::new();
    let ports = vec![PortDefinition {
        number: 81,
        ..PortDefinition::default_one()
    }];
    let patch = AppPatch {
        ports: Some(ports),
        require_ports: Some(true),
        ..patch("/web", 1)
    };
    world.create(patch).expect("created");
    world.settle();
    assert_eq!(world.instances()[0].ports, [81]);
}

#[test]
fn a_crashed_instance_is_replaced_after_a_wait_that_grows() {
    let mut world = started("/web", 1);
    for delay_ms in [1_000, 1_150, 1_322] {
        let task = world.running().remove(0);
        world.crash(&task);
        world.settle();
        assert_eq!(world.running().len(), 0, "it waits");
        world.wait(Duration::from_millis(delay_ms - 1));
        world.settle();
        assert_eq!(world.running().len(), 0, "it still waits");
        world.wait(Duration::from_millis(2));
        world.settle();
        assert_eq!(world.running().len(), 1);
    }
    let failure = world
        .app("/web")
        .and_then(|app| app.last_failure)
        .expect("noted");
    assert_eq!(failure.message, "exited with code 1");
}

#[test]
fn finished_counts_as_failure_and_killed_does_not() {
    for (state, reason, waits) in [
        (TaskState::Finished, Reason::Exited, true),
        (TaskState::Killed, Reason::CheckFailed, true),
        (TaskState::Killed, Reason::KillRequested, false),
        (TaskState::Lost, Reason::HostRestarted, false),
        (TaskState::Dropped, Reason::NeverDelivered, false),
    ] {
        let mut world = started("/web", 1);
        let task = world.running().remove(0);
        world.end_with(&task, state, reason);
        world.settle();
        assert_eq!(world.running().is_empty(), waits, "{state} {reason}");
    }
}

#[test]
fn the_delay_can_be_reset_and_is_explained() {
    let mut world = started("/web", 2);
    let task = world.running().remove(0);
    world.crash(&task);
    let ApiAnswer::Explained(why) = world
        .api(ApiCall::ExplainApp { app: app("/web") })
        .expect("known")
    else {
        panic!("an explanation")
    };
    assert_eq!(
        (why.wanted, why.running, why.reasons[0].reason),
        (2, 1, "backoff")
    );
    assert!(
        why.reasons[0].message.contains("exited with code 1"),
        "{}",
        why.reasons[0].message
    );
    let ApiAnswer::Queue(queue) = world.api(ApiCall::ListQueue).expect("answered") else {
        panic!("a queue")
    };
    assert_eq!(
        (queue[0].count, queue[0].delay),
        (1, Duration::from_secs(1))
    );
    world
        .api(ApiCall::ResetDelay { app: app("/web") })
        .expect("waiting");
    world.settle();
    assert_eq!(world.running().len(), 2);
}

#[test]
fn scaling_launches_and_ends_the_youngest() {
    let mut world = started("/web", 1);
    let oldest = world.running();
    world.wait(Duration::from_secs(1));
    world
        .change(
            "/web",
            AppPatch {
                instances: Some(4),
                ..AppPatch::default()
            },
            false,
        )
        .expect("scaled");
    world.settle();
    assert_eq!(world.running().len(), 4);
    world
        .change(
            "/web",
            AppPatch {
                instances: Some(1),
                ..AppPatch::default()
            },
            false,
        )
        .expect("scaled");
    world.settle();
    assert_eq!(world.running(), oldest);
    assert_eq!(succeeded(&world), 3);
}

#[test]
fn a_label_edit_restarts_nothing_and_a_command_replaces_everything() {
    let mut world = started("/web", 3);
    let before = world.running();
    let config = |world: &World| world.app("/web").expect("it is there").last_config;
    let first = config(&world);
    let labels = Some(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
    world
        .change(
            "/web",
            AppPatch {
                labels,
                ..AppPatch::default()
            },
            false,
        )
        .expect("changed");
    world.settle();
    assert_eq!(world.running(), before);
    assert_eq!(config(&world), first, "what runs is as it is to be");
    let command = Some(proffer_model::Command::Shell("other".into()));
    world
        .change(
            "/web",
            AppPatch {
                command,
                ..AppPatch::default()
            },
            false,
        )
        .expect("changed");
    world.settle();
    let after = world.running();
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|task| !before.contains(task)));
    assert_eq!(succeeded(&world), 3);
}

#[test]
fn a_change_that_changes_nothing_succeeds_at_once() {
    let mut world = started("/web", 1);
    let before = world.running();
    let answer = world
        .change("/web", patch("/web", 1), false)
        .expect("taken");
    assert!(matches!(answer, ApiAnswer::Deployed { is_new: false, .. }));
    assert_eq!((world.running(), succeeded(&world)), (before, 2));
}

#[test]
fn a_replacement_waits_for_health() {
    let mut world = World::new();
    let checks = Some(vec![HealthCheck::of(CheckProtocol::Http)]);
    world
        .create(AppPatch {
            health_checks: checks,
            ..patch("/web", 2)
        })
        .expect("created");
    world.settle();
    assert!(
        world.app("/web").expect("there").deployment.is_none(),
        "healthy"
    );
    let before = world.running();
    let change = AppPatch {
        cpus_milli: Some(200),
        ..AppPatch::default()
    };
    world.change("/web", change, false).expect("changed");
    world.offer();
    let new: Vec<_> = world
        .tasks
        .keys()
        .filter(|task| !before.contains(task))
        .cloned()
        .collect();
    assert_eq!(new.len(), 2);
    for task in &new {
        world.set(task, TaskState::Running, None);
    }
    world.run_inbox();
    assert_eq!(
        world.running().len(),
        4,
        "none is healthy yet, so none goes"
    );
    world.set(&new[0], TaskState::Running, Some(true));
    world.run_inbox();
    assert_eq!(world.running().len(), 3, "one for one");
    world.set(&new[1], TaskState::Running, Some(true));
    world.run_inbox();
    assert_eq!(world.running(), new);
}

#[test]
fn an_app_in_deployment_is_locked_unless_forced() {
    let mut world = World::new();
    world.create(patch("/web", 1)).expect("created");
    let scale = |n| AppPatch {
        instances: Some(n),
        ..AppPatch::default()
    };
    let refusal = world.change("/web", scale(2), false).expect_err("locked");
    assert!(refusal.problems[0].is(code::APP_LOCKED));
    assert_eq!(refusal.deployments.len(), 1);
    world.change("/web", scale(2), true).expect("forced");
    assert!(
        world
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::DeploymentFailed { .. }))
    );
    world.settle();
    assert_eq!(world.running().len(), 2);
}

#[test]
fn a_cancelled_replacement_goes_back_to_the_instances_that_are_left() {
    let mut world = started("/web", 3);
    let before = world.running();
    let change = AppPatch {
        cpus_milli: Some(200),
        ..AppPatch::default()
    };
    let ApiAnswer::Deployed { deployment, .. } =
        world.change("/web", change, false).expect("changed")
    else {
        panic!("a deployment")
    };
    world.offer();
    assert!(world.tasks.len() > 3, "new ones beside the old");
    world
        .api(ApiCall::CancelDeployment {
            deployment,
            leave: false,
        })
        .expect("under way");
    world.settle();
    assert_eq!(world.running(), before);
    assert_eq!(world.app("/web").expect("there").spec.cpus_milli, 100);
    let refusal = world
        .api(ApiCall::CancelDeployment {
            deployment,
            leave: false,
        })
        .expect_err("over");
    assert!(refusal.problems[0].is(code::DEPLOYMENT_UNKNOWN));
}

#[test]
fn a_cancelled_start_removes_the_app_and_a_removed_app_is_gone() {
    let mut world = World::new();
    let ApiAnswer::Created(web) = world.create(patch("/web", 1)).expect("created") else {
        panic!("an app")
    };
    let deployment = web.deployment.as_ref().expect("starting").id;
    world
        .api(ApiCall::CancelDeployment {
            deployment,
            leave: false,
        })
        .expect("under way");
    world.settle();
    assert!(world.app("/web").is_none());

    let mut world = started("/web", 2);
    world
        .api(ApiCall::DeleteApp {
            app: app("/web"),
            force: true,
        })
        .expect("there");
    world.settle();
    assert!(world.app("/web").is_none() && world.tasks.is_empty());
    assert!(
        world
            .notices
            .iter()
            .any(|notice| matches!(notice, Notice::AppTerminated(_)))
    );
    world
        .create(patch("/web", 1))
        .expect("its id and port are free again");
}

#[test]
fn a_restart_of_the_app_replaces_and_a_kill_replaces_one() {
    let mut world = started("/web", 2);
    let before = world.running();
    let ids = vec![InstanceId::of_name(before[0].as_str()).expect("an instance")];
    let set = |ids| InstanceSet::Named {
        app: Some(app("/web")),
        ids,
    };
    world
        .api(ApiCall::KillInstances {
            instances: set(ids.clone()),
            scale: false,
            force: false,
        })
        .expect("there");
    world.settle();
    let after = world.running();
    assert!(after.len() == 2 && after.contains(&before[1]) && !after.contains(&before[0]));
    let refusal = world
        .api(ApiCall::KillInstances {
            instances: set(ids),
            scale: false,
            force: false,
        })
        .expect_err("gone");
    assert!(refusal.problems[0].is(code::TASK_UNKNOWN));
    let ids = vec![InstanceId::of_name(after[0].as_str()).expect("an instance")];
    world
        .api(ApiCall::KillInstances {
            instances: set(ids),
            scale: true,
            force: false,
        })
        .expect("there");
    world.settle();
    assert_eq!(world.running(), [after[1].clone()]);
    world
        .api(ApiCall::RestartApp {
            app: app("/web"),
            force: false,
        })
        .expect("there");
    world.settle();
    assert!(world.running().len() == 1 && world.running() != [after[1].clone()]);
}

#[test]
fn after_a_restart_of_the_program_everything_is_adopted() {
    let mut world = started("/web", 3);
    let before = world.running();
    world.restart();
    world.settle();
    assert_eq!(world.running(), before);
    world
        .change(
            "/web",
            AppPatch {
                instances: Some(4),
                ..AppPatch::default()
            },
            false,
        )
        .expect("scaled");
    world.settle();
    assert_eq!(world.running().len(), 4);
    assert_eq!(
        world.app("/web").expect("there").spec.ports[0].number,
        10000
    );
}

#[test]
fn a_deployment_goes_on_after_a_restart_of_the_program() {
    let mut world = started("/web", 4);
    let before = world.running();
    let change = AppPatch {
        cpus_milli: Some(200),
        minimum_health: Some(Fraction(500_000)),
        maximum_over: Some(Fraction(0)),
        ..AppPatch::default()
    };
    world.change("/web", change, false).expect("changed");
    world.run_inbox();
    world.offer();
    world.restart();
    world.settle();
    assert_eq!(world.running().len(), 4);
    assert!(world.running().iter().all(|task| !before.contains(task)));
    assert!(world.app("/web").expect("there").deployment.is_none());
}

#[test]
fn an_instance_that_was_kept_and_never_launched_is_forgotten_without_a_wait() {
    let mut world = World::new();
    world.create(patch("/web", 1)).expect("created");
    world.refuses = Some(Problem::new(code::PEER_UNREACHABLE, "the session broke"));
    world.offer();
    assert_eq!(
        world.instances().len(),
        0,
        "the master said that it does not know it"
    );
    world.refuses = None;
    world.settle();
    assert_eq!(world.running().len(), 1);
    assert!(world.app("/web").expect("there").last_failure.is_none());
}

#[test]
fn a_refused_launch_is_tried_again_and_only_a_race_without_a_wait() {
    for (code, waits) in [
        (code::OFFER_GONE, false),
        (code::TASK_RESOURCES_NOT_OFFERED, true),
    ] {
        let mut world = World::new();
        world.create(patch("/web", 1)).expect("created");
        world.refuses = Some(Problem::new(code, "no"));
        world.offer();
        world.refuses = None;
        world.settle();
        assert_eq!(world.running().is_empty(), waits, "{}", code.name);
        world.wait(Duration::from_secs(1));
        world.settle();
        assert_eq!(world.running().len(), 1);
    }
}

#[test]
fn instances_of_a_lost_agent_are_replaced_and_there_are_as_many_as_asked_when_it_returns() {
    // Whether the agent returns before or after the replacements are healthy.
    for returns_late in [true, false] {
        let mut world = started("/web", 3);
        world.cut_off("a");
        assert!(
            world
                .instances()
                .iter()
                .all(|instance| instance.phase == Phase::Unreachable)
        );
        if returns_late {
            world.settle();
            assert_eq!(world.tasks.len(), 6, "replaced on the other agent");
            world.wait(Duration::from_secs(60));
        } else {
            world.offer();
        }
        world.reattach("a");
        world.settle();
        assert_eq!(world.running().len(), 3, "late: {returns_late}");
        assert_eq!(world.instances().len(), 3);
        world.wait(Duration::from_secs(60));
        world.settle();
        assert_eq!(world.running().len(), 3);
    }
}

#[test]
fn an_app_that_waits_for_its_agent_is_not_replaced() {
    let mut world = World::new();
    world
        .create(AppPatch {
            unreachable: Some(Unreachable::Wait),
            ..patch("/web", 2)
        })
        .expect("created");
    world.settle();
    let before = world.running();
    world.cut_off("a");
    world.wait(Duration::from_secs(3600));
    world.settle();
    assert_eq!(world.tasks.len(), 2);
    world.reattach("a");
    world.settle();
    assert_eq!(world.running(), before);
}

#[test]
fn unreachable_instances_are_given_up_when_their_time_has_come() {
    let mut world = World::new();
    let strategy = Unreachable::Replace {
        inactive_after: Duration::from_secs(100),
        expunge_after: Duration::from_secs(200),
    };
    world
        .create(AppPatch {
            unreachable: Some(strategy),
            ..patch("/web", 1)
        })
        .expect("created");
    world.settle();
    world.cut_off("a");
    world.wait(Duration::from_secs(99));
    world.settle();
    assert_eq!(world.instances().len(), 1);
    world.wait(Duration::from_secs(1));
    world.settle();
    assert_eq!(
        world.instances().len(),
        2,
        "replaced, and not yet forgotten"
    );
    world.wait(Duration::from_secs(101));
    assert_eq!(world.instances().len(), 1, "forgotten");
}

#[test]
fn a_task_that_nobody_knows_is_killed() {
    let mut world = started("/web", 1);
    let (task, live) = world
        .tasks
        .iter()
        .next()
        .map(|(task, live)| (task.clone(), live.clone()))
        .expect("one");
    let stranger =
        proffer_model::TaskId::new("web.instance-00000000000000000000000000000001._app.1")
            .expect("good");
    world.tasks.insert(stranger.clone(), live);
    world.reconnect();
    assert_eq!(world.tasks.keys().collect::<Vec<_>>(), [&task]);
    // An unknown status of an unknown task is only acknowledged.
    world.told(unknown(&stranger));
    world.run_inbox();
}

#[test]
fn without_a_session_nothing_is_changed() {
    let mut world = started("/web", 1);
    world.step(Event::SessionLost);
    for call in [
        ApiCall::CreateApp {
            patch: Box::new(patch("/b", 1)),
        },
        ApiCall::RestartApp {
            app: app("/web"),
            force: true,
        },
        ApiCall::DeleteApp {
            app: app("/web"),
            force: true,
        },
    ] {
        let refusal = world.api(call).expect_err("cannot be kept");
        assert!(refusal.problems[0].is(code::PEER_UNREACHABLE));
    }
    assert!(world.app("/b").is_none() && world.app("/web").expect("there").deployment.is_none());
    world.reconnect();
    world.settle();
    assert_eq!(world.running().len(), 1);
}

#[test]
fn two_apps_cannot_have_one_service_port() {
    let mut world = started("/a", 1);
    let ports = Some(vec![PortDefinition {
        number: 10000,
        ..PortDefinition::default_one()
    }]);
    let refusal = world
        .create(AppPatch {
            ports,
            ..patch("/b", 1)
        })
        .expect_err("taken");
    assert!(refusal.problems[0].is(code::APP_PORT_TAKEN));
    assert!(world.app("/b").is_none());
    let refusal = world.create(patch("/a", 1)).expect_err("exists");
    assert!(refusal.problems[0].is(code::APP_EXISTS));
    world.create(patch("/b", 1)).expect("created");
    assert_eq!(world.app("/b").expect("there").spec.ports[0].number, 10001);
}

#[test]
fn a_launch_that_never_comes_up_is_ended_and_tried_again() {
    let mut world = World::new();
    world.create(patch("/web", 1)).expect("created");
    world.offer();
    let first = world.tasks.keys().next().cloned().expect("staging");
    for _ in 0..11 {
        world.wait(Duration::from_secs(30));
    }
    assert!(!world.tasks.contains_key(&first));
    world.settle();
    assert_eq!(world.running().len(), 1);
}

#[test]
fn a_launch_that_died_with_the_master_is_tried_again_once_its_agent_has_settled() {
    let mut world = World::new();
    world.create(patch("/web", 1)).expect("created");
    world.offer();
    // The launch was answered, and the master died before the agent had it: the next one learns of no such task.
    let (task, live) = world.tasks.pop_first().expect("staging");
    world.step(Event::AgentSettled(live.agent));
    world.run_inbox();
    assert!(world.instances().iter().all(|it| it.task != task));
    world.settle();
    assert_eq!(world.running().len(), 1);
    assert!(world.app("/web").expect("there").last_failure.is_none());
}

#[test]
fn many_changes_become_one_demand() {
    let mut world = World::new();
    for i in 0..50 {
        world
            .create(patch(&format!("/app-{i}"), 1))
            .expect("created");
    }
    assert!(world.demand.len() <= 1, "the rest is told in a moment");
    world.run_inbox();
    assert_eq!(world.demand.len(), 50);
}
