//! Registering, coming back, being refused, settling.

use proffer_model::link::{Hello, ToAgent, ToMaster};
use proffer_model::registry::Operation as Change;
use proffer_model::session::{Call, Event as Told};
use proffer_model::{AgentId, ClusterId, Epoch, Incarnation, Reason, TaskState, code};

use super::world::{World, describe, principal, r, reported, spec, status, task_id, want};
use crate::effect::{After, Fact};
use crate::event::Event;

#[test]
fn a_new_agent_is_durable_before_it_is_welcome_or_offered_from() {
    let mut world = World::new();
    let session = world.framework();
    world.demand(session, vec![want("w", 1, "cpus:1", 0)]);
    world.is_writing = false;
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    assert!(matches!(
        &world.ordered[0],
        (_, ToAgent::Welcome { .. }, After::Seq(_))
    ));
    assert!(world.written.agents.contains_key(&agent));
    world.pass_ms(20);
    assert!(world.offers(session).is_empty());
    world.write();
    world.pass_ms(20);
    assert_eq!(world.offers(session).len(), 1);
}

/// Masters of the first schema know no numbers of volumes in it.
#[test]
fn what_is_written_of_a_known_agent_that_has_changed_is_read_by_older_masters_too() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    world = World::term(2, world.core.registry().clone());
    world.returns(&agent, "a", "cpus:8", Vec::new());
    let stranger = AgentId::new("stranger").expect("an id");
    world.returns(&stranger, "b", "cpus:8", Vec::new());
    let admitted = world.changes.iter().filter_map(|change| match change {
        Change::AdmitAgent {
            agent,
            volumes_after,
            ..
        } => Some((agent, *volumes_after)),
        _ => None,
    });
    let admitted: Vec<_> = admitted.collect();
    assert_eq!(admitted, [(&agent, 0), (&stranger, 2 << 32)]);
}

#[test]
fn an_agent_that_has_chosen_its_id_is_new_until_it_has_obeyed_somebody_or_is_in_the_log() {
    let registration = |epoch| Hello {
        agent: Some(AgentId::new("chosen").expect("an id")),
        cluster: None,
        epoch: Epoch(epoch),
        description: describe("a", "cpus:4"),
        tasks: Vec::new(),
        executors: Vec::new(),
        number: 0,
    };
    let welcome = |world: &World| match world.ordered.as_slice() {
        [(_, ToAgent::Welcome { agent, .. }, after), ..] => (agent.to_string(), *after),
        other => panic!("no welcome first: {other:?}"),
    };
    let mut world = World::new();
    world.is_writing = false;
    world.hello_unanswered(registration(0));
    let (agent, after) = welcome(&world);
    assert_eq!(agent, "chosen");
    assert!(matches!(after, After::Seq(_)), "durable before it is told");
    world.write();
    let mut world = World::term(2, world.written);
    world.hello_unanswered(registration(0));
    assert_eq!(
        welcome(&world).1,
        After::Nothing,
        "it counts once it is answered"
    );
    let mut world = World::term(2, World::new().written);
    world.hello_unanswered(registration(1));
    assert_eq!(welcome(&world).1, After::Nothing, "it has obeyed somebody");
}

#[test]
fn an_agent_that_comes_back_unchanged_is_not_written_and_a_changed_one_is() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    world.lose(link);
    world.is_writing = false;
    let link = world.returns(&agent, "a", "cpus:4", Vec::new());
    assert!(
        world
            .ordered
            .iter()
            .any(|(to, _, after)| *to == link && *after == After::Nothing)
    );
    world.lose(link);
    world.returns(&agent, "a", "cpus:8", Vec::new());
    assert_eq!(
        *world.written.agents[&agent].description,
        describe("a", "cpus:8")
    );
}

#[test]
fn agents_that_must_not_join_are_refused_with_a_remedy() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let hello = |agent: Option<&AgentId>, cluster: &str, epoch, host: &str| Hello {
        agent: agent.cloned(),
        cluster: Some(ClusterId::new(cluster).expect("an id")),
        epoch: Epoch(epoch),
        description: describe(host, "cpus:4"),
        tasks: Vec::new(),
        executors: Vec::new(),
        number: 0,
    };
    for (bad, problem) in [
        (hello(None, "other", 0, "b"), code::AGENT_CLUSTER_CHANGED),
        (hello(None, "c", 2, "b"), code::EPOCH_STALE),
        (hello(Some(&agent), "c", 1, "b"), code::AGENT_REFUSED),
    ] {
        let newcomer = world.hello(bad);
        let refused = world.refused(newcomer);
        assert!(refused.is(problem), "{refused}");
        assert!(!refused.hint.is_empty());
        assert!(
            world
                .facts
                .iter()
                .any(|fact| matches!(fact, Fact::AgentRefused { .. }))
        );
        world.step(Event::LinkMessage {
            link: newcomer,
            message: ToMaster::Heartbeat,
        });
        world.step(Event::LinkClosed { link: newcomer });
    }
    assert!(
        !world.closed_links.contains(&link),
        "the one that was there stays"
    );
    // From the same host it is the same agent, restarted; from another it is, once the old link is silent.
    let same = world.hello(hello(Some(&agent), "c", 1, "a"));
    assert!(world.closed_links.contains(&link));
    world.beating.remove(&same);
    world.pass_s(6);
    let moved = world.hello(hello(Some(&agent), "c", 1, "b"));
    assert_eq!(world.welcomed(moved), agent);
    let stranger = AgentId::new("stranger").expect("an id");
    let link = world.hello(hello(Some(&stranger), "c", 1, "z"));
    assert_eq!(
        world.welcomed(link),
        stranger,
        "an unknown id of our cluster is admitted"
    );
}

#[test]
fn what_was_sent_and_never_arrived_is_dropped_and_what_vanished_is_lost() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let seen = world.run(session, spec("seen", "cpus:1"));
    world.updates(
        link,
        &framework,
        status("seen", seen, 1, TaskState::Running),
    );
    world.run(session, spec("sent", "cpus:1"));
    world.drain(session);
    world.lose(link);
    let link = world.returns(&agent, "a", "cpus:4", Vec::new());
    assert_eq!(
        world.statuses(session),
        [
            ("seen".to_owned(), TaskState::Lost, Reason::None, 0),
            (
                "sent".to_owned(),
                TaskState::Dropped,
                Reason::NeverDelivered,
                0
            ),
        ]
    );
    world.orders(link);
    world.acknowledge_all(session);
    assert_eq!(
        world.core.tasks.count_of(&framework),
        0,
        "their ids are free again"
    );
    world.demand(session, vec![want("w", 1, "cpus:4", 0)]);
    world.pass_ms(20);
    assert_eq!(world.offers(session).len(), 1, "and all they held");
}

#[test]
fn a_kill_that_could_not_be_sent_is_sent_when_the_agent_is_back() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.lose(link);
    let call = proffer_model::session::Call::Kill {
        task: spec("t", "").id,
        grace: None,
    };
    world.call(session, call);
    let tasks = vec![reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    )];
    let link = world.returns(&agent, "a", "cpus:4", tasks);
    assert_eq!(world.kills(link), [("t".to_owned(), Reason::KillRequested)]);
}

#[test]
fn a_new_term_adopts_what_agents_run_and_says_when_each_has_settled() {
    let mut world = World::new();
    let (a, b) = (world.agent("a", "cpus:4"), world.agent("b", "cpus:4"));
    let (a, b) = (world.welcomed(a), world.welcomed(b));
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    let mut world = World::term(2, world.written);
    let task = |state| reported(&framework, spec("t", "cpus:1"), incarnation, 1, state);
    world.returns(&a, "a", "cpus:4", vec![task(TaskState::Running)]);
    let session = world.resubscribe(&framework);
    let settled = |world: &mut World| -> Vec<AgentId> {
        let told = world.drain(session).into_iter();
        told.filter_map(|told| match told {
            Told::AgentSettled(agent) => Some(agent),
            _ => None,
        })
        .collect()
    };
    assert_eq!(settled(&mut world), [a], "the one that was back before");
    let link = world.returns(&b, "b", "cpus:4", Vec::new());
    assert_eq!(settled(&mut world), std::slice::from_ref(&b));
    world.lose(link);
    world.returns(&b, "b", "cpus:4", Vec::new());
    assert!(settled(&mut world).is_empty(), "once a term");
    let fresh = world.agent("fresh", "cpus:4");
    assert!(
        settled(&mut world).is_empty(),
        "nothing can have been launched there: {fresh:?}"
    );
    assert_eq!(world.core.tasks.count_of(&framework), 1);
}

#[test]
fn an_older_launch_of_a_task_is_ended_and_the_newer_one_kept() {
    let mut world = World::new();
    let (a, b) = (world.agent("a", "cpus:4"), world.agent("b", "cpus:4"));
    let (a, b) = (world.welcomed(a), world.welcomed(b));
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let mut world = World::term(3, world.written);
    let task = |epoch| {
        let incarnation = Incarnation::of(Epoch(epoch), 1);
        reported(
            &framework,
            spec("t", "cpus:1"),
            incarnation,
            1,
            TaskState::Running,
        )
    };
    let old = world.returns(&a, "a", "cpus:4", vec![task(1)]);
    let new = world.returns(&b, "b", "cpus:4", vec![task(2)]);
    assert_eq!(world.kills(old), [("t".to_owned(), Reason::KillRequested)]);
    assert!(world.kills(new).is_empty());
    world.lose(old);
    let old = world.returns(&a, "a", "cpus:4", vec![task(1)]);
    assert_eq!(
        world.kills(old),
        [("t".to_owned(), Reason::KillRequested)],
        "again, until gone"
    );
}

#[test]
fn a_second_hello_ends_the_link_and_messages_of_dead_links_do_nothing() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let hello = Hello {
        agent: None,
        cluster: None,
        epoch: Epoch(0),
        description: describe("a", "cpus:4"),
        tasks: Vec::new(),
        executors: Vec::new(),
        number: 0,
    };
    world.step(Event::LinkMessage {
        link,
        message: ToMaster::Hello(hello),
    });
    assert!(world.closed_links.contains(&link));
    world.step(Event::LinkMessage {
        link,
        message: ToMaster::Heartbeat,
    });
    world.step(Event::LinkClosed { link });
    world.step(Event::LinkClosed { link });
    let (framework, incarnation) = ("f".parse().expect("an id"), Incarnation(1));
    let of_unknown = status("t", incarnation, 1, TaskState::Running);
    world.updates(link, &framework, of_unknown);
}

#[test]
fn a_new_term_offers_when_most_are_back_or_after_a_while() {
    let mut world = World::new();
    let links: Vec<_> = (0..5)
        .map(|i| world.agent(&format!("h{i}"), "cpus:1"))
        .collect();
    let agents: Vec<AgentId> = links.iter().map(|link| world.welcomed(*link)).collect();
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let log = world.written;
    let begin = || {
        let mut world = World::term(2, log.clone());
        let session = world.resubscribe(&framework);
        world.demand(session, vec![want("w", 9, "cpus:1", 0)]);
        (world, session)
    };
    let (mut world, session) = begin();
    for (i, agent) in agents.iter().take(4).enumerate() {
        world.pass_ms(20);
        assert!(world.offers(session).is_empty(), "{i} of 5 are back");
        world.returns(agent, &format!("h{i}"), "cpus:1", Vec::new());
    }
    world.pass_ms(20);
    assert_eq!(world.offers(session).len(), 4, "four of five are enough");
    let (mut world, session) = begin();
    world.returns(&agents[0], "h0", "cpus:1", Vec::new());
    world.pass_ms(9_900);
    assert!(world.offers(session).is_empty());
    assert_eq!(world.explain(&framework)[1].0, "waiting");
    world.pass_ms(200);
    assert_eq!(world.offers(session).len(), 1, "ten seconds are enough");
}

#[test]
fn a_task_that_was_given_up_and_still_ran_holds_nothing_once_it_has_ended() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.returns(&agent, "a", "cpus:4", Vec::new());
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&agent, "a", "cpus:4", vec![task]);
    assert_eq!(world.kills(link), [("t".to_owned(), Reason::KillRequested)]);
    assert_eq!(world.used(&agent).scalar("cpus"), 1_000);
    world.updates(
        link,
        &framework,
        status("t", incarnation, 2, TaskState::Killed),
    );
    assert_eq!(world.acknowledged(link), [("t".to_owned(), 2)]);
    assert_eq!(world.used(&agent).scalar("cpus"), 0);
}

#[test]
fn what_was_told_of_a_task_before_it_moved_is_not_acknowledged_as_what_is_told_after() {
    let mut world = World::new();
    let old = world.agent("a", "cpus:4");
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let incarnation = world.run(session, spec("t", "cpus:1"));
    world.updates(
        old,
        &framework,
        status("t", incarnation, 1, TaskState::Running),
    );
    world.acknowledge_all(session);
    world.lose(old);
    world.pass_s(80);
    let other = AgentId::new("other").expect("an id");
    let task = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.returns(&other, "b", "cpus:4", vec![task]);
    let before_the_end = world.sequence(session);
    world.updates(
        link,
        &framework,
        status("t", incarnation, 2, TaskState::Finished),
    );
    world.acknowledge(session, before_the_end);
    assert_eq!(world.acknowledged(link), []);
    world.acknowledge_all(session);
    assert_eq!(world.acknowledged(link), [("t".to_owned(), 2)]);
}

#[test]
fn of_two_registrations_the_one_of_the_later_link_counts_whichever_comes_first() {
    let mut world = World::new();
    let session = world.framework();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let (framework, _) = world.subscribed(session);
    let registration = |number, tasks| Hello {
        agent: Some(agent.clone()),
        cluster: Some(ClusterId::new("c").expect("an id")),
        epoch: Epoch(1),
        description: describe("a", "cpus:4"),
        tasks,
        executors: Vec::new(),
        number,
    };
    let runs = reported(
        &framework,
        spec("t", "cpus:1"),
        Incarnation(1),
        1,
        TaskState::Running,
    );
    let later = world.hello(registration(8, vec![runs]));
    world.welcomed(later);
    let stale = world.hello(registration(7, Vec::new()));
    assert!(world.closed_links.contains(&stale), "it is out of date");
    assert!(!world.closed_links.contains(&later));
    let used = &world.core.agents.by_id[&agent].used;
    assert_eq!(*used, r("cpus:1"), "its task runs on");
}

#[test]
fn a_registration_from_before_the_term_counts_when_its_agent_answers_the_welcome() {
    let mut world = World::new();
    let link = world.agent("a", "cpus:4");
    let agent = world.welcomed(link);
    let session = world.framework();
    let (framework, _) = world.subscribed(session);
    let registration = |number| Hello {
        agent: Some(agent.clone()),
        cluster: Some(ClusterId::new("c").expect("an id")),
        epoch: Epoch(1),
        description: describe("a", "cpus:4"),
        tasks: Vec::new(),
        executors: Vec::new(),
        number,
    };
    // Since it was sent the agent has run a task for the leader of term 2, and has registered there.
    let mut world = World::term(3, world.written);
    let session = world.resubscribe(&framework);
    let late = world.hello_unanswered(registration(5));
    assert_eq!(world.welcomed(late), agent);
    let settled = |world: &mut World| {
        let told = world.drain(session).into_iter();
        told.filter(|told| matches!(told, Told::AgentSettled(_)))
            .count()
    };
    assert_eq!(
        settled(&mut world),
        0,
        "it may say less than the agent runs"
    );
    world.step(Event::CallReceived {
        session,
        principal: principal("p"),
        request: 77,
        call: Call::Reconcile {
            tasks: vec![task_id("t")],
        },
    });
    let told = world.drain(session);
    assert!(
        !told.iter().any(|told| matches!(told, Told::Updated(_))),
        "{told:?}"
    );
    world.lose(late);
    let incarnation = Incarnation::of(Epoch(2), 1);
    let runs = reported(
        &framework,
        spec("t", "cpus:1"),
        incarnation,
        1,
        TaskState::Running,
    );
    let link = world.hello_unanswered(Hello {
        epoch: Epoch(2),
        tasks: vec![runs],
        ..registration(6)
    });
    assert_eq!(settled(&mut world), 0);
    world.step(Event::LinkMessage {
        link,
        message: ToMaster::Heartbeat,
    });
    assert_eq!(settled(&mut world), 1);
    assert_eq!(world.used(&agent), r("cpus:1"));
}
