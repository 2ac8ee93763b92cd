//! Resources and their arithmetic: amounts by kind, where only what is of the same kind adds up.
//!
//! Never floats: Mesos crashed on tiny and on huge amounts (MESOS-7197, MESOS-10008). What is given is bounded by
//! [`SCALAR_MILLI_MAX`](crate::limits::SCALAR_MILLI_MAX) and sums stay at the largest number, so that nothing overflows.
//! Zero and empty are the same as absent.
//!
//! Nearly all resources are ordinary ones, `cpus` and `mem` and the like: those are kept by name alone. The others,
//! reserved, revocable, disks and volumes, are kept by their whole kind.

mod amount;
mod conversion;
mod items;
mod milli;
mod name;
mod parse;
mod part;
mod print;
mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

pub use amount::{Amount, ItemSet, Piece, Pieces};
pub use conversion::Conversion;
pub(crate) use milli::clipped;
pub use milli::{format_milli, parse_milli};
pub use name::ResourceName;

use crate::code;
use crate::limits::{RESOURCE_KINDS_MAX, RESOURCE_NAMES_MAX};
use crate::problem::Problem;
use crate::quantities::Quantities;
use crate::ranges::RangeSet;
use crate::resource_kind::ResourceKind;
use amount::Form;
use table::Table;

/// An amount of everything: what an agent has, an offer holds, a task needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    ordinary: Table<ResourceName>,
    special: Table<Arc<ResourceKind>>,
}

/// One kind of resources, and how much there is of it.
pub type Item<'a> = (Cow<'a, ResourceKind>, &'a Amount);

impl Resources {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an ordinary scalar in thousandths as given by someone: the same name twice, or too much, is an error.
    pub fn insert_scalar(&mut self, name: ResourceName, milli: u64) -> Result<(), Problem> {
        self.insert(ResourceKind::plain(name), Amount::Scalar(milli))
    }

    /// Adds an ordinary range resource as given by someone: the same name twice is an error.
    pub fn insert_ranges(&mut self, name: ResourceName, set: RangeSet) -> Result<(), Problem> {
        self.insert(ResourceKind::plain(name), Amount::Ranges(set))
    }

    /// Adds an amount as given by someone. The same kind twice is an error, but for what may be there several times: disks
    /// that do not divide and have no name, and copies of a shared volume.
    pub fn insert(&mut self, kind: ResourceKind, amount: Amount) -> Result<(), Problem> {
        if matches!(amount, Amount::Whole(_)) && !kind.is_whole() {
            let message = "only whole disks and volumes come in copies";
            return Err(Problem::new(code::RESOURCES_INVALID, message)
                .field(kind.name.as_str())
                .hint("give the sum"));
        }
        let (kind, amount) = kind.normalized(amount);
        self.check_given(&kind, &amount)
            .map_err(|problem| problem.within(&kind.name))?;
        self.put(kind, amount);
        Ok(())
    }

    fn check_given(&self, kind: &ResourceKind, amount: &Amount) -> Result<(), Problem> {
        kind.check(amount)?;
        amount.check()?;
        let refused = |message: String| Problem::new(code::RESOURCES_INVALID, message);
        let same_name = self.iter().filter(|(other, _)| other.name == kind.name);
        if same_name
            .into_iter()
            .any(|(_, other)| other.form() != amount.form())
        {
            let message = format!("{} is given in two forms", kind.name);
            return Err(refused(message).hint("a name is a number, ranges or a set everywhere"));
        }
        let Some(mine) = self.amount(kind) else {
            let is_full = if kind.is_plain() {
                self.ordinary.len() >= RESOURCE_NAMES_MAX
            } else {
                self.special.len() >= RESOURCE_KINDS_MAX
            };
            let message = format!(
                "more than {RESOURCE_NAMES_MAX} resources, or {RESOURCE_KINDS_MAX} reserved ones, disks and volumes"
            );
            let refused = Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer");
            return if is_full { Err(refused) } else { Ok(()) };
        };
        let is_same_volume = match (mine, amount) {
            (Amount::Whole(mine), Amount::Whole(new)) if kind.is_shared => {
                new.iter().all(|piece| mine.copies(piece.milli) > 0)
            }
            (Amount::Whole(mine), Amount::Whole(_)) => {
                kind.may_repeat() && mine.iter().len() < RESOURCE_KINDS_MAX
            }
            _ => false,
        };
        if !is_same_volume {
            let message = match kind.is_plain() {
                true => "the resource is given twice".to_owned(),
                false => format!("{kind} is given twice"),
            };
            return Err(refused(message).hint("give each resource once"));
        }
        let mut sum = mine.clone();
        sum.add(amount);
        sum.check()
    }

    /// Adds to an ordinary scalar, in thousandths, what is known to be right.
    pub fn add_scalar(&mut self, name: ResourceName, milli: u64) {
        self.ordinary.add_one(name, Amount::Scalar(milli));
    }

    /// Adds one amount to what is there of its kind.
    fn put(&mut self, kind: ResourceKind, amount: Amount) {
        let (kind, amount) = kind.normalized(amount);
        if kind.is_plain() {
            self.ordinary.add_one(kind.name, amount);
        } else {
            self.special.add_one(Arc::new(kind), amount);
        }
    }

    /// Everything by kind, the ordinary first.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let ordinary = self.ordinary().map(|(name, amount)| {
            let kind = ResourceKind::plain(name.clone());
            (Cow::Owned(kind), amount)
        });
        let special = self
            .special()
            .map(|(kind, amount)| (Cow::Borrowed(kind), amount));
        ordinary.chain(special)
    }

    /// What is ordinary, by name: scalars, then ranges, then sets.
    pub fn ordinary(&self) -> impl Iterator<Item = (&ResourceName, &Amount)> {
        self.ordinary.iter().map(|(name, amount)| (name, amount))
    }

    /// What is not ordinary: reserved, revocable, other disks, volumes.
    pub fn special(&self) -> impl Iterator<Item = (&ResourceKind, &Amount)> {
        self.special.iter().map(|(kind, amount)| (&**kind, amount))
    }

    /// How much there is of one kind.
    pub fn amount(&self, kind: &ResourceKind) -> Option<&Amount> {
        let forms = [Form::Scalar, Form::Ranges, Form::Set];
        let mut found = forms.into_iter().map(|form| match kind.is_plain() {
            true => self.ordinary.get(form, &kind.name),
            false => self.special.get_by(form, |mine| (**mine).cmp(kind)),
        });
        found.find_map(|amount| amount)
    }

    /// The amount of a scalar in thousandths, of all kinds together; 0 when absent.
    pub fn scalar(&self, name: &str) -> u64 {
        let ordinary = self.ordinary().filter(|(n, _)| n.as_str() == name);
        let special = self
            .special()
            .filter(|(kind, _)| kind.name.as_str() == name);
        let ordinary = ordinary.map(|(_, amount)| amount.quantity(false));
        let special = special.map(|(kind, amount)| amount.quantity(kind.is_shared));
        ordinary.chain(special).fold(0, u64::saturating_add)
    }

    /// The numbers of a range resource, of all kinds together; empty when absent.
    pub fn range_set(&self, name: &str) -> RangeSet {
        let sets = self.ranges().filter(|(n, _)| n.as_str() == name);
        sets.fold(RangeSet::default(), |all, (_, set)| match all.is_empty() {
            true => set.clone(),
            false => all.plus(set),
        })
    }

    /// The items of a set resource, of all kinds together; empty when absent.
    pub fn item_set(&self, name: &str) -> ItemSet {
        let amounts = self.amounts().filter(|(n, _)| n.as_str() == name);
        amounts.fold(ItemSet::default(), |all, (_, amount)| match amount {
            Amount::Set(set) => all.plus(set),
            _ => all,
        })
    }

    /// The range resources of every kind; one name comes as often as it has kinds.
    pub fn ranges(&self) -> impl Iterator<Item = (&ResourceName, &RangeSet)> {
        self.amounts().filter_map(|(name, amount)| match amount {
            Amount::Ranges(set) => Some((name, set)),
            _ => None,
        })
    }

    /// All amounts, by name alone.
    fn amounts(&self) -> impl Iterator<Item = (&ResourceName, &Amount)> {
        let special = self.special().map(|(kind, amount)| (&kind.name, amount));
        self.ordinary().chain(special)
    }

    /// The first name in `other` that is of another form here, such as numbers there and an amount here.
    pub fn first_of_other_form<'a>(&self, other: &'a Self) -> Option<&'a ResourceName> {
        let mut others = other.amounts();
        let is_other = |name: &ResourceName, amount: &Amount| {
            let mut own = self.amounts();
            own.any(|(known, own)| known == name && own.form() != amount.form())
        };
        let found = others.find(|(name, amount)| is_other(name, amount));
        found.map(|(name, _)| name)
    }

    /// Whether there is any of a resource, of whatever kind.
    pub fn has(&self, name: &ResourceName) -> bool {
        self.amounts().any(|(n, _)| n == name)
    }

    /// How much there is of each scalar, of all kinds together; a shared volume counts once.
    pub fn quantities(&self) -> Quantities {
        let ordinary = self.ordinary();
        let ordinary = ordinary.map(|(name, amount)| (name, amount.quantity(false)));
        let special = self.special();
        let special = special.map(|(kind, amount)| (&kind.name, amount.quantity(kind.is_shared)));
        let all = ordinary.chain(special).filter(|(_, milli)| *milli > 0);
        all.map(|(name, milli)| (name.clone(), milli)).collect()
    }

    /// The same amounts as if all were ordinary, a shared volume once: for who only cares how much there is.
    #[must_use]
    pub fn flattened(&self) -> Self {
        let mut flat = Self {
            ordinary: self.ordinary.clone(),
            special: Table::default(),
        };
        for (kind, amount) in self.special() {
            let amount = match amount {
                Amount::Whole(_) => Amount::Scalar(amount.quantity(kind.is_shared)),
                other => other.clone(),
            };
            flat.ordinary.add_one(kind.name.clone(), amount);
        }
        flat
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.ordinary.is_empty() && self.special.is_empty()
    }

    /// Whether there are only scalars, of whatever kind: neither numbers nor items, nor wholes.
    pub fn is_scalars(&self) -> bool {
        let mut amounts = self.amounts();
        amounts.all(|(_, amount)| matches!(amount, Amount::Scalar(_)))
    }

    /// Whether sums of this are exact: none of its amounts has come to the largest number, where they would stay.
    pub fn is_exact(&self) -> bool {
        let mut amounts = self.amounts();
        amounts.all(|(_, amount)| match amount {
            Amount::Scalar(milli) => *milli < u64::MAX,
            Amount::Whole(pieces) => pieces.iter().all(|piece| piece.copies < u32::MAX),
            Amount::Ranges(_) | Amount::Set(_) => true,
        })
    }

    /// Whether no number and no item of a kind is in both: what is left of their sum without the one is the other.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.ordinary.is_apart_from(&other.ordinary) && self.special.is_apart_from(&other.special)
    }

    /// Whether all of `other` is here, kind by kind.
    pub fn contains(&self, other: &Self) -> bool {
        self.ordinary.first_missing(&other.ordinary).is_none()
            && self.special.first_missing(&other.special).is_none()
    }

    /// The first of `other` that is not all here: for saying what is lacking.
    pub fn first_missing<'a>(&self, other: &'a Self) -> Option<Item<'a>> {
        if let Some((name, amount)) = self.ordinary.first_missing(&other.ordinary) {
            return Some((Cow::Owned(ResourceKind::plain(name.clone())), amount));
        }
        let (kind, amount) = self.special.first_missing(&other.special)?;
        Some((Cow::Borrowed(&**kind), amount))
    }

    /// The sum; of numbers and items, the union; of shared volumes, of their copies.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other);
        sum
    }

    /// Adds in place.
    pub fn add(&mut self, other: &Self) {
        self.ordinary.add(&other.ordinary);
        self.special.add(&other.special);
    }

    /// The sum of what someone gives in parts: an amount that is larger than anything may be is an error.
    pub fn checked_plus(&self, other: &Self) -> Result<Self, Problem> {
        let sum = self.plus(other);
        for (kind, amount) in sum.iter() {
            let checked = amount.check();
            checked.map_err(|problem| problem.within(&kind.name))?;
        }
        Ok(sum)
    }

    /// What is here and not in `other`; what `other` has more of is left out, so the result is never negative.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        rest.subtract(other);
        rest
    }

    /// Subtracts in place, down to nothing.
    pub fn subtract(&mut self, other: &Self) {
        self.ordinary.subtract(&other.ordinary);
        self.special.subtract(&other.special);
    }
}
