//! What the sidecar is told: apps, their labels, a template, HAProxy's own answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use proffer_discovery::admin::parse_processes;
use proffer_discovery::apps;
use proffer_discovery::digest::Digest;
use proffer_discovery::label;
use proffer_discovery::limits::{LEFT_OUT_MAX, SERVERS_PER_SERVICE_MAX, VHOSTS_PER_PORT_MAX};
use proffer_discovery::model::{GroupFilter, Rules, Service, build, hosts_needed};
use proffer_discovery::name::{AppId, CheckPath, HostName, VirtualHost};
use proffer_discovery::render::{Renderer, Settings, TEMPLATE, digest_in, ports_in};

use crate::expect::{accepted, refused, same_when_printed_as, text};

static RENDERER: LazyLock<Renderer> =
    LazyLock::new(|| Renderer::new(TEMPLATE).expect("the template that is shipped"));

fn settings() -> Settings {
    Settings {
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        http_bind: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
        stats_bind: None,
        stats_socket: "/run/proffer/haproxy.sock".to_owned(),
        descriptors_max: 10_000,
        user: None,
    }
}

/// The app list: whatever is in it, the configuration holds nothing but what our template says and closed types fill in.
pub(crate) fn app_feed(data: &[u8]) {
    let Some(apps) = accepted(apps::decode(data)) else {
        return;
    };
    let addresses: BTreeMap<HostName, IpAddr> = hosts_needed(&apps)
        .into_iter()
        .map(|host| (host, IpAddr::from([10, 0, 0, 9])))
        .collect();
    let rules = Rules {
        filter: GroupFilter::new(["*".to_owned()]),
        reserved: BTreeSet::from([80, 9_090]),
    };
    let routes = build(&apps, &rules, &addresses, &BTreeMap::new());
    assert!(
        routes.left_out.len() <= LEFT_OUT_MAX && routes.left_out.len() <= routes.left_out_count
    );
    for left_out in &routes.left_out {
        refused(&left_out.problem);
        assert!(
            !left_out.app.chars().any(char::is_control),
            "{:?}",
            left_out.app
        );
    }
    let (mut ports, mut names) = (BTreeSet::new(), BTreeSet::new());
    for service in &routes.services {
        assert!(ports.insert(service.port) && !rules.reserved.contains(&service.port));
        assert!(
            names.insert(&service.name),
            "{} is there twice",
            service.name
        );
        assert!(service.vhosts.len() <= VHOSTS_PER_PORT_MAX);
        assert!(service.servers.len() <= SERVERS_PER_SERVICE_MAX);
        let ids: BTreeSet<u16> = service.servers.iter().map(|server| server.id).collect();
        assert_eq!(ids.len(), service.servers.len());
    }
    check_text(&routes.services.iter().collect::<Vec<_>>());
}

/// Every line begins with a word that the template has.
fn check_text(services: &[&Service]) {
    let rendered = RENDERER
        .render(&settings(), services)
        .expect("closed types render");
    assert_eq!(digest_in(&rendered.text), Some(rendered.digest));
    let bound: BTreeSet<u16> = ports_in(&rendered.text).collect();
    assert!(services.iter().all(|service| bound.contains(&service.port)));
    let known: BTreeSet<&str> = TEMPLATE.split_ascii_whitespace().collect();
    for line in rendered.text.lines() {
        assert!(
            !line.chars().any(|c| c.is_control() && c != '\t'),
            "{line:?}"
        );
        let first = line.split_ascii_whitespace().next();
        assert!(
            first.is_none_or(|word| word.starts_with('#') || known.contains(word)),
            "{line}"
        );
    }
}

/// Labels: lines of `key=value`.
pub(crate) fn labels(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let pairs = text.split('\u{1}').filter_map(|line| line.split_once('='));
    let labels: BTreeMap<String, String> = pairs
        .map(|(key, value)| (format!("HAPROXY_{key}"), value.to_owned()))
        .collect();
    let Some(parsed) = accepted(label::parse(&labels)) else {
        return;
    };
    for (index, port) in &parsed.ports {
        assert!(*index <= 999 && port.port != Some(0) && port.vhosts.len() <= VHOSTS_PER_PORT_MAX);
        for vhost in &port.vhosts {
            assert_eq!(VirtualHost::parse(&vhost.to_string()).as_ref(), Some(vhost));
        }
    }
    let is_plain =
        |group: &String| !group.is_empty() && !group.contains(|c: char| c.is_control() || c == ' ');
    assert!(parsed.groups.iter().all(is_plain));
    assert!(
        parsed
            .ignored
            .iter()
            .all(|name| !name.chars().any(char::is_control))
    );
}

/// Names that stand in HAProxy's configuration.
pub(crate) fn proxy_names(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let is_safe = |text: &str| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "\"'\\#{}%$`()<>|".contains(c);
        assert!(!text.is_empty() && !text.contains(bad), "{text:?}");
    };
    if let Some(id) = accepted(AppId::parse(text)) {
        is_safe(id.as_str());
        assert_eq!(AppId::parse(id.as_str()).as_ref(), Ok(&id));
    }
    if let Some(host) = HostName::parse(text) {
        is_safe(host.as_str());
        assert_eq!(
            HostName::parse(host.as_str()).as_ref(),
            Some(&host),
            "{text:?}"
        );
    }
    if CheckPath::parse(text).is_some() {
        is_safe(text);
    }
    if let Some(vhost) = VirtualHost::parse(text) {
        assert_eq!(
            VirtualHost::parse(&vhost.to_string()),
            Some(vhost),
            "{text:?}"
        );
    }
    same_when_printed_as(text, Digest::parse);
}

/// HAProxy's answers on its socket.
pub(crate) fn proxy_answers(data: &[u8]) {
    let answer = String::from_utf8_lossy(data);
    if let Some(processes) = parse_processes(&answer) {
        assert!(processes.master > 0);
    }
    if let Some(digest) = digest_in(&answer) {
        assert_eq!(digest.to_string().len(), 16);
    }
    assert!(ports_in(&answer).count() <= data.len());
}

/// A template of the operator's own: it is refused, or renders or says why not, and never runs away.
pub(crate) fn proxy_template(data: &[u8]) {
    let Some(text) = text(data) else { return };
    let Some(renderer) = accepted(Renderer::new(text)) else {
        return;
    };
    if let Some(rendered) = accepted(renderer.render(&settings(), &[])) {
        assert!(rendered.text.ends_with('\n'));
    }
}
