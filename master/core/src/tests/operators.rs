//! What operators ask, reservations and volumes of frameworks, quota, and what a new term knows of all that.

use proffer_model::link::ToAgent;
use proffer_model::operation::{Operation, OperationResult};
use proffer_model::{
    FrameworkDescription, Limits, OfferId, Problem, Quantities, Quota, Resources, Weight, code,
};

use super::world::{World, describe_framework, principal, r, spec, want};
use crate::event::{OperatorCall, SessionId};

pub(super) fn quota(guarantees: &str, limits: &str) -> Quota {
    let mut bounds = Limits::new();
    let limits: Quantities = r(limits).quantities();
    for (name, milli) in limits.iter() {
        bounds.set(name.clone(), milli);
    }
    Quota {
        guarantees: r(guarantees).quantities(),
        limits: bounds,
    }
}

/// The same, reserved by the caller on top of what there is.
fn reserved(resources: &Resources, role: &str) -> Resources {
    let reservation = proffer_model::resource_kind::Reservation {
        role: role.parse().expect("a role"),
        principal: Some(principal("p")),
        labels: Default::default(),
    };
    resources.push_reservation(&reservation).expect("reserved")
}

fn volume(role: &str, id: &str, size: &str) -> Resources {
    let (kind, amount) = {
        let disk = reserved(&r(size), role);
        let (kind, amount) = disk.iter().next().expect("disk");
        (kind.into_owned(), amount.clone())
    };
    let kind = proffer_model::ResourceKind {
        disk: Some(proffer_model::resource_kind::Disk {
            source: None,
            volume: Some(proffer_model::resource_kind::Volume {
                id: id.parse().expect("an id"),
                principal: Some(principal("p")),
                mountpoint: None,
            }),
        }),
        ..kind
    };
    let mut volume = Resources::new();
    volume.insert(kind, amount).expect("a volume");
    volume
}

pub(super) fn set_quota(
    world: &mut World,
    role: &str,
    quota: Quota,
    is_forced: bool,
) -> Result<(), Problem> {
    let role = role.parse().expect("a role");
    world.operator(OperatorCall::SetQuota {
        role,
        quota,
        is_forced,
    })
}

pub(super) fn framework_in(world: &mut World, role: &str) -> SessionId {
    let description = FrameworkDescription {
        roles: vec![role.parse().expect("a role")],
        ..describe_framework()
    };
    world.subscribe_as("p", None, description)
}

fn one_offer(world: &mut World, session: SessionId) -> (OfferId, Resources) {
    let offers = world.offers(session);
    let offer = offers.last().expect("an offer");
    (offer.id.clone(), offer.resources.clone())
}

#[test]
fn several_quotas_are_set_all_or_none() {
    let mut world = World::new();
    world.agent("a", "cpus:10;mem:100");
    set_quota(&mut world, "eng", quota("cpus:2", ""), false).expect("a quota");
    let set = |world: &mut World, all: &[(&str, &str)]| {
        let quotas = all
            .iter()
            .map(|(role, cpus)| (role.parse().expect("a role"), quota(cpus, "")));
        world.operator(OperatorCall::SetQuotas {
            quotas: quotas.collect(),
            is_forced: false,
        })
    };
    // The second is more than there is: nothing of the first is left.
    let refused = set(&mut world, &[("db", "cpus:1"), ("web", "cpus:50")]);
    assert!(refused.expect_err("too much").is(code::QUOTA_EXCEEDED));
    let roles = |world: &World| -> Vec<String> {
        let all = world.written.quotas.keys();
        all.map(ToString::to_string).collect()
    };
    assert_eq!(roles(&world), ["eng"]);
    // Each alone would not do: what is beneath is part of what is above.
    set(&mut world, &[("eng", "cpus:6"), ("eng/web", "cpus:5")]).expect("together they fit");
    assert_eq!(roles(&world), ["eng", "eng/web"]);
    set(
        &mut world,
        &[("eng", ""), ("eng/web", ""), ("ops", "cpus:9")],
    )
    .expect("in the place");
    assert_eq!(roles(&world), ["ops"]);
}

#[test]
fn a_quota_must_make_sense() {
    let mut world = World::new();
    world.agent("a", "cpus:10;mem:100");
    set_quota(&mut world, "eng", quota("cpus:6", "cpus:8"), false).expect("a quota");
    set_quota(&mut world, "eng/web", quota("cpus:4", ""), false).expect("within eng's");
    let rows = [
        (
            "ops",
            quota("cpus:2", "cpus:1"),
            code::QUOTA_INVALID,
            "quota.limits.cpus",
        ),
        (
            "eng/db",
            quota("cpus:3", ""),
            code::QUOTA_INVALID,
            "quota.guarantees.cpus",
        ),
        (
            "eng/web/x",
            quota("cpus:5", ""),
            code::QUOTA_INVALID,
            "quota.guarantees.cpus",
        ),
        (
            "eng",
            quota("cpus:3", ""),
            code::QUOTA_INVALID,
            "quota.guarantees.cpus",
        ),
        (
            "ops",
            quota("cpus:5", ""),
            code::QUOTA_EXCEEDED,
            "quota.guarantees.cpus",
        ),
        // The limit stands already.
        (
            "eng",
            quota("cpus:9", "cpus:8"),
            code::QUOTA_INVALID,
            "quota.guarantees.cpus",
        ),
    ];
    for (role, bad, code, field) in rows {
        let problem = set_quota(&mut world, role, bad, false).expect_err(role);
        assert_eq!(
            (problem.code.as_ref(), problem.field.as_str()),
            (code.name, field),
            "{role}"
        );
        assert!(!problem.hint.is_empty(), "{role}");
    }
    set_quota(&mut world, "ops", quota("cpus:5", ""), true).expect("forced");
    assert_eq!(world.written.quotas.len(), 3, "and it is durable");
}

#[test]
fn what_is_guaranteed_in_a_cluster_that_has_shrunk_may_become_less_or_stay() {
    let mut world = World::new();
    world.agent("a", "cpus:10;mem:100");
    let link = world.agent("b", "cpus:10;mem:100");
    let b = world.welcomed(link);
    let role = |of: &str| -> proffer_model::Role { of.parse().expect("a role") };
    set_quota(&mut world, "eng", quota("cpus:12;mem:50", ""), false).expect("a quota");
    set_quota(&mut world, "ops", quota("cpus:6", "cpus:8"), false).expect("a quota");
    let gone = OperatorCall::MarkAgentGone { agent: b };
    world.operator(gone).expect("it is gone");
    for (of, more) in [
        ("eng", quota("cpus:13;mem:50", "")),
        ("ops", quota("cpus:7", "cpus:8")),
        ("web", quota("cpus:1", "")),
    ] {
        let problem = set_quota(&mut world, of, more, false).expect_err(of);
        assert!(problem.is(code::QUOTA_EXCEEDED), "{problem}");
        assert_eq!(problem.field, "quota.guarantees.cpus");
    }
    // More of what there is enough of, a limit alone, less, and several at once.
    for (of, other) in [
        ("eng", quota("cpus:12;mem:60", "")),
        ("ops", quota("cpus:6", "cpus:9")),
        ("eng", quota("cpus:11;mem:60", "cpus:20")),
    ] {
        set_quota(&mut world, of, other, false).expect(of);
    }
    let quotas = [("eng", "cpus:10"), ("ops", "cpus:6")];
    let quotas = quotas.map(|(of, guarantees)| (role(of), quota(guarantees, "")));
    let several = OperatorCall::SetQuotas {
        quotas: quotas.into(),
        is_forced: false,
    };
    world.operator(several).expect("none is more");
    assert_eq!(world.written.quotas[&role("eng")], quota("cpus:10", ""));
    // What moves from one to another, or within a role that has it, is no more in all.
    let moved = [("eng", "cpus:8"), ("ops", "cpus:8")];
    let quotas = moved.map(|(of, guarantees)| (role(of), quota(guarantees, "")));
    let several = OperatorCall::SetQuotas {
        quotas: quotas.into(),
        is_forced: false,
    };
    world.operator(several).expect("it moves");
    for guarantee in ["cpus:2", "cpus:3"] {
        set_quota(&mut world, "eng/web", quota(guarantee, ""), false).expect(guarantee);
    }
}

#[test]
fn a_quota_is_of_scalars() {
    let mut world = World::new();
    let bad = set_quota(&mut world, "*", quota("", "ports:1"), false);
    let problem = bad.expect_err("of ports it is known without any agent");
    assert_eq!(problem.field, "quota.limits.ports");
    set_quota(&mut world, "*", quota("", "zones:1;cards:1"), false).expect("it is not known");
    world.agent("a", "cpus:10;zones:{a,b}");
    world.agent("b", "cpus:10;slots(eng):[1-9]");
    for (bad, field) in [
        (quota("", "cpus:1;zones:2"), "quota.limits.zones"),
        (quota("zones:1", ""), "quota.guarantees.zones"),
        (quota("", "slots:3"), "quota.limits.slots"),
    ] {
        let problem = set_quota(&mut world, "eng", bad, false).expect_err(field);
        assert!(problem.is(code::QUOTA_INVALID), "{problem}");
        assert_eq!(problem.field, field);
        assert!(problem.hint.contains("--force"), "{problem}");
    }
    let quotas = [("ops", "cpus:1"), ("eng", "zones:1")];
    let quotas = quotas.map(|(role, limit)| (role.parse().expect("a role"), quota("", limit)));
    let several = OperatorCall::SetQuotas {
        quotas: quotas.into(),
        is_forced: false,
    };
    let problem = world.operator(several).expect_err("one of them is");
    assert_eq!(problem.field, "eng.quota.limits.zones");
    // What was set before stands, and is nothing that an agent with a set is held to.
    assert_eq!(world.written.quotas.len(), 1);
    let session = framework_in(&mut world, "*");
    world.demand(session, vec![want("w", 1, "cpus:1;zones:{a,b}", 0)]);
    assert_eq!(one_offer(&mut world, session).1, r("cpus:1;zones:{a,b}"));
    // One agent of that kind forbids it to nobody who means it; that ports are none is known everywhere.
    set_quota(&mut world, "eng", quota("", "cpus:1;zones:2"), true).expect("forced");
    let ports = set_quota(&mut world, "eng", quota("", "ports:1"), true);
    assert_eq!(ports.expect_err("forced").field, "quota.limits.ports");
    set_quota(&mut world, "*", quota("", "cards:1"), false).expect("without the set");
}

#[test]
fn a_quota_of_nothing_is_none() {
    let mut world = World::new();
    world.agent("a", "cpus:10");
    set_quota(&mut world, "eng", quota("cpus:8", ""), false).expect("a quota");
    set_quota(&mut world, "eng", quota("", ""), false).expect("none");
    assert!(world.written.quotas.is_empty());
    assert!(world.roles().iter().all(|row| row.quota.is_none()));
}

#[test]
fn a_quota_of_nothing_stands_in_nobodys_way() {
    let mut world = World::new();
    world.agent("a", "cpus:10;mem:100");
    set_quota(&mut world, "eng", quota("cpus:8", ""), false).expect("a quota");
    set_quota(&mut world, "eng/web", quota("cpus:8", ""), false).expect("within eng's");
    set_quota(&mut world, "eng", quota("", ""), false).expect("none");
    let all = set_quota(&mut world, "ops", quota("cpus:8", ""), false);
    let problem = all.expect_err("what is guaranteed to eng/web counts");
    assert!(problem.is(code::QUOTA_EXCEEDED), "{problem}");
    set_quota(&mut world, "eng/web", quota("cpus:4", ""), false).expect("less");
    set_quota(&mut world, "ops", quota("cpus:6", ""), false).expect("room for it");
}

#[test]
fn a_limit_takes_offers_back_and_is_kept_by_a_new_term() {
    let mut world = World::new();
    world.agent("a", "cpus:8");
    let session = framework_in(&mut world, "eng");
    world.demand_in(session, "eng", vec![want("w", 8, "cpus:1", 0)]);
    let (id, resources) = one_offer(&mut world, session);
    assert_eq!(resources, r("cpus:8"));
    set_quota(&mut world, "eng", quota("", "cpus:3"), false).expect("a limit");
    assert_eq!(world.rescinded(session), [id]);
    world.pass_ms(20);
    assert_eq!(one_offer(&mut world, session).1, r("cpus:3"));
    let mut next = World::term(2, world.written.clone());
    let weight = Weight(2_000);
    let role = "eng".parse().expect("a role");
    next.operator(OperatorCall::SetWeight { role, weight })
        .expect("a weight");
    let rows = next.roles();
    let eng = rows.iter().find(|row| row.role.as_str() == "eng");
    let eng = eng.expect("a row");
    assert_eq!(eng.quota.as_ref(), Some(&quota("", "cpus:3")));
    assert_eq!(eng.weight, weight);
}

#[test]
fn a_framework_reserves_makes_a_volume_and_launches_in_one_accept() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:64;disk:100");
    let agent = world.welcomed(link);
    let session = framework_in(&mut world, "eng");
    world.demand_in(
        session,
        "eng",
        vec![want("w", 1, "cpus:4;mem:64;disk:100", 0)],
    );
    let (id, _) = one_offer(&mut world, session);
    world.orders(link);
    let data = volume("eng", "v", "disk:60");
    let mut task = spec("t", "cpus:1;mem:32");
    task.resources.add(&data);
    let operations = vec![
        Operation::Reserve(reserved(&r("disk:80"), "ops")),
        Operation::Reserve(reserved(&r("disk:80"), "eng")),
        Operation::Create(data.clone()),
        Operation::Create(data.clone()),
        Operation::launch(task),
        Operation::Destroy(data.clone()),
        Operation::Unreserve(reserved(&r("disk:20"), "eng")),
    ];
    let results = world.operate(session, &[&id], operations).expect("judged");
    let told: Vec<String> = results
        .iter()
        .map(|result| match result {
            OperationResult::Refused(problem) => format!("{} {}", problem.code, problem.field),
            OperationResult::Done => "done".to_owned(),
            result => format!("launched {}", result.launches()[0].outcome.is_ok()),
        })
        .collect();
    assert_eq!(
        told,
        [
            "reservation.invalid accept.operations[0].reserve.disk",
            "done",
            "done",
            "volume.exists accept.operations[3].create.disk",
            "launched true",
            "volume.in_use accept.operations[5].destroy.disk",
            "done",
        ]
    );
    assert_eq!(world.written.agents[&agent].made, data, "and it is durable");
    let orders = world.orders(link);
    assert!(
        matches!(
            orders.as_slice(),
            [ToAgent::Volumes { .. }, ToAgent::Launch { .. }]
        ),
        "{orders:?}"
    );
    let next = World::term(2, world.written.clone());
    let total = &next.core.agents.by_id[&agent].total;
    assert_eq!(*total, r("cpus:4;mem:64;disk:40").plus(&data));
}

#[test]
fn what_is_to_be_reserved_names_its_role() {
    let mut world = World::new();
    world.agent("a", "cpus:4;mem:64;disk:100");
    let session = framework_in(&mut world, "eng");
    let wanted = want("w", 1, "cpus:4;mem:64;disk:100", 0);
    world.demand_in(session, "eng", vec![wanted]);
    let (id, _) = one_offer(&mut world, session);
    let operations = vec![Operation::Reserve(r("disk:64"))];
    let results = world.operate(session, &[&id], operations);
    let results = results.expect("judged");
    let [OperationResult::Refused(problem)] = results.as_slice() else {
        panic!("{results:?}");
    };
    assert!(problem.is(code::RESERVATION_INVALID), "{problem:?}");
    assert_eq!(problem.message, "disk is reserved to nobody");
    assert_eq!(problem.hint, "write disk(ROLE):64");
}

#[test]
fn a_framework_need_not_say_in_a_reservation_who_makes_it_and_reserves_for_nobody_else() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:64");
    let agent = world.welcomed(link);
    let session = framework_in(&mut world, "eng");
    world.demand_in(session, "eng", vec![want("w", 1, "cpus:4;mem:64", 0)]);
    let (id, _) = one_offer(&mut world, session);
    let operations = ["cpus(eng):2", "mem(eng,other):32", "mem(eng,p):16"]
        .map(|text| Operation::Reserve(r(text)))
        .into_iter()
        .chain([Operation::launch(spec("t", "cpus(eng,p):1"))]);
    let results = world.operate(session, &[&id], operations.collect());
    let results = results.expect("judged");
    let [
        OperationResult::Done,
        OperationResult::Refused(problem),
        OperationResult::Done,
        launched,
    ] = results.as_slice()
    else {
        panic!("{results:?}");
    };
    assert!(problem.is(code::RESERVATION_INVALID), "{problem:?}");
    assert!(launched.launches()[0].outcome.is_ok(), "{launched:?}");
    let total = &world.core.agents.by_id[&agent].total;
    let expected = "cpus:2;cpus(eng,p):2;mem:48;mem(eng,p):16";
    assert_eq!(*total, r(expected), "{total}");
}

#[test]
fn an_operator_takes_no_more_offers_back_than_a_reservation_needs() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let [small, large] = [1, 3].map(|cpus| {
        let session = world.framework();
        let needs = format!("cpus:{cpus}");
        world.demand(session, vec![want("w", 1, &needs, 0)]);
        session
    });
    let reserve = |cpus: &str| OperatorCall::Operate {
        agent: agent.clone(),
        operation: Operation::Reserve(reserved(&r(cpus), "eng")),
    };
    let problem = world.operator(reserve("cpus:5")).expect_err("too much");
    assert!(problem.is(code::RESOURCES_NOT_FREE), "{problem}");
    assert!(world.rescinded(small).is_empty() && world.rescinded(large).is_empty());
    world.operator(reserve("cpus:2")).expect("reserved");
    assert_eq!(world.rescinded(large).len(), 1);
    assert!(world.rescinded(small).is_empty());
    world.pass_ms(20);
    assert!(world.offers(large).len() < 2, "two cpus are eng's now");
    let unreserve = OperatorCall::Operate {
        agent: agent.clone(),
        operation: Operation::Unreserve(reserved(&r("cpus:2"), "eng")),
    };
    world.operator(unreserve).expect("unreserved");
    world.pass_ms(20);
    assert_eq!(one_offer(&mut world, large).1, r("cpus:3"));
    assert!(world.written.agents[&agent].made.is_empty());
}

#[test]
fn nothing_is_offered_of_a_drained_agent_until_it_is_reactivated() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    for call in [
        OperatorCall::DrainAgent {
            agent: agent.clone(),
            deadline: None,
            marks_gone: false,
        },
        OperatorCall::DeactivateAgent {
            agent: agent.clone(),
        },
    ] {
        let before = world.offers(session).len();
        world.operator(call).expect("done");
        assert!(!world.rescinded(session).is_empty());
        world.pass_ms(6_000);
        assert_eq!(world.offers(session).len(), before, "nothing new");
        let agent = agent.clone();
        world
            .operator(OperatorCall::ReactivateAgent { agent })
            .expect("done");
        world.pass_ms(20);
        assert_eq!(world.offers(session).len(), before + 1);
    }
    let unknown = "nobody".parse().expect("an id");
    let problem = world.operator(OperatorCall::DeactivateAgent { agent: unknown });
    assert!(problem.expect_err("unknown").is(code::AGENT_UNKNOWN));
}

#[test]
fn a_guarantee_takes_others_offers_back_and_no_more_than_it_needs() {
    let mut world = World::new();
    for host in ["a", "b", "c"] {
        world.agent(host, "cpus:4");
    }
    let others = framework_in(&mut world, "ops");
    world.demand_in(others, "ops", vec![want("w", 3, "cpus:4", 0)]);
    world.pass_ms(20);
    assert_eq!(world.offers(others).len(), 3);
    set_quota(&mut world, "eng", quota("cpus:6", ""), false).expect("a guarantee");
    assert_eq!(world.rescinded(others).len(), 2, "two agents have six cpus");
    let session = framework_in(&mut world, "eng");
    world.demand_in(session, "eng", vec![want("w", 6, "cpus:1", 0)]);
    world.pass_ms(20);
    let offered = world.offers(session).into_iter();
    let offered = offered.fold(Resources::new(), |all, offer| all.plus(&offer.resources));
    assert_eq!(offered, r("cpus:6"), "what was taken back is held for it");
}

#[test]
fn a_limited_role_waits_until_all_agents_of_the_log_are_back() {
    let mut world = World::new();
    let agents = ["a", "b"].map(|host| {
        let link = world.agent(host, "cpus:4");
        world.welcomed(link)
    });
    set_quota(&mut world, "eng", quota("", "cpus:3"), false).expect("a limit");
    let mut next = World::term(2, world.written.clone());
    next.returns(&agents[0], "a", "cpus:4", Vec::new());
    let limited = framework_in(&mut next, "eng");
    next.demand_in(limited, "eng", vec![want("w", 4, "cpus:1", 0)]);
    let free = framework_in(&mut next, "ops");
    next.demand_in(free, "ops", vec![want("w", 1, "cpus:1", 0)]);
    next.pass_s(11);
    assert_eq!(
        next.offers(free).len(),
        1,
        "a role without limits goes ahead"
    );
    assert!(next.offers(limited).is_empty(), "what it holds on b counts");
    next.returns(&agents[1], "b", "cpus:4", Vec::new());
    next.pass_ms(20);
    let offered = next.offers(limited).into_iter();
    let offered = offered.fold(Resources::new(), |all, offer| all.plus(&offer.resources));
    assert_eq!(offered, r("cpus:3"));
}

#[test]
fn roles_that_a_framework_has_left_are_not_kept() {
    let mut world = World::new();
    world.agent("a", "cpus:4");
    let session = framework_in(&mut world, "eng");
    let (framework, _) = world.subscribed(session);
    world.demand_in(session, "eng", vec![want("w", 1, "cpus:1", 0)]);
    for role in ["a", "b", "c/d"] {
        let description = FrameworkDescription {
            roles: vec![role.parse().expect("a role")],
            ..describe_framework()
        };
        let session = world.subscribe_as("p", Some(framework.clone()), description);
        world.demand_in(session, role, vec![want("w", 1, "cpus:1", 0)]);
        world.pass_ms(20);
        assert_eq!(world.offers(session).len(), 1, "{role}");
    }
    let rows = world.roles();
    let rows: Vec<&str> = rows.iter().map(|row| row.role.as_str()).collect();
    assert!(!rows.contains(&"eng") && !rows.contains(&"a"), "{rows:?}");
    assert!(rows.contains(&"c/d"), "{rows:?}");
    assert!(world.core.frameworks[&framework].used.is_empty());
}

/// A framework in a role holds so many cpus by one task.
fn tasks_of(world: &mut World, role: &str, cpus: u64) -> SessionId {
    let session = framework_in(world, role);
    let needs = format!("cpus:{cpus}");
    world.demand_in(session, role, vec![want("w", 1, &needs, 0)]);
    world.pass_ms(20);
    let (id, _) = one_offer(world, session);
    let launch = Operation::launch(spec(&format!("t-{}", role.replace('/', "-")), &needs));
    world
        .operate(session, &[&id], vec![launch])
        .expect("launched");
    session
}

#[test]
fn a_limit_counts_tasks_of_all_beneath_it_and_no_offers() {
    let mut world = World::new();
    world.agent("a", "cpus:10;mem:100");
    tasks_of(&mut world, "eng/web", 3);
    let session = tasks_of(&mut world, "eng/db", 2);
    world.demand_in(session, "eng/db", vec![want("more", 1, "cpus:4", 0)]);
    world.pass_ms(20);
    assert_eq!(one_offer(&mut world, session).1, r("cpus:4"));
    let problem = set_quota(&mut world, "eng", quota("", "cpus:4"), false);
    let problem = problem.expect_err("less than tasks hold");
    assert!(problem.is(code::QUOTA_EXCEEDED), "{problem}");
    assert!(problem.message.contains("has 5 cpus"), "{problem}");
    assert!(world.rescinded(session).is_empty(), "nothing was done");
    set_quota(&mut world, "eng", quota("", "cpus:5"), false).expect("what tasks hold");
    assert_eq!(world.rescinded(session).len(), 1, "the offer passes it");
    // What stands, and what is higher, is not judged anew.
    set_quota(&mut world, "eng", quota("", "cpus:3"), true).expect("forced");
    set_quota(&mut world, "eng", quota("", "cpus:3;mem:50"), false).expect("stands");
    set_quota(&mut world, "eng", quota("", "cpus:4"), false).expect("higher");
    set_quota(&mut world, "eng", quota("", "cpus:2"), false).expect_err("lower");
}

#[test]
fn quotas_that_are_removed_with_others_are_so_all_or_none_while_the_store_is_behind() {
    let mut world = World::new();
    world.agent("a", "cpus:100");
    let name = |i: u64| -> proffer_model::Role { format!("r{i:04}").parse().expect("a role") };
    let all = |quota: &Quota| (0..40).map(|i| (name(i), quota.clone())).collect();
    let set = |world: &mut World, quota: Quota| {
        world.operator(OperatorCall::SetQuotas {
            quotas: all(&quota),
            is_forced: false,
        })
    };
    set(&mut world, quota("cpus:1", "")).expect("set");
    assert_eq!(world.written.quotas.len(), 40);
    // The first change of the step makes the store too far behind for what comes next, but not for the rest of what was begun.
    world.is_writing = false;
    for weight in 1.. {
        if world.core.turn.pending() >= crate::limits::BATCHES_PENDING_MAX {
            break;
        }
        let (role, weight) = ("x".parse().expect("a role"), Weight(weight));
        let call = OperatorCall::SetWeight { role, weight };
        // It is answered when it is durable.
        world.operator(call).expect("room");
    }
    set(&mut world, Quota::default()).expect("all");
    assert!(world.core.registry().quotas.is_empty());
    world.is_writing = true;
    world.write();
}

#[test]
fn thousands_of_quotas_are_set_at_once_and_no_more_than_there_is_room_for() {
    let mut world = World::new();
    world.agent("a", "cpus:100000");
    let session = framework_in(&mut world, "t0007/x");
    world.demand_in(session, "t0007/x", vec![want("w", 1, "cpus:1", 0)]);
    let name = |i: usize| -> proffer_model::Role { format!("t{i:04}").parse().expect("a role") };
    let quotas = (0..2_000).map(|i| (name(i), quota("cpus:1", "cpus:2")));
    let call = OperatorCall::SetQuotas {
        quotas: quotas.collect(),
        is_forced: false,
    };
    world.operator(call).expect("set");
    assert_eq!(world.written.quotas.len(), 2_000);
    let too_many = (0..=crate::limits::ROLE_SETTINGS_MAX).map(|i| {
        let role = format!("u{i}").parse().expect("a role");
        (role, quota("", "cpus:1"))
    });
    let call = OperatorCall::SetQuotas {
        quotas: too_many.collect(),
        is_forced: true,
    };
    let problem = world.operator(call).expect_err("too many");
    assert!(problem.is(code::FIELD_TOO_LONG), "{problem}");
    let more = (0..9_000).map(|i| {
        (
            format!("v{i}").parse().expect("a role"),
            quota("", "cpus:1"),
        )
    });
    let call = OperatorCall::SetQuotas {
        quotas: more.collect(),
        is_forced: true,
    };
    let problem = world.operator(call).expect_err("no room");
    assert!(problem.is(code::OVERLOADED), "{problem}");
    assert_eq!(world.written.quotas.len(), 2_000);
}

/// A framework in `eng/dev`, which is limited to one cpu, and its offer of four that are reserved for `eng`.
fn offer_of_a_limited_role(world: &mut World) -> (SessionId, OfferId) {
    let link = world.agent("a", "cpus:4;mem:64");
    let agent = world.welcomed(link);
    let reserve = OperatorCall::Operate {
        agent,
        operation: Operation::Reserve(reserved(&r("cpus:4"), "eng")),
    };
    world.operator(reserve).expect("reserved");
    set_quota(world, "eng/dev", quota("", "cpus:1"), false).expect("set");
    let session = framework_in(world, "eng/dev");
    let wanted = want("w", 1, "cpus:4;mem:64", 0);
    world.demand_in(session, "eng/dev", vec![wanted]);
    let (offer, _) = one_offer(world, session);
    (session, offer)
}

#[test]
fn no_reservation_that_is_taken_away_or_refined_passes_a_limit() {
    let of_eng = reserved(&r("cpus:4"), "eng");
    let refined = reserved(&of_eng, "eng/dev");
    for operation in [
        Operation::Unreserve(of_eng.clone()),
        Operation::Reserve(refined),
    ] {
        let mut world = World::new();
        let (session, offer) = offer_of_a_limited_role(&mut world);
        let launch = Operation::launch(spec("t", "cpus:4;mem:64"));
        let results = world
            .operate(session, &[&offer], vec![operation, launch])
            .expect("judged");
        let [OperationResult::Refused(problem), launched] = results.as_slice() else {
            panic!("{results:?}");
        };
        assert!(problem.is(code::QUOTA_EXCEEDED), "{problem}");
        assert!(problem.field.ends_with("reserve.cpus"), "{problem}");
        assert!(problem.message.contains("eng/dev"), "{problem}");
        let outcome = &launched.launches()[0].outcome;
        assert!(outcome.is_err(), "of what is not there: {outcome:?}");
    }
    // As much as the limit leaves is fine, once.
    let of_eng = reserved(&r("cpus:1"), "eng");
    let refined = reserved(&of_eng, "eng/dev");
    for operation in [Operation::Unreserve(of_eng), Operation::Reserve(refined)] {
        let mut world = World::new();
        let (session, offer) = offer_of_a_limited_role(&mut world);
        let twice = vec![operation.clone(), operation];
        let results = world.operate(session, &[&offer], twice).expect("judged");
        assert_eq!(results[0], OperationResult::Done);
        assert!(matches!(&results[1], OperationResult::Refused(_)));
    }
}
