//! `/metrics/snapshot`: the figures that Mesos's exporters read, by their names there.
//!
//! What Mesos counts since its start is counted here over what is known: tasks that have ended, as long as they are kept.
#![allow(
    clippy::float_arithmetic,
    reason = "Mesos's figures are floating point numbers; nothing is decided by them"
)]

use std::collections::BTreeMap;

use proffer_master_core::effect::AgentRow;
use proffer_model::{AgentState, Resources, TaskState};
use proffer_proto::mesos::encode_mesos_state;
use proffer_server::mesos_figures::{of_host, of_resources};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

pub(super) use proffer_server::mesos_figures::{Figures, count_of};

use super::json::page;
use super::master::Master;
use super::seen::{agents, is_active, is_registered, tasks};
use super::state::state_name;
use crate::metrics::{AGAIN, ClusterMetrics, GONE, How, NEW, UNREACHABLE};
use crate::view::Snapshot;

/// Of a master that leads.
pub(super) fn of_leader(snapshot: &Snapshot, master: &Master, now: f64) -> Figures {
    let mut figures = of_host();
    let mut set = |name: &str, value: f64| {
        figures.insert(format!("master/{name}"), value);
    };
    set("elected", 1.0);
    set("uptime_secs", (now - master.start_time()).max(0.0));
    let count = |is: fn(&AgentRow) -> bool| count_of(agents(snapshot).filter(|row| is(row)));
    set("slaves_active", count(is_active));
    set(
        "slaves_inactive",
        count(|row| is_registered(row) && !is_active(row)),
    );
    set(
        "slaves_connected",
        count(|row| row.state == AgentState::Connected),
    );
    set(
        "slaves_disconnected",
        count(|row| row.state == AgentState::Suspect),
    );
    set(
        "slaves_unreachable",
        count(|row| row.state == AgentState::Unreachable),
    );
    of_events(&master.reign.counts, &mut set);
    let frameworks = || snapshot.frameworks.iter();
    let connected = count_of(frameworks().filter(|row| row.is_connected));
    let away = count_of(frameworks()) - connected;
    for (name, value) in [
        ("frameworks_active", connected),
        ("frameworks_connected", connected),
        ("frameworks_inactive", away),
        ("frameworks_disconnected", away),
    ] {
        set(name, value);
    }
    set("outstanding_offers", count_of(snapshot.offers.iter()));
    let mut by_state: BTreeMap<&str, f64> = BTreeMap::new();
    for state in TaskState::ALL
        .into_iter()
        .map(|state| encode_mesos_state(state, true).as_str_name())
        .chain(["TASK_GONE_BY_OPERATOR", "TASK_LOST"])
    {
        by_state.insert(state, 0.0);
    }
    for row in tasks(snapshot) {
        *by_state.entry(state_name(row)).or_default() += 1.0;
    }
    for (state, count) in by_state {
        set(
            &state.to_ascii_lowercase().replacen("task_", "tasks_", 1),
            count,
        );
    }
    resources(snapshot, &mut set);
    figures
}

/// What has become of agents since this master runs. None is shut down for its silence: what runs there goes on.
fn of_events(counts: &ClusterMetrics, set: &mut impl FnMut(&str, f64)) {
    let of = |all: &Family<How, Counter>, how| {
        let count = all.get_or_create(&How { how }).get();
        // Exact, as far as anybody counts.
        u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
    };
    let lost = of(&counts.losses, UNREACHABLE);
    let gone = of(&counts.losses, GONE);
    for (name, value) in [
        ("slave_registrations", of(&counts.registrations, NEW)),
        ("slave_reregistrations", of(&counts.registrations, AGAIN)),
        ("slave_removals", lost + gone),
        ("slave_removals/reason_registered", 0.0),
        ("slave_removals/reason_unhealthy", lost),
        ("slave_removals/reason_unregistered", 0.0),
        ("slave_shutdowns_canceled", 0.0),
        ("slave_shutdowns_completed", 0.0),
        ("slave_shutdowns_scheduled", 0.0),
        ("slave_unreachable_canceled", 0.0),
        ("slave_unreachable_completed", lost),
        ("slave_unreachable_scheduled", lost),
    ] {
        set(name, value);
    }
}

/// Of one that stands by.
pub(super) fn of_standby(uptime: f64) -> Figures {
    let mut figures = of_host();
    figures.insert("master/elected".to_owned(), 0.0);
    figures.insert("master/uptime_secs".to_owned(), uptime);
    figures
}

/// How much there is, how much is used or offered, and which part that is; of what is revocable besides.
fn resources(snapshot: &Snapshot, set: &mut impl FnMut(&str, f64)) {
    let (mut total, mut used) = (Resources::new(), Resources::new());
    for row in agents(snapshot).filter(|row| is_registered(row)) {
        // The same port on two agents is not the same.
        let scalars = |all: &Resources| all.minus(&all.non_scalars());
        total.add(&scalars(&row.total));
        used.add(&scalars(&row.used));
    }
    of_resources(&total, &used, set);
}

/// The page of them.
pub(super) fn figures_page(figures: &Figures) -> Vec<u8> {
    page(8 * 1_024, |page| {
        for (name, value) in figures {
            page.number(name, *value);
        }
    })
}
