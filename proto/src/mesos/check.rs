//! Checks and health checks of tasks, of which the one says what it is answered and the other whether its task is healthy.

use super::number::ms_of;
use super::task::{Program, decode_command, decode_environment, unsupported};
use super::v1::{
    CheckInfo, CommandInfo, HealthCheck, TaskInfo, check_info, environment, health_check,
};
use crate::v1;

/// How long a probe may take that may take as long as it likes.
const TIMEOUT_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// What is probed of a task that runs as this user.
pub(super) fn checks_of(task: &TaskInfo, user: &str) -> Result<Vec<v1::Check>, String> {
    let health = task.health_check.as_ref().map(|check| {
        decode_health_check(check, user)
            .map_err(|why| format!("Task uses invalid health check: {why}"))
    });
    let other = task.check.as_ref().map(|check| {
        decode_check_info(check, user).map_err(|why| format!("Task uses invalid check: {why}"))
    });
    health.into_iter().chain(other).collect()
}

/// Whether what an executor is to probe can be: what Proffer has no part in is left to that.
pub(super) fn judge_checks(task: &TaskInfo) -> Result<(), String> {
    let plain = |command: &CommandInfo| CommandInfo {
        value: command.value.as_ref().map(|_| "true".to_owned()),
        ..CommandInfo::default()
    };
    let mut bare = TaskInfo {
        check: task.check.clone(),
        health_check: task.health_check.clone(),
        ..TaskInfo::default()
    };
    let observed = bare.check.as_mut();
    if let Some(command) = observed.and_then(|check| check.command.as_mut()) {
        command.command = plain(&command.command);
    }
    if let Some(health) = &mut bare.health_check {
        health.command = health.command.as_ref().map(plain);
        if let Some(http) = &mut health.http {
            http.statuses.clear();
            http.scheme.take_if(|scheme| scheme == "https");
        }
    }
    checks_of(&bare, "").map(|_| ())
}

/// What it is answered is told, whatever that is.
fn decode_check_info(check: &CheckInfo, user: &str) -> Result<v1::Check, String> {
    use check_info::Type;
    let missing = |part: &str, kind: Type| {
        let kind = kind.as_str_name();
        format!("Expecting '{part}' to be set for {kind} check")
    };
    let kind = match check.r#type {
        None => return Err("CheckInfo must specify 'type'".to_owned()),
        Some(_) => check.r#type(),
    };
    let kind = match kind {
        Type::Unknown => return Err("'UNKNOWN' is not a valid check type".to_owned()),
        Type::Http => {
            let http = check.http.as_ref().ok_or_else(|| missing("http", kind))?;
            let path = path_of(http.path.as_deref(), "HTTP check")?;
            let port = http.port;
            v1::check::Kind::Http(v1::HttpCheck { port, path })
        }
        Type::Tcp => tcp(check.tcp.as_ref().ok_or_else(|| missing("tcp", kind))?.port),
        Type::Command => {
            let given = check.command.as_ref();
            let given = given.ok_or_else(|| missing("command", kind))?;
            command(&given.command, user, "CheckInfo")?
        }
    };
    Ok(v1::Check {
        observed: true,
        ..Times {
            delay: check.delay_seconds(),
            grace: None,
            interval: check.interval_seconds(),
            timeout: check.timeout_seconds(),
        }
        .of(kind)?
    })
}

/// When something is probed, in seconds.
struct Times {
    delay: f64,
    /// Of a health check.
    grace: Option<f64>,
    interval: f64,
    timeout: f64,
}

impl Times {
    /// A check of this kind, if none of them is below zero. No timeout is the longest.
    fn of(&self, kind: v1::check::Kind) -> Result<v1::Check, String> {
        let named = [
            (self.delay, "delay_seconds"),
            (self.grace.unwrap_or_default(), "grace_period_seconds"),
            (self.interval, "interval_seconds"),
            (self.timeout, "timeout_seconds"),
        ];
        if let Some((_, field)) = named.iter().find(|(seconds, _)| *seconds < 0.0) {
            return Err(format!("Expecting '{field}' to be non-negative"));
        }
        Ok(v1::Check {
            kind: Some(kind),
            delay_ms: ms_of(self.delay),
            interval_ms: ms_of(self.interval).max(10),
            timeout_ms: match ms_of(self.timeout) {
                0 => TIMEOUT_MS_MAX,
                ms => ms,
            },
            grace_ms: self.grace.map_or(0, ms_of),
            ..v1::Check::default()
        })
    }
}

fn tcp(port: u32) -> v1::check::Kind {
    v1::check::Kind::Tcp(v1::TcpCheck { port })
}

/// The error names the message that the command is of.
fn command(command: &CommandInfo, user: &str, of: &str) -> Result<v1::check::Kind, String> {
    let shell = check_line(command, user, of)?;
    Ok(v1::check::Kind::Command(v1::CommandCheck { shell }))
}

fn decode_health_check(check: &HealthCheck, user: &str) -> Result<v1::Check, String> {
    use health_check::Type;
    let missing = |part: &str, kind: Type| {
        let kind = kind.as_str_name();
        format!("Expecting '{part}' to be set for {kind} health check")
    };
    let kind = match check.r#type() {
        Type::Unknown => return Err("HealthCheck must specify 'type'".to_owned()),
        kind @ Type::Http => {
            let http = check.http.as_ref();
            v1::check::Kind::Http(decode_http(http.ok_or_else(|| missing("http", kind))?)?)
        }
        kind @ Type::Tcp => tcp(check.tcp.as_ref().ok_or_else(|| missing("tcp", kind))?.port),
        kind @ Type::Command => {
            let given = check.command.as_ref();
            command(
                given.ok_or_else(|| missing("command", kind))?,
                user,
                "HealthCheck",
            )?
        }
    };
    Ok(v1::Check {
        failures_max: check.consecutive_failures(),
        ..Times {
            delay: check.delay_seconds(),
            grace: Some(check.grace_period_seconds()),
            interval: check.interval_seconds(),
            timeout: check.timeout_seconds(),
        }
        .of(kind)?
    })
}

fn decode_http(http: &health_check::HttpCheckInfo) -> Result<v1::HttpCheck, String> {
    if http
        .scheme
        .as_deref()
        .is_some_and(|scheme| scheme != "http")
    {
        return Err(unsupported("HealthCheck.http.scheme", "only http is"));
    }
    if !http.statuses.is_empty() {
        let hint = "200 to 399 is healthy";
        return Err(unsupported("HealthCheck.http.statuses", hint));
    }
    let path = path_of(http.path.as_deref(), "HTTP health check")?;
    let port = http.port;
    Ok(v1::HttpCheck { port, path })
}

/// What a check of this kind asks for.
fn path_of(given: Option<&str>, kind: &str) -> Result<String, String> {
    let path = given.unwrap_or("/");
    match path.starts_with('/') {
        true => Ok(path.to_owned()),
        false => Err(format!("The path '{path}' of {kind} must start with '/'")),
    }
}

/// A check's command as one line for the shell, with its variables beside the task's.
fn check_line(command: &CommandInfo, user: &str, of: &str) -> Result<String, String> {
    if command.user.as_deref().is_some_and(|own| own != user) {
        let hint = "a check runs as its task's user";
        return Err(unsupported(&format!("{of}.command.user"), hint));
    }
    let given = command.environment.iter().flat_map(|of| &of.variables);
    for variable in given {
        if variable.r#type() == environment::variable::Type::Secret {
            // The line is a program's argument, which everybody on the host can read.
            let hint = "give it to the task, whose variables its check has too";
            let what = format!("{of}.command.environment with secrets");
            return Err(unsupported(&what, hint));
        }
        if variable.name.is_empty() || variable.name.starts_with('-') || variable.name.contains('=')
        {
            return Err(format!(
                "Environment variable '{}' of {of}.command has no good name",
                variable.name
            ));
        }
    }
    let variables = decode_environment(command)?;
    let variables = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mut words: Vec<String> = variables.collect();
    if !words.is_empty() {
        words.insert(0, "env".to_owned());
    }
    match decode_command(command)? {
        Program::Shell(line) if words.is_empty() => return Ok(line),
        Program::Shell(line) => words.extend(["/bin/sh".to_owned(), "-c".to_owned(), line]),
        // What it is called is not heard here.
        Program::Exec(mut exec) => {
            if let Some(name) = exec.arguments.first_mut()
                && !exec.program.is_empty()
            {
                *name = exec.program;
            }
            words.extend(exec.arguments);
        }
    }
    let quoted = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    Ok(quoted.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::read_json;
    use super::*;

    fn checks(json: &str) -> Result<Vec<v1::Check>, String> {
        let text = format!(
            r#"{{"name":"t","task_id":{{"value":"t"}},"agent_id":{{"value":"a"}},{json}}}"#
        );
        let task: TaskInfo = read_json(text.as_bytes()).expect("reads");
        checks_of(&task, "me")
    }

    #[test]
    fn a_check_is_observed_beside_the_health_check() {
        let both = checks(
            r#""health_check":{"type":"TCP","tcp":{"port":1}},
            "check":{"type":"HTTP","http":{"port":2},"delay_seconds":0,"interval_seconds":0.5,"timeout_seconds":0}"#,
        );
        let both = both.expect("good");
        assert!(!both[0].observed && both[0].failures_max == 3);
        let http = v1::HttpCheck {
            port: 2,
            path: "/".to_owned(),
        };
        let observed = v1::Check {
            kind: Some(v1::check::Kind::Http(http)),
            delay_ms: 0,
            interval_ms: 500,
            timeout_ms: TIMEOUT_MS_MAX,
            observed: true,
            ..v1::Check::default()
        };
        assert_eq!(both[1], observed);
        let command =
            checks(r#""check":{"type":"COMMAND","command":{"command":{"value":"test -f up"}}}"#);
        let command = command.expect("good").remove(0);
        let shell = "test -f up".to_owned();
        let kind = v1::check::Kind::Command(v1::CommandCheck { shell });
        assert_eq!(command.kind, Some(kind));
        assert_eq!(
            (command.delay_ms, command.interval_ms, command.timeout_ms),
            (15_000, 10_000, 20_000)
        );
    }

    #[test]
    fn what_is_no_check_is_refused_in_mesos_words() {
        for (check, why) in [
            (r#"{}"#, "CheckInfo must specify 'type'"),
            (
                r#"{"type":"UNKNOWN"}"#,
                "'UNKNOWN' is not a valid check type",
            ),
            (
                r#"{"type":"HTTP"}"#,
                "Expecting 'http' to be set for HTTP check",
            ),
            (
                r#"{"type":"COMMAND"}"#,
                "Expecting 'command' to be set for COMMAND check",
            ),
            (
                r#"{"type":"HTTP","http":{"port":1,"path":"a"}}"#,
                "The path 'a' of HTTP check must start with '/'",
            ),
            (
                r#"{"type":"TCP","tcp":{"port":1},"interval_seconds":-1}"#,
                "Expecting 'interval_seconds' to be non-negative",
            ),
        ] {
            let text = format!("Task uses invalid check: {why}");
            assert_eq!(checks(&format!(r#""check":{check}"#)), Err(text));
        }
    }

    #[test]
    fn what_a_command_cannot_have_is_refused_by_the_name_of_what_it_is_of() {
        let named = |name: &str| {
            format!(r#""environment":{{"variables":[{{"name":"{name}","value":"1"}}]}}"#)
        };
        let secret = r#""environment":{"variables":[{"name":"A","type":"SECRET","secret":{"type":"VALUE","value":{"data":"YQ=="}}}]}"#;
        for (part, why) in [
            (
                r#""user":"other""#.to_owned(),
                "'OF.command.user' is not supported",
            ),
            (
                secret.to_owned(),
                "'OF.command.environment with secrets' is not supported",
            ),
            (
                named("-A"),
                "Environment variable '-A' of OF.command has no good name",
            ),
        ] {
            let command = format!(r#"{{"value":"true",{part}}}"#);
            for (check, of, invalid) in [
                (
                    format!(r#""check":{{"type":"COMMAND","command":{{"command":{command}}}}}"#),
                    "CheckInfo",
                    "Task uses invalid check: ",
                ),
                (
                    format!(r#""health_check":{{"type":"COMMAND","command":{command}}}"#),
                    "HealthCheck",
                    "Task uses invalid health check: ",
                ),
            ] {
                let refused = checks(&check).expect_err(&check);
                let text = format!("{invalid}{}", why.replace("OF", of));
                assert!(refused.starts_with(&text), "{refused}");
            }
        }
    }
}
