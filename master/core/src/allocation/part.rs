//! What of an agent may go to an entry that takes whatever is free: what is granted of it, and what is said of why it is not.

use proffer_model::{Resources, Takes};

use super::Allocator;
use super::agents::Agent;
use super::amounts::Amounts;
use super::bundle::{Bundle, allocatable_to, charged_of, offerable, shrunk};
use super::claims::Entry;
use super::extra::Extra;
use super::tree::Order;

/// What of an agent may go to an entry.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bundle: Bundle,
    /// Its scalars, of every kind.
    all: Amounts,
    /// What quotas count of its disks and the like.
    charged: Amounts,
}

impl Part {
    /// Whether so much is an offer.
    pub(super) fn is_enough(&self, least: &[Amounts]) -> bool {
        passes(least, &self.all, !self.bundle.extra.is_empty())
    }

    /// What of it a guarantee counts.
    pub(super) fn counted(&self) -> Amounts {
        self.bundle.plain.plus(&self.charged)
    }

    /// The first scalar of which another has more.
    pub(super) fn first_less(&self, other: &Self) -> Option<usize> {
        let mut parts = other.all.iter();
        let less = parts.find(|(name, milli)| self.all.get(*name) < *milli);
        less.map(|(name, _)| name)
    }
}

impl Allocator {
    /// What of an agent may go to an entry, where quotas leave so much.
    pub(super) fn part(
        &self,
        (entry, takes): (&Entry, Takes),
        found: &Agent,
        order: Order,
        allowed: &Amounts,
    ) -> Part {
        let mut bundle = Bundle {
            plain: found.free.plain.clone(),
            extra: Extra::default(),
        };
        bundle.plain.shrink_to(allowed);
        if found.is_common {
            bundle.extra.clone_from(&found.free.extra);
            return Part {
                all: bundle.plain.clone(),
                charged: Amounts::default(),
                bundle,
            };
        }
        let mut rest = allowed.minus(&bundle.plain);
        let (role, is_own) = (&self.claim(entry.claim).role, order == Order::Guaranteed);
        let part = offerable(&found.free.extra, role, takes, is_own);
        let bounded: Resources = shrunk(&part.bounded, &mut rest, &self.names);
        bundle.extra = part.always.plus(&bounded).into();
        Part {
            all: bundle.all_known(&self.names),
            charged: charged_of(&bounded, &self.names),
            bundle,
        }
    }

    /// Whether an entry refuses all of what is free on an agent that its role may have. What others have reserved there is nothing
    /// to it.
    pub(super) fn is_free_refused(&self, number: u32, found: &Agent) -> bool {
        let entry = self.entry(number);
        let exclusions = found.exclusions.as_ref();
        let Some(exclusions) = exclusions.filter(|_| found.concerns(entry.claim)) else {
            return false;
        };
        let refuse = |free: &Bundle| exclusions.refuse(number, entry.stamp, self.now, free);
        if refuse(&found.free) {
            return true;
        }
        if found.is_common || !exclusions.has(number, entry.stamp, self.now) {
            return false;
        }
        refuse(&Bundle {
            plain: found.free.plain.clone(),
            extra: allocatable_to(&found.free.extra, &self.claim(entry.claim).role),
        })
    }

    /// An offer to an entry holds at least one of these.
    pub(super) fn least_of(&self, entry: u32) -> &[Amounts] {
        self.entry(entry).least.as_ref().unwrap_or(&self.least)
    }
}

/// Whether so much is at least one of these, and anything at all.
pub(super) fn passes(least: &[Amounts], all: &Amounts, has_extra: bool) -> bool {
    if least.is_empty() {
        return has_extra || !all.is_zero();
    }
    least.iter().any(|least| all.contains(least)) && (has_extra || !all.is_zero())
}
