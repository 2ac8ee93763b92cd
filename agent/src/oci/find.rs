//! Finds a program as a shell would, and says in words why there is none: `PATH` is the task's, not ours.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The file of the program of this name; with a slash in it, it is a path. The error is for people.
pub(super) fn program(name: &str, path: &str) -> io::Result<String> {
    if name.contains('/') {
        return check(Path::new(name)).map(|()| name.to_owned());
    }
    let candidates = path.split(':').map(|folder| match folder {
        "" => PathBuf::from(name),
        folder => Path::new(folder).join(name),
    });
    let mut refused = None;
    for candidate in candidates {
        match check(&candidate) {
            Ok(()) => {
                return candidate
                    .into_os_string()
                    .into_string()
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "PATH is not UTF-8"));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused = Some(error),
            Err(_) => {}
        }
    }
    let message = format!("no such program in PATH ({path})");
    Err(refused.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, message)))
}

fn check(file: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(file)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_what_is_wrong_is_said() {
        let path = "/nowhere:/bin";
        assert_eq!(program("sh", path).unwrap(), "/bin/sh");
        assert_eq!(program("/bin/sh", "").unwrap(), "/bin/sh");
        for (name, why) in [
            ("no-such", "no such program in PATH"),
            ("/no-such", "No such file"),
            ("/etc/passwd", "permission denied"),
            ("/etc", "directory"),
        ] {
            let error = program(name, path).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}
