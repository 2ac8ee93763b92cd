//! Rules broken on purpose, in what is simulated around the cores. The checkers are worth what they catch.

use super::faults::Faults;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breakage {
    /// Effects of a master leave before what they promise is durable.
    MasterVisibleBeforeDurable,
    /// A master does not look at its lease before it answers.
    LeaseUnchecked,
    /// A new leader does not raise the epoch.
    EpochNotRaised,
    /// A master writes again in a new session what it could not in the last.
    StoreRetriedAcrossSessions,
    /// A master does not hear that an agent's link has ended, and still believes in it.
    LostAgentOffered,
    /// A session that another has overtaken is obeyed.
    FencedSessionObeyed,
    /// A new leader says at once that all agents have settled.
    SettledTooEarly,
    /// Statuses are acknowledged to agents that no framework has kept.
    AcknowledgedUnkept,
    /// A launch goes to two agents, under two incarnations.
    LaunchSentTwice,
    /// A new leader forgets the quotas.
    QuotaPassed,
    /// An agent obeys what an earlier leader had sent.
    OldEpochObeyed,
    /// Effects of an agent happen before what they rest on is durable.
    AgentVisibleBeforeDurable,
    /// An agent starts a task before it has recorded it.
    StartedBeforeRecorded,
    /// An agent forgets its runs when it restarts.
    AgentForgets,
    /// An agent starts again what runs.
    AgentStartsTwice,
    /// How a task ended is something else after a restart of its agent.
    TerminalRewritten,
    /// An agent kills a task that nobody wants killed.
    KilledUnasked,
    /// The network delivers statuses in another order.
    Reordered,
    /// An executor does not name what it runs when it comes back.
    ExecutorForgets,
    /// Of a group that goes to an agent the last task is left out.
    GroupSplit,
    /// A message of an executor goes to its framework twice.
    MessageRepeated,
    /// An agent ends an executor that nobody wants ended.
    ExecutorEndedUnasked,
    /// A master does not hear that a framework's session has ended.
    StandByForgotten,
    /// A master takes a tenth of a deadline for the whole.
    DeadlineHurried,
    /// A write of a framework's state does not look at the version.
    StateOverwritten,
    /// A session that another has overtaken writes the framework's state.
    OvertakenStateWritten,
    /// Of what an agent gives an executor to launch only the first task comes to it.
    GroupSplitInExecutor,
    /// A new leader forgets which agents are gone.
    GoneForgotten,
    /// A master marks an agent gone that is still to be drained.
    GoneBeforeEmpty,
    /// An agent does not hear that it is gone.
    GoneUnheard,
    /// A new leader forgets which frameworks are over.
    CompletedForgotten,
    /// A master takes a tenth of a failover timeout for the whole.
    FailoverHurried,
    /// A master takes in which roles a framework has besides those that it had, but not which it has no more.
    RolesKept,
    /// Of the statuses with which a session that is resumed begins, a master leaves the first one out.
    TailCutShort,
    /// A master keeps all that a peer does not read.
    LaneUnbounded,
    /// A master says an earlier change of a task again after a later one.
    ChangeRepeatedLate,
    /// A new leader forgets what it was told to kill before agents were back.
    EarlyKillForgotten,
}

impl Breakage {
    /// With the number of seeds within which each must be noticed.
    pub(super) const ALL: [(Self, u64); 37] = [
        (Self::MasterVisibleBeforeDurable, 10),
        (Self::LeaseUnchecked, 10),
        (Self::EpochNotRaised, 10),
        (Self::StoreRetriedAcrossSessions, 10),
        (Self::LostAgentOffered, 10),
        (Self::FencedSessionObeyed, 10),
        (Self::SettledTooEarly, 10),
        (Self::AcknowledgedUnkept, 10),
        (Self::LaunchSentTwice, 10),
        (Self::QuotaPassed, 10),
        (Self::OldEpochObeyed, 10),
        (Self::AgentVisibleBeforeDurable, 10),
        (Self::StartedBeforeRecorded, 10),
        (Self::AgentForgets, 10),
        (Self::AgentStartsTwice, 10),
        (Self::TerminalRewritten, 10),
        (Self::KilledUnasked, 10),
        (Self::Reordered, 10),
        (Self::ExecutorForgets, 10),
        (Self::GroupSplit, 10),
        (Self::MessageRepeated, 10),
        (Self::ExecutorEndedUnasked, 10),
        (Self::StandByForgotten, 10),
        (Self::DeadlineHurried, 10),
        (Self::StateOverwritten, 30),
        (Self::OvertakenStateWritten, 10),
        (Self::GroupSplitInExecutor, 10),
        (Self::GoneForgotten, 10),
        (Self::GoneBeforeEmpty, 10),
        (Self::GoneUnheard, 10),
        (Self::CompletedForgotten, 10),
        (Self::FailoverHurried, 10),
        (Self::RolesKept, 10),
        (Self::TailCutShort, 10),
        (Self::LaneUnbounded, 10),
        (Self::ChangeRepeatedLate, 10),
        (Self::EarlyKillForgotten, 10),
    ];

    /// The faults under which this rule matters.
    pub(super) fn provoked(self, faults: Faults) -> Faults {
        let broken = Faults {
            breakage: Some(self),
            ..faults
        };
        match self {
            Self::MasterVisibleBeforeDurable => Faults {
                master_kill: 100,
                store_ms_max: 500,
                ..broken
            },
            Self::LeaseUnchecked => Faults {
                partition: 40,
                master_freeze: 60,
                ..broken
            },
            Self::EpochNotRaised | Self::QuotaPassed => Faults {
                master_kill: 100,
                ..broken
            },
            Self::EarlyKillForgotten => Faults {
                master_kill: 300,
                framework_kill: 0,
                overtake: 0,
                connection_break: 0,
                ..broken
            },
            Self::SettledTooEarly => Faults {
                master_kill: 100,
                agent_freeze: 30,
                partition: 60,
                ..broken
            },
            Self::StoreRetriedAcrossSessions => Faults {
                partition: 40,
                store_ms_max: 200,
                master_freeze: 60,
                ..broken
            },
            Self::LostAgentOffered
            | Self::AgentVisibleBeforeDurable
            | Self::AgentForgets
            | Self::AgentStartsTwice
            | Self::StartedBeforeRecorded
            | Self::TerminalRewritten => Faults {
                agent_kill: 60,
                disk_ms_max: 200,
                ..broken
            },
            Self::FencedSessionObeyed | Self::OvertakenStateWritten => Faults {
                overtake: 60,
                ..broken
            },
            Self::AcknowledgedUnkept => Faults {
                framework_kill: 60,
                acknowledge_ms_max: 2_000,
                ..broken
            },
            Self::OldEpochObeyed => Faults {
                partition: 40,
                master_freeze: 60,
                slow_message: 50,
                ..broken
            },
            Self::DeadlineHurried => Faults {
                has_operator: true,
                ..broken
            },
            Self::GoneForgotten => Faults {
                has_operator: true,
                gone: 10,
                master_kill: 60,
                ..broken
            },
            Self::GoneBeforeEmpty | Self::GoneUnheard => Faults {
                has_operator: true,
                gone: 10,
                ..broken
            },
            Self::StandByForgotten => Faults {
                stand_by: 5,
                ..broken
            },
            Self::StateOverwritten => Faults {
                master_kill: 60,
                connection_break: 40,
                store_ms_max: 500,
                ..broken
            },
            Self::GroupSplit => Faults {
                has_pods: true,
                ..broken
            },
            Self::MessageRepeated | Self::ExecutorEndedUnasked | Self::GroupSplitInExecutor => {
                Faults {
                    has_crew: true,
                    ..broken
                }
            }
            Self::CompletedForgotten => Faults {
                has_tenant: true,
                master_kill: 60,
                ..broken
            },
            Self::FailoverHurried | Self::RolesKept => Faults {
                has_tenant: true,
                ..broken
            },
            Self::TailCutShort => Faults {
                break_at_launch: 10,
                connection_break: 10,
                acknowledge_ms_max: 2_000,
                ..broken
            },
            Self::LaneUnbounded => Faults {
                framework_freeze: 40,
                partition: 60,
                ..broken
            },
            Self::ExecutorForgets => Faults {
                has_crew: true,
                executor_break: 60,
                ..broken
            },
            Self::LaunchSentTwice
            | Self::KilledUnasked
            | Self::Reordered
            | Self::ChangeRepeatedLate => broken,
        }
    }
}

impl World {
    pub(super) fn is_broken(&self, breakage: Breakage) -> bool {
        self.faults.breakage == Some(breakage)
    }
}
