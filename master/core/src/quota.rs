//! Quota: what operators guarantee roles and limit them to, with all that is beneath them. Here is judged whether a quota
//! makes sense; it is kept by the allocator.
//!
//! However many are set at once, each table is gone through once for all of them: quotas, and offers where something is to be
//! taken back. What roles have consumed is a running sum of the allocator's, what agents have one of theirs.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::registry::Operation as Change;
use proffer_model::resources::format_milli;
use proffer_model::{Limits, OfferId, Problem, Quantities, Quota, ResourceName, Role, code};

use crate::capacity::Capacity;
use crate::core::Core;
use crate::effect::OfferEnd;
use crate::limits::ROLE_SETTINGS_MAX;
use crate::operators::check_room;

/// The quotas as they are to be: what is changed, on what stands. One of nothing is none.
struct Proposed<'a> {
    standing: &'a BTreeMap<Role, Quota>,
    changed: &'a BTreeMap<Role, Quota>,
}

/// Says in a problem of which role it is, where several are set.
type OfRole = fn(&Role, Problem) -> Problem;

/// What is guaranteed in a proposal.
#[derive(Debug, Default)]
struct Guaranteed {
    /// To the roles next beneath a role that has a quota, by that role.
    beneath: BTreeMap<Role, Quantities>,
    /// To those that none with a quota is above.
    in_all: Quantities,
}

impl Core {
    pub(crate) fn set_quota(
        &mut self,
        role: Role,
        quota: Quota,
        is_forced: bool,
    ) -> Result<(), Problem> {
        if is_none(&quota) {
            return self.remove_quota(role);
        }
        self.check_store_keeps_up()?;
        if self.registry.quotas.get(&role) == Some(&quota) {
            return Ok(());
        }
        let is_new = !self.registry.quotas.contains_key(&role);
        check_room(self.registry.quotas.len(), is_new)?;
        let changed = BTreeMap::from([(role, quota)]);
        self.judge_quotas(&changed, is_forced, |_, problem| problem)?;
        self.keep_quotas(changed);
        Ok(())
    }

    /// All of these, or none: each is judged as if the others stood already.
    pub(crate) fn set_quotas(
        &mut self,
        quotas: BTreeMap<Role, Quota>,
        is_forced: bool,
    ) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        if quotas.len() > ROLE_SETTINGS_MAX {
            let message = format!(
                "{} roles are named; the limit is {ROLE_SETTINGS_MAX}",
                quotas.len()
            );
            return Err(
                Problem::new(code::FIELD_TOO_LONG, message).hint("set them in several calls")
            );
        }
        let standing = &self.registry.quotas;
        let is_there = |role: &Role| standing.contains_key(role);
        let count = |are_none: bool, are_there: bool| {
            let of = quotas
                .iter()
                .filter(|(role, quota)| is_none(quota) == are_none && is_there(role) == are_there);
            of.count()
        };
        let (gone, new) = (count(true, true), count(false, false));
        let after = standing.len() + new - gone;
        check_room(after.saturating_sub(1), new > gone)?;
        let mut changed = quotas;
        changed.retain(|role, quota| match is_none(quota) {
            true => is_there(role),
            false => standing.get(role) != Some(quota),
        });
        self.judge_quotas(&changed, is_forced, |role, problem| problem.within(role))?;
        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changed.into_iter().partition(|(_, quota)| is_none(quota));
        self.drop_quotas(gone.into_keys().collect());
        self.keep_quotas(kept);
        Ok(())
    }

    pub(crate) fn remove_quota(&mut self, role: Role) -> Result<(), Problem> {
        if self.registry.quotas.contains_key(&role) {
            self.check_store_keeps_up()?;
            self.drop_quotas(vec![role]);
        }
        Ok(())
    }

    fn drop_quotas(&mut self, roles: Vec<Role>) {
        for role in &roles {
            let role = role.clone();
            self.persist(Change::RemoveQuota { role });
        }
        if !roles.is_empty() {
            self.sync_quotas_of(&roles);
            self.triggers.sweep();
        }
    }

    fn keep_quotas(&mut self, quotas: BTreeMap<Role, Quota>) {
        let roles: Vec<Role> = quotas.keys().cloned().collect();
        for (role, quota) in quotas {
            self.persist(Change::SetQuota { role, quota });
        }
        if !roles.is_empty() {
            self.sync_quotas_of(&roles);
            self.make_room(&roles);
            self.triggers.sweep();
        }
    }

    /// Whether the quotas that are changed make sense beside all others.
    fn judge_quotas(
        &self,
        changed: &BTreeMap<Role, Quota>,
        is_forced: bool,
        of_role: OfRole,
    ) -> Result<(), Problem> {
        self.check_scalars(changed, is_forced, of_role)?;
        let proposed = Proposed {
            standing: &self.registry.quotas,
            changed,
        };
        let guaranteed = proposed.guaranteed();
        let none = BTreeMap::new();
        let standing = Proposed {
            standing: &self.registry.quotas,
            changed: &none,
        };
        let before = standing.guaranteed().in_all;
        let capacity = (!is_forced).then_some(&self.agents.capacity);
        let set = || changed.iter().filter(|(_, quota)| !is_none(quota));
        for (role, quota) in set() {
            let standing = proposed.standing.get(role);
            let judged = check_itself(quota, standing)
                .and_then(|()| proposed.check_tree(role, quota, &guaranteed))
                .and_then(|()| match capacity {
                    Some(capacity) => {
                        let all = (&before, &guaranteed.in_all);
                        check_capacity(quota, standing, all, capacity)
                    }
                    None => Ok(()),
                });
            judged.map_err(|problem| of_role(role, problem))?;
        }
        match is_forced {
            true => Ok(()),
            false => self.check_consumed(set(), of_role),
        }
    }

    /// Quotas are of scalars: how many numbers or items a role holds is counted by nobody. Forced, what is a scalar somewhere may
    /// be something else on single agents, where it is not bounded.
    fn check_scalars(
        &self,
        changed: &BTreeMap<Role, Quota>,
        is_forced: bool,
        of_role: OfRole,
    ) -> Result<(), Problem> {
        let mut named: BTreeMap<&ResourceName, (&Role, &str)> = BTreeMap::new();
        for (role, quota) in changed {
            let limits = quota.limits.iter().map(|(name, _)| (name, "limits"));
            let guarantees = quota.guarantees.iter();
            let guarantees = guarantees.map(|(name, _)| (name, "guarantees"));
            for (name, side) in limits.chain(guarantees) {
                named.entry(name).or_insert((role, side));
            }
        }
        let refused = |name: &ResourceName, found: &str, hint: &str| {
            let Some((role, side)) = named.get(name) else {
                return Ok(());
            };
            let problem = Problem::new(code::QUOTA_INVALID, format!("{name} {found}"))
                .field(format!("quota.{side}.{name}"))
                .hint(hint);
            Err(of_role(role, problem))
        };
        // Of these it is known without any agent.
        if let Some(name) = named.keys().find(|name| name.as_str() == "ports") {
            let hint = "name scalars such as cpus, mem, disk and gpus: quotas bound nothing else";
            refused(name, "are numbers", hint)?;
        }
        if is_forced {
            return Ok(());
        }
        for name in named.keys() {
            let Some(id) = self.agents.capacity.other_form(name) else {
                continue;
            };
            let has = self.agents.by_id.get(id).map(|agent| &agent.total);
            let form = match has.is_some_and(|has| has.item_set(name.as_str()).is_empty()) {
                true => "ranges",
                false => "a set",
            };
            let hint = "name scalars: quotas bound nothing else; or force it (--force), to bound it where it is one";
            refused(name, &format!("are {form} on agent {id}"), hint)?;
        }
        Ok(())
    }

    /// New or lower limits are no less than what tasks of the roles hold already; offers are taken back where they pass them.
    /// One that stands needs no force to stand on. What is held on unreachable agents does not count: they may never be back. What
    /// may be held on those that are awaited does.
    fn check_consumed<'a>(
        &self,
        quotas: impl Iterator<Item = (&'a Role, &'a Quota)>,
        of_role: OfRole,
    ) -> Result<(), Problem> {
        let mut passed = BTreeMap::new();
        let may_be_held = self.agents.awaited.may_be_held(self.turn.now);
        for (role, quota) in quotas {
            let standing = self.registry.quotas.get(role);
            let is_lower = |name: &ResourceName, most| {
                let before = standing.and_then(|quota| quota.limits.get(name));
                before.is_none_or(|before| most < before)
            };
            let mut limits = quota.limits.iter();
            if !limits.any(|(name, most)| is_lower(name, most)) {
                continue;
            }
            let consumed = self.allocator.consumed(role);
            let mut limits = quota.limits.iter();
            let may_hold = |name: &ResourceName| {
                let awaited = may_be_held.map_or(0, |held| held.get(name));
                consumed.get(name).saturating_add(awaited)
            };
            if limits.any(|(name, most)| is_lower(name, most) && may_hold(name) > most) {
                passed.insert(role, (consumed, quota, standing));
            }
        }
        if passed.is_empty() {
            return Ok(());
        }
        let roles = passed.keys().copied().collect();
        let mut offered = self.offered_in(&roles);
        for (role, (mut consumed, quota, standing)) in passed {
            consumed.subtract(&offered.remove(role).unwrap_or_default());
            let before = standing.map(|quota| &quota.limits);
            check_limits(&quota.limits, before, &consumed)
                .and_then(|()| check_awaited(&quota.limits, before, &consumed, may_be_held))
                .map_err(|problem| of_role(role, problem))?;
        }
        Ok(())
    }

    /// What is in offers of each of these roles and all beneath it that counts against its quota.
    fn offered_in<'a>(&self, roles: &BTreeSet<&'a Role>) -> BTreeMap<&'a Role, Quantities> {
        let mut offered: BTreeMap<&Role, Quantities> = BTreeMap::new();
        for offer in self.offers.standing.values() {
            let mut amounts = None;
            let mut next = Some(offer.role.clone());
            while let Some(role) = next {
                if let Some(found) = roles.get(&role) {
                    let counted = || offer.resources.unreserved().non_revocable().quantities();
                    let amounts = amounts.get_or_insert_with(counted);
                    offered.entry(*found).or_default().add(amounts);
                }
                next = role.parent();
            }
        }
        offered
    }

    /// Takes offers back for quotas that were set: the roles' own that pass their limits, and those of others, agent by agent,
    /// until the guarantees can be met and each of the roles' frameworks can be offered an agent.
    fn make_room(&mut self, roles: &[Role]) {
        let mut over: BTreeMap<&Role, (Quantities, Limits)> = BTreeMap::new();
        let mut lacking: BTreeMap<&Role, Quantities> = BTreeMap::new();
        for role in roles {
            let Some(quota) = self.registry.quotas.get(role) else {
                continue;
            };
            let consumed = self.allocator.consumed(role);
            if !quota.limits.allow(&consumed) {
                over.insert(role, (consumed, quota.limits.clone()));
                continue;
            }
            let mut missing = quota.guarantees.clone();
            missing.subtract(&consumed);
            if !missing.is_empty() {
                lacking.insert(role, missing);
            }
        }
        let mut taken = self.beyond_limits(&mut over);
        for (role, (consumed, _)) in &over {
            let quota = self.registry.quotas.get(*role);
            let mut missing = quota
                .map(|quota| quota.guarantees.clone())
                .unwrap_or_default();
            missing.subtract(consumed);
            if !missing.is_empty() {
                lacking.insert(role, missing);
            }
        }
        taken.extend(self.for_guarantees(&lacking));
        self.end_offers(taken, OfferEnd::Rescinded);
    }

    /// Offers of roles that are over their limits and pass them, beside the tasks and the offers before them. What is left is
    /// what the roles consume then.
    fn beyond_limits(&self, over: &mut BTreeMap<&Role, (Quantities, Limits)>) -> Vec<OfferId> {
        let mut taken = Vec::new();
        if over.is_empty() {
            return taken;
        }
        let roles = over.keys().copied().collect();
        for (role, offered) in self.offered_in(&roles) {
            if let Some((consumed, _)) = over.get_mut(role) {
                consumed.subtract(&offered);
            }
        }
        for (id, offer) in &self.offers.standing {
            let amounts = offer.resources.unreserved().non_revocable().quantities();
            let mut above = Vec::new();
            let mut next = Some(offer.role.clone());
            while let Some(role) = next {
                next = role.parent();
                above.extend(over.contains_key(&role).then_some(role));
            }
            let is_allowed = above.iter().all(|role| {
                over.get(role).is_none_or(|(consumed, limits)| {
                    let mut with = consumed.clone();
                    with.add(&amounts);
                    limits.allow(&with)
                })
            });
            match is_allowed {
                true => {
                    for role in &above {
                        if let Some((consumed, _)) = over.get_mut(role) {
                            consumed.add(&amounts);
                        }
                    }
                }
                false => taken.push(id.clone()),
            }
        }
        taken
    }

    /// Offers of other roles, agent by agent, that have what these lack.
    fn for_guarantees(&self, lacking: &BTreeMap<&Role, Quantities>) -> Vec<OfferId> {
        let mut taken = Vec::new();
        let is_in = |of: &Role| {
            let mut next = Some(of.clone());
            while let Some(role) = next {
                if lacking.contains_key(&role) {
                    return true;
                }
                next = role.parent();
            }
            false
        };
        let mut missing = lacking_in_all(lacking);
        if missing.is_empty() {
            return taken;
        }
        let frameworks = self.frameworks.values();
        let wanting = frameworks.filter(|known| known.demands.keys().any(is_in));
        let (wanting, mut visited) = (wanting.count(), 0);
        for agent in self.agents.by_id.values() {
            if missing.is_empty() && visited >= wanting {
                break;
            }
            let offers = agent.offers.iter();
            let offers = offers.filter_map(|id| Some((id, self.offers.standing.get(id)?)));
            let mut of_others = offers.filter(|(_, offer)| !is_in(&offer.role)).peekable();
            visited += usize::from(of_others.peek().is_some());
            for (id, offer) in of_others {
                missing.subtract(&offer.resources.unreserved().non_revocable().quantities());
                taken.push(id.clone());
            }
        }
        taken
    }
}

/// What is lacking, together. A role lacks at least what those beneath it lack together.
fn lacking_in_all(lacking: &BTreeMap<&Role, Quantities>) -> Quantities {
    let (mut in_all, mut beneath) = (Quantities::new(), BTreeMap::<Role, Quantities>::new());
    // Those beneath a role come after it in their order.
    for (role, own) in lacking.iter().rev() {
        let mut amounts = beneath.remove(*role).unwrap_or_default();
        for (name, milli) in own.iter() {
            let most = amounts.get(name).max(milli);
            amounts.set(name.clone(), most);
        }
        let mut above = role.parent();
        while let Some(role) = above.take_if(|role| !lacking.contains_key(role)) {
            above = role.parent();
        }
        match above {
            Some(above) => beneath.entry(above).or_default().add(&amounts),
            None => in_all.add(&amounts),
        }
    }
    in_all
}

impl Proposed<'_> {
    fn get(&self, role: &Role) -> Option<&Quota> {
        let quota = self.changed.get(role).or_else(|| self.standing.get(role));
        quota.filter(|quota| !is_none(quota))
    }

    /// The nearest role above that has a quota.
    fn nearest_above(&self, role: &Role) -> Option<Role> {
        let mut next = role.parent();
        while let Some(above) = next {
            if self.get(&above).is_some() {
                return Some(above);
            }
            next = above.parent();
        }
        None
    }

    fn guaranteed(&self) -> Guaranteed {
        let mut guaranteed = Guaranteed::default();
        let standing = self.standing.iter();
        let standing = standing.filter(|(role, _)| !self.changed.contains_key(*role));
        let all = standing.chain(self.changed);
        for (role, quota) in all.filter(|(_, quota)| !is_none(quota)) {
            let sum = match self.nearest_above(role) {
                Some(above) => guaranteed.beneath.entry(above).or_default(),
                None => &mut guaranteed.in_all,
            };
            sum.add(&quota.guarantees);
        }
        guaranteed
    }

    /// What is guaranteed beneath a role is part of what is guaranteed to it, and within its limits.
    fn check_tree(
        &self,
        role: &Role,
        quota: &Quota,
        guaranteed: &Guaranteed,
    ) -> Result<(), Problem> {
        if let Some(above) = self.nearest_above(role)
            && let (Some(theirs), Some(with)) = (self.get(&above), guaranteed.beneath.get(&above))
        {
            check_within(with, &theirs.guarantees, role, &above)?;
        }
        let beneath = guaranteed.beneath.get(role);
        for (name, milli) in beneath.iter().flat_map(|beneath| beneath.iter()) {
            if quota.guarantees.get(name) < milli {
                let message = format!(
                    "{} {name} is guaranteed to roles beneath {role}",
                    format_milli(milli)
                );
                return Err(Problem::new(code::QUOTA_INVALID, message)
                    .field(format!("quota.guarantees.{name}"))
                    .hint("guarantee at least that, or lower theirs first"));
            }
        }
        let mut next = role.parent();
        while let Some(above) = next {
            if let Some(theirs) = self.get(&above) {
                check_allowed(&quota.guarantees, &theirs.limits, &above)?;
            }
            next = above.parent();
        }
        Ok(())
    }
}

/// Whether it says nothing.
fn is_none(quota: &Quota) -> bool {
    *quota == Quota::default()
}

/// All guarantees together are no more than the cluster has, of what more is guaranteed of, here and in all: in a cluster that
/// has shrunk, what stands needs no force to stand on, nor to become less, nor to move. `all` is what is guaranteed in all before
/// and after.
fn check_capacity(
    quota: &Quota,
    standing: Option<&Quota>,
    (before, all): (&Quantities, &Quantities),
    capacity: &Capacity,
) -> Result<(), Problem> {
    let is_more = |name: &ResourceName| {
        let here = standing.map_or(0, |standing| standing.guarantees.get(name));
        quota.guarantees.get(name) > here && all.get(name) > before.get(name)
    };
    let beyond = all
        .iter()
        .find(|(name, milli)| capacity.scalar(name) < *milli && is_more(name));
    let Some((name, milli)) = beyond else {
        return Ok(());
    };
    let message = format!(
        "{} {name} would be guaranteed in all; the cluster has {}",
        format_milli(milli),
        format_milli(capacity.scalar(name))
    );
    Err(Problem::new(code::QUOTA_EXCEEDED, message)
        .field(format!("quota.guarantees.{name}"))
        .hint("guarantee less, or force it if agents are to come"))
}

/// The first limit that is new or lower and that so much passes.
fn passed_by<'a>(
    limits: &'a Limits,
    before: Option<&Limits>,
    held: &Quantities,
) -> Option<(&'a ResourceName, u64)> {
    let is_lower = |name: &ResourceName, most| {
        let before = before.and_then(|before| before.get(name));
        before.is_none_or(|before| most < before)
    };
    let mut limits = limits.iter();
    limits.find(|(name, most)| held.get(name) > *most && is_lower(name, *most))
}

/// The same with what the role may hold on agents of the log that are not back, of which it is not known.
fn check_awaited(
    limits: &Limits,
    before: Option<&Limits>,
    consumed: &Quantities,
    may_be_held: Option<&Quantities>,
) -> Result<(), Problem> {
    let Some(may_be_held) = may_be_held else {
        return Ok(());
    };
    let mut held = consumed.clone();
    held.add(may_be_held);
    let Some((name, most)) = passed_by(limits, before, &held) else {
        return Ok(());
    };
    let message = format!(
        "agents of before the change of leader are not back, on which the role may hold {} {name}; the limit is {}",
        format_milli(may_be_held.get(name)),
        format_milli(most)
    );
    Err(Problem::new(code::AGENT_AWAY, message)
        .field(format!("quota.limits.{name}"))
        .hint("try again when they are back or unreachable, ten minutes after the change at the latest; or force it"))
}

/// What is consumed is within what is limited anew.
fn check_limits(
    limits: &Limits,
    before: Option<&Limits>,
    consumed: &Quantities,
) -> Result<(), Problem> {
    let Some((name, most)) = passed_by(limits, before, consumed) else {
        return Ok(());
    };
    let message = format!(
        "the role has {} {name} in tasks and reservations already; the limit is {}",
        format_milli(consumed.get(name)),
        format_milli(most)
    );
    Err(Problem::new(code::QUOTA_EXCEEDED, message)
        .field(format!("quota.limits.{name}"))
        .hint("give a greater limit, or force it: what runs is left alone"))
}

/// Nothing is guaranteed beyond the limit. It is the side that changes that is wrong.
fn check_itself(quota: &Quota, standing: Option<&Quota>) -> Result<(), Problem> {
    for (name, most) in quota.limits.iter() {
        let least = quota.guarantees.get(name);
        if least > most {
            let message = format!(
                "{} {name} is guaranteed; the limit is {}",
                format_milli(least),
                format_milli(most)
            );
            let before = standing.and_then(|standing| standing.limits.get(name));
            let problem = Problem::new(code::QUOTA_INVALID, message);
            return Err(match before == Some(most) {
                true => problem
                    .field(format!("quota.guarantees.{name}"))
                    .hint("guarantee no more than the limit, or raise that too"),
                false => problem
                    .field(format!("quota.limits.{name}"))
                    .hint("give a limit that is not less than the guarantee"),
            });
        }
    }
    Ok(())
}

fn check_within(
    all: &Quantities,
    theirs: &Quantities,
    role: &Role,
    above: &Role,
) -> Result<(), Problem> {
    let beyond = |(name, milli): &(&ResourceName, u64)| theirs.get(name) < *milli;
    let Some((name, milli)) = all.iter().find(beyond) else {
        return Ok(());
    };
    let message = format!(
        "with {role}, {} {name} is guaranteed beneath {above}, which is guaranteed {}",
        format_milli(milli),
        format_milli(theirs.get(name))
    );
    Err(Problem::new(code::QUOTA_INVALID, message)
        .field(format!("quota.guarantees.{name}"))
        .hint(format!("guarantee less, or raise {above}'s first")))
}

fn check_allowed(guarantees: &Quantities, limits: &Limits, above: &Role) -> Result<(), Problem> {
    for (name, most) in limits.iter() {
        let least = guarantees.get(name);
        if least > most {
            let message = format!("{above} may hold {} {name} at most", format_milli(most));
            return Err(Problem::new(code::QUOTA_INVALID, message)
                .field(format!("quota.guarantees.{name}"))
                .hint(format!("guarantee less, or raise {above}'s limit first")));
        }
    }
    Ok(())
}
