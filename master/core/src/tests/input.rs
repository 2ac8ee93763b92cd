//! Input that is wrong: each is refused by code and field, and nothing of it has happened.

use std::time::Duration;

use proffer_model::operation::{Operation, OperationResult};
use proffer_model::resource_kind::{Disk, Reservation, ResourceKind, Volume};
use proffer_model::resources::Amount;
use proffer_model::session::{Answer, Call};
use proffer_model::{
    FrameworkDescription, OfferId, Quota, Resources, Role, VolumeId, Weight, code,
};

use super::world::{World, describe_framework, principal, r, spec, want};
use crate::event::{OperatorCall, SessionId};

fn reserved(text: &str) -> Resources {
    let reservation = Reservation {
        role: "eng".parse().expect("a role"),
        principal: Some(principal("p")),
        labels: Default::default(),
    };
    r(text).push_reservation(&reservation).expect("reserved")
}

fn volume(milli: u64) -> Resources {
    let disk = reserved("disk:1");
    let (kind, _) = disk.iter().next().expect("disk");
    let volume = Volume {
        id: "v".parse().expect("an id"),
        principal: Some(principal("p")),
        mountpoint: None,
    };
    let kind = ResourceKind {
        disk: Some(Disk {
            source: None,
            volume: Some(volume),
        }),
        ..kind.into_owned()
    };
    let mut volume = Resources::new();
    volume
        .insert(kind, Amount::Scalar(milli))
        .expect("a volume");
    volume
}

fn framework(world: &mut World, role: &str) -> SessionId {
    let description = FrameworkDescription {
        roles: vec![role.parse().expect("a role")],
        ..describe_framework()
    };
    world.subscribe_as("p", None, description)
}

#[test]
fn operations_on_what_was_not_offered_change_nothing() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100;ports:[1-9]");
    let agent = world.welcomed(link);
    let session = framework(&mut world, "eng");
    world.demand_in(session, "eng", vec![want("w", 1, "cpus:1;disk:10", 0)]);
    world.pass_ms(20);
    let before = (
        world.written.clone(),
        world.core.agents.by_id[&agent].total.clone(),
    );
    let id: VolumeId = "v".parse().expect("an id");
    let most = "cpus:1000000000";
    let group = || vec![spec("a", most), spec("b", most), spec("c", most)];
    let not_offered = code::RESOURCES_NOT_OFFERED.name;
    let rows = [
        (
            Operation::Reserve(reserved("cpus:2")),
            not_offered,
            "reserve.cpus",
        ),
        (
            Operation::Reserve(reserved("mem:1")),
            not_offered,
            "reserve.mem",
        ),
        (
            Operation::Reserve(reserved("ports:[3-3]")),
            not_offered,
            "reserve.ports",
        ),
        (
            Operation::Unreserve(reserved("cpus:1")),
            not_offered,
            "unreserve.cpus",
        ),
        (Operation::Create(volume(1_000)), not_offered, "create.disk"),
        (
            Operation::Destroy(volume(1_000)),
            not_offered,
            "destroy.disk",
        ),
        (
            Operation::Grow {
                volume: id.clone(),
                milli: u64::MAX,
            },
            code::VOLUME_UNKNOWN.name,
            "grow.volume_id",
        ),
        (
            Operation::Shrink {
                volume: id.clone(),
                milli: 1,
            },
            code::VOLUME_UNKNOWN.name,
            "shrink.volume_id",
        ),
        (
            Operation::launch(spec("t", "cpus:2")),
            code::TASK_RESOURCES_NOT_OFFERED.name,
            "launch.resources.cpus",
        ),
        (
            Operation::launch(spec("t", "cpus:1;ports:[3-3]")),
            code::TASK_RESOURCES_NOT_OFFERED.name,
            "launch.resources.ports",
        ),
        (
            Operation::LaunchGroup(group()),
            code::TASK_RESOURCES_NOT_OFFERED.name,
            "launch_group.tasks[0].resources.cpus",
        ),
    ];
    let offer = world.offers(session)[0].id.clone();
    let (operations, expected): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .enumerate()
        .map(|(i, (operation, code, field))| {
            (operation, format!("{code} accept.operations[{i}].{field}"))
        })
        .unzip();
    let results = world
        .operate(session, &[&offer], operations)
        .expect("judged");
    let told: Vec<String> = results
        .iter()
        .map(|result| match result {
            OperationResult::Refused(problem) => format!("{} {}", problem.code, problem.field),
            OperationResult::Done => "done".to_owned(),
            result => match &result.launches()[0].outcome {
                Ok(_) => "launched".to_owned(),
                Err(problem) => format!("{} {}", problem.code, problem.field),
            },
        })
        .collect();
    assert_eq!(told, expected);
    let after = (
        world.written.clone(),
        world.core.agents.by_id[&agent].total.clone(),
    );
    assert_eq!(after, before);
    assert_eq!(world.core.free(&agent), r("cpus:4;disk:100;ports:[1-9]"));
}

#[test]
fn an_offer_that_has_ended_is_gone_however_it_ended() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let thief = world.framework();
    let mut next = 0;
    let mut offer = |world: &mut World| -> OfferId {
        world.pass_s(20);
        world.drain(session);
        next += 1;
        world.demand(session, vec![want(&format!("w{next}"), 1, "cpus:1", 0)]);
        world.pass_ms(20);
        world.offers(session).last().expect("an offer").id.clone()
    };
    let standing = offer(&mut world);
    let mut ended = vec![("foreign", thief, standing)];
    let accepted = offer(&mut world);
    world
        .accept(session, &[&accepted], Vec::new())
        .expect("judged");
    ended.push(("accepted", session, accepted));
    let declined = offer(&mut world);
    let exclude_for = Duration::from_secs(1);
    let offers = vec![declined.clone()];
    world.call(
        session,
        Call::Decline {
            offers,
            exclude_for,
        },
    );
    ended.push(("declined", session, declined));
    let expired = offer(&mut world);
    world.pass_s(6);
    ended.push(("expired", session, expired));
    let rescinded = offer(&mut world);
    world
        .operator(OperatorCall::DeactivateAgent {
            agent: agent.clone(),
        })
        .expect("done");
    assert!(world.rescinded(session).contains(&rescinded));
    ended.push(("rescinded", session, rescinded));
    let unknown = OfferId::new("never-made").expect("an id");
    ended.push(("unknown", session, unknown));
    for (how, by, offer) in ended {
        let before = world.written.clone();
        let launch = vec![spec("t", "cpus:1")];
        let refused = world.accept(by, &[&offer], launch).expect_err(how);
        assert!(refused.is(code::OFFER_GONE), "{how}: {refused}");
        assert_eq!(refused.field, "accept.offer_ids[0]", "{how}");
        assert!(!refused.hint.is_empty());
        let offers = vec![offer];
        let declined = world.call(
            by,
            Call::Decline {
                offers,
                exclude_for,
            },
        );
        assert_eq!(
            declined,
            Answer::Done,
            "{how}: to decline it once more does nothing"
        );
        assert_eq!(world.written, before, "{how}");
    }
    assert_eq!(world.core.agents.by_id[&agent].used, Resources::new());
}

#[test]
fn sums_of_huge_amounts_stay_at_the_largest_number() {
    let mut world = World::new();
    let huge = "cpus:1000000000;mem:1000000000;disk:1000000000";
    for i in 0..4 {
        world.agent(&format!("h{i}"), huge);
    }
    let session = framework(&mut world, "eng");
    world.demand_in(session, "eng", vec![want("w", 4, huge, 0)]);
    world.pass_ms(20);
    let offers = world.offers(session);
    assert_eq!(offers.len(), 4);
    for (i, offer) in offers.iter().enumerate() {
        let launch = vec![spec(&format!("t{i}"), huge)];
        let results = world.accept(session, &[&offer.id], launch).expect("judged");
        assert!(results[0].outcome.is_ok());
    }
    let quota = Quota {
        guarantees: r(huge).quantities(),
        ..Quota::default()
    };
    for role in ["a", "b", "c", "d"] {
        let role = role.parse().expect("a role");
        let quota = quota.clone();
        let is_forced = false;
        let call = OperatorCall::SetQuota {
            role,
            quota,
            is_forced,
        };
        world.operator(call).expect("as much as there is");
    }
    let role: Role = "e".parse().expect("a role");
    let call = OperatorCall::SetQuota {
        role,
        quota,
        is_forced: false,
    };
    let refused = world.operator(call).expect_err("more than there is");
    assert_eq!(
        (refused.code.as_ref(), refused.field.as_str()),
        ("quota.exceeded", "quota.guarantees.cpus")
    );
    let weight = Weight(u32::MAX);
    let role = "eng".parse().expect("a role");
    world
        .operator(OperatorCall::SetWeight { role, weight })
        .expect("a weight");
    let rows = world.roles();
    let eng = rows
        .iter()
        .find(|row| row.role.as_str() == "eng")
        .expect("eng");
    assert_eq!(eng.share_billionths, 1_000_000_000);
}

#[test]
fn roles_are_as_deep_as_an_id_is_long_and_no_deeper() {
    for bad in ["eng/..", "eng/", "/eng", "eng//web", "../eng", "."] {
        assert!(Role::new(bad).expect_err(bad).is(code::ID_INVALID));
    }
    let deep = |levels: usize| vec!["a"; levels].join("/");
    let refused = Role::new(&deep(10_000)).expect_err("too deep");
    assert!(
        refused.is(code::ID_INVALID) && refused.message.contains("limit"),
        "{refused}"
    );
    let (bottom, middle) = (deep(100), deep(50));
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let session = framework(&mut world, &bottom);
    let quota = |text: &str| {
        let mut quota = Quota::default();
        quota
            .limits
            .set("cpus".parse().expect("a name"), r(text).scalar("cpus"));
        quota
    };
    for (role, limit) in [(&bottom, "cpus:3"), (&middle, "cpus:2")] {
        let role = role.parse().expect("a role");
        let call = OperatorCall::SetQuota {
            role,
            quota: quota(limit),
            is_forced: false,
        };
        world.operator(call).expect("a quota");
    }
    let (role, weight) = (middle.parse().expect("a role"), Weight(7_000));
    world
        .operator(OperatorCall::SetWeight { role, weight })
        .expect("a weight");
    world.demand_in(session, &bottom, vec![want("w", 4, "cpus:1", 0)]);
    world.pass_ms(20);
    assert_eq!(
        world.offers(session)[0].resources,
        r("cpus:2"),
        "the limit half-way up"
    );
    assert_eq!(world.roles().len(), 100);
    let (framework, _) = world.subscribed(session);
    assert_eq!(world.explain(&framework)[0].0, "limit_cpus");
    world.call(session, Call::Teardown);
    assert_eq!(
        world.roles().len(),
        100,
        "what has a quota stays, with those above it"
    );
    for role in [&bottom, &middle] {
        let role: Role = role.parse().expect("a role");
        world
            .operator(OperatorCall::RemoveQuota { role: role.clone() })
            .expect("removed");
        world
            .operator(OperatorCall::RemoveWeight { role })
            .expect("removed");
    }
    assert_eq!(world.roles().len(), 0);
    world.orders(link);
}
