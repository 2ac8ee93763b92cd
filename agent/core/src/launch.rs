//! Launches: what is new, what fits, and what is answered to the rest.
//!
//! A launch is its framework, task id and incarnation. What is known, or older than what is known, is ignored: it was
//! answered by statuses already. What does not fit is answered with ERROR, kept and sent again like every status.

use std::sync::Arc;

use proffer_model::link::Payer;
use proffer_model::{FrameworkId, Incarnation, Reason, Status, TaskId, TaskSpec, TaskState, Time};

use crate::core::Core;
use crate::effect::{Change, Effect, Effects, Fact};
use crate::event::RunId;
use crate::limits::{LAUNCHES_REMEMBERED_MAX, TASKS_MAX};
use crate::task::Task;
use crate::tasks::Phase;
use crate::updates::{Updates, mix};

/// A launch as the leader wants it.
#[derive(Debug)]
pub(crate) struct LaunchOrder {
    pub(crate) framework: FrameworkId,
    pub(crate) incarnation: Incarnation,
    pub(crate) spec: TaskSpec,
    pub(crate) payer: Option<Payer>,
}

impl Core {
    pub(crate) fn on_launch(&mut self, now: Time, order: LaunchOrder, effects: &mut Effects) {
        let LaunchOrder {
            framework,
            incarnation,
            spec,
            payer,
        } = order;
        if self.is_known(&framework, &spec.id, incarnation) {
            effects.push(Effect::Record(Fact::LaunchRepeated {
                framework,
                task: spec.id,
                incarnation,
            }));
            return;
        }
        let refusal = self.refusal(&framework, &spec);
        if let Some(message) = &refusal {
            effects.push(Effect::Record(Fact::LaunchRefused {
                framework: framework.clone(),
                task: spec.id.clone(),
                message: message.clone(),
            }));
        }
        let (state, reason) = match refusal {
            None => (TaskState::Starting, Reason::None),
            Some(_) => (TaskState::Error, Reason::LaunchFailed),
        };
        let status = Status {
            task: spec.id.clone(),
            incarnation,
            agent: self.identity.agent.clone(),
            number: 1,
            state,
            reason,
            message: refusal.unwrap_or_default(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: now.wall_ms,
        };
        if self.tasks.len() >= TASKS_MAX {
            self.send_unkept(framework, status, effects);
            return;
        }
        let order = LaunchOrder {
            framework,
            incarnation,
            spec,
            payer,
        };
        self.record(now, order, status, effects);
    }

    /// Keeps a launch and its first status; the container is made when that is durable.
    fn record(&mut self, now: Time, order: LaunchOrder, status: Status, effects: &mut Effects) {
        let run = self.draw_run();
        let (framework, incarnation) = (order.framework, order.incarnation);
        let (spec, payer) = (Arc::new(order.spec), order.payer);
        let change = Change::Run {
            run,
            framework: framework.clone(),
            incarnation,
            spec: spec.clone(),
            payer: payer.clone(),
            status: status.clone(),
        };
        let seq = self.persist(change, effects);
        let is_refused = status.state.is_terminal();
        let task = Task {
            framework: framework.clone(),
            incarnation,
            spec: spec.clone(),
            payer,
            phase: if is_refused {
                Phase::Ended
            } else {
                Phase::Recording
            },
            kill: None,
            updates: Updates::new(status.clone()),
            health: Default::default(),
            pid: None,
            running_since_ms: None,
            seq,
        };
        self.insert_task(run, task);
        if !is_refused {
            self.recording.push_back((seq, run));
        }
        self.send_status(run, status, effects);
        self.await_acknowledgement(now, run, effects);
        self.record_row(run, effects);
    }

    /// Whether this launch, or a later one of the same task, has been seen.
    fn is_known(&self, framework: &FrameworkId, task: &TaskId, incarnation: Incarnation) -> bool {
        let key = (framework.clone(), task.clone());
        let live = self
            .index
            .get(&key)
            .and_then(|runs| runs.keys().next_back());
        let remembered = self.remembered.get(&key);
        live.max(remembered)
            .is_some_and(|known| *known >= incarnation)
    }

    /// Why a launch cannot be, in words; nothing when it can.
    fn refusal(&self, framework: &FrameworkId, spec: &TaskSpec) -> Option<String> {
        if self.tasks.len() >= TASKS_MAX {
            return Some(format!("the agent holds {TASKS_MAX} tasks already"));
        }
        let key = (framework.clone(), spec.id.clone());
        let runs = self.index.get(&key).into_iter().flatten();
        let is_live = runs
            .filter_map(|(_, run)| self.tasks.get(run))
            .any(|task| task.phase != Phase::Ended);
        if is_live {
            return Some("an earlier launch of this task has not ended".to_owned());
        }
        // Reservations and volumes come and go after the agent has registered: only how much there is counts here.
        let all = self.settings.description.resources.flattened();
        let free = all.minus(&self.used.flattened());
        let needs = spec.resources.flattened();
        let missing = free.first_missing(&needs);
        missing.map(|(kind, _)| format!("the agent has not enough free {kind}"))
    }

    pub(crate) fn insert_task(&mut self, run: RunId, task: Task) {
        if task.phase != Phase::Ended {
            self.used.add(&task.spec.resources);
        }
        let key = (task.framework.clone(), task.spec.id.clone());
        self.index
            .entry(key)
            .or_default()
            .insert(task.incarnation, run);
        self.tasks.insert(run, task);
    }

    /// Remembers a launch after its run is gone.
    pub(crate) fn remember(
        &mut self,
        framework: FrameworkId,
        task: TaskId,
        incarnation: Incarnation,
    ) {
        let key = (framework, task);
        let newest = self.remembered.entry(key.clone()).or_insert(incarnation);
        *newest = incarnation.max(*newest);
        self.remembered_order.push_back(key);
        if self.remembered_order.len() > LAUNCHES_REMEMBERED_MAX
            && let Some(oldest) = self.remembered_order.pop_front()
            && !self.remembered_order.contains(&oldest)
        {
            self.remembered.remove(&oldest);
        }
    }

    /// A name for a run that is not in use.
    fn draw_run(&mut self) -> RunId {
        loop {
            self.drawn += 1;
            let run = RunId(mix(self.settings.seed.wrapping_add(mix(self.drawn))));
            if !self.tasks.contains_key(&run) && !self.garbage.iter().any(|g| g.run == run) {
                return run;
            }
        }
    }
}
