//! What operators ask: quota, weights, reservations, volumes, agents that nothing is offered of. What they decide is durable
//! before it is answered, and in force at once.

use std::time::Duration;

use proffer_model::operation::Operation;
use proffer_model::registry::{AgentEntry, Operation as Change};
use proffer_model::resources::Conversion;
use proffer_model::{
    AgentId, AgentState, FrameworkId, OfferId, Principal, Problem, ResourceKind, Resources, Role,
    TaskId, VolumeId, Weight, code,
};

use crate::agents::Agent;
use crate::amounts::exclusive;
use crate::conversions::{
    check_creation, check_destruction, check_made, check_makers, check_principals, made_by,
    not_there, stamped, with_makers_of,
};
use crate::core::Core;
use crate::effect::{Effect, Fact, OfferEnd, Reply};
use crate::event::{OperatorCall, RequestId, Resize};
use crate::frameworks::{completed, unknown};
use crate::limits::ROLE_SETTINGS_MAX;

impl Core {
    pub(crate) fn on_operator_requested(
        &mut self,
        request: RequestId,
        principal: &Principal,
        call: OperatorCall,
    ) {
        let reply = match call {
            OperatorCall::SetQuota {
                role,
                quota,
                is_forced,
            } => self.set_quota(role, quota, is_forced),
            OperatorCall::SetQuotas { quotas, is_forced } => self.set_quotas(quotas, is_forced),
            OperatorCall::RemoveQuota { role } => self.remove_quota(role),
            OperatorCall::SetWeight { role, weight } => self.set_weight(role, weight),
            OperatorCall::RemoveWeight { role } => self.remove_weight(role),
            OperatorCall::Operate { agent, operation } => {
                self.operate_on_agent(principal, &agent, operation)
            }
            OperatorCall::ResizeVolume {
                agent,
                role,
                volume,
                resize,
            } => self.resize_volume(&agent, &role, &volume, resize),
            OperatorCall::DeactivateAgent { agent } => self.deactivate(&agent),
            OperatorCall::DrainAgent {
                agent,
                deadline,
                marks_gone,
            } => self.drain(&agent, deadline, marks_gone),
            OperatorCall::MarkAgentGone { agent } => self.mark_gone(&agent),
            OperatorCall::ReactivateAgent { agent } => self.reactivate(&agent),
            OperatorCall::KillTask {
                framework,
                task,
                grace,
            } => self.kill_for_operator(framework, task, grace),
            OperatorCall::TeardownFramework { framework } => self.teardown(&framework),
        };
        if let Err(problem) = &reply {
            let (framework, problem) = (None, problem.clone());
            self.turn.record(Fact::CallRefused { framework, problem });
        }
        let after = self.turn.after_everything();
        self.turn.push(Effect::Reply {
            request,
            reply: reply.map(|()| Reply::Done),
            after,
        });
    }

    fn set_weight(&mut self, role: Role, weight: Weight) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        if self.registry.weights.get(&role) == Some(&weight) {
            return Ok(());
        }
        let is_new = !self.registry.weights.contains_key(&role);
        check_room(self.registry.weights.len(), is_new)?;
        let (of, change) = (role.clone(), Change::SetWeight { role, weight });
        self.persist(change);
        // Offers that stand are let be: the order of what is offered next is what weights are for (docs/allocation.md).
        self.sync_weight(&of);
        Ok(())
    }

    fn remove_weight(&mut self, role: Role) -> Result<(), Problem> {
        if self.registry.weights.contains_key(&role) {
            self.check_store_keeps_up()?;
            let of = role.clone();
            self.persist(Change::RemoveWeight { role });
            self.sync_weight(&of);
        }
        Ok(())
    }

    /// Reservations and volumes on what no task holds; offers that hold it are taken back first, as few as needed.
    fn operate_on_agent(
        &mut self,
        principal: &Principal,
        agent: &AgentId,
        operation: Operation,
    ) -> Result<(), Problem> {
        self.operable(agent)?;
        let field = match operation {
            Operation::Create(_) | Operation::Destroy(_) => "volumes",
            _ => "resources",
        };
        let planned = self.plan_for_operator(principal, agent, operation);
        planned
            .and_then(|conversion| self.convert_free(agent, &conversion))
            .map_err(|problem| problem.within(field))
    }

    fn plan_for_operator(
        &self,
        principal: &Principal,
        agent: &AgentId,
        operation: Operation,
    ) -> Result<Conversion, Problem> {
        let known = self.operable(agent)?;
        match operation {
            Operation::Reserve(resources) => {
                let resources = stamped(&resources, principal)?;
                check_principals(&resources, principal)?;
                Conversion::reserve(&resources)
            }
            Operation::Unreserve(resources) => {
                check_made(&resources)?;
                Conversion::unreserve(&resources)
            }
            Operation::Create(volumes) => {
                check_makers(&volumes, principal)?;
                let volumes = made_by(&volumes, principal)?;
                check_creation(&volumes, known)?;
                Conversion::create(&volumes)
            }
            Operation::Destroy(volumes) => {
                let volumes = with_makers_of(&volumes, &known.total)?;
                check_destruction(&volumes, &known.used)?;
                Conversion::destroy(&volumes)
            }
            Operation::Grow { volume, milli } => {
                Conversion::grow(&known.total.minus(&known.used), &volume, milli)
            }
            Operation::Shrink { volume, milli } => {
                Conversion::shrink(&known.total.minus(&known.used), &volume, milli)
            }
            Operation::Launch(_) | Operation::LaunchGroup(_) => {
                let message = "operators do not launch tasks";
                Err(Problem::new(code::FIELD_INVALID, message))
            }
        }
    }

    /// A volume that no task uses becomes larger or smaller; offers that hold it are taken back.
    fn resize_volume(
        &mut self,
        agent: &AgentId,
        role: &Role,
        volume: &VolumeId,
        resize: Resize,
    ) -> Result<(), Problem> {
        let known = self.operable(agent)?;
        let is_it = |kind: &ResourceKind| {
            kind.reserved_to() == Some(role) && kind.volume().is_some_and(|it| it.id == *volume)
        };
        let found = known.total.volumes().find(|(kind, ..)| is_it(kind));
        let Some((kind, _, amount)) = found else {
            let message = format!("agent {agent} has no volume {volume} of role {role}");
            return Err(Problem::new(code::VOLUME_UNKNOWN, message)
                .field("volume_id")
                .hint("list the agents: each has its volumes among its resources"));
        };
        if known.used.volumes().any(|(kind, ..)| is_it(kind)) {
            let message = format!("a task uses volume {volume}");
            return Err(Problem::new(code::VOLUME_IN_USE, message)
                .field("volume_id")
                .hint("end the task first"));
        }
        let mut alone = Resources::new();
        alone.insert(kind.clone(), amount.clone())?;
        let conversion = match resize {
            Resize::Grow(milli) => Conversion::grow(&alone, volume, milli),
            Resize::Shrink(milli) => Conversion::shrink(&alone, volume, milli),
        };
        self.convert_free(agent, &conversion?)
            .map_err(|problem| problem.field("milli"))
    }

    /// An agent of which it is known what its tasks hold.
    fn operable(&self, agent: &AgentId) -> Result<&Agent, Problem> {
        self.check_store_keeps_up()?;
        let known = self.agents.by_id.get(agent);
        let known = known.ok_or_else(|| unknown_agent(agent))?;
        if known.is_settled && known.state != AgentState::Unreachable {
            return Ok(known);
        }
        let message = format!(
            "agent {agent} is {}: what it runs is not known",
            known.state
        );
        Err(Problem::new(code::AGENT_AWAY, message)
            .field("agent_id")
            .hint("wait until it is connected"))
    }

    /// Takes back what holds it, and makes it so.
    fn convert_free(&mut self, agent: &AgentId, conversion: &Conversion) -> Result<(), Problem> {
        self.check_outcome(agent, conversion)?;
        self.make_free(agent, &conversion.from)?;
        self.rescind_volumes(agent, &conversion.from);
        self.convert_agent(agent, conversion);
        Ok(())
    }

    /// Takes offers back until this is free; none when even all of them would not do.
    fn make_free(&mut self, agent: &AgentId, needed: &Resources) -> Result<(), Problem> {
        let free = self.free(agent);
        if free.contains(needed) {
            return Ok(());
        }
        let Some(known) = self.agents.by_id.get(agent) else {
            return Err(unknown_agent(agent));
        };
        let all = free.plus(&known.offered);
        if let Some(name) = known.total.first_of_other_form(needed) {
            let message = format!("{name} is of another form on agent {agent}");
            return Err(Problem::new(code::RESOURCES_INVALID, message)
                .field(name.as_str())
                .hint("write an amount as cpus:2, numbers as ports:[31000-31010], a set as zones:{a,b}, each as the agent has it"));
        }
        if !all.contains(needed) {
            let unused = known.total.minus(&exclusive(&known.used));
            let (there, message) = if !known.total.contains(needed) {
                (
                    &known.total,
                    "the agent does not have so much of it by that name",
                )
            } else if !unused.contains(needed) {
                (&unused, "tasks hold too much of it")
            } else {
                (
                    &all,
                    "it rests because a task held it until now, or a task holds it by another name",
                )
            };
            return Err(not_there(there, needed, code::RESOURCES_NOT_FREE, message));
        }
        let holding = |id: &OfferId| self.offers.standing.get(id).map(|offer| &offer.resources);
        let alone = known
            .offers
            .iter()
            .find(|id| holding(id).is_some_and(|resources| free.plus(resources).contains(needed)));
        let mut taken: Vec<OfferId> = Vec::new();
        if let Some(alone) = alone {
            taken.push(alone.clone());
        } else {
            let mut sum = free;
            for id in &known.offers {
                if sum.contains(needed) {
                    break;
                }
                let lacking = needed.minus(&sum);
                if let Some(resources) = holding(id)
                    && lacking.minus(resources) != lacking
                {
                    sum.add(resources);
                    taken.push(id.clone());
                }
            }
        }
        self.end_offers(taken, OfferEnd::Rescinded);
        Ok(())
    }

    fn deactivate(&mut self, agent: &AgentId) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        if !self.agent_entry(agent)?.is_deactivated {
            let id = agent.clone();
            self.persist(Change::DeactivateAgent { agent: id });
            self.on_availability(agent);
        }
        Ok(())
    }

    fn reactivate(&mut self, agent: &AgentId) -> Result<(), Problem> {
        self.check_store_keeps_up()?;
        let entry = self.agent_entry(agent)?;
        if entry.is_deactivated || entry.drain.is_some() {
            let id = agent.clone();
            self.persist(Change::ReactivateAgent { agent: id });
            self.end_drain(agent);
            self.on_availability(agent);
        }
        Ok(())
    }

    /// As the framework would do it; it hears of it by the task's statuses.
    fn kill_for_operator(
        &mut self,
        framework: FrameworkId,
        task: TaskId,
        grace: Option<Duration>,
    ) -> Result<(), Problem> {
        self.judge_known(&framework)?;
        let key = (framework, task);
        if self.kill(&key, grace) {
            return Ok(());
        }
        let (framework, task) = &key;
        Err(match self.tasks.get(&key) {
            Some(_) => {
                let message = format!("task {task} of framework {framework} has ended");
                Problem::new(code::TASK_ENDED, message)
                    .field("task_id")
                    .hint("nothing is left to do for it")
            }
            None => {
                let message = format!("framework {framework} has no task {task}");
                Problem::new(code::TASK_UNKNOWN, message)
                    .field("task_id")
                    .hint(
                        "list the tasks; after a change of leader agents come to say what they run",
                    )
            }
        })
    }

    fn teardown(&mut self, framework: &FrameworkId) -> Result<(), Problem> {
        self.judge_known(framework)?;
        self.check_store_keeps_up()?;
        self.end_framework(framework, None);
        Ok(())
    }

    /// Whether there is such a framework, whoever made it.
    fn judge_known(&self, framework: &FrameworkId) -> Result<(), Problem> {
        if self.registry.frameworks.contains_key(framework) {
            return Ok(());
        }
        let problem = match self.registry.completed.contains_key(framework) {
            true => completed(framework).hint("it is over; nothing is left to do"),
            false => unknown(framework).hint("list the frameworks"),
        };
        Err(problem.field("framework_id"))
    }

    /// An operator has said that an agent is to be offered of, or not.
    pub(crate) fn on_availability(&mut self, agent: &AgentId) {
        if !self.is_available(agent) {
            self.end_offers_of_agent(agent, OfferEnd::Rescinded);
        }
        self.sync_agent(agent);
        self.turn.touch_agent(agent);
    }

    /// Whether operators let anything be offered of it.
    pub(crate) fn is_available(&self, agent: &AgentId) -> bool {
        let entry = self.registry.agents.get(agent);
        entry.is_some_and(|entry| !entry.is_deactivated && entry.drain.is_none())
    }

    pub(crate) fn agent_entry(&self, agent: &AgentId) -> Result<&AgentEntry, Problem> {
        let entry = self.registry.agents.get(agent);
        entry.ok_or_else(|| unknown_agent(agent))
    }
}

/// Refuses a setting of a role that is new when there are too many.
pub(crate) fn check_room(count: usize, is_new: bool) -> Result<(), Problem> {
    if is_new && count >= ROLE_SETTINGS_MAX {
        let message = format!("{ROLE_SETTINGS_MAX} roles are set already; the limit is reached");
        return Err(Problem::new(code::OVERLOADED, message).hint("remove those not needed"));
    }
    Ok(())
}

pub(crate) fn unknown_agent(agent: &AgentId) -> Problem {
    Problem::new(code::AGENT_UNKNOWN, format!("there is no agent {agent}"))
        .field("agent_id")
        .hint("list the agents")
}
