//! What tools that were written for Mesos ask an agent, over a real socket.

use std::collections::BTreeSet;

use proffer_model::{TaskSpec, TaskState};
use proffer_proto::mesos::v1::agent;
use proffer_proto::mesos::write_json;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, shell};

/// What a call is answered in protobuf, if that is asked for and in, is what it is answered in JSON.
async fn the_same_in_protobuf(bench: &Bench, request: &str, kind: &str, json: Value) {
    let kind = agent::call::Type::from_str_name(kind).unwrap();
    let call = agent::Call {
        r#type: Some(kind.into()),
        ..agent::Call::default()
    };
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    let (status, body) = ask_in(
        bench,
        request,
        token.trim(),
        ("application/x-protobuf", &call.encode_to_vec()),
    )
    .await;
    assert_eq!(status, 200);
    let answer = agent::Response::decode(body.as_slice()).unwrap();
    let said: Value = serde_json::from_slice(&write_json(&answer)).unwrap();
    assert_eq!(said["type"], json["type"]);
    assert_eq!(leaves(&said), leaves(&json));
}

/// Everything that an answer says, with where it says it. Of numbers only where they are: times, loads and what processes use go
/// on. Empty lists and parts are not there in protobuf.
fn leaves(answer: &Value) -> BTreeSet<String> {
    fn gather(at: &str, value: &Value, all: &mut BTreeSet<String>) {
        match value {
            Value::Object(parts) => {
                for (key, part) in parts {
                    gather(&format!("{at}/{key}"), part, all);
                }
            }
            Value::Array(parts) => {
                for (place, part) in parts.iter().enumerate() {
                    gather(&format!("{at}/{place}"), part, all);
                }
            }
            Value::Number(_) => drop(all.insert(at.to_owned())),
            said => drop(all.insert(format!("{at} {said}"))),
        }
    }
    let mut all = BTreeSet::new();
    gather("", answer, &mut all);
    all
}

/// The status and the body.
async fn ask(bench: &Bench, request: &str, token: &str, body: &str) -> (u16, String) {
    let body = ("application/json", body.as_bytes());
    let (status, body) = ask_in(bench, request, token, body).await;
    (status, String::from_utf8(body).unwrap())
}

async fn ask_in(
    bench: &Bench,
    request: &str,
    token: &str,
    (media, body): (&str, &[u8]),
) -> (u16, Vec<u8>) {
    let exchange = async {
        let mut socket = TcpStream::connect(bench.listen()).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: {media}\r\naccept: {media}\r\ncontent-length: {}\r\n\r\n",
            bench.listen(),
            body.len()
        );
        let whole = [head.as_bytes(), body].concat();
        socket.write_all(&whole).await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, exchange).await.unwrap();
    let mut breaks = answer.windows(4).enumerate();
    let (end, _) = breaks.find(|(_, four)| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

async fn page(bench: &Bench, request: &str, body: &str) -> Value {
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    let (status, body) = ask(bench, request, token.trim(), body).await;
    assert_eq!(status, 200, "{request}: {body}");
    serde_json::from_str(&body).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_find_the_pages_of_an_agent_with_what_runs_there_and_no_secrets() {
    let mut bench = Bench::started().await;
    let mut spec = TaskSpec {
        labels: [("k".to_owned(), "v".to_owned())].into(),
        ..shell("t", "sleep 1000")
    };
    spec.name = "a name".to_owned();
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    bench.launch(2, shell("over", "true")).await;
    bench.until(TaskState::Finished).await;
    for above in ["", "/slave(1)"] {
        let state = page(&bench, &format!("GET {above}/state"), "").await;
        assert_eq!(
            (&state["id"], &state["resources"]["cpus"]),
            (&json!("a"), &json!(4.0))
        );
        assert_eq!(state["master_hostname"], "127.0.0.1");
        assert_eq!(state["build_user"], "");
        assert_eq!(state["capabilities"][0]["type"], "MULTI_ROLE");
        assert_eq!(state["unreserved_resources_allocated"]["cpus"], 0.1);
        assert_eq!(state["reserved_resources_allocated"], json!({}));
        let full = state["unreserved_resources_full"].as_array().unwrap();
        assert!(
            full.iter()
                .any(|one| one["name"] == "cpus" && one["role"] == "*")
        );
        let framework = &state["frameworks"][0];
        assert_eq!(framework["id"], "f");
        let task = &framework["executors"][0]["tasks"][0];
        assert_eq!(
            (&task["id"], &task["name"]),
            (&json!("t"), &json!("a name"))
        );
        assert_eq!(
            (&task["state"], &task["labels"][0]["key"]),
            (&json!("TASK_RUNNING"), &json!("k"))
        );
        let over = &framework["completed_executors"][0]["completed_tasks"][0];
        assert_eq!(
            (&over["id"], &over["state"]),
            (&json!("over"), &json!("TASK_FINISHED"))
        );
        let directory = framework["executors"][0]["directory"].as_str().unwrap();
        assert!(std::path::Path::new(directory).is_dir(), "{directory}");
        assert!(
            !state.to_string().contains("hush"),
            "no environment is shown"
        );
        for name in [
            "monitor/statistics",
            "containers",
            "monitor/statistics.json",
        ] {
            let all = page(&bench, &format!("GET {above}/{name}"), "").await;
            assert_eq!(all.as_array().map(Vec::len), Some(1), "{all}");
            let of = &all[0]["statistics"];
            assert_eq!(
                (&of["cpus_limit"], &of["mem_limit_bytes"]),
                (&json!(0.1), &json!(10 << 20))
            );
            assert!(of["mem_rss_bytes"].as_u64().unwrap() > 0, "{of}");
            assert_eq!(
                (&all[0]["framework_id"], &all[0]["executor_id"]),
                (&json!("f"), &json!("t"))
            );
        }
        assert_eq!(
            page(&bench, &format!("GET {above}/version"), "").await["version"],
            "1.11.0"
        );
        let flags = page(&bench, &format!("GET {above}/flags"), "").await;
        assert!(flags["flags"]["work_dir"].is_string());
        let call = |kind: &str| json!({"type": kind}).to_string();
        let request = format!("POST {above}/api/v1");
        let longer = format!("POST {above}/api/v1/operator");
        let health = page(&bench, &longer, &call("GET_HEALTH")).await;
        assert_eq!(health["get_health"]["healthy"], true);
        let tasks = page(&bench, &request, &call("GET_TASKS")).await;
        let running = &tasks["get_tasks"]["launched_tasks"][0];
        assert_eq!(
            (&running["task_id"]["value"], &running["state"]),
            (&json!("t"), &json!("TASK_RUNNING"))
        );
        let executors = page(&bench, &request, &call("GET_EXECUTORS")).await;
        let id = |of: &str| {
            executors["get_executors"][of][0]["executor_info"]["executor_id"]["value"].clone()
        };
        assert_eq!(
            (id("executors"), id("completed_executors")),
            (json!("t"), json!("over"))
        );
        let agent = page(&bench, &request, &call("GET_AGENT")).await;
        assert_eq!(agent["get_agent"]["agent_info"]["id"]["value"], "a");
        for (kind, key) in [
            ("GET_HEALTH", "get_health"),
            ("GET_VERSION", "get_version"),
            ("GET_FLAGS", "get_flags"),
            ("GET_STATE", "get_state"),
            ("GET_FRAMEWORKS", "get_frameworks"),
            ("GET_CONTAINERS", "get_containers"),
            ("GET_EXECUTORS", "get_executors"),
            ("GET_OPERATIONS", "get_operations"),
            ("GET_TASKS", "get_tasks"),
            ("GET_AGENT", "get_agent"),
            ("GET_METRICS", "get_metrics"),
            ("GET_LOGGING_LEVEL", "get_logging_level"),
            ("GET_RESOURCE_PROVIDERS", "get_resource_providers"),
        ] {
            let answer = page(&bench, &request, &call(kind)).await;
            assert!(
                answer["type"] == kind && answer[key].is_object(),
                "{answer}"
            );
            the_same_in_protobuf(&bench, &request, kind, answer).await;
        }
        let figures = page(&bench, &format!("GET {above}/metrics/snapshot"), "").await;
        for (name, value) in [
            ("slave/tasks_running", 1.0),
            ("slave/tasks_finished", 1.0),
            ("slave/executors_running", 1.0),
            ("slave/frameworks_active", 1.0),
            ("slave/registered", 1.0),
            ("slave/cpus_total", 4.0),
            ("slave/cpus_used", 0.1),
            ("slave/mem_percent", 0.01),
        ] {
            assert_eq!(figures[name], value, "{name}");
        }
        assert!(figures["slave/uptime_secs"].as_f64().unwrap() > 0.0);
        assert!(figures["system/mem_total_bytes"].as_f64().unwrap() > 0.0);
    }
    page(&bench, "GET /slave(1)/health", "").await;
    for path in [
        "/state/",
        "/slave(1)/state/",
        "/slave%281%29/state",
        "/slave%281%29/health/",
    ] {
        page(&bench, &format!("GET {path}"), "").await;
    }
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    let (status, body) = ask(
        &bench,
        "POST /api/v1",
        token.trim(),
        r#"{"type":"KILL_CONTAINER"}"#,
    )
    .await;
    assert!(status == 501 && body.contains("KILL_CONTAINER"), "{body}");
    assert_eq!(ask(&bench, "POST /api/v1", token.trim(), "{}").await.0, 400);
    for path in ["/api/v1/scheduler", "/slave(1)/api/v1/scheduler/"] {
        let post = format!("POST {path}");
        let (status, body) = ask(&bench, &post, token.trim(), r#"{"type":"SUBSCRIBE"}"#).await;
        assert_eq!(status, 404, "{path}: {body}");
        let says = "the scheduler API is the master's: the master that leads is on 127.0.0.1";
        assert!(body.contains(says), "{path}: {body}");
    }
    assert_eq!(ask(&bench, "GET /state", "wrong", "").await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_of_single_containers_are_said_to_be_missing_whatever_their_caller_accepts() {
    let bench = Bench::started().await;
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    let records = "application/recordio";
    for (given, accepted, body, status, said) in [
        (
            "application/json",
            records,
            r#"{"type":"ATTACH_CONTAINER_OUTPUT"}"#,
            501,
            "ATTACH_CONTAINER_OUTPUT",
        ),
        (
            "application/json",
            records,
            r#"{"type":"LAUNCH_NESTED_CONTAINER_SESSION"}"#,
            501,
            "LAUNCH_NESTED_CONTAINER_SESSION",
        ),
        (
            records,
            "application/json",
            "20\n{}",
            501,
            "ATTACH_CONTAINER_INPUT",
        ),
        (
            "application/json",
            records,
            r#"{"type":"GET_TASKS"}"#,
            406,
            "Accept",
        ),
        (
            "application/json",
            records,
            r#"{"type":"READ_FILE"}"#,
            406,
            "Accept",
        ),
        ("text/plain", "application/json", "{}", 415, "Content-Type"),
    ] {
        let media = format!("{given}\r\naccept: {accepted}");
        let socket = TcpStream::connect(bench.listen()).await.unwrap();
        let head = format!(
            "POST /api/v1 HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
             content-type: {media}\r\ncontent-length: {}\r\n\r\n{body}",
            bench.listen(),
            token.trim(),
            body.len()
        );
        let answer = exchanged(socket, &head).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{body}: {answer}"
        );
        assert!(answer.contains(said), "{body}: {answer}");
    }
}

async fn exchanged(mut socket: TcpStream, request: &str) -> String {
    let exchange = async {
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_by_any_method_and_an_agents_health_without_a_token() {
    let bench = Bench::started().await;
    for path in [
        "/state",
        "/monitor/statistics",
        "/metrics/snapshot",
        "/version",
        "/health",
        "/slave(1)/health",
    ] {
        page(&bench, &format!("POST {path}"), "").await;
    }
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    assert_eq!(ask(&bench, "POST /flags", token.trim(), "").await.0, 405);
    for path in ["/health", "/slave(1)/health", "/slave%281%29/health"] {
        let socket = TcpStream::connect(bench.listen()).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            bench.listen()
        );
        let answer = exchanged(socket, &head).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
    }
    // From a page of somebody else's.
    let socket = TcpStream::connect(bench.listen()).await.unwrap();
    let head = format!(
        "POST /state HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\norigin: http://evil.example\r\n\
         connection: close\r\ncontent-length: 0\r\n\r\n",
        bench.listen(),
        token.trim()
    );
    let answer = exchanged(socket, &head).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // As a browser asks for a script and an image of a page of somebody else's, and follows a link from it.
    for (path, header, status) in [
        ("/files/debug?jsonp=f", "sec-fetch-site: cross-site", 403),
        ("/state", "sec-fetch-site: same-site", 403),
        ("/state?jsonp=f", "referer: http://evil.example/", 403),
        (
            "/state",
            "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\nreferer: http://evil.example/",
            200,
        ),
    ] {
        let socket = TcpStream::connect(bench.listen()).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n{header}\r\nconnection: close\r\n\r\n",
            bench.listen(),
            token.trim()
        );
        let answer = exchanged(socket, &head).await;
        let starts = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&starts), "{path} {header}: {answer}");
    }
    let script = ask(&bench, "GET /version?jsonp=f", token.trim(), "").await;
    assert!(
        script.0 == 200 && script.1.starts_with("f({") && script.1.ends_with(");"),
        "{script:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_tasks_say_as_what_they_are_found_whose_share_they_are_of_and_how_they_stand() {
    let mut bench = Bench::started().await;
    let mut spec = shell("t", "sleep 1000");
    let role = proffer_model::Secret::new("eng");
    spec.environment
        .insert("MESOS_ALLOCATION_ROLE".to_owned(), role);
    let discovery = proffer_model::Discovery {
        name: "web".to_owned(),
        ..proffer_model::Discovery::default()
    };
    spec.discovery = Some(std::sync::Arc::new(discovery));
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let state = page(&bench, "GET /state", "").await;
    let executor = &state["frameworks"][0]["executors"][0];
    let task = &executor["tasks"][0];
    assert_eq!(
        (&task["role"], &task["discovery"]["name"]),
        (&json!("eng"), &json!("web"))
    );
    // Exporters put the two together by their source.
    let statistics = page(&bench, "GET /monitor/statistics", "").await;
    for of in [executor, &statistics[0]] {
        assert_eq!(of["source"], "t", "{of}");
    }
    let title = "Command Executor (Task: t)";
    assert_eq!(
        (&executor["name"], &statistics[0]["executor_name"]),
        (&json!(title), &json!(title))
    );
    let call = json!({"type": "GET_TASKS"}).to_string();
    let tasks = page(&bench, "POST /api/v1", &call).await;
    let task = &tasks["get_tasks"]["launched_tasks"][0];
    assert_eq!(task["discovery"]["name"], "web", "{task}");
    let status = &task["statuses"][0];
    assert_eq!(
        (&status["state"], &status["executor_id"]["value"]),
        (&json!("TASK_RUNNING"), &json!("t"))
    );
    assert_eq!(task["status_update_state"], "TASK_RUNNING");
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_that_are_numbers_are_shown_as_numbers() {
    let mut bench = Bench::new().await;
    bench.attributes = Some("rack:a;slots:4;version:1.2.3");
    bench.start().await;
    let state = page(&bench, "GET /state", "").await;
    let shown = json!({"rack": "a", "slots": 4.0, "version": "1.2.3"});
    assert_eq!(state["attributes"], shown);
}

/// Each of its tasks is a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_mesos_group_is_in_the_executor_of_the_group() {
    let mut bench = Bench::started().await;
    let mut spec = shell("t", "sleep 1000");
    let pod = proffer_model::Secret::new("pod");
    spec.environment.insert("MESOS_EXECUTOR_ID".to_owned(), pod);
    bench.launch(1, spec).await;
    bench.until(TaskState::Running).await;
    let state = page(&bench, "GET /state", "").await;
    let executor = &state["frameworks"][0]["executors"][0];
    assert_eq!(executor["id"], "pod", "{state}");
    assert_eq!(executor["tasks"][0]["executor_id"], "pod");
    let containers = page(&bench, "GET /containers", "").await;
    assert_eq!(containers[0]["executor_id"], "pod");
    assert_eq!(containers[0]["container_id"], "t-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_runs_again_is_beside_the_one_that_is_over() {
    let mut bench = Bench::started().await;
    for incarnation in 1..=3 {
        bench.launch(incarnation, shell("t", "true")).await;
        bench.until(TaskState::Finished).await;
    }
    bench.launch(4, shell("t", "sleep 1000")).await;
    bench.until(TaskState::Running).await;
    let state = page(&bench, "GET /state", "").await;
    let framework = &state["frameworks"][0];
    let containers = |of: &str| -> BTreeSet<String> {
        let all = framework[of].as_array().unwrap().iter();
        let all = all.filter(|executor| executor["id"] == "t");
        all.map(|executor| executor["container"].as_str().unwrap().to_owned())
            .collect()
    };
    let (live, over) = (containers("executors"), containers("completed_executors"));
    assert_eq!((live.len(), over.len()), (1, 3), "{framework}");
    let running = page(&bench, "GET /containers", "").await;
    assert_eq!(live.first().unwrap(), &running[0]["container_id"]);
    let executor = &framework["executors"][0];
    assert!(executor["completed_tasks"].as_array().unwrap().is_empty());
    let directory = executor["directory"].as_str().unwrap();
    assert!(std::path::Path::new(directory).is_dir(), "{directory}");
    // As in its updates.
    assert_eq!(live.first().unwrap(), "t-4");
    let all = page(&bench, "POST /api/v1", r#"{"type":"GET_EXECUTORS"}"#).await;
    let all = &all["get_executors"];
    let count = |of: &str| all[of].as_array().unwrap().len();
    assert_eq!((count("executors"), count("completed_executors")), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_read_what_tasks_print_and_the_files_of_their_sandboxes() {
    let mut bench = Bench::started().await;
    let line = "mkdir d && echo one > d/f && ln -s /etc/passwd l && echo printed && sleep 1000";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Running).await;
    crate::bench::lines(&bench.run().join("stdout"), 1).await;
    let state = page(&bench, "GET /state", "").await;
    let directory = &state["frameworks"][0]["executors"][0]["directory"];
    let directory = directory.as_str().unwrap();
    let browsed = page(&bench, &format!("GET /files/browse?path={directory}"), "").await;
    let names = |all: &Value| -> Vec<String> {
        let all = all.as_array().unwrap().iter();
        let paths = all.map(|info| info["path"].as_str().unwrap());
        let names = paths.map(|path| path.rsplit('/').next().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(names(&browsed), ["d", "l", "stderr", "stdout"]);
    assert_eq!(browsed[0]["mode"], "drwxr-xr-x");
    assert_eq!(browsed[3]["size"], 8);
    let latest = "/frameworks/f/executors/t/runs/latest";
    let paths = page(&bench, "GET /files/debug", "").await;
    assert_eq!(paths, json!({(latest): directory, (directory): directory}));
    let browsed = page(&bench, &format!("GET /files/browse?path={latest}"), "").await;
    assert_eq!(names(&browsed), ["d", "l", "stderr", "stdout"]);
    assert_eq!(browsed[0]["path"], format!("{latest}/d"));
    let read = async |rest: &str| {
        let request = format!("GET /files/read?path={directory}/{rest}");
        page(&bench, &request, "").await
    };
    let whole = read("stdout").await;
    assert_eq!(whole, json!({"data": "", "offset": 8}));
    let part = read("stdout&offset=2&length=4").await;
    assert_eq!(part, json!({"data": "inte", "offset": 2}));
    let call = json!({"type": "LIST_FILES", "list_files": {"path": format!("{directory}/d")}});
    let listed = page(&bench, "POST /api/v1", &call.to_string()).await;
    assert_eq!(names(&listed["list_files"]["file_infos"]), ["f"]);
    let call = json!({"type": "READ_FILE",
        "read_file": {"path": format!("{directory}/d/f"), "offset": 1}});
    let read = page(&bench, "POST /api/v1", &call.to_string()).await;
    // `ne` and the end of the line, in base64.
    assert_eq!(read["read_file"], json!({"size": 4, "data": "bmUK"}));
    let token = std::fs::read_to_string(bench.path().join("token")).unwrap();
    for page in ["download", "download.json"] {
        let request = format!("GET /files/{page}?path={directory}/d/f");
        let (status, body) = ask(&bench, &request, token.trim(), "").await;
        assert_eq!(status, 200, "{page}");
        assert_eq!(
            body, "one\n",
            "its length is said, so it comes in one piece"
        );
    }
    for (request, status) in [
        (format!("GET /files/read?path={directory}/l&offset=0"), 404),
        ("GET /files/read?path=/etc/passwd&offset=0".to_owned(), 404),
        (format!("GET /files/browse?path={directory}/.."), 404),
        (format!("GET /files/browse?path={directory}/d/f"), 400),
        (format!("GET /files/read?path={directory}/d&offset=0"), 400),
        (
            format!("GET /files/read?path={directory}/d/f&offset=x"),
            400,
        ),
        (format!("GET /files/browse?path={latest}/.."), 404),
        (format!("GET /files/read?path={latest}/l&offset=0"), 404),
        (
            "GET /files/browse?path=/frameworks/f/executors/u/runs/latest".to_owned(),
            404,
        ),
        ("GET /files/browse".to_owned(), 400),
        (
            format!("GET /files/read?path={directory}/d/f&jsonp=alert(1)"),
            400,
        ),
    ] {
        let (found, body) = ask(&bench, &request, token.trim(), "").await;
        assert_eq!(found, status, "{request}: {body}");
    }
    for (rest, status, answer) in [
        ("offset=-5", 400, "Negative offset provided: -5.\n"),
        ("offset=0&length=-2", 400, "Negative length provided: -2.\n"),
        ("offset=-1", 200, r#"{"data":"","offset":4}"#),
        (
            "offset=0&length=-1&jsonp=f",
            200,
            r#"f({"data":"one\n","offset":0});"#,
        ),
    ] {
        let request = format!("GET /files/read?path={directory}/d/f&{rest}");
        let found = ask(&bench, &request, token.trim(), "").await;
        assert_eq!(found, (status, answer.to_owned()), "{request}");
    }
    let request = format!("GET /files/read?path={directory}/stdout&offset=0");
    assert_eq!(ask(&bench, &request, "wrong", "").await.0, 401);
}
