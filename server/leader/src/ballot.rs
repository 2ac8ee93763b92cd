//! What a master writes where Mesos's clients look for it, and what is read there.
//!
//! A node is a `MasterInfo` in the JSON that Mesos's own masters write, with one more object in it, `proffer`, which
//! holds what our own readers need. Whoever may write there may write anything: all of it is checked.

use std::net::{IpAddr, Ipv4Addr};

use proffer_model::{Leader, Problem, code};
use serde::{Deserialize, Serialize};

use crate::limits::BALLOT_LEN_MAX;

/// How the names of masters' nodes begin.
pub(crate) const PREFIX: &str = "json.info_";

/// What one node turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ballot {
    /// A master of ours.
    Ours(Leader),
    /// A master of ours, of a version that says more, or otherwise, than is known here.
    Newer,
    /// A master of somebody else's.
    Foreign,
    /// Not what any master writes.
    Unreadable,
}

/// As which version of Mesos masters answer its clients.
pub const MESOS_VERSION: &str = "1.11.0";
/// What masters say that they can, in Mesos's words.
pub const MESOS_CAPABILITIES: [&str; 3] = ["AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2"];

#[derive(Serialize)]
struct MasterInfo<'a> {
    id: &'a str,
    /// The address as a number, its first byte lowest.
    ip: u32,
    port: u16,
    pid: String,
    hostname: &'a str,
    version: &'a str,
    address: Address<'a>,
    capabilities: [Capability; 3],
    proffer: Ours,
}

#[derive(Serialize)]
struct Capability {
    r#type: &'static str,
}

#[derive(Serialize)]
struct Address<'a> {
    hostname: &'a str,
    ip: String,
    port: u16,
}

#[derive(Serialize, Deserialize)]
struct Ours {
    id: String,
    address: String,
    cluster_address: String,
    version: String,
}

/// The host and the port of `host:port`; an IPv6 address without its brackets.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && host.len() <= 253 && host.chars().all(is_safe)).then_some((host, port))
}

/// Whether all of it can be told to others.
pub(crate) fn validate(me: &Leader) -> Result<(), Problem> {
    for (field, address) in [
        ("address", &me.address),
        ("cluster_address", &me.cluster_address),
    ] {
        if split_address(address).is_none() {
            let message = format!("{address:?} is not host:port");
            return Err(Problem::new(code::FIELD_INVALID, message).field(field));
        }
    }
    let is_short = |text: &str| text.len() <= 255 && !text.chars().any(char::is_control);
    if me.id.is_empty() || !is_short(&me.id) || !is_short(&me.version) {
        let message = "the id or the version is empty, too long or not printable";
        return Err(Problem::new(code::FIELD_INVALID, message).field("id"));
    }
    Ok(())
}

/// The bytes of a master's node; `ip` is what its address resolves to.
pub(crate) fn encode(me: &Leader, ip: Option<IpAddr>) -> Vec<u8> {
    let (hostname, port) = split_address(&me.address).unwrap_or_default();
    let v4 = match ip {
        Some(IpAddr::V4(v4)) => v4,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    let ip = ip.unwrap_or(IpAddr::V4(v4));
    let host = match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    };
    let info = MasterInfo {
        id: &me.id,
        ip: u32::from_le_bytes(v4.octets()),
        port,
        pid: format!("master@{host}:{port}"),
        hostname,
        version: MESOS_VERSION,
        capabilities: MESOS_CAPABILITIES.map(|r#type| Capability { r#type }),
        address: Address {
            hostname,
            ip: ip.to_string(),
            port,
        },
        proffer: Ours {
            id: me.id.clone(),
            address: me.address.clone(),
            cluster_address: me.cluster_address.clone(),
            version: me.version.clone(),
        },
    };
    // Strings and numbers can always be written.
    serde_json::to_vec(&info).unwrap_or_default()
}

/// Reads a node.
pub(crate) fn decode(bytes: &[u8]) -> Ballot {
    if bytes.len() > BALLOT_LEN_MAX {
        return Ballot::Unreadable;
    }
    let Ok(serde_json::Value::Object(mut info)) = serde_json::from_slice(bytes) else {
        return Ballot::Unreadable;
    };
    let Some(ours) = info.remove("proffer") else {
        return Ballot::Foreign;
    };
    let Ok(ours) = serde_json::from_value::<Ours>(ours) else {
        return Ballot::Newer;
    };
    let leader = Leader {
        id: ours.id,
        address: ours.address,
        cluster_address: ours.cluster_address,
        version: ours.version,
    };
    match validate(&leader) {
        Ok(()) => Ballot::Ours(leader),
        Err(_) => Ballot::Newer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(address: &str) -> Leader {
        Leader {
            id: "6f1c".into(),
            address: address.into(),
            cluster_address: "127.0.0.1:5060".into(),
            version: "0.1.0".into(),
        }
    }

    #[test]
    fn a_node_is_what_readers_of_mesos_expect() {
        let bytes = encode(&me("127.0.0.1:5050"), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert_eq!(
            String::from_utf8(bytes.clone()).expect("utf-8"),
            r#"{"id":"6f1c","ip":16777343,"port":5050,"pid":"master@127.0.0.1:5050","hostname":"127.0.0.1","version":"1.11.0","address":{"hostname":"127.0.0.1","ip":"127.0.0.1","port":5050},"capabilities":[{"type":"AGENT_UPDATE"},{"type":"AGENT_DRAINING"},{"type":"QUOTA_V2"}],"proffer":{"id":"6f1c","address":"127.0.0.1:5050","cluster_address":"127.0.0.1:5060","version":"0.1.0"}}"#
        );
        assert_eq!(decode(&bytes), Ballot::Ours(me("127.0.0.1:5050")));
    }

    #[test]
    fn names_and_later_addresses_are_said_as_well_as_they_can_be() {
        let bytes = encode(&me("[::1]:5050"), "::1".parse().ok());
        let text = String::from_utf8(bytes).expect("utf-8");
        assert!(text.contains(r#""ip":0,"port":5050,"pid":"master@[::1]:5050""#));
        let bytes = encode(&me("m1.example.org:5050"), "10.0.0.1".parse().ok());
        let text = String::from_utf8(bytes).expect("utf-8");
        assert!(text.contains(r#""pid":"master@10.0.0.1:5050","hostname":"m1.example.org""#));
    }

    #[test]
    fn whatever_else_is_there_is_told_apart() {
        let foreign = br#"{"id":"x","ip":16777343,"port":5050,"pid":"master@127.0.0.1:5050"}"#;
        assert_eq!(decode(foreign), Ballot::Foreign);
        for unreadable in [&b""[..], b"{", b"[1]", b"\xff", &[b' '; BALLOT_LEN_MAX + 1]] {
            assert_eq!(decode(unreadable), Ballot::Unreadable);
        }
        for newer in [
            r#"{"proffer":7}"#,
            r#"{"proffer":{"id":"x"}}"#,
            r#"{"proffer":{"id":"x","address":"no port","cluster_address":"a:1","version":"1"}}"#,
            r#"{"proffer":{"id":"x","address":"a\n:1","cluster_address":"a:1","version":"1"}}"#,
            r#"{"proffer":{"id":"","address":"a:1","cluster_address":"a:1","version":"1"}}"#,
        ] {
            assert_eq!(decode(newer.as_bytes()), Ballot::Newer, "{newer}");
        }
        let more = r#"{"proffer":{"id":"x","address":"a:1","cluster_address":"a:1","version":"1","more":1}}"#;
        assert!(matches!(decode(more.as_bytes()), Ballot::Ours(_)));
    }
}
