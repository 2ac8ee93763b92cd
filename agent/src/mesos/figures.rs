//! `/metrics/snapshot` of an agent: the figures that Mesos's exporters read, by their names there.
//!
//! What Mesos counts since its start is counted here over what is known: tasks that have ended, as long as they are kept.
#![allow(
    clippy::float_arithmetic,
    reason = "Mesos's figures are floating point numbers; nothing is decided by them"
)]

use std::collections::{BTreeMap, BTreeSet};

use proffer_agent_core::TaskRow;
use proffer_model::{Resources, TaskState};
use proffer_proto::mesos::{encode_mesos_state, encode_told_state, state_said, v1};
use proffer_server::mesos_figures::{Figures, count_of, of_host, of_resources};

/// Of an agent that has so much, with these tasks, for so many seconds.
pub(super) fn of_agent(
    resources: &Resources,
    rows: &[TaskRow],
    is_registered: bool,
    uptime: f64,
) -> Figures {
    let mut figures = of_host();
    let mut set = |name: &str, value: f64| {
        figures.insert(format!("slave/{name}"), value);
    };
    set("uptime_secs", uptime.max(0.0));
    set("registered", if is_registered { 1.0 } else { 0.0 });
    set("recovery_errors", 0.0);
    let live = || {
        let is_live = |row: &&TaskRow| !row.status.state.is_terminal();
        rows.iter().filter(is_live)
    };
    let frameworks: BTreeSet<_> = live().map(|row| &row.framework).collect();
    set("frameworks_active", count_of(frameworks.iter()));
    // A task without one has an executor of its own in Mesos.
    let executors: BTreeSet<_> = live().map(|row| (&row.framework, row.output)).collect();
    set("executors_running", count_of(executors.iter()));
    let mut by_state: BTreeMap<&str, f64> = TaskState::ALL
        .into_iter()
        .map(|state| (encode_mesos_state(state, true).as_str_name(), 0.0))
        .collect();
    for row in rows {
        *by_state.entry(told_state(row).as_str_name()).or_default() += 1.0;
    }
    for (state, count) in by_state {
        let name = state.to_ascii_lowercase().replacen("task_", "tasks_", 1);
        set(&name, count);
    }
    let mut used = Resources::new();
    let mut counted = BTreeSet::new();
    for row in live() {
        used.add(&row.spec.resources);
        if let Some(executor) = &row.spec.executor
            && counted.insert((&row.framework, row.output))
        {
            used.add(&executor.resources);
        }
    }
    of_resources(resources, &used, &mut set);
    figures
}

/// The state of a task, on every page that shows or counts it.
pub(super) fn told_state(row: &TaskRow) -> v1::TaskState {
    let (status, is_custom) = (&row.status, row.spec.executor.is_some());
    let state = state_said(status.state, status.number, is_custom);
    encode_told_state(state, status.reason, true)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proffer_agent_core::RunId;
    use proffer_model::{Command, FrameworkId, Incarnation, Reason, Status, TaskId, TaskSpec};

    use super::*;

    #[test]
    fn a_task_is_counted_in_the_state_that_it_is_shown_in() {
        let task = TaskId::new("t").unwrap();
        let row = |state, reason| TaskRow {
            run: RunId(1),
            output: RunId(1),
            framework: FrameworkId::new("f").unwrap(),
            incarnation: Incarnation(1),
            status: Status {
                task: task.clone(),
                incarnation: Incarnation(1),
                agent: None,
                number: 1,
                state,
                reason,
                message: String::new(),
                exit: None,
                healthy: None,
                checks: Vec::new(),
                data: Vec::new(),
                wall_ms: 0,
            },
            pid: None,
            spec: Arc::new(TaskSpec::new(
                task.clone(),
                Command::Shell(String::new()),
                Resources::new(),
            )),
        };
        for (state, reason, name) in [
            (TaskState::Killed, Reason::KillRequested, "tasks_killed"),
            (TaskState::Killed, Reason::DeadlinePassed, "tasks_failed"),
            (TaskState::Running, Reason::None, "tasks_running"),
        ] {
            let figures = of_agent(&Resources::new(), &[row(state, reason)], true, 0.0);
            let counted = figures.iter().filter(|(_, count)| **count > 0.0);
            let counted: Vec<_> = counted
                .filter(|(name, _)| name.starts_with("slave/tasks_"))
                .map(|(name, _)| name.as_str())
                .collect();
            assert_eq!(counted, [format!("slave/{name}")]);
        }
    }
}
