//! Keeps the core's records with the master: one key each, written with the version that is expected there.
//!
//! A write is tried until it is done. When the master could not say whether it was, the value is read back. A version that
//! is not ours means that another process keeps this framework's state: then this one must stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use proffer_model::{Kind, Problem, StateKey, code};
use proffer_services_core::effect::Write;
use proffer_services_core::event::Record;

use crate::json::record::{decode_record, encode_write};
use crate::limits::{STATE_RETRY_INTERVAL, WRITES_AT_ONCE_MAX};
use crate::master::Master;

/// The kept state's keys and their versions.
pub(crate) struct Store<M> {
    master: Arc<M>,
    role: String,
    versions: BTreeMap<StateKey, u64>,
}

impl<M: Master> Store<M> {
    pub(crate) fn new(master: Arc<M>, role: String) -> Self {
        Self {
            master,
            role,
            versions: BTreeMap::new(),
        }
    }

    /// Reads everything, trying until the master answers. The error is about a value that cannot be understood, or says that
    /// the framework is not ours.
    pub(crate) async fn load(&mut self) -> Result<Vec<Record>, Problem> {
        let all = loop {
            match self.master.list().await {
                Ok(all) => break all,
                Err(problem) => pause_after(problem).await?,
            }
        };
        let mut records = Vec::with_capacity(all.len());
        for kept in all {
            records.push(decode_record(&kept.key, &kept.value, &self.role)?);
            self.versions.insert(kept.key, kept.version);
        }
        Ok(records)
    }

    /// Makes these changes durable, trying until they are. No key is named twice.
    pub(crate) async fn write(&mut self, writes: &[Write]) -> Result<(), Problem> {
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let (key, value) = encode_write(write, &self.role)?;
            let version = self.versions.get(&key).copied().unwrap_or(0);
            changes.push((key, value, version));
        }
        let master = &self.master;
        let written = stream::iter(changes.into_iter().map(|(key, value, version)| async move {
            let version = change(&**master, &key, value.as_deref(), version).await?;
            Ok::<_, Problem>((key, version))
        }));
        let versions: Vec<(StateKey, u64)> = written
            .buffer_unordered(WRITES_AT_ONCE_MAX)
            .try_collect()
            .await?;
        for (key, version) in versions {
            if version == 0 {
                self.versions.remove(&key);
            } else {
                self.versions.insert(key, version);
            }
        }
        Ok(())
    }
}

/// One change, tried until it is done; the key's new version, 0 when it is gone.
async fn change<M: Master>(
    master: &M,
    key: &StateKey,
    value: Option<&[u8]>,
    expected: u64,
) -> Result<u64, Problem> {
    let mut is_unsure = false;
    loop {
        let result = match value {
            Some(value) => master.put(key, value, expected).await,
            None if expected == 0 => return Ok(0),
            None => master.delete(key, expected).await.map(|()| 0),
        };
        match result {
            Ok(version) => return Ok(version),
            Err(problem)
                if is_unsure
                    && (problem.is(code::STATE_VERSION) || problem.is(code::STATE_KEY_UNKNOWN)) =>
            {
                match find_out(master, key, value).await? {
                    Some(version) => return Ok(version),
                    None => return Err(foreign(key)),
                }
            }
            Err(problem) if problem.is(code::STATE_VERSION) => return Err(foreign(key)),
            Err(problem) => {
                is_unsure = true;
                pause_after(problem).await?;
            }
        }
    }
}

/// The version under which exactly this stands there already; 0 for nothing there. None if something else stands there.
async fn find_out<M: Master>(
    master: &M,
    key: &StateKey,
    value: Option<&[u8]>,
) -> Result<Option<u64>, Problem> {
    loop {
        match master.get(key).await {
            Ok(None) => return Ok(value.is_none().then_some(0)),
            Ok(Some(kept)) => return Ok((Some(&kept.value[..]) == value).then_some(kept.version)),
            Err(problem) => pause_after(problem).await?,
        }
    }
}

/// Waits before the next try, unless the problem would come again.
async fn pause_after(problem: Problem) -> Result<(), Problem> {
    match problem.kind {
        Kind::Unavailable | Kind::Internal => {}
        Kind::Exhausted if !problem.is(code::STATE_TOO_LARGE) => {}
        // A fenced session ends by its own event; an old generation passes with the next session.
        Kind::Conflict if problem.is(code::SESSION_FENCED) || problem.is(code::SESSION_ORDER) => {}
        Kind::Invalid
        | Kind::NotFound
        | Kind::Conflict
        | Kind::Unauthenticated
        | Kind::Forbidden
        | Kind::Exhausted => return Err(problem),
    }
    tokio::time::sleep(STATE_RETRY_INTERVAL).await;
    Ok(())
}

fn foreign(key: &StateKey) -> Problem {
    Problem::new(code::STATE_VERSION, format!("another process has written {key} of this framework's state"))
        .hint("run one services process for each work directory; stop the other one and start this one again")
}
