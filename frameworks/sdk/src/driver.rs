//! The background task: finds the leader, keeps a session with it, begins anew when it breaks.
//!
//! While there is no session every call fails at once, so nobody waits for something that may take long; what was called
//! before its end is called again in the next one, where that does no harm. A refusal that
//! would come again at every try is final: reconnecting after `session.fenced`, say, would take the framework away from
//! the session that took it over, for ever to and fro.

use std::pin::pin;
use std::sync::Arc;

use proffer_leader::{Bearer, Finder, Found};
use proffer_model::problem::Code;
use proffer_model::session::{Call, Event};
use proffer_model::{FrameworkDescription, Kind, Problem, code};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tonic::metadata::AsciiMetadataValue;

use crate::events::Received;
use crate::framework::bearer;
use crate::handle::{Active, Request, Session, no_session};
use crate::limits::RATE_WAIT_MAX;
use crate::link::{Ended, Held, Link, open};
use crate::memory::Memory;
use crate::pump::{Author, Pump};
use crate::token::find_local_token;
use crate::unanswered::Unanswered;

/// Refusals that end a framework's connection for good, whatever their kind.
const FINAL: [Code; 4] = [
    code::SESSION_FENCED,
    code::FRAMEWORK_COMPLETED,
    code::FRAMEWORK_FOREIGN,
    code::FRAMEWORK_UNKNOWN,
];

/// How calls are authenticated.
#[derive(Clone)]
pub(crate) enum Token {
    /// By what the author gave.
    Given(AsciiMetadataValue),
    /// By the token file of this host, read at each connection: the first start of a master may still have to make it.
    OfThisHost,
}

/// What the background task owns.
pub(crate) struct Driver {
    pub(crate) finder: Finder,
    pub(crate) token: Token,
    pub(crate) memory: Memory,
    /// What the last session has left, for the next.
    pub(crate) unanswered: Unanswered,
    /// The session that the author has said something else in, until the next has begun.
    pub(crate) held: Option<Held>,
    pub(crate) requests: mpsc::Receiver<Request>,
    pub(crate) events: mpsc::Sender<Received>,
    pub(crate) acknowledged: watch::Receiver<u64>,
    /// The session that the author has left last.
    pub(crate) left: watch::Receiver<Option<Session>>,
    /// What the author says of the framework.
    pub(crate) description: Arc<watch::Sender<FrameworkDescription>>,
    pub(crate) described: watch::Receiver<FrameworkDescription>,
    pub(crate) active: watch::Sender<Option<Active>>,
}

impl Driver {
    /// Runs until a refusal is final, or until it is aborted because the author has dropped the events.
    pub(crate) async fn run(mut self) {
        let mut is_outage_logged = false;
        loop {
            let finding = self.finder.leader();
            let found = refusing(&mut self.requests, &mut self.memory, finding).await;
            let mut held = self.held.take();
            let ended = match self.connect(&found, &mut held).await {
                Ok(link) => {
                    held = None;
                    self.finder.worked(&found);
                    is_outage_logged = false;
                    self.serve(link).await
                }
                Err(ended) => ended,
            };
            let is_served = self.active.send_replace(None).is_some();
            let is_taken_back = self.takes_back(&ended);
            let is_final = self.is_final(&ended) && !is_taken_back;
            let is_anew = is_taken_back || matches!(ended, Ended::Anew(_));
            let (Ended::Broken(problem) | Ended::Refused(problem) | Ended::Anew(problem)) = ended;
            let retry_after = problem.retry_after.map(|wait| wait.min(RATE_WAIT_MAX));
            if is_taken_back || retry_after.is_some() {
                self.held = held;
            }
            if !is_anew {
                self.finder.failed(&found, &problem);
            }
            if is_final {
                // The author is told and decides what it means.
                tracing::info!(%problem, "the session is over for good");
            } else if is_anew {
                tracing::info!(%problem, "it subscribes anew");
            } else if is_outage_logged {
                tracing::debug!(%problem, "still no session");
            } else {
                tracing::warn!(%problem, "no session with a master; trying on");
                is_outage_logged = true;
            }
            // Another program is active, or was.
            if is_final || problem.is(code::SESSION_FENCED) {
                self.unanswered.fail(&problem);
            }
            if is_served || is_final || is_taken_back {
                let sequence = self.memory.next_sequence();
                self.tell(sequence, Event::Closed(problem)).await;
            }
            if is_final {
                return;
            }
            if let Some(wait) = retry_after {
                refusing(&mut self.requests, &mut self.memory, sleep(wait)).await;
            }
        }
    }

    /// Subscribes with this master. A session that is held goes on there, if it is active there.
    async fn connect(&mut self, found: &Found, held: &mut Option<Held>) -> Result<Link, Ended> {
        match self.subscribe(found, held).await {
            // The master has said its term only now.
            Err(Ended::Anew(_)) => self.subscribe(found, held).await,
            subscribed => subscribed,
        }
    }

    async fn subscribe(&mut self, found: &Found, held: &mut Option<Held>) -> Result<Link, Ended> {
        if self.described.has_changed().unwrap_or(false) {
            let description = self.described.borrow_and_update().clone();
            self.memory.describe(description);
        }
        let is_active = held.as_ref().is_some_and(|it| it.is_active_with(found));
        let subscribe = self.memory.subscribe(is_active);
        let (request, sequence) = (self.memory.next_request(), self.memory.next_sequence());
        let mut has_stood_by = false;
        let opening = async {
            let (bearer, missing) = self.token.find().await;
            let subscribe = (request, &subscribe);
            let opened = tokio::select! {
                opened = open(found, bearer, subscribe, &self.events, sequence, &mut has_stood_by, held) => opened,
                () = self.finder.superseded(found.term.as_ref()) => Err(Ended::Broken(superseded())),
            };
            opened.map_err(|ended| explain_missing_token(ended, missing))
        };
        let opened = refusing(&mut self.requests, &mut self.memory, opening).await;
        if has_stood_by {
            // What was called before might undo what the one that was active has done since.
            self.unanswered.fail(&no_session());
        }
        let link = self.believe(opened?)?;
        if !link.is_resumed() && self.memory.resumes_in(link.active.session.epoch) {
            // The same: somebody may have been active whom this program has not met.
            self.unanswered.fail(&no_session());
        }
        Ok(link)
    }

    /// Refuses a master of an earlier epoch, or of another cluster.
    fn believe(&mut self, link: Link) -> Result<Link, Ended> {
        let session = &link.active.session;
        let (framework, cluster, epoch) = (&session.framework, &session.cluster, session.epoch);
        match self.memory.subscribed(framework, cluster, epoch) {
            Ok(()) => Ok(link),
            Err(problem) if problem.is(code::EPOCH_STALE) => Err(Ended::Broken(problem)),
            Err(problem) => Err(Ended::Refused(problem)),
        }
    }

    async fn serve(&mut self, link: Link) -> Ended {
        let session = &link.active.session;
        tracing::info!(
            framework_id = %session.framework, epoch = %session.epoch, master = %session.master,
            "subscribed"
        );
        self.memory.ledger.session_begun(link.is_resumed());
        self.active.send_replace(Some(link.active.clone()));
        // Before anything else, so that the author sees the beginning of every session of which they see the end.
        let sequence = self.memory.sequence_of(link.sequence);
        self.tell(sequence, link.subscribed.clone()).await;
        let term = session.term();
        let own = session.clone();
        let (mut left, mut described) = (self.left.clone(), self.described.clone());
        let author = Author {
            requests: &mut self.requests,
            acknowledged: &mut self.acknowledged,
            events: &self.events,
        };
        let overtaken = async {
            tokio::select! {
                () = self.finder.superseded(Some(&term)) => Ended::Broken(superseded()),
                Ok(()) = described.changed() => {
                    Ended::Anew(Problem::new(code::PEER_UNREACHABLE, "the framework subscribes anew"))
                }
                Ok(_) = left.wait_for(|left| left.as_ref() == Some(&own)) => {
                    Ended::Broken(Problem::new(code::PEER_UNREACHABLE, "the author has left the session"))
                }
            }
        };
        let pump = Pump::new(&mut self.memory, link, &mut self.unanswered);
        let (ended, unanswered, held) = pump.run(author, pin!(overtaken)).await;
        (self.unanswered, self.held) = (unanswered, held);
        ended
    }

    /// Tells the author something that must not be lost; waits until they have taken what came before.
    async fn tell(&mut self, sequence: u64, event: Event) {
        if self.events.capacity() == 0 {
            // They may wait for one of these answers before they take the next event.
            self.unanswered.fail(&no_session());
        }
        let telling = self.events.send(Received { sequence, event });
        // It fails only when nobody listens any more; then this task is about to be aborted.
        let _ = refusing(&mut self.requests, &mut self.memory, telling).await;
    }

    /// Whether what the author has said of the framework last is refused, which then is again what it was before.
    fn takes_back(&mut self, ended: &Ended) -> bool {
        let Ended::Refused(problem) = ended else {
            return false;
        };
        let Some((refused, former)) = self.memory.take_back(problem) else {
            return false;
        };
        tracing::warn!(%problem, "what the framework says of itself is refused, and stays what it was");
        self.description.send_if_modified(|last| {
            if *last == refused {
                *last = former;
            }
            false
        });
        true
    }

    /// Whether trying again would be answered the same.
    fn is_final(&self, ended: &Ended) -> bool {
        let Ended::Refused(problem) = ended else {
            return false;
        };
        match problem.kind {
            Kind::Conflict if self.memory.stands_by() && problem.is(code::SESSION_FENCED) => false,
            Kind::Invalid | Kind::Forbidden => true,
            Kind::Unauthenticated => matches!(self.token, Token::Given(_)),
            Kind::NotFound
            | Kind::Conflict
            | Kind::Exhausted
            | Kind::Unavailable
            | Kind::Internal => FINAL.iter().any(|code| problem.is(*code)),
        }
    }
}

impl Token {
    /// The header, or why there is none.
    async fn find(&self) -> (Option<AsciiMetadataValue>, Option<Problem>) {
        match self {
            Self::Given(bearer) => (Some(bearer.clone()), None),
            Self::OfThisHost => match find_local_token().await {
                Ok(token) => (bearer(token.expose()).ok(), None),
                Err(problem) => (None, Some(problem)),
            },
        }
    }
}

impl From<Token> for Bearer {
    fn from(token: Token) -> Self {
        let token = Arc::new(token);
        Self::Asked(Arc::new(move || {
            let token = Arc::clone(&token);
            Box::pin(async move { token.find().await.0 })
        }))
    }
}

fn superseded() -> Problem {
    Problem::new(code::PEER_UNREACHABLE, "another master leads by now")
}

/// A master that wants a token where none was found: why none was found says more.
fn explain_missing_token(ended: Ended, missing: Option<Problem>) -> Ended {
    match (ended, missing) {
        (Ended::Refused(problem), Some(missing)) if problem.kind == Kind::Unauthenticated => {
            Ended::Refused(missing)
        }
        (ended, _) => ended,
    }
}

/// Waits for something while there is no session: calls fail at once. A demand is kept all the same, since the latest one
/// is sent as soon as there is a session.
async fn refusing<F: Future>(
    requests: &mut mpsc::Receiver<Request>,
    memory: &mut Memory,
    work: F,
) -> F::Output {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            // What is called after the work is done is no longer refused.
            biased;
            output = &mut work => return output,
            Some(request) = requests.recv() => {
                let kept = match &request.call {
                    Call::SetDemand(demand) => memory.keep_demand(demand.clone()).map(drop),
                    _ => Ok(()),
                };
                let problem = kept.err().unwrap_or_else(no_session);
                request.refuse(&memory.ledger, problem);
            }
        }
    }
}
