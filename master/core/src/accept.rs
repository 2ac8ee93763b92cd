//! Accepts: what a framework does with its offers. Operations are carried out one after the other on a pot of what the
//! offers hold; each is done or refused on its own, and what is left at the end goes back.
//!
//! As far as its offers go an accept is all or nothing: one that is not the caller's spoils it, and the good ones it names
//! go back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use proffer_model::link::{Payer, ToAgent};
use proffer_model::made::with_mountpoints_of;
use proffer_model::operation::{LaunchResult, Operation, OperationResult};
use proffer_model::resources::{Amount, Pieces};
use proffer_model::{
    AgentId, DemandId, Fit, FrameworkId, Incarnation, OfferId, Problem, Reason, Resources, Role,
    Status, TaskId, TaskSpec, TaskState, code,
};

use crate::amounts::exclusive;
use crate::core::Core;
use crate::effect::{After, Fact, OfferEnd};
use crate::frameworks::unknown;
use crate::limits::{EXCLUSION_MIN, TASKS_PER_FRAMEWORK_MAX};

/// What an accept has to work with.
#[derive(Debug)]
struct Pot {
    framework: FrameworkId,
    /// Who pays.
    role: Role,
    agent: AgentId,
    resources: Resources,
    fits: Vec<PotFit>,
}

/// What of the demand the offers were made for.
#[derive(Debug)]
struct PotFit {
    /// With what is not launched of it.
    fit: Fit,
    launched: u32,
}

impl Core {
    /// Does operations with offers of one agent and one role. Answers what must be durable before the results are told.
    pub(crate) fn on_accept(
        &mut self,
        framework: &FrameworkId,
        offers: &[OfferId],
        operations: Vec<Operation>,
    ) -> Result<(Vec<OperationResult>, After), Problem> {
        let (agent, role) = match self.judge_offers(framework, offers) {
            Ok(found) => found,
            Err(problem) => {
                self.give_back(framework, offers);
                return Err(problem);
            }
        };
        let mut pot = Pot {
            framework: framework.clone(),
            role,
            agent,
            resources: Resources::new(),
            fits: Vec::new(),
        };
        let mut taken = Vec::with_capacity(offers.len());
        for id in offers {
            if let Some(offer) = self.take_offer(id) {
                pot.resources.add(&offer.resources);
                let fits = offer.fits.iter().cloned();
                pot.fits.extend(fits.map(|fit| PotFit { fit, launched: 0 }));
                taken.push(offer);
            }
        }
        self.widen_window(framework, taken.len());
        self.merge_copies(&mut pot);
        let mut results = Vec::with_capacity(operations.len());
        for (i, operation) in operations.into_iter().enumerate() {
            let result = self.operate(&mut pot, operation);
            results.push(within(result, i));
        }
        let launches = results.iter().flat_map(OperationResult::launches);
        let launched = launches.filter(|result| result.outcome.is_ok()).count();
        self.settle_pot(&pot);
        let is_idle = results.iter().all(|result| match result {
            OperationResult::Done => false,
            result => result.launches().iter().all(|one| one.outcome.is_err()),
        });
        if is_idle {
            // Else a framework that is always refused would be offered the same again at once.
            let until = self.turn.now.after(EXCLUSION_MIN).mono_ns;
            for offer in &taken {
                self.exclude(offer, until);
            }
        }
        if launched > 0 {
            let framework = framework.clone();
            let count = u64::try_from(launched).unwrap_or(u64::MAX);
            self.turn.record(Fact::TasksLaunched { framework, count });
        }
        self.triggers.changed();
        let known = self.agents.by_id.get(&pot.agent);
        let made_in = known.map(|known| known.converted_in).unwrap_or_default();
        Ok((results, self.turn.after(made_in)))
    }

    /// One copy of a shared volume is as good as those of several offers.
    fn merge_copies(&mut self, pot: &mut Pot) {
        for (kind, amount) in pot.resources.shared().special() {
            let Amount::Whole(pieces) = amount else {
                continue;
            };
            for piece in pieces.iter().filter(|piece| piece.copies > 1) {
                let mut copies = Resources::new();
                let more = Amount::Whole(Pieces::new(piece.milli, piece.copies - 1));
                // Cannot be refused: it was resources already.
                let _ = copies.insert(kind.clone(), more);
                pot.resources.subtract(&copies);
                self.allocator
                    .release(&pot.framework, &pot.role, &pot.agent, &copies);
            }
        }
    }

    /// What the operations have left goes back.
    fn settle_pot(&mut self, pot: &Pot) {
        let (framework, role, agent) = (&pot.framework, &pot.role, &pot.agent);
        self.allocator
            .release(framework, role, agent, &pot.resources);
        for PotFit { fit, launched } in &pot.fits {
            let returned = fit.count;
            self.allocator
                .count_down(framework, role, &fit.demand, agent, *launched, returned);
            self.replacements
                .count_launched(framework, role, &fit.demand, *launched);
        }
    }

    /// The one agent and role of all these offers, if all are the framework's and stand.
    fn judge_offers(
        &self,
        framework: &FrameworkId,
        offers: &[OfferId],
    ) -> Result<(AgentId, Role), Problem> {
        let mut first = None;
        let mut seen = BTreeSet::new();
        for (i, id) in offers.iter().enumerate() {
            let field = format!("offer_ids[{i}]");
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
            let (agent, role) = *first.get_or_insert((&offer.agent, &offer.role));
            let what = if *agent != offer.agent {
                "agent"
            } else if *role != offer.role {
                "role"
            } else {
                continue;
            };
            let message = format!("offer {id} is of another {what} than the first");
            return Err(Problem::new(code::OFFER_MIXED, message)
                .field(field)
                .hint(format!(
                    "accept the offers of each {what} in a call of their own"
                )));
        }
        first
            .map(|(agent, role)| (agent.clone(), role.clone()))
            .ok_or_else(|| {
                Problem::new(code::FIELD_MISSING, "no offer is named")
                    .field("offer_ids")
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
            // Offers that are named are looked at, and that is what the window is about.
            self.widen_window(framework, usize::try_from(given).unwrap_or(usize::MAX));
            let (framework, count, how) = (framework.clone(), given, OfferEnd::Declined);
            self.turn.record(Fact::OffersEnded {
                framework,
                count,
                how,
            });
        }
    }

    fn operate(&mut self, pot: &mut Pot, operation: Operation) -> OperationResult {
        match operation {
            Operation::Launch(spec) => {
                let outcome = self.judge_launches(pot, std::slice::from_ref(&spec));
                let task = spec.id.clone();
                let outcome = match outcome.into_iter().next() {
                    Some(Err(problem)) => Err(problem),
                    Some(Ok(())) | None => self.launch(pot, *spec),
                };
                OperationResult::Launched(LaunchResult { task, outcome })
            }
            Operation::LaunchGroup(specs) => {
                OperationResult::LaunchedGroup(self.launch_group(pot, specs))
            }
            Operation::Reserve(_)
            | Operation::Unreserve(_)
            | Operation::Create(_)
            | Operation::Destroy(_)
            | Operation::Grow { .. }
            | Operation::Shrink { .. } => match self.convert_offered(pot, &operation) {
                Ok(()) => OperationResult::Done,
                Err(problem) => OperationResult::Refused(placed(problem, &operation)),
            },
        }
    }

    /// Reservations and volumes, of what the pot holds.
    fn convert_offered(&mut self, pot: &mut Pot, operation: &Operation) -> Result<(), Problem> {
        let entry = self.registry.frameworks.get(&pot.framework);
        let principal = entry.map(|entry| entry.principal.clone());
        let principal = principal.ok_or_else(|| unknown(&pot.framework))?;
        let offered = &pot.resources;
        let conversion =
            self.plan_conversion(&principal, &pot.role, &pot.agent, offered, operation)?;
        pot.resources = conversion.apply(&pot.resources)?;
        if let Operation::Destroy(volumes) = operation {
            self.rescind_volumes(&pot.agent, volumes);
        }
        let (from, to) = (&conversion.from, &conversion.to);
        self.allocator
            .convert(&pot.framework, &pot.role, &pot.agent, from, to);
        self.convert_agent(&pot.agent, &conversion);
        Ok(())
    }

    /// All or none, by one message.
    fn launch_group(&mut self, pot: &mut Pot, specs: Vec<TaskSpec>) -> Vec<LaunchResult> {
        let judged = self.judge_launches(pot, &specs);
        if judged.iter().all(Result::is_ok) {
            return self.launch_together(pot, specs);
        }
        let mut results = Vec::with_capacity(specs.len());
        for (i, (spec, judged)) in specs.into_iter().zip(judged).enumerate() {
            let outcome = judged.and_then(|()| {
                let message = "another task of its group is refused";
                Err(Problem::new(code::TASK_GROUP_REFUSED, message)
                    .hint("mend the other task, and launch the group anew"))
            });
            let outcome = outcome.map_err(|problem| problem.within(format!("tasks[{i}]")));
            let task = spec.id;
            results.push(LaunchResult { task, outcome });
        }
        results
    }

    /// Does the launch of a group that was judged good. It counts as one of the demand.
    fn launch_together(&mut self, pot: &mut Pot, specs: Vec<TaskSpec>) -> Vec<LaunchResult> {
        let mut all = Resources::new();
        specs.iter().for_each(|spec| all.add(&spec.resources));
        let payer = Payer {
            role: pot.role.clone(),
            demand: self.count_down(pot, &all),
        };
        let (mut results, mut tasks) = (Vec::new(), Vec::new());
        let group = specs.first().map(|spec| spec.id.clone());
        for mut spec in specs {
            let task = spec.id.clone();
            let of_task = Payer {
                role: payer.role.clone(),
                demand: payer.demand.clone().filter(|_| tasks.is_empty()),
            };
            let outcome = self.hold_launch(pot, &mut spec, of_task, group.as_ref());
            tasks.extend(outcome.as_ref().ok().map(|it| (*it, spec)));
            results.push(LaunchResult { task, outcome });
        }
        let message = ToAgent::LaunchGroup {
            epoch: self.epoch,
            framework: pot.framework.clone(),
            payer: Some(payer),
            tasks,
        };
        self.send_launch(pot, message);
        results
    }

    /// Whether each of these could be launched, one after the other.
    fn judge_launches(&self, pot: &Pot, specs: &[TaskSpec]) -> Vec<Result<(), Problem>> {
        let (mut left, mut seen) = (Cow::Borrowed(&pot.resources), BTreeSet::new());
        let first = specs.first().and_then(|spec| spec.executor.as_ref());
        let fresh = first.map(|spec| self.judge_executor(&pot.framework, &pot.agent, spec));
        let mut is_fresh = matches!(fresh, Some(Ok(true)));
        let mut judged = Vec::with_capacity(specs.len());
        for spec in specs {
            let mut needs = Cow::Borrowed(&spec.resources);
            if let (true, Some(executor)) = (is_fresh, &spec.executor) {
                needs.to_mut().add(&executor.resources);
            }
            let result = match &fresh {
                _ if spec.executor.as_ref() != first => {
                    let message = "the tasks of a group name several executors";
                    Err(Problem::new(code::EXECUTOR_CONFLICT, message)
                        .field("executor")
                        .hint("give all tasks of a group the same executor, or none"))
                }
                Some(Err(problem)) => Err(problem.clone()),
                _ => self.judge_launch(pot, spec, &needs, &seen, &left),
            };
            judged.push(result);
            if judged.len() < specs.len() && judged.last().is_some_and(Result::is_ok) {
                left.to_mut().subtract(&exclusive(&needs));
                seen.insert(&spec.id);
                is_fresh = false;
            }
        }
        judged
    }

    /// Whether a task could be launched after those that were seen, with what is left. `needs` is also its executor's.
    fn judge_launch(
        &self,
        pot: &Pot,
        spec: &TaskSpec,
        needs: &Resources,
        seen: &BTreeSet<&TaskId>,
        left: &Resources,
    ) -> Result<(), Problem> {
        proffer_model::mount::check_mounts(spec)?;
        let key = (pot.framework.clone(), spec.id.clone());
        if self.tasks.get(&key).is_some() || seen.contains(&spec.id) {
            let message = format!("task {} is live or not acknowledged to its end", spec.id);
            return Err(Problem::new(code::TASK_DUPLICATE, message)
                .field("id")
                .hint("use an id once, or acknowledge its last status first"));
        }
        if self.tasks.count_of(&pot.framework) + seen.len() >= TASKS_PER_FRAMEWORK_MAX {
            let most = TASKS_PER_FRAMEWORK_MAX;
            let message = format!("the framework has {most} tasks; the limit is reached");
            return Err(Problem::new(code::OVERLOADED, message)
                .hint("acknowledge the last statuses of tasks that have ended, or end some"));
        }
        if !self.ids.may_launch(seen.len() + 1) {
            let message = "this leadership term has launched 2^32 tasks";
            return Err(Problem::new(code::OVERLOADED, message).hint("restart the leading master"));
        }
        check_holds(left, needs, &spec.resources)
    }

    /// Does a launch that was judged good.
    fn launch(&mut self, pot: &mut Pot, mut spec: TaskSpec) -> Result<Incarnation, Problem> {
        let payer = Payer {
            role: pot.role.clone(),
            demand: self.count_down(pot, &spec.resources),
        };
        let incarnation = self.hold_launch(pot, &mut spec, payer.clone(), None)?;
        let message = ToAgent::Launch {
            epoch: self.epoch,
            framework: pot.framework.clone(),
            incarnation,
            spec: Box::new(spec),
            payer: Some(payer),
        };
        self.send_launch(pot, message);
        Ok(incarnation)
    }

    /// Takes what a launch needs out of the pot, for it and for its executor if that is new.
    fn hold_launch(
        &mut self,
        pot: &mut Pot,
        spec: &mut TaskSpec,
        payer: Payer,
        group: Option<&TaskId>,
    ) -> Result<Incarnation, Problem> {
        let incarnation = self.ids.incarnation().ok_or_else(|| {
            let message = "this leadership term has launched 2^32 tasks";
            Problem::new(code::OVERLOADED, message).hint("restart the leading master")
        })?;
        with_mountpoints_of(&mut spec.resources, &pot.resources);
        pot.resources.subtract(&exclusive(&spec.resources));
        let shared = spec.resources.shared();
        if !shared.is_empty() {
            // The copy that was offered is there for the next task, and goes back in the end.
            self.allocator
                .allocate(&pot.framework, &pot.role, &pot.agent, &shared);
        }
        if let Some(mut executor) = spec.executor.take() {
            if executor.resources.volumes().next().is_some() {
                let own = &mut Arc::make_mut(&mut executor).resources;
                with_mountpoints_of(own, &pot.resources);
            }
            let (framework, role, agent) = (&pot.framework, &pot.role, &pot.agent);
            if matches!(self.judge_executor(framework, agent, &executor), Ok(true)) {
                pot.resources.subtract(&exclusive(&executor.resources));
            }
            spec.executor = Some(self.share_executor(framework, role, agent, executor));
        }
        let status = Status {
            task: spec.id.clone(),
            incarnation,
            agent: Some(pot.agent.clone()),
            number: 0,
            state: TaskState::Staging,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: self.turn.now.wall_ms,
            data: Vec::new(),
        };
        let key = (pot.framework.clone(), spec.id.clone());
        let mut task = self
            .tasks
            .make(&key, spec, payer, pot.agent.clone(), group, status);
        // What the offer held is the task's now, but for numbers, which are not there any more for the allocator.
        task.is_held = true;
        if !spec.resources.is_scalars() {
            let numbers = spec.resources.non_scalars();
            self.allocator
                .release(&pot.framework, &pot.role, &pot.agent, &numbers);
        }
        self.kill_wishes.note_launched(&key);
        self.hold_task(&key, task);
        Ok(incarnation)
    }

    fn send_launch(&mut self, pot: &Pot, message: ToAgent) {
        // What it runs on may have been made only now.
        let known = self.agents.by_id.get(&pot.agent);
        let made_in = known.map(|known| known.converted_in).unwrap_or_default();
        let after = self.turn.after(made_in);
        self.send_agent(&pot.agent, message, after);
    }

    /// Counts a launch down from the demand that its offers were made for. Answers which entry that is.
    fn count_down(&self, pot: &mut Pot, task: &Resources) -> Option<DemandId> {
        let demands = &self.frameworks.get(&pot.framework)?.demands;
        let of_role = demands.get(&pot.role)?;
        let open = pot.fits.iter().filter(|of| of.fit.count > 0);
        let open: Vec<DemandId> = open.map(|of| of.fit.demand.clone()).collect();
        let demand = of_role.matching(&open, task)?;
        let mut fits = pot.fits.iter_mut();
        if let Some(of) = fits.find(|of| of.fit.demand == demand && of.fit.count > 0) {
            of.fit.count -= 1;
            of.launched += 1;
        }
        Some(demand)
    }
}

/// Where in the call a problem is.
fn within(result: OperationResult, index: usize) -> OperationResult {
    let place = |what: &str| format!("accept.operations[{index}]{what}");
    let of_launch = |what: &str, result: LaunchResult| LaunchResult {
        task: result.task,
        outcome: result
            .outcome
            .map_err(|problem| problem.within(place(what))),
    };
    match result {
        OperationResult::Launched(result) => {
            OperationResult::Launched(of_launch(".launch", result))
        }
        OperationResult::LaunchedGroup(results) => OperationResult::LaunchedGroup(
            results
                .into_iter()
                .map(|result| of_launch(".launch_group", result))
                .collect(),
        ),
        OperationResult::Done => OperationResult::Done,
        OperationResult::Refused(problem) => OperationResult::Refused(problem.within(place(""))),
    }
}

/// Where in its operation a problem is. How much is what a change of size does not find room for.
fn placed(problem: Problem, operation: &Operation) -> Problem {
    let is_named = matches!(problem.field.as_str(), "volume_id" | "milli");
    let problem = match operation {
        Operation::Grow { .. } | Operation::Shrink { .. } if !is_named => problem.field("milli"),
        _ => problem,
    };
    problem.within(field_of(operation))
}

/// Its field in the call.
fn field_of(operation: &Operation) -> &'static str {
    match operation {
        Operation::Launch(_) => "launch",
        Operation::LaunchGroup(_) => "launch_group",
        Operation::Reserve(_) => "reserve",
        Operation::Unreserve(_) => "unreserve",
        Operation::Create(_) => "create",
        Operation::Destroy(_) => "destroy",
        Operation::Grow { .. } => "grow",
        Operation::Shrink { .. } => "shrink",
    }
}

/// What a task and its executor need is left; `own` is what the task itself does.
fn check_holds(left: &Resources, needs: &Resources, own: &Resources) -> Result<(), Problem> {
    let Some((kind, amount)) = left.first_missing(needs) else {
        return Ok(());
    };
    let left = match left.amount(&kind) {
        Some(left) => left.to_string(),
        None => "nothing".to_owned(),
    };
    let message = match amount {
        Amount::Ranges(_) | Amount::Set(_) => {
            format!("the task asks for {kind} {amount}; {left} is left in its offers")
        }
        _ => format!("the task asks for {amount} {kind}; {left} is left in its offers"),
    };
    let whose = match own.iter().any(|(other, _)| other.name == kind.name) {
        true => "resources",
        false => "executor.resources",
    };
    Err(Problem::new(code::TASK_RESOURCES_NOT_OFFERED, message)
        .field(format!("{whose}.{}", kind.name))
        .hint("launch within what the offers hold"))
}
