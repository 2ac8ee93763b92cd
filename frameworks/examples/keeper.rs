//! Keeps what a task writes: waits until the volume of this name is offered, and runs a shell line with it in the folder
//! `data`. Run again with the same arguments, it finds the same files. Operators make the volume, and destroy it:
//!
//!     proffer volume create host-7 --role eng --id notes --size 64
//!     cargo run -p proffer-sdk --example keeper -- 127.0.0.1:5050 eng notes 'date >> data/log'
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use proffer_sdk::model::{
    Command, DemandEntry, DemandId, Offer, Operation, Problem, Resources, Role, Shape, TaskId,
    TaskSpec, VolumeId, VolumeMount, code,
};
use proffer_sdk::{ConnectOptions, Framework, session::Event};

const RESOURCES: &str = "cpus:0.1;mem:32";

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [master, role, volume, command] = arguments.as_slice() else {
        let usage = "usage: keeper MASTER ROLE VOLUME COMMAND";
        return Err(Problem::new(code::FIELD_MISSING, usage));
    };
    let (role, volume) = (Role::new(role)?, volume.parse::<VolumeId>()?);
    let options = ConnectOptions::new([master.clone()], "keeper", [role.clone()]);
    let (handle, mut events) = Framework::connect(options)?;
    while let Some(received) = events.next().await {
        match received.event {
            Event::Subscribed { .. } => {
                // Everything that an agent has: the volume is on one of them, and its size does not matter.
                let mut entry = DemandEntry::new(DemandId::new("any")?, 1, RESOURCES.parse()?);
                entry.shape = Shape::Any { least: Vec::new() };
                handle.set_demand(role.clone(), vec![entry]).await?;
            }
            Event::Offered(offers) => {
                for offer in offers {
                    let launches = task(&offer, &volume, command)?;
                    let launches = launches.into_iter().map(Operation::launch).collect();
                    // Without a launch the agent is excluded for a moment.
                    for result in handle.accept(vec![offer.id], launches).await? {
                        for launch in result.launches() {
                            launch.outcome.clone()?;
                        }
                    }
                }
            }
            Event::Updated(status) if status.state.is_terminal() => {
                println!("{} {} {}", status.task, status.state, status.message);
                handle.acknowledge(received.sequence);
                return handle.teardown().await;
            }
            _ => {}
        }
        handle.acknowledge(received.sequence);
    }
    Ok(())
}

/// The task with the volume, if it is in the offer.
fn task(offer: &Offer, volume: &VolumeId, command: &str) -> Result<Option<TaskSpec>, Problem> {
    let mut volumes = offer.resources.volumes();
    let Some((kind, _, amount)) = volumes.find(|(_, of, _)| of.id == *volume) else {
        return Ok(None);
    };
    let id = TaskId::new(&format!("keeper-{}", offer.id))?;
    let mut kept = Resources::new();
    kept.insert(kind.clone(), amount.clone())?;
    let resources = kept.plus(&RESOURCES.parse()?);
    let mut task = TaskSpec::new(id, Command::Shell(command.into()), resources);
    task.volumes.push(VolumeMount {
        volume: volume.clone(),
        path: "data".into(),
        is_read_only: false,
    });
    Ok(Some(task))
}
