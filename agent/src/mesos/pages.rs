//! What tools that were written for Mesos ask an agent: its pages, and the GET calls of `POST /api/v1`, in JSON and protobuf.
//!
//! Written anew for each request, of rows that the core has recorded and of what the kernel counts for the processes of its
//! tasks. What is secret is in none of them: no command, environment or container.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use proffer_agent_core::{RunId, TaskRow};
use proffer_leader::MESOS_VERSION;
use proffer_model::resources::Amount;
use proffer_model::{
    AgentDescription, FrameworkId, Principal, Resources, Role, Status, TaskSpec, Time,
};
use proffer_proto::mesos::v1::agent::{self, call::Type};
use proffer_proto::mesos::{
    Capabilities, MESOS_ROLE_VARIABLE, MesosExecutor, ResourceForm, encode_attributes,
    encode_discovery, encode_domain, encode_mesos_status, encode_resources, labels_of,
    mesos_container_id, number_of, read_json, seconds_of, v1, value_of, write_json,
};
use proffer_server::mesos_figures::Figures;
use proffer_server::mesos_http::{Called, Media, acceptable, bad_request, discard, read, refusal};
use proffer_server::mesos_logging;
use serde_json::{Map, Value, json};

use super::figures::{of_agent, told_state};
use super::file_pages::{self, FilePages};
use super::form::{Asked, in_form};
use super::{scheduler, virtual_paths};
use crate::usage::Usage;
use crate::view::View;

const PAGES: [&str; 6] = [
    "metrics/snapshot",
    "state",
    "monitor/statistics",
    "containers",
    "flags",
    "version",
];
/// What agents are said to be able to do, by masters too.
const CAPABILITIES: [&str; 4] = [
    "MULTI_ROLE",
    "HIERARCHICAL_ROLE",
    "RESERVATION_REFINEMENT",
    "AGENT_DRAINING",
];
/// When this was built is nobody's business: the same sources are the same program.
const MESOS_BUILD_DATE: &str = "1970-01-01 00:00:00";
const AWARE: Capabilities = Capabilities {
    revocable: true,
    killing: true,
    gpus: true,
    shared: true,
    partition_aware: true,
    multi_role: true,
    refined: true,
};

/// What the pages are made of.
#[derive(Debug)]
pub(crate) struct Pages {
    /// The tasks.
    pub(crate) view: View,
    /// What the agent says of itself.
    pub(crate) description: AgentDescription,
    /// Where runs have their directories.
    pub(crate) runs_dir: PathBuf,
    /// When the agent started.
    pub(crate) started: Time,
}

impl Pages {
    /// The pages, each also beneath `/slave(1)`.
    pub(crate) fn router(self) -> Router {
        let files = FilePages::new(self.runs_dir.clone(), self.view.clone());
        let of_files = FilePages::router(Arc::clone(&files));
        let of_frameworks = scheduler::router(self.view.clone());
        let call = async move |State(pages): State<Arc<Self>>, request: Request| {
            call(pages, &files, request).await
        };
        let shared = Arc::new(self);
        let mut router = Router::new()
            .route(mesos_logging::PATH, any(mesos_logging::toggle))
            .route("/slave(1)/health", any(async || StatusCode::OK));
        for above in ["", "/slave(1)"] {
            // Any longer path is served by the nearest handler.
            for longer in ["", "/{*rest}"] {
                let path = format!("{above}/api/v1{longer}");
                router = router.route(&path, any(call.clone()));
            }
            for name in PAGES {
                let answer = async move |State(pages): State<Arc<Self>>, asked: Asked| {
                    page(pages, name, &asked).await
                };
                // Mesos looks at the method of this one alone.
                let answer = match name {
                    "flags" => get(answer),
                    _ => any(answer),
                };
                router = router.route(&format!("{above}/{name}"), answer.clone());
                router = router.route(&format!("{above}/{name}.json"), answer);
            }
        }
        router
            .with_state(shared)
            .merge(of_files)
            .merge(of_frameworks)
    }
}

async fn page(pages: Arc<Pages>, name: &'static str, asked: &Asked) -> Response {
    // Off the runtime: it reads `/proc`.
    match tokio::task::spawn_blocking(move || pages.page(name)).await {
        Ok(Some(page)) => in_form(&page, asked),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn call(pages: Arc<Pages>, files: &Arc<FilePages>, request: Request) -> Response {
    if request.method() == Method::POST && is_of_records(request.headers()) {
        // The only call that comes so.
        discard(request).await;
        return unsupported(Type::AttachContainerInput);
    }
    let Called { call, wanted, head } = match read::<agent::Call>(request).await {
        Ok(called) => called,
        Err(refused) => return refused,
    };
    let kind = call.r#type();
    if kind == Type::Unknown {
        return bad_request("Failed to validate agent::Call: Expecting 'type' to be present");
    }
    let media = acceptable(wanted);
    let principal = head.extensions.get::<Principal>();
    if let Ok(media) = media
        && let Some(answered) = file_pages::answer(files, principal, &call, media).await
    {
        return answered;
    }
    let is_of_files = matches!(kind, Type::ListFiles | Type::ReadFile);
    let answered = tokio::task::spawn_blocking(move || pages.answer(kind.as_str_name())).await;
    match (answered, media) {
        // Whatever its caller accepts: the reason is a text.
        (Ok(None), _) if !is_of_files => unsupported(kind),
        (_, Err(refused)) => refused,
        (Ok(Some(answer)), Ok(media)) => written(&answer, media),
        (Ok(None) | Err(_), Ok(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether a body is a stream of records.
fn is_of_records(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|given| given.to_str().ok());
    let name = given.and_then(|given| given.split(';').next());
    name.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/recordio"))
}

fn unsupported(kind: Type) -> Response {
    let name = kind.as_str_name();
    let text = format!("{name} is not supported by this agent: see its logs with `proffer logs`");
    refusal(StatusCode::NOT_IMPLEMENTED, &text)
}

/// JSON has lists that are empty too.
fn written(answer: &Value, media: Media) -> Response {
    if media == Media::Json {
        return json_of(answer);
    }
    match read_json::<agent::Response>(answer.to_string().as_bytes()) {
        Ok(answer) => media.answer(&answer),
        Err(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, &why),
    }
}

fn json_of(value: &Value) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        value.to_string(),
    )
        .into_response()
}

impl Pages {
    fn page(&self, name: &str) -> Option<Value> {
        Some(match name {
            "state" => self.state(),
            "monitor/statistics" => self.containers(false),
            "containers" => self.containers(true),
            "flags" => json!({"flags": self.flags()}),
            "metrics/snapshot" => json!(self.figures()),
            "version" => {
                json!({"version": MESOS_VERSION, "proffer_version": self.description.version})
            }
            _ => return None,
        })
    }

    fn answer(&self, kind: &str) -> Option<Value> {
        let (key, part) = match kind {
            "GET_HEALTH" => ("get_health", json!({"healthy": true})),
            "GET_VERSION" => (
                "get_version",
                json!({"version_info": {"version": MESOS_VERSION}}),
            ),
            "GET_FLAGS" => {
                let flags = self.flags().into_iter();
                let flags = flags.map(|(name, value)| json!({"name": name, "value": value}));
                ("get_flags", json!({"flags": flags.collect::<Vec<_>>()}))
            }
            "GET_METRICS" => {
                let figures = self.figures().into_iter();
                let figures = figures.map(|(name, value)| json!({"name": name, "value": value}));
                (
                    "get_metrics",
                    json!({"metrics": figures.collect::<Vec<_>>()}),
                )
            }
            "GET_LOGGING_LEVEL" => ("get_logging_level", json!({"level": 0})),
            "GET_AGENT" => ("get_agent", json!({"agent_info": self.agent_info()})),
            "GET_TASKS" => ("get_tasks", self.get_tasks()),
            "GET_EXECUTORS" => ("get_executors", self.get_executors()),
            "GET_OPERATIONS" => ("get_operations", json!({})),
            "GET_RESOURCE_PROVIDERS" => ("get_resource_providers", json!({})),
            "GET_FRAMEWORKS" => ("get_frameworks", self.get_frameworks()),
            "GET_CONTAINERS" => ("get_containers", self.get_containers()),
            "GET_STATE" => {
                let state = json!({
                    "get_tasks": self.get_tasks(),
                    "get_executors": self.get_executors(),
                    "get_frameworks": self.get_frameworks(),
                });
                ("get_state", state)
            }
            _ => return None,
        };
        Some(json!({"type": kind, key: part}))
    }

    fn id(&self) -> String {
        self.view
            .agent()
            .map(|id| id.to_string())
            .unwrap_or_default()
    }

    fn port(&self) -> u16 {
        let port = self.description.address.rsplit_once(':');
        port.and_then(|(_, port)| port.parse().ok())
            .unwrap_or_default()
    }

    fn flags(&self) -> BTreeMap<&'static str, String> {
        let work_dir = self.runs_dir.parent().unwrap_or(&self.runs_dir);
        BTreeMap::from([
            ("attributes", self.description.attributes.to_string()),
            ("hostname", self.description.host.clone()),
            ("port", self.port().to_string()),
            ("resources", self.description.resources.to_string()),
            ("work_dir", work_dir.display().to_string()),
        ])
    }

    #[allow(
        clippy::float_arithmetic,
        reason = "Mesos says times in seconds with a fraction; nothing is decided by them"
    )]
    fn figures(&self) -> Figures {
        let now = seconds_of(proffer_server::clock::now().wall_ms);
        of_agent(
            &self.description.resources,
            &self.view.tasks(),
            self.view.master().is_some(),
            now - seconds_of(self.started.wall_ms),
        )
    }

    /// What it says of its master, its place and its resources is not always there.
    fn state(&self) -> Value {
        let mut page = self.state_of_all();
        if let Some(host) = self.view.master().as_deref().map(host_of) {
            insert(&mut page, "master_hostname", json!(host));
        }
        if let Some(domain) = &self.description.domain {
            let domain = write_json(&encode_domain(domain));
            let domain = serde_json::from_slice(&domain).unwrap_or_default();
            insert(&mut page, "domain", domain);
        }
        let all = &self.description.resources;
        let mut allocated = Resources::new();
        for row in self.view.tasks() {
            if !row.status.state.is_terminal() {
                allocated.add(&row.spec.resources);
            }
        }
        for (name, value) in [
            ("resources", sums(all)),
            ("unreserved_resources", sums(&all.unreserved())),
            ("unreserved_resources_full", in_full(&all.unreserved())),
            (
                "unreserved_resources_allocated",
                sums(&allocated.unreserved()),
            ),
            ("reserved_resources", reserved(all, sums)),
            ("reserved_resources_full", reserved(all, in_full)),
            ("reserved_resources_allocated", reserved(&allocated, sums)),
        ] {
            insert(&mut page, name, value);
        }
        page
    }

    fn state_of_all(&self) -> Value {
        let mut frameworks: BTreeMap<FrameworkId, Vec<TaskRow>> = BTreeMap::new();
        for row in self.view.tasks() {
            frameworks
                .entry(row.framework.clone())
                .or_default()
                .push(row);
        }
        let attributes = self.description.attributes.iter();
        let shown = |text: &str| number_of(text).map_or_else(|| json!(text), Value::from);
        let attributes = attributes.map(|(name, value)| (name.to_string(), shown(value.as_str())));
        let is_live = |rows: &Vec<TaskRow>| rows.iter().any(|row| !row.status.state.is_terminal());
        let (live, over): (Vec<_>, Vec<_>) =
            frameworks.into_iter().partition(|(_, rows)| is_live(rows));
        let all = |of: Vec<(FrameworkId, Vec<TaskRow>)>| {
            let of = of.into_iter();
            of.map(|(id, rows)| self.framework(&id, &rows))
                .collect::<Vec<_>>()
        };
        json!({
            "version": MESOS_VERSION,
            "build_date": MESOS_BUILD_DATE,
            "build_time": 0.0,
            "build_user": "",
            "capabilities": CAPABILITIES.map(|name| json!({"type": name})),
            "id": self.id(),
            "pid": format!("slave(1)@{}", self.description.address),
            "hostname": self.description.host,
            "start_time": seconds_of(self.started.wall_ms),
            "resource_providers": [],
            "attributes": attributes.collect::<Map<_, _>>(),
            "flags": self.flags(),
            "frameworks": all(live),
            "completed_frameworks": all(over),
        })
    }

    fn framework(&self, id: &FrameworkId, rows: &[TaskRow]) -> Value {
        let mut executors: BTreeMap<(String, RunId), Vec<&TaskRow>> = BTreeMap::new();
        for row in rows {
            // Mesos's command executor goes by the name of its task. One that runs again is another, with a directory of its own.
            let run = (executor_of(row), row.output);
            executors.entry(run).or_default().push(row);
        }
        let (mut live, mut over) = (Vec::new(), Vec::new());
        for ((executor, run), rows) in executors {
            let is_live = |row: &&TaskRow| !row.status.state.is_terminal();
            let (running, ended): (Vec<&TaskRow>, Vec<&TaskRow>) =
                rows.iter().copied().partition(is_live);
            let is_over = running.is_empty();
            let container = rows.first().map(|row| container_of(row));
            let mut used = Resources::new();
            running.iter().for_each(|row| used.add(&row.spec.resources));
            let first = rows.first();
            let page = json!({
                "id": executor,
                "name": first.map(|row| executor_title(row)).unwrap_or_default(),
                "source": first.map(|row| source_of(row)).unwrap_or_default(),
                "container": container.unwrap_or_default(),
                "directory": virtual_paths::sandbox(&self.runs_dir, run),
                "resources": sums(&used),
                "tasks": running.iter().map(|row| self.task(row)).collect::<Vec<_>>(),
                "queued_tasks": [],
                "completed_tasks": ended.iter().map(|row| self.task(row)).collect::<Vec<_>>(),
            });
            if is_over {
                over.push(page)
            } else {
                live.push(page)
            }
        }
        json!({
            "id": id.as_str(),
            "name": id.as_str(),
            "executors": live,
            "completed_executors": over,
        })
    }

    fn task(&self, row: &TaskRow) -> Value {
        let timestamp = seconds_of(row.status.wall_ms);
        let mut page = json!({
            "id": row.status.task.as_str(),
            "name": row.spec.name,
            "framework_id": row.framework.as_str(),
            "executor_id": executor_said(row).unwrap_or_default(),
            "slave_id": self.id(),
            "state": told_state(row).as_str_name(),
            "resources": sums(&row.spec.resources),
            "statuses": [{"state": told_state(row).as_str_name(), "timestamp": timestamp}],
        });
        if !row.spec.labels.is_empty() {
            let labels = row.spec.labels.iter();
            let labels = labels.map(|(key, value)| json!({"key": key, "value": value}));
            insert(&mut page, "labels", labels.collect());
        }
        if let Some(role) = role_of(&row.spec) {
            insert(&mut page, "role", json!(role));
        }
        if let Some(said) = discovery_of(&row.spec) {
            let said = serde_json::from_slice(&write_json(&said)).unwrap_or_default();
            insert(&mut page, "discovery", said);
        }
        page
    }

    /// What runs, and what the kernel has counted for it.
    fn containers(&self, with_status: bool) -> Value {
        let all = self.view.tasks().into_iter();
        let running = all.filter_map(|row| Some((row.pid?, row)));
        let pages = running.map(|(pid, row)| {
            let mut page = json!({
                "container_id": container_of(&row),
                "executor_id": executor_of(&row),
                "executor_name": executor_title(&row),
                "framework_id": row.framework.as_str(),
                "source": source_of(&row),
                "statistics": statistics(pid, &row.spec.resources),
            });
            if with_status {
                let status =
                    json!({"container_id": {"value": container_of(&row)}, "executor_pid": pid});
                insert(&mut page, "status", status);
            }
            page
        });
        pages.collect()
    }

    fn agent_info(&self) -> Value {
        let info = v1::AgentInfo {
            hostname: self.description.host.clone(),
            port: Some(self.port().into()),
            resources: encode_resources(&self.description.resources, &ResourceForm::default()),
            attributes: encode_attributes(&self.description.attributes),
            id: self.view.agent().map(|id| v1::AgentId {
                value: id.to_string(),
            }),
            ..v1::AgentInfo::default()
        };
        serde_json::from_slice(&write_json(&info)).unwrap_or_default()
    }

    fn get_tasks(&self) -> Value {
        let (mut live, mut over) = (Vec::new(), Vec::new());
        for row in self.view.tasks() {
            let task = v1::Task {
                name: row.spec.name.clone(),
                task_id: v1::TaskId {
                    value: row.status.task.to_string(),
                },
                framework_id: v1::FrameworkId {
                    value: row.framework.to_string(),
                },
                executor_id: executor_said(&row).map(|name| v1::ExecutorId {
                    value: name.to_owned(),
                }),
                agent_id: v1::AgentId { value: self.id() },
                state: told_state(&row).into(),
                statuses: vec![status_of(&row)],
                status_update_state: Some(told_state(&row).into()),
                discovery: discovery_of(&row.spec),
                resources: encode_resources(&row.spec.resources, &ResourceForm::default()),
                labels: labels_of(&row.spec.labels),
                ..v1::Task::default()
            };
            let task: Value = serde_json::from_slice(&write_json(&task)).unwrap_or_default();
            let is_over = row.status.state.is_terminal();
            if is_over {
                over.push(task)
            } else {
                live.push(task)
            }
        }
        json!({"launched_tasks": live, "completed_tasks": over})
    }

    /// As on the page of the state: a task without an executor is one by its own name, as Mesos's command executor is.
    fn get_executors(&self) -> Value {
        let mut is_live: BTreeMap<(FrameworkId, String, RunId), bool> = BTreeMap::new();
        for row in self.view.tasks() {
            let executor = (row.framework.clone(), executor_of(&row), row.output);
            *is_live.entry(executor).or_default() |= !row.status.state.is_terminal();
        }
        let (live, over): (Vec<_>, Vec<_>) = is_live.into_iter().partition(|(_, is_live)| *is_live);
        let all = |of: Vec<((FrameworkId, String, RunId), bool)>| {
            let infos = of.into_iter().map(|((framework, executor, _), _)| {
                json!({"executor_info": {
                    "executor_id": {"value": executor},
                    "framework_id": {"value": framework.as_str()},
                }})
            });
            infos.collect::<Vec<_>>()
        };
        json!({"executors": all(live), "completed_executors": all(over)})
    }

    fn get_frameworks(&self) -> Value {
        let rows = self.view.tasks();
        let ids: std::collections::BTreeSet<&str> =
            rows.iter().map(|row| row.framework.as_str()).collect();
        let frameworks = ids
            .into_iter()
            .map(|id| json!({"framework_info": {"user": "", "name": id, "id": {"value": id}}}));
        json!({"frameworks": frameworks.collect::<Vec<_>>()})
    }

    fn get_containers(&self) -> Value {
        let all = self.view.tasks().into_iter();
        let running = all.filter_map(|row| Some((row.pid?, row)));
        let containers = running.map(|(pid, row)| {
            json!({
                "framework_id": {"value": row.framework.as_str()},
                "executor_id": {"value": executor_of(&row)},
                "executor_name": executor_title(&row),
                "container_id": {"value": container_of(&row)},
                "container_status": {"executor_pid": pid},
                "resource_statistics": statistics(pid, &row.spec.resources),
            })
        });
        json!({"containers": containers.collect::<Vec<_>>()})
    }
}

fn insert(page: &mut Value, name: &str, value: Value) {
    if let Some(page) = page.as_object_mut() {
        page.insert(name.to_owned(), value);
    }
}

/// The id of the executor that a task is in.
pub(super) fn executor_of(row: &TaskRow) -> String {
    let said = executor_said(row);
    said.unwrap_or(row.status.task.as_str()).to_owned()
}

/// The executor that its framework has named: one of its own, or that of a group.
fn executor_said(row: &TaskRow) -> Option<&str> {
    let own = row.spec.executor.as_ref().map(|spec| spec.id.as_str());
    own.or_else(|| row.spec.group_executor())
}

/// As Mesos calls the executor of a task, without its command.
fn executor_title(row: &TaskRow) -> String {
    match executor_said(row) {
        Some(said) => said.to_owned(),
        None => format!("Command Executor (Task: {})", row.status.task),
    }
}

/// Where an executor comes from: of one that its framework has made, nothing is known.
fn source_of(row: &TaskRow) -> &str {
    match row.spec.executor {
        Some(_) => "",
        None => row.status.task.as_str(),
    }
}

/// The latest status, as the master shows it: without what its executor has said of it.
fn status_of(row: &TaskRow) -> v1::TaskStatus {
    let status = Status {
        data: Vec::new(),
        ..row.status.clone()
    };
    let mut status = encode_mesos_status(&status, AWARE, None);
    status.state = told_state(row).into();
    MesosExecutor::of(&row.spec).name(&mut status, true);
    status
}

fn discovery_of(spec: &TaskSpec) -> Option<v1::DiscoveryInfo> {
    encode_discovery(spec.discovery.as_deref(), &spec.name, &spec.ports)
}

/// Whose share it is of: what it is told itself, or for which role its resources are kept.
fn role_of(spec: &TaskSpec) -> Option<&str> {
    let told = spec.environment.get(MESOS_ROLE_VARIABLE);
    let mut kept = spec.resources.special();
    let kept = || kept.find_map(|(kind, _)| kind.reserved_to().map(Role::as_str));
    told.map(|role| role.expose()).or_else(kept)
}

/// As in its updates: a task that is a process of its own by its launch, others by their executor, which is told so.
fn container_of(row: &TaskRow) -> String {
    match row.spec.executor {
        Some(_) => row.output.to_string(),
        None => mesos_container_id(&row.status.task, row.incarnation),
    }
}

/// What a task holds, and what it uses.
fn statistics(pid: u32, resources: &Resources) -> Value {
    let usage = Usage::of(pid);
    let memory = resources.scalar("mem").saturating_mul(1024 * 1024) / 1_000;
    json!({
        "timestamp": seconds_of(proffer_server::clock::now().wall_ms),
        "processes": usage.processes,
        "cpus_limit": value_of(resources.scalar("cpus")),
        "cpus_user_time_secs": value_of(usage.user_ms),
        "cpus_system_time_secs": value_of(usage.system_ms),
        "mem_limit_bytes": memory,
        "mem_rss_bytes": usage.resident_bytes,
    })
}

/// The host of an address, as it goes into another one.
pub(super) fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Each with all that tells it from others.
fn in_full(resources: &Resources) -> Value {
    let form = ResourceForm {
        is_refined: true,
        ..ResourceForm::default()
    };
    let all = encode_resources(resources, &form).into_iter();
    let pages = all.map(|resource| {
        let role = resource
            .reservations
            .last()
            .map(|last| last.role().to_owned());
        let page = serde_json::from_slice(&write_json(&resource));
        let mut page = page.unwrap_or_default();
        insert(&mut page, "role", json!(role.as_deref().unwrap_or("*")));
        page
    });
    pages.collect()
}

/// What the agent keeps for a role, by role, each written so.
fn reserved(resources: &Resources, write: fn(&Resources) -> Value) -> Value {
    let mut by_role: BTreeMap<&Role, Resources> = BTreeMap::new();
    for (kind, amount) in resources.special() {
        if let Some(role) = kind.reserved_to() {
            let of_role = by_role.entry(role).or_default();
            // It was read of one text with all of the others, and fits beside them.
            let _ = of_role.insert(kind.clone(), amount.clone());
        }
    }
    let pages = by_role
        .iter()
        .map(|(role, of_role)| (role.to_string(), write(of_role)));
    Value::Object(pages.collect())
}

/// Sums by name, as Mesos's pages have them: the usual ones whether there is any of them or not, numbers as text.
fn sums(resources: &Resources) -> Value {
    let mut page = Map::new();
    for name in ["cpus", "mem", "disk", "gpus"] {
        page.insert(name.to_owned(), json!(value_of(resources.scalar(name))));
    }
    for (kind, amount) in resources.iter() {
        let name = kind.name.as_str();
        let value = match amount {
            Amount::Ranges(_) => {
                let set = resources.range_set(name);
                let ranges = set.ranges().iter();
                let ranges: Vec<String> = ranges
                    .map(|range| format!("{}-{}", range.begin, range.end))
                    .collect();
                json!(format!("[{}]", ranges.join(", ")))
            }
            Amount::Set(_) => {
                let set = resources.item_set(name);
                let items: Vec<&str> = set.iter().collect();
                json!(format!("{{{}}}", items.join(", ")))
            }
            Amount::Scalar(_) | Amount::Whole(_) => json!(value_of(resources.scalar(name))),
        };
        page.insert(name.to_owned(), value);
    }
    Value::Object(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_a_role_is_among_all_and_by_its_role() {
        let resources: Resources = "cpus:4;cpus(eng):2;disk(ops):64".parse().unwrap();
        assert_eq!(sums(&resources)["cpus"], 6.0);
        assert_eq!(sums(&resources.unreserved())["cpus"], 4.0);
        let page = reserved(&resources, sums);
        assert_eq!(
            (&page["eng"]["cpus"], &page["ops"]["disk"]),
            (&json!(2.0), &json!(64.0))
        );
        let page = reserved(&resources, in_full);
        let disk = &page["ops"][0];
        assert_eq!(
            (&disk["role"], &disk["reservations"][0]["role"]),
            (&json!("ops"), &json!("ops"))
        );
        assert_eq!(disk["scalar"]["value"], 64.0);
        let free = in_full(&resources.unreserved());
        assert_eq!(
            (&free[0]["name"], &free[0]["role"]),
            (&json!("cpus"), &json!("*"))
        );
        assert!(free[0].get("reservations").is_none());
    }

    #[test]
    fn a_master_is_named_by_its_host_alone() {
        for (address, host) in [
            ("m1.example:5060", "m1.example"),
            ("127.0.0.1:5060", "127.0.0.1"),
            ("[::1]:5060", "[::1]"),
        ] {
            assert_eq!(host_of(address), host);
        }
    }
}
