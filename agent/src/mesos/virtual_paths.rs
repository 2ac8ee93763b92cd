//! The paths that Mesos gives an executor's latest sandbox, wherever it is: `/frameworks/F/executors/E/runs/latest`.

use std::collections::BTreeMap;
use std::path::Path;

use proffer_agent_core::{RunId, TaskRow};

use super::pages::executor_of;
use crate::supervisor::protocol::SANDBOX;

const LATEST: &str = "/runs/latest";

/// Of each executor the run that its framework has launched last.
pub(super) fn latest(rows: &[TaskRow]) -> BTreeMap<String, RunId> {
    let mut rows: Vec<&TaskRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.incarnation);
    let path = |row: &TaskRow| {
        let (framework, executor) = (&row.framework, executor_of(row));
        format!("/frameworks/{framework}/executors/{executor}{LATEST}")
    };
    // Of the same path the last one stays.
    rows.iter().map(|row| (path(row), row.output)).collect()
}

/// Where a run has its sandbox.
pub(super) fn sandbox(runs_dir: &Path, run: RunId) -> String {
    let path = runs_dir.join(run.to_string()).join(SANDBOX);
    path.display().to_string()
}

/// The path of the latest sandbox, and what is meant beneath it; nothing if this is no such path.
pub(super) fn parts(path: &str) -> Option<(&str, &str)> {
    let end = path.find(LATEST)? + LATEST.len();
    let (above, beneath) = path.split_at_checked(end)?;
    let is_it = above.starts_with("/frameworks/") && above.split('/').count() == 7;
    let is_whole = beneath.is_empty() || beneath.starts_with('/');
    (is_it && is_whole).then_some((above, beneath))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_path_is_one_of_an_executors_latest_sandbox() {
        let latest = "/frameworks/f/executors/e/runs/latest";
        for (path, beneath) in [
            (latest.to_owned(), Some("")),
            (format!("{latest}/stdout"), Some("/stdout")),
            (format!("{latest}/d/../x"), Some("/d/../x")),
            (format!("{latest}er/stdout"), None),
            ("/frameworks/f/runs/latest".to_owned(), None),
            (format!("/x{latest}"), None),
            ("/frameworks/f/executors/e/runs/1".to_owned(), None),
        ] {
            let expected = beneath.map(|beneath| (latest, beneath));
            assert_eq!(parts(&path), expected, "{path}");
        }
    }
}
