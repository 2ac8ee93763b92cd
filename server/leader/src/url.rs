//! Where a ZooKeeper is, and under which path the masters meet: `zk://[user:password@]host[:port],…/path`.
//!
//! What is wrong with an address is found here, in full, so that nothing behind it has to look again. The password
//! never shows: [`Secret`] holds it, and both ways of printing leave it out.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::str::FromStr;

use proffer_model::{Problem, Secret, code};

use crate::limits::HOSTS_MAX;

/// Where a host listens when its port is not said.
const PORT_DEFAULT: u16 = 2181;

/// An ensemble, the path of an election there, and who one is to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZooKeeperUrl {
    hosts: Vec<Host>,
    path: String,
    credentials: Option<Credentials>,
}

/// A server of the ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// A name or an address, an IPv6 one without brackets.
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// Who one is to ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl ZooKeeperUrl {
    /// The path of the election, such as `/proffer`; never `/` alone.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a user and a password are given, so that only they may write what they create.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Whether every server is on this very host, so that nothing that is sent there can be read on the way.
    pub fn is_loopback(&self) -> bool {
        self.hosts.iter().all(Host::is_loopback)
    }

    /// The same place, asked by nobody in particular: enough to read who leads.
    #[must_use]
    pub fn without_credentials(&self) -> Self {
        Self {
            credentials: None,
            ..self.clone()
        }
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Host {
    fn is_loopback(&self) -> bool {
        match self.name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.name.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl fmt::Display for ZooKeeperUrl {
    /// With the user's name, but never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("zk://")?;
        if let Some(credentials) = &self.credentials {
            write!(f, "{}:[redacted]@", credentials.user)?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{host}")?;
        }
        f.write_str(&self.path)
    }
}

impl FromStr for ZooKeeperUrl {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let rest = text
            .strip_prefix("zk://")
            .ok_or_else(|| wrong("it does not begin with zk://"))?;
        // A password may hold any of these characters if it is percent-encoded, so the last `@` ends it; what is before
        // it must not be shown, whatever else is wrong.
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(parse_credentials(credentials)?), rest),
            None => (None, rest),
        };
        let (hosts, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("it has no path after the hosts"))?;
        if hosts.split(',').count() > HOSTS_MAX {
            return Err(wrong(format!("it has more than {HOSTS_MAX} hosts")));
        }
        let hosts = hosts.split(',').map(parse_host).collect::<Result<_, _>>()?;
        Ok(Self {
            hosts,
            path: parse_path(path)?,
            credentials,
        })
    }
}

fn wrong(why: impl fmt::Display) -> Problem {
    let message = format!("this is not the address of a ZooKeeper: {why}");
    Problem::new(code::CONFIG_INVALID, message).hint(
        "write zk://[user:password@]host[:port],…/path, such as zk://zk1:2181,zk2:2181,zk3:2181/proffer",
    )
}

fn parse_credentials(text: &str) -> Result<Credentials, Problem> {
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| wrong("there is no password between the user's name and @"))?;
    let (user, password) = (decode(user)?, decode(password)?);
    let is_safe = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
    if !is_safe(&user) || !is_safe(&password) {
        return Err(wrong(
            "the user's name and the password must be given, without control characters",
        ));
    }
    if user.contains(':') {
        return Err(wrong("the user's name must not contain a colon"));
    }
    Ok(Credentials {
        user,
        password: Secret::new(password),
    })
}

/// Resolves `%41`.
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let decoded = digit().zip(digit()).map(|(high, low)| high * 16 + low);
        let decoded = decoded.and_then(|number| u8::try_from(number).ok());
        bytes.push(decoded.ok_or_else(|| {
            wrong("% in the user's name or password is not followed by two hexadecimal digits")
        })?);
    }
    String::from_utf8(bytes).map_err(|_| wrong("the user's name or password is not UTF-8"))
}

fn parse_host(text: &str) -> Result<Host, Problem> {
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, "")) => (name, None),
        Some((name, port)) => (name, port.strip_prefix(':').or(Some(""))),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_valid = match text.starts_with('[') {
        true => name.parse::<std::net::Ipv6Addr>().is_ok(),
        false => !name.is_empty() && name.len() <= 253 && name.chars().all(is_name),
    };
    if !is_valid {
        return Err(wrong(format!("{text:?} is not a host")));
    }
    let port = match port {
        None => PORT_DEFAULT,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| wrong(format!("{text:?} does not end with a port")))?,
    };
    Ok(Host {
        name: name.to_owned(),
        port,
    })
}

/// Of what follows the first `/`.
fn parse_path(text: &str) -> Result<String, Problem> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Err(wrong("the path must not be / alone"));
    }
    let mut path = String::with_capacity(text.len() + 1);
    for part in text.split('/') {
        let is_safe = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | '?' | '#' | '%');
        if part.is_empty() || part == "." || part == ".." || !part.chars().all(is_safe) {
            return Err(wrong(format!("{part:?} cannot be a part of its path")));
        }
        // Writing to a string cannot fail.
        let _ = write!(path, "/{part}");
    }
    if path == "/zookeeper" || path.starts_with("/zookeeper/") {
        return Err(wrong("the path /zookeeper is ZooKeeper's own"));
    }
    if path.len() > proffer_model::limits::ID_LEN_MAX {
        return Err(wrong("the path is too long"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, expected) in [
            ("zk://a/p", "zk://a:2181/p"),
            ("zk://a:1,b/p/q/", "zk://a:1,b:2181/p/q"),
            ("zk://[::1]:5,[::1]/p", "zk://[::1]:5,[::1]:2181/p"),
            ("zk://u:p%40%2f%25@a/p", "zk://u:[redacted]@a:2181/p"),
        ] {
            let url: ZooKeeperUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), expected);
        }
    }

    #[test]
    fn the_password_is_decoded_and_never_shown() {
        let url: ZooKeeperUrl = "zk://proffer:s%40cret%3A1@h/p".parse().expect("an address");
        let credentials = url.credentials().expect("credentials");
        assert_eq!(credentials.password.expose(), "s@cret:1");
        for shown in [format!("{url}"), format!("{url:?}"), format!("{url:#?}")] {
            assert!(!shown.contains("cret"), "{shown}");
        }
        assert!(url.without_credentials().credentials().is_none());
        for bad in ["zk://u:secret@", "zk://u:secret@h/", "zk://u:secret%zz@h/p"] {
            let problem = bad.parse::<ZooKeeperUrl>().expect_err(bad);
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
    }

    #[test]
    fn loopback_is_all_or_nothing() {
        for (text, expected) in [
            ("zk://127.0.0.1,localhost,[::1]:7/p", true),
            ("zk://127.8.0.1/p", true),
            ("zk://127.0.0.1,zk2/p", false),
            ("zk://localhost.example.org/p", false),
            ("zk://10.0.0.1/p", false),
        ] {
            let url: ZooKeeperUrl = text.parse().expect(text);
            assert_eq!(url.is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_an_example() {
        let crowd = format!("zk://{}h/p", "h,".repeat(HOSTS_MAX));
        for (bad, why) in [
            (crowd.as_str(), "more than 64 hosts"),
            ("zookeeper://h/p", "zk://"),
            ("zk://h", "no path"),
            ("zk://h/", "/ alone"),
            ("zk://h//p", "part of its path"),
            ("zk://h/a/../b", "part of its path"),
            ("zk://h/a b", "part of its path"),
            ("zk://h/zookeeper", "ZooKeeper's own"),
            ("zk:///p", "not a host"),
            ("zk://h,,i/p", "not a host"),
            ("zk://h:0/p", "port"),
            ("zk://h:70000/p", "port"),
            ("zk://h:/p", "port"),
            ("zk://[::1]x/p", "port"),
            ("zk://::1/p", "not a host"),
            ("zk://[h]/p", "not a host"),
            ("zk://user@h/p", "no password"),
            ("zk://user:@h/p", "must be given"),
            ("zk://:pass@h/p", "must be given"),
            ("zk://a%3Ab:pass@h/p", "colon"),
            ("zk://u:%4@h/p", "hexadecimal"),
            ("zk://u:%ff@h/p", "UTF-8"),
        ] {
            let problem = bad.parse::<ZooKeeperUrl>().expect_err(bad);
            assert!(problem.is(code::CONFIG_INVALID), "{bad}: {problem}");
            assert!(problem.message.contains(why), "{bad}: {problem}");
            assert!(problem.hint.contains("zk://zk1:2181"), "{problem}");
        }
    }
}
