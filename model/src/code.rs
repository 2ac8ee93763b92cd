//! The closed list of problem codes. A test holds that each has a section in `docs/errors.md`.

use crate::problem::{Code, Kind};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $kind:ident;)+) => {
        $($(#[doc = $doc])+ pub const $name: Code = Code { name: $text, kind: Kind::$kind };)+
        /// Every code, in the order of this file.
        pub const ALL: &[Code] = &[$($name),+];
    };
}

codes! {
    /// A field that must be given is missing.
    FIELD_MISSING = "field.missing", Invalid;
    /// A field has a value outside what it may hold.
    FIELD_INVALID = "field.invalid", Invalid;
    /// A field that does not exist was given.
    FIELD_UNKNOWN = "field.unknown", Invalid;
    /// Text, bytes or a list is longer than its limit.
    FIELD_TOO_LONG = "field.too_long", Invalid;
    /// An id has a form that ids may not have.
    ID_INVALID = "id.invalid", Invalid;
    /// The body is not the JSON, TOML or protobuf that it should be.
    BODY_MALFORMED = "body.malformed", Invalid;
    /// The body is larger than this address takes (HTTP 413).
    BODY_TOO_LARGE = "body.too_large", Invalid;
    /// Resources cannot be read, are negative, tiny, too large or given twice.
    RESOURCES_INVALID = "resources.invalid", Invalid;
    /// A range is reversed or overlaps another.
    RANGES_INVALID = "resources.ranges_invalid", Invalid;
    /// A reservation cannot be made or taken away.
    RESERVATION_INVALID = "reservation.invalid", Invalid;
    /// A volume cannot be made, changed or destroyed like this.
    VOLUME_INVALID = "volume.invalid", Invalid;
    /// The volume is not among the resources.
    VOLUME_UNKNOWN = "volume.unknown", NotFound;
    /// Something cannot be fetched into a sandbox.
    FETCH_INVALID = "fetch.invalid", Invalid;
    /// Attributes cannot be read.
    ATTRIBUTES_INVALID = "attributes.invalid", Invalid;
    /// The task asks for resources that its offers do not hold.
    TASK_RESOURCES_NOT_OFFERED = "task.resources_not_offered", Conflict;
    /// A task with this id is live or unacknowledged.
    TASK_DUPLICATE = "task.duplicate", Conflict;
    /// An operation names resources that its offers do not hold.
    RESOURCES_NOT_OFFERED = "resources.not_offered", Conflict;
    /// The resources are held by tasks, or not there.
    RESOURCES_NOT_FREE = "resources.not_free", Conflict;
    /// There is a volume of this id for the role on the agent.
    VOLUME_EXISTS = "volume.exists", Conflict;
    /// A task uses the volume.
    VOLUME_IN_USE = "volume.in_use", Conflict;
    /// A quota contradicts itself or the quota of a role above or beneath.
    QUOTA_INVALID = "quota.invalid", Invalid;
    /// More is guaranteed than the cluster has, or less is allowed than the role holds.
    QUOTA_EXCEEDED = "quota.exceeded", Conflict;
    /// Nothing names the role.
    ROLE_UNKNOWN = "role.unknown", NotFound;
    /// Another task of its group is refused.
    TASK_GROUP_REFUSED = "task.group_refused", Conflict;
    /// The executor runs with another spec, or the tasks of a group have several.
    EXECUTOR_CONFLICT = "executor.conflict", Conflict;
    /// There is no such executor, or it has ended.
    EXECUTOR_UNKNOWN = "executor.unknown", NotFound;
    /// The task has ended.
    TASK_ENDED = "task.ended", Conflict;
    /// There is no such task.
    TASK_UNKNOWN = "task.unknown", NotFound;
    /// The offer was rescinded, accepted, declined or has expired.
    OFFER_GONE = "offer.gone", Conflict;
    /// The offers of one accept are of several agents or roles.
    OFFER_MIXED = "offer.mixed", Invalid;
    /// There is no such framework.
    FRAMEWORK_UNKNOWN = "framework.unknown", NotFound;
    /// The framework is owned by another principal.
    FRAMEWORK_FOREIGN = "framework.foreign", Forbidden;
    /// The framework was torn down or its failover timeout passed; its id is never used again.
    FRAMEWORK_COMPLETED = "framework.completed", Conflict;
    /// The call came before the session was subscribed, or twice.
    SESSION_ORDER = "session.order", Conflict;
    /// Another session of the framework has taken over.
    SESSION_FENCED = "session.fenced", Conflict;
    /// The session reads too slowly or sends too much.
    SESSION_OVERLOADED = "session.overloaded", Exhausted;
    /// The call is of another leadership term.
    SESSION_STALE_EPOCH = "session.stale_epoch", Conflict;
    /// The framework calls more often than it may.
    SESSION_RATE_LIMITED = "session.rate_limited", Exhausted;
    /// A generation that is not newer than the last one.
    GENERATION_STALE = "generation.stale", Conflict;
    /// The call is of an earlier leadership term.
    EPOCH_STALE = "epoch.stale", Conflict;
    /// The agent belongs to another cluster.
    AGENT_CLUSTER_CHANGED = "agent.cluster_changed", Conflict;
    /// The agent's id is in use by another host, or it was offered another one.
    AGENT_REFUSED = "agent.refused", Conflict;
    /// An operator has said that the agent is gone; its id is never used again.
    AGENT_GONE = "agent.gone", Conflict;
    /// There is no such agent.
    AGENT_UNKNOWN = "agent.unknown", NotFound;
    /// The agent is not connected.
    AGENT_AWAY = "agent.away", Conflict;
    /// The agent's checkpoints cannot be read.
    AGENT_CHECKPOINT_DAMAGED = "agent.checkpoint_damaged", Internal;
    /// The version in the framework's state is not the one expected.
    STATE_VERSION = "state.version", Conflict;
    /// More has changed since the position of a watch than is remembered, or it is of another term.
    WATCH_EXPIRED = "watch.expired", Conflict;
    /// There is no such key in the framework's state.
    STATE_KEY_UNKNOWN = "state.key_unknown", NotFound;
    /// The framework's state would be larger than its limit.
    STATE_TOO_LARGE = "state.too_large", Exhausted;
    /// The store cannot be read or written, or belongs to a newer version.
    STORE_FAILED = "store.failed", Unavailable;
    /// Another master leads and has written to the log.
    STORE_DEPOSED = "store.deposed", Unavailable;
    /// A store is to be restored into, and there is something in it.
    STORE_NOT_EMPTY = "store.not_empty", Conflict;
    /// The file is no backup, or not as it was written.
    BACKUP_DAMAGED = "backup.damaged", Invalid;
    /// A newer version wrote the backup.
    BACKUP_NEWER = "backup.newer", Invalid;
    /// This master does not lead, or has not recovered yet.
    MASTER_NOT_LEADING = "master.not_leading", Unavailable;
    /// No token or certificate was given, or it is not valid.
    AUTH_MISSING = "auth.missing", Unauthenticated;
    /// The principal may not do this.
    AUTH_DENIED = "auth.denied", Forbidden;
    /// The request's Host or Origin is not this server's own.
    AUTH_FOREIGN_ORIGIN = "auth.foreign_origin", Forbidden;
    /// There is nothing at this address.
    ROUTE_UNKNOWN = "route.unknown", NotFound;
    /// The address does not take this method or content type.
    ROUTE_METHOD = "route.method", Invalid;
    /// A configuration file or flag is wrong.
    CONFIG_INVALID = "config.invalid", Invalid;
    /// A port is in use by another process.
    PORT_TAKEN = "port.taken", Conflict;
    /// A data directory is in use by another process.
    DIRECTORY_LOCKED = "directory.locked", Conflict;
    /// A file that is to be written is there already.
    FILE_EXISTS = "file.exists", Conflict;
    /// A file cannot be read or written.
    FILE_FAILED = "file.failed", Internal;
    /// An app with this id exists already.
    APP_EXISTS = "app.exists", Conflict;
    /// There is no such app.
    APP_UNKNOWN = "app.unknown", NotFound;
    /// A field of an app is wrong.
    APP_INVALID = "app.invalid", Invalid;
    /// The app's instances end one after the other.
    APP_FAILING = "app.failing", Unavailable;
    /// The app is being deployed.
    APP_LOCKED = "app.locked", Conflict;
    /// There is no such deployment.
    DEPLOYMENT_UNKNOWN = "deployment.unknown", NotFound;
    /// The app asks for a service port that another app has.
    APP_PORT_TAKEN = "app.port_taken", Conflict;
    /// A label of an app cannot be used by discovery.
    LABEL_INVALID = "label.invalid", Invalid;
    /// HAProxy is not installed, or refuses the configuration.
    HAPROXY_FAILED = "haproxy.failed", Unavailable;
    /// A peer did not answer in time or closed the connection.
    PEER_UNREACHABLE = "peer.unreachable", Unavailable;
    /// What a command waited for did not come in time; it may still come.
    WAIT_TIMED_OUT = "wait.timed_out", Unavailable;
    /// A queue is full.
    OVERLOADED = "server.overloaded", Exhausted;
    /// A defect of Proffer itself.
    INTERNAL = "server.internal", Internal;
}
