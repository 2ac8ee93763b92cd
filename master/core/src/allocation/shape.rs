//! What one instance of an entry needs, and what of an agent would serve for it.
//!
//! An ordinary scalar of a shape may come from what is reserved for the role as well as from what is for everybody;
//! reservations are used first. What is of another kind must be there exactly.

use std::collections::BTreeMap;

use proffer_model::resources::Amount;
use proffer_model::{RangeSet, ResourceKind, ResourceName, Resources, Role, Shape, Takes};

use super::amounts::{Amounts, Names};
use super::bundle::Bundle;
use super::extra::Extra;
use super::types::Lacking;

/// What one instance needs.
#[derive(Clone, Debug)]
pub(super) struct Need {
    /// Ordinary scalars.
    pub(super) plain: Amounts,
    /// Numbers and items that must be exactly these, and things of other kinds.
    pub(super) exact: Extra,
    /// What quotas count of `exact`.
    charged: Amounts,
    /// So many numbers of each, whichever.
    pub(super) counts: BTreeMap<ResourceName, u64>,
}

impl Need {
    /// Nothing for the shape that takes whatever there is.
    pub(super) fn new(shape: &Shape, names: &Names) -> Option<Self> {
        let Shape::Of { resources, counts } = shape else {
            return None;
        };
        let Bundle { plain, extra } = Bundle::of_known(resources, names);
        Some(Self {
            plain,
            charged: super::bundle::charged_of(&extra, names),
            exact: extra,
            counts: counts.clone(),
        })
    }

    /// Whether ordinary scalars are all it needs.
    pub(super) fn is_plain(&self) -> bool {
        self.exact.is_empty() && self.counts.is_empty()
    }

    /// What of `count` instances must be within quotas, whatever is reserved.
    pub(super) fn charged(&self, count: u64) -> Amounts {
        self.charged.times(count)
    }

    /// What of `count` instances must be within quotas where nothing is reserved.
    pub(super) fn all_charged(&self, count: u64) -> Amounts {
        self.plain.plus(&self.charged).times(count)
    }

    /// Whether one instance only can be of it on an agent, because it needs something that is there once.
    fn is_single(&self) -> bool {
        !self.exact.is_empty()
    }

    /// How many instances, at most `most`, the ordinary scalars and the extra hold.
    pub(super) fn times(
        &self,
        free: &Bundle,
        room: &Amounts,
        of: (&Role, Takes),
        names: &Names,
        most: u64,
    ) -> u64 {
        if self.is_plain() && super::bundle::is_common(&free.extra) {
            return free
                .plain
                .times_of(&self.plain)
                .min(room.times_of(&self.plain))
                .min(most);
        }
        let most = if self.is_single() { most.min(1) } else { most };
        // Few fit on one agent: the largest number that does is found by halving.
        let (mut low, mut high) = (0, most.min(free_bound(free, &self.plain, of, names)));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.take(free, room, of, names, middle) {
                Some(_) => low = middle,
                None => high = middle - 1,
            }
        }
        low
    }

    /// The resources of `count` instances out of what is free, when they are there and what is not reserved is within `room`,
    /// things of other kinds among it.
    pub(super) fn take(
        &self,
        free: &Bundle,
        room: &Amounts,
        of: (&Role, Takes),
        names: &Names,
        count: u64,
    ) -> Option<Bundle> {
        if self.is_plain() && super::bundle::is_common(&free.extra) {
            let plain = self.plain.times(count);
            let is_there = free.plain.contains(&plain) && room.contains(&plain);
            return is_there.then(|| Bundle {
                plain,
                extra: Extra::default(),
            });
        }
        let (role, takes) = of;
        let mut left = free.extra.clone();
        let mut taken = Bundle::default();
        if !self.exact.is_empty() {
            let is_takable = |kind: &ResourceKind| kind.is_allocatable_to(role);
            let all_takable = self.exact.special().all(|(kind, _)| is_takable(kind));
            if count > 1 || !all_takable || !left.contains(&self.exact) {
                return None;
            }
            left.subtract(&self.exact);
            taken.extra.add(&self.exact);
        }
        for (name, wanted) in &self.counts {
            let numbers = take_numbers(&mut left, role, name, wanted.checked_mul(count)?)?;
            taken.extra.add(&numbers);
        }
        let mut missing = self.plain.times(count);
        take_reserved(
            &mut left,
            role,
            takes,
            names,
            &mut missing,
            &mut taken.extra,
        );
        let charged = missing.plus(&self.charged(count));
        let is_there = free.plain.contains(&missing) && room.contains(&charged);
        taken.plain = missing;
        is_there.then_some(taken)
    }

    /// What there is too little of for one instance, whatever quotas leave; ordinary scalars first.
    pub(super) fn first_missing(
        &self,
        free: &Bundle,
        (role, takes): (&Role, Takes),
        names: &Names,
    ) -> Option<Lacking> {
        let mut left = free.extra.clone();
        let mut taken = Extra::default();
        let is_of_others = |kind: &ResourceKind| !kind.is_allocatable_to(role);
        let of_others = || self.exact.special().find(|(kind, _)| is_of_others(kind));
        let exact = match left.first_missing(&self.exact) {
            Some((kind, _)) => Some(kind.into_owned()),
            None => of_others().map(|(kind, _)| kind.clone()),
        };
        if exact.is_none() {
            left.subtract(&self.exact);
        }
        let mut counts = self.counts.iter();
        let is_short = |(name, wanted): &(&ResourceName, &u64)| {
            let numbers = take_numbers(&mut left, role, name, **wanted);
            numbers.is_none()
        };
        let counted = counts.find(is_short).map(|(name, _)| name);
        let mut missing = self.plain.clone();
        let unnamed = left.clone();
        take_reserved(&mut left, role, takes, names, &mut missing, &mut taken);
        let mut parts = missing.iter();
        let plain = parts.find(|(name, milli)| free.plain.get(*name) < *milli);
        let plain = plain.and_then(|(name, _)| {
            let free = Bundle {
                plain: free.plain.clone(),
                extra: unnamed,
            };
            self.plain_missing(&free, role, name, names)
        });
        plain
            .or_else(|| exact.map(Lacking::Amount))
            .or_else(|| counted.cloned().map(Lacking::Count))
    }

    /// What there is too little of, where that is an ordinary scalar: with other kinds of it than the shape names there may be
    /// enough.
    fn plain_missing(
        &self,
        free: &Bundle,
        role: &Role,
        name: usize,
        names: &Names,
    ) -> Option<Lacking> {
        let needed = self.plain.get(name);
        let of_role = Bundle {
            plain: free.plain.clone(),
            extra: super::bundle::allocatable_to(&free.extra, role),
        };
        let has_enough = |bundle: &Bundle| bundle.all_known(names).get(name) >= needed;
        let (is_of_role, is_there) = (has_enough(&of_role), has_enough(free));
        let name = names.name(name)?.clone();
        Some(match (is_of_role, is_there) {
            (true, _) => Lacking::Taken(name),
            (false, true) => Lacking::Unreserved(name),
            (false, false) => Lacking::Amount(ResourceKind::plain(name)),
        })
    }
}

/// How often the plain part could fit at most, reservations included.
fn free_bound(free: &Bundle, plain: &Amounts, of: (&Role, Takes), names: &Names) -> u64 {
    let mut all = free.plain.clone();
    for (kind, amount) in free
        .extra
        .special()
        .filter(|(kind, _)| is_usable(kind, of.0, of.1))
    {
        if let Some(name) = names.find(&kind.name) {
            all.set(name, all.get(name).saturating_add(amount.quantity(false)));
        }
    }
    all.times_of(plain)
}

/// Whether a reserved scalar can stand for an ordinary one.
fn is_usable(kind: &ResourceKind, role: &Role, takes: Takes) -> bool {
    !kind.is_unreserved()
        && kind.disk.is_none()
        && !kind.is_revocable
        && kind.is_allocatable_to(role)
        && (takes.refined || kind.reservations.len() < 2)
}

fn put(resources: &mut Resources, kind: &ResourceKind, amount: Amount) {
    // What is taken from resources that stand is never refused.
    let _ = resources.insert(kind.clone(), amount);
}

fn take_reserved(
    left: &mut Extra,
    role: &Role,
    takes: Takes,
    names: &Names,
    missing: &mut Amounts,
    taken: &mut Extra,
) {
    if super::bundle::is_common(left) {
        return;
    }
    let mut part = Resources::new();
    for (kind, amount) in left
        .special()
        .filter(|(kind, _)| is_usable(kind, role, takes))
    {
        let (Amount::Scalar(milli), Some(name)) = (amount, names.find(&kind.name)) else {
            continue;
        };
        let used = missing.get(name).min(*milli);
        if used > 0 {
            missing.set(name, missing.get(name) - used);
            put(&mut part, kind, Amount::Scalar(used));
        }
    }
    let part = part.into();
    left.subtract(&part);
    taken.add(&part);
}

/// So many numbers of one name, those for the role first, then those for everybody.
fn take_numbers(left: &mut Extra, role: &Role, name: &ResourceName, wanted: u64) -> Option<Extra> {
    let mut part = Resources::new();
    let mut missing = wanted;
    let of_role = left.special().filter(|(kind, _)| {
        kind.name == *name && !kind.is_revocable && kind.is_allocatable_to(role)
    });
    let of_role: Vec<_> = of_role
        .map(|(kind, amount)| (kind.clone(), amount.clone()))
        .collect();
    let plain = ResourceKind::plain(name.clone());
    let ordinary = left.amount(&plain).cloned().map(|amount| (plain, amount));
    for (kind, amount) in of_role.into_iter().chain(ordinary) {
        let Amount::Ranges(set) = amount else {
            continue;
        };
        let first: RangeSet = set.first(missing);
        missing -= first.count();
        if !first.is_empty() {
            put(&mut part, &kind, Amount::Ranges(first));
        }
    }
    let part = part.into();
    left.subtract(&part);
    (missing == 0).then_some(part)
}
