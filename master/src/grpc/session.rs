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
    decode_call, encode_answered, encode_event, encode_status, has_patterns, problem_of, status_of,
    v1,
};
use proffer_server::auth::{Action, Object, authorize};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

use super::state::{counted, unexpected};
use super::{Connection, decode_id, principal_of};
use crate::background::Background;
use crate::inbox::{Ask, Inbox, SessionInput, overloaded};
use crate::limits::{FIRST_MESSAGE_TIMEOUT, SESSION_CALLS_MAX, SESSION_OUTBOX_LEN, SESSIONS_MAX};
use crate::outbox::outbox;
use crate::waiting::Waiting;

/// The service.
#[derive(Debug)]
pub(crate) struct SchedulerService {
    inbox: Inbox,
    epoch: Epoch,
    places: Arc<Semaphore>,
    background: Background,
}

impl SchedulerService {
    /// For the term of this epoch.
    pub(crate) fn new(inbox: Inbox, epoch: Epoch, background: Background) -> Self {
        let places = Arc::new(Semaphore::new(SESSIONS_MAX));
        Self {
            inbox,
            epoch,
            places,
            background,
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
        // Counted until it is answered.
        let load = self.inbox.waiting().take(asked.encoded_len());
        let _load = load.map_err(status_of)?;
        let framework: FrameworkId =
            decode_id(&asked.framework_id, "framework_id").map_err(status_of)?;
        let object = Object::Framework(Some(&framework));
        authorize(&principal, Action::RunFramework, object).map_err(status_of)?;
        let call = asked.call.unwrap_or_default();
        let decoded = decode_in_turn(self.epoch, call, &principal, &self.background).await;
        let (number, call) = decoded
            .map_err(|problem| problem.within("call"))
            .map_err(status_of)?;
        let is_question = matches!(call, Call::Reconcile { .. });
        let ask = Ask::Call {
            principal,
            framework: framework.clone(),
            number,
            call,
        };
        let reply = self.inbox.ask(ask).await.map_err(status_of)?;
        let Reply::Called(statuses) = reply else {
            return Err(unexpected(&reply));
        };
        let answer = v1::CallResponse {
            answered: Some(encode_answered(number, &Answer::Done)),
            statuses: statuses.iter().map(encode_status).collect(),
        };
        // What was done is said in any case.
        let bytes = if is_question { answer.encoded_len() } else { 0 };
        let load = self.inbox.replies.take(&framework, bytes);
        Ok(counted(answer, load.map_err(status_of)?))
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
            waiting: self.inbox.waiting(),
            background: self.background.clone(),
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
    /// And their bytes.
    waiting: Waiting,
    /// Where their patterns are compiled.
    background: Background,
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
        let (load, call) = match self.waiting.take(call.encoded_len()) {
            Ok(load) => {
                let (principal, background) = (&self.principal, &self.background);
                let call = decode_in_turn(self.epoch, call, principal, background).await;
                (load, call.and_then(|(_, call)| self.authorize(call)))
            }
            Err(problem) => (None, Err(problem)),
        };
        let called = SessionInput::Called {
            session: self.session,
            principal: self.principal.clone(),
            request,
            call,
            permit,
        };
        let input = SessionInput::heavy(load, called);
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

/// Decodes a call, and one with patterns where that takes the time of nobody else.
async fn decode_in_turn(
    epoch: Epoch,
    call: v1::SessionCall,
    principal: &Principal,
    background: &Background,
) -> Result<(u64, Call), Problem> {
    match has_patterns(&call) {
        true => {
            let decoded = background.compile(principal, move || decode_call_of(epoch, call));
            decoded.await.flatten()
        }
        false => decode_call_of(epoch, call),
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

#[cfg(test)]
mod tests {
    use futures::poll;
    use proffer_model::limits::MESSAGE_LEN_MAX;

    use super::*;
    use crate::inbox::{Numbered, lanes};
    use crate::limits::SESSION_CALLS_BYTES_MAX;
    use crate::tenure::Tenure;

    fn message(len: usize) -> v1::SessionCall {
        let message = v1::SendMessage {
            agent_id: "a".into(),
            executor_id: "e".into(),
            data: vec![0; len],
        };
        v1::SessionCall {
            request_id: 1,
            epoch: None,
            call: Some(v1::session_call::Call::SendMessage(message)),
        }
    }

    fn reader(inbox: Inbox) -> Reader {
        let background = Background::start().expect("threads");
        let service = SchedulerService::new(inbox.clone(), Epoch(1), background.clone());
        let (_outbox, mail) = outbox::<Numbered>(1);
        let place = Arc::clone(&service.places).try_acquire_owned();
        Reader {
            session: SessionId(1),
            epoch: Epoch(1),
            principal: "p".parse().expect("a name"),
            connection: Connection::new(&mail, Tenure::forever()),
            calls: Arc::new(Semaphore::new(SESSION_CALLS_MAX)),
            waiting: inbox.waiting(),
            background,
            _place: place.expect("a place"),
            inbox,
        }
    }

    /// A demand for hosts that match this.
    fn demand(pattern: &str) -> v1::SessionCall {
        let matches = v1::Matches {
            pattern: pattern.to_owned(),
            of: Some(v1::matches::Of::Host(v1::Each {})),
        };
        let matches = v1::Predicate {
            test: Some(v1::predicate::Test::Matches(matches)),
        };
        let not = v1::predicate::Test::Not(Box::new(matches));
        let demand = v1::SetDemand {
            role: "r".to_owned(),
            generation: 1,
            entries: vec![v1::DemandEntry {
                id: "e".to_owned(),
                count: 1,
                predicates: vec![v1::Predicate { test: Some(not) }],
                ..v1::DemandEntry::default()
            }],
        };
        v1::SessionCall {
            request_id: 2,
            epoch: None,
            call: Some(v1::session_call::Call::SetDemand(demand)),
        }
    }

    #[tokio::test]
    async fn patterns_are_compiled_where_no_call_of_another_session_waits_for_them() {
        let (inbox, mut lanes) = lanes(Tenure::forever());
        let [reader, other] = [(); 2].map(|()| reader(inbox.clone()));
        for (pattern, is_one) in [("web-[0-9]+", true), ("web-(", false)] {
            let mut compiling = std::pin::pin!(reader.pass_on(demand(pattern)));
            assert!(poll!(&mut compiling).is_pending(), "elsewhere");
            other.pass_on(message(1)).await.expect("it leads");
            compiling.await.expect("it leads");
            lanes.top_up(true);
            let inputs = std::mem::take(&mut lanes.turn.sessions);
            let called = inputs.into_iter().map(|input| match input {
                SessionInput::Called { request, call, .. } => (request, call.is_ok()),
                other => panic!("{other:?}"),
            });
            assert_eq!(called.collect::<Vec<_>>(), [(1, true), (2, is_one)]);
        }
    }

    #[tokio::test]
    async fn calls_that_wait_are_bounded_by_their_bytes_and_those_beyond_are_told_when_to_try_again()
     {
        let (inbox, mut lanes) = lanes(Tenure::forever());
        let reader = reader(inbox);
        let large = MESSAGE_LEN_MAX - 1_024;
        let fit = SESSION_CALLS_BYTES_MAX / large;
        for len in std::iter::repeat_n(large, fit + 1).chain([1]) {
            reader.pass_on(message(len)).await.expect("it leads");
        }
        lanes.top_up(true);
        let mut refused = 0;
        for input in std::mem::take(&mut lanes.turn.sessions) {
            let input = match input {
                SessionInput::Heavy { called, .. } => *called,
                other => other,
            };
            let SessionInput::Called { call, .. } = input else {
                panic!("{input:?}")
            };
            if let Err(problem) = call
                && problem.is(code::SESSION_RATE_LIMITED)
            {
                assert!(problem.retry_after.is_some());
                refused += 1;
            }
        }
        assert_eq!(refused, 1, "and not the small one");
        reader.pass_on(message(large)).await.expect("it leads");
        lanes.top_up(true);
        let again = lanes.turn.sessions.pop();
        assert!(
            matches!(again, Some(SessionInput::Heavy { .. })),
            "room again"
        );
    }
}
