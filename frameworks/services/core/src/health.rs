//! Health checks of an app, and how they become the checks that an agent runs.
//!
//! Marathon's HTTP and TCP checks and Mesos's (`MESOS_HTTP`, `MESOS_TCP`, `COMMAND`) mean the same here: the agent probes. What
//! differs stays: Mesos's begin after `delaySeconds` (15), and there 0 failures allowed means that the first one kills.

use std::time::Duration;

use proffer_model::{Check, CheckKind, Problem, code};

/// What is probed, as the app spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckProtocol {
    /// `HTTP`.
    Http,
    /// `TCP`.
    Tcp,
    /// `MESOS_HTTP`.
    MesosHttp,
    /// `MESOS_TCP`.
    MesosTcp,
    /// `COMMAND`.
    Command,
}

impl CheckProtocol {
    /// Reads Marathon's word.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "HTTP" => Self::Http,
            "TCP" => Self::Tcp,
            "MESOS_HTTP" => Self::MesosHttp,
            "MESOS_TCP" => Self::MesosTcp,
            "COMMAND" => Self::Command,
            _ => return None,
        })
    }

    /// Marathon's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Tcp => "TCP",
            Self::MesosHttp => "MESOS_HTTP",
            Self::MesosTcp => "MESOS_TCP",
            Self::Command => "COMMAND",
        }
    }

    /// Whether a path is asked for.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::MesosHttp)
    }

    /// Whether a port is probed.
    pub fn has_port(self) -> bool {
        self != Self::Command
    }

    /// Whether it is one of Mesos's.
    pub fn is_mesos(self) -> bool {
        matches!(self, Self::MesosHttp | Self::MesosTcp | Self::Command)
    }
}

/// Which port is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckPort {
    /// The host port of the port definition with this index.
    Index(u32),
    /// This number.
    Number(u16),
}

/// A health check of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is probed.
    pub protocol: CheckProtocol,
    /// The path of an HTTP probe, beginning with `/`.
    pub path: String,
    /// The line of a COMMAND probe, for `/bin/sh -c`; empty for others.
    pub command: String,
    /// Which port; without meaning for a command.
    pub port: CheckPort,
    /// Failures before this, or before the first success, do not count.
    pub grace: Duration,
    /// From probe to probe, at least a second.
    pub interval: Duration,
    /// How long a probe may take, at least a second.
    pub timeout: Duration,
    /// From start to the first probe.
    pub delay: Duration,
    /// Failures in a row that kill; see the head of this file for 0.
    pub failures_max: u32,
}

impl HealthCheck {
    /// Marathon's defaults for this protocol.
    pub fn of(protocol: CheckProtocol) -> Self {
        Self {
            protocol,
            path: "/".to_owned(),
            command: String::new(),
            port: CheckPort::Index(0),
            grace: Duration::from_secs(300),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(20),
            delay: Duration::from_secs(if protocol.is_mesos() { 15 } else { 0 }),
            failures_max: 3,
        }
    }

    /// Checks it for an app with so many ports; the field is relative to the check.
    pub(crate) fn validate(&self, ports: usize) -> Result<(), Problem> {
        if self.protocol.has_port() {
            self.validate_port(ports)?;
        } else if self.command.trim().is_empty() {
            return wrong(
                "command.value",
                "the command is empty".into(),
                "give the line that is run; the instance is healthy when it ends with 0",
            );
        } else if self.command.contains('\0') {
            return wrong(
                "command.value",
                "the command contains a NUL character".into(),
                "remove it",
            );
        }
        if self.protocol.is_http()
            && !(self.path.starts_with('/') && self.path.bytes().all(|b| b.is_ascii_graphic()))
        {
            return wrong(
                "path",
                "the path of a probe begins with '/' and has no white space".into(),
                "write it as in a URL, such as /health?full=1",
            );
        }
        if self.interval.is_zero() {
            return wrong(
                "intervalSeconds",
                "the interval is 0".into(),
                "give at least 1",
            );
        }
        if self.timeout.is_zero() {
            return wrong(
                "timeoutSeconds",
                "the timeout is 0".into(),
                "give at least 1",
            );
        }
        Ok(())
    }

    fn validate_port(&self, ports: usize) -> Result<(), Problem> {
        match self.port {
            CheckPort::Index(index)
                if usize::try_from(index).map_or(true, |index| index >= ports) =>
            {
                wrong(
                    "portIndex",
                    "health check port indices must address an element of the ports array or container port mappings".into(),
                    "give an index below the number of portDefinitions, or a port",
                )
            }
            CheckPort::Number(0) => {
                wrong(
                    "port",
                    "the port is 0".into(),
                    "give 1 to 65535, or a portIndex",
                )
            }
            CheckPort::Index(_) | CheckPort::Number(_) => Ok(()),
        }
    }

    /// The check that the agent runs for a task with these host ports; none if the index has no port.
    pub(crate) fn on(&self, ports: &[u16]) -> Option<Check> {
        let port = || match self.port {
            CheckPort::Number(number) => Some(number),
            CheckPort::Index(index) => ports.get(usize::try_from(index).ok()?).copied(),
        };
        let kind = match self.protocol {
            CheckProtocol::Http | CheckProtocol::MesosHttp => CheckKind::Http {
                port: port()?,
                path: self.path.clone(),
            },
            CheckProtocol::Tcp | CheckProtocol::MesosTcp => CheckKind::Tcp { port: port()? },
            CheckProtocol::Command => CheckKind::Command {
                shell: self.command.clone(),
            },
        };
        let failures_max = if self.protocol.is_mesos() {
            self.failures_max.max(1)
        } else {
            self.failures_max
        };
        Some(Check {
            kind,
            delay: self.delay,
            interval: self.interval,
            timeout: self.timeout,
            grace: self.grace,
            failures_max,
            is_observed: false,
        })
    }
}

fn wrong(field: &str, message: String, hint: &str) -> Result<(), Problem> {
    Err(Problem::new(code::APP_INVALID, message)
        .field(field)
        .hint(hint))
}
