//! Where agents are: Mesos's frameworks read a task's address from its updates.
//!
//! One book for all streams, made of the view when it lacks an agent or is old.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use proffer_model::AgentId;
use proffer_proto::mesos::place_mesos_status;
use proffer_proto::mesos::v1::TaskStatus;
use proffer_proto::mesos::v1::scheduler::Event;

use super::operator::ip_of;
use crate::limits::MESOS_ADDRESSES_INTERVAL;
use crate::view::View;

/// The addresses of a term's agents.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    view: View,
    known: Arc<RwLock<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// None of an agent that is not there, or says a name.
    by_agent: BTreeMap<AgentId, Option<IpAddr>>,
    looked_at: Option<Instant>,
}

impl Addresses {
    pub(super) fn new(view: View) -> Self {
        let known = Arc::default();
        Self { view, known }
    }

    /// Says in an update where its task is.
    pub(super) async fn place(&self, event: &mut Event) {
        if let Some(update) = &mut event.update
            && let Some(agent) = agent_of(&update.status)
            && let Some(ip) = self.of(&agent).await
        {
            place_mesos_status(&mut update.status, ip);
        }
    }

    async fn of(&self, agent: &AgentId) -> Option<IpAddr> {
        if let Some(known) = self.read(agent) {
            return known;
        }
        let looked_at = Some(Instant::now());
        // Without it the update is told as it is.
        let snapshot = self.view.snapshot().await.ok()?;
        let rows = snapshot.agents.iter();
        let mut by_agent: BTreeMap<AgentId, Option<IpAddr>> =
            rows.map(|row| (row.agent.clone(), ip_of(row))).collect();
        let ip = *by_agent.entry(agent.clone()).or_default();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Known {
            by_agent,
            looked_at,
        };
        ip
    }

    /// What is known and not old.
    fn read(&self, agent: &AgentId) -> Option<Option<IpAddr>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_new = known
            .looked_at
            .is_some_and(|at| at.elapsed() < MESOS_ADDRESSES_INTERVAL);
        known.by_agent.get(agent).copied().filter(|_| is_new)
    }
}

/// On which agent a task runs that has a container there.
fn agent_of(status: &TaskStatus) -> Option<AgentId> {
    status.container_status.as_ref()?;
    status.agent_id.as_ref()?.value.parse().ok()
}
