//! A long demand takes the place of another one in pieces: what it does not name is dropped first, then what it names is put
//! in, and at the end all of it is in force, in its order.
//!
//! After each piece all is as it should be. What is not dropped and not replaced yet is in force as before; what is replaced
//! is so in the old order; what is new comes, and is offered nothing. The subtle thing: an entry that comes stands among
//! the claim's by its id alone, has no place among the others, and so is never open.

use std::cmp::Reverse;

use proffer_model::{DemandEntry, DemandId, FrameworkId, Role};

use super::Allocator;
use super::claims::{COMING, Turns};

impl Allocator {
    /// How many entries a framework has in a role.
    pub fn entries_len(&self, framework: &FrameworkId, role: &Role) -> usize {
        let claim = self.find_claim(framework, role);
        claim.map_or(0, |claim| self.claim(claim).by_id.len())
    }

    /// Begins to replace what a framework wants in a role. What another one that was not concluded has left there is
    /// dropped and replaced as the rest is.
    pub fn begin_replacement(&mut self, framework: &FrameworkId, role: &Role) {
        let claim = self.claim_of(framework, role);
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.coming = Vec::new();
        }
    }

    /// Takes an entry away that is not in the new demand.
    pub fn drop_entry(&mut self, framework: &FrameworkId, role: &Role, id: &DemandId) {
        let Some(claim) = self.find_claim(framework, role) else {
            return;
        };
        let gone = self.claims[claim as usize].as_mut();
        let Some(number) = gone.and_then(|found| found.by_id.remove(id)) else {
            return;
        };
        let rank = self.entry(number).rank;
        self.shut_entry(claim, number);
        let entries = &self.claim(claim).entries;
        let place = entries.binary_search_by_key(&rank, |entry| self.entry(*entry).rank);
        if let (Ok(place), Some(Some(found))) = (place, self.claims.get_mut(claim as usize))
            && rank != COMING
        {
            found.entries.remove(place);
        }
        self.remove_entry(number);
        // What shut others out says nothing of one that is left alone: when it wants something again, that is not looked at.
        if self.claim(claim).entries.len() == 1 {
            self.open_shut(claim);
        }
    }

    /// Puts an entry of the new demand in, which stands at this place in it, and of which so many were launched since it was
    /// made.
    pub fn put_coming(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        place: usize,
        demand: &DemandEntry,
        launched: u32,
    ) {
        let claim = self.claim_of(framework, role);
        let old = self.claim(claim).by_id.get(&demand.id).copied();
        let rank = old.map_or(COMING, |old| self.entry(old).rank);
        if let Some(old) = old {
            self.shut_entry(claim, old);
        }
        let number = self.put_entry(claim, demand, old);
        if let Some(entry) = self.entry_mut(number) {
            entry.rank = rank;
            entry.remaining = entry.remaining.saturating_sub(launched);
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            found.by_id.insert(demand.id.clone(), number);
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            found.coming.push((Reverse(demand.priority), place, number));
        }
        if rank != COMING {
            self.open_shut(claim);
            if !self.is_closed(claim) {
                self.reopen(number);
            }
            self.touch_claim(claim);
        }
    }

    /// Ends a piece.
    pub fn end_piece(&mut self, framework: &FrameworkId, role: &Role) {
        let claim = self.find_claim(framework, role);
        if let Some(claim) = claim.filter(|claim| self.is_closed(*claim)) {
            // Whether it wants anything counts for others also while it is closed.
            self.recount_open(claim);
        }
    }

    /// All of the new demand was put in: it is in force.
    pub fn conclude_replacement(&mut self, framework: &FrameworkId, role: &Role) {
        let claim = self.claim_of(framework, role);
        let Some(Some(found)) = self.claims.get_mut(claim as usize) else {
            return;
        };
        let mut coming = std::mem::take(&mut found.coming);
        coming.sort_unstable();
        let entries: Vec<u32> = coming.into_iter().map(|(.., number)| number).collect();
        found.turns = Turns::default();
        found.entries.clone_from(&entries);
        for (rank, number) in (0..).zip(entries) {
            if let Some(entry) = self.entry_mut(number) {
                entry.rank = rank;
            }
        }
        self.open_shut(claim);
        self.recount_open(claim);
        self.touch_claim(claim);
    }

    /// An entry leaves the lists of the open ones.
    fn shut_entry(&mut self, claim: u32, number: u32) {
        if let Some(entry) = self.entry_mut(number) {
            entry.remaining = 0;
        }
        if !self.is_closed(claim) {
            self.reopen(number);
        }
        if let Some(Some(found)) = self.claims.get_mut(claim as usize) {
            // They may be its own.
            found.turns = Turns::default();
        }
    }
}
