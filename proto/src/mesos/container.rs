//! The container of a task: the image that it names, and what runs in it. A container without an image is none.
//!
//! Mesos has two kinds, which run the same image differently: its own containerizer by its table of entrypoints and commands, and
//! Docker as `docker run` does it. What cannot be had here is refused in words for the framework's author.

use proffer_model::ImageName;

use super::task::{Program, decode_command, unsupported};
use super::v1::container_info::{self, DockerInfo, docker_info};
use super::v1::{CommandInfo, ContainerInfo, ExecutorInfo, Image, NetworkInfo, image};
use crate::v1;

/// The image of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskImage {
    name: String,
    kind: container_info::Type,
}

impl TaskImage {
    /// That of a task's container; nothing for one that is a process of the host.
    pub(super) fn of(container: &ContainerInfo) -> Result<Option<Self>, String> {
        let kind = container.r#type();
        let found = match kind {
            container_info::Type::Docker => {
                let docker = container.docker.as_ref();
                let docker = docker.ok_or_else(|| {
                    invalid("DockerInfo 'docker' is not set for DOCKER typed ContainerInfo")
                })?;
                check_docker(docker)?;
                Some(("ContainerInfo.docker.image", &docker.image))
            }
            container_info::Type::Mesos => {
                if container.docker.is_some() {
                    let hint = "give it the type DOCKER, or the image as 'mesos.image'";
                    return Err(unsupported("ContainerInfo.docker with type MESOS", hint));
                }
                let image = container
                    .mesos
                    .as_ref()
                    .and_then(|mesos| mesos.image.as_ref());
                let name = image.map(docker_name).transpose()?;
                name.map(|name| ("ContainerInfo.mesos.image.docker.name", name))
            }
        };
        check_rest(container, found.is_some())?;
        let parse = |(field, name): (&str, &String)| {
            let parsed = name.parse::<ImageName>();
            parsed
                .map_err(|problem| format!("'{field}': {}; {}", problem.message, problem.hint))?;
            let name = name.clone();
            Ok(Self { name, kind })
        };
        found.map(parse).transpose()
    }

    /// For the agent.
    pub(super) fn encode(&self) -> v1::Container {
        let rules = match self.kind {
            container_info::Type::Mesos => v1::ImageRules::Mesos,
            container_info::Type::Docker => v1::ImageRules::Unspecified,
        };
        v1::Container {
            image: Some(v1::container::Image::Name(self.name.clone())),
            rules: rules.into(),
        }
    }

    /// What runs in it. A line for the shell passes by the image's entrypoint, as a program does with Mesos's own containerizer;
    /// with Docker's that is an argument of the entrypoint.
    pub(super) fn program(&self, command: &CommandInfo) -> Result<v1::task_spec::Command, String> {
        let value = command.value.as_ref().filter(|value| !value.is_empty());
        let is_of_image = match self.kind {
            container_info::Type::Mesos => value.is_none(),
            container_info::Type::Docker => true,
        };
        if command.shell() || !is_of_image {
            return decode_command(command).map(encode_program);
        }
        let arguments = value.into_iter().chain(&command.arguments);
        let arguments = arguments.cloned().collect();
        let command = v1::ImageCommand { arguments };
        Ok(v1::task_spec::Command::Image(command))
    }

    /// Whether a framework's user is its task's. Docker's containerizer runs every task as its image says.
    pub(super) fn is_run_as_framework(&self) -> bool {
        self.kind == container_info::Type::Mesos
    }
}

pub(super) fn encode_program(program: Program) -> v1::task_spec::Command {
    match program {
        Program::Shell(line) => v1::task_spec::Command::Shell(line),
        Program::Exec(exec) => v1::task_spec::Command::Exec(exec),
    }
}

/// Executors are processes of their host.
pub(super) fn check_executors_container(info: &ExecutorInfo) -> Result<(), String> {
    let Some(container) = &info.container else {
        return Ok(());
    };
    let hint = "executors are processes of the agent's host; give the image to tasks with a command, or run the executor's \
         program without one";
    if container.r#type() == container_info::Type::Docker || container.docker.is_some() {
        return Err(unsupported("ExecutorInfo.container.docker", hint));
    }
    let image = container.mesos.as_ref();
    if image.is_some_and(|mesos| mesos.image.is_some()) {
        return Err(unsupported("ExecutorInfo.container.mesos.image", hint));
    }
    check_rest(container, false)
}

fn invalid(what: &str) -> String {
    format!("Task's `ContainerInfo` is invalid: {what}")
}

/// Who may pull it is not asked, since nothing is pulled.
fn docker_name(image: &Image) -> Result<&String, String> {
    if image.r#type() == image::Type::Appc {
        let hint = "give an image of type DOCKER";
        return Err(unsupported("ContainerInfo.mesos.image.appc", hint));
    }
    let docker = image.docker.as_ref();
    let docker =
        docker.ok_or_else(|| invalid("'docker' is not set for an image of type DOCKER"))?;
    Ok(&docker.name)
}

/// What of a container of Docker's there is not. `force_pull_image` asks for what is so: the archive is looked at each time.
fn check_docker(docker: &DockerInfo) -> Result<(), String> {
    if docker
        .parameters
        .iter()
        .any(|parameter| parameter.key == "name")
    {
        return Err(invalid("Parameter in DockerInfo must not be 'name'"));
    }
    let network = match docker.network() {
        docker_info::Network::Host => None,
        docker_info::Network::Bridge => Some("BRIDGE"),
        docker_info::Network::None => Some("NONE"),
        docker_info::Network::User => Some("USER"),
    };
    if let Some(network) = network {
        let hint =
            "tasks are in their host's network: give HOST, and take ports among the resources";
        let what = format!("ContainerInfo.docker.network {network}");
        return Err(unsupported(&what, hint));
    }
    let bare = |what: &str| {
        Err(unsupported(
            &format!("ContainerInfo.docker.{what}"),
            "leave it out",
        ))
    };
    match docker {
        _ if !docker.port_mappings.is_empty() => {
            let hint = "tasks are in their host's network: let the program listen on a port among the resources";
            Err(unsupported("ContainerInfo.docker.port_mappings", hint))
        }
        _ if docker.privileged() => {
            let hint = "containers have few rights here, whoever asks (docs/containers.md)";
            Err(unsupported("ContainerInfo.docker.privileged", hint))
        }
        _ if !docker.parameters.is_empty() => bare("parameters"),
        _ if docker.volume_driver.is_some() => bare("volume_driver"),
        _ => Ok(()),
    }
}

/// What no container has here.
fn check_rest(container: &ContainerInfo, has_image: bool) -> Result<(), String> {
    if !container.volumes.is_empty() {
        let hint = match has_image {
            true => "use persistent volumes, or fetch files by 'uris'",
            false => "use persistent volumes, or the host's own paths",
        };
        return Err(unsupported("ContainerInfo.volumes", hint));
    }
    let is_network =
        |network: &NetworkInfo| network.name.is_some() || !network.port_mappings.is_empty();
    if container.network_infos.iter().any(is_network) {
        let hint = "tasks are in their host's network; use ports among their resources";
        return Err(unsupported("ContainerInfo.network_infos", hint));
    }
    let bare = |what: &str| Err(unsupported(what, "leave it out"));
    match container {
        ContainerInfo {
            linux_info: Some(_),
            ..
        } => bare("ContainerInfo.linux_info"),
        ContainerInfo {
            rlimit_info: Some(_),
            ..
        } => bare("ContainerInfo.rlimit_info"),
        ContainerInfo {
            tty_info: Some(_), ..
        } => bare("ContainerInfo.tty_info"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_json;
    use super::*;

    fn image(container: &str) -> Result<Option<TaskImage>, String> {
        let container: ContainerInfo = read_json(container.as_bytes()).expect("reads");
        TaskImage::of(&container)
    }

    fn mesos(name: &str) -> String {
        format!(
            r#"{{"type":"MESOS","mesos":{{"image":{{"type":"DOCKER","docker":{{"name":"{name}"}}}}}}}}"#
        )
    }

    fn docker(more: &str) -> String {
        format!(r#"{{"type":"DOCKER","docker":{{"image":"busybox:1"{more}}}}}"#)
    }

    #[test]
    fn an_image_is_named_in_either_kind_of_container() {
        let secrets = r#"{"type":"MESOS","mesos":{"image":{"type":"DOCKER","cached":false,
            "docker":{"name":"a/b","credential":{"principal":"me","secret":"x"},
            "config":{"type":"VALUE","value":{"data":"e30="}}}}}}"#;
        for (container, name, rules) in [
            (mesos("busybox"), "busybox", v1::ImageRules::Mesos),
            (secrets.to_owned(), "a/b", v1::ImageRules::Mesos),
            (docker(""), "busybox:1", v1::ImageRules::Unspecified),
            (
                docker(r#","network":"HOST","privileged":false,"force_pull_image":true"#),
                "busybox:1",
                v1::ImageRules::Unspecified,
            ),
        ] {
            let image = image(&container).expect("good").expect("an image");
            let expected = v1::Container {
                image: Some(v1::container::Image::Name(name.to_owned())),
                rules: rules.into(),
            };
            assert_eq!(image.encode(), expected);
        }
        for none in [r#"{"type":"MESOS"}"#, r#"{"type":"MESOS","mesos":{}}"#] {
            assert_eq!(image(none), Ok(None));
        }
    }

    #[test]
    fn what_runs_is_as_each_containerizer_has_it() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let of_image = |text| {
            v1::task_spec::Command::Image(v1::ImageCommand {
                arguments: words(text),
            })
        };
        let exec = |program: &str, text| {
            let program = program.to_owned();
            let arguments = words(text);
            v1::task_spec::Command::Exec(v1::Exec { arguments, program })
        };
        let shell = v1::task_spec::Command::Shell("ls -l".to_owned());
        for (command, by_mesos, by_docker) in [
            (r#""value":"ls -l""#, shell.clone(), shell),
            (r#""shell":false"#, of_image(""), of_image("")),
            (r#""shell":false,"value":"""#, of_image(""), of_image("")),
            (
                r#""shell":false,"arguments":["a","b"]"#,
                of_image("a b"),
                of_image("a b"),
            ),
            (
                r#""shell":false,"value":"ls""#,
                exec("", "ls"),
                of_image("ls"),
            ),
            (
                r#""shell":false,"value":"ls","arguments":["dir","-l"]"#,
                exec("ls", "dir -l"),
                of_image("ls dir -l"),
            ),
        ] {
            let given: CommandInfo = read_json(format!("{{{command}}}").as_bytes()).expect("reads");
            for (container, expected) in [(mesos("a"), by_mesos), (docker(""), by_docker)] {
                let image = image(&container).expect("good").expect("an image");
                assert_eq!(image.program(&given), Ok(expected), "{command} {container}");
            }
        }
        let none: CommandInfo = read_json(b"{}").expect("reads");
        let image = image(&docker("")).expect("good").expect("an image");
        let refused = image.program(&none).expect_err("no line");
        assert_eq!(
            refused,
            "Shell command 'CommandInfo.value' is not specified"
        );
    }

    #[test]
    fn what_no_container_has_is_refused_in_words() {
        let appc = r#"{"type":"MESOS","mesos":{"image":{"type":"APPC","appc":{"name":"a"}}}}"#;
        let of_both = r#"{"type":"MESOS","docker":{"image":"a"}}"#;
        let unsupported = |container: String, part: &str| {
            let refused = image(&container).expect_err(&container);
            let why = format!("'ContainerInfo.{part}' is not supported");
            assert!(refused.starts_with(&why), "{refused}");
        };
        unsupported(appc.to_owned(), "mesos.image.appc");
        unsupported(of_both.to_owned(), "docker with type MESOS");
        for network in ["BRIDGE", "NONE", "USER"] {
            let container = docker(&format!(r#","network":"{network}""#));
            unsupported(container, &format!("docker.network {network}"));
        }
        for (container, why) in [
            (
                r#"{"type":"MESOS","mesos":{"image":{"type":"DOCKER"}}}"#.to_owned(),
                "Task's `ContainerInfo` is invalid: 'docker' is not set for an image",
            ),
            (
                r#"{"type":"DOCKER"}"#.to_owned(),
                "Task's `ContainerInfo` is invalid: DockerInfo 'docker' is not set for DOCKER typed ContainerInfo",
            ),
            (
                mesos("../etc/passwd"),
                "'ContainerInfo.mesos.image.docker.name': \"../etc/passwd\" is not the name of an image",
            ),
            (
                mesos(""),
                "'ContainerInfo.mesos.image.docker.name': \"\" is not the name",
            ),
            (
                docker(r#","port_mappings":[{"host_port":1,"container_port":2}]"#),
                "'ContainerInfo.docker.port_mappings' is not supported",
            ),
            (
                docker(r#","privileged":true"#),
                "'ContainerInfo.docker.privileged' is not supported",
            ),
            (
                docker(r#","parameters":[{"key":"cap-add","value":"ALL"}]"#),
                "'ContainerInfo.docker.parameters' is not supported",
            ),
            (
                docker(r#","parameters":[{"key":"name","value":"a"}]"#),
                "Task's `ContainerInfo` is invalid: Parameter in DockerInfo must not be 'name'",
            ),
            (
                docker(r#","volume_driver":"a""#),
                "'ContainerInfo.docker.volume_driver' is not supported",
            ),
            (
                docker(
                    r#"},"volumes":[{"mode":"RW","container_path":"/a","host_path":"/b"}],"hostname":"x","mesos":{"#,
                ),
                "'ContainerInfo.volumes' is not supported: use persistent volumes, or fetch",
            ),
        ] {
            let refused = image(&container).expect_err(&container);
            assert!(refused.starts_with(why), "{refused}");
        }
    }
}
