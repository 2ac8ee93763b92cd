//! Connections by which nobody calls at the moment, and which of them end for others.
//!
//! Mesos's clients open a connection for calls that may come after days, and take its end for the end of everything. So where
//! they call, silence alone ends no connection. Those by which nobody has called who may are few at once, and when there is no
//! room at all the one that has been silent longest ends, strangers first, as long as it is not them who take the room. A peer
//! that is gone is found by the kernel.

mod strangers;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::limits;
use strangers::{Peer, Strangers, Waiting};

/// The silent connections of one listener.
#[derive(Debug)]
pub(super) struct Silence {
    table: Mutex<Table>,
    strangers_max: usize,
    gives_way_after: Duration,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    strangers: Strangers,
    /// Silent ones by which somebody has called who may, by numbers that grow: the first has been silent longest.
    recognized: BTreeMap<u64, Waiting>,
    /// Those and the others of them.
    recognized_open_len: usize,
}

impl Silence {
    /// Of at most so many strangers, not counting those that have been silent for less than this.
    pub(super) fn new(strangers_max: usize, gives_way_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            strangers_max,
            gives_way_after,
        })
    }

    /// A connection that was accepted now, from this address.
    pub(super) fn connection(self: &Arc<Self>, address: IpAddr) -> Place {
        let mut state = State::new(Peer::of(address));
        lock(&self.table).strangers.open(state.peer);
        self.enter(&mut state);
        Place(Arc::new(Connection {
            silence: Arc::clone(self),
            state: Mutex::new(state),
        }))
    }

    /// Ends a connection for one that comes from this address, if that is known; false when none may end for it. One by which
    /// somebody has called who may does not end for strangers while they are too many or the most, whatever they do.
    pub(super) fn give_way(&self, newcomer: Option<IpAddr>) -> bool {
        let table = &mut *lock(&self.table);
        let (now, after) = (Instant::now(), self.gives_way_after);
        if table.strangers.give_way(now, after, newcomer.map(Peer::of)) {
            return true;
        }
        let strangers_len = table.strangers.open_len();
        if strangers_len > self.strangers_max || strangers_len > table.recognized_open_len {
            return false;
        }
        match table.recognized.first_entry() {
            Some(first) if now.saturating_duration_since(first.get().since) >= after => {
                first.remove().gives_way.notify_one();
                true
            }
            _ => false,
        }
    }

    /// A connection is silent from now on.
    fn enter(&self, state: &mut State) {
        let table = &mut *lock(&self.table);
        table.last += 1;
        state.number = Some(table.last);
        let now = Instant::now();
        let waiting = Waiting {
            since: now,
            gives_way: Arc::clone(&state.gives_way),
        };
        if state.is_recognized {
            table.recognized.insert(table.last, waiting);
            return;
        }
        let strangers = &mut table.strangers;
        strangers.enter(state.peer, table.last, waiting);
        while strangers.silent_len() > self.strangers_max
            && strangers.give_way(now, self.gives_way_after, Some(state.peer))
        {}
    }

    /// It is silent no more.
    fn leave(&self, state: &mut State) {
        if let Some(number) = state.number.take() {
            let table = &mut *lock(&self.table);
            match state.is_recognized {
                true => drop(table.recognized.remove(&number)),
                false => drop(table.strangers.leave(state.peer, number)),
            }
        }
    }

    /// It is a stranger's no more.
    fn recognize(&self, state: &mut State) {
        if state.is_recognized || state.is_over {
            return;
        }
        self.leave(state);
        state.is_recognized = true;
        let table = &mut *lock(&self.table);
        table.strangers.close(state.peer);
        table.recognized_open_len += 1;
    }

    /// It is closed.
    fn close(&self, state: &mut State) {
        self.leave(state);
        state.is_over = true;
        let table = &mut *lock(&self.table);
        match state.is_recognized {
            true => table.recognized_open_len -= 1,
            false => table.strangers.close(state.peer),
        }
    }
}

/// One connection, until this is dropped.
pub(super) struct Place(Arc<Connection>);

impl Place {
    /// A call begins.
    pub(super) fn call(&self) -> Call {
        let connection = Arc::clone(&self.0);
        let state = &mut *lock(&connection.state);
        state.calls += 1;
        connection.silence.leave(state);
        Call(Arc::clone(&connection))
    }

    /// Waits until the connection is to end for others.
    pub(super) async fn gives_way(&self) {
        let gives_way = Arc::clone(&lock(&self.0.state).gives_way);
        loop {
            gives_way.notified().await;
            // A call that has come since is answered.
            if lock(&self.0.state).calls == 0 {
                return;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.silence.close(&mut lock(&self.0.state));
    }
}

/// The connection of a call, in the extensions of one that came without the token of the listener.
#[derive(Debug)]
pub struct Connection {
    silence: Arc<Silence>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    peer: Peer,
    /// Its place among the silent ones.
    number: Option<u64>,
    gives_way: Arc<Notify>,
    /// That are answered at the moment.
    calls: usize,
    is_recognized: bool,
    is_over: bool,
}

impl State {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            number: None,
            gives_way: Arc::default(),
            calls: 0,
            is_recognized: false,
            is_over: false,
        }
    }
}

impl Connection {
    /// Somebody calls by it who may, as what serves the call has found out.
    pub fn recognize(&self) {
        self.silence.recognize(&mut lock(&self.state));
    }
}

/// A call that is answered at the moment.
pub(super) struct Call(Arc<Connection>);

impl Call {
    /// The connection that it came by.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    /// The same response: the call lasts until it is sent.
    pub(super) fn answer(self, response: Response) -> Response {
        let len = response.body().size_hint().exact();
        // What is short and whole is as good as sent, and a stranger who reads slowly is as good as silent.
        let is_sent = |len| len <= limits::ANSWER_LIGHT_LEN || !lock(&self.0.state).is_recognized;
        if len.is_some_and(is_sent) {
            return response;
        }
        let is_whole = len.is_some();
        response.map(|inner| {
            Body::new(Answered {
                inner,
                is_whole,
                _call: self,
            })
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let state = &mut *lock(&self.0.state);
        state.calls -= 1;
        if state.calls == 0 && !state.is_over {
            self.0.silence.enter(state);
        }
    }
}

/// A body that is being sent.
struct Answered {
    inner: Body,
    is_whole: bool,
    _call: Call,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        // One that said so with its only piece would be dropped before the peer has taken that.
        !self.is_whole && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is changed half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    const AFTER: Duration = Duration::from_secs(5);

    /// An address that ends so.
    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// All that are silent have been for so much longer.
    fn pass(silence: &Silence, time: Duration) {
        let table = &mut *lock(&silence.table);
        for waiting in table
            .recognized
            .values_mut()
            .chain(table.strangers.silent_mut())
        {
            waiting.since = waiting.since.checked_sub(time).expect("a time");
        }
    }

    async fn is_told(place: &Place) -> bool {
        let gives_way = std::pin::pin!(place.gives_way());
        poll!(gives_way).is_ready()
    }

    fn recognized(silence: &Arc<Silence>) -> Place {
        let place = silence.connection(address(1));
        place.call().connection().recognize();
        place
    }

    #[tokio::test]
    async fn strangers_who_are_young_or_busy_end_nobody_who_may_call() {
        let silence = Silence::new(2, AFTER);
        let known: Vec<_> = (0..9).map(|_| recognized(&silence)).collect();
        pass(&silence, 2 * AFTER);
        let mut young: Vec<_> = (0..2).map(|_| silence.connection(address(2))).collect();
        assert!(silence.give_way(Some(address(2))), "they are not too many");
        assert!(is_told(&known[0]).await, "the one that was silent longest");
        young.push(silence.connection(address(2)));
        assert!(!silence.give_way(Some(address(2))), "too many are young");
        assert!(!silence.give_way(None));
        let calls: Vec<_> = young.iter().map(Place::call).collect();
        pass(&silence, 2 * AFTER);
        assert!(!silence.give_way(Some(address(2))), "too many are busy");
        drop(calls);
        drop(young.pop());
        assert!(silence.give_way(Some(address(2))));
        assert!(is_told(&known[1]).await);
        assert!(!is_told(&known[2]).await);
    }

    #[tokio::test]
    async fn strangers_who_are_the_most_end_nobody_who_may_call() {
        let silence = Silence::new(100, AFTER);
        let known = [recognized(&silence), recognized(&silence)];
        pass(&silence, 2 * AFTER);
        let young: Vec<_> = (0..3).map(|_| silence.connection(address(2))).collect();
        assert!(!silence.give_way(None));
        drop(young);
        assert!(silence.give_way(None));
        assert!(is_told(&known[0]).await && !is_told(&known[1]).await);
    }

    #[tokio::test]
    async fn of_strangers_those_of_the_peer_that_has_the_most_end_first() {
        let silence = Silence::new(4, AFTER);
        let waits = silence.connection(address(1));
        pass(&silence, AFTER);
        let many: Vec<_> = (0..3).map(|_| silence.connection(address(2))).collect();
        let further = silence.connection(address(2));
        assert!(!is_told(&waits).await, "though it was silent longest");
        assert!(!silence.give_way(Some(address(2))), "its own are young");
        assert!(!silence.give_way(None));
        pass(&silence, AFTER);
        let last = silence.connection(address(2));
        assert!(is_told(&many[0]).await && is_told(&many[1]).await);
        assert!(!is_told(&many[2]).await && !is_told(&waits).await);
        let calls: Vec<_> = many
            .iter()
            .chain([&further, &last])
            .map(Place::call)
            .collect();
        assert!(!silence.give_way(Some(address(2))), "they are busy");
        assert!(
            silence.give_way(Some(address(3))),
            "it has no more than others"
        );
        assert!(is_told(&waits).await);
        drop(calls);
        drop((waits, many, further, last));
        let table = lock(&silence.table);
        assert_eq!(
            (table.strangers.open_len(), table.strangers.silent_len()),
            (0, 0)
        );
    }
}
