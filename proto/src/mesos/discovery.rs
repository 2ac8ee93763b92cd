//! As what a task is to be found.

use proffer_model::task::{Port, Protocol};
use proffer_model::{Discovery, Visibility};

use super::labels_of;
use super::v1::{self, DiscoveryInfo, discovery_info};

/// In its framework's words, where it has said any; else what its ports are called. None of a task that has neither.
pub fn encode_discovery(
    said: Option<&Discovery>,
    name: &str,
    ports: &[Port],
) -> Option<DiscoveryInfo> {
    if let Some(said) = said {
        return Some(as_said(said));
    }
    let ports: Vec<v1::Port> = ports.iter().map(port).collect();
    (!ports.is_empty()).then(|| DiscoveryInfo {
        visibility: discovery_info::Visibility::Cluster.into(),
        name: Some(name.to_owned()),
        ports: Some(v1::Ports { ports }),
        ..DiscoveryInfo::default()
    })
}

fn port(port: &Port) -> v1::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    v1::Port {
        number: port.number.into(),
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        protocol: Some(protocol.to_owned()),
        ..v1::Port::default()
    }
}

fn as_said(said: &Discovery) -> DiscoveryInfo {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let visibility = |visibility| match visibility {
        Visibility::Framework => discovery_info::Visibility::Framework,
        Visibility::Cluster => discovery_info::Visibility::Cluster,
        Visibility::External => discovery_info::Visibility::External,
    };
    let ports = said.ports.iter().map(|port| v1::Port {
        number: port.number,
        name: given(&port.name),
        protocol: given(&port.protocol),
        visibility: port.visibility.map(|is| visibility(is).into()),
        labels: labels_of(&port.labels),
    });
    let ports: Vec<v1::Port> = ports.collect();
    DiscoveryInfo {
        visibility: visibility(said.visibility).into(),
        name: given(&said.name),
        environment: given(&said.environment),
        location: given(&said.location),
        version: given(&said.version),
        ports: (!ports.is_empty()).then_some(v1::Ports { ports }),
        labels: labels_of(&said.labels),
    }
}
