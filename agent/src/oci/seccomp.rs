//! The system calls that a container may not make. Refused are those that reach past it, configure the host, look into
//! other processes, or make the kernel do what only few have tried, as Docker's default profile refuses them: with EPERM.
//!
//! A list of what is refused is only as good as it is complete, so every number up to [`CALL_MAX`] has been considered,
//! and those of later kernels do not exist here (ENOSYS). `clone3` does not exist either, because a filter cannot see
//! which namespaces it asks for; libraries then use `clone`. Programs of another instruction set, 32-bit ones too, are
//! ended at their first call.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, sock_filter,
};

/// The highest number that has been considered: `file_setattr` of Linux 6.17. New calls have one number everywhere.
const CALL_MAX: u32 = 469;
/// `clone3`, which has this number everywhere.
const CLONE3: u32 = 435;

/// Refused altogether.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_set_mempolicy,
    libc::SYS_set_mempolicy_home_node,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    // open_tree_attr and the calls that set security labels, which the C library does not name yet.
    467,
    460,
];

/// Refused where they exist at all.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS__sysctl,
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_sysfs,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// `clone` with any of these asks for a new namespace.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// The execution domains that may be asked for, as Docker's profile has them, and the question which is in force.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Puts a character into the input of a terminal.
const TIOCSTI: u64 = 0x5412;

/// The filters, made before they are needed: whoever applies them may be between fork and exec.
pub(crate) struct Filters {
    missing: BpfProgram,
    refused: BpfProgram,
}

/// From now on this process starts no programs and no other processes, and does nothing that a container may not do; it may have
/// threads. The error is that of the system.
pub(crate) fn no_programs() -> std::io::Result<()> {
    let filters = Filters::new().map_err(std::io::Error::other)?;
    let calls = [libc::SYS_execve, libc::SYS_execveat];
    let mut rules: Rules = calls.map(|number| (number, Vec::new())).into();
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let process = rule([(0, SeccompCmpOp::MaskedEq(thread), 0)]).map_err(std::io::Error::other)?;
    rules.insert(libc::SYS_clone, vec![process]);
    let own = program(rules).map_err(std::io::Error::other)?;
    filters.apply()?;
    apply(&own)
}

impl Filters {
    /// The error is for people.
    pub(crate) fn new() -> Result<Self, String> {
        let rules = rules().map_err(|error| error.to_string())?;
        Ok(Self {
            missing: missing(),
            refused: program(rules)?,
        })
    }

    /// Holds from now on for this process and all that it starts. Makes system calls only.
    pub(crate) fn apply(&self) -> std::io::Result<()> {
        apply(&self.missing)?;
        apply(&self.refused)
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter that refuses what the rules say; the error is for people.
fn program(rules: Rules) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|e| e.to_string())?;
    let eperm = u32::try_from(libc::EPERM).map_err(|e| e.to_string())?;
    let (other, listed) = (SeccompAction::Allow, SeccompAction::Errno(eperm));
    let filter = SeccompFilter::new(rules, other, listed, arch);
    let filter = filter.map_err(|error| error.to_string())?;
    BpfProgram::try_from(filter).map_err(|error| error.to_string())
}

fn apply(filter: &BpfProgram) -> std::io::Result<()> {
    apply_filter(filter).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        _ => std::io::ErrorKind::InvalidInput.into(),
    })
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let numbers = REFUSED.iter().chain(REFUSED_HERE);
    let mut rules: Rules = numbers.map(|number| (*number, Vec::new())).collect();
    let clones = NAMESPACES.map(|flag| {
        let flag = u64::from(flag.unsigned_abs());
        rule([(0, SeccompCmpOp::MaskedEq(flag), flag)])
    });
    rules.insert(
        libc::SYS_clone,
        clones.into_iter().collect::<Result<_, _>>()?,
    );
    let others = rule(PERSONALITIES.map(|domain| (0, SeccompCmpOp::Ne, domain)))?;
    rules.insert(libc::SYS_personality, vec![others]);
    let sti = rule([(1, SeccompCmpOp::Eq, TIOCSTI)])?;
    rules.insert(libc::SYS_ioctl, vec![sti]);
    // To the machine beneath a virtual one.
    let vsock = u64::from(libc::AF_VSOCK.unsigned_abs());
    rules.insert(
        libc::SYS_socket,
        vec![rule([(0, SeccompCmpOp::Eq, vsock)])?],
    );
    Ok(rules)
}

/// A rule that holds when all of these do: the argument's place, the comparison and the value.
fn rule<const N: usize>(
    conditions: [(u8, SeccompCmpOp, u64); N],
) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions.into_iter().map(|(place, operator, value)| {
        SeccompCondition::new(place, SeccompCmpArgLen::Dword, operator, value)
    });
    SeccompRule::new(conditions.collect::<Result<_, _>>()?)
}

/// A filter by which `clone3`, and all that is newer than this list, does not exist.
fn missing() -> BpfProgram {
    /// Loads the word at `k` of what is known of a call; its number is the first.
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_GREATER: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let instruction = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        instruction(LOAD, 0, 0),
        instruction(JUMP_IF_EQUAL, 2, CLONE3),
        instruction(JUMP_IF_GREATER, 1, CALL_MAX),
        instruction(RETURN, 0, ALLOW),
        instruction(RETURN, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_made_and_nobody_is_refused_twice() {
        let filters = Filters::new().expect("filters");
        assert!(filters.refused.len() > REFUSED.len());
        let all: std::collections::BTreeSet<_> = REFUSED.iter().chain(REFUSED_HERE).collect();
        assert_eq!(all.len(), REFUSED.len() + REFUSED_HERE.len());
        let max = i64::from(CALL_MAX);
        assert!(all.iter().all(|number| **number <= max));
    }

    /// What the system says to who wants another process, by each of these ways.
    #[expect(
        unsafe_code,
        reason = "the calls themselves: what is made of them asks for a program too"
    )]
    fn forks() -> Vec<(libc::c_long, Option<i32>)> {
        let ask = |call: &dyn Fn() -> libc::c_long| match call() {
            -1 => (-1, std::io::Error::last_os_error().raw_os_error()),
            // SAFETY: a process that should not be ends at once, and touches nothing.
            0 => unsafe { libc::_exit(0) },
            made => (made, None),
        };
        // SAFETY: the child, if there is one, only ends.
        let forked = ask(&|| unsafe { libc::fork() }.into());
        // SAFETY: without their memory nobody shares handlers of signals, so that nothing is ever made of this.
        let cloned =
            ask(&|| unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_SIGHAND, 0, 0, 0, 0) });
        let mut all = vec![forked, cloned];
        // SAFETY: as the first.
        #[cfg(target_arch = "x86_64")]
        all.push(ask(&|| unsafe { libc::syscall(libc::SYS_fork) }));
        all
    }

    #[test]
    fn who_may_start_no_programs_may_start_no_process_but_threads() {
        let confined = std::thread::spawn(|| {
            nix::sys::prctl::set_no_new_privs().expect("no new rights");
            no_programs().expect("confined");
            let started = std::process::Command::new("/bin/true").status();
            let refused = started.expect_err("no process").raw_os_error();
            let forks = forks();
            let thread = std::thread::spawn(|| 1).join();
            (refused, forks, thread.expect("it ends"))
        });
        let (program, forks, thread) = confined.join().expect("it ends");
        assert_eq!((program, thread), (Some(libc::EPERM), 1));
        let refused = (-1, Some(libc::EPERM));
        assert!(forks.iter().all(|fork| *fork == refused), "{forks:?}");
    }
}
