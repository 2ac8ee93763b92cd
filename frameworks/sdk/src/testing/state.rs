//! The durable state of the fake master: keys with versions, generations that fence, watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use proffer_model::{Problem, code};
use proffer_proto::v1::framework_state_server::FrameworkState;
use proffer_proto::{status_of, v1};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use v1::watch_state_response::Change;

/// Changes that wait for a watch of a test that does not read; the watch ends there.
const CHANGES_MAX: usize = 1_024;

/// Bytes of keys and values in one answer to a list, as of the master.
const PAGE_LEN_MAX: usize = 4 * 1024 * 1024;

/// Keys with values and versions; calls of another generation than this are fenced.
#[derive(Debug, Default)]
pub struct StateTable {
    /// Of the active session.
    pub generation: u64,
    /// So many calls are refused first, as above the rate; they may be made again after so long.
    pub refused: (u32, Duration),
    entries: BTreeMap<String, v1::StateEntry>,
    revision: u64,
    watches: Vec<StateWatch>,
}

#[derive(Debug)]
struct StateWatch {
    prefix: String,
    generation: u64,
    changes: mpsc::Sender<Result<v1::WatchStateResponse, Status>>,
}

pub(super) struct StateService(Arc<Mutex<StateTable>>);

impl StateService {
    pub(super) fn new(table: Arc<Mutex<StateTable>>) -> Self {
        Self(table)
    }

    fn table(&self, generation: u64) -> Result<MutexGuard<'_, StateTable>, Status> {
        let mut table = self.0.lock().unwrap();
        let (count, wait) = table.refused;
        if let Some(left) = count.checked_sub(1) {
            table.refused = (left, wait);
            let refused = Problem::new(code::SESSION_RATE_LIMITED, "too much");
            return Err(status_of(refused.retry_after(wait)));
        }
        match table.generation == generation {
            true => Ok(table),
            false => Err(status_of(Problem::new(
                code::SESSION_FENCED,
                "an older generation",
            ))),
        }
    }
}

fn response(change: Change) -> v1::WatchStateResponse {
    v1::WatchStateResponse {
        change: Some(change),
    }
}

impl StateTable {
    /// Ends the watches of other generations than the current one.
    pub fn fence(&mut self) {
        for watch in &self.watches {
            if watch.generation != self.generation {
                let over = Problem::new(code::SESSION_FENCED, "another generation");
                let _ = watch.changes.try_send(Err(status_of(over)));
            }
        }
        let generation = self.generation;
        self.watches.retain(|watch| watch.generation == generation);
    }

    fn tell(&mut self, key: &str, change: &Change) {
        self.watches.retain(|watch| {
            let is_wanted = key.starts_with(&watch.prefix);
            !is_wanted || watch.changes.try_send(Ok(response(change.clone()))).is_ok()
        });
    }

    fn check(&self, key: &str, expected: Option<u64>) -> Result<(), Status> {
        let version = self.entries.get(key).map_or(0, |entry| entry.version);
        match expected.is_none_or(|expected| expected == version) {
            true => Ok(()),
            false => Err(status_of(Problem::new(
                code::STATE_VERSION,
                "another version",
            ))),
        }
    }
}

#[tonic::async_trait]
impl FrameworkState for StateService {
    type WatchStream = BoxStream<'static, Result<v1::WatchStateResponse, Status>>;

    async fn watch(
        &self,
        request: Request<v1::WatchStateRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let mut table = self.table(request.generation)?;
        let (changes, received) = mpsc::channel(CHANGES_MAX);
        let entries = table.entries.values();
        let entries = entries.filter(|entry| entry.key.starts_with(&request.prefix));
        let there: Vec<_> = entries.cloned().map(Change::Put).collect();
        let first = there.into_iter().chain([Change::UpToDate(true)]);
        let first: Vec<_> = first.map(|change| Ok(response(change))).collect();
        table.watches.push(StateWatch {
            prefix: request.prefix,
            generation: request.generation,
            changes,
        });
        let later = ReceiverStream::new(received);
        Ok(Response::new(
            futures::stream::iter(first).chain(later).boxed(),
        ))
    }

    async fn get(
        &self,
        request: Request<v1::GetStateRequest>,
    ) -> Result<Response<v1::GetStateResponse>, Status> {
        let request = request.into_inner();
        let table = self.table(request.generation)?;
        let entry = table.entries.get(&request.key).cloned();
        let unknown = || status_of(Problem::new(code::STATE_KEY_UNKNOWN, "no such key"));
        let entry = Some(entry.ok_or_else(unknown)?);
        Ok(Response::new(v1::GetStateResponse { entry }))
    }

    async fn put(
        &self,
        request: Request<v1::PutStateRequest>,
    ) -> Result<Response<v1::PutStateResponse>, Status> {
        let request = request.into_inner();
        let mut table = self.table(request.generation)?;
        table.check(&request.key, request.expected_version)?;
        table.revision += 1;
        let version = table.revision;
        let entry = v1::StateEntry {
            key: request.key.clone(),
            value: request.value,
            version,
        };
        table.tell(&request.key, &Change::Put(entry.clone()));
        table.entries.insert(request.key, entry);
        Ok(Response::new(v1::PutStateResponse { version }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteStateRequest>,
    ) -> Result<Response<v1::DeleteStateResponse>, Status> {
        let request = request.into_inner();
        let mut table = self.table(request.generation)?;
        table.check(&request.key, request.expected_version)?;
        if table.entries.remove(&request.key).is_some() {
            let gone = Change::Deleted(request.key.clone());
            table.tell(&request.key, &gone);
        }
        Ok(Response::new(v1::DeleteStateResponse {}))
    }

    async fn list(
        &self,
        request: Request<v1::ListStateRequest>,
    ) -> Result<Response<v1::ListStateResponse>, Status> {
        let request = request.into_inner();
        let table = self.table(request.generation)?;
        let after = request.after.unwrap_or_default();
        let found = table.entries.values();
        let found = found.filter(|it| it.key.starts_with(&request.prefix) && it.key > after);
        let (mut entries, mut len, mut has_more) = (Vec::new(), 0, false);
        for entry in found {
            len += entry.key.len() + entry.value.len();
            has_more |= len > PAGE_LEN_MAX;
            entries.extend((!has_more).then(|| entry.clone()));
        }
        Ok(Response::new(v1::ListStateResponse { entries, has_more }))
    }
}
