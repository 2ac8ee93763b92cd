//! The store in ZooKeeper while connections, sessions and servers fail under the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proffer_master::store::zookeeper::ZooKeeperStore;
use proffer_master::store::{Store, StoreError};
use proffer_model::{Epoch, Problem, code};

use super::referee::{Referee, SESSION, contender};
use super::stores::{fill, numbers, open, session};
use crate::harness::eventually;
use crate::proxy::Proxy;
use crate::zookeeper::Ensemble;

#[test]
fn an_answer_that_is_lost_is_read_back_and_every_entry_is_there_once() {
    let zookeeper = Ensemble::start(1);
    let direct = zookeeper.url("u:p@", "/proffer");
    let link = Arc::new(Proxy::start(zookeeper.client_port(0)));
    let through = session(&format!("zk://u:p@{}/proffer", link.address()));
    let mut store =
        ZooKeeperStore::open(through, &direct.parse().expect("an address")).expect("open");
    let is_over = Arc::new(AtomicBool::new(false));
    let (theirs, end) = (Arc::clone(&link), Arc::clone(&is_over));
    let breaker = std::thread::spawn(move || {
        let mut breaks = 0;
        while !end.load(Ordering::SeqCst) {
            // What is asked in these moments is done, and the answer never comes.
            theirs.hold_answers();
            std::thread::park_timeout(Duration::from_millis(30));
            theirs.reset();
            theirs.heal();
            breaks += 1;
            std::thread::park_timeout(Duration::from_millis(300));
        }
        breaks
    });
    let begun = Instant::now();
    let mut last = 0;
    while begun.elapsed() < Duration::from_secs(12) {
        last += 1;
        store
            .append(last, format!("entry {last}").as_bytes())
            .unwrap_or_else(|error| panic!("entry {last}: {}", Problem::from(error)));
        if last % 20 == 0 {
            assert_eq!(store.raise_epoch().expect("raise"), Epoch(last / 20));
        }
        if last % 70 == 0 {
            store.write_snapshot(last - 40, b"state").expect("snapshot");
        }
    }
    is_over.store(true, Ordering::SeqCst);
    let breaks = breaker.join().expect("breaks");
    println!("{last} entries through {breaks} breaks");
    assert!(breaks > 10 && last > 70);
    let read = open(&direct).read().expect("read");
    let first = read.snapshot.as_ref().expect("a snapshot").upto + 1;
    assert_eq!(numbers(&read), (first..=last).collect::<Vec<_>>());
    for entry in &read.entries {
        assert_eq!(entry.bytes, format!("entry {}", entry.number).into_bytes());
    }
}

#[test]
fn a_leader_writes_nothing_after_its_session() {
    let zookeeper = Ensemble::start(1);
    let link = Proxy::start(zookeeper.client_port(0));
    let path = "/proffer";
    let direct = zookeeper.url("u:p@", path);
    let url = format!("zk://u:p@{}{path}", link.address());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut old = contender("old", &url);
    let elected = runtime.block_on(old.elected());
    let parsed = url.parse().expect("an address");
    let mut store = ZooKeeperStore::open(elected.session.clone(), &parsed).expect("open");
    assert_eq!(store.raise_epoch().expect("raise"), Epoch(1));
    fill(&mut store, 3);
    let referee = Referee::new();
    let new = referee.stand("new", &direct);
    link.cut();
    let written = store.append(4, b"4");
    let Err(StoreError::ZooKeeper { .. }) = &written else {
        panic!("{written:?}");
    };
    let problem = Problem::from(written.expect_err("checked"));
    assert!(!problem.hint.is_empty(), "{problem}");
    referee.await_leader_other_than(&[]);
    let mut successor = open(&direct);
    assert_eq!(successor.raise_epoch().expect("raise"), Epoch(2));
    let next = successor.last_entry().expect("last") + 1;
    successor.append(next, b"new").expect("append");
    link.heal();
    // The old session is over for good, whatever the link does.
    for number in [4, 5, 6] {
        let again = store.append(number, b"old");
        assert!(
            matches!(again, Err(StoreError::ZooKeeper { .. })),
            "{again:?}"
        );
    }
    assert!(store.raise_epoch().is_err() && store.read().is_err());
    assert!(store.write_snapshot(3, b"old").is_err());
    let read = successor.read().expect("read");
    assert_eq!(numbers(&read), (1..=next).collect::<Vec<_>>());
    drop(elected);
    // And so is that of one who gave leadership up.
    let elected = runtime.block_on(async {
        drop(new);
        old.elected().await
    });
    let mut store = ZooKeeperStore::open(elected.session.clone(), &parsed).expect("open");
    drop(elected);
    eventually("no more writing", || {
        store.append(next + 1, b"late").is_err().then_some(())
    });
    runtime.block_on(old.withdraw());
}

#[test]
fn a_leader_that_was_passed_over_cannot_delete_what_is_newer() {
    let zookeeper = Ensemble::start(1);
    let url = zookeeper.url("", "/proffer");
    let (mut old, mut new) = (open(&url), open(&url));
    old.raise_epoch().expect("raise");
    fill(&mut old, 3);
    let mut begin = |number: u64| new.append(number, b"new").expect("append");
    // As if somebody had removed the old leader's node: its session lives on.
    begin(4);
    begin(5);
    new.write_snapshot(4, b"new").expect("snapshot");
    old.write_snapshot(3, b"old")
        .expect("an older one harms nobody");
    let read = new.read().expect("read");
    assert_eq!(read.snapshot.as_ref().expect("a snapshot").state, b"new");
    assert_eq!(numbers(&read), [5]);
    new.append(6, b"new").expect("append");
    new.write_snapshot(6, b"newer").expect("snapshot");
    let names = session(&url)
        .list("/proffer.store/snapshot")
        .wait()
        .expect("list");
    let mut names = names.expect("there");
    names.sort_unstable();
    assert_eq!(names, ["00000000000000000006", "00000000000000000006.0"]);
}

#[test]
fn writing_goes_on_through_the_loss_of_a_server_of_three_or_the_term_ends() {
    let mut zookeeper = Ensemble::start(3);
    let url = zookeeper.url("u:p@", "/proffer");
    let mut acknowledged: Vec<(u64, String)> = Vec::new();
    let begun = Instant::now();
    let mut terms = 0;
    let mut victims = vec![0, 1, 2];
    while begun.elapsed() < Duration::from_secs(20) {
        terms += 1;
        let mut store = match super::stores::try_open(&url) {
            Ok(store) => store,
            Err(error) => panic!("{}", Problem::from(error)),
        };
        let epoch = store.raise_epoch().expect("raise");
        let mut last = store.last_entry().expect("last");
        let kill_at = last + 40;
        while begun.elapsed() < Duration::from_secs(20) {
            last += 1;
            let text = format!("{last} of {epoch}");
            if let Err(error) = store.append(last, text.as_bytes()) {
                let problem = Problem::from(error);
                assert!(!problem.is(code::STORE_DEPOSED), "{problem}");
                break;
            }
            acknowledged.push((last, text));
            if last == kill_at
                && let Some(victim) = victims.pop()
            {
                zookeeper.kill(victim);
                zookeeper.launch(victim);
            }
        }
        zookeeper.await_serving();
    }
    println!("{} entries in {terms} terms", acknowledged.len());
    // The last term may end like the others, when a server is as silent as a lost one.
    let read = eventually("all is read", || {
        let mut store = super::stores::try_open(&url).ok()?;
        store.raise_epoch().ok()?;
        store.read().ok()
    });
    for (number, text) in &acknowledged {
        let entry = read.entries.iter().find(|entry| entry.number == *number);
        let bytes = entry.map(|entry| entry.bytes.clone());
        assert_eq!(bytes.as_deref(), Some(text.as_bytes()), "entry {number}");
    }
    assert!(begun.elapsed() > SESSION);
}
