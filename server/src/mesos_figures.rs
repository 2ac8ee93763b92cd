//! What masters and agents have in common of the figures that Mesos's exporters read in `/metrics/snapshot`.
#![allow(
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    reason = "Mesos's figures are floating point numbers; nothing is decided by them"
)]

use std::collections::BTreeMap;

use proffer_model::Resources;
use proffer_proto::mesos::value_of;

/// The figures, by name.
pub type Figures = BTreeMap<String, f64>;

/// How many there are.
pub fn count_of<T>(all: impl Iterator<Item = T>) -> f64 {
    all.count() as f64
}

/// How much there is, how much is used, and which part that is; of what is revocable besides.
pub fn of_resources(total: &Resources, used: &Resources, set: &mut impl FnMut(&str, f64)) {
    for (infix, total, used) in [
        ("", total.non_revocable(), used.non_revocable()),
        ("_revocable", total.revocable(), used.revocable()),
    ] {
        for name in ["cpus", "mem", "disk", "gpus"] {
            let (total, used) = (value_of(total.scalar(name)), value_of(used.scalar(name)));
            let part = if total > 0.0 { used / total } else { 0.0 };
            set(&format!("{name}{infix}_total"), total);
            set(&format!("{name}{infix}_used"), used);
            set(&format!("{name}{infix}_percent"), part);
        }
    }
}

/// Of the host: its load, processors and memory.
pub fn of_host() -> Figures {
    let mut figures = Figures::new();
    let loads = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let names = ["system/load_1min", "system/load_5min", "system/load_15min"];
    for (name, load) in names.into_iter().zip(loads.split_whitespace()) {
        if let Ok(load) = load.parse() {
            figures.insert(name.to_owned(), load);
        }
    }
    if let Ok(cpus) = std::thread::available_parallelism() {
        figures.insert("system/cpus_total".to_owned(), cpus.get() as f64);
    }
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    for (name, field) in [
        ("system/mem_total_bytes", "MemTotal:"),
        ("system/mem_free_bytes", "MemFree:"),
    ] {
        let line = memory.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(kilobytes) = kilobytes {
            figures.insert(name.to_owned(), kilobytes * 1_024.0);
        }
    }
    figures
}
