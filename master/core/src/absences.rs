//! Frameworks that have had no session for a while. It is written down, so that the next leader does not wait for them before it
//! offers: a program that was ended last week and has its failover timeout to come back would hold it up as long as it may be.

use std::collections::BTreeSet;

use proffer_model::FrameworkId;
use proffer_model::registry::Operation;

use crate::core::Core;
use crate::limits::{ABSENCES_PER_STEP, FRAMEWORK_AWAY_AFTER};

/// Frameworks without a session of which that is not written down.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    /// By when it is to be, by the monotonic clock.
    due: BTreeSet<(u64, FrameworkId)>,
}

impl Core {
    /// A framework has no session from now on.
    pub(crate) fn begin_absence(&mut self, framework: &FrameworkId) {
        self.end_absence(framework);
        let entry = self.registry.frameworks.get(framework);
        let is_present = entry.is_some_and(|entry| !entry.is_away);
        let at = self.turn.now.after(FRAMEWORK_AWAY_AFTER).mono_ns;
        if let Some(known) = self.frameworks.get_mut(framework).filter(|_| is_present) {
            known.away_at = Some(at);
            self.absences.due.insert((at, framework.clone()));
        }
    }

    /// A framework has a session, or is over.
    pub(crate) fn end_absence(&mut self, framework: &FrameworkId) {
        let known = self.frameworks.get_mut(framework);
        if let Some(at) = known.and_then(|known| known.away_at.take()) {
            self.absences.due.remove(&(at, framework.clone()));
        }
    }

    /// Writes down who has been away for long enough, some at a time, while the store keeps up.
    pub(crate) fn note_absences(&mut self) {
        for _ in 0..ABSENCES_PER_STEP {
            let next = self.absences.due.first();
            let is_due = next.is_some_and(|(at, _)| *at <= self.turn.now.mono_ns);
            if !is_due || self.check_store_keeps_up().is_err() {
                return;
            }
            let Some((_, framework)) = self.absences.due.pop_first() else {
                return;
            };
            if let Some(known) = self.frameworks.get_mut(&framework) {
                known.away_at = None;
            }
            if let Some(entry) = self.registry.frameworks.get(&framework) {
                self.persist(Operation::AdmitFramework {
                    framework,
                    principal: entry.principal.clone(),
                    description: entry.description.clone(),
                    is_away: true,
                });
            }
        }
    }
}
