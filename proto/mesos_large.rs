//! Fields of Mesos's messages that are kept apart from them. The build reads this, and what counts how much a body becomes.

/// Fields that most messages are without and that would take much room in them: of the two bytes of an empty operation 7 KB would
/// become.
pub(crate) const MESOS_LARGE: [&str; 13] = [
    "Resource.disk",
    "Offer.Operation.create_disk",
    "Offer.Operation.destroy_disk",
    "Offer.Operation.grow_volume",
    "Offer.Operation.shrink_volume",
    "Offer.Operation.launch_group",
    "TaskInfo.executor",
    "TaskInfo.container",
    "TaskInfo.health_check",
    "TaskInfo.check",
    "Volume.source",
    "ContainerInfo.linux_info",
    "ExecutorInfo.container",
];
