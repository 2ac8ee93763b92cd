//! What arrives over HTTP: who calls and from where, bodies in JSON, streams of events, and what ZooKeeper holds of masters.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderValue, Method, Uri};
use proffer_leader::parsers::{check_ballot, read_ballot, write_ballot};
use proffer_model::{Secret, code};
use proffer_server::auth::{Guard, LocalToken};
use proffer_server::client::problem_of;
use proffer_server::http::decode_json;
use proffer_server::limits::EVENT_LEN_MAX;
use proffer_server::log::Untrusted;
use proffer_server::parsers::admit;
use proffer_server::sse::Parser;
use serde::{Deserialize, Serialize};

use crate::expect::{accepted, refused, text};
use crate::input::Input;

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Host, Origin and Authorization: whoever is let in named this server, and nobody without the token is the owner.
pub(crate) fn http_intake(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let Some(Ok(uri)) = lines.next().map(Uri::try_from) else {
        return;
    };
    let mut request = Request::builder().method(Method::GET).uri(uri);
    let mut hosts = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let Ok(value) = HeaderValue::from_bytes(value) else {
            continue;
        };
        let name = [HOST, ORIGIN, AUTHORIZATION][usize::from(*name) % 3].clone();
        if name == HOST {
            hosts.push(value.clone());
        }
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Body::empty()) else {
        return;
    };
    let has_token = request
        .headers()
        .get_all(AUTHORIZATION)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains(TOKEN)));
    let is_elsewhere = |text: &[u8]| {
        text.windows(TOKEN.len())
            .any(|part| part == TOKEN.as_bytes())
    };
    let has_token_elsewhere = is_elsewhere(request.uri().to_string().as_bytes())
        || [HOST, ORIGIN].iter().any(|name| {
            let mut values = request.headers().get_all(name).iter();
            values.any(|value| is_elsewhere(value.as_bytes()))
        });
    let authority = request.uri().authority().cloned();
    let guard =
        Guard::new(LocalToken::new(Secret::new(TOKEN.to_owned())), false).names(["Master.example"]);
    let local = SocketAddr::from(([192, 0, 2, 7], 5050));
    match admit(&guard, request, local, local) {
        Err(problem) => {
            refused(&problem);
            let is_known = problem.is(code::AUTH_FOREIGN_ORIGIN) || problem.is(code::AUTH_MISSING);
            assert!(is_known, "{problem}");
            // What a page says of itself is told back to it.
            assert!(has_token_elsewhere || !problem.to_string().contains(TOKEN));
        }
        Ok(principal) => {
            let principal = principal.expect("whoever passes has a name");
            assert!(hosts.len() <= 1);
            let named = authority.map(|authority| authority.to_string());
            let hosts = hosts
                .iter()
                .map(|host| host.to_str().unwrap_or("?").to_owned());
            let all: Vec<String> = named.into_iter().chain(hosts).collect();
            assert!(
                !all.is_empty() && all.iter().all(|host| is_this_server(host)),
                "{all:?}"
            );
            assert!(principal.as_str() != "local" || has_token);
        }
    }
}

fn is_this_server(authority: &str) -> bool {
    let host = authority.to_ascii_lowercase();
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default().to_owned(),
        None => host.split(':').next().unwrap_or_default().to_owned(),
    };
    let is_ours = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip == IpAddr::from([192, 0, 2, 7])
    };
    matches!(bare.as_str(), "localhost" | "master.example") || bare.parse().is_ok_and(is_ours)
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct Body1 {
    name: String,
    count: Option<u16>,
    #[serde(default)]
    list: Vec<Body1>,
    map: Option<std::collections::BTreeMap<String, i64>>,
}

/// Bodies in JSON, and problems in answers.
pub(crate) fn json_intake(data: &[u8]) {
    if let Some(body) = accepted(decode_json::<Body1>(data)) {
        let written = serde_json::to_vec(&body).expect("it is plain");
        assert_eq!(decode_json::<Body1>(&written), Ok(body));
    }
    accepted(decode_json::<serde_json::Value>(data));
    if let Some(problem) = problem_of(data) {
        assert!(!problem.code.is_empty());
    }
    if let Some(text) = text(data) {
        let shown = Untrusted(text).to_string();
        assert!(!shown.chars().any(char::is_control) && shown.len() <= 4 * 1024);
    }
}

/// A stream of events says the same however it is cut into pieces.
pub(crate) fn event_stream(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = Parser::new().push(stream);
    let mut parser = Parser::new();
    let mut events = Vec::new();
    let mut failure = None;
    for piece in stream.chunks(usize::from(*cut).max(1)) {
        match parser.push(piece) {
            Ok(more) => events.extend(more),
            Err(problem) => failure = Some(problem),
        }
    }
    match whole {
        Ok(whole) => {
            assert_eq!(failure, None);
            assert_eq!(events, whole);
            for event in &whole {
                assert!(!event.name.is_empty() && event.data.len() <= EVENT_LEN_MAX);
                // Written by another, it would be read as the same.
                let data: Vec<String> = event
                    .data
                    .split('\n')
                    .map(|line| format!("data: {line}\n"))
                    .collect();
                let text = format!(
                    "event: {}\nid: {}\n{}\n",
                    event.name,
                    event.id,
                    data.concat()
                );
                let again = Parser::new().push(text.as_bytes());
                assert_eq!(again.as_deref(), Ok(std::slice::from_ref(event)));
            }
        }
        Err(problem) => {
            refused(&problem);
            assert_eq!(failure, Some(problem));
        }
    }
}

/// What ZooKeeper holds of masters, which anybody may have written.
pub(crate) fn ballots(data: &[u8]) {
    let Some(leader) = read_ballot(data) else {
        return;
    };
    assert_eq!(check_ballot(&leader), Ok(()));
    let mut input = Input::new(data);
    let ip = input.choice(&[
        None,
        Some(IpAddr::from([10, 0, 0, 1])),
        Some(IpAddr::from([0u16; 8])),
    ]);
    assert_eq!(read_ballot(&write_ballot(&leader, ip)), Some(leader));
}
