//! The allocator as the cases drive it.

use std::collections::BTreeMap;
use std::time::Duration;

use proffer_master_core::allocation::{Allocator, Options, Placement, Scope};
use proffer_model::resources::{Amount, Pieces};
use proffer_model::{
    AgentDescription, AgentId, Attributes, Disk, DiskSource, FrameworkId, Limits, Quota,
    Reservation, ResourceKind, ResourceName, Resources, Role, Time, Weight,
};

use super::amounts::{Amounts, Kind, Sums};
use super::compile::{demand, entry_id, quantities};
use super::expect::Made;
use super::play::{Machine, Returned, Setting};
use super::steps::{Arrival, Used};

/// Steps that a run may take before it is called again: with all of them the offers must be the same.
const STEPS_MAX: [u32; 3] = [1_000_000, 1, 7];
/// A run that is not done after so many calls never is.
const CALLS_MAX: usize = 100_000;

/// The allocator, and what a master knows beside it.
pub(super) struct Real {
    allocator: Allocator,
    steps_max: u32,
    agents: BTreeMap<String, Amounts>,
    frameworks: BTreeMap<String, Arrival>,
    /// By framework, role and agent.
    held: BTreeMap<(String, String, String), Amounts>,
}

impl Real {
    pub(super) fn new(setting: &Setting, seed: u64) -> Self {
        let names = setting.share_excluded.iter();
        let options = Options {
            seed,
            least: setting.least.iter().map(quantities).collect(),
            share_excluded: names
                .map(|name| ResourceName::new(name).expect("a name"))
                .collect(),
            placement: Placement::Spread,
            earmark_after: Duration::from_secs(30),
        };
        let at = usize::try_from(seed % 3).unwrap_or(0);
        Self {
            allocator: Allocator::new(options),
            steps_max: STEPS_MAX[at],
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// What is held, by framework, role and agent.
    pub(super) fn held(&self) -> &BTreeMap<(String, String, String), Amounts> {
        &self.held
    }

    fn framework(&mut self, framework: &str) -> Result<&mut Arrival, String> {
        let known = self.frameworks.get_mut(framework);
        known.ok_or_else(|| format!("the framework {framework} is not there"))
    }

    /// Tells the allocator what a framework wants now.
    fn tell_demand(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        let arrival = self.framework(framework)?.clone();
        for name in roles {
            let is_suppressed = arrival.suppressed.contains(name);
            let entries = demand(is_suppressed, arrival.capabilities, arrival.least.as_ref());
            self.allocator
                .set_demand(&framework_id(framework), &role(name), &entries);
        }
        Ok(())
    }

    /// The roles named, or all of the framework's when none is.
    fn roles(&mut self, framework: &str, named: &[String]) -> Result<Vec<String>, String> {
        let known = self.framework(framework)?;
        match named.iter().find(|role| !known.roles.contains(role)) {
            Some(role) => Err(format!("{framework} is not in the role {role}")),
            None if named.is_empty() => Ok(known.roles.clone()),
            None => Ok(named.to_vec()),
        }
    }

    fn held_by(&self, what: &Returned<'_>) -> Result<Amounts, String> {
        let Returned {
            framework,
            role,
            agent,
            amounts,
        } = what;
        let key = (
            (*framework).to_owned(),
            (*role).to_owned(),
            (*agent).to_owned(),
        );
        let held = self.held.get(&key).cloned().unwrap_or_default();
        match amounts {
            None => Ok(held),
            Some(amounts) if held.contains(amounts) => Ok((*amounts).clone()),
            Some(amounts) => Err(format!(
                "{framework} holds {held} as {role} on {agent}, which has not {amounts}"
            )),
        }
    }

    fn change_held(&mut self, what: &Returned<'_>, from: &Amounts, to: &Amounts) {
        let Returned {
            framework,
            role,
            agent,
            ..
        } = what;
        let key = (
            (*framework).to_owned(),
            (*role).to_owned(),
            (*agent).to_owned(),
        );
        let held = self.held.entry(key).or_default();
        held.subtract(from);
        held.add(to);
        self.held.retain(|_, held| !held.is_empty());
    }

    fn total(&mut self, agent: &str) -> Result<&mut Amounts, String> {
        let known = self.agents.get_mut(agent);
        known.ok_or_else(|| format!("the agent {agent} is not there"))
    }
}

impl Machine for Real {
    fn add_agent(&mut self, agent: &str, total: &Amounts, used: &[Used]) -> Result<(), String> {
        if self
            .agents
            .insert(agent.to_owned(), total.clone())
            .is_some()
        {
            return Err(format!("the agent {agent} is there already"));
        }
        let resources = to_resources(total)?;
        self.allocator.add_agent(
            &agent_id(agent),
            &description(agent, &resources),
            &resources,
        );
        for Used {
            framework,
            role: name,
            amounts,
        } in used
        {
            let resources = to_resources(amounts)?;
            let (id, on) = (framework_id(framework), agent_id(agent));
            self.allocator.allocate(&id, &role(name), &on, &resources);
            let what = Returned {
                framework,
                role: name,
                agent,
                amounts: None,
            };
            self.change_held(&what, &Amounts::default(), amounts);
        }
        Ok(())
    }

    fn set_agent(&mut self, agent: &str, total: &Amounts) -> Result<bool, String> {
        let before = std::mem::replace(self.total(agent)?, total.clone());
        let resources = to_resources(total)?;
        self.allocator.set_agent(
            &agent_id(agent),
            &description(agent, &resources),
            &resources,
        );
        Ok(before != *total)
    }

    fn remove_agent(&mut self, agent: &str) -> Result<(), String> {
        self.total(agent)?;
        self.agents.remove(agent);
        self.held.retain(|(_, _, on), _| on != agent);
        self.allocator.remove_agent(&agent_id(agent));
        Ok(())
    }

    fn add_framework(&mut self, arrival: &Arrival) -> Result<(), String> {
        let name = &arrival.framework;
        if self
            .frameworks
            .insert(name.clone(), arrival.clone())
            .is_some()
        {
            return Err(format!("the framework {name} is there already"));
        }
        self.allocator
            .set_framework_active(&framework_id(name), !arrival.is_inactive);
        self.tell_demand(name, &arrival.roles)
    }

    fn remove_framework(&mut self, framework: &str) -> Result<(), String> {
        self.framework(framework)?;
        self.frameworks.remove(framework);
        self.held.retain(|(of, _, _), _| of != framework);
        self.allocator.remove_framework(&framework_id(framework));
        Ok(())
    }

    fn set_framework_active(&mut self, framework: &str, is_active: bool) -> Result<(), String> {
        self.framework(framework)?;
        self.allocator
            .set_framework_active(&framework_id(framework), is_active);
        Ok(())
    }

    fn give_back(&mut self, what: &Returned<'_>, filter_ends: Option<u64>) -> Result<(), String> {
        if !self.agents.contains_key(what.agent) || !self.frameworks.contains_key(what.framework) {
            // Both are late: whoever went took it along.
            return Ok(());
        }
        let amounts = self.held_by(what)?;
        if amounts.is_empty() {
            return Ok(());
        }
        self.change_held(what, &amounts, &Amounts::default());
        let (id, of, on) = (
            framework_id(what.framework),
            role(what.role),
            agent_id(what.agent),
        );
        let resources = to_resources(&amounts)?;
        self.allocator.release(&id, &of, &on, &resources);
        if let Some(ends) = filter_ends {
            self.allocator
                .exclude(&id, &of, &entry_id(), &on, &resources, ends);
        }
        Ok(())
    }

    fn convert(&mut self, what: &Returned<'_>, to: &Amounts) -> Result<(), String> {
        let from = self.held_by(what)?;
        let total = self.total(what.agent)?;
        *total = total.minus(&from).plus(to);
        self.change_held(what, &from, to);
        let (id, of, on) = (
            framework_id(what.framework),
            role(what.role),
            agent_id(what.agent),
        );
        self.allocator
            .convert(&id, &of, &on, &to_resources(&from)?, &to_resources(to)?);
        Ok(())
    }

    fn convert_free(&mut self, agent: &str, from: &Amounts, to: &Amounts) -> Result<(), String> {
        let total = self.total(agent)?;
        *total = total.minus(from).plus(to);
        let done =
            self.allocator
                .convert_free(&agent_id(agent), &to_resources(from)?, &to_resources(to)?);
        done.map_err(|missing| format!("{missing} is not free on {agent}"))
    }

    fn set_quota(&mut self, name: &str, guarantees: &Sums, bounds: &Sums) -> Result<(), String> {
        let mut limits = Limits::new();
        for (name, milli) in bounds {
            limits.set(
                ResourceName::new(name).map_err(|problem| problem.message)?,
                *milli,
            );
        }
        let guarantees = quantities(guarantees);
        let is_none = guarantees.is_empty() && limits.is_empty();
        let quota = Quota { guarantees, limits };
        self.allocator
            .set_quota(&role(name), (!is_none).then_some(&quota));
        Ok(())
    }

    fn set_weight(&mut self, name: &str, milli: u32) -> Result<(), String> {
        self.allocator.set_weight(&role(name), Weight(milli));
        Ok(())
    }

    fn suppress(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        let roles = self.roles(framework, roles)?;
        self.framework(framework)?.suppressed.extend(roles.clone());
        self.tell_demand(framework, &roles)
    }

    fn revive(&mut self, framework: &str, roles: &[String]) -> Result<(), String> {
        let roles = self.roles(framework, roles)?;
        self.framework(framework)?
            .suppressed
            .retain(|role| !roles.contains(role));
        for name in &roles {
            self.allocator
                .clear_exclusions(&framework_id(framework), &role(name));
        }
        self.tell_demand(framework, &roles)
    }

    fn round(&mut self, now: u64, agent: Option<&str>) -> Result<Vec<Made>, String> {
        let now = Time {
            mono_ns: now,
            wall_ms: now / 1_000_000,
        };
        let one = agent.map(|agent| [agent_id(agent)]);
        let scope = one
            .as_ref()
            .map_or(Scope::All, |agents| Scope::Agents(agents));
        // What one round makes of one agent for one framework and role is one offer.
        let mut made: BTreeMap<(String, String, String), Amounts> = BTreeMap::new();
        for _ in 0..CALLS_MAX {
            let run = self.allocator.run(now, scope, self.steps_max);
            for grant in &run.grants {
                let offer = self
                    .allocator
                    .offer_of(grant)
                    .ok_or("a grant is of no offer")?;
                let key = (
                    offer.framework.to_string(),
                    offer.role.to_string(),
                    offer.agent.to_string(),
                );
                let amounts = from_resources(&offer.resources)?;
                self.held.entry(key.clone()).or_default().add(&amounts);
                made.entry(key).or_default().add(&amounts);
            }
            if run.is_done {
                let offers = made
                    .into_iter()
                    .map(|((framework, role, agent), amounts)| Made {
                        framework,
                        role,
                        agent,
                        amounts,
                    });
                return Ok(offers.collect());
            }
        }
        Err(format!("a run is not done after {CALLS_MAX} calls"))
    }

    fn check(&self) -> Result<(), String> {
        self.allocator.check()
    }
}

fn framework_id(text: &str) -> FrameworkId {
    FrameworkId::new(text).expect("an id")
}

fn agent_id(text: &str) -> AgentId {
    AgentId::new(text).expect("an id")
}

fn role(text: &str) -> Role {
    Role::new(text).expect("a role")
}

fn description(agent: &str, resources: &Resources) -> AgentDescription {
    AgentDescription {
        host: agent.to_owned(),
        address: format!("{agent}:5051"),
        resources: resources.clone(),
        attributes: Attributes::default(),
        domain: None,
        version: String::new(),
    }
}

/// As the model has them.
fn to_resources(amounts: &Amounts) -> Result<Resources, String> {
    let mut resources = Resources::new();
    let scalars = amounts.scalars.iter();
    let scalars = scalars.map(|(kind, milli)| (kind, Amount::Scalar(*milli)));
    let wholes = amounts.wholes.iter().flat_map(|(kind, sizes)| {
        let sizes = sizes.iter();
        sizes.map(move |milli| (kind, Amount::Whole(Pieces::new(*milli, 1))))
    });
    let ranges = amounts.ranges.iter();
    let ranges = ranges.map(|(kind, set)| (kind, Amount::Ranges(set.clone())));
    for (kind, amount) in scalars.chain(wholes).chain(ranges) {
        let done = resources.insert(to_kind(kind)?, amount);
        done.map_err(|problem| format!("{kind}: {}", problem.message))?;
    }
    Ok(resources)
}

fn to_kind(kind: &Kind) -> Result<ResourceKind, String> {
    let name = ResourceName::new(&kind.name).map_err(|problem| problem.message)?;
    let reservation = |text: &String| {
        Ok(Reservation {
            role: Role::new(text).map_err(|problem| problem.message)?,
            principal: None,
            labels: BTreeMap::new(),
        })
    };
    let root = String::new();
    let source = match kind.disk.as_deref() {
        None => None,
        Some("MOUNT") => Some(DiskSource::Mount { root }),
        Some("PATH") => Some(DiskSource::Path { root }),
        Some("BLOCK") => Some(DiskSource::Block { id: root }),
        Some("RAW") => Some(DiskSource::Raw {
            id: None,
            profile: None,
        }),
        Some(other) => return Err(format!("{other} is no disk")),
    };
    Ok(ResourceKind {
        name,
        reservations: kind
            .stack
            .iter()
            .map(reservation)
            .collect::<Result<_, String>>()?,
        disk: source.map(|source| Disk {
            source: Some(source),
            volume: None,
        }),
        is_revocable: kind.is_revocable,
        is_shared: false,
    })
}

/// As the cases have them.
fn from_resources(resources: &Resources) -> Result<Amounts, String> {
    let mut amounts = Amounts::default();
    for (kind, amount) in resources.iter() {
        let source = kind.disk.as_ref().and_then(|disk| disk.source.as_ref());
        let kind = Kind {
            name: kind.name.to_string(),
            stack: kind
                .reservations
                .iter()
                .map(|of| of.role.to_string())
                .collect(),
            is_revocable: kind.is_revocable,
            disk: source.map(|source| {
                let word = match source {
                    DiskSource::Mount { .. } => "MOUNT",
                    DiskSource::Path { .. } => "PATH",
                    DiskSource::Block { .. } => "BLOCK",
                    DiskSource::Raw { .. } => "RAW",
                };
                word.to_owned()
            }),
        };
        match amount {
            Amount::Scalar(milli) => amounts.put(kind, *milli),
            Amount::Whole(pieces) => {
                for piece in pieces.iter() {
                    (0..piece.copies).for_each(|_| amounts.put(kind.clone(), piece.milli));
                }
            }
            Amount::Ranges(set) => drop(amounts.ranges.insert(kind, set.clone())),
            Amount::Set(_) => return Err(format!("{kind} is a set, which the cases have not")),
        }
    }
    Ok(amounts)
}
