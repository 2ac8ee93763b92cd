//! What services says runs where: Marathon's `GET /v2/apps?embed=apps.tasks`, read leniently and app by app.
//!
//! Unknown fields and nulls are ignored, as Marathon's clients do. An app that cannot be read is left out with its reason;
//! only a body that is no app list at all is an error of the whole.

use std::collections::BTreeMap;

use proffer_model::{Problem, code};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::limits::{APPS_MAX, PORTS_PER_APP_MAX};
use crate::name::{AppId, quote};

/// An app, its ports in order, and its instances.
#[derive(Clone, Debug)]
pub struct App {
    /// Its path.
    pub id: AppId,
    /// Its labels, as given.
    pub labels: BTreeMap<String, String>,
    /// Its ports; labels and tasks speak of them by index.
    pub ports: Vec<AppPort>,
    /// Its health checks; without any, an instance that runs is healthy.
    pub checks: Vec<HealthCheck>,
    /// Its instances, in any state.
    pub tasks: Vec<Task>,
    /// Whether instances have addresses of their own, where they listen at `container_port`.
    pub has_own_addresses: bool,
}

/// One port of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPort {
    /// Where the service is found by others; 0 when it has none.
    pub service_port: u16,
    /// Where a container with an address of its own listens.
    pub container_port: u16,
    /// Whether TCP is spoken there.
    pub is_tcp: bool,
}

/// One health check.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthCheck {
    /// `HTTP`, `MESOS_TCP`, `COMMAND`, ….
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
    /// The path of an HTTP check.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// The index of the port it asks; 0 unless given.
    #[serde(deserialize_with = "or_default")]
    pub port_index: usize,
    /// A fixed port instead of an index.
    pub port: Option<u16>,
}

impl HealthCheck {
    /// Whether it asks over plain HTTP.
    pub fn is_http(&self) -> bool {
        matches!(self.protocol.as_str(), "HTTP" | "MESOS_HTTP")
    }
}

/// One instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// Its id.
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    /// The name or address of its agent.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    /// Its host ports, in the order of the app's ports.
    #[serde(deserialize_with = "or_default")]
    pub ports: Vec<u16>,
    /// `TASK_RUNNING`, ….
    #[serde(deserialize_with = "or_default")]
    pub state: String,
    /// One result for each health check that has reported.
    #[serde(deserialize_with = "or_default")]
    pub health_check_results: Vec<Option<HealthResult>>,
    /// Addresses of its own.
    #[serde(deserialize_with = "or_default")]
    pub ip_addresses: Vec<TaskAddress>,
}

/// What one health check last said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthResult {
    /// Whether it passed.
    #[serde(deserialize_with = "or_default")]
    pub alive: bool,
}

/// An address of an instance's own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskAddress {
    /// The address.
    #[serde(deserialize_with = "or_default")]
    pub ip_address: String,
}

impl Task {
    /// Whether it runs and, when the app has health checks, all that have reported pass and at least one has.
    pub fn is_serving(&self, has_checks: bool) -> bool {
        let mut results = self.health_check_results.iter().flatten().peekable();
        let is_healthy =
            !has_checks || (results.peek().is_some() && results.all(|result| result.alive));
        self.state == "TASK_RUNNING" && is_healthy
    }
}

/// An app that cannot be served, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadApp {
    /// What it calls itself, escaped and cut.
    pub id: String,
    /// Why.
    pub problem: Problem,
}

/// Reads an app list. The apps come in the order of their ids; a second app with the same id is left out.
pub fn decode(body: &[u8]) -> Result<Vec<Result<App, BadApp>>, Problem> {
    let list: AppList = serde_json::from_slice(body).map_err(|error| {
        Problem::new(
            code::BODY_MALFORMED,
            format!("the app list cannot be read: {error}"),
        )
        .hint("is this the address of Proffer's services or of Marathon?")
    })?;
    if list.apps.len() > APPS_MAX {
        let message = format!("{} apps are more than {APPS_MAX}", list.apps.len());
        return Err(Problem::new(code::FIELD_TOO_LONG, message).field("apps"));
    }
    let mut good: BTreeMap<AppId, App> = BTreeMap::new();
    let mut bad = Vec::new();
    for value in list.apps {
        let id = value
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let fault = match decode_app(value) {
            Ok(app) if good.contains_key(&app.id) => {
                Problem::new(code::APP_EXISTS, "the list holds this app twice")
            }
            Ok(app) => {
                good.insert(app.id.clone(), app);
                continue;
            }
            Err(problem) => problem,
        };
        let id = AppId::parse(&id).map_or_else(|_| quote(&id), |id| id.to_string());
        bad.push(Err(BadApp { id, problem: fault }));
    }
    Ok(good.into_values().map(Ok).chain(bad).collect())
}

#[derive(Deserialize)]
struct AppList {
    apps: Vec<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AppWire {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    port_definitions: Vec<PortWire>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<u16>,
    #[serde(deserialize_with = "or_default")]
    container: ContainerWire,
    #[serde(deserialize_with = "or_default")]
    networks: Vec<NetworkWire>,
    #[serde(deserialize_with = "or_default")]
    health_checks: Vec<HealthCheck>,
    #[serde(deserialize_with = "or_default")]
    tasks: Vec<Task>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerWire {
    #[serde(deserialize_with = "or_default")]
    port_mappings: Vec<PortWire>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NetworkWire {
    #[serde(deserialize_with = "or_default")]
    mode: String,
}

/// A port definition or a port mapping.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PortWire {
    port: Option<u16>,
    service_port: Option<u16>,
    container_port: Option<u16>,
    #[serde(deserialize_with = "or_default")]
    protocol: String,
}

fn decode_app(value: Value) -> Result<App, Problem> {
    let wire: AppWire = serde_json::from_value(value).map_err(|error| {
        // The text of such an error can repeat a value from the app.
        let message = format!("the app cannot be read: {}", quote(&error.to_string()));
        Problem::new(code::APP_INVALID, message)
    })?;
    let id = AppId::parse(&wire.id)?;
    let is_mapped = !wire.container.port_mappings.is_empty();
    let definitions = if is_mapped {
        wire.container.port_mappings
    } else {
        wire.port_definitions
    };
    let mut ports: Vec<AppPort> = definitions.iter().map(port_of).collect();
    if ports.is_empty() {
        let legacy = |port: u16| AppPort {
            service_port: port,
            container_port: 0,
            is_tcp: true,
        };
        ports = wire.ports.into_iter().map(legacy).collect();
    }
    if ports.len() > PORTS_PER_APP_MAX {
        let message = format!("{} ports are more than {PORTS_PER_APP_MAX}", ports.len());
        return Err(Problem::new(code::FIELD_TOO_LONG, message).field("portDefinitions"));
    }
    Ok(App {
        id,
        labels: wire.labels,
        ports,
        checks: wire.health_checks,
        tasks: wire.tasks,
        has_own_addresses: wire
            .networks
            .iter()
            .any(|network| network.mode == "container"),
    })
}

fn port_of(wire: &PortWire) -> AppPort {
    let is_tcp = wire.protocol.is_empty() || wire.protocol.split(',').any(|p| p.trim() == "tcp");
    AppPort {
        service_port: wire.service_port.or(wire.port).unwrap_or_default(),
        container_port: wire.container_port.unwrap_or_default(),
        is_tcp,
    }
}

/// Null means absent, as Marathon's clients send it.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_text(text: &str) -> Vec<Result<App, BadApp>> {
        decode(text.as_bytes()).expect("a list")
    }

    #[test]
    fn nulls_and_unknown_fields_are_as_good_as_absent() {
        let apps = decode_text(
            r#"{"apps":[{"id":"/a","labels":null,"ports":null,"tasks":null,"healthChecks":null,
                "container":null,"networks":null,"novel":{"x":1},"portDefinitions":[{"port":10000,"name":null}]}]}"#,
        );
        let app = apps[0].as_ref().expect("good");
        assert_eq!(app.ports[0].service_port, 10_000);
        assert!(app.ports[0].is_tcp);
    }

    #[test]
    fn one_bad_app_leaves_the_others() {
        let apps = decode_text(
            r#"{"apps":[{"id":"/b"},{"id":7},{"id":"/x\n y"},{"id":"/a","ports":["x"]},{"id":"/c","ports":[1,70000]},
                {"id":"/b","ports":[1]},null,{"id":"/a"}]}"#,
        );
        let good: Vec<&str> = apps.iter().flatten().map(|app| app.id.as_str()).collect();
        assert_eq!(good, ["/a", "/b"]);
        assert_eq!(apps.iter().filter(|app| app.is_err()).count(), 6);
    }

    #[test]
    fn what_is_no_list_is_an_error() {
        for text in [
            "",
            "[]",
            "{}",
            "null",
            "{\"apps\":{}}",
            "<html>",
            "{\"apps\":[",
            "\u{0}",
        ] {
            let problem = decode(text.as_bytes()).expect_err(text);
            assert!(problem.is(code::BODY_MALFORMED));
        }
        let deep = format!("{{\"apps\":{}", "[".repeat(100_000));
        decode(deep.as_bytes()).expect_err("deep");
    }

    #[test]
    fn only_running_and_healthy_instances_serve() {
        let results = |alive: &[Option<bool>]| {
            alive
                .iter()
                .map(|a| a.map(|alive| HealthResult { alive }))
                .collect::<Vec<_>>()
        };
        for (state, alive, has_checks, serves) in [
            ("TASK_RUNNING", &[][..], false, true),
            ("TASK_RUNNING", &[], true, false),
            ("TASK_RUNNING", &[None], true, false),
            ("TASK_RUNNING", &[Some(true)], true, true),
            ("TASK_RUNNING", &[Some(true), None], true, true),
            ("TASK_RUNNING", &[Some(true), Some(false)], true, false),
            ("TASK_STAGING", &[Some(true)], true, false),
            ("TASK_KILLING", &[Some(true)], false, false),
            ("TASK_UNREACHABLE", &[Some(true)], false, false),
            ("", &[], false, false),
        ] {
            let task = Task {
                state: state.to_owned(),
                health_check_results: results(alive),
                ..Task::default()
            };
            assert_eq!(task.is_serving(has_checks), serves, "{state} {alive:?}");
        }
    }

    #[test]
    fn port_mappings_and_protocols_are_read() {
        let apps = decode_text(
            r#"{"apps":[{"id":"/a","networks":[{"mode":"container"}],"container":{"portMappings":[
                {"containerPort":80,"servicePort":10001,"protocol":"udp,tcp"},{"containerPort":53,"protocol":"udp"}]}}]}"#,
        );
        let app = apps[0].as_ref().expect("good");
        assert!(app.has_own_addresses);
        let port = AppPort {
            service_port: 10_001,
            container_port: 80,
            is_tcp: true,
        };
        assert_eq!(app.ports[0], port);
        assert!(!app.ports[1].is_tcp);
    }
}
