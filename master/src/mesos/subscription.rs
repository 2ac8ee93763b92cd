//! One subscribed framework: what it was offered, what it has asked and not been answered, which updates it has not
//! acknowledged. Pure: calls and events go in, calls to the core and events for the framework come out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::session::{Answer, Call, Event as Told, OperationResult};
use proffer_model::{
    AgentId, FrameworkId, Generation, Offer, OfferId, Problem, Reason, Resources, Role, Status,
    TaskId, Time, code,
};
use proffer_proto::mesos::v1;
use proffer_proto::mesos::v1::scheduler::Event;
use proffer_proto::mesos::{
    Capabilities, Launcher, MesosExecutor, ResourceForm, encode_mesos_answer, encode_mesos_offer,
    encode_mesos_status, resources_text, seconds_of,
};

use super::constraints::Limits;
use super::events;
use super::intent::Intent;
use super::principals::Names;
use super::refusals::{group_text, launch_text, lose_operation, offers_text};
use super::rests::Rests;
use super::updates::{Step, Updates};
use crate::limits::MESOS_HEARTBEAT_INTERVAL;

/// What comes of a call or an event, in its order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Out {
    /// The core is asked, under this number.
    Ask(u64, Call),
    /// The same, when this time has passed.
    AskLater(Duration, u64, Call),
    /// The core is asked to subscribe anew, in another session that takes the place of this one.
    Anew(Call),
    /// The framework is told.
    Tell(Box<Event>),
    /// The framework may call, under this id; of several streams the one of the greatest generation is meant.
    Entered(FrameworkId, Generation),
    /// It is over.
    Over(FrameworkId),
    /// The stream ends after what was told.
    End,
}

/// An offer that the framework has and has not answered.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) agent: AgentId,
    pub(super) role: Role,
    pub(super) resources: Resources,
}

/// A task that is to be launched.
#[derive(Debug)]
pub(super) struct AwaitedTask {
    pub(super) id: TaskId,
    pub(super) needs: Resources,
    /// Where its framework wants it to run.
    pub(super) agent: Option<AgentId>,
    pub(super) executor: MesosExecutor,
}

/// One operation of an ACCEPT that waits for its result.
#[derive(Debug)]
pub(super) enum Awaited {
    /// Of these tasks; whether they are a group.
    Tasks(Vec<AwaitedTask>, bool),
    /// An operation that may have an id, and what its resources are when it is done.
    Operation(Option<v1::OperationId>, Vec<v1::Resource>),
}

/// An ACCEPT that waits for its answer.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) agent: Option<AgentId>,
    pub(super) role: Role,
    pub(super) offered: Resources,
    pub(super) operations: Vec<Awaited>,
    /// How long what is left over is not wanted.
    pub(super) refused_for: Duration,
}

impl Accepting {
    /// Resources that it is about, as Mesos names them.
    pub(super) fn text(&self, resources: &Resources) -> String {
        resources_text(resources, &self.role)
    }
}

/// The state of one subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) intent: Intent,
    pub(super) capabilities: Capabilities,
    master: v1::MasterInfo,
    pub(super) framework: Option<FrameworkId>,
    pub(super) updates: Updates,
    pub(super) offers: BTreeMap<OfferId, Held>,
    pub(super) accepts: BTreeMap<u64, Accepting>,
    pub(super) rests: Rests,
    last_request: u64,
    generation: u64,
    is_snapshot: bool,
    /// The same of the session whose place this one has taken.
    was_snapshot: bool,
    /// Reconciliations that wait for the end of the snapshot, whose statuses look like their answers.
    held: Vec<Call>,
    /// Calls that are asked again if there is no room for them, by request, until they are answered.
    repeatable: BTreeMap<u64, Call>,
    /// Its inverse offers, by agent.
    inverse: BTreeMap<AgentId, String>,
    /// That it has asked to end.
    ending: Option<Ending>,
}

/// A TEARDOWN that waits for its answer.
#[derive(Debug)]
struct Ending {
    request: u64,
    /// Offers that are gone meanwhile.
    rescinded: Vec<OfferId>,
}

impl Subscription {
    /// One whose session is being opened; the first of what comes out is its call.
    pub(super) fn begin(
        intent: Intent,
        master: v1::MasterInfo,
        framework: Option<FrameworkId>,
    ) -> Result<(Self, Call), String> {
        let description = intent.description()?;
        // Only for sums: until the core says which framework it is, nothing is told.
        let nameless = FrameworkId::new("-").map_err(|problem| problem.message)?;
        let capabilities = Capabilities::of(&intent.info);
        let call = Call::Subscribe {
            create: framework.is_some(),
            framework,
            description,
            stand_by: false,
            resume: None,
        };
        let fresh = Self {
            intent,
            capabilities,
            master,
            framework: None,
            updates: Updates::new(nameless),
            offers: BTreeMap::new(),
            accepts: BTreeMap::new(),
            rests: Rests::default(),
            last_request: 0,
            generation: 0,
            is_snapshot: true,
            was_snapshot: false,
            held: Vec::new(),
            repeatable: BTreeMap::new(),
            inverse: BTreeMap::new(),
            ending: None,
        };
        Ok((fresh, call))
    }

    pub(super) fn ask(&mut self, call: Call) -> Out {
        self.last_request += 1;
        let is_repeatable = matches!(
            call,
            Call::Reconcile { .. }
                | Call::Kill { .. }
                | Call::Decline { .. }
                | Call::ShutdownExecutor { .. }
                | Call::SetDemand(_)
        );
        if is_repeatable {
            self.repeatable.insert(self.last_request, call.clone());
        }
        Out::Ask(self.last_request, call)
    }

    /// The core has told something.
    pub(super) fn on_told(&mut self, now: Time, sequence: u64, told: Told) -> Vec<Out> {
        match told {
            Told::Subscribed {
                framework,
                generation,
                ..
            } => self.on_subscribed(framework, generation),
            Told::SnapshotEnded => {
                self.is_snapshot = false;
                let held = std::mem::take(&mut self.held);
                held.into_iter().map(|call| self.ask(call)).collect()
            }
            Told::Answered { request, answer } => self.on_answered(now, request, answer),
            Told::Offered(offers) => self.on_offered(now, offers),
            Told::Rescinded(offers) => self.on_rescinded(offers),
            Told::Updated(status) => self.on_updated(now, sequence, status, self.is_snapshot),
            Told::Closed(problem) => self.on_closed(&problem),
            Told::Message {
                agent,
                executor,
                data,
            } => vec![tell(events::message(&agent, &executor, data))],
            Told::ExecutorEnded {
                agent, executor, ..
            } => vec![tell(events::failure(&agent, Some(&executor)))],
            Told::Reclaim {
                tasks,
                reason,
                deadline,
            } => self.on_reclaim(now, &tasks, reason, deadline),
            Told::StandingBy { .. } | Told::AgentSettled(_) | Told::Heartbeat => Vec::new(),
        }
    }

    /// The core has told something to the session whose place this one has taken. Its offers are not there any more.
    pub(super) fn on_told_before(&mut self, now: Time, sequence: u64, told: Told) -> Vec<Out> {
        match told {
            Told::Updated(status) => self.on_updated(now, sequence, status, self.was_snapshot),
            Told::SnapshotEnded => {
                self.was_snapshot = false;
                Vec::new()
            }
            Told::Subscribed { .. }
            | Told::Offered(_)
            | Told::Rescinded(_)
            | Told::Closed(_)
            | Told::StandingBy { .. } => Vec::new(),
            Told::Answered { .. }
            | Told::Message { .. }
            | Told::ExecutorEnded { .. }
            | Told::Reclaim { .. }
            | Told::AgentSettled(_)
            | Told::Heartbeat => self.on_told(now, sequence, told),
        }
    }

    fn on_updated(
        &mut self,
        now: Time,
        sequence: u64,
        status: Status,
        is_snapshot: bool,
    ) -> Vec<Out> {
        let asked_to_leave = self.inverse_offered(&status.task);
        let capabilities = self.capabilities;
        let updates = &mut self.updates;
        let steps = updates.on_status(now, sequence, status, is_snapshot, capabilities);
        let mut outs = self.steps(steps);
        if let Some(agent) = asked_to_leave.filter(|agent| !self.updates.is_on(agent)) {
            outs.extend(self.rescind_inverse(&agent));
        }
        outs
    }

    /// The agent of a task, if there is an inverse offer of it.
    fn inverse_offered(&self, task: &TaskId) -> Option<AgentId> {
        if self.inverse.is_empty() {
            return None;
        }
        let agent = self.updates.place(task)?;
        self.inverse.contains_key(agent).then(|| agent.clone())
    }

    fn rescind_inverse(&mut self, agent: &AgentId) -> Option<Out> {
        let id = self.inverse.remove(agent)?;
        Some(tell(events::rescind_inverse_offer(&id)))
    }

    /// What was accepted (202) is asked again if there was no room for it; of what is wanted, what is wanted by now.
    fn on_repeatable(&mut self, call: Call, answer: &Answer) -> Option<Out> {
        let Answer::Refused(problem) = answer else {
            return None;
        };
        let wait = problem.retry_after?;
        let call = match call {
            Call::SetDemand(demand) => self.wanted(&demand.role)?,
            call => call,
        };
        Some(self.ask_later(wait, call))
    }

    fn ask_later(&mut self, wait: Duration, call: Call) -> Out {
        match self.ask(call) {
            Out::Ask(request, call) => Out::AskLater(wait, request, call),
            out => out,
        }
    }

    /// Who ends itself is told of no offer that it goes, unless it does not end after all.
    fn on_rescinded(&mut self, offers: Vec<OfferId>) -> Vec<Out> {
        let own = offers.into_iter();
        let own: Vec<OfferId> = own
            .filter(|offer| self.offers.remove(offer).is_some())
            .collect();
        if let Some(ending) = &mut self.ending {
            ending.rescinded.extend(own);
            return Vec::new();
        }
        own.iter()
            .map(|offer| tell(events::rescind(offer)))
            .collect()
    }

    /// Whether something is under way that belongs to this session: an ACCEPT, how tasks stand, or what ends something.
    pub(super) fn is_asking(&self) -> bool {
        let mut calls = self.repeatable.values();
        let is_of_session = |call| matches!(call, &Call::Reconcile { .. }) || is_ending(call);
        !self.accepts.is_empty() || calls.any(is_of_session)
    }

    /// How many reconciliations wait for the end of the snapshot.
    pub(super) fn reconciliations_held(&self) -> usize {
        self.held.len()
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, now: Time) -> Vec<Out> {
        let steps = self.updates.on_time(now);
        self.steps(steps)
    }

    /// Asks how tasks stand, when what is told is no part of a snapshot any more.
    pub(super) fn ask_statuses(&mut self, call: Call) -> Option<Out> {
        match self.is_snapshot {
            true => {
                self.held.push(call);
                None
            }
            false => Some(self.ask(call)),
        }
    }

    fn on_subscribed(&mut self, framework: FrameworkId, generation: Generation) -> Vec<Out> {
        self.intent.info.id = Some(v1::FrameworkId {
            value: framework.to_string(),
        });
        let mut outs = vec![Out::Entered(framework.clone(), generation)];
        if self.framework.is_none() {
            self.updates = Updates::new(framework.clone());
            let interval = MESOS_HEARTBEAT_INTERVAL.as_secs_f64();
            let subscribed = events::subscribed(&framework, interval, self.master.clone());
            self.framework = Some(framework);
            outs.push(tell(subscribed));
            outs.push(tell(events::heartbeat()));
        }
        let roles: Vec<Role> = self.intent.wishes.keys().cloned().collect();
        for role in roles {
            outs.extend(self.demand(&role));
        }
        outs
    }

    /// Says anew what the framework wants in one role.
    pub(super) fn demand(&mut self, role: &Role) -> Option<Out> {
        let call = self.wanted(role)?;
        Some(self.ask(call))
    }

    fn wanted(&mut self, role: &Role) -> Option<Call> {
        self.generation += 1;
        let wish = self.intent.wishes.get(role)?;
        let demand = wish.demand(role, Generation(self.generation), self.capabilities);
        demand.ok().map(Call::SetDemand)
    }

    /// What the framework has left over of an ACCEPT it does not want for a while, and has said so then: the core is told when
    /// it offers it. More than that it wants.
    fn on_offered(&mut self, now: Time, offers: Vec<Offer>) -> Vec<Out> {
        let Some(framework) = self.framework.clone() else {
            return Vec::new();
        };
        let mut outs = Vec::new();
        let mut told = Vec::with_capacity(offers.len());
        for offer in offers {
            if let Some(exclude_for) = self.rests.take(now, &offer) {
                outs.push(self.ask(Call::Decline {
                    offers: vec![offer.id],
                    exclude_for,
                }));
                continue;
            }
            let form = self.form(&offer.role);
            let mut shown = encode_mesos_offer(&offer, &framework, &form);
            self.names().said(&mut shown.resources);
            told.push(shown);
            let held = Held {
                agent: offer.agent,
                role: offer.role,
                resources: offer.resources,
            };
            self.offers.insert(offer.id, held);
        }
        if !told.is_empty() {
            outs.push(tell(events::offers(told)));
        }
        outs
    }

    /// Sets the filter of an ACCEPT that was done. What its operations have made is offered again at once.
    fn keep_rest(&mut self, now: Time, accepting: &Accepting, results: &[OperationResult]) {
        let is_made = results.contains(&OperationResult::Done);
        let Some(agent) = accepting.agent.clone().filter(|_| !is_made) else {
            return;
        };
        let mut resources = accepting.offered.clone();
        for (awaited, result) in accepting.operations.iter().zip(results) {
            let Awaited::Tasks(tasks, _) = awaited else {
                continue;
            };
            // Each by its place: of tasks with the same id one was launched, and the others were refused.
            for (task, launch) in tasks.iter().zip(result.launches()) {
                if launch.outcome.is_ok() {
                    resources.subtract(&task.needs);
                }
            }
        }
        let place = (agent, accepting.role.clone());
        let refused_for = accepting.refused_for;
        self.rests.keep(now, place, resources, refused_for);
    }

    /// How this framework reads resources.
    fn form(&self, role: &Role) -> ResourceForm {
        ResourceForm {
            allocated_to: self.capabilities.multi_role.then(|| role.clone()),
            is_refined: self.capabilities.refined,
        }
    }

    /// Under which names it goes.
    pub(super) fn names(&self) -> Names<'_> {
        Names::of(&self.intent.info, &self.intent.principal)
    }

    /// For whom tasks are decoded that were offered this role's share.
    pub(super) fn launcher<'a>(&'a self, role: &'a Role) -> Launcher<'a> {
        Launcher {
            info: &self.intent.info,
            principal: &self.intent.principal,
            role,
        }
    }

    pub(super) fn steps(&mut self, steps: Vec<Step>) -> Vec<Out> {
        let mut outs = Vec::with_capacity(steps.len());
        for step in steps {
            outs.push(match step {
                Step::Kept(sequence) => self.ask(Call::AcknowledgeOne { sequence }),
                Step::Tell(told, uuid) => {
                    let mut status = encode_mesos_status(&told.status, self.capabilities, uuid);
                    told.executor.name(&mut status, uuid.is_some());
                    tell(events::update(status))
                }
                Step::Answer(told, named) => {
                    let (named, capabilities) = (named.as_ref(), self.capabilities);
                    let mut status = encode_mesos_answer(&told.status, named, capabilities);
                    told.executor.name(&mut status, false);
                    tell(events::update(status))
                }
            });
        }
        outs
    }

    /// Every framework is told, whether it had tasks there or not.
    pub(super) fn on_agent_lost(&self, agent: &AgentId) -> Vec<Out> {
        let told = self.framework.is_some();
        told.then(|| tell(events::failure(agent, None)))
            .into_iter()
            .collect()
    }

    fn on_closed(&mut self, problem: &Problem) -> Vec<Out> {
        let text = if problem.is(code::SESSION_FENCED) {
            "Framework failed over".to_owned()
        } else if problem.is(code::FRAMEWORK_COMPLETED) || problem.is(code::FRAMEWORK_UNKNOWN) {
            if let Some(framework) = self.framework.clone() {
                return vec![Out::Over(framework), Out::End];
            }
            "Framework has been removed".to_owned()
        } else if problem.is(code::SESSION_RATE_LIMITED) {
            // An ERROR would end the framework; a stream that ends is begun anew, later each time.
            return vec![Out::End];
        } else if problem.is(code::ID_INVALID) && self.framework.is_none() {
            // An id that masters give, and that this cluster's has not given or has forgotten.
            "Framework has been removed".to_owned()
        } else {
            match problem.hint.as_str() {
                "" => problem.message.clone(),
                hint => format!("{}: {hint}", problem.message),
            }
        };
        vec![tell(events::error(&text)), Out::End]
    }

    /// The framework says of itself what differs from when it subscribed: the core hears it in a session that takes the
    /// place of this one, and the framework goes on.
    pub(super) fn on_update_framework(
        &mut self,
        call: proffer_proto::mesos::v1::scheduler::Call,
        limits: Result<Limits, String>,
    ) -> Result<Vec<Out>, String> {
        let update = call.update_framework;
        let update = update.ok_or("Expecting 'update_framework' to be present")?;
        let known = &self.intent.info;
        let mut info = update.framework_info;
        // By what name it calls it need not say.
        info.principal = info.principal.or_else(|| known.principal.clone());
        let intent = Intent::of(info, self.intent.principal.clone());
        let intent = intent.and_then(|intent| Ok((intent.description()?, intent)));
        let (description, intent) =
            intent.map_err(|why| format!("Supplied FrameworkInfo is not valid: {why}"))?;
        intent
            .check_unchanged(known)
            .map_err(|why| format!("FrameworkInfo update is not valid: {why}"))?;
        let mut intent = intent
            .limited(&update.suppressed_roles, limits)
            .map_err(|why| format!("'UpdateFramework' call is not valid: {why}"))?;
        for (role, wish) in &mut intent.wishes {
            wish.revived = self.intent.wishes.get(role).map_or(0, |wish| wish.revived);
        }
        let call = Call::Subscribe {
            framework: self.framework.clone(),
            description,
            stand_by: false,
            resume: None,
            create: false,
        };
        let revived = intent.wishes.iter().filter(|(role, wish)| {
            let before = self.intent.wishes.get(*role);
            !wish.is_suppressed && before.is_some_and(|before| before.is_suppressed)
        });
        let revived: Vec<Role> = revived.map(|(role, _)| role.clone()).collect();
        self.rests.forget(&revived);
        self.capabilities = Capabilities::of(&intent.info);
        self.intent = intent;
        self.was_snapshot = std::mem::replace(&mut self.is_snapshot, true);
        let offers = std::mem::take(&mut self.offers);
        let rescinded = offers.keys().map(|offer| tell(events::rescind(offer)));
        let mut outs: Vec<Out> = rescinded.collect();
        outs.push(Out::Anew(call));
        Ok(outs)
    }

    /// Whether something that ends tasks or the framework was accepted, and there is no answer to it yet.
    pub(super) fn is_owing(&self) -> bool {
        self.ending.is_some() || self.repeatable.values().any(is_ending)
    }

    /// The framework ends itself. What it holds it holds until that is done.
    pub(super) fn teardown(&mut self) -> Vec<Out> {
        let asked = self.ask(Call::Teardown);
        let rescinded = self.ending.take().map(|ending| ending.rescinded);
        self.ending = Some(Ending {
            request: self.last_request,
            rescinded: rescinded.unwrap_or_default(),
        });
        vec![asked]
    }

    /// What was accepted (202) is done, if not at once.
    fn on_torn_down(&mut self, mut ending: Ending, answer: &Answer) -> Vec<Out> {
        let Answer::Refused(problem) = answer else {
            self.offers.clear();
            return Vec::new();
        };
        if let Some(wait) = problem.retry_after {
            let again = self.ask_later(wait, Call::Teardown);
            ending.request = self.last_request;
            self.ending = Some(ending);
            return vec![again];
        }
        let rescinded = ending.rescinded.iter();
        rescinded
            .map(|offer| tell(events::rescind(offer)))
            .collect()
    }

    fn on_answered(&mut self, now: Time, request: u64, answer: Answer) -> Vec<Out> {
        if let Some(ending) = self.ending.take_if(|ending| ending.request == request) {
            return self.on_torn_down(ending, &answer);
        }
        if let Some(call) = self.repeatable.remove(&request) {
            return self.on_repeatable(call, &answer).into_iter().collect();
        }
        let Some(accepting) = self.accepts.remove(&request) else {
            return Vec::new();
        };
        match answer {
            Answer::Accepted(results) => {
                self.keep_rest(now, &accepting, &results);
                self.note_launches(&accepting, &results);
                let operations = accepting.operations.iter();
                let mut outs = Vec::new();
                for (awaited, result) in operations.zip(results) {
                    self.on_result(now, &accepting, awaited, result, &mut outs);
                }
                outs
            }
            Answer::Done => Vec::new(),
            Answer::Refused(problem) => self.on_accept_refused(now, &accepting, &problem),
        }
    }

    fn note_launches(&mut self, accepting: &Accepting, results: &[OperationResult]) {
        let Some(agent) = &accepting.agent else {
            return;
        };
        for (awaited, result) in accepting.operations.iter().zip(results) {
            let Awaited::Tasks(tasks, _) = awaited else {
                continue;
            };
            let launches = tasks.iter().zip(result.launches());
            for (task, _) in launches.filter(|(_, launch)| launch.outcome.is_ok()) {
                self.updates.launched(&task.id, agent, &task.executor);
            }
        }
    }

    fn on_result(
        &self,
        now: Time,
        accepting: &Accepting,
        awaited: &Awaited,
        result: OperationResult,
        outs: &mut Vec<Out>,
    ) {
        match (awaited, result) {
            (
                Awaited::Tasks(tasks, is_group),
                result @ (OperationResult::Launched(_) | OperationResult::LaunchedGroup(_)),
            ) => {
                let reason = match is_group {
                    true => v1::task_status::Reason::TaskGroupInvalid,
                    false => v1::task_status::Reason::TaskInvalid,
                };
                let launches = result.launches();
                let of_group = is_group
                    .then(|| group_text(accepting, tasks, launches))
                    .flatten();
                for (launch, task) in launches.iter().zip(tasks) {
                    if let Err(problem) = &launch.outcome {
                        let own = || launch_text(accepting, task, problem);
                        let text = of_group.clone().unwrap_or_else(own);
                        let state = v1::TaskState::TaskError;
                        let (id, agent) = (launch.task.as_str(), task.agent.as_ref());
                        outs.push(self.refuse_task(now, id, agent, state, reason, &text));
                    }
                }
            }
            (Awaited::Operation(Some(id), converted), OperationResult::Done) => {
                let (agent, mut converted) = (accepting.agent.as_ref(), converted.clone());
                // The core was asked under the name that it knows.
                self.names().said(&mut converted);
                outs.push(tell(events::operation_finished(id, agent, converted)));
            }
            (Awaited::Operation(Some(id), _), OperationResult::Refused(problem)) => {
                let state = v1::OperationState::OperationError;
                let text = Some(problem.message);
                outs.push(tell(events::operation_status(id, state, text)));
            }
            _ => {}
        }
    }

    /// The core has done nothing of an ACCEPT.
    fn on_accept_refused(&self, now: Time, accepting: &Accepting, problem: &Problem) -> Vec<Out> {
        let why = offers_text(problem);
        let mut outs = Vec::new();
        for awaited in &accepting.operations {
            match awaited {
                Awaited::Tasks(tasks, _) => outs.extend(tasks.iter().map(|task| {
                    let (id, agent) = (task.id.as_str(), task.agent.as_ref());
                    self.lose_task(now, id, agent, &why)
                })),
                Awaited::Operation(id, _) => outs.extend(lose_operation(id.as_ref(), &why)),
            }
        }
        outs
    }

    /// An update of the master's own.
    pub(super) fn refuse_task(
        &self,
        now: Time,
        task: &str,
        agent: Option<&AgentId>,
        state: v1::TaskState,
        reason: v1::task_status::Reason,
        message: &str,
    ) -> Out {
        tell(events::update(v1::TaskStatus {
            task_id: v1::TaskId {
                value: task.to_owned(),
            },
            state: state.into(),
            message: Some(message.to_owned()),
            source: Some(v1::task_status::Source::Master.into()),
            reason: Some(reason.into()),
            agent_id: agent.map(events::agent_id),
            timestamp: Some(seconds_of(now.wall_ms)),
            ..v1::TaskStatus::default()
        }))
    }

    /// Somebody else needs what runs on an agent, or does not any more. Of an agent that the framework's last task has left
    /// the inverse offer is taken back by then.
    fn on_reclaim(
        &mut self,
        now: Time,
        tasks: &[TaskId],
        reason: Reason,
        deadline: Option<Duration>,
    ) -> Vec<Out> {
        let Some(framework) = self.framework.clone() else {
            return Vec::new();
        };
        let agents = tasks.iter().filter_map(|task| self.updates.place(task));
        let agents: BTreeSet<AgentId> = agents.cloned().collect();
        let mut outs = Vec::new();
        let mut offers = Vec::new();
        for agent in agents {
            outs.extend(self.rescind_inverse(&agent));
            if reason == Reason::None {
                continue;
            }
            self.last_request += 1;
            let id = format!("{framework}-I{}", self.last_request);
            let start = deadline.unwrap_or_default().as_nanos();
            let start = u128::from(now.wall_ms) * 1_000_000 + start;
            offers.push(v1::InverseOffer {
                id: v1::OfferId { value: id.clone() },
                framework_id: v1::FrameworkId {
                    value: framework.to_string(),
                },
                agent_id: Some(events::agent_id(&agent)),
                unavailability: v1::Unavailability {
                    start: v1::TimeInfo {
                        nanoseconds: i64::try_from(start).unwrap_or(i64::MAX),
                    },
                    duration: None,
                },
                ..v1::InverseOffer::default()
            });
            self.inverse.insert(agent, id);
        }
        if !offers.is_empty() {
            outs.push(tell(events::inverse_offers(offers)));
        }
        outs
    }
}

/// Whether a call ends something, so that it is made though its framework's stream has closed.
pub(super) fn is_ending(call: &Call) -> bool {
    matches!(
        call,
        Call::Teardown | Call::Kill { .. } | Call::ShutdownExecutor { .. }
    )
}

pub(super) fn tell(event: Event) -> Out {
    Out::Tell(Box::new(event))
}
