//! Frameworks that are over and have many tasks: these become nobody's in pieces, so that nobody else waits for more than one.
//!
//! That the framework is over is durable first, and nobody speaks for it any more from the first piece on. It stays in the table,
//! as what holds the tasks that are left, until the last of them is nobody's. The subtle thing: what its agents say meanwhile
//! of tasks that are nobody's already finds the framework, but not in the registry, which is what counts.
//!
//! Readers are shown each of its tasks once more, as killed, and the framework's end after the last of them. Nobody is left to
//! wait for what really becomes of a task.

use std::collections::VecDeque;
use std::sync::Arc;

use proffer_model::{FrameworkId, Reason, TaskState};

use crate::core::Core;
use crate::effect::{After, Fact};
use crate::limits::{ENDED_TASK_STEPS, ENDED_TASKS_AT_ONCE_MAX};
use crate::task_table::{Task, TaskKey};
use crate::tasks::Say;

/// Those that are over and have tasks yet, in turn.
#[derive(Debug)]
pub(crate) struct Endings {
    under_way: VecDeque<Ending>,
    /// How many tasks the first piece has at most.
    pub(crate) at_once_max: usize,
}

#[derive(Debug)]
struct Ending {
    framework: FrameworkId,
    /// When it is durable that it is over.
    after: After,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            under_way: VecDeque::new(),
            at_once_max: ENDED_TASKS_AT_ONCE_MAX,
        }
    }
}

impl Endings {
    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether a framework is over.
    pub(crate) fn has(&self, framework: &FrameworkId) -> bool {
        let mut under_way = self.under_way.iter();
        under_way.any(|ending| ending.framework == *framework)
    }
}

impl Core {
    /// What a framework that is over has becomes nobody's, beginning now. It is over when nothing is left.
    pub(crate) fn begin_ending(&mut self, framework: &FrameworkId, after: After) {
        let most = self.endings.at_once_max;
        if self.disown_some(framework, most, after) {
            return self.forget_framework(framework);
        }
        self.sync_framework(framework, false);
        if let Some(known) = self.frameworks.get_mut(framework) {
            known.session = None;
            known.failover_at = None;
            known.state_len = 0;
            known.demands.clear();
        }
        let framework = framework.clone();
        self.endings
            .under_way
            .push_back(Ending { framework, after });
        self.tell_on_later();
    }

    /// The next pieces, each framework in its turn.
    pub(crate) fn continue_endings(&mut self, budget: usize) {
        let most = (budget / ENDED_TASK_STEPS).max(1);
        let Some(ending) = self.endings.under_way.pop_front() else {
            return;
        };
        match self.disown_some(&ending.framework, most, ending.after) {
            true => self.forget_framework(&ending.framework),
            false => self.endings.under_way.push_back(ending),
        }
    }

    /// Makes some of the framework's tasks nobody's, and after the last of them its executors. Whether nothing is left.
    fn disown_some(&mut self, framework: &FrameworkId, most: usize, after: After) -> bool {
        let tasks = self.tasks.after(framework, None).take(most);
        let tasks: Vec<TaskKey> = tasks
            .map(|task| (framework.clone(), task.clone()))
            .collect();
        self.disown(&tasks, Reason::FrameworkRemoved, after);
        if self.tasks.count_of(framework) > 0 {
            return false;
        }
        self.disown_executors(framework, after);
        true
    }

    /// Shows how a task ended whose framework is over, unless that was shown before.
    pub(crate) fn record_end(&mut self, mut task: Task) {
        if task.told().state.is_terminal() {
            return;
        }
        let say = match task.latest.is_terminal() {
            // Its agent has said so, but not why.
            true => Say {
                state: task.latest,
                reason: Reason::None,
                message: "its framework was over before it was told more".to_owned(),
            },
            false => framework_over(),
        };
        let status = self.own_status(&task, say);
        task.set_status(status);
        self.turn.record(Fact::Task(Arc::clone(task.row())));
    }

    fn forget_framework(&mut self, framework: &FrameworkId) {
        self.frameworks.remove(framework);
        self.allocator.remove_framework(framework);
        let framework = framework.clone();
        self.turn.record(Fact::FrameworkGone { framework });
    }
}

/// What becomes of a task whose framework is over.
pub(crate) fn framework_over() -> Say {
    Say {
        state: TaskState::Killed,
        reason: Reason::FrameworkRemoved,
        message: "its framework is over".to_owned(),
    }
}
