//! Whether a request was meant for this server: Host must name it, Origin must be its own.
//!
//! A web page can make a browser send requests here, from a foreign origin or through a name of its own that resolves to
//! 127.0.0.1 (DNS rebinding). The browser tells both in headers that the page cannot forge. Any port passes in Host, since
//! port forwarding changes it; Origin must then agree with it exactly. Pure.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use http::header::{HOST, ORIGIN};
use proffer_model::{Problem, code};

use crate::listen::is_loopback;
use crate::log::Untrusted;

/// Checks Host (or `:authority`) and Origin. `local` is the address on which the request's connection came in, `names` are
/// further names of this server, in lower case. The error is `auth.foreign_origin`.
pub(super) fn check(parts: &Parts, local: IpAddr, names: &[String]) -> Result<(), Problem> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = hosts
        .next()
        .map(|value| value.to_str().ok().and_then(|text| text.parse().ok()));
    if hosts.next().is_some() {
        return Err(refused("the request has more than one Host".to_owned()));
    }
    let header: Option<Authority> = match header {
        Some(None) => return Err(refused("the request's Host cannot be read".to_owned())),
        Some(Some(authority)) => Some(authority),
        None => None,
    };
    // HTTP/2 has the authority in its place; HTTP/1.1 may have it in the request line, where it wins over Host.
    let given = [parts.uri.authority(), header.as_ref()];
    for authority in given.into_iter().flatten() {
        if !is_ours(authority, local, names) {
            let shown = Untrusted(authority.as_str());
            return Err(refused(format!(
                "the request is for the host {shown}, which is not this server"
            )));
        }
    }
    let Some(authority) = given.into_iter().flatten().next() else {
        return Err(refused("the request has no Host".to_owned()));
    };
    check_origin(parts, authority)
}

fn check_origin(parts: &Parts, authority: &Authority) -> Result<(), Problem> {
    for origin in parts.headers.get_all(ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("http://"));
        if !own.is_some_and(|own| own.eq_ignore_ascii_case(authority.as_str())) {
            let shown = String::from_utf8_lossy(origin.as_bytes());
            return Err(refused(format!(
                "the request comes from a page of {}",
                Untrusted(&shown)
            )));
        }
    }
    Ok(())
}

fn is_ours(authority: &Authority, local: IpAddr, names: &[String]) -> bool {
    // `user@host` is never sent by honest clients.
    if authority.as_str().contains('@') {
        return false;
    }
    let host = authority.host().to_ascii_lowercase();
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(&host);
    match bare.parse::<IpAddr>() {
        Ok(ip) => {
            let is_named = |name: &String| name == bare || *name == host;
            is_loopback(ip)
                || ip.to_canonical() == local.to_canonical()
                || names.iter().any(is_named)
        }
        Err(_) => host == "localhost" || names.contains(&host),
    }
}

fn refused(message: String) -> Problem {
    Problem::new(code::AUTH_FOREIGN_ORIGIN, message)
        .hint("call 127.0.0.1, localhost or the address that the server listens on, and not from another site's page")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn verdict(uri: &str, host: Option<&str>, origin: Option<&str>) -> bool {
        let mut request = Request::builder().uri(uri);
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let result = check(
            &parts,
            "192.0.2.7".parse().unwrap(),
            &["master.example", "192.0.2.9", "2001:db8::9"].map(str::to_owned),
        );
        if let Err(problem) = &result {
            assert!(problem.is(code::AUTH_FOREIGN_ORIGIN));
        }
        result.is_ok()
    }

    #[test]
    fn host_must_name_this_server() {
        let table = [
            ("localhost", true),
            ("LocalHost:5050", true),
            ("127.0.0.1:5050", true),
            ("127.8.8.8", true),
            ("[::1]:5050", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.7:5050", true),
            ("master.example:1", true),
            ("MASTER.example", true),
            ("192.0.2.9:5050", true),
            ("[2001:db8::9]:5050", true),
            ("[2001:db8::8]:5050", false),
            ("192.0.2.8", false),
            ("0.0.0.0", false),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost@evil.example", false),
            ("evil.example@localhost", false),
            ("localhost:80:80", false),
            ("", false),
        ];
        for (host, ours) in table {
            assert_eq!(verdict("/", Some(host), None), ours, "Host: {host}");
        }
        assert!(!verdict("/", None, None), "no Host");
        assert!(verdict("http://localhost:5050/", None, None), ":authority");
        assert!(!verdict("http://evil.example/", None, None));
        assert!(!verdict("http://evil.example/", Some("localhost"), None));
        assert!(!verdict("http://localhost/", Some("evil.example"), None));
    }

    #[test]
    fn origin_must_be_the_hosts_own() {
        let table = [
            ("localhost:5050", "http://localhost:5050", true),
            ("localhost", "http://LOCALHOST", true),
            ("localhost:5050", "https://localhost:5050", false),
            ("localhost:5050", "http://localhost:8080", false),
            ("localhost:5050", "http://127.0.0.1:5050", false),
            ("localhost:5050", "http://localhost", false),
            ("localhost:5050", "http://evil.example", false),
            ("localhost:5050", "null", false),
            ("localhost:5050", "", false),
        ];
        for (host, origin, own) in table {
            assert_eq!(
                verdict("/", Some(host), Some(origin)),
                own,
                "Host: {host}, Origin: {origin}"
            );
        }
    }
}
