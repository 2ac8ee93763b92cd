//! The second program of `docs/write-a-framework.md`, as it stands there; a test holds that, and runs it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeSet;

use proffer_sdk::model::{
    Command, DemandEntry, DemandId, FrameworkId, Offer, Problem, Role, StateKey, Status, TaskId,
    TaskSpec, TaskState,
};
use proffer_sdk::offers::first_fit;
use proffer_sdk::{ConnectOptions, Expected, Handle, Scheduler, Session, run};

const NEEDS: &str = "cpus:0.1;mem:32";

#[derive(Default)]
struct Jobs {
    /// Those that have not finished.
    open: BTreeSet<TaskId>,
    /// Of these, those that may be launched.
    free: BTreeSet<TaskId>,
}

impl Scheduler for Jobs {
    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        self.open.clear();
        for number in 0..5 {
            let job = TaskId::new(&format!("job-{number}"))?;
            if handle.state().get(&done(&job)?).await?.is_none() {
                self.open.insert(job);
            }
        }
        self.free = handle.settle(self.open.clone());
        self.go_on(handle).await
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        let tasks: Result<Vec<_>, _> = self.free.iter().map(task).collect();
        let (placed, _) = first_fit(&offers, tasks?);
        for (offer, tasks) in placed {
            for task in &tasks {
                self.free.remove(&task.id);
            }
            for launch in handle.launch(vec![offer], tasks).await? {
                if launch.outcome.is_err() {
                    self.free.insert(launch.task);
                }
            }
        }
        self.go_on(handle).await
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        let job = status.task;
        self.free.remove(&job);
        if !status.state.is_terminal() || !self.open.contains(&job) {
            return Ok(());
        }
        if status.state == TaskState::Finished {
            let state = handle.state();
            state.put(&done(&job)?, "", Expected::Anything).await?;
            self.open.remove(&job);
        } else {
            self.free.extend(handle.settle([job]));
        }
        self.go_on(handle).await
    }
}

impl Jobs {
    async fn go_on(&self, handle: &Handle) -> Result<(), Problem> {
        if self.open.is_empty() {
            return handle.teardown().await;
        }
        let count = u32::try_from(self.free.len()).unwrap_or(u32::MAX);
        let entry = DemandEntry::new(DemandId::new("job")?, count, NEEDS.parse()?);
        let entries = Vec::from_iter((count > 0).then_some(entry));
        handle.set_demand(Role::new("*")?, entries).await
    }
}

fn task(job: &TaskId) -> Result<TaskSpec, Problem> {
    let line = std::env::var("LINE").unwrap_or_else(|_| "sleep 1".to_owned());
    Ok(TaskSpec::new(
        job.clone(),
        Command::Shell(line),
        NEEDS.parse()?,
    ))
}

fn done(job: &TaskId) -> Result<StateKey, Problem> {
    StateKey::new(&format!("done/{job}"))
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let master = std::env::args().nth(1);
    let master = master.unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    let mut options = ConnectOptions::new([master], "jobs", [Role::new("*")?]);
    options.framework_id = Some(FrameworkId::new("jobs")?);
    (options.create, options.stand_by) = (true, true);
    run(options, Jobs::default()).await?;
    println!("all jobs are done");
    Ok(())
}
