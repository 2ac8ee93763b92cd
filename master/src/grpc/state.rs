//! `FrameworkState`: a framework's durable values, asked of the core, which knows whose they are and what is current.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use proffer_master_core::effect::{Reply, StateChange};
use proffer_master_core::event::{StateCall, WatchId};
use proffer_model::{FrameworkId, Generation, Principal, Problem, StateKey, code};
use proffer_proto::{status_of, v1};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::{Notify, Semaphore, mpsc};
use tonic::{Request, Response, Status};

use super::{Connection, decode_id, overrun, principal_of};
use crate::inbox::{Ask, Inbox, SessionInput, Watched, overloaded};
use crate::limits::{STATE_WATCHES_MAX, WATCH_OUTBOX_LEN};
use crate::outbox::outbox;
use crate::waiting::Load;

/// An entry besides its key and its value, in a message.
const STATE_ENTRY_LEN: usize = 16;

/// The service.
#[derive(Debug)]
pub(crate) struct StateService {
    inbox: Inbox,
    places: Arc<Semaphore>,
}

impl StateService {
    /// For one term.
    pub(crate) fn new(inbox: Inbox) -> Self {
        let places = Arc::new(Semaphore::new(STATE_WATCHES_MAX));
        Self { inbox, places }
    }

    async fn ask(
        &self,
        principal: Principal,
        framework_id: &str,
        generation: u64,
        call: Result<StateCall, Problem>,
    ) -> Result<(Reply, Option<Load>), Status> {
        let framework: FrameworkId = decode_id(framework_id, "framework_id").map_err(status_of)?;
        let object = Object::Framework(Some(&framework));
        authorize(&principal, Action::RunFramework, object).map_err(status_of)?;
        let ask = Ask::State {
            principal,
            framework: framework.clone(),
            generation: Generation(generation),
            call: call.map_err(status_of)?,
        };
        let reply = self.inbox.ask(ask).await.map_err(status_of)?;
        let load = self.inbox.replies.take(&framework, weight_of(&reply));
        Ok((reply, load.map_err(status_of)?))
    }
}

#[tonic::async_trait]
impl v1::framework_state_server::FrameworkState for StateService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<v1::WatchStateResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<v1::WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let framework: FrameworkId =
            decode_id(&asked.framework_id, "framework_id").map_err(status_of)?;
        let object = Object::Framework(Some(&framework));
        authorize(&principal, Action::RunFramework, object).map_err(status_of)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| status_of(overloaded("too many watches are open")))?;
        let (outbox, mail) = outbox(WATCH_OUTBOX_LEN);
        let watch = WatchId(self.inbox.next_id());
        let connection = Connection::new(&mail, self.inbox.tenure.clone());
        let opened = SessionInput::WatchOpened {
            watch,
            principal,
            framework,
            generation: Generation(asked.generation),
            prefix: asked.prefix,
            outbox,
        };
        let lane = self.inbox.sessions.clone();
        let listening = connection.clone();
        let taken = Arc::new(Notify::new());
        let is_taken = Arc::clone(&taken);
        tokio::spawn(async move {
            let _place = place;
            // When the term is over, nobody needs to know.
            if lane.send(opened).await.is_ok() {
                tokio::select! {
                    () = listening.is_over() => {}
                    () = say_taken(&lane, watch, &is_taken) => {}
                }
                let _ = lane.send(SessionInput::WatchClosed { watch }).await;
            }
        });
        let changes = connection.sending(mail, overrun, move |watched: Watched| {
            if watched.asks_on {
                taken.notify_one();
            }
            watched.what.map(encode_change)
        });
        // A refusal is the answer to the call, as of the others.
        Ok(Response::new(Box::pin(changes.begun().await?)))
    }

    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let call = decode_id(&asked.key, "key").map(|key| StateCall::Get { key });
        let (reply, load) = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let Reply::State { value, version } = reply else {
            return Err(unexpected(&reply));
        };
        let entry = Some(encode_entry(asked.key, value, version));
        Ok(counted(v1::GetStateResponse { entry }, load))
    }

    async fn put(
        &self,
        request: Request<v1::PutStateRequest>,
    ) -> Result<Response<v1::PutStateResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let call = decode_id::<StateKey>(&asked.key, "key").map(|key| StateCall::Put {
            key,
            value: asked.value.into(),
            expected: asked.expected_version,
        });
        let (reply, _) = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let Reply::Written { version } = reply else {
            return Err(unexpected(&reply));
        };
        Ok(Response::new(v1::PutStateResponse { version }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteStateRequest>,
    ) -> Result<Response<v1::DeleteStateResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let call = decode_id::<StateKey>(&asked.key, "key").map(|key| StateCall::Delete {
            key,
            expected: asked.expected_version,
        });
        let (reply, _) = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let Reply::Deleted = reply else {
            return Err(unexpected(&reply));
        };
        Ok(Response::new(v1::DeleteStateResponse {}))
    }

    async fn list(
        &self,
        request: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let prefix = asked.prefix;
        let call = match asked.after.as_deref() {
            None => Ok(StateCall::List { prefix }),
            Some("") => Ok(StateCall::ListPage {
                prefix,
                after: None,
            }),
            Some(after) => decode_id(after, "after").map(|after| StateCall::ListPage {
                prefix,
                after: Some(after),
            }),
        };
        let (reply, load) = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let (states, has_more) = match reply {
            Reply::States(states) => (states, false),
            Reply::StatePage { states, has_more } => (states, has_more),
            other => return Err(unexpected(&other)),
        };
        let entry = |(key, value, version): (StateKey, Arc<[u8]>, u64)| {
            encode_entry(key.to_string(), value, version)
        };
        let entries = states.into_iter().map(entry).collect();
        Ok(counted(v1::ListStateResponse { entries, has_more }, load))
    }
}

/// Tells the driver each time that a watch takes what it was to say of, until the term is over.
async fn say_taken(lane: &mpsc::Sender<SessionInput>, watch: WatchId, taken: &Notify) {
    loop {
        taken.notified().await;
        if lane.send(SessionInput::WatchTaken { watch }).await.is_err() {
            return;
        }
    }
}

fn encode_change(change: StateChange) -> v1::WatchStateResponse {
    use v1::watch_state_response::Change;
    let change = match change {
        StateChange::Put {
            key,
            value,
            version,
        } => Change::Put(encode_entry(key.to_string(), value, version)),
        StateChange::Deleted { key } => Change::Deleted(key.to_string()),
        StateChange::UpToDate => Change::UpToDate(true),
    };
    v1::WatchStateResponse {
        change: Some(change),
    }
}

fn encode_entry(key: String, value: Arc<[u8]>, version: u64) -> v1::StateEntry {
    v1::StateEntry {
        key,
        value: Bytes::from_owner(value),
        version,
    }
}

/// Bytes that an answer takes while it waits for who asked, about.
fn weight_of(reply: &Reply) -> usize {
    let entry = |key: usize, value: &[u8]| key + value.len() + STATE_ENTRY_LEN;
    match reply {
        Reply::State { value, .. } => entry(0, value),
        Reply::States(states) | Reply::StatePage { states, .. } => {
            let entries = states.iter();
            entries
                .map(|(key, value, _)| entry(key.as_str().len(), value))
                .sum()
        }
        _ => 0,
    }
}

/// An answer whose bytes count until its connection has taken them.
pub(super) fn counted<T>(message: T, load: Option<Load>) -> Response<T> {
    let mut response = Response::new(message);
    if let Some(load) = load {
        response.extensions_mut().insert(load);
    }
    response
}

/// The core answers each call in its own form; anything else is a defect. The reply itself may hold secrets.
pub(super) fn unexpected(_: &Reply) -> Status {
    status_of(Problem::new(
        code::INTERNAL,
        "the core answered something else than was asked",
    ))
}
