//! The REST API before a driver and a core, and a master in memory that keeps what it is given.

mod bad_input;
mod fake;

use std::time::Duration;

use axum::http::{Method, StatusCode};
use futures::StreamExt;
use proffer_model::session::Call;
use proffer_model::{TaskState, code};
use serde_json::{Value, json};

use self::fake::Services;

fn web() -> Value {
    json!({"id": "/prod/web", "cmd": "serve", "cpus": 0.1, "mem": 32, "instances": 2})
}

#[tokio::test]
async fn an_app_is_made_read_scaled_and_removed() {
    let services = Services::start().await;
    let created = services.call(Method::POST, "/v2/apps", web()).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(created.header("location"), "/v2/apps/prod/web");
    assert_eq!(
        created.header("marathon-deployment-id"),
        created.body["deployments"][0]["id"]
    );
    assert_eq!(
        (
            &created.body["tasksRunning"],
            &created.body["portDefinitions"][0]["port"]
        ),
        (&json!(0), &json!(10000))
    );

    services.launch_all().await;
    for path in [
        "/v2/apps/prod/web",
        "/v2/apps//prod/web",
        "/v2/apps/prod/web/",
    ] {
        let read = services.get(path).await;
        assert_eq!(read.status, StatusCode::OK, "{path}");
        assert_eq!(
            (
                &read.body["app"]["tasksRunning"],
                &read.body["app"]["deployments"]
            ),
            (&json!(2), &json!([]))
        );
        let task = &read.body["app"]["tasks"][0];
        assert_eq!(
            (&task["state"], &task["servicePorts"]),
            (&json!("TASK_RUNNING"), &json!([10000]))
        );
        assert_eq!(task["ipAddresses"][0]["ipAddress"], "127.0.0.1");
    }
    let listed = services.get("/v2/apps?embed=apps.tasks&id=WEB").await;
    assert_eq!(
        listed.body["apps"][0]["tasks"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(
        services.get("/v2/apps").await.body["apps"][0]
            .get("tasks")
            .is_none()
    );
    assert_eq!(
        services.get("/v2/apps?cmd=other").await.body["apps"],
        json!([])
    );
    assert_eq!(
        services.get("/v2/tasks?status=staging").await.body["tasks"],
        json!([])
    );
    assert_eq!(
        services.get("/v2/tasks").await.body["tasks"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    let scaled = services
        .call(
            Method::PUT,
            "/v2/apps/prod/web",
            json!({"instances": 3, "cmd": null}),
        )
        .await;
    assert_eq!(scaled.status, StatusCode::OK);
    assert!(scaled.body["deploymentId"].is_string() && scaled.body["version"].is_string());
    let deployments = services.get("/v2/deployments").await.body;
    assert_eq!(deployments[0]["affectedApps"], json!(["/prod/web"]));
    assert_eq!(
        deployments[0]["currentActions"][0]["action"],
        "ScaleApplication"
    );
    let removed = services
        .call(Method::DELETE, "/v2/apps/prod/web", Value::Null)
        .await;
    assert_eq!(removed.status, StatusCode::OK);
    services.end_all_killed().await;
    assert_eq!(
        services.get("/v2/apps/prod/web").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(services.kept_keys(), Vec::<String>::new());
}

#[tokio::test]
async fn refusals_have_marathons_shape_and_ours() {
    let services = Services::start().await;
    services.call(Method::POST, "/v2/apps", web()).await;
    for (method, path, body, status, code, field) in [
        (
            Method::POST,
            "/v2/apps",
            json!({"id": "/x", "cmd": "x", "cpus": -1}),
            422,
            "app.invalid",
            "cpus",
        ),
        (
            Method::POST,
            "/v2/apps",
            json!({"id": "/x", "cmd": ""}),
            422,
            "app.invalid",
            "cmd",
        ),
        (
            Method::POST,
            "/v2/apps",
            json!({"id": "/x"}),
            422,
            "app.invalid",
            "cmd",
        ),
        (
            Method::POST,
            "/v2/apps",
            json!({"cmd": "x"}),
            422,
            "field.missing",
            "id",
        ),
        (Method::POST, "/v2/apps", web(), 409, "app.exists", "id"),
        (
            Method::PUT,
            "/v2/apps/prod/web",
            json!({"instances": 5}),
            409,
            "app.locked",
            "",
        ),
        (
            Method::PUT,
            "/v2/apps/prod/web",
            json!({"id": "/other"}),
            422,
            "app.invalid",
            "id",
        ),
        (
            Method::PUT,
            "/v2/apps/prod/web",
            json!({"version": "2020-01-01T00:00:00.000Z"}),
            422,
            "app.invalid",
            "version",
        ),
        (
            Method::PUT,
            "/v2/apps/UPPER",
            web(),
            422,
            "id.invalid",
            "id",
        ),
        (
            Method::PATCH,
            "/v2/apps/none",
            json!({"instances": 5}),
            404,
            "app.unknown",
            "",
        ),
        (
            Method::DELETE,
            "/v2/apps/none",
            Value::Null,
            404,
            "app.unknown",
            "",
        ),
        (
            Method::POST,
            "/v2/apps/none/restart",
            Value::Null,
            404,
            "app.unknown",
            "",
        ),
        (
            Method::DELETE,
            "/v2/apps/prod/web/tasks/x",
            Value::Null,
            404,
            "task.unknown",
            "",
        ),
        (
            Method::DELETE,
            "/v2/apps/prod/web/tasks?scale=true&wipe=True",
            Value::Null,
            422,
            "field.invalid",
            "scale",
        ),
        (
            Method::POST,
            "/v2/tasks/delete",
            json!({"ids": ["x"]}),
            422,
            "field.invalid",
            "ids[0]",
        ),
        (
            Method::DELETE,
            "/v2/deployments/x",
            Value::Null,
            404,
            "deployment.unknown",
            "",
        ),
        (
            Method::DELETE,
            "/v2/queue/none/delay",
            Value::Null,
            404,
            "app.unknown",
            "",
        ),
        (
            Method::POST,
            "/v2/apps/prod/web",
            Value::Null,
            405,
            "route.method",
            "",
        ),
        (
            Method::GET,
            "/v2/apps?label=a%3D%3D%3Db",
            Value::Null,
            422,
            "field.invalid",
            "label",
        ),
        (
            Method::GET,
            "/v1/why/none",
            Value::Null,
            404,
            "app.unknown",
            "",
        ),
    ] {
        let answer = services.call(method.clone(), path, body).await;
        let what = format!("{method} {path}: {}", answer.body);
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(
            (&answer.body["code"], &answer.body["field"]),
            (&json!(code), &json!(field)),
            "{what}"
        );
        assert!(
            answer.body["message"].is_string()
                && !answer.body["hint"].as_str().unwrap_or("").is_empty(),
            "{what}"
        );
    }
    let body = json!({"id": "/x", "cmd": "x", "cpus": -1, "portDefinitions": [{"name": 5}]});
    let answer = services.call(Method::POST, "/v2/apps", body).await;
    let paths: Vec<_> = answer.body["details"]
        .as_array()
        .expect("details")
        .iter()
        .map(|detail| &detail["path"])
        .collect();
    assert_eq!(paths, ["/cpus", "/portDefinitions(0)/name"]);
    let malformed = services
        .raw(Method::POST, "/v2/apps", "{\"cpus\":NaN}")
        .await;
    assert_eq!(
        (malformed.status.as_u16(), &malformed.body["code"]),
        (400, &json!("body.malformed"))
    );
    let locked = services
        .call(Method::POST, "/v2/apps/prod/web/restart", Value::Null)
        .await;
    assert!(locked.body["deployments"][0]["id"].is_string());
}

#[tokio::test]
async fn a_change_is_answered_when_it_is_kept_and_refused_soon_when_it_cannot_be() {
    let services = Services::start().await;
    services.call(Method::POST, "/v2/apps", web()).await;
    assert_eq!(services.kept_keys(), ["app/prod_web"]);
    services.master.set_broken(true);
    let answer = services
        .call(Method::POST, "/v2/apps", json!({"id": "/b", "cmd": "x"}))
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (503, &json!("peer.unreachable"))
    );
    assert_eq!(
        services.get("/v2/apps/b").await.status,
        StatusCode::NOT_FOUND,
        "nobody sees what is not kept"
    );
    services.master.set_broken(false);
    services
        .eventually("/v2/apps/b", |body| body["app"]["id"] == "/b")
        .await;

    services.lose_session().await;
    let answer = services
        .call(Method::POST, "/v2/apps", json!({"id": "/c", "cmd": "x"}))
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["code"]),
        (503, &json!("peer.unreachable"))
    );
    assert_eq!(
        services.get("/v2/apps/b").await.status,
        StatusCode::OK,
        "reads go on"
    );
    services.open_session().await;
    services
        .eventually("/v2/apps/b", |body| body["app"]["id"] == "/b")
        .await;
    assert_eq!(
        services.get("/v2/apps/c").await.status,
        StatusCode::NOT_FOUND,
        "nothing was half done"
    );
}

#[tokio::test]
async fn a_launch_leaves_after_its_instance_is_kept_and_a_restart_adopts_it() {
    let services = Services::start().await;
    services.call(Method::POST, "/v2/apps", web()).await;
    services.launch_all().await;
    assert_eq!(services.kept_keys().len(), 3);
    let before = services.task_ids().await;
    let services = services.restart().await;
    services.report_all(TaskState::Running).await;
    services
        .eventually("/v2/apps/prod/web", |body| body["app"]["tasksRunning"] == 2)
        .await;
    assert_eq!(services.task_ids().await, before);
    assert!(
        !services
            .master
            .calls()
            .iter()
            .any(|call| matches!(call, Call::Accept { .. })),
        "nothing is launched again"
    );
}

#[tokio::test]
async fn state_of_another_process_stops_this_one() {
    let mut services = Services::start().await;
    services.call(Method::POST, "/v2/apps", web()).await;
    services.master.overwrite("app/prod_web");
    services
        .call(Method::DELETE, "/v2/apps/prod/web", Value::Null)
        .await;
    let problem = services.ended().await.expect_err("it stops");
    assert!(problem.is(code::STATE_VERSION), "{problem}");
}

#[tokio::test]
async fn followers_see_changes_they_asked_for_and_no_environment() {
    let services = Services::start().await;
    let mut events = services
        .follow("/v2/events?event_type=api_post_event&event_type=status_update_event")
        .await;
    let mut app = web();
    app["env"] = json!({"PASSWORD": "hunter2"});
    services.call(Method::POST, "/v2/apps", app).await;
    services.launch_all().await;
    let mut text = String::new();
    let reading = async {
        while !text.contains("TASK_RUNNING") {
            text.push_str(&String::from_utf8_lossy(
                &events.next().await.expect("more").expect("bytes"),
            ));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("told");
    assert!(text.contains("event: api_post_event\r\ndata: {"));
    assert!(
        !text.contains("deployment_info") && !text.contains("hunter2"),
        "{text}"
    );
}

#[tokio::test]
async fn why_says_what_is_missing_and_what_agents_lack() {
    let services = Services::start().await;
    services.call(Method::POST, "/v2/apps", web()).await;
    let why = services.get("/v1/why/prod/web").await.body;
    assert_eq!((&why["wanted"], &why["running"]), (&json!(2), &json!(0)));
    assert_eq!(
        (
            &why["reasons"][0]["reason"],
            &why["reasons"][0]["instances"]
        ),
        (&json!("offers"), &json!(2))
    );
    assert_eq!(
        why["agents"],
        json!([{"reason": "insufficient_cpus", "message": "less than 0.1 cpus", "agents": 1}])
    );
    let queue = services.get("/v2/queue").await.body;
    assert_eq!(
        (
            &queue["queue"][0]["count"],
            &queue["queue"][0]["delay"]["overdue"]
        ),
        (&json!(2), &json!(true))
    );
}

#[tokio::test]
async fn the_small_pages_answer_as_clients_expect() {
    let services = Services::start().await;
    assert_eq!(
        services.get("/v2/info").await.body["frameworkId"],
        "framework"
    );
    assert_eq!(
        services.get("/v2/leader").await.body["leader"],
        "127.0.0.1:8080"
    );
    assert_eq!(services.get("/health").await.body["session_active"], true);
    assert_eq!(services.get("/ping").await.text, "pong");
    assert_eq!(services.get("/v2/deployments").await.body, json!([]));
    assert!(
        services
            .get("/v2/apps")
            .await
            .header("cache-control")
            .contains("no-store")
    );
}

#[tokio::test]
async fn tables_are_not_shown_before_they_are_read() {
    let services = Services::start_without_session().await;
    for path in ["/v2/apps", "/v2/apps/web", "/v2/tasks", "/v2/deployments"] {
        assert_eq!(
            services.get(path).await.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{path}"
        );
    }
    services.open_session().await;
    services
        .eventually("/v2/apps", |body| body["apps"] == json!([]))
        .await;
}

#[tokio::test]
async fn labels_select_apps() {
    let services = Services::start().await;
    let mut app = web();
    app["labels"] = json!({"tier": "front"});
    services.call(Method::POST, "/v2/apps", app).await;
    for (selector, count) in [
        ("tier", 1),
        ("tier%3D%3Dfront", 1),
        ("tier!%3Dfront", 0),
        ("tier%20in%20(back,front)", 1),
        ("tier%20notin%20(back,front)", 0),
        ("tier,other", 0),
    ] {
        let apps = services
            .get(&format!("/v2/apps?label={selector}"))
            .await
            .body;
        assert_eq!(
            apps["apps"].as_array().map(Vec::len),
            Some(count),
            "{selector}"
        );
    }
}
