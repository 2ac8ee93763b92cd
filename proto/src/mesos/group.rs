//! Task groups: first each task is judged, then the executor, as Mesos does it. That all name the same executor is found out as
//! there, too: the order of most lists says nothing, what is left out is what it is by default, and of some parts nothing is
//! compared.

use std::collections::BTreeSet;

use proffer_model::limits::ID_LEN_MAX;
use proffer_model::{Principal, TaskSpec};

use super::launcher::Launcher;
use super::resources::decode_resources;
use super::task::{check, check_executor, decode_executor_info, draft_command_task, draft_task};
use super::v1::{
    CommandInfo, ContainerInfo, DiscoveryInfo, ExecutorInfo, TaskInfo, container_info,
    executor_info,
};
use crate::fields::clipped;
use crate::v1;

/// The tasks of a LAUNCH_GROUP: under Mesos's default executor commands, under another what that understands. `is_fit` judges
/// each task first.
pub fn decode_group(
    tasks: &[TaskInfo],
    executor: &ExecutorInfo,
    launcher: Launcher<'_>,
    is_fit: impl Fn(&TaskInfo) -> Result<(), String>,
) -> Result<Vec<TaskSpec>, String> {
    let invalid = |task: &TaskInfo, why: String| {
        let id = clipped(&task.task_id.value, ID_LEN_MAX);
        format!("Task '{id}' is invalid: {why}")
    };
    let mut drafts = Vec::with_capacity(tasks.len());
    for task in tasks {
        let draft = is_fit(task).and_then(|()| draft_group_task(task, executor, launcher));
        drafts.push(draft.map_err(|why| invalid(task, why))?);
    }
    check_executor(executor, launcher)?;
    let own = match executor.r#type() {
        executor_info::Type::Custom => Some(decode_executor_info(executor, launcher)?),
        _ => None,
    };
    check_group_executor(tasks, executor, launcher.principal)?;
    let whole = tasks.iter().zip(drafts).map(|(task, draft)| {
        let executor = own.clone();
        check(v1::TaskSpec { executor, ..draft }).map_err(|why| invalid(task, why))
    });
    whole.collect()
}

fn draft_group_task(
    task: &TaskInfo,
    executor: &ExecutorInfo,
    launcher: Launcher<'_>,
) -> Result<v1::TaskSpec, String> {
    if executor.r#type() != executor_info::Type::Default {
        let task = TaskInfo {
            executor: Some(Box::new(executor.clone())),
            ..task.clone()
        };
        return draft_task(&task, launcher);
    }
    if task.command.is_none() {
        return Err("'TaskInfo.command' must be set".to_owned());
    }
    let is_docker = |of: &ContainerInfo| of.r#type() == container_info::Type::Docker;
    if task.container.as_deref().is_some_and(is_docker) {
        return Err("Docker ContainerInfo is not supported on the task".to_owned());
    }
    draft_command_task(task, &executor.executor_id.value, launcher)
}

/// Why this executor cannot be that of a group of these tasks, in Mesos's words.
fn check_group_executor(
    tasks: &[TaskInfo],
    executor: &ExecutorInfo,
    principal: &Principal,
) -> Result<(), String> {
    if executor.r#type.is_none() {
        return Err("'ExecutorInfo.type' must be set".to_owned());
    }
    if executor.r#type() == executor_info::Type::Unknown {
        return Err("Unknown executor type".to_owned());
    }
    let is_other = |task: &&TaskInfo| {
        let own = task.executor.as_deref();
        own.is_some_and(|own| own != executor && !is_same(own, executor, principal))
    };
    match tasks.iter().find(is_other) {
        None => Ok(()),
        Some(task) => Err(format!(
            "The `ExecutorInfo` of task '{}' is different from executor '{}'",
            clipped(&task.task_id.value, ID_LEN_MAX),
            clipped(&executor.executor_id.value, ID_LEN_MAX)
        )),
    }
}

fn is_same(left: &ExecutorInfo, right: &ExecutorInfo, principal: &Principal) -> bool {
    let held = |executor: &ExecutorInfo| {
        let held = decode_resources(&executor.resources, principal);
        held.map_err(|_| executor.resources.clone())
    };
    let command = |executor: &ExecutorInfo| executor.command.clone().unwrap_or_default();
    let container = |executor: &ExecutorInfo| executor.container.clone().unwrap_or_default();
    let discovery = |executor: &ExecutorInfo| executor.discovery.clone().unwrap_or_default();
    let framework = |executor: &ExecutorInfo| executor.framework_id.clone().unwrap_or_default();
    left.r#type == right.r#type
        && left.executor_id == right.executor_id
        && left.data() == right.data()
        && held(left) == held(right)
        && is_same_command(&command(left), &command(right))
        && framework(left) == framework(right)
        && left.name() == right.name()
        && left.source() == right.source()
        && is_same_container(&container(left), &container(right))
        && is_same_discovery(&discovery(left), &discovery(right))
}

fn is_same_command(left: &CommandInfo, right: &CommandInfo) -> bool {
    let variables = |command: &CommandInfo| {
        let environment = command.environment.clone();
        environment.unwrap_or_default().variables
    };
    // Not whether it is kept for others.
    let has_same_uris = is_each_in(&left.uris, &right.uris, |uri| {
        let (file, executable) = (uri.output_file(), uri.executable());
        (&uri.value, executable, uri.extract(), file)
    });
    has_same_uris
        && left.arguments == right.arguments
        && is_each_in(&variables(left), &variables(right), |one| {
            (&one.name, one.value())
        })
        && left.value() == right.value()
        && left.user() == right.user()
        && left.shell() == right.shell()
}

fn is_same_container(left: &ContainerInfo, right: &ContainerInfo) -> bool {
    let docker = |container: &ContainerInfo| container.docker.clone().unwrap_or_default();
    is_each_in(&left.volumes, &right.volumes, |one| {
        (&one.container_path, one.host_path(), one.mode())
    }) && left.r#type() == right.r#type()
        && left.hostname() == right.hostname()
        && docker(left) == docker(right)
}

fn is_same_discovery(left: &DiscoveryInfo, right: &DiscoveryInfo) -> bool {
    let ports = |info: &DiscoveryInfo| info.ports.clone().unwrap_or_default().ports;
    let labels = |info: &DiscoveryInfo| info.labels.clone().unwrap_or_default().labels;
    left.visibility() == right.visibility()
        && left.name() == right.name()
        && left.environment() == right.environment()
        && left.location() == right.location()
        && left.version() == right.version()
        && is_each_in(&ports(left), &ports(right), |one| {
            let (name, protocol) = (one.name(), one.protocol());
            (one.number, name, protocol, one.visibility())
        })
        && is_each_in(&labels(left), &labels(right), |one| (&one.key, one.value()))
}

/// Whether two lists are as long, and each of the one is in the other, by what is compared of them. They may be long.
fn is_each_in<'a, T, K: Ord>(left: &'a [T], right: &'a [T], compared: impl Fn(&'a T) -> K) -> bool {
    let in_right: BTreeSet<K> = right.iter().map(&compared).collect();
    left.len() == right.len() && left.iter().all(|one| in_right.contains(&compared(one)))
}

#[cfg(test)]
mod tests {
    use proffer_model::Role;

    use super::super::v1::{FrameworkId, FrameworkInfo};
    use super::*;
    use crate::mesos::read_json;

    const GIVEN: &str = r#"{"type":"CUSTOM","executor_id":{"value":"e"},"framework_id":{"value":"f"},
        "command":{"value":"run","uris":[{"value":"http://a"},{"value":"http://b"}],
            "environment":{"variables":[{"name":"A","value":"1"},{"name":"B","value":"2"}]}},
        "resources":[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}],
        "container":{"type":"MESOS"},
        "discovery":{"visibility":"CLUSTER","ports":{"ports":[{"number":1},{"number":2}]}}}"#;

    fn check(given: &str, own: &str) -> Result<(), String> {
        let task = format!(
            r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},"executor":{own}}}"#
        );
        let tasks = [read_json(task.as_bytes()).expect("a task")];
        let executor: ExecutorInfo = read_json(given.as_bytes()).expect("an executor");
        check_group_executor(&tasks, &executor, &Principal::new("ops").expect("one"))
    }

    #[test]
    fn a_task_of_a_group_may_name_its_executor_but_no_other() {
        let same = [
            ("", ""),
            (
                r#"{"value":"http://a"},{"value":"http://b"}"#,
                r#"{"value":"http://b","extract":true},{"value":"http://a","cache":true}"#,
            ),
            (r#""value":"run""#, r#""value":"run","shell":true"#),
            (
                r#"{"name":"A","value":"1"},{"name":"B","value":"2"}"#,
                r#"{"name":"B","value":"2"},{"name":"A","value":"1"}"#,
            ),
            (
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}]"#,
                r#"[{"name":"cpus","type":"SCALAR","scalar":{"value":1}},{"name":"cpus","type":"SCALAR","scalar":{"value":0.5}}]"#,
            ),
            (
                r#"{"number":1},{"number":2}"#,
                r#"{"number":2},{"number":1}"#,
            ),
            (
                r#""type":"CUSTOM","#,
                r#""type":"CUSTOM","shutdown_grace_period":{"nanoseconds":1},"#,
            ),
        ];
        for (part, other) in same {
            assert_eq!(
                check(GIVEN, &GIVEN.replacen(part, other, 1)),
                Ok(()),
                "{other}"
            );
        }
        let why = "The `ExecutorInfo` of task 't' is different from executor 'e'";
        for (part, other) in [
            (r#""value":"e""#, r#""value":"x""#),
            (r#""value":"f""#, r#""value":"x""#),
            (r#""value":"run""#, r#""value":"walk""#),
            (r#""value":"run""#, r#""value":"run","shell":false"#),
            (r#""value":"run""#, r#""value":"run","arguments":["a"]"#),
            (r#""value":"run""#, r#""value":"run","user":"u""#),
            ("http://a", "http://c"),
            (r#"{"value":"http://a"},"#, ""),
            (r#""value":"1""#, r#""value":"3""#),
            (r#"{"value":1.5}"#, r#"{"value":2.5}"#),
            (r#""type":"MESOS""#, r#""type":"MESOS","hostname":"h""#),
            (r#""visibility":"CLUSTER""#, r#""visibility":"EXTERNAL""#),
            (r#"{"number":1}"#, r#"{"number":3}"#),
            (r#""type":"CUSTOM","#, r#""type":"DEFAULT","#),
            (r#""type":"CUSTOM","#, ""),
            (r#""type":"CUSTOM","#, r#""type":"CUSTOM","name":"n","#),
            (r#""type":"CUSTOM","#, r#""type":"CUSTOM","source":"s","#),
            (r#""type":"CUSTOM","#, r#""type":"CUSTOM","data":"AA==","#),
        ] {
            let own = GIVEN.replacen(part, other, 1);
            assert_eq!(check(GIVEN, &own), Err(why.to_owned()), "{other}");
        }
    }

    /// A group of a task `t`, which has this, under this executor.
    fn decode(task: &str, executor: &str) -> Result<Vec<TaskSpec>, String> {
        let text = format!(
            r#"{{"name":"n","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},
            "resources":[{{"name":"cpus","type":"SCALAR","scalar":{{"value":0.1}}}}]{task}}}"#
        );
        let task = read_json(text.as_bytes()).expect("a task");
        let text = format!(r#"{{"executor_id":{{"value":"e"}}{executor}}}"#);
        let executor = read_json(text.as_bytes()).expect("an executor");
        let info = FrameworkInfo {
            user: "nobody".to_owned(),
            id: Some(FrameworkId {
                value: "f".to_owned(),
            }),
            ..FrameworkInfo::default()
        };
        let launcher = Launcher {
            info: &info,
            principal: &Principal::new("ops").expect("one"),
            role: &Role::new("eng").expect("a role"),
        };
        decode_group(&[task], &executor, launcher, |_| Ok(()))
    }

    const COMMAND: &str = r#","command":{"value":"true"}"#;

    #[test]
    fn the_executor_of_a_group_is_one_that_can_be() {
        let custom = r#","type":"CUSTOM","command":{"value":"run"}"#;
        let default = r#","type":"DEFAULT""#;
        for (executor, why) in [
            ("", "'ExecutorInfo.type' must be set"),
            (r#","type":"UNKNOWN""#, "Unknown executor type"),
            (
                r#","type":"CUSTOM""#,
                "'ExecutorInfo.command' must be set for 'CUSTOM' executor",
            ),
            (
                r#","type":"DEFAULT","command":{"value":"run"}"#,
                "'ExecutorInfo.command' must not be set for 'DEFAULT' executor",
            ),
            (
                r#","type":"DEFAULT","container":{"type":"DOCKER"}"#,
                "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor",
            ),
            (
                r#","type":"DEFAULT","container":{"type":"MESOS","mesos":{"image":{"type":"DOCKER","docker":{"name":"i"}}}}"#,
                "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
            ),
        ] {
            assert_eq!(decode(COMMAND, executor), Err(why.to_owned()), "{executor}");
        }
        for executor in [custom, default] {
            for (part, why) in [
                (
                    r#","framework_id":{"value":"g"}"#,
                    "ExecutorInfo has an invalid FrameworkID (Actual: g vs Expected: f)",
                ),
                (
                    r#","shutdown_grace_period":{"nanoseconds":-1}"#,
                    "ExecutorInfo's 'shutdown_grace_period' must be non-negative",
                ),
            ] {
                let refused = decode(COMMAND, &format!("{executor}{part}"));
                assert_eq!(refused, Err(why.to_owned()), "{executor}");
            }
            let own = format!(
                r#"{executor},"framework_id":{{"value":"f"}},"container":{{"type":"MESOS"}}"#
            );
            assert_eq!(decode(COMMAND, &own).expect("good").len(), 1, "{executor}");
        }
    }

    #[test]
    fn all_tasks_of_a_group_are_judged_before_its_executor() {
        for executor in [
            "",
            r#","type":"CUSTOM""#,
            r#","type":"CUSTOM","command":{"value":"run"}"#,
            r#","type":"DEFAULT""#,
            r#","type":"DEFAULT","command":{"value":"run"}"#,
        ] {
            for (task, why) in [
                (
                    r#","kill_policy":{"grace_period":{"nanoseconds":-1}}"#,
                    "Task's 'kill_policy.grace_period' must be non-negative",
                ),
                (
                    r#","max_completion_time":{"nanoseconds":-1}"#,
                    "Task's `max_completion_time` must be non-negative",
                ),
                (
                    r#","check":{"type":"TCP"}"#,
                    "Task uses invalid check: Expecting 'tcp' to be set for TCP check",
                ),
                (
                    r#","health_check":{"type":"TCP"}"#,
                    "Task uses invalid health check: Expecting 'tcp' to be set for TCP health check",
                ),
            ] {
                let refused = decode(&format!("{COMMAND}{task}"), executor);
                let text = format!("Task 't' is invalid: {why}");
                assert_eq!(refused, Err(text), "{executor}");
            }
        }
        // How its executor checks a task is that's.
        let checks = r#","check":{"type":"COMMAND","command":{"command":{"value":"x","user":"u"}}},
            "health_check":{"type":"HTTP","http":{"port":1,"scheme":"https","statuses":[200]}}"#;
        let custom = r#","type":"CUSTOM","command":{"value":"run"}"#;
        decode(checks, custom).expect("good");
    }
}
