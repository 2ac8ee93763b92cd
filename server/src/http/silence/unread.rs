//! Answers to those by which nobody has called who may, from when they are given until they are taken.
//!
//! Over HTTP/2 a peer says how much it takes, and may ask for many things and take nothing of any. So what is not taken in time
//! ends its connection, and of too many bytes of all together one ends of the peer that has the most of them, over however many
//! connections: its own that has the most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::strangers::{ConnectionId, Peer};
use crate::limits;

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Unread {
    last: u64,
    len: u64,
    /// By numbers that grow: the first waits longest.
    answers: BTreeMap<u64, Answer>,
    connections: BTreeMap<ConnectionId, OfConnection>,
    peers: BTreeMap<Peer, OfPeer>,
    /// The last has the most bytes.
    sizes: BTreeSet<(u64, Peer)>,
}

type Rank = (u64, Reverse<u64>, ConnectionId);

#[derive(Debug, Default)]
struct OfPeer {
    len: u64,
    /// The last has the most bytes, and of such the answer that waits longest.
    ranks: BTreeSet<Rank>,
}

#[derive(Debug)]
struct Answer {
    connection: ConnectionId,
    len: u64,
    since: Instant,
}

#[derive(Debug, Default)]
struct OfConnection {
    len: u64,
    numbers: BTreeSet<u64>,
}

impl OfConnection {
    fn rank(&self, connection: ConnectionId) -> Option<Rank> {
        let first = self.numbers.first()?;
        Some((self.len, Reverse(*first), connection))
    }
}

impl Unread {
    /// An answer of so many bytes is given; its number.
    pub(super) fn add(&mut self, connection: ConnectionId, len: u64, now: Instant) -> u64 {
        self.last += 1;
        let (number, len) = (self.last, len.saturating_add(limits::UNREAD_OVERHEAD_LEN));
        self.len = self.len.saturating_add(len);
        let answer = Answer {
            connection,
            len,
            since: now,
        };
        self.answers.insert(number, answer);
        self.change(connection, |own| {
            own.len = own.len.saturating_add(len);
            own.numbers.insert(number);
        });
        number
    }

    /// It is taken or gone.
    pub(super) fn remove(&mut self, number: u64) {
        let Some(answer) = self.answers.remove(&number) else {
            return;
        };
        self.len = self.len.saturating_sub(answer.len);
        self.change(answer.connection, |own| {
            own.len = own.len.saturating_sub(answer.len);
            own.numbers.remove(&number);
        });
    }

    /// Somebody calls by this connection who may.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        let own = self.connections.get(&connection);
        let numbers = own.map(|own| own.numbers.clone()).unwrap_or_default();
        for number in numbers {
            self.remove(number);
        }
    }

    /// Bytes of all.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Which connection has the most of them, of the peer that has the most.
    pub(super) fn most(&self) -> Option<ConnectionId> {
        let (_, peer) = self.sizes.last()?;
        let (.., connection) = self.peers.get(peer)?.ranks.last()?;
        Some(*connection)
    }

    /// Those that have an answer which was not taken for so long.
    pub(super) fn late(&self, now: Instant, unread_max: Duration) -> Vec<ConnectionId> {
        let is_late = |answer: &&Answer| now.saturating_duration_since(answer.since) >= unread_max;
        let late = self.answers.values().take_while(is_late);
        late.map(|answer| answer.connection).collect()
    }

    fn change(&mut self, connection: ConnectionId, change: impl FnOnce(&mut OfConnection)) {
        let mut own = self.connections.remove(&connection).unwrap_or_default();
        let mut of_peer = self.peers.remove(&connection.peer).unwrap_or_default();
        self.sizes.remove(&(of_peer.len, connection.peer));
        if let Some(rank) = own.rank(connection) {
            of_peer.ranks.remove(&rank);
        }
        of_peer.len = of_peer.len.saturating_sub(own.len);
        change(&mut own);
        of_peer.len = of_peer.len.saturating_add(own.len);
        if let Some(rank) = own.rank(connection) {
            of_peer.ranks.insert(rank);
            self.connections.insert(connection, own);
        }
        if !of_peer.ranks.is_empty() {
            self.sizes.insert((of_peer.len, connection.peer));
            self.peers.insert(connection.peer, of_peer);
        }
    }
}
