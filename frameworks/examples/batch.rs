//! The smallest useful scheduler: runs a shell line so many times, each time as a task of its own, and says how they ended.
//!
//!     cargo run -p proffer-sdk --example batch -- 127.0.0.1:5050 10 'echo "done by $PROFFER_TASK_ID"'
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use proffer_sdk::model::{
    Command, DemandEntry, DemandId, Offer, Problem, Role, TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::{ConnectOptions, Framework, Handle, session::Event};

const RESOURCES: &str = "cpus:0.1;mem:32";

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let usage = || Problem::new(code::FIELD_MISSING, "usage: batch MASTER COUNT COMMAND");
    let mut arguments = std::env::args().skip(1);
    let master = arguments.next().ok_or_else(usage)?;
    let count = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .ok_or_else(usage)?;
    let command = arguments.next().ok_or_else(usage)?;
    let options = ConnectOptions::new([master], "batch", [Role::new("*")?]);
    let (handle, mut events) = Framework::connect(options)?;
    let mut waiting: Vec<u32> = (0..count).collect();
    let mut ended = 0;
    while ended < count
        && let Some(received) = events.next().await
    {
        match received.event {
            Event::Subscribed { .. } => demand(&handle, waiting.len()).await?,
            Event::Offered(offers) => {
                for offer in offers {
                    launch(&handle, offer, &mut waiting, &command).await?;
                }
                demand(&handle, waiting.len()).await?;
            }
            Event::Updated(status) if status.state.is_terminal() => {
                ended += u32::from(status.state != TaskState::Dropped);
                println!("{} {} {}", status.task, status.state, status.message);
            }
            _ => {}
        }
        handle.acknowledge(received.sequence);
    }
    handle.teardown().await
}

/// Takes an offer for as many as it fits. What is refused waits for the next one.
async fn launch(
    handle: &Handle,
    offer: Offer,
    waiting: &mut Vec<u32>,
    command: &str,
) -> Result<(), Problem> {
    let fits: u32 = offer.fits.iter().map(|fit| fit.count).sum();
    let taken: Vec<u32> = waiting.iter().copied().take(fits as usize).collect();
    let specs = taken
        .iter()
        .map(|number| task(*number, command))
        .collect::<Result<_, _>>()?;
    for result in handle
        .launch(vec![offer.id], specs)
        .await
        .unwrap_or_default()
    {
        waiting.retain(|number| {
            result.outcome.is_err() || result.task.as_str() != format!("batch-{number}")
        });
    }
    Ok(())
}

async fn demand(handle: &Handle, count: usize) -> Result<(), Problem> {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let entry = DemandEntry::new(DemandId::new("work")?, count, RESOURCES.parse()?);
    handle
        .set_demand(
            Role::new("*")?,
            Vec::from_iter((count > 0).then_some(entry)),
        )
        .await
}

fn task(number: u32, command: &str) -> Result<TaskSpec, Problem> {
    let id = TaskId::new(&format!("batch-{number}"))?;
    Ok(TaskSpec::new(
        id,
        Command::Shell(command.into()),
        RESOURCES.parse()?,
    ))
}
