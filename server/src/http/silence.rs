//! Connections by which nobody calls at the moment, and which of them end for others.
//!
//! Mesos's clients open a connection for calls that may come after days, and take its end for the end of everything. So where
//! they call, silence alone ends no connection. Those by which nobody has called who may are few at once, and when there is no
//! room at all the one that has been silent longest ends, strangers first. A peer that is gone is found by the kernel.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The silent connections of one listener.
#[derive(Debug)]
pub(super) struct Silence {
    table: Mutex<Table>,
    strangers_max: usize,
    gives_way_after: Duration,
}

/// Each by a number that grows: the first has been silent longest.
#[derive(Debug, Default)]
struct Table {
    last: u64,
    strangers: BTreeMap<u64, Waiting>,
    recognized: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    gives_way: Arc<Notify>,
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

    /// A connection that was accepted now.
    pub(super) fn connection(self: &Arc<Self>) -> Place {
        let mut state = State::default();
        self.enter(&mut state);
        Place(Arc::new(Connection {
            silence: Arc::clone(self),
            state: Mutex::new(state),
        }))
    }

    /// Ends the connection that has been silent longest; false when none has been for long enough.
    pub(super) fn give_way(&self) -> bool {
        let table = &mut *lock(&self.table);
        give_way(&mut table.strangers, self.gives_way_after)
            || give_way(&mut table.recognized, self.gives_way_after)
    }

    /// A connection is silent from now on.
    fn enter(&self, state: &mut State) {
        let table = &mut *lock(&self.table);
        table.last += 1;
        state.number = Some(table.last);
        let waiting = Waiting {
            since: Instant::now(),
            gives_way: Arc::clone(&state.gives_way),
        };
        if state.is_recognized {
            table.recognized.insert(table.last, waiting);
            return;
        }
        table.strangers.insert(table.last, waiting);
        while table.strangers.len() > self.strangers_max
            && give_way(&mut table.strangers, self.gives_way_after)
        {}
    }

    /// It is silent no more.
    fn leave(&self, state: &mut State) {
        if let Some(number) = state.number.take() {
            let table = &mut *lock(&self.table);
            table.strangers.remove(&number);
            table.recognized.remove(&number);
        }
    }
}

fn give_way(waiting: &mut BTreeMap<u64, Waiting>, after: Duration) -> bool {
    let Some(first) = waiting.first_entry() else {
        return false;
    };
    if first.get().since.elapsed() < after {
        return false;
    }
    first.remove().gives_way.notify_one();
    true
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
        let state = &mut *lock(&self.0.state);
        state.is_over = true;
        self.0.silence.leave(state);
    }
}

/// The connection of a call, in the extensions of one that came without the token of the listener.
#[derive(Debug)]
pub struct Connection {
    silence: Arc<Silence>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Its place among the silent ones.
    number: Option<u64>,
    gives_way: Arc<Notify>,
    /// That are answered at the moment.
    calls: usize,
    is_recognized: bool,
    is_over: bool,
}

impl Connection {
    /// Somebody calls by it who may, as what serves the call has found out.
    pub fn recognize(&self) {
        lock(&self.state).is_recognized = true;
    }
}

/// A call that is answered at the moment.
pub(super) struct Call(Arc<Connection>);

impl Call {
    /// The connection that it came by.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.0
    }

    /// The same response: the call lasts until it is sent, if it is a stream.
    pub(super) fn answer(self, response: Response) -> Response {
        // What is whole already is as good as sent.
        match response.body().size_hint().exact() {
            Some(_) => response,
            None => response.map(|inner| Body::new(Answered { inner, _call: self })),
        }
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
