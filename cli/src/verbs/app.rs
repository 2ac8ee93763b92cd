//! `proffer app …`: one app, shown, scaled, restarted or removed.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::app_file::absolute_id;
use crate::connection::ClientArgs;
use crate::escape;
use crate::exit::Outcome;
use crate::output::{Column, OutputArgs, Progress, Rows, terminal_width};
use crate::services_client::{App, ServicesClient, Task};
use crate::units::{format_age, format_number, parse_instances, parse_utc_ms, wall_ms};
use crate::wait::{WaitArgs, until_gone, until_settled};

/// What to do with one app.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum AppVerb {
    /// Show an app and its instances.
    Show(ShowArgs),
    /// Change how many instances an app has.
    Scale(ScaleArgs),
    /// Replace every instance of an app, a few at a time.
    Restart(ChangeArgs),
    /// Remove an app and end its instances.
    Rm(ChangeArgs),
}

/// `proffer app show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The app, such as /web or web.
    app: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer app scale`.
#[derive(Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// The app, such as /web or web.
    app: String,
    /// How many instances it is to have.
    #[arg(value_parser = parse_instances, allow_negative_numbers = true)]
    instances: u64,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// `proffer app restart` and `proffer app rm`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArgs {
    /// The app, such as /web or web.
    app: String,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    client: ClientArgs,
}

impl AppVerb {
    /// Whether it asks for something that goes on without it.
    pub(crate) fn changes(&self) -> bool {
        !matches!(self, Self::Show(_))
    }

    /// How its result is written.
    pub(crate) fn output(&self) -> OutputArgs {
        match self {
            Self::Show(args) => args.output,
            Self::Scale(args) => args.output,
            Self::Restart(args) | Self::Rm(args) => args.output,
        }
    }
}

/// Runs one of them.
pub(crate) async fn run(verb: AppVerb) -> Outcome {
    match verb {
        AppVerb::Show(args) => show(args).await,
        AppVerb::Scale(args) => {
            let services = ServicesClient::new(&args.client)?;
            services.scale(&args.app, args.instances).await?;
            finish(&services, &args.app, &args.wait, args.output).await
        }
        AppVerb::Restart(args) => {
            let services = ServicesClient::new(&args.client)?;
            services.restart(&args.app).await?;
            finish(&services, &args.app, &args.wait, args.output).await
        }
        AppVerb::Rm(args) => remove(args).await,
    }
}

async fn show(args: ShowArgs) -> Outcome {
    let app = ServicesClient::new(&args.client)?.app(&args.app).await?;
    let mut value = app_json(&app);
    if let Value::Object(object) = &mut value {
        object.insert(
            "tasks".to_owned(),
            app.tasks.iter().map(task_json).collect(),
        );
    }
    args.output
        .output
        .show_text(&value, || describe(&app, wall_ms(), terminal_width()))
}

async fn remove(args: ChangeArgs) -> Outcome {
    let services = ServicesClient::new(&args.client)?;
    let id = absolute_id(&args.app);
    services.remove(&id).await?;
    if let Some(patience) = args.wait.patience() {
        until_gone(&services, &id, patience.timeout, &mut Progress::new()).await?;
    }
    let value = json!({ "id": id, "removed": true });
    args.output
        .output
        .show_text(&value, || format!("{} is removed", escape::line(&id)))
}

/// Waits as asked, then shows how the app stands.
async fn finish(
    services: &ServicesClient,
    id: &str,
    wait: &WaitArgs,
    output: OutputArgs,
) -> Outcome {
    let id = absolute_id(id);
    let apps = match wait.patience() {
        Some(patience) => {
            let ids = std::slice::from_ref(&id);
            until_settled(services, ids, patience, &mut Progress::new()).await?
        }
        None => vec![services.app(&id).await?],
    };
    show_apps(&apps, output)
}

/// How apps stand, one a row.
pub(crate) fn show_apps(apps: &[App], output: OutputArgs) -> Outcome {
    let values: Vec<Value> = apps.iter().map(app_json).collect();
    output.output.show(&values, || {
        let mut rows = Rows::new(&[
            Column::Id("APP"),
            Column::Number("INSTANCES"),
            Column::Number("READY"),
            Column::Number("CPUS"),
            Column::Number("MEM_MIB"),
            Column::Text("PORTS"),
            Column::Text("STATE"),
        ])
        .when_empty("there are no apps; `proffer run web` creates one");
        for app in apps {
            rows.push([
                app.id.clone(),
                app.instances.to_string(),
                app.ready().to_string(),
                app.cpus.as_ref().map(format_number).unwrap_or_default(),
                app.mem.as_ref().map(format_number).unwrap_or_default(),
                ports(app),
                state(app).to_owned(),
            ]);
        }
        rows
    })
}

/// One word for how an app stands.
fn state(app: &App) -> &'static str {
    if !app.deployments.is_empty() {
        "deploying"
    } else if app.is_settled() {
        "settled"
    } else {
        "recovering"
    }
}

fn ports(app: &App) -> String {
    let numbers: Vec<String> = app
        .port_definitions
        .iter()
        .map(|port| port.port.to_string())
        .collect();
    numbers.join(",")
}

/// An app for programs. The environment is left out: it holds secrets.
fn app_json(app: &App) -> Value {
    json!({
        "id": app.id,
        "version": app.version,
        "command": app.cmd,
        "arguments": app.args,
        "image": app.image(),
        "instances": app.instances,
        "instances_ready": app.ready(),
        "instances_running": app.tasks_running,
        "instances_healthy": app.tasks_healthy,
        "instances_unhealthy": app.tasks_unhealthy,
        "instances_starting": app.tasks_staged,
        "cpus": app.cpus,
        "mem_mib": app.mem,
        "disk_mib": app.disk,
        "labels": app.labels,
        "service_ports": app.port_definitions.iter().map(|port| json!({
            "port": port.port,
            "name": port.name,
            "protocol": port.protocol,
        })).collect::<Value>(),
        "has_health_checks": !app.health_checks.is_empty(),
        "deployments": app.deployments.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(),
        "state": state(app),
        "last_failure": app.last_task_failure.as_ref().map(|failure| json!({
            "task_id": failure.task_id,
            "state": failure.state,
            "message": failure.message,
            "at": failure.timestamp,
        })),
    })
}

fn task_json(task: &Task) -> Value {
    json!({
        "id": task.id,
        "host": task.host,
        "ports": task.ports,
        "address": address(task),
        "state": task.state.as_deref().map(plain_state),
        "healthy": task.is_healthy(),
        "started_at": task.started_at,
    })
}

/// An app for people: its lines, then its instances.
fn describe(app: &App, now_ms: u64, width: Option<usize>) -> String {
    let command = match (&app.cmd, &app.args) {
        (Some(line), _) => line.clone(),
        (None, Some(arguments)) => arguments.join(" "),
        (None, None) => String::new(),
    };
    let command_name = match (&app.cmd, app.image()) {
        (None, Some(_)) => "arguments",
        _ => "command",
    };
    let amount = |number: &Option<serde_json::Number>| {
        number.as_ref().map(format_number).unwrap_or_default()
    };
    let mut lines = vec![
        ("app", app.id.clone()),
        ("state", state(app).to_owned()),
        (
            "instances",
            format!("{} of {} ready", app.ready(), app.instances),
        ),
        ("image", app.image().unwrap_or_default().to_owned()),
        (command_name, command),
        ("cpus", amount(&app.cpus)),
        ("mem", format!("{} MiB", amount(&app.mem))),
        ("ports", ports(app)),
        ("labels", pairs(&app.labels)),
        ("version", app.version.clone()),
    ];
    if let Some(failure) = &app.last_task_failure {
        let at = &failure.timestamp;
        lines.push((
            "failed",
            format!("{at} {}: {}", plain_state(&failure.state), failure.message),
        ));
        lines.push((
            "",
            format!("`proffer logs {}` shows what it wrote", failure.task_id),
        ));
    }
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{name:<10} {}", escape::line(value));
    }
    if app.tasks.is_empty() {
        return text.trim_end().to_owned();
    }
    text + "\n" + &instance_rows(app, now_ms).render(width)
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}

fn instance_rows(app: &App, now_ms: u64) -> Rows {
    let mut rows = Rows::new(&[
        Column::Id("TASK"),
        Column::Text("STATE"),
        Column::Text("HEALTH"),
        Column::Text("ADDRESS"),
        Column::Text("SINCE"),
    ]);
    for task in &app.tasks {
        rows.push([
            task.id.clone(),
            task.state.as_deref().map(plain_state).unwrap_or_default(),
            health_word(task.is_healthy()).to_owned(),
            address(task),
            format_age(now_ms, started_ms(task)),
        ]);
    }
    rows
}

/// Where an instance answers: its first port, or its host alone.
fn address(task: &Task) -> String {
    let host = task.host.clone().unwrap_or_default();
    match task.ports.first() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// 0 when it has not started.
fn started_ms(task: &Task) -> u64 {
    let started = task.started_at.as_deref();
    started.and_then(parse_utc_ms).unwrap_or(0)
}

/// `TASK_RUNNING` is Mesos's word; ours is `running`.
fn plain_state(state: &str) -> String {
    state.strip_prefix("TASK_").unwrap_or(state).to_lowercase()
}

/// What checks say, in a word.
pub(crate) fn health_word(is_healthy: Option<bool>) -> &'static str {
    match is_healthy {
        Some(true) => "healthy",
        Some(false) => "unhealthy",
        None => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        serde_json::from_value(json!({
            "id": "/web", "cmd": "run\u{1b}[2J", "instances": 2, "cpus": 0.1, "mem": 32.0, "version": "v",
            "env": {"PASSWORD": "secret"}, "tasksRunning": 2, "tasksHealthy": 1, "healthChecks": [{}],
            "portDefinitions": [{"port": 10000, "name": "http", "protocol": "tcp"}],
            "lastTaskFailure": {"taskId": "t", "state": "TASK_FAILED", "message": "exit 1", "timestamp": "then"},
            "tasks": [{"id": "t1", "host": "h", "ports": [31000], "state": "TASK_RUNNING",
                "startedAt": "1970-01-01T00:00:01.000Z", "healthCheckResults": [{"alive": true}]}]
        }))
        .unwrap()
    }

    #[test]
    fn an_image_is_shown_with_its_arguments() {
        let mut app = app();
        app.cmd = None;
        app.args = Some(vec!["--all".to_owned()]);
        let container = json!({"docker": {"image": "/srv/web.tar"}});
        app.container = serde_json::from_value(container).unwrap();
        let text = describe(&app, 61_000, None);
        assert!(
            text.contains("image      /srv/web.tar\narguments  --all\n"),
            "{text}"
        );
        assert_eq!(app_json(&app)["image"], "/srv/web.tar");
    }

    #[test]
    fn an_app_is_described_without_secrets_and_escapes() {
        let text = describe(&app(), 61_000, None);
        for line in [
            "app        /web",
            "state      recovering",
            "instances  1 of 2 ready",
            "command    run[2J",
            "mem        32 MiB",
            "failed     then failed: exit 1",
            "t1    running  healthy  h:31000  60s",
        ] {
            assert!(text.contains(line), "{line:?} in\n{text}");
        }
        assert!(!text.contains("secret"));
        let json = app_json(&app()).to_string();
        assert!(!json.contains("secret"));
        for key in [
            "instances_ready",
            "mem_mib",
            "service_ports",
            "last_failure",
        ] {
            assert!(json.contains(key), "{key} in {json}");
        }
    }
}
