//! Many things that happen together are one step: one batch, one allocation, one row of each.

use proffer_model::TaskState;
use proffer_model::link::ToMaster;
use proffer_model::session::Call;

use super::world::{World, principal, spec, status};
use crate::effect::{After, Fact};
use crate::event::{Event, OperatorCall, RequestId};

#[test]
fn changes_that_are_asked_for_together_are_durable_in_one_batch_and_shown_once() {
    let mut world = World::new();
    let agents = ["a", "b"].map(|host| {
        let link = world.agent(host, "cpus:4");
        world.welcomed(link)
    });
    world.is_writing = false;
    world.facts.clear();
    let [a, b] = agents;
    let calls = [
        OperatorCall::DeactivateAgent { agent: a.clone() },
        OperatorCall::DeactivateAgent { agent: b },
        OperatorCall::ReactivateAgent { agent: a },
    ];
    let events = (901..)
        .zip(calls)
        .map(|(request, call)| Event::OperatorRequested {
            request: RequestId(request),
            principal: principal("p"),
            call,
        });
    world.step_together(events.collect());
    let batch = world.pending.expect("one batch");
    for request in 901..=903 {
        let (reply, after) = &world.replies[&RequestId(request)];
        assert_eq!((reply.is_ok(), *after), (true, After::Seq(batch)));
    }
    let rows = world.facts.iter();
    let rows = rows.filter(|fact| matches!(fact, Fact::Agent(_)));
    assert_eq!(rows.count(), 2);
}

#[test]
fn a_task_that_ends_and_is_forgotten_in_one_step_is_shown_at_its_end() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.facts.clear();
    let says = |number, state| Event::LinkMessage {
        link,
        message: ToMaster::Updated {
            framework: framework.clone(),
            status: status("t", incarnation, number, state),
            latest: state,
        },
    };
    let teardown = Event::CallReceived {
        session,
        principal: principal("p"),
        request: 900,
        call: Call::Teardown,
    };
    world.step_together(vec![
        says(1, TaskState::Running),
        says(2, TaskState::Finished),
        teardown,
    ]);
    let shown: Vec<_> = world
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Task(row) => Some(format!("{} {}", row.name(), row.told.state)),
            Fact::FrameworkGone { .. } => Some("gone".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["t finished", "gone"]);
}
