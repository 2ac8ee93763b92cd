//! The shared vocabulary of Proffer: ids, resources and their arithmetic, task states, what frameworks, agents and
//! masters say to one another, limits.
//!
//! Pure: no clock, no randomness, no I/O, no hash order. Values of these types are valid by construction; text and bytes
//! from outside become them in one place each (`FromStr` here, `proffer-proto` for the wire).
//! Start reading at [`resources`], then [`task`], then [`session`] and [`link`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod agent;
pub mod attribute;
pub mod checkpoint;
pub mod code;
pub mod demand;
pub mod discovery;
pub mod epoch;
pub mod executor;
pub mod fetch;
pub mod framework;
pub mod id;
pub mod image;
pub mod kept_volume;
pub mod leader;
pub mod limits;
pub mod link;
pub mod made;
pub mod mount;
pub mod offer;
pub mod operation;
pub mod pattern;
pub mod problem;
pub mod quantities;
pub mod quota;
pub mod ranges;
pub mod registry;
pub mod resource_kind;
pub mod resources;
pub mod secret;
pub mod session;
pub mod state;
pub mod task;
pub mod time;
pub mod token;

pub use agent::{AgentDescription, AgentState, Drain, FaultDomain};
pub use attribute::{AttributeValue, Attributes};
pub use demand::{AtMost, Demand, DemandEntry, Exclusion, Key, Predicate, Shape, Subject, Takes};
pub use discovery::{Discovery, DiscoveryPort, Visibility};
pub use epoch::{Epoch, Generation, Incarnation};
pub use fetch::{Fetch, FetchSource};
pub use framework::FrameworkDescription;
pub use id::{
    AgentId, ClusterId, DemandId, ExecutorId, FrameworkId, OfferId, Principal, ResourceName, Role,
    StateKey, TaskId, VolumeId,
};
pub use image::ImageName;
pub use leader::Leader;
pub use offer::{Fit, Offer};
pub use operation::{LaunchResult, Operation, OperationResult};
pub use pattern::{Pattern, PatternTable};
pub use problem::{Kind, Problem};
pub use quantities::{Limits, Quantities};
pub use quota::{Quota, Weight};
pub use ranges::{Range, RangeSet};
pub use resource_kind::{Disk, DiskSource, Reservation, ResourceKind, Volume};
pub use resources::Resources;
pub use secret::Secret;
pub use task::{
    Check, CheckAnswer, CheckKind, CheckResult, Command, Container, ExecutorApi, ExecutorSpec,
    Exit, Image, ImageRules, Port, Probe, Protocol, Reason, Status, TaskSpec, TaskState,
    VolumeMount,
};
pub use time::Time;
