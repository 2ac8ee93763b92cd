//! The names and types of an app's fields, as they may stand in a file.
//!
//! Only read for its errors: nothing here decides what a value means, and nothing here is sent. The names are those of
//! Marathon's app that the services know; a field they learn is added here too.
#![expect(
    dead_code,
    reason = "the fields are read by serde alone, to check the file"
)]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected};

/// A file of several apps: `[[apps]]` in TOML.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppList {
    apps: Vec<App>,
}

/// An app.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct App {
    id: String,
    cmd: Option<String>,
    args: Option<Vec<String>>,
    user: Option<String>,
    cpus: Option<Amount>,
    mem: Option<Amount>,
    disk: Option<Amount>,
    instances: Option<i64>,
    env: Option<BTreeMap<String, String>>,
    labels: Option<BTreeMap<String, String>>,
    port_definitions: Option<Vec<PortDefinition>>,
    require_ports: Option<bool>,
    health_checks: Option<Vec<HealthCheck>>,
    upgrade_strategy: Option<UpgradeStrategy>,
    unreachable_strategy: Option<UnreachableStrategy>,
    kill_selection: Option<String>,
    task_kill_grace_period_seconds: Option<Amount>,
    backoff_seconds: Option<Amount>,
    backoff_factor: Option<Amount>,
    max_launch_delay_seconds: Option<Amount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PortDefinition {
    port: Option<i64>,
    protocol: Option<String>,
    name: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthCheck {
    protocol: Option<String>,
    path: Option<String>,
    port_index: Option<i64>,
    port: Option<i64>,
    grace_period_seconds: Option<Amount>,
    interval_seconds: Option<Amount>,
    timeout_seconds: Option<Amount>,
    max_consecutive_failures: Option<i64>,
    delay_seconds: Option<Amount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpgradeStrategy {
    minimum_health_capacity: Option<Amount>,
    maximum_over_capacity: Option<Amount>,
}

/// `"disabled"`, or when an unreachable instance is replaced and forgotten.
#[derive(Deserialize)]
#[serde(untagged)]
enum UnreachableStrategy {
    Word(String),
    Times(UnreachableTimes),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UnreachableTimes {
    inactive_after_seconds: Option<Amount>,
    expunge_after_seconds: Option<Amount>,
}

/// Any number that JSON can hold: TOML's `nan` and `inf` would be lost on the way.
struct Amount(f64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number.is_finite() {
            return Ok(Self(number));
        }
        Err(D::Error::invalid_value(
            Unexpected::Float(number),
            &"a number",
        ))
    }
}
