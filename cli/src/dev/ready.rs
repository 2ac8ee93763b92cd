//! From apps in files to addresses that answer.
//!
//! Healthy is what services say; an address is only printed once something answers there, since HAProxy learns of a
//! healthy instance a moment later.

use std::fmt::Write;
use std::time::{Duration, Instant};

use proffer_model::{Kind, Problem, code};
use proffer_server::client::HttpClient;

use crate::app_file::AppDefinition;
use crate::dev::ports::Ports;
use crate::exit::Outcome;
use crate::limits::{DEV_ROUTE_TIMEOUT, DEV_START_TIMEOUT};
use crate::output::Progress;
use crate::services_client::{App, PortDefinition, ServicesClient};
use crate::units::count_of;
use crate::wait::{Patience, Pause, until_settled};

/// Longer than anybody waits: `dev` has Ctrl-C, and says why it waits.
const PATIENCE: Patience = Patience {
    timeout: Duration::from_secs(7 * 24 * 3600),
    gives_up: false,
};

/// Does something that the services refuse for as long as they are not ready: connecting, reading their state.
pub(crate) async fn once_ready<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Problem>
where
    F: Future<Output = Result<T, Problem>>,
{
    let start = Instant::now();
    let mut pause = Pause::new();
    loop {
        match attempt().await {
            Err(problem)
                if problem.kind == Kind::Unavailable && start.elapsed() < DEV_START_TIMEOUT =>
            {
                pause.next().await;
            }
            done => return done,
        }
    }
}

/// Makes the apps be as the files say and waits until every app is healthy. Answers their ids.
pub(crate) async fn deploy(
    services: &ServicesClient,
    apps: &[AppDefinition],
    progress: &mut Progress,
) -> Outcome<Vec<String>> {
    for app in apps {
        let sent = once_ready(|| services.replace(&app.id, &app.body, true)).await;
        sent.map_err(|mut problem| {
            problem.message = format!("{}: {}", app.id, problem.message);
            problem
        })?;
    }
    // Those that came back, and those that an earlier dev left running, are as good as those of the files.
    let running = services
        .apps()
        .await?
        .into_iter()
        .filter(|app| app.instances > 0);
    let ids: Vec<String> = running.map(|app| app.id).collect();
    until_settled(services, &ids, PATIENCE, progress).await?;
    Ok(ids)
}

/// Waits until no app has an instance.
pub(crate) async fn until_empty(
    services: &ServicesClient,
    progress: &mut Progress,
) -> Result<(), Problem> {
    let mut pause = Pause::new();
    loop {
        let apps = services.apps_with_tasks().await?;
        let left: usize = apps.iter().map(|app| app.tasks.len()).sum();
        let is_busy = apps.iter().any(|app| !app.deployments.is_empty());
        if left == 0 && !is_busy {
            return Ok(());
        }
        progress.update(&format!("ending, {} left", count_of(left, "instance")));
        pause.next().await;
    }
}

/// Where the apps answer, a line each.
pub(crate) async fn addresses(
    services: &ServicesClient,
    ids: &[String],
    has_haproxy: bool,
    progress: &mut Progress,
) -> Outcome<String> {
    let mut text = String::new();
    for id in ids {
        let app = services.app(id).await?;
        let urls = match has_haproxy {
            true => routed(&app, progress).await,
            false => own_addresses(&app),
        };
        for url in urls {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{id}  {url}");
        }
        if app.port_definitions.is_empty() {
            let _ = writeln!(text, "{id}  is running");
        }
    }
    progress.clear();
    Ok(text)
}

/// The app's service ports, once HAProxy answers there.
async fn routed(app: &App, progress: &mut Progress) -> Vec<String> {
    let mut urls = Vec::new();
    for definition in app
        .port_definitions
        .iter()
        .filter(|definition| is_tcp(definition))
    {
        let url = format!("http://{}/", Ports::on_loopback(definition.port));
        // Where nothing is checked, nobody has promised that anything answers.
        if !app.health_checks.is_empty() {
            progress.update(&format!("{}: waiting for {url}", app.id));
            if !until_routed(&url).await {
                progress.say(&format!("{url} does not answer yet; the log says more"));
            }
        }
        urls.push(url);
    }
    urls
}

/// Whether the address answers as something other than a load balancer without servers.
async fn until_routed(url: &str) -> bool {
    let http = HttpClient::new().request_timeout(Duration::from_secs(2));
    let start = Instant::now();
    let mut pause = Pause::new();
    while start.elapsed() < DEV_ROUTE_TIMEOUT {
        match http.get(url).await {
            Ok(answer) if answer.status.as_u16() != 503 => return true,
            // What is not HTTP is no business of ours: it answers.
            Err(problem) if !problem.is(code::PEER_UNREACHABLE) => return true,
            _ => pause.next().await,
        }
    }
    false
}

/// Where each instance answers. All are on this host.
fn own_addresses(app: &App) -> Vec<String> {
    let first_tcp = app.port_definitions.iter().position(is_tcp);
    let ports = app
        .tasks
        .iter()
        .filter_map(|task| task.ports.get(first_tcp?));
    ports
        .map(|port| format!("http://{}/", Ports::on_loopback(*port)))
        .collect()
}

fn is_tcp(definition: &PortDefinition) -> bool {
    definition
        .protocol
        .as_deref()
        .is_none_or(|protocol| protocol.contains("tcp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instance_has_an_address_of_its_own() {
        let app: App = serde_json::from_value(serde_json::json!({
            "id": "/a",
            "portDefinitions": [{"port": 10001, "protocol": "udp"}, {"port": 10000, "protocol": "tcp"}],
            "tasks": [{"id": "1", "ports": [31000, 31001]}, {"id": "2", "ports": [31007, 31004]}, {"id": "3"}],
        }))
        .unwrap();
        assert_eq!(
            own_addresses(&app),
            ["http://127.0.0.1:31001/", "http://127.0.0.1:31004/"]
        );
    }
}
