//! Makes the places in a container's root fit to be mounted over. An image can have anything there; what is not a mistake
//! is put right, and what is one is said in words, since the library that mounts only says that it cannot.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use crate::oci::spec::HOST_FILES;
use crate::volumes::make_beneath;

/// They must be directories themselves: what of them is hidden is found by these names.
const DIRECTORIES: [&str; 3] = ["proc", "dev", "sys"];

/// Prepares the root; the error is for people.
pub(super) fn prepare(root: &Path) -> Result<(), String> {
    let root = File::open(root).map_err(|error| error.to_string())?;
    for name in DIRECTORIES {
        match statat(&root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode).is_dir() => {}
            Ok(_) => return Err(format!("/{name} of its image is not a directory")),
            // It is made.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(format!("/{name} of its image: {error}")),
        }
    }
    for path in HOST_FILES {
        prepare_file(&root, path).map_err(|error| format!("{path} of its image: {error}"))?;
    }
    Ok(())
}

/// Makes a directory at each of these paths but those in the sandbox. A link of the image on the way is a mistake: where it leads was not looked at.
/// The error is for people.
pub(super) fn prepare_volumes<'a>(
    root: &Path,
    sandbox: &str,
    places: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    for place in places {
        // That is in a directory of the host, and prepared.
        if place.starts_with(&format!("{sandbox}/")) {
            continue;
        }
        let made = make_beneath(root, place, None);
        made.map_err(|error| format!("{place} in its image, where its volume is to be: {error}"))?;
    }
    Ok(())
}

/// Makes a file at this path, in place of a link that leads to none.
fn prepare_file(root: &File, path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path: &str, more| {
        openat2(
            root,
            path,
            flags | more,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
    };
    let path = path.trim_start_matches('/');
    match open(path, OFlags::empty()) {
        Ok(found) if FileType::from_raw_mode(fstat(&found)?.st_mode).is_file() => return Ok(()),
        Ok(_) => return Err(io::Error::other("it is not a file")),
        Err(Errno::NOENT | Errno::LOOP) => {}
        Err(error) => return Err(error.into()),
    }
    let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
    let above = match open(above, OFlags::DIRECTORY) {
        Err(Errno::NOENT) => {
            mkdirat(root, above, Mode::from_raw_mode(0o755))?;
            open(above, OFlags::DIRECTORY)?
        }
        opened => opened?,
    };
    match unlinkat(&above, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    openat2(&above, name, flags, mode, ResolveFlags::NO_SYMLINKS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_volume_is_not_mounted_where_a_link_of_the_image_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("srv")).unwrap();
        symlink("/proc", root.join("data")).unwrap();
        symlink("../../outside", root.join("srv/data")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        let sandbox = "/mnt/proffer/sandbox";
        prepare_volumes(
            &root,
            sandbox,
            ["/srv/a/b", "/mnt/proffer/sandbox/x"].into_iter(),
        )
        .unwrap();
        assert!(root.join("srv/a/b").is_dir() && !root.join("mnt").exists());
        for place in ["/data", "/data/x", "/srv/data/x", "/file", "/file/x"] {
            let said = prepare_volumes(&root, sandbox, [place].into_iter()).unwrap_err();
            assert!(said.contains("is not a directory"), "{place}: {said}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn mistakes_are_said_and_the_rest_is_put_right_inside() {
        for (what, link, target, says) in [
            ("nothing", "", "", ""),
            ("a dangling link", "etc/hosts", "/run/hosts", ""),
            ("a link in a circle", "etc/hosts", "hosts", ""),
            (
                "a link that would lead out",
                "etc/hosts",
                "../../outside",
                "",
            ),
            ("a link to a file", "etc/hostname", "/bin/sh", ""),
            (
                "a directory",
                "etc/hosts",
                "/bin",
                "/etc/hosts of its image",
            ),
            ("a link", "proc", "/bin", "/proc of its image is not a dir"),
            ("a link", "sys", "../../", "/sys of its image is not a dir"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            fs::create_dir_all(root.join("bin")).unwrap();
            fs::write(root.join("bin/sh"), "").unwrap();
            if !link.is_empty() {
                fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
                symlink(target, root.join(link)).unwrap();
            }
            let said = prepare(&root).err().unwrap_or_default();
            assert!(said.contains(says), "{what}: {said}");
            if says.is_empty() {
                assert_eq!(said, "", "{what}");
                assert!(root.join("etc/resolv.conf").is_file(), "{what}");
            }
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{what}");
        }
    }
}
