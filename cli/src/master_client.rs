//! The master's `Operator` service as the verbs use it.

use proffer_model::{Problem, code};
use proffer_proto::problem_of;
use proffer_proto::v1;
use proffer_proto::v1::operator_client::OperatorClient;
use tonic::{Response, Status};

use crate::change::Change;
use crate::connection::{AuthorizedChannel, ClientArgs, with_token_hint};
use crate::limits::{CALL_TIMEOUT, LIST_LEN_MAX, PAGE_LEN};

/// Speaks to the master.
pub(crate) struct MasterClient {
    operator: OperatorClient<AuthorizedChannel>,
}

impl MasterClient {
    /// Connects to one of the masters at `--master`.
    pub(crate) async fn connect(args: &ClientArgs) -> Result<Self, Problem> {
        Ok(Self::new(args.master_channel().await?))
    }

    /// Speaks over this channel.
    pub(crate) fn new(channel: AuthorizedChannel) -> Self {
        let operator = OperatorClient::new(channel).max_decoding_message_size(LIST_LEN_MAX);
        Self { operator }
    }

    /// The version of the very master that is asked.
    pub(crate) async fn version(&mut self) -> Result<String, Problem> {
        let call = self.operator.get_master(v1::GetMasterRequest {});
        Ok(answer(call).await?.version)
    }

    /// Every agent.
    pub(crate) async fn agents(&mut self) -> Result<Vec<v1::Agent>, Problem> {
        self.agents_like(v1::ListAgentsRequest::default()).await
    }

    /// Every agent that passes.
    pub(crate) async fn agents_like(
        &mut self,
        mut asked: v1::ListAgentsRequest,
    ) -> Result<Vec<v1::Agent>, Problem> {
        let mut agents = Vec::new();
        asked.page_size = PAGE_LEN;
        loop {
            let page = answer(self.operator.list_agents(asked.clone())).await?;
            agents.extend(page.agents);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(agents);
            }
        }
    }

    /// The agent that a task is on, if the master knows it.
    pub(crate) async fn agent_of(&mut self, task: &v1::Task) -> Result<Option<v1::Agent>, Problem> {
        let asked = v1::ListAgentsRequest {
            agent_id: task.agent_id.clone(),
            ..v1::ListAgentsRequest::default()
        };
        match task.agent_id.as_str() {
            "" => Ok(None),
            _ => Ok(self.agents_like(asked).await?.pop()),
        }
    }

    /// The framework of a task, if it is not over.
    pub(crate) async fn framework_of(
        &mut self,
        task: &v1::Task,
    ) -> Result<Option<v1::Framework>, Problem> {
        let asked = v1::ListFrameworksRequest {
            framework_id: task.framework_id.clone(),
            ..v1::ListFrameworksRequest::default()
        };
        Ok(self.frameworks_like(asked).await?.pop())
    }

    /// Every framework.
    pub(crate) async fn frameworks(&mut self) -> Result<Vec<v1::Framework>, Problem> {
        self.frameworks_like(v1::ListFrameworksRequest::default())
            .await
    }

    /// Every framework that passes.
    pub(crate) async fn frameworks_like(
        &mut self,
        mut asked: v1::ListFrameworksRequest,
    ) -> Result<Vec<v1::Framework>, Problem> {
        let mut frameworks = Vec::new();
        asked.page_size = PAGE_LEN;
        loop {
            let page = answer(self.operator.list_frameworks(asked.clone())).await?;
            frameworks.extend(page.frameworks);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(frameworks);
            }
        }
    }

    /// Every task that passes.
    pub(crate) async fn tasks_like(
        &mut self,
        mut asked: v1::ListTasksRequest,
    ) -> Result<Vec<v1::Task>, Problem> {
        let mut tasks = Vec::new();
        asked.page_size = PAGE_LEN;
        loop {
            let page = answer(self.operator.list_tasks(asked.clone())).await?;
            tasks.extend(page.tasks);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(tasks);
            }
        }
    }

    /// Every offer that passes.
    pub(crate) async fn offers_like(
        &mut self,
        mut asked: v1::ListOffersRequest,
    ) -> Result<Vec<v1::StandingOffer>, Problem> {
        let mut offers = Vec::new();
        asked.page_size = PAGE_LEN;
        loop {
            let page = answer(self.operator.list_offers(asked.clone())).await?;
            offers.extend(page.offers);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(offers);
            }
        }
    }

    /// Every executor that passes.
    pub(crate) async fn executors_like(
        &mut self,
        mut asked: v1::ListExecutorsRequest,
    ) -> Result<Vec<v1::LiveExecutor>, Problem> {
        let mut executors = Vec::new();
        asked.page_size = PAGE_LEN;
        loop {
            let page = answer(self.operator.list_executors(asked.clone())).await?;
            executors.extend(page.executors);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(executors);
            }
        }
    }

    /// Follows what there is.
    pub(crate) async fn watch(
        &mut self,
        asked: v1::WatchRequest,
    ) -> Result<tonic::Streaming<v1::WatchResponse>, Problem> {
        answer(self.operator.watch(asked)).await
    }

    /// All that is durable, as the bytes of a file.
    pub(crate) async fn backup(&mut self) -> Result<tonic::Streaming<v1::BackupResponse>, Problem> {
        answer(self.operator.backup(v1::BackupRequest {})).await
    }

    /// Every role that something is known of, and those above them, by path.
    pub(crate) async fn roles(&mut self) -> Result<Vec<v1::Role>, Problem> {
        let mut asked = v1::ListRolesRequest::default();
        let mut roles = Vec::new();
        loop {
            let page = answer(self.operator.list_roles(asked.clone())).await?;
            roles.extend(page.roles);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(roles);
            }
        }
    }

    /// What a framework wants and has not been offered, and why; of the entries with these ids, or of all when there are none.
    pub(crate) async fn explain(
        &mut self,
        framework_id: &str,
        demand_ids: &[&str],
    ) -> Result<Vec<v1::DemandExplanation>, Problem> {
        let mut asked = v1::ExplainDemandRequest {
            framework_id: framework_id.to_owned(),
            demand_ids: demand_ids.iter().map(|id| (*id).to_owned()).collect(),
            ..v1::ExplainDemandRequest::default()
        };
        let mut entries = Vec::new();
        loop {
            let page = answer(self.operator.explain_demand(asked.clone())).await?;
            entries.extend(page.entries);
            asked.page_token = page.next_page_token;
            if asked.page_token.is_empty() {
                return Ok(entries);
            }
        }
    }

    /// Asks this very master for a change; only the leader makes it.
    pub(crate) async fn change(&mut self, change: Change) -> Result<(), Problem> {
        let change = match change {
            Change::SetQuota(asked) => Change::SetQuota(self.completed(asked).await?),
            change => change,
        };
        let operator = &mut self.operator;
        match change {
            Change::SetQuota(asked) => done(operator.set_quota(asked)).await,
            Change::RemoveQuota(asked) => done(operator.remove_quota(asked)).await,
            Change::SetWeight(asked) => done(operator.set_weight(asked)).await,
            Change::RemoveWeight(asked) => done(operator.remove_weight(asked)).await,
            Change::Reserve(asked) => done(operator.reserve(asked)).await,
            Change::Unreserve(asked) => done(operator.unreserve(asked)).await,
            Change::CreateVolumes(asked) => done(operator.create_volumes(asked)).await,
            Change::DestroyVolumes(asked) => done(operator.destroy_volumes(asked)).await,
            Change::GrowVolume(asked) => done(operator.grow_volume(asked)).await,
            Change::ShrinkVolume(asked) => done(operator.shrink_volume(asked)).await,
            Change::DeactivateAgent(asked) => done(operator.deactivate_agent(asked)).await,
            Change::ReactivateAgent(asked) => done(operator.reactivate_agent(asked)).await,
            Change::DrainAgent(asked) => done(operator.drain_agent(asked)).await,
            Change::MarkAgentGone(asked) => done(operator.mark_agent_gone(asked)).await,
            Change::KillTask(asked) => done(operator.kill_task(asked)).await,
            Change::TeardownFramework(asked) => done(operator.teardown_framework(asked)).await,
        }
    }

    /// The same with the sides of the quota that it does not name as they are now. Two operators who change the two sides of
    /// one role's quota in the same moment may undo one another.
    async fn completed(
        &mut self,
        mut asked: v1::SetQuotaRequest,
    ) -> Result<v1::SetQuotaRequest, Problem> {
        let mut quota = asked.quota.take().unwrap_or_default();
        if quota.guarantees.is_none() || quota.limits.is_none() {
            let mut roles = self.roles().await?.into_iter();
            let known = roles.find(|role| role.role == asked.role);
            let before = known.and_then(|role| role.quota).unwrap_or_default();
            quota.guarantees = quota.guarantees.or(before.guarantees);
            quota.limits = quota.limits.or(before.limits);
        }
        asked.quota = Some(quota);
        Ok(asked)
    }
}

async fn done<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<(), Problem> {
    answer(call).await.map(drop)
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Problem> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => {
            let problem = problem_of(&status);
            if problem.is(code::ROUTE_UNKNOWN) {
                let message = "what answers there is not a master's API";
                return Err(Problem::new(code::CONFIG_INVALID, message)
                    .field("master")
                    .hint("name the master's API, usually at port 5050, with --master or PROFFER_MASTER"));
            }
            Err(with_token_hint(problem))
        }
        Err(_) => Err(
            Problem::new(code::PEER_UNREACHABLE, "the master did not answer in time")
                .hint("it may be overloaded or electing; try again"),
        ),
    }
}
