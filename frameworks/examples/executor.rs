//! An executor of a framework's own: each of its tasks is a line of shell, given as the task's data. It keeps running tasks
//! when its agent restarts, answers messages of its framework, and says how many tasks it has had.
//!
//! A framework names it in the tasks it launches: `executor: Some(ExecutorSpec { command: Exec([this program]), .. })` and
//! `command: Command::Data(line)`; the agent starts it with the first of them.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use proffer_sdk::executor::{Agent, Executor, run_executor};
use proffer_sdk::model::{Command, Exit, Incarnation, Problem, TaskId, TaskSpec, TaskState};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The tasks that run, each with what ends it.
#[derive(Default)]
struct Shells {
    running: BTreeMap<TaskId, (oneshot::Sender<()>, JoinHandle<()>)>,
    launched: u64,
}

impl Executor for Shells {
    async fn on_launch(&mut self, agent: &Agent, tasks: Vec<(Incarnation, TaskSpec)>) {
        self.running.retain(|_, (_, task)| !task.is_finished());
        for (_, spec) in tasks {
            let (end, ended) = oneshot::channel();
            self.launched += 1;
            let id = spec.id.clone();
            let task = tokio::spawn(run(agent.clone(), spec, ended));
            self.running.insert(id, (end, task));
        }
    }

    async fn on_kill(&mut self, _agent: &Agent, task: TaskId, _grace: Duration) {
        if let Some((end, _)) = self.running.remove(&task) {
            // It may have ended meanwhile.
            let _ = end.send(());
        }
    }

    async fn on_message(&mut self, agent: &Agent, data: Vec<u8>) {
        let said = String::from_utf8_lossy(&data).into_owned();
        let answer = format!("{said}: {} tasks", self.launched);
        if let Err(problem) = agent.message(answer.into_bytes()) {
            tracing::warn!(%problem, "an answer is left out");
        }
    }

    async fn on_shutdown(&mut self, _agent: &Agent, _grace: Duration) {
        for (_, (end, task)) in std::mem::take(&mut self.running) {
            let _ = end.send(());
            // What it says comes before the end.
            let _ = task.await;
        }
    }
}

/// Runs a task to its end, or until it is told to end.
async fn run(agent: Agent, spec: TaskSpec, ended: oneshot::Receiver<()>) {
    let Command::Data(line) = &spec.command else {
        return agent.update(&spec.id, TaskState::Error, "its command is no data");
    };
    let shell = tokio::process::Command::new("/bin/sh")
        .arg("-c")
        .arg(String::from_utf8_lossy(line).as_ref())
        .env("PROFFER_TASK_ID", spec.id.as_str())
        .kill_on_drop(true)
        .spawn();
    let mut shell = match shell {
        Ok(shell) => shell,
        Err(error) => return agent.update(&spec.id, TaskState::Failed, &error.to_string()),
    };
    agent.update(&spec.id, TaskState::Running, "");
    let status = tokio::select! {
        status = shell.wait() => status,
        Ok(()) = ended => {
            let _ = shell.kill().await;
            return agent.update(&spec.id, TaskState::Killed, "it was told to end");
        }
    };
    match status {
        Ok(status) if status.success() => {
            agent.exited(&spec.id, TaskState::Finished, exit(status), "");
        }
        Ok(status) => agent.exited(&spec.id, TaskState::Failed, exit(status), ""),
        Err(error) => agent.update(&spec.id, TaskState::Failed, &error.to_string()),
    }
}

fn exit(status: ExitStatus) -> Exit {
    match status.signal() {
        Some(signal) => Exit::Signal(signal),
        None => Exit::Code(status.code().unwrap_or_default()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    run_executor(Shells::default()).await
}
