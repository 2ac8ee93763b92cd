//! Why an ACCEPT, or a launch in one, is refused: in Mesos's words where it has some.
//!
//! An ACCEPT may name offers that its framework has, each once, of one role and one agent. What is wrong with them is looked
//! for in Mesos's order.

use std::collections::BTreeSet;

use proffer_model::limits::ID_LEN_MAX;
use proffer_model::session::LaunchResult;
use proffer_model::{AgentId, Problem, Resources, Time, code};
use proffer_proto::mesos::v1;
use proffer_proto::mesos::v1::offer::{self, operation::Type};
use proffer_proto::mesos::v1::task_status::Reason;

use super::events;
use super::subscription::{Accepting, AwaitedTask, Held, Out, Subscription, tell};

impl Subscription {
    /// Why there can be no ACCEPT of these offers.
    pub(super) fn why_not(&self, ids: &[v1::OfferId]) -> Option<String> {
        let mut seen = BTreeSet::new();
        if let Some(twice) = ids.iter().find(|id| !seen.insert(&id.value)) {
            return Some(format!("Duplicate offer {} in offer list", shown(twice)));
        }
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            match self.held(id) {
                None => return Some(gone(shown(id))),
                Some(held) => all.push((id, held)),
            }
        }
        let Some(((_, first), others)) = all.split_first() else {
            return Some("No offers specified".to_owned());
        };
        if let Some((id, held)) = others.iter().find(|(_, held)| held.role != first.role) {
            let (id, role, other) = (shown(id), &held.role, &first.role);
            // Mesos leaves the quotes open.
            return Some(format!(
                "Aggregated offers must be allocated to the same role. Offer {id} uses role '{role} but another is \
                 using role '{other}"
            ));
        }
        let mut others = others.iter();
        let (id, held) = others.find(|(_, held)| held.agent != first.agent)?;
        let (id, agent, other) = (shown(id), &held.agent, &first.agent);
        Some(format!(
            "Aggregated offers must belong to one single agent. Offer {id} uses agent {agent} and agent {other}"
        ))
    }

    /// Nothing is done of operations on offers that are not what may be accepted, and nothing else is said of them.
    pub(super) fn on_offers_refused(
        &self,
        now: Time,
        operations: &[offer::Operation],
        why: &str,
    ) -> Vec<Out> {
        let mut outs = Vec::new();
        for operation in operations {
            let launched = operation.launch.iter().flat_map(|it| &it.task_infos);
            let group = operation.launch_group.iter();
            let tasks = match operation.r#type() {
                Type::Launch => launched.collect::<Vec<_>>(),
                Type::LaunchGroup => group.flat_map(|it| &it.task_group.tasks).collect(),
                _ => {
                    outs.extend(lose_operation(operation.id.as_ref(), why));
                    continue;
                }
            };
            outs.extend(tasks.into_iter().map(|task| {
                let agent = task.agent_id.value.parse().ok();
                self.lose_task(now, &task.task_id.value, agent.as_ref(), why)
            }));
        }
        outs
    }

    /// A task is not launched, since its offers are not what may be accepted.
    pub(super) fn lose_task(
        &self,
        now: Time,
        task: &str,
        agent: Option<&AgentId>,
        why: &str,
    ) -> Out {
        let state = match self.capabilities.partition_aware {
            true => v1::TaskState::TaskDropped,
            false => v1::TaskState::TaskLost,
        };
        let text = format!("Task launched with invalid offers: {why}");
        self.refuse_task(now, task, agent, state, Reason::InvalidOffers, &text)
    }

    fn held(&self, id: &v1::OfferId) -> Option<&Held> {
        self.offers.get(&id.value.parse().ok()?)
    }
}

/// An operation is not done for the same reason: who gave it an id is told.
pub(super) fn lose_operation(id: Option<&v1::OperationId>, why: &str) -> Option<Out> {
    let text = format!("Operation attempted with invalid offers: {why}");
    let state = v1::OperationState::OperationError;
    id.map(|id| tell(events::operation_status(id, state, Some(text))))
}

/// What is said of an offer that there is not, or not any more.
fn gone(id: &str) -> String {
    format!("Offer {id} is no longer valid")
}

/// An id that may be of any length.
fn shown(id: &v1::OfferId) -> &str {
    let id = id.value.as_str();
    id.get(..id.floor_char_boundary(ID_LEN_MAX)).unwrap_or(id)
}

/// Why the core has refused offers.
pub(super) fn offers_text(problem: &Problem) -> String {
    let offer = problem.message.strip_prefix("offer ");
    match offer.and_then(|rest| rest.split(' ').next()) {
        Some(offer) if problem.is(code::OFFER_GONE) => gone(offer),
        _ => problem.message.clone(),
    }
}

/// Why a launch was refused.
pub(super) fn launch_text(accepting: &Accepting, task: &AwaitedTask, problem: &Problem) -> String {
    if problem.is(code::TASK_DUPLICATE) {
        return format!("Task has duplicate ID: {}", task.id);
    }
    if problem.is(code::TASK_RESOURCES_NOT_OFFERED) {
        let (needs, offered) = (
            accepting.text(&task.needs),
            accepting.text(&accepting.offered),
        );
        return format!(
            "Total resources {needs} required by task and its executor is more than available {offered}"
        );
    }
    problem.message.clone()
}

/// Why a group was refused, as all of its tasks are told; none when it was not.
pub(super) fn group_text(
    accepting: &Accepting,
    tasks: &[AwaitedTask],
    launches: &[LaunchResult],
) -> Option<String> {
    let refused = launches.iter().zip(tasks);
    let refused = refused.filter_map(|(launch, task)| Some((launch.outcome.as_ref().err()?, task)));
    // The others are refused with it.
    let (problem, task) =
        refused.min_by_key(|(problem, _)| problem.is(code::TASK_GROUP_REFUSED))?;
    if problem.is(code::TASK_RESOURCES_NOT_OFFERED) {
        let mut needs = Resources::new();
        tasks.iter().for_each(|task| needs.add(&task.needs));
        let (needs, offered) = (accepting.text(&needs), accepting.text(&accepting.offered));
        return Some(format!(
            "Total resources {needs} required by task group and its executor are more than available {offered}"
        ));
    }
    let why = launch_text(accepting, task, problem);
    Some(format!("Task '{}' is invalid: {why}", task.id))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proffer_model::limits::PROBLEM_TEXT_LEN_MAX;
    use proffer_model::session::{Answer, Call as Ask, Event as Told, OperationResult};
    use proffer_model::{Attributes, Epoch, FrameworkId, Generation, Offer, Principal};
    use proffer_proto::mesos::read_json;
    use proffer_proto::mesos::v1::scheduler::Call;

    use super::super::intent::Intent;
    use super::*;

    /// With offers `o1` and `o2` of an agent, `o3` of another, and `o4` of another role.
    fn subscribed() -> Subscription {
        let info =
            r#"{"user":"","name":"f","roles":["a","b"],"capabilities":[{"type":"MULTI_ROLE"}]}"#;
        let info = read_json(info.as_bytes()).expect("reads");
        let principal = Principal::new("local").expect("a name");
        let intent = Intent::of(info, principal).expect("good");
        let begun = Subscription::begin(intent, v1::MasterInfo::default(), None);
        let (mut subscription, _) = begun.expect("good");
        let subscribed = Told::Subscribed {
            framework: FrameworkId::new("f").expect("an id"),
            cluster: "c".parse().expect("an id"),
            epoch: Epoch(1),
            generation: Generation(1),
            heartbeat_interval: Duration::from_secs(1),
            is_resumed: false,
        };
        let offers = [
            ("o1", "x", "a"),
            ("o2", "x", "a"),
            ("o3", "y", "a"),
            ("o4", "x", "b"),
        ];
        let offers = offers.map(|(id, agent, role)| Offer {
            id: id.parse().expect("an id"),
            role: role.parse().expect("a role"),
            agent: agent.parse().expect("an id"),
            host: String::new(),
            address: String::new(),
            attributes: Attributes::default(),
            domain: None,
            resources: "cpus:4;ports:[1-2]".parse().expect("good"),
            fits: Vec::new(),
            expires_after: Duration::ZERO,
        });
        for told in [
            subscribed,
            Told::SnapshotEnded,
            Told::Offered(offers.into()),
        ] {
            subscription.on_told(Time::default(), 1, told);
        }
        subscription
    }

    fn task(id: &str, agent: &str, cpus: u32) -> String {
        format!(
            r#"{{"name":"n","task_id":{{"value":"{id}"}},"agent_id":{{"value":"{agent}"}},"command":{{"value":"true"}},
            "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":{cpus}}}}}]}}"#
        )
    }

    fn accept(subscription: &mut Subscription, offers: &[&str], operation: &str) -> Vec<Out> {
        let ids = offers.iter().map(|id| format!(r#"{{"value":"{id}"}}"#));
        let ids = ids.collect::<Vec<_>>().join(",");
        let call = format!(
            r#"{{"type":"ACCEPT","accept":{{"offer_ids":[{ids}],"operations":[{operation}]}}}}"#
        );
        let call: Call = read_json(call.as_bytes()).expect("reads");
        subscription.on_call(Time::default(), call, &BTreeMap::new())
    }

    /// What is told of tasks and of operations: state, agent and message.
    fn told(outs: &[Out]) -> Vec<(String, String)> {
        let one = |out: &Out| {
            let Out::Tell(event) = out else {
                return None;
            };
            if let Some(update) = &event.update {
                let status = &update.status;
                let agent = status.agent_id.as_ref().map_or("", |agent| &agent.value);
                let state = format!("{} {agent}", status.state().as_str_name());
                return Some((state, status.message().to_owned()));
            }
            let status = &event.update_operation_status.as_ref()?.status;
            let state = status.state().as_str_name().to_owned();
            Some((state, status.message().to_owned()))
        };
        outs.iter().filter_map(one).collect()
    }

    #[test]
    fn what_is_wrong_with_the_offers_of_a_call_is_said_in_mesos_words_and_order() {
        for (offers, why) in [
            (vec![], "No offers specified"),
            (vec!["o1", "o2", "o1"], "Duplicate offer o1 in offer list"),
            (vec!["no", "no"], "Duplicate offer no in offer list"),
            (vec!["o3", "o4", "no"], "Offer no is no longer valid"),
            (vec!["o1", "a b"], "Offer a b is no longer valid"),
            (
                vec!["o3", "o1", "o4"],
                "Aggregated offers must be allocated to the same role. Offer o4 uses role 'b but another is using role 'a",
            ),
            (
                vec!["o1", "o3"],
                "Aggregated offers must belong to one single agent. Offer o3 uses agent y and agent x",
            ),
        ] {
            let mut subscription = subscribed();
            let launch = format!(
                r#"{{"type":"LAUNCH","launch":{{"task_infos":[{}]}}}},
                {{"type":"UNRESERVE","id":{{"value":"op"}},"unreserve":{{"resources":[]}}}},
                {{"type":"UNRESERVE","unreserve":{{"resources":[]}}}}"#,
                task("t", "y", 1)
            );
            let outs = accept(&mut subscription, &offers, &launch);
            let all = told(&outs);
            let lost = all.iter().find(|(state, _)| state.starts_with("TASK"));
            let text = format!("Task launched with invalid offers: {why}");
            assert_eq!(lost, Some(&("TASK_LOST y".to_owned(), text)), "{offers:?}");
            let text = format!("Operation attempted with invalid offers: {why}");
            assert!(
                all.contains(&("OPERATION_ERROR".to_owned(), text)),
                "{all:?}"
            );
            assert_eq!(all.len(), 2, "{all:?}");
            let given_back = outs.iter().any(|out| match out {
                Out::Ask(_, Ask::Decline { exclude_for, .. }) => exclude_for.is_zero(),
                Out::Ask(_, call) => panic!("{call:?}"),
                _ => false,
            });
            assert!(given_back, "{offers:?}");
        }
    }

    #[test]
    fn launches_have_no_ids_of_operations() {
        let (a, b) = (task("a", "x", 1), task("b", "x", 1));
        for (operation, kind, told_of) in [
            (
                format!(
                    r#"{{"type":"LAUNCH","id":{{"value":"o"}},"launch":{{"task_infos":[{a}]}}}}"#
                ),
                "LAUNCH",
                1,
            ),
            (
                format!(
                    r#"{{"type":"LAUNCH_GROUP","id":{{"value":"o"}},"launch_group":{{
                    "executor":{{"type":"DEFAULT","executor_id":{{"value":"e"}}}},"task_group":{{"tasks":[{a},{b}]}}}}}}"#
                ),
                "LAUNCH_GROUP",
                2,
            ),
        ] {
            let outs = accept(&mut subscribed(), &["o1"], &operation);
            let text = format!("The `id` field cannot be set on {kind} operations");
            let error = ("TASK_ERROR x".to_owned(), text);
            assert_eq!(told(&outs), vec![error; told_of]);
        }
    }

    #[test]
    fn a_group_is_launched_if_its_tasks_name_no_other_executor_than_it() {
        let executor = |kind: &str, id: &str| {
            format!(
                r#"{{{kind}"executor_id":{{"value":"{id}"}},"resources":[
                {{"name":"cpus","type":"SCALAR","scalar":{{"value":0.1}}}}]}}"#
            )
        };
        let custom = r#""type":"CUSTOM","command":{"value":"run"},"#;
        let error = |why: &str| vec![("TASK_ERROR x".to_owned(), why.to_owned()); 2];
        let other = error("The `ExecutorInfo` of task 'b' is different from executor 'e'");
        for (kind, id, errors) in [
            (r#""type":"DEFAULT","#, "e", vec![]),
            (custom, "e", vec![]),
            (r#""type":"DEFAULT","#, "f", other.clone()),
            (custom, "f", other),
            ("", "e", error("'ExecutorInfo.type' must be set")),
        ] {
            let own = format!(r#"{{"executor":{},"#, executor(kind, id));
            let b = task("b", "x", 1).replacen('{', &own, 1);
            let group = format!(
                r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{},"task_group":{{"tasks":[{},{b}]}}}}}}"#,
                executor(kind, "e"),
                task("a", "x", 1)
            );
            let outs = accept(&mut subscribed(), &["o1"], &group);
            assert_eq!(told(&outs), errors, "{kind} {id}");
        }
    }

    #[test]
    fn a_long_text_in_one_task_of_a_group_is_not_repeated_for_all() {
        let long = "x".repeat(100_000);
        for tasks in [
            [task("a", "x", 1), task(&long, "x", 1)],
            [task("a", "x", 1), task("b", &long, 1)],
        ] {
            let tasks = tasks.join(",");
            let group = format!(
                r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{{"type":"DEFAULT","executor_id":{{"value":"e"}}}},
                "task_group":{{"tasks":[{tasks}]}}}}}}"#
            );
            let told = told(&accept(&mut subscribed(), &["o1"], &group));
            assert_eq!(told.len(), 2);
            assert!(
                told.iter()
                    .all(|(_, why)| why.len() <= PROBLEM_TEXT_LEN_MAX)
            );
        }
    }

    #[test]
    fn what_is_wrong_with_one_task_of_a_group_is_told_of_all() {
        let group = |tasks: &[String]| {
            let tasks = tasks.join(",");
            format!(
                r#"{{"type":"LAUNCH_GROUP","launch_group":{{"executor":{{"type":"DEFAULT","executor_id":{{"value":"e"}}}},
                "task_group":{{"tasks":[{tasks}]}}}}}}"#
            )
        };
        let tasks = [task("a", "x", 1), task("b", "y", 1)];
        let outs = accept(&mut subscribed(), &["o1"], &group(&tasks));
        let why = "Task 'b' is invalid: Task uses invalid agent y while agent x is expected";
        let error = |agent: &str, why: &str| (format!("TASK_ERROR {agent}"), why.to_owned());
        assert_eq!(told(&outs), [error("x", why), error("y", why)]);

        let tasks = [task("a", "x", 3), task("b", "x", 2)];
        let more = "Total resources cpus(allocated: a):5 required by task group and its executor are more than available \
                    ports(allocated: a):[1-2]; cpus(allocated: a):4";
        for (code, why) in [
            (code::TASK_RESOURCES_NOT_OFFERED, more),
            (
                code::TASK_DUPLICATE,
                "Task 'b' is invalid: Task has duplicate ID: b",
            ),
        ] {
            let mut subscription = subscribed();
            let outs = accept(&mut subscription, &["o1"], &group(&tasks));
            let request = outs.iter().find_map(|out| match out {
                Out::Ask(request, Ask::Accept { .. }) => Some(*request),
                _ => None,
            });
            let refused = |task: &str, code| LaunchResult {
                task: task.parse().expect("an id"),
                outcome: Err(Problem::new(code, "for people")),
            };
            let launches = vec![refused("a", code::TASK_GROUP_REFUSED), refused("b", code)];
            let answered = Told::Answered {
                request: request.expect("it is asked for"),
                answer: Answer::Accepted(vec![OperationResult::LaunchedGroup(launches)]),
            };
            let outs = subscription.on_told(Time::default(), 2, answered);
            assert_eq!(told(&outs), [error("x", why), error("x", why)]);
        }
    }
}
