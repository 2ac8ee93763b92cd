//! The election on three servers: one of them dies, stands still or is cut off, or the quorum is lost.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};

use super::referee::{Referee, SESSION};
use crate::harness::eventually;
use crate::zookeeper::Ensemble;

/// `zk://` for one server alone, so that it is known which one answers.
fn url_of(zookeeper: &Ensemble, server: usize) -> String {
    format!("zk://127.0.0.1:{}/proffer", zookeeper.client_port(server))
}

#[test]
fn servers_that_die_or_stand_still_and_a_lost_quorum_never_make_two_leaders() {
    let mut zookeeper = Ensemble::start(3);
    let url = zookeeper.url("u:p@", "/proffer");
    let referee = Referee::new();
    let standing: Vec<_> = ["a", "b", "c"]
        .map(|name| referee.stand(name, &url))
        .into_iter()
        .collect();
    referee.await_leader_other_than(&[]);
    eventually("all stand", || (standing[0].ids().len() == 3).then_some(()));

    let server = zookeeper.leader().expect("a leader");
    zookeeper.kill(server);
    let killed = Instant::now();
    eventually("ZooKeeper has a leader", || zookeeper.leader());
    referee.await_leader_other_than(&[]);
    eventually("all stand", || (standing[0].ids().len() == 3).then_some(()));
    println!(
        "ZooKeeper's leader killed: all well after {:?}",
        killed.elapsed()
    );
    zookeeper.launch(server);
    zookeeper.await_serving();

    let server = zookeeper.leader().expect("a leader");
    zookeeper.signal(server, SIGSTOP);
    let stopped = Instant::now();
    eventually("another leader of ZooKeeper", || {
        zookeeper.leader().filter(|leader| *leader != server)
    });
    referee.await_leader_other_than(&[]);
    println!(
        "ZooKeeper's leader stopped: led after {:?}",
        stopped.elapsed()
    );
    zookeeper.signal(server, SIGCONT);
    zookeeper.await_serving();

    let lost: Vec<usize> = (0..3)
        .filter(|server| Some(*server) != zookeeper.leader())
        .collect();
    for server in &lost {
        zookeeper.kill(*server);
    }
    referee.await_none();
    for contender in &standing {
        contender.await_trouble("no ZooKeeper server can be used");
        assert!(contender.ids().is_empty(), "nobody knows who stands");
    }
    let terms = referee.terms();
    // Longer than any session: those that led before must not do so again without a new election.
    std::thread::park_timeout(SESSION + Duration::from_secs(2));
    assert_eq!((referee.leader(), referee.terms()), (None, terms));
    zookeeper.launch(lost[0]);
    zookeeper.await_serving();
    let restored = Instant::now();
    referee.await_leader_other_than(&[]);
    println!("quorum restored: led after {:?}", restored.elapsed());
    eventually("all stand", || {
        let is_well = standing
            .iter()
            .all(|contender| contender.trouble.borrow().is_none());
        (is_well && standing[0].ids().len() == 3).then_some(())
    });
    referee.check();
}

#[test]
fn a_leader_on_a_server_that_is_cut_off_from_the_others_stops_though_that_server_still_answers() {
    let zookeeper = Ensemble::start_with_links(3);
    let server = zookeeper.follower().expect("a follower");
    let referee = Referee::new();
    let _a = referee.stand("a", &url_of(&zookeeper, server));
    referee.await_leader_other_than(&[]);
    let other = zookeeper.leader().expect("a leader");
    let b = referee.stand("b", &url_of(&zookeeper, other));
    eventually("b stands", || (b.ids() == ["a", "b"]).then_some(()));
    zookeeper.cut_off(server);
    let cut_off = Instant::now();
    assert_eq!(referee.await_leader_other_than(&["a"]), "b");
    println!(
        "cut off behind its server: another led after {:?}, nobody for {:?}",
        cut_off.elapsed(),
        referee.last_gap()
    );
    assert!(
        referee.last_gap() > SESSION / 12,
        "a twelfth of the session is the margin"
    );
    let is_answering = zookeeper
        .ask(server, "srvr")
        .is_some_and(|text| text.contains("Mode: follower"));
    assert!(
        is_answering,
        "the server that was cut off still answers, so this test has tested something"
    );
    zookeeper.rejoin(server);
    eventually("a stands again", || (b.ids() == ["b", "a"]).then_some(()));
    referee.check();
}
