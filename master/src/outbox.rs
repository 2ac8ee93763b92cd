//! What waits to be sent to each peer: first in, first out, and nothing leaves before what it promises is durable.
//!
//! What waits for the disk holds back what comes after it for the same peer, never for another. A peer that reads too
//! slowly is cut off at its limit; nothing is buffered without bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use proffer_master_core::effect::After;
use proffer_master_core::event::Seq;
use tokio_util::sync::CancellationToken;

/// The driver's end of one peer.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    waiting: VecDeque<(After, Letter<T>)>,
    way: Way<T>,
    is_overrun: CancellationToken,
    len_max: usize,
}

/// The connection's end of one peer.
#[derive(Debug)]
pub(crate) struct Mail<T> {
    way: Way<T>,
    /// Cancelled when the peer was too slow and what was not sent yet is lost.
    pub(crate) is_overrun: CancellationToken,
}

/// What comes to the connection's end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<T> {
    /// To be sent.
    Message(T),
    /// The peer is to be closed: all is sent.
    End,
    /// The peer was too slow: what was not sent is lost.
    Overrun,
}

#[derive(Debug)]
enum Letter<T> {
    Message(T),
    Close,
}

/// What is on its way from one end to the other. A queue of its own, because there is one for each of tens of thousands of
/// agents: one on which nothing is takes next to no memory, and many messages are put into it at once.
#[derive(Debug)]
struct Way<T>(Arc<Mutex<OnWay<T>>>);

#[derive(Debug)]
struct OnWay<T> {
    messages: VecDeque<T>,
    reader: Option<Waker>,
    /// The driver's end is gone.
    is_closed: bool,
    is_overrun: bool,
    /// The connection's end is gone.
    is_left: bool,
}

impl<T> Way<T> {
    fn lock(&self) -> MutexGuard<'_, OnWay<T>> {
        // Nothing under the lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> OnWay<T> {
    /// Tells the connection's end that there is something.
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// An outbox for at most `len_max` messages, and where they come out.
pub(crate) fn outbox<T>(len_max: usize) -> (Outbox<T>, Mail<T>) {
    let on_way = Arc::new(Mutex::new(OnWay {
        messages: VecDeque::new(),
        reader: None,
        is_closed: false,
        is_overrun: false,
        is_left: false,
    }));
    let is_overrun = CancellationToken::new();
    let outbox = Outbox {
        waiting: VecDeque::new(),
        way: Way(Arc::clone(&on_way)),
        is_overrun: is_overrun.clone(),
        len_max,
    };
    let mail = Mail {
        way: Way(on_way),
        is_overrun,
    };
    (outbox, mail)
}

impl<T> Mail<T> {
    /// The next to send. Cancelling it loses nothing.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Arrival<T>> {
        let mut on_way = self.way.lock();
        if on_way.is_overrun {
            return Poll::Ready(Arrival::Overrun);
        }
        if let Some(message) = on_way.messages.pop_front() {
            if on_way.messages.is_empty() {
                // One that was told of a thousand tasks need not keep the room for them.
                on_way.messages = VecDeque::new();
            }
            return Poll::Ready(Arrival::Message(message));
        }
        if on_way.is_closed {
            return Poll::Ready(Arrival::End);
        }
        on_way.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// What is there now.
    #[cfg(test)]
    pub(crate) fn take(&mut self) -> Option<Arrival<T>> {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(arrival) => Some(arrival),
            Poll::Pending => None,
        }
    }
}

impl<T> Drop for Mail<T> {
    fn drop(&mut self) {
        self.way.lock().is_left = true;
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        let mut on_way = self.way.lock();
        on_way.is_closed = true;
        on_way.wake();
    }
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
        let mut on_way = self.way.lock();
        let mut flushed = Flushed::Empty;
        while let Some((after, letter)) = self.waiting.pop_front() {
            if after > After::Seq(durable) {
                self.waiting.push_front((after, letter));
                let is_overrun = self.waiting.len() > self.len_max;
                flushed = if is_overrun {
                    Flushed::Overrun
                } else {
                    Flushed::Waiting
                };
                break;
            }
            match letter {
                Letter::Close => {
                    flushed = Flushed::Closed;
                    break;
                }
                Letter::Message(_) if on_way.is_left || on_way.messages.len() >= self.len_max => {
                    flushed = Flushed::Overrun;
                    break;
                }
                Letter::Message(message) => on_way.messages.push_back(message),
            }
        }
        on_way.is_overrun |= flushed == Flushed::Overrun;
        on_way.wake();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        flushed
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
        std::iter::from_fn(|| match mail.take() {
            Some(Arrival::Message(message)) => Some(message),
            _ => None,
        })
        .collect()
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
        assert_eq!(mail.take(), None);
        peers.flush(Seq(1));
        assert_eq!(received(&mut mail), [1]);
        assert_eq!(mail.take(), Some(Arrival::End));
        assert!(!mail.is_overrun.is_cancelled());
    }

    #[tokio::test]
    async fn whoever_waits_for_mail_is_woken() {
        let mut peers = Peers::new();
        let (outbox, mut mail) = outbox(10);
        peers.open('a', outbox);
        let waiting = tokio::spawn(async move {
            let mut arrivals = Vec::new();
            while arrivals.last() != Some(&Arrival::End) {
                arrivals.push(std::future::poll_fn(|context| mail.poll_next(context)).await);
            }
            arrivals
        });
        tokio::task::yield_now().await;
        peers.send('a', 1, After::Nothing);
        peers.flush(Seq(0));
        tokio::task::yield_now().await;
        peers.remove('a');
        let arrivals = waiting.await.expect("it ends");
        assert_eq!(arrivals, [Arrival::Message(1), Arrival::End]);
    }

    #[test]
    fn a_peer_that_has_left_is_cut_off() {
        let mut peers = Peers::new();
        let (outbox, mail) = outbox(10);
        peers.open('a', outbox);
        drop(mail);
        peers.send('a', 1, After::Nothing);
        assert_eq!(peers.flush(Seq(0)), ['a']);
    }

    #[test]
    fn a_slow_peer_is_cut_off_at_its_limit_whether_it_or_the_disk_is_slow() {
        for after in [After::Nothing, After::Seq(Seq(1))] {
            let mut peers = Peers::new();
            let (outbox, mut mail) = outbox(2);
            peers.open('a', outbox);
            for message in 0..3 {
                peers.send('a', message, after);
            }
            assert_eq!(peers.flush(Seq(0)), ['a'], "{after:?}");
            assert!(mail.is_overrun.is_cancelled());
            assert_eq!(mail.take(), Some(Arrival::Overrun));
            assert!(!peers.remove('a'));
        }
    }
}
