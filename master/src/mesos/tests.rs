//! A subscription between a framework that asks for too much, or at a bad moment, and the core.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::session::{Answer, Call as Ask, Event as Told, LaunchResult, OperationResult};
use proffer_model::{
    AgentId, Epoch, FrameworkId, Generation, Incarnation, Offer, Principal, Problem, Reason,
    Status, TaskState, Time, code,
};
use proffer_proto::mesos::v1::offer::{Operation, operation};
use proffer_proto::mesos::v1::scheduler::{Call, call, event};
use proffer_proto::mesos::v1::{self, FrameworkInfo, TaskGroupInfo, TaskInfo};
use proffer_proto::mesos::{read_json, write_json};

use super::constraints::Limits;
use super::intent::Intent;
use super::subscription::{Out, Subscription};

fn info() -> FrameworkInfo {
    FrameworkInfo {
        name: "f".to_owned(),
        ..FrameworkInfo::default()
    }
}

fn intent(info: FrameworkInfo) -> Result<Intent, String> {
    Intent::of(info, Principal::new("local").expect("a name"))
}

#[test]
fn constraints_for_a_role_that_is_not_the_frameworks_are_checked_and_hold_for_nothing() {
    let constrained = |text: &[u8]| {
        let limits: v1::scheduler::OfferConstraints = read_json(text).expect("reads");
        let intent = intent(info()).and_then(|intent| intent.limited(&[], Limits::of(&limits)));
        intent.map(|intent| {
            assert_eq!(intent.limits.message(), limits, "it is shown");
            let wishes = intent.wishes.into_values();
            wishes.map(|wish| wish.constraints.len()).sum::<usize>()
        })
    };
    let group = r#"{"attribute_constraints":[{"selector":{"attribute_name":"a"},"predicate":{"exists":{}}}]}"#;
    let of = |role: &str| format!(r#"{{"role_constraints":{{"{role}":{{"groups":[{group}]}}}}}}"#);
    assert_eq!(constrained(of("*").as_bytes()), Ok(1));
    assert_eq!(constrained(of("ads").as_bytes()), Ok(0));
    assert_eq!(constrained(of("no role/").as_bytes()), Ok(0));
    let empty = br#"{"role_constraints":{"ads":{}}}"#;
    let text = "Offer constraints are not valid: 'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role ads";
    assert_eq!(constrained(empty), Err(text.to_owned()));
}

#[test]
fn roles_that_are_none_are_refused_in_mesos_words() {
    let multi = |roles: &[&str]| FrameworkInfo {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        capabilities: vec![v1::framework_info::Capability {
            r#type: Some(v1::framework_info::capability::Type::MultiRole.into()),
        }],
        ..info()
    };
    let table = [
        ("", "Role names cannot be the empty string"),
        ("/a", "Role '/a' cannot start with a slash"),
        ("a/", "Role 'a/' cannot end with a slash"),
        ("a//b", "Role 'a//b' cannot contain two adjacent slashes"),
        ("a/..", "Role 'a/..' cannot include '..' as a component"),
        ("a/*", "Role 'a/*' cannot include '*' as a component"),
        (
            "a/-b",
            "Role component '-b' is invalid because it starts with a dash",
        ),
        (
            "a b",
            "Role component 'a b' is invalid because it contains backspace or whitespace",
        ),
    ];
    for (role, why) in table {
        let refused = intent(multi(&["ok", role])).map(drop);
        let text = format!("'FrameworkInfo.roles' contains invalid role: {why}");
        assert_eq!(refused, Err(text));
    }
    let twice = intent(multi(&["b", "a", "b", "a"])).map(drop);
    let text = "'FrameworkInfo.roles' contains duplicate items: { a, b }";
    assert_eq!(twice, Err(text.to_owned()));
    let foreign = ["d".to_owned(), "c".to_owned()];
    let foreign =
        intent(multi(&["a"])).and_then(|intent| intent.limited(&foreign, Ok(Limits::default())));
    let text = "Suppressed roles { c, d } are not contained in the set of roles";
    assert_eq!(foreign.map(drop), Err(text.to_owned()));
    // One without any wants nothing.
    let none = intent(multi(&[])).and_then(|intent| intent.description());
    assert_eq!(none.map(|it| it.roles.len()), Ok(1));
    let endless = FrameworkInfo {
        failover_timeout: Some(1e300),
        ..info()
    };
    let endless = intent(endless).and_then(|intent| intent.description());
    let text = endless.map(drop).expect_err("too long");
    assert!(
        text.starts_with("The framework failover_timeout (1"),
        "{text}"
    );
    assert!(text.ends_with(") is invalid"), "{text}");
}

/// One that is subscribed, and is being told a snapshot.
fn subscribed() -> Subscription {
    subscribed_as(info())
}

fn subscribed_as(info: FrameworkInfo) -> Subscription {
    let intent = intent(info).expect("good");
    let begun = Subscription::begin(intent, v1::MasterInfo::default(), None);
    let (mut subscription, _) = begun.expect("good");
    let told = Told::Subscribed {
        framework: FrameworkId::new("f").expect("an id"),
        cluster: "c".parse().expect("an id"),
        epoch: Epoch(1),
        generation: Generation(1),
        heartbeat_interval: Duration::from_secs(1),
        is_resumed: false,
    };
    hears(&mut subscription, told);
    subscription
}

fn hears(subscription: &mut Subscription, told: Told) -> Vec<Out> {
    subscription.on_told(Time::default(), 1, told)
}

fn calls(subscription: &mut Subscription, call: Call) -> Vec<Out> {
    subscription.on_call(Time::default(), call, &BTreeMap::new())
}

fn asked(outs: &[Out]) -> Vec<&Ask> {
    let asks = outs.iter().filter_map(|out| match out {
        Out::Ask(_, call) => Some(call),
        _ => None,
    });
    asks.collect()
}

/// Of tasks that the framework is told of: their states and reasons.
fn told(outs: &[Out]) -> Vec<(v1::TaskState, v1::task_status::Reason)> {
    let events = outs.iter().filter_map(|out| match out {
        Out::Tell(event) if event.r#type() == event::Type::Update => event.update.as_ref(),
        _ => None,
    });
    events
        .map(|update| (update.status.state(), update.status.reason()))
        .collect()
}

fn of(kind: call::Type) -> Call {
    Call {
        r#type: Some(kind.into()),
        ..Call::default()
    }
}

fn reconcile(tasks: usize) -> Call {
    let task = |number| call::reconcile::Task {
        task_id: v1::TaskId {
            value: format!("t{number}"),
        },
        agent_id: None,
    };
    Call {
        reconcile: Some(call::Reconcile {
            tasks: (0..tasks).map(task).collect(),
        }),
        ..of(call::Type::Reconcile)
    }
}

#[test]
fn what_the_next_leader_could_not_read_is_refused() {
    let many = |count: usize| FrameworkInfo {
        roles: (0..count).map(|number| format!("r{number}")).collect(),
        capabilities: vec![v1::framework_info::Capability {
            r#type: Some(v1::framework_info::capability::Type::MultiRole.into()),
        }],
        ..info()
    };
    intent(many(100)).expect("so many are read");
    let text = "'FrameworkInfo.roles' has 101 roles, more than 100";
    assert_eq!(intent(many(101)).expect_err("too many"), text);
    let long = FrameworkInfo {
        name: "x".repeat(70_000),
        ..info()
    };
    let refused = intent(long).expect("judged").description();
    refused.expect_err("too long");
}

#[test]
fn reconciliations_wait_for_the_snapshot_whose_statuses_look_like_their_answers() {
    let mut subscription = subscribed();
    assert!(calls(&mut subscription, reconcile(2)).is_empty());
    let outs = hears(&mut subscription, Told::SnapshotEnded);
    let [Ask::Reconcile { tasks }] = asked(&outs)[..] else {
        panic!("{outs:?}")
    };
    assert_eq!(tasks.len(), 2);
    let status = Status {
        task: "t0".parse().expect("an id"),
        incarnation: Incarnation(1),
        agent: None,
        number: 0,
        state: TaskState::Running,
        reason: Reason::Reconciled,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        data: Vec::new(),
        wall_ms: 0,
    };
    let outs = hears(&mut subscription, Told::Updated(status));
    let answer = (
        v1::TaskState::TaskRunning,
        v1::task_status::Reason::Reconciliation,
    );
    assert_eq!(told(&outs), [answer]);
}

#[test]
fn long_lists_reach_the_core_in_pieces() {
    let mut subscription = subscribed();
    hears(&mut subscription, Told::SnapshotEnded);
    let outs = calls(&mut subscription, reconcile(25_000));
    let lens = asked(&outs).into_iter().map(|ask| match ask {
        Ask::Reconcile { tasks } => tasks.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lens.collect::<Vec<_>>(), [10_000, 10_000, 5_000]);
    let decline = call::Decline {
        offer_ids: (0..10_001)
            .map(|number| v1::OfferId {
                value: format!("o{number}"),
            })
            .collect(),
        filters: None,
    };
    let outs = calls(
        &mut subscription,
        Call {
            decline: Some(decline),
            ..of(call::Type::Decline)
        },
    );
    assert_eq!(asked(&outs).len(), 2);
}

#[test]
fn a_reconciliation_that_there_was_no_room_for_is_asked_again_later() {
    let mut subscription = subscribed();
    hears(&mut subscription, Told::SnapshotEnded);
    let mut outs = calls(&mut subscription, reconcile(2));
    let wait = Duration::from_millis(70);
    let limited = Problem::new(code::SESSION_RATE_LIMITED, "too many").retry_after(wait);
    for answer in [Answer::Refused(limited), Answer::Done] {
        let (request, asked) = match outs.pop() {
            Some(Out::Ask(request, call)) => (request, call),
            Some(Out::AskLater(after, request, call)) if after == wait => (request, call),
            other => panic!("{other:?}"),
        };
        assert!(matches!(asked, Ask::Reconcile { tasks } if tasks.len() == 2));
        outs = hears(&mut subscription, Told::Answered { request, answer });
    }
    assert!(outs.is_empty() && !subscription.is_asking());
}

#[test]
fn what_was_accepted_is_asked_again_when_there_was_no_room_for_it() {
    let mut subscription = subscribed();
    hears(&mut subscription, Told::SnapshotEnded);
    let kill = call::Kill {
        task_id: v1::TaskId { value: "t".into() },
        ..call::Kill::default()
    };
    let shutdown = call::Shutdown {
        executor_id: v1::ExecutorId { value: "e".into() },
        agent_id: v1::AgentId {
            value: format!("0-{:032x}", 1),
        },
    };
    let decline = call::Decline {
        offer_ids: vec![offered(&mut subscription)],
        ..call::Decline::default()
    };
    let wait = Duration::from_millis(70);
    let refused = Problem::new(code::SESSION_RATE_LIMITED, "too many");
    let later = Answer::Refused(refused.clone().retry_after(wait));
    for call in [
        Call {
            kill: Some(kill),
            ..of(call::Type::Kill)
        },
        Call {
            shutdown: Some(shutdown),
            ..of(call::Type::Shutdown)
        },
        Call {
            decline: Some(decline),
            ..of(call::Type::Decline)
        },
        of(call::Type::Suppress),
        of(call::Type::Revive),
    ] {
        let kind = call.r#type();
        let mut outs = calls(&mut subscription, call);
        let mut first = None;
        for answer in [later.clone(), Answer::Refused(refused.clone())] {
            let (request, asked) = match outs.pop() {
                Some(Out::Ask(request, asked)) if first.is_none() => (request, asked),
                Some(Out::AskLater(after, request, asked)) if after == wait => (request, asked),
                other => panic!("{kind:?}: {other:?}"),
            };
            match (&asked, first.replace(asked.clone())) {
                (Ask::SetDemand(again), Some(Ask::SetDemand(before))) => {
                    assert_eq!(again.entries, before.entries);
                    assert!(again.generation > before.generation);
                }
                (again, Some(before)) => assert_eq!(*again, before),
                (_, None) => {}
            }
            outs = hears(&mut subscription, Told::Answered { request, answer });
        }
        assert!(outs.is_empty(), "{kind:?}: {outs:?}");
    }
}

#[test]
fn what_is_wanted_by_now_is_asked_again_and_not_what_was_wanted_then() {
    let mut subscription = subscribed();
    let outs = calls(&mut subscription, of(call::Type::Revive));
    let [Out::Ask(request, _)] = outs[..] else {
        panic!("{outs:?}")
    };
    calls(&mut subscription, of(call::Type::Suppress));
    let refused = Problem::new(code::SESSION_RATE_LIMITED, "too many");
    let answer = Answer::Refused(refused.retry_after(Duration::from_millis(70)));
    let outs = hears(&mut subscription, Told::Answered { request, answer });
    let [Out::AskLater(_, _, Ask::SetDemand(demand))] = &outs[..] else {
        panic!("{outs:?}")
    };
    assert_eq!(demand.entries, []);
}

#[test]
fn a_role_that_is_named_a_thousand_times_is_revived_once() {
    let mut subscription = subscribed();
    let revive = call::Revive {
        roles: vec!["*".to_owned(); 1_000],
    };
    let outs = calls(
        &mut subscription,
        Call {
            revive: Some(revive),
            ..of(call::Type::Revive)
        },
    );
    assert!(matches!(asked(&outs)[..], [Ask::SetDemand(_)]));
}

fn offers(subscription: &mut Subscription, resources: &str) -> Vec<Out> {
    let offer = Offer {
        id: "o".parse().expect("an id"),
        role: "*".parse().expect("a role"),
        agent: AgentId::new("a").expect("an id"),
        host: String::new(),
        address: String::new(),
        attributes: proffer_model::Attributes::default(),
        domain: None,
        resources: resources.parse().expect("good"),
        fits: Vec::new(),
        expires_after: Duration::ZERO,
    };
    hears(subscription, Told::Offered(vec![offer]))
}

fn offered(subscription: &mut Subscription) -> v1::OfferId {
    offers(subscription, "cpus:4");
    v1::OfferId {
        value: "o".to_owned(),
    }
}

fn task(number: usize) -> TaskInfo {
    TaskInfo {
        task_id: v1::TaskId {
            value: format!("t{number}"),
        },
        agent_id: v1::AgentId {
            value: "a".to_owned(),
        },
        ..TaskInfo::default()
    }
}

fn accept(subscription: &mut Subscription, operation: Operation) -> Vec<Out> {
    let accept = call::Accept {
        offer_ids: vec![offered(subscription)],
        operations: vec![operation],
        filters: None,
    };
    let call = Call {
        accept: Some(accept),
        ..of(call::Type::Accept)
    };
    calls(subscription, call)
}

#[test]
fn what_an_operation_made_is_told_under_the_name_that_the_framework_gives_itself() {
    let named = FrameworkInfo {
        principal: Some("me".to_owned()),
        ..info()
    };
    let mut subscription = subscribed_as(named);
    hears(&mut subscription, Told::SnapshotEnded);
    let reserved = br#"{"name":"cpus","type":"SCALAR","scalar":{"value":1},
        "reservations":[{"type":"DYNAMIC","role":"a","principal":"me"}]}"#;
    let reserved: v1::Resource = read_json(reserved).expect("reads");
    let reserve = Operation {
        r#type: Some(operation::Type::Reserve.into()),
        id: Some(v1::OperationId {
            value: "op".to_owned(),
        }),
        reserve: Some(operation::Reserve {
            resources: vec![reserved.clone()],
            ..operation::Reserve::default()
        }),
        ..Operation::default()
    };
    let outs = accept(&mut subscription, reserve);
    let request = outs.iter().find_map(|out| match out {
        Out::Ask(request, Ask::Accept { .. }) => Some(*request),
        _ => None,
    });
    let answered = Told::Answered {
        request: request.expect("it is asked for"),
        answer: Answer::Accepted(vec![OperationResult::Done]),
    };
    let outs = hears(&mut subscription, answered);
    let finished = outs.iter().find_map(|out| match out {
        Out::Tell(event) => event.update_operation_status.as_ref(),
        _ => None,
    });
    let finished = &finished.expect("it is told").status;
    assert_eq!(finished.converted_resources, [reserved]);
}

#[test]
fn what_is_left_of_an_offer_is_not_wanted_though_a_task_of_its_call_was_refused() {
    let mut subscription = subscribed();
    let asks = |number| TaskInfo {
        resources: vec![v1::Resource {
            name: "cpus".to_owned(),
            r#type: v1::value::Type::Scalar.into(),
            scalar: Some(v1::value::Scalar { value: 1.0 }),
            ..v1::Resource::default()
        }],
        command: Some(v1::CommandInfo {
            value: Some("true".to_owned()),
            ..v1::CommandInfo::default()
        }),
        name: "t".to_owned(),
        ..task(number)
    };
    let launch = Operation {
        r#type: Some(operation::Type::Launch.into()),
        // The same one twice.
        launch: Some(operation::Launch {
            task_infos: vec![asks(1), asks(1)],
        }),
        ..Operation::default()
    };
    let outs = accept(&mut subscription, launch);
    let [Out::Ask(request, Ask::Accept { operations, .. })] = &outs[..] else {
        panic!("{outs:?}")
    };
    assert_eq!(operations.len(), 2);
    let launched = |outcome| {
        let task = "t1".parse().expect("an id");
        OperationResult::Launched(LaunchResult { task, outcome })
    };
    let twice = Problem::new(code::TASK_DUPLICATE, "there is one");
    let results = vec![launched(Ok(Incarnation(1))), launched(Err(twice))];
    let answered = Told::Answered {
        request: *request,
        answer: Answer::Accepted(results),
    };
    hears(&mut subscription, answered);
    // One cpu is used: what is offered anew is what was left over, and not more.
    let outs = offers(&mut subscription, "cpus:3");
    let [Ask::Decline { exclude_for, .. }] = asked(&outs)[..] else {
        panic!("{outs:?}")
    };
    assert_eq!(*exclude_for, Duration::from_secs(5));
}

#[test]
fn every_task_of_a_call_that_has_too_many_is_told_of() {
    let mut subscription = subscribed();
    let launch = Operation {
        r#type: Some(operation::Type::Launch.into()),
        launch: Some(operation::Launch {
            task_infos: (0..10_002).map(task).collect(),
        }),
        ..Operation::default()
    };
    let outs = accept(&mut subscription, launch);
    let error = (
        v1::TaskState::TaskError,
        v1::task_status::Reason::TaskInvalid,
    );
    let all = told(&outs);
    assert_eq!(all.len(), 10_002);
    assert!(all.iter().all(|one| *one == error));
    let last = outs.iter().rev().find_map(|out| match out {
        Out::Tell(event) => event.update.as_ref(),
        _ => None,
    });
    let text = "A call has at most 10000 tasks and operations";
    assert_eq!(last.expect("an update").status.message(), text);
    let declined = asked(&outs);
    assert!(
        matches!(declined[..], [Ask::Decline { .. }]),
        "its offer goes back"
    );
}

#[test]
fn a_group_that_no_message_can_hold_is_refused_whole() {
    let mut subscription = subscribed();
    let group = operation::LaunchGroup {
        executor: v1::ExecutorInfo {
            r#type: Some(v1::executor_info::Type::Custom.into()),
            data: Some(vec![0; 60_000]),
            ..v1::ExecutorInfo::default()
        },
        task_group: TaskGroupInfo {
            tasks: (0..100).map(task).collect(),
        },
    };
    let launch = Operation {
        r#type: Some(operation::Type::LaunchGroup.into()),
        launch_group: Some(Box::new(group)),
        ..Operation::default()
    };
    let outs = accept(&mut subscription, launch);
    let error = (
        v1::TaskState::TaskError,
        v1::task_status::Reason::TaskGroupInvalid,
    );
    assert_eq!(told(&outs), vec![error; 100]);
    let said = outs.iter().find_map(|out| match out {
        Out::Tell(event) => event.update.as_ref().map(|update| update.status.message()),
        _ => None,
    });
    let said = said.expect("a message");
    assert!(
        said.starts_with("The task group has 6")
            && said.ends_with(" bytes, with its executor beside each task"),
        "{said}"
    );
}

#[test]
fn every_framework_is_told_of_an_agent_that_is_lost() {
    let outs = subscribed().on_agent_lost(&AgentId::new("a").expect("an id"));
    let [Out::Tell(event)] = outs.as_slice() else {
        panic!("{outs:?}")
    };
    assert_eq!(event.r#type(), event::Type::Failure);
    let failure = event.failure.as_ref().expect("a part");
    let agent = failure.agent_id.as_ref().map(|agent| agent.value.as_str());
    assert_eq!((agent, failure.status), (Some("a"), None));
}

#[test]
fn an_offer_that_expires_is_rescinded_once_and_none_after_the_end() {
    let mut subscription = subscribed();
    let id = offered(&mut subscription);
    let rescinded = || Told::Rescinded(vec![id.value.parse().expect("an id")]);
    let outs = hears(&mut subscription, rescinded());
    let [Out::Tell(told)] = &outs[..] else {
        panic!("{outs:?}")
    };
    let json = write_json(&**told);
    let text = br#"{"type":"RESCIND","rescind":{"offer_id":{"value":"o"}}}"#;
    assert_eq!(json, text);
    assert!(hears(&mut subscription, rescinded()).is_empty());
    offered(&mut subscription);
    let outs = calls(&mut subscription, of(call::Type::Teardown));
    assert!(matches!(asked(&outs)[..], [Ask::Teardown]));
    assert!(hears(&mut subscription, rescinded()).is_empty());
}

#[test]
fn a_framework_that_is_not_ended_at_once_keeps_its_offers_until_it_is() {
    let mut subscription = subscribed();
    let id = offered(&mut subscription);
    let mut outs = calls(&mut subscription, of(call::Type::Teardown));
    let wait = Duration::from_millis(70);
    let refused = Problem::new(code::SESSION_RATE_LIMITED, "too many");
    let later = Answer::Refused(refused.clone().retry_after(wait));
    for (answer, count) in [(later, 1), (Answer::Done, 0)] {
        let Some(Out::Ask(request, Ask::Teardown) | Out::AskLater(_, request, Ask::Teardown)) =
            outs.pop()
        else {
            panic!("it is asked")
        };
        outs = hears(&mut subscription, Told::Answered { request, answer });
        assert_eq!(subscription.offers.len(), count);
    }
    assert!(outs.is_empty());
    // One that goes on is told what it has lost meanwhile.
    let mut subscription = subscribed();
    offered(&mut subscription);
    let outs = calls(&mut subscription, of(call::Type::Teardown));
    let [Out::Ask(request, _)] = outs[..] else {
        panic!("{outs:?}")
    };
    let rescinded = Told::Rescinded(vec![id.value.parse().expect("an id")]);
    assert!(hears(&mut subscription, rescinded).is_empty());
    let answer = Answer::Refused(refused);
    let outs = hears(&mut subscription, Told::Answered { request, answer });
    let [Out::Tell(told)] = &outs[..] else {
        panic!("{outs:?}")
    };
    assert_eq!(told.r#type(), event::Type::Rescind);
}

/// Of a task on the agent `a`.
fn status(task: &str, state: TaskState) -> Status {
    Status {
        task: task.parse().expect("an id"),
        incarnation: Incarnation(1),
        agent: Some("a".parse().expect("an id")),
        number: 1 + u64::from(state.is_terminal()),
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

#[test]
fn an_inverse_offer_is_taken_back_when_nothing_is_left_that_it_is_about() {
    let mut subscription = subscribed();
    hears(&mut subscription, Told::SnapshotEnded);
    let is_rescinded = |outs: &[Out]| {
        outs.iter().any(|out| {
            matches!(out, Out::Tell(told) if told.r#type() == event::Type::RescindInverseOffer)
        })
    };
    let reclaim = |reason| Told::Reclaim {
        tasks: ["t1", "t2"]
            .map(|task| task.parse().expect("an id"))
            .to_vec(),
        reason,
        deadline: None,
    };
    for task in ["t1", "t2"] {
        let running = Told::Updated(status(task, TaskState::Running));
        hears(&mut subscription, running);
    }
    hears(&mut subscription, reclaim(Reason::AgentDrained));
    for (task, is_last) in [("t1", false), ("t2", true)] {
        let ended = Told::Updated(status(task, TaskState::Finished));
        let outs = hears(&mut subscription, ended);
        assert_eq!(is_rescinded(&outs), is_last, "{task}");
    }
    // The agent may be used again.
    let outs = hears(&mut subscription, reclaim(Reason::None));
    assert!(outs.is_empty(), "{outs:?}");
}

#[test]
fn a_kill_that_names_another_agent_than_the_tasks_kills_nothing() {
    let mut subscription = subscribed();
    hears(&mut subscription, Told::SnapshotEnded);
    let running = status("t", TaskState::Running);
    hears(&mut subscription, Told::Updated(running));
    for (agent, is_killed) in [(Some("b"), false), (Some("a"), true), (None, true)] {
        let kill = call::Kill {
            task_id: v1::TaskId {
                value: "t".to_owned(),
            },
            agent_id: agent.map(|agent| v1::AgentId {
                value: agent.to_owned(),
            }),
            kill_policy: None,
        };
        let outs = calls(
            &mut subscription,
            Call {
                kill: Some(kill),
                ..of(call::Type::Kill)
            },
        );
        let killed = matches!(asked(&outs)[..], [Ask::Kill { .. }]);
        assert_eq!(killed, is_killed, "{agent:?}");
        assert_eq!(outs.len(), usize::from(is_killed));
    }
}
