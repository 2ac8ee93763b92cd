//! How much a body becomes, seen before it becomes that: `{}` is three bytes of a list and some hundred in memory, and as
//! many in the tree that the slow way makes.

use super::plan::{MessagePlan, Plan};
use super::wire::next_value;
use crate::limits::{MESOS_DEPTH_MAX, MESOS_ENTRIES_MAX, MESOS_VALUES_MAX};

/// Bytes that an entry of a list of a protobuf body has at least: its key and its length.
const ENTRY_LEN_MIN: usize = 2;

/// What is wrong with a JSON body of too many values.
pub(super) fn too_many_values(body: &[u8]) -> Option<String> {
    let may_be = body.len() > MESOS_VALUES_MAX;
    let remedy = "send it in several calls, or in protobuf";
    (may_be && values(body) > MESOS_VALUES_MAX)
        .then(|| format!("The body has more than {MESOS_VALUES_MAX} values: {remedy}"))
}

/// Objects, and what is behind commas. What is no JSON is counted somehow.
fn values(body: &[u8]) -> usize {
    let mut count = 0;
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b',' => count += 1,
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    count
}

/// Behind the quotation mark at the end.
fn skip_text(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// What is wrong with a protobuf body of too much that has memory of its own.
pub(super) fn too_many_entries(plan: &Plan, of: &MessagePlan, body: &[u8]) -> Option<String> {
    let may_be = body.len() / ENTRY_LEN_MIN > MESOS_ENTRIES_MAX;
    let mut left = MESOS_ENTRIES_MAX;
    (may_be && count(plan, of, body, &mut left, MESOS_DEPTH_MAX) == Err(Full)).then(|| {
        let remedy = "send it in several calls";
        format!("The body has more than {MESOS_ENTRIES_MAX} entries in lists: {remedy}")
    })
}

/// There are more.
#[derive(Debug, PartialEq, Eq)]
struct Full;

/// Takes what has memory of its own off that which may be. What cannot be gone through, such as groups of fields that nobody
/// knows, is too much: it would be refused behind that.
fn count(
    plan: &Plan,
    of: &MessagePlan,
    mut bytes: &[u8],
    left: &mut usize,
    depth: usize,
) -> Result<(), Full> {
    while !bytes.is_empty() {
        let (number, inner) = next_value(&mut bytes).ok_or(Full)?;
        let (Some(field), Some(inner)) = (of.numbered(number), inner) else {
            continue;
        };
        if field.is_apart {
            *left = left.checked_sub(1).ok_or(Full)?;
        }
        let of = field.inner.and_then(|of| plan.message(of));
        if let (Some(of), 1..) = (of, depth) {
            count(plan, of, inner, left, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::v1::offer::Operation;
    use super::super::v1::scheduler::{
        AttributeConstraint, Call, OfferConstraints, call, offer_constraints,
    };
    use super::super::{PLAN, read_json, read_protobuf, v1};
    use super::{MESOS_ENTRIES_MAX, MESOS_VALUES_MAX};

    fn listed(count: usize) -> Vec<u8> {
        let accept = call::Accept {
            operations: vec![Operation::default(); count],
            ..call::Accept::default()
        };
        let call = Call {
            accept: Some(accept),
            ..Call::default()
        };
        call.encode_to_vec()
    }

    #[test]
    fn a_body_becomes_so_many_messages_and_no_more() {
        let most = read_protobuf::<Call>(&listed(MESOS_ENTRIES_MAX)).expect("reads");
        let operations = most.accept.map(|accept| accept.operations.len());
        assert_eq!(operations, Some(MESOS_ENTRIES_MAX));
        let refused = read_protobuf::<Call>(&listed(MESOS_ENTRIES_MAX + 1)).expect_err("refused");
        assert_eq!(
            refused,
            "Failed to parse body into Call protobuf: The body has more than 262144 entries in lists: send it in several calls"
        );
    }

    #[test]
    fn what_is_in_maps_and_in_what_is_kept_apart_is_counted() {
        let group = |count: usize| {
            let constraints = vec![AttributeConstraint::default(); count];
            let group = offer_constraints::role_constraints::Group {
                attribute_constraints: constraints,
            };
            let of_role = offer_constraints::RoleConstraints {
                groups: vec![group],
            };
            let subscribe = call::Subscribe {
                offer_constraints: Some(OfferConstraints {
                    role_constraints: [("r".to_owned(), of_role)].into(),
                }),
                ..call::Subscribe::default()
            };
            Call {
                subscribe: Some(subscribe),
                ..Call::default()
            }
        };
        let has_room = |count: usize| {
            let body = group(count).encode_to_vec();
            let of = PLAN.find("mesos.v1.scheduler.Call").expect("a call");
            super::too_many_entries(&PLAN, of, &body).is_none()
        };
        // The entry of the map and the group are two.
        assert!(has_room(MESOS_ENTRIES_MAX - 2));
        assert!(!has_room(MESOS_ENTRIES_MAX - 1));
        // Both an operation and what is apart from it.
        let volume = Operation {
            grow_volume: Some(Box::default()),
            ..Operation::default()
        };
        let accept = call::Accept {
            operations: vec![volume; MESOS_ENTRIES_MAX / 2 + 1],
            ..call::Accept::default()
        };
        let of = PLAN.find("mesos.v1.scheduler.Call.Accept").expect("one");
        assert!(super::too_many_entries(&PLAN, of, &accept.encode_to_vec()).is_some());
        // Behind a group of fields that there is not, which is skipped when it is decoded.
        let mut hidden = vec![0xfb, 0x07, 0xfc, 0x07];
        hidden.extend(b"\x12\x00".repeat(MESOS_ENTRIES_MAX));
        assert!(super::too_many_entries(&PLAN, of, &hidden).is_some());
    }

    #[test]
    fn a_body_of_json_has_so_many_values_and_no_more() {
        // An object and a comma each, and three objects around them; the last has no comma.
        let body = |count: usize| {
            let all = vec!["{}"; count].join(",");
            format!(r#"{{"accept":{{"operations":[{all}],"filters":{{}}}}}}"#)
        };
        let fits = (MESOS_VALUES_MAX - 3) / 2;
        let most: Call = read_json(body(fits).as_bytes()).expect("reads");
        assert_eq!(
            most.accept.map(|accept| accept.operations.len()),
            Some(fits)
        );
        let refused = read_json::<Call>(body(fits + 1).as_bytes()).expect_err("refused");
        assert_eq!(
            refused,
            "Failed to convert JSON into Call protobuf: The body has more than 524288 values: send it in several calls, or in \
            protobuf"
        );
        // What stands in texts is no value.
        let text = r#",{\",{"#.repeat(MESOS_VALUES_MAX / 2);
        let message = format!(
            r#"{{"message":{{"agent_id":{{"value":"{text}"}},"executor_id":{{"value":"e"}},"data":""}}}}"#
        );
        read_json::<Call>(message.as_bytes()).expect("reads");
    }

    #[test]
    fn what_may_be_in_lists_is_not_large() {
        let table = [
            ("Operation", size_of::<Operation>()),
            ("TaskInfo", size_of::<v1::TaskInfo>()),
            ("ExecutorInfo", size_of::<v1::ExecutorInfo>()),
            ("TaskStatus", size_of::<v1::TaskStatus>()),
            ("Resource", size_of::<v1::Resource>()),
            ("Volume", size_of::<v1::Volume>()),
            ("Offer", size_of::<v1::Offer>()),
        ];
        for (name, size) in table {
            assert!(size <= 512, "{name} has {size} bytes");
        }
    }
}
