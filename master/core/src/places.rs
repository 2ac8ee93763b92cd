//! Places for frameworks: how many there may be, in all and of one principal, and which of them make room for new ones.
//!
//! A program that has no id of its own is a new framework each time it starts, and the one before stays for its failover
//! timeout. So that such a program takes the places of nobody else, a principal has three quarters of them at most; and
//! where none is left, the framework that has been away for the longest makes room, of those that have nothing to come
//! back to: no task, no executor, no state, and an id that a master gave. Who has chosen an id will come back under it.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::registry::Registry;
use proffer_model::{FrameworkId, Principal, Problem, TaskState, code};

use crate::core::Core;
use crate::ids::is_given;
use crate::limits::{
    FRAMEWORK_MAKES_ROOM_AFTER, FRAMEWORKS_LOOKED_AT_MAX, FRAMEWORKS_MAX,
    FRAMEWORKS_PER_PRINCIPAL_MAX,
};

/// Who has the places.
#[derive(Debug)]
pub(crate) struct Places {
    /// There are so many.
    pub(crate) most: usize,
    /// So many of them for one principal.
    pub(crate) share: usize,
    by_principal: BTreeMap<Principal, Held>,
}

/// The frameworks of a principal.
#[derive(Debug, Default)]
struct Held {
    count: usize,
    /// Those without a session whose id a master gave, by when they lost it or were last found to need their place, by the
    /// monotonic clock.
    absent: BTreeSet<(u64, FrameworkId)>,
}

impl Places {
    /// Those that the frameworks of the log have.
    pub(crate) fn recovered(registry: &Registry) -> Self {
        let mut places = Self {
            most: FRAMEWORKS_MAX,
            share: FRAMEWORKS_PER_PRINCIPAL_MAX,
            by_principal: BTreeMap::new(),
        };
        let entries = registry.frameworks.values();
        entries.for_each(|entry| places.take(&entry.principal));
        places
    }

    /// One of the principal's frameworks is new.
    pub(crate) fn take(&mut self, principal: &Principal) {
        self.by_principal
            .entry(principal.clone())
            .or_default()
            .count += 1;
    }

    /// One is over.
    fn leave(&mut self, principal: &Principal) {
        if let Some(held) = self.by_principal.get_mut(principal) {
            held.count = held.count.saturating_sub(1);
            if held.count == 0 {
                self.by_principal.remove(principal);
            }
        }
    }

    fn count_of(&self, principal: &Principal) -> usize {
        self.by_principal.get(principal).map_or(0, |it| it.count)
    }

    /// Who has the most.
    fn largest(&self) -> Option<&Principal> {
        let largest = self.by_principal.iter().max_by_key(|(_, held)| held.count);
        largest.map(|(principal, _)| principal)
    }

    /// Whether the frameworks of the log have these places, and no others.
    pub(crate) fn check(&self, registry: &Registry) -> bool {
        let again = Self::recovered(registry).by_principal;
        let counts = |(principal, held): (&Principal, &Held)| (principal.clone(), held.count);
        let is_known = |held: &Held| {
            let mut absent = held.absent.iter();
            absent.all(|(_, framework)| registry.frameworks.contains_key(framework))
        };
        again
            .iter()
            .map(counts)
            .eq(self.by_principal.iter().map(counts))
            && self.by_principal.values().all(is_known)
    }
}

impl Core {
    /// Whether there is a place for one more framework of this principal; another one may make room for it.
    pub(crate) fn find_place(&mut self, principal: &Principal) -> Result<(), Problem> {
        let (most, share) = (self.places.most, self.places.share);
        let has_share = self.places.count_of(principal) < share;
        if has_share && self.frameworks.len() < most {
            return Ok(());
        }
        let from = match has_share {
            true => self.places.largest().cloned(),
            false => Some(principal.clone()),
        };
        if let Some(idle) = from.and_then(|from| self.find_idle(&from)) {
            self.complete(&idle);
            return Ok(());
        }
        let message = match has_share {
            true => format!("there are {most} frameworks; the limit is reached"),
            false => format!("principal {principal} has {share} frameworks; that is its share"),
        };
        let hint = "give each program an id of its own, with create, so that it is the same framework whenever it starts, or a short failover timeout; tear down those that are not needed";
        Err(Problem::new(code::OVERLOADED, message).hint(hint))
    }

    /// A framework has no session from now on.
    pub(crate) fn may_make_room(&mut self, framework: &FrameworkId) {
        self.keep_place(framework);
        let now_ns = self.turn.now.mono_ns;
        let entry = self.registry.frameworks.get(framework);
        let held = entry.and_then(|entry| self.places.by_principal.get_mut(&entry.principal));
        if let (Some(held), Some(known)) = (held, self.frameworks.get_mut(framework))
            && is_given(framework)
        {
            known.absent_since = Some(now_ns);
            held.absent.insert((now_ns, framework.clone()));
        }
    }

    /// A framework has a session, or is over.
    pub(crate) fn keep_place(&mut self, framework: &FrameworkId) {
        let known = self.frameworks.get_mut(framework);
        let Some(since) = known.and_then(|known| known.absent_since.take()) else {
            return;
        };
        let entry = self.registry.frameworks.get(framework);
        let held = entry.and_then(|entry| self.places.by_principal.get_mut(&entry.principal));
        if let Some(held) = held {
            held.absent.remove(&(since, framework.clone()));
        }
    }

    /// A framework is over; it stands in the registry yet.
    pub(crate) fn leave_place(&mut self, framework: &FrameworkId) {
        self.keep_place(framework);
        if let Some(entry) = self.registry.frameworks.get(framework) {
            self.places.leave(&entry.principal);
        }
    }

    /// One of the principal's frameworks that has nothing to come back to: of those that have been away for a while the one that
    /// has been for the longest. Those that are looked at in vain have their turn again after the others.
    fn find_idle(&mut self, principal: &Principal) -> Option<FrameworkId> {
        for _ in 0..FRAMEWORKS_LOOKED_AT_MAX {
            let held = self.places.by_principal.get(principal)?;
            let (since, framework) = held.absent.first()?.clone();
            let away_ns = self.turn.now.mono_ns.saturating_sub(since);
            if u128::from(away_ns) < FRAMEWORK_MAKES_ROOM_AFTER.as_nanos() {
                return None;
            }
            if self.has_nothing(&framework) {
                return Some(framework);
            }
            self.may_make_room(&framework);
        }
        None
    }

    /// Whether a framework has no state, and nothing runs of it, nor may.
    fn has_nothing(&self, framework: &FrameworkId) -> bool {
        let entry = self.registry.frameworks.get(framework);
        let known = self.frameworks.get(framework);
        let unknown = self.say_of_unknown(framework);
        entry.is_some_and(|entry| entry.state.is_empty())
            && known.is_some_and(|known| known.executors.is_empty())
            && self.tasks.count_of(framework) == 0
            && unknown.is_some_and(|say| say.state == TaskState::Lost)
    }
}
