//! The durable state of the master: only what cannot be rebuilt from agents, as a log of operations.
//!
//! The log is the truth and [`Registry`] is what it adds up to; applying the same operations in order gives the same
//! registry. The wire form (kind, schema version, protobuf) is `proffer-proto`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::{AgentDescription, Drain};
use crate::framework::FrameworkDescription;
use crate::id::{AgentId, FrameworkId, Principal, Role, StateKey, VolumeId};
use crate::made::made_of;
use crate::quota::{Quota, Weight};
use crate::resources::Resources;

/// One durable change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An agent may belong to the cluster, or describes itself anew.
    AdmitAgent {
        /// Its id.
        agent: AgentId,
        /// What it says of itself.
        description: Arc<AgentDescription>,
        /// Of one that is not known: its volumes are numbered from here on. More than 0 if it may have been here before, with
        /// volumes whose files it still has.
        volumes_after: u64,
    },
    /// An agent was silent too long.
    MarkUnreachable {
        /// Its id.
        agent: AgentId,
        /// Since when, wall milliseconds.
        since_wall_ms: u64,
        /// Frameworks with greater numbers have launched nothing there. None: those that are admitted later have not.
        frameworks: Option<u64>,
    },
    /// An agent is back.
    MarkReachable {
        /// Its id.
        agent: AgentId,
    },
    /// A framework exists, or describes itself anew.
    AdmitFramework {
        /// Its id.
        framework: FrameworkId,
        /// Who may take it over.
        principal: Principal,
        /// What it says of itself.
        description: FrameworkDescription,
        /// Whether it has had no session for a while, so that the next leader does not wait for it.
        is_away: bool,
    },
    /// A framework is over; its state goes and its id is remembered as spent.
    CompleteFramework {
        /// Its id.
        framework: FrameworkId,
    },
    /// A key of a framework's state has a new value; its version is the framework's next revision.
    PutState {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        key: StateKey,
        /// The value.
        value: Arc<[u8]>,
    },
    /// A key of a framework's state is gone.
    DeleteState {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        key: StateKey,
    },
    /// Resources of an agent have become others: reservations and volumes.
    ConvertAgent {
        /// Its id.
        agent: AgentId,
        /// What is gone.
        from: Resources,
        /// What is there instead.
        to: Resources,
    },
    /// Nothing is offered of an agent any more.
    DeactivateAgent {
        /// Its id.
        agent: AgentId,
    },
    /// An agent is to be empty.
    DrainAgent {
        /// Its id.
        agent: AgentId,
        /// Since when and until when.
        drain: Drain,
    },
    /// An agent is neither deactivated nor drained any more.
    ReactivateAgent {
        /// Its id.
        agent: AgentId,
    },
    /// An agent will not come back: nothing of it is left but its id, which is refused.
    MarkGone {
        /// Its id.
        agent: AgentId,
        /// Since when, wall milliseconds.
        since_wall_ms: u64,
    },
    /// An agent that is gone or unreachable is known no more.
    ForgetAgent {
        /// Its id.
        agent: AgentId,
    },
    /// What a role is guaranteed and limited to, with all beneath it.
    SetQuota {
        /// Which.
        role: Role,
        /// What.
        quota: Quota,
    },
    /// A role has no quota any more.
    RemoveQuota {
        /// Which.
        role: Role,
    },
    /// The weight of a role's share.
    SetWeight {
        /// Which.
        role: Role,
        /// How much.
        weight: Weight,
    },
    /// A role has the common weight again.
    RemoveWeight {
        /// Which.
        role: Role,
    },
}

/// What the log adds up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Agents, by id.
    pub agents: BTreeMap<AgentId, AgentEntry>,
    /// Agents that an operator has marked gone, with the wall milliseconds since then; the longest gone are forgotten.
    pub gone: BTreeMap<AgentId, u64>,
    /// Frameworks, by id.
    pub frameworks: BTreeMap<FrameworkId, FrameworkEntry>,
    /// How many frameworks have been admitted in all, since they are numbered.
    pub framework_count: u64,
    /// The ids of completed frameworks with the order of their completion; the oldest are forgotten.
    pub completed: BTreeMap<FrameworkId, u64>,
    /// How many frameworks have been completed in all.
    pub completed_count: u64,
    /// What operators guarantee roles and limit them to.
    pub quotas: BTreeMap<Role, Quota>,
    /// Weights of roles that are not the common one.
    pub weights: BTreeMap<Role, Weight>,
}

/// A durable agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentEntry {
    /// What it says of itself, shared by all copies of the registry.
    pub description: Arc<AgentDescription>,
    /// Since when it is unreachable, wall milliseconds.
    pub unreachable_since_wall_ms: Option<u64>,
    /// Frameworks with greater numbers have launched nothing there, as long as nobody has heard of it: while it is unreachable,
    /// and, if not 0, until it is back after a restore.
    pub frameworks: u64,
    /// Reservations and volumes that were made there; the agent does not know them.
    pub made: Resources,
    /// Whether an operator has deactivated it.
    pub is_deactivated: bool,
    /// Whether it is to be empty.
    pub drain: Option<Drain>,
    /// The numbers of the volumes that were made there.
    pub volumes: VolumeNumbers,
}

impl AgentEntry {
    /// An agent that is new.
    pub fn new(description: Arc<AgentDescription>) -> Self {
        Self {
            description,
            unreachable_since_wall_ms: None,
            frameworks: 0,
            made: Resources::new(),
            is_deactivated: false,
            drain: None,
            volumes: VolumeNumbers::default(),
        }
    }
}

/// What tells the volumes of an agent from earlier ones of the same id and role, of which the agent may still have the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeNumbers {
    /// Of those that are there.
    pub numbers: BTreeMap<(Role, VolumeId), u64>,
    /// The greatest that was ever given; they begin after what the agent was admitted with.
    pub last: u64,
}

impl VolumeNumbers {
    /// Gives numbers to volumes that have none, and forgets those of volumes that are no more.
    pub fn follow(&mut self, made: &Resources) {
        let named = made.volumes().filter_map(|(kind, volume, _)| {
            let role = kind.reserved_to()?;
            Some((role.clone(), volume.id.clone()))
        });
        let before = std::mem::take(&mut self.numbers);
        for key in named {
            if self.numbers.contains_key(&key) {
                continue;
            }
            let number = before.get(&key).copied().unwrap_or_else(|| {
                self.last += 1;
                self.last
            });
            self.numbers.insert(key, number);
        }
    }
}

/// A durable framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkEntry {
    /// Who may take it over.
    pub principal: Principal,
    /// What it says of itself.
    pub description: FrameworkDescription,
    /// Whether it has had no session for a while.
    pub is_away: bool,
    /// Its state.
    pub state: BTreeMap<StateKey, StateEntry>,
    /// Which one it is of all that were admitted, from 1; 0: it was there before they were numbered.
    pub number: u64,
    /// How many changes its state has seen; never goes back, so a key that is deleted and made anew has a new version.
    pub revision: u64,
}

/// A durable value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The value, shared by all copies of the registry.
    pub value: Arc<[u8]>,
    /// The framework's revision that wrote it; never 0.
    pub version: u64,
}

/// How many completed frameworks are remembered, so that their ids are refused (Mesos: 50, in memory only).
pub const COMPLETED_FRAMEWORKS_MAX: usize = 10_000;

/// How many agents that are gone are remembered, so that their ids are refused (as Mesos does).
pub const GONE_AGENTS_MAX: usize = 102_400;

impl Registry {
    /// Applies one operation. Those about something unknown change nothing.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::AdmitAgent {
                agent,
                description,
                volumes_after,
            } => self.admit_agent(agent, description, *volumes_after),
            Operation::MarkUnreachable {
                agent,
                since_wall_ms,
                frameworks,
            } => self.mark_unreachable(agent, *since_wall_ms, *frameworks),
            Operation::MarkReachable { agent } => self.change_agent(agent, |entry| {
                entry.unreachable_since_wall_ms = None;
                entry.frameworks = 0;
            }),
            Operation::ConvertAgent { agent, from, to } => self.change_agent(agent, |entry| {
                entry.made.subtract(from);
                entry.made.add(&made_of(to));
                entry.volumes.follow(&entry.made);
            }),
            Operation::DeactivateAgent { agent } => {
                self.change_agent(agent, |entry| entry.is_deactivated = true);
            }
            Operation::DrainAgent { agent, drain } => {
                self.change_agent(agent, |entry| entry.drain = Some(*drain));
            }
            Operation::ReactivateAgent { agent } => self.change_agent(agent, |entry| {
                entry.is_deactivated = false;
                entry.drain = None;
            }),
            Operation::MarkGone {
                agent,
                since_wall_ms,
            } => self.mark_gone(agent, *since_wall_ms),
            Operation::ForgetAgent { agent } => {
                self.agents.remove(agent);
                self.gone.remove(agent);
            }
            Operation::SetQuota { role, quota } => {
                self.quotas.insert(role.clone(), quota.clone());
            }
            Operation::RemoveQuota { role } => drop(self.quotas.remove(role)),
            Operation::SetWeight { role, weight } => {
                self.weights.insert(role.clone(), *weight);
            }
            Operation::RemoveWeight { role } => drop(self.weights.remove(role)),
            Operation::AdmitFramework {
                framework,
                principal,
                description,
                is_away,
            } => self.admit_framework(framework, principal, description, *is_away),
            Operation::CompleteFramework { framework } => self.complete(framework),
            Operation::PutState {
                framework,
                key,
                value,
            } => self.put_state(framework, key, value),
            Operation::DeleteState { framework, key } => {
                if let Some(entry) = self.frameworks.get_mut(framework) {
                    entry.revision += 1;
                    entry.state.remove(key);
                }
            }
        }
    }

    fn put_state(&mut self, framework: &FrameworkId, key: &StateKey, value: &Arc<[u8]>) {
        if let Some(entry) = self.frameworks.get_mut(framework) {
            entry.revision += 1;
            let stored = StateEntry {
                value: Arc::clone(value),
                version: entry.revision,
            };
            entry.state.insert(key.clone(), stored);
        }
    }

    fn admit_agent(
        &mut self,
        agent: &AgentId,
        description: &Arc<AgentDescription>,
        volumes_after: u64,
    ) {
        let entry = self.agents.entry(agent.clone());
        let entry = entry.or_insert_with(|| {
            let mut entry = AgentEntry::new(Arc::clone(description));
            entry.volumes.last = volumes_after;
            entry
        });
        entry.description = Arc::clone(description);
    }

    /// A framework that is known already keeps its number and its state.
    fn admit_framework(
        &mut self,
        framework: &FrameworkId,
        principal: &Principal,
        description: &FrameworkDescription,
        is_away: bool,
    ) {
        let old = self.frameworks.remove(framework);
        let is_new = old.is_none();
        self.framework_count = self.framework_count.saturating_add(u64::from(is_new));
        let (number, state, revision) = old.map_or_else(
            || (self.framework_count, BTreeMap::new(), 0),
            |entry| (entry.number, entry.state, entry.revision),
        );
        let entry = FrameworkEntry {
            principal: principal.clone(),
            description: description.clone(),
            is_away,
            number,
            state,
            revision,
        };
        self.frameworks.insert(framework.clone(), entry);
    }

    fn change_agent(&mut self, agent: &AgentId, change: impl FnOnce(&mut AgentEntry)) {
        if let Some(entry) = self.agents.get_mut(agent) {
            change(entry);
        }
    }

    fn mark_unreachable(&mut self, agent: &AgentId, since_wall_ms: u64, frameworks: Option<u64>) {
        let frameworks = frameworks.unwrap_or(self.framework_count);
        self.change_agent(agent, |entry| {
            entry.unreachable_since_wall_ms = Some(since_wall_ms);
            entry.frameworks = frameworks;
        });
    }

    fn mark_gone(&mut self, agent: &AgentId, since_wall_ms: u64) {
        self.agents.remove(agent);
        self.gone.insert(agent.clone(), since_wall_ms);
        if self.gone.len() > GONE_AGENTS_MAX {
            let longest = self.gone.iter().min_by_key(|(_, since)| **since);
            if let Some(longest) = longest.map(|(id, _)| id.clone()) {
                self.gone.remove(&longest);
            }
        }
    }

    fn complete(&mut self, framework: &FrameworkId) {
        self.frameworks.remove(framework);
        self.completed
            .insert(framework.clone(), self.completed_count);
        self.completed_count += 1;
        if self.completed.len() > COMPLETED_FRAMEWORKS_MAX {
            let oldest = self
                .completed
                .iter()
                .min_by_key(|(_, order)| **order)
                .map(|(id, _)| id.clone());
            if let Some(oldest) = oldest {
                self.completed.remove(&oldest);
            }
        }
    }
}
