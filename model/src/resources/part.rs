//! Parts of resources: by whom they may be used, what they are, and as much as limits leave.

use crate::id::{ResourceName, Role};
use crate::quantities::{Limits, Quantities};
use crate::resource_kind::{ResourceKind, Volume};

use super::amount::{Amount, Pieces};
use super::{Resources, Table};

impl Resources {
    /// What is for nobody in particular.
    #[must_use]
    pub fn unreserved(&self) -> Self {
        self.part(true, ResourceKind::is_unreserved)
    }

    /// What is for one role or another.
    #[must_use]
    pub fn reserved(&self) -> Self {
        self.part(false, |kind| !kind.is_unreserved())
    }

    /// What is for exactly this role.
    #[must_use]
    pub fn reserved_to(&self, role: &Role) -> Self {
        self.part(false, |kind| kind.reserved_to() == Some(role))
    }

    /// What a framework in this role may have: unreserved, reserved to the role, or to one above it.
    #[must_use]
    pub fn allocatable_to(&self, role: &Role) -> Self {
        self.part(true, |kind| kind.is_allocatable_to(role))
    }

    /// What may be taken back any time.
    #[must_use]
    pub fn revocable(&self) -> Self {
        self.part(false, |kind| kind.is_revocable)
    }

    /// What stays with who has it.
    #[must_use]
    pub fn non_revocable(&self) -> Self {
        self.part(true, |kind| !kind.is_revocable)
    }

    /// What several tasks may use at once.
    #[must_use]
    pub fn shared(&self) -> Self {
        self.part(false, |kind| kind.is_shared)
    }

    /// What one task uses at a time.
    #[must_use]
    pub fn non_shared(&self) -> Self {
        self.part(true, |kind| !kind.is_shared)
    }

    /// Numbers and items, which no quantity or limit counts.
    #[must_use]
    pub fn non_scalars(&self) -> Self {
        Self {
            ordinary: self.ordinary.filtered(|_, amount| is_no_scalar(amount)),
            special: self.special.filtered(|_, amount| is_no_scalar(amount)),
        }
    }

    /// All but the ordinary scalars of these names.
    #[must_use]
    pub fn without_scalars(&self, is_left_out: impl Fn(&ResourceName) -> bool) -> Self {
        let ordinary = &self.ordinary;
        Self {
            ordinary: ordinary.filtered(|name, amount| is_no_scalar(amount) || !is_left_out(name)),
            special: self.special.clone(),
        }
    }

    /// The persistent volumes, each with its kind.
    pub fn volumes(&self) -> impl Iterator<Item = (&ResourceKind, &Volume, &Amount)> {
        self.special()
            .filter_map(|(kind, amount)| Some((kind, kind.volume()?, amount)))
    }

    /// As much as these quantities: of a scalar that they do not name, nothing. Whole things that are larger than what is
    /// left are skipped. What is no scalar stays.
    #[must_use]
    pub fn shrink_to(&self, most: &Quantities) -> Self {
        let mut left = most.clone();
        self.chopped(|name, milli, is_whole| {
            let room = left.get(name);
            let taken = chop(room, milli, is_whole);
            left.set(name.clone(), room - taken);
            taken
        })
    }

    /// As much as these limits: of a scalar that they do not name, all. Whole things that are larger than what is left are
    /// skipped. What is no scalar stays.
    #[must_use]
    pub fn shrink_to_limits(&self, most: &Limits) -> Self {
        let mut left = most.clone();
        self.chopped(|name, milli, is_whole| {
            let Some(room) = left.get(name) else {
                return milli;
            };
            let taken = chop(room, milli, is_whole);
            left.set(name.clone(), room - taken);
            taken
        })
    }

    /// Of each scalar, what `take` says of its name, its amount in thousandths and whether it divides. A shared volume comes
    /// once, whatever its copies.
    fn chopped(&self, mut take: impl FnMut(&ResourceName, u64, bool) -> u64) -> Self {
        let mut out = Self::new();
        for (kind, amount) in self.iter() {
            let name = &kind.name;
            let amount = match amount {
                Amount::Ranges(_) | Amount::Set(_) => amount.clone(),
                Amount::Scalar(milli) => Amount::Scalar(take(name, *milli, false)),
                Amount::Whole(pieces) => {
                    let mut kept = Amount::Whole(Pieces::default());
                    for piece in pieces.iter() {
                        let copies = match kind.is_shared {
                            true if take(name, piece.milli, true) == 0 => 0,
                            true => piece.copies,
                            false => (0..piece.copies)
                                .map(|_| u32::from(take(name, piece.milli, true) > 0))
                                .sum(),
                        };
                        kept.add(&Amount::Whole(Pieces::new(piece.milli, copies)));
                    }
                    kept
                }
            };
            out.put(kind.into_owned(), amount);
        }
        out
    }

    /// The kinds that pass; the ordinary ones are alike in all that a test can see but their name.
    fn part(&self, with_ordinary: bool, keep: impl Fn(&ResourceKind) -> bool) -> Self {
        Self {
            ordinary: match with_ordinary {
                true => self.ordinary.clone(),
                false => Table::default(),
            },
            special: self.special.filtered(|kind, _| keep(kind)),
        }
    }
}

fn is_no_scalar(amount: &Amount) -> bool {
    matches!(amount, Amount::Ranges(_) | Amount::Set(_))
}

/// How much of an amount there is room for.
fn chop(room: u64, milli: u64, is_whole: bool) -> u64 {
    match is_whole {
        true if milli > room => 0,
        _ => milli.min(room),
    }
}
