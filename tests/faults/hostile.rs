//! ZooKeepers that are wrong, slow, closed or full of other people's nodes, and what is said about them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use proffer_leader::{Access, Lifetime, Observer, SessionError};
use proffer_master::store::{Store, StoreError};
use proffer_model::{Problem, code};

use super::referee::{Referee, SESSION};
use super::stores::{fill, numbers, open, session, try_open};
use crate::harness::eventually;
use crate::zookeeper::Ensemble;

#[test]
fn hosts_that_never_answer_hold_nobody_up_and_each_is_named_with_its_fault() {
    let zookeeper = Ensemble::start(1);
    let (silent, _held) = silent_host();
    // Takes connections, and never says a word.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = mute.local_addr().expect("an address");
    let bad = format!("{silent},{mute},127.0.0.1:1,no-such-host.invalid:2181");
    let referee = Referee::new();
    let begun = Instant::now();
    let _a = referee.stand("a", &format!("zk://{bad},{}/proffer", zookeeper.hosts()));
    referee.await_leader_other_than(&[]);
    println!(
        "led {:?} after standing with one good host of five",
        begun.elapsed()
    );
    assert!(begun.elapsed() < SESSION, "the others were waited for");
    let lost = referee.stand("b", &format!("zk://{bad}/proffer"));
    let problem = lost.await_trouble("no-such-host.invalid:2181: its name is not known");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    for fault in [
        format!("{silent}: it does not answer"),
        format!("{mute}: it does not answer"),
        "127.0.0.1:1: cannot connect".into(),
    ] {
        assert!(problem.message.contains(&fault), "{problem}");
    }
    assert!(problem.hint.contains("quorum"), "{problem}");
    referee.check();
}

/// Where even a connection is never answered: those that wait to be accepted fill the queue.
fn silent_host() -> (
    SocketAddr,
    (
        tokio::runtime::Runtime,
        tokio::net::TcpListener,
        Vec<TcpStream>,
    ),
) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        socket.listen(1).expect("it listens")
    });
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the queue is never full");
    }
    (address, (runtime, listener, waiting))
}

#[test]
fn a_wrong_password_reads_who_leads_and_writes_nothing() {
    let zookeeper = Ensemble::start(1);
    let (right, wrong) = (
        zookeeper.url("u:right%40@", "/proffer"),
        zookeeper.url("u:wrong@", "/proffer"),
    );
    let referee = Referee::new();
    let a = referee.stand("a", &right);
    referee.await_leader_other_than(&[]);
    fill(&mut open(&right), 2);
    let b = referee.stand("b", &wrong);
    let problem = b.await_trouble("denies access");
    assert!(problem.hint.contains("user and the password"), "{problem}");
    assert!(!problem.to_string().contains("wrong"), "{problem}");
    for who in ["u:wrong@", "", "another:right%40@"] {
        let url = zookeeper.url(who, "/proffer");
        let problem = Problem::from(try_open(&url).expect_err("refused"));
        assert!(problem.is(code::STORE_FAILED), "{problem}");
        assert!(problem.message.contains("denies access"), "{problem}");
        let session = session(&url);
        let store = session.list("/proffer.store/log").wait();
        assert!(
            matches!(store, Err(SessionError::Denied { .. })),
            "{store:?}"
        );
        let names = session
            .list("/proffer")
            .wait()
            .expect("all may read who stands");
        let node = format!("/proffer/{}", names.expect("there")[0]);
        let written = session.write(&node, b"{}".to_vec(), None).wait();
        assert!(
            matches!(written, Err(SessionError::Denied { .. })),
            "{written:?}"
        );
        let made = session.create(
            "/proffer/json.info_",
            Vec::new(),
            Access::Readable,
            Lifetime::SessionNumbered,
        );
        let made = made.wait();
        assert!(matches!(made, Err(SessionError::Denied { .. })), "{made:?}");
    }
    let observer = Observer::start(wrong.parse().expect("an address")).expect("it looks");
    eventually("a is seen", || {
        (observer.standing().borrow().first()?.id == "a").then_some(())
    });
    assert_eq!(
        (referee.leader().as_deref(), referee.terms()),
        (Some("a"), 1)
    );
    assert_eq!(a.ids(), ["a"]);
    referee.check();
}

#[test]
fn other_peoples_nodes_are_left_alone_and_do_not_count() {
    let zookeeper = Ensemble::start(1);
    let url = zookeeper.url("", "/proffer");
    let others = session(&url);
    let make = |name: &str, text: &str, lifetime| {
        let path = format!("/proffer{name}");
        let made = others.create(path, text.as_bytes().to_vec(), Access::Readable, lifetime);
        made.wait().expect("create")
    };
    make("", "", Lifetime::Lasting);
    let mesos = r#"{"id":"m","ip":16777343,"port":5050,"pid":"master@127.0.0.1:5050","hostname":"h","version":"1.11.0"}"#;
    let mut made = Vec::new();
    for index in 0..300 {
        made.push(make(
            &format!("/log_replica_{index}"),
            "",
            Lifetime::Lasting,
        ));
        made.push(make("/json.info_", mesos, Lifetime::SessionNumbered));
        made.push(make(
            &format!("/json.info_9{index:09}"),
            "garbage",
            Lifetime::Lasting,
        ));
    }
    let unreadable = make("/json.info_", "garbage", Lifetime::SessionNumbered);
    let referee = Referee::new();
    let begun = Instant::now();
    let a = referee.stand("a", &url);
    referee.await_leader_other_than(&[]);
    println!("led among 901 foreign nodes after {:?}", begun.elapsed());
    assert!(
        begun.elapsed() > 2 * SESSION,
        "what may be a leader's is waited for"
    );
    assert_eq!(a.ids(), ["a"]);
    let mut store = open(&url);
    fill(&mut store, 2);
    made.push(unreadable);
    let nodes = others.read(made).wait().expect("read");
    assert!(
        nodes
            .iter()
            .all(|node| node.as_ref().is_some_and(|node| node.version == 0)),
        "touched"
    );
    referee.check();
}

#[test]
fn a_leaders_node_that_is_written_over_is_mended_and_one_that_is_removed_ends_the_term() {
    let zookeeper = Ensemble::start(1);
    let url = zookeeper.url("", "/proffer");
    let referee = Referee::new();
    let a = referee.stand("a", &url);
    referee.await_leader_other_than(&[]);
    let others = session(&url);
    let names = others
        .list("/proffer")
        .wait()
        .expect("list")
        .expect("there");
    let node = format!("/proffer/{}", names[0]);
    others
        .write(&node, b"garbage".to_vec(), None)
        .wait()
        .expect("all may write");
    eventually("it is mended", || {
        let nodes = others.read(vec![node.clone()]).wait().expect("read");
        let text = String::from_utf8(nodes[0].as_ref()?.bytes.clone()).ok()?;
        text.contains("\"proffer\"").then_some(())
    });
    assert_eq!(referee.terms(), 1);
    others.delete(vec![node]).wait().expect("delete");
    referee.await_none();
    a.await_trouble("removed");
    referee.await_leader_other_than(&[]);
    referee.check();
}

#[test]
fn sessions_too_short_are_refused_by_both_sides() {
    let zookeeper = Ensemble::start_with("maxSessionTimeout=3000");
    let referee = Referee::new();
    let a = referee.stand("a", &zookeeper.url("", "/proffer"));
    let problem = a.await_trouble("at most 3000 ms");
    assert!(problem.message.contains("maxSessionTimeout"), "{problem}");
    assert_eq!(referee.leader(), None);
    drop(referee);
}

#[test]
fn servers_that_take_no_large_nodes_are_found_out_before_anything_is_promised() {
    let zookeeper = Ensemble::start_with_property("-Djute.maxbuffer=100000");
    let url = zookeeper.url("", "/proffer");
    let error = try_open(&url).expect_err("an entry can be larger");
    assert!(error.is_lasting(), "{error:?}");
    let problem = Problem::from(error);
    assert!(problem.is(code::STORE_FAILED), "{problem}");
    let named = "hangs up whenever /proffer.store/largest is written";
    assert!(problem.message.contains(named), "{problem}");
    assert!(problem.hint.contains("jute.maxbuffer"), "{problem}");
}

#[test]
fn calls_that_wait_when_a_session_ends_are_told_why() {
    let mut zookeeper = Ensemble::start(1);
    let session = session(&zookeeper.url("", "/proffer"));
    zookeeper.kill(0);
    // The first is tried until the session's timeout; the others have not been begun then.
    let calls = [(); 3].map(|()| session.list("/proffer"));
    for call in calls {
        let error = call.wait().expect_err("nobody answers");
        let why = error.to_string();
        assert!(why.contains("did not answer within"), "{why}");
    }
}

#[test]
fn damage_in_the_store_is_refused_by_name_with_what_to_do() {
    let zookeeper = Ensemble::start(1);
    type Damage = fn(&[u8]) -> Option<Vec<u8>>;
    let cut: Damage = |bytes| bytes.get(..bytes.len() - 1).map(<[u8]>::to_vec);
    let flip: Damage = |bytes| {
        let mut flipped = bytes.to_vec();
        *flipped.last_mut()? ^= 1;
        Some(flipped)
    };
    let later: Damage = |bytes| {
        let mut later = bytes.to_vec();
        later[7] = 2;
        Some(later)
    };
    let cases: [(&str, Damage, &str); 9] = [
        ("log/00000000000000000004", cut, "cut short"),
        ("log/00000000000000000004", flip, "checksum"),
        ("log/00000000000000000004", later, "format 2"),
        ("log/00000000000000000003", |_| None, "missing"),
        ("snapshot/00000000000000000002", flip, "checksum"),
        ("snapshot/00000000000000000002.0", |_| None, "missing"),
        ("cluster", |_| None, "missing"),
        ("epoch", flip, "checksum"),
        ("", |_| Some(b"somebody else's".to_vec()), "somebody else's"),
    ];
    for (index, (name, damage, why)) in cases.into_iter().enumerate() {
        let url = zookeeper.url("u:p@", &format!("/damage/{index}"));
        let mut store = open(&url);
        store.raise_epoch().expect("raise");
        fill(&mut store, 5);
        store.write_snapshot(2, b"state").expect("snapshot");
        assert_eq!(numbers(&store.read().expect("read")), [3, 4, 5]);
        drop(store);
        let path = format!("/damage/{index}.store/{name}");
        let path = path.trim_end_matches('/').to_owned();
        let hand = session(&url);
        let nodes = hand.read(vec![path.clone()]).wait().expect("read");
        let bytes = nodes[0].as_ref().expect(name).bytes.clone();
        match damage(&bytes) {
            Some(damaged) => drop(hand.write(&path, damaged, None).wait().expect("write")),
            None => hand.delete(vec![path.clone()]).wait().expect("delete"),
        }
        let read = try_open(&url).and_then(|mut store| store.read());
        let error = read.expect_err(name);
        let is_expected = matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. });
        assert!(is_expected, "{name}: {error:?}");
        let problem = Problem::from(error);
        assert!(problem.message.contains(&path), "{problem}");
        assert!(problem.message.contains(why), "{problem}");
        assert!(!problem.hint.is_empty(), "{problem}");
    }
}
