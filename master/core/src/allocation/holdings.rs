//! Who holds what of one agent. The first holding stands in the agent itself: most agents are held by one or two claims, and
//! what lies elsewhere in memory is waited for.

use super::bundle::Bundle;
use super::tree::NONE;

/// What a claim holds of an agent.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) claim: u32,
    /// Where a grant of it stands in the list of a run, perhaps of one that is over.
    noted: u32,
    /// Where the agent stands in the claim's list of those of which it holds something.
    pub(super) place: u32,
    pub(super) bundle: Bundle,
}

/// All that is held of an agent, by claim.
#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    first: Option<Holding>,
    more: Vec<Holding>,
}

impl Holdings {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Holding> {
        self.first.iter().chain(&self.more)
    }

    /// What a claim holds; none: nothing.
    pub(super) fn of(&self, claim: u32) -> Option<&Bundle> {
        let mut all = self.iter();
        let found = all.find(|holding| holding.claim == claim);
        found.map(|holding| &holding.bundle)
    }

    /// A claim holds more; whether it held nothing before. Then the agent comes to this place of its list.
    pub(super) fn give(&mut self, claim: u32, bundle: Bundle, place: u32) -> bool {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        if let Some(found) = all.find(|holding| holding.claim == claim) {
            found.bundle.add(&bundle);
            return false;
        }
        let is_new = !bundle.is_empty();
        if is_new {
            let holding = Holding {
                claim,
                noted: NONE,
                place,
                bundle,
            };
            match &self.first {
                None => self.first = Some(holding),
                Some(_) => self.more.push(holding),
            }
        }
        is_new
    }

    /// The agent comes to another place of a claim's list.
    pub(super) fn set_place(&mut self, claim: u32, place: u32) {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        if let Some(found) = all.find(|holding| holding.claim == claim) {
            found.place = place;
        }
    }

    /// Where it is; none: the claim holds nothing.
    pub(super) fn place(&self, claim: u32) -> Option<u32> {
        let found = self.iter().find(|holding| holding.claim == claim);
        found.map(|holding| holding.place)
    }

    /// Where a grant to a claim that holds something was noted last.
    pub(super) fn noted(&mut self, claim: u32) -> Option<&mut u32> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        let found = all.find(|holding| holding.claim == claim);
        found.map(|holding| &mut holding.noted)
    }

    /// A claim holds less, no less than nothing. What went; none: nothing.
    pub(super) fn take_back(&mut self, claim: u32, bundle: &Bundle) -> Option<Bundle> {
        let mut all = self.first.iter_mut().chain(&mut self.more);
        let held = &mut all.find(|holding| holding.claim == claim)?.bundle;
        if held == bundle {
            let gone = std::mem::take(held);
            self.forget(claim);
            return Some(gone);
        }
        let mut gone = bundle.clone();
        if !held.contains(bundle) {
            let mut rest = held.clone();
            rest.subtract(bundle);
            gone = held.clone();
            gone.subtract(&rest);
        }
        held.subtract(&gone);
        if held.is_empty() {
            self.forget(claim);
        }
        (!gone.is_empty()).then_some(gone)
    }

    fn forget(&mut self, claim: u32) {
        if self
            .first
            .as_ref()
            .is_some_and(|first| first.claim == claim)
        {
            self.first = (!self.more.is_empty()).then(|| self.more.remove(0));
        } else {
            self.more.retain(|holding| holding.claim != claim);
        }
    }
}
