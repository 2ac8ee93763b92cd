//! How large answers of the operator API are written. As JSON they are written row by row, with the lists that Mesos always
//! has, empty or not; as protobuf they are the messages.

use proffer_proto::mesos::v1::master::response::{
    GetAgents, GetExecutors, GetFrameworks, GetState, GetTasks,
};
use proffer_proto::mesos::v1::master::{Event, Response, event};
use proffer_proto::mesos::{Readable, write_json};
use prost::Message;

use super::json::{Object, page};

/// A part of an answer whose lists are always there.
pub(super) trait Part {
    /// Its fields.
    fn fields(&self, object: &mut Object<'_>);
}

fn all<M: Readable>(object: &mut Object<'_>, name: &str, messages: &[M]) {
    object.array(name, |array| {
        messages
            .iter()
            .for_each(|message| array.raw(&write_json(message)));
    });
}

fn part<P: Part>(object: &mut Object<'_>, name: &str, part: Option<&P>) {
    if let Some(part) = part {
        object.object(name, |object| part.fields(object));
    }
}

impl Part for GetAgents {
    fn fields(&self, object: &mut Object<'_>) {
        all(object, "agents", &self.agents);
        all(object, "recovered_agents", &self.recovered_agents);
    }
}

impl Part for GetFrameworks {
    fn fields(&self, object: &mut Object<'_>) {
        all(object, "frameworks", &self.frameworks);
        all(object, "completed_frameworks", &self.completed_frameworks);
    }
}

impl Part for GetExecutors {
    fn fields(&self, object: &mut Object<'_>) {
        all(object, "executors", &self.executors);
    }
}

impl Part for GetTasks {
    fn fields(&self, object: &mut Object<'_>) {
        all(object, "tasks", &self.tasks);
        all(object, "unreachable_tasks", &self.unreachable_tasks);
        all(object, "completed_tasks", &self.completed_tasks);
    }
}

impl Part for GetState {
    fn fields(&self, object: &mut Object<'_>) {
        part(object, "get_tasks", self.get_tasks.as_ref());
        part(object, "get_executors", self.get_executors.as_ref());
        part(object, "get_frameworks", self.get_frameworks.as_ref());
        part(object, "get_agents", self.get_agents.as_ref());
    }
}

/// An answer in JSON.
pub(super) fn response_json(response: &Response) -> Vec<u8> {
    let has_part = response.get_state.is_some()
        || response.get_agents.is_some()
        || response.get_frameworks.is_some()
        || response.get_executors.is_some()
        || response.get_tasks.is_some();
    if !has_part {
        return write_json(response);
    }
    page(response.encoded_len().saturating_mul(3), |object| {
        object.text("type", response.r#type().as_str_name());
        part(object, "get_state", response.get_state.as_ref());
        part(object, "get_agents", response.get_agents.as_ref());
        part(object, "get_frameworks", response.get_frameworks.as_ref());
        part(object, "get_executors", response.get_executors.as_ref());
        part(object, "get_tasks", response.get_tasks.as_ref());
    })
}

/// The first event of a stream in JSON.
pub(super) fn subscribed_json(subscribed: &event::Subscribed) -> Vec<u8> {
    page(subscribed.encoded_len().saturating_mul(3), |object| {
        object.text("type", event::Type::Subscribed.as_str_name());
        object.object("subscribed", |object| {
            part(object, "get_state", subscribed.get_state.as_ref());
            let interval = subscribed.heartbeat_interval_seconds();
            object.number("heartbeat_interval_seconds", interval);
        });
    })
}

/// An event with its name.
pub(super) fn event(kind: event::Type) -> Event {
    Event {
        r#type: Some(kind.into()),
        ..Event::default()
    }
}

#[cfg(test)]
mod tests {
    use proffer_proto::mesos::v1::master::response;

    use super::*;

    #[test]
    fn lists_are_there_though_they_are_empty() {
        let executors = Response {
            r#type: Some(response::Type::GetExecutors.into()),
            get_executors: Some(GetExecutors::default()),
            ..Response::default()
        };
        assert_eq!(
            response_json(&executors),
            br#"{"type":"GET_EXECUTORS","get_executors":{"executors":[]}}"#
        );
        let operations = Response {
            r#type: Some(response::Type::GetOperations.into()),
            get_operations: Some(response::GetOperations::default()),
            ..Response::default()
        };
        assert_eq!(
            response_json(&operations),
            br#"{"type":"GET_OPERATIONS","get_operations":{}}"#
        );
        let subscribed = event::Subscribed {
            get_state: Some(GetState {
                get_tasks: Some(GetTasks::default()),
                ..GetState::default()
            }),
            heartbeat_interval_seconds: Some(15.0),
        };
        assert_eq!(
            String::from_utf8(subscribed_json(&subscribed)).expect("text"),
            concat!(
                r#"{"type":"SUBSCRIBED","subscribed":{"get_state":{"get_tasks":"#,
                r#"{"tasks":[],"unreachable_tasks":[],"completed_tasks":[]}},"#,
                r#""heartbeat_interval_seconds":15.0}}"#
            )
        );
    }
}
