//! The command line: every role, every verb, and the help that people read.
//!
//! Decides nothing but which function runs, on which kind of runtime. Flags of a verb stand with that verb, flags of a
//! role with that role's crate.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench::BenchVerb;
use crate::dev::DevArgs;
use crate::examples;
use crate::hello::HelloArgs;
use crate::output::{Format, OutputArgs};
use crate::role::{Agent, DiscoveryArgs, Master, RoleArgs, Services};
use crate::simulate::SimulateVerb;
use crate::verbs::agent::AgentVerb;
use crate::verbs::app::AppVerb;
use crate::verbs::apply::ApplyArgs;
use crate::verbs::backup::{BackupArgs, RestoreArgs};
use crate::verbs::list::{AgentsArgs, AppsArgs, FrameworksArgs, TasksArgs};
use crate::verbs::logs::LogsArgs;
use crate::verbs::masters::MastersArgs;
use crate::verbs::offers::{ExecutorsArgs, OffersArgs};
use crate::verbs::operate::{FrameworkVerb, TaskVerb};
use crate::verbs::reserve::{ReserveArgs, UnreserveArgs, VolumeVerb};
use crate::verbs::roles::{QuotaVerb, RoleVerb, RolesArgs, WeightVerb};
use crate::verbs::run::RunArgs;
use crate::verbs::why::WhyArgs;

/// A cluster manager that offers resources to schedulers, with services and load balancing in the box.
#[derive(Debug, Parser)]
#[command(
    name = "proffer",
    version,
    after_help = examples::TOP,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do. In the order of a first encounter: try it, run something, look at it, operate it.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a whole cluster on this machine, deploy apps and stay until Ctrl-C.
    #[command(after_help = examples::DEV)]
    Dev(DevArgs),

    /// Create an app from the command line and wait until it is healthy.
    #[command(after_help = examples::RUN)]
    Run(RunArgs),
    /// Create or change apps from files and wait until they are healthy.
    #[command(after_help = examples::APPLY)]
    Apply(ApplyArgs),
    /// List apps.
    Apps(AppsArgs),
    /// Show, scale, restart or remove one app.
    #[command(subcommand, after_help = examples::APP)]
    App(AppVerb),
    /// Show what the instances of an app, or a task, have written.
    #[command(after_help = examples::LOGS)]
    Logs(LogsArgs),
    /// Explain why an app misses instances, why a framework is offered nothing, or how a task stands.
    #[command(after_help = examples::WHY)]
    Why(WhyArgs),

    /// List tasks, of all frameworks.
    #[command(after_help = examples::TASKS)]
    Tasks(TasksArgs),
    /// End a task in its framework's place.
    #[command(subcommand, after_help = examples::TASK)]
    Task(TaskVerb),
    /// List agents and what they have.
    #[command(after_help = examples::AGENTS)]
    Agents(AgentsArgs),
    /// List frameworks and what they hold.
    Frameworks(FrameworksArgs),
    /// End a framework for good.
    #[command(subcommand)]
    Framework(FrameworkVerb),
    /// List offers that frameworks have not answered.
    #[command(after_help = examples::OFFERS)]
    Offers(OffersArgs),
    /// List executors of frameworks' own.
    Executors(ExecutorsArgs),
    /// List masters and which of them leads.
    #[command(after_help = examples::MASTERS)]
    Masters(MastersArgs),

    /// List roles as a tree: share, weight, quota, what they consume.
    #[command(after_help = examples::ROLES)]
    Roles(RolesArgs),
    /// Show one role.
    #[command(subcommand)]
    Role(RoleVerb),
    /// Guarantee resources to roles and limit them.
    #[command(subcommand, after_help = examples::QUOTA)]
    Quota(QuotaVerb),
    /// Say how much roles get beside one another.
    #[command(subcommand, after_help = examples::WEIGHT)]
    Weight(WeightVerb),
    /// Reserve resources of an agent for a role.
    #[command(after_help = examples::RESERVE)]
    Reserve(ReserveArgs),
    /// Take a reservation away.
    #[command(after_help = examples::UNRESERVE)]
    Unreserve(UnreserveArgs),
    /// Make, resize and destroy persistent volumes.
    #[command(subcommand, after_help = examples::VOLUME)]
    Volume(VolumeVerb),

    /// Write all that is durable of a cluster into one file.
    #[command(after_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Make a new store of a backup, or say what one holds.
    #[command(after_help = examples::RESTORE)]
    Restore(RestoreArgs),

    /// Run the master: offers the agents' resources to frameworks.
    #[command(after_help = examples::MASTER)]
    Master(Box<RoleArgs<Master>>),
    /// Run an agent: offers this host's resources and runs tasks on it. Or show one, or take one out of use.
    #[command(after_help = examples::AGENT)]
    Agent(Box<AgentCommand>),
    /// Run the service framework: keeps apps alive, with Marathon's REST API.
    #[command(after_help = examples::SERVICES)]
    Services(Box<RoleArgs<Services>>),
    /// Run the discovery sidecar: keeps HAProxy's configuration true to what runs where.
    #[command(after_help = examples::DISCOVERY)]
    Discovery(Box<DiscoveryArgs>),

    /// Emulate agents, for trying a framework on a cluster of any size.
    #[command(subcommand)]
    Simulate(SimulateVerb),
    /// Measure, and say on what.
    #[command(subcommand)]
    Bench(BenchVerb),

    /// Serve a small web page that names its instance: something to deploy on a first day.
    Hello(HelloArgs),
    /// Write the completions of a shell to standard output.
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Say which version this is.
    Version(OutputArgs),

    /// Watch over one container. Started by the agent, never by people; handled before this point.
    #[command(hide = true, disable_help_flag = true)]
    Supervise {
        /// Whatever the agent says.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// The role, or a verb about an agent that runs somewhere.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct AgentCommand {
    #[command(flatten)]
    pub(crate) role: RoleArgs<Agent>,
    #[command(subcommand)]
    pub(crate) verb: Option<AgentVerb>,
}

/// The whole command line; where a help text depends on the role, with its name in it.
pub(crate) fn tree() -> clap::Command {
    ["master", "agent", "services", "discovery"]
        .into_iter()
        .fold(Cli::command(), |tree, role| {
            tree.mut_subcommand(role, |command| {
                command.mut_arg("config", |config| {
                    config.help(format!(
                        "File with values of these flags, as keys with _ instead of -; flags and environment win \
                         [default: /etc/proffer/{role}.toml, if it is there]"
                    ))
                })
            })
        })
}

impl Command {
    /// Whether it asks for something that goes on without it.
    pub(crate) fn changes(&self) -> bool {
        match self {
            Self::Run(_) | Self::Apply(_) => true,
            Self::App(verb) => verb.changes(),
            _ => false,
        }
    }

    /// How results and errors are written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Run(args) => args.output.output,
            Self::Apply(args) => args.output.output,
            Self::Apps(args) => args.output.output,
            Self::App(verb) => verb.output().output,
            Self::Logs(args) => args.output.output,
            Self::Why(args) => args.output.output,
            Self::Tasks(args) => args.output.output,
            Self::Agents(args) => args.output.output,
            Self::Frameworks(args) => args.output.output,
            Self::Task(verb) => verb.format(),
            Self::Framework(verb) => verb.format(),
            Self::Offers(args) => args.output.output,
            Self::Executors(args) => args.output.output,
            Self::Masters(args) => args.output.output,
            Self::Roles(args) => args.output.output,
            Self::Role(verb) => verb.format(),
            Self::Quota(verb) => verb.format(),
            Self::Weight(verb) => verb.format(),
            Self::Reserve(args) => args.output.output,
            Self::Unreserve(args) => args.output.output,
            Self::Volume(verb) => verb.format(),
            Self::Backup(args) => args.output.output,
            Self::Restore(args) => args.output.output,
            Self::Agent(command) => command
                .verb
                .as_ref()
                .map_or(Format::Table, AgentVerb::format),
            Self::Version(args) => args.output,
            Self::Simulate(verb) => verb.format(),
            Self::Bench(verb) => verb.format(),
            Self::Dev(_)
            | Self::Master(_)
            | Self::Services(_)
            | Self::Discovery(_)
            | Self::Hello(_)
            | Self::Completions { .. }
            | Self::Supervise { .. } => Format::Table,
        }
    }

    /// Whether it serves many at once and is worth a thread for each processor.
    pub(crate) fn is_server(&self) -> bool {
        match self {
            Self::Dev(_)
            | Self::Master(_)
            | Self::Services(_)
            | Self::Discovery(_)
            | Self::Simulate(_)
            | Self::Bench(_) => true,
            Self::Agent(command) => command.verb.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_sound() {
        tree().debug_assert();
    }

    #[test]
    fn every_visible_command_is_documented() {
        fn check(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
            const DOCUMENT: &str = include_str!("../../docs/cli.md");
            for inner in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let name = inner.get_name();
                let forms = [format!("{path} {name}"), format!("|{name}")];
                let is_named = forms.iter().any(|form| {
                    let mut places = DOCUMENT.match_indices(form.as_str());
                    places.any(|(at, form)| {
                        let rest = DOCUMENT.get(at + form.len()..).unwrap_or_default();
                        !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-')
                    })
                });
                if !is_named {
                    missing.push(format!("{path} {name}"));
                }
                check(inner, name, missing);
            }
        }
        let mut missing = Vec::new();
        check(&tree(), "proffer", &mut missing);
        assert!(
            missing.is_empty(),
            "docs/cli.md says nothing of {missing:?}"
        );
    }

    #[test]
    fn every_visible_command_and_flag_has_help() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            for argument in command.get_arguments().filter(|a| !a.is_hide_set()) {
                assert!(
                    argument.get_help().is_some(),
                    "{} {} has no help",
                    command.get_name(),
                    argument.get_id()
                );
            }
            command
                .get_subcommands()
                .filter(|c| !c.is_hide_set())
                .for_each(check);
        }
        check(&tree());
    }
}
