//! Every message that arrives over the wire or lies in a file. The first byte says whether the rest is the message itself
//! or choices to build one of.

use std::fmt::Debug;

use proffer_model::executor::ExecutorEvent;
use proffer_model::limits::TEXT_LEN_MAX;
use proffer_model::link::ToAgent;
use proffer_model::registry::Registry;
use proffer_model::session::Event;
use proffer_model::{Epoch, Problem, code};
use proffer_proto::{
    checkpoint, decode_agent_description, decode_agent_identity, decode_attributes, decode_batch,
    decode_call, decode_check, decode_deadline, decode_demand, decode_event, decode_executor_call,
    decode_executor_event, decode_executor_run, decode_kept_volume, decode_leader, decode_limits,
    decode_offer, decode_port, decode_predicate, decode_problem, decode_quantities, decode_quota,
    decode_reservation, decode_resources, decode_run, decode_snapshot, decode_status,
    decode_status_entry, decode_task_spec, decode_to_agent, decode_to_master, decode_volume_list,
    decode_weight, encode_agent_description, encode_agent_identity, encode_attributes,
    encode_batch, encode_call, encode_check, encode_demand, encode_event, encode_executor_call,
    encode_executor_event, encode_executor_run, encode_kept_volume, encode_leader, encode_limits,
    encode_offer, encode_port, encode_predicate, encode_problem, encode_quantities, encode_quota,
    encode_reservation, encode_resources, encode_run, encode_snapshot, encode_status,
    encode_status_entry, encode_task_spec, encode_to_agent, encode_to_master, encode_volume_list,
    problem_of, status_of, v1,
};
use prost::Message;

use crate::expect::{accepted, refused};
use crate::input::Input;
use crate::message::{build, has_field};

/// The bytes of a message, built or raw.
pub(crate) fn bytes_of(name: &str, data: &[u8]) -> Vec<u8> {
    match data.split_first() {
        Some((0, raw)) => raw.to_vec(),
        Some((_, choices)) => build(name, &mut Input::new(choices)),
        None => Vec::new(),
    }
}

/// The message, if the bytes are one.
fn message_of<M: Message + Default>(name: &str, data: &[u8]) -> Option<M> {
    M::decode(bytes_of(name, data).as_slice()).ok()
}

/// A refusal names a field of the message; what is accepted survives the wire.
fn check<M: Message + Default, T: PartialEq + Debug>(
    name: &str,
    message: M,
    decode: impl Fn(M) -> Result<T, Problem>,
    encode: impl Fn(&T) -> M,
) -> Option<T> {
    match decode(message) {
        Err(problem) => {
            refused(&problem);
            let is_whole = problem.field.is_empty() && problem.is(code::FIELD_TOO_LONG);
            assert!(
                is_whole || has_field(name, &problem.field),
                "{name} has no field {:?}: {problem}",
                problem.field
            );
            None
        }
        Ok(value) => {
            let bytes = encode(&value).encode_to_vec();
            let sent = M::decode(bytes.as_slice()).expect("our own bytes");
            match decode(sent) {
                Ok(again) => assert!(again == value, "{value:?}\nbecomes\n{again:?}"),
                Err(problem) => panic!("{value:?}\nis refused: {problem}"),
            }
            Some(value)
        }
    }
}

/// One function for each message that can be read and written.
macro_rules! messages {
    ($($(#[doc = $doc:literal])+ $target:ident, $name:literal, $decode:expr, $encode:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(crate) fn $target(data: &[u8]) {
            if let Some(message) = message_of($name, data) {
                check($name, message, $decode, $encode);
            }
        }
    )+};
}

messages! {
    /// What a framework calls.
    session_call, ".proffer.v1.SessionCall", decode_call, |(request, call)| encode_call(*request, call);
    /// What a framework is told.
    session_event, ".proffer.v1.SessionEvent", decode_event_once_sent,
        |(sequence, epoch, event)| encode_event(*sequence, *epoch, event);
    /// What an agent says.
    to_master, ".proffer.v1.ToMaster", decode_to_master, encode_to_master;
    /// What an agent is told.
    to_agent, ".proffer.v1.ToAgent", decode_to_agent_once_sent, encode_to_agent;
    /// A checkpoint: who the agent is.
    checkpoint_identity, ".proffer.checkpoint.v1.AgentIdentity", decode_agent_identity, encode_agent_identity;
    /// A checkpoint: a run.
    checkpoint_run, ".proffer.checkpoint.v1.Run", decode_run, encode_run;
    /// A checkpoint: a run of an executor.
    checkpoint_executor, ".proffer.checkpoint.v1.ExecutorRun", decode_executor_run, encode_executor_run;
    /// A checkpoint: a volume, beside its files.
    checkpoint_volume, ".proffer.checkpoint.v1.Volume", decode_kept_volume, encode_kept_volume;
    /// A checkpoint: the volumes that the master has told.
    checkpoint_volumes, ".proffer.checkpoint.v1.VolumeList", decode_volume_list, |all| encode_volume_list(all);
    /// What an executor calls.
    executor_call, ".proffer.v1.ExecutorCall", decode_executor_call, encode_executor_call;
    /// What an executor is told.
    executor_event, ".proffer.v1.ExecutorEvent", decode_executor_event_once_sent, encode_executor_event;
}

/// An event; one that tells problems as it is when it has been sent once, since their texts are then cut.
fn decode_event_once_sent(event: v1::SessionEvent) -> Result<(u64, Epoch, Event), Problem> {
    let (sequence, epoch, event) = decode_event(event)?;
    match event {
        Event::Closed(_) | Event::Answered { .. } => {
            decode_event(encode_event(sequence, epoch, &event))
        }
        event => Ok((sequence, epoch, event)),
    }
}

/// The same for what an executor is told.
fn decode_executor_event_once_sent(event: v1::ExecutorEvent) -> Result<ExecutorEvent, Problem> {
    match decode_executor_event(event)? {
        closed @ ExecutorEvent::Closed(_) => decode_executor_event(encode_executor_event(&closed)),
        event => Ok(event),
    }
}

/// The same for what an agent is told.
fn decode_to_agent_once_sent(message: v1::ToAgent) -> Result<ToAgent, Problem> {
    match decode_to_agent(message)? {
        refused @ ToAgent::Refused(_) => decode_to_agent(encode_to_agent(&refused)),
        other => Ok(other),
    }
}

/// The parts of what operators ask for, and what is shown to them.
pub(crate) fn operator_requests(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else {
        return;
    };
    macro_rules! choose {
        ($($name:literal, $decode:expr, $encode:expr;)+) => {{
            let all: &[fn(&[u8])] = &[$(|data| {
                let name = concat!(".proffer.v1.", $name);
                if let Some(message) = message_of(name, data) {
                    check(name, message, $decode, $encode);
                }
            }),+];
            all[usize::from(*which) % all.len()](rest);
        }};
    }
    choose! {
        "Resources", decode_resources, encode_resources;
        "Quantities", decode_quantities, encode_quantities;
        "Quantities", decode_limits, encode_limits;
        "SetQuotaRequest", |asked: v1::SetQuotaRequest| decode_quota(asked.quota), |quota| {
            v1::SetQuotaRequest { quota: Some(encode_quota(quota)), ..v1::SetQuotaRequest::default() }
        };
        "Reservation", decode_reservation, encode_reservation;
        "Predicate", decode_predicate, encode_predicate;
        "SetDemand", decode_demand, encode_demand;
        "TaskSpec", decode_task_spec, encode_task_spec;
        "Status", decode_status, encode_status;
        "Port", decode_port, encode_port;
        "Check", decode_check, encode_check;
        "Offer", decode_offer, encode_offer;
        "AgentDescription", decode_agent_description, encode_agent_description;
        "Leader", decode_leader, encode_leader;
    }
    let mut input = Input::new(rest);
    let (milli, ms) = (input.number(), input.number());
    if let Ok(milli) = u32::try_from(milli) {
        accepted(decode_weight(milli));
    }
    accepted(decode_deadline(Some(ms)));
    if let Some(asked) = message_of::<v1::AgentDescription>(".proffer.v1.AgentDescription", rest)
        && let Some(attributes) = accepted(decode_attributes(asked.attributes))
    {
        let again = decode_attributes(encode_attributes(&attributes));
        assert_eq!(again.as_ref(), Ok(&attributes));
    }
}

/// An error as clients get it: in a message, and in the details of a gRPC status.
pub(crate) fn problems(data: &[u8]) {
    if let Some(message) = message_of::<v1::Problem>(".proffer.v1.Problem", data) {
        let problem = decode_problem(message);
        let again = decode_problem(encode_problem(&problem));
        let texts = [&problem.field, &problem.message, &problem.hint];
        let is_cut =
            problem.code.len() > TEXT_LEN_MAX || texts.iter().any(|text| text.len() > TEXT_LEN_MAX);
        assert!(
            again == problem || is_cut,
            "{problem:?}\nbecomes\n{again:?}"
        );
        let status = status_of(problem);
        assert!(status.message().len() <= 8 * 1024 && status.details().len() <= 16 * 1024);
    }
    let status = tonic_status(data);
    let problem = problem_of(&status);
    assert!(!problem.code.is_empty());
}

fn tonic_status(data: &[u8]) -> tonic::Status {
    let bytes = data.to_vec();
    tonic::Status::with_details(tonic::Code::Internal, "", bytes.into())
}

/// One entry of the master's log, and what a log adds up to that begins with it: the snapshot says the same.
pub(crate) fn store_batch(data: &[u8]) {
    let Some((count, mut rest)) = data.split_first() else {
        return;
    };
    let mut registry = Registry::default();
    for _ in 0..=count % 4 {
        let half = rest.len().div_ceil(2);
        let (entry, more) = rest.split_at(half);
        rest = more;
        let bytes = bytes_of(".proffer.store.v1.Batch", entry);
        let Some((epoch, operations)) = stored(decode_batch(&bytes)) else {
            continue;
        };
        let written = encode_batch(epoch, &operations);
        assert_eq!(
            decode_batch(&written).as_ref(),
            Ok(&(epoch, operations.clone()))
        );
        for operation in &operations {
            registry.apply(operation);
        }
    }
    let snapshot = encode_snapshot(&registry);
    let again = decode_snapshot(&snapshot);
    assert!(
        again.as_ref() == Ok(&registry),
        "{registry:?}\nbecomes\n{again:?}"
    );
}

/// A snapshot of what the log adds up to.
pub(crate) fn store_snapshot(data: &[u8]) {
    let bytes = bytes_of(".proffer.store.v1.Snapshot", data);
    let Some(registry) = stored(decode_snapshot(&bytes)) else {
        return;
    };
    let again = decode_snapshot(&encode_snapshot(&registry));
    assert!(
        again.as_ref() == Ok(&registry),
        "{registry:?}\nbecomes\n{again:?}"
    );
}

/// What lies in a store is refused in one way.
fn stored<T>(decoded: Result<T, Problem>) -> Option<T> {
    if let Err(problem) = &decoded {
        assert!(problem.is(code::STORE_FAILED), "{problem}");
    }
    accepted(decoded)
}

/// Entries of the file `statuses` of a run, one behind the other.
pub(crate) fn checkpoint_statuses(data: &[u8]) {
    let name = ".proffer.checkpoint.v1.StatusEntry";
    if let Some(message) = message_of::<checkpoint::v1::StatusEntry>(name, data) {
        check(name, message, decode_status_entry, encode_status_entry);
    }
    let mut rest = data;
    while !rest.is_empty() {
        let before = rest.len();
        let Ok(message) = checkpoint::v1::StatusEntry::decode_length_delimited(&mut rest) else {
            return;
        };
        assert!(rest.len() < before, "reading goes on");
        accepted(decode_status_entry(message));
    }
}
