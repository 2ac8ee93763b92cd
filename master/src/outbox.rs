//! What waits to be sent to each peer: first in, first out, and nothing leaves before what it promises is durable.
//!
//! What waits for the disk holds back what comes after it for the same peer, never for another. A peer that reads too
//! slowly is cut off at its limit, of messages and of bytes, and what waited for it is let go at once, though its connection may
//! stay for long; nothing is buffered without bound. When too much waits for all of them, those with the most are cut off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use proffer_master_core::effect::After;
use proffer_master_core::event::Seq;
use tokio_util::sync::CancellationToken;

use crate::weight::Weighed;

/// The driver's end of one peer.
#[derive(Debug)]
pub(crate) struct Outbox<T> {
    waiting: VecDeque<(After, Letter<T>)>,
    /// Of those.
    bytes: usize,
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
    Message(Weight, T),
    Close,
}

/// Bytes of a message, about.
type Weight = usize;

/// What is on its way from one end to the other. A queue of its own, because there is one for each of tens of thousands of
/// agents: one on which nothing is takes next to no memory, and many messages are put into it at once.
#[derive(Debug)]
struct Way<T>(Arc<Mutex<OnWay<T>>>);

#[derive(Debug)]
struct OnWay<T> {
    messages: VecDeque<(Weight, T)>,
    /// Of those.
    bytes: usize,
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

    /// What is on its way is lost.
    fn overrun(&mut self) {
        self.is_overrun = true;
        self.messages = VecDeque::new();
        self.bytes = 0;
        self.wake();
    }
}

/// An outbox for at most `len_max` messages, and where they come out.
pub(crate) fn outbox<T>(len_max: usize) -> (Outbox<T>, Mail<T>) {
    let on_way = Arc::new(Mutex::new(OnWay {
        messages: VecDeque::new(),
        bytes: 0,
        reader: None,
        is_closed: false,
        is_overrun: false,
        is_left: false,
    }));
    let is_overrun = CancellationToken::new();
    let outbox = Outbox {
        waiting: VecDeque::new(),
        bytes: 0,
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
        if let Some((bytes, message)) = on_way.messages.pop_front() {
            on_way.bytes -= bytes;
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
        self.end();
    }
}

/// How an outbox stands after a flush.
#[derive(Debug, PartialEq, Eq)]
enum Flushed {
    /// All is on its way.
    Empty,
    /// Something waits for this to be durable.
    Waiting(Seq),
    /// All is on its way, and the peer is to be closed.
    Closed,
    /// The peer is too slow, or gone.
    Overrun,
}

impl<T: Weighed> Outbox<T> {
    fn put(&mut self, after: After, letter: Letter<T>) {
        if let Letter::Message(bytes, _) = &letter {
            self.bytes += bytes;
        }
        self.waiting.push_back((after, letter));
    }

    fn flush(&mut self, durable: Seq) -> Flushed {
        let mut on_way = self.way.lock();
        let mut flushed = Flushed::Empty;
        while let Some((after, letter)) = self.waiting.pop_front() {
            if let After::Seq(seq) = after
                && seq > durable
            {
                self.waiting.push_front((after, letter));
                let is_overrun =
                    self.waiting.len() > self.len_max || self.bytes > T::PEER_BYTES_MAX;
                flushed = if is_overrun {
                    Flushed::Overrun
                } else {
                    Flushed::Waiting(seq)
                };
                break;
            }
            let Letter::Message(bytes, message) = letter else {
                flushed = Flushed::Closed;
                break;
            };
            self.bytes -= bytes;
            // One alone always has room.
            let is_heavy = on_way.bytes.saturating_add(bytes) > T::PEER_BYTES_MAX
                && !on_way.messages.is_empty();
            if on_way.is_left || on_way.messages.len() >= self.len_max || is_heavy {
                flushed = Flushed::Overrun;
                break;
            }
            on_way.bytes += bytes;
            on_way.messages.push_back((bytes, message));
        }
        if flushed != Flushed::Overrun {
            on_way.wake();
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        flushed
    }

    /// Whether more than half of what may wait would, with so many bytes more.
    fn is_half_full(&self, more: usize) -> bool {
        let on_way = self.way.lock();
        let len = self.waiting.len() + on_way.messages.len() + 1;
        let bytes = self.bytes + on_way.bytes + more;
        len > self.len_max / 2 || bytes > T::PEER_BYTES_MAX / 2
    }

    /// Bytes that wait for the peer.
    fn weight(&self) -> usize {
        self.bytes + self.way.lock().bytes
    }
}

impl<T> Outbox<T> {
    /// Nothing will follow.
    fn end(&self) {
        let mut on_way = self.way.lock();
        on_way.is_closed = true;
        on_way.wake();
    }

    /// Cuts the peer off.
    fn cut_off(self) {
        self.way.lock().overrun();
        self.is_overrun.cancel();
    }
}

/// The outboxes of all peers of one kind.
#[derive(Debug)]
pub(crate) struct Peers<K, T> {
    outboxes: BTreeMap<K, Outbox<T>>,
    /// Closed ones that have yet to read what was sent before.
    closed: BTreeMap<K, Outbox<T>>,
    /// Those to which something was given since the last flush.
    unsent: BTreeSet<K>,
    /// Those for which something waits for the disk, and for what; some that are gone. They are looked at when it is durable,
    /// so that thousands that wait cost those nothing that do not.
    waiting: BTreeSet<(Seq, K)>,
    /// Bytes that may wait for all of them: those that were counted last, and all that was given to them since.
    bytes_most: usize,
}

impl<K: Ord + Copy, T: Weighed> Peers<K, T> {
    /// None.
    pub(crate) fn new() -> Self {
        Self {
            outboxes: BTreeMap::new(),
            closed: BTreeMap::new(),
            unsent: BTreeSet::new(),
            waiting: BTreeSet::new(),
            bytes_most: 0,
        }
    }

    /// A peer has connected.
    pub(crate) fn open(&mut self, peer: K, outbox: Outbox<T>) {
        self.outboxes.insert(peer, outbox);
    }

    /// A peer's connection has ended. Answers whether it was known.
    pub(crate) fn remove(&mut self, peer: K) -> bool {
        self.unsent.remove(&peer);
        self.closed.remove(&peer);
        self.outboxes.remove(&peer).is_some()
    }

    /// Gives a peer something; nothing happens if it is gone. What may be lost is, when half of what may wait for it does.
    pub(crate) fn send(&mut self, peer: K, message: T, after: After) {
        let bytes = message.weight();
        let outbox = self.outboxes.get(&peer);
        if message.may_be_lost() && outbox.is_some_and(|outbox| outbox.is_half_full(bytes)) {
            return;
        }
        self.bytes_most = self.bytes_most.saturating_add(bytes);
        self.put(peer, Letter::Message(bytes, message), after);
    }

    /// Closes a peer after all that was given to it.
    pub(crate) fn close(&mut self, peer: K) {
        self.put(peer, Letter::Close, After::Nothing);
    }

    fn put(&mut self, peer: K, letter: Letter<T>, after: After) {
        if let Some(outbox) = self.outboxes.get_mut(&peer) {
            outbox.put(after, letter);
            self.unsent.insert(peer);
        }
    }

    /// Sends what may leave when all up to `durable` is; answers the peers that were cut off because they are slow.
    pub(crate) fn flush(&mut self, durable: Seq) -> Vec<K> {
        while let Some((seq, peer)) = self.waiting.pop_first() {
            if seq > durable {
                self.waiting.insert((seq, peer));
                break;
            }
            self.unsent.insert(peer);
        }
        let mut overrun = Vec::new();
        for peer in std::mem::take(&mut self.unsent) {
            let Some(outbox) = self.outboxes.get_mut(&peer) else {
                continue;
            };
            match outbox.flush(durable) {
                Flushed::Empty => {}
                Flushed::Waiting(seq) => {
                    self.waiting.insert((seq, peer));
                }
                Flushed::Closed => {
                    self.closed.retain(|_, outbox| outbox.weight() > 0);
                    outbox.end();
                    self.closed.extend(self.outboxes.remove_entry(&peer));
                }
                Flushed::Overrun => overrun.push(peer),
            }
        }
        self.cut_off(&overrun);
        if self.bytes_most > T::ALL_BYTES_MAX {
            let heaviest = self.heaviest();
            self.cut_off(&heaviest);
            overrun.extend(heaviest);
        }
        overrun
    }

    fn cut_off(&mut self, peers: &[K]) {
        for peer in peers {
            self.unsent.remove(peer);
            let open = self.outboxes.remove(peer);
            for outbox in open.into_iter().chain(self.closed.remove(peer)) {
                outbox.cut_off();
            }
        }
    }

    /// Those for which the most waits, when too much waits for all: as many as must go for a quarter of the room to be free.
    fn heaviest(&mut self) -> Vec<K> {
        let weights = self.outboxes.iter().chain(&self.closed);
        let mut weights: Vec<(usize, K)> = weights
            .map(|(peer, outbox)| (outbox.weight(), *peer))
            .collect();
        let mut all: usize = weights.iter().map(|(weight, _)| weight).sum();
        let mut heaviest = Vec::new();
        if all > T::ALL_BYTES_MAX {
            weights.sort_unstable();
            while all > T::ALL_BYTES_MAX / 4 * 3
                && let Some((weight, peer)) = weights.pop()
            {
                all -= weight;
                heaviest.push(peer);
            }
        }
        self.bytes_most = all;
        heaviest
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

    /// So many bytes; 1,000 may wait for one, 2,000 for all.
    struct Heavy(usize);

    impl Weighed for Heavy {
        const PEER_BYTES_MAX: usize = 1_000;
        const ALL_BYTES_MAX: usize = 2_000;

        fn weight(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn a_slow_peer_is_cut_off_at_its_bytes_and_nothing_is_kept_for_it() {
        for after in [After::Nothing, After::Seq(Seq(1))] {
            let mut peers = Peers::new();
            let (outbox, mut mail) = outbox(10);
            peers.open('a', outbox);
            peers.send('a', Heavy(600), after);
            assert_eq!(peers.flush(Seq(0)), []);
            peers.send('a', Heavy(400), after);
            assert_eq!(peers.flush(Seq(0)), []);
            peers.send('a', Heavy(1), after);
            assert_eq!(peers.flush(Seq(0)), ['a'], "{after:?}");
            assert!(mail.is_overrun.is_cancelled());
            let on_way = mail.way.lock();
            assert_eq!((on_way.messages.capacity(), on_way.bytes), (0, 0));
            drop(on_way);
            assert!(matches!(mail.take(), Some(Arrival::Overrun)));
        }
    }

    #[test]
    fn a_peer_that_reads_gets_whatever_comes_and_one_large_message_too() {
        let mut peers = Peers::new();
        let (outbox, mut mail) = outbox(10);
        peers.open('a', outbox);
        for _ in 0..10 {
            for bytes in [1_500, 1_000] {
                peers.send('a', Heavy(bytes), After::Nothing);
                assert_eq!(peers.flush(Seq(0)), []);
                assert!(matches!(mail.take(), Some(Arrival::Message(_))));
            }
        }
    }

    #[test]
    fn when_too_much_waits_for_all_those_with_the_most_are_cut_off() {
        let mut peers = Peers::new();
        let mut mails = Vec::new();
        for (peer, bytes) in [('a', 700), ('b', 900), ('c', 300), ('d', 100)] {
            let (outbox, mail) = outbox(10);
            mails.push(mail);
            peers.open(peer, outbox);
            peers.send(peer, Heavy(bytes), After::Nothing);
        }
        assert_eq!(peers.flush(Seq(0)), [], "there is room for exactly this");
        peers.send('d', Heavy(1), After::Nothing);
        assert_eq!(peers.flush(Seq(0)), ['b'], "now a quarter is free");
        let has_mail = |mail: &mut Mail<Heavy>| matches!(mail.take(), Some(Arrival::Message(_)));
        let left: Vec<bool> = mails.iter_mut().map(has_mail).collect();
        assert_eq!(left, [true, false, true, true]);
    }

    #[test]
    fn what_a_closed_peer_has_yet_to_read_counts_and_one_is_cut_off_once() {
        let mut peers = Peers::new();
        let mut mails = Vec::new();
        for peer in ['a', 'b', 'c'] {
            let (outbox, mail) = outbox(10);
            mails.push(mail);
            peers.open(peer, outbox);
        }
        for (peer, bytes) in [('a', 900), ('b', 600)] {
            peers.send(peer, Heavy(bytes), After::Nothing);
            peers.close(peer);
        }
        assert_eq!(peers.flush(Seq(0)), []);
        // That is too much for it, and for all.
        peers.send('c', Heavy(600), After::Nothing);
        peers.send('c', Heavy(500), After::Nothing);
        assert_eq!(peers.flush(Seq(0)), ['c']);
        let (outbox, _mail) = outbox(10);
        peers.open('d', outbox);
        peers.send('d', Heavy(600), After::Nothing);
        assert_eq!(peers.flush(Seq(0)), ['a']);
        assert!(matches!(mails.remove(0).take(), Some(Arrival::Overrun)));
        assert!(matches!(mails.remove(0).take(), Some(Arrival::Message(_))));
    }
}
