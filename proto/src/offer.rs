//! Offers: one by one; the lists and limits around them are the session's.
//!
//! A lease is a duration from when the offer was sent, since the clocks of two hosts do not agree.

use proffer_model::limits::{DEMAND_ENTRIES_MAX, DURATION_MAX};
use proffer_model::{Fit, Offer, Problem};

use crate::domain::{decode_domain, encode_domain};
use crate::fields::{
    decode_duration, decode_host, decode_id, decode_list, encode_duration, required,
};
use crate::resources::{decode_attributes, decode_resources, encode_attributes, encode_resources};
use crate::v1;

/// An offer for the wire.
pub fn encode_offer(offer: &Offer) -> v1::Offer {
    v1::Offer {
        id: offer.id.to_string(),
        role: offer.role.to_string(),
        agent_id: offer.agent.to_string(),
        host: offer.host.clone(),
        address: offer.address.clone(),
        attributes: encode_attributes(&offer.attributes),
        resources: Some(encode_resources(&offer.resources)),
        fits: offer.fits.iter().map(encode_fit).collect(),
        expires_after_ms: encode_duration(offer.expires_after),
        domain: offer.domain.as_ref().map(encode_domain),
    }
}

/// What an offer was made for, for the wire.
pub fn encode_fit(fit: &Fit) -> v1::Fit {
    v1::Fit {
        demand_id: fit.demand.to_string(),
        count: fit.count,
    }
}

/// An offer from the wire.
pub fn decode_offer(offer: v1::Offer) -> Result<Offer, Problem> {
    let resources = required(offer.resources, "resources")?;
    Ok(Offer {
        id: decode_id(&offer.id, "id")?,
        role: decode_id(&offer.role, "role")?,
        agent: decode_id(&offer.agent_id, "agent_id")?,
        host: decode_host(offer.host, "host")?,
        address: decode_host(offer.address, "address")?,
        attributes: decode_attributes(offer.attributes)?,
        domain: decode_domain(offer.domain)?,
        resources: decode_resources(resources).map_err(|problem| problem.within("resources"))?,
        fits: decode_list(offer.fits, "fits", DEMAND_ENTRIES_MAX, decode_fit)?,
        expires_after: decode_duration(offer.expires_after_ms, "expires_after_ms", DURATION_MAX)?,
    })
}

fn decode_fit(fit: v1::Fit) -> Result<Fit, Problem> {
    Ok(Fit {
        demand: decode_id(&fit.demand_id, "demand_id")?,
        count: fit.count,
    })
}
