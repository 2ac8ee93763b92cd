//! What masters of later versions say and this version does not know: it is told as the nearest that it does know, with the
//! number in the message. Pure.
//!
//! The numbers of task states are in their order, and from the first end on all are ends: so a state between two known ones is
//! told as the earlier of them, and an end that is not known as one of which nobody knows how it came.

use proffer_model::limits::TEXT_LEN_MAX;
use proffer_proto::v1;
use v1::session_event::Event;

/// The first number of a state that is an end.
const FIRST_END: i32 = v1::TaskState::Finished as i32;

/// The event, as far as its states and reasons go, in words of this version.
pub(crate) fn known(mut message: v1::SessionEvent) -> v1::SessionEvent {
    match &mut message.event {
        Some(Event::Updated(status)) => {
            reason_of(status);
            state_of(status);
        }
        // No reason at all would say that nothing is wanted back any more.
        Some(Event::Reclaim(reclaim)) if v1::Reason::try_from(reclaim.reason).is_err() => {
            reclaim.reason = v1::Reason::AgentDrained.into();
        }
        _ => {}
    }
    message
}

/// The same, of a status no more than which task it is of, and how that stands: what else it says cannot be read. None of
/// other events.
pub(crate) fn bare(message: &v1::SessionEvent) -> Option<v1::SessionEvent> {
    let Some(Event::Updated(status)) = &message.event else {
        return None;
    };
    let bare = v1::Status {
        task_id: status.task_id.clone(),
        incarnation: status.incarnation,
        agent_id: status.agent_id.clone(),
        number: status.number,
        state: status.state,
        reason: status.reason,
        message: "what else the status says cannot be read".to_owned(),
        wall_ms: status.wall_ms,
        ..v1::Status::default()
    };
    Some(known(v1::SessionEvent {
        event: Some(Event::Updated(bare)),
        ..message.clone()
    }))
}

fn reason_of(status: &mut v1::Status) {
    if v1::Reason::try_from(status.reason).is_err() {
        let number = std::mem::take(&mut status.reason);
        say(status, format!("reason {number}: "));
    }
}

fn state_of(status: &mut v1::Status) {
    let number = status.state;
    if number <= 0 || v1::TaskState::try_from(number).is_ok() {
        return;
    }
    let nearest = match number {
        FIRST_END.. => v1::TaskState::Lost.into(),
        _ => earlier_than(number),
    };
    status.state = nearest;
    say(status, format!("state {number}: "));
}

/// The last known state before this one; the first, when there is none.
fn earlier_than(number: i32) -> i32 {
    let first: i32 = v1::TaskState::Staging.into();
    let known = (first..number).rev();
    let mut known = known.filter(|number| v1::TaskState::try_from(*number).is_ok());
    known.next().unwrap_or(first)
}

fn say(status: &mut v1::Status, what: String) {
    status.message.insert_str(0, &what);
    let end = status.message.floor_char_boundary(TEXT_LEN_MAX);
    status.message.truncate(end);
}

#[cfg(test)]
mod tests {
    use proffer_model::session;
    use proffer_model::{Reason, Status, TaskState};
    use proffer_proto::decode_event;

    use super::*;

    fn told(event: Event) -> session::Event {
        let message = v1::SessionEvent {
            sequence: 1,
            epoch: 1,
            event: Some(event),
        };
        decode_event(known(message)).expect("it can be read").2
    }

    fn status(state: i32, reason: i32, message: &str) -> Status {
        let status = v1::Status {
            task_id: "t".to_owned(),
            incarnation: 1,
            number: 1,
            state,
            reason,
            message: message.to_owned(),
            ..v1::Status::default()
        };
        match told(Event::Updated(status)) {
            session::Event::Updated(status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_state_of_a_later_version_is_told_as_the_one_before_it_or_as_an_end() {
        let failed = v1::TaskState::Failed.into();
        assert_eq!(status(failed, 0, "gone").message, "gone");
        for (number, state) in [
            (1, TaskState::Staging),
            (65, TaskState::Staging),
            (224, TaskState::Running),
            (257, TaskState::Killing),
            (511, TaskState::Unreachable),
            (513, TaskState::Lost),
            (i32::MAX, TaskState::Lost),
        ] {
            let told = status(number, 0, "why");
            assert_eq!(
                (told.state, told.message),
                (state, format!("state {number}: why"))
            );
        }
    }

    #[test]
    fn a_reason_of_a_later_version_stands_in_the_message() {
        let (failed, exited) = (v1::TaskState::Failed.into(), v1::Reason::Exited.into());
        assert_eq!(status(failed, exited, "gone").reason, Reason::Exited);
        let later = status(failed, 99, "gone");
        assert_eq!(
            (later.reason, &*later.message),
            (Reason::None, "reason 99: gone")
        );
        let both = status(224, 99, &"x".repeat(TEXT_LEN_MAX));
        assert!(both.message.starts_with("state 224: reason 99: xx"));
        assert_eq!(both.message.len(), TEXT_LEN_MAX);
    }

    #[test]
    fn a_status_that_cannot_be_read_says_still_how_its_task_stands() {
        let status = v1::Status {
            task_id: "t".to_owned(),
            incarnation: 1,
            number: 1,
            state: v1::TaskState::Finished.into(),
            checks: vec![v1::CheckResult::default()],
            message: "x".repeat(TEXT_LEN_MAX + 1),
            ..v1::Status::default()
        };
        let message = v1::SessionEvent {
            sequence: 1,
            epoch: 1,
            event: Some(Event::Updated(status)),
        };
        decode_event(known(message.clone())).expect_err("it cannot be read");
        let (_, _, event) = decode_event(bare(&message).expect("a status")).expect("it can");
        let session::Event::Updated(status) = event else {
            panic!("it is one")
        };
        assert_eq!(
            (status.task.as_str(), status.state),
            ("t", TaskState::Finished)
        );
    }

    #[test]
    fn what_is_wanted_back_for_a_reason_of_a_later_version_is_wanted_back() {
        let reclaim = v1::Reclaim {
            task_ids: vec!["t".to_owned()],
            reason: 99,
            deadline_ms: None,
        };
        let session::Event::Reclaim { reason, .. } = told(Event::Reclaim(reclaim)) else {
            panic!("it is one")
        };
        assert_eq!(reason, Reason::AgentDrained);
    }
}
