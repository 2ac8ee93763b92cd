//! How a task stands, and what it waits for: its agent, its framework, its end. Made of what the master lists of the three.

use proffer_proto::v1;
use serde_json::{Value, json};

use super::one_a_line;
use crate::task;
use crate::units::format_age;
use crate::verbs::list::task_json;

/// A task with its agent and its framework, as far as the master knows them.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) task: v1::Task,
    pub(super) agent: Option<v1::Agent>,
    pub(super) framework: Option<v1::Framework>,
    /// It was asked about with its framework, because others may have one of its id.
    pub(super) is_of_named: bool,
}

/// In words.
pub(super) fn in_words(found: &Found, now_ms: u64) -> String {
    let task = &found.task;
    let status = task.status.clone().unwrap_or_default();
    let mut first = format!(
        "task {}: {} for {}",
        task.id,
        task::state_word(status.state()),
        format_age(now_ms, status.wall_ms),
    );
    first += &match (task.host.as_str(), task.agent_id.as_str()) {
        ("", "") => String::new(),
        ("", agent) => format!(" on agent {agent}, which the master knows no more"),
        (host, _) => format!(" on {host}"),
    };
    match status.healthy {
        Some(true) => first += ", healthy",
        Some(false) => first += ", unhealthy",
        None => {}
    }
    let mut lines = vec![first];
    lines.extend(last_word(&status).map(|words| format!("- {words}")));
    lines.extend(
        waits_for(found, now_ms)
            .into_iter()
            .map(|words| format!("- {words}")),
    );
    lines.push(format!("- it is of framework {}", task.framework_id));
    // Without an address there is nobody to ask for what it wrote.
    if task::has_ended(task) && !task.agent_address.is_empty() {
        let of_framework = match found.is_of_named {
            true => format!(" --framework {}", task.framework_id),
            false => String::new(),
        };
        let id = &task.id;
        lines.push(format!(
            "- `proffer logs {id}{of_framework}` shows what it wrote"
        ));
    }
    one_a_line(&lines)
}

/// The same as data.
pub(super) fn in_json(found: &Found, now_ms: u64) -> Value {
    let mut value = task_json(&found.task);
    if let Value::Object(object) = &mut value {
        object.insert("waits_for".to_owned(), json!(waits_for(found, now_ms)));
        let agent = found.agent.as_ref();
        let state = agent.map(state_of);
        object.insert("agent_state".to_owned(), json!(state));
        let connected = found
            .framework
            .as_ref()
            .map(|framework| framework.connected);
        object.insert("framework_connected".to_owned(), json!(connected));
        let drain = agent.and_then(|agent| agent.drain.as_ref());
        let drain = drain.filter(|_| !task::has_ended(&found.task));
        object.insert("wanted_back".to_owned(), json!(drain.is_some()));
        let until = drain.and_then(|drain| drain.ends_wall_ms);
        object.insert("killed_at_wall_ms".to_owned(), json!(until));
    }
    value
}

/// What its last status says of why, and how it ended.
fn last_word(status: &v1::Status) -> Option<String> {
    // A message says how it ended by itself.
    let exit = match status.exit.filter(|_| status.message.is_empty()) {
        Some(v1::status::Exit::ExitCode(code)) => format!("exit code {code}"),
        Some(v1::status::Exit::ExitSignal(signal)) => format!("signal {signal}"),
        None => String::new(),
    };
    let reason = task::reason_word(status.reason()).replace('_', " ");
    let parts = [reason, status.message.clone(), exit];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(": "))
}

/// What it waits for, one thing a line; nothing when it runs and nobody wants it to end, or when it is over.
fn waits_for(found: &Found, now_ms: u64) -> Vec<String> {
    let task = &found.task;
    let status = task.status.clone().unwrap_or_default();
    if task::has_ended(task) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let state = found.agent.as_ref().map(state_of);
    let id = &task.agent_id;
    let is_there = state == Some("connected");
    let its_agent = match state {
        Some(state) => format!("its agent {id} is {state}"),
        None => format!("the master knows its agent {id} no more"),
    };
    match status.state() {
        v1::TaskState::Staging if is_there => lines.push(format!(
            "it waits until its agent {id}, which is connected, has started it"
        )),
        v1::TaskState::Staging => lines.push(format!(
            "it waits until its agent is back to start it, or to say how it stands: {its_agent}"
        )),
        v1::TaskState::Starting if is_there => lines.push(
            "it waits for what comes before its command: its image, its volumes, its executor".to_owned(),
        ),
        v1::TaskState::Killing if is_there => lines.push(format!(
            "it was told to end: SIGTERM, and SIGKILL when its grace is over; its agent {id} is connected"
        )),
        v1::TaskState::Killing => lines.push(format!(
            "it was told to end, and its agent is told again when it is back: {its_agent}"
        )),
        v1::TaskState::Unreachable => lines.push(format!(
            "{its_agent}, declared {} ago: whether it still runs is known when the agent is back; it is never given up by \
             itself, and its framework may have started another in its place",
            format_age(now_ms, status.wall_ms)
        )),
        _ if !is_there => lines.push(format!("{its_agent}: it may have ended meanwhile")),
        _ => {}
    }
    lines.extend(found.agent.as_ref().and_then(|agent| drains(agent, now_ms)));
    if found
        .framework
        .as_ref()
        .is_some_and(|framework| !framework.connected)
    {
        lines.push("its framework has no session: it hears of the task when it is back".to_owned());
    }
    lines
}

/// That it is wanted back because its agent is to be empty, and until when.
fn drains(agent: &v1::Agent, now_ms: u64) -> Option<String> {
    let drain = agent.drain.as_ref()?;
    let since = format_age(now_ms, drain.since_wall_ms);
    let words = format!("its agent is to be empty since {since}, and its framework was told so");
    Some(match drain.ends_wall_ms {
        Some(ends) if ends <= now_ms => format!("{words}: its time is over, and it is killed"),
        Some(ends) => {
            let left = format_age(ends, now_ms);
            format!("{words}: it is killed in {left} unless it ends before")
        }
        None => format!("{words}: there is no deadline, and nothing kills it"),
    })
}

fn state_of(agent: &v1::Agent) -> &'static str {
    match agent.state() {
        v1::AgentState::Unspecified => "unknown",
        v1::AgentState::Recovering => "recovering",
        v1::AgentState::Connected => "connected",
        v1::AgentState::Suspect => "suspect",
        v1::AgentState::Unreachable => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(state: v1::TaskState, agent: v1::AgentState) -> Found {
        Found {
            task: v1::Task {
                id: "t1".to_owned(),
                host: "h".to_owned(),
                agent_id: "a1".to_owned(),
                agent_address: "h:5051".to_owned(),
                framework_id: "f".to_owned(),
                status: Some(v1::Status {
                    state: state.into(),
                    wall_ms: 1_000,
                    ..v1::Status::default()
                }),
                ..v1::Task::default()
            },
            agent: Some(v1::Agent {
                id: "a1".to_owned(),
                state: agent.into(),
                ..v1::Agent::default()
            }),
            framework: Some(v1::Framework {
                id: "f".to_owned(),
                connected: true,
                ..v1::Framework::default()
            }),
            is_of_named: false,
        }
    }

    #[test]
    fn what_has_ended_says_how_and_waits_for_nothing() {
        let mut ended = found(v1::TaskState::Failed, v1::AgentState::Connected);
        let status = ended.task.status.as_mut().unwrap();
        status.message = "exited with code 3".to_owned();
        status.exit = Some(v1::status::Exit::ExitSignal(9));
        status.set_reason(v1::Reason::CheckFailed);
        ended.framework = None;
        let expected = "\
task t1: failed for 5s on h
- check failed: exited with code 3
- it is of framework f
- `proffer logs t1` shows what it wrote";
        assert_eq!(in_words(&ended, 6_000), expected);
        ended.is_of_named = true;
        let told = in_words(&ended, 6_000);
        assert!(told.contains("`proffer logs t1 --framework f`"), "{told}");
        assert_eq!(in_json(&ended, 6_000)["waits_for"], json!([]));
    }

    #[test]
    fn what_was_on_an_agent_that_is_gone_names_it_and_no_logs() {
        let mut lost = found(v1::TaskState::Lost, v1::AgentState::Connected);
        (lost.agent, lost.framework) = (None, None);
        lost.task.host.clear();
        lost.task.agent_address.clear();
        let expected = "\
task t1: lost for 5s on agent a1, which the master knows no more
- it is of framework f";
        assert_eq!(in_words(&lost, 6_000), expected);
    }

    #[test]
    fn what_has_not_ended_says_what_it_waits_for() {
        use v1::{AgentState as A, TaskState as T};
        for (state, agent, words) in [
            (
                T::Staging,
                A::Connected,
                "until its agent a1, which is connected, has started it",
            ),
            (T::Staging, A::Recovering, "its agent a1 is recovering"),
            (T::Starting, A::Connected, "what comes before its command"),
            (T::Killing, A::Connected, "it was told to end: SIGTERM"),
            (
                T::Killing,
                A::Suspect,
                "told again when it is back: its agent a1 is suspect",
            ),
            (
                T::Unreachable,
                A::Unreachable,
                "its agent a1 is unreachable, declared 5s ago",
            ),
            (
                T::Running,
                A::Suspect,
                "its agent a1 is suspect: it may have ended",
            ),
        ] {
            let found = found(state, agent);
            let text = in_words(&found, 6_000);
            assert!(text.contains(words), "{text}");
            let told = in_json(&found, 6_000)["waits_for"].to_string();
            assert!(told.contains(words), "{told}");
        }
        let fine = found(T::Running, A::Connected);
        assert_eq!(
            in_words(&fine, 6_000),
            "task t1: running for 5s on h\n- it is of framework f"
        );
        let mut gone = found(T::Unreachable, A::Unreachable);
        gone.agent = None;
        assert!(in_words(&gone, 6_000).contains("the master knows its agent a1 no more"));
    }

    #[test]
    fn what_is_wanted_back_says_until_when() {
        let mut wanted = found(v1::TaskState::Running, v1::AgentState::Connected);
        let drain = |ends_wall_ms| v1::Drain {
            since_wall_ms: 1_000,
            ends_wall_ms,
            ..v1::Drain::default()
        };
        for (ends, words) in [
            (
                None,
                "since 5s, and its framework was told so: there is no deadline",
            ),
            (Some(36_000), "it is killed in 30s unless it ends before"),
            (Some(5_000), "its time is over"),
        ] {
            wanted.agent.as_mut().unwrap().drain = Some(drain(ends));
            let text = in_words(&wanted, 6_000);
            assert!(text.contains(words), "{text}");
            let value = in_json(&wanted, 6_000);
            assert_eq!(value["killed_at_wall_ms"], json!(ends));
            assert_eq!(value["wanted_back"], json!(true));
        }
        wanted.framework.as_mut().unwrap().connected = false;
        let text = in_words(&wanted, 6_000);
        assert!(text.contains("its framework has no session"), "{text}");
    }
}
