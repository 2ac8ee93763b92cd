//! Every limit of the master's core: its unit and what happens at it. Shared ones stand in `proffer_model::limits`.

use std::time::Duration;

/// Agents of a cluster; a new one beyond is refused (`server.overloaded`). Twice what one master is measured with.
pub const AGENTS_MAX: usize = 100_000;
/// Frameworks that are not completed; a new one beyond is refused (`server.overloaded`), unless one makes room. Twice what one master is measured with.
pub const FRAMEWORKS_MAX: usize = 20_000;
/// Those of one principal; a new one beyond is refused in the same way. Three quarters, so that there is room for others.
pub const FRAMEWORKS_PER_PRINCIPAL_MAX: usize = 15_000;
/// How long a framework has had no session that makes room for a new one, where either limit is reached.
pub const FRAMEWORK_MAKES_ROOM_AFTER: Duration = Duration::from_secs(60);
/// Frameworks that are looked at for one that makes room; the others have their turn with the next one that is new. Less than
/// a tenth of a millisecond.
pub const FRAMEWORKS_LOOKED_AT_MAX: usize = 100;
/// Tasks of one framework that are live or unacknowledged; a launch beyond is refused (`server.overloaded`).
pub const TASKS_PER_FRAMEWORK_MAX: usize = 1_000_000;
/// Statuses of one framework that it has not acknowledged. One more closes its session (`session.overloaded`), or, without
/// a session, is left with its agent, which sends it again.
pub const UNACKNOWLEDGED_MAX: usize = 100_000;
/// Bytes of what executors said along with them, of one framework; of more than [`STATUS_DATA_LIGHT_LEN`] a status is left with its
/// agent beyond it, which sends it again. Half of what may wait for a session, which is told all of them when it begins.
pub const UNACKNOWLEDGED_DATA_MAX: usize = 64 * 1024 * 1024;
/// The same of all frameworks together.
pub const UNACKNOWLEDGED_DATA_TOTAL_MAX: usize = 512 * 1024 * 1024;
/// See [`UNACKNOWLEDGED_DATA_MAX`].
pub const STATUS_DATA_LIGHT_LEN: usize = 4 * 1024;
/// How often one framework may subscribe in a second, and at once; above it `session.rate_limited` says when to try again.
/// Room for all that stand by, when they find a new leader together.
pub const SUBSCRIPTIONS_PER_SECOND_MAX: u64 = 50;
/// Sessions of one framework that stand by; one more is refused (`server.overloaded`).
pub const STANDBYS_MAX: usize = 16;
/// Programs of one framework whose turns at speaking for it are remembered; who resumes an older one is taken for another
/// program, and its calls that were answered are not known.
pub const SPEAKERS_MAX: usize = 16;
/// Tasks that one step tells of in snapshots, tails and answers to Reconcile, and acknowledged statuses that it forgets; the next
/// step goes on. About a millisecond. So many acknowledged statuses are forgotten at once within `SNAPSHOT_STEP_INTERVAL`.
pub const SNAPSHOT_TASKS_PER_STEP: usize = 1_000;
/// Events of a snapshot or a tail that a session was told and has not acknowledged; beyond it, it is told more slowly, since what
/// it has not read waits in its outbox. A quarter of that.
pub const SNAPSHOT_UNREAD_MAX: u64 = 64 * 1024;
/// Tasks that it is told of in a step then: ten thousand in a second, which the slowest of readers keep up with.
pub const SNAPSHOT_TASKS_UNREAD_PER_STEP: usize = 100;
/// Offers that a Decline gives back in its own step; of more, all are in pieces, as above, and calls about offers and demand that
/// come after it wait for their end.
pub const DECLINED_AT_ONCE_MAX: usize = 100;
/// So many tasks that are told of take as long as one offer that is given back.
pub const DECLINE_STEPS: usize = 10;
/// Tasks of a framework that is over which become nobody's, and are killed, in the step in which it ends; of more, the rest do in
/// pieces, as above.
pub const ENDED_TASKS_AT_ONCE_MAX: usize = 200;
/// So many tasks that are told of take as long as one that becomes nobody's.
pub const ENDED_TASK_STEPS: usize = 4;
/// Between two such steps, so that who reads as fast as can be expected is not overrun by a snapshot of a million tasks, and
/// nobody else waits for more than one in ten.
pub const SNAPSHOT_STEP_INTERVAL: Duration = Duration::from_millis(10);
/// Tasks of one Reconcile that are told in the step of the call, unless as many as a step tells were told so within
/// `SNAPSHOT_STEP_INTERVAL`; of more, and then, it is told in pieces of so many, each asker in its turn.
pub const RECONCILE_AT_ONCE_MAX: usize = 100;
/// Calls of one session that wait until what was acknowledged before them is forgotten; one more is refused
/// (`session.rate_limited`).
pub const CALLS_HELD_MAX: usize = 16;
/// Tasks that the Reconciles of one session name and that it was not told of yet; one more call is refused
/// (`session.rate_limited`). A second's work of the master.
pub const RECONCILE_NAMED_MAX: usize = 100_000;
/// The same of all together, but for who names `RECONCILE_AT_ONCE_MAX` at the most. About 100 MB.
pub const RECONCILE_NAMED_TOTAL_MAX: usize = 1_000_000;
/// Tasks of one framework that are to be killed and that agents of the log, which have not come back yet in this term, may run; a
/// Kill of one more is refused (`session.rate_limited`).
pub const KILLS_KEPT_MAX: usize = 100_000;
/// The same of all together. About 200 MB.
pub const KILLS_KEPT_TOTAL_MAX: usize = 1_000_000;
/// When to try again then.
pub const KILLS_KEPT_RETRY: Duration = Duration::from_secs(1);
/// Reconciles of one session that wait; one more is refused (`session.rate_limited`).
pub const RECONCILES_MAX: usize = 1_000;
/// Entries of demand, and agents that they exclude, that one step judges, takes away or puts in; a SetDemand that names more, with
/// what it replaces, goes on in the next step. Less than a millisecond.
pub const DEMAND_ENTRIES_PER_STEP: usize = 500;
/// Between two such steps, so that they take half of the time at most.
pub const DEMAND_STEP_INTERVAL: Duration = Duration::from_millis(2);
/// Steps in which all sessions and agents are told that the master is there, spread over the interval of heartbeats: one that
/// told 70,000 of them would keep everybody else waiting for some 30 ms.
pub const HEARTBEAT_PARTS: u32 = 10;
/// Agents and the master say to each other that they are there once in so many intervals of heartbeats, where agents may be
/// silent for [`LINK_HEARTBEATS_SILENT_MIN`] intervals before they are suspect: twenty thousand idle agents take half as much of
/// a processor so.
pub const LINK_HEARTBEATS: u32 = 2;
/// Where it is fewer, agents say so once in each.
pub const LINK_HEARTBEATS_SILENT_MIN: u32 = 5;
/// How long a framework of Mesos's API that was there before a term is waited for in it, however short its failover timeout: it
/// has to find the new leader first. Most ask for no time at all, and would else be over with each change of the leader.
pub const FAILOVER_IN_NEW_TERM_MIN: Duration = Duration::from_secs(60);
/// Answers of one framework that are remembered, so that a call which is repeated is not done again; the oldest are forgotten.
pub const ANSWERS_MAX: usize = 1_000;
/// Results in them, of one framework; the oldest answers are forgotten, but never the last.
pub const ANSWER_RESULTS_MAX: usize = 10_000;
/// The same of all frameworks; beyond it each keeps its last answer alone. About 100 MB.
pub const ANSWER_RESULTS_TOTAL_MAX: usize = 1_000_000;
/// How long an answer is remembered.
pub const ANSWERS_REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// Statuses in one answer to a call without a session; more are refused (`field.too_long`).
pub const STATUSES_MAX: usize = 10_000;
/// Bytes of their texts; more are refused (`field.too_long`), because they would not fit one message.
pub const STATUSES_LEN_MAX: usize = 4 * 1024 * 1024;
/// Watches of one framework's state; one more is refused (`server.overloaded`).
pub const WATCHES_MAX: usize = 8;
/// Bytes of keys and values that one step tells watches of what is there; the next step tells on those of which what they were
/// told before is being read.
pub const WATCH_STEP_LEN: usize = 1024 * 1024;
/// Keys of one framework's state; a write of a new one beyond is refused (`state.too_large`).
pub const STATE_KEYS_MAX: usize = 100_000;
/// Bytes of keys and values in one answer to a list of a framework's state; more are told in pages, and refused
/// (`state.too_large`) where none are asked for, because they would not fit one message.
pub const STATE_LIST_LEN_MAX: usize = 4 * 1024 * 1024;
/// So many bytes of a value that is read or written are worth an operation, beside the one that the call is worth, and each key
/// that a list finds another: what a framework may read in a second takes some percent of it, and is 400 MB at the most.
pub const STATE_LEN_PER_OPERATION: usize = 4 * 1024;
/// Batches that wait to become durable; writes that somebody asked for are refused beyond (`server.overloaded`).
pub const BATCHES_PENDING_MAX: u64 = 1_000;
/// Offers that a framework may have out while others wait, when it answers them; more are not made until it answers some.
/// About as many as a framework can judge within the lease of an offer for a shape.
pub const OFFER_WINDOW_MAX: u32 = 1_000;
/// The same for a framework that lets all its offers expire: what others wait for is kept from them by one offer at most.
pub const OFFER_WINDOW_MIN: u32 = 1;
/// Offers in one event; more are sent in several. Ten thousand agents with their attributes would not fit one message, and
/// whoever cannot read it comes back to the same offers.
pub const OFFERS_PER_EVENT_MAX: usize = 100;
/// Tasks in one event about what is wanted back; more are told in several.
pub const RECLAIM_TASKS_PER_EVENT_MAX: usize = 1_000;
/// How often, at the least, what is left of a drain's deadline is written down: a twentieth of the deadline. A new leader's
/// comes later by at most that.
pub const DRAIN_KEEP_INTERVAL_MAX: Duration = Duration::from_secs(60);
/// How often at the most.
pub const DRAIN_KEEP_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// For how long an agent that an operator has marked gone is remembered, and one that is unreachable with nothing of anybody's
/// on it; then it is forgotten, and may come back with its id. As Mesos does: two weeks.
pub const AGENTS_FORGOTTEN_AFTER: Duration = Duration::from_secs(14 * 24 * 3600);
/// How often agents to be forgotten are looked for.
pub const AGENTS_FORGOTTEN_INTERVAL: Duration = Duration::from_secs(15 * 60);
/// So many are forgotten in one step, about; the others have their turn in the next. Less than a millisecond.
pub const AGENTS_FORGOTTEN_PER_STEP: usize = 50;
/// Between two such steps.
pub const FORGET_STEP_INTERVAL: Duration = Duration::from_millis(10);
/// Agents that one step looks at where all are gone through: for whether they are silent, or to be forgotten. The next step goes
/// on. Less than a millisecond.
pub const AGENTS_LOOKED_AT_PER_STEP: usize = 2_000;
/// Agents that one step declares unreachable; the next step goes on. Each has its tasks reported.
pub const AGENTS_DECLARED_PER_STEP: usize = 5;
/// Ports that are freed within such a step rest until its end together: an agent whose tasks come and go has at most one
/// set of them for each step of `port_rest`, and the timer comes at most once in each.
pub const PORT_REST_STEP: Duration = Duration::from_secs(1);
/// Agents of which ports have rested that one step takes; those of others go on resting until the next. Less than a millisecond.
pub const AGENTS_RESTED_PER_STEP: usize = 100;
/// The shortest exclusion that a decline makes, and an accept that launches nothing; shorter ones are lengthened to it.
/// Without it a framework that declines everything would be offered the same again at once, for ever (Mesos has the same
/// floor on filters).
pub const EXCLUSION_MIN: Duration = Duration::from_secs(1);
/// The longest exclusion; longer ones are cut to it. A year, as Mesos cuts filters.
pub const EXCLUSION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Bytes of the cluster's id at the head of the ids that the master gives; the rest of a longer one is left out.
pub const ID_HEAD_LEN_MAX: usize = 150;
/// Roles with a quota, and roles with a weight of their own; a new one beyond is refused (`server.overloaded`).
pub const ROLE_SETTINGS_MAX: usize = 10_000;
/// Looks at a claim on an agent in one step of an allocation, about; it goes on in the next step. A grant counts as fifty.
/// Less than a millisecond, with the offers that are made of the grants.
pub const ALLOCATION_STEPS_MAX: u32 = 2_000;
/// Looks at claims within the time for which triggers of an allocation are served together; up to it each is served at once,
/// beyond it what has changed waits for the end of that time. Less than a millisecond in ten, or fifty offers.
pub const ALLOCATION_STEPS_AT_ONCE_MAX: u32 = 2_500;
/// Questions of operators (why demand is not met, how the roles stand) that are under way; one more is refused
/// (`server.overloaded`).
pub const QUESTIONS_MAX: usize = 16;
/// Looks at an entry on an agent, and the like, that one step takes for questions; the next step goes on. Less than a
/// millisecond.
pub const QUESTION_STEPS_MAX: u32 = 2_000;
/// Between the beginnings of two such steps, so that questions take half of the time at most, however many are asked.
pub const QUESTION_STEP_INTERVAL: Duration = Duration::from_millis(2);
/// How long a question is worked at; then whoever has asked is gone.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// What an agent costs in such a step before any entry is looked at on it.
pub const QUESTION_AGENT_STEPS: u32 = 4;
/// The same of resources that are in offers: whether an entry would fit on an agent without them.
pub const QUESTION_OFFERED_STEPS: u32 = 8;
/// Tests of one predicate that an explanation names; a longer one is told in part.
pub const PREDICATE_WORDS_MAX: usize = 10;
/// Characters of a pattern that an explanation names; of a longer one the beginning is told.
pub const PATTERN_SHOWN_MAX: usize = 80;
/// Entries in one answer why demand is not met; the answer says where to go on.
pub const EXPLAINED_ENTRIES_MAX: usize = 50;
/// Entries in one such answer, times agents, about; the answer ends there, and holds one entry at least. A second or two.
pub const EXPLAINED_LOOKS_MAX: usize = 500_000;
/// Roles in one answer how they stand; the answer says where to go on.
pub const ROLE_ROWS_MAX: usize = 1_000;
/// Ids of frameworks in one such answer; it ends with the role by which they are as many. All of one role are found in one go:
/// 10,000 at the most, some milliseconds.
pub const ROLE_ROWS_FRAMEWORKS_MAX: usize = 5_000;
/// How long a framework has had no session when that is written down: the next leader does not wait for it before it offers.
pub const FRAMEWORK_AWAY_AFTER: Duration = Duration::from_secs(60);
/// Frameworks of which that is written down in one interval of heartbeats; the others wait for the next one.
pub const ABSENCES_PER_STEP: usize = 100;
