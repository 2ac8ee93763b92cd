//! All that can happen to the service framework, in the past tense: decoded and validated before it gets here.
//! Start reading the core here, then `effect.rs`, then `core.rs`.

use std::sync::Arc;

use proffer_model::session::Answer;
use proffer_model::{AgentId, FrameworkId, Offer, OfferId, Status, TaskId};

use crate::app::{App, AppPatch};
use crate::id::{AppId, DeploymentId, InstanceId};
use crate::instance::Instance;

/// A request of the REST API that waits for its reply; numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// A call to the master that gets an answer; numbered by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a timer is for. Setting a timer that is set moves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKey {
    /// Looks at all apps again, and repeats kills.
    Sweep,
    /// Asks the master about everything.
    Reconcile,
    /// The demand may be replaced again.
    Demand,
    /// An app has waited long enough after a failure, or an unreachable instance of it long enough to be given up.
    App(AppId),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The durable state was read; the first event of all.
    Loaded(Vec<Record>),
    /// A session is active; whatever was agreed in an earlier one but launches is void.
    SessionOpened {
        /// Who we are.
        framework: FrameworkId,
    },
    /// The session ended.
    SessionLost,
    /// Resources may be accepted.
    Offered(Vec<Offer>),
    /// Offers stand no longer.
    Rescinded(Vec<OfferId>),
    /// A task's status.
    Updated {
        /// What to acknowledge when it is kept.
        sequence: u64,
        /// The status.
        status: Status,
    },
    /// A call was answered.
    Answered {
        /// Which.
        call: CallId,
        /// The answer.
        answer: Answer,
    },
    /// This agent has said all that it runs. What is wanted back there has been told before.
    AgentSettled(AgentId),
    /// The resources of these tasks are wanted back, such as those on an agent that is to be empty.
    Reclaimed {
        /// Which.
        tasks: Vec<TaskId>,
        /// Whether they are; otherwise they are not any more.
        is_wanted: bool,
    },
    /// The REST API was called.
    ApiCalled {
        /// Where the reply goes.
        request: RequestId,
        /// Who called, for the event stream.
        origin: Origin,
        /// What was asked.
        call: ApiCall,
    },
    /// A timer that was set has come.
    TimerFired(TimerKey),
}

/// One value of the durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An app.
    App(Arc<App>),
    /// An instance.
    Instance(Arc<Instance>),
}

/// Who called the REST API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Address of the client.
    pub client: String,
    /// Path of the request.
    pub uri: String,
}

/// What the REST API can ask of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiCall {
    /// Makes a new app.
    CreateApp {
        /// Its definition; has an id.
        patch: Box<AppPatch>,
    },
    /// Changes an app.
    ChangeApp {
        /// Which.
        app: AppId,
        /// The changes.
        patch: Box<AppPatch>,
        /// What happens to what the changes do not name, and to an app that is not there.
        mode: ChangeMode,
        /// Whether a deployment that is under way gives way.
        force: bool,
    },
    /// Replaces all instances.
    RestartApp {
        /// Which.
        app: AppId,
        /// Whether a deployment that is under way gives way.
        force: bool,
    },
    /// Removes an app.
    DeleteApp {
        /// Which.
        app: AppId,
        /// Whether a deployment that is under way gives way.
        force: bool,
    },
    /// Ends instances; they are replaced unless the apps are scaled down.
    KillInstances {
        /// Which.
        instances: InstanceSet,
        /// Whether their apps want so many fewer from now on.
        scale: bool,
        /// Whether a deployment that is under way gives way to the scaling.
        force: bool,
    },
    /// Ends a deployment.
    CancelDeployment {
        /// Which.
        deployment: DeploymentId,
        /// Whether things are left as they are; otherwise they go back to what they were.
        leave: bool,
    },
    /// Forgets the wait after failures.
    ResetDelay {
        /// Of which app.
        app: AppId,
    },
    /// Says what is missing and why.
    ExplainApp {
        /// Of which app.
        app: AppId,
    },
    /// Lists the apps that have instances to launch.
    ListQueue,
}

/// How changes meet what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeMode {
    /// What is not named stays; a missing app is made.
    Merge,
    /// What is not named stays; a missing app is an error.
    MergeExisting,
    /// What is not named gets its default; a missing app is made.
    Replace,
}

/// Some instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceSet {
    /// These; all of them must exist and be of the app, if one is named.
    Named {
        /// Of which app.
        app: Option<AppId>,
        /// Which; those that do not exist are an error if an app is named, and ignored otherwise, as in Marathon.
        ids: Vec<InstanceId>,
    },
    /// All of an app, or those on one host.
    OfApp {
        /// Of which.
        app: AppId,
        /// On which host; all when absent.
        host: Option<String>,
    },
}
