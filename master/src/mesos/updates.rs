//! Updates of tasks, as Mesos tells them: of each task one at a time, the same again until it is acknowledged, later ones
//! behind it.
//!
//! An update that an agent made has a uuid, which is the same however often, and by whichever leader, it is told. What the
//! master made has none: it is told once, and kept by nobody.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proffer_model::limits::ITEMS_PER_CALL_MAX;
use proffer_model::{AgentId, FrameworkId, Reason, Status, TaskId, TaskState, Time};
use proffer_proto::mesos::{Capabilities, MesosExecutor, NamedAgent, state_said};

use self::places::{Place, Places};
use crate::limits::{MESOS_RETRY_FIRST, MESOS_RETRY_LAST};

mod places;

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
    /// The task's agent is lost: nothing is told before it is back.
    is_held: bool,
}

/// The updates that a framework has not acknowledged.
#[derive(Debug)]
pub(super) struct Updates {
    framework: FrameworkId,
    queues: BTreeMap<TaskId, Queue>,
    retries: BTreeSet<(u64, TaskId)>,
    /// Where tasks that are not over run.
    places: Places,
    /// On which agents tasks are looked for, until it is answered.
    asked: BTreeMap<TaskId, NamedAgent>,
}

impl Updates {
    pub(super) fn new(framework: FrameworkId) -> Self {
        Self {
            framework,
            queues: BTreeMap::new(),
            retries: BTreeSet::new(),
            places: Places::default(),
            asked: BTreeMap::new(),
        }
    }

    /// The framework asks how a task stands that it believes to be there.
    pub(super) fn asks(&mut self, task: &TaskId, agent: Option<NamedAgent>) {
        match agent {
            // Of more at once the answer is less exact.
            Some(agent) if self.asked.len() < ITEMS_PER_CALL_MAX => {
                self.asked.insert(task.clone(), agent);
            }
            _ => drop(self.asked.remove(task)),
        }
    }

    /// Where a task runs, as far as its updates say.
    pub(super) fn place(&self, task: &TaskId) -> Option<&AgentId> {
        self.places.get(task).map(Place::agent)
    }

    /// Whether a task is on this agent, as far as its updates say.
    pub(super) fn is_on(&self, agent: &AgentId) -> bool {
        self.places.is_on(agent)
    }

    /// A task of this subscription is launched on this agent, in this executor: known before anything is told of it.
    pub(super) fn launched(&mut self, task: &TaskId, agent: &AgentId, executor: &MesosExecutor) {
        let place = Place::new(agent.clone(), executor.clone(), 0);
        self.places.insert(task.clone(), place);
    }

    /// Whether what is told of a task depends on its executor, and an earlier subscription has launched it.
    pub(super) fn lacks_executor(&self, status: &Status) -> bool {
        let place = self.places.get(&status.task);
        let is_unknown = place.is_none_or(|place| place.executor == MesosExecutor::Unknown);
        status.state == TaskState::Starting && is_unknown
    }

    /// In which executor a task is that an earlier subscription has launched, and the number of the latest status of its agent.
    pub(super) fn found(&mut self, status: &Status, executor: MesosExecutor, number: u64) {
        if let Some(agent) = status.agent.clone() {
            let place = Place::new(agent, executor, number);
            self.places.insert(status.task.clone(), place);
        }
    }

    /// The master tells a status. One that says how a task stands in a snapshot is for the books alone.
    pub(super) fn on_status(
        &mut self,
        now: Time,
        sequence: u64,
        mut status: Status,
        is_snapshot: bool,
        capabilities: Capabilities,
    ) -> Vec<Step> {
        let was_silent = is_silent(&status, capabilities);
        let executor = self.note(&mut status);
        // That a task is there again is told, also of one that is staging.
        let is_told = !was_silent && (status.number == 0 || !is_silent(&status, capabilities));
        if status.state.is_terminal() && status.reason != Reason::Reconciled {
            // Nobody will be told that it is unknown.
            self.asked.remove(&status.task);
        }
        if status.number == 0 {
            let told = Told { status, executor };
            return self.on_masters_own(now, sequence, told, (is_snapshot, is_told));
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
        // The agent speaks again.
        let is_back = std::mem::take(&mut queue.is_held);
        match is_back || queue.pending.len() == 1 {
            true => self.tell_next(now, &task),
            false => Vec::new(),
        }
    }

    /// Where a task is now; in which executor it is or was. What an agent has said for a CUSTOM one, the framework is not told.
    fn note(&mut self, status: &mut Status) -> MesosExecutor {
        let Some(agent) = status
            .agent
            .as_ref()
            .filter(|_| !status.state.is_terminal())
        else {
            let place = self.places.remove(&status.task);
            return place.map(|place| place.executor).unwrap_or_default();
        };
        let place = self.places.moved(&status.task, agent);
        place.number = place.number.max(status.number);
        let is_custom = matches!(place.executor, MesosExecutor::Custom(_));
        // The master's own says how the task stands after all that its agent has said.
        let number = match status.number {
            0 => place.number,
            number => number,
        };
        status.state = state_said(status.state, number, is_custom);
        place.executor.clone()
    }

    /// What the master made is told at once, and kept by whoever is told it; but the master is told so in the order of the
    /// task's updates, since it takes the oldest to be meant. What waits of the task is older: nothing of it is told after an
    /// end, and while the agent is lost it waits on, as the updates of such an agent do not come through in Mesos.
    fn on_masters_own(
        &mut self,
        now: Time,
        sequence: u64,
        told: Told,
        (is_snapshot, is_told): (bool, bool),
    ) -> Vec<Step> {
        let status = &told.status;
        if status.reason == Reason::Reconciled {
            return self.on_answer(told, is_snapshot);
        }
        let (task, state) = (status.task.clone(), status.state);
        let mut steps = Vec::new();
        let own = Pending {
            sequence,
            uuid: [0; 16],
            told: told.clone(),
            is_silent: true,
        };
        let mut is_back = false;
        match self.queues.get_mut(&task) {
            None => steps.push(Step::Kept(sequence)),
            Some(queue) if is_told && state.is_terminal() => {
                self.retries.remove(&(queue.retry_at, task.clone()));
                let all = queue.pending.drain(..).chain([own]);
                steps.extend(all.map(|pending| Step::Kept(pending.sequence)));
                self.queues.remove(&task);
            }
            Some(queue) => {
                queue.pending.push_back(own);
                let is_lost = state == TaskState::Unreachable;
                is_back = std::mem::replace(&mut queue.is_held, is_lost) && !is_lost;
                if is_lost {
                    self.retries.remove(&(queue.retry_at, task.clone()));
                }
            }
        }
        if is_told {
            steps.push(Step::Tell(Box::new(told), None));
        }
        if is_back {
            steps.extend(self.tell_next(now, &task));
        }
        steps
    }

    /// The framework is told how a task stands that it has asked about.
    fn on_answer(&mut self, mut told: Told, is_snapshot: bool) -> Vec<Step> {
        // A snapshot tells of no task that there is not.
        if is_snapshot && told.status.incarnation.0 > 0 {
            return Vec::new();
        }
        let asked = self.asked.remove(&told.status.task);
        self.answer_as_told(&mut told.status);
        vec![Step::Answer(Box::new(told), asked)]
    }

    /// A task stands as the framework was told last, while what came after that waits for its acknowledgement, as Mesos's
    /// masters answer: a later state would be taken back by what is told next.
    fn answer_as_told(&self, answer: &mut Status) {
        let queue = self.queues.get(&answer.task);
        let last = queue.filter(|queue| !queue.is_held);
        let last = last.and_then(|queue| queue.pending.front());
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
            Some(_) if queue.is_held => {}
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
    use proffer_proto::mesos::AgentStanding;

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
    fn what_the_master_made_is_told_at_once_and_nothing_older_after_an_end() {
        let mut world = World::new();
        let starting = world.hears(status("t", 1, TaskState::Starting));
        assert!(world.hears(status("t", 2, TaskState::Running)).is_empty());
        let lost = world.hears(status("t", 0, TaskState::Lost));
        assert_eq!(shown(&lost), ["1", "2", "3", "lost"]);
        assert_eq!(world.updates.next_retry(), None);
        let task = "t".parse().expect("an id");
        let late = world.updates.on_acknowledge(at(1), &task, &uuid(&starting));
        assert!(late.is_empty());
    }

    #[test]
    fn what_an_agent_has_said_before_it_was_lost_is_told_when_it_is_back() {
        let mut world = World::new();
        let task = "t".parse().expect("an id");
        let starting = world.hears(status("t", 1, TaskState::Starting));
        world.hears(status("t", 2, TaskState::Running));
        let lost = world.hears(status("t", 0, TaskState::Unreachable));
        assert_eq!(shown(&lost), ["unreachable"], "not kept before the first");
        assert_eq!(world.updates.next_retry(), None);
        let answer = Status {
            reason: Reason::Reconciled,
            ..status("t", 0, TaskState::Unreachable)
        };
        assert_eq!(shown(&world.hears(answer)), ["unreachable?"]);
        let late = world.updates.on_acknowledge(at(1), &task, &uuid(&starting));
        assert_eq!(shown(&late), ["1"]);
        let back = world.hears(status("t", 0, TaskState::Running));
        assert_eq!(shown(&back), ["running", "running!"]);
        let kept = world.updates.on_acknowledge(at(1), &task, &uuid(&back));
        assert_eq!(shown(&kept), ["2", "3", "5"]);
        assert!(world.updates.queues.is_empty());
        // Also when the framework does not hear how it is back.
        let silent = Capabilities {
            killing: false,
            ..Capabilities::default()
        };
        let running = world.hears(status("v", 1, TaskState::Running));
        world.hears(status("v", 0, TaskState::Unreachable));
        let killing = status("v", 0, TaskState::Killing);
        let back = world.updates.on_status(at(0), 99, killing, false, silent);
        assert_eq!(back, running);
        // As soon as the agent itself says something.
        let running = world.hears(status("u", 1, TaskState::Running));
        world.hears(status("u", 0, TaskState::Unreachable));
        let again = world.hears(status("u", 2, TaskState::Finished));
        assert_eq!(again, running);
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
    fn what_an_agent_says_for_a_custom_executor_is_kept_and_not_told() {
        let mut world = World::new();
        let (task, on): (TaskId, AgentId) =
            ("t".parse().expect("an id"), "a".parse().expect("an id"));
        let custom = MesosExecutor::Custom("e".to_owned());
        world.updates.launched(&task, &on, &custom);
        let starting = || status("t", 1, TaskState::Starting);
        assert_eq!(shown(&world.hears(starting())), ["1"]);
        assert_eq!(world.updates.next_retry(), None);
        let answer = || Status {
            reason: Reason::Reconciled,
            ..status("t", 0, TaskState::Starting)
        };
        assert_eq!(shown(&world.hears(answer())), ["staging?"]);
        // That it is there again is told all the same.
        world.hears(status("t", 0, TaskState::Unreachable));
        let back = world.hears(status("t", 0, TaskState::Starting));
        assert_eq!(shown(&back), ["4", "staging"]);
        // What the executor says itself is told.
        let said = world.hears(status("t", 2, TaskState::Starting));
        assert_eq!(shown(&said), ["starting!"]);
        assert_eq!(shown(&world.hears(answer())), ["starting?"]);
        world.updates.on_acknowledge(at(0), &task, &uuid(&said));
        assert_eq!(shown(&world.hears(answer())), ["starting?"]);
        // Who has launched it before a failover finds out where it is.
        for (executor, number, told) in [
            (custom.clone(), 1, "staging?"),
            (custom.clone(), 2, "starting?"),
            (MesosExecutor::Command, 1, "starting?"),
        ] {
            let mut world = World::new();
            assert!(world.updates.lacks_executor(&answer()), "{told}");
            world.updates.found(&answer(), executor, number);
            assert!(!world.updates.lacks_executor(&answer()), "{told}");
            assert_eq!(shown(&world.hears(answer())), [told]);
        }
        // Also where what the executor has said is known before what its agent has said first is told.
        let mut world = World::new();
        assert!(world.updates.lacks_executor(&starting()));
        world.updates.found(&starting(), custom, 2);
        assert_eq!(shown(&world.hears(starting())), ["1"]);
        let running = world.hears(status("t", 2, TaskState::Running));
        assert_eq!(shown(&running), ["running!"]);
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
