//! Numbers that only grow. The older always loses: agents refuse a smaller epoch, masters a smaller generation.

use std::fmt;

macro_rules! growing {
    ($($(#[doc = $doc:literal])+ $name:ident;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )+};
}

growing! {
    /// A leadership term's number, raised in the store by each new leader before it reads anything.
    Epoch;
    /// The number of a session's activation, or of a demand; a call with an older one is refused.
    Generation;
    /// Which launch of a task id this is; given by the master: epoch in the upper 32 bits, a counter in the lower.
    Incarnation;
}

impl Incarnation {
    /// The `count`th launch of this term.
    pub fn of(epoch: Epoch, count: u32) -> Self {
        Self((epoch.0 << 32) | u64::from(count))
    }
}
