//! What a framework asks once it is subscribed. Nothing of it is refused to its caller, which hears 202 whatever it says:
//! what is wrong comes as updates.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::limits::{ITEMS_PER_CALL_MAX, MESSAGE_LEN_MAX, PROBLEM_TEXT_LEN_MAX};
use proffer_model::session::{Call as Ask, Operation};
use proffer_model::{
    AgentId, OfferId, Principal, Problem, Resources, Role, TaskId, TaskSpec, Time,
};
use proffer_proto::mesos::v1::offer::operation::Type;
use proffer_proto::mesos::v1::scheduler::{Call, call};
use proffer_proto::mesos::v1::{self, TaskInfo, offer, task_status::Reason};
use proffer_proto::mesos::{
    AgentStanding, MesosExecutor, NamedAgent, decode_group, decode_resources, decode_task_info,
};
use prost::Message;

use super::demand::refused_for;
use super::events;
use super::intent::everybody;
use super::operations;
use super::subscription::{Accepting, Awaited, AwaitedTask, Out, Subscription, tell};

impl Subscription {
    /// Does a call of a subscribed framework; every part that its type needs is there. `agents` are those of them that it
    /// names and that there are.
    pub(super) fn on_call(
        &mut self,
        now: Time,
        call: Call,
        agents: &BTreeMap<AgentId, AgentStanding>,
    ) -> Vec<Out> {
        use call::Type;
        match call.r#type() {
            Type::Teardown => self.teardown(),
            Type::Accept => call
                .accept
                .map(|it| self.accept(now, it))
                .unwrap_or_default(),
            Type::Decline => call.decline.map(|it| self.decline(&it)).unwrap_or_default(),
            Type::Revive => {
                let roles = call.revive.map(|it| it.roles).unwrap_or_default();
                self.suppress(&roles, false)
            }
            Type::Suppress => {
                let roles = call.suppress.map(|it| it.roles).unwrap_or_default();
                self.suppress(&roles, true)
            }
            Type::Kill => call
                .kill
                .map(|it| self.kill(now, &it, agents))
                .unwrap_or_default(),
            Type::Shutdown => self.shutdown(call.shutdown),
            Type::Acknowledge => self.acknowledge(now, call.acknowledge),
            Type::Reconcile => self.reconcile(now, call.reconcile, agents),
            Type::Message => self.message(call.message),
            Type::ReconcileOperations => operations::reconcile(call.reconcile_operations, agents),
            // Statuses of operations are told once; inverse offers are answered by what becomes of the tasks.
            Type::AcknowledgeOperationStatus
            | Type::AcceptInverseOffers
            | Type::DeclineInverseOffers
            | Type::Request
            | Type::Subscribe
            | Type::UpdateFramework
            | Type::Unknown => Vec::new(),
        }
    }

    fn decline(&mut self, decline: &call::Decline) -> Vec<Out> {
        let exclude_for = refused_for(decline.filters.as_ref());
        let ids = decline.offer_ids.iter();
        let offers: Vec<OfferId> = ids.filter_map(|id| id.value.parse().ok()).collect();
        let pieces = offers.chunks(ITEMS_PER_CALL_MAX);
        let outs = pieces.flat_map(|offers| self.give_back(offers.to_vec(), exclude_for));
        outs.collect()
    }

    fn give_back(&mut self, offers: Vec<OfferId>, exclude_for: Duration) -> Vec<Out> {
        for offer in &offers {
            self.offers.remove(offer);
        }
        let call = Ask::Decline {
            offers,
            exclude_for,
        };
        vec![self.ask(call)]
    }

    /// Of all roles when none is named; a role that is not the framework's spoils the call.
    fn suppress(&mut self, names: &[String], is_suppressed: bool) -> Vec<Out> {
        let mut named = BTreeSet::new();
        for name in names {
            match Role::new(name) {
                Ok(role) if self.intent.wishes.contains_key(&role) => named.insert(role),
                _ => return Vec::new(),
            };
        }
        let roles: Vec<Role> = match names.is_empty() {
            true => self.intent.wishes.keys().cloned().collect(),
            false => named.into_iter().collect(),
        };
        let mut outs = Vec::new();
        if !is_suppressed {
            self.rests.forget(&roles);
        }
        for role in roles {
            if let Some(wish) = self.intent.wishes.get_mut(&role) {
                wish.is_suppressed = is_suppressed;
                wish.revived += u64::from(!is_suppressed);
            }
            outs.extend(self.demand(&role));
        }
        outs
    }

    fn kill(
        &mut self,
        now: Time,
        kill: &call::Kill,
        agents: &BTreeMap<AgentId, AgentStanding>,
    ) -> Vec<Out> {
        let Ok(task) = kill.task_id.value.parse::<TaskId>() else {
            return vec![self.unknown_task(now, &kill.task_id.value)];
        };
        let (named, place) = (kill.agent_id.as_ref(), self.updates.place(&task));
        if let (Some(named), Some(place)) = (named, place)
            && named.value != place.as_str()
        {
            // It is another's that is meant: Mesos says nothing of it.
            return Vec::new();
        }
        let policy = kill.kill_policy.as_ref();
        let grace = policy.and_then(|policy| policy.grace_period.as_ref());
        let grace = grace.map(|grace| {
            let nanoseconds = u64::try_from(grace.nanoseconds).unwrap_or(0);
            Duration::from_nanos(nanoseconds).min(proffer_model::limits::KILL_GRACE_MAX)
        });
        // Of one that nobody knows it is said what RECONCILE would be told.
        self.updates.asks(&task, named_agent(agents, named));
        vec![self.ask(Ask::Kill { task, grace })]
    }

    /// What is said of a task that cannot be.
    fn unknown_task(&self, now: Time, task: &str) -> Out {
        let state = match self.capabilities.partition_aware {
            true => v1::TaskState::TaskUnknown,
            false => v1::TaskState::TaskLost,
        };
        let text = "Reconciliation: Task is unknown";
        self.refuse_task(now, task, None, state, Reason::Reconciliation, text)
    }

    fn shutdown(&mut self, shutdown: Option<call::Shutdown>) -> Vec<Out> {
        let ask = shutdown.and_then(|shutdown| {
            Some(Ask::ShutdownExecutor {
                agent: shutdown.agent_id.value.parse().ok()?,
                executor: shutdown.executor_id.value.parse().ok()?,
            })
        });
        ask.map(|ask| self.ask(ask)).into_iter().collect()
    }

    fn message(&mut self, message: Option<call::Message>) -> Vec<Out> {
        let ask = message.and_then(|message| {
            Some(Ask::SendMessage {
                agent: message.agent_id.value.parse().ok()?,
                executor: message.executor_id.value.parse().ok()?,
                data: message.data,
            })
        });
        ask.map(|ask| self.ask(ask)).into_iter().collect()
    }

    fn acknowledge(&mut self, now: Time, acknowledge: Option<call::Acknowledge>) -> Vec<Out> {
        let Some(acknowledge) = acknowledge else {
            return Vec::new();
        };
        let Ok(task) = acknowledge.task_id.value.parse::<TaskId>() else {
            return Vec::new();
        };
        let steps = self.updates.on_acknowledge(now, &task, &acknowledge.uuid);
        self.steps(steps)
    }

    fn reconcile(
        &mut self,
        now: Time,
        reconcile: Option<call::Reconcile>,
        agents: &BTreeMap<AgentId, AgentStanding>,
    ) -> Vec<Out> {
        let asked = reconcile.unwrap_or_default().tasks;
        let is_implicit = asked.is_empty();
        let mut tasks = Vec::new();
        let mut outs = Vec::new();
        for task in asked {
            match task.task_id.value.parse::<TaskId>() {
                Ok(id) => {
                    self.updates
                        .asks(&id, named_agent(agents, task.agent_id.as_ref()));
                    tasks.push(id);
                }
                Err(_) if outs.len() < ITEMS_PER_CALL_MAX => {
                    outs.push(self.unknown_task(now, &task.task_id.value));
                }
                // There are no tasks of such names: whoever asks for so many of them wants to fill memory.
                Err(_) => {}
            }
        }
        if is_implicit {
            outs.extend(self.ask_statuses(Ask::Reconcile { tasks: Vec::new() }));
        }
        for tasks in tasks.chunks(ITEMS_PER_CALL_MAX) {
            let tasks = tasks.to_vec();
            outs.extend(self.ask_statuses(Ask::Reconcile { tasks }));
        }
        outs
    }

    fn accept(&mut self, now: Time, accept: call::Accept) -> Vec<Out> {
        let ids = accept.offer_ids.iter();
        let offers: Vec<OfferId> = ids.filter_map(|id| id.value.parse().ok()).collect();
        if let Some(why) = self.why_not(&accept.offer_ids) {
            let mut outs = self.on_offers_refused(now, &accept.operations, &why);
            outs.extend(self.give_back(offers, Duration::ZERO));
            return outs;
        }
        let mut accepting = self.take(&offers);
        accepting.refused_for = refused_for(accept.filters.as_ref());
        let mut operations = Vec::new();
        let mut items = 0;
        let mut outs = Vec::new();
        for mut operation in accept.operations {
            resources_of(&mut operation, |resources| self.names().known(resources));
            let mut decoder = Decoder {
                subscription: self,
                now,
                accepting: &mut accepting,
                operations: &mut operations,
                items: &mut items,
                outs: &mut outs,
            };
            decoder.decode(operation);
        }
        if operations.is_empty() {
            let exclude_for = accepting.refused_for;
            outs.extend(self.give_back(offers, exclude_for));
            return outs;
        }
        let out = self.ask(Ask::Accept { offers, operations });
        if let Out::Ask(request, _) = &out {
            self.accepts.insert(*request, accepting);
        }
        outs.push(out);
        outs
    }

    /// What these offers hold; they are the framework's no more.
    fn take(&mut self, offers: &[OfferId]) -> Accepting {
        let mut accepting = Accepting {
            agent: None,
            role: self
                .intent
                .wishes
                .keys()
                .next()
                .cloned()
                .unwrap_or_else(everybody),
            offered: Resources::new(),
            operations: Vec::new(),
            refused_for: Duration::ZERO,
        };
        for held in offers.iter().filter_map(|id| self.offers.remove(id)) {
            accepting.offered.add(&held.resources);
            accepting.agent = Some(held.agent);
            accepting.role = held.role;
        }
        accepting
    }
}

/// The agent that is named, and how it stands.
fn named_agent(
    agents: &BTreeMap<AgentId, AgentStanding>,
    named: Option<&v1::AgentId>,
) -> Option<NamedAgent> {
    let name = named?.value.clone();
    let id: Option<AgentId> = name.parse().ok();
    let standing = id.and_then(|id| agents.get(&id).copied());
    Some(NamedAgent { name, standing })
}

/// What is made of the operations of one ACCEPT.
struct Decoder<'a> {
    subscription: &'a Subscription,
    now: Time,
    accepting: &'a mut Accepting,
    operations: &'a mut Vec<Operation>,
    /// Tasks, and operations without any, so far.
    items: &'a mut usize,
    outs: &'a mut Vec<Out>,
}

impl Decoder<'_> {
    fn decode(&mut self, operation: offer::Operation) {
        let id = operation.id.clone();
        match operation.r#type() {
            Type::Launch => {
                let launch = operation.launch.unwrap_or_default();
                for task in &launch.task_infos {
                    match id.is_some() {
                        false => self.launch(task),
                        true => self.refuse(task, Reason::TaskInvalid, &no_id("LAUNCH")),
                    }
                }
            }
            Type::LaunchGroup => {
                let group = operation.launch_group.unwrap_or_default();
                match id.is_some() {
                    false => self.launch_group(*group),
                    true => {
                        let tasks = group.task_group.tasks.iter();
                        let text = no_id("LAUNCH_GROUP");
                        tasks.for_each(|task| self.refuse(task, Reason::TaskGroupInvalid, &text));
                    }
                }
            }
            _ => match self
                .take_room(1)
                .and_then(|()| decode_conversion(&operation, &self.subscription.intent.principal))
                .and_then(|conversion| self.check_makers(&operation).map(|()| conversion))
            {
                Ok(conversion) => {
                    self.operations.push(conversion);
                    let awaited = Awaited::Operation(id, converted(operation));
                    self.accepting.operations.push(awaited);
                }
                Err(text) => {
                    let state = v1::OperationState::OperationError;
                    let told = id.map(|id| tell(events::operation_status(&id, state, Some(text))));
                    self.outs.extend(told);
                }
            },
        }
    }

    /// Whether what it makes is in its own name.
    fn check_makers(&self, operation: &offer::Operation) -> Result<(), String> {
        let names = self.subscription.names();
        let (reserve, create) = (operation.reserve.as_ref(), operation.create.as_ref());
        reserve
            .map_or(Ok(()), |it| names.check_reserve(&it.resources))
            .and_then(|()| create.map_or(Ok(()), |it| names.check_create(&it.volumes)))
    }

    fn launch(&mut self, task: &TaskInfo) {
        let room = self.take_room(1);
        let launcher = self.subscription.launcher(&self.accepting.role);
        let decoded = room
            .and_then(|()| self.is_here(task))
            .and_then(|()| decode_task_info(task, launcher));
        match decoded {
            Ok(spec) => {
                let tasks = vec![awaited(&spec, task)];
                self.accepting.operations.push(Awaited::Tasks(tasks, false));
                self.operations.push(Operation::launch(spec));
            }
            Err(text) => self.refuse(task, Reason::TaskInvalid, &text),
        }
    }

    /// The core does all of a call at once, so a call is of so much and no more.
    fn take_room(&mut self, count: usize) -> Result<(), String> {
        *self.items = self.items.saturating_add(count);
        match *self.items > ITEMS_PER_CALL_MAX {
            true => Err(format!(
                "A call has at most {ITEMS_PER_CALL_MAX} tasks and operations"
            )),
            false => Ok(()),
        }
    }

    /// A task says on which agent it is to run; that is where its offers are from.
    fn is_here(&self, task: &TaskInfo) -> Result<(), String> {
        match &self.accepting.agent {
            Some(agent) if task.agent_id.value != agent.as_str() => Err(format!(
                "Task uses invalid agent {} while agent {agent} is expected",
                task.agent_id.value
            )),
            _ => Ok(()),
        }
    }

    /// The text may repeat what is wrong, and is told of every task of a group.
    fn refuse(&mut self, task: &TaskInfo, reason: Reason, text: &str) {
        let end = text.floor_char_boundary(PROBLEM_TEXT_LEN_MAX);
        let text = text.get(..end).unwrap_or(text);
        let agent = task.agent_id.value.parse().ok();
        let state = v1::TaskState::TaskError;
        let id = &task.task_id.value;
        let out = self
            .subscription
            .refuse_task(self.now, id, agent.as_ref(), state, reason, text);
        self.outs.push(out);
    }

    /// All or none.
    fn launch_group(&mut self, group: offer::operation::LaunchGroup) {
        let room = self.take_room(group.task_group.tasks.len());
        let launcher = self.subscription.launcher(&self.accepting.role);
        let decoded = room.and_then(|()| check_len(&group)).and_then(|()| {
            let tasks = &group.task_group.tasks;
            decode_group(tasks, &group.executor, launcher, |task| self.is_here(task))
        });
        let tasks = group.task_group.tasks;
        let specs = match decoded {
            Ok(specs) => specs,
            Err(text) => {
                for task in &tasks {
                    self.refuse(task, Reason::TaskGroupInvalid, &text);
                }
                return;
            }
        };
        let tasks = specs.iter().zip(&tasks);
        let tasks = tasks.map(|(spec, task)| awaited(spec, task)).collect();
        self.accepting.operations.push(Awaited::Tasks(tasks, true));
        self.operations.push(Operation::LaunchGroup(specs));
    }
}

/// Whose tasks tell how they are doing.
fn no_id(kind: &str) -> String {
    format!("The `id` field cannot be set on {kind} operations")
}

fn awaited(spec: &TaskSpec, task: &TaskInfo) -> AwaitedTask {
    AwaitedTask {
        id: spec.id.clone(),
        needs: spec.resources.clone(),
        agent: task.agent_id.value.parse().ok(),
        executor: MesosExecutor::of(spec),
    }
}

/// A group reaches its agent in one message, with its executor beside each of its tasks.
fn check_len(group: &offer::operation::LaunchGroup) -> Result<(), String> {
    let tasks = &group.task_group.tasks;
    let executors = group.executor.encoded_len().saturating_mul(tasks.len());
    let len = group.task_group.encoded_len().saturating_add(executors);
    // Half of what a message may be, since what is sent is not the same to the byte.
    match len > MESSAGE_LEN_MAX / 2 {
        true => Err(format!(
            "The task group has {len} bytes, with its executor beside each task"
        )),
        false => Ok(()),
    }
}

/// Does something with all resources that an operation names.
fn resources_of(operation: &mut offer::Operation, mut change: impl FnMut(&mut [v1::Resource])) {
    let launches = operation.launch.iter_mut();
    let launched = launches.flat_map(|launch| &mut launch.task_infos);
    for task in launched {
        of_task(task, &mut change);
    }
    if let Some(group) = &mut operation.launch_group {
        change(&mut group.executor.resources);
        for task in &mut group.task_group.tasks {
            of_task(task, &mut change);
        }
    }
    let lists = [
        operation.reserve.as_mut().map(|it| &mut it.resources),
        operation.unreserve.as_mut().map(|it| &mut it.resources),
        operation.create.as_mut().map(|it| &mut it.volumes),
        operation.destroy.as_mut().map(|it| &mut it.volumes),
    ];
    lists.into_iter().flatten().for_each(|list| change(list));
    if let Some(grow) = &mut operation.grow_volume {
        change(std::slice::from_mut(&mut grow.addition));
    }
}

fn of_task(task: &mut TaskInfo, change: &mut impl FnMut(&mut [v1::Resource])) {
    change(&mut task.resources);
    if let Some(executor) = &mut task.executor {
        change(&mut executor.resources);
    }
}

/// What the resources of an operation are when it is done, in the form in which its framework has named them.
fn converted(operation: offer::Operation) -> Vec<v1::Resource> {
    let unreserved = |mut one: v1::Resource| {
        if one.reservations.pop().is_none() {
            one.role = one.role.map(|_| everybody().to_string());
            one.reservation = None;
        }
        one
    };
    let emptied = |mut one: v1::Resource| {
        if let Some(disk) = &mut one.disk {
            (disk.persistence, disk.volume) = (None, None);
        }
        one.disk.take_if(|disk| disk.source.is_none());
        one.shared = None;
        one
    };
    match operation.r#type() {
        Type::Reserve => operation.reserve.unwrap_or_default().resources,
        Type::Create => operation.create.unwrap_or_default().volumes,
        Type::Unreserve => {
            let given = operation.unreserve.unwrap_or_default().resources;
            given.into_iter().map(unreserved).collect()
        }
        Type::Destroy => {
            let given = operation.destroy.unwrap_or_default().volumes;
            given.into_iter().map(emptied).collect()
        }
        // How large a volume has become is offered.
        _ => Vec::new(),
    }
}

/// Reservations and volumes.
fn decode_conversion(
    operation: &offer::Operation,
    principal: &Principal,
) -> Result<Operation, String> {
    let invalid = |why: String| format!("Operation attempted with invalid resources: {why}");
    let given =
        |resources: &[v1::Resource]| decode_resources(resources, principal).map_err(invalid);
    let lacks = || "The operation's part is missing".to_owned();
    match operation.r#type() {
        Type::Reserve => {
            let reserve = operation.reserve.as_ref().ok_or_else(lacks)?;
            Ok(Operation::Reserve(given(&reserve.resources)?))
        }
        Type::Unreserve => {
            let unreserve = operation.unreserve.as_ref().ok_or_else(lacks)?;
            Ok(Operation::Unreserve(given(&unreserve.resources)?))
        }
        Type::Create => {
            let create = operation.create.as_ref().ok_or_else(lacks)?;
            Ok(Operation::Create(given(&create.volumes)?))
        }
        Type::Destroy => {
            let destroy = operation.destroy.as_ref().ok_or_else(lacks)?;
            Ok(Operation::Destroy(given(&destroy.volumes)?))
        }
        Type::GrowVolume => {
            let grow = operation.grow_volume.as_ref().ok_or_else(lacks)?;
            let addition = given(std::slice::from_ref(&grow.addition))?;
            Ok(Operation::Grow {
                volume: volume_of(&grow.volume)?,
                milli: addition.scalar("disk"),
            })
        }
        Type::ShrinkVolume => {
            let shrink = operation.shrink_volume.as_ref().ok_or_else(lacks)?;
            let subtract = v1::Resource {
                name: "disk".to_owned(),
                scalar: Some(shrink.subtract),
                ..v1::Resource::default()
            };
            let subtract = given(std::slice::from_ref(&subtract))?;
            Ok(Operation::Shrink {
                volume: volume_of(&shrink.volume)?,
                milli: subtract.scalar("disk"),
            })
        }
        Type::CreateDisk | Type::DestroyDisk | Type::Launch | Type::LaunchGroup | Type::Unknown => {
            Err("The operation is not supported".to_owned())
        }
    }
}

fn volume_of(volume: &v1::Resource) -> Result<proffer_model::VolumeId, String> {
    let disk = volume.disk.as_ref();
    let persistence = disk.and_then(|disk| disk.persistence.as_ref());
    let persistence = persistence.ok_or("The volume has no persistence id")?;
    let id = persistence.id.parse();
    id.map_err(|problem: Problem| problem.message)
}

#[cfg(test)]
mod tests {
    use proffer_proto::mesos::read_json;

    use super::*;

    #[test]
    fn what_an_operation_makes_of_its_resources_is_told_as_they_were_named() {
        let after = |operation: &str| {
            let operation: offer::Operation = read_json(operation.as_bytes()).expect("reads");
            let all = converted(operation);
            String::from_utf8(proffer_proto::mesos::write_json(&all[0])).expect("text")
        };
        let of = |rest: &str| {
            format!(r#"{{"name":"disk","type":"SCALAR","scalar":{{"value":1.0}}{rest}}}"#)
        };
        let of_role = |rest: &str| {
            let role = r#","reservations":[{"type":"DYNAMIC","role":"a"}]"#;
            of(&format!("{role}{rest}"))
        };
        let volume = of_role(
            r#","disk":{"persistence":{"id":"v"},"volume":{"mode":"RW","container_path":"p"}}"#,
        );
        let old = of(r#","role":"a","reservation":{"principal":"p"}"#);
        for (operation, becomes) in [
            (
                format!(
                    r#"{{"type":"RESERVE","reserve":{{"resources":[{}]}}}}"#,
                    of_role("")
                ),
                of_role(""),
            ),
            (
                format!(
                    r#"{{"type":"UNRESERVE","unreserve":{{"resources":[{}]}}}}"#,
                    of_role("")
                ),
                of(""),
            ),
            (
                format!(r#"{{"type":"UNRESERVE","unreserve":{{"resources":[{old}]}}}}"#),
                of(r#","role":"*""#),
            ),
            (
                format!(r#"{{"type":"CREATE","create":{{"volumes":[{volume}]}}}}"#),
                volume.clone(),
            ),
            (
                format!(r#"{{"type":"DESTROY","destroy":{{"volumes":[{volume}]}}}}"#),
                of_role(""),
            ),
        ] {
            assert_eq!(after(&operation), becomes, "{operation}");
        }
    }

    #[test]
    fn executors_hold_resources_under_their_frameworks_names_too() {
        let text = br#"{"type":"LAUNCH_GROUP",
            "launch":{"task_infos":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},
                "resources":[{"name":"cpus","type":"SCALAR"}],
                "executor":{"executor_id":{"value":"e"},"resources":[{"name":"cpus","type":"SCALAR"}]}}]},
            "launch_group":{"executor":{"executor_id":{"value":"e"},"resources":[{"name":"mem","type":"SCALAR"}]},
                "task_group":{"tasks":[{"name":"t","task_id":{"value":"t"},"agent_id":{"value":"a"},
                    "resources":[{"name":"disk","type":"SCALAR"}]}]}}}"#;
        let mut operation: offer::Operation = read_json(text).expect("reads");
        let mut seen = Vec::new();
        resources_of(&mut operation, |resources| {
            seen.extend(resources.iter().map(|one| one.name.clone()));
        });
        assert_eq!(seen, ["cpus", "cpus", "mem", "disk"]);
    }
}
