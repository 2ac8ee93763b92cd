//! What all agents are and have together: how many can be reached, what of it can be guaranteed, and which names are not
//! scalars everywhere. Sums that are kept as agents come, change and go, so that nobody has to go through all of them.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::resources::Amount;
use proffer_model::{AgentId, AgentState, Quantities, ResourceName, Resources};

use crate::agents::{Agent, Agents};

/// The range resource of which it is known without any agent that it is no scalar.
const PORTS: &str = "ports";

/// Sums over all agents.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// How many are not unreachable.
    reachable: u64,
    /// What those have that is not revocable, in thousandths; never nothing.
    scalars: BTreeMap<ResourceName, u128>,
    /// Who has numbers or items of a name, reachable or not; never nobody.
    others: BTreeMap<ResourceName, BTreeSet<AgentId>>,
}

impl Capacity {
    /// Of all of these.
    pub(crate) fn of(agents: &BTreeMap<AgentId, Agent>) -> Self {
        let mut capacity = Self::default();
        for (id, agent) in agents {
            capacity.count(id, agent);
        }
        capacity
    }

    /// How many agents are not unreachable.
    pub(crate) fn reachable(&self) -> u64 {
        self.reachable
    }

    /// How much of a scalar can be guaranteed.
    pub(crate) fn scalar(&self, name: &ResourceName) -> u64 {
        let sum = self.scalars.get(name).copied().unwrap_or(0);
        u64::try_from(sum).unwrap_or(u64::MAX)
    }

    /// The first agent that has numbers or items of a name. Of ports it is not kept.
    pub(crate) fn other_form(&self, name: &ResourceName) -> Option<&AgentId> {
        self.others.get(name)?.first()
    }

    fn count(&mut self, id: &AgentId, agent: &Agent) {
        if let Some(scalars) = guaranteeable(agent) {
            self.reachable += 1;
            for (name, milli) in scalars.iter() {
                *self.scalars.entry(name.clone()).or_default() += u128::from(milli);
            }
        }
        for name in others(&agent.total) {
            let of = self.others.entry(name.clone()).or_default();
            of.insert(id.clone());
        }
    }

    fn uncount(&mut self, id: &AgentId, agent: &Agent) {
        if let Some(scalars) = guaranteeable(agent) {
            self.reachable = self.reachable.saturating_sub(1);
            for (name, milli) in scalars.iter() {
                if let Some(sum) = self.scalars.get_mut(name) {
                    *sum = sum.saturating_sub(u128::from(milli));
                }
            }
            self.scalars.retain(|_, sum| *sum > 0);
        }
        for name in others(&agent.total) {
            if let Some(of) = self.others.get_mut(name) {
                of.remove(id);
            }
            self.others.retain(|_, of| !of.is_empty());
        }
    }
}

/// None: it is unreachable, and may never be back.
fn guaranteeable(agent: &Agent) -> Option<Quantities> {
    let is_reachable = agent.state != AgentState::Unreachable;
    is_reachable.then(|| agent.total.non_revocable().quantities())
}

fn others(total: &Resources) -> impl Iterator<Item = &ResourceName> {
    let special = total.special().map(|(kind, amount)| (&kind.name, amount));
    let all = total.ordinary().chain(special);
    all.filter_map(|(name, amount)| match amount {
        Amount::Scalar(_) | Amount::Whole(_) => None,
        Amount::Ranges(_) | Amount::Set(_) => Some(name).filter(|name| name.as_str() != PORTS),
    })
}

impl Agents {
    /// Adds an agent that is not known.
    pub(crate) fn insert(&mut self, id: AgentId, agent: Agent) {
        self.capacity.count(&id, &agent);
        self.by_id.insert(id, agent);
    }

    /// Changes what an agent has, or whether it can be reached.
    pub(crate) fn change(&mut self, id: &AgentId, change: impl FnOnce(&mut Agent)) {
        if let Some(agent) = self.by_id.get_mut(id) {
            self.capacity.uncount(id, agent);
            change(agent);
            self.capacity.count(id, agent);
        }
    }

    /// Takes an agent out.
    pub(crate) fn remove(&mut self, id: &AgentId) -> Option<Agent> {
        let removed = self.by_id.remove(id)?;
        self.capacity.uncount(id, &removed);
        for (until, _) in &removed.resting {
            self.resting.remove(&(*until, id.clone()));
        }
        Some(removed)
    }
}
