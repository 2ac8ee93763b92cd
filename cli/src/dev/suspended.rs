//! What `dev` scaled to nothing when it ended, so that the next one brings it back.
//!
//! Written before anything is scaled and removed after everything is back: whatever is interrupted is done again.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use proffer_model::{Problem, code};

use crate::dev::data_dir::DataDir;

/// Instances by app.
pub(crate) type Suspended = BTreeMap<String, u64>;

const FILE: &str = "suspended.json";

/// What the last `dev` left; empty when it left nothing.
pub(crate) fn read(data: &DataDir) -> Result<Suspended, Problem> {
    match fs::read(data.join(FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(data, "read", &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Suspended::new()),
        Err(error) => Err(failed(data, "read", &error)),
    }
}

/// Remembers. Apps that were suspended already and are still at nothing keep their number.
pub(crate) fn write(data: &DataDir, suspended: &Suspended) -> Result<(), Problem> {
    let draft = data.join("suspended.json.new");
    serde_json::to_vec_pretty(suspended)
        .map_err(io::Error::other)
        .and_then(|bytes| fs::write(&draft, bytes))
        .and_then(|()| fs::rename(&draft, data.join(FILE)))
        .map_err(|error| failed(data, "written", &error))
}

/// Forgets.
pub(crate) fn remove(data: &DataDir) -> Result<(), Problem> {
    match fs::remove_file(data.join(FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(data, "removed", &error))
        }
        _ => Ok(()),
    }
}

fn failed(data: &DataDir, what: &str, error: &dyn std::fmt::Display) -> Problem {
    let path = data.join(FILE);
    Problem::new(
        code::FILE_FAILED,
        format!("{} cannot be {what}: {error}", path.display()),
    )
    .hint("remove it to forget which apps were running, or start anew with --fresh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        assert_eq!(read(&data).unwrap(), Suspended::new());
        remove(&data).unwrap();
        let suspended = Suspended::from([("/web".to_owned(), 3)]);
        write(&data, &suspended).unwrap();
        assert_eq!(read(&data).unwrap(), suspended);
        remove(&data).unwrap();
        assert_eq!(read(&data).unwrap(), Suspended::new());
        fs::write(data.join(FILE), "{").unwrap();
        assert!(read(&data).unwrap_err().hint.contains("--fresh"));
    }
}
