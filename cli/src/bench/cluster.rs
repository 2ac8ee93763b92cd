//! A master with emulated agents, and frameworks that launch on them: what the benchmarks over real streams share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proffer_agent::emulate::{Emulation, Fates, Options, Rate, Span, Witness};
use proffer_leader::Masters;
use proffer_model::session::Event;
use proffer_model::{
    Command, DemandEntry, DemandId, Offer, OfferId, Problem, Resources, Role, Secret, TaskId,
    TaskSpec, code,
};
use proffer_sdk::{ConnectOptions, Events, Framework, Handle};
use proffer_server::auth::LocalToken;

use super::child::Master;
use crate::limits::{BENCH_OFFER_AGE_MAX, BENCH_WAIT_TIMEOUT};

/// Which agents to emulate.
#[derive(Default)]
pub(super) struct Fleet {
    /// Is part of the agents' ids: another in each fleet of a cluster.
    pub(super) seed: u64,
    pub(super) count: u32,
    pub(super) resources: &'static str,
    pub(super) task_duration: Option<Span>,
    pub(super) agents_per_connection: Option<u32>,
    pub(super) witness: Option<Arc<dyn Witness>>,
}

/// Begins to emulate.
pub(super) fn emulate(master: &Master, fleet: Fleet) -> Result<Emulation, Problem> {
    emulate_with(master.masters()?, master.token.clone(), fleet)
}

/// The same with several masters.
pub(super) fn emulate_with(
    masters: Masters,
    token: LocalToken,
    fleet: Fleet,
) -> Result<Emulation, Problem> {
    Emulation::start(Options {
        masters,
        insecure_allow_plaintext: false,
        token,
        count: fleet.count,
        resources: vec![fleet.resources.parse()?],
        attributes: Vec::new(),
        regions: Vec::new(),
        zones: Vec::new(),
        fates: Fates {
            seed: fleet.seed,
            duration: fleet.task_duration,
            failure_rate: Rate::default(),
        },
        agents_per_connection: fleet.agents_per_connection,
        witness: fleet.witness,
    })
}

/// Waits until all are registered, and says how long that took since `begun`.
pub(super) async fn all_registered(
    master: &mut Master,
    emulation: &Emulation,
    count: u32,
    begun: Instant,
) -> Result<Duration, Problem> {
    within(
        master,
        "all agents are registered",
        emulation.registered(count),
    )
    .await?;
    Ok(begun.elapsed())
}

/// Waits for something that should come about soon, as long as the master lives.
pub(super) async fn within<T>(
    master: &mut Master,
    what: &str,
    wait: impl Future<Output = T>,
) -> Result<T, Problem> {
    if let Ok(answer) = tokio::time::timeout(BENCH_WAIT_TIMEOUT, wait).await {
        return Ok(answer);
    }
    master.check()?;
    let message = format!("not within {} s: {what}", BENCH_WAIT_TIMEOUT.as_secs());
    Err(Problem::new(code::WAIT_TIMED_OUT, message).hint("try smaller sizes, or a release build"))
}

/// Connects a framework.
pub(super) fn connect(master: &Master) -> Result<(Handle, Events), Problem> {
    connect_with(vec![master.api.clone()], &master.token)
}

/// The same with several masters.
pub(super) fn connect_with(
    masters: Vec<String>,
    token: &LocalToken,
) -> Result<(Handle, Events), Problem> {
    let mut options = ConnectOptions::new(masters, "bench", [role()?]);
    options.token = Some(Secret::new(token.secret().expose()));
    Framework::connect(options)
}

/// The role of every framework here.
pub(super) fn role() -> Result<Role, Problem> {
    Role::new("*")
}

/// So many of these, wherever.
pub(super) fn wanted(count: u32, shape: &str) -> Result<Vec<DemandEntry>, Problem> {
    let resources: Resources = shape.parse()?;
    Ok(vec![DemandEntry::new(
        DemandId::new("bench")?,
        count,
        resources,
    )])
}

/// A task that holds these and would run nothing.
pub(super) fn task(number: u64, shape: &str) -> Result<TaskSpec, Problem> {
    let id = TaskId::new(&format!("bench-{number}"))?;
    Ok(TaskSpec::new(
        id,
        Command::Shell("true".to_owned()),
        shape.parse()?,
    ))
}

/// Which number a task of [`task`] has.
pub(super) fn number_of(task: &TaskId) -> Option<usize> {
    task.as_str().strip_prefix("bench-")?.parse().ok()
}

/// Offers that stand, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Standing {
    offers: HashMap<OfferId, Offer>,
    /// With some that stand no more.
    order: VecDeque<(Instant, OfferId)>,
}

impl Standing {
    /// Offers come, and are taken back.
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Offered(offers) => {
                for offer in offers {
                    self.order.push_back((Instant::now(), offer.id.clone()));
                    self.offers.insert(offer.id.clone(), offer);
                }
            }
            Event::Rescinded(offers) => {
                for offer in offers {
                    self.offers.remove(&offer);
                }
            }
            _ => {}
        }
    }

    /// The one that stands longest, of those that are not about to expire.
    pub(super) fn take(&mut self) -> Option<Offer> {
        while let Some((came_at, oldest)) = self.order.pop_front() {
            let offer = self.offers.remove(&oldest);
            if offer.is_some() && came_at.elapsed() < BENCH_OFFER_AGE_MAX {
                return offer;
            }
        }
        None
    }
}

/// Remembers when tasks have ended.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<HashMap<TaskId, Instant>>);

impl Journal {
    /// When this one ended; it is forgotten.
    pub(super) fn take(&self, task: &TaskId) -> Option<Instant> {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.remove(task)
    }
}

impl Witness for Journal {
    fn ended(&self, task: &TaskId) {
        let now = Instant::now();
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert(task.clone(), now);
    }
}
