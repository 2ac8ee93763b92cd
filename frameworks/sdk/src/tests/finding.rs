//! Which master a session is with: the leader among many, and its successor as soon as there is one.

use std::net::SocketAddr;
use std::time::Duration;

use proffer_model::session::{Call, Event};
use proffer_model::{Epoch, FrameworkId, Problem, code};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{connect, next, options, updated};
use crate::testing::{FakeMaster, FakeSession, within};
use crate::{Events, Framework};

/// An address at which nobody listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("bound")
}

async fn next_epoch(events: &mut Events) -> Epoch {
    match next(events).await {
        Event::Subscribed { epoch, .. } => epoch,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_leader_is_found_among_masters_that_are_dead_stand_by_or_talk_nonsense() {
    let standby = FakeMaster::start_standing_by().await;
    let not_leading = Problem::new(code::MASTER_NOT_LEADING, "standing by");
    let mistaken = FakeMaster::start_refusing(not_leading).await;
    let garbage = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let garbage_address = garbage.local_addr().expect("bound");
    let talking = tokio::spawn(async move {
        while let Ok((mut peer, _)) = garbage.accept().await {
            // The framework may have gone before everything is said.
            let _ = peer.write_all(&[0xff; 1_000]).await;
        }
    });
    let mut leader = FakeMaster::start().await;
    leader.leads(2);
    let masters = [
        closed().await,
        mistaken.address,
        standby.address,
        garbage_address,
        leader.address,
    ];
    let (handle, _events) = connect(&masters);
    let _session = leader.subscribed(2, 1).await;
    let active = within(handle.subscribed()).await.expect("a session");
    assert_eq!(active.master, leader.address.to_string());
    talking.abort();
}

#[tokio::test]
async fn ten_changes_of_the_leader_are_ten_new_sessions_and_nothing_is_lost() {
    let mut masters = [
        FakeMaster::start_standing_by().await,
        FakeMaster::start_standing_by().await,
        FakeMaster::start_standing_by().await,
    ];
    let (handle, mut events) = connect(&masters.each_ref().map(|master| master.address));
    let mut before: Option<FakeSession> = None;
    for epoch in 1..=10 {
        for master in &masters {
            master.stands_by();
        }
        let master = &mut masters[usize::try_from(epoch % 3).expect("small")];
        master.leads(epoch);
        // The one before has not ended its session: the framework leaves it by itself.
        let mut session = master.subscribed(epoch, epoch).await;
        if let Some(before) = before.take() {
            assert!(matches!(next(&mut events).await, Event::Closed(_)));
            before.gone().await;
            assert_eq!(session.framework, FrameworkId::new("f").ok());
        }
        assert_eq!(next_epoch(&mut events).await, Epoch(epoch));
        let sent = session.send(updated(&format!("t{epoch}"))).await;
        let received = within(events.next()).await.expect("a status");
        assert_eq!(received.event, updated(&format!("t{epoch}")));
        handle.acknowledge(received.sequence);
        let (_, call) = session.call().await;
        assert_eq!(call, Call::Acknowledge { sequence: sent });
        before = Some(session);
    }
}

#[tokio::test]
async fn a_frozen_leader_is_left_for_its_successor_before_its_silence_is_noticed() {
    let mut old = FakeMaster::start().await;
    let mut new = FakeMaster::start_standing_by().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let frozen = watch::Sender::new(false);
    let proxy = proxy(listener, old.address, frozen.subscribe());
    let _proxy = AbortOnDropHandle::new(tokio::spawn(proxy));
    let (handle, mut events) = connect(&[address, new.address]);
    let _session = old.subscribed(1, 1).await;
    assert_eq!(next_epoch(&mut events).await, Epoch(1));

    frozen.send_replace(true);
    new.leads(2);
    let begun = Instant::now();
    let _session = new.subscribed(2, 2).await;
    assert!(matches!(next(&mut events).await, Event::Closed(_)));
    assert_eq!(next_epoch(&mut events).await, Epoch(2));
    // Heartbeats are missed after 50 seconds, and lost probes after four at the earliest.
    assert!(begun.elapsed() < Duration::from_secs(4), "{begun:?}");
    // What the old one says when it wakes up reaches nobody.
    frozen.send_replace(false);
    let active = within(handle.subscribed()).await.expect("a session");
    assert_eq!(active.epoch, Epoch(2));
}

/// Passes everything on, unless it is frozen: then nothing moves, and nobody is told.
async fn proxy(listener: TcpListener, target: SocketAddr, frozen: watch::Receiver<bool>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(target).await.expect("it listens");
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        for (mut from, mut to) in [(from_client, to_server), (from_server, to_client)] {
            let mut frozen = frozen.clone();
            tokio::spawn(async move {
                let mut part = [0; 16 * 1024];
                while let Ok(len @ 1..) = from.read(&mut part).await {
                    let _ = frozen.wait_for(|frozen| !frozen).await;
                    if to.write_all(&part[..len]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

#[tokio::test]
async fn of_two_that_say_they_lead_the_later_gets_the_session() {
    let (old, mut new) = (FakeMaster::start().await, FakeMaster::start().await);
    new.leads(2);
    let (_handle, mut events) = connect(&[old.address, new.address]);
    // The old one may have been heard first; then it is left.
    let _session = new.subscribed(2, 1).await;
    while next_epoch_or_end(&mut events).await != Some(Epoch(2)) {}
}

async fn next_epoch_or_end(events: &mut Events) -> Option<Epoch> {
    match next(events).await {
        Event::Subscribed { epoch, .. } => Some(epoch),
        _ => None,
    }
}

#[tokio::test]
async fn calls_fail_at_once_while_nobody_leads_and_the_list_may_be_one_text() {
    let standby = FakeMaster::start_standing_by().await;
    let mut options = options(&[]);
    options.masters = vec![format!("{},{}", closed().await, standby.address)];
    let (handle, _events) = Framework::connect(options).expect("good options");
    let problem = within(handle.teardown()).await.expect_err("no leader");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
    let problem = handle.connection().expect_err("no leader");
    assert!(problem.is(code::PEER_UNREACHABLE), "{problem}");
}
