//! What was written for Mesos: launches, offers of what was freed, and pages, through Mesos's v1 scheduler API, by a framework
//! in this process that says and hears what Mesos's frameworks do.
//!
//! A row for each media type, of two clusters one after the other. The first launches as `bench launch` does: one by one, many,
//! and both again beside readers that ask for `/state` ten times a second. On the second every agent is full with one task, as in
//! `bench reoffer`; then the pages are read while those tasks run.

mod calling;
mod calls;
mod client;
mod load;
mod pages;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use proffer_agent::emulate::{Emulation, Span};
use proffer_model::{Problem, code};
use proffer_server::mesos_http::Media;

use super::child::{Master, Store, own_processor_time};
use super::cluster::{Fleet, Journal, all_registered, emulate, within};
use super::figures::{Figure, Figures, Times, ms, us_per};
use super::launch::LoadArgs;
use crate::exit::Outcome;
use crate::output::Progress;
use crate::units::per_second;
use calls::Shape;
use client::{Calling, Client};
use load::{Launcher, Taken, Taker};
use pages::{Read, Reader};

/// What every task of the first cluster holds.
const SHAPE: &str = "cpus:0.1;mem:32";
/// What an agent of the second has, and every task holds.
const FULL: &str = "cpus:4;mem:8192";
/// The page that readers ask for beside launches.
const STATE: &str = "/state";

/// `proffer bench mesos`.
#[derive(Debug, clap::Args)]
pub(crate) struct MesosArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// How many times are taken of single launches, with nothing else of the framework going on.
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: usize,
    /// How messages are written; a row for each.
    #[arg(long, value_name = "MEDIA", value_delimiter = ',', default_values = ["json", "protobuf"])]
    media: Vec<Form>,
    #[command(flatten)]
    calling: Calling,
    /// How many times are taken from the end of a task to the next offer of what it held.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    reoffers: usize,
    /// How long tasks run that hold all of their agent.
    #[arg(long, value_name = "D", default_value = "5s-15s")]
    full_task_duration: Span,
    /// How many times each page is asked for.
    #[arg(long, value_name = "N", default_value_t = 300)]
    reads: usize,
    /// How often `/state` is asked for beside launches, as by ten dashboards of which each asks once a second; with `1ms` one time
    /// after the other.
    #[arg(long, value_name = "D", default_value = "100ms")]
    read_every: proffer_server::config::DurationText,
}

/// A media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Json,
    Protobuf,
}

impl Form {
    fn media(self) -> Media {
        match self {
            Self::Json => Media::Json,
            Self::Protobuf => Media::Protobuf,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }
}

type Row = Vec<(&'static str, Figure)>;

/// Measures.
pub(super) async fn run(args: &MesosArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.load.agents.iter().copied() {
        for form in args.media.iter().copied() {
            let mut row = vec![
                ("media", Figure::Text(form.name().to_owned())),
                ("agents", Figure::Count(u64::from(count))),
            ];
            row.extend(launches(args, count, form.media(), progress).await?);
            row.extend(full_agents(args, count, form.media(), progress).await?);
            figures.push_and_say(row, progress);
        }
    }
    Ok(figures)
}

/// What was launched with nothing else going on, and what beside a reader.
struct Launched {
    single: Taken,
    read_single: Taken,
    many: (Duration, Taken),
    read_many: (Duration, Taken),
    reads: Read,
    of_master: Duration,
    own: Duration,
}

async fn launches(
    args: &MesosArgs,
    count: u32,
    media: Media,
    progress: &mut Progress,
) -> Outcome<Row> {
    progress.update(&format!("registering {count} agents"));
    let mut master = Master::start(Store::File).await?;
    let fleet = Fleet {
        count,
        resources: "cpus:64;mem:65536",
        task_duration: Some(args.load.task_duration),
        agents_per_connection: args.load.agents_per_connection,
        ..Fleet::default()
    };
    let emulation = emulate(&master, fleet)?;
    all_registered(&mut master, &emulation, count, Instant::now()).await?;
    let shape = Shape::new(SHAPE)?;
    let (launched, refused) = on_one_thread(async {
        let client = Client::subscribe(&master, media, args.calling, &calls::subscribe()).await?;
        let mut launcher = Launcher::new(client, shape);
        let launched = launch(args, &mut master, &emulation, &mut launcher, progress).await?;
        Outcome::Ok((launched, launcher.refused))
    })??;
    let tasks = args.load.tasks;
    let rate = |took: Duration| Figure::Count(per_second(tasks, took));
    Ok(vec![
        (
            "agents_per_connection",
            Figure::Count(u64::from(emulation.agents_per_connection())),
        ),
        ("launches", Figure::Count(tasks)),
        ("launches_per_s", rate(launched.many.0)),
        ("read_launches_per_s", rate(launched.read_many.0)),
        ("running_p50_ms", ms(launched.single.running.at(500))),
        ("running_p99_ms", ms(launched.single.running.at(990))),
        (
            "read_running_p50_ms",
            ms(launched.read_single.running.at(500)),
        ),
        (
            "read_running_p99_ms",
            ms(launched.read_single.running.at(990)),
        ),
        ("accept_p99_ms", ms(launched.single.answered.at(990))),
        (
            "read_accept_p99_ms",
            ms(launched.read_single.answered.at(990)),
        ),
        ("busy_running_p99_ms", ms(launched.many.1.running.at(990))),
        (
            "read_busy_running_p99_ms",
            ms(launched.read_many.1.running.at(990)),
        ),
        ("busy_state_p50_ms", ms(launched.reads.times.at(500))),
        ("busy_state_p99_ms", ms(launched.reads.times.at(990))),
        ("busy_state_bytes", Figure::Count(launched.reads.bytes)),
        ("master_us_per_launch", us_per(launched.of_master, tasks)),
        ("bench_us_per_launch", us_per(launched.own, tasks)),
        ("launches_refused", Figure::Count(refused)),
    ])
}

/// Runs a framework on this thread alone: it wakes no other one for each of its calls and events. The agents stay where they
/// are.
fn on_one_thread<T>(framework: impl Future<Output = T>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::new(code::INTERNAL, format!("no runtime: {error}")))?;
    // Its end blocks, too.
    Ok(tokio::task::block_in_place(move || {
        runtime.block_on(framework)
    }))
}

async fn launch(
    args: &MesosArgs,
    master: &mut Master,
    emulation: &Emulation,
    launcher: &mut Launcher,
    progress: &mut Progress,
) -> Outcome<Launched> {
    let load = &args.load;
    progress.update(&format!("launching {} tasks", load.tasks));
    let before = (master.processor_time()?, own_processor_time()?);
    let many = launcher.flood(emulation, load.tasks, load);
    let many = within(master, "all tasks have ended", many).await??;
    let of_master = master.processor_time()?.saturating_sub(before.0);
    let own = own_processor_time()?.saturating_sub(before.1);
    progress.update("launching one by one");
    let single = launcher.one_by_one(args.samples);
    let single = within(master, "single launches run", single).await??;
    progress.update("launching one by one beside a reader");
    let reading = Reader::new(master).begin(STATE, args.read_every.0);
    let read_single = launcher.one_by_one(args.samples);
    let read_single = within(master, "single launches run", read_single).await??;
    reading.end().await?;
    progress.update(&format!("launching {} tasks beside a reader", load.tasks));
    let reading = Reader::new(master).begin(STATE, args.read_every.0);
    let read_many = launcher.flood(emulation, load.tasks, load);
    let read_many = within(master, "all tasks have ended", read_many).await??;
    Ok(Launched {
        single,
        read_single,
        many,
        read_many,
        reads: reading.end().await?,
        of_master,
        own,
    })
}

/// From the end of a task to the next offer of what it held, and the pages.
async fn full_agents(
    args: &MesosArgs,
    count: u32,
    media: Media,
    progress: &mut Progress,
) -> Outcome<Row> {
    progress.update(&format!("filling {count} agents"));
    let mut master = Master::start(Store::File).await?;
    let journal = Arc::new(Journal::default());
    let fleet = Fleet {
        count,
        resources: FULL,
        task_duration: Some(args.full_task_duration),
        agents_per_connection: args.load.agents_per_connection,
        witness: Some(journal.clone()),
        ..Fleet::default()
    };
    let emulation = emulate(&master, fleet)?;
    all_registered(&mut master, &emulation, count, Instant::now()).await?;
    let client = Client::subscribe(&master, media, args.calling, &calls::subscribe()).await?;
    let mut taker = Taker::new(client, Shape::new(FULL)?, journal, count);
    within(&mut master, "all agents are full", taker.fill()).await??;
    progress.update(&format!("taking {} times on {count} agents", args.reoffers));
    let taking = taker.take(args.reoffers);
    within(&mut master, "all times are taken", taking).await??;
    let times = std::mem::take(&mut taker.times);
    let mut row = vec![
        ("reoffer_p50_ms", ms(times.at(500))),
        ("reoffer_p99_ms", ms(times.at(990))),
        ("reoffer_max_ms", ms(times.at(1_000))),
        ("reoffers_refused", Figure::Count(taker.refused)),
        ("pages_tasks_running", Figure::Count(taker.running())),
    ];
    progress.update("reading pages");
    for (path, names) in PAGES {
        let reader = Reader::new(&master);
        let reading = taker.until(reader.read(path, args.reads));
        let Read { times, bytes } = within(&mut master, "all pages are read", reading).await??;
        let [p50, p99, len] = names;
        row.extend(figures_of(&times, p50, p99));
        row.push((len, Figure::Count(bytes)));
    }
    Ok(row)
}

/// The pages, and the names of their figures.
const PAGES: [(&str, [&str; 3]); 4] = [
    (STATE, ["state_p50_ms", "state_p99_ms", "state_bytes"]),
    (
        "/master/state-summary",
        ["summary_p50_ms", "summary_p99_ms", "summary_bytes"],
    ),
    (
        "/slaves",
        ["slaves_p50_ms", "slaves_p99_ms", "slaves_bytes"],
    ),
    ("/tasks", ["tasks_p50_ms", "tasks_p99_ms", "tasks_bytes"]),
];

fn figures_of(times: &Times, p50: &'static str, p99: &'static str) -> [(&'static str, Figure); 2] {
    [(p50, ms(times.at(500))), (p99, ms(times.at(990)))]
}
