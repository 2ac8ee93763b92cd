//! What an operator may set about the master's decisions. The defaults are the promises of the documentation; the shell
//! reads them from its configuration and checks them with [`Config::validate`].

use std::time::Duration;

use proffer_model::{Problem, code, limits};

use crate::allocation;
use crate::limits::{LINK_HEARTBEATS, LINK_HEARTBEATS_SILENT_MIN};

/// The settings of a core; they do not change within a term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How often sessions and links hear from the master, and how often silence is looked at.
    pub heartbeat_interval: Duration,
    /// An agent silent for this long is suspect: nothing is offered from it.
    pub suspect_after: Duration,
    /// An agent silent for this long is unreachable: its tasks are reported so.
    pub unreachable_after: Duration,
    /// How long an offer made for a shape stands.
    pub shaped_offer_lease: Duration,
    /// How long an offer of everything free stands.
    pub any_offer_lease: Duration,
    /// Percent of the agents, and of the frameworks, of the log that must be back before a new term offers.
    pub recovery_percent: u64,
    /// A new term offers after this, whoever is back.
    pub recovery_wait: Duration,
    /// How long a port that a task held is not offered: late packets of old connections must not meet a new task.
    pub port_rest: Duration,
    /// What triggers an allocation within this time, after much was done in it, is served together at its end.
    pub allocation_coalesce: Duration,
    /// How often everything is allocated anew, whether or not something changed.
    pub allocation_sweep: Duration,
    /// The time in which [`Config::removal_percent`] holds.
    pub removal_window: Duration,
    /// At most this percent of the agents, and always one, is declared unreachable in a window.
    pub removal_percent: u64,
    /// Silence of more than this many agents together, and of more than [`Config::loss_percent`], is the network's.
    pub loss_min: u64,
    /// See [`Config::loss_min`].
    pub loss_percent: u64,
    /// How long nobody is declared unreachable while so many are silent.
    pub loss_hold: Duration,
    /// Calls that a framework may make in a second, of its session and without one; those above it are refused for now.
    pub calls_per_second: u64,
    /// How much these calls may name in a second: tasks and operations of accepts, offers, entries of demand, tasks that are
    /// asked about; the same.
    pub operations_per_second: u64,
    /// How offers are made; the seed is not looked at.
    pub allocation: allocation::Options,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_interval: limits::HEARTBEAT_INTERVAL,
            suspect_after: Duration::from_secs(5),
            unreachable_after: Duration::from_secs(75),
            shaped_offer_lease: Duration::from_secs(5),
            any_offer_lease: Duration::from_secs(30),
            recovery_percent: 80,
            recovery_wait: Duration::from_secs(10),
            port_rest: Duration::from_secs(60),
            allocation_coalesce: Duration::from_millis(10),
            allocation_sweep: Duration::from_secs(5),
            removal_window: Duration::from_secs(600),
            removal_percent: 10,
            loss_min: 3,
            loss_percent: 5,
            loss_hold: Duration::from_secs(600),
            calls_per_second: 10_000,
            operations_per_second: 100_000,
            allocation: allocation::Options::default(),
        }
    }
}

impl Config {
    /// In how many intervals of heartbeats an agent and the master say once to each other that they are there.
    pub(crate) fn link_heartbeats(&self) -> u32 {
        let is_patient = self.suspect_after >= self.heartbeat_interval * LINK_HEARTBEATS_SILENT_MIN;
        if is_patient { LINK_HEARTBEATS } else { 1 }
    }

    /// Refuses what cannot work, naming the field: intervals of nothing, an agent unreachable before it is suspect.
    pub fn validate(&self) -> Result<(), Problem> {
        let wrong = |field: &str, message: &str, hint: &str| {
            Err(Problem::new(code::CONFIG_INVALID, message)
                .field(field)
                .hint(hint))
        };
        for (field, value) in [
            ("heartbeat_interval", self.heartbeat_interval),
            ("shaped_offer_lease", self.shaped_offer_lease),
            ("any_offer_lease", self.any_offer_lease),
            ("allocation_sweep", self.allocation_sweep),
            ("earmark_after", self.allocation.earmark_after),
        ] {
            if value < Duration::from_millis(10) {
                return wrong(field, "it is shorter than 10 ms", "give a second or more");
            }
        }
        if self.suspect_after <= self.heartbeat_interval {
            let hint = "give several heartbeat intervals, such as 5s";
            return wrong(
                "suspect_after",
                "it is not longer than heartbeat_interval",
                hint,
            );
        }
        if self.unreachable_after < self.suspect_after {
            let hint = "give at least suspect_after, such as 75s";
            return wrong(
                "unreachable_after",
                "it is shorter than suspect_after",
                hint,
            );
        }
        for (field, percent) in [
            ("recovery_percent", self.recovery_percent),
            ("removal_percent", self.removal_percent),
            ("loss_percent", self.loss_percent),
        ] {
            if percent > 100 {
                return wrong(field, "it is more than 100", "give a percentage");
            }
        }
        for (field, rate) in [
            ("calls_per_second", self.calls_per_second),
            ("operations_per_second", self.operations_per_second),
        ] {
            if rate == 0 {
                return wrong(field, "it is 0", "give a number of 1 or more");
            }
        }
        check_allocation(&self.allocation)
    }
}

fn check_allocation(options: &allocation::Options) -> Result<(), Problem> {
    let wrong = |field: &str, message: String| {
        Err(Problem::new(code::CONFIG_INVALID, message).field(field))
    };
    if options.earmark_after > limits::DURATION_MAX {
        return wrong("earmark_after", "it is longer than 365 days".to_owned());
    }
    for (field, len, most) in [
        (
            "share_excluded",
            options.share_excluded.len(),
            limits::RESOURCE_NAMES_MAX,
        ),
        ("offer_least", options.least.len(), limits::LEAST_MAX),
    ] {
        if len > most {
            return wrong(field, format!("there are {len} of them, more than {most}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proffer_model::Quantities;

    use super::*;

    #[test]
    fn defaults_are_valid_and_nonsense_names_its_field() {
        let good = Config::default();
        good.validate().expect("defaults");
        let zero = Duration::ZERO;
        for (field, config) in [
            (
                "heartbeat_interval",
                Config {
                    heartbeat_interval: zero,
                    ..good.clone()
                },
            ),
            (
                "suspect_after",
                Config {
                    suspect_after: zero,
                    ..good.clone()
                },
            ),
            (
                "unreachable_after",
                Config {
                    unreachable_after: zero,
                    ..good.clone()
                },
            ),
            (
                "allocation_sweep",
                Config {
                    allocation_sweep: zero,
                    ..good.clone()
                },
            ),
            (
                "calls_per_second",
                Config {
                    calls_per_second: 0,
                    ..good.clone()
                },
            ),
            (
                "recovery_percent",
                Config {
                    recovery_percent: 101,
                    ..good.clone()
                },
            ),
        ] {
            assert_eq!(config.validate().expect_err(field).field, field);
        }
    }

    #[test]
    fn options_of_the_allocation_have_limits() {
        let good = allocation::Options::default();
        let least = vec![Quantities::new(); limits::LEAST_MAX + 1];
        for (field, allocation) in [
            (
                "earmark_after",
                allocation::Options {
                    earmark_after: Duration::ZERO,
                    ..good.clone()
                },
            ),
            ("offer_least", allocation::Options { least, ..good }),
        ] {
            let config = Config {
                allocation,
                ..Config::default()
            };
            assert_eq!(config.validate().expect_err(field).field, field);
        }
    }
}
