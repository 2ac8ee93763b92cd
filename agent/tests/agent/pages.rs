//! What tools that were written for Mesos ask an agent, over a real socket.

use proffer_model::{TaskSpec, TaskState};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, shell};

/// The status and the body.
async fn ask(bench: &Bench, request: &str, token: &str, body: &str) -> (u16, String) {
    let exchange = async {
        let mut socket = TcpStream::connect(bench.listen()).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            bench.listen(),
            body.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
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
        ] {
            let answer = page(&bench, &request, &call(kind)).await;
            assert!(
                answer["type"] == kind && answer[key].is_object(),
                "{answer}"
            );
        }
    }
    page(&bench, "GET /slave(1)/health", "").await;
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
    assert_eq!(ask(&bench, "GET /state", "wrong", "").await.0, 401);
}
