//! Windows: how many offers a framework may have out while others wait, by how it answers.
//!
//! As a sender finds out how much a network carries: what is answered in time, accepted or declined, widens the window by as
//! much; what expires halves it. A decline widens it as well, because the window is about offers that nobody looks at, and
//! who declines has looked.

use proffer_model::FrameworkId;

use crate::core::Core;
use crate::limits::{OFFER_WINDOW_MAX, OFFER_WINDOW_MIN};

/// How many offers a framework may have out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfferWindow {
    pub(crate) most: u32,
    /// Offers that were made before this, by the monotonic clock, do not halve it again.
    halved_at: u64,
}

impl Default for OfferWindow {
    fn default() -> Self {
        Self {
            most: OFFER_WINDOW_MAX,
            halved_at: 0,
        }
    }
}

impl OfferWindow {
    /// So many offers were answered in time.
    fn answered(&mut self, count: u32) {
        self.most = self.most.saturating_add(count).min(OFFER_WINDOW_MAX);
    }

    /// Offers have expired, the last of them made then, when so many were out. Those that were sent together halve it once.
    fn expired(&mut self, made_at: u64, out: u32, now: u64) {
        if made_at >= self.halved_at {
            self.most = (self.most.min(out) / 2).max(OFFER_WINDOW_MIN);
            self.halved_at = now;
        }
    }
}

impl Core {
    /// A framework has answered so many of its offers in time.
    pub(crate) fn widen_window(&mut self, framework: &FrameworkId, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        self.change_window(framework, |window| window.answered(count));
    }

    /// A framework has let offers expire, the last of them made then, when so many were out.
    pub(crate) fn halve_window(&mut self, framework: &FrameworkId, made_at: u64, out: u32) {
        let now = self.turn.now.mono_ns;
        self.change_window(framework, |window| window.expired(made_at, out, now));
    }

    /// A session begins with the whole window: it may be another program, or the same one mended.
    pub(crate) fn reset_window(&mut self, framework: &FrameworkId) {
        self.change_window(framework, |window| *window = OfferWindow::default());
    }

    fn change_window(&mut self, framework: &FrameworkId, change: impl FnOnce(&mut OfferWindow)) {
        let Some(known) = self.frameworks.get_mut(framework) else {
            return;
        };
        change(&mut known.window);
        self.allocator
            .set_window(framework, Some(known.window.most));
        self.triggers.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_halved_once_for_what_was_sent_together_and_restored_by_answers() {
        let mut window = OfferWindow::default();
        window.expired(5, 400, 100);
        assert_eq!(window.most, 200, "half of what was out");
        window.expired(99, 300, 101);
        assert_eq!(window.most, 200, "sent before it was known");
        window.expired(100, 300, 102);
        assert_eq!(window.most, 100, "half of the window");
        for now in 200..210 {
            window.expired(now - 1, 1_000, now);
        }
        assert_eq!(window.most, OFFER_WINDOW_MIN);
        window.answered(3);
        assert_eq!(window.most, 4);
        window.answered(u32::MAX);
        assert_eq!(window.most, OFFER_WINDOW_MAX);
    }
}
