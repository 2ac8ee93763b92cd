//! What operators decide about roles: the quota that guarantees and limits a subtree, and the weight of its share.

use crate::quantities::{Limits, Quantities};

/// What a role with all that is below it is guaranteed, and the most that it may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Held back for it, while it holds less and nobody else was promised it.
    pub guarantees: Quantities,
    /// Never passed, by offers and tasks together.
    pub limits: Limits,
}

/// The share of a role against its siblings, in thousandths; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(pub u32);

impl Default for Weight {
    fn default() -> Self {
        Self(1_000)
    }
}
