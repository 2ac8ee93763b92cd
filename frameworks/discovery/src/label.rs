//! marathon-lb's `HAPROXY_…` labels as closed types.
//!
//! A value outside its grammar makes the app's labels an error (`label.invalid` with the label as field), and so does a
//! label that we do not honour yet but that would close the service to somebody: serving it open would be worse than not
//! serving it. Every other label that has no effect is named in `ignored`.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{Problem, code};
use serde::Serialize;

use crate::limits::{LABEL_BYTES_MAX, VHOSTS_PER_PORT_MAX};
use crate::name::{VirtualHost, quote};

/// How a service's connections are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Bytes are passed on.
    Tcp,
    /// Requests are understood: routed one by one, retried when safe, answered with 503 when nobody can.
    Http,
}

/// How a server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Balance {
    /// In turn.
    #[default]
    #[serde(rename = "roundrobin")]
    RoundRobin,
    /// In turn, by a fixed table.
    #[serde(rename = "static-rr")]
    StaticRoundRobin,
    /// The one with the fewest connections.
    #[serde(rename = "leastconn")]
    LeastConnections,
    /// The first that has room.
    #[serde(rename = "first")]
    First,
    /// By the client's address.
    #[serde(rename = "source")]
    Source,
    /// At random.
    #[serde(rename = "random")]
    Random,
}

impl Balance {
    /// Whether servers may come and go without a reload: HAProxy's own list of dynamic algorithms.
    pub fn is_dynamic(self) -> bool {
        match self {
            Self::RoundRobin | Self::LeastConnections | Self::First | Self::Random => true,
            Self::StaticRoundRobin | Self::Source => false,
        }
    }
}

/// The labels of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortLabels {
    /// `MODE`.
    pub mode: Option<Mode>,
    /// `VHOST`.
    pub vhosts: Vec<VirtualHost>,
    /// `ENABLED`; absent means yes.
    pub is_disabled: bool,
    /// `PORT`: listen here instead of at the service port.
    pub port: Option<u16>,
    /// `BALANCE`.
    pub balance: Balance,
    /// `STICKY`.
    pub is_sticky: bool,
    /// `GROUP`: instead of the app's groups.
    pub groups: Option<BTreeSet<String>>,
}

/// The labels of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppLabels {
    /// `HAPROXY_GROUP`.
    pub groups: BTreeSet<String>,
    /// By index of the port.
    pub ports: BTreeMap<usize, PortLabels>,
    /// Labels of ours that have no effect.
    pub ignored: Vec<String>,
}

/// marathon-lb's labels that narrow who reaches a service, or where; not honoured yet.
const NARROWING: &[&str] = &[
    "AUTH",
    "BACKEND_NETWORK_ALLOWED_ACL",
    "REDIRECT_TO_HTTPS",
    "SSL_CERT",
    "PATH",
];

/// Reads the labels of one app; those that do not begin with `HAPROXY_` are not ours.
pub fn parse(labels: &BTreeMap<String, String>) -> Result<AppLabels, Problem> {
    let mut parsed = AppLabels::default();
    for (key, value) in labels {
        let Some(rest) = key.strip_prefix("HAPROXY_") else {
            continue;
        };
        if value.len() > LABEL_BYTES_MAX {
            let message = format!("{} bytes are more than {LABEL_BYTES_MAX}", value.len());
            return Err(invalid(key, message, "shorten the label"));
        }
        if rest == "GROUP" {
            parsed.groups = parse_groups(key, value)?;
            continue;
        }
        match split_index(rest) {
            Some((index, name)) => {
                let port = parsed.ports.entry(index).or_default();
                if !set(port, key, name, value)? {
                    parsed.ignored.push(quote(key));
                }
            }
            None => parsed.ignored.push(quote(key)),
        }
    }
    Ok(parsed)
}

/// Splits `0_MODE`; the index has at most three digits.
fn split_index(rest: &str) -> Option<(usize, &str)> {
    let (index, name) = rest.split_once('_')?;
    let is_index = (1..=3).contains(&index.len()) && index.bytes().all(|b| b.is_ascii_digit());
    is_index
        .then(|| index.parse().ok())
        .flatten()
        .map(|i| (i, name))
}

/// Sets one label of a port; `false` when there is no such label.
fn set(port: &mut PortLabels, key: &str, name: &str, value: &str) -> Result<bool, Problem> {
    match name {
        "MODE" => port.mode = Some(parse_mode(key, value)?),
        "VHOST" => port.vhosts = parse_vhosts(key, value)?,
        "ENABLED" => port.is_disabled = !parse_bool(key, value)?,
        "PORT" => port.port = Some(parse_port(key, value)?),
        "BALANCE" => port.balance = parse_balance(key, value)?,
        "STICKY" => port.is_sticky = parse_bool(key, value)?,
        "GROUP" => port.groups = Some(parse_groups(key, value)?),
        _ if NARROWING.contains(&name) => {
            let message = format!(
                "{name} is not supported, and without it the service would be more open than asked"
            );
            return Err(invalid(
                key,
                message,
                "remove the label to serve the app without it",
            ));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn parse_mode(key: &str, value: &str) -> Result<Mode, Problem> {
    match value.trim().to_ascii_lowercase().as_str() {
        "tcp" => Ok(Mode::Tcp),
        "http" => Ok(Mode::Http),
        _ => Err(invalid(
            key,
            format!("{} is not a mode", quote(value)),
            "write tcp or http",
        )),
    }
}

fn parse_bool(key: &str, value: &str) -> Result<bool, Problem> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "0" => Ok(false),
        _ => Err(invalid(
            key,
            format!("{} is neither true nor false", quote(value)),
            "write true or false",
        )),
    }
}

fn parse_port(key: &str, value: &str) -> Result<u16, Problem> {
    let text = value.trim();
    let number = Some(text)
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse::<u16>().ok())
        .filter(|port| *port > 0);
    number.ok_or_else(|| {
        invalid(
            key,
            format!("{} is not a port", quote(value)),
            "write a number from 1 to 65535",
        )
    })
}

fn parse_balance(key: &str, value: &str) -> Result<Balance, Problem> {
    Ok(match value.trim() {
        "roundrobin" => Balance::RoundRobin,
        "static-rr" => Balance::StaticRoundRobin,
        "leastconn" => Balance::LeastConnections,
        "first" => Balance::First,
        "source" => Balance::Source,
        "random" => Balance::Random,
        _ => {
            let message = format!(
                "{} is not a way of balancing that is supported",
                quote(value)
            );
            let hint = "write roundrobin, static-rr, leastconn, first, source or random";
            return Err(invalid(key, message, hint));
        }
    })
}

fn parse_vhosts(key: &str, value: &str) -> Result<Vec<VirtualHost>, Problem> {
    let mut vhosts = Vec::new();
    for text in value.split(',').map(str::trim) {
        let vhost = VirtualHost::parse(text).ok_or_else(|| {
            let hint = "write host names between commas, such as www.example.com or *.example.com";
            invalid(key, format!("{} is not a host name", quote(text)), hint)
        })?;
        if !vhosts.contains(&vhost) {
            vhosts.push(vhost);
        }
    }
    if vhosts.len() > VHOSTS_PER_PORT_MAX {
        let message = format!("{} names are more than {VHOSTS_PER_PORT_MAX}", vhosts.len());
        return Err(invalid(
            key,
            message,
            "use a wildcard such as *.example.com",
        ));
    }
    Ok(vhosts)
}

fn parse_groups(key: &str, value: &str) -> Result<BTreeSet<String>, Problem> {
    let is_good = |group: &str| {
        group == "*"
            || (1..=63).contains(&group.len())
                && group
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    let groups: BTreeSet<String> = value
        .split(',')
        .map(|text| text.trim().to_owned())
        .collect();
    match groups.iter().find(|group| !is_good(group)) {
        None => Ok(groups),
        Some(bad) => {
            let hint = "write groups of letters, digits, '-', '.' and '_' between commas";
            Err(invalid(key, format!("{} is not a group", quote(bad)), hint))
        }
    }
}

fn invalid(key: &str, message: String, hint: &str) -> Problem {
    let key: String = key.chars().take(100).collect();
    Problem::new(code::LABEL_INVALID, message)
        .field(format!("labels.{}", key.escape_debug()))
        .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(key: &str, value: &str) -> Result<AppLabels, Problem> {
        parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn good_labels_become_types() {
        let labels: BTreeMap<String, String> = [
            ("HAPROXY_GROUP", "external, internal"),
            ("HAPROXY_0_MODE", "HTTP"),
            ("HAPROXY_0_VHOST", "a.example.com,*.b.example.com"),
            ("HAPROXY_0_STICKY", "yes"),
            ("HAPROXY_0_PORT", "8081"),
            ("HAPROXY_1_ENABLED", "False"),
            ("HAPROXY_1_BALANCE", "leastconn"),
            ("HAPROXY_1_USE_HSTS", "true"),
            ("owner", "x\ny"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        let parsed = parse(&labels).expect("good labels");
        assert_eq!(parsed.groups.len(), 2);
        assert_eq!(parsed.ports[&0].mode, Some(Mode::Http));
        assert_eq!(parsed.ports[&0].vhosts.len(), 2);
        assert_eq!(parsed.ports[&0].port, Some(8_081));
        assert!(parsed.ports[&0].is_sticky);
        assert!(parsed.ports[&1].is_disabled);
        assert_eq!(parsed.ports[&1].balance, Balance::LeastConnections);
        assert_eq!(parsed.ignored, ["\"HAPROXY_1_USE_HSTS\""]);
    }

    #[test]
    fn bad_values_name_their_label() {
        for (key, value) in [
            ("HAPROXY_0_MODE", "udp"),
            ("HAPROXY_0_MODE", ""),
            ("HAPROXY_0_ENABLED", "maybe"),
            ("HAPROXY_0_PORT", "0"),
            ("HAPROXY_0_PORT", "65536"),
            ("HAPROXY_0_PORT", "+80"),
            ("HAPROXY_0_PORT", "80\n  bind *:22"),
            ("HAPROXY_0_BALANCE", "url_param x"),
            ("HAPROXY_0_VHOST", "a b"),
            ("HAPROXY_0_VHOST", ""),
            ("HAPROXY_0_STICKY", "2"),
            ("HAPROXY_GROUP", "a b"),
            ("HAPROXY_0_GROUP", ""),
            ("HAPROXY_0_AUTH", "realm:user:secret"),
            ("HAPROXY_0_SSL_CERT", "/etc/x.pem"),
        ] {
            let problem = parse_one(key, value).expect_err(value);
            assert!(problem.is(code::LABEL_INVALID));
            assert_eq!(problem.field, format!("labels.{key}"));
            assert!(!problem.hint.is_empty());
        }
    }

    #[test]
    fn secrets_in_labels_are_not_repeated() {
        let problem = parse_one("HAPROXY_0_AUTH", "realm:user:secret").expect_err("refused");
        assert!(!problem.to_string().contains("secret"));
    }

    #[test]
    fn long_values_are_refused_without_being_repeated() {
        let problem = parse_one("HAPROXY_0_VHOST", &"a".repeat(1 << 20)).expect_err("long");
        assert!(problem.to_string().len() < 300);
    }
}
