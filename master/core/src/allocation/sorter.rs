//! The order of roles alone, for tests of it: the tree with one claim in each role, without agents.

use std::collections::BTreeMap;

use proffer_model::{Quantities, Role, Weight};

use super::amounts::{Amounts, Names};
use super::tree::Tree;

/// A tree of clients and what they hold.
#[derive(Debug)]
pub struct Sorter {
    names: Names,
    tree: Tree,
    clients: BTreeMap<Role, Client>,
    order: Vec<Role>,
}

#[derive(Debug)]
struct Client {
    node: u32,
    is_active: bool,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::new()
    }
}

impl Sorter {
    /// No clients.
    pub fn new() -> Self {
        Self {
            names: Names::new(),
            tree: Tree::new(),
            clients: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// What shares are parts of.
    pub fn set_total(&mut self, total: &Quantities) {
        let total = self.names.amounts_of(total);
        self.tree.change_total(|sum| *sum = total);
        self.tree.settle(u32::MAX);
    }

    /// A client that holds nothing, active.
    pub fn add(&mut self, client: &Role) {
        if self.clients.contains_key(client) {
            return;
        }
        let role = self.tree.role(client);
        let number = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        self.order.push(client.clone());
        let node = self.tree.add_claim(role, number, "");
        self.clients.insert(
            client.clone(),
            Client {
                node,
                is_active: true,
            },
        );
    }

    /// The client and what it holds are gone.
    pub fn remove(&mut self, client: &Role) {
        if let Some(found) = self.clients.remove(client) {
            self.tree.remove_claim(found.node);
        }
    }

    /// Inactive ones are not listed, and what they hold counts.
    pub fn set_active(&mut self, client: &Role, is_active: bool) {
        if let Some(found) = self.clients.get_mut(client) {
            found.is_active = is_active;
        }
    }

    /// One more allocation.
    pub fn allocate(&mut self, client: &Role, amounts: &Quantities) {
        let amounts = self.names.amounts_of(amounts);
        if let Some(found) = self.clients.get(client) {
            self.tree
                .allocate(found.node, &amounts, &Amounts::default());
            self.tree.refresh(found.node);
        }
    }

    /// Takes back.
    pub fn release(&mut self, client: &Role, amounts: &Quantities) {
        let amounts = self.names.amounts_of(amounts);
        if let Some(found) = self.clients.get(client) {
            self.tree.release(found.node, &amounts, &Amounts::default());
            self.tree.refresh(found.node);
        }
    }

    /// The weight of a path among its siblings.
    pub fn set_weight(&mut self, path: &Role, weight: Weight) {
        self.tree.set_weight(path, weight);
    }

    /// Active clients; the first is served next.
    pub fn order(&self) -> Vec<Role> {
        let all = self.tree.claims_in_order().into_iter();
        let clients = all.filter_map(|number| self.order.get(number as usize));
        let active = clients.filter(|client| {
            self.clients
                .get(*client)
                .is_some_and(|found| found.is_active)
        });
        active.cloned().collect()
    }
}
