//! Doors to what is read of what others serve, for the fuzz targets in `tests/fuzz` alone.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use super::archive::Room;
use super::child::Place;
use super::download::Target;
use super::place;
use crate::image::tree::Tree;

/// Puts what was downloaded into a sandbox, unpacked if its name says that it is an archive; else why not, in words.
pub fn place_fetched(
    data: &[u8],
    name: &str,
    sandbox: OwnedFd,
    (bytes_max, entries_max): (u64, usize),
) -> Result<(), String> {
    let own = || {
        let own = std::fs::metadata("/proc/self")?;
        let mut file = File::from(rustix::fs::memfd_create(
            "fetched",
            rustix::fs::MemfdFlags::CLOEXEC,
        )?);
        file.write_all(data)?;
        file.rewind()?;
        Ok((file, (own.uid(), own.gid())))
    };
    let (file, owner) = own().map_err(|error: io::Error| error.to_string())?;
    let job = Place {
        name: name.to_owned(),
        is_executable: false,
        is_extracted: true,
        sha256: None,
    };
    let mut tree = Tree::owned_by(sandbox, owner);
    let mut room = Room::limited(bytes_max, entries_max);
    place::fill(&job, file, &mut tree, &mut room, owner).map_err(|failure| failure.why)
}

/// Where a redirect of an URI leads, as a URI; else the end of a sentence that says why not.
pub fn follow_redirect(uri: &str, location: &str) -> Result<String, String> {
    let next = Target::parse(uri)?.follow(location)?;
    Ok(next.uri())
}

/// A URI as it is understood; else the end of a sentence that says why not.
pub fn read_uri(uri: &str) -> Result<String, String> {
    Ok(Target::parse(uri)?.uri())
}
