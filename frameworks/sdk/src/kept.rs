//! Up to where all that came is kept, when the author says what they have kept of what they were told. Pure.
//!
//! A status that is left out needs nobody to keep it; but acknowledging it acknowledges what came before, so it waits until
//! the author has kept that.

/// By the author's sequence.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The last event of earlier sessions: what these told is told again, or not awaited any more.
    base: u64,
    /// The last event that the author has taken.
    taken: u64,
    /// The last status that they were told.
    told: u64,
    /// The last status that they were not told.
    left_out: u64,
    /// Up to where they have acknowledged.
    acknowledged: u64,
}

impl Kept {
    /// The author takes an event.
    pub(crate) fn takes(&mut self, sequence: u64) {
        self.taken = sequence;
    }

    /// What they take begins a session.
    pub(crate) fn begins_session(&mut self) {
        self.base = self.taken;
    }

    /// What they take is a status.
    pub(crate) fn tells(&mut self) {
        self.told = self.taken;
    }

    /// A status is not told. What to acknowledge therefore, if anything.
    pub(crate) fn leaves_out(&mut self, sequence: u64) -> Option<u64> {
        self.left_out = sequence;
        self.has_kept_all().then_some(sequence)
    }

    /// The author has kept everything up to this. What to acknowledge.
    pub(crate) fn acknowledges(&mut self, sequence: u64) -> u64 {
        let known = sequence.min(self.taken);
        self.acknowledged = self.acknowledged.max(known);
        match self.has_kept_all() {
            true => known.max(self.left_out),
            false => known,
        }
    }

    fn has_kept_all(&self) -> bool {
        self.told <= self.acknowledged.max(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(kept: &mut Kept, sequence: u64) {
        kept.takes(sequence);
        kept.tells();
    }

    #[test]
    fn what_is_not_told_is_acknowledged_after_what_was_told_before_it() {
        let mut kept = Kept::default();
        assert_eq!(kept.leaves_out(2), Some(2), "nothing was told");
        tell(&mut kept, 3);
        assert_eq!(kept.leaves_out(4), None);
        assert_eq!(kept.acknowledges(2), 2);
        assert_eq!(kept.acknowledges(3), 4);
        tell(&mut kept, 5);
        kept.takes(6);
        kept.begins_session();
        assert_eq!(
            kept.leaves_out(7),
            Some(7),
            "what an earlier session told is not waited for"
        );
    }

    #[test]
    fn nothing_is_kept_before_it_is_taken() {
        let mut kept = Kept::default();
        tell(&mut kept, 3);
        assert_eq!(kept.acknowledges(99), 3);
        tell(&mut kept, 5);
        assert_eq!(kept.leaves_out(6), None);
        assert_eq!(kept.acknowledges(4), 4);
        assert_eq!(kept.acknowledges(5), 6);
    }
}
