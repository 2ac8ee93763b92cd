//! What random histories make of resources: operations of frameworks on what they are offered, and operators' calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::operation::Operation;
use proffer_model::registry;
use proffer_model::resource_kind::{Disk, Reservation, ResourceKind, Volume};
use proffer_model::resources::Amount;
use proffer_model::{
    AgentId, Command, ExecutorApi, ExecutorSpec, Limits, Offer, Quota, Resources, Role, Weight,
};

use super::world::{principal, r, spec};
use crate::event::{OperatorCall, Resize};

/// Roles of random frameworks, quotas and reservations: one within another, and one that nobody is in.
pub(super) const ROLES: [&str; 5] = ["*", "eng", "eng/web", "ops", "eng/web/x/y"];

pub(super) fn role(index: u8) -> Role {
    let index = usize::from(index) % ROLES.len();
    ROLES[index].parse().expect("a role")
}

/// One item of resources; foreign ones when there are none.
fn item(of: &Resources, index: u8, keep: impl Fn(&ResourceKind, &Amount) -> bool) -> Resources {
    let mut kept = of.iter().filter(|(kind, amount)| keep(kind, amount));
    let count = of
        .iter()
        .filter(|(kind, amount)| keep(kind, amount))
        .count();
    let index = usize::from(index).checked_rem(count).unwrap_or_default();
    let mut item = Resources::new();
    match kept.nth(index) {
        Some((kind, amount)) => {
            let kind = kind.into_owned();
            item.insert(kind, amount.clone()).expect("it was there");
        }
        None => item.add(&r("cpus:1")),
    }
    item
}

/// At most so much of each scalar.
fn part(of: &Resources, milli: u64) -> Resources {
    let mut part = Resources::new();
    for (kind, amount) in of.iter() {
        let amount = match amount {
            Amount::Scalar(all) => Amount::Scalar(milli.min(*all)),
            other => other.clone(),
        };
        part.insert(kind.into_owned(), amount).expect("a part");
    }
    part
}

fn reserved(of: &Resources, role: &Role, label: u8) -> Resources {
    let label = label
        .is_multiple_of(5)
        .then(|| ("l".to_owned(), label.to_string()));
    let reservation = Reservation {
        role: role.clone(),
        principal: Some(principal("p")),
        labels: label.into_iter().collect(),
    };
    let pushed = of.push_reservation(&reservation);
    pushed.unwrap_or_else(|_| of.clone())
}

fn volume(of: &Resources, id: u8, is_shared: bool) -> Resources {
    let mut volumes = Resources::new();
    for (kind, amount) in of.iter() {
        let volume = Volume {
            id: format!("v{}", id % 4).parse().expect("an id"),
            principal: Some(principal("p")),
            mountpoint: None,
        };
        let source = kind.disk.as_ref().and_then(|disk| disk.source.clone());
        let volume = Some(volume);
        let kind = ResourceKind {
            disk: Some(Disk { source, volume }),
            is_shared,
            ..kind.into_owned()
        };
        let milli = amount.quantity(false).min(3_000);
        // What is no disk makes no volume.
        let _ = volumes.insert(kind, Amount::Scalar(milli));
    }
    volumes
}

fn is_disk(kind: &ResourceKind) -> bool {
    kind.name.as_str() == "disk" && kind.volume().is_none()
}

fn is_volume(kind: &ResourceKind, _: &Amount) -> bool {
    kind.volume().is_some()
}

/// An operation on what is there, mostly one that can be done.
pub(super) fn operation(there: &Resources, of: &Role, [a, b, c]: [u8; 3]) -> Operation {
    let milli = 500 + u64::from(c % 4) * 500;
    let first = there.volumes().next();
    let free = item(there, b, |kind, _| {
        is_disk(kind) && kind.reserved_to() == Some(of)
    });
    match (first, a % 12) {
        (_, 0) => {
            let what = item(there, b, |kind, _| kind.volume().is_none());
            Operation::Reserve(reserved(&part(&what, milli), of, c))
        }
        (_, 1 | 2) => {
            let what = item(there, b, |kind, _| !kind.is_unreserved());
            Operation::Unreserve(part(&what, milli))
        }
        (Some(_), 3 | 4) => Operation::Destroy(item(there, b, is_volume)),
        (Some((_, volume, _)), 5 | 6) if c > 127 => Operation::Grow {
            volume: volume.id.clone(),
            milli,
        },
        (Some((_, volume, _)), 5 | 6) => Operation::Shrink {
            volume: volume.id.clone(),
            milli,
        },
        (Some(_), 7..=9) => {
            let mut on = item(there, b, is_volume);
            let cpus = item(there, c, |kind, _| kind.name.as_str() == "cpus");
            on.add(&part(&cpus, 500));
            let task = |n: u8| {
                let mut task = spec(&format!("m{}", n % 12), "");
                task.resources = on.clone();
                if n % 2 == 1 {
                    // Its volume is its executor's.
                    let own = item(there, b, is_volume);
                    task.resources.subtract(&own);
                    task.command = Command::Data(Vec::new());
                    task.executor = Some(Arc::new(executor(n, own)));
                }
                task
            };
            match c % 3 {
                0 => Operation::LaunchGroup(vec![task(b), task(b.wrapping_add(1))]),
                _ => Operation::launch(task(b)),
            }
        }
        _ if free.has(&"disk".parse().expect("a name")) => {
            Operation::Create(volume(&free, c, a > 60))
        }
        _ => {
            let disk = item(there, b, |kind, _| is_disk(kind) && kind.is_unreserved());
            Operation::Reserve(reserved(&disk, of, 1))
        }
    }
}

fn executor(number: u8, resources: Resources) -> ExecutorSpec {
    ExecutorSpec {
        id: format!("x{}", number % 12).parse().expect("an id"),
        resources,
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        fetch: Vec::new(),
        api: ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
    }
}

/// Operations on an offer, each on what it held at first: what the ones before have left is not looked at.
pub(super) fn operations(offer: Option<&Offer>, [a, b, c]: [u8; 3]) -> Vec<Operation> {
    let nothing = (Resources::new(), role(b));
    let (there, of) = offer.map_or(nothing, |offer| {
        (offer.resources.clone(), offer.role.clone())
    });
    let of = if c == 7 { role(a) } else { of };
    let count = 1 + a % 3;
    let all = (0..count).map(|i| {
        let next = [a, b, c].map(|n| n.wrapping_add(i.wrapping_mul(17)));
        operation(&there, &of, next)
    });
    all.collect()
}

/// What a durable change did, of those that are made here.
pub(super) fn made(change: &registry::Operation) -> Option<&'static str> {
    match change {
        registry::Operation::ConvertAgent { from, to, .. } => {
            let volumes = |of: &Resources| of.volumes().count();
            let levels = |of: &Resources| -> usize {
                let special = of.special();
                special.map(|(kind, _)| kind.reservations.len()).sum()
            };
            Some(match (volumes(from), volumes(to)) {
                (0, 0) if levels(from) < levels(to) => "reserved",
                (0, 0) => "unreserved",
                (0, _) => "created",
                (_, 0) => "destroyed",
                // Too rare to be counted on.
                _ => return None,
            })
        }
        registry::Operation::SetQuota { .. } => Some("quota"),
        registry::Operation::DrainAgent { .. } => Some("drained"),
        registry::Operation::MarkGone { .. } => Some("gone"),
        _ => None,
    }
}

fn quota(guaranteed: u8, limited: u8) -> Quota {
    let mut limits = Limits::new();
    if !limited.is_multiple_of(3) {
        let cpus = "cpus".parse().expect("a name");
        limits.set(cpus, u64::from(limited % 8) * 1_000);
    }
    let guarantees = r(&format!("cpus:{}", guaranteed % 4)).quantities();
    Quota { guarantees, limits }
}

/// What an operator asks, of an agent that has this.
pub(super) fn operator_call(agent: AgentId, total: &Resources, [a, b, c]: [u8; 3]) -> OperatorCall {
    match a % 16 {
        0 | 1 => OperatorCall::SetQuota {
            role: role(b),
            quota: quota(c, b),
            is_forced: c > 100,
        },
        2 => OperatorCall::RemoveQuota { role: role(b) },
        3 => OperatorCall::SetWeight {
            role: role(b),
            weight: Weight(u32::from(c) + 1),
        },
        4 => OperatorCall::RemoveWeight { role: role(b) },
        5 => OperatorCall::DeactivateAgent { agent },
        6 => OperatorCall::DrainAgent {
            agent,
            deadline: Some(Duration::from_secs(u64::from(c))),
            marks_gone: b % 4 == 0,
        },
        10 if b % 4 == 0 => OperatorCall::MarkAgentGone { agent },
        7..=9 => OperatorCall::ReactivateAgent { agent },
        _ => {
            let role = role(1 + c % 3);
            match operation(total, &role, [b, c, a]) {
                Operation::Grow { volume, milli } if b % 2 == 0 => OperatorCall::ResizeVolume {
                    agent,
                    role,
                    volume,
                    resize: Resize::Grow(milli),
                },
                Operation::Shrink { volume, milli } if b % 2 == 0 => OperatorCall::ResizeVolume {
                    agent,
                    role,
                    volume,
                    resize: Resize::Shrink(milli),
                },
                operation => OperatorCall::Operate { agent, operation },
            }
        }
    }
}
