//! The volumes of a task that is a process: links in its sandbox.

use std::path::Path;

use nix::unistd::{Gid, Uid};
use proffer_model::TaskSpec;

use super::launch::{Programs, TaskUser, make_sandbox};
use crate::supervisor::protocol;
use crate::volumes::{Mounted, Taker, Volumes, link};

impl Programs {
    /// Makes the sandbox, and puts the task's volumes into it. The error is for people. Blocks: what a destroyed volume has
    /// left may be in the way.
    pub(super) fn mount(
        &self,
        dir: &Path,
        spec: &TaskSpec,
        volumes: &Volumes,
    ) -> Result<(), String> {
        // Whether it may run as that user is judged when it is prepared.
        let user = match self.named(spec.user.as_deref()) {
            Some(name) => TaskUser::find(name)?,
            None => self.user,
        };
        let owner = user.map(TaskUser::ids);
        let taker = Taker {
            user: owner.unwrap_or_else(own_ids),
            is_container: false,
        };
        let mounts = volumes.hand_over(spec, taker)?;
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

fn own_ids() -> (u32, u32) {
    (Uid::effective().as_raw(), Gid::effective().as_raw())
}
