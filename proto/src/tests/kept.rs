//! Any of what an agent keeps in its files, for property tests.

use proffer_model::checkpoint::{AgentIdentity, Run, StatusEntry};
use proptest::collection::btree_map;
use proptest::option;
use proptest::prelude::*;

use super::values::{duration, epoch, id, incarnation, payer, reason, status, task_spec, text};

pub(super) fn identity() -> impl Strategy<Value = AgentIdentity> {
    (
        option::of(id()),
        option::of(id()),
        epoch(),
        text(),
        any::<u64>(),
    )
        .prop_map(|(agent, cluster, epoch, boot_id, links)| AgentIdentity {
            agent,
            cluster,
            epoch,
            boot_id,
            links,
        })
}

pub(super) fn run() -> impl Strategy<Value = Run> {
    let group = option::of((id(), incarnation()));
    let executor = option::of(1..u64::MAX);
    let launch = (id(), incarnation(), task_spec(), option::of(payer()));
    (launch, group, executor).prop_map(
        |((framework, incarnation, spec, payer), group, executor)| Run {
            framework,
            incarnation,
            spec,
            payer,
            group,
            executor,
        },
    )
}

pub(super) fn status_entry() -> impl Strategy<Value = StatusEntry> {
    prop_oneof![
        (status(), any::<u64>(), any::<u64>()).prop_map(|(status, said, boot_ns)| {
            StatusEntry::Made {
                status,
                said,
                boot_ns,
            }
        }),
        (
            option::of(btree_map("[a-z.]{1,6}", text(), 0..3)),
            option::of(duration())
        )
            .prop_map(|(labels, grace)| StatusEntry::Changed { labels, grace }),
        any::<u64>().prop_map(StatusEntry::Acknowledged),
        (duration(), reason()).prop_map(|(grace, reason)| StatusEntry::Kill { grace, reason }),
    ]
}
