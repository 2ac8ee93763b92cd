//! Every call of every service that frameworks, executors and operators speak to, with every field of its message broken in every
//! way: what is refused has a status, a code, the path of the field that was broken, and what to do; what must be refused is; and
//! of what is refused nothing is done. And everything goes on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proffer_model::code;
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_proto::{encode_problem, problem_of, v1};
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _, Value,
};
use serde_json::Value as Json;
use tonic::Code;
use v1::answered::Answer;
use v1::executor_event::Event as ExecutorEvent;
use v1::launch_result::Outcome;
use v1::operation_result::Result as OperationResult;

use crate::harness::{Cluster, eventually};

mod change;
mod due;
mod good;
mod judge;
mod stage;
mod view;
mod wire;

use change::Broken;
use due::Due;
use stage::{Place, Session};
use view::View;
use wire::Caller;

/// Fields that another one depends on: what was broken, and what may then be named, each somewhere in its path.
const ENTANGLED: [(&str, &str); 7] = [
    (".resources", ".ports"),
    (".resources", ".volumes"),
    (".resources", ".executor.resources"),
    (".count", ".gang"),
    (".least", ".resources"),
    (".create", ".framework_id"),
    // Of an agent that is gone already it is said again that it is, and nothing else.
    ("mark_gone", "agent_id"),
];

/// Refusals that there are at the least.
const REFUSED_MIN: usize = 9_000;

/// The test, with what it has found.
struct Trial {
    pool: DescriptorPool,
    /// What stands for what in good messages.
    names: BTreeMap<&'static str, String>,
    /// The good messages of each kind, by its name.
    given: BTreeMap<String, Vec<DynamicMessage>>,
    refused: usize,
    accepted: usize,
    /// Refused calls that were called a second time.
    again: u64,
    due: Due,
    faults: BTreeSet<String>,
}

impl Trial {
    fn kind(&self, name: &str) -> MessageDescriptor {
        let of = self.pool.get_message_by_name(&format!("proffer.v1.{name}"));
        of.expect("a message")
    }

    /// A good message, with what the cluster has in it.
    fn good(&mut self, of: &MessageDescriptor, json: &Json) -> DynamicMessage {
        let mut text = json.to_string();
        for (name, value) in &self.names {
            text = text.replace(&format!("\"{name}\""), &format!("\"{value}\""));
        }
        let json = serde_json::from_str(&text).expect("JSON");
        let message = good::message(of, &json);
        let given = self.given.entry(of.name().to_owned()).or_default();
        given.push(message.clone());
        message
    }

    /// Looks at what a broken message was answered with. What the good one is refused for may be told as well.
    fn judge(&mut self, what: &str, broken: &Broken, base: &[v1::Problem], told: &[v1::Problem]) {
        let Broken {
            place,
            how,
            message,
        } = broken;
        if told.is_empty() {
            self.accepted += 1;
            if self.due.is_due(what, place, how) {
                self.faults
                    .insert(format!("{what} {place} {how}: it is taken"));
            }
        }
        for problem in told {
            self.refused += 1;
            let is_told_anyway = base.iter().any(|base| base.field == problem.field);
            let is_entangled = ENTANGLED
                .iter()
                .any(|(of, named)| place.contains(of) && problem.field.contains(named));
            let fault = judge::fault(problem, message).or_else(|| {
                let is_about = problem.field.is_empty()
                    || is_told_anyway
                    || judge::is_about(&message.descriptor(), &problem.field, place);
                let is_of_group = problem.code == code::TASK_GROUP_REFUSED.name;
                (!is_about && !is_of_group && !is_entangled)
                    .then(|| "it is about something else".to_owned())
            });
            if let Some(fault) = fault {
                let v1::Problem {
                    code,
                    field,
                    message,
                    hint,
                    ..
                } = problem;
                let told = format!("{code}: {field}: {message:.200} ({hint:.200})");
                self.faults
                    .insert(format!("{what} {place} {how}: {fault}: {told}"));
            }
        }
    }
}

/// A broken message's bytes, with these things in the place of their names.
fn bytes_of(message: &DynamicMessage, offer: &str, number: u64) -> Bytes {
    let mut message = message.clone();
    fill(&mut message, offer, number);
    message.encode_to_vec().into()
}

fn fill(message: &mut DynamicMessage, offer: &str, number: u64) {
    message
        .fields_mut()
        .for_each(|(_, value)| fill_value(value, offer, number));
}

fn fill_value(value: &mut Value, offer: &str, number: u64) {
    match value {
        Value::String(text) if text == "$offer" => *text = offer.to_owned(),
        Value::String(text) if text == "$task" => *text = format!("task-{number}"),
        Value::String(text) if text == "$other" => *text = format!("other-{number}"),
        Value::U64(stands) if *stands == good::NEXT => *stands = number,
        Value::Message(message) => fill(message, offer, number),
        Value::List(items) => items
            .iter_mut()
            .for_each(|item| fill_value(item, offer, number)),
        _ => {}
    }
}

/// What was refused of a call.
fn refusals(answer: Answer) -> Vec<v1::Problem> {
    let of_launch = |launched: v1::LaunchResult| match launched.outcome {
        Some(Outcome::Refused(problem)) => Some(problem),
        _ => None,
    };
    match answer {
        Answer::Done(_) => Vec::new(),
        Answer::Refused(problem) => vec![problem],
        Answer::Accepted(accepted) => {
            let results = accepted.results.into_iter().filter_map(|one| one.result);
            let refused = results.flat_map(|result| match result {
                OperationResult::Launched(launched) => of_launch(launched).into_iter().collect(),
                OperationResult::LaunchedGroup(group) => {
                    group.results.into_iter().filter_map(of_launch).collect()
                }
                OperationResult::Refused(problem) => vec![problem],
                OperationResult::Done(_) => Vec::new(),
            });
            refused.collect()
        }
    }
}

/// The problem that a status carries; that it carries one, and which status it is, is looked at.
fn carried(status: &tonic::Status) -> v1::Problem {
    let problem = problem_of(status);
    assert!(!status.details().is_empty(), "no problem in {status:?}");
    assert!(
        !matches!(status.code(), Code::Ok | Code::Unknown | Code::Internal),
        "{status:?}"
    );
    encode_problem(&problem)
}

/// Tries requests.
async fn try_requests(trial: &mut Trial, caller: &mut Caller, all: Vec<good::Request>) {
    let mut number = 1;
    for (service, method, goods) in all {
        let path = format!("/proffer.v1.{service}/{method}");
        let of = trial
            .pool
            .get_service_by_name(&format!("proffer.v1.{service}"));
        let of = of.and_then(|of| of.methods().find(|it| it.name() == method));
        let input = of.expect("a method").input();
        for json in goods {
            let good = trial.good(&input, &json);
            let mut tried = Vec::new();
            for broken in all_changes(&good) {
                number += 1;
                let told = ask(caller, &path, bytes_of(&broken.message, "none", number)).await;
                tried.push((broken, told));
            }
            // Last, because some can be done only once: then it is refused for that, as what was tried may be, too.
            number += 1;
            let base = ask(caller, &path, bytes_of(&good, "none", number)).await;
            let mut refused = Vec::new();
            for (broken, told) in tried {
                trial.judge(&path, &broken, &base, &told);
                refused.extend((!told.is_empty()).then_some(broken));
            }
            refuse_again(trial, caller, &path, refused).await;
        }
        let told = ask(caller, &path, Bytes::from_static(&[0xff; 9])).await;
        assert_eq!(told[0].code, code::BODY_MALFORMED.name, "{path}: {told:?}");
    }
}

/// What was refused is refused again, and nothing of it is done.
async fn refuse_again(trial: &mut Trial, caller: &mut Caller, path: &str, refused: Vec<Broken>) {
    let before = View::of(caller).await;
    for Broken {
        place,
        how,
        message,
    } in refused
    {
        trial.again += 1;
        // Another number: what was answered is not looked up.
        let bytes = bytes_of(&message, "none", 1_000_000 + trial.again);
        if ask(caller, path, bytes).await.is_empty() {
            trial
                .faults
                .insert(format!("{path} {place} {how}: it is taken the second time"));
        }
    }
    let after = View::of(caller).await;
    if before != after {
        trial.faults.insert(format!(
            "{path}: something of what is refused is done: {before:?} became {after:?}"
        ));
    }
}

/// What gRPC itself refuses.
async fn try_oddities(caller: &mut Caller) {
    let told = ask(caller, "/proffer.v1.Operator/Nothing", Bytes::new()).await;
    assert_eq!(told[0].code, code::ROUTE_UNKNOWN.name, "{told:?}");
    let large = Bytes::from(vec![0; MESSAGE_LEN_MAX + 1]);
    let told = ask(caller, "/proffer.v1.Operator/ListAgents", large).await;
    assert_eq!(told[0].code, code::FIELD_TOO_LONG.name, "{told:?}");
    assert!(!told[0].hint.is_empty(), "{told:?}");
}

/// Everything that can be wrong with a message, and what may be odd about all of it.
fn all_changes(good: &DynamicMessage) -> Vec<Broken> {
    let odd = |how, bytes: Vec<u8>| Broken {
        place: String::new(),
        how,
        message: DynamicMessage::decode(good.descriptor(), Bytes::from(bytes)).expect("a message"),
    };
    let bytes = good.encode_to_vec();
    let unknown = [&bytes[..], &[0xfa, 0x7f, 1, b'x']].concat();
    let mut all = change::changes(good);
    all.push(odd("twice", [&bytes[..], &bytes].concat()));
    all.push(odd("with a field of the future", unknown));
    all
}

async fn ask(caller: &mut Caller, path: &str, bytes: Bytes) -> Vec<v1::Problem> {
    match caller.first(path, bytes).await {
        Ok(_) => Vec::new(),
        Err(status) => vec![carried(&status)],
    }
}

async fn try_session(trial: &mut Trial, session: &mut Session) {
    let of = trial.kind("SessionCall");
    for json in good::session_calls() {
        let good = trial.good(&of, &json);
        let what = format!(
            "session {}",
            json.to_string().split('"').nth(1).unwrap_or_default()
        );
        let base = call(session, &good).await;
        let mut all = all_changes(&good);
        // What comes after the last generation is refused.
        all.sort_by_key(|broken| broken.place.ends_with("generation"));
        for broken in all {
            let told = call(session, &broken.message).await;
            trial.judge(&what, &broken, &base, &told);
        }
    }
}

async fn call(session: &mut Session, message: &DynamicMessage) -> Vec<v1::Problem> {
    let offer = match message.has_field_by_name("accept") {
        true => session.offer().await.id,
        false => "none".to_owned(),
    };
    let number = session.next_number();
    let bytes = bytes_of(message, &offer, number);
    // What is acknowledged is not answered, whatever it is; that it is of another term is.
    let answer = match message.has_field_by_name("acknowledge") {
        true => session.acknowledge(bytes).await,
        false => session.ask(bytes).await,
    };
    let answer = answer.unwrap_or_else(|status| panic!("the session ended: {status:?}"));
    let is_kept = matches!(&answer, Answer::Refused(problem) if !problem.field.starts_with("accept.offer_ids"));
    if message.has_field_by_name("accept") && !is_kept {
        session.spent();
    }
    refusals(answer)
}

async fn try_subscriptions(trial: &mut Trial, caller: &mut Caller) {
    let of = trial.kind("SessionCall");
    for json in good::subscriptions() {
        let good = trial.good(&of, &json);
        for (broken, number) in all_changes(&good).into_iter().zip(1..) {
            let mut session = Session::open(caller).await;
            let told = session.ask(bytes_of(&broken.message, "none", number)).await;
            let told = match told {
                Ok(answer) => refusals(answer),
                Err(status) => vec![carried(&status)],
            };
            trial.judge("subscribe", &broken, &[], &told);
        }
    }
    let mut session = Session::open(caller).await;
    let told = session.ask(Bytes::from_static(&[0xff; 9])).await;
    let told = carried(&told.expect_err("no message"));
    assert_eq!(told.code, code::BODY_MALFORMED.name, "{told:?}");
}

/// Ends a framework for each way in which that may be said wrongly.
async fn try_last_calls(trial: &mut Trial, caller: &mut Caller) {
    let of = trial.kind("SessionCall");
    let good = trial.good(&of, &good::last_call());
    for (number, broken) in all_changes(&good).into_iter().enumerate() {
        let (mut session, _) = Session::subscribe(caller, &format!("last-{number}")).await;
        let told = session.ask(bytes_of(&broken.message, "none", 2)).await;
        trial.judge(
            "last call",
            &broken,
            &[],
            &refusals(told.expect("an answer")),
        );
    }
}

async fn try_executor(trial: &mut Trial, place: &mut Place, calls: &[Json], subscribes: bool) {
    let of = trial.kind("ExecutorCall");
    for json in calls {
        let good = trial.good(&of, json);
        for broken in all_changes(&good) {
            let bytes = bytes_of(&broken.message, "none", 1);
            let told = say_as_executor(place, subscribes, bytes).await;
            trial.judge("executor", &broken, &[], &told);
        }
    }
    let told = say_as_executor(place, subscribes, Bytes::from_static(&[0xff; 9])).await;
    assert_eq!(told[0].code, code::BODY_MALFORMED.name, "{told:?}");
}

/// What an executor's session is closed with, if it is closed.
async fn say_as_executor(place: &mut Place, subscribes: bool, bytes: Bytes) -> Vec<v1::Problem> {
    let (mut calls, mut events) = place.open(subscribes).await;
    wire::say(&mut calls, bytes).await;
    // Whoever has nothing more to say is told all that was to be told, then the session ends.
    drop(calls);
    while let Some(bytes) = wire::next(&mut events).await.expect("no status") {
        let event = v1::ExecutorEvent::decode(bytes).expect("an event");
        if let Some(ExecutorEvent::Closed(problem)) = event.event {
            return vec![problem];
        }
    }
    Vec::new()
}

/// Every method was called, and every field was given somewhere.
fn assert_all_given(trial: &Trial) {
    let all: Vec<&DynamicMessage> = trial.given.values().flatten().collect();
    let services = trial.pool.services();
    for service in services.filter(|it| it.package_name() == "proffer.v1") {
        let is_spoken_to = !matches!(service.name(), "AgentLink" | "Leadership" | "Tasks");
        for method in service.methods().filter(|_| is_spoken_to) {
            let (name, input) = (method.full_name().to_owned(), method.input());
            assert!(
                trial.given.contains_key(input.name()),
                "{name} is not tried"
            );
            let missing = good::not_given(&input, &all);
            assert!(missing.is_empty(), "{name}: {missing:?} are never given");
        }
    }
}

async fn run(cluster: &Cluster) {
    let token = std::fs::read_to_string(cluster.path("token")).expect("a token");
    let mut caller = Caller::connect(&cluster.address(0), token.trim()).await;
    let (mut session, subscribed) = Session::subscribe(&mut caller, "broken").await;
    let (victim, _) = Session::subscribe(&mut caller, "victim").await;
    drop(victim);
    let file = cluster.path("executor").display().to_string();
    let offer = session.launch_held(&file).await;
    let held = session.hear_of("held").await;
    let mut place = Place::find(cluster, "executor", held.incarnation).await;
    let agents = cluster.run(&["agents", "-o", "json"]);
    let agents: Vec<Json> = serde_json::from_slice(&agents.stdout).expect("JSON");
    let ids = agents.iter().filter_map(|agent| agent["id"].as_str());
    let idle = ids.into_iter().find(|id| *id != offer.agent_id);
    let mut trial = Trial {
        pool: good::pool(),
        names: BTreeMap::from([
            ("$agent", offer.agent_id.clone()),
            ("$idle", idle.expect("another agent").to_owned()),
            ("$framework", "broken".to_owned()),
            ("$victim", "victim".to_owned()),
            ("$generation", subscribed.generation.to_string()),
            ("$incarnation", held.incarnation.to_string()),
        ]),
        given: BTreeMap::new(),
        refused: 0,
        accepted: 0,
        again: 0,
        due: Due::default(),
        faults: BTreeSet::new(),
    };
    let (says, subscribes) = good::executor_calls();
    try_executor(&mut trial, &mut place, &says, true).await;
    // An executor without a session is ended after a while.
    let _open = place.open(true).await;
    try_session(&mut trial, &mut session).await;
    try_requests(&mut trial, &mut caller, good::requests()).await;
    try_subscriptions(&mut trial, &mut caller).await;
    try_last_calls(&mut trial, &mut caller).await;
    try_oddities(&mut caller).await;
    // Whoever subscribes and does not name its task has lost it.
    try_executor(&mut trial, &mut place, &subscribes, false).await;
    // The session has lived through all of it.
    session.offer().await;
    try_requests(&mut trial, &mut caller, good::endings()).await;
    println!("{} refused, {} accepted", trial.refused, trial.accepted);
    let count = trial.faults.len();
    let faults: Vec<String> = trial.faults.iter().take(40).cloned().collect();
    assert_eq!(count, 0, "the first of them:\n{}", faults.join("\n"));
    assert!(
        trial.refused >= REFUSED_MIN,
        "fewer refusals than there were"
    );
    let unmet = trial.due.unmet();
    assert!(unmet.is_empty(), "nothing of it was taken: {unmet:?}");
    assert_all_given(&trial);
}

#[test]
fn whatever_is_broken_in_a_message_is_refused_with_code_path_and_remedy() {
    let mut cluster = Cluster::new();
    let link = cluster.address(1);
    cluster.start_master();
    cluster.start_agent("one", 0, &link);
    cluster.start_agent("two", 1, &link);
    eventually("both agents are connected", || {
        let output = cluster.run(&["agents", "-o", "json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.matches("\"connected\"").count() == 2).then_some(())
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(&cluster));
    for name in ["master", "one", "two"] {
        let log = cluster.log(name);
        assert!(!log.contains("panicked"), "{name}: {log}");
    }
}
