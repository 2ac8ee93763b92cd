//! Where an agent stands. Nothing is said by whoever does not say it; half of it is refused.

use proffer_model::{FaultDomain, Problem};

use crate::v1;

/// Where an agent stands, for the wire.
pub fn encode_domain(domain: &FaultDomain) -> v1::FaultDomain {
    v1::FaultDomain {
        region: domain.region.clone(),
        zone: domain.zone.clone(),
    }
}

/// Where an agent stands, from the wire. The problem's field is that within the message that has a `domain`.
pub fn decode_domain(domain: Option<v1::FaultDomain>) -> Result<Option<FaultDomain>, Problem> {
    domain
        .map(|domain| FaultDomain::new(&domain.region, &domain.zone))
        .transpose()
        .map_err(|problem| problem.within("domain"))
}
