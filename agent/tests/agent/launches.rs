//! Launches, checks and kills.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use proffer_model::{Check, CheckKind, Exit, Reason, TaskSpec, TaskState};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bench::{Bench, is_alive, lines, shell};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_started_and_its_end_is_told() {
    let mut bench = Bench::started().await;
    assert!(bench.hello().agent.is_none() && bench.hello().tasks.is_empty());
    for (incarnation, line, state, exit) in [
        (1, "exit 0", TaskState::Finished, Exit::Code(0)),
        (2, "exit 42", TaskState::Failed, Exit::Code(42)),
        (3, "kill -9 $$", TaskState::Failed, Exit::Signal(9)),
    ] {
        bench.launch(incarnation, shell("t", line)).await;
        let statuses = bench.until(state).await;
        let last = statuses.last().unwrap();
        assert_eq!(
            (last.reason, last.exit),
            (Reason::Exited, Some(exit)),
            "{line}"
        );
        // However soon it ends, it was running before.
        let told: Vec<_> = statuses.iter().map(|it| (it.number, it.state)).collect();
        let starting = (1, TaskState::Starting);
        assert_eq!(told, [starting, (2, TaskState::Running), (3, state)]);
    }
    // Garbage is kept for its logs, but it is no task any more.
    bench.settle().await;
    bench.stop().await;
    bench.start().await;
    assert_eq!(bench.runs().len(), 4);
    assert!(bench.tasks().is_empty());
    assert_eq!(bench.hello().agent.as_ref().unwrap().as_str(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_is_told_with_its_reason() {
    let mut bench = Bench::started().await;
    let missing = TaskSpec {
        command: proffer_model::Command::Exec(vec!["no-such-program".to_owned()]),
        ..shell("a", "true")
    };
    bench.launch(1, missing).await;
    let last = bench.until(TaskState::Failed).await.pop().unwrap();
    assert_eq!(last.reason, Reason::LaunchFailed);
    assert!(last.message.contains("No such file"), "{}", last.message);

    let stranger = TaskSpec {
        user: Some("no-such-user".to_owned()),
        ..shell("b", "true")
    };
    bench.launch(2, stranger).await;
    let last = bench.until(TaskState::Failed).await.pop().unwrap();
    assert!(last.message.contains("no user"), "{}", last.message);

    let large = TaskSpec {
        resources: "cpus:5".parse().unwrap(),
        ..shell("c", "true")
    };
    bench.launch(3, large).await;
    let last = bench.until(TaskState::Error).await.pop().unwrap();
    assert!(last.message.contains("cpus"), "{}", last.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_does_nothing_is_a_failed_launch() {
    let mut bench = Bench::new().await;
    bench.supervisor = "/bin/false".into();
    bench.start().await;
    bench.launch(1, shell("t", "true")).await;
    let last = bench.until(TaskState::Failed).await.pop().unwrap();
    assert_eq!(last.reason, Reason::LaunchFailed);
    assert!(last.message.contains("exit status: 1"), "{}", last.message);
    assert!(
        !bench.run().join("launch").exists(),
        "nobody can start it any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_a_task_that_ignores_sigterm_and_its_grandchildren() {
    let mut bench = Bench::started().await;
    let line = "trap 'echo asked' TERM; \
                setsid sh -c 'trap \"\" TERM; sleep 1000 & echo $! > grandchild'; \
                echo up; while :; do sleep 1000 & wait; done";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Running).await;
    let (run, stdout) = (bench.run(), bench.run().join("stdout"));
    lines(&stdout, 1).await;
    let grandchild = std::fs::read_to_string(run.join("sandbox/grandchild")).unwrap();
    assert!(is_alive(&grandchild));
    bench.kill("t", 1, Duration::from_secs(1000)).await;
    bench.until(TaskState::Killing).await;
    assert_eq!(lines(&stdout, 2).await, ["up", "asked"]);
    bench.kill("t", 1, Duration::from_millis(1)).await;
    let last = bench.until(TaskState::Killed).await.pop().unwrap();
    assert_eq!(
        (last.reason, last.exit),
        (Reason::KillRequested, Some(Exit::Signal(9)))
    );
    assert!(!is_alive(&grandchild));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_its_checks_is_told_unhealthy_and_killed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let check = Check {
        kind: CheckKind::Tcp {
            port: listener.local_addr().unwrap().port(),
        },
        delay: Duration::ZERO,
        interval: Duration::from_millis(10),
        timeout: Duration::from_secs(10),
        grace: Duration::from_secs(1000),
        failures_max: 2,
        is_observed: false,
    };
    let mut bench = Bench::started().await;
    bench
        .launch(
            1,
            TaskSpec {
                checks: vec![check],
                ..shell("t", "sleep 1000")
            },
        )
        .await;
    let mut healthy = None;
    while healthy.is_none() {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        healthy = status.healthy;
    }
    assert_eq!(healthy, Some(true));
    drop(listener);
    let statuses = bench.until(TaskState::Killed).await;
    assert_eq!(statuses[0].reason, Reason::HealthChanged);
    assert!(
        statuses.iter().all(|status| status.healthy == Some(false)),
        "{statuses:?}"
    );
    assert_eq!(statuses.last().unwrap().reason, Reason::CheckFailed);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tasks_run_at_once_and_nothing_of_them_is_left() {
    let mut bench = Bench::started().await;
    for number in 0..20 {
        bench
            .launch(number + 1, shell(&format!("t{number}"), "exit 7"))
            .await;
    }
    let mut ended = 0;
    while ended < 20 {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        ended += usize::from(status.state == TaskState::Failed);
    }
    bench.settle().await;
    bench.stop().await;
    bench.start().await;
    assert!(bench.tasks().is_empty());
}

/// Says nothing when it is not run as root, as which alone it can be.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_another_user_have_their_sandbox_and_output_and_nothing_more() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut bench = Bench::new().await;
    bench.task_user = Some("nobody".to_owned());
    let path = bench.path().to_owned();
    let allow = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&path, permissions).unwrap();
    };
    allow(0o700);
    let problem = bench.try_start().await.unwrap_err();
    assert_eq!(
        (&*problem.code, problem.field.as_str()),
        ("config.invalid", "task_user")
    );
    let dir = bench.path().to_str().unwrap().to_owned();
    assert!(problem.message.contains(&dir), "{}", problem.message);
    allow(0o711);
    bench.start().await;
    assert_eq!(health(&bench).await["tasks_run_as_root"], false);

    let line = "id -un; id -Gn; cd $HOME && touch mine && ls; echo opened > /dev/stdout; \
                cat ../launch ../stdout || echo closed; \
                cat ../control ../../*/launch $PROFFER_SANDBOX/../../../../token || echo closed; exit 3";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Failed).await;
    let out = std::fs::read_to_string(bench.run().join("stdout")).unwrap();
    assert_eq!(out, "nobody\nnogroup\nmine\nopened\nclosed\nclosed\n");
    for user in ["root", "no-such-user"] {
        let spec = TaskSpec {
            user: Some(user.to_owned()),
            ..shell(user, "true")
        };
        bench.launch(2, spec).await;
        let last = bench.until(TaskState::Failed).await.pop().unwrap();
        assert_eq!(last.reason, Reason::LaunchFailed, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_switches_no_users_runs_all_tasks_as_one() {
    let mut bench = Bench::new().await;
    bench.switch_user = Some(false);
    let mut user = nix::unistd::Uid::effective();
    if user.is_root() {
        bench.task_user = Some("nobody".to_owned());
        let permissions = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(bench.path(), permissions).unwrap();
        let nobody = nix::unistd::User::from_name("nobody").unwrap();
        user = nobody.unwrap().uid;
    }
    bench.start().await;
    for (number, named) in (1..).zip(["root", "no-such-user"]) {
        let spec = TaskSpec {
            user: Some(named.to_owned()),
            ..shell(named, &format!("test $(id -u) = {user}"))
        };
        bench.launch(number, spec).await;
        let told = bench.until(TaskState::Finished).await;
        assert!(told.len() > 1, "{named}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_tasks_run_as_root_says_so() {
    let bench = Bench::started().await;
    let is_root = nix::unistd::Uid::effective().is_root();
    assert_eq!(health(&bench).await["tasks_run_as_root"], is_root);
}

async fn health(bench: &Bench) -> serde_json::Value {
    let request = format!(
        "GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        bench.listen()
    );
    let mut stream = tokio::net::TcpStream::connect(bench.listen())
        .await
        .unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Tasks that were written for Mesos and have no executor of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_written_for_mesos_finds_its_sandbox_by_mesos_name() {
    let mut bench = Bench::started().await;
    let mut mesos = shell(
        "t",
        "test \"$MESOS_SANDBOX\" = \"$PWD\" -a \"$MESOS_DIRECTORY\" = \"$PWD\"",
    );
    let id = ("MESOS_TASK_ID".to_owned(), proffer_model::Secret::new("t"));
    mesos.environment.extend([id]);
    bench.launch(1, mesos).await;
    assert_eq!(bench.end().await.state, TaskState::Finished);
    bench
        .launch(2, shell("u", "test -z \"$MESOS_SANDBOX\""))
        .await;
    assert_eq!(bench.end().await.state, TaskState::Finished);
}
