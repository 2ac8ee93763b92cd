//! What a framework is told, one function for each of Mesos's events.

use proffer_model::{AgentId, ExecutorId, FrameworkId, OfferId};
use proffer_proto::mesos::v1;
use proffer_proto::mesos::v1::scheduler::{Event, event};

fn of(r#type: event::Type) -> Event {
    Event {
        r#type: Some(r#type.into()),
        ..Event::default()
    }
}

pub(super) fn agent_id(agent: &AgentId) -> v1::AgentId {
    v1::AgentId {
        value: agent.to_string(),
    }
}

pub(super) fn subscribed(
    framework: &FrameworkId,
    heartbeat_seconds: f64,
    master: v1::MasterInfo,
) -> Event {
    let subscribed = event::Subscribed {
        framework_id: v1::FrameworkId {
            value: framework.to_string(),
        },
        heartbeat_interval_seconds: Some(heartbeat_seconds),
        master_info: Some(master),
    };
    Event {
        subscribed: Some(subscribed),
        ..of(event::Type::Subscribed)
    }
}

pub(super) fn heartbeat() -> Event {
    of(event::Type::Heartbeat)
}

pub(super) fn error(message: &str) -> Event {
    let error = event::Error {
        message: message.to_owned(),
    };
    Event {
        error: Some(error),
        ..of(event::Type::Error)
    }
}

pub(super) fn offers(offers: Vec<v1::Offer>) -> Event {
    Event {
        offers: Some(event::Offers { offers }),
        ..of(event::Type::Offers)
    }
}

pub(super) fn rescind(offer: &OfferId) -> Event {
    let offer_id = v1::OfferId {
        value: offer.to_string(),
    };
    Event {
        rescind: Some(event::Rescind { offer_id }),
        ..of(event::Type::Rescind)
    }
}

pub(super) fn inverse_offers(inverse_offers: Vec<v1::InverseOffer>) -> Event {
    Event {
        inverse_offers: Some(event::InverseOffers { inverse_offers }),
        ..of(event::Type::InverseOffers)
    }
}

pub(super) fn rescind_inverse_offer(id: &str) -> Event {
    let inverse_offer_id = v1::OfferId {
        value: id.to_owned(),
    };
    Event {
        rescind_inverse_offer: Some(event::RescindInverseOffer { inverse_offer_id }),
        ..of(event::Type::RescindInverseOffer)
    }
}

pub(super) fn update(status: v1::TaskStatus) -> Event {
    Event {
        update: Some(event::Update { status }),
        ..of(event::Type::Update)
    }
}

pub(super) fn operation_told(status: v1::OperationStatus) -> Event {
    Event {
        update_operation_status: Some(event::UpdateOperationStatus { status }),
        ..of(event::Type::UpdateOperationStatus)
    }
}

pub(super) fn operation_status(
    id: &v1::OperationId,
    state: v1::OperationState,
    message: Option<String>,
) -> Event {
    operation_told(v1::OperationStatus {
        operation_id: Some(id.clone()),
        state: state.into(),
        message,
        ..v1::OperationStatus::default()
    })
}

/// An operation is done on its agent, and its resources are these.
pub(super) fn operation_finished(
    id: &v1::OperationId,
    agent: Option<&AgentId>,
    converted_resources: Vec<v1::Resource>,
) -> Event {
    operation_told(v1::OperationStatus {
        operation_id: Some(id.clone()),
        state: v1::OperationState::OperationFinished.into(),
        agent_id: agent.map(agent_id),
        converted_resources,
        ..v1::OperationStatus::default()
    })
}

pub(super) fn message(agent: &AgentId, executor: &ExecutorId, data: Vec<u8>) -> Event {
    let message = event::Message {
        agent_id: agent_id(agent),
        executor_id: v1::ExecutorId {
            value: executor.to_string(),
        },
        data,
    };
    Event {
        message: Some(message),
        ..of(event::Type::Message)
    }
}

/// An agent is lost, or an executor has ended; how is not known as a number.
pub(super) fn failure(agent: &AgentId, executor: Option<&ExecutorId>) -> Event {
    let failure = event::Failure {
        agent_id: Some(agent_id(agent)),
        executor_id: executor.map(|executor| v1::ExecutorId {
            value: executor.to_string(),
        }),
        status: executor.map(|_| -1),
    };
    Event {
        failure: Some(failure),
        ..of(event::Type::Failure)
    }
}
