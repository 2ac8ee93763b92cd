//! What Mesos's programs look for in their environment.
//!
//! One rule for tasks: a task whose environment holds `MESOS_TASK_ID` was written for Mesos, and is told by Mesos's names
//! what only its agent knows. Whoever launches it says the rest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use proffer_model::{AgentId, ExecutorSpec, FrameworkId, Role};

/// The variable that marks a task as one that was written for Mesos.
const TASK_VARIABLE: &str = "MESOS_TASK_ID";
/// The task's or executor's directory, as it sees it.
const DIRECTORIES: [&str; 2] = ["MESOS_SANDBOX", "MESOS_DIRECTORY"];

/// How long an executor without its agent goes on trying (Mesos: the agent's `recovery_timeout`).
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// The longest that it waits between two tries (Mesos: the agent's `executor_reregistration_timeout`).
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Whether a task with this environment was written for Mesos.
pub(crate) fn is_of_mesos(environment: &BTreeMap<String, String>) -> bool {
    environment.contains_key(TASK_VARIABLE)
}

/// Adds what only the agent knows to the environment of a task that was written for Mesos.
pub(crate) fn complete(environment: &mut BTreeMap<String, String>, sandbox: &str) {
    if is_of_mesos(environment) {
        let directories = DIRECTORIES.map(|name| (name.to_owned(), sandbox.to_owned()));
        environment.extend(directories);
    }
}

/// What an executor of Mesos's API is given. Holds its token.
pub(crate) fn of_executor(
    endpoint: SocketAddr,
    (framework, spec): (&FrameworkId, &ExecutorSpec),
    (agent, role): (Option<&AgentId>, Option<&Role>),
    (sandbox, token): (&str, &str),
) -> Vec<(String, String)> {
    let own = [
        ("MESOS_FRAMEWORK_ID", framework.to_string()),
        ("MESOS_EXECUTOR_ID", spec.id.to_string()),
        (
            "MESOS_SLAVE_ID",
            agent.map(ToString::to_string).unwrap_or_default(),
        ),
        ("MESOS_SLAVE_PID", format!("slave(1)@{endpoint}")),
        ("MESOS_AGENT_ENDPOINT", endpoint.to_string()),
        // Mesos says so to executors of frameworks that want their tasks to outlive the agent, as all do here.
        ("MESOS_CHECKPOINT", "1".to_owned()),
        ("MESOS_RECOVERY_TIMEOUT", duration(RECOVERY_TIMEOUT)),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", duration(BACKOFF_MAX)),
        (
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD",
            duration(spec.shutdown_grace),
        ),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0".to_owned()),
        // One on Mesos's own library listens where there is room, and not where something else of it does.
        ("LIBPROCESS_PORT", "0".to_owned()),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", token.to_owned()),
    ];
    let directories = DIRECTORIES.map(|name| (name, sandbox.to_owned()));
    // Said here, and not with what is launched: who launches in several roles has the same executor in all of them.
    let role = role.map(|role| ("MESOS_ALLOCATION_ROLE", role.to_string()));
    let all = own.into_iter().chain(directories).chain(role);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Where programs of this host reach what listens here. By IPv4 where that can be, since there are clients that take the
/// first colon for the port's.
pub(crate) fn endpoint(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip().to_canonical() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// In Mesos's form, in the largest unit of which it is a whole number.
fn duration(duration: Duration) -> String {
    let units = [
        ("weeks", 604_800_000_000_000),
        ("days", 86_400_000_000_000),
        ("hrs", 3_600_000_000_000),
        ("mins", 60_000_000_000),
        ("secs", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ];
    let ns = duration.as_nanos();
    let whole = units
        .iter()
        .find(|(_, unit)| ns > 0 && ns.is_multiple_of(*unit));
    match whole {
        Some((name, unit)) => format!("{}{name}", ns / unit),
        None => format!("{ns}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_like_mesos() {
        let table = [
            (Duration::ZERO, "0ns"),
            (Duration::from_nanos(1), "1ns"),
            (Duration::from_millis(1_500), "1500ms"),
            (Duration::from_secs(5), "5secs"),
            (RECOVERY_TIMEOUT, "15mins"),
            (Duration::from_secs(7_200), "2hrs"),
            (Duration::from_secs(86_400), "1days"),
        ];
        for (given, text) in table {
            assert_eq!(duration(given), text);
        }
    }

    #[test]
    fn an_executor_finds_its_agent_on_this_host() {
        let table = [
            ("127.0.0.1:5051", "127.0.0.1:5051"),
            ("0.0.0.0:5051", "127.0.0.1:5051"),
            ("[::]:5051", "127.0.0.1:5051"),
            ("[::1]:5051", "[::1]:5051"),
            ("192.0.2.7:1", "192.0.2.7:1"),
        ];
        for (listen, expected) in table {
            assert_eq!(endpoint(listen.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn only_tasks_that_were_written_for_mesos_hear_mesos_names() {
        let mut plain = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        complete(&mut plain, "/s");
        assert_eq!(plain.len(), 1);
        let entry = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut mesos = BTreeMap::from([entry("MESOS_TASK_ID", "t"), entry("MESOS_SANDBOX", "x")]);
        complete(&mut mesos, "/s");
        let expected = [
            entry("MESOS_DIRECTORY", "/s"),
            entry("MESOS_SANDBOX", "/s"),
            entry("MESOS_TASK_ID", "t"),
        ];
        assert_eq!(mesos, BTreeMap::from(expected));
    }
}
