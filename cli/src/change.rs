//! What operators change in the cluster, and how it gets to the master that leads.
//!
//! A master that does not lead refuses before anything is done, so what it refused is sent again to the one that does.
//! What was sent and not answered is never sent again by itself: whether it was done is for the caller to look at.

use proffer_model::{Problem, code};
use proffer_proto::v1;

use crate::connection::ClientArgs;
use crate::limits::LEADER_TIMEOUT;
use crate::master_client::MasterClient;

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Guarantees and limits a role. A side of the quota that is not there stays as it is.
    SetQuota(v1::SetQuotaRequest),
    /// Takes a role's quota away.
    RemoveQuota(v1::RemoveQuotaRequest),
    /// Weighs a role against its siblings.
    SetWeight(v1::SetWeightRequest),
    /// Takes a role's weight back to 1.
    RemoveWeight(v1::RemoveWeightRequest),
    /// Reserves what is free on an agent.
    Reserve(v1::ReserveRequest),
    /// Takes reservations away.
    Unreserve(v1::UnreserveRequest),
    /// Makes volumes.
    CreateVolumes(v1::CreateVolumesRequest),
    /// Destroys volumes.
    DestroyVolumes(v1::DestroyVolumesRequest),
    /// Makes a volume larger.
    GrowVolume(v1::GrowVolumeRequest),
    /// Makes a volume smaller.
    ShrinkVolume(v1::ShrinkVolumeRequest),
    /// Offers nothing of an agent any more.
    DeactivateAgent(v1::DeactivateAgentRequest),
    /// Offers of an agent again.
    ReactivateAgent(v1::ReactivateAgentRequest),
    /// Marks an agent as one that is to be empty.
    DrainAgent(v1::DrainAgentRequest),
    /// Says that an agent will not come back.
    MarkAgentGone(v1::MarkAgentGoneRequest),
    /// Ends a task.
    KillTask(v1::KillTaskRequest),
    /// Ends a framework.
    TeardownFramework(v1::TeardownFrameworkRequest),
}

impl Change {
    /// Has the leader make it; it is durable then. Gives the connection to that master, to look at what has become.
    pub(crate) async fn make(self, args: &ClientArgs) -> Result<MasterClient, Problem> {
        let mut client = MasterClient::connect(args).await?;
        match client.change(self.clone()).await {
            Err(problem) if problem.is(code::MASTER_NOT_LEADING) => self.make_by_leader(args).await,
            outcome => outcome.map(|()| client).map_err(perhaps_done),
        }
    }

    async fn make_by_leader(self, args: &ClientArgs) -> Result<MasterClient, Problem> {
        let finder = args.finder(args.masters()?)?;
        let looking = async {
            loop {
                let found = finder.leader().await;
                let mut client = MasterClient::new(args.authorized(found.channel.clone())?);
                match client.change(self.clone()).await {
                    Err(problem) if problem.is(code::MASTER_NOT_LEADING) => {
                        finder.failed(&found, &problem);
                    }
                    outcome => return outcome.map(|()| client).map_err(perhaps_done),
                }
            }
        };
        match tokio::time::timeout(LEADER_TIMEOUT, looking).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let why = finder.trouble();
                let why = why.unwrap_or_else(|| "the leading master did not answer".to_owned());
                Err(Problem::new(code::MASTER_NOT_LEADING, why)
                    .hint("`proffer masters` says what keeps masters from leading"))
            }
        }
    }
}

/// Asks the leader something that no other master answers.
pub(crate) async fn by_leader<T>(
    args: &ClientArgs,
    ask: impl AsyncFn(&mut MasterClient) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let mut client = MasterClient::connect(args).await?;
    let first = match ask(&mut client).await {
        Err(problem) if problem.is(code::MASTER_NOT_LEADING) => problem,
        answer => return answer,
    };
    let finder = args.finder(args.masters()?)?;
    let looking = async {
        loop {
            let found = finder.leader().await;
            let mut client = MasterClient::new(args.authorized(found.channel.clone())?);
            match ask(&mut client).await {
                Err(problem) if problem.is(code::MASTER_NOT_LEADING) => {
                    finder.failed(&found, &problem);
                }
                answer => return answer,
            }
        }
    };
    let answer = tokio::time::timeout(LEADER_TIMEOUT, looking).await;
    answer.unwrap_or_else(|_| {
        Err(first.hint("`proffer masters` says what keeps masters from leading"))
    })
}

/// What broke off while it was under way may have been done all the same.
fn perhaps_done(problem: Problem) -> Problem {
    if problem.is(code::PEER_UNREACHABLE) {
        return problem.hint("it may have been done all the same: look before you repeat it");
    }
    problem
}
