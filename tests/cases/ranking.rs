//! The ranking of the plain model: weighted dominant shares over a tree, kept as Mesos keeps it.
//!
//! A client with others beneath it is a leaf "." of weight 1 in its own subtree. Who is served next comes first: by share,
//! then by how often something was allocated, then by path. Slow and simple: everything is computed when it is asked for.

use std::collections::BTreeMap;

use super::amounts::Sums;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Active,
    Inactive,
    /// Has others beneath it.
    Inner,
}

#[derive(Clone, Debug)]
struct Node {
    role: Role,
    held: Sums,
    /// How often something was allocated here or beneath, since the node is there.
    count: u64,
}

/// A tree of clients.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranking {
    /// By path; a client with others beneath it is at `path/.`.
    nodes: BTreeMap<String, Node>,
    /// In thousandths, by path; kept when nobody is there.
    weights: BTreeMap<String, u32>,
}

impl Ranking {
    fn place(&self, client: &str) -> Option<String> {
        let dot = format!("{client}/.");
        let is_leaf = |path: &str| {
            self.nodes
                .get(path)
                .is_some_and(|node| node.role != Role::Inner)
        };
        [dot, client.to_owned()]
            .into_iter()
            .find(|path| is_leaf(path))
    }

    pub(super) fn has(&self, client: &str) -> bool {
        self.place(client).is_some()
    }

    /// Adds a client that is not active yet.
    pub(super) fn add(&mut self, client: &str) -> Result<(), String> {
        if self.has(client) {
            return Err(format!("{client} is there already"));
        }
        let new = |role| Node {
            role,
            held: Sums::new(),
            count: 0,
        };
        let mut path = String::new();
        for segment in client.split('/') {
            path = if path.is_empty() {
                segment.to_owned()
            } else {
                format!("{path}/{segment}")
            };
            let is_last = path == client;
            match self.nodes.get_mut(&path) {
                // Is an inner node already: its client is the leaf in it.
                Some(node) if is_last && node.role == Role::Inner => {
                    self.nodes.insert(format!("{path}/."), new(Role::Inactive));
                }
                // A client gets somebody beneath it.
                Some(node) if node.role != Role::Inner => {
                    let leaf = node.clone();
                    node.role = Role::Inner;
                    self.nodes.insert(format!("{path}/."), leaf);
                }
                Some(_) => {}
                None => {
                    let role = if is_last { Role::Inactive } else { Role::Inner };
                    self.nodes.insert(path.clone(), new(role));
                }
            }
        }
        Ok(())
    }

    /// The leaf and everything above it.
    fn line(&self, client: &str) -> Result<Vec<String>, String> {
        let mut path = self
            .place(client)
            .ok_or_else(|| format!("{client} is not there"))?;
        let mut line = vec![path.clone()];
        while let Some((parent, _)) = path.rsplit_once('/') {
            path = parent.to_owned();
            line.push(path.clone());
        }
        Ok(line)
    }

    pub(super) fn remove(&mut self, client: &str) -> Result<(), String> {
        let line = self.line(client)?;
        let held = self
            .nodes
            .get(&line[0])
            .map(|node| node.held.clone())
            .unwrap_or_default();
        self.nodes.remove(&line[0]);
        for path in &line[1..] {
            let children: Vec<String> = self.children(path);
            let Some(node) = self.nodes.get_mut(path) else {
                continue;
            };
            subtract(&mut node.held, &held);
            let dot = format!("{path}/.");
            if children.is_empty() {
                self.nodes.remove(path);
            } else if children == [dot.clone()] {
                // Alone again: the client is a leaf, with the count of all that was beneath it.
                if let Some(leaf) = self.nodes.remove(&dot)
                    && let Some(node) = self.nodes.get_mut(path)
                {
                    node.role = leaf.role;
                }
            }
        }
        Ok(())
    }

    pub(super) fn set_active(&mut self, client: &str, is_active: bool) -> Result<(), String> {
        let line = self.line(client)?;
        if let Some(node) = self.nodes.get_mut(&line[0]) {
            node.role = if is_active {
                Role::Active
            } else {
                Role::Inactive
            };
        }
        Ok(())
    }

    pub(super) fn set_weight(&mut self, path: &str, milli: u32) {
        self.weights.insert(path.to_owned(), milli);
    }

    /// Counts one allocation.
    pub(super) fn allocated(&mut self, client: &str, sums: &Sums) -> Result<(), String> {
        for path in self.line(client)? {
            if let Some(node) = self.nodes.get_mut(&path) {
                node.count += 1;
                for (name, milli) in sums {
                    *node.held.entry(name.clone()).or_default() += milli;
                }
            }
        }
        Ok(())
    }

    pub(super) fn unallocated(&mut self, client: &str, sums: &Sums) -> Result<(), String> {
        for path in self.line(client)? {
            if let Some(node) = self.nodes.get_mut(&path) {
                subtract(&mut node.held, sums);
            }
        }
        Ok(())
    }

    /// What a client holds, not counting those beneath it.
    pub(super) fn held(&self, client: &str) -> Sums {
        let node = self.place(client).and_then(|path| self.nodes.get(&path));
        node.map(|node| node.held.clone()).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn children(&self, path: &str) -> Vec<String> {
        let is_child =
            |child: &&String| child.rsplit_once('/').map_or("", |(parent, _)| parent) == path;
        self.nodes.keys().filter(is_child).cloned().collect()
    }

    /// The active clients, the next to be served first. The cluster has `total`; `excluded` names do not count.
    pub(super) fn sort(&self, total: &Sums, excluded: &[String]) -> Vec<String> {
        let mut sorted = Vec::new();
        self.list("", total, excluded, &mut sorted);
        sorted
    }

    fn list(&self, path: &str, total: &Sums, excluded: &[String], sorted: &mut Vec<String>) {
        let mut children = self.children(path);
        children.retain(|child| self.nodes[child].role != Role::Inactive);
        children.sort_by(|a, b| {
            let (x, y) = (&self.nodes[a], &self.nodes[b]);
            let shares = self
                .share(a, total, excluded)
                .total_cmp(&self.share(b, total, excluded));
            shares.then(x.count.cmp(&y.count)).then(a.cmp(b))
        });
        for child in children {
            match self.nodes[&child].role {
                Role::Inner => self.list(&child, total, excluded, sorted),
                _ => sorted.push(child.strip_suffix("/.").unwrap_or(&child).to_owned()),
            }
        }
    }

    /// In doubles, as in Mesos: two shares that are the same on paper may differ, and then the order is that of the doubles.
    #[allow(
        clippy::float_arithmetic,
        clippy::cast_precision_loss,
        reason = "what is modelled works in doubles, and ties depend on it"
    )]
    fn share(&self, path: &str, total: &Sums, excluded: &[String]) -> f64 {
        let value = |milli: u64| milli as f64 / 1_000.0;
        let mut most = 0.0_f64;
        for (name, whole) in total
            .iter()
            .filter(|(name, whole)| **whole > 0 && !excluded.contains(name))
        {
            let part = self.nodes[path].held.get(name).copied().unwrap_or(0);
            most = most.max(value(part) / value(*whole));
        }
        // The leaf of an inner client has weight 1: the weight of its path is the whole subtree's.
        let weight = self.weights.get(path).copied().unwrap_or(1_000);
        most / value(u64::from(weight))
    }
}

fn subtract(from: &mut Sums, sums: &Sums) {
    for (name, milli) in sums {
        if let Some(mine) = from.get_mut(name) {
            *mine = mine.saturating_sub(*milli);
        }
    }
}
