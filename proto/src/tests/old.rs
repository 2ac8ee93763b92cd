//! What older versions have written is read for ever: their bytes, made by hand, lack the fields that came later.

use proffer_model::registry::{Operation, Registry};
use proffer_model::{Drain, Epoch, Resources};
use prost::Message;

use super::refusals::good_task;
use super::values::parsed;
use crate::{
    checkpoint, decode_batch, decode_run, decode_snapshot, decode_to_master, encode_batch,
    encode_snapshot, store, v1,
};

/// One field of a message: bytes with their length.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![(number << 3) | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend_from_slice(content);
    field
}

/// One field of a message: a number.
fn number(number: u8, value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    prost::encoding::encode_varint(value, &mut field);
    field
}

/// An agent as it was described before agents had domains.
fn description() -> Vec<u8> {
    let description = v1::AgentDescription {
        host: "h".into(),
        address: "h:1".into(),
        resources: Some(v1::Resources::default()),
        ..v1::AgentDescription::default()
    };
    description.encode_to_vec()
}

fn good_spec() -> Vec<u8> {
    good_task().encode_to_vec()
}

fn old_snapshot() -> Vec<u8> {
    let agent = [bytes(1, b"a1"), bytes(2, &description()), number(3, 9)].concat();
    [number(1, 1), bytes(2, &agent), number(5, 3)].concat()
}

#[test]
fn a_store_from_before_reservations_quotas_and_drains_is_read() {
    let registry = decode_snapshot(&old_snapshot()).expect("an old snapshot");
    let (id, entry) = registry.agents.iter().next().expect("an agent");
    assert_eq!(id.as_str(), "a1");
    assert_eq!(entry.unreachable_since_wall_ms, Some(9));
    assert_eq!(
        (&entry.made, entry.is_deactivated, entry.drain),
        (&Resources::new(), false, None)
    );
    assert!(registry.quotas.is_empty() && registry.weights.is_empty());
    assert_eq!(registry.completed_count, 3);
    let admit = [bytes(1, b"a1"), bytes(2, &description())].concat();
    let record = [number(1, 1), bytes(2, &admit)].concat();
    let batch = [number(1, 4), bytes(2, &record)].concat();
    let (epoch, operations) = decode_batch(&batch).expect("an old batch");
    assert_eq!((epoch.0, operations.len()), (4, 1));
}

#[test]
fn a_task_from_before_it_was_written_down_who_pays_is_read() {
    let run = [bytes(1, b"f1"), number(2, 7), bytes(3, &good_spec())].concat();
    let run = checkpoint::v1::Run::decode(run.as_slice()).expect("bytes");
    let run = decode_run(run).expect("an old checkpoint");
    assert_eq!((run.framework.as_str(), run.payer), ("f1", None));
    let status = v1::Status {
        task_id: "web.1".into(),
        incarnation: 7,
        number: 1,
        state: v1::TaskState::Running.into(),
        ..v1::Status::default()
    };
    let task = [
        bytes(1, b"f1"),
        bytes(2, &good_spec()),
        number(3, 7),
        bytes(4, &status.encode_to_vec()),
    ];
    let hello = [bytes(4, &description()), bytes(5, &task.concat())].concat();
    let message = bytes(1, &hello);
    let message = v1::ToMaster::decode(message.as_slice()).expect("bytes");
    let message = decode_to_master(message).expect("an old agent's hello");
    let proffer_model::link::ToMaster::Hello(hello) = message else {
        panic!("a hello");
    };
    assert_eq!(hello.tasks[0].payer, None);
}

/// An older master refuses what it would misunderstand, and reads all else.
#[test]
fn a_record_has_the_smallest_schema_version_that_says_all_of_it() {
    let agent = || parsed("a1");
    let drain = |marks_gone| Operation::DrainAgent {
        agent: agent(),
        drain: Drain {
            since_wall_ms: 1,
            deadline: None,
            left: None,
            is_drained: false,
            marks_gone,
        },
    };
    let admit = |volumes_after| Operation::AdmitAgent {
        agent: agent(),
        description: decode_snapshot(&old_snapshot()).expect("old").agents[&agent()]
            .description
            .clone(),
        volumes_after,
    };
    let gone = Operation::MarkGone {
        agent: agent(),
        since_wall_ms: 1,
    };
    let unreachable = Operation::MarkUnreachable {
        agent: agent(),
        since_wall_ms: 1,
        frameworks: Some(7),
    };
    let away = Operation::AdmitFramework {
        framework: parsed("f1"),
        principal: parsed("p"),
        description: proffer_model::FrameworkDescription {
            name: "web".to_owned(),
            roles: vec![parsed("eng")],
            failover_timeout: std::time::Duration::from_secs(60),
            mesos: None,
        },
        is_away: true,
    };
    for (operations, schema) in [
        (vec![admit(0), away], 1),
        (vec![admit(0), drain(false)], 1),
        (vec![admit(0), unreachable], 1),
        (vec![admit(0), drain(true)], 2),
        (vec![admit(7)], 2),
        (vec![admit(0), gone], 2),
    ] {
        let batch = encode_batch(Epoch(1), &operations);
        let batch = store::v1::Batch::decode(batch.as_slice()).expect("bytes");
        let schemas = batch.records.iter().map(|record| record.schema);
        assert_eq!(schemas.max(), Some(schema), "{operations:?}");
        let mut registry = Registry::default();
        operations
            .iter()
            .for_each(|operation| registry.apply(operation));
        let snapshot = encode_snapshot(&registry);
        let snapshot = store::v1::Snapshot::decode(snapshot.as_slice()).expect("bytes");
        // A snapshot says which numbers come next by itself.
        let is_known = operations == [admit(7)];
        assert_eq!(snapshot.schema, if is_known { 1 } else { schema });
    }
}
