//! What is put into sandboxes, and as what tasks are to be found.

use std::collections::BTreeMap;

use proffer_model::fetch::check_fetches;
use proffer_model::limits::{ENTRIES_MAX, FETCHES_MAX};
use proffer_model::{Discovery, DiscoveryPort, Fetch, Problem, Visibility};

use crate::fields::{check_count, decode_list, decode_system_text, decode_text, unknown_value};
use crate::v1;

/// What is fetched, for the wire.
pub(crate) fn encode_fetch(fetch: &Fetch) -> v1::Fetch {
    v1::Fetch {
        uri: fetch.uri.clone(),
        output: fetch.output.clone().unwrap_or_default(),
        executable: fetch.is_executable,
        extract: fetch.is_extracted,
        cache: fetch.is_cached,
        sha256: fetch.sha256.clone().unwrap_or_default(),
    }
}

/// What is fetched, from the wire.
pub(crate) fn decode_fetches(fetches: Vec<v1::Fetch>) -> Result<Vec<Fetch>, Problem> {
    let fetches = decode_list(fetches, "fetch", FETCHES_MAX, |fetch: v1::Fetch| {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Fetch {
            uri: decode_system_text(fetch.uri, "uri")?,
            output: given(decode_system_text(fetch.output, "output")?),
            is_executable: fetch.executable,
            is_extracted: fetch.extract,
            is_cached: fetch.cache,
            sha256: given(decode_text(fetch.sha256, "sha256")?),
        })
    })?;
    check_fetches(&fetches)?;
    Ok(fetches)
}

/// As what a task is to be found, for the wire.
pub(crate) fn encode_discovery(discovery: &Discovery) -> v1::Discovery {
    v1::Discovery {
        name: discovery.name.clone(),
        visibility: encode_visibility(discovery.visibility).into(),
        environment: discovery.environment.clone(),
        location: discovery.location.clone(),
        version: discovery.version.clone(),
        labels: discovery.labels.clone().into_iter().collect(),
        ports: discovery.ports.iter().map(encode_port).collect(),
    }
}

/// As what a task is to be found, from the wire.
pub(crate) fn decode_discovery(discovery: v1::Discovery) -> Result<Discovery, Problem> {
    Ok(Discovery {
        name: decode_text(discovery.name, "name")?,
        visibility: decode_visibility(discovery.visibility)?.unwrap_or_default(),
        environment: decode_text(discovery.environment, "environment")?,
        location: decode_text(discovery.location, "location")?,
        version: decode_text(discovery.version, "version")?,
        labels: decode_words(discovery.labels)?,
        ports: decode_list(discovery.ports, "ports", ENTRIES_MAX, decode_port)?,
    })
}

fn encode_port(port: &DiscoveryPort) -> v1::DiscoveryPort {
    let visibility = port.visibility.map(encode_visibility).unwrap_or_default();
    v1::DiscoveryPort {
        number: port.number,
        name: port.name.clone(),
        protocol: port.protocol.clone(),
        visibility: visibility.into(),
        labels: port.labels.clone().into_iter().collect(),
    }
}

fn decode_port(port: v1::DiscoveryPort) -> Result<DiscoveryPort, Problem> {
    Ok(DiscoveryPort {
        number: port.number,
        name: decode_text(port.name, "name")?,
        protocol: decode_text(port.protocol, "protocol")?,
        visibility: decode_visibility(port.visibility)?,
        labels: decode_words(port.labels)?,
    })
}

fn encode_visibility(visibility: Visibility) -> v1::Visibility {
    match visibility {
        Visibility::Framework => v1::Visibility::Framework,
        Visibility::Cluster => v1::Visibility::Cluster,
        Visibility::External => v1::Visibility::External,
    }
}

fn decode_visibility(number: i32) -> Result<Option<Visibility>, Problem> {
    match v1::Visibility::try_from(number) {
        Ok(v1::Visibility::Unspecified) => Ok(None),
        Ok(v1::Visibility::Framework) => Ok(Some(Visibility::Framework)),
        Ok(v1::Visibility::Cluster) => Ok(Some(Visibility::Cluster)),
        Ok(v1::Visibility::External) => Ok(Some(Visibility::External)),
        Err(_) => Err(unknown_value("visibility", number)),
    }
}

fn decode_words<M: IntoIterator<Item = (String, String)>>(
    labels: M,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut words = BTreeMap::new();
    for (name, value) in labels {
        words.insert(decode_text(name, "labels")?, decode_text(value, "labels")?);
    }
    check_count(words.len(), "labels", ENTRIES_MAX)?;
    Ok(words)
}
