//! Bad input as a table: each gets a 4xx with code, field and hint at once, and nothing of it is kept.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::json;

use super::fake::{Answered, Services};

/// Fields of an app beside a good id and command, and the field that is complained of.
const FIELDS: &[(&str, &str)] = &[
    // Wrong types.
    (r#""cpus":"1""#, "cpus"),
    (r#""cpus":true"#, "cpus"),
    (r#""cpus":[1]"#, "cpus"),
    (r#""cpus":{}"#, "cpus"),
    (r#""mem":"128""#, "mem"),
    (r#""mem":[]"#, "mem"),
    (r#""disk":"1""#, "disk"),
    (r#""instances":"2""#, "instances"),
    (r#""instances":{"n":1}"#, "instances"),
    (r#""instances":true"#, "instances"),
    (r#""user":7"#, "user"),
    (r#""args":"run""#, "args"),
    (r#""env":[]"#, "env"),
    (r#""env":"A=b""#, "env"),
    (r#""env":{"A":1}"#, "env.A"),
    (r#""env":{"A":["b"]}"#, "env.A"),
    (r#""env":{"A":{"secret":"s"}}"#, "env"),
    (r#""labels":[]"#, "labels"),
    (r#""labels":{"a":1}"#, "labels.a"),
    (r#""labels":{"a":{}}"#, "labels.a"),
    (r#""requirePorts":"true""#, "requirePorts"),
    (r#""requirePorts":1"#, "requirePorts"),
    (r#""portDefinitions":{}"#, "portDefinitions"),
    (r#""portDefinitions":[80]"#, "portDefinitions[0]"),
    (r#""portDefinitions":[null]"#, "portDefinitions[0]"),
    (
        r#""portDefinitions":[{"port":"80"}]"#,
        "portDefinitions[0].port",
    ),
    (
        r#""portDefinitions":[{"name":1}]"#,
        "portDefinitions[0].name",
    ),
    (
        r#""portDefinitions":[{"labels":[]}]"#,
        "portDefinitions[0].labels",
    ),
    (
        r#""portDefinitions":[{"labels":{"x":1}}]"#,
        "portDefinitions[0].labels.x",
    ),
    (r#""ports":80"#, "ports"),
    (r#""ports":["80"]"#, "ports[0]"),
    (r#""ports":[1.5]"#, "ports[0]"),
    (r#""healthChecks":{}"#, "healthChecks"),
    (r#""healthChecks":["TCP"]"#, "healthChecks[0]"),
    (r#""healthChecks":[{"path":1}]"#, "healthChecks[0].path"),
    (
        r#""healthChecks":[{"intervalSeconds":"9"}]"#,
        "healthChecks[0].intervalSeconds",
    ),
    (r#""upgradeStrategy":1"#, "upgradeStrategy"),
    (
        r#""upgradeStrategy":{"minimumHealthCapacity":"1"}"#,
        "upgradeStrategy.minimumHealthCapacity",
    ),
    (r#""backoffSeconds":"1""#, "backoffSeconds"),
    (r#""backoffFactor":"1""#, "backoffFactor"),
    (r#""maxLaunchDelaySeconds":[]"#, "maxLaunchDelaySeconds"),
    (
        r#""taskKillGracePeriodSeconds":"x""#,
        "taskKillGracePeriodSeconds",
    ),
    (r#""killSelection":1"#, "killSelection"),
    (r#""unreachableStrategy":1"#, "unreachableStrategy"),
    (r#""unreachableStrategy":"enabled""#, "unreachableStrategy"),
    (
        r#""unreachableStrategy":{"inactiveAfterSeconds":"1"}"#,
        "unreachableStrategy.inactiveAfterSeconds",
    ),
    (r#""networks":"host""#, "networks"),
    (r#""networks":["host"]"#, "networks"),
    (r#""container":"docker""#, "container"),
    (r#""executor":1"#, "executor"),
    (r#""role":1"#, "role"),
    (r#""acceptedResourceRoles":"*""#, "acceptedResourceRoles"),
    (r#""acceptedResourceRoles":[1]"#, "acceptedResourceRoles"),
    // Numbers.
    (r#""cpus":-0.1"#, "cpus"),
    (r#""cpus":0"#, "cpus"),
    (r#""cpus":-0"#, "cpus"),
    (r#""cpus":-0.0"#, "cpus"),
    (r#""cpus":1e300"#, "cpus"),
    (r#""cpus":1e-300"#, "cpus"),
    (r#""cpus":9007199254740993"#, "cpus"),
    (r#""cpus":18446744073709551616"#, "cpus"),
    (r#""mem":-1"#, "mem"),
    (r#""mem":1e30"#, "mem"),
    (r#""mem":-9007199254740993"#, "mem"),
    (r#""disk":-1"#, "disk"),
    (r#""disk":1e300"#, "disk"),
    (r#""instances":-1"#, "instances"),
    (r#""instances":1.5"#, "instances"),
    (r#""instances":100001"#, "instances"),
    (r#""instances":4294967296"#, "instances"),
    (r#""instances":1e30"#, "instances"),
    (r#""backoffSeconds":-1"#, "backoffSeconds"),
    (r#""backoffSeconds":1e12"#, "backoffSeconds"),
    (r#""backoffFactor":0.9"#, "backoffFactor"),
    (r#""backoffFactor":-1"#, "backoffFactor"),
    (r#""backoffFactor":1001"#, "backoffFactor"),
    (r#""maxLaunchDelaySeconds":1e12"#, "maxLaunchDelaySeconds"),
    (
        r#""taskKillGracePeriodSeconds":-1"#,
        "taskKillGracePeriodSeconds",
    ),
    (
        r#""taskKillGracePeriodSeconds":1e9"#,
        "taskKillGracePeriodSeconds",
    ),
    (
        r#""upgradeStrategy":{"minimumHealthCapacity":1.1}"#,
        "upgradeStrategy.minimumHealthCapacity",
    ),
    (
        r#""upgradeStrategy":{"minimumHealthCapacity":-1}"#,
        "upgradeStrategy.minimumHealthCapacity",
    ),
    (
        r#""upgradeStrategy":{"maximumOverCapacity":2}"#,
        "upgradeStrategy.maximumOverCapacity",
    ),
    (
        r#""upgradeStrategy":{"maximumOverCapacity":1e300}"#,
        "upgradeStrategy.maximumOverCapacity",
    ),
    (r#""ports":[65536]"#, "ports[0]"),
    (r#""ports":[-1]"#, "ports[0]"),
    (
        r#""portDefinitions":[{"port":65536}]"#,
        "portDefinitions[0].port",
    ),
    (
        r#""portDefinitions":[{"port":-1}]"#,
        "portDefinitions[0].port",
    ),
    (
        r#""portDefinitions":[{"port":0.5}]"#,
        "portDefinitions[0].port",
    ),
    (
        r#""healthChecks":[{"portIndex":-1}]"#,
        "healthChecks[0].portIndex",
    ),
    (
        r#""healthChecks":[{"portIndex":65536}]"#,
        "healthChecks[0].portIndex",
    ),
    (
        r#""healthChecks":[{"intervalSeconds":0.5}]"#,
        "healthChecks[0].intervalSeconds",
    ),
    (
        r#""healthChecks":[{"timeoutSeconds":1e12}]"#,
        "healthChecks[0].timeoutSeconds",
    ),
    (
        r#""healthChecks":[{"maxConsecutiveFailures":-1}]"#,
        "healthChecks[0].maxConsecutiveFailures",
    ),
    (
        r#""healthChecks":[{"maxConsecutiveFailures":1e30}]"#,
        "healthChecks[0].maxConsecutiveFailures",
    ),
    (
        r#""unreachableStrategy":{"inactiveAfterSeconds":-1}"#,
        "unreachableStrategy.inactiveAfterSeconds",
    ),
    // Words that are not in their lists.
    (r#""killSelection":"RANDOM""#, "killSelection"),
    (r#""killSelection":"youngest_first""#, "killSelection"),
    (
        r#""portDefinitions":[{"protocol":"sctp"}]"#,
        "portDefinitions[0].protocol",
    ),
    (
        r#""portDefinitions":[{"protocol":"TCP"}]"#,
        "portDefinitions[0].protocol",
    ),
    (
        r#""healthChecks":[{"protocol":"http"}]"#,
        "healthChecks[0].protocol",
    ),
    (
        r#""healthChecks":[{"protocol":"COMMAND"}]"#,
        "healthChecks[0].command",
    ),
    (r#""networks":[{"mode":"container/bridge"}]"#, "networks"),
    (r#""role":"other""#, "role"),
    (
        r#""acceptedResourceRoles":["other"]"#,
        "acceptedResourceRoles",
    ),
    (r#""executor":"/bin/mine""#, "executor"),
    // What does not go together.
    (r#""args":["run"]"#, "cmd"),
    (r#""ports":[1],"portDefinitions":[{"port":2}]"#, "ports"),
    (
        r#""portDefinitions":[{"port":80},{"port":80}]"#,
        "portDefinitions[1].port",
    ),
    (r#""ports":[80,80]"#, "portDefinitions[1].port"),
    (
        r#""portDefinitions":[{"name":"a"},{"name":"a"}]"#,
        "portDefinitions[1].name",
    ),
    (
        r#""portDefinitions":[{"port":10000}]"#,
        "portDefinitions[0].port",
    ),
    (r#""ports":[10000]"#, "portDefinitions[0].port"),
    (
        r#""healthChecks":[{"portIndex":1}]"#,
        "healthChecks[0].portIndex",
    ),
    (
        r#""ports":[],"healthChecks":[{}]"#,
        "healthChecks[0].portIndex",
    ),
    (
        r#""healthChecks":[{"port":80,"portIndex":0}]"#,
        "healthChecks[0]",
    ),
    (r#""healthChecks":[{"port":0}]"#, "healthChecks[0].port"),
    (
        r#""unreachableStrategy":{"inactiveAfterSeconds":2,"expungeAfterSeconds":1}"#,
        "unreachableStrategy",
    ),
    // Texts.
    (r#""user":"""#, "user"),
    (r#""user":"a:b""#, "user"),
    (r#""user":"../root""#, "user"),
    (r#""user":"a\u0000""#, "user"),
    (r#""env":{"":"x"}"#, "env"),
    (r#""env":{"A=B":"x"}"#, "env"),
    (r#""env":{"A\u0000":"x"}"#, "env"),
    (r#""env":{"A":"x\u0000"}"#, "env"),
    (
        r#""portDefinitions":[{"name":"a b"}]"#,
        "portDefinitions[0].name",
    ),
    (
        r#""portDefinitions":[{"name":"a\r\nb"}]"#,
        "portDefinitions[0].name",
    ),
    (
        r#""portDefinitions":[{"name":"ä"}]"#,
        "portDefinitions[0].name",
    ),
    (r#""healthChecks":[{"path":"x"}]"#, "healthChecks[0].path"),
    (r#""healthChecks":[{"path":"/ a"}]"#, "healthChecks[0].path"),
    (
        r#""healthChecks":[{"path":"/\r\nHost: x"}]"#,
        "healthChecks[0].path",
    ),
    // What Marathon does and this does not.
    (r#""constraints":[["hostname","UNIQUE"]]"#, "constraints"),
    (r#""dependencies":["/db"]"#, "dependencies"),
    (r#""gpus":1"#, "gpus"),
    (r#""fetch":[{"uri":"hdfs://x/y"}]"#, "fetch[0].uri"),
    (
        r#""fetch":[{"uri":"http://x/y","destPath":"../z"}]"#,
        "fetch[0].output",
    ),
    (r#""fetch":[{"uri":5}]"#, "fetch[0].uri"),
    (r#""fetch":[{}]"#, "fetch[0].uri"),
    (r#""fetch":[5]"#, "fetch[0]"),
    (r#""fetch":{}"#, "fetch"),
    (r#""uris":[5]"#, "uris[0]"),
    (
        r#""uris":["http://a/b"],"fetch":[{"uri":"http://a/b"}]"#,
        "uris",
    ),
    (r#""secrets":{"s":{"source":"x"}}"#, "secrets"),
    (
        r#""container":{"docker":{"image":"nginx:1.27"}}"#,
        "container.docker.image",
    ),
    (r#""readinessChecks":[{}]"#, "readinessChecks"),
    // A name twice, also when one is escaped.
    (r#""cpus":1,"cpus":2"#, "cpus"),
    (r#""cmd":"other""#, "cmd"),
    (r#""i\u0064":"/y""#, "id"),
    (r#""env":{"A":"1","A":"1"}"#, "A"),
];

/// Ids that no app may have.
const IDS: &[&str] = &[
    r#""""#,
    r#""/""#,
    r#""//""#,
    r#""UP""#,
    r#""a b""#,
    r#""a_b""#,
    r#""a\\b""#,
    r#"".""#,
    r#""..""#,
    r#""/a/../b""#,
    r#""/a/./b""#,
    r#""%2e%2e""#,
    r#""-a""#,
    r#""a-""#,
    r#""a.""#,
    r#""a\u0000""#,
    r#""a\r\nb""#,
    r#""a\u202eb""#,
    r#""a\u200bb""#,
    r#""😀""#,
    r#""ä""#,
    r#""/x/tasks""#,
    r#""restart""#,
    r#""/x/versions""#,
    r#""/x/delay""#,
    "7",
    "[]",
    "{}",
    "true",
];

/// Bodies that are not one object in JSON.
const BODIES: &[&[u8]] = &[
    b"",
    b" ",
    b"{",
    b"}",
    b"nonsense",
    b"{}}",
    b"{\"id\":}",
    b"{'id':'/x'}",
    b"{\"id\":\"/x\",}",
    b"[1,2",
    b"NaN",
    b"{\"cpus\":NaN}",
    b"{\"cpus\":Infinity}",
    b"{\"cpus\":1e400}",
    b"{\"cpus\":01}",
    b"{\"cpus\":.5}",
    b"{\"cpus\":+1}",
    b"{\"cmd\":\"\xff\xfe\"}",
    b"\xef\xbb\xbf{\"id\":\"/x\",\"cmd\":\"run\"}",
    b"{\"cmd\":\"\\ud800\"}",
    b"{\"cmd\":\"\\x\"}",
    b"{\"cmd\":\"a\nb\"}",
    b"\x00",
    b"{\"id\":\"/x\"} {\"id\":\"/y\"}",
    b"null",
    b"7",
    b"\"/x\"",
    b"true",
    b"[{\"id\":\"/x\",\"cmd\":\"run\"}]",
];

async fn check(services: &Services, method: Method, path: &str, body: &[u8]) -> Answered {
    let shown = String::from_utf8_lossy(body.get(..80).unwrap_or(body)).into_owned();
    let begun = Instant::now();
    let answer = services.raw(method.clone(), path, body).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{method} {path} {shown}"
    );
    assert!(
        answer.status.is_client_error(),
        "{method} {path} {shown}: {}",
        answer.text
    );
    for name in ["code", "message", "hint"] {
        let told = answer.body[name].as_str().unwrap_or_default();
        assert!(
            !told.is_empty(),
            "{method} {path} {shown}: no {name} in {}",
            answer.text
        );
    }
    assert!(
        answer.body["field"].is_string(),
        "{method} {path} {shown}: {}",
        answer.text
    );
    answer
}

#[tokio::test]
async fn bad_apps_are_refused_and_nothing_of_them_is_kept() {
    let services = Services::start().await;
    let other = json!({"id": "/other", "cmd": "run", "instances": 0});
    services.call(Method::POST, "/v2/apps", other).await;
    let kept = services.kept_keys();
    for (fragment, field) in FIELDS {
        let body = format!(r#"{{"id":"/x","cmd":"run",{fragment}}}"#);
        for (method, path) in [(Method::POST, "/v2/apps"), (Method::PUT, "/v2/apps/x")] {
            let answer = check(&services, method, path, body.as_bytes()).await;
            assert_eq!(answer.body["field"], *field, "{fragment}: {}", answer.text);
        }
    }
    for id in IDS {
        let body = format!(r#"{{"cmd":"run","id":{id}}}"#);
        let answer = check(&services, Method::POST, "/v2/apps", body.as_bytes()).await;
        assert_eq!(answer.body["field"], "id", "{id}: {}", answer.text);
    }
    for body in BODIES {
        check(&services, Method::POST, "/v2/apps", body).await;
        check(&services, Method::PUT, "/v2/apps/x", body).await;
        check(&services, Method::POST, "/v2/tasks/delete", body).await;
    }
    let long = "x".repeat(1_000_000);
    for body in [
        format!(r#"{{"id":"/{long}","cmd":"run"}}"#),
        format!(r#"{{"id":"/x","cmd":"{long}"}}"#),
        format!(r#"{{"id":"/x","cmd":"run","{long}":1,"labels":{{"a":"{long}"}}}}"#),
        format!(
            r#"{{"id":"/x","cmd":"run","cpus":1{}}}"#,
            "0".repeat(100_000)
        ),
        format!(
            r#"{{"id":"/x","cmd":"run","x":{}{}}}"#,
            "[".repeat(65),
            "]".repeat(65)
        ),
        format!(
            r#"{{"id":"/x","cmd":"run","x":{}"#,
            "{\"a\":".repeat(100_000)
        ),
        format!(
            r#"{{"id":"/x","cmd":"run","env":{{{}}}}}"#,
            (0..2_000)
                .map(|i| format!(r#""A{i}":"""#))
                .collect::<Vec<_>>()
                .join(",")
        ),
        format!(
            r#"{{"id":"/x","cmd":"run","ports":[{}0]}}"#,
            "0,".repeat(5_000)
        ),
        format!(
            r#"{{"id":"/x","cmd":"run","portDefinitions":[{}{{}}]}}"#,
            "[],".repeat(50_000)
        ),
    ] {
        check(&services, Method::POST, "/v2/apps", body.as_bytes()).await;
    }
    assert_eq!(services.kept_keys(), kept);
    assert_eq!(services.get("/v2/deployments").await.body, json!([]));
}

#[tokio::test]
async fn bad_addresses_are_refused() {
    let services = Services::start().await;
    let web = json!({"id": "/x", "cmd": "run", "instances": 0});
    services.call(Method::POST, "/v2/apps", web).await;
    for (method, path, field) in [
        (Method::GET, "/v2/apps/%ff", "path"),
        (Method::GET, "/v2/apps/a%00b", "id"),
        (Method::GET, "/v2/apps/..%2f..", "id"),
        (Method::GET, "/v2/apps/nope", ""),
        (Method::GET, "/v2/apps/x/tasks/tasks", "id"),
        (Method::GET, "/v2/apps?label=%3D%3D", "label"),
        (Method::GET, "/v2/apps/x/versions/yesterday", ""),
        (Method::POST, "/v2/apps/x", ""),
        (Method::POST, "/v2/apps/x/restart?force=maybe", "force"),
        (Method::PUT, "/v2/apps/x?partialUpdate=2", "partialUpdate"),
        (Method::DELETE, "/v2/apps/x?force=yes", "force"),
        (Method::DELETE, "/v2/apps/x/tasks?scale=yes", "scale"),
        (
            Method::DELETE,
            "/v2/apps/x/tasks?scale=true&wipe=true",
            "scale",
        ),
        (Method::DELETE, "/v2/apps/x/tasks/%ff", "path"),
        (Method::DELETE, "/v2/deployments/%ff", "path"),
        (Method::DELETE, "/v2/deployments/1", ""),
        (Method::DELETE, "/v2/queue/x/delay", ""),
        (Method::DELETE, "/v2/queue/x", ""),
        (Method::GET, "/v1/why/nope", ""),
        (Method::GET, "/v1/why/%ff", "path"),
    ] {
        let answer = check(&services, method.clone(), path, b"").await;
        assert_eq!(
            answer.body["field"], field,
            "{method} {path}: {}",
            answer.text
        );
    }
    assert_eq!(services.get("/v2/apps/x").await.body["app"]["instances"], 0);
}

#[tokio::test]
async fn addresses_that_clients_write_differently_are_the_same() {
    let services = Services::start().await;
    let web = json!({"id": "x", "cmd": "run", "instances": 0, "ports": [], "portDefinitions": [{"port": 0}]});
    services.call(Method::POST, "/v2/apps/", web).await;
    for path in [
        "/v2/apps/",
        "/v2/apps/x",
        "/v2/apps//x",
        "/v2/apps/x/",
        "/v2/apps//x//",
        "/v2/apps/%2Fx",
        "/v2/apps//x/tasks/",
        "/v2/tasks/",
        "/v2/deployments/",
        "/v2/queue/",
        "/v2/info/",
        "/v2/leader/",
        "/ping/",
        "/v1/why//x",
    ] {
        let answer = services.get(path).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
    }
    let read = services.get("/v2/apps/x").await.body;
    assert_eq!(read["app"]["portDefinitions"][0]["port"], 10000);
    for path in [
        "/v2/apps/x?force",
        "/v2/apps//x?force=True",
        "/v2/apps/x?force=1&partialUpdate=FALSE",
    ] {
        let answer = services.call(Method::PUT, path, read["app"].clone()).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
        assert_eq!(
            answer.body["version"], read["app"]["version"],
            "nothing changed"
        );
    }
}
