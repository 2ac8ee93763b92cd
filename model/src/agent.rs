//! What the cluster knows about an agent.

use std::fmt;

use crate::attribute::Attributes;
use crate::code;
use crate::limits::ID_LEN_MAX;
use crate::problem::Problem;
use crate::resources::{Resources, clipped};

/// What an agent says of itself when it registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDescription {
    /// The host's name, for predicates and people.
    pub host: String,
    /// Where its API is reached, `host:port`.
    pub address: String,
    /// All it has.
    pub resources: Resources,
    /// What it says besides.
    pub attributes: Attributes,
    /// Where it stands, when it says so: what fails together.
    pub domain: Option<FaultDomain>,
    /// The version of the program.
    pub version: String,
}

/// A place whose parts fail together: a zone (a rack, a room) within a region (a data centre).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultDomain {
    /// The region.
    pub region: String,
    /// The zone, unique within its region.
    pub zone: String,
}

/// That an agent is to be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Since when, wall milliseconds.
    pub since_wall_ms: u64,
    /// From then, when there is a deadline.
    pub deadline: Option<std::time::Duration>,
    /// What was left of the deadline when this was written: the next leader goes on with that.
    pub left: Option<std::time::Duration>,
    /// Nothing was left on it: it may be switched off.
    pub is_drained: bool,
    /// It is gone for good when nothing is left on it.
    pub marks_gone: bool,
}

impl FaultDomain {
    /// Checks and wraps: both are given, of at most 200 bytes, without white space and control characters.
    pub fn new(region: &str, zone: &str) -> Result<Self, Problem> {
        for (field, text) in [("region", region), ("zone", zone)] {
            let is_wrong = |c: char| c.is_whitespace() || c.is_control();
            if text.is_empty() || text.len() > ID_LEN_MAX || text.contains(is_wrong) {
                let message = format!("{:?} is not the name of a {field}", clipped(text));
                return Err(Problem::new(code::FIELD_INVALID, message)
                    .field(field)
                    .hint("give both, of 1 to 200 bytes without white space, such as eu-1 and b"));
            }
        }
        Ok(Self {
            region: region.to_owned(),
            zone: zone.to_owned(),
        })
    }
}

/// Where an agent stands with the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentState {
    /// Known from the log, not seen in this term yet.
    Recovering,
    /// Connected and heard from.
    Connected,
    /// Silent for a few seconds: nothing is offered from it. In memory only.
    Suspect,
    /// Silent so long that its tasks are reported unreachable. Durable.
    Unreachable,
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recovering => "recovering",
            Self::Connected => "connected",
            Self::Suspect => "suspect",
            Self::Unreachable => "unreachable",
        })
    }
}
