//! What is there: apps, as the services see them; tasks, agents and frameworks, as the master does.

use std::collections::BTreeMap;

use proffer_model::resources::format_milli;
use proffer_proto::v1;
use serde_json::{Value, json};

use crate::connection::ClientArgs;
use crate::exit::Outcome;
use crate::master_client::MasterClient;
use crate::output::{Column, OutputArgs, Rows};
use crate::services_client::ServicesClient;
use crate::task;
use crate::units::{format_age, resources_json, scalar_milli, wall_ms, wanted_in_words};
use crate::verbs::app::{health_word, show_apps};
use crate::verbs::operate::{agent_id, framework_id, if_possible};
use crate::verbs::watch::{self, WatchArgs};

/// `proffer apps`.
#[derive(Debug, clap::Args)]
pub(crate) struct AppsArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer tasks`.
#[derive(Debug, clap::Args)]
pub(crate) struct TasksArgs {
    /// Only those of this app, such as /web or web.
    #[arg(long, conflicts_with = "watch")]
    app: Option<String>,
    /// Also those that have ended.
    #[arg(long)]
    all: bool,
    /// Only those of this framework, by id or name.
    #[arg(long)]
    framework: Option<String>,
    /// Only those on this agent, by id or host.
    #[arg(long)]
    agent: Option<String>,
    /// Only those that this role or one beneath it pays for.
    #[arg(long, conflicts_with = "watch")]
    role: Option<String>,
    /// Only those in this state, such as staging or failed; may be given several times.
    #[arg(long = "state", value_name = "STATE", value_parser = task::parse_state, conflicts_with = "watch")]
    states: Vec<v1::TaskState>,
    /// Only those with this label; may be given several times, for all of them.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "watch")]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer agents`.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentsArgs {
    /// Only those in this state, such as unreachable; may be given several times.
    #[arg(long = "state", value_name = "STATE", value_parser = agent_state_of, conflicts_with = "watch")]
    states: Vec<v1::AgentState>,
    /// Only those on this host.
    #[arg(long, conflicts_with = "watch")]
    host: Option<String>,
    /// Only those with this attribute; may be given several times, for all of them.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "watch")]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer frameworks`.
#[derive(Debug, clap::Args)]
pub(crate) struct FrameworksArgs {
    /// Only those of this name.
    #[arg(long, conflicts_with = "watch")]
    name: Option<String>,
    /// Only those in this role or one beneath it.
    #[arg(long, conflicts_with = "watch")]
    role: Option<String>,
    /// Only those with a session (true), or without one (false).
    #[arg(long, conflicts_with = "watch")]
    connected: Option<bool>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Lists apps.
pub(crate) async fn apps(args: AppsArgs) -> Outcome {
    let mut apps = ServicesClient::new(&args.client)?.apps().await?;
    apps.sort_by(|a, b| a.id.cmp(&b.id));
    show_apps(&apps, args.output)
}

/// Lists tasks, those that started last at the end.
pub(crate) async fn tasks(args: TasksArgs) -> Outcome {
    let mut master = MasterClient::connect(&args.client).await?;
    let framework_id = framework_id(&mut master, args.framework.as_deref()).await;
    let agent_id = agent_id(&mut master, args.agent.as_deref()).await?;
    if args.watch.is_on() {
        let asked = args
            .watch
            .request(v1::WatchKind::Tasks, framework_id?, agent_id);
        let ended = match args.all {
            true => watch::Ended::Told,
            false => watch::Ended::LeftOut,
        };
        return watch::run(&args.client, asked, args.output.output, ended).await;
    }
    let is_filtered = args.is_filtered();
    let with_ended = args.all || !args.states.is_empty();
    let mut tasks = Vec::new();
    if let Some(framework_id) = if_possible(framework_id)? {
        let asked = v1::ListTasksRequest {
            framework_id,
            agent_id,
            role: args.role.unwrap_or_default(),
            only_live: !with_ended,
            states: args.states.into_iter().map(i32::from).collect(),
            labels: args.labels.into_iter().collect(),
            ..v1::ListTasksRequest::default()
        };
        tasks = master.tasks_like(asked).await?;
    }
    if let Some(app) = &args.app {
        tasks.retain(|task| task::is_of_app(task, app));
    }
    tasks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let values: Vec<Value> = tasks.iter().map(task_json).collect();
    let of_filters = match with_ended {
        true => "no task matches",
        false => "no task matches; with --all those that have ended are looked at too",
    };
    let rows = || task_rows(&tasks).when_none_matches(is_filtered, of_filters);
    args.output.output.show(&values, rows)
}

impl TasksArgs {
    /// Whether some of the tasks are asked for by what they are.
    fn is_filtered(&self) -> bool {
        let of_one = [&self.app, &self.framework, &self.agent, &self.role];
        of_one.iter().any(|filter| filter.is_some())
            || !self.states.is_empty()
            || !self.labels.is_empty()
    }
}

fn task_rows(tasks: &[v1::Task]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Id("TASK"),
        Column::Text("STATE"),
        Column::Text("HEALTH"),
        Column::Text("ADDRESS"),
        Column::Number("CPUS"),
        Column::Number("MEM_MIB"),
        Column::Text("SINCE"),
        Column::Message("MESSAGE"),
    ])
    .when_empty("there are no tasks; those that have ended are listed with --all, as long as they are remembered");
    let now = wall_ms();
    for task in tasks {
        let status = task.status.clone().unwrap_or_default();
        rows.push([
            task.id.clone(),
            task::state_word(status.state()).to_owned(),
            health_word(status.healthy).to_owned(),
            task::address(task),
            format_milli(scalar_milli(task.resources.as_ref(), "cpus")),
            format_milli(scalar_milli(task.resources.as_ref(), "mem")),
            format_age(now, status.wall_ms),
            status.message,
        ]);
    }
    rows
}

/// A task for programs.
pub(crate) fn task_json(task: &v1::Task) -> Value {
    let status = task.status.clone().unwrap_or_default();
    let (exit_code, exit_signal) = match status.exit {
        Some(v1::status::Exit::ExitCode(code)) => (Some(code), None),
        Some(v1::status::Exit::ExitSignal(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    json!({
        "id": task.id,
        "name": task.name,
        "framework_id": task.framework_id,
        "agent_id": task.agent_id,
        "host": task.host,
        "address": task::address(task),
        "state": task::state_word(status.state()),
        "healthy": status.healthy,
        "reason": task::reason_word(status.reason()),
        "message": status.message,
        "exit_code": exit_code,
        "exit_signal": exit_signal,
        "status_wall_ms": status.wall_ms,
        "incarnation": status.incarnation,
        "resources": resources_json(task.resources.as_ref()),
        "labels": task.labels,
        "role": task.role,
        "executor_id": some(&task.executor_id),
        "group_id": some(&task.group_id),
        "ports": task.ports.iter().map(|port| json!({
            "name": port.name,
            "number": port.number,
            "protocol": task::protocol_word(port.protocol()),
        })).collect::<Value>(),
    })
}

/// What is there, if it is.
fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let (name, value) = pair.ok_or_else(|| "write it as NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Lists agents.
pub(crate) async fn agents(args: AgentsArgs) -> Outcome {
    if args.watch.is_on() {
        let (kind, of_all) = (v1::WatchKind::Agents, String::new());
        let asked = args.watch.request(kind, of_all.clone(), of_all);
        return watch::run(&args.client, asked, args.output.output, watch::Ended::Told).await;
    }
    let is_filtered = !args.states.is_empty() || args.host.is_some() || !args.attributes.is_empty();
    let asked = v1::ListAgentsRequest {
        states: args.states.into_iter().map(i32::from).collect(),
        host: args.host.unwrap_or_default(),
        attributes: args.attributes.into_iter().collect(),
        ..v1::ListAgentsRequest::default()
    };
    let mut master = MasterClient::connect(&args.client).await?;
    let mut agents = master.agents_like(asked).await?;
    agents.sort_by(|a, b| (&a.host, &a.id).cmp(&(&b.host, &b.id)));
    let values: Vec<Value> = agents.iter().map(agent_json).collect();
    let rows = || agent_rows(&agents).when_none_matches(is_filtered, "no agent matches");
    args.output.output.show(&values, rows)
}

/// How agents stand, one a row.
pub(crate) fn agent_rows(agents: &[v1::Agent]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Id("AGENT"),
        Column::Text("HOST"),
        Column::Text("ADDRESS"),
        Column::Text("STATE"),
        Column::Number("TASKS"),
        Column::Number("CPUS"),
        Column::Number("MEM_MIB"),
        Column::Text("DOMAIN"),
        Column::Message("ATTRIBUTES"),
    ])
    .when_empty("there are no agents; `proffer agent` runs one");
    for agent in agents {
        let part = |name| {
            let used = format_milli(scalar_milli(agent.used.as_ref(), name));
            format!(
                "{used}/{}",
                format_milli(scalar_milli(agent.total.as_ref(), name))
            )
        };
        let attributes: Vec<String> = agent
            .attributes
            .iter()
            .map(|a| format!("{}:{}", a.name, a.value))
            .collect();
        rows.push([
            agent.id.clone(),
            agent.host.clone(),
            agent.address.clone(),
            agent_state(agent),
            agent.tasks.to_string(),
            part("cpus"),
            part("mem"),
            agent_domain(agent).unwrap_or_else(|| "-".to_owned()),
            attributes.join(" "),
        ]);
    }
    rows
}

/// Where it stands, when it says so: `eu-1/b`.
pub(crate) fn agent_domain(agent: &v1::Agent) -> Option<String> {
    let domain = agent.domain.as_ref()?;
    Some(format!("{}/{}", domain.region, domain.zone))
}

/// Attributes by name: the value, or, of a name with several, all of them.
fn attributes_json(attributes: &[v1::Attribute]) -> Value {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for attribute in attributes {
        let values = by_name.entry(&attribute.name).or_default();
        values.push(&attribute.value);
    }
    let of = |values: &Vec<&str>| match values.as_slice() {
        [value] => json!(value),
        values => json!(values),
    };
    let all = by_name
        .iter()
        .map(|(name, values)| ((*name).to_owned(), of(values)));
    Value::Object(all.collect())
}

/// An agent for programs.
pub(crate) fn agent_json(agent: &v1::Agent) -> Value {
    json!({
        "id": agent.id,
        "host": agent.host,
        "address": agent.address,
        "state": agent_state_word(agent.state()),
        "tasks": agent.tasks,
        "version": agent.version,
        "attributes": attributes_json(&agent.attributes),
        "region": agent.domain.as_ref().map(|domain| &domain.region),
        "zone": agent.domain.as_ref().map(|domain| &domain.zone),
        "total": resources_json(agent.total.as_ref()),
        "used": resources_json(agent.used.as_ref()),
        "offered": resources_json(agent.offered.as_ref()),
        "deactivated": agent.deactivated,
        "drain": agent.drain.as_ref().map(|drain| json!({
            "since_wall_ms": drain.since_wall_ms,
            "deadline_ms": drain.deadline_ms,
            "ends_wall_ms": drain.ends_wall_ms,
            "drained": drain.drained,
        })),
        "missing": agent.missing.as_ref().map(|missing| resources_json(Some(missing))),
    })
}

/// How it stands, and what operators have decided about it: `connected, draining (30m left)`.
pub(crate) fn agent_state(agent: &v1::Agent) -> String {
    let mut state = agent_state_word(agent.state()).to_owned();
    if agent.deactivated {
        state += ", deactivated";
    }
    if let Some(drain) = &agent.drain {
        state += match drain.drained {
            true => ", drained",
            false => ", draining",
        };
        if let Some(end) = drain.ends_wall_ms.filter(|_| !drain.drained) {
            let now = wall_ms();
            state += &match end > now {
                true => format!(" ({} left)", format_age(end, now)),
                false => " (overdue)".to_owned(),
            };
        }
    }
    state
}

fn agent_state_word(state: v1::AgentState) -> &'static str {
    match state {
        v1::AgentState::Unspecified => "unknown",
        v1::AgentState::Recovering => "recovering",
        v1::AgentState::Connected => "connected",
        v1::AgentState::Suspect => "suspect",
        v1::AgentState::Unreachable => "unreachable",
    }
}

/// The state of a word.
fn agent_state_of(word: &str) -> Result<v1::AgentState, String> {
    let states = (1..=100).filter_map(|number| v1::AgentState::try_from(number).ok());
    let states: Vec<v1::AgentState> = states.collect();
    let found = states
        .iter()
        .find(|state| agent_state_word(**state) == word);
    found.copied().ok_or_else(|| {
        let words: Vec<&str> = states
            .iter()
            .map(|state| agent_state_word(*state))
            .collect();
        format!("there is no such state; states are {}", words.join(" "))
    })
}

/// Lists frameworks.
pub(crate) async fn frameworks(args: FrameworksArgs) -> Outcome {
    if args.watch.is_on() {
        let (kind, of_all) = (v1::WatchKind::Frameworks, String::new());
        let asked = args.watch.request(kind, of_all.clone(), of_all);
        return watch::run(&args.client, asked, args.output.output, watch::Ended::Told).await;
    }
    let is_filtered = args.name.is_some() || args.role.is_some() || args.connected.is_some();
    let asked = v1::ListFrameworksRequest {
        name: args.name.unwrap_or_default(),
        role: args.role.unwrap_or_default(),
        connected: args.connected,
        ..v1::ListFrameworksRequest::default()
    };
    let mut master = MasterClient::connect(&args.client).await?;
    let mut frameworks = master.frameworks_like(asked).await?;
    frameworks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let values: Vec<Value> = frameworks.iter().map(framework_json).collect();
    let rows =
        || framework_rows(&frameworks).when_none_matches(is_filtered, "no framework matches");
    args.output.output.show(&values, rows)
}

fn framework_rows(frameworks: &[v1::Framework]) -> Rows {
    let mut rows = Rows::new(&[
        Column::Id("FRAMEWORK"),
        Column::Text("NAME"),
        Column::Text("ROLES"),
        Column::Text("CONNECTED"),
        Column::Number("TASKS"),
        Column::Number("OFFERS"),
        Column::Number("DEMAND"),
        Column::Number("CPUS"),
        Column::Number("MEM_MIB"),
    ])
    .when_empty("there are no frameworks; `proffer services` is one");
    for framework in frameworks {
        rows.push([
            framework.id.clone(),
            framework.name.clone(),
            framework.roles.join(","),
            if framework.connected { "yes" } else { "no" }.to_owned(),
            framework.tasks.to_string(),
            framework.offers.to_string(),
            wanted_in_words(framework.demand),
            format_milli(scalar_milli(framework.used.as_ref(), "cpus")),
            format_milli(scalar_milli(framework.used.as_ref(), "mem")),
        ]);
    }
    rows
}

/// A framework for programs.
pub(crate) fn framework_json(framework: &v1::Framework) -> Value {
    json!({
        "id": framework.id,
        "name": framework.name,
        "principal": framework.principal,
        "roles": framework.roles,
        "connected": framework.connected,
        "tasks": framework.tasks,
        "offers": framework.offers,
        "demand": framework.demand,
        "used": resources_json(framework.used.as_ref()),
        "failover_timeout_ms": framework.failover_timeout_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> v1::Task {
        v1::Task {
            id: "web.instance-1._app.1".to_owned(),
            name: "web".to_owned(),
            host: "h".to_owned(),
            status: Some(v1::Status {
                state: v1::TaskState::Running.into(),
                healthy: Some(true),
                message: "\u{1b}[31mred".to_owned(),
                wall_ms: 1,
                ..v1::Status::default()
            }),
            ports: vec![v1::Port {
                name: "http".to_owned(),
                number: 31000,
                protocol: 1,
            }],
            ..v1::Task::default()
        }
    }

    #[test]
    fn tasks_are_shown_without_escapes_and_with_plain_words() {
        let text = task_rows(&[task()]).render(None);
        let row = text.lines().nth(1).unwrap();
        assert!(
            row.starts_with("web.instance-1._app.1  running  healthy  h:31000"),
            "{text}"
        );
        assert!(
            row.ends_with("[31mred") && !row.contains('\u{1b}'),
            "{text}"
        );
        let json = task_json(&task());
        assert_eq!(json["state"], "running");
        assert_eq!(
            json["ports"][0],
            json!({"name": "http", "number": 31000, "protocol": "tcp"})
        );
        assert_eq!(json["exit_code"], Value::Null);
    }

    #[test]
    fn whoever_wants_whatever_there_is_is_not_shown_a_number() {
        let framework = |demand| v1::Framework {
            id: format!("f-{demand}"),
            name: "f".to_owned(),
            roles: vec!["eng".to_owned()],
            demand,
            ..v1::Framework::default()
        };
        let most = u64::from(u32::MAX);
        // With two tasks; in three roles; and one that wants many.
        let frameworks = [most - 2, 3 * most, 1_000_000].map(framework);
        let text = framework_rows(&frameworks).render(None);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        for (line, shown) in lines.iter().zip(["anything", "anything", "1000000"]) {
            assert_eq!(line.split_whitespace().nth(6), Some(shown), "{text}");
        }
        assert_eq!(framework_json(&frameworks[0])["demand"], most - 2);
    }

    #[test]
    fn agents_show_what_is_used_of_what_there_is() {
        let amount = |milli| {
            Some(v1::Resources {
                scalars: vec![v1::Scalar {
                    name: "cpus".to_owned(),
                    milli,
                }],
                ..v1::Resources::default()
            })
        };
        let agent = v1::Agent {
            id: "a".to_owned(),
            state: v1::AgentState::Connected.into(),
            total: amount(4_000),
            used: amount(300),
            domain: Some(v1::FaultDomain {
                region: "eu-1".to_owned(),
                zone: "b".to_owned(),
            }),
            attributes: [("rack", "b"), ("net", "1"), ("net", "2")]
                .map(|(name, value)| v1::Attribute {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .to_vec(),
            ..v1::Agent::default()
        };
        let text = agent_rows(std::slice::from_ref(&agent)).render(None);
        assert!(
            text.contains("connected") && text.contains("0.3/4") && text.contains("rack:b"),
            "{text}"
        );
        assert!(text.contains("eu-1/b  rack:b net:1 net:2"), "{text}");
        let attributes = &agent_json(&agent)["attributes"];
        assert_eq!(*attributes, json!({ "rack": "b", "net": ["1", "2"] }));
        assert_eq!(agent_json(&agent)["region"], "eu-1");
        assert_eq!(agent_json(&agent)["zone"], "b");
        let bare = v1::Agent {
            domain: None,
            ..agent.clone()
        };
        let text = agent_rows(std::slice::from_ref(&bare)).render(None);
        assert!(text.contains("rack:b") && !text.contains("eu-1"), "{text}");
        assert_eq!(agent_json(&bare)["zone"], Value::Null);
        assert_eq!(agent_json(&agent)["total"]["cpus"].to_string(), "4");
    }
}
