//! Tasks and executors: what Mesos's frameworks ask to be run, and what of it can be.
//!
//! What cannot is refused in words for the framework's author, before anything is launched. What can becomes a message of
//! the public API and goes through the same checks as everybody's.

use std::collections::BTreeMap;

use proffer_model::limits::ID_LEN_MAX;
use proffer_model::mount::check_places;
use proffer_model::task::MESOS_EXECUTOR_VARIABLE;
use proffer_model::{TaskSpec, VolumeMount};
use prost::Message;

use super::canonical::canonical;
use super::check::{checks_of, judge_checks};
use super::container::{TaskImage, check_executors_container, encode_program};
use super::labels::labels_map;
use super::launcher::Launcher;
use super::resources::{decode_resources, mounts_of};
use super::v1::{
    self as mesos, CommandInfo, ExecutorInfo, FrameworkInfo, TaskInfo, command_info,
    container_info, discovery_info, environment, executor, secret,
};
use crate::fields::clipped;
use crate::resources::encode_resources;
use crate::{decode_task_spec, v1};

/// In which role a task runs.
/// The variable in which tasks find whose share they are of.
pub const MESOS_ROLE_VARIABLE: &str = "MESOS_ALLOCATION_ROLE";

/// A task of a LAUNCH: a command, or something that the framework's own executor understands.
pub fn decode_task_info(task: &TaskInfo, launcher: Launcher<'_>) -> Result<TaskSpec, String> {
    if task.command.is_some() == task.executor.is_some() {
        return Err(
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"
                .to_owned(),
        );
    }
    match &task.executor {
        // Mesos's command executor goes by the name of its task.
        None => decode_command_task(task, &task.task_id.value, launcher),
        Some(info) => {
            if info.r#type() == mesos::executor_info::Type::Default {
                return Err("'ExecutorInfo.type' must be 'CUSTOM'".to_owned());
            }
            decode_executor_task(task, info, launcher)
        }
    }
}

/// A task that its executor understands: it is handed on as it is.
fn decode_executor_task(
    task: &TaskInfo,
    info: &ExecutorInfo,
    launcher: Launcher<'_>,
) -> Result<TaskSpec, String> {
    let draft = draft_task(task, launcher)?;
    check_executor(info, launcher)?;
    let executor = Some(decode_executor_info(info, launcher)?);
    check(v1::TaskSpec { executor, ..draft })
}

/// A task that an executor understands, without that. How it is checked is that's as well, but it must be said rightly.
pub(super) fn draft_task(task: &TaskInfo, launcher: Launcher<'_>) -> Result<v1::TaskSpec, String> {
    judge(task)?;
    judge_checks(task)?;
    let mounts = mounts_of(&task.resources)?;
    Ok(v1::TaskSpec {
        command: Some(v1::task_spec::Command::Data(task.encode_to_vec())),
        volumes: mounts.iter().map(encode_mount).collect(),
        ..common(task, launcher)?
    })
}

fn decode_command_task(
    task: &TaskInfo,
    executor: &str,
    launcher: Launcher<'_>,
) -> Result<TaskSpec, String> {
    check(draft_command_task(task, executor, launcher)?)
}

/// A command, in the order in which Mesos judges its parts.
pub(super) fn draft_command_task(
    task: &TaskInfo,
    executor: &str,
    launcher: Launcher<'_>,
) -> Result<v1::TaskSpec, String> {
    let command = task
        .command
        .as_ref()
        .ok_or("'TaskInfo.command' must be set")?;
    judge(task)?;
    let checks = checks_of(task, launcher.user_of(command))?;
    let mounts = mounts_of(&task.resources)?;
    let common = common(task, launcher)?;
    let image = task.container.as_deref().map(TaskImage::of);
    let image = image.transpose()?.flatten();
    let program = match &image {
        Some(image) => image.program(command)?,
        None => encode_program(decode_command(command)?),
    };
    let environment = environment_of_task(task, executor, command, launcher)?;
    let user = match &image {
        Some(image) if !image.is_run_as_framework() => command.user.as_deref().unwrap_or_default(),
        _ => launcher.run_as(command),
    };
    let completion = task.max_completion_time.as_ref();
    Ok(v1::TaskSpec {
        command: Some(program),
        container: image.as_ref().map(TaskImage::encode),
        environment,
        user: user.to_owned(),
        checks,
        volumes: mounts.iter().map(encode_mount).collect(),
        fetch: decode_uris(command),
        completion_ms: completion.map(|time| ms(time.nanoseconds)),
        ..common
    })
}

/// What Mesos looks at first in every task.
fn judge(task: &TaskInfo) -> Result<(), String> {
    let id = &task.task_id.value;
    if id.parse::<proffer_model::TaskId>().is_err() {
        return Err(id_text(id));
    }
    let grace = task.kill_policy.as_ref();
    let grace = grace.and_then(|policy| policy.grace_period.as_ref());
    if grace.is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("Task's 'kill_policy.grace_period' must be non-negative".to_owned());
    }
    let completion = task.max_completion_time.as_ref();
    if completion.is_some_and(|time| time.nanoseconds < 0) {
        return Err("Task's `max_completion_time` must be non-negative".to_owned());
    }
    Ok(())
}

/// What every task has, whoever runs it.
fn common(task: &TaskInfo, launcher: Launcher<'_>) -> Result<v1::TaskSpec, String> {
    let resources = decode_resources(&task.resources, launcher.principal)?;
    if resources.is_empty() {
        return Err("Task uses no resources".to_owned());
    }
    if !task.limits.is_empty() {
        let hint = "a task may use what its resources say";
        return Err(unsupported("TaskInfo.limits", hint));
    }
    let grace = task.kill_policy.as_ref();
    let grace = grace.and_then(|policy| policy.grace_period.as_ref());
    let labels = task.labels.as_ref().map(labels_map);
    let numbers = resources.range_set("ports");
    let discovery = task.discovery.as_ref();
    let ports = discovery.and_then(|discovery| discovery.ports.as_ref());
    let ports = ports.map(|ports| ports.ports.iter());
    // Of what a framework says for discovery, only what the task holds is its own port on the host.
    let is_held = |port: &&mesos::Port| {
        let mut ranges = numbers.ranges().iter();
        ranges.any(|range| (range.begin..=range.end).contains(&u64::from(port.number)))
    };
    Ok(v1::TaskSpec {
        id: task.task_id.value.clone(),
        name: task.name.clone(),
        resources: Some(encode_resources(&resources)),
        labels: labels.unwrap_or_default(),
        ports: ports
            .into_iter()
            .flatten()
            .filter(is_held)
            .map(encode_port)
            .collect(),
        kill_grace_ms: grace.map(|grace| ms(grace.nanoseconds)),
        discovery: discovery.map(encode_discovery),
        ..v1::TaskSpec::default()
    })
}

/// What is wrong with an id that is none.
fn id_text(id: &str) -> String {
    match id {
        "" => "ID must not be empty".to_owned(),
        "." | ".." => format!("'{id}' is disallowed"),
        _ if id.len() > ID_LEN_MAX => {
            format!("ID must not be greater than {ID_LEN_MAX} characters")
        }
        _ => format!("'{id}' contains invalid characters"),
    }
}

/// As what it is to be found, word for word.
fn encode_discovery(info: &mesos::DiscoveryInfo) -> v1::Discovery {
    let labels =
        |labels: &Option<mesos::Labels>| labels.as_ref().map(labels_map).unwrap_or_default();
    let port = |port: &mesos::Port| v1::DiscoveryPort {
        number: port.number,
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.clone().unwrap_or_default(),
        visibility: port
            .visibility
            .map(|_| encode_visibility(port.visibility()).into())
            .unwrap_or_default(),
        labels: labels(&port.labels),
    };
    let ports = info.ports.iter().flat_map(|ports| &ports.ports);
    v1::Discovery {
        name: info.name.clone().unwrap_or_default(),
        visibility: encode_visibility(info.visibility()).into(),
        environment: info.environment.clone().unwrap_or_default(),
        location: info.location.clone().unwrap_or_default(),
        version: info.version.clone().unwrap_or_default(),
        labels: labels(&info.labels),
        ports: ports.map(port).collect(),
    }
}

fn encode_visibility(visibility: discovery_info::Visibility) -> v1::Visibility {
    match visibility {
        discovery_info::Visibility::Framework => v1::Visibility::Framework,
        discovery_info::Visibility::Cluster => v1::Visibility::Cluster,
        discovery_info::Visibility::External => v1::Visibility::External,
    }
}

fn encode_port(port: &mesos::Port) -> v1::Port {
    let protocol = match port.protocol.as_deref() {
        Some(name) if name.eq_ignore_ascii_case("udp") => v1::Protocol::Udp,
        _ => v1::Protocol::Tcp,
    };
    v1::Port {
        name: port.name.clone().unwrap_or_default(),
        number: port.number,
        protocol: protocol.into(),
    }
}

fn encode_mount(mount: &VolumeMount) -> v1::VolumeMount {
    v1::VolumeMount {
        volume_id: mount.volume.to_string(),
        path: mount.path.clone(),
        read_only: mount.is_read_only,
    }
}

pub(super) fn check(spec: v1::TaskSpec) -> Result<TaskSpec, String> {
    decode_task_spec(spec).map_err(|problem| match problem.field.as_str() {
        "" => problem.message,
        field => format!("{field}: {}", problem.message),
    })
}

pub(super) fn unsupported(what: &str, hint: &str) -> String {
    format!("'{what}' is not supported: {hint}")
}

/// What Mesos looks at first in every executor.
pub(super) fn check_executor(info: &ExecutorInfo, launcher: Launcher<'_>) -> Result<(), String> {
    use mesos::executor_info::Type;
    if info.r#type() == Type::Default {
        check_default_executor(info)?;
    }
    if info.r#type() == Type::Custom && info.command.is_none() {
        return Err("'ExecutorInfo.command' must be set for 'CUSTOM' executor".to_owned());
    }
    let grace = info.shutdown_grace_period.as_ref();
    if grace.is_some_and(|grace| grace.nanoseconds < 0) {
        return Err("ExecutorInfo's 'shutdown_grace_period' must be non-negative".to_owned());
    }
    if info.framework_id.is_some() && info.framework_id != launcher.info.id {
        let id = |id: &Option<mesos::FrameworkId>| {
            let id = id.as_ref().map(|id| clipped(&id.value, ID_LEN_MAX));
            id.unwrap_or_default()
        };
        return Err(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {} vs Expected: {})",
            id(&info.framework_id),
            id(&launcher.info.id)
        ));
    }
    Ok(())
}

/// Mesos's own executor is no program of the framework's.
fn check_default_executor(info: &ExecutorInfo) -> Result<(), String> {
    let text = |what: &str| Err(format!("'ExecutorInfo.{what} for 'DEFAULT' executor"));
    if info.command.is_some() {
        return text("command' must not be set");
    }
    let Some(container) = &info.container else {
        return Ok(());
    };
    if container.r#type() != container_info::Type::Mesos {
        return text("container.type' must be 'MESOS'");
    }
    match &container.mesos {
        Some(mesos) if mesos.image.is_some() => text("container.mesos.image' must not be set"),
        _ => Ok(()),
    }
}

/// An executor, with what its agent tells it when it subscribes.
pub(super) fn decode_executor_info(
    info: &ExecutorInfo,
    launcher: Launcher<'_>,
) -> Result<v1::ExecutorSpec, String> {
    let command = info.command.as_ref();
    let command = command.ok_or("'ExecutorInfo.command' must be set")?;
    check_executors_container(info)?;
    let resources = decode_resources(&info.resources, launcher.principal)?;
    check_places(&resources, &mounts_of(&info.resources)?, false)
        .map_err(|problem| format!("'ExecutorInfo.resources': {}", problem.message))?;
    let subscribed = executor::event::Subscribed {
        executor_info: ExecutorInfo {
            framework_id: launcher.info.id.clone(),
            ..canonical(info, launcher.principal)
        },
        framework_info: lasting(launcher),
        ..executor::event::Subscribed::default()
    };
    let grace = info.shutdown_grace_period.as_ref();
    Ok(v1::ExecutorSpec {
        id: info.executor_id.value.clone(),
        resources: Some(encode_resources(&resources)),
        command: Some(match decode_command(command)? {
            Program::Shell(line) => v1::executor_spec::Command::Shell(line),
            Program::Exec(exec) => v1::executor_spec::Command::Exec(exec),
        }),
        environment: decode_environment(command)?,
        user: launcher.run_as(command).to_owned(),
        shutdown_grace_ms: grace.map(|grace| ms(grace.nanoseconds)),
        api: v1::ExecutorApi::MesosV1.into(),
        info: subscribed.encode_to_vec(),
        fetch: decode_uris(command),
    })
}

/// What of a framework stays the same while its executors run, since one of the same id must be of the same spec: its name may
/// change, and is its id here.
fn lasting(launcher: Launcher<'_>) -> FrameworkInfo {
    let id = launcher.info.id.clone();
    FrameworkInfo {
        user: launcher.info.user.clone(),
        name: id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
        id,
        checkpoint: Some(true),
        principal: Some(launcher.principal.to_string()),
        ..FrameworkInfo::default()
    }
}

pub(super) enum Program {
    Shell(String),
    Exec(v1::Exec),
}

pub(super) fn decode_command(command: &CommandInfo) -> Result<Program, String> {
    let value = command.value.clone().filter(|value| !value.is_empty());
    if command.shell() {
        let line = value.ok_or("Shell command 'CommandInfo.value' is not specified")?;
        return Ok(Program::Shell(line));
    }
    let program = value.ok_or("'CommandInfo.value' is not specified")?;
    // The first argument is what the program is called; mostly that is its file.
    let is_file = command
        .arguments
        .first()
        .is_none_or(|name| *name == program);
    let (program, arguments) = match command.arguments.is_empty() {
        true => (String::new(), vec![program]),
        false if is_file => (String::new(), command.arguments.clone()),
        false => (program, command.arguments.clone()),
    };
    Ok(Program::Exec(v1::Exec { arguments, program }))
}

/// What is fetched before a command runs.
fn decode_uris(command: &CommandInfo) -> Vec<v1::Fetch> {
    let uris = command.uris.iter();
    let fetch = |uri: &command_info::Uri| v1::Fetch {
        uri: uri.value.clone(),
        output: uri.output_file.clone().unwrap_or_default(),
        executable: uri.executable(),
        extract: uri.extract() && !uri.executable(),
        cache: uri.cache(),
        sha256: String::new(),
    };
    uris.map(fetch).collect()
}

pub(super) fn decode_environment(
    command: &CommandInfo,
) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    let given = command.environment.iter();
    for variable in given.flat_map(|environment| &environment.variables) {
        let wrong = |what: &str| format!("Environment variable '{}' {what}", variable.name);
        let value = match variable.r#type() {
            environment::variable::Type::Secret => {
                let secret = variable.secret.as_ref();
                let secret = secret.filter(|secret| secret.r#type() == secret::Type::Value);
                let value = secret.and_then(|secret| secret.value.as_ref());
                let value =
                    value.ok_or_else(|| wrong("refers to a secret that is kept elsewhere"))?;
                String::from_utf8(value.data.clone()).map_err(|_| wrong("is no text"))?
            }
            _ => variable
                .value
                .clone()
                .ok_or_else(|| wrong("of type 'VALUE' must have a value set"))?,
        };
        all.insert(variable.name.clone(), value);
    }
    Ok(all)
}

/// What Mesos's own executor gives a command beside what its framework does. Where its sandbox is, its agent says: it takes
/// `MESOS_TASK_ID` as the question.
fn environment_of_task(
    task: &TaskInfo,
    executor: &str,
    command: &CommandInfo,
    launcher: Launcher<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let framework = launcher.info.id.as_ref();
    let own = [
        ("MESOS_TASK_ID", task.task_id.value.clone()),
        (MESOS_EXECUTOR_VARIABLE, executor.to_owned()),
        ("MESOS_SLAVE_ID", task.agent_id.value.clone()),
        (
            "MESOS_FRAMEWORK_ID",
            framework.map(|id| id.value.clone()).unwrap_or_default(),
        ),
        (MESOS_ROLE_VARIABLE, launcher.role.to_string()),
    ];
    let mut all: BTreeMap<String, String> =
        own.map(|(name, value)| (name.to_owned(), value)).into();
    all.extend(decode_environment(command)?);
    Ok(all)
}

/// Milliseconds of a length of time in nanoseconds; none is negative.
fn ms(nanoseconds: i64) -> u64 {
    u64::try_from(nanoseconds).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proffer_model::{
        CheckKind, Command, Container, ExecutorApi, Image, ImageRules, Principal, Role,
    };

    use super::*;
    use crate::mesos::read_json;

    fn decode(rest: &str) -> Result<TaskSpec, String> {
        decode_of(rest, "f", None)
    }

    fn decode_of(rest: &str, name: &str, checkpoint: Option<bool>) -> Result<TaskSpec, String> {
        let text = format!(
            r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},
            "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":0.1}}}},
            {{"name":"ports","type":"RANGES","ranges":{{"range":[{{"begin":31000,"end":31001}}]}}}}]{rest}}}"#
        );
        let task: TaskInfo = read_json(text.as_bytes())?;
        let info = FrameworkInfo {
            user: "nobody".to_owned(),
            name: name.to_owned(),
            checkpoint,
            id: Some(mesos::FrameworkId {
                value: "f-1".to_owned(),
            }),
            ..FrameworkInfo::default()
        };
        let launcher = Launcher {
            info: &info,
            principal: &Principal::new("ops").expect("a principal"),
            role: &Role::new("eng").expect("a role"),
        };
        decode_task_info(&task, launcher)
    }

    #[test]
    fn a_command_task_becomes_a_process() {
        let spec = decode(
            r#","command":{"value":"sleep 1","environment":{"variables":[{"name":"A","value":"b"}]}},
            "kill_policy":{"grace_period":{"nanoseconds":1500000000}},"max_completion_time":{"nanoseconds":60000000000},
            "labels":{"labels":[{"key":"k","value":"v"}]},
            "discovery":{"visibility":"CLUSTER","ports":{"ports":[{"number":31000,"name":"http"},{"number":80}]}},
            "health_check":{"type":"HTTP","http":{"port":31000},"grace_period_seconds":2}"#,
        )
        .expect("good");
        assert_eq!(spec.command, Command::Shell("sleep 1".to_owned()));
        assert_eq!(spec.user.as_deref(), Some("nobody"));
        assert_eq!(spec.kill_grace, Duration::from_millis(1_500));
        assert_eq!(spec.completion, Some(Duration::from_secs(60)));
        assert_eq!(spec.labels.get("k").map(String::as_str), Some("v"));
        assert_eq!(
            spec.ports.len(),
            1,
            "of a port that it does not hold nothing is known"
        );
        let check = &spec.checks[0];
        let http = CheckKind::Http {
            port: 31_000,
            path: "/".to_owned(),
        };
        assert_eq!(check.kind, http);
        assert_eq!(
            (
                check.delay,
                check.interval,
                check.timeout,
                check.grace,
                check.failures_max
            ),
            (
                Duration::from_secs(15),
                Duration::from_secs(10),
                Duration::from_secs(20),
                Duration::from_secs(2),
                3
            )
        );
    }

    #[test]
    fn a_commands_check_has_its_variables_and_its_tasks_user() {
        let line = |check: &str| {
            let rest = format!(
                r#","command":{{"value":"a","user":"me"}},"health_check":{{"type":"COMMAND","command":{{{check}}}}}"#
            );
            decode(&rest).map(|spec| spec.checks[0].kind.clone())
        };
        let shell = |line: &str| {
            Ok(CheckKind::Command {
                shell: line.to_owned(),
            })
        };
        assert_eq!(line(r#""value":"test $A","user":"me""#), shell("test $A"));
        let variables = r#""environment":{"variables":[{"name":"A","value":"it's"}]}"#;
        assert_eq!(
            line(&format!(r#""value":"test $A",{variables}"#)),
            shell(r"'env' 'A=it'\''s' '/bin/sh' '-c' 'test $A'")
        );
        assert_eq!(
            line(&format!(
                r#""shell":false,"value":"/bin/test","arguments":["test","x"],{variables}"#
            )),
            shell(r"'env' 'A=it'\''s' '/bin/test' 'x'")
        );
        let secret =
            r#"{"name":"A","type":"SECRET","secret":{"type":"VALUE","value":{"data":"aGk="}}}"#;
        for (variable, text) in [
            (secret, "'HealthCheck.command.environment with secrets'"),
            (r#"{"name":"-u","value":"A"}"#, "Environment variable '-u'"),
        ] {
            let variables = format!(r#""value":"a","environment":{{"variables":[{variable}]}}"#);
            let refused = line(&variables).expect_err(variable);
            let text = format!("Task uses invalid health check: {text}");
            assert!(refused.starts_with(&text), "{refused}");
        }
        let refused = line(r#""value":"a","user":"root""#).expect_err("another user");
        assert!(refused.contains("'HealthCheck.command.user' is not supported"));
    }

    #[test]
    fn without_a_shell_the_first_argument_is_what_the_program_is_called() {
        let spec = decode(
            r#","command":{"shell":false,"value":"/bin/echo","arguments":["echo","a b"],"user":"root"}"#,
        );
        let spec = spec.expect("good");
        let named = Command::Named {
            program: "/bin/echo".to_owned(),
            arguments: ["echo", "a b"].map(str::to_owned).to_vec(),
        };
        assert_eq!(spec.command, named);
        assert_eq!(spec.user.as_deref(), Some("root"));
    }

    #[test]
    fn a_task_in_an_image_has_what_one_without_has() {
        let rest = |container: &str| {
            format!(
                r#","command":{{"shell":false,"arguments":["a"],"uris":[{{"value":"http://a/b"}}]}},"container":{container},
                "health_check":{{"type":"COMMAND","command":{{"value":"true"}}}}"#
            )
        };
        let mesos =
            r#"{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"busybox:1"}}}}"#;
        let docker = r#"{"type":"DOCKER","docker":{"image":"busybox:1"}}"#;
        for (container, rules, user) in [
            (mesos, ImageRules::Mesos, Some("nobody")),
            (docker, ImageRules::Docker, None),
        ] {
            let spec = decode(&rest(container)).expect("good");
            let image = Image::Name("busybox:1".parse().expect("a name"));
            assert_eq!(spec.container, Some(Container { image, rules }));
            assert_eq!(spec.command, Command::Image(vec!["a".to_owned()]));
            assert_eq!(spec.user.as_deref(), user);
            assert_eq!(spec.environment["MESOS_TASK_ID"].expose(), "t");
            assert_eq!((spec.fetch.len(), spec.checks.len()), (1, 1));
        }
    }

    #[test]
    fn a_task_of_an_executor_is_handed_on_as_it_is() {
        let text = r#","data":"AAE=","executor":{"executor_id":{"value":"e"},"command":{"value":"./run"},
            "resources":[{"name":"mem","type":"SCALAR","scalar":{"value":32}}]}"#;
        let spec = decode(text).expect("good");
        // Its framework may have another name later, and its executor lives on.
        let renamed = decode_of(text, "g", Some(true)).expect("good");
        assert_eq!(renamed.executor, spec.executor);
        let Command::Data(data) = &spec.command else {
            panic!("{:?}", spec.command);
        };
        let task = TaskInfo::decode(data.as_slice()).expect("a task");
        assert_eq!(task.data.as_deref(), Some(&[0, 1][..]));
        let executor = spec.executor.expect("an executor");
        assert_eq!(executor.api, ExecutorApi::MesosV1);
        // Who launches in another role has the same executor: its agent says the role.
        assert!(!executor.environment.contains_key(MESOS_ROLE_VARIABLE));
        assert_eq!(executor.resources.scalar("mem"), 32_000);
        let told = executor::event::Subscribed::decode(executor.info.as_slice());
        let told = told.expect("what it is told");
        assert_eq!(told.executor_info.framework_id, told.framework_info.id);
        assert_eq!(told.framework_info.name, "f-1");
    }

    #[test]
    fn what_is_wrong_with_an_id_is_said_in_mesos_words() {
        let long = "x".repeat(ID_LEN_MAX + 1);
        for (id, text) in [
            ("", "ID must not be empty"),
            ("..", "'..' is disallowed"),
            ("a/b", "'a/b' contains invalid characters"),
            (&long, "ID must not be greater than 200 characters"),
        ] {
            assert_eq!(id_text(id), text);
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused_in_words() {
        let table = [
            (
                "",
                "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
            ),
            (
                r#","command":{"value":"a","uris":[{"value":"hdfs://a/b"}]}"#,
                "fetch[0].uri: nothing is fetched by \"hdfs\"",
            ),
            (
                r#","command":{"value":"a"},"container":{"type":"DOCKER","docker":{"image":"a","network":"BRIDGE"}}"#,
                "'ContainerInfo.docker.network BRIDGE' is not supported",
            ),
            (
                r#","executor":{"executor_id":{"value":"e"},"command":{"value":"a"},
                "container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"a"}}}}}"#,
                "'ExecutorInfo.container.mesos.image' is not supported: executors are processes of the agent's host",
            ),
            (
                r#","command":{"value":"a"},"container":{"type":"MESOS","network_infos":[{"name":"cni"}]}"#,
                "'ContainerInfo.network_infos' is not supported",
            ),
            (
                r#","command":{"value":"a"},"limits":{"cpus":{"value":1}}"#,
                "'TaskInfo.limits' is not supported",
            ),
            (
                r#","command":{"value":"a"},"check":{"type":"TCP"}"#,
                "Task uses invalid check: Expecting 'tcp' to be set for TCP check",
            ),
            (
                r#","executor":{"executor_id":{"value":"e"},"command":{"value":"a"},"resources":[{"name":"disk","type":"SCALAR",
                "scalar":{"value":1},"role":"r","disk":{"persistence":{"id":"v"},"volume":{"mode":"RW","container_path":"/d"}}}]}"#,
                "'ExecutorInfo.resources': /d is not in the task's sandbox",
            ),
            (
                r#","command":{}"#,
                "Shell command 'CommandInfo.value' is not specified",
            ),
            (
                r#","command":{"value":"a","environment":{"variables":[{"name":"A"}]}}"#,
                "Environment variable 'A' of type 'VALUE' must have a value set",
            ),
        ];
        for (rest, why) in table {
            let refused = decode(rest).expect_err(rest);
            assert!(refused.starts_with(why), "{refused}");
        }
        decode(r#","command":{"value":"a"},"container":{"type":"MESOS"}"#).expect("none is none");
    }

    #[test]
    fn times_and_checks_that_are_wrong_are_refused_in_words() {
        let table = [
            (
                r#","command":{"value":"a"},"kill_policy":{"grace_period":{"nanoseconds":-1}}"#,
                "Task's 'kill_policy.grace_period' must be non-negative",
            ),
            (
                r#","command":{"value":"a"},"max_completion_time":{"nanoseconds":-1}"#,
                "Task's `max_completion_time` must be non-negative",
            ),
            (
                r#","command":{"value":"a"},"health_check":{"tcp":{"port":1}}"#,
                "Task uses invalid health check: HealthCheck must specify 'type'",
            ),
            (
                r#","command":{"value":"a"},"health_check":{"type":"HTTP","tcp":{"port":1}}"#,
                "Task uses invalid health check: Expecting 'http' to be set for HTTP health check",
            ),
            (
                r#","command":{"value":"a"},"health_check":{"type":"HTTP","http":{"port":1,"path":"x"}}"#,
                "Task uses invalid health check: The path 'x' of HTTP health check must start with '/'",
            ),
            (
                r#","command":{"value":"a"},"health_check":{"type":"TCP","tcp":{"port":1},"delay_seconds":-0.5}"#,
                "Task uses invalid health check: Expecting 'delay_seconds' to be non-negative",
            ),
        ];
        for (rest, why) in table {
            let refused = decode(rest).expect_err(rest);
            assert!(refused.starts_with(why), "{refused}");
        }
    }

    #[test]
    fn who_launches_on_an_executor_that_lives_may_name_it_in_another_order() {
        let executor_of = |uris: &str, variables: &str, grace: u64| {
            let rest = format!(
                r#","executor":{{"type":"CUSTOM","executor_id":{{"value":"e"}},
                "shutdown_grace_period":{{"nanoseconds":{grace}}},"command":{{"value":"run","uris":[{uris}],
                "environment":{{"variables":[{variables}]}}}},
                "resources":[{{"name":"mem","type":"SCALAR","scalar":{{"value":32}}}}]}}"#
            );
            let spec = decode(&rest).expect("a task");
            spec.executor.expect("its executor")
        };
        let (first, second) = (r#"{"value":"http://a/a"}"#, r#"{"value":"http://a/b"}"#);
        let (a, b) = (r#"{"name":"A","value":"1"}"#, r#"{"name":"B","value":"2"}"#);
        let [in_order, turned] = [[first, second], [second, first]].map(|uris| uris.join(","));
        let lives = executor_of(&in_order, &format!("{a},{b}"), 1_000_000_000);
        let again = executor_of(&turned, &format!("{b},{a}"), 2_000_000_000);
        assert!(*again != *lives && again.means(&lives));
        let another = executor_of(first, &format!("{a},{b}"), 1_000_000_000);
        assert!(!another.means(&lives));
    }
}
