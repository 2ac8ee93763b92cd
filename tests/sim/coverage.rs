//! What the seeds have gone through: a fault or a state that never comes proves nothing.

use std::collections::BTreeMap;

/// What is counted. Without a floor are what sessions make so rare that chance decides: [`Seen::WriterDeposed`] and
/// [`Seen::RaiseLost`], which the fault suite provokes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Seen {
    MasterKilled,
    MasterFrozen,
    AgentKilled,
    AgentFrozen,
    HostRestarted,
    FrameworkKilled,
    FrameworkFrozen,
    FrameworkOvertaken,
    MemoryLost,
    ConnectionBroken,
    ConnectionBrokenSilently,
    MessageSlow,
    Partition,
    PartitionOneWay,
    EnsembleHungUp,
    EnsembleAway,
    ClockSet,
    WritesLost,
    WritesPartlyKept,
    CallRepeated,
    RequestRepeated,
    Term,
    TermEndedByLease,
    TermEndedByExpiry,
    WriterDeposed,
    RaiseLost,
    AnswerLostDone,
    AnswerLostUndone,
    SessionExpired,
    BatchesTogether,
    AgentUnreachable,
    AgentReturned,
    AgentSettled,
    TaskStarted,
    TaskEnded,
    TaskUnreachable,
    TaskDropped,
    TaskRelaunched,
    TaskKilled,
    StatusRepeated,
    GangLaunched,
    SpreadLaunched,
    OfferDeclined,
    OfferGone,
    FencedCall,
    StrangerRefused,
    QuotaSet,
    QuotaReached,
    OperatorDone,
    OperatorRefused,
    AgentDrained,
    AgentMarkedGone,
    GoneAgentRefused,
    HostJoinedAnew,
    TaskGone,
    Reserved,
    StateWritten,
    StateRead,
    StateRefused,
    OvertakenWrite,
    ExecutorDiedAtLaunch,
    GroupInExecutor,
    VandalCall,
    GroupLaunched,
    TaskInExecutor,
    ExecutorStarted,
    ExecutorReturned,
    ExecutorKilled,
    ExecutorBroken,
    ExecutorShutDown,
    ExecutorEnded,
    MessageEchoed,
    StoodBy,
    ActiveLeft,
    TookOver,
    Reclaimed,
    TaskDrained,
    TenantLeft,
    TenantBeganAnew,
    FrameworkCompleted,
    FailedOver,
    TornDownByOperator,
    SpentIdRefused,
    OfferedInOtherRole,
    Resumed,
    TookOverResumed,
    CalledAgain,
    AcknowledgedOne,
    TailTold,
    BrokenAtLaunch,
    ChangeAsked,
    TaskChanged,
    PeerCutOff,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Coverage(BTreeMap<Seen, u64>);

impl Coverage {
    pub(super) fn count(&mut self, what: Seen) {
        self.count_all(what, 1);
    }

    pub(super) fn count_all(&mut self, what: Seen, many: u64) {
        *self.0.entry(what).or_default() += many;
    }

    pub(super) fn of(&self, what: Seen) -> u64 {
        self.0.get(&what).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(*what).or_default() += count;
        }
    }

    pub(super) fn text(&self) -> String {
        let counts: Vec<String> = self
            .0
            .iter()
            .map(|(what, count)| format!("{what:?} {count}"))
            .collect();
        counts.join(", ")
    }
}

/// How often each must have come in a whole run of the seeds: about half of what they have.
pub(super) const FLOORS: [(Seen, u64); 90] = [
    (Seen::MasterKilled, 800),
    (Seen::MasterFrozen, 700),
    (Seen::AgentKilled, 1_000),
    (Seen::AgentFrozen, 800),
    (Seen::HostRestarted, 200),
    (Seen::FrameworkKilled, 1_000),
    (Seen::FrameworkFrozen, 500),
    (Seen::FrameworkOvertaken, 600),
    (Seen::MemoryLost, 100),
    (Seen::ConnectionBroken, 2_000),
    (Seen::ConnectionBrokenSilently, 100),
    (Seen::MessageSlow, 3_000),
    (Seen::Partition, 200),
    (Seen::PartitionOneWay, 200),
    (Seen::EnsembleHungUp, 1_000),
    (Seen::EnsembleAway, 100),
    (Seen::ClockSet, 100),
    (Seen::WritesLost, 40),
    (Seen::WritesPartlyKept, 30),
    (Seen::CallRepeated, 2_000),
    (Seen::RequestRepeated, 20_000),
    (Seen::Term, 1_000),
    (Seen::TermEndedByLease, 700),
    (Seen::AnswerLostDone, 30),
    (Seen::AnswerLostUndone, 30),
    (Seen::SessionExpired, 1_000),
    (Seen::BatchesTogether, 300),
    (Seen::AgentUnreachable, 200),
    (Seen::AgentReturned, 4_000),
    (Seen::AgentSettled, 30_000),
    (Seen::TaskStarted, 20_000),
    (Seen::TaskEnded, 20_000),
    (Seen::TaskUnreachable, 1_000),
    (Seen::TaskDropped, 60),
    (Seen::TaskRelaunched, 200),
    (Seen::TaskKilled, 6_000),
    (Seen::StatusRepeated, 100),
    (Seen::GangLaunched, 5_000),
    (Seen::SpreadLaunched, 900),
    (Seen::OfferDeclined, 3_000),
    (Seen::OfferGone, 4_000),
    (Seen::FencedCall, 600),
    (Seen::StrangerRefused, 5_000),
    (Seen::QuotaSet, 40),
    (Seen::QuotaReached, 2_000),
    (Seen::OperatorDone, 10_000),
    (Seen::OperatorRefused, 400),
    (Seen::AgentDrained, 900),
    (Seen::AgentMarkedGone, 65),
    (Seen::GoneAgentRefused, 60),
    (Seen::HostJoinedAnew, 60),
    (Seen::TaskGone, 130),
    (Seen::Reserved, 2_000),
    (Seen::StateWritten, 10_000),
    (Seen::StateRead, 4_000),
    (Seen::StateRefused, 5_000),
    (Seen::OvertakenWrite, 3_000),
    (Seen::ExecutorDiedAtLaunch, 40),
    (Seen::GroupInExecutor, 700),
    (Seen::VandalCall, 20_000),
    (Seen::GroupLaunched, 1_500),
    (Seen::TaskInExecutor, 2_500),
    (Seen::ExecutorStarted, 1_000),
    (Seen::ExecutorReturned, 200),
    (Seen::ExecutorKilled, 150),
    (Seen::ExecutorBroken, 400),
    (Seen::ExecutorShutDown, 500),
    (Seen::ExecutorEnded, 600),
    (Seen::MessageEchoed, 3_000),
    (Seen::StoodBy, 2_000),
    (Seen::ActiveLeft, 1_500),
    (Seen::TookOver, 1_200),
    (Seen::Reclaimed, 1_000),
    (Seen::TaskDrained, 100),
    (Seen::TenantLeft, 400),
    (Seen::TenantBeganAnew, 600),
    (Seen::FrameworkCompleted, 600),
    (Seen::FailedOver, 140),
    (Seen::TornDownByOperator, 200),
    (Seen::SpentIdRefused, 400),
    (Seen::OfferedInOtherRole, 450),
    (Seen::Resumed, 1_800),
    (Seen::TookOverResumed, 700),
    (Seen::CalledAgain, 150),
    (Seen::AcknowledgedOne, 30_000),
    (Seen::TailTold, 1_200),
    (Seen::BrokenAtLaunch, 200),
    (Seen::ChangeAsked, 18_000),
    (Seen::TaskChanged, 16_000),
    (Seen::PeerCutOff, 130),
];
