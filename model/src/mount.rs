//! Where a task wants to find its volumes. Refused before anything is launched, and looked at again by the agent, which
//! mounts nothing on the word of others.

use crate::code;
use crate::problem::Problem;
use crate::resources::Resources;
use crate::task::{ExecutorApi, TaskSpec, VolumeMount};

/// Where a container has what is not its volumes': the kernel's own file systems and what Proffer puts there.
const TAKEN: [&str; 5] = ["/proc", "/sys", "/dev", "/mnt/proffer", "/mnt/mesos"];
/// Files of the host in a container. They are mounted, so no volume can be above them.
const FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// Each volume is among the task's resources, once; none is inside of another. A process finds them in its own directory
/// alone, and may always write. A task of an executor of Mesos's API finds them in that of its executor.
pub fn check_mounts(spec: &TaskSpec) -> Result<(), Problem> {
    let executor = spec.executor.as_ref();
    let has_place = executor.is_none_or(|executor| executor.api == ExecutorApi::MesosV1);
    if !has_place && !spec.volumes.is_empty() {
        let message = "a task of an executor has no place of its own for volumes";
        return Err(Problem::new(code::VOLUME_INVALID, message)
            .field("volumes")
            .hint("let the agent run the task that needs them"));
    }
    check_places(&spec.resources, &spec.volumes, spec.container.is_some())
}

/// The same for whatever has these resources, and wants its volumes there.
pub fn check_places(
    resources: &Resources,
    mounts: &[VolumeMount],
    is_container: bool,
) -> Result<(), Problem> {
    for (i, mount) in mounts.iter().enumerate() {
        check_mount(resources, mount, is_container)
            .map_err(|problem| problem.within(format!("volumes[{i}]")))?;
        let mut earlier = mounts.iter().take(i);
        let overlaps = |other: &&VolumeMount| {
            is_in(&other.path, &mount.path) || is_in(&mount.path, &other.path)
        };
        if let Some(other) = earlier.find(overlaps) {
            let message = format!("{} and {} overlap", other.path, mount.path);
            return Err(Problem::new(code::VOLUME_INVALID, message)
                .field(format!("volumes[{i}].path"))
                .hint("give each volume a path outside of the others"));
        }
    }
    Ok(())
}

fn check_mount(
    resources: &Resources,
    mount: &VolumeMount,
    is_container: bool,
) -> Result<(), Problem> {
    let VolumeMount { volume, path, .. } = mount;
    let invalid = |field: &str, message: String, hint: &str| {
        Err(Problem::new(code::VOLUME_INVALID, message)
            .field(field)
            .hint(hint))
    };
    let volumes = resources.volumes();
    match volumes.filter(|(_, of, _)| of.id == *volume).count() {
        1 => {}
        0 => {
            let message = format!("volume {volume} is not among the task's resources");
            return Err(Problem::new(code::VOLUME_UNKNOWN, message)
                .field("volume_id")
                .hint("add the volume to the resources, as it is offered"));
        }
        count => {
            let message = format!("{count} of the task's volumes are called {volume}");
            let hint = "give the task one volume of each name";
            return invalid("volume_id", message, hint);
        }
    }
    let mut parts = path.strip_prefix('/').unwrap_or(path).split('/');
    if parts.any(|part| matches!(part, "" | "." | "..")) || path.contains(char::is_control) {
        let hint = "give a path such as data, without . and .. and empty parts";
        return invalid("path", format!("{path:?} is not a path to mount at"), hint);
    }
    if !is_container {
        if path.starts_with('/') {
            let hint = "give a path without / at the beginning, or run the task in a container";
            return invalid("path", format!("{path} is not in the task's sandbox"), hint);
        }
        if mount.is_read_only {
            let message = "a process cannot be given a volume to read only".to_owned();
            let hint = "run the task in a container, or let it write";
            return invalid("read_only", message, hint);
        }
    }
    let is_taken = TAKEN.iter().any(|of| is_in(of, path) || is_in(path, of));
    if is_taken || FILES.iter().any(|file| is_in(path, file)) {
        let message = format!("{path} is needed for something else in a container");
        return invalid("path", message, "mount it elsewhere, such as /data");
    }
    Ok(())
}

/// Whether a path is this directory, or in it.
fn is_in(directory: &str, path: &str) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::TaskId;
    use crate::task::{Command, Container, Image, ImageRules};

    fn spec(mounts: &[(&str, &str, bool)], is_container: bool) -> TaskSpec {
        let resources = "cpus:1;disk(eng,ops)[v]:9;disk(eng,ops)[w]:9";
        let mut spec = TaskSpec::new(
            TaskId::new("t").expect("an id"),
            Command::Shell("true".to_owned()),
            resources.parse().expect("resources"),
        );
        spec.container = is_container.then(|| Container {
            image: Image::Archive("/i.tar".to_owned()),
            rules: ImageRules::Docker,
        });
        let mounts = mounts.iter();
        let mounts = mounts.map(|(volume, path, is_read_only)| VolumeMount {
            volume: volume.parse().expect("an id"),
            path: (*path).to_owned(),
            is_read_only: *is_read_only,
        });
        spec.volumes = mounts.collect();
        spec
    }

    #[test]
    fn mounts_that_cannot_be_are_refused_with_their_field() {
        let good = "";
        let path = "volumes[0].path";
        for (mounts, is_container, field) in [
            (
                &[("v", "data", false), ("w", "data2", false)][..],
                false,
                good,
            ),
            (&[("v", "/data", true), ("w", "data", false)], true, good),
            (&[("v", "/process", false)], true, good),
            (&[("v", "/etc/app", false)], true, good),
            (&[("x", "data", false)], false, "volumes[0].volume_id"),
            (&[("v", "/data", false)], false, path),
            (&[("v", "../data", false)], false, path),
            (&[("v", "a//b", false)], false, path),
            (&[("v", "a\nb", false)], false, path),
            (&[("v", "/", false)], true, path),
            (&[("v", "data", true)], false, "volumes[0].read_only"),
            (&[("v", "/proc/1", false)], true, path),
            (&[("v", "/dev", false)], true, path),
            (&[("v", "/etc", false)], true, path),
            (&[("v", "/mnt", false)], true, path),
            (&[("v", "/mnt/proffer/sandbox/a", false)], true, path),
            (&[("v", "/mnt/mesos/sandbox", false)], true, path),
            (
                &[("v", "a", false), ("w", "a/b", false)],
                false,
                "volumes[1].path",
            ),
            (
                &[("v", "/a/b", false), ("w", "/a", false)],
                true,
                "volumes[1].path",
            ),
        ] {
            let said = check_mounts(&spec(mounts, is_container));
            let said = said.err().map_or_else(String::new, |problem| problem.field);
            assert_eq!(said, field, "{mounts:?}");
        }
    }

    #[test]
    fn a_task_of_an_executor_mounts_nothing_unless_it_was_written_for_mesos() {
        for (api, path, field) in [
            (ExecutorApi::Proffer, "data", "volumes"),
            (ExecutorApi::MesosV1, "data", ""),
            (ExecutorApi::MesosV1, "/data", "volumes[0].path"),
        ] {
            let mut spec = spec(&[("v", path, false)], false);
            spec.executor = Some(std::sync::Arc::new(crate::task::ExecutorSpec {
                id: "e".parse().expect("an id"),
                resources: crate::Resources::new(),
                command: Command::Shell("true".to_owned()),
                environment: std::collections::BTreeMap::new(),
                user: None,
                shutdown_grace: std::time::Duration::ZERO,
                api,
                info: Vec::new(),
                info_compared: None,
                fetch: Vec::new(),
            }));
            let said = check_mounts(&spec).err();
            let said = said.map_or_else(String::new, |problem| problem.field);
            assert_eq!(said, field, "{api:?} {path}");
        }
    }

    #[test]
    fn two_volumes_of_one_name_cannot_be_told_apart() {
        let mut spec = spec(&[("v", "data", false)], false);
        let both = "disk(eng,ops)[v]:9;disk(eng,ops)(eng/web,ops)[v]:9";
        spec.resources = both.parse().expect("resources");
        let problem = check_mounts(&spec).expect_err("refused");
        assert_eq!(problem.field, "volumes[0].volume_id");
    }
}
