//! The children of a node among each other: where each stands in the order of their paths, and the matches that they play.
//!
//! To insert or to remove one of thousands costs the way to the top of a tournament, and no more of the others: a child has a
//! seat in the tournaments, whichever is free, and a rank, a number with room for others beside it, by which those with
//! equal shares are ordered. Ranks are given anew, to few at a time, when there is no room between two.
//!
//! The subtle thing: a change of the total changes all shares, but not who takes part. So shares are counted anew node by
//! node, in any order and in parts, and while that lasts nobody asks who is first.

use super::double::Double;
use super::limits::{RANK_STEP, RANKS_APART_MIN, SEATS_MIN};
use super::tournament::{Key, Tournament};
use super::tree::{Kind, NONE, Node, ORDERS, ORDERS_LEN, Order, ROOT, Tree};

/// The tournaments of the children of a node; an only child has nobody to play against.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// The child at each place of the tournaments; NONE: none.
    seats: Vec<u32>,
    vacant: Vec<u32>,
    orders: [Tournament; ORDERS_LEN],
}

impl Matches {
    /// The child that is first in an order; NONE: none takes part.
    fn first(&self, order: usize) -> u32 {
        let seat = self.orders[order].first();
        let child = seat.and_then(|seat| self.seats.get(seat as usize));
        child.copied().unwrap_or(NONE)
    }

    /// Takes a seat; none: all are taken, and there are to be more.
    fn sit(&mut self, node: u32) -> Option<u32> {
        if let Some(seat) = self.vacant.pop() {
            self.seats[seat as usize] = node;
            return Some(seat);
        }
        let seat = u32::try_from(self.seats.len()).ok()?;
        (self.seats.len() < self.orders[0].size()).then(|| {
            self.seats.push(node);
            seat
        })
    }

    /// Gives a seat back.
    fn leave(&mut self, seat: u32) {
        self.seats[seat as usize] = NONE;
        self.vacant.push(seat);
        for order in &mut self.orders {
            order.set(seat, Key::ABSENT);
        }
    }

    fn is_mostly_vacant(&self) -> bool {
        self.seats.len() > SEATS_MIN && self.vacant.len() > self.seats.len() / 4 * 3
    }
}

impl Tree {
    /// Adds a node that holds nothing and takes part in nothing yet.
    pub(super) fn insert(&mut self, kind: Kind, parent: u32, path: String) -> u32 {
        let children = self.node(parent).children();
        let at = children.partition_point(|child| *self.node(*child).path() < *path);
        let is_group = matches!(kind, Kind::Group);
        let mut fresh = Node::new(kind, parent, path);
        fresh.rank = self.rank_at(parent, at);
        let node = match self.vacant.pop() {
            Some(node) => {
                *self.node_mut(node) = fresh;
                node
            }
            None => {
                self.nodes.push(fresh);
                u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
            }
        };
        let above = self.node_mut(parent);
        above.branch.children.insert(at, node);
        if is_group {
            above.branch.group = node;
        }
        let seat = above.matches.as_mut().and_then(|matches| matches.sit(node));
        match seat {
            Some(seat) => self.node_mut(node).seat = seat,
            None => self.replay(parent),
        }
        node
    }

    /// Takes a node without children out.
    pub(super) fn remove(&mut self, node: u32) {
        let gone = std::mem::replace(
            self.node_mut(node),
            Node::new(Kind::Vacant, NONE, String::new()),
        );
        self.vacant.push(node);
        let parent = gone.parent;
        let children = self.node(parent).children();
        let at =
            children.partition_point(|child| *child != node && self.node(*child).rank < gone.rank);
        let above = self.node_mut(parent);
        above.branch.children.remove(at);
        if above.branch.group == node {
            above.branch.group = NONE;
        }
        let is_alone = above.children().len() < 2;
        if let Some(matches) = above.matches.as_mut().filter(|_| !is_alone) {
            matches.leave(gone.seat);
            above.firsts = ORDERS.map(|order| matches.first(order as usize));
            if !matches.is_mostly_vacant() {
                return;
            }
        }
        self.replay(parent);
    }

    /// A rank between those of two children that stand beside each other.
    fn rank_at(&mut self, parent: u32, at: usize) -> u64 {
        if let Some(rank) = self.rank_between(parent, at) {
            return rank;
        }
        self.spread_ranks(parent, at);
        self.rank_between(parent, at).unwrap_or(u64::MAX)
    }

    fn rank_between(&self, parent: u32, at: usize) -> Option<u64> {
        let (below, above) = self.ranks_around(parent, at..at);
        match (below, above) {
            (None, None) => Some(u64::MAX / 2),
            (Some(below), None) => below.checked_add(RANK_STEP),
            (None, Some(above)) => above.checked_sub(RANK_STEP),
            (Some(below), Some(above)) => (above - below > 1).then(|| below + (above - below) / 2),
        }
    }

    /// The ranks of the children before and after some.
    fn ranks_around(
        &self,
        parent: u32,
        range: std::ops::Range<usize>,
    ) -> (Option<u64>, Option<u64>) {
        let children = self.node(parent).children();
        let rank = |child: &u32| self.node(*child).rank;
        let below = range
            .start
            .checked_sub(1)
            .and_then(|place| children.get(place));
        (below.map(rank), children.get(range.end).map(rank))
    }

    /// Spreads the ranks of as few children as it takes to have room around a place.
    fn spread_ranks(&mut self, parent: u32, at: usize) {
        let len = self.node(parent).children().len();
        let mut reach = 1;
        loop {
            let range = at.saturating_sub(reach)..at.saturating_add(reach).min(len);
            let count = u64::try_from(range.len() + 1).unwrap_or(u64::MAX);
            let (below, above) = self.ranks_around(parent, range.clone());
            let below = below.unwrap_or(0);
            let apart = (above.unwrap_or(u64::MAX) - below) / count;
            if apart >= RANKS_APART_MIN || range.len() == len {
                let moved = self.node(parent).children().get(range);
                let moved = moved.unwrap_or_default().to_vec();
                for (steps, child) in (1..).zip(moved) {
                    self.node_mut(child).rank = below + apart * steps;
                    self.place(child);
                }
                return;
            }
            reach = reach.saturating_mul(2);
        }
    }

    /// Seats the children of a node anew and plays all its tournaments.
    fn replay(&mut self, node: u32) {
        let children = std::mem::take(&mut self.node_mut(node).branch.children);
        for (seat, child) in (0..).zip(&children) {
            self.node_mut(*child).seat = seat;
            self.recount_share(*child);
        }
        let mut matches = self.node_mut(node).matches.take();
        if children.len() < 2 {
            matches = None;
        } else {
            let matches = matches.get_or_insert_with(Box::default);
            matches.seats.clone_from(&children);
            matches.vacant.clear();
        }
        let mut keys = Vec::with_capacity(children.len());
        for order in ORDERS {
            let index = order as usize;
            keys.clear();
            for child in &children {
                let key = self.key(*child, order);
                self.node_mut(*child).is_in[index] = key != Key::ABSENT;
                keys.push(key);
            }
            self.node_mut(node).firsts[index] = match (&mut matches, children.as_slice()) {
                (Some(matches), _) => {
                    matches.orders[index].rebuild(&keys);
                    matches.first(index)
                }
                (None, [child]) if self.node(*child).is_in[index] => *child,
                (None, _) => NONE,
            };
        }
        let found = self.node_mut(node);
        found.matches = matches;
        found.branch.children = children;
    }

    /// Plays every tournament, the lower ones first.
    pub(super) fn replay_all(&mut self) {
        let mut order = vec![ROOT];
        let mut next = 0;
        while let Some(node) = order.get(next).copied() {
            order.extend_from_slice(self.node(node).children());
            next += 1;
        }
        for node in order.into_iter().rev() {
            if !self.node(node).children().is_empty() {
                self.replay(node);
            }
        }
    }

    /// Writes a node's keys into its parent's tournaments; whether the parent became empty by it, or was.
    pub(super) fn place(&mut self, node: u32) -> bool {
        let (parent, seat) = (self.node(node).parent, self.node(node).seat);
        let is_guarded = self.node(node).is_guarded;
        let mut is_news = false;
        for order in ORDERS {
            let index = order as usize;
            let was_in = self.node(node).is_in[index];
            if order.is_guaranteed() && !is_guarded && !was_in {
                continue;
            }
            let key = self.key(node, order);
            let is_in = key != Key::ABSENT;
            if !is_in && !was_in {
                continue;
            }
            self.node_mut(node).is_in[index] = is_in;
            let above = self.node_mut(parent);
            let first = match &mut above.matches {
                Some(matches) => {
                    matches.orders[index].set(seat, key);
                    matches.first(index)
                }
                None if is_in => node,
                None => NONE,
            };
            is_news |= (above.firsts[index] == NONE) != (first == NONE);
            above.firsts[index] = first;
        }
        is_news
    }

    // ---- when the total has changed

    /// Whether shares are to be counted anew: the total has changed.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale || self.is_settling()
    }

    /// Whether some shares are of another total than others.
    pub(super) fn is_settling(&self) -> bool {
        self.settled_to.is_some()
    }

    /// How many nodes are gone through to count all shares.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(NONE)
    }

    /// Goes on to count all shares when the total has changed, of so many nodes at most; of how many it did. What changes in
    /// the total meanwhile is for the next time.
    pub(super) fn settle(&mut self, nodes_max: u32) -> u32 {
        if self.settled_to.is_none() {
            if !std::mem::take(&mut self.is_stale) {
                return 0;
            }
            self.take_totals();
        }
        let from = self.settled_to.unwrap_or(0);
        let to = from.saturating_add(nodes_max).min(self.len());
        for node in from..to {
            let found = self.node(node);
            // What holds nothing has no share of any total, and an only child is first whatever its share is.
            let is_counted = found.parent != NONE
                && (found.share > 0 || !found.held.is_zero())
                && self.node(found.parent).matches.is_some();
            if is_counted {
                self.recount_share(node);
                self.place(node);
            }
        }
        self.settled_to = (to < self.len()).then_some(to);
        to - from
    }

    fn take_totals(&mut self) {
        let doubles = self.total.iter().map(|(name, milli)| {
            let counted = if self.excluded.contains(&name) {
                0
            } else {
                milli
            };
            (counted, Double::from_milli(counted))
        });
        self.totals = doubles.collect();
    }

    // ---- the count from scratch

    /// Compares how children stand and who is first among them with what it should be.
    pub(super) fn check_order(&self) -> Result<(), String> {
        for (node, found) in (0..).zip(&self.nodes) {
            let children = found.children();
            let path = |place: usize| children.get(place).map(|child| self.node(*child));
            for place in 1..children.len() {
                let (Some(one), Some(next)) = (path(place - 1), path(place)) else {
                    continue;
                };
                // Claims of the same name, of roles that are called in no order, are only in tests of the order alone.
                if one.rank >= next.rank || one.path() > next.path() {
                    return Err(format!("{} and {} stand wrongly", one.path(), next.path()));
                }
            }
            if found.matches.is_some() != (children.len() > 1) {
                return Err(format!("the children of {} do not play", found.path()));
            }
            for order in ORDERS {
                let first = self.first_from_scratch(node, order);
                let kept = found.firsts[order as usize];
                if !self.is_stale() && kept != first {
                    let path = |node: u32| self.nodes.get(node as usize).map(Node::path);
                    return Err(format!(
                        "first beneath {:?} is {:?} and not {:?} ({order:?})",
                        found.path(),
                        path(first),
                        path(kept)
                    ));
                }
            }
        }
        Ok(())
    }

    /// The child that is first in an order, by shares that are counted anew.
    fn first_from_scratch(&self, node: u32, order: Order) -> u32 {
        let children = self.node(node).children().iter().copied();
        let taking_part = children.filter(|child| self.key(*child, order) != Key::ABSENT);
        let first = taking_part.min_by_key(|child| {
            let found = self.node(*child);
            (self.share_from_scratch(*child), found.count, found.rank)
        });
        first.unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::Role;
    use proptest::prelude::*;

    use super::super::amounts::Amounts;
    use super::super::limits::SETTLED_PER_STEP;
    use super::*;

    fn role(text: &str) -> Role {
        Role::new(text).expect(text)
    }

    fn of(milli: u64) -> Amounts {
        let mut amounts = Amounts::default();
        amounts.set(0, milli);
        amounts
    }

    /// A tree in which so many roles at the top come, each with a claim that wants something; how often a sibling was seated
    /// anew or ranked anew on the way.
    fn moved(names: impl Iterator<Item = String>) -> (Tree, usize) {
        let mut tree = Tree::new();
        let mut moved = 0;
        let mut before: Vec<(u32, u32, u64)> = Vec::new();
        for (number, name) in (0..).zip(names) {
            let node = tree.role(&role(&name));
            let claim = tree.add_claim(node, number, "f");
            tree.set_takes_part(claim, true, true);
            if number % 100 == 99 {
                // What has moved twice meanwhile counts once, which is not often.
                let now = |node: u32| (node, tree.node(node).seat, tree.node(node).rank);
                moved += before.iter().filter(|was| now(was.0) != **was).count();
                before = tree
                    .node(ROOT)
                    .children()
                    .iter()
                    .map(|child| now(*child))
                    .collect();
            }
        }
        tree.check_order().expect("in order");
        (tree, moved)
    }

    #[test]
    fn thousands_of_roles_at_the_top_do_not_move_each_other() {
        let count = 4_000u32;
        let orders: [fn(u32) -> u32; 3] = [|n| n, |n| 9_999 - n, |n| n * 7_919 % 9_973];
        for order in orders {
            let (mut tree, moved) = moved((0..count).map(|n| format!("role-{:04}", order(n))));
            // Each is seated anew when there are twice as many, and ranked anew when there is no room beside it.
            assert!(moved < 4 * 4_000, "{moved} moved");
            let all: Vec<u32> = tree.node(ROOT).children().to_vec();
            for role in all {
                let claim = tree.claim_nodes_beneath(role)[0];
                tree.remove_claim(claim);
            }
            tree.check_order().expect("in order");
            assert!(tree.node(ROOT).matches.is_none() && tree.roles.is_empty());
        }
    }

    #[test]
    fn shares_are_counted_in_parts_and_come_out_the_same() {
        let (mut tree, _) = moved((0..300).map(|n| format!("r{}/s{n}", n % 7)));
        for (number, claim) in (1..).zip(tree.claim_nodes_beneath(ROOT)) {
            tree.allocate(claim, &of(1_000 * (number % 13)), &of(0));
            tree.refresh(claim);
        }
        for total in [5_000_000, 9_000_000] {
            tree.change_total(|sum| *sum = of(total));
            let mut parts = 0;
            while tree.is_stale() {
                assert!(tree.settle(7 * SETTLED_PER_STEP) <= 7 * SETTLED_PER_STEP);
                parts += 1;
            }
            assert_eq!(parts, tree.len().div_ceil(7 * SETTLED_PER_STEP));
            tree.check_order().expect("in order");
        }
    }

    proptest! {
        #[test]
        fn siblings_stand_in_order_however_they_come_and_go(
            changes in prop::collection::vec((0u32..60, any::<bool>(), 0u64..5), 0..200),
        ) {
            let mut tree = Tree::new();
            tree.change_total(|sum| *sum = of(100_000));
            tree.settle(u32::MAX);
            let mut claims = std::collections::BTreeMap::new();
            for (number, is_there, held) in changes {
                if let Some(claim) = claims.remove(&number) {
                    tree.remove_claim(claim);
                }
                if is_there {
                    let above = tree.role(&role(&format!("r{}/{number}", number % 3)));
                    let claim = tree.add_claim(above, number, "f");
                    tree.set_takes_part(claim, number % 4 > 0, number % 5 > 0);
                    tree.allocate(claim, &of(held * 1_000), &of(0));
                    tree.refresh(claim);
                    claims.insert(number, claim);
                }
                prop_assert_eq!(tree.check_order(), Ok(()));
            }
        }
    }
}
