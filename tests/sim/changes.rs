//! Changes of tasks that run: their frameworks count them in a label, and an agent keeps no change that nobody has asked for,
//! and none after a later one (S7).

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::session::Call;
use proffer_model::{Incarnation, TaskId};

use super::coverage::Seen;
use super::world::{Outcome, World};

const LABEL: &str = "change";

#[derive(Default)]
pub(super) struct Changes {
    asked: BTreeMap<TaskId, BTreeSet<u64>>,
    /// The last that was kept of each launch.
    kept: BTreeMap<(TaskId, Incarnation), u64>,
}

impl Changes {
    /// S7: an agent keeps a change.
    pub(super) fn on_kept(
        &mut self,
        task: &TaskId,
        incarnation: Incarnation,
        labels: &BTreeMap<String, String>,
    ) -> Outcome {
        let number = labels.get(LABEL).and_then(|text| text.parse().ok());
        let number = number.unwrap_or(0);
        let asked = self.asked.get(task);
        if !asked.is_some_and(|asked| asked.contains(&number)) {
            return Err(format!(
                "{task} is changed to {labels:?}, which nobody asked"
            ));
        }
        let launch = (task.clone(), incarnation);
        let before = self.kept.insert(launch, number).unwrap_or(0);
        // What was not written yet when the agent died is said again.
        match before <= number {
            true => Ok(()),
            false => Err(format!(
                "{task} is changed by call {number} after it was by {before}"
            )),
        }
    }
}

impl World {
    /// A framework changes something that runs, now and then.
    pub(super) fn change_some(&mut self, n: usize, connection: u64) {
        if !self.random.one_in(8) {
            return;
        }
        let running = self.frameworks[n].wants.running();
        let Some(task) = running.get(self.random.index(running.len())).cloned() else {
            return;
        };
        let number = self.requests + 1;
        let changes = &mut self.checks.changes;
        changes
            .asked
            .entry(task.clone())
            .or_default()
            .insert(number);
        self.seen.count(Seen::ChangeAsked);
        let label = (LABEL.to_owned(), number.to_string());
        let call = Call::UpdateTask {
            task,
            labels: Some([label].into()),
            grace: None,
        };
        self.call(n, connection, call);
    }
}
