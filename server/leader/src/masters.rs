//! Where the masters are, as an operator or an author writes it: addresses, or where ZooKeeper says that masters stand.
//!
//! A token travels with every call, so masters beyond this host are refused until they can be reached over TLS, unless
//! clear text is allowed in so many words. What is shown never holds a password.

use std::fmt;
use std::net::IpAddr;

use proffer_model::{Problem, code};
use tonic::transport::Uri;

use crate::finder::limits::MASTERS_MAX;
use crate::url::ZooKeeperUrl;

/// The masters of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Masters {
    /// Their addresses, `host:port`, each once; at least one. Any of them may lead.
    List(Vec<String>),
    /// Where they stand for election, and so find one another and are found.
    ZooKeeper(ZooKeeperUrl),
}

impl Masters {
    /// Reads addresses, also several in one text with commas between them, or one `zk://` alone. Problems have the code
    /// `config.invalid` and, where one entry is at fault, its place as their field, such as `[1]`: see
    /// [`Problem::within`].
    pub fn parse(texts: &[String]) -> Result<Self, Problem> {
        let is_zookeeper = |text: &&String| text.trim().starts_with("zk://");
        match texts.iter().find(is_zookeeper) {
            Some(url) if texts.len() == 1 => return url.trim().parse().map(Self::ZooKeeper),
            Some(_) => {
                return Err(wrong("zk:// stands beside other masters")
                    .hint("give either zk://… alone or host:port of each master"));
            }
            None => {}
        }
        let entries = texts.iter().flat_map(|text| text.split(','));
        let entries = entries.map(str::trim).filter(|entry| !entry.is_empty());
        let mut addresses = Vec::new();
        for (place, entry) in entries.enumerate() {
            let address = parse_address(entry)
                .map_err(|problem| problem.within(format_args!("[{place}]")))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(wrong("no master is given"));
        }
        if addresses.len() > MASTERS_MAX {
            let message = format!("{} masters are given", addresses.len());
            return Err(wrong(message).hint(format!("give at most {MASTERS_MAX}")));
        }
        Ok(Self::List(addresses))
    }

    /// Refuses what is beyond this host, unless that is allowed.
    pub fn check_plaintext(&self, is_allowed: bool) -> Result<(), Problem> {
        let addresses = match self {
            Self::List(addresses) => addresses,
            Self::ZooKeeper(url) if is_allowed || url.is_loopback() => return Ok(()),
            Self::ZooKeeper(url) => return Err(not_on_this_host(url)),
        };
        let beyond = |address: &String| !is_on_this_host(address);
        match addresses.iter().position(beyond) {
            Some(place) if !is_allowed => {
                let address = addresses.get(place).map_or("", String::as_str);
                Err(not_on_this_host(address).field(format!("[{place}]")))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Masters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(addresses) => f.write_str(&addresses.join(",")),
            Self::ZooKeeper(url) => url.fmt(f),
        }
    }
}

/// `host:port`, with `http://` before it or not.
pub(crate) fn parse_address(text: &str) -> Result<String, Problem> {
    let address = text.trim_end_matches('/');
    let address = address.strip_prefix("http://").unwrap_or(address);
    let is_right = address.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        !host.is_empty()
            && (is_bracketed || !host.contains(':'))
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match is_right && format!("http://{address}/").parse::<Uri>().is_ok() {
        true => Ok(address.to_owned()),
        false => Err(wrong(format!("{text:?} is not host:port"))),
    }
}

/// Whether an address is of this host for certain: without asking a name server.
pub(crate) fn is_on_this_host(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn not_on_this_host(address: impl fmt::Display) -> Problem {
    let message = format!("{address} is not on this host, and connections are not encrypted");
    wrong(message)
        .hint("connect to 127.0.0.1, or set insecure_allow_plaintext = true on a network you trust")
}

fn wrong(message: impl Into<String>) -> Problem {
    Problem::new(code::CONFIG_INVALID, message).hint(
        "write host:port of each master, or where they stand: zk://host:port,host:port/proffer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Masters, Problem> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Masters::parse(&texts)
    }

    #[test]
    fn lists_are_read_in_every_form() {
        for (texts, shown) in [
            (&["127.0.0.1:5050"] as &[_], "127.0.0.1:5050"),
            (&["a:1,b:2", "c:3"], "a:1,b:2,c:3"),
            (&[" a:1 , b:2,"], "a:1,b:2"),
            (&["http://localhost:5050/"], "localhost:5050"),
            (&["[::1]:5050"], "[::1]:5050"),
            (&["a:1", "a:1", "http://a:1"], "a:1"),
            (
                &[" zk://u:s3cret@z1:2181,z2/proffer"],
                "zk://u:[redacted]@z1:2181,z2:2181/proffer",
            ),
        ] {
            let masters = parse(texts).expect(shown);
            assert_eq!(masters.to_string(), shown);
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_a_remedy() {
        let many: Vec<String> = (1..=MASTERS_MAX + 1).map(|n| format!("m{n}:1")).collect();
        let many = many.join(",");
        for (text, field) in [
            ("", ""),
            (" , ", ""),
            (many.as_str(), ""),
            ("a:1,127.0.0.1", "[1]"),
            ("a:1,b:2,127.0.0.1:0", "[2]"),
            ("127.0.0.1:99999", "[0]"),
            ("127.0.0.1:5050/path", "[0]"),
            ("user@127.0.0.1:5050", "[0]"),
            ("https://127.0.0.1:5050", "[0]"),
            ("a b:1", "[0]"),
            ("a:b:1", "[0]"),
            (":1", "[0]"),
        ] {
            let problem = parse(&[text]).expect_err(text);
            assert!(problem.is(code::CONFIG_INVALID), "{problem}");
            assert_eq!(problem.field, field, "{problem}");
            assert!(!problem.hint.is_empty(), "{problem}");
        }
        parse(&[]).expect_err("none");
        parse(&["zk://z/p", "a:1"]).expect_err("either");
        for bad in ["zk://u:s3cret@/p", "zk://z", "zk://u:s3cret@z:x/p"] {
            let problem = parse(&[bad]).expect_err(bad);
            assert!(problem.is(code::CONFIG_INVALID), "{problem}");
            assert!(!problem.to_string().contains("s3cret"), "{problem}");
        }
    }

    #[test]
    fn masters_beyond_this_host_take_a_word() {
        for (text, is_here) in [
            ("127.0.0.1:1,[::1]:1,LOCALHOST:1,127.9.9.9:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("127.0.0.1:1,10.0.0.1:1", false),
            ("localhost.example.org:1", false),
            ("zk://127.0.0.1,[::1]:2182/p", true),
            ("zk://127.0.0.1,z2.example.org/p", false),
        ] {
            let masters = parse(&[text]).expect(text);
            assert_eq!(masters.check_plaintext(false).is_ok(), is_here, "{text}");
            masters.check_plaintext(true).expect("spelled out");
        }
        let masters = parse(&["127.0.0.1:1,10.0.0.1:1"]).expect("good");
        let problem = masters.check_plaintext(false).expect_err("beyond");
        assert_eq!(problem.within("master").field, "master[1]");
    }
}
