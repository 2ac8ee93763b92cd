//! Volumes as their agents know them: each agent is told every persistent volume that is to be there, when it registers and
//! whenever that changes, and keeps the files of those and of no others. Durable before it is told, so that no agent makes
//! garbage of what the next leader still counts on.

use proffer_model::link::{AgentVolume, ToAgent};
use proffer_model::resources::Conversion;
use proffer_model::{AgentId, Resources, Role, VolumeId};

use crate::core::Core;
use crate::effect::After;

impl Core {
    /// Tells an agent its volumes; also those that it has no disk for since it changed.
    pub(crate) fn send_volumes(&mut self, agent: &AgentId, after: After) {
        let Some(entry) = self.registry.agents.get(agent) else {
            return;
        };
        let numbers = entry.volumes.numbers.iter();
        let volumes = numbers.map(|((role, id), number)| AgentVolume {
            id: id.clone(),
            role: role.clone(),
            number: *number,
        });
        let message = ToAgent::Volumes {
            epoch: self.epoch,
            volumes: volumes.collect(),
        };
        self.send_agent(agent, message, after);
    }
}

/// Whether it makes or destroys volumes; their size is nothing to the agent.
pub(crate) fn changes_volumes(conversion: &Conversion) -> bool {
    names_of(&conversion.from).ne(names_of(&conversion.to))
}

fn names_of(resources: &Resources) -> impl Iterator<Item = (Option<&Role>, &VolumeId)> {
    let volumes = resources.volumes();
    volumes.map(|(kind, volume, _)| (kind.reserved_to(), &volume.id))
}
