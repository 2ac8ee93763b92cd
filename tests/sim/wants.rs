//! What the simulated frameworks want: a batch that grows, a service spread over agents, gangs that start together. And a
//! vandal, who calls whatever there is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proffer_model::demand::Key;
use proffer_model::session::Call;
use proffer_model::{
    AgentId, AtMost, Command, Demand, DemandEntry, DemandId, ExecutorApi, ExecutorId, ExecutorSpec,
    Generation, Incarnation, Offer, OfferId, Operation, RangeSet, ResourceName, Resources, Role,
    Shape, Status, TaskId, TaskSpec, TaskState,
};

use super::coverage::{Coverage, Seen};
use super::network::Parcel;
use super::process::Who;
use super::random::Random;
use super::world::{SECOND, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    Spread,
    Gang,
    /// Groups of tasks.
    Pod,
    /// Pairs of tasks in executors of its own, as groups or one by one.
    Crew,
    /// In several roles, now here and now gone.
    Tenant,
    Vandal,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Batch,
        Self::Spread,
        Self::Gang,
        Self::Pod,
        Self::Crew,
        Self::Tenant,
        Self::Vandal,
    ];

    /// Tasks that one fit of an offer is for.
    fn together(self) -> u64 {
        match self {
            Self::Pod => 3,
            Self::Crew => 2,
            Self::Batch | Self::Spread | Self::Gang | Self::Tenant | Self::Vandal => 1,
        }
    }
}

const GANG: u64 = 3;
const SPREAD: u64 = 3;
const GIVES_UP_AFTER: u64 = 60 * SECOND;

pub(super) struct Wants {
    kind: Kind,
    wanted: u64,
    done: u64,
    named: u64,
    /// Tasks that are not known to have ended.
    open: BTreeMap<TaskId, Known>,
    /// Tasks that were never started, to be launched again.
    again: BTreeSet<TaskId>,
    /// Executors that were told to end; a new one has another name.
    shutdowns: u64,
}

struct Known {
    state: TaskState,
    agent: Option<AgentId>,
    /// The term in which its launch was asked for.
    epoch: u64,
    /// What it runs in.
    executor: Option<ExecutorId>,
    /// Whether its agent has ever said something of it.
    is_launched: bool,
    /// When it was first said to be on an agent that is unreachable.
    unreachable_at: Option<u64>,
}

impl Known {
    fn is_on(&self, agents: &BTreeSet<AgentId>) -> bool {
        let agent = self.agent.as_ref();
        agent.is_some_and(|agent| agents.contains(agent))
    }
}

impl Wants {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            wanted: 0,
            done: 0,
            named: 0,
            open: BTreeMap::new(),
            again: BTreeSet::new(),
            shutdowns: 0,
        }
    }

    /// An executor that it knows.
    pub(super) fn executor(&self, random: &mut Random) -> Option<(AgentId, ExecutorId)> {
        let known = self.open.values().filter_map(|known| {
            let executor = known.executor.clone()?;
            Some((known.agent.clone()?, executor))
        });
        let known: Vec<(AgentId, ExecutorId)> = known.collect();
        known.get(random.index(known.len().max(1))).cloned()
    }

    /// What it has told to end is not launched in again.
    pub(super) fn on_shut_down(&mut self) {
        self.shutdowns += 1;
    }

    pub(super) fn has_executors(&self) -> bool {
        self.kind == Kind::Crew
    }

    pub(super) fn is_vandal(&self) -> bool {
        self.kind == Kind::Vandal
    }

    /// It acknowledges each status by itself.
    pub(super) fn keeps_one_by_one(&self) -> bool {
        matches!(self.kind, Kind::Spread | Kind::Pod)
    }

    /// It ends some of what runs when there is a new leader.
    pub(super) fn kills_early(&self) -> bool {
        self.kind == Kind::Spread
    }

    pub(super) fn kills_some(&self) -> bool {
        self.kind == Kind::Batch
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Batch => "batch",
            Kind::Spread => "spread",
            Kind::Gang => "gang",
            Kind::Pod => "pods",
            Kind::Crew => "crew",
            Kind::Tenant => "tenant",
            Kind::Vandal => "vandal",
        }
    }

    pub(super) fn is_tenant(&self) -> bool {
        self.kind == Kind::Tenant
    }

    pub(super) fn principal(&self) -> &'static str {
        self.name()
    }

    pub(super) fn role(&self) -> Role {
        let name = match self.kind {
            Kind::Batch => "batch/jobs",
            Kind::Spread => "web",
            Kind::Gang => "*",
            Kind::Pod => "pods",
            Kind::Crew => "crew",
            Kind::Tenant => "tenant",
            Kind::Vandal => "vandal",
        };
        Role::new(name).expect("a good name")
    }

    pub(super) fn describe(&self) -> String {
        let open = self.open.iter().take(8);
        let open: Vec<String> = open
            .map(|(task, known)| format!("{task} {}", known.state))
            .collect();
        format!(
            "{:?}: {} of {} done, {} open: {}; again: {:?}",
            self.kind,
            self.done,
            self.wanted,
            self.open.len(),
            open.join(", "),
            self.again
        )
    }

    pub(super) fn forget(&mut self) {
        self.open.clear();
        self.again.clear();
    }

    /// It is another one: nothing is wanted yet.
    pub(super) fn begin_anew(&mut self) {
        self.forget();
        self.wanted = self.done;
    }

    /// More is wanted as time goes, until it is over. Answers whether that has changed.
    pub(super) fn grow(&mut self, is_over: bool, random: &mut Random) -> bool {
        let before = self.wanted;
        match self.kind {
            Kind::Batch if !is_over && random.one_in(4) => self.wanted += 1,
            Kind::Pod if !is_over && self.missing() == 0 && random.one_in(10) => self.wanted += 3,
            Kind::Crew if !is_over && self.missing() == 0 && random.one_in(6) => self.wanted += 2,
            Kind::Tenant if !is_over && self.open.len() < 4 && random.one_in(3) => {
                self.wanted += 1;
            }
            Kind::Vandal if is_over => self.wanted = 0,
            Kind::Spread => self.wanted = if is_over { 0 } else { SPREAD },
            Kind::Gang
                if !is_over && self.missing() == 0 && self.open.is_empty() && random.one_in(10) =>
            {
                self.wanted += GANG;
            }
            _ => {}
        }
        self.wanted != before
    }

    pub(super) fn is_done(&self) -> bool {
        self.missing() == 0 && self.open.is_empty()
    }

    pub(super) fn missing(&self) -> u64 {
        let open = u64::try_from(self.open.len()).expect("small");
        match self.kind {
            Kind::Spread => self.wanted.saturating_sub(open),
            _ => self.wanted.saturating_sub(self.done + open),
        }
    }

    /// What is to be ended because it is over.
    pub(super) fn to_end(&self) -> Vec<TaskId> {
        match self.kind {
            Kind::Spread => self.open.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn running(&self) -> Vec<TaskId> {
        let running = self
            .open
            .iter()
            .filter(|(_, known)| known.state == TaskState::Running);
        running.map(|(task, _)| task.clone()).collect()
    }

    /// Tasks that are not known to have ended; of one agent, those that may be there.
    pub(super) fn open_on(&self, agent: Option<&AgentId>) -> Vec<TaskId> {
        let may_be = |known: &&Known| {
            agent.is_none() || known.agent.is_none() || known.agent.as_ref() == agent
        };
        let open = self.open.iter().filter(|(_, known)| may_be(known));
        open.map(|(task, _)| task.clone()).collect()
    }

    /// What is missing, as the whole demand.
    pub(super) fn demand(&self, generation: u64) -> Demand {
        self.demand_in(self.role(), self.missing(), Generation(generation))
    }

    /// So many tasks in a role, as the whole demand there.
    pub(super) fn demand_in(&self, role: Role, missing: u64, generation: Generation) -> Demand {
        let missing = missing.div_ceil(self.kind.together());
        let ports = ResourceName::new("ports").expect("a good name");
        let counts = [(ports, self.kind.together())].into();
        let resources = match self.kind {
            Kind::Pod => "cpus:3;mem:300",
            Kind::Crew => "cpus:2.1;mem:250",
            Kind::Batch | Kind::Spread | Kind::Gang | Kind::Tenant | Kind::Vandal => {
                "cpus:1;mem:100"
            }
        };
        let resources = resources.parse().expect("good resources");
        let count = u32::try_from(missing).expect("small");
        let mut entry = DemandEntry::new(
            DemandId::new("work").expect("a good name"),
            count,
            Resources::new(),
        );
        entry.shape = Shape::Of { resources, counts };
        match self.kind {
            Kind::Spread => {
                entry.at_most = vec![AtMost {
                    count: 1,
                    per: Key::Agent,
                }]
            }
            Kind::Gang => entry.gang = count,
            Kind::Batch | Kind::Pod | Kind::Crew | Kind::Tenant | Kind::Vandal => {}
        }
        Demand {
            role,
            generation,
            entries: if missing == 0 {
                Vec::new()
            } else {
                vec![entry]
            },
        }
    }

    /// Takes an offer for as many tasks as it fits.
    pub(super) fn take(
        &mut self,
        offer: &Offer,
        epoch: u64,
        seen: &mut Coverage,
    ) -> Vec<Operation> {
        let fits: u64 = offer.fits.iter().map(|fit| u64::from(fit.count)).sum();
        let together = self.kind.together();
        let count = fits.min(self.missing().div_ceil(together));
        let ports = offer.resources.range_set("ports");
        let mut ports = ports.numbers();
        let mut operations = Vec::new();
        for _ in 0..count {
            let numbers: Vec<u64> = (0..together).filter_map(|_| ports.next()).collect();
            let mut specs = Vec::new();
            for port in numbers {
                specs.push(self.make(offer, epoch, port, seen));
            }
            // A crew goes together or one by one.
            let is_group = match self.kind {
                Kind::Pod => true,
                Kind::Crew => self.named.is_multiple_of(4),
                Kind::Batch | Kind::Spread | Kind::Gang | Kind::Tenant | Kind::Vandal => false,
            };
            if is_group {
                seen.count(Seen::GroupLaunched);
                operations.push(Operation::LaunchGroup(specs));
            } else {
                operations.extend(specs.into_iter().map(Operation::launch));
            }
        }
        match self.kind {
            Kind::Gang if !operations.is_empty() => seen.count(Seen::GangLaunched),
            Kind::Spread if !operations.is_empty() => seen.count(Seen::SpreadLaunched),
            _ => {}
        }
        operations
    }

    /// A task for an offer, from now on not known to have ended.
    fn make(&mut self, offer: &Offer, epoch: u64, port: u64, seen: &mut Coverage) -> TaskSpec {
        let task = match self.again.pop_first() {
            Some(task) => {
                seen.count(Seen::TaskRelaunched);
                task
            }
            None => self.fresh_name(),
        };
        let executor = self.has_executors().then(|| executor(self.shutdowns));
        let known = Known {
            state: TaskState::Staging,
            agent: Some(offer.agent.clone()),
            epoch,
            executor: executor.as_ref().map(|spec| spec.id.clone()),
            is_launched: false,
            unreachable_at: None,
        };
        self.open.insert(task.clone(), known);
        TaskSpec {
            executor,
            ..spec(task, port)
        }
    }

    fn fresh_name(&mut self) -> TaskId {
        self.named += 1;
        let letter = self.name().get(..1).unwrap_or_default();
        TaskId::new(&format!("{letter}{:04}", self.named)).expect("a good name")
    }

    /// The launch was refused.
    pub(super) fn not_launched(&mut self, task: &TaskId) {
        self.open.remove(task);
        self.launch_again(task);
    }

    /// A group is another one when it is launched again.
    fn launch_again(&mut self, task: &TaskId) {
        if self.kind.together() == 1 {
            self.again.insert(task.clone());
        }
    }

    /// Whether a task is nowhere: its master, who knows all that it did in this term and all that settled agents run, knows
    /// nothing of it.
    pub(super) fn is_not_there(
        &self,
        status: &Status,
        epoch: u64,
        settled: &BTreeSet<AgentId>,
        gone: &BTreeSet<AgentId>,
    ) -> bool {
        let is_nowhere = |known: &Known| {
            // Nobody knows what runs where an operator has given an agent up.
            if known.is_on(gone) {
                return false;
            }
            let is_settled = known
                .agent
                .as_ref()
                .is_some_and(|agent| settled.contains(agent));
            is_settled || (!known.is_launched && known.epoch == epoch)
        };
        status.incarnation == Incarnation(0) && self.open.get(&status.task).is_some_and(is_nowhere)
    }

    /// Tasks of which nothing more may ever be heard, unreachable for long: others take their place. No agent has ever said
    /// something of them, or theirs is gone and a master that knows nothing of them waits for other agents.
    pub(super) fn give_up(&mut self, now: u64, gone: &BTreeSet<AgentId>) -> Vec<TaskId> {
        let is_late = |at: u64| at + GIVES_UP_AFTER < now;
        let is_late = |known: &Known| {
            let is_nowhere = !known.is_launched || known.is_on(gone);
            is_nowhere && known.unreachable_at.is_some_and(is_late)
        };
        let late = self.open.extract_if(.., |_, known| is_late(known));
        late.map(|(task, _)| task).collect()
    }

    pub(super) fn on_status(
        &mut self,
        status: &Status,
        may_find: bool,
        now: u64,
        gone: &BTreeSet<AgentId>,
    ) {
        if !status.state.is_terminal() {
            if may_find {
                self.open.entry(status.task.clone()).or_insert(Known {
                    state: status.state,
                    agent: status.agent.clone(),
                    epoch: 0,
                    executor: None,
                    is_launched: true,
                    unreachable_at: None,
                });
            }
            if let Some(known) = self.open.get_mut(&status.task) {
                known.state = status.state;
                known.unreachable_at = match status.state {
                    TaskState::Unreachable => known.unreachable_at.or(Some(now)),
                    _ => None,
                };
                known.is_launched |= status.number > 0;
            }
            return;
        }
        let Some(known) = self.open.remove(&status.task) else {
            return;
        };
        let was_never_there = !known.is_launched
            && status.state == TaskState::Lost
            && status.incarnation == Incarnation(0);
        // What ran where an operator has given an agent up may run there still: another takes its place.
        if (status.state == TaskState::Dropped || was_never_there) && !known.is_on(gone) {
            self.launch_again(&status.task);
        }
        if status.state == TaskState::Finished {
            self.done += 1;
        }
    }
}

fn spec(id: TaskId, port: u64) -> TaskSpec {
    let mut resources: Resources = "cpus:1;mem:100".parse().expect("good resources");
    let ports = ResourceName::new("ports").expect("a good name");
    resources
        .insert_ranges(ports, RangeSet::from_numbers([port]))
        .expect("new");
    TaskSpec {
        kill_grace: Duration::from_secs(3),
        ..TaskSpec::new(id, Command::Shell("work".into()), resources)
    }
}

fn executor(shutdowns: u64) -> Arc<ExecutorSpec> {
    Arc::new(ExecutorSpec {
        id: ExecutorId::new(&format!("e{shutdowns}")).expect("a good name"),
        resources: "cpus:0.1;mem:50".parse().expect("good resources"),
        command: Command::Shell("serve".into()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: ExecutorApi::default(),
        info: Default::default(),
        info_compared: None,
        fetch: Vec::new(),
    })
}

impl World {
    /// Calls that make no sense, of somebody who is who they say.
    pub(super) fn vandalize(&mut self, n: usize, connection: u64) {
        self.seen.count(Seen::VandalCall);
        let task = TaskId::new("b0001").expect("a good name");
        let offer = OfferId::new("nothing").expect("a good name");
        let call = match self.random.below(8) {
            0 => Call::Acknowledge { sequence: u64::MAX },
            1 => Call::Kill {
                task,
                grace: Some(Duration::MAX),
            },
            2 => Call::Accept {
                offers: vec![offer.clone(), offer],
                operations: Vec::new(),
            },
            3 => Call::Accept {
                offers: Vec::new(),
                operations: vec![Operation::launch(spec(task, 1))],
            },
            4 => Call::Decline {
                offers: vec![offer],
                exclude_for: Duration::MAX,
            },
            5 => Call::Reconcile {
                tasks: vec![task.clone(), task],
            },
            6 => {
                let mut demand = self.frameworks[n].wants.demand(u64::MAX);
                demand.role = Role::new("batch/jobs").expect("a good name");
                Call::SetDemand(demand)
            }
            _ => {
                self.frameworks[n].wants.wanted = self.random.below(100);
                self.call_demand(n);
                return;
            }
        };
        self.requests += 1;
        let parcel = Parcel::Call {
            request: self.requests,
            call,
        };
        self.send(Who::Framework(n), connection, parcel);
    }
}
