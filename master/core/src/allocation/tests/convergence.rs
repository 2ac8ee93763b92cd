//! Where tasks of one unit come and go on agents whose resources divide, guarantees are reached and the rest is shared by
//! weight, level by level, as far as demand and limits let it: what is held is compared with what arithmetic says.

use super::world::*;
use crate::allocation::random::Random;

/// Agents, and units on each.
const AGENTS: usize = 10;
const UNITS: usize = 12;
const UNIT: &str = "cpus:1;mem:1024";
/// What is guaranteed in all, at most: half of what there is.
const GUARANTEED_MAX: usize = 60;
/// Tasks that end one after the other, at random.
const ENDS: usize = 1_500;
/// Units by which a role may be off: the steps of each level that it hangs from.
const OFF_MAX: f64 = 2.5;

/// A role, and what holds of it.
#[derive(Debug)]
struct Node {
    path: String,
    weight: u32,
    guarantee: usize,
    limit: Option<usize>,
    /// Of a role without others beneath it: what its framework wants.
    demand: usize,
    /// The framework of the role above it, which competes with the roles beneath that one as one of them does.
    is_own: bool,
    beneath: Vec<Node>,
}

impl Node {
    /// What it can have at most.
    fn cap(&self) -> usize {
        let wanted = match self.beneath.as_slice() {
            [] => self.demand,
            beneath => beneath.iter().map(Self::cap).sum(),
        };
        wanted.min(self.limit.unwrap_or(usize::MAX))
    }

    /// What it has at least.
    fn floor(&self) -> usize {
        let beneath: usize = self.beneath.iter().map(Self::floor).sum();
        self.guarantee.max(beneath)
    }

    fn leaves<'a>(&'a self, out: &mut Vec<&'a Node>) {
        if self.beneath.is_empty() {
            out.push(self);
        }
        self.beneath.iter().for_each(|node| node.leaves(out));
    }
}

/// A role with several beneath it, and perhaps a framework of its own beside them, or none.
fn node(random: &mut Random, path: String, depth: usize, left: &mut usize) -> Node {
    let count = match depth {
        0 => 3 + random.below(2),
        1 => [0, 2, 3][random.below(3)],
        _ => [0, 0, 2][random.below(3)],
    };
    let is_last = depth == 3;
    let count = if is_last { 0 } else { count };
    let name = |i: usize| match path.as_str() {
        "" => format!("r{i}"),
        path => format!("{path}/r{i}"),
    };
    let mut beneath: Vec<Node> = (0..count)
        .map(|i| node(random, name(i), depth + 1, left))
        .collect();
    if depth > 0 && count > 0 && random.below(2) == 0 {
        beneath.push(Node {
            path: path.clone(),
            weight: 1_000,
            guarantee: 0,
            limit: None,
            demand: [1 + random.below(20), 1_000][random.below(2)],
            is_own: true,
            beneath: Vec::new(),
        });
    }
    let mut made = Node {
        path,
        weight: [500, 1_000, 1_000, 2_000, 3_000][random.below(5)],
        guarantee: 0,
        limit: None,
        demand: 1_000,
        is_own: false,
        beneath,
    };
    if depth == 0 {
        return made;
    }
    if random.below(3) == 0 {
        // What the roles beneath it are guaranteed is part of it.
        let more = (1 + random.below(15)).min(*left);
        *left -= more;
        if more > 0 {
            made.guarantee = made.floor() + more;
        }
    }
    if made.beneath.is_empty() && random.below(3) == 0 {
        made.demand = made.guarantee + 1 + random.below(10);
    }
    // What is guaranteed is wanted: what is not would be held back.
    made.guarantee = made.guarantee.min(made.cap());
    if random.below(4) == 0 {
        made.limit = Some(made.floor() + 3 + random.below(25));
    }
    made
}

/// What each role without others beneath it is to hold, by the order of the tree.
#[allow(
    clippy::float_arithmetic,
    reason = "shares of what divides are no whole numbers"
)]
fn divide(amount: f64, nodes: &[Node], out: &mut Vec<f64>) {
    let part = |node: &Node, level: f64| {
        let (floor, cap) = (node.floor() as f64, node.cap() as f64);
        (level * f64::from(node.weight)).clamp(floor, cap)
    };
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let level = f64::midpoint(low, high);
        let sum: f64 = nodes.iter().map(|node| part(node, level)).sum();
        match sum < amount {
            true => low = level,
            false => high = level,
        }
    }
    for node in nodes {
        let amount = part(node, high);
        match node.beneath.as_slice() {
            [] => out.push(amount),
            beneath => divide(amount, beneath, out),
        }
    }
}

fn set(world: &mut World, node: &Node) {
    let amount = |units: usize| format!("cpus:{units};mem:{}", units * 1_024);
    if !node.path.is_empty() && !node.is_own {
        world.weight(&node.path, node.weight);
        let guarantee = match node.guarantee {
            0 => String::new(),
            units => amount(units),
        };
        let limit = node.limit.map(amount).unwrap_or_default();
        if !guarantee.is_empty() || !limit.is_empty() {
            world.quota(&node.path, &guarantee, &limit);
        }
    }
    node.beneath.iter().for_each(|node| set(world, node));
}

/// Lets tasks end and others come; answers how many each of these roles has.
fn play(world: &mut World, leaves: &[&Node], random: &mut Random) -> Vec<usize> {
    let mut running: Vec<(usize, String)> = Vec::new();
    for turn in 0..=ENDS {
        for offer in world.changed() {
            let leaf = leaves
                .iter()
                .position(|leaf| leaf.path == offer.role.as_str());
            let leaf = leaf.expect("one of them");
            let count: u32 = offer.fits.iter().map(|fit| fit.count).sum();
            running.extend((0..count).map(|_| (leaf, offer.agent.to_string())));
        }
        if turn < ENDS && !running.is_empty() {
            let (leaf, of) = running.swap_remove(random.below(running.len()));
            let (id, path) = (format!("f{leaf}"), &leaves[leaf].path);
            world.release(&id, path, &of, UNIT);
            let (id, path) = (framework(&id), role(path));
            let allocator = &mut world.allocator;
            allocator.count_down(&id, &path, &entry("t"), &agent(&of), 0, 1);
        }
    }
    let held = |leaf| running.iter().filter(|(of, _)| *of == leaf).count();
    (0..leaves.len()).map(held).collect()
}

#[test]
fn shares_of_a_tree_converge_to_weighted_max_min_within_guarantees_and_limits() {
    let (mut guaranteed, mut limited, mut own) = (0, 0, 0);
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let tree = node(&mut random, String::new(), 0, &mut { GUARANTEED_MAX });
        let mut leaves = Vec::new();
        tree.leaves(&mut leaves);
        let mut expected = Vec::new();
        let all = tree.cap().min(AGENTS * UNITS);
        divide(all as f64, &tree.beneath, &mut expected);

        let mut world = World::new(seed);
        for i in 0..AGENTS {
            let total = format!("cpus:{UNITS};mem:{}", UNITS * 1_024);
            world.agent(&format!("A{i}"), &total);
        }
        set(&mut world, &tree);
        for (number, leaf) in leaves.iter().enumerate() {
            let wanted = shaped("t", u32::try_from(leaf.demand).expect("few"), UNIT);
            world.demand(&format!("f{number}"), &leaf.path, &[wanted]);
        }
        let held = play(&mut world, &leaves, &mut random);
        assert_eq!(
            held.iter().sum::<usize>(),
            all,
            "seed {seed}: {held:?} {expected:.1?} {tree:#?}"
        );
        let lines = leaves.iter().zip(&held).zip(&expected);
        let lines = lines.map(|((leaf, held), of)| format!("{} {held} {of:.1}", leaf.path));
        let all_held = lines.collect::<Vec<_>>().join("; ");
        for ((leaf, held), expected) in leaves.iter().zip(&held).zip(&expected) {
            let off = (*held as f64 - expected).abs();
            assert!(
                off <= OFF_MAX,
                "seed {seed}: {} holds {held} and not {expected:.1}: {all_held} {tree:#?}",
                leaf.path
            );
            assert!(
                *held >= leaf.guarantee,
                "seed {seed}: {} is owed more",
                leaf.path
            );
            guaranteed += usize::from(leaf.guarantee > 0);
            own += usize::from(leaf.is_own && *held > 0);
            limited += usize::from(leaf.limit.is_some_and(|limit| limit == *held));
        }
    }
    assert!(
        guaranteed > 40 && limited > 20 && own > 20,
        "{guaranteed} {limited} {own}"
    );
}
