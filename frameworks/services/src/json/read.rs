//! Marathon's JSON of an app to [`AppPatch`]. Unknown fields are ignored and `null` is absent, as in Marathon; what Marathon
//! knows and this does not is refused, so that nobody believes in a constraint that is not kept.
//!
//! All that is wrong is collected, each with its path; nothing here looks at the app as a whole.

mod container;
mod fetch;

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::limits::KILL_GRACE_MAX;
use proffer_model::{Command, Problem, Secret, code};
use proffer_services_core::amount::{AmountError, parse_parts};
use proffer_services_core::app::{AppPatch, Fraction, KillSelection, Unreachable};
use proffer_services_core::health::{CheckPort, CheckProtocol, HealthCheck};
use proffer_services_core::id::AppId;
use proffer_services_core::limits::{BACKOFF_FACTOR_MICRO_MAX, SECONDS_MAX};
use proffer_services_core::port::{PortDefinition, Transport};
use serde_json::{Map, Value};

use crate::limits::PROBLEMS_MAX;

/// Fields of Marathon that have no meaning here yet; with anything but an empty value they are refused.
const UNSUPPORTED: [&str; 13] = [
    "check",
    "constraints",
    "dependencies",
    "executorResources",
    "gpus",
    "ipAddress",
    "linuxInfo",
    "readinessChecks",
    "residency",
    "resourceLimits",
    "secrets",
    "storeUrls",
    "tty",
];

/// Reads an app or changes to one, for a framework of this role.
pub(crate) fn read_patch(value: &Value, role: &str) -> Result<AppPatch, Vec<Problem>> {
    let Value::Object(map) = value else {
        return Err(vec![wrong(
            "",
            "the body is not an object",
            "send {\"id\":\"/web\",\"cmd\":\"./run\"}",
        )]);
    };
    let mut reader = Reader {
        problems: Vec::new(),
    };
    let mut patch = AppPatch {
        id: reader
            .text(map, "", "id")
            .and_then(|id| reader.keep(AppId::new(&id))),
        command: reader.command(map),
        container: reader.container(map),
        fetch: reader.fetches(map),
        cpus_milli: reader.amount(map, "", "cpus", 3),
        mem_milli: reader.amount(map, "", "mem", 3),
        disk_milli: reader.amount(map, "", "disk", 3),
        instances: reader
            .whole(map, "", "instances", u64::from(u32::MAX))
            .and_then(|n| u32::try_from(n).ok()),
        env: reader.environment(map),
        labels: reader.texts(map, "", "labels"),
        user: reader.text(map, "", "user"),
        ports: reader.ports(map),
        require_ports: reader.boolean(map, "requirePorts"),
        health_checks: reader.health_checks(map),
        backoff_initial: reader.seconds(map, "backoffSeconds"),
        backoff_max: reader.seconds(map, "maxLaunchDelaySeconds"),
        backoff_factor_micro: reader.factor(map),
        kill_grace: reader.kill_grace(map),
        kill_selection: reader.kill_selection(map),
        unreachable: reader.unreachable(map),
        minimum_health: None,
        maximum_over: None,
    };
    reader.upgrade(map, &mut patch);
    reader.unsupported(map, role);
    reader.problems.truncate(PROBLEMS_MAX);
    if reader.problems.is_empty() {
        Ok(patch)
    } else {
        Err(reader.problems)
    }
}

struct Reader {
    problems: Vec<Problem>,
}

fn wrong(field: &str, message: impl Into<String>, hint: &str) -> Problem {
    Problem::new(code::APP_INVALID, message)
        .field(field)
        .hint(hint)
}

fn path(outer: &str, name: &str) -> String {
    if outer.is_empty() {
        name.to_owned()
    } else {
        format!("{outer}.{name}")
    }
}

/// A field that is there and not null.
fn given<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|value| !value.is_null())
}

impl Reader {
    fn refuse(&mut self, field: &str, message: impl Into<String>, hint: &str) {
        self.problems.push(wrong(field, message, hint));
    }

    fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn text(&mut self, map: &Map<String, Value>, outer: &str, name: &str) -> Option<String> {
        match given(map, name)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.refuse(
                    &path(outer, name),
                    "error.expected.jsstring",
                    "give a text in quotes",
                );
                None
            }
        }
    }

    fn boolean(&mut self, map: &Map<String, Value>, name: &str) -> Option<bool> {
        match given(map, name)? {
            Value::Bool(value) => Some(*value),
            _ => {
                self.refuse(name, "error.expected.jsboolean", "give true or false");
                None
            }
        }
    }

    fn list<'a>(&mut self, map: &'a Map<String, Value>, name: &str) -> Option<&'a Vec<Value>> {
        match given(map, name)? {
            Value::Array(list) => Some(list),
            _ => {
                self.refuse(name, "error.expected.jsarray", "give a list in brackets");
                None
            }
        }
    }

    fn object<'a>(&mut self, value: &'a Value, field: &str) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.refuse(field, "error.expected.jsobject", "give an object in braces");
        }
        object
    }

    /// A number in parts of which `10^places` make one.
    fn amount(
        &mut self,
        map: &Map<String, Value>,
        outer: &str,
        name: &str,
        places: u32,
    ) -> Option<u64> {
        let field = path(outer, name);
        let Value::Number(number) = given(map, name)? else {
            self.refuse(
                &field,
                "error.expected.jsnumber",
                "give a number without quotes",
            );
            return None;
        };
        match parse_parts(&number.to_string(), places) {
            Ok(parts) => return Some(parts),
            Err(AmountError::Negative) => self.refuse(
                &field,
                "the number is negative",
                "give a number of at least 0",
            ),
            Err(AmountError::TooLarge | AmountError::NotANumber) => {
                self.refuse(&field, "the number is too large", "give a smaller number");
            }
        }
        None
    }

    /// A whole number up to a limit.
    fn whole(
        &mut self,
        map: &Map<String, Value>,
        outer: &str,
        name: &str,
        most: u64,
    ) -> Option<u64> {
        let field = path(outer, name);
        let parts = self.amount(map, outer, name, 3)?;
        if !parts.is_multiple_of(1000) {
            self.refuse(&field, "error.expected.int", "give a whole number");
        } else if parts / 1000 > most {
            self.refuse(
                &field,
                format!("the number is larger than {most}"),
                "give a smaller number",
            );
        } else {
            return Some(parts / 1000);
        }
        None
    }

    fn seconds(&mut self, map: &Map<String, Value>, name: &str) -> Option<Duration> {
        let ms = self.amount(map, "", name, 3)?;
        if ms > SECONDS_MAX * 1000 {
            self.refuse(
                name,
                format!("more than {SECONDS_MAX} seconds"),
                "give fewer",
            );
            return None;
        }
        Some(Duration::from_millis(ms))
    }

    fn whole_seconds(
        &mut self,
        map: &Map<String, Value>,
        outer: &str,
        name: &str,
    ) -> Option<Duration> {
        self.whole(map, outer, name, SECONDS_MAX)
            .map(Duration::from_secs)
    }

    fn texts(
        &mut self,
        map: &Map<String, Value>,
        outer: &str,
        name: &str,
    ) -> Option<BTreeMap<String, String>> {
        let field = path(outer, name);
        let object = given(map, name).and_then(|value| self.object(value, &field))?;
        let mut texts = BTreeMap::new();
        for key in object.keys() {
            if let Some(text) = self.text(object, &field, key) {
                texts.insert(key.clone(), text);
            }
        }
        Some(texts)
    }

    fn environment(&mut self, map: &Map<String, Value>) -> Option<BTreeMap<String, Secret>> {
        let object = given(map, "env").and_then(Value::as_object);
        let has_references = object.is_some_and(|env| env.values().any(Value::is_object));
        if has_references {
            self.refuse(
                "env",
                "references to secrets are not supported yet",
                "give the values as texts",
            );
            return None;
        }
        let texts = self.texts(map, "", "env")?;
        Some(
            texts
                .into_iter()
                .map(|(name, value)| (name, Secret::new(value)))
                .collect(),
        )
    }

    fn command(&mut self, map: &Map<String, Value>) -> Option<Command> {
        let line = self.text(map, "", "cmd");
        // Clients send the form that they do not use as an empty list.
        let arguments = self
            .list(map, "args")
            .filter(|list| line.is_none() || !list.is_empty());
        if line.is_some() && arguments.is_some() {
            self.refuse("cmd", "both cmd and args are given", "give one of them");
            return None;
        }
        if let Some(line) = line {
            return Some(Command::Shell(line));
        }
        let mut texts = Vec::new();
        for (i, argument) in arguments?.iter().enumerate() {
            match argument {
                Value::String(text) => texts.push(text.clone()),
                _ => self.refuse(
                    &format!("args[{i}]"),
                    "error.expected.jsstring",
                    "give a text in quotes",
                ),
            }
        }
        Some(Command::Exec(texts))
    }

    fn ports(&mut self, map: &Map<String, Value>) -> Option<Vec<PortDefinition>> {
        let definitions = self.list(map, "portDefinitions");
        let numbers = self.list(map, "ports");
        // Clients send the form that they do not use as an empty list.
        let is_one_empty = [definitions, numbers]
            .iter()
            .any(|list| list.is_some_and(Vec::is_empty));
        if definitions.is_some() && numbers.is_some() && !is_one_empty {
            self.refuse(
                "ports",
                "both ports and portDefinitions are given",
                "give portDefinitions only",
            );
            return None;
        }
        if let Some(definitions) =
            definitions.filter(|list| !list.is_empty() || numbers.is_none_or(Vec::is_empty))
        {
            let ports = definitions.iter().enumerate();
            return Some(
                ports
                    .filter_map(|(i, value)| self.port(value, &format!("portDefinitions[{i}]")))
                    .collect(),
            );
        }
        let mut ports = Vec::new();
        for (i, value) in numbers?.iter().enumerate() {
            match value.as_u64().and_then(|number| u16::try_from(number).ok()) {
                Some(number) => ports.push(PortDefinition {
                    number,
                    name: String::new(),
                    ..PortDefinition::default_one()
                }),
                None => self.refuse(
                    &format!("ports[{i}]"),
                    "this is not a port",
                    "give a whole number from 0 to 65535",
                ),
            }
        }
        Some(ports)
    }

    fn port(&mut self, value: &Value, field: &str) -> Option<PortDefinition> {
        let map = self.object(value, field)?;
        let number = self.whole(map, field, "port", u64::from(u16::MAX));
        let word = self
            .text(map, field, "protocol")
            .unwrap_or_else(|| "tcp".to_owned());
        let transport = Transport::parse(&word);
        if transport.is_none() {
            self.refuse(
                &path(field, "protocol"),
                format!("{word:?} is not a protocol"),
                "give tcp, udp or udp,tcp",
            );
        }
        Some(PortDefinition {
            number: number
                .and_then(|number| u16::try_from(number).ok())
                .unwrap_or(0),
            name: self.text(map, field, "name").unwrap_or_default(),
            transport: transport?,
            labels: self.texts(map, field, "labels").unwrap_or_default(),
        })
    }

    fn health_checks(&mut self, map: &Map<String, Value>) -> Option<Vec<HealthCheck>> {
        let list = self.list(map, "healthChecks")?;
        let checks = list.iter().enumerate();
        Some(
            checks
                .filter_map(|(i, value)| self.health_check(value, &format!("healthChecks[{i}]")))
                .collect(),
        )
    }

    fn health_check(&mut self, value: &Value, field: &str) -> Option<HealthCheck> {
        let map = self.object(value, field)?;
        let word = self
            .text(map, field, "protocol")
            .unwrap_or_else(|| "HTTP".to_owned());
        let Some(protocol) = CheckProtocol::parse(&word) else {
            self.refuse(
                &path(field, "protocol"),
                format!("{word:?} is not a protocol that is supported"),
                "give HTTP, TCP, COMMAND, MESOS_HTTP or MESOS_TCP",
            );
            return None;
        };
        let usual = HealthCheck::of(protocol);
        let command = self.check_command(map, field, protocol)?;
        let port = if protocol.has_port() {
            self.check_port(map, field)?.unwrap_or(usual.port)
        } else {
            usual.port
        };
        let failures = self.whole(map, field, "maxConsecutiveFailures", u64::from(u32::MAX));
        Some(HealthCheck {
            protocol,
            path: self.text(map, field, "path").unwrap_or(usual.path),
            command,
            port,
            grace: self
                .whole_seconds(map, field, "gracePeriodSeconds")
                .unwrap_or(usual.grace),
            interval: self
                .whole_seconds(map, field, "intervalSeconds")
                .unwrap_or(usual.interval),
            timeout: self
                .whole_seconds(map, field, "timeoutSeconds")
                .unwrap_or(usual.timeout),
            delay: self
                .whole_seconds(map, field, "delaySeconds")
                .unwrap_or(usual.delay),
            failures_max: failures
                .and_then(|n| u32::try_from(n).ok())
                .unwrap_or(usual.failures_max),
        })
    }

    /// Which port is probed, if it says; nothing when that is wrong.
    fn check_port(&mut self, map: &Map<String, Value>, field: &str) -> Option<Option<CheckPort>> {
        let index = self
            .whole(map, field, "portIndex", u64::from(u16::MAX))
            .and_then(|n| u32::try_from(n).ok());
        let number = self
            .whole(map, field, "port", u64::from(u16::MAX))
            .and_then(|n| u16::try_from(n).ok());
        match (index, number) {
            (Some(_), Some(_)) => {
                self.refuse(
                    field,
                    "both port and portIndex are given",
                    "give one of them",
                );
                None
            }
            (Some(index), None) => Some(Some(CheckPort::Index(index))),
            (None, Some(number)) => Some(Some(CheckPort::Number(number))),
            (None, None) => Some(None),
        }
    }

    /// The line of a COMMAND check, empty for others; nothing when it is wrong.
    fn check_command(
        &mut self,
        map: &Map<String, Value>,
        field: &str,
        protocol: CheckProtocol,
    ) -> Option<String> {
        let field = path(field, "command");
        let is_command = protocol == CheckProtocol::Command;
        match given(map, "command") {
            None if is_command => self.refuse(
                &field,
                "error.path.missing",
                "give {\"value\": \"the line that is run\"}",
            ),
            None => return Some(String::new()),
            Some(_) if !is_command => self.refuse(
                &field,
                "only the protocol COMMAND runs a command",
                "give the protocol COMMAND, or leave the command out",
            ),
            Some(command) => {
                let command = self.object(command, &field)?;
                return self.text(command, &field, "value").or_else(|| {
                    self.refuse(
                        &path(&field, "value"),
                        "error.path.missing",
                        "give the line that is run",
                    );
                    None
                });
            }
        }
        None
    }

    fn factor(&mut self, map: &Map<String, Value>) -> Option<u64> {
        let micro = self.amount(map, "", "backoffFactor", 6)?;
        if !(1_000_000..=BACKOFF_FACTOR_MICRO_MAX).contains(&micro) {
            self.refuse(
                "backoffFactor",
                "the factor is not from 1 to 1000",
                "give a factor such as 1.15",
            );
            return None;
        }
        Some(micro)
    }

    fn kill_grace(&mut self, map: &Map<String, Value>) -> Option<Duration> {
        let grace = self.seconds(map, "taskKillGracePeriodSeconds")?;
        if grace > KILL_GRACE_MAX {
            self.refuse(
                "taskKillGracePeriodSeconds",
                format!("more than {} seconds", KILL_GRACE_MAX.as_secs()),
                "give fewer",
            );
            return None;
        }
        Some(grace)
    }

    fn kill_selection(&mut self, map: &Map<String, Value>) -> Option<KillSelection> {
        match self.text(map, "", "killSelection")?.as_str() {
            "YOUNGEST_FIRST" => Some(KillSelection::YoungestFirst),
            "OLDEST_FIRST" => Some(KillSelection::OldestFirst),
            word => {
                self.refuse(
                    "killSelection",
                    format!("{word:?} is not a selection"),
                    "give YOUNGEST_FIRST or OLDEST_FIRST",
                );
                None
            }
        }
    }

    fn unreachable(&mut self, map: &Map<String, Value>) -> Option<Unreachable> {
        const FIELD: &str = "unreachableStrategy";
        let value = given(map, FIELD)?;
        if value.as_str() == Some("disabled") {
            return Some(Unreachable::Wait);
        }
        let map = self.object(value, FIELD)?;
        let inactive_after = self
            .whole_seconds(map, FIELD, "inactiveAfterSeconds")
            .unwrap_or_default();
        let expunge_after = self
            .whole_seconds(map, FIELD, "expungeAfterSeconds")
            .unwrap_or_default();
        Some(Unreachable::Replace {
            inactive_after,
            expunge_after,
        })
    }

    fn upgrade(&mut self, map: &Map<String, Value>, patch: &mut AppPatch) {
        const FIELD: &str = "upgradeStrategy";
        let Some(map) = given(map, FIELD).and_then(|value| self.object(value, FIELD)) else {
            return;
        };
        patch.minimum_health = self.fraction(map, "minimumHealthCapacity");
        patch.maximum_over = self.fraction(map, "maximumOverCapacity");
    }

    fn fraction(&mut self, map: &Map<String, Value>, name: &str) -> Option<Fraction> {
        let micro = self.amount(map, "upgradeStrategy", name, 6)?;
        let fraction = u32::try_from(micro)
            .ok()
            .map(Fraction)
            .filter(|fraction| *fraction <= Fraction::ONE);
        if fraction.is_none() {
            self.refuse(
                &path("upgradeStrategy", name),
                "the value is not from 0 to 1",
                "give a part of the instances, such as 0.5",
            );
        }
        fraction
    }

    /// Refuses what Marathon would do and this does not.
    fn unsupported(&mut self, map: &Map<String, Value>, role: &str) {
        for name in UNSUPPORTED {
            if given(map, name).is_some_and(|value| !is_empty(value)) {
                self.refuse(name, "this field is not supported yet", "leave it out");
            }
        }
        let networks = self.list(map, "networks");
        let is_host = |network: &Value| network.get("mode").and_then(Value::as_str) == Some("host");
        if networks.is_some_and(|list| !list.iter().all(is_host)) {
            self.refuse(
                "networks",
                "only the host network is supported yet",
                "give [{\"mode\":\"host\"}] or leave it out",
            );
        }
        let executor = self.text(map, "", "executor");
        if executor.is_some_and(|executor| !executor.is_empty() && executor != "//cmd") {
            self.refuse(
                "executor",
                "custom executors are not supported yet",
                "leave it out",
            );
        }
        if self
            .text(map, "", "role")
            .is_some_and(|given| given != role)
        {
            self.refuse(
                "role",
                format!("the role of this framework is {role:?}"),
                "leave it out",
            );
        }
        let roles = self.list(map, "acceptedResourceRoles");
        let is_ours = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| text == "*" || text == role)
        };
        if roles.is_some_and(|roles| !roles.iter().all(is_ours)) {
            self.refuse(
                "acceptedResourceRoles",
                format!("the role of this framework is {role:?}"),
                "leave it out",
            );
        }
    }
}

/// Whether a value says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => parse_parts(&number.to_string(), 6) == Ok(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}
