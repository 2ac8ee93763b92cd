//! `proffer why APP|FRAMEWORK|TASK`: why an app does not have all its instances, why a framework is not offered what it
//! wants, or how a task stands, in the services' and the master's own words.
//!
//! Decides nothing: the reasons are made where the decisions are. Here they become sentences.

use proffer_model::{Problem, code};
use proffer_proto::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::Outcome;
use crate::master_client::MasterClient;
use crate::named::{self, the_one_named};
use crate::output::OutputArgs;
use crate::quantities::{format_quantities, format_share, quantities_json, share_percent};
use crate::services_client::ServicesClient;
use crate::units::{self, count_of, wall_ms};
use crate::verbs::operate::{check_framework, framework_id};

mod of_task;

/// `proffer why`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// An app such as /web or web, a framework's id or name, or a task's id, or a part of an id that no other has.
    #[arg(value_name = "APP|FRAMEWORK|TASK")]
    name: String,
    /// The framework that the task is of, by id or name, when several have one of that id; then NAME is a task's.
    #[arg(long)]
    framework: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// What the services answer; what is not there counts as nothing to say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Explanation {
    app: String,
    wanted: u64,
    running: u64,
    healthy: u64,
    /// What of the services' demand its instances wait for.
    demand_id: Option<String>,
    reasons: Vec<Reason>,
    /// What the master says of the agents, for instances that wait for an offer.
    agents: Vec<Obstacle>,
}

/// Why some instances are missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
    message: String,
    instances: u64,
}

/// Why some agents do not do.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Obstacle {
    message: String,
}

/// Explains: an app if there is one of that name, else a framework, else a task.
pub(crate) async fn run(args: WhyArgs) -> Outcome {
    let mut away = None;
    // With a framework, it is a task's name.
    if args.framework.is_none() {
        let services = ServicesClient::new(&args.client)?;
        match services.why(&args.name).await {
            Ok(answer) => return show_app(&args, &services, answer).await,
            Err(problem) if is_final(&problem, &args.name) => return Err(problem.into()),
            Err(problem) => away = Some(problem).filter(|it| it.is(code::PEER_UNREACHABLE)),
        }
    }
    let mut master = MasterClient::connect(&args.client).await?;
    let problem = match find(&mut master, &args).await {
        Ok(Some(named)) => return show(&mut master, named, &args).await,
        Ok(None) => nothing_named(&args.name, args.framework.as_deref(), away.is_some()),
        // It says which flag settles it.
        Err(problem) if !problem.field.is_empty() => return Err(problem.into()),
        Err(problem) => problem,
    };
    // It may be an app's name that stands in the ids of its tasks.
    Err(match away {
        Some(away) => beside_apps(&problem, &away).into(),
        None => problem.into(),
    })
}

/// What a name stands for, beside apps.
enum Named {
    Framework(Box<v1::Framework>),
    Task(Box<v1::Task>),
}

/// Whether what the services say is all there is to say. A cluster may do without them: then the name is of something that the
/// master knows.
fn is_final(problem: &Problem, name: &str) -> bool {
    let passed_over = [
        code::APP_UNKNOWN,
        code::PEER_UNREACHABLE,
        code::APP_INVALID,
        code::ID_INVALID,
    ];
    name.starts_with('/') || !passed_over.into_iter().any(|code| problem.is(code))
}

/// A framework by its id or name, else a task by its id, else either by a part of its id.
async fn find(master: &mut MasterClient, args: &WhyArgs) -> Result<Option<Named>, Problem> {
    let name = args.name.as_str();
    let framework_id = framework_id(master, args.framework.as_deref()).await?;
    let frameworks = match args.framework {
        Some(_) => Vec::new(),
        None => master.frameworks().await?,
    };
    let is_called = |framework: &v1::Framework| framework.id == name || framework.name == name;
    if !frameworks.iter().any(is_called)
        && let Some(task) = named::task::with_id(master, name, &framework_id).await?
    {
        return Ok(Some(Named::Task(Box::new(task))));
    }
    if let Some(framework) = framework_asked_about(frameworks, name)? {
        return Ok(Some(Named::Framework(Box::new(framework))));
    }
    let asked = v1::ListTasksRequest {
        framework_id,
        ..v1::ListTasksRequest::default()
    };
    let tasks = master.tasks_like(asked).await?;
    if tasks.is_empty() {
        check_framework(master, args.framework.as_deref()).await?;
    }
    let task = named::task::one_like(tasks, name)?;
    Ok(task.map(|task| Named::Task(Box::new(task))))
}

async fn show(master: &mut MasterClient, named: Named, args: &WhyArgs) -> Outcome {
    let format = args.output.output;
    match named {
        Named::Framework(framework) => {
            let entries = master.explain(&framework.id, &[]).await?;
            let value = framework_json(&framework, &entries);
            format.show_text(&value, || framework_in_words(&framework, &entries))
        }
        Named::Task(task) => {
            let found = of_task::Found {
                agent: master.agent_of(&task).await?,
                framework: master.framework_of(&task).await?,
                is_of_named: args.framework.is_some(),
                task: *task,
            };
            let now_ms = wall_ms();
            let value = of_task::in_json(&found, now_ms);
            format.show_text(&value, || of_task::in_words(&found, now_ms))
        }
    }
}

async fn show_app(args: &WhyArgs, services: &ServicesClient, mut answer: Value) -> Outcome {
    let entries = entries_of_app(&args.client, services, &answer).await;
    if let (Value::Object(object), Some(entries)) = (&mut answer, &entries) {
        let entries = entries.iter().map(entry_json);
        object.insert("demand".to_owned(), entries.collect());
    }
    let entries = entries.unwrap_or_default();
    let format = args.output.output;
    format.show_text(&answer, || in_words(&answer, &entries))
}

/// That nothing is called so; with `is_without_apps` nothing is said of apps.
fn nothing_named(name: &str, framework: Option<&str>, is_without_apps: bool) -> Problem {
    let lists = "`proffer frameworks` and `proffer tasks --all` list what the master knows; what is over for long is forgotten";
    match (framework, is_without_apps) {
        (Some(framework), _) => {
            let message = format!("framework {framework} has no task {name}");
            Problem::new(code::TASK_UNKNOWN, message).hint(lists)
        }
        (None, true) => {
            let message = format!("no framework or task is called {name}");
            Problem::new(code::TASK_UNKNOWN, message).hint(lists)
        }
        (None, false) => {
            let message = format!("there is no app, framework or task {name}");
            Problem::new(code::APP_UNKNOWN, message).hint(
                "`proffer apps`, `proffer frameworks` and `proffer tasks --all` list what there is",
            )
        }
    }
}

/// What the master's side of it comes to, and that apps could not be asked: it may be one's name.
fn beside_apps(said: &Problem, away: &Problem) -> Problem {
    let message = format!(
        "{}; apps could not be asked: {}",
        said.message, away.message
    );
    Problem::new(code::PEER_UNREACHABLE, message)
        .hint(format!("{}; of apps: {}", said.hint, away.hint))
}

/// What the master says of an app's demand, when instances wait for offers and the master can be asked.
async fn entries_of_app(
    client: &ClientArgs,
    services: &ServicesClient,
    answer: &Value,
) -> Option<Vec<v1::DemandExplanation>> {
    let demand_id = read(answer).demand_id?;
    let framework = services.framework_id().await.ok()??;
    let mut master = MasterClient::connect(client).await.ok()?;
    master.explain(&framework, &[&demand_id]).await.ok()
}

/// The framework that is called so, if any. Of several of one name, the one that has a session: those that earlier starts of a
/// program have left behind ask for nothing.
fn framework_asked_about(
    mut frameworks: Vec<v1::Framework>,
    name: &str,
) -> Result<Option<v1::Framework>, Problem> {
    let is_active = |framework: &&v1::Framework| framework.name == name && framework.connected;
    if frameworks.iter().filter(is_active).count() == 1 {
        frameworks.retain(|framework| framework.name != name || framework.connected);
    }
    framework_like(frameworks, name)
}

/// The framework that is called so, if any.
pub(crate) fn framework_like(
    frameworks: Vec<v1::Framework>,
    name: &str,
) -> Result<Option<v1::Framework>, Problem> {
    let kind = named::Kind {
        plural: "frameworks",
        code: code::FRAMEWORK_UNKNOWN,
        id: |framework: &v1::Framework| &framework.id,
        called: |framework| &framework.name,
    };
    the_one_named(frameworks, name, &kind)
}

/// The reason that matters most, for the progress line of a command that waits.
pub(crate) fn in_one_line(answer: &Value) -> Option<String> {
    let explanation = read(answer);
    let first = explanation.reasons.into_iter().next()?.message;
    match explanation.agents.into_iter().next() {
        Some(obstacle) => Some(format!("{first}: {}", obstacle.message)),
        None => Some(first),
    }
}

fn read(answer: &Value) -> Explanation {
    Explanation::deserialize(answer).unwrap_or_default()
}

fn in_words(answer: &Value, entries: &[v1::DemandExplanation]) -> String {
    let explanation = read(answer);
    let Explanation {
        app,
        wanted,
        running,
        healthy,
        ..
    } = &explanation;
    let mut lines = vec![format!(
        "{app}: {wanted} wanted, {running} running, {healthy} healthy"
    )];
    if explanation.reasons.is_empty() {
        lines.push("nothing is missing".to_owned());
    }
    for reason in &explanation.reasons {
        lines.push(format!(
            "- {}: {}",
            units::count_of(reason.instances, "instance"),
            reason.message
        ));
        if reason.reason == "offers" {
            let agents = explanation.agents.iter();
            lines.extend(agents.map(|obstacle| format!("  - {}", obstacle.message)));
            lines.extend(entries.iter().flat_map(standing_in_words));
        }
    }
    one_a_line(&lines)
}

fn framework_in_words(framework: &v1::Framework, entries: &[v1::DemandExplanation]) -> String {
    let mut lines = vec![format!(
        "framework {} ({}): {}, {}",
        framework.name,
        framework.id,
        count_of(framework.tasks, "task"),
        count_of(framework.offers, "offer"),
    )];
    if !framework.connected {
        lines.push("- it has no session: nothing is offered to it until it is back".to_owned());
    }
    if entries.is_empty() {
        lines.push(match framework.offers {
            0 => "it asks for nothing that it does not have".to_owned(),
            _ => "all that it asks for is on offer to it".to_owned(),
        });
    }
    for entry in entries {
        let wanted = units::wanted_in_words(entry.wanted);
        lines.push(format!(
            "- {wanted} of {} wanted in role {} and not offered, {} on offer",
            entry.demand_id, entry.role, entry.offered
        ));
        let obstacles = entry.obstacles.iter();
        lines.extend(obstacles.map(|obstacle| format!("  - {}", obstacle.message)));
        lines.extend(standing_in_words(entry));
    }
    one_a_line(&lines)
}

/// What the quota leaves, and who comes first.
fn standing_in_words(entry: &v1::DemandExplanation) -> Vec<String> {
    let mut lines = Vec::new();
    let headroom = format_quantities(entry.headroom.as_ref());
    if !headroom.is_empty() {
        let role = &entry.role;
        lines.push(format!(
            "  - the quota leaves role {role} no more than {headroom}"
        ));
    }
    let share = format_share(entry.share_billionths);
    let before = match entry.claims_before {
        0 => "nobody else with demand comes first".to_owned(),
        1 => "1 other with demand comes first".to_owned(),
        others => format!("{others} others with demand come first"),
    };
    let role = &entry.role;
    lines.push(format!(
        "  - it has {share} of the cluster in role {role}: {before}"
    ));
    lines
}

fn one_a_line(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| escape::line(line)).collect();
    lines.join("\n")
}

fn framework_json(framework: &v1::Framework, entries: &[v1::DemandExplanation]) -> Value {
    json!({
        "framework_id": framework.id,
        "name": framework.name,
        "connected": framework.connected,
        "tasks": framework.tasks,
        "offers": framework.offers,
        "demand": entries.iter().map(entry_json).collect::<Value>(),
    })
}

fn entry_json(entry: &v1::DemandExplanation) -> Value {
    let obstacles = entry.obstacles.iter().map(|obstacle| {
        let mut value = json!({
            "reason": obstacle.reason,
            "message": obstacle.message,
            "agents": obstacle.agents,
        });
        if let (Value::Object(object), Some(failed)) = (&mut value, &obstacle.predicate) {
            let failed = json!({ "place": failed.place, "test": failed.test });
            object.insert("predicate".to_owned(), failed);
        }
        value
    });
    json!({
        "role": entry.role,
        "demand_id": entry.demand_id,
        "wanted": entry.wanted,
        "offered": entry.offered,
        "agents": obstacles.collect::<Value>(),
        "quota_headroom": quantities_json(entry.headroom.as_ref()),
        "share_percent": share_percent(entry.share_billionths),
        "claims_before": entry.claims_before,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry() -> v1::DemandExplanation {
        v1::DemandExplanation {
            role: "eng".to_owned(),
            demand_id: "huge.1".to_owned(),
            wanted: 2,
            obstacles: vec![v1::Obstacle {
                reason: "limit_cpus".to_owned(),
                message: "2 agents fit, but eng is at its limit of cpus".to_owned(),
                agents: 2,
                predicate: None,
            }],
            offered: 1,
            share_billionths: 250_000_000,
            claims_before: 3,
            headroom: Some(v1::Quantities {
                scalars: vec![v1::Scalar {
                    name: "cpus".to_owned(),
                    milli: 0,
                }],
            }),
        }
    }

    #[test]
    fn reasons_become_sentences() {
        let answer = json!({
            "app": "/huge", "wanted": 2, "running": 0, "healthy": 0,
            "reasons": [{"reason": "offers", "message": "no offer yet", "instances": 2}],
            "agents": [{"reason": "insufficient_cpus", "message": "1 agent has less than 64 cpus free", "agents": 1}],
        });
        let expected = "\
/huge: 2 wanted, 0 running, 0 healthy
- 2 instances: no offer yet
  - 1 agent has less than 64 cpus free
  - the quota leaves role eng no more than cpus:0
  - it has 25% of the cluster in role eng: 3 others with demand come first";
        assert_eq!(in_words(&answer, &[entry()]), expected);
        assert_eq!(
            in_one_line(&answer).as_deref(),
            Some("no offer yet: 1 agent has less than 64 cpus free")
        );
    }

    #[test]
    fn where_the_services_are_away_it_is_said_what_the_master_does_not_know() {
        let away = Problem::new(code::PEER_UNREACHABLE, "the services cannot be reached")
            .hint("start them");
        for (problem, begins) in [
            (
                nothing_named("x", None, true),
                "no framework or task is called x; ",
            ),
            (
                Problem::new(code::TASK_UNKNOWN, "web stands in several tasks' ids"),
                "web stands in several tasks' ids; ",
            ),
        ] {
            let told = beside_apps(&problem, &away);
            let words = "apps could not be asked: the services cannot be reached";
            assert_eq!(told.message, format!("{begins}{words}"));
            assert!(told.is(code::PEER_UNREACHABLE), "an app may be called so");
            assert!(told.hint.ends_with("; of apps: start them"), "{told}");
        }
        assert!(nothing_named("x", Some("f"), false).is(code::TASK_UNKNOWN));
        assert!(nothing_named("x", None, false).is(code::APP_UNKNOWN));
        assert!(is_final(&away, "/web") && !is_final(&away, "web"));
        assert!(is_final(&Problem::new(code::AUTH_MISSING, "who"), "web"));
    }

    #[test]
    fn nothing_missing_and_nonsense_are_no_trouble() {
        let fine = json!({"app": "/a", "wanted": 1, "running": 1, "healthy": 1, "reasons": []});
        assert!(in_words(&fine, &[]).ends_with("nothing is missing"));
        for odd in [json!(null), json!([1]), json!({"reasons": "x"})] {
            assert_eq!(in_one_line(&odd), None);
        }
    }

    #[test]
    fn frameworks_are_told_what_stands_in_the_way() {
        let framework = v1::Framework {
            id: "8f31-f1-1".to_owned(),
            name: "batch".to_owned(),
            tasks: 1,
            ..v1::Framework::default()
        };
        let expected = "\
framework batch (8f31-f1-1): 1 task, 0 offers
- it has no session: nothing is offered to it until it is back
- 2 of huge.1 wanted in role eng and not offered, 1 on offer
  - 2 agents fit, but eng is at its limit of cpus
  - the quota leaves role eng no more than cpus:0
  - it has 25% of the cluster in role eng: 3 others with demand come first";
        assert_eq!(framework_in_words(&framework, &[entry()]), expected);
        let mut endless = entry();
        endless.wanted = u32::MAX - 3;
        let text = framework_in_words(&framework, &[endless]);
        let line = "- anything of huge.1 wanted in role eng and not offered, 1 on offer";
        assert!(text.lines().any(|found| found == line), "{text}");
        let text = framework_in_words(&framework, &[]);
        assert!(text.ends_with("it asks for nothing that it does not have"));
        let value = framework_json(&framework, &[entry()]);
        assert_eq!(
            value["demand"][0]["quota_headroom"]["cpus"].to_string(),
            "0"
        );
        assert_eq!(value["demand"][0]["share_percent"].to_string(), "25");
        assert_eq!(value["demand"][0]["agents"][0].get("predicate"), None);
        let mut entry = entry();
        entry.obstacles[0].reason = "predicate".to_owned();
        entry.obstacles[0].predicate = Some(v1::FailedPredicate {
            place: 1,
            test: "region".to_owned(),
        });
        assert_eq!(
            entry_json(&entry)["agents"][0]["predicate"],
            json!({ "place": 1, "test": "region" })
        );
        for name in ["batch", "8f31-f1-1", "31-f1"] {
            let found = framework_like(vec![framework.clone()], name).unwrap();
            assert_eq!(found.unwrap().id, framework.id, "{name}");
        }
        let twins = vec![framework.clone(), framework.clone()];
        framework_like(twins.clone(), "batch").unwrap_err();
        framework_asked_about(twins.clone(), "batch").unwrap_err();
        let mut twins = twins;
        twins[1].id = "other".to_owned();
        twins[1].connected = !twins[0].connected;
        let active = twins.iter().find(|twin| twin.connected).cloned();
        assert_eq!(framework_asked_about(twins, "batch").unwrap(), active);
        assert_eq!(framework_like(vec![framework], "other").unwrap(), None);
    }
}
