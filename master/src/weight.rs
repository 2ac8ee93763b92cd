//! About how many bytes a message takes while it waits for a peer that reads slowly, and how many may wait.
//!
//! What is shared with others, such as ids, counts as little; what grows with what somebody wrote counts in full.

use proffer_master_core::effect::StateChange;
use proffer_model::link::ToAgent;
use proffer_model::operation::OperationResult;
use proffer_model::resources::Amount;
use proffer_model::session::{Answer, Event};
use proffer_model::{Offer, Problem};

use crate::inbox::{Numbered, Watched};
use crate::limits::{
    SESSION_OUTBOX_BYTES_MAX, SESSIONS_OUTBOX_BYTES_MAX, WATCH_OUTBOX_BYTES_MAX,
    WATCHES_OUTBOX_BYTES_MAX,
};

/// An entry of a small map or list besides its bytes.
const ENTRY: usize = 64;

/// What waits to be sent to a peer.
pub(crate) trait Weighed {
    /// Bytes that may wait for one peer.
    const PEER_BYTES_MAX: usize;
    /// Bytes that may wait for all peers of the kind together.
    const ALL_BYTES_MAX: usize;
    /// Bytes that it takes, about.
    fn weight(&self) -> usize;
}

/// Bound by their number alone: an agent has room for so many tasks.
impl Weighed for ToAgent {
    const PEER_BYTES_MAX: usize = usize::MAX;
    const ALL_BYTES_MAX: usize = usize::MAX;

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

impl Weighed for Numbered {
    const PEER_BYTES_MAX: usize = SESSION_OUTBOX_BYTES_MAX;
    const ALL_BYTES_MAX: usize = SESSIONS_OUTBOX_BYTES_MAX;

    fn weight(&self) -> usize {
        let besides = match &self.1 {
            Event::Answered { answer, .. } => of_answer(answer),
            Event::Offered(offers) => offers.iter().map(of_offer).sum(),
            Event::Rescinded(offers) => offers.len() * ENTRY,
            Event::Reclaim { tasks, .. } => tasks.len() * ENTRY,
            Event::Updated(status) => {
                status.message.len() + status.data.len() + status.checks.len() * ENTRY
            }
            Event::Message { data, .. } => data.len(),
            Event::ExecutorEnded { message, .. } => message.len(),
            Event::Closed(problem) => of_problem(problem),
            Event::Subscribed { .. }
            | Event::StandingBy { .. }
            | Event::SnapshotEnded
            | Event::AgentSettled(_)
            | Event::Heartbeat => 0,
        };
        size_of::<Self>() + besides
    }
}

impl Weighed for Watched {
    const PEER_BYTES_MAX: usize = WATCH_OUTBOX_BYTES_MAX;
    const ALL_BYTES_MAX: usize = WATCHES_OUTBOX_BYTES_MAX;

    fn weight(&self) -> usize {
        let besides = match self {
            Ok(StateChange::Put { value, .. }) => value.len(),
            Ok(StateChange::Deleted { .. } | StateChange::UpToDate) => 0,
            Err(problem) => of_problem(problem),
        };
        size_of::<Self>() + besides
    }
}

fn of_answer(answer: &Answer) -> usize {
    match answer {
        Answer::Done => 0,
        Answer::Accepted(results) => results.iter().map(of_result).sum(),
        Answer::Refused(problem) => of_problem(problem),
    }
}

fn of_result(result: &OperationResult) -> usize {
    let launches = result.launches().iter();
    let launches = launches.map(|launch| match &launch.outcome {
        Ok(_) => ENTRY,
        Err(problem) => ENTRY + of_problem(problem),
    });
    let refused = match result {
        OperationResult::Refused(problem) => of_problem(problem),
        _ => 0,
    };
    size_of::<OperationResult>() + refused + launches.sum::<usize>()
}

fn of_problem(problem: &Problem) -> usize {
    size_of::<Problem>() + problem.field.len() + problem.message.len() + problem.hint.len()
}

fn of_offer(offer: &Offer) -> usize {
    let ordinary = offer.resources.ordinary().map(|(_, amount)| amount);
    let special = offer.resources.special().map(|(_, amount)| amount);
    let amounts = ordinary.chain(special).map(|amount| match amount {
        Amount::Scalar(_) => 0,
        Amount::Ranges(set) => set.ranges().len() * 16,
        Amount::Set(set) => set.iter().map(|item| ENTRY + item.len()).sum(),
        Amount::Whole(_) => ENTRY,
    });
    let amounts: usize = amounts.map(|bytes| 2 * ENTRY + bytes).sum();
    let texts = offer.host.len() + offer.address.len();
    let attributes = offer.attributes.iter().count() * 2 * ENTRY;
    size_of::<Offer>() + texts + attributes + amounts + offer.fits.len() * ENTRY
}

#[cfg(test)]
impl Weighed for u32 {
    const PEER_BYTES_MAX: usize = usize::MAX;
    const ALL_BYTES_MAX: usize = usize::MAX;

    fn weight(&self) -> usize {
        size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_counts_in_full() {
        let message = |len| -> Numbered {
            let event = Event::Message {
                agent: "a".parse().expect("id"),
                executor: "e".parse().expect("id"),
                data: vec![0; len],
            };
            (1, event)
        };
        assert_eq!(message(1_000).weight() - message(0).weight(), 1_000);
        let refused = |len: usize| -> Numbered {
            let problem = Problem::new(proffer_model::code::INTERNAL, "x".repeat(len));
            let answer = Answer::Refused(problem);
            (1, Event::Answered { request: 1, answer })
        };
        assert_eq!(refused(1_000).weight() - refused(0).weight(), 1_000);
        let value = |len| -> Watched {
            Ok(StateChange::Put {
                key: "k".parse().expect("key"),
                value: vec![0; len],
                version: 1,
            })
        };
        assert_eq!(value(1_000).weight() - value(0).weight(), 1_000);
    }
}
