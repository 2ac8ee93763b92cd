//! Deployments: an app on its way from one definition to another. At most one an app; it ends when as many healthy
//! instances of the new definition run as are wanted and no other.
//!
//! What it does is not kept as steps: [`crate::plan`] finds the next moves out of what runs now, so that a deployment goes
//! on after any restart from where it is.

use crate::app::AppSpec;
use crate::id::{DeploymentId, Version};

/// What a deployment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeploymentKind {
    /// The app is new.
    Start,
    /// Only the number of instances changes, or nothing that instances see.
    Scale,
    /// Instances are replaced by others.
    Replace,
    /// The app is removed.
    Stop,
}

impl DeploymentKind {
    /// Marathon's names of its steps, one action each.
    pub fn actions(self) -> &'static [&'static str] {
        match self {
            Self::Start => &["StartApplication", "ScaleApplication"],
            Self::Scale => &["ScaleApplication"],
            Self::Replace => &["RestartApplication"],
            Self::Stop => &["StopApplication"],
        }
    }
}

/// A deployment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// What it is for.
    pub kind: DeploymentKind,
    /// The app's version that it leads to.
    pub version: Version,
    /// What the app was, to go back to; none for a new app.
    pub previous: Option<Box<Previous>>,
}

/// What an app was before a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its definition.
    pub spec: AppSpec,
    /// Its version.
    pub version: Version,
    /// See [`crate::app::App::last_scaling`].
    pub last_scaling: Version,
    /// See [`crate::app::App::last_config`]. Going back makes instances of then good again.
    pub last_config: Version,
}
