//! All that a master can do, in the imperative. An effect that promises something says what must be durable before it
//! leaves: durable before visible (the lesson of raft's `Ready`).

use std::collections::BTreeMap;
use std::sync::Arc;

use proffer_model::link::ToAgent;
use proffer_model::registry::Operation;
use proffer_model::session;
use proffer_model::{
    AgentDescription, AgentId, AgentState, CheckResult, DemandId, Discovery, Drain, ExecutorId,
    Exit, Fit, FrameworkDescription, FrameworkId, Incarnation, Limits, OfferId, Port, Principal,
    Problem, Reason, Resources, Role, StateKey, Status, TaskId, TaskState, Time,
};

use crate::allocation::RoleRow;
use crate::event::{LinkId, RequestId, Seq, SessionId, TimerKey, WatchId};

/// What must be durable before an effect may leave. The shell keeps one first-in-first-out queue per peer: what waits
/// holds back what comes after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum After {
    /// It may leave at once.
    Nothing,
    /// It may leave when this batch is durable.
    Seq(Seq),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write this batch to the log; `Persisted` follows. Batches are in order and may be written together.
    Persist {
        /// The batch's number.
        seq: Seq,
        /// What it changes.
        operations: Vec<Operation>,
    },
    /// Send to a framework.
    SendSession {
        /// To which.
        session: SessionId,
        /// The event's sequence in the session.
        sequence: u64,
        /// What.
        event: session::Event,
        /// When it may leave.
        after: After,
    },
    /// End a framework's connection after all that was sent to it.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// Send to an agent.
    SendLink {
        /// To which.
        link: LinkId,
        /// What.
        message: ToAgent,
        /// When it may leave.
        after: After,
    },
    /// End an agent's connection after all that was sent to it.
    CloseLink {
        /// Which.
        link: LinkId,
    },
    /// Answer a unary call.
    Reply {
        /// Which.
        request: RequestId,
        /// The answer.
        reply: Result<Reply, Problem>,
        /// When it may leave.
        after: After,
    },
    /// Tell a watch of a framework's state.
    SendWatch {
        /// Which.
        watch: WatchId,
        /// What.
        change: StateChange,
        /// Whether it is to be said when the connection takes it ([`crate::event::Event::WatchTaken`]).
        asks_on: bool,
        /// When it may leave.
        after: After,
    },
    /// End a watch after all that was sent to it, with this problem.
    CloseWatch {
        /// Which.
        watch: WatchId,
        /// Why.
        problem: Problem,
        /// When it may leave.
        after: After,
    },
    /// Set or move a timer.
    SetTimer {
        /// Which.
        key: TimerKey,
        /// To when, by the monotonic clock.
        at: Time,
    },
    /// Forget a timer; it may still fire, and then does no harm.
    CancelTimer {
        /// Which.
        key: TimerKey,
    },
    /// Make a fact known: to the view, the log, the metrics.
    Record(Fact),
}

/// What a watch of a framework's state is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// A key has this value.
    Put {
        /// The key.
        key: StateKey,
        /// Its value, shared with what is kept.
        value: Arc<[u8]>,
        /// Its version.
        version: u64,
    },
    /// A key is gone.
    Deleted {
        /// The key.
        key: StateKey,
    },
    /// All that was there at first has been told.
    UpToDate,
}

/// The answer to a unary call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A value and its version.
    State {
        /// The value, shared with what is kept.
        value: Arc<[u8]>,
        /// Its version.
        version: u64,
    },
    /// The version that was written.
    Written {
        /// The version.
        version: u64,
    },
    /// Deleted.
    Deleted,
    /// Keys with their values, shared with what is kept, and versions, by key.
    States(Vec<(StateKey, Arc<[u8]>, u64)>),
    /// A page of them.
    StatePage {
        /// Keys with their values, and versions, by key.
        states: Vec<(StateKey, Arc<[u8]>, u64)>,
        /// Whether there are keys after the last of these.
        has_more: bool,
    },
    /// A framework's call is done, with what is known of tasks: of Reconcile, and of Kill of one that is not live.
    Called(Vec<Status>),
    /// Why demand is not met.
    Explained {
        /// By role and id.
        entries: Vec<Explanation>,
        /// The last one, when there are more.
        next: Option<(Role, DemandId)>,
    },
    /// What an operator asked for is done.
    Done,
    /// How the roles stand.
    Roles {
        /// By path.
        rows: Vec<RoleRow>,
        /// The last one, when there are more.
        next: Option<Role>,
    },
}

/// Why one demand entry is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The role.
    pub role: Role,
    /// The entry.
    pub demand: DemandId,
    /// How many are wanted and not offered.
    pub wanted: u32,
    /// In offers that stand.
    pub offered: u32,
    /// The framework's dominant share in the role, in billionths.
    pub share_billionths: u64,
    /// How many others with demand come before it: of an entry that needs something of what its role lacks of its guarantee,
    /// those with such demand whose share is smaller; of any other, all with such demand, and those whose share is smaller.
    pub claims_before: u32,
    /// What the quotas above it leave of what they bound.
    pub headroom: Limits,
    /// How many agents fail, by the first thing that each fails; most first.
    pub obstacles: Vec<Obstacle>,
}

/// A reason that some agents fail by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Stable: `agent_state`, `predicate`, `too_small_<resource>`, `excluded`, `at_most`, `insufficient_<resource>`, `offered`,
    /// `below_least`, `reserved`, `not_taken`, `earmarked`, `held_back_<resource>`, `limit_<resource>`, `limit_waits`, `window`, `gang`;
    /// `waiting` for agents that fit and will be offered, at the latest when a new term has recovered.
    pub reason: String,
    /// In words.
    pub message: String,
    /// How many agents.
    pub agents: u32,
    /// Which predicate they fail, of the reason `predicate`.
    pub predicate: Option<FailedPredicate>,
}

/// Which of an entry's predicates agents fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedPredicate {
    /// Its place in the entry's list.
    pub place: u32,
    /// Its test, as `proffer.v1` calls it: `region`, `attribute`.
    pub test: &'static str,
}

/// Something that is now so. Rows replace the row with the same key in the view; the others are for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An agent's row.
    Agent(Box<AgentRow>),
    /// A framework's row.
    Framework(FrameworkRow),
    /// A framework is over.
    FrameworkGone {
        /// Which.
        framework: FrameworkId,
    },
    /// A task's row; terminal ones stay in the view for a while.
    Task(Arc<TaskRow>),
    /// An offer was made.
    Offer(Arc<OfferRow>),
    /// An offer stands no longer.
    OfferGone {
        /// Which.
        offer: OfferId,
    },
    /// An executor's row.
    Executor(Arc<ExecutorRow>),
    /// An executor is no more.
    ExecutorGone {
        /// Where it was.
        agent: AgentId,
        /// Whose it was.
        framework: FrameworkId,
        /// Which.
        executor: ExecutorId,
    },
    /// An agent has registered over a link, its first or another one.
    AgentRegistered {
        /// Which.
        agent: AgentId,
        /// Whether it came without an id.
        is_new: bool,
    },
    /// An agent is silent.
    AgentSuspected {
        /// Which.
        agent: AgentId,
    },
    /// An agent is back.
    AgentReturned {
        /// Which.
        agent: AgentId,
    },
    /// An agent is declared unreachable.
    AgentUnreachable {
        /// Which.
        agent: AgentId,
        /// How many of its tasks were reported.
        tasks: u64,
    },
    /// Tasks of a framework are wanted back.
    Reclaimed {
        /// Whose.
        framework: FrameworkId,
        /// How many.
        count: u64,
        /// Why.
        reason: Reason,
    },
    /// Nothing is left on an agent that was to be empty.
    AgentDrained {
        /// Which.
        agent: AgentId,
    },
    /// An operator has said that an agent is gone.
    AgentGone {
        /// Which.
        agent: AgentId,
        /// How many of its tasks have ended by it.
        tasks: u64,
    },
    /// Agents that were marked gone before this term.
    AgentsWereGone {
        /// Which.
        agents: Vec<AgentId>,
    },
    /// An agent is gone for so long that it is known no more.
    GoneForgotten {
        /// Which.
        agent: AgentId,
    },
    /// An agent was unreachable for so long that it is known no more.
    AgentForgotten {
        /// Which.
        agent: AgentId,
    },
    /// Agents fell silent together, so none is declared unreachable until some are back or time has passed.
    LossHeld {
        /// How many are silent.
        silent: u64,
        /// Of how many.
        agents: u64,
    },
    /// An agent was refused.
    AgentRefused {
        /// The id it came with.
        agent: Option<AgentId>,
        /// Why.
        problem: Problem,
    },
    /// A framework's session became active.
    FrameworkSubscribed {
        /// Which.
        framework: FrameworkId,
        /// Whether it was new.
        is_new: bool,
    },
    /// A framework has no session.
    FrameworkDisconnected {
        /// Which.
        framework: FrameworkId,
    },
    /// Offers were sent.
    OffersSent {
        /// To whom.
        framework: FrameworkId,
        /// How many.
        count: u64,
    },
    /// Offers ended without being accepted.
    OffersEnded {
        /// Whose.
        framework: FrameworkId,
        /// How many.
        count: u64,
        /// How.
        how: OfferEnd,
    },
    /// Tasks were accepted for launch.
    TasksLaunched {
        /// Whose.
        framework: FrameworkId,
        /// How many.
        count: u64,
    },
    /// A call was refused.
    CallRefused {
        /// Whose, if known.
        framework: Option<FrameworkId>,
        /// Why.
        problem: Problem,
    },
}

/// How an offer ended without being accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OfferEnd {
    /// The framework declined it.
    Declined,
    /// Its lease ran out.
    Expired,
    /// The master took it back.
    Rescinded,
}

/// What is shown of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRow {
    /// Which.
    pub agent: AgentId,
    /// What it says of itself.
    pub description: Arc<AgentDescription>,
    /// Where it stands.
    pub state: AgentState,
    /// Since when it is unreachable, wall milliseconds, if it is.
    pub unreachable_since_wall_ms: Option<u64>,
    /// Whether it has said in this term what it runs, or was new in it.
    pub is_settled: bool,
    /// What it has, with the reservations and volumes that were made there.
    pub total: Resources,
    /// Reservations and volumes that were made, and that it has no resources for since it changed.
    pub missing: Resources,
    /// Whether an operator has deactivated it.
    pub is_deactivated: bool,
    /// Whether it is to be empty.
    pub drain: Option<Drain>,
    /// When what is left there is killed, if it is, wall milliseconds.
    pub drain_ends_wall_ms: Option<u64>,
    /// Held by tasks.
    pub used: Resources,
    /// In offers.
    pub offered: Resources,
    /// Tasks that are not terminal.
    pub tasks: u64,
}

/// What is shown of a framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkRow {
    /// Which.
    pub framework: FrameworkId,
    /// What it says of itself.
    pub description: FrameworkDescription,
    /// Who may take it over.
    pub principal: Principal,
    /// Whether it has a session.
    pub is_connected: bool,
    /// Whether it was there before this term, and has not been heard of in it.
    pub is_recovered: bool,
    /// Tasks that are not terminal.
    pub tasks: u64,
    /// Offers that stand.
    pub offers: u64,
    /// Instances wanted and not offered.
    pub demand: u64,
    /// Held by tasks; scalars alone, because the same port on two agents is not the same.
    pub used: Resources,
}

/// What is shown of a task. Its command and environment are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Whose.
    pub framework: FrameworkId,
    /// Which.
    pub task: TaskId,
    /// Where.
    pub agent: AgentId,
    /// What its framework was told last, or is about to be.
    pub told: Told,
    /// What it is, shared by all that differ in nothing but their names.
    pub outline: Arc<TaskOutline>,
}

impl TaskRow {
    /// For people.
    pub fn name(&self) -> &str {
        let name = self.outline.name.as_deref();
        name.unwrap_or_else(|| self.task.as_str())
    }

    /// The latest status.
    pub fn status(&self) -> Status {
        let told = &self.told;
        Status {
            task: self.task.clone(),
            incarnation: told.incarnation,
            agent: Some(self.agent.clone()),
            number: told.number,
            state: told.state,
            reason: told.reason,
            message: told.message().to_owned(),
            exit: told.exit,
            healthy: told.healthy,
            checks: told.checks().to_vec(),
            data: Vec::new(),
            wall_ms: told.wall_ms,
        }
    }
}

/// A status, without what the row of its task says besides and what is for the framework alone. Small, because there may be a
/// million of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Which launch of the task.
    pub incarnation: Incarnation,
    /// Its agent's number of it; 0 for the master's own.
    pub number: u64,
    /// When, by the clock of whoever made it, in milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// How it ended, when it did and that is known.
    pub exit: Option<Exit>,
    /// What most have none of.
    more: Option<Box<(String, Vec<CheckResult>)>>,
    /// The state.
    pub state: TaskState,
    /// Why.
    pub reason: Reason,
    /// What the checks say; absent without checks or before their first result.
    pub healthy: Option<bool>,
}

impl From<Status> for Told {
    fn from(status: Status) -> Self {
        let has_more = !status.message.is_empty() || !status.checks.is_empty();
        Self {
            incarnation: status.incarnation,
            number: status.number,
            wall_ms: status.wall_ms,
            exit: status.exit,
            more: has_more.then(|| Box::new((status.message, status.checks))),
            state: status.state,
            reason: status.reason,
            healthy: status.healthy,
        }
    }
}

impl Told {
    /// For people.
    pub fn message(&self) -> &str {
        self.more.as_deref().map_or("", |(message, _)| message)
    }

    /// What each check said last, in the order of the spec.
    pub fn checks(&self) -> &[CheckResult] {
        self.more.as_deref().map_or(&[], |(_, checks)| checks)
    }
}

/// What is kept of a task's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskOutline {
    /// For people, where it is not the id.
    pub name: Option<Box<str>>,
    /// What it holds while it is not terminal.
    pub resources: Arc<Resources>,
    /// For discovery and people.
    pub labels: BTreeMap<String, String>,
    /// What it listens on.
    pub ports: Box<[Port]>,
    /// As what it is to be found, in its framework's words.
    pub discovery: Option<Arc<Discovery>>,
    /// Who pays.
    pub role: Role,
    /// The framework's own executor that it is in.
    pub executor: Option<ExecutorId>,
    /// The executor that a task of Mesos's groups is in for its framework.
    pub group_executor: Option<Box<str>>,
    /// The first task of the group that it was launched in.
    pub group: Option<TaskId>,
}

/// What is shown of an offer that stands. What it shows never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferRow {
    /// Which.
    pub offer: OfferId,
    /// To whom.
    pub framework: FrameworkId,
    /// In which of its roles.
    pub role: Role,
    /// Of which agent.
    pub agent: AgentId,
    /// What.
    pub resources: Resources,
    /// What of the framework's demand it was made for.
    pub fits: Vec<Fit>,
    /// Since when.
    pub made_wall_ms: u64,
    /// Until when.
    pub expires_wall_ms: u64,
}

/// What is shown of an executor that lives on an agent. What it is started with is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutorRow {
    /// Where.
    pub agent: AgentId,
    /// Whose.
    pub framework: FrameworkId,
    /// Which.
    pub executor: ExecutorId,
    /// Who pays.
    pub role: Role,
    /// Its own, besides those of its tasks.
    pub resources: Resources,
    /// Whether it was told to end.
    pub is_ending: bool,
}

/// Effects in the order in which they are to be done.
pub type Effects = Vec<Effect>;
