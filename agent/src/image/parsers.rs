//! Doors to the parsers of images, for the fuzz targets in `tests/fuzz` alone.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use oci_spec::image::ImageConfiguration;

use super::archive::Archive;
use super::stream::{Allowance, Limited, decompress};
use super::tree::Name;
use super::unpack::{Used, unpack};
use super::{ImageStore, manifest, users};

/// What an archive says about the image for this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedImage {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Offset-free: bytes of each layer in the archive.
    pub layer_lens: Vec<u64>,
    /// What it runs: entrypoint, then arguments.
    pub command: Vec<String>,
    /// Names and values.
    pub environment: Vec<(String, String)>,
    /// The user's name or number; empty is root.
    pub user: String,
    /// Absolute, when it says one.
    pub working_dir: Option<String>,
    /// The number of the signal that asks it to stop.
    pub stop_signal: Option<i32>,
}

/// Finds the image in an archive, without reading its layers; else why not, in words.
pub fn find_image(archive: File) -> Result<ArchivedImage, String> {
    let find = || {
        let found = manifest::find(&Archive::open(archive)?)?;
        let parsed: ImageConfiguration = manifest::json("its configuration", &found.config)?;
        let config = super::config::config(&parsed)?;
        Ok::<_, super::error::Fault>((found, config))
    };
    let (found, config) = find().map_err(|fault| fault.to_string())?;
    Ok(ArchivedImage {
        id: found.id.hex(),
        layer_lens: found.layers.iter().map(|layer| layer.part.len).collect(),
        command: [config.entrypoint, config.cmd].concat(),
        environment: config.env,
        user: config.user,
        working_dir: config.working_dir,
        stop_signal: config.stop_signal,
    })
}

/// Loads an archive into a store in this directory: the image's id, and whether loading it again finds the same.
pub fn load_image(archive: &Path, store: &Path) -> Result<(String, bool), String> {
    let store = ImageStore::open(store).map_err(|error| error.to_string())?;
    let load = || {
        let loaded = store.load(archive, None);
        loaded
            .map(|image| image.id.to_string())
            .map_err(|error| error.to_string())
    };
    let id = load()?;
    let is_same = load()? == id;
    Ok((id, is_same))
}

/// Unpacks an uncompressed layer into a directory: how many files it made and the bytes that they take on disk.
pub fn unpack_layer(layer: &[u8], root: OwnedFd, entries_max: u64) -> Result<(u64, u64), String> {
    let mut used = Used {
        entries: 0,
        entries_max,
        disk: 0,
    };
    match unpack(1, layer, root, &mut used) {
        Ok(()) => Ok((used.entries, used.disk)),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// How long this is decompressed, read up to this limit.
pub fn decompressed_len(bytes: &[u8], len_max: u64) -> io::Result<u64> {
    let mut reader = Limited::new(decompress(bytes)?, Allowance::new(len_max));
    let mut chunk = vec![0; 8 * 1024];
    let mut total: u64 = 0;
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(total),
            len => total = total.saturating_add(u64::try_from(len).unwrap_or(u64::MAX)),
        }
    }
}

/// The components of a path in a layer, if it stays in the image.
pub fn image_path(path: &[u8]) -> Option<Vec<Vec<u8>>> {
    Name::parse(path).ok().map(|name| name.parts().to_vec())
}

/// The numbers of a user, by these contents of `/etc/passwd` and `/etc/group`: user, group, further groups.
pub fn resolve_user(
    user: &str,
    passwd: &[u8],
    group: &[u8],
) -> Result<(u32, u32, Vec<u32>), String> {
    let list = |file: &'static str| {
        let is_groups = file.ends_with("group");
        Ok(if is_groups { group } else { passwd }.to_vec())
    };
    let resolved = users::resolve(user, list).map_err(|fault| fault.to_string())?;
    Ok((resolved.uid, resolved.gid, resolved.additional_gids))
}
