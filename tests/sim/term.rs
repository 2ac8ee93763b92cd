//! A term of a simulated master, as its driver and its writer do it: batches that wait go into one entry, effects leave
//! when what they promise is durable and the lease holds, timers wait after the master stood still.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proffer_master_core::config::Config;
use proffer_master_core::core::Core;
use proffer_master_core::effect::{After, Effect, Fact};
use proffer_master_core::event::{
    Event, LinkId, OperatorCall, RequestId, Seq, SessionId, StateCall, TimerKey,
};
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::registry::{Operation, Registry};
use proffer_model::session::{Call, Event as SessionEvent};
use proffer_model::{ClusterId, Epoch, Principal};

use super::breakage::Breakage;
use super::coverage::Seen;
use super::framework::Framework;
use super::master::MasterInput;
use super::network::{Asked, Parcel};
use super::presence::Presence;
use super::process::Who;
use super::story::tell;
use super::world::{Input, MS, Outcome, SECOND, World};

/// Steps from one full count of a core to the next.
const AUDIT_INTERVAL: u64 = 100;

pub(super) struct Term {
    /// Tells it from other terms of this master.
    number: u64,
    pub(super) epoch: u64,
    pub(super) core: Core,
    last_entry: u64,
    batches: VecDeque<(u64, Vec<Operation>)>,
    /// Up to which batch the entry goes that is being written.
    writing: Option<u64>,
    durable: u64,
    queues: BTreeMap<u64, VecDeque<(After, Out)>>,
    timers: BTreeMap<TimerKey, u64>,
    timers_held_until: u64,
    /// Unary calls by their numbers here: connection and the caller's number.
    requests: BTreeMap<u64, (u64, u64)>,
    request_last: u64,
    pub(super) presence: Presence,
    /// When each host was last heard, or could not have been.
    pub(super) heard: BTreeMap<usize, u64>,
    steps: u64,
}

/// What waits in a peer's queue.
enum Out {
    Parcel(Box<Parcel>),
    Close,
}

pub(super) enum TermInput {
    Timer(TimerKey),
}

pub(super) fn config() -> Config {
    Config {
        suspect_after: Duration::from_secs(5),
        unreachable_after: Duration::from_secs(15),
        // So that lost agents are declared in a simulated minute rather than in twenty.
        loss_min: 100,
        removal_percent: 100,
        ..Config::default()
    }
}

impl Term {
    /// Whether another session speaks for its framework by now.
    pub(super) fn is_fenced(&self, session: u64) -> bool {
        self.presence.overtaken_by(session).is_some()
    }
}

impl World {
    pub(super) fn term_begins(
        &mut self,
        n: usize,
        epoch: u64,
        last_entry: u64,
        mut registry: Registry,
    ) -> Outcome {
        self.seen.count(Seen::Term);
        self.checks.on_term(epoch, n)?;
        if self.is_broken(Breakage::QuotaPassed) {
            registry.quotas.clear();
        }
        if self.is_broken(Breakage::GoneForgotten) {
            registry.gone.clear();
        }
        if self.is_broken(Breakage::CompletedForgotten) {
            registry.completed.clear();
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&epoch.to_le_bytes());
        let cluster = ClusterId::new("sim").expect("a good name");
        let now = self.time(Who::Master(n));
        let mut effects = Vec::new();
        let core = Core::new(
            config(),
            cluster,
            Epoch(epoch),
            seed,
            registry,
            now,
            &mut effects,
        );
        self.terms += 1;
        let term = Term {
            number: self.terms,
            epoch,
            core,
            last_entry,
            batches: VecDeque::new(),
            writing: None,
            durable: 0,
            queues: BTreeMap::new(),
            timers: BTreeMap::new(),
            timers_held_until: 0,
            requests: BTreeMap::new(),
            request_last: 0,
            presence: Presence::new(now.mono_ns),
            heard: BTreeMap::new(),
            steps: 0,
        };
        self.masters[n].term = Some(Box::new(term));
        tell!(
            self,
            "{}term {epoch} begins after entry {last_entry}",
            Who::Master(n)
        );
        self.announce(n);
        self.perform_all(n, effects)
    }

    fn term(&mut self, n: usize) -> Option<&mut Term> {
        self.masters[n].term.as_deref_mut()
    }

    /// It stood still for so long: what peers sent meanwhile is heard before any silence is.
    pub(super) fn term_thaws(&mut self, n: usize, frozen: u64) {
        let held = self.time(Who::Master(n)).mono_ns + SECOND;
        let now = self.now;
        let Some(term) = self.term(n) else {
            return;
        };
        if frozen >= SECOND {
            term.timers_held_until = held;
        }
        term.heard.values_mut().for_each(|at| *at = now);
    }

    pub(super) fn on_term(&mut self, n: usize, number: u64, input: TermInput) -> Outcome {
        let now = self.time(Who::Master(n));
        if self.term(n).is_none_or(|term| term.number != number) {
            return Ok(());
        }
        let TermInput::Timer(key) = input;
        if key == TimerKey::Silence && self.is_broken(Breakage::LostAgentOffered) {
            self.believe_in_lost_agents(n)?;
        }
        let Some(term) = self.term(n) else {
            return Ok(());
        };
        match term.timers.get(&key) {
            Some(at) if *at <= now.mono_ns && term.timers_held_until <= now.mono_ns => {
                term.timers.remove(&key);
                self.step_core(n, Event::TimerFired(key))
            }
            Some(at) if *at <= now.mono_ns => {
                let at = term.timers_held_until;
                self.set_timer(n, key, at);
                Ok(())
            }
            // It was moved; when it comes it comes anew.
            Some(_) | None => Ok(()),
        }
    }

    fn believe_in_lost_agents(&mut self, n: usize) -> Outcome {
        for link in self.masters[n].lost_links.clone() {
            let (link, message) = (LinkId(link), ToMaster::Heartbeat);
            self.step_core(n, Event::LinkMessage { link, message })?;
        }
        Ok(())
    }

    fn set_timer(&mut self, n: usize, key: TimerKey, at_ns: u64) {
        let who = Who::Master(n);
        let when = self.processes[&who].clock.when(at_ns);
        let Some(term) = self.term(n) else {
            return;
        };
        let is_set = term.timers.insert(key.clone(), at_ns) == Some(at_ns);
        let number = term.number;
        if !is_set {
            let input = MasterInput::Term {
                number,
                input: TermInput::Timer(key),
            };
            self.input_at(when, who, Input::Master(input));
        }
    }

    /// Something came over a connection.
    pub(super) fn master_hears(&mut self, n: usize, connection: u64, parcel: Parcel) -> Outcome {
        let who = Who::Master(n);
        if !self.masters[n].leads() {
            self.close(who, connection, false);
            return Ok(());
        }
        match parcel {
            Parcel::ToMaster(message) => self.hears_agent(n, connection, message),
            Parcel::Call { request, call } => {
                let known = self
                    .network
                    .connections
                    .get_mut(&connection)
                    .expect("it is open");
                known.is_known = true;
                let principal = known.principal;
                self.waits_in_lane(n, connection, principal, request, call);
                Ok(())
            }
            Parcel::Ask { request, asked } => self.hears_request(n, connection, request, asked),
            Parcel::ToAgent(_) | Parcel::Event { .. } | Parcel::Reply { .. } => {
                Err("a master hears what only masters say".into())
            }
        }
    }

    fn hears_agent(&mut self, n: usize, connection: u64, message: ToMaster) -> Outcome {
        let now = self.now;
        let known = &mut self
            .network
            .connections
            .get_mut(&connection)
            .expect("it is open");
        let (was_known, client) = (known.is_known, known.client);
        known.is_known = true;
        if let (Who::Agent(host), Some(term)) = (client, self.term(n)) {
            term.heard.insert(host, now);
        }
        let link = LinkId(connection);
        let event = match message {
            ToMaster::Hello(hello) if !was_known => Event::LinkOpened { link, hello },
            message => Event::LinkMessage { link, message },
        };
        self.step_core(n, event)
    }

    /// Calls wait a little for the core, in their order.
    fn waits_in_lane(
        &mut self,
        n: usize,
        connection: u64,
        principal: &'static str,
        request: u64,
        call: Call,
    ) {
        let wait = self.random.below(5 * MS);
        let lane = self.network.lanes.entry(connection).or_default();
        *lane = (self.now + wait).max(*lane + 1);
        let when = *lane;
        let input = Input::Called {
            connection,
            principal,
            request,
            call,
        };
        self.input_at(when, Who::Master(n), input);
    }

    pub(super) fn hears_call(
        &mut self,
        n: usize,
        connection: u64,
        principal: &'static str,
        request: u64,
        call: Call,
    ) -> Outcome {
        if !self.masters[n].leads() {
            return Ok(());
        }
        let mut session = connection;
        if let Some(newest) = self
            .term(n)
            .and_then(|term| term.presence.overtaken_by(connection))
        {
            self.seen.count(Seen::FencedCall);
            self.checks.on_fenced(request);
            if self.is_broken(Breakage::FencedSessionObeyed) {
                session = newest;
            }
        }
        if let Call::Accept { offers, .. } = &call {
            self.checks.on_accept(request, offers);
        }
        let call = self.hears_subscribe(n, connection, call);
        let event = Event::CallReceived {
            session: SessionId(session),
            principal: Principal::new(principal).expect("a good name"),
            request,
            call,
        };
        self.step_core(n, event)
    }

    fn hears_request(&mut self, n: usize, connection: u64, number: u64, asked: Asked) -> Outcome {
        let principal = self.network.connections[&connection].principal;
        let principal = Principal::new(principal).expect("a good name");
        let is_hurried = self.is_broken(Breakage::DeadlineHurried);
        let ends_early = self.is_broken(Breakage::GoneBeforeEmpty);
        let asked = self.broken_state_call(asked);
        let Some(term) = self.term(n) else {
            return Ok(());
        };
        term.request_last += 1;
        let request = RequestId(term.request_last);
        term.requests.insert(request.0, (connection, number));
        let event = match asked {
            Asked::State {
                framework,
                generation,
                call,
            } => Event::StateRequested {
                request,
                principal,
                framework,
                generation,
                call,
            },
            Asked::Operator(OperatorCall::DrainAgent {
                agent,
                deadline,
                marks_gone,
            }) if is_hurried => {
                let deadline = deadline.map(|deadline| deadline / 10);
                Event::OperatorRequested {
                    request,
                    principal,
                    call: OperatorCall::DrainAgent {
                        agent,
                        deadline,
                        marks_gone,
                    },
                }
            }
            Asked::Operator(OperatorCall::DrainAgent {
                agent,
                marks_gone: true,
                ..
            }) if ends_early => Event::OperatorRequested {
                request,
                principal,
                call: OperatorCall::MarkAgentGone { agent },
            },
            Asked::Operator(call) => Event::OperatorRequested {
                request,
                principal,
                call,
            },
        };
        self.step_core(n, event)
    }

    /// A write of state, as a broken master understands it.
    fn broken_state_call(&self, mut asked: Asked) -> Asked {
        if let Asked::State {
            framework,
            generation,
            call,
        } = &mut asked
        {
            if let StateCall::Put { expected, .. } = call
                && self.is_broken(Breakage::StateOverwritten)
            {
                *expected = None;
            }
            let owner = |it: &&Framework| it.id.as_ref() == Some(framework);
            if self.is_broken(Breakage::OvertakenStateWritten)
                && let Some(owner) = self.frameworks.iter().find(owner)
            {
                *generation = owner.generation;
            }
        }
        asked
    }

    /// A connection has ended.
    pub(super) fn master_loses(
        &mut self,
        n: usize,
        connection: u64,
        client: Who,
        was_known: bool,
    ) -> Outcome {
        let Some(term) = self.term(n) else {
            return Ok(());
        };
        term.queues.remove(&connection);
        if self.is_broken(Breakage::LostAgentOffered) && matches!(client, Who::Agent(_)) {
            self.masters[n].lost_links.push(connection);
            return Ok(());
        }
        match client {
            Who::Agent(_) if was_known => self.step_core(
                n,
                Event::LinkClosed {
                    link: LinkId(connection),
                },
            ),
            Who::Framework(_) if self.is_broken(Breakage::StandByForgotten) => Ok(()),
            Who::Framework(_) if was_known => {
                let now_ns = self.time(Who::Master(n)).mono_ns;
                if let Some(term) = self.term(n) {
                    term.presence.on_ended(connection, now_ns);
                }
                let session = SessionId(connection);
                self.step_core(n, Event::SessionClosed { session })
            }
            _ => Ok(()),
        }
    }

    fn step_core(&mut self, n: usize, event: Event) -> Outcome {
        let now = self.time(Who::Master(n));
        let Some(term) = self.term(n) else {
            return Ok(());
        };
        let mut effects = Vec::new();
        term.core.step(now, event, &mut effects);
        term.steps += 1;
        if term.steps.is_multiple_of(AUDIT_INTERVAL) {
            let audit = term.core.check_invariants();
            audit.map_err(|fault| format!("master {n}: {fault}"))?;
        }
        self.perform_all(n, effects)
    }

    fn perform_all(&mut self, n: usize, effects: Vec<Effect>) -> Outcome {
        if !self.lease_holds(n) {
            self.seen.count(Seen::TermEndedByLease);
            self.end_term(n, "its lease has run out, and what it decided is dropped");
            return Ok(());
        }
        for effect in effects {
            self.perform(n, effect)?;
        }
        self.write_batches(n);
        self.flush(n)
    }

    fn perform(&mut self, n: usize, effect: Effect) -> Outcome {
        let Some(term) = self.masters[n].term.as_deref_mut() else {
            return Ok(());
        };
        match effect {
            Effect::Persist { seq, operations } => {
                self.judge_completing(n, &operations)?;
                if let Some(term) = self.term(n) {
                    term.batches.push_back((seq.0, operations));
                }
            }
            Effect::SendSession {
                session,
                sequence,
                event,
                after,
            } => {
                if let SessionEvent::Subscribed { framework, .. } = &event {
                    term.presence.on_subscribed(framework, session.0);
                }
                if let SessionEvent::Offered(offers) = &event {
                    for offer in offers {
                        let host = self.checks.host_of(&offer.agent);
                        let heard = host.and_then(|host| term.heard.get(&host)).copied();
                        self.checks.on_offer(offer, heard, self.now)?;
                    }
                }
                let others = term.presence.judge_offered(session.0, &event)?;
                self.seen.count_all(Seen::OfferedInOtherRole, others);
                let out = Out::Parcel(Box::new(Parcel::Event { sequence, event }));
                term.queues
                    .entry(session.0)
                    .or_default()
                    .push_back((after, out));
            }
            Effect::SendLink {
                link,
                message,
                after,
            } => {
                let client = self.network.connections.get(&link.0).map(|of| of.client);
                if let (ToAgent::Welcome { agent, .. }, Some(Who::Agent(host))) = (&message, client)
                {
                    self.checks.on_welcome(agent, host)?;
                }
                let out = Out::Parcel(Box::new(Parcel::ToAgent(message)));
                term.queues
                    .entry(link.0)
                    .or_default()
                    .push_back((after, out));
            }
            Effect::CloseSession { session } => {
                let queue = term.queues.entry(session.0).or_default();
                queue.push_back((After::Nothing, Out::Close));
            }
            Effect::CloseLink { link } => {
                let queue = term.queues.entry(link.0).or_default();
                queue.push_back((After::Nothing, Out::Close));
            }
            Effect::Reply {
                request,
                reply,
                after,
            } => {
                if let Some((connection, request)) = term.requests.remove(&request.0) {
                    let reply = Box::new(reply);
                    let out = Out::Parcel(Box::new(Parcel::Reply { request, reply }));
                    term.queues
                        .entry(connection)
                        .or_default()
                        .push_back((after, out));
                }
            }
            Effect::SetTimer { key, at } => self.set_timer(n, key, at.mono_ns),
            Effect::CancelTimer { key } => {
                term.timers.remove(&key);
            }
            Effect::Record(fact) => {
                self.on_fact(n, &fact)?;
            }
            // Nobody here watches state.
            Effect::SendWatch { .. } | Effect::CloseWatch { .. } => {}
        }
        Ok(())
    }

    fn on_fact(&mut self, n: usize, fact: &Fact) -> Outcome {
        match fact {
            Fact::AgentUnreachable { .. } => self.seen.count(Seen::AgentUnreachable),
            Fact::AgentReturned { .. } => self.seen.count(Seen::AgentReturned),
            _ => {}
        }
        tell!(self, "{}{}", Who::Master(n), brief(fact));
        Ok(())
    }

    /// All batches that wait go into the next entry, one entry after the other.
    fn write_batches(&mut self, n: usize) {
        let Some(term) = self.term(n) else {
            return;
        };
        let Some((upto, _)) = term.batches.back().filter(|_| term.writing.is_none()) else {
            return;
        };
        term.writing = Some(*upto);
        let (number, epoch, count) = (term.last_entry + 1, term.epoch, term.batches.len());
        let operations: Vec<Operation> = term.batches.drain(..).flat_map(|(_, of)| of).collect();
        if count > 1 {
            self.seen.count(Seen::BatchesTogether);
        }
        self.create_entry(n, number, epoch, operations);
    }

    /// An entry of this term is durable.
    pub(super) fn on_durable(&mut self, n: usize, number: u64) -> Outcome {
        let Some(term) = self.term(n) else {
            return Ok(());
        };
        term.last_entry = number;
        if let Some(upto) = term.writing.take() {
            term.durable = upto;
            self.step_core(n, Event::Persisted(Seq(upto)))?;
        }
        self.write_batches(n);
        Ok(())
    }

    /// Sends what may leave; what waits holds back what comes after it.
    fn flush(&mut self, n: usize) -> Outcome {
        let is_broken = self.is_broken(Breakage::MasterVisibleBeforeDurable);
        let is_bounded = !self.is_broken(Breakage::LaneUnbounded);
        let len_max = self.lane_len_max();
        let Some(term) = self.masters[n].term.as_deref_mut() else {
            return Ok(());
        };
        let durable = term.durable;
        let (mut ready, mut full) = (Vec::new(), Vec::new());
        for (connection, queue) in &mut term.queues {
            while let Some((after, _)) = queue.front() {
                if !is_broken && matches!(after, After::Seq(seq) if seq.0 > durable) {
                    break;
                }
                if let Some((_, out)) = queue.pop_front() {
                    ready.push((*connection, out));
                }
            }
            if is_bounded && queue.len() > len_max {
                queue.clear();
                full.push(*connection);
            }
            self.checks.on_lane(queue.len(), len_max)?;
        }
        term.queues.retain(|_, queue| !queue.is_empty());
        for (connection, out) in ready {
            match out {
                Out::Close => self.close(Who::Master(n), connection, false),
                Out::Parcel(parcel) => self.leaves(n, connection, *parcel)?,
            }
        }
        full.into_iter()
            .for_each(|connection| self.cut_off(connection));
        Ok(())
    }
}

/// A fact on one line; rows by what changes in them.
fn brief(fact: &Fact) -> String {
    match fact {
        Fact::Agent(row) => format!("agent {} {}, {} tasks", row.agent, row.state, row.tasks),
        Fact::Framework(row) => format!(
            "{}: demand {}, {} offers, {} tasks",
            row.framework, row.demand, row.offers, row.tasks
        ),
        Fact::Task(row) => format!("{} {} #{}", row.task, row.told.state, row.told.number),
        other => format!("{other:?}"),
    }
}
