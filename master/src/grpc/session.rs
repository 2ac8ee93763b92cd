//! `Scheduler.Session`: a framework's stream.
//!
//! A call that cannot be read is not the end of the session: the core answers it in its turn, as every call. Only what
//! is no protobuf message at all ends the stream.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use proffer_master_core::event::SessionId;
use proffer_model::session::Call;
use proffer_model::{Epoch, Principal, Problem, code};
use proffer_proto::{decode_call, encode_event, problem_of, status_of, v1};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::{Connection, principal_of};
use crate::inbox::{Inbox, SessionInput, overloaded};
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
        _: Request<v1::CallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        Err(Status::unimplemented("not yet"))
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
            session,
            principal,
            connection: connection.clone(),
            calls: Arc::new(Semaphore::new(SESSION_CALLS_MAX)),
            _place: place,
        };
        let opened = SessionInput::Opened { session, outbox };
        tokio::spawn(reader.run(opened, request.into_inner()));
        let epoch = self.epoch;
        let events = connection.sending(mail, move |(sequence, event)| {
            encode_event(sequence, epoch, &event)
        });
        Ok(Response::new(Box::pin(events)))
    }
}

/// The reading half of a session.
struct Reader {
    inbox: Inbox,
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
        let call = decode_call(call).and_then(|(_, call)| self.authorize(call));
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
