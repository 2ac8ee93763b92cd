//! The store in ZooKeeper: every entry is a node, beside the path of the election.
//!
//! ```text
//! <path>.store                    says what it is
//! <path>.store/cluster  epoch     one line each; the epoch's ends with a word of chance
//! <path>.store/log/<20 digits>    entries
//! <path>.store/largest            for a moment, as large as entries can be
//! <path>.store/snapshot/<n>.<i>   chunks, and snapshot/<n>, which makes them count
//! <path>.store/restoring          while a backup is written into it: nobody leads on it
//! <path>.store/restorer-<n>       who writes it, as long as it lives
//! ```
//!
//! What keeps an old leader from writing: all is written in the session in which the election was won, and nobody else
//! is elected before that session is over. Should that ever fail, an entry is *created*, and "exists already" means that
//! another leads. What is cut, or replaced, is older than the entries of whoever cuts. When an answer is lost, what is
//! there is read back, in the same session, and compared byte by byte; in another session nothing is tried again.
//!
//! The servers may answer reads late, but never with less than the session has seen. So the first thing is a write.

use proffer_leader::{Access, Call, Lifetime, Node, Session, SessionError, ZooKeeperUrl};
use proffer_model::{ClusterId, Epoch};

use super::frame::{self, Parsed};
use super::restore::{RESTORING, RESTORING_TEXT, Restored};
use super::{
    Contents, Entry, NAME_LEN, Snapshot, Store, StoreError, chunk_name, entry_name, first_missing,
    new_cluster_id,
};
use crate::limits::{ENTRY_LEN_MAX, ZOOKEEPER_CALL_PATHS, ZOOKEEPER_LOSSES_MAX};

/// What the root says, so that nobody else's tree is taken for a store.
const ROOT: &[u8] = b"The log of a Proffer cluster. Do not write here.\n";

/// The name of whoever restores into the store, without its number.
const RESTORER: &str = "restorer-";

/// A store in ZooKeeper, held by the elected.
#[derive(Debug)]
pub struct ZooKeeperStore {
    tree: Tree,
    cluster: ClusterId,
    epoch: Epoch,
    /// Of the epoch's node, for compare-and-set.
    epoch_version: i32,
    last: u64,
}

impl ZooKeeperStore {
    /// Opens the store beside the election in which this session was won, making it when it is new. Blocks.
    pub fn open(session: Session, url: &ZooKeeperUrl) -> Result<Self, StoreError> {
        let tree = Tree {
            session,
            root: format!("{}.store", url.path()),
        };
        tree.make_ancestors()?;
        tree.claim_root()?;
        tree.check_not_restoring()?;
        tree.make("log", b"")?;
        tree.make("snapshot", b"")?;
        tree.try_largest()?;
        let cluster = tree.load_cluster()?;
        // Once more: a restore marks the store, then looks whether it is anybody's; this is the other order.
        tree.check_not_restoring()?;
        let (epoch, epoch_version) = tree.load_epoch()?;
        let mut store = Self {
            tree,
            cluster,
            epoch,
            epoch_version,
            last: 0,
        };
        store.last_entry()?;
        Ok(store)
    }
}

impl ZooKeeperStore {
    /// Makes a store beside this election of what was restored; nothing may be there but what a restore that broke off has
    /// left. Nobody else restores into it while this session lives. Blocks.
    pub(crate) fn restore(
        session: Session,
        url: &ZooKeeperUrl,
        restored: &Restored,
    ) -> Result<(), StoreError> {
        let tree = Tree {
            session,
            root: format!("{}.store", url.path()),
        };
        tree.make_ancestors()?;
        tree.claim_root()?;
        tree.be_the_only_restorer()?;
        let is_again = tree.check_empty()?;
        if !is_again {
            tree.make(RESTORING, RESTORING_TEXT)?;
            // A master that began before it was marked gives up when it sees the mark; or it was faster.
            if let Err(error) = tree.check_empty_of("cluster") {
                tree.delete(&[RESTORING.to_owned()])?;
                return Err(error);
            }
        }
        tree.make("log", b"")?;
        tree.make("snapshot", b"")?;
        tree.try_largest()?;
        let left = tree.names("snapshot")?.into_iter();
        let mut left: Vec<String> = left.map(|name| format!("snapshot/{name}")).collect();
        left.extend(["epoch".to_owned(), "cluster".to_owned()]);
        tree.delete(&left)?;
        tree.write_snapshot(restored.upto, &restored.state)?;
        let text = epoch_text(restored.epoch)?;
        tree.put("epoch", &frame::encode(text.as_bytes()))?;
        tree.put(
            "cluster",
            &frame::encode(restored.cluster.as_str().as_bytes()),
        )?;
        tree.delete(&[RESTORING.to_owned()])
    }
}

impl Store for ZooKeeperStore {
    fn cluster(&self) -> &ClusterId {
        &self.cluster
    }

    fn raise_epoch(&mut self) -> Result<Epoch, StoreError> {
        let raised = self.epoch.next();
        let text = epoch_text(raised)?;
        let written =
            self.tree
                .write("epoch", frame::encode(text.as_bytes()), self.epoch_version)?;
        match written {
            Some(version) => {
                (self.epoch, self.epoch_version) = (raised, version);
                Ok(raised)
            }
            None => Err(StoreError::Deposed { number: self.last }),
        }
    }

    fn last_entry(&mut self) -> Result<u64, StoreError> {
        let last = numbers(&self.tree.names("log")?).last().copied();
        let upto = self.tree.newest_snapshot()?;
        self.last = last.max(upto).unwrap_or_default();
        Ok(self.last)
    }

    fn read(&mut self) -> Result<Contents, StoreError> {
        let snapshot = match self.tree.newest_snapshot()? {
            Some(upto) => Some(self.tree.read_snapshot(upto)?),
            None => None,
        };
        let upto = snapshot.as_ref().map_or(0, |snapshot| snapshot.upto);
        let mut numbers = numbers(&self.tree.names("log")?);
        numbers.retain(|number| *number > upto);
        if let Some(missing) = first_missing(upto, &numbers) {
            let missing = self.tree.path(&format!("log/{}", entry_name(missing)));
            return Err(StoreError::damaged(missing, "it is missing"));
        }
        let names = numbers
            .iter()
            .map(|number| format!("log/{}", entry_name(*number)));
        let payloads = self.tree.read_all(names.collect())?;
        let entry = |(number, bytes)| Entry { number, bytes };
        let entries = numbers.into_iter().zip(payloads).map(entry).collect();
        Ok(Contents { snapshot, entries })
    }

    fn append(&mut self, number: u64, entry: &[u8]) -> Result<(), StoreError> {
        // One that was cut could be created again.
        if number <= self.last {
            return Err(StoreError::Deposed { number });
        }
        let name = format!("log/{}", entry_name(number));
        match self.tree.create(&name, &frame::encode(entry))? {
            true => {
                self.last = number;
                Ok(())
            }
            false => Err(StoreError::Deposed { number }),
        }
    }

    fn write_snapshot(&mut self, upto: u64, state: &[u8]) -> Result<(), StoreError> {
        self.tree.write_snapshot(upto, state)?;
        self.tree.cut(upto)
    }
}

/// The nodes of the store.
#[derive(Debug)]
struct Tree {
    session: Session,
    root: String,
}

impl Tree {
    fn path(&self, name: &str) -> String {
        match name {
            "" => self.root.clone(),
            _ => format!("{}/{name}", self.root),
        }
    }

    fn make_ancestors(&self) -> Result<(), StoreError> {
        for (at, _) in self.root.match_indices('/').skip(1) {
            let ancestor = self.root.get(..at).unwrap_or_default();
            if self.read_node(ancestor)?.is_none() {
                let created =
                    self.session
                        .create(ancestor, Vec::new(), Access::Readable, Lifetime::Lasting);
                match created.wait() {
                    Ok(_) | Err(SessionError::Exists { .. }) => {}
                    Err(error) => return Err(StoreError::zookeeper("create", ancestor)(error)),
                }
            }
        }
        Ok(())
    }

    /// Makes the root, or finds that it is ours; either way it is written, so that what is read from now on is not older
    /// than the session.
    fn claim_root(&self) -> Result<(), StoreError> {
        if self.create("", ROOT)? {
            return Ok(());
        }
        let found = self.read_node(&self.root)?.unwrap_or_default();
        if !found.bytes.is_empty() && found.bytes != ROOT {
            let why = "it is somebody else's: choose another path for this cluster";
            return Err(StoreError::damaged(&self.root, why));
        }
        self.overwrite(&self.root, ROOT)
    }

    /// Finds out before anything is promised whether the servers take the largest of entries. Those whose limit is
    /// smaller do not refuse: they hang up.
    fn try_largest(&self) -> Result<(), StoreError> {
        self.put("largest", &frame::encode(&vec![0; ENTRY_LEN_MAX]))?;
        let deleted = self.session.delete(vec![self.path("largest")]).wait();
        deleted.map_err(StoreError::zookeeper("delete", &self.path("largest")))
    }

    /// Writes a snapshot in chunks, then what makes them count.
    fn write_snapshot(&self, upto: u64, state: &[u8]) -> Result<(), StoreError> {
        let chunks = state.chunks(ENTRY_LEN_MAX);
        let manifest = format!("{} {}", chunks.len(), state.len());
        for (index, chunk) in chunks.enumerate() {
            let name = format!("snapshot/{}", chunk_name(upto, index));
            self.put(&name, &frame::encode(chunk))?;
        }
        let name = format!("snapshot/{}", entry_name(upto));
        self.put(&name, &frame::encode(manifest.as_bytes()))
    }

    fn check_not_restoring(&self) -> Result<(), StoreError> {
        let place = self.path(RESTORING);
        match self.read_node(&place)? {
            None => Ok(()),
            Some(_) => Err(StoreError::Unfinished { place }),
        }
    }

    /// Refuses to be the second: whoever has the smallest number restores.
    fn be_the_only_restorer(&self) -> Result<(), StoreError> {
        let path = self.path(RESTORER);
        let made = self.session.create(
            path.as_str(),
            Vec::new(),
            Access::Creator,
            Lifetime::SessionNumbered,
        );
        let own = made
            .wait()
            .map_err(StoreError::zookeeper("create", &path))?;
        for name in self.names("")? {
            let path = self.path(&name);
            if name.starts_with(RESTORER) && path < own {
                return Err(StoreError::Unfinished { place: path });
            }
        }
        Ok(())
    }

    /// Refuses to write where anything is that a restore has not left. Answers whether one has.
    fn check_empty(&self) -> Result<bool, StoreError> {
        let names = self.names("")?;
        let is_again = names.iter().any(|name| name == RESTORING);
        let mut found = Vec::new();
        for name in names {
            match name.as_str() {
                "cluster" | "epoch" if is_again => {}
                "log" => found.extend(self.names("log")?.first().map(|it| format!("log/{it}"))),
                "snapshot" if is_again => {}
                "snapshot" => {
                    let first = self.names("snapshot")?;
                    found.extend(first.first().map(|it| format!("snapshot/{it}")));
                }
                "largest" | RESTORING => {}
                name if name.starts_with(RESTORER) => {}
                _ => found.push(name),
            }
        }
        match found.first() {
            None => Ok(is_again),
            Some(name) => Err(StoreError::NotEmpty {
                place: self.path(name),
            }),
        }
    }

    fn check_empty_of(&self, name: &str) -> Result<(), StoreError> {
        let place = self.path(name);
        match self.read_node(&place)? {
            None => Ok(()),
            Some(_) => Err(StoreError::NotEmpty { place }),
        }
    }

    fn delete(&self, names: &[String]) -> Result<(), StoreError> {
        for part in names.chunks(ZOOKEEPER_CALL_PATHS) {
            let paths = part.iter().map(|name| self.path(name)).collect();
            let deleted = self.session.delete(paths).wait();
            deleted.map_err(StoreError::zookeeper("delete", &self.root))?;
        }
        Ok(())
    }

    fn make(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.create(name, bytes).map(|_| ())
    }

    /// Creates a node; false when another has created it.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let path = self.path(name);
        let mut losses = Losses::default();
        loop {
            let created = self
                .session
                .create(&path, bytes.to_vec(), Access::Creator, Lifetime::Lasting)
                .wait();
            match created {
                Ok(_) => return Ok(true),
                Err(SessionError::Exists { .. }) if losses.any() => {
                    let found = self.read_node(&path)?;
                    return Ok(found.is_some_and(|node| node.bytes == bytes));
                }
                Err(SessionError::Exists { .. }) => return Ok(false),
                Err(SessionError::Unknown) => losses.count(&path, bytes.len())?,
                Err(error) => return Err(StoreError::zookeeper("create", &path)(error)),
            }
        }
    }

    /// Writes a node that has this version; answers the new one, or none when another has written it. No two writers
    /// write the same bytes.
    fn write(&self, name: &str, bytes: Vec<u8>, version: i32) -> Result<Option<i32>, StoreError> {
        let path = self.path(name);
        let mut losses = Losses::default();
        loop {
            let written = self
                .session
                .write(&path, bytes.clone(), Some(version))
                .wait();
            match written {
                Ok(version) => return Ok(Some(version)),
                Err(SessionError::Changed { .. }) if losses.any() => {
                    let found = self.read_node(&path)?.filter(|node| node.bytes == bytes);
                    return Ok(found.map(|node| node.version));
                }
                Err(SessionError::Changed { .. }) => return Ok(None),
                Err(SessionError::Unknown) => losses.count(&path, bytes.len())?,
                Err(error) => return Err(StoreError::zookeeper("write", &path)(error)),
            }
        }
    }

    /// Creates or writes a node that nobody else writes.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if self.create(name, bytes)? {
            return Ok(());
        }
        self.overwrite(&self.path(name), bytes)
    }

    /// Writes a node, whatever it says, until that is certain.
    fn overwrite(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut losses = Losses::default();
        loop {
            match self.session.write(path, bytes.to_vec(), None).wait() {
                Ok(_) => return Ok(()),
                Err(SessionError::Unknown) => losses.count(path, bytes.len())?,
                Err(error) => return Err(StoreError::zookeeper("write", path)(error)),
            }
        }
    }

    /// Removes entries up to this one, and everything of older snapshots; what is newer is somebody else's.
    fn cut(&self, upto: u64) -> Result<(), StoreError> {
        let number = |name: &str| name.split('.').next().and_then(number_of);
        let mut paths = Vec::new();
        for name in self.names("log")? {
            if number_of(&name).is_some_and(|number| number <= upto) {
                paths.push(self.path(&format!("log/{name}")));
            }
        }
        let mut snapshots = self.names("snapshot")?;
        // What makes chunks count goes before them: it is the shorter name.
        snapshots.sort_unstable();
        for name in snapshots {
            if number(&name).is_some_and(|number| number < upto) {
                paths.push(self.path(&format!("snapshot/{name}")));
            }
        }
        for part in paths.chunks(ZOOKEEPER_CALL_PATHS) {
            let deleted = self.session.delete(part.to_vec()).wait();
            deleted.map_err(StoreError::zookeeper("cut", &self.root))?;
        }
        Ok(())
    }

    fn names(&self, name: &str) -> Result<Vec<String>, StoreError> {
        let path = self.path(name);
        let names = self.session.list(&path).wait();
        match names.map_err(StoreError::zookeeper("list", &path))? {
            Some(names) => Ok(names),
            None => Err(StoreError::damaged(path, "it is missing")),
        }
    }

    fn newest_snapshot(&self) -> Result<Option<u64>, StoreError> {
        Ok(numbers(&self.names("snapshot")?).last().copied())
    }

    fn read_snapshot(&self, upto: u64) -> Result<Snapshot, StoreError> {
        let name = format!("snapshot/{}", entry_name(upto));
        let text = self.read_text(&name)?.unwrap_or_default();
        let said = text
            .split_once(' ')
            .and_then(|(chunks, length)| Some((chunks.parse().ok()?, length.parse().ok()?)));
        let Some((chunks, length)) = said else {
            let why = "it is not a list of chunks";
            return Err(StoreError::damaged(self.path(&name), why));
        };
        let (chunks, length): (usize, usize) = (chunks, length);
        if chunks != length.div_ceil(ENTRY_LEN_MAX) {
            let why = "its chunks and its length do not fit";
            return Err(StoreError::damaged(self.path(&name), why));
        }
        let names = (0..chunks).map(|index| format!("snapshot/{}", chunk_name(upto, index)));
        let state = self.read_all(names.collect())?.concat();
        if state.len() != length {
            let why = "its chunks are not as long";
            return Err(StoreError::damaged(self.path(&name), why));
        }
        Ok(Snapshot { upto, state })
    }

    /// The payloads of nodes that must be there.
    fn read_all(&self, names: Vec<String>) -> Result<Vec<Vec<u8>>, StoreError> {
        let paths: Vec<String> = names.iter().map(|name| self.path(name)).collect();
        let mut payloads = Vec::with_capacity(paths.len());
        for part in paths.chunks(ZOOKEEPER_CALL_PATHS) {
            let nodes = self.ask("read", &self.root, self.session.read(part.to_vec()))?;
            for (path, node) in part.iter().zip(nodes) {
                let node = node.ok_or_else(|| StoreError::damaged(path, "it is missing"))?;
                payloads.push(payload(path, &node)?);
            }
        }
        Ok(payloads)
    }

    fn read_text(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.path(name);
        let Some(node) = self.read_node(&path)? else {
            return Ok(None);
        };
        match String::from_utf8(payload(&path, &node)?) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(StoreError::damaged(path, "it is not text")),
        }
    }

    fn read_node(&self, path: &str) -> Result<Option<Node>, StoreError> {
        let nodes = self.ask("read", path, self.session.read(vec![path.to_owned()]))?;
        Ok(nodes.into_iter().next().flatten())
    }

    fn ask<T>(&self, action: &'static str, path: &str, call: Call<T>) -> Result<T, StoreError> {
        call.wait().map_err(StoreError::zookeeper(action, path))
    }

    fn load_cluster(&self) -> Result<ClusterId, StoreError> {
        let text = match self.read_text("cluster")? {
            Some(text) => text,
            None => {
                // A store with a log but without a name is not new: it has lost a node.
                if self.read_text("epoch")?.is_some() || !self.names("log")?.is_empty() {
                    return Err(StoreError::damaged(self.path("cluster"), "it is missing"));
                }
                let cluster = new_cluster_id()?;
                self.make("cluster", &frame::encode(cluster.as_str().as_bytes()))?;
                self.read_text("cluster")?.unwrap_or_default()
            }
        };
        ClusterId::new(&text)
            .map_err(|problem| StoreError::damaged(self.path("cluster"), problem.message))
    }

    fn load_epoch(&self) -> Result<(Epoch, i32), StoreError> {
        let path = self.path("epoch");
        if self.read_node(&path)?.is_none() {
            let text = epoch_text(Epoch::default())?;
            self.make("epoch", &frame::encode(text.as_bytes()))?;
        }
        let node = self.read_node(&path)?.unwrap_or_default();
        let text = payload(&path, &node)?;
        let text = String::from_utf8_lossy(&text);
        let number = text.split(' ').next().and_then(|text| text.parse().ok());
        match number {
            Some(number) => Ok((Epoch(number), node.version)),
            None => Err(StoreError::damaged(path, "it is not a number")),
        }
    }
}

/// How often the answer to one write was lost.
#[derive(Debug, Default)]
struct Losses(u32);

impl Losses {
    /// Whether the write may have been done already.
    fn any(&self) -> bool {
        self.0 > 0
    }

    /// Once more. What is lost again and again would be lost for ever.
    fn count(&mut self, path: &str, bytes: usize) -> Result<(), StoreError> {
        self.0 += 1;
        match self.0 < ZOOKEEPER_LOSSES_MAX {
            true => Ok(()),
            false => Err(StoreError::HungUp {
                path: path.to_owned(),
                bytes,
            }),
        }
    }
}

/// The epoch, and a word that tells this raising of it from all others.
fn epoch_text(epoch: Epoch) -> Result<String, StoreError> {
    let unmade = |error: getrandom::Error| StoreError::damaged("the epoch", error.to_string());
    let chance = getrandom::u64().map_err(unmade)?;
    Ok(format!("{epoch} {chance:016x}"))
}

fn payload(path: &str, node: &Node) -> Result<Vec<u8>, StoreError> {
    match frame::parse(&node.bytes) {
        Parsed::Whole(payload) => Ok(payload),
        Parsed::Incomplete => Err(StoreError::damaged(path, "it is cut short")),
        Parsed::Damaged(why) => Err(StoreError::damaged(path, why)),
        Parsed::Newer(found) => Err(StoreError::Newer {
            place: path.to_owned(),
            found: found.into(),
            known: frame::VERSION.into(),
        }),
    }
}

fn number_of(name: &str) -> Option<u64> {
    let is_ours = name.len() == NAME_LEN && name.bytes().all(|byte| byte.is_ascii_digit());
    is_ours.then(|| name.parse().ok()).flatten()
}

/// The numbers of nodes whose names are numbers, in order.
fn numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    numbers
}
