//! The first program of `docs/write-a-framework.md`, as it stands there; a test holds that, and runs it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use proffer_sdk::model::{
    Command, DemandEntry, DemandId, Offer, Problem, Role, Status, TaskId, TaskSpec,
};
use proffer_sdk::{ConnectOptions, Handle, Scheduler, Session, run};

struct One;

impl Scheduler for One {
    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        let entry = DemandEntry::new(DemandId::new("one")?, 1, "cpus:0.1;mem:32".parse()?);
        handle.set_demand(Role::new("*")?, vec![entry]).await
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        let command = Command::Shell("echo hello".to_owned());
        let task = TaskSpec::new(TaskId::new("hello")?, command, "cpus:0.1;mem:32".parse()?);
        for offer in offers.into_iter().take(1) {
            for launch in handle.launch(vec![offer.id], vec![task.clone()]).await? {
                println!("{:?} on {}", launch.outcome, offer.host);
            }
        }
        Ok(())
    }

    async fn on_update(&mut self, handle: &Handle, status: Status) -> Result<(), Problem> {
        println!("{} {}", status.state, status.message);
        match status.state.is_terminal() {
            true => handle.teardown().await,
            false => Ok(()),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let master = std::env::args().nth(1);
    let master = master.unwrap_or_else(|| "127.0.0.1:5050".to_owned());
    run(
        ConnectOptions::new([master], "first", [Role::new("*")?]),
        One,
    )
    .await
}
