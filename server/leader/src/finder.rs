//! Finds the leader: keeps a connection to every master that is known, and hears from each whether it leads.
//!
//! A failover costs its callers no more than the election itself, since they are connected already to whoever leads
//! next. Each master is followed by a task of its own, so that one that is dead, frozen or talks nonsense holds up
//! nobody. What follows from what the masters say is decided in [`board`]; here it is only carried out.

mod board;
mod follow;
pub(crate) mod limits;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proffer_model::{ClusterId, Epoch, Leader, Problem, code};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::election::Observer;
use crate::masters::Masters;
use board::{Anyone, Board, Choice, Given, Verdict};
use limits::STANDBY_PATIENCE;

/// Which of a master's listeners is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// For frameworks and operators.
    Api,
    /// For agents.
    Cluster,
}

/// A leader's reign: of which cluster, and which in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The cluster.
    pub cluster: ClusterId,
    /// Grows with each term.
    pub epoch: Epoch,
}

/// How calls are authenticated.
#[derive(Clone)]
pub enum Bearer {
    /// By this, or by nothing.
    Given(Option<AsciiMetadataValue>),
    /// By what this says; it is asked before each call.
    Asked(Arc<dyn Fn() -> BearerFuture + Send + Sync>),
}

/// What [`Bearer::Asked`] answers.
pub type BearerFuture = Pin<Box<dyn Future<Output = Option<AsciiMetadataValue>> + Send>>;

/// Whom to find, and how.
#[derive(Clone, Debug)]
pub struct FinderOptions {
    /// Where masters are.
    pub masters: Masters,
    /// Which of their listeners is called.
    pub side: Side,
    /// The value of the `authorization` header.
    pub bearer: Bearer,
    /// Whether masters beyond this host may be called, although everything, the token included, travels in clear text.
    pub insecure_allow_plaintext: bool,
}

/// A master to call, over a connection that is open.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is, `host:port`.
    pub address: String,
    /// The connection.
    pub channel: Channel,
    /// The term in which it leads; absent when it did not say.
    pub term: Option<Term>,
    /// Who leads, as far as it knows; itself when it does.
    pub leader: Option<Leader>,
}

/// What is known of one master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is, `host:port`.
    pub address: String,
    /// How it stands.
    pub standing: Standing,
    /// Of its program; empty when it is not known.
    pub version: String,
}

/// How a master stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads, or says so.
    Leading(Term),
    /// It waits for its turn.
    StandingBy,
    /// It has not said how it stands, and why.
    Unknown(String),
    /// It cannot be reached, and why.
    Unreachable(String),
}

/// Knows who leads. Clones share what is known; with the last one everything that was started ends.
#[derive(Clone, Debug)]
pub struct Finder {
    shared: Arc<Shared>,
    /// Aborted when the set is dropped.
    _tasks: Arc<JoinSet<()>>,
}

/// What the finder's tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    known: Mutex<Known>,
    /// Counts what has happened.
    changed: watch::Sender<u64>,
    bearer: Bearer,
}

#[derive(Debug)]
pub(crate) struct Known {
    board: Board,
    /// To each master that has answered.
    channels: BTreeMap<String, Channel>,
    /// What is wrong with where masters are looked for.
    source: Option<String>,
}

impl Finder {
    /// Begins to look, in the background; must be called within a Tokio runtime.
    pub fn start(options: FinderOptions) -> Result<Self, Problem> {
        let mut board = Board::new(options.side, options.insecure_allow_plaintext);
        let observer = match options.masters {
            Masters::List(addresses) => {
                let given = addresses.into_iter().map(|address| Given {
                    address,
                    version: String::new(),
                });
                board.on_given(Instant::now(), given.collect());
                None
            }
            Masters::ZooKeeper(url) => Some(Observer::start(url)?),
        };
        let known = Known {
            board,
            channels: BTreeMap::new(),
            source: None,
        };
        let shared = Arc::new(Shared {
            known: Mutex::new(known),
            changed: watch::Sender::new(0),
            bearer: options.bearer,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::keep(Arc::clone(&shared)));
        if let Some(observer) = observer {
            tasks.spawn(follow::observe(Arc::clone(&shared), observer));
        }
        Ok(Self {
            shared,
            _tasks: Arc::new(tasks),
        })
    }

    /// Waits for a leader, or for a master that may be one. Cancelling it loses nothing.
    pub async fn leader(&self) -> Found {
        let mut changed = self.shared.changed.subscribe();
        loop {
            let (verdict, found) = {
                let known = self.shared.known();
                let verdict = known.board.verdict(Instant::now());
                let found = match &verdict {
                    Verdict::Call(choice) => known.found(choice),
                    Verdict::Wait(_) => None,
                };
                (verdict, found)
            };
            let wake = match (found, verdict) {
                (Some(found), _) => return found,
                (None, Verdict::Wait(wake)) => wake,
                (None, Verdict::Call(_)) => None,
            };
            tokio::select! {
                _ = changed.changed() => {}
                () = at(wake) => {}
            }
        }
    }

    /// A master to read from: the leader, or soon one that stands by, which passes reads on to it. The error says why no
    /// master can be reached, at the latest after `patience`.
    pub async fn anyone(&self, patience: Duration) -> Result<Found, Problem> {
        let mut changed = self.shared.changed.subscribe();
        let give_up = Instant::now() + patience;
        let mut settle = None;
        loop {
            let now = Instant::now();
            let anyone = self.shared.known().board.anyone(now);
            let (choice, wake) = match anyone {
                Anyone::Best(choice) => (Some(choice), give_up),
                Anyone::StandsBy {
                    choice,
                    is_all_known,
                } => {
                    let settle = *settle.get_or_insert(now + STANDBY_PATIENCE);
                    let is_enough = is_all_known || now >= settle;
                    (is_enough.then_some(choice), settle.min(give_up))
                }
                Anyone::Nobody => return Err(self.unreachable()),
                Anyone::Unknown => (None, give_up),
            };
            if let Some(found) = choice.and_then(|choice| self.shared.known().found(&choice)) {
                return Ok(found);
            }
            if now >= give_up {
                return Err(self.unreachable());
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Every master that is known, as soon as each has said how it stands, at the latest after `patience`.
    pub async fn survey(&self, patience: Duration) -> Vec<Seen> {
        let mut changed = self.shared.changed.subscribe();
        let is_settled = |seen: &[Seen]| {
            let is_open = |seen: &Seen| matches!(&seen.standing, Standing::Unknown(_));
            !seen.is_empty() && !seen.iter().any(is_open)
        };
        let give_up = Instant::now() + patience;
        loop {
            let seen = self.shared.known().board.seen();
            if is_settled(&seen) || Instant::now() >= give_up {
                return seen;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = sleep_until(give_up) => {}
            }
        }
    }

    /// Says that a master did not do what it was called for: it rests before it is found again, the longer the more
    /// often.
    pub fn failed(&self, found: &Found, why: &Problem) {
        let (now, random) = (Instant::now(), random());
        self.shared.change(|known| {
            let board = &mut known.board;
            board.on_failed(now, &found.address, &why.message, random);
        });
    }

    /// Says that a master did what it was called for.
    pub fn worked(&self, found: &Found) {
        let now = Instant::now();
        self.shared
            .change(|known| known.board.on_worked(now, &found.address));
    }

    /// Waits until a later term has begun in the cluster of this one; for ever when there is none. Whoever is served by
    /// the leader of this term may then leave it without waiting for its silence.
    pub async fn superseded(&self, term: Option<&Term>) {
        let Some(term) = term else {
            return pending().await;
        };
        let mut changed = self.shared.changed.subscribe();
        while !self.shared.known().board.is_superseded(term) {
            if changed.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    /// Why there is no leader, for people: `no leader: 10.0.0.1:5050 stands by; …`. Absent when there is one.
    pub fn trouble(&self) -> Option<String> {
        self.shared.trouble()
    }

    /// The connection to a master that has answered.
    pub fn channel(&self, address: &str) -> Option<Channel> {
        self.shared.known().channels.get(address).cloned()
    }

    fn unreachable(&self) -> Problem {
        let why = self.trouble();
        let why = why.unwrap_or_else(|| "no master answers".to_owned());
        Problem::new(code::PEER_UNREACHABLE, why)
    }
}

impl Shared {
    /// Lets something happen, and tells everybody who waits.
    pub(crate) fn change(&self, happen: impl FnOnce(&mut Known)) {
        happen(&mut self.known());
        self.changed
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn trouble(&self) -> Option<String> {
        let known = self.known();
        let source = known.source.as_deref();
        known.board.trouble(Instant::now(), source)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What happens under the lock does not panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn found(&self, choice: &Choice) -> Option<Found> {
        let channel = self.channels.get(&choice.address)?;
        Some(Found {
            address: choice.address.clone(),
            channel: channel.clone(),
            term: choice.term.clone(),
            leader: choice.leader.clone(),
        })
    }
}

impl Side {
    /// A master's address on this side.
    pub fn address_of(self, master: &Leader) -> &str {
        match self {
            Self::Api => &master.address,
            Self::Cluster => &master.cluster_address,
        }
    }
}

impl Bearer {
    async fn find(&self) -> Option<AsciiMetadataValue> {
        match self {
            Self::Given(bearer) => bearer.clone(),
            Self::Asked(ask) => ask().await,
        }
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

/// Sleeps until then, or for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// Where in its bounds a wait lies.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness everybody waits the same, which is only less kind.
    let _ = getrandom::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
