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
use proffer_proto::mesos::encode_mesos_state;
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
        .map(|state| (name_of(state), 0.0))
        .collect();
    for row in rows {
        *by_state.entry(name_of(row.status.state)).or_default() += 1.0;
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

fn name_of(state: TaskState) -> &'static str {
    encode_mesos_state(state, true).as_str_name()
}
