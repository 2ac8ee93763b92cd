//! What a container is to be, in the words of the OCI runtime specification: namespaces, mounts, limits, rights.
//!
//! It shares the host's network, because its ports are resources of the host, and the host's users. Everything else is its
//! own. What it may not see of `/proc` and `/sys` is what Docker hides.

use std::path::{Path, PathBuf};

use caps::Capability;
use serde_json::{Value, json};

use crate::limits::{CPU_PERIOD_US, CPU_QUOTA_MIN_US, CPU_SHARES_MIN};
use crate::oci::cgroup::Cgroup;
use crate::supervisor::protocol::{self, Contained, Launch};

/// Where the task finds its sandbox.
pub(crate) const SANDBOX: &str = "/mnt/proffer/sandbox";
/// Where one that was written for Mesos finds it, as on Mesos's agents: many have that in their commands.
pub(crate) const MESOS_SANDBOX: &str = "/mnt/mesos/sandbox";

/// What root may do in a container: files and processes of other users there. Nothing of the network (raw sockets, ports
/// below 1024), since it is the host's; nothing of the system.
pub(super) const CAPABILITIES: [Capability; 7] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// What says something of the host, and nothing to a task.
const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/firmware",
];
/// What changes the host.
const READONLY: [&str; 6] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    CGROUPS,
];
/// Where the container finds what holds it.
const CGROUPS: &str = "/sys/fs/cgroup";
/// The host's files by which names are found, since the network is the host's.
pub(super) const HOST_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The file `config.json`.
pub(super) fn config(launch: &Launch, container: &Contained, dir: &Path, root: &Path) -> Value {
    let (uid, gid) = launch.user.unwrap_or((0, 0));
    let environment = launch.environment.iter();
    let environment: Vec<String> = environment.map(|(n, v)| format!("{n}={v}")).collect();
    let bounding: Vec<String> = CAPABILITIES.iter().map(ToString::to_string).collect();
    let effective = if uid == 0 {
        bounding.clone()
    } else {
        Vec::new()
    };
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": uid, "gid": gid, "additionalGids": container.groups, "umask": 0o022},
            "args": launch.arguments,
            "env": environment,
            "cwd": container.directory,
            "capabilities": {
                "bounding": bounding,
                "effective": effective,
                "permitted": effective,
                "inheritable": [],
                "ambient": [],
            },
            "noNewPrivileges": true,
        },
        "root": {"path": root, "readonly": false},
        "mounts": mounts(dir, &Cgroup::new(&container.cgroup).shown(), container),
        "linux": {
            "namespaces": namespaces(),
            "cgroupsPath": container.cgroup,
            "resources": resources(container),
            "maskedPaths": MASKED,
            "readonlyPaths": READONLY,
        },
    })
}

fn namespaces() -> Vec<Value> {
    let mut kinds = vec!["pid", "mount", "ipc", "uts"];
    if Path::new("/proc/self/ns/cgroup").exists() {
        kinds.push("cgroup");
    }
    kinds
        .into_iter()
        .map(|kind| json!({"type": kind}))
        .collect()
}

fn resources(container: &Contained) -> Value {
    // 1,000 thousandths of a processor are 1,024 shares.
    let shares = container.cpu_milli.saturating_mul(1_024) / 1_000;
    let quota = container.cpu_limit_milli.saturating_mul(CPU_PERIOD_US) / 1_000;
    let quota = (container.cpu_limit_milli > 0).then(|| quota.max(CPU_QUOTA_MIN_US));
    json!({
        "cpu": {
            "shares": shares.max(CPU_SHARES_MIN),
            "period": CPU_PERIOD_US,
            // Absent, and so without an end, for whatever is free.
            "quota": quota,
        },
        "memory": {"limit": container.memory_bytes},
        "pids": {"limit": container.processes_max},
        "devices": [{"allow": false, "access": "rwm"}],
    })
}

/// Where the task of this container finds its sandbox.
pub(super) fn sandbox(container: &Contained) -> &str {
    container.sandbox.as_deref().unwrap_or(SANDBOX)
}

fn mounts(dir: &Path, cgroups: &[(&str, PathBuf)], container: &Contained) -> Vec<Value> {
    let own = |place: &str, kind: &str, options: &[&str]| json!({"destination": place, "type": kind, "source": kind, "options": options});
    let bound = |place: &str, source: &Path, options: &[&str]| json!({"destination": place, "type": "bind", "source": source, "options": options});
    let mut mounts = vec![
        own("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        own(
            "/dev",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        own(
            "/dev/pts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
            ],
        ),
        own(
            "/dev/shm",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        own("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        own("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        bound(
            sandbox(container),
            &dir.join(protocol::SANDBOX),
            &["bind", "rw", "nosuid", "nodev"],
        ),
    ];
    // Of version 1 only what is the container's, and each for itself: the library would mount all hierarchies, writable,
    // and of those that hold no container the host's root.
    let cgroup_kind = if cgroups.is_empty() {
        "cgroup"
    } else {
        "tmpfs"
    };
    let options = if cgroups.is_empty() {
        &["nosuid", "noexec", "nodev", "relatime", "ro"][..]
    } else {
        &["nosuid", "noexec", "nodev", "mode=755", "size=64k"][..]
    };
    mounts.push(own(CGROUPS, cgroup_kind, options));
    mounts.extend(cgroups.iter().map(|(name, directory)| {
        let place = format!("{CGROUPS}/{name}");
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        bound(&place, directory, &options)
    }));
    let files = HOST_FILES.map(Path::new).into_iter();
    let files = files.filter(|file| file.is_file()).filter_map(|file| {
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        Some(bound(file.to_str()?, file, &options))
    });
    mounts.extend(files);
    // After the sandbox, in which some are. None is above or beneath any of the others.
    mounts.extend(container.mounts.iter().map(|volume| {
        let mode = if volume.is_read_only { "ro" } else { "rw" };
        let options = ["bind", mode, "nosuid", "nodev"];
        bound(&volume.place, Path::new(&volume.source), &options)
    }));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_what_the_task_holds_and_never_less_than_the_kernel_takes() {
        for (cpu_milli, cpu_limit_milli, shares, quota) in [
            (500, 500, 512, json!(50_000)),
            (2_500, 2_500, 2_560, json!(250_000)),
            (1, 1, 2, json!(1_000)),
            (500, 0, 512, Value::Null),
            (0, 0, 2, Value::Null),
        ] {
            let container = Contained {
                cpu_milli,
                cpu_limit_milli,
                memory_bytes: 5,
                processes_max: 6,
                ..Contained::default()
            };
            let said = resources(&container);
            let cpu = json!({"shares": shares, "period": 100_000, "quota": quota});
            assert_eq!(said.get("cpu"), Some(&cpu), "{cpu_milli}");
            assert_eq!(said.get("memory"), Some(&json!({"limit": 5})));
            assert_eq!(said.get("pids"), Some(&json!({"limit": 6})));
        }
    }

    #[test]
    fn only_root_has_capabilities_and_secrets_are_where_the_task_finds_them() {
        let container = Contained::default();
        let of = |user| {
            let launch = Launch {
                environment: vec![("A".to_owned(), "b".to_owned())],
                user,
                ..Launch::default()
            };
            let (dir, root) = (Path::new("/r"), Path::new("/r/box/root"));
            config(&launch, &container, dir, root)
        };
        let effective = |config: &Value| {
            let held = config.pointer("/process/capabilities/effective");
            held.and_then(Value::as_array).map(Vec::len)
        };
        assert_eq!(effective(&of(Some((0, 0)))), Some(CAPABILITIES.len()));
        assert_eq!(effective(&of(Some((1, 1)))), Some(0));
        let config = of(None);
        assert_eq!(config.pointer("/process/env"), Some(&json!(["A=b"])));
        assert_eq!(
            config.pointer("/process/noNewPrivileges"),
            Some(&json!(true))
        );
    }
}
