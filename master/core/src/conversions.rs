//! Conversions: reservations and volumes, made by frameworks of what they are offered and by operators of what is free.
//! What becomes of resources is the model's arithmetic; here is who may do it, and what it does to an agent.

use proffer_model::limits::RESOURCE_KINDS_MAX;
use proffer_model::made::{made_of, same_volumes, total_with};
use proffer_model::operation::Operation;
use proffer_model::problem::Code;
use proffer_model::registry::Operation as Change;
use proffer_model::resources::Conversion;
use proffer_model::{AgentId, OfferId, Principal, Problem, ResourceKind, Resources, Role, code};

use crate::agents::Agent;
use crate::core::Core;
use crate::effect::OfferEnd;
use crate::event::Seq;
use crate::volumes::changes_volumes;

impl Core {
    /// Judges a framework's operation on what it is offered.
    pub(crate) fn plan_conversion(
        &self,
        principal: &Principal,
        role: &Role,
        agent: &AgentId,
        offered: &Resources,
        operation: &Operation,
    ) -> Result<Conversion, Problem> {
        self.check_store_keeps_up()?;
        let known = self.agents.by_id.get(agent);
        let known = known.ok_or_else(|| Problem::new(code::OFFER_GONE, "its agent is gone"))?;
        let conversion = match operation {
            Operation::Reserve(resources) => {
                let resources = stamped(resources, principal)?;
                check_principals(&resources, principal)?;
                check_role(&resources, role)?;
                Conversion::reserve(&resources)
            }
            Operation::Unreserve(resources) => {
                check_made(resources)?;
                Conversion::unreserve(resources)
            }
            Operation::Create(volumes) => {
                check_makers(volumes, principal)?;
                check_creation(volumes, known)?;
                Conversion::create(volumes)
            }
            Operation::Destroy(volumes) => {
                check_destruction(volumes, &known.used)?;
                Conversion::destroy(volumes)
            }
            Operation::Grow { volume, milli } => Conversion::grow(offered, volume, *milli),
            Operation::Shrink { volume, milli } => Conversion::shrink(offered, volume, *milli),
            Operation::Launch(_) | Operation::LaunchGroup(_) => Err(Problem::new(
                code::INTERNAL,
                "a launch is no conversion of resources",
            )),
        }?;
        if !offered.contains(&conversion.from) {
            let message = "it is not among what is left of the offers";
            let code = code::RESOURCES_NOT_OFFERED;
            return Err(not_there(offered, &conversion.from, code, message));
        }
        self.check_outcome(agent, &conversion)?;
        self.check_limits(role, &conversion)?;
        Ok(conversion)
    }

    /// What a framework makes of a reservation counts against the limits of its role, as what it is offered does.
    fn check_limits(&self, role: &Role, conversion: &Conversion) -> Result<(), Problem> {
        let Conversion { from, to } = conversion;
        let Some((limited, name)) = self.allocator.over_limit(role, from, to) else {
            return Ok(());
        };
        let message = format!("the limit of role {limited} leaves less {name}");
        Err(Problem::new(code::QUOTA_EXCEEDED, message)
            .field(name.as_str())
            .hint("convert less, or ask an operator to raise the limit or to convert it"))
    }

    /// Whether an agent has afterwards what it should: what is missing there does not come back by it, and there are no more
    /// kinds than can be written down.
    pub(crate) fn check_outcome(
        &self,
        agent: &AgentId,
        conversion: &Conversion,
    ) -> Result<(), Problem> {
        let (Some(known), Some(entry)) = (
            self.agents.by_id.get(agent),
            self.registry.agents.get(agent),
        ) else {
            return Ok(());
        };
        let Conversion { from, to } = conversion;
        if !known.total.contains(from) {
            // It will be refused for that.
            return Ok(());
        }
        let expected = known.total.minus(from).plus(to);
        let made = entry.made.minus(from).plus(&made_of(to));
        let count = |resources: &Resources| resources.special().count();
        let is_more = count(&expected) > count(&known.total) || count(&made) > count(&entry.made);
        if is_more && count(&expected).max(count(&made)) > RESOURCE_KINDS_MAX {
            let message = format!(
                "the agent has {RESOURCE_KINDS_MAX} kinds of reserved resources, disks and volumes; the limit is reached"
            );
            return Err(Problem::new(code::OVERLOADED, message)
                .hint("give what belongs together the same reservation"));
        }
        if !known.missing.is_empty()
            && total_with(&entry.description.resources, &made).0 != expected
        {
            let message =
                "what the agent has had no resources for since it changed would take its place";
            return Err(Problem::new(code::RESERVATION_INVALID, message)
                .hint("give the agent its resources back first"));
        }
        Ok(())
    }

    /// Takes back the offers that hold one of these volumes: several may hold a shared one.
    pub(crate) fn rescind_volumes(&mut self, agent: &AgentId, volumes: &Resources) {
        let Some(known) = self.agents.by_id.get(agent) else {
            return;
        };
        let holds = |id: &&OfferId| {
            let offer = self.offers.standing.get(*id);
            offer.is_some_and(|offer| same_volumes(volumes, &offer.resources).next().is_some())
        };
        let taken = known.offers.iter().filter(holds).cloned().collect();
        self.end_offers(taken, OfferEnd::Rescinded);
    }

    /// Makes it so: durable, and in the agent's total at once.
    pub(crate) fn convert_agent(&mut self, agent: &AgentId, conversion: &Conversion) -> Seq {
        let seq = self.persist(Change::ConvertAgent {
            agent: agent.clone(),
            from: conversion.from.clone(),
            to: conversion.to.clone(),
        });
        self.agents.change(agent, |known| {
            // The same as counted anew, which takes longer.
            known.total = known.total.minus(&conversion.from).plus(&conversion.to);
            known.converted_in = seq;
        });
        if changes_volumes(conversion) {
            let after = self.turn.after(seq);
            self.send_volumes(agent, after);
        }
        self.sync_agent(agent);
        self.turn.touch_agent(agent);
        seq
    }

    /// Counts anew what an agent has, with all that was made there.
    pub(crate) fn retotal(&mut self, agent: &AgentId) {
        let Some(entry) = self.registry.agents.get(agent) else {
            return;
        };
        self.agents.change(agent, |known| {
            (known.total, known.missing) = total_with(&entry.description.resources, &entry.made);
        });
        self.sync_agent(agent);
    }
}

/// The same with the caller's principal in each topmost reservation that has none.
pub(crate) fn stamped(resources: &Resources, principal: &Principal) -> Result<Resources, Problem> {
    let mut out = Resources::new();
    for (kind, amount) in resources.iter() {
        let mut kind = kind.into_owned();
        if let Some(top) = kind.reservations.last_mut() {
            top.principal.get_or_insert_with(|| principal.clone());
        }
        out.insert(kind, amount.clone())?;
    }
    Ok(out)
}

/// Nobody reserves in the name of another, nor anew what the agent's configuration reserves, which has no principal.
pub(crate) fn check_principals(
    resources: &Resources,
    principal: &Principal,
) -> Result<(), Problem> {
    for (kind, amount) in resources.iter() {
        let Some(top) = kind.reservations.last() else {
            let name = kind.name.as_str();
            let rest = kind.to_string().split_off(name.len());
            let message = format!("{name} is reserved to nobody");
            return Err(Problem::new(code::RESERVATION_INVALID, message)
                .field(name)
                .hint(format!("write {name}(ROLE){rest}:{amount}")));
        };
        if top.principal.as_ref() != Some(principal) {
            let message = format!("the new reservation of {} is not {principal}'s", kind.name);
            return Err(Problem::new(code::RESERVATION_INVALID, message)
                .field(kind.name.as_str())
                .hint(format!(
                    "name the principal {principal} in the topmost reservation, or none"
                )));
        }
    }
    Ok(())
}

/// The same with the caller's principal in each volume that says nothing of who made it.
pub(crate) fn made_by(volumes: &Resources, principal: &Principal) -> Result<Resources, Problem> {
    with_makers(volumes, |_| Some(principal.clone()))
}

/// The same with the principal that it has in `there` in each volume that says nothing of who made it.
pub(crate) fn with_makers_of(volumes: &Resources, there: &Resources) -> Result<Resources, Problem> {
    with_makers(volumes, |kind| {
        let id = &kind.volume()?.id;
        let mut found = there
            .volumes()
            .filter(|(of, volume, _)| volume.id == *id && of.reserved_to() == kind.reserved_to());
        found.next()?.1.principal.clone()
    })
}

fn with_makers(
    volumes: &Resources,
    maker: impl Fn(&ResourceKind) -> Option<Principal>,
) -> Result<Resources, Problem> {
    let mut out = Resources::new();
    for (kind, amount) in volumes.iter() {
        let mut kind = kind.into_owned();
        let made_by = maker(&kind);
        let volume = kind.disk.as_mut().and_then(|disk| disk.volume.as_mut());
        if let Some(volume) = volume.filter(|volume| volume.principal.is_none()) {
            volume.principal = made_by;
        }
        out.insert(kind, amount.clone())?;
    }
    Ok(out)
}

/// Nobody makes a volume in the name of another.
pub(crate) fn check_makers(volumes: &Resources, principal: &Principal) -> Result<(), Problem> {
    let is_others = |maker: &Option<Principal>| maker.as_ref().is_some_and(|it| it != principal);
    let mut all = volumes.volumes();
    let Some((kind, volume, _)) = all.find(|(_, volume, _)| is_others(&volume.principal)) else {
        return Ok(());
    };
    let message = format!("volume {} is not {principal}'s", volume.id);
    Err(Problem::new(code::VOLUME_INVALID, message)
        .field(kind.name.as_str())
        .hint(format!(
            "name the principal {principal} in the volume, or none"
        )))
}

/// A framework reserves for the role that it was offered the resources in.
fn check_role(resources: &Resources, role: &Role) -> Result<(), Problem> {
    for (kind, _) in resources.iter() {
        if kind.reserved_to() != Some(role) {
            let message = format!("{} is offered to role {role}", kind.name);
            return Err(Problem::new(code::RESERVATION_INVALID, message)
                .field(kind.name.as_str())
                .hint("reserve for the role of the offer"));
        }
    }
    Ok(())
}

/// What the agent's configuration reserves stays reserved.
pub(crate) fn check_made(resources: &Resources) -> Result<(), Problem> {
    if made_of(resources) == *resources {
        return Ok(());
    }
    let message = "the agent's configuration made the reservation";
    Err(Problem::new(code::RESERVATION_INVALID, message)
        .hint("change the agent's configuration, or name the reservation with its principal"))
}

/// A volume's id is its own, for its role on its agent.
pub(crate) fn check_creation(volumes: &Resources, agent: &Agent) -> Result<(), Problem> {
    let there = agent.total.plus(&agent.missing);
    let new = volumes.volumes().zip(1..);
    let twice = new.filter_map(|((kind, volume, _), next)| {
        let mut later = volumes.volumes().skip(next);
        let is_same = later.any(|(other, same, _)| {
            same.id == volume.id && other.reserved_to() == kind.reserved_to()
        });
        is_same.then_some(kind)
    });
    let Some(kind) = same_volumes(volumes, &there).chain(twice).next() else {
        return Ok(());
    };
    let id = kind.volume().map(|volume| volume.id.to_string());
    let message = format!("there is a volume {} already", id.unwrap_or_default());
    Err(Problem::new(code::VOLUME_EXISTS, message)
        .field(kind.name.as_str())
        .hint("give the volume another id"))
}

pub(crate) fn check_destruction(volumes: &Resources, used: &Resources) -> Result<(), Problem> {
    let Some(kind) = same_volumes(volumes, used).next() else {
        return Ok(());
    };
    let id = kind.volume().map(|volume| volume.id.to_string());
    let message = format!("a task uses volume {}", id.unwrap_or_default());
    Err(Problem::new(code::VOLUME_IN_USE, message)
        .field(kind.name.as_str())
        .hint("end the task first"))
}

/// What of `needed` is not there, in a problem.
pub(crate) fn not_there(
    there: &Resources,
    needed: &Resources,
    code: Code,
    message: &str,
) -> Problem {
    let (name, what) = match there.first_missing(needed) {
        Some((kind, amount)) => (kind.name.to_string(), format!("{kind} {amount}")),
        None => (String::new(), String::new()),
    };
    Problem::new(code, format!("{what}: {message}"))
        .field(name)
        .hint("name resources as they are, and no more than there is")
}
