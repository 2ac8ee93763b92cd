//! The names and types of an app's fields, as they may stand in a file.
//!
//! Only read for its errors: nothing here decides what a value means, and nothing here is sent. The names are those of
//! Marathon's app that the services know; a field they learn is added here too.
#![expect(
    dead_code,
    reason = "the fields are read by serde alone, to check the file"
)]

mod value;

use std::collections::BTreeMap;

use serde::Deserialize;
use value::{Amount, Anything, Text, Truth, Whole};

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
    id: Text,
    cmd: Option<Text>,
    args: Option<Vec<Text>>,
    image: Option<Text>,
    container: Option<Container>,
    networks: Option<Vec<Network>>,
    user: Option<Text>,
    cpus: Option<Amount>,
    mem: Option<Amount>,
    disk: Option<Amount>,
    instances: Option<Whole>,
    env: Option<BTreeMap<String, Text>>,
    labels: Option<BTreeMap<String, Text>>,
    port_definitions: Option<Vec<PortDefinition>>,
    require_ports: Option<Truth>,
    health_checks: Option<Vec<HealthCheck>>,
    upgrade_strategy: Option<UpgradeStrategy>,
    unreachable_strategy: Option<UnreachableStrategy>,
    kill_selection: Option<Text>,
    task_kill_grace_period_seconds: Option<Amount>,
    backoff_seconds: Option<Amount>,
    backoff_factor: Option<Amount>,
    max_launch_delay_seconds: Option<Amount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PortDefinition {
    port: Option<Whole>,
    protocol: Option<Text>,
    name: Option<Text>,
    labels: Option<BTreeMap<String, Text>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HealthCheck {
    protocol: Option<Text>,
    path: Option<Text>,
    port_index: Option<Whole>,
    port: Option<Whole>,
    grace_period_seconds: Option<Amount>,
    interval_seconds: Option<Amount>,
    timeout_seconds: Option<Amount>,
    max_consecutive_failures: Option<Whole>,
    delay_seconds: Option<Amount>,
    command: Option<CheckCommand>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckCommand {
    value: Text,
}

/// With what may stand in a file that was made for Marathon and asks for nothing; the services refuse it where it does.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Container {
    r#type: Option<Text>,
    docker: Option<Docker>,
    volumes: Option<Vec<Anything>>,
    port_mappings: Option<Vec<Anything>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Docker {
    image: Text,
    network: Option<Text>,
    privileged: Option<Truth>,
    force_pull_image: Option<Truth>,
    parameters: Option<Vec<Anything>>,
    port_mappings: Option<Vec<Anything>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    mode: Option<Text>,
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
    Word(Text),
    Times(UnreachableTimes),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UnreachableTimes {
    inactive_after_seconds: Option<Amount>,
    expunge_after_seconds: Option<Amount>,
}
