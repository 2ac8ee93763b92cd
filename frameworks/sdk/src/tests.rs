//! The SDK against a master that does what the test says, over real connections.

mod calling;
mod examples;
mod finding;
mod keeping;
mod lasting;
mod later;
mod repeating;
mod scheduling;
mod settling;

use std::net::SocketAddr;

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{
    Demand, DemandEntry, DemandId, Incarnation, Problem, Reason, Role, Secret, Status, TaskId,
    TaskState,
};

use crate::testing::{FakeSession, within};
use crate::{ConnectOptions, Events, Framework, Handle};

fn role() -> Role {
    Role::new("web").unwrap()
}

pub(crate) fn task(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

fn options(masters: &[SocketAddr]) -> ConnectOptions {
    let masters = masters.iter().map(ToString::to_string);
    let mut options = ConnectOptions::new(masters, "test", [role()]);
    options.token = Some(Secret::new("t0ken"));
    options
}

fn connect(masters: &[SocketAddr]) -> (Handle, Events) {
    Framework::connect(options(masters)).expect("good options")
}

async fn next(events: &mut Events) -> Event {
    within(events.next()).await.expect("one more event").event
}

/// Says that so much is wanted in a role, which the master answers so. What the master heard, and what the author was told.
async fn wanted(
    handle: &Handle,
    session: &mut FakeSession,
    (role, count): (Role, u32),
    answer: Answer,
) -> (Demand, Result<(), Problem>) {
    let id = DemandId::new("work").unwrap();
    let entry = DemandEntry::new(id, count, "cpus:1".parse().unwrap());
    let setting = within(handle.set_demand(role, vec![entry]));
    let hearing = async {
        let (request, call) = session.call_that(is_demand).await;
        session.answer(request, answer).await;
        match call {
            Call::SetDemand(demand) => demand,
            other => panic!("{other:?}"),
        }
    };
    let (told, heard) = tokio::join!(setting, hearing);
    (heard, told)
}

fn is_demand(call: &Call) -> bool {
    matches!(call, Call::SetDemand(_))
}

fn updated(id: &str) -> Event {
    status(id, 1, TaskState::Running)
}

pub(crate) fn status(id: &str, number: u64, state: TaskState) -> Event {
    Event::Updated(Status {
        task: task(id),
        incarnation: Incarnation(1),
        agent: None,
        number,
        state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 0,
        data: Vec::new(),
    })
}
