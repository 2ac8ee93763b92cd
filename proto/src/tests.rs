//! Every value of the model survives the wire, no bytes break a decoder, and bad input is named by code and field.

mod decisions;
mod given;
mod hello;
mod images;
mod kept;
mod numbers;
mod old;
mod refusals;
mod values;

use proffer_model::registry::Registry;
use proptest::prelude::*;
use prost::Message;

use crate::{
    checkpoint, decode_agent_identity, decode_batch, decode_call, decode_event, decode_problem,
    decode_run, decode_snapshot, decode_status_entry, decode_to_agent, decode_to_master,
    encode_agent_identity, encode_batch, encode_call, encode_event, encode_problem, encode_run,
    encode_snapshot, encode_status_entry, encode_to_agent, encode_to_master, problem_of, status_of,
    v1,
};

/// The message as it arrives: through bytes.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(message.encode_to_vec().as_slice()).expect("own bytes")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn calls_survive(request in any::<u64>(), call in values::call()) {
        let decoded = decode_call(sent(&encode_call(request, &call)));
        prop_assert_eq!(decoded, Ok((request, call)));
    }

    #[test]
    fn events_survive(sequence in any::<u64>(), (epoch, event) in values::event()) {
        let decoded = decode_event(sent(&encode_event(sequence, epoch, &event)));
        prop_assert_eq!(decoded, Ok((sequence, epoch, event)));
    }

    #[test]
    fn what_agents_say_survives(message in values::to_master()) {
        prop_assert_eq!(decode_to_master(sent(&encode_to_master(&message))), Ok(message));
    }

    #[test]
    fn what_agents_are_told_survives(message in values::to_agent()) {
        prop_assert_eq!(decode_to_agent(sent(&encode_to_agent(&message))), Ok(message));
    }

    #[test]
    fn batches_and_what_they_add_up_to_survive(
        epoch in values::epoch(),
        operations in prop::collection::vec(values::operation(), 0..12),
    ) {
        let mut registry = Registry::default();
        operations.iter().for_each(|operation| registry.apply(operation));
        prop_assert_eq!(decode_batch(&encode_batch(epoch, &operations)), Ok((epoch, operations)));
        prop_assert_eq!(decode_snapshot(&encode_snapshot(&registry)), Ok(registry));
    }

    #[test]
    fn checkpoints_survive(
        identity in kept::identity(),
        run in kept::run(),
        entry in kept::status_entry(),
    ) {
        let decoded = decode_agent_identity(sent(&encode_agent_identity(&identity)));
        prop_assert_eq!(decoded, Ok(identity));
        prop_assert_eq!(decode_run(sent(&encode_run(&run))), Ok(run));
        prop_assert_eq!(decode_status_entry(sent(&encode_status_entry(&entry))), Ok(entry));
    }

    #[test]
    fn problems_survive_alone_and_in_a_status(problem in values::problem()) {
        prop_assert_eq!(&decode_problem(sent(&encode_problem(&problem))), &problem);
        prop_assert_eq!(problem_of(&status_of(problem.clone())), problem);
    }

    #[test]
    fn no_bytes_break_a_decoder(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_everything(&bytes);
    }

    #[test]
    fn no_damage_breaks_a_decoder(
        call in values::call(),
        (epoch, event) in values::event(),
        message in values::to_master(),
        operations in prop::collection::vec(values::operation(), 0..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for mut bytes in [
            encode_call(1, &call).encode_to_vec(),
            encode_event(1, epoch, &event).encode_to_vec(),
            encode_to_master(&message).encode_to_vec(),
            encode_batch(epoch, &operations),
        ] {
            for (index, byte) in &damage {
                if !bytes.is_empty() {
                    let at = index.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            decode_everything(&bytes);
        }
    }
}

/// Gives the bytes to every decoder; a refusal must have a code and a message.
fn decode_everything(bytes: &[u8]) {
    fn refused<T>(decoded: Result<T, proffer_model::Problem>) {
        if let Err(problem) = decoded {
            assert!(!problem.code.is_empty() && !problem.message.is_empty());
        }
    }
    v1::SessionCall::decode(bytes)
        .map(decode_call)
        .map(refused)
        .ok();
    v1::SessionEvent::decode(bytes)
        .map(decode_event)
        .map(refused)
        .ok();
    v1::ToMaster::decode(bytes)
        .map(decode_to_master)
        .map(refused)
        .ok();
    v1::ToAgent::decode(bytes)
        .map(decode_to_agent)
        .map(refused)
        .ok();
    v1::Problem::decode(bytes).map(decode_problem).ok();
    refused(decode_batch(bytes));
    refused(decode_snapshot(bytes));
    let identity = checkpoint::v1::AgentIdentity::decode(bytes);
    identity.map(decode_agent_identity).map(refused).ok();
    checkpoint::v1::Run::decode(bytes)
        .map(decode_run)
        .map(refused)
        .ok();
    let entry = checkpoint::v1::StatusEntry::decode(bytes);
    entry.map(decode_status_entry).map(refused).ok();
    let status = tonic::Status::with_details(tonic::Code::Internal, "", bytes.to_vec().into());
    assert!(!problem_of(&status).message.is_empty() || !bytes.is_empty());
}
