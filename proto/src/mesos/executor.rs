//! The executor that a task is in, as its framework knows it.

use proffer_model::{TaskSpec, VolumeMount};
use prost::Message as _;

use super::resources::mounts_of;
use super::v1::{self, executor::event::Subscribed};

/// Where an executor finds the persistent volumes that it holds itself: from what it is told when it subscribes.
pub fn executor_mounts(told: &[u8]) -> Vec<VolumeMount> {
    let told = Subscribed::decode(told).unwrap_or_default();
    mounts_of(&told.executor_info.resources).unwrap_or_default()
}

/// The executor that a task is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MesosExecutor {
    /// It is to be looked up.
    #[default]
    Unknown,
    /// Mesos's command executor, which goes by the name of its task.
    Command,
    /// The DEFAULT one of a group, which is the agent itself here.
    Group(String),
    /// One of the framework's own.
    Custom(String),
}

impl MesosExecutor {
    /// That of a task.
    pub fn of(spec: &TaskSpec) -> Self {
        let custom = spec.executor.as_ref().map(|executor| executor.id.as_str());
        Self::named(custom, spec.group_executor())
    }

    /// By its name, when it is one of the framework's own, or that of a group.
    pub fn named(custom: Option<&str>, group: Option<&str>) -> Self {
        match (custom, group) {
            (Some(name), _) => Self::Custom(name.to_owned()),
            (None, Some(name)) => Self::Group(name.to_owned()),
            (None, None) => Self::Command,
        }
    }

    /// Says in a status which it is. Of the command executor only what an agent has made a status of is said, as in Mesos; the
    /// container of one of the framework's own its agent alone knows.
    pub fn name(&self, status: &mut v1::TaskStatus, is_agents: bool) {
        let name = match self {
            Self::Command if is_agents => &status.task_id.value,
            Self::Unknown | Self::Command => return,
            Self::Group(name) | Self::Custom(name) => name,
        };
        if status.executor_id.is_none() {
            status.executor_id = Some(v1::ExecutorId {
                value: name.clone(),
            });
        }
        let of_task = format!("{}-", status.task_id.value);
        if let (Self::Custom(_), Some(container)) = (self, &mut status.container_status) {
            let said = container.container_id.take();
            container.container_id = said.filter(|id| !id.value.starts_with(&of_task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_its_tasks_executor_where_that_is_known() {
        let (group, custom) = (Some("g"), Some("e"));
        for (executor, is_agents, named, container) in [
            (MesosExecutor::Unknown, true, None, Some("t-1")),
            (
                MesosExecutor::named(None, None),
                true,
                Some("t"),
                Some("t-1"),
            ),
            (MesosExecutor::named(None, None), false, None, Some("t-1")),
            (MesosExecutor::named(None, group), true, group, Some("t-1")),
            (MesosExecutor::named(None, group), false, group, Some("t-1")),
            (MesosExecutor::named(custom, None), true, custom, None),
        ] {
            let id = |value: &str| v1::ContainerId {
                value: value.to_owned(),
                parent: None,
            };
            let mut status = v1::TaskStatus {
                container_status: Some(v1::ContainerStatus {
                    container_id: Some(id("t-1")),
                    ..v1::ContainerStatus::default()
                }),
                ..v1::TaskStatus::default()
            };
            status.task_id.value = "t".to_owned();
            executor.name(&mut status, is_agents);
            let said = status.executor_id.map(|id| id.value);
            assert_eq!(said.as_deref(), named, "{executor:?} {is_agents}");
            let of = status.container_status.and_then(|it| it.container_id);
            assert_eq!(of.map(|id| id.value).as_deref(), container, "{executor:?}");
        }
    }
}
