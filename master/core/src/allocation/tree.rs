//! The tree of roles: who is served next. Shares, weights and the running sums of quotas stand in its nodes.
//!
//! A role's children are the roles beneath it and its own group, whose children are its claims. So a role that has both
//! frameworks and roles beneath it competes with its own children as one of them (Mesos's virtual leaf). Siblings are
//! ordered by (share, allocations counted, path). Each inner node holds a tournament of its children for each of four
//! orders, so that a change costs the way to the root.
//!
//! A share is the largest part of any scalar's total that is held, divided by the weight, as a double has it.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::{Quota, Role, Weight};

use super::amounts::Amounts;
use super::double::Double;
use super::quota::{Guard, RoleState};
use super::siblings::Matches;
use super::tournament::Key;

pub(super) const NONE: u32 = u32::MAX;
pub(super) const ROOT: u32 = 0;
const WEIGHT_ONE: u32 = 1_000;

/// Which claims are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Those that take whatever is free.
    Any = 0,
    /// Of those, the ones under a guarantee that is not met.
    Guaranteed = 1,
    /// Those with shapes.
    Shaped = 2,
    /// Of those, the ones under a guarantee that is not met.
    GuaranteedShaped = 3,
}

/// How many orders there are.
pub(super) const ORDERS_LEN: usize = 4;
pub(super) const ORDERS: [Order; ORDERS_LEN] = [
    Order::Any,
    Order::Guaranteed,
    Order::Shaped,
    Order::GuaranteedShaped,
];

impl Order {
    /// Whether only claims under a guarantee that is not met are in it.
    pub(super) fn is_guaranteed(self) -> bool {
        matches!(self, Self::Guaranteed | Self::GuaranteedShaped)
    }

    /// Whether claims with shapes are ordered, or those that take whatever is free.
    pub(super) fn is_shaped(self) -> bool {
        matches!(self, Self::Shaped | Self::GuaranteedShaped)
    }
}

#[derive(Debug)]
pub(super) enum Kind {
    Role(Box<RoleState>),
    /// The frameworks of a role.
    Group,
    Claim(u32),
    /// The slot is free.
    Vacant,
}

/// A place in the tree. Every grant looks at those from a claim to the root, so they are small; what is looked at less often
/// is in boxes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) parent: u32,
    /// Its place in its parent's tournaments.
    pub(super) seat: u32,
    /// By which it stands among its parent's children, in the order of their paths.
    pub(super) rank: u64,
    /// All that is held here and beneath, of every kind.
    pub(super) held: Amounts,
    /// Allocations counted here and beneath; never less.
    pub(super) count: u64,
    pub(super) share: u64,
    weight: u32,
    /// The child that is first in each order; NONE: none takes part.
    pub(super) firsts: [u32; ORDERS_LEN],
    /// In which of its parent's orders it takes part.
    pub(super) is_in: [bool; ORDERS_LEN],
    /// Of claims: in which orders they take part.
    takes_part: [bool; 2],
    /// Of groups: left out of the order of those that take anything.
    is_hidden: bool,
    /// Of claims: left out of the order of those with shapes that are under a guarantee, which owes nothing of what they want.
    is_left_out: bool,
    /// Whether a guarantee holds here: of this role, of one above, or, of roles, of one beneath.
    pub(super) is_guarded: bool,
    /// Of roles: whether they have limits.
    pub(super) is_limited: bool,
    /// Of its children; none: it has at most one.
    pub(super) matches: Option<Box<Matches>>,
    pub(super) branch: Box<Branch>,
}

/// What is known of a node besides: its name and its children.
#[derive(Debug)]
pub(super) struct Branch {
    path: String,
    /// In the order of their paths, and so of their ranks.
    pub(super) children: Vec<u32>,
    /// Of roles with claims: their group; else NONE.
    pub(super) group: u32,
}

/// The roles, their groups and their claims.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) vacant: Vec<u32>,
    pub(super) roles: BTreeMap<Role, u32>,
    /// What there is of everything.
    pub(super) total: Amounts,
    /// The same, and as doubles; nothing of the names that do not count for shares.
    pub(super) totals: Vec<(u64, Double)>,
    /// Names that do not count for shares.
    pub(super) excluded: Vec<usize>,
    /// Whether the total has changed since the shares were begun to be counted.
    pub(super) is_stale: bool,
    /// How many nodes' shares are counted, while not all are.
    pub(super) settled_to: Option<u32>,
    /// Roles that guarantees speak of, of which what they need, or are owed, may have changed; none: nobody wants to know.
    changed_needs: Option<BTreeSet<u32>>,
}

impl Node {
    pub(super) fn new(kind: Kind, parent: u32, path: String) -> Self {
        Self {
            kind,
            parent,
            seat: 0,
            rank: 0,
            held: Amounts::default(),
            count: 0,
            share: 0,
            weight: WEIGHT_ONE,
            firsts: [NONE; ORDERS_LEN],
            is_in: [false; ORDERS_LEN],
            takes_part: [false; 2],
            is_hidden: false,
            is_left_out: false,
            is_guarded: false,
            is_limited: false,
            matches: None,
            branch: Box::new(Branch {
                path,
                children: Vec::new(),
                group: NONE,
            }),
        }
    }

    pub(super) fn children(&self) -> &[u32] {
        &self.branch.children
    }

    pub(super) fn path(&self) -> &str {
        &self.branch.path
    }

    /// Of claims: whether they take part in an order by themselves.
    fn is_claim_in(&self, order: Order) -> bool {
        let is_owed = self.is_guarded && !(self.is_left_out && order.is_shaped());
        self.takes_part[usize::from(order.is_shaped())] && (!order.is_guaranteed() || is_owed)
    }

    pub(super) fn role_state(&self) -> Option<&RoleState> {
        match &self.kind {
            Kind::Role(state) => Some(state),
            Kind::Group | Kind::Claim(_) | Kind::Vacant => None,
        }
    }
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Node::new(Kind::Role(Box::default()), NONE, String::new());
        Self {
            nodes: vec![root],
            vacant: Vec::new(),
            roles: BTreeMap::new(),
            total: Amounts::default(),
            totals: Vec::new(),
            excluded: Vec::new(),
            changed_needs: None,
            is_stale: false,
            settled_to: None,
        }
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub(super) fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.nodes[node as usize]
    }

    pub(super) fn state(&self, role: u32) -> Option<&RoleState> {
        self.node(role).role_state()
    }

    pub(super) fn state_mut(&mut self, role: u32) -> Option<&mut RoleState> {
        match &mut self.node_mut(role).kind {
            Kind::Role(state) => Some(state),
            Kind::Group | Kind::Claim(_) | Kind::Vacant => None,
        }
    }

    pub(super) fn root_state(&self) -> Option<&RoleState> {
        self.state(ROOT)
    }

    // ---- structure

    pub(super) fn roles(&self) -> impl Iterator<Item = (&Role, u32)> {
        self.roles.iter().map(|(role, node)| (role, *node))
    }

    pub(super) fn find(&self, role: &Role) -> Option<u32> {
        self.roles.get(role).copied()
    }

    /// The node of a role, made with those above it when it is not there.
    pub(super) fn role(&mut self, role: &Role) -> u32 {
        if let Some(node) = self.find(role) {
            return node;
        }
        let parent = role.parent().map_or(ROOT, |above| self.role(&above));
        let state = RoleState::new(role.clone());
        let node = self.insert(
            Kind::Role(Box::new(state)),
            parent,
            role.as_str().to_owned(),
        );
        self.roles.insert(role.clone(), node);
        let is_covered = self.state(parent).is_some_and(|above| above.is_covered);
        self.mark_guarded(node, is_covered);
        node
    }

    /// Adds a claim of a role; `name` orders it among the claims with an equal share.
    pub(super) fn add_claim(&mut self, role: u32, claim: u32, name: &str) -> u32 {
        let group = match self.group(role) {
            Some(group) => group,
            None => {
                let path = format!("{}/.", self.node(role).branch.path);
                let group = self.insert(Kind::Group, role, path);
                let is_covered = self.state(role).is_some_and(|state| state.is_covered);
                self.node_mut(group).is_guarded = is_covered;
                group
            }
        };
        let node = self.insert(Kind::Claim(claim), group, name.to_owned());
        self.node_mut(node).is_guarded = self.node(group).is_guarded;
        node
    }

    /// The group of a role that has claims.
    pub(super) fn group(&self, role: u32) -> Option<u32> {
        let group = self.node(role).branch.group;
        (group != NONE).then_some(group)
    }

    /// Takes a claim out with what it holds.
    pub(super) fn remove_claim(&mut self, node: u32) {
        let held = std::mem::take(&mut self.node_mut(node).held);
        let group = self.node(node).parent;
        self.walk_up(group, |above| above.held.subtract(&held));
        self.remove(node);
        let mut above = group;
        if self.node(group).children().is_empty() {
            above = self.node(group).parent;
            self.remove(group);
        }
        self.refresh(above);
        self.prune(above);
    }

    /// Takes a role out that nothing refers to any more, and then perhaps those above it.
    pub(super) fn prune(&mut self, role: u32) {
        let mut role = role;
        while role != ROOT {
            let node = self.node(role);
            let is_used = !node.children().is_empty()
                || node.weight != WEIGHT_ONE
                || node.role_state().is_none_or(RoleState::is_used);
            if is_used {
                return;
            }
            let parent = node.parent;
            if let Some(name) = self.state(role).and_then(|state| state.role.clone()) {
                self.roles.remove(&name);
            }
            self.remove(role);
            self.refresh(parent);
            role = parent;
        }
    }

    fn walk_up(&mut self, from: u32, mut change: impl FnMut(&mut Node)) {
        let mut node = from;
        while node != NONE {
            let found = self.node_mut(node);
            change(found);
            node = found.parent;
        }
    }

    // ---- what is held

    /// One more allocation to a claim. The order does not know of it before [`Tree::refresh`].
    pub(super) fn allocate(&mut self, claim: u32, all: &Amounts, charged: &Amounts) {
        self.walk_up(claim, |node| {
            node.count += 1;
            node.held.add(all);
            if let Kind::Role(state) = &mut node.kind {
                state.charged.add(charged);
            }
        });
        self.recount_needs(self.role_of(claim), true);
    }

    /// Takes back what a claim held.
    pub(super) fn release(&mut self, claim: u32, all: &Amounts, charged: &Amounts) {
        self.walk_up(claim, |node| {
            node.held.subtract(all);
            if let Kind::Role(state) = &mut node.kind {
                state.charged.subtract(charged);
            }
        });
        self.recount_needs(self.role_of(claim), false);
    }

    /// More of something is held by a claim, without one more allocation.
    pub(super) fn enlarge(&mut self, claim: u32, all: &Amounts, charged: &Amounts) {
        self.walk_up(claim, |node| {
            node.held.add(all);
            if let Kind::Role(state) = &mut node.kind {
                state.charged.add(charged);
            }
        });
        self.recount_needs(self.role_of(claim), true);
    }

    /// An allocation is as if it had never been.
    pub(super) fn uncount(&mut self, claim: u32) {
        self.walk_up(claim, |node| node.count = node.count.saturating_sub(1));
    }

    /// What is reserved for a role has changed.
    pub(super) fn set_reserved(&mut self, role: &Role, change: impl Fn(&mut Amounts)) {
        let node = self.role(role);
        if let Some(state) = self.state_mut(node) {
            change(&mut state.reserved_here);
        }
        self.walk_up(node, |node| {
            if let Kind::Role(state) = &mut node.kind {
                change(&mut state.reserved);
            }
        });
        self.recount_needs(node, false);
        self.refresh(node);
        self.prune(node);
    }

    /// The role that a claim is in.
    pub(super) fn role_of(&self, claim: u32) -> u32 {
        let group = self.node(claim).parent;
        self.node(group).parent
    }

    // ---- weights, quotas, totals

    pub(super) fn set_weight(&mut self, role: &Role, weight: Weight) {
        let node = self.role(role);
        self.node_mut(node).weight = weight.0.max(1);
        self.recount_share(node);
        self.refresh(node);
        self.prune(node);
    }

    pub(super) fn weight(&self, role: u32) -> Weight {
        Weight(self.node(role).weight)
    }

    /// Of which role; what guarantees need is to be found out anew after it, and the role may not be needed any more.
    pub(super) fn set_quota(
        &mut self,
        role: &Role,
        quota: Option<&Quota>,
        amounts: (Amounts, Amounts),
    ) -> u32 {
        let node = self.role(role);
        let is_limited = quota.is_some_and(|quota| !quota.limits.is_empty());
        let guarantee = quota
            .filter(|quota| !quota.guarantees.is_empty())
            .map(|_| amounts.0);
        if let Some(state) = self.state_mut(node) {
            state.quota = quota.cloned();
            state.limits = is_limited.then_some(amounts.1);
            state.guarantee = guarantee;
        }
        self.node_mut(node).is_limited = is_limited;
        node
    }

    /// The shares are of another total, or of other names.
    pub(super) fn set_excluded(&mut self, names: Vec<usize>) {
        self.excluded = names;
        self.is_stale = true;
    }

    pub(super) fn change_total(&mut self, change: impl FnOnce(&mut Amounts)) {
        change(&mut self.total);
        self.is_stale = true;
    }

    /// Finds out anew where guarantees are, and what they need.
    pub(super) fn reguard(&mut self) {
        let all: Vec<u32> = self.roles.values().copied().collect();
        if let Some(root) = self.state_mut(ROOT) {
            root.guard = None;
        }
        for role in &all {
            if let Some(state) = self.state_mut(*role) {
                state.guard = None;
            }
        }
        let guaranteed = all.iter().copied().filter(|role| {
            self.state(*role)
                .is_some_and(|state| state.guarantee.is_some())
        });
        let guaranteed: Vec<u32> = guaranteed.collect();
        for role in &guaranteed {
            self.walk_up(*role, |node| {
                if let Kind::Role(state) = &mut node.kind {
                    state.guard.get_or_insert_with(Box::<Guard>::default);
                }
            });
        }
        self.mark_guarded(ROOT, false);
        for role in &guaranteed {
            self.recount_needs(*role, false);
        }
        self.replay_all();
    }

    /// `is_covered`: a role above is guaranteed something.
    fn mark_guarded(&mut self, from: u32, is_covered: bool) {
        let mut stack = vec![(from, is_covered)];
        while let Some((node, is_covered)) = stack.pop() {
            let state = self.state(node);
            let is_covered = is_covered || state.is_some_and(|state| state.guarantee.is_some());
            let is_guarded = is_covered || state.is_some_and(|state| state.guard.is_some());
            let found = self.node_mut(node);
            found.is_guarded = is_guarded;
            if let Kind::Role(state) = &mut found.kind {
                state.is_covered = is_covered;
            }
            let children = found.branch.children.iter();
            stack.extend(children.map(|child| (*child, is_covered)));
        }
    }

    /// Carries a change of what a role has consumed into what guarantees still need, up to the root. `is_grant`: a claim of the
    /// role holds more, and nobody is owed more than before; that is noted for nobody.
    fn recount_needs(&mut self, role: u32, is_grant: bool) {
        let mut node = role;
        let mut is_changed_beneath = false;
        while node != NONE {
            let parent = self.node(node).parent;
            let guarded = self.state_mut(node).filter(|state| state.guard.is_some());
            let change = guarded.and_then(RoleState::recount_need);
            let Some((before, after, is_changed_here)) = change else {
                node = parent;
                continue;
            };
            if !is_grant
                && (is_changed_here || is_changed_beneath)
                && let Some(changed) = self.changed_needs.as_mut().filter(|_| node != ROOT)
            {
                changed.insert(node);
            }
            is_changed_beneath = before != after;
            if is_changed_beneath
                && parent != NONE
                && let Some(guard) = self
                    .state_mut(parent)
                    .and_then(|state| state.guard.as_mut())
            {
                guard.beneath.add(&after);
                guard.beneath.subtract(&before);
            }
            node = parent;
        }
    }

    /// Whether somebody wants to know from now on of which roles it has changed what guarantees need, but for what is granted.
    pub(super) fn notes_needs(&mut self, is_noted: bool) {
        match is_noted {
            true => drop(self.changed_needs.get_or_insert_default()),
            false => self.changed_needs = None,
        }
    }

    /// The roles of which it has; they are forgotten.
    pub(super) fn take_changed_needs(&mut self) -> BTreeSet<u32> {
        let changed = self.changed_needs.as_mut();
        changed.map(std::mem::take).unwrap_or_default()
    }

    /// Whether what guarantees need of a role may have changed, and nobody has looked.
    pub(super) fn has_changed_need(&self, role: u32) -> bool {
        let mut changed = self.changed_needs.iter();
        changed.any(|changed| changed.contains(&role))
    }

    /// A role and those above it, without the root, to which nothing is guaranteed.
    pub(super) fn with_above(&self, role: u32) -> impl Iterator<Item = u32> {
        let all = std::iter::successors(Some(role), |node| Some(self.node(*node).parent));
        all.take_while(|node| *node != ROOT && *node != NONE)
    }

    // ---- order

    pub(super) fn recount_share(&mut self, node: u32) {
        self.node_mut(node).share = self.share_from_scratch(node);
    }

    /// The share of a node as it should be.
    pub(super) fn share_from_scratch(&self, node: u32) -> u64 {
        let found = self.node(node);
        share(&found.held, &self.totals, found.weight)
    }

    /// The share of a node before its weight, in billionths.
    pub(super) fn share_billionths(&self, node: u32) -> u64 {
        let held = self.node(node).held.iter();
        let parts = held.filter(|(name, _)| !self.excluded.contains(name));
        let shares = parts.map(|(name, milli)| {
            let total = u128::from(self.total.get(name).max(1));
            u64::try_from(u128::from(milli) * 1_000_000_000 / total).unwrap_or(u64::MAX)
        });
        shares.max().unwrap_or(0)
    }

    /// The share that so much would be.
    pub(super) fn share_of(&self, amounts: &Amounts) -> u64 {
        share(amounts, &self.totals, WEIGHT_ONE)
    }

    pub(super) fn key(&self, node: u32, order: Order) -> Key {
        let found = self.node(node);
        let key = Key::new(found.share, found.count, found.rank);
        let takes_part = match &found.kind {
            Kind::Claim(_) => found.is_claim_in(order),
            Kind::Group => {
                let is_hidden = found.is_hidden && !order.is_shaped();
                !is_hidden && found.firsts[order as usize] != NONE
            }
            Kind::Role(state) => {
                found.firsts[order as usize] != NONE
                    && (!order.is_guaranteed() || self.is_served_first(found.parent, state))
            }
            Kind::Vacant => false,
        };
        if takes_part { key } else { Key::ABSENT }
    }

    /// Whether claims at and beneath a role may be served in an order: in that of guarantees, while one here or above is not
    /// met.
    pub(super) fn is_served(&self, role: u32, order: Order) -> bool {
        let mut node = role;
        while order.is_guaranteed() && node != ROOT {
            let found = self.node(node);
            if let Kind::Role(state) = &found.kind
                && !self.is_served_first(found.parent, state)
            {
                return false;
            }
            node = found.parent;
        }
        true
    }

    /// Whether claims beneath a role may be under a guarantee that is not met.
    fn is_served_first(&self, parent: u32, state: &RoleState) -> bool {
        let is_covered = self.state(parent).is_some_and(|above| above.is_covered);
        is_covered
            || state
                .guard
                .as_ref()
                .is_some_and(|guard| !guard.need.is_zero())
    }

    /// Lets a claim take part in the order of those that take anything, and of those with shapes.
    pub(super) fn set_takes_part(&mut self, claim: u32, any: bool, shaped: bool) {
        if self.node(claim).takes_part != [any, shaped] {
            self.node_mut(claim).takes_part = [any, shaped];
            self.reorder(claim);
        }
    }

    /// Leaves all claims of a role that take anything out of the order, or no more.
    pub(super) fn set_hidden(&mut self, claim: u32, is_hidden: bool) {
        let group = self.node(claim).parent;
        self.node_mut(group).is_hidden = is_hidden;
        self.reorder(group);
    }

    /// Whether a claim takes part in an order.
    pub(super) fn is_in(&self, claim: u32, order: Order) -> bool {
        let found = self.node(claim);
        let is_hidden = !order.is_shaped() && self.node(found.parent).is_hidden;
        found.is_claim_in(order) && !is_hidden
    }

    /// Leaves a claim out of the order of those with shapes that are under a guarantee, or no more.
    pub(super) fn set_left_out(&mut self, claim: u32, is_left_out: bool) {
        self.node_mut(claim).is_left_out = is_left_out;
        self.reorder(claim);
    }

    pub(super) fn is_left_out(&self, claim: u32) -> bool {
        self.node(claim).is_left_out
    }

    pub(super) fn takes_part(&self, claim: u32) -> [bool; 2] {
        self.node(claim).takes_part
    }

    /// Counts the shares from here to the root anew and puts them in order.
    pub(super) fn refresh(&mut self, from: u32) {
        let mut node = from;
        while node != ROOT {
            let parent = self.node(node).parent;
            // An only child is first whatever its share is.
            if self.node(parent).matches.is_some() {
                self.recount_share(node);
            }
            self.place(node);
            node = parent;
        }
    }

    /// Puts a node in order that has come or gone; those above it as far as it matters.
    fn reorder(&mut self, from: u32) {
        let mut node = from;
        while node != ROOT {
            if !self.place(node) {
                return;
            }
            node = self.node(node).parent;
        }
    }

    /// The claim that is served next.
    pub(super) fn first(&self, order: Order) -> Option<u32> {
        self.first_beneath(ROOT, order)
    }

    /// The claim that is served next of those at and beneath a role.
    pub(super) fn first_beneath(&self, role: u32, order: Order) -> Option<u32> {
        let mut node = role;
        loop {
            let found = self.node(node);
            if let Kind::Claim(claim) = found.kind {
                return Some(claim);
            }
            node = found.firsts[order as usize];
            if node == NONE {
                return None;
            }
        }
    }

    /// Which of two claims' nodes is served first.
    pub(super) fn compare(&self, one: u32, other: u32) -> std::cmp::Ordering {
        let (mut a, mut b) = (self.way(one), self.way(other));
        while let (Some(left), Some(right)) = (a.pop(), b.pop()) {
            if left != right {
                let rank = |node: u32| {
                    let found = self.node(node);
                    (found.share, found.count, found.rank)
                };
                return rank(left).cmp(&rank(right));
            }
        }
        std::cmp::Ordering::Equal
    }

    /// The nodes from one to the root, itself first.
    fn way(&self, from: u32) -> Vec<u32> {
        let mut way = Vec::with_capacity(8);
        let mut node = from;
        while node != NONE {
            way.push(node);
            node = self.node(node).parent;
        }
        way
    }

    /// All claims at and beneath a role.
    pub(super) fn claims_beneath(&self, role: u32) -> Vec<u32> {
        let nodes = self.claim_nodes_beneath(role).into_iter();
        let claims = nodes.filter_map(|node| match self.node(node).kind {
            Kind::Claim(claim) => Some(claim),
            Kind::Role(_) | Kind::Group | Kind::Vacant => None,
        });
        claims.collect()
    }

    /// Their nodes.
    pub(super) fn claim_nodes_beneath(&self, role: u32) -> Vec<u32> {
        let mut claims = Vec::new();
        let mut stack = vec![role];
        while let Some(node) = stack.pop() {
            let found = self.node(node);
            if let Kind::Claim(_) = found.kind {
                claims.push(node);
            }
            stack.extend(found.children().iter().rev());
        }
        claims
    }

    /// All claims in the order in which they would be served, whether they take part or not.
    pub(super) fn claims_in_order(&self) -> Vec<u32> {
        let mut claims = Vec::new();
        let mut stack = vec![ROOT];
        while let Some(node) = stack.pop() {
            let found = self.node(node);
            if let Kind::Claim(claim) = found.kind {
                claims.push(claim);
            }
            let mut children = found.children().to_vec();
            children.sort_by_key(|child| {
                let child = self.node(*child);
                (child.share, child.count, child.rank)
            });
            stack.extend(children.into_iter().rev());
        }
        claims
    }
}

/// The largest part of a total that is held, divided by the weight.
fn share(held: &Amounts, totals: &[(u64, Double)], weight: u32) -> u64 {
    // Of whole numbers, which doubles hold exactly, the larger fraction is not the smaller double: one division is enough.
    let (mut whole, mut of) = (0u64, (1u64, Double::default()));
    let mut most = Double::default();
    for ((_, milli), (total, double)) in held.iter().zip(totals) {
        if milli == 0 || *total == 0 {
            continue;
        }
        if milli.is_multiple_of(1_000) && total.is_multiple_of(1_000) {
            if u128::from(milli) * u128::from(of.0) > u128::from(whole) * u128::from(*total) {
                (whole, of) = (milli, (*total, *double));
            }
        } else {
            most = most.max(Double::from_milli(milli).over(*double));
        }
    }
    if whole > 0 {
        most = most.max(Double::from_milli(whole).over(of.1));
    }
    if weight != WEIGHT_ONE {
        most = most.over(Double::from_milli(u64::from(weight)));
    }
    most.bits()
}
