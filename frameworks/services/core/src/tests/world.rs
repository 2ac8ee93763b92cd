//! A cluster in memory: one master that does what it is asked, two agents that can be cut off, time that is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proffer_model::session::{Answer, Call, LaunchResult, Operation, OperationResult};
use proffer_model::{
    AgentId, Attributes, Command, DemandEntry, Exit, Fit, FrameworkId, Incarnation, Offer, OfferId,
    Reason, Role, Status, TaskId, TaskSpec, TaskState, Time,
};

use crate::app::{App, AppPatch};
use crate::core::{Core, Settings};
use crate::effect::{ApiAnswer, Effect, Notice, Refusal, Write};
use crate::event::{ApiCall, ChangeMode, Event, Origin, Record, RequestId, TimerKey};
use crate::id::{AppId, InstanceId};
use crate::instance::Instance;
use crate::port::ServicePortRange;

/// A task of the cluster.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) spec: TaskSpec,
    pub(super) agent: AgentId,
    pub(super) state: TaskState,
    pub(super) number: u64,
    pub(super) incarnation: u64,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Time,
    pub(super) tasks: BTreeMap<TaskId, Live>,
    pub(super) cut: BTreeSet<AgentId>,
    /// Nothing is offered of these.
    pub(super) drained: BTreeSet<AgentId>,
    pub(super) demand: Vec<DemandEntry>,
    pub(super) notices: Vec<Notice>,
    pub(super) acknowledged: u64,
    /// Launches that the master refuses from now on.
    pub(super) refuses: Option<proffer_model::Problem>,
    /// What each offer holds.
    pub(super) offered: &'static str,
    /// Running tasks that were told to end.
    pub(super) kills: usize,
    /// How many things the program still does before it dies, once.
    pub(super) dies_after: Option<usize>,
    is_dead: bool,
    apps: BTreeMap<AppId, Record>,
    instances: BTreeMap<InstanceId, Record>,
    timers: BTreeMap<TimerKey, Time>,
    replies: Vec<Result<ApiAnswer, Refusal>>,
    inbox: VecDeque<Event>,
    count: u64,
    seed: u128,
}

pub(super) fn app(id: &str) -> AppId {
    AppId::new(id).expect(id)
}

pub(super) fn agent(name: &str) -> AgentId {
    AgentId::new(name).expect(name)
}

/// A small app.
pub(super) fn patch(id: &str, instances: u32) -> AppPatch {
    AppPatch {
        id: Some(app(id)),
        command: Some(Command::Shell("run".into())),
        instances: Some(instances),
        cpus_milli: Some(100),
        ..AppPatch::default()
    }
}

impl World {
    /// A cluster without apps, and a session.
    pub(super) fn new() -> Self {
        let mut world = Self {
            core: core(1),
            now: Time {
                mono_ns: 1_000_000_000_000,
                wall_ms: 1_700_000_000_000,
            },
            tasks: BTreeMap::new(),
            cut: BTreeSet::new(),
            drained: BTreeSet::new(),
            demand: Vec::new(),
            notices: Vec::new(),
            acknowledged: 0,
            refuses: None,
            offered: "cpus:100;mem:100000;disk:1000;ports:[80-81,31000-31999]",
            kills: 0,
            dies_after: None,
            is_dead: false,
            apps: BTreeMap::new(),
            instances: BTreeMap::new(),
            timers: BTreeMap::new(),
            replies: Vec::new(),
            inbox: VecDeque::new(),
            count: 0,
            seed: 1,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let kept = self
            .apps
            .values()
            .chain(self.instances.values())
            .cloned()
            .collect();
        self.step(Event::Loaded(kept));
        self.step(Event::SessionOpened {
            framework: FrameworkId::new("f").expect("good"),
        });
        self.run_inbox();
    }

    /// The program ends and starts again: only what was kept is left, and the cluster.
    pub(super) fn restart(&mut self) {
        self.seed += 1;
        self.core = core(self.seed);
        self.timers.clear();
        self.inbox.clear();
        self.demand.clear();
        self.open();
    }

    /// The session breaks and comes back.
    pub(super) fn reconnect(&mut self) {
        self.inbox.clear();
        self.step(Event::SessionLost);
        self.step(Event::SessionOpened {
            framework: FrameworkId::new("f").expect("good"),
        });
        self.run_inbox();
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.core.step(self.now, event, &mut effects);
        self.core.check_invariants().expect("the invariants hold");
        for effect in effects {
            self.carry_out(effect);
        }
        if std::mem::take(&mut self.is_dead) {
            self.restart();
        }
    }

    /// Whether the program lives to do one thing more.
    fn lives(&mut self) -> bool {
        match self.dies_after {
            Some(0) => {
                self.dies_after = None;
                self.is_dead = true;
            }
            Some(left) => self.dies_after = Some(left - 1),
            None => {}
        }
        !self.is_dead
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(writes) => {
                for write in writes {
                    if self.lives() {
                        self.keep(write);
                    }
                }
            }
            _ if !self.lives() => {}
            Effect::Call { id, call } => {
                if let (Some(id), answer) = (id, self.call(call)) {
                    self.inbox.push_back(Event::Answered { call: id, answer });
                }
            }
            Effect::Reply { reply, .. } => self.replies.push(reply),
            Effect::SetTimer { key, at } => {
                self.timers.insert(key, at);
            }
            Effect::Publish(notice) => self.notices.push(notice),
            Effect::Record(_) => {}
        }
    }

    fn keep(&mut self, write: Write) {
        match write {
            Write::Put(Record::App(app)) => {
                self.apps.insert(app.spec.id.clone(), Record::App(app));
            }
            Write::Put(Record::Instance(instance)) => {
                self.instances
                    .insert(instance.id, Record::Instance(instance));
            }
            Write::DeleteApp(id) => {
                self.apps.remove(&id);
            }
            Write::DeleteInstance(id) => {
                self.instances.remove(&id);
            }
        }
    }

    fn call(&mut self, call: Call) -> Answer {
        match call {
            Call::Accept { operations, offers } => return self.accept(&offers, &operations),
            Call::SetDemand(demand) => self.demand = demand.entries,
            Call::Kill { task, .. } => self.kill(&task),
            Call::Acknowledge { sequence } => self.acknowledged = sequence,
            Call::Reconcile { tasks } => self.reconcile(tasks),
            Call::Decline { .. }
            | Call::Subscribe { .. }
            | Call::Teardown
            | Call::UpdateTask { .. }
            | Call::SendMessage { .. }
            | Call::AcknowledgeOne { .. }
            | Call::ShutdownExecutor { .. } => {}
        }
        Answer::Done
    }

    fn accept(&mut self, offers: &[OfferId], operations: &[Operation]) -> Answer {
        let name = offers
            .first()
            .expect("an offer")
            .as_str()
            .split('-')
            .next()
            .expect("a name")
            .to_owned();
        if let Some(problem) = &self.refuses {
            return Answer::Refused(problem.clone());
        }
        let mut results = Vec::new();
        for spec in operations.iter().flat_map(Operation::tasks).cloned() {
            let kept = InstanceId::of_name(spec.id.as_str())
                .is_some_and(|id| self.instances.contains_key(&id));
            assert!(kept, "{} is kept before it is launched", spec.id);
            self.count += 1;
            let incarnation = self.count;
            let task = spec.id.clone();
            results.push(OperationResult::Launched(LaunchResult {
                task: task.clone(),
                outcome: Ok(Incarnation(incarnation)),
            }));
            let live = Live {
                spec,
                agent: agent(&name),
                state: TaskState::Staging,
                number: 0,
                incarnation,
            };
            assert!(
                self.tasks.insert(task, live).is_none(),
                "no task is launched twice"
            );
        }
        Answer::Accepted(results)
    }

    fn kill(&mut self, task: &TaskId) {
        let is_reachable = self
            .tasks
            .get(task)
            .is_some_and(|live| !self.cut.contains(&live.agent));
        if is_reachable {
            self.kills += 1;
            self.end_with(&task.clone(), TaskState::Killed, Reason::KillRequested);
        }
    }

    fn reconcile(&mut self, tasks: Vec<TaskId>) {
        let named = if tasks.is_empty() {
            self.tasks.keys().cloned().collect()
        } else {
            tasks
        };
        for task in named {
            let status = match self.tasks.get(&task) {
                Some(live) if self.cut.contains(&live.agent) => {
                    let mut status = status_of(&task, live);
                    status.state = TaskState::Unreachable;
                    status
                }
                Some(live) => status_of(&task, live),
                None => unknown(&task),
            };
            self.told(status);
        }
    }

    pub(super) fn told(&mut self, status: Status) {
        self.count += 1;
        self.inbox.push_back(Event::Updated {
            sequence: self.count,
            status,
        });
    }

    pub(super) fn run_inbox(&mut self) {
        loop {
            if let Some(event) = self.inbox.pop_front() {
                self.step(event);
            } else if self.timers.remove(&TimerKey::Demand).is_some() {
                self.step(Event::TimerFired(TimerKey::Demand));
            } else {
                return;
            }
        }
    }

    /// Moves a task on.
    pub(super) fn set(&mut self, task: &TaskId, state: TaskState, healthy: Option<bool>) {
        let Some(live) = self.tasks.get_mut(task) else {
            return;
        };
        live.state = state;
        live.number += 1;
        let mut status = status_of(task, live);
        status.healthy = healthy;
        self.told(status);
    }

    /// Ends a task.
    pub(super) fn end_with(&mut self, task: &TaskId, state: TaskState, reason: Reason) {
        let Some(mut live) = self.tasks.remove(task) else {
            return;
        };
        live.state = state;
        live.number += 1;
        let mut status = status_of(task, &live);
        status.reason = reason;
        status.exit = (reason == Reason::Exited).then_some(Exit::Code(1));
        self.told(status);
    }

    /// A task dies by itself.
    pub(super) fn crash(&mut self, task: &TaskId) {
        self.end_with(task, TaskState::Failed, Reason::Exited);
        self.run_inbox();
    }

    /// Offers what is wanted from an agent that is there.
    pub(super) fn offer(&mut self) {
        self.run_inbox();
        let names = ["a", "b"];
        let Some(name) = names.into_iter().find(|name| {
            [&self.cut, &self.drained]
                .iter()
                .all(|out| !out.contains(&agent(name)))
        }) else {
            return;
        };
        self.count += 1;
        let offer = Offer {
            id: OfferId::new(&format!("{name}-{}", self.count)).expect("good"),
            role: Role::new("*").expect("good"),
            agent: agent(name),
            host: format!("host-{name}"),
            address: "127.0.0.1:5051".into(),
            attributes: Attributes::default(),
            domain: None,
            resources: self.offered.parse().expect("good"),
            fits: self
                .demand
                .iter()
                .map(|entry| Fit {
                    demand: entry.id.clone(),
                    count: entry.count,
                })
                .collect(),
            expires_after: Duration::from_secs(5),
        };
        self.step(Event::Offered(vec![offer]));
        self.run_inbox();
    }

    /// Lets everything happen that happens by itself, without time passing.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000 {
            self.run_inbox();
            let waiting: Vec<TaskId> = self
                .tasks
                .iter()
                .filter(|(_, live)| {
                    live.state < TaskState::Running && !self.cut.contains(&live.agent)
                })
                .map(|(task, _)| task.clone())
                .collect();
            if let Some(task) = waiting.first() {
                let has_checks = self
                    .tasks
                    .get(task)
                    .is_some_and(|live| !live.spec.checks.is_empty());
                self.set(task, TaskState::Running, has_checks.then_some(true));
            } else if !self.demand.is_empty() && self.cut.len() + self.drained.len() < 2 {
                self.offer();
            } else {
                return;
            }
        }
        panic!("it never settles");
    }

    /// Lets time pass, with its timers.
    pub(super) fn wait(&mut self, wait: Duration) {
        self.now = self.now.after(wait);
        let now = self.now;
        let due: Vec<TimerKey> = self
            .timers
            .iter()
            .filter(|(_, at)| at.mono_ns <= now.mono_ns)
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.timers.remove(&key);
            self.step(Event::TimerFired(key));
        }
        self.run_inbox();
    }

    /// An agent becomes unreachable.
    pub(super) fn cut_off(&mut self, name: &str) {
        self.cut.insert(agent(name));
        self.tell_all_of(name, Some(TaskState::Unreachable));
    }

    /// And comes back, with what it ran.
    pub(super) fn reattach(&mut self, name: &str) {
        self.cut.remove(&agent(name));
        self.tell_all_of(name, None);
    }

    fn tell_all_of(&mut self, name: &str, state: Option<TaskState>) {
        let there: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, live)| live.agent == agent(name))
            .map(|(task, _)| task.clone())
            .collect();
        for task in there {
            let Some(live) = self.tasks.get(&task) else {
                continue;
            };
            let mut status = status_of(&task, live);
            status.number = 0;
            status.state = state.unwrap_or(status.state);
            self.told(status);
        }
        self.run_inbox();
    }

    /// Calls the API and lets nothing else happen.
    pub(super) fn api(&mut self, call: ApiCall) -> Result<ApiAnswer, Refusal> {
        self.ask(call).expect("every request is answered at once")
    }

    /// Calls the API; no answer comes when the program dies before it.
    pub(super) fn ask(&mut self, call: ApiCall) -> Option<Result<ApiAnswer, Refusal>> {
        self.step(Event::ApiCalled {
            request: RequestId(0),
            origin: Origin::default(),
            call,
        });
        self.replies.pop()
    }

    pub(super) fn create(&mut self, patch: AppPatch) -> Result<ApiAnswer, Refusal> {
        self.api(ApiCall::CreateApp {
            patch: Box::new(patch),
        })
    }

    pub(super) fn change(
        &mut self,
        id: &str,
        patch: AppPatch,
        force: bool,
    ) -> Result<ApiAnswer, Refusal> {
        self.api(ApiCall::ChangeApp {
            app: app(id),
            patch: Box::new(patch),
            mode: ChangeMode::Merge,
            force,
        })
    }

    pub(super) fn app(&self, id: &str) -> Option<App> {
        self.core
            .apps
            .get(&app(id))
            .map(|entry| (*entry.app).clone())
    }

    /// The tasks that run, by id.
    pub(super) fn running(&self) -> Vec<TaskId> {
        self.tasks
            .iter()
            .filter(|(_, live)| live.state == TaskState::Running)
            .map(|(task, _)| task.clone())
            .collect()
    }

    pub(super) fn instances(&self) -> Vec<Instance> {
        self.core
            .instances
            .values()
            .map(|instance| (**instance).clone())
            .collect()
    }
}

fn core(seed: u128) -> Core {
    Core::new(Settings {
        role: Role::new("*").expect("good"),
        service_ports: ServicePortRange {
            begin: 10000,
            end: 10099,
        },
        seed: seed << 64,
    })
}

fn status_of(task: &TaskId, live: &Live) -> Status {
    Status {
        task: task.clone(),
        incarnation: Incarnation(live.incarnation),
        agent: Some(live.agent.clone()),
        number: live.number,
        state: live.state,
        reason: Reason::None,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 1_700_000_000_000,
        data: Vec::new(),
    }
}

pub(super) fn unknown(task: &TaskId) -> Status {
    Status {
        task: task.clone(),
        incarnation: Incarnation(0),
        agent: None,
        number: 0,
        state: TaskState::Lost,
        reason: Reason::Reconciled,
        message: String::new(),
        exit: None,
        healthy: None,
        checks: Vec::new(),
        wall_ms: 1_700_000_000_000,
        data: Vec::new(),
    }
}
