//! The smallest useful scheduler: runs a shell line so many times, each time as a task of its own, and says how they ended.
//! It goes on when the leading master is lost; what a lost master never passed on is launched again, nothing else is.
//! With the path of an executor, such as the example `executor`, the tasks are run by that, one process on each agent.
//!
//!     cargo run -p proffer-sdk --example batch -- 127.0.0.1:5050 10 'echo "done by $PROFFER_TASK_ID"'
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_sdk::model::{
    Command, DemandEntry, DemandId, ExecutorId, ExecutorSpec, Incarnation, Offer, Problem,
    Resources, Role, Status, TaskId, TaskSpec, TaskState, code,
};
use proffer_sdk::{ConnectOptions, Framework, Handle, session::Event};

const RESOURCES: &str = "cpus:0.1;mem:32";

#[tokio::main]
async fn main() -> Result<(), Problem> {
    let usage = || {
        Problem::new(
            code::FIELD_MISSING,
            "usage: batch MASTER COUNT COMMAND [EXECUTOR]",
        )
    };
    let mut arguments = std::env::args().skip(1);
    let master = arguments.next().ok_or_else(usage)?;
    let count = arguments.next().and_then(|text| text.parse().ok());
    let mut waiting: u32 = count.ok_or_else(usage)?;
    let command = arguments.next().ok_or_else(usage)?;
    let executor = arguments.next().map(executor).transpose()?;
    let options = ConnectOptions::new([master], "batch", [Role::new("*")?]);
    let (handle, mut events) = Framework::connect(options)?;
    // Tasks whose end is not known, and names for those to come.
    let (mut open, mut names) = (
        Vec::new(),
        (0_u64..).map(|number| format!("batch-{number}")),
    );
    let (mut demanded, mut closed) = (0, Ok(()));
    while (waiting > 0 || !open.is_empty())
        && let Some(received) = events.next().await
    {
        match received.event {
            Event::Offered(offers) => {
                for offer in offers {
                    let fits: u32 = offer.fits.iter().map(|fit| fit.count).sum();
                    let taken = names.by_ref().take(fits.min(waiting) as usize).collect();
                    waiting -=
                        launch(&handle, offer, taken, (&command, &executor), &mut open).await?;
                }
            }
            Event::Updated(status) if status.state.is_terminal() => {
                waiting += on_end(&status, &mut open);
            }
            Event::Closed(problem) => closed = Err(problem),
            _ => {}
        }
        if demanded != waiting {
            passing(demand(&handle, waiting).await)?;
            demanded = waiting;
        }
        handle.acknowledge(received.sequence);
    }
    if waiting > 0 || !open.is_empty() {
        // The last session was closed for good, and that says why.
        return closed;
    }
    while let Err(problem) = handle.teardown().await {
        passing(Err(problem))?;
        handle.subscribed().await?;
    }
    Ok(())
}

/// A session that breaks is begun anew by the SDK, which says again what is wanted.
fn passing(called: Result<(), Problem>) -> Result<(), Problem> {
    called.or_else(|problem| match problem.is(code::PEER_UNREACHABLE) {
        true => Ok(()),
        false => Err(problem),
    })
}

/// Takes an offer for tasks of these names; answers how many are not refused.
async fn launch(
    handle: &Handle,
    offer: Offer,
    names: Vec<String>,
    work: (&str, &Option<Arc<ExecutorSpec>>),
    open: &mut Vec<TaskId>,
) -> Result<u32, Problem> {
    let specs: Vec<TaskSpec> = names
        .iter()
        .map(|name| task(name, work))
        .collect::<Result<_, _>>()?;
    open.extend(specs.iter().map(|spec| spec.id.clone()));
    let mut launched = u32::try_from(specs.len()).unwrap_or(u32::MAX);
    // Without an answer the SDK asks for their fate in the next session, and statuses tell it.
    let results = handle.launch(vec![offer.id], specs).await;
    for refused in results
        .iter()
        .flatten()
        .filter(|result| result.outcome.is_err())
    {
        open.retain(|task| *task != refused.task);
        launched -= 1;
    }
    Ok(launched)
}

/// A task has ended; answers how many are to be launched in its place: one if it never ran.
fn on_end(status: &Status, open: &mut Vec<TaskId>) -> u32 {
    let Some(at) = open.iter().position(|task| *task == status.task) else {
        return 0;
    };
    open.swap_remove(at);
    if status.state == TaskState::Dropped || status.incarnation == Incarnation::default() {
        return 1;
    }
    println!("{} {} {}", status.task, status.state, status.message);
    0
}

async fn demand(handle: &Handle, count: u32) -> Result<(), Problem> {
    let entry = DemandEntry::new(DemandId::new("work")?, count, RESOURCES.parse()?);
    handle
        .set_demand(
            Role::new("*")?,
            Vec::from_iter((count > 0).then_some(entry)),
        )
        .await
}

fn task(
    name: &str,
    (command, executor): (&str, &Option<Arc<ExecutorSpec>>),
) -> Result<TaskSpec, Problem> {
    let command = match executor {
        None => Command::Shell(command.into()),
        Some(_) => Command::Data(command.into()),
    };
    let mut spec = TaskSpec::new(TaskId::new(name)?, command, RESOURCES.parse()?);
    spec.executor.clone_from(executor);
    Ok(spec)
}

fn executor(program: String) -> Result<Arc<ExecutorSpec>, Problem> {
    Ok(Arc::new(ExecutorSpec {
        id: ExecutorId::new("shells")?,
        resources: Resources::new(),
        command: Command::Exec(vec![program]),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: proffer_model::ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    }))
}
