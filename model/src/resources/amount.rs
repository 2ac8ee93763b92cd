//! How much there is of one kind of resource: a scalar, numbers, items, or things that are there as wholes.

use crate::limits::{COPIES_MAX, SCALAR_MILLI_MAX};
use crate::problem::Problem;
use crate::ranges::RangeSet;
use crate::{code, resources::milli::format_milli};

pub use super::items::ItemSet;

/// An amount of one kind. Never nothing when it is in `Resources`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// Thousandths.
    Scalar(u64),
    /// Numbers.
    Ranges(RangeSet),
    /// Items.
    Set(ItemSet),
    /// Scalars that are there as wholes or not at all: disks that do not divide, volumes.
    Whole(Pieces),
}

/// What an amount is of. One name has one form wherever it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Scalar,
    Ranges,
    Set,
}

/// Things of one kind that never merge and never split, the smallest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pieces(Box<[Piece]>);

/// Things of one kind and one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    /// The size of each, in thousandths.
    pub milli: u64,
    /// How many there are; of a shared volume, how often it is held.
    pub copies: u32,
}

impl Amount {
    pub(crate) fn form(&self) -> Form {
        match self {
            Self::Scalar(_) | Self::Whole(_) => Form::Scalar,
            Self::Ranges(_) => Form::Ranges,
            Self::Set(_) => Form::Set,
        }
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Scalar(milli) => *milli == 0,
            Self::Ranges(set) => set.is_empty(),
            Self::Set(set) => set.is_empty(),
            Self::Whole(pieces) => pieces.0.is_empty(),
        }
    }

    /// How much of a scalar it is in thousandths; a shared volume counts once, however often it is held.
    pub fn quantity(&self, is_shared: bool) -> u64 {
        match self {
            Self::Scalar(milli) => *milli,
            Self::Whole(pieces) => pieces.iter().fold(0, |sum: u64, piece| {
                let copies = if is_shared {
                    1
                } else {
                    u64::from(piece.copies)
                };
                sum.saturating_add(piece.milli.saturating_mul(copies))
            }),
            Self::Ranges(_) | Self::Set(_) => 0,
        }
    }

    /// Whether all of `other`, which is of the same kind, is here.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => mine >= theirs,
            (Self::Ranges(mine), Self::Ranges(theirs)) => mine.contains(theirs),
            (Self::Set(mine), Self::Set(theirs)) => mine.contains(theirs),
            (Self::Whole(mine), Self::Whole(theirs)) => theirs
                .iter()
                .all(|piece| mine.copies(piece.milli) >= piece.copies),
            _ => other.is_empty(),
        }
    }

    /// Whether a number or an item is in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ranges(mine), Self::Ranges(theirs)) => !mine.intersection(theirs).is_empty(),
            (Self::Set(mine), Self::Set(theirs)) => mine.minus(theirs) != *mine,
            _ => false,
        }
    }

    /// Adds in place. Amounts of another form are not of the same kind: nothing happens.
    pub(crate) fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => *mine = mine.saturating_add(*theirs),
            (Self::Ranges(mine), Self::Ranges(theirs)) => *mine = mine.plus(theirs),
            (Self::Set(mine), Self::Set(theirs)) => *mine = mine.plus(theirs),
            (Self::Whole(mine), Self::Whole(theirs)) => mine.change(theirs, u32::saturating_add),
            _ => {}
        }
    }

    /// Subtracts in place, down to nothing.
    pub(crate) fn subtract(&mut self, other: &Self) {
        match (self, other) {
            (Self::Scalar(mine), Self::Scalar(theirs)) => *mine = mine.saturating_sub(*theirs),
            (Self::Ranges(mine), Self::Ranges(theirs)) => *mine = mine.minus(theirs),
            (Self::Set(mine), Self::Set(theirs)) => *mine = mine.minus(theirs),
            (Self::Whole(mine), Self::Whole(theirs)) => mine.change(theirs, u32::saturating_sub),
            _ => {}
        }
    }

    /// Refuses what is larger than anything may be.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let too_large = match self {
            Self::Scalar(milli) => *milli > SCALAR_MILLI_MAX,
            Self::Whole(_) => self.quantity(false) > SCALAR_MILLI_MAX,
            Self::Ranges(_) | Self::Set(_) => false,
        };
        if too_large {
            let most = format_milli(SCALAR_MILLI_MAX);
            let message = format!("the amount is larger than {most}");
            return Err(Problem::new(code::RESOURCES_INVALID, message).hint("give less"));
        }
        match self {
            Self::Whole(pieces) if pieces.iter().any(|piece| piece.copies > COPIES_MAX) => {
                let message = format!("there are more than {COPIES_MAX} copies");
                Err(Problem::new(code::RESOURCES_INVALID, message).hint("give fewer copies"))
            }
            _ => Ok(()),
        }
    }
}

impl Pieces {
    /// So many things of one size in thousandths; nothing when one of the two is 0.
    pub fn new(milli: u64, copies: u32) -> Self {
        let piece = Piece { milli, copies };
        let is_nothing = milli == 0 || copies == 0;
        Self(if is_nothing {
            Box::default()
        } else {
            Box::new([piece])
        })
    }

    /// The sizes, the smallest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Piece> {
        self.0.iter()
    }

    /// How many there are of this size.
    pub fn copies(&self, milli: u64) -> u32 {
        let found = self.0.iter().find(|piece| piece.milli == milli);
        found.map_or(0, |piece| piece.copies)
    }

    fn change(&mut self, other: &Self, change: impl Fn(u32, u32) -> u32) {
        let mut pieces = std::mem::take(&mut self.0).into_vec();
        for theirs in &other.0 {
            let at = pieces.partition_point(|mine| mine.milli < theirs.milli);
            match pieces.get_mut(at) {
                Some(mine) if mine.milli == theirs.milli => {
                    mine.copies = change(mine.copies, theirs.copies);
                }
                _ => {
                    let copies = change(0, theirs.copies);
                    pieces.insert(at, Piece { copies, ..*theirs });
                }
            }
        }
        pieces.retain(|piece| piece.copies > 0);
        self.0 = pieces.into();
    }
}
