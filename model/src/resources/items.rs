//! Sets of items, such as the zones of `zones:{a,b}`: sorted, each once.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::code;
use crate::limits::{ID_LEN_MAX, SET_ITEMS_MAX};
use crate::problem::Problem;

/// A set of items, each a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemSet(Box<[Arc<str>]>);

impl ItemSet {
    /// From items given by someone: one that is empty, too long, or given twice is an error.
    pub fn from_given<T: AsRef<str>>(given: impl IntoIterator<Item = T>) -> Result<Self, Problem> {
        let mut items: Vec<Arc<str>> = Vec::new();
        for item in given {
            if items.len() == SET_ITEMS_MAX {
                let message = format!("more than {SET_ITEMS_MAX} items are given");
                return Err(Problem::new(code::FIELD_TOO_LONG, message).hint("give fewer items"));
            }
            items.push(checked(item.as_ref())?.into());
        }
        items.sort_unstable();
        if let Some([twice, _]) = items.array_windows().find(|[a, b]| a == b) {
            let message = format!("the item {twice:?} is given twice");
            return Err(Problem::new(code::RESOURCES_INVALID, message).hint("give each item once"));
        }
        Ok(Self(items.into()))
    }

    /// The items, sorted.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|item| &**item)
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every item of `other` is here.
    pub fn contains(&self, other: &Self) -> bool {
        other.minus(self).is_empty()
    }

    /// The union.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum: Vec<_> = self.0.iter().chain(&other.0).cloned().collect();
        sum.sort_unstable();
        sum.dedup();
        Self(sum.into())
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let mut theirs = other.0.iter().peekable();
        let is_left = |item: &&Arc<str>| {
            while theirs.next_if(|other| *other < item).is_some() {}
            theirs.peek().map(|other| (*other).cmp(item)) != Some(Ordering::Equal)
        };
        Self(self.0.iter().filter(is_left).cloned().collect())
    }
}

fn checked(item: &str) -> Result<&str, Problem> {
    if item.is_empty() || item.len() > ID_LEN_MAX || item.contains(char::is_control) {
        let message = format!("{:?} is not an item", super::milli::clipped(item));
        let hint = "give items of 1 to 200 bytes without control characters, as in {a,b}";
        return Err(Problem::new(code::RESOURCES_INVALID, message).hint(hint));
    }
    Ok(item)
}
