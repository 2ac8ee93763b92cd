//! HAProxy's configuration as text: a Tera template over closed types.
//!
//! Nothing is escaped, because nothing needs to be: every value is a name, a number or an address of a grammar (see
//! `name.rs`, `label.rs`). The digest in the text is of everything that went into it, so that equal digests mean equal
//! configurations, also after HAProxy tells it back.

use std::net::{IpAddr, SocketAddr};

use proffer_model::{Problem, code};
use serde::Serialize;
use tera::{Context, Tera};

use crate::digest::Digest;
use crate::label::{Balance, Mode};
use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_MIN, DESCRIPTORS_RESERVED, HARD_STOP_AFTER};
use crate::model::Service;
use crate::name::CheckPath;

/// The template shipped; also what `--template` starts from.
pub const TEMPLATE: &str = include_str!("../../../config/haproxy/haproxy.cfg.tera");

/// What goes into the configuration besides the services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where service ports listen.
    pub bind: IpAddr,
    /// The port shared by host name, if there is one.
    pub http_bind: Option<SocketAddr>,
    /// HAProxy's own statistics, if wanted.
    pub stats_bind: Option<SocketAddr>,
    /// Path of HAProxy's socket; holds nothing that HAProxy would read as syntax.
    pub stats_socket: String,
    /// The descriptors that HAProxy may have.
    pub descriptors_max: u64,
    /// A user and a group to run as.
    pub user: Option<(String, String)>,
}

/// A configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text, ending in a newline.
    pub text: String,
    /// What names it.
    pub digest: Digest,
}

/// A template, read and compiled.
#[derive(Debug)]
pub struct Renderer {
    tera: Tera,
    template: Digest,
}

/// The name of the only template.
const NAME: &str = "haproxy.cfg";

impl Renderer {
    /// Compiles a template; a fault in it is `config.invalid` and tells the line.
    pub fn new(template: &str) -> Result<Self, Problem> {
        let mut tera = Tera::default();
        tera.autoescape_on(Vec::<String>::new());
        tera.add_raw_template(NAME, template).map_err(|error| {
            Problem::new(
                code::CONFIG_INVALID,
                format!("the template cannot be read: {error}"),
            )
            .field("template")
            .hint("start from config/haproxy/haproxy.cfg.tera, which documents its data")
        })?;
        Ok(Self {
            tera,
            template: Digest::of(template.as_bytes()),
        })
    }

    /// Renders these services.
    pub fn render(&self, settings: &Settings, services: &[&Service]) -> Result<Rendered, Problem> {
        let mut data = data_of(settings, services);
        let bytes = serde_json::to_vec(&data).map_err(|error| {
            Problem::new(
                code::INTERNAL,
                format!("the template's data cannot be written: {error}"),
            )
        })?;
        let digest = Digest::of(&[&bytes[..], self.template.to_string().as_bytes()].concat());
        data.global.digest = digest.to_string();
        let text = Context::from_serialize(&data)
            .and_then(|context| self.tera.render(NAME, &context))
            .map_err(|error| {
                let message = format!("the template cannot be rendered: {error}");
                Problem::new(code::CONFIG_INVALID, message)
                    .field("template")
                    .hint("the head of config/haproxy/haproxy.cfg.tera documents the data")
            })?;
        let text = format!("{}\n", text.trim());
        Ok(Rendered { text, digest })
    }
}

/// The digest that a configuration's text tells of itself.
pub fn digest_in(text: &str) -> Option<Digest> {
    let line = text.lines().find_map(|line| {
        let line = line.trim();
        let value = line
            .strip_prefix("description")
            .map(|rest| rest.trim_start_matches(':'));
        value?.trim().strip_prefix("proffer-")
    });
    line.and_then(Digest::parse)
}

/// The ports that a configuration binds, at whatever address.
pub fn ports_in(text: &str) -> impl Iterator<Item = u16> + '_ {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = (words.next() == Some("bind"))
            .then(|| words.next())
            .flatten()?;
        address.rsplit_once(':')?.1.parse().ok()
    })
}

#[derive(Serialize)]
struct Data<'a> {
    global: Global<'a>,
    http: Option<Http<'a>>,
    stats: Option<Stats>,
    services: Vec<ServiceData<'a>>,
}

#[derive(Serialize)]
struct Global<'a> {
    digest: String,
    max_connections: u64,
    stats_socket: &'a str,
    hard_stop_after: u64,
    user: Option<&'a str>,
    group: Option<&'a str>,
}

#[derive(Serialize)]
struct Http<'a> {
    bind: SocketAddr,
    hosts: Vec<Host<'a>>,
}

#[derive(Serialize)]
struct Host<'a> {
    name: &'a str,
    is_wildcard: bool,
    backend: &'a str,
}

#[derive(Serialize)]
struct Stats {
    bind: SocketAddr,
}

#[derive(Serialize)]
struct ServiceData<'a> {
    app: &'a str,
    name: &'a str,
    bind: SocketAddr,
    mode: Mode,
    balance: Balance,
    is_sticky: bool,
    check_path: Option<&'a CheckPath>,
    servers: Vec<ServerData<'a>>,
}

#[derive(Serialize)]
struct ServerData<'a> {
    name: &'a str,
    endpoint: SocketAddr,
    id: u16,
    cookie: String,
}

fn data_of<'a>(settings: &'a Settings, services: &[&'a Service]) -> Data<'a> {
    Data {
        global: Global {
            digest: String::new(),
            max_connections: max_connections(settings.descriptors_max, services),
            stats_socket: &settings.stats_socket,
            hard_stop_after: HARD_STOP_AFTER.as_secs(),
            user: settings.user.as_ref().map(|(user, _)| user.as_str()),
            group: settings.user.as_ref().map(|(_, group)| group.as_str()),
        },
        http: settings.http_bind.map(|bind| Http {
            bind,
            hosts: hosts_of(services),
        }),
        stats: settings.stats_bind.map(|bind| Stats { bind }),
        services: services
            .iter()
            .map(|service| service_data(settings, service))
            .collect(),
    }
}

/// As many connections as the descriptors allow: each takes two, each server one for its check, each service one to listen.
/// In steps, so that a few servers more or less change nothing else.
fn max_connections(descriptors_max: u64, services: &[&Service]) -> u64 {
    let count: usize = services
        .iter()
        .map(|service| service.servers.len() + 1)
        .sum();
    let count = u64::try_from(count).unwrap_or(u64::MAX / 2) + 1;
    let kept_back = count
        .next_multiple_of(DESCRIPTORS_RESERVED)
        .saturating_add(DESCRIPTORS_RESERVED);
    (descriptors_max.saturating_sub(kept_back) / 2).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX)
}

/// Exact names first, then wildcards, the longest first: the order of specificity.
fn hosts_of<'a>(services: &[&'a Service]) -> Vec<Host<'a>> {
    let mut hosts: Vec<Host<'_>> = services
        .iter()
        .flat_map(|service| {
            service.vhosts.iter().map(|vhost| Host {
                name: vhost.name.as_str(),
                is_wildcard: vhost.is_wildcard,
                backend: &service.name,
            })
        })
        .collect();
    hosts.sort_by_key(|host| {
        (
            host.is_wildcard,
            std::cmp::Reverse(host.name.len()),
            host.name,
        )
    });
    hosts
}

fn service_data<'a>(settings: &Settings, service: &'a Service) -> ServiceData<'a> {
    let server_data = |server: &'a crate::model::Server| ServerData {
        name: &server.name,
        endpoint: SocketAddr::new(server.address, server.port),
        id: server.id,
        cookie: Digest::of(server.name.as_bytes()).to_string(),
    };
    ServiceData {
        app: service.app.as_str(),
        name: &service.name,
        bind: SocketAddr::new(settings.bind, service.port),
        mode: service.mode,
        balance: service.balance,
        is_sticky: service.is_sticky,
        check_path: service.check_path.as_ref(),
        servers: service.servers.iter().map(server_data).collect(),
    }
}

#[cfg(test)]
mod tests;
