//! The closed list of problem codes, each with what to do when nothing more precise is known. A test holds that each has a
//! section in `docs/errors.md`.

use crate::problem::{Code, Kind};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $kind:ident, $remedy:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code { name: $text, kind: Kind::$kind, remedy: $remedy };)+
        /// Every code, in the order of this file.
        pub const ALL: &[Code] = &[$($name),+];
    };
}

codes! {
    /// A field that must be given is missing.
    FIELD_MISSING = "field.missing", Invalid, "give it a value";
    /// A field has a value outside what it may hold.
    FIELD_INVALID = "field.invalid", Invalid,
        "give a value that the field may hold, as the message and the .proto file say";
    /// A field that does not exist was given.
    FIELD_UNKNOWN = "field.unknown", Invalid, "see how the field is spelt, or leave it out";
    /// Text, bytes or a list is longer than its limit.
    FIELD_TOO_LONG = "field.too_long", Invalid, "give less, or split it";
    /// An id has a form that ids may not have.
    ID_INVALID = "id.invalid", Invalid,
        "use 1 to 200 bytes without white space, '/', '\\', '%' and control characters";
    /// The body is not the JSON, TOML or protobuf that it should be.
    BODY_MALFORMED = "body.malformed", Invalid,
        "send what the address takes, in the form that it takes";
    /// The body is larger than this address takes (HTTP 413).
    BODY_TOO_LARGE = "body.too_large", Invalid, "send less at once";
    /// Resources cannot be read, are negative, tiny, too large or given twice.
    RESOURCES_INVALID = "resources.invalid", Invalid,
        "write an amount as cpus:2, numbers as ports:[31000-31010], a set as zones:{a,b}";
    /// A range is reversed or overlaps another.
    RANGES_INVALID = "resources.ranges_invalid", Invalid,
        "write [31000-32000] or [31000-31005, 31010-31020]";
    /// A reservation cannot be made or taken away.
    RESERVATION_INVALID = "reservation.invalid", Invalid,
        "reserve from the top of the tree downwards: eng before eng/web";
    /// A volume cannot be made, changed or destroyed like this.
    VOLUME_INVALID = "volume.invalid", Invalid,
        "make volumes of reserved disk that has a file system and is not revocable";
    /// The volume is not among the resources.
    VOLUME_UNKNOWN = "volume.unknown", NotFound, "name a volume that is among the resources";
    /// Something cannot be fetched into a sandbox.
    FETCH_INVALID = "fetch.invalid", Invalid, "see docs/fetching.md for what can be fetched";
    /// Attributes cannot be read.
    ATTRIBUTES_INVALID = "attributes.invalid", Invalid, "write name:value;name:value";
    /// The task asks for resources that its offers do not hold.
    TASK_RESOURCES_NOT_OFFERED = "task.resources_not_offered", Conflict,
        "launch within what the offers hold";
    /// A task with this id is live or unacknowledged.
    TASK_DUPLICATE = "task.duplicate", Conflict,
        "use an id once, or acknowledge its last status first";
    /// An operation names resources that its offers do not hold.
    RESOURCES_NOT_OFFERED = "resources.not_offered", Conflict,
        "name resources as they are offered, and no more than is left of them";
    /// The resources are held by tasks, or not there.
    RESOURCES_NOT_FREE = "resources.not_free", Conflict,
        "name resources as the agent has them, and no more than no task holds";
    /// There is a volume of this id for the role on the agent.
    VOLUME_EXISTS = "volume.exists", Conflict, "give the volume another id";
    /// A task uses the volume.
    VOLUME_IN_USE = "volume.in_use", Conflict, "end the task first";
    /// A quota contradicts itself or the quota of a role above or beneath.
    QUOTA_INVALID = "quota.invalid", Invalid,
        "fit the quota to those of the roles above and beneath";
    /// More is guaranteed than the cluster has, or less is allowed than the role holds.
    QUOTA_EXCEEDED = "quota.exceeded", Conflict, "ask for less, or force it";
    /// Nothing names the role.
    ROLE_UNKNOWN = "role.unknown", NotFound, "list the roles";
    /// Another task of its group is refused.
    TASK_GROUP_REFUSED = "task.group_refused", Conflict,
        "mend the other task, and launch the group anew";
    /// The executor runs with another spec, or the tasks of a group have several.
    EXECUTOR_CONFLICT = "executor.conflict", Conflict, "give another spec another id";
    /// There is no such executor, or it has ended.
    EXECUTOR_UNKNOWN = "executor.unknown", NotFound,
        "launch a task of the executor first: it lives from then until it exits or is told to end";
    /// The task has ended.
    TASK_ENDED = "task.ended", Conflict, "launch another one";
    /// There is no such task.
    TASK_UNKNOWN = "task.unknown", NotFound,
        "list the tasks, or reconcile; after a change of leader agents come to say what they run";
    /// The offer was rescinded, accepted, declined or has expired.
    OFFER_GONE = "offer.gone", Conflict, "wait for another offer";
    /// The offers of one accept are of several agents or roles.
    OFFER_MIXED = "offer.mixed", Invalid,
        "accept the offers of each agent and role in a call of their own";
    /// There is no such framework.
    FRAMEWORK_UNKNOWN = "framework.unknown", NotFound,
        "subscribe without an id to become a new framework";
    /// The framework is owned by another principal.
    FRAMEWORK_FOREIGN = "framework.foreign", Forbidden,
        "use the token of the principal that owns it";
    /// The framework was torn down or its failover timeout passed; its id is never used again.
    FRAMEWORK_COMPLETED = "framework.completed", Conflict,
        "subscribe without an id, or under another one with create";
    /// The call came before the session was subscribed, or twice.
    SESSION_ORDER = "session.order", Conflict,
        "make Subscribe the first call of a session, and the only one";
    /// Another session of the framework has taken over.
    SESSION_FENCED = "session.fenced", Conflict,
        "stop deciding: another session is active as the framework now";
    /// The session reads too slowly or sends too much.
    SESSION_OVERLOADED = "session.overloaded", Exhausted,
        "connect again, and read faster than events come";
    /// The call is of another leadership term.
    SESSION_STALE_EPOCH = "session.stale_epoch", Conflict,
        "subscribe anew, and see from the statuses what was done";
    /// The framework calls more often than it may.
    SESSION_RATE_LIMITED = "session.rate_limited", Exhausted,
        "try again after the time that is given, and call less often";
    /// A generation that is not newer than the last one.
    GENERATION_STALE = "generation.stale", Conflict, "raise the generation";
    /// The call is of an earlier leadership term.
    EPOCH_STALE = "epoch.stale", Conflict,
        "another master leads; if the store was rebuilt, raise its epoch";
    /// The agent belongs to another cluster.
    AGENT_CLUSTER_CHANGED = "agent.cluster_changed", Conflict,
        "if that is meant, stop the agent's tasks and give it a new work directory";
    /// The agent's id is in use by another host, or it was offered another one.
    AGENT_REFUSED = "agent.refused", Conflict, "give each host a work directory of its own";
    /// An operator has said that the agent is gone; its id is never used again.
    AGENT_GONE = "agent.gone", Conflict,
        "stop the agent, remove its work directory and start it: it joins as another one";
    /// There is no such agent.
    AGENT_UNKNOWN = "agent.unknown", NotFound, "list the agents";
    /// The agent is not connected.
    AGENT_AWAY = "agent.away", Conflict, "try again when the agent is connected";
    /// The agent's checkpoints cannot be read.
    AGENT_CHECKPOINT_DAMAGED = "agent.checkpoint_damaged", Internal,
        "restore the file, or stop the tasks and remove the run's directory";
    /// The version in the framework's state is not the one expected.
    STATE_VERSION = "state.version", Conflict, "read the key again, and decide anew";
    /// More has changed since the position of a watch than is remembered, or it is of another term.
    WATCH_EXPIRED = "watch.expired", Conflict, "watch anew, and forget what was told before";
    /// There is no such key in the framework's state.
    STATE_KEY_UNKNOWN = "state.key_unknown", NotFound, "list the keys, or put one first";
    /// The framework's state would be larger than its limit.
    STATE_TOO_LARGE = "state.too_large", Exhausted,
        "keep less, and delete keys that are not needed";
    /// The store cannot be read or written, or belongs to a newer version.
    STORE_FAILED = "store.failed", Unavailable,
        "see that the store is there, can be written, and is of this version or an older one";
    /// Another master leads and has written to the log.
    STORE_DEPOSED = "store.deposed", Unavailable, "ask the master that leads now";
    /// A store is to be restored into, and there is something in it.
    STORE_NOT_EMPTY = "store.not_empty", Conflict,
        "name another directory, or another path in ZooKeeper";
    /// The file is no backup, or not as it was written.
    BACKUP_DAMAGED = "backup.damaged", Invalid, "use another copy, or an older backup";
    /// A newer version wrote the backup.
    BACKUP_NEWER = "backup.newer", Invalid, "restore it with that version or a later one";
    /// This master does not lead, or has not recovered yet.
    MASTER_NOT_LEADING = "master.not_leading", Unavailable,
        "call the leader, or try again in a moment";
    /// No token or certificate was given, or it is not valid.
    AUTH_MISSING = "auth.missing", Unauthenticated,
        "send the header authorization: Bearer, and the content of the token file";
    /// The principal may not do this.
    AUTH_DENIED = "auth.denied", Forbidden, "use the token of a principal that may";
    /// The request's Host or Origin is not this server's own.
    AUTH_FOREIGN_ORIGIN = "auth.foreign_origin", Forbidden,
        "use 127.0.0.1, localhost or the listen address";
    /// There is nothing at this address.
    ROUTE_UNKNOWN = "route.unknown", NotFound,
        "check the address, and that this is the port of the role you mean";
    /// The address does not take this method or content type.
    ROUTE_METHOD = "route.method", Invalid,
        "use a method and a content type that the address takes";
    /// A configuration file or flag is wrong.
    CONFIG_INVALID = "config.invalid", Invalid,
        "mend the file or the flag; --check-config looks at it without starting";
    /// A port is in use by another process.
    PORT_TAKEN = "port.taken", Conflict, "choose another port";
    /// A data directory is in use by another process.
    DIRECTORY_LOCKED = "directory.locked", Conflict,
        "stop the other process, or choose another directory";
    /// A file that is to be written is there already.
    FILE_EXISTS = "file.exists", Conflict, "choose another name, or say --force";
    /// A file cannot be read or written.
    FILE_FAILED = "file.failed", Internal,
        "see that the file is there, and that this user may read and write it";
    /// An app with this id exists already.
    APP_EXISTS = "app.exists", Conflict, "change it with PUT or proffer apply";
    /// There is no such app.
    APP_UNKNOWN = "app.unknown", NotFound, "list the apps";
    /// A field of an app is wrong.
    APP_INVALID = "app.invalid", Invalid, "mend the field";
    /// The app's instances end one after the other.
    APP_FAILING = "app.failing", Unavailable, "look at the logs of the app, then mend or remove it";
    /// The app is being deployed.
    APP_LOCKED = "app.locked", Conflict, "wait, cancel the deployment, or force the change";
    /// There is no such deployment.
    DEPLOYMENT_UNKNOWN = "deployment.unknown", NotFound, "list the deployments: it may have ended";
    /// The app asks for a service port that another app has.
    APP_PORT_TAKEN = "app.port_taken", Conflict,
        "choose another service port, or 0 to be given one";
    /// A label of an app cannot be used by discovery.
    LABEL_INVALID = "label.invalid", Invalid, "mend the label, or leave it out";
    /// HAProxy is not installed, or refuses the configuration.
    HAPROXY_FAILED = "haproxy.failed", Unavailable,
        "install HAProxy, and see what it says of the configuration";
    /// A peer did not answer in time or closed the connection.
    PEER_UNREACHABLE = "peer.unreachable", Unavailable, "see that the peer runs and can be reached";
    /// What a command waited for did not come in time; it may still come.
    WAIT_TIMED_OUT = "wait.timed_out", Unavailable,
        "ask proffer why, or wait longer with --timeout";
    /// A queue is full.
    OVERLOADED = "server.overloaded", Exhausted, "try again in a moment, and ask for less";
    /// A defect of Proffer itself.
    INTERNAL = "server.internal", Internal,
        "report it, with the log around it: it is a defect of Proffer";
}
