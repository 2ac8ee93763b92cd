//! Offers: leases on resources of one agent. Made from the allocator's grants; they end by being accepted, declined,
//! rescinded or by running out, and only through [`Core::remove_offer`], which puts every sum right.
//!
//! An accept is all or nothing as far as its offers go: one that is not the caller's spoils it, and the good ones it names
//! go back. Its launches are judged one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::link::ToAgent;
use proffer_model::resources::format_milli;
use proffer_model::session::{Event, LaunchResult};
use proffer_model::{
    AgentId, DemandId, Fit, FrameworkId, Incarnation, Offer, OfferId, Problem, Reason, Resources,
    Role, Status, TaskSpec, TaskState, code,
};

use crate::allocator::Grant;
use crate::amounts::scalars_of;
use crate::core::Core;
use crate::effect::{After, Fact, OfferEnd};
use crate::event::TimerKey;
use crate::limits::{EXCLUSION_MAX, EXCLUSION_MIN, OFFERS_PER_EVENT_MAX, TASKS_PER_FRAMEWORK_MAX};
use crate::tasks::Task;

/// An offer that stands.
#[derive(Debug)]
pub(crate) struct StandingOffer {
    pub(crate) framework: FrameworkId,
    pub(crate) role: Role,
    pub(crate) agent: AgentId,
    pub(crate) resources: Resources,
    pub(crate) fit: Fit,
    /// By the monotonic clock.
    pub(crate) expires_at: u64,
}

/// All offers that stand.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    pub(crate) standing: BTreeMap<OfferId, StandingOffer>,
    pub(crate) expiries: BTreeSet<(u64, OfferId)>,
    timer_at: Option<u64>,
}

impl Core {
    /// Makes offers of the allocator's grants and sends them, in as few events for each framework as may be.
    pub(crate) fn make_offers(&mut self, grants: Vec<Grant>) {
        let mut by_framework: BTreeMap<FrameworkId, Vec<Offer>> = BTreeMap::new();
        for grant in grants {
            let framework = grant.framework.clone();
            if let Some(offer) = self.make_offer(grant) {
                by_framework.entry(framework).or_default().push(offer);
            }
        }
        for (framework, offers) in by_framework {
            self.turn.record(Fact::OffersSent {
                framework: framework.clone(),
                count: count(offers.len()),
            });
            for offers in offers.chunks(OFFERS_PER_EVENT_MAX) {
                let event = Event::Offered(offers.to_vec());
                self.tell(&framework, event, After::Nothing);
            }
        }
        self.set_expiry_timer();
    }

    /// Leases that have run out end.
    pub(crate) fn on_offer_expiry(&mut self) {
        self.offers.timer_at = None;
        let now = self.turn.now.mono_ns;
        let expired = self.offers.expiries.iter().take_while(|(at, _)| *at <= now);
        let expired: Vec<OfferId> = expired.map(|(_, id)| id.clone()).collect();
        self.end_offers(expired, OfferEnd::Expired);
        self.set_expiry_timer();
    }

    pub(crate) fn end_offers_of_agent(&mut self, agent: &AgentId, how: OfferEnd) {
        if let Some(known) = self.agents.by_id.get(agent) {
            let offers = known.offers.iter().cloned().collect();
            self.end_offers(offers, how);
        }
    }

    pub(crate) fn end_offers_of_framework(&mut self, framework: &FrameworkId, how: OfferEnd) {
        if let Some(known) = self.frameworks.get(framework) {
            let offers = known.offers.iter().cloned().collect();
            self.end_offers(offers, how);
        }
    }

    /// Launches tasks in offers of one agent.
    pub(crate) fn on_accept(
        &mut self,
        framework: &FrameworkId,
        offers: &[OfferId],
        launches: Vec<TaskSpec>,
    ) -> Result<Vec<LaunchResult>, Problem> {
        let agent = match self.judge_offers(framework, offers) {
            Ok(agent) => agent,
            Err(problem) => {
                self.give_back(framework, offers);
                return Err(problem);
            }
        };
        let mut pot = Pot::default();
        for id in offers {
            if let Some(offer) = self.remove_offer(id) {
                pot.resources.add(&offer.resources);
                pot.role = Some(offer.role.clone());
                pot.fits.push((offer.role, offer.fit));
            }
        }
        let mut results = Vec::with_capacity(launches.len());
        let mut launched = 0;
        for (i, spec) in launches.into_iter().enumerate() {
            let task = spec.id.clone();
            let outcome = self
                .launch(framework, &agent, &mut pot, spec)
                .map_err(|problem| problem.within(format!("launches[{i}]")));
            launched += u64::from(outcome.is_ok());
            results.push(LaunchResult { task, outcome });
        }
        if launched == 0 {
            // Else a framework that is always refused would be offered the same again at once.
            let until = self.turn.now.after(EXCLUSION_MIN).mono_ns;
            for (role, fit) in &pot.fits {
                self.exclude(framework, role, &fit.demand, &agent, until);
            }
        } else {
            let (framework, count) = (framework.clone(), launched);
            self.turn.record(Fact::TasksLaunched { framework, count });
        }
        self.triggers.agent_changed(&agent);
        Ok(results)
    }

    /// Gives offers back and excludes their agents. Those that are not the caller's are ignored.
    pub(crate) fn on_decline(
        &mut self,
        framework: &FrameworkId,
        offers: &[OfferId],
        exclude_for: Duration,
    ) {
        let lasts = exclude_for.clamp(EXCLUSION_MIN, EXCLUSION_MAX);
        let until = self.turn.now.after(lasts).mono_ns;
        let mut declined = 0;
        for id in self.owned(framework, offers) {
            if let Some(offer) = self.remove_offer(&id) {
                let demand = offer.fit.demand;
                self.exclude(framework, &offer.role, &demand, &offer.agent, until);
                declined += 1;
            }
        }
        if declined > 0 {
            let (framework, count, how) = (framework.clone(), declined, OfferEnd::Declined);
            self.turn.record(Fact::OffersEnded {
                framework,
                count,
                how,
            });
        }
    }

    fn make_offer(&mut self, grant: Grant) -> Option<Offer> {
        let id = self.ids.offer();
        let lease = if grant.is_any {
            self.config.any_offer_lease
        } else {
            self.config.shaped_offer_lease
        };
        let description = self
            .registry
            .agents
            .get(&grant.agent)
            .map(|entry| &entry.description)?;
        let agent = self.agents.by_id.get_mut(&grant.agent)?;
        let framework = self.frameworks.get_mut(&grant.framework)?;
        agent.offered.add(&grant.resources);
        agent.offers.insert(id.clone());
        framework.offers.insert(id.clone());
        let usage = framework.usage.entry(grant.role.clone()).or_default();
        usage.offered.add(&scalars_of(&grant.resources));
        usage.granted += 1;
        let demand = framework.demands.get_mut(&grant.role);
        if let Some(entry) = demand.and_then(|demand| demand.entry_mut(&grant.fit.demand)) {
            entry.offered = entry.offered.saturating_add(grant.fit.count);
        }
        let offer = Offer {
            id: id.clone(),
            role: grant.role.clone(),
            agent: grant.agent.clone(),
            host: description.host.clone(),
            address: description.address.clone(),
            attributes: description.attributes.clone(),
            resources: grant.resources.clone(),
            fits: vec![grant.fit.clone()],
            expires_after: lease,
        };
        self.turn.touch_agent(&grant.agent);
        self.turn.touch_framework(&grant.framework);
        let expires_at = self.turn.now.after(lease).mono_ns;
        self.offers.expiries.insert((expires_at, id.clone()));
        let standing = StandingOffer {
            framework: grant.framework,
            role: grant.role,
            agent: grant.agent,
            resources: grant.resources,
            fit: grant.fit,
            expires_at,
        };
        self.offers.standing.insert(id, standing);
        Some(offer)
    }

    /// Takes an offer out of every index and sum. What it held may be offered anew.
    fn remove_offer(&mut self, id: &OfferId) -> Option<StandingOffer> {
        let offer = self.offers.standing.remove(id)?;
        self.offers.expiries.remove(&(offer.expires_at, id.clone()));
        if let Some(agent) = self.agents.by_id.get_mut(&offer.agent) {
            agent.offered.subtract(&offer.resources);
            agent.offers.remove(id);
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(id);
            let usage = framework.usage.entry(offer.role.clone()).or_default();
            usage.offered.subtract(&scalars_of(&offer.resources));
            let demand = framework.demands.get_mut(&offer.role);
            if let Some(entry) = demand.and_then(|demand| demand.entry_mut(&offer.fit.demand)) {
                entry.offered = entry.offered.saturating_sub(offer.fit.count);
            }
        }
        self.triggers.agent_changed(&offer.agent);
        self.triggers.claim_changed(&offer.framework, &offer.role);
        self.turn.touch_agent(&offer.agent);
        self.turn.touch_framework(&offer.framework);
        Some(offer)
    }

    /// Ends offers and tells their frameworks.
    fn end_offers(&mut self, ids: Vec<OfferId>, how: OfferEnd) {
        let mut ended: BTreeMap<FrameworkId, Vec<OfferId>> = BTreeMap::new();
        for id in ids {
            if let Some(offer) = self.remove_offer(&id) {
                ended.entry(offer.framework).or_default().push(id);
            }
        }
        for (framework, offers) in ended {
            self.turn.record(Fact::OffersEnded {
                framework: framework.clone(),
                count: count(offers.len()),
                how,
            });
            self.tell(&framework, Event::Rescinded(offers), After::Nothing);
        }
    }

    /// The one agent of all these offers, if all are the framework's and stand.
    fn judge_offers(
        &self,
        framework: &FrameworkId,
        offers: &[OfferId],
    ) -> Result<AgentId, Problem> {
        let mut agent: Option<&AgentId> = None;
        let mut seen = BTreeSet::new();
        for (i, id) in offers.iter().enumerate() {
            let field = format!("offers[{i}]");
            let standing = self.offers.standing.get(id);
            let Some(offer) = standing.filter(|offer| offer.framework == *framework) else {
                let message = format!("offer {id} does not stand");
                return Err(Problem::new(code::OFFER_GONE, message).field(field).hint(
                    "it was accepted, declined or rescinded, or has expired; wait for another",
                ));
            };
            if !seen.insert(id) {
                let message = format!("offer {id} is named twice");
                return Err(Problem::new(code::FIELD_INVALID, message)
                    .field(field)
                    .hint("name each offer once"));
            }
            if *agent.get_or_insert(&offer.agent) != &offer.agent {
                let message = format!("offer {id} is of another agent than the first");
                return Err(Problem::new(code::OFFER_MIXED, message)
                    .field(field)
                    .hint("accept the offers of each agent in a call of their own"));
            }
        }
        agent.cloned().ok_or_else(|| {
            Problem::new(code::FIELD_MISSING, "no offer is named")
                .field("offers")
                .hint("name at least one offer")
        })
    }

    /// The offers of a spoilt accept that do stand and are the caller's go back.
    fn give_back(&mut self, framework: &FrameworkId, offers: &[OfferId]) {
        let mut given = 0;
        for id in self.owned(framework, offers) {
            given += u64::from(self.remove_offer(&id).is_some());
        }
        if given > 0 {
            let (framework, count, how) = (framework.clone(), given, OfferEnd::Declined);
            self.turn.record(Fact::OffersEnded {
                framework,
                count,
                how,
            });
        }
    }

    fn owned(&self, framework: &FrameworkId, offers: &[OfferId]) -> Vec<OfferId> {
        let is_owned = |id: &&OfferId| {
            let standing = self.offers.standing.get(*id);
            standing.is_some_and(|offer| offer.framework == *framework)
        };
        offers.iter().filter(is_owned).cloned().collect()
    }

    /// Judges one launch, and does it.
    fn launch(
        &mut self,
        framework: &FrameworkId,
        agent: &AgentId,
        pot: &mut Pot,
        spec: TaskSpec,
    ) -> Result<Incarnation, Problem> {
        let key = (framework.clone(), spec.id.clone());
        if self.tasks.get(&key).is_some() {
            let message = format!("task {} is live or not acknowledged to its end", spec.id);
            return Err(Problem::new(code::TASK_DUPLICATE, message)
                .field("id")
                .hint("use an id once, or acknowledge its last status first"));
        }
        if self.tasks.count_of(framework) >= TASKS_PER_FRAMEWORK_MAX {
            let message =
                format!("the framework has {TASKS_PER_FRAMEWORK_MAX} tasks; the limit is reached");
            return Err(Problem::new(code::OVERLOADED, message));
        }
        pot.check_holds(&spec.resources)?;
        let role = pot
            .role
            .clone()
            .ok_or_else(|| Problem::new(code::OFFER_GONE, "no offer is left"))?;
        let incarnation = self.ids.incarnation().ok_or_else(|| {
            Problem::new(
                code::OVERLOADED,
                "this leadership term has launched 2^32 tasks",
            )
            .hint("restart the leading master")
        })?;
        pot.resources.subtract(&spec.resources);
        let paid = self
            .count_down(framework, pot, &spec.resources)
            .unwrap_or(role);
        let status = Status {
            task: spec.id.clone(),
            incarnation,
            agent: Some(agent.clone()),
            number: 0,
            state: TaskState::Staging,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            wall_ms: self.turn.now.wall_ms,
        };
        self.hold_task(&key, Task::new(&spec, paid, agent.clone(), status));
        let message = ToAgent::Launch {
            epoch: self.epoch,
            framework: framework.clone(),
            incarnation,
            spec: Box::new(spec),
        };
        self.send_agent(agent, message, After::Nothing);
        Ok(incarnation)
    }

    /// Counts a launch down from the demand that its offers were made for. Answers the role of that demand, who pays.
    fn count_down(
        &mut self,
        framework: &FrameworkId,
        pot: &mut Pot,
        task: &Resources,
    ) -> Option<Role> {
        let demands = &mut self.frameworks.get_mut(framework)?.demands;
        let open: BTreeSet<&Role> = pot
            .fits
            .iter()
            .filter(|(_, fit)| fit.count > 0)
            .map(|(role, _)| role)
            .collect();
        let found = open.into_iter().find_map(|role| {
            let of_role = pot
                .fits
                .iter()
                .filter(|(of, fit)| of == role && fit.count > 0);
            let ids: Vec<DemandId> = of_role.map(|(_, fit)| fit.demand.clone()).collect();
            Some((role.clone(), demands.get(role)?.matching(&ids, task)?))
        });
        let (role, demand) = found?;
        let fits = pot.fits.iter_mut();
        for (_, fit) in fits
            .filter(|(of, fit)| *of == role && fit.demand == demand)
            .take(1)
        {
            fit.count = fit.count.saturating_sub(1);
        }
        if let Some(entry) = demands.get_mut(&role).and_then(|of| of.entry_mut(&demand)) {
            entry.remaining = entry.remaining.saturating_sub(1);
        }
        Some(role)
    }

    fn set_expiry_timer(&mut self) {
        let first = self.offers.expiries.first().map(|(at, _)| *at);
        if let Some(at) = first
            && self.offers.timer_at.is_none_or(|set| at < set)
        {
            self.offers.timer_at = Some(at);
            self.set_timer_at(TimerKey::OfferExpiry, at);
        }
    }
}

/// What an accept has to launch with.
#[derive(Debug, Default)]
struct Pot {
    resources: Resources,
    fits: Vec<(Role, Fit)>,
    /// Who pays for what no demand asked for.
    role: Option<Role>,
}

impl Pot {
    fn check_holds(&self, needs: &Resources) -> Result<(), Problem> {
        let Some(name) = self.resources.first_missing(needs) else {
            return Ok(());
        };
        let message = match needs.scalars().get(name) {
            Some(milli) => format!(
                "the task asks for {} {name}; {} is left in its offers",
                format_milli(*milli),
                format_milli(self.resources.scalar(name.as_str()))
            ),
            None => format!(
                "the task asks for {name} {}; {} is left in its offers",
                needs.range_set(name.as_str()),
                self.resources.range_set(name.as_str())
            ),
        };
        Err(Problem::new(code::TASK_RESOURCES_NOT_OFFERED, message)
            .field(format!("resources.{name}"))
            .hint("launch within what the offers hold"))
    }
}

/// For facts; no table of ours can hold more than a u64 counts.
fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
