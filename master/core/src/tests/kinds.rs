//! Resources that are not for everybody: what is reserved and asked for by predicates, what is revocable. And weights, which
//! say who is next, and take nothing back.

use proffer_model::operation::Operation;
use proffer_model::{DemandEntry, FrameworkDescription, Predicate, Resources, Shape, Weight, code};

use super::world::{World, describe_framework, principal, r, spec, want};
use crate::event::{OperatorCall, SessionId};

fn framework_in(world: &mut World, role: &str) -> SessionId {
    let description = FrameworkDescription {
        roles: vec![role.parse().expect("a role")],
        ..describe_framework()
    };
    world.subscribe_as("p", None, description)
}

fn reserved(text: &str, role: &str) -> Resources {
    let reservation = proffer_model::resource_kind::Reservation {
        role: role.parse().expect("a role"),
        principal: Some(principal("p")),
        labels: Default::default(),
    };
    r(text).push_reservation(&reservation).expect("reserved")
}

fn where_reserved(id: &str, name: Option<&str>) -> DemandEntry {
    let name = name.map(|name| name.parse().expect("a name"));
    DemandEntry {
        predicates: vec![Predicate::Reserved(name)],
        ..want(id, 9, "cpus:1", 0)
    }
}

#[test]
fn demand_goes_where_something_is_reserved_for_its_role() {
    let mut world = World::new();
    let links = ["a", "b", "c"].map(|host| world.agent(host, "cpus:2;gpus:1"));
    world.agent("d", "cpus:2;cpus(ops):1");
    let session = framework_in(&mut world, "eng/web");
    let (framework, _) = world.subscribed(session);
    let entries = vec![
        where_reserved("any", None),
        where_reserved("gpus", Some("gpus")),
    ];
    world.demand_in(session, "eng/web", entries);
    world.pass_ms(20);
    assert!(world.offers(session).is_empty());
    let why = world.explain(&framework);
    let words: Vec<&str> = why.iter().map(|(_, words)| &**words).collect();
    assert_eq!(
        words,
        [
            "4 agents have nothing reserved for role eng/web",
            "4 agents have no gpus reserved for role eng/web"
        ]
    );

    // Of a role above it; that is looked at when it is made.
    let agent = world.welcomed(links[1]);
    let operate = |operation| OperatorCall::Operate {
        agent: agent.clone(),
        operation,
    };
    let reserve = operate(Operation::Reserve(reserved("gpus:1", "eng")));
    world.operator(reserve).expect("reserved");
    world.pass_ms(20);
    let offers = world.offers(session);
    let of: Vec<_> = offers.iter().map(|offer| &*offer.host).collect();
    assert_eq!(of, ["b"]);
    let fits: u32 = offers[0].fits.iter().map(|fit| fit.count).sum();
    assert_eq!(fits, 2);

    let unreserve = operate(Operation::Unreserve(reserved("gpus:1", "eng")));
    world.operator(unreserve).expect("taken away");
    world.pass_ms(20);
    let standing = world.offers(session).len() - world.rescinded(session).len();
    assert!(standing <= 1, "what was offered before may stand");
    world.demand_in(session, "eng/web", vec![where_reserved("new", None)]);
    world.pass_ms(20);
    let why = world.explain(&framework);
    assert_eq!(why[0].1, "4 agents have nothing reserved for role eng/web");
}

#[test]
fn what_no_agent_has_is_said_by_its_name() {
    for (needs, words) in [
        ("cpu:1", "1 agent has less than 1 cpu in all"),
        ("cpus:0.1;cpu:0.1", "1 agent has less than 0.1 cpu in all"),
        (
            "ports:[1-1]",
            "1 agent does not have all of ports [1-1] free",
        ),
        ("zones:{a}", "1 agent does not have all of zones {a}"),
        ("mem:10;cpus(db):1", "1 agent has no cpus(db) for role *"),
        ("cpus:1;cpus(db):9", "1 agent has no cpus(db) for role *"),
        (
            "cpus:1;cpus{REV}:9",
            "1 agent has less than 9 cpus{REV} in all",
        ),
        (
            "cpus:7;cpus{REV}:1",
            "1 agent has less than 7 cpus beside the other kinds that it needs",
        ),
        (
            "cpus:6;cpus{REV}:1",
            "1 agent has less than 6 cpus that is not reserved for other roles",
        ),
    ] {
        let mut world = World::new();
        world.agent("a", "cpus:4;mem:100;ports:[5-9];cpus(db):2;cpus{REV}:1");
        let session = world.framework();
        let (framework, _) = world.subscribed(session);
        world.demand(session, vec![want("w", 1, needs, 0)]);
        world.pass_ms(20);
        let why = world.explain(&framework);
        assert_eq!(why[0].1, words, "{needs}");
    }
}

#[test]
fn what_others_have_reserved_is_not_said_to_be_too_little_in_all() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:2");
    let agent = world.welcomed(link);
    let operation = Operation::Reserve(reserved("cpus:1.5", "db"));
    let reserve = OperatorCall::Operate { agent, operation };
    world.operator(reserve).expect("reserved");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    for (needs, reason, words) in [
        (
            "cpus:1",
            "reserved",
            "1 agent has less than 1 cpus that is not reserved for other roles",
        ),
        (
            "cpus:3",
            "too_small_cpus",
            "1 agent has less than 3 cpus in all",
        ),
    ] {
        world.demand(session, vec![want("w", 1, needs, 0)]);
        world.pass_ms(100);
        let why = world.explain(&framework);
        assert_eq!(why, [(reason.to_owned(), words.to_owned())]);
    }
    // The same of what is free, while a task has the rest.
    world.demand(session, vec![want("w", 1, "cpus:0.3", 0)]);
    world.pass_ms(100);
    let offer = world.offers(session).pop().expect("an offer");
    let launched = world.accept(session, &[&offer.id], vec![spec("t", "cpus:0.3")]);
    launched.expect("the offer stands");
    world.demand(session, vec![want("w", 1, "cpus:0.4", 0)]);
    world.pass_ms(100);
    let words = "1 agent has less than 0.4 cpus free that is not reserved for other roles";
    assert_eq!(
        world.explain(&framework),
        [("reserved".to_owned(), words.to_owned())]
    );
}

#[test]
fn of_numbers_that_are_named_and_counted_it_is_said_which_are_too_few() {
    for (needs, words) in [
        (
            "ports:[31000-31000]",
            "1 agent has fewer than 2 ports free beside [31000-31000]",
        ),
        (
            "ports:[31002-31002]",
            "1 agent does not have all of ports [31002-31002] free",
        ),
        ("", "1 agent has fewer than 3 ports free"),
    ] {
        let mut world = World::new();
        world.agent("a", "cpus:2;ports:[31000-31001]");
        let session = world.framework();
        let (framework, _) = world.subscribed(session);
        let mut entry = want("w", 1, needs, 0);
        let count = if needs.is_empty() { 3 } else { 2 };
        if let Shape::Of { counts, .. } = &mut entry.shape {
            counts.insert("ports".parse().expect("a name"), count);
        }
        world.demand(session, vec![entry]);
        world.pass_ms(100);
        let why = world.explain(&framework);
        assert_eq!(why, [("insufficient_ports".to_owned(), words.to_owned())]);
    }
}

#[test]
fn what_is_revocable_is_offered_to_those_that_take_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:1;cpus{REV}:4");
    let agent = world.welcomed(link);
    let careful = world.framework();
    let (framework, _) = world.subscribed(careful);
    world.demand(careful, vec![want("w", 2, "cpus:2", 0)]);
    world.pass_ms(20);
    assert!(world.offers(careful).is_empty());
    let why = world.explain(&framework);
    let words = "1 agent has less than 2 cpus beside what it does not take (revocable, a disk or volume by itself, or of a refined reservation)";
    assert_eq!(why, [("not_taken".to_owned(), words.to_owned())]);

    let bold = world.framework();
    let mut entry = DemandEntry {
        shape: Shape::Any { least: Vec::new() },
        predicates: vec![Predicate::Resource("cpus".parse().expect("a name"))],
        ..want("w", 9, "", 0)
    };
    world.demand(bold, vec![entry.clone()]);
    world.pass_ms(20);
    let ordinary = world.offers(bold).pop().expect("what is ordinary");
    assert_eq!(ordinary.resources, r("cpus:1"));
    entry.takes.revocable = true;
    world.demand(bold, vec![entry]);
    world.pass_ms(20);
    let more = world.offers(bold).pop().expect("the rest");
    assert_eq!(more.resources, r("cpus{REV}:4"));

    // Less may be taken by now: what is offered is taken back, and so much comes again.
    world.drain(bold);
    let link = world.returns(&agent, "a", "cpus:1;cpus{REV}:3", vec![]);
    assert_eq!(world.welcomed(link), agent);
    world.pass_ms(20);
    assert!(world.rescinded(bold).contains(&more.id));
    let last = world.offers(bold).pop().expect("what there is");
    assert_eq!(last.resources, r("cpus:1;cpus{REV}:3"));
    world.returns(&agent, "a", "cpus:1", vec![]);
    world.pass_ms(20);
    assert!(world.rescinded(bold).contains(&last.id));
    let last = world.offers(bold).pop().expect("what there is");
    assert_eq!(last.resources, r("cpus:1"));
}

#[test]
fn whoever_names_what_is_revocable_takes_it() {
    let mut world = World::new();
    world.agent("a", "cpus:1;cpus{REV}:4");
    let session = world.framework();
    world.demand(session, vec![want("w", 9, "cpus{REV}:2", 0)]);
    world.pass_ms(20);
    let offers = world.offers(session);
    let told = offers
        .iter()
        .map(|offer| (&offer.resources, offer.fits[0].count));
    let told: Vec<_> = told.collect();
    assert_eq!(told, [(&r("cpus{REV}:4"), 2)]);
}

#[test]
fn offers_stand_when_weights_change() {
    let mut world = World::new();
    for host in ["a", "b"] {
        world.agent(host, "cpus:4");
    }
    let sessions = ["eng", "ops"].map(|role| {
        let session = framework_in(&mut world, role);
        world.demand_in(session, role, vec![want("w", 1, "cpus:4", 0)]);
        session
    });
    world.pass_ms(20);
    for (role, weight) in [("eng", 9_000), ("ops", 500), ("eng", 1_000)] {
        let role = role.parse().expect("a role");
        let weight = Weight(weight);
        let call = OperatorCall::SetWeight { role, weight };
        world.operator(call).expect("a weight");
        world.pass_ms(20);
    }
    for session in sessions {
        assert!(world.rescinded(session).is_empty());
        assert_eq!(world.offers(session).len(), 1);
    }
}

#[test]
fn an_amount_of_another_form_is_told_as_such() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;ports:[1-9]");
    let agent = world.welcomed(link);
    for (given, field) in [
        ("cpus:[1-2]", "resources.cpus"),
        ("ports:2", "resources.ports"),
        ("ports:{a}", "resources.ports"),
    ] {
        let operation = Operation::Reserve(reserved(given, "eng"));
        let agent = agent.clone();
        let problem = world.operator(OperatorCall::Operate { agent, operation });
        let problem = problem.expect_err(given);
        assert!(problem.is(code::RESOURCES_INVALID), "{problem}");
        assert_eq!((&*problem.field, problem.hint.is_empty()), (field, false));
    }
}
