//! `proffer simulate agents`: a cluster's worth of agents in one process, for whoever writes a framework.
//!
//! What the agents do is `proffer_agent::emulate`'s; here is how they are asked for and what is said about them. It says
//! wherever it can that they are emulated, and how many share a connection.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Subcommand;
use proffer_agent::emulate::{Counts, Emulation, Fates, Options, Rate, Span};
use proffer_leader::Masters;
use proffer_model::{Attributes, Problem, Resources};
use proffer_server::auth::{LocalToken, default_token_path};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::exit::Outcome;
use crate::limits::{SIMULATE_NEWS_INTERVAL, SIMULATE_PROGRESS_INTERVAL};
use crate::output::{self, Column, Format, OutputArgs, Progress, Rows};
use crate::units::per_second;

/// `proffer simulate`.
#[derive(Debug, Subcommand)]
pub(crate) enum SimulateVerb {
    /// Emulate agents: they register, take tasks and report on them, and nothing is run.
    #[command(after_help = crate::examples::SIMULATE_AGENTS)]
    Agents(AgentsArgs),
}

/// `proffer simulate agents`.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// The masters' addresses for agents, as `proffer agent` takes them: host:port, several with commas between them, or
    /// zk://zk1:2181,zk2:2181/proffer.
    #[arg(
        long,
        env = "PROFFER_AGENT_MASTER",
        value_name = "MASTERS",
        default_value = proffer_agent::config::MASTER
    )]
    master: String,
    /// How many agents.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        allow_negative_numbers = true
    )]
    count: u32,
    /// What each agent has. Given several times, the agents take these in turn.
    #[arg(
        long,
        value_name = "RESOURCES",
        default_value = "cpus:4;mem:8192;disk:100000;ports:[31000-32000]"
    )]
    resources: Vec<Resources>,
    /// What each agent says of itself, as in rack:a;zone:eu-1, besides emulated:true. Given several times, the agents take
    /// these in turn.
    #[arg(long, value_name = "ATTRIBUTES")]
    attributes: Vec<Attributes>,
    /// The region that each agent stands in, such as a data centre; with --zone. Given several times, the agents take these
    /// in turn.
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// The zone of the region that each agent stands in, such as a rack: what fails together; with --region. Given several
    /// times, the agents take these in turn: as many of both are pairs.
    #[arg(long, value_name = "ZONE")]
    zone: Vec<String>,
    /// How long a task runs, as in 2s, or as long as any between two, as in 500ms-2s [default: until it is killed].
    #[arg(long, value_name = "D")]
    task_duration: Option<Span>,
    /// How many tasks fail when their time is over, from 0 to 1.
    #[arg(long, value_name = "P", default_value_t, allow_negative_numbers = true)]
    failure_rate: Rate,
    /// Which tasks fail and how long they run is drawn from this, by task id and launch. It is part of the agents' ids:
    /// simulations that run at once on one cluster need different ones.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        allow_negative_numbers = true
    )]
    seed: u64,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    agents_per_connection: Option<u32>,
    /// The file with the token of this cluster; found by itself on the masters' own host.
    #[arg(long, env = "PROFFER_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Send the token in plain text beyond this host, where everybody on the way can read it.
    #[arg(long, env = "PROFFER_INSECURE_ALLOW_PLAINTEXT")]
    insecure_allow_plaintext: bool,
}

impl SimulateVerb {
    /// How results and errors are written.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Agents(args) => args.output.output,
        }
    }
}

/// Emulates until it is interrupted, which is no failure.
pub(crate) async fn run(verb: SimulateVerb, shutdown: CancellationToken) -> Outcome {
    let SimulateVerb::Agents(args) = verb;
    let format = args.output.output;
    let begun = Instant::now();
    let count = args.count;
    let emulation = Emulation::start(args.options()?).map_err(with_flag)?;
    let mut teller = Teller {
        emulation: &emulation,
        format,
        count,
        begun,
        progress: Progress::new(),
    };
    teller.progress.say(&teller.beginning());
    tokio::select! {
        told = teller.tell() => told?,
        () = shutdown.cancelled() => {}
    }
    teller.progress.clear();
    let counts = emulation.counts();
    show_summary(format, count, begun.elapsed(), counts)
}

impl AgentsArgs {
    fn options(self) -> Result<Options, Problem> {
        let masters = Masters::parse(std::slice::from_ref(&self.master))
            .map_err(|problem| problem.field("--master"))?;
        let token_file = self.token_file.map_or_else(default_token_path, Ok)?;
        Ok(Options {
            masters,
            insecure_allow_plaintext: self.insecure_allow_plaintext,
            // As agents do: whoever is first makes it.
            token: LocalToken::load_or_create(&token_file)?,
            count: self.count,
            resources: self.resources,
            attributes: self.attributes,
            regions: self.region,
            zones: self.zone,
            fates: Fates {
                seed: self.seed,
                duration: self.task_duration,
                failure_rate: self.failure_rate,
            },
            agents_per_connection: self.agents_per_connection,
            witness: None,
        })
    }
}

/// An option that is refused is named as it is typed.
fn with_flag(problem: Problem) -> Problem {
    let field = problem.field.as_str();
    let end = field.find(['.', '[']).unwrap_or(field.len());
    match field.split_at(end) {
        ("", _) => problem,
        (option, rest) => {
            let flag = format!("--{}{rest}", option.replace('_', "-"));
            problem.field(flag)
        }
    }
}

/// Says how it goes.
struct Teller<'a> {
    emulation: &'a Emulation,
    format: Format,
    count: u32,
    begun: Instant,
    progress: Progress,
}

impl Teller<'_> {
    fn beginning(&self) -> String {
        format!(
            "emulating {} on {}; nothing that is launched on them is run",
            crate::units::count_of(self.count, "agent"),
            self.connections()
        )
    }

    fn connections(&self) -> String {
        let connections = crate::units::count_of(self.emulation.connections(), "connection");
        match self.emulation.agents_per_connection() {
            1 => format!("{connections}, one each"),
            many => format!("{connections}, {many} agents on each"),
        }
    }

    /// Tells until it is dropped, or nobody listens.
    async fn tell(&mut self) -> Outcome {
        tokio::select! {
            () = self.emulation.registered(self.count) => {}
            never = Self::watch(self.emulation, self.count, &mut self.progress, SIMULATE_PROGRESS_INTERVAL) => never,
        }
        let took = self.begun.elapsed();
        self.registered(took)?;
        Self::watch(
            self.emulation,
            self.count,
            &mut self.progress,
            SIMULATE_NEWS_INTERVAL,
        )
        .await
    }

    /// Says that all are there.
    fn registered(&mut self, took: Duration) -> Outcome {
        let rate = per_second(u64::from(self.count), took);
        if self.format == Format::Json {
            return print_line(&json!({
                "event": "registered",
                "emulated": true,
                "agents": self.count,
                "connections": self.emulation.connections(),
                "agents_per_connection": self.emulation.agents_per_connection(),
                "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "agents_per_s": rate,
            }));
        }
        let text = format!(
            "all {} are registered after {} ms ({rate} agents/s); Ctrl-C ends them",
            crate::units::count_of(self.count, "agent"),
            took.as_millis()
        );
        self.progress.say(&text);
        Ok(())
    }

    async fn watch<T>(
        emulation: &Emulation,
        count: u32,
        progress: &mut Progress,
        every: Duration,
    ) -> T {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            progress.update(&news(
                count,
                emulation.counts(),
                emulation.trouble().as_ref(),
            ));
        }
    }
}

/// How it stands, in a line.
fn news(count: u32, counts: Counts, trouble: Option<&Problem>) -> String {
    let mut text = format!("{} of {count} agents are registered", counts.registered);
    if counts.tasks_started > 0 {
        text += &format!(
            "; tasks: {} run, {} finished, {} failed, {} killed",
            counts.tasks_running(),
            counts.tasks_finished,
            counts.tasks_failed,
            counts.tasks_killed
        );
    }
    if counts.registered < count
        && let Some(problem) = trouble
    {
        text += &format!(" ({}: {})", problem.code, problem.message);
        if !problem.hint.is_empty() {
            text += &format!("; {}", problem.hint);
        }
    }
    text
}

fn show_summary(format: Format, count: u32, took: Duration, counts: Counts) -> Outcome {
    if format == Format::Json {
        return print_line(&json!({
            "event": "ended",
            "emulated": true,
            "agents": count,
            "registered": counts.registered,
            "duration_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "welcomes": counts.welcomes,
            "links_ended": counts.links_ended,
            "tasks_started": counts.tasks_started,
            "tasks_running": counts.tasks_running(),
            "tasks_finished": counts.tasks_finished,
            "tasks_failed": counts.tasks_failed,
            "tasks_killed": counts.tasks_killed,
            "statuses_resent": counts.statuses_resent,
        }));
    }
    format.show(&json!({}), || {
        let names = [
            "AGENTS",
            "REGISTERED",
            "STARTED",
            "RUNNING",
            "FINISHED",
            "FAILED",
            "KILLED",
            "RESENT",
        ];
        let mut rows = Rows::new(&names.map(Column::Number));
        rows.push(
            [
                u64::from(count),
                u64::from(counts.registered),
                counts.tasks_started,
                counts.tasks_running(),
                counts.tasks_finished,
                counts.tasks_failed,
                counts.tasks_killed,
                counts.statuses_resent,
            ]
            .map(|number| number.to_string()),
        );
        rows
    })
}

fn print_line(value: &Value) -> Outcome {
    output::print(&format!("{value}\n"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proffer_model::code;

    use super::*;
    use crate::command::{Cli, Command};
    use crate::exit::Failure;

    #[tokio::test]
    async fn what_is_refused_is_named_as_it_is_typed() {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        for (line, flag) in [
            ("--count=0", "--count"),
            ("--agents-per-connection=0", "--agents-per-connection"),
            ("--resources=ports:[1-70000]", "--resources"),
            ("--attributes=emulated:false", "--attributes"),
            ("--zone=b", "--region"),
            ("--region=eu", "--zone"),
            ("--master=192.0.2.1:5060", "--master[0]"),
        ] {
            let fixed = ["proffer", "simulate", "agents", line, "--token-file"];
            let words = fixed.into_iter().map(Into::into);
            let words = words.chain([token.clone().into_os_string()]);
            let Command::Simulate(verb) = Cli::parse_from(words).command else {
                panic!("{line} is of another verb");
            };
            match run(verb, CancellationToken::new()).await {
                Err(Failure::Problem(problem)) => assert_eq!(problem.field, flag, "{problem}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_line_says_what_is_wrong_only_while_something_is() {
        let mut counts = Counts {
            registered: 3,
            ..Counts::default()
        };
        let problem = Problem::new(code::PEER_UNREACHABLE, "no leader").hint("start one");
        assert_eq!(
            news(10, counts, Some(&problem)),
            "3 of 10 agents are registered (peer.unreachable: no leader); start one"
        );
        counts.registered = 10;
        counts.tasks_started = 5;
        counts.tasks_finished = 2;
        counts.tasks_failed = 1;
        assert_eq!(
            news(10, counts, Some(&problem)),
            "10 of 10 agents are registered; tasks: 2 run, 2 finished, 1 failed, 0 killed"
        );
    }
}
