//! The cluster at one moment, as Mesos's tools look at it: by framework, with those of another origin told in Mesos's
//! words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proffer_master_core::effect::{AgentRow, ExecutorRow, FrameworkRow, OfferRow, TaskRow};
use proffer_model::{
    AgentId, AgentState, Drain, FrameworkDescription, FrameworkId, Principal, TaskState,
};
use proffer_proto::mesos::v1::framework_info::Capability;
use proffer_proto::mesos::v1::framework_info::capability::Type;
use proffer_proto::mesos::v1::{self, FrameworkInfo};
use proffer_proto::mesos::{AgentStanding, MesosExecutor, state_said};
use prost::Message;

use crate::view::{CompletedFramework, Snapshot};

/// A snapshot, and what of it belongs to whom.
pub(super) struct Seen<'s> {
    /// All of it.
    pub(super) snapshot: &'s Snapshot,
    offers: BTreeMap<&'s FrameworkId, Vec<&'s OfferRow>>,
    executors: BTreeMap<&'s FrameworkId, Vec<&'s ExecutorRow>>,
}

/// A framework, or one that is over.
pub(super) struct Framework<'s> {
    /// Which.
    pub(super) id: &'s FrameworkId,
    /// What it says of itself.
    pub(super) info: FrameworkInfo,
    /// How it stands; absent: it is over.
    pub(super) row: Option<&'s FrameworkRow>,
    /// What is known of one that is over.
    pub(super) completed: Option<&'s CompletedFramework>,
    /// Its offers.
    pub(super) offers: &'s [&'s OfferRow],
    /// Its executors that live.
    pub(super) executors: &'s [&'s ExecutorRow],
}

/// Where a task stands, of the lists that it may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It lives.
    Live,
    /// Nobody knows.
    Unreachable,
    /// It has ended.
    Completed,
}

impl Standing {
    /// Of a task.
    pub(super) fn of(task: &TaskRow) -> Self {
        match task.told.state {
            TaskState::Unreachable => Self::Unreachable,
            state if state.is_terminal() => Self::Completed,
            _ => Self::Live,
        }
    }
}

impl<'s> Seen<'s> {
    /// Of a snapshot.
    pub(super) fn new(snapshot: &'s Snapshot) -> Self {
        let mut offers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for offer in snapshot.offers.iter() {
            offers
                .entry(&offer.framework)
                .or_default()
                .push(offer.as_ref());
        }
        let mut executors: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for executor in snapshot.executors.iter() {
            executors
                .entry(&executor.framework)
                .or_default()
                .push(executor.as_ref());
        }
        Self {
            snapshot,
            offers,
            executors,
        }
    }

    /// Agents that are there, and may be silent for a moment.
    pub(super) fn agents(&self) -> impl Iterator<Item = &'s AgentRow> {
        agents(self.snapshot).filter(|row| is_registered(row))
    }

    /// Agents that were there in an earlier term and have not come back yet.
    pub(super) fn recovered_agents(&self) -> impl Iterator<Item = &'s AgentRow> {
        agents(self.snapshot).filter(|row| row.state == AgentState::Recovering)
    }

    /// Frameworks that are not over.
    pub(super) fn frameworks(&self) -> impl Iterator<Item = Framework<'_>> {
        let rows = self.snapshot.frameworks.iter();
        rows.map(|row| self.framework_of(row))
    }

    /// A framework that is not over.
    pub(super) fn framework_of<'a>(&'a self, row: &'a FrameworkRow) -> Framework<'a> {
        self.framework(&row.framework, Some(row))
    }

    /// Those that are over, as far as they or ended tasks of theirs are known.
    pub(super) fn completed_frameworks(&self) -> impl Iterator<Item = Framework<'_>> {
        let known = self.snapshot.completed.iter().map(|it| &it.row.framework);
        let owners = tasks(self.snapshot).map(|row| &row.framework);
        let owners: BTreeSet<_> = owners.chain(known).collect();
        let is_over = |id: &&FrameworkId| self.snapshot.frameworks.get(id).is_none();
        owners
            .into_iter()
            .filter(is_over)
            .map(|id| self.framework(id, None))
    }

    /// A framework, which is over if it has no row.
    pub(super) fn framework<'a>(
        &'a self,
        id: &'a FrameworkId,
        row: Option<&'a FrameworkRow>,
    ) -> Framework<'a> {
        let completed = match row {
            Some(_) => None,
            None => self.snapshot.completed.get(id).map(Arc::as_ref),
        };
        let info = match row.or(completed.map(|completed| &*completed.row)) {
            Some(row) => framework_info(row),
            None => nameless(id),
        };
        Framework {
            id,
            info,
            row,
            completed,
            offers: self.offers.get(id).map(Vec::as_slice).unwrap_or_default(),
            executors: self
                .executors
                .get(id)
                .map(Vec::as_slice)
                .unwrap_or_default(),
        }
    }

    /// The tasks of a framework.
    pub(super) fn tasks_of(&self, id: &FrameworkId) -> impl Iterator<Item = &'s TaskRow> {
        let rows = self.snapshot.tasks.from(|row| row.framework < *id);
        rows.take_while(move |row| row.framework == *id)
            .map(Arc::as_ref)
    }
}

/// Every agent.
pub(super) fn agents(snapshot: &Snapshot) -> impl Iterator<Item = &AgentRow> {
    snapshot.agents.iter().map(Arc::as_ref)
}

/// Every task.
pub(super) fn tasks(snapshot: &Snapshot) -> impl Iterator<Item = &TaskRow> {
    snapshot.tasks.iter().map(Arc::as_ref)
}

/// The executor that a task is in for its framework, unless it is Mesos's command executor.
pub(super) fn executor_name(row: &TaskRow) -> Option<&str> {
    let (custom, of_group) = executors_named(row);
    custom.or(of_group)
}

/// The same, to be said in a status.
pub(in crate::mesos) fn executor_of(row: &TaskRow) -> MesosExecutor {
    let (custom, of_group) = executors_named(row);
    MesosExecutor::named(custom, of_group)
}

/// Its state, as its framework knows it.
pub(super) fn state_of(row: &TaskRow) -> TaskState {
    let told = &row.told;
    state_said(told.state, told.number, row.outline.executor.is_some())
}

/// The CUSTOM executor of a task, and that of its group.
fn executors_named(row: &TaskRow) -> (Option<&str>, Option<&str>) {
    let outline = &row.outline;
    let custom = outline.executor.as_ref().map(|id| id.as_str());
    (custom, outline.group_executor.as_deref())
}

/// Whether an agent is there.
pub(super) fn is_registered(row: &AgentRow) -> bool {
    matches!(row.state, AgentState::Connected | AgentState::Suspect)
}

/// How an agent stands, if it is known.
pub(in crate::mesos) fn standing_of(snapshot: &Snapshot, agent: &AgentId) -> Option<AgentStanding> {
    let Some(row) = snapshot.agents.get(agent) else {
        return snapshot.gone.get(agent).map(|_| AgentStanding::Gone);
    };
    Some(match row.state {
        AgentState::Unreachable => AgentStanding::Unreachable {
            since_wall_ms: row.unreachable_since_wall_ms.unwrap_or_default(),
        },
        AgentState::Connected | AgentState::Suspect if row.is_settled => AgentStanding::Registered,
        AgentState::Connected | AgentState::Suspect | AgentState::Recovering => {
            AgentStanding::Recovering
        }
    })
}

/// Whether anything is offered of an agent.
pub(super) fn is_active(row: &AgentRow) -> bool {
    row.state == AgentState::Connected && !row.is_deactivated && row.drain.is_none()
}

/// How long tasks may stay on an agent that is drained, if a time was given: at once is what is meant without one.
pub(super) fn grace_of(drain: &Drain) -> Option<Duration> {
    drain.deadline.filter(|deadline| !deadline.is_zero())
}

/// The executors of a framework that live on an agent.
pub(in crate::mesos) fn executors_on(
    snapshot: &Snapshot,
    agent: &AgentId,
    framework: &FrameworkId,
) -> Vec<v1::ExecutorId> {
    let place = (agent, framework);
    let rows = snapshot
        .executors
        .from(|row| (&row.agent, &row.framework) < place);
    let own = rows.take_while(|row| (&row.agent, &row.framework) == place);
    let id = |row: &Arc<ExecutorRow>| v1::ExecutorId {
        value: row.executor.to_string(),
    };
    own.map(id).collect()
}

/// The address of an agent, where that is one.
pub(in crate::mesos) fn ip_of(row: &AgentRow) -> Option<IpAddr> {
    let (host, _) = row.description.address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse().ok()
}

/// The port of an agent.
pub(super) fn port_of(row: &AgentRow) -> u16 {
    let port = row.description.address.rsplit_once(':');
    port.and_then(|(_, port)| port.parse().ok()).unwrap_or(5051)
}

/// The name of a process in Mesos's form: `slave(1)@127.0.0.1:5051`.
pub(super) fn pid_of(row: &AgentRow) -> String {
    format!("slave(1)@{}", row.description.address)
}

/// A framework in Mesos's words: its own, or made up of what is known.
pub(in crate::mesos) fn framework_info(row: &FrameworkRow) -> FrameworkInfo {
    let own = row.description.mesos.as_deref();
    let mut info = own
        .and_then(|bytes| FrameworkInfo::decode(bytes).ok())
        .unwrap_or_else(|| made_up(&row.description, &row.principal));
    info.id = Some(v1::FrameworkId {
        value: row.framework.to_string(),
    });
    info
}

fn made_up(description: &FrameworkDescription, principal: &Principal) -> FrameworkInfo {
    let all = [
        Type::RevocableResources,
        Type::TaskKillingState,
        Type::SharedResources,
        Type::PartitionAware,
        Type::MultiRole,
        Type::ReservationRefinement,
    ];
    let capability = |r#type: Type| Capability {
        r#type: Some(r#type.into()),
    };
    FrameworkInfo {
        user: principal.to_string(),
        name: description.name.clone(),
        failover_timeout: Some(description.failover_timeout.as_secs_f64()),
        checkpoint: Some(true),
        roles: description.roles.iter().map(ToString::to_string).collect(),
        principal: Some(principal.to_string()),
        capabilities: all.map(capability).into(),
        ..FrameworkInfo::default()
    }
}

/// One that was over before this leader, of which only the id is known.
fn nameless(id: &FrameworkId) -> FrameworkInfo {
    FrameworkInfo {
        name: id.to_string(),
        id: Some(v1::FrameworkId {
            value: id.to_string(),
        }),
        ..FrameworkInfo::default()
    }
}
