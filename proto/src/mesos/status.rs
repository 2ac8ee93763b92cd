//! What becomes of tasks, in the states, reasons and words that Mesos's frameworks know.

use std::net::IpAddr;

use proffer_model::{
    CheckAnswer, CheckResult, Incarnation, Probe, Reason, Status, TaskId, TaskState,
};
use prost::Message;

use super::number::{nanoseconds_of, seconds_of};
use super::text::exit_text;
use super::v1;
use super::v1::task_status::{Reason as Why, Source};

/// What a framework said that it understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Revocable resources.
    pub revocable: bool,
    /// TASK_KILLING.
    pub killing: bool,
    /// Agents with GPUs.
    pub gpus: bool,
    /// Shared volumes.
    pub shared: bool,
    /// TASK_UNREACHABLE, TASK_DROPPED and their like, where others are told TASK_LOST.
    pub partition_aware: bool,
    /// Several roles.
    pub multi_role: bool,
    /// Reservations of more than one level, and resources in the form that has them.
    pub refined: bool,
}

impl Capabilities {
    /// What a framework says of itself.
    pub fn of(info: &v1::FrameworkInfo) -> Self {
        use v1::framework_info::capability::Type;
        let mut all = Self::default();
        for capability in &info.capabilities {
            match capability.r#type() {
                Type::RevocableResources => all.revocable = true,
                Type::TaskKillingState => all.killing = true,
                Type::GpuResources => all.gpus = true,
                Type::SharedResources => all.shared = true,
                Type::PartitionAware => all.partition_aware = true,
                Type::MultiRole => all.multi_role = true,
                Type::ReservationRefinement => all.refined = true,
                Type::RegionAware | Type::Unknown => {}
            }
        }
        all
    }
}

/// A task's state for a framework that is, or is not, aware of partitions.
pub fn encode_mesos_state(state: TaskState, is_partition_aware: bool) -> v1::TaskState {
    let aware = |state: v1::TaskState| match is_partition_aware {
        true => state,
        false => v1::TaskState::TaskLost,
    };
    match state {
        TaskState::Staging => v1::TaskState::TaskStaging,
        TaskState::Starting => v1::TaskState::TaskStarting,
        TaskState::Running => v1::TaskState::TaskRunning,
        TaskState::Killing => v1::TaskState::TaskKilling,
        TaskState::Unreachable => aware(v1::TaskState::TaskUnreachable),
        TaskState::Finished => v1::TaskState::TaskFinished,
        TaskState::Failed => v1::TaskState::TaskFailed,
        TaskState::Killed => v1::TaskState::TaskKilled,
        TaskState::Error => v1::TaskState::TaskError,
        TaskState::Dropped => aware(v1::TaskState::TaskDropped),
        TaskState::Lost => aware(v1::TaskState::TaskGone),
    }
}

/// The state of a task as its framework knows it: one of a CUSTOM executor is staging until that has said something of it, since
/// what its agent says first, under the number 1, is for itself.
pub fn state_said(state: TaskState, number: u64, is_custom: bool) -> TaskState {
    match state {
        TaskState::Starting if is_custom && number <= 1 => TaskState::Staging,
        state => state,
    }
}

/// A state that was told for a reason.
pub fn encode_told_state(state: TaskState, reason: Reason, is_aware: bool) -> v1::TaskState {
    match (reason, is_aware) {
        (Reason::AgentGone, true) => v1::TaskState::TaskGoneByOperator,
        // Whoever runs longer than it may has failed, though it is killed for it.
        (Reason::DeadlinePassed, _) if state == TaskState::Killed => v1::TaskState::TaskFailed,
        _ => encode_mesos_state(state, is_aware),
    }
}

/// What is told of a task's health: one that is killed for it was not healthy.
pub fn told_health(state: TaskState, reason: Reason, healthy: Option<bool>) -> Option<bool> {
    match (state, reason) {
        (TaskState::Killed, Reason::CheckFailed) => Some(false),
        _ => healthy,
    }
}

/// What an executor of Mesos's API says of its task; none for what only masters say.
pub fn decode_mesos_state(state: v1::TaskState) -> Option<TaskState> {
    match state {
        v1::TaskState::TaskStaging => Some(TaskState::Staging),
        v1::TaskState::TaskStarting => Some(TaskState::Starting),
        v1::TaskState::TaskRunning => Some(TaskState::Running),
        v1::TaskState::TaskKilling => Some(TaskState::Killing),
        v1::TaskState::TaskFinished => Some(TaskState::Finished),
        v1::TaskState::TaskFailed => Some(TaskState::Failed),
        v1::TaskState::TaskKilled => Some(TaskState::Killed),
        v1::TaskState::TaskError => Some(TaskState::Error),
        v1::TaskState::TaskLost => Some(TaskState::Lost),
        v1::TaskState::TaskDropped => Some(TaskState::Dropped),
        v1::TaskState::TaskGone => Some(TaskState::Lost),
        v1::TaskState::TaskUnreachable
        | v1::TaskState::TaskGoneByOperator
        | v1::TaskState::TaskUnknown => None,
    }
}

/// A reason in Mesos's words; it has none for a process that ended, by itself or because it was told to.
pub fn encode_mesos_reason(reason: Reason) -> Option<Why> {
    match reason {
        Reason::None
        | Reason::Exited
        | Reason::KillRequested
        | Reason::CheckFailed
        | Reason::GroupEnded => None,
        Reason::LaunchFailed | Reason::ImageFailed | Reason::VolumeFailed | Reason::FetchFailed => {
            Some(Why::ContainerLaunchFailed)
        }
        Reason::FrameworkRemoved => Some(Why::FrameworkRemoved),
        Reason::AgentUnreachable => Some(Why::AgentRemoved),
        Reason::AgentGone => Some(Why::AgentRemovedByOperator),
        Reason::AgentReturned => Some(Why::AgentReregistered),
        Reason::NeverDelivered | Reason::Reconciled => Some(Why::Reconciliation),
        Reason::SupervisorLost | Reason::ExecutorEnded => Some(Why::ExecutorTerminated),
        Reason::HostRestarted => Some(Why::AgentRestarted),
        Reason::HealthChanged => Some(Why::TaskHealthCheckStatusUpdated),
        Reason::CheckAnswered => Some(Why::TaskCheckStatusUpdated),
        Reason::OutOfMemory => Some(Why::ContainerLimitationMemory),
        Reason::TooLong => Some(Why::ContainerLimitation),
        Reason::DeadlinePassed => Some(Why::MaxCompletionTimeReached),
        Reason::AgentDrained => Some(Why::AgentDraining),
    }
}

/// A status for a framework, with this uuid when it is to be acknowledged.
pub fn encode_mesos_status(
    status: &Status,
    capabilities: Capabilities,
    uuid: Option<[u8; 16]>,
) -> v1::TaskStatus {
    // What an executor of Mesos's API said is passed on as it said it, but for what the agent and the master know better.
    let said = v1::TaskStatus::decode(status.data.as_slice()).ok();
    let said =
        said.filter(|said| !status.data.is_empty() && said.task_id.value == status.task.as_str());
    let is_said = said.is_some();
    let mut out = said.unwrap_or_default();
    let is_unknown = status.incarnation.0 == 0 && status.reason == Reason::Reconciled;
    let state = match (is_unknown, capabilities.partition_aware) {
        (true, true) => v1::TaskState::TaskUnknown,
        (true, false) => v1::TaskState::TaskLost,
        (false, aware) => encode_told_state(status.state, status.reason, aware),
    };
    let why = encode_mesos_reason(status.reason);
    out.task_id.value = status.task.to_string();
    out.state = state.into();
    out.agent_id = status.agent.as_ref().map(|agent| v1::AgentId {
        value: agent.to_string(),
    });
    out.timestamp = Some(seconds_of(status.wall_ms));
    out.uuid = uuid.map(Vec::from);
    if out.container_status.is_none() {
        out.container_status = container(status);
    }
    out.unreachable_time = unreachable_time(status);
    if !is_said {
        out.message = Some(message(status, is_unknown)).filter(|text| !text.is_empty());
        out.source = Some(source(status).into());
        out.data = Some(status.data.clone()).filter(|data| !data.is_empty());
        out.healthy = told_health(status.state, status.reason, status.healthy);
        out.check_status = status.checks.iter().find_map(check_status);
    } else if out.source.is_none() {
        out.source = Some(Source::Executor.into());
    }
    if let Some(why) = why {
        out.reason = Some(why.into());
    }
    out
}

/// What a task's check was answered last; none of a health check.
fn check_status(result: &CheckResult) -> Option<v1::CheckStatusInfo> {
    use v1::check_info::Type;
    use v1::check_status_info::{Command, Http, Tcp};
    let mut status = v1::CheckStatusInfo::default();
    let kind = match result.observed? {
        Probe::Http => {
            let code = match result.answer {
                Some(CheckAnswer::Http(code)) => Some(code.into()),
                _ => None,
            };
            status.http = Some(Http { status_code: code });
            Type::Http
        }
        Probe::Tcp => {
            let succeeded = match result.answer {
                Some(CheckAnswer::Tcp(is)) => Some(is),
                _ => None,
            };
            status.tcp = Some(Tcp { succeeded });
            Type::Tcp
        }
        Probe::Command => {
            let exit_code = match result.answer {
                Some(CheckAnswer::Exit(code)) => Some(code),
                _ => None,
            };
            status.command = Some(Command { exit_code });
            Type::Command
        }
    };
    status.r#type = Some(kind.into());
    Some(status)
}

fn source(status: &Status) -> Source {
    let is_agents = matches!(
        status.reason,
        Reason::LaunchFailed
            | Reason::ImageFailed
            | Reason::VolumeFailed
            | Reason::FetchFailed
            | Reason::SupervisorLost
            | Reason::ExecutorEnded
            | Reason::HostRestarted
            | Reason::OutOfMemory
            | Reason::TooLong
    );
    match (status.number, is_agents) {
        (0, _) => Source::Master,
        (_, true) => Source::Agent,
        (_, false) => Source::Executor,
    }
}

fn message(status: &Status, is_unknown: bool) -> String {
    match (status.reason, status.exit) {
        (Reason::Reconciled, _) if is_unknown => "Reconciliation: Task is unknown".to_owned(),
        (Reason::Reconciled, _) => "Reconciliation: Latest task state".to_owned(),
        (Reason::OutOfMemory, _) | (_, None) => status.message.clone(),
        // However it came to it.
        (_, Some(exit)) => exit_text(exit),
    }
}

/// Says where a task with a container is: on its host's network, unless its executor knows better.
pub fn place_mesos_status(status: &mut v1::TaskStatus, ip: IpAddr) {
    let Some(container) = &mut status.container_status else {
        return;
    };
    if !container.network_infos.is_empty() {
        return;
    }
    let protocol = match ip {
        IpAddr::V4(_) => v1::network_info::Protocol::IPv4,
        IpAddr::V6(_) => v1::network_info::Protocol::IPv6,
    };
    container.network_infos.push(v1::NetworkInfo {
        ip_addresses: vec![v1::network_info::IpAddress {
            protocol: Some(protocol.into()),
            ip_address: Some(ip.to_string()),
        }],
        ..v1::NetworkInfo::default()
    });
}

/// When an agent was found to be unreachable is when the master says so first.
fn unreachable_time(status: &Status) -> Option<v1::TimeInfo> {
    (status.reason == Reason::AgentUnreachable).then(|| v1::TimeInfo {
        nanoseconds: nanoseconds_of(status.wall_ms),
    })
}

/// The id of the container of a task.
pub fn mesos_container_id(task: &TaskId, incarnation: Incarnation) -> String {
    format!("{task}-{:x}", incarnation.0)
}

/// Whether a status is of something that was on an agent: of this number, reason and launch.
pub fn has_mesos_container(number: u64, reason: Reason, incarnation: Incarnation) -> bool {
    number > 0 || (reason == Reason::Reconciled && incarnation.0 > 0)
}

/// The container that a launch of a task is.
fn container(status: &Status) -> Option<v1::ContainerStatus> {
    let has_one = has_mesos_container(status.number, status.reason, status.incarnation);
    has_one.then(|| v1::ContainerStatus {
        container_id: Some(v1::ContainerId {
            value: mesos_container_id(&status.task, status.incarnation),
            parent: None,
        }),
        ..v1::ContainerStatus::default()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proffer_model::{Exit, Incarnation};

    use super::*;

    pub(in crate::mesos) fn status(state: TaskState, reason: Reason, number: u64) -> Status {
        Status {
            task: "t".parse().expect("an id"),
            incarnation: Incarnation(number),
            agent: Some("a".parse().expect("an id")),
            number,
            state,
            reason,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            data: Vec::new(),
            wall_ms: 1_500,
        }
    }

    #[test]
    fn who_is_not_aware_of_partitions_is_told_that_tasks_are_lost() {
        let table = [
            (TaskState::Dropped, v1::TaskState::TaskDropped),
            (TaskState::Unreachable, v1::TaskState::TaskUnreachable),
            (TaskState::Lost, v1::TaskState::TaskGone),
        ];
        for (state, aware) in table {
            assert_eq!(encode_mesos_state(state, true), aware);
            assert_eq!(encode_mesos_state(state, false), v1::TaskState::TaskLost);
        }
        for state in TaskState::ALL {
            let encoded = encode_mesos_state(state, true);
            let back = decode_mesos_state(encoded);
            assert_eq!(back.is_none(), state == TaskState::Unreachable, "{state}");
        }
    }

    #[test]
    fn a_status_of_the_master_has_no_uuid_and_one_of_an_agent_has() {
        let capabilities = Capabilities {
            partition_aware: true,
            ..Capabilities::default()
        };
        let unknown = Status {
            agent: None,
            ..status(TaskState::Lost, Reason::Reconciled, 0)
        };
        let out = encode_mesos_status(&unknown, capabilities, None);
        assert_eq!(out.state(), v1::TaskState::TaskUnknown);
        assert_eq!(out.message(), "Reconciliation: Task is unknown");
        assert_eq!(
            (out.source(), out.reason()),
            (Source::Master, Why::Reconciliation)
        );
        assert_eq!(out.uuid, None);
        let failed = Status {
            exit: Some(Exit::Code(3)),
            ..status(TaskState::Failed, Reason::Exited, 2)
        };
        let out = encode_mesos_status(&failed, capabilities, Some([7; 16]));
        assert_eq!(out.message(), "Command exited with status 3");
        assert_eq!((out.source(), out.reason), (Source::Executor, None));
        assert_eq!(out.uuid.as_deref(), Some(&[7; 16][..]));
        assert_eq!(out.timestamp, Some(1.5));
    }

    #[test]
    fn a_task_that_was_killed_says_how_its_process_ended_and_what_for() {
        let killed = |reason| Status {
            exit: Some(Exit::Signal(15)),
            message: "said for people".to_owned(),
            ..status(TaskState::Killed, reason, 3)
        };
        let ended = "Command terminated with signal Terminated";
        for (reason, state, healthy, text) in [
            (Reason::KillRequested, "TASK_KILLED", None, ended),
            (Reason::AgentDrained, "TASK_KILLED", None, ended),
            (Reason::GroupEnded, "TASK_KILLED", None, ended),
            (Reason::CheckFailed, "TASK_KILLED", Some(false), ended),
            (Reason::DeadlinePassed, "TASK_FAILED", None, ended),
            (Reason::OutOfMemory, "TASK_KILLED", None, "said for people"),
        ] {
            let out = encode_mesos_status(&killed(reason), Capabilities::default(), None);
            let told = (out.state().as_str_name(), out.healthy, out.message());
            assert_eq!(told, (state, healthy, text), "{reason:?}");
        }
        let alone = status(TaskState::Failed, Reason::ExecutorEnded, 3);
        let out = encode_mesos_status(&alone, Capabilities::default(), None);
        let how = (out.state(), out.source(), out.reason());
        let failed = (v1::TaskState::TaskFailed, Source::Agent);
        assert_eq!(how, (failed.0, failed.1, Why::ExecutorTerminated));
        let lost = status(TaskState::Lost, Reason::SupervisorLost, 3);
        let out = encode_mesos_status(&lost, Capabilities::default(), None);
        assert_eq!(out.message, None);
    }

    #[test]
    fn what_a_check_is_answered_is_told_and_what_a_health_check_is_not() {
        let result = |answer, observed| CheckResult {
            check: 1,
            answer,
            observed,
        };
        for (answer, probe, json) in [
            (
                Some(CheckAnswer::Exit(3)),
                Probe::Command,
                r#"{"type":"COMMAND","command":{"exit_code":3}}"#,
            ),
            (
                Some(CheckAnswer::Http(404)),
                Probe::Http,
                r#"{"type":"HTTP","http":{"status_code":404}}"#,
            ),
            (
                Some(CheckAnswer::Tcp(false)),
                Probe::Tcp,
                r#"{"type":"TCP","tcp":{"succeeded":false}}"#,
            ),
            (None, Probe::Tcp, r#"{"type":"TCP","tcp":{}}"#),
        ] {
            let told = Status {
                checks: vec![result(answer, None), result(answer, Some(probe))],
                ..status(TaskState::Running, Reason::CheckAnswered, 2)
            };
            let out = encode_mesos_status(&told, Capabilities::default(), None);
            assert_eq!(out.reason(), Why::TaskCheckStatusUpdated);
            let said = out.check_status.expect("a check's");
            assert_eq!(
                said,
                super::super::read_json(json.as_bytes()).expect("reads")
            );
        }
        let told = Status {
            checks: vec![result(Some(CheckAnswer::Tcp(true)), None)],
            ..status(TaskState::Running, Reason::HealthChanged, 2)
        };
        let out = encode_mesos_status(&told, Capabilities::default(), None);
        assert_eq!(out.check_status, None);
    }

    #[test]
    fn a_task_is_at_its_agents_address_and_unreachable_since_its_agent_is() {
        let aware = Capabilities {
            partition_aware: true,
            ..Capabilities::default()
        };
        let running = status(TaskState::Running, Reason::None, 1);
        let mut out = encode_mesos_status(&running, aware, None);
        for ip in ["::1", "127.0.0.1"] {
            place_mesos_status(&mut out, ip.parse().expect("an address"));
        }
        let container = out.container_status.expect("a container");
        let [network] = container.network_infos.as_slice() else {
            panic!("{container:?}")
        };
        let address = &network.ip_addresses[0];
        assert_eq!(address.ip_address.as_deref(), Some("::1"));
        assert_eq!(address.protocol(), v1::network_info::Protocol::IPv6);
        let mut unknown =
            encode_mesos_status(&status(TaskState::Lost, Reason::Reconciled, 0), aware, None);
        place_mesos_status(&mut unknown, "::1".parse().expect("an address"));
        assert_eq!(unknown.container_status, None);
        let gone = status(TaskState::Unreachable, Reason::AgentUnreachable, 0);
        let out = encode_mesos_status(&gone, aware, None);
        let since = out.unreachable_time.expect("a time");
        assert_eq!(since.nanoseconds, 1_500_000_000);
    }

    #[test]
    fn what_an_executor_said_is_passed_on() {
        let said = v1::TaskStatus {
            task_id: v1::TaskId {
                value: "t".to_owned(),
            },
            state: v1::TaskState::TaskRunning.into(),
            data: Some(b"x".to_vec()),
            message: Some("hello".to_owned()),
            labels: Some(v1::Labels::default()),
            uuid: Some(vec![1; 16]),
            ..v1::TaskStatus::default()
        };
        let told = Status {
            data: said.encode_to_vec(),
            ..status(TaskState::Running, Reason::None, 1)
        };
        let out = encode_mesos_status(&told, Capabilities::default(), Some([2; 16]));
        assert_eq!((out.message(), out.data()), ("hello", &b"x"[..]));
        assert!(out.labels.is_some() && out.container_status.is_some());
        assert_eq!(out.uuid.as_deref(), Some(&[2; 16][..]), "the master's own");
    }
}
