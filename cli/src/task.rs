//! Tasks as the master lists them: which app they are of, and the words for their states.

use proffer_model::TaskState;
use proffer_proto::{encode_task_state, v1};

use crate::limits::TASK_PART_LEN_MIN;

/// Whether a name is a part of an id, long enough to be meant as one; `…` stands for what a table has left out.
pub(crate) fn is_part(name: &str, id: &str) -> bool {
    match name.split_once('…') {
        Some((begin, end)) => id.starts_with(begin) && id.ends_with(end),
        None => name.len() >= TASK_PART_LEN_MIN && id.contains(name),
    }
}

/// Whether the services made the task for this app. They name tasks after the app's path from its end, as in DNS:
/// `/prod/web` has tasks called `web.prod`.
pub(crate) fn is_of_app(task: &v1::Task, app: &str) -> bool {
    let mut segments: Vec<&str> = app
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    segments.reverse();
    !segments.is_empty() && task.name == segments.join(".")
}

/// Whether it is over.
pub(crate) fn has_ended(task: &v1::Task) -> bool {
    task.status
        .as_ref()
        .is_some_and(|status| i32::from(status.state()) >= i32::from(v1::TaskState::Finished))
}

/// Where it answers, as far as that is known.
pub(crate) fn address(task: &v1::Task) -> String {
    match task.ports.first() {
        Some(port) => format!("{}:{}", task.host, port.number),
        None => task.host.clone(),
    }
}

/// The word for a state.
pub(crate) fn state_word(state: v1::TaskState) -> &'static str {
    match state {
        v1::TaskState::Unspecified => "unknown",
        v1::TaskState::Staging => "staging",
        v1::TaskState::Starting => "starting",
        v1::TaskState::Running => "running",
        v1::TaskState::Killing => "killing",
        v1::TaskState::Unreachable => "unreachable",
        v1::TaskState::Finished => "finished",
        v1::TaskState::Failed => "failed",
        v1::TaskState::Killed => "killed",
        v1::TaskState::Error => "error",
        v1::TaskState::Dropped => "dropped",
        v1::TaskState::Lost => "lost",
    }
}

/// The state of a word.
pub(crate) fn parse_state(word: &str) -> Result<v1::TaskState, String> {
    let states = TaskState::ALL.into_iter().map(encode_task_state);
    let states: Vec<v1::TaskState> = states.collect();
    let found = states.iter().find(|state| state_word(**state) == word);
    found.copied().ok_or_else(|| {
        let words: Vec<&str> = states.iter().map(|state| state_word(*state)).collect();
        format!("there is no such state; states are {}", words.join(" "))
    })
}

/// The word for a reason: `check_failed` and the like.
pub(crate) fn reason_word(reason: v1::Reason) -> String {
    match reason {
        v1::Reason::Unspecified => String::new(),
        reason => reason
            .as_str_name()
            .trim_start_matches("REASON_")
            .to_lowercase(),
    }
}

/// The word for a protocol.
pub(crate) fn protocol_word(protocol: v1::Protocol) -> &'static str {
    match protocol {
        v1::Protocol::Unspecified | v1::Protocol::Tcp => "tcp",
        v1::Protocol::Udp => "udp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_named_after_their_app() {
        let task = v1::Task {
            name: "web.prod".to_owned(),
            ..v1::Task::default()
        };
        assert!(is_of_app(&task, "/prod/web"));
        assert!(is_of_app(&task, "prod/web/"));
        for other in ["web", "/web/prod", "/prod", "", "/"] {
            assert!(!is_of_app(&task, other), "{other}");
        }
    }

    #[test]
    fn states_and_reasons_have_words() {
        assert_eq!(reason_word(v1::Reason::CheckFailed), "check_failed");
        for state in [v1::TaskState::Staging, v1::TaskState::Lost] {
            assert_eq!(parse_state(state_word(state)), Ok(state));
        }
        let told = parse_state("runing").unwrap_err();
        assert!(told.contains("running killing unreachable"), "{told}");
        let status = |state: v1::TaskState| v1::Status {
            state: state.into(),
            ..v1::Status::default()
        };
        let ended = |state| {
            has_ended(&v1::Task {
                status: Some(status(state)),
                ..v1::Task::default()
            })
        };
        assert!(ended(v1::TaskState::Failed) && ended(v1::TaskState::Lost));
        assert!(!ended(v1::TaskState::Running) && !ended(v1::TaskState::Unreachable));
    }
}
