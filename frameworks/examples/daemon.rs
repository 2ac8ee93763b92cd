//! Runs a shell line once on every agent, also on those that come later, and starts it anew where it ends.
//!
//!     cargo run -p proffer-sdk --example daemon -- 127.0.0.1:5050 node-watch 'exec sleep 1000'
//!
//! It keeps nothing: a task's id is made of its agent's, an agent is only offered when it has said what it runs, and so the
//! cluster refuses a second one. Start it twice: one is active, the other stands by.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use proffer_sdk::model::{
    AtMost, Command, DemandEntry, DemandId, FrameworkId, Key, Offer, Problem, Role, Status, TaskId,
    TaskSpec, code,
};
use proffer_sdk::{ConnectOptions, Handle, Scheduler, Session, run};

const RESOURCES: &str = "cpus:0.1;mem:32";
/// More than there are agents: whoever has room is offered, once.
const AGENTS_MAX: u32 = 100_000;

struct Daemon {
    command: String,
}

impl Scheduler for Daemon {
    async fn on_standing_by(&mut self) {
        println!("standing by");
    }

    async fn on_subscribed(&mut self, handle: &Handle, _: Session) -> Result<(), Problem> {
        println!("active");
        let mut entry = DemandEntry::new(DemandId::new("each")?, AGENTS_MAX, RESOURCES.parse()?);
        entry.at_most = vec![AtMost {
            count: 1,
            per: Key::Agent,
        }];
        handle.set_demand(Role::new("*")?, vec![entry]).await
    }

    async fn on_offers(&mut self, handle: &Handle, offers: Vec<Offer>) -> Result<(), Problem> {
        for offer in offers {
            let id = TaskId::new(&format!("on-{}", offer.agent))?;
            let line = Command::Shell(self.command.clone());
            let spec = TaskSpec::new(id, line, RESOURCES.parse()?);
            for result in handle.launch(vec![offer.id], vec![spec]).await? {
                if let Err(problem) = result.outcome {
                    println!("{} {problem}", offer.host);
                }
            }
        }
        Ok(())
    }

    async fn on_update(&mut self, _: &Handle, status: Status) -> Result<(), Problem> {
        println!("{} {} {}", status.task, status.state, status.message);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [master, name, command] = arguments.as_slice() else {
        let usage = "usage: daemon MASTER NAME COMMAND";
        return Err(Problem::new(code::FIELD_MISSING, usage));
    };
    let options = ConnectOptions {
        framework_id: Some(FrameworkId::new(name)?),
        create: true,
        stand_by: true,
        ..ConnectOptions::new([master], name, [Role::new("*")?])
    };
    let command = command.clone();
    run(options, Daemon { command }).await
}
