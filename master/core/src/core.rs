//! The core: one value, one function. This file only says what it consists of and which event goes where.

use proffer_model::registry::Registry;
use proffer_model::{ClusterId, Epoch, Time};

use crate::config::Config;
use crate::effect::Effects;
use crate::event::Event;

/// A master's whole knowledge in one leadership term. Built when leadership is won, dropped when it is lost.
#[derive(Debug)]
pub struct Core {
    config: Config,
    cluster: ClusterId,
    epoch: Epoch,
    seed: [u8; 32],
    registry: Registry,
    now: Time,
}

impl Core {
    /// Begins a term with what the log adds up to. `seed` must be unguessable: offer ids are made of it.
    pub fn new(
        config: Config,
        cluster: ClusterId,
        epoch: Epoch,
        seed: [u8; 32],
        registry: Registry,
        now: Time,
        effects: &mut Effects,
    ) -> Self {
        effects.clear();
        Self {
            config,
            cluster,
            epoch,
            seed,
            registry,
            now,
        }
    }

    /// Takes what happened and appends what is to be done. The same events give the same effects.
    pub fn step(&mut self, now: Time, event: Event, effects: &mut Effects) {
        self.now = now;
        let _ = (event, effects);
    }

    /// What the log adds up to once all batches of this core are durable.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}
