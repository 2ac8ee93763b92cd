//! Executors of frameworks and task groups: what they hold, what is refused, and what a lost agent or master leaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proffer_model::link::{AgentExecutor, Hello, Payer, ToAgent, ToMaster};
use proffer_model::session::{Answer, Call, Event as Told, Operation};
use proffer_model::{
    AgentId, ClusterId, Command, Epoch, ExecutorId, ExecutorSpec, FrameworkId, OfferId, Problem,
    Reason, TaskSpec, TaskState, code,
};

use super::world::{World, describe, r, spec, status, want};
use crate::effect::Fact;
use crate::event::{Event, LinkId, SessionId};

fn executor(id: &str, resources: &str) -> Arc<ExecutorSpec> {
    Arc::new(ExecutorSpec {
        id: executor_id(id),
        resources: r(resources),
        command: Command::Shell("true".to_owned()),
        environment: BTreeMap::new(),
        user: None,
        shutdown_grace: Duration::from_secs(5),
        api: proffer_model::ExecutorApi::default(),
        info: Vec::new(),
        info_compared: None,
        fetch: Vec::new(),
    })
}

fn executor_id(id: &str) -> ExecutorId {
    ExecutorId::new(id).expect(id)
}

fn data(id: &str, resources: &str, executor: &Arc<ExecutorSpec>) -> TaskSpec {
    TaskSpec {
        command: Command::Data(Vec::new()),
        executor: Some(executor.clone()),
        ..spec(id, resources)
    }
}

struct Scene {
    world: World,
    link: LinkId,
    agent: AgentId,
    session: SessionId,
    framework: FrameworkId,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::new();
        let link = world.agent("a", "cpus:8;ports:[1-9]");
        let agent = world.welcomed(link);
        let session = world.framework();
        let (framework, _) = world.subscribed(session);
        Self {
            world,
            link,
            agent,
            session,
            framework,
        }
    }

    /// An offer of these resources.
    fn offer(&mut self, resources: &str) -> OfferId {
        self.world.drain(self.session);
        self.world
            .demand(self.session, vec![want("w", 1, resources, 0)]);
        self.world.pass_ms(20);
        let offers = self.world.offers(self.session);
        offers.last().expect("an offer").id.clone()
    }

    fn launch(&mut self, offered: &str, tasks: Vec<TaskSpec>) -> Vec<Result<(), Problem>> {
        let offer = self.offer(offered);
        let results = self.world.accept(self.session, &[&offer], tasks);
        self.world.demand(self.session, Vec::new());
        let results = results.expect("the offer stands").into_iter();
        results.map(|result| result.outcome.map(drop)).collect()
    }

    fn group(&mut self, offered: &str, tasks: Vec<TaskSpec>) -> Vec<Result<(), Problem>> {
        let offer = self.offer(offered);
        let group = vec![Operation::LaunchGroup(tasks)];
        let results = self.world.operate(self.session, &[&offer], group);
        self.world.demand(self.session, Vec::new());
        let results = results.expect("the offer stands");
        let launches = results.iter().flat_map(|result| result.launches());
        launches
            .map(|result| result.outcome.clone().map(drop))
            .collect()
    }

    fn agent_says(&mut self, message: ToMaster) {
        let link = self.link;
        self.world.step(Event::LinkMessage { link, message });
    }

    fn changed(&mut self, id: &str, is_ended: bool) {
        self.agent_says(ToMaster::ExecutorChanged {
            framework: self.framework.clone(),
            executor: executor_id(id),
            is_ended,
            message: "exited with code 3".to_owned(),
        });
    }

    fn used(&self) -> String {
        self.world.used(&self.agent).to_string()
    }

    fn returns(&mut self, executors: Vec<AgentExecutor>) {
        self.link = self.world.hello(Hello {
            agent: Some(self.agent.clone()),
            cluster: Some(ClusterId::new("c").expect("an id")),
            epoch: Epoch(1),
            description: describe("a", "cpus:8;ports:[1-9]"),
            tasks: Vec::new(),
            executors,
            number: 0,
        });
    }

    fn ended(&mut self) -> Vec<String> {
        let told = self.world.drain(self.session).into_iter();
        let ended = told.filter_map(|told| match told {
            Told::ExecutorEnded { executor, .. } => Some(executor.to_string()),
            _ => None,
        });
        ended.collect()
    }
}

fn codes(results: Vec<Result<(), Problem>>) -> Vec<String> {
    let of = |result: Result<(), Problem>| match result {
        Ok(()) => "ok".to_owned(),
        Err(problem) => problem.code.to_string(),
    };
    results.into_iter().map(of).collect()
}

#[test]
fn an_executor_is_held_once_while_it_lives() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1;ports:[3-3]");
    let tasks = vec![data("a", "cpus:1", &e), data("b", "cpus:1", &e)];
    assert_eq!(
        codes(scene.launch("cpus:3;ports:[3-3]", tasks)),
        ["ok", "ok"]
    );
    assert_eq!(scene.used(), "cpus:3;ports:[3-3]");
    assert_eq!(
        codes(scene.launch("cpus:1", vec![data("c", "cpus:1", &e)])),
        ["ok"]
    );
    assert_eq!(scene.used(), "cpus:4;ports:[3-3]");
    // The tasks end, and the executor holds on.
    let specs = scene
        .world
        .orders(scene.link)
        .into_iter()
        .filter_map(|order| match order {
            ToAgent::Launch {
                incarnation, spec, ..
            } => Some((spec.id.to_string(), incarnation)),
            _ => None,
        });
    let launched: Vec<_> = specs.collect();
    for (id, incarnation) in launched {
        let ended = status(&id, incarnation, 1, TaskState::Finished);
        let (link, framework) = (scene.link, scene.framework.clone());
        scene.world.updates(link, &framework, ended);
    }
    assert_eq!(scene.used(), "cpus:1;ports:[3-3]");
    scene.changed("e", true);
    assert_eq!(scene.used(), "");
    assert_eq!(scene.ended(), ["e"]);
    scene.changed("e", true);
    assert_eq!(scene.ended(), [""; 0], "it is told once");
}

#[test]
fn offers_must_cover_an_executor_at_its_first_launch_and_its_spec_must_stay_the_same() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    let gone = vec![data("a", "cpus:1", &e)];
    assert_eq!(
        codes(scene.launch("cpus:1", gone)),
        ["task.resources_not_offered"]
    );
    scene.world.pass_s(2);
    assert_eq!(
        codes(scene.launch("cpus:2", vec![data("a", "cpus:1", &e)])),
        ["ok"]
    );
    let other = executor("e", "cpus:0.5");
    let results = scene.launch("cpus:2", vec![data("b", "cpus:1", &other)]);
    assert_eq!(codes(results), ["executor.conflict"]);
    assert_eq!(scene.used(), "cpus:2");
}

#[test]
fn a_group_is_one_message_or_none() {
    let mut scene = Scene::new();
    let (e, f) = (executor("e", "cpus:1"), executor("f", "cpus:1"));
    for (tasks, expected) in [
        (
            vec![spec("a", "cpus:1"), spec("b", "cpus:9")],
            ["task.group_refused", "task.resources_not_offered"],
        ),
        (
            vec![spec("a", "cpus:1"), spec("a", "cpus:1")],
            ["task.group_refused", "task.duplicate"],
        ),
        (
            vec![data("a", "cpus:1", &e), data("b", "cpus:1", &f)],
            ["task.group_refused", "executor.conflict"],
        ),
        (
            vec![data("a", "cpus:1", &e), data("b", "cpus:2.5", &e)],
            ["task.group_refused", "task.resources_not_offered"],
        ),
    ] {
        assert_eq!(codes(scene.group("cpus:4", tasks)), expected);
        assert!(
            scene
                .world
                .orders(scene.link)
                .iter()
                .all(|it| !matches!(it, ToAgent::LaunchGroup { .. }))
        );
        scene.world.pass_s(2);
    }
    let tasks = vec![data("a", "cpus:1", &e), data("b", "cpus:2", &e)];
    assert_eq!(codes(scene.group("cpus:4", tasks)), ["ok", "ok"]);
    let groups = scene
        .world
        .orders(scene.link)
        .into_iter()
        .filter_map(|order| match order {
            ToAgent::LaunchGroup { tasks, payer, .. } => {
                Some((tasks.len(), payer.and_then(|it| it.demand).is_some()))
            }
            _ => None,
        });
    assert_eq!(groups.collect::<Vec<_>>(), [(2, true)]);
    assert_eq!(scene.used(), "cpus:4");
}

#[test]
fn an_executor_of_mesos_may_be_named_with_another_grace_and_its_files_in_another_order() {
    let file = |uri: &str, is_cached| proffer_model::Fetch {
        uri: uri.to_owned(),
        output: None,
        is_executable: false,
        is_extracted: true,
        is_cached,
        sha256: None,
    };
    for api in [
        proffer_model::ExecutorApi::MesosV1,
        proffer_model::ExecutorApi::Proffer,
    ] {
        let mut scene = Scene::new();
        let given = ExecutorSpec {
            api,
            fetch: vec![file("http://a", false), file("http://b", true)],
            ..(*executor("e", "cpus:1")).clone()
        };
        let again = Arc::new(ExecutorSpec {
            shutdown_grace: Duration::from_secs(9),
            fetch: vec![file("http://b", false), file("http://a", false)],
            ..given.clone()
        });
        let other = Arc::new(ExecutorSpec {
            fetch: vec![file("http://b", false)],
            ..given.clone()
        });
        let given = Arc::new(given);
        scene.launch("cpus:2", vec![data("a", "cpus:1", &given)]);
        scene.world.orders(scene.link);
        let results = scene.launch("cpus:1", vec![data("b", "cpus:1", &again)]);
        let is_of_mesos = api == proffer_model::ExecutorApi::MesosV1;
        assert_eq!(results[0].is_ok(), is_of_mesos, "{results:?}");
        let results = scene.launch("cpus:1", vec![data("c", "cpus:1", &other)]);
        assert!(results[0].is_err());
        // Its agent is told what it knows.
        let orders = scene.world.orders(scene.link).into_iter();
        let told: Vec<_> = orders
            .filter_map(|order| match order {
                ToAgent::Launch { spec, .. } => spec.executor,
                _ => None,
            })
            .collect();
        assert_eq!(told, vec![given; usize::from(is_of_mesos)]);
    }
}

#[test]
fn what_an_agent_says_of_executors_when_it_registers_is_so() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    // It never got there: neither task nor executor.
    scene.returns(Vec::new());
    assert_eq!(scene.used(), "");
    assert_eq!(scene.ended(), ["e"]);
    // One that the master did not know, as after a failover: its framework is charged.
    let of = |framework: &FrameworkId, spec: &Arc<ExecutorSpec>| AgentExecutor {
        framework: framework.clone(),
        spec: spec.clone(),
        payer: Some(Payer {
            role: "*".parse().expect("a role"),
            demand: None,
        }),
    };
    let f = executor("f", "cpus:2;ports:[5-6]");
    let framework = scene.framework.clone();
    scene.returns(vec![of(&framework, &f)]);
    assert_eq!(scene.used(), "cpus:2;ports:[5-6]");
    // Again, and with another spec.
    scene.returns(vec![of(&framework, &f)]);
    scene.returns(vec![of(&framework, &executor("f", "cpus:3"))]);
    assert_eq!(scene.used(), "cpus:3");
    // One of a framework that is over is ended, and counted until it is gone.
    let nobody = FrameworkId::new("nobody").expect("an id");
    scene.returns(vec![of(&nobody, &e)]);
    assert_eq!(scene.used(), "cpus:1");
    let orders = scene.world.orders(scene.link);
    assert!(orders.iter().any(|order| matches!(
        order,
        ToAgent::ShutdownExecutor {
            reason: Reason::FrameworkRemoved,
            ..
        }
    )));
    scene.framework = nobody;
    scene.changed("e", true);
    assert_eq!(scene.used(), "");
}

#[test]
fn an_executor_that_ended_when_its_launch_came_is_counted_when_it_is_started_anew() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    scene.launch("cpus:1", vec![data("b", "cpus:1", &e)]);
    scene.changed("e", true);
    assert_eq!(scene.used(), "cpus:2");
    scene.changed("e", false);
    assert_eq!(scene.used(), "cpus:3");
    scene.changed("stranger", false);
    assert_eq!(scene.used(), "cpus:3");
}

#[test]
fn what_an_executor_held_is_taken_back_when_it_is_started_anew() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    scene.launch("cpus:1", vec![data("b", "cpus:1", &e)]);
    scene.changed("e", true);
    // All that is left is offered, with what the executor held.
    let offer = scene.offer("cpus:6");
    scene.changed("e", false);
    assert_eq!(scene.used(), "cpus:3");
    let results = scene.world.accept(scene.session, &[&offer], Vec::new());
    assert!(results.is_err(), "the offer was taken back");
    scene.offer("cpus:5");
}

#[test]
fn messages_go_both_ways_and_to_nobody_else() {
    let mut scene = Scene::new();
    let e = executor("e", "");
    scene.launch("cpus:1", vec![data("a", "cpus:1", &e)]);
    let send = |agent: &AgentId, id: &str| Call::SendMessage {
        agent: agent.clone(),
        executor: executor_id(id),
        data: vec![1, 2],
    };
    let agent = scene.agent.clone();
    let call = send(&agent, "e");
    assert_eq!(scene.world.call(scene.session, call), Answer::Done);
    let orders = scene.world.orders(scene.link);
    assert!(
        orders
            .iter()
            .any(|it| matches!(it, ToAgent::Message { data, .. } if *data == [1, 2]))
    );
    let other = scene.world.framework();
    let nowhere = AgentId::new("nowhere").expect("an id");
    for (session, agent, id, expected) in [
        (scene.session, &agent, "f", code::EXECUTOR_UNKNOWN),
        (scene.session, &nowhere, "e", code::AGENT_UNKNOWN),
        (other, &agent, "e", code::EXECUTOR_UNKNOWN),
    ] {
        match scene.world.call(session, send(agent, id)) {
            Answer::Refused(problem) => assert!(problem.is(expected), "{problem}"),
            answer => panic!("{answer:?}"),
        }
    }
    scene.agent_says(ToMaster::Message {
        framework: scene.framework.clone(),
        executor: executor_id("e"),
        data: vec![3],
    });
    let told = scene.world.drain(scene.session);
    let is_it = |it: &Told| matches!(it, Told::Message { data, .. } if *data == [3]);
    assert!(told.iter().any(is_it), "{told:?}");
    let link = scene.link;
    scene.world.lose(link);
    match scene.world.call(scene.session, send(&agent, "e")) {
        Answer::Refused(problem) => assert!(problem.is(code::AGENT_AWAY), "{problem}"),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn a_shutdown_is_repeated_to_an_agent_that_was_away_and_nothing_is_launched_meanwhile() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    let call = Call::ShutdownExecutor {
        agent: scene.agent.clone(),
        executor: executor_id("e"),
    };
    assert_eq!(scene.world.call(scene.session, call), Answer::Done);
    let results = scene.launch("cpus:2", vec![data("b", "cpus:1", &e)]);
    assert_eq!(codes(results), ["executor.conflict"]);
    scene.world.orders(scene.link);
    scene.returns(vec![AgentExecutor {
        framework: scene.framework.clone(),
        spec: e,
        payer: None,
    }]);
    let orders = scene.world.orders(scene.link);
    assert!(
        orders
            .iter()
            .any(|it| matches!(it, ToAgent::ShutdownExecutor { .. }))
    );
}

#[test]
fn a_framework_that_is_torn_down_takes_its_executors_along() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    scene.world.orders(scene.link);
    scene.world.call(scene.session, Call::Teardown);
    let orders = scene.world.orders(scene.link);
    assert!(
        orders
            .iter()
            .any(|it| matches!(it, ToAgent::ShutdownExecutor { .. }))
    );
    assert_eq!(scene.used(), "cpus:2", "until they are gone");
    scene.changed("e", true);
    assert_eq!(scene.used(), "cpus:1");
}

#[test]
fn an_agent_that_is_unreachable_charges_nobody_for_its_executors() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    let link = scene.link;
    scene.world.lose(link);
    scene.world.pass_s(700);
    let charged = |scene: &Scene| {
        let rows = scene.world.facts.iter().rev();
        let row = rows.into_iter().find_map(|fact| match fact {
            Fact::Framework(row) => Some(row.used.to_string()),
            _ => None,
        });
        row.expect("a row")
    };
    assert_eq!(charged(&scene), "");
    scene.returns(vec![AgentExecutor {
        framework: scene.framework.clone(),
        spec: e,
        payer: None,
    }]);
    assert_eq!(charged(&scene), "cpus:1");
}

#[test]
fn an_agent_is_drained_when_its_executors_have_ended_too() {
    let mut scene = Scene::new();
    let e = executor("e", "cpus:1");
    scene.launch("cpus:2", vec![data("a", "cpus:1", &e)]);
    let launched = scene
        .world
        .orders(scene.link)
        .into_iter()
        .find_map(|order| match order {
            ToAgent::Launch { incarnation, .. } => Some(incarnation),
            _ => None,
        });
    let agent = scene.agent.clone();
    let drain = crate::event::OperatorCall::DrainAgent {
        agent,
        deadline: None,
        marks_gone: false,
    };
    scene.world.operator(drain).expect("drained");
    let (link, framework) = (scene.link, scene.framework.clone());
    let ended = status("a", launched.expect("launched"), 1, TaskState::Finished);
    scene.world.updates(link, &framework, ended);
    scene.world.acknowledge_all(scene.session);
    let orders = scene.world.orders(link);
    let is_end = |it: &ToAgent| {
        matches!(
            it,
            ToAgent::ShutdownExecutor {
                reason: Reason::AgentDrained,
                ..
            }
        )
    };
    assert_eq!(
        orders.iter().filter(|it| is_end(it)).count(),
        1,
        "{orders:?}"
    );
    let is_drained = |scene: &Scene| {
        let facts = scene.world.facts.iter();
        facts
            .filter(|fact| matches!(fact, Fact::AgentDrained { .. }))
            .count()
            == 1
    };
    assert!(!is_drained(&scene));
    scene.changed("e", true);
    assert!(is_drained(&scene));
}
