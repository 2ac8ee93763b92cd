//! A good message of every kind, in which every field is given: what is broken begins as one of these. Texts that begin with `$`
//! stand for what a running cluster has: `$agent`, `$framework`.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use serde_json::{Value as Json, json};

/// Stands for a number that must be another one each time.
pub(super) const NEXT: u64 = 424_242_424_242;

/// A service, one of its methods, and what it is asked.
pub(super) type Request = (&'static str, &'static str, Vec<Json>);

/// All messages and services.
pub(super) fn pool() -> DescriptorPool {
    DescriptorPool::decode(proffer_proto::DESCRIPTORS).expect("our own descriptors")
}

/// The message of this kind that this JSON says.
pub(super) fn message(of: &MessageDescriptor, json: &Json) -> DynamicMessage {
    let read = DynamicMessage::deserialize(of.clone(), json.clone());
    read.unwrap_or_else(|error| panic!("{error} in {json}"))
}

/// The fields of a kind of message, and of those within, that are given in none of these messages.
pub(super) fn not_given(of: &MessageDescriptor, messages: &[&DynamicMessage]) -> Vec<String> {
    let mut given = BTreeSet::new();
    messages
        .iter()
        .for_each(|message| note(message, &mut given));
    let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
    look(of, &given, &mut seen, &mut missing);
    missing
}

fn note(message: &DynamicMessage, given: &mut BTreeSet<String>) {
    for (field, value) in message.fields() {
        given.insert(field.full_name().to_owned());
        let inner: Vec<&Value> = match value {
            Value::List(items) => items.iter().collect(),
            Value::Map(_) => Vec::new(),
            value => vec![value],
        };
        let inner = inner.into_iter().filter_map(Value::as_message);
        inner.for_each(|message| note(message, given));
    }
}

fn look(
    of: &MessageDescriptor,
    given: &BTreeSet<String>,
    seen: &mut BTreeSet<String>,
    missing: &mut Vec<String>,
) {
    if !seen.insert(of.full_name().to_owned()) {
        return;
    }
    for field in of.fields() {
        if !given.contains(field.full_name()) {
            missing.push(field.full_name().to_owned());
        }
        if let Kind::Message(inner) = field.kind()
            && !field.is_map()
        {
            look(&inner, given, seen, missing);
        }
    }
}

fn disk() -> Json {
    json!({"special": [{
        "name": "disk", "milli": 10_000, "copies": 1,
        "reservations": [{"role": "eng", "principal": "local", "labels": {"a": "b"}}],
        "disk": {"volume": {"id": "v", "principal": "local", "mountpoint": {"path": "data", "read_only": true}}},
    }]})
}

/// Resources of every form, none of which is offered.
fn resources() -> Json {
    json!({
        "scalars": [{"name": "cpus", "milli": 900_000}],
        "ranges": [{"name": "ports", "ranges": [{"begin": 5, "end": 9}]}],
        "sets": [{"name": "zones", "items": ["a", "b"]}],
        "special": [
            {"name": "gpus", "revocable": true, "ranges": {"ranges": [{"begin": 1, "end": 2}]}},
            {"name": "keys", "reservations": [{"role": "eng"}], "items": {"items": ["k"]}},
            {"name": "disk", "milli": 10_000, "disk": {"path": "/mnt/a"}},
            {"name": "disk", "milli": 10_000, "shared": true, "disk": {"volume": {"id": "s"}},
                "reservations": [{"role": "eng"}]},
            {"name": "disk", "milli": 10_000, "disk": {"mount": "/mnt/b"}},
            {"name": "disk", "milli": 10_000, "disk": {"block": "sdb"}},
            {"name": "disk", "milli": 10_000, "disk": {"raw": {"id": "r", "profile": "fast"}}},
            disk()["special"][0],
        ],
    })
}

fn reserved() -> Json {
    json!({"special": [{
        "name": "cpus", "milli": 100, "reservations": [{"role": "eng", "labels": {"a": "b"}}],
    }]})
}

/// A task that says everything but what it runs.
fn task(id: &str) -> Json {
    let every = json!({"delay_ms": 1, "interval_ms": 1_000, "timeout_ms": 500, "grace_ms": 1, "failures_max": 3});
    let check = |name: &str, kind: Json| {
        let mut check = every.clone();
        check[name] = kind;
        check
    };
    json!({
        "id": id, "name": "web", "resources": resources(), "environment": {"A": "x"}, "user": "nobody", "labels": {"tier": "a"},
        "ports": [{"name": "http", "number": 7, "protocol": "PROTOCOL_TCP"}],
        "checks": [
            check("http", json!({"port": 7, "path": "/health"})),
            check("tcp", json!({"port": 7})),
            check("command", json!({"shell": "true"})),
            with(check("tcp", json!({"port": 7})), &json!({"observed": true, "failures_max": 0})),
        ],
        "kill_grace_ms": 1_000, "completion_ms": 60_000,
        "fetch": [{"uri": "http://192.0.2.1/a.tar", "output": "a", "executable": true, "extract": true, "cache": true,
            "sha256": "0".repeat(64)}],
        "discovery": {"name": "web", "visibility": "VISIBILITY_CLUSTER", "environment": "e", "location": "l", "version": "v",
            "labels": {"a": "b"}, "ports": [{"number": 80, "name": "http", "protocol": "tcp",
            "visibility": "VISIBILITY_EXTERNAL", "labels": {"a": "b"}}]},
    })
}

fn with(mut task: Json, more: &Json) -> Json {
    let (task_map, more) = (task.as_object_mut(), more.as_object());
    task_map
        .expect("a task")
        .extend(more.expect("fields").clone());
    task
}

/// One task for each way in which one is run; the first says everything.
fn tasks() -> Vec<Json> {
    let cpus = json!({"scalars": [{"name": "cpus", "milli": 900_000}]});
    let small = |id: &str, more: Json| with(json!({"id": id, "resources": cpus}), &more);
    let program = json!({"program": "/bin/true", "arguments": ["true", "a"]});
    let executor = json!({
        "id": "e2", "resources": cpus, "shell": "true", "environment": {"A": "x"}, "user": "nobody",
        "shutdown_grace_ms": 1_000, "api": "EXECUTOR_API_PROFFER", "info": "AA==", "fetch": [{"uri": "/a"}],
    });
    let volumes = json!([{"volume_id": "v", "path": "data"}]);
    let named =
        json!({"image": {}, "container": {"name": "busybox:1", "rules": "IMAGE_RULES_MESOS"}});
    let contained = json!({
        "image": {"arguments": ["a"]}, "container": {"archive": "/i.tar"},
        "resources": {"scalars": cpus["scalars"], "special": disk()["special"]},
        "volumes": [{"volume_id": "v", "path": "/data", "read_only": true}],
    });
    vec![
        with(task("$task"), &json!({"shell": "true", "volumes": volumes})),
        small("$task", json!({"exec": program})),
        small("$other", contained),
        small("$task", named),
        small("$task", json!({"data": "AA==", "executor": executor})),
        small(
            "$task",
            json!({"data": "AA==", "executor": {"id": "e3", "exec": program}}),
        ),
    ]
}

fn demands() -> Vec<Json> {
    let entry = |more: Json| {
        let entry = json!({
            "id": "broken", "count": 2, "gang": 2, "priority": 1, "takes": {"revocable": true, "shared": true, "refined": true},
            "excluded": [{"agent_id": "$agent", "lasts_ms": 1}],
            "predicates": [
                {"all": {"predicates": [{"host": "h"}]}}, {"any_of": {"predicates": [{"has": "rack"}]}}, {"not": {"resource": "cpus"}},
                {"attribute": {"name": "rack", "value": "a"}}, {"region": "eu"}, {"zone": "a"}, {"reserved": "cpus"},
                {"matches": {"pattern": "h.*", "host": {}}}, {"matches": {"pattern": "a|b", "attribute": "rack"}},
                {"matches": {"pattern": "e.", "region": {}}}, {"matches": {"pattern": "[a-c]", "zone": {}}},
            ],
            "at_most": [{"count": 1, "agent": {}}, {"count": 1, "host": {}}, {"count": 1, "zone": {}}, {"count": 1, "region": {}},
                {"count": 1, "attribute": "rack"}],
        });
        // Two roles: what is wrong with a generation may be that none can come after it.
        let role = ["eng", "ops"][usize::from(more["shape"]["least"].is_array())];
        json!({"role": role, "generation": NEXT, "entries": [with(entry, &more)]})
    };
    vec![
        entry(
            json!({"shape": {"resources": {"scalars": [{"name": "cpus", "milli": 900_000}]}, "counts": {"ports": 2}}}),
        ),
        entry(json!({"shape": {"least": [{"scalars": [{"name": "cpus", "milli": 900_000}]}]}})),
    ]
}

/// What is done with an offer, each by itself.
fn operations() -> Vec<Json> {
    let mut all: Vec<Json> = tasks()
        .into_iter()
        .map(|task| json!({"launch": task}))
        .collect();
    all.push(json!({"launch_group": {"tasks": [tasks()[1], tasks()[2]]}}));
    all.push(json!({"reserve": reserved()}));
    all.push(json!({"unreserve": reserved()}));
    all.push(json!({"create": disk()}));
    all.push(json!({"destroy": disk()}));
    all.push(json!({"grow": {"volume_id": "v", "milli": 10}}));
    all.push(json!({"shrink": {"volume_id": "v", "milli": 10}}));
    all
}

/// What a session calls, but Subscribe and what ends it.
pub(super) fn session_calls() -> Vec<Json> {
    let accepts = operations().into_iter();
    let accepts =
        accepts.map(|one| json!({"accept": {"offer_ids": ["$offer"], "operations": [one]}}));
    let demands = demands()
        .into_iter()
        .map(|demand| json!({"set_demand": demand}));
    let mut all: Vec<Json> = accepts.chain(demands).chain(script_calls()).collect();
    all.push(json!({"decline": {"offer_ids": ["$offer"], "exclude_for_ms": 1}}));
    all.push(json!({"acknowledge": {"sequence": 1, "one": true}}));
    let mut calls = all.into_iter();
    let first = calls.next().map(|call| with(call, &json!({"epoch": 1})));
    let calls = first.into_iter().chain(calls);
    calls
        .map(|call| with(call, &json!({"request_id": NEXT})))
        .collect()
}

/// What scripts call, too, and does not end the framework.
pub(super) fn script_calls() -> Vec<Json> {
    let place = json!({"agent_id": "$agent", "executor_id": "e"});
    vec![
        json!({"kill": {"task_id": "none", "grace_ms": 1}}),
        json!({"reconcile": {"task_ids": ["none", "held"]}}),
        json!({"update_task": {"task_id": "held", "kill_grace_ms": 1_000, "labels": {"labels": {"a": "b"}}}}),
        json!({"send_message": with(place, &json!({"data": "AA=="}))}),
        json!({"shutdown_executor": {"agent_id": "$agent", "executor_id": "none"}}),
    ]
}

/// What a session calls first.
pub(super) fn subscriptions() -> Vec<Json> {
    let subscribe = json!({
        "framework_id": "$task", "name": "newcomer", "roles": ["*", "eng"], "failover_timeout_ms": 1_000, "stand_by": true,
        "create": true, "resume": {"epoch": 1, "sequence": 1},
    });
    vec![json!({"request_id": 1, "epoch": 1, "subscribe": subscribe})]
}

/// What a session calls last.
pub(super) fn last_call() -> Json {
    json!({"request_id": NEXT, "teardown": {}})
}

/// What an executor calls, but Subscribe; and that.
pub(super) fn executor_calls() -> (Vec<Json>, Vec<Json>) {
    let status = |more: Json| {
        let status = json!({
            "task_id": "held", "incarnation": "$incarnation", "number": 1, "state": "TASK_STATE_RUNNING", "message": "m",
            "healthy": true, "data": "AA==",
        });
        with(status, &more)
    };
    let calls = vec![
        json!({"update": status(json!({"exit_code": 1}))}),
        json!({"update": status(json!({"exit_signal": 9}))}),
        json!({"message": "AA=="}),
    ];
    let tasks = json!([{"task_id": "held", "incarnation": "$incarnation"}]);
    let unacknowledged = json!([status(json!({"exit_code": 1}))]);
    let subscribe = json!({"unacknowledged": unacknowledged, "tasks": tasks});
    (calls, vec![json!({"subscribe": subscribe})])
}

/// What is asked in one message, by service and method.
pub(super) fn requests() -> Vec<Request> {
    let of = json!({"framework_id": "$framework", "generation": "$generation"});
    let state = |method, more: Json| ("FrameworkState", method, vec![with(of.clone(), &more)]);
    let mut all = vec![
        state("Get", json!({"key": "k"})),
        state(
            "Put",
            json!({"key": "k", "value": "AA==", "expected_version": 99}),
        ),
        state("Delete", json!({"key": "k", "expected_version": 99})),
        state("List", json!({"prefix": "k", "after": "k"})),
        state("Watch", json!({"prefix": "k"})),
    ];
    let numbered = |call: Json| with(call, &json!({"request_id": NEXT, "epoch": 1}));
    let of_script = |call: Json| json!({"framework_id": "$framework", "call": call});
    let calls = script_calls().into_iter().map(numbered);
    // What is said of offers and demands is looked at in sessions, which alone make these calls.
    let is_small = |call: &Json| call.get("accept").is_none() && call.get("set_demand").is_none();
    let others = session_calls()
        .into_iter()
        .skip_while(|call| !is_small(call));
    let others = others.skip(script_calls().len()).chain(subscriptions());
    all.push((
        "Scheduler",
        "Call",
        calls.chain(others).map(of_script).collect(),
    ));
    let operator = operator_reads().into_iter().chain(operator_changes());
    all.extend(operator.map(|(method, message)| ("Operator", method, vec![message])));
    all
}

/// The same, of what can be done once.
pub(super) fn endings() -> Vec<Request> {
    let task = json!({"framework_id": "$framework", "task_id": "held", "grace_ms": 1});
    let drain = json!({"agent_id": "$idle", "deadline_ms": 1, "mark_gone": true});
    let victim = json!({"framework_id": "$victim"});
    vec![
        ("Operator", "KillTask", vec![task]),
        ("Operator", "DrainAgent", vec![drain]),
        (
            "Operator",
            "MarkAgentGone",
            vec![json!({"agent_id": "$idle"})],
        ),
        (
            "Scheduler",
            "Call",
            vec![with(victim.clone(), &json!({"call": last_call()}))],
        ),
        ("Operator", "TeardownFramework", vec![victim]),
    ]
}

fn operator_reads() -> Vec<(&'static str, Json)> {
    let page = |more: Json| with(json!({"page_size": 10, "page_token": "a"}), &more);
    let pages = |more: Json| with(json!({"page_size": 10, "page_token": "a/b"}), &more);
    let of = json!({"framework_id": "$framework", "agent_id": "$agent"});
    vec![
        ("GetMaster", json!({})),
        (
            "ListAgents",
            page(
                json!({"states": ["AGENT_STATE_CONNECTED"], "agent_id": "$agent", "host": "h", "attributes": {"a": "b"}}),
            ),
        ),
        (
            "ListFrameworks",
            page(
                json!({"framework_id": "$framework", "name": "n", "role": "eng", "connected": true}),
            ),
        ),
        (
            "ListTasks",
            with(
                pages(of.clone()),
                &json!({"task_id": "t", "states": ["TASK_STATE_RUNNING"], "role": "eng",
            "labels": {"a": "b"}, "only_live": true}),
            ),
        ),
        (
            "ListOffers",
            with(page(of.clone()), &json!({"role": "eng"})),
        ),
        (
            "ListExecutors",
            with(json!({"page_size": 10, "page_token": "a/b/c"}), &of),
        ),
        (
            "Watch",
            with(
                of,
                &json!({"position": "1-1", "kinds": ["WATCH_KIND_TASKS"]}),
            ),
        ),
        (
            "ExplainDemand",
            pages(json!({"framework_id": "$framework", "role": "eng", "demand_ids": ["a"]})),
        ),
        ("ListRoles", page(json!({}))),
        ("Backup", json!({})),
    ]
}

fn operator_changes() -> Vec<(&'static str, Json)> {
    let cpus = |milli: u64| json!({"scalars": [{"name": "cpus", "milli": milli}]});
    let quota = json!({"guarantees": cpus(10), "limits": cpus(20)});
    let resize = json!({"agent_id": "$idle", "role": "eng", "volume_id": "v", "milli": 10});
    let resources = json!({"agent_id": "$idle", "resources": resources()});
    let volumes = json!({"agent_id": "$idle", "volumes": disk()});
    vec![
        (
            "SetQuota",
            json!({"role": "eng/none", "quota": quota, "force": true}),
        ),
        ("RemoveQuota", json!({"role": "eng/none"})),
        (
            "SetWeight",
            json!({"role": "eng/none", "weight_milli": 2_000}),
        ),
        ("RemoveWeight", json!({"role": "eng/none"})),
        ("Reserve", resources.clone()),
        ("Unreserve", resources),
        ("CreateVolumes", volumes.clone()),
        ("DestroyVolumes", volumes),
        ("GrowVolume", resize.clone()),
        ("ShrinkVolume", resize),
        ("DeactivateAgent", json!({"agent_id": "$idle"})),
        ("ReactivateAgent", json!({"agent_id": "$idle"})),
    ]
}
