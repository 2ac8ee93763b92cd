//! Names that may stand in HAProxy's configuration, and how they come to be.
//!
//! Each type here is a grammar: text from outside becomes one of these or is refused, and nothing else reaches the
//! template. The derived names are those that marathon-lb's tools know: backend `<app id, / as _>_<service port>`,
//! server `<host>_<ip>_<port>` with everything but letters and digits as `_`.

use std::fmt;
use std::net::IpAddr;

use proffer_model::{Problem, code};
use serde::Serialize;

use crate::digest::Digest;
use crate::limits::{APP_ID_BYTES_MAX, HOST_NAME_BYTES_MAX, QUOTED_CHARS_MAX};

/// The largest server id that marathon-lb gives.
const SERVER_ID_MAX: u64 = 32_767;

/// An app's path such as `/prod/web`: segments of letters, digits, `-`, `.` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AppId(String);

impl AppId {
    /// Reads a path; a missing first slash is added, as Marathon's clients expect.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::new(
                code::ID_INVALID,
                format!("{} is not an app id", quote(text)),
            )
            .field("id")
            .hint("write segments of letters, digits, '-', '.' and '_' between slashes")
        };
        let path = text.strip_prefix('/').unwrap_or(text);
        let segment_is_good = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && segment
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if path.len() >= APP_ID_BYTES_MAX || !path.split('/').all(segment_is_good) {
            return Err(wrong());
        }
        Ok(Self(format!("/{path}")))
    }

    /// The path, with its first slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A host name in lower case: labels of letters, digits, `-` (and `_`, which agents' names may have) between dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostName(String);

impl HostName {
    /// Reads a name; upper case is folded, one dot at the end is dropped.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let label_is_good = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        (name.len() <= HOST_NAME_BYTES_MAX && name.split('.').all(label_is_good))
            .then(|| Self(name.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A host that HTTP requests are routed by: a name, or every name below one (`*.example.com`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VirtualHost {
    /// The name; for a wildcard what stands after `*.`.
    pub name: HostName,
    /// Whether it means the names below `name` instead of itself.
    pub is_wildcard: bool,
}

impl VirtualHost {
    /// Reads a name or `*.` and a name.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, is_wildcard) = match text.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let name = HostName::parse(rest)?;
        Some(Self { name, is_wildcard })
    }
}

impl fmt::Display for VirtualHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.is_wildcard { "*." } else { "" };
        write!(f, "{star}{}", self.name.as_str())
    }
}

/// A path that HAProxy's own HTTP check may ask for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CheckPath(String);

impl CheckPath {
    /// Takes a path with an optional query of characters that mean nothing in HAProxy's configuration.
    pub fn parse(text: &str) -> Option<Self> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~:@!&+,;=?".contains(&b);
        (text.starts_with('/') && text.len() <= 512 && text.bytes().all(is_plain))
            .then(|| Self(text.to_owned()))
    }
}

/// The name of a service's frontend and backend.
pub fn backend_name(app: &AppId, service_port: u16) -> String {
    let path = app.as_str().trim_start_matches('/').replace('/', "_");
    format!("{path}_{service_port}")
}

/// The name of a server; the host is left out when it is the address itself.
pub fn server_name(host: &str, address: IpAddr, port: u16) -> String {
    let ip = address.to_string();
    let whole = if host == ip {
        format!("{ip}_{port}")
    } else {
        format!("{host}_{ip}_{port}")
    };
    whole
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

/// A server's id: the same for the same name wherever it is free, so that statistics survive a reload.
pub fn server_id(name: &str, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    let start = Digest::of(name.as_bytes()).value() % SERVER_ID_MAX;
    (0..SERVER_ID_MAX)
        .filter_map(|step| u16::try_from((start + step) % SERVER_ID_MAX + 1).ok())
        .find(|id| is_free(*id))
}

/// Foreign text for a message: escaped, in quotes, cut.
pub fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_ids_hold_nothing_but_their_grammar() {
        for good in ["/a", "a", "/prod/web/front-1.x", "/A_b"] {
            AppId::parse(good).expect(good);
        }
        let long = format!("/{}", "a".repeat(300));
        for bad in [
            "", "/", "//a", "/a/", "/a//b", "/..", "/a/./b", "/a b", "/a\nb", "/a\"", "/ä", "/a#",
            "/%[src]", "/{{x}}", &long,
        ] {
            AppId::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn virtual_hosts_are_host_names_or_wildcards() {
        for good in [
            "example.com",
            "*.example.com",
            "EXAMPLE.com.",
            "a",
            "x-1.y_2.z",
        ] {
            assert!(VirtualHost::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "a..b",
            "-a.b",
            "a-.b",
            "a b",
            "a,b",
            "a\n",
            "*.*.a",
            "a*.b",
            "ex ample",
            "a:80",
            "exämple.com",
            "a/b",
            "a\"b",
            "%[src]",
        ] {
            assert!(VirtualHost::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn derived_names_are_marathon_lbs() {
        let app = AppId::parse("/prod/web").expect("id");
        assert_eq!(backend_name(&app, 10_000), "prod_web_10000");
        let ip: IpAddr = "10.0.0.7".parse().expect("address");
        assert_eq!(
            server_name("host-1.x", ip, 31_000),
            "host_1_x_10_0_0_7_31000"
        );
        assert_eq!(server_name("10.0.0.7", ip, 31_000), "10_0_0_7_31000");
    }

    #[test]
    fn server_ids_are_stable_and_step_aside() {
        let first = server_id("a", |_| true).expect("id");
        assert_eq!(server_id("a", |_| true), Some(first));
        assert_ne!(server_id("a", |id| id != first), Some(first));
        assert_eq!(server_id("a", |_| false), None);
    }
}
