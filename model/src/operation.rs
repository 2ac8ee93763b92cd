//! Operations: what an accept does with the resources of its offers, one after the other, each with a result of its own.
//!
//! What one makes, the next may use: reserve, then create a volume in what was reserved, then launch a task on it. Operators
//! do the same to what is free on an agent, launches aside.

use crate::epoch::Incarnation;
use crate::id::{TaskId, VolumeId};
use crate::problem::Problem;
use crate::resources::Resources;
use crate::task::TaskSpec;

/// One thing to do with offered resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Starts a task.
    Launch(Box<TaskSpec>),
    /// Starts all of these, or none.
    LaunchGroup(Vec<TaskSpec>),
    /// Adds a reservation: these resources, each with the new reservation on top of those that it is offered with.
    Reserve(Resources),
    /// Takes the topmost reservation away: these resources, as they are offered.
    Unreserve(Resources),
    /// Makes persistent volumes: reserved disk as it is to be, with the volumes' ids.
    Create(Resources),
    /// Destroys persistent volumes and all that is in them, as they are offered.
    Destroy(Resources),
    /// Makes a volume larger.
    Grow {
        /// Which.
        volume: VolumeId,
        /// By so much, in thousandths of MB, of offered disk of the same reservation.
        milli: u64,
    },
    /// Makes a volume smaller.
    Shrink {
        /// Which.
        volume: VolumeId,
        /// By so much, in thousandths of MB.
        milli: u64,
    },
}

impl Operation {
    /// Starts a task.
    pub fn launch(spec: TaskSpec) -> Self {
        Self::Launch(Box::new(spec))
    }

    /// The tasks that it starts.
    pub fn tasks(&self) -> &[TaskSpec] {
        match self {
            Self::Launch(spec) => std::slice::from_ref(spec),
            Self::LaunchGroup(specs) => specs,
            _ => &[],
        }
    }
}

/// What became of one operation, in the order of the accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// Of a launch: the incarnation, or why not.
    Launched(LaunchResult),
    /// Of a launch group: of each task. All are launched or none.
    LaunchedGroup(Vec<LaunchResult>),
    /// Done, under this epoch; durable when it is answered.
    Done,
    /// Refused; nothing of it was done, and the operations after it were judged without it.
    Refused(Problem),
}

/// What became of one launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchResult {
    /// The task.
    pub task: TaskId,
    /// Its incarnation, or why it was refused.
    pub outcome: Result<Incarnation, Problem>,
}

impl OperationResult {
    /// What became of each task that it was to start.
    pub fn launches(&self) -> &[LaunchResult] {
        match self {
            Self::Launched(result) => std::slice::from_ref(result),
            Self::LaunchedGroup(results) => results,
            _ => &[],
        }
    }
}
