//! The system calls of containers that have no safe wrapper.
#![expect(
    unsafe_code,
    reason = "close_range, leases, dispositions of signals, descriptors across a clone, and what runs between fork and exec have no safe wrapper"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, setgid, setsid, setuid};

use crate::oci::seccomp::Filters;

/// Closes what whoever called has left open but for the standard descriptors: none of it may get into a container.
pub(crate) fn close_inherited() {
    // SAFETY: nothing has been opened yet, so no descriptor from 3 on belongs to any Rust value.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Whether anybody has this file open for writing, which the caller owns and has open for reading alone. An error: its file system
/// cannot say.
pub(crate) fn is_written_by_any(file: &File) -> io::Result<bool> {
    // Who holds such a lease is told when others want to write; so nobody gets one while they do.
    let set = |lease: libc::c_int| {
        // SAFETY: the descriptor is open as long as the file is borrowed; no pointers.
        match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, lease) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    };
    match set(libc::F_RDLCK) {
        Ok(()) => set(libc::F_UNLCK).map(|()| false),
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Rust's start-up lets writes to a closed pipe fail; the task's program must get the signal, as it expects.
pub(super) fn default_sigpipe() -> io::Result<()> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
    Ok(())
}

/// Keeps this process, and all that it starts, from sockets that have a name without a file and were made by others than
/// those: they belong to the network, which is the host's, and some servers of the host obey whoever is root. Kernels
/// before 6.12 cannot, and then nothing is done.
pub(super) fn confine_sockets() -> io::Result<()> {
    /// `landlock_ruleset_attr`: no rule for files or ports, and the scope.
    static ATTRIBUTES: [u64; 3] = [0, 0, SCOPE_ABSTRACT_UNIX_SOCKET];
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
    // SAFETY: the kernel reads the three words of the attributes, which live as long as the program.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ATTRIBUTES,
            size_of_val(&ATTRIBUTES),
            0_u32,
        )
    };
    if ruleset < 0 {
        return match io::Error::last_os_error() {
            error if is_unknown(&error) => Ok(()),
            error => Err(error),
        };
    }
    // SAFETY: no pointers; the descriptor is the one that the kernel has just made.
    let restricted = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0_u32) };
    let result = match restricted {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: nobody else has the descriptor.
    unsafe { libc::syscall(libc::SYS_close, ruleset) };
    result
}

/// Of a kernel that has no such rules, has them switched off, or knows less of them.
fn is_unknown(error: &io::Error) -> bool {
    let unknown = [libc::ENOSYS, libc::EOPNOTSUPP, libc::E2BIG, libc::ENOMSG];
    error
        .raw_os_error()
        .is_some_and(|number| unknown.contains(&number))
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
        confine_sockets()?;
        filters.apply()
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, and this process has one thread.
    unsafe { command.pre_exec(in_child) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_to_be_written_as_long_as_anybody_can() {
        let written = tempfile::NamedTempFile::new().expect("a file");
        let read = File::open(written.path()).expect("opened");
        let other = written.as_file().try_clone().expect("a handle");
        assert!(is_written_by_any(&read).expect("asked"));
        let path = written.into_temp_path();
        assert!(is_written_by_any(&read).expect("asked"), "the other handle");
        drop(other);
        assert!(!is_written_by_any(&read).expect("asked"));
        let again = File::options().append(true).open(&path).expect("opened");
        assert!(is_written_by_any(&read).expect("asked"));
        drop(again);
    }
}
