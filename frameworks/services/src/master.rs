//! The master as the shell sees it: a session whose calls leave in order, the kept state, and one question of an operator.
//!
//! A trait, so that tests can stand in for a cluster; [`SdkMaster`] is the real one, on the public SDK like every framework.

use std::future::Future;

use futures::future::BoxFuture;
use proffer_model::session::{Answer, Call};
use proffer_model::{DemandId, FrameworkId, Problem, StateKey, code};
use proffer_proto::v1::ExplainDemandRequest;
use proffer_proto::v1::operator_client::OperatorClient;
use proffer_sdk::{Expected, Handle};

use crate::limits::EXPLAIN_TIMEOUT;

/// A value of the kept state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) key: StateKey,
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
}

/// Why agents do not fit a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentObstacle {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) agents: u32,
}

/// What is asked of a master.
pub(crate) trait Master: Send + Sync + 'static {
    /// Hands a call over; when this returns, calls that are handed over later come later. The inner future is the answer.
    fn send(&self, call: Call) -> impl Future<Output = BoxFuture<'static, Answer>> + Send;
    /// All that is kept.
    fn list(&self) -> impl Future<Output = Result<Vec<Kept>, Problem>> + Send;
    /// What is kept under a key.
    fn get(&self, key: &StateKey) -> impl Future<Output = Result<Option<Kept>, Problem>> + Send;
    /// Keeps a value if the version is the one expected (0: nothing there); its new version.
    fn put(
        &self,
        key: &StateKey,
        value: &[u8],
        expected: u64,
    ) -> impl Future<Output = Result<u64, Problem>> + Send;
    /// Forgets a value if the version is the one expected.
    fn delete(
        &self,
        key: &StateKey,
        expected: u64,
    ) -> impl Future<Output = Result<(), Problem>> + Send;
    /// Why no agent fits an entry of the demand.
    fn explain(
        &self,
        framework: &FrameworkId,
        demand: &DemandId,
    ) -> impl Future<Output = Result<Vec<AgentObstacle>, Problem>> + Send;
}

/// The master behind the SDK.
pub(crate) struct SdkMaster {
    handle: Handle,
}

impl SdkMaster {
    /// On this handle.
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

impl Master for SdkMaster {
    async fn send(&self, call: Call) -> BoxFuture<'static, Answer> {
        match self.handle.send(call).await {
            Ok(pending) => Box::pin(async { pending.await.unwrap_or_else(Answer::Refused) }),
            Err(problem) => Box::pin(async { Answer::Refused(problem) }),
        }
    }

    async fn list(&self) -> Result<Vec<Kept>, Problem> {
        let all = self.handle.state().list("").await?;
        Ok(all.into_iter().map(kept).collect())
    }

    async fn get(&self, key: &StateKey) -> Result<Option<Kept>, Problem> {
        Ok(self.handle.state().get(key).await?.map(kept))
    }

    async fn put(&self, key: &StateKey, value: &[u8], expected: u64) -> Result<u64, Problem> {
        let expected = if expected == 0 {
            Expected::Nothing
        } else {
            Expected::Version(expected)
        };
        self.handle.state().put(key, value.to_vec(), expected).await
    }

    async fn delete(&self, key: &StateKey, expected: u64) -> Result<(), Problem> {
        self.handle
            .state()
            .delete(key, Expected::Version(expected))
            .await
    }

    async fn explain(
        &self,
        framework: &FrameworkId,
        demand: &DemandId,
    ) -> Result<Vec<AgentObstacle>, Problem> {
        let connection = self.handle.connection()?;
        let request = connection.request(ExplainDemandRequest {
            framework_id: framework.to_string(),
            demand_ids: vec![demand.to_string()],
            ..ExplainDemandRequest::default()
        });
        let mut operator = OperatorClient::new(connection.channel());
        let asking = operator.explain_demand(request);
        let answer = tokio::time::timeout(EXPLAIN_TIMEOUT, asking).await;
        let answer = answer
            .map_err(|_| Problem::new(code::PEER_UNREACHABLE, "the master did not answer in time"))?
            .map_err(|status| proffer_proto::problem_of(&status))?;
        let entries = answer.into_inner().entries.into_iter();
        let obstacles = entries.flat_map(|entry| entry.obstacles);
        let told = obstacles.map(|told| AgentObstacle {
            reason: told.reason,
            message: told.message,
            agents: told.agents,
        });
        Ok(told.collect())
    }
}

fn kept(stored: proffer_sdk::Stored) -> Kept {
    Kept {
        key: stored.key,
        value: stored.value.to_vec(),
        version: stored.version,
    }
}
