//! Bad input on every surface of a running cluster: a clear error with code, field and remedy, and everything goes on.

use serde_json::json;

use super::roles::hello;
use crate::harness::{Cluster, eventually, http, raw};

#[test]
fn bad_apps_are_refused_with_code_field_and_remedy() {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.deploy(&hello("/good", 1, cluster.port(50)));
    let taken = cluster.port(50);
    let cases = [
        (json!({"id": "/a", "cmd": "true", "cpus": -1}), "cpus"),
        (json!({"id": "/a", "cmd": "true", "cpus": 1e300}), "cpus"),
        (json!({"id": "/a", "cmd": ""}), "cmd"),
        (json!({"id": "/a", "args": []}), "args"),
        (
            json!({"id": "/a", "cmd": "true", "instances": -1}),
            "instances",
        ),
        (
            json!({"id": "/a", "cmd": "true", "instances": "three"}),
            "instances",
        ),
        (json!({"id": "/A b", "cmd": "true"}), "id"),
        (json!({"id": "/../etc", "cmd": "true"}), "id"),
        (json!({"cmd": "true"}), "id"),
        (
            json!({"id": "/a", "cmd": "true", "killSelection": "RANDOM"}),
            "killSelection",
        ),
        (
            json!({"id": "/a", "cmd": "true", "healthChecks": [{"protocol": "GOPHER"}]}),
            "healthChecks",
        ),
        (
            json!({"id": "/a", "cmd": "true", "healthChecks": [{"protocol": "TCP", "portIndex": 9}]}),
            "healthChecks",
        ),
        (
            json!({"id": "/a", "cmd": "true", "portDefinitions": [{"port": 70000}]}),
            "portDefinitions",
        ),
        (
            json!({"id": "/a", "cmd": "true", "portDefinitions": [{"port": taken}]}),
            "portDefinitions",
        ),
        (
            json!({"id": "/a", "cmd": "true", "upgradeStrategy": {"minimumHealthCapacity": 2}}),
            "upgradeStrategy",
        ),
    ];
    for (app, field) in cases {
        let answer = cluster
            .rest("POST", "/v2/apps", &app.to_string())
            .expect("services answer");
        assert!(
            (400..500).contains(&answer.status),
            "{app}: {} {}",
            answer.status,
            answer.body
        );
        let body = answer.json();
        assert!(
            body["code"].as_str().is_some_and(|code| code.contains('.')),
            "{app}: {body}"
        );
        assert!(body["message"].is_string(), "{app}: {body}");
        assert!(
            body["field"]
                .as_str()
                .is_some_and(|path| path.contains(field)),
            "{app}: {body}"
        );
        assert!(
            body["hint"].as_str().is_some_and(|hint| !hint.is_empty()),
            "{app}: {body}"
        );
    }
    for body in ["", "{", "[1,2", "\u{0}", "null", "7", &"[".repeat(100_000)] {
        let answer = cluster
            .rest("POST", "/v2/apps", body)
            .expect("services answer");
        assert!(
            (400..500).contains(&answer.status),
            "{} {}",
            answer.status,
            answer.body
        );
    }
    let apps = cluster
        .rest("GET", "/v2/apps", "")
        .expect("services answer")
        .json();
    assert_eq!(
        apps["apps"].as_array().map(Vec::len),
        Some(1),
        "nothing of the bad was kept"
    );
    cluster.await_healthy("/good", 1);
}

#[test]
fn garbage_and_foreign_callers_change_nothing() {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.start_discovery();
    cluster.deploy(&hello("/good", 1, cluster.port(50)));
    let tasks = cluster.await_healthy("/good", 1);
    cluster.await_routed(cluster.port(50), &tasks);

    let garbage: [&[u8]; 6] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v2/apps HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -5\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
    ];
    for place in [0, 1, 2, 3, 10] {
        for bytes in garbage {
            let answer = raw(cluster.port(place), bytes).expect("it listens");
            assert!(
                !answer.starts_with(b"HTTP/1.1 200"),
                "port {place} took {bytes:?}"
            );
        }
    }
    for place in [0, 2, 3, 10] {
        let port = cluster.port(place);
        for header in ["host: evil.example", "origin: http://evil.example"] {
            let answer = http(port, "GET", "/health", &[header], "").expect("it answers");
            assert_eq!(
                answer.status, 403,
                "port {place}, {header}: {}",
                answer.body
            );
            assert_eq!(answer.json()["code"], "auth.foreign_origin");
        }
        let health = http(port, "GET", "/health", &[], "").expect("it answers");
        assert_eq!(health.status, 200, "port {place}: {}", health.body);
        let metrics = http(port, "GET", "/metrics", &[], "").expect("it answers");
        assert!(
            metrics.status == 200 && metrics.body.contains("proffer_build_info"),
            "port {place}"
        );
    }
    let answer = http(cluster.port(2), "DELETE", "/v2/apps/good", &[], "").expect("it answers");
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (401, Some("auth.missing"))
    );
    let wrong =
        ["authorization: Bearer 0000000000000000000000000000000000000000000000000000000000000000"];
    let answer = http(cluster.port(2), "DELETE", "/v2/apps/good", &wrong, "").expect("it answers");
    assert_eq!(answer.status, 401);
    assert_eq!(cluster.await_healthy("/good", 1), tasks);
}

#[test]
fn wrong_flags_and_files_name_the_key() {
    let cluster = Cluster::new();
    let file = cluster.path("agent.toml");
    let named = file.display().to_string();
    for (text, key) in [
        ("resources = \"ports:[1-5,4-9]\"\n", "resources"),
        (
            "listen = \"127.0.0.1:5051\"\nresources = \"cpus:-1\"\n",
            "resources",
        ),
        ("listen = \"nowhere\"\n", "listen"),
        ("frobnicate = true\n", "frobnicate"),
        ("listen = 5\n", "listen"),
        ("attributes = \"rack\"\n", "attributes"),
    ] {
        std::fs::write(&file, text).expect("the file");
        let output = cluster.run(&["agent", "--config", &named, "--check-config"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(
            said.contains("agent.toml:") && said.contains(key),
            "{text}: {said}"
        );
    }
    std::fs::write(&file, "listen = \"127.0.0.1:5051\"\n").expect("the file");
    let output = cluster.run(&["agent", "--config", &named, "--check-config"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let output = cluster.run(&[
        "agent",
        "--resources",
        "ports:[1-5,4-9]",
        "--master",
        "127.0.0.1:1",
        "--work-dir",
        "w",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2)
            && said.contains("resources.ranges_invalid")
            && said.contains("hint"),
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_said_and_an_app_that_fits_nowhere_is_explained() {
    let mut cluster = Cluster::new();
    let master = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("agent", 0, &master);
    cluster.start_services();
    cluster.deploy(&hello("/good", 1, cluster.port(50)));
    let (listen, other) = (cluster.address(0), cluster.address(9));
    let output = cluster.run(&[
        "master",
        "--listen",
        &listen,
        "--cluster-listen",
        &other,
        "--store",
        "memory",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("port.taken") && said.contains("hint"),
        "{said}"
    );

    cluster.deploy(&json!({"id": "/huge", "cmd": "true", "cpus": 64, "instances": 2}));
    eventually("why names what is lacking", || {
        let output = cluster.run(&["why", "/huge"]);
        String::from_utf8_lossy(&output.stdout)
            .contains("cpus")
            .then_some(())
    });
}
