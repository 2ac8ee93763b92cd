//! Which definitions are refused, and with which field.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{Command, Secret};

use super::world::{app, patch};
use crate::app::{AppPatch, Fraction, Unreachable};
use crate::health::{CheckPort, CheckProtocol, HealthCheck};
use crate::port::PortDefinition;

fn port(number: u16, name: &str) -> PortDefinition {
    PortDefinition {
        number,
        name: name.into(),
        ..PortDefinition::default_one()
    }
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let check = |change: &dyn Fn(&mut HealthCheck)| {
        let mut check = HealthCheck::of(CheckProtocol::Http);
        change(&mut check);
        Some(vec![check])
    };
    let single = BTreeMap::from([("MARATHON_SINGLE_INSTANCE_APP".to_owned(), "true".to_owned())]);
    let backwards = Unreachable::Replace {
        inactive_after: Duration::from_secs(2),
        expunge_after: Duration::from_secs(1),
    };
    let usual = || patch("/web", 1);
    for (patch, field) in [
        (
            AppPatch {
                command: None,
                ..usual()
            },
            "cmd",
        ),
        (
            AppPatch {
                health_checks: Some(vec![HealthCheck::of(CheckProtocol::Command)]),
                ..usual()
            },
            "healthChecks[0].command.value",
        ),
        (
            AppPatch {
                health_checks: Some(vec![HealthCheck {
                    command: "a\0".into(),
                    ..HealthCheck::of(CheckProtocol::Command)
                }]),
                ..usual()
            },
            "healthChecks[0].command.value",
        ),
        (
            AppPatch {
                command: Some(Command::Shell(" ".into())),
                ..usual()
            },
            "cmd",
        ),
        (
            AppPatch {
                command: Some(Command::Shell("a\0b".into())),
                ..usual()
            },
            "cmd",
        ),
        (
            AppPatch {
                command: Some(Command::Exec(vec![])),
                ..usual()
            },
            "args",
        ),
        (
            AppPatch {
                command: Some(Command::Exec(vec![String::new()])),
                ..usual()
            },
            "args",
        ),
        (
            AppPatch {
                cpus_milli: Some(0),
                ..usual()
            },
            "cpus",
        ),
        (
            AppPatch {
                mem_milli: Some(u64::MAX),
                ..usual()
            },
            "mem",
        ),
        (
            AppPatch {
                instances: Some(u32::MAX),
                ..usual()
            },
            "instances",
        ),
        (
            AppPatch {
                labels: Some(single),
                ..usual()
            },
            "instances",
        ),
        (
            AppPatch {
                unreachable: Some(backwards),
                ..usual()
            },
            "unreachableStrategy",
        ),
        (
            AppPatch {
                env: Some(BTreeMap::from([("a=b".into(), Secret::new("x"))])),
                ..usual()
            },
            "env",
        ),
        (
            AppPatch {
                env: Some(BTreeMap::from([("a".into(), Secret::new("x\0"))])),
                ..usual()
            },
            "env",
        ),
        (
            AppPatch {
                user: Some("a:b".into()),
                ..usual()
            },
            "user",
        ),
        (
            AppPatch {
                ports: Some(vec![port(1, "a"), port(1, "b")]),
                ..usual()
            },
            "portDefinitions[1].port",
        ),
        (
            AppPatch {
                ports: Some(vec![port(0, "a"), port(0, "a")]),
                ..usual()
            },
            "portDefinitions[1].name",
        ),
        (
            AppPatch {
                ports: Some(vec![port(0, "a b")]),
                ..usual()
            },
            "portDefinitions[0].name",
        ),
        (
            AppPatch {
                ports: Some(vec![]),
                health_checks: check(&|_| {}),
                ..usual()
            },
            "healthChecks[0].portIndex",
        ),
        (
            AppPatch {
                health_checks: check(&|c| c.port = CheckPort::Number(0)),
                ..usual()
            },
            "healthChecks[0].port",
        ),
        (
            AppPatch {
                health_checks: check(&|c| c.path = "x".into()),
                ..usual()
            },
            "healthChecks[0].path",
        ),
        (
            AppPatch {
                health_checks: check(&|c| c.interval = Duration::ZERO),
                ..usual()
            },
            "healthChecks[0].intervalSeconds",
        ),
        (
            AppPatch {
                health_checks: check(&|c| c.timeout = Duration::ZERO),
                ..usual()
            },
            "healthChecks[0].timeoutSeconds",
        ),
        (
            AppPatch {
                command: Some(Command::Shell("x".repeat(70_000))),
                ..usual()
            },
            "",
        ),
    ] {
        let problems = patch.onto(app("/web"), None).expect_err(field);
        assert_eq!(problems[0].field, field, "{problems:?}");
        assert!(!problems[0].hint.is_empty() && !problems[0].message.is_empty());
    }
}

#[test]
fn what_is_not_named_stays_or_has_marathons_default() {
    let spec = patch("/web", 1).onto(app("/web"), None).expect("good");
    assert_eq!(
        (spec.mem_milli, spec.disk_milli, spec.ports.len()),
        (128_000, 0, 1)
    );
    assert_eq!(spec.upgrade.minimum_health, Fraction::ONE);
    assert_eq!(spec.backoff.max, Duration::from_secs(300));
    let change = AppPatch {
        mem_milli: Some(1),
        ..AppPatch::default()
    };
    let changed = change.onto(app("/web"), Some(&spec)).expect("good");
    assert_eq!((changed.mem_milli, changed.cpus_milli), (1, 100));
    assert!(!changed.runs_like(&spec));
}

#[test]
fn many_problems_are_told_together() {
    let patch = AppPatch {
        cpus_milli: Some(0),
        instances: Some(u32::MAX),
        ..patch("/web", 1)
    };
    assert_eq!(patch.onto(app("/web"), None).expect_err("two").len(), 2);
}
