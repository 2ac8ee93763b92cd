//! A plain model of Mesos's allocator, written to be read: no indexes, no running sums, everything computed anew.
//!
//! The cases are played on it too, so that a case that says something wrong of Mesos is noticed, and so that a case holds
//! for every order in which agents may be visited.

use std::collections::BTreeMap;

use super::amounts::{Amounts, Kind, Sums, is_at_or_above};
use super::expect::Made;
use super::play::{Machine, Returned, Setting};
use super::portion::{Chance, add, is_counted, less, shrink, shuffle, within};
use super::ranking::Ranking;
use super::steps::{Arrival, Used};

/// Gives a number below the one that it is asked with: which order agents are visited in.
pub(super) type Choose<'a> = Box<dyn FnMut(usize) -> usize + 'a>;

type Holder = (String, String);

#[derive(Clone, Debug, Default)]
struct Agent {
    total: Amounts,
    /// By framework and role.
    held: BTreeMap<Holder, Amounts>,
}

#[derive(Clone, Debug)]
struct Framework {
    arrival: Arrival,
    is_active: bool,
    /// What was refused on an agent in a role, and until when.
    filters: Vec<(String, String, Amounts, u64)>,
}

#[derive(Clone, Debug, Default)]
struct Quota {
    guarantees: Sums,
    limits: Sums,
}

/// The model, with something that decides what is left to chance.
pub(super) struct Model<'a> {
    books: Books,
    choose: Choose<'a>,
}

/// What the model knows.
#[derive(Clone, Debug)]
pub(super) struct Books {
    setting: Setting,
    agents: BTreeMap<String, Agent>,
    frameworks: BTreeMap<String, Framework>,
    quotas: BTreeMap<String, Quota>,
    roles: Ranking,
    /// The frameworks of each role that has any.
    members: BTreeMap<String, Ranking>,
}

/// What a round of offers keeps beside the books.
struct Round {
    now: u64,
    consumed: BTreeMap<String, Sums>,
    required: Sums,
    available: Sums,
    made: BTreeMap<(String, String, String), Amounts>,
}

impl<'a> Model<'a> {
    pub(super) fn new(setting: Setting, choose: Choose<'a>) -> Self {
        Self {
            books: Books::new(setting),
            choose,
        }
    }
}

impl Books {
    pub(super) fn new(setting: Setting) -> Self {
        Self {
            setting,
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            quotas: BTreeMap::new(),
            roles: Ranking::default(),
            members: BTreeMap::new(),
        }
    }

    fn total(&self) -> Sums {
        let mut total = Sums::new();
        self.agents
            .values()
            .for_each(|agent| add(&mut total, &agent.total.sums()));
        total
    }

    fn framework(&mut self, framework: &str) -> Result<&mut Framework, String> {
        let known = self.frameworks.get_mut(framework);
        known.ok_or_else(|| format!("the framework {framework} is not there"))
    }

    fn track(&mut self, framework: &str, role: &str) -> Result<(), String> {
        if !self.members.contains_key(role) {
            self.roles.add(role)?;
            self.roles.set_active(role, true)?;
        }
        let members = self.members.entry(role.to_owned()).or_default();
        if members.has(framework) {
            Ok(())
        } else {
            members.add(framework)
        }
    }

    fn charge(&mut self, framework: &str, role: &str, amounts: &Amounts) -> Result<(), String> {
        self.track(framework, role)?;
        self.roles.allocated(role, &amounts.sums())?;
        let members = self
            .members
            .get_mut(role)
            .ok_or("the role has no frameworks")?;
        members.allocated(framework, &amounts.sums())
    }

    fn discharge(&mut self, framework: &str, role: &str, amounts: &Amounts) -> Result<(), String> {
        if let Some(members) = self
            .members
            .get_mut(role)
            .filter(|members| members.has(framework))
        {
            members.unallocated(framework, &amounts.sums())?;
            self.roles.unallocated(role, &amounts.sums())?;
        }
        Ok(())
    }

    fn take_back(&mut self, what: &Returned<'_>) -> Result<Option<Amounts>, String> {
        let holder = (what.framework.to_owned(), what.role.to_owned());
        let Some(agent) = self.agents.get_mut(what.agent) else {
            return Ok(None);
        };
        let held = agent.held.entry(holder.clone()).or_default();
        let amounts = what.amounts.unwrap_or(held).clone();
        if !held.contains(&amounts) {
            let Returned {
                framework,
                role,
                agent,
                ..
            } = what;
            return Err(format!(
                "{framework} holds {held:?} as {role} on {agent}, not {amounts}"
            ));
        }
        held.subtract(&amounts);
        agent.held.retain(|_, held| !held.is_empty());
        Ok(Some(amounts))
    }

    /// Reservations to a role and those beneath it.
    fn reserved_beneath(&self, role: &str) -> Sums {
        let is_mine = |kind: &Kind| kind.stack.last().is_some_and(|of| is_at_or_above(role, of));
        let mut sums = Sums::new();
        self.agents
            .values()
            .for_each(|agent| add(&mut sums, &agent.total.filter(is_mine).sums()));
        sums
    }

    fn start(&self, now: u64) -> Round {
        let mut round = Round {
            now,
            consumed: BTreeMap::new(),
            required: Sums::new(),
            available: self.total(),
            made: BTreeMap::new(),
        };
        for (role, quota) in &self.quotas {
            let mut consumed = self.reserved_beneath(role);
            for agent in self.agents.values() {
                for ((framework, of), held) in &agent.held {
                    if is_at_or_above(role, of) && self.frameworks.contains_key(framework) {
                        add(&mut consumed, &held.filter(is_counted).sums());
                    }
                }
            }
            add(&mut round.required, &less(&quota.guarantees, &consumed));
            round.consumed.insert(role.clone(), consumed);
        }
        for agent in self.agents.values() {
            let mut held = Amounts::default();
            for ((framework, _), amounts) in &agent.held {
                if self.frameworks.contains_key(framework) {
                    held.add(amounts);
                }
            }
            let reserved = agent
                .total
                .filter(Kind::is_reserved)
                .minus(&held.filter(Kind::is_reserved));
            let revocable = agent.free().filter(|kind| kind.is_revocable);
            for part in [held, reserved, revocable] {
                round.available = less(&round.available, &part.sums());
            }
        }
        round
    }

    fn may_have(&self, framework: &Framework, amounts: &Amounts) -> bool {
        let least = framework
            .arrival
            .least
            .as_ref()
            .unwrap_or(&self.setting.least);
        let sums = amounts.sums();
        let has = |set: &Sums| {
            set.iter()
                .all(|(name, milli)| sums.get(name).unwrap_or(&0) >= milli)
        };
        !amounts.is_empty() && (least.is_empty() || least.iter().any(has))
    }

    /// What of an agent a framework can be offered in a role at all; none when it is not even looked at.
    fn eligible(&self, framework: &str, role: &str, agent: &Agent) -> Option<Amounts> {
        let framework = &self.frameworks[framework];
        let free = agent.free().filter(|kind| kind.is_allocatable_to(role));
        let can = framework.arrival.capabilities;
        let is_hidden = !can.gpu && agent.total.sums().contains_key("gpus");
        if !self.may_have(framework, &free) || is_hidden {
            return None;
        }
        Some(free.filter(|kind| {
            (can.revocable || !kind.is_revocable) && (can.refined || kind.stack.len() < 2)
        }))
    }

    fn is_filtered(
        &self,
        framework: &str,
        role: &str,
        agent: &str,
        offer: &Amounts,
        now: u64,
    ) -> bool {
        self.frameworks[framework]
            .filters
            .iter()
            .any(|(of, on, refused, ends)| {
                of == role && on == agent && *ends > now && refused.contains(offer)
            })
    }

    fn sorted_roles(&self) -> Vec<String> {
        self.roles.sort(&self.total(), &self.setting.share_excluded)
    }

    fn sorted_members(&self, role: &str) -> Vec<String> {
        let members = self.members.get(role);
        members.map_or_else(Vec::new, |m| {
            m.sort(&self.total(), &self.setting.share_excluded)
        })
    }

    /// To roles whose guarantees are not met.
    fn first_stage(
        &mut self,
        agents: &[String],
        round: &mut Round,
        chance: Chance<'_>,
    ) -> Result<(), String> {
        for name in agents {
            for role in self.sorted_roles() {
                let quota = self.quotas.get(&role).cloned().unwrap_or_default();
                if quota.guarantees.is_empty() {
                    continue;
                }
                let mut unmet = less(&quota.guarantees, &round.consumed[&role]);
                for framework in self.sorted_members(&role) {
                    if unmet.is_empty() {
                        break;
                    }
                    let Some(eligible) = self.eligible(&framework, &role, &self.agents[name])
                    else {
                        continue;
                    };
                    let counted = eligible.filter(is_counted).scalars_only();
                    let guaranteed = shrink(
                        &counted,
                        |name| unmet.get(name).copied().unwrap_or(0),
                        chance,
                    );
                    if guaranteed.is_empty() {
                        continue;
                    }
                    let free_of_quota =
                        eligible.filter(|kind| kind.is_reserved_to(&role) || kind.is_revocable);
                    let mut offer = guaranteed
                        .plus(&free_of_quota)
                        .plus(&eligible.ranges_only());
                    let mut beyond = counted.minus(&guaranteed);
                    let mut consumed = round.consumed[&role].clone();
                    add(&mut consumed, &guaranteed.sums());
                    beyond = within(&beyond, &quota.limits, &consumed, chance);
                    beyond = beside_headroom(&beyond, round, chance);
                    offer.add(&beyond);
                    if self.refuses(&framework, &role, name, &offer, round.now) {
                        continue;
                    }
                    let taken = guaranteed.plus(&beyond).sums();
                    unmet = less(&unmet, &taken);
                    round.consume(&role, &taken);
                    round.required = less(&round.required, &guaranteed.sums());
                    self.offer(&framework, &role, name, offer, round)?;
                }
            }
        }
        Ok(())
    }

    /// To everybody.
    fn second_stage(
        &mut self,
        agents: &[String],
        round: &mut Round,
        chance: Chance<'_>,
    ) -> Result<(), String> {
        for name in agents {
            for role in self.sorted_roles() {
                let quota = self.quotas.get(&role).cloned();
                for framework in self.sorted_members(&role) {
                    let Some(eligible) = self.eligible(&framework, &role, &self.agents[name])
                    else {
                        continue;
                    };
                    let mut counted = eligible.filter(is_counted).scalars_only();
                    let mut offer = eligible.minus(&counted);
                    if let Some(quota) = &quota {
                        let consumed = round.consumed[&role].clone();
                        counted = within(&counted, &quota.limits, &consumed, chance);
                    }
                    counted = beside_headroom(&counted, round, chance);
                    offer.add(&counted);
                    if self.refuses(&framework, &role, name, &offer, round.now) {
                        continue;
                    }
                    let taken = counted.sums();
                    if quota.is_some() {
                        round.consume(&role, &taken);
                    } else {
                        round.available = less(&round.available, &taken);
                    }
                    self.offer(&framework, &role, name, offer, round)?;
                }
            }
        }
        Ok(())
    }

    fn refuses(&self, framework: &str, role: &str, agent: &str, offer: &Amounts, now: u64) -> bool {
        let is_enough = self.may_have(&self.frameworks[framework], offer);
        !is_enough || self.is_filtered(framework, role, agent, offer, now)
    }

    fn offer(
        &mut self,
        framework: &str,
        role: &str,
        agent: &str,
        offer: Amounts,
        round: &mut Round,
    ) -> Result<(), String> {
        self.charge(framework, role, &offer)?;
        let holder = (framework.to_owned(), role.to_owned());
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.held.entry(holder).or_default().add(&offer);
        }
        let key = (framework.to_owned(), role.to_owned(), agent.to_owned());
        round.made.entry(key).or_default().add(&offer);
        Ok(())
    }
}

impl Round {
    fn consume(&mut self, role: &str, taken: &Sums) {
        for (of, consumed) in &mut self.consumed {
            if is_at_or_above(of, role) {
                add(consumed, taken);
            }
        }
        self.available = less(&self.available, taken);
    }
}

impl Agent {
    fn free(&self) -> Amounts {
        self.held
            .values()
            .fold(self.total.clone(), |free, held| free.minus(held))
    }
}

impl Amounts {
    fn ranges_only(&self) -> Self {
        Self {
            ranges: self.ranges.clone(),
            ..Self::default()
        }
    }
}

fn beside_headroom(amounts: &Amounts, round: &Round, chance: Chance<'_>) -> Amounts {
    if round.required.is_empty() {
        return amounts.clone();
    }
    let surplus = less(&round.available, &round.required);
    shrink(
        amounts,
        |name| surplus.get(name).copied().unwrap_or(0),
        chance,
    )
}

impl Books {
    pub(super) fn add_agent(
        &mut self,
        agent: &str,
        total: &Amounts,
        used: &[Used],
    ) -> Result<(), String> {
        if self.agents.contains_key(agent) {
            return Err(format!("the agent {agent} is there already"));
        }
        let mut new = Agent {
            total: total.clone(),
            held: BTreeMap::new(),
        };
        for Used {
            framework,
            role,
            amounts,
        } in used
        {
            if self.frameworks.contains_key(framework) {
                self.charge(framework, role, amounts)?;
            }
            let holder = (framework.clone(), role.clone());
            new.held.entry(holder).or_default().add(amounts);
        }
        self.agents.insert(agent.to_owned(), new);
        Ok(())
    }

    pub(super) fn set_agent(&mut self, agent: &str, total: &Amounts) -> Result<bool, String> {
        let known = self.agents.get_mut(agent);
        let known = known.ok_or_else(|| format!("the agent {agent} is not there"))?;
        let is_new = known.total != *total;
        known.total.clone_from(total);
        Ok(is_new)
    }

    pub(super) fn remove_agent(&mut self, agent: &str) -> Result<(), String> {
        let gone = self.agents.remove(agent);
        let gone = gone.ok_or_else(|| format!("the agent {agent} is not there"))?;
        for ((framework, role), held) in &gone.held {
            self.discharge(framework, role, held)?;
        }
        for framework in self.frameworks.values_mut() {
            framework.filters.retain(|(_, on, _, _)| on != agent);
        }
        Ok(())
    }

    pub(super) fn add_framework(&mut self, arrival: &Arrival) -> Result<(), String> {
        let name = &arrival.framework;
        let new = Framework {
            arrival: arrival.clone(),
            is_active: !arrival.is_inactive,
            filters: Vec::new(),
        };
        if self.frameworks.insert(name.clone(), new).is_some() {
            return Err(format!("the framework {name} is there already"));
        }
        for role in &arrival.roles {
            self.track(name, role)?;
        }
        self.set_framework_active(name, !arrival.is_inactive)?;
        // What it was found to use on agents that came before it.
        let mut used = Vec::new();
        for agent in self.agents.values() {
            let mine = agent.held.iter().filter(|((of, _), _)| of == name);
            used.extend(mine.map(|((_, role), held)| (role.clone(), held.clone())));
        }
        used.iter()
            .try_for_each(|(role, held)| self.charge(name, role, held))
    }

    pub(super) fn remove_framework(&mut self, framework: &str) -> Result<(), String> {
        self.framework(framework)?;
        self.frameworks.remove(framework);
        for agent in self.agents.values_mut() {
            let gone: Vec<Holder> = agent
                .held
                .keys()
                .filter(|(of, _)| of == framework)
                .cloned()
                .collect();
            for holder in gone {
                if let Some(held) = agent.held.remove(&holder) {
                    self.roles.unallocated(&holder.1, &held.sums())?;
                }
            }
        }
        let tracked: Vec<String> = self.members.keys().cloned().collect();
        for role in tracked {
            let Some(members) = self.members.get_mut(&role) else {
                continue;
            };
            if members.has(framework) {
                members.remove(framework)?;
            }
            if members.is_empty() {
                self.members.remove(&role);
                self.roles.remove(&role)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_framework_active(
        &mut self,
        framework: &str,
        is_active: bool,
    ) -> Result<(), String> {
        let known = self.framework(framework)?;
        known.is_active = is_active;
        if !is_active {
            known.filters.clear();
        }
        let Arrival {
            roles, suppressed, ..
        } = known.arrival.clone();
        for role in roles {
            let members = self
                .members
                .get_mut(&role)
                .ok_or("the role has no frameworks")?;
            members.set_active(framework, is_active && !suppressed.contains(&role))?;
        }
        Ok(())
    }

    pub(super) fn give_back(
        &mut self,
        what: &Returned<'_>,
        filter_ends: Option<u64>,
    ) -> Result<(), String> {
        let Some(amounts) = self.take_back(what)? else {
            return Ok(());
        };
        let Returned {
            framework,
            role,
            agent,
            ..
        } = what;
        self.discharge(framework, role, &amounts)?;
        if let Some(ends) = filter_ends {
            let filter = ((*role).to_owned(), (*agent).to_owned(), amounts, ends);
            self.framework(framework)?.filters.push(filter);
        }
        Ok(())
    }

    pub(super) fn convert(&mut self, what: &Returned<'_>, to: &Amounts) -> Result<(), String> {
        let Returned {
            framework, role, ..
        } = what;
        let from = self
            .take_back(what)?
            .ok_or_else(|| format!("the agent {} is not there", what.agent))?;
        let holder = ((*framework).to_owned(), (*role).to_owned());
        if let Some(agent) = self.agents.get_mut(what.agent) {
            agent.held.entry(holder).or_default().add(to);
            agent.total = agent.total.minus(&from).plus(to);
        }
        // The same quantities: shares stay, and it does not count as an allocation.
        if from.sums() == to.sums() {
            Ok(())
        } else {
            Err("the quantities change".to_owned())
        }
    }

    pub(super) fn convert_free(
        &mut self,
        agent: &str,
        from: &Amounts,
        to: &Amounts,
    ) -> Result<(), String> {
        let known = self.agents.get_mut(agent);
        let known = known.ok_or_else(|| format!("the agent {agent} is not there"))?;
        if !known.free().contains(from) {
            return Err(format!("{from} is not free on {agent}"));
        }
        known.total = known.total.minus(from).plus(to);
        Ok(())
    }

    pub(super) fn set_quota(
        &mut self,
        role: &str,
        guarantees: &Sums,
        limits: &Sums,
    ) -> Result<(), String> {
        let quota = Quota {
            guarantees: guarantees.clone(),
            limits: limits.clone(),
        };
        if guarantees.is_empty() && limits.is_empty() {
            self.quotas.remove(role);
        } else {
            self.quotas.insert(role.to_owned(), quota);
        }
        Ok(())
    }

    pub(super) fn set_weight(&mut self, role: &str, milli: u32) -> Result<(), String> {
        self.roles.set_weight(role, milli);
        Ok(())
    }

    pub(super) fn suppress(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        let known = self.framework(framework)?;
        let of = if roles.is_empty() {
            known.arrival.roles.clone()
        } else {
            roles.to_vec()
        };
        known.arrival.suppressed.extend(of);
        let is_active = known.is_active;
        // Again from what it is, without touching its filters.
        if is_active {
            self.set_framework_active(framework, true)
        } else {
            Ok(())
        }
    }

    pub(super) fn revive(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        let known = self.framework(framework)?;
        let of = if roles.is_empty() {
            known.arrival.roles.clone()
        } else {
            roles.to_vec()
        };
        known.arrival.suppressed.retain(|role| !of.contains(role));
        known.filters.retain(|(role, _, _, _)| !of.contains(role));
        let is_active = known.is_active;
        if is_active {
            self.set_framework_active(framework, true)
        } else {
            Ok(())
        }
    }

    /// One round of offers over one agent or all.
    pub(super) fn round(
        &mut self,
        now: u64,
        agent: Option<&str>,
        chance: Chance<'_>,
    ) -> Result<Vec<Made>, String> {
        for framework in self.frameworks.values_mut() {
            framework.filters.retain(|(_, _, _, ends)| *ends > now);
        }
        let mut agents: Vec<String> = match agent {
            Some(agent) => vec![agent.to_owned()],
            None => self.agents.keys().cloned().collect(),
        };
        // Those of which nothing is free do not matter, whenever they are visited.
        agents.retain(|agent| !self.agents[agent].free().is_empty());
        let mut round = self.start(now);
        if self
            .quotas
            .values()
            .any(|quota| !quota.guarantees.is_empty())
        {
            shuffle(&mut agents, chance);
            self.first_stage(&agents, &mut round, chance)?;
        }
        shuffle(&mut agents, chance);
        self.second_stage(&agents, &mut round, chance)?;
        let made = round
            .made
            .into_iter()
            .map(|((framework, role, agent), amounts)| Made {
                framework,
                role,
                agent,
                amounts,
            });
        Ok(made.collect())
    }
}

impl Machine for Model<'_> {
    fn add_agent(&mut self, agent: &str, total: &Amounts, used: &[Used]) -> Result<(), String> {
        self.books.add_agent(agent, total, used)
    }

    fn set_agent(&mut self, agent: &str, total: &Amounts) -> Result<bool, String> {
        self.books.set_agent(agent, total)
    }

    fn remove_agent(&mut self, agent: &str) -> Result<(), String> {
        self.books.remove_agent(agent)
    }

    fn add_framework(&mut self, arrival: &Arrival) -> Result<(), String> {
        self.books.add_framework(arrival)
    }

    fn remove_framework(&mut self, framework: &str) -> Result<(), String> {
        self.books.remove_framework(framework)
    }

    fn set_framework_active(&mut self, framework: &str, is_active: bool) -> Result<(), String> {
        self.books.set_framework_active(framework, is_active)
    }

    fn give_back(&mut self, what: &Returned<'_>, filter_ends: Option<u64>) -> Result<(), String> {
        self.books.give_back(what, filter_ends)
    }

    fn convert(&mut self, what: &Returned<'_>, to: &Amounts) -> Result<(), String> {
        self.books.convert(what, to)
    }

    fn convert_free(&mut self, agent: &str, from: &Amounts, to: &Amounts) -> Result<(), String> {
        self.books.convert_free(agent, from, to)
    }

    fn set_quota(&mut self, role: &str, guarantees: &Sums, limits: &Sums) -> Result<(), String> {
        self.books.set_quota(role, guarantees, limits)
    }

    fn set_weight(&mut self, role: &str, milli: u32) -> Result<(), String> {
        self.books.set_weight(role, milli)
    }

    fn suppress(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        self.books.suppress(framework, roles)
    }

    fn revive(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        self.books.revive(framework, roles)
    }

    fn round(&mut self, now: u64, agent: Option<&str>) -> Result<Vec<Made>, String> {
        self.books.round(now, agent, &mut *self.choose)
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}
