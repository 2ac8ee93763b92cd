//! Quota: what operators guarantee roles and limit them to, with all that is beneath them. Here is judged whether a quota
//! makes sense; it is kept by the allocator.

use std::collections::BTreeMap;

use proffer_model::registry::Operation as Change;
use proffer_model::resources::format_milli;
use proffer_model::{
    AgentId, AgentState, Limits, OfferId, Problem, Quantities, Quota, ResourceName, Role, code,
};

use crate::core::Core;
use crate::effect::OfferEnd;
use crate::operators::check_room;

impl Core {
    pub(crate) fn set_quota(
        &mut self,
        role: Role,
        quota: Quota,
        is_forced: bool,
    ) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        if self.registry.quotas.get(&role) == Some(&quota) {
            return Ok(());
        }
        self.judge_quota(&role, &quota, is_forced)?;
        if !is_forced {
            self.check_consumed(&role, &quota.limits)?;
        }
        let is_new = !self.registry.quotas.contains_key(&role);
        check_room(self.registry.quotas.len(), is_new)?;
        self.keep_quota(role, quota);
        Ok(())
    }

    /// All of these, or none: each is judged as if the others stood already.
    pub(crate) fn set_quotas(
        &mut self,
        quotas: BTreeMap<Role, Quota>,
        is_forced: bool,
    ) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        let before = self.registry.quotas.clone();
        for (role, quota) in &quotas {
            match *quota == Quota::default() {
                true => self.registry.quotas.remove(role),
                false => self.registry.quotas.insert(role.clone(), quota.clone()),
            };
        }
        let fresh = quotas.iter().filter(|(role, quota)| {
            **quota != Quota::default() && before.get(*role) != Some(*quota)
        });
        let judged = fresh.clone().try_for_each(|(role, quota)| {
            let judged = self.judge_quota(role, quota, is_forced);
            judged.map_err(|problem| problem.within(role))
        });
        let count = self.registry.quotas.len();
        let is_more = count > before.len();
        self.registry.quotas.clone_from(&before);
        judged?;
        check_room(count.saturating_sub(1), is_more)?;
        for (role, quota) in fresh.filter(|_| !is_forced) {
            let judged = self.check_consumed(role, &quota.limits);
            judged.map_err(|problem| problem.within(role))?;
        }
        for (role, quota) in quotas {
            if quota == Quota::default() {
                self.remove_quota(role)?;
            } else if self.registry.quotas.get(&role) != Some(&quota) {
                self.keep_quota(role, quota);
            }
        }
        Ok(())
    }

    fn judge_quota(&self, role: &Role, quota: &Quota, is_forced: bool) -> Result<(), Problem> {
        check_itself(quota)?;
        self.check_tree(role, quota)?;
        match is_forced {
            true => Ok(()),
            false => self.check_capacity(role, quota),
        }
    }

    fn keep_quota(&mut self, role: Role, quota: Quota) {
        let of = role.clone();
        self.persist(Change::SetQuota { role, quota });
        self.sync_quota(&of);
        self.make_room(&of);
        self.triggers.sweep();
    }

    pub(crate) fn remove_quota(&mut self, role: Role) -> Result<(), Problem> {
        if self.registry.quotas.contains_key(&role) {
            self.check_store_keeps_up()?;
            let of = role.clone();
            self.persist(Change::RemoveQuota { role });
            self.sync_quota(&of);
            self.triggers.sweep();
        }
        Ok(())
    }

    /// Takes offers back for a quota that was set: the role's own that pass its limits, and those of others, agent by agent,
    /// until the guarantee can be met and each of the role's frameworks can be offered an agent.
    fn make_room(&mut self, role: &Role) {
        let Some(quota) = self.registry.quotas.get(role).cloned() else {
            return;
        };
        let mut consumed = self.consumed_by_tasks(role);
        let mut taken = Vec::new();
        let mut of_others: BTreeMap<&AgentId, Vec<(&OfferId, Quantities)>> = BTreeMap::new();
        for (id, offer) in &self.offers.standing {
            let amounts = offer.resources.unreserved().non_revocable().quantities();
            if !role.holds(&offer.role) {
                let of_agent = of_others.entry(&offer.agent).or_default();
                of_agent.push((id, amounts));
                continue;
            }
            let mut with = consumed.clone();
            with.add(&amounts);
            if quota.limits.allow(&with) {
                consumed = with;
            } else {
                taken.push(id.clone());
            }
        }
        let mut lacking = quota.guarantees;
        lacking.subtract(&consumed);
        let frameworks = self.frameworks.values();
        let wanting = frameworks.filter(|known| known.demands.keys().any(|of| role.holds(of)));
        let (wanting, mut visited) = (wanting.count(), 0);
        if !lacking.is_empty() {
            for offers in of_others.into_values() {
                if lacking.is_empty() && visited >= wanting {
                    break;
                }
                visited += 1;
                for (id, amounts) in offers {
                    lacking.subtract(&amounts);
                    taken.push(id.clone());
                }
            }
        }
        self.end_offers(taken, OfferEnd::Rescinded);
    }

    /// What is guaranteed beneath a role is part of what is guaranteed to it, and within its limits.
    fn check_tree(&self, role: &Role, quota: &Quota) -> Result<(), Problem> {
        let above = self.nearest_above(role);
        if let Some(above) = above {
            let beneath = self.guaranteed_beneath(&above, Some(role));
            let with = beneath_with(beneath, &quota.guarantees);
            if let Some(theirs) = self.registry.quotas.get(&above) {
                check_within(&with, &theirs.guarantees, role, &above)?;
            }
        }
        let beneath = self.guaranteed_beneath(role, None);
        for (name, milli) in beneath.iter() {
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
            if let Some(theirs) = self.registry.quotas.get(&above) {
                check_allowed(&quota.guarantees, &theirs.limits, &above)?;
            }
            next = above.parent();
        }
        Ok(())
    }

    /// All guarantees together are no more than the cluster has.
    fn check_capacity(&self, role: &Role, quota: &Quota) -> Result<(), Problem> {
        let mut capacity = Quantities::new();
        for agent in self.agents.by_id.values() {
            if agent.state != AgentState::Unreachable {
                capacity.add(&agent.total.non_revocable().quantities());
            }
        }
        let tops = self.registry.quotas.iter();
        let tops = tops.filter(|(other, _)| *other != role && !role.holds(other));
        let tops = tops.filter(|(other, _)| self.nearest_above(other).is_none());
        let mut all = Quantities::new();
        for (_, other) in tops {
            all.add(&other.guarantees);
        }
        if self.nearest_above(role).is_none() {
            all.add(&quota.guarantees);
        }
        let beyond = all
            .iter()
            .find(|(name, milli)| quota.guarantees.get(name) > 0 && capacity.get(name) < *milli);
        let Some((name, milli)) = beyond else {
            return Ok(());
        };
        let message = format!(
            "{} {name} would be guaranteed in all; the cluster has {}",
            format_milli(milli),
            format_milli(capacity.get(name))
        );
        Err(Problem::new(code::QUOTA_EXCEEDED, message)
            .field(format!("quota.guarantees.{name}"))
            .hint("guarantee less, or force it if agents are to come"))
    }

    /// A new or lower limit is no less than what tasks of the role hold already; offers are taken back where they pass it.
    /// One that stands needs no force to stand on.
    fn check_consumed(&self, role: &Role, limits: &Limits) -> Result<(), Problem> {
        let consumed = self.consumed_by_tasks(role);
        let standing = self.registry.quotas.get(role);
        let is_lower = |name, most| {
            let before = standing.and_then(|quota| quota.limits.get(name));
            before.is_none_or(|before| most < before)
        };
        let beyond = limits
            .iter()
            .find(|(name, most)| consumed.get(name) > *most && is_lower(name, *most));
        let Some((name, most)) = beyond else {
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

    /// Reservations for a role and those beneath it, and what their tasks hold unreserved.
    fn consumed_by_tasks(&self, role: &Role) -> Quantities {
        let mut consumed = Quantities::new();
        for agent in self.agents.by_id.values() {
            for (kind, amount) in agent.total.special() {
                if kind.reserved_to().is_some_and(|of| role.holds(of)) && !kind.is_revocable {
                    let milli = amount.quantity(kind.is_shared);
                    consumed.add(&std::iter::once((kind.name.clone(), milli)).collect());
                }
            }
        }
        for framework in self.frameworks.keys() {
            let tasks = self.tasks.of(framework).map(|(_, task)| task);
            for task in tasks.filter(|task| !task.latest.is_terminal() && role.holds(task.role())) {
                let held = task.resources().unreserved().non_revocable();
                consumed.add(&held.quantities());
            }
        }
        consumed
    }

    /// The nearest role above that has a quota.
    fn nearest_above(&self, role: &Role) -> Option<Role> {
        let mut next = role.parent();
        while let Some(above) = next {
            if self.registry.quotas.contains_key(&above) {
                return Some(above);
            }
            next = above.parent();
        }
        None
    }

    /// What is guaranteed to the roles next beneath one, but for one of them and those that it would come between.
    fn guaranteed_beneath(&self, role: &Role, except: Option<&Role>) -> Quantities {
        let mut sum = Quantities::new();
        for (other, quota) in &self.registry.quotas {
            let is_beneath = role.holds(other) && other != role;
            let is_nearest = is_beneath
                && self
                    .nearest_above(other)
                    .is_none_or(|above| above == *role || !role.holds(&above));
            let is_excepted = except.is_some_and(|except| except.holds(other));
            if is_nearest && !is_excepted {
                sum.add(&quota.guarantees);
            }
        }
        sum
    }
}

fn beneath_with(mut beneath: Quantities, more: &Quantities) -> Quantities {
    beneath.add(more);
    beneath
}

/// Nothing is guaranteed beyond the limit.
fn check_itself(quota: &Quota) -> Result<(), Problem> {
    for (name, most) in quota.limits.iter() {
        let least = quota.guarantees.get(name);
        if least > most {
            let message = format!(
                "{} {name} is guaranteed; the limit is {}",
                format_milli(least),
                format_milli(most)
            );
            return Err(Problem::new(code::QUOTA_INVALID, message)
                .field(format!("quota.limits.{name}"))
                .hint("give a limit that is not less than the guarantee"));
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
