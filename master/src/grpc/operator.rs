//! `Operator`: what operators and their tools see, from the view, and what they change. Why demand is not met and how roles
//! stand is asked of the core.
//!
//! Commands and environments are in no row, so they cannot be shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_master_core::allocation::RoleRow;
use proffer_master_core::effect::{AgentRow, Explanation, FrameworkRow, Reply, TaskRow};
use proffer_master_core::event::OperatorCall;
use proffer_model::operation::Operation;
use proffer_model::{AgentId, FrameworkId, Problem, Resources, TaskId, code};
use proffer_proto::{
    decode_deadline, decode_quota, decode_resources, decode_weight, encode_agent_state,
    encode_attributes, encode_drain, encode_leader, encode_limits, encode_port, encode_quantities,
    encode_quota, encode_resources, encode_status, status_of, v1,
};
use proffer_server::auth::{Action, Object, authorize};
use tonic::{Request, Response, Status};

use super::state::unexpected;
use super::{decode_id, principal_of};
use crate::inbox::{Ask, Inbox};
use crate::standing::{Side, Standing};
use crate::view::{Snapshot, View};

/// The service. Without a term it only says how this master stands.
#[derive(Debug)]
pub(crate) struct OperatorService {
    standing: Arc<Standing>,
    term: Option<(Inbox, View)>,
}

impl OperatorService {
    /// For one term.
    pub(crate) fn leading(standing: Arc<Standing>, inbox: Inbox, view: View) -> Self {
        let term = Some((inbox, view));
        Self { standing, term }
    }

    /// For all terms, and the time between them.
    pub(crate) fn standing(standing: Arc<Standing>) -> Self {
        let term = None;
        Self { standing, term }
    }

    async fn snapshot(&self) -> Result<Arc<Snapshot>, Status> {
        let (_, view) = self.term()?;
        view.snapshot().await.map_err(status_of)
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

    fn term(&self) -> Result<&(Inbox, View), Status> {
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
        authorize_read(&request, Object::Cluster)?;
        let snapshot = self.snapshot().await?;
        let mut agents: Vec<v1::Agent> = snapshot
            .agents
            .iter()
            .map(|row| encode_agent(row))
            .collect();
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Response::new(v1::ListAgentsResponse { agents }))
    }

    async fn list_frameworks(
        &self,
        request: Request<v1::ListFrameworksRequest>,
    ) -> Result<Response<v1::ListFrameworksResponse>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let snapshot = self.snapshot().await?;
        let mut frameworks: Vec<v1::Framework> = snapshot
            .frameworks
            .iter()
            .map(|row| encode_framework(row))
            .collect();
        frameworks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Response::new(v1::ListFrameworksResponse { frameworks }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let asked = request.into_inner();
        let framework: Option<FrameworkId> =
            decode_filter(&asked.framework_id, "framework_id").map_err(status_of)?;
        let task: Option<TaskId> = decode_filter(&asked.task_id, "task_id").map_err(status_of)?;
        let snapshot = self.snapshot().await?;
        let mut rows: Vec<&TaskRow> = snapshot
            .tasks
            .iter()
            .map(AsRef::as_ref)
            .filter(|row| {
                framework
                    .as_ref()
                    .is_none_or(|framework| row.framework == *framework)
            })
            .filter(|row| task.as_ref().is_none_or(|task| row.task == *task))
            .collect();
        rows.sort_by(|a, b| (&a.framework, &a.task).cmp(&(&b.framework, &b.task)));
        let agents = snapshot.agents.iter().map(|row| (&row.agent, row.as_ref()));
        let agents: BTreeMap<&AgentId, &AgentRow> = agents.collect();
        let tasks = rows
            .into_iter()
            .map(|row| encode_task(row, agents.get(&row.agent).copied()));
        let tasks = tasks.collect();
        Ok(Response::new(v1::ListTasksResponse { tasks }))
    }

    async fn explain_demand(
        &self,
        request: Request<v1::ExplainDemandRequest>,
    ) -> Result<Response<v1::ExplainDemandResponse>, Status> {
        let framework = &request.get_ref().framework_id;
        let framework: FrameworkId = decode_id(framework, "framework_id").map_err(status_of)?;
        authorize_read(&request, Object::Framework(Some(&framework)))?;
        let (inbox, _) = self.term()?;
        let reply = inbox
            .ask(Ask::Explain { framework })
            .await
            .map_err(status_of)?;
        let Reply::Explained(explanations) = reply else {
            return Err(unexpected(&reply));
        };
        let entries = explanations.into_iter().map(encode_explanation).collect();
        Ok(Response::new(v1::ExplainDemandResponse { entries }))
    }

    async fn list_roles(
        &self,
        request: Request<v1::ListRolesRequest>,
    ) -> Result<Response<v1::ListRolesResponse>, Status> {
        authorize_read(&request, Object::Cluster)?;
        let (inbox, _) = self.term()?;
        let reply = inbox.ask(Ask::Roles).await.map_err(status_of)?;
        let Reply::Roles(rows) = reply else {
            return Err(unexpected(&reply));
        };
        let roles = rows.iter().map(encode_role).collect();
        Ok(Response::new(v1::ListRolesResponse { roles }))
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
            })
        })
        .await
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
        return Err(Problem::new(code::FIELD_MISSING, "no resources are given").field(field));
    }
    Ok(resources)
}

fn authorize_read<T>(request: &Request<T>, object: Object<'_>) -> Result<(), Status> {
    authorize(&principal_of(request)?, Action::Read, object).map_err(status_of)
}

fn decode_filter<I>(text: &str, field: &str) -> Result<Option<I>, Problem>
where
    I: std::str::FromStr<Err = Problem>,
{
    if text.is_empty() {
        Ok(None)
    } else {
        decode_id(text, field).map(Some)
    }
}

fn encode_agent(row: &AgentRow) -> v1::Agent {
    v1::Agent {
        id: row.agent.to_string(),
        host: row.description.host.clone(),
        address: row.description.address.clone(),
        state: encode_agent_state(row.state).into(),
        total: Some(encode_resources(&row.total)),
        used: Some(encode_resources(&row.used)),
        offered: Some(encode_resources(&row.offered)),
        attributes: encode_attributes(&row.description.attributes),
        tasks: row.tasks,
        version: row.description.version.clone(),
        deactivated: row.is_deactivated,
        drain: row.drain.as_ref().map(|drain| v1::Drain {
            // What runs there against all expectation, such as of a copied directory, is not passed over.
            drained: drain.is_drained && row.tasks == 0,
            ends_wall_ms: row.drain_ends_wall_ms,
            ..encode_drain(drain)
        }),
        missing: (!row.missing.is_empty()).then(|| encode_resources(&row.missing)),
    }
}

fn encode_framework(row: &FrameworkRow) -> v1::Framework {
    let timeout_ms = row.description.failover_timeout.as_millis();
    v1::Framework {
        id: row.framework.to_string(),
        name: row.description.name.clone(),
        principal: row.principal.to_string(),
        roles: row
            .description
            .roles
            .iter()
            .map(ToString::to_string)
            .collect(),
        connected: row.is_connected,
        tasks: row.tasks,
        offers: row.offers,
        demand: row.demand,
        used: Some(encode_resources(&row.used)),
        failover_timeout_ms: u64::try_from(timeout_ms).unwrap_or(u64::MAX),
    }
}

fn encode_role(row: &RoleRow) -> v1::Role {
    v1::Role {
        role: row.role.to_string(),
        share_billionths: row.share_billionths,
        weight_milli: row.weight.0,
        quota: row.quota.as_ref().map(encode_quota),
        held: Some(encode_quantities(&row.held)),
        consumed: Some(encode_quantities(&row.consumed)),
        reserved: Some(encode_quantities(&row.reserved)),
        framework_ids: row.frameworks.iter().map(ToString::to_string).collect(),
    }
}

fn encode_task(row: &TaskRow, agent: Option<&AgentRow>) -> v1::Task {
    let description = agent.map(|row| &row.description);
    v1::Task {
        id: row.task.to_string(),
        name: row.name().to_owned(),
        framework_id: row.framework.to_string(),
        agent_id: row.agent.to_string(),
        agent_address: description
            .map(|agent| agent.address.clone())
            .unwrap_or_default(),
        host: description
            .map(|agent| agent.host.clone())
            .unwrap_or_default(),
        status: Some(encode_status(&row.status)),
        resources: Some(encode_resources(&row.outline.resources)),
        labels: row.outline.labels.clone(),
        ports: row.outline.ports.iter().map(encode_port).collect(),
    }
}

fn encode_explanation(explanation: Explanation) -> v1::DemandExplanation {
    let obstacles = explanation
        .obstacles
        .into_iter()
        .map(|obstacle| v1::Obstacle {
            reason: obstacle.reason,
            message: obstacle.message,
            agents: obstacle.agents,
        });
    v1::DemandExplanation {
        role: explanation.role.to_string(),
        demand_id: explanation.demand.to_string(),
        wanted: explanation.wanted,
        obstacles: obstacles.collect(),
        offered: explanation.offered,
        share_billionths: explanation.share_billionths,
        claims_before: explanation.claims_before,
        headroom: Some(encode_limits(&explanation.headroom)),
    }
}
