//! What an executor has said and its agent has not acknowledged, what of it a session was told, and what runs. Pure.
//!
//! Statuses are told in the order in which they were said. While sixteen of a task wait, one that says more of the same
//! state takes the place of the last, so that what waits is bounded however long the agent is away; a change of state never
//! gives way. The agent takes statuses by their numbers, which grow with each: it does not miss those that are left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::executor::{ExecutorCall, ExecutorStatus, Subscription};
use proffer_model::limits::TEXT_LEN_MAX;
use proffer_model::{Exit, Incarnation, TaskId, TaskState};

use crate::limits::{
    EXECUTOR_CALLS_MAX, EXECUTOR_STATUSES_MAX, EXECUTOR_SUBSCRIBE_LEN_MAX,
    EXECUTOR_SUBSCRIBE_STATUSES_MAX,
};

/// A launch of a task.
pub(super) type Launch = (TaskId, Incarnation);

/// What is said of a task, besides its state.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) message: String,
    pub(super) healthy: Option<bool>,
    pub(super) exit: Option<Exit>,
    pub(super) data: Vec<u8>,
}

impl Words {
    pub(super) fn new(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            ..Self::default()
        }
    }
}

/// The last status of a launch that has not ended.
#[derive(Debug, Default)]
struct Last {
    number: u64,
    state: Option<TaskState>,
    /// The agent wants it to end.
    is_to_end: bool,
}

/// What is not acknowledged, and what runs.
#[derive(Debug, Default)]
pub(super) struct Memory {
    running: BTreeMap<Launch, Last>,
    /// By their places in the order in which they were said.
    unacknowledged: BTreeMap<u64, ExecutorStatus>,
    /// The places of each launch's.
    places: BTreeMap<Launch, VecDeque<u64>>,
    place_last: u64,
    /// The session has been told all up to this place.
    told: u64,
    messages: VecDeque<Vec<u8>>,
    pub(super) is_leaving: bool,
}

impl Memory {
    /// A launch has come. What was said of it goes on, if it has come before.
    pub(super) fn launched(&mut self, launch: Launch) {
        self.running.entry(launch).or_default();
    }

    /// The agent wants a launch to end; whether the author is to be told. Not when it has ended and another launch of the task
    /// runs: they might take it for that one.
    pub(super) fn is_to_end(&mut self, launch: &Launch) -> bool {
        if let Some(last) = self.running.get_mut(launch) {
            last.is_to_end = true;
            return true;
        }
        launch.1 == Incarnation::default() || self.launches(&launch.0).next().is_none()
    }

    /// The launch of a task that has not ended, and of which this state is said: of several the first, or if it is killed the
    /// first of those that are to end.
    pub(super) fn launch_of(&self, task: &TaskId, state: TaskState) -> Option<Launch> {
        let is_killed = matches!(state, TaskState::Killing | TaskState::Killed);
        let to_end = self.launches(task).find(|(_, last)| last.is_to_end);
        let to_end = to_end.filter(|_| is_killed);
        let (launch, _) = to_end.or_else(|| self.launches(task).next())?;
        Some(launch.clone())
    }

    fn launches(&self, task: &TaskId) -> impl Iterator<Item = (&Launch, &Last)> {
        let first = (task.clone(), Incarnation::default());
        let launches = self.running.range(first..);
        launches.take_while(move |(launch, _)| launch.0 == *task)
    }

    /// Says what has become of a launch that has not ended.
    pub(super) fn say(&mut self, launch: &Launch, state: TaskState, words: Words) {
        let Some(last) = self.running.get_mut(launch) else {
            return;
        };
        if last.state.is_some_and(|before| state < before) {
            // The agent would acknowledge it, and no more.
            return;
        }
        let is_same = last.state.replace(state) == Some(state);
        last.number += 1;
        let number = last.number;
        if state.is_terminal() {
            self.running.remove(launch);
        }
        let places = self.places.entry(launch.clone()).or_default();
        let mut healthy = words.healthy;
        if is_same && places.len() >= EXECUTOR_STATUSES_MAX {
            let replaced = places.pop_back();
            let replaced = replaced.and_then(|place| self.unacknowledged.remove(&place));
            // The agent goes by what was said last of it.
            healthy = healthy.or(replaced.and_then(|status| status.healthy));
        }
        let mut message = words.message;
        message.truncate(message.floor_char_boundary(TEXT_LEN_MAX));
        let status = ExecutorStatus {
            task: launch.0.clone(),
            incarnation: launch.1,
            number,
            state,
            message,
            healthy,
            exit: words.exit,
            data: words.data,
        };
        self.place_last += 1;
        places.push_back(self.place_last);
        self.unacknowledged.insert(self.place_last, status);
    }

    /// Bytes for the framework; beyond a bound they are gone.
    pub(super) fn send(&mut self, data: Vec<u8>) {
        if self.messages.len() < EXECUTOR_CALLS_MAX {
            self.messages.push_back(data);
        }
    }

    /// How a session begins: with as many statuses as the agent takes at once. The tasks of the others are named, and the
    /// statuses follow.
    pub(super) fn subscribe(&mut self) -> ExecutorCall {
        self.messages.clear();
        self.told = 0;
        let mut len = 0;
        let mut statuses = Vec::new();
        for (place, status) in &self.unacknowledged {
            len += status.data.len() + status.message.len();
            if statuses.len() >= EXECUTOR_SUBSCRIBE_STATUSES_MAX || len > EXECUTOR_SUBSCRIBE_LEN_MAX
            {
                break;
            }
            statuses.push(status.clone());
            self.told = *place;
        }
        let rest = self.unacknowledged.range(self.told + 1..);
        let of_rest = rest.map(|(_, status)| (status.task.clone(), status.incarnation));
        let tasks: BTreeSet<Launch> = self.running.keys().cloned().chain(of_rest).collect();
        ExecutorCall::Subscribe(Subscription {
            unacknowledged: statuses,
            tasks: tasks.into_iter().collect(),
        })
    }

    /// Whether there is something that the session has not been told.
    pub(super) fn has_untold(&self) -> bool {
        self.told < self.last_place() || !self.messages.is_empty()
    }

    /// What the session is to be told next.
    pub(super) fn next_untold(&mut self) -> Option<ExecutorCall> {
        if let Some((place, status)) = self.unacknowledged.range(self.told + 1..).next() {
            self.told = *place;
            return Some(ExecutorCall::Update(status.clone()));
        }
        self.messages.pop_front().map(ExecutorCall::Message)
    }

    /// The agent has all statuses of a launch up to this number on its disk.
    pub(super) fn acknowledge(&mut self, task: &TaskId, incarnation: Incarnation, number: u64) {
        let launch = (task.clone(), incarnation);
        let Some(places) = self.places.get_mut(&launch) else {
            return;
        };
        let statuses = &mut self.unacknowledged;
        places.retain(|place| {
            let is_kept = statuses.get(place).is_some_and(|it| it.number > number);
            if !is_kept {
                statuses.remove(place);
            }
            is_kept
        });
        if places.is_empty() {
            self.places.remove(&launch);
        }
    }

    /// Whether the executor is done, and all that it has said is heard.
    pub(super) fn may_leave(&self) -> bool {
        self.is_leaving && self.unacknowledged.is_empty() && self.messages.is_empty()
    }

    fn last_place(&self) -> u64 {
        let last = self.unacknowledged.last_key_value();
        last.map_or(0, |(place, _)| *place)
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::limits::{ITEMS_PER_CALL_MAX, MESSAGE_LEN_MAX, STATUS_DATA_LEN_MAX};
    use proffer_proto::{decode_executor_call, encode_executor_call};
    use prost::Message as _;

    use super::*;

    fn launch(name: &str) -> Launch {
        (TaskId::new(name).unwrap(), Incarnation(7))
    }

    fn running(names: &[&str]) -> Memory {
        let mut memory = Memory::default();
        for name in names {
            memory.launched(launch(name));
        }
        memory
    }

    fn say(memory: &mut Memory, name: &str, state: TaskState, data: Vec<u8>) {
        let words = Words {
            data,
            ..Words::default()
        };
        memory.say(&launch(name), state, words);
    }

    /// What the agent reads of a subscription: it takes it.
    fn subscribe(memory: &mut Memory) -> Subscription {
        let call = encode_executor_call(&memory.subscribe());
        let len = call.encoded_len();
        assert!(len < MESSAGE_LEN_MAX * 3 / 4, "{len} bytes");
        match decode_executor_call(call).expect("what the agent takes") {
            ExecutorCall::Subscribe(subscription) => subscription,
            other => panic!("{other:?}"),
        }
    }

    fn untold(memory: &mut Memory) -> Vec<ExecutorStatus> {
        let mut statuses = Vec::new();
        while let Some(call) = memory.next_untold() {
            match call {
                ExecutorCall::Update(status) => statuses.push(status),
                other => panic!("{other:?}"),
            }
        }
        assert!(!memory.has_untold());
        statuses
    }

    fn keys(statuses: &[ExecutorStatus]) -> Vec<(&str, u64)> {
        let keys = statuses.iter().map(|it| (it.task.as_str(), it.number));
        keys.collect()
    }

    #[test]
    fn what_is_said_is_kept_in_order_until_it_is_acknowledged() {
        let mut memory = Memory::default();
        say(&mut memory, "t", TaskState::Running, vec![]);
        assert!(!memory.has_untold(), "nothing is said of what is not known");
        memory.launched(launch("t"));
        say(&mut memory, "t", TaskState::Running, vec![]);
        assert_eq!(keys(&untold(&mut memory)), [("t", 1)]);
        memory.launched(launch("t"));
        say(&mut memory, "t", TaskState::Finished, vec![]);
        memory.acknowledge(&launch("t").0, Incarnation(7), 1);
        assert!(memory.has_untold());
        assert_eq!(
            keys(&untold(&mut memory)),
            [("t", 2)],
            "once, and it counts on"
        );
        // A new session hears all that is left, and of no task that has ended.
        let subscription = subscribe(&mut memory);
        assert_eq!(keys(&subscription.unacknowledged), [("t", 2)]);
        assert!(subscription.tasks.is_empty());
        memory.is_leaving = true;
        assert!(!memory.may_leave());
        memory.acknowledge(&launch("t").0, Incarnation(7), 2);
        assert!(memory.may_leave());
        assert!(memory.places.is_empty());
    }

    #[test]
    fn of_what_says_more_of_the_same_state_the_newest_is_kept_while_many_wait() {
        let mut memory = running(&["t", "u"]);
        for name in ["t", "u"] {
            say(&mut memory, name, TaskState::Starting, vec![]);
        }
        let count = u8::try_from(EXECUTOR_STATUSES_MAX).unwrap();
        for i in 1..count + 4 {
            say(&mut memory, "t", TaskState::Running, vec![i]);
        }
        // It leads backwards.
        say(&mut memory, "t", TaskState::Starting, vec![]);
        let told = untold(&mut memory);
        assert_eq!(keys(&told)[..3], [("t", 1), ("u", 1), ("t", 2)]);
        let last = told.last().unwrap();
        assert_eq!(
            (told.len(), &*last.data),
            (usize::from(count) + 1, &[count + 3][..])
        );
        assert_eq!(last.number, u64::from(count) + 4);
        // Also of what was told already: the newer one is told besides, and both are acknowledged with it.
        say(&mut memory, "t", TaskState::Running, vec![0]);
        assert_eq!(keys(&untold(&mut memory)), [("t", u64::from(count) + 5)]);
        for state in [TaskState::Killing, TaskState::Killed] {
            say(&mut memory, "t", state, vec![]);
        }
        let states: Vec<_> = untold(&mut memory).iter().map(|it| it.state).collect();
        assert_eq!(states, [TaskState::Killing, TaskState::Killed]);
        memory.acknowledge(&launch("t").0, Incarnation(7), u64::from(count) + 7);
        assert_eq!(keys(&subscribe(&mut memory).unacknowledged), [("u", 1)]);
    }

    #[test]
    fn what_says_nothing_of_health_takes_the_place_of_what_does_and_says_it_too() {
        let mut memory = running(&["t"]);
        let mut say = |healthy| {
            let words = Words::default();
            memory.say(&launch("t"), TaskState::Running, Words { healthy, ..words });
        };
        (0..EXECUTOR_STATUSES_MAX).for_each(|_| say(None));
        for healthy in [Some(false), None, None] {
            say(healthy);
        }
        let last = untold(&mut memory).pop().unwrap();
        assert_eq!(last.healthy, Some(false));
    }

    #[test]
    fn ten_thousand_and_one_statuses_of_a_task_leave_few() {
        let mut memory = running(&["t"]);
        for _ in 0..=ITEMS_PER_CALL_MAX {
            say(&mut memory, "t", TaskState::Running, vec![]);
        }
        let subscription = subscribe(&mut memory);
        assert_eq!(subscription.unacknowledged.len(), EXECUTOR_STATUSES_MAX);
        let last = subscription.unacknowledged.last().unwrap();
        assert_eq!(last.number, 10_001);
        assert!(!memory.has_untold());
    }

    /// Subscribes anew and is told all, however much there is: what does not fit follows, in its order.
    fn check_all_is_told(memory: &mut Memory, count: usize) {
        let subscription = subscribe(memory);
        let begun = subscription.unacknowledged.len();
        assert!((1..count).contains(&begun), "{begun} at once");
        let mut told = subscription.unacknowledged.clone();
        told.extend(untold(memory));
        assert_eq!(told.len(), count);
        let named: BTreeSet<Launch> = subscription.tasks.into_iter().collect();
        let mut numbers = BTreeMap::new();
        for (i, status) in told.iter().enumerate() {
            let launch = (status.task.clone(), status.incarnation);
            // The agent takes a task that is not named for lost.
            assert!(i < begun || named.contains(&launch), "{launch:?}");
            let before = numbers.insert(launch, status.number).unwrap_or(0);
            assert_eq!(status.number, before + 1);
        }
        for status in &told {
            memory.acknowledge(&status.task, status.incarnation, status.number);
        }
        memory.is_leaving = true;
        assert!(memory.may_leave());
    }

    #[test]
    fn more_statuses_than_a_subscription_takes_follow_it() {
        let names: Vec<String> = (0..5_001).map(|i| format!("t{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut memory = running(&names);
        for state in [TaskState::Running, TaskState::Finished] {
            for name in &names {
                say(&mut memory, name, state, vec![]);
            }
        }
        check_all_is_told(&mut memory, 10_002);
    }

    #[test]
    fn more_bytes_than_a_subscription_takes_follow_it() {
        let names: Vec<String> = (0..200).map(|i| format!("t{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut memory = running(&names);
        for name in &names {
            say(
                &mut memory,
                name,
                TaskState::Finished,
                vec![1; STATUS_DATA_LEN_MAX],
            );
        }
        check_all_is_told(&mut memory, 200);
    }
}
