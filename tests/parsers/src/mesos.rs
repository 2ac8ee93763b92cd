//! Mesos's messages. The first byte says whether the rest is protobuf, JSON, or choices to build a message of.

use std::fmt::Debug;

use proffer_agent::parsers::rewrite_ledger;
use proffer_model::{Principal, Role};
use proffer_proto::mesos::v1::{executor, master, scheduler};
use proffer_proto::mesos::{
    Launcher, Readable, decode_group, decode_resources, decode_task_info, read_json, read_protobuf,
    write_json,
};

use serde_json::Value;

use crate::expect::text;
use crate::input::Input;
use crate::message::build;

/// Bytes of what is said about a body that is refused.
const REFUSAL_LEN_MAX: usize = 8 * 1024;

/// What a scheduler calls, and what it wants launched.
pub(crate) fn mesos_scheduler(data: &[u8]) {
    let Some(call) = check::<scheduler::Call>(data) else {
        return;
    };
    let principal = Principal::new("p").expect("a name");
    let role = Role::new("*").expect("a role");
    let info = call.subscribe.map(|subscribe| subscribe.framework_info);
    let info = info.unwrap_or_default();
    let launcher = Launcher {
        info: &info,
        principal: &principal,
        role: &role,
    };
    let operations = call.accept.map(|accept| accept.operations);
    for operation in operations.unwrap_or_default() {
        for task in operation.launch.map(|of| of.task_infos).unwrap_or_default() {
            let _ = decode_task_info(&task, launcher).map_err(refused);
            let _ = decode_resources(&task.resources, &principal).map_err(refused);
        }
        if let Some(group) = operation.launch_group {
            let tasks = &group.task_group.tasks;
            let _ = decode_group(tasks, &group.executor, launcher, |_| Ok(())).map_err(refused);
        }
        if let Some(reserve) = operation.reserve {
            let _ = decode_resources(&reserve.resources, &principal).map_err(refused);
        }
        if let Some(create) = operation.create {
            let _ = decode_resources(&create.volumes, &principal).map_err(refused);
        }
    }
}

/// What an executor calls.
pub(crate) fn mesos_executor(data: &[u8]) {
    check::<executor::Call>(data);
}

/// What an agent keeps of an executor of Mesos: whatever is in the file, what is kept of it is kept of itself.
pub(crate) fn mesos_ledger(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let kept = rewrite_ledger(text);
    assert!(kept.is_empty() || kept.ends_with('\n'));
    assert_eq!(rewrite_ledger(&kept), kept, "of {text:?}");
    // A torn end is passed over.
    assert_eq!(rewrite_ledger(&format!("{kept}said 7 2 0")), kept);
}

/// What an operator calls.
pub(crate) fn mesos_master(data: &[u8]) {
    check::<master::Call>(data);
}

/// A message that is read is written and read again as the same, in either form.
fn check<M: Readable + PartialEq + Debug>(data: &[u8]) -> Option<M> {
    let (form, rest) = data.split_first()?;
    let read = match form {
        0 => read_protobuf::<M>(rest),
        1 => read_json::<M>(rest),
        _ => {
            let name = format!(".{}", M::full_name());
            read_protobuf::<M>(&build(&name, &mut Input::new(rest)))
        }
    };
    let message = read.map_err(refused).ok()?;
    let again = read_protobuf::<M>(&message.encode_to_vec());
    let again = again.unwrap_or_else(|why| panic!("{message:?}\nis refused: {why}"));
    // What is no number is not even the same as itself.
    let is_same = again == message || format!("{message:?}").contains("NaN");
    assert!(is_same, "{message:?}\nbecomes\n{again:?}");
    let json = write_json(&message);
    assert!(json.is_ascii(), "{message:?}");
    match read_json::<M>(&json) {
        Ok(again) if *form == 1 => assert_same_json(&json, &write_json(&again)),
        Err(why) if *form == 1 => panic!("{message:?}\nis refused as JSON: {why}"),
        // A value of an enum that is unknown is left out where JSON is read.
        Ok(again) => {
            let json = write_json(&again);
            let last = read_json::<M>(&json).expect("our own JSON");
            assert_same_json(&json, &write_json(&last));
        }
        Err(why) => refused(why),
    }
    Some(message)
}

/// The same but for the order in maps, and the last digit of a number.
fn assert_same_json(before: &[u8], after: &[u8]) {
    let [before, after] = [before, after].map(|json| {
        let value: Value = serde_json::from_slice(json).expect("JSON");
        value
    });
    assert!(is_same(&before, &after), "{before}\nbecomes\n{after}");
}

fn is_same(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let same = |(name, value): (&String, &Value)| {
                after.get(name).is_some_and(|after| is_same(value, after))
            };
            before.len() == after.len() && before.iter().all(same)
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len()
                && before
                    .iter()
                    .zip(after)
                    .all(|(one, other)| is_same(one, other))
        }
        (Value::Number(one), Value::Number(other)) if one != other => {
            match (one.as_f64(), other.as_f64()) {
                (Some(one), Some(other)) => same_number(one, other),
                _ => false,
            }
        }
        _ => before == after,
    }
}

#[allow(
    clippy::float_arithmetic,
    reason = "these are compared, not counted with"
)]
fn same_number(one: f64, other: f64) -> bool {
    (one - other).abs() <= one.abs() * 1e-12
}

fn refused(why: String) {
    assert!(!why.is_empty());
    assert!(
        why.len() <= REFUSAL_LEN_MAX,
        "{} bytes: {why:.300}",
        why.len()
    );
}
