//! `proffer agent show|deactivate|reactivate|drain|gone AGENT`: one agent, and taking it out of use.
//!
//! The master decides; here an agent is found by what people call it, and shown as it stands afterwards.

use std::time::{Duration, Instant};

use clap::Subcommand;
use proffer_model::resources::Amount;
use proffer_model::time::{format_duration, parse_duration};
use proffer_model::{Kind, Problem, ResourceKind, Role, code};
use proffer_proto::v1;
use serde_json::{Map, Value, json};

use crate::change::Change;
use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::Outcome;
use crate::inventory::Inventory;
use crate::master_client::MasterClient;
use crate::named::{self, the_one_named};
use crate::output::{Column, Format, OutputArgs, Progress, Rows, confirm, terminal_width};
use crate::units::{count_of, key_of, number_of_milli};
use crate::verbs::list::{agent_domain, agent_json, agent_rows, agent_state};
use crate::wait::Pause;

/// One agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentVerb {
    /// Show one agent: what it has, for whom it is reserved, and what is used.
    Show(AgentArgs),
    /// Offer nothing of an agent any more; what runs there goes on.
    Deactivate(AgentArgs),
    /// Offer of an agent again: takes deactivation away, and ends a drain.
    Reactivate(AgentArgs),
    /// Empty an agent: nothing is offered of it any more, and its frameworks are asked to move their tasks. Only a deadline
    /// kills what is left. It stays drained until it is reactivated.
    Drain(DrainArgs),
    /// Say that an agent will not come back: its tasks are over, its reservations and volumes are no more, its id is refused.
    /// Cannot be undone.
    Gone(GoneArgs),
}

/// Which agent, and that this is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct GoneArgs {
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

/// Which agent.
#[derive(Debug, clap::Args)]
pub(crate) struct AgentArgs {
    /// The agent's id, a part of it that no other has, or its host when that has one agent.
    agent: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Which agent, and until when.
#[derive(Debug, clap::Args)]
pub(crate) struct DrainArgs {
    /// Kill what is left there after this time, such as 2h, each task with its own grace. Without it nothing is ever killed.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, allow_negative_numbers = true)]
    deadline: Option<Duration>,
    /// Mark it gone when nothing is left there: its reservations and volumes are no more, its id is refused.
    #[arg(long)]
    mark_gone: bool,
    /// Wait until nothing is left there. Ctrl-C ends the waiting, not the drain.
    #[arg(long)]
    wait: bool,
    /// How long to wait; then the exit code is 6 [default: as long as it takes]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait", allow_negative_numbers = true)]
    timeout: Option<Duration>,
    #[command(flatten)]
    agent: AgentArgs,
}

impl AgentVerb {
    /// How the result is written.
    pub(crate) fn format(&self) -> Format {
        self.agent().output.output
    }

    fn agent(&self) -> &AgentArgs {
        match self {
            Self::Show(args) | Self::Deactivate(args) | Self::Reactivate(args) => args,
            Self::Drain(args) => &args.agent,
            Self::Gone(args) => &args.agent,
        }
    }
}

/// Shows or changes it.
pub(crate) async fn run(verb: AgentVerb) -> Outcome {
    let AgentArgs {
        agent,
        output,
        client,
    } = verb.agent();
    let found = find(client, agent).await?;
    if let AgentVerb::Gone(args) = &verb {
        return gone(found, args, client, *output).await;
    }
    let agent_id = found.id.clone();
    let change = match &verb {
        AgentVerb::Show(_) | AgentVerb::Gone(_) => return show(&found, *output),
        AgentVerb::Deactivate(_) => {
            Change::DeactivateAgent(v1::DeactivateAgentRequest { agent_id })
        }
        AgentVerb::Reactivate(_) => {
            Change::ReactivateAgent(v1::ReactivateAgentRequest { agent_id })
        }
        AgentVerb::Drain(args) => Change::DrainAgent(v1::DrainAgentRequest {
            agent_id,
            deadline_ms: args.deadline.map(milliseconds),
            mark_gone: args.mark_gone,
        }),
    };
    let mut master = change.make(client).await?;
    let left = master.agents().await?;
    let marks_gone = matches!(&verb, AgentVerb::Drain(args) if args.mark_gone);
    if marks_gone && !left.iter().any(|agent| agent.id == found.id) {
        // Nothing was there to be moved.
        return show_gone(&found, *output);
    }
    let mut after = one_of(left, &found.id)?;
    let mut progress = Progress::new();
    if after.tasks > 0 {
        let tasks = count_of(after.tasks, "task");
        match &verb {
            AgentVerb::Deactivate(_) => progress.say(&format!(
                "{tasks} there: nothing ends them, they run until they end or their frameworks end them"
            )),
            AgentVerb::Drain(args) => progress.say(&match args.deadline {
                Some(deadline) => format!(
                    "{tasks} there: their frameworks are asked to move them; what is left after {} is killed",
                    format_duration(deadline)
                ),
                None => format!(
                    "{tasks} there: their frameworks are asked to move them; without a deadline nothing is ever killed"
                ),
            }),
            AgentVerb::Show(_) | AgentVerb::Reactivate(_) | AgentVerb::Gone(_) => {}
        }
    }
    if let AgentVerb::Drain(args) = &verb
        && args.wait
    {
        let waited = until_drained(client, after, args, &mut progress).await?;
        match waited {
            Some(drained) => after = drained,
            None => return show_gone(&found, *output),
        }
    }
    let value = described_json(&after, &Inventory::of(&after)?);
    let rows = || agent_rows(std::slice::from_ref(&after));
    output.output.show(&value, rows)
}

/// Asks on a terminal whether that is meant, and marks it gone.
async fn gone(
    found: v1::Agent,
    args: &GoneArgs,
    client: &ClientArgs,
    output: OutputArgs,
) -> Outcome {
    let question = format!(
        "Agent {} of host {} will not come back, and {} there are over? Its reservations and volumes are no more.",
        found.id,
        found.host,
        count_of(found.tasks, "task")
    );
    if !args.yes && !confirm(&question).await? {
        let message = "nothing was changed";
        return Err(Problem::new(code::FIELD_MISSING, message)
            .field("yes")
            .hint("say --yes when it is meant")
            .into());
    }
    let agent_id = found.id.clone();
    let mark = Change::MarkAgentGone(v1::MarkAgentGoneRequest { agent_id });
    mark.make(client).await?;
    show_gone(&found, output)
}

fn show_gone(agent: &v1::Agent, output: OutputArgs) -> Outcome {
    let value = json!({ "id": agent.id, "host": agent.host, "gone": true });
    output.output.show_text(&value, || {
        format!(
            "agent {} is gone; if {} is to join again, remove the agent's work directory first",
            agent.id,
            escape::line(&agent.host)
        )
    })
}

/// Waits until nothing is left on an agent, and returns it; none when it is marked gone then. While nobody leads it waits on.
async fn until_drained(
    client: &ClientArgs,
    mut agent: v1::Agent,
    args: &DrainArgs,
    progress: &mut Progress,
) -> Outcome<Option<v1::Agent>> {
    let (start, mut pause) = (Instant::now(), Pause::new());
    loop {
        let drain = agent.drain.ok_or_else(|| {
            let message = format!(
                "agent {} is reactivated: nobody drains it any more",
                agent.id
            );
            Problem::new(code::AGENT_UNKNOWN, message)
        })?;
        if drain.drained {
            progress.clear();
            return Ok(Some(agent));
        }
        let state = match agent.tasks {
            0 => "no task runs there; what ended is not acknowledged yet".to_owned(),
            tasks => format!("{} there", count_of(tasks, "task")),
        };
        let text = format!("{}: {}, {state}", agent.host, agent_state(&agent));
        progress.update(&text);
        if let Some(timeout) = args.timeout.filter(|timeout| start.elapsed() >= *timeout) {
            let message = format!("{text}, after {}", format_duration(timeout));
            return Err(Problem::new(code::WAIT_TIMED_OUT, message)
                .hint("the drain goes on; `proffer agents` shows how far it is")
                .into());
        }
        pause.next().await;
        match find(client, &agent.id).await {
            Ok(found) => agent = found,
            Err(problem) if args.mark_gone && problem.is(code::AGENT_UNKNOWN) => {
                progress.clear();
                return Ok(None);
            }
            Err(problem) if problem.kind == Kind::Unavailable => {
                progress.update(&format!("{}: {}", agent.host, problem.message));
            }
            Err(problem) => return Err(problem.into()),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The agent that is called so.
pub(crate) async fn find(client: &ClientArgs, name: &str) -> Result<v1::Agent, Problem> {
    one_of(MasterClient::connect(client).await?.agents().await?, name)
}

/// By its id, its host, or a part of its id.
pub(crate) fn one_of(agents: Vec<v1::Agent>, name: &str) -> Result<v1::Agent, Problem> {
    let kind = named::Kind {
        plural: "agents",
        code: code::AGENT_UNKNOWN,
        id: |agent: &v1::Agent| &agent.id,
        called: |agent| &agent.host,
    };
    the_one_named(agents, name, &kind)?.ok_or_else(|| {
        let problem = Problem::new(code::AGENT_UNKNOWN, format!("there is no agent {name}"));
        problem.hint("`proffer agents` lists the agents")
    })
}

/// As the master lists it.
fn show(agent: &v1::Agent, output: OutputArgs) -> Outcome {
    let inventory = Inventory::of(agent)?;
    let value = described_json(agent, &inventory);
    let text = || describe(agent, &inventory, terminal_width());
    output.output.show_text(&value, text)
}

/// Shows how one stands after a change by the master that made it.
pub(crate) async fn show_after(
    mut master: MasterClient,
    agent_id: &str,
    output: OutputArgs,
) -> Outcome {
    show(&one_of(master.agents().await?, agent_id)?, output)
}

fn describe(agent: &v1::Agent, inventory: &Inventory, width: Option<usize>) -> String {
    let attributes: Vec<String> = agent
        .attributes
        .iter()
        .map(|attribute| format!("{}:{}", attribute.name, attribute.value))
        .collect();
    let missing = v1_text(agent.missing.as_ref());
    let lines = [
        ("agent", agent.id.clone()),
        ("host", agent.host.clone()),
        ("address", agent.address.clone()),
        ("state", agent_state(agent)),
        ("version", agent.version.clone()),
        ("domain", agent_domain(agent).unwrap_or_default()),
        ("attributes", attributes.join(" ")),
        ("tasks", agent.tasks.to_string()),
        // Made there, and the agent has no resources for it any more.
        ("missing", missing),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    let lines = lines.map(|(name, value)| format!("{name:<10} {}\n", escape::line(value)));
    let text: String = lines.collect();
    text + "\n" + &resource_rows(inventory).render(width)
}

fn v1_text(resources: Option<&v1::Resources>) -> String {
    let decoded = resources.and_then(|all| proffer_proto::decode_resources(all.clone()).ok());
    decoded.map_or_else(String::new, |all| all.to_string())
}

/// A row for each thing that is not the same as another: reserved ones apart, each volume.
fn resource_rows(inventory: &Inventory) -> Rows {
    let mut rows = Rows::new(&[
        Column::Text("RESOURCE"),
        Column::Text("ROLE"),
        Column::Text("VOLUME"),
        Column::Text("AMOUNT"),
        Column::Text("USED"),
        Column::Text("OFFERED"),
        Column::Message("EXACTLY"),
    ]);
    for (kind, amount) in inventory.total.iter() {
        let part = |of: &proffer_model::Resources| {
            let amount = of.amount(&kind);
            amount.map_or_else(|| "-".to_owned(), ToString::to_string)
        };
        let exactly = match kind.is_plain() {
            true => String::new(),
            false => kind.to_string(),
        };
        rows.push([
            kind.name.to_string(),
            kind.reserved_to().map_or("*", Role::as_str).to_owned(),
            kind.volume()
                .map_or_else(|| "-".to_owned(), |volume| volume.id.to_string()),
            amount.to_string(),
            part(&inventory.used),
            part(&inventory.offered),
            exactly,
        ]);
    }
    rows
}

fn described_json(agent: &v1::Agent, inventory: &Inventory) -> Value {
    let mut value = agent_json(agent);
    if let Value::Object(object) = &mut value {
        let items = inventory.total.special();
        let items = items.map(|(kind, amount)| item_json(kind, amount, inventory));
        object.insert("special".to_owned(), items.collect());
    }
    value
}

/// What is reserved, revocable, on another disk or a volume, for programs.
fn item_json(kind: &ResourceKind, amount: &Amount, inventory: &Inventory) -> Value {
    let reservations: Value = kind
        .reservations
        .iter()
        .map(|reservation| {
            json!({
                "role": reservation.role.as_str(),
                "principal": reservation.principal.as_ref().map(|who| who.as_str()),
                "labels": reservation.labels,
            })
        })
        .collect();
    let used = inventory.used.amount(kind);
    let mut object = Map::new();
    object.insert("name".to_owned(), json!(kind.name.as_str()));
    object.insert(
        "role".to_owned(),
        json!(kind.reserved_to().map(Role::as_str)),
    );
    object.insert("reservations".to_owned(), reservations);
    let volume = kind.volume().map(|volume| volume.id.as_str());
    object.insert("volume_id".to_owned(), json!(volume));
    object.insert("revocable".to_owned(), json!(kind.is_revocable));
    object.insert("shared".to_owned(), json!(kind.is_shared));
    object.insert("exactly".to_owned(), json!(format!("{kind}:{amount}")));
    let key = key_of(kind.name.as_str());
    object.insert(key.clone(), amount_json(amount, kind.is_shared));
    if let Some(used) = used {
        let used = amount_json(used, kind.is_shared);
        object.insert(format!("used_{key}"), used);
    }
    Value::Object(object)
}

fn amount_json(amount: &Amount, is_shared: bool) -> Value {
    match amount {
        Amount::Scalar(_) | Amount::Whole(_) => number_of_milli(amount.quantity(is_shared)),
        Amount::Ranges(set) => set
            .ranges()
            .iter()
            .map(|range| json!({ "begin": range.begin, "end": range.end }))
            .collect(),
        Amount::Set(items) => items.iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use proffer_proto::encode_resources;

    use super::*;

    fn agent(id: &str, host: &str) -> v1::Agent {
        v1::Agent {
            id: id.to_owned(),
            host: host.to_owned(),
            ..v1::Agent::default()
        }
    }

    #[test]
    fn an_agent_is_called_by_id_host_or_part_of_an_id() {
        let agents = || {
            vec![
                agent("8f31-a1-1", "east"),
                agent("8f31-a1-2", "west"),
                agent("8f31-a1-3", "west"),
            ]
        };
        for (name, id) in [
            ("8f31-a1-2", "8f31-a1-2"),
            ("east", "8f31-a1-1"),
            ("a1-3", "8f31-a1-3"),
            ("8f…-3", "8f31-a1-3"),
        ] {
            assert_eq!(one_of(agents(), name).unwrap().id, id, "{name}");
        }
        for name in ["west", "8f31", "-3", "north", ""] {
            let problem = one_of(agents(), name).unwrap_err();
            assert!(problem.is(code::AGENT_UNKNOWN), "{name}: {problem}");
        }
        let problem = one_of(agents(), "west").unwrap_err();
        assert!(
            problem.message.contains("8f31-a1-2, 8f31-a1-3"),
            "{problem}"
        );
    }

    #[test]
    fn reserved_resources_and_volumes_stand_apart() {
        let resources = |text: &str| {
            let resources: proffer_model::Resources = text.parse().unwrap();
            Some(encode_resources(&resources))
        };
        let agent = v1::Agent {
            total: resources("cpus:2;cpus(eng,ops):4;disk(eng,ops)[v]:64"),
            used: resources("cpus(eng,ops):1"),
            deactivated: true,
            domain: Some(v1::FaultDomain {
                region: "eu-1".to_owned(),
                zone: "b".to_owned(),
            }),
            state: v1::AgentState::Connected.into(),
            ..agent("a", "h")
        };
        let inventory = Inventory::of(&agent).unwrap();
        let text = describe(&agent, &inventory, None);
        assert!(text.contains("connected, deactivated"), "{text}");
        assert!(text.contains("domain     eu-1/b"), "{text}");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        for row in [
            vec!["cpus", "*", "-", "2", "-", "-"],
            vec!["cpus", "eng", "-", "4", "1", "-", "cpus(eng,ops)"],
            vec!["disk", "eng", "v", "64", "-", "-", "disk(eng,ops)[v]"],
        ] {
            assert!(rows.contains(&row), "{row:?} in {text}");
        }
        let value = described_json(&agent, &inventory);
        assert_eq!(value["total"]["cpus"].to_string(), "6");
        assert_eq!(value["special"][0]["cpus"].to_string(), "4");
        assert_eq!(value["special"][0]["used_cpus"].to_string(), "1");
        assert_eq!(value["special"][0]["reservations"][0]["principal"], "ops");
        assert_eq!(value["special"][1]["volume_id"], "v");
        assert_eq!(value["special"][1]["disk_mib"].to_string(), "64");
    }
}
