//! The store's files: `layers/<digest>/{root,size}`, `configs/<image>`, `archives/<image>`, and `scratch/` for what is
//! being made or removed.
//!
//! A layer and a configuration appear by a rename, after all of them is on the disk, and a configuration after its layers;
//! so what is there is whole. `archives/<image>` says which files the image was loaded from, in the state in which they
//! were: it saves reading them again and nothing else depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::Collected;
use super::collect::{Kept, plan};
use super::digest::Digest;
use super::source::Stamp;
use crate::limits::IMAGE_ARCHIVES_KNOWN_MAX;

const LAYERS: &str = "layers";
const CONFIGS: &str = "configs";
const ARCHIVES: &str = "archives";
const SCRATCH: &str = "scratch";
const ROOT: &str = "root";
const SIZE: &str = "size";

/// The directories, and what threads of this agent say to one another about them.
#[derive(Debug)]
pub(super) struct Store {
    dir: PathBuf,
    scratches: AtomicU64,
    shared: Mutex<Shared>,
    /// An archive is no longer being read.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Shared {
    /// Images in hand, how often, and their layers: neither is removed.
    held: BTreeMap<Digest, (usize, Vec<Digest>)>,
    /// Archives that some thread reads, by device and inode.
    busy: BTreeSet<(u64, u64)>,
    /// From what which image was loaded.
    known: BTreeMap<Stamp, Digest>,
}

/// Keeps an image and its layers from being removed.
#[derive(Debug)]
pub(super) struct Hold {
    store: Arc<Store>,
    id: Digest,
}

/// Keeps other threads from reading the same archive at the same time.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    store: &'a Store,
    archive: (u64, u64),
}

/// A directory that is being filled. It goes with this, unless it was kept.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Store {
    /// Makes the directories, and removes what an earlier life has left half made.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(dir)?;
        let dir = dir.canonicalize()?;
        // Images bring set-user-id programs and devices' names along: nobody else reaches them from outside.
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        let scratch = dir.join(SCRATCH);
        if fs::exists(&scratch)? {
            fs::remove_dir_all(&scratch)?;
        }
        for name in [LAYERS, CONFIGS, ARCHIVES, SCRATCH] {
            builder.create(dir.join(name))?;
        }
        let store = Self {
            dir,
            scratches: AtomicU64::new(0),
            shared: Mutex::default(),
            freed: Condvar::new(),
        };
        let known = store.read_known()?;
        store.shared().known = known;
        Ok(store)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn scratch_dir(&self) -> PathBuf {
        self.dir.join(SCRATCH)
    }

    /// The directory of an unpacked layer.
    pub(super) fn layer_root(&self, layer: Digest) -> PathBuf {
        self.layer_dir(layer).join(ROOT)
    }

    pub(super) fn has_layer(&self, layer: Digest) -> bool {
        // What cannot be looked at is made again, and making it says why.
        fs::exists(self.layer_root(layer)).unwrap_or(false)
    }

    /// The configuration of an image that was loaded whole, if it is there.
    pub(super) fn config(&self, id: Digest) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.config_path(id)) {
            Ok(config) => Ok(Some(config).filter(|config| Digest::of(config) == id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes that the image was used just now.
    pub(super) fn touch(&self, id: Digest) {
        let touched =
            File::open(self.config_path(id)).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!(%error, image = %id, "the time of its use is not noted");
        }
    }

    /// Keeps an image and its layers from now on, whether they are there already or not.
    pub(super) fn hold(self: &Arc<Self>, id: Digest, layers: &[Digest]) -> Hold {
        let mut shared = self.shared();
        let held = shared.held.entry(id);
        held.or_insert_with(|| (0, layers.to_vec())).0 += 1;
        Hold {
            store: Arc::clone(self),
            id,
        }
    }

    /// Waits until no other thread reads this archive.
    pub(super) fn turn(&self, stamp: &Stamp) -> Turn<'_> {
        let archive = (stamp.device, stamp.inode);
        let mut shared = self.shared();
        while !shared.busy.insert(archive) {
            shared = self
                .freed
                .wait(shared)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Turn {
            store: self,
            archive,
        }
    }

    /// Which image was loaded from this archive in this state.
    pub(super) fn known(&self, stamp: &Stamp) -> Option<Digest> {
        self.shared().known.get(stamp).copied()
    }

    /// Remembers it.
    pub(super) fn remember(&self, stamp: Stamp, id: Digest) -> io::Result<()> {
        let mut shared = self.shared();
        shared.known.insert(stamp, id);
        let of_it = shared.known.iter().filter(|(_, known)| **known == id);
        let mut stamps: Vec<Stamp> = of_it.map(|(stamp, _)| *stamp).collect();
        stamps.sort_by_key(|stamp| std::cmp::Reverse(stamp.changed));
        for forgotten in stamps.iter().skip(IMAGE_ARCHIVES_KNOWN_MAX) {
            shared.known.remove(forgotten);
        }
        stamps.truncate(IMAGE_ARCHIVES_KNOWN_MAX);
        drop(shared);
        let lines: String = stamps.iter().map(encode_stamp).collect();
        self.put(&self.dir.join(ARCHIVES).join(id.hex()), lines.as_bytes())
    }

    /// A new directory to unpack a layer in.
    pub(super) fn scratch(&self) -> io::Result<Scratch> {
        let path = self.scratch_path();
        DirBuilder::new().mode(0o700).create(&path)?;
        let scratch = Scratch { path };
        fs::create_dir(scratch.path.join(ROOT))?;
        fs::set_permissions(scratch.path.join(ROOT), Permissions::from_mode(0o755))?;
        Ok(scratch)
    }

    /// Makes a layer, and then an image's configuration, durable and seen. Another thread may have been earlier.
    pub(super) fn publish(
        &self,
        id: Digest,
        config: &[u8],
        layers: Vec<(Digest, Scratch, u64)>,
    ) -> io::Result<()> {
        let all = File::open(self.scratch_dir())?;
        for (_, scratch, size) in &layers {
            fs::write(scratch.path.join(SIZE), size.to_string())?;
        }
        if !layers.is_empty() {
            rustix::fs::syncfs(&all)?;
        }
        for (layer, scratch, _) in &layers {
            match fs::rename(&scratch.path, self.layer_dir(*layer)) {
                Err(_) if self.has_layer(*layer) => {}
                result => result?,
            }
        }
        sync_dir(&self.dir.join(LAYERS))?;
        self.put(&self.config_path(id), config)
    }

    /// Removes images that are neither in use nor in hand, the least recently used first, and layers that no image has,
    /// until the layers are not larger than this.
    pub(super) fn collect(&self, in_use: &BTreeSet<Digest>, len_max: u64) -> io::Result<Collected> {
        // No load sees a layer that is about to go: it holds its image first, which waits for this.
        let mut shared = self.shared();
        let sizes = self.sizes()?;
        let mut images = self.images()?;
        images.sort_by_key(|image| image.used);
        let held = &shared.held;
        let kept: BTreeSet<Digest> = in_use.iter().chain(held.keys()).copied().collect();
        let held_layers = held.values().flat_map(|(_, layers)| layers);
        let plan = plan(
            &images,
            &sizes,
            &kept,
            &held_layers.copied().collect(),
            len_max,
        );
        let mut gone = Vec::new();
        for id in &plan.images {
            remove_if_there(&self.config_path(*id))?;
            remove_if_there(&self.dir.join(ARCHIVES).join(id.hex()))?;
            shared.known.retain(|_, known| known != id);
        }
        for layer in &plan.layers {
            let path = self.scratch_path();
            fs::rename(self.layer_dir(*layer), &path)?;
            gone.push(Scratch { path });
        }
        drop(shared);
        // The files themselves, for which nobody has to wait.
        drop(gone);
        let sizes = plan.layers.iter().filter_map(|layer| sizes.get(layer));
        Ok(Collected {
            images: plan.images.len(),
            layers: plan.layers.len(),
            bytes: sizes.sum(),
        })
    }

    fn layer_dir(&self, layer: Digest) -> PathBuf {
        self.dir.join(LAYERS).join(layer.hex())
    }

    fn config_path(&self, id: Digest) -> PathBuf {
        self.dir.join(CONFIGS).join(id.hex())
    }

    fn scratch_path(&self) -> PathBuf {
        let number = self.scratches.fetch_add(1, Ordering::Relaxed);
        self.scratch_dir().join(number.to_string())
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes or replaces a file: the old content or the new, and nothing in between.
    fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let fresh = self.scratch_path();
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    }

    fn sizes(&self) -> io::Result<BTreeMap<Digest, u64>> {
        let layers = digests(&self.dir.join(LAYERS))?;
        let sized = layers.into_iter().map(|layer| {
            let text = fs::read_to_string(self.layer_dir(layer).join(SIZE)).unwrap_or_default();
            (layer, text.parse().unwrap_or(0))
        });
        Ok(sized.collect())
    }

    fn images(&self) -> io::Result<Vec<Kept>> {
        let mut images = Vec::new();
        for id in digests(&self.dir.join(CONFIGS))? {
            let used = fs::metadata(self.config_path(id))?.modified()?;
            // One that is damaged needs no layers any more.
            let config = self.config(id)?.unwrap_or_default();
            let layers = super::layers_of(&config).unwrap_or_default();
            let layers = layers.into_iter().collect();
            images.push(Kept { id, used, layers });
        }
        Ok(images)
    }

    fn read_known(&self) -> io::Result<BTreeMap<Stamp, Digest>> {
        let mut known = BTreeMap::new();
        for id in digests(&self.dir.join(ARCHIVES))? {
            let text = fs::read_to_string(self.dir.join(ARCHIVES).join(id.hex()))?;
            known.extend(
                text.lines()
                    .filter_map(decode_stamp)
                    .map(|stamp| (stamp, id)),
            );
        }
        Ok(known)
    }
}

impl Scratch {
    /// The directory that becomes the layer's.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        Ok(File::open(self.path.join(ROOT))?.into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "what is left of a layer cannot be removed");
            }
            _ => {}
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut shared = self.store.shared();
        if let Some((count, _)) = shared.held.get_mut(&self.id) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shared.held.remove(&self.id);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.store.shared().busy.remove(&self.archive);
        self.store.freed.notify_all();
    }
}

fn digests(dir: &Path) -> io::Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        match name.to_str().and_then(Digest::from_hex) {
            Some(digest) => digests.push(digest),
            None => {
                tracing::warn!(path = %dir.join(name).display(), "a file that is not the agent's is among its images");
            }
        }
    }
    Ok(digests)
}

fn encode_stamp(stamp: &Stamp) -> String {
    let (modified, changed) = (stamp.modified, stamp.changed);
    let numbers = [
        i128::from(stamp.device),
        i128::from(stamp.inode),
        i128::from(stamp.len),
        i128::from(modified.0),
        i128::from(modified.1),
        i128::from(changed.0),
        i128::from(changed.1),
    ];
    let words: Vec<String> = numbers.iter().map(i128::to_string).collect();
    format!("{}\n", words.join(" "))
}

fn decode_stamp(line: &str) -> Option<Stamp> {
    let numbers: Vec<i128> = line
        .split(' ')
        .map(|word| word.parse().ok())
        .collect::<Option<_>>()?;
    let [device, inode, len, m, m_nanos, c, c_nanos] = numbers.try_into().ok()?;
    let signed = |number: i128| i64::try_from(number).ok();
    Some(Stamp {
        device: device.try_into().ok()?,
        inode: inode.try_into().ok()?,
        len: len.try_into().ok()?,
        modified: (signed(m)?, signed(m_nanos)?),
        changed: (signed(c)?, signed(c_nanos)?),
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
