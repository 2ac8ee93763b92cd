//! The services' REST API as the verbs use it: what is read of its answers, and its refusals as problems.
//!
//! Reads only what is shown, and leaves out what is not there, so that older and newer services both work. Never reads
//! the values of an app's environment.

use std::collections::BTreeMap;

use axum::http::{Method, StatusCode, Uri};
use bytes::Bytes;
use proffer_model::{Problem, code};
use proffer_server::client::{HttpClient, problem_of};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

use crate::connection::{ClientArgs, unreachable, with_token_hint};
use crate::limits::CALL_TIMEOUT;

/// An app as the services know it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) cmd: Option<String>,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) container: Option<Container>,
    pub(crate) cpus: Option<Number>,
    pub(crate) mem: Option<Number>,
    pub(crate) disk: Option<Number>,
    pub(crate) instances: u64,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) port_definitions: Vec<PortDefinition>,
    pub(crate) health_checks: Vec<Value>,
    pub(crate) version: String,
    pub(crate) tasks_staged: u64,
    pub(crate) tasks_running: u64,
    pub(crate) tasks_healthy: u64,
    pub(crate) tasks_unhealthy: u64,
    pub(crate) deployments: Vec<Identified>,
    pub(crate) tasks: Vec<Task>,
    pub(crate) last_task_failure: Option<TaskFailure>,
}

/// The container of an app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    docker: Option<Docker>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Docker {
    image: Option<String>,
}

/// A port of an app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PortDefinition {
    pub(crate) port: u16,
    pub(crate) protocol: Option<String>,
    pub(crate) name: Option<String>,
}

/// Something of which only the id matters.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Identified {
    pub(crate) id: String,
}

/// An instance of an app.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) host: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) ports: Vec<u16>,
    pub(crate) started_at: Option<String>,
    pub(crate) health_check_results: Vec<HealthResult>,
}

/// What one check of an instance says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HealthResult {
    pub(crate) alive: bool,
}

/// How the last instance that ended badly did so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TaskFailure {
    pub(crate) task_id: String,
    pub(crate) state: String,
    pub(crate) message: String,
    pub(crate) timestamp: String,
}

impl Task {
    /// What all checks say; absent before their first result.
    pub(crate) fn is_healthy(&self) -> Option<bool> {
        let results = &self.health_check_results;
        (!results.is_empty()).then(|| results.iter().all(|result| result.alive))
    }
}

impl App {
    /// The image that it runs in, if any.
    pub(crate) fn image(&self) -> Option<&str> {
        self.container.as_ref()?.docker.as_ref()?.image.as_deref()
    }

    /// Instances that serve: healthy ones, or running ones where nothing is checked.
    pub(crate) fn ready(&self) -> u64 {
        if self.health_checks.is_empty() {
            self.tasks_running
        } else {
            self.tasks_healthy
        }
    }

    /// Whether there are exactly as many as asked for and nothing is under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.deployments.is_empty()
            && self.ready() == self.instances
            && self.tasks_running == self.instances
            && self.tasks_staged == 0
    }
}

#[derive(Deserialize)]
struct Apps {
    apps: Vec<App>,
}

/// Speaks to the services.
#[derive(Clone)]
pub(crate) struct ServicesClient {
    http: HttpClient,
    /// Without a slash at its end.
    base: String,
}

impl ServicesClient {
    /// For the services at `--services`; connects when first needed.
    pub(crate) fn new(args: &ClientArgs) -> Result<Self, Problem> {
        let base = args.services.trim_end_matches('/').to_owned();
        let host = base
            .strip_prefix("http://")
            .filter(|host| !host.is_empty() && !host.contains('/'));
        if host.is_none() {
            return Err(
                Problem::new(code::CONFIG_INVALID, format!("{base:?} is not a URL"))
                    .field("services")
                    .hint("write http://host:port, such as http://127.0.0.1:8080"),
            );
        }
        if let Some(uri) = base.parse::<Uri>().ok().filter(|uri| uri.host().is_some()) {
            args.check_plaintext(uri.host().unwrap_or_default(), "services")?;
        }
        let mut http = HttpClient::new()
            .request_timeout(CALL_TIMEOUT)
            .insecure_allow_plaintext(args.insecure_allow_plaintext);
        if let Some(token) = args.token()? {
            http = http.token(&token);
        }
        Ok(Self { http, base })
    }

    /// Whether the services know their apps: unavailable until they have read them from the master.
    pub(crate) async fn ready(&self) -> Result<(), Problem> {
        self.call(Method::GET, "/v2/queue", None).await.map(|_| ())
    }

    /// Every app, without its instances.
    pub(crate) async fn apps(&self) -> Result<Vec<App>, Problem> {
        Ok(self
            .read::<Apps>("/v2/apps?embed=apps.lastTaskFailure")
            .await?
            .apps)
    }

    /// Every app, with its instances, those that are ending included.
    pub(crate) async fn apps_with_tasks(&self) -> Result<Vec<App>, Problem> {
        Ok(self.read::<Apps>("/v2/apps?embed=apps.tasks").await?.apps)
    }

    /// One app, with its instances.
    pub(crate) async fn app(&self, id: &str) -> Result<App, Problem> {
        #[derive(Deserialize)]
        struct One {
            app: App,
        }
        let path = format!(
            "/v2/apps{}?embed=app.tasks&embed=app.lastTaskFailure",
            path_of(id)?
        );
        Ok(self.read::<One>(&path).await?.app)
    }

    /// Creates an app; one that exists is a conflict.
    pub(crate) async fn create(&self, body: &Value) -> Result<(), Problem> {
        self.call(Method::POST, "/v2/apps", Some(body))
            .await
            .map(|_| ())
    }

    /// Creates or changes an app so that it is as `body` says and nothing else; with `force` also while it is being
    /// deployed.
    pub(crate) async fn replace(&self, id: &str, body: &Value, force: bool) -> Result<(), Problem> {
        let path = format!("/v2/apps{}?partialUpdate=false&force={force}", path_of(id)?);
        self.call(Method::PUT, &path, Some(body)).await.map(|_| ())
    }

    /// Changes how many instances an app has, while it is being deployed too.
    pub(crate) async fn scale(&self, id: &str, instances: u64) -> Result<(), Problem> {
        let body = serde_json::json!({ "instances": instances });
        // PUT would create an app that is not there.
        let path = format!("/v2/apps{}?force=true", path_of(id)?);
        self.call(Method::PATCH, &path, Some(&body))
            .await
            .map(|_| ())
    }

    /// Replaces every instance.
    pub(crate) async fn restart(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v2/apps{}/restart", path_of(id)?);
        self.call(Method::POST, &path, None).await.map(|_| ())
    }

    /// Removes an app and its instances.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), Problem> {
        let path = format!("/v2/apps{}", path_of(id)?);
        self.call(Method::DELETE, &path, None).await.map(|_| ())
    }

    /// Why an app does not have all its instances, as the services put it.
    pub(crate) async fn why(&self, id: &str) -> Result<Value, Problem> {
        self.read(&format!("/v1/why{}", path_of(id)?)).await
    }

    /// The id that the master has given the services, when they have one.
    pub(crate) async fn framework_id(&self) -> Result<Option<String>, Problem> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Info {
            framework_id: Option<String>,
        }
        Ok(self.read::<Info>("/v2/info").await?.framework_id)
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        let body = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!(
                "the services at {} answered what is not theirs: {error}",
                self.base
            );
            Problem::new(code::BODY_MALFORMED, message)
                .hint("is --services the address of `proffer services`?")
        })
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, Problem> {
        let url = format!("{}{path}", self.base);
        let body = body.map(|value| Bytes::from(value.to_string()));
        match self.http.request(method, &url, body).await {
            Ok(answer) if answer.status.is_success() => Ok(answer.body),
            Ok(answer) => Err(refusal(answer.status, &answer.body)),
            Err(problem) if problem.is(code::PEER_UNREACHABLE) => {
                let hint = "is `proffer services` or `proffer dev` running? name its address with --services or \
                            PROFFER_SERVICES";
                // It names the address and every layer; the last part is what happened.
                let why = problem.message.rsplit(": ").next().unwrap_or_default();
                Err(unreachable("services", &self.base, why, hint))
            }
            Err(problem) => Err(problem),
        }
    }
}

/// An app's id as it stands in a URL; what could be another address is refused here.
fn path_of(id: &str) -> Result<String, Problem> {
    let id = crate::app_file::absolute_id(id);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '.' | '_');
    if id == "/" || !id.chars().all(is_plain) {
        return Err(Problem::new(code::ID_INVALID, format!("{id:?} is not the id of an app"))
            .field("id")
            .hint("write segments of lower-case letters, digits, '-' and '.', joined by '/', as in /prod/web"));
    }
    Ok(id)
}

/// The server's hints are for those who speak HTTP.
fn with_own_hint(problem: Problem) -> Problem {
    if problem.is(code::ROUTE_UNKNOWN) {
        let message = "what answers there is not the services' REST API";
        return Problem::new(code::CONFIG_INVALID, message)
            .field("services")
            .hint("name it, usually http://127.0.0.1:8080, with --services or PROFFER_SERVICES");
    }
    if problem.is(code::APP_UNKNOWN) {
        return problem.hint("`proffer apps` lists the apps");
    }
    with_token_hint(problem)
}

/// The problem in a refusal: ours, or what Marathon would say.
fn refusal(status: StatusCode, body: &[u8]) -> Problem {
    if let Some(problem) = problem_of(body) {
        return with_own_hint(problem);
    }
    let code = match status.as_u16() {
        401 => code::AUTH_MISSING,
        403 => code::AUTH_DENIED,
        404 => code::ROUTE_UNKNOWN,
        409 => code::APP_LOCKED,
        429 => code::OVERLOADED,
        502 | 503 => code::PEER_UNREACHABLE,
        400..=499 => code::APP_INVALID,
        _ => code::INTERNAL,
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("message").and_then(Value::as_str) {
        Some(message) => Problem::new(code, message),
        None => Problem::new(code, format!("the services answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::Kind;

    use super::*;

    #[test]
    fn refusals_become_problems() {
        let ours = br#"{"code":"app.invalid","field":"cpus","message":"is negative","hint":"give more","details":[]}"#;
        let problem = refusal(StatusCode::UNPROCESSABLE_ENTITY, ours);
        assert_eq!(
            problem.to_string(),
            "app.invalid: cpus: is negative (give more)"
        );
        assert_eq!(problem.kind, Kind::Invalid);
        for (status, body, kind) in [
            (
                404,
                &b"{\"message\":\"App '/x' does not exist\"}"[..],
                Kind::NotFound,
            ),
            (409, b"", Kind::Conflict),
            (401, b"<html>", Kind::Unauthenticated),
            (500, b"null", Kind::Internal),
        ] {
            let problem = refusal(StatusCode::from_u16(status).unwrap(), body);
            assert_eq!(problem.kind, kind, "{status}");
            assert!(!problem.message.is_empty(), "{status}");
        }
    }

    #[test]
    fn ids_cannot_become_other_addresses() {
        assert_eq!(path_of("web").unwrap(), "/web");
        assert_eq!(path_of("/prod/web").unwrap(), "/prod/web");
        for bad in ["", "/", "a?force=true", "a b", "a#b", "a%2fb"] {
            assert!(path_of(bad).unwrap_err().is(code::ID_INVALID), "{bad}");
        }
    }

    #[test]
    fn an_app_is_settled_when_it_is_as_asked() {
        let mut app: App = serde_json::from_str(
            r#"{"id":"/a","instances":2,"tasksRunning":2,"tasksHealthy":1,"healthChecks":[{}],"env":{"A":"b"}}"#,
        )
        .unwrap();
        assert!(!app.is_settled(), "one is not healthy");
        app.tasks_healthy = 2;
        assert!(app.is_settled());
        app.deployments = vec![Identified { id: "d".to_owned() }];
        assert!(!app.is_settled(), "a deployment is under way");
        app.deployments.clear();
        app.tasks_running = 3;
        assert!(!app.is_settled(), "an old one is still there");
    }
}
