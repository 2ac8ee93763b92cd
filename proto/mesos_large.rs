/// Fields that most messages are without and that would take much room in them, so that they are kept apart: of the two bytes of
/// an empty operation 7 KB would become. The build reads this, too.
const MESOS_LARGE: [&str; 13] = [
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
