//! Who leads.

use proffer_model::{Leader, Problem};

use crate::fields::{decode_text, missing};
use crate::v1;

/// The header of an answer that says where the leader is: `host:port` of the listener that was asked.
pub const LEADER_HEADER: &str = "proffer-leader";

/// A master, for the wire.
pub fn encode_leader(leader: &Leader) -> v1::Leader {
    v1::Leader {
        id: leader.id.clone(),
        address: leader.address.clone(),
        cluster_address: leader.cluster_address.clone(),
        version: leader.version.clone(),
    }
}

/// A master, from the wire.
pub fn decode_leader(leader: v1::Leader) -> Result<Leader, Problem> {
    for (field, text) in [
        ("address", &leader.address),
        ("cluster_address", &leader.cluster_address),
    ] {
        if text.is_empty() {
            return Err(missing(field));
        }
    }
    Ok(Leader {
        id: decode_text(leader.id, "id")?,
        address: decode_text(leader.address, "address")?,
        cluster_address: decode_text(leader.cluster_address, "cluster_address")?,
        version: decode_text(leader.version, "version")?,
    })
}
