//! Tasks: what is to be run, and what has become of it.
//!
//! A spec is checked here as far as it can be without knowing the cluster, so that an agent never meets a command, an
//! environment or a port that the operating system would refuse or cut short.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::limits::{
    CHECK_INTERVAL_MIN, CHECK_TIMEOUT_MIN, CHECKS_MAX, DURATION_MAX, ENTRIES_MAX,
    KILL_GRACE_DEFAULT, KILL_GRACE_MAX, LABELS_LEN_MAX, STATUS_DATA_LEN_MAX, TASK_SPEC_LEN_MAX,
    TEXT_LEN_MAX,
};
use proffer_model::time::format_duration;
use proffer_model::{
    Check, CheckAnswer, CheckKind, CheckResult, Command, Container, Exit, Image, ImageName,
    ImageRules, Incarnation, Port, Probe, Problem, Protocol, Reason, Resources, Secret, Status,
    TaskSpec, TaskState, code,
};
use prost::Message;

use crate::executor::{
    decode_bytes, decode_mounts, decode_task_executor, encode_executor, encode_mount,
};
use crate::fields::{
    check_count, clipped, decode_duration, decode_id, decode_list, decode_optional_id,
    decode_port_number, decode_system_text, decode_text, encode_duration, invalid, missing,
    required, unknown_value,
};
use crate::found::{decode_discovery, decode_fetches, encode_discovery, encode_fetch};
use crate::resources::{decode_resources, encode_resources};
use crate::v1;

/// What to run, for the wire. Carries secrets: only for agents and their files.
pub fn encode_task_spec(spec: &TaskSpec) -> v1::TaskSpec {
    v1::TaskSpec {
        executor: spec.executor.as_deref().map(encode_executor),
        ..encode_task_spec_of_executor(spec)
    }
}

/// The same without the executor itself.
pub(crate) fn encode_task_spec_of_executor(spec: &TaskSpec) -> v1::TaskSpec {
    let command = match &spec.command {
        Command::Shell(line) => v1::task_spec::Command::Shell(line.clone()),
        Command::Exec(arguments) => v1::task_spec::Command::Exec(encode_exec(arguments, "")),
        Command::Named { program, arguments } => {
            v1::task_spec::Command::Exec(encode_exec(arguments, program))
        }
        Command::Image(arguments) => v1::task_spec::Command::Image(v1::ImageCommand {
            arguments: arguments.clone(),
        }),
        Command::Data(data) => v1::task_spec::Command::Data(data.clone()),
    };
    v1::TaskSpec {
        id: spec.id.to_string(),
        name: spec.name.clone(),
        resources: Some(encode_resources(&spec.resources)),
        command: Some(command),
        environment: encode_environment(&spec.environment),
        user: spec.user.clone().unwrap_or_default(),
        labels: spec.labels.clone(),
        ports: spec.ports.iter().map(encode_port).collect(),
        checks: spec.checks.iter().map(encode_check).collect(),
        kill_grace_ms: Some(encode_duration(spec.kill_grace)),
        container: spec.container.as_ref().map(encode_container),
        executor: None,
        volumes: spec.volumes.iter().map(encode_mount).collect(),
        completion_ms: spec.completion.map(encode_duration),
        fetch: spec.fetch.iter().map(encode_fetch).collect(),
        discovery: spec.discovery.as_deref().map(encode_discovery),
    }
}

/// A program, for the wire.
pub(crate) fn encode_exec(arguments: &[String], program: &str) -> v1::Exec {
    v1::Exec {
        arguments: arguments.to_vec(),
        program: program.to_owned(),
    }
}

/// A program, from the wire.
pub(crate) fn decode_exec(exec: v1::Exec) -> Result<Command, Problem> {
    if exec.program.is_empty() {
        return decode_program(exec.arguments).map(Command::Exec);
    }
    Ok(Command::Named {
        program: decode_system_text(exec.program, "exec.program")?,
        arguments: decode_program(exec.arguments)?,
    })
}

/// What to run, from the wire, checked as far as it can be without knowing the cluster.
pub fn decode_task_spec(mut spec: v1::TaskSpec) -> Result<TaskSpec, Problem> {
    // Labels may be changed later, and the agent must be able to say the whole again: they have a limit of their own.
    let labels = std::mem::take(&mut spec.labels);
    check_len(&spec)?;
    spec.labels = labels;
    let executor = spec.executor.take();
    let mut spec = decode_task_spec_of_executor(spec)?;
    spec.executor = decode_task_executor(executor, &spec.command)?;
    let executor = spec.executor.as_ref();
    if executor.is_some_and(|it| it.api == proffer_model::ExecutorApi::Proffer)
        && !spec.volumes.is_empty()
    {
        let message = "the volumes of a task with an executor are not mounted";
        return Err(invalid("volumes", message)
            .hint("leave the mounts out: a task may hold volumes all the same"));
    }
    Ok(spec)
}

/// What an executor is told to run: without the executor itself.
pub(crate) fn decode_task_spec_of_executor(mut spec: v1::TaskSpec) -> Result<TaskSpec, Problem> {
    let labels = std::mem::take(&mut spec.labels);
    check_len(&spec)?;
    let resources = required(spec.resources, "resources")?;
    let resources = decode_resources(resources).map_err(|problem| problem.within("resources"))?;
    let ports = decode_list(spec.ports, "ports", ENTRIES_MAX, decode_port)?;
    check_ports(&ports, &resources)?;
    let kill_grace = match spec.kill_grace_ms {
        Some(ms) => decode_duration(ms, "kill_grace_ms", KILL_GRACE_MAX)?,
        None => KILL_GRACE_DEFAULT,
    };
    let container = spec.container.map(decode_container).transpose()?;
    let command = decode_command(spec.command, container.is_some())?;
    let completion = spec.completion_ms;
    let discovery = spec.discovery.map(decode_discovery);
    Ok(TaskSpec {
        id: decode_id(&spec.id, "id")?,
        name: decode_text(spec.name, "name")?,
        resources,
        executor: None,
        command,
        environment: decode_environment(spec.environment)?,
        user: Some(decode_system_text(spec.user, "user")?).filter(|user| !user.is_empty()),
        labels: decode_labels(labels)?,
        ports,
        checks: decode_list(spec.checks, "checks", CHECKS_MAX, decode_check)?,
        kill_grace,
        container,
        volumes: decode_mounts(spec.volumes)?,
        completion: completion
            .map(|ms| decode_duration(ms, "completion_ms", DURATION_MAX))
            .transpose()?,
        fetch: decode_fetches(spec.fetch)?,
        discovery: discovery
            .transpose()
            .map_err(|problem| problem.within("discovery"))?
            .map(std::sync::Arc::new),
    })
}

fn check_len(spec: &v1::TaskSpec) -> Result<(), Problem> {
    let len = spec.encoded_len();
    if len <= TASK_SPEC_LEN_MAX {
        return Ok(());
    }
    let message = format!("the task has {len} bytes; the limit is {TASK_SPEC_LEN_MAX}");
    Err(Problem::new(code::FIELD_TOO_LONG, message)
        .hint("let the task fetch what is large when it starts"))
}

/// A status for the wire; a message longer than `TEXT_LEN_MAX` is cut.
pub fn encode_status(status: &Status) -> v1::Status {
    v1::Status {
        task_id: status.task.to_string(),
        incarnation: status.incarnation.0,
        agent_id: status
            .agent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        number: status.number,
        state: encode_task_state(status.state).into(),
        reason: encode_reason(status.reason).into(),
        message: clipped(&status.message, TEXT_LEN_MAX),
        exit: status.exit.map(|exit| match exit {
            Exit::Code(code) => v1::status::Exit::ExitCode(code),
            Exit::Signal(signal) => v1::status::Exit::ExitSignal(signal),
        }),
        healthy: status.healthy,
        wall_ms: status.wall_ms,
        checks: status.checks.iter().map(encode_result).collect(),
        data: status.data.clone(),
    }
}

/// A status from the wire.
pub fn decode_status(status: v1::Status) -> Result<Status, Problem> {
    Ok(Status {
        task: decode_id(&status.task_id, "task_id")?,
        incarnation: Incarnation(status.incarnation),
        agent: decode_optional_id(&status.agent_id, "agent_id")?,
        number: status.number,
        state: decode_task_state(status.state, "state")?,
        reason: decode_reason(status.reason, "reason")?,
        message: decode_text(status.message, "message")?,
        exit: status.exit.map(|exit| match exit {
            v1::status::Exit::ExitCode(code) => Exit::Code(code),
            v1::status::Exit::ExitSignal(signal) => Exit::Signal(signal),
        }),
        healthy: status.healthy,
        wall_ms: status.wall_ms,
        checks: decode_list(status.checks, "checks", CHECKS_MAX, decode_result)?,
        data: decode_bytes(status.data, STATUS_DATA_LEN_MAX)?,
    })
}

fn encode_result(result: &CheckResult) -> v1::CheckResult {
    let answer = result.answer.map(|answer| match answer {
        CheckAnswer::Http(code) => v1::check_result::Answer::HttpCode(code.into()),
        CheckAnswer::Tcp(connected) => v1::check_result::Answer::Connected(connected),
        CheckAnswer::Exit(code) => v1::check_result::Answer::ExitCode(code),
    });
    let observed = match result.observed {
        None => v1::Probe::Unspecified,
        Some(Probe::Http) => v1::Probe::Http,
        Some(Probe::Tcp) => v1::Probe::Tcp,
        Some(Probe::Command) => v1::Probe::Command,
    };
    v1::CheckResult {
        check: result.check,
        answer,
        observed: observed.into(),
    }
}

fn decode_result(result: v1::CheckResult) -> Result<CheckResult, Problem> {
    let answer = match result.answer {
        None => None,
        Some(v1::check_result::Answer::HttpCode(code)) => {
            let message = format!("{code} is no code of HTTP");
            let wrong = |_| invalid("http_code", &*message).hint("give a number from 100 to 599");
            Some(CheckAnswer::Http(u16::try_from(code).map_err(wrong)?))
        }
        Some(v1::check_result::Answer::Connected(is)) => Some(CheckAnswer::Tcp(is)),
        Some(v1::check_result::Answer::ExitCode(code)) => Some(CheckAnswer::Exit(code)),
    };
    let observed = match v1::Probe::try_from(result.observed) {
        Ok(v1::Probe::Unspecified) => None,
        Ok(v1::Probe::Http) => Some(Probe::Http),
        Ok(v1::Probe::Tcp) => Some(Probe::Tcp),
        Ok(v1::Probe::Command) => Some(Probe::Command),
        Err(_) => return Err(unknown_value("observed", result.observed)),
    };
    Ok(CheckResult {
        check: result.check,
        answer,
        observed,
    })
}

/// A task state for the wire.
pub fn encode_task_state(state: TaskState) -> v1::TaskState {
    match state {
        TaskState::Staging => v1::TaskState::Staging,
        TaskState::Starting => v1::TaskState::Starting,
        TaskState::Running => v1::TaskState::Running,
        TaskState::Killing => v1::TaskState::Killing,
        TaskState::Unreachable => v1::TaskState::Unreachable,
        TaskState::Finished => v1::TaskState::Finished,
        TaskState::Failed => v1::TaskState::Failed,
        TaskState::Killed => v1::TaskState::Killed,
        TaskState::Error => v1::TaskState::Error,
        TaskState::Dropped => v1::TaskState::Dropped,
        TaskState::Lost => v1::TaskState::Lost,
    }
}

/// A task state from the wire, as the enum's number; must be given.
pub fn decode_task_state(number: i32, field: &str) -> Result<TaskState, Problem> {
    TaskState::ALL
        .into_iter()
        .find(|state| i32::from(encode_task_state(*state)) == number)
        .ok_or_else(|| unknown_value(field, number))
}

/// A reason for the wire.
pub fn encode_reason(reason: Reason) -> v1::Reason {
    match reason {
        Reason::None => v1::Reason::Unspecified,
        Reason::Exited => v1::Reason::Exited,
        Reason::LaunchFailed => v1::Reason::LaunchFailed,
        Reason::CheckFailed => v1::Reason::CheckFailed,
        Reason::KillRequested => v1::Reason::KillRequested,
        Reason::FrameworkRemoved => v1::Reason::FrameworkRemoved,
        Reason::AgentUnreachable => v1::Reason::AgentUnreachable,
        Reason::AgentReturned => v1::Reason::AgentReturned,
        Reason::NeverDelivered => v1::Reason::NeverDelivered,
        Reason::SupervisorLost => v1::Reason::SupervisorLost,
        Reason::HostRestarted => v1::Reason::HostRestarted,
        Reason::Reconciled => v1::Reason::Reconciled,
        Reason::HealthChanged => v1::Reason::HealthChanged,
        Reason::CheckAnswered => v1::Reason::CheckAnswered,
        Reason::OutOfMemory => v1::Reason::OutOfMemory,
        Reason::ImageFailed => v1::Reason::ImageFailed,
        Reason::DeadlinePassed => v1::Reason::DeadlinePassed,
        Reason::AgentDrained => v1::Reason::AgentDrained,
        Reason::ExecutorEnded => v1::Reason::ExecutorEnded,
        Reason::GroupEnded => v1::Reason::GroupEnded,
        Reason::VolumeFailed => v1::Reason::VolumeFailed,
        Reason::FetchFailed => v1::Reason::FetchFailed,
        Reason::AgentGone => v1::Reason::AgentGone,
        Reason::TooLong => v1::Reason::TooLong,
    }
}

/// A reason from the wire, as the enum's number; 0 is [`Reason::None`].
pub fn decode_reason(number: i32, field: &str) -> Result<Reason, Problem> {
    let reason = v1::Reason::try_from(number).map_err(|_| unknown_value(field, number))?;
    Ok(match reason {
        v1::Reason::Unspecified => Reason::None,
        v1::Reason::Exited => Reason::Exited,
        v1::Reason::LaunchFailed => Reason::LaunchFailed,
        v1::Reason::CheckFailed => Reason::CheckFailed,
        v1::Reason::KillRequested => Reason::KillRequested,
        v1::Reason::FrameworkRemoved => Reason::FrameworkRemoved,
        v1::Reason::AgentUnreachable => Reason::AgentUnreachable,
        v1::Reason::AgentReturned => Reason::AgentReturned,
        v1::Reason::NeverDelivered => Reason::NeverDelivered,
        v1::Reason::SupervisorLost => Reason::SupervisorLost,
        v1::Reason::HostRestarted => Reason::HostRestarted,
        v1::Reason::Reconciled => Reason::Reconciled,
        v1::Reason::HealthChanged => Reason::HealthChanged,
        v1::Reason::CheckAnswered => Reason::CheckAnswered,
        v1::Reason::OutOfMemory => Reason::OutOfMemory,
        v1::Reason::ImageFailed => Reason::ImageFailed,
        v1::Reason::DeadlinePassed => Reason::DeadlinePassed,
        v1::Reason::AgentDrained => Reason::AgentDrained,
        v1::Reason::ExecutorEnded => Reason::ExecutorEnded,
        v1::Reason::GroupEnded => Reason::GroupEnded,
        v1::Reason::VolumeFailed => Reason::VolumeFailed,
        v1::Reason::FetchFailed => Reason::FetchFailed,
        v1::Reason::AgentGone => Reason::AgentGone,
        v1::Reason::TooLong => Reason::TooLong,
    })
}

/// A port for the wire.
pub fn encode_port(port: &Port) -> v1::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
    };
    v1::Port {
        name: port.name.clone(),
        number: port.number.into(),
        protocol: protocol.into(),
    }
}

/// A port from the wire; an unspecified protocol is TCP.
pub fn decode_port(port: v1::Port) -> Result<Port, Problem> {
    let protocol = match v1::Protocol::try_from(port.protocol) {
        Ok(v1::Protocol::Unspecified | v1::Protocol::Tcp) => Protocol::Tcp,
        Ok(v1::Protocol::Udp) => Protocol::Udp,
        Err(_) => return Err(unknown_value("protocol", port.protocol)),
    };
    Ok(Port {
        name: decode_text(port.name, "name")?,
        number: decode_port_number(port.number, "number")?,
        protocol,
    })
}

/// A check for the wire.
pub fn encode_check(check: &Check) -> v1::Check {
    let kind = match &check.kind {
        CheckKind::Http { port, path } => v1::check::Kind::Http(v1::HttpCheck {
            port: (*port).into(),
            path: path.clone(),
        }),
        CheckKind::Tcp { port } => v1::check::Kind::Tcp(v1::TcpCheck {
            port: (*port).into(),
        }),
        CheckKind::Command { shell } => v1::check::Kind::Command(v1::CommandCheck {
            shell: shell.clone(),
        }),
    };
    v1::Check {
        kind: Some(kind),
        delay_ms: encode_duration(check.delay),
        interval_ms: encode_duration(check.interval),
        timeout_ms: encode_duration(check.timeout),
        grace_ms: encode_duration(check.grace),
        failures_max: check.failures_max,
        observed: check.is_observed,
    }
}

/// A check from the wire.
pub fn decode_check(check: v1::Check) -> Result<Check, Problem> {
    let kind = match required(check.kind, "kind")? {
        v1::check::Kind::Http(http) => CheckKind::Http {
            port: decode_port_number(http.port, "http.port")?,
            path: decode_path(http.path).map_err(|problem| problem.within("http"))?,
        },
        v1::check::Kind::Tcp(tcp) => CheckKind::Tcp {
            port: decode_port_number(tcp.port, "tcp.port")?,
        },
        v1::check::Kind::Command(command) => CheckKind::Command {
            shell: decode_shell(command.shell).map_err(|problem| problem.within("command"))?,
        },
    };
    let interval = decode_duration(check.interval_ms, "interval_ms", DURATION_MAX)?;
    let timeout = decode_duration(check.timeout_ms, "timeout_ms", DURATION_MAX)?;
    for (field, given, min) in [
        ("interval_ms", interval, CHECK_INTERVAL_MIN),
        ("timeout_ms", timeout, CHECK_TIMEOUT_MIN),
    ] {
        if given < min {
            let (given, min) = (format_duration(given), format_duration(min));
            return Err(invalid(field, format!("{given} is shorter than {min}"))
                .hint(format!("give at least {min}")));
        }
    }
    if check.observed && check.failures_max > 0 {
        let message = "a check that is only observed kills no task";
        return Err(invalid("failures_max", message).hint("give 0, or take observed away"));
    }
    Ok(Check {
        kind,
        delay: decode_duration(check.delay_ms, "delay_ms", DURATION_MAX)?,
        interval,
        timeout,
        grace: decode_duration(check.grace_ms, "grace_ms", DURATION_MAX)?,
        failures_max: check.failures_max,
        is_observed: check.observed,
    })
}

fn decode_command(
    command: Option<v1::task_spec::Command>,
    has_container: bool,
) -> Result<Command, Problem> {
    let command = match command {
        None if has_container => v1::task_spec::Command::Image(v1::ImageCommand::default()),
        command => required(command, "command")?,
    };
    match command {
        v1::task_spec::Command::Shell(line) => decode_shell(line).map(Command::Shell),
        v1::task_spec::Command::Exec(exec) => decode_exec(exec),
        v1::task_spec::Command::Data(data) => Ok(Command::Data(data)),
        v1::task_spec::Command::Image(_) if !has_container => {
            Err(missing("container").hint("give the container whose image says what to run"))
        }
        v1::task_spec::Command::Image(image) => {
            decode_arguments(image.arguments, "image.arguments").map(Command::Image)
        }
    }
}

/// A program and its arguments.
pub(crate) fn decode_program(arguments: Vec<String>) -> Result<Vec<String>, Problem> {
    let arguments = decode_arguments(arguments, "exec.arguments")?;
    match arguments.first() {
        Some(program) if !program.is_empty() => Ok(arguments),
        _ => Err(missing("exec.arguments[0]").hint("give the program to run first")),
    }
}

/// A line for the shell.
pub(crate) fn decode_shell(line: String) -> Result<String, Problem> {
    if line.trim().is_empty() {
        return Err(missing("shell").hint("give the line that /bin/sh is to run"));
    }
    decode_system_text(line, "shell")
}

fn decode_arguments(arguments: Vec<String>, field: &str) -> Result<Vec<String>, Problem> {
    decode_list(arguments, field, ENTRIES_MAX, |argument| {
        decode_system_text(argument, "")
    })
}

/// A container for the wire.
fn encode_container(container: &Container) -> v1::Container {
    let image = match &container.image {
        Image::Archive(path) => v1::container::Image::Archive(path.clone()),
        Image::Name(name) => v1::container::Image::Name(name.to_string()),
    };
    let rules = match container.rules {
        ImageRules::Docker => v1::ImageRules::Unspecified,
        ImageRules::Mesos => v1::ImageRules::Mesos,
    };
    v1::Container {
        image: Some(image),
        rules: rules.into(),
    }
}

fn decode_container(container: v1::Container) -> Result<Container, Problem> {
    let rules = match v1::ImageRules::try_from(container.rules) {
        Ok(v1::ImageRules::Unspecified) => ImageRules::Docker,
        Ok(v1::ImageRules::Mesos) => ImageRules::Mesos,
        Err(_) => return Err(unknown_value("container.rules", container.rules)),
    };
    let image = match required(container.image, "container.image")? {
        v1::container::Image::Archive(path) => Image::Archive(decode_archive(path)?),
        v1::container::Image::Name(name) => {
            let name = name.parse::<ImageName>();
            Image::Name(name.map_err(|problem| problem.field("container.name"))?)
        }
    };
    Ok(Container { image, rules })
}

fn decode_archive(path: String) -> Result<String, Problem> {
    let path = decode_system_text(path, "container.archive")?;
    if !path.starts_with('/') {
        let message = format!("{path:?} is not an absolute path");
        return Err(invalid("container.archive", message).hint(
            "give the path of the archive on the agent's host, such as /srv/images/web.tar",
        ));
    }
    Ok(path)
}

/// An environment, for the wire. Carries secrets.
pub(crate) fn encode_environment(
    environment: &BTreeMap<String, Secret>,
) -> BTreeMap<String, String> {
    let environment = environment.iter();
    environment
        .map(|(name, value)| (name.clone(), value.expose().to_owned()))
        .collect()
}

/// An environment, from the wire.
pub(crate) fn decode_environment(
    environment: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Secret>, Problem> {
    check_count(environment.len(), "environment", ENTRIES_MAX)?;
    let decode = |(name, value): (String, String)| {
        if name.is_empty() {
            return Err(invalid("environment", "a name is empty").hint("name the variable"));
        }
        let name = decode_system_text(name, "environment")?;
        if name.contains('=') {
            return Err(
                invalid("environment", format!("the name {name:?} contains '='"))
                    .hint("a name ends at the first '='; leave it out"),
            );
        }
        let value =
            decode_system_text(value, &name).map_err(|problem| problem.within("environment"))?;
        Ok((name, Secret::new(value)))
    };
    environment.into_iter().map(decode).collect()
}

/// Labels, from the wire.
pub(crate) fn decode_labels(
    labels: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problem> {
    check_count(labels.len(), "labels", ENTRIES_MAX)?;
    let len: usize = labels
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if len > LABELS_LEN_MAX {
        let message = format!("the labels have {len} bytes; the limit is {LABELS_LEN_MAX}");
        return Err(Problem::new(code::FIELD_TOO_LONG, message)
            .field("labels")
            .hint("keep what is large elsewhere"));
    }
    let decode = |(name, value): (String, String)| {
        let name = decode_text(name, "labels")?;
        if name.is_empty() {
            return Err(invalid("labels", "a name is empty").hint("name the label"));
        }
        let value = decode_text(value, &name).map_err(|problem| problem.within("labels"))?;
        Ok((name, value))
    };
    labels.into_iter().map(decode).collect()
}

fn check_ports(ports: &[Port], resources: &Resources) -> Result<(), Problem> {
    let held = resources.range_set("ports");
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let field = format!("ports[{i}].number");
        if !held.has(port.number.into()) {
            let message = format!("port {} is not among the task's resources", port.number);
            return Err(invalid(field, message).hint("add the number to the range resource ports"));
        }
        if !seen.insert((port.number, port.protocol)) {
            let message = format!("port {} is given twice", port.number);
            return Err(invalid(field, message).hint("give each port once a protocol"));
        }
    }
    Ok(())
}

/// A path as it may stand in a request line: white space or a line break would end it and begin something else.
fn decode_path(path: String) -> Result<String, Problem> {
    let path = decode_text(path, "path")?;
    if !path.starts_with('/') {
        return Err(invalid("path", format!("{path:?} does not begin with '/'"))
            .hint("give a path such as /health"));
    }
    if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(invalid(
            "path",
            "the path contains white space or a control character",
        )
        .hint("percent-encode it"));
    }
    Ok(path)
}
