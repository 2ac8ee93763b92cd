//! The parts of a backup: its head, pieces of what the log adds up to in the store's own encoding, its end.
//!
//! How parts become a file is `proffer-master`'s. A piece is a snapshot of a few things; nothing is in two pieces but a
//! framework whose state is too large for one, and its pieces follow one another and are alike in all else. Every failure
//! here is `backup.damaged`, but for what a newer version wrote: `store.failed`, as when a store is read.

use std::collections::BTreeMap;

use proffer_model::registry::{FrameworkEntry, Registry};
use proffer_model::{ClusterId, Epoch, FrameworkId, Problem, code};
use prost::Message;

use crate::limits::STORE_SCHEMA;
use crate::record::{
    decode_registry, encode_admission_of, encode_mark_gone, encode_set_quota, encode_set_weight,
    encode_snapshot_agent, schema_of_snapshot,
};
use crate::store::v1;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupHead {
    /// Of which cluster.
    pub cluster: ClusterId,
    /// The term that made it.
    pub epoch: Epoch,
    /// The last entry of the log that is in it.
    pub position: u64,
    /// When, wall milliseconds.
    pub made_wall_ms: u64,
    /// Of the program that made it.
    pub version: String,
    /// What is in it.
    pub counts: BackupCounts,
}

/// How many of each are in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupCounts {
    /// Agents.
    pub agents: u64,
    /// Frameworks.
    pub frameworks: u64,
    /// Keys of all frameworks' state.
    pub states: u64,
    /// Ids of frameworks that are over.
    pub completed: u64,
    /// Roles with a quota.
    pub quotas: u64,
    /// Roles with a weight.
    pub weights: u64,
    /// Agents that are gone.
    pub gone: u64,
}

impl BackupCounts {
    /// Of all that is there.
    pub fn of(registry: &Registry) -> Self {
        let states = registry.frameworks.values();
        Self {
            agents: count(registry.agents.len()),
            frameworks: count(registry.frameworks.len()),
            states: states.map(|entry| count(entry.state.len())).sum(),
            completed: count(registry.completed.len()),
            quotas: count(registry.quotas.len()),
            weights: count(registry.weights.len()),
            gone: count(registry.gone.len()),
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        [
            self.agents,
            self.frameworks,
            self.states,
            self.completed,
            self.quotas,
            self.weights,
            self.gone,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }
}

/// The first part.
pub fn encode_backup_head(head: &BackupHead) -> Vec<u8> {
    let counts = &head.counts;
    v1::BackupHead {
        cluster_id: head.cluster.to_string(),
        epoch: head.epoch.0,
        position: head.position,
        made_wall_ms: head.made_wall_ms,
        version: head.version.clone(),
        counts: Some(v1::BackupCounts {
            agents: counts.agents,
            frameworks: counts.frameworks,
            states: counts.states,
            completed: counts.completed,
            quotas: counts.quotas,
            weights: counts.weights,
            gone: counts.gone,
        }),
    }
    .encode_to_vec()
}

/// Reads the first part.
pub fn decode_backup_head(bytes: &[u8]) -> Result<BackupHead, Problem> {
    let head = v1::BackupHead::decode(bytes).map_err(|error| damaged(&error))?;
    let cluster = ClusterId::new(&head.cluster_id);
    let counts = head.counts.unwrap_or_default();
    Ok(BackupHead {
        cluster: cluster.map_err(|problem| damaged(&problem.message).field("cluster_id"))?,
        epoch: Epoch(head.epoch),
        position: head.position,
        made_wall_ms: head.made_wall_ms,
        version: head.version,
        counts: BackupCounts {
            agents: counts.agents,
            frameworks: counts.frameworks,
            states: counts.states,
            completed: counts.completed,
            quotas: counts.quotas,
            weights: counts.weights,
            gone: counts.gone,
        },
    })
}

/// The last part, with the checksum of all others.
pub fn encode_backup_end(sha256: [u8; 32]) -> Vec<u8> {
    let sha256 = sha256.to_vec();
    v1::BackupEnd { sha256 }.encode_to_vec()
}

/// Reads the last part.
pub fn decode_backup_end(bytes: &[u8]) -> Result<[u8; 32], Problem> {
    let end = v1::BackupEnd::decode(bytes).map_err(|error| damaged(&error))?;
    <[u8; 32]>::try_from(end.sha256)
        .map_err(|_| damaged(&"its checksum has another length").field("sha256"))
}

/// Hands over what there is in pieces of about this many bytes, with how many records each has, until one is not taken.
pub fn encode_backup_pieces<E>(
    registry: &Registry,
    len: usize,
    mut take: impl FnMut(Vec<u8>, u64) -> Result<(), E>,
) -> Result<(), E> {
    let mut piece = Piece::new(len, &mut take);
    for (id, entry) in &registry.agents {
        let agent = encode_snapshot_agent(id, entry);
        piece.add(agent, |snapshot| &mut snapshot.agents)?;
    }
    for (id, entry) in &registry.frameworks {
        piece.add_framework(id, entry)?;
    }
    piece.snapshot.completed_count = registry.completed_count;
    piece.snapshot.framework_count = registry.framework_count;
    for (id, order) in &registry.completed {
        let completed = v1::CompletedFramework {
            framework_id: id.to_string(),
            order: *order,
        };
        piece.add(completed, |snapshot| &mut snapshot.completed)?;
    }
    for of_role in &registry.quotas {
        piece.add(encode_set_quota(of_role), |snapshot| &mut snapshot.quotas)?;
    }
    for of_role in &registry.weights {
        piece.add(encode_set_weight(of_role), |snapshot| &mut snapshot.weights)?;
    }
    for gone in &registry.gone {
        piece.add(encode_mark_gone(gone), |snapshot| &mut snapshot.gone)?;
    }
    piece.hand_over()
}

/// A piece on its way.
struct Piece<'a, T> {
    snapshot: v1::Snapshot,
    /// Bytes of it, about.
    len: usize,
    records: u64,
    /// Bytes at which it is handed over.
    len_max: usize,
    take: &'a mut T,
}

impl<'a, E, T: FnMut(Vec<u8>, u64) -> Result<(), E>> Piece<'a, T> {
    fn new(len_max: usize, take: &'a mut T) -> Self {
        Self {
            snapshot: v1::Snapshot::default(),
            len: 0,
            records: 0,
            len_max,
            take,
        }
    }

    fn add<M: Message>(
        &mut self,
        record: M,
        list: fn(&mut v1::Snapshot) -> &mut Vec<M>,
    ) -> Result<(), E> {
        self.count(record.encoded_len())?;
        list(&mut self.snapshot).push(record);
        Ok(())
    }

    /// With as much of its state as has room, and the rest in the pieces that follow.
    fn add_framework(&mut self, id: &FrameworkId, entry: &FrameworkEntry) -> Result<(), E> {
        let admission = encode_admission_of(id, entry);
        let begun = || v1::SnapshotFramework {
            framework: Some(admission.clone()),
            state: Vec::new(),
            revision: entry.revision,
            number: entry.number,
        };
        self.add(begun(), |snapshot| &mut snapshot.frameworks)?;
        for (key, stored) in &entry.state {
            let state = v1::SnapshotState {
                key: key.to_string(),
                value: stored.value.to_vec(),
                version: stored.version,
            };
            self.count(state.encoded_len())?;
            if self.snapshot.frameworks.is_empty() {
                self.snapshot.frameworks.push(begun());
            }
            if let Some(framework) = self.snapshot.frameworks.last_mut() {
                framework.state.push(state);
            }
        }
        Ok(())
    }

    /// Makes room for one more record of so many bytes.
    fn count(&mut self, len: usize) -> Result<(), E> {
        if self.records > 0 && self.len.saturating_add(len) > self.len_max {
            self.hand_over()?;
        }
        self.len = self.len.saturating_add(len);
        self.records += 1;
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), E> {
        let mut snapshot = std::mem::take(&mut self.snapshot);
        snapshot.schema = schema_of_snapshot(&snapshot);
        self.len = 0;
        (self.take)(snapshot.encode_to_vec(), std::mem::take(&mut self.records))
    }
}

/// Reads a piece, and adds it to those that came before.
pub fn decode_backup_piece(bytes: &[u8], registry: &mut Registry) -> Result<(), Problem> {
    let snapshot = v1::Snapshot::decode(bytes).map_err(|error| damaged(&error))?;
    match snapshot.schema {
        1..=STORE_SCHEMA => {}
        0 => return Err(damaged(&"a piece has no schema version").field("schema")),
        schema => {
            let message = format!(
                "a newer version wrote the backup: its records have schema version {schema}, and this one knows {STORE_SCHEMA}"
            );
            return Err(Problem::new(code::BACKUP_NEWER, message)
                .field("schema")
                .hint("restore it with the version that wrote it, or a later one"));
        }
    }
    let said = counts_of(&snapshot);
    let piece = decode_registry(snapshot).map_err(|problem| {
        let field = problem.field.clone();
        damaged(&problem.message).field(field)
    })?;
    if said != BackupCounts::of(&piece) {
        return Err(damaged(&"the same is in one piece twice"));
    }
    for (id, entry) in piece.frameworks {
        add_framework(registry, id, entry)?;
    }
    registry.completed_count = registry.completed_count.max(piece.completed_count);
    registry.framework_count = registry.framework_count.max(piece.framework_count);
    add_all(&mut registry.agents, piece.agents, "agents")?;
    add_all(&mut registry.completed, piece.completed, "completed")?;
    add_all(&mut registry.quotas, piece.quotas, "quotas")?;
    add_all(&mut registry.weights, piece.weights, "weights")?;
    add_all(&mut registry.gone, piece.gone, "gone")
}

/// What a piece says that it has.
fn counts_of(snapshot: &v1::Snapshot) -> BackupCounts {
    let states = snapshot.frameworks.iter();
    BackupCounts {
        agents: count(snapshot.agents.len()),
        frameworks: count(snapshot.frameworks.len()),
        states: states.map(|of| count(of.state.len())).sum(),
        completed: count(snapshot.completed.len()),
        quotas: count(snapshot.quotas.len()),
        weights: count(snapshot.weights.len()),
        gone: count(snapshot.gone.len()),
    }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A framework, or more of the state of one.
fn add_framework(
    registry: &mut Registry,
    id: FrameworkId,
    entry: FrameworkEntry,
) -> Result<(), Problem> {
    let Some(known) = registry.frameworks.get_mut(&id) else {
        registry.frameworks.insert(id, entry);
        return Ok(());
    };
    let is_alike = (&known.principal, &known.description, known.revision)
        == (&entry.principal, &entry.description, entry.revision);
    if !is_alike || entry.state.is_empty() {
        return Err(twice("frameworks"));
    }
    add_all(&mut known.state, entry.state, "frameworks.state")
}

fn add_all<K: Ord, V>(
    all: &mut BTreeMap<K, V>,
    more: BTreeMap<K, V>,
    what: &str,
) -> Result<(), Problem> {
    for (key, value) in more {
        if all.insert(key, value).is_some() {
            return Err(twice(what));
        }
    }
    Ok(())
}

fn twice(what: &str) -> Problem {
    damaged(&"the same is in it twice").field(what)
}

fn damaged(why: &dyn std::fmt::Display) -> Problem {
    Problem::new(
        code::BACKUP_DAMAGED,
        format!("the backup is damaged: {why}"),
    )
    .hint("use another backup, or another copy of this one")
}
