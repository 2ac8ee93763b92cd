//! The pages that tools read: `/state`, `/state-summary`, `/slaves`, `/frameworks`, `/tasks`, in the shape of Mesos 1.11.
//!
//! Pure: a snapshot and what the master knows of itself make a page.

use std::collections::{BTreeMap, BTreeSet};

use proffer_leader::MESOS_CAPABILITIES;
use proffer_master_core::effect::{AgentRow, ExecutorRow, OfferRow, TaskRow};
use proffer_model::task::Protocol;
use proffer_model::{AgentId, Discovery, DiscoveryPort, FrameworkId, Resources, Visibility};
use proffer_proto::mesos::{
    Capabilities, encode_told_state, has_mesos_container, mesos_container_id, seconds_of,
    told_health, write_json,
};

use super::super::http::{BUILD_DATE, VERSION};
use super::figures::count_of;
use super::json::{Array, Object, page};
use super::master::Master;
use super::resources::{
    attributes, in_full, labels, list, reserved_in_full, reserved_sums, sums, unreserved_in_full,
    unreserved_sums,
};
use super::seen::{
    Framework, Seen, Standing, agents, executor_name, grace_of, ip_of, is_active, is_registered,
    pid_of, port_of, state_of, tasks,
};
use crate::view::Snapshot;

/// Tasks on one page of `/tasks` unless it is asked for so many.
pub(super) const TASKS_LIMIT: usize = 100;
/// What agents are said to be able to do.
pub(super) const AGENT_CAPABILITIES: [&str; 4] = [
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "AGENT_DRAINING",
];
/// Pages are for everybody, so they have the states as they are.
pub(super) const AWARE: Capabilities = Capabilities {
    revocable: true,
    killing: true,
    gpus: true,
    shared: true,
    partition_aware: true,
    multi_role: true,
    refined: true,
};
/// About what an agent and a task are in bytes.
const AGENT_LEN: usize = 1_024;
const TASK_LEN: usize = 768;

/// What tasks are filtered and ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TasksAsked {
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) is_ascending: bool,
    pub(super) framework: Option<String>,
    pub(super) task: Option<String>,
}

impl Default for TasksAsked {
    fn default() -> Self {
        Self {
            limit: TASKS_LIMIT,
            offset: 0,
            is_ascending: false,
            framework: None,
            task: None,
        }
    }
}

/// `/state`.
pub(super) fn state(snapshot: &Snapshot, master: &Master) -> Vec<u8> {
    let seen = Seen::new(snapshot);
    page(capacity(snapshot), |page| {
        page.text("version", VERSION);
        page.text("build_date", BUILD_DATE);
        page.number("build_time", 0.0);
        page.text("build_user", "");
        page.number("start_time", master.start_time());
        page.number("elected_time", master.elected_time());
        page.text("id", &master.info.id);
        page.text("pid", master.info.pid());
        page.text("hostname", master.info.hostname());
        page.array("capabilities", |array| {
            MESOS_CAPABILITIES.iter().for_each(|name| array.text(name));
        });
        let count = |is: fn(&AgentRow) -> bool| count_of(agents(snapshot).filter(|row| is(row)));
        page.number("activated_slaves", count(is_active));
        page.number(
            "deactivated_slaves",
            count(|row| is_registered(row) && !is_active(row)),
        );
        page.number("unreachable_slaves", count(|row| !is_registered(row)));
        page.text("leader", master.info.pid());
        page.object("leader_info", |info| {
            info.text("id", &master.info.id);
            info.text("pid", master.info.pid());
            info.count("port", master.info.port.into());
            info.text("hostname", master.info.hostname());
        });
        page.text("cluster", &master.reign.cluster);
        page.object("flags", |object| flags(object, &master.flags()));
        page.array("slaves", |array| {
            for row in seen.agents() {
                array.object(|object| agent(object, row, master));
            }
        });
        recovered(page, &seen, |_| true);
        frameworks_of(page, &seen, master, None);
        page.array("orphan_tasks", |_| {});
        page.array("unregistered_frameworks", |_| {});
    })
}

/// What this master was told, in the names of Mesos's flags.
pub(super) fn flags(object: &mut Object<'_>, flags: &[(&'static str, String)]) {
    for (name, value) in flags {
        object.text(name, value);
    }
}

/// `/slaves`, of all or of one.
pub(super) fn slaves(snapshot: &Snapshot, master: &Master, only: Option<&str>) -> Vec<u8> {
    let seen = Seen::new(snapshot);
    let is_wanted = |row: &&AgentRow| only.is_none_or(|only| row.agent.as_str() == only);
    page(capacity(snapshot), |page| {
        page.array("slaves", |array| {
            for row in seen.agents().filter(is_wanted) {
                array.object(|object| {
                    agent(object, row, master);
                    object.object("reserved_resources_full", |object| {
                        reserved_in_full(object, &row.total);
                    });
                    for (name, resources) in [
                        ("used_resources_full", &row.used),
                        ("offered_resources_full", &row.offered),
                    ] {
                        object.array(name, |array| in_full(array, resources));
                    }
                    object.array("unreserved_resources_full", |array| {
                        unreserved_in_full(array, &row.total);
                    });
                });
            }
        });
        recovered(page, &seen, |row| is_wanted(&row));
    })
}

/// `/frameworks`, of all or of one.
pub(super) fn frameworks(snapshot: &Snapshot, master: &Master, only: Option<&str>) -> Vec<u8> {
    page(capacity(snapshot), |page| {
        frameworks_of(page, &Seen::new(snapshot), master, only);
        page.array("unregistered_frameworks", |_| {});
    })
}

/// `/state-summary`.
pub(super) fn summary(snapshot: &Snapshot, master: &Master) -> Vec<u8> {
    let seen = Seen::new(snapshot);
    let mut by_agent: BTreeMap<&AgentId, Tally<'_>> = BTreeMap::new();
    let mut by_framework: BTreeMap<&FrameworkId, Tally<'_>> = BTreeMap::new();
    for row in tasks(snapshot) {
        by_agent.entry(&row.agent).or_default().add(row);
        by_framework.entry(&row.framework).or_default().add(row);
    }
    page(capacity(snapshot) / 2, |page| {
        page.text("hostname", master.info.hostname());
        page.text("cluster", &master.reign.cluster);
        page.array("slaves", |array| {
            for row in seen.agents() {
                array.object(|object| {
                    agent(object, row, master);
                    let tally = by_agent.get(&row.agent);
                    tally.unwrap_or(&Tally::default()).write(object);
                    object.array("framework_ids", |array| {
                        let frameworks = tally.map(|tally| &tally.frameworks);
                        for id in frameworks.into_iter().flatten() {
                            array.text(id.as_str());
                        }
                    });
                });
            }
        });
        page.array("frameworks", |array| {
            for of in seen.frameworks() {
                array.object(|object| {
                    framework_summary(object, &of);
                    let tally = by_framework.get(of.id);
                    tally.unwrap_or(&Tally::default()).write(object);
                    object.array("slave_ids", |array| {
                        let agents = tally.map(|tally| &tally.agents);
                        for id in agents.into_iter().flatten() {
                            array.text(id.as_str());
                        }
                    });
                });
            }
        });
    })
}

/// `/tasks`.
pub(super) fn tasks_page(snapshot: &Snapshot, asked: &TasksAsked) -> Vec<u8> {
    let is_wanted = |row: &&TaskRow| {
        let is = |wanted: &Option<String>, id: &str| wanted.as_ref().is_none_or(|w| w == id);
        is(&asked.framework, row.framework.as_str()) && is(&asked.task, row.task.as_str())
    };
    let mut rows: Vec<&TaskRow> = tasks(snapshot).filter(is_wanted).collect();
    // In the order of their launches, which stays whatever is told of them: pages of one list fit together.
    rows.sort_by_key(|row| (row.told.incarnation, &row.framework, &row.task));
    if !asked.is_ascending {
        rows.reverse();
    }
    let rows = rows.into_iter().skip(asked.offset);
    page(TASK_LEN * TASKS_LIMIT, |page| {
        page.array("tasks", |array| {
            for row in rows.take(asked.limit) {
                array.object(|object| task(object, row, snapshot));
            }
        });
    })
}

/// How many tasks of an agent or a framework are in which state.
#[derive(Default)]
struct Tally<'s> {
    by_state: BTreeMap<&'static str, u64>,
    frameworks: BTreeSet<&'s FrameworkId>,
    agents: BTreeSet<&'s AgentId>,
}

impl<'s> Tally<'s> {
    fn add(&mut self, row: &'s TaskRow) {
        let name = match state_name(row) {
            // Of these Mesos's summary knows nothing.
            "TASK_DROPPED" | "TASK_GONE" | "TASK_GONE_BY_OPERATOR" => "TASK_LOST",
            name => name,
        };
        *self.by_state.entry(name).or_default() += 1;
        self.agents.insert(&row.agent);
        self.frameworks.insert(&row.framework);
    }

    fn write(&self, object: &mut Object<'_>) {
        for name in [
            "TASK_STAGING",
            "TASK_STARTING",
            "TASK_RUNNING",
            "TASK_KILLING",
            "TASK_FINISHED",
            "TASK_KILLED",
            "TASK_FAILED",
            "TASK_LOST",
            "TASK_ERROR",
            "TASK_UNREACHABLE",
        ] {
            object.count(name, self.by_state.get(name).copied().unwrap_or_default());
        }
    }
}

fn capacity(snapshot: &Snapshot) -> usize {
    AGENT_LEN * snapshot.agents.len() + TASK_LEN * snapshot.tasks.len()
}

fn identity(object: &mut Object<'_>, row: &AgentRow) {
    object.text("id", row.agent.as_str());
    object.text("hostname", &row.description.host);
    object.count("port", port_of(row).into());
    object.object("attributes", |object| {
        attributes(object, &row.description.attributes);
    });
    if let Some(domain) = &row.description.domain {
        object.object("domain", |object| {
            object.object("fault_domain", |object| {
                object.object("region", |object| object.text("name", &domain.region));
                object.object("zone", |object| object.text("name", &domain.zone));
            });
        });
    }
}

fn recovered(page: &mut Object<'_>, seen: &Seen<'_>, is_wanted: impl Fn(&AgentRow) -> bool) {
    page.array("recovered_slaves", |array| {
        for row in seen.recovered_agents().filter(|row| is_wanted(row)) {
            array.object(|object| identity(object, row));
        }
    });
}

fn agent(object: &mut Object<'_>, row: &AgentRow, master: &Master) {
    identity(object, row);
    object.text("pid", &pid_of(row));
    object.number("registered_time", master.elected_time());
    for (name, resources) in [
        ("resources", &row.total),
        ("used_resources", &row.used),
        ("offered_resources", &row.offered),
    ] {
        object.object(name, |object| sums(object, resources));
    }
    object.object("reserved_resources", |object| {
        reserved_sums(object, &row.total);
    });
    object.object("unreserved_resources", |object| {
        unreserved_sums(object, &row.total);
    });
    object.flag("active", is_active(row));
    object.flag("deactivated", row.is_deactivated || row.drain.is_some());
    object.text("version", VERSION);
    object.text("proffer_version", &row.description.version);
    object.array("capabilities", |array| {
        AGENT_CAPABILITIES.iter().for_each(|name| array.text(name));
    });
    if let Some(drain) = &row.drain {
        object.object("drain_info", |object| {
            let is_drained = drain.is_drained && row.tasks == 0;
            object.text("state", if is_drained { "DRAINED" } else { "DRAINING" });
            object.object("config", |object| {
                if let Some(grace) = grace_of(drain) {
                    object.object("max_grace_period", |object| {
                        let nanoseconds = u64::try_from(grace.as_nanos());
                        object.count("nanoseconds", nanoseconds.unwrap_or(u64::MAX));
                    });
                }
                object.flag("mark_gone", drain.marks_gone);
            });
        });
        let since = seconds_of(drain.since_wall_ms);
        object.number("estimated_drain_start_time_seconds", since);
    }
}

fn frameworks_of(page: &mut Object<'_>, seen: &Seen<'_>, master: &Master, only: Option<&str>) {
    let is_wanted = |of: &Framework<'_>| only.is_none_or(|only| of.id.as_str() == only);
    page.array("frameworks", |array| {
        for of in seen.frameworks().filter(is_wanted) {
            array.object(|object| framework(object, &of, seen, master));
        }
    });
    page.array("completed_frameworks", |array| {
        for of in seen.completed_frameworks().filter(is_wanted) {
            array.object(|object| framework(object, &of, seen, master));
        }
    });
}

fn framework_summary(object: &mut Object<'_>, of: &Framework<'_>) {
    object.text("id", of.id.as_str());
    object.text("name", &of.info.name);
    object.object("used_resources", |object| match of.row {
        Some(row) => sums(object, &row.used),
        None => sums(object, &Resources::new()),
    });
    object.object("offered_resources", |object| sums(object, &offered(of)));
    object.array("capabilities", |array| {
        for capability in &of.info.capabilities {
            array.text(capability.r#type().as_str_name());
        }
    });
    object.text("hostname", of.info.hostname());
    object.text("webui_url", of.info.webui_url());
    let is_connected = of.row.is_some_and(|row| row.is_connected);
    object.flag("active", is_connected);
    object.flag("connected", is_connected);
    let is_recovered = of.row.is_some_and(|row| row.is_recovered);
    object.flag("recovered", is_recovered);
}

/// In offers; scalars alone, because the same port on two agents is not the same.
pub(super) fn offered(of: &Framework<'_>) -> Resources {
    let mut all = Resources::new();
    for offer in of.offers {
        let scalars = offer.resources.minus(&offer.resources.non_scalars());
        all.add(&scalars);
    }
    all
}

fn framework(object: &mut Object<'_>, of: &Framework<'_>, seen: &Seen<'_>, master: &Master) {
    framework_summary(object, of);
    let info = &of.info;
    object.text("user", &info.user);
    object.number("failover_timeout", info.failover_timeout());
    object.flag("checkpoint", info.checkpoint());
    // When one that was over before this leader came and went, nobody knows any more.
    let completed = of.completed;
    let registered = of.row.map(|_| master.elected_time());
    let registered = registered.or(completed.map(|it| seconds_of(it.registered_wall_ms)));
    object.number("registered_time", registered.unwrap_or_default());
    let unregistered = completed.map(|it| seconds_of(it.unregistered_wall_ms));
    object.number("unregistered_time", unregistered.unwrap_or_default());
    if let Some(principal) = &info.principal {
        object.text("principal", principal);
    }
    object.object("resources", |object| {
        let used = of.row.map(|row| row.used.clone());
        sums(object, &used.unwrap_or_default().plus(&offered(of)));
    });
    match Capabilities::of(info).multi_role {
        true => object.array("roles", |array| {
            info.roles.iter().for_each(|role| array.text(role));
        }),
        false => object.text("role", info.role()),
    }
    for (name, standing) in [
        ("tasks", Standing::Live),
        ("unreachable_tasks", Standing::Unreachable),
        ("completed_tasks", Standing::Completed),
    ] {
        object.array(name, |array| {
            let rows = seen.tasks_of(of.id);
            for row in rows.filter(|row| Standing::of(row) == standing) {
                array.object(|object| task(object, row, seen.snapshot));
            }
        });
    }
    object.array("offers", |array| {
        of.offers.iter().for_each(|row| offer(array, row));
    });
    object.array("executors", |array| {
        of.executors.iter().for_each(|row| executor(array, row));
    });
    if let Some(labels) = &info.labels {
        object.array("labels", |array| {
            for label in &labels.labels {
                array.object(|object| {
                    object.text("key", &label.key);
                    object.text("value", label.value());
                });
            }
        });
    }
    match master.constraints(of.id) {
        Some(said) => object.raw("offer_constraints", &write_json(&said.message())),
        None => object.object("offer_constraints", |_| {}),
    }
}

fn offer(array: &mut Array<'_>, row: &OfferRow) {
    array.object(|object| {
        object.text("id", row.offer.as_str());
        object.text("framework_id", row.framework.as_str());
        object.object("allocation_info", |object| {
            object.text("role", row.role.as_str());
        });
        object.text("slave_id", row.agent.as_str());
        object.object("resources", |object| sums(object, &row.resources));
    });
}

fn executor(array: &mut Array<'_>, row: &ExecutorRow) {
    array.object(|object| {
        object.text("executor_id", row.executor.as_str());
        object.text("name", "");
        object.text("framework_id", row.framework.as_str());
        // What it is started with is shown to nobody.
        object.object("command", |object| {
            object.array("argv", |_| {});
            object.array("uris", |_| {});
        });
        object.object("resources", |object| sums(object, &row.resources));
        object.text("role", row.role.as_str());
        object.text("type", "CUSTOM");
        object.text("slave_id", row.agent.as_str());
    });
}

fn task(object: &mut Object<'_>, row: &TaskRow, snapshot: &Snapshot) {
    object.text("id", row.task.as_str());
    object.text("name", row.name());
    object.text("framework_id", row.framework.as_str());
    object.text("executor_id", executor_name(row).unwrap_or_default());
    object.text("slave_id", row.agent.as_str());
    object.text("state", state_name(row));
    object.object("resources", |object| sums(object, &row.outline.resources));
    object.text("role", row.outline.role.as_str());
    object.array("statuses", |array| {
        array.object(|object| status(object, row, snapshot));
    });
    if !row.outline.labels.is_empty() {
        object.array("labels", |array| list(array, &row.outline.labels));
    }
    if let Some(said) = &row.outline.discovery {
        object.object("discovery", |object| discovery_as_said(object, said));
    } else if !row.outline.ports.is_empty() {
        discovery(object, row);
    }
}

/// As a status is told, without making one: there are many.
fn status(object: &mut Object<'_>, row: &TaskRow, snapshot: &Snapshot) {
    let told = &row.told;
    object.text("state", state_name(row));
    object.number("timestamp", seconds_of(told.wall_ms));
    object.object("container_status", |object| {
        let is_own = row.outline.executor.is_none();
        if is_own && has_mesos_container(told.number, told.reason, told.incarnation) {
            let id = mesos_container_id(&row.task, told.incarnation);
            object.object("container_id", |object| object.text("value", &id));
        }
        object.array("network_infos", |array| {
            let agent = snapshot.agents.get(&row.agent);
            if let Some(ip) = agent.and_then(|agent| ip_of(agent)) {
                array.object(|object| {
                    object.array("ip_addresses", |array| {
                        array.object(|object| {
                            object.text("protocol", if ip.is_ipv4() { "IPv4" } else { "IPv6" });
                            object.text("ip_address", &ip.to_string());
                        });
                    });
                });
            }
        });
    });
    if let Some(healthy) = told_health(told.state, told.reason, told.healthy) {
        object.flag("healthy", healthy);
    }
}

/// The state of a task, on every page that shows or counts it.
pub(super) fn state_name(row: &TaskRow) -> &'static str {
    encode_told_state(state_of(row), row.told.reason, true).as_str_name()
}

/// A protocol in Mesos's words.
pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The ports of a task, where discovery looks for them.
fn discovery(object: &mut Object<'_>, row: &TaskRow) {
    object.object("discovery", |object| {
        object.text("visibility", "CLUSTER");
        object.text("name", row.name());
        object.object("ports", |object| {
            object.array("ports", |array| {
                for port in &row.outline.ports {
                    array.object(|object| {
                        object.count("number", port.number.into());
                        if !port.name.is_empty() {
                            object.text("name", &port.name);
                        }
                        object.text("protocol", protocol_name(port.protocol));
                    });
                }
            });
        });
    });
}

/// As what a task is to be found, in its framework's words.
fn discovery_as_said(object: &mut Object<'_>, said: &Discovery) {
    object.text("visibility", visibility_name(said.visibility));
    for (name, text) in [
        ("name", &said.name),
        ("environment", &said.environment),
        ("location", &said.location),
        ("version", &said.version),
    ] {
        if !text.is_empty() {
            object.text(name, text);
        }
    }
    if !said.ports.is_empty() {
        object.object("ports", |object| {
            object.array("ports", |array| {
                for port in &said.ports {
                    array.object(|object| discovery_port(object, port));
                }
            });
        });
    }
    if !said.labels.is_empty() {
        object.object("labels", |object| labels(object, &said.labels));
    }
}

fn discovery_port(object: &mut Object<'_>, port: &DiscoveryPort) {
    object.count("number", port.number.into());
    if !port.name.is_empty() {
        object.text("name", &port.name);
    }
    if !port.protocol.is_empty() {
        object.text("protocol", &port.protocol);
    }
    if let Some(visibility) = port.visibility {
        object.text("visibility", visibility_name(visibility));
    }
    if !port.labels.is_empty() {
        object.object("labels", |object| labels(object, &port.labels));
    }
}

fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Framework => "FRAMEWORK",
        Visibility::Cluster => "CLUSTER",
        Visibility::External => "EXTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use proffer_master_core::effect::Fact;
    use proffer_master_core::event::Seq;
    use proffer_proto::mesos::v1::MasterInfo;
    use serde_json::{Value, json};

    use super::super::super::registry::Registry;
    use super::super::master::MasterReign;
    use super::super::messages;
    use super::*;
    use crate::metrics::ClusterMetrics;
    use crate::view::{self, facts};

    #[tokio::test]
    async fn a_framework_that_is_over_is_known_by_what_it_was_unless_that_was_before_this_leader() {
        let (view, mut feed) = view::start(ClusterMetrics::default()).expect("a view");
        let over: FrameworkId = "over".parse().expect("an id");
        let mut all = vec![
            facts::framework_row("live", 0),
            facts::framework_row("over", 3),
            Fact::FrameworkGone {
                framework: over.clone(),
            },
        ];
        feed.tell(&mut all, Seq::default()).expect("told");
        let snapshot: Arc<Snapshot> = view.snapshot().await.expect("a snapshot");
        let reign = MasterReign {
            cluster: "c".to_owned(),
            started_wall_ms: 0,
            elected_wall_ms: 5_000,
            unreachable_after: Duration::from_secs(1),
            counts: ClusterMetrics::default(),
            registry: Registry::default(),
        };
        let info = MasterInfo::default();
        let master = Master { info, reign };
        let seen = Seen::new(&snapshot);
        let live = seen.frameworks().next().expect("one");
        let completed: Vec<_> = seen.completed_frameworks().map(|of| of.id).collect();
        assert_eq!(completed, [&over]);
        let went = snapshot.completed.get(&over).expect("it is known");
        let went = seconds_of(went.unregistered_wall_ms);
        assert!(went > 0.0);
        let earlier: FrameworkId = "earlier".parse().expect("an id");
        for (of, name, user, times) in [
            (live, "web", "local", [5.0, 0.0]),
            (seen.framework(&over, None), "web", "local", [went, went]),
            (seen.framework(&earlier, None), "earlier", "", [0.0, 0.0]),
        ] {
            let page = page(1_024, |object| framework(object, &of, &seen, &master));
            let page: Value = serde_json::from_slice(&page).expect("json");
            assert_eq!(
                (&page["name"], &page["user"]),
                (&json!(name), &json!(user)),
                "{page}"
            );
            let [registered, unregistered] = times;
            let expected = (&json!(registered), &json!(unregistered));
            let said = (&page["registered_time"], &page["unregistered_time"]);
            assert_eq!(said, expected, "{page}");
            let message = messages::framework(&of, &snapshot, &master);
            assert_eq!(message.framework_info.name, name);
            assert_eq!(message.registered_time.is_some(), registered > 0.0);
            assert_eq!(message.unregistered_time.is_some(), unregistered > 0.0);
            assert!(message.offers.is_empty() && message.connected == of.row.is_some());
        }
        feed.finish();
    }
}
