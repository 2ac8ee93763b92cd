//! The election on one server: who leads, what everybody sees, and a link that fails in every way.

use std::time::{Duration, Instant};

use proffer_leader::Observer;

use super::referee::{Referee, SESSION};
use crate::harness::eventually;
use crate::proxy::Proxy;
use crate::zookeeper::Ensemble;

/// How long a successor may take beyond the session: ZooKeeper's own tick, and this machine's other work.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn the_oldest_leads_everybody_sees_it_and_a_leader_that_goes_is_followed_at_once() {
    let zookeeper = Ensemble::start(1);
    let url = zookeeper.url("proffer:secret@", "/a/proffer");
    let open = zookeeper.url("", "/a/proffer");
    let observer = Observer::start(open.parse().expect("an address")).expect("it looks");
    eventually("nobody is seen", || {
        let trouble = observer.trouble().borrow().clone();
        trouble.filter(|problem| problem.message.contains("/a/proffer"))
    });
    let referee = Referee::new();
    let a = referee.stand("a", &url);
    referee.await_leader_other_than(&[]);
    let b = referee.stand("b", &url);
    eventually("b stands", || (a.ids() == ["a", "b"]).then_some(()));
    let c = referee.stand("c", &url);
    eventually("all stand", || {
        let is_seen = |ids: Vec<String>| ids == ["a", "b", "c"];
        let seen = observer
            .standing()
            .borrow()
            .iter()
            .map(|leader| leader.id.clone())
            .collect();
        (is_seen(a.ids()) && is_seen(b.ids()) && is_seen(c.ids()) && is_seen(seen)).then_some(())
    });
    assert_eq!(*observer.trouble().borrow(), None);
    // Gives up, and stands anew behind the others.
    a.give_up();
    assert_eq!(referee.await_leader_other_than(&["a"]), "b");
    let given_up = referee.last_gap();
    eventually("a stands again", || {
        (c.ids() == ["b", "c", "a"]).then_some(())
    });
    b.withdraw();
    assert_eq!(referee.await_leader_other_than(&["b"]), "c");
    let withdrawn = referee.last_gap();
    println!("nobody led for {given_up:?} after giving up, {withdrawn:?} after withdrawing");
    assert!(
        given_up.max(withdrawn) < SESSION / 2,
        "sessions are closed, not left to expire"
    );
    c.withdraw();
    assert_eq!(referee.await_leader_other_than(&["c"]), "a");
    a.withdraw();
    eventually("nobody stands", || {
        observer.standing().borrow().is_empty().then_some(())
    });
    referee.check();
}

#[test]
fn a_leader_whose_link_freezes_is_followed_and_comes_back_as_the_last() {
    let zookeeper = Ensemble::start(1);
    let link = Proxy::start(zookeeper.client_port(0));
    let url = zookeeper.url("", "/proffer");
    let referee = Referee::new();
    let a = referee.stand("a", &format!("zk://{}/proffer", link.address()));
    referee.await_leader_other_than(&[]);
    let b = referee.stand("b", &url);
    eventually("b stands", || (b.ids() == ["a", "b"]).then_some(()));
    link.cut();
    let frozen = Instant::now();
    assert_eq!(referee.await_leader_other_than(&["a"]), "b");
    let takeover = frozen.elapsed();
    println!(
        "frozen link: another led after {takeover:?}, nobody for {:?}",
        referee.last_gap()
    );
    assert!(takeover < SESSION + SLACK, "{takeover:?}");
    assert!(
        referee.last_gap() > SESSION / 4,
        "a third of the session is the margin"
    );
    a.await_trouble("store");
    // Then the link resets everything for as long, which is where a client would storm.
    link.heal();
    link.hang_up();
    let before = link.connections();
    let reset = Instant::now();
    a.await_trouble("no session");
    while reset.elapsed() < 2 * SESSION {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let connections = link.connections() - before;
    println!(
        "{connections} connections in {:?} of resets",
        reset.elapsed()
    );
    // Without pauses there are thousands.
    assert!(connections < 100, "{connections} connections");
    // On a busy machine it may have stepped back for a moment.
    assert_eq!(referee.await_leader_other_than(&["a"]), "b");
    link.heal();
    eventually("a stands again", || (b.ids() == ["b", "a"]).then_some(()));
    drop(b);
    assert_eq!(referee.await_leader_other_than(&["b"]), "a");
    referee.check();
}

#[test]
fn a_connection_that_breaks_again_and_again_costs_no_leadership_and_makes_no_storm() {
    let zookeeper = Ensemble::start(1);
    let link = Proxy::start(zookeeper.client_port(0));
    let referee = Referee::new();
    let url = format!("zk://u:p@{}/proffer", link.address());
    let a = referee.stand("a", &url);
    referee.await_leader_other_than(&[]);
    // Short breaks: the session, and with it leadership, outlives them, though credentials must be given each time.
    for _ in 0..10 {
        let before = link.connections();
        link.reset();
        eventually("connected again", || {
            (link.connections() > before).then_some(())
        });
        std::thread::park_timeout(Duration::from_millis(500));
    }
    assert_eq!(referee.leader().as_deref(), Some("a"));
    assert_eq!(referee.terms(), 1, "one term through all breaks");
    // A server that hangs up on everybody while the session lives.
    let before = link.connections();
    link.hang_up();
    std::thread::park_timeout(Duration::from_millis(1_500));
    link.heal();
    let connections = link.connections() - before;
    println!("{connections} connections in 1.5 s of being hung up on");
    // Without pauses there are thousands.
    assert!(connections < 100, "{connections} connections");
    eventually("all is well", || {
        let is_well = a.trouble.borrow().is_none() && referee.leader().is_some();
        is_well.then_some(())
    });
    println!("{} terms", referee.terms());
    referee.check();
}

#[test]
fn a_server_that_stands_still_or_dies_costs_a_term_at_most() {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    let mut zookeeper = Ensemble::start(1);
    let url = zookeeper.url("", "/proffer");
    let referee = Referee::new();
    let standing = [referee.stand("a", &url), referee.stand("b", &url)];
    referee.await_leader_other_than(&[]);
    // Shorter than the lease: nothing happens.
    zookeeper.signal(0, SIGSTOP);
    std::thread::park_timeout(Duration::from_millis(800));
    zookeeper.signal(0, SIGCONT);
    std::thread::park_timeout(Duration::from_secs(1));
    assert_eq!(referee.terms(), 1);
    // Longer: nobody leads while nobody can know.
    zookeeper.signal(0, SIGSTOP);
    referee.await_none();
    standing[0].await_trouble("does not answer");
    zookeeper.signal(0, SIGCONT);
    referee.await_leader_other_than(&[]);
    zookeeper.kill(0);
    referee.await_none();
    standing[1].await_trouble("cannot connect");
    zookeeper.launch(0);
    let launched = Instant::now();
    referee.await_leader_other_than(&[]);
    println!(
        "leader {:?} after the server was started again",
        launched.elapsed()
    );
    referee.check();
}
