//! Every limit of the master's shell: its unit and what happens at it. Limits shared with others stand in
//! `proffer_model::limits`, those of decisions in the core.

use std::time::Duration;

/// Bytes of one entry of the log or one chunk of a snapshot; what is larger is split, but never within a record.
/// Half of what ZooKeeper takes in one znode.
pub const ENTRY_LEN_MAX: usize = 512 * 1024;
/// Entries in the log since the last snapshot; at this many a snapshot is written and the log is cut before anything
/// else is written. Half of the promised 1,000, so that terms which only begin and end leave room.
pub const ENTRIES_PER_SNAPSHOT: u64 = 500;
/// Bytes of a file of the file store that are read; a larger one is refused as damaged.
pub const STORE_FILE_LEN_MAX: u64 = 64 * 1024 * 1024;
/// Nodes of ZooKeeper that are read or deleted with one call; more take several, between which heartbeats have their turn.
pub const ZOOKEEPER_CALL_PATHS: usize = 16;
/// How often one write to ZooKeeper is tried whose answer is lost each time; then the store has failed (`store.failed`), and
/// with it the term. About four seconds.
pub const ZOOKEEPER_LOSSES_MAX: u32 = 8;
/// Bytes of a piece of a backup, about; a record that is larger is a piece of its own.
pub const BACKUP_PIECE_LEN: usize = 256 * 1024;
/// Bytes of one part of a backup; a longer one is refused as damaged.
pub const BACKUP_PART_LEN_MAX: u32 = 64 * 1024 * 1024;
/// Bytes of a backup that are sent together.
pub const BACKUP_CHUNK_LEN: usize = 256 * 1024;
/// Such chunks that wait for whoever fetches a backup; at so many no more are made until some are taken.
pub const BACKUP_CHUNKS_MAX: usize = 4;
/// Backups that are made at once; one more is refused (`server.overloaded`). Each holds a copy of what is durable, in which
/// descriptions and values are shared with the original.
pub const BACKUPS_MAX: usize = 1;
/// How long whoever fetches a backup may take nothing of it; then it breaks off.
pub const BACKUP_STALL_MAX: Duration = Duration::from_secs(60);
/// Of the session with ZooKeeper in which a backup is restored, as masters have it unless they are told otherwise; when it is
/// lost, the restore must be begun anew.
pub const RESTORE_SESSION_TIMEOUT: Duration = Duration::from_secs(4);
/// What is added to the numbers of volumes and to the revisions of frameworks' state when a backup is restored, so that none is
/// given again that was given after the backup was made.
pub const RESTORE_NUMBERS_SKIPPED: u64 = 1 << 32;
/// What is added to the term when a backup is restored, besides one for each second since it was made: no cluster has more
/// terms than that.
pub const RESTORE_TERMS_SKIPPED: u64 = 1_000;
/// Bytes of an agent's description on the wire; a larger one is refused (`field.too_long`), so that its record fits an
/// entry of the log.
pub const AGENT_DESCRIPTION_LEN_MAX: usize = 256 * 1024;
/// Bytes of one message of an agent; a larger one ends its link. Its hello holds the specs of all its tasks, so this is
/// more than the limit of other messages: an agent whose hello is too large can never come back.
pub const LINK_MESSAGE_LEN_MAX: usize = 64 * 1024 * 1024;
/// Commit batches on their way to the store; at this many the driver takes nothing new until some are durable.
pub const STORE_BACKLOG_MAX: usize = 1_024;
/// Commit batches that fit the channel to the store thread; one turn may pass the backlog. More ends the term.
pub const STORE_CHANNEL_LEN: usize = 64 * 1024;
/// Bytes of what agents' messages carry (of statuses, from executors) that wait for the core; at so many those connections wait
/// that bring more of a KiB, until some are taken.
pub const LINKS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Messages of agents that wait for the core; at this many their connections are not read until some are taken.
pub const AGENT_LANE_LEN: usize = 16 * 1024;
/// Calls of all sessions that wait for the core; at this many sessions are not read until some are taken.
pub const SESSION_LANE_LEN: usize = 4 * 1024;
/// Calls of one session that wait for the core; at this many that session is not read until some are taken.
pub const SESSION_CALLS_MAX: usize = 64;
/// Bytes on the wire of a call that is always taken; what follows is counted for larger ones. All calls that may wait
/// are 20 MiB of such.
pub const CALL_LIGHT_LEN: usize = 4 * 1024;
/// Bytes of larger calls of one session that wait for the core; what would be more is refused (`session.rate_limited`), but
/// for one alone.
pub const SESSION_CALLS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes of larger calls of all sessions and scripts that wait for the core; what would be more is refused in the same way.
pub const SESSIONS_CALLS_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Bytes of answers to unary calls of one framework above [`CALL_LIGHT_LEN`] that are on their way to who asked; what would be
/// more is refused (`session.rate_limited`), but for one alone. Eight of the longest.
pub const FRAMEWORK_REPLIES_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The same of all frameworks.
pub const REPLIES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of such an answer that its connection takes at once, and that are not counted any more then.
pub const REPLY_PIECE_LEN: usize = 64 * 1024;
/// After what time such a call may be made again.
pub const CALLS_BYTES_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Unary calls that wait for the core; more are refused (`server.overloaded`).
pub const REQUEST_LANE_LEN: usize = 1_024;
/// Events that one turn takes from a lane before the next lane has its turn.
pub const TURN_EVENTS_MAX: usize = 256;
/// Messages that wait to be sent to one agent; a slower agent is disconnected and comes back.
/// More than three of the largest accepts.
pub const LINK_OUTBOX_LEN: usize = 32 * 1024;
/// Bytes of them, about; a slower agent is disconnected in the same way. When half of either waits, messages for executors are
/// lost, which come at most once, so that no framework has an agent disconnected that others launch on.
pub const LINK_OUTBOX_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes that wait for all agents together, about; at this many the agents for which the most waits are disconnected, until a
/// quarter is free.
pub const LINKS_OUTBOX_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Events that wait to be sent to one session; a slower session is ended with `session.overloaded`.
pub const SESSION_OUTBOX_LEN: usize = 256 * 1024;
/// Bytes of them, about; a slower session is ended in the same way. Twice what one step of a snapshot tells of tasks with the
/// longest messages.
pub const SESSION_OUTBOX_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Bytes that wait for all sessions together, about; at this many the sessions for which the most waits are ended in the same
/// way, until a quarter is free.
pub const SESSIONS_OUTBOX_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Sessions that are open at once, active or standing by; more are refused (`server.overloaded`). Twice as many as there may
/// be frameworks.
pub const SESSIONS_MAX: usize = 40_000;
/// Watches of frameworks' state that are open at once; more are refused (`server.overloaded`).
pub const STATE_WATCHES_MAX: usize = 20_000;
/// Changes that wait to be sent to one such watch; a slower one is ended with `session.overloaded`. Twice what it is told at once of
/// what is there, which it is told on of as it reads.
pub const WATCH_OUTBOX_LEN: usize = 4 * 1024;
/// Bytes of them; a slower one is ended in the same way. More than sixty of the pieces in which it is told what is there.
pub const WATCH_OUTBOX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that wait for all such watches together; at this many those for which the most waits are ended in the same way, until
/// a quarter is free.
pub const WATCHES_OUTBOX_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Links that are open at once; more are refused (`server.overloaded`).
pub const LINKS_MAX: usize = 60_000;
/// How long a connection may take to its first message; then it is closed.
pub const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a unary call waits for the core and the store; then it is refused (`server.overloaded`).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How late a turn must come for the driver to believe that the process stood still.
pub const STALL_MIN: Duration = Duration::from_secs(1);
/// How long timers are held back after the process stood still, so that what agents sent meanwhile is heard first.
pub const STALL_SETTLE: Duration = Duration::from_secs(1);
/// Batches of facts and queries that wait for the view; at this many the driver keeps its facts and takes nothing new
/// from frameworks, and queries are refused (`server.overloaded`).
pub const VIEW_CHANNEL_LEN: usize = 4 * 1024;
/// Between two published snapshots of the view; queries in between wait for the next.
pub const VIEW_PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// Ended tasks of one framework that the view keeps; the oldest are forgotten.
pub const ENDED_TASKS_MAX: usize = 1_000;
/// Between two attempts to tell a view that was full.
pub const VIEW_RETRY_INTERVAL: Duration = Duration::from_millis(5);
/// Frameworks that are over whose ended tasks the view keeps; the oldest are forgotten.
pub const GONE_FRAMEWORKS_MAX: usize = 100;
/// Frameworks that are over of which the view keeps what they were; the oldest are forgotten (Mesos: `--max_completed_frameworks`,
/// 50). What one says of itself is a few hundred bytes, and 64 KiB at most.
pub const COMPLETED_FRAMEWORKS_MAX: usize = 100;
/// Changes that are remembered for watches of the cluster; one that has not been told of an older one begins anew
/// (`watch.expired`). About 10 MB.
pub const CHANGES_REMEMBERED_MAX: usize = 100_000;
/// Changes that a watch of the cluster looks at for one response; those after them come with the next one. Two hundred
/// responses a second, so that a watch keeps up with all that one master can change.
pub const FOLLOW_CHANGES_MAX: usize = 10_000;
/// Watches of the cluster that are open at once; more are refused (`server.overloaded`).
pub const OPERATOR_WATCHES_MAX: usize = 100;
/// How often a watch of the cluster says that it is there. Less than [`PASSED_ON_IDLE_TIMEOUT`].
pub const WATCH_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the connection of such a watch may take nothing; then it is ended (`watch.expired`), and its place is free. There is
/// something to take at each heartbeat; the connection takes what fits into the window of HTTP/2, read or not.
pub const WATCH_UNREAD_MAX: Duration = Duration::from_secs(60);
/// Rows of one page of a list unless it is asked for so many.
pub const PAGE_LEN_DEFAULT: usize = 1_000;
/// The same at most; who asks for more gets so many.
pub const PAGE_LEN_MAX: usize = 10_000;
/// Pages of lists, and responses of watches, that are written at once; further ones wait. So that sessions and launches never
/// wait for them, however many ask.
pub const PAGES_AT_ONCE_MAX: usize = 2;
/// Calls of which the patterns are compiled at once, which takes up to 40 ms; further ones wait.
pub const PATTERNS_AT_ONCE_MAX: usize = 1;
/// Bytes of the rows of one page, about; the page ends there. Half of what clients of gRPC take unless they say otherwise.
pub const PAGE_ROWS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Rows that are looked at for one page; it ends there, however few of them were wanted. About ten milliseconds.
pub const PAGE_LOOKS_MAX: usize = 100_000;
/// Streams that watch who leads; more are refused (`server.overloaded`). Every agent, framework and client may have one
/// with every master.
pub const WATCHES_MAX: usize = 100_000;
/// Reads that are being passed on to the leader; more are refused (`server.overloaded`).
pub const PASSED_ON_MAX: usize = 256;
/// Bytes of the body of a read that is passed on; a larger one breaks off.
pub const PASSED_ON_BODY_LEN_MAX: usize = 1024 * 1024;
/// How long the leader may take to accept a connection; then what was to be passed on is refused
/// (`master.not_leading`).
pub const PASSED_ON_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the leader may take to the head of an answer; then what was passed on is refused (`master.not_leading`).
/// More than [`REQUEST_TIMEOUT`], so that the leader's own refusal comes first.
pub const PASSED_ON_TIMEOUT: Duration = Duration::from_secs(12);
/// How long the leader may be silent within an answer; then it breaks off.
pub const PASSED_ON_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pings of an HTTP/2 connection to the leader, and how long it may take to answer one; then it is closed.
pub const PASSED_ON_PING_INTERVAL: Duration = Duration::from_secs(5);
/// See [`PASSED_ON_PING_INTERVAL`].
pub const PASSED_ON_PING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a master does not stand for election after its first term that came to nothing; then longer and longer.
pub const CAMPAIGN_PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest such pause.
pub const CAMPAIGN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The same after a failure that only a human can mend, such as a damaged store.
pub const CAMPAIGN_PAUSE_LASTING: Duration = Duration::from_secs(30);
/// A term that lasted this long came to something: the pauses begin anew.
pub const CAMPAIGN_SETTLED_AFTER: Duration = Duration::from_secs(10);
/// How long a master that is elected during such a pause keeps leadership from the others that stand.
pub const CAMPAIGN_PASS_ON_AFTER: Duration = Duration::from_secs(1);
/// Bytes of a framework's offer constraints, which are kept to be shown; more are refused.
pub const MESOS_CONSTRAINTS_LEN_MAX: usize = 256 * 1024;
/// At most one line in this time about messages of libprocess's, which nothing here answers.
pub const MESOS_LIBPROCESS_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Senders of such messages that one line names; of more, the others are only counted.
pub const MESOS_LIBPROCESS_NAMED_MAX: usize = 8;
/// How often a framework of Mesos's API hears HEARTBEAT.
pub const MESOS_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);
/// When an update that such a framework has not acknowledged is told again; then twice as late each time.
pub const MESOS_RETRY_FIRST: Duration = Duration::from_secs(10);
/// The longest such wait.
pub const MESOS_RETRY_LAST: Duration = Duration::from_secs(600);
/// Calls of one such framework that wait to be done; a further one waits with its connection.
pub const MESOS_CALLS_MAX: usize = 256;
/// What is done of such a framework's calls and events one after the other, before it is looked whether anything else comes first.
pub const MESOS_AT_ONCE_MAX: usize = 32;
/// Events for one such framework that wait for its connection; at so many nothing more is taken from the core for it, whose
/// own limit is [`SESSION_OUTBOX_LEN`].
pub const MESOS_EVENTS_MAX: usize = 64;
/// From one UPDATE_FRAMEWORK of such a framework to the next: each is a subscription in the core, which refuses those of one
/// framework above fifty in a second; further ones wait.
pub const MESOS_UPDATE_INTERVAL: Duration = Duration::from_millis(40);
/// Calls of one such framework that there was no room for in the core and that are asked again later; then it makes no
/// further one.
pub const MESOS_RETRIES_MAX: usize = 16;
/// Frameworks of Mesos's API of which a master remembers in its term that they were subscribed; the oldest are forgotten, and
/// their calls are answered as those of unknown ones.
pub const MESOS_REMEMBERED_MAX: usize = 10_000;
/// How often lost agents are looked for, for the frameworks of Mesos's API that are subscribed.
pub const MESOS_LOSSES_INTERVAL: Duration = Duration::from_secs(1);
/// Lost agents that a framework is still to be told of; of the oldest beyond it is not told, and finds out when it reconciles.
pub const MESOS_LOSSES_MAX: usize = 16_384;
/// For so long what was looked up of agents' addresses is told in updates; then it is looked up again.
pub const MESOS_ADDRESSES_INTERVAL: Duration = Duration::from_secs(10);
/// For so long a framework's stream waits for an address, or for what a task had, that is not known; then the update is told
/// without it. For so long a call waits for whether its agent is known; then it counts as unknown.
pub const MESOS_ADDRESSES_WAIT: Duration = Duration::from_millis(100);
/// After such a wait what is not known is left out of updates for so long, and so long what was seen of tasks is taken as it is.
pub const MESOS_ADDRESSES_RETRY: Duration = Duration::from_secs(1);
/// For so long a subscription or a page of Mesos's waits for the address of this master's own name; then it says the name.
pub const MESOS_LOOKUP_WAIT: Duration = Duration::from_secs(1);
/// When an address that was not found is looked up again.
pub const MESOS_LOOKUP_RETRY: Duration = Duration::from_secs(5);
/// Pages and answers of Mesos's operator API that are written at once; further ones wait. So that launches never wait for
/// them.
pub const MESOS_PAGES_AT_ONCE_MAX: usize = 2;
/// How much lower than that of all others the priority of their threads is, and of those that write pages of our own lists (`nice`): with all processors busy they have about a
/// tenth of one.
pub const BACKGROUND_NICENESS: i32 = 10;
/// Bytes of a page or an answer above which it is shared: all who ask for it within [`MESOS_SHARED_FOR`] get the same. Smaller
/// ones are written anew for whoever asks.
pub const MESOS_SHARED_LEN: usize = 256 * 1024;
/// How much earlier than it was asked for what a shared page shows may be; then it is written anew.
pub const MESOS_SHARED_FOR: Duration = Duration::from_millis(250);
/// For so long who asks waits for a page that is written anew, if there is one before it that is not too old; then that one is
/// given out.
pub const MESOS_SHARED_PATIENCE: Duration = Duration::from_millis(10);
/// How much earlier than it was asked for what such a page shows may be.
pub const MESOS_SHARED_AGE_MAX: Duration = Duration::from_secs(1);
/// Bytes of pages and answers that are sent at once within [`SENT_INTERVAL`], to all together; before each further piece threads
/// of more importance have their turn.
pub const SENT_AT_ONCE_MAX: usize = 8 * 1024 * 1024;
/// In which so much is sent at once: with [`SENT_AT_ONCE_MAX`], 80 MiB in a second.
pub const SENT_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes of a page or an answer that go to its connection in one piece.
pub const MESOS_PIECE_LEN: usize = 256 * 1024;
/// Bytes of a page or an answer up to which it goes at once, and does not count for [`MESOS_ANSWERS_BYTES_MAX`].
pub const MESOS_LIGHT_LEN: usize = 16 * 1024;
/// How long the connection of a longer one may take nothing of it; then it is broken off.
pub const MESOS_ANSWER_UNREAD_MAX: Duration = Duration::from_secs(60);
/// Bytes of longer ones that are in memory until their last reader has them; of one that is shared they count once.
/// One for which there is no room is refused (503), unless it is the only one.
pub const MESOS_ANSWERS_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;
/// Subscribers of Mesos's operator API at once; for a further one the oldest is ended.
pub const MESOS_WATCHES_MAX: usize = 1_000;
/// For so long the further one waits for the end of that; then it is refused (503).
pub const MESOS_WATCHES_WAIT: Duration = Duration::from_secs(1);
