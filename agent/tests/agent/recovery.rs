//! An agent ends at any moment, and the next one over the same files goes on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proffer_model::{Reason, TaskState};

use crate::bench::{Bench, is_alive, lines, shell};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_keeps_its_process_when_its_agent_is_replaced() {
    let mut bench = Bench::started().await;
    bench.launch(1, shell("t", "echo up; sleep 1000")).await;
    let last = bench.until(TaskState::Running).await.pop().unwrap();
    let pid = bench.pid();
    for _ in 0..3 {
        bench.stop().await;
        assert!(is_alive(&pid.to_string()));
        bench.start().await;
        let tasks = &bench.hello().tasks;
        assert_eq!(tasks.len(), 1);
        assert_eq!(tasks[0].status, last, "nothing has changed");
        assert_eq!(bench.pid(), pid);
    }
    // It is still the agent's to end, and a launch that is repeated starts nothing.
    bench.launch(1, shell("t", "echo up; sleep 1000")).await;
    bench.kill("t", 1, Duration::from_secs(1000)).await;
    let statuses = bench.until(TaskState::Killed).await;
    assert!(
        statuses
            .iter()
            .any(|status| status.number == last.number + 1)
    );
    assert_eq!(
        fs::read_to_string(bench.run().join("stdout")).unwrap(),
        "up\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_meanwhile_is_told_by_the_next_agent() {
    let mut bench = Bench::started().await;
    let line = "while ! [ -e go ]; do sleep 0.01; done; exit 9";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Running).await;
    bench.stop().await;
    fs::write(bench.run().join("sandbox/go"), "").unwrap();
    lines(&bench.run().join("exit"), 1).await;
    bench.start().await;
    let last = bench.until(TaskState::Failed).await.pop().unwrap();
    assert_eq!(last.message, "exited with code 9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_goes_on_with_the_next_agent() {
    let mut bench = Bench::started().await;
    bench
        .launch(
            1,
            shell(
                "t",
                "trap '' TERM; echo up; while :; do sleep 1000 & wait; done",
            ),
        )
        .await;
    bench.until(TaskState::Running).await;
    lines(&bench.run().join("stdout"), 1).await;
    bench.kill("t", 1, Duration::from_millis(100)).await;
    bench.until(TaskState::Killing).await;
    bench.stop().await;
    bench.start().await;
    bench.until(TaskState::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_supervisor_is_killed_is_lost_and_nothing_of_it_is_left() {
    let mut bench = Bench::started().await;
    // Some programs write their name over their environment, or start others without one.
    let line = "setsid sh -c 'sleep 1000 & echo $! > grandchild'; env -i sleep 1000 & echo $! > bare; \
                echo up; sleep 1000";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Running).await;
    lines(&bench.run().join("stdout"), 1).await;
    let bare = fs::read_to_string(bench.run().join("sandbox/bare")).unwrap();
    let grandchild = fs::read_to_string(bench.run().join("sandbox/grandchild")).unwrap();
    let text = fs::read_to_string(bench.run().join("pid")).unwrap();
    let supervisor = text.split(' ').nth(1).unwrap();
    assert!(
        Command::new("kill")
            .args(["-9", supervisor])
            .status()
            .unwrap()
            .success()
    );
    let last = bench.until(TaskState::Lost).await.pop().unwrap();
    assert_eq!(last.reason, Reason::SupervisorLost);
    assert!(!is_alive(&bench.pid().to_string()) && !is_alive(&grandchild));
    assert!(!is_alive(&bare), "it was known by its environment only");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_directory_is_removed_is_lost_when_its_supervisor_is_too() {
    let mut bench = Bench::started().await;
    bench.launch(1, shell("t", "echo up; sleep 1000")).await;
    bench.until(TaskState::Running).await;
    let (pid, run) = (bench.pid().to_string(), bench.run());
    let text = fs::read_to_string(run.join("pid")).unwrap();
    fs::remove_dir_all(run).unwrap();
    let supervisor = text.split(' ').nth(1).unwrap();
    let status = Command::new("kill").args(["-9", supervisor]).status();
    assert!(status.unwrap().success());
    let last = bench.until(TaskState::Lost).await.pop().unwrap();
    assert_eq!(last.reason, Reason::SupervisorLost);
    assert!(!is_alive(&pid));
    // And the next task is not held up.
    bench.launch(2, shell("u", "true")).await;
    bench.until(TaskState::Finished).await;
}

/// As root everything can be removed, so this says something only when others run it.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_its_task_has_closed_is_removed_and_holds_nothing_up() {
    let mut bench = Bench::new().await;
    bench.keep_ended = Some(Duration::ZERO);
    bench.start().await;
    let line = "mkdir -p a/b && touch a/b/c && chmod 0 a/b && chmod 500 a";
    bench.launch(1, shell("t", line)).await;
    bench.until(TaskState::Finished).await;
    let run = async {
        while !bench.runs().is_empty() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .unwrap();
    bench.launch(2, shell("u", "true")).await;
    bench.until(TaskState::Finished).await;
    bench.stop().await;
    bench.start().await;
}

/// A supervisor that waits until it is let go: the moment between its start and its claim, for as long as a test likes.
fn slow_supervisor(bench: &Bench) -> PathBuf {
    let path = bench.path().join("slow");
    let real = bench.supervisor.display();
    let gate = bench.path().join("gate");
    let text = format!(
        "#!/bin/sh\necho $$ > {0}.pid\nwhile ! [ -e {0} ]; do sleep 0.01; done\n{real} \"$@\"\necho $? > {0}.exit\n",
        gate.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Launches a task that counts its starts, and ends the agent while the supervisor has done nothing yet.
async fn interrupted(bench: &mut Bench) -> PathBuf {
    let real = bench.supervisor.clone();
    bench.supervisor = slow_supervisor(bench);
    bench.start().await;
    let starts = bench.path().join("starts");
    bench
        .launch(
            1,
            shell("t", &format!("echo $$ >> {}; sleep 1000", starts.display())),
        )
        .await;
    bench.until(TaskState::Starting).await;
    lines(&bench.path().join("gate.pid"), 1).await;
    bench.stop().await;
    bench.supervisor = real;
    starts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_comes_late_starts_nothing_twice() {
    let mut bench = Bench::new().await;
    let starts = interrupted(&mut bench).await;
    bench.start().await;
    bench.until(TaskState::Running).await;
    lines(&starts, 1).await;
    fs::write(bench.path().join("gate"), "").unwrap();
    let exit = lines(&bench.path().join("gate.exit"), 1).await;
    assert_eq!(exit, ["3"], "it declined");
    assert_eq!(lines(&starts, 1).await.len(), 1);
    bench.kill("t", 1, Duration::from_secs(1000)).await;
    bench.until(TaskState::Killed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_stage_of_a_launch_starts_once_or_tells_that_it_is_lost() {
    let remove = |run: &Path, names: &[&str]| {
        for name in names {
            let path = run.join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    };
    type Stage = (&'static str, TaskState);
    let stages: [Stage; 5] = [
        ("recorded", TaskState::Running),
        ("sandbox made", TaskState::Running),
        ("launch half written", TaskState::Running),
        ("launch written", TaskState::Running),
        ("claimed", TaskState::Lost),
    ];
    for (stage, expected) in stages {
        let mut bench = Bench::new().await;
        let starts = interrupted(&mut bench).await;
        let pid = lines(&bench.path().join("gate.pid"), 1).await.remove(0);
        assert!(
            Command::new("kill")
                .args(["-9", &pid])
                .status()
                .unwrap()
                .success()
        );
        let run = bench.run();
        match stage {
            "recorded" => remove(&run, &["launch", "sandbox"]),
            "sandbox made" => remove(&run, &["launch"]),
            "launch half written" => {
                fs::rename(run.join("launch"), run.join("launch.new")).unwrap();
            }
            "claimed" => fs::write(run.join("pid"), "supervisor 4194303 1\n").unwrap(),
            _ => {}
        }
        // What a task could have left if its supervisor had come further.
        let mut orphan = Command::new("sleep")
            .arg("1000")
            .env("PROFFER_SANDBOX", run.join("sandbox"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        bench.start().await;
        bench.until(expected).await;
        if expected == TaskState::Lost {
            orphan.wait().unwrap();
            assert!(!starts.exists(), "{stage}");
        } else {
            orphan.kill().unwrap();
            orphan.wait().unwrap();
            assert_eq!(lines(&starts, 1).await.len(), 1, "{stage}");
            bench.kill("t", 1, Duration::ZERO).await;
            bench.until(TaskState::Killed).await;
        }
        assert_eq!(bench.runs().len(), 1, "{stage}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_torn_at_any_byte_are_recovered() {
    let mut bench = Bench::started().await;
    bench.launch(1, shell("t", "exit 3")).await;
    bench.until(TaskState::Failed).await;
    bench.stop().await;
    let path = bench.run().join("statuses");
    let whole = fs::read(&path).unwrap();
    let first = 8 + usize::try_from(u32::from_le_bytes(whole[..4].try_into().unwrap())).unwrap();
    for end in (first..whole.len()).rev() {
        fs::write(&path, &whole[..end]).unwrap();
        bench.try_start().await.unwrap();
        bench.stop().await;
        let begins = fs::read(&path).unwrap();
        let kept = begins
            .iter()
            .zip(&whole)
            .take_while(|(a, b)| a == b)
            .count();
        assert!(kept >= first, "cut at {end}, {kept} kept");
    }
    fs::write(&path, &whole[..first - 1]).unwrap();
    let problem = bench.try_start().await.unwrap_err();
    assert_eq!(problem.code, "agent.checkpoint_damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_names_its_file_and_a_work_directory_has_one_agent() {
    let mut bench = Bench::started().await;
    bench.launch(1, shell("t", "exit 3")).await;
    bench.until(TaskState::Failed).await;
    let locked = bench.try_start().await.unwrap_err();
    assert_eq!(locked.code, "directory.locked");
    bench.stop().await;
    for name in ["task", "statuses", "../../agent"] {
        let path = bench.run().join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        bytes[9] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let problem = bench.try_start().await.unwrap_err();
        assert_eq!(problem.code, "agent.checkpoint_damaged", "{name}");
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(problem.message.contains(file), "{}", problem.message);
        assert!(!problem.hint.is_empty());
        fs::write(&path, &whole).unwrap();
    }
    bench.start().await;
}
