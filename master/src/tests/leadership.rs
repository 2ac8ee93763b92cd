//! Several masters that lead one after the other: what the standby answers, what stays open, what is left of a term.

use std::time::Duration;

use proffer_leader::Lease;
use proffer_model::{Problem, code};
use proffer_proto::{LEADER_HEADER, problem_of, v1};
use proffer_server::clock;
use tonic::Status;
use v1::framework_state_client::FrameworkStateClient;
use v1::operator_client::OperatorClient;
use v1::scheduler_client::SchedulerClient;

use super::peers::{Agent, Framework, Master, launched, running, soon};
use super::stage::Stage;
use crate::pass_on::PASSED_ON_HEADER;
use crate::store::StoreError;

fn leader_of(status: &Status) -> Option<&str> {
    let value = status.metadata().get(LEADER_HEADER)?;
    value.to_str().ok()
}

/// Refusals of the calls that are the leader's to take: on the API listener, and on the cluster listener.
async fn refusals(master: &Master) -> ([Status; 3], Status) {
    let channel = master.channel(master.listen()).await;
    let session = SchedulerClient::with_interceptor(channel.clone(), master.bearer())
        .session(tokio_stream::pending())
        .await
        .map(drop);
    let mut state = FrameworkStateClient::with_interceptor(channel.clone(), master.bearer());
    let put = state.put(v1::PutStateRequest::default()).await.map(drop);
    let get = state.get(v1::GetStateRequest::default()).await.map(drop);
    let refused = [session, put, get].map(|called| called.expect_err("refused"));
    let channel = master.channel(master.cluster_listen()).await;
    let link = v1::agent_link_client::AgentLinkClient::with_interceptor(channel, master.bearer())
        .link(tokio_stream::pending())
        .await
        .map(drop);
    (refused, link.expect_err("refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_refuses_what_is_the_leaders_and_says_where_it_is() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    let (api, cluster) = refusals(&masters[1]).await;
    for status in api.iter().chain([&cluster]) {
        assert!(problem_of(status).is(code::MASTER_NOT_LEADING), "{status}");
        assert_eq!(leader_of(status), None, "nobody leads");
    }
    stage.elect(&masters, 0).await;
    masters[1]
        .watch(masters[1].listen())
        .await
        .until(Some(&masters[0]), false)
        .await;
    let (api, cluster) = refusals(&masters[1]).await;
    let (address, cluster_address) = (
        masters[0].listen().to_string(),
        masters[0].cluster_listen().to_string(),
    );
    for status in &api {
        let problem = problem_of(status);
        assert!(problem.is(code::MASTER_NOT_LEADING), "{problem}");
        assert!(problem.message.contains(&address), "{problem}");
        assert_eq!(leader_of(status), Some(address.as_str()));
    }
    let problem = problem_of(&cluster);
    assert!(problem.message.contains(&cluster_address), "{problem}");
    assert_eq!(leader_of(&cluster), Some(cluster_address.as_str()));
    let answer = masters[1].asked_as_local("POST /anything", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains(code::MASTER_NOT_LEADING.name), "{answer}");
    assert!(
        answer.contains(&format!("proffer-leader: {address}")),
        "{answer}"
    );
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_passes_reads_on_to_the_leader_with_the_callers_token() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    stage.elect(&masters, 0).await;
    let standby = &masters[1];
    standby
        .watch(standby.listen())
        .await
        .until(Some(&masters[0]), false)
        .await;
    let mut agent = Agent::connect(&masters[0]).await;
    let agent_id = agent.hello("", vec![]).await.agent_id;

    let mut operator = standby.operator().await;
    let agents = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect("agents");
    assert_eq!(agents.get_ref().agents[0].id, agent_id);
    let asked = v1::ExplainDemandRequest {
        framework_id: "none".into(),
        ..v1::ExplainDemandRequest::default()
    };
    let problem = problem_of(&operator.explain_demand(asked).await.expect_err("unknown"));
    assert!(
        problem.is(code::FRAMEWORK_UNKNOWN),
        "as the leader says it: {problem}"
    );
    let own = operator
        .get_master(v1::GetMasterRequest {})
        .await
        .expect("itself")
        .into_inner();
    assert!(
        !own.leading && own.epoch == 0 && own.cluster_id.is_empty(),
        "{own:?}"
    );
    let leader = own.leader.expect("it is known");
    assert_eq!(leader.address, masters[0].listen().to_string());
    let theirs = masters[0]
        .operator()
        .await
        .get_master(v1::GetMasterRequest {})
        .await;
    let theirs = theirs.expect("the leader").into_inner();
    assert!(
        theirs.leading && theirs.leader == Some(leader),
        "{theirs:?}"
    );

    let page = standby.asked_as_local("GET /", "").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("leading cluster"),
        "{page}"
    );
    let page = standby.asked_as_local("HEAD /", "").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && !page.contains("leading cluster"),
        "{page}"
    );
    let page = standby.asked_as_local("GET /nothing", "").await;
    assert!(page.starts_with("HTTP/1.1 404"), "{page}");
    let hopped = format!("{PASSED_ON_HEADER}: another\r\n");
    let page = standby.asked_as_local("GET /", &hopped).await;
    assert!(page.starts_with("HTTP/1.1 503"), "one hop only: {page}");
    let mut stranger = OperatorClient::new(standby.channel(standby.listen()).await);
    let refused = stranger
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect_err("no token");
    assert!(problem_of(&refused).is(code::AUTH_MISSING));

    let [leader, standby] = <[Master; 2]>::try_from(masters).expect("two");
    leader.stop().await;
    let refused = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect_err("it is gone");
    assert!(
        problem_of(&refused).is(code::MASTER_NOT_LEADING),
        "{refused}"
    );
    standby.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_does_not_answer_is_not_waited_for_when_it_leads_no_more() {
    let stage = Stage::new();
    let masters = stage.masters(1).await;
    let mut operator = masters[0].operator().await;
    let silent = tokio::net::TcpListener::bind(super::peers::ANY)
        .await
        .expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let leader = |address: &str| proffer_model::Leader {
        address: address.into(),
        ..crate::standing::tests::master("elsewhere")
    };
    stage.elect_elsewhere(leader(&address));
    let mut watch = masters[0].watch(masters[0].listen()).await;
    while watch.next().await.leader.is_none() {}
    let begun = std::time::Instant::now();
    let read = operator.list_agents(v1::ListAgentsRequest::default());
    let change = async {
        // It was asked, and says nothing.
        let asked = soon("the call", silent.accept()).await.expect("accepted");
        stage.elect(&masters, 0).await;
        asked
    };
    let (answer, _asked) = tokio::join!(read, change);
    let problem = problem_of(&answer.expect_err("it was the other's to answer"));
    assert!(
        problem.is(code::MASTER_NOT_LEADING) && problem.message.contains(&address),
        "{problem}"
    );
    assert!(
        begun.elapsed() < crate::limits::PASSED_ON_TIMEOUT,
        "not the whole timeout"
    );

    // A token travels unencrypted only on this host, unless that is allowed.
    stage.elect_elsewhere(leader("192.0.2.1:5050"));
    let mut watch = masters[0].watch(masters[0].listen()).await;
    while watch
        .next()
        .await
        .leader
        .is_none_or(|leader| leader.address != "192.0.2.1:5050")
    {}
    let refused = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect_err("too far");
    assert!(
        problem_of(&refused).message.contains("unencrypted"),
        "{refused}"
    );
    assert_eq!(leader_of(&refused), Some("192.0.2.1:5050"));
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_answers_for_itself_what_is_about_itself() {
    let stage = Stage::new();
    let masters = stage.masters(1).await;
    let master = &masters[0];
    let status = async |service: &str| {
        let service = service.to_owned();
        let asked = tonic_health::pb::HealthCheckRequest { service };
        let answer = master.health().await.check(asked).await.expect("known");
        answer.get_ref().status()
    };
    use tonic_health::pb::health_check_response::ServingStatus::{NotServing, Serving};
    let services = [
        "proffer.v1.Scheduler",
        "proffer.v1.FrameworkState",
        "proffer.v1.Operator",
    ];
    for service in services {
        assert_eq!(status(service).await, NotServing, "{service}");
    }
    assert_eq!(status("").await, Serving);
    assert!(
        master
            .reflected()
            .await
            .iter()
            .any(|name| name == "proffer.v1.Leadership")
    );
    let page = master.get("/metrics").await;
    assert!(
        page.lines().any(|line| line == "master_leading 0"),
        "{page}"
    );
    let health = master.get("/health").await;
    assert!(
        health.contains("\"leading\":false") && health.contains("\"leader\":null"),
        "{health}"
    );
    stage.trouble(Some(Problem::new(code::STORE_FAILED, "no server answers")));
    let mut health = String::new();
    while !health.contains("no server answers") {
        health = master.get("/health").await;
    }
    stage.trouble(None);
    stage.elect(&masters, 0).await;
    let health = master.get("/health").await;
    assert!(
        health.contains("\"leading\":true") && health.contains("\"troubles\":[]"),
        "{health}"
    );
    for service in services {
        assert_eq!(status(service).await, Serving, "{service}");
    }
    let page = master.get("/metrics").await;
    for line in [
        "master_leading 1",
        "master_terms_total 1",
        "master_leadership_losses_total 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_on_both_listeners_live_through_changes_of_leadership() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    let mut watches = Vec::new();
    for address in [masters[1].listen(), masters[1].cluster_listen()] {
        let mut watch = masters[1].watch(address).await;
        let first = watch.next().await;
        assert!(
            !first.is_leading && first.leader.is_none() && first.epoch == 0,
            "{first:?}"
        );
        watches.push(watch);
    }
    for (leader, epoch) in [(0, 1), (1, 2), (0, 3), (1, 4)] {
        stage.elect(&masters, leader).await;
        for watch in &mut watches {
            let told = watch.until(Some(&masters[leader]), leader == 1).await;
            assert_eq!(told, if leader == 1 { epoch } else { 0 });
        }
    }
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_term_closes_streams_but_not_connections_and_the_next_is_fresh() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    stage.elect(&masters, 0).await;
    let cast = launched(&masters[0], "task-1").await;
    let mut operator = masters[0].operator().await;
    operator
        .list_tasks(v1::ListTasksRequest::default())
        .await
        .expect("tasks");

    stage.elect(&masters, 1).await;
    for status in [cast.framework.end().await, cast.agent.end().await] {
        assert!(problem_of(&status).is(code::MASTER_NOT_LEADING), "{status}");
    }
    // The same connection, which the other master's answers now come through.
    masters[0]
        .watch(masters[0].listen())
        .await
        .until(Some(&masters[1]), false)
        .await;
    let tasks = operator
        .list_tasks(v1::ListTasksRequest::default())
        .await
        .expect("tasks");
    assert_eq!(
        tasks.get_ref().tasks,
        [],
        "no agent has told the new leader of any"
    );

    stage.elect(&masters, 0).await;
    let tasks = operator
        .list_tasks(v1::ListTasksRequest::default())
        .await
        .expect("tasks");
    assert_eq!(
        tasks.get_ref().tasks,
        [],
        "nothing is carried over from the first term"
    );
    let page = masters[0].get("/metrics").await;
    assert!(page.lines().any(|line| line == "master_epoch 3"), "{page}");
    assert!(!page.contains("master_tasks{"), "nor measured: {page}");
    let mut framework = Framework::connect(&masters[0]).await;
    let subscribed = framework.subscribe(&cast.framework_id).await;
    assert_eq!(
        subscribed.framework_id, cast.framework_id,
        "what was durable is there"
    );
    let mut agent = Agent::connect(&masters[0]).await;
    let task = running(
        &cast.framework_id,
        "task-1",
        &cast.agent_id,
        cast.incarnation,
    );
    agent.hello(&cast.agent_id, vec![task]).await;
    assert_eq!(agent.epoch, 3);
    for master in masters {
        master.stop().await;
    }
}

/// How long a lease holds that is renewed in time.
const LEASE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_ends_the_term_though_nobody_says_so() {
    let stage = Stage::new();
    let masters = stage.masters(1).await;
    let lease = Lease::until(clock::now().after(LEASE));
    stage.elect_with(0, lease.clone(), stage.store());
    let renewal = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            lease.extend(clock::now().after(LEASE));
        }
    };
    let led = async {
        masters[0].comes_to_lead().await;
        Framework::connect(&masters[0]).await
    };
    let framework = tokio::select! {
        framework = led => framework,
        never = renewal => never,
    };
    let status = framework.end().await;
    assert!(problem_of(&status).is(code::MASTER_NOT_LEADING), "{status}");
    let mut operator = masters[0].operator().await;
    let refused = operator
        .list_agents(v1::ListAgentsRequest::default())
        .await
        .expect_err("it ran out");
    assert!(
        problem_of(&refused).is(code::MASTER_NOT_LEADING),
        "{refused}"
    );
    stage.given_up(1).await;
    for master in masters {
        master.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_begin_a_term_gives_leadership_up_and_says_why() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    let damaged = || {
        Err(StoreError::Newer {
            place: "the log".into(),
            found: 9,
            known: 1,
        })
    };
    stage.elect_with(0, Lease::forever(), damaged);
    stage.given_up(1).await;
    let health = masters[0].get("/health").await;
    assert!(
        health.contains("\"leading\":false") && health.contains("format 9"),
        "{health}"
    );
    stage.elect(&masters, 1).await;
    // What passes is tried again soon.
    let deposed = || Err(StoreError::Deposed { number: 7 });
    stage.elect_with(1, Lease::forever(), deposed);
    stage.given_up(3).await;
    stage.elect(&masters, 1).await;
    let health = masters[1].get("/health").await;
    assert!(
        health.contains("\"leading\":true") && health.contains("\"troubles\":[]"),
        "{health}"
    );
    for master in masters {
        master.stop().await;
    }
    stage.given_up(4).await;
}

/// How many threads this process has, and how many tasks this runtime.
fn parts() -> (usize, usize) {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").count();
    let metrics = tokio::runtime::Handle::current().metrics();
    (threads, metrics.num_alive_tasks())
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_quick_changes_leave_nothing_behind() {
    let stage = Stage::new();
    let masters = stage.masters(2).await;
    // Connections that stay, and the threads and tasks of what has run once.
    stage.elect(&masters, 0).await;
    stage.elect(&masters, 1).await;
    let files = || std::fs::read_dir("/proc/self/fd").expect("Linux").count();
    let (before, files_before) = (parts(), files());
    for change in 0..20 {
        let leader = change % 2;
        stage.elect(&masters, leader).await;
        let framework = Framework::connect(&masters[leader]).await;
        let (framework, _) = framework.subscribed("").await;
        let mut agent = Agent::connect(&masters[leader]).await;
        agent.hello("", vec![]).await;
        stage.depose();
        framework.end().await;
        agent.end().await;
    }
    stage.elect(&masters, 1).await;
    stage.given_up(22).await;
    let is_left = || {
        let (now, files_now) = (parts(), files());
        now.0 > before.0 || now.1 > before.1 || files_now > files_before
    };
    let ended = async {
        // A connection that its client has dropped takes a moment to end.
        while is_left() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .is_err()
    {
        let (now, files_now) = (parts(), files());
        panic!("threads, tasks: {now:?} were {before:?}; files: {files_now} were {files_before}");
    }
    let epoch = soon("the term", masters[1].comes_to_lead()).await;
    assert_eq!(epoch, 23);
    for master in masters {
        master.stop().await;
    }
}
