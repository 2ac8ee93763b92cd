//! A master's address, as an author writes it.
//!
//! The token travels with every call, so an address beyond this host is refused until it can be reached over TLS, unless
//! the author spells out that clear text is meant.

use std::net::IpAddr;

use proffer_model::{Problem, code};
use tonic::transport::{Endpoint, Uri};

use crate::limits::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MASTERS_MAX};

/// Where a master is reached.
#[derive(Clone, Debug)]
pub(crate) struct Master {
    /// `host:port`, for people.
    pub(crate) address: String,
    /// How it is connected to.
    pub(crate) endpoint: Endpoint,
}

/// Reads a list of masters; a problem names the one at fault.
pub(crate) fn parse_masters(
    masters: &[String],
    allow_plaintext: bool,
) -> Result<Vec<Master>, Problem> {
    let wrong = |message: &str| {
        Problem::new(code::CONFIG_INVALID, message)
            .field("masters")
            .hint("give the masters as host:port, such as 127.0.0.1:5050")
    };
    if masters.is_empty() {
        return Err(wrong("no master is given"));
    }
    if masters.len() > MASTERS_MAX {
        return Err(wrong(&format!("more than {MASTERS_MAX} masters are given")));
    }
    let parse = |(i, text): (usize, &String)| {
        parse_master(text, allow_plaintext)
            .map_err(|problem| problem.within(format_args!("masters[{i}]")))
    };
    masters.iter().enumerate().map(parse).collect()
}

fn parse_master(text: &str, allow_plaintext: bool) -> Result<Master, Problem> {
    let wrong = |message: String| {
        Problem::new(code::CONFIG_INVALID, message).hint("give host:port, such as 127.0.0.1:5050")
    };
    let address = text.trim().trim_end_matches('/');
    let address = address.strip_prefix("http://").unwrap_or(address);
    let uri: Uri = format!("http://{address}/")
        .parse()
        .map_err(|_| wrong(format!("{text:?} is not an address")))?;
    let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
    let is_bare = uri.path() == "/" && uri.query().is_none() && !address.contains('@');
    if host.is_empty() || port.is_none_or(|port| port == 0) || !is_bare {
        return Err(wrong(format!("{text:?} is not host:port")));
    }
    if !allow_plaintext && !is_loopback(host) {
        let message = format!("{address} is not on this host, and the token would be readable");
        return Err(wrong(message)
            .hint("connect to a master on this host, or set insecure_allow_plaintext"));
    }
    let endpoint = Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    Ok(Master {
        address: address.to_owned(),
        endpoint,
    })
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || literal.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bad_ones_named() {
        for (text, address) in [
            ("127.0.0.1:5050", "127.0.0.1:5050"),
            ("http://localhost:5050/", "localhost:5050"),
            ("[::1]:5050", "[::1]:5050"),
        ] {
            let masters = parse_masters(&[text.into()], false).expect(text);
            assert_eq!(masters[0].address, address);
        }
        for bad in [
            "",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "127.0.0.1:5050/path",
            "user@127.0.0.1:5050",
            "https://127.0.0.1:5050",
            "a b:1",
            "10.0.0.1:5050",
            "master.example:5050",
        ] {
            let masters = ["127.0.0.1:5050".into(), bad.into()];
            let problem = parse_masters(&masters, false).expect_err(bad);
            assert!(problem.is(code::CONFIG_INVALID), "{problem}");
            assert_eq!(problem.field, "masters[1]", "{problem}");
            assert!(!problem.hint.is_empty(), "{problem}");
        }
        parse_masters(&[], false).expect_err("none");
        parse_masters(&["10.0.0.1:5050".into()], true).expect("spelled out");
    }
}
