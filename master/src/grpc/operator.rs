//! `Operator`: what operators and their tools see, from the view. Only why demand is not met is asked of the core.
//!
//! Commands and environments are in no row, so they cannot be shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_master_core::effect::{AgentRow, Explanation, FrameworkRow, Reply, TaskRow};
use proffer_model::{AgentId, FrameworkId, Problem, TaskId};
use proffer_proto::{
    encode_agent_state, encode_attributes, encode_leader, encode_port, encode_resources,
    encode_status, status_of, v1,
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
        total: Some(encode_resources(&row.description.resources)),
        used: Some(encode_resources(&row.used)),
        offered: Some(encode_resources(&row.offered)),
        attributes: encode_attributes(&row.description.attributes),
        tasks: row.tasks,
        version: row.description.version.clone(),
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

fn encode_task(row: &TaskRow, agent: Option<&AgentRow>) -> v1::Task {
    let description = agent.map(|row| &row.description);
    v1::Task {
        id: row.task.to_string(),
        name: row.name.clone(),
        framework_id: row.framework.to_string(),
        agent_id: row.agent.to_string(),
        agent_address: description
            .map(|agent| agent.address.clone())
            .unwrap_or_default(),
        host: description
            .map(|agent| agent.host.clone())
            .unwrap_or_default(),
        status: Some(encode_status(&row.status)),
        resources: Some(encode_resources(&row.resources)),
        labels: row.labels.clone(),
        ports: row.ports.iter().map(encode_port).collect(),
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
    }
}
