//! All that the service framework can do, in the imperative.
//!
//! Effects are carried out in order. What stands behind a [`Effect::Persist`] waits until that is durable: durable before
//! visible. Only timers do not wait.

use std::sync::Arc;

use proffer_model::session::Call;
use proffer_model::{Problem, TaskState, Time};

use crate::app::App;
use crate::deployment::Deployment;
use crate::event::{CallId, Origin, Record, RequestId, TimerKey};
use crate::explain::{Explanation, QueueItem};
use crate::id::{AppId, DeploymentId, InstanceId, Version};
use crate::instance::Instance;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Keep these changes, in any order; no key is named twice.
    Persist(Vec<Write>),
    /// Call the master, in order. A call that has an id gets [`crate::event::Event::Answered`], unless the session ends first.
    /// A call that still waits when its session ends is dropped.
    Call {
        /// Its id; none when the answer does not matter.
        id: Option<CallId>,
        /// The call.
        call: Call,
    },
    /// Answer the REST API.
    Reply {
        /// Which request.
        request: RequestId,
        /// The answer.
        reply: Result<ApiAnswer, Refusal>,
    },
    /// Set or move a timer.
    SetTimer {
        /// Which.
        key: TimerKey,
        /// To when, by the monotonic clock.
        at: Time,
    },
    /// Tell those who follow the event stream.
    Publish(Notice),
    /// Note a fact for views, logs and metrics.
    Record(Fact),
}

/// One change of the durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Keep this.
    Put(Record),
    /// Forget an app.
    DeleteApp(AppId),
    /// Forget an instance.
    DeleteInstance(InstanceId),
}

/// What the REST API is told.
#[derive(Clone, Debug)]
pub enum ApiAnswer {
    /// The app was made.
    Created(Arc<App>),
    /// A deployment has begun, or was not needed.
    Deployed {
        /// The app's version.
        version: Version,
        /// The deployment; when nothing had to be done, one that is over.
        deployment: DeploymentId,
        /// Whether the app was made by it.
        is_new: bool,
    },
    /// These instances are being ended.
    Killed(Vec<Arc<Instance>>),
    /// The deployment was given up.
    GivenUp,
    /// Launches wait no longer.
    DelayReset,
    /// What is missing and why.
    Explained(Explanation),
    /// What is to be launched.
    Queue(Vec<QueueItem>),
}

/// Why a request of the REST API was refused; nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, at least one.
    pub problems: Vec<Problem>,
    /// The deployments that are in the way.
    pub deployments: Vec<DeploymentId>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self {
            problems: vec![problem],
            deployments: Vec::new(),
        }
    }
}

impl From<Vec<Problem>> for Refusal {
    fn from(problems: Vec<Problem>) -> Self {
        Self {
            problems,
            deployments: Vec::new(),
        }
    }
}

/// What followers of the event stream are told.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The API changed an app.
    AppPosted {
        /// Who.
        origin: Origin,
        /// The app as it is now.
        app: Arc<App>,
    },
    /// The last instance of a removed app has ended.
    AppTerminated(AppId),
    /// A task's state changed.
    TaskUpdated {
        /// Its instance.
        instance: Arc<Instance>,
        /// The state.
        state: TaskState,
        /// In words.
        message: String,
    },
    /// An instance became healthy or unhealthy.
    HealthChanged {
        /// Which.
        instance: Arc<Instance>,
        /// What it is now.
        is_healthy: bool,
    },
    /// A deployment began.
    DeploymentStarted {
        /// Of which app.
        app: AppId,
        /// Which.
        deployment: Deployment,
    },
    /// A deployment reached its end.
    DeploymentSucceeded {
        /// Of which app.
        app: AppId,
        /// Which.
        deployment: Deployment,
    },
    /// A deployment was given up for another or by hand.
    DeploymentFailed {
        /// Of which app.
        app: AppId,
        /// Which.
        deployment: Deployment,
        /// Why.
        reason: &'static str,
    },
}

/// What views, logs and metrics are told.
#[derive(Clone, Debug)]
pub enum Fact {
    /// An app is new or has changed.
    AppChanged(Arc<App>),
    /// An app is no more.
    AppRemoved(AppId),
    /// An instance is new or has changed.
    InstanceChanged(Arc<Instance>),
    /// An instance is no more.
    InstanceRemoved(InstanceId),
    /// An instance ended badly.
    InstanceFailed {
        /// Which.
        instance: Arc<Instance>,
        /// In words.
        message: String,
    },
    /// A launch was refused.
    LaunchRefused {
        /// Of which app.
        app: AppId,
        /// Why.
        problem: Problem,
    },
    /// A task that nobody here knows was reported, and is killed.
    UnknownTaskKilled(proffer_model::TaskId),
    /// A call was refused.
    CallRefused(Problem),
}
