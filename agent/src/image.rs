//! Images: from an archive on this host's disk (`docker save`, OCI layout) to layers that overlayfs can mount.
//!
//! Start reading at [`ImageStore::load`]. An archive is somebody else's: it is read with the permissions of whom it is read
//! for, checked against its own digests, and unpacked beneath a directory handle that nothing leaves. A layer is in the
//! store whole or not at all.

mod archive;
mod collect;
mod config;
mod digest;
mod error;
mod manifest;
mod merged;
pub(crate) mod parsers;
mod source;
mod store;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod unpack;
mod users;

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use oci_spec::image::ImageConfiguration;
use proffer_model::ImageName;

use archive::Archive;
use digest::{Digest, Hashing};
pub(crate) use error::ImageError;
use error::{Fault, LoadError};
use store::{Hold, Scratch, Store};
use stream::{Allowance, Limited, decompress};
use unpack::Used;
pub(crate) use users::{User, resolve_user};

use crate::limits::{IMAGE_ARCHIVE_LEN_MAX, IMAGE_ENTRIES_MAX, IMAGE_LEN_MAX, IMAGES_LEN_MAX};

/// All images of this agent, in one directory that only it may enter: images bring set-user-id programs along.
#[derive(Debug)]
pub(crate) struct ImageStore {
    store: Arc<Store>,
    limits: Limits,
}

/// Limits of an archive and of its image, which tests make small.
#[derive(Debug, Clone, Copy)]
struct Limits {
    archive_len: u64,
    len: u64,
    entries: u64,
}

/// SHA-256 of an image's configuration, which names its layers by theirs: the same id is the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ImageId(Digest);

/// An image that is in the store, whole. It stays there as long as this lives, whatever is collected: let go of it when a
/// later `collect` is told that it is in use, or when it is not.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it is.
    pub(crate) id: ImageId,
    /// Directories for overlayfs to put over one another, the bottom one first; at least one. Together their paths may be
    /// longer than mount(2) takes: hand them over as `/proc/self/fd/<n>`, or one by one (`lowerdir+`).
    pub(crate) layers: Vec<PathBuf>,
    /// What it says about running it.
    pub(crate) config: ImageConfig,
    _hold: Hold,
}

/// What an image says about running it; all of it may be overridden by the task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ImageConfig {
    /// Comes before `cmd`; may be empty.
    pub(crate) entrypoint: Vec<String>,
    /// Arguments, or the whole command when there is no entrypoint; may be empty.
    pub(crate) cmd: Vec<String>,
    /// In the image's order.
    pub(crate) env: Vec<(String, String)>,
    /// For [`resolve_user`]; empty is root.
    pub(crate) user: String,
    /// Absolute, when the image says one.
    pub(crate) working_dir: Option<String>,
    /// The number of the signal that asks it to stop, when the image says one.
    pub(crate) stop_signal: Option<i32>,
}

/// What [`ImageStore::collect`] has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Collected {
    /// Images.
    pub(crate) images: usize,
    /// Layers, which no image needed any more.
    pub(crate) layers: usize,
    /// Their size on disk, as it was counted when they were unpacked.
    pub(crate) bytes: u64,
}

impl ImageStore {
    /// Makes the directory if it is not there, and removes what a crash has left half made. Blocks.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            store: Arc::new(Store::open(dir)?),
            limits: Limits {
                archive_len: IMAGE_ARCHIVE_LEN_MAX,
                len: IMAGE_LEN_MAX,
                entries: IMAGE_ENTRIES_MAX,
            },
        })
    }

    /// Reads the archive, checks it, and unpacks the layers that are not there yet; an archive that was loaded before and
    /// has not changed costs a look at it. Blocks: seconds, for a large image.
    ///
    /// With `readable_by` (a user and a group) the file must be readable by that user, or by all.
    pub(crate) fn load(
        &self,
        archive: &Path,
        readable_by: Option<(u32, u32)>,
    ) -> Result<Image, ImageError> {
        let file = source::open(archive, readable_by).map_err(LoadError::Fault);
        let loaded = file.and_then(|file| self.load_from(file));
        loaded.map_err(|error| error.of(archive, self.store.dir()))
    }

    /// As `load`, of the archive of this name in the directory that the operator keeps archives in for all who run tasks here.
    pub(crate) fn load_named(
        &self,
        name: &ImageName,
        archives: Option<&Path>,
    ) -> Result<Image, ImageError> {
        let file_name = name.archive();
        let Some(dir) = archives else {
            return Err(ImageError::NoArchives {
                name: name.to_string(),
                file: file_name,
            });
        };
        let path = dir.join(&file_name);
        let of = |error: LoadError| error.of(&path, self.store.dir());
        let found = source::open_among(dir, &file_name).map_err(|fault| of(fault.into()))?;
        let file = found.ok_or_else(|| ImageError::NoArchive {
            name: name.to_string(),
            file: file_name,
            dir: dir.display().to_string(),
        })?;
        self.load_from(file).map_err(of)
    }

    /// Above a size limit, removes images that are not in use, the least recently loaded first, and layers that no image
    /// needs any more. An [`Image`] in hand is in use. Blocks.
    pub(crate) fn collect(&self, in_use: &BTreeSet<ImageId>) -> io::Result<Collected> {
        let in_use = in_use.iter().map(|id| id.0).collect();
        self.store.collect(&in_use, IMAGES_LEN_MAX)
    }

    fn load_from(&self, file: File) -> Result<Image, LoadError> {
        let before = source::stamp(&file).map_err(Fault::Unreadable)?;
        let now = SystemTime::now();
        let _turn = self.store.turn(&before);
        if let Some(id) = self.store.known(&before)
            && let Some(image) = self.image_there(id)?
        {
            self.store.touch(id);
            return Ok(image);
        }
        let same = file.try_clone().map_err(LoadError::Store)?;
        let plain = source::plain(file, &self.store.scratch_dir(), self.limits.archive_len)?;
        let archive = Archive::open(plain)?;
        let image = self.unpack(&archive)?;
        // What changed while it was read was checked all the same, but is read again the next time.
        let after = source::stamp(&same).map_err(Fault::Unreadable)?;
        if after == before && before.is_settled(now) {
            let remembered = self.store.remember(before, image.id.0);
            remembered.map_err(LoadError::Store)?;
        }
        Ok(image)
    }

    /// An image that was loaded before, if all of it is still there.
    fn image_there(&self, id: Digest) -> Result<Option<Image>, LoadError> {
        let config = self.store.config(id).map_err(LoadError::Store)?;
        let Some(config) = config else {
            return Ok(None);
        };
        let image = self.image(id, &config)?;
        Ok(Some(image).filter(|image| image.layers.iter().all(|layer| layer.is_dir())))
    }

    /// The image with this configuration, held from now on; its layers need not be there yet.
    fn image(&self, id: Digest, config: &[u8]) -> Result<Image, LoadError> {
        let parsed: ImageConfiguration = manifest::json("its configuration", config)?;
        let layers = manifest::diff_ids(&parsed)?;
        let hold = self.store.hold(id, &layers);
        // Overlayfs takes a layer once; whatever the image has of it further down is hidden by it.
        let mut seen = BTreeSet::new();
        let mut top_first = layers.clone();
        top_first.reverse();
        top_first.retain(|layer| seen.insert(*layer));
        let layers = top_first.iter().rev();
        Ok(Image {
            id: ImageId(id),
            layers: layers.map(|layer| self.store.layer_root(*layer)).collect(),
            config: config::config(&parsed)?,
            _hold: hold,
        })
    }

    /// Reads all layers of the image for this host. One that is there already is read too: naming a layer is not having it.
    fn unpack(&self, archive: &Archive) -> Result<Image, LoadError> {
        let found = manifest::find(archive)?;
        let image = self.image(found.id, &found.config)?;
        let left = Allowance::new(self.limits.len);
        let mut used = Used {
            entries: 0,
            entries_max: self.limits.entries,
            disk: 0,
        };
        let mut unpacked: Vec<(Digest, Scratch, u64)> = Vec::new();
        for (number, layer) in (1..).zip(&found.layers) {
            let is_there = self.store.has_layer(layer.diff_id)
                || unpacked.iter().any(|(of, ..)| *of == layer.diff_id);
            let scratch = (!is_there).then(|| self.store.scratch()).transpose();
            let scratch = scratch.map_err(LoadError::Store)?;
            let disk = used.disk;
            read_layer(archive, layer, number, scratch.as_ref(), &left, &mut used)?;
            unpacked.extend(scratch.map(|scratch| {
                let size = used.disk.saturating_sub(disk);
                (layer.diff_id, scratch, size)
            }));
        }
        let published = self.store.publish(found.id, &found.config, unpacked);
        published.map_err(LoadError::Store)?;
        Ok(image)
    }
}

/// Reads a layer to its end and checks its digests; unpacks it on the way when there is where to.
fn read_layer(
    archive: &Archive,
    layer: &manifest::Layer,
    number: usize,
    scratch: Option<&Scratch>,
    left: &Allowance,
    used: &mut Used,
) -> Result<(), LoadError> {
    let unreadable = |error: io::Error| unpack::unreadable(number, &error);
    let wrong = |expected: Digest| Fault::WrongDigest {
        what: format!("layer {number}"),
        expected: expected.to_string(),
    };
    let mut file = Hashing::new(archive.section(layer.part));
    let inside = decompress(&mut file).map_err(unreadable)?;
    let mut inside = Hashing::new(Limited::new(inside, left.clone()));
    if let Some(scratch) = scratch {
        let root = scratch.root().map_err(LoadError::Store)?;
        unpack::unpack(number, &mut inside, root, used)?;
    }
    if inside.finish().map_err(unreadable)? != layer.diff_id {
        return Err(wrong(layer.diff_id).into());
    }
    let digest = file.finish().map_err(unreadable)?;
    match layer.digest {
        Some(expected) if expected != digest => Err(wrong(expected).into()),
        _ => Ok(()),
    }
}

/// The layers that a configuration names, if it can be read.
fn layers_of(config: &[u8]) -> Option<Vec<Digest>> {
    let parsed: ImageConfiguration = manifest::json("its configuration", config).ok()?;
    manifest::diff_ids(&parsed).ok()
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl FromStr for ImageId {
    type Err = ();

    /// 64 hexadecimal digits, as displayed.
    fn from_str(text: &str) -> Result<Self, ()> {
        Digest::from_hex(text).map(Self).ok_or(())
    }
}
