//! The root of a container: the image's layers with a directory of its own on top, mounted where nobody else sees it.
//!
//! The directories are given to the kernel by descriptor, so that no path can hold what separates them (`:` and `,`), and
//! hundreds of layers fit into the 4,096 bytes that a mount's options may have.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use nix::mount::{MsFlags, mount};

/// What the container has written.
pub(super) const UPPER: &str = "upper";
/// The kernel's own.
pub(super) const WORK: &str = "work";

/// Mounts the overlay of these layers, the lowest first, at `root`; what is written to it goes to directories in `dir`.
pub(super) fn mount_root(layers: &[&Path], dir: &Path, root: &Path) -> io::Result<()> {
    let (upper, work) = (make(dir, UPPER)?, make(dir, WORK)?);
    // The root of the container is this directory.
    upper.set_permissions(Permissions::from_mode(0o755))?;
    let layers: Vec<File> = layers.iter().map(File::open).collect::<io::Result<_>>()?;
    let number = |file: &File| file.as_raw_fd().to_string();
    // Relative to this directory a descriptor is only its number.
    let before = std::env::current_dir()?;
    std::env::set_current_dir("/proc/self/fd")?;
    let lower: Vec<String> = layers.iter().rev().map(number).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        number(&upper),
        number(&work)
    );
    // Devices of an image are only files.
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
    let mounted = mount(
        Some("overlay"),
        root,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    );
    std::env::set_current_dir(before)?;
    Ok(mounted?)
}

fn make(dir: &Path, name: &str) -> io::Result<File> {
    let path = dir.join(name);
    DirBuilder::new().mode(0o700).create(&path)?;
    File::open(path)
}

/// Makes a directory, and those above it, in a root whose links lead nowhere else.
pub(super) fn make_directory(root: &Path, path: &str) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = File::open(root)?;
    let open = |path: &str| {
        let path = if path.is_empty() { "." } else { path };
        openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    let path = path.trim_matches('/');
    let ends = path.match_indices('/').map(|(place, _)| place);
    for end in ends.chain([path.len()]) {
        let part = path.get(..end).unwrap_or_default();
        match open(part) {
            Err(rustix::io::Errno::NOENT) => {
                let (above, name) = part.rsplit_once('/').unwrap_or(("", part));
                mkdirat(open(above)?, name, Mode::from_raw_mode(0o755))?;
            }
            opened => drop(opened?),
        }
    }
    Ok(())
}

/// Tries all this in a directory in which containers are to run; the error is for people.
pub(super) fn check(dir: &Path) -> Result<(), String> {
    let path = dir.join(format!("overlay-check.{}", std::process::id()));
    let attempt = || -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&path)?;
        let (layer, root) = (path.join("layer"), path.join("root"));
        fs::create_dir(&layer)?;
        fs::create_dir(&root)?;
        mount_root(&[&layer], &path, &root)?;
        fs::write(root.join("file"), "")?;
        nix::mount::umount(&root)?;
        fs::metadata(path.join(UPPER).join("file")).map(drop)
    };
    let result = attempt();
    // What was mounted ends with this process.
    let _ = fs::remove_dir_all(&path);
    result.map_err(|error| format!("an overlay cannot be mounted in {}: {error}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_inside_whatever_links_say() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../a", root.join("relative")).unwrap();
        make_directory(&root, "/").unwrap();
        make_directory(&root, "/a/b/c").unwrap();
        make_directory(&root, "/relative/d").unwrap();
        make_directory(&root, "/absolute/e").unwrap_err();
        make_directory(&root, "/a/../../f").unwrap();
        assert!(root.join("a/b/c").is_dir() && root.join("a/d").is_dir());
        assert!(root.join("f").is_dir() && !dir.path().join("f").exists());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}
