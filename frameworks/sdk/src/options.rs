//! What an author says when they connect.

use std::time::Duration;

use proffer_model::limits::FAILOVER_TIMEOUT_DEFAULT;
use proffer_model::{FrameworkDescription, FrameworkId, Role, Secret};

use crate::limits::CALL_TIMEOUT_DEFAULT;

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The masters: `host:port` of each, also several in one text with commas between them; any of them may lead. Or where
    /// ZooKeeper says that they stand: `zk://host:port,…/path`, alone.
    pub masters: Vec<String>,
    /// The bearer token. When absent, the token file of this host is looked for at each connection, by the same rule as
    /// the servers' ([`proffer_model::token::TokenPlace`]); without such a file the master is asked without a token.
    pub token: Option<Secret>,
    /// The id from an earlier session, kept by the author, to go on as the same framework; or with `create` one of their own
    /// choice; absent: a new framework.
    pub framework_id: Option<FrameworkId>,
    /// Whether the id is the author's own choice: whoever comes first with it registers it.
    pub create: bool,
    /// Whether to wait while another program is active as this framework, instead of taking over from it: start it twice.
    pub stand_by: bool,
    /// What the framework says of itself.
    pub description: FrameworkDescription,
    /// Whether an event is acknowledged when the next one is asked for. Right for frameworks that keep nothing: a status
    /// that was being handled in a crash is told again by reconciliation, not by its agent.
    pub acknowledge_automatically: bool,
    /// How long a call may wait for its answer.
    pub call_timeout: Duration,
    /// Lets the token travel in clear text to masters beyond this host. Anyone on the way can read it.
    pub insecure_allow_plaintext: bool,
}

impl ConnectOptions {
    /// A new framework with this name and these roles; everything else as usual.
    pub fn new(
        masters: impl IntoIterator<Item = impl Into<String>>,
        name: impl Into<String>,
        roles: impl IntoIterator<Item = Role>,
    ) -> Self {
        Self {
            masters: masters.into_iter().map(Into::into).collect(),
            token: None,
            framework_id: None,
            create: false,
            stand_by: false,
            description: FrameworkDescription {
                name: name.into(),
                roles: roles.into_iter().collect(),
                failover_timeout: FAILOVER_TIMEOUT_DEFAULT,
                mesos: None,
            },
            acknowledge_automatically: false,
            call_timeout: CALL_TIMEOUT_DEFAULT,
            insecure_allow_plaintext: false,
        }
    }
}
