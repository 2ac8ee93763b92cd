//! How fast agents register: from the first connection until all are welcomed, over real streams.

use std::time::Instant;

use super::child::{Master, Store, own_processor_time};
use super::cluster::{Fleet, all_registered, emulate};
use super::figures::{Figure, Figures, ms, us_per};
use crate::exit::Outcome;
use crate::output::{OutputArgs, Progress};
use crate::units::per_second;

/// `proffer bench register`.
#[derive(Debug, clap::Args)]
pub(crate) struct RegisterArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents; a row for each number.
    #[arg(value_name = "AGENTS", default_values_t = [1_000, 10_000, 20_000])]
    agents: Vec<u32>,
    /// Where the master keeps that agents are admitted: file, with every batch on disk before the welcome, or memory.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "STORE",
        hide_possible_values = true
    )]
    store: Store,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
}

/// Measures.
pub(super) async fn run(args: &RegisterArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.agents.iter().copied() {
        progress.update(&format!("registering {count} agents"));
        let mut master = Master::start(args.store).await?;
        let (of_master, own) = (master.processor_time()?, own_processor_time()?);
        let begun = Instant::now();
        let emulation = emulate(
            &master,
            Fleet {
                count,
                resources: "cpus:4;mem:8192",
                agents_per_connection: args.agents_per_connection,
                ..Fleet::default()
            },
        )?;
        let took = all_registered(&mut master, &emulation, count, begun).await?;
        let of_master = master.processor_time()?.saturating_sub(of_master);
        let own = own_processor_time()?.saturating_sub(own);
        let counts = emulation.counts();
        let row = vec![
            ("agents", Figure::Count(u64::from(count))),
            (
                "agents_per_connection",
                Figure::Count(u64::from(emulation.agents_per_connection())),
            ),
            ("duration_ms", ms(took)),
            (
                "agents_per_s",
                Figure::Count(per_second(u64::from(count), took)),
            ),
            ("master_us_per_agent", us_per(of_master, u64::from(count))),
            ("bench_us_per_agent", us_per(own, u64::from(count))),
            ("links_ended", Figure::Count(counts.links_ended)),
        ];
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}
