//! Plays a block on a machine: time, rounds of offers as Mesos triggers them, and what is expected.
//!
//! A framework, an agent or a revive has its own round at once, over the agents that Mesos would look at; what comes back,
//! quota and weights wait for the next periodic one.

use std::collections::BTreeSet;

use super::amounts::{Amounts, Sums};
use super::blocks::{Block, Fault};
use super::compile::SECOND_NS;
use super::expect::{self, Made};
use super::steps::{self, Arrival, Numbered, Step, Used};

/// What the steps drive: the allocator, or the plain model of it.
pub(super) trait Machine {
    fn add_agent(&mut self, agent: &str, total: &Amounts, used: &[Used]) -> Result<(), String>;
    /// Whether that changed anything.
    fn set_agent(&mut self, agent: &str, total: &Amounts) -> Result<bool, String>;
    fn remove_agent(&mut self, agent: &str) -> Result<(), String>;
    fn add_framework(&mut self, arrival: &Arrival) -> Result<(), String>;
    fn remove_framework(&mut self, framework: &str) -> Result<(), String>;
    fn set_framework_active(&mut self, framework: &str, is_active: bool) -> Result<(), String>;
    /// Gives back what a framework holds, all of it when nothing is named, with a filter that ends then.
    fn give_back(&mut self, what: &Returned<'_>, filter_ends: Option<u64>) -> Result<(), String>;
    fn convert(&mut self, what: &Returned<'_>, to: &Amounts) -> Result<(), String>;
    fn convert_free(&mut self, agent: &str, from: &Amounts, to: &Amounts) -> Result<(), String>;
    fn set_quota(&mut self, role: &str, guarantees: &Sums, limits: &Sums) -> Result<(), String>;
    fn set_weight(&mut self, role: &str, milli: u32) -> Result<(), String>;
    /// In these roles, or in all when none is named.
    fn suppress(&mut self, framework: &str, roles: &[String]) -> Result<(), String>;
    fn revive(&mut self, framework: &str, roles: &[String]) -> Result<(), String>;
    /// One round of offers over one agent or all.
    fn round(&mut self, now: u64, agent: Option<&str>) -> Result<Vec<Made>, String>;
    /// Whether its books are in order.
    fn check(&self) -> Result<(), String>;
}

/// Something of what a framework holds in a role on an agent.
pub(super) struct Returned<'a> {
    pub(super) framework: &'a str,
    pub(super) role: &'a str,
    pub(super) agent: &'a str,
    pub(super) amounts: Option<&'a Amounts>,
}

/// What the first steps of a block set before there is an allocator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The least that an offer holds, any of these.
    pub(super) least: Vec<Sums>,
    pub(super) share_excluded: Vec<String>,
}

impl Setting {
    /// Mesos's defaults, and what the steps before the first agent say.
    pub(super) fn of(steps: &[Numbered<Step>]) -> Result<Self, Fault> {
        let one = |name: &str, milli| Sums::from([(name.to_owned(), milli)]);
        let mut setting = Self {
            least: vec![one("cpus", 10), one("mem", 32_000)],
            share_excluded: Vec::new(),
        };
        let mut has_agents = false;
        for (line, step) in steps {
            match step {
                Step::Agent(..) | Step::Agents(..) => has_agents = true,
                Step::Least(_) | Step::ShareExcluded(_) if has_agents => {
                    return Err(Fault::new(*line, "this is set before the first agent"));
                }
                Step::Least(least) => setting.least.clone_from(least),
                Step::ShareExcluded(names) => setting.share_excluded.clone_from(names),
                _ => {}
            }
        }
        Ok(setting)
    }
}

/// So many rounds without an offer are played; the next ones, while nothing changes, are not.
const IDLE_ROUNDS: u32 = 20;

/// Where a block is in time.
pub(super) struct Player {
    now: u64,
    interval: u64,
    last_round: u64,
    is_batch: bool,
    agents: u32,
    made: Vec<Made>,
    /// When filters end that were set.
    ends: BTreeSet<u64>,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            now: 0,
            interval: SECOND_NS,
            last_round: 0,
            is_batch: false,
            agents: 0,
            made: Vec::new(),
            ends: BTreeSet::new(),
        }
    }
}

/// The steps of an allocator block.
pub(super) fn read(block: &Block) -> Result<(Setting, Vec<Numbered<Step>>), Fault> {
    let steps = steps::parse(block)?;
    Ok((Setting::of(&steps)?, steps))
}

/// Plays steps on a new machine; the first fault ends it.
pub(super) fn play(steps: &[Numbered<Step>], machine: &mut dyn Machine) -> Result<(), Fault> {
    let mut player = Player::default();
    for (line, step) in steps {
        let fault = |why| Fault::new(*line, why);
        player.step(machine, step).map_err(fault)?;
        machine.check().map_err(fault)?;
    }
    Ok(())
}

impl Player {
    pub(super) fn step(&mut self, machine: &mut dyn Machine, step: &Step) -> Result<(), String> {
        match step {
            Step::Agent(agent, total, used) => {
                machine.add_agent(agent, total, used)?;
                self.trigger(machine, Some(agent))
            }
            Step::Agents(count, total) => (0..*count).try_for_each(|_| {
                let agent = format!("N{:02}", self.agents);
                self.agents += 1;
                machine.add_agent(&agent, total, &[])?;
                self.trigger(machine, Some(&agent))
            }),
            Step::RemoveAgent(agent) => machine.remove_agent(agent),
            Step::SetAgent(agent, total) => match machine.set_agent(agent, total)? {
                true => self.trigger(machine, Some(agent)),
                false => Ok(()),
            },
            Step::Framework(arrival) => {
                machine.add_framework(arrival)?;
                if arrival.is_inactive {
                    Ok(())
                } else {
                    self.trigger(machine, None)
                }
            }
            Step::RemoveFramework(framework) => machine.remove_framework(framework),
            Step::Batch => {
                self.is_batch = true;
                Ok(())
            }
            Step::Run => self.tick(machine, self.interval),
            Step::Tick(ns) => self.tick(machine, *ns),
            Step::Interval(ns) => {
                self.interval = *ns;
                Ok(())
            }
            Step::Least(_) | Step::ShareExcluded(_) => Ok(()),
            Step::Quota(role, guarantees, limits) => machine.set_quota(role, guarantees, limits),
            Step::Weight(role, milli) => machine.set_weight(role, *milli),
            Step::Suppress(framework, roles) => machine.suppress(framework, roles),
            Step::Revive(framework, roles) => {
                machine.revive(framework, roles)?;
                self.trigger(machine, None)
            }
            Step::Disconnect(framework) => machine.set_framework_active(framework, false),
            Step::Reconnect(framework) => {
                machine.set_framework_active(framework, true)?;
                self.trigger(machine, None)
            }
            Step::ConvertFree(agent, from, to) => machine.convert_free(agent, from, to),
            Step::Decline { .. } | Step::Convert { .. } => self.settle(machine, step),
            Step::Expect(expected) => expect::check(expected, &self.take_made()),
        }
    }

    /// What becomes of something that a framework holds.
    fn settle(&mut self, machine: &mut dyn Machine, step: &Step) -> Result<(), String> {
        match step {
            Step::Decline {
                framework,
                agent,
                role,
                refusal,
                amounts,
            } => {
                let next_round = self.next_round();
                let ends = |refusal: &super::compile::Refusal| {
                    refusal.ends_at(self.now, self.interval, next_round)
                };
                let filter_ends = refusal.as_ref().and_then(ends);
                self.ends.extend(filter_ends);
                let amounts = amounts.as_ref();
                let what = Returned {
                    framework,
                    role,
                    agent,
                    amounts,
                };
                machine.give_back(&what, filter_ends)
            }
            Step::Convert {
                framework,
                agent,
                role,
                from,
                to,
            } => {
                let amounts = Some(from);
                let what = Returned {
                    framework,
                    role,
                    agent,
                    amounts,
                };
                machine.convert(&what, to)
            }
            _ => Ok(()),
        }
    }

    /// The offers since the last expectation.
    pub(super) fn take_made(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    fn next_round(&self) -> u64 {
        self.last_round + self.interval
    }

    fn trigger(&mut self, machine: &mut dyn Machine, agent: Option<&str>) -> Result<(), String> {
        if self.is_batch {
            return Ok(());
        }
        // After what happened at this very moment: a filter that ended with the last round has ended.
        let made = machine.round(self.now + 2, agent)?;
        self.made.extend(made);
        Ok(())
    }

    fn tick(&mut self, machine: &mut dyn Machine, ns: u64) -> Result<(), String> {
        let until = self.now.saturating_add(ns);
        let mut idle = 0;
        while self.next_round() <= until {
            self.last_round = self.next_round();
            self.now = self.last_round;
            let made = machine.round(self.now, None)?;
            idle = if made.is_empty() { idle + 1 } else { 0 };
            self.made.extend(made);
            if idle >= IDLE_ROUNDS {
                self.skip(until);
            }
        }
        self.now = until;
        Ok(())
    }

    /// Nothing happens between rounds but that filters end: goes on before the round that sees the next one ended.
    fn skip(&mut self, until: u64) {
        let next = self.ends.range(self.last_round + 1..).next();
        let before = next.map_or(until, |ends| until.min(ends - 1));
        let rounds = (before - self.last_round) / self.interval;
        self.last_round += rounds * self.interval;
    }
}
