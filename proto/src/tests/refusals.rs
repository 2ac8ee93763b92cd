//! Bad input, as tables: what is changed in a good message, and which code and field name it.

use proffer_model::limits::{
    CHECKS_MAX, DEMAND_COUNT_MAX, PATTERNS_MAX, PREDICATE_DEPTH_MAX, ROLES_MAX, SCALAR_MILLI_MAX,
    TASK_SPEC_LEN_MAX, TEXT_LEN_MAX,
};
use proffer_model::{Kind, Problem, code};
use prost::Message;
use tonic::{Code, Status};

use crate::v1::matches;
use crate::v1::predicate::Test;
use crate::v1::session_call::Call;
use crate::v1::task_spec::Command;
use crate::{
    decode_batch, decode_call, decode_problem, decode_snapshot, decode_to_agent, decode_to_master,
    problem_of, status_of, store, v1,
};

const MISSING: &str = code::FIELD_MISSING.name;
const INVALID: &str = code::FIELD_INVALID.name;
const TOO_LONG: &str = code::FIELD_TOO_LONG.name;
const ID: &str = code::ID_INVALID.name;
const RESOURCES: &str = code::RESOURCES_INVALID.name;
const RANGES: &str = code::RANGES_INVALID.name;

/// A code, a field, and the change that makes a good message bad.
type Row<M> = (&'static str, &'static str, fn(&mut M));

fn scalar(name: &str, milli: u64) -> v1::Scalar {
    v1::Scalar {
        name: name.into(),
        milli,
    }
}

fn ports(begin: u64, end: u64) -> v1::Ranges {
    v1::Ranges {
        name: "ports".into(),
        ranges: vec![v1::Range { begin, end }],
    }
}

fn good_check() -> v1::Check {
    v1::Check {
        kind: Some(v1::check::Kind::Http(v1::HttpCheck {
            port: 31_000,
            path: "/".into(),
        })),
        interval_ms: 1_000,
        timeout_ms: 500,
        ..v1::Check::default()
    }
}

pub(super) fn good_task() -> v1::TaskSpec {
    v1::TaskSpec {
        id: "web.1".into(),
        resources: Some(v1::Resources {
            scalars: vec![scalar("cpus", 500)],
            ranges: vec![ports(31_000, 31_001)],
            ..v1::Resources::default()
        }),
        command: Some(Command::Shell("true".into())),
        ports: vec![v1::Port {
            number: 31_000,
            ..v1::Port::default()
        }],
        checks: vec![good_check()],
        ..v1::TaskSpec::default()
    }
}

fn call(call: Call) -> v1::SessionCall {
    v1::SessionCall {
        request_id: 7,
        epoch: None,
        call: Some(call),
    }
}

#[track_caller]
pub(super) fn assert_refused<T: std::fmt::Debug>(
    decoded: Result<T, Problem>,
    code: &str,
    field: &str,
) {
    let problem = decoded.expect_err(field);
    assert_eq!(
        (problem.code.as_ref(), problem.field.as_str()),
        (code, field),
        "{problem}"
    );
}

/// What is wrong with a task, by code and field.
const BAD_TASKS: &[Row<v1::TaskSpec>] = &[
    (MISSING, "id", |t| t.id.clear()),
    (ID, "id", |t| t.id = "a/b".into()),
    (ID, "id", |t| t.id = "x".repeat(201)),
    (TOO_LONG, "name", |t| t.name = "x".repeat(TEXT_LEN_MAX + 1)),
    (MISSING, "resources", |t| t.resources = None),
    (RESOURCES, "resources.cpus", |t| {
        resources(t).scalars[0].milli = SCALAR_MILLI_MAX + 1;
    }),
    (RESOURCES, "resources.cpus", |t| {
        resources(t).scalars.push(scalar("cpus", 1));
    }),
    (MISSING, "resources.scalars[0].name", |t| {
        resources(t).scalars[0].name.clear();
    }),
    (ID, "resources.scalars[0].name", |t| {
        resources(t).scalars[0].name = "1a".into();
    }),
    (RANGES, "resources.ports", |t| {
        resources(t).ranges = vec![ports(5, 1)];
    }),
    (RANGES, "resources.ports", |t| {
        let again = resources(t).ranges[0].ranges[0];
        resources(t).ranges[0].ranges.push(again);
    }),
    (RESOURCES, "resources.ports", |t| {
        resources(t).ranges.push(ports(1, 5));
    }),
    (MISSING, "command", |t| t.command = None),
    (MISSING, "shell", |t| {
        t.command = Some(Command::Shell(" \n".into()))
    }),
    (INVALID, "shell", |t| {
        t.command = Some(Command::Shell("a\0b".into()))
    }),
    (MISSING, "exec.arguments[0]", |t| {
        t.command = Some(exec(&[]))
    }),
    (MISSING, "exec.arguments[0]", |t| {
        t.command = Some(exec(&["", "a"]))
    }),
    (INVALID, "exec.arguments[1]", |t| {
        t.command = Some(exec(&["a", "\0"]))
    }),
    (INVALID, "environment", |t| environment(t, "", "x")),
    (INVALID, "environment", |t| environment(t, "A=B", "x")),
    (INVALID, "environment", |t| environment(t, "A\0", "x")),
    (INVALID, "environment.A", |t| environment(t, "A", "x\0")),
    (TOO_LONG, "environment", |t| {
        (0..1_001).for_each(|i| environment(t, &format!("A{i}"), ""));
    }),
    (INVALID, "user", |t| t.user = "a\0".into()),
    (INVALID, "labels", |t| {
        t.labels.insert(String::new(), "x".into());
    }),
    (INVALID, "ports[0].number", |t| t.ports[0].number = 0),
    (INVALID, "ports[0].number", |t| t.ports[0].number = 65_536),
    (INVALID, "ports[0].number", |t| t.ports[0].number = 30_999),
    (INVALID, "ports[0].protocol", |t| t.ports[0].protocol = 9),
    (INVALID, "ports[1].number", |t| {
        let again = t.ports[0].clone();
        t.ports.push(again);
    }),
    (TOO_LONG, "checks", |t| {
        t.checks = vec![good_check(); CHECKS_MAX + 1]
    }),
    (MISSING, "checks[0].kind", |t| t.checks[0].kind = None),
    (INVALID, "checks[0].interval_ms", |t| {
        t.checks[0].interval_ms = 9
    }),
    (INVALID, "checks[0].timeout_ms", |t| {
        t.checks[0].timeout_ms = 0
    }),
    (INVALID, "checks[0].failures_max", |t| {
        t.checks[0].observed = true;
        t.checks[0].failures_max = 1;
    }),
    (INVALID, "checks[0].delay_ms", |t| {
        t.checks[0].delay_ms = u64::MAX
    }),
    (INVALID, "checks[0].http.port", |t| {
        t.checks[0].kind = Some(http(0, "/"))
    }),
    (INVALID, "checks[0].http.path", |t| {
        t.checks[0].kind = Some(http(1, "a"))
    }),
    (INVALID, "checks[0].http.path", |t| {
        t.checks[0].kind = Some(http(1, ""))
    }),
    (INVALID, "checks[0].http.path", |t| {
        t.checks[0].kind = Some(http(1, "/ HTTP/1.1\r\nX: y"));
    }),
    (INVALID, "checks[0].tcp.port", |t| {
        t.checks[0].kind = Some(v1::check::Kind::Tcp(v1::TcpCheck { port: 70_000 }));
    }),
    (INVALID, "kill_grace_ms", |t| {
        t.kill_grace_ms = Some(u64::MAX)
    }),
];

#[test]
fn a_bad_task_is_refused_with_its_place_in_the_accept() {
    let accept = |spec| {
        decode_call(call(Call::Accept(v1::Accept {
            offer_ids: vec!["o".into()],
            operations: vec![
                launch(v1::TaskSpec {
                    id: "other".into(),
                    ..good_task()
                }),
                launch(spec),
            ],
        })))
    };
    accept(good_task()).expect("a good task");
    for (code, field, change) in BAD_TASKS {
        let mut spec = good_task();
        change(&mut spec);
        assert_refused(
            accept(spec),
            code,
            &format!("accept.operations[1].launch.{field}"),
        );
    }
}

fn launch(spec: v1::TaskSpec) -> v1::Operation {
    operation(v1::operation::Operation::Launch(spec))
}

fn operation(operation: v1::operation::Operation) -> v1::Operation {
    v1::Operation {
        operation: Some(operation),
    }
}

#[test]
fn a_bad_operation_is_refused_with_its_place_in_the_accept() {
    use v1::operation::Operation as Wire;
    let group = |tasks| Wire::LaunchGroup(v1::LaunchGroup { tasks });
    let grow = |id: &str, milli| {
        let volume_id = id.into();
        Wire::Grow(v1::GrowVolume { volume_id, milli })
    };
    let rows = [
        (MISSING, "launch_group.tasks", group(vec![])),
        (
            INVALID,
            "launch_group.tasks[1].id",
            group(vec![good_task(), good_task()]),
        ),
        (MISSING, "reserve", Wire::Reserve(v1::Resources::default())),
        (MISSING, "destroy", Wire::Destroy(v1::Resources::default())),
        (ID, "grow.volume_id", grow("../x", 1)),
        (MISSING, "grow.milli", grow("v", 0)),
        (INVALID, "grow.milli", grow("v", u64::MAX)),
    ];
    for (code, field, bad) in rows {
        let accept = v1::Accept {
            offer_ids: vec!["o".into()],
            operations: vec![operation(bad)],
        };
        let decoded = decode_call(call(Call::Accept(accept)));
        assert_refused(decoded, code, &format!("accept.operations[0].{field}"));
    }
}

fn resources(task: &mut v1::TaskSpec) -> &mut v1::Resources {
    task.resources.as_mut().expect("a good task has them")
}

fn environment(task: &mut v1::TaskSpec, name: &str, value: &str) {
    task.environment.insert(name.into(), value.into());
}

fn exec(arguments: &[&str]) -> Command {
    Command::Exec(v1::Exec {
        arguments: arguments.iter().map(|text| (*text).into()).collect(),
        ..v1::Exec::default()
    })
}

fn http(port: u32, path: &str) -> v1::check::Kind {
    v1::check::Kind::Http(v1::HttpCheck {
        port,
        path: path.into(),
    })
}

#[test]
fn a_task_that_is_large_as_a_whole_is_refused() {
    let mut spec = good_task();
    for i in 0..TASK_SPEC_LEN_MAX / TEXT_LEN_MAX {
        environment(&mut spec, &format!("LARGE_{i}"), &"x".repeat(TEXT_LEN_MAX));
    }
    assert_refused(crate::decode_task_spec(spec), TOO_LONG, "");
}

#[test]
fn a_secret_is_not_in_the_refusal() {
    let mut spec = good_task();
    environment(&mut spec, "PASSWORD", "hunter2\0");
    let problem = crate::decode_task_spec(spec).expect_err("a NUL");
    assert!(!format!("{problem:?}").contains("hunter2"), "{problem}");
}

#[test]
fn a_bad_subscription_is_refused() {
    let rows: &[Row<v1::Subscribe>] = &[
        (MISSING, "roles", |s| s.roles.clear()),
        (ID, "roles[0]", |s| s.roles = vec!["-a".into()]),
        (INVALID, "roles[1]", |s| s.roles.push("web".into())),
        (TOO_LONG, "roles", |s| {
            s.roles = (0..=ROLES_MAX).map(|i| format!("r{i}")).collect()
        }),
        (ID, "framework_id", |s| s.framework_id = "..".into()),
        (INVALID, "failover_timeout_ms", |s| {
            s.failover_timeout_ms = Some(u64::MAX)
        }),
    ];
    for (code, field, change) in rows {
        let mut subscribe = v1::Subscribe {
            roles: vec!["web".into()],
            ..v1::Subscribe::default()
        };
        change(&mut subscribe);
        let decoded = decode_call(call(Call::Subscribe(subscribe)));
        assert_refused(decoded, code, &format!("subscribe.{field}"));
    }
}

#[test]
fn bad_calls_are_refused() {
    let texts = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let accept = |ids: &[&str], operations| v1::Accept {
        offer_ids: texts(ids),
        operations,
    };
    let decline = |ids: &[&str], exclude_for_ms| v1::Decline {
        offer_ids: texts(ids),
        exclude_for_ms,
    };
    let kill = |id: &str, grace_ms| v1::Kill {
        task_id: id.into(),
        grace_ms,
    };
    let reconcile = v1::Reconcile {
        task_ids: texts(&["a b"]),
    };
    let twice = vec![launch(good_task()), launch(good_task())];
    let rows = [
        (
            MISSING,
            "accept.offer_ids",
            Call::Accept(accept(&[], vec![])),
        ),
        (
            INVALID,
            "accept.offer_ids[1]",
            Call::Accept(accept(&["o", "o"], vec![])),
        ),
        (
            INVALID,
            "accept.operations[1].launch.id",
            Call::Accept(accept(&["o"], twice)),
        ),
        (MISSING, "decline.offer_ids", Call::Decline(decline(&[], 0))),
        (
            MISSING,
            "decline.offer_ids[0]",
            Call::Decline(decline(&[""], 0)),
        ),
        (
            INVALID,
            "decline.exclude_for_ms",
            Call::Decline(decline(&["o"], u64::MAX)),
        ),
        (MISSING, "kill.task_id", Call::Kill(kill("", None))),
        (
            INVALID,
            "kill.grace_ms",
            Call::Kill(kill("t", Some(u64::MAX))),
        ),
        (ID, "reconcile.task_ids[0]", Call::Reconcile(reconcile)),
    ];
    for (code, field, bad) in rows {
        assert_refused(decode_call(call(bad)), code, field);
    }
    let empty = v1::SessionCall::default();
    assert_refused(decode_call(empty), MISSING, "call");
}

#[test]
fn a_bad_demand_is_refused() {
    let rows: &[Row<v1::SetDemand>] = &[
        (MISSING, "role", |d| d.role.clear()),
        (MISSING, "entries[0].id", |d| d.entries[0].id.clear()),
        (INVALID, "entries[1].id", |d| {
            let again = d.entries[0].clone();
            d.entries.push(again);
        }),
        (INVALID, "entries[0].count", |d| d.entries[0].count = 0),
        (INVALID, "entries[0].count", |d| {
            d.entries[0].count = DEMAND_COUNT_MAX + 1;
        }),
        (MISSING, "entries[0].shape.resources", |d| {
            d.entries[0].shape = Some(v1::Shape::default());
        }),
        (INVALID, "entries[0].shape.counts.ports", |d| {
            let counts = [("ports".to_owned(), 0)].into();
            d.entries[0].shape = Some(v1::Shape {
                least: Vec::new(),
                resources: None,
                counts,
            });
        }),
        (MISSING, "entries[0].predicates[0].test", |d| {
            d.entries[0].predicates = vec![v1::Predicate::default()];
        }),
        (MISSING, "entries[0].predicates[0].not.host", |d| {
            d.entries[0].predicates = vec![negated(Test::Host(String::new()))];
        }),
        (
            MISSING,
            "entries[0].predicates[0].not.any_of.predicates[0].attribute.value",
            |d| {
                let attribute = v1::Attribute {
                    name: "rack".into(),
                    value: String::new(),
                };
                let inner = predicate(Test::Attribute(attribute));
                let list = v1::PredicateList {
                    predicates: vec![inner],
                };
                d.entries[0].predicates = vec![negated(Test::AnyOf(list))];
            },
        ),
        (MISSING, "entries[0].predicates[0].matches.of", |d| {
            d.entries[0].predicates = vec![matching("a", None)];
        }),
        (MISSING, "entries[0].predicates[0].matches.pattern", |d| {
            d.entries[0].predicates = vec![matching("", Some(HOST))];
        }),
        (MISSING, "entries[0].predicates[0].matches.attribute", |d| {
            let none = matches::Of::Attribute(String::new());
            d.entries[0].predicates = vec![matching("a", Some(none))];
        }),
        (INVALID, "entries[0].predicates[0].matches.pattern", |d| {
            d.entries[0].predicates = vec![matching("a(", Some(HOST))];
        }),
        (INVALID, "entries[0].predicates", |d| {
            let one = matching("a", Some(HOST));
            let all = vec![one; PATTERNS_MAX + 1];
            let list = v1::PredicateList { predicates: all };
            d.entries[0].predicates = vec![negated(Test::AnyOf(list))];
        }),
        (MISSING, "entries[0].excluded[0].agent_id", |d| {
            d.entries[0].excluded = vec![v1::Exclusion::default()];
        }),
        (INVALID, "entries[0].gang", |d| d.entries[0].gang = 2),
        (MISSING, "entries[0].at_most[0].count", |d| {
            d.entries[0].at_most = vec![v1::AtMost::default()];
        }),
        (MISSING, "entries[0].at_most[0].of", |d| {
            d.entries[0].at_most = vec![v1::AtMost { count: 1, of: None }];
        }),
        (MISSING, "entries[0].at_most[0].attribute", |d| {
            let of = Some(v1::at_most::Of::Attribute(String::new()));
            d.entries[0].at_most = vec![v1::AtMost { count: 1, of }];
        }),
        (MISSING, "entries[0].shape.least[0].scalars", |d| {
            d.entries[0].shape = Some(v1::Shape {
                least: vec![v1::Quantities::default()],
                ..v1::Shape::default()
            });
        }),
        (INVALID, "entries[0].shape.least[0].cpus", |d| {
            let scalars = vec![scalar("cpus", 1), scalar("cpus", 2)];
            d.entries[0].shape = Some(v1::Shape {
                least: vec![v1::Quantities { scalars }],
                ..v1::Shape::default()
            });
        }),
        (INVALID, "entries[0].shape.least", |d| {
            d.entries[0].shape = Some(v1::Shape {
                least: vec![v1::Quantities::default()],
                counts: [("ports".to_owned(), 1)].into(),
                ..v1::Shape::default()
            });
        }),
    ];
    let good = || v1::SetDemand {
        role: "web".into(),
        generation: 1,
        entries: vec![v1::DemandEntry {
            id: "e".into(),
            count: 1,
            ..v1::DemandEntry::default()
        }],
    };
    decode_call(call(Call::SetDemand(good()))).expect("a good demand");
    let rows = rows.iter().copied().chain(patterns_that_take_too_much());
    for (code, field, change) in rows {
        let mut demand = good();
        change(&mut demand);
        let decoded = decode_call(call(Call::SetDemand(demand)));
        assert_refused(decoded, code, &format!("set_demand.{field}"));
    }
}

/// Each by itself might be.
fn patterns_that_take_too_much() -> [Row<v1::SetDemand>; 1] {
    [(INVALID, "entries[0].predicates[3].matches.pattern", |d| {
        let folded = (0..4).map(|n| format!("(?i)[\\x00-\\x{{10FFFF}}]{n}"));
        let folded = folded.map(|one| matching(&one, Some(matches::Of::Host(v1::Each {}))));
        d.entries[0].predicates = folded.collect();
    })]
}

#[test]
fn resources_that_cannot_be_are_refused() {
    let kinds = code::RESOURCES_INVALID.name;
    let reserved = code::RESERVATION_INVALID.name;
    let to = |role: &str| v1::Reservation {
        role: role.into(),
        ..v1::Reservation::default()
    };
    let good = || v1::SpecialResource {
        name: "disk".into(),
        reservations: vec![to("eng")],
        disk: Some(v1::Disk {
            volume: Some(v1::Volume {
                id: "v".into(),
                ..v1::Volume::default()
            }),
            ..v1::Disk::default()
        }),
        amount: Some(v1::special_resource::Amount::Milli(1)),
        ..v1::SpecialResource::default()
    };
    let decode = |special| {
        crate::decode_resources(v1::Resources {
            special,
            ..v1::Resources::default()
        })
    };
    decode(vec![good()]).expect("a volume");
    assert_refused(decode(vec![good(), good()]), kinds, "special[1]");
    type Change<'a> = &'a dyn Fn(&mut v1::SpecialResource);
    let rows: &[(&str, &str, Change<'_>)] = &[
        (MISSING, "name", &|s| s.name.clear()),
        (MISSING, "amount", &|s| s.amount = None),
        (kinds, "", &|s| {
            s.amount = Some(v1::special_resource::Amount::Milli(u64::MAX));
        }),
        (kinds, "disk", &|s| s.name = "cpus".into()),
        (kinds, "copies", &|s| s.copies = 2),
        (kinds, "shared", &|s| {
            s.shared = true;
            s.disk = None;
        }),
        (MISSING, "disk.volume.id", &|s| {
            s.disk = Some(v1::Disk {
                volume: Some(v1::Volume::default()),
                ..v1::Disk::default()
            });
        }),
        (MISSING, "reservations[1].role", &|s| {
            s.reservations.push(to(""))
        }),
        (code::ID_INVALID.name, "reservations[1].role", &|s| {
            s.reservations.push(to("eng/../web"));
        }),
        (reserved, "reservations[1].role", &|s| {
            s.reservations.push(to("ops"));
        }),
        (reserved, "reservations[0].role", &|s| {
            s.reservations = vec![to("*")]
        }),
    ];
    for (code, field, change) in rows {
        let mut special = good();
        change(&mut special);
        let place = match *field {
            "" => "special[0]".to_owned(),
            field => format!("special[0].{field}"),
        };
        assert_refused(decode(vec![special]), code, &place);
    }
    let set = v1::Set {
        name: "zones".into(),
        items: vec!["a".into(), "a".into()],
    };
    let resources = v1::Resources {
        sets: vec![set],
        ..v1::Resources::default()
    };
    assert_refused(crate::decode_resources(resources), kinds, "zones");
}

#[test]
fn a_domain_has_a_region_and_a_zone() {
    let description = |region: &str, zone: &str| {
        crate::decode_agent_description(v1::AgentDescription {
            host: "h".into(),
            address: "h:1".into(),
            resources: Some(v1::Resources::default()),
            domain: Some(v1::FaultDomain {
                region: region.into(),
                zone: zone.into(),
            }),
            ..v1::AgentDescription::default()
        })
    };
    description("eu", "a").expect("both");
    assert_refused(description("eu", ""), INVALID, "domain.zone");
    assert_refused(description("", "a"), INVALID, "domain.region");
}

fn predicate(test: Test) -> v1::Predicate {
    v1::Predicate { test: Some(test) }
}

const HOST: matches::Of = matches::Of::Host(v1::Each {});

fn matching(pattern: &str, of: Option<matches::Of>) -> v1::Predicate {
    predicate(Test::Matches(v1::Matches {
        pattern: pattern.to_owned(),
        of,
    }))
}

fn negated(test: Test) -> v1::Predicate {
    predicate(Test::Not(Box::new(predicate(test))))
}

#[test]
fn predicates_may_be_nested_up_to_the_limit() {
    let nested = |depth: usize| {
        (1..depth).fold(predicate(Test::Host("h".into())), |inner, _| {
            predicate(Test::Not(Box::new(inner)))
        })
    };
    crate::decode_predicate(nested(PREDICATE_DEPTH_MAX)).expect("at the limit");
    let problem = crate::decode_predicate(nested(PREDICATE_DEPTH_MAX + 1)).expect_err("beyond");
    assert!(problem.is(code::FIELD_INVALID), "{problem}");
}

#[test]
fn bad_link_messages_are_refused() {
    let hello = |description| v1::ToMaster {
        message: Some(v1::to_master::Message::Hello(v1::Hello {
            description,
            ..v1::Hello::default()
        })),
    };
    let empty = v1::ToMaster { message: None };
    assert_refused(decode_to_master(empty), MISSING, "message");
    assert_refused(decode_to_master(hello(None)), MISSING, "hello.description");
    let description = v1::AgentDescription {
        resources: Some(v1::Resources::default()),
        ..v1::AgentDescription::default()
    };
    let field = "hello.description.host";
    assert_refused(decode_to_master(hello(Some(description))), MISSING, field);

    let updated = |state| v1::ToMaster {
        message: Some(v1::to_master::Message::Updated(v1::TaskUpdated {
            framework_id: "f".into(),
            status: Some(v1::Status {
                task_id: "t".into(),
                state,
                ..v1::Status::default()
            }),
            latest: v1::TaskState::Running.into(),
        })),
    };
    assert_refused(
        decode_to_master(updated(0)),
        MISSING,
        "updated.status.state",
    );
    assert_refused(
        decode_to_master(updated(193)),
        INVALID,
        "updated.status.state",
    );

    let launch = v1::ToAgent {
        epoch: 1,
        message: Some(v1::to_agent::Message::Launch(v1::LaunchTask {
            payer: None,
            framework_id: "f".into(),
            incarnation: 0,
            spec: Some(good_task()),
        })),
    };
    assert_refused(decode_to_agent(launch), MISSING, "launch.incarnation");
}

#[test]
fn records_of_a_newer_version_are_not_read() {
    let record = |schema, operation| {
        let batch = store::v1::Batch {
            epoch: 3,
            records: vec![store::v1::Record { schema, operation }],
        };
        decode_batch(&batch.encode_to_vec())
    };
    let reachable = |id: &str| {
        let mark = store::v1::MarkReachable {
            agent_id: id.into(),
        };
        Some(store::v1::record::Operation::MarkReachable(mark))
    };
    let failed = code::STORE_FAILED.name;
    record(1, reachable("a")).expect("a good record");
    for (schema, operation, field, word) in [
        (3, reachable("a"), "records[0].schema", "newer version"),
        (1, None, "records[0].operation", "does not know"),
        (0, reachable("a"), "records[0].schema", "damaged"),
        (
            1,
            reachable(""),
            "records[0].mark_reachable.agent_id",
            "damaged",
        ),
    ] {
        let problem = record(schema, operation).expect_err(field);
        assert!(problem.message.contains(word), "{problem}");
        assert!(!problem.hint.is_empty(), "{problem}");
        assert_refused(Err::<(), _>(problem), failed, field);
    }
    assert_refused(decode_batch(&[0xff; 9]), failed, "");
    let snapshot = store::v1::Snapshot {
        schema: 3,
        ..store::v1::Snapshot::default()
    };
    assert_refused(decode_snapshot(&snapshot.encode_to_vec()), failed, "schema");
}

#[test]
fn a_problem_of_a_newer_peer_is_kept() {
    let problem = decode_problem(v1::Problem {
        code: "task.from_the_future".into(),
        kind: 99,
        message: "what".into(),
        ..v1::Problem::default()
    });
    assert_eq!(problem.code, "task.from_the_future");
    assert_eq!(problem.kind, Kind::Internal);
    let without_kind = decode_problem(v1::Problem {
        code: code::OFFER_GONE.name.into(),
        ..v1::Problem::default()
    });
    assert_eq!(without_kind.kind, Kind::Conflict);
}

#[test]
fn a_status_without_details_becomes_the_nearest_problem() {
    for (grpc, expected) in [
        (Code::Unavailable, code::PEER_UNREACHABLE),
        (Code::DeadlineExceeded, code::PEER_UNREACHABLE),
        (Code::Cancelled, code::PEER_UNREACHABLE),
        (Code::Unauthenticated, code::AUTH_MISSING),
        (Code::PermissionDenied, code::AUTH_DENIED),
        (Code::ResourceExhausted, code::OVERLOADED),
        (Code::OutOfRange, code::FIELD_TOO_LONG),
        (Code::Unimplemented, code::ROUTE_UNKNOWN),
        (Code::InvalidArgument, code::FIELD_INVALID),
        (Code::Unknown, code::INTERNAL),
        (Code::Internal, code::INTERNAL),
    ] {
        let problem = problem_of(&Status::new(grpc, "why"));
        assert!(problem.is(expected), "{grpc:?}: {problem}");
        assert_eq!(problem.message, "why");
    }
}

#[test]
fn of_a_message_that_is_too_long_it_is_said_how_long_one_may_be() {
    for way in ["decoded", "encoded"] {
        let text = format!(
            "Error, {way} message length too large: found 12 bytes, the limit is: 10 bytes"
        );
        let problem = problem_of(&Status::out_of_range(text));
        assert!(problem.is(code::FIELD_TOO_LONG));
        assert_eq!(
            problem.message,
            "the message has 12 bytes; one message has 10 at most"
        );
        assert!(problem.hint.contains("10 bytes"), "{problem}");
    }
}

#[test]
fn a_long_problem_is_cut_where_headers_are_short() {
    let problem = Problem::new(code::FIELD_INVALID, "ä".repeat(5_000)).hint("do this");
    let carried = problem_of(&status_of(problem));
    assert_eq!(carried.message, "ä".repeat(500));
    assert_eq!(carried.hint, "do this");
}
