//! Many frameworks at once: how fast they subscribe, whether all stay, and what a call takes while all are told again and again
//! that the master is there.

use std::time::{Duration, Instant};

use proffer_model::session::Event;
use proffer_model::{Problem, code};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::child::{Master, Store, own_processor_time};
use super::cluster::within;
use super::figures::{Figure, Figures, Times, ms};
use super::sessions::{Door, Session};
use crate::exit::Outcome;
use crate::limits::{BENCH_CALL_INTERVAL, BENCH_SETTLE_INTERVAL, BENCH_SETTLE_TIMEOUT};
use crate::output::{OutputArgs, Progress};
use crate::units::per_second;

/// `proffer bench frameworks`.
#[derive(Debug, clap::Args)]
pub(crate) struct FrameworksArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many frameworks, each with a session; a row for each number.
    #[arg(value_name = "FRAMEWORKS", default_values_t = [1_000, 10_000])]
    frameworks: Vec<u32>,
    /// How many of their sessions share a connection: one process may not open as many files as there may be frameworks.
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=200))]
    sessions_per_connection: u32,
    /// How long they do nothing but listen, once all are subscribed.
    #[arg(long, value_name = "D", default_value = "30s")]
    listen_for: proffer_server::config::DurationText,
}

/// Measures.
pub(super) async fn run(args: &FrameworksArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.frameworks.iter().copied() {
        let row = of(args, count, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &FrameworksArgs,
    count: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    progress.update(&format!("subscribing {count} frameworks"));
    let mut master = Master::start(Store::File).await?;
    let mut caller = Door::open(&master).await?.subscribe("caller").await?;
    let alone = call_for(&mut caller, Duration::from_secs(5)).await?;
    let look = |master: &Master| master.private_bytes();
    let before = look(&master)?;
    let (of_master, own) = (master.processor_time()?, own_processor_time()?);
    let begun = Instant::now();
    let subscribing = subscribe_all(&master, count, args.sessions_per_connection);
    let subscribing = tokio::time::timeout(crate::limits::BENCH_WAIT_TIMEOUT, subscribing).await;
    let sessions = subscribing.map_err(|_| {
        Problem::new(
            code::WAIT_TIMED_OUT,
            "not all frameworks were subscribed in time",
        )
    })??;
    let took = begun.elapsed();
    let of_master = master.processor_time()?.saturating_sub(of_master);
    let own = own_processor_time()?.saturating_sub(own);
    let settling = super::child::settled(
        || master.private_bytes(),
        BENCH_SETTLE_INTERVAL,
        BENCH_SETTLE_TIMEOUT,
    );
    let after = settling.await?;
    progress.update(&format!("{count} frameworks listen"));
    let listen_for = args.listen_for.0;
    let listening = async {
        let (heard, called) = tokio::join!(
            listen_all(sessions, listen_for),
            call_for(&mut caller, listen_for)
        );
        Ok::<_, Problem>((heard, called?))
    };
    let (heard, called) = within(&mut master, "all have listened", listening).await??;
    let each = |time: Duration| super::figures::us_per(time, u64::from(count));
    Ok(vec![
        ("frameworks", Figure::Count(u64::from(count))),
        (
            "sessions_per_connection",
            Figure::Count(u64::from(args.sessions_per_connection)),
        ),
        ("subscribed_ms", ms(took)),
        (
            "subscribed_per_s",
            Figure::Count(per_second(u64::from(count), took)),
        ),
        ("master_us_per_framework", each(of_master)),
        ("bench_us_per_framework", each(own)),
        (
            "bytes_per_framework",
            Figure::Count(after.saturating_sub(before) / u64::from(count.max(1))),
        ),
        ("sessions_ended", Figure::Count(heard.ended)),
        ("heartbeats", Figure::Count(heard.heartbeats)),
        ("silence_max_ms", ms(heard.silence_max)),
        ("alone_call_p99_ms", ms(alone.at(990))),
        ("call_p50_ms", ms(called.at(500))),
        ("call_p99_ms", ms(called.at(990))),
        ("call_max_ms", ms(called.at(1_000))),
    ])
}

/// Opens connections side by side, and on each one session after the other.
async fn subscribe_all(
    master: &Master,
    count: u32,
    per_connection: u32,
) -> Result<Vec<Session>, Problem> {
    let mut connections = JoinSet::new();
    let mut first = 0;
    while first < count {
        let door = Door::open(master).await?;
        let numbers = first..count.min(first + per_connection);
        first = numbers.end;
        connections.spawn(async move {
            let mut sessions = Vec::new();
            for number in numbers {
                sessions.push(door.subscribe(&format!("bench-{number}")).await?);
            }
            Ok::<_, Problem>(sessions)
        });
    }
    let mut sessions = Vec::new();
    while let Some(opened) = connections.join_next().await {
        let opened = opened.map_err(|error| Problem::new(code::INTERNAL, error.to_string()))?;
        sessions.extend(opened?);
    }
    Ok(sessions)
}

/// What sessions have heard.
#[derive(Debug, Default)]
struct Heard {
    heartbeats: u64,
    ended: u64,
    /// The longest time that one of them heard nothing.
    silence_max: Duration,
}

async fn listen_all(sessions: Vec<Session>, listen_for: Duration) -> Heard {
    let mut listeners = JoinSet::new();
    for session in sessions {
        listeners.spawn(listen(session, listen_for));
    }
    let mut all = Heard::default();
    while let Some(Ok(heard)) = listeners.join_next().await {
        all.heartbeats += heard.heartbeats;
        all.ended += heard.ended;
        all.silence_max = all.silence_max.max(heard.silence_max);
    }
    all
}

async fn listen(mut session: Session, listen_for: Duration) -> Heard {
    let (begun, mut last, mut heard) = (Instant::now(), Instant::now(), Heard::default());
    while let Some(left) = listen_for.checked_sub(begun.elapsed()) {
        match timeout(left, session.event()).await {
            Ok(Ok(event)) => {
                heard.heartbeats += u64::from(matches!(event, Event::Heartbeat));
                heard.silence_max = heard.silence_max.max(last.elapsed());
                last = Instant::now();
            }
            Ok(Err(_)) => {
                heard.ended += 1;
                break;
            }
            Err(_) => break,
        }
    }
    heard.silence_max = heard.silence_max.max(last.elapsed());
    heard
}

/// Small calls one after the other, with a rest between them; how long each took.
pub(super) async fn call_for(session: &mut Session, call_for: Duration) -> Result<Times, Problem> {
    let (begun, mut times) = (Instant::now(), Times::default());
    while begun.elapsed() < call_for {
        times.push(session.round_trip().await?);
        sleep(BENCH_CALL_INTERVAL).await;
    }
    Ok(times)
}
