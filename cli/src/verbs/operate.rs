//! `proffer task kill TASK` and `proffer framework teardown FRAMEWORK`: what an operator does in a framework's place.

use std::time::Duration;

use clap::Subcommand;
use proffer_model::time::parse_duration;
use proffer_model::{FrameworkId, Problem, code};
use proffer_proto::v1;
use serde_json::json;

use crate::change::Change;
use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::master_client::MasterClient;
use crate::named;
use crate::output::{Format, OutputArgs};
use crate::verbs::agent::one_of;
use crate::verbs::why::framework_like;

/// One task.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskVerb {
    /// End a task: SIGTERM, then SIGKILL. Its framework may start another one in its place.
    Kill(KillArgs),
}

/// Which task, and how long it may take.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// The task's id, or a part of it that no other live task has.
    task: String,
    /// The framework that the task is of, by id or name, when several have one of that id.
    #[arg(long)]
    framework: Option<String>,
    /// From SIGTERM to SIGKILL, such as 30s [default: the task's own]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// One framework.
#[derive(Debug, Subcommand)]
pub(crate) enum FrameworkVerb {
    /// End a framework for good: its tasks are killed, its state is gone, its id is never used again.
    Teardown(TeardownArgs),
}

/// Which framework.
#[derive(Debug, clap::Args)]
pub(crate) struct TeardownArgs {
    /// The framework's id or name, or a part of its id that no other has.
    framework: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl TaskVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        let Self::Kill(args) = self;
        args.output.output
    }
}

impl FrameworkVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        let Self::Teardown(args) = self;
        args.output.output
    }
}

/// Ends a task.
pub(crate) async fn task(verb: TaskVerb) -> Outcome {
    let TaskVerb::Kill(args) = verb;
    let mut master = MasterClient::connect(&args.client).await?;
    let framework_id = match &args.framework {
        Some(name) => framework(&mut master, name).await?.id,
        None => String::new(),
    };
    // What has ended is the master's to refuse.
    let found = match named::task::with_id(&mut master, &args.task, &framework_id).await? {
        Some(task) => task,
        None => {
            let live = v1::ListTasksRequest {
                framework_id,
                only_live: true,
                ..v1::ListTasksRequest::default()
            };
            let found = named::task::one_like(master.tasks_like(live).await?, &args.task)?;
            found.ok_or_else(|| {
                let message = format!("there is no live task {}", args.task);
                let problem = Problem::new(code::TASK_UNKNOWN, message);
                problem.hint("`proffer tasks` lists the tasks")
            })?
        }
    };
    let kill = v1::KillTaskRequest {
        framework_id: found.framework_id.clone(),
        task_id: found.id.clone(),
        grace_ms: args
            .grace
            .map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
    };
    Change::KillTask(kill).make(&args.client).await?;
    let value = json!({ "id": found.id, "framework_id": found.framework_id, "told": true });
    args.output
        .output
        .show_text(&value, || format!("{} is told to end", found.id))
}

/// Ends a framework.
pub(crate) async fn teardown(verb: FrameworkVerb) -> Outcome {
    let FrameworkVerb::Teardown(args) = verb;
    let mut master = MasterClient::connect(&args.client).await?;
    let found = framework(&mut master, &args.framework).await?;
    let framework_id = found.id.clone();
    let teardown = v1::TeardownFrameworkRequest { framework_id };
    Change::TeardownFramework(teardown)
        .make(&args.client)
        .await?;
    let value = json!({ "id": found.id, "name": found.name, "tasks_killed": found.tasks });
    args.output.output.show_text(&value, || {
        format!("framework {} ({}) is over", found.id, found.name)
    })
}

/// The framework of this name.
async fn framework(master: &mut MasterClient, name: &str) -> Result<v1::Framework, Problem> {
    let found = framework_like(master.frameworks().await?, name)?;
    found.ok_or_else(|| no_framework(name))
}

fn no_framework(name: &str) -> Problem {
    let message = format!("there is no framework {name}");
    Problem::new(code::FRAMEWORK_UNKNOWN, message)
        .field("framework")
        .hint("`proffer frameworks` lists them")
}

/// Refuses the name of a framework that the master does not know, where it knows no task of it either.
pub(crate) async fn check_framework(
    master: &mut MasterClient,
    name: Option<&str>,
) -> Result<(), Problem> {
    match name {
        Some(name) => framework(master, name).await.map(drop),
        None => Ok(()),
    }
}

/// The id of the framework that rows are filtered by; of one that is over only its id is known. Empty: of all.
pub(crate) async fn framework_id(
    master: &mut MasterClient,
    name: Option<&str>,
) -> Result<String, Problem> {
    let Some(name) = name else {
        return Ok(String::new());
    };
    match framework_like(master.frameworks().await?, name)? {
        Some(framework) => Ok(framework.id),
        None if FrameworkId::new(name).is_err() => Err(no_framework(name)),
        None => Ok(name.to_owned()),
    }
}

/// The same for a list of what is there: none where nothing can be of it, since its name is no id either.
pub(crate) fn if_possible(
    framework_id: Result<String, Problem>,
) -> Result<Option<String>, Problem> {
    match framework_id {
        Ok(id) => Ok(Some(id)),
        Err(problem) if problem.is(code::FRAMEWORK_UNKNOWN) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// The id of the agent that rows are filtered by. Empty: of all.
pub(crate) async fn agent_id(
    master: &mut MasterClient,
    name: Option<&str>,
) -> Result<String, Problem> {
    match name {
        Some(name) => Ok(one_of(master.agents().await?, name)?.id),
        None => Ok(String::new()),
    }
}
