//! A cluster for tests: short names for the allocator's calls, and what was granted as text.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_model::{
    AgentDescription, AgentId, Attributes, DemandEntry, DemandId, FaultDomain, FrameworkId, Limits,
    Quantities, Quota, ResourceName, Resources, Role, Shape, Time, Weight,
};

use crate::allocation::{Allocator, GrantedOffer, Options, Run, Scope};

pub(super) fn agent(id: &str) -> AgentId {
    AgentId::new(id).expect(id)
}

pub(super) fn framework(id: &str) -> FrameworkId {
    FrameworkId::new(id).expect(id)
}

pub(super) fn role(path: &str) -> Role {
    Role::new(path).expect(path)
}

pub(super) fn entry(id: &str) -> DemandId {
    DemandId::new(id).expect(id)
}

pub(super) fn r(text: &str) -> Resources {
    text.parse().expect(text)
}

pub(super) fn quantities(text: &str) -> Quantities {
    r(text).quantities()
}

pub(super) fn limits(text: &str) -> Limits {
    let mut limits = Limits::new();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, amount) = part.split_once(':').expect(part);
        let milli = proffer_model::resources::parse_milli(amount).expect(part);
        limits.set(ResourceName::new(name).expect(name), milli);
    }
    limits
}

pub(super) fn described(host: &str, attributes: &str) -> AgentDescription {
    AgentDescription {
        host: host.to_owned(),
        address: format!("{host}:5051"),
        resources: Resources::new(),
        attributes: attributes.parse::<Attributes>().expect(attributes),
        domain: None,
        version: "1".to_owned(),
    }
}

/// Where an agent stands: `eu/a`, or nowhere.
pub(super) fn domain(text: &str) -> Option<FaultDomain> {
    let (region, zone) = text.split_once('/')?;
    Some(FaultDomain::new(region, zone).expect(text))
}

pub(super) fn any() -> DemandEntry {
    let mut entry = DemandEntry::new(entry("any"), 1_000_000, Resources::new());
    entry.shape = Shape::Any { least: Vec::new() };
    entry
}

pub(super) fn shaped(id: &str, count: u32, text: &str) -> DemandEntry {
    DemandEntry::new(entry(id), count, r(text))
}

/// An allocator and the time.
pub(super) struct World {
    pub(super) allocator: Allocator,
    pub(super) now: Time,
    pub(super) last: Run,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(Options {
            seed,
            ..Options::default()
        })
    }

    pub(super) fn with(options: Options) -> Self {
        Self {
            allocator: Allocator::new(options),
            now: Time::default(),
            last: Run::default(),
        }
    }

    pub(super) fn agent(&mut self, id: &str, total: &str) {
        self.allocator
            .add_agent(&agent(id), &described(id, ""), &r(total));
    }

    /// The same, standing somewhere.
    pub(super) fn agent_at(&mut self, id: &str, place: &str, total: &str) {
        let description = AgentDescription {
            domain: domain(place),
            ..described(id, "")
        };
        self.allocator
            .add_agent(&agent(id), &description, &r(total));
    }

    pub(super) fn framework(&mut self, id: &str, path: &str) {
        self.allocator
            .set_demand(&framework(id), &role(path), &[any()]);
    }

    pub(super) fn demand(&mut self, id: &str, path: &str, entries: &[DemandEntry]) {
        self.allocator
            .set_demand(&framework(id), &role(path), entries);
    }

    pub(super) fn quota(&mut self, path: &str, guarantees: &str, most: &str) {
        let quota = Quota {
            guarantees: quantities(guarantees),
            limits: limits(most),
        };
        self.allocator.set_quota(&role(path), Some(&quota));
    }

    pub(super) fn weight(&mut self, path: &str, milli: u32) {
        self.allocator.set_weight(&role(path), Weight(milli));
    }

    pub(super) fn release(&mut self, id: &str, path: &str, of: &str, what: &str) {
        self.allocator
            .release(&framework(id), &role(path), &agent(of), &r(what));
    }

    /// An offer to an entry of any shape comes back, and is refused for so many seconds when it is so.
    pub(super) fn decline(
        &mut self,
        id: &str,
        path: &str,
        of: &str,
        what: &str,
        seconds: Option<u64>,
    ) {
        self.release(id, path, of, what);
        let (id, path, of, any) = (framework(id), role(path), agent(of), entry("any"));
        self.allocator.count_down(&id, &path, &any, &of, 0, 1);
        if let Some(seconds) = seconds {
            let until = self.now.mono_ns + seconds * 1_000_000_000;
            self.allocator
                .exclude(&id, &path, &any, &of, &r(what), until);
        }
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    /// Runs, and checks all sums.
    pub(super) fn run(&mut self, scope: Scope<'_>) -> Vec<GrantedOffer> {
        self.last = self.allocator.run(self.now, scope, u32::MAX);
        assert!(self.last.is_done);
        self.allocator.check().expect("sums are right");
        let offers = self.last.grants.iter().map(|grant| {
            self.allocator
                .offer_of(grant)
                .expect("it was granted just now")
        });
        offers.collect()
    }

    pub(super) fn changed(&mut self) -> Vec<GrantedOffer> {
        self.run(Scope::Changed)
    }

    pub(super) fn all(&mut self) -> Vec<GrantedOffer> {
        self.run(Scope::All)
    }
}

/// `f1 role1 A1 cpus:2;mem:1024`, sorted.
pub(super) fn lines(offers: &[GrantedOffer]) -> Vec<String> {
    let line = |offer: &GrantedOffer| {
        format!(
            "{} {} {} {}",
            offer.framework, offer.role, offer.agent, offer.resources
        )
    };
    let mut lines: Vec<String> = offers.iter().map(line).collect();
    lines.sort();
    lines
}

/// By framework: how many offers, and what they hold together.
pub(super) fn totals(offers: &[GrantedOffer]) -> BTreeMap<String, (usize, String)> {
    let mut sums: BTreeMap<String, (usize, Resources)> = BTreeMap::new();
    for offer in offers {
        let sum = sums.entry(offer.framework.to_string()).or_default();
        sum.0 += 1;
        sum.1.add(&offer.resources);
    }
    sums.into_iter()
        .map(|(framework, (count, sum))| (framework, (count, sum.to_string())))
        .collect()
}

/// How many instances of each entry were granted, by agent.
pub(super) fn fits(offers: &[GrantedOffer]) -> BTreeMap<(String, String), u32> {
    let mut counts = BTreeMap::new();
    for offer in offers {
        for fit in &offer.fits {
            *counts
                .entry((fit.demand.to_string(), offer.agent.to_string()))
                .or_default() += fit.count;
        }
    }
    counts
}
