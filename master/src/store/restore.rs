//! Makes a store of a backup: into an empty one alone, and all or nothing.
//!
//! The first thing that is written is a mark, `restoring`, and the last thing is that it is taken away. While it is there no
//! master leads on the store, and a restore may begin anew on what an earlier one has left. A restore writes a snapshot and
//! no entry of the log, so wherever entries are, a master has led.
//!
//! The subtle thing: agents, tasks and clients may have seen more than the backup holds. So nothing that counts goes on where
//! the backup was made: not the term, of which agents obey no smaller one and ids are made; not the revisions of frameworks'
//! state, which tell one value from another; not the numbers of volumes, which tell new files from old ones. And any framework
//! may have launched something on any agent.

use proffer_leader::Session;
use proffer_model::registry::Registry;
use proffer_model::{ClusterId, Epoch, Problem, code};
use proffer_proto::encode_snapshot;

use super::file::FileStore;
use super::zookeeper::ZooKeeperStore;
use super::{StoreError, StoreUrl};
use crate::backup::Backup;
use crate::limits::{RESTORE_NUMBERS_SKIPPED, RESTORE_SESSION_TIMEOUT, RESTORE_TERMS_SKIPPED};

/// The name of the mark.
pub(crate) const RESTORING: &str = "restoring";
/// What it says, for people who look.
pub(crate) const RESTORING_TEXT: &[u8] = b"A restore into this store is not finished.\n";

/// The last term whose number fits what is made of terms.
const EPOCH_MAX: u64 = u32::MAX as u64;

/// What is written into the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The cluster's id, as it was.
    pub cluster: ClusterId,
    /// The next term's number is greater by one.
    pub epoch: Epoch,
    /// The last entry of the log that is in the snapshot.
    pub upto: u64,
    /// The snapshot.
    pub state: Vec<u8>,
}

impl Restored {
    /// What becomes of a backup now. Terms begin after `above` at least, if it is given.
    pub fn of(backup: &Backup, now_wall_ms: u64, above: Option<Epoch>) -> Result<Self, Problem> {
        let head = &backup.head;
        let seconds = now_wall_ms.saturating_sub(head.made_wall_ms) / 1_000;
        let skipped = RESTORE_TERMS_SKIPPED.saturating_add(seconds);
        let epoch = Epoch(head.epoch.0.saturating_add(skipped));
        let epoch = epoch.max(above.unwrap_or_default());
        if epoch.0 >= EPOCH_MAX {
            let message = format!("the next term would be {epoch}, and there are only {EPOCH_MAX}");
            return Err(Problem::new(code::FIELD_INVALID, message)
                .field("above_term")
                .hint("see that this host's clock is right, and give a smaller term"));
        }
        Ok(Self {
            cluster: head.cluster.clone(),
            epoch,
            upto: head.position,
            state: encode_snapshot(&moved_on(&backup.registry)),
        })
    }
}

/// The same with numbers beyond all that may have been given since.
fn moved_on(registry: &Registry) -> Registry {
    let mut registry = registry.clone();
    let skip = |number: &mut u64| *number = number.saturating_add(RESTORE_NUMBERS_SKIPPED);
    for agent in registry.agents.values_mut() {
        skip(&mut agent.volumes.last);
        agent.frameworks = u64::MAX;
    }
    for framework in registry.frameworks.values_mut() {
        skip(&mut framework.revision);
    }
    registry
}

/// Writes into the store at this place, which must be empty: whole, or no master leads on it.
pub async fn restore(url: &StoreUrl, restored: Restored) -> Result<(), Problem> {
    match url.clone() {
        StoreUrl::Memory => {
            let message = "a store in memory is forgotten when its master ends";
            Err(Problem::new(code::CONFIG_INVALID, message)
                .field("store")
                .hint("name file:DIR or zk://host:port,…/path"))
        }
        StoreUrl::File(directory) => {
            blocking(move || FileStore::restore(&directory, &restored)).await
        }
        StoreUrl::ZooKeeper(url) => {
            let session = Session::open(&url, RESTORE_SESSION_TIMEOUT).await?;
            let of_restore = session.clone();
            let written =
                blocking(move || ZooKeeperStore::restore(of_restore, &url, &restored)).await;
            session.close().await;
            written
        }
    }
}

async fn blocking(
    write: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
) -> Result<(), Problem> {
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => Ok(written?),
        Err(error) => {
            let message = format!("the restore has ended unexpectedly: {error}");
            Err(Problem::new(code::INTERNAL, message))
        }
    }
}
