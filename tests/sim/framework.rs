//! A simulated framework, as the SDK would have it: finds the leader, subscribes, asks what became of its tasks, keeps what
//! it is told, acknowledges that, and says how much it still wants. What it wants is `wants.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::session::{Answer, Call, Event};
use proffer_model::{
    AgentId, FrameworkId, Generation, Incarnation, Offer, Operation, OperationResult, Reason,
    Status, TaskId, TaskState, code,
};

use super::coverage::Seen;
use super::keeping::{Kept, Unanswered};
use super::network::Parcel;
use super::process::Who;
use super::standby::StandBy;
use super::state::StateUse;
use super::story::tell;
use super::tenant::Tenant;
use super::wants::Wants;
use super::world::{Input, MS, Outcome, SECOND, World};

/// Whoever has nothing to ask for here.
pub(super) const STRANGER: &str = "stranger";
/// Silence after which another master is looked for.
pub(super) const SILENCE_MAX: u64 = 5 * SECOND;

pub(super) struct Framework {
    pub(super) wants: Wants,
    pub(super) id: Option<FrameworkId>,
    connection: Option<u64>,
    pub(super) standby: Option<StandBy>,
    is_connecting: bool,
    is_subscribed: bool,
    next_master: usize,
    pub(super) leader: (u64, usize),
    pub(super) generation: Generation,
    pub(super) demand_generation: u64,
    heard_at: u64,
    /// Connections whose session another has overtaken, or soon will have.
    overtaken: BTreeSet<u64>,
    /// Accepts whose answer has not come.
    pub(super) asked: BTreeMap<u64, Unanswered>,
    /// Agents that have settled, as this session was told.
    settled: BTreeSet<AgentId>,
    /// It has lost its memory once: what it runs it learns from what it is told.
    is_forgetful: bool,
    pub(super) kept: Kept,
    pub(super) unary: Option<u64>,
    pub(super) state: StateUse,
    /// Of one that does not stay.
    pub(super) tenant: Option<Tenant>,
}

pub(super) enum FrameworkInput {
    Looks,
    Tick,
    OvertakenCalls { connection: u64 },
    AcknowledgementDue { connection: u64 },
}

impl Framework {
    pub(super) fn new(number: usize, wants: Wants) -> Self {
        let tenant = wants.is_tenant().then(Tenant::default);
        Self {
            wants,
            id: tenant.as_ref().map(Tenant::id),
            connection: None,
            standby: None,
            is_connecting: false,
            is_subscribed: false,
            next_master: number,
            leader: (0, 0),
            generation: Generation(0),
            demand_generation: 0,
            heard_at: 0,
            overtaken: BTreeSet::new(),
            asked: BTreeMap::new(),
            settled: BTreeSet::new(),
            is_forgetful: false,
            kept: Kept::default(),
            unary: None,
            state: StateUse::default(),
            tenant,
        }
    }

    pub(super) fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// It has no session any more, not even one that was overtaken.
    pub(super) fn take_connections(&mut self) -> Vec<u64> {
        let overtaken = std::mem::take(&mut self.overtaken);
        self.take_connection()
            .into_iter()
            .chain(overtaken)
            .collect()
    }

    /// What it was is over: it has nothing, and waits for nothing.
    pub(super) fn forgets_all(&mut self) {
        self.wants.begin_anew();
        self.asked.clear();
        self.settled.clear();
        self.kept.forget();
        self.is_forgetful = false;
    }

    pub(super) fn is_standby(&self, connection: u64) -> bool {
        let standby = self.standby.as_ref();
        standby.is_some_and(|standby| standby.connection == connection)
    }

    pub(super) fn is_active(&self) -> bool {
        self.connection.is_some() && self.is_subscribed
    }

    /// It has no active session any more.
    pub(super) fn take_connection(&mut self) -> Option<u64> {
        self.is_subscribed = false;
        self.connection.take()
    }

    /// Another session is the active one; answers the one before.
    pub(super) fn take_over(&mut self, connection: u64, now: u64) -> Option<u64> {
        self.heard_at = now;
        self.connection.replace(connection)
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{:?} connection {:?} subscribed {} {}",
            self.id.as_ref().map(ToString::to_string),
            self.connection,
            self.is_subscribed,
            self.wants.describe()
        )
    }
}

impl World {
    pub(super) fn framework_starts(&mut self, n: usize) {
        self.framework_looks(n, MS);
        self.input_after(
            SECOND,
            Who::Framework(n),
            Input::Framework(FrameworkInput::Tick),
        );
    }

    pub(super) fn framework_dies(&mut self, n: usize) {
        let it = &mut self.frameworks[n];
        (it.connection, it.unary, it.is_connecting, it.is_subscribed) = (None, None, false, false);
        it.kept.on_death();
        it.standby = None;
        it.overtaken.clear();
        it.asked.clear();
    }

    /// It has kept its id and its counts, but not what it runs.
    pub(super) fn framework_forgets(&mut self, n: usize) {
        self.seen.count(Seen::MemoryLost);
        tell!(self, "fault: framework {n} loses its memory");
        let open = self.frameworks[n].wants.open_on(None);
        self.checks.on_framework_forgets(open);
        self.frameworks[n].wants.forget();
        self.frameworks[n].state.forget();
        self.frameworks[n].kept.forget();
        self.frameworks[n].is_forgetful = true;
    }

    /// Another session of it connects while the one that it has is still there.
    pub(super) fn framework_is_overtaken(&mut self, n: usize) {
        let it = &mut self.frameworks[n];
        let Some(old) = it.connection.filter(|_| it.is_subscribed) else {
            return;
        };
        self.seen.count(Seen::FrameworkOvertaken);
        tell!(
            self,
            "fault: framework {n} has another session beside {old}"
        );
        let it = &mut self.frameworks[n];
        it.overtaken.insert(old);
        it.state.overtaken = Some(it.generation);
        (it.connection, it.is_subscribed) = (None, false);
        it.next_master = it.leader.1;
        self.framework_looks(n, 0);
        let calls = FrameworkInput::OvertakenCalls { connection: old };
        self.input_after(MS, Who::Framework(n), Input::Framework(calls));
    }

    pub(super) fn framework_looks(&mut self, n: usize, wait: u64) {
        let jitter = self.random.below(100 * MS);
        self.input_after(
            wait + jitter,
            Who::Framework(n),
            Input::Framework(FrameworkInput::Looks),
        );
    }

    pub(super) fn on_framework(&mut self, n: usize, input: FrameworkInput) -> Outcome {
        match input {
            FrameworkInput::Looks => {
                let is_away = self.is_away(n);
                let it = &mut self.frameworks[n];
                if it.connection.is_some() || it.is_connecting || is_away {
                    return Ok(());
                }
                it.is_connecting = true;
                let master = it.next_master % self.masters.len();
                it.next_master += 1;
                let principal = it.wants.principal();
                self.connect(Who::Framework(n), master, principal);
            }
            FrameworkInput::Tick => {
                self.framework_ticks(n);
                self.draw_standby(n)?;
            }
            FrameworkInput::OvertakenCalls { connection } => {
                if self.frameworks[n].overtaken.contains(&connection) {
                    self.overtaken_calls(n, connection);
                }
            }
            FrameworkInput::AcknowledgementDue { connection } => {
                self.acknowledgement_due(n, connection);
            }
        }
        Ok(())
    }

    pub(super) fn framework_hears_of_leader(&mut self, n: usize, epoch: u64, master: usize) {
        let it = &mut self.frameworks[n];
        if epoch <= it.leader.0 {
            return;
        }
        it.leader = (epoch, master);
        it.next_master = master;
        self.standby_lost(n);
        let it = &mut self.frameworks[n];
        if let Some(old) = it.connection.take() {
            it.is_subscribed = false;
            self.close(Who::Framework(n), old, false);
        }
        self.framework_looks(n, 0);
    }

    pub(super) fn framework_opened(&mut self, n: usize, connection: u64) {
        let now = self.now;
        let it = &mut self.frameworks[n];
        if it.unary == Some(connection) {
            self.ask_state(n, connection);
            return;
        }
        if it.is_standby(connection) {
            self.standby_opened(n, connection);
            return;
        }
        it.is_connecting = false;
        if let Some(old) = it.connection.replace(connection) {
            self.close(Who::Framework(n), old, false);
        }
        let it = &mut self.frameworks[n];
        (it.heard_at, it.is_subscribed) = (now, false);
        let call = self.subscription(n, false);
        self.call(n, connection, call);
    }

    pub(super) fn framework_not_opened(&mut self, n: usize, connection: u64) {
        let it = &mut self.frameworks[n];
        if it.unary == Some(connection) {
            it.unary = None;
            return;
        }
        if it.is_standby(connection) {
            self.standby_lost(n);
            return;
        }
        it.is_connecting = false;
        self.framework_looks(n, 100 * MS);
    }

    pub(super) fn framework_lost(&mut self, n: usize, connection: u64) {
        let it = &mut self.frameworks[n];
        it.overtaken.remove(&connection);
        if it.is_standby(connection) {
            self.standby_lost(n);
            return;
        }
        if it.unary == Some(connection) {
            it.unary = None;
        }
        if it.connection == Some(connection) {
            (it.connection, it.is_subscribed) = (None, false);
            self.framework_looks(n, 50 * MS);
        }
    }

    /// Calls, perhaps twice: as whoever did not hear whether the first one left.
    pub(super) fn call(&mut self, n: usize, connection: u64, call: Call) -> u64 {
        self.requests += 1;
        let request = self.requests;
        let is_repeatable = matches!(
            call,
            Call::Accept { .. } | Call::Kill { .. } | Call::Decline { .. }
        );
        if is_repeatable && self.random.one_in(self.faults.repeat) {
            self.seen.count(Seen::CallRepeated);
            self.requests += 1;
            let parcel = Parcel::Call {
                request,
                call: call.clone(),
            };
            self.send(Who::Framework(n), connection, parcel);
            let parcel = Parcel::Call {
                request: self.requests,
                call,
            };
            self.send(Who::Framework(n), connection, parcel);
            return request;
        }
        self.send(
            Who::Framework(n),
            connection,
            Parcel::Call { request, call },
        );
        request
    }

    pub(super) fn framework_hears(&mut self, n: usize, connection: u64, parcel: Parcel) -> Outcome {
        match parcel {
            Parcel::Event { sequence, event } => {
                if self.frameworks[n].overtaken.contains(&connection) {
                    if matches!(event, Event::Closed(_)) {
                        self.frameworks[n].overtaken.remove(&connection);
                        self.close(Who::Framework(n), connection, false);
                    }
                    return Ok(());
                }
                let is_standby = self.frameworks[n].is_standby(connection);
                if is_standby && !self.standby_hears(n, &event) {
                    return Ok(());
                }
                if self.frameworks[n].connection != Some(connection) {
                    return Ok(());
                }
                self.framework_event(n, connection, sequence, event)
            }
            Parcel::Reply { request, reply } => self.state_reply(n, request, *reply),
            _ => Err("a framework hears what is not for it".into()),
        }
    }

    fn framework_event(
        &mut self,
        n: usize,
        connection: u64,
        sequence: u64,
        event: Event,
    ) -> Outcome {
        self.frameworks[n].heard_at = self.now;
        let is_kept = !matches!(event, Event::Heartbeat | Event::Answered { .. });
        let task = match &event {
            Event::Updated(status) => Some(status.task.clone()),
            _ => None,
        };
        match event {
            Event::Subscribed {
                framework,
                epoch,
                generation,
                is_resumed,
                ..
            } => {
                let it = &mut self.frameworks[n];
                if it.id.as_ref().is_some_and(|id| *id != framework) {
                    return Err(format!("framework {n} is {framework} now"));
                }
                if epoch.0 < it.leader.0 {
                    self.framework_leaves(n, connection);
                    return Ok(());
                }
                (it.id, it.is_subscribed, it.generation) = (Some(framework), true, generation);
                let is_new_term = epoch.0 > it.leader.0;
                it.leader.0 = epoch.0;
                it.kept.on_subscribed();
                if is_resumed {
                    self.goes_on(n, connection);
                } else {
                    self.kill_early(n, connection, is_new_term);
                    let it = &mut self.frameworks[n];
                    // Answers that did not come never will: reconciliation tells what became of those tasks.
                    it.asked.clear();
                    it.settled.clear();
                    self.reconcile(n, connection, None);
                }
                self.call_demand(n);
            }
            Event::Answered { request, answer } => self.on_answered(n, request, &answer),
            Event::Heartbeat => self.check_kills(n)?,
            Event::Offered(offers) => self.on_offers(n, connection, &offers),
            // Others' tasks may have the names that a vandal asks about.
            Event::Updated(_) if self.frameworks[n].wants.is_vandal() => {}
            Event::Updated(status) => self.on_updated(n, connection, &status)?,
            Event::AgentSettled(agent) => {
                self.seen.count(Seen::AgentSettled);
                // A session that is resumed is told again.
                if self.frameworks[n].settled.insert(agent.clone()) {
                    self.reconcile(n, connection, Some(&agent));
                    self.call_demand(n);
                }
            }
            Event::Reclaim { tasks, reason, .. } => {
                self.seen.count(Seen::Reclaimed);
                let ends = reason != Reason::None && self.frameworks[n].wants.kills_some();
                for task in tasks.iter().filter(|_| ends) {
                    // Some it ends itself, of others it waits for the deadline.
                    if self.random.one_in(3) {
                        self.kill_task(n, connection, task);
                    }
                }
            }
            Event::Message { data, .. } => {
                self.seen.count(Seen::MessageEchoed);
                self.checks.on_message("a framework", &data)?;
            }
            Event::ExecutorEnded { .. } => self.seen.count(Seen::ExecutorEnded),
            Event::Closed(problem) => {
                tell!(self, "{}is closed: {problem}", Who::Framework(n));
                if problem.is(code::FRAMEWORK_COMPLETED) && self.frameworks[n].tenant.is_some() {
                    return self.tenant_is_refused(n, connection);
                }
                if problem.is(code::FRAMEWORK_COMPLETED) || problem.is(code::FRAMEWORK_UNKNOWN) {
                    return Err(format!("framework {n} is not known any more: {problem}"));
                }
                self.framework_leaves(n, connection);
                return Ok(());
            }
            _ => {}
        }
        if is_kept {
            self.keep(n, connection, sequence, task);
        }
        Ok(())
    }

    pub(super) fn framework_leaves(&mut self, n: usize, connection: u64) {
        self.close(Who::Framework(n), connection, false);
        let it = &mut self.frameworks[n];
        (it.connection, it.is_subscribed) = (None, false);
        self.framework_looks(n, 100 * MS);
    }

    /// Asks how its tasks stand: those that it knows of, and whatever there is if there may be more.
    fn reconcile(&mut self, n: usize, connection: u64, agent: Option<&AgentId>) {
        let it = &self.frameworks[n];
        let tasks = it.wants.open_on(agent);
        if it.is_forgetful && agent.is_none() {
            self.call(n, connection, Call::Reconcile { tasks: Vec::new() });
        }
        if !tasks.is_empty() {
            self.call(n, connection, Call::Reconcile { tasks });
        }
    }

    pub(super) fn call_demand(&mut self, n: usize) {
        let it = &mut self.frameworks[n];
        let Some(connection) = it.connection.filter(|_| it.is_subscribed) else {
            return;
        };
        if it.tenant.is_some() {
            return self.tenant_calls_demand(n, connection);
        }
        it.demand_generation += 1;
        let demand = it.wants.demand(it.demand_generation);
        self.call(n, connection, Call::SetDemand(demand));
    }

    fn on_offers(&mut self, n: usize, connection: u64, offers: &[Offer]) {
        if self.frameworks[n].wants.is_vandal() {
            return;
        }
        for offer in offers {
            if self.random.one_in(8) {
                self.seen.count(Seen::OfferDeclined);
                let exclude_for = Duration::from_millis(self.random.below(3_000));
                let offers = vec![offer.id.clone()];
                self.call(
                    n,
                    connection,
                    Call::Decline {
                        offers,
                        exclude_for,
                    },
                );
                continue;
            }
            let epoch = self.frameworks[n].leader.0;
            let operations = self.frameworks[n].wants.take(offer, epoch, &mut self.seen);
            for operation in &operations {
                if let Operation::LaunchGroup(specs) = operation {
                    let tasks: Vec<TaskId> = specs.iter().map(|spec| spec.id.clone()).collect();
                    self.checks.on_group_asked(&tasks);
                }
            }
            let tasks = operations.iter().flat_map(Operation::tasks);
            let tasks: Vec<TaskId> = tasks.map(|spec| spec.id.clone()).collect();
            tasks
                .iter()
                .for_each(|task| self.checks.on_launch_asked(task));
            if let Some(tenant) = &self.frameworks[n].tenant {
                self.checks.completions.on_launches(&tenant.id(), &tasks);
            }
            let offers = vec![offer.id.clone()];
            let call = Call::Accept { offers, operations };
            let request = self.call(n, connection, call.clone());
            let unanswered = Unanswered { call, tasks };
            self.frameworks[n].asked.insert(request, unanswered);
            if !self.is_over() && self.random.one_in(self.faults.break_at_launch) {
                self.seen.count(Seen::BrokenAtLaunch);
                tell!(self, "fault: connection {connection} breaks at a launch");
                self.break_connection(connection, false);
            }
        }
    }

    fn on_answered(&mut self, n: usize, request: u64, answer: &Answer) {
        self.kill_is_answered(request, answer);
        let it = &mut self.frameworks[n];
        let Some(Unanswered { tasks, .. }) = it.asked.remove(&request) else {
            return;
        };
        match answer {
            Answer::Accepted(results) => {
                let launches = results.iter().flat_map(OperationResult::launches);
                for result in launches.filter(|result| result.outcome.is_err()) {
                    it.wants.not_launched(&result.task);
                }
            }
            Answer::Refused(_) => tasks.iter().for_each(|task| it.wants.not_launched(task)),
            Answer::Done => {}
        }
        self.call_demand(n);
    }

    fn on_updated(&mut self, n: usize, connection: u64, status: &Status) -> Outcome {
        let text = format!("{} #{} {}", status.task, status.number, status.state);
        tell!(
            self,
            "{}{text} ({}), of {}",
            Who::Framework(n),
            status.reason,
            status.incarnation.0
        );
        self.checks.kills.on_status(status);
        let mut asked = self.frameworks[n].asked.values();
        let is_asked = asked.any(|asked| asked.tasks.contains(&status.task));
        if status.incarnation == Incarnation(0) && is_asked {
            // That was said of it before the launch that is asked for now.
            return Ok(());
        }
        let it = &mut self.frameworks[n];
        let gone = self.checks.gone();
        if it
            .wants
            .is_not_there(status, it.leader.0, &it.settled, gone)
        {
            self.checks.on_given_up(&status.task)?;
            self.frameworks[n].wants.not_launched(&status.task);
            self.call_demand(n);
            return Ok(());
        }
        let epoch = self.frameworks[n].leader.0;
        if !self.checks.on_status(status, epoch)? {
            return Ok(());
        }
        self.count_status(status);
        let it = &mut self.frameworks[n];
        let may_find = it.is_forgetful && status.incarnation != Incarnation(0);
        it.wants
            .on_status(status, may_find, self.now, self.checks.gone());
        if status.state == TaskState::Running && it.wants.kills_some() && self.random.one_in(12) {
            self.kill_task(n, connection, &status.task);
        }
        if status.state.is_terminal() {
            self.call_demand(n);
        }
        Ok(())
    }

    fn count_status(&mut self, status: &Status) {
        if status.state == TaskState::Killed && status.reason == Reason::AgentDrained {
            self.seen.count(Seen::TaskDrained);
        }
        if status.reason == Reason::AgentGone {
            self.seen.count(Seen::TaskGone);
        }
        match status.state {
            TaskState::Unreachable => self.seen.count(Seen::TaskUnreachable),
            TaskState::Dropped => self.seen.count(Seen::TaskDropped),
            state if state.is_terminal() => self.seen.count(Seen::TaskEnded),
            _ => {}
        }
    }

    fn kill_task(&mut self, n: usize, connection: u64, task: &TaskId) {
        self.checks.on_kill_wanted(task);
        let task = task.clone();
        self.call(n, connection, Call::Kill { task, grace: None });
    }

    fn framework_ticks(&mut self, n: usize) {
        self.input_after(
            SECOND,
            Who::Framework(n),
            Input::Framework(FrameworkInput::Tick),
        );
        let is_over = self.is_over();
        let gone = self.checks.gone();
        let given_up = self.frameworks[n].wants.give_up(self.now, gone);
        self.checks.on_framework_forgets(given_up);
        let has_more = self.frameworks[n].wants.grow(is_over, &mut self.random);
        let it = &self.frameworks[n];
        if let Some(connection) = it.connection {
            if it.heard_at + SILENCE_MAX < self.now {
                tell!(self, "{}hears nothing", Who::Framework(n));
                self.framework_leaves(n, connection);
            } else if it.is_subscribed {
                if has_more {
                    self.call_demand(n);
                }
                if self.random.one_in(20) {
                    self.reconcile(n, connection, None);
                }
                self.use_executors(n, connection, is_over);
                self.change_some(n, connection);
                if is_over {
                    for task in self.frameworks[n].wants.to_end() {
                        self.kill_task(n, connection, &task);
                    }
                } else if self.frameworks[n].wants.is_vandal() {
                    self.vandalize(n, connection);
                }
            }
        }
        if self.frameworks[n].tenant.is_some() {
            self.tenant_ticks(n);
        } else if self.frameworks[n].id.is_some() && self.random.one_in(5) {
            self.use_state(n);
        }
    }

    /// Says something to its executors, and ends some.
    fn use_executors(&mut self, n: usize, connection: u64, is_over: bool) {
        let (sends, ends) = (self.random.one_in(4), self.random.one_in(25));
        if !self.frameworks[n].wants.has_executors() || !(sends || ends) {
            return;
        }
        let known = self.frameworks[n].wants.executor(&mut self.random);
        let Some((agent, executor)) = known else {
            return;
        };
        if ends && !is_over {
            self.seen.count(Seen::ExecutorShutDown);
            self.frameworks[n].wants.on_shut_down();
            self.checks.on_executor_end_wanted(&agent, &executor);
            self.call(n, connection, Call::ShutdownExecutor { agent, executor });
        } else {
            let data = self.requests.to_be_bytes().to_vec();
            let call = Call::SendMessage {
                agent,
                executor,
                data,
            };
            self.call(n, connection, call);
        }
    }

    /// A session that was overtaken goes on as if nothing had happened. Before the master knows, what it says counts.
    fn overtaken_calls(&mut self, n: usize, connection: u64) {
        let again = FrameworkInput::OvertakenCalls { connection };
        let wait = MS + self.random.below(20 * MS);
        self.input_after(wait, Who::Framework(n), Input::Framework(again));
        let sequence = self.random.below(1_000);
        self.call(
            n,
            connection,
            Call::Acknowledge {
                sequence: sequence.min(self.frameworks[n].kept.sequence() / 2),
            },
        );
        let running = self.frameworks[n].wants.running();
        if running.is_empty() {
            return;
        }
        let task = running[self.random.index(running.len())].clone();
        let is_fenced = self.is_fenced(connection);
        if !is_fenced {
            self.checks.on_kill_wanted(&task);
        }
        self.call(n, connection, Call::Kill { task, grace: None });
    }
}
