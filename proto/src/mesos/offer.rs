//! Offers, and what is said of an agent in them.

use std::net::{IpAddr, Ipv4Addr};

use proffer_model::{Attributes, FaultDomain, FrameworkId, Offer, Range};

use super::resources::{ResourceForm, encode_resources};
use super::v1;
use super::v1::domain_info::{FaultDomain as Domain, fault_domain};
use super::v1::{Address, Attribute, DomainInfo, Url, resource, value};

/// An offer for a framework.
pub fn encode_mesos_offer(
    offer: &Offer,
    framework: &FrameworkId,
    form: &ResourceForm,
) -> v1::Offer {
    v1::Offer {
        id: v1::OfferId {
            value: offer.id.to_string(),
        },
        framework_id: v1::FrameworkId {
            value: framework.to_string(),
        },
        agent_id: v1::AgentId {
            value: offer.agent.to_string(),
        },
        hostname: offer.host.clone(),
        domain: offer.domain.as_ref().map(encode_domain),
        url: agent_url(&offer.host, &offer.address),
        resources: encode_resources(&offer.resources, form),
        attributes: encode_attributes(&offer.attributes),
        allocation_info: form
            .allocated_to
            .as_ref()
            .map(|role| resource::AllocationInfo {
                role: Some(role.to_string()),
            }),
        ..v1::Offer::default()
    }
}

/// Where an agent's API is.
pub fn agent_url(host: &str, address: &str) -> Option<Url> {
    let (name, port) = address.rsplit_once(':')?;
    Some(Url {
        scheme: "http".to_owned(),
        address: Address {
            hostname: Some(host.to_owned()),
            ip: Some(ip_of(name).map_or_else(|| name.to_owned(), |ip| ip.to_string())),
            port: port.parse().ok()?,
        },
        path: Some("/slave(1)".to_owned()),
        ..Url::default()
    })
}

/// The address of what is an address, without asking anybody.
fn ip_of(name: &str) -> Option<IpAddr> {
    let name = name.trim_start_matches('[').trim_end_matches(']');
    match name {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        name => name.parse().ok(),
    }
}

/// The texts of attributes that are no text for Mesos, as a pattern: what is encoded here as a number or as ranges.
pub const NUMBER_OR_RANGES: &str = concat!(
    r"[0-9]+\.?[0-9]*([eE][-+]?[0-9]+)?",
    r"|\[\s*[0-9]+\s*-\s*[0-9]+\s*(,\s*[0-9]+\s*-\s*[0-9]+\s*)*\]"
);

/// Attributes, each of the type that Mesos would have read from its text.
pub fn encode_attributes(attributes: &Attributes) -> Vec<Attribute> {
    let all = attributes.iter();
    all.map(|(name, value)| encode_attribute(name.as_str(), value.as_str()))
        .collect()
}

fn encode_attribute(name: &str, text: &str) -> Attribute {
    let bare = |r#type: value::Type| Attribute {
        name: name.to_owned(),
        r#type: r#type.into(),
        ..Attribute::default()
    };
    if let Some(range) = ranges(text) {
        return Attribute {
            ranges: Some(value::Ranges { range }),
            ..bare(value::Type::Ranges)
        };
    }
    match number_of(text) {
        Some(number) => Attribute {
            scalar: Some(value::Scalar { value: number }),
            ..bare(value::Type::Scalar)
        },
        None => Attribute {
            text: Some(value::Text {
                value: text.to_owned(),
            }),
            ..bare(value::Type::Text)
        },
    }
}

/// The number that Mesos would have read from an attribute's text, if it is one.
pub fn number_of(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    let is_one = number.is_finite() && text.starts_with(|c: char| c.is_ascii_digit());
    is_one.then_some(number)
}

/// `[1-2,5-6]`.
fn ranges(text: &str) -> Option<Vec<value::Range>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let one = |part: &str| {
        let (begin, end) = part.trim().split_once('-')?;
        let range = Range {
            begin: begin.trim().parse().ok()?,
            end: end.trim().parse().ok()?,
        };
        (range.begin <= range.end).then_some(value::Range {
            begin: range.begin,
            end: range.end,
        })
    };
    inner.split(',').map(one).collect()
}

/// Where an agent or a master stands.
pub fn encode_domain(domain: &FaultDomain) -> DomainInfo {
    DomainInfo {
        fault_domain: Some(Domain {
            region: fault_domain::RegionInfo {
                name: domain.region.clone(),
            },
            zone: fault_domain::ZoneInfo {
                name: domain.zone.clone(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile_pattern;

    #[test]
    fn the_pattern_of_what_is_no_text_finds_what_is_encoded_as_none() {
        let pattern = compile_pattern(NUMBER_OR_RANGES).expect("compiles");
        for (text, is_text) in [
            ("a", true),
            ("1", false),
            ("12.5", false),
            ("1.", false),
            ("1e5", false),
            ("1E-2", false),
            // Above what may be offered of anything.
            ("1732345678", false),
            ("1e300", false),
            ("1e", true),
            ("-1", true),
            (".5", true),
            ("1a", true),
            ("1.2.3", true),
            ("[1-2]", false),
            ("[1-2, 5-6]", false),
            ("[ 1 - 2 ,5-6 ]", false),
            ("[1-2", true),
            ("[]", true),
            ("[a-b]", true),
            ("١", true),
        ] {
            assert_eq!(pattern.matches(text), !is_text, "{text}");
            let encoded = encode_attribute("a", text);
            assert_eq!(encoded.r#type() == value::Type::Text, is_text, "{text}");
        }
    }
}
