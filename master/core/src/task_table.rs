//! The table of tasks: what is kept of each, in as little memory as may be, and found quickly.
//!
//! There may be a million of them. What never changes of a task is kept once for all that are alike; what is shown of it is
//! shared with the view. The subtle thing: whoever asks for a task asks for it many times in a row, so the table looks first
//! where it found the last one.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::Payer;
use proffer_model::{
    AgentId, DemandId, ExecutorSpec, FrameworkId, Incarnation, Reason, Resources, Role, Status,
    TaskId, TaskSpec, TaskState,
};

use crate::effect::{TaskOutline, TaskRow, Told};
use crate::reclaim::Wanted;
use crate::updates::Update;

/// A task's name within the cluster.
pub(crate) type TaskKey = (FrameworkId, TaskId);

/// A task that is live or not acknowledged to its end. Its command and environment are the agent's alone.
#[derive(Debug)]
pub(crate) struct Task {
    /// As it is shown; with what its framework was told last, or is about to be.
    row: Arc<TaskRow>,
    /// The entry of its framework's demand that it was launched for.
    pub(crate) demand: Option<DemandId>,
    pub(crate) incarnation: Incarnation,
    /// The framework's own executor that it is in.
    pub(crate) executor: Option<Arc<ExecutorSpec>>,
    /// May be later than the status.
    pub(crate) latest: TaskState,
    /// What the framework has not acknowledged, oldest first; those with the number 0 are the master's own. Most have
    /// nothing there.
    queue: Option<Box<Queue>>,
    /// The greatest number of the agent's that was put into the queue.
    pub(crate) received: u64,
    /// The greatest number of the agent's that the framework has acknowledged.
    pub(crate) acknowledged: u64,
    /// The greatest number that the agent has said to have; what comes after `received` it will send.
    pub(crate) announced: u64,
    /// What few tasks have.
    rare: Option<Box<Rare>>,
    /// Whether its agent has ever said that it has it.
    pub(crate) is_delivered: bool,
    /// Whether its framework's usage counts it.
    pub(crate) is_charged: bool,
    /// Whether the allocator knows what it holds as held.
    pub(crate) is_held: bool,
    /// Whether it is to be shown anew.
    is_touched: bool,
}

/// What a task's framework has not acknowledged.
#[derive(Debug, Default)]
struct Queue {
    /// The oldest first.
    statuses: VecDeque<Status>,
    /// How many of them the last tail has told, and which one of its framework's that was.
    told: usize,
    tail: u64,
}

/// What is kept of few tasks.
#[derive(Debug, Default)]
struct Rare {
    /// A number that was not taken and must come again before greater ones are taken.
    skipped: Option<u64>,
    /// A kill that was asked for; repeated when the agent registers anew.
    kill: Option<KillWish>,
    /// Whether what it holds is wanted back.
    wanted: Option<Wanted>,
    /// What its framework has changed of it in this term.
    update: Option<Update>,
}

impl Task {
    /// What is shown of it.
    pub(crate) fn row(&self) -> &Arc<TaskRow> {
        &self.row
    }

    /// What its framework was told last, or is about to be.
    pub(crate) fn told(&self) -> &Told {
        &self.row.told
    }

    /// Who pays. Of a task whose agent does not know it, the framework's first role.
    pub(crate) fn role(&self) -> &Role {
        &self.row.outline.role
    }

    /// What the framework has not acknowledged, oldest first.
    pub(crate) fn queue(&self) -> impl ExactSizeIterator<Item = &Status> {
        let queue = self.queue.as_deref();
        queue.map(|queue| queue.statuses.iter()).unwrap_or_default()
    }

    /// Bytes of what its executor said along with those.
    pub(crate) fn queued_data(&self) -> usize {
        self.queue().map(|status| status.data.len()).sum()
    }

    /// The framework is to be told this after all else.
    pub(crate) fn enqueue(&mut self, status: Status) {
        let queue = self.queue.get_or_insert_default();
        queue.statuses.push_back(status);
    }

    /// What this one of its framework's tails tells next of it.
    pub(crate) fn next_in_tail(&mut self, tail: u64) -> Option<&Status> {
        let queue = self.queue.as_deref_mut()?;
        if queue.tail != tail {
            (queue.tail, queue.told) = (tail, 0);
        }
        let next = queue.statuses.get(queue.told)?;
        queue.told += 1;
        Some(next)
    }

    /// What the framework is to be told last.
    pub(crate) fn last_queued(&mut self) -> Option<&mut Status> {
        self.queue.as_mut()?.statuses.back_mut()
    }

    /// Takes the oldest of what the framework is to be told.
    pub(crate) fn dequeue(&mut self, count: usize) -> Vec<Status> {
        let Some(queue) = &mut self.queue else {
            return Vec::new();
        };
        let count = count.min(queue.statuses.len());
        let taken = queue.statuses.drain(..count).collect();
        queue.told = queue.told.saturating_sub(count);
        self.tidy_queue();
        taken
    }

    /// A task that runs for long need not keep the room for what it has told.
    fn tidy_queue(&mut self) {
        if self.queue().len() == 0 {
            self.queue = None;
        }
    }

    /// A number that was not taken and must come again before greater ones are taken.
    pub(crate) fn skipped(&self) -> Option<u64> {
        self.rare.as_ref()?.skipped
    }

    pub(crate) fn set_skipped(&mut self, skipped: Option<u64>) {
        self.set_rare(skipped, |rare| &mut rare.skipped);
    }

    /// A kill that was asked for; repeated when the agent registers anew.
    pub(crate) fn kill(&self) -> Option<KillWish> {
        self.rare.as_ref()?.kill
    }

    pub(crate) fn set_kill(&mut self, kill: KillWish) {
        self.set_rare(Some(kill), |rare| &mut rare.kill);
    }

    /// Whether what it holds is wanted back.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        self.rare.as_ref()?.wanted
    }

    /// Answers what there was before.
    pub(crate) fn set_wanted(&mut self, wanted: Option<Wanted>) -> Option<Wanted> {
        self.set_rare(wanted, |rare| &mut rare.wanted)
    }

    /// What its framework has changed of it in this term.
    pub(crate) fn update(&self) -> Option<&Update> {
        self.rare.as_ref()?.update.as_ref()
    }

    /// The same, to be changed further.
    pub(crate) fn update_mut(&mut self) -> &mut Update {
        let rare = self.rare.get_or_insert_default();
        rare.update.get_or_insert_default()
    }

    fn set_rare<T>(
        &mut self,
        value: Option<T>,
        field: impl Fn(&mut Rare) -> &mut Option<T>,
    ) -> Option<T> {
        match (&mut self.rare, value) {
            (None, None) => None,
            (rare, value) => std::mem::replace(field(rare.get_or_insert_default()), value),
        }
    }

    /// Its framework is told this. What its executor says along with it is for the framework alone, and told once.
    pub(crate) fn set_status(&mut self, status: Status) {
        let told = Told::from(status);
        match Arc::get_mut(&mut self.row) {
            Some(row) => row.told = told,
            None => {
                let old = &self.row;
                self.row = Arc::new(TaskRow {
                    framework: old.framework.clone(),
                    task: old.task.clone(),
                    agent: old.agent.clone(),
                    told,
                    outline: Arc::clone(&old.outline),
                });
            }
        }
    }

    /// Its framework has given it these instead of those that it was launched with.
    pub(crate) fn set_labels(&mut self, labels: &BTreeMap<String, String>) {
        if self.row.outline.labels != *labels {
            let row = Arc::make_mut(&mut self.row);
            Arc::make_mut(&mut row.outline).labels.clone_from(labels);
        }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.row.agent
    }

    /// What it holds while it is not terminal.
    pub(crate) fn resources(&self) -> &Arc<Resources> {
        &self.row.outline.resources
    }

    /// The framework has kept this many already, in an earlier term.
    pub(crate) fn resume(&mut self, acknowledged: u64) {
        self.acknowledged = acknowledged;
        self.received = acknowledged;
    }

    /// Whether its agent has said that there are newer statuses than have come: they say how the task stands, in their
    /// order, so the master does not say it before them.
    pub(crate) fn is_awaited(&self) -> bool {
        self.announced > self.received
    }

    /// Its agent has registered, and has statuses up to this number.
    pub(crate) fn announce(&mut self, number: u64) {
        self.announced = number;
    }

    /// Whether its framework has been told, or is being told, that it has come to its end.
    pub(crate) fn is_end_told(&self) -> bool {
        self.told().state.is_terminal() && !self.is_awaited()
    }

    /// Gives up what the agent will send again, and answers how many statuses that were.
    fn leave_to_agent(&mut self) -> usize {
        let before = self.queue().len();
        let numbers = self.queue().map(|status| status.number);
        let first = numbers.into_iter().find(|number| *number > 0);
        if let Some(queue) = &mut self.queue {
            queue.statuses.retain(|status| status.number == 0);
            self.tidy_queue();
        }
        if first.is_some() {
            self.announced = self.announced.max(self.received);
            self.received = self.acknowledged;
            self.set_skipped(first);
        }
        before - self.queue().len()
    }
}

/// That a task is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KillWish {
    /// SIGTERM to SIGKILL; absent: the task's own.
    pub(crate) grace: Option<Duration>,
    /// Why, for its statuses.
    pub(crate) reason: Reason,
}

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    by_framework: BTreeMap<FrameworkId, BTreeMap<TaskId, u32>>,
    slots: Vec<Option<Task>>,
    vacant: Vec<u32>,
    /// Where the last one was found.
    last: Cell<u32>,
    /// The last outline that was made: most tasks of a framework differ in nothing but their names.
    outline: Option<Arc<TaskOutline>>,
    /// Those that are to be shown anew, in the order in which they were touched.
    touched: Vec<u32>,
}

impl Tasks {
    /// A task with its first status, which is not in the table yet.
    pub(crate) fn make(
        &mut self,
        key: &TaskKey,
        spec: &TaskSpec,
        payer: Payer,
        agent: AgentId,
        group: Option<&TaskId>,
        status: Status,
    ) -> Task {
        let outline = self.outline_of(spec, &payer.role, group);
        Task {
            demand: payer.demand,
            incarnation: status.incarnation,
            executor: spec.executor.clone(),
            latest: status.state,
            row: Arc::new(TaskRow {
                framework: key.0.clone(),
                task: key.1.clone(),
                agent,
                outline,
                told: Told::from(status),
            }),
            queue: None,
            received: 0,
            acknowledged: 0,
            announced: 0,
            rare: None,
            is_delivered: false,
            is_charged: false,
            is_held: false,
            is_touched: false,
        }
    }

    /// What is kept of a spec; the same one as for the task before, where that is alike.
    fn outline_of(
        &mut self,
        spec: &TaskSpec,
        role: &Role,
        group: Option<&TaskId>,
    ) -> Arc<TaskOutline> {
        let executor = spec.executor.as_ref().map(|spec| &spec.id);
        let name = (spec.name != spec.id.as_str()).then_some(spec.name.as_str());
        let last = self.outline.as_ref();
        let last = last.filter(|last| *last.resources == spec.resources);
        if let Some(last) = last
            && last.name.as_deref() == name
            && last.labels == spec.labels
            && *last.ports == *spec.ports
            && last.discovery == spec.discovery
            && (&last.role, last.executor.as_ref()) == (role, executor)
            && last.group_executor.as_deref() == spec.group_executor()
            && last.group.as_ref() == group
        {
            return Arc::clone(last);
        }
        let outline = Arc::new(TaskOutline {
            name: name.map(Into::into),
            resources: match last {
                Some(last) => Arc::clone(&last.resources),
                None => Arc::new(spec.resources.clone()),
            },
            labels: spec.labels.clone(),
            ports: spec.ports.as_slice().into(),
            discovery: spec.discovery.clone(),
            role: role.clone(),
            executor: executor.cloned(),
            group_executor: spec.group_executor().map(Into::into),
            group: group.cloned(),
        });
        self.outline = Some(Arc::clone(&outline));
        outline
    }

    pub(crate) fn get(&self, key: &TaskKey) -> Option<&Task> {
        let slot = self.slot_of(key)?;
        self.at(slot)
    }

    pub(crate) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        let slot = self.slot_of(key)?;
        self.at_mut(slot)
    }

    pub(crate) fn of(&self, framework: &FrameworkId) -> impl Iterator<Item = (&TaskId, &Task)> {
        let of = self.by_framework.get(framework).into_iter().flatten();
        of.filter_map(|(id, slot)| Some((id, self.at(*slot)?)))
    }

    /// The ids of a framework's tasks after this one, in order.
    pub(crate) fn after<'a>(
        &'a self,
        framework: &FrameworkId,
        last: Option<&'a TaskId>,
    ) -> impl Iterator<Item = &'a TaskId> {
        let first = last.map_or(Bound::Unbounded, Bound::Excluded);
        let of = self.by_framework.get(framework).into_iter();
        of.flat_map(move |of| of.range((first, Bound::Unbounded)))
            .map(|(task, _)| task)
    }

    /// Gives up what the agents of a framework's tasks will send again, and answers how many statuses that were, and bytes of
    /// what executors said along with them.
    pub(crate) fn leave_to_agents(&mut self, framework: &FrameworkId) -> (usize, usize) {
        let of = self.by_framework.get(framework).into_iter().flatten();
        let slots: Vec<u32> = of.map(|(_, slot)| *slot).collect();
        let (mut count, mut len) = (0, 0);
        for slot in slots {
            if let Some(task) = self.at_mut(slot) {
                let before = task.queued_data();
                count += task.leave_to_agent();
                len += before - task.queued_data();
            }
        }
        (count, len)
    }

    pub(crate) fn count_of(&self, framework: &FrameworkId) -> usize {
        self.by_framework.get(framework).map_or(0, BTreeMap::len)
    }

    pub(crate) fn frameworks(&self) -> impl Iterator<Item = &FrameworkId> {
        self.by_framework.keys()
    }

    /// Puts a task in; there must be none of this name.
    pub(crate) fn insert(&mut self, key: &TaskKey, task: Task) {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // There are fewer tasks than numbers: each takes hundreds of bytes.
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.place(slot) {
            *place = Some(task);
        }
        let of = self.by_framework.entry(key.0.clone()).or_default();
        of.insert(key.1.clone(), slot);
        self.last.set(slot);
    }

    /// Takes a task out.
    pub(crate) fn remove(&mut self, key: &TaskKey) -> Option<Task> {
        let of = self.by_framework.get_mut(&key.0)?;
        let slot = of.remove(&key.1)?;
        if of.is_empty() {
            self.by_framework.remove(&key.0);
        }
        self.vacant.push(slot);
        self.place(slot)?.take()
    }

    /// A task is to be shown anew.
    pub(crate) fn touch(&mut self, key: &TaskKey) {
        let Some(slot) = self.slot_of(key) else {
            return;
        };
        if let Some(task) = self.at_mut(slot)
            && !std::mem::replace(&mut task.is_touched, true)
        {
            self.touched.push(slot);
        }
    }

    /// What is to be shown of those that were touched.
    pub(crate) fn take_touched(&mut self) -> Vec<Arc<TaskRow>> {
        let touched = std::mem::take(&mut self.touched).into_iter();
        touched
            .filter_map(|slot| self.at_mut(slot)?.untouch())
            .collect()
    }

    fn slot_of(&self, key: &TaskKey) -> Option<u32> {
        let is_it = |row: &TaskRow| row.task == key.1 && row.framework == key.0;
        let last = self.last.get();
        if self.at(last).is_some_and(|task| is_it(&task.row)) {
            return Some(last);
        }
        let slot = *self.by_framework.get(&key.0)?.get(&key.1)?;
        self.last.set(slot);
        Some(slot)
    }

    fn at(&self, slot: u32) -> Option<&Task> {
        let slot = usize::try_from(slot).ok()?;
        self.slots.get(slot)?.as_ref()
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut Task> {
        self.place(slot)?.as_mut()
    }

    fn place(&mut self, slot: u32) -> Option<&mut Option<Task>> {
        let slot = usize::try_from(slot).ok()?;
        self.slots.get_mut(slot)
    }
}

impl Task {
    /// What is to be shown of it, if it was touched.
    pub(crate) fn untouch(&mut self) -> Option<Arc<TaskRow>> {
        std::mem::take(&mut self.is_touched).then(|| Arc::clone(&self.row))
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn a_task_is_small() {
        assert!(size_of::<Task>() <= 96, "{}", size_of::<Task>());
        assert!(size_of::<TaskRow>() <= 104, "{}", size_of::<TaskRow>());
    }
}
