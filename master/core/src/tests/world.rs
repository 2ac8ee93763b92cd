//! A world around one core: a fake clock, timers that fire in order, agents that beat, a log that is written at once
//! unless a test holds it. After every step the invariants are checked, and after every write that the log adds up to
//! what the core believes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::link::{AgentTask, Hello, ToAgent, ToMaster};
use proffer_model::registry::{Operation as Change, Registry};
use proffer_model::session::{
    Answer, Call, Event as Told, LaunchResult, Operation, OperationResult,
};
use proffer_model::{
    AgentDescription, AgentId, ClusterId, Command, Demand, DemandEntry, DemandId, Epoch,
    FrameworkDescription, FrameworkId, Generation, Incarnation, Offer, OfferId, Principal, Problem,
    Reason, ResourceName, Resources, Shape, Status, TaskId, TaskSpec, TaskState, Time,
};

use crate::effect::{After, Effect, Effects, Fact, Reply, StateChange};
use crate::event::{
    Event, LinkId, OperatorCall, RequestId, Seq, SessionId, StateCall, TimerKey, WatchId,
};
use crate::{Config, Core};

pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Time,
    pub(super) told: Vec<(SessionId, Told, After)>,
    pub(super) ordered: Vec<(LinkId, ToAgent, After)>,
    pub(super) replies: BTreeMap<RequestId, (Result<Reply, Problem>, After)>,
    pub(super) watched: Vec<(WatchId, Result<StateChange, Problem>, After)>,
    /// What watches were told that they are to say of when they take it.
    pub(super) asks_on: u32,
    closed_watches: BTreeSet<WatchId>,
    pub(super) facts: Vec<Fact>,
    pub(super) closed_sessions: BTreeSet<SessionId>,
    pub(super) closed_links: BTreeSet<LinkId>,
    /// Links whose agents are heard from.
    pub(super) beating: BTreeSet<LinkId>,
    /// Whether what is to be written is durable at once.
    pub(super) is_writing: bool,
    pub(super) written: Registry,
    /// All that was to be written.
    pub(super) changes: Vec<Change>,
    pub(super) pending: Option<Seq>,
    pub(super) timers: BTreeMap<TimerKey, u64>,
    sequences: BTreeMap<SessionId, u64>,
    next: u64,
}

pub(super) fn r(text: &str) -> Resources {
    text.parse().expect(text)
}

pub(super) fn task_id(text: &str) -> TaskId {
    TaskId::new(text).expect(text)
}

pub(super) fn spec(id: &str, resources: &str) -> TaskSpec {
    TaskSpec {
        id: task_id(id),
        name: id.to_owned(),
        resources: r(resources),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        checks: Vec::new(),
        kill_grace: Duration::from_secs(3),
        container: None,
        executor: None,
        volumes: Vec::new(),
        completion: None,
        fetch: Vec::new(),
        discovery: None,
    }
}

pub(super) fn describe(host: &str, resources: &str) -> AgentDescription {
    AgentDescription {
        host: host.to_owned(),
        address: format!("{host}:5051"),
        resources: r(resources),
        attributes: format!("rack:{host}").parse().expect("attributes"),
        domain: None,
        version: "1".to_owned(),
    }
}

pub(super) fn describe_framework() -> FrameworkDescription {
    FrameworkDescription {
        name: "test".to_owned(),
        roles: vec!["*".parse().expect("a role")],
        failover_timeout: Duration::from_secs(100),
        mesos: None,
    }
}

/// `count` of a shape: scalars and exact numbers, and how many ports of any number.
pub(super) fn want(id: &str, count: u32, resources: &str, ports: u64) -> DemandEntry {
    let name = ResourceName::new("ports").expect("a name");
    let counts = (ports > 0).then_some((name, ports));
    DemandEntry {
        id: DemandId::new(id).expect(id),
        shape: Shape::Of {
            resources: r(resources),
            counts: counts.into_iter().collect(),
        },
        count,
        predicates: Vec::new(),
        at_most: Vec::new(),
        gang: 0,
        priority: 0,
        takes: proffer_model::Takes::default(),
        excluded: Vec::new(),
    }
}

pub(super) fn principal(name: &str) -> Principal {
    Principal::new(name).expect(name)
}

impl World {
    pub(super) fn new() -> Self {
        Self::term(1, Registry::default())
    }

    /// A new term with this log.
    pub(super) fn term(epoch: u64, registry: Registry) -> Self {
        let mut effects = Effects::new();
        let now = Time {
            mono_ns: 1_000_000_000_000 * epoch,
            wall_ms: 1_700_000_000_000,
        };
        let cluster = ClusterId::new("c").expect("an id");
        let written = registry.clone();
        let config = Config::default();
        let core = Core::new(
            config,
            cluster,
            Epoch(epoch),
            [7; 32],
            registry,
            now,
            &mut effects,
        );
        let mut world = Self {
            core,
            now,
            told: Vec::new(),
            ordered: Vec::new(),
            replies: BTreeMap::new(),
            watched: Vec::new(),
            asks_on: 0,
            closed_watches: BTreeSet::new(),
            facts: Vec::new(),
            closed_sessions: BTreeSet::new(),
            closed_links: BTreeSet::new(),
            beating: BTreeSet::new(),
            is_writing: true,
            written,
            changes: Vec::new(),
            pending: None,
            timers: BTreeMap::new(),
            sequences: BTreeMap::new(),
            next: 0,
        };
        world.take(effects);
        world
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut effects = Effects::new();
        self.core.step(self.now, event.clone(), &mut effects);
        if let Err(broken) = self.core.check_invariants() {
            panic!("{broken}, after {event:?}");
        }
        self.take(effects);
        if self.is_writing {
            self.write();
        }
    }

    /// Many things that happen together.
    pub(super) fn step_together(&mut self, events: Vec<Event>) {
        for event in events {
            self.core.take(self.now, event);
        }
        let mut effects = Effects::new();
        self.core.end_step(&mut effects);
        if let Err(broken) = self.core.check_invariants() {
            panic!("{broken}");
        }
        self.take(effects);
        if self.is_writing {
            self.write();
        }
    }

    /// What waits to be written becomes durable.
    pub(super) fn write(&mut self) {
        if let Some(seq) = self.pending.take() {
            assert_eq!(&self.written, self.core.registry());
            self.step(Event::Persisted(seq));
        }
    }

    fn take(&mut self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Persist { seq, operations } => {
                    assert!(self.pending.is_none_or(|last| last < seq));
                    assert!(!operations.is_empty());
                    operations
                        .iter()
                        .for_each(|operation| self.written.apply(operation));
                    self.changes.extend(operations);
                    self.pending = Some(seq);
                }
                Effect::SendSession {
                    session,
                    sequence,
                    event,
                    after,
                } => {
                    assert!(
                        !self.closed_sessions.contains(&session),
                        "closed: {event:?}"
                    );
                    if sequence > 0 {
                        let last = self.sequences.insert(session, sequence);
                        assert!(last.is_none_or(|last| sequence == last + 1), "no gap");
                    }
                    self.told.push((session, event, after));
                }
                Effect::CloseSession { session } => {
                    assert!(self.closed_sessions.insert(session), "closed once");
                }
                Effect::SendLink {
                    link,
                    message,
                    after,
                } => {
                    assert!(!self.closed_links.contains(&link), "closed: {message:?}");
                    self.ordered.push((link, message, after));
                }
                Effect::CloseLink { link } => {
                    assert!(self.closed_links.insert(link), "closed once");
                    self.beating.remove(&link);
                }
                Effect::Reply {
                    request,
                    reply,
                    after,
                } => {
                    assert!(self.replies.insert(request, (reply, after)).is_none());
                }
                Effect::SendWatch {
                    watch,
                    change,
                    asks_on,
                    after,
                } => {
                    self.asks_on += u32::from(asks_on);
                    assert!(!self.closed_watches.contains(&watch), "closed: {change:?}");
                    self.watched.push((watch, Ok(change), after));
                }
                Effect::CloseWatch {
                    watch,
                    problem,
                    after,
                } => {
                    assert!(self.closed_watches.insert(watch), "closed once");
                    self.watched.push((watch, Err(problem), after));
                }
                Effect::SetTimer { key, at } => {
                    self.timers.insert(key, at.mono_ns);
                }
                Effect::CancelTimer { key } => {
                    self.timers.remove(&key);
                }
                Effect::Record(fact) => self.facts.push(fact),
            }
        }
    }

    /// Lets time pass: timers fire when they are due, and agents that beat are heard just before silence is looked at.
    pub(super) fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some((key, at)) = self.timers.iter().min_by_key(|(_, at)| **at)
            && *at <= end.mono_ns
        {
            let (key, at) = (key.clone(), *at);
            self.timers.remove(&key);
            let wait = Duration::from_nanos(at.saturating_sub(self.now.mono_ns));
            self.now = self.now.after(wait);
            if key == TimerKey::Silence {
                for link in self.beating.clone() {
                    self.step(Event::LinkMessage {
                        link,
                        message: ToMaster::Heartbeat,
                    });
                }
            }
            self.step(Event::TimerFired(key));
        }
        self.now = end;
    }

    pub(super) fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    pub(super) fn pass_s(&mut self, seconds: u64) {
        self.pass(Duration::from_secs(seconds));
    }

    pub(super) fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Opens a link; the agent answers the welcome, and beats.
    pub(super) fn hello(&mut self, hello: Hello) -> LinkId {
        let link = self.hello_unanswered(hello);
        if !self.closed_links.contains(&link) {
            self.beating.insert(link);
            let message = ToMaster::Heartbeat;
            self.step(Event::LinkMessage { link, message });
        }
        link
    }

    /// Opens a link, over which nothing comes after the registration.
    pub(super) fn hello_unanswered(&mut self, hello: Hello) -> LinkId {
        let link = LinkId(self.fresh());
        self.step(Event::LinkOpened { link, hello });
        link
    }

    /// A new agent.
    pub(super) fn agent(&mut self, host: &str, resources: &str) -> LinkId {
        self.hello(Hello {
            agent: None,
            cluster: None,
            epoch: Epoch(0),
            description: describe(host, resources),
            tasks: Vec::new(),
            executors: Vec::new(),
            number: 0,
        })
    }

    /// An agent that comes back with these tasks.
    pub(super) fn returns(
        &mut self,
        agent: &AgentId,
        host: &str,
        resources: &str,
        tasks: Vec<AgentTask>,
    ) -> LinkId {
        self.hello(Hello {
            agent: Some(agent.clone()),
            cluster: Some(ClusterId::new("c").expect("an id")),
            epoch: Epoch(1),
            description: describe(host, resources),
            tasks,
            executors: Vec::new(),
            number: 0,
        })
    }

    pub(super) fn welcomed(&self, link: LinkId) -> AgentId {
        let welcome = self
            .ordered
            .iter()
            .find_map(|(to, message, _)| match message {
                ToAgent::Welcome { agent, .. } if *to == link => Some(agent.clone()),
                _ => None,
            });
        welcome.expect("welcome")
    }

    pub(super) fn refused(&self, link: LinkId) -> &Problem {
        let refused = self
            .ordered
            .iter()
            .find_map(|(to, message, _)| match message {
                ToAgent::Refused(problem) if *to == link => Some(problem),
                _ => None,
            });
        assert!(self.closed_links.contains(&link));
        refused.expect("refused")
    }

    pub(super) fn lose(&mut self, link: LinkId) {
        self.beating.remove(&link);
        self.step(Event::LinkClosed { link });
    }

    pub(super) fn subscribe_as(
        &mut self,
        name: &str,
        framework: Option<FrameworkId>,
        description: FrameworkDescription,
    ) -> SessionId {
        let session = SessionId(self.fresh());
        let request = self.fresh();
        let call = Call::Subscribe {
            framework,
            description,
            stand_by: false,
            resume: None,
            create: false,
        };
        let principal = principal(name);
        self.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
        session
    }

    /// A new framework.
    pub(super) fn framework(&mut self) -> SessionId {
        self.subscribe_as("p", None, describe_framework())
    }

    /// A framework that comes back.
    pub(super) fn resubscribe(&mut self, framework: &FrameworkId) -> SessionId {
        self.subscribe_as("p", Some(framework.clone()), describe_framework())
    }

    pub(super) fn subscribed(&self, session: SessionId) -> (FrameworkId, Generation) {
        let subscribed = self.told.iter().find_map(|(to, told, _)| match told {
            Told::Subscribed {
                framework,
                generation,
                ..
            } if *to == session => Some((framework.clone(), *generation)),
            _ => None,
        });
        subscribed.expect("subscribed")
    }

    pub(super) fn call(&mut self, session: SessionId, call: Call) -> Answer {
        let request = self.fresh();
        let principal = principal("p");
        self.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
        let answer = self.told.iter().find_map(|(_, told, _)| match told {
            Told::Answered {
                request: to,
                answer,
            } if *to == request => Some(answer.clone()),
            _ => None,
        });
        answer.expect("an answer")
    }

    /// Sets the demand when no allocation is coalesced, so that offers come in the same step.
    pub(super) fn demand(&mut self, session: SessionId, entries: Vec<DemandEntry>) {
        self.demand_in(session, "*", entries);
    }

    pub(super) fn demand_in(&mut self, session: SessionId, role: &str, entries: Vec<DemandEntry>) {
        self.pass_ms(20);
        let generation = Generation(self.fresh());
        let role = role.parse().expect("a role");
        let demand = Demand {
            role,
            generation,
            entries,
        };
        assert_eq!(self.call(session, Call::SetDemand(demand)), Answer::Done);
    }

    pub(super) fn accept(
        &mut self,
        session: SessionId,
        offers: &[&OfferId],
        launches: Vec<TaskSpec>,
    ) -> Result<Vec<LaunchResult>, Problem> {
        let operations = launches.into_iter().map(Operation::launch).collect();
        let results = self.operate(session, offers, operations)?;
        let launches = results.iter().flat_map(OperationResult::launches);
        Ok(launches.cloned().collect())
    }

    pub(super) fn operate(
        &mut self,
        session: SessionId,
        offers: &[&OfferId],
        operations: Vec<Operation>,
    ) -> Result<Vec<OperationResult>, Problem> {
        let offers = offers.iter().map(|id| (*id).clone()).collect();
        match self.call(session, Call::Accept { offers, operations }) {
            Answer::Accepted(results) => Ok(results),
            Answer::Refused(problem) => Err(problem),
            Answer::Done => panic!("an accept is answered by its operations"),
        }
    }

    /// Demands one task's resources and launches it in the offer that comes.
    pub(super) fn run(&mut self, session: SessionId, task: TaskSpec) -> Incarnation {
        self.drain(session);
        let mut entry = want("run", 1, "", 0);
        entry.shape = Shape::Of {
            resources: task.resources.clone(),
            counts: BTreeMap::new(),
        };
        self.demand(session, vec![entry]);
        self.pass_ms(20);
        let offers = self.offers(session);
        let offer = offers.first().expect("an offer");
        let results = self
            .accept(session, &[&offer.id], vec![task])
            .expect("launched");
        results[0].outcome.clone().expect("launched")
    }

    pub(super) fn acknowledge_all(&mut self, session: SessionId) {
        self.acknowledge(session, self.sequences[&session]);
    }

    pub(super) fn acknowledge(&mut self, session: SessionId, sequence: u64) {
        self.unanswered(session, Call::Acknowledge { sequence });
    }

    pub(super) fn acknowledge_one(&mut self, session: SessionId, sequence: u64) {
        self.unanswered(session, Call::AcknowledgeOne { sequence });
    }

    fn unanswered(&mut self, session: SessionId, call: Call) {
        let (principal, request) = (principal("p"), 0);
        self.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
    }

    /// The sequence of the last event that was sent to a session.
    pub(super) fn sequence(&self, session: SessionId) -> u64 {
        self.sequences[&session]
    }

    pub(super) fn drain(&mut self, session: SessionId) -> Vec<Told> {
        let (of, rest) = std::mem::take(&mut self.told)
            .into_iter()
            .partition(|(to, ..)| *to == session);
        self.told = rest;
        let of: Vec<(SessionId, Told, After)> = of;
        of.into_iter().map(|(_, told, _)| told).collect()
    }

    /// Offers sent since the last drain.
    pub(super) fn offers(&self, session: SessionId) -> Vec<Offer> {
        let told = self.told.iter().filter(|(to, ..)| *to == session);
        told.filter_map(|(_, told, _)| match told {
            Told::Offered(offers) => Some(offers.clone()),
            _ => None,
        })
        .flatten()
        .collect()
    }

    /// Offers taken back since the last drain.
    pub(super) fn rescinded(&self, session: SessionId) -> Vec<OfferId> {
        let told = self.told.iter().filter(|(to, ..)| *to == session);
        told.filter_map(|(_, told, _)| match told {
            Told::Rescinded(offers) => Some(offers.clone()),
            _ => None,
        })
        .flatten()
        .collect()
    }

    /// Statuses sent since the last drain: task, state, reason, number.
    pub(super) fn statuses(&self, session: SessionId) -> Vec<(String, TaskState, Reason, u64)> {
        let told = self.told.iter().filter(|(to, ..)| *to == session);
        told.filter_map(|(_, told, _)| match told {
            Told::Updated(of) => Some((of.task.to_string(), of.state, of.reason, of.number)),
            _ => None,
        })
        .collect()
    }

    pub(super) fn closed(&self, session: SessionId) -> Problem {
        assert!(self.closed_sessions.contains(&session), "closed");
        let mut told = self.told.iter().rev().filter(|(to, ..)| *to == session);
        match told.next() {
            Some((_, Told::Closed(problem), _)) => problem.clone(),
            other => panic!("the last event says why, not {other:?}"),
        }
    }

    /// What the row of an agent said last of what is held there.
    pub(super) fn used(&self, agent: &AgentId) -> Resources {
        let used = self.facts.iter().rev().find_map(|fact| match fact {
            Fact::Agent(row) if row.agent == *agent => Some(row.used.clone()),
            _ => None,
        });
        used.expect("a row")
    }

    /// Messages to an agent since the last time.
    pub(super) fn orders(&mut self, link: LinkId) -> Vec<ToAgent> {
        let (of, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.ordered)
            .into_iter()
            .partition(|(to, ..)| *to == link);
        self.ordered = rest;
        let is_beat = |message: &ToAgent| matches!(message, ToAgent::Heartbeat { .. });
        of.into_iter()
            .map(|(_, message, _)| message)
            .filter(|message| !is_beat(message))
            .collect()
    }

    /// The kills among the messages to an agent since the last time.
    pub(super) fn kills(&mut self, link: LinkId) -> Vec<(String, Reason)> {
        let orders = self.orders(link).into_iter();
        orders
            .filter_map(|order| match order {
                ToAgent::Kill { task, reason, .. } => Some((task.to_string(), reason)),
                _ => None,
            })
            .collect()
    }

    /// The acknowledgements among the messages to an agent since the last time.
    pub(super) fn acknowledged(&mut self, link: LinkId) -> Vec<(String, u64)> {
        let orders = self.orders(link).into_iter();
        orders
            .filter_map(|order| match order {
                ToAgent::Acknowledge { task, number, .. } => Some((task.to_string(), number)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn updates(&mut self, link: LinkId, framework: &FrameworkId, status: Status) {
        let latest = status.state;
        let message = ToMaster::Updated {
            framework: framework.clone(),
            status,
            latest,
        };
        self.step(Event::LinkMessage { link, message });
    }

    pub(super) fn state(
        &mut self,
        framework: &FrameworkId,
        generation: Generation,
        call: StateCall,
    ) -> Result<Reply, Problem> {
        let request = RequestId(self.fresh());
        let (principal, framework) = (principal("p"), framework.clone());
        self.step(Event::StateRequested {
            request,
            principal,
            framework,
            generation,
            call,
        });
        self.replies[&request].0.clone()
    }

    /// A call without a session.
    pub(super) fn unary(
        &mut self,
        framework: &FrameworkId,
        number: u64,
        call: Call,
    ) -> Result<Vec<Status>, Problem> {
        let request = RequestId(self.fresh());
        let (principal, framework) = (principal("p"), framework.clone());
        self.step(Event::FrameworkCalled {
            request,
            principal,
            framework,
            number,
            call,
        });
        match self.replies[&request].0.clone()? {
            Reply::Called(statuses) => Ok(statuses),
            other => panic!("{other:?}"),
        }
    }

    /// Makes the first call of a new session.
    pub(super) fn opens(&mut self, name: &str, call: Call) -> SessionId {
        let session = SessionId(self.fresh());
        let request = self.fresh();
        let principal = principal(name);
        self.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
        session
    }

    /// The answer to a call with this request id, and what else was told in the step.
    pub(super) fn numbered(&mut self, session: SessionId, request: u64, call: Call) -> Vec<Told> {
        self.drain(session);
        let principal = principal("p");
        self.step(Event::CallReceived {
            session,
            principal,
            request,
            call,
        });
        self.drain(session)
    }

    pub(super) fn operator(&mut self, call: OperatorCall) -> Result<(), Problem> {
        let request = RequestId(self.fresh());
        let principal = principal("p");
        self.step(Event::OperatorRequested {
            request,
            principal,
            call,
        });
        match self.replies[&request].0.clone()? {
            Reply::Done => Ok(()),
            other => panic!("{other:?}"),
        }
    }
}

/// What an agent says of a task.
pub(super) fn status(id: &str, incarnation: Incarnation, number: u64, state: TaskState) -> Status {
    Status {
        task: task_id(id),
        incarnation,
        agent: None,
        number,
        state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 0,
        data: Vec::new(),
    }
}

/// A task as an agent reports it, all its statuses acknowledged.
pub(super) fn reported(
    framework: &FrameworkId,
    spec: TaskSpec,
    incarnation: Incarnation,
    number: u64,
    state: TaskState,
) -> AgentTask {
    AgentTask {
        framework: framework.clone(),
        status: status(spec.id.as_str(), incarnation, number, state),
        spec,
        incarnation,
        acknowledged: number,
        payer: None,
        group: None,
    }
}
