//! `Operator`: what operators and their tools see, from the view, and what they change. Why demand is not met and how roles
//! stand is asked of the core.

use std::sync::Arc;

use proffer_master_core::effect::Reply;
use proffer_master_core::event::{DemandPart, OperatorCall, Resize};
use proffer_model::operation::Operation;
use proffer_model::{Epoch, FrameworkId, Problem, Resources, code};
use proffer_proto::{
    decode_deadline, decode_kill_task, decode_quota, decode_resources, decode_volume_change,
    decode_weight, encode_leader, status_of, v1,
};
use proffer_server::auth::{Action, Object, authorize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};

use super::state::unexpected;
use super::{decode_id, principal_of};
use crate::attended::Attended;
use crate::background::Background;
use crate::inbox::{Ask, Inbox, not_leading, overloaded};
use crate::limits::{BACKUPS_MAX, OPERATOR_WATCHES_MAX, PAGES_AT_ONCE_MAX, WATCH_UNREAD_MAX};
use crate::standing::{Side, Standing};
use crate::tenure::Tenure;
use crate::view::{Snapshot, View};
use crate::writer::Copies;

mod backup;
mod encode;
mod lists;
mod page;
mod watch;

use encode::{encode_explanation, encode_role};
use page::{check_entries, decode_filter, decode_part, malformed};
use watch::Watch;

pub(crate) use page::ids_of_token;
pub(crate) use watch::followed_from;

/// The service. Without a term it only says how this master stands.
#[derive(Debug)]
pub(crate) struct OperatorService {
    standing: Arc<Standing>,
    term: Option<(Inbox, Desk)>,
    /// Of what is durable; none without a term.
    copies: Option<Copies>,
    /// For watches.
    places: Arc<Semaphore>,
    /// For backups.
    backups: Arc<Semaphore>,
}

/// Where pages of one term are written.
#[derive(Clone, Debug)]
struct Desk {
    view: View,
    tenure: Tenure,
    epoch: Epoch,
    places: Arc<Semaphore>,
    /// For what nobody is late by.
    background: Background,
}

impl Desk {
    /// Writes something that must keep up, away from what must not wait.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.place().await?;
        let written = tokio::task::spawn_blocking(move || {
            let _place = place;
            write()
        });
        written.await.map_err(|_| unwritten())
    }

    /// Writes something of how things stand when its turn has come: what waits keeps no snapshot. Launches come first.
    async fn write_of_now<T: Send + 'static>(
        &self,
        write: impl FnOnce(&Snapshot) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let place = self.place().await?;
        let snapshot = self.view.snapshot().await?;
        let written = self.background.run(move || {
            // Kept to the end of the work, though its caller may hang up before.
            let _place = place;
            write(&snapshot)
        });
        written.await.ok_or_else(unwritten)
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| unwritten())
    }
}

fn unwritten() -> Problem {
    Problem::new(code::INTERNAL, "the answer could not be written")
}

impl OperatorService {
    /// For the term of this epoch.
    pub(crate) fn leading(
        standing: Arc<Standing>,
        inbox: Inbox,
        view: View,
        copies: Copies,
        epoch: Epoch,
        background: Background,
    ) -> Self {
        let desk = Desk {
            view,
            tenure: inbox.tenure.clone(),
            epoch,
            places: Arc::new(Semaphore::new(PAGES_AT_ONCE_MAX)),
            background,
        };
        Self {
            standing,
            term: Some((inbox, desk)),
            copies: Some(copies),
            places: Arc::new(Semaphore::new(OPERATOR_WATCHES_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        }
    }

    /// For all terms, and the time between them.
    pub(crate) fn standing(standing: Arc<Standing>) -> Self {
        Self {
            standing,
            term: None,
            copies: None,
            places: Arc::new(Semaphore::new(0)),
            backups: Arc::new(Semaphore::new(0)),
        }
    }

    /// Answers from a snapshot.
    async fn list<Q, R>(
        &self,
        request: Request<Q>,
        list: impl FnOnce(&Snapshot, &Q) -> Result<R, Problem> + Send + 'static,
    ) -> Result<Response<R>, Status>
    where
        Q: Send + Sync + 'static,
        R: Send + 'static,
    {
        authorize_read(&request, Object::Cluster)?;
        let (_, desk) = self.term()?;
        let asked = request.into_inner();
        let listed = desk
            .write_of_now(move |snapshot| list(snapshot, &asked))
            .await;
        let listed = listed.and_then(|listed| listed).map_err(status_of)?;
        if !desk.tenure.holds() {
            return Err(status_of(not_leading()));
        }
        Ok(Response::new(listed))
    }

    /// Does a change of the cluster that the caller may make.
    async fn operate<Q, R: Default>(
        &self,
        request: Request<Q>,
        decode: impl FnOnce(Q) -> Result<OperatorCall, Problem> + Send,
    ) -> Result<Response<R>, Status> {
        let principal = principal_of(&request)?;
        authorize(&principal, Action::Operate, Object::Cluster).map_err(status_of)?;
        let (inbox, _) = self.term()?;
        let call = decode(request.into_inner()).map_err(status_of)?;
        let asked = Ask::Operate { principal, call };
        match inbox.ask(asked).await.map_err(status_of)? {
            Reply::Done => Ok(Response::new(R::default())),
            other => Err(unexpected(&other)),
        }
    }

    fn term(&self) -> Result<&(Inbox, Desk), Status> {
        let not_leading = || status_of(self.standing.not_leading(Side::Api));
        self.term.as_ref().ok_or_else(not_leading)
    }
}

#[tonic::async_trait]
impl v1::operator_server::Operator for OperatorService {
    async fn get_master(
        &self,
        request: Request<v1::GetMasterRequest>,
    ) -> Result<Response<v1::GetMasterResponse>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let status = self.standing.now();
        let reign = status.reign.as_ref();
        let cluster = reign.map(|reign| reign.cluster.to_string());
        Ok(Response::new(v1::GetMasterResponse {
            cluster_id: cluster.unwrap_or_default(),
            epoch: reign.map_or(0, |reign| reign.epoch.0),
            version: self.standing.me().version.clone(),
            leading: reign.is_some(),
            leader: status.leader.as_ref().map(encode_leader),
        }))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        self.list(request, lists::agents).await
    }

    async fn list_frameworks(
        &self,
        request: Request<v1::ListFrameworksRequest>,
    ) -> Result<Response<v1::ListFrameworksResponse>, Status> {
        self.list(request, lists::frameworks).await
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        self.list(request, lists::tasks).await
    }

    async fn list_offers(
        &self,
        request: Request<v1::ListOffersRequest>,
    ) -> Result<Response<v1::ListOffersResponse>, Status> {
        self.list(request, lists::offers).await
    }

    async fn list_executors(
        &self,
        request: Request<v1::ListExecutorsRequest>,
    ) -> Result<Response<v1::ListExecutorsResponse>, Status> {
        self.list(request, lists::executors).await
    }

    type WatchStream = watch::Responses;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let (_, desk) = self.term()?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| status_of(overloaded("too many watches are open")))?;
        let watch = Watch::new(request.get_ref(), desk.clone(), place);
        let responses = watch.map_err(status_of)?.responses();
        let attended = Attended::new(responses, WATCH_UNREAD_MAX, Err(status_of(unread())));
        Ok(Response::new(Box::pin(attended)))
    }

    type BackupStream = backup::Responses;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let principal = principal_of(&request)?;
        authorize(&principal, Action::Operate, Object::Cluster).map_err(status_of)?;
        let (_, desk) = self.term()?;
        let copies = self.copies.as_ref();
        let copies = copies.ok_or_else(|| status_of(not_leading()))?;
        let place = Arc::clone(&self.backups).try_acquire_owned();
        let place = place.map_err(|_| status_of(overloaded("another backup is being made")))?;
        let copied = copies.copy().await.map_err(status_of)?;
        if !desk.tenure.holds() {
            return Err(status_of(not_leading()));
        }
        let (principal, position) = (principal.to_string(), copied.position);
        tracing::info!(principal, position, "a backup is made");
        Ok(Response::new(backup::send(copied, &desk.tenure, place)))
    }

    async fn explain_demand(
        &self,
        request: Request<v1::ExplainDemandRequest>,
    ) -> Result<Response<v1::ExplainDemandResponse>, Status> {
        let framework = &request.get_ref().framework_id;
        let framework: FrameworkId = decode_id(framework, "framework_id").map_err(status_of)?;
        authorize_read(&request, Object::Framework(Some(&framework)))?;
        let (inbox, _) = self.term()?;
        let part = decode_part_of_demand(request.get_ref()).map_err(status_of)?;
        let asked = Ask::Explain { framework, part };
        let reply = inbox.ask(asked).await.map_err(status_of)?;
        let Reply::Explained { entries, next } = reply else {
            return Err(unexpected(&reply));
        };
        let entries = entries.into_iter().map(encode_explanation).collect();
        // An id holds no `/`, a role may.
        let next = next.map(|(role, id)| format!("{id}/{role}"));
        Ok(Response::new(v1::ExplainDemandResponse {
            entries,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn list_roles(
        &self,
        request: Request<v1::ListRolesRequest>,
    ) -> Result<Response<v1::ListRolesResponse>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let (inbox, _) = self.term()?;
        let asked = request.get_ref();
        let after = match asked.page_token.as_str() {
            "" => None,
            role => Some(decode_part(role).map_err(status_of)?),
        };
        let len = len_of(asked.page_size);
        let asked = Ask::Roles { after, len };
        let reply = inbox.ask(asked).await.map_err(status_of)?;
        let Reply::Roles { rows, next } = reply else {
            return Err(unexpected(&reply));
        };
        let roles = rows.iter().map(encode_role).collect();
        Ok(Response::new(v1::ListRolesResponse {
            roles,
            next_page_token: next.map_or_else(String::new, |role| role.to_string()),
        }))
    }

    async fn set_quota(
        &self,
        request: Request<v1::SetQuotaRequest>,
    ) -> Result<Response<v1::SetQuotaResponse>, Status> {
        self.operate(request, |asked| {
            Ok(OperatorCall::SetQuota {
                role: decode_id(&asked.role, "role")?,
                quota: decode_quota(asked.quota)?,
                is_forced: asked.force,
            })
        })
        .await
    }

    async fn remove_quota(
        &self,
        request: Request<v1::RemoveQuotaRequest>,
    ) -> Result<Response<v1::RemoveQuotaResponse>, Status> {
        self.operate(request, |asked| {
            let role = decode_id(&asked.role, "role")?;
            Ok(OperatorCall::RemoveQuota { role })
        })
        .await
    }

    async fn set_weight(
        &self,
        request: Request<v1::SetWeightRequest>,
    ) -> Result<Response<v1::SetWeightResponse>, Status> {
        self.operate(request, |asked| {
            Ok(OperatorCall::SetWeight {
                role: decode_id(&asked.role, "role")?,
                weight: decode_weight(asked.weight_milli)?,
            })
        })
        .await
    }

    async fn remove_weight(
        &self,
        request: Request<v1::RemoveWeightRequest>,
    ) -> Result<Response<v1::RemoveWeightResponse>, Status> {
        self.operate(request, |asked| {
            let role = decode_id(&asked.role, "role")?;
            Ok(OperatorCall::RemoveWeight { role })
        })
        .await
    }

    async fn reserve(
        &self,
        request: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::ReserveResponse>, Status> {
        self.operate(request, |asked| {
            let resources = decode_some(asked.resources, "resources")?;
            on_agent(&asked.agent_id, Operation::Reserve(resources))
        })
        .await
    }

    async fn unreserve(
        &self,
        request: Request<v1::UnreserveRequest>,
    ) -> Result<Response<v1::UnreserveResponse>, Status> {
        self.operate(request, |asked| {
            let resources = decode_some(asked.resources, "resources")?;
            on_agent(&asked.agent_id, Operation::Unreserve(resources))
        })
        .await
    }

    async fn create_volumes(
        &self,
        request: Request<v1::CreateVolumesRequest>,
    ) -> Result<Response<v1::CreateVolumesResponse>, Status> {
        self.operate(request, |asked| {
            let volumes = decode_some(asked.volumes, "volumes")?;
            on_agent(&asked.agent_id, Operation::Create(volumes))
        })
        .await
    }

    async fn destroy_volumes(
        &self,
        request: Request<v1::DestroyVolumesRequest>,
    ) -> Result<Response<v1::DestroyVolumesResponse>, Status> {
        self.operate(request, |asked| {
            let volumes = decode_some(asked.volumes, "volumes")?;
            on_agent(&asked.agent_id, Operation::Destroy(volumes))
        })
        .await
    }

    async fn grow_volume(
        &self,
        request: Request<v1::GrowVolumeRequest>,
    ) -> Result<Response<v1::GrowVolumeResponse>, Status> {
        self.operate(request, |asked| {
            Ok(OperatorCall::ResizeVolume {
                agent: decode_id(&asked.agent_id, "agent_id")?,
                role: decode_id(&asked.role, "role")?,
                volume: decode_id(&asked.volume_id, "volume_id")?,
                resize: Resize::Grow(decode_volume_change(asked.milli)?),
            })
        })
        .await
    }

    async fn shrink_volume(
        &self,
        request: Request<v1::ShrinkVolumeRequest>,
    ) -> Result<Response<v1::ShrinkVolumeResponse>, Status> {
        self.operate(request, |asked| {
            Ok(OperatorCall::ResizeVolume {
                agent: decode_id(&asked.agent_id, "agent_id")?,
                role: decode_id(&asked.role, "role")?,
                volume: decode_id(&asked.volume_id, "volume_id")?,
                resize: Resize::Shrink(decode_volume_change(asked.milli)?),
            })
        })
        .await
    }

    async fn deactivate_agent(
        &self,
        request: Request<v1::DeactivateAgentRequest>,
    ) -> Result<Response<v1::DeactivateAgentResponse>, Status> {
        self.operate(request, |asked| {
            let agent = decode_id(&asked.agent_id, "agent_id")?;
            Ok(OperatorCall::DeactivateAgent { agent })
        })
        .await
    }

    async fn reactivate_agent(
        &self,
        request: Request<v1::ReactivateAgentRequest>,
    ) -> Result<Response<v1::ReactivateAgentResponse>, Status> {
        self.operate(request, |asked| {
            let agent = decode_id(&asked.agent_id, "agent_id")?;
            Ok(OperatorCall::ReactivateAgent { agent })
        })
        .await
    }

    async fn drain_agent(
        &self,
        request: Request<v1::DrainAgentRequest>,
    ) -> Result<Response<v1::DrainAgentResponse>, Status> {
        self.operate(request, |asked| {
            Ok(OperatorCall::DrainAgent {
                agent: decode_id(&asked.agent_id, "agent_id")?,
                deadline: decode_deadline(asked.deadline_ms)?,
                marks_gone: asked.mark_gone,
            })
        })
        .await
    }

    async fn mark_agent_gone(
        &self,
        request: Request<v1::MarkAgentGoneRequest>,
    ) -> Result<Response<v1::MarkAgentGoneResponse>, Status> {
        self.operate(request, |asked| {
            let agent = decode_id(&asked.agent_id, "agent_id")?;
            Ok(OperatorCall::MarkAgentGone { agent })
        })
        .await
    }

    async fn kill_task(
        &self,
        request: Request<v1::KillTaskRequest>,
    ) -> Result<Response<v1::KillTaskResponse>, Status> {
        self.operate(request, |asked| {
            let (framework, task, grace) = decode_kill_task(&asked)?;
            Ok(OperatorCall::KillTask {
                framework,
                task,
                grace,
            })
        })
        .await
    }

    async fn teardown_framework(
        &self,
        request: Request<v1::TeardownFrameworkRequest>,
    ) -> Result<Response<v1::TeardownFrameworkResponse>, Status> {
        self.operate(request, |asked| {
            let framework = decode_id(&asked.framework_id, "framework_id")?;
            Ok(OperatorCall::TeardownFramework { framework })
        })
        .await
    }
}

/// What of a framework's demand is asked about.
fn decode_part_of_demand(asked: &v1::ExplainDemandRequest) -> Result<DemandPart, Problem> {
    check_entries(asked.demand_ids.len(), "demand_ids")?;
    let ids = asked.demand_ids.iter().zip(0..);
    let ids = ids.map(|(id, place)| decode_id(id, &format!("demand_ids[{place}]")));
    let after = match asked.page_token.split_once('/') {
        None if asked.page_token.is_empty() => None,
        None => return Err(malformed()),
        Some((id, role)) => Some((decode_part(role)?, decode_part(id)?)),
    };
    Ok(DemandPart {
        role: decode_filter(&asked.role, "role")?,
        demands: ids.collect::<Result<_, _>>()?,
        after,
        len: len_of(asked.page_size),
    })
}

/// How many a page is to hold; as many as it may when it is 0. The core has a limit of its own.
fn len_of(page_size: u32) -> usize {
    match page_size {
        0 => usize::MAX,
        len => usize::try_from(len).unwrap_or(usize::MAX),
    }
}

/// An operation on an agent.
fn on_agent(agent_id: &str, operation: Operation) -> Result<OperatorCall, Problem> {
    let agent = decode_id(agent_id, "agent_id")?;
    Ok(OperatorCall::Operate { agent, operation })
}

/// Resources that must be given.
fn decode_some(resources: Option<v1::Resources>, field: &str) -> Result<Resources, Problem> {
    let resources = decode_resources(resources.unwrap_or_default());
    let resources = resources.map_err(|problem| problem.within(field))?;
    if resources.is_empty() {
        return Err(Problem::new(code::FIELD_MISSING, "no resources are given")
            .field(field)
            .hint("give at least one"));
    }
    Ok(resources)
}

fn authorize_read<T>(request: &Request<T>, object: Object<'_>) -> Result<(), Status> {
    authorize(&principal_of(request)?, Action::Read, object).map_err(status_of)
}

/// What a watch that was given up says last.
fn unread() -> Problem {
    let text = "nothing of the watch was read for long";
    Problem::new(code::WATCH_EXPIRED, text)
        .hint("watch again, from the last position that was told, and read")
}
