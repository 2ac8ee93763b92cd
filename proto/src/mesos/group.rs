//! Whether the executor of a task group is one that can be, and the same for all of its tasks, judged as Mesos judges it: the
//! order of most lists says nothing, what is left out is what it is by default, and of some parts nothing is compared.

use std::collections::BTreeSet;

use proffer_model::Principal;
use proffer_model::limits::ID_LEN_MAX;

use super::resources::decode_resources;
use super::v1::{CommandInfo, ContainerInfo, DiscoveryInfo, ExecutorInfo, TaskInfo, executor_info};
use crate::fields::clipped;

/// Why this executor cannot be that of a group of these tasks, in Mesos's words.
pub fn check_group_executor(
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
    left.executor_id == right.executor_id
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
            (r#""type":"CUSTOM","#, r#""type":"DEFAULT","#),
            (
                r#""type":"CUSTOM","#,
                r#""shutdown_grace_period":{"nanoseconds":1},"#,
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
            (r#""type":"CUSTOM","#, r#""name":"n","#),
            (r#""type":"CUSTOM","#, r#""source":"s","#),
            (r#""type":"CUSTOM","#, r#""data":"AA==","#),
        ] {
            let own = GIVEN.replacen(part, other, 1);
            assert_eq!(check(GIVEN, &own), Err(why.to_owned()), "{other}");
        }
    }

    #[test]
    fn the_executor_of_a_group_says_its_type() {
        let bare = r#"{"executor_id":{"value":"e"}}"#;
        let why = "'ExecutorInfo.type' must be set";
        assert_eq!(check(bare, bare), Err(why.to_owned()));
        let unknown = r#"{"type":"UNKNOWN","executor_id":{"value":"e"}}"#;
        let why = "Unknown executor type";
        assert_eq!(check(unknown, unknown), Err(why.to_owned()));
    }
}
