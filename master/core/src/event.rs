//! All that can happen to a master, in the past tense: decoded, authenticated and validated before it gets here.
//! Start reading the core here, then `effect.rs`, then `core.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proffer_model::link::{Hello, ToMaster};
use proffer_model::operation::Operation;
use proffer_model::session::Call;
use proffer_model::{
    AgentId, DemandId, FrameworkId, Generation, Principal, Problem, Quota, Role, StateKey, TaskId,
    VolumeId, Weight,
};

/// One connection of an agent; numbered by the shell, never used again within a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// One connection of a framework; numbered by the shell, never used again within a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// A unary call that waits for its [`crate::effect::Effect::Reply`]; numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// One watch of a framework's state; numbered by the shell, never used again within a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WatchId(pub u64);

/// The number of a commit batch; grows by one from 1 within a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// What a timer is for. Setting a timer that is set moves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// Looks at every agent's silence, once a heartbeat interval.
    Silence,
    /// Looks at offers that have expired.
    OfferExpiry,
    /// Allocates: coalesces triggers, and sweeps now and then.
    Allocate,
    /// A framework without a session has waited its failover timeout.
    Failover(FrameworkId),
    /// Says to every session and link that the master is there.
    Heartbeat,
    /// Freed ports have rested.
    PortRest,
    /// Writes down what is left of the deadlines of drains.
    Drain,
    /// The time of tasks that are wanted back is over.
    Reclaim,
    /// Tells on in the snapshots, tails and answers to Reconcile, and goes on with the acknowledgements and with frameworks that are
    /// over.
    Telling,
    /// Goes on with demands that name much.
    Demands,
    /// Tells on to the watches of state that are not up to date.
    Watches,
    /// Goes on with the questions of operators.
    Questions,
    /// Forgets agents that are gone or unreachable for long.
    Forget,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An agent connected and said who it is.
    LinkOpened {
        /// The connection.
        link: LinkId,
        /// Its registration.
        hello: Hello,
    },
    /// An agent said something more. A second Hello closes the link.
    LinkMessage {
        /// The connection.
        link: LinkId,
        /// What it said.
        message: ToMaster,
    },
    /// An agent's connection ended.
    LinkClosed {
        /// The connection.
        link: LinkId,
    },
    /// A framework called. The first call of a session must be Subscribe: it is told `Subscribed`, then `Answered` with
    /// Done; one that stands by is told so first. A first call that is refused is `Answered` so, then the session is `Closed` with the same problem.
    CallReceived {
        /// The connection.
        session: SessionId,
        /// Who calls, as authentication found it.
        principal: Principal,
        /// The call's request id.
        request: u64,
        /// The call.
        call: Call,
    },
    /// A framework called, but the call cannot be read. It is answered `Refused` with this problem in its turn, as every
    /// call is, and counted; of a session that is not subscribed too, which is then closed.
    CallMalformed {
        /// The connection.
        session: SessionId,
        /// The call's request id.
        request: u64,
        /// What is wrong with it.
        problem: Problem,
    },
    /// A framework's connection ended.
    SessionClosed {
        /// The connection.
        session: SessionId,
    },
    /// A framework asked for or changed its durable state.
    StateRequested {
        /// Where the reply goes.
        request: RequestId,
        /// Who calls.
        principal: Principal,
        /// Whose state.
        framework: FrameworkId,
        /// The generation of the session that the caller holds.
        generation: Generation,
        /// What is asked.
        call: StateCall,
    },
    /// A framework called without a session: Kill, Reconcile, Teardown, UpdateTask, SendMessage or ShutdownExecutor; others are
    /// refused.
    FrameworkCalled {
        /// Where the reply goes.
        request: RequestId,
        /// Who calls.
        principal: Principal,
        /// For which framework.
        framework: FrameworkId,
        /// The call's request id; 0: it is not to be remembered.
        number: u64,
        /// What.
        call: Call,
    },
    /// A framework wants to see its state as it changes: told, or closed with the reason.
    WatchOpened {
        /// The connection.
        watch: WatchId,
        /// Who watches.
        principal: Principal,
        /// Whose state.
        framework: FrameworkId,
        /// The generation of the session that the caller holds.
        generation: Generation,
        /// Keys that begin with this.
        prefix: String,
    },
    /// The connection of a watch has taken what was to be said of ([`crate::effect::Effect::SendWatch`]).
    WatchTaken {
        /// The connection.
        watch: WatchId,
    },
    /// The connection of a watch has ended.
    WatchClosed {
        /// The connection.
        watch: WatchId,
    },
    /// An operator asked why a framework's demand is not met. The reply comes in a later step.
    ExplainRequested {
        /// Where the reply goes.
        request: RequestId,
        /// Whose demand.
        framework: FrameworkId,
        /// What of it.
        part: DemandPart,
    },
    /// An operator asked for a change of the cluster.
    OperatorRequested {
        /// Where the reply goes.
        request: RequestId,
        /// Who asks.
        principal: Principal,
        /// What is asked.
        call: OperatorCall,
    },
    /// An operator asked how the roles stand. The reply comes in a later step.
    RolesRequested {
        /// Where the reply goes.
        request: RequestId,
        /// Those after this one by path; none: from the first.
        after: Option<Role>,
        /// So many at most; the reply may hold fewer, and says where to go on.
        len: usize,
    },
    /// Every batch up to this one is durable.
    Persisted(Seq),
    /// A timer that was set has come.
    TimerFired(TimerKey),
}

/// What of a framework's demand is asked about: entries that are wanted and not on offer, by role and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemandPart {
    /// In this role alone.
    pub role: Option<Role>,
    /// These alone; none: all.
    pub demands: BTreeSet<DemandId>,
    /// Those after this one.
    pub after: Option<(Role, DemandId)>,
    /// So many at most; the reply may hold fewer, and says where to go on.
    pub len: usize,
}

/// A call about a framework's durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateCall {
    /// Reads one key.
    Get {
        /// The key.
        key: StateKey,
    },
    /// Writes one key, if its version is the one expected.
    Put {
        /// The key.
        key: StateKey,
        /// The value.
        value: Vec<u8>,
        /// Absent: whatever is there. 0: only if there is nothing.
        expected: Option<u64>,
    },
    /// Deletes one key, if its version is the one expected.
    Delete {
        /// The key.
        key: StateKey,
        /// Absent: whatever is there.
        expected: Option<u64>,
    },
    /// Reads all keys that begin with this.
    List {
        /// The prefix, may be empty.
        prefix: String,
    },
    /// Reads as many of the keys that begin with this as one answer holds.
    ListPage {
        /// The prefix, may be empty.
        prefix: String,
        /// Those after this key alone.
        after: Option<StateKey>,
    },
}

/// What an operator may ask to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorCall {
    /// Guarantees and limits what a role may hold with all beneath it.
    SetQuota {
        /// Which.
        role: Role,
        /// What.
        quota: Quota,
        /// More than the cluster has, or less than the role holds.
        is_forced: bool,
    },
    /// Several at once, judged as they will stand together: all or none. One of nothing is removed.
    SetQuotas {
        /// Which.
        quotas: BTreeMap<Role, Quota>,
        /// As above.
        is_forced: bool,
    },
    /// No guarantee and no limit any more.
    RemoveQuota {
        /// Which.
        role: Role,
    },
    /// The weight of a role's share.
    SetWeight {
        /// Which.
        role: Role,
        /// How much.
        weight: Weight,
    },
    /// The common weight again.
    RemoveWeight {
        /// Which.
        role: Role,
    },
    /// Reserves, unreserves, creates or destroys what is free on an agent.
    Operate {
        /// Where.
        agent: AgentId,
        /// What.
        operation: Operation,
    },
    /// Makes a volume larger or smaller that no task uses.
    ResizeVolume {
        /// Where.
        agent: AgentId,
        /// Whose: of a role each volume of an agent has an id of its own.
        role: Role,
        /// Which.
        volume: VolumeId,
        /// How.
        resize: Resize,
    },
    /// Nothing is offered of an agent any more.
    DeactivateAgent {
        /// Which.
        agent: AgentId,
    },
    /// An agent is to be empty.
    DrainAgent {
        /// Which.
        agent: AgentId,
        /// From now.
        deadline: Option<Duration>,
        /// It is gone for good when it is empty.
        marks_gone: bool,
    },
    /// An agent will not come back.
    MarkAgentGone {
        /// Which.
        agent: AgentId,
    },
    /// An agent is neither deactivated nor drained any more.
    ReactivateAgent {
        /// Which.
        agent: AgentId,
    },
    /// A task is to end.
    KillTask {
        /// Whose.
        framework: FrameworkId,
        /// Which.
        task: TaskId,
        /// SIGTERM to SIGKILL; absent: the task's own.
        grace: Option<Duration>,
    },
    /// A framework is over.
    TeardownFramework {
        /// Which.
        framework: FrameworkId,
    },
}

/// How the size of a volume is to change, in thousandths of MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// By so much, of free disk of the same reservation.
    Grow(u64),
    /// By so much.
    Shrink(u64),
}
