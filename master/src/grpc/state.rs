//! `FrameworkState`: a framework's durable values, asked of the core, which knows whose they are and what is current.

use bytes::Bytes;
use proffer_master_core::effect::Reply;
use proffer_master_core::event::StateCall;
use proffer_model::{FrameworkId, Generation, Principal, Problem, StateKey, code};
use proffer_proto::{status_of, v1};
use proffer_server::auth::{Action, Object, authorize};
use tonic::{Request, Response, Status};

use super::{decode_id, principal_of};
use crate::inbox::{Ask, Inbox};

/// The service.
#[derive(Debug)]
pub(crate) struct StateService {
    inbox: Inbox,
}

impl StateService {
    /// For one term.
    pub(crate) fn new(inbox: Inbox) -> Self {
        Self { inbox }
    }

    async fn ask(
        &self,
        principal: Principal,
        framework_id: &str,
        generation: u64,
        call: Result<StateCall, Problem>,
    ) -> Result<Reply, Status> {
        let framework: FrameworkId = decode_id(framework_id, "framework_id").map_err(status_of)?;
        let object = Object::Framework(Some(&framework));
        authorize(&principal, Action::RunFramework, object).map_err(status_of)?;
        let ask = Ask::State {
            principal,
            framework,
            generation: Generation(generation),
            call: call.map_err(status_of)?,
        };
        self.inbox.ask(ask).await.map_err(status_of)
    }
}

#[tonic::async_trait]
impl v1::framework_state_server::FrameworkState for StateService {
    type WatchStream = tokio_stream::Empty<Result<v1::WatchStateResponse, Status>>;

    async fn watch(
        &self,
        _: Request<v1::WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let principal = principal_of(&request)?;
        let asked = request.into_inner();
        let call = decode_id(&asked.key, "key").map(|key| StateCall::Get { key });
        let reply = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let Reply::State { value, version } = reply else {
            return Err(unexpected(&reply));
        };
        let entry = Some(encode_entry(asked.key, value, version));
        Ok(Response::new(v1::GetStateResponse { entry }))
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
        let reply = self
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
        let reply = self
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
        let call = Ok(StateCall::List {
            prefix: asked.prefix,
        });
        let reply = self
            .ask(principal, &asked.framework_id, asked.generation, call)
            .await?;
        let Reply::States(states) = reply else {
            return Err(unexpected(&reply));
        };
        let entry = |(key, (value, version)): (StateKey, (Vec<u8>, u64))| {
            encode_entry(key.to_string(), value, version)
        };
        let entries = states.into_iter().map(entry).collect();
        Ok(Response::new(v1::ListStateResponse { entries }))
    }
}

fn encode_entry(key: String, value: Vec<u8>, version: u64) -> v1::StateEntry {
    v1::StateEntry {
        key,
        value: Bytes::from(value),
        version,
    }
}

/// The core answers each call in its own form; anything else is a defect. The reply itself may hold secrets.
pub(super) fn unexpected(_: &Reply) -> Status {
    status_of(Problem::new(
        code::INTERNAL,
        "the core answered something else than was asked",
    ))
}
