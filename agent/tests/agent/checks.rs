//! Checks by a command: they run as their task runs, and nothing of them is left.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proffer_model::{
    Check, CheckAnswer, CheckKind, CheckResult, Probe, Reason, Status, TaskSpec, TaskState,
};

use crate::bench::{Bench, PATIENCE, is_alive, lines, shell};

/// A task with a check that runs this line; every failure counts.
fn checked(line: &str, check: &str, timeout: Duration) -> TaskSpec {
    let check = Check {
        kind: CheckKind::Command {
            shell: check.to_owned(),
        },
        delay: Duration::ZERO,
        interval: Duration::from_millis(10),
        timeout,
        grace: Duration::ZERO,
        failures_max: 0,
        is_observed: false,
    };
    TaskSpec {
        checks: vec![check],
        ..shell("t", line)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_observed_command_ends_with_is_told_and_says_nothing_of_health() {
    let mut bench = Bench::started().await;
    let mut spec = checked("sleep 1000", "test -f up || exit 3", PATIENCE);
    spec.checks[0].is_observed = true;
    bench.launch(1, spec).await;
    for code in [3, 0] {
        loop {
            let status = bench.status().await;
            bench.acknowledge(&status).await;
            assert_eq!(status.healthy, None, "{status:?}");
            let said = CheckResult {
                check: 0,
                answer: Some(CheckAnswer::Exit(code)),
                observed: Some(Probe::Command),
            };
            if status.checks == [said] {
                assert_eq!(status.reason, Reason::CheckAnswered);
                break;
            }
        }
        std::fs::write(bench.run().join("sandbox/up"), "").unwrap();
    }
}

/// Waits for the first status of which the checks say this.
async fn until_healthy(bench: &mut Bench, expected: bool) -> Status {
    loop {
        let status = bench.status().await;
        bench.acknowledge(&status).await;
        assert!(!status.state.is_terminal(), "{status:?}");
        if status.healthy == Some(expected) {
            return status;
        }
    }
}

async fn until_gone(pids: &[String]) {
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(pid)) {
        assert!(begun.elapsed() < PATIENCE, "{pids:?} are left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The processes that a check has noted in these files.
async fn noted(sandbox: &Path, names: &[&str]) -> Vec<String> {
    let mut pids = Vec::new();
    for name in names {
        pids.extend(lines(&sandbox.join(name), 1).await);
    }
    pids
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sees_what_its_task_sees_and_its_last_line_is_told() {
    let mut bench = Bench::started().await;
    let line = r#"test "$SECRET" = hush && test "$PWD" = "$PROFFER_SANDBOX" && test "$PROFFER_TASK_ID" = t ||
        { echo 'another place'; exit 2; }
        test -f up || { echo first; echo "it is not up" >&2; exit 3; }"#;
    bench
        .launch(1, checked("touch up; sleep 1000", line, PATIENCE))
        .await;
    let status = until_healthy(&mut bench, true).await;
    assert_eq!(status.state, TaskState::Running);
    std::fs::remove_file(bench.run().join("sandbox/up")).unwrap();
    let status = until_healthy(&mut bench, false).await;
    assert_eq!(status.reason, Reason::HealthChanged);
    assert_eq!(
        status.message,
        "the command ended with code 3: it is not up"
    );
    std::fs::write(bench.run().join("sandbox/up"), "").unwrap();
    until_healthy(&mut bench, true).await;
}

/// Two processes, one of them in a session of its own with its output elsewhere.
const HANGS: &str = "setsid sh -c 'echo $$ > grandchild; exec sleep 1000' > /dev/null 2>&1 & \
                     echo $$ > child; trap '' TERM; sleep 1000; sleep 1000";

#[tokio::test(flavor = "multi_thread")]
async fn of_a_command_that_hangs_nothing_is_left_when_its_time_is_over() {
    let mut bench = Bench::started().await;
    // Once: the next ones fail at once, so that who is noted stays noted.
    let line = format!("test -f child && exit 1; {HANGS}");
    let timeout = Duration::from_secs(2);
    bench.launch(1, checked("sleep 1000", &line, timeout)).await;
    let status = until_healthy(&mut bench, false).await;
    assert_eq!(status.message, "no answer within 2000 ms");
    let pids = noted(&bench.run().join("sandbox"), &["child", "grandchild"]).await;
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_command_that_ends_nothing_goes_on_in_the_background() {
    let mut bench = Bench::started().await;
    let line = "test -f grandchild || setsid sh -c 'echo $$ > grandchild; exec sleep 1000' & \
                while ! test -s grandchild; do :; done";
    bench.launch(1, checked("sleep 1000", line, PATIENCE)).await;
    until_healthy(&mut bench, true).await;
    let pids = noted(&bench.run().join("sandbox"), &["grandchild"]).await;
    until_gone(&pids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_end_with_the_agent_and_their_task_does_not() {
    let mut bench = Bench::started().await;
    bench
        .launch(1, checked("sleep 1000", HANGS, Duration::from_secs(1000)))
        .await;
    bench.until(TaskState::Running).await;
    let pids = noted(&bench.run().join("sandbox"), &["child", "grandchild"]).await;
    assert!(pids.iter().all(|pid| is_alive(pid)));
    let task = bench.pid();
    bench.stop().await;
    until_gone(&pids).await;
    assert!(is_alive(&task.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_command_says_without_end_is_not_kept() {
    let mut bench = Bench::started().await;
    let line =
        "yes $(head -c 1000 /dev/zero | tr '\\0' a) | head -c 100000000; echo; echo end; exit 1";
    bench.launch(1, checked("sleep 1000", line, PATIENCE)).await;
    let status = until_healthy(&mut bench, false).await;
    assert_eq!(status.message, "the command ended with code 1: end");
}

/// Says nothing when it is not run as root, as which alone it can be.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_of_another_users_task_runs_as_that_user() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut bench = Bench::new().await;
    bench.task_user = Some("nobody".to_owned());
    let reachable = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(bench.path(), reachable).unwrap();
    bench.start().await;
    let line = "echo $(id -u):$(id -g) > /dev/stdout; exit 1";
    bench.launch(1, checked("sleep 1000", line, PATIENCE)).await;
    let status = until_healthy(&mut bench, false).await;
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let expected = format!(
        "the command ended with code 1: {}:{}",
        nobody.uid, nobody.gid
    );
    assert_eq!(status.message, expected);
}
