//! In which order agents are looked at: drawn by lot, and only as it is needed, so that to begin with tens of thousands costs
//! nothing. Of many, those with numbers beside each other stay together, because they lie together in memory.

use super::agents::Agents;
use super::limits::{EXPECTED_TOGETHER, NEIGHBOURS};
use super::random::Random;

/// So few are put in an order that is random in every way.
const FEW: usize = NEIGHBOURS * NEIGHBOURS;
/// Numbers in a block.
const LENGTH: u32 = 32;
const _: () = assert!(LENGTH as usize == NEIGHBOURS, "one is the other");

/// A list of agents.
#[derive(Debug)]
pub(super) struct List {
    pub(super) agents: Vec<u32>,
    /// So many are done in this pass.
    pub(super) done: usize,
    /// So many are in the order of this pass.
    drawn: usize,
}

impl List {
    pub(super) fn new(agents: Vec<u32>) -> Self {
        Self {
            agents,
            done: 0,
            drawn: 0,
        }
    }

    /// Whether all are in the order of this pass.
    pub(super) fn is_drawn(&self) -> bool {
        self.drawn >= self.agents.len()
    }

    /// Begins anew, in another order when this one has been used.
    pub(super) fn begin_again(&mut self) {
        if std::mem::take(&mut self.done) > 0 {
            self.drawn = 0;
        }
    }

    /// Puts some two blocks more in order.
    pub(super) fn draw(&mut self, random: &mut Random) {
        let len = self.agents.len();
        let to = self.drawn.saturating_add(2 * NEIGHBOURS).min(len);
        if len < FEW {
            for place in self.drawn..to {
                self.agents.swap(place, place + random.below(len - place));
            }
        } else {
            if self.drawn == 0 {
                // What does not fill a block comes last: by lot, too.
                self.agents.rotate_left(random.below(len));
            }
            let blocks = len / NEIGHBOURS;
            for block in self.drawn / NEIGHBOURS..to.div_ceil(NEIGHBOURS) {
                let other = block + random.below(blocks.saturating_sub(block));
                for place in 0..NEIGHBOURS * usize::from(other != block) {
                    self.agents
                        .swap(block * NEIGHBOURS + place, other * NEIGHBOURS + place);
                }
                let end = to.min((block + 1) * NEIGHBOURS);
                random.shuffle(&mut self.agents[block * NEIGHBOURS..end]);
            }
        }
        self.drawn = to;
    }

    pub(super) fn next(&mut self, agents: &Agents) -> Option<u32> {
        let agent = self.agents.get(self.done).copied();
        self.done += 1;
        if self.done.is_multiple_of(EXPECTED_TOGETHER) {
            agents.expect(self.agents.iter().skip(self.done).take(EXPECTED_TOGETHER));
        }
        agent
    }
}

/// All agents that have something free when it is their turn, block by block.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The blocks that are still to come, in no order.
    left: Vec<u32>,
    /// The one that it is at, and how many of it are done.
    block: Vec<u32>,
    done: usize,
    is_begun: bool,
}

impl Sweep {
    /// Whether so many have something free that a list of them would be long.
    pub(super) fn is_worth_it(agents: &Agents) -> bool {
        agents.index.len() >= FEW
    }

    pub(super) fn new(agents: &Agents) -> Self {
        let blocks = u32::try_from(agents.slots().div_ceil(NEIGHBOURS));
        Self {
            left: (0..blocks.unwrap_or(u32::MAX)).collect(),
            block: Vec::with_capacity(NEIGHBOURS),
            done: 0,
            is_begun: false,
        }
    }

    /// Begins anew, when it was begun.
    pub(super) fn begin_again(&mut self, agents: &Agents) {
        if self.is_begun {
            *self = Self::new(agents);
        }
    }

    /// The next one, and how many blocks were drawn to find it.
    pub(super) fn next(&mut self, agents: &Agents, random: &mut Random) -> (Option<u32>, u32) {
        self.is_begun = true;
        let mut drawn = 0;
        loop {
            if let Some(agent) = self.block.get(self.done) {
                self.done += 1;
                if self.done.is_multiple_of(EXPECTED_TOGETHER) {
                    agents.expect(self.block.iter().skip(self.done).take(EXPECTED_TOGETHER));
                }
                return (Some(*agent), drawn);
            }
            if self.left.is_empty() {
                return (None, drawn);
            }
            drawn += 1;
            let chosen = random.below(self.left.len());
            let from = self.left.swap_remove(chosen).saturating_mul(LENGTH);
            self.block.clear();
            self.block.extend(
                (from..from.saturating_add(LENGTH)).filter(|agent| agents.index.has(*agent)),
            );
            random.shuffle(&mut self.block);
            self.done = 0;
            agents.expect(self.block.iter().take(EXPECTED_TOGETHER));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_of_a_list_comes_once_and_neighbours_stay_together() {
        for len in [0, 1, 63, 64, 65, 1_023, 1_024, 1_025, 5_000] {
            let mut random = Random::new(7);
            let mut list = List::new((0..len).collect());
            let mut steps = 0;
            while !list.is_drawn() {
                list.draw(&mut random);
                steps += 1;
            }
            assert_eq!(steps, list.agents.len().div_ceil(2 * NEIGHBOURS));
            let beside = |pair: &[u32]| pair[0].abs_diff(pair[1]) < 32;
            let pairs = list.agents.windows(2).filter(|pair| beside(pair)).count();
            let is_near = pairs * 2 > list.agents.len();
            assert!(
                len < 100 || is_near == (len >= 1_024),
                "{len}: {pairs} pairs"
            );
            assert!(len < 63 || !list.agents.is_sorted());
            list.agents.sort_unstable();
            assert_eq!(list.agents, (0..len).collect::<Vec<_>>());
        }
    }
}
