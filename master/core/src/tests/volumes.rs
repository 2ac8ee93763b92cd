//! Volumes: grown and shrunk in an accept, shared by tasks and offers, made anew, and how many kinds of things there may be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::limits::RESOURCE_KINDS_MAX;
use proffer_model::link::{ToAgent, ToMaster};
use proffer_model::operation::{Operation, OperationResult};
use proffer_model::resource_kind::{Disk, Reservation, ResourceKind, Volume};
use proffer_model::resources::Amount;
use proffer_model::{
    AgentId, Command, DemandEntry, ExecutorApi, ExecutorSpec, FrameworkDescription, Resources,
    Shape, TaskState, VolumeId, VolumeMount, code,
};

use super::world::{World, describe_framework, principal, r, spec, status, want};
use crate::effect::After;
use crate::event::{Event, LinkId, OperatorCall, Resize, SessionId, TimerKey};

fn reserved(text: &str, label: Option<usize>) -> Resources {
    let label = label.map(|label| ("label".to_owned(), label.to_string()));
    let reservation = Reservation {
        role: "eng".parse().expect("a role"),
        principal: Some(principal("p")),
        labels: label.into_iter().collect(),
    };
    r(text).push_reservation(&reservation).expect("reserved")
}

fn volume(id: &str, size: u64, is_shared: bool) -> Resources {
    let disk = reserved("disk:1", None);
    let (kind, _) = disk.iter().next().expect("disk");
    let volume = Volume {
        id: id.parse().expect("an id"),
        principal: Some(principal("p")),
        mountpoint: None,
    };
    let kind = ResourceKind {
        disk: Some(Disk {
            source: None,
            volume: Some(volume),
        }),
        is_shared,
        ..kind.into_owned()
    };
    let mut volume = Resources::new();
    let inserted = volume.insert(kind, Amount::Scalar(size * 1_000));
    inserted.expect("a volume");
    volume
}

fn on(id: &str, cpus: &str, volume: &Resources) -> proffer_model::TaskSpec {
    let mut task = spec(id, cpus);
    task.resources.add(volume);
    task
}

fn framework(world: &mut World, wanted: u32) -> SessionId {
    let description = FrameworkDescription {
        roles: vec!["eng".parse().expect("a role")],
        ..describe_framework()
    };
    let session = world.subscribe_as("p", None, description);
    let any = DemandEntry {
        shape: Shape::Any { least: Vec::new() },
        ..want("any", wanted, "", 0)
    };
    world.demand_in(session, "eng", vec![any]);
    session
}

fn told(results: &[OperationResult]) -> Vec<String> {
    let one = |result: &OperationResult| match result {
        OperationResult::Refused(problem) => problem.code.to_string(),
        OperationResult::Done => "done".to_owned(),
        result => match &result.launches()[0].outcome {
            Ok(_) => "launched".to_owned(),
            Err(problem) => problem.code.to_string(),
        },
    };
    results.iter().map(one).collect()
}

fn accept(world: &mut World, session: SessionId, operations: Vec<Operation>) -> Vec<String> {
    let offer = world.offers(session).last().expect("an offer").id.clone();
    let results = world.operate(session, &[&offer], operations);
    told(&results.expect("judged"))
}

fn operate(world: &mut World, agent: &AgentId, operation: Operation) -> Result<(), String> {
    let agent = agent.clone();
    let done = world.operator(OperatorCall::Operate { agent, operation });
    done.map_err(|problem| problem.code.to_string())
}

/// What a new term knows of an agent.
fn in_a_new_term(world: &World, agent: &AgentId) -> Resources {
    let next = World::term(9, world.written.clone());
    next.core.agents.by_id[agent].total.clone()
}

#[test]
fn operators_grow_and_shrink_a_volume_that_no_task_uses() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100");
    let agent = world.welcomed(link);
    let id: VolumeId = "v".parse().expect("an id");
    let grow = |milli| Operation::Grow {
        volume: id.clone(),
        milli,
    };
    let shrink = |milli| Operation::Shrink {
        volume: id.clone(),
        milli,
    };
    let reserve = Operation::Reserve(reserved("disk:50", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    let create = Operation::Create(volume("v", 20, false));
    operate(&mut world, &agent, create).expect("created");
    let session = framework(&mut world, 1);
    operate(&mut world, &agent, grow(10_000)).expect("its offer is taken back");
    operate(&mut world, &agent, shrink(5_000)).expect("shrunk");
    let total = r("cpus:4;disk:50").plus(&reserved("disk:25", None));
    let total = total.plus(&volume("v", 25, false));
    assert_eq!(world.core.agents.by_id[&agent].total, total);
    assert_eq!(in_a_new_term(&world, &agent), total);
    operate(&mut world, &agent, shrink(25_000)).expect_err("nothing would be left");
    operate(&mut world, &agent, grow(25_001)).expect_err("there is no such disk");
    let task = on("t", "cpus:1", &volume("v", 25, false));
    world.pass_s(2);
    assert_eq!(
        accept(&mut world, session, vec![Operation::launch(task)]),
        ["launched"]
    );
    for operation in [grow(1_000), shrink(1_000)] {
        operate(&mut world, &agent, operation).expect_err("a task uses it");
    }
}

#[test]
fn operators_resize_the_volume_of_the_role_that_they_name() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100;disk(ops):30");
    let agent = world.welcomed(link);
    let reserve = Operation::Reserve(reserved("disk:50", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    for volume in [
        volume("v", 20, false),
        volume("s", 5, true),
        r("disk(ops)[v]:10"),
    ] {
        operate(&mut world, &agent, Operation::Create(volume)).expect("created");
    }
    let session = framework(&mut world, 1);
    let resize = |world: &mut World, role: &str, volume: &str, resize: Resize| {
        let call = OperatorCall::ResizeVolume {
            agent: agent.clone(),
            role: role.parse().expect("a role"),
            volume: volume.parse().expect("an id"),
            resize,
        };
        let done = world.operator(call);
        done.map_err(|problem| format!("{} {}", problem.code, problem.field))
    };
    resize(&mut world, "eng", "v", Resize::Grow(10_000)).expect("its offer is taken back");
    resize(&mut world, "eng", "v", Resize::Shrink(5_000)).expect("shrunk");
    resize(&mut world, "ops", "v", Resize::Grow(20_000)).expect("all that there is");
    let total = r("cpus:4;disk:50;disk(ops)[v,p]:30").plus(&reserved("disk:20", None));
    let total = total
        .plus(&volume("v", 25, false))
        .plus(&volume("s", 5, true));
    assert_eq!(world.core.agents.by_id[&agent].total, total);
    assert_eq!(in_a_new_term(&world, &agent), total);
    for (role, volume, by, refused) in [
        ("eng", "v", Resize::Grow(20_001), "resources.not_free milli"),
        ("eng", "v", Resize::Shrink(25_000), "volume.invalid milli"),
        ("eng", "v", Resize::Shrink(0), "volume.invalid milli"),
        ("eng", "s", Resize::Grow(1), "volume.invalid volume_id"),
        ("eng", "w", Resize::Grow(1), "volume.unknown volume_id"),
        ("web", "v", Resize::Grow(1), "volume.unknown volume_id"),
    ] {
        let problem = resize(&mut world, role, volume, by).expect_err(refused);
        assert_eq!(problem, refused, "{role} {volume} {by:?}");
    }
    let task = on("t", "cpus:1", &volume("v", 25, false));
    world.pass_s(2);
    assert_eq!(
        accept(&mut world, session, vec![Operation::launch(task)]),
        ["launched"]
    );
    for by in [Resize::Grow(1_000), Resize::Shrink(1_000)] {
        let problem = resize(&mut world, "eng", "v", by).expect_err("a task uses it");
        assert_eq!(problem, "volume.in_use volume_id");
    }
}

#[test]
fn a_volume_grows_and_shrinks_in_an_accept_and_in_the_log() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100");
    let agent = world.welcomed(link);
    let session = framework(&mut world, 1);
    let id: VolumeId = "v".parse().expect("an id");
    let grow = |milli| Operation::Grow {
        volume: id.clone(),
        milli,
    };
    let shrink = |milli| Operation::Shrink {
        volume: id.clone(),
        milli,
    };
    let operations = vec![
        Operation::Reserve(reserved("disk:50", None)),
        Operation::Create(volume("v", 20, false)),
        grow(10_000),
        grow(21_000),
        grow(u64::MAX),
        shrink(5_000),
        shrink(25_000),
        Operation::launch(on("t", "cpus:1", &volume("v", 25, false))),
        grow(1_000),
    ];
    let done = accept(&mut world, session, operations);
    let (gone, bad) = ("resources.not_offered", "volume.invalid");
    let unknown = "volume.unknown";
    let too_much = "resources.invalid";
    assert_eq!(
        done,
        [
            "done", "done", "done", gone, too_much, "done", bad, "launched", unknown
        ]
    );
    let total = r("cpus:4;disk:50").plus(&reserved("disk:25", None));
    let total = total.plus(&volume("v", 25, false));
    assert_eq!(world.core.agents.by_id[&agent].total, total);
    assert_eq!(in_a_new_term(&world, &agent), total);
}

/// A world whose agent has a shared volume `v`.
fn with_shared_volume() -> (World, (LinkId, AgentId), Resources) {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:64;disk:100");
    let agent = world.welcomed(link);
    let shared = volume("v", 20, true);
    let reserve = Operation::Reserve(reserved("disk:20", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    operate(&mut world, &agent, Operation::Create(shared.clone())).expect("made");
    (world, (link, agent), shared)
}

#[test]
fn tasks_share_a_volume_and_nobody_is_offered_one_that_is_destroyed() {
    let (mut world, (link, agent), shared) = with_shared_volume();
    let first = framework(&mut world, 1);
    let launches = ["t1", "t2"].map(|id| Operation::launch(on(id, "cpus:1", &shared)));
    let done = accept(&mut world, first, launches.to_vec());
    assert_eq!(done, ["launched", "launched"]);
    // It is offered to others while it is in use.
    let holds = |world: &World, session| {
        let offers = world.offers(session);
        offers.iter().any(|offer| offer.resources.contains(&shared))
    };
    let second = framework(&mut world, 1);
    world.pass_ms(20);
    assert!(holds(&world, second), "while tasks use it");
    let third = framework(&mut world, 1);
    let destroy = || Operation::Destroy(shared.clone());
    let refused = operate(&mut world, &agent, destroy());
    assert_eq!(refused, Err(code::VOLUME_IN_USE.name.to_owned()));
    let (framework, _) = world.subscribed(first);
    let launched = world.core.tasks.of(&framework);
    let launched: Vec<_> = launched
        .map(|(id, task)| (id.to_string(), task.incarnation))
        .collect();
    for (id, incarnation) in launched {
        let ended = status(&id, incarnation, 1, TaskState::Finished);
        world.updates(link, &framework, ended);
        world.pass_ms(20);
    }
    assert!(holds(&world, third), "while the second has it in an offer");
    operate(&mut world, &agent, destroy()).expect("nobody uses it");
    for session in [second, third] {
        assert_eq!(world.rescinded(session).len(), 1, "it is gone");
    }
    let total = r("cpus:4;mem:64;disk:80").plus(&reserved("disk:20", None));
    assert_eq!(in_a_new_term(&world, &agent), total);
}

#[test]
fn a_volume_says_who_made_it_and_nobody_makes_one_for_another() {
    let by = |id: &str, name: Option<&str>| {
        let mut made = Resources::new();
        for (kind, _, amount) in volume(id, 20, false).volumes() {
            let mut kind = kind.clone();
            let disk = kind.disk.as_mut().expect("a disk");
            disk.volume.as_mut().expect("a volume").principal = name.map(principal);
            made.insert(kind, amount.clone()).expect("a volume");
        }
        made
    };
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;mem:64;disk:100");
    let agent = world.welcomed(link);
    let reserve = Operation::Reserve(reserved("disk:60", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    let refused = operate(
        &mut world,
        &agent,
        Operation::Create(by("v", Some("other"))),
    );
    assert_eq!(refused, Err(code::VOLUME_INVALID.name.to_owned()));
    // Operators are who they are, and need not say so.
    operate(&mut world, &agent, Operation::Create(by("v", None))).expect("made");
    let total = world.core.agents.by_id[&agent].total.clone();
    let makers: Vec<_> = total
        .volumes()
        .map(|(_, of, _)| of.principal.clone())
        .collect();
    assert_eq!(makers, [Some(principal("p"))]);
    operate(&mut world, &agent, Operation::Destroy(by("v", None))).expect("destroyed");
    assert_eq!(world.core.agents.by_id[&agent].total.volumes().count(), 0);
    // Frameworks may leave it out.
    let session = framework(&mut world, 1);
    world.pass_ms(20);
    let creations = [("w", Some("other")), ("w", None), ("x", Some("p"))];
    let creations = creations.map(|(id, name)| Operation::Create(by(id, name)));
    let done = accept(&mut world, session, creations.to_vec());
    assert_eq!(done, ["volume.invalid", "done", "done"]);
}

#[test]
fn an_executor_has_a_copy_of_its_own_of_a_shared_volume() {
    let (mut world, (link, agent), shared) = with_shared_volume();
    let session = framework(&mut world, 1);
    let (of, _) = world.subscribed(session);
    let executor = ExecutorSpec {
        id: "x".parse().expect("an id"),
        resources: shared.clone(),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    };
    let mut of_executor = spec("t1", "cpus:1");
    of_executor.command = Command::Data(Vec::new());
    of_executor.executor = Some(Arc::new(executor));
    let launches = [of_executor, on("t2", "cpus:1", &shared)].map(Operation::launch);
    let done = accept(&mut world, session, launches.to_vec());
    assert_eq!(done, ["launched", "launched"]);
    let copies = |world: &World| {
        let held = world.core.allocator.copies_held(&agent);
        let held = held.values().flat_map(|held| held.special());
        let copies = held.map(|(_, amount)| match amount {
            Amount::Whole(pieces) => pieces.iter().map(|piece| piece.copies).sum(),
            _ => 0,
        });
        copies.sum::<u32>()
    };
    world.demand_in(session, "eng", Vec::new());
    assert_eq!(copies(&world), 2, "of the executor and of the task");
    let ended = ToMaster::ExecutorChanged {
        framework: of,
        executor: "x".parse().expect("an id"),
        is_ended: true,
        message: String::new(),
    };
    world.step(Event::LinkMessage {
        link,
        message: ended,
    });
    assert_eq!(copies(&world), 1, "the task has its own");
}

#[test]
fn a_volume_has_its_id_alone_even_while_its_agent_lacks_it() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100");
    let agent = world.welcomed(link);
    let large = volume("v", 80, false);
    let reserve = Operation::Reserve(reserved("disk:80", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    operate(&mut world, &agent, Operation::Create(large.clone())).expect("made");
    world.returns(&agent, "a", "cpus:4;disk:50", Vec::new());
    assert_eq!(world.core.agents.by_id[&agent].missing, large);
    let reserve = Operation::Reserve(reserved("disk:20", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    let small = volume("v", 20, false);
    let refused = operate(&mut world, &agent, Operation::Create(small));
    assert_eq!(refused, Err(code::VOLUME_EXISTS.name.to_owned()));
    let twice = volume("w", 10, false).plus(&volume("w", 10, true));
    let refused = operate(&mut world, &agent, Operation::Create(twice));
    assert_eq!(refused, Err(code::VOLUME_EXISTS.name.to_owned()));
}

#[test]
fn an_agent_has_no_more_kinds_than_can_be_written_down() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let labels = 0..RESOURCE_KINDS_MAX;
    let all = labels.fold(Resources::new(), |all, label| {
        all.plus(&reserved("cpus:0.001", Some(label)))
    });
    operate(&mut world, &agent, Operation::Reserve(all)).expect("there is room");
    let more = reserved("cpus:0.001", Some(RESOURCE_KINDS_MAX));
    let refused = operate(&mut world, &agent, Operation::Reserve(more));
    assert_eq!(refused, Err(code::OVERLOADED.name.to_owned()));
    let known = reserved("cpus:0.001", Some(1));
    operate(&mut world, &agent, Operation::Reserve(known.clone())).expect("no new kind");
    operate(&mut world, &agent, Operation::Unreserve(known)).expect("fewer is well");
}

#[test]
fn reserved_ports_rest_as_others_do() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;ports:[1-9]");
    let agent = world.welcomed(link);
    let ports = reserved("ports:[1-9]", None);
    operate(&mut world, &agent, Operation::Reserve(ports.clone())).expect("reserved");
    let session = framework(&mut world, 5);
    let held = reserved("ports:[3-4]", None);
    let launch = Operation::launch(on("t", "cpus:1", &held));
    assert_eq!(accept(&mut world, session, vec![launch]), ["launched"]);
    let (framework, _) = world.subscribed(session);
    let task = world.core.tasks.of(&framework).next();
    let incarnation = task.expect("a task").1.incarnation;
    let ended = status("t", incarnation, 1, TaskState::Finished);
    world.updates(link, &framework, ended);
    let rested = |world: &World| world.core.agents.by_id[&agent].rested();
    assert_eq!(rested(&world), r("cpus:4").plus(&ports.minus(&held)));
    world.pass_s(600);
    assert_eq!(rested(&world), r("cpus:4").plus(&ports));
}

#[test]
fn numbers_that_a_task_holds_are_not_offered_as_reserved_ones() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;ports:[1-3]");
    let agent = world.welcomed(link);
    let session = framework(&mut world, 1);
    let launch = Operation::launch(spec("t", "cpus:1;ports:[2-2]"));
    assert_eq!(accept(&mut world, session, vec![launch]), ["launched"]);
    let (framework, _) = world.subscribed(session);
    let task = world.core.tasks.of(&framework).next();
    let incarnation = task.expect("a task").1.incarnation;
    let runs = proffer_model::link::AgentTask {
        framework,
        spec: spec("t", "cpus:1;ports:[2-2]"),
        incarnation,
        status: status("t", incarnation, 1, TaskState::Running),
        acknowledged: 0,
        payer: None,
        group: None,
    };
    world.returns(&agent, "a", "cpus:4;ports(eng):[1-3]", vec![runs]);
    let rested = world.core.agents.by_id[&agent].rested();
    assert_eq!(rested, r("cpus:3;ports(eng):[1-1,3-3]"));
}

/// The volumes that an agent was told last, if it was since the last time: id, role and number.
fn listed(world: &mut World, link: LinkId) -> Option<Vec<(String, String, u64)>> {
    let orders = world.orders(link).into_iter().rev();
    orders.into_iter().find_map(|order| match order {
        ToAgent::Volumes { volumes, .. } => {
            let volumes = volumes.into_iter();
            let named = volumes.map(|of| (of.id.to_string(), of.role.to_string(), of.number));
            Some(named.collect())
        }
        _ => None,
    })
}

#[test]
fn an_agent_is_told_its_volumes_and_a_new_one_of_the_same_id_is_another() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100");
    let agent = world.welcomed(link);
    assert_eq!(listed(&mut world, link), Some(Vec::new()), "first of all");
    let is = |numbers: &[(&str, u64)]| -> Option<Vec<(String, String, u64)>> {
        let named = numbers.iter();
        let named = named.map(|(id, number)| ((*id).to_owned(), "eng".to_owned(), *number));
        Some(named.collect())
    };
    let (v, w) = (volume("v", 10, false), volume("w", 10, false));
    let reserve = Operation::Reserve(reserved("disk:40", None));
    operate(&mut world, &agent, reserve).expect("reserved");
    assert_eq!(listed(&mut world, link), None, "no volume has changed");
    world.is_writing = false;
    operate(&mut world, &agent, Operation::Create(v.clone())).expect("made");
    let (_, said, after) = world.ordered.last().expect("an order").clone();
    assert!(matches!(said, ToAgent::Volumes { .. }), "{said:?}");
    assert!(after > After::Nothing, "not before it is durable");
    world.is_writing = true;
    world.write();
    assert_eq!(listed(&mut world, link), is(&[("v", 1)]));
    operate(&mut world, &agent, Operation::Create(w)).expect("made");
    assert_eq!(listed(&mut world, link), is(&[("v", 1), ("w", 2)]));
    operate(&mut world, &agent, Operation::Destroy(v.clone())).expect("destroyed");
    operate(&mut world, &agent, Operation::Create(v)).expect("made");
    assert_eq!(listed(&mut world, link), is(&[("v", 3), ("w", 2)]));
    let mut next = World::term(2, world.written.clone());
    let back = next.returns(&agent, "a", "cpus:4", Vec::new());
    let also_without_disk = listed(&mut next, back);
    assert_eq!(also_without_disk, is(&[("v", 3), ("w", 2)]));
}

#[test]
fn a_task_finds_only_volumes_that_are_its_own() {
    let mut world = World::new();
    world.agent("a", "cpus:4;disk:100");
    let session = framework(&mut world, 1);
    let v = volume("v", 10, false);
    let mut stranger = on("a", "cpus:1", &Resources::new());
    stranger.volumes.push(VolumeMount {
        volume: "v".parse().expect("an id"),
        path: "data".to_owned(),
        is_read_only: false,
    });
    let mut owner = on("b", "cpus:1", &v);
    owner.volumes.clone_from(&stranger.volumes);
    let operations = vec![
        Operation::Reserve(reserved("disk:10", None)),
        Operation::Create(v),
        Operation::launch(stranger),
        Operation::launch(owner),
    ];
    let offer = world.offers(session).last().expect("an offer").id.clone();
    let results = world.operate(session, &[&offer], operations);
    let results = results.expect("judged");
    let refused = &results[2].launches()[0].outcome;
    let problem = refused.as_ref().expect_err("refused");
    assert!(problem.is(code::VOLUME_UNKNOWN), "{problem}");
    assert_eq!(
        problem.field,
        "accept.operations[2].launch.volumes[0].volume_id"
    );
    assert_eq!(told(&results)[3], "launched");
}

#[test]
fn volumes_of_an_agent_that_was_forgotten_have_numbers_that_it_never_had() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4;disk:100");
    let agent = world.welcomed(link);
    let make = |world: &mut World| {
        let reserve = Operation::Reserve(reserved("disk:20", None));
        operate(world, &agent, reserve).expect("reserved");
        let create = Operation::Create(volume("v", 20, false));
        operate(world, &agent, create).expect("created");
        let numbers = &world.core.registry().agents[&agent].volumes.numbers;
        *numbers.values().next().expect("a volume")
    };
    let mut given = vec![make(&mut world)];
    for epoch in [2, 3] {
        world = World::term(epoch, world.core.registry().clone());
        for _ in 0..2 {
            let agent = agent.clone();
            let gone = OperatorCall::MarkAgentGone {
                agent: agent.clone(),
            };
            world.operator(gone).expect("gone");
            world.now = world.now.after(Duration::from_secs(15 * 24 * 3_600));
            world.step(Event::TimerFired(TimerKey::Forget));
            assert!(world.core.registry().gone.is_empty());
            world.returns(&agent, "a", "cpus:4;disk:100", Vec::new());
            given.push(make(&mut world));
        }
    }
    let mut different = given.clone();
    different.dedup();
    assert!(different.is_sorted() && different.len() == 5, "{given:?}");
}
