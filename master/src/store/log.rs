//! A term's hold on the log: what entries mean, when the log is cut, and that the term is the newest.
//!
//! The order at the start is the whole point: the epoch is raised, then the term entry is created, and only then is
//! anything read that counts. So nobody can have written after what was read. The registry is kept here as well as in
//! the core, so that a snapshot can be made without asking the core for it.

use proffer_model::registry::{Operation, Registry};
use proffer_model::{ClusterId, Epoch, Problem};
use proffer_proto::{decode_batch, decode_snapshot, encode_batch, encode_snapshot};

use super::{Contents, Store, StoreError};
use crate::limits::{ENTRIES_PER_SNAPSHOT, ENTRY_LEN_MAX};

/// The log, held by the leader of one term.
pub struct Log {
    store: Box<dyn Store>,
    epoch: Epoch,
    registry: Registry,
    last: u64,
    /// The last entry that the snapshot covers.
    cut: u64,
}

impl Log {
    /// Begins a term: raises the epoch, writes the term entry, reads everything. Everything is read once before, so that
    /// a start that fails on what is there, again and again, does not make the log longer.
    pub fn begin_term(mut store: Box<dyn Store>) -> Result<Self, StoreError> {
        let (_, newest) = add_up(store.read()?)?;
        let epoch = store.raise_epoch()?;
        check_newest(newest, epoch, Epoch::default())?;
        let last = store.last_entry()?.saturating_add(1);
        store.append(last, &encode_batch(epoch, &[]))?;
        let contents = store.read()?;
        let cut = contents
            .snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.upto);
        let (registry, newest) = add_up(contents)?;
        check_newest(newest, epoch, epoch)?;
        let mut log = Self {
            store,
            epoch,
            registry,
            last,
            cut,
        };
        log.cut_if_long()?;
        Ok(log)
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &ClusterId {
        self.store.cluster()
    }

    /// This term's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What the log adds up to.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The last entry that there is.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many entries the log holds.
    pub fn len(&self) -> u64 {
        self.last.saturating_sub(self.cut)
    }

    /// Whether the log holds no entry; never so during a term, which begins with one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes operations durable, in order, in as few entries as they fit in. After an error some of them may be, and
    /// the term is over.
    pub fn append<'a>(
        &mut self,
        operations: impl IntoIterator<Item = &'a Operation>,
    ) -> Result<(), StoreError> {
        let (mut entry, mut covered) = (Vec::new(), Vec::new());
        for operation in operations {
            // Protobuf messages joined end to end are read as one, with the lists joined.
            let record = encode_batch(self.epoch, std::slice::from_ref(operation));
            if !entry.is_empty() && entry.len() + record.len() > ENTRY_LEN_MAX {
                self.append_entry(&std::mem::take(&mut entry), covered.drain(..))?;
            }
            entry.extend_from_slice(&record);
            covered.push(operation);
        }
        if !entry.is_empty() {
            self.append_entry(&entry, covered.drain(..))?;
        }
        Ok(())
    }

    /// Appends one entry, which holds these operations; the registry must never be ahead of the log, or a snapshot
    /// would say something twice.
    fn append_entry<'a>(
        &mut self,
        entry: &[u8],
        covered: impl Iterator<Item = &'a Operation>,
    ) -> Result<(), StoreError> {
        let next = self.last.saturating_add(1);
        self.store.append(next, entry)?;
        self.last = next;
        covered.for_each(|operation| self.registry.apply(operation));
        self.cut_if_long()
    }

    fn cut_if_long(&mut self) -> Result<(), StoreError> {
        if self.len() >= ENTRIES_PER_SNAPSHOT {
            self.store
                .write_snapshot(self.last, &encode_snapshot(&self.registry))?;
            self.cut = self.last;
        }
        Ok(())
    }
}

/// The term of an entry of the log, and the entry's number.
type Written = (Epoch, u64);

/// The registry that a store's contents add up to, and the newest term that has an entry in the log.
fn add_up(contents: Contents) -> Result<(Registry, Option<Written>), StoreError> {
    let unreadable = |place: String| {
        |problem: Problem| StoreError::Unreadable {
            place,
            problem: problem.into(),
        }
    };
    let mut registry = match contents.snapshot {
        Some(snapshot) => {
            let place = format!("the snapshot up to entry {}", snapshot.upto);
            decode_snapshot(&snapshot.state).map_err(unreadable(place))?
        }
        None => Registry::default(),
    };
    let mut newest: Option<Written> = None;
    for entry in contents.entries {
        let place = format!("entry {} of the log", entry.number);
        let (term, operations) = decode_batch(&entry.bytes).map_err(unreadable(place))?;
        newest = newest.max(Some((term, entry.number)));
        for operation in &operations {
            registry.apply(operation);
        }
    }
    Ok((registry, newest))
}

/// Every term in the log is older than this one, but for its own entry, which is of `own`: a lost epoch must not give
/// the ids and incarnations of an earlier term again.
fn check_newest(newest: Option<Written>, epoch: Epoch, own: Epoch) -> Result<(), StoreError> {
    match newest {
        Some((term, number)) if term >= epoch && term != own => {
            let place = format!("entry {number} of the log");
            let why = format!("it is of term {term}, and this term is only {epoch}");
            Err(StoreError::damaged(place, why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proffer_model::code;

    use super::*;
    use crate::store::file::FileStore;
    use crate::store::memory::{Disk, MemoryStore};

    fn begin(disk: &Disk) -> Log {
        Log::begin_term(Box::new(MemoryStore::open(disk).expect("open"))).expect("a term")
    }

    /// An admission, and `count` writes of `len` bytes to one key.
    fn operations(count: usize, len: usize) -> Vec<Operation> {
        let framework: proffer_model::FrameworkId = "f".parse().expect("id");
        let description = proffer_model::FrameworkDescription {
            name: "web".into(),
            roles: vec!["eng/web".parse().expect("role")],
            failover_timeout: std::time::Duration::from_secs(60),
            mesos: None,
        };
        let admit = Operation::AdmitFramework {
            framework: framework.clone(),
            principal: "local".parse().expect("principal"),
            description,
            is_away: false,
        };
        let put = Operation::PutState {
            framework,
            key: "key".parse().expect("key"),
            value: vec![7; len].into(),
        };
        std::iter::once(admit)
            .chain(std::iter::repeat_n(put, count))
            .collect()
    }

    #[test]
    fn a_term_finds_what_earlier_terms_wrote() {
        let disk = Disk::default();
        let mut first = begin(&disk);
        assert_eq!((first.epoch(), first.len()), (Epoch(1), 1));
        first.append(&operations(3, 10)).expect("append");
        let second = begin(&disk);
        assert_eq!((second.epoch(), second.len()), (Epoch(2), 3));
        assert_eq!(second.registry(), first.registry());
        assert_eq!(second.cluster(), first.cluster());
        assert_eq!(
            second
                .registry()
                .frameworks
                .values()
                .map(|f| f.revision)
                .collect::<Vec<_>>(),
            [3]
        );
    }

    #[test]
    fn a_leader_whose_successor_has_begun_is_deposed() {
        let disk = Disk::default();
        let mut old = begin(&disk);
        let _new = begin(&disk);
        let problem = Problem::from(old.append(&operations(0, 0)).expect_err("deposed"));
        assert!(problem.is(code::STORE_DEPOSED), "{problem}");
    }

    #[test]
    fn large_batches_are_split_into_entries_below_the_limit() {
        let disk = Disk::default();
        let mut log = begin(&disk);
        log.append(&operations(9, 200 * 1024)).expect("append");
        // Two values of 200 KiB fit an entry of 512 KiB: 2, 2, 2, 2, 1; and the term entry.
        assert_eq!(log.len(), 6);
        let read = MemoryStore::open(&disk)
            .and_then(|mut store| store.read())
            .expect("read");
        assert!(
            read.entries
                .iter()
                .all(|entry| entry.bytes.len() <= ENTRY_LEN_MAX)
        );
        assert_eq!(begin(&disk).registry(), log.registry());
    }

    #[test]
    fn a_batch_of_many_entries_is_cut_on_the_way_without_counting_anything_twice() {
        let disk = Disk::default();
        let mut log = begin(&disk);
        let count = usize::try_from(ENTRIES_PER_SNAPSHOT).expect("small") + 10;
        log.append(&operations(count, ENTRY_LEN_MAX / 2))
            .expect("append");
        assert!(log.len() < ENTRIES_PER_SNAPSHOT);
        assert_eq!(begin(&disk).registry(), log.registry());
    }

    #[test]
    fn the_log_is_cut_before_it_is_long_and_nothing_is_lost() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || -> Log {
            let store = FileStore::open(directory.path()).expect("open");
            Log::begin_term(Box::new(store)).expect("a term")
        };
        let mut log = open();
        for _ in 0..2 * ENTRIES_PER_SNAPSHOT {
            log.append(&operations(1, 1)).expect("append");
            assert!(log.len() < ENTRIES_PER_SNAPSHOT);
        }
        let registry = log.registry().clone();
        drop(log);
        assert_eq!(open().registry(), &registry);
    }

    #[test]
    fn a_start_that_fails_on_what_is_stored_leaves_the_log_as_it_was() {
        let disk = Disk::default();
        let mut store = MemoryStore::open(&disk).expect("open");
        store
            .append(1, &encode_batch(Epoch(3), &[]))
            .expect("append");
        for start in 1..=3 {
            let begun = Log::begin_term(Box::new(MemoryStore::open(&disk).expect("open")));
            assert!(begun.is_err(), "start {start}: an epoch is given once");
            assert_eq!(store.last_entry().expect("last"), 1);
        }
        assert_eq!(begin(&disk).epoch(), Epoch(4));
        store.append(3, &[0xff]).expect("append");
        for _ in 0..2 {
            let begun = Log::begin_term(Box::new(MemoryStore::open(&disk).expect("open")));
            assert!(begun.is_err());
            assert_eq!(store.last_entry().expect("last"), 3);
        }
    }

    #[test]
    fn entries_of_a_later_schema_or_a_later_term_mean_refusing_to_lead() {
        let later_term = encode_batch(Epoch(9), &[]);
        // A batch with one record, whose schema (field 1) is 200 and whose operation is not known.
        let later_schema = vec![0x12, 3, 0x08, 0xC8, 0x01];
        for (entry, expected) in [(later_term, "term 9"), (later_schema, "entry 1")] {
            let disk = Disk::default();
            let mut store = MemoryStore::open(&disk).expect("open");
            store.append(1, &entry).expect("append");
            let begun = Log::begin_term(Box::new(store));
            let problem = Problem::from(begun.err().expect("refused"));
            assert!(problem.is(code::STORE_FAILED), "{problem}");
            assert!(problem.message.contains(expected), "{problem}");
        }
    }
}
