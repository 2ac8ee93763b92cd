//! Answers to those by which nobody has called who may, from when they are given until they are taken.
//!
//! Over HTTP/2 a peer says how much it takes, and may ask for many things and take nothing of any. So what is not taken in time
//! ends its connection, and of too many bytes of all together the connection ends that has the most of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::strangers::ConnectionId;
use crate::limits;

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Unread {
    last: u64,
    len: u64,
    /// By numbers that grow: the first waits longest.
    answers: BTreeMap<u64, Answer>,
    connections: BTreeMap<ConnectionId, OfConnection>,
    /// The last has the most bytes, and of such the answer that waits longest.
    ranks: BTreeSet<Rank>,
}

type Rank = (u64, Reverse<u64>, ConnectionId);

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

    /// Which connection has the most of them.
    pub(super) fn most(&self) -> Option<ConnectionId> {
        self.ranks.last().map(|(.., connection)| *connection)
    }

    /// Those that have an answer which was not taken for so long.
    pub(super) fn late(&self, now: Instant, unread_max: Duration) -> Vec<ConnectionId> {
        let is_late = |answer: &&Answer| now.saturating_duration_since(answer.since) >= unread_max;
        let late = self.answers.values().take_while(is_late);
        late.map(|answer| answer.connection).collect()
    }

    fn change(&mut self, connection: ConnectionId, change: impl FnOnce(&mut OfConnection)) {
        let mut own = self.connections.remove(&connection).unwrap_or_default();
        if let Some(rank) = own.rank(connection) {
            self.ranks.remove(&rank);
        }
        change(&mut own);
        if let Some(rank) = own.rank(connection) {
            self.ranks.insert(rank);
            self.connections.insert(connection, own);
        }
    }
}
