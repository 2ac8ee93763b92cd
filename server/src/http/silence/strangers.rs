//! Connections by which nobody has called who may: which peers they are of, and which of them ends first.
//!
//! Of too many, one of the peer that has the most of them ends, whatever they do, and none for a newcomer whose peer has more
//! than its own. So who opens many ends its own, not the few that others keep.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;

/// A silent connection.
#[derive(Debug)]
pub(super) struct Waiting {
    /// When it was heard last.
    pub(super) since: Instant,
    /// Told when it is to end.
    pub(super) gives_way: Arc<Notify>,
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

/// Those of one listener.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    peers: BTreeMap<Peer, OfPeer>,
    /// The last is first to end: it has the most, and of those the one that has been silent longest.
    ranks: BTreeSet<Rank>,
    open_len: usize,
    silent_len: usize,
}

type Rank = (usize, Reverse<u64>, Peer);

#[derive(Debug, Default)]
struct OfPeer {
    /// Silent or not.
    open_len: usize,
    /// By numbers that grow: the first has been silent longest.
    silent: BTreeMap<u64, Waiting>,
}

impl OfPeer {
    fn rank(&self, peer: Peer) -> Rank {
        let first = self.silent.keys().next().copied();
        (self.open_len, Reverse(first.unwrap_or(u64::MAX)), peer)
    }
}

impl Strangers {
    /// One is open.
    pub(super) fn open(&mut self, peer: Peer) {
        self.open_len += 1;
        self.change(peer, |of_peer| of_peer.open_len += 1);
    }

    /// One of the open ones, not silent, is closed, or is a stranger's no more.
    pub(super) fn close(&mut self, peer: Peer) {
        self.open_len -= 1;
        self.change(peer, |of_peer| of_peer.open_len -= 1);
    }

    /// One of the open ones is silent from now on.
    pub(super) fn enter(&mut self, peer: Peer, number: u64, waiting: Waiting) {
        self.silent_len += 1;
        self.change(peer, |of_peer| of_peer.silent.insert(number, waiting));
    }

    /// It is not, if it was.
    pub(super) fn leave(&mut self, peer: Peer, number: u64) -> Option<Waiting> {
        let waiting = self.change(peer, |of_peer| of_peer.silent.remove(&number))?;
        self.silent_len -= 1;
        Some(waiting)
    }

    /// How many are open, silent or not.
    pub(super) fn open_len(&self) -> usize {
        self.open_len
    }

    /// How many are silent.
    pub(super) fn silent_len(&self) -> usize {
        self.silent_len
    }

    /// Ends one that has been silent for so long, for a newcomer of this peer; false when there is none that may end for it.
    /// A newcomer whose peer is not known comes after all others.
    pub(super) fn give_way(
        &mut self,
        now: Instant,
        after: Duration,
        newcomer: Option<Peer>,
    ) -> bool {
        let most = self.ranks.last().map_or(0, |(open_len, ..)| *open_len);
        let own = |peer| self.peers.get(&peer).map_or(0, |own| own.open_len);
        let at_least = newcomer.map_or(most, own);
        let ranks = self.ranks.iter().rev().take(limits::PEERS_LOOKED_AT_MAX);
        let mut ranks = ranks.take_while(|(open_len, ..)| *open_len >= at_least);
        let found = ranks.find(|(_, Reverse(number), peer)| {
            let waiting = self.peers.get(peer).and_then(|own| own.silent.get(number));
            waiting.is_some_and(|it| now.saturating_duration_since(it.since) >= after)
        });
        let found = found.map(|(_, Reverse(number), peer)| (*peer, *number));
        let waiting = found.and_then(|(peer, number)| self.leave(peer, number));
        waiting.inspect(|it| it.gives_way.notify_one()).is_some()
    }

    #[cfg(test)]
    pub(super) fn silent_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        let peers = self.peers.values_mut();
        peers.flat_map(|of_peer| of_peer.silent.values_mut())
    }

    fn change<T>(&mut self, peer: Peer, change: impl FnOnce(&mut OfPeer) -> T) -> T {
        let mut of_peer = self.peers.remove(&peer).unwrap_or_default();
        self.ranks.remove(&of_peer.rank(peer));
        let changed = change(&mut of_peer);
        if of_peer.open_len > 0 {
            self.ranks.insert(of_peer.rank(peer));
            self.peers.insert(peer, of_peer);
        }
        changed
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
