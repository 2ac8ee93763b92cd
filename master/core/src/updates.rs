//! Changes of tasks that run. The agent keeps them; the master shows them, and says them again when the agent registers anew.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::link::ToAgent;
use proffer_model::{FrameworkId, Problem, TaskId, code};

use crate::core::Core;
use crate::effect::After;
use crate::task_table::TaskKey;

/// What was changed of a task in this term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    /// All labels that it is to have, if they were changed.
    labels: Option<BTreeMap<String, String>>,
    grace: Option<Duration>,
}

impl Core {
    pub(crate) fn on_update_task(
        &mut self,
        framework: &FrameworkId,
        task: &TaskId,
        labels: Option<BTreeMap<String, String>>,
        grace: Option<Duration>,
    ) -> Result<(), Problem> {
        if labels.is_none() && grace.is_none() {
            return Err(
                Problem::new(code::FIELD_MISSING, "nothing is to be changed")
                    .field("labels")
                    .hint("give labels, or kill_grace_ms, or both"),
            );
        }
        let key = (framework.clone(), task.clone());
        self.judge_update(&key)?;
        if let Some(known) = self.tasks.get_mut(&key) {
            if let Some(labels) = &labels {
                known.set_labels(labels);
            }
            let update = known.update_mut();
            update.labels = labels.or(update.labels.take());
            update.grace = grace.or(update.grace);
        }
        self.repeat_update(&key, After::Nothing);
        self.touch_task(&key);
        Ok(())
    }

    /// Sends what was changed, if anything was, and shows it instead of what the agent may still say.
    pub(crate) fn repeat_update(&mut self, key: &TaskKey, after: After) {
        let epoch = self.epoch;
        let Some(task) = self.tasks.get_mut(key) else {
            return;
        };
        let Some(update) = task.update().cloned() else {
            return;
        };
        if let Some(labels) = &update.labels {
            task.set_labels(labels);
        }
        let message = ToAgent::UpdateTask {
            epoch,
            framework: key.0.clone(),
            task: key.1.clone(),
            incarnation: task.incarnation,
            labels: update.labels,
            grace: update.grace,
        };
        let agent = task.agent().clone();
        self.send_agent(&agent, message, after);
    }

    fn judge_update(&self, key: &TaskKey) -> Result<(), Problem> {
        let field = "task_id";
        let Some(task) = self.tasks.get(key) else {
            let message = format!("there is no task {}", key.1);
            return Err(Problem::new(code::TASK_UNKNOWN, message)
                .field(field)
                .hint("after a change of the leader, wait until its agent has settled"));
        };
        if task.latest.is_terminal() {
            let message = format!("task {} has ended", key.1);
            return Err(Problem::new(code::TASK_ENDED, message)
                .field(field)
                .hint("launch another one"));
        }
        let agent = self.agents.by_id.get(task.agent());
        if agent.is_none_or(|agent| agent.link.is_none()) {
            let message = format!("agent {} of task {} is not connected", task.agent(), key.1);
            return Err(Problem::new(code::AGENT_AWAY, message)
                .field(field)
                .hint("try again when it is back"));
        }
        Ok(())
    }
}
