//! Limits while agents of the log are still to come back.

use proffer_model::{AgentId, FrameworkDescription, FrameworkId, Incarnation, TaskState};

use super::operators::{framework_in, quota, set_quota};
use super::world::{World, describe_framework, r, reported, spec, want};
use crate::event::SessionId;

/// The second term of a master with an agent `a` of 20 cpus, and five others of two, of which no more is heard, and a framework
/// in each of two roles, of which one is limited to four cpus, the other one to 14.
struct Back {
    world: World,
    agent: AgentId,
    others: Vec<AgentId>,
    few: FrameworkId,
    many: FrameworkId,
}

impl Back {
    fn new() -> Self {
        let mut world = World::new();
        let link = world.agent("a", "cpus:20");
        let agent = world.welcomed(link);
        let others = (0..5).map(|i| {
            let link = world.agent(&format!("b{i}"), "cpus:2");
            world.welcomed(link)
        });
        let others = others.collect();
        let limits = [("few", "cpus:4"), ("many", "cpus:14")];
        let [few, many] = limits.map(|(role, limits)| {
            set_quota(&mut world, role, quota("", limits), false).expect("a limit");
            let session = framework_in(&mut world, role);
            world.subscribed(session).0
        });
        let world = World::term(2, world.written);
        Self {
            world,
            agent,
            others,
            few,
            many,
        }
    }

    fn comes_back(&mut self, role: &str, framework: &FrameworkId) -> SessionId {
        let description = FrameworkDescription {
            roles: vec![role.parse().expect("a role")],
            ..describe_framework()
        };
        let world = &mut self.world;
        let session = world.subscribe_as("p", Some(framework.clone()), description);
        world.demand_in(session, role, vec![want("w", 20, "cpus:1", 0)]);
        session
    }

    fn consumed(&mut self, role: &str) -> u64 {
        let rows = self.world.roles();
        let row = rows.iter().find(|row| row.role.as_str() == role);
        let row = row.expect("a row");
        row.consumed.get(&"cpus".parse().expect("a name")) / 1_000
    }
}

#[test]
fn what_agents_that_are_not_back_may_hold_counts_against_limits_for_ten_minutes_at_the_most() {
    let mut back = Back::new();
    let (few, many) = (back.few.clone(), back.many.clone());
    back.comes_back("few", &few);
    back.comes_back("many", &many);
    let task = reported(
        &few,
        spec("t", "cpus:3"),
        Incarnation(1),
        1,
        TaskState::Running,
    );
    let agent = back.agent.clone();
    back.world.returns(&agent, "a", "cpus:20", vec![task]);
    back.world.pass_ms(10_100);
    // The others have ten cpus, and both may hold all of them.
    assert_eq!((back.consumed("few"), back.consumed("many")), (3, 4));
    let why = back.world.explain(&few);
    let waits = "1 agent fits, but waits until the agents of before the change of leader are back: what few holds of cpus there counts against its limit";
    assert!(
        why.contains(&("limit_waits".to_owned(), waits.to_owned())),
        "{why:?}"
    );
    let rows = back.world.roles();
    let row = rows.iter().find(|row| row.role.as_str() == "few");
    let shown = row.and_then(|row| row.quota.clone());
    assert_eq!(shown, Some(quota("", "cpus:4")), "as it was set");

    // One of them is back, and holds nothing.
    let other = back.others[0].clone();
    back.world.returns(&other, "b0", "cpus:2", Vec::new());
    back.world.pass_ms(1_100);
    assert_eq!((back.consumed("few"), back.consumed("many")), (3, 6));
    back.world.pass_s(580);
    assert_eq!(back.consumed("few"), 3);
    back.world.pass_s(10);
    assert_eq!(back.consumed("few"), 4, "ten minutes are over");
    let why = back.world.explain(&few);
    assert!(why.iter().any(|(reason, _)| reason == "limit_cpus"));
    assert!(!why.iter().any(|(reason, _)| reason == "limit_waits"));
}

#[test]
fn a_limit_does_not_wait_where_what_was_set_has_no_room_either() {
    let mut back = Back::new();
    let few = back.few.clone();
    let session = back.comes_back("few", &few);
    let holds = spec("t", "cpus:3");
    let task = reported(&few, holds, Incarnation(1), 1, TaskState::Running);
    let agent = back.agent.clone();
    back.world.returns(&agent, "a", "cpus:20", vec![task]);
    back.world.pass_ms(10_100);
    for (needs, reason) in [("cpus:1", "limit_waits"), ("cpus:2", "limit_cpus")] {
        let wanted = vec![want("w", 1, needs, 0)];
        back.world.demand_in(session, "few", wanted);
        back.world.pass_ms(100);
        let why = back.world.explain(&few);
        assert!(why.iter().any(|(found, _)| found == reason), "{why:?}");
    }
}

#[test]
fn a_limit_does_not_wait_where_that_of_something_else_has_no_room() {
    let mut world = World::new();
    let [link, other] = ["a", "b"].map(|host| world.agent(host, "cpus:4;mem:2000"));
    let [agent, _] = [link, other].map(|link| world.welcomed(link));
    set_quota(&mut world, "few", quota("", "cpus:4;mem:1000"), false).expect("a limit");
    let session = framework_in(&mut world, "few");
    let framework = world.subscribed(session).0;
    let mut world = World::term(2, world.written);
    let description = FrameworkDescription {
        roles: vec!["few".parse().expect("a role")],
        ..describe_framework()
    };
    let session = world.subscribe_as("p", Some(framework.clone()), description);
    let holds = spec("t", "mem:1000");
    let running = TaskState::Running;
    let task = reported(&framework, holds, Incarnation(1), 1, running);
    world.returns(&agent, "a", "cpus:4;mem:2000", vec![task]);
    for (needs, reason) in [
        ("cpus:1;mem:100", "limit_mem"),
        ("cpus:1", "limit_waits"),
        ("cpus:5;mem:100", "too_small_cpus"),
    ] {
        world.demand_in(session, "few", vec![want("w", 1, needs, 0)]);
        world.pass_ms(10_100);
        let why = world.explain(&framework);
        assert_eq!(why[1].0, reason, "{why:?}");
    }
}

#[test]
fn a_limit_waits_also_where_something_is_guaranteed_beneath_its_role() {
    let mut world = World::new();
    let links = [("a", "cpus:20"), ("b", "cpus:100")].map(|(host, all)| world.agent(host, all));
    let [agent, _] = links.map(|link| world.welcomed(link));
    for (role, guarantee, limit) in [("eng", "cpus:10", "cpus:100"), ("eng/b", "cpus:10", "")] {
        let set = set_quota(&mut world, role, quota(guarantee, limit), false);
        set.expect("a quota");
    }
    let session = framework_in(&mut world, "eng/a");
    let framework = world.subscribed(session).0;
    let mut world = World::term(2, world.written);
    let description = FrameworkDescription {
        roles: vec!["eng/a".parse().expect("a role")],
        ..describe_framework()
    };
    let session = world.subscribe_as("p", Some(framework.clone()), description);
    world.returns(&agent, "a", "cpus:20", Vec::new());
    let mut reasons = |needs: &str| {
        world.demand_in(session, "eng/a", vec![want("w", 1, needs, 0)]);
        world.pass_ms(10_100);
        let why = world.explain(&framework).into_iter();
        why.map(|(reason, words)| format!("{reason}: {words}"))
            .collect::<Vec<_>>()
            .join("; ")
    };
    let waits = "limit_waits: 1 agent fits, but waits until the agents of before the change of leader are back: what eng holds of cpus there counts against its limit";
    assert!(reasons("cpus:1").contains(waits), "{}", reasons("cpus:1"));
}

#[test]
fn no_limit_is_passed_by_what_late_agents_bring_back() {
    let mut back = Back::new();
    let many = back.many.clone();
    back.comes_back("many", &many);
    let agent = back.agent.clone();
    back.world.returns(&agent, "a", "cpus:20", Vec::new());
    back.world.pass_ms(10_100);
    assert_eq!(back.consumed("many"), 4);
    for (i, other) in back.others.clone().into_iter().enumerate() {
        let name = format!("t{i}");
        let task = reported(
            &many,
            spec(&name, "cpus:2"),
            Incarnation(1),
            1,
            TaskState::Running,
        );
        let host = format!("b{i}");
        back.world.returns(&other, &host, "cpus:2", vec![task]);
        back.world.pass_ms(1_100);
        assert!(back.consumed("many") <= 14, "{i}");
    }
    assert_eq!(back.consumed("many"), 14);
    assert_eq!(back.world.used(&agent), r(""));
}

#[test]
fn a_limit_that_agents_may_pass_which_are_not_back_is_refused_unless_it_is_forced() {
    let mut back = Back::new();
    let world = &mut back.world;
    let mut set = |role: &str, limits: &str, is_forced| {
        let done = set_quota(world, role, quota("", limits), is_forced);
        done.map_err(|problem| format!("{} {}", problem.code, problem.field))
    };
    let away = Err("agent.away quota.limits.cpus".to_owned());
    // Thirty cpus are away.
    assert_eq!(set("new", "cpus:29", false), away);
    assert_eq!(set("new", "cpus:30", false), Ok(()));
    assert_eq!(set("new", "cpus:29", true), Ok(()));
    assert_eq!(set("new", "cpus:29;mem:1", false), Ok(()), "no mem is away");
    assert_eq!(set("many", "cpus:13", false), away);
    assert_eq!(set("many", "cpus:14", false), Ok(()), "as it was");
    assert_eq!(set("many", "cpus:15", false), Ok(()));
    assert_eq!(set("many", "", false), Ok(()));
    let agent = back.agent.clone();
    back.world.returns(&agent, "a", "cpus:20", Vec::new());
    let limit = |cpus: u64| quota("", &format!("cpus:{cpus}"));
    let refused = set_quota(&mut back.world, "few", limit(3), false);
    let problem = refused.expect_err("ten cpus are away");
    assert_eq!(problem.code, "agent.away");
    back.world.pass_s(601);
    set_quota(&mut back.world, "few", limit(3), false).expect("a limit");
}
