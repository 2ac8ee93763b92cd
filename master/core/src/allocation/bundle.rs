//! Resources as the allocator holds them: ordinary scalars as a vector, and everything else beside it, which most agents
//! have little of: ports, and now and then reservations, volumes, other disks, what is revocable.
//!
//! The only file that knows what kinds of resources there are.

use proffer_model::resources::{Amount, Pieces};
use proffer_model::{ResourceKind, ResourceName, Resources, Role, Takes};

use super::amounts::{Amounts, Names};
use super::extra::Extra;

/// Resources: a vector of ordinary scalars, and the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bundle {
    pub(super) plain: Amounts,
    /// Has no ordinary scalars.
    pub(super) extra: Extra,
}

/// What the scalars of an extra come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// All of them; a shared volume counts once.
    pub(super) all: Amounts,
    /// Those that quotas count by who holds them: neither reserved nor revocable.
    pub(super) charged: Amounts,
}

/// What of an extra may go to a claim.
#[derive(Clone, Debug, Default)]
pub(super) struct Offerable {
    /// Without regard to quota: what is reserved, revocable, or no scalar.
    pub(super) always: Resources,
    /// As much as quota leaves: scalars that are neither reserved nor revocable, on disks of their own.
    pub(super) bounded: Resources,
}

impl Bundle {
    /// Gives new names their numbers.
    pub(super) fn new(resources: &Resources, names: &mut Names) -> Self {
        for (name, amount) in resources.ordinary() {
            if let Amount::Scalar(_) = amount {
                names.number(name);
            }
        }
        for (kind, _) in resources.special() {
            names.number(&kind.name);
        }
        Self::of_known(resources, names)
    }

    /// Ordinary scalars without a number stay among the rest, so that nobody has them.
    pub(super) fn of_known(resources: &Resources, names: &Names) -> Self {
        Self::like(resources, names, &Extra::default())
    }

    /// The same; where the rest is what is expected, that is shared and nothing is copied.
    pub(super) fn like(resources: &Resources, names: &Names, expected: &Extra) -> Self {
        let mut plain = Amounts::default();
        for (name, amount) in resources.ordinary() {
            if let (Amount::Scalar(milli), Some(number)) = (amount, names.find(name)) {
                plain.set(number, *milli);
            }
        }
        let is_rest = |name: &ResourceName, amount: &Amount| {
            !matches!(amount, Amount::Scalar(_)) || names.find(name).is_none()
        };
        let rest = resources
            .ordinary()
            .filter(|(name, amount)| is_rest(name, amount));
        let is_expected =
            expected.ordinary().eq(rest) && expected.special().eq(resources.special());
        let extra = if is_expected {
            expected.clone()
        } else {
            resources
                .without_scalars(|name| names.find(name).is_some())
                .into()
        };
        Self { plain, extra }
    }

    pub(super) fn resources(&self, names: &Names) -> Resources {
        let mut resources = Resources::clone(&self.extra);
        for (number, milli) in self.plain.iter().filter(|(_, milli)| *milli > 0) {
            if let Some(name) = names.name(number) {
                resources.add_scalar(name.clone(), milli);
            }
        }
        resources
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_zero() && self.extra.is_empty()
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        self.plain.contains(&other.plain) && self.extra.contains(&other.extra)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.plain.add(&other.plain);
        self.extra.add(&other.extra);
    }

    /// Takes away; of shared volumes, copies.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.plain.subtract(&other.plain);
        self.extra.subtract(&other.extra);
    }

    /// All scalars, of every kind.
    pub(super) fn all(&self, names: &mut Names) -> Amounts {
        let mut all = self.plain.clone();
        all.add(&sums_of(&self.extra, names).all);
        all
    }

    /// The same; names without a number are left out.
    pub(super) fn all_known(&self, names: &Names) -> Amounts {
        let mut all = self.plain.clone();
        for (kind, amount) in self.extra.special().filter(|(_, amount)| is_scalar(amount)) {
            if let Some(name) = names.find(&kind.name) {
                let milli = amount.quantity(kind.is_shared);
                all.set(name, all.get(name).saturating_add(milli));
            }
        }
        all
    }
}

fn put(resources: &mut Resources, kind: &ResourceKind, amount: Amount) {
    // What was taken from resources that stand can be put together again: it is never refused.
    let _ = resources.insert(kind.clone(), amount);
}

/// Whether everybody may have all of it: it holds nothing but ordinary numbers and items.
pub(super) fn is_common(extra: &Resources) -> bool {
    extra.special().next().is_none()
}

/// Whether some of it is not counted by quotas: it is reserved, or revocable.
pub(super) fn is_special(extra: &Resources) -> bool {
    extra.special().any(|(kind, _)| !is_charged(kind))
}

/// Whether any of it is a shared volume.
pub(super) fn has_shared(extra: &Resources) -> bool {
    extra.special().any(|(kind, _)| kind.is_shared)
}

fn is_scalar(amount: &Amount) -> bool {
    matches!(amount, Amount::Scalar(_) | Amount::Whole(_))
}

/// Whether quotas count it by who holds it.
pub(super) fn is_charged(kind: &ResourceKind) -> bool {
    kind.is_unreserved() && !kind.is_revocable
}

pub(super) fn sums_of(extra: &Resources, names: &mut Names) -> Sums {
    let mut sums = Sums::default();
    for (kind, amount) in extra.special().filter(|(_, amount)| is_scalar(amount)) {
        let name = names.number(&kind.name);
        let milli = amount.quantity(kind.is_shared);
        sums.all.set(name, sums.all.get(name).saturating_add(milli));
        if is_charged(kind) {
            sums.charged
                .set(name, sums.charged.get(name).saturating_add(milli));
        }
    }
    sums
}

/// What quotas count of an extra by who holds it; names without a number have no bounds.
pub(super) fn charged_of(extra: &Resources, names: &Names) -> Amounts {
    let mut charged = Amounts::default();
    for (kind, amount) in extra.special() {
        if let (true, true, Some(name)) =
            (is_scalar(amount), is_charged(kind), names.find(&kind.name))
        {
            let milli = amount.quantity(kind.is_shared);
            charged.set(name, charged.get(name).saturating_add(milli));
        }
    }
    charged
}

/// What of an extra is reserved for a role and those beneath it; names without a number have no bounds.
pub(super) fn reserved_within(extra: &Resources, role: &Role, names: &Names) -> Amounts {
    let mut reserved = Amounts::default();
    for (kind, amount) in extra.special().filter(|(_, amount)| is_scalar(amount)) {
        let is_within = kind.reserved_to().is_some_and(|of| role.holds(of));
        if let (true, Some(name)) = (is_within, names.find(&kind.name)) {
            let milli = amount.quantity(kind.is_shared);
            reserved.set(name, reserved.get(name).saturating_add(milli));
        }
    }
    reserved
}

/// What is reserved, by the role that it is for.
pub(super) fn reserved_of(resources: &Resources, names: &mut Names) -> Vec<(Role, Amounts)> {
    let mut reserved: Vec<(Role, Amounts)> = Vec::new();
    for (kind, amount) in resources.special().filter(|(_, amount)| is_scalar(amount)) {
        let Some(role) = kind.reserved_to() else {
            continue;
        };
        let index = reserved
            .iter()
            .position(|(of, _)| of == role)
            .unwrap_or(reserved.len());
        if index == reserved.len() {
            reserved.push((role.clone(), Amounts::default()));
        }
        let name = names.number(&kind.name);
        let amounts = &mut reserved[index].1;
        amounts.set(
            name,
            amounts
                .get(name)
                .saturating_add(amount.quantity(kind.is_shared)),
        );
    }
    reserved
}

/// What of an extra may go to a claim in this role; with `is_own`, of reservations only those of exactly this role.
pub(super) fn offerable(extra: &Resources, role: &Role, takes: Takes, is_own: bool) -> Offerable {
    let mut offerable = Offerable::default();
    for (name, amount) in extra.ordinary() {
        put(
            &mut offerable.always,
            &ResourceKind::plain(name.clone()),
            amount.clone(),
        );
    }
    for (kind, amount) in extra.special() {
        let is_takable = kind.is_allocatable_to(role)
            && (takes.revocable || !kind.is_revocable)
            && (takes.shared || !kind.is_shared)
            && (takes.refined || kind.reservations.len() < 2)
            && (!is_own || kind.reserved_to().is_none_or(|of| of == role));
        if is_takable && is_scalar(amount) && is_charged(kind) {
            put(&mut offerable.bounded, kind, amount.clone());
        } else if is_takable {
            put(&mut offerable.always, kind, amount.clone());
        }
    }
    offerable
}

/// What of an extra a role may have at all.
pub(super) fn allocatable_to(extra: &Extra, role: &Role) -> Extra {
    if extra
        .special()
        .all(|(kind, _)| kind.is_allocatable_to(role))
    {
        return extra.clone();
    }
    let mut part = Resources::new();
    for (name, amount) in extra.ordinary() {
        put(
            &mut part,
            &ResourceKind::plain(name.clone()),
            amount.clone(),
        );
    }
    let special = extra.special();
    for (kind, amount) in special.filter(|(kind, _)| kind.is_allocatable_to(role)) {
        put(&mut part, kind, amount.clone());
    }
    part.into()
}

/// As much of `bounded` as `room` leaves, which becomes less by it. Wholes that are larger than what is left are skipped.
pub(super) fn shrunk(bounded: &Resources, room: &mut Amounts, names: &Names) -> Resources {
    let mut taken = Resources::new();
    for (kind, amount) in bounded.special() {
        let Some(name) = names.find(&kind.name) else {
            continue;
        };
        let mut left = room.get(name);
        let part = match amount {
            Amount::Scalar(milli) => Amount::Scalar(cut(*milli, &mut left)),
            Amount::Whole(pieces) => {
                let mut kept = Vec::new();
                for piece in pieces.iter() {
                    let fitting = (0..piece.copies).take_while(|_| {
                        let is_in = piece.milli <= left;
                        left = if is_in { left - piece.milli } else { left };
                        is_in
                    });
                    let copies = u32::try_from(fitting.count()).unwrap_or(u32::MAX);
                    kept.push(Amount::Whole(Pieces::new(piece.milli, copies)));
                }
                room.set(name, left);
                for amount in kept.into_iter().filter(|amount| !amount.is_empty()) {
                    put(&mut taken, kind, amount);
                }
                continue;
            }
            Amount::Ranges(_) | Amount::Set(_) => continue,
        };
        room.set(name, left);
        if !part.is_empty() {
            put(&mut taken, kind, part);
        }
    }
    taken
}

fn cut(milli: u64, left: &mut u64) -> u64 {
    let taken = milli.min(*left);
    *left -= taken;
    taken
}

/// What only one can hold at a time: everything but shared volumes, which stay free while they are held.
pub(super) fn exclusive(extra: &Extra) -> Extra {
    if has_shared(extra) {
        extra.non_shared().into()
    } else {
        extra.clone()
    }
}
