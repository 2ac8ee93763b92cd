//! Reclaim: resources are wanted back. One protocol for whatever wants them (an agent that drains; quota and priorities can
//! use it too): each framework is told which of its tasks, why and until when; it may end them itself or start others first;
//! at the deadline what is left is killed, with the task's own grace. Without a deadline nothing is ever killed.
//!
//! What is wanted back is remembered with the task, in memory: whoever wants it says so again in the next term, with what is
//! left of the time. A session that comes late is told again. What was told last counts; the reason
//! [`Reason::None`] takes it back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::session::Event;
use proffer_model::{FrameworkId, Reason, TaskId};

use crate::core::Core;
use crate::effect::{After, Fact};
use crate::event::{SessionId, TimerKey};
use crate::limits::RECLAIM_TASKS_PER_EVENT_MAX;
use crate::task_table::{KillWish, TaskKey};

/// That a task's resources are wanted back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    /// Why; the reason of its statuses if it is killed for it.
    pub(crate) reason: Reason,
    /// When it is killed, by the monotonic clock; absent: never.
    pub(crate) until: Option<u64>,
}

/// Tasks that are wanted back.
#[derive(Debug, Default)]
pub(crate) struct Reclaims {
    wanted: BTreeMap<FrameworkId, BTreeSet<TaskId>>,
    /// Those that are killed unless they end before, by when.
    due: BTreeMap<u64, BTreeSet<TaskKey>>,
    timer_at: Option<u64>,
}

impl Reclaims {
    fn note_wanted(&mut self, (framework, task): &TaskKey, is_wanted: bool) {
        if is_wanted {
            let of = self.wanted.entry(framework.clone()).or_default();
            of.insert(task.clone());
        } else if let Some(of) = self.wanted.get_mut(framework) {
            of.remove(task);
            if of.is_empty() {
                self.wanted.remove(framework);
            }
        }
    }
}

impl Core {
    /// Wants the resources of these tasks back. Each framework is told of those of its tasks that it has not been told the
    /// same of; tasks that are over, or not in the table, are passed over.
    pub(crate) fn reclaim(&mut self, tasks: &[TaskKey], wanted: Wanted, after: After) {
        let mut told: BTreeMap<FrameworkId, Vec<TaskId>> = BTreeMap::new();
        for key in tasks {
            if self.set_wanted(key, Some(wanted)) {
                told.entry(key.0.clone()).or_default().push(key.1.clone());
            }
        }
        for (framework, tasks) in told {
            self.tell_reclaim(&framework, &tasks, wanted, after);
            let (count, reason) = (tasks.len(), wanted.reason);
            self.turn.record(Fact::Reclaimed {
                framework,
                count: u64::try_from(count).unwrap_or(u64::MAX),
                reason,
            });
        }
        self.set_reclaim_timer();
    }

    /// Wants the resources of these tasks no more, as far as it was for this reason. What is being killed is.
    pub(crate) fn end_reclaim(&mut self, tasks: &[TaskKey], reason: Reason, after: After) {
        let mut told: BTreeMap<FrameworkId, Vec<TaskId>> = BTreeMap::new();
        for key in tasks {
            let wanted = self.tasks.get(key).and_then(|task| task.wanted());
            if wanted.is_some_and(|wanted| wanted.reason == reason) {
                self.set_wanted(key, None);
                told.entry(key.0.clone()).or_default().push(key.1.clone());
            }
        }
        let nothing = Wanted {
            reason: Reason::None,
            until: None,
        };
        for (framework, tasks) in told {
            self.tell_reclaim(&framework, &tasks, nothing, after);
        }
    }

    /// Tells a session that came late what of its framework is wanted back.
    pub(crate) fn repeat_reclaims(&mut self, session: SessionId, framework: &FrameworkId) {
        let mut told: BTreeMap<Wanted, Vec<TaskId>> = BTreeMap::new();
        for id in self.reclaims.wanted.get(framework).into_iter().flatten() {
            let task = self.tasks.get(&(framework.clone(), id.clone()));
            if let Some(wanted) = task.and_then(|task| task.wanted()) {
                told.entry(wanted).or_default().push(id.clone());
            }
        }
        let after = self.turn.after_everything();
        for (wanted, tasks) in told {
            for event in self.reclaim_events(&tasks, wanted) {
                self.send_session(session, event, after);
            }
        }
    }

    /// A task has come to its end, or is no more: nothing of it is wanted.
    pub(crate) fn forget_wanted(&mut self, key: &TaskKey) {
        self.set_wanted(key, None);
    }

    /// The time of some tasks is over: those that are left are killed.
    pub(crate) fn on_reclaim_due(&mut self) {
        self.reclaims.timer_at = None;
        let now = self.turn.now.mono_ns;
        let later = self.reclaims.due.split_off(&now.saturating_add(1));
        let due = std::mem::replace(&mut self.reclaims.due, later);
        for key in due.into_values().flatten() {
            let Some(task) = self.tasks.get_mut(&key) else {
                continue;
            };
            let reason = task.wanted().map_or(Reason::None, |wanted| wanted.reason);
            if !task.latest.is_terminal() {
                task.set_kill(KillWish {
                    grace: None,
                    reason,
                });
                let after = self.turn.after_everything();
                self.repeat_kill(&key, after);
            }
        }
        self.set_reclaim_timer();
    }

    /// Answers whether that is new.
    fn set_wanted(&mut self, key: &TaskKey, wanted: Option<Wanted>) -> bool {
        let Some(task) = self.tasks.get_mut(key) else {
            return false;
        };
        let wanted = wanted.filter(|_| !task.latest.is_terminal());
        let before = task.set_wanted(wanted);
        if before == wanted {
            return false;
        }
        if before.is_some() != wanted.is_some() {
            self.reclaims.note_wanted(key, wanted.is_some());
        }
        let due = &mut self.reclaims.due;
        if let Some(until) = before.and_then(|before| before.until)
            && let Some(keys) = due.get_mut(&until)
        {
            keys.remove(key);
            if keys.is_empty() {
                due.remove(&until);
            }
        }
        if let Some(until) = wanted.and_then(|wanted| wanted.until) {
            due.entry(until).or_default().insert(key.clone());
        }
        true
    }

    fn tell_reclaim(
        &mut self,
        framework: &FrameworkId,
        tasks: &[TaskId],
        wanted: Wanted,
        after: After,
    ) {
        for event in self.reclaim_events(tasks, wanted) {
            self.tell(framework, event, after);
        }
    }

    fn reclaim_events(&self, tasks: &[TaskId], wanted: Wanted) -> Vec<Event> {
        let now = self.turn.now.mono_ns;
        let left = |until: u64| Duration::from_nanos(until.saturating_sub(now));
        let chunks = tasks.chunks(RECLAIM_TASKS_PER_EVENT_MAX);
        let events = chunks.map(|tasks| Event::Reclaim {
            tasks: tasks.to_vec(),
            reason: wanted.reason,
            deadline: wanted.until.map(left),
        });
        events.collect()
    }

    fn set_reclaim_timer(&mut self) {
        let next = self.reclaims.due.keys().next().copied();
        if let Some(at) = next
            && self.reclaims.timer_at.is_none_or(|set| at < set)
        {
            self.reclaims.timer_at = Some(at);
            self.set_timer_at(TimerKey::Reclaim, at);
        }
    }

    /// Whether marks and index agree; for [`Core::check_invariants`].
    pub(crate) fn check_reclaims(&self) -> Result<(), String> {
        let indexed: BTreeSet<(u64, &TaskKey)> = self
            .reclaims
            .due
            .iter()
            .flat_map(|(at, keys)| keys.iter().map(|key| (*at, key)))
            .collect();
        for (at, key) in &indexed {
            let wanted = self.tasks.get(key).and_then(|task| task.wanted());
            if wanted.and_then(|wanted| wanted.until) != Some(*at) {
                return Err(format!("{key:?} is to be killed and not wanted back"));
            }
        }
        let wanted = self.tasks.frameworks().flat_map(|framework| {
            let of = self.tasks.of(framework);
            let of = of.filter(|(_, task)| task.wanted().is_some());
            of.map(move |(task, _)| (framework, task))
        });
        let listed = self.reclaims.wanted.iter();
        let listed =
            listed.flat_map(|(framework, of)| of.iter().map(move |task| (framework, task)));
        match listed.eq(wanted) {
            true => Ok(()),
            false => Err("what is wanted back is listed".to_owned()),
        }
    }
}
