//! Which services are served, by which servers: a pure function of the app list.
//!
//! Everything in a [`Service`] is a closed type, so that no text of an app's owner reaches HAProxy's configuration. An app
//! with a bad label, a port that another app has, an instance without a usable address: each is left out by name with a
//! reason, and the rest is served. Order is that of the app ids, so the same list gives the same configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proffer_model::{Problem, code};

use crate::apps::{App, AppPort, BadApp, Task};
use crate::label::{self, AppLabels, Balance, Mode, PortLabels};
use crate::limits::{LEFT_OUT_MAX, SERVERS_PER_SERVICE_MAX};
use crate::name::{self, AppId, CheckPath, HostName, VirtualHost, quote};

/// One port of one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The app.
    pub app: AppId,
    /// The port that HAProxy listens on.
    pub port: u16,
    /// The name of its frontend and backend.
    pub name: String,
    /// How connections are treated.
    pub mode: Mode,
    /// How a server is chosen.
    pub balance: Balance,
    /// Whether a client stays with its server, by cookie.
    pub is_sticky: bool,
    /// Hosts that lead here on the shared HTTP port.
    pub vhosts: Vec<VirtualHost>,
    /// What HAProxy asks the servers for; without it, a connection must be accepted.
    pub check_path: Option<CheckPath>,
    /// Where it runs, in the order of names.
    pub servers: Vec<Server>,
}

/// One healthy instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Its name, unique in the service.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its id, unique in the service, the same for the same name where possible.
    pub id: u16,
}

/// Something that is not served, or a label without effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The app, or what an unreadable one calls itself, escaped.
    pub app: String,
    /// What of it.
    pub what: Part,
    /// Why, and what to do.
    pub problem: Problem,
}

/// What of an app is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All of it.
    App,
    /// One of its ports.
    Service,
    /// One host name.
    VirtualHost,
    /// One instance.
    Instance,
    /// Only a label, which has no effect.
    Label,
}

/// What is served and what is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// In the order of app id and port.
    pub services: Vec<Service>,
    /// In about the same order; at most [`LEFT_OUT_MAX`].
    pub left_out: Vec<LeftOut>,
    /// Those and the ones beyond the limit.
    pub left_out_count: usize,
}

impl Routes {
    /// The number of servers of all services.
    pub fn server_count(&self) -> usize {
        self.services
            .iter()
            .map(|service| service.servers.len())
            .sum()
    }
}

/// Which groups of apps this sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFilter(BTreeSet<String>);

impl GroupFilter {
    /// These groups; `*` among them means all apps, also those without a group.
    pub fn new(groups: impl IntoIterator<Item = String>) -> Self {
        Self(groups.into_iter().collect())
    }

    fn admits(&self, groups: &BTreeSet<String>) -> bool {
        self.0.contains("*") || !self.0.is_disjoint(groups)
    }
}

/// What the operator has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The groups served.
    pub filter: GroupFilter,
    /// Ports that the sidecar and HAProxy need for themselves.
    pub reserved: BTreeSet<u16>,
}

/// The host names whose addresses [`build`] needs.
pub fn hosts_needed(apps: &[Result<App, BadApp>]) -> BTreeSet<HostName> {
    let tasks = apps.iter().flatten().flat_map(|app| {
        let has_checks = !app.checks.is_empty();
        app.tasks
            .iter()
            .filter(move |task| task.is_serving(has_checks))
    });
    tasks
        .filter(|task| task.host.parse::<IpAddr>().is_err())
        .filter_map(|task| HostName::parse(&task.host))
        .collect()
}

/// What is served. `addresses` are those of [`hosts_needed`], as far as they are known; `owners` are the names of the
/// services that have had their ports so far: they keep them when another app asks for one.
pub fn build(
    apps: &[Result<App, BadApp>],
    rules: &Rules,
    addresses: &BTreeMap<HostName, IpAddr>,
    owners: &BTreeMap<u16, String>,
) -> Routes {
    let mut routes = Routes::default();
    let mut candidates = Vec::new();
    for app in apps {
        match app {
            Ok(app) => match services_of(app, &rules.filter, addresses) {
                Ok((services, left_out)) => {
                    candidates.extend(services);
                    routes.left_out.extend(left_out);
                }
                Err(problem) => routes.left_out.push(LeftOut {
                    app: app.id.to_string(),
                    what: Part::App,
                    problem,
                }),
            },
            Err(bad) => routes.left_out.push(LeftOut {
                app: bad.id.clone(),
                what: Part::App,
                problem: bad.problem.clone(),
            }),
        }
    }
    settle_ports(candidates, &rules.reserved, owners, &mut routes);
    settle_vhosts(&mut routes);
    routes.left_out_count = routes.left_out.len();
    routes.left_out.truncate(LEFT_OUT_MAX);
    routes
}

type Served = (Vec<Service>, Vec<LeftOut>);

fn services_of(
    app: &App,
    filter: &GroupFilter,
    addresses: &BTreeMap<HostName, IpAddr>,
) -> Result<Served, Problem> {
    let labels = label::parse(&app.labels)?;
    let mut services = Vec::new();
    let mut left_out = notes(app, &labels);
    for (index, port) in app.ports.iter().enumerate() {
        let unlabelled = PortLabels::default();
        let port_labels = labels.ports.get(&index).unwrap_or(&unlabelled);
        let groups = port_labels.groups.as_ref().unwrap_or(&labels.groups);
        let is_served = port.service_port > 0 && port.is_tcp && !port_labels.is_disabled;
        if !is_served || !filter.admits(groups) {
            continue;
        }
        let mut service = shape_of(app, index, port, port_labels);
        add_servers(&mut service, app, index, addresses, &mut left_out)?;
        services.push(service);
    }
    Ok((services, left_out))
}

/// Labels that have no effect, each said once.
fn notes(app: &App, labels: &AppLabels) -> Vec<LeftOut> {
    let unknown = labels
        .ignored
        .iter()
        .map(|label| format!("the label {label} is not supported"));
    let beyond = labels
        .ports
        .keys()
        .filter(|index| **index >= app.ports.len())
        .map(|index| {
            format!(
                "there are labels for port {index}, and the app has {} ports",
                app.ports.len()
            )
        });
    unknown
        .chain(beyond)
        .map(|message| LeftOut {
            app: app.id.to_string(),
            what: Part::Label,
            problem: Problem::new(code::LABEL_INVALID, format!("{message}: no effect"))
                .field("labels"),
        })
        .collect()
}

fn shape_of(app: &App, index: usize, port: &AppPort, labels: &PortLabels) -> Service {
    let check = app
        .checks
        .iter()
        .find(|check| check.is_http() && check.port.is_none() && check.port_index == index);
    let implied = if labels.vhosts.is_empty() && check.is_none() {
        Mode::Tcp
    } else {
        Mode::Http
    };
    let mode = labels.mode.unwrap_or(implied);
    Service {
        app: app.id.clone(),
        port: labels.port.unwrap_or(port.service_port),
        name: name::backend_name(&app.id, port.service_port),
        mode,
        balance: labels.balance,
        is_sticky: labels.is_sticky && mode == Mode::Http,
        vhosts: if mode == Mode::Http {
            labels.vhosts.clone()
        } else {
            Vec::new()
        },
        check_path: check.and_then(|check| CheckPath::parse(path_or_root(&check.path))),
        servers: Vec::new(),
    }
}

fn path_or_root(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

fn add_servers(
    service: &mut Service,
    app: &App,
    index: usize,
    addresses: &BTreeMap<HostName, IpAddr>,
    left_out: &mut Vec<LeftOut>,
) -> Result<(), Problem> {
    let has_checks = !app.checks.is_empty();
    // By endpoint: two instances cannot share one, so the second is a leftover of the first.
    let mut endpoints: BTreeMap<(IpAddr, u16), String> = BTreeMap::new();
    for task in app.tasks.iter().filter(|task| task.is_serving(has_checks)) {
        match endpoint_of(app, task, index, addresses) {
            Ok((address, port, host)) => {
                endpoints.entry((address, port)).or_insert(host);
            }
            Err(problem) => left_out.push(LeftOut {
                app: app.id.to_string(),
                what: Part::Instance,
                problem: problem.within(format!("tasks[{}]", quote(&task.id))),
            }),
        }
    }
    if endpoints.len() > SERVERS_PER_SERVICE_MAX {
        let message = format!(
            "{} instances are more than {SERVERS_PER_SERVICE_MAX}",
            endpoints.len()
        );
        return Err(Problem::new(code::FIELD_TOO_LONG, message).field("tasks"));
    }
    service.servers = name_servers(endpoints);
    Ok(())
}

/// Gives names and ids, both unique; ids are given in the order of names, so the same set gives the same ids.
fn name_servers(endpoints: BTreeMap<(IpAddr, u16), String>) -> Vec<Server> {
    let mut by_name: BTreeMap<String, (IpAddr, u16)> = BTreeMap::new();
    for ((address, port), host) in endpoints {
        let mut name = name::server_name(&host, address, port);
        while by_name.contains_key(&name) {
            name.push('_');
        }
        by_name.insert(name, (address, port));
    }
    let mut taken = BTreeSet::new();
    let mut servers = Vec::new();
    for (name, (address, port)) in by_name {
        let Some(id) = name::server_id(&name, |id| !taken.contains(&id)) else {
            continue;
        };
        taken.insert(id);
        servers.push(Server {
            name,
            address,
            port,
            id,
        });
    }
    servers
}

/// The address and port of one instance, and the host in its name.
fn endpoint_of(
    app: &App,
    task: &Task,
    index: usize,
    addresses: &BTreeMap<HostName, IpAddr>,
) -> Result<(IpAddr, u16, String), Problem> {
    let own = task
        .ip_addresses
        .first()
        .and_then(|own| own.ip_address.parse::<IpAddr>().ok());
    let container_port = app
        .ports
        .get(index)
        .map(|port| port.container_port)
        .unwrap_or_default();
    if let Some(address) = own.filter(|_| app.has_own_addresses && container_port > 0) {
        return Ok((address, container_port, address.to_string()));
    }
    let port = task
        .ports
        .get(index)
        .copied()
        .filter(|port| *port > 0)
        .ok_or_else(|| {
            Problem::new(code::FIELD_MISSING, format!("there is no port {index}")).field("ports")
        })?;
    if let Ok(address) = task.host.parse::<IpAddr>() {
        return Ok((address, port, address.to_string()));
    }
    let host = HostName::parse(&task.host).ok_or_else(|| {
        let message = format!(
            "{} is neither a host name nor an address",
            quote(&task.host)
        );
        Problem::new(code::FIELD_INVALID, message).field("host")
    })?;
    let address = addresses.get(&host).ok_or_else(|| {
        Problem::new(
            code::PEER_UNREACHABLE,
            format!("the host name {} has no address", host.as_str()),
        )
        .field("host")
        .hint("start the agent with an address in --advertise, or make the name resolve here")
    })?;
    Ok((*address, port, host.as_str().to_owned()))
}

/// Gives each port, and each name, to one service: the owner so far, else the first by app id.
fn settle_ports(
    mut candidates: Vec<Service>,
    reserved: &BTreeSet<u16>,
    owners: &BTreeMap<u16, String>,
    routes: &mut Routes,
) {
    let owns = |service: &Service| owners.get(&service.port) == Some(&service.name);
    candidates.sort_by_key(|service| (!owns(service), service.app.clone(), service.port));
    let mut ports: BTreeMap<u16, AppId> = BTreeMap::new();
    let mut names: BTreeMap<String, AppId> = BTreeMap::new();
    for service in candidates {
        let owner = ports
            .get(&service.port)
            .or_else(|| names.get(&service.name));
        let owner = match owner {
            Some(app) => Some(app.to_string()),
            None => reserved
                .contains(&service.port)
                .then(|| "the sidecar itself".to_owned()),
        };
        if let Some(owner) = owner {
            let message = format!("service port {} belongs to {owner}", service.port);
            routes.left_out.push(LeftOut {
                app: service.app.to_string(),
                what: Part::Service,
                problem: Problem::new(code::APP_PORT_TAKEN, message)
                    .field("portDefinitions")
                    .hint("choose another service port, or 0 to be given one"),
            });
            continue;
        }
        ports.insert(service.port, service.app.clone());
        names.insert(service.name.clone(), service.app.clone());
        routes.services.push(service);
    }
    routes
        .services
        .sort_by(|a, b| (&a.app, a.port).cmp(&(&b.app, b.port)));
}

/// Gives each host name to one service, the first by app id.
fn settle_vhosts(routes: &mut Routes) {
    let mut owners: BTreeMap<VirtualHost, AppId> = BTreeMap::new();
    for service in &mut routes.services {
        let app = service.app.clone();
        service.vhosts.retain(|vhost| match owners.get(vhost) {
            None => {
                owners.insert(vhost.clone(), app.clone());
                true
            }
            Some(owner) => {
                let message = format!("the host {vhost} belongs to {owner}");
                routes.left_out.push(LeftOut {
                    app: app.to_string(),
                    what: Part::VirtualHost,
                    problem: Problem::new(code::LABEL_INVALID, message)
                        .field("labels")
                        .hint("choose another VHOST"),
                });
                false
            }
        });
    }
}

#[cfg(test)]
mod tests;
