//! The name of a resource: `cpus`, `mem`, `disk`, `ports`, … The usual ones take no memory of their own.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::code;
use crate::id::validate_resource_name;
use crate::problem::Problem;

/// The name of a resource: letters, digits, `_`, `-` and `.`, beginning with a letter. Ordered as text.
#[derive(Clone)]
pub struct ResourceName(Repr);

/// A name of the usual ones is never an `Other`, so that equal names are equal here.
#[derive(Clone)]
enum Repr {
    Usual(Usual),
    Other(Arc<str>),
}

/// In the order of their names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Usual {
    Cpus,
    Disk,
    Gpus,
    Mem,
    Ports,
}

impl Usual {
    const ALL: [Self; 5] = [Self::Cpus, Self::Disk, Self::Gpus, Self::Mem, Self::Ports];

    fn as_str(self) -> &'static str {
        match self {
            Self::Cpus => "cpus",
            Self::Disk => "disk",
            Self::Gpus => "gpus",
            Self::Mem => "mem",
            Self::Ports => "ports",
        }
    }
}

impl ResourceName {
    /// `disk`, in MiB.
    pub(crate) const DISK: Self = Self(Repr::Usual(Usual::Disk));

    /// Checks and wraps; the error is `id.invalid` and says what is wrong.
    pub fn new(text: &str) -> Result<Self, Problem> {
        if let Some(usual) = Usual::ALL.into_iter().find(|usual| usual.as_str() == text) {
            return Ok(Self(Repr::Usual(usual)));
        }
        validate_resource_name(text).map_err(|why| {
            Problem::new(code::ID_INVALID, format!("the resource name {why}"))
                .hint("give letters, digits, '_', '-' and '.', a letter first, at most 200 bytes")
        })?;
        Ok(Self(Repr::Other(text.into())))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Usual(usual) => usual.as_str(),
            Repr::Other(text) => text,
        }
    }
}

impl PartialEq for ResourceName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ResourceName {}

impl PartialOrd for ResourceName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ResourceName {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Repr::Usual(a), Repr::Usual(b)) => a.cmp(b),
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl Hash for ResourceName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl FromStr for ResourceName {
    type Err = Problem;
    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::new(text)
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_text_and_small() {
        let mut names = ["ports", "a", "mem", "d", "gpus", "disk", "z", "cpus", "me"]
            .map(|name| ResourceName::new(name).expect(name));
        names.sort();
        let texts = names.each_ref().map(ResourceName::as_str);
        assert!(texts.is_sorted(), "{texts:?}");
        assert_eq!(size_of::<ResourceName>(), 16);
        for bad in ["", "1", "a b", "a/b", "ä"] {
            ResourceName::new(bad).expect_err(bad);
        }
    }
}
