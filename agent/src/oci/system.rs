//! The system calls of containers that have no safe wrapper.
#![expect(
    unsafe_code,
    reason = "close_range, dispositions of signals, descriptors across a clone, and what runs between fork and exec have no safe wrapper"
)]

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, setgid, setsid, setuid};

use crate::oci::seccomp::Filters;

/// Closes what whoever called has left open but for the standard descriptors: none of it may get into a container.
pub(super) fn close_inherited() {
    // SAFETY: nothing has been opened yet, so no descriptor from 3 on belongs to any Rust value.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Rust's start-up lets writes to a closed pipe fail; the task's program must get the signal, as it expects.
pub(super) fn default_sigpipe() -> io::Result<()> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(())
}

/// Writes to a descriptor that this process has inherited, as far as it takes it.
pub(super) fn write_to(descriptor: RawFd, bytes: &[u8]) {
    // SAFETY: the descriptor was open in the process that this one was cloned from, and nothing here closes it.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    // Whoever reads it may be gone.
    let _ = rustix::io::write(descriptor, bytes);
}

/// Gives a command that enters a container what only the child can do for itself, between fork and exec: a session of
/// its own, the user, an end with its parent, and the filters of system calls.
pub(super) fn prepare_entry(command: &mut Command, user: (u32, u32), filters: Filters) {
    let in_child = move || {
        setsid()?;
        setgid(Gid::from_raw(user.1))?;
        setuid(Uid::from_raw(user.0))?;
        // After the user, which would take it back.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        filters.apply()
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, and this process has one thread.
    unsafe { command.pre_exec(in_child) };
}
