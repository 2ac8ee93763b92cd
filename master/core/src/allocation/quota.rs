//! What a role is guaranteed and may hold at most, with all beneath it, as running sums.
//!
//! A role consumes what is reserved for it, held or not, and what it holds unreserved and not revocable. A guarantee needs
//! what it is more than that. A role above needs at least what those beneath it need together.

use proffer_model::{Quota, Role};

use super::amounts::Amounts;

/// What is known of a role besides its share.
#[derive(Debug, Default)]
pub(super) struct RoleState {
    /// None: the root.
    pub(super) role: Option<Role>,
    /// Reserved for it and those beneath, held or not.
    pub(super) reserved: Amounts,
    /// Reserved for exactly this one, held or not.
    pub(super) reserved_here: Amounts,
    /// Held here and beneath, neither reserved nor revocable.
    pub(super) charged: Amounts,
    pub(super) quota: Option<Quota>,
    pub(super) guarantee: Option<Amounts>,
    /// Names without a bound are at the largest number.
    pub(super) limits: Option<Amounts>,
    /// Of roles with a guarantee, and those above them.
    pub(super) guard: Option<Box<Guard>>,
    /// It or one above it is guaranteed something.
    pub(super) is_covered: bool,
    /// Its limit, or how little it is owed, has stood in the way of a claim since it was last looked at.
    pub(super) is_bound: bool,
}

/// What a limit leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    /// Whose limit it is.
    pub(super) of: u32,
    /// So much of it.
    pub(super) left: u64,
    /// It would be more, were nothing kept for guarantees of others beneath that role.
    pub(super) is_kept: bool,
}

/// What guarantees still need.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Here and beneath.
    pub(super) need: Amounts,
    /// The sum of what the roles beneath need.
    pub(super) beneath: Amounts,
    /// What its own guarantee needed when that was counted last.
    unmet: Amounts,
}

impl RoleState {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role: Some(role),
            ..Self::default()
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.quota.is_some() || !self.reserved.is_zero()
    }

    pub(super) fn consumed(&self) -> Amounts {
        self.reserved.plus(&self.charged)
    }

    /// What its own guarantee still needs.
    pub(super) fn unmet(&self) -> Option<Amounts> {
        let guarantee = self.guarantee.as_ref()?;
        Some(guarantee.minus(&self.consumed()))
    }

    /// Its limit of a resource, if it has one.
    pub(super) fn limit(&self, name: usize) -> Option<u64> {
        let limit = self.limits.as_ref()?.get(name);
        (limit != u64::MAX).then_some(limit)
    }

    /// What its own limits leave; names without a bound have none.
    pub(super) fn room(&self) -> Option<Amounts> {
        let mut room = self.limits.clone()?;
        let consumed = self.consumed();
        for (name, most) in self.limits.iter().flat_map(Amounts::iter) {
            if most != u64::MAX {
                room.set(name, most.saturating_sub(consumed.get(name)));
            }
        }
        Some(room)
    }

    /// Counts the need anew; it before and now, when there is a guarantee here or beneath, and whether that, or what its own
    /// guarantee needs, is not what it was.
    pub(super) fn recount_need(&mut self) -> Option<(Amounts, Amounts, bool)> {
        let unmet = self.guard.as_ref().and_then(|_| self.unmet());
        let unmet = unmet.unwrap_or_default();
        let guard = self.guard.as_mut()?;
        let mut need = guard.beneath.clone();
        need.grow_to(&unmet);
        let is_changed = guard.need != need || guard.unmet != unmet;
        guard.unmet = unmet;
        let before = std::mem::replace(&mut guard.need, need.clone());
        Some((before, need, is_changed))
    }
}

impl super::tree::Tree {
    /// What the limits of a role and of those above it leave; none: no limits. What a limit leaves is kept for guarantees of
    /// others beneath it, but for what this role is itself owed.
    pub(super) fn room(&self, role: u32) -> Option<Amounts> {
        let mut room: Option<Amounts> = None;
        self.each_room(role, |_, here, _| match &mut room {
            Some(room) => room.shrink_to(here),
            None => room = Some(here.clone()),
        });
        room
    }

    /// Whether anything is reserved for a role, or for one above it, so that it may have it.
    pub(super) fn is_reserved_for(&self, role: u32) -> bool {
        let mut node = role;
        while node != super::tree::NONE {
            if self
                .state(node)
                .is_some_and(|state| !state.reserved_here.is_zero())
            {
                return true;
            }
            node = self.node(node).parent;
        }
        false
    }

    /// The least that limits of a resource leave to a role, were they these; none: without a limit.
    pub(super) fn least_room(
        &self,
        role: u32,
        name: usize,
        limit: impl Fn(&RoleState) -> Option<u64>,
    ) -> Option<Least> {
        let owed = self.unmet(role).get(name);
        let mut found: Option<Least> = None;
        self.each_room(role, |of, _, others| {
            let Some((state, most)) = self.state(of).and_then(|it| Some((it, limit(it)?))) else {
                return;
            };
            let whole = most.saturating_sub(state.consumed().get(name));
            // As `keep_back` does it.
            let left = whole.saturating_sub(others.get(name)).max(whole.min(owed));
            if found.is_none_or(|least| left < least.left) {
                let is_kept = left < whole;
                found = Some(Least { of, left, is_kept });
            }
        });
        found
    }

    /// What the limits of a role and of those above it leave to it, one after the other, with what is kept of each for others.
    pub(super) fn each_room(&self, role: u32, mut visit: impl FnMut(u32, &Amounts, &Amounts)) {
        let mut owed: Option<Amounts> = None;
        let (mut others, mut on_the_way) = (Amounts::default(), Amounts::default());
        let mut node = role;
        while node != super::tree::NONE {
            let state = self.state(node);
            let guard = state.and_then(|state| state.guard.as_ref());
            if let Some(guard) = guard {
                others.add(&guard.beneath.minus(&on_the_way));
            }
            on_the_way = guard.map_or_else(Amounts::default, |guard| guard.need.clone());
            let state = state.filter(|_| self.node(node).is_limited);
            if let Some(mut here) = state.and_then(RoleState::room) {
                if !others.is_zero() {
                    let owed = owed.get_or_insert_with(|| self.unmet(role));
                    here.keep_back(&others, owed);
                }
                visit(node, &here, &others);
            }
            node = self.node(node).parent;
        }
    }

    /// What guarantees of a role and of those above it still need, of each name the most. What a role above needs is not
    /// this one's as far as it is needed for guarantees of others beneath it, at whatever level.
    pub(super) fn unmet(&self, role: u32) -> Amounts {
        let mut unmet = Amounts::default();
        let (mut others, mut on_the_way) = (Amounts::default(), Amounts::default());
        let mut node = role;
        while node != super::tree::NONE {
            let state = self.state(node);
            let guard = state.and_then(|state| state.guard.as_ref());
            if let Some(guard) = guard {
                others.add(&guard.beneath.minus(&on_the_way));
            }
            if let Some(here) = state.and_then(RoleState::unmet) {
                unmet.grow_to(&here.minus(&others));
            }
            on_the_way = guard.map_or_else(Amounts::default, |guard| guard.need.clone());
            node = self.node(node).parent;
        }
        unmet
    }

    /// The role that guarantees of it, or beneath it, speak of, and that is next above one or this one itself; else the root.
    /// What it lacks is all that those beneath it lack, where guarantees speak of none of them.
    pub(super) fn guard_of(&self, role: u32) -> u32 {
        let mut node = role;
        while node != super::tree::ROOT
            && self.state(node).is_none_or(|state| state.guard.is_none())
        {
            node = self.node(node).parent;
        }
        node
    }

    /// What all guarantees together still need; none: nothing.
    pub(super) fn required(&self) -> Option<&Amounts> {
        let guard = self.root_state()?.guard.as_ref()?;
        (!guard.beneath.is_zero()).then_some(&guard.beneath)
    }

    /// Remembers that the limits of a role, or of those above it, stood in the way.
    pub(super) fn mark_bound(&mut self, role: u32) {
        let mut node = role;
        while node != super::tree::NONE {
            if let Some(state) = self.state_mut(node).filter(|state| state.limits.is_some()) {
                state.is_bound = true;
            }
            node = self.node(node).parent;
        }
    }

    /// Remembers that what a role, or one above it, is owed of these names was too little for it. Of a name that is guaranteed
    /// to none of them nothing is ever owed to it.
    pub(super) fn mark_owed(&mut self, role: u32, names: u64) {
        let mut node = role;
        while node != super::tree::NONE && self.node(node).is_guarded {
            if let Some(state) = self.state_mut(node)
                && let Some(guarantee) = &state.guarantee
                && guarantee.names() & names != 0
            {
                state.is_bound = true;
            }
            node = self.node(node).parent;
        }
    }

    /// The roles from this one up that stood in the way; they forget it.
    pub(super) fn take_bound(&mut self, role: u32) -> Vec<u32> {
        let mut bound = Vec::new();
        let mut node = role;
        while node != super::tree::NONE {
            if let Some(state) = self.state_mut(node)
                && std::mem::take(&mut state.is_bound)
            {
                bound.push(node);
            }
            node = self.node(node).parent;
        }
        bound
    }
}
