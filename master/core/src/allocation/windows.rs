//! Windows: how many offers a framework may have out while others wait.
//!
//! What a framework holds in offers and does not answer is kept from others. So as soon as as many of its offers are out as
//! its window says, and another framework wants something, its claims are closed: they take part in nothing until one of its
//! offers comes to its end, or nobody else waits. Without a window nothing of this happens.
//!
//! The subtle thing: claims are closed and opened between looks and turns, never within one. So a gang is granted whole,
//! and one that is taken back has closed nothing.

use std::collections::BTreeSet;

use proffer_model::FrameworkId;

use super::Allocator;
use super::tree::NONE;

/// What is out of one framework, in all its roles.
#[derive(Debug)]
struct Window {
    framework: FrameworkId,
    /// How many offers may be out while others wait; the largest number: any.
    most: u32,
    /// How many are.
    out: u32,
    /// How many of its claims want something.
    wanting: u32,
    is_closed: bool,
}

/// The windows, by number.
#[derive(Debug, Default)]
pub(super) struct Windows {
    list: Vec<Option<Window>>,
    vacant: Vec<u32>,
    /// How many frameworks want something.
    waiting: usize,
    /// Those that have as many out as they may.
    full: BTreeSet<u32>,
    closed: BTreeSet<u32>,
    /// Those to be looked at.
    changed: Vec<u32>,
    /// All that are full or closed are to be looked at.
    is_changed: bool,
}

impl Windows {
    pub(super) fn insert(&mut self, framework: &FrameworkId) -> u32 {
        let window = Window {
            framework: framework.clone(),
            most: u32::MAX,
            out: 0,
            wanting: 0,
            is_closed: false,
        };
        match self.vacant.pop() {
            Some(number) => {
                self.list[number as usize] = Some(window);
                number
            }
            None => {
                self.list.push(Some(window));
                u32::try_from(self.list.len() - 1).unwrap_or(NONE)
            }
        }
    }

    /// Its claims are gone already.
    pub(super) fn remove(&mut self, number: u32) {
        self.list[number as usize] = None;
        self.full.remove(&number);
        self.closed.remove(&number);
        self.vacant.push(number);
    }

    fn get(&self, number: u32) -> Option<&Window> {
        self.list.get(number as usize)?.as_ref()
    }

    /// Changes what is counted of one, and notes whether it is full by that, or no more.
    fn change(&mut self, number: u32, change: impl FnOnce(&mut Window)) {
        let Some(Some(window)) = self.list.get_mut(number as usize) else {
            return;
        };
        let was_full = window.out >= window.most;
        change(window);
        let is_full = window.out >= window.most;
        if is_full == was_full {
            return;
        }
        if is_full {
            self.full.insert(number);
        } else {
            self.full.remove(&number);
        }
        self.changed.push(number);
    }

    /// One more or one fewer of its claims wants something.
    pub(super) fn set_wanting(&mut self, number: u32, is_more: bool) {
        let Some(Some(window)) = self.list.get_mut(number as usize) else {
            return;
        };
        let before = window.wanting;
        window.wanting = match is_more {
            true => before.saturating_add(1),
            false => before.saturating_sub(1),
        };
        if (before > 0) == (window.wanting > 0) {
            return;
        }
        self.waiting = match is_more {
            true => self.waiting.saturating_add(1),
            false => self.waiting.saturating_sub(1),
        };
        // Where two others wait, there is still another when one of them does no more.
        self.is_changed |= self.waiting <= 2;
    }

    /// Whether its claims are to take part in nothing.
    fn is_to_close(&self, window: &Window) -> bool {
        window.out >= window.most && self.waiting > usize::from(window.wanting > 0)
    }

    /// Those that are to be closed or opened, and which.
    fn due(&mut self) -> Vec<(u32, bool)> {
        let mut numbers = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.is_changed) {
            numbers.extend(self.full.iter().chain(&self.closed));
        }
        numbers.sort_unstable();
        numbers.dedup();
        let changes = numbers.into_iter().filter_map(|number| {
            let window = self.get(number)?;
            let is_closed = self.is_to_close(window);
            (is_closed != window.is_closed).then_some((number, is_closed))
        });
        changes.collect()
    }
}

impl Allocator {
    /// How many offers a framework may have out, in all its roles together, while another framework wants something; none:
    /// any number. One that was not told of is known from now on.
    pub fn set_window(&mut self, framework: &FrameworkId, most: Option<u32>) {
        let number = self.framework_mut(framework).window;
        let most = most.unwrap_or(u32::MAX);
        self.windows.change(number, |window| window.most = most);
    }

    /// One of a framework's offers has come to its end, whatever became of it: grants are counted as out until then.
    pub fn end_offer(&mut self, framework: &FrameworkId) {
        if let Some(found) = self.frameworks.get(framework) {
            let number = found.window;
            self.windows
                .change(number, |window| window.out = window.out.saturating_sub(1));
        }
    }

    /// Whether anything may be offered to a framework.
    #[cfg(test)]
    pub(super) fn is_active(&self, framework: &FrameworkId) -> bool {
        let found = self.frameworks.get(framework);
        found.is_some_and(|found| found.is_active)
    }

    /// How many of a framework's offers are out.
    pub fn offers_out(&self, framework: &FrameworkId) -> u32 {
        let found = self.frameworks.get(framework);
        let window = found.and_then(|found| self.windows.get(found.window));
        window.map_or(0, |window| window.out)
    }

    /// One more offer is out.
    pub(super) fn count_offer(&mut self, claim: u32) {
        let number = self.claim(claim).window;
        self.windows
            .change(number, |window| window.out = window.out.saturating_add(1));
    }

    /// A grant is as if it had never been.
    pub(super) fn uncount_offer(&mut self, claim: u32) {
        let number = self.claim(claim).window;
        self.windows
            .change(number, |window| window.out = window.out.saturating_sub(1));
    }

    /// Says whether a claim wants something, open or closed.
    pub(super) fn set_wants(&mut self, claim: u32, wants: bool) {
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        if std::mem::replace(&mut found.wants, wants) != wants {
            let number = found.window;
            self.windows.set_wanting(number, wants);
        }
    }

    /// Closes and opens what is to be: between two looks, or turns.
    pub(super) fn settle_windows(&mut self) {
        if self.windows.changed.is_empty() && !self.windows.is_changed {
            return;
        }
        for (number, is_closed) in self.windows.due() {
            let Some(Some(window)) = self.windows.list.get_mut(number as usize) else {
                continue;
            };
            window.is_closed = is_closed;
            let framework = window.framework.clone();
            if is_closed {
                self.windows.closed.insert(number);
            } else {
                self.windows.closed.remove(&number);
            }
            let claims = self.frameworks.get(&framework);
            let claims = claims.map(|found| found.claims.values().copied().collect());
            let claims: Vec<u32> = claims.unwrap_or_default();
            for claim in claims {
                self.recount_open(claim);
                if !is_closed {
                    self.touch_claim(claim);
                }
            }
        }
    }

    /// Whether a claim is closed because its framework has as many offers out as it may while others wait.
    pub(super) fn is_closed(&self, claim: u32) -> bool {
        let window = self.windows.get(self.claim(claim).window);
        window.is_some_and(|window| window.is_closed)
    }

    /// Counts the windows from scratch.
    pub(super) fn check_windows(&self) -> Result<(), String> {
        let mut waiting = 0;
        for (framework, found) in &self.frameworks {
            let window = self.windows.get(found.window);
            let window = window.ok_or_else(|| format!("{framework} has no window"))?;
            let claims = found.claims.values().map(|claim| self.claim(*claim));
            let wanting = claims.filter(|claim| {
                let mut entries = claim.entries.iter().map(|entry| self.entry(*entry));
                claim.is_active && entries.any(|entry| entry.wanted() > 0)
            });
            let wanting = wanting.count();
            if u32::try_from(wanting) != Ok(window.wanting) {
                return Err(format!(
                    "{wanting} claims of {framework} want something, not {}",
                    window.wanting
                ));
            }
            waiting += usize::from(wanting > 0);
            if self.windows.full.contains(&found.window) != (window.out >= window.most) {
                return Err(format!("{framework} is listed wrongly as full"));
            }
            if self.windows.closed.contains(&found.window) != window.is_closed {
                return Err(format!("{framework} is listed wrongly as closed"));
            }
            let is_settled = self.windows.changed.is_empty() && !self.windows.is_changed;
            if is_settled && window.is_closed != self.windows.is_to_close(window) {
                return Err(format!(
                    "{framework} has {} of {} offers out, {} wait, and closed is {}",
                    window.out, window.most, self.windows.waiting, window.is_closed
                ));
            }
        }
        if waiting != self.windows.waiting {
            return Err(format!(
                "{waiting} frameworks wait, not {}",
                self.windows.waiting
            ));
        }
        Ok(())
    }
}
