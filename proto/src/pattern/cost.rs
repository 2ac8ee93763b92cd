//! What patterns may cost until they are tables, counted in steps: the same for the same patterns, on every machine. A step
//! takes about ten nanoseconds.

use crate::limits::{
    PATTERN_STEPS_MAX, PATTERN_TABLE_LEN_MAX, PATTERNS_STEPS_MAX, PATTERNS_TABLES_LEN_MAX,
};

/// What is left for the patterns of one call or demand.
#[derive(Debug)]
pub(super) struct Budget {
    steps: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            steps: PATTERNS_STEPS_MAX,
            bytes: PATTERNS_TABLES_LEN_MAX,
        }
    }
}

/// What one pattern may cost, of what is left for all.
#[derive(Debug)]
pub(super) struct Cost<'a> {
    budget: &'a mut Budget,
    steps: usize,
}

/// It is too much, for one pattern or for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooMuch {
    /// No pattern may cost as much.
    ForOne,
    /// The others have left too little.
    ForAll,
}

impl<'a> Cost<'a> {
    pub(super) fn new(budget: &'a mut Budget) -> Self {
        Self {
            budget,
            steps: PATTERN_STEPS_MAX,
        }
    }

    /// Takes steps off what is left, before they are taken.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), TooMuch> {
        self.steps = self.steps.checked_sub(steps).ok_or(TooMuch::ForOne)?;
        let left = self.budget.steps.checked_sub(steps);
        self.budget.steps = left.ok_or(TooMuch::ForAll)?;
        Ok(())
    }

    /// Whether a table of so many bytes may be kept, with all that is kept already.
    pub(super) fn has_room(&self, bytes: usize) -> Result<(), TooMuch> {
        if bytes > PATTERN_TABLE_LEN_MAX {
            return Err(TooMuch::ForOne);
        }
        match bytes > self.budget.bytes {
            true => Err(TooMuch::ForAll),
            false => Ok(()),
        }
    }

    /// Keeps it.
    pub(super) fn keep(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.has_room(bytes)?;
        self.budget.bytes -= bytes;
        Ok(())
    }
}
