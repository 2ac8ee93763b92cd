//! One emulated agent: the machine, its link to the leader, and the time that passes.
//!
//! Agents that share a connection share what finds the leader, as the parts of one program would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proffer_agent_core::{Event, LinkId};
use proffer_leader::{Finder, Found, Term};
use proffer_model::link::ToAgent;
use proffer_model::{Problem, code};
use proffer_proto::{decode_to_agent, problem_of, v1};
use proffer_server::clock;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::Shared;
use super::fate::mix;
use super::limits::{FAILURE_TOLD_INTERVAL, MESSAGES_TOGETHER_MAX, RETRY_FIRST, RETRY_MAX};
use super::machine::Machine;
use super::stream::{Outgoing, open};

/// How long an agent sleeps for which nothing is due.
const IDLE: Duration = Duration::from_secs(3_600);

/// Held by an agent that registers.
type Turn = Option<OwnedSemaphorePermit>;

/// What agents on one connection share.
#[derive(Debug)]
pub(super) struct Group {
    shared: Arc<Shared>,
    finder: Finder,
    /// When the finder was last told of a failure, if that is the last it was told.
    failed_at: Mutex<Option<Instant>>,
}

impl Group {
    pub(super) fn new(shared: Arc<Shared>, finder: Finder) -> Self {
        Self {
            shared,
            finder,
            failed_at: Mutex::new(None),
        }
    }

    /// Waits until a leader has been found for the first time.
    pub(super) async fn connected(&self) {
        self.finder.leader().await;
    }

    /// A link has ended. One agent speaks for all, or the master would rest as often as there are agents.
    fn failed(&self, found: &Found, why: &Problem) {
        let now = Instant::now();
        let mut failed_at = self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_told = failed_at.is_some_and(|at| now.duration_since(at) < FAILURE_TOLD_INTERVAL);
        if !is_told {
            *failed_at = Some(now);
            self.finder.failed(found, why);
        }
    }

    /// An agent is registered.
    fn worked(&self, found: &Found) {
        let mut failed_at = self
            .failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if failed_at.take().is_some() {
            self.finder.worked(found);
        }
    }
}

/// An agent and where its link stands.
pub(super) struct Agent {
    group: Arc<Group>,
    machine: Machine,
    link: Link,
    /// Where jitter comes from.
    seed: u64,
    /// How often a link was tried in vain since the last welcome.
    tries: u32,
}

/// How far a link is.
enum Link {
    /// There is none, and nothing is done about it. For no longer than a moment.
    Parted,
    /// There is none; a leader is looked for.
    Looking(BoxFuture<'static, (Found, Turn)>),
    /// The leader was called and has not answered.
    Opening(
        Called,
        BoxFuture<'static, Result<Streaming<v1::ToAgent>, Problem>>,
    ),
    /// The leader answers.
    Open(Called, Box<Streaming<v1::ToAgent>>),
}

/// Whom, and in which turn.
struct Called {
    link: LinkId,
    found: Box<Found>,
    term: Option<Term>,
    /// Held until the agent is registered.
    turn: Turn,
}

/// What a link has come to.
#[allow(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack"
)]
enum Happened {
    Found(Found, Turn),
    Opened(Result<Streaming<v1::ToAgent>, Problem>),
    Message(Result<Option<v1::ToAgent>, Status>),
    Superseded,
}

impl Agent {
    pub(super) fn new(group: Arc<Group>, machine: Machine, seed: u64) -> Self {
        let link = Link::Looking(look(&group, Duration::ZERO));
        Self {
            group,
            machine,
            link,
            seed,
            tries: 0,
        }
    }

    /// Lives until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let now = clock::now();
            let wait = self.machine.next_ns().map_or(IDLE, |at| {
                Duration::from_nanos(at.saturating_sub(now.mono_ns))
            });
            tokio::select! {
                happened = next(&mut self.link, &self.group.finder) => {
                    self.take(happened);
                    self.hear_more();
                }
                () = sleep(wait) => {}
            }
            self.machine.pass(clock::now());
            self.look_at_link();
        }
    }

    fn take(&mut self, happened: Happened) {
        let now = clock::now();
        match happened {
            Happened::Found(found, turn) => self.call(found, turn),
            Happened::Opened(Ok(incoming)) => {
                if let Link::Opening(called, _) = std::mem::replace(&mut self.link, Link::Parted) {
                    self.link = Link::Open(called, Box::new(incoming));
                }
            }
            Happened::Opened(Err(problem)) => self.give_up(&problem),
            Happened::Superseded => self.give_up(&gone("another master leads by now")),
            Happened::Message(Ok(Some(message))) => match decode_to_agent(message) {
                Ok(message) => self.hear(message),
                Err(problem) => self.give_up(&problem),
            },
            Happened::Message(Ok(None)) => self.give_up(&gone("the master has ended the link")),
            Happened::Message(Err(status)) => self.give_up(&problem_of(&status)),
        }
        self.machine.pass(now);
    }

    /// Takes what has come together with the last message.
    fn hear_more(&mut self) {
        for _ in 0..MESSAGES_TOGETHER_MAX {
            let Link::Open(_, incoming) = &mut self.link else {
                return;
            };
            match incoming.message().now_or_never() {
                Some(message) => self.take(Happened::Message(message)),
                None => return,
            }
        }
    }

    fn call(&mut self, found: Found, turn: Turn) {
        let outgoing = Outgoing::default();
        let link = self.machine.open(clock::now(), outgoing.clone());
        let authorization = self.group.shared.authorization.clone();
        let opening = Box::pin(open(found.channel.clone(), authorization, outgoing));
        let called = Called {
            link,
            term: found.term.clone(),
            found: Box::new(found),
            turn,
        };
        self.link = Link::Opening(called, opening);
    }

    fn hear(&mut self, message: ToAgent) {
        let Link::Open(called, _) = &mut self.link else {
            return;
        };
        if let ToAgent::Welcome { cluster, epoch, .. } = &message {
            called.term = Some(Term {
                cluster: cluster.clone(),
                epoch: *epoch,
            });
        }
        let link = called.link;
        let event = Event::LinkMessage { link, message };
        self.machine.step(clock::now(), event);
    }

    /// Ends what the machine has ended, and lets the next one register once this one is.
    fn look_at_link(&mut self) {
        let called = match &mut self.link {
            Link::Parted | Link::Looking(_) => return,
            Link::Opening(called, _) | Link::Open(called, _) => called,
        };
        if !self.machine.is_linked() {
            self.give_up(&gone("the agent has closed the link"));
        } else if self.machine.is_registered() && called.turn.take().is_some() {
            self.tries = 0;
            self.group.worked(&called.found);
        }
    }

    fn give_up(&mut self, why: &Problem) {
        let called = match self.replace_link() {
            Link::Parted | Link::Looking(_) => return,
            Link::Opening(called, _) | Link::Open(called, _) => called,
        };
        self.machine.close(clock::now(), called.link);
        self.group.shared.unlinked(why);
        self.group.failed(&called.found, why);
    }

    /// Looks for a leader after a pause; answers what there was before.
    fn replace_link(&mut self) -> Link {
        let pause = pause(self.tries, mix(self.seed ^ u64::from(self.tries)));
        self.tries = self.tries.saturating_add(1);
        let looking = Link::Looking(look(&self.group, pause));
        std::mem::replace(&mut self.link, looking)
    }
}

/// Waits for what comes of a link. Cancelling it loses nothing.
async fn next(link: &mut Link, finder: &Finder) -> Happened {
    match link {
        Link::Parted => std::future::pending().await,
        Link::Looking(looking) => {
            let (found, turn) = looking.await;
            Happened::Found(found, turn)
        }
        Link::Opening(called, opening) => tokio::select! {
            opened = opening => Happened::Opened(opened),
            () = finder.superseded(called.term.as_ref()) => Happened::Superseded,
        },
        Link::Open(called, incoming) => tokio::select! {
            message = incoming.message() => Happened::Message(message),
            () = finder.superseded(called.term.as_ref()) => Happened::Superseded,
        },
    }
}

fn look(group: &Arc<Group>, pause: Duration) -> BoxFuture<'static, (Found, Turn)> {
    let group = Arc::clone(group);
    Box::pin(async move {
        sleep(pause).await;
        let turn = group.shared.turn().await;
        (group.finder.leader().await, turn)
    })
}

/// Between half of a bound and the bound, which doubles with each try; `random` says where.
fn pause(tries: u32, random: u64) -> Duration {
    let factor = 1_u32.checked_shl(tries).unwrap_or(u32::MAX);
    let bound = RETRY_FIRST.saturating_mul(factor).min(RETRY_MAX);
    let half_ns = u64::try_from((bound / 2).as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    bound / 2 + Duration::from_nanos(random % half_ns)
}

fn gone(why: &str) -> Problem {
    Problem::new(code::PEER_UNREACHABLE, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_limit_and_differ_between_agents() {
        for tries in 0..70 {
            for seed in 0..50 {
                let pause = pause(tries, mix(seed));
                assert!(pause >= RETRY_FIRST / 2 && pause <= RETRY_MAX, "{pause:?}");
            }
        }
        assert!(pause(6, 0) >= RETRY_MAX / 2);
        assert_ne!(pause(3, mix(1)), pause(3, mix(2)));
    }
}
