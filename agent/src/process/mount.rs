//! The volumes of a task that is a process: links in its sandbox; of one that an executor runs, in that of its executor.

use std::path::Path;

use nix::unistd::{Gid, Uid};
use proffer_model::{ExecutorSpec, TaskSpec, VolumeMount};
use proffer_proto::mesos::executor_mounts;

use super::launch::{Programs, TaskUser, make_sandbox};
use crate::supervisor::protocol;
use crate::volumes::{Mounted, Taker, Volumes, link, unlink};

impl Programs {
    /// Makes the sandbox, and puts the task's volumes into it. The error is for people. Blocks: what a destroyed volume has
    /// left may be in the way.
    pub(super) fn mount(
        &self,
        dir: &Path,
        spec: &TaskSpec,
        volumes: &Volumes,
    ) -> Result<(), String> {
        let give = |taker| volumes.hand_over(spec, taker);
        self.link_all(dir, spec.user.as_deref(), give)
    }

    /// The same of an executor's own.
    pub(super) fn mount_own(
        &self,
        dir: &Path,
        of: &ExecutorSpec,
        volumes: &Volumes,
    ) -> Result<(), String> {
        let give = |taker| volumes.hand_over_to_executor(of, taker);
        self.link_all(dir, of.user.as_deref(), give)
    }

    /// Puts a task's volumes into the sandbox of its executor, which lives there.
    pub(super) fn mount_for(
        &self,
        dir: &Path,
        of: &ExecutorSpec,
        spec: &TaskSpec,
        volumes: &Volumes,
    ) -> Result<(), String> {
        let give = |taker| volumes.hand_over(spec, taker);
        self.link_all(dir, of.user.as_deref(), give)
    }

    fn link_all(
        &self,
        dir: &Path,
        user: Option<&str>,
        give: impl FnOnce(Taker) -> Result<Vec<Mounted>, String>,
    ) -> Result<(), String> {
        // Whether it may run as that user is judged when it is prepared.
        let user = match self.named(user) {
            Some(name) => TaskUser::find(name)?,
            None => self.user,
        };
        let owner = user.map(TaskUser::ids);
        let taker = Taker {
            user: owner.unwrap_or_else(own_ids),
            is_container: false,
        };
        let mounts = give(taker)?;
        let sandbox = dir.join(protocol::SANDBOX);
        make_sandbox(&sandbox, owner).map_err(|error| format!("its sandbox: {error}"))?;
        for Mounted { source, path, .. } in &mounts {
            user.map_or(Ok(()), |user| user.check_reach(source))?;
            link(&sandbox, path, source, owner)
                .map_err(|error| format!("{path} in its sandbox: {error}"))?;
        }
        Ok(())
    }
}

/// Takes volumes of a task out of the sandbox of its executor, whose own stay. The error is for people.
pub(super) fn unmount(
    dir: &Path,
    of: &ExecutorSpec,
    (spec, mounts): (&TaskSpec, &[VolumeMount]),
    volumes: &Volumes,
) -> Result<(), String> {
    let own = executor_mounts(&of.info);
    let sandbox = dir.join(protocol::SANDBOX);
    let is_own = |mount: &&VolumeMount| own.iter().any(|own| own.path == mount.path);
    for mount in mounts.iter().filter(|mount| !is_own(mount)) {
        let sources = volumes.sources(&mount.volume, &spec.resources);
        unlink(&sandbox, &mount.path, &sources)
            .map_err(|error| format!("{}: {error}", mount.path))?;
    }
    Ok(())
}

fn own_ids() -> (u32, u32) {
    (Uid::effective().as_raw(), Gid::effective().as_raw())
}
