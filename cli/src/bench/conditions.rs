//! What a figure was measured on. Without it a figure says nothing.

use std::fs;

use serde_json::{Number, Value, json};

/// The machine, its load before, and the build.
#[derive(Debug)]
pub(super) struct Conditions {
    cores: usize,
    kernel: String,
    processor: String,
    memory_mib: u64,
    load_1m: String,
}

impl Conditions {
    /// As they are now.
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let memory_kib = memory
            .split(' ')
            .next()
            .and_then(|text| text.parse::<u64>().ok());
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: after(&read("/proc/cpuinfo"), "model name"),
            memory_mib: memory_kib.unwrap_or(0) / 1_024,
            load_1m: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// What is to be said before anything else.
    pub(super) fn warning(&self) -> Option<&'static str> {
        cfg!(debug_assertions).then_some(
            "WARNING: this is a debug build, ten to fifty times slower than a release build: its figures say nothing. \
             Build with `cargo build --release`",
        )
    }

    fn build_profile(&self) -> &'static str {
        match cfg!(debug_assertions) {
            true => "debug",
            false => "release",
        }
    }

    pub(super) fn json(&self, is_emulated: bool) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "build_profile": self.build_profile(),
            "cores": self.cores,
            "processor": self.processor,
            "memory_mib": self.memory_mib,
            "kernel": self.kernel,
            "load_1m_before": self.load_1m.parse::<Number>().ok(),
            "transport": if is_emulated { "gRPC over loopback, plaintext" } else { "none" },
            "emulated": is_emulated,
        })
    }

    /// The same in a line.
    pub(super) fn line(&self, is_emulated: bool) -> String {
        let agents = match is_emulated {
            true => "emulated agents over gRPC on loopback, plaintext",
            false => "the allocator alone",
        };
        format!(
            "{agents}; {} build {}; {} cores ({}), {} MiB, Linux {}; load before: {}",
            self.build_profile(),
            env!("CARGO_PKG_VERSION"),
            self.cores,
            self.processor,
            self.memory_mib,
            self.kernel,
            self.load_1m
        )
    }
}
