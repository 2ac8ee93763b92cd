//! Offers: leases on resources of one agent for one framework and role.

use std::time::Duration;

use crate::agent::FaultDomain;
use crate::attribute::Attributes;
use crate::id::{AgentId, DemandId, OfferId, Role};
use crate::resources::Resources;

/// Resources of one agent, offered to one framework until they expire, are rescinded, accepted or declined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Names the offer; cannot be guessed.
    pub id: OfferId,
    /// The role that would pay.
    pub role: Role,
    /// Whose resources.
    pub agent: AgentId,
    /// The agent's host name.
    pub host: String,
    /// Where the agent's API is reached, `host:port`.
    pub address: String,
    /// What the agent says about itself.
    pub attributes: Attributes,
    /// Where the agent stands, when it says so.
    pub domain: Option<FaultDomain>,
    /// What is offered.
    pub resources: Resources,
    /// Which demand entries it is for, and how many of each fit.
    pub fits: Vec<Fit>,
    /// How long it stands, from when it was sent.
    pub expires_after: Duration,
}

/// How many instances of a demand entry an offer holds resources for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The entry.
    pub demand: DemandId,
    /// How many.
    pub count: u32,
}
