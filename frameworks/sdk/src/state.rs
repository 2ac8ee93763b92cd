//! The durable state that the master keeps for a framework: keys with values and versions, so that an author needs no
//! database and no election.
//!
//! Every call carries the generation of the active session. Where another session has taken over, it is refused
//! (`session.fenced`): two processes of one framework cannot overwrite each other.

use std::fmt;
use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use proffer_model::limits::MESSAGE_LEN_MAX;
use proffer_model::state::judge_state_value;
use proffer_model::time::format_duration;
use proffer_model::{Problem, StateKey, code};
use proffer_proto::v1::framework_state_client::FrameworkStateClient;
use proffer_proto::{problem_of, v1};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::handle::{Active, no_session};

/// Which version a write expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there is replaced.
    Anything,
    /// There must be nothing.
    Nothing,
    /// There must be this version.
    Version(u64),
}

/// A value that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its key.
    pub key: StateKey,
    /// The value.
    pub value: Bytes,
    /// Grows with each write; never 0.
    pub version: u64,
}

/// What [`State::watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// A key's value: at first of every key that there is.
    Put(Stored),
    /// The key is gone.
    Deleted(StateKey),
    /// All that was there at the beginning has been told.
    UpToDate,
}

/// Reads and writes the framework's state, through the session that is active at each call. Without one, a call fails with
/// `peer.unreachable`. One above the framework's rate is made again after as long as the master says, unless that is longer than
/// a call may take: then it fails with `session.rate_limited`.
#[derive(Clone)]
pub struct State {
    active: watch::Receiver<Option<Active>>,
    call_timeout: Duration,
}

impl State {
    pub(crate) fn new(active: watch::Receiver<Option<Active>>, call_timeout: Duration) -> Self {
        Self {
            active,
            call_timeout,
        }
    }

    /// The value of a key, if there is one.
    pub async fn get(&self, key: &StateKey) -> Result<Option<Stored>, Problem> {
        let ask = |active: Active| {
            let message = v1::GetStateRequest {
                framework_id: active.session.framework.to_string(),
                generation: active.session.generation.0,
                key: key.to_string(),
            };
            async move { client(&active).get(active.request(message)).await }
        };
        match self.call(ask).await {
            Ok(response) => response.entry.map(decode_stored).transpose(),
            Err(problem) if problem.is(code::STATE_KEY_UNKNOWN) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// Writes a value of at most 256 KiB (a larger one is not sent: `state.too_large`), if the key's version is the one
    /// expected (else `state.version`); answers with the new version when the value is durable. After `peer.unreachable` it
    /// may have been written.
    pub async fn put(
        &self,
        key: &StateKey,
        value: impl Into<Bytes>,
        expected: Expected,
    ) -> Result<u64, Problem> {
        let value = value.into();
        judge_state_value(value.len())?;
        let ask = |active: Active| {
            let message = v1::PutStateRequest {
                framework_id: active.session.framework.to_string(),
                generation: active.session.generation.0,
                key: key.to_string(),
                value: value.clone(),
                expected_version: expected.version(),
            };
            async move { client(&active).put(active.request(message)).await }
        };
        let response = self.call(ask).await?;
        Ok(response.version)
    }

    /// Deletes a key, if its version is the one expected (else `state.version`).
    pub async fn delete(&self, key: &StateKey, expected: Expected) -> Result<(), Problem> {
        let ask = |active: Active| {
            let message = v1::DeleteStateRequest {
                framework_id: active.session.framework.to_string(),
                generation: active.session.generation.0,
                key: key.to_string(),
                expected_version: expected.version(),
            };
            async move { client(&active).delete(active.request(message)).await }
        };
        self.call(ask).await?;
        Ok(())
    }

    /// All keys that begin with this, with their values, ordered by key; empty: all. It is read in pages of 4 MiB: of a key that
    /// changes meanwhile, what its page found is told.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Stored>, Problem> {
        let first = self.active()?;
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let ask = |active: Active| {
                let message = v1::ListStateRequest {
                    framework_id: active.session.framework.to_string(),
                    generation: active.session.generation.0,
                    prefix: prefix.to_owned(),
                    after: Some(after.clone()),
                };
                async move { client(&active).list(active.request(message)).await }
            };
            let page = self.call_in(&first, ask).await?;
            let last = page.entries.last().map(|entry| entry.key.clone());
            for entry in page.entries {
                all.push(decode_stored(entry)?);
            }
            match last.filter(|last| page.has_more && *last > after) {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }

    /// What is there now, then each change when it is durable, in order. It never ends of itself: its last item says why it
    /// ended, such as `session.fenced`. Begin it anew in the next session.
    pub async fn watch(
        &self,
        prefix: &str,
    ) -> Result<impl Stream<Item = Result<StateChange, Problem>> + Send + Unpin + use<>, Problem>
    {
        let ask = |active: Active| {
            let message = v1::WatchStateRequest {
                framework_id: active.session.framework.to_string(),
                generation: active.session.generation.0,
                prefix: prefix.to_owned(),
            };
            async move { client(&active).watch(active.request(message)).await }
        };
        let changes = self.call(ask).await?;
        Ok(changes.filter_map(|change| ready(decode_change(change))))
    }

    fn active(&self) -> Result<Active, Problem> {
        self.active.borrow().clone().ok_or_else(no_session)
    }

    /// Asks through the session that is active. Above the rate nothing was done: it is asked again while there is time.
    async fn call<T, F>(&self, ask: impl Fn(Active) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_in(&self.active()?, ask).await
    }

    /// As [`Self::call`], unless another session has begun since this one.
    async fn call_in<T, F>(&self, first: &Active, ask: impl Fn(Active) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let give_up_at = Instant::now() + self.call_timeout;
        loop {
            let active = self.active()?;
            if active.session.generation != first.session.generation {
                // Another program may have been active in between, and have written.
                return Err(no_session());
            }
            let problem = match self.answer(ask(active)).await {
                Ok(answer) => return Ok(answer),
                Err(problem) => problem,
            };
            let is_limited = problem.is(code::SESSION_RATE_LIMITED);
            let wait = problem.retry_after.filter(|_| is_limited);
            match wait.filter(|wait| Instant::now() + *wait <= give_up_at) {
                Some(wait) => sleep(wait).await,
                None => return Err(problem),
            }
        }
    }

    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Problem> {
        match timeout(self.call_timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(problem_of(&status)),
            Err(_) => {
                let waited = format_duration(self.call_timeout);
                let message = format!("no answer within {waited}");
                Err(Problem::new(code::PEER_UNREACHABLE, message)
                    .hint("read the key to see whether it was written"))
            }
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

impl Expected {
    fn version(self) -> Option<u64> {
        match self {
            Self::Anything => None,
            Self::Nothing => Some(0),
            Self::Version(version) => Some(version),
        }
    }
}

fn client(active: &Active) -> FrameworkStateClient<Channel> {
    FrameworkStateClient::new(active.channel.clone())
        .max_decoding_message_size(MESSAGE_LEN_MAX)
        .max_encoding_message_size(MESSAGE_LEN_MAX)
}

/// None of a kind that is not known.
fn decode_change(
    change: Result<v1::WatchStateResponse, Status>,
) -> Option<Result<StateChange, Problem>> {
    use v1::watch_state_response::Change;
    let change = match change {
        Ok(change) => change.change?,
        Err(status) => return Some(Err(problem_of(&status))),
    };
    Some(match change {
        Change::Put(entry) => decode_stored(entry).map(StateChange::Put),
        Change::Deleted(key) => StateKey::new(&key).map(StateChange::Deleted),
        Change::UpToDate(_) => Ok(StateChange::UpToDate),
    })
}

fn decode_stored(entry: v1::StateEntry) -> Result<Stored, Problem> {
    Ok(Stored {
        key: StateKey::new(&entry.key)?,
        value: entry.value,
        version: entry.version,
    })
}
