//! What this host has and is called: read from `/proc` and the file system once, when the agent starts.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proffer_model::{Problem, RangeSet, ResourceName, Resources, code};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits::{DISK_RESERVE_MIB, MEMORY_RESERVE_MIB, OPEN_FILES};

/// The ports that are offered unless the operator says otherwise.
const PORTS: std::ops::RangeInclusive<u64> = 31_000..=32_000;

/// How many files this process could have open before it let itself have more ([`OPEN_FILES`]), which is what its tasks
/// get: programs that use select(2) break with more. Nothing when there was no limit, or it could not be asked for.
pub(crate) static OPEN_FILES_BEFORE: LazyLock<Option<u64>> = LazyLock::new(raise_open_files);

fn raise_open_files() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let wanted = OPEN_FILES.min(before.maximum.unwrap_or(OPEN_FILES));
    if before.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: before.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    before.current
}

/// The host's boot id: another one after each start of the host.
pub(crate) fn boot_id() -> Result<String, Problem> {
    read("/proc/sys/kernel/random/boot_id")
}

/// The host's name.
pub(crate) fn name() -> Result<String, Problem> {
    read("/proc/sys/kernel/hostname")
}

/// What the host has, less a reserve for itself: cpus, mem and disk in MiB, and [`PORTS`].
pub fn resources(work_dir: &Path) -> Result<Resources, Problem> {
    let mut resources = Resources::new();
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get());
    let scalars = [
        ("cpus", u64::try_from(cpus).unwrap_or(1)),
        ("mem", without_reserve(memory_mib()?, MEMORY_RESERVE_MIB)),
        (
            "disk",
            without_reserve(disk_mib(work_dir)?, DISK_RESERVE_MIB),
        ),
    ];
    for (name, amount) in scalars {
        resources.insert_scalar(ResourceName::new(name)?, amount.saturating_mul(1_000))?;
    }
    resources.insert_ranges(ResourceName::new("ports")?, RangeSet::from_numbers(PORTS))?;
    Ok(resources)
}

/// Half of what is less than twice the reserve (Mesos's rule).
fn without_reserve(total: u64, reserve: u64) -> u64 {
    if total < reserve.saturating_mul(2) {
        total / 2
    } else {
        total - reserve
    }
}

fn memory_mib() -> Result<u64, Problem> {
    let text = read("/proc/meminfo")?;
    let kib = text.lines().find_map(|line| {
        let amount = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        amount.trim().parse::<u64>().ok()
    });
    kib.map(|kib| kib / 1_024).ok_or_else(|| {
        Problem::new(
            code::FILE_FAILED,
            "/proc/meminfo does not say how much memory there is",
        )
        .field("resources")
        .hint("say with --resources what tasks may use")
    })
}

fn disk_mib(work_dir: &Path) -> Result<u64, Problem> {
    let stat = rustix::fs::statvfs(work_dir).map_err(|error| {
        let message = format!("{} cannot be measured: {error}", work_dir.display());
        Problem::new(code::FILE_FAILED, message)
            .field("resources")
            .hint("say with --resources what tasks may use")
    })?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize) / (1_024 * 1_024))
}

fn read(path: &str) -> Result<String, Problem> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| {
            Problem::new(code::FILE_FAILED, format!("{path} cannot be read: {error}"))
                .hint("the agent needs /proc to be mounted")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_something_to_offer() {
        let resources = resources(Path::new("/")).expect("resources");
        for name in ["cpus", "mem", "disk"] {
            assert!(resources.scalar(name) > 0, "{name} in {resources}");
        }
        assert_eq!(resources.range_set("ports").count(), 1_001);
        assert!(!boot_id().expect("boot id").is_empty());
        assert!(!name().expect("name").is_empty());
    }

    #[test]
    fn a_small_host_keeps_half_for_itself() {
        assert_eq!(without_reserve(8_192, 1_024), 7_168);
        assert_eq!(without_reserve(2_048, 1_024), 1_024);
        assert_eq!(without_reserve(1_000, 1_024), 500);
    }
}
