//! Offers: leases on resources of one agent. Made from the allocator's grants; they end by being accepted, declined,
//! rescinded or by running out, and only through [`Core::remove_offer`], which puts every sum right.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::session::Event;
use proffer_model::{AgentId, FrameworkId, Offer, OfferId};

use crate::allocation::GrantedOffer;
use crate::core::Core;
use crate::effect::{After, Fact, OfferEnd, OfferRow};
use crate::event::TimerKey;
use crate::limits::{DECLINED_AT_ONCE_MAX, EXCLUSION_MAX, EXCLUSION_MIN, OFFERS_PER_EVENT_MAX};

/// An offer that stands: what is shown of it, and what only the core needs.
#[derive(Debug)]
pub(crate) struct StandingOffer {
    row: Arc<OfferRow>,
    /// Everything that was free, and not a shape.
    pub(crate) is_any: bool,
    /// By the monotonic clock.
    pub(crate) made_at: u64,
    pub(crate) expires_at: u64,
}

impl Deref for StandingOffer {
    type Target = OfferRow;

    fn deref(&self) -> &OfferRow {
        &self.row
    }
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
    pub(crate) fn make_offers(&mut self, grants: Vec<GrantedOffer>) {
        let mut by_framework: BTreeMap<FrameworkId, (Vec<Offer>, After)> = BTreeMap::new();
        for grant in grants {
            let Some((offer, after)) = self.make_offer(&grant) else {
                self.take_back(&grant);
                continue;
            };
            let fresh = || (Vec::new(), After::Nothing);
            let of = by_framework.entry(grant.framework).or_insert_with(fresh);
            of.0.push(offer);
            of.1 = of.1.max(after);
        }
        for (framework, (offers, after)) in by_framework {
            self.turn.record(Fact::OffersSent {
                framework: framework.clone(),
                count: count(offers.len()),
            });
            let mut left = offers.into_iter().peekable();
            while left.peek().is_some() {
                let offers = left.by_ref().take(OFFERS_PER_EVENT_MAX).collect();
                self.tell(&framework, Event::Offered(offers), after);
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
        let mut late: BTreeMap<FrameworkId, u64> = BTreeMap::new();
        for offer in expired.iter().filter_map(|id| self.offers.standing.get(id)) {
            let made_at = late.entry(offer.framework.clone()).or_default();
            *made_at = offer.made_at.max(*made_at);
        }
        for (framework, made_at) in late {
            let out = self.allocator.offers_out(&framework);
            self.halve_window(&framework, made_at, out);
        }
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

    /// Gives offers back and excludes their agents; many, in pieces. Those that are not the caller's are ignored.
    pub(crate) fn on_decline(
        &mut self,
        framework: &FrameworkId,
        offers: Vec<OfferId>,
        exclude_for: Duration,
    ) {
        let lasts = exclude_for.clamp(EXCLUSION_MIN, EXCLUSION_MAX);
        let until = self.turn.now.after(lasts).mono_ns;
        match offers.len() > DECLINED_AT_ONCE_MAX {
            true => self.decline_later(framework, offers, until),
            false => self.decline(framework, &offers, until),
        }
    }

    /// Gives some back.
    pub(crate) fn decline(&mut self, framework: &FrameworkId, offers: &[OfferId], until: u64) {
        let mut declined = 0;
        for id in self.owned(framework, offers) {
            if let Some(offer) = self.remove_offer(&id) {
                self.exclude(&offer, until);
                declined += 1;
            }
        }
        if declined > 0 {
            self.widen_window(framework, declined);
            let (framework, how) = (framework.clone(), OfferEnd::Declined);
            let count = count(declined);
            self.turn.record(Fact::OffersEnded {
                framework,
                count,
                how,
            });
        }
    }

    /// Excludes the agent of an offer for what the offer was made for.
    pub(crate) fn exclude(&mut self, offer: &StandingOffer, until: u64) {
        // What was refused of everything; of a shape, whatever is there until more is.
        let refused = match offer.is_any {
            true => Some(offer.resources.clone()),
            false => self.unused(&offer.agent),
        };
        let refused = refused.unwrap_or_default();
        let (framework, role, agent) = (&offer.framework, &offer.role, &offer.agent);
        let refused = (refused, until);
        for fit in &offer.fits {
            self.allocator
                .exclude(framework, role, &fit.demand, agent, &refused.0, until);
            self.replacements
                .note_refused(framework, role, &fit.demand, agent, &refused);
        }
    }

    /// Makes an offer, and answers what must be durable before it may leave: what it holds may have been reserved only now.
    fn make_offer(&mut self, grant: &GrantedOffer) -> Option<(Offer, After)> {
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
        let after = self.turn.after(agent.converted_in);
        agent.offered.add(&grant.resources);
        agent.offers.insert(id.clone());
        framework.offers.insert(id.clone());
        let offer = Offer {
            id: id.clone(),
            role: grant.role.clone(),
            agent: grant.agent.clone(),
            host: description.host.clone(),
            address: description.address.clone(),
            attributes: description.attributes.clone(),
            domain: description.domain.clone(),
            resources: grant.resources.clone(),
            fits: grant.fits.clone(),
            expires_after: lease,
        };
        self.turn.touch_agent(&grant.agent);
        self.turn.touch_framework(&grant.framework);
        let expires_at = self.turn.now.after(lease).mono_ns;
        self.offers.expiries.insert((expires_at, id.clone()));
        let row = Arc::new(OfferRow {
            offer: id.clone(),
            framework: grant.framework.clone(),
            role: grant.role.clone(),
            agent: grant.agent.clone(),
            resources: grant.resources.clone(),
            fits: grant.fits.clone(),
            made_wall_ms: self.turn.now.wall_ms,
            expires_wall_ms: self.turn.now.after(lease).wall_ms,
        });
        self.turn.record(Fact::Offer(Arc::clone(&row)));
        let standing = StandingOffer {
            row,
            is_any: grant.is_any,
            made_at: self.turn.now.mono_ns,
            expires_at,
        };
        self.offers.standing.insert(id, standing);
        Some((offer, after))
    }

    /// A grant of which no offer can be made is held by nobody: it is as if the offer had been rescinded at once.
    fn take_back(&mut self, grant: &GrantedOffer) {
        let (framework, role, agent) = (&grant.framework, &grant.role, &grant.agent);
        self.allocator.end_offer(framework);
        self.allocator
            .release(framework, role, agent, &grant.resources);
        for fit in &grant.fits {
            self.allocator
                .count_down(framework, role, &fit.demand, agent, 0, fit.count);
        }
    }

    /// Takes an offer out of every index and sum. What it held may be offered anew.
    pub(crate) fn remove_offer(&mut self, id: &OfferId) -> Option<StandingOffer> {
        let offer = self.take_offer(id)?;
        let (framework, role, agent) = (&offer.framework, &offer.role, &offer.agent);
        self.allocator
            .release(framework, role, agent, &offer.resources);
        for fit in &offer.fits {
            self.allocator
                .count_down(framework, role, &fit.demand, agent, 0, fit.count);
        }
        Some(offer)
    }

    /// Takes an offer out of every index and sum but the allocator's: what it held is still held by the framework.
    pub(crate) fn take_offer(&mut self, id: &OfferId) -> Option<StandingOffer> {
        let offer = self.offers.standing.remove(id)?;
        self.turn.record(Fact::OfferGone { offer: id.clone() });
        self.offers.expiries.remove(&(offer.expires_at, id.clone()));
        if let Some(agent) = self.agents.by_id.get_mut(&offer.agent) {
            agent.offered.subtract(&offer.resources);
            agent.offers.remove(id);
        }
        if let Some(framework) = self.frameworks.get_mut(&offer.framework) {
            framework.offers.remove(id);
        }
        self.allocator.end_offer(&offer.framework);
        self.triggers.changed();
        self.turn.touch_agent(&offer.agent);
        self.turn.touch_framework(&offer.framework);
        Some(offer)
    }

    /// Ends offers and tells their frameworks.
    pub(crate) fn end_offers(&mut self, ids: Vec<OfferId>, how: OfferEnd) {
        let mut ended: BTreeMap<FrameworkId, Vec<OfferId>> = BTreeMap::new();
        for id in ids {
            if let Some(offer) = self.remove_offer(&id) {
                let of = ended.entry(offer.framework.clone()).or_default();
                of.push(id);
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

    pub(crate) fn owned(&self, framework: &FrameworkId, offers: &[OfferId]) -> Vec<OfferId> {
        let is_owned = |id: &&OfferId| {
            let standing = self.offers.standing.get(*id);
            standing.is_some_and(|offer| offer.framework == *framework)
        };
        offers.iter().filter(is_owned).cloned().collect()
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

/// For facts; no table of ours can hold more than a u64 counts.
fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
