//! How much a body becomes, seen before it becomes that: `{}` is three bytes of a list and some hundred in memory, and as
//! many in the tree that the slow way makes.

use bytes::Buf;
use prost::encoding::{WireType, decode_varint};

use super::plan::{Kind, MessagePlan, Plan};
use super::wire::delimited;
use crate::limits::{MESOS_DEPTH_MAX, MESOS_LISTED_MAX, MESOS_VALUES_MAX};

/// Bytes that a message in a list of a protobuf body has at least: its key and its length.
const LISTED_LEN_MIN: usize = 2;

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

/// What is wrong with a protobuf body of too many messages in lists.
pub(super) fn too_many_listed(plan: &Plan, of: &MessagePlan, body: &[u8]) -> Option<String> {
    let may_be = body.len() / LISTED_LEN_MIN > MESOS_LISTED_MAX;
    let mut left = MESOS_LISTED_MAX;
    (may_be && count(plan, of, body, &mut left, MESOS_DEPTH_MAX) == Err(Full)).then(|| {
        let remedy = "send it in several calls";
        format!("The body has more than {MESOS_LISTED_MAX} messages in lists: {remedy}")
    })
}

/// There are more.
#[derive(Debug, PartialEq, Eq)]
struct Full;

/// Takes the messages in lists off those that may be. Where bytes are no message, or too deep, it stops: they are refused.
fn count(
    plan: &Plan,
    of: &MessagePlan,
    mut bytes: &[u8],
    left: &mut usize,
    depth: usize,
) -> Result<(), Full> {
    while let Ok(key) = decode_varint(&mut bytes) {
        let inner = match WireType::try_from(key & 7) {
            Ok(WireType::Varint) => decode_varint(&mut bytes).ok().map(|_| None),
            Ok(WireType::SixtyFourBit) => bytes.try_get_u64().ok().map(|_| None),
            Ok(WireType::ThirtyTwoBit) => bytes.try_get_u32().ok().map(|_| None),
            Ok(WireType::LengthDelimited) => delimited(&mut bytes).map(Some),
            // A group of fields, which no message has and which is skipped as a whole: what is in it is looked at as if it
            // were here.
            Ok(WireType::StartGroup | WireType::EndGroup) => Some(None),
            Err(_) => None,
        };
        let (Some(inner), Some(field)) = (inner, of.numbered(key >> 3)) else {
            match inner {
                Some(_) => continue,
                None => return Ok(()),
            }
        };
        let Some(inner) = inner else { continue };
        let is_listed = match field.kind {
            Kind::Message(_) => field.is_list,
            // Of a map's entries each is one.
            Kind::Rare => true,
            _ => false,
        };
        if is_listed {
            *left = left.checked_sub(1).ok_or(Full)?;
        }
        if let (Kind::Message(of), 1..) = (field.kind, depth)
            && let Some(of) = plan.message(of)
        {
            count(plan, of, inner, left, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::v1::offer::Operation;
    use super::super::v1::scheduler::{Call, call};
    use super::super::{read_json, read_protobuf, v1};
    use super::{MESOS_LISTED_MAX, MESOS_VALUES_MAX};

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
        let most = read_protobuf::<Call>(&listed(MESOS_LISTED_MAX)).expect("reads");
        let operations = most.accept.map(|accept| accept.operations.len());
        assert_eq!(operations, Some(MESOS_LISTED_MAX));
        let refused = read_protobuf::<Call>(&listed(MESOS_LISTED_MAX + 1)).expect_err("refused");
        assert_eq!(
            refused,
            "Failed to parse body into Call protobuf: The body has more than 262144 messages in lists: send it in several calls"
        );
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
