//! Round trips of what is kept, and what JSON is refused.

use std::sync::Arc;

use proffer_model::{AgentId, TaskState};
use proffer_services_core::app::{App, Failure};
use proffer_services_core::deployment::{Deployment, DeploymentKind, Previous};
use proffer_services_core::effect::Write;
use proffer_services_core::event::Record;
use proffer_services_core::id::{AppId, DeploymentId, InstanceId, Version};
use proffer_services_core::instance::{Instance, Memory, Phase};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::parse_body;
use super::read::read_patch;
use super::record::{decode_record, encode_write};
use super::write::{Environment, app_json};

/// A definition that says everything.
fn full() -> Value {
    json!({
        "id": "/prod/web", "args": ["serve", "--all"], "cpus": 0.25, "mem": 64, "disk": 1.5, "instances": 3,
        "env": {"A": "b"}, "labels": {"HAPROXY_GROUP": "external"}, "user": "nobody", "requirePorts": true,
        "portDefinitions": [{"port": 8080, "name": "http", "protocol": "udp,tcp", "labels": {"x": "y"}}],
        "healthChecks": [
            {"protocol": "HTTP", "path": "/health", "portIndex": 0, "gracePeriodSeconds": 1, "intervalSeconds": 2,
             "timeoutSeconds": 3, "maxConsecutiveFailures": 4, "delaySeconds": 5},
            {"protocol": "MESOS_TCP", "port": 9000},
            {"protocol": "COMMAND", "command": {"value": "test -f up"}},
        ],
        "upgradeStrategy": {"minimumHealthCapacity": 0.5, "maximumOverCapacity": 0.333333},
        "backoffSeconds": 2, "backoffFactor": 1.5, "maxLaunchDelaySeconds": 60.5, "taskKillGracePeriodSeconds": 7,
        "fetch": [{"uri": "https://h/a.tgz", "extract": false, "cache": true, "destPath": "in/a.tgz", "sha256": "0".repeat(64)}],
        "killSelection": "OLDEST_FIRST", "unreachableStrategy": {"inactiveAfterSeconds": 1, "expungeAfterSeconds": 2},
    })
}

/// One that runs what its image says.
fn of_image() -> Value {
    json!({
        "id": "/prod/web",
        "container": {"type": "MESOS", "docker": {"image": "file:///srv/web.tar"}},
    })
}

fn app_of(value: &Value) -> App {
    let patch = read_patch(value, "*").expect("good");
    let id = patch.id.clone().expect("an id");
    let spec = patch.onto(id, None).expect("good");
    let previous = Previous {
        spec: spec.clone(),
        version: Version(1),
        last_scaling: Version(1),
        last_config: Version(1),
    };
    App {
        spec,
        version: Version(5),
        last_scaling: Version(4),
        last_config: Version(3),
        deployment: Some(Deployment {
            id: DeploymentId(7),
            kind: DeploymentKind::Replace,
            version: Version(5),
            previous: Some(Box::new(previous)),
        }),
        last_failure: Some(Failure {
            task: "t".into(),
            host: "h".into(),
            agent: "a".into(),
            state: TaskState::Failed,
            message: "m".into(),
            version: Version(2),
            wall_ms: 9,
        }),
    }
}

#[test]
fn what_is_kept_is_read_back() {
    let app = app_of(&full());
    let id = InstanceId(11);
    let instance = Instance {
        id,
        app: app.spec.id.clone(),
        task: id.task(&app.spec.id).expect("fits"),
        version: Version(5),
        config: Version(3),
        has_checks: true,
        agent: AgentId::new("agent").expect("good"),
        host: "host".into(),
        address: "127.0.0.1:5051".into(),
        ports: vec![8080],
        phase: Phase::Running,
        is_condemned: true,
        staged_wall_ms: 1,
        started_wall_ms: Some(2),
        healthy: None,
        health_wall_ms: None,
        memory: Memory::default(),
    };
    for record in [
        Record::App(Arc::new(app)),
        Record::App(Arc::new(app_of(&of_image()))),
        Record::Instance(Arc::new(instance)),
    ] {
        let (key, value) = encode_write(&Write::Put(record.clone()), "eng").expect("written");
        let value = value.expect("a value");
        // The role is the framework's, whatever it was.
        assert_eq!(decode_record(&key, &value, "ops").expect("read"), record);
        let newer = String::from_utf8(value)
            .expect("text")
            .replace("\"schema\":1", "\"schema\":2");
        decode_record(&key, newer.as_bytes(), "ops").expect_err("a newer schema");
        decode_record(&key, b"{}", "ops").expect_err("damaged");
    }
}

#[test]
fn what_was_read_from_get_may_be_put_back() {
    for value in [full(), of_image()] {
        let app = app_of(&value);
        let written = Value::Object(app_json(&app, "*", Environment::Shown));
        let again = read_patch(&written, "*").expect("good");
        let id = AppId::new("/prod/web").expect("good");
        assert_eq!(again.onto(id, None).expect("good"), app.spec);
    }
    let app = app_of(&full());
    let hidden = app_json(&app, "*", Environment::Hidden);
    assert!(
        !Value::Object(hidden).to_string().contains("\"b\""),
        "values of the environment are not in events"
    );
}

#[test]
fn null_is_absent_and_unknown_fields_are_ignored() {
    let value = json!({"id": "/a", "cmd": "x", "instances": 0, "ports": null, "dependencies": null, "constraints": [],
        "container": null, "tasksRunning": 3, "uris": [], "gpus": 0, "networks": [{"mode": "host"}], "wish": {"a": 1}});
    let patch = read_patch(&value, "*").expect("good");
    assert_eq!((patch.instances, patch.ports), (Some(0), None));
    assert_eq!(patch.fetch, Some(Vec::new()));
    let old = json!({"id": "/a", "cmd": "x", "uris": ["http://h/a.tgz"], "fetch": []});
    let fetch = read_patch(&old, "*").expect("good").fetch.expect("one");
    assert!(fetch[0].is_extracted && fetch[0].uri == "http://h/a.tgz");
}

#[test]
fn wrong_values_are_named_by_their_path() {
    for (value, field) in [
        (json!([]), ""),
        (json!("x"), ""),
        (json!({"id": 5}), "id"),
        (json!({"id": "/A"}), "id"),
        (json!({"cmd": ["x"]}), "cmd"),
        (json!({"cmd": "x", "args": ["y"]}), "cmd"),
        (json!({"args": ["x", 1]}), "args[1]"),
        (json!({"cpus": -1}), "cpus"),
        (json!({"cpus": "1"}), "cpus"),
        (json!({"cpus": 1e300}), "cpus"),
        (json!({"mem": {}}), "mem"),
        (json!({"instances": -1}), "instances"),
        (json!({"instances": 1.5}), "instances"),
        (json!({"instances": 4_294_967_296_u64}), "instances"),
        (json!({"env": {"A": 1}}), "env.A"),
        (json!({"env": {"A": {"secret": "s"}}}), "env"),
        (json!({"labels": []}), "labels"),
        (json!({"requirePorts": "yes"}), "requirePorts"),
        (
            json!({"portDefinitions": [{"port": 70000}]}),
            "portDefinitions[0].port",
        ),
        (
            json!({"portDefinitions": [{"protocol": "sctp"}]}),
            "portDefinitions[0].protocol",
        ),
        (json!({"portDefinitions": {}}), "portDefinitions"),
        (json!({"ports": [-1]}), "ports[0]"),
        (json!({"ports": [1], "portDefinitions": [{}]}), "ports"),
        (
            json!({"healthChecks": [{"protocol": "GRPC"}]}),
            "healthChecks[0].protocol",
        ),
        (
            json!({"healthChecks": [{"protocol": "COMMAND"}]}),
            "healthChecks[0].command",
        ),
        (
            json!({"healthChecks": [{"port": 1, "portIndex": 0}]}),
            "healthChecks[0]",
        ),
        (
            json!({"healthChecks": [{"intervalSeconds": "1"}]}),
            "healthChecks[0].intervalSeconds",
        ),
        (
            json!({"upgradeStrategy": {"minimumHealthCapacity": 1.1}}),
            "upgradeStrategy.minimumHealthCapacity",
        ),
        (json!({"backoffFactor": 0.5}), "backoffFactor"),
        (json!({"backoffSeconds": -1}), "backoffSeconds"),
        (
            json!({"taskKillGracePeriodSeconds": 100_000}),
            "taskKillGracePeriodSeconds",
        ),
        (json!({"killSelection": "ANY"}), "killSelection"),
        (
            json!({"unreachableStrategy": "enabled"}),
            "unreachableStrategy",
        ),
        (
            json!({"constraints": [["hostname", "UNIQUE"]]}),
            "constraints",
        ),
        (
            json!({"healthChecks": [{"protocol": "COMMAND", "command": "x"}]}),
            "healthChecks[0].command",
        ),
        (
            json!({"healthChecks": [{"protocol": "COMMAND", "command": {}}]}),
            "healthChecks[0].command.value",
        ),
        (
            json!({"healthChecks": [{"command": {"value": "x"}}]}),
            "healthChecks[0].command",
        ),
        (json!({"networks": [{"mode": "container"}]}), "networks"),
        (json!({"role": "other"}), "role"),
        (
            json!({"acceptedResourceRoles": ["other"]}),
            "acceptedResourceRoles",
        ),
        (json!({"executor": "/bin/x"}), "executor"),
    ] {
        let problems = read_patch(&value, "*").expect_err(field);
        assert_eq!(problems[0].field, field, "{value}: {problems:?}");
        assert!(!problems[0].hint.is_empty(), "{value}");
    }
}

#[test]
fn of_a_container_what_is_not_done_is_refused_and_what_asks_for_nothing_is_taken() {
    const IMAGE: &str = "/srv/web.tar";
    let docker = |field: &str, value: Value| json!({"type": "DOCKER", "docker": {"image": IMAGE, field: value}});
    for (container, field) in [
        (json!("x"), "container"),
        (json!({"type": "PODMAN"}), "container.type"),
        (
            json!({"docker": {"image": "nginx:1.27"}}),
            "container.docker.image",
        ),
        (json!({"docker": {"image": 5}}), "container.docker.image"),
        (
            json!({"docker": {"network": "HOST"}}),
            "container.docker.image",
        ),
        (json!({"docker": [1]}), "container.docker"),
        (json!({"volumes": [{}]}), "container.volumes"),
        (
            json!({"portMappings": [{"containerPort": 80}]}),
            "container.portMappings",
        ),
        (json!({"linuxInfo": {"a": 1}}), "container.linuxInfo"),
        (
            docker("network", json!("BRIDGE")),
            "container.docker.network",
        ),
        (docker("network", json!("USER")), "container.docker.network"),
        (
            docker("portMappings", json!([{}])),
            "container.docker.portMappings",
        ),
        (
            docker("parameters", json!([{"key": "a", "value": "b"}])),
            "container.docker.parameters",
        ),
        (
            docker("privileged", json!(true)),
            "container.docker.privileged",
        ),
        (
            docker("forcePullImage", json!(true)),
            "container.docker.forcePullImage",
        ),
        (
            docker("pullConfig", json!({"secret": "s"})),
            "container.docker.pullConfig",
        ),
    ] {
        let problems = read_patch(&json!({"container": container}), "*").expect_err(field);
        assert_eq!(problems[0].field, field, "{container}: {problems:?}");
        assert!(!problems[0].hint.is_empty(), "{container}");
    }
    for (container, image) in [
        (json!({}), None),
        (
            json!({"type": "MESOS", "volumes": [], "docker": null}),
            None,
        ),
        (
            json!({"type": "DOCKER", "docker": {}, "portMappings": []}),
            None,
        ),
        (json!({"docker": {"image": IMAGE}}), Some(IMAGE)),
        (docker("network", json!("HOST")), Some(IMAGE)),
        (docker("privileged", json!(false)), Some(IMAGE)),
        (docker("forcePullImage", json!(false)), Some(IMAGE)),
        (docker("parameters", json!([])), Some(IMAGE)),
        (docker("portMappings", json!(null)), Some(IMAGE)),
    ] {
        let patch = read_patch(&json!({"container": container}), "*").expect("good");
        let read = patch.container.expect("given");
        assert_eq!(
            read.as_ref().map(|container| container.image()),
            image,
            "{container}"
        );
    }
    let kept = read_patch(&json!({"container": null}), "*").expect("good");
    assert_eq!(kept.container, None);
}

#[test]
fn what_was_kept_before_there_were_containers_is_read() {
    let record = json!({"schema": 1, "version_ms": 3, "last_scaling_ms": 2, "last_config_ms": 1, "deployment": null,
        "last_failure": null, "spec": {"id": "/web", "args": ["serve"], "cpus": 0.1, "networks": [{"mode": "host"}],
        "healthChecks": [{"protocol": "TCP", "portIndex": 0}], "executor": "", "role": "*"}});
    let key = proffer_model::StateKey::new("app/web").expect("good");
    match decode_record(&key, record.to_string().as_bytes(), "*").expect("read") {
        Record::App(app) => {
            let command = proffer_model::Command::Exec(vec!["serve".to_owned()]);
            assert_eq!((&app.spec.command, &app.spec.container), (&command, &None));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_json_is_refused() {
    let nested = format!("{}{}", "[".repeat(65), "]".repeat(65));
    for body in [
        "",
        "{",
        "{\"cpus\":NaN}",
        "{\"cpus\":1e400}",
        "{\"a\":1}x",
        "\u{0}",
        &nested,
    ] {
        let problem = parse_body(body.as_bytes()).expect_err(body);
        assert_eq!(problem.code, "body.malformed");
    }
    parse_body(b"{\"cmd\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[\"}").expect("only text");
    parse_body(&[0xff, 0xfe]).expect_err("not UTF-8");
}

proptest! {
    #[test]
    fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = parse_body(&body) {
            let _ = read_patch(&value, "*");
        }
    }

    #[test]
    fn no_value_of_a_known_field_panics(index in 0usize..12, number in any::<f64>(), text in "\\PC{0,20}") {
        let names = ["id", "cmd", "cpus", "instances", "env", "labels", "portDefinitions", "healthChecks",
            "upgradeStrategy", "backoffFactor", "unreachableStrategy", "maxLaunchDelaySeconds"];
        for value in [json!(number), json!(text), json!([text, number]), json!({"port": number, "protocol": text})] {
            if let Ok(patch) = read_patch(&json!({names[index]: value, "id": "/a"}), "*") {
                let _ = patch.onto(AppId::new("/a").expect("good"), None);
            }
        }
    }
}
