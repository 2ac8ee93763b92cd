//! Connections by which nobody calls at the moment, and which of them end for others.
//!
//! Mesos's clients open a connection for calls that may come after days, and take its end for the end of everything. So where
//! they call, silence alone ends no connection. Those by which nobody has called who may are few at once, and when there is no
//! room at all the one that has been silent longest ends, strangers first, as long as it is not them who take the room. A peer
//! that is gone is found by the kernel. What is answered to strangers must be taken in time, and is little in all.

mod strangers;
mod unread;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::limits;
use strangers::{ConnectionId, Peer, Strangers, Told};
use unread::Unread;

/// The silent connections of one listener.
#[derive(Debug)]
pub(super) struct Silence {
    table: Mutex<Table>,
    strangers_max: usize,
    gives_way_after: Duration,
    unread_len_max: u64,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    strangers: Strangers,
    /// What was answered to them.
    unread: Unread,
    /// Silent ones by which somebody has called who may, by numbers that grow: the first has been silent longest.
    recognized: BTreeMap<u64, Waiting>,
    /// Those and the others of them.
    recognized_open_len: usize,
}

/// A silent connection.
#[derive(Debug)]
struct Waiting {
    /// When it was heard last.
    since: Instant,
    told: Arc<Told>,
}

impl Silence {
    /// Of at most so many strangers, not counting those that have been silent for less than this.
    pub(super) fn new(strangers_max: usize, gives_way_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            strangers_max,
            gives_way_after,
            unread_len_max: limits::UNREAD_LEN_MAX,
        })
    }

    /// A connection that was accepted now, from this address.
    pub(super) fn connection(self: &Arc<Self>, address: IpAddr) -> Place {
        let told = Arc::<Told>::default();
        let id = {
            let table = &mut *lock(&self.table);
            table.last += 1;
            let (number, peer) = (table.last, Peer::of(address));
            let id = ConnectionId { number, peer };
            table.strangers.open(id, Arc::clone(&told));
            id
        };
        let mut state = State::new(id, told);
        self.enter(&mut state);
        Place(Arc::new(Connection {
            silence: Arc::clone(self),
            state: Mutex::new(state),
        }))
    }

    /// Ends a connection for one that comes from this address, if that is known; false when none may end for it. One by which
    /// somebody has called who may does not end for strangers while they are too many or the most, whatever they do, nor for
    /// one of a peer that has more than a few.
    pub(super) fn give_way(&self, newcomer: Option<IpAddr>) -> bool {
        let table = &mut *lock(&self.table);
        let (now, after) = (Instant::now(), self.gives_way_after);
        let (strangers, newcomer) = (&mut table.strangers, newcomer.map(Peer::of));
        if strangers.give_way(now, after, newcomer) || strangers.give_way_of_most(newcomer) {
            return true;
        }
        let own = newcomer.map_or(0, |peer| strangers.open_len_of(peer));
        let len = strangers.open_len();
        let are_many = own > limits::PEER_FEW_LEN || len > self.strangers_max;
        if are_many || len > table.recognized_open_len {
            return false;
        }
        match table.recognized.first_entry() {
            Some(first) if now.saturating_duration_since(first.get().since) >= after => {
                first.remove().told.give_way();
                true
            }
            _ => false,
        }
    }

    /// A connection is silent from now on.
    fn enter(&self, state: &mut State) {
        let table = &mut *lock(&self.table);
        table.last += 1;
        let (number, now) = (table.last, Instant::now());
        if state.is_recognized {
            let told = Arc::clone(&state.told);
            let waiting = Waiting { since: now, told };
            table.recognized.insert(number, waiting);
            state.number = Some(number);
            return;
        }
        let strangers = &mut table.strangers;
        while strangers.silent_len() >= self.strangers_max
            && strangers.give_way(now, self.gives_way_after, Some(state.id.peer))
        {}
        strangers.enter(state.id, number, now);
    }

    /// A connection that was told to end goes on, since somebody calls by it.
    fn stay(&self, state: &State) {
        if !state.is_recognized && !state.is_over {
            let table = &mut *lock(&self.table);
            table.strangers.open(state.id, Arc::clone(&state.told));
        }
    }

    /// It is silent no more.
    fn leave(&self, state: &mut State) {
        let table = &mut *lock(&self.table);
        match state.is_recognized {
            true => drop(state.number.take().map(|it| table.recognized.remove(&it))),
            false => table.strangers.leave(state.id),
        }
    }

    /// It is a stranger's no more.
    fn recognize(&self, state: &mut State) {
        if state.is_recognized || state.is_over {
            return;
        }
        state.is_recognized = true;
        let table = &mut *lock(&self.table);
        table.strangers.close(state.id);
        table.unread.forget(state.id);
        table.recognized_open_len += 1;
    }

    /// It is closed.
    fn close(&self, state: &mut State) {
        self.leave(state);
        state.is_over = true;
        let table = &mut *lock(&self.table);
        match state.is_recognized {
            true => table.recognized_open_len -= 1,
            false => table.strangers.close(state.id),
        }
    }

    /// A stranger is answered with so many bytes. Of too many of all the connection ends that has the most of the peer that has
    /// the most of them.
    fn answer(self: &Arc<Self>, id: ConnectionId, len: u64) -> Arc<Given> {
        let table = &mut *lock(&self.table);
        let number = table.unread.add(id, len, Instant::now());
        if table.unread.len() > self.unread_len_max
            && let Some(most) = table.unread.most()
        {
            table.strangers.end(most);
        }
        let silence = Arc::clone(self);
        Arc::new(Given { silence, number })
    }

    /// Ends connections of strangers who have not taken an answer for so long.
    pub(super) fn end_unread(&self, now: Instant, unread_max: Duration) {
        let table = &mut *lock(&self.table);
        for connection in table.unread.late(now, unread_max) {
            table.strangers.end(connection);
        }
    }
}

/// An answer to a stranger, until all of it is taken.
#[derive(Debug)]
struct Given {
    silence: Arc<Silence>,
    number: u64,
}

impl Drop for Given {
    fn drop(&mut self) {
        lock(&self.silence.table).unread.remove(self.number);
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
        let told = Arc::clone(&lock(&self.0.state).told);
        loop {
            let is_at_once = told.wait().await;
            let state = lock(&self.0.state);
            // A call that has come since is answered.
            if state.calls == 0 || is_at_once && !state.is_recognized {
                return;
            }
            self.0.silence.stay(&state);
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
    id: ConnectionId,
    /// Its place among the silent ones by which somebody has called who may.
    number: Option<u64>,
    told: Arc<Told>,
    /// That are answered at the moment.
    calls: usize,
    is_recognized: bool,
    is_over: bool,
}

impl State {
    fn new(id: ConnectionId, told: Arc<Told>) -> Self {
        Self {
            id,
            number: None,
            told,
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
        // A stranger who reads slowly is as good as silent.
        if let Some(len) = len
            && let Some(id) = self.stranger()
        {
            let given = self.0.silence.answer(id, len);
            return response.map(|inner| Body::new(Held { inner, given }));
        }
        // What is short and whole is as good as sent.
        if len.is_some_and(|len| len <= limits::ANSWER_LIGHT_LEN) {
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

    /// Its connection, if that is a stranger's.
    fn stranger(&self) -> Option<ConnectionId> {
        let state = lock(&self.0.state);
        (!state.is_recognized).then_some(state.id)
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

/// A body that is being sent to a stranger.
struct Held {
    inner: Body,
    given: Arc<Given>,
}

/// Of such a one: HTTP/2 keeps what it has until the peer takes it.
struct Piece {
    bytes: Bytes,
    _given: Arc<Given>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        polled.map_ok(|frame| {
            frame.map_data(|bytes| {
                let _given = Arc::clone(&self.given);
                Bytes::from_owner(Piece { bytes, _given })
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
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
mod tests;
