//! What waits to be sent to each peer: first in, first out, and nothing leaves before what it promises is durable.
//!
//! What waits for the disk holds back what comes after it for the same peer, never for another. A peer that reads too
//! slowly is cut off at its limit; nothing is buffered without bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proffer_master_core::effect::After;
use proffer_master_core::event::Seq;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The driver's end of one peer.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    waiting: VecDeque<(After, Letter<T>)>,
    sender: mpsc::Sender<T>,
    is_overrun: CancellationToken,
    len_max: usize,
}

/// The connection's end of one peer.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    /// What to send; ends when the peer is to be closed.
    pub(crate) receiver: mpsc::Receiver<T>,
    /// Cancelled when the peer was too slow and what was not sent yet is lost.
    pub(crate) is_overrun: CancellationToken,
}

#[derive(Debug)]
enum Letter<T> {
    Message(T),
    Close,
}

/// An outbox for at most `len_max` messages, and where they come out.
pub(crate) fn outbox<T>(len_max: usize) -> (Outbox<T>, Mail<T>) {
    let (sender, receiver) = mpsc::channel(len_max);
    let is_overrun = CancellationToken::new();
    let outbox = Outbox {
        waiting: VecDeque::new(),
        sender,
        is_overrun: is_overrun.clone(),
        len_max,
    };
    let mail = Mail {
        receiver,
        is_overrun,
    };
    (outbox, mail)
}

/// How an outbox stands after a flush.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// All is on its way.
    Empty,
    /// Something waits for the disk.
    Waiting,
    /// All is on its way, and the peer is to be closed.
    Closed,
    /// The peer is too slow, or gone.
    Overrun,
}

impl<T> Outbox<T> {
    fn flush(&mut self, durable: Seq) -> Flushed {
        while let Some((after, letter)) = self.waiting.pop_front() {
            if after > After::Seq(durable) {
                self.waiting.push_front((after, letter));
                let is_overrun = self.waiting.len() > self.len_max;
                return if is_overrun {
                    Flushed::Overrun
                } else {
                    Flushed::Waiting
                };
            }
            match letter {
                Letter::Close => return Flushed::Closed,
                Letter::Message(message) => {
                    if self.sender.try_send(message).is_err() {
                        return Flushed::Overrun;
                    }
                }
            }
        }
        Flushed::Empty
    }
}

/// The outboxes of all peers of one kind.
#[derive(Debug)]
pub(crate) struct Peers<K, T> {
    outboxes: BTreeMap<K, Outbox<T>>,
    /// Those to which something was given since they were last empty.
    unsent: BTreeSet<K>,
}

impl<K: Ord + Copy, T> Peers<K, T> {
    /// None.
    pub(crate) fn new() -> Self {
        Self {
            outboxes: BTreeMap::new(),
            unsent: BTreeSet::new(),
        }
    }

    /// A peer has connected.
    pub(crate) fn open(&mut self, peer: K, outbox: Outbox<T>) {
        self.outboxes.insert(peer, outbox);
    }

    /// A peer's connection has ended. Answers whether it was known.
    pub(crate) fn remove(&mut self, peer: K) -> bool {
        self.unsent.remove(&peer);
        self.outboxes.remove(&peer).is_some()
    }

    /// Gives a peer something; nothing happens if it is gone.
    pub(crate) fn send(&mut self, peer: K, message: T, after: After) {
        self.put(peer, Letter::Message(message), after);
    }

    /// Closes a peer after all that was given to it.
    pub(crate) fn close(&mut self, peer: K) {
        self.put(peer, Letter::Close, After::Nothing);
    }

    fn put(&mut self, peer: K, letter: Letter<T>, after: After) {
        if let Some(outbox) = self.outboxes.get_mut(&peer) {
            outbox.waiting.push_back((after, letter));
            self.unsent.insert(peer);
        }
    }

    /// Sends what may leave when all up to `durable` is; answers the peers that were cut off because they are slow.
    pub(crate) fn flush(&mut self, durable: Seq) -> Vec<K> {
        let mut overrun = Vec::new();
        let outboxes = &mut self.outboxes;
        self.unsent.retain(|peer| {
            let Some(outbox) = outboxes.get_mut(peer) else {
                return false;
            };
            match outbox.flush(durable) {
                Flushed::Empty => false,
                Flushed::Waiting => true,
                Flushed::Closed => {
                    outboxes.remove(peer);
                    false
                }
                Flushed::Overrun => {
                    outbox.is_overrun.cancel();
                    outboxes.remove(peer);
                    overrun.push(*peer);
                    false
                }
            }
        });
        overrun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(mail: &mut Mail<u32>) -> Vec<u32> {
        std::iter::from_fn(|| mail.receiver.try_recv().ok()).collect()
    }

    #[test]
    fn what_waits_for_the_disk_holds_back_what_follows_for_that_peer_alone() {
        let mut peers = Peers::new();
        let ((one, mut one_mail), (other, mut other_mail)) = (outbox(10), outbox(10));
        peers.open('a', one);
        peers.open('b', other);
        peers.send('a', 1, After::Nothing);
        peers.send('a', 2, After::Seq(Seq(2)));
        peers.send('a', 3, After::Nothing);
        peers.send('b', 4, After::Nothing);
        peers.send('z', 5, After::Nothing);
        assert_eq!(peers.flush(Seq(1)), []);
        assert_eq!(received(&mut one_mail), [1]);
        assert_eq!(received(&mut other_mail), [4]);
        assert_eq!(peers.flush(Seq(2)), []);
        assert_eq!(received(&mut one_mail), [2, 3]);
    }

    #[test]
    fn a_closed_peer_gets_all_that_was_sent_before() {
        let mut peers = Peers::new();
        let (outbox, mut mail) = outbox(10);
        peers.open('a', outbox);
        peers.send('a', 1, After::Seq(Seq(1)));
        peers.close('a');
        assert_eq!(peers.flush(Seq(0)), []);
        assert!(!mail.receiver.is_closed());
        peers.flush(Seq(1));
        assert_eq!(received(&mut mail), [1]);
        assert!(mail.receiver.is_closed());
        assert!(!mail.is_overrun.is_cancelled());
    }

    #[test]
    fn a_slow_peer_is_cut_off_at_its_limit_whether_it_or_the_disk_is_slow() {
        for after in [After::Nothing, After::Seq(Seq(1))] {
            let mut peers = Peers::new();
            let (outbox, mail) = outbox(2);
            peers.open('a', outbox);
            for message in 0..3 {
                peers.send('a', message, after);
            }
            assert_eq!(peers.flush(Seq(0)), ['a'], "{after:?}");
            assert!(mail.is_overrun.is_cancelled());
            assert!(!peers.remove('a'));
        }
    }
}
