//! Connections by which nobody has called who may: which peers they are of, and which of them ends first.
//!
//! Of too many, one of the peer that has the most of them ends, whatever they do, and none for a newcomer whose peer has more
//! than its own and more than a few. So who opens many ends its own, not the few that others keep. Where a peer has many and a
//! newcomer's has less than half of that, one ends even if it is young or somebody calls by it: calling now and then keeps nobody
//! in the place of all others.
//!
//! Within a peer the newest ends of those that have been silent for long enough: what was there before somebody opened many stays.
//! For honest ones that share a peer with such a one, as all on one host do, that means: what they had goes on, as the connection
//! by which a load balancer looks now and then, and what they open meanwhile must call within [`limits::GIVES_WAY_AFTER`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;

/// How a connection is told that it is to end.
#[derive(Debug, Default)]
pub(super) struct Told {
    notify: Notify,
    /// Even if something is answered by it.
    is_at_once: AtomicBool,
}

impl Told {
    /// It is to end unless somebody calls by it.
    pub(super) fn give_way(&self) {
        self.notify.notify_one();
    }

    /// It is to end at once.
    fn end(&self) {
        self.is_at_once.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until it is to end; whether that is at once.
    pub(super) async fn wait(&self) -> bool {
        self.notify.notified().await;
        self.is_at_once.load(Ordering::Acquire)
    }
}

/// Who has connections: an address, or a network where everyone has as many addresses as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Peer(IpAddr);

impl Peer {
    /// Whose address this is.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64 << 64;
                Self(Ipv6Addr::from_bits(network).into())
            }
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

/// One connection, by a number that grows as they are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId {
    pub(super) number: u64,
    pub(super) peer: Peer,
}

/// Those of one listener. One that was told to end is none of them any more.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    peers: BTreeMap<Peer, OfPeer>,
    /// How many each has: the last has the most.
    sizes: BTreeSet<(usize, Peer)>,
    /// Of those that have silent ones which may end: the last ends its newest first.
    ranks: BTreeSet<Rank>,
    /// Silent ones, not yet for so long that they may end, by numbers that grow as they fall silent.
    young: BTreeMap<u64, Young>,
    open_len: usize,
    silent_len: usize,
}

/// How many a peer has, and the newest of its silent ones that may end.
type Rank = (usize, u64, Peer);

#[derive(Debug)]
struct Young {
    since: Instant,
    connection: ConnectionId,
}

#[derive(Debug, Default)]
struct OfPeer {
    /// Silent or not: the last is the newest.
    open: BTreeMap<u64, Open>,
    /// Of those the silent ones that may end.
    ripe: BTreeSet<u64>,
}

#[derive(Debug)]
struct Open {
    told: Arc<Told>,
    /// Its number among the young.
    young: Option<u64>,
}

impl OfPeer {
    fn rank(&self, peer: Peer) -> Option<Rank> {
        let newest = self.ripe.last()?;
        Some((self.open.len(), *newest, peer))
    }
}

impl Strangers {
    /// One is open.
    pub(super) fn open(&mut self, connection: ConnectionId, told: Arc<Told>) {
        let open = Open { told, young: None };
        self.open_len += 1;
        self.change(connection.peer, |own| {
            own.open.insert(connection.number, open)
        });
    }

    /// It is closed, or a stranger's no more.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.remove(connection);
    }

    /// It is silent from now on; `number` is larger than those before.
    pub(super) fn enter(&mut self, connection: ConnectionId, number: u64, since: Instant) {
        let Some(open) = self.open_mut(connection) else {
            return;
        };
        open.young = Some(number);
        self.silent_len += 1;
        self.young.insert(number, Young { since, connection });
    }

    /// It is not silent any more, if it was.
    pub(super) fn leave(&mut self, connection: ConnectionId) {
        let young = self.open_mut(connection).and_then(|open| open.young.take());
        let was_silent = match young {
            Some(number) => self.young.remove(&number).is_some(),
            None if !self.is_ripe(connection) => false,
            None => self.change(connection.peer, |own| own.ripe.remove(&connection.number)),
        };
        self.silent_len -= usize::from(was_silent);
    }

    /// How many are open, silent or not.
    pub(super) fn open_len(&self) -> usize {
        self.open_len
    }

    /// How many of a peer are.
    pub(super) fn open_len_of(&self, peer: Peer) -> usize {
        self.peers.get(&peer).map_or(0, |own| own.open.len())
    }

    /// How many are silent.
    pub(super) fn silent_len(&self) -> usize {
        self.silent_len
    }

    /// Ends one that has been silent for so long, for a newcomer of this peer; false when there is none that may end for it.
    /// Any may for one of a peer that has a few, or that is not known.
    pub(super) fn give_way(
        &mut self,
        now: Instant,
        after: Duration,
        newcomer: Option<Peer>,
    ) -> bool {
        self.ripen(now, after);
        let own = newcomer.map_or(0, |peer| self.open_len_of(peer));
        let at_least = match own > limits::PEER_FEW_LEN {
            true => own,
            false => 0,
        };
        let first = self.ranks.last().copied();
        let Some((_, number, peer)) = first.filter(|(open_len, ..)| *open_len >= at_least) else {
            return false;
        };
        let ended = self.remove(ConnectionId { number, peer });
        ended.inspect(|open| open.told.give_way()).is_some()
    }

    /// Ends the newest of the peer that has the most, whatever it does, if these are more than a few and the newcomer's peer has
    /// less than half as many.
    pub(super) fn give_way_of_most(&mut self, newcomer: Option<Peer>) -> bool {
        let own = newcomer.map_or(0, |peer| self.open_len_of(peer));
        let Some((open_len, peer)) = self.sizes.last().copied() else {
            return false;
        };
        if open_len <= limits::PEER_FEW_LEN || own >= open_len.div_ceil(2) {
            return false;
        }
        let newest = self.peers.get(&peer).and_then(|own| own.open.keys().last());
        let newest = newest.map(|number| ConnectionId {
            number: *number,
            peer,
        });
        newest.is_some_and(|newest| self.end(newest))
    }

    /// Ends one, whatever it does; false when it is none any more.
    pub(super) fn end(&mut self, connection: ConnectionId) -> bool {
        let ended = self.remove(connection);
        ended.inspect(|open| open.told.end()).is_some()
    }

    /// All that have been silent for so long may end.
    fn ripen(&mut self, now: Instant, after: Duration) {
        while let Some(first) = self.young.first_entry() {
            if now.saturating_duration_since(first.get().since) < after {
                return;
            }
            let connection = first.remove().connection;
            self.change(connection.peer, |own| {
                if let Some(open) = own.open.get_mut(&connection.number) {
                    open.young = None;
                    own.ripe.insert(connection.number);
                }
            });
        }
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<Open> {
        self.leave(connection);
        let open = self.change(connection.peer, |own| own.open.remove(&connection.number))?;
        self.open_len -= 1;
        Some(open)
    }

    fn is_ripe(&self, connection: ConnectionId) -> bool {
        let own = self.peers.get(&connection.peer);
        own.is_some_and(|own| own.ripe.contains(&connection.number))
    }

    /// To change nothing that ranks depend on.
    fn open_mut(&mut self, connection: ConnectionId) -> Option<&mut Open> {
        let own = self.peers.get_mut(&connection.peer)?;
        own.open.get_mut(&connection.number)
    }

    fn change<T>(&mut self, peer: Peer, change: impl FnOnce(&mut OfPeer) -> T) -> T {
        let mut own = self.peers.remove(&peer).unwrap_or_default();
        self.sizes.remove(&(own.open.len(), peer));
        if let Some(rank) = own.rank(peer) {
            self.ranks.remove(&rank);
        }
        let changed = change(&mut own);
        if !own.open.is_empty() {
            self.sizes.insert((own.open.len(), peer));
            self.ranks.extend(own.rank(peer));
            self.peers.insert(peer, own);
        }
        changed
    }

    #[cfg(test)]
    pub(super) fn pass(&mut self, time: Duration) {
        for young in self.young.values_mut() {
            young.since = young.since.checked_sub(time).expect("a time");
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let tables = self.peers.is_empty() && self.sizes.is_empty() && self.ranks.is_empty();
        tables && self.young.is_empty() && self.open_len == 0 && self.silent_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let peer = |address: &str| Peer::of(address.parse().expect("an address"));
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:0:0:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }
}
