//! What must hold after each step; called by tests and simulations.

use crate::core::Core;

impl Core {
    /// Checks that the indexes agree and that nothing is promised twice; the error says what is broken.
    pub fn check_invariants(&self) -> Result<(), String> {
        for (id, instance) in &self.instances {
            let entry = self
                .apps
                .get(&instance.app)
                .ok_or_else(|| format!("{id} has no app"))?;
            if !entry.instances.contains(id) || self.tasks.get(&instance.task) != Some(id) {
                return Err(format!("{id} is not in every index"));
            }
        }
        let listed: usize = self.apps.values().map(|entry| entry.instances.len()).sum();
        if listed != self.instances.len() || self.tasks.len() != self.instances.len() {
            return Err("an index names an instance that is not".into());
        }
        let mut ports = std::collections::BTreeMap::new();
        for (id, entry) in &self.apps {
            if let Some(demand) = &entry.demand
                && (self.demands.get(&demand.id) != Some(id) || demand.count != entry.missing)
            {
                return Err(format!("the demand of {id} is not what is missing"));
            }
            for port in &entry.app.spec.ports {
                if port.number == 0 || ports.insert(port.number, id).is_some() {
                    return Err(format!(
                        "the service port {} of {id} is not its own",
                        port.number
                    ));
                }
            }
        }
        let wanted = self
            .apps
            .values()
            .filter(|entry| entry.demand.is_some())
            .count();
        if wanted != self.demands.len() {
            return Err("a demand has no app".into());
        }
        if !self.touched.is_empty()
            || !self.to_keep.is_empty()
            || !self.to_show.is_empty()
            || !self.out.is_empty()
        {
            return Err("a step left work behind".into());
        }
        Ok(())
    }
}
