//! What operators ask over real sockets: lists in pages while the cluster goes on, filters, watches, and what they end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proffer_model::code;
use proffer_proto::{problem_of, v1};
use proffer_server::config::ConfigFile;
use v1::change::Change;
use v1::session_call::Call;
use v1::session_event::Event;
use v1::to_agent::Message;

use super::peers::{Agent, Cast, Framework, Master, cpus, domain, launched, running, soon, status};

/// Tasks that live all the time.
const STEADY: u64 = 100_000;

/// Launches tasks one after the other and ends each, until it is told to stop; answers how many.
async fn launch_and_end(mut cast: Cast, is_over: Arc<AtomicBool>) -> u64 {
    let (mut count, mut task_id) = (0, "passing-0".to_owned());
    loop {
        let (framework_id, incarnation) = (cast.framework_id.clone(), cast.incarnation);
        let mut last = status(&task_id, incarnation, v1::TaskState::Finished);
        last.number = 1;
        cast.agent.report_numbered(&framework_id, last).await;
        let is_end = |event: &Event| matches!(event, Event::Updated(it) if it.task_id == task_id && it.number > 0);
        let (sequence, _) = cast.framework.wait_for(is_end).await;
        let one = false;
        let acknowledge = Call::Acknowledge(v1::Acknowledge { sequence, one });
        cast.framework.call(acknowledge).await;
        count += 1;
        if is_over.load(Ordering::Relaxed) {
            return count;
        }
        cast.framework.demand_one_cpu("web").await;
        let offer = cast.framework.offer().await;
        // Before and after those that stay, by name.
        task_id = match count % 2 {
            0 => format!("passing-{count}"),
            _ => format!("zz-passing-{count}"),
        };
        cast.incarnation = cast.framework.launch(&offer, &task_id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_tasks_are_listed_page_by_page_while_launches_go_on() {
    let master = Master::start("memory").await;
    let (_open, subscribed) = Framework::connect(&master).await.subscribed("").await;
    let framework_id = subscribed.framework_id;
    let name = |number: u64| format!("steady-{number:06}");
    let mut agents = Vec::new();
    for first in (0..STEADY).step_by(10_000) {
        let mut agent = Agent::connect(&master).await;
        let agent_id = agent.hello("", vec![]).await.agent_id;
        let tasks = (first..first + 10_000).map(|number| {
            let mut task = running(&framework_id, &name(number), &agent_id, number + 1);
            task.acknowledged = 1;
            task
        });
        let mut agent = Agent::connect(&master).await;
        agent.hello(&agent_id, tasks.collect()).await;
        agents.push(agent);
    }
    let mut operator = master.operator().await;
    let asked = v1::ListAgentsRequest::default();
    loop {
        let agents = operator.list_agents(asked.clone()).await.expect("agents");
        let tasks = agents.get_ref().agents.iter().map(|agent| agent.tasks);
        if tasks.sum::<u64>() == STEADY {
            break;
        }
    }

    let is_over = Arc::new(AtomicBool::new(false));
    let cast = launched(&master, "passing-0").await;
    let launching = tokio::spawn(launch_and_end(cast, Arc::clone(&is_over)));
    let (mut seen, mut pages) = (BTreeSet::new(), 0);
    let mut asked = v1::ListTasksRequest {
        page_size: 700,
        ..v1::ListTasksRequest::default()
    };
    loop {
        let page = soon("a page", operator.list_tasks(asked.clone())).await;
        let page = page.expect("a page").into_inner();
        assert!(page.tasks.len() <= 700);
        for task in page.tasks {
            let is_new = seen.insert((task.framework_id.clone(), task.id.clone()));
            assert!(is_new, "{} is listed twice", task.id);
        }
        pages += 1;
        asked.page_token = page.next_page_token;
        if asked.page_token.is_empty() {
            break;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    let launched = soon("the end of launches", launching).await.expect("ended");
    assert!(
        launched > 1 && pages > 100,
        "{launched} launches, {pages} pages"
    );
    for number in 0..STEADY {
        let key = (framework_id.clone(), name(number));
        assert!(seen.contains(&key), "{} is missing", key.1);
    }
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_by_the_master_and_refuse_what_they_cannot_read() {
    let master = Master::start("memory").await;
    let mut cast = launched(&master, "task-1").await;
    let mut operator = master.operator().await;
    let of = |change: &dyn Fn(&mut v1::ListTasksRequest)| {
        let mut asked = v1::ListTasksRequest::default();
        change(&mut asked);
        asked
    };
    let staging = i32::from(v1::TaskState::Staging);
    let failed = i32::from(v1::TaskState::Failed);
    let (agent_id, framework_id) = (cast.agent_id.clone(), cast.framework_id.clone());
    for (asked, count) in [
        (of(&|it| it.states = vec![failed, staging]), 1),
        (of(&|it| it.states = vec![failed]), 0),
        (of(&|it| it.agent_id.clone_from(&agent_id)), 1),
        (of(&|it| it.agent_id = "other".into()), 0),
        (of(&|it| it.framework_id.clone_from(&framework_id)), 1),
        (of(&|it| it.role = "*".into()), 1),
        (of(&|it| it.role = "eng".into()), 0),
        (of(&|it| it.task_id = "task-1".into()), 1),
        (of(&|it| it.task_id = "task-2".into()), 0),
        (of(&|it| _ = it.labels.insert("tier".into(), "a".into())), 0),
        (
            of(&|it| it.page_token = format!("{framework_id}/task-0")),
            1,
        ),
        (
            of(&|it| it.page_token = format!("{framework_id}/task-1")),
            0,
        ),
    ] {
        let said = format!("{asked:?}");
        let listed = operator
            .list_tasks(asked)
            .await
            .expect("a list")
            .into_inner();
        assert_eq!(listed.tasks.len(), count, "{said}");
    }
    let listed = operator.list_tasks(of(&|_| {})).await.expect("a list");
    assert_eq!(listed.get_ref().tasks[0].role, "*");
    for (asked, field) in [
        (of(&|it| it.states = vec![staging, 99]), "states[1]"),
        (of(&|it| it.states = vec![staging; 1_001]), "states"),
        (
            of(&|it| {
                it.labels = (0..=1_000)
                    .map(|n| (n.to_string(), String::new()))
                    .collect()
            }),
            "labels",
        ),
        (of(&|it| it.page_token = "x".into()), "page_token"),
        (of(&|it| it.agent_id = "a/b".into()), "agent_id"),
        (of(&|it| it.role = "/".into()), "role"),
    ] {
        let refused = operator.list_tasks(asked).await.expect_err("refused");
        assert_eq!(problem_of(&refused).field, field);
    }

    // An offer is listed while it stands.
    cast.framework.demand_one_cpu("more").await;
    let offer = cast.framework.offer().await;
    let asked = v1::ListOffersRequest {
        framework_id: framework_id.clone(),
        ..v1::ListOffersRequest::default()
    };
    let listed = operator.list_offers(asked.clone()).await.expect("offers");
    let [shown] = listed.get_ref().offers.as_slice() else {
        panic!("one offer: {listed:?}")
    };
    assert_eq!((&shown.id, &shown.agent_id), (&offer.id, &agent_id));
    assert_eq!(shown.fits[0].demand_id, "more");
    assert!(shown.expires_wall_ms > shown.made_wall_ms);
    cast.framework.launch(&offer, "task-2").await;
    let listed = operator.list_offers(asked).await.expect("offers");
    assert_eq!(listed.get_ref().offers, []);
    master.stop().await;
}

/// A watch's changes, one after the other, with the position of the response that each came in.
struct Watched {
    responses: tonic::Streaming<v1::WatchResponse>,
    changes: std::collections::VecDeque<Change>,
    position: String,
}

impl Watched {
    async fn open(master: &Master, asked: v1::WatchRequest) -> Self {
        let opened = master.operator().await.watch(asked).await;
        Self {
            responses: opened.expect("a watch").into_inner(),
            changes: std::collections::VecDeque::new(),
            position: String::new(),
        }
    }

    async fn next(&mut self) -> Change {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return change;
            }
            let response = soon("a change", self.responses.message()).await;
            let response = response.expect("open").expect("a response");
            self.position = response.position;
            let changes = response.changes.into_iter();
            self.changes
                .extend(changes.filter_map(|change| change.change));
        }
    }

    async fn until(&mut self, fits: impl Fn(&Change) -> bool) -> Vec<Change> {
        let mut told = Vec::new();
        loop {
            told.push(self.next().await);
            if told.last().is_some_and(&fits) {
                return told;
            }
        }
    }
}

fn of_tasks(position: &str) -> v1::WatchRequest {
    v1::WatchRequest {
        position: position.into(),
        kinds: vec![v1::WatchKind::Tasks.into()],
        ..v1::WatchRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_what_is_there_then_what_changes_and_goes_on_where_it_was() {
    let master = Master::start("memory").await;
    let mut cast = launched(&master, "task-1").await;
    let mut watch = Watched::open(&master, of_tasks("")).await;
    let first = watch
        .until(|change| matches!(change, Change::UpToDate(_)))
        .await;
    let [Change::Begins(begins), Change::Task(task), _] = first.as_slice() else {
        panic!("{first:?}")
    };
    assert_eq!((&begins.why, task.id.as_str()), (&None, "task-1"));
    let before = watch.position.clone();
    let (framework_id, incarnation) = (cast.framework_id.clone(), cast.incarnation);
    cast.agent
        .report(&framework_id, "task-1", incarnation, v1::TaskState::Running)
        .await;
    let is_running = |change: &Change| {
        let state = |task: &v1::Task| task.status.as_ref().map(v1::Status::state);
        matches!(change, Change::Task(task) if state(task) == Some(v1::TaskState::Running))
    };
    watch.until(is_running).await;
    drop(watch);

    // From where the snapshot ended on: nothing of the snapshot again.
    let mut again = Watched::open(&master, of_tasks(&before)).await;
    let told = again.until(is_running).await;
    assert!(
        told.iter().all(|change| matches!(change, Change::Task(_))),
        "{told:?}"
    );

    // Of another term, or beyond what there was: everything anew, with the reason.
    for position in ["7-3", "1-999999999"] {
        let mut anew = Watched::open(&master, of_tasks(position)).await;
        let Change::Begins(begins) = anew.next().await else {
            panic!("it begins")
        };
        assert_eq!(begins.why.expect("why").code, code::WATCH_EXPIRED.name);
        anew.until(|change| matches!(change, Change::UpToDate(_)))
            .await;
    }
    let refused = master.operator().await.watch(of_tasks("x")).await;
    let problem = problem_of(&refused.expect_err("refused"));
    assert_eq!(problem.field, "position");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_kill_tasks_and_end_frameworks() {
    let master = Master::start("memory").await;
    let mut cast = launched(&master, "task-1").await;
    let Message::Launch(_) = cast.agent.next().await else {
        panic!("a launch")
    };
    let mut operator = master.operator().await;
    let kill = |task_id: &str| v1::KillTaskRequest {
        framework_id: cast.framework_id.clone(),
        task_id: task_id.into(),
        grace_ms: Some(1_500),
    };
    let unknown = operator
        .kill_task(kill("task-2"))
        .await
        .expect_err("refused");
    let problem = problem_of(&unknown);
    assert!(problem.is(code::TASK_UNKNOWN), "{problem}");
    assert_eq!(problem.field, "task_id");
    operator.kill_task(kill("task-1")).await.expect("killed");
    let Message::Kill(told) = cast.agent.next().await else {
        panic!("a kill")
    };
    assert_eq!(
        (told.task_id.as_str(), told.grace_ms),
        ("task-1", Some(1_500))
    );

    let framework_id = cast.framework_id.clone();
    let mut watch = Watched::open(
        &master,
        v1::WatchRequest {
            kinds: vec![v1::WatchKind::Frameworks.into()],
            ..v1::WatchRequest::default()
        },
    )
    .await;
    watch
        .until(|change| matches!(change, Change::UpToDate(_)))
        .await;
    let teardown = v1::TeardownFrameworkRequest { framework_id };
    operator
        .teardown_framework(teardown.clone())
        .await
        .expect("over");
    let is_closed = |event: &Event| matches!(event, Event::Closed(_));
    let Event::Closed(ended) = cast.framework.wait_for(is_closed).await.1 else {
        panic!("closed")
    };
    assert_eq!(ended.code, code::FRAMEWORK_COMPLETED.name);
    let is_gone = |change: &Change| *change == Change::FrameworkGone(cast.framework_id.clone());
    watch.until(is_gone).await;
    let again = operator.teardown_framework(teardown).await;
    let problem = problem_of(&again.expect_err("over already"));
    assert!(problem.is(code::FRAMEWORK_COMPLETED), "{problem}");
    assert_eq!(problem.field, "framework_id");
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frameworks_and_operators_see_where_an_agent_stands() {
    let master = Master::start("memory").await;
    let (mut framework, _) = Framework::connect(&master).await.subscribed("").await;
    let mut agent = Agent::connect(&master).await;
    agent.hello("", vec![]).await;
    let zone = |name: &str| v1::Predicate {
        test: Some(v1::predicate::Test::Zone(name.into())),
    };
    framework.demand_where("web", 1_000, vec![zone("b")]).await;
    assert_eq!(framework.offer().await.domain, Some(domain()));
    let mut operator = master.operator().await;
    let listed = operator.list_agents(v1::ListAgentsRequest::default());
    let agents = listed.await.expect("agents").into_inner().agents;
    assert_eq!(agents[0].domain, Some(domain()));

    let (mut other, subscribed) = Framework::connect(&master).await.subscribed("").await;
    other.demand_where("web", 1_000, vec![zone("z")]).await;
    let asked = v1::ExplainDemandRequest {
        framework_id: subscribed.framework_id,
        ..v1::ExplainDemandRequest::default()
    };
    let explained = operator.explain_demand(asked).await.expect("explained");
    let [obstacle] = explained.get_ref().entries[0].obstacles.as_slice() else {
        panic!("{explained:?}")
    };
    assert_eq!(obstacle.message, "1 agent is not in zone z");
    let failed = v1::FailedPredicate {
        place: 0,
        test: "zone".into(),
    };
    assert_eq!(obstacle.predicate, Some(failed));
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_offers_as_its_configuration_says() {
    let file = "listen = '127.0.0.1:0'\nstore = 'memory'\nplacement = 'bin-pack'\nshare_excluded = ['cpus']\noffer_least = 'cpus:8'";
    let options = ConfigFile::new("master.toml", file).parse();
    let master = Master::start_with(options.expect("good"))
        .await
        .expect("a master");
    let mut agents = Vec::new();
    for _ in 0..4 {
        let mut agent = Agent::connect(&master).await;
        agent.hello("", vec![]).await;
        agents.push(agent);
    }
    let mut operator = master.operator().await;
    let all_are_there = async {
        loop {
            let asked = v1::ListAgentsRequest::default();
            let listed = operator.list_agents(asked).await.expect("agents");
            let agents = listed.get_ref().agents.iter();
            if agents
                .filter(|agent| agent.state() == v1::AgentState::Connected)
                .count()
                == 4
            {
                break;
            }
        }
    };
    soon("all agents are connected", all_are_there).await;
    // To spread them would take two agents.
    let (mut framework, _) = Framework::connect(&master).await.subscribed("").await;
    framework.demand_two_of_two_cpus("web").await;
    let offer = framework.offer().await;
    let offered = offer.resources.expect("something").scalars;
    assert_eq!(offered[0].milli, 4_000, "both on one agent");
    let roles = operator.list_roles(v1::ListRolesRequest::default()).await;
    let roles = roles.expect("roles").into_inner().roles;
    let held = roles[0].held.clone().expect("held").scalars[0].clone();
    assert_eq!((held.name.as_str(), held.milli), ("cpus", 4_000));
    assert_eq!(roles[0].share_billionths, 0, "cpus do not count");

    // Three agents are free, with four cpus each, and whoever takes anything is offered eight at least.
    let (mut other, subscribed) = Framework::connect(&master).await.subscribed("").await;
    other.demand_anything().await;
    let asked = v1::ExplainDemandRequest {
        framework_id: subscribed.framework_id,
        ..v1::ExplainDemandRequest::default()
    };
    let explained = operator.explain_demand(asked).await.expect("explained");
    let obstacles = &explained.get_ref().entries[0].obstacles;
    let few = obstacles.iter().find(|one| one.reason == "below_least");
    assert_eq!(few.expect("it is why").agents, 3, "{obstacles:?}");
    master.stop().await;
}

#[tokio::test]
async fn roles_and_explanations_come_in_pages_over_the_wire() {
    let master = Master::start("memory").await;
    let (mut framework, subscribed) = Framework::connect(&master).await.subscribed("").await;
    let entry = |id: &str| v1::DemandEntry {
        id: id.into(),
        shape: Some(v1::Shape {
            resources: Some(cpus(1_000)),
            ..v1::Shape::default()
        }),
        count: 1,
        ..v1::DemandEntry::default()
    };
    let demand = v1::SetDemand {
        role: "*".into(),
        generation: 1,
        entries: ["a", "b", "c"].map(entry).into(),
    };
    framework.call(Call::SetDemand(demand)).await;
    framework
        .wait_for(|event| matches!(event, Event::Answered(_)))
        .await;
    let mut operator = master.operator().await;
    for role in ["eng/web", "ops"] {
        let weight = v1::SetWeightRequest {
            role: role.into(),
            weight_milli: 2_000,
        };
        operator.set_weight(weight).await.expect("a weight");
    }

    let (mut asked, mut roles) = (v1::ListRolesRequest::default(), Vec::new());
    asked.page_size = 1;
    loop {
        let page = operator.list_roles(asked.clone()).await.expect("a page");
        let page = page.into_inner();
        assert!(page.roles.len() <= 1);
        roles.extend(page.roles.into_iter().map(|role| role.role));
        asked.page_token = page.next_page_token;
        if asked.page_token.is_empty() {
            break;
        }
    }
    for role in ["*", "eng/web", "ops"] {
        assert_eq!(
            roles.iter().filter(|it| *it == role).count(),
            1,
            "{roles:?}"
        );
    }

    let mut asked = v1::ExplainDemandRequest {
        framework_id: subscribed.framework_id,
        page_size: 1,
        ..v1::ExplainDemandRequest::default()
    };
    let mut entries = Vec::new();
    loop {
        let page = operator
            .explain_demand(asked.clone())
            .await
            .expect("a page");
        let page = page.into_inner();
        assert!(page.entries.len() <= 1);
        entries.extend(page.entries.into_iter().map(|entry| entry.demand_id));
        asked.page_token = page.next_page_token;
        if asked.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(entries, ["a", "b", "c"]);
    asked.demand_ids = vec!["c".to_owned()];
    let named = operator.explain_demand(asked.clone()).await.expect("one");
    assert_eq!(named.get_ref().entries.len(), 1);
    asked.page_token = "nothing of ours".to_owned();
    let refused = operator.explain_demand(asked).await.expect_err("no token");
    assert_eq!(problem_of(&refused).field, "page_token");
    master.stop().await;
}
