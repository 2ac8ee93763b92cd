//! Questions that look at much: no step takes long for them, whatever is asked, and others have their turn between.

use std::collections::BTreeSet;

use proffer_model::{DemandId, FrameworkId, Problem, Role, Weight, code};

use super::asking::everything;
use super::world::{World, describe_framework, want};
use crate::effect::{Explanation, Reply};
use crate::event::{DemandPart, Event, OperatorCall, RequestId, TimerKey};
use crate::limits::{
    EXPLAINED_ENTRIES_MAX, QUESTION_AGENT_STEPS, QUESTION_STEPS_MAX, QUESTION_TIMEOUT,
    QUESTIONS_MAX,
};

fn explained(reply: Result<Reply, Problem>) -> (Vec<Explanation>, Option<(Role, DemandId)>) {
    match reply {
        Ok(Reply::Explained { entries, next }) => (entries, next),
        other => panic!("{other:?}"),
    }
}

fn ids(entries: &[Explanation]) -> Vec<String> {
    let ids = entries.iter().map(|entry| entry.demand.to_string());
    ids.collect()
}

/// A framework that wants so many things that fit nowhere, among so many agents.
fn hopeless(agents: usize, entries: usize) -> (World, FrameworkId) {
    let mut world = World::new();
    for i in 0..agents {
        world.agent(&format!("h{i}"), "cpus:1");
    }
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let demand = (0..entries).map(|i| want(&format!("w{i:03}"), 1, "cpus:2", 0));
    world.demand(session, demand.collect());
    world.pass_ms(20);
    (world, framework)
}

fn weight(world: &mut World) -> Result<(), Problem> {
    world.operator(OperatorCall::SetWeight {
        role: "eng".parse().expect("a role"),
        weight: Weight(2_000),
    })
}

#[test]
fn no_step_takes_long_for_a_question_and_others_are_answered_before_it() {
    let (agents, wanted) = (400, 40);
    let (mut world, framework) = hopeless(agents, wanted);
    let request = RequestId(9_000);
    world.step(Event::ExplainRequested {
        request,
        framework,
        part: everything(),
    });
    weight(&mut world).expect("a weight");
    assert!(!world.replies.contains_key(&request), "it is under way");
    let (mut pieces, mut looks) = (0, 0);
    // A step ends behind the agent that it is at.
    let most = QUESTION_STEPS_MAX + QUESTION_AGENT_STEPS + 2 * 40 + 1;
    while !world.replies.contains_key(&request) {
        world.step(Event::TimerFired(TimerKey::Questions));
        let worked = world.core.questions.worked;
        assert!(worked <= most, "{worked} in one step");
        (pieces, looks) = (pieces + 1, looks + worked);
    }
    assert!(looks >= 16_000 && pieces >= 8, "{looks} in {pieces} steps");
    let (entries, next) = explained(world.answered(request));
    assert_eq!((entries.len(), next), (wanted, None));
    for entry in entries {
        let found: Vec<_> = entry
            .obstacles
            .iter()
            .map(|of| of.message.clone())
            .collect();
        assert_eq!(found, ["400 agents have less than 2 cpus in all"]);
    }
}

#[test]
fn entries_are_explained_by_pages_and_by_name() {
    let (mut world, framework) = hopeless(2, EXPLAINED_ENTRIES_MAX + 7);
    let (first, next) = explained(world.why(&framework, everything()));
    assert_eq!(first.len(), EXPLAINED_ENTRIES_MAX);
    let after = next.clone();
    assert!(after.as_ref().is_some_and(|(_, id)| id.as_str() == "w049"));
    let rest = DemandPart {
        after,
        ..everything()
    };
    let (last, end) = explained(world.why(&framework, rest));
    assert_eq!((last.len(), end), (7, None));
    let all: BTreeSet<String> = ids(&first).into_iter().chain(ids(&last)).collect();
    assert_eq!(all.len(), EXPLAINED_ENTRIES_MAX + 7, "each once");
    let named = |name: &str| name.parse::<DemandId>().expect("an id");
    let few = DemandPart {
        demands: [named("w051"), named("w003"), named("none")].into(),
        ..everything()
    };
    assert_eq!(
        ids(&explained(world.why(&framework, few)).0),
        ["w003", "w051"]
    );
    let one = DemandPart {
        len: 1,
        ..everything()
    };
    assert_eq!(ids(&explained(world.why(&framework, one)).0), ["w000"]);
    let elsewhere = DemandPart {
        role: Some("ops".parse().expect("a role")),
        ..everything()
    };
    assert!(explained(world.why(&framework, elsewhere)).0.is_empty());
    let problem = world.why(&"nobody".parse().expect("an id"), everything());
    assert!(problem.expect_err("unknown").is(code::FRAMEWORK_UNKNOWN));
}

#[test]
fn what_changes_while_it_is_found_out_does_no_harm() {
    let (mut world, framework) = hopeless(9, 5);
    let session = world.framework();
    world.core.questions.steps_max = 1;
    for round in 0..40 {
        let request = RequestId(9_000 + round);
        let (framework, part) = (framework.clone(), everything());
        world.step(Event::ExplainRequested {
            request,
            framework,
            part,
        });
        for _ in 0..round {
            world.step(Event::TimerFired(TimerKey::Questions));
        }
        // Entries, claims and agents go and come while it is under way.
        let entries = (0..round % 7).map(|i| want(&format!("w{i:03}"), 1, "cpus:2", 0));
        world.demand(session, entries.collect());
        let link = world.agent(&format!("late{round}"), "cpus:1");
        world.step(Event::LinkClosed { link });
        let (entries, _) = explained(world.answered(request));
        assert_eq!(entries.len(), 5);
    }
    let request = RequestId(9_999);
    let (of, part) = (framework.clone(), everything());
    world.step(Event::ExplainRequested {
        request,
        framework: of,
        part,
    });
    let teardown = OperatorCall::TeardownFramework { framework };
    world.operator(teardown).expect("over");
    let problem = world.answered(request).expect_err("gone");
    assert!(problem.is(code::FRAMEWORK_UNKNOWN), "{problem}");
}

#[test]
fn too_many_questions_at_once_are_refused() {
    let (mut world, framework) = hopeless(1, 1);
    let requests: Vec<RequestId> = (0..=QUESTIONS_MAX as u64)
        .map(|i| RequestId(9_000 + i))
        .collect();
    for request in &requests {
        let (request, framework, part) = (*request, framework.clone(), everything());
        world.step(Event::ExplainRequested {
            request,
            framework,
            part,
        });
    }
    let (last, others) = requests.split_last().expect("some");
    let problem = world.answered(*last).expect_err("one too many");
    assert!(problem.is(code::OVERLOADED), "{problem}");
    for request in others {
        assert_eq!(explained(world.answered(*request)).0.len(), 1);
    }
}

#[test]
fn roles_come_before_demand_and_what_takes_too_long_is_given_up() {
    let (mut world, framework) = hopeless(400, 40);
    let (first, second, roles) = (RequestId(9_000), RequestId(9_001), RequestId(9_002));
    for request in [first, second] {
        world.step(Event::ExplainRequested {
            request,
            framework: framework.clone(),
            part: everything(),
        });
    }
    world.step(Event::TimerFired(TimerKey::Questions));
    world.step(Event::RolesRequested {
        request: roles,
        after: None,
        len: 10,
    });
    world.step(Event::TimerFired(TimerKey::Questions));
    let answered = |world: &World, request| world.replies.contains_key(&request);
    assert!(answered(&world, roles) && !answered(&world, first));
    while !answered(&world, first) {
        assert!(!answered(&world, second), "who has asked first is first");
        world.step(Event::TimerFired(TimerKey::Questions));
    }
    assert_eq!(explained(world.answered(first)).0.len(), 40);
    world.now = world.now.after(QUESTION_TIMEOUT);
    let problem = world.answered(second).expect_err("nobody waits for it");
    assert!(problem.is(code::OVERLOADED), "{problem}");
}

#[test]
fn roles_come_in_pages_and_no_step_takes_long_for_them() {
    let mut world = World::new();
    let names: Vec<String> = (0..40).map(|i| format!("r{i:02}")).collect();
    for name in &names {
        let mut description = describe_framework();
        description.roles = vec![name.parse().expect("a role")];
        let session = world.subscribe_as("p", None, description);
        world.demand_in(session, name, vec![want("w", 1, "cpus:1", 0)]);
    }
    world.core.questions.steps_max = 20;
    let mut page = |after: Option<Role>, len| {
        let request = RequestId(world.fresh());
        world.step(Event::RolesRequested {
            request,
            after,
            len,
        });
        let reply = world.answered(request);
        assert!(world.core.questions.worked <= 40, "in one step");
        match reply {
            Ok(Reply::Roles { rows, next }) => (rows, next),
            other => panic!("{other:?}"),
        }
    };
    let (mut all, mut next) = page(None, 15);
    assert_eq!(all.len(), 15);
    while let Some(after) = next {
        let rows;
        (rows, next) = page(Some(after), 15);
        all.extend(rows);
    }
    let of: Vec<&str> = all.iter().map(|row| row.role.as_str()).collect();
    let of: Vec<&str> = of.into_iter().filter(|role| *role != "*").collect();
    assert_eq!(of, names);
    assert!(
        all.iter()
            .all(|row| row.role.as_str() == "*" || row.frameworks.len() == 1)
    );
}

#[test]
fn a_gang_that_does_not_fit_as_a_whole_is_not_said_to_have_its_turn() {
    let mut world = World::new();
    for host in ["a", "b", "c"] {
        world.agent(host, "cpus:4;mem:100");
    }
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut gang = want("g", 7, "cpus:2;mem:1", 0);
    gang.gang = 7;
    world.demand(session, vec![gang.clone()]);
    world.pass_s(1);
    assert!(world.offers(session).is_empty());
    let said = |world: &mut World| {
        let why = world.explain(&framework);
        let [(reason, message)] = why.as_slice() else {
            panic!("{why:?}")
        };
        (reason.clone(), message.clone())
    };
    let room = "3 agents have room for 6 of it in all, and 7 are wanted at once";
    assert_eq!(said(&mut world), ("gang".to_owned(), room.to_owned()));
    // Each agent takes one of it alone.
    gang.at_most = vec![proffer_model::AtMost {
        count: 1,
        per: proffer_model::Key::Agent,
    }];
    (gang.gang, gang.count) = (4, 4);
    world.demand(session, vec![gang.clone()]);
    let room = "3 agents have room for 3 of it in all, and 4 are wanted at once";
    assert_eq!(said(&mut world), ("gang".to_owned(), room.to_owned()));
    // The quota leaves room for one, not for all at once.
    let mut quota = proffer_model::Quota::default();
    quota.limits.set("cpus".parse().expect("a name"), 5_000);
    let set = OperatorCall::SetQuota {
        role: "*".parse().expect("a role"),
        quota,
        is_forced: false,
    };
    world.operator(set).expect("a quota");
    gang.at_most.clear();
    (gang.gang, gang.count) = (3, 3);
    world.demand(session, vec![gang]);
    world.pass_s(1);
    assert_eq!(said(&mut world).0, "limit_cpus");
}
