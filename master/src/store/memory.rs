//! The store that forgets: for tests, and for trying things.
//!
//! A [`Disk`] may be opened several times at once, as an ensemble would be by several masters, so that what happens to
//! a deposed leader can be tested.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proffer_model::{ClusterId, Epoch};

use super::{Contents, Entry, Snapshot, Store, StoreError, new_cluster_id};

/// What outlives the stores that are opened on it.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cluster: Option<ClusterId>,
    epoch: Epoch,
    last: u64,
    entries: BTreeMap<u64, Vec<u8>>,
    snapshot: Option<Snapshot>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change below is complete before it can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store on a [`Disk`].
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    cluster: ClusterId,
    /// The epoch as this store last saw it, for the compare of compare-and-set.
    seen: Epoch,
}

impl MemoryStore {
    /// Opens the disk; the first to do so names the cluster.
    pub fn open(disk: &Disk) -> Result<Self, StoreError> {
        let fresh = new_cluster_id()?;
        let mut state = disk.state();
        let cluster = state.cluster.get_or_insert(fresh).clone();
        let seen = state.epoch;
        drop(state);
        Ok(Self {
            disk: disk.clone(),
            cluster,
            seen,
        })
    }
}

impl Store for MemoryStore {
    fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    fn raise_epoch(&mut self) -> Result<Epoch, StoreError> {
        let mut state = self.disk.state();
        if state.epoch != self.seen {
            let number = state.last;
            return Err(StoreError::Deposed { number });
        }
        state.epoch = state.epoch.next();
        self.seen = state.epoch;
        Ok(state.epoch)
    }

    fn last_entry(&mut self) -> Result<u64, StoreError> {
        Ok(self.disk.state().last)
    }

    fn read(&mut self) -> Result<Contents, StoreError> {
        let state = self.disk.state();
        let entry = |(number, bytes): (&u64, &Vec<u8>)| Entry {
            number: *number,
            bytes: bytes.clone(),
        };
        Ok(Contents {
            snapshot: state.snapshot.clone(),
            entries: state.entries.iter().map(entry).collect(),
        })
    }

    fn append(&mut self, number: u64, entry: &[u8]) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        if number <= state.last {
            return Err(StoreError::Deposed { number });
        }
        state.last = number;
        state.entries.insert(number, entry.to_vec());
        Ok(())
    }

    fn write_snapshot(&mut self, upto: u64, snapshot: &[u8]) -> Result<(), StoreError> {
        let mut state = self.disk.state();
        state.snapshot = Some(Snapshot {
            upto,
            state: snapshot.to_vec(),
        });
        state.entries.retain(|number, _| *number > upto);
        Ok(())
    }
}
