"""Every limit of the SDK: its unit and what happens at it."""

# Seconds for a connection to be made; then the next master is tried.
CONNECT_TIMEOUT = 3.0
# Seconds from connection to subscription; then the next master is tried.
SUBSCRIBE_TIMEOUT = 10.0
# Times that one connection is asked for a session when what the master said to that was lost; then the next master is tried.
SUBSCRIBE_TRIES_MAX = 5
# Seconds for the answer to a call; then the session is begun anew, for the call's fate is not known.
CALL_TIMEOUT = 30.0
# Heartbeat intervals without any event; then the session is begun anew.
HEARTBEATS_MISSED_MAX = 5
# Seconds before the masters are tried for the second time, at the longest; doubles with each round.
BACKOFF_FIRST = 0.1
# Seconds between two rounds, at the longest.
BACKOFF_MAX = 2.0
# Seconds to the next time that what is wanted is said, when it is refused for the moment and the master does not say how long.
DEMAND_RETRY_INTERVAL = 5.0
# Seconds between two questions about tasks of unknown fate, unless an agent settles.
ASK_INTERVAL = 5.0
# Seconds from one warning that tasks are not settled because an agent cannot be reached to the next.
SETTLE_WARNING_INTERVAL = 60.0
# Seconds for which agents that settle together cause one question.
ASK_DELAY = 0.1
# Calls that wait for their answer; one more is refused with `server.overloaded`.
CALLS_PENDING_MAX = 10_000
# Bytes of an id; a longer one is refused with `id.invalid`.
ID_LEN_MAX = 200
# Task ids in one question; more are asked in several.
IDS_PER_CALL_MAX = 10_000
# Events that wait for the handlers, at which the session is not read on unless somebody waits for an answer.
BACKLOG_PAUSE = 1_024
# Events that wait for the handlers, at which the session is begun anew.
BACKLOG_MAX = 100_000
# Bytes of a message; a longer call is refused with `field.too_long`.
MESSAGE_LEN_MAX = 8 * 1024 * 1024
# Bytes of one value of a framework's state; a longer one is refused with `state.too_large`.
STATE_VALUE_LEN_MAX = 256 * 1024
# Ended tasks that are remembered; the oldest is forgotten for one more.
ENDED_REMEMBERED_MAX = 10_000
# Bytes of a token file that are read.
TOKEN_FILE_LEN_MAX = 4_096
# Masters in the list; more are refused.
MASTERS_MAX = 100
# Servers in the address of a ZooKeeper, and bytes of its path; more are refused.
ZOOKEEPER_HOSTS_MAX = 64
ZOOKEEPER_PATH_LEN_MAX = 200
# Seconds for an answer of ZooKeeper; then it counts as out of reach, and is asked again with the next round.
ZOOKEEPER_TIMEOUT = 5.0
# Seconds after which ZooKeeper forgets a client of which it hears nothing, and after which a client asks again who leads.
ZOOKEEPER_SESSION_TIMEOUT = 10.0
# Nodes of masters that are read; of more, the first by name.
ZOOKEEPER_NODES_MAX = 1_000
# Bytes of a master's node; a longer one counts as nobody's.
ZOOKEEPER_NODE_LEN_MAX = 64 * 1024
# Messages of an executor to its framework that wait for its session; further ones are left out.
EXECUTOR_MESSAGES_MAX = 64
# Bytes of a message of an executor to its framework, and of a status's text; more are refused with `field.too_long`, and of the
# text left out.
EXECUTOR_DATA_LEN_MAX = 64 * 1024
# Bytes of a status's data; more are refused with `field.too_long`.
STATUS_DATA_LEN_MAX = 1024 * 1024 + 64 * 1024
# Statuses of one task that an executor keeps until they are acknowledged; at it, one that says more of the same state takes
# the place of the last, as with the agent. Changes of state are always kept: a task has at most four.
EXECUTOR_STATUSES_MAX = 16
# Statuses that an executor subscribes with; more follow one by one. The agent answers each, and lets 1,024 answers wait.
EXECUTOR_SUBSCRIBE_STATUSES_MAX = 500
# Bytes of these; what does not fit follows one by one. The agent takes 8 MiB, with the names of all tasks.
EXECUTOR_SUBSCRIBE_LEN_MAX = 4 * 1024 * 1024
# Seconds from a session of an executor that broke, or could not be begun, to the next attempt.
EXECUTOR_RETRY_INTERVAL = 0.1
