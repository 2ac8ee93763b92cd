//! Frameworks that are over and have many tasks: these become nobody's in pieces, so that nobody else waits for more than one.
//!
//! That the framework is over is durable first, and nobody speaks for it any more from the first piece on. It stays in the table,
//! as what holds the tasks that are left, until the last of them is nobody's. The subtle thing: what its agents say meanwhile
//! of tasks that are nobody's already finds the framework, but not in the registry, which is what counts.

use std::collections::VecDeque;

use proffer_model::{FrameworkId, Reason};

use crate::core::Core;
use crate::effect::{After, Fact};
use crate::limits::{ENDED_TASK_STEPS, ENDED_TASKS_AT_ONCE_MAX};
use crate::task_table::TaskKey;

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

    fn forget_framework(&mut self, framework: &FrameworkId) {
        self.frameworks.remove(framework);
        self.allocator.remove_framework(framework);
        let framework = framework.clone();
        self.turn.record(Fact::FrameworkGone { framework });
    }
}
