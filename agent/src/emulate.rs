//! Emulated agents: many in one process, over real streams to a real master, for authors of frameworks and for benchmarks.
//!
//! They speak as real agents do and decide by the same core; what they lack is the host: no container is started, no file
//! is written, checks pass, and every task has the fate that was drawn for it ([`Fates`]). Each says so: its attribute
//! `emulated` is `true`, its version ends with `(emulated)`, and its host is a name that is none. Start reading here, then
//! `agent.rs` for one agent's link, then `machine.rs` for what it does.

mod agent;
mod counts;
mod fate;
pub mod limits;
mod machine;
mod stream;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proffer_leader::{Bearer, Finder, FinderOptions, Masters, Side};
use proffer_model::{
    AgentDescription, AgentId, AttributeValue, Attributes, Problem, ResourceName, Resources,
    TaskId, code,
};
use proffer_server::auth::LocalToken;
use proffer_server::clock;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tonic::metadata::{Ascii, MetadataValue};

use crate::config::domain;
use agent::{Agent, Group};
use counts::Counters;
use fate::mix;
use limits::{
    AGENTS_PER_CONNECTION_MAX, CONNECTING_MAX, CONNECTIONS_MAX, COUNT_MAX, FILES_RESERVED,
    REGISTERING_MAX, SHARING_MIN,
};
use machine::Machine;

pub use counts::Counts;
pub use fate::{Fates, Rate, Span};

/// The attribute by which an emulated agent is told.
pub const ATTRIBUTE: &str = "emulated";

/// Which agents there are to be.
#[derive(Debug)]
pub struct Options {
    /// Where the masters are; their listeners for agents.
    pub masters: Masters,
    /// Whether addresses beyond this host may be called.
    pub insecure_allow_plaintext: bool,
    /// By which they are let in.
    pub token: LocalToken,
    /// How many.
    pub count: u32,
    /// What they have; the agents take these in turn.
    pub resources: Vec<Resources>,
    /// What they say of themselves besides being emulated; the agents take these in turn. Empty: nothing.
    pub attributes: Vec<Attributes>,
    /// The regions that they stand in; the agents take these in turn. Empty: they do not say.
    pub regions: Vec<String>,
    /// The zones of these regions, in turn too, so that as many of both are pairs.
    pub zones: Vec<String>,
    /// What becomes of tasks. Its seed is part of the agents' ids, so that another program with the same one comes back as
    /// the same agents.
    pub fates: Fates,
    /// How many share a connection; when absent one each, or eight and more if open files do not allow that.
    pub agents_per_connection: Option<u32>,
    /// Is told of each task's end.
    pub witness: Option<Arc<dyn Witness>>,
}

/// Sees tasks end.
pub trait Witness: fmt::Debug + Send + Sync {
    /// This one has just ended; its agent has told nobody yet.
    fn ended(&self, task: &TaskId);
}

/// Agents that live until this is dropped.
#[derive(Debug)]
pub struct Emulation {
    shared: Arc<Shared>,
    agents_per_connection: u32,
    connections: u32,
    /// The agents end when it is dropped.
    _alive: oneshot::Sender<()>,
}

/// What all agents share.
#[derive(Debug)]
struct Shared {
    fates: Fates,
    witness: Option<Arc<dyn Witness>>,
    authorization: MetadataValue<Ascii>,
    counts: Counters,
    /// How many are registered now.
    registered: watch::Sender<u32>,
    turns: Arc<Semaphore>,
    /// Why the last link ended, or was refused.
    trouble: Mutex<Option<Problem>>,
    /// The first connection's, which speaks for all.
    finder: Mutex<Option<Finder>>,
}

impl Emulation {
    /// Begins; the agents connect in the background. Must be called within a Tokio runtime. Errors: `config.invalid`,
    /// `attributes.invalid`, `resources.invalid`, with the field.
    pub fn start(options: Options) -> Result<Self, Problem> {
        check(&options)?;
        let files = raise_open_files();
        let agents_per_connection = options
            .agents_per_connection
            .unwrap_or_else(|| least_per_connection(options.count, files));
        let connections = options.count.div_ceil(agents_per_connection);
        if u64::from(connections).saturating_add(FILES_RESERVED) > files {
            let message = format!(
                "{connections} connections take more than the {files} files that may be open"
            );
            return Err(Problem::new(code::CONFIG_INVALID, message)
                .field("agents_per_connection")
                .hint("let more agents share a connection, or raise the limit: ulimit -n"));
        }
        let shared = Arc::new(Shared {
            fates: options.fates.clone(),
            witness: options.witness.clone(),
            authorization: authorization(&options.token)?,
            counts: Counters::default(),
            registered: watch::Sender::new(0),
            turns: Arc::new(Semaphore::new(REGISTERING_MAX)),
            trouble: Mutex::new(None),
            finder: Mutex::new(None),
        });
        let descriptions = Descriptions::new(&options)?;
        let finder = FinderOptions {
            masters: options.masters,
            side: Side::Cluster,
            bearer: Bearer::Given(Some(shared.authorization.clone())),
            insecure_allow_plaintext: options.insecure_allow_plaintext,
        };
        let spawning = Spawning {
            shared: Arc::clone(&shared),
            descriptions,
            finder,
            count: options.count,
            agents_per_connection,
        };
        Ok(Self {
            shared,
            agents_per_connection,
            connections,
            _alive: spawning.on_a_thread()?,
        })
    }

    /// How many agents share a connection.
    pub fn agents_per_connection(&self) -> u32 {
        self.agents_per_connection
    }

    /// How many connections there are for links.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts.read(*self.shared.registered.borrow())
    }

    /// Waits until so many are registered at once.
    pub async fn registered(&self, count: u32) {
        let mut registered = self.shared.registered.subscribe();
        // It fails only without a sender, which is here.
        let _ = registered.wait_for(|now| *now >= count).await;
    }

    /// Waits until fewer are registered at once.
    pub async fn fewer_registered(&self, count: u32) {
        let mut registered = self.shared.registered.subscribe();
        // It fails only without a sender, which is here.
        let _ = registered.wait_for(|now| *now < count).await;
    }

    /// Why there is no leader; otherwise why the last link ended or was refused, if any has.
    pub fn trouble(&self) -> Option<Problem> {
        let finder = self.shared.finder();
        let leaderless = finder.as_ref().and_then(Finder::trouble);
        match leaderless {
            Some(why) => Some(Problem::new(code::PEER_UNREACHABLE, why)),
            None => self.shared.trouble().clone(),
        }
    }
}

impl Shared {
    fn registered(&self, is_registered: bool) {
        self.registered.send_modify(|count| {
            *count = match is_registered {
                true => count.saturating_add(1),
                false => count.saturating_sub(1),
            };
        });
        if is_registered {
            self.counts.welcomed();
        }
    }

    fn refused(&self, problem: Problem) {
        *self.trouble() = Some(problem);
    }

    fn unlinked(&self, why: &Problem) {
        self.counts.unlinked();
        let mut trouble = self.trouble();
        // A refusal says more than that the link ended by it.
        let is_refusal = trouble
            .as_ref()
            .is_some_and(|told| told.is(code::AGENT_REFUSED));
        if !is_refusal {
            *trouble = Some(why.clone());
        }
    }

    fn trouble(&self) -> MutexGuard<'_, Option<Problem>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finder(&self) -> MutexGuard<'_, Option<Finder>> {
        self.finder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn to register.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It fails only when it is closed, which nobody does.
        Arc::clone(&self.turns).acquire_owned().await.ok()
    }
}

/// Brings the agents to life, a few connections at a time.
struct Spawning {
    shared: Arc<Shared>,
    descriptions: Descriptions,
    finder: FinderOptions,
    count: u32,
    agents_per_connection: u32,
}

impl Spawning {
    /// Brings them to life on a thread of their own, where what one of them does wakes no other thread; until the answer is
    /// dropped.
    fn on_a_thread(self) -> Result<oneshot::Sender<()>, Problem> {
        let cannot = |error| Problem::new(code::INTERNAL, format!("no thread for agents: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let (alive, dead) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("emulation".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = self.run() => {}
                        _ = dead => {}
                    }
                });
            })
            .map_err(cannot)?;
        Ok(alive)
    }

    /// Lives as long as the agents do, which are its own.
    async fn run(self) {
        let mut agents = JoinSet::new();
        let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
        let mut first = 0;
        while first < self.count {
            let next = self
                .count
                .min(first.saturating_add(self.agents_per_connection));
            let turn = Arc::clone(&connecting).acquire_owned().await;
            let finder = match Finder::start(self.finder.clone()) {
                Ok(finder) => finder,
                Err(problem) => return self.shared.refused(problem),
            };
            self.shared.finder().get_or_insert_with(|| finder.clone());
            let group = Arc::new(Group::new(Arc::clone(&self.shared), finder));
            for number in first..next {
                match self.agent(&group, number) {
                    Ok(agent) => agents.spawn(agent.run()),
                    Err(problem) => return self.shared.refused(problem),
                };
            }
            agents.spawn(async move {
                group.connected().await;
                drop(turn);
            });
            first = next;
        }
        while agents.join_next().await.is_some() {}
    }

    fn agent(&self, group: &Arc<Group>, number: u32) -> Result<Agent, Problem> {
        let (id, description) = self.descriptions.of(number)?;
        let seed = mix(self.shared.fates.seed ^ mix(u64::from(number)));
        let machine = Machine::new(clock::now(), Arc::clone(&self.shared), id, description);
        Ok(Agent::new(Arc::clone(group), machine, seed))
    }
}

/// What agents say of themselves.
#[derive(Debug)]
struct Descriptions {
    seed: u64,
    resources: Vec<Resources>,
    attributes: Vec<Attributes>,
    regions: Vec<String>,
    zones: Vec<String>,
    address: String,
}

impl Descriptions {
    fn new(options: &Options) -> Result<Self, Problem> {
        let name = ResourceName::new(ATTRIBUTE)?;
        let given = match options.attributes.as_slice() {
            [] => vec![Attributes::default()],
            given => given.to_vec(),
        };
        let mut attributes = Vec::with_capacity(given.len());
        for mut own in given {
            if own.values(&name).next().is_some() {
                let message = "every emulated agent says that it is emulated, and in these words";
                return Err(Problem::new(code::ATTRIBUTES_INVALID, message)
                    .field("attributes")
                    .hint("leave the attribute `emulated` out"));
            }
            own.insert(name.clone(), AttributeValue::new("true")?)?;
            attributes.push(own);
        }
        Ok(Self {
            seed: options.fates.seed,
            resources: options.resources.clone(),
            attributes,
            regions: options.regions.clone(),
            zones: options.zones.clone(),
            // Another program with the same agents is told from this one by it, and refused while this one lives. There is
            // nobody at this address, nor can be: RFC 2606.
            address: format!("process-{}.emulated.invalid:1", std::process::id()),
        })
    }

    fn of(&self, number: u32) -> Result<(AgentId, AgentDescription), Problem> {
        let name = format!("emulated-{}-{}", self.seed, number.saturating_add(1));
        let description = AgentDescription {
            host: name.clone(),
            address: self.address.clone(),
            resources: in_turn(&self.resources, number)
                .cloned()
                .unwrap_or_default(),
            attributes: in_turn(&self.attributes, number)
                .cloned()
                .unwrap_or_default(),
            domain: domain(in_turn(&self.regions, number), in_turn(&self.zones, number))?,
            version: format!("{} (emulated)", env!("CARGO_PKG_VERSION")),
        };
        Ok((AgentId::new(&name)?, description))
    }
}

fn in_turn<T>(all: &[T], number: u32) -> Option<&T> {
    let number = usize::try_from(number).unwrap_or_default();
    let place = number.checked_rem(all.len())?;
    all.get(place)
}

fn check(options: &Options) -> Result<(), Problem> {
    let wrong =
        |field: &str, message: String| Problem::new(code::CONFIG_INVALID, message).field(field);
    if !(1..=COUNT_MAX).contains(&options.count) {
        let message = format!("{} agents cannot be emulated", options.count);
        return Err(wrong("count", message).hint(format!("give a number from 1 to {COUNT_MAX}")));
    }
    if let Some(agents) = options.agents_per_connection
        && !(1..=AGENTS_PER_CONNECTION_MAX).contains(&agents)
    {
        let message = format!("{agents} agents cannot share a connection");
        let hint = format!("give a number from 1 to {AGENTS_PER_CONNECTION_MAX}");
        return Err(wrong("agents_per_connection", message).hint(hint));
    }
    options
        .masters
        .check_plaintext(options.insecure_allow_plaintext)
        .map_err(|problem| problem.within("master"))?;
    if options.resources.is_empty() {
        let message = "agents without resources are of no use".to_owned();
        return Err(wrong("resources", message).hint("give what each has, such as cpus:4;mem:8192"));
    }
    check_domains(&options.regions, &options.zones)?;
    options
        .resources
        .iter()
        .try_for_each(crate::config::check_resources)
}

/// Each is the name of one, and there are regions when there are zones.
fn check_domains(regions: &[String], zones: &[String]) -> Result<(), Problem> {
    let (a_region, a_zone) = (regions.first(), zones.first());
    regions
        .iter()
        .try_for_each(|region| domain(Some(region), a_zone).map(drop))?;
    zones
        .iter()
        .try_for_each(|zone| domain(a_region, Some(zone)).map(drop))
}

/// One agent on each connection if open files allow it, and else several.
fn least_per_connection(count: u32, files: u64) -> u32 {
    // Half, for in a benchmark the other end may be as poor.
    let connections = (files.saturating_sub(FILES_RESERVED) / 2).clamp(1, CONNECTIONS_MAX);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    match count.div_ceil(connections) {
        0 | 1 => 1,
        shared => shared.max(SHARING_MIN),
    }
}

/// Lets this program open as many files as it may, and says how many.
fn raise_open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (current, maximum) = (
        limit.current.unwrap_or(u64::MAX),
        limit.maximum.unwrap_or(u64::MAX),
    );
    if current >= maximum {
        return current;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    }
}

fn authorization(token: &LocalToken) -> Result<MetadataValue<Ascii>, Problem> {
    let text = format!("Bearer {}", token.secret().expose());
    let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| {
        Problem::new(code::CONFIG_INVALID, "the token is not text").field("token_file")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
