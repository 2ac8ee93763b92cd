//! `/v2/apps` and everything below it.

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use proffer_model::{Problem, code};
use proffer_server::http::Body;
use proffer_server::log::Untrusted;
use proffer_services_core::app::App;
use proffer_services_core::effect::ApiAnswer;
use proffer_services_core::event::{ApiCall, ChangeMode, InstanceSet, Origin};
use proffer_services_core::id::{AppId, DeploymentId, InstanceId, Version};
use serde_json::{Map, Value, json};

use super::query::{OpenPath, Parameters};
use super::refusal::Refused;
use super::{Api, origin_of};
use crate::json::body::parse_body;
use crate::json::read::read_patch;
use crate::json::write::{Environment, app_json, failure_json, insert_counts, task_json};
use crate::view::AppView;

const DEPLOYMENT_ID: HeaderName = HeaderName::from_static("marathon-deployment-id");

/// What a path below `/v2/apps/` is about.
enum Target<'a> {
    App(&'a str),
    Tasks(&'a str),
    Task(&'a str, &'a str),
    Restart(&'a str),
    Versions(&'a str),
    Version(&'a str, &'a str),
}

impl<'a> Target<'a> {
    /// Decided from the end, since ids hold slashes.
    fn of(path: &'a str) -> Self {
        let path = path.trim_end_matches('/');
        match path.rsplit_once('/') {
            Some((app, "tasks")) => Self::Tasks(app),
            Some((app, "restart")) => Self::Restart(app),
            Some((app, "versions")) => Self::Versions(app),
            Some((head, last)) => match head.rsplit_once('/') {
                Some((app, "tasks")) => Self::Task(app, last),
                Some((app, "versions")) => Self::Version(app, last),
                _ => Self::App(path),
            },
            None => Self::App(path),
        }
    }
}

/// `GET /v2/apps`.
pub(crate) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let (parameters, _) = Parameters::of(request).await?;
    let matches = |field: Option<&str>, wanted: Option<&str>| match wanted {
        None => true,
        Some(wanted) => {
            field.is_some_and(|field| field.to_lowercase().contains(&wanted.to_lowercase()))
        }
    };
    let labels = parameters
        .first("label")
        .map(parse_selector)
        .transpose()?
        .unwrap_or_default();
    let embed = Embed::of(&parameters, "apps.");
    let mut apps = Vec::new();
    for row in api.view.apps() {
        let spec = &row.app.spec;
        let command = match &spec.command {
            proffer_model::Command::Shell(line) => Some(line.as_str()),
            proffer_model::Command::Exec(_)
            | proffer_model::Command::Named { .. }
            | proffer_model::Command::Image(_)
            | proffer_model::Command::Data(_) => None,
        };
        if matches(command, parameters.first("cmd"))
            && matches(Some(spec.id.as_str()), parameters.first("id"))
            && labels.iter().all(|term| term.accepts(&spec.labels))
        {
            apps.push(Value::Object(api.app_json(&row, embed)));
        }
    }
    Ok(Json(json!({"apps": apps})).into_response())
}

/// `POST /v2/apps`.
pub(crate) async fn create(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let origin = origin_of(&request);
    let body = body_of(request).await?;
    let patch = Box::new(read_patch(&parse_body(&body)?, &api.info.role)?);
    let answer = api.ask(origin, ApiCall::CreateApp { patch }).await?;
    let ApiAnswer::Created(app) = answer else {
        return Err(unexpected());
    };
    let location = HeaderValue::from_str(&format!("/v2/apps{}", app.spec.id));
    let deployment = app.deployment.as_ref().map(|deployment| deployment.id);
    let row = AppView {
        app,
        instances: Vec::new(),
    };
    let map = api.app_json(
        &row,
        Embed {
            tasks: true,
            failure: false,
        },
    );
    let mut response = (StatusCode::CREATED, Json(Value::Object(map))).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(with_deployment(response, deployment))
}

/// Everything below `/v2/apps/`.
pub(crate) async fn below(
    State(api): State<Api>,
    OpenPath(path): OpenPath,
    request: Request,
) -> Result<Response, Refused> {
    let (parameters, request) = Parameters::of(request).await?;
    match (Target::of(&path), request.method().clone()) {
        (Target::App(app), method) => {
            on_app(&api, AppId::new(app)?, &method, &parameters, request).await
        }
        (Target::Restart(app), Method::POST) => {
            let force = parameters.is("force", false)?;
            let call = ApiCall::RestartApp {
                app: AppId::new(app)?,
                force,
            };
            deployed(api.ask(origin_of(&request), call).await?)
        }
        (Target::Tasks(app), Method::GET) => tasks(&api, app),
        (Target::Tasks(app), Method::DELETE) => {
            let host = parameters
                .first("host")
                .filter(|host| *host != "*")
                .map(str::to_owned);
            let instances = InstanceSet::OfApp {
                app: AppId::new(app)?,
                host,
            };
            let answer = kill(&api, instances, &parameters, origin_of(&request)).await?;
            api.killed(answer, |tasks| json!({"tasks": tasks}))
        }
        (Target::Task(app, task), Method::DELETE) => {
            let id = InstanceId::of_name(task).ok_or_else(|| unknown_task(task))?;
            let instances = InstanceSet::Named {
                app: Some(AppId::new(app)?),
                ids: vec![id],
            };
            let answer = kill(&api, instances, &parameters, origin_of(&request)).await?;
            api.killed(answer, |tasks| json!({"task": tasks.first()}))
        }
        (Target::Versions(app), Method::GET) => {
            let row = api.row(&AppId::new(app)?)?;
            Ok(Json(json!({"versions": [row.app.version.to_string()]})).into_response())
        }
        (Target::Version(app, version), Method::GET) => {
            version_of(&api, &AppId::new(app)?, version)
        }
        (_, method) => Err(wrong_method(&method)),
    }
}

/// What is asked of an app itself.
async fn on_app(
    api: &Api,
    app: AppId,
    method: &Method,
    parameters: &Parameters,
    request: Request,
) -> Result<Response, Refused> {
    let mode = match *method {
        Method::GET | Method::HEAD => return one(api, &app, parameters),
        Method::DELETE => {
            let call = ApiCall::DeleteApp {
                app,
                force: parameters.is("force", true)?,
            };
            return deployed(api.ask(origin_of(&request), call).await?);
        }
        Method::PUT if parameters.is("partialUpdate", true)? => ChangeMode::Merge,
        Method::PUT => ChangeMode::Replace,
        Method::PATCH => ChangeMode::MergeExisting,
        _ => return Err(wrong_method(method)),
    };
    change(api, app, mode, parameters, request).await
}

fn wrong_method(method: &Method) -> Refused {
    let message = format!("this address does not take {method}");
    Problem::new(code::ROUTE_METHOD, message)
        .hint("apps take GET, PUT, PATCH and DELETE; tasks GET and DELETE; restart POST")
        .into()
}

fn unknown_task(task: &str) -> Problem {
    let message = format!("Task '{}' does not exist", Untrusted(task));
    Problem::new(code::TASK_UNKNOWN, message).hint("GET /v2/tasks lists the tasks")
}

fn one(api: &Api, id: &AppId, parameters: &Parameters) -> Result<Response, Refused> {
    let row = api.row(id)?;
    let mut embed = Embed::of(parameters, "app.");
    // One app always comes with its tasks and its last failure.
    embed.tasks = true;
    embed.failure = true;
    Ok(Json(json!({"app": api.app_json(&row, embed)})).into_response())
}

fn version_of(api: &Api, id: &AppId, version: &str) -> Result<Response, Refused> {
    let row = api.row(id)?;
    if row.app.version.to_string() != version {
        return Err(Problem::new(
            code::APP_UNKNOWN,
            format!("App '{id}' does not exist in version {version}"),
        )
        .hint("only the present version is kept")
        .into());
    }
    Ok(Json(Value::Object(app_json(
        &row.app,
        &api.info.role,
        Environment::Shown,
    )))
    .into_response())
}

async fn change(
    api: &Api,
    app: AppId,
    mode: ChangeMode,
    parameters: &Parameters,
    request: Request,
) -> Result<Response, Refused> {
    let origin = origin_of(&request);
    let body = parse_body(&body_of(request).await?)?;
    let is_rollback = body.as_object().is_some_and(|map| {
        map.contains_key("version") && map.keys().all(|key| key == "version" || key == "id")
    });
    if is_rollback {
        return Err(
            Problem::new(code::APP_INVALID, "earlier versions of apps are not kept")
                .field("version")
                .hint("send the whole definition to go back to")
                .into(),
        );
    }
    let patch = Box::new(read_patch(&body, &api.info.role)?);
    let call = ApiCall::ChangeApp {
        app,
        patch,
        mode,
        force: parameters.is("force", false)?,
    };
    deployed(api.ask(origin, call).await?)
}

fn tasks(api: &Api, app: &str) -> Result<Response, Refused> {
    let row = api.row(&AppId::new(app)?)?;
    Ok(Json(json!({"tasks": api.tasks_json(&row)})).into_response())
}

/// Ends instances as `scale`, `force` and `wipe` say.
pub(crate) async fn kill(
    api: &Api,
    instances: InstanceSet,
    parameters: &Parameters,
    origin: Origin,
) -> Result<ApiAnswer, Refused> {
    let scale = parameters.is("scale", false)?;
    if scale && parameters.is("wipe", false)? {
        return Err(Problem::new(
            code::FIELD_INVALID,
            "You cannot use scale and wipe at the same time.",
        )
        .field("scale")
        .hint("give one of them")
        .into());
    }
    let call = ApiCall::KillInstances {
        instances,
        scale,
        force: parameters.is("force", false)?,
    };
    api.ask(origin, call).await
}

/// The answer to what begins a deployment.
pub(crate) fn deployed(answer: ApiAnswer) -> Result<Response, Refused> {
    let ApiAnswer::Deployed {
        version,
        deployment,
        is_new,
    } = answer
    else {
        return Err(unexpected());
    };
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let response = (status, Json(deployment_result(version, deployment))).into_response();
    Ok(with_deployment(response, Some(deployment)))
}

fn deployment_result(version: Version, deployment: DeploymentId) -> Value {
    json!({"version": version.to_string(), "deploymentId": deployment.to_string()})
}

fn with_deployment(mut response: Response, deployment: Option<DeploymentId>) -> Response {
    let value = deployment.and_then(|id| HeaderValue::from_str(&id.to_string()).ok());
    if let Some(value) = value {
        response.headers_mut().insert(DEPLOYMENT_ID, value);
    }
    response
}

/// The whole body of a request.
pub(crate) async fn body_of(request: Request) -> Result<bytes::Bytes, Refused> {
    let Body(bytes) = Body::from_request(request, &())
        .await
        .map_err(|refused| Refused::from(refused.0))?;
    Ok(bytes)
}

/// An answer of the core that does not fit the question.
pub(crate) fn unexpected() -> Refused {
    Problem::new(code::INTERNAL, "the answer does not fit the question")
        .hint("this is a defect of Proffer")
        .into()
}

/// What comes with an app.
#[derive(Clone, Copy)]
struct Embed {
    tasks: bool,
    failure: bool,
}

impl Embed {
    fn of(parameters: &Parameters, prefix: &str) -> Self {
        let has = |word: &str| {
            parameters
                .all("embed")
                .any(|value| value.strip_prefix(prefix).unwrap_or(value) == word)
        };
        Self {
            tasks: has("tasks") || has("failures"),
            failure: has("lastTaskFailure") || has("failures"),
        }
    }
}

impl Api {
    /// One app, or that it does not exist.
    pub(crate) fn row(&self, id: &AppId) -> Result<AppView, Refused> {
        self.view.app(id).ok_or_else(|| {
            let problem = Problem::new(code::APP_UNKNOWN, format!("App '{id}' does not exist"));
            problem.hint("GET /v2/apps lists the apps").into()
        })
    }

    fn app_json(&self, row: &AppView, embed: Embed) -> Map<String, Value> {
        let app: &App = &row.app;
        let mut map = app_json(app, &self.info.role, Environment::Shown);
        insert_counts(&mut map, row.instances.iter().map(|instance| &**instance));
        let deployments: Vec<Value> = app
            .deployment
            .iter()
            .map(|deployment| json!({"id": deployment.id.to_string()}))
            .collect();
        map.insert("deployments".into(), Value::Array(deployments));
        if embed.tasks {
            map.insert("tasks".into(), Value::Array(self.tasks_json(row)));
        }
        if embed.failure
            && let Some(failure) = &app.last_failure
        {
            map.insert(
                "lastTaskFailure".into(),
                failure_json(&app.spec.id, failure),
            );
        }
        map
    }

    /// The instances of an app as tasks.
    pub(crate) fn tasks_json(&self, row: &AppView) -> Vec<Value> {
        row.instances
            .iter()
            .map(|instance| task_json(instance, Some(&row.app), &self.info.role))
            .collect()
    }

    /// The answer to a kill: the tasks, or the deployment that scales down.
    pub(crate) fn killed(
        &self,
        answer: ApiAnswer,
        body: impl FnOnce(Vec<Value>) -> Value,
    ) -> Result<Response, Refused> {
        let ApiAnswer::Killed(instances) = answer else {
            return deployed(answer);
        };
        let tasks = instances.iter().map(|instance| {
            let row = self.view.app(&instance.app);
            task_json(instance, row.as_ref().map(|row| &*row.app), &self.info.role)
        });
        Ok(Json(body(tasks.collect())).into_response())
    }
}

/// One term of a label selector. Every form wants the label to be there, as in Marathon.
enum Term {
    Exists(String),
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Term {
    fn accepts(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let value = |key: &String| labels.get(key);
        match self {
            Self::Exists(key) => value(key).is_some(),
            Self::Is(key, wanted) => value(key) == Some(wanted),
            Self::IsNot(key, other) => value(key).is_some_and(|value| value != other),
            Self::In(key, wanted) => value(key).is_some_and(|value| wanted.contains(value)),
            Self::NotIn(key, others) => value(key).is_some_and(|value| !others.contains(value)),
        }
    }
}

/// Reads `a, b==c, d!=e, f in (g,h), i notin (j)`.
fn parse_selector(text: &str) -> Result<Vec<Term>, Problem> {
    let mut terms = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (term, after) = split_term(rest);
        terms.push(parse_term(term.trim()).ok_or_else(|| {
            Problem::new(code::FIELD_INVALID, format!("{term:?} is not a term of a label selector"))
                .field("label")
                .hint("write key, key==value, key!=value, key in (a,b) or key notin (a,b), joined by commas")
        })?);
        rest = after.trim();
    }
    Ok(terms)
}

/// How many terms a selector has; for `parsers.rs`.
pub(crate) fn count_terms(text: &str) -> Result<usize, Problem> {
    parse_selector(text).map(|terms| terms.len())
}

/// Up to the first comma that is not in parentheses, and what follows it.
fn split_term(text: &str) -> (&str, &str) {
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                return (
                    text.get(..at).unwrap_or(text),
                    text.get(at + 1..).unwrap_or(""),
                );
            }
            _ => {}
        }
    }
    (text, "")
}

fn parse_term(term: &str) -> Option<Term> {
    let word = |text: &str| {
        let text = text.trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        (!text.is_empty() && text.chars().all(plain)).then(|| text.to_owned())
    };
    let words = |text: &str| {
        let inner = text.trim().strip_prefix('(')?.strip_suffix(')')?;
        inner.split(',').map(word).collect::<Option<Vec<_>>>()
    };
    if let Some((key, value)) = term.split_once("==") {
        return Some(Term::Is(word(key)?, word(value)?));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Term::IsNot(word(key)?, word(value)?));
    }
    if let Some((key, values)) = term.split_once(" notin ") {
        return Some(Term::NotIn(word(key)?, words(values)?));
    }
    if let Some((key, values)) = term.split_once(" in ") {
        return Some(Term::In(word(key)?, words(values)?));
    }
    word(term).map(Term::Exists)
}
