//! What an executor of Mesos's API says, as calls of ours, and what it is told, as Mesos's events. Pure.
//!
//! Mesos's executors know neither launches nor numbers: a task has an id, a status a uuid. So what was launched and what
//! was said of it is kept here, and as [`Record`]s by the caller, before anything of it goes on. A status that is sent again
//! keeps its number, whichever agent hears it: the core then knows it. Mesos's executors also name only the tasks of which
//! no status is acknowledged yet; those of which one was heard, and not the end, they run without saying so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_model::executor::{ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::limits::{EXECUTOR_MESSAGE_LEN_MAX, STATUS_DATA_LEN_MAX, TEXT_LEN_MAX};
use proffer_model::{Command, Incarnation, TaskId, TaskSpec, TaskState, code};
use proffer_proto::mesos::v1::executor::{Call, Event, call, event};
use proffer_proto::mesos::{decode_mesos_state, v1};
use prost::Message as _;

use crate::limits::MESOS_STATUSES_KNOWN_MAX;

/// The name of a status.
pub(crate) type Uuid = [u8; 16];

/// What is to be kept of what went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// A task was launched.
    Launched {
        /// Which.
        task: TaskId,
        /// Which launch.
        incarnation: Incarnation,
    },
    /// A status was heard.
    Said {
        /// Of which task.
        task: TaskId,
        /// Of which launch.
        incarnation: Incarnation,
        /// The number that it was given.
        number: u64,
        /// Its name.
        uuid: Uuid,
        /// Whether it is the task's end.
        is_end: bool,
    },
}

/// A call that was checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Checked {
    /// The stream is to begin.
    Subscribe(call::Subscribe),
    /// A status.
    Update(Box<v1::TaskStatus>),
    /// Bytes for its framework.
    Message(Vec<u8>),
    /// Nothing, but alive.
    Heartbeat,
}

/// What an executor knows and does, as far as it went through here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Translator {
    tasks: BTreeMap<TaskId, Told>,
}

/// A launch.
#[derive(Clone, Debug)]
struct Told {
    incarnation: Incarnation,
    /// How many statuses were heard.
    count: u64,
    /// The last of them, by number.
    said: VecDeque<(u64, Uuid)>,
    /// Up to which number the executor was told that they are on disk, and has not asked again.
    acknowledged: u64,
    has_ended: bool,
}

/// What a subscription comes to.
#[derive(Debug, Default)]
pub(crate) struct Subscribing {
    /// For the core.
    pub(crate) subscription: Subscription,
    /// What is said at once, without the core: it is of tasks that nobody knows any more.
    pub(crate) answers: Vec<Event>,
    /// What is to be kept.
    pub(crate) records: Vec<Record>,
    /// Why statuses are left out: they were refused before, and must not keep the executor from coming back.
    pub(crate) left_out: Vec<String>,
}

/// Why a status is not taken; the text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is none that could be taken.
    Wrong(String),
    /// So many of its launch wait to be on disk that it could not be known again: later there is room.
    Early(String),
}

/// What a status comes to.
#[derive(Debug)]
pub(crate) enum Update {
    /// It is for the core.
    Known(ExecutorStatus, Option<Record>),
    /// It is of a task that nobody knows any more: the executor may forget it.
    Forgotten(Box<Event>),
}

impl Translator {
    /// Takes in what an earlier agent has kept.
    pub(crate) fn replay(&mut self, record: &Record) {
        match record {
            Record::Launched { task, incarnation } => self.launched(task, *incarnation),
            Record::Said {
                task,
                incarnation,
                number,
                uuid,
                is_end,
            } => {
                self.launched(task, *incarnation);
                if let Some(told) = self.tasks.get_mut(task)
                    && told.incarnation == *incarnation
                {
                    told.keep(*number, *uuid, *is_end);
                    // What the executor has not heard it says again.
                    told.acknowledged = told.count;
                }
            }
        }
    }

    /// All that is to be kept now.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for (task, told) in &self.tasks {
            let (task, incarnation) = (task.clone(), told.incarnation);
            records.push(Record::Launched {
                task: task.clone(),
                incarnation,
            });
            records.extend(told.said.iter().map(|(number, uuid)| Record::Said {
                task: task.clone(),
                incarnation,
                number: *number,
                uuid: *uuid,
                is_end: told.has_ended && *number == told.count,
            }));
        }
        records
    }

    /// How an executor begins, or begins again.
    pub(crate) fn subscribe(&mut self, call: &call::Subscribe) -> Subscribing {
        let updates: Vec<&v1::TaskStatus> = call
            .unacknowledged_updates
            .iter()
            .map(|update| &update.status)
            .collect();
        let resent: BTreeSet<&str> = updates.iter().map(|it| &*it.task_id.value).collect();
        // What has ended and is not said again, it knows to be heard.
        self.tasks
            .retain(|task, told| !told.has_ended || resent.contains(task.as_str()));
        // What it does not say again it has heard to be on disk, or does not want to hear.
        for told in self.tasks.values_mut() {
            told.acknowledged = told.count;
        }
        // What is new comes after it, and is to drop nothing that is said again.
        for status in &updates {
            self.say_again(status);
        }
        let mut statuses = Vec::new();
        let mut beginning = Subscribing::default();
        // Some keep them in no order: an end is not to hide what came before it.
        let (ends, others): (Vec<_>, Vec<_>) = updates
            .iter()
            .partition(|it| state_of(it).is_ok_and(TaskState::is_terminal));
        for status in others.into_iter().chain(ends) {
            match self.take(status) {
                Ok(Update::Known(status, record)) => {
                    statuses.push(status);
                    beginning.records.extend(record);
                }
                Ok(Update::Forgotten(event)) => beginning.answers.push(*event),
                Err(text) => beginning.left_out.push(text),
            }
        }
        // What is known already comes before what is new.
        statuses.sort_by_key(|status| status.number);
        let mut named = BTreeSet::new();
        for task in &call.unacknowledged_tasks {
            let id = &task.task_id.value;
            let known = self.find(id);
            match known.and_then(|task| Some((self.tasks.get(&task)?.incarnation, task))) {
                Some((incarnation, task)) => drop(named.insert((task, incarnation))),
                None if resent.contains(id.as_str()) => {}
                None => beginning.answers.push(kill(id, None)),
            }
        }
        let heard_of = self.tasks.iter().filter(|(_, told)| told.count > 0);
        named.extend(heard_of.map(|(task, told)| (task.clone(), told.incarnation)));
        beginning.subscription = Subscription {
            unacknowledged: statuses,
            tasks: named.into_iter().collect(),
        };
        beginning
    }

    /// Makes that unsaid which could not be kept: its numbers are given again, so that none is missing.
    pub(crate) fn take_back(&mut self, records: &[Record]) {
        for record in records.iter().rev() {
            if let Record::Said {
                task,
                incarnation,
                number,
                is_end,
                ..
            } = record
                && let Some(told) = self.tasks.get_mut(task)
                && told.incarnation == *incarnation
                && told.count == *number
            {
                told.said.pop_back();
                told.count -= 1;
                told.has_ended &= !is_end;
            }
        }
    }

    /// A status, perhaps again. One that is new is refused while too many of its launch wait to be on disk, but for an end.
    pub(crate) fn update(&mut self, status: &v1::TaskStatus) -> Result<Update, Unfit> {
        let state = state_of(status).map_err(Unfit::Wrong)?;
        let uuid = uuid_of(status).map_err(Unfit::Wrong)?;
        let told = self.find(&status.task_id.value);
        let told = told.and_then(|task| self.tasks.get(&task));
        let is_end = |told: &Told| state.is_terminal() && !told.has_ended;
        if told.is_some_and(|told| !told.knows(&uuid) && told.is_full() && !is_end(told)) {
            return Err(Unfit::Early(format!(
                "{MESOS_STATUSES_KNOWN_MAX} statuses of task {} are not acknowledged yet",
                status.task_id.value
            )));
        }
        self.take(status).map_err(Unfit::Wrong)
    }

    /// What is known of a status that comes again has to be acknowledged again.
    fn say_again(&mut self, status: &v1::TaskStatus) {
        let told = self.find(&status.task_id.value);
        let told = told.and_then(|task| self.tasks.get_mut(&task));
        if let (Some(told), Ok(uuid)) = (told, uuid_of(status)) {
            told.number_of(&uuid);
        }
    }

    /// A status, however many there are.
    fn take(&mut self, status: &v1::TaskStatus) -> Result<Update, String> {
        let state = state_of(status)?;
        let uuid = uuid_of(status)?;
        let id = &status.task_id.value;
        let found = self.find(id);
        let found = found.and_then(|task| Some((self.tasks.get_mut(&task)?, task)));
        let Some((told, task)) = found else {
            return Ok(Update::Forgotten(Box::new(acknowledged(id, uuid))));
        };
        let data = status.encode_to_vec();
        // An end must be heard in any case: what is too much of it the core leaves out, and its framework is told.
        if let Some(text) = too_long(&data).filter(|_| !state.is_terminal()) {
            return Err(text);
        }
        let (number, record) = match told.number_of(&uuid) {
            Some(number) => (number, None),
            None => {
                let (number, is_end) = (told.count + 1, state.is_terminal());
                told.note(number, uuid, is_end);
                let record = Record::Said {
                    task: task.clone(),
                    incarnation: told.incarnation,
                    number,
                    uuid,
                    is_end,
                };
                (number, Some(record))
            }
        };
        let message = status.message.as_deref().unwrap_or_default();
        let end = message.floor_char_boundary(TEXT_LEN_MAX);
        let status = ExecutorStatus {
            task,
            incarnation: told.incarnation,
            number,
            state,
            message: message.get(..end).unwrap_or_default().to_owned(),
            healthy: status.healthy,
            exit: None,
            data,
        };
        Ok(Update::Known(status, record))
    }

    /// What the executor is told of what the core says to it; nothing when that is for nobody. `SUBSCRIBED` is not made
    /// here. The error is for people.
    pub(crate) fn event(
        &mut self,
        event: &ExecutorEvent,
    ) -> Result<(Vec<Event>, Vec<Record>), String> {
        let mut records = Vec::new();
        let events = match event {
            ExecutorEvent::Subscribed { .. } => Vec::new(),
            ExecutorEvent::Launch(tasks) => {
                let infos: Result<Vec<_>, _> = tasks.iter().map(|(_, spec)| info(spec)).collect();
                for (incarnation, spec) in tasks {
                    self.launched(&spec.id, *incarnation);
                    records.push(Record::Launched {
                        task: spec.id.clone(),
                        incarnation: *incarnation,
                    });
                }
                vec![launch(infos?)]
            }
            ExecutorEvent::Kill { task, grace, .. } => {
                let nanoseconds =
                    grace.map(|grace| i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX));
                vec![kill(task.as_str(), nanoseconds)]
            }
            ExecutorEvent::Acknowledged {
                task,
                incarnation,
                number,
            } => self.acknowledge(task, *incarnation, *number),
            ExecutorEvent::Message(data) => vec![Event {
                message: Some(event::Message { data: data.clone() }),
                ..of_type(event::Type::Message)
            }],
            ExecutorEvent::Shutdown { .. } => vec![of_type(event::Type::Shutdown)],
            // Mesos closes the stream of one that subscribes again without a word.
            ExecutorEvent::Closed(problem) if problem.is(code::SESSION_FENCED) => Vec::new(),
            ExecutorEvent::Closed(problem) if problem.is(code::EXECUTOR_UNKNOWN) => {
                vec![of_type(event::Type::Shutdown)]
            }
            ExecutorEvent::Closed(problem) => vec![Event {
                error: Some(event::Error {
                    message: problem.message.clone(),
                }),
                ..of_type(event::Type::Error)
            }],
            ExecutorEvent::Heartbeat => vec![of_type(event::Type::Heartbeat)],
        };
        Ok((events, records))
    }

    /// All statuses up to a number are on disk: the executor hears it of each by its uuid, also again.
    fn acknowledge(&mut self, task: &TaskId, incarnation: Incarnation, number: u64) -> Vec<Event> {
        let Some(told) = self.tasks.get_mut(task) else {
            return Vec::new();
        };
        if told.incarnation != incarnation {
            return Vec::new();
        }
        let of = told.said.iter().filter(|(said, _)| *said <= number);
        let fresh = of.filter(|(said, _)| *said > told.acknowledged);
        let events = fresh
            .map(|(_, uuid)| acknowledged(task.as_str(), *uuid))
            .collect();
        told.acknowledged = told.acknowledged.max(number);
        if told.has_ended && number >= told.count {
            self.tasks.remove(task);
        }
        events
    }

    fn find(&self, id: &str) -> Option<TaskId> {
        let task = TaskId::new(id).ok()?;
        self.tasks.contains_key(&task).then_some(task)
    }

    fn launched(&mut self, task: &TaskId, incarnation: Incarnation) {
        let known = self.tasks.get(task).map(|told| told.incarnation);
        if known.is_none_or(|known| known < incarnation) {
            self.tasks.insert(task.clone(), Told::new(incarnation));
        }
    }
}

impl Told {
    fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            count: 0,
            said: VecDeque::new(),
            acknowledged: 0,
            has_ended: false,
        }
    }

    fn knows(&self, uuid: &Uuid) -> bool {
        self.said.iter().any(|(_, said)| said == uuid)
    }

    /// Which number a status has that comes again; its executor waits for its acknowledgement then.
    fn number_of(&mut self, uuid: &Uuid) -> Option<u64> {
        let (number, _) = self.said.iter().find(|(_, said)| said == uuid)?;
        self.acknowledged = self.acknowledged.min(number.saturating_sub(1));
        Some(*number)
    }

    /// Whether there are so many that one would have to be forgotten whose acknowledgement its executor waits for.
    fn is_full(&self) -> bool {
        let oldest = self.said.front();
        self.said.len() >= MESOS_STATUSES_KNOWN_MAX
            && oldest.is_some_and(|(number, _)| *number > self.acknowledged)
    }

    /// A new one: of those that are acknowledged only so many are remembered.
    fn note(&mut self, number: u64, uuid: Uuid, is_end: bool) {
        while self.said.len() >= MESOS_STATUSES_KNOWN_MAX && !self.is_full() {
            self.said.pop_front();
        }
        self.keep(number, uuid, is_end);
    }

    fn keep(&mut self, number: u64, uuid: Uuid, is_end: bool) {
        if self.said.iter().any(|(said, _)| *said == number) {
            return;
        }
        self.said.push_back((number, uuid));
        self.count = self.count.max(number);
        self.has_ended |= is_end;
    }
}

/// What an executor is answered that says this along with a status; nothing when it is not too much.
pub(crate) fn too_long(data: &[u8]) -> Option<String> {
    let len = data.len();
    (len > STATUS_DATA_LEN_MAX)
        .then(|| format!("The status has {len} bytes, and {STATUS_DATA_LEN_MAX} are the limit"))
}

/// What a call says, of the executor that it is for. The error is Mesos's text, to stand behind
/// `Failed to validate executor::Call: `.
pub(crate) fn check(call: Call) -> Result<Checked, String> {
    let expected = |field: &str| format!("Expecting '{field}' to be present");
    let kind = call.r#type.and_then(|it| call::Type::try_from(it).ok());
    match kind {
        None | Some(call::Type::Unknown) => Err(expected("type")),
        Some(call::Type::Subscribe) => {
            let subscribe = call.subscribe.ok_or_else(|| expected("subscribe"))?;
            Ok(Checked::Subscribe(subscribe))
        }
        Some(call::Type::Update) => {
            let update = call.update.ok_or_else(|| expected("update"))?;
            let (executor, framework) = (&call.executor_id.value, &call.framework_id.value);
            check_status(&update.status, executor, framework)?;
            Ok(Checked::Update(Box::new(update.status)))
        }
        Some(call::Type::Message) => {
            let data = call.message.ok_or_else(|| expected("message"))?.data;
            let len = data.len();
            if len > EXECUTOR_MESSAGE_LEN_MAX {
                return Err(format!(
                    "The message has {len} bytes, and {EXECUTOR_MESSAGE_LEN_MAX} are the limit"
                ));
            }
            Ok(Checked::Message(data))
        }
        Some(call::Type::Heartbeat) => Ok(Checked::Heartbeat),
    }
}

fn check_status(status: &v1::TaskStatus, executor: &str, framework: &str) -> Result<(), String> {
    uuid_of(status)?;
    if let Some(id) = &status.executor_id
        && id.value != executor
    {
        return Err(format!(
            "ExecutorID in Call: {executor} does not match ExecutorID in TaskStatus: {}",
            id.value
        ));
    }
    let said = format!("from executor {executor} of framework {framework}");
    if status.source != Some(v1::task_status::Source::Executor.into()) {
        return Err(format!(
            "Received Call {said} with invalid source, expecting 'SOURCE_EXECUTOR'"
        ));
    }
    state_of(status)
        .map(drop)
        .map_err(|state| format!("Received {state} {said} which is not allowed"))
}

fn uuid_of(status: &v1::TaskStatus) -> Result<Uuid, String> {
    let uuid = status.uuid.as_deref();
    let uuid = uuid.ok_or("Expecting 'uuid' to be present")?;
    Uuid::try_from(uuid).map_err(|_| "Not a valid UUID".to_owned())
}

/// What a state of Mesos's is here; one that is not an executor's to say is the error.
fn state_of(status: &v1::TaskStatus) -> Result<TaskState, String> {
    let state = v1::TaskState::try_from(status.state);
    let state = state.map_err(|_| format!("state {}", status.state))?;
    match decode_mesos_state(state) {
        None | Some(TaskState::Staging) => Err(state.as_str_name().to_owned()),
        Some(state) => Ok(state),
    }
}

fn info(spec: &TaskSpec) -> Result<v1::TaskInfo, String> {
    let Command::Data(data) = &spec.command else {
        return Err(format!("Task {} carries no data", spec.id));
    };
    v1::TaskInfo::decode(&**data).map_err(|_| format!("Task {} carries no TaskInfo", spec.id))
}

fn launch(infos: Vec<v1::TaskInfo>) -> Event {
    match <[v1::TaskInfo; 1]>::try_from(infos) {
        Ok([task]) => Event {
            launch: Some(event::Launch { task }),
            ..of_type(event::Type::Launch)
        },
        Err(tasks) => Event {
            launch_group: Some(event::LaunchGroup {
                task_group: v1::TaskGroupInfo { tasks },
            }),
            ..of_type(event::Type::LaunchGroup)
        },
    }
}

fn kill(task: &str, grace_ns: Option<i64>) -> Event {
    Event {
        kill: Some(event::Kill {
            task_id: v1::TaskId { value: task.into() },
            kill_policy: grace_ns.map(|nanoseconds| v1::KillPolicy {
                grace_period: Some(v1::DurationInfo { nanoseconds }),
            }),
        }),
        ..of_type(event::Type::Kill)
    }
}

fn acknowledged(task: &str, uuid: Uuid) -> Event {
    Event {
        acknowledged: Some(event::Acknowledged {
            task_id: v1::TaskId { value: task.into() },
            uuid: uuid.to_vec(),
        }),
        ..of_type(event::Type::Acknowledged)
    }
}

/// An event with nothing in it.
pub(crate) fn of_type(kind: event::Type) -> Event {
    Event {
        r#type: Some(kind.into()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests;
