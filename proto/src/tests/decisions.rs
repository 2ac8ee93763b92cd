//! What operators decide, as any of it may stand in the log.

use std::time::Duration;

use proffer_model::{Drain, Quota, Weight, registry};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::values::{duration, parsed, resources};

/// What operators decide, and what operations make of resources.
pub(super) fn decision() -> impl Strategy<Value = registry::Operation> {
    let agent = || select(vec!["a1", "a2"]).prop_map(parsed);
    let role = || select(vec!["eng", "eng/web"]).prop_map(parsed);
    prop_oneof![
        (agent(), resources(), resources())
            .prop_map(|(agent, from, to)| registry::Operation::ConvertAgent { agent, from, to }),
        agent().prop_map(|agent| registry::Operation::DeactivateAgent { agent }),
        (agent(), any::<u64>(), option::of(duration())).prop_map(
            |(agent, since_wall_ms, deadline)| {
                let drain = Drain {
                    since_wall_ms,
                    deadline,
                    left: deadline.map(|deadline| Duration::from_secs(deadline.as_secs())),
                    is_drained: since_wall_ms % 2 == 0,
                    marks_gone: since_wall_ms % 3 == 0,
                };
                registry::Operation::DrainAgent { agent, drain }
            }
        ),
        agent().prop_map(|agent| registry::Operation::ReactivateAgent { agent }),
        (agent(), any::<u64>()).prop_map(|(agent, since_wall_ms)| registry::Operation::MarkGone {
            agent,
            since_wall_ms,
        }),
        agent().prop_map(|agent| registry::Operation::ForgetAgent { agent }),
        (role(), quota()).prop_map(|(role, quota)| registry::Operation::SetQuota { role, quota }),
        role().prop_map(|role| registry::Operation::RemoveQuota { role }),
        (role(), 1..u32::MAX).prop_map(|(role, milli)| {
            let weight = Weight(milli);
            registry::Operation::SetWeight { role, weight }
        }),
        role().prop_map(|role| registry::Operation::RemoveWeight { role }),
    ]
}

fn quota() -> impl Strategy<Value = Quota> {
    let amounts = || {
        btree_map(
            select(vec!["cpus", "mem"]).prop_map(parsed),
            0..9_000u64,
            0..3,
        )
    };
    (amounts(), amounts()).prop_map(|(guarantees, limits)| {
        let mut quota = Quota {
            guarantees: guarantees.into_iter().collect(),
            ..Quota::default()
        };
        for (name, milli) in limits {
            quota.limits.set(name, milli);
        }
        quota
    })
}
