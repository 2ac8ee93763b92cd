//! `Scheduler`: a framework's stream, and its calls without one.
//!
//! A call that cannot be read is not the end of the session: the core answers it in its turn, as every call. Only what
//! is no protobuf message at all ends the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::Stream;
use proffer_master_core::effect::Reply;
use proffer_master_core::event::SessionId;
use proffer_model::session::{Answer, Call};
use proffer_model::{Epoch, FrameworkId, Principal, Problem, code};
use proffer_proto::{
    decode_call, encode_answered, encode_event, encode_status, problem_of, status_of, v1,
};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::state::unexpected;
use super::{Connection, decode_id, principal_of};
use crate::inbox::{Ask, Inbox, SessionInput, overloaded};
use crate::limits::{FIRST_MESSAGE_TIMEOUT, SESSION_CALLS_MAX, SESSION_OUTBOX_LEN, SESSIONS_MAX};
use crate::outbox::outbox;

/// The service.
#[derive(Debug)]
pub(crate) struct SchedulerService {
    inbox: Inbox,
    epoch: Epoch,
    places: Arc<Semaphore>,
}

impl SchedulerService {
    /// For the term of this epoch.
    pub(crate) fn new(inbox: Inbox, epoch: Epoch) -> Self {
        let places = Arc::new(Semaphore::new(SESSIONS_MAX));
        Self {
            inbox,
            epoch,
            places,
        }
    }
}

#[tonic::async_trait]
impl v1::scheduler_server::Scheduler for SchedulerService {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::SessionEvent, Status>> + Send>>;

    async fn call(
        &self,
        request: Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let framework: FrameworkId =
            decode_id(&asked.framework_id, "framework_id").map_err(status_of)?;
        let object = Object::Framework(Some(&framework));
        authorize(&principal, Action::RunFramework, object).map_err(status_of)?;
        let decoded = decode_call_of(self.epoch, asked.call.unwrap_or_default());
        let (number, call) = decoded
            .map_err(|problem| problem.within("call"))
            .map_err(status_of)?;
        let ask = Ask::Call {
            principal,
            framework,
            number,
            call,
        };
        let reply = self.inbox.ask(ask).await.map_err(status_of)?;
        let Reply::Called(statuses) = reply else {
            return Err(unexpected(&reply));
        };
        Ok(Response::new(v1::CallResponse {
            answered: Some(encode_answered(number, &Answer::Done)),
            statuses: statuses.iter().map(encode_status).collect(),
        }))
    }

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionCall>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let principal = principal_of(&request)?;
        authorize(&principal, Action::RunFramework, Object::Framework(None)).map_err(status_of)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| status_of(overloaded("too many sessions are open")))?;
        let (outbox, mail) = outbox(SESSION_OUTBOX_LEN);
        let session = SessionId(self.inbox.next_id());
        let connection = Connection::new(&mail, self.inbox.tenure.clone());
        let reader = Reader {
            inbox: self.inbox.clone(),
            epoch: self.epoch,
            session,
            principal,
            connection: connection.clone(),
            calls: Arc::new(Semaphore::new(SESSION_CALLS_MAX)),
            _place: place,
        };
        let opened = SessionInput::Opened { session, outbox };
        tokio::spawn(reader.run(opened, request.into_inner()));
        let epoch = self.epoch;
        let sent = Arc::new(AtomicU64::new(0));
        let last = Arc::clone(&sent);
        let overrun = move || overrun_at(epoch, last.load(Ordering::Relaxed));
        let events = connection.sending(mail, overrun, move |(sequence, event)| {
            sent.fetch_max(sequence, Ordering::Relaxed);
            Ok(encode_event(sequence, epoch, &event))
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The reading half of a session.
struct Reader {
    inbox: Inbox,
    epoch: Epoch,
    session: SessionId,
    principal: Principal,
    connection: Connection,
    /// Bounds the calls of this session that wait for the core.
    calls: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    async fn run(self, opened: SessionInput, mut incoming: Streaming<v1::SessionCall>) {
        if self.inbox.sessions.send(opened).await.is_err() {
            return;
        }
        tokio::select! {
            () = self.connection.is_over() => {}
            () = self.read(&mut incoming) => {}
        }
        // When the term is over, nobody needs to know.
        let session = self.session;
        let _ = self
            .inbox
            .sessions
            .send(SessionInput::Closed { session })
            .await;
    }

    /// Reads calls until the framework has no more or the term is over.
    async fn read(&self, incoming: &mut Streaming<v1::SessionCall>) {
        let Ok(first) = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, incoming.message()).await
        else {
            let problem = Problem::new(
                code::SESSION_ORDER,
                "the session was opened, but nothing was called",
            )
            .hint("send Subscribe as the first call");
            return self.connection.refuse(problem);
        };
        let mut next = first;
        loop {
            match next {
                Ok(Some(call)) => {
                    if self.pass_on(call).await.is_none() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(status) => return self.connection.refuse(problem_of(&status)),
            }
            next = incoming.message().await;
        }
    }

    /// Puts a call into the lane; `None` when the term is over.
    async fn pass_on(&self, call: v1::SessionCall) -> Option<()> {
        let permit = Arc::clone(&self.calls).acquire_owned().await.ok()?;
        let request = call.request_id;
        let call = decode_call_of(self.epoch, call).and_then(|(_, call)| self.authorize(call));
        let input = SessionInput::Called {
            session: self.session,
            principal: self.principal.clone(),
            request,
            call,
            permit,
        };
        self.inbox.sessions.send(input).await.ok()
    }

    /// To go on as a framework takes the right to be that one; who owns it is the core's to know.
    fn authorize(&self, call: Call) -> Result<Call, Problem> {
        if let Call::Subscribe { framework, .. } = &call {
            let object = Object::Framework(framework.as_ref());
            authorize(&self.principal, Action::RunFramework, object)?;
        }
        Ok(call)
    }
}

/// Decodes a call and its request id, unless it is meant for another term.
fn decode_call_of(epoch: Epoch, call: v1::SessionCall) -> Result<(u64, Call), Problem> {
    match call.epoch {
        Some(meant) if meant != epoch.0 => {
            let message = format!("the call is of term {meant}; this is term {epoch}");
            Err(Problem::new(code::SESSION_STALE_EPOCH, message)
                .field("epoch")
                .hint("subscribe anew, and see from the statuses what was done"))
        }
        _ => decode_call(call),
    }
}

/// What a session that reads too slowly is told: where it stands, so that it can go on from there.
fn overrun_at(epoch: Epoch, sent: u64) -> Problem {
    let message =
        format!("the session reads too slowly; sequence {sent} of epoch {epoch} was sent last");
    let hint = format!(
        "subscribe again with resume of epoch {epoch} and the sequence that was acknowledged last, at most {sent}"
    );
    Problem::new(code::SESSION_OVERLOADED, message).hint(hint)
}
