//! The `oci` containerizer: a task in a container of its own, with an image for its root.
//!
//! The supervisor is the same as for processes, and its child is the task's first process. In between stands a program
//! that lives as long as it takes to make the container (`contain.rs`). The agent loads the image before, writes down what
//! is to be made, and ends what is left when a supervisor was killed (`cgroup.rs`).

pub(crate) mod cgroup;
mod contain;
mod containers;
mod create;
mod enter;
mod find;
mod overlay;
mod places;
mod seccomp;
mod spec;
mod system;

pub(crate) use containers::{
    CGROUP_ROOT, Containers, cgroup_of, check_places, end_container, remove_root,
};

pub(crate) use seccomp::no_programs;
pub(crate) use system::{close_inherited, is_written_by_any};

pub use contain::main as contain;
