//! Updates of tasks, as Mesos tells them: of each task one at a time, the same again until it is acknowledged, later ones
//! behind it.
//!
//! An update that an agent made has a uuid, which is the same however often, and by whichever leader, it is told. What the
//! master made has none: it is told once, and kept by nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proffer_model::limits::ITEMS_PER_CALL_MAX;
use proffer_model::{AgentId, FrameworkId, Reason, Status, TaskId, TaskState, Time};
use proffer_proto::mesos::{AgentStanding, Capabilities, MesosExecutor, NamedAgent};

use crate::limits::{MESOS_RETRY_FIRST, MESOS_RETRY_LAST};

/// What is to be done about an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The framework is told, with this uuid when it is to acknowledge it.
    Tell(Box<Told>, Option<[u8; 16]>),
    /// The framework has asked, and may have named an agent.
    Answer(Box<Told>, Option<NamedAgent>),
    /// It is kept: the master is told so.
    Kept(u64),
}

/// A status, and the executor of its task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) status: Status,
    pub(super) executor: MesosExecutor,
}

/// A task that is not over.
#[derive(Debug)]
struct Place {
    agent: AgentId,
    executor: MesosExecutor,
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    uuid: [u8; 16],
    told: Told,
    /// The framework is not told: it would not understand.
    is_silent: bool,
}

#[derive(Debug, Default)]
struct Queue {
    pending: VecDeque<Pending>,
    retry_at: u64,
    waits: Duration,
}

/// The updates that a framework has not acknowledged.
#[derive(Debug)]
pub(super) struct Updates {
    framework: FrameworkId,
    queues: BTreeMap<TaskId, Queue>,
    retries: BTreeSet<(u64, TaskId)>,
    /// Where tasks that are not over run.
    places: BTreeMap<TaskId, Place>,
    /// On which agents tasks are looked for, until it is answered.
    asked: BTreeMap<TaskId, NamedAgent>,
    /// Agents that have said what they run while tasks were looked for.
    settled: BTreeSet<AgentId>,
}

impl Updates {
    pub(super) fn new(framework: FrameworkId) -> Self {
        Self {
            framework,
            queues: BTreeMap::new(),
            retries: BTreeSet::new(),
            places: BTreeMap::new(),
            asked: BTreeMap::new(),
            settled: BTreeSet::new(),
        }
    }

    /// The framework asks how a task stands that it believes to be there.
    pub(super) fn asks(&mut self, task: &TaskId, agent: Option<NamedAgent>) {
        match agent {
            // Of more at once the answer is less exact.
            Some(agent) if self.asked.len() < ITEMS_PER_CALL_MAX => {
                self.asked.insert(task.clone(), agent);
            }
            _ => drop(self.take_asked(task)),
        }
    }

    /// An agent has said what it runs: however it stood when tasks were asked about, it is registered.
    pub(super) fn on_settled(&mut self, agent: AgentId) {
        if !self.asked.is_empty() {
            self.settled.insert(agent);
        }
    }

    fn take_asked(&mut self, task: &TaskId) -> Option<NamedAgent> {
        let mut asked = self.asked.remove(task)?;
        let agent: Option<AgentId> = asked.name.parse().ok();
        if agent.is_some_and(|agent| self.settled.contains(&agent)) {
            asked.standing = Some(AgentStanding::Registered);
        }
        if self.asked.is_empty() {
            self.settled.clear();
        }
        Some(asked)
    }

    /// Where a task runs, as far as its updates say.
    pub(super) fn place(&self, task: &TaskId) -> Option<&AgentId> {
        self.places.get(task).map(|place| &place.agent)
    }

    /// A task of this subscription is launched on this agent, in this executor: known before anything is told of it.
    pub(super) fn launched(&mut self, task: &TaskId, agent: &AgentId, executor: &MesosExecutor) {
        let place = Place {
            agent: agent.clone(),
            executor: executor.clone(),
        };
        self.places.insert(task.clone(), place);
    }

    /// The master tells a status. One that says how a task stands in a snapshot is for the books alone.
    pub(super) fn on_status(
        &mut self,
        now: Time,
        sequence: u64,
        status: Status,
        is_snapshot: bool,
        capabilities: Capabilities,
    ) -> Vec<Step> {
        let executor = self.note(&status);
        let is_told = !is_silent(&status, capabilities);
        if status.state.is_terminal() && status.reason != Reason::Reconciled {
            // Nobody will be told that it is unknown.
            self.take_asked(&status.task);
        }
        if status.number == 0 {
            let told = Told { status, executor };
            return self.on_masters_own(sequence, told, is_snapshot, is_told);
        }
        let uuid = uuid_of(&self.framework, &status);
        let task = status.task.clone();
        let queue = self.queues.entry(task.clone()).or_default();
        let mut known = queue.pending.iter_mut();
        if let Some(known) = known.find(|pending| pending.uuid == uuid) {
            known.sequence = sequence;
            return Vec::new();
        }
        queue.pending.push_back(Pending {
            sequence,
            uuid,
            told: Told { status, executor },
            is_silent: !is_told,
        });
        match queue.pending.len() {
            1 => self.tell_next(now, &task),
            _ => Vec::new(),
        }
    }

    /// Where a task is now; in which executor it is or was.
    fn note(&mut self, status: &Status) -> MesosExecutor {
        let Some(agent) = status
            .agent
            .as_ref()
            .filter(|_| !status.state.is_terminal())
        else {
            let place = self.places.remove(&status.task);
            return place.map(|place| place.executor).unwrap_or_default();
        };
        let place = self.places.entry(status.task.clone());
        let place = place.or_insert_with(|| Place {
            agent: agent.clone(),
            executor: MesosExecutor::Unknown,
        });
        place.agent.clone_from(agent);
        place.executor.clone()
    }

    /// What the master made is told at once, and kept by whoever is told it. Whatever waits of the task is older by then: it
    /// counts as kept, so that no update takes back what the master has said, as none comes of an agent that Mesos has lost.
    fn on_masters_own(
        &mut self,
        sequence: u64,
        mut told: Told,
        is_snapshot: bool,
        is_told: bool,
    ) -> Vec<Step> {
        let status = &told.status;
        if status.reason == Reason::Reconciled {
            // A snapshot tells of no task that there is not.
            if is_snapshot && status.incarnation.0 > 0 {
                return Vec::new();
            }
            let asked = self.take_asked(&status.task);
            self.answer_as_told(&mut told.status);
            return vec![Step::Answer(Box::new(told), asked)];
        }
        let waiting = self.queues.get_mut(&status.task);
        if let Some(queue) = waiting.filter(|_| !is_told) {
            // The master takes the oldest to be meant.
            queue.pending.push_back(Pending {
                sequence,
                uuid: [0; 16],
                told,
                is_silent: true,
            });
            return Vec::new();
        }
        let mut steps: Vec<Step> = Vec::new();
        if let Some(queue) = self.queues.remove(&status.task) {
            self.retries.remove(&(queue.retry_at, status.task.clone()));
            let older = queue.pending.into_iter();
            steps.extend(older.map(|pending| Step::Kept(pending.sequence)));
        }
        steps.push(Step::Kept(sequence));
        if is_told {
            steps.push(Step::Tell(Box::new(told), None));
        }
        steps
    }

    /// A task stands as the framework was told last, while what came after that waits for its acknowledgement, as Mesos's
    /// masters answer: a later state would be taken back by what is told next.
    fn answer_as_told(&self, answer: &mut Status) {
        let queue = self.queues.get(&answer.task);
        let last = queue.and_then(|queue| queue.pending.front());
        let last = last.map(|pending| &pending.told.status);
        if let Some(last) = last.filter(|last| last.incarnation == answer.incarnation) {
            answer.state = last.state;
            answer.healthy = last.healthy;
            answer.checks.clone_from(&last.checks);
        }
    }

    /// The framework has kept an update; of any but the one that it was told last, nothing is known.
    pub(super) fn on_acknowledge(&mut self, now: Time, task: &TaskId, uuid: &[u8]) -> Vec<Step> {
        let Some(queue) = self.queues.get_mut(task) else {
            return Vec::new();
        };
        let front = queue.pending.front();
        if front.is_none_or(|front| front.uuid != *uuid) {
            return Vec::new();
        }
        let sequence = queue.pending.pop_front().map(|front| front.sequence);
        let mut steps: Vec<Step> = sequence.map(Step::Kept).into_iter().collect();
        steps.extend(self.tell_next(now, task));
        steps
    }

    /// How many tasks are known that have not ended.
    pub(super) fn known(&self) -> usize {
        self.places.len()
    }

    /// When something is to be told again.
    pub(super) fn next_retry(&self) -> Option<u64> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Tells again what was not acknowledged in time.
    pub(super) fn on_time(&mut self, now: Time) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some((at, task)) = self.retries.first().cloned()
            && at <= now.mono_ns
        {
            self.retries.remove(&(at, task.clone()));
            let Some(queue) = self.queues.get_mut(&task) else {
                continue;
            };
            let Some(front) = queue.pending.front() else {
                continue;
            };
            steps.push(Step::Tell(Box::new(front.told.clone()), Some(front.uuid)));
            queue.waits = (queue.waits * 2).min(MESOS_RETRY_LAST);
            queue.retry_at = now.after(queue.waits).mono_ns;
            self.retries.insert((queue.retry_at, task));
        }
        steps
    }

    /// Tells the front of a task's queue; what it would not understand is kept for it.
    fn tell_next(&mut self, now: Time, task: &TaskId) -> Vec<Step> {
        let mut steps = Vec::new();
        let Some(queue) = self.queues.get_mut(task) else {
            return steps;
        };
        self.retries.remove(&(queue.retry_at, task.clone()));
        while let Some(silent) = queue.pending.pop_front_if(|front| front.is_silent) {
            steps.push(Step::Kept(silent.sequence));
        }
        match queue.pending.front() {
            None => {
                self.queues.remove(task);
            }
            Some(front) => {
                steps.push(Step::Tell(Box::new(front.told.clone()), Some(front.uuid)));
                queue.waits = MESOS_RETRY_FIRST;
                queue.retry_at = now.after(queue.waits).mono_ns;
                self.retries.insert((queue.retry_at, task.clone()));
            }
        }
        steps
    }
}

/// Mesos's masters never tell that a task is staging, unless they are asked; nor of killing, to whom does not know it.
fn is_silent(status: &Status, capabilities: Capabilities) -> bool {
    match status.state {
        TaskState::Staging => true,
        // Of one that ran as long as it may Mesos tells nothing before it is over.
        TaskState::Killing => !capabilities.killing || status.reason == Reason::DeadlinePassed,
        _ => false,
    }
}

/// A uuid of what makes an update itself: so it is the same after a failover. Of version 8, which is for such.
fn uuid_of(framework: &FrameworkId, status: &Status) -> [u8; 16] {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let numbers = [status.incarnation.0, status.number];
    let texts = [framework.as_str(), status.task.as_str()];
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let bytes = bytes.chain(numbers.iter().flat_map(|number| number.to_be_bytes()));
    let hash = bytes.fold(BASIS, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    let mut uuid = hash.to_be_bytes();
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut uuid;
    *version = 0x80 | (*version & 0x0f);
    *variant = 0x80 | (*variant & 0x3f);
    uuid
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_model::Incarnation;

    fn at(seconds: u64) -> Time {
        Time::default().after(Duration::from_secs(seconds))
    }

    fn status(task: &str, number: u64, state: TaskState) -> Status {
        Status {
            task: task.parse().expect("an id"),
            incarnation: Incarnation(1),
            agent: Some("a".parse().expect("an id")),
            number,
            state,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            data: Vec::new(),
            wall_ms: 0,
        }
    }

    struct World {
        updates: Updates,
        sequence: u64,
    }

    impl World {
        fn new() -> Self {
            let framework = FrameworkId::new("f").expect("an id");
            Self {
                updates: Updates::new(framework),
                sequence: 0,
            }
        }

        fn hears(&mut self, status: Status) -> Vec<Step> {
            self.sequence += 1;
            let all = Capabilities::default();
            self.updates
                .on_status(at(0), self.sequence, status, false, all)
        }
    }

    /// Which states were told, and which sequences kept.
    fn shown(steps: &[Step]) -> Vec<String> {
        let show = |step: &Step| match step {
            Step::Kept(sequence) => sequence.to_string(),
            Step::Tell(told, uuid) => {
                format!(
                    "{}{}",
                    told.status.state,
                    if uuid.is_some() { "!" } else { "" }
                )
            }
            Step::Answer(told, _) => format!("{}?", told.status.state),
        };
        steps.iter().map(show).collect()
    }

    fn uuid(steps: &[Step]) -> [u8; 16] {
        let mut told = steps.iter().filter_map(|step| match step {
            Step::Tell(_, uuid) => *uuid,
            Step::Kept(_) | Step::Answer(..) => None,
        });
        told.next().expect("an update with a uuid")
    }

    #[test]
    fn of_a_task_one_update_is_told_at_a_time() {
        let mut world = World::new();
        let first = world.hears(status("t", 1, TaskState::Starting));
        assert_eq!(shown(&first), ["starting!"]);
        assert!(world.hears(status("t", 2, TaskState::Running)).is_empty());
        let other = world.hears(status("u", 1, TaskState::Running));
        assert_eq!(
            shown(&other),
            ["running!"],
            "tasks do not wait for one another"
        );
        let task = "t".parse().expect("an id");
        let wrong = world.updates.on_acknowledge(at(1), &task, &uuid(&other));
        assert!(wrong.is_empty());
        let next = world.updates.on_acknowledge(at(1), &task, &uuid(&first));
        assert_eq!(shown(&next), ["1", "running!"]);
        assert_ne!(uuid(&next), uuid(&first));
        let twice = world.updates.on_acknowledge(at(1), &task, &uuid(&first));
        assert!(twice.is_empty());
    }

    #[test]
    fn what_is_not_acknowledged_is_told_again_later_and_later() {
        let mut world = World::new();
        let first = world.hears(status("t", 1, TaskState::Running));
        let mut due = 10;
        let mut wait = 10;
        for _ in 0..8 {
            assert_eq!(world.updates.next_retry(), Some(at(due).mono_ns));
            assert!(world.updates.on_time(at(due - 1)).is_empty());
            let again = world.updates.on_time(at(due));
            assert_eq!(again, first, "the same, with the same uuid");
            wait = (wait * 2).min(600);
            due += wait;
        }
        let task = "t".parse().expect("an id");
        let kept = world.updates.on_acknowledge(at(due), &task, &uuid(&first));
        assert_eq!(shown(&kept), ["1"]);
        assert_eq!(world.updates.next_retry(), None);
    }

    #[test]
    fn what_is_told_anew_by_the_master_is_the_same_update() {
        let mut world = World::new();
        let first = world.hears(status("t", 1, TaskState::Running));
        assert!(world.hears(status("t", 1, TaskState::Running)).is_empty());
        let task = "t".parse().expect("an id");
        let kept = world.updates.on_acknowledge(at(0), &task, &uuid(&first));
        assert_eq!(shown(&kept), ["2"], "under its last number");
    }

    #[test]
    fn what_the_master_made_is_told_at_once_and_nothing_older_after_it() {
        let mut world = World::new();
        let starting = world.hears(status("t", 1, TaskState::Starting));
        assert!(world.hears(status("t", 2, TaskState::Running)).is_empty());
        let lost = world.hears(status("t", 0, TaskState::Unreachable));
        assert_eq!(shown(&lost), ["1", "2", "3", "unreachable"]);
        assert_eq!(world.updates.next_retry(), None);
        let task = "t".parse().expect("an id");
        let late = world.updates.on_acknowledge(at(1), &task, &uuid(&starting));
        assert_eq!(shown(&late), [""; 0]);
        let back = world.hears(status("t", 3, TaskState::Running));
        assert_eq!(shown(&back), ["running!"], "its agent is back");
    }

    #[test]
    fn what_is_answered_about_a_task_is_what_was_told_of_it_last() {
        let mut world = World::new();
        let starting = world.hears(status("t", 1, TaskState::Starting));
        world.hears(status("t", 2, TaskState::Running));
        world.hears(status("t", 3, TaskState::Finished));
        let ask = |world: &mut World| {
            let answer = Status {
                reason: Reason::Reconciled,
                ..status("t", 0, TaskState::Finished)
            };
            shown(&world.hears(answer))
        };
        assert_eq!(ask(&mut world), ["starting?"]);
        let task = "t".parse().expect("an id");
        let running = world.updates.on_acknowledge(at(0), &task, &uuid(&starting));
        assert_eq!(ask(&mut world), ["running?"]);
        let finished = world.updates.on_acknowledge(at(0), &task, &uuid(&running));
        assert_eq!(shown(&finished), ["2", "finished!"]);
        assert_eq!(ask(&mut world), ["finished?"]);
    }

    #[test]
    fn an_agent_that_has_said_what_it_runs_is_registered_however_it_stood() {
        let mut world = World::new();
        let (task, other) = ("t".parse().expect("an id"), "u".parse().expect("an id"));
        let named = |standing| NamedAgent {
            name: "b".to_owned(),
            standing: Some(standing),
        };
        let was = AgentStanding::Unreachable { since_wall_ms: 1 };
        world.updates.asks(&task, Some(named(was)));
        world.updates.asks(&other, Some(named(was)));
        let answer = |world: &mut World, task: &str| {
            let answer = Status {
                reason: Reason::Reconciled,
                incarnation: Incarnation(0),
                ..status(task, 0, TaskState::Lost)
            };
            match world.hears(answer).pop() {
                Some(Step::Answer(_, asked)) => asked,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(answer(&mut world, "u"), Some(named(was)));
        world.updates.on_settled("b".parse().expect("an id"));
        let is = named(AgentStanding::Registered);
        assert_eq!(answer(&mut world, "t"), Some(is));
        assert!(world.updates.settled.is_empty(), "nothing is asked");
    }

    #[test]
    fn an_answer_about_an_unknown_task_is_told_though_a_snapshot_goes_on() {
        let mut updates = World::new().updates;
        let all = Capabilities::default();
        let mut asked = |incarnation| {
            let status = Status {
                reason: Reason::Reconciled,
                incarnation: Incarnation(incarnation),
                ..status("t", 0, TaskState::Lost)
            };
            shown(&updates.on_status(at(0), 1, status, true, all))
        };
        assert!(asked(1).is_empty(), "how a task stands is for the books");
        assert_eq!(asked(0), ["lost?"]);
    }

    #[test]
    fn a_task_that_is_over_is_looked_for_no_more_whoever_says_so() {
        let mut world = World::new();
        let task = "t".parse().expect("an id");
        let agent = NamedAgent {
            name: "b".to_owned(),
            standing: Some(AgentStanding::Registered),
        };
        for number in [0, 1] {
            world.updates.asks(&task, Some(agent.clone()));
            world.hears(status("t", number, TaskState::Lost));
            assert!(world.updates.asked.is_empty(), "number {number}");
        }
        world.updates.asks(&task, Some(agent.clone()));
        let answer = Status {
            reason: Reason::Reconciled,
            incarnation: Incarnation(0),
            ..status("t", 0, TaskState::Lost)
        };
        let [Step::Answer(_, named)] = &world.hears(answer)[..] else {
            panic!("it is told at once")
        };
        assert_eq!(named.as_ref(), Some(&agent), "the one that was asked about");
    }

    #[test]
    fn the_executor_of_a_task_is_known_to_its_end_from_its_launch_on() {
        let mut world = World::new();
        let group = MesosExecutor::Group("e".to_owned());
        let executors = |steps: &[Step]| -> Vec<MesosExecutor> {
            let told = steps.iter().filter_map(|step| match step {
                Step::Tell(told, _) | Step::Answer(told, _) => Some(told.executor.clone()),
                Step::Kept(_) => None,
            });
            told.collect()
        };
        let task = "t".parse().expect("an id");
        world.hears(status("t", 0, TaskState::Staging));
        world
            .updates
            .launched(&task, &"a".parse().expect("an id"), &group);
        let running = world.hears(status("t", 1, TaskState::Running));
        assert_eq!(executors(&running), std::slice::from_ref(&group));
        world.hears(status("t", 2, TaskState::Finished));
        let uuid = uuid(&running);
        let end = world.updates.on_acknowledge(at(0), &task, &uuid);
        assert_eq!(executors(&end), [group]);
        let old = world.hears(status("u", 1, TaskState::Running));
        assert_eq!(
            executors(&old),
            [MesosExecutor::Unknown],
            "of another subscription"
        );
        // The answer to an ACCEPT comes before anything is told of its tasks.
        let (next, on) = ("v".parse().expect("an id"), "a".parse().expect("an id"));
        world.updates.launched(&next, &on, &MesosExecutor::Command);
        let running = world.hears(status("v", 1, TaskState::Running));
        assert_eq!(executors(&running), [MesosExecutor::Command]);
    }

    #[test]
    fn what_mesos_does_not_tell_is_kept_for_the_framework() {
        let mut world = World::new();
        assert_eq!(
            shown(&world.hears(status("t", 1, TaskState::Staging))),
            ["1"]
        );
        let running = world.hears(status("t", 2, TaskState::Running));
        assert!(world.hears(status("t", 3, TaskState::Killing)).is_empty());
        assert!(world.hears(status("t", 4, TaskState::Killed)).is_empty());
        let task = "t".parse().expect("an id");
        let next = world.updates.on_acknowledge(at(0), &task, &uuid(&running));
        assert_eq!(shown(&next), ["2", "3", "killed!"]);
        let dropped = world.hears(status("u", 0, TaskState::Dropped));
        assert_eq!(
            shown(&dropped),
            ["5", "dropped"],
            "the master's own has no uuid"
        );
    }
}
